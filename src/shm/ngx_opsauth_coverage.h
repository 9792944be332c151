/*
 * Coverage: the stretch of time in which every change of a record was, or will
 * be, announced on a feed (docs/cache.md). A copy whose read was sent in it
 * is the record, as long as nothing announced a change.
 *
 *   feed        | PING sent     its PONG read
 *   ------------+------------------------------------------------------------
 *   first PONG  | the feed has started: what changes from now on is announced
 *   each PONG   | what changed before its PING was sent has been announced
 *
 * Coverage belongs to one server. When a store moves, two servers may answer
 * for a while, and the one that was replaced knows nothing of it: whoever looked
 * up the address later is right. Times are CLOCK_MONOTONIC in whole ms; those
 * of sending and resolving are rounded down, those of reading up.
 *
 * Words are written under the cache's lock, "from" before "to"; they are read
 * without it, in the opposite order, so that nobody pairs an old "from" with a
 * new "to"; and before the copy that they are to vouch for.
 */

#ifndef NGX_OPSAUTH_COVERAGE_H
#define NGX_OPSAUTH_COVERAGE_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "oa_hot.h"


/* in shared memory, on a cache line of its own; all zero: never covered */
typedef struct {
    uint64_t    from;
    uint64_t    to;
    uint64_t    server;         /* whose feed covers; 0: nobody's ever did */
    uint64_t    resolved;       /* the latest that an address led to it */
    uint64_t    floor;          /* what was read before is another server's */
    uint64_t    gaps;
    uint64_t    confirmed;      /* of a cluster's node: when it was asked, last
                                   of all, and said that it is a primary */
    uint64_t    pad[1];
} ngx_opsauth_coverage_t;


/* what a hit needs of it */
typedef struct {
    ngx_msec_t  to;
    ngx_msec_t  from;           /* 0: never covered */
    ngx_msec_t  floor;
} ngx_opsauth_coverage_view_t;


typedef enum {
    NGX_OPSAUTH_COVERAGE_KEPT = 0,      /* extended, or another feed covers */
    NGX_OPSAUTH_COVERAGE_BEGUN,         /* after a gap: from is new */
    NGX_OPSAUTH_COVERAGE_TAKEN,         /* from another server: what was read
                                           there is outdated */
    NGX_OPSAUTH_COVERAGE_REFUSED        /* another server was resolved since
                                           this feed's was */
} ngx_opsauth_coverage_e;


/*
 * Under the lock. A feed of this server (not 0), whose address was looked up at
 * resolved and whose first PONG was read at started (rounded up: a read in the
 * same ms may have been sent before), has got the PONG of a PING that was sent
 * at sent_at. now is read fresh.
 */
ngx_opsauth_coverage_e ngx_opsauth_coverage_certify(
    ngx_opsauth_coverage_t *coverage, uint64_t server, ngx_msec_t resolved,
    ngx_msec_t started, ngx_msec_t sent_at, ngx_msec_t now, ngx_msec_t lease);

/* Under the lock. The same without a certificate: a feed on this server, where
   changes are not tracked, says who serves the store. Nothing is covered. */
ngx_opsauth_coverage_e ngx_opsauth_coverage_take(
    ngx_opsauth_coverage_t *coverage, uint64_t server, ngx_msec_t resolved,
    ngx_msec_t now, ngx_msec_t lease);

/* no lock; before the copy is read */
OA_HOT void ngx_opsauth_coverage_load(ngx_opsauth_coverage_t *coverage,
    ngx_opsauth_coverage_view_t *view);

/* a copy whose read was sent at fetched_at is covered now */
ngx_uint_t ngx_opsauth_coverage_holds(const ngx_opsauth_coverage_view_t *view,
    ngx_msec_t fetched_at, ngx_msec_t now, ngx_msec_t lease);

/* such a copy may be another server's, which was replaced since */
ngx_uint_t ngx_opsauth_coverage_outdated(
    const ngx_opsauth_coverage_view_t *view, ngx_msec_t fetched_at);

/* when such a copy was last known to be the record; at least fetched_at */
ngx_msec_t ngx_opsauth_coverage_coherent(
    const ngx_opsauth_coverage_view_t *view, ngx_msec_t fetched_at);

/* no lock: this server, to which a link resolved then leads, was replaced: what
   it says may be the past */
ngx_uint_t ngx_opsauth_coverage_replaced(ngx_opsauth_coverage_t *coverage,
    uint64_t server, ngx_msec_t resolved);

/* no lock: who covers, 0: nobody ever did; and when that one's address was looked
   up last, or later */
uint64_t ngx_opsauth_coverage_server(ngx_opsauth_coverage_t *coverage,
    ngx_msec_t *resolved);

/* under the lock: what this server says is nothing that a feed can vouch for */
ngx_uint_t ngx_opsauth_coverage_foreign(ngx_opsauth_coverage_t *coverage,
    uint64_t server);


#endif /* NGX_OPSAUTH_COVERAGE_H */
