/*
 * Rates in src/http: what a place is configured to, what a request carries of
 * it, and the functions that the others call. Included by ngx_http_opsauth.h.
 */

#ifndef NGX_HTTP_OPSAUTH_RATE_H
#define NGX_HTTP_OPSAUTH_RATE_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "oa_rate.h"
#include "ngx_opsauth_rate.h"


typedef struct ngx_http_opsauth_ctx_s         ngx_http_opsauth_ctx_t;
typedef struct ngx_http_opsauth_store_s       ngx_http_opsauth_store_t;
typedef struct ngx_http_opsauth_loc_conf_s    ngx_http_opsauth_loc_conf_t;
typedef struct ngx_http_opsauth_rate_node_s   ngx_http_opsauth_rate_node_t;


/* opsauth_rate_headers */
#define NGX_HTTP_OPSAUTH_RATE_HEADERS_OFF   0
#define NGX_HTTP_OPSAUTH_RATE_HEADERS_X     1
#define NGX_HTTP_OPSAUTH_RATE_HEADERS_IETF  2
#define NGX_HTTP_OPSAUTH_RATE_HEADERS_BOTH  3


/* opsauth_rate, opsauth_failure_rate */
typedef struct {
    unsigned      off:1;
    uint32_t      burst;            /* 0: the count */
    oa_rate_t     limits;           /* default=; n == 0: none */
} ngx_http_opsauth_rate_conf_t;


/* one that accounts have, as it was parsed; there are few plans and many
   requests. Never changed once it is there, so that requests may point to it */
#define NGX_HTTP_OPSAUTH_RATE_PLANS     64
#define NGX_HTTP_OPSAUTH_RATE_PLAN_LEN  24

typedef struct {
    size_t        len;              /* 0: none */
    u_char        text[NGX_HTTP_OPSAUTH_RATE_PLAN_LEN];
    uint32_t      burst;
    oa_rate_t     limits;           /* n == 0: unlimited */
} ngx_http_opsauth_rate_plan_t;


/* what came of the rate, in a request */
typedef enum {
    NGX_HTTP_OPSAUTH_RATE_NONE = 0,     /* not judged, or there is no limit */
    NGX_HTTP_OPSAUTH_RATE_WAITS,        /* for a chunk of the quota */
    NGX_HTTP_OPSAUTH_RATE_ALLOWED,
    NGX_HTTP_OPSAUTH_RATE_DENIED
} ngx_http_opsauth_rated_e;

/* what a request that waited for a chunk is woken with */
typedef enum {
    NGX_HTTP_OPSAUTH_RATE_GRANTED = 1,
    NGX_HTTP_OPSAUTH_RATE_EMPTY,        /* Redis has none to give */
    NGX_HTTP_OPSAUTH_RATE_AWAY          /* nor is there anybody to say so */
} ngx_http_opsauth_rate_answer_e;


/* of a request; undefined until it was judged */
typedef struct {
    const oa_rate_t                 *limits;
    oa_rate_t                        own;       /* the account's */
    uint64_t                         tat[OA_RATE_UNITS];
    uint64_t                         now;
    uint64_t                         credits;   /* in hand, of a shared quota */
    uint64_t                         retry;     /* ticks; a bound from below */

    ngx_queue_t                      queue;     /* while it waits */
    ngx_http_opsauth_rate_answer_e   answer;
} ngx_http_opsauth_rated_t;


/* ngx_http_opsauth_rate.c */

/*
 * Takes one request from its account's rate, once in a request's life.
 * NGX_OK: ctx->verdict says whether it may pass; NGX_AGAIN: it waits for a
 * chunk of a shared quota, and will be woken. Only for requests that nothing
 * else turns away.
 */
OA_APART ngx_int_t ngx_http_opsauth_rate_check(ngx_http_opsauth_loc_conf_t *olcf,
    ngx_http_opsauth_ctx_t *ctx);

/* the answer's headers; NGX_ERROR: no memory */
ngx_int_t ngx_http_opsauth_rate_headers(ngx_http_request_t *r,
    ngx_http_opsauth_loc_conf_t *olcf, ngx_http_opsauth_ctx_t *ctx);

/* seconds, at least 1, for Retry-After where the verdict is 429 */
ngx_uint_t ngx_http_opsauth_rate_retry(ngx_http_opsauth_ctx_t *ctx);

/* of $opsauth_rate_*; NGX_DECLINED: there is none */
ngx_int_t ngx_http_opsauth_rate_told(ngx_http_opsauth_ctx_t *ctx,
    uint64_t *limit, uint64_t *remaining, time_t *reset);

void ngx_http_opsauth_rate_key(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_rate_key_t *key);


/* ngx_http_opsauth_rate_sync.c */

/* as ngx_http_opsauth_rate_check(), where nodes share their quotas; slot: the
   account's. Sets ctx->rated */
ngx_int_t ngx_http_opsauth_rate_sync(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_rate_slot_t *slot);

/* it goes on, if that is what it waited for */
OA_WARM OA_APART void ngx_http_opsauth_rate_resume(ngx_http_opsauth_ctx_t *ctx);

/* the request ends while it waits */
void ngx_http_opsauth_rate_leave(ngx_http_opsauth_ctx_t *ctx);


/* ngx_http_opsauth_rate_chunk.c */

/* ticks until Redis may have one more; tat: by limit */
uint64_t ngx_http_opsauth_rate_until(const oa_rate_t *limits,
    const uint64_t *tat, uint64_t now);

/* NGX_OK: the request waits for a chunk, and will be woken with
   ctx->rate.answer; NGX_DECLINED: nobody can be asked */
ngx_int_t ngx_http_opsauth_rate_wait(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_rate_slot_t *slot);

/* so many are left in hand: asks for more where that is time */
void ngx_http_opsauth_rate_ahead(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_rate_slot_t *slot, ngx_uint_t left);


/* ngx_http_opsauth_rate_node.c */

/* in the first worker: this node is made known, and others are counted */
ngx_int_t ngx_http_opsauth_rate_node_start(ngx_http_opsauth_store_t *store,
    ngx_log_t *log);
void ngx_http_opsauth_rate_node_stop(ngx_http_opsauth_rate_node_t *node);


/* ngx_http_opsauth_attempts.c */

/* nothing more may be asked of Redis for this address; where there is an
   opsauth_failure_rate */
OA_APART ngx_uint_t ngx_http_opsauth_attempts_spent(ngx_http_opsauth_loc_conf_t *olcf,
    ngx_http_opsauth_ctx_t *ctx);

/* a verdict that may be a failed attempt is charged to the address, or becomes
   OA_REASON_ATTEMPTS */
OA_APART void ngx_http_opsauth_attempts_judge(ngx_http_opsauth_loc_conf_t *olcf,
    ngx_http_opsauth_ctx_t *ctx);


/* ngx_http_opsauth_rate_conf.c */

char *ngx_http_opsauth_rate(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_opsauth_failure_rate(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
void ngx_http_opsauth_rate_merge(ngx_http_opsauth_loc_conf_t *prev,
    ngx_http_opsauth_loc_conf_t *conf);
ngx_int_t ngx_http_opsauth_rate_add_zone(ngx_conf_t *cf,
    ngx_http_opsauth_store_t *store, uint32_t crc);

extern ngx_conf_enum_t  ngx_http_opsauth_rate_header_forms[];


#endif /* NGX_HTTP_OPSAUTH_RATE_H */
