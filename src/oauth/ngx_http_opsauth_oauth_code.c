/*
 * grant_type=authorization_code (RFC 6749 section 4.1.3, RFC 7636):
 *
 *   read the code     under every pepper; another client's is unknown here
 *   read the account
 *   code_redeem       checks all again, at once: only one can redeem it
 *   family_create     where the account refreshes
 *   issue
 *
 * Who redeems a code for a second time shows that somebody has a copy: all that
 * it was redeemed for is revoked, also what is still being issued, for which
 * tombstones are left (RFC 9700 section 4.5.1).
 */

#include "ngx_http_opsauth_oauth_grant.h"
#include "oa_base64.h"

#include <openssl/sha.h>


enum {
    NGX_HTTP_OPSAUTH_OAUTH_CODE_STATE = 0,
    NGX_HTTP_OPSAUTH_OAUTH_CODE_CLIENT,
    NGX_HTTP_OPSAUTH_OAUTH_CODE_ACCOUNT,
    NGX_HTTP_OPSAUTH_OAUTH_CODE_SUBJECT,
    NGX_HTTP_OPSAUTH_OAUTH_CODE_SCOPES,
    NGX_HTTP_OPSAUTH_OAUTH_CODE_CHALLENGE,
    NGX_HTTP_OPSAUTH_OAUTH_CODE_ENVIRONMENT,
    NGX_HTTP_OPSAUTH_OAUTH_CODE_FIELDS
};


static ngx_int_t ngx_http_opsauth_oauth_code_read(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_code_account(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_code_redeem(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_code_challenge(
    ngx_http_opsauth_oauth_t *oauth, ngx_str_t *challenge);
static ngx_int_t ngx_http_opsauth_oauth_code_redeemed(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_code_family(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_code_created(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_code_replayed(
    ngx_http_opsauth_oauth_t *oauth, oa_str_t access, oa_str_t family);
static ngx_int_t ngx_http_opsauth_oauth_code_replayed_family(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_code_revoked(
    ngx_http_opsauth_oauth_t *oauth);


static const char *const  ngx_http_opsauth_oauth_code_fields[] = {
    "state", "client", "account", "subject", "scopes", "challenge",
    "environment"
};


ngx_int_t
ngx_http_opsauth_oauth_code(ngx_http_opsauth_oauth_t *oauth)
{
    oa_str_t                         code, verifier;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;
    code = oa_form_get(&oauth->form, "code");
    verifier = oa_form_get(&oauth->form, "code_verifier");

    if (code.data == NULL) {
        return ngx_http_opsauth_oauth_invalid_request(oauth,
                                                      "code is missing");
    }

    if (verifier.data
        && oa_pkce_check(verifier, (oa_str_t) oa_string("")) == OA_INVALID)
    {
        return ngx_http_opsauth_oauth_invalid_request(oauth,
                                                "code_verifier is malformed");
    }

    if (code.len > OA_BEARER_MAX) {
        return ngx_http_opsauth_oauth_invalid_grant(oauth,
                                                    "no code is that long");
    }

    grant->presented = code;

    if (ngx_http_opsauth_oauth_find(oauth, "code:", code,
                                    NGX_HTTP_OPSAUTH_OAUTH_CODE_FIELDS,
                                    ngx_http_opsauth_oauth_code_fields)
        != NGX_OK)
    {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    return ngx_http_opsauth_oauth_wait(oauth,
                                       ngx_http_opsauth_oauth_code_read);
}


static ngx_int_t
ngx_http_opsauth_oauth_code_read(ngx_http_opsauth_oauth_t *oauth)
{
    oa_str_t                        *fields;
    ngx_int_t                        found;
    ngx_uint_t                       i;
    ngx_opsauth_reply_t             *reply;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;
    found = ngx_http_opsauth_oauth_found(oauth);

    if (found == NGX_DECLINED) {
        return ngx_http_opsauth_oauth_invalid_grant(oauth,
                                            "the code is unknown or expired");
    }

    grant->digest = oauth->digests[found];
    reply = ngx_http_opsauth_oauth_reply(oauth, found);

    fields = ngx_palloc(oauth->request->pool,
                        NGX_HTTP_OPSAUTH_OAUTH_CODE_FIELDS * sizeof(oa_str_t));
    if (fields == NULL) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    for (i = 0; i < NGX_HTTP_OPSAUTH_OAUTH_CODE_FIELDS; i++) {
        fields[i] = ngx_http_opsauth_oauth_text(reply, i);
    }

    grant->fields = fields;

    if (fields[NGX_HTTP_OPSAUTH_OAUTH_CODE_CLIENT].data == NULL
        || fields[NGX_HTTP_OPSAUTH_OAUTH_CODE_ACCOUNT].len == 0
        || fields[NGX_HTTP_OPSAUTH_OAUTH_CODE_SCOPES].data == NULL
        || fields[NGX_HTTP_OPSAUTH_OAUTH_CODE_CHALLENGE].data == NULL
        || fields[NGX_HTTP_OPSAUTH_OAUTH_CODE_ENVIRONMENT].len == 0
        || fields[NGX_HTTP_OPSAUTH_OAUTH_CODE_STATE].data == NULL)
    {
        ngx_log_error(NGX_LOG_ERR, oauth->request->connection->log, 0,
                      "opsauth: the record of a code is invalid");
        return ngx_http_opsauth_oauth_unavailable(oauth,
                                             "the code's record is invalid");
    }

    if (fields[NGX_HTTP_OPSAUTH_OAUTH_CODE_CLIENT].len != oauth->client.id.len
        || ngx_memcmp(fields[NGX_HTTP_OPSAUTH_OAUTH_CODE_CLIENT].data,
                      oauth->client.id.data, oauth->client.id.len)
           != 0)
    {
        return ngx_http_opsauth_oauth_invalid_grant(oauth,
                                            "the code is another client's");
    }

    if (fields[NGX_HTTP_OPSAUTH_OAUTH_CODE_CHALLENGE].len == 0
        && oauth->login.method == OA_AUTH_NONE)
    {
        return ngx_http_opsauth_oauth_invalid_grant(oauth,
                            "the code of a public client has no challenge");
    }

    /* a replay is one whatever the account may do by now */

    if (!oa_text_eq(fields[NGX_HTTP_OPSAUTH_OAUTH_CODE_STATE], "issued")) {
        return ngx_http_opsauth_oauth_code_redeem(oauth);
    }

    ngx_http_opsauth_oauth_account_ask(oauth,
                                  fields[NGX_HTTP_OPSAUTH_OAUTH_CODE_ACCOUNT]);

    return ngx_http_opsauth_oauth_wait(oauth,
                                       ngx_http_opsauth_oauth_code_account);
}


static ngx_int_t
ngx_http_opsauth_oauth_code_account(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_int_t                        rc;
    const char                      *reason;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;

    rc = ngx_http_opsauth_oauth_account_take(oauth, 0,
                           grant->fields[NGX_HTTP_OPSAUTH_OAUTH_CODE_ACCOUNT],
                           1, &reason);
    if (rc == NGX_ERROR) {
        return ngx_http_opsauth_oauth_unavailable(oauth, reason);
    }

    if (rc != NGX_OK) {
        return ngx_http_opsauth_oauth_invalid_grant(oauth, reason);
    }

    /* what was allowed; less, where the records have less by now */

    if (ngx_http_opsauth_oauth_narrow(oauth, (oa_str_t) oa_null,
                            grant->fields[NGX_HTTP_OPSAUTH_OAUTH_CODE_SCOPES])
        != NGX_OK)
    {
        return ngx_http_opsauth_oauth_unavailable(oauth,
                                                  "scopes are malformed");
    }

    grant->subject = grant->fields[NGX_HTTP_OPSAUTH_OAUTH_CODE_SUBJECT];
    grant->environment = grant->fields[NGX_HTTP_OPSAUTH_OAUTH_CODE_ENVIRONMENT];

    if (ngx_http_opsauth_oauth_new_access(oauth) != NGX_OK) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    if (oauth->account.refresh
        && (oauth->client.grants & OA_GRANT_REFRESH_TOKEN)
        && ngx_http_opsauth_oauth_new_refresh(oauth, (oa_str_t) oa_null)
           != NGX_OK)
    {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    return ngx_http_opsauth_oauth_code_redeem(oauth);
}


static ngx_int_t
ngx_http_opsauth_oauth_code_redeem(ngx_http_opsauth_oauth_t *oauth)
{
    int64_t                          keep;
    ngx_str_t                        key, args[6];
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;

    /* a replay must be known as one for as long as there is what to revoke */

    keep = grant->refresh.len ? oauth->conf->refresh_token_valid
                              : grant->valid;
    keep += oauth->conf->code_valid;

    key = ngx_http_opsauth_oauth_key(oauth, "code:",
                                     ngx_http_opsauth_view(&grant->digest));
    args[0] = ngx_http_opsauth_oauth_number(oauth, keep * 1000);
    args[1] = ngx_http_opsauth_str(oauth->client.id);
    args[2] = ngx_http_opsauth_str(oa_form_get(&oauth->form, "redirect_uri"));
    args[4] = grant->access_digest;
    args[5] = grant->family;

    if (key.data == NULL || args[0].data == NULL
        || ngx_http_opsauth_oauth_code_challenge(oauth, &args[3]) != NGX_OK)
    {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    ngx_http_opsauth_oauth_script(oauth,
                                  &ngx_http_opsauth_oauth_script_code_redeem,
                                  &key, 6, args);

    return ngx_http_opsauth_oauth_wait(oauth,
                                       ngx_http_opsauth_oauth_code_redeemed);
}


/* S256 of the verifier; empty without one */

static ngx_int_t
ngx_http_opsauth_oauth_code_challenge(ngx_http_opsauth_oauth_t *oauth,
    ngx_str_t *challenge)
{
    oa_str_t       verifier;
    unsigned char  digest[SHA256_DIGEST_LENGTH];

    ngx_str_set(challenge, "");

    verifier = oa_form_get(&oauth->form, "code_verifier");

    if (verifier.data == NULL) {
        return NGX_OK;
    }

    challenge->len = OA_CHALLENGE_LEN;
    challenge->data = ngx_pnalloc(oauth->request->pool, OA_CHALLENGE_LEN);

    if (challenge->data == NULL
        || SHA256(verifier.data, verifier.len, digest) == NULL)
    {
        return NGX_ERROR;
    }

    oa_base64url_encode(digest, SHA256_DIGEST_LENGTH, challenge->data);

    return NGX_OK;
}


static ngx_int_t
ngx_http_opsauth_oauth_code_redeemed(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_opsauth_reply_t             *reply;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;
    reply = ngx_http_opsauth_oauth_reply(oauth, 0);

    /* without an access token it was known to be a replay: there is no "ok" */

    if (ngx_http_opsauth_oauth_said(reply, "ok") && grant->access.len) {

        if (grant->refresh.len) {
            return ngx_http_opsauth_oauth_code_family(oauth);
        }

        return ngx_http_opsauth_oauth_issue(oauth);
    }

    if (ngx_http_opsauth_oauth_said(reply, "mismatch")) {
        return ngx_http_opsauth_oauth_invalid_grant(oauth,
                        "redirect_uri or code_verifier don't match the code");
    }

    if (ngx_http_opsauth_oauth_said(reply, "unknown")) {
        return ngx_http_opsauth_oauth_invalid_grant(oauth,
                                            "the code is unknown or expired");
    }

    if (ngx_http_opsauth_oauth_said(reply, "replayed")) {
        return ngx_http_opsauth_oauth_code_replayed(oauth,
                                  ngx_http_opsauth_oauth_text(reply, 1),
                                  ngx_http_opsauth_oauth_text(reply, 2));
    }

    return ngx_http_opsauth_oauth_strange(oauth);
}


static ngx_int_t
ngx_http_opsauth_oauth_code_family(ngx_http_opsauth_oauth_t *oauth)
{
    u_char                          *p;
    int64_t                          valid;
    ngx_str_t                        args[32], key, live;
    ngx_uint_t                       n;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;
    valid = oauth->conf->refresh_token_valid;

    key = ngx_http_opsauth_oauth_key(oauth, "refresh:",
                                     ngx_http_opsauth_view(&grant->family));

    /* "digest:expires" */

    live.data = ngx_pnalloc(oauth->request->pool,
                            OA_DIGEST_HEX_LEN + 1 + NGX_INT64_LEN);

    if (key.data == NULL || live.data == NULL) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    p = ngx_sprintf(live.data, "%V:%L", &grant->access_digest,
                    grant->now + grant->valid);
    live.len = p - live.data;

    args[0] = ngx_http_opsauth_oauth_number(oauth, valid * 1000);
    n = 1;

#define ngx_http_opsauth_oauth_field(name, value)                             \
    ngx_str_set(&args[n], name);                                              \
    args[n + 1] = (value);                                                    \
    n += 2

    ngx_http_opsauth_oauth_field("v", (ngx_str_t) ngx_string("1"));
    ngx_http_opsauth_oauth_field("client",
                                 ngx_http_opsauth_str(oauth->client.id));
    ngx_http_opsauth_oauth_field("account",
                                 ngx_http_opsauth_str(oauth->account.id));
    ngx_http_opsauth_oauth_field("subject",
                                 ngx_http_opsauth_str(grant->subject));
    ngx_http_opsauth_oauth_field("scopes",
                                 ngx_http_opsauth_str(grant->scopes));
    ngx_http_opsauth_oauth_field("environment",
                                 ngx_http_opsauth_str(grant->environment));
    ngx_http_opsauth_oauth_field("current", grant->refresh_digest);
    ngx_http_opsauth_oauth_field("previous", (ngx_str_t) ngx_string(""));
    ngx_http_opsauth_oauth_field("rotated",
                                 ngx_http_opsauth_oauth_number(oauth,
                                         ngx_http_opsauth_oauth_now()));
    ngx_http_opsauth_oauth_field("access", live);
    ngx_http_opsauth_oauth_field("state", (ngx_str_t) ngx_string("active"));
    ngx_http_opsauth_oauth_field("created",
                             ngx_http_opsauth_oauth_number(oauth, grant->now));
    ngx_http_opsauth_oauth_field("expires",
                                 ngx_http_opsauth_oauth_number(oauth,
                                                     grant->now + valid));

    ngx_http_opsauth_oauth_script(oauth,
                                &ngx_http_opsauth_oauth_script_family_create,
                                &key, n, args);

    return ngx_http_opsauth_oauth_wait(oauth,
                                       ngx_http_opsauth_oauth_code_created);
}


static ngx_int_t
ngx_http_opsauth_oauth_code_created(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_opsauth_reply_t  *reply;

    reply = ngx_http_opsauth_oauth_reply(oauth, 0);

    if (ngx_http_opsauth_oauth_said(reply, "ok")) {
        return ngx_http_opsauth_oauth_issue(oauth);
    }

    if (ngx_http_opsauth_oauth_said(reply, "exists")) {
        return ngx_http_opsauth_oauth_invalid_grant(oauth,
                            "the code was replayed while it was redeemed");
    }

    return ngx_http_opsauth_oauth_strange(oauth);
}


static ngx_int_t
ngx_http_opsauth_oauth_code_replayed(ngx_http_opsauth_oauth_t *oauth,
    oa_str_t access, oa_str_t family)
{
    ngx_str_t                        digest;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;

    grant->revoke = ngx_palloc(oauth->request->pool, sizeof(oa_str_t));
    if (grant->revoke == NULL) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    grant->revoke[0] = access;
    grant->nrevoke = access.len ? 1 : 0;
    digest = ngx_http_opsauth_str(family);

    ngx_log_error(NGX_LOG_WARN, oauth->request->connection->log, 0,
                  "opsauth: a code of client \"%*s\" was redeemed twice: its "
                  "tokens are revoked", oauth->client.id.len,
                  oauth->client.id.data);

    if (family.len == 0) {
        return ngx_http_opsauth_oauth_revoke_all(oauth,
                                         ngx_http_opsauth_oauth_code_revoked);
    }

    /* the family first, so that it makes no more of them; its record names the
       first one, but may not be there yet */

    return ngx_http_opsauth_oauth_family_revoke(oauth, &digest,
                                  (oa_str_t) oa_string(""),
                                  NGX_HTTP_OPSAUTH_OAUTH_TOMBSTONE,
                                  ngx_http_opsauth_oauth_code_replayed_family);
}


static ngx_int_t
ngx_http_opsauth_oauth_code_replayed_family(ngx_http_opsauth_oauth_t *oauth)
{
    oa_str_t                         access;
    ngx_opsauth_reply_t             *reply;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;
    reply = ngx_http_opsauth_oauth_reply(oauth, 0);
    access = grant->nrevoke ? grant->revoke[0] : (oa_str_t) oa_null;

    if (!ngx_http_opsauth_oauth_said(reply, "ok")) {
        return ngx_http_opsauth_oauth_strange(oauth);
    }

    /* the word's place is the first token's */

    if (ngx_http_opsauth_oauth_to_revoke(oauth, reply, 0) != NGX_OK) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    grant->revoke[0] = access.len ? access : grant->revoke[--grant->nrevoke];

    return ngx_http_opsauth_oauth_revoke_all(oauth,
                                         ngx_http_opsauth_oauth_code_revoked);
}


static ngx_int_t
ngx_http_opsauth_oauth_code_revoked(ngx_http_opsauth_oauth_t *oauth)
{
    return ngx_http_opsauth_oauth_invalid_grant(oauth, "the code was replayed");
}
