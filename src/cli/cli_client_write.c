/*
 * opsauth client create, set, enable, disable: every change of a client's
 * record goes through one attempt, which reads the record, merges what the
 * options ask for, and writes what differs.
 */

#include "cli_account.h"
#include "cli_client.h"
#include "cli_issued.h"
#include "cli_memory.h"
#include "cli_output.h"
#include "cli_text.h"
#include "cli_values.h"
#include "cli_wait.h"

#include "oa_text.h"

#include <string.h>

#include <openssl/crypto.h>


const cli_option_t  cli_client_create_options[] = {
    { "account", 0, 0, "ID", "whose client it is" },
    CLI_CLIENT_OPTIONS,
    CLI_CLIENT_SIGNED_LOGIN,
    { NULL, 0, 0, NULL, NULL }
};

const cli_option_t  cli_client_set_options[] = {
    CLI_CLIENT_OPTIONS,
    { "no-introspect", 0, 0, NULL, "take --introspect back" },
    { NULL, 0, 0, NULL, NULL }
};

const cli_option_t  cli_client_disable_options[] = {
    { "revoke", 0, 0, NULL,
      "end all that it was given, too: its tokens and\nrefresh tokens" },
    CLI_WAIT_OPTIONS,
    { NULL, 0, 0, NULL, NULL }
};


static const cli_kind_t  client_kind = {
    OA_KIND_ACCESS_TOKEN, "client", "a client", "client_"
};


static int
same(oa_str_t a, oa_str_t b)
{
    return (a.data == NULL) == (b.data == NULL) && a.len == b.len
           && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}


static oa_str_t
number(int64_t n)
{
    return cli_str(cli_format("%lld", (long long) n));
}


/* what differs, into the change; its text for the audit */
static const char *
change_fields(cli_client_t *client, cli_change_t *change, oa_str_t key,
    cli_command_t *hset)
{
    size_t          i;
    oa_str_t        old, new;
    const char     *detail, *name;
    cli_command_t  *hdel;

    static const oa_str_t  none = oa_null;

    hdel = NULL;
    detail = cli_format("account=%s", cli_text_safe(
                        client->values[CLI_CLIENT_ACCOUNT]));

    for (i = 0; i < OA_CLIENT_FIELDS; i++) {
        name = (const char *) oa_client_fields[i].data;
        new = client->values[i];
        old = (client->record.reply != NULL)
              ? cli_record_get(&client->record, name) : none;

        if (same(old, new)) {
            continue;
        }

        if (new.data != NULL) {
            cli_command_addz(hset, name);
            cli_command_add(hset, new);

        } else {
            hdel = (hdel != NULL) ? hdel : cli_change_add(change, "HDEL", key);
            cli_command_addz(hdel, name);
        }

        client->changed = 1;

        if (i != CLI_CLIENT_ACCOUNT) {
            detail = cli_client_is_secret(i)
                     ? cli_format("%s, %s", detail, name)
                     : cli_format("%s, %s=%s", detail, name,
                                  cli_text_safe(new));
        }
    }

    return detail;
}


static int
write_attempt(cli_t *cli, void *data)
{
    int             rc;
    oa_str_t        key;
    const char     *detail;
    cli_change_t    change;
    cli_client_t   *client;
    cli_record_t    owner;
    cli_command_t  *hset;

    client = data;
    client->changed = 0;
    key = cli_store_key(cli, "client:", client->id);

    if (client->record.reply != NULL) {
        rc = cli_store_watch(cli, key);

        if (rc == CLI_OK) {
            rc = cli_client_read(cli, client);
        }

    } else {
        /* none is made for an account that is being deleted */

        rc = cli_store_watch(cli, cli_store_key(cli, "account:",
                                        client->given[CLI_CLIENT_ACCOUNT]));

        if (rc == CLI_OK) {
            rc = cli_account_read(cli, client->given[CLI_CLIENT_ACCOUNT],
                                  &owner);
        }
    }

    if (rc == CLI_OK) {
        rc = cli_client_settle(client);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    cli_change_init(&change, cli);

    if (client->record.reply == NULL) {
        cli_command_add(cli_change_add(&change, "SADD",
                            cli_store_key(cli, "clients:",
                                          client->values[CLI_CLIENT_ACCOUNT])),
                        client->id);
    }

    hset = cli_change_add(&change, "HSET", key);
    detail = change_fields(client, &change, key, hset);

    if (!client->changed) {
        return CLI_OK;
    }

    if (client->record.reply == NULL) {
        cli_command_addz(hset, "created");
        cli_command_add(hset, number(cli->now));
    }

    cli_command_addz(hset, "updated");
    cli_command_add(hset, number(cli->now));
    cli_change_audit(&change, client->action, client->id, detail);

    return cli_change_commit(&change);
}


int
cli_client_write(cli_t *cli, cli_client_t *client)
{
    return cli_store_retry(cli, write_attempt, client);
}


/* --- create ------------------------------------------------------------- */

static int
create_given(cli_t *cli, cli_client_t *client)
{
    int        rc;
    oa_str_t  *given;

    given = client->given;
    client->signed_login = (cli_option(&cli->options, "signed-login") != NULL);

    rc = cli_value_required(cli, "account", "whose is it? (\"opsauth account "
                            "list\" shows all accounts)");

    if (rc == CLI_OK) {
        rc = cli_value(cli, oa_client_field_check, "account", "account",
                       &given[CLI_CLIENT_ACCOUNT]);
    }

    if (rc == CLI_OK) {
        rc = cli_value_required(cli, "name", "what is it called, so that "
                                "people know it again?");
    }

    if (rc == CLI_OK) {
        rc = cli_client_given(cli, client);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    if (given[CLI_CLIENT_SCOPES].data == NULL
        && given[CLI_CLIENT_INTROSPECT].data == NULL)
    {
        return cli_credential_scopes(cli, &given[CLI_CLIENT_SCOPES]);
    }

    return CLI_OK;
}


static void
create_default(cli_client_t *client)
{
    oa_str_t  *given;

    given = client->given;
    given[CLI_CLIENT_ENABLED] = cli_str("1");

    if (given[CLI_CLIENT_ENVIRONMENT].data == NULL) {
        given[CLI_CLIENT_ENVIRONMENT] =
                                    cli_str(oa_environment_name(OA_ENV_LIVE));
    }

    if (given[CLI_CLIENT_METHODS].data == NULL) {
        given[CLI_CLIENT_METHODS] = cli_str(
            client->signed_login ? "client_secret_jwt"
            : (given[CLI_CLIENT_JWK].data != NULL) ? "private_key_jwt"
            : "client_secret_basic client_secret_post");
    }

    if (given[CLI_CLIENT_GRANTS].data == NULL) {
        given[CLI_CLIENT_GRANTS] = cli_str(
            (given[CLI_CLIENT_REDIRECTS].len != 0)
            ? "authorization_code refresh_token"
            : oa_text_eq(given[CLI_CLIENT_METHODS], "none")
            ? "authorization_code refresh_token"
            : (given[CLI_CLIENT_SCOPES].data == NULL)
            ? "" : "client_credentials");
    }

    if (given[CLI_CLIENT_SCOPES].data == NULL) {
        given[CLI_CLIENT_SCOPES] = cli_str("");
    }
}


static void
create_explain(const cli_client_t *client)
{
    const oa_str_t  *v;

    v = client->values;

    cli_note("%s %s is a %s client of account %s, grants: %s; logs in by: %s; "
             "scopes: %s", cli_text_safe(client->id),
             cli_quote(v[CLI_CLIENT_NAME]),
             cli_text_safe(v[CLI_CLIENT_ENVIRONMENT]),
             cli_text_safe(v[CLI_CLIENT_ACCOUNT]),
             v[CLI_CLIENT_GRANTS].len ? cli_text_safe(v[CLI_CLIENT_GRANTS])
                                      : "none",
             cli_text_safe(v[CLI_CLIENT_METHODS]),
             v[CLI_CLIENT_SCOPES].len ? cli_text_safe(v[CLI_CLIENT_SCOPES])
                                      : "none");
    cli_client_secret_explain(client);
}


int
cli_client_create(cli_t *cli)
{
    int           rc;
    cli_client_t  client;
    cli_record_t  owner;

    memset(&client, 0, sizeof(client));
    client.action = "client.create";

    rc = create_given(cli, &client);

    if (rc == CLI_OK) {
        create_default(&client);
        rc = cli_credential_id(&client_kind, &client.id);
    }

    /* all that can fail without a trace does so before anything is written */

    if (rc == CLI_OK) {
        rc = cli_client_mint(cli, &client);
    }

    if (rc == CLI_OK) {
        rc = cli_client_settle(&client);
    }

    if (rc == CLI_OK) {
        rc = cli_store_open(cli);
    }

    if (rc == CLI_OK) {
        rc = cli_account_read(cli, client.given[CLI_CLIENT_ACCOUNT], &owner);
    }

    if (rc == CLI_OK) {
        rc = cli_client_write(cli, &client);
    }

    if (rc == CLI_OK) {
        rc = cli_client_secret_print(cli, &client);

        if (rc != CLI_OK) {
            cli_note("the client did not reach anybody and is taken back");
            (void) cli_client_remove(cli, &client);

        } else if (!cli->json) {
            create_explain(&client);
        }
    }

    OPENSSL_cleanse(client.secret, sizeof(client.secret));

    return rc;
}


/* --- set, enable, disable ----------------------------------------------- */

static int
client_print(cli_t *cli, cli_client_t *client, const char *what)
{
    int  rc;

    if (!cli->json) {
        cli_output_line(cli_str(cli_format("client %s %s",
                                           cli_text_safe(client->id), what)));
        return CLI_OK;
    }

    rc = cli_client_read(cli, client);

    if (rc == CLI_OK) {
        cli_json_print(cli_client_json(&client->record, client->id));
    }

    return rc;
}


static int
client_change(cli_t *cli, cli_client_t *client, const char *what,
    const char *already)
{
    int            rc;
    cli_client_t   found;

    rc = cli_client_find(cli, cli->options.words[0], &found);

    if (rc != CLI_OK) {
        return rc;
    }

    client->id = found.id;
    client->record = found.record;
    client->action = "client.set";
    rc = cli_client_write(cli, client);

    return (rc == CLI_OK)
           ? client_print(cli, client, client->changed ? what : already) : rc;
}


int
cli_client_set(cli_t *cli)
{
    int           rc;
    size_t        i;
    cli_client_t  client;

    memset(&client, 0, sizeof(client));
    rc = cli_client_given(cli, &client);

    if (rc != CLI_OK) {
        return rc;
    }

    if (cli_option(&cli->options, "no-introspect") != NULL) {
        if (client.given[CLI_CLIENT_INTROSPECT].data != NULL) {
            return cli_fail(CLI_USAGE, "--introspect and --no-introspect "
                            "exclude each other");
        }

        client.given[CLI_CLIENT_INTROSPECT] = cli_str("0");
    }

    for (i = 0; i < OA_CLIENT_FIELDS; i++) {
        if (client.given[i].data != NULL) {
            return client_change(cli, &client, "changed", "is so already");
        }
    }

    return cli_fail(CLI_USAGE, "nothing to change; give at least one of the "
                    "options that \"opsauth client set --help\" lists");
}


int
cli_client_enable(cli_t *cli)
{
    cli_client_t  client;

    memset(&client, 0, sizeof(client));
    client.given[CLI_CLIENT_ENABLED] = cli_str("1");

    return client_change(cli, &client, "enabled", "is enabled already");
}


int
cli_client_disable(cli_t *cli)
{
    int            rc;
    cli_client_t   client;
    cli_ending_t   ending;

    memset(&client, 0, sizeof(client));
    client.given[CLI_CLIENT_ENABLED] = cli_str("0");

    rc = cli_wait_check(cli);

    if (rc == CLI_OK) {
        rc = client_change(cli, &client, "disabled", "is disabled already");
    }

    if (rc == CLI_OK && cli_option(&cli->options, "revoke") != NULL) {
        memset(&ending, 0, sizeof(ending));
        ending.cli = cli;
        ending.account = client.values[CLI_CLIENT_ACCOUNT];
        ending.client = client.id;
        ending.why = "which is disabled";

        rc = cli_ending_read(&ending);

        if (rc == CLI_OK) {
            rc = cli_ending_revoke(&ending);
        }

        if (rc == CLI_OK) {
            cli_note("%zu access token%s and %zu refresh token%s of it revoked",
                     ending.revoked, (ending.revoked == 1) ? "" : "s",
                     ending.families, (ending.families == 1) ? "" : "s");
        }
    }

    return (rc == CLI_OK) ? cli_wait(cli) : rc;
}
