/* The credential of a header: src/core/oa_bearer.c */

#include "oa_bearer.h"
#include "tap.h"


/* parses a copy of exactly that size; wanted NULL: no credential */

static void
parse_n(const char *text, size_t len, oa_rc_t wanted, const char *credential,
    const char *name)
{
    oa_rc_t        rc;
    oa_str_t       value, found;
    unsigned char  *copy;

    copy = tap_copy(text, len);
    value.data = copy;
    value.len = len;

    found = (oa_str_t) oa_null;
    rc = oa_bearer_parse(value, &found);

    ok(rc == wanted, "\"%s\" is %d", name, (int) wanted);

    if (credential != NULL) {
        is_str(found.data, found.len, credential, "\"%s\": credential", name);
    }

    free(copy);
}


static void
parse(const char *text, oa_rc_t wanted, const char *credential)
{
    parse_n(text, strlen(text), wanted, credential, text);
}


static void
bare(const char *text, oa_rc_t wanted, const char *credential)
{
    oa_rc_t        rc;
    oa_str_t       value, found;
    unsigned char  *copy;

    copy = tap_copy(text, strlen(text));
    value.data = copy;
    value.len = strlen(text);

    found = (oa_str_t) oa_null;
    rc = oa_bearer_bare(value, &found);

    ok(rc == wanted, "bare \"%s\" is %d", text, (int) wanted);

    if (credential != NULL) {
        is_str(found.data, found.len, credential, "bare \"%s\": credential",
               text);
    }

    free(copy);
}


/* each byte value at each place of a token68 */

static void
every_byte(void)
{
    int            good;
    size_t         i, bad[5];
    oa_str_t       value, found;
    unsigned char  text[11];

    memset(bad, 0, sizeof(bad));

    for (i = 0; i < 256; i++) {

        good = (i != 0 && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "abcdefghijklmnopqrstuvwxyz"
                                 "0123456789-._~+/", (int) i) != NULL);

        value.data = text;
        value.len = 10;

        memcpy(text, "Bearer abc", 10);
        text[8] = (unsigned char) i;
        bad[0] += (oa_bearer_parse(value, &found) == OA_OK) != good;

        memcpy(text, "Bearer abc", 10);
        text[7] = (unsigned char) i;
        bad[1] += (oa_bearer_parse(value, &found) == OA_OK)
                  != (good || i == ' ');

        memcpy(text, "Bearer abc", 10);
        text[9] = (unsigned char) i;
        bad[2] += (oa_bearer_parse(value, &found) == OA_OK)
                  != (good || i == '=' || i == ' ' || i == '\t');

        /* the byte behind the scheme: a token character goes on with it */

        memcpy(text, "Bearer abc", 10);
        text[6] = (unsigned char) i;
        good = (i > 0x20 && i < 0x7f
                && strchr("\"(),/:;<=>?@[\\]{}", (int) i) == NULL);
        bad[3] += oa_bearer_parse(value, &found)
                  != (i == ' ' ? OA_OK : good ? OA_DECLINED : OA_INVALID);

        /* the scheme: only the two cases of its letter */

        memcpy(text, "Bearer abc", 10);
        text[3] = (unsigned char) i;
        bad[4] += oa_bearer_parse(value, &found)
                  != (i == 'r' || i == 'R' ? OA_OK : OA_DECLINED);
    }

    is_int(bad[0], 0, "every byte inside a credential");
    is_int(bad[1], 0, "every byte at its start");
    is_int(bad[2], 0, "every byte at its end");
    is_int(bad[3], 0, "every byte behind the scheme");
    is_int(bad[4], 0, "every byte in the scheme");
}


static void
lengths(void)
{
    size_t  n;
    char    text[OA_BEARER_MAX + 64], credential[OA_BEARER_MAX + 2];

    for (n = OA_BEARER_MAX - 1; n <= OA_BEARER_MAX + 1; n++) {
        memset(credential, 'x', n);
        credential[n] = '\0';

        snprintf(text, sizeof(text), "Bearer %s", credential);
        parse_n(text, n + 7, n <= OA_BEARER_MAX ? OA_OK : OA_INVALID,
                n <= OA_BEARER_MAX ? credential : NULL, "length");

        snprintf(text, sizeof(text), "Bearer    %s  \t ", credential);
        parse_n(text, strlen(text), n <= OA_BEARER_MAX ? OA_OK : OA_INVALID,
                n <= OA_BEARER_MAX ? credential : NULL, "length, blanks");

        bare(credential, n <= OA_BEARER_MAX ? OA_OK : OA_INVALID,
             n <= OA_BEARER_MAX ? credential : NULL);
    }
}


/* any bytes: a yes means exactly what the header promises */

static void
hostile(void)
{
    size_t         i, n, bad, oks;
    oa_str_t       value, found;
    unsigned char  text[24], *copy;

    static const char  likely[] = "Bearer abc=  \t,\"";

    bad = 0;
    oks = 0;

    for (i = 0; i < 200000; i++) {

        n = tap_random_below(sizeof(text) + 1);
        tap_random_bytes(text, n);

        if (n >= 8 && i % 4) {
            memcpy(text, "Bearer ", 7);
        }

        if (i % 2) {
            size_t  k;

            for (k = (n >= 8 && i % 4) ? 7 : 0; k < n; k++) {
                text[k] = (unsigned char) likely[text[k]
                                                 % (sizeof(likely) - 1)];
            }
        }

        copy = tap_copy(text, n);
        value.data = copy;
        value.len = n;

        if (oa_bearer_parse(value, &found) == OA_OK) {
            oks++;

            bad += (found.data < copy + 7
                    || found.data + found.len > copy + n
                    || found.len == 0
                    || memchr(found.data, ' ', found.len) != NULL
                    || memchr(found.data, '\0', found.len) != NULL
                    || found.data[-1] != ' ');
        }

        (void) oa_bearer_bare(value, &found);

        free(copy);
    }

    ok(oks > 1000, "random values: some are credentials");
    is_int(bad, 0, "and those are what a credential must be");
}


int
main(void)
{
    oa_str_t  null = oa_null, found;

    parse("Bearer abc", OA_OK, "abc");
    parse("bearer abc", OA_OK, "abc");
    parse("BEARER abc", OA_OK, "abc");
    parse("bEaReR abc", OA_OK, "abc");
    parse("Bearer   abc", OA_OK, "abc");
    parse("Bearer abc ", OA_OK, "abc");
    parse("Bearer abc \t \t", OA_OK, "abc");
    parse("Bearer a", OA_OK, "a");
    parse("Bearer abc=", OA_OK, "abc=");
    parse("Bearer abc====", OA_OK, "abc====");
    parse("Bearer aZ09-._~+/==", OA_OK, "aZ09-._~+/==");
    parse("Bearer Bearer", OA_OK, "Bearer");
    parse("Bearer op365_sk_live_0FAE0br7FNXNSiMwMIFF0C", OA_OK,
          "op365_sk_live_0FAE0br7FNXNSiMwMIFF0C");

    parse("", OA_DECLINED, NULL);
    parse("   ", OA_DECLINED, NULL);
    parse(" \t ", OA_DECLINED, NULL);
    parse("Basic dXNlcjpwYXNz", OA_DECLINED, NULL);
    parse("Digest username=\"x\"", OA_DECLINED, NULL);
    parse("Beare", OA_DECLINED, NULL);
    parse("Beare abc", OA_DECLINED, NULL);
    parse("Bearers abc", OA_DECLINED, NULL);
    parse("BearerX", OA_DECLINED, NULL);
    parse("Bearer-x abc", OA_DECLINED, NULL);
    parse("abc", OA_DECLINED, NULL);
    parse(" Bearer abc", OA_DECLINED, NULL);

    parse("Bearer", OA_INVALID, NULL);
    parse("Bearer ", OA_INVALID, NULL);
    parse("Bearer    ", OA_INVALID, NULL);
    parse("Bearer\tabc", OA_INVALID, NULL);
    parse("Bearer \tabc", OA_INVALID, NULL);
    parse("Bearer=abc", OA_INVALID, NULL);
    parse("Bearer,abc", OA_INVALID, NULL);
    parse("Bearer =", OA_INVALID, NULL);
    parse("Bearer ==abc", OA_INVALID, NULL);
    parse("Bearer a=b", OA_INVALID, NULL);
    parse("Bearer abc def", OA_INVALID, NULL);
    parse("Bearer abc, Bearer def", OA_INVALID, NULL);
    parse("Bearer abc,", OA_INVALID, NULL);
    parse("Bearer \"abc\"", OA_INVALID, NULL);
    parse("Bearer a:b", OA_INVALID, NULL);
    parse("Bearer abc\r", OA_INVALID, NULL);
    parse("Bearer abc\n", OA_INVALID, NULL);
    parse("Bearer ab\xc3\xa9", OA_INVALID, NULL);
    parse_n("Bearer abc\0", 11, OA_INVALID, NULL, "Bearer abc\\0");
    parse_n("Bearer \0abc", 11, OA_INVALID, NULL, "Bearer \\0abc");
    parse_n("Bearer\0abc", 10, OA_INVALID, NULL, "Bearer\\0abc");

    is_int(oa_bearer_parse(null, &found), OA_DECLINED, "absent");
    is_int(oa_bearer_bare(null, &found), OA_DECLINED, "bare, absent");

    bare("abc", OA_OK, "abc");
    bare("abc== ", OA_OK, "abc==");
    bare("", OA_DECLINED, NULL);
    bare("  \t", OA_DECLINED, NULL);
    bare(" abc", OA_INVALID, NULL);
    bare("a b", OA_INVALID, NULL);
    bare("Bearer abc", OA_INVALID, NULL);
    bare("=", OA_INVALID, NULL);
    bare("a,b", OA_INVALID, NULL);

    every_byte();
    lengths();
    hostile();

    return done_testing();
}
