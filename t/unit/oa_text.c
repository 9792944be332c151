/* Numbers, hex, durations, safe bytes: src/core/oa_text.c */

#include "oa_text.h"
#include "tap.h"


static oa_str_t
str(const char *s)
{
    return (oa_str_t) { strlen(s), (const unsigned char *) s };
}


static void
number(const char *text, int64_t max, oa_rc_t wanted, int64_t value)
{
    oa_rc_t  rc;
    int64_t  n;

    n = -1;
    rc = oa_text_number(str(text), max, &n);

    ok(rc == wanted && (rc != OA_OK || n == value),
       "number \"%s\", at most %lld", text, (long long) max);
}


static void
numbers(void)
{
    oa_str_t  null = oa_null;
    int64_t   n;

    number("0", 0, OA_OK, 0);
    number("1", 0, OA_INVALID, 0);
    number("7", 10, OA_OK, 7);
    number("10", 10, OA_OK, 10);
    number("11", 10, OA_INVALID, 0);
    number("007", 10, OA_OK, 7);
    number("00000000000000000000000000000001", 1, OA_OK, 1);
    number("9223372036854775807", INT64_MAX, OA_OK, INT64_MAX);
    number("9223372036854775808", INT64_MAX, OA_INVALID, 0);
    number("9223372036854775806", INT64_MAX - 1, OA_OK, INT64_MAX - 1);
    number("9223372036854775807", INT64_MAX - 1, OA_INVALID, 0);
    number("99999999999999999999999", INT64_MAX, OA_INVALID, 0);
    number("18446744073709551617", INT64_MAX, OA_INVALID, 0);
    number("", 10, OA_INVALID, 0);
    number(" 1", 10, OA_INVALID, 0);
    number("1 ", 10, OA_INVALID, 0);
    number("+1", 10, OA_INVALID, 0);
    number("-1", 10, OA_INVALID, 0);
    number("0x1", 10, OA_INVALID, 0);
    number("1e1", 10, OA_INVALID, 0);
    number("1/", 10, OA_INVALID, 0);
    number("1:", 10, OA_INVALID, 0);
    number("1", -1, OA_INVALID, 0);

    is_int(oa_text_number(null, 10, &n), OA_INVALID, "number, absent");
    is_int(oa_text_number((oa_str_t) { 3, (const unsigned char *) "1\0002" },
                          1000, &n),
           OA_INVALID, "number with a zero byte");
}


static void
hex(void)
{
    size_t         i, bad;
    unsigned char  data[32], text[65], back[32];

    text[64] = '!';
    oa_text_hex((const unsigned char *) "\x00\x0f\xf0\xff\x5a", 5, text);
    is_str(text, 10, "000ff0ff5a", "hex is lower-case");

    oa_text_hex(data, 0, text);
    is_int(oa_text_unhex(str(""), back, 0), OA_OK, "no bytes of hex");

    is_int(oa_text_unhex(str("00fFAa"), back, 3), OA_OK, "hex of either case");
    ok(back[0] == 0 && back[1] == 0xff && back[2] == 0xaa, "its value");

    is_int(oa_text_unhex(str("00f"), back, 1), OA_INVALID, "odd digits");
    is_int(oa_text_unhex(str("00f"), back, 2), OA_INVALID, "a digit missing");
    is_int(oa_text_unhex(str("00ff"), back, 1), OA_INVALID, "a byte more");
    is_int(oa_text_unhex(str("00"), back, 2), OA_INVALID, "a byte missing");
    is_int(oa_text_unhex(str(""), back, 1), OA_INVALID, "nothing for a byte");

    bad = 0;

    for (i = 0; i < 256; i++) {
        text[0] = '0';
        text[1] = (unsigned char) i;

        if ((oa_text_unhex((oa_str_t) { 2, text }, back, 1) == OA_OK)
            != (i != 0 && strchr("0123456789abcdefABCDEF", (int) i) != NULL))
        {
            bad++;
        }
    }

    is_int(bad, 0, "each byte is a hex digit or is not");

    bad = 0;

    for (i = 0; i < 1000; i++) {
        tap_random_bytes(data, sizeof(data));
        oa_text_hex(data, sizeof(data), text);

        if (oa_text_unhex((oa_str_t) { 64, text }, back, 32) != OA_OK
            || memcmp(data, back, 32) != 0)
        {
            bad++;
        }
    }

    is_int(bad, 0, "hex there and back");
    is_int(text[64], '!', "no terminator is written");
}


static void
duration(const char *text, oa_rc_t wanted, int64_t value)
{
    oa_rc_t  rc;
    int64_t  n;

    n = -1;
    rc = oa_text_duration(str(text), &n);

    ok(rc == wanted && (rc != OA_OK || n == value), "duration \"%s\"", text);
}


static void
durations(void)
{
    duration("0", OA_OK, 0);
    duration("90", OA_OK, 90);
    duration("45s", OA_OK, 45);
    duration("30m", OA_OK, 1800);
    duration("12h", OA_OK, 43200);
    duration("90d", OA_OK, 7776000);
    duration("2w", OA_OK, 1209600);
    duration("1y", OA_OK, 31536000);
    duration("0d", OA_OK, 0);
    duration("1d12h", OA_OK, 129600);
    duration("1y1w1d1h1m1s", OA_OK, 31536000 + 604800 + 86400 + 3661);
    duration("1y1s", OA_OK, 31536001);
    duration("9223372036854775807", OA_OK, INT64_MAX);
    duration("9223372036854775807s", OA_OK, INT64_MAX);

    duration("", OA_INVALID, 0);
    duration("d", OA_INVALID, 0);
    duration("1x", OA_INVALID, 0);
    duration("1D", OA_INVALID, 0);
    duration("1d12", OA_INVALID, 0);
    duration("12h1d", OA_INVALID, 0);
    duration("1d1d", OA_INVALID, 0);
    duration("1s1", OA_INVALID, 0);
    duration("1d 12h", OA_INVALID, 0);
    duration(" 1d", OA_INVALID, 0);
    duration("1d ", OA_INVALID, 0);
    duration("-1d", OA_INVALID, 0);
    duration("1.5d", OA_INVALID, 0);
    duration("1ms", OA_INVALID, 0);
    duration("9223372036854775808", OA_INVALID, 0);
    duration("292471208678y", OA_INVALID, 0);
    duration("106751991167300d15h30m7s", OA_OK, INT64_MAX);
    duration("106751991167300d15h30m8s", OA_INVALID, 0);
    duration("9223372036854775800s9s", OA_INVALID, 0);
    duration("1m9223372036854775807s", OA_INVALID, 0);
}


static void
bytes(void)
{
    size_t         i, at, len, header, id;
    oa_str_t       s;
    unsigned char  text[3] = "a?b", *copy;

    s.data = text;
    s.len = 3;

    header = 0;
    id = 0;

    for (i = 0; i < 256; i++) {
        text[1] = (unsigned char) i;

        if (oa_text_is_header_safe(s) != (i >= 0x20 && i != 0x7f)) {
            header++;
        }

        if (oa_text_is_id(s)
            != (i != 0 && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "abcdefghijklmnopqrstuvwxyz"
                                 "0123456789._:@-", (int) i) != NULL))
        {
            id++;
        }
    }

    is_int(header, 0, "each byte is header-safe or is not");
    is_int(id, 0, "each byte may stand in an id or may not");

    /* of every length, and wherever the byte stands: a copy for ASan */

    id = 0;

    for (len = 1; len <= 50; len++) {
        for (at = 0; at < len; at++) {
            copy = malloc(len);
            s.data = copy;
            s.len = len;

            for (i = 0; i < 256; i++) {
                memset(copy, 'k', len);
                copy[at] = (unsigned char) i;
                id += oa_text_is_id(s)
                      != (i != 0 && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                           "abcdefghijklmnopqrstuvwxyz"
                                           "0123456789._:@-", (int) i)
                                    != NULL);
            }

            free(copy);
        }
    }

    is_int(id, 0, "in texts of any length, at any place");

    ok(oa_text_is_header_safe(str("")), "nothing is header-safe");
    ok(!oa_text_is_id(str("")), "nothing is no id");
    ok(oa_text_is_header_safe(str("Zürich, \"x\"")), "UTF-8 is header-safe");
    ok(!oa_text_is_header_safe(str("a\r\nX-Role: admin")), "no second header");

    ok(oa_text_eq(str("live"), "live"), "equal");
    ok(!oa_text_eq(str("live"), "Live"), "case matters");
    ok(!oa_text_eq(str("live"), "liv"), "longer");
    ok(!oa_text_eq(str("liv"), "live"), "shorter");
    ok(oa_text_eq(str(""), ""), "both empty");
    ok(oa_text_eq((oa_str_t) oa_null, ""), "absent is as empty");
    ok(!oa_text_eq((oa_str_t) oa_null, "x"), "absent is not something");
}


int
main(void)
{
    numbers();
    hex();
    durations();
    bytes();

    return done_testing();
}
