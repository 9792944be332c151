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

#include "oa_key.h"
#include "oa_text.h"


/*
 * The tables of slicing by four, 4 KB, laid down by the compiler.  A CRC table
 * is linear: the entry of a byte is the exclusive or of the entries of its
 * bits, so that eight constants say what 256 would.
 */

#define OA_KEY_BIT(i, bit, entry)  (((i) >> (bit) & 1) ? entry##u : 0u)

#define OA_KEY_SLICE_0(i)                                                   \
    (OA_KEY_BIT(i, 0, 0x77073096) ^ OA_KEY_BIT(i, 1, 0xee0e612c)            \
     ^ OA_KEY_BIT(i, 2, 0x076dc419) ^ OA_KEY_BIT(i, 3, 0x0edb8832)          \
     ^ OA_KEY_BIT(i, 4, 0x1db71064) ^ OA_KEY_BIT(i, 5, 0x3b6e20c8)          \
     ^ OA_KEY_BIT(i, 6, 0x76dc4190) ^ OA_KEY_BIT(i, 7, 0xedb88320))

#define OA_KEY_SLICE_1(i)                                                   \
    (OA_KEY_BIT(i, 0, 0x191b3141) ^ OA_KEY_BIT(i, 1, 0x32366282)            \
     ^ OA_KEY_BIT(i, 2, 0x646cc504) ^ OA_KEY_BIT(i, 3, 0xc8d98a08)          \
     ^ OA_KEY_BIT(i, 4, 0x4ac21251) ^ OA_KEY_BIT(i, 5, 0x958424a2)          \
     ^ OA_KEY_BIT(i, 6, 0xf0794f05) ^ OA_KEY_BIT(i, 7, 0x3b83984b))

#define OA_KEY_SLICE_2(i)                                                   \
    (OA_KEY_BIT(i, 0, 0x01c26a37) ^ OA_KEY_BIT(i, 1, 0x0384d46e)            \
     ^ OA_KEY_BIT(i, 2, 0x0709a8dc) ^ OA_KEY_BIT(i, 3, 0x0e1351b8)          \
     ^ OA_KEY_BIT(i, 4, 0x1c26a370) ^ OA_KEY_BIT(i, 5, 0x384d46e0)          \
     ^ OA_KEY_BIT(i, 6, 0x709a8dc0) ^ OA_KEY_BIT(i, 7, 0xe1351b80))

#define OA_KEY_SLICE_3(i)                                                   \
    (OA_KEY_BIT(i, 0, 0xb8bc6765) ^ OA_KEY_BIT(i, 1, 0xaa09c88b)            \
     ^ OA_KEY_BIT(i, 2, 0x8f629757) ^ OA_KEY_BIT(i, 3, 0xc5b428ef)          \
     ^ OA_KEY_BIT(i, 4, 0x5019579f) ^ OA_KEY_BIT(i, 5, 0xa032af3e)          \
     ^ OA_KEY_BIT(i, 6, 0x9b14583d) ^ OA_KEY_BIT(i, 7, 0xed59b63b))

#define OA_KEY_4(f, i)    f((i)), f((i) + 1), f((i) + 2), f((i) + 3)
#define OA_KEY_16(f, i)   OA_KEY_4(f, (i)), OA_KEY_4(f, (i) + 4),             \
                          OA_KEY_4(f, (i) + 8), OA_KEY_4(f, (i) + 12)
#define OA_KEY_64(f, i)   OA_KEY_16(f, (i)), OA_KEY_16(f, (i) + 16),          \
                          OA_KEY_16(f, (i) + 32), OA_KEY_16(f, (i) + 48)
#define OA_KEY_256(f)     OA_KEY_64(f, 0), OA_KEY_64(f, 64),                  \
                          OA_KEY_64(f, 128), OA_KEY_64(f, 192)


static uint32_t oa_key_crc32(const unsigned char *p, size_t len);
static void oa_key_checksum(const unsigned char *p, size_t len,
    unsigned char out[OA_KEY_CHECKSUM_LEN]);


static const uint32_t  oa_key_slices[4][256] = {
    { OA_KEY_256(OA_KEY_SLICE_0) },
    { OA_KEY_256(OA_KEY_SLICE_1) },
    { OA_KEY_256(OA_KEY_SLICE_2) },
    { OA_KEY_256(OA_KEY_SLICE_3) }
};


static const unsigned char  oa_key_alphabet[] =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";


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
    size_t         len;
    unsigned char  checksum[OA_KEY_CHECKSUM_LEN];

    if (!prefix->checksum) {
        return OA_OK;
    }

    if (credential.len < prefix->prefix.len + OA_KEY_CHECKSUM_LEN) {
        return OA_DECLINED;
    }

    len = credential.len - OA_KEY_CHECKSUM_LEN;

    oa_key_checksum(credential.data, len, checksum);

    if (memcmp(credential.data + len, checksum, OA_KEY_CHECKSUM_LEN) != 0) {
        return OA_DECLINED;
    }

    return OA_OK;
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

    crc = oa_key_crc32(p, len);

    for (i = OA_KEY_CHECKSUM_LEN; i > 0; i--) {
        out[i - 1] = oa_key_alphabet[crc % 62];
        crc /= 62;
    }
}


static uint32_t
oa_key_crc32(const unsigned char *p, size_t len)
{
    uint32_t  crc;

    crc = 0xffffffff;

    for ( /* void */ ; len >= 4; len -= 4, p += 4) {
        crc ^= (uint32_t) p[0] | (uint32_t) p[1] << 8
               | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;

        crc = oa_key_slices[3][crc & 0xff]
              ^ oa_key_slices[2][crc >> 8 & 0xff]
              ^ oa_key_slices[1][crc >> 16 & 0xff]
              ^ oa_key_slices[0][crc >> 24];
    }

    for ( /* void */ ; len != 0; len--, p++) {
        crc = oa_key_slices[0][(crc ^ *p) & 0xff] ^ crc >> 8;
    }

    return ~crc;
}
