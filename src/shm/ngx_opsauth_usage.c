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

#define NGX_OPSAUTH_USAGE_LINE     64

/* seconds without use before a slot may go to another credential */
#define NGX_OPSAUTH_USAGE_IDLE     2


static ngx_int_t ngx_opsauth_usage_adopt(void *owner, u_char *block,
    size_t size);
static ngx_int_t ngx_opsauth_usage_create(void *owner, u_char *block,
    size_t size);
static void ngx_opsauth_usage_lay_out(ngx_opsauth_usage_t *usage,
    ngx_opsauth_usage_zone_t *zone);
static size_t ngx_opsauth_usage_bytes(uint64_t nsets);
static ngx_uint_t ngx_opsauth_usage_victim(ngx_opsauth_usage_t *usage,
    ngx_uint_t set, uint64_t now);


static const ngx_opsauth_zone_kind_t  ngx_opsauth_usage_zone_kind = {
    .name = "usage",
    .holds = "counts",
    .align = NGX_OPSAUTH_USAGE_LINE,
    .head = sizeof(ngx_opsauth_usage_zone_t),
    .adopt = ngx_opsauth_usage_adopt,
    .create = ngx_opsauth_usage_create
};


ngx_int_t
ngx_opsauth_usage_add(ngx_conf_t *cf, ngx_opsauth_usage_t *usage,
    ngx_str_t *name, size_t size, void *tag)
{
    return ngx_opsauth_zone_add(cf, &usage->base,
                                &ngx_opsauth_usage_zone_kind, name, size, tag);
}


static ngx_int_t
ngx_opsauth_usage_adopt(void *owner, u_char *block, size_t size)
{
    ngx_opsauth_usage_zone_t  *zone;

    zone = (ngx_opsauth_usage_zone_t *) block;

    if (zone->magic != NGX_OPSAUTH_USAGE_MAGIC
        || zone->version != NGX_OPSAUTH_USAGE_VERSION
        || zone->size > size
        || zone->nsets == 0 || zone->nsets > zone->size
        || ngx_opsauth_usage_bytes(zone->nsets) > zone->size)
    {
        return NGX_DECLINED;
    }

    ngx_opsauth_usage_lay_out(owner, zone);

    return NGX_OK;
}


static ngx_int_t
ngx_opsauth_usage_create(void *owner, u_char *block, size_t size)
{
    uint64_t                   nsets;
    ngx_opsauth_usage_zone_t  *zone;

    nsets = size / (NGX_OPSAUTH_USAGE_WAYS * sizeof(ngx_opsauth_usage_entry_t));

    while (nsets && ngx_opsauth_usage_bytes(nsets) > size) {
        nsets--;
    }

    if (nsets == 0) {
        return NGX_ERROR;
    }

    zone = (ngx_opsauth_usage_zone_t *) block;
    ngx_memzero(zone, sizeof(ngx_opsauth_usage_zone_t));

    /* where a set's number is made of 32 bits */
    zone->nsets = ngx_min(nsets, NGX_MAX_UINT32_VALUE);
    zone->size = size;
    zone->version = NGX_OPSAUTH_USAGE_VERSION;
    zone->magic = NGX_OPSAUTH_USAGE_MAGIC;

    ngx_opsauth_usage_lay_out(owner, zone);

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

    ngx_shmtx_lock(&usage->base.shpool->mutex);

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

    ngx_shmtx_unlock(&usage->base.shpool->mutex);

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
