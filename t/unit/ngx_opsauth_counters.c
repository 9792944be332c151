/*
 * Counters: cells of processes, real ones, that come, go and are killed.
 */

#include <ngx_config.h>
#include <ngx_core.h>

#include <sys/mman.h>
#include <sys/wait.h>

#include "tap.h"

#include "../../src/shm/ngx_opsauth_counters.c"
#include "../../src/redis/ngx_opsauth_stats.h"


#define WORDS   7
#define GAUGES  2


static ngx_opsauth_counters_zone_t  *zone;
static size_t                        size;


static void
fresh(ngx_opsauth_counters_t *counters)
{
    if (zone) {
        munmap(zone, size);
    }

    size = ngx_opsauth_counters_size(WORDS);
    zone = mmap(NULL, size, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS, -1,
                0);

    ngx_opsauth_counters_init(zone, WORDS, GAUGES, 12345);

    memset(counters, 0, sizeof(ngx_opsauth_counters_t));

    counters->zone = zone;
    counters->nwords = WORDS;
    counters->ngauges = GAUGES;
}


/* a process that counts n times word 3, sets gauge 0, and then waits to be
   killed, or ends as a worker does */

static pid_t
worker(ngx_opsauth_counters_t *counters, int n, int stay)
{
    char   c;
    int    fd[2];
    pid_t  pid;

    if (pipe(fd) != 0) {
        exit(1);
    }

    pid = fork();

    if (pid == 0) {
        ngx_opsauth_counters_claim(counters, getpid());

        while (n--) {
            if (counters->own) {
                __atomic_store_n(&counters->own[3], counters->own[3] + 1,
                                 __ATOMIC_RELAXED);
            } else {
                __atomic_fetch_add(&counters->words[3], 1, __ATOMIC_RELAXED);
            }
        }

        counters->words[0] = 1;

        if (!stay) {
            ngx_opsauth_counters_release(counters);
        }

        (void) !write(fd[1], "x", 1);

        while (stay) {
            pause();
        }

        _exit(0);
    }

    (void) !read(fd[0], &c, 1);
    close(fd[0]);
    close(fd[1]);

    if (!stay) {
        waitpid(pid, NULL, 0);
    }

    return pid;
}


static void
end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}


static void
test_layout(void)
{
    uint64_t                sums[WORDS];
    ngx_opsauth_counters_t  counters;

    fresh(&counters);

    is_int(ngx_opsauth_counters_check(zone, size, WORDS, GAUGES), NGX_OK,
           "it is there");
    is_int(ngx_opsauth_counters_check(zone, size, WORDS - 1, GAUGES),
           NGX_DECLINED, "other words");
    is_int(ngx_opsauth_counters_check(zone, size, WORDS, GAUGES + 1),
           NGX_DECLINED, "other gauges");
    is_int(ngx_opsauth_counters_check(zone, size - 1, WORDS, GAUGES),
           NGX_DECLINED, "cut");
    is_int(ngx_opsauth_counters_since(&counters), 12345, "since when");

    is_int(ngx_opsauth_counters_sum(&counters, sums), 0, "nobody counts");
    is_int(sums[3], 0, "nothing was counted");

    zone->magic = 0;
    is_int(ngx_opsauth_counters_check(zone, size, WORDS, GAUGES),
           NGX_DECLINED, "something else");
}


static void
test_lines(void)
{
    int                     i, apart;
    pid_t                   pid[3];
    uintptr_t               at[4];
    ngx_opsauth_counters_t  counters;

    fresh(&counters);

    for (i = 0; i < 3; i++) {
        pid[i] = worker(&counters, 1, 1);
        at[i] = (uintptr_t) ngx_opsauth_counters_cell(&counters, i);
        is_int(((ngx_opsauth_cell_t *) at[i])->pid, pid[i], "cell %d", i);
    }

    at[3] = (uintptr_t) zone + size;
    apart = 1;

    for (i = 0; i < 3; i++) {
        apart &= (at[i] % 128 == 0
                  && at[i] + sizeof(uint64_t) * (1 + WORDS)
                     <= (i < 2 ? at[i + 1] : at[3]));
        end(pid[i]);
    }

    ok(apart, "no two on one line");
}


static void
test_life(void)
{
    pid_t                   a, b, c;
    uint64_t                sums[WORDS];
    ngx_opsauth_counters_t  counters;

    fresh(&counters);

    a = worker(&counters, 10, 1);
    b = worker(&counters, 20, 1);

    is_int(ngx_opsauth_counters_sum(&counters, sums), 2, "two count");
    is_int(sums[3], 30, "both are in the sum");
    is_int(sums[0], 2, "gauges, too");

    worker(&counters, 5, 0);

    is_int(ngx_opsauth_counters_sum(&counters, sums), 2, "a third one ended");
    is_int(sums[3], 35, "what it counted stays");
    is_int(sums[0], 2, "its gauges don't");

    end(a);

    is_int(ngx_opsauth_counters_sum(&counters, sums), 1, "one was killed");
    is_int(sums[3], 35, "what it counted stays");
    is_int(sums[0], 1, "its gauges don't");

    c = worker(&counters, 100, 1);

    is_int(ngx_opsauth_counters_cell(&counters, 0)->pid, c,
           "its cell is taken over");
    is_int(ngx_opsauth_counters_sum(&counters, sums), 2, "by another one");
    is_int(sums[3], 135, "which goes on counting there");
    is_int(sums[0], 2, "with gauges of its own");

    end(b);
    end(c);

    is_int(ngx_opsauth_counters_sum(&counters, sums), 0, "all are gone");
    is_int(sums[3], 135, "what they counted is not");
    is_int(sums[0], 0, "gauges are");
}


static void
test_crowd(void)
{
    int                     i, n;
    pid_t                   pid[NGX_OPSAUTH_COUNTERS_CELLS + 2];
    uint64_t                sums[WORDS];
    ngx_opsauth_counters_t  counters;

    fresh(&counters);

    n = NGX_OPSAUTH_COUNTERS_CELLS + 2;

    for (i = 0; i < n; i++) {
        pid[i] = worker(&counters, 2, 1);
    }

    is_int(ngx_opsauth_counters_sum(&counters, sums),
           NGX_OPSAUTH_COUNTERS_CELLS - 1, "more than there are cells");
    is_int(sums[3], 2 * n, "all of them are counted");
    is_int(sums[0], NGX_OPSAUTH_COUNTERS_CELLS - 1,
           "those who share a cell have no gauges");

    for (i = 0; i < n; i++) {
        end(pid[i]);
    }

    is_int(ngx_opsauth_counters_sum(&counters, sums), 0, "gone");
    is_int(sums[3], 2 * n, "and still counted");
}


/* two at once never get one cell; and adding to the shared one loses nothing */

static void
test_race(void)
{
    int                     i, status, failed;
    pid_t                   pid[16];
    uint64_t                sums[WORDS];
    ngx_opsauth_counters_t  counters;

    fresh(&counters);

    /* of processes that live: this one's parent has them all but two */

    for (i = 0; i < NGX_OPSAUTH_COUNTERS_CELLS - 3; i++) {
        ngx_opsauth_counters_cell(&counters, i)->pid = getppid();
    }

    for (i = 0; i < 16; i++) {
        pid[i] = fork();

        if (pid[i] == 0) {
            ngx_opsauth_counters_claim(&counters, getpid());

            for (i = 0; i < 20000; i++) {
                if (counters.own) {
                    __atomic_store_n(&counters.own[5], counters.own[5] + 1,
                                     __ATOMIC_RELAXED);
                } else {
                    __atomic_fetch_add(&counters.words[5], 1,
                                       __ATOMIC_RELAXED);
                }
            }

            _exit(counters.own ? 0 : 3);
        }
    }

    failed = 0;

    for (i = 0; i < 16; i++) {
        waitpid(pid[i], &status, 0);
        failed += !WIFEXITED(status) || (WEXITSTATUS(status) % 3 != 0);
    }

    is_int(failed, 0, "sixteen at once");
    ngx_opsauth_counters_sum(&counters, sums);
    is_int(sums[5], 16 * 20000, "nothing is lost");
}


/* one process with two cycles, as without a master */

static void
test_again(void)
{
    ngx_opsauth_counters_t  one, two;

    fresh(&one);
    two = one;

    ngx_opsauth_counters_claim(&one, getpid());
    ngx_opsauth_counters_claim(&two, getpid());

    ok(one.own && one.own == two.own, "has one cell");

    ngx_opsauth_counters_release(&one);
    ok(one.own == NULL && one.words == NULL, "given back");
}


/* the bucket is the first whose bound is not below, for every us that may
   differ */

static void
test_buckets(void)
{
    int         good;
    uint64_t    us;
    ngx_uint_t  i;

    good = 1;

    for (us = 0; us <= 1100000; us++) {
        for (i = 0; i < NGX_OPSAUTH_STATS_BOUNDS; i++) {
            if (us <= ngx_opsauth_stats_bounds[i]) {
                break;
            }
        }

        good &= (ngx_opsauth_stats_bucket(us) == i);
    }

    ok(good, "buckets of a histogram");
    ok(ngx_opsauth_stats_bucket((uint64_t) -1) == NGX_OPSAUTH_STATS_BOUNDS,
       "the last one has no bound");
}


int
main(void)
{
    test_buckets();
    test_layout();
    test_lines();
    test_life();
    test_crowd();
    test_race();
    test_again();

    return done_testing();
}
