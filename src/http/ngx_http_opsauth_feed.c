/*
 * The feed of changes, joined to the cache: each of the first two workers has
 * one for each store, from its start (never a helper process). Two, so that
 * one may be lost without a gap; no more, since each costs Redis a message for
 * every change. What sentinels tell of a failover is heard there, too.
 */

#include "ngx_http_opsauth.h"


static ngx_int_t ngx_http_opsauth_start_feed(ngx_http_opsauth_store_t *store,
    ngx_log_t *log);
static ngx_int_t ngx_http_opsauth_certified(void *owner, uint64_t server,
    ngx_msec_t resolved, ngx_msec_t started, ngx_msec_t sent_at);
static ngx_int_t ngx_http_opsauth_found(void *owner, uint64_t server,
    ngx_msec_t resolved);
static ngx_int_t ngx_http_opsauth_start_watches(
    ngx_http_opsauth_store_t *store, ngx_log_t *log);
static void ngx_http_opsauth_moved(void *owner, ngx_str_t *primary,
    uint64_t server, ngx_msec_t heard);
static ngx_int_t ngx_http_opsauth_behind(ngx_str_t *key, ngx_str_t *prefix,
    oa_str_t *name);


#define NGX_HTTP_OPSAUTH_FEEDS  2


ngx_int_t
ngx_http_opsauth_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                      i;
    ngx_http_opsauth_store_t      **store;
    ngx_http_opsauth_main_conf_t   *omcf;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    omcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_opsauth_module);

    if (omcf == NULL) {
        return NGX_OK;
    }

    store = omcf->stores.elts;

    for (i = 0; ngx_worker == 0 && i < omcf->stores.nelts; i++) {
        if (store[i]->rate_sync
            && ngx_http_opsauth_rate_node_start(store[i], cycle->log)
               != NGX_OK)
        {
            ngx_log_error(NGX_LOG_CRIT, cycle->log, 0,
                          "opsauth: this node can't be made known to others "
                          "of store \"%V\"", &store[i]->name);
        }
    }

    if (ngx_worker >= NGX_HTTP_OPSAUTH_FEEDS) {

        /* one that was killed may have left counts behind */

        for (i = 0; i < omcf->stores.nelts; i++) {
            if (store[i]->usage_on) {
                (void) ngx_http_opsauth_worker(store[i]);
            }
        }

        return NGX_OK;
    }

    /* without its feed a worker still serves, bounded by the lease */

    for (i = 0; i < omcf->stores.nelts; i++) {
        if (ngx_http_opsauth_start_feed(store[i], cycle->log) != NGX_OK) {
            ngx_log_error(NGX_LOG_CRIT, cycle->log, 0,
                          "opsauth: the feed of store \"%V\" can't be started",
                          &store[i]->name);
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_opsauth_start_feed(ngx_http_opsauth_store_t *store, ngx_log_t *log)
{
    ngx_str_t                   prefixes[2];
    ngx_http_opsauth_worker_t  *worker;
    ngx_opsauth_feed_hooks_t    hooks;

    worker = ngx_http_opsauth_worker(store);
    if (worker == NULL) {
        return NGX_ERROR;
    }

    prefixes[0] = store->credential_kind.prefix;
    prefixes[1] = store->account_kind.prefix;

    if (store->redis.cluster) {
        ngx_opsauth_cluster_listen(worker->redis, store->lease, prefixes, 2,
                                   &store->channel);
        return NGX_OK;
    }

    hooks.owner = store;
    hooks.changed = ngx_http_opsauth_changed;
    hooks.flushed = ngx_http_opsauth_flushed;
    hooks.certified = ngx_http_opsauth_certified;
    hooks.found = ngx_http_opsauth_found;

    worker->feed = ngx_opsauth_feed_create(&store->redis, store->lease,
                                           prefixes, 2, &store->channel,
                                           &hooks, log);
    if (worker->feed == NULL) {
        return NGX_ERROR;
    }

    ngx_opsauth_feed_start(worker->feed);

    return ngx_http_opsauth_start_watches(store, log);
}


/* to all sentinels: whichever hears of a failover first tells of it */

static ngx_int_t
ngx_http_opsauth_start_watches(ngx_http_opsauth_store_t *store, ngx_log_t *log)
{
    ngx_uint_t             i, n;
    ngx_opsauth_watch_t  **watches;

    n = store->redis.nsentinels;

    if (n == 0) {
        return NGX_OK;
    }

    watches = ngx_calloc(n * sizeof(ngx_opsauth_watch_t *), log);
    if (watches == NULL) {
        return NGX_ERROR;
    }

    store->worker->watches = watches;

    for (i = 0; i < n; i++) {
        watches[i] = ngx_opsauth_watch_create(&store->redis, i,
                                              ngx_http_opsauth_moved, store,
                                              log);
        if (watches[i] == NULL) {
            return NGX_ERROR;
        }

        ngx_opsauth_watch_start(watches[i]);
    }

    return NGX_OK;
}


void
ngx_http_opsauth_stop_watches(ngx_http_opsauth_store_t *store)
{
    ngx_uint_t             i;
    ngx_opsauth_watch_t  **watches;

    watches = store->worker->watches;

    if (watches == NULL) {
        return;
    }

    for (i = 0; i < store->redis.nsentinels; i++) {
        if (watches[i]) {
            ngx_opsauth_watch_destroy(watches[i]);
        }
    }

    ngx_free(watches);
    store->worker->watches = NULL;
}


/*
 * A failover. The old primary may be there again before it knows of it, and what
 * it says then is not to be believed: coverage is taken from it before anybody
 * has reached the new one, so that all other workers leave it too.
 */

static void
ngx_http_opsauth_moved(void *owner, ngx_str_t *primary, uint64_t server,
    ngx_msec_t heard)
{
    ngx_http_opsauth_store_t *store = owner;

    ngx_uint_t  left;

    left = ngx_opsauth_redis_leave(store->worker->redis, primary);
    left += ngx_opsauth_feed_leave(store->worker->feed, primary);

    if (left == 0) {
        /* they are there already */
        return;
    }

    /* whoever asks the sentinels from now on does so later than that */

    (void) ngx_opsauth_cache_take(&store->cache, server, heard - 1);

    ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                  "opsauth: redis \"%V\" of store \"%V\": the primary is "
                  "\"%V\" now, a sentinel tells", &store->url, &store->name,
                  primary);
}


/* the record's name in Redis; one that is none of ours is let go */

void
ngx_http_opsauth_changed(void *owner, ngx_str_t *key)
{
    ngx_http_opsauth_store_t *store = owner;

    u_char    digest[OA_DIGEST_LEN];
    oa_rc_t   rc;
    oa_str_t  name;

    if (ngx_http_opsauth_behind(key, &store->credential_kind.prefix, &name)
        == NGX_OK)
    {
        rc = oa_text_unhex(name, digest, OA_DIGEST_LEN);

    } else if (ngx_http_opsauth_behind(key, &store->account_kind.prefix, &name)
               == NGX_OK)
    {
        rc = oa_hasher_account(&store->worker->hasher, name, digest);

        /* which account it was can't be told any more */

        if (rc != OA_OK) {
            ngx_opsauth_cache_invalidate_all(&store->cache);
            return;
        }

    } else {
        return;
    }

    if (rc == OA_OK) {
        ngx_opsauth_cache_invalidate(&store->cache, digest);
    }
}


void
ngx_http_opsauth_flushed(void *owner)
{
    ngx_http_opsauth_store_t *store = owner;

    ngx_opsauth_cache_invalidate_all(&store->cache);
}


static ngx_int_t
ngx_http_opsauth_certified(void *owner, uint64_t server, ngx_msec_t resolved,
    ngx_msec_t started, ngx_msec_t sent_at)
{
    ngx_http_opsauth_store_t *store = owner;

    return ngx_opsauth_cache_certify(&store->cache, server, resolved, started,
                                     sent_at);
}


static ngx_int_t
ngx_http_opsauth_found(void *owner, uint64_t server, ngx_msec_t resolved)
{
    ngx_http_opsauth_store_t *store = owner;

    return ngx_opsauth_cache_take(&store->cache, server, resolved);
}


static ngx_int_t
ngx_http_opsauth_behind(ngx_str_t *key, ngx_str_t *prefix, oa_str_t *name)
{
    if (key->len < prefix->len
        || ngx_memcmp(key->data, prefix->data, prefix->len) != 0)
    {
        return NGX_DECLINED;
    }

    name->data = key->data + prefix->len;
    name->len = key->len - prefix->len;

    return NGX_OK;
}
