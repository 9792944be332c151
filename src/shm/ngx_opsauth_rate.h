/*
 * Buckets of rates in a shared zone of their own, which outlives a reload: one
 * slot for each account, and for each address that failed to authenticate. A
 * limit is one word that is exchanged atomically (oa_rate.h), so that all
 * workers of a host together are exact, and a killed one leaves nothing behind.
 *
 * Slots are found by their key in a window of 16. A new key gets the slot of the
 * window that is full again the longest, or will be soonest. It takes the words
 * over as they are: those of a full bucket say nothing, and where all buckets
 * of a window are in use, nobody gains by being pushed out and coming back.
 * Keys change under shpool->mutex, which nginx releases for a dead worker. A
 * worker that stops between finding a slot and taking from it may charge one
 * request to the slot's next owner; nothing else can come of it.
 *
 * Credits are what a node has in hand of a quota that nodes share (rate_sync):
 * requests that were granted and must be spent before they expire. They are of
 * one plan (oa_rate.h): an account may have others in other places.
 */

#ifndef NGX_OPSAUTH_RATE_H
#define NGX_OPSAUTH_RATE_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "oa_rate.h"
#include "ngx_opsauth_zone.h"


typedef enum {
    NGX_OPSAUTH_RATE_ACCOUNTS = 0,
    NGX_OPSAUTH_RATE_ADDRESSES,
    NGX_OPSAUTH_RATE_TABLES
} ngx_opsauth_rate_table_e;


/* never all zero in k[0] */
typedef struct {
    uint64_t    k[2];
} ngx_opsauth_rate_key_t;


/* one cache line, and two more that only rate_sync touches; ms are
   CLOCK_MONOTONIC */
typedef struct {
    uint64_t    k[2];               /* k[0] == 0: nobody's */
    uint64_t    tat[OA_RATE_UNITS]; /* by unit; with rate_sync what Redis said */
    uint64_t    pad[2];

    uint64_t    credit[2];          /* expiry in ms << 24 | credits */
    uint64_t    share[OA_RATE_UNITS];
    uint32_t    owed;               /* requests that Redis was not told of */
    uint32_t    chunk;              /* to ask for next */

    uint64_t    asked;              /* ms */
    uint64_t    pending;            /* ms: until then one who asks ahead waits */
    uint64_t    refused;            /* ms: until then Redis has none */
    uint64_t    plan;               /* that credit, chunk, refused are of */
    uint64_t    tail[5];
} ngx_opsauth_rate_slot_t;


typedef struct ngx_opsauth_rate_zone_s  ngx_opsauth_rate_zone_t;

typedef struct {
    ngx_opsauth_zone_t         base;        /* first: see zone.h */
    ngx_opsauth_rate_zone_t   *zone;
    ngx_opsauth_rate_slot_t   *slots[NGX_OPSAUTH_RATE_TABLES];
    uint64_t                   n[NGX_OPSAUTH_RATE_TABLES];
} ngx_opsauth_rate_t;


typedef enum {
    NGX_OPSAUTH_RATE_REFUSED = 0,   /* requests of accounts over their rate */
    NGX_OPSAUTH_RATE_FAILURES,      /* failed attempts charged to addresses */
    NGX_OPSAUTH_RATE_SLOWED,        /* requests refused to addresses */
    NGX_OPSAUTH_RATE_EVICTED,       /* slots that changed hands while in use */
    NGX_OPSAUTH_RATE_ASKED,         /* chunks asked of Redis */
    NGX_OPSAUTH_RATE_GRANTED,       /* requests granted by it */
    NGX_OPSAUTH_RATE_UNANSWERED,    /* chunks that it did not answer */
    NGX_OPSAUTH_RATE_SHARED,        /* requests on a node's own share */
    NGX_OPSAUTH_RATE_COUNTERS
} ngx_opsauth_rate_counter_e;


typedef struct {
    uint64_t    slots[NGX_OPSAUTH_RATE_TABLES];
    uint64_t    used[NGX_OPSAUTH_RATE_TABLES];      /* have a key */
    uint64_t    busy[NGX_OPSAUTH_RATE_TABLES];      /* not full now; of more
                                                       than 16384 slots an
                                                       estimate */
    uint64_t    nodes;                              /* 0: not known */
    uint64_t    counters[NGX_OPSAUTH_RATE_COUNTERS];
} ngx_opsauth_rate_stats_t;


/* as ngx_opsauth_cache_add(); a reload with the same name and size keeps the
   buckets */
ngx_int_t ngx_opsauth_rate_add(ngx_conf_t *cf, ngx_opsauth_rate_t *rate,
    ngx_str_t *name, size_t size, void *tag);

/* the key's slot, made if there is none */
ngx_opsauth_rate_slot_t *ngx_opsauth_rate_slot(ngx_opsauth_rate_t *rate,
    ngx_opsauth_rate_table_e table, const ngx_opsauth_rate_key_t *key,
    uint64_t now);

/* the key's slot; NULL: there is none */
ngx_opsauth_rate_slot_t *ngx_opsauth_rate_find(ngx_opsauth_rate_t *rate,
    ngx_opsauth_rate_table_e table, const ngx_opsauth_rate_key_t *key);

/* a key for an address: 4 or 16 bytes, of which an IPv6 network's first 8
   count */
void ngx_opsauth_rate_addr_key(const u_char *addr, size_t len,
    ngx_opsauth_rate_key_t *key);

/*
 * One request, by all limits or by none: NGX_OK, NGX_DECLINED. words: by unit,
 * of the slot. tat: the words as they stand then, by limit.
 */
ngx_int_t ngx_opsauth_rate_take(uint64_t *words, const oa_rate_t *limits,
    uint64_t now, uint64_t *tat);

/* would it pass? takes nothing */
ngx_int_t ngx_opsauth_rate_peek(uint64_t *words, const oa_rate_t *limits,
    uint64_t now);

/* spends one. NGX_DECLINED: there is none. left: how many remain */
ngx_int_t ngx_opsauth_rate_spend(ngx_opsauth_rate_slot_t *slot, ngx_msec_t now,
    ngx_uint_t *left);

/* how many there are */
ngx_uint_t ngx_opsauth_rate_credits(ngx_opsauth_rate_slot_t *slot,
    ngx_msec_t now);

/* adds some that expire at a time, ms */
void ngx_opsauth_rate_credit(ngx_opsauth_rate_slot_t *slot, ngx_msec_t now,
    ngx_msec_t expires, ngx_uint_t n);

void ngx_opsauth_rate_count(ngx_opsauth_rate_t *rate,
    ngx_opsauth_rate_counter_e counter, uint64_t n);

/* of nodes that share the store; 0: never told */
uint32_t ngx_opsauth_rate_nodes(ngx_opsauth_rate_t *rate);
void ngx_opsauth_rate_set_nodes(ngx_opsauth_rate_t *rate, uint32_t nodes);

/* this node's own number, the same in all workers and over reloads; not 0 */
uint64_t ngx_opsauth_rate_node(ngx_opsauth_rate_t *rate);

/* looks at 32768 slots at most: for the status page, not for requests */
void ngx_opsauth_rate_stats(ngx_opsauth_rate_t *rate,
    ngx_opsauth_rate_stats_t *stats);


/* the event loop's clock */
#define ngx_opsauth_rate_now()                                                \
    ((uint64_t) ngx_current_msec * OA_RATE_TICKS_PER_MS)


#endif /* NGX_OPSAUTH_RATE_H */
