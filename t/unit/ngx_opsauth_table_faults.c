/*
 * The slot table where things go wrong: a writer in the middle of a read,
 * damaged memory, and other processes, also killed ones.
 */

#include <pthread.h>

#include "ngx_opsauth_table_test.h"


/* what happens in the middle of a reader's copy */

static ngx_opsauth_table_t  *race;

static void
race_put(void)
{
    put(race, 2, 2, 900);
}

static void
race_same(void)
{
    put(race, 2, 2, 400);
}

static void
race_remove(void)
{
    ngx_opsauth_table_remove(race, key_of(2));
}

static void
race_move(void)
{
    ngx_opsauth_table_remove(race, key_of(1));
}

static void
race_flush(void)
{
    ngx_opsauth_table_flush(race);
}

static void
race_dead(void)
{
    ngx_opsauth_table_nth(race, 0)->seq++;
}


static void
test_race(void)
{
    void                 *block;
    ngx_uint_t            i;
    ngx_int_t             rc;
    ngx_opsauth_entry_t  *entry;

    static struct {
        const char   *name;
        void        (*hook)(void);
        uint32_t      version;          /* to be seen, or 0 */
        size_t        len;
    } t[] = {
        { "put in place", race_same, 2, 400 },
        { "put of another size", race_put, 2, 900 },
        { "remove", race_remove, 0, 0 },
        { "move", race_move, 1, 400 },
        { "flush", race_flush, 0, 0 },
        { "death", race_dead, 0, 0 }
    };

    entry = malloc(sizeof(ngx_opsauth_entry_t));

    for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        race = table_new(1, &block);

        put(race, 1, 1, 300);
        put(race, 2, 1, 400);
        put(race, 3, 1, 500);

        test_hook = t[i].hook;
        rc = get(race, 2, entry);

        ok(test_hook == NULL
           && (t[i].version ? rc == NGX_OK
                              && is(entry, 2, t[i].version, t[i].len)
                            : rc == NGX_DECLINED),
           "a reader amid a %s", t[i].name);

        free(block);
    }

    free(entry);
}


static void
abuse(ngx_opsauth_table_t *table, ngx_uint_t ops, ngx_opsauth_entry_t *entry,
    int *bad)
{
    uint32_t                   id;
    ngx_uint_t                 op;
    ngx_opsauth_table_stats_t  stats;

    while (ops--) {
        id = rnd(60);
        op = rnd(100);

        if (op < 40) {
            put(table, id, rnd(1000), 1 + rnd(rnd(3) ? 200 : MAX));

        } else if (op < 50) {
            put_negative(table, id, rnd(1000));

        } else if (op < 85) {
            if (get(table, id, entry) == NGX_OK) {
                *bad += entry->len > MAX;
            }

        } else if (op < 99) {
            ngx_opsauth_table_remove(table, key_of(id));

        } else {
            ngx_opsauth_table_stats(table, &stats);
        }
    }
}


static void
test_damage(void)
{
    int                   bad, dead;
    void                 *block;
    u_char               *p;
    size_t                size, i;
    ngx_uint_t            round, n;
    ngx_opsauth_table_t  *table;
    ngx_opsauth_entry_t  *entry;

    bad = dead = 0;
    entry = malloc(sizeof(ngx_opsauth_entry_t));

    for (round = 0; round < 2500; round++) {
        size = ngx_opsauth_table_size_min() + rnd(3) * NGX_OPSAUTH_SET_STRIDE;
        block = calloc(1, size);
        table = ngx_opsauth_table_init(block, size);

        abuse(table, 40, entry, &bad);

        switch (round % 3) {

        case 0:                         /* bits anywhere */
            p = block;

            for (n = 1 + rnd(200); n; n--) {
                i = rnd(size);
                p[i] ^= (u_char) (1 << rnd(8));
            }

            break;

        case 1:                         /* a set's header is noise */
            p = (u_char *) ngx_opsauth_table_nth(table, 0);

            for (i = 0; i < sizeof(ngx_opsauth_set_t); i++) {
                p[i] = (u_char) rnd(rnd(2) ? 256 : 3);
            }

            if (rnd(8) == 0) {
                memset(ngx_opsauth_table_nth(table, 0)->tags, rnd(3), 64);
            }

            /* let it be used */
            ngx_opsauth_table_nth(table, 0)->epoch = table->epoch;
            ngx_opsauth_table_nth(table, 0)->seq &= ~1;

            break;

        default:                        /* heads lie about their length */
            p = (u_char *) ngx_opsauth_table_nth(table, 0);

            for (n = NGX_OPSAUTH_SLOT_FIRST; n < 64; n++) {
                p[n * 64 + 40] = (u_char) rnd(256);
                p[n * 64 + 41] = (u_char) rnd(256);
            }
        }

        abuse(table, 60, entry, &bad);

        /* turned off is fine; else what is put is there again, in the end */

        if (put(table, 1, 2000, 1500) == NGX_OK) {
            bad += get(table, 1, entry) != NGX_OK || !is(entry, 1, 2000, 1500);
        } else {
            dead++;
        }

        free(block);
    }

    block = calloc(1, ngx_opsauth_table_size_min());
    table = ngx_opsauth_table_init(block, ngx_opsauth_table_size_min());
    p = (u_char *) ngx_opsauth_table_nth(table, 0);

    for (n = 0; n < 62; n++) {
        put(table, n, 1, 16);
    }

    for (n = NGX_OPSAUTH_SLOT_FIRST; n < 64; n++) {
        ((ngx_opsauth_head_t *) (p + n * 64))->len = MAX;
    }

    for (n = 0; n < 62; n++) {
        bad += get(table, n, entry) == NGX_OK && entry->len != MAX;
    }

    free(block);

    ok(bad == 0, "damaged memory leads nowhere (%d rounds, %d refusing)",
       (int) round, dead);
    ok(dead < 1250, "and mostly heals");

    free(entry);
}


/* a flipped bit must not make one record end in another one's bytes */

static void
test_extents(void)
{
    void                 *block;
    ngx_opsauth_set_t    *set;
    ngx_opsauth_head_t   *head;
    ngx_opsauth_table_t  *table;
    ngx_opsauth_entry_t  *entry;

    entry = malloc(sizeof(ngx_opsauth_entry_t));
    table = table_new(1, &block);
    set = ngx_opsauth_table_nth(table, 0);

    put(table, 1, 1, 200);              /* slots 2 to 5 */
    put(table, 2, 1, 200);              /* slots 6 to 9 */

    set->tags[4] ^= 2;
    ok(get(table, 1, entry) == NGX_DECLINED, "cut in two");
    ok(get(table, 2, entry) == NGX_OK && is(entry, 2, 1, 200), "the next one");
    set->tags[4] ^= 2;
    ok(get(table, 1, entry) == NGX_OK && is(entry, 1, 1, 200), "as it was");

    set->tags[6] = NGX_OPSAUTH_TAG_NEXT;
    ok(get(table, 1, entry) == NGX_DECLINED, "run into the next one");
    ngx_opsauth_table_flush(table);

    put(table, 1, 1, 200);
    put(table, 2, 1, 200);

    head = (ngx_opsauth_head_t *) ngx_opsauth_set_slot(set, 2);
    head->len = 300;
    ok(get(table, 1, entry) == NGX_DECLINED, "longer than it is");
    head->len = 100;
    ok(get(table, 1, entry) == NGX_DECLINED, "shorter than it is");

    free(block);
    free(entry);
}


/* other processes */

#define SHARED_KEYS  64

typedef struct {
    pthread_mutex_t  mutex;
    uint32_t         floor[SHARED_KEYS];    /* no older version may be seen */
    uint32_t         next[SHARED_KEYS];
    uint32_t         writers;
    uint32_t         torn;
    uint32_t         stale;
    uint32_t         hits;
    u_char           block[1];
} shared_t;


static shared_t *
shared_new(ngx_uint_t sets, ngx_opsauth_table_t **table)
{
    shared_t             *shared;
    pthread_mutexattr_t   attr;

    shared = mmap(NULL, sizeof(shared_t) + 8 + block_size(sets),
                  PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS, -1, 0);

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&shared->mutex, &attr);

    *table = ngx_opsauth_table_init(ngx_align_ptr(shared->block, 8),
                                    block_size(sets));

    return shared;
}


static void
shared_lock(shared_t *shared)
{
    if (pthread_mutex_lock(&shared->mutex) == EOWNERDEAD) {
        pthread_mutex_consistent(&shared->mutex);
    }
}


static void
shared_write(shared_t *shared, ngx_opsauth_table_t *table)
{
    uint32_t  id, version, op;

    id = rnd(SHARED_KEYS);
    op = rnd(100);

    shared_lock(shared);

    version = ++shared->next[id];

    if (op < 80) {
        put(table, id, version, 8 + rnd(rnd(3) ? 200 : MAX - 8));
    } else {
        ngx_opsauth_table_remove(table, key_of(id));
    }

    __atomic_store_n(&shared->floor[id], version, __ATOMIC_SEQ_CST);

    pthread_mutex_unlock(&shared->mutex);
}


static void
shared_read(shared_t *shared, ngx_opsauth_table_t *table,
    ngx_opsauth_entry_t *entry)
{
    uint32_t  id, floor, version;

    id = rnd(SHARED_KEYS);
    floor = __atomic_load_n(&shared->floor[id], __ATOMIC_SEQ_CST);

    if (get(table, id, entry) != NGX_OK) {
        return;
    }

    __atomic_fetch_add(&shared->hits, 1, __ATOMIC_RELAXED);

    version = (uint32_t) entry->fetched_at;

    if (entry->len < 8 || !is(entry, id, version, entry->len)) {
        __atomic_fetch_add(&shared->torn, 1, __ATOMIC_RELAXED);
    }

    if (version < floor) {
        __atomic_fetch_add(&shared->stale, 1, __ATOMIC_RELAXED);
    }
}


static pid_t
shared_fork(shared_t *shared, ngx_opsauth_table_t *table, ngx_uint_t seed,
    ngx_uint_t writes)
{
    pid_t                 pid;
    ngx_opsauth_entry_t  *entry;

    pid = fork();

    if (pid != 0) {
        return pid;
    }

    for (seed *= 100003; seed; seed--) {
        (void) tap_random();
    }

    if (writes) {
        while (writes--) {
            shared_write(shared, table);
        }

        __atomic_fetch_sub(&shared->writers, 1, __ATOMIC_SEQ_CST);
        _exit(0);
    }

    entry = malloc(sizeof(ngx_opsauth_entry_t));

    while (__atomic_load_n(&shared->writers, __ATOMIC_SEQ_CST)) {
        shared_read(shared, table, entry);
    }

    _exit(0);
}


static void
test_processes(void)
{
    int                   status, bad;
    pid_t                 pids[4];
    shared_t             *shared;
    ngx_uint_t            i;
    ngx_opsauth_table_t  *table;

    shared = shared_new(2, &table);
    shared->writers = 2;

    for (i = 0; i < 4; i++) {
        pids[i] = shared_fork(shared, table, i + 1, i < 2 ? 60000 : 0);
    }

    for (i = 0, bad = 0; i < 4; i++) {
        bad += waitpid(pids[i], &status, 0) != pids[i] || status != 0;
    }

    ok(bad == 0 && shared->hits > 1000, "readers and writers (%u hits)",
       (unsigned) shared->hits);
    ok(shared->torn == 0, "no torn record is accepted (%u)",
       (unsigned) shared->torn);
    ok(shared->stale == 0, "nor one that was replaced or removed (%u)",
       (unsigned) shared->stale);
    ok(sound(table), "and the table is sound");
}


static void
test_killed(void)
{
    int                         status, step, bad, killed;
    pid_t                       pid;
    shared_t                   *shared;
    uint32_t                    i, now;
    ngx_uint_t                  op;
    ngx_opsauth_table_t        *table;
    ngx_opsauth_entry_t        *entry;
    ngx_opsauth_table_stats_t   stats;

    entry = malloc(sizeof(ngx_opsauth_entry_t));
    shared = shared_new(1, &table);
    bad = killed = 0;
    now = 0;

    /* at each step of each kind of write; the survivors go on */

    for (op = 0; op < 4; op++) {
        for (step = 1; /* void */ ; step++) {

            for (i = 0; i < 25; i++) {
                put(table, i, ++shared->next[i], 140);
            }

            pid = fork();

            if (pid == 0) {
                shared_lock(shared);
                test_death = step;

                switch (op) {
                case 0:
                    put(table, 24, 1u << 30, 900);
                    break;
                case 1:
                    put(table, 24, 1u << 30, 140);
                    break;
                case 2:
                    ngx_opsauth_table_remove(table, key_of(24));
                    break;
                default:
                    put_negative(table, 100, 1);
                }

                test_death = 0;
                pthread_mutex_unlock(&shared->mutex);
                _exit(0);
            }

            waitpid(pid, &status, 0);

            for (i = 0; i < 24; i++) {
                if (get(table, i, entry) == NGX_OK) {
                    bad += !is(entry, i, shared->next[i], 140);
                }
            }

            shared_lock(shared);
            put(table, 200, ++now, 100);        /* may be refused, and heals */
            bad += put(table, 200, now, 100) != NGX_OK || !has(table, 200);
            bad += !sound(table);
            ngx_opsauth_table_remove(table, key_of(24));
            pthread_mutex_unlock(&shared->mutex);

            if (WIFEXITED(status)) {
                break;
            }

            killed++;
        }
    }

    ngx_opsauth_table_stats(table, &stats);

    ok(bad == 0, "a writer killed at any step leaves nothing wrong (%d)",
       bad);
    ok(killed > 15 && stats.torn > 10, "%d were, %d sets torn", killed,
       (int) stats.torn);

    /* and at any instruction */

    shared = shared_new(2, &table);

    for (i = 0; i < 60; i++) {
        shared->writers = 1;
        pid = shared_fork(shared, table, i, 100000000);

        for (step = 0; step < 2000; step++) {
            shared_read(shared, table, entry);
        }

        (void) kill(pid, SIGKILL);
        waitpid(pid, &status, 0);

        for (step = 0; step < 20; step++) {
            shared_write(shared, table);
            shared_read(shared, table, entry);
        }
    }

    ok(shared->torn == 0 && shared->stale == 0,
       "nor one killed anywhere (%u, %u)", (unsigned) shared->torn,
       (unsigned) shared->stale);

    for (i = 0; i < SHARED_KEYS; i++) {
        ngx_opsauth_table_remove(table, key_of(i));
    }

    ok(sound(table), "and the table is sound");

    free(entry);
}


int
main(void)
{
    (void) setvbuf(stdout, NULL, _IOLBF, 0);

    test_race();
    test_extents();
    test_damage();
    test_processes();
    test_killed();

    return done_testing();
}
