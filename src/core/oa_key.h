/*
 * API keys as text: <prefix><43 base62 characters of 32 random bytes><6 base62
 * characters of the CRC-32 over all that precedes> (docs/records.md).
 * The CRC is no security: it turns typing errors and garbage away before any
 * hashing or any Redis.
 */

#ifndef OA_KEY_H
#define OA_KEY_H

#include "oa_core.h"


#define OA_KEY_RANDOM_LEN     32
#define OA_KEY_BODY_LEN       43
#define OA_KEY_CHECKSUM_LEN   6
#define OA_KEY_PREFIX_MAX     64
#define OA_KEY_PREFIXES_MAX   32
#define OA_KEY_MAX            (OA_KEY_PREFIX_MAX + OA_KEY_BODY_LEN             \
                               + OA_KEY_CHECKSUM_LEN)


typedef struct {
    oa_str_t          prefix;
    oa_environment_t  environment;      /* OA_ENV_LIVE or OA_ENV_TEST */
    unsigned          checksum:1;       /* keys end in a CRC-32 */
} oa_key_prefix_t;


/*
 * The longest prefix of the list that the credential starts with; NULL where
 * there is none: then the credential is an access token.
 */
OA_HOT const oa_key_prefix_t *oa_key_prefix_find(const oa_key_prefix_t *prefixes,
    size_t n, oa_str_t credential);

/*
 * OA_OK        the prefix asks for no checksum, or the checksum is right
 * OA_DECLINED  the checksum is wrong, or there is no room for one
 */
OA_HOT oa_rc_t oa_key_check(const oa_key_prefix_t *prefix, oa_str_t credential);

/*
 * Writes a new key of *len bytes into out[OA_KEY_MAX], no terminator. random
 * must come from a cryptographic generator. OA_INVALID: prefix too long.
 */
oa_rc_t oa_key_mint(const oa_key_prefix_t *prefix,
    const unsigned char random[OA_KEY_RANDOM_LEN],
    unsigned char out[OA_KEY_MAX], size_t *len);

/*
 * An access token: 43 base62 characters of 32 random bytes, under no prefix
 * and without checksum. out[OA_KEY_BODY_LEN].
 */
void oa_token_mint(const unsigned char random[OA_KEY_RANDOM_LEN],
    unsigned char out[OA_KEY_BODY_LEN]);

/*
 * A prefix may be 1 to OA_KEY_PREFIX_MAX of [A-Za-z0-9_-.]; it must be a valid
 * start of a token68. OA_INVALID otherwise.
 */
oa_rc_t oa_key_prefix_valid(oa_str_t prefix);

/*
 * One parameter of the key_prefix directive behind the prefix itself:
 * "environment=live", "environment=test", "checksum=crc32", "checksum=off".
 * OA_INVALID and *error (static text) for anything else.
 */
oa_rc_t oa_key_prefix_param(oa_key_prefix_t *prefix, oa_str_t param,
    const char **error);


#endif /* OA_KEY_H */
