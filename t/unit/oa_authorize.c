/* Authorization requests: src/core/oa_authorize.c */

#include "oa_authorize.h"
#include "tap.h"


#define CHALLENGE  "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
#define PKCE       "&code_challenge=" CHALLENGE "&code_challenge_method=S256"

#define REGISTERED  "https://a.example/cb"


static oa_client_t  client;


static oa_str_t
str(const char *s)
{
    return (oa_str_t) { s ? strlen(s) : 0, (const unsigned char *) s };
}


/* in a buffer of its own for each of a few */

static oa_form_t *
form(const char *text)
{
    const char              *error;
    static int               n;
    static oa_form_t         forms[4];
    static unsigned char     data[4][8192];

    n = (n + 1) % 4;
    memcpy(data[n], text, strlen(text));

    if (oa_form_parse(data[n], strlen(text), &forms[n], &error) != OA_OK) {
        fprintf(stderr, "# %s: %s\n", text, error);
        abort();
    }

    return &forms[n];
}


static void
redirect(const char *registered, const char *text, const char *wanted)
{
    oa_rc_t      rc;
    oa_str_t     uri;
    const char  *error;

    error = NULL;
    uri = str("never");
    client.redirect_uris = str(registered);

    rc = oa_authorize_redirect(form(text), &client, &uri, &error);

    if (wanted) {
        is_int(rc, OA_OK, "%s: \"%s\"", registered, text);
        is_str(uri.data, uri.len, wanted, "%s: \"%s\" leads", registered,
               text);

    } else {
        ok(rc == OA_DECLINED && error, "%s: \"%s\" does not lead", registered,
           text);
    }
}


static void
redirects(void)
{
    size_t       i;
    oa_str_t     uri;
    const char  *error;
    char         text[4096];

    redirect(REGISTERED, "", REGISTERED);
    redirect(REGISTERED, "redirect_uri=", REGISTERED);
    redirect(REGISTERED, "redirect_uri=https%3A%2F%2Fa.example%2Fcb",
             REGISTERED);
    redirect(REGISTERED " https://b.example/", "", NULL);
    redirect(REGISTERED " https://b.example/",
             "redirect_uri=https://b.example/", "https://b.example/");
    redirect("", "", NULL);
    redirect("", "redirect_uri=" REGISTERED, NULL);
    redirect(REGISTERED, "redirect_uri=" REGISTERED "/", NULL);
    redirect(REGISTERED, "redirect_uri=" REGISTERED "?x=1", NULL);
    redirect(REGISTERED, "redirect_uri=https://a.example/c", NULL);
    redirect(REGISTERED, "redirect_uri=https://a.example/CB", NULL);
    redirect(REGISTERED, "redirect_uri=http://a.example/cb", NULL);
    redirect(REGISTERED, "redirect_uri=" REGISTERED "%23f", NULL);
    redirect(REGISTERED, "redirect_uri=" REGISTERED "%0d%0aX:1", NULL);
    redirect("http://127.0.0.1/cb", "redirect_uri=http://127.0.0.1:4711/cb",
             "http://127.0.0.1:4711/cb");
    redirect("http://127.0.0.1/cb", "redirect_uri=http://127.0.0.1:x/cb",
             NULL);

    /* a record that somebody else wrote */
    redirect("javascript:alert(1)", "redirect_uri=javascript:alert(1)", NULL);
    redirect("javascript:alert(1)", "", NULL);
    redirect("http://a.example/", "", NULL);

    client.redirect_uris = str(REGISTERED);

    for (i = OA_STATE_MAX; i <= OA_STATE_MAX + 1; i++) {
        memcpy(text, "state=", 6);
        memset(text + 6, 'x', i);
        text[6 + i] = '\0';

        is_int(oa_authorize_redirect(form(text), &client, &uri, &error),
               i == OA_STATE_MAX ? OA_OK : OA_DECLINED, "state of %u bytes",
               (unsigned) i);
    }
}


static void
check(const char *text, const char *wanted)
{
    oa_rc_t               rc;
    oa_authorize_error_t  error;

    error.error = "";
    error.description = "";

    rc = oa_authorize_check(form(text), &client, &error);

    is_int(rc, wanted ? OA_DECLINED : OA_OK, "\"%s\"", text);
    is_str(error.error, strlen(error.error), wanted ? wanted : "",
           "\"%s\": error", text);
    ok(!wanted || error.description[0], "\"%s\": described", text);
}


static void
checks(void)
{
    client.grants = OA_GRANT_AUTHORIZATION_CODE;
    client.auth_methods = OA_AUTH_SECRET_BASIC;

    check("response_type=code", NULL);
    check("response_type=code&response_mode=query&nonce=n&x=y", NULL);
    check("response_type=code" PKCE, NULL);
    check("response_type=code&state=a%20%c3%a4%22", NULL);
    check("response_type=code&prompt=login%20consent", NULL);

    check("", "invalid_request");
    check("response_type=token", "unsupported_response_type");
    check("response_type=code%20token", "unsupported_response_type");
    check("response_type=Code", "unsupported_response_type");
    check("response_type=code&response_mode=fragment", "invalid_request");
    check("response_type=code&response_mode=form_post", "invalid_request");
    check("response_type=code&state=a%0ab", "invalid_request");
    check("response_type=code&prompt=none", "consent_required");
    check("response_type=code&prompt=login%20%20none", "consent_required");
    check("response_type=code&prompt=%20none", "consent_required");
    check("response_type=code&prompt=%22", "invalid_request");
    check("response_type=code&request=x", "request_not_supported");
    check("response_type=code&request_uri=https://a.example/",
          "request_uri_not_supported");

    check("response_type=code&code_challenge=" CHALLENGE, "invalid_request");
    check("response_type=code&code_challenge=" CHALLENGE
          "&code_challenge_method=plain", "invalid_request");
    check("response_type=code&code_challenge=" CHALLENGE
          "&code_challenge_method=s256", "invalid_request");
    check("response_type=code&code_challenge_method=S256", "invalid_request");
    check("response_type=code&code_challenge=short&code_challenge_method=S256",
          "invalid_request");

    client.auth_methods = OA_AUTH_NONE;
    check("response_type=code", "invalid_request");
    check("response_type=code&code_challenge=" "&code_challenge_method=S256",
          "invalid_request");
    check("response_type=code" PKCE, NULL);

    client.grants = OA_GRANT_CLIENT_CREDENTIALS | OA_GRANT_REFRESH_TOKEN;
    check("response_type=code" PKCE, "unauthorized_client");
}


static void
location(const char *uri, const char *code, const char *state,
    const char *wanted)
{
    size_t           len;
    oa_form_field_t  parameters[2];
    unsigned char   *out;

    parameters[0].name = str("code");
    parameters[0].value = str(code);
    parameters[1].name = str("state");
    parameters[1].value = str(state);

    len = oa_authorize_location(str(uri), parameters, 2, NULL);
    is_int(len, strlen(wanted), "%s: length", uri);

    out = malloc(len + 1);
    is_int(oa_authorize_location(str(uri), parameters, 2, out), len,
           "%s: the same length", uri);
    is_str(out, len, wanted, "%s: location", uri);
    free(out);
}


static void
locations(void)
{
    location("https://a/cb", "c", "s", "https://a/cb?code=c&state=s");
    location("https://a/cb?x=1", "c", "s", "https://a/cb?x=1&code=c&state=s");
    location("https://a/cb?", "c", "s", "https://a/cb?code=c&state=s");
    location("https://a/cb?x=1&", "c", NULL, "https://a/cb?x=1&code=c");
    location("https://a/cb", NULL, "s", "https://a/cb?state=s");
    location("https://a/cb", NULL, NULL, "https://a/cb");
    location("com.example.app:/cb", "c", "", "com.example.app:/cb?code=c&state=");
    location("https://a/cb", "c", "a b+c&d=e%\"\r\n\xc3\xa4",
             "https://a/cb?code=c&state=a%20b%2Bc%26d%3De%25%22%0D%0A%C3%A4");
}


static void
place(const char *uri, oa_place_t wanted, const char *text,
    const char *sources)
{
    size_t         len;
    oa_str_t       got;
    unsigned char  out[OA_FORM_ACTION_MAX];

    is_int(oa_redirect_place(str(uri), &got), wanted, "%s: place", uri);
    is_str(got.data, got.len, text, "%s: its name", uri);

    len = oa_redirect_form_action(str(uri), out);
    is_str(out, len, sources, "%s: form-action", uri);
}


static void
places(void)
{
    char  scheme[256];

    place("https://a.example/cb", OA_PLACE_WEB, "a.example", "'self' https:");
    place("https://a.example:8443?x", OA_PLACE_WEB, "a.example:8443",
          "'self' https:");
    place("https://a.example", OA_PLACE_WEB, "a.example", "'self' https:");
    place("https://a;script-src*/", OA_PLACE_WEB, "a;script-src*",
          "'self' https:");
    place("http://127.0.0.1:80/cb", OA_PLACE_LOOPBACK, "127.0.0.1:80",
          "'self' https: http://127.0.0.1:* http://localhost:*");
    place("http://localhost/cb", OA_PLACE_LOOPBACK, "localhost",
          "'self' https: http://127.0.0.1:* http://localhost:*");
    place("http://[::1]:9/cb", OA_PLACE_LOOPBACK, "[::1]:9",
          "'self' https: http:");
    place("com.example.app:/cb", OA_PLACE_APP, "com.example.app",
          "'self' com.example.app:");
    place("a;b:/cb", OA_PLACE_APP, "a;b", "'self'");
    place(":/cb", OA_PLACE_APP, "", "'self'");
    place("", OA_PLACE_APP, "", "'self'");

    memset(scheme, 'a', sizeof(scheme) - 1);
    scheme[sizeof(scheme) - 1] = '\0';
    place(scheme, OA_PLACE_APP, scheme, "'self'");
}


static void
words(const char *scope, const char *wanted)
{
    char              text[256];
    oa_rc_t           rc;
    oa_scope_words_t  w;

    rc = oa_scope_words(str(scope), &w);

    is_int(rc, wanted ? OA_OK : OA_DECLINED, "scope \"%s\"", scope);

    if (rc == OA_OK) {
        snprintf(text, sizeof(text), "%s%.*s%s", w.before,
                 (int) w.resource.len,
                 w.resource.len ? (const char *) w.resource.data : "",
                 w.after);
        is_str(text, strlen(text), wanted ? wanted : "", "scope \"%s\" says",
               scope);
    }
}


static void
scopes(void)
{
    words("read:tenants", "Read tenants");
    words("read:*", "Read everything");
    words("write:tenants", "Create and change tenants");
    words("write:*", "Create and change everything");
    words("admin", "Full control: read, create, change and delete everything");
    words("sync:*", "Everything that needs \xe2\x80\x9csync\xe2\x80\x9d");
    words("sync:tenants", NULL);
    words("read:", NULL);
    words("write:", NULL);
    words("READ:tenants", NULL);
    words("Admin", NULL);
    words("administrator", NULL);
    words("*", NULL);
    words(":*", NULL);
    words("a:*b", NULL);
    words("", NULL);
}


int
main(void)
{
    redirects();
    checks();
    locations();
    places();
    scopes();

    return done_testing();
}
