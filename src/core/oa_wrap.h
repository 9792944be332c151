/*
 * Secrets that must be readable again, for client_secret_jwt alone: AES-256-GCM
 * under a key derived from a pepper by HKDF-SHA-256 (RFC 5869), bound to the
 * client's id. Text: base64url of 12 bytes of nonce, ciphertext, 16 bytes of
 * tag.
 */

#ifndef OA_WRAP_H
#define OA_WRAP_H

#include "oa_core.h"


#define OA_WRAP_SECRET_MAX  256
#define OA_WRAP_MAX         ((12 + OA_WRAP_SECRET_MAX + 16) * 4 / 3 + 4)


/*
 * nonce: 12 random bytes, never used twice. OA_INVALID: no secret or one over
 * OA_WRAP_SECRET_MAX, no client_id or one over OA_ACCOUNT_MAX; OA_ERROR:
 * libcrypto failed, or a pepper of less than OA_PEPPER_MIN bytes.
 */
oa_rc_t oa_wrap(oa_str_t pepper, oa_str_t client_id, oa_str_t secret,
    const unsigned char nonce[12], unsigned char out[OA_WRAP_MAX],
    size_t *len);

/* OA_DECLINED: not wrapped under this pepper for this client; OA_INVALID: not
   such a text; OA_ERROR: as above. The caller wipes out, which holds nothing
   unless OA_OK */
oa_rc_t oa_unwrap(oa_str_t pepper, oa_str_t client_id, oa_str_t wrapped,
    unsigned char out[OA_WRAP_SECRET_MAX], size_t *len);


#endif /* OA_WRAP_H */
