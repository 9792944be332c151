/* Redirect URIs: src/core/oa_client_redirect.c */

#include "oa_client.h"
#include "tap.h"


static oa_str_t
str(const char *s)
{
    return (oa_str_t) { strlen(s), (const unsigned char *) s };
}


static void
uri(const char *text, oa_rc_t wanted)
{
    oa_rc_t         rc;
    oa_str_t        s;
    const char     *error;
    unsigned char  *copy;

    error = NULL;
    s = str(text);
    copy = tap_copy(text, s.len);
    s.data = copy;

    rc = oa_redirect_uri_check(s, &error);

    ok(rc == wanted && (error != NULL) == (rc != OA_OK), "%s: %s",
       strchr(text, '\n') ? "a line's end" : text, error ? error : "good");

    free(copy);
}


static void
good(void)
{
    uri("https://app.example.com", OA_OK);
    uri("https://app.example.com/", OA_OK);
    uri("https://app.example.com/cb", OA_OK);
    uri("https://app.example.com:8443/cb?x=1&y=a%20b", OA_OK);
    uri("https://app.example.com?x=1", OA_OK);
    uri("https://App.Example.com./~user/;a=1,2(3)'!$*+", OA_OK);
    uri("https://xn--bcher-kva.example/cb", OA_OK);
    uri("https://203.0.113.7/cb", OA_OK);
    uri("https://[2001:db8::1]:8443/cb", OA_OK);
    uri("https://app.example.com/cb?u=https://other.example/@", OA_OK);
    uri("http://127.0.0.1/cb", OA_OK);
    uri("http://127.0.0.1:8080/cb", OA_OK);
    uri("http://127.5.6.7:1/", OA_OK);
    uri("http://[::1]:65535/cb", OA_OK);
    uri("http://localhost/cb", OA_OK);
    uri("http://localhost:3000/cb", OA_OK);
    uri("com.example.app:/oauth2redirect", OA_OK);
    uri("com.example.app://callback", OA_OK);
    uri("com.example-2.app+x:/cb?a=1", OA_OK);
}


static void
refused(void)
{
    char  text[OA_REDIRECT_MAX + 2];

    uri("", OA_INVALID);
    uri("/cb", OA_INVALID);
    uri("//app.example.com/cb", OA_INVALID);
    uri("app.example.com/cb", OA_INVALID);
    uri(":/cb", OA_INVALID);
    uri("://cb", OA_INVALID);
    uri("https", OA_INVALID);
    uri("https:", OA_INVALID);
    uri("https:/", OA_INVALID);
    uri("https:/app.example.com/cb", OA_INVALID);
    uri("https://", OA_INVALID);
    uri("https:///cb", OA_INVALID);
    uri("https://?x", OA_INVALID);
    uri("https://:443/", OA_INVALID);
    uri("HTTPS://app.example.com/cb", OA_INVALID);
    uri("Https://app.example.com/cb", OA_INVALID);
    uri("http://app.example.com/cb", OA_INVALID);
    uri("http://10.0.0.1/cb", OA_INVALID);
    uri("http://0.0.0.0/cb", OA_INVALID);
    uri("http://128.0.0.1/cb", OA_INVALID);
    uri("http://[::2]/cb", OA_INVALID);
    uri("http://[::ffff:127.0.0.1]/cb", OA_INVALID);
    uri("http://[0:0:0:0:0:0:0:1]/cb", OA_INVALID);
    uri("http://127.1/cb", OA_INVALID);
    uri("http://2130706433/cb", OA_INVALID);
    uri("http://0177.0.0.1/cb", OA_INVALID);
    uri("http://127.0.0.1.example.com/cb", OA_INVALID);
    uri("http://localhost.example.com/cb", OA_INVALID);
    uri("http://localhost./cb", OA_INVALID);
    uri("http://LOCALHOST/cb", OA_INVALID);
    uri("http://127.0.0.1:80@evil.example/cb", OA_INVALID);
    uri("http://127.0.0.1@evil.example/cb", OA_INVALID);

    uri("https://user@app.example.com/cb", OA_INVALID);
    uri("https://user:pass@app.example.com/cb", OA_INVALID);
    uri("https://app.example.com#cb", OA_INVALID);
    uri("https://app.example.com/cb#", OA_INVALID);
    uri("https://app.example.com/cb#x", OA_INVALID);
    uri("https://app.example.com\\@evil.example/cb", OA_INVALID);
    uri("https://app.example.com/a b", OA_INVALID);
    uri(" https://app.example.com/", OA_INVALID);
    uri("https://app.example.com/ ", OA_INVALID);
    uri("https://app.example.com/\n", OA_INVALID);
    uri("https://app.example.com/\x7f", OA_INVALID);
    uri("https://app.example.com/\xc3\xa4", OA_INVALID);
    uri("https://\xc3\xa4.example.com/", OA_INVALID);
    uri("https://app.example.com/<x>", OA_INVALID);
    uri("https://app.example.com/\"x", OA_INVALID);
    uri("https://app.example.com/`", OA_INVALID);
    uri("https://app.example.com/{x}", OA_INVALID);
    uri("https://app.example.com/a|b", OA_INVALID);
    uri("https://app.example.com/^", OA_INVALID);
    uri("https://app.example.com/[x]", OA_INVALID);
    uri("https://app.example.com/%", OA_INVALID);
    uri("https://app.example.com/%4", OA_INVALID);
    uri("https://app.example.com/%zz", OA_INVALID);
    uri("https://app%2eexample.com/", OA_INVALID);
    uri("https://*.example.com/cb", OA_INVALID);
    uri("https://*/cb", OA_INVALID);
    uri("https://.example.com/cb", OA_INVALID);
    uri("https://-a.example.com/cb", OA_INVALID);
    uri("https://app.example.com:/cb", OA_INVALID);
    uri("https://app.example.com:0/cb", OA_INVALID);
    uri("https://app.example.com:080/cb", OA_INVALID);
    uri("https://app.example.com:65536/cb", OA_INVALID);
    uri("https://app.example.com:123456/cb", OA_INVALID);
    uri("https://app.example.com:8x/cb", OA_INVALID);
    uri("https://app.example.com:80:80/cb", OA_INVALID);
    uri("https://2001:db8::1/cb", OA_INVALID);
    uri("https://[2001:db8::1/cb", OA_INVALID);
    uri("https://[]/cb", OA_INVALID);
    uri("https://[127.0.0.1]/cb", OA_INVALID);
    uri("https://[::1%25eth0]/cb", OA_INVALID);
    uri("https://[::1]x/cb", OA_INVALID);

    uri("javascript:alert(1)", OA_INVALID);
    uri("javascript:/alert.1", OA_INVALID);
    uri("data:text/html,x", OA_INVALID);
    uri("file:///etc/passwd", OA_INVALID);
    uri("ftp://a.example/", OA_INVALID);
    uri("urn:ietf:wg:oauth:2.0:oob", OA_INVALID);
    uri("myapp://callback", OA_INVALID);
    uri("myapp.:/callback", OA_INVALID);
    uri(".myapp:/callback", OA_INVALID);
    uri("1com.example:/callback", OA_INVALID);
    uri("Com.example:/callback", OA_INVALID);
    uri("com.example.app:", OA_INVALID);
    uri("com.example.app:callback", OA_INVALID);
    uri("com.example.app:?x", OA_INVALID);
    uri("com.example.app://user@host/", OA_INVALID);
    uri("com.example.app:/[x]", OA_INVALID);
    uri("com_example.app:/cb", OA_INVALID);
    uri("com.example.app", OA_INVALID);
    uri("com.example.app:/cb#x", OA_INVALID);

    memset(text, 'a', sizeof(text));
    memcpy(text, "https://", 8);
    memcpy(text + 20, "/", 1);
    text[OA_REDIRECT_MAX] = '\0';
    uri(text, OA_OK);
    text[OA_REDIRECT_MAX] = 'a';
    text[OA_REDIRECT_MAX + 1] = '\0';
    uri(text, OA_INVALID);
}


static void
match(const char *registered, const char *asked, int wanted)
{
    is_int(oa_redirect_uri_match(str(registered), str(asked)), wanted,
           "\"%s\" %s \"%s\"", registered, wanted ? "has" : "has not", asked);
}


static void
matches(void)
{
    const char *two = "https://a.example/cb http://127.0.0.1/cb";
    const char *v6 = "http://[::1]:7000/cb?x=1";

    match(two, "https://a.example/cb", 1);
    match(two, "http://127.0.0.1/cb", 1);
    match(two, "http://127.0.0.1:51004/cb", 1);
    match(v6, "http://[::1]:7000/cb?x=1", 1);
    match(v6, "http://[::1]/cb?x=1", 1);
    match(v6, "http://[::1]:1/cb?x=1", 1);
    match("com.example.app:/cb", "com.example.app:/cb", 1);
    match("http://127.0.0.1", "http://127.0.0.1:80", 1);
    match("http://127.0.0.1?a", "http://127.0.0.1:80?a", 1);

    match(two, "", 0);
    match("", "", 0);
    match("", "https://a.example/cb", 0);
    match(" ", " ", 0);
    match(two, two, 0);
    match(two, " ", 0);
    match(two, "https://a.example/cb ", 0);
    match(two, "https://a.example/cb/", 0);
    match(two, "https://a.example/c", 0);
    match(two, "https://a.example/cb?x", 0);
    match(two, "https://a.example/cb#", 0);
    match(two, "https://a.example/CB", 0);
    match(two, "https://A.example/cb", 0);
    match(two, "HTTPS://a.example/cb", 0);
    match(two, "https://a.example:443/cb", 0);
    match(two, "https://a.example/x/../cb", 0);
    match(two, "https://a.example/%63b", 0);
    match(two, "https://a.example@evil.example/cb", 0);
    match(two, "http://a.example/cb", 0);

    match(two, "https://127.0.0.1/cb", 0);
    match(two, "http://127.0.0.2/cb", 0);
    match(two, "http://localhost/cb", 0);
    match(two, "http://[::1]/cb", 0);
    match(two, "http://127.0.0.1:/cb", 0);
    match(two, "http://127.0.0.1:0/cb", 0);
    match(two, "http://127.0.0.1:65536/cb", 0);
    match(two, "http://127.0.0.1:99999999999999999999/cb", 0);
    match(two, "http://127.0.0.1:80/cb/x", 0);
    match(two, "http://127.0.0.1:80/", 0);
    match(two, "http://127.0.0.1:80/cb?x", 0);
    match(two, "http://127.0.0.1:80/cb#x", 0);
    match(two, "http://127.0.0.1:80/../cb", 0);
    match(two, "http://127.0.0.1:80@evil.example/cb", 0);
    match(two, "http://user@127.0.0.1/cb", 0);
    match(two, "http://127.0.0.1.evil.example/cb", 0);
    match(two, "http://127.0.0.1\\.evil.example/cb", 0);
    match(two, "http://127.0.0.1:80\\@evil.example/cb", 0);
    match(two, "http://[::ffff:127.0.0.1]/cb", 0);
    match(v6, "http://[::1]/cb", 0);
    match(v6, "http://[0:0:0:0:0:0:0:1]:7000/cb?x=1", 0);
    match(v6, "http://[::1]:7000:1/cb?x=1", 0);
    match("http://localhost/cb", "http://localhost:3000/cb", 0);
    match("http://127.5.6.7/cb", "http://127.5.6.7:3000/cb", 0);
    match("https://127.0.0.1/cb", "https://127.0.0.1:3000/cb", 0);
    match("https://a.example/cb", "https://a.example:3000/cb", 0);

    is_int(oa_redirect_uri_match((oa_str_t) oa_null, (oa_str_t) oa_null), 0,
           "nothing registered, nothing asked");
}


/* one byte of a good one changed: it is another one, unless it is its port */

static void
random_uris(void)
{
    size_t          i, n, at, bad;
    const char     *error;
    oa_str_t        s;
    unsigned char  *copy;

    const char *registered = "http://127.0.0.1:8080/cb";

    bad = 0;

    for (i = 0; i < 200000; i++) {

        n = strlen(registered) - (i % 8 == 0);
        copy = tap_copy(registered, n);
        at = tap_random_below(n);
        copy[at] = (unsigned char) tap_random_below(256);

        s.data = copy;
        s.len = n;

        if (oa_redirect_uri_match(str(registered), s)) {
            bad += (memcmp(copy, "http://127.0.0.1:", 17) != 0
                    || memcmp(copy + 21, "/cb", 3) != 0
                    || n != strlen(registered)
                    || oa_redirect_uri_check(s, &error) != OA_OK);
        }

        free(copy);
    }

    is_int(bad, 0, "random URIs");
}


int
main(void)
{
    good();
    refused();
    matches();
    random_uris();

    return done_testing();
}
