/*
 * For the tests of the slot table: its files are included with their memory
 * functions and atomic stores replaced, so that a test can let something happen
 * exactly in the middle of a copy: another writer's work, or the death of this
 * one.
 */

#ifndef NGX_OPSAUTH_TABLE_TEST_H
#define NGX_OPSAUTH_TABLE_TEST_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "tap.h"


static void *test_copy(void *dst, const void *src, size_t n);
static void test_step(void);

#undef ngx_memcpy
#undef ngx_memmove
#undef ngx_memzero
#define ngx_memcpy(dst, src, n)   (void) test_copy(dst, src, n)
#define ngx_memmove(dst, src, n)  (test_step(), (void) memmove(dst, src, n))
#define ngx_memzero(buf, n)       (test_step(), (void) memset(buf, 0, n))
#define __atomic_store_n(p, v, order)                                         \
    (test_step(), __atomic_store_n(p, v, order))

#include "../../src/shm/ngx_opsauth_set.c"
#include "../../src/shm/ngx_opsauth_set_room.c"
#include "../../src/shm/ngx_opsauth_table.c"
#include "../../src/shm/ngx_opsauth_table_grow.c"


#define MAX  NGX_OPSAUTH_TABLE_DATA_MAX


static void  (*test_hook)(void);        /* once, in the middle of a copy */
static int     test_death;              /* the step that kills, or 0 */


static void
test_step(void)
{
    if (test_death && --test_death == 0) {
        (void) kill(getpid(), SIGKILL);
    }
}


static void *
test_copy(void *dst, const void *src, size_t n)
{
    size_t   half;
    void   (*hook)(void);

    test_step();

    hook = test_hook;

    if (hook == NULL || n <= NGX_OPSAUTH_TABLE_KEY_LEN) {
        return memcpy(dst, src, n);
    }

    test_hook = NULL;
    half = n / 2;

    memcpy(dst, src, half);
    hook();
    memcpy((u_char *) dst + half, (const u_char *) src + half, n - half);

    return dst;
}


static uint32_t
rnd(uint32_t n)
{
    return (uint32_t) tap_random_below(n);
}


/* uniform in its first bytes, few different tags, and in families of five:
   each other member differs from the first in one bit, in another word */

static u_char *
key_of(uint32_t id)
{
    u_char             *key;
    uint64_t            x;
    ngx_uint_t          i;
    static u_char       keys[4][NGX_OPSAUTH_TABLE_KEY_LEN];
    static ngx_uint_t   n;

    /* one may be in use when a hook asks for another */
    key = keys[n++ % 4];

    x = (id / 5 + 1) * 0x9e3779b97f4a7c15ULL;

    for (i = 0; i < NGX_OPSAUTH_TABLE_KEY_LEN; i++) {
        x ^= x >> 29;
        x *= 0xbf58476d1ce4e5b9ULL;
        key[i] = (u_char) (x >> 56);
    }

    key[8] = (u_char) (id / 5 % 4);

    if (id % 5) {
        key[id % 5 * 8 - 1] ^= 1;
    }

    return key;
}


/* what a record of this key and version consists of, to the last byte */

static u_char *
data_of(uint32_t id, uint32_t version, size_t len)
{
    size_t         i;
    uint32_t       x;
    static u_char  data[MAX];

    x = id * 2654435761u + version * 40503u + 1;

    for (i = 0; i < len; i++) {
        x = x * 1664525u + 1013904223u;
        data[i] = (u_char) (x >> 24);
    }

    if (len >= 8) {
        memcpy(data, &id, 4);
        memcpy(data + 4, &version, 4);
    }

    return data;
}


static ngx_int_t
put(ngx_opsauth_table_t *table, uint32_t id, uint32_t version, size_t len)
{
    return ngx_opsauth_table_put(table, key_of(id), version, 1 + id % 200, 0,
                                 data_of(id, version, len), len);
}


static ngx_inline ngx_int_t
put_negative(ngx_opsauth_table_t *table, uint32_t id, uint32_t version)
{
    return ngx_opsauth_table_put(table, key_of(id), version, 255, 1, NULL, 0);
}


static ngx_int_t
get(ngx_opsauth_table_t *table, uint32_t id, ngx_opsauth_entry_t *entry)
{
    return ngx_opsauth_table_get(table, key_of(id), entry);
}


static int
is(ngx_opsauth_entry_t *entry, uint32_t id, uint32_t version, size_t len)
{
    return entry->len == len && entry->fetched_at == version
           && entry->type == 1 + id % 200
           && memcmp(entry->data, data_of(id, version, len), len) == 0;
}


static int
has(ngx_opsauth_table_t *table, uint32_t id)
{
    ngx_opsauth_entry_t  entry;

    return get(table, id, &entry) == NGX_OK;
}


static size_t
block_size(ngx_uint_t sets)
{
    return ngx_opsauth_table_size_min() + (sets - 1) * NGX_OPSAUTH_SET_STRIDE;
}


static ngx_opsauth_table_t *
table_new(ngx_uint_t sets, void **block)
{
    *block = calloc(1, block_size(sets));

    return ngx_opsauth_table_init(*block, block_size(sets));
}


static ngx_inline uint64_t
evictions(ngx_opsauth_table_t *table)
{
    ngx_opsauth_table_stats_t  stats;

    ngx_opsauth_table_stats(table, &stats);

    return stats.evictions + stats.negative_evictions;
}


/* is this place a set's that is in use; where is the key's */

static ngx_inline int
in_use(ngx_opsauth_table_t *table, uint32_t place)
{
    uint32_t  f, node;

    for (f = 0; f < table->nsets; f++) {
        node = ngx_opsauth_table_node(table->grown, f);

        if (ngx_opsauth_table_place(table->nsets, node) == place) {
            return 1;
        }
    }

    return 0;
}


static ngx_inline uint32_t
sets_in_use(ngx_opsauth_table_t *table)
{
    uint32_t  f, n;

    for (f = 0, n = 0; f < table->nsets; f++) {
        n += ngx_opsauth_table_node(table->grown, f) == f;
    }

    return n;
}


/* the invariants of ngx_opsauth_set.h, computed otherwise; and each entry is
   where it is looked for. Sets that aren't in use may hold anything */

static int
sound(ngx_opsauth_table_t *table)
{
    u_char              *p;
    uint64_t             starts;
    uint32_t             s;
    ngx_uint_t           i, slot, n, end, negatives;
    ngx_opsauth_set_t   *set;
    ngx_opsauth_head_t  *head;

    for (s = 0; s < table->nsets; s++) {
        set = ngx_opsauth_table_nth(table, s);

        if (table->grown != 0 && !in_use(table, s)) {
            continue;
        }

        if (set->seq & 1) {
            return 0;
        }

        if (set->epoch != table->epoch) {
            continue;
        }

        starts = 0;
        negatives = 0;
        slot = NGX_OPSAUTH_SLOT_FIRST;

        while (slot < NGX_OPSAUTH_SET_SLOTS && set->tags[slot]) {

            p = (u_char *) set + slot * 64;
            head = (ngx_opsauth_head_t *) p;
            n = (48 + head->len + 63) / 64;
            starts |= ngx_opsauth_bit(slot);

            if (!(set->negatives & ngx_opsauth_bit(slot))
                != (head->type != 255))
            {
                return 0;
            }

            negatives += head->type == 255;

            if (ngx_opsauth_table_set(table, head->key) != set) {
                return 0;
            }

            for (i = 48 + head->len; i < n * 64; i++) {
                if (p[i]) {
                    return 0;
                }
            }

            if (set->tags[slot++] == NGX_OPSAUTH_TAG_NEXT) {
                return 0;
            }

            while (--n) {
                if (slot >= NGX_OPSAUTH_SET_SLOTS
                    || set->tags[slot++] != NGX_OPSAUTH_TAG_NEXT)
                {
                    return 0;
                }
            }
        }

        for (end = slot; slot < NGX_OPSAUTH_SET_SLOTS; slot++) {
            if (set->tags[slot]) {
                return 0;
            }
        }

        for (p = (u_char *) set + end * 64; p < (u_char *) set + 4096; p++) {
            if (*p) {
                return 0;
            }
        }

        if (negatives > NGX_OPSAUTH_TABLE_NEGATIVES
            || (set->negatives & ~starts) || (set->marks & ~starts)
            || set->hand < NGX_OPSAUTH_SLOT_FIRST || set->hand > end)
        {
            return 0;
        }
    }

    return 1;
}


/* a table of which that many bits of the final number are not used yet */

static ngx_inline ngx_opsauth_table_t *
table_at(ngx_uint_t sets, ngx_uint_t level, void **block)
{
    ngx_opsauth_table_t  *table;

    table = table_new(sets, block);
    table->grown = ngx_opsauth_grown(level, 0);

    return table;
}


static ngx_inline uint32_t
place_of(ngx_opsauth_table_t *table, uint64_t grown, uint32_t final)
{
    return ngx_opsauth_table_place(table->nsets,
                                   ngx_opsauth_table_node(grown, final));
}


/* where a reader looks that still has this word */

static ngx_inline ngx_opsauth_set_t *
set_at(ngx_opsauth_table_t *table, uint64_t grown, uint32_t id)
{
    return ngx_opsauth_table_nth(table, place_of(table, grown,
                                     ngx_opsauth_table_final(table->nsets,
                                                             key_of(id))));
}


static ngx_inline int
has_at(ngx_opsauth_table_t *table, uint64_t grown, uint32_t id)
{
    ngx_opsauth_entry_t  entry;

    return ngx_opsauth_set_get(set_at(table, grown, id), &table->epoch,
                               key_of(id), &entry)
           == NGX_OK;
}


/* into the first set, the only one in use, without a split */

static ngx_inline void
put_first(ngx_opsauth_table_t *table, uint32_t id, uint32_t version,
    size_t len)
{
    ngx_uint_t          i;
    ngx_opsauth_set_t  *set;

    memset(table->counters.held, 0, sizeof(table->counters.held));

    if (len) {
        put(table, id, version, len);
    } else {
        put_negative(table, id, version);
    }

    set = ngx_opsauth_table_nth(table, 0);

    for (i = 0; i < 3; i++) {
        table->counters.held[i] = set->held[i];
    }
}


#endif /* NGX_OPSAUTH_TABLE_TEST_H */
