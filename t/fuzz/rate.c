/*
 * Rates: src/core/oa_rate.c. A byte of nodes, a byte of burst, a line that is a
 * rate, and then requests: a byte of time that passes before each.
 */

#include "fuzz.h"
#include "oa_rate.h"


/* never more than a bucket and what has refilled since the first */

static void
requests(fuzz_t *in, const oa_rate_limit_t *limit)
{
    uint8_t          wait;
    uint64_t         now, start, tat, next, passed;
    oa_rc_t          rc;
    oa_rate_state_t  state, after;

    start = now = 1000 * OA_RATE_TICKS_PER_S;
    tat = 0;
    passed = 0;

    while (in->n) {
        wait = fuzz_byte(in);

        /* a clock lasts for 36 years */
        if (limit->interval > OA_RATE_AHEAD_MAX / 128
            || now - start > OA_RATE_AHEAD_MAX)
        {
            return;
        }

        /* in parts of an interval, or in intervals */
        now += (wait & 128) ? limit->interval * (wait & 127)
                            : limit->interval / 16 * wait;

        oa_rate_state(limit, tat, now, &state);
        rc = oa_rate_take(limit, tat, now, &next);

        must((rc == OA_OK) == (state.retry == 0));
        must((rc == OA_OK) == (state.remaining != 0));
        must(state.remaining <= limit->burst && state.reset <= limit->full);

        if (rc == OA_OK) {
            passed++;
            oa_rate_state(limit, next, now, &after);
            must(after.remaining + 1 == state.remaining);
        } else {
            must(next == tat);
            must(oa_rate_take(limit, tat, now + state.retry, &next) == OA_OK);
            must(oa_rate_take(limit, tat, now + state.retry - 1, &next)
                 == OA_DECLINED);
            next = tat;
        }

        tat = next;

        must(passed <= limit->burst + (now - start) / limit->interval);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_t           in;
    uint8_t          nodes, burst;
    oa_rc_t          rc;
    unsigned         i, nearest;
    uint64_t         tat[OA_RATE_UNITS];
    oa_str_t         text;
    oa_rate_t        rate, share;
    oa_rate_state_t  state;

    fuzz_start(&in, data, size);

    nodes = fuzz_byte(&in);
    burst = fuzz_byte(&in);
    text = fuzz_line(&in);

    memset(&rate, 0, sizeof(rate));
    rc = oa_rate_parse(text, burst, &rate);

    must(rc == OA_OK || rc == OA_DECLINED || rc == OA_INVALID);

    if (rc != OA_OK) {
        fuzz_end(&in);
        return 0;
    }

    must(rate.n >= 1 && rate.n <= OA_RATE_UNITS);

    oa_rate_share(&rate, nodes, &share);

    for (i = 0; i < rate.n; i++) {
        must(rate.limit[i].count && rate.limit[i].burst
             && rate.limit[i].interval);
        must(rate.limit[i].full
             == rate.limit[i].burst * rate.limit[i].interval);
        must(i == 0 || rate.limit[i - 1].unit < rate.limit[i].unit);
        must(share.limit[i].count <= rate.limit[i].count
             && share.limit[i].burst <= rate.limit[i].burst);
        must(share.limit[i].full <= OA_RATE_AHEAD_MAX * OA_RATE_FULL_MAX);

        /* any word at all may stand there */
        tat[i] = (uint64_t) fuzz_byte(&in) << 56 | (uint64_t) i << 40
                 | fuzz_byte(&in);
    }

    nearest = oa_rate_nearest(&share, tat, (uint64_t) 1 << 60, burst & 1,
                              &state);
    must(nearest < share.n);

    requests(&in, &share.limit[burst % share.n]);

    fuzz_end(&in);
    return 0;
}
