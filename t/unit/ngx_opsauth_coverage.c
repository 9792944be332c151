/*
 * Coverage, step by step: what t/model proves of the rules, on the code that
 * follows them.
 */

#include "tap.h"

#include "../../src/shm/ngx_opsauth_coverage.c"


#define LEASE  100
#define A      11
#define B      22


static ngx_opsauth_coverage_t  zone;


static void
fresh(void)
{
    memset(&zone, 0, sizeof(zone));
}


static ngx_opsauth_coverage_e
certify(uint64_t server, ngx_msec_t resolved, ngx_msec_t started,
    ngx_msec_t sent_at, ngx_msec_t now)
{
    return ngx_opsauth_coverage_certify(&zone, server, resolved, started,
                                        sent_at, now, LEASE);
}


static int
holds(ngx_msec_t fetched_at, ngx_msec_t now)
{
    ngx_opsauth_coverage_view_t  view;

    ngx_opsauth_coverage_load(&zone, &view);

    return ngx_opsauth_coverage_holds(&view, fetched_at, now, LEASE);
}


static int
outdated(ngx_msec_t fetched_at)
{
    ngx_opsauth_coverage_view_t  view;

    ngx_opsauth_coverage_load(&zone, &view);

    return ngx_opsauth_coverage_outdated(&view, fetched_at);
}


static ngx_msec_t
coherent(ngx_msec_t fetched_at)
{
    ngx_opsauth_coverage_view_t  view;

    ngx_opsauth_coverage_load(&zone, &view);

    return ngx_opsauth_coverage_coherent(&view, fetched_at);
}


static void
chain(void)
{
    fresh();
    ok(!holds(1000, 1000), "a new zone covers nothing");
    ok(!outdated(1), "... and nothing is another server's");

    /* first PONG read in ms 1000: started is 1001 */

    is_int(certify(A, 990, 1001, 999, 1000), NGX_OPSAUTH_COVERAGE_TAKEN,
           "the first feed");
    ok(!holds(1000, 1000), "a read of the same ms may have been before");
    ok(holds(1001, 1001), "a later one is covered");
    ok(holds(1001, 1099), "for a lease");
    ok(!holds(1001, 1100), "... from the PING, not longer");
    ok(!outdated(990), "what was read before is nobody else's");

    is_int(certify(A, 990, 1001, 1025, 1030), NGX_OPSAUTH_COVERAGE_KEPT,
           "the feed that began it extends it at once");
    ok(holds(1001, 1125), "... by the PING that was answered");
    is_int(certify(A, 990, 1001, 1020, 1040), NGX_OPSAUTH_COVERAGE_KEPT,
           "an older PING");
    ok(holds(1001, 1125), "... takes nothing back");

    is_int(certify(A, 1010, 1026, 1026, 1041), NGX_OPSAUTH_COVERAGE_KEPT,
           "a feed that started after the last certificate");
    ok(!holds(1001, 1126), "... can't extend it");
    is_int(certify(A, 990, 1001, 1050, 1051), NGX_OPSAUTH_COVERAGE_KEPT,
           "the other one does");
    is_int(certify(A, 1010, 1026, 1060, 1061), NGX_OPSAUTH_COVERAGE_KEPT,
           "and now it may");
    ok(holds(1001, 1160), "one chain of two feeds");

    is_int(certify(A, 1155, 1161, 1158, 1160), NGX_OPSAUTH_COVERAGE_KEPT,
           "a feed from after the last certificate, within the lease");
    ok(!holds(1001, 1161), "... has to wait");
    is_int(certify(A, 1155, 1161, 1185, 1190), NGX_OPSAUTH_COVERAGE_BEGUN,
           "after a lease it begins anew");
    is_int(zone.gaps, 2, "... with a gap");
    ok(!holds(1160, 1190), "what was read before is not covered");
    ok(holds(1161, 1190), "what was read since is");
    is_int(coherent(1165), 1185, "a covered copy was the record at the PING");
    is_int(coherent(1100), 1100, "any other one when it was read");
}


static void
servers(void)
{
    ngx_msec_t  resolved;

    fresh();
    ok(ngx_opsauth_coverage_server(&zone, &resolved) == 0,
       "nobody serves yet");
    (void) certify(A, 1000, 1002, 1001, 1001);
    ok(ngx_opsauth_coverage_server(&zone, &resolved) == A && resolved == 1000,
       "who serves, and when that was looked up");

    ok(ngx_opsauth_coverage_foreign(&zone, B), "another server's are foreign");
    ok(!ngx_opsauth_coverage_foreign(&zone, A), "its own are not");
    ok(ngx_opsauth_coverage_foreign(&zone, 0), "nor is it let pass who is "
       "not known");
    ok(ngx_opsauth_coverage_replaced(&zone, B, 1000),
       "a link to another one, not resolved later, was replaced");
    ok(!ngx_opsauth_coverage_replaced(&zone, B, 1001),
       "one resolved later may be the new one");
    ok(!ngx_opsauth_coverage_replaced(&zone, A, 1), "its own never was");

    is_int(certify(B, 1000, 1500, 1499, 1500), NGX_OPSAUTH_COVERAGE_REFUSED,
           "a feed that was resolved at the same time does not take it over");
    is_int(certify(B, 1400, 1500, 1490, 1499), NGX_OPSAUTH_COVERAGE_TAKEN,
           "a later one does");
    ok(ngx_opsauth_coverage_server(&zone, &resolved) == B && resolved == 1400,
       "... and is found");
    ok(!holds(1450, 1499), "what was read before is not covered");
    ok(outdated(1499), "... and outdated");
    ok(!outdated(1500), "what is read from then on is not");
    ok(holds(1500, 1500), "... and covered");

    is_int(certify(A, 1000, 1002, 1510, 1511), NGX_OPSAUTH_COVERAGE_REFUSED,
           "the first server's feed, thawed");
    is_int(certify(A, 1000, 1600, 1599, 1600), NGX_OPSAUTH_COVERAGE_REFUSED,
           "... also with its first PONG now");
    ok(ngx_opsauth_coverage_replaced(&zone, A, 1399), "a link to it is out");
    ok(ngx_opsauth_coverage_foreign(&zone, A), "... and never fills");

    is_int(certify(B, 1700, 1702, 1701, 1701), NGX_OPSAUTH_COVERAGE_BEGUN,
           "the other feed, after a gap");
    ok(ngx_opsauth_coverage_foreign(&zone, A), "a gap forgets no server");
    is_int(certify(A, 1650, 1801, 1800, 1800), NGX_OPSAUTH_COVERAGE_REFUSED,
           "a resolution before the newest of the server's own feeds");
    is_int(certify(A, 1750, 1801, 1800, 1800), NGX_OPSAUTH_COVERAGE_TAKEN,
           "back to the first one");
    is_int(certify(B, 1700, 1702, 1810, 1811), NGX_OPSAUTH_COVERAGE_REFUSED,
           "which takes it from the second");
}


/* Where changes are not tracked: nobody certifies */

static void
untracked(void)
{
    fresh();

    is_int(ngx_opsauth_coverage_take(&zone, A, 1000, 1001, LEASE),
           NGX_OPSAUTH_COVERAGE_TAKEN, "a server without tracking");
    ok(!holds(1002, 1002), "covers nothing");
    ok(!outdated(900), "and makes nothing outdated");
    is_int(zone.gaps, 0, "nor is it a gap");

    is_int(ngx_opsauth_coverage_take(&zone, B, 1000, 1100, LEASE),
           NGX_OPSAUTH_COVERAGE_REFUSED, "another one, resolved no later");
    is_int(ngx_opsauth_coverage_take(&zone, B, 1001, 1100, LEASE),
           NGX_OPSAUTH_COVERAGE_TAKEN, "... and later");
    ok(outdated(1100), "what was read there is outdated");
    ok(ngx_opsauth_coverage_foreign(&zone, A), "it does not fill any more");

    is_int(certify(B, 1200, 1210, 1205, 1209), NGX_OPSAUTH_COVERAGE_BEGUN,
           "a feed that tracks there begins");
    ok(holds(1210, 1210), "... and covers");
}


/* clocks that are near their end, and a machine that has just been started */

static void
wraps(void)
{
    ngx_msec_t  t;

    t = (ngx_msec_t) -50;

    fresh();
    (void) certify(A, t - 10, t + 1, t - 1, t);
    ok(holds(t + 1, t + 60), "times may pass zero");
    ok(!holds(t + 1, t + 120), "... and end behind it");

    fresh();
    (void) certify(A, 5, 11, 9, 10);
    ok(holds(11, 12), "a machine that was started just now");
}


int
main(void)
{
    chain();
    servers();
    untracked();
    wraps();

    return done_testing();
}
