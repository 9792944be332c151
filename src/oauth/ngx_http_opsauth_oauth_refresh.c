/*
 * grant_type=refresh_token (RFC 6749 section 6, RFC 9700 section 4.14.2): each
 * use gives the family a new secret. One that was used before shows that there
 * are two holders, and takes the family with it, but for the moment in which
 * its successor, as nobody has used it yet, may have got lost on its way.
 */

#include "ngx_http_opsauth_oauth_grant.h"

#include <openssl/crypto.h>


static ngx_int_t ngx_http_opsauth_oauth_refresh_read(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_refresh_account(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_refresh_rotate(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_refresh_rotated(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_refresh_revoked(
    ngx_http_opsauth_oauth_t *oauth);


const char *const  ngx_http_opsauth_oauth_family_fields[] = {
    "state", "client", "account", "subject", "scopes", "environment",
    "current", "previous", "created", "expires"
};


ngx_int_t
ngx_http_opsauth_oauth_refresh(ngx_http_opsauth_oauth_t *oauth)
{
    oa_str_t                         token, family;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;
    token = oa_form_get(&oauth->form, "refresh_token");

    if (token.data == NULL) {
        return ngx_http_opsauth_oauth_invalid_request(oauth,
                                                "refresh_token is missing");
    }

    if (ngx_http_opsauth_oauth_family(token, &family) != NGX_OK) {
        return ngx_http_opsauth_oauth_invalid_grant(oauth,
                                    "it has not the form of a refresh token");
    }

    grant->presented = token;

    if (ngx_http_opsauth_oauth_find(oauth, "refresh:", family,
                                    NGX_HTTP_OPSAUTH_OAUTH_FAMILY_FIELDS,
                                    ngx_http_opsauth_oauth_family_fields)
        != NGX_OK)
    {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    return ngx_http_opsauth_oauth_wait(oauth,
                                       ngx_http_opsauth_oauth_refresh_read);
}


ngx_int_t
ngx_http_opsauth_oauth_family(oa_str_t token, oa_str_t *family)
{
    size_t  i;
    u_char  c;

    if (token.len != NGX_HTTP_OPSAUTH_OAUTH_REFRESH_LEN) {
        return NGX_DECLINED;
    }

    for (i = 0; i < token.len; i++) {
        c = token.data[i];

        if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z')
              || (c >= 'a' && c <= 'z')))
        {
            return NGX_DECLINED;
        }
    }

    family->data = token.data;
    family->len = NGX_HTTP_OPSAUTH_OAUTH_FAMILY_LEN;

    return NGX_OK;
}


ngx_int_t
ngx_http_opsauth_oauth_family_take(ngx_http_opsauth_oauth_t *oauth)
{
    oa_str_t                        *fields, *stored;
    ngx_int_t                        found;
    ngx_str_t                        digest;
    ngx_uint_t                       i, k;
    ngx_opsauth_reply_t             *reply;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;
    found = ngx_http_opsauth_oauth_found(oauth);

    if (found == NGX_DECLINED) {
        return NGX_DECLINED;
    }

    grant->digest = oauth->digests[found];
    grant->pepper = found;
    reply = ngx_http_opsauth_oauth_reply(oauth, found);

    fields = ngx_palloc(oauth->request->pool,
                     NGX_HTTP_OPSAUTH_OAUTH_FAMILY_FIELDS * sizeof(oa_str_t));
    if (fields == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < NGX_HTTP_OPSAUTH_OAUTH_FAMILY_FIELDS; i++) {
        fields[i] = ngx_http_opsauth_oauth_text(reply, i);
    }

    grant->fields = fields;
    ngx_str_null(&digest);

    /* one that others wrote may be under another pepper than its family */

    stored = &fields[NGX_HTTP_OPSAUTH_OAUTH_FAMILY_CURRENT];

    for (i = oauth->worker->hasher.n; i-- > 0; /* void */) {

        digest = ngx_http_opsauth_oauth_digest(oauth, i, grant->presented);
        if (digest.data == NULL) {
            return NGX_ERROR;
        }

        for (k = 0; k < 2; k++) {
            if (stored[k].len == digest.len
                && CRYPTO_memcmp(stored[k].data, digest.data, digest.len) == 0)
            {
                grant->presented_digest = digest;
                grant->is_current = (k == 0);
                return NGX_OK;
            }
        }
    }

    grant->presented_digest = digest;

    return NGX_OK;
}


static ngx_int_t
ngx_http_opsauth_oauth_refresh_read(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_int_t                        rc;
    const oa_str_t                  *fields;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;
    rc = ngx_http_opsauth_oauth_family_take(oauth);

    if (rc == NGX_ERROR) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    if (rc != NGX_OK) {
        return ngx_http_opsauth_oauth_invalid_grant(oauth,
                                    "the refresh token is unknown or expired");
    }

    fields = grant->fields;

    /* whoever it is that has no right to it any more: the script says it */

    if (!grant->is_current
        || !oa_text_eq(fields[NGX_HTTP_OPSAUTH_OAUTH_FAMILY_STATE], "active"))
    {
        return ngx_http_opsauth_oauth_refresh_rotate(oauth);
    }

    if (fields[NGX_HTTP_OPSAUTH_OAUTH_FAMILY_CLIENT].data == NULL
        || fields[NGX_HTTP_OPSAUTH_OAUTH_FAMILY_ACCOUNT].len == 0
        || fields[NGX_HTTP_OPSAUTH_OAUTH_FAMILY_SCOPES].data == NULL
        || fields[NGX_HTTP_OPSAUTH_OAUTH_FAMILY_ENVIRONMENT].len == 0)
    {
        ngx_log_error(NGX_LOG_ERR, oauth->request->connection->log, 0,
                      "opsauth: the record of a refresh token is invalid");
        return ngx_http_opsauth_oauth_unavailable(oauth,
                                    "the refresh token's record is invalid");
    }

    ngx_http_opsauth_oauth_account_ask(oauth,
                               fields[NGX_HTTP_OPSAUTH_OAUTH_FAMILY_ACCOUNT]);

    return ngx_http_opsauth_oauth_wait(oauth,
                                       ngx_http_opsauth_oauth_refresh_account);
}


static ngx_int_t
ngx_http_opsauth_oauth_refresh_account(ngx_http_opsauth_oauth_t *oauth)
{
    oa_str_t                         family;
    ngx_int_t                        rc;
    const char                      *reason;
    const oa_str_t                  *fields;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;
    fields = grant->fields;

    rc = ngx_http_opsauth_oauth_account_take(oauth, 0,
                                fields[NGX_HTTP_OPSAUTH_OAUTH_FAMILY_ACCOUNT],
                                1, &reason);
    if (rc == NGX_ERROR) {
        return ngx_http_opsauth_oauth_unavailable(oauth, reason);
    }

    if (rc == NGX_OK && !oauth->account.refresh) {
        reason = "the account doesn't refresh any more";
        rc = NGX_DECLINED;
    }

    if (rc != NGX_OK) {
        return ngx_http_opsauth_oauth_invalid_grant(oauth, reason);
    }

    rc = ngx_http_opsauth_oauth_narrow(oauth,
                               oa_form_get(&oauth->form, "scope"),
                               fields[NGX_HTTP_OPSAUTH_OAUTH_FAMILY_SCOPES]);
    if (rc != NGX_OK) {
        return ngx_http_opsauth_oauth_not_narrowed(oauth, rc);
    }

    grant->subject = fields[NGX_HTTP_OPSAUTH_OAUTH_FAMILY_SUBJECT];
    grant->environment = fields[NGX_HTTP_OPSAUTH_OAUTH_FAMILY_ENVIRONMENT];

    (void) ngx_http_opsauth_oauth_family(grant->presented, &family);

    if (ngx_http_opsauth_oauth_new_access(oauth) != NGX_OK
        || ngx_http_opsauth_oauth_new_refresh(oauth, family) != NGX_OK)
    {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    return ngx_http_opsauth_oauth_refresh_rotate(oauth);
}


/*
 * Also for what is known not to be the current one: then there is nothing to
 * rotate to, and the script can't say "ok", since what was once past never
 * becomes current again.
 */

static ngx_int_t
ngx_http_opsauth_oauth_refresh_rotate(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_str_t                        key, args[9];
    ngx_uint_t                       i;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;

    key = ngx_http_opsauth_oauth_key(oauth, "refresh:",
                                     ngx_http_opsauth_view(&grant->digest));
    args[0] = ngx_http_opsauth_oauth_number(oauth,
                                            ngx_http_opsauth_oauth_now());
    args[1] = ngx_http_opsauth_oauth_number(oauth, grant->now);
    args[2] = ngx_http_opsauth_oauth_number(oauth,
                                  (int64_t) oauth->conf->refresh_grace * 1000);
    args[3] = grant->presented_digest;
    args[4] = grant->refresh_digest;
    args[5] = grant->access_digest;
    args[6] = ngx_http_opsauth_oauth_number(oauth, grant->now + grant->valid);
    args[7] = ngx_http_opsauth_str(oauth->client.id);
    args[8] = ngx_http_opsauth_oauth_number(oauth,
                            (int64_t) oauth->conf->refresh_token_valid * 1000);

    for (i = 0; i < 9; i++) {
        if (args[i].data == NULL && i != 4 && i != 5) {
            return ngx_http_opsauth_oauth_failed(oauth);
        }
    }

    if (key.data == NULL) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    ngx_http_opsauth_oauth_script(oauth,
                                &ngx_http_opsauth_oauth_script_family_rotate,
                                &key, 9, args);

    return ngx_http_opsauth_oauth_wait(oauth,
                                       ngx_http_opsauth_oauth_refresh_rotated);
}


static ngx_int_t
ngx_http_opsauth_oauth_refresh_rotated(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_uint_t                       replayed;
    ngx_opsauth_reply_t             *reply;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;
    reply = ngx_http_opsauth_oauth_reply(oauth, 0);

    if (ngx_http_opsauth_oauth_said(reply, "ok") && grant->access.len) {
        return ngx_http_opsauth_oauth_issue(oauth);
    }

    if (ngx_http_opsauth_oauth_said(reply, "unknown")) {
        return ngx_http_opsauth_oauth_invalid_grant(oauth,
                                    "the refresh token is unknown or expired");
    }

    if (ngx_http_opsauth_oauth_said(reply, "mismatch")) {
        return ngx_http_opsauth_oauth_invalid_grant(oauth,
                                    "the refresh token is another client's");
    }

    if (ngx_http_opsauth_oauth_said(reply, "repeated")) {
        return ngx_http_opsauth_oauth_invalid_grant(oauth,
                            "the refresh token was used a moment ago; its "
                            "successor stands");
    }

    if (ngx_http_opsauth_oauth_said(reply, "limited")) {
        return ngx_http_opsauth_oauth_unavailable(oauth,
                            "too many of its access tokens are still valid");
    }

    replayed = ngx_http_opsauth_oauth_said(reply, "replayed");

    if (!replayed && !ngx_http_opsauth_oauth_said(reply, "revoked")) {
        return ngx_http_opsauth_oauth_strange(oauth);
    }

    if (replayed) {
        ngx_log_error(NGX_LOG_WARN, oauth->request->connection->log, 0,
                      "opsauth: a refresh token of client \"%*s\" was used "
                      "again: all of its family is revoked",
                      oauth->client.id.len, oauth->client.id.data);
    }

    if (ngx_http_opsauth_oauth_to_revoke(oauth, reply, 1) != NGX_OK) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    return ngx_http_opsauth_oauth_revoke_all(oauth,
                                      ngx_http_opsauth_oauth_refresh_revoked);
}


static ngx_int_t
ngx_http_opsauth_oauth_refresh_revoked(ngx_http_opsauth_oauth_t *oauth)
{
    return ngx_http_opsauth_oauth_invalid_grant(oauth,
                                                "the refresh token is revoked");
}
