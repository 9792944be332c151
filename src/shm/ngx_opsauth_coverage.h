/*
 * Coverage: the stretch of time in which every change of a record was, or will
 * be, announced on a feed (DESIGN section 7). A copy whose read was sent in it
 * is the record, as long as nothing announced a change.
 *
 *   feed        | PING sent     its PONG read
 *   ------------+------------------------------------------------------------
 *   first PONG  | the feed has started: what changes from now on is announced
 *   each PONG   | what changed before its PING was sent has been announced
 *
 * Coverage belongs to one server. Times are CLOCK_MONOTONIC in whole ms; those
 * of sending are rounded down, those of reading up.
 *
 * Words are written under the cache's lock, "from" before "to"; they are read
 * without it, in the opposite order, so that nobody pairs an old "from" with a
 * new "to".
 */

#ifndef NGX_OPSAUTH_COVERAGE_H
#define NGX_OPSAUTH_COVERAGE_H

#include <ngx_config.h>
#include <ngx_core.h>


/* in shared memory, on a cache line of its own; all zero: never covered */
typedef struct {
    uint64_t    from;
    uint64_t    to;
    uint64_t    server;         /* whose feed covers; 0: nobody's ever did */
    uint64_t    taken;          /* when the feed started that took it over */
    uint64_t    floor;          /* what was read before is another server's */
    uint64_t    gaps;
    uint64_t    pad[2];
} ngx_opsauth_coverage_t;


typedef enum {
    NGX_OPSAUTH_COVERAGE_KEPT = 0,      /* extended, or another feed covers */
    NGX_OPSAUTH_COVERAGE_BEGUN,         /* after a gap: from is new */
    NGX_OPSAUTH_COVERAGE_TAKEN,         /* from another server: what was read
                                           there is outdated */
    NGX_OPSAUTH_COVERAGE_REFUSED        /* another server has taken it over
                                           since this feed started */
} ngx_opsauth_coverage_e;


/*
 * Under the lock. A feed of this server (not 0) whose first PONG was read at
 * started (rounded up: a read in the same ms may have been sent before) has got
 * the PONG of a PING that was sent at sent_at. now is read fresh.
 */
ngx_opsauth_coverage_e ngx_opsauth_coverage_certify(
    ngx_opsauth_coverage_t *coverage, uint64_t server, ngx_msec_t started,
    ngx_msec_t sent_at, ngx_msec_t now, ngx_msec_t lease);

/* no lock: a copy whose read was sent at fetched_at is covered now */
ngx_uint_t ngx_opsauth_coverage_holds(ngx_opsauth_coverage_t *coverage,
    ngx_msec_t fetched_at, ngx_msec_t now, ngx_msec_t lease);

/* no lock: a copy whose read was sent at fetched_at may be another server's,
   which was replaced since */
ngx_uint_t ngx_opsauth_coverage_outdated(ngx_opsauth_coverage_t *coverage,
    ngx_msec_t fetched_at);

/* no lock: when such a copy was last known to be the record; at least
   fetched_at itself */
ngx_msec_t ngx_opsauth_coverage_coherent(ngx_opsauth_coverage_t *coverage,
    ngx_msec_t fetched_at);

/* another server covers now: what this one says may be the past. server 0 is
   one that could not be told, and is let pass. */
ngx_uint_t ngx_opsauth_coverage_foreign(ngx_opsauth_coverage_t *coverage,
    uint64_t server, ngx_msec_t now, ngx_msec_t lease);


#endif /* NGX_OPSAUTH_COVERAGE_H */
