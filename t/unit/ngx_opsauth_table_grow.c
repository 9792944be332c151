/*
 * How the sets of the slot table come into use: where they lie, that hardly
 * anything is lost on the way, and that no invalidation is.
 */

#include "ngx_opsauth_table_test.h"


/* the totals, counted */

static int
tallied(ngx_opsauth_table_t *table)
{
    uint32_t            s;
    uint64_t            held[3];
    ngx_opsauth_map_t   map;
    ngx_opsauth_set_t  *set;

    held[0] = held[1] = held[2] = 0;

    for (s = 0; s < table->nsets; s++) {
        set = ngx_opsauth_table_nth(table, s);

        if (set->epoch != table->epoch || !in_use(table, s)) {
            continue;
        }

        ngx_opsauth_set_map(set, &map);

        held[0] += map.used - NGX_OPSAUTH_SLOT_FIRST;
        held[1] += __builtin_popcountll(map.starts);
        held[2] += __builtin_popcountll(set->negatives);
    }

    return memcmp(held, table->counters.held, sizeof(held)) == 0;
}


/* with each split one place more is in use, the next one, or none; and whoever
   doesn't go there stays */

static void
test_places(void)
{
    int                   bad;
    void                 *block;
    uint32_t              n, f, used, now, was[300];
    uint64_t              grown;
    ngx_opsauth_table_t  *table;

    bad = 0;

    for (n = 1; n <= 300; n++) {
        table = table_at(n, 9, &block);
        memset(was, 0, sizeof(was));

        for (f = 0, used = 1; f < n; f++) {
            bad += place_of(table, table->grown, f) != 0;
        }

        while (table->grown != 0) {
            grown = table->grown;

            (void) ngx_opsauth_table_split(table);

            if (ngx_opsauth_grown_next(table->grown) == 0) {
                bad += sets_in_use(table)
                       != ((n - 1)
                           >> ngx_opsauth_grown_level(table->grown)) + 1;
            }

            now = used;

            for (f = 0; f < n; f++) {
                if (place_of(table, table->grown, f) != was[f]) {
                    bad += place_of(table, table->grown, f) != used;
                    was[f] = used;
                    now = used + 1;
                }
            }

            used = now;
            bad += sets_in_use(table) != used || table->grown == grown;
        }

        bad += used != n;

        free(block);
    }

    ok(bad == 0, "sets come into use one after the other, up to 300 (%d)",
       bad);

    for (n = 1, bad = 0; n < 100000; n += 1 + n / 7) {
        grown = ngx_opsauth_table_grow_start(n);
        f = ((n - 1) >> ngx_opsauth_grown_level(grown)) + 1;
        bad += f > 16 || (n > 16 ? f < 9 : f != n);
    }

    ok(bad == 0, "9 to 16 from the start, or all (%d)", bad);
}


/* up to a third of the zone, all is found, or nearly all */

static void
test_growth(ngx_uint_t sets, size_t len, uint32_t most)
{
    int                         wrong, unsound;
    void                       *block;
    uint32_t                    i, j, n, lost, grown;
    ngx_opsauth_entry_t        *entry;
    ngx_opsauth_table_t        *table;
    ngx_opsauth_table_stats_t   stats;

    table = table_new(sets, &block);
    entry = malloc(sizeof(ngx_opsauth_entry_t));

    n = sets * 62 / 3 / ((48 + len + 63) / 64);
    wrong = unsound = 0;
    grown = 0;

    for (i = 0; i < n; i++) {
        wrong += put(table, 5 * i, i, len) != NGX_OK
                 || !has(table, 5 * i);

        if (i % (n / 10) == 0) {
            unsound += !sound(table) || !tallied(table);

            for (j = 0; j <= i; j++) {
                if (get(table, 5 * j, entry) == NGX_OK) {
                    wrong += !is(entry, 5 * j, j, len);
                }
            }
        }

        if (grown == 0 && table->grown == 0) {
            grown = i;
        }
    }

    for (i = 0, lost = 0; i < n; i++) {
        if (get(table, 5 * i, entry) == NGX_OK) {
            wrong += !is(entry, 5 * i, i, len);
        } else {
            lost++;
        }
    }

    ngx_opsauth_table_stats(table, &stats);

    ok(wrong == 0 && unsound == 0 && sound(table) && tallied(table),
       "%u sets, entries of %u bytes: all right (%d, %d)", (unsigned) sets,
       (unsigned) len, wrong, unsound);
    ok(lost == stats.evictions && lost <= most,
       "of %u, %u were lost", (unsigned) n, (unsigned) lost);
    ok(table->grown == 0 && grown > n / 4 && stats.slots == 62 * sets,
       "all sets in use with %u", (unsigned) grown);

    free(entry);
    free(block);
}


static void
test_dense(void)
{
    void                 *block;
    uint32_t              i, lost;
    ngx_opsauth_table_t  *table;

    table = table_new(16000, &block);

    for (i = 0; i < 5000; i += 5) {
        put(table, i, 1, 250);
    }

    for (i = 0, lost = 0; i < 5000; i += 5) {
        lost += !has(table, i);
    }

    ok(sets_in_use(table) <= 275, "1000 records of 5 slots are in %u sets",
       (unsigned) sets_in_use(table));
    ok(lost <= 3, "of 1000, %u were lost", (unsigned) lost);

    free(block);
}


/* what nobody asks for twice, takes no further set */

static void
test_garbage(void)
{
    void                 *block;
    uint32_t              i, before;
    ngx_opsauth_table_t  *table;

    table = table_new(1000, &block);

    for (i = 0; i < 500; i += 5) {
        put(table, i, 1, 140);
    }

    before = sets_in_use(table);

    for (i = 0; i < 20000; i++) {
        put_negative(table, 1000000 + i, 1);
    }

    ok(sets_in_use(table) < before + 20,
       "20000 unknown keys, used once: from %u sets to %u", (unsigned) before,
       (unsigned) sets_in_use(table));

    for (i = 0; i < 20000; i++) {
        put_negative(table, 1000000 + i % 3000, 1);
        (void) has(table, 1000000 + i % 3000);
    }

    ok(sets_in_use(table) > 250, "and 3000 that are repeated: %u",
       (unsigned) sets_in_use(table));

    free(block);
}


/* what takes its own place, or another's that nobody used twice, needs no split;
   what pushes a record out does */

static void
test_full(void)
{
    int                   good;
    void                 *block;
    uint32_t              i, last;
    ngx_opsauth_table_t  *table;

    table = table_at(32, 5, &block);

    for (i = 0; i < 31; i++) {
        put_first(table, 5 * i, 1, 80);
    }

    put_first(table, 0, 2, 80);
    put_first(table, 5, 2, 10);
    put_first(table, 500, 1, 0);
    put_first(table, 505, 1, 0);
    good = table->grown == ngx_opsauth_grown(5, 0);

    has(table, 505);
    memset(table->counters.held, 0, sizeof(table->counters.held));
    put_negative(table, 510, 1);

    ok(good && table->grown != ngx_opsauth_grown(5, 0)
       && table->counters.negative_evictions + table->counters.evictions == 1,
       "a full set is split before somebody is pushed out");

    for (i = 1, last = 0; i < 31; i++) {
        last += has(table, 5 * i);
    }

    ok(last == 30, "so nobody was (%u)", (unsigned) last);

    free(block);
}


/* marks, kinds, and who is next to go */

static void
test_moved(void)
{
    int                   good;
    void                 *block;
    uint32_t              i, s, n, marked, order[62];
    ngx_uint_t            slot;
    ngx_opsauth_set_t    *set;
    ngx_opsauth_head_t   *head;
    ngx_opsauth_entry_t   entry;
    ngx_opsauth_table_t  *table;

    table = table_at(4, 2, &block);

    /* all in one set; who was put first is the first to go */

    for (i = 0; i < 40; i++) {
        put_first(table, 5 * i, 77 + i, 10);
    }

    for (i = 40; i < 44; i++) {
        put_first(table, 5 * i, 1, 0);
    }

    for (i = 0; i < 44; i += 3) {
        has(table, 5 * i);
    }

    /* the hand amid them */
    set = ngx_opsauth_table_nth(table, 0);
    set->hand = 20;

    for (slot = 2; slot < 46; slot++) {
        head = (ngx_opsauth_head_t *) ngx_opsauth_set_slot(set, slot);

        for (i = 0; i < 43 && memcmp(key_of(5 * i), head->key, 32); i++) {
            /* void */
        }

        order[slot - 2] = i;
    }

    while (table->grown != 0) {
        (void) ngx_opsauth_table_split(table);
    }

    good = sound(table) && tallied(table);
    marked = 0;

    for (s = 0; s < 4; s++) {
        set = ngx_opsauth_table_nth(table, s);
        n = 0;

        for (slot = 2; slot < 64 && set->tags[slot]; slot++) {
            head = (ngx_opsauth_head_t *) ngx_opsauth_set_slot(set, slot);

            while (n < 44 && memcmp(key_of(5 * order[n]), head->key, 32) != 0)
            {
                n++;
            }

            good &= n < 44;
            good &= (slot < set->hand) == (n < 18);

            i = order[n];
            good &= !(set->marks >> slot & 1) == (i % 3 != 0);
            marked += set->marks >> slot & 1;
        }

        good &= slot > 6;
    }

    ok(good && marked == 15, "order, marks and hands are as they were");

    for (i = 0, good = 1; i < 40; i++) {
        good &= get(table, 5 * i, &entry) == NGX_OK
                && is(&entry, 5 * i, 77 + i, 10);
    }

    for (i = 40; i < 44; i++) {
        good &= get(table, 5 * i, &entry) == NGX_OK && entry.type == 255;
    }

    ok(good && table->counters.held[2] == 4, "and what they are");

    free(block);
}


/*
 * A fill notes a count, of the key's set or of the one that an old word leads
 * to; whatever happens then, it finds another one if its key was invalidated.
 */

static void
test_counts(void)
{
    int                   missed, same, refused, stale;
    void                 *block;
    uint32_t              i, id, moves, stays;
    uint64_t              words[64], words_n, count, noted[64], old[64];
    ngx_uint_t            round, gone[64];
    ngx_opsauth_table_t  *table;

    missed = same = refused = stale = 0;
    moves = stays = 0;

    for (round = 0; round < 400; round++) {
        table = table_at(13, 4, &block);
        words[0] = table->grown;
        words_n = 1;

        for (i = 0; i < 64; i++) {
            noted[i] = old[i] = 0;
            gone[i] = 0;
        }

        for (i = 0; i < 300; i++) {
            id = rnd(64);

            switch (rnd(i < 10 ? 3 : 5)) {

            case 0:
                ngx_opsauth_table_remove(table, key_of(id));
                gone[id] = 1;
                break;

            case 1:
                noted[id] = ngx_opsauth_table_count(table, key_of(id));
                old[id] = set_at(table, words[rnd(words_n)], id)->count;
                gone[id] = 0;
                break;

            case 2:
                if (rnd(8) == 0 && table->grown != 0) {
                    (void) ngx_opsauth_table_split(table);
                    words[words_n++] = table->grown;
                }

                break;

            case 3:
                if (rnd(20) == 0) {             /* somebody dies */
                    set_at(table, table->grown, id)->seq |= 1;
                    (void) put(table, 1000 + rnd(100), 1, 20);
                }

                break;

            default:
                count = ngx_opsauth_table_count(table, key_of(id));
                missed += gone[id] && count == noted[id];
                stale += gone[id] && count == old[id];
            }
        }

        free(block);
    }

    ok(missed == 0, "an invalidation since is always seen (%d)", missed);
    ok(stale == 0, "also by who had an old word (%d)", stale);

    /* and a split alone is none */

    for (id = 0; id < 200; id += 5) {
        table = table_at(2, 1, &block);

        for (i = 0; i < 3; i++) {
            ngx_opsauth_table_remove(table, key_of(1000 + i));
        }

        count = ngx_opsauth_table_count(table, key_of(id));
        words[0] = table->grown;
        (void) ngx_opsauth_table_split(table);

        if (set_at(table, table->grown, id) != set_at(table, words[0], id)) {
            moves++;
        } else {
            stays++;
        }

        refused += count == 0
                   || ngx_opsauth_table_count(table, key_of(id)) != count;

        ngx_opsauth_table_remove(table, key_of(id));
        same += ngx_opsauth_table_count(table, key_of(id)) == count;

        free(block);
    }

    ok(refused == 0 && same == 0 && moves > 5 && stays > 5,
       "a split changes no count, for %u that move and %u that stay",
       (unsigned) moves, (unsigned) stays);
}


/* who died in the set that the fill's own put splits may have been about to
   remove that very record */

static void
test_torn(void)
{
    int                   bad;
    void                 *block;
    uint32_t              id;
    uint64_t              count, grown, moves;
    ngx_opsauth_table_t  *table;

    bad = 0;
    moves = 0;

    for (id = 0; id < 200; id += 5) {
        table = table_at(2, 1, &block);
        grown = table->grown;

        put(table, 1000, 1, 100);
        count = ngx_opsauth_table_count(table, key_of(id));

        ngx_opsauth_table_nth(table, 0)->seq++;
        table->counters.held[0] = 1000;         /* a split is due */

        bad += put(table, id, 2, 100) != NGX_DECLINED || has(table, id)
               || ngx_opsauth_table_count(table, key_of(id)) == count
               || table->grown == grown || has(table, 1000) || !sound(table)
               || table->counters.torn != 1;
        bad += put(table, id, 2, 100) != NGX_OK || !has(table, id);

        moves += set_at(table, table->grown, id) != set_at(table, grown, id);
        free(block);
    }

    ok(bad == 0 && moves > 5 && moves < 35,
       "no fill is taken in that finds a dead writer by its split (%d)", bad);
}


static void
test_flush(void)
{
    int                   found;
    void                 *block;
    uint32_t              i, count;
    uint64_t              grown;
    ngx_opsauth_table_t  *table;

    table = table_new(100, &block);

    for (i = 0; i < 300; i++) {
        put(table, 5 * i, 1, 140);
    }

    grown = table->grown;
    ngx_opsauth_table_flush(table);
    ok(grown != 0 && grown != ngx_opsauth_table_grow_start(100)
       && table->grown == grown, "a flush leaves the sets in use");

    for (found = 0; table->grown != 0; ) {
        (void) ngx_opsauth_table_split(table);

        for (i = 0; i < 300; i++) {
            found += has(table, 5 * i);
        }
    }

    ok(found == 0 && sound(table) && tallied(table)
       && table->counters.held[0] == 0, "what it dropped, no split brings back");

    for (i = 0, count = 0; i < 300; i++) {
        put(table, 5 * i, 2, 140);
        count += has(table, 5 * i);
    }

    ok(count == 300 && sound(table) && tallied(table), "life goes on");

    free(block);
}


int
main(void)
{
    (void) setvbuf(stdout, NULL, _IOLBF, 0);

    test_places();
    test_growth(40, 250, 3);
    test_growth(100, 120, 2);
    test_growth(333, 250, 8);
    test_growth(500, 900, 45);
    test_dense();
    test_garbage();
    test_full();
    test_moved();
    test_counts();
    test_torn();
    test_flush();

    return done_testing();
}
