/*
 * The L1 cache of records in a shared zone: the slot table, its one lock, and
 * the rule that says which copy may still be used (docs/cache.md).
 *
 * While a feed announces changes, a copy is fresh for cache_valid; without it
 * for one lease from the moment its read was sent, which alone keeps the bound
 * on how long a revoked credential can pass.
 */

#ifndef NGX_OPSAUTH_CACHE_H
#define NGX_OPSAUTH_CACHE_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_opsauth_coverage.h"
#include "ngx_opsauth_nodes.h"
#include "ngx_opsauth_table.h"
#include "ngx_opsauth_zone.h"


/* types of entries without a record: there is one that nobody can read; there
   is none */
#define NGX_OPSAUTH_CACHE_INVALID  254
#define NGX_OPSAUTH_CACHE_UNKNOWN  255


typedef struct ngx_opsauth_cache_zone_s  ngx_opsauth_cache_zone_t;

typedef struct {
    ngx_opsauth_zone_t         base;        /* first: see zone.h */
    ngx_opsauth_table_t       *table;
    ngx_opsauth_cache_zone_t  *zone;        /* counters and coverage, in shm */
    ngx_opsauth_nodes_t       *nodes;       /* of a cluster, in shm; or NULL */

    /* of the configuration; ms */
    ngx_msec_t                 lease;
    ngx_msec_t                 valid;
    ngx_msec_t                 spread;      /* up to so much less than valid */
    ngx_msec_t                 negative;
    ngx_msec_t                 stale;       /* 0 = never */
    ngx_uint_t                 clustered;   /* there are nodes */
} ngx_opsauth_cache_t;


/* how far a copy may be trusted now */
typedef enum {
    NGX_OPSAUTH_CACHE_MISS = 0,     /* none, or good for nothing */
    NGX_OPSAUTH_CACHE_STALE,        /* only where Redis can't be asked */
    NGX_OPSAUTH_CACHE_FRESH,
    NGX_OPSAUTH_CACHE_AGEING        /* fresh, and due to be read again */
} ngx_opsauth_cache_e;


/* whose answer a record is, where Redis is a cluster */
typedef struct {
    ngx_uint_t    slot;             /* of its key */
    ngx_uint_t    cell;             /* the node's; 0: one that is not known as
                                       such, or was asked for once (ASK) */
    uint64_t      server;           /* as in ngx_opsauth_cache_fill() */
    ngx_msec_t    resolved;
} ngx_opsauth_cache_source_t;


/* what a read notes before it is sent; a fill is refused when it changed */
typedef struct {
    uint64_t    set;
    uint32_t    zone;
} ngx_opsauth_cache_ticket_t;


typedef struct {
    ngx_opsauth_table_stats_t  table;
    uint64_t                   fills;
    uint64_t                   refused;         /* something changed meanwhile */
    uint64_t                   invalidations;
    uint64_t                   flushes;
    uint64_t                   covered_from;    /* ms, CLOCK_MONOTONIC; 0:
                                                   never covered */
    uint64_t                   covered_to;
    uint64_t                   gaps;            /* times it began anew */
} ngx_opsauth_cache_stats_t;


/*
 * Adds the zone to the cycle; cache is filled when the zone is initialised,
 * before workers start. name must tell apart what may not share records (the
 * store, its Redis and its prefix); tag is the module. A reload with the same
 * name and size keeps the records. NGX_ERROR was logged.
 */
ngx_int_t ngx_opsauth_cache_add(ngx_conf_t *cf, ngx_opsauth_cache_t *cache,
    ngx_str_t *name, size_t size, void *tag);

/* no lock, no system call; now is the event loop's (ngx_current_msec) */
OA_HOT ngx_opsauth_cache_e ngx_opsauth_cache_get(ngx_opsauth_cache_t *cache,
    const u_char *key, ngx_msec_t now, ngx_opsauth_entry_t *entry);

/* before a read is sent */
OA_WARM void ngx_opsauth_cache_begin(ngx_opsauth_cache_t *cache,
    const u_char *key, ngx_opsauth_cache_ticket_t *ticket);

/* NGX_OK: nothing was invalidated since; NGX_DECLINED otherwise */
OA_WARM ngx_int_t ngx_opsauth_cache_check(ngx_opsauth_cache_t *cache,
    const u_char *key, const ngx_opsauth_cache_ticket_t *ticket);

/* fetched_at: when the read was sent; server: who answered; INVALID, UNKNOWN:
   data is NULL. NGX_DECLINED: refused, the record may only answer its own
   request */
OA_WARM ngx_int_t ngx_opsauth_cache_fill(ngx_opsauth_cache_t *cache,
    const u_char *key, const ngx_opsauth_cache_ticket_t *ticket,
    uint64_t server, ngx_msec_t fetched_at, ngx_uint_t type,
    const u_char *data, size_t len);

/*
 * A feed on this server got a certificate, or tells without one who serves the
 * store: see ngx_opsauth_coverage.h. NGX_DECLINED: another server was resolved
 * since, the feed is on the wrong one.
 */
ngx_int_t ngx_opsauth_cache_certify(ngx_opsauth_cache_t *cache,
    uint64_t server, ngx_msec_t resolved, ngx_msec_t started,
    ngx_msec_t sent_at);
ngx_int_t ngx_opsauth_cache_take(ngx_opsauth_cache_t *cache, uint64_t server,
    ngx_msec_t resolved);

/* no lock: the server that a link resolved then leads to was replaced: its
   answers may be the past */
ngx_uint_t ngx_opsauth_cache_replaced(ngx_opsauth_cache_t *cache,
    uint64_t server, ngx_msec_t resolved);

/* no lock: who serves the store, as ngx_opsauth_coverage_server() */
uint64_t ngx_opsauth_cache_server(ngx_opsauth_cache_t *cache,
    ngx_msec_t *resolved);

/* CLOCK_MONOTONIC, ms, read fresh */
ngx_msec_t ngx_opsauth_cache_now(void);

/* bytes of the smallest cache; less is a configuration error */
size_t ngx_opsauth_cache_size_min(ngx_uint_t clustered);

/* under the lock; counts what was put and what was refused */
OA_WARM ngx_int_t ngx_opsauth_cache_put(ngx_opsauth_cache_t *cache,
    const u_char *key, const ngx_opsauth_cache_ticket_t *ticket,
    ngx_uint_t refused, ngx_msec_t fetched_at, ngx_uint_t type,
    const u_char *data, size_t len);

/* one record changed; everything may have changed */
void ngx_opsauth_cache_invalidate(ngx_opsauth_cache_t *cache,
    const u_char *key);
void ngx_opsauth_cache_invalidate_all(ngx_opsauth_cache_t *cache);


/*
 * The same, where Redis is a cluster (cache->nodes): of one node, and of keys
 * that are its own. fill() refuses what comes from a node that has not got the
 * slot. replaced() tells whether the answer is that of a node that had it.
 */
ngx_int_t ngx_opsauth_cache_fill_slot(ngx_opsauth_cache_t *cache,
    const u_char *key, const ngx_opsauth_cache_ticket_t *ticket,
    const ngx_opsauth_cache_source_t *source, ngx_msec_t fetched_at,
    ngx_uint_t type, const u_char *data, size_t len);
ngx_uint_t ngx_opsauth_cache_replaced_slot(ngx_opsauth_cache_t *cache,
    const ngx_opsauth_cache_source_t *source);

/*
 * certify(): only as far as the node was known to be a primary, which confirm()
 * says: asked at sent_at, this server said that it is one. generation is that
 * of the cell, when the connection was made. NGX_DECLINED also where the cell is
 * another node's by now.
 */
ngx_int_t ngx_opsauth_cache_certify_cell(ngx_opsauth_cache_t *cache,
    ngx_uint_t cell, uint64_t generation, uint64_t server, ngx_msec_t resolved,
    ngx_msec_t started, ngx_msec_t sent_at);
ngx_int_t ngx_opsauth_cache_take_cell(ngx_opsauth_cache_t *cache,
    ngx_uint_t cell, uint64_t generation, uint64_t server,
    ngx_msec_t resolved);
void ngx_opsauth_cache_confirm_cell(ngx_opsauth_cache_t *cache,
    ngx_uint_t cell, uint64_t generation, uint64_t server, ngx_msec_t sent_at);

/* no lock; the part of stats that is coverage's */
void ngx_opsauth_cache_nodes_stats(ngx_opsauth_cache_t *cache,
    ngx_opsauth_cache_stats_t *stats);

/* see ngx_opsauth_nodes.h; these take the lock */
ngx_uint_t ngx_opsauth_cache_cell(ngx_opsauth_cache_t *cache,
    const ngx_str_t *name);
/* name: of NGX_OPSAUTH_NODE_NAME_MAX bytes; returns its length, 0: free */
size_t ngx_opsauth_cache_cell_name(ngx_opsauth_cache_t *cache,
    ngx_uint_t cell, u_char *name, uint64_t *generation);
ngx_int_t ngx_opsauth_cache_move_slot(ngx_opsauth_cache_t *cache,
    ngx_uint_t slot, ngx_uint_t from, ngx_uint_t to);
ngx_int_t ngx_opsauth_cache_learn_slots(ngx_opsauth_cache_t *cache,
    const u_char *owners, uint64_t epoch, ngx_msec_t asked_at);

/* no lock; each figure by itself */
void ngx_opsauth_cache_stats(ngx_opsauth_cache_t *cache,
    ngx_opsauth_cache_stats_t *stats);


#endif /* NGX_OPSAUTH_CACHE_H */
