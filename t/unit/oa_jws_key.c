/* Public keys of signed logins: src/core/oa_jws.c */

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "oa_base64.h"
#include "oa_jws_fixture.h"


#define N32  "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


static void
jwk(oa_jwk_t key, oa_rc_t wanted, const char *name)
{
    oa_rc_t      rc;
    const char  *error;

    error = NULL;
    rc = oa_jwk_check(&key, &error);

    ok(rc == wanted && (error != NULL) == (rc != OA_OK), "%s: %s", name,
       error ? error : "good");
}


/* base64url of n bytes, all of them fill, but the first and the last */

static const char *
number(size_t n, unsigned char first, unsigned char fill, unsigned char last)
{
    unsigned char  bytes[1100];

    static char  text[OA_BASE64URL_LEN(sizeof(bytes)) + 1];

    memset(bytes, fill, n);
    bytes[0] = first;
    bytes[n - 1] = last;

    oa_base64url_encode(bytes, n, (unsigned char *) text);
    text[OA_BASE64URL_LEN(n)] = '\0';

    return text;
}


static void
keys(void)
{
    oa_jwk_t  key;

    jwk(rsa(RSA_N, "AQAB"), OA_OK, "RSA");
    jwk(rsa(RSA_N, "Aw"), OA_OK, "RSA, e 3");
    jwk(rsa(number(256, 0x80, 0xff, 0xff), "AQAB"), OA_OK, "RSA, 2048 bits");
    jwk(rsa(number(1024, 0xff, 0xff, 0xff), "AQAB"), OA_OK,
        "RSA, 8192 bits");
    jwk(rsa(RSA_N, number(8, 0xff, 0xff, 0xff)), OA_OK, "RSA, e of 64 bits");

    jwk(rsa(NULL, "AQAB"), OA_INVALID, "RSA without n");
    jwk(rsa("", "AQAB"), OA_INVALID, "RSA, empty n");
    jwk(rsa("AQ", "AQAB"), OA_INVALID, "RSA, n of 1");
    jwk(rsa(number(128, 0xff, 0xff, 0xff), "AQAB"), OA_INVALID,
        "RSA, 1024 bits");
    jwk(rsa(number(256, 0x7f, 0xff, 0xff), "AQAB"), OA_INVALID,
        "RSA, 2047 bits");
    jwk(rsa(number(257, 0x00, 0xff, 0xff), "AQAB"), OA_INVALID,
        "RSA, n with a leading zero");
    jwk(rsa(number(1024, 0x00, 0xff, 0xff), "AQAB"), OA_INVALID,
        "RSA, zeros in front");
    jwk(rsa(number(1025, 0x01, 0xff, 0xff), "AQAB"), OA_INVALID,
        "RSA, 8193 bits");
    jwk(rsa(number(256, 0x80, 0x00, 0x00), "AQAB"), OA_INVALID,
        "RSA, an even n");
    jwk(rsa("!!!!", "AQAB"), OA_INVALID, "RSA, n that is no base64url");
    jwk(rsa(RSA_N "==", "AQAB"), OA_INVALID, "RSA, n with padding");
    jwk(rsa(RSA_N, NULL), OA_INVALID, "RSA without e");
    jwk(rsa(RSA_N, ""), OA_INVALID, "RSA, empty e");
    jwk(rsa(RSA_N, "AQ"), OA_INVALID, "RSA, e 1");
    jwk(rsa(RSA_N, "AA"), OA_INVALID, "RSA, e 0");
    jwk(rsa(RSA_N, "Ag"), OA_INVALID, "RSA, e 2");
    jwk(rsa(RSA_N, "AAE"), OA_INVALID, "RSA, e 1 with a leading zero");
    jwk(rsa(RSA_N, "AAEAAQ"), OA_INVALID, "RSA, e with a leading zero");
    jwk(rsa(RSA_N, number(9, 0xff, 0xff, 0xff)), OA_INVALID,
        "RSA, e of 72 bits");
    jwk(rsa(RSA_N, RSA_N), OA_INVALID, "RSA, e as long as n");

    jwk(ec(EC_X, EC_Y), OA_OK, "EC");
    jwk(ec(EC_Y, EC_X), OA_INVALID, "EC, x and y exchanged");
    jwk(ec(EC_X, EC_X), OA_INVALID, "EC, not on the curve");
    jwk(ec(N32, N32), OA_INVALID, "EC, 0 and 0");
    jwk(ec(number(32, 0xff, 0xff, 0xff), EC_Y), OA_INVALID,
        "EC, beyond the field");
    jwk(ec(EC_X, NULL), OA_INVALID, "EC without y");
    jwk(ec(NULL, EC_Y), OA_INVALID, "EC without x");
    jwk(ec(EC_X, number(31, 0x01, 0xff, 0xff)), OA_INVALID, "EC, a short y");
    jwk(ec(number(33, 0x01, 0xff, 0xff), EC_Y), OA_INVALID, "EC, a long x");
    key = ec(EC_X, EC_Y);
    key.crv = str("secp256k1");
    jwk(key, OA_INVALID, "EC, another curve");

    jwk(ed(ED_X), OA_OK, "Ed25519");
    jwk(ed(NULL), OA_INVALID, "Ed25519 without x");
    jwk(ed(number(31, 0x01, 0xff, 0xff)), OA_INVALID, "Ed25519, a short x");
    jwk(ed(number(33, 0x01, 0xff, 0xff)), OA_INVALID, "Ed25519, a long x");

    memset(&key, 0, sizeof(key));
    jwk(key, OA_INVALID, "nothing");
    key.kty = str("oct");
    jwk(key, OA_INVALID, "a secret");
}


/* keys for which anybody can sign */

static void
everybodys(void)
{
    char           text[2048];
    size_t         i, k, n, len, refused, open;
    EVP_PKEY      *pkey;
    EVP_MD_CTX    *ctx;
    oa_jws_t       jws;
    oa_jwk_t       key;
    unsigned char  em[256], sign[64], point[32];

    /* PKCS #1 v1.5 of the input itself; with e 1 it is its own signature */

    static const unsigned char  info[] = {
        0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65,
        0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20
    };

    memset(em, 0xff, sizeof(em));
    em[0] = 0;
    em[1] = 1;
    em[256 - 32 - sizeof(info) - 1] = 0;
    memcpy(em + 256 - 32 - sizeof(info), info, sizeof(info));
    ok(EVP_Digest(RS256_INPUT, sizeof(RS256_INPUT) - 1, em + 224, NULL,
                  EVP_sha256(), NULL) == 1, "a digest");

    strcpy(text, RS256_INPUT ".");
    n = strlen(text);
    oa_base64url_encode(em, 256, (unsigned char *) text + n);
    text[n + OA_BASE64URL_LEN(256)] = '\0';

    is_int(public(text, OA_JWS_RS256, rsa(RSA_N, "AQ")), OA_DECLINED,
           "RSA, e 1");

    /* S = 0 and R = the neutral point, for keys of order 1, 2, 4 and 8 */

    static const char *const  orders[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"
    };

    memset(sign, 0, sizeof(sign));
    sign[0] = 1;
    refused = 0;
    open = 0;

    for (i = 0; i < 14; i++) {

        for (k = 0; k < 32; k++) {
            unsigned  byte;

            sscanf(orders[i / 2] + 2 * k, "%2x", &byte);
            point[k] = (unsigned char) byte;
        }

        point[31] |= (i % 2) << 7;

        ok(oa_base64url_valid(str(ED_X)), "a key of small order, %zu", i);

        for (k = 0; k < 64; k++) {

            len = (size_t) sprintf(text, "QQ.%c%c%c%c.", "ABCDEFGH"[k / 8],
                                   "ABCDEFGH"[k % 8], 'A', 'A');
            oa_base64url_encode(sign, 64, (unsigned char *) text + len);
            text[len + 86] = '\0';

            key = ed(number(32, 0, 0, 0));

            unsigned char  x[43];

            oa_base64url_encode(point, 32, x);
            key.x.data = x;
            key.x.len = 43;

            refused += (public(text, OA_JWS_EDDSA, key) == OA_DECLINED);

            /* libcrypto alone would take some of them */

            if (oa_jws_split(str(text), &jws) != OA_OK) {
                continue;
            }

            pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, point,
                                               32);
            ctx = EVP_MD_CTX_new();
            open += (pkey != NULL
                     && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) == 1
                     && EVP_DigestVerify(ctx, sign, 64, jws.input.data,
                                         jws.input.len) == 1);
            EVP_MD_CTX_free(ctx);
            EVP_PKEY_free(pkey);
        }
    }

    ERR_clear_error();

    is_int(refused, 14 * 64, "Ed25519: all of small order are refused");
    ok(open > 64, "which would have been open");
}


/* keys and signatures that libcrypto makes */

static void
made_ec(void)
{
    char             text[256];
    size_t           i, len, bad, shorter;
    EVP_PKEY        *pkey;
    ECDSA_SIG       *sig;
    EVP_MD_CTX      *ctx;
    oa_jwk_t         key;
    unsigned char    point[65], der[80], pair[64], x[43], y[43];

    const unsigned char  *p;

    pkey = EVP_EC_gen("P-256");
    if (pkey == NULL
        || EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY,
                                           point, sizeof(point), &len) != 1
        || len != 65)
    {
        ok(0, "a key");
        return;
    }

    oa_base64url_encode(point + 1, 32, x);
    oa_base64url_encode(point + 33, 32, y);

    key = ec(NULL, NULL);
    key.x = (oa_str_t) { 43, x };
    key.y = (oa_str_t) { 43, y };

    bad = 0;
    shorter = 0;

    for (i = 0; i < 200 || (shorter == 0 && i < 9999); i++) {

        len = (size_t) sprintf(text, "QQ.%04zuAAAA", i);

        ctx = EVP_MD_CTX_new();

        size_t  n = sizeof(der);

        if (ctx == NULL
            || EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, pkey) != 1
            || EVP_DigestSign(ctx, der, &n, (unsigned char *) text, len) != 1)
        {
            abort();
        }

        EVP_MD_CTX_free(ctx);

        p = der;
        sig = d2i_ECDSA_SIG(NULL, &p, (long) n);

        if (sig == NULL
            || BN_bn2binpad(ECDSA_SIG_get0_r(sig), pair, 32) != 32
            || BN_bn2binpad(ECDSA_SIG_get0_s(sig), pair + 32, 32) != 32)
        {
            abort();
        }

        ECDSA_SIG_free(sig);

        shorter += (pair[0] == 0 || pair[32] == 0);

        text[len++] = '.';
        oa_base64url_encode(pair, 64, (unsigned char *) text + len);
        text[len + 86] = '\0';

        bad += (public(text, OA_JWS_ES256, key) != OA_OK);

        text[4] = 'z';
        bad += (public(text, OA_JWS_ES256, key) != OA_DECLINED);
    }

    is_int(bad, 0, "ES256 signatures");
    ok(shorter > 0, "numbers with leading zeros were among them");

    EVP_PKEY_free(pkey);

    is_int(public("QQ.QQ." N32 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                  OA_JWS_ES256, key), OA_DECLINED, "r and s are 0");
    memset(pair, 0xff, sizeof(pair));
    strcpy(text, "QQ.QQ.");
    oa_base64url_encode(pair, 64, (unsigned char *) text + 6);
    text[92] = '\0';
    is_int(public(text, OA_JWS_ES256, key), OA_DECLINED,
           "r and s are beyond the order");
}


static void
made_rsa(unsigned bits)
{
    char            text[2048];
    size_t          n, len;
    BIGNUM         *bn;
    EVP_PKEY       *pkey;
    EVP_MD_CTX     *ctx;
    EVP_PKEY_CTX   *pctx;
    oa_jwk_t        key;
    unsigned char   bytes[1024], sign[1024];

    static char  modulus[OA_BASE64URL_LEN(1024) + 1];

    bn = NULL;
    pkey = EVP_RSA_gen(bits);

    if (pkey == NULL
        || EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &bn) != 1)
    {
        ok(0, "a key");
        return;
    }

    n = (size_t) BN_bn2bin(bn, bytes);
    oa_base64url_encode(bytes, n, (unsigned char *) modulus);
    modulus[OA_BASE64URL_LEN(n)] = '\0';
    BN_free(bn);

    key = rsa(modulus, "AQAB");
    is_int(oa_jwk_check(&key, &(const char *) { NULL }), OA_OK, "RSA, %u bits",
           bits);

    strcpy(text, RS256_INPUT);

    ctx = EVP_MD_CTX_new();
    len = sizeof(sign);

    ok(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, pkey) == 1
       && EVP_DigestSign(ctx, sign, &len, (unsigned char *) text,
                         strlen(text)) == 1 && len == n, "a signature");
    EVP_MD_CTX_free(ctx);

    strcat(text, ".");
    oa_base64url_encode(sign, n, (unsigned char *) text + strlen(RS256_INPUT)
                                 + 1);
    text[strlen(RS256_INPUT) + 1 + OA_BASE64URL_LEN(n)] = '\0';

    is_int(public(text, OA_JWS_RS256, key), OA_OK, "is accepted");
    is_int(public(text, OA_JWS_RS256, rsa(RSA_N, "AQAB")), OA_DECLINED,
           "not with another key");

    /* beyond the modulus, and the numbers that are their own powers */

    for (len = 0; len < 3; len++) {
        memset(sign, (len == 2) ? 0xff : 0, n);
        sign[n - 1] = (unsigned char) (len == 2 ? 0xff : len);
        oa_base64url_encode(sign, n, (unsigned char *) text
                                     + strlen(RS256_INPUT) + 1);
        is_int(public(text, OA_JWS_RS256, key), OA_DECLINED, "no signature");
    }

    /* PSS is another algorithm, PS256 */

    ctx = EVP_MD_CTX_new();
    len = sizeof(sign);

    ok(EVP_DigestSignInit(ctx, &pctx, EVP_sha256(), NULL, pkey) == 1
       && EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) == 1
       && EVP_DigestSign(ctx, sign, &len, (unsigned char *) RS256_INPUT,
                         strlen(RS256_INPUT)) == 1, "a PSS signature");
    EVP_MD_CTX_free(ctx);

    oa_base64url_encode(sign, n, (unsigned char *) text + strlen(RS256_INPUT)
                                 + 1);
    is_int(public(text, OA_JWS_RS256, key), OA_DECLINED, "is not accepted");

    EVP_PKEY_free(pkey);
}


/* what libcrypto says to itself stays away from nginx' logs */

static void
error_queue(void)
{
    oa_jwk_t     key;
    const char  *error;

    ERR_clear_error();

    key = ec(EC_X, EC_X);
    (void) oa_jwk_check(&key, &error);
    (void) public(ES256, OA_JWS_ES256, key);
    (void) public(RS256, OA_JWS_RS256, rsa(number(256, 0xff, 0x11, 0x33),
                                           "AQAB"));
    (void) public(EDDSA, OA_JWS_EDDSA, ed(EC_X));
    (void) public(ES256_INPUT "." EDDSA_SIGNED, OA_JWS_ES256,
                  ec(EC_X, EC_Y));

    ok(ERR_peek_error() == 0, "nothing is left in the queue");

    ERR_raise(ERR_LIB_USER, 42);

    (void) oa_jwk_check(&key, &error);
    (void) public(ES256, OA_JWS_ES256, key);
    (void) public(ES256, OA_JWS_ES256, ec(EC_X, EC_Y));

    is_int(ERR_GET_REASON(ERR_get_error()), 42, "what was there still is");
    ok(ERR_get_error() == 0, "and nothing else");
}


static void
random_keys(void)
{
    size_t          i, n, len, bad, good;
    oa_rc_t         rc;
    oa_jws_t        jws;
    oa_jwk_t        key;
    const char     *error;
    unsigned char   text[1400], bytes[1050];

    bad = 0;
    good = 0;

    for (i = 0; i < 3000; i++) {

        n = (i % 3) ? 32 : 250 + tap_random_below(800);
        tap_random_bytes(bytes, n);
        len = OA_BASE64URL_LEN(n);
        oa_base64url_encode(bytes, n, text);

        if (tap_random_below(4) == 0) {
            text[tap_random_below(len)] = (unsigned char)
                                          tap_random_below(256);
        }

        key = (i % 3 == 0) ? rsa("", "AQAB")
            : (i % 3 == 1) ? ec(EC_X, "") : ed("");

        key.n = key.x = key.y = (oa_str_t) { len, text };

        if (i % 3 == 1) {
            key.x = str(EC_X);
        }

        if (i % 3 == 0) {
            key.e = (i % 2) ? str("AQAB") : (oa_str_t) { i % 12, text };
        }

        good += (oa_jwk_check(&key, &error) == OA_OK);

        if (oa_jws_split(str(i % 3 == 0 ? RS256 : i % 3 == 1 ? ES256 : EDDSA),
                         &jws)
            == OA_OK)
        {
            rc = oa_jws_verify_public(&jws, oa_jwk_alg(&key), &key);
            bad += (rc != OA_DECLINED);

            jws.signature = (oa_str_t) { len, text };
            rc = oa_jws_verify_public(&jws, oa_jwk_alg(&key), &key);
            bad += (rc != OA_DECLINED);
        }
    }

    is_int(bad, 0, "random keys have signed nothing");
    ok(good > 500, "some of them are keys");
}


int
main(void)
{
    keys();
    everybodys();
    made_ec();
    made_rsa(2048);
    made_rsa(3072);
    error_queue();
    random_keys();

    return done_testing();
}
