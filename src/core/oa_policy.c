/*
 * The verdict on a credential that is known.
 *
 * Contract: pure; checks in the order of docs/verdicts.md, the first failure
 * decides, and whatever is not a clear yes denies: an address list that is
 * broken, a rule whose pattern can't be run, a requirement of a kind unknown
 * here.  Cheap checks stand first; a place without rules costs no set look-up.
 * Called by the access phase for each request, and with a trace by "opsauth
 * explain": one text, compiled twice, so that the order can't differ and the
 * access phase pays nothing for it.
 */

#include "oa_policy.h"
#include "oa_set.h"


#define OA_POLICY_INLINE  static inline __attribute__((always_inline))


/* tells of a check, where anybody listens */

OA_POLICY_INLINE int
oa_policy_told(const oa_trace_t *trace, oa_check_t check, oa_rc_t rc,
    const oa_rule_t *rule, const oa_requirement_t *requirement)
{
    oa_step_t  step;

    if (trace != NULL) {
        step.check = check;
        step.rc = rc;
        step.rule = rule;
        step.requirement = requirement;

        trace->step(trace->data, &step);
    }

    return rc == OA_OK;
}


/* the same for a check of the credential that holds or does not */

OA_POLICY_INLINE int
oa_policy_holds(const oa_trace_t *trace, oa_check_t check, int holds)
{
    return oa_policy_told(trace, check, holds ? OA_OK : OA_DECLINED, NULL,
                          NULL);
}


/* all that holds for everybody, administrators included */

OA_POLICY_INLINE oa_reason_t
oa_policy_credential(const oa_policy_t *policy, const oa_request_t *request,
    const oa_credential_t *credential, const oa_account_t *account,
    const oa_trace_t *trace)
{
    if (!oa_policy_holds(trace, OA_CHECK_ENVIRONMENT,
                         (policy->environment & credential->environment) != 0))
    {
        return OA_REASON_ENVIRONMENT;
    }

    if (!oa_policy_holds(trace, OA_CHECK_STATE,
                         credential->state == OA_STATE_ACTIVE
                         || credential->state == OA_STATE_DEPRECATED))
    {
        return OA_REASON_REVOKED;
    }

    if (!oa_policy_holds(trace, OA_CHECK_EXPIRY,
                         credential->expires == 0
                         || request->now < credential->expires))
    {
        return OA_REASON_EXPIRED;
    }

    if (!oa_policy_holds(trace, OA_CHECK_ENABLED, account->enabled)) {
        return OA_REASON_DISABLED;
    }

    if (!oa_policy_told(trace, OA_CHECK_ACCOUNT_IPS,
                        oa_cidr_match(account->ips, &request->addr), NULL,
                        NULL)
        || !oa_policy_told(trace, OA_CHECK_CREDENTIAL_IPS,
                           oa_cidr_match(credential->ips, &request->addr),
                           NULL, NULL))
    {
        return OA_REASON_IP;
    }

    return OA_REASON_OK;
}


OA_POLICY_INLINE int
oa_policy_is_admin(const oa_policy_t *policy,
    const oa_credential_t *credential, const oa_account_t *account)
{
    return policy->admin
           && (oa_set_has_any(account->roles, policy->admin_roles)
               || oa_set_has_any(credential->scopes, policy->admin_scopes));
}


OA_POLICY_INLINE oa_rc_t
oa_policy_rule_matches(const oa_rule_t *rule, const oa_request_t *request)
{
    if (rule->methods != 0 && (rule->methods & request->method) == 0) {
        return OA_DECLINED;
    }

    if (rule->uri == NULL) {
        return OA_OK;
    }

    if (request->uri_match == NULL) {
        return OA_ERROR;
    }

    return request->uri_match(rule->uri, request->data);
}


OA_POLICY_INLINE oa_reason_t
oa_policy_require(const oa_requirement_t *requirement,
    const oa_credential_t *credential, const oa_account_t *account)
{
    switch (requirement->what) {

    case OA_REQUIRE_SCOPE:
        return oa_scope_grants_any(credential->scopes, requirement->any)
               ? OA_REASON_OK : OA_REASON_SCOPE;

    case OA_REQUIRE_ROLE:
        return oa_set_has_any(account->roles, requirement->any)
               ? OA_REASON_OK : OA_REASON_ROLE;
    }

    return OA_REASON_UNAVAILABLE;
}


/* where the rule applies, all its requirements must hold */

OA_POLICY_INLINE oa_reason_t
oa_policy_rule(const oa_rule_t *rule, const oa_credential_t *credential,
    const oa_account_t *account, oa_verdict_t *verdict,
    const oa_trace_t *trace)
{
    size_t       k;
    oa_reason_t  reason;

    for (k = 0; k < rule->n; k++) {

        reason = oa_policy_require(&rule->requirements[k], credential,
                                   account);

        if (!oa_policy_told(trace, OA_CHECK_REQUIREMENT,
                            (reason == OA_REASON_OK) ? OA_OK : OA_DECLINED,
                            rule, &rule->requirements[k]))
        {
            verdict->rule = rule;
            verdict->requirement = &rule->requirements[k];
            return reason;
        }
    }

    return OA_REASON_OK;
}


OA_POLICY_INLINE oa_reason_t
oa_policy_rules(const oa_policy_t *policy, const oa_request_t *request,
    const oa_credential_t *credential, const oa_account_t *account,
    oa_verdict_t *verdict, const oa_trace_t *trace)
{
    size_t            i, matched;
    oa_rc_t           rc;
    oa_reason_t       reason;
    const oa_rule_t  *rule;

    matched = 0;

    for (i = 0; i < policy->n; i++) {

        rule = &policy->rules[i];

        rc = oa_policy_rule_matches(rule, request);

        (void) oa_policy_told(trace, OA_CHECK_MATCH, rc, rule, NULL);

        if (rc == OA_DECLINED) {
            continue;
        }

        if (rc != OA_OK) {
            verdict->rule = rule;
            return OA_REASON_UNAVAILABLE;
        }

        matched++;

        reason = oa_policy_rule(rule, credential, account, verdict, trace);

        if (reason != OA_REASON_OK) {
            return reason;
        }
    }

    return oa_policy_holds(trace, OA_CHECK_ANY_RULE, matched != 0)
           ? OA_REASON_OK : OA_REASON_NO_RULE;
}


OA_POLICY_INLINE void
oa_policy_run(const oa_policy_t *policy, const oa_request_t *request,
    const oa_credential_t *credential, const oa_account_t *account,
    oa_verdict_t *verdict, const oa_trace_t *trace)
{
    verdict->rule = NULL;
    verdict->requirement = NULL;
    verdict->admin = 0;

    verdict->reason = oa_policy_credential(policy, request, credential,
                                           account, trace);

    if (verdict->reason != OA_REASON_OK || policy->n == 0) {
        return;
    }

    /*
     * An administrator needs no rule, and is told of first; but few requests
     * are an administrator's, so that who passes the rules isn't looked at.
     */

    if (trace != NULL
        && oa_policy_holds(trace, OA_CHECK_ADMIN,
                           oa_policy_is_admin(policy, credential, account)))
    {
        trace = NULL;
    }

    verdict->reason = oa_policy_rules(policy, request, credential, account,
                                      verdict, trace);

    if (verdict->reason != OA_REASON_OK
        && oa_policy_is_admin(policy, credential, account))
    {
        verdict->reason = OA_REASON_OK;
        verdict->rule = NULL;
        verdict->requirement = NULL;
        verdict->admin = 1;
    }
}


void
oa_policy_decide(const oa_policy_t *policy, const oa_request_t *request,
    const oa_credential_t *credential, const oa_account_t *account,
    oa_verdict_t *verdict)
{
    oa_policy_run(policy, request, credential, account, verdict, NULL);
}


void
oa_policy_explain(const oa_policy_t *policy, const oa_request_t *request,
    const oa_credential_t *credential, const oa_account_t *account,
    oa_verdict_t *verdict, const oa_trace_t *trace)
{
    oa_policy_run(policy, request, credential, account, verdict, trace);
}


oa_reason_t
oa_policy_offline(const oa_key_prefix_t *prefixes, size_t n,
    oa_environment_t admits, oa_str_t credential,
    const oa_key_prefix_t **prefix)
{
    *prefix = oa_key_prefix_find(prefixes, n, credential);

    if (*prefix == NULL) {
        return OA_REASON_OK;            /* an access token */
    }

    if (!((*prefix)->environment & admits)) {
        return OA_REASON_ENVIRONMENT;
    }

    if (oa_key_check(*prefix, credential) != OA_OK) {
        return OA_REASON_CHECKSUM;
    }

    return OA_REASON_OK;
}
