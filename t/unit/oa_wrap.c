/* Wrapped secrets: src/core/oa_wrap.c */

#include <openssl/err.h>

#include "oa_base64.h"
#include "oa_wrap.h"
#include "tap.h"


#define PEPPER  "0123456789abcdef0123456789abcdef"
#define SECRET  "s3cr3t-of-the-client"

/*
 * Made by another program (node:crypto): hkdfSync('sha256', pepper, '',
 * 'opsauth client secret', 32), then aes-256-gcm with the nonce 00 01 .. 0b and
 * the client's id as additional data.
 */
#define WRAPPED                                                               \
    "AAECAwQFBgcICQoLikWvKN8kXLFb47cgcfgw_jLEaYBVqINXY8j-GBaqhjiFNpEy"

static const unsigned char  nonce[12] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
                                          11 };


static oa_str_t
str(const char *s)
{
    return (oa_str_t) { s ? strlen(s) : 0, (const unsigned char *) s };
}


static void
known(void)
{
    size_t         len;
    unsigned char  out[OA_WRAP_MAX], secret[OA_WRAP_SECRET_MAX];

    is_int(oa_wrap(str(PEPPER), str("app_1"), str(SECRET), nonce, out, &len),
           OA_OK, "wrap");
    is_str(out, len, WRAPPED, "as another program does");

    is_int(oa_unwrap(str(PEPPER), str("app_1"), str(WRAPPED), secret, &len),
           OA_OK, "unwrap");
    is_str(secret, len, SECRET, "what was wrapped");
}


static void
declined(const char *pepper, const char *id, const char *wrapped,
    oa_rc_t wanted, const char *name)
{
    size_t         i, len, left;
    oa_rc_t        rc;
    unsigned char  out[OA_WRAP_SECRET_MAX];

    memset(out, 0, sizeof(out));
    len = 4711;
    left = 0;

    rc = oa_unwrap(str(pepper), str(id), str(wrapped), out, &len);

    for (i = 0; i < sizeof(out); i++) {
        left += (out[i] != 0);
    }

    ok(rc == wanted && left == 0 && len == 4711, "%s", name);
}


static void
hostile(void)
{
    char           text[OA_WRAP_MAX + 8];
    size_t         i, n, len, bad;
    unsigned char  out[OA_WRAP_SECRET_MAX], bytes[300];

    declined("0123456789abcdef0123456789abcdeF", "app_1", WRAPPED,
             OA_DECLINED, "another pepper");
    declined(PEPPER, "app_2", WRAPPED, OA_DECLINED, "another client");
    declined(PEPPER, "app_", WRAPPED, OA_DECLINED, "a shorter id");
    declined(PEPPER, "", WRAPPED, OA_DECLINED, "no id");
    declined(PEPPER, NULL, WRAPPED, OA_DECLINED, "an absent id");
    declined("", "app_1", WRAPPED, OA_ERROR, "no pepper");
    declined(NULL, "app_1", WRAPPED, OA_ERROR, "an absent pepper");
    declined("0123456789abcde", "app_1", WRAPPED, OA_ERROR,
             "a pepper that is too short");

    declined(PEPPER, "app_1", NULL, OA_INVALID, "absent");
    declined(PEPPER, "app_1", "", OA_INVALID, "empty");
    declined(PEPPER, "app_1", WRAPPED "=", OA_INVALID, "padding");
    declined(PEPPER, "app_1", "!" WRAPPED, OA_INVALID, "no base64url");
    declined(PEPPER, "app_1", "AAECAwQFBgcICQoL", OA_INVALID,
             "the nonce alone");

    memset(text, 'A', sizeof(text));
    text[38] = '\0';
    declined(PEPPER, "app_1", text, OA_INVALID, "room for no secret");
    text[38] = 'A';
    text[39] = '\0';
    declined(PEPPER, "app_1", text, OA_DECLINED, "room for one byte");
    text[39] = 'A';
    text[OA_BASE64URL_LEN(284)] = '\0';
    declined(PEPPER, "app_1", text, OA_DECLINED, "room for the longest");
    text[OA_BASE64URL_LEN(284)] = 'A';
    text[OA_BASE64URL_LEN(285)] = '\0';
    declined(PEPPER, "app_1", text, OA_INVALID, "room for more");

    bad = 0;

    for (i = 0; i < strlen(WRAPPED); i++) {
        strcpy(text, WRAPPED);
        text[i] = (text[i] == 'A') ? 'B' : 'A';
        bad += (oa_unwrap(str(PEPPER), str("app_1"), str(text), out, &len)
                != OA_DECLINED);
    }

    is_int(bad, 0, "each character counts");

    bad = 0;

    for (i = 1; i < strlen(WRAPPED); i++) {
        strcpy(text, WRAPPED);
        text[i] = '\0';
        bad += (oa_unwrap(str(PEPPER), str("app_1"), str(text), out, &len)
                == OA_OK);
        bad += (oa_unwrap(str(PEPPER), str("app_1"), str(&WRAPPED[i]), out,
                          &len)
                == OA_OK);
    }

    is_int(bad, 0, "each cut");

    bad = 0;

    for (i = 0; i < 20000; i++) {
        n = tap_random_below(sizeof(bytes));
        tap_random_bytes(bytes, n);

        if (n <= 284) {
            oa_base64url_encode(bytes, n, (unsigned char *) text);
        }

        bad += (oa_unwrap(str(PEPPER), str("app_1"),
                          n <= 284
                          ? (oa_str_t) { OA_BASE64URL_LEN(n),
                                         (unsigned char *) text }
                          : (oa_str_t) { n, bytes },
                          out, &len)
                == OA_OK);
    }

    is_int(bad, 0, "random texts");
    ok(ERR_peek_error() == 0, "libcrypto's queue of errors is empty");
}


static void
limits(void)
{
    char           longest[OA_WRAP_SECRET_MAX + 2];
    size_t         len;
    unsigned char  out[OA_WRAP_MAX];

    memset(longest, 'i', sizeof(longest));
    longest[OA_WRAP_SECRET_MAX] = '\0';

    is_int(oa_wrap(str(PEPPER), str("a"), str(""), nonce, out, &len),
           OA_INVALID, "no secret");
    is_int(oa_wrap(str(PEPPER), str("a"), str(longest), nonce, out, &len),
           OA_OK, "the longest");
    is_int(len, OA_BASE64URL_LEN(12 + OA_WRAP_SECRET_MAX + 16), "its length");
    longest[OA_WRAP_SECRET_MAX] = 'i';
    longest[OA_WRAP_SECRET_MAX + 1] = '\0';
    is_int(oa_wrap(str(PEPPER), str("a"), str(longest), nonce, out, &len),
           OA_INVALID, "one that is longer");
    is_int(oa_wrap(str(PEPPER), str(""), str("s"), nonce, out, &len),
           OA_INVALID, "no client");
    longest[OA_ACCOUNT_MAX + 1] = '\0';
    is_int(oa_wrap(str(PEPPER), str(longest), str("s"), nonce, out, &len),
           OA_INVALID, "too long an id");
    is_int(oa_wrap(str("short"), str("a"), str("s"), nonce, out, &len),
           OA_ERROR, "a short pepper");
}


static void
random_secrets(void)
{
    size_t          i, n, len, back, bad;
    oa_str_t        pepper, id, secret, wrapped;
    unsigned char  *out, p[OA_PEPPER_MAX], c[OA_ACCOUNT_MAX],
                    s[OA_WRAP_SECRET_MAX], opened[OA_WRAP_SECRET_MAX], r[12];

    bad = 0;

    for (i = 0; i < 2000; i++) {
        tap_random_bytes(p, sizeof(p));
        tap_random_bytes(c, sizeof(c));
        tap_random_bytes(s, sizeof(s));
        tap_random_bytes(r, sizeof(r));

        n = tap_random_below(sizeof(p) - OA_PEPPER_MIN + 1) + OA_PEPPER_MIN;
        pepper = (oa_str_t) { n, p };
        id = (oa_str_t) { tap_random_below(sizeof(c)) + 1, c };
        secret = (oa_str_t) { tap_random_below(sizeof(s)) + 1, s };

        out = malloc(OA_WRAP_MAX);
        if (out == NULL) {
            abort();
        }

        bad += (oa_wrap(pepper, id, secret, r, out, &len) != OA_OK);
        wrapped = (oa_str_t) { len, out };

        bad += (oa_unwrap(pepper, id, wrapped, opened, &back) != OA_OK
                || back != secret.len
                || memcmp(opened, s, back) != 0);

        c[id.len - 1] ^= 1;
        bad += (oa_unwrap(pepper, id, wrapped, opened, &back)
                != OA_DECLINED);

        free(out);
    }

    is_int(bad, 0, "there and back");
}


int
main(void)
{
    known();
    hostile();
    limits();
    random_secrets();

    return done_testing();
}
