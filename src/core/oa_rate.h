/*
 * Rates: "300/m", "10/s,1000/h", and the arithmetic that enforces them. Each
 * limit is a bucket that refills evenly (GCRA, the generic cell rate algorithm
 * of ITU-T I.371), of which all that is remembered is one 64-bit word: the time
 * at which the bucket will be full again. 0 and any time past: it is full.
 *
 * Times are ticks of 1/16 ns on the caller's monotonic clock. The time between
 * two requests is rounded up to whole ticks: exact for every count that divides
 * a period (1000/h, 100000/s), for others less than a tick a request too strict
 * and never too lax. Nothing adds up while a bucket is full now and then. A
 * clock lasts for 36 years.
 *
 * The word of a limit depends on its period, not on its count: a bucket that was
 * half empty is half empty after the count has changed.
 */

#ifndef OA_RATE_H
#define OA_RATE_H

#include "oa_core.h"


#define OA_RATE_TICKS_PER_MS   16000000ULL
#define OA_RATE_TICKS_PER_S    16000000000ULL

#define OA_RATE_COUNT_MAX      1000000000       /* requests in one period */
#define OA_RATE_BURST_MAX      1000000000

/* a bucket never holds more than so many times its count */
#define OA_RATE_FULL_MAX       100

/* a share is never less than this part of the whole */
#define OA_RATE_NODES_MAX      1000


/* periods, which are also the numbers of their words */
typedef enum {
    OA_RATE_SECOND = 0,
    OA_RATE_MINUTE,
    OA_RATE_HOUR,
    OA_RATE_DAY
} oa_rate_unit_t;

#define OA_RATE_UNITS          4


typedef struct {
    oa_rate_unit_t        unit;
    uint32_t              count;        /* requests in a period */
    uint32_t              burst;        /* the bucket's size, in requests */
    uint64_t              interval;     /* ticks between two requests */
    uint64_t              full;         /* burst * interval */
} oa_rate_limit_t;


/* limits that hold together, shortest period first; n == 0: there is none */
typedef struct {
    unsigned              n;
    uint64_t              plan;         /* another one for other limits, not 0;
                                           shares have that of the whole */
    oa_rate_limit_t       limit[OA_RATE_UNITS];
} oa_rate_t;


/* what a client is told of one limit */
typedef struct {
    uint64_t              remaining;    /* requests, now */
    uint64_t              reset;        /* ticks until the bucket is full */
    uint64_t              retry;        /* ticks until one more is allowed */
} oa_rate_state_t;


/*
 * A rate as records and configuration have it. Of two limits with one period the
 * smaller counts, so that there are at most OA_RATE_UNITS. burst: the size of
 * the bucket of the shortest period, 0: its count, as all others have it.
 * OA_OK        rate->n limits
 * OA_DECLINED  empty or "unlimited": rate->n is 0
 * OA_INVALID   another form, or a count of 0
 */
oa_rc_t oa_rate_parse(oa_str_t text, uint32_t burst, oa_rate_t *rate);

/* one of so many equal shares: all of them together are no more than the whole,
   but that each has room for one request */
void oa_rate_share(const oa_rate_t *rate, uint32_t nodes, oa_rate_t *share);

/* "second", "minute", "hour", "day"; and how long that is, in seconds */
const char *oa_rate_unit_name(oa_rate_unit_t unit);
uint32_t oa_rate_unit_seconds(oa_rate_unit_t unit);

/* tat is the limit's word as it stands after the request was judged */
void oa_rate_state(const oa_rate_limit_t *limit, uint64_t tat, uint64_t now,
    oa_rate_state_t *state);

/*
 * Which limit a client should be told of if only one can be: refused: the one
 * that keeps it waiting longest, otherwise the one that has the fewest requests
 * left. tat: by limit, not by unit. rate->n is not 0.
 */
unsigned oa_rate_nearest(const oa_rate_t *rate, const uint64_t *tat,
    uint64_t now, unsigned refused, oa_rate_state_t *state);


/*
 * May one more request pass? OA_OK: *next is the word to put in place of tat, by
 * an atomic exchange that fails if it has changed. OA_DECLINED: *next is tat.
 */
static inline oa_rc_t
oa_rate_take(const oa_rate_limit_t *limit, uint64_t tat, uint64_t now,
    uint64_t *next)
{
    uint64_t  ahead;

    ahead = (tat > now) ? tat - now : 0;

    /* no sum: the word may be anything */

    if (ahead <= limit->full - limit->interval) {
        *next = now + ahead + limit->interval;
        return OA_OK;
    }

    *next = tat;

    return OA_DECLINED;
}


/* ticks that a bucket can be ahead of the clock: a word beyond is damaged */
#define OA_RATE_AHEAD_MAX                                                     \
    ((uint64_t) OA_RATE_NODES_MAX * 86400 * OA_RATE_TICKS_PER_S)


#endif /* OA_RATE_H */
