/*
 * What the two rooms of lookups share; nobody else includes it.
 *
 * ngx_opsauth_lookup.c          flights and their waiters
 * ngx_opsauth_lookup_cluster.c  a flight's way through a cluster
 */

#ifndef NGX_OPSAUTH_LOOKUP_FLIGHT_H
#define NGX_OPSAUTH_LOOKUP_FLIGHT_H

#include "ngx_opsauth_lookup.h"
#include "ngx_opsauth_cluster.h"


/* prefix and name of a record; the codec has no limit of its own */
#define NGX_OPSAUTH_LOOKUP_KEY_MAX    512
/* credentials and accounts, and room to spare */
#define NGX_OPSAUTH_LOOKUP_KINDS_MAX  4
#define NGX_OPSAUTH_LOOKUP_BUCKETS    1024


typedef struct {
    const ngx_opsauth_lookup_kind_t  *kind;
    ngx_opsauth_codec_form_t          command;
} ngx_opsauth_lookup_form_t;


struct ngx_opsauth_lookup_s {
    ngx_opsauth_redis_t         *redis;
    ngx_opsauth_cluster_t       *cluster;       /* NULL: redis is one server */
    ngx_opsauth_codec_form_t     marker;        /* HMGET of the store's */
    ngx_uint_t                   marker_slot;
    ngx_opsauth_stats_t         *stats;
    ngx_opsauth_lookup_hooks_t   hooks;
    ngx_log_t                   *log;
    ngx_uint_t                   nflights;      /* under way */
    ngx_uint_t                   nwaiters;
    ngx_uint_t                   nforms;
    ngx_opsauth_lookup_form_t    forms[NGX_OPSAUTH_LOOKUP_KINDS_MAX];
    ngx_queue_t                  free;
    ngx_queue_t                  buckets[NGX_OPSAUTH_LOOKUP_BUCKETS];
};


/* ngx_opsauth_lookup.c */

/* sends the read, and makes it one that may be joined */
OA_WARM ngx_int_t ngx_opsauth_lookup_ask(ngx_opsauth_flight_t *flight);
OA_WARM void ngx_opsauth_lookup_handler(ngx_opsauth_redis_command_t *cmd,
    ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error);
ngx_opsauth_codec_form_t *ngx_opsauth_lookup_form(
    ngx_opsauth_lookup_t *lookup, const ngx_opsauth_lookup_kind_t *kind);
/* it is over: values of the record, or none, and why; heard: when, us */
void ngx_opsauth_lookup_finish(ngx_opsauth_flight_t *flight, ngx_str_t *values,
    ngx_opsauth_status_e why, uint64_t heard);


/* ngx_opsauth_lookup_cluster.c */

/* NGX_ERROR: no memory */
ngx_int_t ngx_opsauth_lookup_cluster_init(ngx_opsauth_lookup_t *lookup);
/* of a flight that begins */
void ngx_opsauth_lookup_slot(ngx_opsauth_flight_t *flight);
/* to the node that has the slot, or the one that was named */
ngx_int_t ngx_opsauth_lookup_send(ngx_opsauth_flight_t *flight);
/* NGX_OK: it was answered by a node that has not got it, or that is gone, and
   goes on to another one */
ngx_int_t ngx_opsauth_lookup_follow(ngx_opsauth_flight_t *flight,
    ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error);
/* NGX_OK: there is no such record, and whether the store was set up is asked
   first: another node knows that */
ngx_int_t ngx_opsauth_lookup_absent(ngx_opsauth_flight_t *flight,
    const ngx_str_t *values);


#endif /* NGX_OPSAUTH_LOOKUP_FLIGHT_H */
