/*
 * The policy: verdict = f(credential, account, request facts, rules, now).
 * Pure; the same code decides in the module and in "opsauth explain".
 *
 * Order (docs/verdicts.md): environment, state, expiry, account enabled, IP
 * lists of account and credential (both must admit), rules. First failure
 * decides.
 */

#ifndef OA_POLICY_H
#define OA_POLICY_H

#include "oa_cidr.h"
#include "oa_key.h"
#include "oa_reason.h"
#include "oa_record.h"


typedef enum {
    OA_REQUIRE_SCOPE = 1,
    OA_REQUIRE_ROLE
} oa_require_t;


/* any word of the set will do */
typedef struct {
    oa_require_t              what;
    oa_str_t                  any;          /* oa_set */
} oa_requirement_t;


/* one opsauth_require line: where it matches, all requirements must hold */
typedef struct {
    uint32_t                  methods;      /* mask of bits; 0 = every method */
    const void               *uri;         /* for uri_match; NULL = every URI */
    const oa_requirement_t   *requirements;
    size_t                    n;
} oa_rule_t;


typedef struct {
    oa_environment_t          environment;  /* mask of what is admitted */
    const oa_rule_t          *rules;
    size_t                    n;
    unsigned                  admin:1;      /* opsauth_admin is not off */
    oa_str_t                  admin_roles;  /* oa_set; any of them ... */
    oa_str_t                  admin_scopes; /* ... or any of these, literally */
} oa_policy_t;


typedef struct {
    uint32_t                  method;       /* one bit, 0 = one unknown to us */
    oa_addr_t                 addr;         /* the client's, after realip */
    int64_t                   now;          /* Unix seconds */

    /* OA_OK: matches, OA_DECLINED: does not, anything else: an error */
    oa_rc_t                 (*uri_match)(const void *uri, void *data);
    void                     *data;
} oa_request_t;


typedef struct {
    oa_reason_t               reason;
    const oa_rule_t          *rule;         /* that denied, or NULL */
    const oa_requirement_t   *requirement;  /* of it that failed, or NULL */
    unsigned                  admin:1;      /* passes as such, by no rule */
} oa_verdict_t;


/*
 * A rule whose uri_match errs denies with OA_REASON_UNAVAILABLE: it may not
 * be skipped, and it is not the client's fault.
 */
OA_HOT void oa_policy_decide(const oa_policy_t *policy, const oa_request_t *request,
    const oa_credential_t *credential, const oa_account_t *account,
    oa_verdict_t *verdict);


/* the checks that oa_policy_decide() makes, in its order */
typedef enum {
    OA_CHECK_ENVIRONMENT = 0,
    OA_CHECK_STATE,
    OA_CHECK_EXPIRY,
    OA_CHECK_ENABLED,
    OA_CHECK_ACCOUNT_IPS,
    OA_CHECK_CREDENTIAL_IPS,
    OA_CHECK_ADMIN,                     /* OA_OK: passes, rules don't count */
    OA_CHECK_MATCH,                     /* does this rule apply? */
    OA_CHECK_REQUIREMENT,
    OA_CHECK_ANY_RULE,                  /* did any apply? */
    OA_CHECK_COUNT
} oa_check_t;


typedef struct {
    oa_check_t                check;
    oa_rc_t                   rc;           /* OA_OK, OA_DECLINED, or error */
    const oa_rule_t          *rule;         /* of the checks on rules, or NULL */
    const oa_requirement_t   *requirement;  /* of OA_CHECK_REQUIREMENT */
} oa_step_t;


typedef struct {
    void                    (*step)(void *data, const oa_step_t *step);
    void                     *data;
} oa_trace_t;


/* oa_policy_decide() by the same code, which tells of each check it makes */
void oa_policy_explain(const oa_policy_t *policy, const oa_request_t *request,
    const oa_credential_t *credential, const oa_account_t *account,
    oa_verdict_t *verdict, const oa_trace_t *trace);

/*
 * What can be said of a credential without asking anybody: OA_REASON_OK,
 * OA_REASON_ENVIRONMENT by its prefix, or OA_REASON_CHECKSUM. *prefix is the
 * prefix that it has, NULL for an access token.
 */
OA_HOT oa_reason_t oa_policy_offline(const oa_key_prefix_t *prefixes, size_t n,
    oa_environment_t admits, oa_str_t credential,
    const oa_key_prefix_t **prefix);


#endif /* OA_POLICY_H */
