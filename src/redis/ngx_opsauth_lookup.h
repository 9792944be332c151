/*
 * Reads of records: single flight per cache key in this worker, waiters of
 * many requests on one read, bounds on both. It knows neither the cache nor
 * requests: what to note before a read and what to do with its values is the
 * owner's, by three hooks.
 *
 * A lookup never completes synchronously.
 */

#ifndef NGX_OPSAUTH_LOOKUP_H
#define NGX_OPSAUTH_LOOKUP_H

#include "ngx_opsauth_redis.h"


#define NGX_OPSAUTH_KEY_LEN       32
#define NGX_OPSAUTH_FLIGHTS_MAX   1024
#define NGX_OPSAUTH_WAITERS_MAX   16384
#define NGX_OPSAUTH_VALUES_MAX    16


typedef struct ngx_opsauth_lookup_s  ngx_opsauth_lookup_t;
typedef struct ngx_opsauth_flight_s  ngx_opsauth_flight_t;
typedef struct ngx_opsauth_waiter_s  ngx_opsauth_waiter_t;


typedef enum {
    NGX_OPSAUTH_FOUND = 1,          /* data, len are the packed record */
    NGX_OPSAUTH_UNKNOWN,            /* no such record; the store is set up */
    NGX_OPSAUTH_INVALID,            /* there is one, and it is malformed */
    NGX_OPSAUTH_UNAVAILABLE,        /* nobody could be asked */
    NGX_OPSAUTH_MOVED               /* of decode() alone: a replaced server's
                                       answer, to be asked of the other one */
} ngx_opsauth_status_e;


/* what is asked: HMGET <prefix><name> field ...; lives as long as lookups do,
   which know it by its address */
typedef struct {
    ngx_uint_t   type;
    ngx_str_t    prefix;            /* "opsauth:credential:" */
    ngx_str_t   *fields;
    ngx_uint_t   nfields;           /* at most NGX_OPSAUTH_VALUES_MAX */
} ngx_opsauth_lookup_kind_t;


/* one read under way; the owner sees it in its hooks only */
struct ngx_opsauth_flight_s {
    u_char                       key[NGX_OPSAUTH_KEY_LEN];
    ngx_uint_t                   type;          /* the owner's: what record */
    ngx_str_t                    name;          /* record's name behind the
                                                   prefix: digest hex, account
                                                   id; valid in decode */
    ngx_msec_t                   sent_at;       /* before its write, fresh; 0:
                                                   not sent yet */
    uint64_t                     ticket[4];     /* the owner's, from begin */
    uint64_t                     server;        /* that answered; 0: none did;
                                                   valid in decode */
    ngx_msec_t                   resolved;      /* when that server's address
                                                   was looked up; as above */
    ngx_uint_t                   slot;          /* where Redis is a cluster */
    ngx_uint_t                   cell;          /* of the node that answered;
                                                   0: it is known as none, or
                                                   was asked for this once */
    /* what follows is the lookup's own */
    ngx_opsauth_redis_t         *next;          /* that it is to be asked of */
    ngx_uint_t                   redirects;
    unsigned                     asking:1;
    ngx_opsauth_redis_command_t  command;
    ngx_queue_t                  index;
    ngx_queue_t                  waiters;
    ngx_opsauth_lookup_t        *lookup;
    const ngx_opsauth_lookup_kind_t  *kind;
    ngx_uint_t                   nfields;
    unsigned                     indexed:1;
    unsigned                     moved:1;       /* was asked of two servers */
    u_char                       name_data[128];
};


typedef struct {
    void  *owner;

    /* before the read is sent: note the cache's counts in flight->ticket */
    void (*begin)(void *owner, ngx_opsauth_flight_t *flight);

    /* may a request that comes now share this read? NGX_OK or NGX_DECLINED
       (something was invalidated since, or it was sent too long ago: it gets
       a read of its own) */
    ngx_int_t (*joinable)(void *owner, ngx_opsauth_flight_t *flight);

    /*
     * Values of the hash, in the order of the fields (absent: data NULL); why
     * says what it means if all of them are absent: UNKNOWN, or UNAVAILABLE
     * in a store that is not set up. Or n == 0, and why there are no values:
     * INVALID (another type of key), UNAVAILABLE. Decodes, fills the cache,
     * sets *data and *len (valid until the next decode) for FOUND, and returns
     * the status for the waiters. Called also when no waiter is left. MOVED,
     * with ngx_opsauth_redis_drop() before it, sends the read once more; at
     * the second time it is UNAVAILABLE.
     */
    ngx_opsauth_status_e (*decode)(void *owner, ngx_opsauth_flight_t *flight,
        ngx_str_t *values, ngx_uint_t n, ngx_opsauth_status_e why,
        u_char **data, size_t *len);
} ngx_opsauth_lookup_hooks_t;


/*
 * Called from the reply parser: copy what is needed (data is valid during the
 * call only) and post an event; never run a request here.
 */
typedef void (*ngx_opsauth_waiter_handler_pt)(ngx_opsauth_waiter_t *waiter,
    ngx_opsauth_status_e status, u_char *data, size_t len);

/* embedded in the request's context; zeroed by the caller before first use */
struct ngx_opsauth_waiter_s {
    ngx_queue_t                     queue;
    ngx_opsauth_waiter_handler_pt   handler;
    void                           *data;
    ngx_opsauth_lookup_t           *lookup;     /* NULL: not waiting */
    uint64_t                        since;      /* us, the lookup's own */
};


/* one per worker and store; hooks are copied; NULL: no memory */
ngx_opsauth_lookup_t *ngx_opsauth_lookup_create(ngx_opsauth_redis_t *redis,
    const ngx_opsauth_lookup_hooks_t *hooks, ngx_log_t *log);

/* after ngx_opsauth_redis_destroy(), which ends every flight */
void ngx_opsauth_lookup_destroy(ngx_opsauth_lookup_t *lookup);

/*
 * NGX_AGAIN  the waiter is queued; its handler will be called once, unless it
 *            is cancelled
 * NGX_BUSY   no read can be made: Redis is in backoff, or a bound is reached;
 *            the waiter is not queued
 *
 * waiter NULL: a read ahead, for the cache alone; NGX_AGAIN also when such a
 * read is under way already.
 */
OA_WARM ngx_int_t ngx_opsauth_lookup_read(ngx_opsauth_lookup_t *lookup,
    const ngx_opsauth_lookup_kind_t *kind, const u_char *key, ngx_str_t *name,
    ngx_opsauth_waiter_t *waiter);

/* takes the waiter off; the read goes on and still fills the cache. Safe on a
   waiter that does not wait. */
void ngx_opsauth_lookup_cancel(ngx_opsauth_waiter_t *waiter);


#endif /* NGX_OPSAUTH_LOOKUP_H */
