/*
 * See cli_entry.h.
 */

#include <jansson.h>

#include "cli_entry.h"
#include "cli_memory.h"
#include "cli_text.h"
#include "cli_time.h"

#include "oa_bearer.h"
#include "oa_record.h"
#include "oa_text.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/crypto.h>


#define KEY_BODY_MIN  22                /* base62 or base64: 128 bits */


static const cli_form_t  account_forms[] = {
    { "id", CLI_FORM_TEXT }, { "name", CLI_FORM_TEXT }, { "description", CLI_FORM_TEXT },
    { "enabled", CLI_FORM_FLAG }, { "tenant", CLI_FORM_TEXT },
    { "affiliate", CLI_FORM_TEXT }, { "roles", CLI_FORM_LIST }, { "ips", CLI_FORM_LIST },
    { "rate", CLI_FORM_TEXT }, { "refresh", CLI_FORM_FLAG }, { "scopes", CLI_FORM_LIST },
    { "created", CLI_FORM_TIME }, { "updated", CLI_FORM_TIME }, { NULL, CLI_FORM_TEXT }
};

/* secret is a digest, as it is everywhere but with who uses it */
static const cli_form_t  client_forms[] = {
    { "id", CLI_FORM_TEXT }, { "account", CLI_FORM_TEXT }, { "name", CLI_FORM_TEXT },
    { "description", CLI_FORM_TEXT },
    { "redirect_uris", CLI_FORM_LIST }, { "grants", CLI_FORM_LIST },
    { "scopes", CLI_FORM_LIST }, { "auth_method", CLI_FORM_LIST },
    { "environment", CLI_FORM_TEXT }, { "enabled", CLI_FORM_FLAG },
    { "introspect", CLI_FORM_FLAG }, { "jwk", CLI_FORM_TEXT },
    { "secret", CLI_FORM_TEXT }, { "secret_wrapped", CLI_FORM_TEXT },
    { "created", CLI_FORM_TIME }, { "updated", CLI_FORM_TIME },
    { NULL, CLI_FORM_TEXT }
};

static const cli_form_t  credential_forms[] = {
    { "v", CLI_FORM_TEXT }, { "id", CLI_FORM_TEXT }, { "kind", CLI_FORM_TEXT },
    { "account", CLI_FORM_TEXT }, { "name", CLI_FORM_TEXT }, { "state", CLI_FORM_TEXT },
    { "environment", CLI_FORM_TEXT }, { "scopes", CLI_FORM_LIST },
    { "ips", CLI_FORM_LIST }, { "expires", CLI_FORM_TIME }, { "created", CLI_FORM_TIME },
    { "deprecated", CLI_FORM_TIME }, { "successor", CLI_FORM_TEXT },
    { "predecessor", CLI_FORM_TEXT }, { "hint", CLI_FORM_TEXT },
    { "subject", CLI_FORM_TEXT }, { "client", CLI_FORM_TEXT },
    { NULL, CLI_FORM_TEXT }
};

const cli_type_t  cli_type_account = { "account", "account:", account_forms };
const cli_type_t  cli_type_client = { "client", "client:", client_forms };
const cli_type_t  cli_type_credential = {
    "credential", "credential:", credential_forms
};


/* the pieces of jansson know their size, so that they can be wiped */

static void *
wiped_malloc(size_t size)
{
    max_align_t  *piece;

    piece = malloc(sizeof(max_align_t) + size);

    if (piece == NULL) {
        return NULL;
    }

    memcpy(piece, &size, sizeof(size));

    return piece + 1;
}


static void
wiped_free(void *data)
{
    size_t        size;
    max_align_t  *piece;

    if (data != NULL) {
        piece = (max_align_t *) data - 1;
        memcpy(&size, piece, sizeof(size));
        OPENSSL_cleanse(data, size);
        free(piece);
    }
}


void
cli_entry_init(void)
{
    json_set_alloc_funcs(wiped_malloc, wiped_free);
}


oa_str_t
cli_entry_get(const cli_entry_t *entry, const char *field)
{
    size_t    i;
    oa_str_t  none = oa_null;

    for (i = 0; i < entry->n; i++) {
        if (oa_text_eq(entry->fields[i].name, field)) {
            return entry->fields[i].value;
        }
    }

    return none;
}


void
cli_entry_set(cli_entry_t *entry, const char *field, oa_str_t value)
{
    /* there is always room: cli_entry_parse() leaves some */
    entry->fields[entry->n].name = cli_str(field);
    entry->fields[entry->n].value = value;
    entry->n++;
}


static oa_str_t
text_copy(json_t *value)
{
    oa_str_t  s;

    s.len = json_string_length(value);
    s.data = (const unsigned char *) cli_copy(json_string_value(value), s.len);

    return s;
}


static const char *
list_read(json_t *value, oa_str_t *text)
{
    char        *out;
    json_t      *word;
    size_t       i, len;
    const char  *w;

    len = 0;

    json_array_foreach(value, i, word) {
        w = json_string_value(word);

        if (w == NULL || w[0] == '\0' || strpbrk(w, " ,\t") != NULL) {
            return "expected a list of words";
        }

        len += strlen(w) + 1;
    }

    out = cli_alloc(len + 1);
    text->data = (unsigned char *) out;

    json_array_foreach(value, i, word) {
        if (i != 0) {
            *out++ = ' ';
        }

        out = stpcpy(out, json_string_value(word));
    }

    text->len = (size_t) (out - (const char *) text->data);

    return NULL;
}


/* 2027-01-31T17:30:00Z as it is printed, and no other form of it */
static const char *
time_read(json_t *value, oa_str_t *text)
{
    char         *rest;
    time_t        t;
    struct tm     tm;
    const char   *s;

    static const char  expected[] =
        "expected a time such as \"2027-01-31T17:30:00Z\", or Unix seconds";

    if (json_is_integer(value) && json_integer_value(value) >= 0) {
        *text = cli_str(cli_format("%lld",
                                   (long long) json_integer_value(value)));
        return NULL;
    }

    if (!json_is_string(value)) {
        return expected;
    }

    s = json_string_value(value);

    if (s[0] != '\0' && s[strspn(s, "0123456789")] == '\0') {
        *text = text_copy(value);
        return NULL;
    }

    memset(&tm, 0, sizeof(tm));
    rest = strptime(s, "%Y-%m-%dT%H:%M:%SZ", &tm);

    if (rest == NULL || *rest != '\0') {
        return expected;
    }

    t = timegm(&tm);

    if (t <= 0 || strcmp(cli_time_utc((int64_t) t), s) != 0) {
        return expected;
    }

    *text = cli_str(cli_format("%lld", (long long) t));

    return NULL;
}


/* data NULL: null, which is absent */
static const char *
value_read(const cli_form_t *form, json_t *value, oa_str_t *text)
{
    text->data = NULL;
    text->len = 0;

    if (json_is_null(value)) {
        if (strcmp(form->name, "expires") == 0) {
            *text = cli_str("0");
        }

        return NULL;
    }

    if (form->type == CLI_FORM_TIME) {
        return time_read(value, text);
    }

    if (form->type == CLI_FORM_FLAG && json_is_boolean(value)) {
        *text = cli_str(json_is_true(value) ? "1" : "0");
        return NULL;
    }

    if (form->type == CLI_FORM_LIST && json_is_array(value)) {
        return list_read(value, text);
    }

    if (json_is_string(value)) {
        *text = text_copy(value);
        return NULL;
    }

    return (form->type == CLI_FORM_FLAG) ? "expected true or false"
           : (form->type == CLI_FORM_LIST) ? "expected a list of words"
                                       : "expected a string";
}


static int
bad_member(const char **bad, const char *name, const char *why)
{
    *bad = cli_format("\"%s\": %s", name, why);

    return CLI_USAGE;
}


/* fields that this version does not know are carried along */
static int
other_read(cli_entry_t *entry, const cli_form_t *forms, json_t *value,
    const char **bad)
{
    json_t        *v;
    const char    *name;
    const cli_form_t  *form;

    if (!json_is_object(value)) {
        return bad_member(bad, "other", "expected an object");
    }

    json_object_foreach(value, name, v) {

        for (form = forms; form->name && strcmp(form->name, name); form++) {
            /* void */
        }

        if (form->name != NULL || name[0] == '\0') {
            return bad_member(bad, "other", "holds a field that has its own "
                              "place, or no name");
        }

        if (!json_is_string(v)) {
            return bad_member(bad, "other", "expected strings in it");
        }

        /* some places are kept for what an import itself sets */
        if (entry->n >= CLI_ENTRY_FIELDS - 8) {
            return bad_member(bad, "other", "holds too many fields");
        }

        cli_entry_set(entry, cli_copy(name, strlen(name)), text_copy(v));
    }

    return CLI_OK;
}


static int
unknown_member(const cli_form_t *forms, const char *name, const char **bad)
{
    size_t       n;
    const char  *names[32], *nearest;

    for (n = 0; forms[n].name != NULL; n++) {
        names[n] = forms[n].name;
    }

    nearest = cli_text_nearest(name, names, n);

    /* what is far from all may be anything, also a key: it is not repeated */
    *bad = (nearest == NULL)
           ? "it has a member that no such record has"
           : cli_format("unknown member %s; did you mean \"%s\"?",
                        cli_quotez(name), nearest);

    return CLI_USAGE;
}


static int
member_read(cli_entry_t *entry, const cli_form_t *forms, const char *name,
    json_t *value, const char **bad)
{
    oa_str_t       text;
    const char    *why;
    const cli_form_t  *form;

    if (strcmp(name, "type") == 0) {
        return CLI_OK;
    }

    if (strcmp(name, "other") == 0) {
        return other_read(entry, forms, value, bad);
    }

    if (entry->type == &cli_type_credential && strcmp(name, "digest") == 0) {
        if (!json_is_string(value)) {
            return bad_member(bad, name, "expected a string");
        }

        entry->digest = text_copy(value);
        return CLI_OK;
    }

    if (entry->type == &cli_type_credential && strcmp(name, "key") == 0) {
        if (!json_is_string(value)) {
            return bad_member(bad, name, "expected a string");
        }

        entry->secret = json_incref(value);
        return CLI_OK;
    }

    for (form = forms; form->name && strcmp(form->name, name); form++) {
        /* void */
    }

    if (form->name == NULL) {
        return unknown_member(forms, name, bad);
    }

    why = value_read(form, value, &text);

    if (why != NULL) {
        return bad_member(bad, name, why);
    }

    if (strcmp(name, "id") == 0) {
        entry->id = text;
    }

    if (text.data != NULL
        && !(entry->type != &cli_type_credential && strcmp(name, "id") == 0))
    {
        cli_entry_set(entry, form->name, text);
    }

    return CLI_OK;
}


static int
is_digest(oa_str_t s)
{
    size_t  i;

    for (i = 0; i < s.len; i++) {
        if (!((s.data[i] >= '0' && s.data[i] <= '9')
              || (s.data[i] >= 'a' && s.data[i] <= 'f')))
        {
            return 0;
        }
    }

    return s.len == OA_DIGEST_HEX_LEN;
}


int
cli_entry_secret(cli_t *cli, cli_entry_t *entry, const char **bad)
{
    oa_str_t                raw, secret, kind, environment;
    const oa_key_prefix_t  *prefix;

    raw.data = (const unsigned char *) json_string_value(entry->secret);
    raw.len = json_string_length(entry->secret);

    if (oa_bearer_bare(raw, &secret) != OA_OK || secret.len != raw.len) {
        return bad_member(bad, "key", "no request could carry this: expected "
                          "at most 512 of A-Z a-z 0-9 - . _ ~ + /, with = at "
                          "the end");
    }

    prefix = oa_key_prefix_find(cli->config.key_prefixes, cli->config.n,
                                secret);
    kind = cli_entry_get(entry, "kind");
    environment = cli_entry_get(entry, "environment");

    if (secret.len - (prefix ? prefix->prefix.len : 0) < KEY_BODY_MIN) {
        return bad_member(bad, "key", "it is too short and could be guessed; "
                          "expected at least 22 characters behind its prefix");
    }

    if (prefix == NULL) {
        return oa_text_eq(kind, oa_kind_name(OA_KIND_ACCESS_TOKEN))
               ? CLI_OK
               : bad_member(bad, "key", cli_format("it begins with no key "
                            "prefix, so that the gateway takes it for an "
                            "access token: write key_prefix into opsauth_store "
                            "(or give --key-prefix)%s", (kind.data != NULL)
                            ? "" : ", or say \"kind\":\"access_token\""));
    }

    if (oa_key_check(prefix, secret) != OA_OK) {
        return bad_member(bad, "key", "its checksum is wrong, and its "
                          "key_prefix asks for one (checksum=crc32)");
    }

    if (kind.data == NULL) {
        cli_entry_set(entry, "kind", cli_str(oa_kind_name(OA_KIND_API_KEY)));

    } else if (!oa_text_eq(kind, oa_kind_name(OA_KIND_API_KEY))) {
        return bad_member(bad, "kind", "the key begins with a key prefix, and "
                          "so is an api_key");
    }

    if (environment.data == NULL) {
        cli_entry_set(entry, "environment",
                      cli_str(oa_environment_name(prefix->environment)));

    } else if (!oa_text_eq(environment,
                           oa_environment_name(prefix->environment)))
    {
        return bad_member(bad, "environment",
                          cli_format("the key's prefix makes it a %s key",
                              oa_environment_name(prefix->environment)));
    }

    return CLI_OK;
}


static int
credential_check(cli_t *cli, cli_entry_t *entry, const char **bad)
{
    if (cli_entry_get(entry, "v").data == NULL) {
        cli_entry_set(entry, "v", cli_str(cli_format("%d",
                                                     OA_RECORD_VERSION)));
    }

    if ((entry->digest.data == NULL) == (entry->secret == NULL)) {
        *bad = "expected either \"digest\" or \"key\"";
        return CLI_USAGE;
    }

    if (entry->digest.data != NULL && !is_digest(entry->digest)) {
        return bad_member(bad, "digest",
                          "expected 64 hex digits in lower case");
    }

    if (entry->id.data == NULL && entry->secret == NULL) {
        return bad_member(bad, "id", "is missing");
    }

    if (entry->id.data != NULL
        && oa_key_prefix_find(cli->config.key_prefixes, cli->config.n,
                              entry->id) != NULL)
    {
        return bad_member(bad, "id", "begins like a key; a public id is "
                          "expected");
    }

    return (entry->secret != NULL) ? cli_entry_secret(cli, entry, bad) : CLI_OK;
}


static int
object_read(cli_t *cli, json_t *object, cli_entry_t *entry, const char **bad)
{
    int            rc;
    json_t        *value;
    size_t         i;
    const char    *type, *name;

    static const cli_type_t *const  types[] = {
        &cli_type_account, &cli_type_client, &cli_type_credential
    };

    type = json_string_value(json_object_get(object, "type"));

    for (i = 0; i < 3 && type != NULL; i++) {
        if (strcmp(type, types[i]->name) == 0) {
            entry->type = types[i];
        }
    }

    if (entry->type == NULL) {
        return bad_member(bad, "type", "expected \"account\", \"client\" or "
                          "\"credential\"");
    }

    json_object_foreach(object, name, value) {
        rc = member_read(entry, entry->type->forms, name, value, bad);

        if (rc != CLI_OK) {
            return rc;
        }
    }

    if (entry->type == &cli_type_credential) {
        return credential_check(cli, entry, bad);
    }

    return (entry->id.data == NULL) ? bad_member(bad, "id", "is missing")
                                    : CLI_OK;
}


int
cli_entry_parse(cli_t *cli, oa_str_t line, cli_entry_t *entry,
    const char **bad)
{
    int           rc;
    char         *near;
    json_t       *object;
    json_error_t  error;

    memset(entry, 0, sizeof(*entry));

    object = json_loadb((const char *) line.data, line.len,
                        JSON_REJECT_DUPLICATES, &error);

    if (object == NULL) {
        /* what it is near to may be a key */
        near = strstr(error.text, " near ");

        if (near != NULL) {
            *near = '\0';
        }

        *bad = cli_format("is no JSON: %s, column %d",
                          strstr(error.text, "uplicate") ? "a member stands "
                          "there twice" : error.text, error.column);
        OPENSSL_cleanse(&error, sizeof(error));
        return CLI_USAGE;
    }

    if (!json_is_object(object)) {
        *bad = "is no JSON object";
        rc = CLI_USAGE;

    } else {
        rc = object_read(cli, object, entry, bad);
    }

    if (rc != CLI_OK && entry->secret != NULL) {
        json_decref(entry->secret);
        entry->secret = NULL;
    }

    json_decref(object);

    return rc;
}
