/*
 * The policy: src/core/oa_policy.c, driven by policy.txt beside this file.
 *
 * Each row goes the whole way through the core: text fields are packed into
 * records, viewed, and decided upon.  What no row can say stands in
 * oa_policy_edge.c.
 */

#include <ctype.h>
#include <regex.h>

#include "oa_policy.h"
#include "oa_set.h"
#include "oa_text.h"
#include "tap.h"


#define NOW          1700000000

#define LINE_SIZE    1024
#define FIELDS       15
#define SETS_MAX     32
#define RULES_MAX    8
#define REQUIRE_MAX  4


enum { ENV, ADMITS, STATE, EXPIRES, ENABLED, ACCOUNT_IPS, CREDENTIAL_IPS,
       ADDRESS, ROLES, SCOPES, RULES, METHOD, URI, ADMIN, REASON };


typedef struct {
    char              name[32];
    size_t            n;
    oa_rule_t         rules[RULES_MAX];
    regex_t           regexes[RULES_MAX];
    oa_requirement_t  requirements[RULES_MAX][REQUIRE_MAX];
    char              words[RULES_MAX][REQUIRE_MAX][256];
} rule_set_t;


static rule_set_t   sets[SETS_MAX];
static size_t       nsets;
static oa_hasher_t  hasher;


static oa_str_t
str(const char *s)
{
    return (oa_str_t) { s ? strlen(s) : 0, (const unsigned char *) s };
}


/* one bit for each method that the gateway knows; 0 for others */

static uint32_t
method_bit(const char *name, size_t len)
{
    size_t  i;

    static const char *const  methods[] = {
        "GET", "HEAD", "POST", "PUT", "DELETE", "MKCOL", "COPY", "MOVE",
        "OPTIONS", "PROPFIND", "PROPPATCH", "LOCK", "UNLOCK", "PATCH", "TRACE"
    };

    for (i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (strlen(methods[i]) == len && memcmp(methods[i], name, len) == 0) {
            return (uint32_t) 2 << i;
        }
    }

    return 0;
}


/* "a|b,c" -> "a b c" */

static oa_str_t
words(const char *text, char *out)
{
    char  *p;

    strcpy(out, text);

    for (p = out; *p; p++) {
        if (*p == '|' || *p == ',') {
            *p = ' ';
        }
    }

    return str(out);
}


/* "rule NAME PARAMETERS"; 0: not understood */

static int
read_rule(char *line)
{
    int                flags;
    char              *param, *p, *method;
    oa_rule_t         *rule;
    rule_set_t        *set;
    oa_requirement_t  *requirement;

    param = strtok(line, " ");

    if (param == NULL || strcmp(param, "rule") != 0) {
        return 0;
    }

    param = strtok(NULL, " ");

    if (param == NULL) {
        return 0;
    }

    if (nsets == 0 || strcmp(sets[nsets - 1].name, param) != 0) {
        if (nsets == SETS_MAX) {
            return 0;
        }

        snprintf(sets[nsets++].name, sizeof(sets[0].name), "%s", param);
    }

    set = &sets[nsets - 1];

    if (set->n == RULES_MAX) {
        return 0;
    }

    rule = &set->rules[set->n];
    rule->requirements = set->requirements[set->n];

    while ((param = strtok(NULL, " ")) != NULL) {

        if (strncmp(param, "method=", 7) == 0) {

            for (method = param + 7; *method; method = p + (*p != '\0')) {
                p = method + strcspn(method, ",|");
                rule->methods |= method_bit(method, (size_t) (p - method));
            }

            if (rule->methods == 0) {
                return 0;
            }

            continue;
        }

        if (strncmp(param, "uri=~", 5) == 0) {
            p = param + 5;
            flags = REG_EXTENDED | REG_NOSUB;

            if (*p == '*') {
                flags |= REG_ICASE;
                p++;
            }

            if (regcomp(&set->regexes[set->n], p, flags) != 0) {
                return 0;
            }

            rule->uri = &set->regexes[set->n];
            continue;
        }

        if (rule->n == REQUIRE_MAX) {
            return 0;
        }

        requirement = &set->requirements[set->n][rule->n];
        p = strchr(param, '=');

        if (strncmp(param, "scope=", 6) == 0) {
            requirement->what = OA_REQUIRE_SCOPE;

        } else if (strncmp(param, "role=", 5) == 0) {
            requirement->what = OA_REQUIRE_ROLE;

        } else {
            return 0;
        }

        requirement->any = words(p + 1, set->words[set->n][rule->n]);
        rule->n++;
    }

    set->n++;

    return 1;
}


/* what oa_policy_explain() tells, for a look at it afterwards */
typedef struct {
    unsigned   steps;
    unsigned   failed;          /* steps that were no */
    unsigned   disorder;        /* a step behind one that comes later */
    oa_step_t  last;
} told_t;


static void
step(void *data, const oa_step_t *s)
{
    told_t  *told = data;

    told->disorder += (told->steps != 0 && s->check < told->last.check
                       && s->check < OA_CHECK_MATCH);
    told->failed += (s->rc != OA_OK && s->check != OA_CHECK_ADMIN
                     && s->check != OA_CHECK_MATCH);
    told->steps++;
    told->last = *s;
}


/* the same verdict as by oa_policy_decide(), and the steps lead to it */

static void
explained(const oa_policy_t *policy, const oa_request_t *request,
    const oa_credential_t *c, const oa_account_t *a,
    const oa_verdict_t *verdict, unsigned number)
{
    told_t        told;
    oa_trace_t    trace;
    oa_verdict_t  other;

    memset(&told, 0, sizeof(told));
    trace.step = step;
    trace.data = &told;

    oa_policy_explain(policy, request, c, a, &other, &trace);

    ok(other.reason == verdict->reason && other.rule == verdict->rule
       && other.requirement == verdict->requirement
       && other.admin == verdict->admin,
       "line %u: explained, it is the same verdict", number);

    ok(told.disorder == 0
       && told.failed == (verdict->reason != OA_REASON_OK)
       && (verdict->requirement == NULL
           || told.last.requirement == verdict->requirement)
       && (!verdict->admin || told.last.check == OA_CHECK_ADMIN),
       "line %u: the steps are in order and end at what decided", number);
}


static oa_rc_t
uri_match(const void *uri, void *data)
{
    switch (regexec(uri, data, 0, NULL, 0)) {
    case 0:
        return OA_OK;
    case REG_NOMATCH:
        return OA_DECLINED;
    default:
        return OA_ERROR;
    }
}


/* "default", "off", "role=a|b scope=c"; 0: not understood */

static int
read_admin(char *text, oa_policy_t *policy, char *roles, char *scopes)
{
    char  *param;

    policy->admin = 1;

    if (strcmp(text, "off") == 0) {
        policy->admin = 0;
        return 1;
    }

    if (strcmp(text, "default") == 0) {
        policy->admin_roles = str("administrator");
        policy->admin_scopes = str("admin");
        return 1;
    }

    for (param = strtok(text, " "); param; param = strtok(NULL, " ")) {

        if (strncmp(param, "role=", 5) == 0) {
            policy->admin_roles = words(param + 5, roles);

        } else if (strncmp(param, "scope=", 6) == 0) {
            policy->admin_scopes = words(param + 6, scopes);

        } else {
            return 0;
        }
    }

    return 1;
}


static int
read_records(char **f, unsigned char *credential, unsigned char *account,
    oa_credential_t *c, oa_account_t *a)
{
    char      expires[32];
    size_t    len;
    int64_t   at;
    oa_str_t  values[OA_CREDENTIAL_FIELDS], field;

    if (strcmp(f[EXPIRES], "never") == 0) {
        at = 0;

    } else if (strcmp(f[EXPIRES], "now") == 0) {
        at = NOW;

    } else if (f[EXPIRES][0] == '+' || f[EXPIRES][0] == '-') {
        at = NOW + strtol(f[EXPIRES], NULL, 10);

    } else {
        return 0;
    }

    snprintf(expires, sizeof(expires), "%lld", (long long) at);

    memset(values, 0, sizeof(values));
    values[0] = str("1");
    values[1] = str("key_1");
    values[2] = str("api_key");
    values[3] = str("crm");
    values[4] = str(f[STATE]);
    values[5] = str(f[ENV]);
    values[6] = str(f[SCOPES]);
    values[7] = str(f[CREDENTIAL_IPS]);
    values[8] = str(expires);

    if (oa_credential_pack(values, &hasher, credential, &len, &field) != OA_OK
        || oa_credential_view(credential, len, c) != OA_OK)
    {
        return 0;
    }

    memset(values, 0, sizeof(values));
    values[0] = str(f[ENABLED]);
    values[3] = str(f[ROLES]);
    values[4] = str(f[ACCOUNT_IPS]);

    return oa_account_pack(str("crm"), values, account, &len, &field) == OA_OK
           && oa_account_view(account, len, a) == OA_OK;
}


static void
row(char **f, unsigned number)
{
    char             roles[128], scopes[128], admin[128];
    size_t           i;
    oa_policy_t      policy;
    oa_reason_t      wanted;
    oa_verdict_t     verdict;
    oa_request_t     request;
    oa_account_t     a;
    oa_credential_t  c;
    unsigned char    credential[OA_RECORD_MAX], account[OA_RECORD_MAX];

    memset(&policy, 0, sizeof(policy));
    memset(&request, 0, sizeof(request));

    snprintf(admin, sizeof(admin), "%s", f[ADMIN]);

    policy.environment = strcmp(f[ADMITS], "any") == 0 ? OA_ENV_ANY
                         : strcmp(f[ADMITS], "live") == 0 ? OA_ENV_LIVE
                         : strcmp(f[ADMITS], "test") == 0 ? OA_ENV_TEST
                         : OA_ENV_NONE;

    wanted = oa_reason_by_name(str(f[REASON]));

    if (policy.environment == OA_ENV_NONE
        || wanted == OA_REASON_COUNT
        || !read_records(f, credential, account, &c, &a)
        || !read_admin(admin, &policy, roles, scopes))
    {
        ok(0, "line %u is not understood", number);
        return;
    }

    if (f[RULES][0] != '\0') {

        for (i = 0; i < nsets && strcmp(sets[i].name, f[RULES]) != 0; i++) {
            /* void */
        }

        if (i == nsets) {
            ok(0, "line %u: no rules \"%s\"", number, f[RULES]);
            return;
        }

        policy.rules = sets[i].rules;
        policy.n = sets[i].n;
    }

    if (strcmp(f[ADDRESS], "unix:") != 0
        && oa_addr_parse(str(f[ADDRESS]), &request.addr) != OA_OK)
    {
        ok(0, "line %u: no address \"%s\"", number, f[ADDRESS]);
        return;
    }

    request.method = method_bit(f[METHOD], strlen(f[METHOD]));
    request.now = NOW;
    request.uri_match = uri_match;
    request.data = f[URI];

    memset(&verdict, 0xff, sizeof(verdict));
    oa_policy_decide(&policy, &request, &c, &a, &verdict);

    if (verdict.reason != wanted) {
        fprintf(stderr, "# policy.txt line %u: got \"%s\"\n", number,
                (const char *) oa_reason_info(verdict.reason)->name.data);
    }

    ok(verdict.reason == wanted, "line %u: %s %s, scopes \"%s\", roles "
       "\"%s\", rules %s: %s", number, f[METHOD], f[URI], f[SCOPES],
       f[ROLES], f[RULES][0] ? f[RULES] : "none", f[REASON]);

    /* what goes with a verdict */

    ok((verdict.requirement != NULL)
       == (wanted == OA_REASON_ROLE || wanted == OA_REASON_SCOPE)
       && (verdict.rule != NULL) == (verdict.requirement != NULL)
       && !(verdict.admin && wanted != OA_REASON_OK),
       "line %u: rule and requirement go with the reason", number);

    explained(&policy, &request, &c, &a, &verdict, number);
}


/* in place: fields without the blanks around them, "-" as "" */

static size_t
split(char *line, char **f)
{
    char    *p, *end;
    size_t   n;

    n = 0;

    for (p = line; p != NULL; p = end) {

        end = strchr(p, ';');

        if (end != NULL) {
            *end++ = '\0';
        }

        while (isspace((unsigned char) *p)) {
            p++;
        }

        while (*p && isspace((unsigned char) p[strlen(p) - 1])) {
            p[strlen(p) - 1] = '\0';
        }

        if (n == FIELDS) {
            return n + 1;
        }

        f[n++] = strcmp(p, "-") == 0 ? p + 1 : p;
    }

    return n;
}


static FILE *
table_open(void)
{
    char         path[512];
    FILE        *file;
    size_t       i;
    const char  *dir;

    static const char *const  names[] = { "policy.txt", "unit/policy.txt" };

    dir = getenv("TEST_DIR");

    for (i = 0; dir && i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        file = fopen(path, "r");

        if (file != NULL) {
            return file;
        }
    }

    return fopen("t/unit/policy.txt", "r");
}


static void
table(void)
{
    char       line[LINE_SIZE], *f[FIELDS];
    FILE      *file;
    unsigned   number, rows, reasons, i;
    unsigned   seen[OA_REASON_COUNT + 1];

    file = table_open();

    if (file == NULL) {
        ok(0, "policy.txt is found (TEST_DIR or t/unit below the current "
           "directory)");
        return;
    }

    memset(seen, 0, sizeof(seen));
    number = 0;
    rows = 0;

    while (fgets(line, sizeof(line), file) != NULL) {

        number++;
        line[strcspn(line, "\n")] = '\0';

        if (line[0] == '#' || line[strspn(line, " ")] == '\0') {
            continue;
        }

        if (strchr(line, ';') == NULL) {

            if (!read_rule(line)) {
                ok(0, "line %u is a rule", number);
            }

            continue;
        }

        if (split(line, f) != FIELDS) {
            ok(0, "line %u has %u fields", number, FIELDS);
            continue;
        }

        row(f, number);
        seen[oa_reason_by_name(str(f[REASON]))]++;
        rows++;
    }

    fclose(file);

    ok(rows >= 80, "the table has %u rows", rows);

    for (i = 0, reasons = 0; i < OA_REASON_COUNT; i++) {
        reasons += (seen[i] != 0);
    }

    is_int(reasons, 9, "and has every reason that the policy gives but one");
}


int
main(void)
{
    size_t    i, k;
    oa_str_t  pepper;

    pepper = str("0123456789abcdef");

    if (oa_hasher_init(&hasher, &pepper, 1) != OA_OK) {
        ok(0, "hasher");
        return done_testing();
    }

    table();

    for (i = 0; i < nsets; i++) {
        for (k = 0; k < sets[i].n; k++) {
            if (sets[i].rules[k].uri) {
                regfree(&sets[i].regexes[k]);
            }
        }
    }

    oa_hasher_cleanup(&hasher);

    return done_testing();
}
