/*
 * Digests, with everything that can be prepared once prepared once.
 *
 * HMAC(K, m) = H((K ^ opad) || H((K ^ ipad) || m)).  What depends on the key
 * alone, one block on either side, is hashed when the hasher is made; a
 * request copies those two states and goes on from there.  The algorithm is
 * fetched once as well: looking it up is what makes a one-shot HMAC() slow.
 *
 * Invariants: no pepper stays behind outside libcrypto's contexts, and those
 * are wiped when freed; a failure gives no digest.  The module makes one
 * hasher a worker and store, the command line one a run.
 */

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "oa_digest.h"


#define OA_DIGEST_BLOCK  64                         /* of SHA-256 */


static oa_rc_t oa_hasher_key(oa_hasher_t *h, size_t i, oa_str_t pepper);
static void *oa_hasher_pad(oa_hasher_t *h, const unsigned char *key,
    unsigned char pad);
static oa_str_t oa_pepper_trim(oa_str_t line);


oa_rc_t
oa_pepper_parse(oa_str_t text, oa_str_t peppers[OA_PEPPERS_MAX], size_t *n,
    const char **error)
{
    size_t                i, count;
    oa_str_t              line;
    const unsigned char  *end;

    count = 0;

    while (text.len != 0) {

        end = memchr(text.data, '\n', text.len);

        line.data = text.data;
        line.len = end ? (size_t) (end - text.data) : text.len;

        text.data += line.len + (end != NULL);
        text.len -= line.len + (end != NULL);

        line = oa_pepper_trim(line);

        if (line.len == 0 || line.data[0] == '#') {
            continue;
        }

        if (line.len < OA_PEPPER_MIN) {
            *error = "a pepper has less than 16 bytes";
            return OA_INVALID;
        }

        if (line.len > OA_PEPPER_MAX) {
            *error = "a pepper has more than 256 bytes";
            return OA_INVALID;
        }

        if (count == OA_PEPPERS_MAX) {
            *error = "there are more than 8 peppers";
            return OA_INVALID;
        }

        for (i = 0; i < count; i++) {
            if (peppers[i].len == line.len
                && memcmp(peppers[i].data, line.data, line.len) == 0)
            {
                *error = "the same pepper stands there twice";
                return OA_INVALID;
            }
        }

        peppers[count++] = line;
    }

    if (count == 0) {
        *error = "there is no pepper";
        return OA_INVALID;
    }

    *n = count;

    return OA_OK;
}


static oa_str_t
oa_pepper_trim(oa_str_t line)
{
    unsigned char  c;

    while (line.len != 0) {
        c = line.data[line.len - 1];

        if (c != ' ' && c != '\t' && c != '\r') {
            break;
        }

        line.len--;
    }

    while (line.len != 0 && (*line.data == ' ' || *line.data == '\t'
                             || *line.data == '\r'))
    {
        line.data++;
        line.len--;
    }

    return line;
}


oa_rc_t
oa_hasher_init(oa_hasher_t *h, const oa_str_t *peppers, size_t n)
{
    size_t  i;

    memset(h, 0, sizeof(*h));

    if (n > OA_PEPPERS_MAX) {
        return OA_ERROR;
    }

    h->md = EVP_MD_fetch(NULL, "SHA256", NULL);
    h->work = EVP_MD_CTX_new();

    if (h->md == NULL || h->work == NULL) {
        goto failed;
    }

    for (i = 0; i < n; i++) {
        h->n = i + 1;

        if (oa_hasher_key(h, i, peppers[i]) != OA_OK) {
            goto failed;
        }
    }

    return OA_OK;

failed:

    oa_hasher_cleanup(h);

    return OA_ERROR;
}


static oa_rc_t
oa_hasher_key(oa_hasher_t *h, size_t i, oa_str_t pepper)
{
    unsigned char  key[OA_DIGEST_BLOCK];

    memset(key, 0, sizeof(key));

    if (pepper.len > sizeof(key)) {

        if (EVP_DigestInit_ex2(h->work, h->md, NULL) != 1
            || EVP_DigestUpdate(h->work, pepper.data, pepper.len) != 1
            || EVP_DigestFinal_ex(h->work, key, NULL) != 1)
        {
            return OA_ERROR;
        }

    } else if (pepper.len != 0) {
        memcpy(key, pepper.data, pepper.len);
    }

    h->inner[i] = oa_hasher_pad(h, key, 0x36);
    h->outer[i] = oa_hasher_pad(h, key, 0x5c);

    OPENSSL_cleanse(key, sizeof(key));

    return (h->inner[i] && h->outer[i]) ? OA_OK : OA_ERROR;
}


/* a context that has taken in the key, padded for one side of the HMAC */

static void *
oa_hasher_pad(oa_hasher_t *h, const unsigned char *key, unsigned char pad)
{
    size_t         i;
    EVP_MD_CTX    *ctx;
    unsigned char  block[OA_DIGEST_BLOCK];

    ctx = EVP_MD_CTX_new();

    if (ctx == NULL) {
        return NULL;
    }

    for (i = 0; i < sizeof(block); i++) {
        block[i] = key[i] ^ pad;
    }

    if (EVP_DigestInit_ex2(ctx, h->md, NULL) != 1
        || EVP_DigestUpdate(ctx, block, sizeof(block)) != 1)
    {
        EVP_MD_CTX_free(ctx);
        ctx = NULL;
    }

    OPENSSL_cleanse(block, sizeof(block));

    return ctx;
}


void
oa_hasher_cleanup(oa_hasher_t *h)
{
    size_t  i;

    for (i = 0; i < OA_PEPPERS_MAX; i++) {
        EVP_MD_CTX_free(h->inner[i]);
        EVP_MD_CTX_free(h->outer[i]);
    }

    EVP_MD_CTX_free(h->work);
    EVP_MD_free(h->md);

    OPENSSL_cleanse(h, sizeof(*h));
}


oa_rc_t
oa_hasher_credential(oa_hasher_t *h, size_t i, oa_str_t credential,
    unsigned char out[OA_DIGEST_LEN])
{
    unsigned char  digest[OA_DIGEST_LEN];

    if (i >= h->n
        || EVP_MD_CTX_copy_ex(h->work, h->inner[i]) != 1
        || EVP_DigestUpdate(h->work, credential.data, credential.len) != 1
        || EVP_DigestFinal_ex(h->work, digest, NULL) != 1
        || EVP_MD_CTX_copy_ex(h->work, h->outer[i]) != 1
        || EVP_DigestUpdate(h->work, digest, sizeof(digest)) != 1
        || EVP_DigestFinal_ex(h->work, out, NULL) != 1)
    {
        return OA_ERROR;
    }

    return OA_OK;
}


oa_rc_t
oa_hasher_account(oa_hasher_t *h, oa_str_t id,
    unsigned char out[OA_DIGEST_LEN])
{
    static const oa_str_t  label = oa_string("account:");

    if (h->md == NULL
        || EVP_DigestInit_ex2(h->work, h->md, NULL) != 1
        || EVP_DigestUpdate(h->work, label.data, label.len) != 1
        || EVP_DigestUpdate(h->work, id.data, id.len) != 1
        || EVP_DigestFinal_ex(h->work, out, NULL) != 1)
    {
        return OA_ERROR;
    }

    memset(out + OA_ACCOUNT_KEY_LEN, 0, OA_DIGEST_LEN - OA_ACCOUNT_KEY_LEN);

    return OA_OK;
}
