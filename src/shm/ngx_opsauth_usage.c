/*
 * The zone of usage counters: geometry, who gets a slot, counting; contract in
 * the header, flushing in ngx_opsauth_usage_flush.c. Called by src/http, in
 * every worker.
 *
 * One block takes the slab pool when the zone is new, and nothing is allocated
 * from it later: header, tags, bits of touched entries, entries.
 *
 * shpool->mutex is the only lock (nginx releases no other one for a dead
 * worker), and only for giving slots away. Who counts takes none: it finds the
 * tag, adds one, and marks the entry if it was the first to do so; who takes
 * clears the mark before the count, so that what is added in between is either
 * taken or marked again. A slot is given away at the earliest two seconds after
 * it was last used: by then nobody is between finding it and adding to it.
 */

#include "ngx_opsauth_usage_zone.h"


#define NGX_OPSAUTH_USAGE_MAGIC    0x3165676173757a41ULL
#define NGX_OPSAUTH_USAGE_VERSION  1

#define NGX_OPSAUTH_USAGE_PAGES    8
#define NGX_OPSAUTH_USAGE_LINE     64

/* seconds without use before a slot may go to another credential */
#define NGX_OPSAUTH_USAGE_IDLE     2


static ngx_int_t ngx_opsauth_usage_init_zone(ngx_shm_zone_t *shm_zone,
    void *data);
static ngx_int_t ngx_opsauth_usage_adopt(ngx_opsauth_usage_t *usage);
static ngx_int_t ngx_opsauth_usage_create(ngx_opsauth_usage_t *usage,
    ngx_uint_t dirty);
static void ngx_opsauth_usage_lay_out(ngx_opsauth_usage_t *usage,
    ngx_opsauth_usage_zone_t *zone);
static size_t ngx_opsauth_usage_bytes(uint64_t nsets);
static ngx_uint_t ngx_opsauth_usage_victim(ngx_opsauth_usage_t *usage,
    ngx_uint_t set, uint64_t now);


size_t
ngx_opsauth_usage_size_min(void)
{
    return NGX_OPSAUTH_USAGE_PAGES * ngx_pagesize;
}


ngx_int_t
ngx_opsauth_usage_add(ngx_conf_t *cf, ngx_opsauth_usage_t *usage,
    ngx_str_t *name, size_t size, void *tag)
{
    ngx_shm_zone_t  *shm_zone;

    shm_zone = ngx_shared_memory_add(cf, name, size, tag);
    if (shm_zone == NULL) {
        return NGX_ERROR;
    }

    if (shm_zone->data) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "opsauth: usage zone \"%V\" is used twice", name);
        return NGX_ERROR;
    }

    shm_zone->init = ngx_opsauth_usage_init_zone;
    shm_zone->data = usage;

    usage->shm_zone = shm_zone;

    return NGX_OK;
}


static ngx_int_t
ngx_opsauth_usage_init_zone(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_uint_t            dirty;
    ngx_opsauth_usage_t  *usage;

    usage = shm_zone->data;

    usage->shm_zone = shm_zone;
    usage->shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    dirty = 0;

    /* of the cycle before, or of another process where zones have names */

    if (data || shm_zone->shm.exists) {

        if (ngx_opsauth_usage_adopt(usage) == NGX_OK) {
            return NGX_OK;
        }

        ngx_log_error(NGX_LOG_NOTICE, shm_zone->shm.log, 0,
                      "opsauth: usage zone \"%V\" has another layout, "
                      "its counts are dropped", &shm_zone->shm.name);

        ngx_slab_init(usage->shpool);
        dirty = 1;
    }

    if (ngx_opsauth_usage_create(usage, dirty) != NGX_OK) {
        ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                      "opsauth: usage zone \"%V\" is too small: "
                      "%uz bytes, at least %uz are needed",
                      &shm_zone->shm.name, shm_zone->shm.size,
                      ngx_opsauth_usage_size_min());
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_opsauth_usage_adopt(ngx_opsauth_usage_t *usage)
{
    u_char                    *p;
    ngx_slab_pool_t           *shpool;
    ngx_opsauth_usage_zone_t  *zone;

    shpool = usage->shpool;
    p = shpool->data;

    if (p == NULL || p < shpool->start || p >= shpool->end
        || (uintptr_t) p % NGX_OPSAUTH_USAGE_LINE
        || (size_t) (shpool->end - p) < sizeof(ngx_opsauth_usage_zone_t))
    {
        return NGX_DECLINED;
    }

    zone = (ngx_opsauth_usage_zone_t *) p;

    if (zone->magic != NGX_OPSAUTH_USAGE_MAGIC
        || zone->version != NGX_OPSAUTH_USAGE_VERSION
        || zone->size > (size_t) (shpool->end - p)
        || zone->nsets == 0 || zone->nsets > zone->size
        || ngx_opsauth_usage_bytes(zone->nsets) > zone->size)
    {
        return NGX_DECLINED;
    }

    ngx_opsauth_usage_lay_out(usage, zone);

    return NGX_OK;
}


static ngx_int_t
ngx_opsauth_usage_create(ngx_opsauth_usage_t *usage, ngx_uint_t dirty)
{
    u_char                    *p;
    size_t                     size;
    uint64_t                   nsets;
    ngx_uint_t                 pages;
    ngx_slab_pool_t           *shpool;
    ngx_opsauth_usage_zone_t  *zone;

    shpool = usage->shpool;

    if (usage->shm_zone->shm.size < ngx_opsauth_usage_size_min()) {
        return NGX_ERROR;
    }

    shpool->data = NULL;
    shpool->log_nomem = 0;

    p = NULL;
    size = 0;

    /* a fresh pool's pages are one run; nobody else has the zone yet */

    for (pages = shpool->pfree; pages && p == NULL; pages--) {
        size = (size_t) pages << ngx_pagesize_shift;
        p = ngx_slab_alloc_locked(shpool, size);
    }

    nsets = size / (NGX_OPSAUTH_USAGE_WAYS * sizeof(ngx_opsauth_usage_entry_t));

    while (nsets && ngx_opsauth_usage_bytes(nsets) > size) {
        nsets--;
    }

    if (p == NULL || nsets == 0) {
        return NGX_ERROR;
    }

    if (dirty) {
        ngx_memzero(p, size);
    }

    zone = (ngx_opsauth_usage_zone_t *) p;
    ngx_memzero(zone, sizeof(ngx_opsauth_usage_zone_t));

    /* where a set's number is made of 32 bits */
    zone->nsets = ngx_min(nsets, NGX_MAX_UINT32_VALUE);
    zone->size = size;
    zone->version = NGX_OPSAUTH_USAGE_VERSION;
    zone->magic = NGX_OPSAUTH_USAGE_MAGIC;

    ngx_opsauth_usage_lay_out(usage, zone);

    shpool->data = zone;

    return NGX_OK;
}


static void
ngx_opsauth_usage_lay_out(ngx_opsauth_usage_t *usage,
    ngx_opsauth_usage_zone_t *zone)
{
    uint64_t  nslots;

    nslots = zone->nsets * NGX_OPSAUTH_USAGE_WAYS;

    usage->zone = zone;
    usage->nsets = zone->nsets;
    usage->entries = (ngx_opsauth_usage_entry_t *) (zone + 1);
    usage->tags = (uint64_t *) (usage->entries + nslots);
    usage->touched = usage->tags + nslots;
}


static size_t
ngx_opsauth_usage_bytes(uint64_t nsets)
{
    uint64_t  nslots;

    nslots = nsets * NGX_OPSAUTH_USAGE_WAYS;

    return sizeof(ngx_opsauth_usage_zone_t)
           + nslots * (sizeof(ngx_opsauth_usage_entry_t) + sizeof(uint64_t))
           + (nslots + 63) / 64 * sizeof(uint64_t);
}


void
ngx_opsauth_usage_stats(ngx_opsauth_usage_t *usage,
    ngx_opsauth_usage_stats_t *stats)
{
    ngx_opsauth_usage_zone_t  *zone;

    zone = usage->zone;

    stats->entries = ngx_opsauth_usage_get(&zone->entries);
    stats->slots = usage->nsets * NGX_OPSAUTH_USAGE_WAYS;
    stats->lost = ngx_opsauth_usage_get(&zone->lost);
    stats->flushes = ngx_opsauth_usage_get(&zone->flushes);
    stats->written = ngx_opsauth_usage_get(&zone->written);
    stats->errors = ngx_opsauth_usage_get(&zone->errors);
}


ngx_opsauth_usage_entry_t *
ngx_opsauth_usage_insert(ngx_opsauth_usage_t *usage, uint64_t tag, oa_str_t id,
    uint32_t keep, uint64_t now)
{
    ngx_uint_t                  set, slot;
    ngx_opsauth_usage_entry_t  *entry;

    set = ngx_opsauth_usage_set(usage, tag);

    /* without the lock: a set in which there is no room takes none */

    if (id.len > OA_ID_MAX
        || ngx_opsauth_usage_victim(usage, set, now)
           == NGX_OPSAUTH_USAGE_WAYS)
    {
        ngx_opsauth_usage_plus(&usage->zone->lost, 1);
        return NULL;
    }

    ngx_shmtx_lock(&usage->shpool->mutex);

    entry = ngx_opsauth_usage_find(usage, tag);

    if (entry) {
        goto done;
    }

    slot = ngx_opsauth_usage_victim(usage, set, now);

    if (slot == NGX_OPSAUTH_USAGE_WAYS) {
        ngx_opsauth_usage_plus(&usage->zone->lost, 1);
        goto done;
    }

    slot += set;
    entry = &usage->entries[slot];

    if (usage->tags[slot] == 0) {
        ngx_opsauth_usage_plus(&usage->zone->entries, 1);
    }

    __atomic_store_n(&usage->tags[slot], 0, __ATOMIC_SEQ_CST);

    ngx_memzero(entry, sizeof(ngx_opsauth_usage_entry_t));

    entry->keep = keep;
    entry->len = (uint32_t) id.len;
    ngx_memcpy(entry->id, id.data, id.len);

    __atomic_store_n(&usage->tags[slot], tag, __ATOMIC_RELEASE);

done:

    ngx_shmtx_unlock(&usage->shpool->mutex);

    return entry;
}


/* which of a set may be given away; WAYS: none */

static ngx_uint_t
ngx_opsauth_usage_victim(ngx_opsauth_usage_t *usage, ngx_uint_t set,
    uint64_t now)
{
    uint64_t                    seen, oldest;
    ngx_uint_t                  i, slot;
    ngx_opsauth_usage_entry_t  *entry;

    slot = NGX_OPSAUTH_USAGE_WAYS;
    oldest = 0;

    for (i = 0; i < NGX_OPSAUTH_USAGE_WAYS; i++) {

        if (ngx_opsauth_usage_get(&usage->tags[set + i]) == 0) {
            return i;
        }

        entry = &usage->entries[set + i];

        if (ngx_opsauth_usage_get(&entry->requests)
            || ngx_opsauth_usage_get(&entry->last)
               != ngx_opsauth_usage_get(&entry->written))
        {
            continue;
        }

        seen = ngx_max(ngx_opsauth_usage_get(&entry->claim),
                       ngx_opsauth_usage_get(&entry->denied_at));

        if (seen + NGX_OPSAUTH_USAGE_IDLE > now) {
            continue;
        }

        if (slot == NGX_OPSAUTH_USAGE_WAYS || seen < oldest) {
            slot = i;
            oldest = seen;
        }
    }

    return slot;
}


void
ngx_opsauth_usage_touch(ngx_opsauth_usage_t *usage,
    ngx_opsauth_usage_entry_t *entry)
{
    ngx_opsauth_usage_mark(usage, entry - usage->entries);
}


void
ngx_opsauth_usage_denied(ngx_opsauth_usage_entry_t *entry, uint64_t now)
{
    ngx_opsauth_usage_put(&entry->denied_at, now);
    ngx_opsauth_usage_plus(&entry->denied, 1);
}


/*
 * One worker wins a second, and writes the address of an even one here, of an
 * odd one there, before it says which is the last: a reader finds whole
 * addresses, also where the worker was killed in between.
 */

void
ngx_opsauth_usage_used(ngx_opsauth_usage_entry_t *entry, uint64_t now,
    const oa_addr_t *addr)
{
    uint64_t  claim, words[2];

    claim = ngx_opsauth_usage_get(&entry->claim);

    /* another worker's clock was ahead; far ahead: the clock was set back */

    if (claim == now || (claim > now && claim - now < 60)) {
        return;
    }

    if (!__atomic_compare_exchange_n(&entry->claim, &claim, now, 0,
                                     __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
    {
        return;
    }

    words[0] = words[1] = 0;

    if (addr->family == 4) {
        ((u_char *) words)[10] = 0xff;
        ((u_char *) words)[11] = 0xff;
        ngx_memcpy((u_char *) words + 12, addr->bytes, 4);

    } else if (addr->family == 6) {
        ngx_memcpy(words, addr->bytes, 16);
    }

    ngx_opsauth_usage_put(&entry->addr[now & 1][0], words[0]);
    ngx_opsauth_usage_put(&entry->addr[now & 1][1], words[1]);

    __atomic_store_n(&entry->last, now, __ATOMIC_RELEASE);
}
