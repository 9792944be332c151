/*
 * The slot table; contract in the header. Which set a key belongs to, and how
 * sets come into use, is in ngx_opsauth_table_grow.h; what happens inside a set
 * in ngx_opsauth_set.c. Called by ngx_opsauth_cache.c, which holds the lock
 * around writers.
 *
 * The number of sets is the only thing in the block that leads from one place
 * to another without being held to a bound, so it stands there with a check; a
 * damaged one turns the table off. An epoch, raised by a flush, says which sets'
 * contents count: so a flush takes O(1), and fresh memory needs no preparation.
 */

#include "ngx_opsauth_table_grow.h"


#define NGX_OPSAUTH_TABLE_VERSION  5


/* the build fails where the layout isn't the intended one */
typedef u_char  ngx_opsauth_table_layout_t
    [sizeof(ngx_opsauth_table_t) == 2 * NGX_OPSAUTH_LINE ? 1 : -1];


static uint32_t ngx_opsauth_table_nsets(size_t size);


size_t
ngx_opsauth_table_size_min(void)
{
    return NGX_OPSAUTH_LINE + sizeof(ngx_opsauth_table_t)
           + NGX_OPSAUTH_SET_STRIDE;
}


ngx_opsauth_table_t *
ngx_opsauth_table_init(void *block, size_t size)
{
    ngx_opsauth_table_t  *table;

    if (size < ngx_opsauth_table_size_min()) {
        return NULL;
    }

    table = (ngx_opsauth_table_t *) ngx_align_ptr(block, NGX_OPSAUTH_LINE);

    ngx_memzero(table, sizeof(ngx_opsauth_table_t));

    table->size = size;
    table->version = NGX_OPSAUTH_TABLE_VERSION;
    table->nsets = ngx_opsauth_table_nsets(size);
    table->check = ngx_opsauth_table_check(table->nsets);
    table->grown = ngx_opsauth_table_grow_start(table->nsets);
    table->epoch = 1;
    table->magic = NGX_OPSAUTH_TABLE_MAGIC;

    return table;
}


ngx_opsauth_table_t *
ngx_opsauth_table_attach(void *block, size_t size)
{
    ngx_opsauth_table_t  *table;

    if (size < ngx_opsauth_table_size_min()) {
        return NULL;
    }

    table = (ngx_opsauth_table_t *) ngx_align_ptr(block, NGX_OPSAUTH_LINE);

    if (table->magic != NGX_OPSAUTH_TABLE_MAGIC
        || table->version != NGX_OPSAUTH_TABLE_VERSION
        || table->size != size
        || table->nsets != ngx_opsauth_table_nsets(size)
        || table->check != ngx_opsauth_table_check(table->nsets))
    {
        return NULL;
    }

    return table;
}


ngx_int_t
ngx_opsauth_table_get(ngx_opsauth_table_t *table, const u_char *key,
    ngx_opsauth_entry_t *entry)
{
    ngx_opsauth_set_t  *set;

    set = ngx_opsauth_table_set(table, key);
    if (set == NULL) {
        return NGX_DECLINED;
    }

    return ngx_opsauth_set_get(set, &table->epoch, key, entry);
}


size_t
ngx_opsauth_table_line(const ngx_opsauth_table_t *table, const void *slot)
{
    return (size_t) ((const u_char *) slot - (const u_char *) (table + 1))
           / NGX_OPSAUTH_LINE;
}


void
ngx_opsauth_table_prefetch(const ngx_opsauth_table_t *table, size_t line)
{
    const u_char  *set, *slot;

    slot = (const u_char *) (table + 1) + line * NGX_OPSAUTH_LINE;
    set = (const u_char *) (table + 1)
          + line / NGX_OPSAUTH_SET_LINES * NGX_OPSAUTH_SET_STRIDE;

    /* the set's header, and as much as an entry usually takes */

    __builtin_prefetch(set);
    __builtin_prefetch(set + NGX_OPSAUTH_LINE);
    __builtin_prefetch(slot);
    __builtin_prefetch(slot + NGX_OPSAUTH_LINE);
    __builtin_prefetch(slot + 2 * NGX_OPSAUTH_LINE);
    __builtin_prefetch(slot + 3 * NGX_OPSAUTH_LINE);
}


uint64_t
ngx_opsauth_table_count(ngx_opsauth_table_t *table, const u_char *key)
{
    ngx_opsauth_set_t  *set;

    set = ngx_opsauth_table_set(table, key);
    if (set == NULL) {
        return 0;
    }

    return __atomic_load_n(&set->count, __ATOMIC_ACQUIRE);
}


uint32_t
ngx_opsauth_table_epoch(ngx_opsauth_table_t *table)
{
    return __atomic_load_n(&table->epoch, __ATOMIC_ACQUIRE);
}


ngx_int_t
ngx_opsauth_table_put(ngx_opsauth_table_t *table, const u_char *key,
    ngx_msec_t fetched_at, ngx_uint_t type, ngx_uint_t negative,
    const u_char *data, size_t len)
{
    ngx_int_t           rc;
    ngx_opsauth_map_t   map;
    ngx_opsauth_set_t  *set;

    if (negative ? len > NGX_OPSAUTH_TABLE_NEGATIVE_MAX
                 : len == 0 || len > NGX_OPSAUTH_TABLE_DATA_MAX)
    {
        return NGX_DECLINED;
    }

    set = ngx_opsauth_table_set(table, key);
    if (set == NULL) {
        return NGX_DECLINED;
    }

    if (table->grown != 0) {
        if (ngx_opsauth_table_grow(table, key, negative, len) != NGX_OK) {
            return NGX_DECLINED;
        }

        set = ngx_opsauth_table_set(table, key);
        if (set == NULL) {
            return NGX_DECLINED;
        }
    }

    rc = ngx_opsauth_set_open(set, table->epoch, &table->counters);

    ngx_opsauth_set_map(set, &map);

    if (rc == NGX_OK) {
        rc = ngx_opsauth_set_put(set, &table->counters, &map, key, fetched_at,
                                 type, negative, data, len);
    }

    ngx_opsauth_set_close(set, &table->counters, &map);

    return rc;
}


void
ngx_opsauth_table_remove(ngx_opsauth_table_t *table, const u_char *key)
{
    ngx_opsauth_map_t   map;
    ngx_opsauth_set_t  *set;

    set = ngx_opsauth_table_set(table, key);
    if (set == NULL) {
        return;
    }

    (void) ngx_opsauth_set_open(set, table->epoch, &table->counters);

    ngx_opsauth_set_map(set, &map);
    ngx_opsauth_set_remove(set, &table->counters, &map, key);

    ngx_opsauth_set_close(set, &table->counters, &map);
}


/* the sets that are in use stay so: that no key's set is ever again what it was
   before a split is what its count rests on */

void
ngx_opsauth_table_flush(ngx_opsauth_table_t *table)
{
    uint32_t    epoch;
    ngx_uint_t  i;

    epoch = table->epoch + 1;

    if (epoch == 0) {
        epoch = 1;
    }

    for (i = 0; i < 3; i++) {
        __atomic_store_n(&table->counters.held[i], 0, __ATOMIC_RELAXED);
    }

    __atomic_store_n(&table->epoch, epoch, __ATOMIC_RELEASE);
}


void
ngx_opsauth_table_stats(ngx_opsauth_table_t *table,
    ngx_opsauth_table_stats_t *stats)
{
    uint32_t                     n;
    uint64_t                     held[3];
    ngx_uint_t                   i;
    ngx_opsauth_set_counters_t  *counters;

    ngx_memzero(stats, sizeof(ngx_opsauth_table_stats_t));

    counters = &table->counters;

    stats->evictions = __atomic_load_n(&counters->evictions, __ATOMIC_RELAXED);
    stats->negative_evictions = __atomic_load_n(&counters->negative_evictions,
                                                __ATOMIC_RELAXED);
    stats->torn = __atomic_load_n(&counters->torn, __ATOMIC_RELAXED);

    n = __atomic_load_n(&table->nsets, __ATOMIC_RELAXED);

    if (table->check != ngx_opsauth_table_check(n)) {
        return;
    }

    stats->slots = (uint64_t) n
                   * (NGX_OPSAUTH_SET_SLOTS - NGX_OPSAUTH_SLOT_FIRST);

    /* more than there can be is what a damaged block says */

    for (i = 0; i < 3; i++) {
        held[i] = __atomic_load_n(&counters->held[i], __ATOMIC_RELAXED);
        held[i] = ngx_min(held[i], stats->slots);
    }

    stats->used = held[0];
    stats->entries = held[1];
    stats->negatives = held[2];
}


static uint32_t
ngx_opsauth_table_nsets(size_t size)
{
    size_t  n;

    /* alignment may take up to a line */
    n = (size - NGX_OPSAUTH_LINE - sizeof(ngx_opsauth_table_t))
        / NGX_OPSAUTH_SET_STRIDE;

    return (n > NGX_MAX_UINT32_VALUE) ? NGX_MAX_UINT32_VALUE : (uint32_t) n;
}
