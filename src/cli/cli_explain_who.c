/*
 * Who asks: presence, syntax, what can be said offline, and the two records,
 * in the order of the module (ngx_http_opsauth_records.c) and read by the
 * same fields into the same packed form.
 */

#include "cli_credential.h"
#include "cli_explain.h"
#include "cli_memory.h"
#include "cli_text.h"

#include "oa_bearer.h"
#include "oa_text.h"

#include <string.h>


/* places in oa_credential_fields[] */
enum { FIELD_ID = 1, FIELD_ACCOUNT = 3 };


static cli_row_t *
row_default(cli_row_t *row)
{
    if (row->by == NULL) {
        row->otherwise = "default";
    }

    return row;
}


/* one credential, on a line of its own */
static int
secret_read(cli_explain_t *x)
{
    int             rc;
    size_t          len, end, i;
    unsigned char  *text;

    text = cli_alloc(CLI_STDIN_MAX);
    rc = cli_credential_text(text, &len);

    if (rc != CLI_OK) {
        return rc;
    }

    for (end = 0; end < len && text[end] != '\n'; end++) { /* void */ }

    for (i = end; i < len; i++) {
        if (text[i] != '\n' && text[i] != '\r' && text[i] != ' ') {
            return cli_fail(CLI_USAGE, "there is more than one line on stdin; "
                            "expected one key or token");
        }
    }

    /* as in a header, blanks around it do not count */

    while (end > 0 && (text[end - 1] == '\r' || text[end - 1] == ' '
                       || text[end - 1] == '\t'))
    {
        end--;
    }

    for (i = 0; i < end && (text[i] == ' ' || text[i] == '\t'); i++) {
        /* void */
    }

    x->secret.data = text + i;
    x->secret.len = end - i;

    return CLI_OK;
}


static void
present(cli_explain_t *x)
{
    oa_rc_t   rc;
    oa_str_t  bearer;

    rc = oa_bearer_bare(x->secret, &bearer);

    (void) row_default(cli_explain_row(x, "presence",
                       (rc == OA_DECLINED) ? CLI_ROW_FAILS : CLI_ROW_OK,
                       (rc == OA_DECLINED) ? "there is nothing on stdin"
                                           : "it is on stdin",
                       x->place.credential));

    if (rc == OA_DECLINED) {
        x->reason = OA_REASON_MISSING;
        (void) cli_explain_row(x, "syntax", CLI_ROW_SKIPPED, "", NULL);
        return;
    }

    (void) cli_explain_row(x, "syntax",
                           (rc == OA_OK) ? CLI_ROW_OK : CLI_ROW_FAILS,
                           (rc == OA_OK)
                           ? cli_format("%zu characters", x->secret.len)
                           : cli_format("it must be 1 to %d of A-Z a-z 0-9 "
                                        "- . _ ~ + /, maybe with = behind",
                                        OA_BEARER_MAX), NULL);

    if (rc != OA_OK) {
        x->reason = OA_REASON_MALFORMED;
    }
}


/* the key_prefix line of the store's block */
static const cli_directive_t *
prefix_line(const cli_explain_t *x, const oa_key_prefix_t *prefix)
{
    const cli_directive_t  *d;

    d = (x->store != NULL && prefix != NULL)
        ? cli_directive_find(x->store->first, "key_prefix") : NULL;

    while (d != NULL
           && (d->n < 2 || !oa_text_eq(prefix->prefix, d->words[1])))
    {
        d = cli_directive_find(d->next, "key_prefix");
    }

    return d;
}


/* a row that is reached only where nothing has failed so far */
static void
offline_row(cli_explain_t *x, const char *check, oa_reason_t reason,
    const char *fact, const cli_directive_t *by)
{
    if (x->reason != OA_REASON_OK) {
        (void) cli_explain_row(x, check, CLI_ROW_SKIPPED, "", NULL);
        return;
    }

    (void) cli_explain_row(x, check,
                           (reason == OA_REASON_OK) ? CLI_ROW_OK
                                                    : CLI_ROW_FAILS, fact, by);
    x->reason = reason;
}


static void
offline(cli_explain_t *x)
{
    oa_reason_t             reason;
    oa_environment_t        admits;
    const cli_config_t     *config;
    const cli_directive_t  *line;
    const oa_key_prefix_t  *prefix;

    config = &x->cli->config;
    admits = x->place.policy.environment;
    prefix = NULL;
    reason = OA_REASON_OK;

    if (x->reason == OA_REASON_OK) {
        reason = oa_policy_offline(config->key_prefixes, config->n, admits,
                                   x->secret, &prefix);
    }

    line = prefix_line(x, prefix);

    offline_row(x, "prefix", OA_REASON_OK,
                prefix ? cli_format("a key: it begins with %s",
                                    cli_text_safe(prefix->prefix))
                       : "an access token: it begins with no key prefix",
                line);

    offline_row(x, "prefix's environment",
                (reason == OA_REASON_ENVIRONMENT) ? reason : OA_REASON_OK,
                !prefix ? "a token has none"
                : cli_format("%s, admitted: %s",
                             oa_environment_name(prefix->environment),
                             (admits == OA_ENV_ANY)
                             ? "any" : oa_environment_name(admits)),
                (reason == OA_REASON_ENVIRONMENT && x->place.environment)
                ? x->place.environment : line);

    offline_row(x, "checksum",
                (reason == OA_REASON_CHECKSUM) ? reason : OA_REASON_OK,
                (reason == OA_REASON_CHECKSUM)
                ? "wrong: the key is mistyped, cut or invented"
                : (prefix && prefix->checksum) ? "right"
                : "none is asked for", line);
}


/* HMGET, as the module asks; what is no hash is OA_INVALID */
static int
fields_read(cli_explain_t *x, oa_str_t key, const oa_str_t *names, size_t n,
    oa_str_t *values, oa_rc_t *form)
{
    int             rc;
    size_t          i;
    redisReply     *reply;
    cli_command_t  *hmget;

    hmget = cli_command("HMGET", key);

    for (i = 0; i < n; i++) {
        cli_command_add(hmget, names[i]);
    }

    *form = OA_OK;
    rc = cli_redis_pipeline(&x->cli->redis, &hmget, 1, &reply);

    if (rc != CLI_OK) {
        return rc;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        *form = OA_INVALID;
        return (strncmp(reply->str, "WRONGTYPE", 9) == 0)
               ? CLI_OK : cli_redis_refused(&x->cli->redis, hmget, reply);
    }

    for (i = 0; i < n; i++) {
        values[i] = (i < reply->elements) ? cli_reply_str(reply->element[i])
                                          : (oa_str_t) oa_null;
    }

    return CLI_OK;
}


/* one record: read, packed, viewed; *field is what is wrong with it */
static int
credential_get(cli_explain_t *x, oa_rc_t *form, oa_str_t *field)
{
    int     rc;
    size_t  len;

    rc = fields_read(x, cli_store_key(x->cli, "credential:", x->digest),
                     oa_credential_fields, OA_CREDENTIAL_FIELDS, x->fields,
                     form);

    if (rc == CLI_OK && *form == OA_OK) {
        *form = oa_credential_pack(x->fields, &x->cli->hasher, x->packed[0],
                                   &len, field);
    }

    if (rc == CLI_OK && *form == OA_OK) {
        *form = oa_credential_view(x->packed[0], len, &x->credential);
    }

    return rc;
}


static int
account_get(cli_explain_t *x, oa_rc_t *form, oa_str_t *field)
{
    int       rc;
    size_t    len;
    oa_str_t  id;

    id = x->fields[FIELD_ACCOUNT];

    rc = fields_read(x, cli_store_key(x->cli, "account:", id),
                     oa_account_fields, OA_ACCOUNT_FIELDS, x->owner, form);

    if (rc == CLI_OK && *form == OA_OK) {
        *form = oa_account_pack(id, x->owner, x->packed[1], &len, field);
    }

    if (rc == CLI_OK && *form == OA_OK) {
        *form = oa_account_view(x->packed[1], len, &x->account);
    }

    return rc;
}


/* nobody knows it; an empty store is no proof of that */
static int
unknown(cli_explain_t *x, const char *fact)
{
    int       rc;
    oa_rc_t   form;
    oa_str_t  mark;

    static const oa_str_t  field = oa_string("v");

    rc = fields_read(x, cli_store_key(x->cli, "meta", cli_str("")), &field, 1,
                     &mark, &form);

    if (rc != CLI_OK) {
        return rc;
    }

    x->reason = OA_REASON_UNKNOWN;

    if (form != OA_OK || mark.data == NULL) {
        x->reason = OA_REASON_UNAVAILABLE;
        fact = cli_format("%s; but the store was never set up: there is no v "
                          "in %smeta", fact,
                          cli_text_safe(cli_str(x->cli->config.prefix.value)));
    }

    (void) cli_explain_row(x, "lookup", CLI_ROW_FAILS, fact, NULL);

    return CLI_OK;
}


static int
invalid(cli_explain_t *x, const char *what, oa_str_t field)
{
    x->reason = OA_REASON_RECORD_INVALID;

    (void) cli_explain_row(x, "lookup", CLI_ROW_FAILS,
                           (field.len == 0)
                           ? cli_format("the record of the %s is not valid",
                                        what)
                           : cli_format("the record of the %s is not valid: "
                                        "field %s", what,
                                        cli_text_safe(field)), NULL);

    return CLI_OK;
}


/* the credential's record is there; now the account's */
static int
found(cli_explain_t *x)
{
    int       rc;
    oa_rc_t   form;
    oa_str_t  field;

    field = cli_str("");
    rc = account_get(x, &form, &field);

    if (rc != CLI_OK) {
        return rc;
    }

    if (form == OA_DECLINED) {
        x->reason = x->credential.introspected ? OA_REASON_UNKNOWN
                                               : OA_REASON_RECORD_INVALID;
        (void) cli_explain_row(x, "lookup", CLI_ROW_FAILS,
                               cli_format("%s belongs to account %s, which "
                                          "has no record",
                                          cli_text_safe(x->credential.id),
                                          cli_text_safe(x->credential.account)),
                               NULL);
        return CLI_OK;
    }

    if (form != OA_OK) {
        return invalid(x, "account", field);
    }

    if (x->credential.claims != NULL) {
        oa_credential_claims(&x->credential, &x->account);
    }

    (void) cli_explain_row(x, "lookup", CLI_ROW_OK,
                           cli_format("%s of account %s",
                                      cli_text_safe(x->credential.id),
                                      cli_text_safe(x->credential.account)),
                           x->place.guard);
    return CLI_OK;
}


/* under each pepper, newest first */
static int
lookup_secret(cli_explain_t *x)
{
    int             rc;
    char           *hex;
    size_t          i;
    oa_rc_t         form;
    oa_str_t        field;
    unsigned char   digest[OA_DIGEST_LEN];

    field = cli_str("");

    for (i = 0; i < x->cli->hasher.n; i++) {

        if (oa_hasher_credential(&x->cli->hasher, i, x->secret, digest)
            != OA_OK)
        {
            return cli_fail(CLI_FAILED, "libcrypto failed");
        }

        hex = cli_alloc(OA_DIGEST_HEX_LEN + 1);
        oa_text_hex(digest, sizeof(digest), (unsigned char *) hex);
        x->digest = cli_str(hex);

        rc = credential_get(x, &form, &field);

        if (rc != CLI_OK) {
            return rc;
        }

        if (form == OA_OK) {
            return found(x);
        }

        if (form != OA_DECLINED) {
            return invalid(x, "credential", field);
        }
    }

    return unknown(x, (x->cli->hasher.n == 1)
                      ? "the store has no record of it"
                      : cli_format("the store has no record of it, under any "
                                   "of %zu peppers", x->cli->hasher.n));
}


static int
lookup_id(cli_explain_t *x)
{
    int                 rc;
    oa_rc_t             form;
    oa_str_t            key, field;
    const char         *error;
    const cli_kind_t   *kind;

    kind = (strncmp(x->id, cli_kind_token.prefix,
                    strlen(cli_kind_token.prefix)) == 0)
           ? &cli_kind_token : &cli_kind_key;

    rc = cli_credential_not_secret(x->cli, kind, x->id);

    if (rc != CLI_OK) {
        return rc;
    }

    if (oa_credential_field_check("id", cli_str(x->id), &error) == OA_OK) {
        key = cli_store_key(x->cli, "id:", cli_str(x->id));
        rc = cli_store_strings(x->cli, &key, 1, &x->digest);

        if (rc != CLI_OK) {
            return rc;
        }
    }

    if (x->digest.data == NULL) {
        return cli_fail(CLI_NOT_FOUND, "there is no %s %s; with - the %s "
                        "itself is read from stdin", kind->noun,
                        cli_quotez(x->id), kind->noun);
    }

    field = cli_str("");
    rc = credential_get(x, &form, &field);

    return (rc != CLI_OK) ? rc
           : (form == OA_OK) ? found(x)
           : (form == OA_DECLINED)
             ? unknown(x, "the id has a digest, but no record under it")
           : invalid(x, "credential", field);
}


/*
 * Who asks by an id need not be able to read the pepper: a packed record holds
 * a digest of the account's id, and nobody looks at it here.
 */
static int
hasher_any(cli_t *cli)
{
    oa_str_t  any;

    any = (oa_str_t) oa_string("not a pepper of anybody");

    return (oa_hasher_init(&cli->hasher, &any, 1) == OA_OK)
           ? CLI_OK : cli_fail(CLI_FAILED, "libcrypto failed");
}


int
cli_explain_identify(cli_explain_t *x)
{
    int  rc;

    rc = cli_config_read(x->cli);

    if (rc == CLI_OK) {
        rc = (x->id == NULL) ? cli_store_hasher(x->cli) : hasher_any(x->cli);
    }

    if (rc == CLI_OK && x->id == NULL) {
        rc = secret_read(x);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    if (x->id == NULL) {
        present(x);
        offline(x);

    } else {
        (void) cli_explain_row(x, "the key itself", CLI_ROW_UNASKED,
                               "only its id is known; - reads it from stdin",
                               NULL);
    }

    if (x->reason != OA_REASON_OK) {
        (void) cli_explain_row(x, "lookup", CLI_ROW_SKIPPED, "", NULL);
        return CLI_OK;
    }

    rc = cli_store_open(x->cli);

    if (rc != CLI_OK) {
        return rc;
    }

    return (x->id == NULL) ? lookup_secret(x) : lookup_id(x);
}
