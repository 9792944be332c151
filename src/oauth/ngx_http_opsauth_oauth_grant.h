/*
 * What grants share: to whom and for what a token is, and the way it is
 * written. The order of writing is that of the plan in docs/oauth.md: what makes
 * a token live comes last, so that a crash anywhere leaves nothing usable.
 */

#ifndef NGX_HTTP_OPSAUTH_OAUTH_GRANT_H
#define NGX_HTTP_OPSAUTH_OAUTH_GRANT_H

#include "ngx_http_opsauth_oauth.h"
#include "ngx_http_opsauth_oauth_script.h"


/* 22 base62 characters name the family, 43 are its current secret */
#define NGX_HTTP_OPSAUTH_OAUTH_FAMILY_LEN   22
#define NGX_HTTP_OPSAUTH_OAUTH_REFRESH_LEN                                    \
    (NGX_HTTP_OPSAUTH_OAUTH_FAMILY_LEN + OA_KEY_BODY_LEN)

/* the record of a token outlives it by a day, so that logs can be explained */
#define NGX_HTTP_OPSAUTH_OAUTH_TOKEN_REST   86400

/* for how long an issue that is under way may still be stopped, in ms */
#define NGX_HTTP_OPSAUTH_OAUTH_TOMBSTONE    600000


/* oauth->data of the token, revoke and introspect endpoints */
typedef struct {
    oa_str_t                        subject;
    oa_str_t                        environment;
    oa_str_t                        scopes;
    u_char                          words[2][OA_SET_MAX];   /* of scopes */

    int64_t                         now;            /* s */
    int64_t                         valid;          /* s, of the access token */
    ngx_str_t                       access;         /* the tokens, digests */
    ngx_str_t                       access_digest;
    ngx_str_t                       access_id;
    ngx_str_t                       refresh;        /* len 0: none */
    ngx_str_t                       refresh_digest; /* of all of it */
    ngx_str_t                       family;         /* digest of a new one's
                                                       name; empty: none */

    /* of a code or a family that was presented: where it is, and its fields */
    ngx_str_t                       digest;         /* what the key has */
    ngx_uint_t                      pepper;         /* of a family's digest */
    oa_str_t                        presented;
    ngx_str_t                       presented_digest;
    const oa_str_t                 *fields;
    unsigned                        is_current:1;   /* of a refresh token */
    unsigned                        is_refresh:1;   /* by its form */
    void                           *about;          /* introspect.c's own */

    /* access tokens to be revoked */
    oa_str_t                       *revoke;
    ngx_uint_t                      nrevoke;
    ngx_http_opsauth_oauth_step_pt  revoked;
} ngx_http_opsauth_oauth_grant_t;


/* ngx_http_opsauth_oauth_grant.c */

/* made at first; NULL: no memory */
ngx_http_opsauth_oauth_grant_t *ngx_http_opsauth_oauth_grant(
    ngx_http_opsauth_oauth_t *oauth);

/*
 * The form's "token", of revoke and introspect: sets grant->presented and
 * is_refresh, and name, by whose digest its record is found; null: no token is
 * that long. NULL: *rc is what the step returns.
 */
ngx_http_opsauth_oauth_grant_t *ngx_http_opsauth_oauth_presented(
    ngx_http_opsauth_oauth_t *oauth, oa_str_t *name, ngx_int_t *rc);

/*
 * grant->scopes: what is requested (NULL: all), within allowed, the client's
 * and the account's. NGX_DECLINED: more is requested; NGX_ERROR: a record is
 * malformed
 */
ngx_int_t ngx_http_opsauth_oauth_narrow(ngx_http_opsauth_oauth_t *oauth,
    oa_str_t requested, oa_str_t allowed);

/* answers where that was not NGX_OK */
ngx_int_t ngx_http_opsauth_oauth_not_narrowed(ngx_http_opsauth_oauth_t *oauth,
    ngx_int_t rc);

/* a new access token, valid as the account has it; NGX_ERROR: failed */
ngx_int_t ngx_http_opsauth_oauth_new_access(ngx_http_opsauth_oauth_t *oauth);

/* a new refresh token of this family; data NULL: of a new one, which sets
   grant->family. NGX_ERROR: failed */
ngx_int_t ngx_http_opsauth_oauth_new_refresh(ngx_http_opsauth_oauth_t *oauth,
    oa_str_t family);

/* ngx_http_opsauth_oauth_issue.c */

/* writes the record of the new family, then does issue() */
ngx_int_t ngx_http_opsauth_oauth_family_create(
    ngx_http_opsauth_oauth_t *oauth);

/* writes the access token's record and answers with the tokens */
ngx_int_t ngx_http_opsauth_oauth_issue(ngx_http_opsauth_oauth_t *oauth);

/* notes the digests in a script's reply, from the n-th string on; NGX_ERROR: no
   memory, or none of a script's replies */
ngx_int_t ngx_http_opsauth_oauth_to_revoke(ngx_http_opsauth_oauth_t *oauth,
    ngx_opsauth_reply_t *reply, ngx_uint_t n);

/* revokes what was noted, then runs next */
ngx_int_t ngx_http_opsauth_oauth_revoke_all(ngx_http_opsauth_oauth_t *oauth,
    ngx_http_opsauth_oauth_step_pt next);

/* refresh:<grant->digest> and all that lives of it; next finds the digests in
   reply 0 */
ngx_int_t ngx_http_opsauth_oauth_family_revoke(
    ngx_http_opsauth_oauth_t *oauth, const ngx_str_t *digest, oa_str_t client,
    int64_t tombstone, ngx_http_opsauth_oauth_step_pt next);


/* the grants; ngx_http_opsauth_oauth_{token,code,refresh}.c */

ngx_int_t ngx_http_opsauth_oauth_token(ngx_http_opsauth_oauth_t *oauth);
ngx_int_t ngx_http_opsauth_oauth_code(ngx_http_opsauth_oauth_t *oauth);
ngx_int_t ngx_http_opsauth_oauth_refresh(ngx_http_opsauth_oauth_t *oauth);

/* a script said something that none of its words is */
ngx_int_t ngx_http_opsauth_oauth_strange(ngx_http_opsauth_oauth_t *oauth);

/* splits a refresh token; NGX_DECLINED: it has not the form of one */
ngx_int_t ngx_http_opsauth_oauth_family(oa_str_t token, oa_str_t *family);


/* ngx_http_opsauth_oauth_revoke.c, _introspect.c */

ngx_int_t ngx_http_opsauth_oauth_revoke(ngx_http_opsauth_oauth_t *oauth);
ngx_int_t ngx_http_opsauth_oauth_introspect(ngx_http_opsauth_oauth_t *oauth);


/* fields of families that are read, in this order */
enum {
    NGX_HTTP_OPSAUTH_OAUTH_FAMILY_STATE = 0,
    NGX_HTTP_OPSAUTH_OAUTH_FAMILY_CLIENT,
    NGX_HTTP_OPSAUTH_OAUTH_FAMILY_ACCOUNT,
    NGX_HTTP_OPSAUTH_OAUTH_FAMILY_SUBJECT,
    NGX_HTTP_OPSAUTH_OAUTH_FAMILY_SCOPES,
    NGX_HTTP_OPSAUTH_OAUTH_FAMILY_ENVIRONMENT,
    NGX_HTTP_OPSAUTH_OAUTH_FAMILY_CURRENT,
    NGX_HTTP_OPSAUTH_OAUTH_FAMILY_PREVIOUS,
    NGX_HTTP_OPSAUTH_OAUTH_FAMILY_CREATED,
    NGX_HTTP_OPSAUTH_OAUTH_FAMILY_EXPIRES,
    NGX_HTTP_OPSAUTH_OAUTH_FAMILY_FIELDS
};

extern const char *const  ngx_http_opsauth_oauth_family_fields[];

/* NGX_DECLINED: there is none. Sets grant->digest and fields, and the digest
   presented under the pepper that the family is at, if it is its token.
   NGX_ERROR: no memory */
ngx_int_t ngx_http_opsauth_oauth_family_take(ngx_http_opsauth_oauth_t *oauth);


#endif /* NGX_HTTP_OPSAUTH_OAUTH_GRANT_H */
