/*
 * Whether the gateway would accept an entry, by the code that it packs records
 * with (cli_entry.h).
 */

#include <jansson.h>

#include "cli_entry.h"
#include "cli_memory.h"
#include "cli_text.h"

#include "oa_record.h"
#include "oa_text.h"


/* fields that people read and the gateway does not */
static const char *const  extras[] = {
    "name", "description", "hint", "created", "updated", "successor",
    "predecessor"
};


/* packing wants a hasher for the place of the account; any will do */
static oa_hasher_t *
any_hasher(void)
{
    static oa_hasher_t  hasher;

    oa_str_t  pepper = oa_string("no pepper at all");

    if (hasher.n == 0 && oa_hasher_init(&hasher, &pepper, 1) != OA_OK) {
        return NULL;
    }

    return &hasher;
}


static const char *
field_wrong(const cli_entry_t *entry, oa_str_t field)
{
    oa_rc_t      rc;
    char        *name;
    oa_str_t     value;
    const char  *error;

    name = cli_copy(field.data, field.len);
    value = cli_entry_get(entry, name);

    if (value.data == NULL) {
        return cli_format("\"%s\": is missing", name);
    }

    rc = (entry->account ? oa_account_field_check : oa_credential_field_check)
         (name, value, &error);

    return (rc == OA_OK) ? "the record is too large for the gateway's cache"
                         : cli_format("\"%s\": %s", name, error);
}


const char *
cli_entry_check(cli_t *cli, const cli_entry_t *entry)
{
    size_t         i, n, len;
    oa_rc_t        rc;
    oa_str_t       field, value, values[OA_CREDENTIAL_FIELDS];
    const char    *error;
    oa_hasher_t   *hasher;
    unsigned char  packed[OA_RECORD_MAX];

    n = entry->account ? OA_ACCOUNT_FIELDS : OA_CREDENTIAL_FIELDS;

    for (i = 0; i < n; i++) {
        field = (entry->account ? oa_account_fields : oa_credential_fields)[i];
        /* these are literals, which end */
        values[i] = cli_entry_get(entry, (const char *) field.data);
    }

    if (entry->account
        && oa_credential_field_check("account", entry->id, &error) != OA_OK)
    {
        return cli_format("\"id\": %s", error);
    }

    if (entry->account) {
        rc = oa_account_pack(entry->id, values, packed, &len, &field);
        rc = (rc == OA_DECLINED) ? OA_INVALID : rc;
        field = (values[0].data == NULL) ? oa_account_fields[0] : field;

    } else {
        hasher = any_hasher();
        rc = (hasher == NULL) ? OA_ERROR
             : oa_credential_pack(values, hasher, packed, &len, &field);
    }

    if (rc == OA_ERROR) {
        return "libcrypto failed";
    }

    if (rc != OA_OK) {
        return field_wrong(entry, field);
    }

    for (i = 0; i < sizeof(extras) / sizeof(extras[0]); i++) {
        value = cli_entry_get(entry, extras[i]);

        if (value.data != NULL
            && oa_credential_field_check(extras[i], value, &error) != OA_OK)
        {
            return cli_format("\"%s\": %s", extras[i], error);
        }
    }

    return NULL;
}
