/*
 * Small readers and writers of text.
 *
 * Contract: strict, so that what is accepted has one meaning only: no blanks
 * around, no signs, no rest behind, and nothing that overflows.  Used by the
 * record packer, by the command line and by the configuration.
 */

#include <string.h>

#include "oa_text.h"


typedef struct {
    unsigned char  unit;
    int64_t        seconds;
} oa_text_unit_t;


static int oa_text_hex_value(unsigned char c);


/* the two digits of each byte */
static const char  oa_text_pairs[] =
    "000102030405060708090a0b0c0d0e0f"
    "101112131415161718191a1b1c1d1e1f"
    "202122232425262728292a2b2c2d2e2f"
    "303132333435363738393a3b3c3d3e3f"
    "404142434445464748494a4b4c4d4e4f"
    "505152535455565758595a5b5c5d5e5f"
    "606162636465666768696a6b6c6d6e6f"
    "707172737475767778797a7b7c7d7e7f"
    "808182838485868788898a8b8c8d8e8f"
    "909192939495969798999a9b9c9d9e9f"
    "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"
    "b0b1b2b3b4b5b6b7b8b9babbbcbdbebf"
    "c0c1c2c3c4c5c6c7c8c9cacbcccdcecf"
    "d0d1d2d3d4d5d6d7d8d9dadbdcdddedf"
    "e0e1e2e3e4e5e6e7e8e9eaebecedeeef"
    "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";


/* letters, digits and . _ : @ -, as bits of the ASCII codes */
static const uint64_t  oa_text_ids[2] = {
    0x07ff600000000000, 0x07fffffe87ffffff
};


/* in the order in which they may be combined */
static const oa_text_unit_t  oa_text_units[] = {
    { 'y', 365 * 86400 },
    { 'w',   7 * 86400 },
    { 'd',       86400 },
    { 'h',        3600 },
    { 'm',          60 },
    { 's',           1 }
};

#define OA_TEXT_UNITS  (sizeof(oa_text_units) / sizeof(oa_text_units[0]))


oa_rc_t
oa_text_number(oa_str_t s, int64_t max, int64_t *out)
{
    size_t   i;
    int64_t  n, digit;

    if (s.len == 0 || max < 0) {
        return OA_INVALID;
    }

    n = 0;

    for (i = 0; i < s.len; i++) {

        if (s.data[i] < '0' || s.data[i] > '9') {
            return OA_INVALID;
        }

        digit = s.data[i] - '0';

        /* n * 10 + digit <= max, written so that nothing overflows */

        if (n > max / 10 || (n == max / 10 && digit > max % 10)) {
            return OA_INVALID;
        }

        n = n * 10 + digit;
    }

    *out = n;

    return OA_OK;
}


void
oa_text_hex(const unsigned char *data, size_t n, unsigned char *out)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        memcpy(out + 2 * i, oa_text_pairs + 2 * data[i], 2);
    }
}


oa_rc_t
oa_text_unhex(oa_str_t s, unsigned char *out, size_t n)
{
    int     high, low;
    size_t  i;

    if (s.len / 2 != n || s.len % 2 != 0) {
        return OA_INVALID;
    }

    for (i = 0; i < n; i++) {
        high = oa_text_hex_value(s.data[2 * i]);
        low = oa_text_hex_value(s.data[2 * i + 1]);

        if (high < 0 || low < 0) {
            return OA_INVALID;
        }

        out[i] = (unsigned char) (high << 4 | low);
    }

    return OA_OK;
}


static int
oa_text_hex_value(unsigned char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    c |= 0x20;

    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }

    return -1;
}


oa_rc_t
oa_text_duration(oa_str_t s, int64_t *seconds)
{
    size_t    i, start, unit;
    int64_t   n, total;
    oa_str_t  digits;

    if (oa_text_number(s, INT64_MAX, &n) == OA_OK) {
        *seconds = n;
        return OA_OK;
    }

    if (s.len == 0) {
        return OA_INVALID;
    }

    total = 0;
    unit = 0;
    i = 0;

    while (i < s.len) {

        start = i;

        while (i < s.len && s.data[i] >= '0' && s.data[i] <= '9') {
            i++;
        }

        if (i == s.len) {
            return OA_INVALID;
        }

        /* each unit once, and only smaller ones behind it */

        while (unit < OA_TEXT_UNITS && oa_text_units[unit].unit != s.data[i]) {
            unit++;
        }

        if (unit == OA_TEXT_UNITS) {
            return OA_INVALID;
        }

        digits.len = i - start;
        digits.data = s.data + start;

        if (oa_text_number(digits,
                           (INT64_MAX - total) / oa_text_units[unit].seconds,
                           &n)
            != OA_OK)
        {
            return OA_INVALID;
        }

        total += n * oa_text_units[unit].seconds;

        unit++;
        i++;
    }

    *seconds = total;

    return OA_OK;
}


int
oa_text_is_header_safe(oa_str_t s)
{
    size_t  i;

    for (i = 0; i < s.len; i++) {
        if (s.data[i] < 0x20 || s.data[i] == 0x7f) {
            return 0;
        }
    }

    return 1;
}


int
oa_text_is_utf8(oa_str_t s)
{
    size_t         i, more;
    unsigned char  c, low, high;

    i = 0;

    while (i < s.len) {

        c = s.data[i++];

        if (c < 0x80) {
            continue;
        }

        if (c < 0xc2 || c > 0xf4) {
            return 0;
        }

        /* the second byte's bounds: RFC 3629 section 4 */

        more = (c < 0xe0) ? 1 : (c < 0xf0) ? 2 : 3;
        low = (c == 0xe0) ? 0xa0 : (c == 0xf0) ? 0x90 : 0x80;
        high = (c == 0xed) ? 0x9f : (c == 0xf4) ? 0x8f : 0xbf;

        while (more-- != 0) {

            if (i == s.len || s.data[i] < low || s.data[i] > high) {
                return 0;
            }

            i++;
            low = 0x80;
            high = 0xbf;
        }
    }

    return 1;
}


int
oa_text_is_id(oa_str_t s)
{
    size_t         i;
    unsigned char  c;

    for (i = 0; i < s.len; i++) {
        c = s.data[i];

        if (c > 127 || !(oa_text_ids[c >> 6] >> (c & 63) & 1)) {
            return 0;
        }
    }

    return s.len != 0;
}
