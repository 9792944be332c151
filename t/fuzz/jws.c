/*
 * Signatures: src/core/oa_jws.c. Lines: the text, kty, crv, n, e, x, y. Nothing
 * is ever signed here, so that what verifies by a key of an RFC must be that
 * RFC's own text.
 */

#include "fuzz.h"
#include "oa_jws.h"
#include "oa_jws_fixture.h"


static const oa_jws_alg_t  algs[] = {
    OA_JWS_NONE, OA_JWS_HS256, OA_JWS_RS256, OA_JWS_ES256, OA_JWS_EDDSA
};


/* only with the signature that stands in the RFC */

static void
known(const oa_jws_t *jws, oa_jws_alg_t alg, oa_jwk_t jwk, const char *input)
{
    oa_rc_t  rc;

    rc = oa_jws_verify_public(jws, alg, &jwk);

    must(rc == OA_OK || rc == OA_DECLINED);
    must(rc != OA_OK || fuzz_same(jws->input, str(input)));
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t       i;
    fuzz_t       in;
    oa_rc_t      rc;
    oa_jwk_t     jwk;
    oa_jws_t     jws;
    oa_str_t     text;
    const char  *error;

    fuzz_start(&in, data, size);

    text = fuzz_line(&in);
    jwk.kty = fuzz_value(&in);
    jwk.crv = fuzz_value(&in);
    jwk.n = fuzz_value(&in);
    jwk.e = fuzz_value(&in);
    jwk.x = fuzz_value(&in);
    jwk.y = fuzz_value(&in);

    (void) oa_jws_alg(jwk.kty);

    error = NULL;
    rc = oa_jwk_check(&jwk, &error);

    must(rc == OA_OK || (rc == OA_INVALID && error));
    must(rc != OA_OK || oa_jwk_alg(&jwk) != OA_JWS_NONE);

    if (oa_jws_split(text, &jws) == OA_OK) {
        must(text.len <= OA_JWS_MAX);
        must(fuzz_within(jws.header, text) && fuzz_within(jws.payload, text));
        must(fuzz_within(jws.signature, text));
        must(jws.input.data == text.data
             && jws.input.len + 1 + jws.signature.len == text.len);

        for (i = 0; i < sizeof(algs) / sizeof(algs[0]); i++) {
            rc = oa_jws_verify_public(&jws, algs[i], &jwk);
            must(rc == OA_OK || rc == OA_DECLINED);
            must(rc != OA_OK || oa_jwk_alg(&jwk) == algs[i]);
        }

        known(&jws, OA_JWS_RS256, rsa(RSA_N, "AQAB"), RS256_INPUT);
        known(&jws, OA_JWS_ES256, ec(EC_X, EC_Y), ES256_INPUT);
        known(&jws, OA_JWS_EDDSA, ed(ED_X), EDDSA_INPUT);

        rc = oa_jws_verify_secret(&jws, str(HS256_SECRET));
        must(rc != OA_OK);
    }

    fuzz_end(&in);
    return 0;
}
