/*
 * Signatures of signed logins: see oa_jws.h.
 *
 * Contract: the key decides which algorithm it verifies with, so that a header
 * can't turn a public key into an HMAC secret or a signature into none.  A key
 * is looked at each time it is used: the record may be written by others than
 * the opsauth command.  Invariants: a signature has one encoding and the
 * length of its kind; the error queue of libcrypto is as it was before,
 * since nginx reports what it finds there; what libcrypto allocates is freed
 * before a call returns.
 */

#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/params.h>

#include "oa_base64.h"
#include "oa_jws.h"
#include "oa_text.h"


#define OA_JWS_SECRET_MIN   32          /* RFC 7518 section 3.2 */
#define OA_JWS_SECRET_MAX   1024
#define OA_JWS_COORDINATE   32          /* bytes; P-256 and Ed25519 */
#define OA_JWS_PAIR         64          /* signature: r and s, R and S */
#define OA_JWS_DER_MAX      72          /* of such an ECDSA signature */
#define OA_JWS_RSA_MIN      256         /* bytes of the modulus */
#define OA_JWS_RSA_MAX      1024
#define OA_JWS_EXPONENT     8           /* bytes at most */


/* RSA or EC or Ed25519: the members of a JWK as bytes */
typedef struct {
    oa_jws_alg_t   alg;
    size_t         n_len;
    size_t         e_len;
    unsigned char  n[OA_JWS_RSA_MAX];
    unsigned char  e[OA_JWS_EXPONENT];
    unsigned char  x[OA_JWS_COORDINATE];
    unsigned char  y[OA_JWS_COORDINATE];
} oa_jws_key_t;


static oa_rc_t oa_jws_key_read(const oa_jwk_t *jwk, oa_jws_key_t *key,
    const char **error);
static oa_rc_t oa_jws_key_rsa(const oa_jwk_t *jwk, oa_jws_key_t *key,
    const char **error);
static oa_rc_t oa_jws_coordinate(oa_str_t text, unsigned char *out);
static int oa_jws_is_small_order(const unsigned char x[OA_JWS_COORDINATE]);

static EVP_PKEY *oa_jws_key_load(const oa_jws_key_t *key);
static EVP_PKEY *oa_jws_key_load_rsa(const oa_jws_key_t *key);
static EVP_PKEY *oa_jws_key_load_ec(const oa_jws_key_t *key);
static EVP_PKEY *oa_jws_key_from(const char *type, OSSL_PARAM *params);
static int oa_jws_native(const unsigned char *data, size_t len,
    unsigned char *out);

static size_t oa_jws_signature(const oa_jws_t *jws, const oa_jws_key_t *key,
    unsigned char *out);
static size_t oa_jws_der(const unsigned char pair[OA_JWS_PAIR],
    unsigned char out[OA_JWS_DER_MAX]);
static unsigned char *oa_jws_der_integer(const unsigned char *value,
    unsigned char *p);
static oa_rc_t oa_jws_verify(EVP_PKEY *pkey, const EVP_MD *md,
    oa_str_t input, const unsigned char *signature, size_t len);


static const char *const  oa_jws_names[] = {
    [OA_JWS_NONE] = "",
    [OA_JWS_HS256] = "HS256",
    [OA_JWS_RS256] = "RS256",
    [OA_JWS_ES256] = "ES256",
    [OA_JWS_EDDSA] = "EdDSA"
};

#define OA_JWS_NAMES  (sizeof(oa_jws_names) / sizeof(oa_jws_names[0]))


/*
 * The y coordinates of Ed25519's points of order 1, 2, 4 and 8, also in the
 * encodings beyond the field's prime: anybody can sign for such a key.
 */

static const unsigned char  oa_jws_small_orders[][OA_JWS_COORDINATE] = {
    { 0x00 },
    { 0x01 },
    { 0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0,
      0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
      0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39,
      0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05 },
    { 0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f,
      0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
      0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6,
      0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a },
    { 0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f },
    { 0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f },
    { 0xee, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f }
};

#define OA_JWS_SMALL_ORDERS                                                   \
    (sizeof(oa_jws_small_orders) / sizeof(oa_jws_small_orders[0]))


oa_rc_t
oa_jws_split(oa_str_t text, oa_jws_t *jws)
{
    oa_str_t              rest;
    const unsigned char  *dot;

    memset(jws, 0, sizeof(*jws));

    if (text.len == 0 || text.len > OA_JWS_MAX) {
        return OA_INVALID;
    }

    dot = memchr(text.data, '.', text.len);
    if (dot == NULL) {
        return OA_INVALID;
    }

    jws->header.data = text.data;
    jws->header.len = (size_t) (dot - text.data);

    rest.data = dot + 1;
    rest.len = text.len - jws->header.len - 1;

    dot = rest.len ? memchr(rest.data, '.', rest.len) : NULL;
    if (dot == NULL) {
        return OA_INVALID;
    }

    jws->payload.data = rest.data;
    jws->payload.len = (size_t) (dot - rest.data);

    /* a further dot is no base64url */

    jws->signature.data = dot + 1;
    jws->signature.len = rest.len - jws->payload.len - 1;

    jws->input.data = text.data;
    jws->input.len = (size_t) (dot - text.data);

    if (jws->header.len == 0 || !oa_base64url_valid(jws->header)
        || jws->payload.len == 0 || !oa_base64url_valid(jws->payload)
        || jws->signature.len == 0 || !oa_base64url_valid(jws->signature))
    {
        return OA_INVALID;
    }

    return OA_OK;
}


oa_jws_alg_t
oa_jws_alg(oa_str_t name)
{
    size_t  i;

    for (i = OA_JWS_NONE + 1; i < OA_JWS_NAMES; i++) {
        if (oa_text_eq(name, oa_jws_names[i])) {
            return (oa_jws_alg_t) i;
        }
    }

    return oa_text_eq(name, "Ed25519") ? OA_JWS_EDDSA : OA_JWS_NONE;
}


const char *
oa_jws_alg_name(oa_jws_alg_t alg)
{
    return (size_t) alg < OA_JWS_NAMES ? oa_jws_names[alg] : "";
}


oa_jws_alg_t
oa_jwk_alg(const oa_jwk_t *jwk)
{
    if (oa_text_eq(jwk->kty, "RSA")) {
        return OA_JWS_RS256;
    }

    if (oa_text_eq(jwk->kty, "EC") && oa_text_eq(jwk->crv, "P-256")) {
        return OA_JWS_ES256;
    }

    if (oa_text_eq(jwk->kty, "OKP") && oa_text_eq(jwk->crv, "Ed25519")) {
        return OA_JWS_EDDSA;
    }

    return OA_JWS_NONE;
}


oa_rc_t
oa_jwk_check(const oa_jwk_t *jwk, const char **error)
{
    EVP_PKEY      *pkey;
    oa_jws_key_t   key;

    if (oa_jws_key_read(jwk, &key, error) != OA_OK) {
        return OA_INVALID;
    }

    ERR_set_mark();
    pkey = oa_jws_key_load(&key);
    ERR_pop_to_mark();

    if (pkey == NULL) {
        *error = "the key is not one of its kind";
        return OA_INVALID;
    }

    EVP_PKEY_free(pkey);

    return OA_OK;
}


oa_rc_t
oa_jws_verify_public(const oa_jws_t *jws, oa_jws_alg_t alg,
    const oa_jwk_t *jwk)
{
    size_t          len;
    oa_rc_t         rc;
    EVP_PKEY       *pkey;
    const char     *error;
    oa_jws_key_t    key;
    unsigned char   signature[OA_JWS_SIGNATURE_MAX];

    if (oa_jws_key_read(jwk, &key, &error) != OA_OK || key.alg != alg) {
        return OA_DECLINED;
    }

    len = oa_jws_signature(jws, &key, signature);
    if (len == 0) {
        return OA_DECLINED;
    }

    ERR_set_mark();

    pkey = oa_jws_key_load(&key);

    if (pkey != NULL) {
        rc = oa_jws_verify(pkey, (alg == OA_JWS_EDDSA) ? NULL : EVP_sha256(),
                           jws->input, signature, len);

    } else {
        /* a point may be off its curve; of the others all was looked at */

        rc = (alg == OA_JWS_ES256) ? OA_DECLINED : OA_ERROR;
    }

    EVP_PKEY_free(pkey);
    ERR_pop_to_mark();

    return rc;
}


oa_rc_t
oa_jws_verify_secret(const oa_jws_t *jws, oa_str_t secret)
{
    size_t          len;
    oa_rc_t         rc;
    unsigned        n;
    unsigned char  *made, signature[OA_DIGEST_LEN], mac[EVP_MAX_MD_SIZE];

    /* without a secret anybody could sign */

    if (secret.len < OA_JWS_SECRET_MIN || secret.len > OA_JWS_SECRET_MAX) {
        return OA_DECLINED;
    }

    if (oa_base64url_decode(jws->signature, signature, sizeof(signature), &len)
        != OA_OK
        || len != OA_DIGEST_LEN)
    {
        return OA_DECLINED;
    }

    ERR_set_mark();
    made = HMAC(EVP_sha256(), secret.data, (int) secret.len, jws->input.data,
                jws->input.len, mac, &n);
    ERR_pop_to_mark();

    if (made == NULL || n != OA_DIGEST_LEN) {
        return OA_ERROR;
    }

    rc = CRYPTO_memcmp(mac, signature, OA_DIGEST_LEN) ? OA_DECLINED : OA_OK;

    /* it would be the signature of what the client has not signed */

    OPENSSL_cleanse(mac, sizeof(mac));

    return rc;
}


/* all that can be said of a key without libcrypto */

static oa_rc_t
oa_jws_key_read(const oa_jwk_t *jwk, oa_jws_key_t *key, const char **error)
{
    memset(key, 0, sizeof(*key));

    key->alg = oa_jwk_alg(jwk);

    switch (key->alg) {

    case OA_JWS_RS256:
        return oa_jws_key_rsa(jwk, key, error);

    case OA_JWS_ES256:

        if (oa_jws_coordinate(jwk->x, key->x) == OA_OK
            && oa_jws_coordinate(jwk->y, key->y) == OA_OK)
        {
            return OA_OK;
        }

        *error = "x and y of a P-256 key must be 32 bytes each, base64url";
        return OA_INVALID;

    case OA_JWS_EDDSA:

        if (oa_jws_coordinate(jwk->x, key->x) != OA_OK) {
            *error = "x of an Ed25519 key must be 32 bytes, base64url";
            return OA_INVALID;
        }

        if (oa_jws_is_small_order(key->x)) {
            *error = "anybody could sign for this Ed25519 key (small order)";
            return OA_INVALID;
        }

        return OA_OK;

    default:
        *error = "kty must be RSA, EC with crv P-256, or OKP with crv "
                 "Ed25519";
        return OA_INVALID;
    }
}


static oa_rc_t
oa_jws_key_rsa(const oa_jwk_t *jwk, oa_jws_key_t *key, const char **error)
{
    if (oa_base64url_decode(jwk->n, key->n, sizeof(key->n), &key->n_len)
        != OA_OK
        || key->n_len < OA_JWS_RSA_MIN
        || key->n[0] == 0
        || (key->n_len == OA_JWS_RSA_MIN && key->n[0] < 0x80))
    {
        *error = "n of an RSA key must have 2048 to 8192 bits, base64url "
                 "without leading zeros";
        return OA_INVALID;
    }

    if ((key->n[key->n_len - 1] & 1) == 0) {
        *error = "n of an RSA key must be odd";
        return OA_INVALID;
    }

    /* with an exponent of 1 a signature is its message */

    if (oa_base64url_decode(jwk->e, key->e, sizeof(key->e), &key->e_len)
        != OA_OK
        || key->e_len == 0
        || key->e[0] == 0
        || (key->e[key->e_len - 1] & 1) == 0
        || (key->e_len == 1 && key->e[0] == 1))
    {
        *error = "e of an RSA key must be odd, more than 1, at most 64 bits, "
                 "base64url without leading zeros";
        return OA_INVALID;
    }

    return OA_OK;
}


static oa_rc_t
oa_jws_coordinate(oa_str_t text, unsigned char *out)
{
    size_t  len;

    if (oa_base64url_decode(text, out, OA_JWS_COORDINATE, &len) != OA_OK
        || len != OA_JWS_COORDINATE)
    {
        return OA_INVALID;
    }

    return OA_OK;
}


static int
oa_jws_is_small_order(const unsigned char x[OA_JWS_COORDINATE])
{
    size_t         i;
    unsigned char  y[OA_JWS_COORDINATE];

    /* the highest bit is the other coordinate's sign */

    memcpy(y, x, sizeof(y));
    y[OA_JWS_COORDINATE - 1] &= 0x7f;

    for (i = 0; i < OA_JWS_SMALL_ORDERS; i++) {
        if (memcmp(y, oa_jws_small_orders[i], sizeof(y)) == 0) {
            return 1;
        }
    }

    return 0;
}


static EVP_PKEY *
oa_jws_key_load(const oa_jws_key_t *key)
{
    switch (key->alg) {

    case OA_JWS_RS256:
        return oa_jws_key_load_rsa(key);

    case OA_JWS_ES256:
        return oa_jws_key_load_ec(key);

    case OA_JWS_EDDSA:
        return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key->x,
                                           sizeof(key->x));

    default:
        return NULL;
    }
}


static EVP_PKEY *
oa_jws_key_load_rsa(const oa_jws_key_t *key)
{
    OSSL_PARAM     params[3];
    unsigned char  n[OA_JWS_RSA_MAX], e[OA_JWS_EXPONENT];

    if (!oa_jws_native(key->n, key->n_len, n)
        || !oa_jws_native(key->e, key->e_len, e))
    {
        return NULL;
    }

    params[0] = OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_N, n, key->n_len);
    params[1] = OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_E, e, key->e_len);
    params[2] = OSSL_PARAM_construct_end();

    return oa_jws_key_from("RSA", params);
}


/* libcrypto refuses a point that is not on the curve */

static EVP_PKEY *
oa_jws_key_load_ec(const oa_jws_key_t *key)
{
    char           group[] = "prime256v1";
    OSSL_PARAM     params[3];
    unsigned char  point[1 + 2 * OA_JWS_COORDINATE];

    point[0] = 0x04;                            /* not compressed */
    memcpy(point + 1, key->x, OA_JWS_COORDINATE);
    memcpy(point + 1 + OA_JWS_COORDINATE, key->y, OA_JWS_COORDINATE);

    params[0] = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME,
                                                 group, 0);
    params[1] = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY,
                                                  point, sizeof(point));
    params[2] = OSSL_PARAM_construct_end();

    return oa_jws_key_from("EC", params);
}


static EVP_PKEY *
oa_jws_key_from(const char *type, OSSL_PARAM *params)
{
    EVP_PKEY      *pkey;
    EVP_PKEY_CTX  *ctx;

    ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (ctx == NULL) {
        return NULL;
    }

    pkey = NULL;

    if (EVP_PKEY_fromdata_init(ctx) != 1
        || EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
    {
        EVP_PKEY_free(pkey);
        pkey = NULL;
    }

    EVP_PKEY_CTX_free(ctx);

    return pkey;
}


/* a number in this machine's order of bytes, as OSSL_PARAM has them */

static int
oa_jws_native(const unsigned char *data, size_t len, unsigned char *out)
{
    int      ok;
    BIGNUM  *bn;

    bn = BN_bin2bn(data, (int) len, NULL);
    ok = (bn != NULL && BN_bn2nativepad(bn, out, (int) len) == (int) len);

    BN_free(bn);

    return ok;
}


/* as libcrypto wants it; 0: it has not the length that the key asks for */

static size_t
oa_jws_signature(const oa_jws_t *jws, const oa_jws_key_t *key,
    unsigned char *out)
{
    size_t         len;
    unsigned char  pair[OA_JWS_PAIR];

    if (key->alg == OA_JWS_ES256) {

        if (oa_base64url_decode(jws->signature, pair, sizeof(pair), &len)
            != OA_OK
            || len != OA_JWS_PAIR)
        {
            return 0;
        }

        return oa_jws_der(pair, out);
    }

    if (oa_base64url_decode(jws->signature, out, OA_JWS_SIGNATURE_MAX, &len)
        != OA_OK
        || len != (key->alg == OA_JWS_RS256 ? key->n_len : OA_JWS_PAIR))
    {
        return 0;
    }

    return len;
}


/* r and s of RFC 7518 section 3.4 -> SEQUENCE { INTEGER r, INTEGER s } */

static size_t
oa_jws_der(const unsigned char pair[OA_JWS_PAIR],
    unsigned char out[OA_JWS_DER_MAX])
{
    unsigned char  *p;

    p = oa_jws_der_integer(pair, out + 2);
    p = oa_jws_der_integer(pair + OA_JWS_PAIR / 2, p);

    out[0] = 0x30;
    out[1] = (unsigned char) (p - out - 2);

    return (size_t) (p - out);
}


static unsigned char *
oa_jws_der_integer(const unsigned char *value, unsigned char *p)
{
    size_t  len, zero;

    len = OA_JWS_PAIR / 2;

    while (len > 1 && *value == 0) {
        value++;
        len--;
    }

    /* with its highest bit set it would be negative */

    zero = (*value >= 0x80);

    *p++ = 0x02;
    *p++ = (unsigned char) (len + zero);

    if (zero) {
        *p++ = 0;
    }

    memcpy(p, value, len);

    return p + len;
}


static oa_rc_t
oa_jws_verify(EVP_PKEY *pkey, const EVP_MD *md, oa_str_t input,
    const unsigned char *signature, size_t len)
{
    int          n;
    EVP_MD_CTX  *ctx;

    ctx = EVP_MD_CTX_new();
    if (ctx == NULL) {
        return OA_ERROR;
    }

    n = -1;

    /* RSA: PKCS #1 v1.5 is the padding unless another one is set */

    if (EVP_DigestVerifyInit(ctx, NULL, md, NULL, pkey) == 1) {
        n = EVP_DigestVerify(ctx, signature, len, input.data, input.len);
    }

    EVP_MD_CTX_free(ctx);

    return n == 1 ? OA_OK : n == 0 ? OA_DECLINED : OA_ERROR;
}
