/*
 * The invalidation feed: a connection of its own on which Redis tells of every
 * change of a record (docs/cache.md). Tracking and subscription are made on
 * this connection and for it, so they live and die with one socket.
 *
 * It knows neither the cache nor other feeds. A close tells the owner nothing:
 * what is not certified any more lapses by itself.
 */

#ifndef NGX_OPSAUTH_FEED_H
#define NGX_OPSAUTH_FEED_H

#include "ngx_opsauth_redis.h"


/* prefixes that one feed can track */
#define NGX_OPSAUTH_FEED_PREFIXES_MAX  4


typedef struct ngx_opsauth_feed_s  ngx_opsauth_feed_t;


typedef enum {
    NGX_OPSAUTH_FEED_OFF = 0,           /* not started, or refused */
    NGX_OPSAUTH_FEED_CONNECTING,        /* also while Redis can't be reached */
    NGX_OPSAUTH_FEED_TRACKING,          /* Redis tells of every change */
    NGX_OPSAUTH_FEED_CHANNEL            /* whoever changes something tells */
} ngx_opsauth_feed_mode_e;


/* called from the connection's events: they must not run a request */
typedef struct {
    void       *owner;

    /* one record changed: its whole key in Redis; not terminated */
    void      (*changed)(void *owner, ngx_str_t *key);

    /* everything may have changed */
    void      (*flushed)(void *owner);

    /*
     * TRACKING: the PONG of a PING that was sent at sent_at, on a feed whose
     * first PONG was read at started (not later than that: rounded up), from
     * this server, whose address was looked up at resolved. NGX_DECLINED:
     * another server covers by now; the feed closes and resolves anew.
     */
    ngx_int_t (*certified)(void *owner, uint64_t server, ngx_msec_t resolved,
        ngx_msec_t started, ngx_msec_t sent_at);

    /* CHANNEL, OFF: it can't certify anything, and this is the server.
       NGX_DECLINED as above. */
    ngx_int_t (*found)(void *owner, uint64_t server, ngx_msec_t resolved);
} ngx_opsauth_feed_hooks_t;


/*
 * conf, and the bytes of prefixes and channel, live as long as the cycle;
 * prefixes (at most NGX_OPSAUTH_FEED_PREFIXES_MAX) and hooks are copied.
 * NULL: no memory.
 */
ngx_opsauth_feed_t *ngx_opsauth_feed_create(ngx_opsauth_redis_conf_t *conf,
    ngx_msec_t lease, const ngx_str_t *prefixes, ngx_uint_t nprefixes,
    const ngx_str_t *channel, const ngx_opsauth_feed_hooks_t *hooks,
    ngx_log_t *log);

/* from init_process; connects from the event loop, never at once */
void ngx_opsauth_feed_start(ngx_opsauth_feed_t *feed);

/* closes at once; a hook may call it */
void ngx_opsauth_feed_destroy(ngx_opsauth_feed_t *feed);

/* as ngx_opsauth_redis_leave() */
ngx_uint_t ngx_opsauth_feed_leave(ngx_opsauth_feed_t *feed,
    const ngx_str_t *primary);

ngx_opsauth_feed_mode_e ngx_opsauth_feed_mode(ngx_opsauth_feed_t *feed);


#endif /* NGX_OPSAUTH_FEED_H */
