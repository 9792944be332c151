/* Known signatures and keys, for the tests of src/core/oa_jws.c */

#ifndef OA_JWS_FIXTURE_H
#define OA_JWS_FIXTURE_H

#include "oa_jws.h"
#include "tap.h"


/* RFC 7515 appendices A.1 to A.3 */

#define PAYLOAD                                                               \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"        \
    "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ"

#define HS256_INPUT   "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." PAYLOAD
#define HS256_SIGNED  "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
#define HS256         HS256_INPUT "." HS256_SIGNED
#define HS256_SECRET                                                          \
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4h"    \
    "cgUuTwjAzZr1Z9CAow"

#define RS256_INPUT   "eyJhbGciOiJSUzI1NiJ9." PAYLOAD
#define RS256_SIGNED                                                          \
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7"        \
    "AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4"        \
    "BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K"        \
    "0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqv"        \
    "hJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrB"        \
    "p0igcN_IoypGlUPQGe77Rw"
#define RS256         RS256_INPUT "." RS256_SIGNED
#define RSA_N                                                                 \
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp"        \
    "-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOW"        \
    "vG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUs"        \
    "LA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9k"        \
    "G4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2"        \
    "PAcDTW9gb54h4FRWyuXpoQ"

#define ES256_INPUT   "eyJhbGciOiJFUzI1NiJ9." PAYLOAD
#define ES256_SIGNED                                                          \
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSA"        \
    "pmWQxfKTUJqPP3-Kg6NU1Q"
#define ES256         ES256_INPUT "." ES256_SIGNED
#define EC_X          "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
#define EC_Y          "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"

/* RFC 8037 appendix A.4 */

#define EDDSA_INPUT                                                           \
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
#define EDDSA_SIGNED                                                          \
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt"   \
    "9g7sVvpAr_MuM0KAg"
#define EDDSA         EDDSA_INPUT "." EDDSA_SIGNED
#define ED_X          "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"



static inline oa_str_t
str(const char *s)
{
    return (oa_str_t) { s ? strlen(s) : 0, (const unsigned char *) s };
}


static inline oa_jwk_t
rsa(const char *n, const char *e)
{
    return (oa_jwk_t) { .kty = str("RSA"), .n = str(n), .e = str(e) };
}


static inline oa_jwk_t
ec(const char *x, const char *y)
{
    return (oa_jwk_t) { .kty = str("EC"), .crv = str("P-256"), .x = str(x),
                        .y = str(y) };
}


static inline oa_jwk_t
ed(const char *x)
{
    return (oa_jwk_t) { .kty = str("OKP"), .crv = str("Ed25519"),
                        .x = str(x) };
}


/* the signature of a whole text by a public key */

static inline oa_rc_t
public(const char *text, oa_jws_alg_t alg, oa_jwk_t jwk)
{
    oa_jws_t  jws;

    if (oa_jws_split(str(text), &jws) != OA_OK) {
        return OA_INVALID;
    }

    return oa_jws_verify_public(&jws, alg, &jwk);
}


#endif /* OA_JWS_FIXTURE_H */
