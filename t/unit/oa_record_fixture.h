/*
 * A good credential and a good account, field by field, for the tests of
 * records.
 */

#ifndef OA_RECORD_FIXTURE_H
#define OA_RECORD_FIXTURE_H

#include <string.h>

#include "oa_record.h"


static oa_hasher_t  hasher;


/* places of the fields, as the header gives their order */
enum { V, ID, KIND, ACCOUNT, STATE, ENVIRONMENT, SCOPES, IPS, EXPIRES,
       SUBJECT, CLIENT, DEPRECATED, OWN_TENANT, OWN_AFFILIATE, OWN_ROLES,
       INTROSPECTED };
enum { ENABLED, TENANT, AFFILIATE, ROLES, ACCOUNT_IPS, RATE, REFRESH };


static const char *const  credential_values[OA_CREDENTIAL_FIELDS] = {
    "1", "key_9f", "api_key", "crm", "active", "live", "read:* write:tenants",
    "203.0.113.0/24 2001:db8::/32", "1900000000", "user-7", "client_1",
    "1700000000", "org_9", "aff_3", "partner plans", "1700000001"
};

static const char *const  account_values[OA_ACCOUNT_FIELDS] = {
    "1", "org_42", "aff_7", "customer plans-and-rates", "198.51.100.7",
    "300/m", "1"
};


static oa_str_t
str(const char *s)
{
    return (oa_str_t) { s ? strlen(s) : 0, (const unsigned char *) s };
}


static void
fill(oa_str_t *values, const char *const *texts, size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        values[i] = str(texts[i]);
    }
}


static oa_rc_t
pack_credential(const oa_str_t *values, unsigned char *out, size_t *len,
    oa_str_t *field)
{
    field->len = 1;
    field->data = (const unsigned char *) "?";
    *len = 0;

    return oa_credential_pack(values, &hasher, out, len, field);
}


#endif /* OA_RECORD_FIXTURE_H */
