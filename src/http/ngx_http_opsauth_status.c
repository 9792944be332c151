/*
 * opsauth_status: a location that tells what was counted, and how cache, feed
 * and Redis are, of all stores and all workers. And the counting itself, as far
 * as it isn't the one inline function in the header.
 *
 * Whoever may ask is nginx's to say (allow, deny, auth_basic) or opsauth's own.
 */

#include "ngx_http_opsauth_status.h"


/* the build fails where gauges don't come first, or a word isn't one */
typedef u_char  ngx_http_opsauth_counts_layout_t
    [offsetof(ngx_http_opsauth_counts_t, redis) == 0
     && sizeof(ngx_http_opsauth_counts_t) % sizeof(uint64_t) == 0
     ? 1 : -1];


static ngx_int_t ngx_http_opsauth_status_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_opsauth_status_write(ngx_http_request_t *r,
    ngx_uint_t format, ngx_uint_t refresh, ngx_http_opsauth_text_buf_t *text);
static ngx_int_t ngx_http_opsauth_status_headers(ngx_http_request_t *r,
    ngx_uint_t format, ngx_uint_t refresh);
static ngx_int_t ngx_http_opsauth_status_send(ngx_http_request_t *r,
    ngx_http_opsauth_text_buf_t *text);
static ngx_uint_t ngx_http_opsauth_status_refresh(ngx_http_request_t *r);


/* seconds, of the page */
#define NGX_HTTP_OPSAUTH_STATUS_REFRESH  5


static ngx_str_t  ngx_http_opsauth_status_types[] = {
    ngx_null_string,
    ngx_string("application/json"),
    ngx_string("text/plain; version=0.0.4; charset=utf-8"),
    ngx_string("text/html; charset=utf-8")
};


char *
ngx_http_opsauth_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_opsauth_loc_conf_t *olcf = conf;

    ngx_str_t                 *value;
    ngx_http_core_loc_conf_t  *clcf;

    if (olcf->status) {
        return "is duplicate";
    }

    if (olcf->endpoint) {
        return "conflicts with \"opsauth_oauth\" beside it: each needs a "
               "location of its own";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 1 || ngx_strcmp(value[1].data, "json") == 0) {
        olcf->status = NGX_HTTP_OPSAUTH_STATUS_JSON;

    } else if (ngx_strcmp(value[1].data, "prometheus") == 0) {
        olcf->status = NGX_HTTP_OPSAUTH_STATUS_PROMETHEUS;

    } else if (ngx_strcmp(value[1].data, "html") == 0) {
        olcf->status = NGX_HTTP_OPSAUTH_STATUS_HTML;

    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"opsauth_status\": it "
                           "must be \"json\", \"prometheus\" or \"html\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_opsauth_status_handler;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_opsauth_status_handler(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    ngx_uint_t                    refresh;
    ngx_http_opsauth_text_buf_t   text;
    ngx_http_opsauth_loc_conf_t  *olcf;

    static ngx_str_t  allow = ngx_string("GET, HEAD");

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return (ngx_http_opsauth_add_header(r, "Allow", &allow) == NGX_OK)
               ? NGX_HTTP_NOT_ALLOWED : NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    olcf = ngx_http_get_module_loc_conf(r, ngx_http_opsauth_module);

    ngx_memzero(&text, sizeof(ngx_http_opsauth_text_buf_t));

    text.pool = r->pool;
    refresh = (olcf->status == NGX_HTTP_OPSAUTH_STATUS_HTML)
              ? ngx_http_opsauth_status_refresh(r) : 0;

    if (ngx_http_opsauth_status_write(r, olcf->status, refresh, &text)
        != NGX_OK
        || ngx_http_opsauth_status_headers(r, olcf->status, refresh) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_opsauth_status_send(r, &text);
}


static ngx_int_t
ngx_http_opsauth_status_write(ngx_http_request_t *r, ngx_uint_t format,
    ngx_uint_t refresh, ngx_http_opsauth_text_buf_t *text)
{
    ngx_uint_t                     i, n;
    ngx_http_opsauth_store_t     **store;
    ngx_http_opsauth_snapshot_t   *stores;
    ngx_http_opsauth_main_conf_t  *omcf;

    omcf = ngx_http_get_module_main_conf(r, ngx_http_opsauth_module);

    store = omcf->stores.elts;
    n = omcf->stores.nelts;

    stores = ngx_palloc(r->pool, (n + 1) * sizeof(ngx_http_opsauth_snapshot_t));
    if (stores == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < n; i++) {
        ngx_http_opsauth_snapshot(store[i], &stores[i]);
    }

    switch (format) {

    case NGX_HTTP_OPSAUTH_STATUS_JSON:
        ngx_http_opsauth_status_json(text, stores, n);
        break;

    case NGX_HTTP_OPSAUTH_STATUS_PROMETHEUS:
        ngx_http_opsauth_status_prometheus(text, stores, n);
        break;

    default:
        ngx_http_opsauth_status_html(text, stores, n, refresh);
        break;
    }

    return text->failed ? NGX_ERROR : NGX_OK;
}


static ngx_int_t
ngx_http_opsauth_status_headers(ngx_http_request_t *r, ngx_uint_t format,
    ngx_uint_t refresh)
{
    ngx_str_t  *type, value;

    static ngx_str_t  no_store = ngx_string("no-store");
    static ngx_str_t  nosniff = ngx_string("nosniff");

    type = &ngx_http_opsauth_status_types[format];

    r->headers_out.content_type = *type;
    r->headers_out.content_type_len = type->len;
    r->headers_out.content_type_lowcase = NULL;

    if (ngx_http_opsauth_add_header(r, "Cache-Control", &no_store) != NGX_OK
        || ngx_http_opsauth_add_header(r, "X-Content-Type-Options",
                                          &nosniff)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (format != NGX_HTTP_OPSAUTH_STATUS_HTML) {
        return NGX_OK;
    }

    if (ngx_http_opsauth_status_policy(r) != NGX_OK) {
        return NGX_ERROR;
    }

    if (refresh == 0) {
        return NGX_OK;
    }

    value.data = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    value.len = ngx_sprintf(value.data, "%ui", refresh) - value.data;

    return ngx_http_opsauth_add_header(r, "Refresh", &value);
}


static ngx_int_t
ngx_http_opsauth_status_send(ngx_http_request_t *r,
    ngx_http_opsauth_text_buf_t *text)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = text->last - text->start;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b->pos = text->start;
    b->last = text->last;
    b->memory = (text->last != text->start);
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


/* who reads slowly, or by ear, stops it: "?refresh=0" */

static ngx_uint_t
ngx_http_opsauth_status_refresh(ngx_http_request_t *r)
{
    ngx_str_t  value;

    if (ngx_http_arg(r, (u_char *) "refresh", 7, &value) == NGX_OK
        && value.len == 1 && value.data[0] == '0')
    {
        return 0;
    }

    return NGX_HTTP_OPSAUTH_STATUS_REFRESH;
}


void
ngx_http_opsauth_snapshot(ngx_http_opsauth_store_t *store,
    ngx_http_opsauth_snapshot_t *snapshot)
{
    ngx_msec_int_t              age;
    struct timespec             ts;
    ngx_http_opsauth_counts_t  *counts;

    ngx_memzero(snapshot, sizeof(ngx_http_opsauth_snapshot_t));

    counts = &snapshot->counts;

    snapshot->name = store->name;
    snapshot->workers = ngx_opsauth_counters_sum(&store->counters,
                                                 (uint64_t *) counts);
    snapshot->since = ngx_opsauth_counters_since(&store->counters);
    snapshot->lease = (uint64_t) store->lease * 1000;

    snapshot->allowed = counts->verdicts[0][OA_REASON_OK]
                        + counts->verdicts[1][OA_REASON_OK];

    ngx_opsauth_cache_stats(&store->cache, &snapshot->cache);
    ngx_opsauth_rate_stats(&store->rate, &snapshot->rate);

    if (store->usage_on) {
        ngx_opsauth_usage_stats(&store->usage, &snapshot->usage);
    }

    snapshot->coverage_age = NGX_HTTP_OPSAUTH_NEVER;

    if (snapshot->cache.covered_to) {
        (void) clock_gettime(CLOCK_MONOTONIC, &ts);

        age = (ngx_msec_int_t) ((ngx_msec_t) ts.tv_sec * 1000
                                + ts.tv_nsec / 1000000
                                - (ngx_msec_t) snapshot->cache.covered_to);
        age = ngx_max(age, 0);

        snapshot->coverage_age = (uint64_t) age * 1000;
        snapshot->covered = (age <= (ngx_msec_int_t) store->lease);
    }
}


ngx_int_t
ngx_http_opsauth_add_counters(ngx_conf_t *cf, ngx_http_opsauth_store_t *store)
{
    ngx_str_t  name;

    name.data = ngx_pnalloc(cf->pool, store->name.len
                                      + sizeof("opsauth::status") - 1);
    if (name.data == NULL) {
        return NGX_ERROR;
    }

    /* the cache's zone ends in digits: no store's name makes the two alike */

    name.len = ngx_sprintf(name.data, "opsauth:%V:status", &store->name)
               - name.data;

    store->counters.nwords = NGX_HTTP_OPSAUTH_COUNTS;
    store->counters.ngauges = NGX_OPSAUTH_STATS_GAUGES;

    return ngx_opsauth_counters_add(cf, &store->counters, &name,
                                    &ngx_http_opsauth_module);
}


ngx_http_opsauth_counts_t *
ngx_http_opsauth_counts(ngx_http_opsauth_store_t *store)
{
    if (store->counters.words == NULL) {
        ngx_opsauth_counters_claim(&store->counters, ngx_pid);
    }

    return (ngx_http_opsauth_counts_t *) store->counters.words;
}


void
ngx_http_opsauth_release_counts(ngx_http_opsauth_store_t *store)
{
    ngx_opsauth_counters_release(&store->counters);
}


void
ngx_http_opsauth_count_shared(ngx_http_opsauth_store_t *store,
    ngx_http_opsauth_ctx_t *ctx)
{
    ngx_http_opsauth_counts_t  *counts;

    counts = ngx_http_opsauth_counts(store);

    ngx_opsauth_stats_add(
                    &counts->verdicts[ctx->shadow][ctx->verdict.reason], 1);
    ngx_opsauth_stats_add(&counts->cache[ctx->cache], 1);
}


void
ngx_http_opsauth_count_oauth_error(ngx_http_opsauth_store_t *store,
    const char *error)
{
    size_t      len;
    ngx_str_t   name;
    ngx_uint_t  i;

    len = ngx_strlen(error);

    for (i = 0; i < NGX_HTTP_OPSAUTH_OAUTH_ERRORS - 1; i++) {
        name = ngx_http_opsauth_oauth_error_name(i);

        if (name.len == len && ngx_strncmp(name.data, error, len) == 0) {
            break;
        }
    }

    ngx_opsauth_stats_add(&ngx_http_opsauth_counts(store)->oauth_errors[i], 1);
}


void
ngx_http_opsauth_count_issued(ngx_http_opsauth_store_t *store, unsigned grant)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_OPSAUTH_GRANTS; i++) {
        if (grant == 1U << i) {
            ngx_opsauth_stats_add(&ngx_http_opsauth_counts(store)->issued[i],
                                  1);
        }
    }
}
