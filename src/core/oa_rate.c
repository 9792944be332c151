/*
 * See oa_rate.h. Invariants: 0 < interval <= full <= OA_RATE_AHEAD_MAX for
 * every limit that was parsed, so that no sum of them and a clock overflows.
 */

#include "oa_rate.h"
#include "oa_text.h"

#include <string.h>


static oa_rc_t oa_rate_limit(oa_str_t text, oa_rate_limit_t *limit);
static void oa_rate_insert(oa_rate_t *rate, const oa_rate_limit_t *limit);
static uint64_t oa_rate_plan(const oa_rate_t *rate);


static const uint32_t  oa_rate_seconds[OA_RATE_UNITS] = { 1, 60, 3600, 86400 };


oa_rc_t
oa_rate_parse(oa_str_t text, uint32_t burst, oa_rate_t *rate)
{
    size_t            i, start;
    oa_str_t          part;
    oa_rate_limit_t   limit, *first;

    rate->n = 0;
    rate->plan = 0;

    if (text.len == 0 || oa_text_eq(text, "unlimited")) {
        return OA_DECLINED;
    }

    start = 0;

    for (i = 0; i <= text.len; i++) {

        if (i < text.len && text.data[i] != ',') {
            continue;
        }

        part.data = text.data + start;
        part.len = i - start;

        if (oa_rate_limit(part, &limit) != OA_OK) {
            rate->n = 0;
            return OA_INVALID;
        }

        oa_rate_insert(rate, &limit);
        start = i + 1;
    }

    if (burst != 0) {
        first = &rate->limit[0];

        if (burst > (uint64_t) first->count * OA_RATE_FULL_MAX) {
            burst = (uint32_t) ((uint64_t) first->count * OA_RATE_FULL_MAX);
        }

        first->burst = burst;
        first->full = first->burst * first->interval;
    }

    rate->plan = oa_rate_plan(rate);

    return OA_OK;
}


/* each step can be undone: of two plans that differ in one number none is
   taken for the other */

static uint64_t
oa_rate_plan(const oa_rate_t *rate)
{
    unsigned  i;
    uint64_t  plan;

    plan = 1;

    for (i = 0; i < rate->n; i++) {
        plan = plan * 0x9e3779b97f4a7c15ULL
               + ((uint64_t) rate->limit[i].burst << 32 | rate->limit[i].count);
        plan = (plan ^ plan >> 32) * 0xbf58476d1ce4e5b9ULL
               + rate->limit[i].unit;
    }

    return plan ? plan : 1;
}


static oa_rc_t
oa_rate_limit(oa_str_t text, oa_rate_limit_t *limit)
{
    size_t    i;
    uint64_t  n, period;

    n = 0;

    for (i = 0; i < text.len; i++) {

        if (text.data[i] < '0' || text.data[i] > '9') {
            break;
        }

        n = n * 10 + (uint64_t) (text.data[i] - '0');

        if (n > OA_RATE_COUNT_MAX) {
            return OA_INVALID;
        }
    }

    if (n == 0 || text.len != i + 2 || text.data[i] != '/')
    {
        return OA_INVALID;
    }

    switch (text.data[i + 1]) {
    case 's':
        limit->unit = OA_RATE_SECOND;
        break;
    case 'm':
        limit->unit = OA_RATE_MINUTE;
        break;
    case 'h':
        limit->unit = OA_RATE_HOUR;
        break;
    case 'd':
        limit->unit = OA_RATE_DAY;
        break;
    default:
        return OA_INVALID;
    }

    period = oa_rate_seconds[limit->unit] * OA_RATE_TICKS_PER_S;

    limit->count = (uint32_t) n;
    limit->burst = (uint32_t) n;
    limit->interval = (period + n - 1) / n;
    limit->full = n * limit->interval;

    return OA_OK;
}


static void
oa_rate_insert(oa_rate_t *rate, const oa_rate_limit_t *limit)
{
    unsigned  i, k;

    for (i = 0; i < rate->n; i++) {

        if (rate->limit[i].unit < limit->unit) {
            continue;
        }

        if (rate->limit[i].unit == limit->unit) {
            if (limit->count < rate->limit[i].count) {
                rate->limit[i] = *limit;
            }

            return;
        }

        break;
    }

    for (k = rate->n; k > i; k--) {
        rate->limit[k] = rate->limit[k - 1];
    }

    rate->limit[i] = *limit;
    rate->n++;
}


void
oa_rate_share(const oa_rate_t *rate, uint32_t nodes, oa_rate_t *share)
{
    unsigned          i;
    oa_rate_limit_t  *limit;

    if (nodes < 1) {
        nodes = 1;
    }

    if (nodes > OA_RATE_NODES_MAX) {
        nodes = OA_RATE_NODES_MAX;
    }

    *share = *rate;

    for (i = 0; i < share->n; i++) {
        limit = &share->limit[i];

        limit->count = (limit->count > nodes) ? limit->count / nodes : 1;
        limit->burst = (limit->burst > nodes) ? limit->burst / nodes : 1;
        limit->interval *= nodes;
        limit->full = limit->burst * limit->interval;
    }
}


const char *
oa_rate_unit_name(oa_rate_unit_t unit)
{
    static const char *const  names[OA_RATE_UNITS] = {
        "second", "minute", "hour", "day"
    };

    return names[unit];
}


uint32_t
oa_rate_unit_seconds(oa_rate_unit_t unit)
{
    return oa_rate_seconds[unit];
}


void
oa_rate_state(const oa_rate_limit_t *limit, uint64_t tat, uint64_t now,
    oa_rate_state_t *state)
{
    uint64_t  ahead;

    ahead = (tat > now) ? tat - now : 0;

    /* larger before, or no word at all */

    if (ahead > limit->full) {
        ahead = limit->full;
    }

    state->remaining = (limit->full - ahead) / limit->interval;
    state->reset = ahead;
    state->retry = (ahead + limit->interval > limit->full)
                   ? ahead + limit->interval - limit->full : 0;
}


unsigned
oa_rate_nearest(const oa_rate_t *rate, const uint64_t *tat, uint64_t now,
    unsigned refused, oa_rate_state_t *state)
{
    unsigned         i, nearest;
    oa_rate_state_t  other;

    nearest = 0;
    oa_rate_state(&rate->limit[0], tat[0], now, state);

    for (i = 1; i < rate->n; i++) {
        oa_rate_state(&rate->limit[i], tat[i], now, &other);

        if (refused ? other.retry > state->retry
                    : other.remaining < state->remaining)
        {
            nearest = i;
            *state = other;
        }
    }

    return nearest;
}
