/*
 * Introspection (RFC 7662), for backends whose client record says introspect.
 * A token is active if the gateway would take it now: its record, and the
 * switch of its account. All else is {"active":false}, whatever it is: also an
 * API key, which is no token of this service. Records are read from Redis, not
 * from the cache.
 */

#include "ngx_http_opsauth_oauth_grant.h"


enum {
    NGX_HTTP_OPSAUTH_OAUTH_ACCESS_ID = 0,
    NGX_HTTP_OPSAUTH_OAUTH_ACCESS_KIND,
    NGX_HTTP_OPSAUTH_OAUTH_ACCESS_ACCOUNT,
    NGX_HTTP_OPSAUTH_OAUTH_ACCESS_STATE,
    NGX_HTTP_OPSAUTH_OAUTH_ACCESS_ENVIRONMENT,
    NGX_HTTP_OPSAUTH_OAUTH_ACCESS_SCOPES,
    NGX_HTTP_OPSAUTH_OAUTH_ACCESS_EXPIRES,
    NGX_HTTP_OPSAUTH_OAUTH_ACCESS_CREATED,
    NGX_HTTP_OPSAUTH_OAUTH_ACCESS_SUBJECT,
    NGX_HTTP_OPSAUTH_OAUTH_ACCESS_CLIENT,
    NGX_HTTP_OPSAUTH_OAUTH_ACCESS_INTROSPECTED,
    NGX_HTTP_OPSAUTH_OAUTH_ACCESS_FIELDS
};


/* what both kinds of tokens have */
typedef struct {
    oa_str_t   id;
    oa_str_t   account;
    oa_str_t   environment;
    oa_str_t   scopes;
    oa_str_t   subject;
    oa_str_t   client;
    oa_str_t   expires;
    oa_str_t   created;
    unsigned   foreign:1;       /* another server's, which was asked about it */
} ngx_http_opsauth_oauth_about_t;


static ngx_int_t ngx_http_opsauth_oauth_introspect_asker(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_introspect_token(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_introspect_found(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_introspect_refresh(
    ngx_http_opsauth_oauth_t *oauth, ngx_http_opsauth_oauth_about_t *about);
static ngx_int_t ngx_http_opsauth_oauth_introspect_access(
    ngx_http_opsauth_oauth_t *oauth, ngx_http_opsauth_oauth_about_t *about);
static ngx_int_t ngx_http_opsauth_oauth_introspect_account(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_active(ngx_http_opsauth_oauth_t *oauth,
    ngx_http_opsauth_oauth_about_t *about);
static ngx_int_t ngx_http_opsauth_oauth_inactive(
    ngx_http_opsauth_oauth_t *oauth, const char *reason);
static void ngx_http_opsauth_oauth_about_text(json_t *body, const char *name,
    oa_str_t value);
static void ngx_http_opsauth_oauth_about_number(json_t *body, const char *name,
    oa_str_t value);


static const char *const  ngx_http_opsauth_oauth_access_fields[] = {
    "id", "kind", "account", "state", "environment", "scopes", "expires",
    "created", "subject", "client", "introspected"
};


ngx_int_t
ngx_http_opsauth_oauth_introspect(ngx_http_opsauth_oauth_t *oauth)
{
    return ngx_http_opsauth_oauth_login(oauth,
                                      ngx_http_opsauth_oauth_introspect_asker);
}


static ngx_int_t
ngx_http_opsauth_oauth_introspect_asker(ngx_http_opsauth_oauth_t *oauth)
{
    if (!oauth->client.introspect) {
        return ngx_http_opsauth_oauth_error(oauth, NGX_HTTP_FORBIDDEN,
                                            "unauthorized_client",
                                            "this client may not ask about "
                                            "tokens", NULL);
    }

    ngx_http_opsauth_oauth_account_ask(oauth, oauth->client.account);

    return ngx_http_opsauth_oauth_wait(oauth,
                                      ngx_http_opsauth_oauth_introspect_token);
}


static ngx_int_t
ngx_http_opsauth_oauth_introspect_token(ngx_http_opsauth_oauth_t *oauth)
{
    oa_str_t                         name;
    ngx_int_t                        rc;
    const char                      *reason;
    ngx_http_opsauth_oauth_grant_t  *grant;

    rc = ngx_http_opsauth_oauth_account_take(oauth, 0, oauth->client.account,
                                             1, &reason);
    if (rc == NGX_ERROR) {
        return ngx_http_opsauth_oauth_unavailable(oauth, reason);
    }

    if (rc != NGX_OK) {
        return ngx_http_opsauth_oauth_error(oauth, NGX_HTTP_FORBIDDEN,
                                            "unauthorized_client",
                                            "the account may not log in",
                                            reason);
    }

    grant = ngx_http_opsauth_oauth_presented(oauth, &name, &rc);
    if (grant == NULL) {
        return rc;
    }

    if (name.data == NULL) {
        return ngx_http_opsauth_oauth_inactive(oauth, "no token is that long");
    }

    if (grant->is_refresh) {
        rc = ngx_http_opsauth_oauth_find(oauth, "refresh:", name,
                                        NGX_HTTP_OPSAUTH_OAUTH_FAMILY_FIELDS,
                                        ngx_http_opsauth_oauth_family_fields);
    } else {
        rc = ngx_http_opsauth_oauth_find(oauth, "credential:", name,
                                        NGX_HTTP_OPSAUTH_OAUTH_ACCESS_FIELDS,
                                        ngx_http_opsauth_oauth_access_fields);
    }

    if (rc != NGX_OK) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    return ngx_http_opsauth_oauth_wait(oauth,
                                      ngx_http_opsauth_oauth_introspect_found);
}


static ngx_int_t
ngx_http_opsauth_oauth_introspect_found(ngx_http_opsauth_oauth_t *oauth)
{
    int64_t                          expires;
    ngx_int_t                        rc;
    ngx_http_opsauth_oauth_grant_t  *grant;
    ngx_http_opsauth_oauth_about_t  *about;

    grant = oauth->data;

    about = ngx_pcalloc(oauth->request->pool,
                        sizeof(ngx_http_opsauth_oauth_about_t));
    if (about == NULL) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    rc = grant->is_refresh
         ? ngx_http_opsauth_oauth_introspect_refresh(oauth, about)
         : ngx_http_opsauth_oauth_introspect_access(oauth, about);

    if (rc == NGX_ERROR) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    /* what is missing or malformed makes it a record that the gateway refuses */

    if (rc != NGX_OK || about->account.len == 0
        || about->account.len > OA_ACCOUNT_MAX
        || !oa_text_is_id(about->account) || about->environment.len == 0
        || about->scopes.data == NULL || about->expires.data == NULL
        || oa_text_number(about->expires, INT64_MAX, &expires) != OA_OK)
    {
        return ngx_http_opsauth_oauth_inactive(oauth,
                                "the token is unknown, revoked or malformed");
    }

    if (expires <= grant->now) {
        return ngx_http_opsauth_oauth_inactive(oauth, "the token has expired");
    }

    grant->about = about;

    ngx_http_opsauth_oauth_account_ask(oauth, about->account);

    return ngx_http_opsauth_oauth_wait(oauth,
                                    ngx_http_opsauth_oauth_introspect_account);
}


static ngx_int_t
ngx_http_opsauth_oauth_introspect_refresh(ngx_http_opsauth_oauth_t *oauth,
    ngx_http_opsauth_oauth_about_t *about)
{
    ngx_int_t                        rc;
    const oa_str_t                  *fields;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;
    rc = ngx_http_opsauth_oauth_family_take(oauth);

    if (rc != NGX_OK) {
        return rc;
    }

    fields = grant->fields;

    if (!grant->is_current
        || !oa_text_eq(fields[NGX_HTTP_OPSAUTH_OAUTH_FAMILY_STATE], "active"))
    {
        return NGX_DECLINED;
    }

    about->account = fields[NGX_HTTP_OPSAUTH_OAUTH_FAMILY_ACCOUNT];
    about->environment = fields[NGX_HTTP_OPSAUTH_OAUTH_FAMILY_ENVIRONMENT];
    about->scopes = fields[NGX_HTTP_OPSAUTH_OAUTH_FAMILY_SCOPES];
    about->subject = fields[NGX_HTTP_OPSAUTH_OAUTH_FAMILY_SUBJECT];
    about->client = fields[NGX_HTTP_OPSAUTH_OAUTH_FAMILY_CLIENT];
    about->expires = fields[NGX_HTTP_OPSAUTH_OAUTH_FAMILY_EXPIRES];
    about->created = fields[NGX_HTTP_OPSAUTH_OAUTH_FAMILY_CREATED];

    return NGX_OK;
}


static ngx_int_t
ngx_http_opsauth_oauth_introspect_access(ngx_http_opsauth_oauth_t *oauth,
    ngx_http_opsauth_oauth_about_t *about)
{
    oa_str_t              kind, state;
    ngx_int_t             found;
    ngx_opsauth_reply_t  *reply;

    found = ngx_http_opsauth_oauth_found(oauth);

    if (found == NGX_DECLINED) {
        return NGX_DECLINED;
    }

    reply = ngx_http_opsauth_oauth_reply(oauth, found);

    kind = ngx_http_opsauth_oauth_text(reply,
                                       NGX_HTTP_OPSAUTH_OAUTH_ACCESS_KIND);
    state = ngx_http_opsauth_oauth_text(reply,
                                        NGX_HTTP_OPSAUTH_OAUTH_ACCESS_STATE);

    if (kind.data == NULL || !oa_text_eq(kind, "access_token")
        || state.data == NULL
        || !(oa_text_eq(state, "active") || oa_text_eq(state, "deprecated")))
    {
        return NGX_DECLINED;
    }

    about->id = ngx_http_opsauth_oauth_text(reply,
                                   NGX_HTTP_OPSAUTH_OAUTH_ACCESS_ID);
    about->account = ngx_http_opsauth_oauth_text(reply,
                                   NGX_HTTP_OPSAUTH_OAUTH_ACCESS_ACCOUNT);
    about->environment = ngx_http_opsauth_oauth_text(reply,
                                   NGX_HTTP_OPSAUTH_OAUTH_ACCESS_ENVIRONMENT);
    about->scopes = ngx_http_opsauth_oauth_text(reply,
                                   NGX_HTTP_OPSAUTH_OAUTH_ACCESS_SCOPES);
    about->subject = ngx_http_opsauth_oauth_text(reply,
                                   NGX_HTTP_OPSAUTH_OAUTH_ACCESS_SUBJECT);
    about->client = ngx_http_opsauth_oauth_text(reply,
                                   NGX_HTTP_OPSAUTH_OAUTH_ACCESS_CLIENT);
    about->expires = ngx_http_opsauth_oauth_text(reply,
                                   NGX_HTTP_OPSAUTH_OAUTH_ACCESS_EXPIRES);
    about->created = ngx_http_opsauth_oauth_text(reply,
                                   NGX_HTTP_OPSAUTH_OAUTH_ACCESS_CREATED);
    about->foreign = (ngx_http_opsauth_oauth_text(reply,
                                   NGX_HTTP_OPSAUTH_OAUTH_ACCESS_INTROSPECTED)
                          .data != NULL);

    return NGX_OK;
}


static ngx_int_t
ngx_http_opsauth_oauth_introspect_account(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_int_t                        rc;
    const char                      *reason;
    ngx_http_opsauth_oauth_grant_t  *grant;
    ngx_http_opsauth_oauth_about_t  *about;

    grant = oauth->data;
    about = grant->about;

    rc = ngx_http_opsauth_oauth_account_take(oauth, 0, about->account, 0,
                                             &reason);

    if (rc == NGX_ERROR) {
        return ngx_http_opsauth_oauth_unavailable(oauth, reason);
    }

    if (rc != NGX_OK) {
        return ngx_http_opsauth_oauth_inactive(oauth, reason);
    }

    return ngx_http_opsauth_oauth_active(oauth, about);
}


static ngx_int_t
ngx_http_opsauth_oauth_active(ngx_http_opsauth_oauth_t *oauth,
    ngx_http_opsauth_oauth_about_t *about)
{
    json_t                          *body;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;
    body = json_pack("{s:b}", "active", 1);

    if (body == NULL) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    json_object_set_new(body, "scope",
                        ngx_http_opsauth_oauth_json_str(about->scopes));

    /* whose another server's token is, the record doesn't say */

    if (!about->foreign) {
        json_object_set_new(body, "iss",
                        ngx_http_opsauth_oauth_json_str(oauth->conf->issuer));
    }

    if (!grant->is_refresh) {
        json_object_set_new(body, "token_type", json_string("Bearer"));
    }

    ngx_http_opsauth_oauth_about_text(body, "client_id", about->client);
    ngx_http_opsauth_oauth_about_text(body, "sub", about->subject);
    ngx_http_opsauth_oauth_about_text(body, "jti", about->id);
    ngx_http_opsauth_oauth_about_text(body, "account", about->account);
    ngx_http_opsauth_oauth_about_text(body, "tenant", oauth->account.tenant);
    ngx_http_opsauth_oauth_about_text(body, "environment",
                                      about->environment);
    ngx_http_opsauth_oauth_about_number(body, "exp", about->expires);
    ngx_http_opsauth_oauth_about_number(body, "iat", about->created);

    return ngx_http_opsauth_oauth_json(oauth, NGX_HTTP_OK, body);
}


static void
ngx_http_opsauth_oauth_about_text(json_t *body, const char *name,
    oa_str_t value)
{
    if (value.len) {
        json_object_set_new(body, name, ngx_http_opsauth_oauth_json_str(value));
    }
}


static void
ngx_http_opsauth_oauth_about_number(json_t *body, const char *name,
    oa_str_t value)
{
    int64_t  number;

    if (value.data && oa_text_number(value, INT64_MAX, &number) == OA_OK) {
        json_object_set_new(body, name, json_integer(number));
    }
}


static ngx_int_t
ngx_http_opsauth_oauth_inactive(ngx_http_opsauth_oauth_t *oauth,
    const char *reason)
{
    static ngx_str_t  type = ngx_string("application/json");
    static ngx_str_t  body = ngx_string("{\"active\":false}");

    ngx_log_error(NGX_LOG_INFO, oauth->request->connection->log, 0,
                  "opsauth: client \"%*s\" asks about a token: inactive, %s",
                  oauth->client.id.len, oauth->client.id.data, reason);

    return ngx_http_opsauth_oauth_send(oauth, NGX_HTTP_OK, &type, &body, NULL);
}
