/*
 * The zone of usage counters: geometry, who gets a slot, who flushes; contract
 * in the header. Called by src/http, in every worker.
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

#include "ngx_opsauth_usage.h"


#define NGX_OPSAUTH_USAGE_MAGIC    0x3165676173757a41ULL
#define NGX_OPSAUTH_USAGE_VERSION  1

#define NGX_OPSAUTH_USAGE_PAGES    8
#define NGX_OPSAUTH_USAGE_LINE     64

/* seconds without use before a slot may go to another credential */
#define NGX_OPSAUTH_USAGE_IDLE     2

/* entries that one check looks at */
#define NGX_OPSAUTH_USAGE_STRETCH  4096

/* ms; between flushes that fail */
#define NGX_OPSAUTH_USAGE_BACKOFF_MAX  60000

/* ms; between two lines about lost requests */
#define NGX_OPSAUTH_USAGE_TELL     60000


struct ngx_opsauth_usage_zone_s {
    uint64_t    magic;
    uint64_t    version;
    uint64_t    size;           /* of what follows */
    uint64_t    nsets;
    uint64_t    pad[4];

    uint64_t    next_flush;     /* ms, CLOCK_MONOTONIC */
    uint64_t    failures;       /* flushes in a row */
    uint64_t    check;          /* entry to begin with */
    uint64_t    told;           /* lost, as last logged */
    uint64_t    told_at;        /* ms */

    uint64_t    entries;
    uint64_t    lost;
    uint64_t    flushes;
    uint64_t    written;
    uint64_t    errors;
    uint64_t    tail[6];
};


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
static void ngx_opsauth_usage_mark(ngx_opsauth_usage_t *usage,
    ngx_uint_t slot);
static ngx_int_t ngx_opsauth_usage_take_one(ngx_opsauth_usage_t *usage,
    ngx_uint_t slot, ngx_opsauth_usage_item_t *item);
static void ngx_opsauth_usage_read(ngx_opsauth_usage_entry_t *entry,
    ngx_opsauth_usage_item_t *item);


#define ngx_opsauth_usage_get(word)                                           \
    __atomic_load_n(word, __ATOMIC_RELAXED)

#define ngx_opsauth_usage_put(word, value)                                    \
    __atomic_store_n(word, (uint64_t) (value), __ATOMIC_RELAXED)

#define ngx_opsauth_usage_plus(word, n)                                       \
    (void) __atomic_fetch_add(word, (uint64_t) (n), __ATOMIC_RELAXED)


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


static void
ngx_opsauth_usage_mark(ngx_opsauth_usage_t *usage, ngx_uint_t slot)
{
    (void) __atomic_fetch_or(&usage->touched[slot / 64],
                             (uint64_t) 1 << slot % 64, __ATOMIC_ACQ_REL);
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


ngx_int_t
ngx_opsauth_usage_turn(ngx_opsauth_usage_t *usage, ngx_msec_t now,
    ngx_msec_t interval)
{
    uint64_t    next, failures;
    ngx_msec_t  wait;

    next = ngx_opsauth_usage_get(&usage->zone->next_flush);
    failures = ngx_opsauth_usage_get(&usage->zone->failures);

    wait = interval;

    for ( /* void */ ; failures && wait < NGX_OPSAUTH_USAGE_BACKOFF_MAX;
         failures--)
    {
        wait = ngx_min(wait * 2, NGX_OPSAUTH_USAGE_BACKOFF_MAX);
    }

    /* a time that lies too far ahead is another machine's, or damaged */

    if ((ngx_msec_int_t) (next - now) > 0 && next - now <= 2 * wait) {
        return NGX_DECLINED;
    }

    wait = wait - wait / 10 + (ngx_msec_t) ngx_random() % (wait / 5 + 1);

    return __atomic_compare_exchange_n(&usage->zone->next_flush, &next,
                                       (uint64_t) (now + wait), 0,
                                       __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)
           ? NGX_OK : NGX_DECLINED;
}


ngx_uint_t
ngx_opsauth_usage_take(ngx_opsauth_usage_t *usage, ngx_uint_t *cursor,
    ngx_opsauth_usage_item_t *items, ngx_uint_t n)
{
    uint64_t    word;
    ngx_uint_t  found, slot, nslots;

    found = 0;
    nslots = (ngx_uint_t) usage->nsets * NGX_OPSAUTH_USAGE_WAYS;

    for (slot = *cursor; slot < nslots && found < n; /* void */ ) {

        word = __atomic_load_n(&usage->touched[slot / 64], __ATOMIC_RELAXED)
               >> slot % 64;

        if (word == 0) {
            slot = (slot / 64 + 1) * 64;
            continue;
        }

        slot += (ngx_uint_t) __builtin_ctzll(word);

        if (ngx_opsauth_usage_take_one(usage, slot, &items[found]) == NGX_OK) {
            found++;
        }

        slot++;
    }

    *cursor = slot;

    return found;
}


static ngx_int_t
ngx_opsauth_usage_take_one(ngx_opsauth_usage_t *usage, ngx_uint_t slot,
    ngx_opsauth_usage_item_t *item)
{
    uint64_t                    bit;
    ngx_opsauth_usage_entry_t  *entry;

    bit = (uint64_t) 1 << slot % 64;

    /* another one may take it */

    if (!(__atomic_fetch_and(&usage->touched[slot / 64], ~bit,
                             __ATOMIC_ACQ_REL) & bit))
    {
        return NGX_DECLINED;
    }

    entry = &usage->entries[slot];

    item->slot = slot;
    item->tag = __atomic_load_n(&usage->tags[slot], __ATOMIC_ACQUIRE);

    if (item->tag == 0 || entry->len > OA_ID_MAX) {
        return NGX_DECLINED;
    }

    /* requests last: as long as they stand here, nobody gets the slot */

    item->keep = entry->keep;
    item->len = entry->len;
    ngx_memcpy(item->id, entry->id, entry->len);

    ngx_opsauth_usage_read(entry, item);

    item->at = ngx_max(item->last, ngx_opsauth_usage_get(&entry->denied_at));

    if (__atomic_exchange_n(&entry->written, item->last, __ATOMIC_ACQ_REL)
        == item->last)
    {
        item->last = 0;
    }

    item->day = __atomic_exchange_n(&entry->day, item->at / 86400,
                                    __ATOMIC_ACQ_REL);
    item->denied = __atomic_exchange_n(&entry->denied, 0, __ATOMIC_ACQ_REL);
    item->requests = __atomic_exchange_n(&entry->requests, 0, __ATOMIC_ACQ_REL);

    return (item->requests || item->denied || item->last) ? NGX_OK
                                                          : NGX_DECLINED;
}


static void
ngx_opsauth_usage_read(ngx_opsauth_usage_entry_t *entry,
    ngx_opsauth_usage_item_t *item)
{
    uint64_t    words[2], claim;
    ngx_uint_t  i;

    /* a writer that laps us has two seconds to do so */

    for (i = 0; i < 3; i++) {
        item->last = __atomic_load_n(&entry->last, __ATOMIC_ACQUIRE);

        words[0] = ngx_opsauth_usage_get(&entry->addr[item->last & 1][0]);
        words[1] = ngx_opsauth_usage_get(&entry->addr[item->last & 1][1]);

        __atomic_thread_fence(__ATOMIC_ACQUIRE);

        claim = ngx_opsauth_usage_get(&entry->claim);

        if (claim - item->last < 2) {
            break;
        }
    }

    ngx_memzero(&item->addr, sizeof(oa_addr_t));

    if (words[0] || words[1]) {
        oa_addr_set(&item->addr, (u_char *) words, 16);
    }
}


void
ngx_opsauth_usage_give_back(ngx_opsauth_usage_t *usage,
    const ngx_opsauth_usage_item_t *item, uint64_t requests, uint64_t denied,
    ngx_uint_t last)
{
    ngx_opsauth_usage_entry_t  *entry;

    entry = &usage->entries[item->slot];

    ngx_shmtx_lock(&usage->shpool->mutex);

    if (usage->tags[item->slot] == item->tag) {

        if (last) {
            ngx_opsauth_usage_put(&entry->written, 0);
        }

        ngx_opsauth_usage_plus(&entry->denied, denied);
        ngx_opsauth_usage_plus(&entry->requests, requests);

        ngx_opsauth_usage_mark(usage, item->slot);

    } else {
        ngx_opsauth_usage_plus(&usage->zone->lost, requests);
    }

    ngx_shmtx_unlock(&usage->shpool->mutex);
}


void
ngx_opsauth_usage_done(ngx_opsauth_usage_t *usage, ngx_uint_t failed,
    uint64_t written, uint64_t lost)
{
    ngx_opsauth_usage_zone_t  *zone;

    zone = usage->zone;

    ngx_opsauth_usage_plus(&zone->written, written);
    ngx_opsauth_usage_plus(&zone->lost, lost);

    if (failed) {
        ngx_opsauth_usage_plus(&zone->errors, 1);
        ngx_opsauth_usage_plus(&zone->failures, 1);
        return;
    }

    ngx_opsauth_usage_plus(&zone->flushes, 1);
    ngx_opsauth_usage_put(&zone->failures, 0);
}


void
ngx_opsauth_usage_check(ngx_opsauth_usage_t *usage)
{
    uint64_t    first;
    ngx_uint_t  i, n, slot, nslots;

    nslots = (ngx_uint_t) usage->nsets * NGX_OPSAUTH_USAGE_WAYS;
    n = ngx_min(nslots, NGX_OPSAUTH_USAGE_STRETCH);

    first = __atomic_fetch_add(&usage->zone->check, n, __ATOMIC_RELAXED);

    for (i = 0; i < n; i++) {
        slot = (ngx_uint_t) ((first + i) % nslots);

        if (ngx_opsauth_usage_get(&usage->tags[slot])
            && ngx_opsauth_usage_get(&usage->entries[slot].requests))
        {
            ngx_opsauth_usage_mark(usage, slot);
        }
    }
}


uint64_t
ngx_opsauth_usage_untold(ngx_opsauth_usage_t *usage, ngx_msec_t now)
{
    uint64_t                   lost, at;
    ngx_opsauth_usage_zone_t  *zone;

    zone = usage->zone;
    lost = ngx_opsauth_usage_get(&zone->lost);
    at = ngx_opsauth_usage_get(&zone->told_at);

    if (lost == ngx_opsauth_usage_get(&zone->told)
        || (at && now - at < NGX_OPSAUTH_USAGE_TELL)
        || !__atomic_compare_exchange_n(&zone->told_at, &at, (uint64_t) now, 0,
                                        __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
    {
        return 0;
    }

    ngx_opsauth_usage_put(&zone->told, lost);

    return lost;
}
