/*
 * Small readers and writers of text.
 *
 * Contract: strict, so that what is accepted has one meaning only: no blanks
 * around, no signs, no rest behind, and nothing that overflows.  Used by the
 * record packer, by the command line and by the configuration.
 */

#include <string.h>

#include "oa_bytes.h"
#include "oa_text.h"


typedef struct {
    unsigned char  unit;
    int64_t        seconds;
} oa_text_unit_t;

/* eight bytes, and the same widened */
typedef uint8_t   oa_text_octets_t __attribute__((vector_size(8)));
typedef uint16_t  oa_text_pairs_t __attribute__((vector_size(16)));


static inline oa_bytes_t oa_text_id_bytes(oa_bytes_t v);
static inline int oa_text_is_id_byte(unsigned char c);
static int oa_text_hex_value(unsigned char c);


static const char  oa_text_digits[] = "0123456789abcdef";


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

/* as many digits make no number that int64_t can't hold */
#define OA_TEXT_DIGITS_SAFE  18

#define OA_TEXT_UNITS  (sizeof(oa_text_units) / sizeof(oa_text_units[0]))


oa_rc_t
oa_text_number(oa_str_t s, int64_t max, int64_t *out)
{
    size_t         i;
    int64_t        n;
    unsigned char  digit;

    if (s.len == 0 || max < 0) {
        return OA_INVALID;
    }

    n = 0;

    for (i = 0; i < s.len; i++) {

        digit = (unsigned char) (s.data[i] - '0');

        if (digit > 9) {
            return OA_INVALID;
        }

        /* n * 10 + digit <= INT64_MAX, written so that nothing overflows */

        if (i >= OA_TEXT_DIGITS_SAFE
            && (n > INT64_MAX / 10
                || (n == INT64_MAX / 10 && digit > INT64_MAX % 10)))
        {
            return OA_INVALID;
        }

        n = n * 10 + digit;
    }

    if (n > max) {
        return OA_INVALID;
    }

    *out = n;

    return OA_OK;
}


/*
 * A byte's two digits stand in two bytes of their own, the high one first in
 * memory: each byte is widened, its halves are put in place, and all of them
 * become digits at once.
 */

void
oa_text_hex(const unsigned char *data, size_t n, unsigned char *out)
{
    size_t            i;
    oa_bytes_t        digits;
    oa_text_octets_t  octets;
    oa_text_pairs_t   pairs;

    for ( /* void */ ; n >= sizeof(octets); n -= sizeof(octets)) {
        memcpy(&octets, data, sizeof(octets));

        pairs = __builtin_convertvector(octets, oa_text_pairs_t);

#if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
        pairs = pairs >> 4 | pairs << 8;
#else
        pairs = pairs << 4 | pairs;
#endif

        digits = (oa_bytes_t) (pairs & 0x0f0f);
        digits += '0' + ((oa_bytes_t) (digits > 9) & ('a' - '9' - 1));

        memcpy(out, &digits, sizeof(digits));

        data += sizeof(octets);
        out += sizeof(digits);
    }

    for (i = 0; i < n; i++) {
        out[2 * i] = (unsigned char) oa_text_digits[data[i] >> 4];
        out[2 * i + 1] = (unsigned char) oa_text_digits[data[i] & 15];
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
    size_t      i;
    oa_bytes_t  ok;

    if (s.len >= sizeof(oa_bytes_t)) {

        /* the last ones overlap with those before them */

        ok = oa_text_id_bytes(oa_bytes_load(s.data + s.len
                                            - sizeof(oa_bytes_t)));

        for (i = 0; i + sizeof(oa_bytes_t) < s.len; i += sizeof(oa_bytes_t)) {
            ok &= oa_text_id_bytes(oa_bytes_load(s.data + i));
        }

        return oa_bytes_all(ok);
    }

    if (s.len >= sizeof(oa_bytes_t) / 2) {
        return oa_bytes_all(oa_text_id_bytes(oa_bytes_load_short(s.data,
                                                                 s.len)));
    }

    for (i = 0; i < s.len; i++) {
        if (!oa_text_is_id_byte(s.data[i])) {
            return 0;
        }
    }

    return s.len != 0;
}


/* '-' and '.', digits and ':', '@' and capitals, '_', letters */

static inline oa_bytes_t
oa_text_id_bytes(oa_bytes_t v)
{
    return oa_bytes_in(v, '-', '.') | oa_bytes_in(v, '0', ':')
           | oa_bytes_in(v, '@', 'Z') | (oa_bytes_t) (v == '_')
           | oa_bytes_in(v, 'a', 'z');
}


static inline int
oa_text_is_id_byte(unsigned char c)
{
    return c < 128 && (oa_text_ids[c >> 6] >> (c & 63) & 1);
}
