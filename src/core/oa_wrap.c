/*
 * Wrapped secrets: see oa_wrap.h.
 *
 * Contract: the key is the pepper's alone and is made anew for each call; a
 * wrapped secret that was moved to another client's record, or changed in any
 * bit, does not open.  Invariants: nothing of what did not open is handed out;
 * key and plain text stay nowhere but in the caller's out.
 */

#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "oa_base64.h"
#include "oa_wrap.h"


#define OA_WRAP_KEY    32
#define OA_WRAP_NONCE  12
#define OA_WRAP_TAG    16
#define OA_WRAP_RAW    (OA_WRAP_NONCE + OA_WRAP_SECRET_MAX + OA_WRAP_TAG)


static int oa_wrap_key(oa_str_t pepper, unsigned char key[OA_WRAP_KEY]);
static int oa_wrap_derive(EVP_KDF_CTX *ctx, oa_str_t pepper,
    unsigned char key[OA_WRAP_KEY]);
static int oa_wrap_seal(EVP_CIPHER_CTX *ctx, const unsigned char *key,
    oa_str_t client_id, oa_str_t secret, unsigned char *raw);
static oa_rc_t oa_wrap_open(EVP_CIPHER_CTX *ctx, const unsigned char *key,
    oa_str_t client_id, unsigned char *raw, size_t n, unsigned char *out);


_Static_assert(OA_BASE64URL_LEN(OA_WRAP_RAW) <= OA_WRAP_MAX, "room");


oa_rc_t
oa_wrap(oa_str_t pepper, oa_str_t client_id, oa_str_t secret,
    const unsigned char nonce[12], unsigned char out[OA_WRAP_MAX],
    size_t *len)
{
    int              ok;
    size_t           n;
    EVP_CIPHER_CTX  *ctx;
    unsigned char    key[OA_WRAP_KEY], raw[OA_WRAP_RAW];

    if (secret.len == 0 || secret.len > OA_WRAP_SECRET_MAX
        || client_id.len == 0 || client_id.len > OA_ACCOUNT_MAX)
    {
        return OA_INVALID;
    }

    memcpy(raw, nonce, OA_WRAP_NONCE);
    n = OA_WRAP_NONCE + secret.len + OA_WRAP_TAG;

    ERR_set_mark();

    ctx = EVP_CIPHER_CTX_new();

    ok = ctx != NULL
         && oa_wrap_key(pepper, key)
         && oa_wrap_seal(ctx, key, client_id, secret, raw);

    EVP_CIPHER_CTX_free(ctx);
    ERR_pop_to_mark();

    OPENSSL_cleanse(key, sizeof(key));

    if (!ok) {
        return OA_ERROR;
    }

    oa_base64url_encode(raw, n, out);
    *len = OA_BASE64URL_LEN(n);

    return OA_OK;
}


oa_rc_t
oa_unwrap(oa_str_t pepper, oa_str_t client_id, oa_str_t wrapped,
    unsigned char out[OA_WRAP_SECRET_MAX], size_t *len)
{
    size_t           n;
    oa_rc_t          rc;
    EVP_CIPHER_CTX  *ctx;
    unsigned char    key[OA_WRAP_KEY], raw[OA_WRAP_RAW];

    if (oa_base64url_decode(wrapped, raw, sizeof(raw), &n) != OA_OK
        || n <= OA_WRAP_NONCE + OA_WRAP_TAG)
    {
        return OA_INVALID;
    }

    n -= OA_WRAP_NONCE + OA_WRAP_TAG;

    ERR_set_mark();

    ctx = EVP_CIPHER_CTX_new();

    rc = OA_ERROR;

    if (ctx != NULL && oa_wrap_key(pepper, key)) {
        rc = oa_wrap_open(ctx, key, client_id, raw, n, out);
    }

    EVP_CIPHER_CTX_free(ctx);
    ERR_pop_to_mark();

    OPENSSL_cleanse(key, sizeof(key));

    if (rc != OA_OK) {
        OPENSSL_cleanse(out, OA_WRAP_SECRET_MAX);
        return rc;
    }

    *len = n;

    return OA_OK;
}


static int
oa_wrap_key(oa_str_t pepper, unsigned char key[OA_WRAP_KEY])
{
    int           ok;
    EVP_KDF      *kdf;
    EVP_KDF_CTX  *ctx;

    /* under none, or one that can be tried, it would be open to everybody */

    if (pepper.len < OA_PEPPER_MIN) {
        return 0;
    }

    kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    if (kdf == NULL) {
        return 0;
    }

    ctx = EVP_KDF_CTX_new(kdf);
    ok = (ctx != NULL && oa_wrap_derive(ctx, pepper, key));

    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);

    return ok;
}


/* info keeps this key apart from whatever else a pepper may be used for */

static int
oa_wrap_derive(EVP_KDF_CTX *ctx, oa_str_t pepper,
    unsigned char key[OA_WRAP_KEY])
{
    char        digest[] = "SHA2-256";
    char        info[] = "opsauth client secret";
    OSSL_PARAM  params[4];

    params[0] = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
                                                 digest, 0);
    params[1] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY,
                                                  (void *) pepper.data,
                                                  pepper.len);
    params[2] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO,
                                                  info, sizeof(info) - 1);
    params[3] = OSSL_PARAM_construct_end();

    return EVP_KDF_derive(ctx, key, OA_WRAP_KEY, params) == 1;
}


/* raw: nonce, room for the secret, room for the tag */

static int
oa_wrap_seal(EVP_CIPHER_CTX *ctx, const unsigned char *key,
    oa_str_t client_id, oa_str_t secret, unsigned char *raw)
{
    int             n;
    unsigned char  *text;

    text = raw + OA_WRAP_NONCE;

    return EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, raw) == 1
           && EVP_EncryptUpdate(ctx, NULL, &n, client_id.data,
                                (int) client_id.len) == 1
           && EVP_EncryptUpdate(ctx, text, &n, secret.data,
                                (int) secret.len) == 1
           && (size_t) n == secret.len
           && EVP_EncryptFinal_ex(ctx, text + n, &n) == 1
           && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, OA_WRAP_TAG,
                                  text + secret.len) == 1;
}


/* n: bytes of the secret */

static oa_rc_t
oa_wrap_open(EVP_CIPHER_CTX *ctx, const unsigned char *key,
    oa_str_t client_id, unsigned char *raw, size_t n, unsigned char *out)
{
    int             len;
    unsigned char  *text;

    if (client_id.len == 0 || client_id.len > OA_ACCOUNT_MAX) {
        return OA_DECLINED;
    }

    text = raw + OA_WRAP_NONCE;

    if (EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, raw) != 1
        || EVP_DecryptUpdate(ctx, NULL, &len, client_id.data,
                             (int) client_id.len) != 1
        || EVP_DecryptUpdate(ctx, out, &len, text, (int) n) != 1
        || (size_t) len != n
        || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, OA_WRAP_TAG,
                               text + n) != 1)
    {
        return OA_ERROR;
    }

    /* nothing is written any more: GCM has no last block */

    return EVP_DecryptFinal_ex(ctx, out + len, &len) == 1 ? OA_OK
                                                          : OA_DECLINED;
}
