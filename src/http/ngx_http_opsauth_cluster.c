/*
 * A store in a Redis Cluster: what src/redis knows of nodes and slots, joined to
 * what all workers know of them (src/shm), by hooks.
 */

#include "ngx_http_opsauth.h"


/* the build fails where a cell of the one is none of the other, or a name has no
   room */
typedef u_char  ngx_http_opsauth_cluster_cells_t
    [NGX_OPSAUTH_CLUSTER_NODES == NGX_OPSAUTH_NODES_MAX
     && NGX_OPSAUTH_NODE_NAME_MAX == NGX_OPSAUTH_CLUSTER_NAME_MAX ? 1 : -1];


static ngx_uint_t ngx_http_opsauth_cluster_whose(void *owner,
    ngx_uint_t slot);
static uint64_t ngx_http_opsauth_cluster_version(void *owner);
static ngx_uint_t ngx_http_opsauth_cluster_cell(void *owner,
    const ngx_str_t *name);
static size_t ngx_http_opsauth_cluster_name(void *owner, ngx_uint_t cell,
    u_char *name, uint64_t *generation);
static ngx_int_t ngx_http_opsauth_cluster_move(void *owner, ngx_uint_t slot,
    ngx_uint_t from, ngx_uint_t to);
static ngx_int_t ngx_http_opsauth_cluster_learn(void *owner,
    const u_char *owners, uint64_t epoch, ngx_msec_t asked_at);
static ngx_int_t ngx_http_opsauth_cluster_certified(void *owner,
    ngx_uint_t cell, uint64_t generation, uint64_t server, ngx_msec_t resolved,
    ngx_msec_t started, ngx_msec_t sent_at);
static ngx_int_t ngx_http_opsauth_cluster_found(void *owner, ngx_uint_t cell,
    uint64_t generation, uint64_t server, ngx_msec_t resolved);
static void ngx_http_opsauth_cluster_confirmed(void *owner, ngx_uint_t cell,
    uint64_t generation, uint64_t server, ngx_msec_t sent_at);


ngx_int_t
ngx_http_opsauth_cluster(ngx_conf_t *cf, ngx_http_opsauth_store_t *store)
{
    ngx_opsauth_cluster_hooks_t  *hooks;

    hooks = ngx_pcalloc(cf->pool, sizeof(ngx_opsauth_cluster_hooks_t));
    if (hooks == NULL) {
        return NGX_ERROR;
    }

    hooks->owner = store;
    hooks->whose = ngx_http_opsauth_cluster_whose;
    hooks->version = ngx_http_opsauth_cluster_version;
    hooks->cell = ngx_http_opsauth_cluster_cell;
    hooks->name = ngx_http_opsauth_cluster_name;
    hooks->move = ngx_http_opsauth_cluster_move;
    hooks->learn = ngx_http_opsauth_cluster_learn;
    hooks->changed = ngx_http_opsauth_changed;
    hooks->flushed = ngx_http_opsauth_flushed;
    hooks->certified = ngx_http_opsauth_cluster_certified;
    hooks->found = ngx_http_opsauth_cluster_found;
    hooks->confirmed = ngx_http_opsauth_cluster_confirmed;

    store->redis.cluster = hooks;
    store->cache.clustered = 1;

    return NGX_OK;
}


ngx_uint_t
ngx_http_opsauth_cluster_replaced(ngx_http_opsauth_store_t *store,
    ngx_opsauth_flight_t *flight)
{
    ngx_opsauth_cache_source_t  source;

    source.slot = flight->slot;
    source.cell = flight->cell;
    source.server = flight->server;
    source.resolved = flight->resolved;

    return ngx_opsauth_cache_replaced_slot(&store->cache, &source);
}


void
ngx_http_opsauth_cluster_fill(ngx_http_opsauth_store_t *store,
    ngx_opsauth_flight_t *flight, ngx_uint_t type, u_char *data, size_t len)
{
    ngx_opsauth_cache_source_t  source;

    source.slot = flight->slot;
    source.cell = flight->cell;
    source.server = flight->server;
    source.resolved = flight->resolved;

    (void) ngx_opsauth_cache_fill_slot(&store->cache, flight->key,
                                  (ngx_opsauth_cache_ticket_t *) flight->ticket,
                                  &source, flight->sent_at, type, data, len);
}


static ngx_uint_t
ngx_http_opsauth_cluster_whose(void *owner, ngx_uint_t slot)
{
    ngx_http_opsauth_store_t *store = owner;

    return ngx_opsauth_nodes_owner(store->cache.nodes, slot);
}


static uint64_t
ngx_http_opsauth_cluster_version(void *owner)
{
    ngx_http_opsauth_store_t *store = owner;

    return __atomic_load_n(&store->cache.nodes->version, __ATOMIC_ACQUIRE);
}


static ngx_uint_t
ngx_http_opsauth_cluster_cell(void *owner, const ngx_str_t *name)
{
    ngx_http_opsauth_store_t *store = owner;

    return ngx_opsauth_cache_cell(&store->cache, name);
}


static size_t
ngx_http_opsauth_cluster_name(void *owner, ngx_uint_t cell, u_char *name,
    uint64_t *generation)
{
    ngx_http_opsauth_store_t *store = owner;

    return ngx_opsauth_cache_cell_name(&store->cache, cell, name, generation);
}


static ngx_int_t
ngx_http_opsauth_cluster_move(void *owner, ngx_uint_t slot, ngx_uint_t from,
    ngx_uint_t to)
{
    ngx_http_opsauth_store_t *store = owner;

    return ngx_opsauth_cache_move_slot(&store->cache, slot, from, to);
}


static ngx_int_t
ngx_http_opsauth_cluster_learn(void *owner, const u_char *owners,
    uint64_t epoch, ngx_msec_t asked_at)
{
    ngx_http_opsauth_store_t *store = owner;

    return ngx_opsauth_cache_learn_slots(&store->cache, owners, epoch,
                                         asked_at);
}


static ngx_int_t
ngx_http_opsauth_cluster_certified(void *owner, ngx_uint_t cell,
    uint64_t generation, uint64_t server, ngx_msec_t resolved,
    ngx_msec_t started, ngx_msec_t sent_at)
{
    ngx_http_opsauth_store_t *store = owner;

    return ngx_opsauth_cache_certify_cell(&store->cache, cell, generation,
                                          server, resolved, started, sent_at);
}


static ngx_int_t
ngx_http_opsauth_cluster_found(void *owner, ngx_uint_t cell,
    uint64_t generation, uint64_t server, ngx_msec_t resolved)
{
    ngx_http_opsauth_store_t *store = owner;

    return ngx_opsauth_cache_take_cell(&store->cache, cell, generation, server,
                                       resolved);
}


static void
ngx_http_opsauth_cluster_confirmed(void *owner, ngx_uint_t cell,
    uint64_t generation, uint64_t server, ngx_msec_t sent_at)
{
    ngx_http_opsauth_store_t *store = owner;

    ngx_opsauth_cache_confirm_cell(&store->cache, cell, generation, server,
                                   sent_at);
}
