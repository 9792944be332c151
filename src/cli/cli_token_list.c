/*
 * opsauth token list: what was issued for an account, by hand or by the
 * gateway: access tokens, and refresh tokens as the families that they are.
 */

#include "cli_account.h"
#include "cli_credential.h"
#include "cli_issued.h"
#include "cli_memory.h"
#include "cli_output.h"
#include "cli_text.h"
#include "cli_time.h"
#include "cli_values.h"

#include "oa_text.h"

#include <stdlib.h>
#include <string.h>


#define HINT  8                         /* of a digest, what may be shown */


typedef struct {
    cli_record_t  *records;
    size_t         n;
    size_t         families;            /* these come last */
} tokens_t;


/* members of both sets -> records, those that there still are */
static int
records_read(cli_t *cli, const oa_str_t *members, size_t n, tokens_t *tokens)
{
    int       rc;
    size_t    i, ids, families;
    oa_str_t  *id, *family;

    id = cli_alloc((n + 1) * sizeof(oa_str_t));
    family = cli_alloc((n + 1) * sizeof(oa_str_t));

    for (i = ids = families = 0; i < n; i++) {
        if (cli_issued_is_family(members[i])) {
            family[families++] = cli_store_key(cli, "", members[i]);

        } else {
            id[ids++] = members[i];
        }
    }

    tokens->records = cli_alloc((n + 1) * sizeof(cli_record_t));
    rc = cli_credential_read_ids(cli, id, ids, tokens->records, &tokens->n);

    if (rc == CLI_OK) {
        rc = cli_store_read_many(cli, family, families,
                                 tokens->records + tokens->n);
    }

    tokens->families = tokens->n;
    tokens->n += families;

    return rc;
}


static int
tokens_read(cli_t *cli, oa_str_t account, tokens_t *tokens)
{
    int         rc;
    size_t      n, old;
    oa_str_t   *issued, *ids, *all;

    rc = cli_store_ranked(cli, cli_store_key(cli, "tokens:", account),
                          &issued, &n);

    if (rc == CLI_OK) {
        rc = cli_store_members(cli, cli_store_key(cli, "credentials:",
                                                  account), &ids, &old);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    all = cli_alloc((n + old + 1) * sizeof(oa_str_t));

    if (n != 0) {
        memcpy(all, issued, n * sizeof(oa_str_t));
    }

    if (old != 0) {
        memcpy(all + n, ids, old * sizeof(oa_str_t));
        cli_issued_sweep(cli, account, ids, old);
    }

    return records_read(cli, all, n + old, tokens);
}


/* of this account and client, and no key */
static int
is_wanted(const cli_record_t *record, oa_str_t account, oa_str_t client,
    int family)
{
    oa_str_t  owner, of;

    if (record->reply == NULL
        || (!family && !oa_text_eq(cli_record_get(record, "kind"),
                                   oa_kind_name(OA_KIND_ACCESS_TOKEN))))
    {
        return 0;
    }

    owner = cli_record_get(record, "account");
    of = cli_record_get(record, "client");

    return owner.len == account.len
           && memcmp(owner.data, account.data, owner.len) == 0
           && (client.data == NULL
               || (of.len == client.len
                   && (of.len == 0
                       || memcmp(of.data, client.data, of.len) == 0)));
}


static oa_str_t
family_id(const cli_record_t *record)
{
    return cli_str(cli_format("refresh_%.*s", HINT,
                              (const char *) record->key.data
                              + record->key.len - OA_DIGEST_HEX_LEN));
}


static json_t *
family_json(cli_t *cli, const cli_record_t *record)
{
    json_t  *object;

    object = json_object();
    json_object_set_new(object, "id", cli_json_str(family_id(record)));
    json_object_set_new(object, "kind", json_string("refresh_token"));
    json_object_set_new(object, "account",
                        cli_json_str(cli_record_get(record, "account")));
    json_object_set_new(object, "state",
        cli_json_str(cli_str(cli_credential_state(cli, record))));
    json_object_set_new(object, "environment",
                        cli_json_str(cli_record_get(record, "environment")));
    json_object_set_new(object, "scopes",
                        cli_json_words(cli_record_get(record, "scopes")));
    json_object_set_new(object, "expires",
                        cli_json_time(cli_record_get(record, "expires")));
    json_object_set_new(object, "created",
                        cli_json_time(cli_record_get(record, "created")));
    json_object_set_new(object, "subject",
                        cli_json_str(cli_record_get(record, "subject")));
    json_object_set_new(object, "client",
                        cli_json_str(cli_record_get(record, "client")));

    return object;
}


static void
token_row(cli_t *cli, cli_table_t *table, const cli_record_t *record,
    int family)
{
    cli_table_add(table, family ? family_id(record)
                                : cli_record_get(record, "id"));
    cli_table_addz(table, family ? "refresh" : "access");
    cli_table_add(table, cli_record_get(record, "client"));
    cli_table_add(table, cli_record_get(record, "subject"));
    cli_table_add(table, cli_record_get(record, "environment"));
    cli_table_addz(table, cli_credential_state(cli, record));
    cli_table_add(table, cli_record_get(record, "scopes"));
    cli_table_addz(table, cli_time_field(cli_record_get(record, "expires"),
                                         "never"));
}


int
cli_token_list(cli_t *cli)
{
    int            rc, family;
    size_t         i;
    json_t        *list;
    oa_str_t       account, client;
    tokens_t       tokens;
    cli_table_t    table;
    cli_record_t   owner, *r;

    static const char *const  head[] = {
        "ID", "KIND", "CLIENT", "SUBJECT", "ENV", "STATE", "SCOPES", "EXPIRES"
    };

    rc = cli_value_required(cli, "account", "whose tokens? (\"opsauth account "
                            "list\" shows all accounts)");

    if (rc == CLI_OK) {
        rc = cli_value(cli, oa_credential_field_check, "account", "account",
                       &account);
    }

    if (rc == CLI_OK) {
        rc = cli_value(cli, oa_credential_field_check, "client", "client",
                       &client);
    }

    if (rc == CLI_OK) {
        rc = cli_store_open(cli);
    }

    if (rc == CLI_OK) {
        rc = cli_account_read(cli, account, &owner);
    }

    if (rc == CLI_OK) {
        rc = tokens_read(cli, account, &tokens);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    list = json_array();
    cli_table_init(&table, head, sizeof(head) / sizeof(head[0]));

    for (i = 0; i < tokens.n; i++) {
        r = &tokens.records[i];
        family = (i >= tokens.families);

        if (!is_wanted(r, account, client, family)) {
            continue;
        }

        if (cli->json) {
            json_array_append_new(list, family ? family_json(cli, r)
                                               : cli_credential_json(cli, r));

        } else {
            token_row(cli, &table, r, family);
        }
    }

    cli_list_print(cli->json, list, &table);

    return CLI_OK;
}
