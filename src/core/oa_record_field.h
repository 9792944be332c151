/*
 * The form of each field of a record: what oa_record.c packs and what the
 * command line checks before it writes.  Private to src/core.
 */

#ifndef OA_RECORD_FIELD_H
#define OA_RECORD_FIELD_H

#include "oa_record.h"


typedef struct {
    unsigned      required;
    size_t        max;                  /* bytes */
    int         (*check)(oa_str_t value);
    const char   *expected;             /* for people */
} oa_record_form_t;


/* places in oa_credential_fields and oa_credential_forms */
enum {
    OA_CREDENTIAL_V = 0,
    OA_CREDENTIAL_ID,
    OA_CREDENTIAL_KIND,
    OA_CREDENTIAL_ACCOUNT,
    OA_CREDENTIAL_STATE,
    OA_CREDENTIAL_ENVIRONMENT,
    OA_CREDENTIAL_SCOPES,
    OA_CREDENTIAL_IPS,
    OA_CREDENTIAL_EXPIRES,
    OA_CREDENTIAL_SUBJECT,
    OA_CREDENTIAL_CLIENT,
    OA_CREDENTIAL_DEPRECATED,
    OA_CREDENTIAL_TENANT,
    OA_CREDENTIAL_AFFILIATE,
    OA_CREDENTIAL_ROLES,
    OA_CREDENTIAL_INTROSPECTED
};

/* places in oa_account_fields and oa_account_forms */
enum {
    OA_ACCOUNT_ENABLED = 0,
    OA_ACCOUNT_TENANT,
    OA_ACCOUNT_AFFILIATE,
    OA_ACCOUNT_ROLES,
    OA_ACCOUNT_IPS,
    OA_ACCOUNT_RATE,
    OA_ACCOUNT_REFRESH
};

extern const oa_record_form_t  oa_credential_forms[OA_CREDENTIAL_FIELDS];
extern const oa_record_form_t  oa_account_forms[OA_ACCOUNT_FIELDS];


/* what the forms of these check */
int oa_field_version(oa_str_t value);
int oa_field_flag(oa_str_t value);
int oa_field_rate(oa_str_t value);

/* 0: no such word */
oa_kind_t oa_kind_value(oa_str_t word);
OA_WARM oa_state_t oa_state_value(oa_str_t word);
oa_environment_t oa_environment_value(oa_str_t word);


#endif /* OA_RECORD_FIELD_H */
