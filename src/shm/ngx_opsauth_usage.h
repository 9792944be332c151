/*
 * Usage: how often each credential was presented, how often it was turned away,
 * when it was last let through and from where. Counted in shared memory by all
 * workers, with atomics; whoever flushes takes what has gathered since.
 *
 *   id -> 64 bits of hash -> one set of 8 slots, tags side by side in a line
 *
 * Memory is fixed. A new id takes a free slot of its set, or that of the
 * credential that was not seen for longest and has nothing left to be flushed;
 * where there is none, the request is not counted but counted as lost. So the
 * zone need hold no more than the credentials in use between two flushes.
 *
 * Nothing but the id of a credential, numbers and an address stands here. A zone
 * survives a reload, and a killed worker: counting is one addition, and a slot
 * is only ever given away under the lock, its tag last.
 */

#ifndef NGX_OPSAUTH_USAGE_H
#define NGX_OPSAUTH_USAGE_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "oa_cidr.h"
#include "ngx_opsauth_zone.h"


#define NGX_OPSAUTH_USAGE_WAYS  8


/* of one credential, on lines of its own; the first is the busy one */
typedef struct {
    uint64_t    requests;       /* since they were last taken */
    uint64_t    denied;         /* of these */
    uint64_t    claim;          /* second for which an address is being noted */
    uint64_t    last;           /* second of the last one let through, 0: none */
    uint64_t    addr[2][2];     /* of an even second, of an odd one */

    uint64_t    denied_at;
    uint64_t    written;        /* last, as it was taken */
    uint64_t    day;            /* of what was taken last, 0: nothing was */
    uint32_t    keep;           /* seconds */
    uint32_t    len;
    u_char      id[OA_ID_MAX];
    uint64_t    pad[4];
} ngx_opsauth_usage_entry_t;


typedef struct ngx_opsauth_usage_zone_s  ngx_opsauth_usage_zone_t;

typedef struct {
    ngx_opsauth_zone_t          base;       /* first: see zone.h */
    uint64_t                   *tags;       /* 0: free */
    ngx_opsauth_usage_entry_t  *entries;
    uint64_t                   *touched;    /* a bit for each entry */
    uint64_t                    nsets;
    ngx_opsauth_usage_zone_t   *zone;
} ngx_opsauth_usage_t;


/* what was taken of one entry, to be written elsewhere */
typedef struct {
    uint64_t    tag;
    ngx_uint_t  slot;
    uint64_t    requests;
    uint64_t    denied;
    uint64_t    last;           /* 0: nobody was let through since */
    uint64_t    at;             /* second of the latest of all this */
    uint64_t    day;            /* as it was before */
    uint32_t    keep;
    uint32_t    len;
    u_char      id[OA_ID_MAX];
    oa_addr_t   addr;           /* of last */
} ngx_opsauth_usage_item_t;


typedef struct {
    uint64_t    entries;        /* credentials in the zone */
    uint64_t    slots;          /* how many it can hold */
    uint64_t    lost;           /* requests that no record has: no room, or an
                                   unknown outcome, or refused for good */
    uint64_t    flushes;        /* batches that were written */
    uint64_t    written;        /* requests in them */
    uint64_t    errors;         /* batches that were not, or not all of it */
} ngx_opsauth_usage_stats_t;


/* as ngx_opsauth_cache_add(): a reload with the same name and size keeps what
   was counted. NGX_ERROR was logged */
ngx_int_t ngx_opsauth_usage_add(ngx_conf_t *cf, ngx_opsauth_usage_t *usage,
    ngx_str_t *name, size_t size, void *tag);

void ngx_opsauth_usage_stats(ngx_opsauth_usage_t *usage,
    ngx_opsauth_usage_stats_t *stats);


/*
 * Who flushes now: NGX_OK for one worker in each interval (ms, a tenth more or
 * less, and longer while flushes fail), NGX_DECLINED for the others. now: ms.
 */
ngx_int_t ngx_opsauth_usage_turn(ngx_opsauth_usage_t *usage, ngx_msec_t now,
    ngx_msec_t interval);

/*
 * Up to n entries that were touched, from *cursor on, which begins at 0; the
 * next call goes on there. Fewer than n: that was all of them. Whoever takes
 * counts has them alone.
 */
ngx_uint_t ngx_opsauth_usage_take(ngx_opsauth_usage_t *usage,
    ngx_uint_t *cursor, ngx_opsauth_usage_item_t *items, ngx_uint_t n);

/* counts that were certainly not written come back, to be taken again; last:
   so does the time of the last use */
void ngx_opsauth_usage_give_back(ngx_opsauth_usage_t *usage,
    const ngx_opsauth_usage_item_t *item, uint64_t requests, uint64_t denied,
    ngx_uint_t last);

/* a batch is over: so many requests of it were written, so many are lost */
void ngx_opsauth_usage_done(ngx_opsauth_usage_t *usage, ngx_uint_t failed,
    uint64_t written, uint64_t lost);

/* finds what a killed worker had counted and not marked, a stretch each call */
void ngx_opsauth_usage_check(ngx_opsauth_usage_t *usage);

/* requests lost so far, if there are new ones to be told of, at most once a
   minute; 0 otherwise */
uint64_t ngx_opsauth_usage_untold(ngx_opsauth_usage_t *usage, ngx_msec_t now);


/* what ngx_opsauth_usage_count() leaves to others; now: Unix seconds */

/* a place for an id that has none; NULL: there is no room, counted as lost */
ngx_opsauth_usage_entry_t *ngx_opsauth_usage_insert(
    ngx_opsauth_usage_t *usage, uint64_t tag, oa_str_t id, uint32_t keep,
    uint64_t now);
void ngx_opsauth_usage_touch(ngx_opsauth_usage_t *usage,
    ngx_opsauth_usage_entry_t *entry);
/* the next one is turned away */
void ngx_opsauth_usage_denied(ngx_opsauth_usage_entry_t *entry, uint64_t now);
/* the first request let through in this second, from addr */
void ngx_opsauth_usage_used(ngx_opsauth_usage_entry_t *entry, uint64_t now,
    const oa_addr_t *addr);


/* ids are chosen by whoever writes records, not by clients: no secret is
   needed. Never 0 */
static ngx_inline uint64_t
ngx_opsauth_usage_tag(oa_str_t id)
{
    size_t    n;
    uint64_t  h, w;

    h = id.len * 0x9e3779b97f4a7c15ULL;
    n = id.len;

    for ( /* void */ ; n >= 8; n -= 8) {
        ngx_memcpy(&w, id.data + id.len - n, 8);
        h = (h ^ w) * 0xff51afd7ed558ccdULL;
        h ^= h >> 32;
    }

    if (n) {
        w = 0;

        if (id.len >= 8) {
            ngx_memcpy(&w, id.data + id.len - 8, 8);

        } else {
            while (n) {
                w = (w << 8) | id.data[--n];
            }
        }

        h = (h ^ w) * 0xff51afd7ed558ccdULL;
        h ^= h >> 32;
    }

    h *= 0xc4ceb9fe1a85ec53ULL;
    h ^= h >> 29;

    return h ? h : 1;
}


static ngx_inline ngx_uint_t
ngx_opsauth_usage_set(const ngx_opsauth_usage_t *usage, uint64_t tag)
{
    return (ngx_uint_t) (((tag >> 32) * usage->nsets) >> 32)
           * NGX_OPSAUTH_USAGE_WAYS;
}


/* NULL: not there */
static ngx_inline ngx_opsauth_usage_entry_t *
ngx_opsauth_usage_find(const ngx_opsauth_usage_t *usage, uint64_t tag)
{
    uint64_t    *tags;
    ngx_uint_t   i, set;

    set = ngx_opsauth_usage_set(usage, tag);
    tags = &usage->tags[set];

    for (i = 0; i < NGX_OPSAUTH_USAGE_WAYS; i++) {
        if (__atomic_load_n(&tags[i], __ATOMIC_ACQUIRE) == tag) {
            return &usage->entries[set + i];
        }
    }

    return NULL;
}


/* one request more; 1: the first since the entry was last taken */
static ngx_inline ngx_uint_t
ngx_opsauth_usage_increment(ngx_opsauth_usage_entry_t *entry)
{
    return __atomic_fetch_add(&entry->requests, 1, __ATOMIC_RELAXED) == 0;
}


#endif /* NGX_OPSAUTH_USAGE_H */
