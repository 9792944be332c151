/*
 * Usage counters: who gets a slot, what is taken and given back, and that
 * nothing is lost or counted twice while many count and several take.
 */

#include "tap.h"

#include <pthread.h>

#include "../../src/shm/ngx_opsauth_zone.c"
#include "../../src/shm/ngx_opsauth_usage.c"
#include "../../src/shm/ngx_opsauth_usage_flush.c"
#include "../../src/core/oa_cidr.c"
#include "../../src/core/oa_text.c"
#include "../../src/core/oa_set.c"


#define PAGES    16
#define THREADS  4
#define ROUNDS   100000
#define IDS      24


/* --- nginx's part --------------------------------------------------------- */

ngx_uint_t              ngx_pagesize = 4096;
ngx_uint_t              ngx_pagesize_shift = 12;

static pthread_mutex_t  mutex = PTHREAD_MUTEX_INITIALIZER;
static u_char           zone[PAGES * 4096] __attribute__((aligned(4096)));
static ngx_slab_pool_t  pool;
static ngx_shm_zone_t   shm;


void
ngx_shmtx_lock(ngx_shmtx_t *mtx)
{
    (void) mtx;
    pthread_mutex_lock(&mutex);
}


void
ngx_shmtx_unlock(ngx_shmtx_t *mtx)
{
    (void) mtx;
    pthread_mutex_unlock(&mutex);
}


void *
ngx_slab_alloc_locked(ngx_slab_pool_t *p, size_t size)
{
    (void) p;
    return (size <= sizeof(zone)) ? zone : NULL;
}


void
ngx_slab_init(ngx_slab_pool_t *p)
{
    (void) p;
}


ngx_shm_zone_t *
ngx_shared_memory_add(ngx_conf_t *cf, ngx_str_t *name, size_t size, void *tag)
{
    (void) cf; (void) name; (void) size; (void) tag;
    return NULL;
}


void
ngx_conf_log_error(ngx_uint_t level, ngx_conf_t *cf, ngx_err_t err,
    const char *fmt, ...)
{
    (void) level; (void) cf; (void) err; (void) fmt;
}


void
ngx_log_error_core(ngx_uint_t level, ngx_log_t *log, ngx_err_t err,
    const char *fmt, ...)
{
    (void) level; (void) log; (void) err; (void) fmt;
}


/* --- what stands in front of it ------------------------------------------- */

static ngx_opsauth_usage_t  usage;


static void
fresh(ngx_uint_t pages)
{
    memset(zone, 0, sizeof(zone));
    memset(&usage, 0, sizeof(usage));
    memset(&pool, 0, sizeof(pool));

    pool.pfree = pages;
    pool.start = zone;
    pool.end = zone + sizeof(zone);
    shm.shm.size = sizeof(zone);
    usage.base.kind = &ngx_opsauth_usage_zone_kind;
    usage.base.shpool = &pool;
    usage.base.shm_zone = &shm;

    ok(ngx_opsauth_zone_create(&usage.base, 0) == NGX_OK, "a zone of %d pages",
       (int) pages);
}


static oa_str_t
text(const char *id)
{
    oa_str_t  s;

    s.data = (const unsigned char *) id;
    s.len = strlen(id);

    return s;
}


/* as src/http does it; 0: not counted */
static int
count(const char *id, uint64_t now, int denied)
{
    uint64_t                    tag;
    oa_addr_t                   addr;
    ngx_opsauth_usage_entry_t  *entry;

    tag = ngx_opsauth_usage_tag(text(id));
    entry = ngx_opsauth_usage_find(&usage, tag);

    if (entry == NULL) {
        entry = ngx_opsauth_usage_insert(&usage, tag, text(id), 100, now);
    }

    if (entry == NULL) {
        return 0;
    }

    if (denied) {
        ngx_opsauth_usage_denied(entry, now);

    } else {
        oa_addr_set(&addr, (const unsigned char *) "\xcb\x00\x71\x07", 4);
        ngx_opsauth_usage_used(entry, now, &addr);
    }

    if (ngx_opsauth_usage_increment(entry)) {
        ngx_opsauth_usage_touch(&usage, entry);
    }

    return 1;
}


static ngx_uint_t
take(ngx_opsauth_usage_item_t *items, ngx_uint_t n)
{
    ngx_uint_t  cursor;

    cursor = 0;

    return ngx_opsauth_usage_take(&usage, &cursor, items, n);
}


/* --- the tests -------------------------------------------------------------- */

static void
test_one(void)
{
    ngx_opsauth_usage_item_t  item;

    fresh(PAGES);

    ok(take(&item, 1) == 0, "nothing to take");

    count("key_1", 1000, 0);
    count("key_1", 1001, 0);
    count("key_1", 1003, 1);

    ok(take(&item, 1) == 1, "one entry");
    ok(item.requests == 3 && item.denied == 1, "3 requests, 1 denied");
    ok(item.last == 1001 && item.at == 1003, "the last one let through");
    ok(item.addr.family == 4 && memcmp(item.addr.bytes, "\xcb\x00\x71\x07", 4)
       == 0, "from there");
    ok(item.len == 5 && memcmp(item.id, "key_1", 5) == 0 && item.keep == 100,
       "of this id");
    ok(item.day == 0, "for the first time");
    ok(take(&item, 1) == 0, "once");

    count("key_1", 90000, 1);
    ok(take(&item, 1) == 1 && item.requests == 1 && item.denied == 1
       && item.last == 0, "a denial says nothing of the last use");
    ok(item.day == 1003 / 86400, "and knows the day before");

    count("key_1", 90001, 0);
    ok(take(&item, 1) == 1 && item.last == 90001, "taken");
    ngx_opsauth_usage_give_back(&usage, &item, 1, 0, 1);
    ok(take(&item, 1) == 1 && item.requests == 1 && item.last == 90001,
       "what was given back is taken again");

    /* a clock that goes back a little, and a lot */

    count("key_1", 90000, 0);
    ok(take(&item, 1) == 1 && item.last == 0 && item.requests == 1,
       "another worker's clock is behind");
    count("key_1", 80000, 0);
    ok(take(&item, 1) == 1 && item.last == 80000, "the clock was set back");
}


static void
test_room(void)
{
    char                       id[32];
    int                        counted, i;
    ngx_uint_t                 n, slots;
    ngx_opsauth_usage_item_t   items[64];
    ngx_opsauth_usage_stats_t  stats;

    fresh(4);

    ngx_opsauth_usage_stats(&usage, &stats);
    slots = stats.slots;
    ok(slots > 64 && slots % NGX_OPSAUTH_USAGE_WAYS == 0, "%d slots",
       (int) slots);

    for (i = 0, counted = 0; i < 1000; i++) {
        snprintf(id, sizeof(id), "key_%d", i);
        counted += count(id, 1000, 0);
    }

    ngx_opsauth_usage_stats(&usage, &stats);
    ok(counted <= (int) slots && stats.entries == (uint64_t) counted,
       "%d of 1000 are counted", counted);
    ok(stats.lost == 1000 - (uint64_t) counted, "the others are lost");
    ok(ngx_opsauth_usage_untold(&usage, 5000) == stats.lost, "which is told");
    ok(ngx_opsauth_usage_untold(&usage, 5001) == 0, "once");

    ok(count("key_new", 2000, 0) == 0 || counted < (int) slots,
       "nobody loses counts to a newcomer");

    do {
        n = take(items, 64);

    } while (n == 64);

    ok(count("key_newer", 1001, 0) == 0 || counted < (int) slots,
       "nor who was seen in this second or the one before");
    ok(count("key_newest", 3000, 0) == 1, "but who has been idle");

    ngx_opsauth_usage_stats(&usage, &stats);
    ok(stats.entries <= slots, "no more entries than slots");
    ok(take(items, 64) >= 1, "it is taken");

    /* given back to a slot that another one has by now */

    items[0].tag ^= 2;
    n = (ngx_uint_t) stats.lost;
    ngx_opsauth_usage_give_back(&usage, &items[0], 5, 0, 0);
    ngx_opsauth_usage_stats(&usage, &stats);
    ok(stats.lost == n + 5, "what has no place any more is lost, and counted");
}


static void
test_turns(void)
{
    ngx_msec_t  now;
    ngx_uint_t  i, n;

    fresh(PAGES);

    for (now = 1000000, n = 0, i = 0; i < 100000; i++, now++) {
        n += (ngx_opsauth_usage_turn(&usage, now, 1000) == NGX_OK);
        n += (ngx_opsauth_usage_turn(&usage, now, 1000) == NGX_OK);
    }

    ok(n >= 90 && n <= 112, "%d turns in 100 seconds", (int) n);

    for (i = 0; i < 20; i++) {
        ngx_opsauth_usage_done(&usage, 1, 0, 0);
    }

    (void) ngx_opsauth_usage_turn(&usage, now + 2000, 1000);

    for (n = 0, i = 0; i < 120000; i++) {
        n += (ngx_opsauth_usage_turn(&usage, now + 2000 + i, 1000) == NGX_OK);
    }

    ok(n >= 1 && n <= 3, "about one a minute while they fail (%d)", (int) n);

    ngx_opsauth_usage_done(&usage, 0, 1, 0);
    usage.zone->next_flush = now * 100;
    ok(ngx_opsauth_usage_turn(&usage, now, 1000) == NGX_OK,
       "a time far ahead keeps nobody waiting");
}


static void
test_adopt(void)
{
    ngx_opsauth_usage_t       old;
    ngx_opsauth_usage_item_t  item;

    fresh(PAGES);
    count("key_1", 1000, 0);
    old = usage;

    ok(ngx_opsauth_zone_adopt(&usage.base) == NGX_OK
       && usage.entries == old.entries && usage.nsets == old.nsets,
       "a zone is found again");

    /* its worker was killed before it could mark the entry */

    memset(usage.touched, 0, 8);
    memset(usage.touched, 0, usage.nsets * NGX_OPSAUTH_USAGE_WAYS / 8);
    ok(take(&item, 1) == 0, "counted, and not marked");
    ngx_opsauth_usage_check(&usage);
    ok(take(&item, 1) == 1 && item.requests == 1, "a check finds it");

    usage.zone->nsets *= 2;
    ok(ngx_opsauth_zone_adopt(&usage.base) == NGX_DECLINED, "damaged: its size");
    usage.zone->nsets = UINT64_MAX / 8;
    ok(ngx_opsauth_zone_adopt(&usage.base) == NGX_DECLINED, "far too large");
    usage.zone->nsets = old.nsets;
    usage.zone->version++;
    ok(ngx_opsauth_zone_adopt(&usage.base) == NGX_DECLINED, "another layout");
    pool.data = NULL;
    ok(ngx_opsauth_zone_adopt(&usage.base) == NGX_DECLINED, "none");
}


static uint64_t  taken_requests, taken_denied;
static int       over;


static void *
counter(void *data)
{
    char      id[32];
    unsigned  i, seed;

    seed = (unsigned) (uintptr_t) data;

    for (i = 0; i < ROUNDS; i++) {
        snprintf(id, sizeof(id), "key_%u", (i * 7 + seed) % IDS);
        count(id, 1000 + i / 10000, i % 10 == 0);
    }

    return NULL;
}


static void *
taker(void *data)
{
    int                       last;
    ngx_uint_t                i, n;
    ngx_opsauth_usage_item_t  items[8];

    do {
        last = __atomic_load_n(&over, __ATOMIC_ACQUIRE);
        n = take(items, 8);

        for (i = 0; i < n; i++) {

            /* now and then it could not be written */

            if ((i + items[i].requests) % 5 == (uintptr_t) data && !last) {
                ngx_opsauth_usage_give_back(&usage, &items[i],
                                            items[i].requests,
                                            items[i].denied, 1);
                continue;
            }

            __atomic_fetch_add(&taken_requests, items[i].requests,
                               __ATOMIC_RELAXED);
            __atomic_fetch_add(&taken_denied, items[i].denied,
                               __ATOMIC_RELAXED);
        }

    } while (!last || n);

    return NULL;
}


static void
test_threads(void)
{
    uintptr_t                  i;
    pthread_t                  counters[THREADS], takers[2];
    ngx_opsauth_usage_stats_t  stats;

    fresh(PAGES);

    for (i = 0; i < 2; i++) {
        pthread_create(&takers[i], NULL, taker, (void *) i);
    }

    for (i = 0; i < THREADS; i++) {
        pthread_create(&counters[i], NULL, counter, (void *) i);
    }

    for (i = 0; i < THREADS; i++) {
        pthread_join(counters[i], NULL);
    }

    __atomic_store_n(&over, 1, __ATOMIC_RELEASE);

    for (i = 0; i < 2; i++) {
        pthread_join(takers[i], NULL);
    }

    /* one taker may have given back what the other one had passed */

    (void) taker((void *) 9);

    ngx_opsauth_usage_stats(&usage, &stats);

    ok(stats.entries == IDS, "%d entries", IDS);
    ok(taken_requests + stats.lost == (uint64_t) THREADS * ROUNDS,
       "every request was taken once (%llu)",
       (unsigned long long) taken_requests);
    ok(stats.lost == 0, "none is lost");
    ok(taken_denied == (uint64_t) THREADS * ROUNDS / 10, "nor a denial");
}


static void
test_tags(void)
{
    int       i, k, same;
    char      id[80];
    uint64_t  tags[65];

    memset(id, 'a', sizeof(id));

    for (i = 0, same = 0; i <= 64; i++) {
        tags[i] = ngx_opsauth_usage_tag((oa_str_t) {
            .len = (size_t) i, .data = (unsigned char *) id });

        for (k = 0; k < i; k++) {
            same += (tags[i] == tags[k]);
        }

        same += (tags[i] == 0);
    }

    ok(same == 0, "ids of all lengths differ");
    ok(ngx_opsauth_usage_tag(text("key_0000000000000012"))
       != ngx_opsauth_usage_tag(text("key_0000000000000021")), "and by order");
}


int
main(void)
{
    test_tags();
    test_one();
    test_room();
    test_turns();
    test_adopt();
    test_threads();

    return done_testing();
}
