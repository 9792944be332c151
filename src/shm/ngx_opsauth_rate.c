/*
 * The zone of rates; contract in the header. Called by src/http, in every
 * worker. One block takes the whole slab pool when the zone is new: a header,
 * the accounts' slots, the addresses' slots.
 */

#include "ngx_opsauth_rate.h"


#define NGX_OPSAUTH_RATE_MAGIC    0x3173657461726f61ULL
#define NGX_OPSAUTH_RATE_VERSION  2

#define NGX_OPSAUTH_RATE_WINDOW   16

/* of one table, looked at for the status page: a multiple of the window */
#define NGX_OPSAUTH_RATE_SAMPLE   16384

#define NGX_OPSAUTH_RATE_CREDITS  ((uint64_t) 0xffffff)
#define NGX_OPSAUTH_RATE_SHIFT    24


/* whole cache lines: of those who only read, of those who count, and slots */
struct ngx_opsauth_rate_zone_s {
    uint64_t    magic;
    uint64_t    version;
    uint64_t    n[NGX_OPSAUTH_RATE_TABLES];
    uint64_t    seed[2];            /* nobody can choose who shares a window */
    uint64_t    node;
    uint64_t    nodes;

    uint64_t    counters[NGX_OPSAUTH_RATE_COUNTERS];

    uint64_t    used[NGX_OPSAUTH_RATE_TABLES];
    uint64_t    pad[6];
};


static ngx_int_t ngx_opsauth_rate_adopt(void *owner, u_char *block,
    size_t size);
static ngx_int_t ngx_opsauth_rate_create(void *owner, u_char *block,
    size_t size);
static void ngx_opsauth_rate_random(u_char *p, size_t n);
static uint64_t ngx_opsauth_rate_home(ngx_opsauth_rate_t *rate,
    ngx_opsauth_rate_table_e table, const ngx_opsauth_rate_key_t *key);
static ngx_opsauth_rate_slot_t *ngx_opsauth_rate_make(ngx_opsauth_rate_t *rate,
    ngx_opsauth_rate_table_e table, const ngx_opsauth_rate_key_t *key,
    uint64_t now);
static uint64_t ngx_opsauth_rate_busy(ngx_opsauth_rate_slot_t *slot);
static uint64_t ngx_opsauth_rate_count_busy(ngx_opsauth_rate_t *rate,
    ngx_opsauth_rate_table_e table, uint64_t now);
static void ngx_opsauth_rate_repair(uint64_t *word,
    const oa_rate_limit_t *limit, uint64_t tat, uint64_t now);


#define ngx_opsauth_rate_load(word)                                           \
    __atomic_load_n(word, __ATOMIC_RELAXED)

#define ngx_opsauth_rate_swap(word, old, new)                                 \
    __atomic_compare_exchange_n(word, old, new, 0, __ATOMIC_RELAXED,          \
                                __ATOMIC_RELAXED)


static const ngx_opsauth_zone_kind_t  ngx_opsauth_rate_zone_kind = {
    .name = "rate",
    .holds = "buckets",
    .align = sizeof(uint64_t),
    .head = sizeof(ngx_opsauth_rate_zone_t),
    .adopt = ngx_opsauth_rate_adopt,
    .create = ngx_opsauth_rate_create
};


ngx_int_t
ngx_opsauth_rate_add(ngx_conf_t *cf, ngx_opsauth_rate_t *rate, ngx_str_t *name,
    size_t size, void *tag)
{
    return ngx_opsauth_zone_add(cf, &rate->base,
                                &ngx_opsauth_rate_zone_kind, name, size, tag);
}


static ngx_int_t
ngx_opsauth_rate_adopt(void *owner, u_char *block, size_t size)
{
    size_t                    room;
    ngx_uint_t                i;
    ngx_opsauth_rate_t       *rate = owner;
    ngx_opsauth_rate_slot_t  *slots;
    ngx_opsauth_rate_zone_t  *zone;

    zone = (ngx_opsauth_rate_zone_t *) block;

    if (zone->magic != NGX_OPSAUTH_RATE_MAGIC
        || zone->version != NGX_OPSAUTH_RATE_VERSION)
    {
        return NGX_DECLINED;
    }

    slots = (ngx_opsauth_rate_slot_t *) (zone + 1);
    room = (size - sizeof(ngx_opsauth_rate_zone_t))
           / sizeof(ngx_opsauth_rate_slot_t);

    for (i = 0; i < NGX_OPSAUTH_RATE_TABLES; i++) {

        if (zone->n[i] < NGX_OPSAUTH_RATE_WINDOW || zone->n[i] > room) {
            return NGX_DECLINED;
        }

        room -= (size_t) zone->n[i];

        rate->n[i] = zone->n[i];
        rate->slots[i] = slots;
        slots += zone->n[i];
    }

    rate->zone = zone;

    return NGX_OK;
}


static ngx_int_t
ngx_opsauth_rate_create(void *owner, u_char *block, size_t size)
{
    size_t                    n;
    ngx_opsauth_rate_zone_t  *zone;

    n = (size - sizeof(ngx_opsauth_rate_zone_t))
        / sizeof(ngx_opsauth_rate_slot_t);

    if (n < 4 * NGX_OPSAUTH_RATE_WINDOW) {
        return NGX_ERROR;
    }

    ngx_memzero(block, size);

    zone = (ngx_opsauth_rate_zone_t *) block;

    zone->n[NGX_OPSAUTH_RATE_ADDRESSES] = n / 4;
    zone->n[NGX_OPSAUTH_RATE_ACCOUNTS] = n - n / 4;

    ngx_opsauth_rate_random((u_char *) zone->seed, sizeof(zone->seed));
    ngx_opsauth_rate_random((u_char *) &zone->node, sizeof(zone->node));

    zone->node |= 1;
    zone->version = NGX_OPSAUTH_RATE_VERSION;
    zone->magic = NGX_OPSAUTH_RATE_MAGIC;

    return ngx_opsauth_rate_adopt(owner, block, size);
}


/* from the kernel: ngx_random() is the same in all masters of one second */

static void
ngx_opsauth_rate_random(u_char *p, size_t n)
{
    ngx_fd_t  fd;
    ssize_t   got;

    fd = ngx_open_file("/dev/urandom", NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);
    got = 0;

    if (fd != NGX_INVALID_FILE) {
        got = read(fd, p, n);
        (void) ngx_close_file(fd);
    }

    for (got = ngx_max(got, 0); (size_t) got < n; got++) {
        p[got] = (u_char) (ngx_random() ^ ngx_pid);
    }
}


static ngx_inline uint64_t
ngx_opsauth_rate_home(ngx_opsauth_rate_t *rate, ngx_opsauth_rate_table_e table,
    const ngx_opsauth_rate_key_t *key)
{
    uint64_t  h;

    h = (key->k[0] ^ rate->zone->seed[0]) * 0x9e3779b97f4a7c15ULL;
    h ^= h >> 32;
    h = (h + (key->k[1] ^ rate->zone->seed[1])) * 0xbf58476d1ce4e5b9ULL;

    return ((h >> 32) * (rate->n[table] - NGX_OPSAUTH_RATE_WINDOW)) >> 32;
}


ngx_opsauth_rate_slot_t *
ngx_opsauth_rate_slot(ngx_opsauth_rate_t *rate, ngx_opsauth_rate_table_e table,
    const ngx_opsauth_rate_key_t *key, uint64_t now)
{
    ngx_opsauth_rate_slot_t  *slot;

    slot = ngx_opsauth_rate_find(rate, table, key);

    return slot ? slot : ngx_opsauth_rate_make(rate, table, key, now);
}


ngx_opsauth_rate_slot_t *
ngx_opsauth_rate_find(ngx_opsauth_rate_t *rate, ngx_opsauth_rate_table_e table,
    const ngx_opsauth_rate_key_t *key)
{
    ngx_uint_t                i;
    ngx_opsauth_rate_slot_t  *slot;

    slot = &rate->slots[table][ngx_opsauth_rate_home(rate, table, key)];

    for (i = 0; i < NGX_OPSAUTH_RATE_WINDOW; i++, slot++) {

        if (__atomic_load_n(&slot->k[0], __ATOMIC_ACQUIRE) == key->k[0]
            && ngx_opsauth_rate_load(&slot->k[1]) == key->k[1])
        {
            return slot;
        }
    }

    return NULL;
}


static ngx_opsauth_rate_slot_t *
ngx_opsauth_rate_make(ngx_opsauth_rate_t *rate, ngx_opsauth_rate_table_e table,
    const ngx_opsauth_rate_key_t *key, uint64_t now)
{
    uint64_t                  busy, least;
    ngx_uint_t                i;
    ngx_opsauth_rate_slot_t  *slot, *best;

    ngx_shmtx_lock(&rate->base.shpool->mutex);

    best = ngx_opsauth_rate_find(rate, table, key);

    if (best) {
        ngx_shmtx_unlock(&rate->base.shpool->mutex);
        return best;
    }

    slot = &rate->slots[table][ngx_opsauth_rate_home(rate, table, key)];
    best = slot;
    least = (uint64_t) -1;

    for (i = 0; i < NGX_OPSAUTH_RATE_WINDOW && least; i++, slot++) {
        busy = ngx_opsauth_rate_busy(slot);

        if (busy < least) {
            least = busy;
            best = slot;
        }
    }

    if (least > now) {
        ngx_opsauth_rate_count(rate, NGX_OPSAUTH_RATE_EVICTED, 1);
    }

    /* a slot is never given back */

    if (least == 0) {
        rate->zone->used[table]++;
    }

    /* between the two halves nobody finds it; a worker that dies leaves a slot
       that is nobody's */

    __atomic_store_n(&best->k[0], 0, __ATOMIC_SEQ_CST);

    best->credit[0] = 0;
    best->credit[1] = 0;
    best->owed = 0;
    best->chunk = 0;
    best->asked = 0;
    best->pending = 0;
    best->refused = 0;
    best->plan = 0;

    __atomic_store_n(&best->k[1], key->k[1], __ATOMIC_RELAXED);
    __atomic_store_n(&best->k[0], key->k[0], __ATOMIC_RELEASE);

    ngx_shmtx_unlock(&rate->base.shpool->mutex);

    return best;
}


/* when all its buckets will be full; 0: nobody's */

static uint64_t
ngx_opsauth_rate_busy(ngx_opsauth_rate_slot_t *slot)
{
    uint64_t    busy;
    ngx_uint_t  i;

    if (ngx_opsauth_rate_load(&slot->k[0]) == 0) {
        return 0;
    }

    busy = 1;

    for (i = 0; i < OA_RATE_UNITS; i++) {
        busy = ngx_max(busy, ngx_opsauth_rate_load(&slot->tat[i]));
        busy = ngx_max(busy, ngx_opsauth_rate_load(&slot->share[i]));
    }

    return busy;
}


void
ngx_opsauth_rate_addr_key(const u_char *addr, size_t len,
    ngx_opsauth_rate_key_t *key)
{
    key->k[0] = len;
    key->k[1] = 0;

    ngx_memcpy(&key->k[1], addr, ngx_min(len, 8));
}


ngx_int_t
ngx_opsauth_rate_take(uint64_t *words, const oa_rate_t *limits, uint64_t now,
    uint64_t *tat)
{
    uint64_t                old, next, *word;
    ngx_uint_t              i, k;
    const oa_rate_limit_t  *limit;

    /* one that another limit refuses should not be in anybody's way */

    if (limits->n > 1
        && ngx_opsauth_rate_peek(words, limits, now) != NGX_OK)
    {
        for (i = 0; i < limits->n; i++) {
            tat[i] = ngx_opsauth_rate_load(&words[limits->limit[i].unit]);
        }

        return NGX_DECLINED;
    }

    for (i = 0; i < limits->n; i++) {
        limit = &limits->limit[i];
        word = &words[limit->unit];
        old = ngx_opsauth_rate_load(word);

        do {
            if (oa_rate_take(limit, old, now, &next) != OA_OK) {
                goto refused;
            }

        } while (!ngx_opsauth_rate_swap(word, &old, next));

        tat[i] = next;
    }

    return NGX_OK;

refused:

    ngx_opsauth_rate_repair(word, limit, old, now);

    for (k = 0; k < i; k++) {
        (void) __atomic_sub_fetch(&words[limits->limit[k].unit],
                                  limits->limit[k].interval, __ATOMIC_RELAXED);
    }

    for (i = 0; i < limits->n; i++) {
        tat[i] = ngx_opsauth_rate_load(&words[limits->limit[i].unit]);
    }

    return NGX_DECLINED;
}


/* no limit could have made such a word: it would lock its owner out */

static void
ngx_opsauth_rate_repair(uint64_t *word, const oa_rate_limit_t *limit,
    uint64_t tat, uint64_t now)
{
    if (tat > now && tat - now > OA_RATE_AHEAD_MAX) {
        (void) ngx_opsauth_rate_swap(word, &tat, now + limit->full);
    }
}


ngx_int_t
ngx_opsauth_rate_peek(uint64_t *words, const oa_rate_t *limits, uint64_t now)
{
    uint64_t    old, next;
    ngx_uint_t  i;

    for (i = 0; i < limits->n; i++) {
        old = ngx_opsauth_rate_load(&words[limits->limit[i].unit]);

        if (oa_rate_take(&limits->limit[i], old, now, &next) != OA_OK) {
            ngx_opsauth_rate_repair(&words[limits->limit[i].unit],
                                    &limits->limit[i], old, now);
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}


ngx_int_t
ngx_opsauth_rate_spend(ngx_opsauth_rate_slot_t *slot, ngx_msec_t now,
    ngx_uint_t *left)
{
    uint64_t    old[2];
    ngx_uint_t  i, live[2], first;

    for ( ;; ) {

        for (i = 0; i < 2; i++) {
            old[i] = ngx_opsauth_rate_load(&slot->credit[i]);
            live[i] = (old[i] >> NGX_OPSAUTH_RATE_SHIFT) > now
                      ? old[i] & NGX_OPSAUTH_RATE_CREDITS : 0;
        }

        if (live[0] == 0 && live[1] == 0) {
            return NGX_DECLINED;
        }

        /* what expires first is spent first */

        first = (live[0] == 0 || (live[1] != 0 && old[1] < old[0]));

        if (ngx_opsauth_rate_swap(&slot->credit[first], &old[first],
                                  old[first] - 1))
        {
            *left = live[0] + live[1] - 1;
            return NGX_OK;
        }
    }
}


ngx_uint_t
ngx_opsauth_rate_credits(ngx_opsauth_rate_slot_t *slot, ngx_msec_t now)
{
    uint64_t    word;
    ngx_uint_t  i, n;

    n = 0;

    for (i = 0; i < 2; i++) {
        word = ngx_opsauth_rate_load(&slot->credit[i]);

        if ((word >> NGX_OPSAUTH_RATE_SHIFT) > now) {
            n += word & NGX_OPSAUTH_RATE_CREDITS;
        }
    }

    return n;
}


void
ngx_opsauth_rate_credit(ngx_opsauth_rate_slot_t *slot, ngx_msec_t now,
    ngx_msec_t expires, ngx_uint_t n)
{
    uint64_t    old, sum, until;
    ngx_uint_t  i, live[2], place;

    for ( ;; ) {

        for (i = 0; i < 2; i++) {
            old = ngx_opsauth_rate_load(&slot->credit[i]);
            live[i] = (old >> NGX_OPSAUTH_RATE_SHIFT) > now
                      ? old & NGX_OPSAUTH_RATE_CREDITS : 0;
        }

        place = (live[0] != 0 && live[1] <= live[0]);

        old = ngx_opsauth_rate_load(&slot->credit[place]);
        until = expires;
        sum = n;

        if ((old >> NGX_OPSAUTH_RATE_SHIFT) > now
            && (old & NGX_OPSAUTH_RATE_CREDITS))
        {
            until = ngx_min(until, old >> NGX_OPSAUTH_RATE_SHIFT);
            sum += old & NGX_OPSAUTH_RATE_CREDITS;
        }

        sum = ngx_min(sum, NGX_OPSAUTH_RATE_CREDITS);

        if (ngx_opsauth_rate_swap(&slot->credit[place], &old,
                                  until << NGX_OPSAUTH_RATE_SHIFT | sum))
        {
            return;
        }
    }
}


void
ngx_opsauth_rate_count(ngx_opsauth_rate_t *rate,
    ngx_opsauth_rate_counter_e counter, uint64_t n)
{
    (void) __atomic_add_fetch(&rate->zone->counters[counter], n,
                              __ATOMIC_RELAXED);
}


uint32_t
ngx_opsauth_rate_nodes(ngx_opsauth_rate_t *rate)
{
    return (uint32_t) ngx_opsauth_rate_load(&rate->zone->nodes);
}


void
ngx_opsauth_rate_set_nodes(ngx_opsauth_rate_t *rate, uint32_t nodes)
{
    __atomic_store_n(&rate->zone->nodes, nodes, __ATOMIC_RELAXED);
}


uint64_t
ngx_opsauth_rate_node(ngx_opsauth_rate_t *rate)
{
    return rate->zone->node;
}


void
ngx_opsauth_rate_stats(ngx_opsauth_rate_t *rate,
    ngx_opsauth_rate_stats_t *stats)
{
    uint64_t    now;
    ngx_uint_t  i;

    now = ngx_opsauth_rate_now();

    for (i = 0; i < NGX_OPSAUTH_RATE_TABLES; i++) {
        stats->slots[i] = rate->n[i];
        stats->used[i] = ngx_min(ngx_opsauth_rate_load(&rate->zone->used[i]),
                                 rate->n[i]);
        stats->busy[i] = ngx_min(ngx_opsauth_rate_count_busy(rate, i, now),
                                 stats->used[i]);
    }

    stats->nodes = ngx_opsauth_rate_nodes(rate);

    for (i = 0; i < NGX_OPSAUTH_RATE_COUNTERS; i++) {
        stats->counters[i] = ngx_opsauth_rate_load(&rate->zone->counters[i]);
    }
}


/*
 * A bucket is full again without anybody doing anything, so this can't be
 * counted as it happens. Keys are spread by a hash that nobody can choose: of a
 * large table windows at equal distances say how much of all is busy.
 */

static uint64_t
ngx_opsauth_rate_count_busy(ngx_opsauth_rate_t *rate,
    ngx_opsauth_rate_table_e table, uint64_t now)
{
    uint64_t                  n, i, k, busy, windows;
    ngx_opsauth_rate_slot_t  *slot;

    n = rate->n[table];
    busy = 0;

    if (n <= NGX_OPSAUTH_RATE_SAMPLE) {

        for (i = 0; i < n; i++) {
            busy += (ngx_opsauth_rate_busy(&rate->slots[table][i]) > now);
        }

        return busy;
    }

    windows = NGX_OPSAUTH_RATE_SAMPLE / NGX_OPSAUTH_RATE_WINDOW;

    for (i = 0; i < windows; i++) {
        slot = &rate->slots[table][i * (n / windows)];

        for (k = 0; k < NGX_OPSAUTH_RATE_WINDOW; k++) {
            busy += (ngx_opsauth_rate_busy(&slot[k]) > now);
        }
    }

    return busy * n / NGX_OPSAUTH_RATE_SAMPLE;
}
