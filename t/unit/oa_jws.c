/* Compact serializations and signatures of signed logins: src/core/oa_jws.c */

#include <openssl/evp.h>

#include "oa_base64.h"
#include "oa_jws_fixture.h"


static oa_rc_t
secret(const char *text, oa_str_t key)
{
    oa_jws_t  jws;

    if (oa_jws_split(str(text), &jws) != OA_OK) {
        return OA_INVALID;
    }

    return oa_jws_verify_secret(&jws, key);
}


static void
split(void)
{
    oa_jws_t        jws;
    char           *text;
    size_t          i, n, bad;
    unsigned char  *copy;
    oa_str_t        s;

    static const char *const  refused[] = {
        "", ".", "..", "...", "a.b.c", "QQ", "QQ.QQ", "QQ.QQ.", "QQ..QQ",
        ".QQ.QQ", "QQ.QQ.QQ.", "QQ.QQ.QQ.QQ", "QQ.QQ.QQ.QQ.QQ", "QQ.QQ.QQ ",
        " QQ.QQ.QQ", "QQ.QQ.QQ==", "QQ==.QQ.QQ", "QR.QQ.QQ", "QQ.QR.QQ",
        "QQ.QQ.QR", "Q+.QQ.QQ", "QQ.Q/.QQ", "QQ.QQ.Q\x7f", "QQ.Q.QQ"
    };

    is_int(oa_jws_split(str(HS256), &jws), OA_OK, "three parts");
    is_str(jws.header.data, jws.header.len,
           "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", "header");
    is_str(jws.payload.data, jws.payload.len, PAYLOAD, "payload");
    is_str(jws.signature.data, jws.signature.len, HS256_SIGNED, "signature");
    is_str(jws.input.data, jws.input.len, HS256_INPUT, "what is signed");

    for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        s = str(refused[i]);
        copy = tap_copy(s.data, s.len);
        s.data = copy;
        is_int(oa_jws_split(s, &jws), OA_INVALID, "\"%s\" is none",
               refused[i]);
        free(copy);
    }

    is_int(oa_jws_split((oa_str_t) oa_null, &jws), OA_INVALID, "absent");

    n = OA_JWS_MAX + 4;
    text = malloc(n + 1);
    if (text == NULL) {
        abort();
    }

    memset(text, 'A', n);
    text[4] = '.';
    text[9] = '.';
    is_int(oa_jws_split((oa_str_t) { OA_JWS_MAX, (unsigned char *) text },
                        &jws),
           OA_OK, "the longest");
    is_int(oa_jws_split((oa_str_t) { OA_JWS_MAX + 1, (unsigned char *) text },
                        &jws),
           OA_INVALID, "one longer");
    free(text);

    bad = 0;

    for (i = 0; i < 100000; i++) {
        unsigned char  data[24];

        n = tap_random_below(sizeof(data) + 1);
        tap_random_bytes(data, n);

        for (s.len = 0; s.len < n; s.len++) {
            data[s.len] = (unsigned char) "AQgw..QA-_AQgw=A"
                                                         [data[s.len] % 16];
        }

        copy = tap_copy(data, n);
        s.data = copy;

        if (oa_jws_split(s, &jws) == OA_OK) {
            bad += (jws.header.len + jws.payload.len + jws.signature.len + 2
                    != n
                    || jws.header.data != copy
                    || jws.payload.data != copy + jws.header.len + 1
                    || jws.signature.data + jws.signature.len != copy + n
                    || jws.input.data + jws.input.len + 1
                       != jws.signature.data
                    || memchr(jws.signature.data, '.', jws.signature.len));
        }

        free(copy);
    }

    is_int(bad, 0, "random texts");
}


static void
algorithms(void)
{
    int       alg;
    oa_jwk_t  jwk;

    for (alg = OA_JWS_HS256; alg <= OA_JWS_EDDSA; alg++) {
        is_int(oa_jws_alg(str(oa_jws_alg_name((oa_jws_alg_t) alg))), alg,
               "%s", oa_jws_alg_name((oa_jws_alg_t) alg));
    }

    is_int(oa_jws_alg(str("Ed25519")), OA_JWS_EDDSA, "by its newer name");
    is_int(oa_jws_alg(str("none")), OA_JWS_NONE, "none");
    is_int(oa_jws_alg(str("None")), OA_JWS_NONE, "None");
    is_int(oa_jws_alg(str("")), OA_JWS_NONE, "nothing");
    is_int(oa_jws_alg((oa_str_t) oa_null), OA_JWS_NONE, "absent");
    is_int(oa_jws_alg(str("hs256")), OA_JWS_NONE, "case matters");
    is_int(oa_jws_alg(str("HS384")), OA_JWS_NONE, "one that is not ours");
    is_int(oa_jws_alg(str("PS256")), OA_JWS_NONE, "another one");
    is_int(oa_jws_alg((oa_str_t) { 6, (const unsigned char *) "HS256" }),
           OA_JWS_NONE, "a zero byte behind it");

    jwk = rsa(RSA_N, "AQAB");
    is_int(oa_jwk_alg(&jwk), OA_JWS_RS256, "RSA");
    jwk = ec(EC_X, EC_Y);
    is_int(oa_jwk_alg(&jwk), OA_JWS_ES256, "EC");
    jwk.crv = str("P-384");
    is_int(oa_jwk_alg(&jwk), OA_JWS_NONE, "another curve");
    jwk.crv = str("Ed25519");
    is_int(oa_jwk_alg(&jwk), OA_JWS_NONE, "a curve of another kind");
    jwk = ed(ED_X);
    is_int(oa_jwk_alg(&jwk), OA_JWS_EDDSA, "OKP");
    jwk.crv = str("Ed448");
    is_int(oa_jwk_alg(&jwk), OA_JWS_NONE, "Ed448");
    jwk.crv = str("X25519");
    is_int(oa_jwk_alg(&jwk), OA_JWS_NONE, "no curve to sign with");
    memset(&jwk, 0, sizeof(jwk));
    is_int(oa_jwk_alg(&jwk), OA_JWS_NONE, "an empty key");
    jwk.kty = str("oct");
    is_int(oa_jwk_alg(&jwk), OA_JWS_NONE, "a secret is no public key");
}


/* each part changed in each place: none of them is signed */

static void
tampered(const char *text, oa_jws_alg_t alg, const oa_jwk_t *jwk,
    oa_str_t key)
{
    char     *copy;
    size_t    i, n, bad;
    oa_rc_t   rc;

    n = strlen(text);
    bad = 0;

    for (i = 0; i < n; i++) {

        copy = tap_copy(text, n + 1);

        if (copy[i] == '.') {
            free(copy);
            continue;
        }

        copy[i] = (copy[i] == 'A') ? 'E' : 'A';

        rc = jwk ? public(copy, alg, *jwk) : secret(copy, key);
        bad += (rc != OA_DECLINED && rc != OA_INVALID);

        free(copy);
    }

    is_int(bad, 0, "%s: each character counts", oa_jws_alg_name(alg));
}


static void
rfc(void)
{
    size_t         len;
    oa_jwk_t       jwk;
    oa_str_t       key;
    unsigned char  bytes[64];

    if (oa_base64url_decode(str(HS256_SECRET), bytes, sizeof(bytes), &len)
        != OA_OK)
    {
        ok(0, "the RFC's secret");
        return;
    }

    key.data = bytes;
    key.len = len;

    is_int(secret(HS256, key), OA_OK, "RFC 7515 A.1");
    tampered(HS256, OA_JWS_HS256, NULL, key);

    jwk = rsa(RSA_N, "AQAB");
    is_int(public(RS256, OA_JWS_RS256, jwk), OA_OK, "RFC 7515 A.2");
    tampered(RS256, OA_JWS_RS256, &jwk, key);

    jwk = ec(EC_X, EC_Y);
    is_int(public(ES256, OA_JWS_ES256, jwk), OA_OK, "RFC 7515 A.3");
    tampered(ES256, OA_JWS_ES256, &jwk, key);

    jwk = ed(ED_X);
    is_int(public(EDDSA, OA_JWS_EDDSA, jwk), OA_OK, "RFC 8037 A.4");
    tampered(EDDSA, OA_JWS_EDDSA, &jwk, key);
}


/* the key says which algorithm it is for */

static void
confusion(void)
{
    int       alg;
    size_t    i, k, bad, good;
    oa_jwk_t  keys[3];

    static const char *const  texts[] = { HS256, RS256, ES256, EDDSA };

    keys[0] = rsa(RSA_N, "AQAB");
    keys[1] = ec(EC_X, EC_Y);
    keys[2] = ed(ED_X);

    bad = 0;
    good = 0;

    for (i = 0; i < 4; i++) {
        for (k = 0; k < 3; k++) {
            for (alg = -1; alg <= OA_JWS_EDDSA + 1; alg++) {

                if (i == k + 1 && alg == (int) i + OA_JWS_HS256) {
                    good += (public(texts[i], (oa_jws_alg_t) alg, keys[k])
                             == OA_OK);
                    continue;
                }

                bad += (public(texts[i], (oa_jws_alg_t) alg, keys[k])
                        != OA_DECLINED);
            }
        }
    }

    is_int(good, 3, "each with its own");
    is_int(bad, 0, "none with another one's");

    is_int(secret(RS256, str(RSA_N)), OA_DECLINED,
           "a public key is no secret");
    is_int(public(HS256_INPUT "." EC_X, OA_JWS_ES256, keys[1]), OA_DECLINED,
           "32 bytes are no ES256 signature");
}


static void
secrets(void)
{
    char  text[OA_JWS_MAX];

    is_int(secret(HS256, str(NULL)), OA_DECLINED, "no secret");
    is_int(secret(HS256, str("")), OA_DECLINED, "an empty secret");
    is_int(secret(HS256, str("secret")), OA_DECLINED, "a short one");
    memset(text, 's', sizeof(text));
    is_int(secret(HS256, (oa_str_t) { 64, (unsigned char *) text }),
           OA_DECLINED, "another one");
    is_int(secret(HS256, (oa_str_t) { sizeof(text),
                                      (unsigned char *) text }),
           OA_DECLINED, "one that is too long");

    is_int(secret(HS256_INPUT ".AA", str(HS256_SECRET)), OA_DECLINED,
           "a short signature");
    is_int(secret(HS256_INPUT "." HS256_SIGNED "AAAA", str(HS256_SECRET)),
           OA_DECLINED, "a long one");
}


/* a signature by no secret is right, and is refused */

static void
empty_secret(void)
{
    char           text[sizeof(HS256_INPUT) + 64];
    size_t         len, at;
    EVP_PKEY      *pkey;
    EVP_MD_CTX    *ctx;
    unsigned char  mac[32];

    static const unsigned char  zeros[32];

    for (at = 0; at <= 32; at += 31) {

        len = sizeof(mac);
        ctx = EVP_MD_CTX_new();
        pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_HMAC, NULL, zeros, at);

        ok(ctx != NULL && pkey != NULL
           && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, pkey) == 1
           && EVP_DigestSign(ctx, mac, &len, (unsigned char *) HS256_INPUT,
                             sizeof(HS256_INPUT) - 1) == 1
           && len == 32,
           "signed with %zu bytes", at);

        strcpy(text, HS256_INPUT ".");
        oa_base64url_encode(mac, 32,
                            (unsigned char *) text + sizeof(HS256_INPUT));
        text[sizeof(HS256_INPUT) + 43] = '\0';

        is_int(secret(text, (oa_str_t) { at, zeros }), OA_DECLINED,
               "is not accepted");
        is_int(secret(text, (oa_str_t) { 32, zeros }),
               OA_OK, "HMAC pads with zeros: 32 of them are the same key");

        EVP_PKEY_free(pkey);
        EVP_MD_CTX_free(ctx);
    }
}


int
main(void)
{
    split();
    algorithms();
    rfc();
    confusion();
    secrets();
    empty_secret();

    return done_testing();
}
