/*
 * opsauth_store: the block and its directives. Everything that can be wrong is
 * found when the configuration is read: the pepper's form and who may read it,
 * the prefixes, the cache's size. Where Redis is: ngx_http_opsauth_address.c.
 */

#include "ngx_http_opsauth_status.h"
#include "ngx_http_opsauth_usage.h"


static ngx_http_opsauth_store_t *ngx_http_opsauth_create_store(ngx_conf_t *cf,
    ngx_str_t *name);
static char *ngx_http_opsauth_finish_store(ngx_conf_t *cf,
    ngx_http_opsauth_store_t *store);
static char *ngx_http_opsauth_check_store(ngx_conf_t *cf,
    ngx_http_opsauth_store_t *store);
static ngx_int_t ngx_http_opsauth_finish_kind(ngx_conf_t *cf,
    ngx_http_opsauth_store_t *store, ngx_opsauth_lookup_kind_t *kind,
    ngx_uint_t type, const char *middle, const oa_str_t *fields, ngx_uint_t n);
static char *ngx_http_opsauth_add_zone(ngx_conf_t *cf,
    ngx_http_opsauth_store_t *store);
static ngx_int_t ngx_http_opsauth_concat(ngx_conf_t *cf, ngx_str_t *out,
    ngx_str_t *a, const char *b);
static void ngx_http_opsauth_cleanup_store(void *data);


#define NGX_HTTP_OPSAUTH_DAY  (24 * 3600 * 1000)


ngx_http_opsauth_range_t  ngx_http_opsauth_prefix_range = {
    1, 128, "1 to 128 bytes, like \"opsauth:\","
};


ngx_http_opsauth_range_t  ngx_http_opsauth_user_range = {
    1, 255, "the name of a user in Redis"
};


/* a request waits for it: longer than a minute is a mistake in the unit */

ngx_http_opsauth_range_t  ngx_http_opsauth_timeout_range = {
    1, 60000, "a time from 1ms to 60s, like \"250ms\","
};


ngx_http_opsauth_range_t  ngx_http_opsauth_cached_range = {
    0, NGX_HTTP_OPSAUTH_DAY, "a time up to 1d, like \"60s\","
};


/* a shorter one could not be kept: a PING goes out each quarter */

ngx_http_opsauth_range_t  ngx_http_opsauth_lease_range = {
    100, 60000, "a time from 100ms to 60s, like \"1s\","
};


char *
ngx_http_opsauth_store(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_opsauth_main_conf_t *omcf = conf;

    char                      *rv;
    ngx_str_t                 *value;
    ngx_conf_t                 saved;
    ngx_http_conf_ctx_t       *ctx, *http_ctx;
    ngx_http_opsauth_store_t  *store, **slot;

    value = cf->args->elts;

    if (value[1].len == 0 || ngx_strcmp(value[1].data, "off") == 0
        || !oa_text_is_id(ngx_http_opsauth_view(&value[1])))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid name \"%V\" in \"opsauth_store\": letters, "
                           "digits and \"._:@-\", and not \"off\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (ngx_http_opsauth_find_store(omcf, &value[1]) != NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate \"opsauth_store %V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    store = ngx_http_opsauth_create_store(cf, &value[1]);
    slot = ngx_array_push(&omcf->stores);

    if (store == NULL || slot == NULL) {
        return NGX_CONF_ERROR;
    }

    *slot = store;

    /* inside the block our directives' configuration is the store */

    http_ctx = cf->ctx;

    ctx = ngx_pcalloc(cf->pool, sizeof(ngx_http_conf_ctx_t));
    if (ctx == NULL) {
        return NGX_CONF_ERROR;
    }

    *ctx = *http_ctx;

    ctx->main_conf = ngx_palloc(cf->pool,
                                sizeof(void *) * ngx_http_max_module);
    if (ctx->main_conf == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memcpy(ctx->main_conf, http_ctx->main_conf,
               sizeof(void *) * ngx_http_max_module);
    ctx->main_conf[ngx_http_opsauth_module.ctx_index] = store;

    saved = *cf;
    cf->ctx = ctx;
    cf->cmd_type = NGX_HTTP_OPSAUTH_STORE_CONF;

    rv = ngx_conf_parse(cf, NULL);

    *cf = saved;

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    return ngx_http_opsauth_finish_store(cf, store);
}


static ngx_http_opsauth_store_t *
ngx_http_opsauth_create_store(ngx_conf_t *cf, ngx_str_t *name)
{
    ngx_pool_cleanup_t        *cln;
    ngx_http_opsauth_store_t  *store;

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    store = ngx_pcalloc(cf->pool, sizeof(ngx_http_opsauth_store_t));

    if (cln == NULL || store == NULL) {
        return NULL;
    }

    store->name = *name;

    store->redis.connect_timeout = NGX_CONF_UNSET_MSEC;
    store->redis.timeout = NGX_CONF_UNSET_MSEC;
    store->cache_size = NGX_CONF_UNSET_SIZE;
    store->cache_valid = NGX_CONF_UNSET_MSEC;
    store->cache_negative = NGX_CONF_UNSET_MSEC;
    store->lease = NGX_CONF_UNSET_MSEC;
    store->stale = NGX_CONF_UNSET_MSEC;
    store->rate_zone = NGX_CONF_UNSET_SIZE;
    store->rate_sync = NGX_CONF_UNSET;
    store->usage_on = NGX_CONF_UNSET;
    store->usage_size = NGX_CONF_UNSET_SIZE;
    store->usage_interval = NGX_CONF_UNSET_MSEC;

    ngx_http_opsauth_tls_create(&store->tls);

    store->key_prefixes = ngx_array_create(cf->pool, 4,
                                           sizeof(oa_key_prefix_t));
    if (store->key_prefixes == NULL) {
        return NULL;
    }

    cln->handler = ngx_http_opsauth_cleanup_store;
    cln->data = store;

    return store;
}


static char *
ngx_http_opsauth_finish_store(ngx_conf_t *cf, ngx_http_opsauth_store_t *store)
{
    ngx_conf_init_msec_value(store->redis.connect_timeout, 250);
    ngx_conf_init_msec_value(store->redis.timeout, 250);
    ngx_conf_init_size_value(store->cache_size, 64 * 1024 * 1024);
    ngx_conf_init_msec_value(store->cache_valid, 60000);
    ngx_conf_init_msec_value(store->cache_negative, 5000);
    ngx_conf_init_msec_value(store->lease, 1000);
    ngx_conf_init_msec_value(store->stale, 30000);
    ngx_conf_init_size_value(store->rate_zone, 4 * 1024 * 1024);
    ngx_conf_init_value(store->rate_sync, 0);

    if (store->prefix.data == NULL) {
        ngx_str_set(&store->prefix, "opsauth:");
    }

    if (ngx_http_opsauth_check_store(cf, store) != NGX_CONF_OK
        || ngx_http_opsauth_tls_finish(cf, store) != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    store->redis.name = store->name;
    store->redis.url = store->url;

    if (ngx_http_opsauth_concat(cf, &store->redis.marker, &store->prefix,
                                "meta")
        != NGX_OK
        || ngx_http_opsauth_concat(cf, &store->channel, &store->prefix,
                                   "invalidate")
           != NGX_OK
        || ngx_http_opsauth_concat(cf, &store->rate_prefix, &store->prefix,
                                   "rate:")
           != NGX_OK
        || ngx_http_opsauth_concat(cf, &store->rate_nodes, &store->prefix,
                                   "nodes")
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    store->redis.client_name.data = ngx_pnalloc(cf->pool, store->name.len + 8);
    if (store->redis.client_name.data == NULL) {
        return NGX_CONF_ERROR;
    }

    store->redis.client_name.len =
        ngx_sprintf(store->redis.client_name.data, "opsauth-%V", &store->name)
        - store->redis.client_name.data;

    if (ngx_http_opsauth_finish_kind(cf, store, &store->credential_kind,
                                     NGX_HTTP_OPSAUTH_CREDENTIAL,
                                     "credential:", oa_credential_fields,
                                     OA_CREDENTIAL_FIELDS)
        != NGX_OK
        || ngx_http_opsauth_finish_kind(cf, store, &store->account_kind,
                                        NGX_HTTP_OPSAUTH_ACCOUNT, "account:",
                                        oa_account_fields, OA_ACCOUNT_FIELDS)
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return ngx_http_opsauth_add_zone(cf, store);
}


static char *
ngx_http_opsauth_check_store(ngx_conf_t *cf, ngx_http_opsauth_store_t *store)
{
    size_t  min;

    if (store->url.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"opsauth_store %V\" requires \"redis\", like "
                           "\"redis redis://127.0.0.1:6379/0;\"", &store->name);
        return NGX_CONF_ERROR;
    }

    if (store->npeppers == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"opsauth_store %V\" requires \"pepper_file\"; "
                           "\"opsauth pepper generate FILE\" makes one",
                           &store->name);
        return NGX_CONF_ERROR;
    }

    if (store->redis.user.len && store->redis.password_file.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"redis_user %V\" in \"opsauth_store %V\" requires "
                           "\"redis_password_file\"", &store->redis.user,
                           &store->name);
        return NGX_CONF_ERROR;
    }

    if (ngx_http_opsauth_check_sentinel(cf, store) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    min = ngx_opsauth_cache_size_min(store->cache.clustered);

    if (store->cache_size < min) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"cache\" of %uz bytes in \"opsauth_store %V\" is "
                           "too small: it must be at least %uz bytes",
                           store->cache_size, &store->name, min);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_opsauth_finish_kind(ngx_conf_t *cf, ngx_http_opsauth_store_t *store,
    ngx_opsauth_lookup_kind_t *kind, ngx_uint_t type, const char *middle,
    const oa_str_t *fields, ngx_uint_t n)
{
    ngx_uint_t  i;

    kind->type = type;
    kind->nfields = n;
    kind->fields = ngx_palloc(cf->pool, n * sizeof(ngx_str_t));
    if (kind->fields == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < n; i++) {
        kind->fields[i] = ngx_http_opsauth_str(fields[i]);
    }

    return ngx_http_opsauth_concat(cf, &kind->prefix, &store->prefix, middle);
}


/*
 * The zone's name tells apart what may not share records: another server or
 * another prefix under the same store's name gets a zone of its own at reload.
 */

static char *
ngx_http_opsauth_add_zone(ngx_conf_t *cf, ngx_http_opsauth_store_t *store)
{
    uint32_t   crc;
    ngx_str_t  name;

    ngx_crc32_init(crc);
    ngx_crc32_update(&crc, store->url.data, store->url.len);
    ngx_crc32_update(&crc, (u_char *) " ", 1);
    ngx_crc32_update(&crc, store->prefix.data, store->prefix.len);
    ngx_crc32_final(crc);

    name.data = ngx_pnalloc(cf->pool, store->name.len + sizeof("opsauth::")
                                      + 8);
    if (name.data == NULL) {
        return NGX_CONF_ERROR;
    }

    name.len = ngx_sprintf(name.data, "opsauth:%V:%08XD", &store->name, crc)
               - name.data;

    store->cache.lease = store->lease;
    store->cache.valid = store->cache_valid;
    store->cache.spread = store->cache_valid / 10;
    store->cache.negative = store->cache_negative;
    store->cache.stale = store->stale;

    if (ngx_opsauth_cache_add(cf, &store->cache, &name, store->cache_size,
                              &ngx_http_opsauth_module)
        != NGX_OK
        || ngx_http_opsauth_add_counters(cf, store) != NGX_OK
        || ngx_http_opsauth_rate_add_zone(cf, store, crc) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return ngx_http_opsauth_usage_finish(cf, store, crc);
}


char *
ngx_http_opsauth_store_key_prefix(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_opsauth_store_t *store = conf;

    ngx_str_t        *value;
    ngx_uint_t        i;
    const char       *error;
    oa_key_prefix_t  *prefix, *known;

    value = cf->args->elts;

    if (oa_key_prefix_valid(ngx_http_opsauth_view(&value[1])) != OA_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"key_prefix %V\": 1 to %d letters, "
                           "digits, \"_\", \"-\" and \".\" are expected, like "
                           "\"op365_sk_live_\"", &value[1], OA_KEY_PREFIX_MAX);
        return NGX_CONF_ERROR;
    }

    if (store->key_prefixes->nelts == OA_KEY_PREFIXES_MAX) {
        return "is given too often: a store may have 32 of them";
    }

    known = store->key_prefixes->elts;

    for (i = 0; i < store->key_prefixes->nelts; i++) {
        if (known[i].prefix.len == value[1].len
            && ngx_memcmp(known[i].prefix.data, value[1].data, value[1].len)
               == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate \"key_prefix %V\"", &value[1]);
            return NGX_CONF_ERROR;
        }
    }

    prefix = ngx_array_push(store->key_prefixes);
    if (prefix == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(prefix, sizeof(oa_key_prefix_t));
    prefix->prefix = ngx_http_opsauth_view(&value[1]);
    prefix->environment = OA_ENV_LIVE;

    for (i = 2; i < cf->args->nelts; i++) {

        if (oa_key_prefix_param(prefix, ngx_http_opsauth_view(&value[i]),
                                &error)
            != OA_OK)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\" in \"key_prefix "
                               "%V\": %s", &value[i], &value[1], error);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* stale time | off */

char *
ngx_http_opsauth_store_stale(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_opsauth_store_t *store = conf;

    ngx_int_t   ms;
    ngx_str_t  *value;

    if (store->stale != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        store->stale = 0;
        return NGX_CONF_OK;
    }

    ms = ngx_parse_time(&value[1], 0);

    if (ms == NGX_ERROR || ms > NGX_HTTP_OPSAUTH_DAY) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"stale\": a time of at "
                           "most 1d, like \"30s\", or \"off\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    store->stale = ms;

    return NGX_CONF_OK;
}


ngx_http_opsauth_store_t *
ngx_http_opsauth_find_store(ngx_http_opsauth_main_conf_t *omcf,
    ngx_str_t *name)
{
    ngx_uint_t                  i;
    ngx_http_opsauth_store_t  **store;

    store = omcf->stores.elts;

    for (i = 0; i < omcf->stores.nelts; i++) {
        if (store[i]->name.len == name->len
            && ngx_strncmp(store[i]->name.data, name->data, name->len) == 0)
        {
            return store[i];
        }
    }

    return NULL;
}


static ngx_int_t
ngx_http_opsauth_concat(ngx_conf_t *cf, ngx_str_t *out, ngx_str_t *a,
    const char *b)
{
    size_t  len;

    len = ngx_strlen(b);

    out->len = a->len + len;
    out->data = ngx_pnalloc(cf->pool, out->len);
    if (out->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(ngx_cpymem(out->data, a->data, a->len), b, len);

    return NGX_OK;
}


/* with the cycle; a worker's exit came earlier (exit_process) */

static void
ngx_http_opsauth_cleanup_store(void *data)
{
    ngx_http_opsauth_worker_destroy(data);
}
