/*
 * The slot table with a million records: they behave as a thousand do, since
 * whatever is done for a key touches the one set that the key belongs to. The
 * sizes are those of docs/capacity.md.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <sys/mman.h>

#include "tap.h"

#include "../../src/shm/ngx_opsauth_set.c"
#include "../../src/shm/ngx_opsauth_set_room.c"
#include "../../src/shm/ngx_opsauth_table.c"
#include "../../src/shm/ngx_opsauth_table_grow.c"


#define PAGE    4096
/* three slots, as a credential with a few scopes has */
#define LEN     120
/* what docs/capacity.md says to count for it */
#define BYTES   320


typedef struct {
    u_char               *block;
    size_t                size;
    ngx_opsauth_table_t  *table;
} zone_t;


/* uniform, as digests are */

static u_char *
key_nth(uint64_t n)
{
    uint64_t       x;
    ngx_uint_t     i;
    static u_char  key[NGX_OPSAUTH_TABLE_KEY_LEN];

    for (i = 0; i < 4; i++) {
        x = (n * 4 + i + 1) * 0x9e3779b97f4a7c15ULL;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
        x ^= x >> 31;
        memcpy(key + i * 8, &x, 8);
    }

    return key;
}


/* placed so that the sets start with a page; those behind it lie across two */

static void
zone_new(zone_t *zone, size_t size)
{
    size_t  before;

    before = PAGE - sizeof(ngx_opsauth_table_t);

    zone->size = (before + size + PAGE - 1) / PAGE * PAGE;
    zone->block = mmap(NULL, zone->size, PROT_READ|PROT_WRITE,
                       MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE, -1, 0);

    if (zone->block == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }

    zone->table = ngx_opsauth_table_init(zone->block + before,
                                         zone->size - before);
}


static void
zone_free(zone_t *zone)
{
    (void) munmap(zone->block, zone->size);
}


/* what the nth record consists of */

static u_char *
data_nth(uint32_t n)
{
    static u_char  data[LEN];

    memset(data, (int) (n & 0xff), LEN);
    memcpy(data, &n, sizeof(n));

    return data;
}


static ngx_int_t
put_nth(zone_t *zone, uint32_t n, ngx_msec_t at)
{
    return ngx_opsauth_table_put(zone->table, key_nth(n), at, 1, 0,
                                 data_nth(n), LEN);
}


/* the nth record is there, and it is that one */

static int
has_nth(zone_t *zone, uint32_t n)
{
    ngx_opsauth_entry_t  entry;

    return ngx_opsauth_table_get(zone->table, key_nth(n), &entry) == NGX_OK
           && entry.len == LEN && memcmp(entry.data, data_nth(n), LEN) == 0;
}


/* in a zone of that many bytes a record; per 100 000, how many stay */

static uint32_t
share(zone_t *zone, uint32_t n, size_t bytes)
{
    uint32_t  i, found, wrong;

    zone_new(zone, n * bytes);

    for (i = 0, wrong = 0; i < n; i++) {
        wrong += put_nth(zone, i, 1) != NGX_OK;
    }

    for (i = 0, found = 0; i < n; i++) {
        found += has_nth(zone, i);
    }

    ok(wrong == 0, "%u records are taken at %u bytes each", (unsigned) n,
       (unsigned) bytes);

    return (uint32_t) ((uint64_t) found * 100000 / n);
}


static void
test_sizing(void)
{
    uint32_t                   here;
    zone_t                     zone;
    ngx_uint_t                 i;
    ngx_opsauth_table_stats_t  stats;

    /* bytes a record, and how many of 100 000 stay at least */
    static const struct { size_t bytes; uint32_t least; }  sizes[] = {
        { 192, 80000 }, { 256, 96000 }, { BYTES, 99000 }, { 384, 99900 }
    };

    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        here = share(&zone, 100000, sizes[i].bytes);
        ngx_opsauth_table_stats(zone.table, &stats);

        ok(here >= sizes[i].least, "%u of 100000 stay (%u evicted)",
           (unsigned) here, (unsigned) stats.evictions);
        ok(stats.evictions + stats.entries == 100000, "the others are counted");

        zone_free(&zone);
    }
}


/* the pages that a set lies on, opened or shut; a reader or writer of another
   page dies, and the neighbours on these two are compared */

static void
pages(ngx_opsauth_set_t *set, int how)
{
    u_char  *first, *last;

    first = (u_char *) ((uintptr_t) set / PAGE * PAGE);
    last = (u_char *) set + NGX_OPSAUTH_SET_SIZE;

    (void) mprotect(first, last - first, how);
}


/* what stands on the set's pages and is not the set's */

static uint64_t
neighbours(ngx_opsauth_set_t *set)
{
    u_char    *p, *first, *last, *end;
    uint64_t   sum;

    first = (u_char *) set;
    last = first + NGX_OPSAUTH_SET_SIZE;

    p = (u_char *) ((uintptr_t) first / PAGE * PAGE);
    end = (u_char *) (((uintptr_t) last + PAGE - 1) / PAGE * PAGE);

    for (sum = 0; p < end; p++) {
        if (p < first || p >= last) {
            sum = sum * 31 + *p;
        }
    }

    return sum;
}


static void
test_million(void)
{
    int                   good;
    zone_t                zone;
    uint32_t              i, n, million;
    uint64_t              others;
    ngx_opsauth_set_t    *set;
    ngx_opsauth_entry_t   entry;

    million = 1000000;

    n = share(&zone, million, BYTES);
    ok(n > 99000, "%u of 100000 stay", (unsigned) n);

    /* what touches another page than its own set's, dies; what is next to the
       set on these stays as it is */

    (void) mprotect(zone.block + PAGE, zone.size - PAGE, PROT_NONE);

    for (i = 0, good = 1; i < 1000; i++) {
        n = (uint32_t) tap_random_below(million);
        set = ngx_opsauth_table_set(zone.table, key_nth(n));

        pages(set, PROT_READ|PROT_WRITE);
        others = neighbours(set);

        (void) has_nth(&zone, n);
        good &= put_nth(&zone, n, 2) == NGX_OK && has_nth(&zone, n);

        ngx_opsauth_table_remove(zone.table, key_nth(n));
        good &= !has_nth(&zone, n);

        good &= ngx_opsauth_table_put(zone.table, key_nth(n), 3, 255, 1, NULL,
                                      0)
                == NGX_OK;
        good &= ngx_opsauth_table_get(zone.table, key_nth(n), &entry)
                == NGX_OK;

        good &= neighbours(set) == others;
        pages(set, PROT_NONE);
    }

    ok(good, "get, put and remove touch one set, whichever it is");

    /* nor does it take a walk to forget them all */

    ngx_opsauth_table_flush(zone.table);
    (void) mprotect(zone.block + PAGE, zone.size - PAGE,
                    PROT_READ|PROT_WRITE);

    for (i = 0, good = 1; i < million; i += 97) {
        good &= !has_nth(&zone, i);
    }

    ok(good, "a flush touches none");

    zone_free(&zone);
}


/* each set has its share of what is unknown, so garbage costs no record */

static void
test_garbage(void)
{
    zone_t                     zone;
    uint32_t                   i, n, bad;
    ngx_opsauth_table_stats_t  stats;

    n = 10000;

    zone_new(&zone, n * (BYTES + 128));

    for (i = 0, bad = 0; i < n; i++) {
        bad += put_nth(&zone, i, 1) != NGX_OK;
    }

    for (i = 0; i < 100 * n; i++) {
        bad += ngx_opsauth_table_put(zone.table, key_nth(1000000 + i), 2, 255,
                                     1, NULL, 0)
               != NGX_OK;
    }

    ngx_opsauth_table_stats(zone.table, &stats);

    ok(bad == 0 && stats.negatives <= stats.slots / 62 * 8,
       "a million unknown keys keep to %u slots of %u",
       (unsigned) stats.negatives, (unsigned) stats.slots);

    for (i = 0, bad = 0; i < n; i++) {
        bad += !has_nth(&zone, i);
    }

    ok(bad == stats.evictions && bad < n / 1000,
       "%u of %u records are missing, none of which anybody used",
       (unsigned) bad, (unsigned) n);

    zone_free(&zone);
}


int
main(void)
{
    (void) setvbuf(stdout, NULL, _IOLBF, 0);

    test_sizing();
    test_million();
    test_garbage();

    return done_testing();
}
