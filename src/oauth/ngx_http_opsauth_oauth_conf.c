/*
 * Directives of the token service. What an endpoint needs is asked for when the
 * configuration is read: a store, an issuer, and for authorize the subject.
 */

#include "ngx_http_opsauth_oauth.h"


static char *ngx_http_opsauth_oauth_merge_store(ngx_conf_t *cf,
    ngx_http_opsauth_loc_conf_t *conf);
static ngx_uint_t ngx_http_opsauth_oauth_kind(ngx_str_t *name);
static const char *ngx_http_opsauth_oauth_check_url(ngx_str_t *url,
    ngx_str_t *origin);
static char *ngx_http_opsauth_oauth_set_url(ngx_conf_t *cf, ngx_str_t *url,
    ngx_str_t *origin);


/* whoever writes more means something else */
#define NGX_HTTP_OPSAUTH_OAUTH_VALID_MAX  (366 * 24 * 3600)


ngx_http_opsauth_oauth_conf_t *
ngx_http_opsauth_oauth_create_conf(ngx_conf_t *cf)
{
    ngx_http_opsauth_oauth_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_opsauth_oauth_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    conf->subject = NGX_CONF_UNSET_PTR;
    conf->token_valid = NGX_CONF_UNSET;
    conf->short_token_valid = NGX_CONF_UNSET;
    conf->refresh_token_valid = NGX_CONF_UNSET;
    conf->refresh_grace = NGX_CONF_UNSET;
    conf->code_valid = NGX_CONF_UNSET;

    return conf;
}


char *
ngx_http_opsauth_oauth_merge_conf(ngx_conf_t *cf,
    ngx_http_opsauth_loc_conf_t *prev, ngx_http_opsauth_loc_conf_t *conf)
{
    ngx_http_opsauth_oauth_conf_t  *up, *here;
    const ngx_http_opsauth_oauth_endpoint_t  *endpoint;

    up = prev->oauth;
    here = conf->oauth;

    if (here->issuer.data == NULL) {
        here->issuer = up->issuer;
        here->origin = up->origin;
    }

    ngx_conf_merge_str_value(here->resource, up->resource, "");
    ngx_conf_merge_ptr_value(here->subject, up->subject, NULL);
    ngx_conf_merge_sec_value(here->token_valid, up->token_valid, 3600);
    ngx_conf_merge_sec_value(here->short_token_valid, up->short_token_valid,
                             30);
    ngx_conf_merge_sec_value(here->refresh_token_valid,
                             up->refresh_token_valid, 30 * 24 * 3600);
    ngx_conf_merge_sec_value(here->refresh_grace, up->refresh_grace, 10);
    ngx_conf_merge_sec_value(here->code_valid, up->code_valid, 60);

    if (here->kind == NGX_HTTP_OPSAUTH_OAUTH_NONE) {
        return NGX_CONF_OK;
    }

    endpoint = ngx_http_opsauth_oauth_endpoint(here->kind);

    if (here->issuer.len == 0) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"opsauth_oauth %V\" requires \"opsauth_oauth_issuer\", "
                      "like \"opsauth_oauth_issuer https://api.example.com;\" "
                      "in %s:%ui", &endpoint->name, here->file, here->line);
        return NGX_CONF_ERROR;
    }

    if (here->kind == NGX_HTTP_OPSAUTH_OAUTH_AUTHORIZE
        && here->subject == NULL)
    {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"opsauth_oauth authorize\" requires "
                      "\"opsauth_oauth_subject\", the variable that says who "
                      "has logged in, like \"opsauth_oauth_subject "
                      "$remote_user;\" in %s:%ui", here->file, here->line);
        return NGX_CONF_ERROR;
    }

    return ngx_http_opsauth_oauth_merge_store(cf, conf);
}


static char *
ngx_http_opsauth_oauth_merge_store(ngx_conf_t *cf,
    ngx_http_opsauth_loc_conf_t *conf)
{
    ngx_http_opsauth_store_t       **stores;
    ngx_http_opsauth_main_conf_t    *omcf;
    ngx_http_opsauth_oauth_conf_t   *here;
    const ngx_http_opsauth_oauth_endpoint_t  *endpoint;

    here = conf->oauth;
    omcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_opsauth_module);
    endpoint = ngx_http_opsauth_oauth_endpoint(here->kind);

    if (here->store_name.len) {
        here->store = ngx_http_opsauth_find_store(omcf, &here->store_name);

        if (here->store == NULL) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "unknown store \"%V\" in \"opsauth_oauth %V\": there "
                          "is no \"opsauth_store %V { ... }\" in http in %s:%ui",
                          &here->store_name, &endpoint->name,
                          &here->store_name, here->file, here->line);
            return NGX_CONF_ERROR;
        }

        return NGX_CONF_OK;
    }

    if (conf->store) {
        here->store = conf->store;
        return NGX_CONF_OK;
    }

    if (omcf->stores.nelts != 1) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"opsauth_oauth %V\" doesn't say which store it serves, "
                      "and there %s: write \"opsauth_oauth %V STORE;\" in "
                      "%s:%ui", &endpoint->name,
                      omcf->stores.nelts
                      ? "are several" : "is no \"opsauth_store\" in http",
                      &endpoint->name, here->file, here->line);
        return NGX_CONF_ERROR;
    }

    stores = omcf->stores.elts;
    here->store = stores[0];

    return NGX_CONF_OK;
}


/* KINDS: there is no such endpoint */

static ngx_uint_t
ngx_http_opsauth_oauth_kind(ngx_str_t *name)
{
    ngx_uint_t                                kind;
    const ngx_http_opsauth_oauth_endpoint_t  *endpoint;

    for (kind = NGX_HTTP_OPSAUTH_OAUTH_TOKEN;
         kind < NGX_HTTP_OPSAUTH_OAUTH_KINDS;
         kind++)
    {
        endpoint = ngx_http_opsauth_oauth_endpoint(kind);

        if (endpoint->start && endpoint->name.len == name->len
            && ngx_strncmp(endpoint->name.data, name->data, name->len) == 0)
        {
            break;
        }
    }

    return kind;
}


/* opsauth_oauth token|revoke|introspect|authorize|metadata|resource [store] */

char *
ngx_http_opsauth_oauth_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_opsauth_loc_conf_t *olcf = conf;

    ngx_str_t                      *value;
    ngx_uint_t                      kind;
    ngx_http_core_loc_conf_t       *clcf;
    ngx_http_opsauth_endpoint_t    *place;
    ngx_http_opsauth_main_conf_t   *omcf;
    ngx_http_opsauth_oauth_conf_t  *here;

    here = olcf->oauth;

    if (here->kind) {
        return "is duplicate";
    }

    if (olcf->status) {
        return "conflicts with \"opsauth_status\" beside it: each needs a "
               "location of its own";
    }

    value = cf->args->elts;
    kind = ngx_http_opsauth_oauth_kind(&value[1]);

    if (kind == NGX_HTTP_OPSAUTH_OAUTH_KINDS) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"opsauth_oauth\": it must "
                           "be \"token\", \"revoke\", \"introspect\", "
                           "\"authorize\", \"metadata\" or \"resource\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->named || clcf->name.len == 0 || clcf->name.data[0] != '/'
#if (NGX_PCRE)
        || clcf->regex
#endif
       )
    {
        return "needs a location with a path, like "
               "\"location = /oauth/token\": its URL is told to clients";
    }

    omcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_opsauth_module);

    place = ngx_array_push(&omcf->endpoints);
    if (place == NULL) {
        return NGX_CONF_ERROR;
    }

    place->server = ngx_http_conf_get_module_srv_conf(cf,
                                                      ngx_http_core_module);
    place->location = clcf;
    place->conf = here;

    here->kind = kind;
    here->path = clcf->name;
    here->file = cf->conf_file->file.name.data;
    here->line = cf->conf_file->line;

    if (cf->args->nelts > 2) {
        here->store_name = value[2];
    }

    olcf->endpoint = 1;
    clcf->handler = ngx_http_opsauth_oauth_handler;

    return NGX_CONF_OK;
}


char *
ngx_http_opsauth_oauth_issuer(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_opsauth_loc_conf_t *olcf = conf;

    return ngx_http_opsauth_oauth_set_url(cf, &olcf->oauth->issuer,
                                          &olcf->oauth->origin);
}


char *
ngx_http_opsauth_oauth_resource(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_opsauth_loc_conf_t *olcf = conf;

    ngx_str_t  origin;

    return ngx_http_opsauth_oauth_set_url(cf, &olcf->oauth->resource, &origin);
}


/* opsauth_resource_metadata URL | off */

char *
ngx_http_opsauth_oauth_resource_metadata(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf)
{
    ngx_http_opsauth_loc_conf_t *olcf = conf;

    ngx_str_t  *value, origin;

    value = cf->args->elts;

    if (olcf->resource_metadata.data) {
        return "is duplicate";
    }

    if (ngx_strcmp(value[1].data, "off") == 0) {
        ngx_str_set(&olcf->resource_metadata, "");
        return NGX_CONF_OK;
    }

    return ngx_http_opsauth_oauth_set_url(cf, &olcf->resource_metadata,
                                          &origin);
}


static char *
ngx_http_opsauth_oauth_set_url(ngx_conf_t *cf, ngx_str_t *url,
    ngx_str_t *origin)
{
    ngx_str_t   *value;
    const char  *error;

    if (url->data) {
        return "is duplicate";
    }

    value = cf->args->elts;
    error = ngx_http_opsauth_oauth_check_url(&value[1], origin);

    if (error) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"%V\": %s", &value[1],
                           &value[0], error);
        return NGX_CONF_ERROR;
    }

    *url = value[1];

    return NGX_CONF_OK;
}


/* NULL: an identifier as RFC 8414 section 2 and RFC 9728 section 1.2 have it,
   or one for a test on this machine */

static const char *
ngx_http_opsauth_oauth_check_url(ngx_str_t *url, ngx_str_t *origin)
{
    u_char      c;
    u_char     *host, *end, *colon;
    size_t      len;
    ngx_uint_t  i;

    static const char  *expected = "a URL like \"https://api.example.com\" is "
                                   "expected";

    for (i = 0; i < url->len; i++) {
        c = url->data[i];

        if (c <= 0x20 || c >= 0x7f || ngx_strchr("\"\\<>^`{|}$@", c)) {
            return expected;
        }

        if (c == '?' || c == '#') {
            return "it must have no query and no fragment";
        }
    }

    end = url->data + url->len;

    if (url->len > 8 && ngx_strncmp(url->data, "https://", 8) == 0) {
        host = url->data + 8;

    } else if (url->len > 7 && ngx_strncmp(url->data, "http://", 7) == 0) {
        host = url->data + 7;

    } else {
        return expected;
    }

    origin->data = url->data;
    origin->len = url->len;

    for (colon = host; colon < end; colon++) {
        if (*colon == '/') {
            end = colon;
            origin->len = colon - url->data;
            break;
        }
    }

    len = end - host;

    if (len == 0 || *host == ':') {
        return expected;
    }

    if (url->data[4] == 's') {
        return NULL;
    }

    if (*host == '[') {
        if (len >= 5 && ngx_strncmp(host, "[::1]", 5) == 0
            && (len == 5 || host[5] == ':'))
        {
            return NULL;
        }

    } else {
        colon = ngx_strlchr(host, end, ':');
        len = colon ? (size_t) (colon - host) : len;

        if ((len == 9 && ngx_strncmp(host, "localhost", 9) == 0)
            || (len <= 15 && (ngx_inet_addr(host, len) & htonl(0xff000000))
                             == htonl(0x7f000000)))
        {
            return NULL;
        }
    }

    return "tokens need https; http is for 127.0.0.1, [::1] and localhost alone";
}


char *
ngx_http_opsauth_oauth_subject(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_opsauth_loc_conf_t *olcf = conf;

    ngx_str_t                         *value;
    ngx_http_compile_complex_value_t   ccv;

    if (olcf->oauth->subject != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    olcf->oauth->subject = ngx_palloc(cf->pool,
                                      sizeof(ngx_http_complex_value_t));
    if (olcf->oauth->subject == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[1];
    ccv.complex_value = olcf->oauth->subject;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    /* everybody would be the same one */

    if (olcf->oauth->subject->lengths == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"opsauth_oauth_subject\": "
                           "a variable is expected, like \"$remote_user\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_opsauth_oauth_time(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_opsauth_loc_conf_t *olcf = conf;

    time_t     *seconds, min, max;
    ngx_str_t  *value;

    seconds = (time_t *) ((char *) olcf->oauth + cmd->offset);

    if (*seconds != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;
    min = 1;
    max = NGX_HTTP_OPSAUTH_OAUTH_VALID_MAX;

    /* RFC 6749 section 4.1.2: ten minutes at most */

    if (seconds == &olcf->oauth->code_valid) {
        max = 600;

    } else if (seconds == &olcf->oauth->refresh_grace) {
        min = 0;
        max = 3600;
    }

    *seconds = ngx_parse_time(&value[1], 1);

    if (*seconds == (time_t) NGX_ERROR || *seconds < min || *seconds > max) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"%V\": a time from %Ts to "
                           "%Ts is expected, like \"30s\" or \"1h\"",
                           &value[1], &value[0], min, max);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}
