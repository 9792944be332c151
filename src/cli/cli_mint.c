/*
 * How a credential comes to be (cli_credential.h). The secret exists in
 * cli_new_t and on its way to stdout, nowhere else; Redis gets its digest
 * under the newest pepper.
 */

#include "cli_account.h"
#include "cli_credential.h"
#include "cli_entry.h"
#include "cli_issued.h"
#include "cli_memory.h"
#include "cli_output.h"
#include "cli_text.h"
#include "cli_time.h"
#include "cli_values.h"

#include "oa_set.h"
#include "oa_text.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>


#define ID_LEN        16
#define HINT_LEN      4
#define MINT_TRIES    64


typedef struct {
    cli_new_t         *new;
    cli_credential_t  *written;
} attempt_t;


static int
no_randomness(void)
{
    return cli_fail(CLI_FAILED, "there is no randomness to be had");
}


int
cli_credential_id(const cli_kind_t *kind, oa_str_t *id)
{
    unsigned char  random[OA_KEY_RANDOM_LEN], text[OA_KEY_BODY_LEN];

    if (RAND_bytes(random, sizeof(random)) != 1) {
        return no_randomness();
    }

    oa_token_mint(random, text);

    /* the last ones: the first digit of 256 bits in base 62 is not even */
    *id = cli_str(cli_format("%s%.*s", kind->prefix, ID_LEN,
                             (char *) text + sizeof(text) - ID_LEN));

    return CLI_OK;
}


/*
 * A credential is read by the longest prefix that it begins with. One that by
 * chance begins with another prefix, or a token that begins with any, would be
 * taken for something else: once more then.
 */
static int
secret_mint(cli_t *cli, cli_new_t *new)
{
    int                     i, fits;
    oa_str_t                secret;
    unsigned char           random[OA_KEY_RANDOM_LEN];
    const oa_key_prefix_t  *found;

    for (i = 0; i < MINT_TRIES; i++) {

        if (RAND_bytes(random, sizeof(random)) != 1) {
            return no_randomness();
        }

        if (new->kind->kind == OA_KIND_API_KEY) {
            if (oa_key_mint(&new->key_prefix, random, new->secret, &new->len)
                != OA_OK)
            {
                return cli_fail(CLI_FAILED, "the key prefix is too long");
            }

        } else {
            oa_token_mint(random, new->secret);
            new->len = OA_KEY_BODY_LEN;
        }

        OPENSSL_cleanse(random, sizeof(random));

        secret.data = new->secret;
        secret.len = new->len;
        found = oa_key_prefix_find(cli->config.key_prefixes, cli->config.n,
                                   secret);

        fits = (new->kind->kind == OA_KIND_API_KEY)
               ? (found != NULL
                  && found->prefix.len == new->key_prefix.prefix.len)
               : (found == NULL);

        if (fits) {
            return CLI_OK;
        }
    }

    return cli_fail(CLI_FAILED, "the key prefixes leave no room: other ones "
                    "begin with all that a new %s could", new->kind->noun);
}


static void
field(cli_command_t *hset, const char *name, oa_str_t value)
{
    if (value.data != NULL && value.len != 0) {
        cli_command_addz(hset, name);
        cli_command_add(hset, value);
    }
}


static oa_str_t
number(int64_t n)
{
    return cli_str(cli_format("%lld", (long long) n));
}


static void
expire_at(cli_change_t *change, oa_str_t key, int64_t at)
{
    cli_command_add(cli_change_add(change, "EXPIREAT", key), number(at));
}


static void
new_record(cli_t *cli, const cli_new_t *new, cli_command_t *hset)
{
    oa_str_t  hint;

    hint.data = (unsigned char *) cli_copy(new->secret + new->len - HINT_LEN,
                                           HINT_LEN);
    hint.len = HINT_LEN;

    field(hset, "v", number(OA_RECORD_VERSION));
    field(hset, "id", new->id);
    field(hset, "kind", cli_str(oa_kind_name(new->kind->kind)));
    field(hset, "account", new->account);
    field(hset, "name", new->name);
    field(hset, "state", cli_str(oa_state_name(OA_STATE_ACTIVE)));
    field(hset, "environment", new->environment);
    cli_command_addz(hset, "scopes");   /* needed, and may be empty */
    cli_command_add(hset, new->scopes);
    field(hset, "ips", new->ips);
    field(hset, "expires", number(new->expires));
    field(hset, "created", number(cli->now));
    field(hset, "hint", hint);
    field(hset, "subject", new->subject);
    field(hset, "client", new->client);
    field(hset, "predecessor", new->predecessor);
}


static void
new_change(cli_t *cli, const cli_new_t *new, const cli_credential_t *written,
    cli_change_t *change)
{
    oa_str_t  id, key;

    id = cli_store_key(cli, "id:", new->id);
    key = written->record.key;

    cli_command_add(cli_change_add(change, "SET", id), written->digest);

    if (new->kind->kind == OA_KIND_API_KEY) {
        cli_command_add(cli_change_add(change, "SADD",
                                       cli_store_key(cli, "credentials:",
                                                     new->account)), new->id);

    } else {
        cli_issued_add(change, new->account, new->id,
                       new->expires + CLI_TOKEN_GRACE);
    }

    /* what makes it live comes last of the three */

    new_record(cli, new, cli_change_add(change, "HSET", key));

    if (new->kind->kind == OA_KIND_ACCESS_TOKEN) {
        expire_at(change, id, new->expires + CLI_TOKEN_GRACE);
        expire_at(change, key, new->expires + CLI_TOKEN_GRACE);
    }

    cli_change_audit(change, cli_format("%s.%s", new->kind->noun,
                                        (new->kind->kind == OA_KIND_API_KEY)
                                        ? "create" : "issue"), new->id,
                     cli_format("account=%s, environment=%s, scopes=%s, "
                                "expires=%lld%s%s",
                                cli_text_safe(new->account),
                                cli_text_safe(new->environment),
                                cli_text_safe(new->scopes),
                                (long long) new->expires,
                                new->predecessor.len ? ", predecessor=" : "",
                                cli_text_safe(new->predecessor)));
}


static int
new_attempt(cli_t *cli, void *data)
{
    int           rc;
    attempt_t    *attempt;
    cli_new_t    *new;
    cli_change_t  change;

    attempt = data;
    new = attempt->new;
    rc = cli_store_watch(cli, cli_store_key(cli, "account:", new->account));

    if (rc == CLI_OK) {
        rc = cli_account_read(cli, new->account, &new->owner);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    cli_change_init(&change, cli);

    if (new->along != NULL) {
        rc = new->along(cli, new, &change);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    new_change(cli, new, attempt->written, &change);

    return cli_change_commit(&change);
}


static int
new_write(cli_t *cli, cli_new_t *new, cli_credential_t *written)
{
    char           hex[OA_DIGEST_HEX_LEN];
    oa_str_t       secret;
    attempt_t      attempt;
    unsigned char  bytes[OA_DIGEST_LEN];

    secret.data = new->secret;
    secret.len = new->len;

    if (oa_hasher_credential(&cli->hasher, 0, secret, bytes) != OA_OK) {
        return cli_fail(CLI_FAILED, "libcrypto failed");
    }

    oa_text_hex(bytes, sizeof(bytes), (unsigned char *) hex);

    written->id = new->id;
    written->digest.data = (unsigned char *) cli_copy(hex, sizeof(hex));
    written->digest.len = sizeof(hex);
    written->record.key = cli_store_key(cli, "credential:", written->digest);

    attempt.new = new;
    attempt.written = written;

    return cli_store_retry(cli, new_attempt, &attempt);
}


static int
new_print_json(cli_t *cli, const cli_new_t *new, cli_credential_t *written)
{
    int        rc;
    json_t    *object, *secret;
    oa_str_t   text;

    rc = cli_store_read(cli, written->record.key, &written->record);

    if (rc != CLI_OK) {
        return cli_fail(CLI_FAILED, "the new record can't be read back");
    }

    text.data = new->secret;
    text.len = new->len;

    object = cli_credential_json(cli, &written->record);
    secret = cli_json_str(text);
    json_object_set(object, new->kind->noun, secret);
    cli_json_print(object);
    cli_json_wipe(secret);

    return cli_output_flush();
}


static int
new_print(cli_t *cli, const cli_new_t *new, cli_credential_t *written)
{
    oa_str_t  text;

    if (cli->json) {
        return new_print_json(cli, new, written);
    }

    text.data = new->secret;
    text.len = new->len;
    cli_output_line(text);

    return cli_output_flush();
}


static void
new_explain(const cli_new_t *new)
{
    cli_note("%s%s%s is a %s %s of account %s, %s, scopes: %s",
             cli_text_safe(new->id),
             new->name.len ? " " : "",
             new->name.len ? cli_quote(new->name) : "",
             cli_text_safe(new->environment), new->kind->noun,
             cli_text_safe(new->account),
             (new->expires == 0)
             ? "never expires"
             : cli_format("expires %s", cli_time_local(new->expires)),
             cli_text_safe(new->scopes));

    cli_note("the %s is shown this once; the store has only its digest",
             new->kind->noun);

    if (!oa_text_eq(cli_record_get(&new->owner, "enabled"), "1")) {
        cli_note("account %s is disabled: the %s will be refused until "
                 "\"opsauth account enable %s\"", cli_text_safe(new->account),
                 new->kind->noun, cli_text_safe(new->account));
    }
}


/* all that can fail without a trace does so here */
static int
new_prepare(cli_t *cli, cli_new_t *new)
{
    int  rc;

    rc = cli_config_read(cli);

    if (rc == CLI_OK && new->kind->kind == OA_KIND_API_KEY) {
        rc = cli_config_key_prefix(cli, cli_text_safe(new->environment),
                                   &new->key_prefix);

        /* the gateway may not ask for the checksum yet, but could one day */
        new->key_prefix.checksum = 1;
    }

    if (rc == CLI_OK) {
        rc = cli_store_hasher(cli);
    }

    if (rc == CLI_OK) {
        rc = cli_store_open(cli);
    }

    if (rc == CLI_OK) {
        rc = cli_account_read(cli, new->account, &new->owner);
    }

    if (rc == CLI_OK) {
        rc = cli_credential_id(new->kind, &new->id);
    }

    return (rc == CLI_OK) ? secret_mint(cli, new) : rc;
}


int
cli_credential_create(cli_t *cli, cli_new_t *new)
{
    int               rc;
    cli_credential_t  written;

    memset(&written, 0, sizeof(written));
    rc = new_prepare(cli, new);

    if (rc == CLI_OK) {
        rc = new_write(cli, new, &written);
    }

    if (rc == CLI_OK) {
        rc = new_print(cli, new, &written);

        if (rc != CLI_OK) {
            /* live, and nobody has it in full */
            cli_note("the %s did not reach anybody and is taken back",
                     new->kind->noun);
            (void) cli_credential_revoke_one(cli, new->kind, &written, NULL);

            if (new->undo != NULL) {
                new->undo(cli, new);
            }

        } else if (!cli->json) {
            new_explain(new);
        }
    }

    OPENSSL_cleanse(new->secret, sizeof(new->secret));

    return rc;
}


/* "read tenants" for "read:tenants": nothing is wrong with it, but is it meant? */
static void
scopes_doubt(oa_str_t given)
{
    oa_str_t     word;
    const char  *p, *end;

    p = (const char *) given.data;
    end = p + given.len;

    while (p < end) {
        word.data = (const unsigned char *) p;
        word.len = strcspn(p, " ");

        if (word.len != 0 && memchr(p, ':', word.len) == NULL
            && !oa_text_eq(word, "admin"))
        {
            cli_note("--scope %s is no ACTION:RESOURCE (read:tenants): it opens "
                     "only what a rule names by just this word",
                     cli_quote(word));
        }

        p += word.len + 1;
    }
}


int
cli_credential_scopes(cli_t *cli, oa_str_t *scopes)
{
    int             rc;
    size_t          len;
    oa_str_t        granted = oa_null, given;
    const char     *permission, *error, *parts[2];
    unsigned char  *set;

    permission = cli_option(&cli->options, "permission");

    if (permission != NULL
        && oa_permission_scopes(cli_str(permission), &granted) != OA_OK)
    {
        return cli_fail(CLI_USAGE, "--permission %s: expected read, write or "
                        "admin", cli_quotez(permission));
    }

    rc = cli_value_list(cli, oa_credential_field_check, "scope", "scopes",
                        &given);

    if (rc != CLI_OK) {
        return rc;
    }

    if (granted.len + given.len == 0) {
        return cli_fail(CLI_USAGE, "what may it do? Give --permission read, "
                        "write or admin, or --scope ACTION:RESOURCE "
                        "(read:tenants), as often as needed");
    }

    parts[0] = cli_copy(granted.data, granted.len);
    parts[1] = cli_copy(given.data, given.len);
    scopes_doubt(cli_str(parts[1]));
    given = cli_str(cli_text_join(parts, 2, " "));
    set = cli_alloc(given.len + 1);

    if (oa_set_pack(given, set, given.len, &len) != OA_OK) {
        return cli_fail(CLI_FAILED, "the scopes can't be read");
    }

    scopes->data = set;
    scopes->len = len;

    if (oa_credential_field_check("scopes", *scopes, &error) != OA_OK) {
        return cli_fail(CLI_USAGE, "the scopes %s: %s", cli_quote(*scopes),
                        error);
    }

    return CLI_OK;
}


int
cli_credential_options(cli_t *cli, cli_new_t *new, const char *expires)
{
    int          rc;
    const char  *text;

    rc = cli_value_required(cli, "account", "whose is it? (\"opsauth account "
                            "list\" shows all accounts)");

    if (rc == CLI_OK) {
        rc = cli_value(cli, oa_credential_field_check, "account", "account",
                       &new->account);
    }

    if (rc == CLI_OK) {
        rc = cli_value(cli, oa_credential_field_check, "name", "name",
                       &new->name);
    }

    if (rc == CLI_OK) {
        rc = cli_value(cli, oa_credential_field_check, "environment",
                       "environment", &new->environment);
    }

    if (rc == CLI_OK) {
        rc = cli_value_list(cli, oa_credential_field_check, "ip", "ips",
                            &new->ips);
    }

    if (rc == CLI_OK) {
        rc = cli_credential_scopes(cli, &new->scopes);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    if (new->ips.data != NULL && new->ips.len == 0) {
        return cli_fail(CLI_USAGE, "--ip is empty: leave it out to admit every "
                        "address");
    }

    if (new->environment.data == NULL) {
        new->environment = cli_str(oa_environment_name(OA_ENV_LIVE));
    }

    text = cli_option(&cli->options, "expires");
    text = (text == NULL) ? expires : text;

    if (cli_time_expires(text, cli->now, &new->expires) != OA_OK
        || (new->expires == 0 && new->kind->kind == OA_KIND_ACCESS_TOKEN))
    {
        return cli_fail(CLI_USAGE, "--expires %s: expected a time from now "
                        "(90d, 12h) or a date in the future (2027-01-31, "
                        "2027-01-31T18:30, with Z for UTC)%s",
                        cli_quotez(text),
                        (new->kind->kind == OA_KIND_API_KEY)
                        ? ", or never" : "");
    }

    return CLI_OK;
}
