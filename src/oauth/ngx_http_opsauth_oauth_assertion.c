/*
 * Signed logins (RFC 7523): a JWT that the client signs by its secret
 * (client_secret_jwt, HS256) or its private key (private_key_jwt). The header's
 * algorithm only chooses between the two; which one verifies is what the
 * client's record has: a public key is never taken for an HMAC's secret.
 */

#include "ngx_http_opsauth_oauth.h"
#include "oa_base64.h"
#include "oa_jws.h"
#include "oa_wrap.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>


static json_t *ngx_http_opsauth_oauth_assertion_part(oa_str_t part);
static oa_jws_alg_t ngx_http_opsauth_oauth_assertion_alg(const oa_jws_t *jws);
static ngx_uint_t ngx_http_opsauth_oauth_assertion_by_secret(
    ngx_http_opsauth_oauth_t *oauth, const oa_jws_t *jws,
    const oa_client_t *client);
static ngx_uint_t ngx_http_opsauth_oauth_assertion_by_key(
    const oa_jws_t *jws, oa_jws_alg_t alg, const oa_client_t *client);
static oa_str_t ngx_http_opsauth_oauth_assertion_member(json_t *object,
    const char *name);
static const char *ngx_http_opsauth_oauth_assertion_claims(
    ngx_http_opsauth_oauth_t *oauth, json_t *claims, ngx_str_t *jti,
    int64_t *valid);
static ngx_uint_t ngx_http_opsauth_oauth_assertion_audience(
    ngx_http_opsauth_oauth_t *oauth, json_t *aud);
static ngx_int_t ngx_http_opsauth_oauth_assertion_jti(
    ngx_http_opsauth_oauth_t *oauth, oa_str_t id, ngx_str_t *jti);


/* ahead, in s: libraries take up to an hour unless told otherwise */
#define NGX_HTTP_OPSAUTH_OAUTH_EXP_MAX   3600
#define NGX_HTTP_OPSAUTH_OAUTH_SKEW      60     /* s between two clocks */
#define NGX_HTTP_OPSAUTH_OAUTH_JTI_MAX   256

/* what is verified with where a client isn't there: somebody's public keys, and
   the wrapped form of a secret under a pepper that nobody has */

#define NGX_HTTP_OPSAUTH_OAUTH_NOBODY_EC                                      \
    "{\"kty\":\"EC\",\"crv\":\"P-256\","                                      \
    "\"x\":\"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY\","                  \
    "\"y\":\"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU\"}"

#define NGX_HTTP_OPSAUTH_OAUTH_NOBODY_OKP                                     \
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\","                                   \
    "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}"

#define NGX_HTTP_OPSAUTH_OAUTH_NOBODY_RSA                                     \
    "{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\""                                \
    "tFPO8V7EV3xJtWXwqSk5yP73I148uZ6CRUj2LmCY7TpLZNg-wi5SuRbhb1t7"            \
    "i5TFLfYjOaj8cNdaX1eJd7bYdHwc5bwRZt4fZ6HBs2jIFifg_o5YRYXlEE3t"            \
    "63eRKlg2h1hyuL-DxQKjBtKJx6cRJnsElhm6mWz3regMQq9BrYFfxgIUPCtU"            \
    "MqkVvFsvESQypvaQdrR3yDeH0x7dJUr006TcMW77gYjrfk5i4AbCP2Wo1BL_"            \
    "y70QKwMTMtKULI_Ek1DOi0rM5L7gbfXga75CDNis3vNxDg6Z1J-NT_u4sT4j"            \
    "hdTEQN5SjUeKLMC0xCHnoZotxySUK7SWq-txErP1Cw"                              \
    "\"}"

#define NGX_HTTP_OPSAUTH_OAUTH_NOBODY_WRAPPED                                 \
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"            \
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


oa_str_t
ngx_http_opsauth_oauth_assertion_client(ngx_http_opsauth_oauth_t *oauth)
{
    u_char    *p;
    json_t    *claims;
    oa_str_t   sub;
    oa_jws_t   jws;

    sub = (oa_str_t) oa_null;

    if (oa_jws_split(oauth->login.assertion, &jws) != OA_OK) {
        return sub;
    }

    claims = ngx_http_opsauth_oauth_assertion_part(jws.payload);
    sub = ngx_http_opsauth_oauth_assertion_member(claims, "sub");

    if (sub.data) {
        p = ngx_pnalloc(oauth->request->pool, sub.len + 1);

        if (p) {
            ngx_memcpy(p, sub.data, sub.len);
        }

        sub.data = p;
    }

    json_decref(claims);

    return sub;
}


ngx_int_t
ngx_http_opsauth_oauth_assertion_check(ngx_http_opsauth_oauth_t *oauth,
    const oa_client_t *client, ngx_str_t *jti, int64_t *valid,
    const char **reason)
{
    json_t        *claims;
    oa_jws_t       jws;
    ngx_uint_t     verified;
    oa_jws_alg_t   alg;

    *reason = "the assertion's algorithm is none of ours";

    if (oa_jws_split(oauth->login.assertion, &jws) != OA_OK) {
        return NGX_DECLINED;
    }

    alg = ngx_http_opsauth_oauth_assertion_alg(&jws);

    if (alg == OA_JWS_NONE) {
        return NGX_DECLINED;
    }

    if (alg == OA_JWS_HS256) {
        oauth->login.method = OA_AUTH_SECRET_JWT;
        verified = ngx_http_opsauth_oauth_assertion_by_secret(oauth, &jws,
                                                              client);
    } else {
        oauth->login.method = OA_AUTH_PRIVATE_KEY_JWT;
        verified = ngx_http_opsauth_oauth_assertion_by_key(&jws, alg, client);
    }

    if (!verified) {
        *reason = "the assertion's signature is wrong";
        return NGX_DECLINED;
    }

    claims = ngx_http_opsauth_oauth_assertion_part(jws.payload);
    *reason = ngx_http_opsauth_oauth_assertion_claims(oauth, claims, jti,
                                                      valid);
    json_decref(claims);

    if (*reason) {
        return NGX_DECLINED;
    }

    return jti->data ? NGX_OK : NGX_ERROR;
}


/* NULL: no JSON object */

static json_t *
ngx_http_opsauth_oauth_assertion_part(oa_str_t part)
{
    size_t         len;
    json_t        *object;
    unsigned char  text[OA_JWS_MAX];

    if (oa_base64url_decode(part, text, sizeof(text), &len) != OA_OK) {
        return NULL;
    }

    object = json_loadb((char *) text, len, JSON_REJECT_DUPLICATES, NULL);

    if (object && !json_is_object(object)) {
        json_decref(object);
        return NULL;
    }

    return object;
}


static oa_jws_alg_t
ngx_http_opsauth_oauth_assertion_alg(const oa_jws_t *jws)
{
    json_t        *header;
    oa_str_t       name;
    oa_jws_alg_t   alg;

    header = ngx_http_opsauth_oauth_assertion_part(jws->header);
    name = ngx_http_opsauth_oauth_assertion_member(header, "alg");

    /* extensions that must be understood (RFC 7515 section 4.1.11): none is */

    alg = (name.data && json_object_get(header, "crit") == NULL)
          ? oa_jws_alg(name) : OA_JWS_NONE;

    json_decref(header);

    return alg;
}


static ngx_uint_t
ngx_http_opsauth_oauth_assertion_by_secret(ngx_http_opsauth_oauth_t *oauth,
    const oa_jws_t *jws, const oa_client_t *client)
{
    size_t                     len;
    oa_str_t                   wrapped, secret, id;
    ngx_uint_t                 i, verified, there;
    unsigned char              text[OA_WRAP_SECRET_MAX];
    ngx_http_opsauth_store_t  *store;

    static const oa_str_t  nobody =
        oa_string(NGX_HTTP_OPSAUTH_OAUTH_NOBODY_WRAPPED);

    store = oauth->store;
    there = (client && client->secret_wrapped.data);
    wrapped = there ? client->secret_wrapped : nobody;
    id = oauth->client_id;
    verified = 0;

    for (i = 0; i < store->npeppers && !verified; i++) {

        if (oa_unwrap(store->peppers[i], id, wrapped, text, &len) == OA_OK) {
            secret.data = text;
            secret.len = len;
            verified = (oa_jws_verify_secret(jws, secret) == OA_OK);
        }
    }

    OPENSSL_cleanse(text, sizeof(text));

    if (!there) {
        (void) oa_jws_verify_secret(jws, nobody);
    }

    return verified & there;
}


static ngx_uint_t
ngx_http_opsauth_oauth_assertion_by_key(const oa_jws_t *jws, oa_jws_alg_t alg,
    const oa_client_t *client)
{
    json_t      *key;
    oa_jwk_t     jwk;
    oa_str_t     text;
    ngx_uint_t   verified, there;

    static const oa_str_t  ec = oa_string(NGX_HTTP_OPSAUTH_OAUTH_NOBODY_EC);
    static const oa_str_t  okp = oa_string(NGX_HTTP_OPSAUTH_OAUTH_NOBODY_OKP);
    static const oa_str_t  rsa = oa_string(NGX_HTTP_OPSAUTH_OAUTH_NOBODY_RSA);

    there = (client && client->jwk.data);
    text = there ? client->jwk
                 : (alg == OA_JWS_EDDSA) ? okp
                 : (alg == OA_JWS_RS256) ? rsa : ec;

    key = json_loadb((const char *) text.data, text.len,
                     JSON_REJECT_DUPLICATES, NULL);

    jwk.kty = ngx_http_opsauth_oauth_assertion_member(key, "kty");
    jwk.crv = ngx_http_opsauth_oauth_assertion_member(key, "crv");
    jwk.n = ngx_http_opsauth_oauth_assertion_member(key, "n");
    jwk.e = ngx_http_opsauth_oauth_assertion_member(key, "e");
    jwk.x = ngx_http_opsauth_oauth_assertion_member(key, "x");
    jwk.y = ngx_http_opsauth_oauth_assertion_member(key, "y");

    verified = (oa_jwk_alg(&jwk) == alg
                && oa_jws_verify_public(jws, alg, &jwk) == OA_OK);

    json_decref(key);

    return verified & there;
}


/* data NULL: object is NULL, or has no such text, or it holds a NUL */

static oa_str_t
ngx_http_opsauth_oauth_assertion_member(json_t *object, const char *name)
{
    json_t    *value;
    oa_str_t   text = oa_null;

    value = json_object_get(object, name);

    if (json_is_string(value)) {
        text.data = (const unsigned char *) json_string_value(value);
        text.len = json_string_length(value);
    }

    return text;
}


/* RFC 7523 section 3; NULL: nothing is wrong with them */

static const char *
ngx_http_opsauth_oauth_assertion_claims(ngx_http_opsauth_oauth_t *oauth,
    json_t *claims, ngx_str_t *jti, int64_t *valid)
{
    json_t    *exp, *nbf, *iat;
    oa_str_t   iss, sub, id;
    int64_t    now, until;

    now = ngx_time();

    iss = ngx_http_opsauth_oauth_assertion_member(claims, "iss");
    sub = ngx_http_opsauth_oauth_assertion_member(claims, "sub");
    id = ngx_http_opsauth_oauth_assertion_member(claims, "jti");

    exp = json_object_get(claims, "exp");
    nbf = json_object_get(claims, "nbf");
    iat = json_object_get(claims, "iat");

    if (iss.data == NULL || sub.data == NULL || iss.len != sub.len
        || ngx_memcmp(iss.data, sub.data, iss.len) != 0)
    {
        return "the assertion's iss and sub are not both the client";
    }

    if (!ngx_http_opsauth_oauth_assertion_audience(oauth,
                                            json_object_get(claims, "aud")))
    {
        return "the assertion is for another audience";
    }

    if (!json_is_number(exp)
        || json_number_value(exp) <= (double) (now
                                           - NGX_HTTP_OPSAUTH_OAUTH_SKEW))
    {
        return "the assertion has expired, or no exp";
    }

    if (json_number_value(exp)
        > (double) (now + NGX_HTTP_OPSAUTH_OAUTH_EXP_MAX
                    + NGX_HTTP_OPSAUTH_OAUTH_SKEW))
    {
        return "the assertion's exp is more than an hour ahead";
    }

    if ((nbf && (!json_is_number(nbf)
                 || json_number_value(nbf)
                    > (double) (now + NGX_HTTP_OPSAUTH_OAUTH_SKEW)))
        || (iat && (!json_is_number(iat)
                    || json_number_value(iat)
                       > (double) (now + NGX_HTTP_OPSAUTH_OAUTH_SKEW))))
    {
        return "the assertion's nbf or iat is yet to come";
    }

    if (id.len == 0 || id.len > NGX_HTTP_OPSAUTH_OAUTH_JTI_MAX) {
        return "the assertion has no jti, or a very long one";
    }

    /* a fraction of a second counts as a whole one */

    until = (int64_t) json_number_value(exp) + 1 + NGX_HTTP_OPSAUTH_OAUTH_SKEW;
    *valid = (until - now) * 1000;

    if (ngx_http_opsauth_oauth_assertion_jti(oauth, id, jti) != NGX_OK) {
        jti->data = NULL;
    }

    return NULL;
}


static ngx_uint_t
ngx_http_opsauth_oauth_assertion_audience(ngx_http_opsauth_oauth_t *oauth,
    json_t *aud)
{
    size_t      len, i;
    json_t     *one;
    ngx_str_t  *ours[2];
    ngx_uint_t  k;
    const char  *text;

    if (json_is_array(aud)) {

        json_array_foreach(aud, i, one) {
            if (json_is_string(one)
                && ngx_http_opsauth_oauth_assertion_audience(oauth, one))
            {
                return 1;
            }
        }

        return 0;
    }

    if (!json_is_string(aud)) {
        return 0;
    }

    text = json_string_value(aud);
    len = json_string_length(aud);

    ours[0] = &oauth->conf->issuer;
    ours[1] = &oauth->conf->token_url;

    for (k = 0; k < 2; k++) {
        if (len && len == ours[k]->len
            && ngx_memcmp(text, ours[k]->data, len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/* one client can't use up another one's */

static ngx_int_t
ngx_http_opsauth_oauth_assertion_jti(ngx_http_opsauth_oauth_t *oauth,
    oa_str_t id, ngx_str_t *jti)
{
    u_char         *text, *p;
    size_t          len;
    unsigned char   digest[SHA256_DIGEST_LENGTH];

    len = oauth->client_id.len + 1 + id.len;

    text = ngx_pnalloc(oauth->request->pool, len);
    jti->data = ngx_pnalloc(oauth->request->pool, 2 * SHA256_DIGEST_LENGTH);
    jti->len = 2 * SHA256_DIGEST_LENGTH;

    if (text == NULL || jti->data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(text, oauth->client_id.data, oauth->client_id.len);
    *p++ = '\0';
    ngx_memcpy(p, id.data, id.len);

    if (SHA256(text, len, digest) == NULL) {
        return NGX_ERROR;
    }

    oa_text_hex(digest, SHA256_DIGEST_LENGTH, jti->data);

    return NGX_OK;
}
