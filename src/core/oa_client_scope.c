/*
 * What a token may do, and whether a code's redeemer is who asked for it: see
 * oa_client.h.
 *
 * Contract: a token never grants what its client and its account do not both
 * grant; what is compared with a secret is compared in constant time.
 */

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "oa_base64.h"
#include "oa_client.h"
#include "oa_set.h"


static int oa_scope_all_granted(oa_str_t wanted, oa_str_t scopes);
static oa_rc_t oa_scope_both(oa_str_t allowed, oa_str_t ceiling,
    unsigned char *out, size_t cap, size_t *len);
static oa_rc_t oa_scope_add(oa_str_t word, unsigned char *out, size_t cap,
    size_t *len);
static int oa_pkce_verifier_valid(oa_str_t verifier);


oa_rc_t
oa_scope_narrow(oa_str_t requested, oa_str_t allowed, oa_str_t ceiling,
    unsigned char *out, size_t cap, size_t *len)
{
    int            limited;
    oa_rc_t        rc;
    oa_str_t       set;
    unsigned char  own[OA_SET_MAX], above[OA_SET_MAX];

    limited = (ceiling.data != NULL);

    /* the readers know words with spaces between them only */

    if (oa_set_pack(allowed, own, sizeof(own), &allowed.len) != OA_OK
        || oa_set_pack(ceiling, above, sizeof(above), &ceiling.len) != OA_OK)
    {
        return OA_ERROR;
    }

    allowed.data = own;
    ceiling.data = above;

    if (!limited) {
        ceiling = allowed;
    }

    if (requested.len == 0) {
        return oa_scope_both(allowed, ceiling, out, cap, len);
    }

    /* a tab is no separator in RFC 6749 section 3.3 */

    if (requested.len > OA_SET_MAX
        || memchr(requested.data, '\t', requested.len) != NULL)
    {
        return OA_INVALID;
    }

    set.data = out;

    rc = oa_set_pack(requested, out, cap, &set.len);
    if (rc != OA_OK) {
        return rc;
    }

    if (set.len == 0
        || !oa_scope_all_granted(set, allowed)
        || !oa_scope_all_granted(set, ceiling))
    {
        return OA_INVALID;
    }

    *len = set.len;

    return OA_OK;
}


static int
oa_scope_all_granted(oa_str_t wanted, oa_str_t scopes)
{
    size_t    pos;
    oa_str_t  word;

    pos = 0;

    while (oa_set_next(wanted, &pos, &word)) {
        if (!oa_scope_grants(scopes, word)) {
            return 0;
        }
    }

    return 1;
}


/*
 * Words of the one that the other grants: "read:*" and "read:users" have
 * "read:users" in common, whichever of them is the client's.
 */

static oa_rc_t
oa_scope_both(oa_str_t allowed, oa_str_t ceiling, unsigned char *out,
    size_t cap, size_t *len)
{
    size_t    pos;
    oa_str_t  word, set;

    *len = 0;
    pos = 0;

    while (oa_set_next(allowed, &pos, &word)) {
        if (oa_scope_grants(ceiling, word)
            && oa_scope_add(word, out, cap, len) != OA_OK)
        {
            return OA_ERROR;
        }
    }

    set.data = out;
    pos = 0;

    while (oa_set_next(ceiling, &pos, &word)) {

        set.len = *len;

        if (oa_scope_grants(allowed, word) && !oa_scope_grants(set, word)
            && oa_scope_add(word, out, cap, len) != OA_OK)
        {
            return OA_ERROR;
        }
    }

    return OA_OK;
}


static oa_rc_t
oa_scope_add(oa_str_t word, unsigned char *out, size_t cap, size_t *len)
{
    if (word.len + (*len != 0) > cap - *len) {
        return OA_ERROR;
    }

    if (*len != 0) {
        out[(*len)++] = ' ';
    }

    memcpy(out + *len, word.data, word.len);
    *len += word.len;

    return OA_OK;
}


oa_rc_t
oa_pkce_check(oa_str_t verifier, oa_str_t challenge)
{
    unsigned char  digest[SHA256_DIGEST_LENGTH], text[OA_CHALLENGE_LEN];

    if (!oa_pkce_verifier_valid(verifier)) {
        return OA_INVALID;
    }

    if (challenge.len != OA_CHALLENGE_LEN) {
        return OA_DECLINED;
    }

    if (SHA256(verifier.data, verifier.len, digest) == NULL) {
        return OA_ERROR;
    }

    oa_base64url_encode(digest, sizeof(digest), text);

    return CRYPTO_memcmp(text, challenge.data, sizeof(text)) ? OA_DECLINED
                                                             : OA_OK;
}


/* RFC 7636 section 4.1: RFC 3986's unreserved characters */

static int
oa_pkce_verifier_valid(oa_str_t verifier)
{
    size_t         i;
    unsigned char  c;

    if (verifier.len < OA_VERIFIER_MIN || verifier.len > OA_VERIFIER_MAX) {
        return 0;
    }

    for (i = 0; i < verifier.len; i++) {
        c = verifier.data[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
              || (c >= '0' && c <= '9')
              || c == '-' || c == '.' || c == '_' || c == '~'))
        {
            return 0;
        }
    }

    return 1;
}


int
oa_pkce_challenge_valid(oa_str_t challenge)
{
    return challenge.len == OA_CHALLENGE_LEN && oa_base64url_valid(challenge);
}
