/*
 * See cli_place.h. What a block says replaces what it inherits, the rules all
 * together; see ngx_http_opsauth_merge_loc_conf().
 */

#include "cli.h"
#include "cli_memory.h"
#include "cli_place.h"
#include "cli_regex.h"
#include "cli_text.h"

#include "oa_rule.h"
#include "oa_text.h"

#include <string.h>


static int
place_invalid(const cli_directive_t *d)
{
    return cli_fail(CLI_FAILED, "%s in %s is not understood; \"nginx -t\" "
                    "tells what is wrong",
                    cli_quotez(cli_directive_text(d)), d->where);
}


static int
is_off(const cli_directive_t *d)
{
    return d->n == 2 && strcmp(d->words[1], "off") == 0;
}


static int
words_read(const cli_directive_t *d, oa_str_t words, oa_str_t *set)
{
    return (oa_rule_words(words, cli_alloc(2 * words.len + 1), set) == OA_OK)
           ? CLI_OK : place_invalid(d);
}


static int
rule_uri(const cli_directive_t *d, oa_str_t value, oa_rule_t *rule)
{
    oa_str_t        empty;
    cli_pattern_t  *pattern;

    pattern = cli_alloc(sizeof(*pattern));
    empty = cli_str("");

    if (rule->uri != NULL
        || oa_rule_uri(value, &pattern->text, &pattern->caseless) != OA_OK
        || cli_regex_match(pattern->text, pattern->caseless, empty)
           == OA_INVALID)
    {
        return place_invalid(d);
    }

    rule->uri = pattern;

    return CLI_OK;
}


/* opsauth_require [scope=a|b] [role=a|b] [method=GET,HEAD] [uri=~regex] */
static int
rule_read(const cli_directive_t *d, oa_rule_t *rule)
{
    int                rc;
    size_t             i;
    oa_str_t           value, bad;
    oa_param_t         kind;
    oa_requirement_t  *all, *requirement;

    all = cli_alloc(d->n * sizeof(oa_requirement_t));
    rule->requirements = all;

    for (i = 1; i < d->n; i++) {

        kind = oa_rule_param(cli_str(d->words[i]), &value);
        rc = CLI_OK;

        switch (kind) {

        case OA_PARAM_METHOD:
            if (rule->methods != 0
                || oa_rule_methods(value, &rule->methods, &bad) != OA_OK)
            {
                return place_invalid(d);
            }
            break;

        case OA_PARAM_URI:
            rc = rule_uri(d, value, rule);
            break;

        case OA_PARAM_SCOPE:
        case OA_PARAM_ROLE:
            requirement = &all[rule->n++];
            requirement->what = (kind == OA_PARAM_SCOPE) ? OA_REQUIRE_SCOPE
                                                         : OA_REQUIRE_ROLE;
            rc = words_read(d, value, &requirement->any);
            break;

        default:
            return place_invalid(d);
        }

        if (rc != CLI_OK) {
            return rc;
        }
    }

    return (d->n > 1) ? CLI_OK : place_invalid(d);
}


/* the lines of this block, if it has any, in place of those above */
static int
rules_read(const cli_directive_t *block, cli_place_t *place)
{
    int                     rc;
    size_t                  n;
    oa_rule_t              *rules;
    const cli_directive_t  *d, *first;

    first = cli_directive_find(block->first, "opsauth_require");

    for (d = first, n = 0; d != NULL;
         d = cli_directive_find(d->next, "opsauth_require"))
    {
        n++;
    }

    if (n == 0) {
        return CLI_OK;
    }

    place->off = NULL;
    place->policy.n = 0;

    if (is_off(first)) {
        place->off = first;
        return (n == 1) ? CLI_OK : place_invalid(first);
    }

    rules = cli_alloc(n * sizeof(oa_rule_t));
    place->policy.rules = rules;
    place->lines = cli_alloc(n * sizeof(cli_directive_t *));

    for (d = first; d != NULL;
         d = cli_directive_find(d->next, "opsauth_require"))
    {
        rc = rule_read(d, &rules[place->policy.n]);

        if (rc != CLI_OK) {
            return rc;
        }

        place->lines[place->policy.n++] = d;
    }

    return CLI_OK;
}


static int
guard_read(const cli_directive_t *d, cli_place_t *place)
{
    if (d->n < 2 || d->words[1][0] == '\0'
        || (d->n > 2 && (strcmp(d->words[1], "off") == 0
                         || strcmp(d->words[2], "shadow") != 0)))
    {
        return place_invalid(d);
    }

    place->guard = d;
    place->store = is_off(d) ? NULL : d->words[1];
    place->shadow = (d->n > 2);

    return CLI_OK;
}


static int
environment_read(const cli_directive_t *d, cli_place_t *place)
{
    const char  *word;

    word = (d->n == 2) ? d->words[1] : "";

    place->environment = d;
    place->policy.environment = strcmp(word, "live") == 0 ? OA_ENV_LIVE
                                : strcmp(word, "test") == 0 ? OA_ENV_TEST
                                : strcmp(word, "any") == 0 ? OA_ENV_ANY
                                : OA_ENV_NONE;

    return (place->policy.environment != OA_ENV_NONE) ? CLI_OK
                                                      : place_invalid(d);
}


/* opsauth_admin [role=a|b] [scope=a|b] | off; what is not named is not asked */
static int
admin_read(const cli_directive_t *d, cli_place_t *place)
{
    int           rc;
    size_t        i;
    oa_str_t      value;
    oa_param_t    kind;
    oa_policy_t  *policy;

    policy = &place->policy;
    place->admin = d;
    policy->admin = !is_off(d);
    memset(&policy->admin_roles, 0, sizeof(oa_str_t));
    memset(&policy->admin_scopes, 0, sizeof(oa_str_t));

    for (i = 1; i < d->n && policy->admin; i++) {
        kind = oa_rule_param(cli_str(d->words[i]), &value);

        if (kind != OA_PARAM_ROLE && kind != OA_PARAM_SCOPE) {
            return place_invalid(d);
        }

        rc = words_read(d, value, (kind == OA_PARAM_ROLE)
                                  ? &policy->admin_roles
                                  : &policy->admin_scopes);

        if (rc != CLI_OK) {
            return rc;
        }
    }

    return CLI_OK;
}


static int
block_read(const cli_directive_t *block, cli_place_t *place)
{
    int                     rc;
    const cli_directive_t  *d;

    rc = CLI_OK;

    for (d = block->first; d != NULL && rc == CLI_OK; d = d->next) {

        if (cli_directive_is(d, "opsauth")) {
            rc = guard_read(d, place);

        } else if (cli_directive_is(d, "opsauth_environment")) {
            rc = environment_read(d, place);

        } else if (cli_directive_is(d, "opsauth_admin")) {
            rc = admin_read(d, place);

        } else if (cli_directive_is(d, "opsauth_credential")) {
            place->credential = d;

        } else if (cli_directive_is(d, "opsauth_introspection")) {
            place->introspection = is_off(d) ? NULL : d;
        }
    }

    return (rc == CLI_OK) ? rules_read(block, place) : rc;
}


int
cli_place_read(const cli_site_t *site, cli_place_t *place)
{
    int     rc;
    size_t  i;

    memset(place, 0, sizeof(*place));
    place->policy.environment = OA_ENV_LIVE;
    place->policy.admin = 1;
    place->policy.admin_roles = cli_str("administrator");
    place->policy.admin_scopes = cli_str("admin");

    rc = CLI_OK;

    for (i = 0; i < site->n && rc == CLI_OK; i++) {
        rc = block_read(site->blocks[i], place);
    }

    /* an endpoint of the token service is not guarded: it has logins */

    place->service = (site->location != NULL)
                     ? cli_directive_find(site->location->first,
                                          "opsauth_oauth") : NULL;

    if (place->service != NULL) {
        place->guard = place->service;
        place->store = NULL;
        place->shadow = 0;
    }

    return rc;
}


oa_rc_t
cli_place_uri_match(const void *uri, void *data)
{
    const oa_str_t       *subject;
    const cli_pattern_t  *pattern;

    pattern = uri;
    subject = data;

    return cli_regex_match(pattern->text, pattern->caseless, *subject);
}
