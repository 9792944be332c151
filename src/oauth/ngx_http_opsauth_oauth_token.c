/*
 * The token endpoint (RFC 6749 section 3.2): which grant it is, and the one
 * that needs nothing else, client_credentials (section 4.4).
 */

#include "ngx_http_opsauth_oauth_grant.h"


static ngx_int_t ngx_http_opsauth_oauth_token_grant(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_token_client(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_token_account(
    ngx_http_opsauth_oauth_t *oauth);


ngx_int_t
ngx_http_opsauth_oauth_token(ngx_http_opsauth_oauth_t *oauth)
{
    return ngx_http_opsauth_oauth_login(oauth,
                                        ngx_http_opsauth_oauth_token_grant);
}


static ngx_int_t
ngx_http_opsauth_oauth_token_grant(ngx_http_opsauth_oauth_t *oauth)
{
    unsigned                        bit;
    oa_str_t                        name;
    ngx_http_opsauth_oauth_step_pt  grant;

    name = oa_form_get(&oauth->form, "grant_type");

    if (name.data == NULL) {
        return ngx_http_opsauth_oauth_invalid_request(oauth,
                                                "grant_type is missing");
    }

    bit = oa_grant_bit(name);

    switch (bit) {

    case OA_GRANT_AUTHORIZATION_CODE:
        grant = ngx_http_opsauth_oauth_code;
        break;

    case OA_GRANT_REFRESH_TOKEN:
        grant = ngx_http_opsauth_oauth_refresh;
        break;

    case OA_GRANT_CLIENT_CREDENTIALS:
        grant = ngx_http_opsauth_oauth_token_client;
        break;

    default:
        return ngx_http_opsauth_oauth_error(oauth, NGX_HTTP_BAD_REQUEST,
                                            "unsupported_grant_type",
                                            "no such grant is served here",
                                            NULL);
    }

    if (!(oauth->client.grants & bit)) {
        return ngx_http_opsauth_oauth_error(oauth, NGX_HTTP_BAD_REQUEST,
                                            "unauthorized_client",
                                            "this client may not use this "
                                            "grant", NULL);
    }

    if (ngx_http_opsauth_oauth_grant(oauth) == NULL) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    return grant(oauth);
}


static ngx_int_t
ngx_http_opsauth_oauth_token_client(ngx_http_opsauth_oauth_t *oauth)
{
    /* its record can't say so either, see oa_client_read() */

    if (oauth->login.method == OA_AUTH_NONE) {
        return ngx_http_opsauth_oauth_error(oauth, NGX_HTTP_BAD_REQUEST,
                                            "unauthorized_client",
                                            "a public client may not use this "
                                            "grant", NULL);
    }

    ngx_http_opsauth_oauth_account_ask(oauth, oauth->client.account);

    return ngx_http_opsauth_oauth_wait(oauth,
                                       ngx_http_opsauth_oauth_token_account);
}


static ngx_int_t
ngx_http_opsauth_oauth_token_account(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_int_t                        rc;
    const char                      *reason;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;

    rc = ngx_http_opsauth_oauth_account_take(oauth, 0, oauth->client.account,
                                             1, &reason);
    if (rc == NGX_ERROR) {
        return ngx_http_opsauth_oauth_unavailable(oauth, reason);
    }

    if (rc != NGX_OK) {
        return ngx_http_opsauth_oauth_error(oauth, NGX_HTTP_BAD_REQUEST,
                                            "unauthorized_client",
                                            "the account may not log in",
                                            reason);
    }

    rc = ngx_http_opsauth_oauth_narrow(oauth,
                                       oa_form_get(&oauth->form, "scope"),
                                       oauth->client.scopes);
    if (rc != NGX_OK) {
        return ngx_http_opsauth_oauth_not_narrowed(oauth, rc);
    }

    /* nobody but the client itself: RFC 9068 section 2.2 has it so, too */

    grant->subject = oauth->client.id;
    grant->environment.data = (const unsigned char *)
                              oa_environment_name(oauth->client.environment);
    grant->environment.len = ngx_strlen(grant->environment.data);

    if (ngx_http_opsauth_oauth_new_access(oauth) != NGX_OK) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    if (!oauth->account.refresh
        || !(oauth->client.grants & OA_GRANT_REFRESH_TOKEN))
    {
        return ngx_http_opsauth_oauth_issue(oauth);
    }

    /* RFC 6749 section 4.4.3 has none here; an account that says so logs in
       once and refreshes every few seconds */

    if (ngx_http_opsauth_oauth_new_refresh(oauth, (oa_str_t) oa_null)
        != NGX_OK)
    {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    return ngx_http_opsauth_oauth_family_create(oauth);
}


ngx_int_t
ngx_http_opsauth_oauth_strange(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_log_error(NGX_LOG_ERR, oauth->request->connection->log, 0,
                  "opsauth: Redis gave an answer that no script has");

    return ngx_http_opsauth_oauth_unavailable(oauth, "a strange answer");
}
