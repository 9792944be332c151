/*
 * OAuth clients: the record "client:<client_id>" (docs/records.md), and what
 * it says about redirects, grants, scopes and ways to log in.
 *
 * The token service reads it from Redis at every login: it is never cached.
 */

#ifndef OA_CLIENT_H
#define OA_CLIENT_H

#include "oa_core.h"
#include "oa_form.h"


#define OA_CLIENT_FIELDS     12
#define OA_REDIRECTS_MAX     2048       /* bytes of all redirect URIs */
#define OA_REDIRECT_MAX      512        /* bytes of one */
#define OA_JWK_MAX           2048       /* bytes of a public key, JSON */
#define OA_VERIFIER_MIN      43         /* RFC 7636 section 4.1 */
#define OA_VERIFIER_MAX      128
#define OA_CHALLENGE_LEN     43         /* S256 */


typedef enum {
    OA_GRANT_AUTHORIZATION_CODE = 1,
    OA_GRANT_REFRESH_TOKEN      = 2,
    OA_GRANT_CLIENT_CREDENTIALS = 4
} oa_grant_t;

/* bits: a client may have several */
typedef enum {
    OA_AUTH_NONE                = 1,    /* a public client */
    OA_AUTH_SECRET_BASIC        = 2,
    OA_AUTH_SECRET_POST         = 4,
    OA_AUTH_SECRET_JWT          = 8,
    OA_AUTH_PRIVATE_KEY_JWT     = 16
} oa_auth_method_t;


typedef struct {
    oa_str_t           id;
    oa_str_t           account;
    oa_str_t           name;
    oa_str_t           secret;          /* digest, hex; data NULL: none */
    oa_str_t           secret_wrapped;  /* base64url; see oa_wrap.h */
    oa_str_t           jwk;             /* JSON */
    oa_str_t           redirect_uris;   /* words */
    oa_str_t           scopes;          /* words; may be empty */
    unsigned           grants;          /* bits of oa_grant_t; 0: it only
                                           asks about tokens */
    unsigned           auth_methods;    /* bits of oa_auth_method_t */
    oa_environment_t   environment;     /* of its tokens; LIVE if not said */
    unsigned           enabled:1;       /* if not said: yes */
    unsigned           introspect:1;    /* may ask about tokens (RFC 7662) */
} oa_client_t;


/* to ask Redis for (HMGET), in the order that reading expects: v is not among
   them. account name secret secret_wrapped jwk redirect_uris grants scopes
   auth_method environment enabled introspect */
extern const oa_str_t  oa_client_fields[OA_CLIENT_FIELDS];


/*
 * Values in field order (absent: data == NULL) -> views into them.
 * OA_DECLINED  every field is absent: there is no such client
 * OA_INVALID   a field is missing or has a wrong form; *field names it
 * Required: account, grants, auth_method. grants and auth_method are words;
 * auth_method none stands alone, with no secret, without client_credentials
 * (RFC 6749 section 4.4) and without introspect; a secret or key must be there
 * for every method that needs it; authorization_code needs a redirect URI;
 * refresh_token goes with another grant; grants may be empty with introspect.
 * The JSON of jwk and what secret_wrapped holds are not looked into.
 * id is taken as it is: whoever asked Redis has checked it (oa_text_is_id, at
 * most OA_ACCOUNT_MAX bytes).
 */
oa_rc_t oa_client_read(oa_str_t id, const oa_str_t values[OA_CLIENT_FIELDS],
    oa_client_t *client, oa_str_t *field);

/* one field alone, for the command line: OA_OK, or OA_INVALID with *error
   (static text: what form is expected). Knows description, created and
   updated, too, which are for people */
oa_rc_t oa_client_field_check(const char *field, oa_str_t value,
    const char **error);

/* 0: no such word */
unsigned oa_grant_bit(oa_str_t word);
unsigned oa_auth_method_bit(oa_str_t word);
const char *oa_auth_method_name(unsigned bit);
const char *oa_grant_name(unsigned bit);

/*
 * A redirect URI that may be registered: https, or http on a loopback address
 * or localhost, or a private-use scheme with a dot and a path (RFC 8252); the
 * scheme in lower case, no fragment, no user info, nothing that RFC 3986 has
 * not (blanks, control characters, backslashes). OA_INVALID and *error, static
 * text.
 */
oa_rc_t oa_redirect_uri_check(oa_str_t uri, const char **error);

/*
 * The exact one among the registered (RFC 9700 section 2.1); only the port of
 * a registered http loopback address, 127.0.0.1 or [::1], may differ (RFC 8252
 * section 7.3).
 */
int oa_redirect_uri_match(oa_str_t registered, oa_str_t uri);

/*
 * What a token gets: the words of requested that allowed (and ceiling, unless
 * its data is NULL) grants, by oa_scope_grants(). Nothing requested: all that is
 * allowed and within the ceiling. OA_INVALID: requested is malformed, or asks for
 * something that is not granted (RFC 6749 section 5.2, invalid_scope): a request
 * is refused, never silently cut; what the ceiling takes away is cut only where
 * nothing was requested, and *len may be 0 then. OA_ERROR: no room in out
 * (OA_SET_MAX bytes are enough for what is requested), or allowed or ceiling is
 * no set of words. out is none of the other texts.
 */
oa_rc_t oa_scope_narrow(oa_str_t requested, oa_str_t allowed, oa_str_t ceiling,
    unsigned char *out, size_t cap, size_t *len);

/* RFC 7636: base64url(SHA-256(verifier)) is the challenge; constant time.
   OA_INVALID: a verifier of wrong form; OA_DECLINED: not its challenge;
   OA_ERROR: libcrypto failed */
oa_rc_t oa_pkce_check(oa_str_t verifier, oa_str_t challenge);
int oa_pkce_challenge_valid(oa_str_t challenge);


#endif /* OA_CLIENT_H */
