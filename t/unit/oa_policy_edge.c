/*
 * The policy where no row of policy.txt gets to: a pattern that fails, a list
 * that is broken, values that no record has, which rule denied.
 */

#include "oa_policy.h"
#include "tap.h"


#define NOW  1700000000


static oa_str_t
str(const char *s)
{
    return (oa_str_t) { strlen(s), (const unsigned char *) s };
}


static oa_rc_t
match_error(const void *uri, void *data)
{
    (*(unsigned *) data)++;

    return OA_ERROR;
}


static oa_rc_t
match_invalid(const void *uri, void *data)
{
    return OA_INVALID;
}


static oa_rc_t
match_count(const void *uri, void *data)
{
    (*(unsigned *) data)++;

    return OA_OK;
}


static void
particular(void)
{
    int               i;
    unsigned          calls;
    oa_rule_t         rules[2];
    oa_policy_t       policy;
    oa_request_t      request;
    oa_verdict_t      v;
    oa_account_t      a;
    oa_credential_t   c;
    oa_requirement_t  needs[2];

    memset(&policy, 0, sizeof(policy));
    memset(&request, 0, sizeof(request));
    memset(&a, 0, sizeof(a));
    memset(&c, 0, sizeof(c));
    memset(rules, 0, sizeof(rules));

    policy.environment = OA_ENV_LIVE;
    policy.admin = 1;
    policy.admin_roles = str("administrator");
    policy.admin_scopes = str("admin");

    request.now = NOW;
    request.method = 2;
    (void) oa_addr_parse(str("203.0.113.7"), &request.addr);

    c.kind = OA_KIND_API_KEY;
    c.state = OA_STATE_ACTIVE;
    c.environment = OA_ENV_LIVE;
    c.scopes = str("read:plans");
    a.enabled = 1;
    a.roles = str("customer");

    oa_policy_decide(&policy, &request, &c, &a, &v);
    ok(v.reason == OA_REASON_OK && v.rule == NULL && !v.admin, "no rules");

    /* expiry, to the second and at the ends of time */

    c.expires = NOW + 1;
    oa_policy_decide(&policy, &request, &c, &a, &v);
    is_int(v.reason, OA_REASON_OK, "a second before it expires");
    c.expires = NOW;
    oa_policy_decide(&policy, &request, &c, &a, &v);
    is_int(v.reason, OA_REASON_EXPIRED, "the second in which it expires");
    c.expires = 1;
    oa_policy_decide(&policy, &request, &c, &a, &v);
    is_int(v.reason, OA_REASON_EXPIRED, "long ago");
    c.expires = INT64_MAX;
    oa_policy_decide(&policy, &request, &c, &a, &v);
    is_int(v.reason, OA_REASON_OK, "in the last of all seconds");
    request.now = INT64_MAX;
    oa_policy_decide(&policy, &request, &c, &a, &v);
    is_int(v.reason, OA_REASON_EXPIRED, "which comes");
    request.now = NOW;
    c.expires = 0;

    /* values that no record has deny */

    c.state = (oa_state_t) 0;
    oa_policy_decide(&policy, &request, &c, &a, &v);
    is_int(v.reason, OA_REASON_REVOKED, "no state is not active");
    c.state = (oa_state_t) 99;
    oa_policy_decide(&policy, &request, &c, &a, &v);
    is_int(v.reason, OA_REASON_REVOKED, "nor is an unknown one");
    c.state = OA_STATE_ACTIVE;

    c.environment = OA_ENV_NONE;
    oa_policy_decide(&policy, &request, &c, &a, &v);
    is_int(v.reason, OA_REASON_ENVIRONMENT, "no environment is in none");
    policy.environment = OA_ENV_ANY;
    oa_policy_decide(&policy, &request, &c, &a, &v);
    is_int(v.reason, OA_REASON_ENVIRONMENT, "nor in any");
    c.environment = OA_ENV_LIVE;
    policy.environment = OA_ENV_NONE;
    oa_policy_decide(&policy, &request, &c, &a, &v);
    is_int(v.reason, OA_REASON_ENVIRONMENT, "a place that admits none");
    policy.environment = OA_ENV_LIVE;

    a.ips = str("\x04\x20\xcb");
    oa_policy_decide(&policy, &request, &c, &a, &v);
    is_int(v.reason, OA_REASON_IP, "a list that is broken admits nobody");
    a.ips = (oa_str_t) oa_null;
    c.ips = str("\x07");
    oa_policy_decide(&policy, &request, &c, &a, &v);
    is_int(v.reason, OA_REASON_IP, "nor one of the credential");
    c.ips = (oa_str_t) oa_null;

    /* which rule and which requirement denied */

    needs[0].what = OA_REQUIRE_SCOPE;
    needs[0].any = str("read:plans");
    needs[1].what = OA_REQUIRE_ROLE;
    needs[1].any = str("accounting boss");

    rules[0].requirements = needs;
    rules[0].n = 1;
    rules[1].requirements = needs;
    rules[1].n = 2;

    policy.rules = rules;
    policy.n = 2;

    oa_policy_decide(&policy, &request, &c, &a, &v);
    ok(v.reason == OA_REASON_ROLE && v.rule == &rules[1]
       && v.requirement == &needs[1] && !v.admin, "the one that denied");

    a.roles = str("boss");
    oa_policy_decide(&policy, &request, &c, &a, &v);
    ok(v.reason == OA_REASON_OK && v.rule == NULL && v.requirement == NULL
       && !v.admin, "passed without being an admin");

    a.roles = str("administrator");
    oa_policy_decide(&policy, &request, &c, &a, &v);
    ok(v.reason == OA_REASON_OK && v.admin, "passed as an admin");

    policy.admin = 0;
    oa_policy_decide(&policy, &request, &c, &a, &v);
    ok(v.reason == OA_REASON_ROLE && !v.admin,
       "off is off, whoever is still named");
    policy.admin = 1;

    policy.n = 0;
    oa_policy_decide(&policy, &request, &c, &a, &v);
    ok(v.reason == OA_REASON_OK && !v.admin, "no rule to pass as an admin");
    policy.n = 2;

    policy.admin_roles = str("");
    policy.admin_scopes = (oa_str_t) oa_null;
    oa_policy_decide(&policy, &request, &c, &a, &v);
    ok(v.reason == OA_REASON_ROLE && !v.admin, "nobody named, nobody admin");
    policy.admin_roles = str("administrator");

    a.roles = str("customer");
    a.enabled = 0;
    oa_policy_decide(&policy, &request, &c, &a, &v);
    ok(v.reason == OA_REASON_DISABLED && v.rule == NULL
       && v.requirement == NULL, "no rule denied a disabled account");
    a.enabled = 1;

    /* a requirement that nobody can meet, or that nobody knows */

    policy.n = 1;
    needs[0].any = (oa_str_t) oa_null;
    oa_policy_decide(&policy, &request, &c, &a, &v);
    is_int(v.reason, OA_REASON_SCOPE, "any scope of none");
    needs[0].what = OA_REQUIRE_ROLE;
    oa_policy_decide(&policy, &request, &c, &a, &v);
    is_int(v.reason, OA_REASON_ROLE, "any role of none");
    needs[0].what = (oa_require_t) 99;
    needs[0].any = str("read:plans");
    oa_policy_decide(&policy, &request, &c, &a, &v);
    ok(v.reason == OA_REASON_UNAVAILABLE && v.rule == &rules[0],
       "an unknown requirement denies");
    needs[0].what = OA_REQUIRE_SCOPE;

    /* a pattern that can't be run may not be skipped */

    policy.n = 2;
    rules[0].uri = "x";
    rules[1].n = 0;
    request.uri_match = match_error;
    request.data = &calls;
    calls = 0;
    oa_policy_decide(&policy, &request, &c, &a, &v);
    ok(v.reason == OA_REASON_UNAVAILABLE && v.rule == &rules[0]
       && v.requirement == NULL && calls == 1, "a pattern that fails denies");

    request.uri_match = match_invalid;
    oa_policy_decide(&policy, &request, &c, &a, &v);
    is_int(v.reason, OA_REASON_UNAVAILABLE, "whatever it returns");
    request.uri_match = NULL;
    oa_policy_decide(&policy, &request, &c, &a, &v);
    is_int(v.reason, OA_REASON_UNAVAILABLE, "or where nobody can run it");

    request.uri_match = match_error;
    rules[0].methods = 4;
    oa_policy_decide(&policy, &request, &c, &a, &v);
    ok(v.reason == OA_REASON_OK && calls == 1,
       "it is not run where the method does not match");
    rules[0].methods = 0;

    c.scopes = str("admin");
    policy.admin_scopes = str("admin");
    oa_policy_decide(&policy, &request, &c, &a, &v);
    ok(v.reason == OA_REASON_OK && v.admin && v.rule == NULL,
       "nor does it hold up an admin");
    c.scopes = str("read:plans");

    /* methods are bits, to the last of them */

    request.uri_match = match_count;
    calls = 0;
    policy.n = 1;

    for (i = 0; i < 32; i++) {
        rules[0].methods = (uint32_t) 1 << i;

        request.method = (uint32_t) 1 << i;
        oa_policy_decide(&policy, &request, &c, &a, &v);

        if (v.reason != OA_REASON_OK) {
            break;
        }

        request.method = (uint32_t) 1 << (i + 1) % 32;
        oa_policy_decide(&policy, &request, &c, &a, &v);

        if (v.reason != OA_REASON_NO_RULE) {
            break;
        }
    }

    ok(i == 32 && calls == 32, "every bit of a method");

    rules[0].methods = 0xffffffff;
    request.method = 0;
    oa_policy_decide(&policy, &request, &c, &a, &v);
    is_int(v.reason, OA_REASON_NO_RULE,
           "an unknown method is not among those named");
    rules[0].methods = 0;
    oa_policy_decide(&policy, &request, &c, &a, &v);
    is_int(v.reason, OA_REASON_OK, "but among all of them");
}


int
main(void)
{
    particular();

    return done_testing();
}
