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

    crc = oa_crc32(p, len);

    for (i = OA_KEY_CHECKSUM_LEN; i > 0; i--) {
        out[i - 1] = oa_key_alphabet[crc % 62];
        crc /= 62;
    }
}
