/*
 * Revocation (RFC 7009). A refresh token takes its family and all access tokens
 * of it that live; an access token goes alone. What is unknown, has another
 * form or is another client's is answered as if it were done (section 2.2): the
 * client gets what it wants, and learns nothing. token_type_hint is not needed:
 * a token's length says what it is.
 */

#include "ngx_http_opsauth_oauth_grant.h"


static ngx_int_t ngx_http_opsauth_oauth_revoke_token(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_revoke_found(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_revoke_access(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_revoke_family(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_revoke_done(
    ngx_http_opsauth_oauth_t *oauth);


static const char *const  ngx_http_opsauth_oauth_revoke_client[] = { "client" };


ngx_int_t
ngx_http_opsauth_oauth_revoke(ngx_http_opsauth_oauth_t *oauth)
{
    return ngx_http_opsauth_oauth_login(oauth,
                                        ngx_http_opsauth_oauth_revoke_token);
}


static ngx_int_t
ngx_http_opsauth_oauth_revoke_token(ngx_http_opsauth_oauth_t *oauth)
{
    oa_str_t                         name;
    ngx_int_t                        rc;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = ngx_http_opsauth_oauth_presented(oauth, &name, &rc);
    if (grant == NULL) {
        return rc;
    }

    if (name.data == NULL) {
        return ngx_http_opsauth_oauth_revoke_done(oauth);
    }

    if (ngx_http_opsauth_oauth_find(oauth,
                                    grant->is_refresh ? "refresh:"
                                                      : "credential:",
                                    name, 1,
                                    ngx_http_opsauth_oauth_revoke_client)
        != NGX_OK)
    {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    return ngx_http_opsauth_oauth_wait(oauth,
                                       ngx_http_opsauth_oauth_revoke_found);
}


static ngx_int_t
ngx_http_opsauth_oauth_revoke_found(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_int_t                        found;
    ngx_str_t                        key, args[2];
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;
    found = ngx_http_opsauth_oauth_found(oauth);

    if (found == NGX_DECLINED) {
        return ngx_http_opsauth_oauth_revoke_done(oauth);
    }

    grant->digest = oauth->digests[found];

    if (grant->is_refresh) {
        return ngx_http_opsauth_oauth_family_revoke(oauth, &grant->digest,
                                        oauth->client.id, 0,
                                        ngx_http_opsauth_oauth_revoke_family);
    }

    key = ngx_http_opsauth_oauth_key(oauth, "credential:",
                                     ngx_http_opsauth_view(&grant->digest));
    ngx_str_set(&args[0], "0");
    args[1] = ngx_http_opsauth_str(oauth->client.id);

    if (key.data == NULL) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    ngx_http_opsauth_oauth_script(oauth,
                           &ngx_http_opsauth_oauth_script_credential_revoke,
                           &key, 2, args);

    return ngx_http_opsauth_oauth_wait(oauth,
                                       ngx_http_opsauth_oauth_revoke_access);
}


static ngx_int_t
ngx_http_opsauth_oauth_revoke_access(ngx_http_opsauth_oauth_t *oauth)
{
    oa_str_t              id;
    ngx_opsauth_reply_t  *reply;

    reply = ngx_http_opsauth_oauth_reply(oauth, 0);

    if (ngx_http_opsauth_oauth_said(reply, "ok")) {
        id = ngx_http_opsauth_oauth_text(reply, 1);

        ngx_log_error(NGX_LOG_INFO, oauth->request->connection->log, 0,
                      "opsauth: client \"%*s\" has revoked \"%*s\"",
                      oauth->client.id.len, oauth->client.id.data, id.len,
                      id.data);

    } else if (!ngx_http_opsauth_oauth_said(reply, "mismatch")
               && !ngx_http_opsauth_oauth_said(reply, "unknown"))
    {
        return ngx_http_opsauth_oauth_strange(oauth);
    }

    return ngx_http_opsauth_oauth_revoke_done(oauth);
}


static ngx_int_t
ngx_http_opsauth_oauth_revoke_family(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_opsauth_reply_t  *reply;

    reply = ngx_http_opsauth_oauth_reply(oauth, 0);

    if (ngx_http_opsauth_oauth_said(reply, "mismatch")
        || ngx_http_opsauth_oauth_said(reply, "unknown"))
    {
        return ngx_http_opsauth_oauth_revoke_done(oauth);
    }

    if (!ngx_http_opsauth_oauth_said(reply, "ok")) {
        return ngx_http_opsauth_oauth_strange(oauth);
    }

    ngx_log_error(NGX_LOG_INFO, oauth->request->connection->log, 0,
                  "opsauth: client \"%*s\" has revoked a refresh token",
                  oauth->client.id.len, oauth->client.id.data);

    if (ngx_http_opsauth_oauth_to_revoke(oauth, reply, 1) != NGX_OK) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    return ngx_http_opsauth_oauth_revoke_all(oauth,
                                         ngx_http_opsauth_oauth_revoke_done);
}


static ngx_int_t
ngx_http_opsauth_oauth_revoke_done(ngx_http_opsauth_oauth_t *oauth)
{
    static ngx_str_t  type = ngx_string("application/json");
    static ngx_str_t  body = ngx_string("{}");

    return ngx_http_opsauth_oauth_send(oauth, NGX_HTTP_OK, &type, &body, NULL);
}
