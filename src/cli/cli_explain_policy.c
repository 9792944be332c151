/*
 * The checks of the policy: made by oa_policy_explain(), which tells of each;
 * here they get their words. What comes behind a failure is "not reached".
 */

#include "cli_explain.h"
#include "cli_memory.h"
#include "cli_text.h"
#include "cli_time.h"

#include "oa_rule.h"
#include "oa_set.h"
#include "oa_text.h"

#include <string.h>


/* places in oa_credential_fields[] and oa_account_fields[] */
enum { FIELD_IPS = 7, OWNER_IPS = 4 };


static const char *const  names[OA_CHECK_COUNT] = {
    "environment", "state", "expiry", "account", "account's addresses",
    "its own addresses", "administrator", "rule", "rule", "rule"
};


static const char *
words_or(oa_str_t words, const char *none)
{
    return (words.len == 0) ? none : cli_text_safe(words);
}


static const char *
addresses_fact(const cli_explain_t *x, oa_str_t ips, oa_rc_t rc)
{
    if (ips.len == 0) {
        return "any address";
    }

    return cli_format("%s is%s in %s", x->from, (rc == OA_OK) ? "" : " not",
                      cli_text_safe(ips));
}


static const char *
expiry_fact(const cli_explain_t *x)
{
    int64_t  at;

    at = x->credential.expires;

    return (at == 0) ? "never"
           : cli_format("%s %s",
                        (x->request.now < at) ? "expires" : "expired",
                        x->cli->json ? cli_time_utc(at) : cli_time_local(at));
}


static const char *
admin_fact(const cli_explain_t *x)
{
    const char         *roles, *scopes;
    const oa_policy_t  *policy;

    policy = &x->place.policy;

    if (!policy->admin) {
        return "there is none: rules hold for everybody";
    }

    roles = policy->admin_roles.len
            ? cli_format("role %s", cli_text_safe(policy->admin_roles)) : "";
    scopes = policy->admin_scopes.len
             ? cli_format("scope %s", cli_text_safe(policy->admin_scopes))
             : "";

    return cli_format("by %s%s%s", roles, (roles[0] && scopes[0]) ? " or " : "",
                      scopes);
}


static const char *
check_fact(const cli_explain_t *x, const oa_step_t *step)
{
    oa_environment_t  admits;

    switch (step->check) {

    case OA_CHECK_ENVIRONMENT:
        admits = x->place.policy.environment;
        return cli_format("%s, admitted: %s",
                          oa_environment_name(x->credential.environment),
                          (admits == OA_ENV_ANY)
                          ? "any" : oa_environment_name(admits));

    case OA_CHECK_STATE:
        return oa_state_name(x->credential.state);

    case OA_CHECK_EXPIRY:
        return expiry_fact(x);

    case OA_CHECK_ENABLED:
        return cli_format("%s is %s", cli_text_safe(x->account.id),
                          x->account.enabled ? "enabled" : "disabled");

    case OA_CHECK_ACCOUNT_IPS:
        return addresses_fact(x, x->owner[OWNER_IPS], step->rc);

    case OA_CHECK_CREDENTIAL_IPS:
        return addresses_fact(x, x->fields[FIELD_IPS], step->rc);

    case OA_CHECK_ADMIN:
        return admin_fact(x);

    default:
        return "";
    }
}


/* does this rule apply, and if not, why */
static void
match_row(cli_explain_t *x, const oa_step_t *step)
{
    const char             *fact;
    const oa_rule_t        *rule;
    const cli_directive_t  *line;

    rule = step->rule;
    line = x->place.lines[rule - x->place.policy.rules];
    x->rule = (size_t) (rule - x->place.policy.rules) + 1;

    if (step->rc == OA_OK) {
        if (rule->n == 0) {
            (void) cli_explain_row(x, "rule", CLI_ROW_OK,
                                   "it asks for nothing", line);
        }

        return;
    }

    if (step->rc != OA_DECLINED) {
        (void) cli_explain_row(x, "rule", CLI_ROW_FAILS,
                               "its uri= can't be run on this path", line);
        return;
    }

    fact = (rule->methods != 0 && !(rule->methods & x->request.method))
           ? cli_format("not to %s", x->method) : "not to this path";

    (void) cli_explain_row(x, "rule", CLI_ROW_APART, fact, line);
}


static const char *
requirement_fact(const cli_explain_t *x, const oa_requirement_t *requirement)
{
    int          scope;
    char        *any, *p;

    scope = (requirement->what == OA_REQUIRE_SCOPE);
    any = cli_text_safe(requirement->any);

    for (p = any; *p != '\0'; p++) {
        *p = (*p == ' ') ? '|' : *p;
    }

    return cli_format("%s %s; it has %s", scope ? "scope" : "role", any,
                      words_or(scope ? x->credential.scopes : x->account.roles,
                               "none"));
}


static void
requirement_row(cli_explain_t *x, const oa_step_t *step)
{
    const oa_requirement_t  *r, *last;
    const cli_directive_t   *line;

    line = x->place.lines[step->rule - x->place.policy.rules];

    (void) cli_explain_row(x, "rule", (step->rc == OA_OK) ? CLI_ROW_OK
                                                          : CLI_ROW_FAILS,
                           requirement_fact(x, step->requirement), line);

    if (step->rc == OA_OK) {
        return;
    }

    last = step->rule->requirements + step->rule->n;

    for (r = step->requirement + 1; r < last; r++) {
        (void) cli_explain_row(x, "rule", CLI_ROW_SKIPPED,
                               requirement_fact(x, r), line);
    }
}


/* where it is no line of the configuration */
static const char *
decided_by(const cli_explain_t *x, oa_check_t check)
{
    switch (check) {

    case OA_CHECK_ENVIRONMENT:
    case OA_CHECK_ADMIN:
        return "default";

    case OA_CHECK_ENABLED:
    case OA_CHECK_ACCOUNT_IPS:
        return cli_format("account %s", cli_text_safe(x->account.id));

    default:
        return cli_text_safe(x->credential.id);
    }
}


static void
step_row(void *data, const oa_step_t *step)
{
    cli_row_t      *row;
    const char     *outcome;
    cli_explain_t  *x;

    x = data;
    x->check = step->check;

    switch (step->check) {

    case OA_CHECK_MATCH:
        match_row(x, step);
        return;

    case OA_CHECK_REQUIREMENT:
        requirement_row(x, step);
        return;

    case OA_CHECK_ANY_RULE:
        if (step->rc != OA_OK) {
            (void) cli_explain_row(x, "any rule", CLI_ROW_FAILS,
                                   cli_format("none applies to %s on this "
                                              "path", x->method), NULL);
        }
        return;

    case OA_CHECK_ADMIN:
        outcome = (step->rc == OA_OK) ? CLI_ROW_PASSES : CLI_ROW_NO;
        break;

    default:
        outcome = (step->rc == OA_OK) ? CLI_ROW_OK : CLI_ROW_FAILS;
    }

    row = cli_explain_row(x, names[step->check], outcome, check_fact(x, step),
                          (step->check == OA_CHECK_ENVIRONMENT)
                          ? x->place.environment
                          : (step->check == OA_CHECK_ADMIN) ? x->place.admin
                          : NULL);

    row->otherwise = decided_by(x, step->check);
}


/* what was not looked at any more, from this check and the next rule on */
static void
rest_rows(cli_explain_t *x, unsigned check)
{
    size_t              i;
    const cli_place_t  *place;

    place = &x->place;

    for ( /* void */ ; check <= OA_CHECK_ADMIN; check++) {

        /* without rules nobody asks for administrators */

        if (check != OA_CHECK_ADMIN || place->policy.n != 0) {
            (void) cli_explain_row(x, names[check], CLI_ROW_SKIPPED, "", NULL);
        }
    }

    for (i = x->rule; i < place->policy.n; i++) {
        (void) cli_explain_row(x, "rule", CLI_ROW_SKIPPED, "",
                               place->lines[i]);
    }
}


/* "default=60/m" of opsauth_rate, or empty */
static oa_str_t
rate_default(const cli_directive_t *rate)
{
    size_t    i;
    oa_str_t  none = oa_null;

    for (i = 1; rate != NULL && i < rate->n; i++) {
        if (strncmp(rate->words[i], "default=", 8) == 0) {
            return cli_str(rate->words[i] + 8);
        }
    }

    return none;
}


/* what is left of it is known to the gateway alone */
static void
rate_row(cli_explain_t *x)
{
    oa_str_t                own, other;
    const char             *outcome;
    const cli_directive_t  *rate;

    rate = x->place.rate;
    own = x->account.rate;
    other = rate_default(rate);

    if (own.len == 0 && other.len == 0) {
        return;
    }

    outcome = (x->reason == OA_REASON_OK) ? CLI_ROW_UNASKED : CLI_ROW_SKIPPED;

    if (rate != NULL && rate->n > 1 && strcmp(rate->words[1], "off") == 0) {
        outcome = CLI_ROW_APART;
    }

    (void) cli_explain_row(x, "rate", outcome,
                           own.len ? cli_text_safe(own)
                           : cli_format("%s, the default here",
                                        cli_text_safe(other)),
                           rate);
}


void
cli_explain_decide(cli_explain_t *x)
{
    oa_trace_t          trace;
    oa_verdict_t        verdict;
    const cli_place_t  *place;

    if (x->reason != OA_REASON_OK) {
        rest_rows(x, OA_CHECK_ENVIRONMENT);
        return;
    }

    place = &x->place;
    trace.step = step_row;
    trace.data = x;

    oa_policy_explain(&place->policy, &x->request, &x->credential, &x->account,
                      &verdict, &trace);

    x->reason = verdict.reason;
    x->admin = verdict.admin;
    rest_rows(x, x->check + 1);

    if (x->reason == OA_REASON_OK && place->policy.n == 0) {
        (void) cli_explain_row(x, "rule", CLI_ROW_OK,
                               "there is none: every valid credential passes",
                               place->off);
    }

    rate_row(x);
}
