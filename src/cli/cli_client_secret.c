/*
 * Secrets of clients, and opsauth client rotate. A secret exists in
 * cli_client_t and on its way to stdout; Redis gets its digest under the newest
 * pepper, and only where client_secret_jwt needs to read it again, itself,
 * wrapped.
 */

#include "cli_client.h"
#include "cli_memory.h"
#include "cli_output.h"
#include "cli_text.h"
#include "cli_values.h"

#include "oa_text.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>


const cli_option_t  cli_client_rotate_options[] = {
    CLI_CLIENT_METHOD_OPTIONS,
    CLI_CLIENT_SIGNED_LOGIN,
    { NULL, 0, 0, NULL, NULL }
};


int
cli_client_is_secret(size_t place)
{
    return place == CLI_CLIENT_SECRET || place == CLI_CLIENT_WRAPPED
           || place == CLI_CLIENT_JWK;
}


static int
same(oa_str_t a, oa_str_t b)
{
    return (a.data == NULL) == (b.data == NULL) && a.len == b.len
           && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}


static int
no_randomness(void)
{
    return cli_fail(CLI_FAILED, "there is no randomness to be had");
}


static int
secret_wrap(cli_t *cli, cli_client_t *client, oa_str_t secret)
{
    int             rc;
    size_t          i, n, len;
    oa_rc_t         ok;
    oa_str_t        peppers[OA_PEPPERS_MAX];
    unsigned char   nonce[12], *out;

    rc = cli_store_peppers(cli, peppers, &n);

    if (rc != CLI_OK) {
        return rc;
    }

    if (RAND_bytes(nonce, sizeof(nonce)) != 1) {
        return no_randomness();
    }

    out = cli_alloc(OA_WRAP_MAX);
    ok = oa_wrap(peppers[0], client->id, secret, nonce, out, &len);

    for (i = 0; i < n; i++) {
        OPENSSL_cleanse((void *) peppers[i].data, peppers[i].len);
    }

    client->given[CLI_CLIENT_WRAPPED].data = out;
    client->given[CLI_CLIENT_WRAPPED].len = len;

    return (ok == OA_OK) ? CLI_OK : cli_fail(CLI_FAILED, "libcrypto failed");
}


int
cli_client_mint(cli_t *cli, cli_client_t *client)
{
    int             rc;
    unsigned        methods;
    oa_str_t        secret;
    unsigned char   random[OA_KEY_RANDOM_LEN], digest[OA_DIGEST_LEN], *hex;

    methods = cli_client_merge(client);

    client->mint = (methods & (OA_AUTH_SECRET_BASIC|OA_AUTH_SECRET_POST
                               |OA_AUTH_SECRET_JWT)) != 0;

    if (!client->mint) {
        return CLI_OK;
    }

    rc = cli_store_hasher(cli);

    if (rc != CLI_OK) {
        return rc;
    }

    if (RAND_bytes(random, sizeof(random)) != 1) {
        return no_randomness();
    }

    oa_token_mint(random, client->secret);
    OPENSSL_cleanse(random, sizeof(random));
    secret.data = client->secret;
    secret.len = sizeof(client->secret);

    if (oa_hasher_credential(&cli->hasher, 0, secret, digest) != OA_OK) {
        return cli_fail(CLI_FAILED, "libcrypto failed");
    }

    hex = cli_alloc(OA_DIGEST_HEX_LEN);
    oa_text_hex(digest, sizeof(digest), hex);
    client->given[CLI_CLIENT_SECRET].data = hex;
    client->given[CLI_CLIENT_SECRET].len = OA_DIGEST_HEX_LEN;

    return (methods & OA_AUTH_SECRET_JWT) ? secret_wrap(cli, client, secret)
                                          : CLI_OK;
}


int
cli_client_secret_print(cli_t *cli, cli_client_t *client)
{
    int        rc;
    json_t    *object, *json;
    oa_str_t   secret;

    secret.data = client->mint ? client->secret : NULL;
    secret.len = client->mint ? sizeof(client->secret) : 0;

    if (!cli->json) {
        cli_output_line(client->mint ? secret : client->id);
        return cli_output_flush();
    }

    rc = cli_client_read(cli, client);

    if (rc != CLI_OK) {
        return rc;
    }

    object = cli_client_json(&client->record, client->id);
    json = cli_json_str(secret);
    json_object_set(object, "client_secret", json);
    cli_json_print(object);

    if (client->mint) {
        cli_json_wipe(json);

    } else {
        json_decref(json);
    }

    return cli_output_flush();
}


void
cli_client_secret_explain(const cli_client_t *client)
{
    if (!client->mint) {
        return;
    }

    if (client->values[CLI_CLIENT_WRAPPED].data == NULL) {
        cli_note("the secret is shown this once; the store has only its "
                 "digest");
        return;
    }

    cli_note("the secret is shown this once; for client_secret_jwt the store "
             "has it wrapped, so that who has the store and the pepper can "
             "read it");
}


/* the old secret again, unless somebody made another one meanwhile */
static void
rotate_undo(cli_t *cli, cli_client_t *client, const cli_record_t *before)
{
    size_t        i;
    oa_str_t      now;
    cli_client_t  old;

    memset(&old, 0, sizeof(old));
    old.id = client->id;
    old.action = "client.rotate";

    if (cli_client_read(cli, &old) != CLI_OK) {
        return;
    }

    for (i = 0; i < OA_CLIENT_FIELDS; i++) {
        now = cli_record_get(&old.record,
                             (const char *) oa_client_fields[i].data);

        if (cli_client_is_secret(i) && !same(now, client->values[i])) {
            return;
        }

        if (cli_client_is_secret(i) || i == CLI_CLIENT_METHODS) {
            old.given[i] = cli_record_get(before,
                                      (const char *) oa_client_fields[i].data);
        }
    }

    (void) cli_client_write(cli, &old);
}


int
cli_client_rotate(cli_t *cli)
{
    int           rc;
    oa_str_t     *given;
    cli_client_t  client;
    cli_record_t  before;

    rc = cli_client_find(cli, cli->options.words[0], &client);
    given = client.given;

    if (rc == CLI_OK) {
        rc = cli_value_list(cli, oa_client_field_check, "auth-method",
                            "auth_method", &given[CLI_CLIENT_METHODS]);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    client.action = "client.rotate";
    client.signed_login = (cli_option(&cli->options, "signed-login") != NULL);
    before = client.record;
    rc = cli_client_mint(cli, &client);

    if (rc == CLI_OK) {
        rc = cli_client_settle(&client);
    }

    if (rc == CLI_OK && !client.mint) {
        rc = cli_fail(CLI_USAGE, "client %s logs in by %s and has no secret; "
                      "--auth-method client_secret_basic would give it one",
                      cli_text_safe(client.id),
                      cli_text_safe(client.values[CLI_CLIENT_METHODS]));
    }

    if (rc == CLI_OK) {
        rc = cli_client_write(cli, &client);
    }

    if (rc == CLI_OK) {
        rc = cli_client_secret_print(cli, &client);

        if (rc != CLI_OK) {
            cli_note("the new secret did not reach anybody; the old one goes "
                     "on");
            rotate_undo(cli, &client, &before);

        } else if (!cli->json) {
            cli_note("%s has a new secret; the old one has ended",
                     cli_text_safe(client.id));
            cli_client_secret_explain(&client);
        }
    }

    OPENSSL_cleanse(client.secret, sizeof(client.secret));

    return rc;
}
