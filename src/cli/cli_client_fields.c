/*
 * From options to the record of a client: each field alone, and what the
 * fields must be together (cli_client.h). The core has the last word, so that
 * nothing is written that the token service would refuse; here is said what to
 * do about it.
 */

#include "cli_client.h"
#include "cli_file.h"
#include "cli_memory.h"
#include "cli_text.h"
#include "cli_values.h"

#include "oa_jws.h"
#include "oa_set.h"
#include "oa_text.h"

#include <string.h>


#define SECRET_METHODS  (OA_AUTH_SECRET_BASIC|OA_AUTH_SECRET_POST)


static int
redirects_given(cli_t *cli, oa_str_t *value)
{
    size_t          i, n, len;
    oa_str_t        joined;
    const char    **values, *error;
    unsigned char  *set;

    values = cli_option_values(&cli->options, "redirect-uri", &n);

    if (n == 0) {
        return CLI_OK;
    }

    /* a single empty one takes all away */

    for (i = 0; i < n; i++) {
        if ((n > 1 || values[i][0] != '\0')
            && oa_redirect_uri_check(cli_str(values[i]), &error) != OA_OK)
        {
            return cli_fail(CLI_USAGE, "--redirect-uri %s: %s",
                            cli_quotez(values[i]), error);
        }
    }

    joined = cli_str(cli_text_join(values, n, " "));
    set = cli_alloc(joined.len + 1);

    if (oa_set_pack(joined, set, joined.len, &len) != OA_OK
        || len > OA_REDIRECTS_MAX)
    {
        return cli_fail(CLI_USAGE, "the redirect URIs have more than %d "
                        "bytes together", OA_REDIRECTS_MAX);
    }

    value->data = set;
    value->len = len;

    return CLI_OK;
}


/* members of a private or a secret key (RFC 7518 section 6) */
static const char *
jwk_private(json_t *key)
{
    size_t  i;

    static const char *const  members[] = {
        "d", "p", "q", "dp", "dq", "qi", "oth", "k"
    };

    for (i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        if (json_object_get(key, members[i]) != NULL) {
            return members[i];
        }
    }

    return NULL;
}


static oa_str_t
jwk_member(json_t *key, const char *name)
{
    oa_str_t  value;

    value = cli_str(json_string_value(json_object_get(key, name)));

    return value;
}


/* NULL: a key that logins can be checked with; else what is wrong with it */
static const char *
jwk_wrong(json_t *key)
{
    oa_jwk_t     jwk;
    oa_str_t     alg, use;
    const char  *error;

    jwk.kty = jwk_member(key, "kty");
    jwk.crv = jwk_member(key, "crv");
    jwk.n = jwk_member(key, "n");
    jwk.e = jwk_member(key, "e");
    jwk.x = jwk_member(key, "x");
    jwk.y = jwk_member(key, "y");

    if (oa_jwk_check(&jwk, &error) != OA_OK) {
        return error;
    }

    alg = jwk_member(key, "alg");

    if (alg.data != NULL
        && oa_jws_alg(alg) != oa_jwk_alg(&jwk))
    {
        return cli_format("\"alg\" is %s, expected %s for such a key",
                          cli_quote(alg), oa_jws_alg_name(oa_jwk_alg(&jwk)));
    }

    use = jwk_member(key, "use");

    return (use.data != NULL && !oa_text_eq(use, "sig"))
           ? "\"use\" says that it is not for signatures" : NULL;
}


/* what a public key is, and its name; whatever else stands there stays out */
static int
jwk_text(json_t *key, oa_str_t *value)
{
    char    *text;
    json_t  *copy, *member;
    size_t   i;

    static const char *const  members[] = {
        "kty", "crv", "x", "y", "n", "e", "kid"
    };

    copy = json_object();

    for (i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        member = json_object_get(key, members[i]);

        if (json_is_string(member)) {
            json_object_set(copy, members[i], member);
        }
    }

    text = cli_alloc(OA_JWK_MAX + 1);
    i = json_dumpb(copy, text, OA_JWK_MAX, JSON_COMPACT);
    json_decref(copy);

    if (i == 0 || i > OA_JWK_MAX) {
        return CLI_FAILED;
    }

    value->data = (const unsigned char *) text;
    value->len = i;

    return CLI_OK;
}


static int
jwk_read(const char *path, json_t *key, oa_str_t *value)
{
    json_t      *keys;
    const char  *wrong;

    keys = json_object_get(key, "keys");

    if (json_is_array(keys) && json_array_size(keys) == 1) {
        key = json_array_get(keys, 0);
    }

    if (!json_is_object(key) || json_is_array(keys = json_object_get(key,
                                                                     "keys")))
    {
        return cli_fail(CLI_FAILED, "--jwk %s: expected one key, a JSON "
                        "object with \"kty\"", cli_quotez(path));
    }

    wrong = jwk_private(key);

    if (wrong != NULL) {
        return cli_fail(CLI_FAILED, "--jwk %s: it has \"%s\", so that it is "
                        "the private key, which only its client should have: "
                        "give the public one", cli_quotez(path), wrong);
    }

    wrong = jwk_wrong(key);

    if (wrong != NULL) {
        return cli_fail(CLI_FAILED, "--jwk %s: %s", cli_quotez(path), wrong);
    }

    return (jwk_text(key, value) == CLI_OK)
           ? CLI_OK : cli_fail(CLI_FAILED, "--jwk %s: it has more than %d "
                               "bytes", cli_quotez(path), OA_JWK_MAX);
}


static int
jwk_given(cli_t *cli, oa_str_t *value)
{
    int           rc;
    json_t       *key;
    oa_str_t      text;
    const char   *path;
    json_error_t  error;

    path = cli_option(&cli->options, "jwk");

    if (path == NULL) {
        return CLI_OK;
    }

    rc = cli_file_read(path, 0, "the key file", "--jwk", &text);

    if (rc != CLI_OK) {
        return rc;
    }

    /* what the text is near to is not repeated: it may be a private key */

    key = json_loadb((const char *) text.data, text.len,
                     JSON_REJECT_DUPLICATES, &error);

    if (key == NULL) {
        return cli_fail(CLI_FAILED, "--jwk %s: it is no JSON (line %d); "
                        "expected a public key as a JWK (RFC 7517)",
                        cli_quotez(path), error.line);
    }

    rc = jwk_read(path, key, value);
    json_decref(key);

    return rc;
}


int
cli_client_scopes(cli_t *cli, cli_client_t *client)
{
    if (cli_option(&cli->options, "permission") == NULL
        && cli_option(&cli->options, "scope") == NULL)
    {
        return CLI_OK;
    }

    return cli_credential_scopes(cli, &client->given[CLI_CLIENT_SCOPES]);
}


int
cli_client_given(cli_t *cli, cli_client_t *client)
{
    int        rc;
    oa_str_t  *given;

    given = client->given;

    rc = cli_value(cli, oa_client_field_check, "name", "name",
                   &given[CLI_CLIENT_NAME]);

    if (rc == CLI_OK) {
        rc = redirects_given(cli, &given[CLI_CLIENT_REDIRECTS]);
    }

    if (rc == CLI_OK) {
        rc = cli_value_list(cli, oa_client_field_check, "grant", "grants",
                            &given[CLI_CLIENT_GRANTS]);
    }

    if (rc == CLI_OK) {
        rc = cli_value_list(cli, oa_client_field_check, "auth-method",
                            "auth_method", &given[CLI_CLIENT_METHODS]);
    }

    if (rc == CLI_OK) {
        rc = cli_value(cli, oa_client_field_check, "environment",
                       "environment", &given[CLI_CLIENT_ENVIRONMENT]);
    }

    if (rc == CLI_OK) {
        rc = cli_client_scopes(cli, client);
    }

    if (rc == CLI_OK) {
        rc = jwk_given(cli, &given[CLI_CLIENT_JWK]);
    }

    if (rc == CLI_OK && cli_option(&cli->options, "introspect") != NULL) {
        given[CLI_CLIENT_INTROSPECT] = cli_str("1");
    }

    return rc;
}


static unsigned
methods_read(oa_str_t words)
{
    size_t    pos;
    unsigned  bits;
    oa_str_t  word;

    bits = 0;
    pos = 0;

    while (oa_set_next(words, &pos, &word)) {
        bits |= oa_auth_method_bit(word);
    }

    return bits;
}


/* a field that the core finds at fault -> what the operator can do */
static int
client_wrong(const cli_client_t *client, oa_str_t field)
{
    size_t       i;
    const char  *id, *error;

    static const struct {
        int          place;
        const char  *what;
    } texts[] = {
        { CLI_CLIENT_JWK,
          "private_key_jwt needs the client's public key: --jwk FILE" },
        { CLI_CLIENT_REDIRECTS,
          "authorization_code needs to know where users are sent back to: "
          "--redirect-uri https://..." },
        { CLI_CLIENT_GRANTS,
          "these grants don't go together, or not with the way to log in: "
          "refresh_token needs another one besides it, client_credentials is "
          "not for public clients (auth method none), and only who may "
          "--introspect can do without any" },
        { CLI_CLIENT_METHODS,
          "a public client (auth method none) has no other way to log in" },
        { CLI_CLIENT_INTROSPECT,
          "a public client (auth method none) may not ask about tokens" }
    };

    id = cli_text_safe(client->id);

    for (i = 0; i < OA_CLIENT_FIELDS; i++) {
        if (oa_client_fields[i].data == field.data) {
            break;
        }
    }

    if (i < OA_CLIENT_FIELDS && client->values[i].data != NULL
        && oa_client_field_check((const char *) oa_client_fields[i].data,
                                 client->values[i], &error) != OA_OK)
    {
        return cli_fail(CLI_FAILED, "the record of client %s is damaged: %s "
                        "is %s, %s", id, (char *) oa_client_fields[i].data,
                        cli_quote(client->values[i]), error);
    }

    if (i == CLI_CLIENT_SECRET || i == CLI_CLIENT_WRAPPED) {
        return cli_fail(CLI_USAGE, "this way to log in needs a new secret: "
                        "\"opsauth client rotate %s%s\" makes one", id,
                        (i == CLI_CLIENT_SECRET) ? " --auth-method ..."
                                                 : " --signed-login");
    }

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (oa_client_fields[texts[i].place].data == field.data) {
            return cli_fail(CLI_USAGE, "%s", texts[i].what);
        }
    }

    return cli_fail(CLI_FAILED, "the record of client %s is damaged: it has "
                    "no %s", id, cli_text_safe(field));
}


static void
drop(cli_client_t *client, int place)
{
    client->values[place].data = NULL;
    client->values[place].len = 0;
}


unsigned
cli_client_merge(cli_client_t *client)
{
    size_t    i;
    unsigned  methods;

    for (i = 0; i < OA_CLIENT_FIELDS; i++) {
        client->values[i] = client->given[i];

        if (client->given[i].data == NULL && client->record.reply != NULL) {
            client->values[i] = cli_record_get(&client->record,
                                      (const char *) oa_client_fields[i].data);
        }
    }

    methods = methods_read(client->values[CLI_CLIENT_METHODS]);

    if (client->signed_login && !(methods & OA_AUTH_SECRET_JWT)) {
        methods |= OA_AUTH_SECRET_JWT;
        client->values[CLI_CLIENT_METHODS] = cli_str(cli_format(
            "%s client_secret_jwt",
            cli_text_safe(client->values[CLI_CLIENT_METHODS])));
    }

    return methods;
}


int
cli_client_settle(cli_client_t *client)
{
    oa_rc_t      rc;
    oa_str_t     field;
    unsigned     methods;
    oa_client_t  read;

    methods = cli_client_merge(client);

    if (client->signed_login && (methods & OA_AUTH_NONE)) {
        return cli_fail(CLI_USAGE, "a public client (auth method none) has no "
                        "secret to sign with");
    }

    /* what nobody logs in by is better not there */

    if (!(methods & SECRET_METHODS)) {
        drop(client, CLI_CLIENT_SECRET);
    }

    if (!(methods & OA_AUTH_SECRET_JWT)) {
        drop(client, CLI_CLIENT_WRAPPED);
    }

    if (!(methods & OA_AUTH_PRIVATE_KEY_JWT)) {
        if (client->given[CLI_CLIENT_JWK].data != NULL) {
            return cli_fail(CLI_USAGE, "--jwk goes with --auth-method "
                            "private_key_jwt");
        }

        drop(client, CLI_CLIENT_JWK);
    }

    if (client->values[CLI_CLIENT_REDIRECTS].len == 0) {
        drop(client, CLI_CLIENT_REDIRECTS);
    }

    field = cli_str("");
    rc = oa_client_read(client->id, client->values, &read, &field);

    return (rc == OA_OK) ? CLI_OK : client_wrong(client, field);
}
