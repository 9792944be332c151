/*
 * Digests: HMAC-SHA-256(pepper, whole Bearer string) for credentials, and the
 * cache key of an account id.
 *
 * A hasher is made once per process and reused: a one-shot HMAC() costs six
 * times as much (measured). Not for use by several threads.
 */

#ifndef OA_DIGEST_H
#define OA_DIGEST_H

#include <openssl/sha.h>

#include "oa_core.h"


typedef struct oa_hasher_s  oa_hasher_t;

/* SHA-256's state behind one block: the key, padded for either side */
typedef struct {
    SHA_LONG          inner[8];
    SHA_LONG          outer[8];
} oa_hasher_key_t;

struct oa_hasher_s {
    size_t            n;                    /* peppers, newest first */
    unsigned          ready:1;
    oa_hasher_key_t   keys[OA_PEPPERS_MAX];
    SHA256_CTX        work;
    unsigned char     block[128];           /* the end of what is hashed */
};


/*
 * The pepper file's text -> peppers, newest first, views into text. Lines are
 * trimmed of blanks and CR; empty lines and lines that start with # are passed
 * over. OA_INVALID and *error (static text) where a line is shorter than
 * OA_PEPPER_MIN or longer than OA_PEPPER_MAX, where there is none, or more
 * than OA_PEPPERS_MAX, or the same one twice.
 */
oa_rc_t oa_pepper_parse(oa_str_t text, oa_str_t peppers[OA_PEPPERS_MAX],
    size_t *n, const char **error);

/* peppers are not kept, only what they make of a state; OA_ERROR: libcrypto
   failed, nothing is left behind */
oa_rc_t oa_hasher_init(oa_hasher_t *h, const oa_str_t *peppers, size_t n);

/* wipes; safe on a zeroed or already cleaned hasher */
void oa_hasher_cleanup(oa_hasher_t *h);

/* digest of a credential under pepper i < h->n; OA_ERROR: libcrypto failed */
OA_HOT oa_rc_t oa_hasher_credential(oa_hasher_t *h, size_t i, oa_str_t credential,
    unsigned char out[OA_DIGEST_LEN]);

/*
 * The cache key of an account: 16 bytes of SHA-256 over "account:" and the id,
 * then 16 zero bytes (a credential's record carries the 16, see oa_record.h,
 * so that a hit needs no second hash). No secret: account ids are none.
 */
#define OA_ACCOUNT_KEY_LEN  16

OA_WARM oa_rc_t oa_hasher_account(oa_hasher_t *h, oa_str_t id,
    unsigned char out[OA_DIGEST_LEN]);


#endif /* OA_DIGEST_H */
