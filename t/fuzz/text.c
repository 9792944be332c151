/*
 * Small texts: src/core/oa_text.c, oa_rule.c, oa_digest.c's pepper files. A byte
 * that says which, and a text.
 */

#include <openssl/crypto.h>

#include "fuzz.h"
#include "oa_digest.h"
#include "oa_rule.h"
#include "oa_set.h"
#include "oa_text.h"


/* RFC 3629 section 4, as it is written there */

static int
utf8(const unsigned char *p, size_t n)
{
    size_t         more, i;
    unsigned char  low, high;

    while (n) {
        low = 0x80;
        high = 0xbf;

        if (p[0] < 0x80) {
            more = 0;
        } else if (p[0] >= 0xc2 && p[0] <= 0xdf) {
            more = 1;
        } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
            more = 2;
            low = (p[0] == 0xe0) ? 0xa0 : low;
            high = (p[0] == 0xed) ? 0x9f : high;
        } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
            more = 3;
            low = (p[0] == 0xf0) ? 0x90 : low;
            high = (p[0] == 0xf4) ? 0x8f : high;
        } else {
            return 0;
        }

        if (n < more + 1 || (more && (p[1] < low || p[1] > high))) {
            return 0;
        }

        for (i = 2; i <= more; i++) {
            if (p[i] < 0x80 || p[i] > 0xbf) {
                return 0;
            }
        }

        p += more + 1;
        n -= more + 1;
    }

    return 1;
}


static void
kinds(oa_str_t s)
{
    int     safe, id;
    size_t  i;

    safe = 1;
    id = s.len != 0;

    for (i = 0; i < s.len; i++) {
        safe &= s.data[i] >= 0x20 && s.data[i] != 0x7f;
        id &= s.data[i] != '\0'
              && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                        "0123456789._:@-", s.data[i])
                 != NULL;
    }

    must(!oa_text_is_header_safe(s) == !safe);
    must(!oa_text_is_id(s) == !id);
    must(!oa_text_is_utf8(s) == !utf8(s.data, s.len));
}


static void
numbers(oa_str_t s, int64_t max)
{
    size_t    i;
    int64_t   got, seconds;
    __int128  n;

    n = s.len ? 0 : -1;

    for (i = 0; i < s.len && n >= 0; i++) {
        if (s.data[i] < '0' || s.data[i] > '9') {
            n = -1;
        } else if (n <= INT64_MAX) {
            n = n * 10 + s.data[i] - '0';
        }
    }

    must((oa_text_number(s, max, &got) == OA_OK) == (n >= 0 && n <= max));
    must(n < 0 || n > max || got == (int64_t) n);

    if (oa_text_duration(s, &seconds) == OA_OK) {
        must(seconds >= 0);
    }
}


static void
hex(fuzz_t *in, oa_str_t s)
{
    size_t          n, i;
    unsigned char  *text, *bytes;

    n = s.len;
    text = fuzz_room(in, 2 * n);
    bytes = fuzz_room(in, n);

    oa_text_hex(s.data, n, text);
    must(oa_text_unhex((oa_str_t) { 2 * n, text }, bytes, n) == OA_OK);
    must(fuzz_same(s, (oa_str_t) { n, bytes }));

    if (oa_text_unhex(s, bytes, s.len / 2) == OA_OK) {
        must(s.len % 2 == 0);
        oa_text_hex(bytes, n / 2, text);

        for (i = 0; i < n; i++) {
            must((text[i] | 0x20) == (s.data[i] | 0x20));
        }
    }
}


static void
rules(fuzz_t *in, oa_str_t s)
{
    int             caseless;
    size_t          pos, i;
    uint32_t        methods;
    oa_str_t        value, bad, word;
    unsigned char  *room;

    if (oa_rule_param(s, &value) == OA_PARAM_UNKNOWN) {
        value = s;
    }

    must(fuzz_within(value, s));

    if (oa_rule_methods(value, &methods, &bad) == OA_OK) {
        must(methods != 0);
    } else {
        must(fuzz_within(bad, value));
    }

    room = fuzz_room(in, 2 * value.len);

    if (oa_rule_words(value, room, &word) == OA_OK) {
        must(word.len && word.len <= value.len);

        /* none was lost: as many letters as there were, but for doubles */
        for (pos = 0; oa_set_next(word, &pos, &bad); ) {
            for (i = 0; i + bad.len <= value.len
                        && memcmp(value.data + i, bad.data, bad.len); i++)
            { /* void */ }

            must(i + bad.len <= value.len);
        }
    }

    if (oa_rule_uri(value, &word, &caseless) == OA_OK) {
        must(fuzz_within(word, value) && value.data[0] == '~');
    }
}


static void
peppers(oa_str_t s)
{
    size_t       n, i, k;
    oa_rc_t      rc;
    oa_str_t     found[OA_PEPPERS_MAX];
    const char  *error;

    error = NULL;
    rc = oa_pepper_parse(s, found, &n, &error);

    must(rc == OA_OK || (rc == OA_INVALID && error));

    for (i = 0; rc == OA_OK && i < n; i++) {
        must(fuzz_within(found[i], s));
        must(found[i].len >= OA_PEPPER_MIN && found[i].len <= OA_PEPPER_MAX);

        for (k = 0; k < i; k++) {
            must(!fuzz_same(found[i], found[k]));
        }
    }

    must(rc != OA_OK || (n >= 1 && n <= OA_PEPPERS_MAX));
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_t    in;
    uint8_t   how;
    oa_str_t  s;

    static const int64_t  max[] = {
        INT64_MAX, INT64_MAX - 1, 0, 1, 9, 10, 65535, 1000000000000000000
    };

    fuzz_start(&in, data, size);

    how = fuzz_byte(&in);
    s = fuzz_rest(&in);

    kinds(s);
    numbers(s, max[how % 8]);
    hex(&in, s);
    rules(&in, s);
    peppers(s);

    fuzz_end(&in);
    return 0;
}
