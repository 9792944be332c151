/*
 * Records: from the fields of a Redis hash to one packed block of bytes that
 * the shared cache can hold as it is, and from there to a view that the policy
 * reads. Packing checks every field and every limit, once; viewing checks
 * bounds only, so that a damaged block is refused and never read beyond.
 *
 * Packed block: a header of fixed size, then the texts one behind another
 * (lengths in the header). Only what the gateway needs is packed: no names,
 * no hints. It never contains a credential.
 */

#ifndef OA_RECORD_H
#define OA_RECORD_H

#include "oa_core.h"
#include "oa_digest.h"


/* what fits one set of the cache; a larger record is OA_INVALID */
#define OA_RECORD_MAX          1920

/* the layout of docs/records.md; field "v" */
#define OA_RECORD_VERSION      1


typedef enum {
    OA_STATE_ACTIVE = 1,
    OA_STATE_DEPRECATED,
    OA_STATE_REVOKED
} oa_state_t;


typedef enum {
    OA_KIND_API_KEY = 1,
    OA_KIND_ACCESS_TOKEN
} oa_kind_t;


typedef struct {
    oa_kind_t             kind:8;
    oa_state_t            state:8;
    oa_environment_t      environment:8;
    unsigned              introspected:1;   /* another server's token: its
                                               word for it ends at expires */
    int64_t               expires;      /* Unix seconds, 0 = never */
    int64_t               deprecated;   /* since when, 0 = not said */
    oa_str_t              id;           /* key_..., tok_... */
    oa_str_t              account;
    oa_str_t              scopes;       /* oa_set */
    oa_str_t              ips;          /* oa_cidr, packed */
    oa_str_t              subject;      /* OAuth */
    oa_str_t              client;       /* OAuth */
    const unsigned char  *account_key;  /* OA_ACCOUNT_KEY_LEN bytes */
    const unsigned char  *claims;       /* for oa_credential_claims(), or NULL */
} oa_credential_t;


typedef struct {
    unsigned              enabled:1;
    unsigned              refresh:1;
    oa_str_t              id;
    oa_str_t              tenant;
    oa_str_t              affiliate;
    oa_str_t              roles;        /* oa_set */
    oa_str_t              ips;          /* oa_cidr, packed */
    oa_str_t              rate;
} oa_account_t;


/* the fields to ask Redis for (HMGET), in the order that packing expects */
#define OA_CREDENTIAL_FIELDS   16
#define OA_ACCOUNT_FIELDS      7

extern const oa_str_t  oa_credential_fields[OA_CREDENTIAL_FIELDS];
extern const oa_str_t  oa_account_fields[OA_ACCOUNT_FIELDS];


/*
 * Values in field order (absent: data == NULL) -> packed block.
 * OA_OK        *len bytes of out[OA_RECORD_MAX] are the block
 * OA_DECLINED  every field is absent: there is no such record
 * OA_INVALID   a field is missing or has a wrong form; *field names it
 * OA_ERROR     libcrypto failed
 * Required: v, id, kind, account, state, environment, scopes, expires.
 * Never guessed: a missing state is not "active", a missing expires not 0.
 */
OA_WARM oa_rc_t oa_credential_pack(const oa_str_t values[OA_CREDENTIAL_FIELDS],
    oa_hasher_t *hasher, unsigned char *out, size_t *len, oa_str_t *field);

/* id is the account's id, as it was asked for. Required: enabled. */
OA_WARM oa_rc_t oa_account_pack(oa_str_t id,
    const oa_str_t values[OA_ACCOUNT_FIELDS], unsigned char *out, size_t *len,
    oa_str_t *field);

/* views point into packed and live as long; OA_INVALID: not such a block */
OA_HOT oa_rc_t oa_credential_view(const unsigned char *packed, size_t len,
    oa_credential_t *credential);
OA_HOT oa_rc_t oa_account_view(const unsigned char *packed, size_t len,
    oa_account_t *account);

/*
 * Puts what the credential itself says of tenant, affiliate and roles in place
 * of what its account says; also where that is nothing. The views point into
 * the credential's block then. Only where credential->claims is not NULL.
 */
OA_APART void oa_credential_claims(const oa_credential_t *credential,
    oa_account_t *account);

/*
 * One field's value checked alone, as packing would (for the command line,
 * so that it can't write what the gateway would refuse): OA_OK, or
 * OA_INVALID with *error (static text: what form is expected). Fields for people
 * are known, too, and an account's scopes, which only the token service reads.
 */
oa_rc_t oa_credential_field_check(const char *field, oa_str_t value,
    const char **error);
oa_rc_t oa_account_field_check(const char *field, oa_str_t value,
    const char **error);

const char *oa_state_name(oa_state_t state);
const char *oa_kind_name(oa_kind_t kind);
const char *oa_environment_name(oa_environment_t environment);


#endif /* OA_RECORD_H */
