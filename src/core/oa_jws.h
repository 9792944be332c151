/*
 * Signatures of signed logins (RFC 7515, 7518, 8037): HS256, RS256, ES256,
 * EdDSA (Ed25519), by libcrypto. The JSON around them is read elsewhere.
 *
 * libcrypto allocates for public keys; nothing of that outlives a call.
 */

#ifndef OA_JWS_H
#define OA_JWS_H

#include "oa_core.h"


#define OA_JWS_MAX            8192      /* a whole compact JWS */
#define OA_JWS_SIGNATURE_MAX  1024      /* RSA up to 8192 bits */


typedef enum {
    OA_JWS_NONE = 0,                    /* unknown; never accepted */
    OA_JWS_HS256,
    OA_JWS_RS256,
    OA_JWS_ES256,
    OA_JWS_EDDSA
} oa_jws_alg_t;


/* a public key, members of a JWK as base64url text; unused ones are null */
typedef struct {
    oa_str_t  kty;                      /* RSA, EC, OKP */
    oa_str_t  crv;                      /* P-256, Ed25519 */
    oa_str_t  n;
    oa_str_t  e;
    oa_str_t  x;
    oa_str_t  y;
} oa_jwk_t;


/* the three parts of a compact serialization, still encoded */
typedef struct {
    oa_str_t  header;
    oa_str_t  payload;
    oa_str_t  signature;
    oa_str_t  input;                    /* header "." payload: what is signed */
} oa_jws_t;


/* views into text. OA_INVALID: not three parts of base64url, or an empty one,
   or over OA_JWS_MAX */
oa_rc_t oa_jws_split(oa_str_t text, oa_jws_t *jws);

/* "Ed25519", RFC 9864's name, is EdDSA here: there is no other curve */
oa_jws_alg_t oa_jws_alg(oa_str_t name);
const char *oa_jws_alg_name(oa_jws_alg_t alg);

/* which algorithm a public key verifies with: it is the key that decides, never
   the token's header alone; NONE: none of ours */
oa_jws_alg_t oa_jwk_alg(const oa_jwk_t *jwk);

/*
 * A usable public key: right curve and lengths; RSA of 2048 to 8192 bits, with
 * an odd exponent from 3 up to 64 bits; Ed25519 not of small order. OA_INVALID
 * and *error, static text.
 */
oa_rc_t oa_jwk_check(const oa_jwk_t *jwk, const char **error);

/*
 * OA_OK: signed by this key; OA_DECLINED: not, or alg is not the key's, or the
 * key is none that oa_jwk_check() takes; OA_ERROR: libcrypto failed. What the
 * header says beside alg (crit, RFC 7515 section 4.1.11) is the caller's to
 * refuse.
 */
oa_rc_t oa_jws_verify_public(const oa_jws_t *jws, oa_jws_alg_t alg,
    const oa_jwk_t *jwk);

/* HS256; compared in constant time. A secret of less than 32 bytes verifies
   nothing (RFC 7518 section 3.2) */
oa_rc_t oa_jws_verify_secret(const oa_jws_t *jws, oa_str_t secret);


#endif /* OA_JWS_H */
