/*
 * Credentials that there are: finding them, showing them, ending them
 * (cli_credential.h); cli_mint.c makes new ones.
 */

#include "cli_credential.h"
#include "cli_memory.h"
#include "cli_output.h"
#include "cli_text.h"
#include "cli_wait.h"

#include "oa_bearer.h"
#include "oa_text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>


typedef struct {
    const cli_kind_t  *kind;
    cli_credential_t  *credential;
    int                changed;
} revoke_t;


/* what "revoke" has come to */
typedef struct {
    json_t            *list;
    size_t             n;               /* are revoked now */
} revoked_t;


const cli_kind_t  cli_kind_key = {
    OA_KIND_API_KEY, "key", "a key", "key_"
};

const cli_kind_t  cli_kind_token = {
    OA_KIND_ACCESS_TOKEN, "token", "an access token", "tok_"
};


const char *
cli_credential_state(cli_t *cli, const cli_record_t *record)
{
    int64_t   expires;
    oa_str_t  state;

    state = cli_record_get(record, "state");

    if (!oa_text_eq(state, oa_state_name(OA_STATE_REVOKED))
        && oa_text_number(cli_record_get(record, "expires"), INT64_MAX,
                          &expires) == OA_OK
        && expires != 0 && expires <= cli->now)
    {
        return "expired";
    }

    return cli_text_safe(state);
}


json_t *
cli_credential_json(cli_t *cli, const cli_record_t *record)
{
    size_t     i;
    json_t    *object;
    oa_str_t   value;

    static const char *const  fields[] = {
        "id", "kind", "account", "name", "state", "environment", "scopes",
        "ips", "expires", "created", "hint", "subject", "client",
        "deprecated", "successor", "predecessor"
    };

    object = json_object();

    for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        value = cli_record_get(record, fields[i]);

        if (strcmp(fields[i], "scopes") == 0
            || strcmp(fields[i], "ips") == 0)
        {
            json_object_set_new(object, fields[i], cli_json_words(value));

        } else if (strcmp(fields[i], "expires") == 0
                   || strcmp(fields[i], "deprecated") == 0
                   || strcmp(fields[i], "created") == 0)
        {
            json_object_set_new(object, fields[i], cli_json_time(value));

        } else if (strcmp(fields[i], "state") == 0) {
            json_object_set_new(object, fields[i],
                cli_json_str(cli_str(cli_credential_state(cli, record))));

        } else {
            json_object_set_new(object, fields[i], cli_json_str(value));
        }
    }

    return object;
}


int
cli_credential_not_secret(cli_t *cli, const cli_kind_t *kind, const char *word)
{
    const oa_key_prefix_t  *prefix;

    prefix = oa_key_prefix_find(cli->config.key_prefixes, cli->config.n,
                                cli_str(word));

    if (prefix != NULL
        && strlen(word) >= prefix->prefix.len + OA_KEY_BODY_LEN)
    {
        return cli_fail(CLI_USAGE, "that is a key itself, not its id, and "
                        "others may have seen it on this command line: revoke "
                        "it (\"opsauth %s revoke -\" reads it from stdin)",
                        kind->noun);
    }

    return CLI_OK;
}


static int
not_found(const cli_kind_t *kind, const char *id)
{
    return cli_fail(CLI_NOT_FOUND, "there is no %s %s", kind->noun,
                    cli_quotez(id));
}


/* the record, and that it is of this kind; CLI_NOT_FOUND is not said */
static int
credential_read(cli_t *cli, const cli_kind_t *kind, cli_credential_t *c)
{
    int  rc;

    c->record.key = cli_store_key(cli, "credential:", c->digest);
    rc = cli_store_read(cli, c->record.key, &c->record);

    if (rc != CLI_OK) {
        return rc;
    }

    c->id = cli_record_get(&c->record, "id");

    if (!oa_text_eq(cli_record_get(&c->record, "kind"),
                    oa_kind_name(kind->kind)))
    {
        return cli_fail(CLI_NOT_FOUND, "%s is not %s but of kind %s",
                        cli_quote(c->id), kind->article,
                        cli_quote(cli_record_get(&c->record, "kind")));
    }

    return CLI_OK;
}


int
cli_credential_find(cli_t *cli, const cli_kind_t *kind, const char *id,
    cli_credential_t *credential)
{
    int          rc;
    oa_str_t     key, digest;
    const char  *error;

    memset(credential, 0, sizeof(*credential));
    rc = cli_store_open(cli);

    if (rc == CLI_OK) {
        rc = cli_credential_not_secret(cli, kind, id);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    if (oa_credential_field_check("id", cli_str(id), &error) != OA_OK) {
        return not_found(kind, id);
    }

    key = cli_store_key(cli, "id:", cli_str(id));
    rc = cli_store_strings(cli, &key, 1, &digest);

    if (rc != CLI_OK) {
        return rc;
    }

    if (digest.data == NULL) {
        return not_found(kind, id);
    }

    credential->digest = digest;

    if (digest.len != OA_DIGEST_HEX_LEN) {
        return cli_fail(CLI_FAILED, "%s does not hold a digest: it is not of "
                        "opsauth, or damaged", cli_quote(key));
    }

    rc = credential_read(cli, kind, credential);

    if (rc == CLI_NOT_FOUND && credential->record.reply->elements == 0) {
        return not_found(kind, id);
    }

    return rc;
}


/* under each pepper; the newest is the likeliest */
static int
find_secret(cli_t *cli, const cli_kind_t *kind, oa_str_t secret,
    cli_credential_t *credential)
{
    int            rc;
    char           hex[OA_DIGEST_HEX_LEN];
    size_t         i;
    unsigned char  bytes[OA_DIGEST_LEN];

    for (i = 0; i < cli->hasher.n; i++) {

        if (oa_hasher_credential(&cli->hasher, i, secret, bytes) != OA_OK) {
            return cli_fail(CLI_FAILED, "libcrypto failed");
        }

        oa_text_hex(bytes, sizeof(bytes), (unsigned char *) hex);
        credential->digest.data = (unsigned char *) cli_copy(hex, sizeof(hex));
        credential->digest.len = sizeof(hex);

        rc = credential_read(cli, kind, credential);

        if (rc != CLI_NOT_FOUND || credential->record.reply->elements != 0) {
            return rc;
        }
    }

    if (kind == &cli_kind_token) {
        rc = cli_family_find(cli, secret, credential);

        if (rc != CLI_NOT_FOUND) {
            return rc;
        }
    }

    return cli_fail(CLI_NOT_FOUND, "the store has no %s like the one on stdin "
                    "(under no pepper of this file)", kind->noun);
}


int
cli_credential_text(unsigned char *text, size_t *len)
{
    ssize_t  n;

    *len = 0;

    do {
        n = read(STDIN_FILENO, text + *len, CLI_STDIN_MAX - *len);

        if (n > 0) {
            *len += (size_t) n;
        }

    } while ((n > 0 && *len < CLI_STDIN_MAX) || (n == -1 && errno == EINTR));

    if (n == -1) {
        return cli_fail(CLI_FAILED, "can't read stdin: %s", strerror(errno));
    }

    if (*len == CLI_STDIN_MAX) {
        return cli_fail(CLI_FAILED, "there is too much on stdin");
    }

    return CLI_OK;
}


int
cli_credential_stdin(cli_t *cli, const cli_kind_t *kind,
    cli_credential_t **credentials, size_t *n)
{
    int             rc, one;
    size_t          i, len, end;
    oa_str_t        line, secret;
    unsigned char  *text;

    *n = 0;
    text = cli_alloc(CLI_STDIN_MAX);
    rc = cli_store_hasher(cli);

    if (rc == CLI_OK) {
        rc = cli_store_open(cli);
    }

    if (rc == CLI_OK) {
        rc = cli_credential_text(text, &len);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    *credentials = cli_alloc((len / 2 + 2) * sizeof(cli_credential_t));

    for (i = 0; i < len; i = end + 1) {

        for (end = i; end < len && text[end] != '\n'; end++) { /* void */ }

        line.data = text + i;
        line.len = end - i;

        if (line.len != 0 && line.data[line.len - 1] == '\r') {
            line.len--;
        }

        one = oa_bearer_bare(line, &secret);

        if (one == OA_DECLINED) {
            continue;
        }

        one = (one == OA_OK)
              ? find_secret(cli, kind, secret, &(*credentials)[*n])
              : cli_fail(CLI_NOT_FOUND, "what stands on stdin is no %s",
                         kind->noun);

        if (one == CLI_OK) {
            (*n)++;

        } else if (one != CLI_NOT_FOUND) {
            return one;

        } else {
            rc = one;
        }
    }

    if (rc == CLI_OK && *n == 0) {
        return cli_fail(CLI_USAGE, "there is nothing on stdin; expected a %s",
                        kind->noun);
    }

    return rc;
}


static int
revoke_attempt(cli_t *cli, void *data)
{
    int                rc;
    revoke_t          *revoke;
    cli_change_t       change;
    cli_command_t     *hset;
    cli_credential_t  *c;

    revoke = data;
    revoke->changed = 0;
    c = revoke->credential;

    rc = cli_store_watch(cli, c->record.key);

    if (rc == CLI_OK) {
        rc = cli_store_read(cli, c->record.key, &c->record);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    if (oa_text_eq(cli_record_get(&c->record, "state"),
                   oa_state_name(OA_STATE_REVOKED)))
    {
        return CLI_OK;
    }

    cli_change_init(&change, cli);
    hset = cli_change_add(&change, "HSET", c->record.key);
    cli_command_addz(hset, "state");
    cli_command_addz(hset, oa_state_name(OA_STATE_REVOKED));

    cli_change_audit(&change, cli_format("%s.revoke", revoke->kind->noun),
                     c->id,
                     cli_format("account=%s", cli_text_safe(
                                cli_record_get(&c->record, "account"))));

    rc = cli_change_commit(&change);
    revoke->changed = (rc == CLI_OK);

    return rc;
}


int
cli_credential_revoke_one(cli_t *cli, const cli_kind_t *kind,
    cli_credential_t *credential, int *changed)
{
    int       rc;
    revoke_t  revoke;

    revoke.kind = kind;
    revoke.credential = credential;
    revoke.changed = 0;

    rc = cli_store_retry(cli, revoke_attempt, &revoke);

    if (changed != NULL) {
        *changed = revoke.changed;
    }

    return rc;
}


static int
revoke_say(cli_t *cli, const cli_kind_t *kind, cli_credential_t *c,
    revoked_t *revoked)
{
    int      rc, changed;
    json_t  *object, *access;

    access = json_array();

    rc = c->family ? cli_family_revoke(cli, c, &changed, access)
                   : cli_credential_revoke_one(cli, kind, c, &changed);

    if (rc != CLI_OK) {
        json_decref(access);

        return (rc == CLI_NOT_FOUND) ? not_found(kind, cli_text_safe(c->id))
                                     : rc;
    }

    revoked->n++;

    if (cli->json) {
        object = json_object();
        json_object_set_new(object, "id", cli_json_str(c->id));
        json_object_set_new(object, "state",
                            json_string(oa_state_name(OA_STATE_REVOKED)));
        json_object_set_new(object, "changed", json_boolean(changed));

        if (c->family) {
            json_object_set(object, "access", access);
        }

        json_decref(access);
        json_array_append_new(revoked->list, object);
        return CLI_OK;
    }

    cli_output_line(cli_str(cli_format("%s %s %s%s", kind->noun,
                                       cli_text_safe(c->id),
                                       changed ? "revoked"
                                               : "is revoked already",
                                       json_array_size(access)
                                       ? cli_format(", with %zu access "
                                           "token%s", json_array_size(access),
                                           (json_array_size(access) == 1)
                                           ? "" : "s") : "")));
    json_decref(access);

    return CLI_OK;
}


/* one word of the command line */
static int
revoke_word(cli_t *cli, const cli_kind_t *kind, const char *word,
    revoked_t *revoked)
{
    int                rc, one;
    size_t             i, n;
    cli_credential_t   credential, *found;

    if (strcmp(word, "-") != 0) {
        rc = cli_credential_find(cli, kind, word, &credential);
        return (rc == CLI_OK) ? revoke_say(cli, kind, &credential, revoked)
                              : rc;
    }

    rc = cli_credential_stdin(cli, kind, &found, &n);

    for (i = 0; i < n; i++) {
        one = revoke_say(cli, kind, &found[i], revoked);
        rc = (one == CLI_OK) ? rc : one;
    }

    return rc;
}


int
cli_credential_revoke(cli_t *cli, const cli_kind_t *kind)
{
    int        rc, one;
    size_t     i;
    revoked_t  revoked;

    rc = cli_wait_check(cli);

    if (rc != CLI_OK) {
        return rc;
    }

    revoked.list = json_array();
    revoked.n = 0;

    for (i = 0; i < cli->options.nwords; i++) {
        one = revoke_word(cli, kind, cli->options.words[i], &revoked);
        rc = (one == CLI_OK) ? rc : one;

        /* one that is not there keeps none of the others alive */
        if (one != CLI_OK && one != CLI_NOT_FOUND) {
            break;
        }
    }

    if (cli->json) {
        cli_json_print(revoked.list);

    } else {
        json_decref(revoked.list);
    }

    if (revoked.n != 0 && (rc == CLI_OK || rc == CLI_NOT_FOUND)) {
        one = cli_wait(cli);
        rc = (one == CLI_OK) ? rc : one;
    }

    return rc;
}


int
cli_credential_read_ids(cli_t *cli, const oa_str_t *ids, size_t n,
    cli_record_t *records, size_t *found)
{
    int        rc;
    size_t     i, k;
    oa_str_t  *keys, *digests;

    *found = 0;
    keys = cli_alloc((n + 1) * sizeof(oa_str_t));
    digests = cli_alloc((n + 1) * sizeof(oa_str_t));

    for (i = 0; i < n; i++) {
        keys[i] = cli_store_key(cli, "id:", ids[i]);
    }

    rc = cli_store_strings(cli, keys, n, digests);

    if (rc != CLI_OK) {
        return rc;
    }

    for (i = 0, k = 0; i < n; i++) {
        if (digests[i].data != NULL) {
            keys[k++] = cli_store_key(cli, "credential:", digests[i]);
        }
    }

    *found = k;

    return cli_store_read_many(cli, keys, k, records);
}
