/*
 * opsauth client ...: applications and programs that get tokens from the token
 * service of the gateway (OAuth 2.0 clients).
 */

#include "cli_account.h"
#include "cli_client.h"
#include "cli_memory.h"
#include "cli_nouns.h"
#include "cli_output.h"
#include "cli_text.h"
#include "cli_time.h"
#include "cli_values.h"
#include "cli_wait.h"

#include "oa_set.h"
#include "oa_text.h"

#include <stdlib.h>
#include <string.h>


static int client_list(cli_t *cli);
static int client_show(cli_t *cli);


static const cli_option_t  list_options[] = {
    { "account", 0, 0, "ID", "only the clients of this account" },
    { NULL, 0, 0, NULL, NULL }
};


static const cli_verb_t  client_verbs[] = {
    { "create", "--account ID --name TEXT", 0, 0,
      "make a client and print its secret, this once",
      cli_client_create_options,
      "The new secret goes alone to stdout, the client's id and all else that "
      "is said\nabout it to stderr. With --json the object has them as \"id\" "
      "and \"client_secret\".\nA client without a secret (auth method none or "
      "private_key_jwt) has its id on\nstdout.\n"
      "\n"
      "Unless said otherwise, a client with a --redirect-uri is for users "
      "(grants\nauthorization_code and refresh_token), one without it works for "
      "itself\n(client_credentials); it logs in by client_secret_basic or "
      "client_secret_post. The\nstore has the digest of its secret; only for "
      "client_secret_jwt (--signed-login) it\nhas the secret itself, encrypted "
      "under the pepper.\n"
      "\n"
      "  opsauth client create --account crm --name \"CRM app\" \\\n"
      "      --redirect-uri https://crm.example.com/callback --permission "
      "read\n"
      "  opsauth client create --account crm --name CLI --auth-method none \\\n"
      "      --redirect-uri http://127.0.0.1/callback --scope read:tenants\n"
      "  opsauth client create --account bot --name sync --permission read "
      "\\\n      --auth-method private_key_jwt --jwk public.jwk\n",
      cli_client_create },

    { "list", "", 0, 0, "list clients", list_options,
      "  opsauth client list --account crm\n"
      "  opsauth client list --json | jq -r '.[] | select(.introspect).id'\n",
      client_list },

    { "show", "ID", 1, 1, "show one client's record", NULL,
      "  opsauth client show client_5Uq0YbJm2wNfRkZx\n",
      client_show },

    { "set", "ID", 1, 1, "change a client", cli_client_set_options,
      "Only what is given is changed. Options that may be repeated replace the "
      "whole\nlist. A way to log in that needs a new secret is for \"opsauth "
      "client rotate\";\nwhat no way to log in needs any more is dropped.\n"
      "\n"
      "  opsauth client set client_5Uq0YbJm2wNfRkZx --scope read:tenants\n",
      cli_client_set },

    { "rotate", "ID", 1, 1, "give a client a new secret, and print it",
      cli_client_rotate_options,
      "The old secret ends at once; tokens stay as they are. Output as with "
      "create. With\n--auth-method or --signed-login the ways to log in change "
      "in the same moment.\n"
      "\n"
      "  opsauth client rotate client_5Uq0YbJm2wNfRkZx > secret.txt\n",
      cli_client_rotate },

    { "enable", "ID", 1, 1, "switch a client on", NULL,
      "  opsauth client enable client_5Uq0YbJm2wNfRkZx\n",
      cli_client_enable },

    { "disable", "ID", 1, 1, "switch a client off: it gets no more tokens",
      cli_client_disable_options,
      "Tokens that it has go on until they expire, unless --revoke ends "
      "them.\n"
      "\n"
      CLI_WAIT_TEXT
      "\n"
      "  opsauth client disable client_5Uq0YbJm2wNfRkZx --revoke --wait\n",
      cli_client_disable },

    { "delete", "ID", 1, 1, "delete a client, and end its tokens",
      cli_client_delete_options,
      "Its tokens stay as revoked records until they would have been "
      "forgotten. On a\nterminal the command asks; anywhere else --yes must be "
      "given. If it is\ninterrupted, run it again.\n"
      "\n"
      CLI_WAIT_TEXT
      "\n"
      "  opsauth client delete client_5Uq0YbJm2wNfRkZx --yes\n",
      cli_client_delete },

    { NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }
};


const cli_noun_t  cli_client_noun = {
    "client", "OAuth clients: applications that get tokens",
    client_verbs, NULL
};


int
cli_client_read(cli_t *cli, cli_client_t *client)
{
    int  rc;

    rc = cli_store_read(cli, cli_store_key(cli, "client:", client->id),
                        &client->record);

    if (rc == CLI_NOT_FOUND) {
        return cli_fail(rc, "there is no client %s; \"opsauth client list\" "
                        "shows all", cli_quote(client->id));
    }

    return rc;
}


int
cli_client_find(cli_t *cli, const char *id, cli_client_t *client)
{
    int  rc;

    memset(client, 0, sizeof(*client));
    client->id = cli_str(id);

    rc = cli_value_id(oa_client_field_check, "a client", "account", id);

    if (rc == CLI_OK) {
        rc = cli_store_open(cli);
    }

    return (rc == CLI_OK) ? cli_client_read(cli, client) : rc;
}


static int
is_on(const cli_record_t *record, const char *field, int otherwise)
{
    oa_str_t  value;

    value = cli_record_get(record, field);

    return (value.data == NULL) ? otherwise : oa_text_eq(value, "1");
}


static const char *
environment(const cli_record_t *record)
{
    oa_str_t  value;

    value = cli_record_get(record, "environment");

    return (value.data == NULL) ? oa_environment_name(OA_ENV_LIVE)
                                : cli_text_safe(value);
}


/* the members of an export, without what is secret */
json_t *
cli_client_json(const cli_record_t *record, oa_str_t id)
{
    size_t   i;
    json_t  *object;

    static const struct {
        const char  *name;
        int          words;
    } fields[] = {
        { "account", 0 }, { "name", 0 }, { "redirect_uris", 1 },
        { "grants", 1 }, { "scopes", 1 }, { "auth_method", 1 }
    };

    object = json_object();
    json_object_set_new(object, "id", cli_json_str(id));

    for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        json_object_set_new(object, fields[i].name,
            (fields[i].words ? cli_json_words : cli_json_str)
            (cli_record_get(record, fields[i].name)));
    }

    json_object_set_new(object, "environment",
                        json_string(environment(record)));
    json_object_set_new(object, "enabled",
                        json_boolean(is_on(record, "enabled", 1)));
    json_object_set_new(object, "introspect",
                        json_boolean(is_on(record, "introspect", 0)));
    json_object_set_new(object, "jwk",
                        cli_json_str(cli_record_get(record, "jwk")));
    json_object_set_new(object, "created",
                        cli_json_time(cli_record_get(record, "created")));
    json_object_set_new(object, "updated",
                        cli_json_time(cli_record_get(record, "updated")));

    return object;
}


static void
list_row(cli_table_t *table, oa_str_t id, const cli_record_t *record)
{
    cli_table_add(table, id);
    cli_table_add(table, cli_record_get(record, "name"));
    cli_table_add(table, cli_record_get(record, "account"));
    cli_table_addz(table, is_on(record, "enabled", 1) ? "yes" : "no");
    cli_table_addz(table, environment(record));
    cli_table_add(table, cli_record_get(record, "grants"));
    cli_table_add(table, cli_record_get(record, "auth_method"));
    cli_table_add(table, cli_record_get(record, "scopes"));
}


static int
client_list(cli_t *cli)
{
    int            rc;
    size_t         i, n;
    json_t        *list;
    oa_str_t       account, *ids;
    cli_table_t    table;
    cli_record_t  *records;

    static const char *const  head[] = {
        "ID", "NAME", "ACCOUNT", "ENABLED", "ENV", "GRANTS", "LOGS IN BY",
        "SCOPES"
    };

    rc = cli_account_ids(cli, "client:", "clients:", &account, &ids, &n);

    if (rc != CLI_OK) {
        return rc;
    }

    rc = cli_store_read_ids(cli, "client:", ids, n, &records);

    if (rc != CLI_OK) {
        return rc;
    }

    list = json_array();
    cli_table_init(&table, head, sizeof(head) / sizeof(head[0]));

    for (i = 0; i < n; i++) {
        if (records[i].reply == NULL) {
            continue;
        }

        if (cli->json) {
            json_array_append_new(list, cli_client_json(&records[i], ids[i]));

        } else {
            list_row(&table, ids[i], &records[i]);
        }
    }

    cli_list_print(cli->json, list, &table);

    return CLI_OK;
}


static void
row(cli_table_t *table, const char *name, oa_str_t value)
{
    cli_table_addz(table, name);
    cli_table_add(table, value);
}


/* one row a URI: they are long */
static void
redirect_rows(cli_table_t *table, oa_str_t uris)
{
    size_t       pos;
    oa_str_t     uri;
    const char  *name;

    name = "redirect URI";
    pos = 0;

    while (oa_set_next(uris, &pos, &uri)) {
        cli_table_addz(table, name);
        cli_table_add(table, uri);
    }
}


static int
client_show(cli_t *cli)
{
    int            rc;
    cli_table_t    table;
    cli_client_t   client;
    cli_record_t  *r;

    rc = cli_client_find(cli, cli->options.words[0], &client);

    if (rc != CLI_OK) {
        return rc;
    }

    r = &client.record;

    if (cli->json) {
        cli_json_print(cli_client_json(r, client.id));
        return CLI_OK;
    }

    cli_table_init(&table, NULL, 2);
    row(&table, "id", client.id);
    row(&table, "name", cli_record_get(r, "name"));
    row(&table, "account", cli_record_get(r, "account"));
    row(&table, "enabled", cli_str(is_on(r, "enabled", 1) ? "yes" : "no"));
    row(&table, "environment", cli_str(environment(r)));
    row(&table, "grants", cli_record_get(r, "grants"));
    row(&table, "logs in by", cli_record_get(r, "auth_method"));
    row(&table, "scopes", cli_record_get(r, "scopes"));
    redirect_rows(&table, cli_record_get(r, "redirect_uris"));
    row(&table, "introspect", cli_str(is_on(r, "introspect", 0) ? "yes"
                                                                : "no"));

    if (cli_record_get(r, "jwk").data != NULL) {
        row(&table, "public key", cli_record_get(r, "jwk"));
    }

    row(&table, "created",
        cli_str(cli_time_field(cli_record_get(r, "created"), "-")));
    row(&table, "updated",
        cli_str(cli_time_field(cli_record_get(r, "updated"), "-")));
    cli_table_print(&table);

    return CLI_OK;
}
