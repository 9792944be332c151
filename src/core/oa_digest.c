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
 * library's that hashes.  A message whose rest fits into two blocks, as a key's
 * does, is padded here (FIPS 180-4, 5.1.1) and hashed by SHA256_Transform():
 * SHA256_Update() and SHA256_Final() would add 600 instructions to each hit.
 *
 * Invariants: no pepper stays behind outside the hasher, which is wiped; a
 * failure gives no digest.  The module makes one hasher a worker and store,
 * the command line one a run.
 */

/* SHA256_*() are marked as deprecated since OpenSSL 3.0 */
#define OPENSSL_SUPPRESS_DEPRECATED

#include <endian.h>
#include <string.h>

#include <openssl/crypto.h>

#include "oa_digest.h"


#define OA_DIGEST_BLOCK  64                         /* of SHA-256 */

/* what the last block, or the last two, can hold beside the bit that ends a
   message and its length */
#define OA_DIGEST_LAST   (OA_DIGEST_BLOCK - 1 - 8)
#define OA_DIGEST_REST   (2 * OA_DIGEST_BLOCK - 1 - 8)


static oa_rc_t oa_hasher_key(oa_hasher_t *h, size_t i, oa_str_t pepper);
static int oa_hasher_pad(SHA256_CTX *work, const unsigned char *key,
    unsigned char pad, SHA_LONG state[8]);
static oa_rc_t oa_hasher_long(oa_hasher_t *h, const SHA_LONG state[8],
    oa_str_t text, unsigned char *out);
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

    ok = ok && oa_hasher_pad(&h->work, key, 0x36, h->keys[i].inner)
            && oa_hasher_pad(&h->work, key, 0x5c, h->keys[i].outer);

    OPENSSL_cleanse(key, sizeof(key));

    return ok ? OA_OK : OA_ERROR;
}


/* the state that has taken in the key, padded for one side of the HMAC */

static int
oa_hasher_pad(SHA256_CTX *work, const unsigned char *key, unsigned char pad,
    SHA_LONG state[8])
{
    int            ok;
    size_t         i;
    unsigned char  block[OA_DIGEST_BLOCK];

    for (i = 0; i < sizeof(block); i++) {
        block[i] = key[i] ^ pad;
    }

    ok = SHA256_Init(work) == 1;

    if (ok) {
        SHA256_Transform(work, block);
        memcpy(state, work->h, sizeof(work->h));
    }

    OPENSSL_cleanse(block, sizeof(block));

    return ok;
}


void
oa_hasher_cleanup(oa_hasher_t *h)
{
    OPENSSL_cleanse(h, sizeof(*h));
}


/* big-endian, as SHA-256 has its words: two at a time */

static inline void
oa_hasher_pair(unsigned char *p, const SHA_LONG h[2])
{
    uint64_t  pair;

    pair = htobe64((uint64_t) h[0] << 32 | h[1]);
    memcpy(p, &pair, sizeof(pair));
}


static inline void
oa_hasher_words(unsigned char *p, const SHA_LONG h[8])
{
    oa_hasher_pair(p, h);
    oa_hasher_pair(p + 8, h + 2);
    oa_hasher_pair(p + 16, h + 4);
    oa_hasher_pair(p + 24, h + 6);
}


/* for one memset() of both blocks, gcc writes a slow "rep stos" */

static inline void
oa_hasher_clear(unsigned char block[2 * OA_DIGEST_BLOCK], size_t rest)
{
    memset(block, 0, OA_DIGEST_BLOCK);

    if (rest > OA_DIGEST_LAST) {
        memset(block + OA_DIGEST_BLOCK, 0, OA_DIGEST_BLOCK);
    }
}


/*
 * Ends a message of so many bytes, the last of which stand in block[] with
 * zeros behind them: that many of them, OA_DIGEST_REST at most.
 */

static inline void
oa_hasher_end(SHA256_CTX *work, unsigned char block[2 * OA_DIGEST_BLOCK],
    size_t rest, size_t total)
{
    unsigned char  *last;

    last = block + (rest <= OA_DIGEST_LAST ? 0 : OA_DIGEST_BLOCK);

    block[rest] = 0x80;
    last[OA_DIGEST_BLOCK - 2] = (unsigned char) (total * 8 >> 8);
    last[OA_DIGEST_BLOCK - 1] = (unsigned char) (total * 8);

    if (last != block) {
        SHA256_Transform(work, block);
    }

    SHA256_Transform(work, last);
}


oa_rc_t
oa_hasher_credential(oa_hasher_t *h, size_t i, oa_str_t credential,
    unsigned char out[OA_DIGEST_LEN])
{
    SHA256_CTX     *work = &h->work;
    unsigned char  *block = h->block;

    if (i >= h->n) {
        return OA_ERROR;
    }

    if (credential.len <= OA_DIGEST_REST) {
        oa_hasher_clear(block, credential.len);

        if (credential.len != 0) {
            memcpy(block, credential.data, credential.len);
        }

        memcpy(work->h, h->keys[i].inner, sizeof(work->h));

        oa_hasher_end(work, block, credential.len,
                      OA_DIGEST_BLOCK + credential.len);

        oa_hasher_words(block, work->h);

    } else if (oa_hasher_long(h, h->keys[i].inner, credential, out) == OA_OK) {
        memcpy(block, out, OA_DIGEST_LEN);

    } else {
        return OA_ERROR;
    }

    memset(block + OA_DIGEST_LEN, 0, OA_DIGEST_BLOCK - OA_DIGEST_LEN);

    memcpy(work->h, h->keys[i].outer, sizeof(work->h));

    oa_hasher_end(work, block, OA_DIGEST_LEN,
                  OA_DIGEST_BLOCK + OA_DIGEST_LEN);

    oa_hasher_words(out, work->h);

    return OA_OK;
}


static oa_rc_t
oa_hasher_long(oa_hasher_t *h, const SHA_LONG state[8], oa_str_t text,
    unsigned char *out)
{
    if (SHA256_Init(&h->work) != 1) {
        return OA_ERROR;
    }

    memcpy(h->work.h, state, sizeof(h->work.h));
    h->work.Nl = OA_DIGEST_BLOCK * 8;

    if (SHA256_Update(&h->work, text.data, text.len) != 1
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
    SHA256_CTX     *work = &h->work;
    unsigned char  *block = h->block;

    static const oa_str_t  label = oa_string("account:");

    if (!h->ready || SHA256_Init(work) != 1) {
        return OA_ERROR;
    }

    if (label.len + id.len <= OA_DIGEST_REST) {
        oa_hasher_clear(block, label.len + id.len);
        memcpy(block, label.data, label.len);

        if (id.len != 0) {
            memcpy(block + label.len, id.data, id.len);
        }

        oa_hasher_end(work, block, label.len + id.len, label.len + id.len);
        oa_hasher_words(out, work->h);

    } else if (SHA256_Update(work, label.data, label.len) != 1
               || SHA256_Update(work, id.data, id.len) != 1
               || SHA256_Final(out, work) != 1)
    {
        return OA_ERROR;
    }

    memset(out + OA_ACCOUNT_KEY_LEN, 0, OA_DIGEST_LEN - OA_ACCOUNT_KEY_LEN);

    return OA_OK;
}
