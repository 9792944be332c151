/*
 * The slot table: layout, bounds, eviction, and random operations against a
 * naive model.
 */

#include "ngx_opsauth_table_test.h"


#define KEYS  240                       /* of the model */


static void
test_layout(void)
{
    int                   i, good, refused;
    void                 *block;
    size_t                size, min;
    u_char               *heap;
    uint32_t              id;
    ngx_opsauth_table_t  *table;

    min = ngx_opsauth_table_size_min();
    block = calloc(1, min);

    ok(ngx_opsauth_table_init(block, min - 1) == NULL, "too small a block");
    ok(ngx_opsauth_table_attach(block, min) == NULL, "no table there yet");

    table = ngx_opsauth_table_init(block, min);
    ok(table != NULL, "the smallest block");
    free(block);

    good = 1;
    size = block_size(3) - 64;          /* one set less, if unaligned */

    for (i = 0; i < 64; i += 8) {
        heap = calloc(1, size + i);             /* ASan guards its end */
        table = ngx_opsauth_table_init(heap + i, size);

        good &= (uintptr_t) table % 64 == 0;

        for (id = 0; id < 60; id += 5) {        /* every set */
            good &= put(table, id, 1, MAX) == NGX_OK && has(table, id);
        }

        good &= ngx_opsauth_table_attach(heap + i, size) == table;
        good &= has(table, 55);

        free(heap);
    }

    ok(good, "any alignment; what stands there is attached");

    heap = calloc(1, size);
    table = ngx_opsauth_table_init(heap, size);

    refused = ngx_opsauth_table_attach(heap, size - 1) == NULL
              && ngx_opsauth_table_attach(heap, size + 1) == NULL
              && ngx_opsauth_table_attach(heap, min - 1) == NULL;
    ok(refused, "attach refuses another size");

    table->version++;
    ok(ngx_opsauth_table_attach(heap, size) == NULL, "another version");
    table->version--;

    table->nsets--;
    ok(ngx_opsauth_table_attach(heap, size) == NULL, "another geometry");
    ok(put(table, 1, 1, 100) == NGX_DECLINED && !has(table, 1),
       "a damaged geometry turns the table off");
    table->nsets++;

    free(heap);
}


static void
test_lengths(void)
{
    int                   good;
    void                 *block;
    size_t                len;
    u_char                data[MAX + 1];
    ngx_opsauth_entry_t  *entry;
    ngx_opsauth_table_t  *table;

    table = table_new(1, &block);
    entry = malloc(sizeof(ngx_opsauth_entry_t));
    memset(data, 'x', sizeof(data));

    good = 1;

    for (len = 1; len <= MAX; len++) {
        good &= put(table, 7, len, len) == NGX_OK;
        good &= get(table, 7, entry) == NGX_OK && is(entry, 7, len, len);
        good &= sound(table);

        if (len % 3 == 0) {
            ngx_opsauth_table_remove(table, key_of(7));
            good &= !has(table, 7) && sound(table);
        }
    }

    ok(good, "every length comes back, and leaves nothing behind");

    ok(ngx_opsauth_table_put(table, key_of(1), 1, 1, 0, data, 0)
       == NGX_DECLINED, "no empty record");
    ok(ngx_opsauth_table_put(table, key_of(1), 1, 1, 0, data, MAX + 1)
       == NGX_DECLINED, "no record beyond the bound");
    ok(ngx_opsauth_table_put(table, key_of(1), 1, 1, 1, data, 17)
       == NGX_DECLINED, "no negative entry beyond one slot");

    good = put_negative(table, 1, 5) == NGX_OK
           && get(table, 1, entry) == NGX_OK && entry->len == 0
           && entry->type == 255 && entry->fetched_at == 5;
    ok(good, "a negative entry needs no data");

    put(table, 2, 100, 50);
    ok(put(table, 2, 99, 60) == NGX_DECLINED
       && put_negative(table, 2, 99) == NGX_DECLINED
       && get(table, 2, entry) == NGX_OK && is(entry, 2, 100, 50),
       "an older one doesn't replace");
    ok(put_negative(table, 2, 100) == NGX_OK
       && get(table, 2, entry) == NGX_OK && entry->type == 255,
       "one as new does");

    ngx_opsauth_table_put(table, key_of(3), (ngx_msec_t) -5, 1, 0, data, 9);
    ok(put(table, 3, 5, 10) == NGX_OK && get(table, 3, entry) == NGX_OK
       && is(entry, 3, 5, 10), "newer is a signed difference");

    free(entry);
    free(block);
}


typedef struct {
    int       stands;
    int       negative;
    uint32_t  version;
    size_t    len;
} model_t;


static void
test_model(ngx_uint_t sets, uint32_t keys, size_t len_max, ngx_uint_t ops,
    ngx_uint_t crowded)
{
    int                   wrong, unsound, counts;
    void                 *block;
    size_t                len;
    model_t               model[KEYS], *m;
    uint32_t              id, version, epoch;
    uint64_t              count;
    uint64_t              lost;
    ngx_int_t             rc;
    ngx_uint_t            i, op;
    ngx_opsauth_table_t  *table;
    ngx_opsauth_entry_t  *entry;

    table = table_new(sets, &block);
    entry = malloc(sizeof(ngx_opsauth_entry_t));
    memset(model, 0, sizeof(model));

    wrong = unsound = counts = 0;
    lost = 0;

    for (i = 1; i <= ops; i++) {
        id = rnd(keys);
        m = &model[id];
        op = (i > ops - keys) ? 50 : rnd(100);
        version = i;

        if (i > ops - keys) {           /* at the end, each key once */
            id = ops - i;
            m = &model[id];
        }

        count = ngx_opsauth_table_count(table, key_of(id));
        epoch = ngx_opsauth_table_epoch(table);

        if (op < 30 || op > 92) {
            len = 1 + rnd(rnd(4) ? ngx_min(len_max, 140) : len_max);

            if (m->stands && rnd(8) == 0) {
                version = m->version - 1;
            }

            if (op > 92 && !crowded && id >= NGX_OPSAUTH_TABLE_NEGATIVES) {
                op = 0;                 /* would be beyond the share */
            }

            if (op > 92) {
                len = 0;
                rc = put_negative(table, id, version);
            } else {
                rc = put(table, id, version, len);
            }

            if (rc == NGX_OK) {
                m->stands = 1;
                m->negative = (op > 92);
                m->version = version;
                m->len = len;

            } else if (!m->stands || version == i) {
                wrong++;
            }

        } else if (op < 80) {

            if (get(table, id, entry) == NGX_OK) {
                wrong += !m->stands
                         || (m->negative
                             ? entry->type != 255 || entry->len
                               || entry->fetched_at != m->version
                             : !is(entry, id, m->version, m->len));

            } else if (m->stands) {
                m->stands = 0;
                lost++;
            }

        } else if (op < 92) {
            ngx_opsauth_table_remove(table, key_of(id));
            m->stands = 0;
            counts += ngx_opsauth_table_count(table, key_of(id)) <= count;
            count = ngx_opsauth_table_count(table, key_of(id));

        } else if (rnd(20) == 0) {
            ngx_opsauth_table_flush(table);
            memset(model, 0, sizeof(model));
            counts += ngx_opsauth_table_epoch(table) == epoch;
        }

        counts += ngx_opsauth_table_count(table, key_of(id)) < count;
        unsound += (i % 16 == 0) && !sound(table);
    }

    ok(wrong == 0, "model %s: nothing wrong, removed or replaced is found "
       "(%d)", crowded ? "crowded" : "roomy", wrong);
    ok(unsound == 0, "and the sets are sound (%d)", unsound);
    ok(counts == 0, "and invalidations are counted (%d)", counts);

    if (crowded) {
        ok(lost && lost <= evictions(table), "what is missing was evicted");
    } else {
        ok(lost == 0 && evictions(table) == 0, "and nothing is missing");
    }

    free(entry);
    free(block);
}


static void
test_share(void)
{
    int                        bad;
    void                      *block;
    uint32_t                   i, lost;
    ngx_opsauth_table_t       *table;
    ngx_opsauth_table_stats_t  stats;

    table = table_new(1, &block);

    for (i = 0; i < 15; i++) {
        put(table, i, 1, 140);
    }

    bad = 0;

    for (i = 1000; i < 4000; i++) {
        bad += put_negative(table, i, 1) != NGX_OK;
        ngx_opsauth_table_stats(table, &stats);
        bad += stats.negatives > NGX_OPSAUTH_TABLE_NEGATIVES;
    }

    for (i = 0, lost = 0; i < 15; i++) {
        lost += !has(table, i);
    }

    ok(bad == 0 && stats.negatives == NGX_OPSAUTH_TABLE_NEGATIVES,
       "negative entries keep to their share");
    ok(lost == 0 && stats.evictions == 0, "and evict each other only");

    ngx_opsauth_table_nth(table, 0)->marks = 0;

    for (i = 15; i < 20; i++) {
        put(table, i, 1, 140);
    }

    ngx_opsauth_table_stats(table, &stats);
    ok(stats.evictions == 0 && stats.entries == 20 + stats.negatives
       && stats.used == 60 + stats.negatives,
       "a record takes their place");

    for (i = 3000, bad = 0; i < 3500; i++) {
        bad += put_negative(table, i, 1) != NGX_OK || !has(table, i);
    }

    for (i = 20, lost = 0; i--; ) {
        lost += !has(table, i);
    }

    ok(bad == 0 && lost <= 1, "in a full set they cost one record (%u)",
       (unsigned) lost);

    free(block);
}


/* an entry of the size of the one that goes: as if that were taken out first */

static void
test_replace(void)
{
    int                         good;
    void                       *block;
    uint32_t                    i, lost;
    ngx_opsauth_table_t        *table;
    ngx_opsauth_table_stats_t   stats;

    table = table_new(1, &block);

    for (i = 0; i < 31; i++) {                  /* two slots each: full */
        (void) put(table, i, 1, 80);
    }

    good = put(table, 100, 1, 80) == NGX_OK && has(table, 100)
           && sound(table);
    good &= put(table, 101, 1, 70) == NGX_OK && has(table, 101)
            && sound(table);

    for (i = 0, lost = 0; i < 31; i++) {
        lost += !has(table, i);
    }

    ngx_opsauth_table_stats(table, &stats);

    ok(good && lost == 2 && !has(table, 0) && !has(table, 1),
       "the two that the hand came to gave their places");
    ok(stats.evictions == 2 && stats.negative_evictions == 0
       && stats.entries == 31, "and count as evicted");

    free(block);

    /* one that is known to be unknown, but in use as all others are */

    table = table_new(1, &block);

    good = put_negative(table, 0, 1) == NGX_OK && has(table, 0);

    for (i = 1; i < 62; i++) {
        good &= put(table, i, 1, 16) == NGX_OK && has(table, i);
    }

    good &= put(table, 100, 1, 16) == NGX_OK && has(table, 100)
            && !has(table, 0) && sound(table);

    ngx_opsauth_table_stats(table, &stats);

    ok(good && stats.negatives == 0 && stats.entries == 62
       && stats.evictions == 0 && stats.negative_evictions == 1,
       "a record takes the place of a negative entry");

    good = put(table, 101, 1, 80) == NGX_OK && has(table, 101)
           && sound(table);

    ngx_opsauth_table_stats(table, &stats);

    ok(good && stats.used == 62 && stats.entries == 61 && stats.evictions == 2,
       "one that takes the place of two counts as one");

    free(block);
}


/* who goes is settled by use and by where the hand is, whatever went before */

static void
test_hand(void)
{
    int                   good;
    void                 *block;
    uint32_t              i;
    ngx_opsauth_table_t  *table;

    table = table_new(1, &block);

    good = put_negative(table, 0, 1) == NGX_OK && has(table, 0);

    for (i = 1; i < 62; i++) {
        good &= put(table, i, 1, 16) == NGX_OK;
    }

    good &= put(table, 100, 1, 16) == NGX_OK && has(table, 100)
            && sound(table);

    ok(good && has(table, 0) && !has(table, 1),
       "a negative entry that is used stays, a record that is not goes");

    free(block);

    table = table_new(1, &block);

    for (i = 0, good = 1; i < 62; i++) {
        good &= put(table, i, 1, 16) == NGX_OK;
    }

    good &= put(table, 100, 1, 16) == NGX_OK
            && put(table, 101, 1, 16) == NGX_OK;

    /* the hand is at 2, behind what is taken out */

    ngx_opsauth_table_remove(table, key_of(100));

    good &= put(table, 102, 1, 16) == NGX_OK
            && put(table, 103, 1, 16) == NGX_OK && sound(table);

    ok(good && has(table, 101) && has(table, 102) && !has(table, 2)
       && has(table, 3), "who is next stays so when one behind the hand goes");

    free(block);
}


static void
test_clock(void)
{
    void                 *block;
    uint32_t              i, j, lost, cold;
    ngx_opsauth_table_t  *table;

    table = table_new(1, &block);

    for (i = 0; i < 20; i++) {
        put(table, i, 1, 140);          /* 3 slots each: 60 of 62 */
    }

    lost = 0;

    for (i = 0; i < 3000; i++) {

        if (i % 5 == 0) {
            for (j = 0; j < 10; j++) {
                lost += !has(table, j);
            }
        }

        put(table, 1000 + i, 1, 140);
    }

    for (j = 10, cold = 0; j < 20; j++) {
        cold += has(table, j);
    }

    ok(lost == 0, "a flood doesn't evict what is used (%u)", (unsigned) lost);
    ok(cold == 0, "but what isn't");

    /* nobody used: first in, first out */

    ngx_opsauth_table_flush(table);

    for (i = 0, lost = 0; i < 200; i++) {
        put(table, i, 1, 140);

        if (i >= 20 && (i % 20) == 19) {
            for (j = i - 19; j <= i; j++) {
                lost += !has(table, j);
            }

            ngx_opsauth_table_nth(table, 0)->marks = 0;
        }
    }

    ok(lost == 0, "a new entry is the last to go (%u)", (unsigned) lost);

    table->epoch = 0xffffffff;
    ngx_opsauth_table_flush(table);
    ok(!has(table, 199) && ngx_opsauth_table_epoch(table) != 0,
       "the epoch of fresh memory never comes");

    put(table, 500, 1, 100);
    has(table, 500);
    put(table, 500, 2, 200);

    for (i = 600; i < 630; i++) {
        put(table, i, 1, 140);
    }

    ok(has(table, 500), "a mark outlives a change of size");

    free(block);
}


static void
test_torn(void)
{
    void                       *block;
    uint64_t                    count;
    ngx_opsauth_set_t          *set;
    ngx_opsauth_table_t        *table;
    ngx_opsauth_table_stats_t   stats;

    table = table_new(1, &block);
    set = ngx_opsauth_table_nth(table, 0);

    put(table, 1, 1, 100);
    put(table, 2, 1, 100);

    set->seq++;
    count = ngx_opsauth_table_count(table, key_of(1));

    ok(!has(table, 1), "nothing is read from a torn set");
    ok(put(table, 3, 1, 100) == NGX_DECLINED,
       "the fill that finds it is refused");
    ok(!has(table, 1) && !has(table, 2) && !has(table, 3) && sound(table),
       "and the set is cleared");
    ok(ngx_opsauth_table_count(table, key_of(1)) != count,
       "so are fills under way");

    ngx_opsauth_table_stats(table, &stats);
    ok(stats.torn == 1 && stats.entries == 0, "it is counted");
    ok(put(table, 3, 1, 100) == NGX_OK && has(table, 3), "life goes on");

    set->seq++;
    ngx_opsauth_table_remove(table, key_of(9));
    ok(!has(table, 3) && sound(table)
       && ngx_opsauth_table_count(table, key_of(1)) == count + 3,
       "remove clears it too");

    free(block);
}


int
main(void)
{
    (void) setvbuf(stdout, NULL, _IOLBF, 0);

    test_layout();
    test_lengths();
    test_model(3, KEYS, MAX, 100000, 1);
    test_model(3, 20, 140, 50000, 0);
    test_share();
    test_replace();
    test_hand();
    test_clock();
    test_torn();

    return done_testing();
}
