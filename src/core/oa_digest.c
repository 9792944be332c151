/*
 * Digests, with everything that can be prepared once prepared once.
 *
 * HMAC(K, m) = H((K ^ opad) || H((K ^ ipad) || m)).  What depends on the key
 * alone, one block on either side, is hashed when the hasher is made; a
 * request copies those two states and goes on from there.
 *
 * By libcrypto's SHA256_*(), not by EVP: a copy of an EVP_MD_CTX allocates
 * and frees in OpenSSL 3.0, twice for each credential, and a hit has 1 500
 * instructions less without it (make bench).  It is the same code of the
 * library's that hashes.
 *
 * Invariants: no pepper stays behind outside the hasher, which is wiped; a
 * failure gives no digest.  The module makes one hasher a worker and store,
 * the command line one a run.
 */

/* SHA256_*() are marked as deprecated since OpenSSL 3.0 */
#define OPENSSL_SUPPRESS_DEPRECATED

#include <string.h>

#include <openssl/crypto.h>

#include "oa_digest.h"


#define OA_DIGEST_BLOCK  64                         /* of SHA-256 */


static oa_rc_t oa_hasher_key(oa_hasher_t *h, size_t i, oa_str_t pepper);
static int oa_hasher_pad(SHA256_CTX *state, const unsigned char *key,
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

    for (i = 0; i < n; i++) {
        if (oa_hasher_key(h, i, peppers[i]) != OA_OK) {
            oa_hasher_cleanup(h);
            return OA_ERROR;
        }
    }

    h->n = n;
    h->ready = 1;

    return OA_OK;
}


static oa_rc_t
oa_hasher_key(oa_hasher_t *h, size_t i, oa_str_t pepper)
{
    int            ok;
    unsigned char  key[OA_DIGEST_BLOCK];

    ok = 1;
    memset(key, 0, sizeof(key));

    if (pepper.len > sizeof(key)) {
        ok = SHA256_Init(&h->work) == 1
             && SHA256_Update(&h->work, pepper.data, pepper.len) == 1
             && SHA256_Final(key, &h->work) == 1;

    } else if (pepper.len != 0) {
        memcpy(key, pepper.data, pepper.len);
    }

    ok = ok && oa_hasher_pad(&h->inner[i], key, 0x36)
            && oa_hasher_pad(&h->outer[i], key, 0x5c);

    OPENSSL_cleanse(key, sizeof(key));

    return ok ? OA_OK : OA_ERROR;
}


/* a state that has taken in the key, padded for one side of the HMAC */

static int
oa_hasher_pad(SHA256_CTX *state, const unsigned char *key, unsigned char pad)
{
    int            ok;
    size_t         i;
    unsigned char  block[OA_DIGEST_BLOCK];

    for (i = 0; i < sizeof(block); i++) {
        block[i] = key[i] ^ pad;
    }

    ok = SHA256_Init(state) == 1
         && SHA256_Update(state, block, sizeof(block)) == 1;

    OPENSSL_cleanse(block, sizeof(block));

    return ok;
}


void
oa_hasher_cleanup(oa_hasher_t *h)
{
    OPENSSL_cleanse(h, sizeof(*h));
}


oa_rc_t
oa_hasher_credential(oa_hasher_t *h, size_t i, oa_str_t credential,
    unsigned char out[OA_DIGEST_LEN])
{
    unsigned char  digest[OA_DIGEST_LEN];

    if (i >= h->n) {
        return OA_ERROR;
    }

    h->work = h->inner[i];

    if (SHA256_Update(&h->work, credential.data, credential.len) != 1
        || SHA256_Final(digest, &h->work) != 1)
    {
        return OA_ERROR;
    }

    h->work = h->outer[i];

    if (SHA256_Update(&h->work, digest, sizeof(digest)) != 1
        || SHA256_Final(out, &h->work) != 1)
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

    if (!h->ready
        || SHA256_Init(&h->work) != 1
        || SHA256_Update(&h->work, label.data, label.len) != 1
        || SHA256_Update(&h->work, id.data, id.len) != 1
        || SHA256_Final(out, &h->work) != 1)
    {
        return OA_ERROR;
    }

    memset(out + OA_ACCOUNT_KEY_LEN, 0, OA_DIGEST_LEN - OA_ACCOUNT_KEY_LEN);

    return OA_OK;
}
