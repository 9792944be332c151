/* Rates: src/core/oa_rate.c */

#include "oa_rate.h"
#include "tap.h"


#define S  OA_RATE_TICKS_PER_S


static oa_str_t
str(const char *s)
{
    return (oa_str_t) { strlen(s), (const unsigned char *) s };
}


static oa_rate_t
parsed(const char *text, uint32_t burst)
{
    oa_rate_t  rate;

    is_int(oa_rate_parse(str(text), burst, &rate), OA_OK, "\"%s\"", text);

    return rate;
}


static void
refused(const char *text, oa_rc_t wanted)
{
    oa_rate_t  rate;

    is_int(oa_rate_parse(str(text), 0, &rate), wanted, "\"%s\"", text);
    is_int(rate.n, 0, "\"%s\": no limit", text);
}


static void
forms(void)
{
    oa_rate_t  r;

    refused("", OA_DECLINED);
    refused("unlimited", OA_DECLINED);
    refused("Unlimited", OA_INVALID);
    refused("0/m", OA_INVALID);
    refused("300", OA_INVALID);
    refused("300/", OA_INVALID);
    refused("/m", OA_INVALID);
    refused("300/y", OA_INVALID);
    refused("300/min", OA_INVALID);
    refused("-1/m", OA_INVALID);
    refused(" 1/m", OA_INVALID);
    refused("1/m,", OA_INVALID);
    refused(",1/m", OA_INVALID);
    refused("1/m,,1/h", OA_INVALID);
    refused("1000000001/s", OA_INVALID);
    refused("18446744073709551617/s", OA_INVALID);

    r = parsed("300/m", 0);
    ok(r.n == 1 && r.limit[0].unit == OA_RATE_MINUTE && r.limit[0].count == 300
       && r.limit[0].burst == 300, "300 a minute, all at once");
    ok(r.limit[0].interval == S / 5, "one each fifth of a second");

    r = parsed("1000/h,10/s", 0);
    ok(r.n == 2 && r.limit[0].unit == OA_RATE_SECOND
       && r.limit[1].unit == OA_RATE_HOUR, "the shortest period first");

    r = parsed("7/d,20/s,6/h,5/m,10/s,30/s", 3);
    ok(r.n == 4 && r.limit[0].count == 10, "the smaller of two in one period");
    ok(r.limit[0].burst == 3 && r.limit[1].burst == 5 && r.limit[3].burst == 7,
       "burst is of the shortest period");

    r = parsed("2/d", 1000000000);
    is_int(r.limit[0].burst, 200, "a burst is bounded");

    r = parsed("1000/h", 0);
    ok(r.limit[0].interval * 1000 == 3600 * S, "1000/h is exact");
    r = parsed("100000/s", 0);
    ok(r.limit[0].interval * 100000 == S, "100000/s is exact");
    r = parsed("1000000000/s", 0);
    ok(r.limit[0].interval * 1000000000 == S, "a billion a second is exact");

    r = parsed("7/s", 0);
    ok(r.limit[0].interval * 7 >= S && r.limit[0].interval * 7 < S + 7,
       "7/s: never too fast, by less than a tick each");
}


/* how many of n requests pass, one each step */

static uint64_t
run(const oa_rate_limit_t *limit, uint64_t *tat, uint64_t *now, uint64_t step,
    uint64_t n)
{
    uint64_t  passed;

    for (passed = 0; n--; *now += step) {
        passed += (oa_rate_take(limit, *tat, *now, tat) == OA_OK);
    }

    return passed;
}


static void
buckets(void)
{
    uint64_t         now, tat, next, base;
    oa_rate_t        r;
    oa_rate_state_t  s;

    base = 1000 * S;

    r = parsed("60/m", 0);
    now = base;
    tat = 0;
    is_int(run(&r.limit[0], &tat, &now, 0, 100), 60, "60 at once, no more");

    oa_rate_state(&r.limit[0], tat, now, &s);
    ok(s.remaining == 0 && s.reset == 60 * S && s.retry == S,
       "none left, full in a minute, one in a second");

    ok(oa_rate_take(&r.limit[0], tat, now + S - 1, &next) == OA_DECLINED
       && next == tat, "not a tick before");
    is_int(oa_rate_take(&r.limit[0], tat, now + S, &next), OA_OK,
           "in time");

    oa_rate_state(&r.limit[0], tat, now + 10 * S, &s);
    ok(s.remaining == 10 && s.retry == 0, "10 seconds, 10 requests");

    oa_rate_state(&r.limit[0], tat, now + 1000 * S, &s);
    ok(s.remaining == 60 && s.reset == 0, "never more than the bucket holds");

    now = base;
    tat = 0;
    is_int(run(&r.limit[0], &tat, &now, S / 1000, 600001), 60 + 600,
           "ten minutes of a thousand a second: a bucket and ten refills");

    r = parsed("1000/h", 0);
    now = base;
    tat = 0;
    is_int(run(&r.limit[0], &tat, &now, S, 100 * 3600 + 1), 1000 + 100 * 1000,
           "100 hours of 1000/h: exact");

    r = parsed("100000/s", 0);
    now = base;
    tat = 0;
    is_int(run(&r.limit[0], &tat, &now, S / 1000000, 3000001), 100000 * 4,
           "three seconds of 100000/s: exact");

    /* a clock of whole ms, as the event loop has it */

    now = base;
    tat = 0;
    for (base = 0, next = 0; next < 3001; next++) {
        base += run(&r.limit[0], &tat, &now, 0, 150);
        now += OA_RATE_TICKS_PER_MS;
    }
    is_int(base, 400000, "by a clock of whole ms");

    r = parsed("10/s", 1);
    now = 1000 * S;
    tat = 0;
    is_int(run(&r.limit[0], &tat, &now, S / 100, 101), 11,
           "burst=1: one each tenth of a second");
}


static void
edges(void)
{
    uint64_t         next;
    oa_rate_t        r, share;
    oa_rate_state_t  s;

    r = parsed("1/d", 0);

    ok(oa_rate_take(&r.limit[0], UINT64_MAX, 1, &next) == OA_DECLINED
       && oa_rate_take(&r.limit[0], UINT64_MAX, 0, &next) == OA_DECLINED
       && next == UINT64_MAX, "a word of all ones gives nothing");
    oa_rate_state(&r.limit[0], UINT64_MAX, 1, &s);
    ok(s.remaining == 0 && s.reset == r.limit[0].full
       && s.retry == r.limit[0].interval, "and is told as an empty bucket");

    ok(oa_rate_take(&r.limit[0], 0, (uint64_t) 1 << 60, &next) == OA_OK
       && next == ((uint64_t) 1 << 60) + r.limit[0].interval,
       "after 2 years without a restart");

    oa_rate_share(&r, 4, &share);
    ok(share.limit[0].burst == 1
       && share.limit[0].interval == 4 * r.limit[0].interval,
       "a share of one is one, four times more rarely");

    r = parsed("300/m,1000/h", 0);
    oa_rate_share(&r, 4, &share);
    ok(share.n == 2 && share.limit[0].count == 75
       && share.limit[0].burst == 75
       && share.limit[0].interval == 4 * r.limit[0].interval
       && share.limit[1].burst == 250, "a quarter");

    oa_rate_share(&r, 0, &share);
    ok(share.limit[0].full == r.limit[0].full, "of nobody's number: all");

    oa_rate_share(&r, UINT32_MAX, &share);
    ok(share.limit[1].full <= OA_RATE_AHEAD_MAX, "of too many: bounded");
}


static void
plans(void)
{
    size_t      i, k;
    oa_rate_t   r, other;

    static const char *const  texts[] = {
        "1/s", "2/s", "1/m", "1/h", "1/d", "60/m", "1/s,1/m", "1/s,1/h",
        "2/s,1/m", "1/s,2/m", "1/s,1/m,1/h"
    };

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        r = parsed(texts[i], 0);
        ok(r.plan != 0, "%s is a plan", texts[i]);

        for (k = 0; k < i; k++) {
            other = parsed(texts[k], 0);
            ok(other.plan != r.plan, "and another one than %s", texts[k]);
        }
    }

    r = parsed("10/s,600/m", 0);
    ok(r.plan == parsed("600/m,10/s", 0).plan, "whatever their order");
    ok(r.plan == parsed("10/s,600/m", 10).plan, "a burst that is its own");
    ok(r.plan != parsed("10/s,600/m", 5).plan, "another one");

    oa_rate_share(&r, 3, &other);
    ok(other.plan == r.plan, "a share is of the same plan");
}


static void
several(void)
{
    uint64_t         tat[OA_RATE_UNITS], now;
    oa_rate_t        r;
    oa_rate_state_t  s;

    r = parsed("10/s,1000/h", 0);
    now = 1000 * S;

    tat[0] = now + S / 2;
    tat[1] = now + 36 * S;
    ok(oa_rate_nearest(&r, tat, now, 0, &s) == 0 && s.remaining == 5,
       "the one with fewer left");

    tat[1] = now + 3600 * S;
    ok(oa_rate_nearest(&r, tat, now, 1, &s) == 1
       && s.retry == 36 * S / 10, "the one that keeps waiting longest");
}


int
main(void)
{
    forms();
    buckets();
    edges();
    several();
    plans();

    return done_testing();
}
