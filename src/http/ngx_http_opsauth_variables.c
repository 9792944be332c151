/*
 * Variables. They only read the request's context, and look it up again at
 * each use (not cacheable): a variable may be evaluated before the access
 * phase, and "not found" must not stick.
 *
 * tenant, affiliate, roles and scopes are there only where the verdict is
 * "allow": they are what backends act upon. Who was turned away stays visible
 * for logs in credential_id, credential_kind, credential_state, account and
 * environment.
 */

#include "ngx_http_opsauth.h"


/* a value that stands in the context as it is */
typedef struct {
    size_t      offset;                 /* 0: another kind of value */
    ngx_uint_t  allowed;                /* only where the verdict is "allow" */
} ngx_http_opsauth_text_t;


static ngx_int_t ngx_http_opsauth_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_opsauth_lookup_time(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_opsauth_rate_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_str_t ngx_http_opsauth_other_value(ngx_http_opsauth_ctx_t *ctx,
    ngx_uint_t number);
static ngx_str_t ngx_http_opsauth_c_string(const char *s);


static ngx_http_variable_t  ngx_http_opsauth_vars[] = {

    { ngx_string("opsauth_verdict"), NULL, ngx_http_opsauth_variable,
      NGX_HTTP_OPSAUTH_VAR_VERDICT, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("opsauth_reason"), NULL, ngx_http_opsauth_variable,
      NGX_HTTP_OPSAUTH_VAR_REASON, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("opsauth_credential_id"), NULL, ngx_http_opsauth_variable,
      NGX_HTTP_OPSAUTH_VAR_CREDENTIAL_ID, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("opsauth_credential_kind"), NULL, ngx_http_opsauth_variable,
      NGX_HTTP_OPSAUTH_VAR_CREDENTIAL_KIND, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("opsauth_credential_state"), NULL, ngx_http_opsauth_variable,
      NGX_HTTP_OPSAUTH_VAR_CREDENTIAL_STATE, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("opsauth_account"), NULL, ngx_http_opsauth_variable,
      NGX_HTTP_OPSAUTH_VAR_ACCOUNT, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("opsauth_tenant"), NULL, ngx_http_opsauth_variable,
      NGX_HTTP_OPSAUTH_VAR_TENANT, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("opsauth_affiliate"), NULL, ngx_http_opsauth_variable,
      NGX_HTTP_OPSAUTH_VAR_AFFILIATE, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("opsauth_roles"), NULL, ngx_http_opsauth_variable,
      NGX_HTTP_OPSAUTH_VAR_ROLES, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("opsauth_scopes"), NULL, ngx_http_opsauth_variable,
      NGX_HTTP_OPSAUTH_VAR_SCOPES, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("opsauth_environment"), NULL, ngx_http_opsauth_variable,
      NGX_HTTP_OPSAUTH_VAR_ENVIRONMENT, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("opsauth_cache"), NULL, ngx_http_opsauth_variable,
      NGX_HTTP_OPSAUTH_VAR_CACHE, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("opsauth_lookup_time"), NULL, ngx_http_opsauth_lookup_time,
      NGX_HTTP_OPSAUTH_VAR_LOOKUP_TIME, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("opsauth_rate_limit"), NULL, ngx_http_opsauth_rate_variable,
      NGX_HTTP_OPSAUTH_VAR_RATE_LIMIT, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("opsauth_rate_remaining"), NULL,
      ngx_http_opsauth_rate_variable,
      NGX_HTTP_OPSAUTH_VAR_RATE_REMAINING, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("opsauth_rate_reset"), NULL, ngx_http_opsauth_rate_variable,
      NGX_HTTP_OPSAUTH_VAR_RATE_RESET, NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


#define ngx_http_opsauth_text(text, allowed)                                  \
    { offsetof(ngx_http_opsauth_ctx_t, text), allowed }

static const ngx_http_opsauth_text_t
    ngx_http_opsauth_texts[NGX_HTTP_OPSAUTH_VAR_LOOKUP_TIME + 1] =
{
    [NGX_HTTP_OPSAUTH_VAR_CREDENTIAL_ID] =
        ngx_http_opsauth_text(credential.id, 0),
    [NGX_HTTP_OPSAUTH_VAR_ACCOUNT] =
        ngx_http_opsauth_text(credential.account, 0),
    [NGX_HTTP_OPSAUTH_VAR_TENANT] =
        ngx_http_opsauth_text(account.tenant, 1),
    [NGX_HTTP_OPSAUTH_VAR_AFFILIATE] =
        ngx_http_opsauth_text(account.affiliate, 1),
    [NGX_HTTP_OPSAUTH_VAR_ROLES] =
        ngx_http_opsauth_text(account.roles, 1),
    [NGX_HTTP_OPSAUTH_VAR_SCOPES] =
        ngx_http_opsauth_text(credential.scopes, 1)
};


static ngx_str_t  ngx_http_opsauth_cache_names[] = {
    ngx_null_string,
    ngx_string("bypass"),
    ngx_string("hit"),
    ngx_string("miss"),
    ngx_string("stale")
};


ngx_int_t
ngx_http_opsauth_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_opsauth_vars; v->name.len; v++) {

        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


ngx_uint_t
ngx_http_opsauth_variable_number(ngx_str_t *name)
{
    ngx_http_variable_t  *v;

    for (v = ngx_http_opsauth_vars; v->name.len; v++) {

        if (v->get_handler == ngx_http_opsauth_variable
            && v->name.len == name->len
            && ngx_strncmp(v->name.data, name->data, name->len) == 0)
        {
            return v->data;
        }
    }

    return NGX_HTTP_OPSAUTH_VAR_NONE;
}


size_t
ngx_http_opsauth_variable_offset(ngx_uint_t number)
{
    return ngx_http_opsauth_texts[number].offset;
}


static ngx_int_t
ngx_http_opsauth_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    ngx_str_t                value;
    ngx_http_opsauth_ctx_t  *ctx;

    ctx = ngx_http_opsauth_get_ctx(r);

    if (ctx == NULL || !ctx->decided) {
        v->not_found = 1;
        return NGX_OK;
    }

    value = ngx_http_opsauth_variable_value(ctx, data);

    if (value.len == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->len = value.len;
    v->data = value.data;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;

    return NGX_OK;
}


ngx_str_t
ngx_http_opsauth_variable_value(ngx_http_opsauth_ctx_t *ctx,
    ngx_uint_t number)
{
    ngx_str_t                       empty = ngx_null_string;
    oa_str_t                       *text;
    const ngx_http_opsauth_text_t  *place;

    place = &ngx_http_opsauth_texts[number];

    if (place->offset == 0) {
        return ngx_http_opsauth_other_value(ctx, number);
    }

    if (place->allowed && ctx->verdict.reason != OA_REASON_OK) {
        return empty;
    }

    text = (oa_str_t *) ((u_char *) ctx + place->offset);

    return ngx_http_opsauth_str(*text);
}


static ngx_str_t
ngx_http_opsauth_other_value(ngx_http_opsauth_ctx_t *ctx, ngx_uint_t number)
{
    ngx_str_t         empty = ngx_null_string;
    oa_credential_t  *credential;

    credential = &ctx->credential;

    switch (number) {

    case NGX_HTTP_OPSAUTH_VAR_VERDICT:
        return ngx_http_opsauth_c_string(
                   ctx->verdict.reason == OA_REASON_OK ? "allow"
                   : ctx->shadow ? "shadow-deny" : "deny");

    case NGX_HTTP_OPSAUTH_VAR_REASON:
        return ngx_http_opsauth_str(oa_reason_info(ctx->verdict.reason)->name);

    case NGX_HTTP_OPSAUTH_VAR_CREDENTIAL_KIND:
        return credential->id.len
               ? ngx_http_opsauth_c_string(oa_kind_name(credential->kind))
               : empty;

    case NGX_HTTP_OPSAUTH_VAR_CREDENTIAL_STATE:
        return credential->id.len
               ? ngx_http_opsauth_c_string(oa_state_name(credential->state))
               : empty;

    case NGX_HTTP_OPSAUTH_VAR_ENVIRONMENT:
        return credential->id.len
               ? ngx_http_opsauth_c_string(
                                 oa_environment_name(credential->environment))
               : empty;

    case NGX_HTTP_OPSAUTH_VAR_CACHE:
        return ngx_http_opsauth_cache_names[ctx->cache];

    default:
        return empty;
    }
}


/* seconds with milliseconds, as $request_time */

static ngx_int_t
ngx_http_opsauth_lookup_time(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                  *p;
    ngx_http_opsauth_ctx_t  *ctx;

    ctx = ngx_http_opsauth_get_ctx(r);

    if (ctx == NULL || !ctx->decided) {
        v->not_found = 1;
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_TIME_T_LEN + 4);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->len = ngx_sprintf(p, "%T.%03M", (time_t) ctx->lookup_time / 1000,
                         ctx->lookup_time % 1000)
             - p;
    v->data = p;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;

    return NGX_OK;
}


/* reset: Unix seconds */

static ngx_int_t
ngx_http_opsauth_rate_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    time_t                   reset;
    u_char                  *p;
    uint64_t                 limit, remaining, n;
    ngx_http_opsauth_ctx_t  *ctx;

    ctx = ngx_http_opsauth_get_ctx(r);

    if (ctx == NULL || !ctx->decided
        || ngx_http_opsauth_rate_told(ctx, &limit, &remaining, &reset)
           != NGX_OK)
    {
        v->not_found = 1;
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_INT64_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    n = (data == NGX_HTTP_OPSAUTH_VAR_RATE_LIMIT) ? limit
        : (data == NGX_HTTP_OPSAUTH_VAR_RATE_REMAINING) ? remaining
        : (uint64_t) reset;

    v->len = ngx_sprintf(p, "%uL", n) - p;
    v->data = p;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_str_t
ngx_http_opsauth_c_string(const char *s)
{
    ngx_str_t  str;

    str.len = ngx_strlen(s);
    str.data = (u_char *) s;

    return str;
}
