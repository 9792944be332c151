/*
 * What one process has for one store: the keyed hasher, the connection and its
 * lookups, made at the first request that needs them, so that helper processes
 * and idle workers cost nothing. It is also where lookups (src/redis) and the
 * cache (src/shm), which don't know each other, are joined: the hooks.
 */

#include "ngx_http_opsauth_status.h"
#include "ngx_http_opsauth_usage.h"


/* the build fails where they do not: see ngx_http_opsauth_decode() */
typedef u_char  ngx_http_opsauth_str_layout_t
    [sizeof(oa_str_t) == sizeof(ngx_str_t)
     && offsetof(oa_str_t, len) == offsetof(ngx_str_t, len)
     && offsetof(oa_str_t, data) == offsetof(ngx_str_t, data)
     ? 1 : -1];


OA_WARM static uint64_t ngx_http_opsauth_serves(void *owner,
    ngx_msec_t *resolved);
OA_WARM static void ngx_http_opsauth_begin(void *owner,
    ngx_opsauth_flight_t *flight);
OA_WARM static ngx_int_t ngx_http_opsauth_joinable(void *owner,
    ngx_opsauth_flight_t *flight);
OA_WARM static ngx_opsauth_status_e ngx_http_opsauth_decode(void *owner,
    ngx_opsauth_flight_t *flight, ngx_str_t *values, ngx_uint_t n,
    ngx_opsauth_status_e why, u_char **data, size_t *len);
static ngx_opsauth_status_e ngx_http_opsauth_invalid(
    ngx_http_opsauth_store_t *store, ngx_opsauth_flight_t *flight,
    oa_str_t *field);
OA_WARM static void ngx_http_opsauth_fill(ngx_http_opsauth_store_t *store,
    ngx_opsauth_flight_t *flight, ngx_uint_t type, u_char *data, size_t len);
static void ngx_http_opsauth_log_invalid(ngx_http_opsauth_store_t *store,
    ngx_opsauth_flight_t *flight, oa_str_t *field);


ngx_http_opsauth_worker_t *
ngx_http_opsauth_worker(ngx_http_opsauth_store_t *store)
{
    ngx_log_t                   *log;
    ngx_http_opsauth_worker_t   *worker;
    ngx_opsauth_lookup_hooks_t   hooks;

    if (store->worker) {
        return store->worker;
    }

    log = ngx_cycle->log;

    worker = ngx_calloc(sizeof(ngx_http_opsauth_worker_t), log);
    if (worker == NULL) {
        return NULL;
    }

    store->worker = worker;
    store->redis.stats = &ngx_http_opsauth_counts(store)->redis;

    if (store->redis.cluster == NULL) {
        store->redis.serves = ngx_http_opsauth_serves;
        store->redis.owner = store;
    }

    ngx_queue_init(&worker->chunks);
    ngx_queue_init(&worker->introspections);

    if (oa_hasher_init(&worker->hasher, store->peppers, store->npeppers)
        != OA_OK)
    {
        ngx_log_error(NGX_LOG_CRIT, log, 0,
                      "opsauth: libcrypto has no usable SHA2-256");
        goto failed;
    }

    worker->redis = ngx_opsauth_redis_create(&store->redis, log);
    if (worker->redis == NULL) {
        goto failed;
    }

    hooks.owner = store;
    hooks.begin = ngx_http_opsauth_begin;
    hooks.joinable = ngx_http_opsauth_joinable;
    hooks.decode = ngx_http_opsauth_decode;

    worker->lookup = ngx_opsauth_lookup_create(worker->redis, &hooks, log);
    if (worker->lookup == NULL) {
        goto failed;
    }

    if (store->usage_on) {
        ngx_http_opsauth_usage_start(store);
    }

    return worker;

failed:

    ngx_http_opsauth_worker_destroy(store);

    return NULL;
}


void
ngx_http_opsauth_worker_destroy(ngx_http_opsauth_store_t *store)
{
    ngx_http_opsauth_worker_t  *worker;

    worker = store->worker;

    if (worker == NULL) {
        return;
    }

    ngx_http_opsauth_usage_destroy(worker);
    ngx_http_opsauth_stop_watches(store);

    if (worker->feed) {
        ngx_opsauth_feed_destroy(worker->feed);
    }

    if (worker->node) {
        ngx_http_opsauth_rate_node_stop(worker->node);
    }

    if (worker->redis) {
        ngx_opsauth_redis_destroy(worker->redis);
    }

    if (worker->lookup) {
        ngx_opsauth_lookup_destroy(worker->lookup);
    }

    oa_hasher_cleanup(&worker->hasher);
    ngx_explicit_memzero(worker, sizeof(ngx_http_opsauth_worker_t));
    ngx_free(worker);

    store->worker = NULL;
}


/* before nginx looks for sockets that were left open */

void
ngx_http_opsauth_exit_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                      i;
    ngx_http_opsauth_store_t      **store;
    ngx_http_opsauth_main_conf_t   *omcf;

    omcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_opsauth_module);

    if (omcf == NULL) {
        return;
    }

    store = omcf->stores.elts;

    for (i = 0; i < omcf->stores.nelts; i++) {
        ngx_http_opsauth_worker_destroy(store[i]);
        ngx_http_opsauth_release_counts(store[i]);
    }

    ngx_http_opsauth_free_spare();
}


static uint64_t
ngx_http_opsauth_serves(void *owner, ngx_msec_t *resolved)
{
    ngx_http_opsauth_store_t  *store = owner;

    return ngx_opsauth_cache_server(&store->cache, resolved);
}


static void
ngx_http_opsauth_begin(void *owner, ngx_opsauth_flight_t *flight)
{
    ngx_http_opsauth_store_t  *store = owner;

    ngx_opsauth_cache_ticket_t  *ticket;

    ticket = (ngx_opsauth_cache_ticket_t *) flight->ticket;

    ngx_opsauth_cache_begin(&store->cache, flight->key, ticket);

    /* what emptied the cache may have emptied the store, of its mark too */

    if (ticket->zone != store->worker->flushes) {
        store->worker->flushes = ticket->zone;
        ngx_opsauth_redis_unmark(store->worker->redis);
    }
}


static ngx_int_t
ngx_http_opsauth_joinable(void *owner, ngx_opsauth_flight_t *flight)
{
    ngx_http_opsauth_store_t  *store = owner;

    /* what it brings may be as old as that */

    if (flight->sent_at != 0
        && (ngx_msec_int_t) (ngx_current_msec - flight->sent_at)
           > (ngx_msec_int_t) store->lease)
    {
        return NGX_DECLINED;
    }

    return ngx_opsauth_cache_check(&store->cache, flight->key,
                              (ngx_opsauth_cache_ticket_t *) flight->ticket);
}


static ngx_opsauth_status_e
ngx_http_opsauth_decode(void *owner, ngx_opsauth_flight_t *flight,
    ngx_str_t *values, ngx_uint_t n, ngx_opsauth_status_e why, u_char **data,
    size_t *len)
{
    ngx_http_opsauth_store_t  *store = owner;

    oa_rc_t                      rc;
    oa_str_t                     fields[NGX_OPSAUTH_VALUES_MAX], field;
    ngx_http_opsauth_worker_t   *worker;

    if (n == 0) {
        field = (oa_str_t) oa_null;

        return (why == NGX_OPSAUTH_INVALID)
               ? ngx_http_opsauth_invalid(store, flight, &field) : why;
    }

    worker = store->worker;

    /* a server that was replaced may still answer, with what used to be */

    if (store->cache.nodes) {

        if (ngx_http_opsauth_cluster_replaced(store, flight)) {
            return NGX_OPSAUTH_MOVED;
        }

    } else if (ngx_opsauth_cache_replaced(&store->cache, flight->server,
                                   flight->resolved))
    {
        ngx_opsauth_redis_drop(worker->redis);
        return NGX_OPSAUTH_MOVED;
    }

    /* nginx's strings and the core's differ in nothing but a const */

    ngx_memcpy(fields, values, n * sizeof(oa_str_t));

    if (flight->type == NGX_HTTP_OPSAUTH_CREDENTIAL) {
        rc = oa_credential_pack(fields, &worker->hasher, worker->packed, len,
                                &field);
    } else {
        rc = oa_account_pack(ngx_http_opsauth_view(&flight->name), fields,
                             worker->packed, len, &field);
    }

    switch (rc) {

    case OA_OK:
        ngx_http_opsauth_fill(store, flight, flight->type, worker->packed,
                              *len);
        *data = worker->packed;
        return NGX_OPSAUTH_FOUND;

    case OA_DECLINED:

        /* a store that was never set up knows nobody: that is no answer */

        if (why == NGX_OPSAUTH_UNKNOWN) {
            ngx_http_opsauth_fill(store, flight, NGX_OPSAUTH_CACHE_UNKNOWN,
                                  NULL, 0);
        }

        return why;

    case OA_INVALID:
        return ngx_http_opsauth_invalid(store, flight, &field);

    default:
        return NGX_OPSAUTH_UNAVAILABLE;
    }
}


static ngx_opsauth_status_e
ngx_http_opsauth_invalid(ngx_http_opsauth_store_t *store,
    ngx_opsauth_flight_t *flight, oa_str_t *field)
{
    ngx_http_opsauth_log_invalid(store, flight, field);
    ngx_http_opsauth_fill(store, flight, NGX_OPSAUTH_CACHE_INVALID, NULL, 0);

    return NGX_OPSAUTH_INVALID;
}


/* one that is refused has still answered its own request */

static void
ngx_http_opsauth_fill(ngx_http_opsauth_store_t *store,
    ngx_opsauth_flight_t *flight, ngx_uint_t type, u_char *data, size_t len)
{
    if (store->cache.nodes) {
        ngx_http_opsauth_cluster_fill(store, flight, type, data, len);
        return;
    }

    (void) ngx_opsauth_cache_fill(&store->cache, flight->key,
                                  (ngx_opsauth_cache_ticket_t *) flight->ticket,
                                  flight->server, flight->sent_at, type, data,
                                  len);
}


/* once for each record in a while, however often it is asked for */

ngx_uint_t
ngx_http_opsauth_log_once(ngx_http_opsauth_worker_t *worker,
    const u_char *key)
{
    uint64_t    id;
    ngx_uint_t  i, n;

    n = sizeof(worker->invalid) / sizeof(worker->invalid[0]);

    ngx_memcpy(&id, key, sizeof(uint64_t));

    for (i = 0; i < n; i++) {
        if (worker->invalid[i] == id) {
            return 0;
        }
    }

    worker->invalid[worker->ninvalid++ % n] = id;

    return 1;
}


static void
ngx_http_opsauth_log_invalid(ngx_http_opsauth_store_t *store,
    ngx_opsauth_flight_t *flight, oa_str_t *field)
{
    ngx_str_t  name;

    if (!ngx_http_opsauth_log_once(store->worker, flight->key)) {
        return;
    }

    name = flight->name;

    if (flight->type == NGX_HTTP_OPSAUTH_CREDENTIAL) {
        name.len = ngx_min(name.len, 8);    /* of the digest */
    }

    if (field->len) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "opsauth: record \"%V%V%s\" is invalid: "
                      "field \"%*s\" is missing or malformed",
                      flight->type == NGX_HTTP_OPSAUTH_CREDENTIAL
                      ? &store->credential_kind.prefix
                      : &store->account_kind.prefix,
                      &name,
                      flight->type == NGX_HTTP_OPSAUTH_CREDENTIAL ? "..." : "",
                      field->len, field->data);
        return;
    }

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "opsauth: record \"%V%V%s\" is invalid: it is not a hash, "
                  "or larger than a record may be",
                  flight->type == NGX_HTTP_OPSAUTH_CREDENTIAL
                  ? &store->credential_kind.prefix
                  : &store->account_kind.prefix,
                  &name,
                  flight->type == NGX_HTTP_OPSAUTH_CREDENTIAL ? "..." : "");
}
