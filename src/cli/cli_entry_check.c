/*
 * Whether the gateway would accept an entry, by the code that it packs records
 * with (cli_entry.h).
 */

#include <jansson.h>

#include "cli_entry.h"
#include "cli_memory.h"
#include "cli_text.h"

#include "oa_client.h"
#include "oa_record.h"
#include "oa_text.h"

#include <string.h>


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


/* data NULL: it is right. What only accounts have is no field of packing */
static const char *
extras_check(const cli_entry_t *entry)
{
    size_t       i;
    oa_str_t     value;
    const char  *error;

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

    rc = (entry->type == &cli_type_account ? oa_account_field_check
          : entry->type == &cli_type_client ? oa_client_field_check
          : oa_credential_field_check)(name, value, &error);

    return (rc == OA_OK) ? "the record is too large for the gateway's cache"
                         : cli_format("\"%s\": %s", name, error);
}


/* the record of a client is read in one go, and kept nowhere */
static const char *
client_check(const cli_entry_t *entry)
{
    size_t        i;
    oa_str_t      field, values[OA_CLIENT_FIELDS];
    const char   *error, *wrong;
    oa_client_t   client;

    if (oa_credential_field_check("account", entry->id, &error) != OA_OK) {
        return cli_format("\"id\": %s", error);
    }

    for (i = 0; i < OA_CLIENT_FIELDS; i++) {
        values[i] = cli_entry_get(entry,
                                  (const char *) oa_client_fields[i].data);
    }

    if (oa_client_read(entry->id, values, &client, &field) == OA_OK) {
        return extras_check(entry);
    }

    field = (field.data == NULL) ? oa_client_fields[0] : field;
    wrong = cli_copy(field.data, field.len);

    return (cli_entry_get(entry, wrong).data != NULL
            && oa_client_field_check(wrong, cli_entry_get(entry, wrong),
                                     &error) != OA_OK)
           ? cli_format("\"%s\": %s", wrong, error)
           : cli_format("\"%s\": is missing, or does not go with the rest",
                        wrong);
}


const char *
cli_entry_check(cli_t *cli, const cli_entry_t *entry)
{
    int            account;
    size_t         i, n, len;
    oa_rc_t        rc;
    oa_str_t       field, value, values[OA_CREDENTIAL_FIELDS];
    const char    *error;
    oa_hasher_t   *hasher;
    unsigned char  packed[OA_RECORD_MAX];

    if (entry->type == &cli_type_client) {
        return client_check(entry);
    }

    account = (entry->type == &cli_type_account);
    n = account ? OA_ACCOUNT_FIELDS : OA_CREDENTIAL_FIELDS;

    for (i = 0; i < n; i++) {
        field = (account ? oa_account_fields : oa_credential_fields)[i];
        /* these are literals, which end */
        values[i] = cli_entry_get(entry, (const char *) field.data);
    }

    if (account
        && oa_credential_field_check("account", entry->id, &error) != OA_OK)
    {
        return cli_format("\"id\": %s", error);
    }

    if (account) {
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

    value = cli_entry_get(entry, "scopes");

    if (account && value.data != NULL
        && oa_credential_field_check("scopes", value, &error) != OA_OK)
    {
        return cli_format("\"scopes\": %s", error);
    }

    return extras_check(entry);
}
