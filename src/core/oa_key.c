/*
 * API keys as text: recognised, checked, minted.
 *
 * Contract: the alphabet is 0-9A-Za-z; the body is the 256-bit big-endian
 * number in 43 digits, the checksum the CRC-32 (IEEE 802.3, as zlib has it)
 * over all that precedes in 6 digits, both filled up with '0' at the left.
 * The first two functions run for every request, ahead of any hashing: they
 * turn garbage away, so they must cost little.  Minting is for the command
 * line; what it held of the random bytes it wipes.
 */

#include <string.h>

#include <openssl/crypto.h>

#include "oa_crc32.h"
#include "oa_key.h"
#include "oa_text.h"


static void oa_key_checksum(const unsigned char *p, size_t len,
    unsigned char out[OA_KEY_CHECKSUM_LEN]);
OA_HOT static inline int oa_key_number(const unsigned char digits[OA_KEY_CHECKSUM_LEN],
    uint64_t *n);


static const unsigned char  oa_key_alphabet[] =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

#define OA_KEY_NO_DIGIT  0x80

/* and back */
static const unsigned char  oa_key_digits[256] = {
#define __  OA_KEY_NO_DIGIT
    __, __, __, __, __, __, __, __, __, __, __, __, __, __, __, __,
    __, __, __, __, __, __, __, __, __, __, __, __, __, __, __, __,
    __, __, __, __, __, __, __, __, __, __, __, __, __, __, __, __,
     0,  1,  2,  3,  4,  5,  6,  7,  8,  9, __, __, __, __, __, __,
    __, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24,
    25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, __, __, __, __, __,
    __, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50,
    51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, __, __, __, __, __,
    __, __, __, __, __, __, __, __, __, __, __, __, __, __, __, __,
    __, __, __, __, __, __, __, __, __, __, __, __, __, __, __, __,
    __, __, __, __, __, __, __, __, __, __, __, __, __, __, __, __,
    __, __, __, __, __, __, __, __, __, __, __, __, __, __, __, __,
    __, __, __, __, __, __, __, __, __, __, __, __, __, __, __, __,
    __, __, __, __, __, __, __, __, __, __, __, __, __, __, __, __,
    __, __, __, __, __, __, __, __, __, __, __, __, __, __, __, __,
    __, __, __, __, __, __, __, __, __, __, __, __, __, __, __, __
#undef __
};


const oa_key_prefix_t *
oa_key_prefix_find(const oa_key_prefix_t *prefixes, size_t n,
    oa_str_t credential)
{
    size_t                  i;
    const oa_key_prefix_t  *prefix, *found;

    found = NULL;

    for (i = 0; i < n; i++) {
        prefix = &prefixes[i];

        if (prefix->prefix.len == 0
            || prefix->prefix.len > credential.len
            || (found != NULL && prefix->prefix.len <= found->prefix.len))
        {
            continue;
        }

        if (memcmp(prefix->prefix.data, credential.data, prefix->prefix.len)
            == 0)
        {
            found = prefix;
        }
    }

    return found;
}


oa_rc_t
oa_key_check(const oa_key_prefix_t *prefix, oa_str_t credential)
{
    size_t    len;
    uint64_t  n;

    if (!prefix->checksum) {
        return OA_OK;
    }

    if (credential.len < prefix->prefix.len + OA_KEY_CHECKSUM_LEN) {
        return OA_DECLINED;
    }

    len = credential.len - OA_KEY_CHECKSUM_LEN;

    /* digits read are half the work of digits written and compared */

    return (oa_key_number(credential.data + len, &n)
            && n == oa_crc32(credential.data, len))
           ? OA_OK : OA_DECLINED;
}


oa_rc_t
oa_key_mint(const oa_key_prefix_t *prefix,
    const unsigned char random[OA_KEY_RANDOM_LEN],
    unsigned char out[OA_KEY_MAX], size_t *len)
{
    size_t  n;

    n = prefix->prefix.len;

    if (n > OA_KEY_PREFIX_MAX) {
        return OA_INVALID;
    }

    if (n != 0) {
        memcpy(out, prefix->prefix.data, n);
    }

    oa_token_mint(random, out + n);
    n += OA_KEY_BODY_LEN;

    if (prefix->checksum) {
        oa_key_checksum(out, n, out + n);
        n += OA_KEY_CHECKSUM_LEN;
    }

    *len = n;

    return OA_OK;
}


void
oa_token_mint(const unsigned char random[OA_KEY_RANDOM_LEN],
    unsigned char out[OA_KEY_BODY_LEN])
{
    size_t         i, k;
    unsigned       digit, value;
    unsigned char  number[OA_KEY_RANDOM_LEN];

    memcpy(number, random, OA_KEY_RANDOM_LEN);

    /* long division by 62, a digit from the right each time */

    for (i = OA_KEY_BODY_LEN; i > 0; i--) {

        digit = 0;

        for (k = 0; k < OA_KEY_RANDOM_LEN; k++) {
            value = digit << 8 | number[k];
            number[k] = (unsigned char) (value / 62);
            digit = value % 62;
        }

        out[i - 1] = oa_key_alphabet[digit];
    }

    OPENSSL_cleanse(number, sizeof(number));
}


oa_rc_t
oa_key_prefix_valid(oa_str_t prefix)
{
    size_t         i;
    unsigned char  c;

    if (prefix.len == 0 || prefix.len > OA_KEY_PREFIX_MAX) {
        return OA_INVALID;
    }

    for (i = 0; i < prefix.len; i++) {
        c = prefix.data[i];

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
            || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.')
        {
            continue;
        }

        return OA_INVALID;
    }

    return OA_OK;
}


oa_rc_t
oa_key_prefix_param(oa_key_prefix_t *prefix, oa_str_t param,
    const char **error)
{
    if (oa_text_eq(param, "environment=live")) {
        prefix->environment = OA_ENV_LIVE;
        return OA_OK;
    }

    if (oa_text_eq(param, "environment=test")) {
        prefix->environment = OA_ENV_TEST;
        return OA_OK;
    }

    if (oa_text_eq(param, "checksum=crc32")) {
        prefix->checksum = 1;
        return OA_OK;
    }

    if (oa_text_eq(param, "checksum=off")) {
        prefix->checksum = 0;
        return OA_OK;
    }

    *error = "expected environment=live, environment=test, checksum=crc32 "
             "or checksum=off";

    return OA_INVALID;
}


static void
oa_key_checksum(const unsigned char *p, size_t len,
    unsigned char out[OA_KEY_CHECKSUM_LEN])
{
    size_t    i;
    uint32_t  crc;

    crc = oa_crc32(p, len);

    for (i = OA_KEY_CHECKSUM_LEN; i > 0; i--) {
        out[i - 1] = oa_key_alphabet[crc % 62];
        crc /= 62;
    }
}


/* without a branch for each digit: no two keys have the same ones */

static inline unsigned
oa_key_three(const unsigned char *p, unsigned *any)
{
    unsigned  a, b, c;

    a = oa_key_digits[p[0]];
    b = oa_key_digits[p[1]];
    c = oa_key_digits[p[2]];

    *any |= a | b | c;

    return (a * 62 + b) * 62 + c;
}


/* 0: there is something else than digits */

static inline int
oa_key_number(const unsigned char digits[OA_KEY_CHECKSUM_LEN], uint64_t *n)
{
    unsigned  any;

    any = 0;

    *n = (uint64_t) oa_key_three(digits, &any) * (62 * 62 * 62);
    *n += oa_key_three(digits + 3, &any);

    return (any & OA_KEY_NO_DIGIT) == 0;
}
