/*
 * What is counted, and opsauth_status, which shows it:
 *
 *   status.c             the directive, the handler, what is known right now
 *   status_rows.c        every figure: its names, what it means, where it is
 *   status_text.c        text that grows; json and prometheus, from the rows
 *   status_page.c        html
 *
 * A further figure is a row in status_rows.c, and a field of the snapshot that
 * ngx_http_opsauth_snapshot() fills. Nothing else names figures.
 */

#ifndef NGX_HTTP_OPSAUTH_STATUS_H
#define NGX_HTTP_OPSAUTH_STATUS_H

#include "ngx_http_opsauth.h"
#include "ngx_http_opsauth_text.h"


#define NGX_HTTP_OPSAUTH_STATUS_JSON        1
#define NGX_HTTP_OPSAUTH_STATUS_PROMETHEUS  2
#define NGX_HTTP_OPSAUTH_STATUS_HTML        3

#define NGX_HTTP_OPSAUTH_GRANTS             3
#define NGX_HTTP_OPSAUTH_OAUTH_ERRORS       12

/* there is no such moment */
#define NGX_HTTP_OPSAUTH_NEVER              ((uint64_t) -1)


/* one process' words in shared memory; 64 bits each, gauges first */
typedef struct {
    ngx_opsauth_stats_t  redis;
    uint64_t             verdicts[2][OA_REASON_COUNT];  /* enforced, shadow */
    uint64_t             cache[NGX_HTTP_OPSAUTH_CACHE_STALE + 1];
    uint64_t             issued[NGX_HTTP_OPSAUTH_GRANTS];
    uint64_t             oauth_errors[NGX_HTTP_OPSAUTH_OAUTH_ERRORS];
} ngx_http_opsauth_counts_t;

#define NGX_HTTP_OPSAUTH_COUNTS                                               \
    (sizeof(ngx_http_opsauth_counts_t) / sizeof(uint64_t))


/* all that is known of one store; what rows point to is uint64_t */
typedef struct {
    ngx_str_t                  name;
    ngx_http_opsauth_counts_t  counts;
    uint64_t                   allowed;
    uint64_t                   workers;
    uint64_t                   since;           /* seconds since the epoch */
    ngx_opsauth_cache_stats_t  cache;
    uint64_t                   covered;         /* 1: changes are announced */
    uint64_t                   coverage_age;    /* us; or NEVER */
    uint64_t                   lease;           /* us */
    ngx_opsauth_rate_stats_t   rate;
    ngx_opsauth_usage_stats_t  usage;           /* all 0: it is off */
} ngx_http_opsauth_snapshot_t;


typedef enum {
    NGX_HTTP_OPSAUTH_COUNTER = 0,
    NGX_HTTP_OPSAUTH_GAUGE,
    NGX_HTTP_OPSAUTH_HISTOGRAM
} ngx_http_opsauth_row_e;


typedef struct {
    const char              *section;   /* object in JSON, heading in HTML;
                                           rows of one section stand together */
    const char              *key;       /* member of that object */
    const char              *name;      /* for Prometheus; rows of one name
                                           stand together, their help is the
                                           first one's */
    ngx_http_opsauth_row_e   type;
    ngx_uint_t               seconds;   /* it is us, shown as seconds */
    size_t                   offset;    /* in the snapshot */
    const char              *help;
    const char              *labels;    /* that it always has; NULL: none */
    const char              *by;        /* label that tells n figures apart */
    ngx_uint_t               n;
    ngx_str_t              (*value)(ngx_uint_t i);  /* of that label; empty:
                                                       not shown */
} ngx_http_opsauth_row_t;


/* ngx_http_opsauth_status.c */

/* opsauth_status [json | prometheus | html] */
char *ngx_http_opsauth_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* when a store's block was read; NGX_ERROR was logged */
ngx_int_t ngx_http_opsauth_add_counters(ngx_conf_t *cf,
    ngx_http_opsauth_store_t *store);

/* this process' words; never NULL in a process that serves requests */
ngx_http_opsauth_counts_t *ngx_http_opsauth_counts(
    ngx_http_opsauth_store_t *store);

/* before the process ends */
void ngx_http_opsauth_release_counts(ngx_http_opsauth_store_t *store);

void ngx_http_opsauth_snapshot(ngx_http_opsauth_store_t *store,
    ngx_http_opsauth_snapshot_t *snapshot);

/* the same by atomic adding, for processes that have no words of their own */
OA_APART void ngx_http_opsauth_count_shared(ngx_http_opsauth_store_t *store,
    ngx_http_opsauth_ctx_t *ctx);

/* by the error's name (RFC 6749 section 5.2); by oa_grant_bit() */
void ngx_http_opsauth_count_oauth_error(ngx_http_opsauth_store_t *store,
    const char *error);
void ngx_http_opsauth_count_issued(ngx_http_opsauth_store_t *store,
    unsigned grant);


/* ngx_http_opsauth_status_rows.c */

extern const ngx_http_opsauth_row_t  ngx_http_opsauth_rows[];
extern const ngx_uint_t              ngx_http_opsauth_nrows;

/* the words of opsauth_oauth_errors_total, in their order; the last one is for
   all others */
ngx_str_t ngx_http_opsauth_oauth_error_name(ngx_uint_t i);
/* how the feed does: the best mode that one of them has */
ngx_str_t ngx_http_opsauth_feed_mode_name(
    ngx_http_opsauth_snapshot_t *snapshot);

#define ngx_http_opsauth_figure(snapshot, row)                                \
    ((uint64_t *) ((u_char *) (snapshot) + (row)->offset))


/* ngx_http_opsauth_status_text.c */

/* seconds, of us */
void ngx_http_opsauth_text_seconds(ngx_http_opsauth_text_buf_t *text,
    uint64_t us);

void ngx_http_opsauth_status_prometheus(ngx_http_opsauth_text_buf_t *text,
    ngx_http_opsauth_snapshot_t *stores, ngx_uint_t n);
void ngx_http_opsauth_status_json(ngx_http_opsauth_text_buf_t *text,
    ngx_http_opsauth_snapshot_t *stores, ngx_uint_t n);


/* ngx_http_opsauth_status_page.c */

/* refresh: seconds between one look and the next, 0: none */
void ngx_http_opsauth_status_html(ngx_http_opsauth_text_buf_t *text,
    ngx_http_opsauth_snapshot_t *stores, ngx_uint_t n, ngx_uint_t refresh);
/* Content-Security-Policy of that page; NGX_ERROR: no memory, or no SHA-256 */
ngx_int_t ngx_http_opsauth_status_policy(ngx_http_request_t *r);


/* one word of this process': nobody else writes it, others read it */
#define ngx_http_opsauth_count_own(word)                                      \
    __atomic_store_n(&(word), (word) + 1, __ATOMIC_RELAXED)


/* a verdict; for every request, so no more than it takes */

static ngx_inline void
ngx_http_opsauth_count(ngx_http_opsauth_store_t *store,
    ngx_http_opsauth_ctx_t *ctx)
{
    ngx_http_opsauth_counts_t  *counts;

    counts = (ngx_http_opsauth_counts_t *) store->counters.own;

    if (counts == NULL) {
        ngx_http_opsauth_count_shared(store, ctx);
        return;
    }

    ngx_http_opsauth_count_own(
                          counts->verdicts[ctx->shadow][ctx->verdict.reason]);
    ngx_http_opsauth_count_own(counts->cache[ctx->cache]);
}


#endif /* NGX_HTTP_OPSAUTH_STATUS_H */
