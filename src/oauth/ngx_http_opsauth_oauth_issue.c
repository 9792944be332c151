/*
 * What grants end in: a token is written, or those that a replay or a client
 * has named are revoked. The record that makes a token live comes last.
 */

#include "ngx_http_opsauth_oauth_grant.h"


static ngx_int_t ngx_http_opsauth_oauth_list(ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_issued(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_revoke_some(
    ngx_http_opsauth_oauth_t *oauth);


/* SET, ZADD and ZREMRANGEBYSCORE go before the record that makes it live */
#define NGX_HTTP_OPSAUTH_OAUTH_ISSUE_LAST  3


ngx_int_t
ngx_http_opsauth_oauth_issue(ngx_http_opsauth_oauth_t *oauth)
{
    int64_t                          expires;
    ngx_str_t                        words[NGX_OPSAUTH_COMMAND_WORDS], key;
    ngx_uint_t                       n;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;
    expires = grant->now + grant->valid;

    ngx_str_set(&words[0], "SET");
    words[1] = ngx_http_opsauth_oauth_key(oauth, "id:",
                                     ngx_http_opsauth_view(&grant->access_id));
    words[2] = grant->access_digest;
    ngx_str_set(&words[3], "PX");
    words[4] = ngx_http_opsauth_oauth_number(oauth,
                   (grant->valid + NGX_HTTP_OPSAUTH_OAUTH_TOKEN_REST) * 1000);

    key = ngx_http_opsauth_oauth_key(oauth, "credential:",
                                 ngx_http_opsauth_view(&grant->access_digest));

    if (words[1].data == NULL || words[4].data == NULL || key.data == NULL) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    ngx_http_opsauth_oauth_command(oauth, 5, words);

    if (ngx_http_opsauth_oauth_list(oauth) != NGX_OK) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    words[0] = ngx_http_opsauth_oauth_number(oauth,
                   (expires + NGX_HTTP_OPSAUTH_OAUTH_TOKEN_REST) * 1000);
    n = 1;

#define ngx_http_opsauth_oauth_field(name, value)                             \
    ngx_str_set(&words[n], name);                                             \
    words[n + 1] = (value);                                                   \
    n += 2

    ngx_http_opsauth_oauth_field("v", (ngx_str_t) ngx_string("1"));
    ngx_http_opsauth_oauth_field("id", grant->access_id);
    ngx_http_opsauth_oauth_field("kind",
                                 (ngx_str_t) ngx_string("access_token"));
    ngx_http_opsauth_oauth_field("account",
                                 ngx_http_opsauth_str(oauth->account.id));
    ngx_http_opsauth_oauth_field("state", (ngx_str_t) ngx_string("active"));
    ngx_http_opsauth_oauth_field("environment",
                                 ngx_http_opsauth_str(grant->environment));
    ngx_http_opsauth_oauth_field("scopes",
                                 ngx_http_opsauth_str(grant->scopes));
    ngx_http_opsauth_oauth_field("expires",
                              ngx_http_opsauth_oauth_number(oauth, expires));
    ngx_http_opsauth_oauth_field("created",
                              ngx_http_opsauth_oauth_number(oauth, grant->now));
    ngx_http_opsauth_oauth_field("hint", ((ngx_str_t) { 4,
                              grant->access.data + grant->access.len - 4 }));
    ngx_http_opsauth_oauth_field("client",
                                 ngx_http_opsauth_str(oauth->client.id));

    if (grant->subject.len) {
        ngx_http_opsauth_oauth_field("subject",
                                     ngx_http_opsauth_str(grant->subject));
    }

    ngx_http_opsauth_oauth_script(oauth,
                           &ngx_http_opsauth_oauth_script_credential_issue,
                           &key, n, words);

    return ngx_http_opsauth_oauth_wait(oauth, ngx_http_opsauth_oauth_issued);
}


/*
 * Into tokens:<account>, by which what was issued for an account is found, with
 * the time at which Redis forgets each; what is over is taken out.
 */

static ngx_int_t
ngx_http_opsauth_oauth_list(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_str_t                        words[6], over, *family;
    ngx_uint_t                       n;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;

    ngx_str_set(&words[0], "ZADD");
    words[1] = ngx_http_opsauth_oauth_key(oauth, "tokens:", oauth->account.id);
    words[2] = ngx_http_opsauth_oauth_number(oauth, grant->now + grant->valid
                                         + NGX_HTTP_OPSAUTH_OAUTH_TOKEN_REST);
    words[3] = grant->access_id;
    n = 4;

    if (grant->refresh.len) {
        family = grant->family.len ? &grant->family : &grant->digest;

        words[4] = ngx_http_opsauth_oauth_number(oauth,
                             grant->now + oauth->conf->refresh_token_valid);
        words[5].len = sizeof("refresh:") - 1 + family->len;
        words[5].data = ngx_pnalloc(oauth->request->pool, words[5].len);

        if (words[4].data == NULL || words[5].data == NULL) {
            return NGX_ERROR;
        }

        ngx_sprintf(words[5].data, "refresh:%V", family);
        n = 6;
    }

    over.len = 0;
    over.data = ngx_pnalloc(oauth->request->pool, NGX_INT64_LEN + 1);

    if (words[1].data == NULL || words[2].data == NULL || over.data == NULL) {
        return NGX_ERROR;
    }

    over.len = ngx_sprintf(over.data, "(%L", grant->now) - over.data;

    ngx_http_opsauth_oauth_command(oauth, n, words);

    ngx_str_set(&words[0], "ZREMRANGEBYSCORE");
    ngx_str_set(&words[2], "-inf");
    words[3] = over;

    ngx_http_opsauth_oauth_command(oauth, 4, words);

    return NGX_OK;
}


/* RFC 6749 section 5.1 */

static ngx_int_t
ngx_http_opsauth_oauth_issued(ngx_http_opsauth_oauth_t *oauth)
{
    json_t                          *body;
    ngx_opsauth_reply_t             *reply;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;
    reply = ngx_http_opsauth_oauth_reply(oauth,
                                         NGX_HTTP_OPSAUTH_OAUTH_ISSUE_LAST);

    if (ngx_http_opsauth_oauth_said(reply, "exists")) {
        return ngx_http_opsauth_oauth_invalid_grant(oauth,
                                "it was revoked while it was being redeemed");
    }

    if (!ngx_http_opsauth_oauth_said(reply, "ok")) {
        return ngx_http_opsauth_oauth_strange(oauth);
    }

    body = json_pack("{s:s%, s:s, s:I}",
                     "access_token", grant->access.data, grant->access.len,
                     "token_type", "Bearer",
                     "expires_in", (json_int_t) grant->valid);

    if (body && grant->scopes.len) {
        json_object_set_new(body, "scope",
                            ngx_http_opsauth_oauth_json_str(grant->scopes));
    }

    if (body && grant->refresh.len) {
        json_object_set_new(body, "refresh_token",
                            ngx_http_opsauth_oauth_json_str(grant->refresh));
    }

    ngx_log_error(NGX_LOG_INFO, oauth->request->connection->log, 0,
                  "opsauth: issued \"%V\" to client \"%*s\", account \"%*s\"",
                  &grant->access_id, oauth->client.id.len,
                  oauth->client.id.data, oauth->account.id.len,
                  oauth->account.id.data);

    return ngx_http_opsauth_oauth_json(oauth, NGX_HTTP_OK, body);
}


ngx_int_t
ngx_http_opsauth_oauth_to_revoke(ngx_http_opsauth_oauth_t *oauth,
    ngx_opsauth_reply_t *reply, ngx_uint_t n)
{
    ngx_uint_t                       i;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;
    grant->nrevoke = 0;

    if (reply->n <= n) {
        return NGX_OK;
    }

    grant->revoke = ngx_palloc(oauth->request->pool,
                               (reply->n - n) * sizeof(oa_str_t));
    if (grant->revoke == NULL) {
        return NGX_ERROR;
    }

    for (i = n; i < reply->n; i++) {
        grant->revoke[grant->nrevoke] = ngx_http_opsauth_oauth_text(reply, i);

        if (grant->revoke[grant->nrevoke].len) {
            grant->nrevoke++;
        }
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_opsauth_oauth_revoke_all(ngx_http_opsauth_oauth_t *oauth,
    ngx_http_opsauth_oauth_step_pt next)
{
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;
    grant->revoked = next;

    return ngx_http_opsauth_oauth_revoke_some(oauth);
}


/* a step's worth at a time, from the end */

static ngx_int_t
ngx_http_opsauth_oauth_revoke_some(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_str_t                        key, args[2];
    ngx_uint_t                       i;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;

    args[0] = ngx_http_opsauth_oauth_number(oauth,
                                            NGX_HTTP_OPSAUTH_OAUTH_TOMBSTONE);
    ngx_str_set(&args[1], "");

    for (i = 0; grant->nrevoke && i < NGX_HTTP_OPSAUTH_OAUTH_SLOTS; i++) {

        key = ngx_http_opsauth_oauth_key(oauth, "credential:",
                                         grant->revoke[--grant->nrevoke]);

        if (key.data == NULL || args[0].data == NULL) {
            return ngx_http_opsauth_oauth_failed(oauth);
        }

        ngx_http_opsauth_oauth_script(oauth,
                           &ngx_http_opsauth_oauth_script_credential_revoke,
                           &key, 2, args);
    }

    return ngx_http_opsauth_oauth_wait(oauth,
                                       grant->nrevoke
                                       ? ngx_http_opsauth_oauth_revoke_some
                                       : grant->revoked);
}


ngx_int_t
ngx_http_opsauth_oauth_family_revoke(ngx_http_opsauth_oauth_t *oauth,
    const ngx_str_t *digest, oa_str_t client, int64_t tombstone,
    ngx_http_opsauth_oauth_step_pt next)
{
    ngx_str_t                        key, args[3];
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;

    key = ngx_http_opsauth_oauth_key(oauth, "refresh:",
                                     ngx_http_opsauth_view(digest));
    args[0] = ngx_http_opsauth_oauth_number(oauth, tombstone);
    args[1] = ngx_http_opsauth_oauth_number(oauth, grant->now);
    args[2] = ngx_http_opsauth_str(client);

    if (key.data == NULL || args[0].data == NULL || args[1].data == NULL) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    ngx_http_opsauth_oauth_script(oauth,
                               &ngx_http_opsauth_oauth_script_family_revoke,
                               &key, 3, args);

    return ngx_http_opsauth_oauth_wait(oauth, next);
}
