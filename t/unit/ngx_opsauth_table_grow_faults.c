/*
 * The sets of the slot table coming into use where things go wrong: readers in
 * the middle of a split, writers killed in it, damage to the word that says how
 * far it is. Nothing that was invalidated comes back.
 */

#include "ngx_opsauth_table_test.h"


/* any word: nothing outside the table, and none of another key */

static void
test_damage(void)
{
    int                   bad;
    void                 *block;
    uint32_t              i, id, n, f;
    uint64_t              word;
    ngx_uint_t            round;
    ngx_opsauth_entry_t   entry;
    ngx_opsauth_table_t  *table;

    bad = 0;

    for (round = 0; round < 2000; round++) {
        n = 1 + rnd(60);
        table = table_new(n, &block);

        for (i = 0; i < 100; i++) {

            if (i % 20 == 10) {
                word = (uint64_t) rnd(rnd(2) ? 40 : 0x7fffffff) << 32
                       | rnd(rnd(2) ? 70 : 0x7fffffff) << rnd(2);
                table->grown = rnd(2) ? word
                                      : table->grown ^ (uint64_t) 1 << rnd(64);
            }

            f = rnd(n);
            bad += place_of(table, table->grown, f) >= n;

            id = rnd(200);

            switch (rnd(4)) {
            case 0:
                ngx_opsauth_table_remove(table, key_of(id));
                bad += has(table, id);
                break;
            case 1:
                put_negative(table, id, i);
                break;
            case 2:
                put(table, id, i, 8 + rnd(700));
                break;
            default:
                if (get(table, id, &entry) == NGX_OK && entry.type != 255) {
                    bad += !is(&entry, id, entry.fetched_at, entry.len);
                }
            }
        }

        for (i = 0; i < 10 * n + 300 && table->grown != 0; i++) {
            put(table, i, 1000, MAX);
        }

        free(block);
    }

    ok(bad == 0, "a damaged word leads nowhere (%d)", bad);
}


/* what damage has left in a set, and belongs neither there nor where the split's
   entries go */

static void
test_foreign(void)
{
    int                   good;
    void                 *block;
    uint32_t              i, found;
    uint64_t              seq;
    ngx_opsauth_set_t    *first, *second;
    ngx_opsauth_table_t  *table;

    table = table_at(4, 2, &block);

    for (i = 0; i < 20; i++) {
        put_first(table, 5 * i, 1, 100);
    }

    first = ngx_opsauth_table_nth(table, 0);
    second = ngx_opsauth_table_nth(table, 1);

    /* all of it in both halves' sets */

    seq = second->seq;
    memcpy(second, first, NGX_OPSAUTH_SET_SIZE);
    second->seq = (uint32_t) seq;
    table->grown = ngx_opsauth_grown(1, 0);

    for (i = 0; i < 3; i++) {
        table->counters.held[i] *= 2;
    }

    while (table->grown != 0) {
        (void) ngx_opsauth_table_split(table);
    }

    good = sound(table) && table->counters.held[1] == 20;

    for (i = 0, found = 0; i < 20; i++) {
        found += has(table, 5 * i);
    }

    ok(good && found == 20, "a split leaves nothing where it isn't looked for");

    free(block);
}


/* --- a writer that dies at any step of a split ------------------------------ */

#define SPLIT_IDS   30
#define SPLIT_SETS  3


typedef struct {
    uint64_t  grown;                        /* before the split */
    uint64_t  counts[SPLIT_IDS];
} before_t;


/* the survivors: what is invalidated now is gone, for good and for everybody */

static int
survive(ngx_opsauth_table_t *table, before_t *before, ngx_uint_t odd)
{
    int                  bad;
    uint32_t             i;
    ngx_opsauth_entry_t  entry;

    bad = 0;

    for (i = 0; i < SPLIT_IDS; i++) {
        if (get(table, i, &entry) == NGX_OK) {
            bad += !is(&entry, i, 7, 60);
        }
    }

    for (i = odd; i < SPLIT_IDS; i += 2) {
        ngx_opsauth_table_remove(table, key_of(i));
        bad += ngx_opsauth_table_count(table, key_of(i)) == before->counts[i];
    }

    for ( ;; ) {
        for (i = 0; i < SPLIT_IDS; i++) {
            if (i % 2 == odd) {
                bad += has(table, i) || has_at(table, before->grown, i);
                bad += ngx_opsauth_table_count(table, key_of(i))
                       == before->counts[i];

            } else if (get(table, i, &entry) == NGX_OK) {
                bad += !is(&entry, i, 7, 60);
            }
        }

        if (table->grown == 0) {
            break;
        }

        (void) ngx_opsauth_table_split(table);
    }

    /* a set that the dead one left open is found by the next writer */

    for (i = 100; i < 140; i++) {
        put(table, i, 1, 60);
    }

    for (i = 100; i < 140; i++) {
        bad += put(table, i, 2, 60) != NGX_OK;
    }

    return bad + !sound(table);
}


static void
test_killed(void)
{
    int                   status, step, bad, killed, lost, survived;
    void                 *ready, *shared, *copy;
    pid_t                 pid;
    size_t                size;
    uint32_t              i;
    ngx_uint_t            level, torn, odd;
    before_t              before;
    ngx_opsauth_table_t  *table;

    size = block_size(SPLIT_SETS);
    shared = mmap(NULL, size, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS,
                  -1, 0);
    copy = aligned_alloc(64, (size + 63) / 64 * 64);
    bad = killed = lost = survived = 0;

    for (level = 2; level; level--) {
        for (torn = 0; torn < 2; torn++) {

            ready = aligned_alloc(64, (size + 63) / 64 * 64);
            memset(ready, 0, size);
            table = ngx_opsauth_table_init(ready, size);
            table->grown = ngx_opsauth_grown(2, 0);

            for (i = 0; i < SPLIT_IDS; i++) {
                put_first(table, i, 7, 60);
            }

            for (i = 0; i < 3; i++) {
                ngx_opsauth_table_remove(table, key_of(100 + i));
            }

            if (level == 1) {
                (void) ngx_opsauth_table_split(table);
            }

            for (i = 0; i < SPLIT_IDS; i++) {
                before.counts[i] = ngx_opsauth_table_count(table, key_of(i));
            }

            before.grown = table->grown;

            /* somebody else had died before */

            if (torn) {
                ngx_opsauth_table_nth(table, 0)->seq++;
            }

            for (step = 1; /* void */ ; step++) {
                memcpy(shared, ready, size);

                pid = fork();

                if (pid == 0) {
                    test_death = step;
                    table = (ngx_opsauth_table_t *) shared;
                    (void) ngx_opsauth_table_split(table);
                    _exit(0);
                }

                waitpid(pid, &status, 0);

                table = (ngx_opsauth_table_t *) copy;

                for (odd = 0; odd < 2; odd++) {
                    memcpy(copy, shared, size);
                    bad += survive(table, &before, odd);
                }

                memcpy(copy, shared, size);

                for (i = 0; i < SPLIT_IDS; i++) {
                    lost += !has(table, i);
                    survived += has(table, i);
                }

                if (WIFEXITED(status)) {
                    break;
                }

                killed++;
            }

            free(ready);
        }
    }

    ok(bad == 0, "a split cut short at any step brings nothing back (%d)",
       bad);
    ok(killed > 100 && lost > 100 && survived > 100,
       "at %d of them; of its two sets, one is lost at most", killed);

    free(copy);
}


/* --- readers and writers beside each other ----------------------------------- */

#define SHARED_KEYS  400
#define SHARED_SETS  120

typedef struct {
    uint32_t  floor[SHARED_KEYS];           /* no older version may be seen */
    uint32_t  next[SHARED_KEYS];
    uint32_t  gone[SHARED_KEYS];
    uint32_t  over;
    uint32_t  wrong;
    uint32_t  stale;
    uint32_t  hits;
    uint64_t  block[1];
} shared_t;


static void
shared_write(shared_t *shared, ngx_opsauth_table_t *table, uint32_t keys)
{
    uint32_t  id, version;

    id = rnd(keys);
    version = ++shared->next[id];

    if (rnd(5)) {
        put(table, id, version, 8 + rnd(300));
    } else {
        ngx_opsauth_table_remove(table, key_of(id));
    }

    __atomic_store_n(&shared->floor[id], version, __ATOMIC_SEQ_CST);
}


static void
shared_read(shared_t *shared, ngx_opsauth_table_t *table)
{
    uint32_t             id, floor, version;
    ngx_opsauth_entry_t  entry;

    id = rnd(SHARED_KEYS);
    floor = __atomic_load_n(&shared->floor[id], __ATOMIC_SEQ_CST);

    if (get(table, id, &entry) != NGX_OK) {
        return;
    }

    __atomic_fetch_add(&shared->hits, 1, __ATOMIC_RELAXED);

    version = (uint32_t) entry.fetched_at;

    if (entry.len < 8 || !is(&entry, id, version, entry.len)) {
        __atomic_fetch_add(&shared->wrong, 1, __ATOMIC_RELAXED);
    }

    if (version < floor) {
        __atomic_fetch_add(&shared->stale, 1, __ATOMIC_RELAXED);
    }
}


/* grown by one, killed in the middle, and by the next */

static void
test_processes(void)
{
    int                   status, unsound;
    pid_t                 reader, writer;
    size_t                size;
    uint32_t              i, killed;
    shared_t             *shared;
    ngx_uint_t            round;
    ngx_opsauth_table_t  *table;

    size = block_size(SHARED_SETS);
    shared = mmap(NULL, sizeof(shared_t) + size, PROT_READ|PROT_WRITE,
                  MAP_SHARED|MAP_ANONYMOUS, -1, 0);
    unsound = 0;
    killed = 0;

    for (round = 0; round < 60; round++) {
        memset(shared->floor, 0, sizeof(shared->floor));
        memset(shared->block, 0, size);
        shared->over = 0;

        table = ngx_opsauth_table_init(shared->block, size);

        /* from one set on, so that there is much to be split */
        table->grown = ngx_opsauth_grown(7, 0);
        memset(shared->next, 0, sizeof(shared->next));

        reader = fork();

        if (reader == 0) {
            while (!__atomic_load_n(&shared->over, __ATOMIC_RELAXED)) {
                shared_read(shared, table);
            }

            _exit(0);
        }

        writer = fork();

        if (writer == 0) {
            for (i = 0; i < round * 1000 + 1; i++) {
                (void) tap_random();
            }

            for (i = 0; i < 3000; i++) {
                shared_write(shared, table, 1 + i * SHARED_KEYS / 3000);
            }

            _exit(0);
        }

        if (round % 3 != 0) {
            for (i = rnd(1500); i; i--) {
                shared_read(shared, table);
            }

            (void) kill(writer, SIGKILL);
        }

        waitpid(writer, &status, 0);
        killed += !WIFEXITED(status);

        for (i = 0; i < 2000; i++) {
            shared_write(shared, table, SHARED_KEYS);
            shared_read(shared, table);
        }

        while (table->grown != 0) {
            (void) ngx_opsauth_table_split(table);
        }

        for (i = 0; i < SHARED_KEYS; i++) {
            ngx_opsauth_table_remove(table, key_of(i));
        }

        __atomic_store_n(&shared->over, 1, __ATOMIC_RELAXED);
        waitpid(reader, &status, 0);
        unsound += status != 0;

        /* a reader may have marked what was gone already */

        for (i = 0; i < SHARED_SETS; i++) {
            ngx_opsauth_table_nth(table, i)->marks = 0;
        }

        unsound += !sound(table);
    }

    ok(shared->wrong == 0 && shared->hits > 1000,
       "no reader beside a split takes a wrong record (%u of %u)",
       (unsigned) shared->wrong, (unsigned) shared->hits);
    ok(shared->stale == 0, "nor one that was replaced or removed (%u)",
       (unsigned) shared->stale);
    ok(unsound == 0 && killed > 3, "with %u writers killed (%d)",
       (unsigned) killed, unsound);
}


/* while a split copies, nobody misses what it copies */

static ngx_opsauth_table_t  *amid;
static uint32_t              amid_missed, amid_found;

static void
amid_read(void)
{
    uint32_t             i;
    ngx_opsauth_entry_t  entry;

    for (i = 0; i < 20; i++) {
        if (get(amid, i, &entry) == NGX_OK) {
            amid_found += is(&entry, i, 1, 100);
        } else {
            amid_missed++;
        }
    }
}


static void
test_amid(void)
{
    void      *block;
    uint32_t   i;

    amid = table_at(2, 1, &block);

    for (i = 0; i < 20; i++) {
        put_first(amid, i, 1, 100);
    }

    test_hook = amid_read;
    (void) ngx_opsauth_table_split(amid);

    ok(test_hook == NULL && amid_found == 20 && amid_missed == 0
       && sets_in_use(amid) == 2, "a reader amid a split finds what is there");

    free(block);
}


int
main(void)
{
    (void) setvbuf(stdout, NULL, _IOLBF, 0);

    test_damage();
    test_amid();
    test_foreign();
    test_killed();
    test_processes();

    return done_testing();
}
