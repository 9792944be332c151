/*
 * What the connections to one store's Redis are counted by: words in memory
 * that the owner gives, shared with other processes or not. Adding is atomic;
 * nothing here is done for a request that is answered from the cache.
 */

#ifndef NGX_OPSAUTH_STATS_H
#define NGX_OPSAUTH_STATS_H

#include <ngx_config.h>
#include <ngx_core.h>


#define NGX_OPSAUTH_STATS_ERRORS      12    /* of ngx_opsauth_redis_error_e */
#define NGX_OPSAUTH_STATS_FEED_MODES  4     /* of ngx_opsauth_feed_mode_e */
#define NGX_OPSAUTH_STATS_BOUNDS      13


/* the last bucket has no upper bound; a value is in one bucket only */
typedef struct {
    uint64_t  buckets[NGX_OPSAUTH_STATS_BOUNDS + 1];
    uint64_t  sum;                              /* us */
} ngx_opsauth_histogram_t;


/* 64-bit words all through */
typedef struct {
    /* as it is now */
    uint64_t                 connected;         /* 1: the link is READY */
    uint64_t                 breaker;           /* 1: open */
    uint64_t                 pending;           /* commands */
    uint64_t                 reads;             /* under way */
    uint64_t                 waiters;
    uint64_t                 feed[NGX_OPSAUTH_STATS_FEED_MODES];    /* one is
                                                   1, where there is a feed */

    /* how often; the first one must stay the first */
    uint64_t                 commands;
    uint64_t                 connects;
    uint64_t                 failures;          /* attempts, connections */
    uint64_t                 openings;          /* of the breaker */
    uint64_t                 errors[NGX_OPSAUTH_STATS_ERRORS];
    ngx_opsauth_histogram_t  command_time;      /* written to reply read */
    uint64_t                 lookups;           /* reads begun */
    uint64_t                 joins;             /* requests that shared one */
    uint64_t                 refusals;          /* bounds, or Redis is down */
    ngx_opsauth_histogram_t  lookup_time;       /* of a request's one wait */
    uint64_t                 feed_connects;
    uint64_t                 feed_losses;
    ngx_opsauth_histogram_t  feed_time;         /* PING to PONG */
} ngx_opsauth_stats_t;

#define NGX_OPSAUTH_STATS_GAUGES                                              \
    (offsetof(ngx_opsauth_stats_t, commands) / sizeof(uint64_t))


/* us */
static const uint32_t  ngx_opsauth_stats_bounds[NGX_OPSAUTH_STATS_BOUNDS] = {
    100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000,
    500000, 1000000
};


#define ngx_opsauth_stats_add(word, n)                                        \
    (void) __atomic_fetch_add(word, n, __ATOMIC_RELAXED)

#define ngx_opsauth_stats_set(word, value)                                    \
    __atomic_store_n(word, (uint64_t) (value), __ATOMIC_RELAXED)


/* CLOCK_MONOTONIC, us */

static ngx_inline uint64_t
ngx_opsauth_stats_now(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}


/* from one power of two to the next there is one bound at most: so it is the
   bucket of the lower one, or the one behind it */

static ngx_inline ngx_uint_t
ngx_opsauth_stats_bucket(uint64_t us)
{
    ngx_uint_t  i;

    /* by the number of us's highest bit */
    static const u_char  first[20] = {
        0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11, 12
    };

    if (us > ngx_opsauth_stats_bounds[NGX_OPSAUTH_STATS_BOUNDS - 1]) {
        return NGX_OPSAUTH_STATS_BOUNDS;
    }

    i = first[63 - __builtin_clzll(us | 1)];

    return i + (us > ngx_opsauth_stats_bounds[i]);
}


static ngx_inline void
ngx_opsauth_stats_observe(ngx_opsauth_histogram_t *histogram, uint64_t us)
{
    ngx_uint_t  i;

    i = ngx_opsauth_stats_bucket(us);

    ngx_opsauth_stats_add(&histogram->buckets[i], 1);
    ngx_opsauth_stats_add(&histogram->sum, us);
}


#endif /* NGX_OPSAUTH_STATS_H */
