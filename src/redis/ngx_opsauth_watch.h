/*
 * A subscription to one sentinel: it tells of a failover at once. It lives as
 * the feed does, with whose worker it is (never a helper process).
 */

#ifndef NGX_OPSAUTH_WATCH_H
#define NGX_OPSAUTH_WATCH_H

#include "ngx_opsauth_redis.h"


typedef struct ngx_opsauth_watch_s  ngx_opsauth_watch_t;


/*
 * The sentinel names another primary ("host:port") than it did before; server is
 * the number that goes with the address (ngx_opsauth_redis_server()); heard: now,
 * CLOCK_MONOTONIC in ms. Called from the connection's events: it must not run a request.
 */
typedef void (*ngx_opsauth_watch_pt)(void *owner, ngx_str_t *primary,
    uint64_t server, ngx_msec_t heard);


/* conf lives as long as the cycle; n: which of its sentinels. NULL: no memory */
ngx_opsauth_watch_t *ngx_opsauth_watch_create(ngx_opsauth_redis_conf_t *conf,
    ngx_uint_t n, ngx_opsauth_watch_pt moved, void *owner, ngx_log_t *log);

/* from init_process; connects from the event loop, never at once */
void ngx_opsauth_watch_start(ngx_opsauth_watch_t *watch);

/* closes at once; a hook may call it */
void ngx_opsauth_watch_destroy(ngx_opsauth_watch_t *watch);


#endif /* NGX_OPSAUTH_WATCH_H */
