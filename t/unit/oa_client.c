/* The client's record: src/core/oa_client.c */

#include "oa_client.h"
#include "oa_wrap.h"
#include "tap.h"


#define DIGEST  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define WRAPPED "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define JWK     "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AA\"}"

enum { ACCOUNT, NAME, SECRET, SECRET_WRAPPED, JWK_, REDIRECT_URIS, GRANTS,
       SCOPES, AUTH_METHOD, ENVIRONMENT, ENABLED, INTROSPECT };


static const char *const  names[OA_CLIENT_FIELDS] = {
    "account", "name", "secret", "secret_wrapped", "jwk", "redirect_uris",
    "grants", "scopes", "auth_method", "environment", "enabled", "introspect"
};


static oa_str_t
str(const char *s)
{
    return (oa_str_t) { s ? strlen(s) : 0, (const unsigned char *) s };
}


/* a good record */

static void
good(oa_str_t values[OA_CLIENT_FIELDS])
{
    memset(values, 0, OA_CLIENT_FIELDS * sizeof(oa_str_t));

    values[ACCOUNT] = str("crm");
    values[SECRET] = str(DIGEST);
    values[REDIRECT_URIS] = str("https://app.example.com/cb");
    values[GRANTS] = str("authorization_code refresh_token");
    values[AUTH_METHOD] = str("client_secret_basic");
}


/* the good record with another value, NULL: without */

static void
field_is(unsigned place, const char *value, oa_rc_t wanted)
{
    oa_rc_t      rc;
    oa_str_t     values[OA_CLIENT_FIELDS], field;
    oa_client_t  client;

    good(values);
    values[place] = str(value);

    rc = oa_client_read(str("app"), values, &client, &field);

    ok(rc == wanted
       && (rc == OA_OK ? field.data == NULL
                       : field.len == strlen(names[place])
                         && memcmp(field.data, names[place], field.len) == 0),
       "%s %s", names[place],
       value == NULL ? "is absent" : strchr(value, '\n') ? "(lines)" : value);
}


static const char *
long_text(char c, size_t n)
{
    static char  text[4096];

    memset(text, c, n);
    text[n] = '\0';

    return text;
}


static void
whole(void)
{
    size_t       i;
    oa_str_t     values[OA_CLIENT_FIELDS], field;
    oa_client_t  client;

    for (i = 0; i < OA_CLIENT_FIELDS; i++) {
        is_str(oa_client_fields[i].data, oa_client_fields[i].len, names[i],
               "field %zu", i);
    }

    good(values);
    is_int(oa_client_read(str("app"), values, &client, &field), OA_OK,
           "a good record");
    is_str(client.id.data, client.id.len, "app", "its id");
    is_str(client.account.data, client.account.len, "crm", "its account");
    is_str(client.secret.data, client.secret.len, DIGEST, "its secret");
    ok(client.secret_wrapped.data == NULL && client.jwk.data == NULL
       && client.name.data == NULL, "what is absent has no data");
    is_int(client.grants, OA_GRANT_AUTHORIZATION_CODE|OA_GRANT_REFRESH_TOKEN,
           "its grants");
    is_int(client.auth_methods, OA_AUTH_SECRET_BASIC, "how it logs in");
    is_int(client.environment, OA_ENV_LIVE, "live, if not said");
    ok(client.enabled, "enabled, if not said");
    ok(!client.introspect, "no introspection, if not said");
    is_int(client.scopes.len, 0, "no scopes, if not said");

    values[NAME] = str("B\xc3\xbcro <app>");
    values[SECRET_WRAPPED] = str(WRAPPED);
    values[JWK_] = str(JWK);
    values[GRANTS] = str("client_credentials  refresh_token "
                         "authorization_code authorization_code");
    values[SCOPES] = str("read:* write:users");
    values[AUTH_METHOD] = str("client_secret_basic client_secret_post "
                              "client_secret_jwt private_key_jwt");
    values[ENVIRONMENT] = str("test");
    values[ENABLED] = str("0");
    values[INTROSPECT] = str("1");

    is_int(oa_client_read(str("app"), values, &client, &field), OA_OK,
           "a full record");
    is_int(client.grants, 7, "all grants");
    is_int(client.auth_methods, 30, "all ways to log in");
    is_int(client.environment, OA_ENV_TEST, "test");
    ok(!client.enabled, "not enabled");
    ok(client.introspect, "introspection");
    is_str(client.scopes.data, client.scopes.len, "read:* write:users",
           "scopes");
    is_str(client.jwk.data, client.jwk.len, JWK, "jwk");

    memset(values, 0, sizeof(values));
    is_int(oa_client_read(str("app"), values, &client, &field), OA_DECLINED,
           "no such client");
    ok(field.data == NULL, "no field is at fault");

    values[ENABLED] = str("1");
    is_int(oa_client_read(str("app"), values, &client, &field), OA_INVALID,
           "a single field");
    is_str(field.data, field.len, "account", "misses the account");
    ok(!client.enabled && client.auth_methods == 0, "and gives nothing");
}


static void
fields(void)
{
    field_is(ACCOUNT, NULL, OA_INVALID);
    field_is(ACCOUNT, "", OA_INVALID);
    field_is(ACCOUNT, "a b", OA_INVALID);
    field_is(ACCOUNT, "a/b", OA_INVALID);
    field_is(ACCOUNT, "a\xc3\xa4", OA_INVALID);
    field_is(ACCOUNT, long_text('a', OA_ACCOUNT_MAX), OA_OK);
    field_is(ACCOUNT, long_text('a', OA_ACCOUNT_MAX + 1), OA_INVALID);

    field_is(NAME, "", OA_OK);
    field_is(NAME, "a\x1b", OA_INVALID);
    field_is(NAME, "\xff", OA_INVALID);
    field_is(NAME, long_text('n', OA_NAME_MAX), OA_OK);
    field_is(NAME, long_text('n', OA_NAME_MAX + 1), OA_INVALID);

    field_is(SECRET, NULL, OA_INVALID);
    field_is(SECRET, "", OA_INVALID);
    field_is(SECRET, long_text('a', 64), OA_OK);
    field_is(SECRET, long_text('A', 64), OA_INVALID);
    field_is(SECRET, long_text('g', 64), OA_INVALID);
    field_is(SECRET, long_text('a', 63), OA_INVALID);
    field_is(SECRET, long_text('a', 65), OA_INVALID);

    field_is(SECRET_WRAPPED, WRAPPED, OA_OK);
    field_is(SECRET_WRAPPED, "", OA_INVALID);
    field_is(SECRET_WRAPPED, long_text('A', 38), OA_INVALID);
    field_is(SECRET_WRAPPED, long_text('=', 40), OA_INVALID);
    field_is(SECRET_WRAPPED, long_text('A', OA_WRAP_MAX), OA_OK);
    field_is(SECRET_WRAPPED, long_text('A', OA_WRAP_MAX + 1), OA_INVALID);

    field_is(JWK_, JWK, OA_OK);
    field_is(JWK_, "", OA_INVALID);
    field_is(JWK_, "{", OA_INVALID);
    field_is(JWK_, "[]", OA_INVALID);
    field_is(JWK_, "{\n}", OA_INVALID);
    field_is(JWK_, "{\"\xff\"}", OA_INVALID);

    field_is(REDIRECT_URIS, NULL, OA_INVALID);
    field_is(REDIRECT_URIS, "", OA_INVALID);
    field_is(REDIRECT_URIS, "  ", OA_INVALID);
    field_is(REDIRECT_URIS, "https://a/ http://127.0.0.1/ com.a.b:/c", OA_OK);
    field_is(REDIRECT_URIS, "https://a/ http://b/", OA_INVALID);
    field_is(REDIRECT_URIS, "https://a/\thttps://b/", OA_INVALID);
    field_is(REDIRECT_URIS, "https://a/,https://b/", OA_OK);    /* one */

    field_is(GRANTS, NULL, OA_INVALID);
    field_is(GRANTS, "", OA_INVALID);
    field_is(GRANTS, " ", OA_INVALID);
    field_is(GRANTS, "password", OA_INVALID);
    field_is(GRANTS, "implicit authorization_code", OA_INVALID);
    field_is(GRANTS, "authorization_code,refresh_token", OA_INVALID);
    field_is(GRANTS, "authorization_code\trefresh_token", OA_INVALID);
    field_is(GRANTS, "Authorization_code", OA_INVALID);
    field_is(GRANTS, "refresh_token", OA_INVALID);
    field_is(GRANTS, "refresh_token client_credentials", OA_OK);
    field_is(GRANTS, "client_credentials", OA_OK);

    field_is(SCOPES, "", OA_OK);
    field_is(SCOPES, "a b c", OA_OK);
    field_is(SCOPES, "a\"", OA_INVALID);
    field_is(SCOPES, "\xc3\xa4", OA_INVALID);
    field_is(SCOPES, long_text('s', OA_SET_MAX), OA_OK);
    field_is(SCOPES, long_text('s', OA_SET_MAX + 1), OA_INVALID);

    field_is(AUTH_METHOD, NULL, OA_INVALID);
    field_is(AUTH_METHOD, "", OA_INVALID);
    field_is(AUTH_METHOD, " ", OA_INVALID);
    field_is(AUTH_METHOD, "none", OA_INVALID);              /* and a secret */
    field_is(AUTH_METHOD, "none client_secret_basic", OA_INVALID);
    field_is(AUTH_METHOD, "client_secret_basic none", OA_INVALID);
    field_is(AUTH_METHOD, "client_secret", OA_INVALID);
    field_is(AUTH_METHOD, "tls_client_auth", OA_INVALID);
    field_is(AUTH_METHOD, "client_secret_post", OA_OK);
    field_is(AUTH_METHOD, "client_secret_post client_secret_post", OA_OK);

    field_is(ENVIRONMENT, "live", OA_OK);
    field_is(ENVIRONMENT, "", OA_INVALID);
    field_is(ENVIRONMENT, "any", OA_INVALID);
    field_is(ENABLED, "", OA_INVALID);
    field_is(ENABLED, "2", OA_INVALID);
    field_is(ENABLED, "yes", OA_INVALID);
    field_is(INTROSPECT, "", OA_INVALID);
    field_is(INTROSPECT, "01", OA_INVALID);
    field_is(INTROSPECT, "1", OA_OK);
}


/* methods and what they need: "" for all is well, else the field at fault */

static void
together(const char *methods, const char *grants, const char *secret,
    const char *wrapped, const char *jwk, const char *introspect,
    const char *wanted)
{
    oa_str_t     values[OA_CLIENT_FIELDS], field;
    oa_client_t  client;

    good(values);
    values[AUTH_METHOD] = str(methods);
    values[GRANTS] = str(grants);
    values[SECRET] = str(secret);
    values[SECRET_WRAPPED] = str(wrapped);
    values[JWK_] = str(jwk);
    values[INTROSPECT] = str(introspect);

    (void) oa_client_read(str("app"), values, &client, &field);

    is_str(field.data, field.len, wanted, "%s, \"%s\": %s", methods, grants,
           *wanted ? wanted : "is well");
}


static void
combinations(void)
{
    const char *code = "authorization_code";
    const char *login = "client_credentials";
    const char *both = "authorization_code refresh_token";

    together("none", code, NULL, NULL, NULL, NULL, "");
    together("none", both, NULL, NULL, NULL, "0", "");
    together("none", code, DIGEST, NULL, NULL, NULL, "auth_method");
    together("none", code, NULL, WRAPPED, NULL, NULL, "auth_method");
    together("none", login, NULL, NULL, NULL, NULL, "grants");
    together("none", "authorization_code client_credentials", NULL, NULL,
             NULL, NULL, "grants");
    together("none", code, NULL, NULL, NULL, "1", "introspect");
    together("none", "", NULL, NULL, NULL, "1", "introspect");

    together("client_secret_basic", login, NULL, WRAPPED, JWK, NULL,
             "secret");
    together("client_secret_post", login, NULL, WRAPPED, JWK, NULL, "secret");
    together("client_secret_jwt", login, DIGEST, NULL, JWK, NULL,
             "secret_wrapped");
    together("client_secret_jwt", login, NULL, WRAPPED, NULL, NULL, "");
    together("private_key_jwt", login, DIGEST, WRAPPED, NULL, NULL, "jwk");
    together("private_key_jwt", login, NULL, NULL, JWK, NULL, "");
    together("private_key_jwt client_secret_post", login, NULL, NULL, JWK,
             NULL, "secret");
    together("private_key_jwt client_secret_post", login, DIGEST, NULL, JWK,
             NULL, "");
    together("client_secret_basic", "", DIGEST, NULL, NULL, "1", "");
    together("client_secret_basic", "", DIGEST, NULL, NULL, "0", "grants");
    together("client_secret_basic", "refresh_token", DIGEST, NULL, NULL, "1",
             "grants");
}


static void
field_checks(void)
{
    size_t       i;
    const char  *error;

    static const struct {
        const char  *field, *value;
        oa_rc_t      rc;
    } checks[] = {
        { "account", "crm", OA_OK },
        { "account", "", OA_INVALID },
        { "name", "x", OA_OK },
        { "description", "x", OA_OK },
        { "description", "a\nb", OA_INVALID },
        { "created", "1798761600", OA_OK },
        { "updated", "now", OA_INVALID },
        { "grants", "client_credentials", OA_OK },
        { "grants", "", OA_OK },                /* alone, it may be */
        { "grants", "password", OA_INVALID },
        { "auth_method", "none", OA_OK },
        { "redirect_uris", "", OA_OK },
        { "redirect_uris", "http://example.com/", OA_INVALID },
        { "secret", DIGEST, OA_OK },
        { "secret", "secret", OA_INVALID },
        { "v", "1", OA_INVALID },
        { "ips", "", OA_INVALID },
        { "", "", OA_INVALID },
    };

    for (i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        error = NULL;
        ok(oa_client_field_check(checks[i].field, str(checks[i].value),
                                 &error)
           == checks[i].rc
           && (error != NULL) == (checks[i].rc != OA_OK),
           "field \"%s\", check %zu", checks[i].field, i);
    }

    is_int(oa_client_field_check("redirect_uris",
                                 str(long_text(' ', OA_REDIRECTS_MAX + 1)),
                                 &error),
           OA_INVALID, "too long");
}


static void
words(void)
{
    unsigned  bit;

    for (bit = 1; bit <= 4; bit <<= 1) {
        is_int(oa_grant_bit(str(oa_grant_name(bit))), bit, "%s",
               oa_grant_name(bit));
    }

    for (bit = 1; bit <= 16; bit <<= 1) {
        is_int(oa_auth_method_bit(str(oa_auth_method_name(bit))), bit, "%s",
               oa_auth_method_name(bit));
    }

    is_int(oa_grant_bit(str("")), 0, "no grant");
    is_int(oa_grant_bit(str("refresh_tokens")), 0, "a longer word");
    is_int(oa_auth_method_bit(str("None")), 0, "case matters");
    is_str(oa_grant_name(3), strlen(oa_grant_name(3)), "",
           "two bits have no name");
    is_str(oa_auth_method_name(0), 0, "", "nor has none");
}


/* any bytes: never a client that nothing was checked for */

static void
random_records(void)
{
    size_t          i, k, n, bad;
    oa_str_t        values[OA_CLIENT_FIELDS], field;
    oa_client_t     client;
    unsigned char  *copies[OA_CLIENT_FIELDS], data[80];

    bad = 0;

    for (i = 0; i < 20000; i++) {

        good(values);
        memset(copies, 0, sizeof(copies));

        for (k = 0; k < OA_CLIENT_FIELDS; k++) {

            if (tap_random_below(4) != 0) {
                continue;
            }

            n = tap_random_below(sizeof(data));
            tap_random_bytes(data, n);

            if (values[k].len && tap_random_below(2)) {
                n = values[k].len;
                memcpy(data, values[k].data, n);
                data[tap_random_below(n)] ^= (unsigned char)
                                             (1 << tap_random_below(8));
            }

            copies[k] = tap_copy(data, n);
            values[k].data = copies[k];
            values[k].len = n;
        }

        if (oa_client_read(str("app"), values, &client, &field) == OA_OK) {
            bad += (client.auth_methods == 0 || client.account.len == 0
                    || (client.auth_methods == OA_AUTH_SECRET_BASIC
                        && client.secret.len != 64));
        } else {
            bad += (field.data == NULL || client.auth_methods != 0);
        }

        for (k = 0; k < OA_CLIENT_FIELDS; k++) {
            free(copies[k]);
        }
    }

    is_int(bad, 0, "random records");
}


int
main(void)
{
    whole();
    fields();
    combinations();
    field_checks();
    words();
    random_records();

    return done_testing();
}
