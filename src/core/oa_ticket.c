/*
 * Tickets: HMAC-SHA-256(K, SHA-256(issued, fields)), each with its length in
 * front, so that no two lists of fields give the same bytes.
 *
 * K = HMAC-SHA-256(pepper, label). The label holds blanks, which no credential
 * does: the digest of no credential is the key of tickets. Called for pages
 * that people look at, not on the way of an API request.
 */

/* SHA256_*() are marked as deprecated since OpenSSL 3.0; see oa_digest.c */
#define OPENSSL_SUPPRESS_DEPRECATED

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include "oa_base64.h"
#include "oa_text.h"
#include "oa_ticket.h"


#define OA_TICKET_MAC_LEN   OA_BASE64URL_LEN(OA_DIGEST_LEN)
#define OA_TICKET_TIME_LEN  19              /* digits of the largest int64_t */

static const unsigned char  oa_ticket_label[] = "opsauth ticket key v1";


static oa_rc_t oa_ticket_mac(oa_str_t pepper, const oa_str_t *fields, size_t n,
    int64_t issued, unsigned char out[OA_TICKET_MAC_LEN]);
static int oa_ticket_number(SHA256_CTX *sha, uint64_t n);


oa_rc_t
oa_ticket_make(oa_str_t pepper, const oa_str_t *fields, size_t n,
    int64_t issued, unsigned char out[OA_TICKET_MAX], size_t *len)
{
    size_t         used;
    int64_t        rest;
    unsigned char  digits[OA_TICKET_TIME_LEN], *p;

    if (issued < 0) {
        return OA_INVALID;
    }

    p = digits + sizeof(digits);
    rest = issued;

    do {
        *--p = (unsigned char) ('0' + rest % 10);
        rest /= 10;
    } while (rest);

    used = (size_t) (digits + sizeof(digits) - p);

    memcpy(out, p, used);
    out[used++] = '.';

    *len = used + OA_TICKET_MAC_LEN;

    return oa_ticket_mac(pepper, fields, n, issued, out + used);
}


oa_rc_t
oa_ticket_check(const oa_str_t *peppers, size_t npeppers,
    const oa_str_t *fields, size_t n, int64_t now, int64_t max_age,
    oa_str_t ticket)
{
    size_t         i;
    int64_t        issued;
    oa_str_t       time;
    unsigned char  mac[OA_TICKET_MAC_LEN];

    if (ticket.len < OA_TICKET_MAC_LEN + 2 || ticket.len > OA_TICKET_MAX) {
        return OA_INVALID;
    }

    time.data = ticket.data;
    time.len = ticket.len - OA_TICKET_MAC_LEN - 1;

    if (ticket.data[time.len] != '.'
        || oa_text_number(time, INT64_MAX, &issued) != OA_OK)
    {
        return OA_INVALID;
    }

    for (i = 0; i < npeppers; i++) {

        if (oa_ticket_mac(peppers[i], fields, n, issued, mac) != OA_OK) {
            return OA_ERROR;
        }

        if (CRYPTO_memcmp(mac, ticket.data + time.len + 1, sizeof(mac)) == 0) {

            /* the difference can't overflow: neither is negative */

            if (issued - now > OA_TICKET_SKEW) {
                return OA_INVALID;
            }

            return (now - issued > max_age) ? OA_DECLINED : OA_OK;
        }
    }

    return OA_INVALID;
}


static oa_rc_t
oa_ticket_mac(oa_str_t pepper, const oa_str_t *fields, size_t n,
    int64_t issued, unsigned char out[OA_TICKET_MAC_LEN])
{
    int            ok;
    size_t         i;
    SHA256_CTX     sha;
    unsigned char  key[OA_DIGEST_LEN], hash[OA_DIGEST_LEN];
    unsigned char  mac[OA_DIGEST_LEN];

    ok = SHA256_Init(&sha) && oa_ticket_number(&sha, (uint64_t) issued);

    for (i = 0; ok && i < n; i++) {
        ok = oa_ticket_number(&sha, fields[i].len)
             && (fields[i].len == 0
                 || SHA256_Update(&sha, fields[i].data, fields[i].len));
    }

    ok = ok && SHA256_Final(hash, &sha)
         && HMAC(EVP_sha256(), pepper.data, (int) pepper.len, oa_ticket_label,
                 sizeof(oa_ticket_label) - 1, key, NULL)
         && HMAC(EVP_sha256(), key, sizeof(key), hash, sizeof(hash), mac,
                 NULL);

    if (ok) {
        oa_base64url_encode(mac, sizeof(mac), out);
    }

    OPENSSL_cleanse(key, sizeof(key));

    return ok ? OA_OK : OA_ERROR;
}


static int
oa_ticket_number(SHA256_CTX *sha, uint64_t n)
{
    int            i;
    unsigned char  bytes[8];

    for (i = 7; i >= 0; i--) {
        bytes[i] = (unsigned char) n;
        n >>= 8;
    }

    return SHA256_Update(sha, bytes, sizeof(bytes));
}
