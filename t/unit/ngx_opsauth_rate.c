/*
 * Buckets in shared memory: slots and who gets them, several limits at once,
 * credits, and many processes on one word.
 */

#include "tap.h"

#include "../../src/shm/ngx_opsauth_rate.c"
#include "../../src/shm/ngx_opsauth_zone.c"
#include "../../src/core/oa_rate.c"
#include "../../src/core/oa_text.c"

#include <sys/mman.h>
#include <sys/wait.h>


#define S      OA_RATE_TICKS_PER_S
#define SLOTS  64
#define NOW    (1000 * S)


volatile ngx_msec_t           ngx_current_msec = 1000000;
volatile ngx_cycle_t         *ngx_cycle;
ngx_pid_t                     ngx_pid;
ngx_uint_t                    ngx_pagesize = 4096;
ngx_uint_t                    ngx_pagesize_shift = 12;

/* one process at a time makes slots here, so that the lock is none */

void ngx_shmtx_lock(ngx_shmtx_t *mtx) { (void) mtx; }
void ngx_shmtx_unlock(ngx_shmtx_t *mtx) { (void) mtx; }
void ngx_slab_init(ngx_slab_pool_t *pool) { (void) pool; }
void *ngx_slab_alloc_locked(ngx_slab_pool_t *p, size_t n)
{ (void) p; (void) n; return NULL; }
void ngx_log_error_core(ngx_uint_t level, ngx_log_t *log, ngx_err_t err,
    const char *fmt, ...) { (void) level; (void) log; (void) err; (void) fmt; }
void ngx_conf_log_error(ngx_uint_t level, ngx_conf_t *cf, ngx_err_t err,
    const char *fmt, ...) { (void) level; (void) cf; (void) err; (void) fmt; }
ngx_shm_zone_t *ngx_shared_memory_add(ngx_conf_t *cf, ngx_str_t *name,
    size_t size, void *tag)
{ (void) cf; (void) name; (void) size; (void) tag; return NULL; }


static ngx_opsauth_rate_t        rate;
static ngx_slab_pool_t           pool;
static ngx_opsauth_rate_slot_t  *memory;


static void
fresh(void)
{
    static ngx_opsauth_rate_zone_t  zone;

    memset(&zone, 0, sizeof(zone));
    memset(memory, 0, SLOTS * sizeof(ngx_opsauth_rate_slot_t));

    rate.zone = &zone;
    rate.base.shpool = &pool;
    rate.slots[0] = memory;
    rate.slots[1] = memory + SLOTS / 2;
    rate.n[0] = rate.n[1] = SLOTS / 2;
}


static oa_rate_t
limits(const char *text)
{
    oa_str_t   s = { strlen(text), (const unsigned char *) text };
    oa_rate_t  r;

    if (oa_rate_parse(s, 0, &r) != OA_OK) {
        abort();
    }

    return r;
}


static ngx_opsauth_rate_slot_t *
slot(uint64_t who, uint64_t now)
{
    ngx_opsauth_rate_key_t  key = { { who, 0 } };

    return ngx_opsauth_rate_slot(&rate, 0, &key, now);
}


static void
owners(void)
{
    uint64_t                  i, tat[4];
    oa_rate_t                 r;
    ngx_opsauth_rate_slot_t  *one, *two;
    ngx_opsauth_rate_stats_t  stats;

    fresh();
    r = limits("10/m");

    one = slot(1, NOW);
    two = slot(2, NOW);
    ok(one != two && slot(1, NOW) == one && slot(2, NOW) == two,
       "a slot for each, and the same again");

    is_int(ngx_opsauth_rate_take(one->tat, &r, NOW, tat), NGX_OK, "takes");
    ok(two->tat[1] == 0, "of its own");

    /* all of them have taken; whoever comes more often has less */

    for (i = 1; i <= 200; i++) {
        one = slot(i, NOW);
        (void) ngx_opsauth_rate_take(one->tat, &r, NOW, tat);
    }

    ngx_opsauth_rate_stats(&rate, &stats);
    ok(stats.counters[NGX_OPSAUTH_RATE_EVICTED] > 100,
       "more than there is room for: slots change hands while in use");

    /* a minute's worth of each slot, plus what refilled: nobody gained */

    fresh();
    tat[1] = 0;
    for (i = 0; i < 5000; i++) {
        one = slot(1 + i % 500, NOW);
        tat[1] += (ngx_opsauth_rate_take(one->tat, &r, NOW, tat) == NGX_OK);
    }
    ok(tat[1] <= SLOTS / 2 * 10, "500 accounts, 32 slots of 10 requests: %d "
       "passed", (int) tat[1]);

    for (i = 0; i < SLOTS / 2; i++) {
        ok(memory[i].tat[1] == 0 || memory[i].tat[1] <= NOW + r.limit[0].full,
           "slot %d gave no more than its bucket", (int) i);
    }

    fresh();
    for (i = 1; i <= 1000; i++) {
        one = slot(i, NOW + i * 120 * S);
        (void) ngx_opsauth_rate_take(one->tat, &r, NOW + i * 120 * S, tat);
    }
    ngx_opsauth_rate_stats(&rate, &stats);
    is_int(stats.counters[NGX_OPSAUTH_RATE_EVICTED], 0,
           "those that are full again make room");
}


/* of a table as large as it is exact, and of larger ones */

static void
figures(void)
{
    uint64_t                  i, n, want;
    ngx_opsauth_rate_key_t    key;
    ngx_opsauth_rate_stats_t  stats;

    static const uint64_t     sizes[] = { 16384, 16385, 50000, 200001 };

    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        fresh();
        rate.slots[0] = calloc(sizes[i], sizeof(ngx_opsauth_rate_slot_t));
        rate.n[0] = sizes[i];

        for (n = 0, want = 0; n < sizes[i] / 3; n++) {
            key.k[0] = n + 1;
            key.k[1] = n * 7;

            if (n % 2) {
                ngx_opsauth_rate_slot(&rate, 0, &key, NOW)->tat[n % 4] =
                    ngx_opsauth_rate_now() + S;
                want++;
            }

            (void) ngx_opsauth_rate_slot(&rate, 0, &key, NOW);
        }

        ngx_opsauth_rate_stats(&rate, &stats);
        is_int(stats.slots[0], sizes[i], "a table of %d", (int) sizes[i]);
        is_int(stats.used[0], n, "has so many in use");
        ok((i == 0) ? stats.busy[0] == want
                    : stats.busy[0] > want * 9 / 10
                      && stats.busy[0] < want * 11 / 10,
           "of which some are busy: %d of %d", (int) stats.busy[0],
           (int) want);
        is_int(stats.busy[1], 0, "the other table has none");
        free(rate.slots[0]);
    }
}


static void
together(void)
{
    int                       i;
    uint64_t                  tat[4];
    oa_rate_t                 r;
    ngx_opsauth_rate_slot_t  *one;

    fresh();
    one = slot(1, NOW);
    r = limits("2/s,3/h");

    for (i = 0; i < 2; i++) {
        is_int(ngx_opsauth_rate_take(one->tat, &r, NOW, tat), NGX_OK, "both");
    }

    for (i = 0; i < 50; i++) {
        (void) ngx_opsauth_rate_take(one->tat, &r, NOW, tat);
    }

    is_int(one->tat[2] - NOW, 2 * 1200 * S, "the hour lost nothing by what the "
           "second refused");

    is_int(ngx_opsauth_rate_take(one->tat, &r, NOW + 10 * S, tat), NGX_OK,
           "a third");
    is_int(ngx_opsauth_rate_take(one->tat, &r, NOW + 10 * S, tat),
           NGX_DECLINED, "the hour refuses");
    is_int(one->tat[0] - NOW, 10 * S + S / 2, "the second lost nothing by it");

    one->tat[0] = UINT64_MAX;
    is_int(ngx_opsauth_rate_take(one->tat, &r, NOW + 3600 * S, tat),
           NGX_DECLINED, "a damaged word refuses");
    is_int(ngx_opsauth_rate_take(one->tat, &r, NOW + 3602 * S, tat), NGX_OK,
           "and mends");
}


static void
credits(void)
{
    ngx_uint_t                n, left;
    ngx_opsauth_rate_slot_t  *one;

    fresh();
    one = slot(1, NOW);

    is_int(ngx_opsauth_rate_spend(one, 100, &left), NGX_DECLINED, "none");

    ngx_opsauth_rate_credit(one, 100, 200, 3);
    ngx_opsauth_rate_credit(one, 150, 250, 2);

    is_int(ngx_opsauth_rate_spend(one, 199, &left), NGX_OK, "one of five");
    is_int(left, 4, "four left");
    is_int(ngx_opsauth_rate_spend(one, 200, &left), NGX_OK,
           "the first chunk is gone, the second is not");
    is_int(left, 1, "one left");
    is_int(ngx_opsauth_rate_spend(one, 250, &left), NGX_DECLINED, "all gone");

    ngx_opsauth_rate_credit(one, 300, 400, 2);
    ngx_opsauth_rate_credit(one, 300, 500, 2);
    ngx_opsauth_rate_credit(one, 300, 600, 2);

    for (n = 0; ngx_opsauth_rate_spend(one, 301, &left) == NGX_OK; n++) {
        /* void */
    }
    is_int(n, 6, "three chunks in two words");
}


/* four processes at once on one bucket of 10000: one more would be seen */

static void
processes(void)
{
    int                       i, k, status, n[4], sum;
    int                       fd[2];
    uint64_t                  tat[4];
    oa_rate_t                 r;
    ngx_opsauth_rate_slot_t  *one;

    fresh();
    one = slot(1, NOW);
    r = limits("10000/m,15000/h");

    if (pipe(fd) != 0) {
        abort();
    }

    for (i = 0; i < 4; i++) {
        if (fork() == 0) {
            for (k = 0, sum = 0; k < 20000; k++) {
                sum += (ngx_opsauth_rate_take(one->tat, &r, NOW, tat)
                        == NGX_OK);
            }

            _exit(write(fd[1], &sum, sizeof(sum)) != sizeof(sum));
        }
    }

    for (i = 0, sum = 0; i < 4; i++) {
        if (read(fd[0], &n[i], sizeof(int)) != sizeof(int)) {
            abort();
        }
        sum += n[i];
        (void) wait(&status);
    }

    is_int(sum, 10000, "four processes: %d %d %d %d", n[0], n[1], n[2], n[3]);
    is_int(one->tat[2] - NOW, (uint64_t) 10000 * r.limit[1].interval,
           "nor is the hour charged for what the minute refused");
}


static void
addresses(void)
{
    ngx_opsauth_rate_key_t  a, b;

    static u_char  v4[4] = { 192, 0, 2, 7 };
    static u_char  v6[16] = { 0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 0, 0, 9 };

    ngx_opsauth_rate_addr_key(v4, 4, &a);
    ngx_opsauth_rate_addr_key(v6, 16, &b);
    ok(a.k[0] != 0 && b.k[0] != 0 && a.k[0] != b.k[0], "families differ");

    v6[15] = 1;
    ngx_opsauth_rate_addr_key(v6, 16, &a);
    ok(memcmp(&a, &b, sizeof(a)) == 0, "one network of 64 bits is one");

    v6[7] = 2;
    ngx_opsauth_rate_addr_key(v6, 16, &a);
    ok(memcmp(&a, &b, sizeof(a)) != 0, "another one is not");
}


int
main(void)
{
    memory = mmap(NULL, SLOTS * sizeof(ngx_opsauth_rate_slot_t),
                  PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        abort();
    }

    owners();
    figures();
    together();
    credits();
    processes();
    addresses();

    return done_testing();
}
