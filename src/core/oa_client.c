/*
 * The client record: see oa_client.h.
 *
 * Contract: as with the other records, one table says what a field may be, and
 * the reader and the command line share it.  Invariants: a client that could
 * log in without proving anything gets no grant that needs proof; a way to log
 * in that the record can't serve makes the record invalid, instead of being
 * left out in silence.
 */

#include <string.h>

#include "oa_base64.h"
#include "oa_client.h"
#include "oa_record.h"
#include "oa_record_field.h"
#include "oa_text.h"
#include "oa_set.h"
#include "oa_wrap.h"


#define OA_CLIENT_WORDS_MAX    128      /* grants, auth_method */
#define OA_CLIENT_NUMBER_MAX   20

/* the least that oa_unwrap() takes: nonce, one byte, tag */
#define OA_CLIENT_WRAPPED_MIN  OA_BASE64URL_LEN(12 + 1 + 16)


/* places in oa_client_fields */
enum {
    OA_CLIENT_ACCOUNT = 0,
    OA_CLIENT_NAME,
    OA_CLIENT_SECRET,
    OA_CLIENT_SECRET_WRAPPED,
    OA_CLIENT_JWK,
    OA_CLIENT_REDIRECT_URIS,
    OA_CLIENT_GRANTS,
    OA_CLIENT_SCOPES,
    OA_CLIENT_AUTH_METHOD,
    OA_CLIENT_ENVIRONMENT,
    OA_CLIENT_ENABLED,
    OA_CLIENT_INTROSPECT
};


typedef struct {
    const char  *name;
    unsigned     bit;
} oa_client_word_t;


static oa_rc_t oa_client_check_fields(
    const oa_str_t values[OA_CLIENT_FIELDS], oa_str_t *field);
static oa_rc_t oa_client_check(const oa_client_t *client, oa_str_t *field);
static size_t oa_client_check_login(const oa_client_t *client);
static const oa_record_form_t *oa_client_form(const char *field);
static oa_rc_t oa_client_bits(oa_str_t words, unsigned (*bit)(oa_str_t word),
    unsigned *bits);
static unsigned oa_client_word_bit(const oa_client_word_t *words, size_t n,
    oa_str_t word);
static const char *oa_client_word_name(const oa_client_word_t *words,
    size_t n, unsigned bit);

static int oa_client_is_name(oa_str_t value);
static int oa_client_is_secret(oa_str_t value);
static int oa_client_is_wrapped(oa_str_t value);
static int oa_client_is_jwk(oa_str_t value);
static int oa_client_is_redirects(oa_str_t value);
static int oa_client_is_grants(oa_str_t value);
static int oa_client_is_scopes(oa_str_t value);
static int oa_client_is_auth_method(oa_str_t value);
static int oa_client_is_environment(oa_str_t value);
static int oa_client_is_flag(oa_str_t value);
static int oa_client_is_time(oa_str_t value);


const oa_str_t  oa_client_fields[OA_CLIENT_FIELDS] = {
    [OA_CLIENT_ACCOUNT] = oa_string("account"),
    [OA_CLIENT_NAME] = oa_string("name"),
    [OA_CLIENT_SECRET] = oa_string("secret"),
    [OA_CLIENT_SECRET_WRAPPED] = oa_string("secret_wrapped"),
    [OA_CLIENT_JWK] = oa_string("jwk"),
    [OA_CLIENT_REDIRECT_URIS] = oa_string("redirect_uris"),
    [OA_CLIENT_GRANTS] = oa_string("grants"),
    [OA_CLIENT_SCOPES] = oa_string("scopes"),
    [OA_CLIENT_AUTH_METHOD] = oa_string("auth_method"),
    [OA_CLIENT_ENVIRONMENT] = oa_string("environment"),
    [OA_CLIENT_ENABLED] = oa_string("enabled"),
    [OA_CLIENT_INTROSPECT] = oa_string("introspect")
};


static const oa_record_form_t  oa_client_forms[OA_CLIENT_FIELDS] = {
    [OA_CLIENT_ACCOUNT] =
        { 1, OA_ACCOUNT_MAX, oa_text_is_id,
          "expected letters, digits and any of . _ : @ -, at most 128" },
    [OA_CLIENT_NAME] =
        { 0, OA_NAME_MAX, oa_client_is_name,
          "expected a text without control characters, at most 256 bytes" },
    [OA_CLIENT_SECRET] =
        { 0, OA_DIGEST_HEX_LEN, oa_client_is_secret,
          "expected a digest, 64 lower-case hex digits" },
    [OA_CLIENT_SECRET_WRAPPED] =
        { 0, OA_WRAP_MAX, oa_client_is_wrapped,
          "expected a wrapped secret, base64url" },
    [OA_CLIENT_JWK] =
        { 0, OA_JWK_MAX, oa_client_is_jwk,
          "expected a public key as JSON (JWK) in one line, at most "
          "2048 bytes" },
    [OA_CLIENT_REDIRECT_URIS] =
        { 0, OA_REDIRECTS_MAX, oa_client_is_redirects,
          "expected URIs with spaces in between, at most 2048 bytes: "
          "https://..., http:// on a loopback address, or a private scheme "
          "with a dot such as com.example.app:/callback" },
    [OA_CLIENT_GRANTS] =
        { 1, OA_CLIENT_WORDS_MAX, oa_client_is_grants,
          "expected any of authorization_code, refresh_token, "
          "client_credentials" },
    [OA_CLIENT_SCOPES] =
        { 0, OA_SET_MAX, oa_client_is_scopes,
          "expected words of visible ASCII without \" and \\, with spaces in "
          "between, at most 768 bytes" },
    [OA_CLIENT_AUTH_METHOD] =
        { 1, OA_CLIENT_WORDS_MAX, oa_client_is_auth_method,
          "expected none alone, or any of client_secret_basic, "
          "client_secret_post, client_secret_jwt, private_key_jwt" },
    [OA_CLIENT_ENVIRONMENT] =
        { 0, 16, oa_client_is_environment, "expected live or test" },
    [OA_CLIENT_ENABLED] =
        { 0, 1, oa_client_is_flag, "expected 0 or 1" },
    [OA_CLIENT_INTROSPECT] =
        { 0, 1, oa_client_is_flag, "expected 0 or 1" }
};


/* not read here, but by people */
static const oa_record_form_t  oa_client_time =
    { 0, OA_CLIENT_NUMBER_MAX, oa_client_is_time, "expected Unix seconds" };


static const oa_client_word_t  oa_client_grants[] = {
    { "authorization_code", OA_GRANT_AUTHORIZATION_CODE },
    { "refresh_token", OA_GRANT_REFRESH_TOKEN },
    { "client_credentials", OA_GRANT_CLIENT_CREDENTIALS }
};

static const oa_client_word_t  oa_client_methods[] = {
    { "none", OA_AUTH_NONE },
    { "client_secret_basic", OA_AUTH_SECRET_BASIC },
    { "client_secret_post", OA_AUTH_SECRET_POST },
    { "client_secret_jwt", OA_AUTH_SECRET_JWT },
    { "private_key_jwt", OA_AUTH_PRIVATE_KEY_JWT }
};

#define OA_CLIENT_WORDS(words)  words, sizeof(words) / sizeof(words[0])


oa_rc_t
oa_client_read(oa_str_t id, const oa_str_t values[OA_CLIENT_FIELDS],
    oa_client_t *client, oa_str_t *field)
{
    oa_rc_t  rc;

    memset(client, 0, sizeof(*client));

    rc = oa_client_check_fields(values, field);
    if (rc != OA_OK) {
        return rc;
    }

    client->id = id;
    client->account = values[OA_CLIENT_ACCOUNT];
    client->name = values[OA_CLIENT_NAME];
    client->secret = values[OA_CLIENT_SECRET];
    client->secret_wrapped = values[OA_CLIENT_SECRET_WRAPPED];
    client->jwk = values[OA_CLIENT_JWK];
    client->redirect_uris = values[OA_CLIENT_REDIRECT_URIS];
    client->scopes = values[OA_CLIENT_SCOPES];

    /* the words are known to be good */

    (void) oa_client_bits(values[OA_CLIENT_GRANTS], oa_grant_bit,
                          &client->grants);
    (void) oa_client_bits(values[OA_CLIENT_AUTH_METHOD], oa_auth_method_bit,
                          &client->auth_methods);

    client->environment = OA_ENV_LIVE;

    if (values[OA_CLIENT_ENVIRONMENT].data != NULL) {
        client->environment =
                          oa_environment_value(values[OA_CLIENT_ENVIRONMENT]);
    }

    client->enabled = values[OA_CLIENT_ENABLED].data == NULL
                      || oa_text_eq(values[OA_CLIENT_ENABLED], "1");
    client->introspect = oa_text_eq(values[OA_CLIENT_INTROSPECT], "1");

    if (oa_client_check(client, field) != OA_OK) {
        memset(client, 0, sizeof(*client));
        return OA_INVALID;
    }

    return OA_OK;
}


static oa_rc_t
oa_client_check_fields(const oa_str_t values[OA_CLIENT_FIELDS],
    oa_str_t *field)
{
    size_t  i, present;

    field->len = 0;
    field->data = NULL;

    present = 0;

    for (i = 0; i < OA_CLIENT_FIELDS; i++) {
        present += (values[i].data != NULL);
    }

    if (present == 0) {
        return OA_DECLINED;
    }

    for (i = 0; i < OA_CLIENT_FIELDS; i++) {

        if (values[i].data == NULL
            ? oa_client_forms[i].required
            : values[i].len > oa_client_forms[i].max
              || !oa_client_forms[i].check(values[i]))
        {
            *field = oa_client_fields[i];
            return OA_INVALID;
        }
    }

    return OA_OK;
}


/* what no field can say alone */

static oa_rc_t
oa_client_check(const oa_client_t *client, oa_str_t *field)
{
    size_t    pos, at;
    oa_str_t  word;

    pos = 0;
    at = oa_client_check_login(client);

    if (at == OA_CLIENT_FIELDS
        && (client->grants == OA_GRANT_REFRESH_TOKEN
            || (client->grants == 0 && !client->introspect)))
    {
        at = OA_CLIENT_GRANTS;
    }

    if (at == OA_CLIENT_FIELDS
        && (client->grants & OA_GRANT_AUTHORIZATION_CODE)
        && !oa_set_next(client->redirect_uris, &pos, &word))
    {
        at = OA_CLIENT_REDIRECT_URIS;
    }

    if (at != OA_CLIENT_FIELDS) {
        *field = oa_client_fields[at];
        return OA_INVALID;
    }

    return OA_OK;
}


/* returns the place of the field at fault, OA_CLIENT_FIELDS: none */

static size_t
oa_client_check_login(const oa_client_t *client)
{
    unsigned  methods;

    methods = client->auth_methods;

    if (methods & OA_AUTH_NONE) {

        if (client->secret.data != NULL
            || client->secret_wrapped.data != NULL)
        {
            return OA_CLIENT_AUTH_METHOD;
        }

        /* RFC 6749 section 4.4: confidential clients only */

        if (client->grants & OA_GRANT_CLIENT_CREDENTIALS) {
            return OA_CLIENT_GRANTS;
        }

        /* RFC 7662 section 2.1: who asks must have logged in */

        if (client->introspect) {
            return OA_CLIENT_INTROSPECT;
        }
    }

    if ((methods & (OA_AUTH_SECRET_BASIC|OA_AUTH_SECRET_POST))
        && client->secret.data == NULL)
    {
        return OA_CLIENT_SECRET;
    }

    if ((methods & OA_AUTH_SECRET_JWT) && client->secret_wrapped.data == NULL)
    {
        return OA_CLIENT_SECRET_WRAPPED;
    }

    if ((methods & OA_AUTH_PRIVATE_KEY_JWT) && client->jwk.data == NULL) {
        return OA_CLIENT_JWK;
    }

    return OA_CLIENT_FIELDS;
}


oa_rc_t
oa_client_field_check(const char *field, oa_str_t value, const char **error)
{
    const oa_record_form_t  *form;

    form = oa_client_form(field);

    if (form == NULL) {
        *error = "no such field";
        return OA_INVALID;
    }

    if (value.len > form->max || !form->check(value)) {
        *error = form->expected;
        return OA_INVALID;
    }

    return OA_OK;
}


static const oa_record_form_t *
oa_client_form(const char *field)
{
    size_t  i;

    for (i = 0; i < OA_CLIENT_FIELDS; i++) {
        if (oa_text_eq(oa_client_fields[i], field)) {
            return &oa_client_forms[i];
        }
    }

    if (strcmp(field, "description") == 0) {
        return &oa_client_forms[OA_CLIENT_NAME];
    }

    if (strcmp(field, "created") == 0 || strcmp(field, "updated") == 0) {
        return &oa_client_time;
    }

    return NULL;
}


unsigned
oa_grant_bit(oa_str_t word)
{
    return oa_client_word_bit(OA_CLIENT_WORDS(oa_client_grants), word);
}


unsigned
oa_auth_method_bit(oa_str_t word)
{
    return oa_client_word_bit(OA_CLIENT_WORDS(oa_client_methods), word);
}


const char *
oa_grant_name(unsigned bit)
{
    return oa_client_word_name(OA_CLIENT_WORDS(oa_client_grants), bit);
}


const char *
oa_auth_method_name(unsigned bit)
{
    return oa_client_word_name(OA_CLIENT_WORDS(oa_client_methods), bit);
}


static unsigned
oa_client_word_bit(const oa_client_word_t *words, size_t n, oa_str_t word)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        if (oa_text_eq(word, words[i].name)) {
            return words[i].bit;
        }
    }

    return 0;
}


static const char *
oa_client_word_name(const oa_client_word_t *words, size_t n, unsigned bit)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        if (words[i].bit == bit) {
            return words[i].name;
        }
    }

    return "";
}


static oa_rc_t
oa_client_bits(oa_str_t words, unsigned (*bit)(oa_str_t word), unsigned *bits)
{
    size_t    pos;
    unsigned  b;
    oa_str_t  word;

    *bits = 0;
    pos = 0;

    while (oa_set_next(words, &pos, &word)) {

        b = bit(word);

        if (b == 0) {
            return OA_INVALID;
        }

        *bits |= b;
    }

    return OA_OK;
}


static int
oa_client_is_name(oa_str_t value)
{
    return oa_text_is_header_safe(value) && oa_text_is_utf8(value);
}


/* lower-case, so that the texts of two equal digests are equal, too */

static int
oa_client_is_secret(oa_str_t value)
{
    size_t         i;
    unsigned char  c;

    for (i = 0; i < value.len; i++) {
        c = value.data[i];

        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            return 0;
        }
    }

    return value.len == OA_DIGEST_HEX_LEN;
}


static int
oa_client_is_wrapped(oa_str_t value)
{
    return value.len >= OA_CLIENT_WRAPPED_MIN && oa_base64url_valid(value);
}


/* the frame alone: the JSON in it is read where there is a reader for it */

static int
oa_client_is_jwk(oa_str_t value)
{
    return value.len >= 2 && value.data[0] == '{'
           && value.data[value.len - 1] == '}'
           && oa_text_is_header_safe(value) && oa_text_is_utf8(value);
}


static int
oa_client_is_redirects(oa_str_t value)
{
    size_t       pos;
    oa_str_t     uri;
    const char  *error;

    pos = 0;

    while (oa_set_next(value, &pos, &uri)) {
        if (oa_redirect_uri_check(uri, &error) != OA_OK) {
            return 0;
        }
    }

    return 1;
}


/* none at all is for a backend that only asks about tokens */

static int
oa_client_is_grants(oa_str_t value)
{
    unsigned  bits;

    return oa_client_bits(value, oa_grant_bit, &bits) == OA_OK;
}


static int
oa_client_is_scopes(oa_str_t value)
{
    size_t         len;
    unsigned char  out[OA_SET_MAX];

    return oa_set_pack(value, out, sizeof(out), &len) == OA_OK;
}


static int
oa_client_is_auth_method(oa_str_t value)
{
    unsigned  bits;

    return oa_client_bits(value, oa_auth_method_bit, &bits) == OA_OK
           && bits != 0
           && ((bits & OA_AUTH_NONE) == 0 || bits == OA_AUTH_NONE);
}


static int
oa_client_is_environment(oa_str_t value)
{
    return oa_environment_value(value) != OA_ENV_NONE;
}


static int
oa_client_is_flag(oa_str_t value)
{
    return oa_text_eq(value, "0") || oa_text_eq(value, "1");
}


static int
oa_client_is_time(oa_str_t value)
{
    int64_t  n;

    return oa_text_number(value, INT64_MAX, &n) == OA_OK;
}
