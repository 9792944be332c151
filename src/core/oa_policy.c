/*
 * The verdict on a credential that is known.
 *
 * Contract: pure; checks in the order of DESIGN section 6, the first failure
 * decides, and whatever is not a clear yes denies: an address list that is
 * broken, a rule whose pattern can't be run, a requirement of a kind unknown
 * here.  Cheap checks stand first; a place without rules costs no set look-up.
 * Called by the access phase for each request and by "opsauth explain".
 */

#include "oa_policy.h"
#include "oa_set.h"


static oa_reason_t oa_policy_credential(const oa_policy_t *policy,
    const oa_request_t *request, const oa_credential_t *credential,
    const oa_account_t *account);
static int oa_policy_is_admin(const oa_policy_t *policy,
    const oa_credential_t *credential, const oa_account_t *account);
static oa_rc_t oa_policy_rule_matches(const oa_rule_t *rule,
    const oa_request_t *request);
static oa_reason_t oa_policy_require(const oa_requirement_t *requirement,
    const oa_credential_t *credential, const oa_account_t *account);


void
oa_policy_decide(const oa_policy_t *policy, const oa_request_t *request,
    const oa_credential_t *credential, const oa_account_t *account,
    oa_verdict_t *verdict)
{
    size_t            i, k, matched;
    oa_rc_t           rc;
    oa_reason_t       reason;
    const oa_rule_t  *rule;

    verdict->rule = NULL;
    verdict->requirement = NULL;
    verdict->admin = 0;

    verdict->reason = oa_policy_credential(policy, request, credential,
                                           account);

    if (verdict->reason != OA_REASON_OK || policy->n == 0) {
        return;
    }

    if (oa_policy_is_admin(policy, credential, account)) {
        verdict->admin = 1;
        return;
    }

    matched = 0;

    for (i = 0; i < policy->n; i++) {

        rule = &policy->rules[i];

        rc = oa_policy_rule_matches(rule, request);

        if (rc == OA_DECLINED) {
            continue;
        }

        if (rc != OA_OK) {
            verdict->reason = OA_REASON_UNAVAILABLE;
            verdict->rule = rule;
            return;
        }

        matched++;

        for (k = 0; k < rule->n; k++) {

            reason = oa_policy_require(&rule->requirements[k], credential,
                                       account);

            if (reason != OA_REASON_OK) {
                verdict->reason = reason;
                verdict->rule = rule;
                verdict->requirement = &rule->requirements[k];
                return;
            }
        }
    }

    if (matched == 0) {
        verdict->reason = OA_REASON_NO_RULE;
    }
}


/* all that holds for everybody, administrators included */

static oa_reason_t
oa_policy_credential(const oa_policy_t *policy, const oa_request_t *request,
    const oa_credential_t *credential, const oa_account_t *account)
{
    if ((policy->environment & credential->environment) == 0) {
        return OA_REASON_ENVIRONMENT;
    }

    if (credential->state != OA_STATE_ACTIVE
        && credential->state != OA_STATE_DEPRECATED)
    {
        return OA_REASON_REVOKED;
    }

    if (credential->expires != 0 && request->now >= credential->expires) {
        return OA_REASON_EXPIRED;
    }

    if (!account->enabled) {
        return OA_REASON_DISABLED;
    }

    if (oa_cidr_match(account->ips, &request->addr) != OA_OK
        || oa_cidr_match(credential->ips, &request->addr) != OA_OK)
    {
        return OA_REASON_IP;
    }

    return OA_REASON_OK;
}


static int
oa_policy_is_admin(const oa_policy_t *policy,
    const oa_credential_t *credential, const oa_account_t *account)
{
    return policy->admin
           && (oa_set_has_any(account->roles, policy->admin_roles)
               || oa_set_has_any(credential->scopes, policy->admin_scopes));
}


static oa_rc_t
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


static oa_reason_t
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
