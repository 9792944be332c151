/*
 * For access logs: who asked the token service, and what went wrong. As in
 * src/http they only read, and are looked up again at each use.
 */

#include "ngx_http_opsauth_oauth.h"


static ngx_int_t ngx_http_opsauth_oauth_client_id(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_opsauth_oauth_error_name(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_http_opsauth_oauth_t *ngx_http_opsauth_oauth_of(
    ngx_http_request_t *r);


static ngx_http_variable_t  ngx_http_opsauth_oauth_vars[] = {

    { ngx_string("opsauth_oauth_client_id"), NULL,
      ngx_http_opsauth_oauth_client_id, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("opsauth_oauth_error"), NULL,
      ngx_http_opsauth_oauth_error_name, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_opsauth_oauth_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_opsauth_oauth_vars; v->name.len; v++) {

        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
    }

    return NGX_OK;
}


static ngx_http_opsauth_oauth_t *
ngx_http_opsauth_oauth_of(ngx_http_request_t *r)
{
    ngx_http_opsauth_ctx_t  *ctx;

    ctx = ngx_http_opsauth_get_ctx(r);

    return ctx ? ctx->oauth : NULL;
}


static ngx_int_t
ngx_http_opsauth_oauth_client_id(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_opsauth_oauth_t  *oauth;

    oauth = ngx_http_opsauth_oauth_of(r);

    if (oauth == NULL || oauth->client_id.len == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->len = oauth->client_id.len;
    v->data = (u_char *) oauth->client_id.data;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_opsauth_oauth_error_name(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_opsauth_oauth_t  *oauth;

    oauth = ngx_http_opsauth_oauth_of(r);

    if (oauth == NULL || oauth->error == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->len = ngx_strlen(oauth->error);
    v->data = (u_char *) oauth->error;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;

    return NGX_OK;
}
