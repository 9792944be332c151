/* Base64, the URL alphabet and the standard one: src/core/oa_base64.c */

#include "oa_base64.h"
#include "tap.h"


static oa_str_t
str(const char *s)
{
    return (oa_str_t) { strlen(s), (const unsigned char *) s };
}


/* RFC 4648 section 10, and without the padding */

static void
known(void)
{
    size_t         i, n, len;
    unsigned char  out[16];

    static const struct {
        const char  *data, *padded, *bare;
    } vectors[] = {
        { "", "", "" },
        { "f", "Zg==", "Zg" },
        { "fo", "Zm8=", "Zm8" },
        { "foo", "Zm9v", "Zm9v" },
        { "foob", "Zm9vYg==", "Zm9vYg" },
        { "fooba", "Zm9vYmE=", "Zm9vYmE" },
        { "foobar", "Zm9vYmFy", "Zm9vYmFy" },
    };

    for (i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {

        n = strlen(vectors[i].data);

        is_int(OA_BASE64URL_LEN(n), strlen(vectors[i].bare), "length of %zu",
               n);

        oa_base64url_encode((const unsigned char *) vectors[i].data, n, out);
        is_str(out, OA_BASE64URL_LEN(n), vectors[i].bare, "encode \"%s\"",
               vectors[i].data);

        ok(oa_base64url_decode(str(vectors[i].bare), out, sizeof(out), &len)
           == OA_OK, "decode \"%s\"", vectors[i].bare);
        is_str(out, len, vectors[i].data, "its value");

        ok(oa_base64_decode(str(vectors[i].padded), out, sizeof(out), &len)
           == OA_OK, "decode \"%s\"", vectors[i].padded);
        is_str(out, len, vectors[i].data, "its value");

        ok(oa_base64url_valid(str(vectors[i].bare)), "valid");
    }

    oa_base64url_encode((const unsigned char *) "\xfb\xef\xff", 3, out);
    is_str(out, 4, "--__", "the URL alphabet");
}


static void
refused(const char *text)
{
    size_t          len;
    unsigned char  *copy, out[64];
    oa_str_t        s;

    len = 99;
    s = str(text);
    copy = tap_copy(text, s.len);
    s.data = copy;

    ok(oa_base64url_decode(s, out, sizeof(out), &len) == OA_INVALID
       && !oa_base64url_valid(s), "base64url \"%s\" is refused", text);

    free(copy);
}


static void
refused_padded(const char *text)
{
    size_t         len;
    unsigned char  out[64];

    ok(oa_base64_decode(str(text), out, sizeof(out), &len) == OA_INVALID,
       "base64 \"%s\" is refused", text);
}


static void
hostile(void)
{
    size_t         len;
    oa_str_t       null = oa_null;
    unsigned char  out[4], text[9];

    refused("Z");
    refused("Zm9vY");
    refused("Zg==");
    refused("Zm8=");
    refused("Zh");                      /* a stray bit */
    refused("Zm9");
    refused("Zm9vYh");
    refused("Zm 9");
    refused(" Zm9v");
    refused("Zm+v");
    refused("Zm/v");
    refused("Zm.v");
    refused("Zm\xc3\xa4v");
    refused("=");
    refused("====");

    ok(oa_base64url_decode(str("Zm9v\n"), out, sizeof(out), &len)
       == OA_INVALID
       && oa_base64_decode(str("Zm9\n"), out, sizeof(out), &len)
          == OA_INVALID,
       "a line's end");
    ok(oa_base64url_decode((oa_str_t) { 4, (const unsigned char *) "Zm\0v" },
                           out, sizeof(out), &len) == OA_INVALID,
       "a zero byte");

    refused_padded("Zg");
    refused_padded("Zm8");
    refused_padded("Zg=");
    refused_padded("Zg===");
    refused_padded("Zm9v====");
    refused_padded("Zh==");
    refused_padded("Zm9=");
    refused_padded("Z===");
    refused_padded("=");
    refused_padded("==");
    refused_padded("====");
    refused_padded("Zg==Zg==");
    refused_padded("Z=g=");
    refused_padded("Zm-v");
    refused_padded("Zm_v");
    refused_padded("Zm9v   ");

    is_int(oa_base64url_decode(null, out, 0, &len), OA_OK, "absent");
    is_int(len, 0, "no bytes");
    is_int(oa_base64_decode(null, out, 0, &len), OA_OK, "absent, padded");
    is_int(len, 0, "no bytes");

    is_int(oa_base64url_decode(str("Zm9vYg"), out, 4, &len), OA_OK,
           "just room enough");
    is_int(len, 4, "four bytes");
    is_int(oa_base64url_decode(str("Zm9vYmE"), out, 4, &len), OA_ERROR,
           "a byte too many");
    is_int(oa_base64_decode(str("Zm9vYmE="), out, 4, &len), OA_ERROR,
           "a byte too many, padded");
    is_int(oa_base64url_decode(str("Zg"), out, 0, &len), OA_ERROR,
           "no room at all");

    memcpy(text, "Zm9vYmFy!", 9);
    ok(oa_base64url_decode((oa_str_t) { 8, text }, text, 8, &len) == OA_OK
       && len == 6, "in place");
    is_str(text, 6, "foobar", "its value");
    is_int(text[8], '!', "nothing behind it is touched");
}


/* for every length: there and back, and one text for one value only */

static void
random_bytes(void)
{
    size_t          i, n, len, bad, other;
    unsigned char  *text, data[100], back[100], c;

    bad = 0;
    other = 0;

    for (i = 0; i < 20000; i++) {

        n = tap_random_below(sizeof(data) + 1);
        tap_random_bytes(data, n);

        text = malloc(OA_BASE64URL_LEN(n) + 1);
        if (text == NULL) {
            abort();
        }

        text[OA_BASE64URL_LEN(n)] = '!';
        oa_base64url_encode(data, n, text);

        bad += (text[OA_BASE64URL_LEN(n)] != '!');
        bad += (oa_base64url_decode((oa_str_t) { OA_BASE64URL_LEN(n), text },
                                    back, n, &len)
                != OA_OK || len != n || memcmp(data, back, n) != 0);

        if (n != 0) {
            c = text[OA_BASE64URL_LEN(n) - 1];

            do {
                text[OA_BASE64URL_LEN(n) - 1] =
                                          (unsigned char) tap_random_below(256);
            } while (text[OA_BASE64URL_LEN(n) - 1] == c);

            other += (oa_base64url_decode(
                                   (oa_str_t) { OA_BASE64URL_LEN(n), text },
                                   back, n, &len)
                      == OA_OK && memcmp(data, back, n) == 0);
        }

        free(text);
    }

    is_int(bad, 0, "there and back");
    is_int(other, 0, "no second text for the same bytes");

    bad = 0;

    for (i = 0; i < 100000; i++) {
        n = tap_random_below(13);
        tap_random_bytes(data, n);

        for (len = 0; len < n; len++) {
            data[len] = (unsigned char) "AZaz09-_+/=Qw\n"[data[len] % 14];
        }

        text = tap_copy(data, n);
        bad += ((oa_base64url_decode((oa_str_t) { n, text }, back, 100, &len)
                 == OA_OK)
                != oa_base64url_valid((oa_str_t) { n, text }));
        free(text);
    }

    is_int(bad, 0, "valid is what can be decoded");
}


int
main(void)
{
    known();
    hostile();
    random_bytes();

    return done_testing();
}
