/*
 * opsauth_rate, opsauth_rate_headers, opsauth_failure_rate, and the zone that
 * the buckets are in.
 */

#include "ngx_http_opsauth.h"


static ngx_int_t ngx_http_opsauth_rate_burst(ngx_conf_t *cf, ngx_str_t *value,
    uint32_t *burst);
static ngx_int_t ngx_http_opsauth_rate_limits(ngx_conf_t *cf, ngx_str_t *text,
    ngx_http_opsauth_rate_conf_t *rate);


ngx_conf_enum_t  ngx_http_opsauth_rate_header_forms[] = {
    { ngx_string("off"), NGX_HTTP_OPSAUTH_RATE_HEADERS_OFF },
    { ngx_string("x"), NGX_HTTP_OPSAUTH_RATE_HEADERS_X },
    { ngx_string("ietf"), NGX_HTTP_OPSAUTH_RATE_HEADERS_IETF },
    { ngx_string("both"), NGX_HTTP_OPSAUTH_RATE_HEADERS_BOTH },
    { ngx_null_string, 0 }
};


/* where nothing is said: accounts have the rates of their records */
static ngx_http_opsauth_rate_conf_t  ngx_http_opsauth_rate_own;


/* opsauth_rate [default=RATE] [burst=N] | off */

char *
ngx_http_opsauth_rate(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_opsauth_loc_conf_t *olcf = conf;

    ngx_str_t                     *value, text;
    ngx_uint_t                     i;
    ngx_http_opsauth_rate_conf_t  *rate;

    if (olcf->rate != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        olcf->rate = NULL;
        return NGX_CONF_OK;
    }

    rate = ngx_pcalloc(cf->pool, sizeof(ngx_http_opsauth_rate_conf_t));
    if (rate == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_str_null(&text);

    for (i = 1; i < cf->args->nelts; i++) {

        if (text.data == NULL
            && ngx_strncmp(value[i].data, "default=", 8) == 0)
        {
            text.len = value[i].len - 8;
            text.data = value[i].data + 8;
            continue;
        }

        if (rate->burst == 0 && ngx_strncmp(value[i].data, "burst=", 6) == 0) {

            if (ngx_http_opsauth_rate_burst(cf, &value[i], &rate->burst)
                != NGX_OK)
            {
                return NGX_CONF_ERROR;
            }

            continue;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\" in \"opsauth_rate\": "
                           "\"default=60/m\", \"burst=20\" or \"off\" alone is "
                           "expected", &value[i]);
        return NGX_CONF_ERROR;
    }

    if (text.data && ngx_http_opsauth_rate_limits(cf, &text, rate) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    olcf->rate = rate;

    return NGX_CONF_OK;
}


/* opsauth_failure_rate RATE [burst=N] | off */

char *
ngx_http_opsauth_failure_rate(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_opsauth_loc_conf_t *olcf = conf;

    ngx_str_t                     *value;
    ngx_http_opsauth_rate_conf_t  *rate;

    if (olcf->failure_rate != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        olcf->failure_rate = NULL;
        return NGX_CONF_OK;
    }

    rate = ngx_pcalloc(cf->pool, sizeof(ngx_http_opsauth_rate_conf_t));
    if (rate == NULL) {
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts > 2) {

        if (ngx_strncmp(value[2].data, "burst=", 6) != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\" in "
                               "\"opsauth_failure_rate\": only \"burst=20\" "
                               "may follow the rate", &value[2]);
            return NGX_CONF_ERROR;
        }

        if (ngx_http_opsauth_rate_burst(cf, &value[2], &rate->burst)
            != NGX_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    if (ngx_http_opsauth_rate_limits(cf, &value[1], rate) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (rate->limits.n > 1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid rate \"%V\" in \"opsauth_failure_rate\": "
                           "it takes one limit, like \"10/m\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    olcf->failure_rate = rate;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_opsauth_rate_burst(ngx_conf_t *cf, ngx_str_t *value, uint32_t *burst)
{
    ngx_int_t  n;

    n = ngx_atoi(value->data + 6, value->len - 6);

    if (n == NGX_ERROR || n == 0 || n > OA_RATE_BURST_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\" in \"%V\": a number of "
                           "requests from 1 to %d is expected, like "
                           "\"burst=20\"", value,
                           (ngx_str_t *) cf->args->elts, OA_RATE_BURST_MAX);
        return NGX_ERROR;
    }

    *burst = (uint32_t) n;

    return NGX_OK;
}


static ngx_int_t
ngx_http_opsauth_rate_limits(ngx_conf_t *cf, ngx_str_t *text,
    ngx_http_opsauth_rate_conf_t *rate)
{
    if (oa_rate_parse(ngx_http_opsauth_view(text), rate->burst, &rate->limits)
        == OA_OK)
    {
        return NGX_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid rate \"%V\" in \"%V\": requests per s, m, h or "
                       "d are expected, such as \"60/m\" or \"10/s,1000/h\"",
                       text, (ngx_str_t *) cf->args->elts);

    return NGX_ERROR;
}


void
ngx_http_opsauth_rate_merge(ngx_http_opsauth_loc_conf_t *prev,
    ngx_http_opsauth_loc_conf_t *conf)
{
    ngx_conf_merge_ptr_value(conf->rate, prev->rate,
                             &ngx_http_opsauth_rate_own);
    ngx_conf_merge_ptr_value(conf->failure_rate, prev->failure_rate, NULL);
    ngx_conf_merge_uint_value(conf->rate_headers, prev->rate_headers,
                              NGX_HTTP_OPSAUTH_RATE_HEADERS_X);
}


ngx_int_t
ngx_http_opsauth_rate_add_zone(ngx_conf_t *cf, ngx_http_opsauth_store_t *store,
    uint32_t crc)
{
    size_t     min;
    ngx_str_t  name;

    min = ngx_opsauth_zone_size_min();

    if (store->rate_zone < min) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"rate_zone\" of %uz bytes in \"opsauth_store %V\" "
                           "is too small: it must be at least %uz bytes",
                           store->rate_zone, &store->name, min);
        return NGX_ERROR;
    }

    name.data = ngx_pnalloc(cf->pool, store->name.len
                                      + sizeof("opsauth_rate::") + 8);
    if (name.data == NULL) {
        return NGX_ERROR;
    }

    name.len = ngx_sprintf(name.data, "opsauth_rate:%V:%08XD", &store->name,
                           crc)
               - name.data;

    return ngx_opsauth_rate_add(cf, &store->rate, &name, store->rate_zone,
                                &ngx_http_opsauth_module);
}
