/*
 * opsauth key ...: API keys.
 */

#include "cli_account.h"
#include "cli_credential.h"
#include "cli_issued.h"
#include "cli_key.h"
#include "cli_key_import.h"
#include "cli_memory.h"
#include "cli_nouns.h"
#include "cli_output.h"
#include "cli_text.h"
#include "cli_time.h"
#include "cli_values.h"
#include "cli_wait.h"

#include "oa_text.h"

#include <stdlib.h>
#include <string.h>


/* fields that "key show" shows of all keys, the others where there are any */
#define EVERY_KEY  10


static int key_create(cli_t *cli);
static int key_list(cli_t *cli);
static int key_show(cli_t *cli);
static int key_revoke(cli_t *cli);


static const cli_option_t  create_options[] = {
    { "account", 0, 0, "ID", "whose key it is" },
    { "name", 0, 0, "TEXT", "what people call it" },
    { "permission", 0, 0, "WORD",
      "read (read:*), write (read:* write:*) or admin" },
    { "scope", 0, CLI_MANY, "SCOPE",
      "action:resource, such as read:tenants; may be repeated" },
    { "environment", 0, 0, "ENV", "live or test (default live)" },
    { "expires", 0, 0, "WHEN",
      "90d, 2027-01-31, 2027-01-31T18:30Z (default never)" },
    { "ip", 0, CLI_MANY, "CIDR",
      "admit this address or network and no other;\nmay be repeated" },
    { NULL, 0, 0, NULL, NULL }
};

static const cli_option_t  list_options[] = {
    { "account", 0, 0, "ID", "only the keys of this account" },
    { NULL, 0, 0, NULL, NULL }
};

static const cli_option_t  revoke_options[] = {
    CLI_WAIT_OPTIONS,
    { NULL, 0, 0, NULL, NULL }
};


static const cli_verb_t  key_verbs[] = {
    { "create", "--account ID --name TEXT", 0, 0,
      "make a key and print it, this once", create_options,
      "The new key goes alone to stdout, all that is said about it to stderr. "
      "It can't\nbe shown again: the store has only its digest. With --json "
      "the object has it\nas \"key\".\n"
      "\n"
      "  opsauth key create --account crm --name \"nightly sync\" \\\n"
      "      --permission read --expires 90d\n"
      "  opsauth key create --account crm --name billing --scope read:tenants "
      "\\\n      --scope read:licenses --ip 203.0.113.0/24 > key.txt\n",
      key_create },

    { "import", "--account ID --name TEXT", 0, 1024,
      "take in a key that was made elsewhere", cli_key_import_options,
      cli_key_import_text, cli_key_import },

    { "list", "", 0, 0, "list keys", list_options,
      "Revoked and expired keys are listed too.\n"
      "\n"
      "  opsauth key list --account crm\n"
      "  opsauth key list --json | jq -r '.[] | select(.expires == null).id'\n",
      key_list },

    { "show", "ID", 1, 1, "show one key's record", NULL,
      "  opsauth key show key_5Uq0YbJm2wNfRkZx\n",
      key_show },

    { "rotate", "ID", 1, 1, "make a key's successor, and let the key run out",
      cli_key_rotate_options, cli_key_rotate_text, cli_key_rotate },

    { "revoke", "ID...", 1, 1024, "end keys for good", revoke_options,
      "ID is the key's public id (key_...). With - the keys themselves are "
      "read from\nstdin, one a line: for a key that was found somewhere. A key "
      "that is revoked\nalready stays so.\n"
      "\n"
      CLI_WAIT_TEXT
      "\n"
      "  opsauth key revoke key_5Uq0YbJm2wNfRkZx --wait\n"
      "  opsauth key revoke - < leaked.txt\n",
      key_revoke },

    { NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }
};


const cli_noun_t  cli_key_noun = {
    "key", "API keys: Bearer credentials of programs",
    key_verbs, NULL
};


static int
key_create(cli_t *cli)
{
    int        rc;
    cli_new_t  new;

    memset(&new, 0, sizeof(new));
    new.kind = &cli_kind_key;

    rc = cli_credential_options(cli, &new, "never");

    if (rc == CLI_OK) {
        rc = cli_value_required(cli, "name", "what is it called, so that "
                                "people know it again?");
    }

    return (rc == CLI_OK) ? cli_credential_create(cli, &new) : rc;
}


static int
key_revoke(cli_t *cli)
{
    return cli_credential_revoke(cli, &cli_kind_key);
}


/* all ids, or those of one account */
static int
list_ids(cli_t *cli, oa_str_t **ids, size_t *n)
{
    int            rc;
    oa_str_t       account;
    cli_record_t   record;

    rc = cli_value(cli, oa_credential_field_check, "account", "account",
                   &account);

    if (rc == CLI_OK) {
        rc = cli_store_open(cli);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    if (account.data == NULL) {
        return cli_store_scan(cli, "id:", ids, n);
    }

    rc = cli_account_read(cli, account, &record);

    if (rc != CLI_OK) {
        return rc;
    }

    rc = cli_store_members(cli, cli_store_key(cli, "credentials:", account),
                           ids, n);

    if (rc == CLI_OK) {
        cli_issued_sweep(cli, account, *ids, *n);
    }

    return rc;
}


/*
 * ids -> records of keys; what is none, or has none, is passed over. There may
 * be far more tokens than keys, and their ids tell.
 */
static int
list_records(cli_t *cli, oa_str_t *ids, size_t n, cli_record_t **records,
    size_t *found)
{
    int     rc;
    size_t  i, k;

    for (i = 0, k = 0; i < n; i++) {
        if (ids[i].len < 4 || memcmp(ids[i].data, "tok_", 4) != 0) {
            ids[k++] = ids[i];
        }
    }

    n = k;
    *records = cli_alloc((n + 1) * sizeof(cli_record_t));

    rc = cli_credential_read_ids(cli, ids, n, *records, &n);

    for (i = 0, k = 0; i < n && rc == CLI_OK; i++) {
        if ((*records)[i].reply != NULL
            && oa_text_eq(cli_record_get(&(*records)[i], "kind"),
                          oa_kind_name(OA_KIND_API_KEY)))
        {
            (*records)[k++] = (*records)[i];
        }
    }

    *found = k;

    return rc;
}


static int
text_order(oa_str_t a, oa_str_t b)
{
    int  rc;

    rc = memcmp(a.len ? a.data : (const void *) "",
                b.len ? b.data : (const void *) "",
                (a.len < b.len) ? a.len : b.len);

    return (rc != 0) ? rc : (a.len > b.len) - (a.len < b.len);
}


/* by account, then name, then id */
static int
record_order(const void *one, const void *two)
{
    int     rc;
    size_t  i;

    static const char *const  fields[] = { "account", "name", "id" };

    rc = 0;

    for (i = 0; i < sizeof(fields) / sizeof(fields[0]) && rc == 0; i++) {
        rc = text_order(cli_record_get(one, fields[i]),
                        cli_record_get(two, fields[i]));
    }

    return rc;
}


static int
key_list(cli_t *cli)
{
    int            rc;
    size_t         i, n;
    json_t        *list;
    oa_str_t      *ids;
    cli_table_t    table;
    cli_record_t  *records;

    static const char *const  head[] = {
        "ID", "NAME", "ACCOUNT", "ENV", "STATE", "SCOPES", "EXPIRES", "HINT",
        "SUCCESSOR"
    };

    rc = list_ids(cli, &ids, &n);

    if (rc == CLI_OK) {
        rc = list_records(cli, ids, n, &records, &n);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    qsort(records, n, sizeof(cli_record_t), record_order);

    if (cli->json) {
        list = json_array();

        for (i = 0; i < n; i++) {
            json_array_append_new(list, cli_credential_json(cli, &records[i]));
        }

        cli_json_print(list);
        return CLI_OK;
    }

    cli_table_init(&table, head, sizeof(head) / sizeof(head[0]));

    for (i = 0; i < n; i++) {
        cli_table_add(&table, cli_record_get(&records[i], "id"));
        cli_table_add(&table, cli_record_get(&records[i], "name"));
        cli_table_add(&table, cli_record_get(&records[i], "account"));
        cli_table_add(&table, cli_record_get(&records[i], "environment"));
        cli_table_addz(&table, cli_credential_state(cli, &records[i]));
        cli_table_add(&table, cli_record_get(&records[i], "scopes"));
        cli_table_addz(&table,
                       cli_time_field(cli_record_get(&records[i], "expires"),
                                      "never"));
        cli_table_add(&table, cli_record_get(&records[i], "hint"));
        cli_table_add(&table, cli_record_get(&records[i], "successor"));
    }

    cli_table_print(&table);

    return CLI_OK;
}


static int
key_show(cli_t *cli)
{
    int               rc;
    size_t            i;
    oa_str_t          value;
    const char       *text;
    cli_table_t       table;
    cli_credential_t  key;

    static const char *const  fields[] = {
        "id", "name", "account", "environment", "state", "scopes", "ips",
        "expires", "created", "hint", "deprecated", "successor", "predecessor"
    };

    rc = cli_credential_find(cli, &cli_kind_key, cli->options.words[0], &key);

    if (rc != CLI_OK) {
        return rc;
    }

    if (cli->json) {
        cli_json_print(cli_credential_json(cli, &key.record));
        return CLI_OK;
    }

    cli_table_init(&table, NULL, 2);

    for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        value = cli_record_get(&key.record, fields[i]);
        text = NULL;

        if (i >= EVERY_KEY && (value.len == 0 || oa_text_eq(value, "0"))) {
            continue;
        }

        if (strcmp(fields[i], "state") == 0) {
            text = cli_credential_state(cli, &key.record);

        } else if (strcmp(fields[i], "expires") == 0) {
            text = cli_time_field(value, "never");

        } else if (strcmp(fields[i], "created") == 0
                   || strcmp(fields[i], "deprecated") == 0)
        {
            text = cli_time_field(value, "-");
        }

        cli_table_addz(&table, fields[i]);
        cli_table_add(&table, (text != NULL) ? cli_str(text) : value);
    }

    cli_table_print(&table);

    return CLI_OK;
}
