/*
 * The module as nginx sees it: directives, configuration hooks, phases. What
 * the directives and handlers do stands in src/http and src/oauth.
 */

#include "ngx_http_opsauth_introspection.h"
#include "ngx_http_opsauth_oauth.h"
#include "ngx_http_opsauth_status.h"
#include "ngx_http_opsauth_usage.h"


static ngx_int_t ngx_http_opsauth_preconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_opsauth_postconfiguration(ngx_conf_t *cf);


#define NGX_HTTP_OPSAUTH_PLACES                                               \
    (NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_HTTP_LMT_CONF)
#define NGX_HTTP_OPSAUTH_OAUTH_PLACES                                         \
    (NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF)


static ngx_command_t  ngx_http_opsauth_commands[] = {

    { ngx_string("opsauth_store"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_TAKE1,
      ngx_http_opsauth_store,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("opsauth"),
      NGX_HTTP_OPSAUTH_PLACES|NGX_CONF_TAKE12,
      ngx_http_opsauth_guard,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("opsauth_require"),
      NGX_HTTP_OPSAUTH_PLACES|NGX_CONF_1MORE,
      ngx_http_opsauth_require,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("opsauth_admin"),
      NGX_HTTP_OPSAUTH_PLACES|NGX_CONF_TAKE12,
      ngx_http_opsauth_admin,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("opsauth_credential"),
      NGX_HTTP_OPSAUTH_PLACES|NGX_CONF_1MORE,
      ngx_http_opsauth_credential,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("opsauth_identity_header"),
      NGX_HTTP_OPSAUTH_PLACES|NGX_CONF_TAKE12,
      ngx_http_opsauth_identity_header,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("opsauth_forward_credential"),
      NGX_HTTP_OPSAUTH_PLACES|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_opsauth_loc_conf_t, forward_credential),
      NULL },

    { ngx_string("opsauth_environment"),
      NGX_HTTP_OPSAUTH_PLACES|NGX_CONF_TAKE1,
      ngx_http_opsauth_environment,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("opsauth_realm"),
      NGX_HTTP_OPSAUTH_PLACES|NGX_CONF_TAKE1,
      ngx_http_opsauth_realm,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("opsauth_error_format"),
      NGX_HTTP_OPSAUTH_PLACES|NGX_CONF_TAKE1,
      ngx_http_opsauth_enum,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_opsauth_loc_conf_t, error_format),
      &ngx_http_opsauth_formats },

    { ngx_string("opsauth_rate"),
      NGX_HTTP_OPSAUTH_PLACES|NGX_CONF_TAKE12,
      ngx_http_opsauth_rate,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("opsauth_rate_headers"),
      NGX_HTTP_OPSAUTH_PLACES|NGX_CONF_TAKE1,
      ngx_http_opsauth_enum,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_opsauth_loc_conf_t, rate_headers),
      &ngx_http_opsauth_rate_header_forms },

    { ngx_string("opsauth_failure_rate"),
      NGX_HTTP_OPSAUTH_PLACES|NGX_CONF_TAKE12,
      ngx_http_opsauth_failure_rate,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("opsauth_resource_metadata"),
      NGX_HTTP_OPSAUTH_PLACES|NGX_CONF_TAKE1,
      ngx_http_opsauth_oauth_resource_metadata,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("opsauth_introspection"),
      NGX_HTTP_OPSAUTH_PLACES|NGX_CONF_TAKE1,
      ngx_http_opsauth_introspection,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("opsauth_introspection_valid"),
      NGX_HTTP_OPSAUTH_PLACES|NGX_CONF_TAKE1,
      ngx_http_opsauth_sec,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_opsauth_loc_conf_t, introspection.valid),
      &ngx_http_opsauth_introspection_valid },

    { ngx_string("opsauth_introspection_claim"),
      NGX_HTTP_OPSAUTH_PLACES|NGX_CONF_1MORE,
      ngx_http_opsauth_introspection_claim,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("opsauth_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS|NGX_CONF_TAKE1,
      ngx_http_opsauth_status,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    /* the token service */

    { ngx_string("opsauth_oauth"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_opsauth_oauth_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("opsauth_oauth_issuer"),
      NGX_HTTP_OPSAUTH_OAUTH_PLACES|NGX_CONF_TAKE1,
      ngx_http_opsauth_oauth_issuer,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("opsauth_oauth_resource"),
      NGX_HTTP_OPSAUTH_OAUTH_PLACES|NGX_CONF_TAKE1,
      ngx_http_opsauth_oauth_resource,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("opsauth_oauth_subject"),
      NGX_HTTP_OPSAUTH_OAUTH_PLACES|NGX_CONF_TAKE1,
      ngx_http_opsauth_oauth_subject,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("opsauth_oauth_token_valid"),
      NGX_HTTP_OPSAUTH_OAUTH_PLACES|NGX_CONF_TAKE1,
      ngx_http_opsauth_oauth_time,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_opsauth_oauth_conf_t, token_valid),
      NULL },

    { ngx_string("opsauth_oauth_short_token_valid"),
      NGX_HTTP_OPSAUTH_OAUTH_PLACES|NGX_CONF_TAKE1,
      ngx_http_opsauth_oauth_time,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_opsauth_oauth_conf_t, short_token_valid),
      NULL },

    { ngx_string("opsauth_oauth_refresh_token_valid"),
      NGX_HTTP_OPSAUTH_OAUTH_PLACES|NGX_CONF_TAKE1,
      ngx_http_opsauth_oauth_time,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_opsauth_oauth_conf_t, refresh_token_valid),
      NULL },

    { ngx_string("opsauth_oauth_refresh_grace"),
      NGX_HTTP_OPSAUTH_OAUTH_PLACES|NGX_CONF_TAKE1,
      ngx_http_opsauth_oauth_time,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_opsauth_oauth_conf_t, refresh_grace),
      NULL },

    { ngx_string("opsauth_oauth_code_valid"),
      NGX_HTTP_OPSAUTH_OAUTH_PLACES|NGX_CONF_TAKE1,
      ngx_http_opsauth_oauth_time,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_opsauth_oauth_conf_t, code_valid),
      NULL },

    /* inside opsauth_store { } */

    { ngx_string("redis"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_TAKE1,
      ngx_http_opsauth_store_redis,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("redis_user"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_TAKE1,
      ngx_http_opsauth_string,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_opsauth_store_t, redis.user),
      &ngx_http_opsauth_user_range },

    { ngx_string("redis_sentinel_user"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_TAKE1,
      ngx_http_opsauth_string,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_opsauth_store_t, redis.sentinel_user),
      &ngx_http_opsauth_user_range },

    { ngx_string("redis_sentinel_password_file"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_TAKE1,
      ngx_http_opsauth_store_sentinel_password_file,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("redis_password_file"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_TAKE1,
      ngx_http_opsauth_store_password_file,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("redis_ssl_trusted_certificate"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_TAKE1,
      ngx_http_opsauth_string,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_opsauth_store_t, tls.trusted_certificate),
      &ngx_http_opsauth_tls_file_range },

    { ngx_string("redis_ssl_certificate"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_TAKE1,
      ngx_http_opsauth_string,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_opsauth_store_t, tls.certificate),
      &ngx_http_opsauth_tls_file_range },

    { ngx_string("redis_ssl_certificate_key"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_TAKE1,
      ngx_http_opsauth_string,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_opsauth_store_t, tls.certificate_key),
      &ngx_http_opsauth_tls_file_range },

    { ngx_string("redis_ssl_password_file"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_TAKE1,
      ngx_http_opsauth_string,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_opsauth_store_t, tls.password_file),
      &ngx_http_opsauth_tls_file_range },

    { ngx_string("redis_ssl_name"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_TAKE1,
      ngx_http_opsauth_string,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_opsauth_store_t, tls.name),
      &ngx_http_opsauth_tls_name_range },

    { ngx_string("redis_ssl_ciphers"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_TAKE1,
      ngx_http_opsauth_string,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_opsauth_store_t, tls.ciphers),
      &ngx_http_opsauth_tls_ciphers_range },

    { ngx_string("redis_ssl_protocols"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_1MORE,
      ngx_http_opsauth_bitmask,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_opsauth_store_t, tls.protocols),
      &ngx_http_opsauth_tls_protocols },

    { ngx_string("redis_ssl_verify"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_opsauth_store_t, tls.verify),
      NULL },

    { ngx_string("redis_ssl_verify_depth"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_TAKE1,
      ngx_http_opsauth_number,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_opsauth_store_t, tls.verify_depth),
      &ngx_http_opsauth_tls_depth_range },

    { ngx_string("redis_ssl_session_reuse"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_opsauth_store_t, tls.session_reuse),
      NULL },

    { ngx_string("redis_connect_timeout"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_TAKE1,
      ngx_http_opsauth_msec,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_opsauth_store_t, redis.connect_timeout),
      &ngx_http_opsauth_timeout_range },

    { ngx_string("redis_timeout"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_TAKE1,
      ngx_http_opsauth_msec,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_opsauth_store_t, redis.timeout),
      &ngx_http_opsauth_timeout_range },

    { ngx_string("prefix"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_TAKE1,
      ngx_http_opsauth_string,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_opsauth_store_t, prefix),
      &ngx_http_opsauth_prefix_range },

    { ngx_string("pepper_file"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_TAKE1,
      ngx_http_opsauth_store_pepper_file,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("key_prefix"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_1MORE,
      ngx_http_opsauth_store_key_prefix,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cache"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_TAKE1,
      ngx_http_opsauth_size,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_opsauth_store_t, cache_size),
      NULL },

    { ngx_string("cache_valid"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_TAKE1,
      ngx_http_opsauth_msec,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_opsauth_store_t, cache_valid),
      &ngx_http_opsauth_cached_range },

    { ngx_string("cache_negative"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_TAKE1,
      ngx_http_opsauth_msec,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_opsauth_store_t, cache_negative),
      &ngx_http_opsauth_cached_range },

    { ngx_string("lease"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_TAKE1,
      ngx_http_opsauth_msec,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_opsauth_store_t, lease),
      &ngx_http_opsauth_lease_range },

    { ngx_string("stale"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_TAKE1,
      ngx_http_opsauth_store_stale,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rate_zone"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_TAKE1,
      ngx_http_opsauth_size,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_opsauth_store_t, rate_zone),
      NULL },

    { ngx_string("rate_sync"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_opsauth_store_t, rate_sync),
      NULL },

    { ngx_string("usage"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_opsauth_store_t, usage_on),
      NULL },

    { ngx_string("usage_zone"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_TAKE1,
      ngx_http_opsauth_size,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_opsauth_store_t, usage_size),
      NULL },

    { ngx_string("usage_interval"),
      NGX_HTTP_OPSAUTH_STORE_CONF|NGX_CONF_TAKE1,
      ngx_http_opsauth_msec,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_opsauth_store_t, usage_interval),
      &ngx_http_opsauth_usage_interval_range },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_opsauth_module_ctx = {
    ngx_http_opsauth_preconfiguration,     /* preconfiguration */
    ngx_http_opsauth_postconfiguration,    /* postconfiguration */

    ngx_http_opsauth_create_main_conf,     /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_opsauth_create_loc_conf,      /* create location configuration */
    ngx_http_opsauth_merge_loc_conf        /* merge location configuration */
};


ngx_module_t  ngx_http_opsauth_module = {
    NGX_MODULE_V1,
    &ngx_http_opsauth_module_ctx,          /* module context */
    ngx_http_opsauth_commands,             /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_opsauth_init_process,         /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_opsauth_exit_process,         /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_int_t
ngx_http_opsauth_preconfiguration(ngx_conf_t *cf)
{
    if (ngx_http_opsauth_add_variables(cf) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_opsauth_oauth_add_variables(cf);
}


static ngx_int_t
ngx_http_opsauth_postconfiguration(ngx_conf_t *cf)
{
    ngx_array_t                   *handlers;
    ngx_http_handler_pt           *h;
    ngx_http_core_main_conf_t     *cmcf;
    ngx_http_opsauth_main_conf_t  *omcf;

    omcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_opsauth_module);

    if (omcf->stores.nelts == 0) {
        return NGX_OK;
    }

    if (ngx_http_opsauth_init_stores(cf, omcf) != NGX_OK
        || ngx_http_opsauth_init_bodies(cf, omcf) != NGX_OK
        || ngx_http_opsauth_oauth_documents(cf, omcf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PREACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_opsauth_preaccess_handler;

    /*
     * nginx runs the handlers of a phase from the last to the first. Ours is
     * put first, to run last: what allow, deny, auth_basic or auth_request
     * turn away never costs a lookup, in dynamic and static builds alike.
     */

    handlers = &cmcf->phases[NGX_HTTP_ACCESS_PHASE].handlers;

    if (ngx_array_push(handlers) == NULL) {
        return NGX_ERROR;
    }

    h = handlers->elts;
    ngx_memmove(h + 1, h, (handlers->nelts - 1) * sizeof(ngx_http_handler_pt));
    *h = ngx_http_opsauth_access_handler;

    ngx_http_opsauth_init_filters();

    return NGX_OK;
}
