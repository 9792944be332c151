/*
 * The zone of the L1 cache, its lock, and the rule of validity; contract in
 * the header. Called by src/http, in every worker.
 *
 * One block takes the whole slab pool when the zone is new, and nothing is
 * allocated from it later: the zone's header, then the slot table. So the zone
 * can't fragment, and what a killed worker leaves behind is at most one set
 * that the table recognises.
 *
 * shpool->mutex is the only lock (nginx releases no other one for a dead
 * worker). It is held for one operation of the table, never while something is
 * logged, allocated or waited for. A hit takes none.
 */

#include "ngx_opsauth_cache.h"


#define NGX_OPSAUTH_CACHE_MAGIC    0x31656863616e6f7aULL
#define NGX_OPSAUTH_CACHE_VERSION  6

/* ms: a record that can't be read is not fetched for each request, and as soon
   as somebody mends it, it is used */
#define NGX_OPSAUTH_CACHE_INVALID_AGE  1000


struct ngx_opsauth_cache_zone_s {
    uint64_t        magic;
    uint64_t        version;
    uint64_t        size;               /* of the table's block */
    uint64_t        clustered;          /* nodes stand between zone and table */
    uint64_t        pad[4];

    /* a line of its own, read by every hit and written by the feed */
    ngx_opsauth_coverage_t  coverage;

    /* written under the lock */
    uint64_t        fills;
    uint64_t        refused;
    uint64_t        invalidations;
    uint64_t        flushes;
    uint64_t        tail[4];
};


static ngx_int_t ngx_opsauth_cache_adopt(void *owner, u_char *block,
    size_t size);
static ngx_int_t ngx_opsauth_cache_create(void *owner, u_char *block,
    size_t size);
OA_HOT static ngx_inline ngx_opsauth_cache_e ngx_opsauth_cache_trust(
    ngx_opsauth_cache_t *cache,
    const ngx_opsauth_coverage_view_t *view, const u_char *key,
    const ngx_opsauth_entry_t *entry, ngx_msec_t now);
OA_APART static ngx_opsauth_cache_e ngx_opsauth_cache_get_slot(
    ngx_opsauth_cache_t *cache, const u_char *key, ngx_msec_t now,
    ngx_opsauth_entry_t *entry);
static void ngx_opsauth_cache_count(uint64_t *counter);


static const ngx_opsauth_zone_kind_t  ngx_opsauth_cache_zone_kind = {
    .name = "cache",
    .holds = "records",
    .align = sizeof(uint64_t),
    .head = sizeof(ngx_opsauth_cache_zone_t),
    .adopt = ngx_opsauth_cache_adopt,
    .create = ngx_opsauth_cache_create
};


ngx_int_t
ngx_opsauth_cache_add(ngx_conf_t *cf, ngx_opsauth_cache_t *cache,
    ngx_str_t *name, size_t size, void *tag)
{
    return ngx_opsauth_zone_add(cf, &cache->base,
                                &ngx_opsauth_cache_zone_kind, name, size, tag);
}


static ngx_int_t
ngx_opsauth_cache_adopt(void *owner, u_char *block, size_t size)
{
    size_t                     nodes;
    ngx_opsauth_cache_t       *cache = owner;
    ngx_opsauth_cache_zone_t  *zone;

    zone = (ngx_opsauth_cache_zone_t *) block;
    nodes = cache->clustered ? sizeof(ngx_opsauth_nodes_t) : 0;

    if (size < sizeof(ngx_opsauth_cache_zone_t) + nodes) {
        return NGX_DECLINED;
    }

    if (zone->magic != NGX_OPSAUTH_CACHE_MAGIC
        || zone->version != NGX_OPSAUTH_CACHE_VERSION
        || zone->clustered != cache->clustered
        || zone->size > size - sizeof(ngx_opsauth_cache_zone_t) - nodes)
    {
        return NGX_DECLINED;
    }

    cache->table = ngx_opsauth_table_attach((u_char *) (zone + 1) + nodes,
                                            (size_t) zone->size);
    if (cache->table == NULL) {
        return NGX_DECLINED;
    }

    cache->zone = zone;
    cache->nodes = nodes ? (ngx_opsauth_nodes_t *) (zone + 1) : NULL;

    return NGX_OK;
}


static ngx_int_t
ngx_opsauth_cache_create(void *owner, u_char *block, size_t size)
{
    size_t                     nodes;
    ngx_opsauth_cache_t       *cache = owner;
    ngx_opsauth_cache_zone_t  *zone;

    nodes = cache->clustered ? sizeof(ngx_opsauth_nodes_t) : 0;

    if (size < sizeof(ngx_opsauth_cache_zone_t) + nodes) {
        return NGX_ERROR;
    }

    zone = (ngx_opsauth_cache_zone_t *) block;
    ngx_memzero(zone, sizeof(ngx_opsauth_cache_zone_t) + nodes);

    zone->size = size - sizeof(ngx_opsauth_cache_zone_t) - nodes;
    zone->clustered = cache->clustered;
    zone->version = NGX_OPSAUTH_CACHE_VERSION;
    zone->magic = NGX_OPSAUTH_CACHE_MAGIC;

    cache->table = ngx_opsauth_table_init((u_char *) (zone + 1) + nodes,
                                          (size_t) zone->size);
    cache->zone = zone;
    cache->nodes = nodes ? (ngx_opsauth_nodes_t *) (zone + 1) : NULL;

    return cache->table ? NGX_OK : NGX_ERROR;
}


OA_FLAT ngx_opsauth_cache_e
ngx_opsauth_cache_get(ngx_opsauth_cache_t *cache, const u_char *key,
    ngx_msec_t now, ngx_opsauth_entry_t *entry)
{
    ngx_opsauth_coverage_view_t  view;

    /* first: what is certified later need not have known of this copy */

    ngx_opsauth_coverage_load(&cache->zone->coverage, &view);

    if (ngx_opsauth_table_get(cache->table, key, entry) != NGX_OK) {
        return NGX_OPSAUTH_CACHE_MISS;
    }

    if (entry->type > 0xff) {
        return ngx_opsauth_cache_get_slot(cache, key, now, entry);
    }

    return ngx_opsauth_cache_trust(cache, &view, key, entry, now);
}


/*
 * In a cluster what vouches for a copy is known by the copy itself, and still
 * has to be read before it: so the copy is read once more.
 */

static ngx_opsauth_cache_e
ngx_opsauth_cache_get_slot(ngx_opsauth_cache_t *cache, const u_char *key,
    ngx_msec_t now, ngx_opsauth_entry_t *entry)
{
    ngx_uint_t                   type;
    ngx_opsauth_coverage_view_t  view;

    type = entry->type;

    if (cache->nodes == NULL || (type >> 8) > OA_SLOTS) {
        return NGX_OPSAUTH_CACHE_MISS;
    }

    ngx_opsauth_nodes_view(cache->nodes, (type >> 8) - 1, &view);

    if (ngx_opsauth_table_get(cache->table, key, entry) != NGX_OK
        || (entry->type >> 8) != (type >> 8))
    {
        return NGX_OPSAUTH_CACHE_MISS;
    }

    entry->type &= 0xff;

    return ngx_opsauth_cache_trust(cache, &view, key, entry, now);
}


/*
 * The rule of docs/cache.md. A copy counts as the record
 *
 *   - for one lease from the moment its read was sent: what was changed and
 *     acknowledged before, it has seen; what came later ends it within the
 *     lease, feed or no feed. But not if it was read from a server that was
 *     replaced since: that one may have answered with its past;
 *   - for cache_valid, as long as it is covered.
 *
 * What was found absent may stay so for cache_negative: where no feed tells of
 * the record that was made, that refuses a new credential a little longer, it
 * never lets one pass. An entry that was invalidated or flushed doesn't come
 * here, the table has lost it.
 */

static ngx_opsauth_cache_e
ngx_opsauth_cache_trust(ngx_opsauth_cache_t *cache,
    const ngx_opsauth_coverage_view_t *view, const u_char *key,
    const ngx_opsauth_entry_t *entry, ngx_msec_t now)
{
    ngx_msec_t      age, bound, valid;
    ngx_msec_int_t  diff;

    diff = (ngx_msec_int_t) (now - entry->fetched_at);

    /* the worker that filled it had a fresher clock than ours */
    age = (diff < 0) ? 0 : (ngx_msec_t) diff;

    if (entry->type >= NGX_OPSAUTH_CACHE_INVALID) {
        bound = (entry->type == NGX_OPSAUTH_CACHE_UNKNOWN)
                ? cache->negative : NGX_OPSAUTH_CACHE_INVALID_AGE;

        return (age <= bound) ? NGX_OPSAUTH_CACHE_FRESH
                              : NGX_OPSAUTH_CACHE_MISS;
    }

    /* up to a tenth less, so that what was filled together ends apart */

    valid = cache->valid - cache->spread * key[16] / 256;
    bound = ngx_min(cache->lease, valid);

    if (age <= valid
        && ngx_opsauth_coverage_holds(view, entry->fetched_at, now,
                                      cache->lease))
    {
        bound = valid;

    } else if (ngx_opsauth_coverage_outdated(view, entry->fetched_at)) {
        bound = 0;
    }

    if (bound != 0 && age <= bound) {
        return (5 * age > 4 * bound) ? NGX_OPSAUTH_CACHE_AGEING
                                     : NGX_OPSAUTH_CACHE_FRESH;
    }

    if (cache->stale) {
        diff = (ngx_msec_int_t)
                   (now - ngx_opsauth_coverage_coherent(view,
                                                        entry->fetched_at));

        if (diff <= (ngx_msec_int_t) (cache->lease + cache->stale)) {
            return NGX_OPSAUTH_CACHE_STALE;
        }
    }

    return NGX_OPSAUTH_CACHE_MISS;
}


ngx_int_t
ngx_opsauth_cache_certify(ngx_opsauth_cache_t *cache, uint64_t server,
    ngx_msec_t resolved, ngx_msec_t started, ngx_msec_t sent_at)
{
    ngx_opsauth_coverage_e  rc;

    ngx_shmtx_lock(&cache->base.shpool->mutex);

    rc = ngx_opsauth_coverage_certify(&cache->zone->coverage, server, resolved,
                                      started, sent_at,
                                      ngx_opsauth_cache_now(), cache->lease);

    ngx_shmtx_unlock(&cache->base.shpool->mutex);

    return (rc == NGX_OPSAUTH_COVERAGE_REFUSED) ? NGX_DECLINED : NGX_OK;
}


ngx_int_t
ngx_opsauth_cache_take(ngx_opsauth_cache_t *cache, uint64_t server,
    ngx_msec_t resolved)
{
    ngx_opsauth_coverage_e  rc;

    ngx_shmtx_lock(&cache->base.shpool->mutex);

    rc = ngx_opsauth_coverage_take(&cache->zone->coverage, server, resolved,
                                   ngx_opsauth_cache_now(), cache->lease);

    ngx_shmtx_unlock(&cache->base.shpool->mutex);

    return (rc == NGX_OPSAUTH_COVERAGE_REFUSED) ? NGX_DECLINED : NGX_OK;
}


ngx_uint_t
ngx_opsauth_cache_replaced(ngx_opsauth_cache_t *cache, uint64_t server,
    ngx_msec_t resolved)
{
    return ngx_opsauth_coverage_replaced(&cache->zone->coverage, server,
                                         resolved);
}


uint64_t
ngx_opsauth_cache_server(ngx_opsauth_cache_t *cache, ngx_msec_t *resolved)
{
    return ngx_opsauth_coverage_server(&cache->zone->coverage, resolved);
}


ngx_msec_t
ngx_opsauth_cache_now(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (ngx_msec_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


void
ngx_opsauth_cache_begin(ngx_opsauth_cache_t *cache, const u_char *key,
    ngx_opsauth_cache_ticket_t *ticket)
{
    ticket->set = ngx_opsauth_table_count(cache->table, key);
    ticket->zone = ngx_opsauth_table_epoch(cache->table);
}


static ngx_inline ngx_int_t __attribute__((always_inline))
ngx_opsauth_cache_holds(ngx_opsauth_cache_t *cache, const u_char *key,
    const ngx_opsauth_cache_ticket_t *ticket)
{
    if (ticket->set != ngx_opsauth_table_count(cache->table, key)
        || ticket->zone != ngx_opsauth_table_epoch(cache->table))
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


ngx_int_t
ngx_opsauth_cache_check(ngx_opsauth_cache_t *cache, const u_char *key,
    const ngx_opsauth_cache_ticket_t *ticket)
{
    return ngx_opsauth_cache_holds(cache, key, ticket);
}


ngx_int_t
ngx_opsauth_cache_fill(ngx_opsauth_cache_t *cache, const u_char *key,
    const ngx_opsauth_cache_ticket_t *ticket, uint64_t server,
    ngx_msec_t fetched_at, ngx_uint_t type, const u_char *data, size_t len)
{
    ngx_int_t  rc;

    ngx_shmtx_lock(&cache->base.shpool->mutex);

    rc = ngx_opsauth_cache_put(cache, key, ticket,
                 ngx_opsauth_coverage_foreign(&cache->zone->coverage, server),
                 fetched_at, type, data, len);

    ngx_shmtx_unlock(&cache->base.shpool->mutex);

    return rc;
}


/* nothing comes between check and put */

ngx_int_t
ngx_opsauth_cache_put(ngx_opsauth_cache_t *cache, const u_char *key,
    const ngx_opsauth_cache_ticket_t *ticket, ngx_uint_t refused,
    ngx_msec_t fetched_at, ngx_uint_t type, const u_char *data, size_t len)
{
    ngx_int_t   rc;
    ngx_uint_t  negative;

    negative = ((type & 0xff) >= NGX_OPSAUTH_CACHE_INVALID);

    if (negative) {
        data = NULL;
        len = 0;
    }

    rc = refused ? NGX_DECLINED : ngx_opsauth_cache_holds(cache, key, ticket);

    if (rc == NGX_OK) {
        rc = ngx_opsauth_table_put(cache->table, key, fetched_at, type,
                                   negative, data, len);
    }

    ngx_opsauth_cache_count((rc == NGX_OK) ? &cache->zone->fills
                                           : &cache->zone->refused);

    return rc;
}


void
ngx_opsauth_cache_invalidate(ngx_opsauth_cache_t *cache, const u_char *key)
{
    ngx_shmtx_lock(&cache->base.shpool->mutex);

    ngx_opsauth_table_remove(cache->table, key);
    ngx_opsauth_cache_count(&cache->zone->invalidations);

    ngx_shmtx_unlock(&cache->base.shpool->mutex);
}


void
ngx_opsauth_cache_invalidate_all(ngx_opsauth_cache_t *cache)
{
    ngx_shmtx_lock(&cache->base.shpool->mutex);

    ngx_opsauth_table_flush(cache->table);
    ngx_opsauth_cache_count(&cache->zone->flushes);

    ngx_shmtx_unlock(&cache->base.shpool->mutex);
}


void
ngx_opsauth_cache_stats(ngx_opsauth_cache_t *cache,
    ngx_opsauth_cache_stats_t *stats)
{
    ngx_opsauth_cache_zone_t  *zone;

    zone = cache->zone;

    ngx_opsauth_table_stats(cache->table, &stats->table);

    stats->fills = __atomic_load_n(&zone->fills, __ATOMIC_RELAXED);
    stats->refused = __atomic_load_n(&zone->refused, __ATOMIC_RELAXED);
    stats->invalidations = __atomic_load_n(&zone->invalidations,
                                           __ATOMIC_RELAXED);
    stats->flushes = __atomic_load_n(&zone->flushes, __ATOMIC_RELAXED);
    stats->covered_from = __atomic_load_n(&zone->coverage.from,
                                          __ATOMIC_RELAXED);
    stats->covered_to = __atomic_load_n(&zone->coverage.to, __ATOMIC_RELAXED);
    stats->gaps = __atomic_load_n(&zone->coverage.gaps, __ATOMIC_RELAXED);

    if (cache->nodes) {
        ngx_opsauth_cache_nodes_stats(cache, stats);
    }
}


/* under the lock; who reads the counter takes none */

static void
ngx_opsauth_cache_count(uint64_t *counter)
{
    __atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}
