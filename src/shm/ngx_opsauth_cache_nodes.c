/*
 * The cache of a store that is in a Redis Cluster: each record belongs to the
 * node that has its slot, and each node is covered by itself.
 * Contract in ngx_opsauth_cache.h; what is done under the lock is
 * ngx_opsauth_nodes.c's.
 */

#include "ngx_opsauth_cache.h"


static ngx_uint_t ngx_opsauth_cache_cell_is(ngx_opsauth_cache_t *cache,
    ngx_uint_t cell, uint64_t generation);
static ngx_int_t ngx_opsauth_cache_certify_locked(ngx_opsauth_cache_t *cache,
    ngx_uint_t cell, uint64_t server, ngx_msec_t resolved, ngx_msec_t started,
    ngx_msec_t sent_at);
static ngx_opsauth_coverage_e ngx_opsauth_cache_take_locked(
    ngx_opsauth_cache_t *cache, ngx_uint_t cell, uint64_t server,
    ngx_msec_t resolved);


#define ngx_opsauth_cache_lock(cache)                                         \
    ngx_shmtx_lock(&(cache)->base.shpool->mutex)

#define ngx_opsauth_cache_unlock(cache)                                       \
    ngx_shmtx_unlock(&(cache)->base.shpool->mutex)

/* the type of an entry, with the slot of its key behind it */
#define ngx_opsauth_cache_type(type, slot)  ((type) | ((slot) + 1) << 8)


size_t
ngx_opsauth_cache_size_min(ngx_uint_t clustered)
{
    size_t  size;

    size = ngx_opsauth_zone_size_min();

    if (clustered) {
        size += ngx_align(sizeof(ngx_opsauth_nodes_t), ngx_pagesize);
    }

    return size;
}


ngx_int_t
ngx_opsauth_cache_fill_slot(ngx_opsauth_cache_t *cache, const u_char *key,
    const ngx_opsauth_cache_ticket_t *ticket,
    const ngx_opsauth_cache_source_t *source, ngx_msec_t fetched_at,
    ngx_uint_t type, const u_char *data, size_t len)
{
    ngx_int_t             rc;
    ngx_uint_t            refused;
    ngx_opsauth_nodes_t  *nodes;

    nodes = cache->nodes;

    ngx_opsauth_cache_lock(cache);

    refused = (source->cell == 0
               || ngx_opsauth_nodes_owner(nodes, source->slot) != source->cell
               || ngx_opsauth_coverage_foreign(&nodes->cells[source->cell],
                                               source->server));

    rc = ngx_opsauth_cache_put(cache, key, ticket, refused, fetched_at,
                               ngx_opsauth_cache_type(type, source->slot),
                               data, len);

    ngx_opsauth_cache_unlock(cache);

    return rc;
}


ngx_uint_t
ngx_opsauth_cache_replaced_slot(ngx_opsauth_cache_t *cache,
    const ngx_opsauth_cache_source_t *source)
{
    ngx_uint_t  owner;

    owner = ngx_opsauth_nodes_owner(cache->nodes, source->slot);

    /* nobody knows better, or it was asked as one that has not got the slot */

    if (owner == 0 || source->cell == 0) {
        return 0;
    }

    return owner != source->cell
           || ngx_opsauth_coverage_replaced(&cache->nodes->cells[owner],
                                            source->server, source->resolved);
}


static ngx_uint_t
ngx_opsauth_cache_cell_is(ngx_opsauth_cache_t *cache, ngx_uint_t cell,
    uint64_t generation)
{
    return cell != 0 && cell <= NGX_OPSAUTH_NODES_MAX
           && cache->nodes->nodes[cell].len
           && cache->nodes->nodes[cell].generation == generation;
}


ngx_int_t
ngx_opsauth_cache_certify_cell(ngx_opsauth_cache_t *cache, ngx_uint_t cell,
    uint64_t generation, uint64_t server, ngx_msec_t resolved,
    ngx_msec_t started, ngx_msec_t sent_at)
{
    ngx_int_t  rc;

    ngx_opsauth_cache_lock(cache);

    rc = ngx_opsauth_cache_cell_is(cache, cell, generation)
         ? ngx_opsauth_cache_certify_locked(cache, cell, server, resolved,
                                            started, sent_at)
         : NGX_DECLINED;

    ngx_opsauth_cache_unlock(cache);

    return rc;
}


/*
 * A feed goes on when its node has become a replica, and what it tells is late
 * by then: so a certificate is worth as much as the last answer that said
 * "primary".
 */

static ngx_int_t
ngx_opsauth_cache_certify_locked(ngx_opsauth_cache_t *cache, ngx_uint_t cell,
    uint64_t server, ngx_msec_t resolved, ngx_msec_t started,
    ngx_msec_t sent_at)
{
    ngx_msec_t               confirmed;
    ngx_opsauth_coverage_e   rc;
    ngx_opsauth_coverage_t  *coverage;

    coverage = &cache->nodes->cells[cell];

    rc = ngx_opsauth_cache_take_locked(cache, cell, server, resolved);

    confirmed = (ngx_msec_t) coverage->confirmed;

    if (rc == NGX_OPSAUTH_COVERAGE_REFUSED || confirmed == 0) {
        return (rc == NGX_OPSAUTH_COVERAGE_REFUSED) ? NGX_DECLINED : NGX_OK;
    }

    if ((ngx_msec_int_t) (sent_at - confirmed) > 0) {
        sent_at = confirmed;
    }

    /* until then another server's last replies came in */

    if (coverage->floor
        && (ngx_msec_int_t) ((ngx_msec_t) coverage->floor - started) > 0)
    {
        started = (ngx_msec_t) coverage->floor;
    }

    (void) ngx_opsauth_coverage_certify(coverage, server, resolved, started,
                                        sent_at, ngx_opsauth_cache_now(),
                                        cache->lease);
    return NGX_OK;
}


static ngx_opsauth_coverage_e
ngx_opsauth_cache_take_locked(ngx_opsauth_cache_t *cache, ngx_uint_t cell,
    uint64_t server, ngx_msec_t resolved)
{
    ngx_opsauth_coverage_e   rc;
    ngx_opsauth_coverage_t  *coverage;

    coverage = &cache->nodes->cells[cell];

    rc = ngx_opsauth_coverage_take(coverage, server, resolved,
                                   ngx_opsauth_cache_now(), cache->lease);

    if (rc == NGX_OPSAUTH_COVERAGE_TAKEN) {
        /* the one that was there before has said it of itself */
        coverage->confirmed = 0;
    }

    return rc;
}


ngx_int_t
ngx_opsauth_cache_take_cell(ngx_opsauth_cache_t *cache, ngx_uint_t cell,
    uint64_t generation, uint64_t server, ngx_msec_t resolved)
{
    ngx_int_t  rc;

    ngx_opsauth_cache_lock(cache);

    rc = (ngx_opsauth_cache_cell_is(cache, cell, generation)
          && ngx_opsauth_cache_take_locked(cache, cell, server, resolved)
             != NGX_OPSAUTH_COVERAGE_REFUSED)
         ? NGX_OK : NGX_DECLINED;

    ngx_opsauth_cache_unlock(cache);

    return rc;
}


void
ngx_opsauth_cache_confirm_cell(ngx_opsauth_cache_t *cache, ngx_uint_t cell,
    uint64_t generation, uint64_t server, ngx_msec_t sent_at)
{
    ngx_opsauth_coverage_t  *coverage;

    ngx_opsauth_cache_lock(cache);

    if (ngx_opsauth_cache_cell_is(cache, cell, generation)) {
        coverage = &cache->nodes->cells[cell];

        if (coverage->server == server
            && (coverage->confirmed == 0
                || (ngx_msec_int_t)
                       (sent_at - (ngx_msec_t) coverage->confirmed) > 0))
        {
            coverage->confirmed = sent_at;
        }
    }

    ngx_opsauth_cache_unlock(cache);
}


/* what holds for all slots: the worst of their nodes */

void
ngx_opsauth_cache_nodes_stats(ngx_opsauth_cache_t *cache,
    ngx_opsauth_cache_stats_t *stats)
{
    u_char                   has[NGX_OPSAUTH_NODES_MAX + 1];
    uint64_t                 from, to;
    ngx_uint_t               i, some, none;
    ngx_opsauth_coverage_t  *coverage;

    ngx_memzero(has, sizeof(has));

    for (i = 0; i < OA_SLOTS; i++) {
        has[ngx_opsauth_nodes_owner(cache->nodes, i)] = 1;
    }

    some = 0;
    none = has[0];

    for (i = 1; i <= NGX_OPSAUTH_NODES_MAX; i++) {
        coverage = &cache->nodes->cells[i];

        stats->gaps += __atomic_load_n(&coverage->gaps, __ATOMIC_RELAXED);

        if (!has[i]) {
            continue;
        }

        from = __atomic_load_n(&coverage->from, __ATOMIC_RELAXED);
        to = __atomic_load_n(&coverage->to, __ATOMIC_RELAXED);

        none |= (to == 0);

        if (!some || (ngx_msec_int_t) (to - stats->covered_to) < 0) {
            stats->covered_to = to;
        }

        if (!some || (ngx_msec_int_t) (from - stats->covered_from) > 0) {
            stats->covered_from = from;
        }

        some = 1;
    }

    if (none || !some) {
        stats->covered_from = 0;
        stats->covered_to = 0;
    }
}


ngx_uint_t
ngx_opsauth_cache_cell(ngx_opsauth_cache_t *cache, const ngx_str_t *name)
{
    ngx_uint_t  cell;

    ngx_opsauth_cache_lock(cache);

    cell = ngx_opsauth_nodes_cell(cache->nodes, name, ngx_opsauth_cache_now(),
                                  cache->lease);

    ngx_opsauth_cache_unlock(cache);

    return cell;
}


size_t
ngx_opsauth_cache_cell_name(ngx_opsauth_cache_t *cache, ngx_uint_t cell,
    u_char *name, uint64_t *generation)
{
    size_t               len;
    ngx_opsauth_node_t  *node;

    if (cell == 0 || cell > NGX_OPSAUTH_NODES_MAX) {
        return 0;
    }

    ngx_opsauth_cache_lock(cache);

    node = &cache->nodes->nodes[cell];

    len = ngx_min(node->len, NGX_OPSAUTH_NODE_NAME_MAX);
    ngx_memcpy(name, node->name, len);
    *generation = node->generation;

    ngx_opsauth_cache_unlock(cache);

    return len;
}


ngx_int_t
ngx_opsauth_cache_move_slot(ngx_opsauth_cache_t *cache, ngx_uint_t slot,
    ngx_uint_t from, ngx_uint_t to)
{
    ngx_int_t  rc;

    ngx_opsauth_cache_lock(cache);

    rc = ngx_opsauth_nodes_move(cache->nodes, slot, from, to,
                                ngx_opsauth_cache_now());

    ngx_opsauth_cache_unlock(cache);

    return rc;
}


ngx_int_t
ngx_opsauth_cache_learn_slots(ngx_opsauth_cache_t *cache,
    const u_char *owners, uint64_t epoch, ngx_msec_t asked_at)
{
    ngx_int_t  rc;

    ngx_opsauth_cache_lock(cache);

    rc = ngx_opsauth_nodes_learn(cache->nodes, owners, epoch, asked_at,
                                 ngx_opsauth_cache_now());

    ngx_opsauth_cache_unlock(cache);

    return rc;
}
