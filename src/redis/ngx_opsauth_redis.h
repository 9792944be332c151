/*
 * One connection of this worker to one Redis: connect, greeting (AUTH, SELECT,
 * CLIENT SETNAME, INFO, the store's marker), pipelined commands, timeouts with
 * tombstones, backoff, breaker. It lives on nginx's own connections and timers.
 *
 * Nothing connects before the first command, so helper processes and idle
 * workers cost nothing.
 */

#ifndef NGX_OPSAUTH_REDIS_H
#define NGX_OPSAUTH_REDIS_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_connect.h>

#include "oa_hot.h"
#include "ngx_opsauth_codec.h"
#include "ngx_opsauth_stats.h"


/* commands under way or queued on one connection */
#define NGX_OPSAUTH_REDIS_PENDING_MAX  1024

/* elements of one reply, of all levels together */
#define NGX_OPSAUTH_REDIS_REPLY_ELEMENTS  64


typedef struct ngx_opsauth_redis_s          ngx_opsauth_redis_t;
typedef struct ngx_opsauth_redis_command_s  ngx_opsauth_redis_command_t;
typedef struct ngx_opsauth_redis_conf_s     ngx_opsauth_redis_conf_t;
typedef struct ngx_opsauth_cluster_s        ngx_opsauth_cluster_t;
typedef struct ngx_opsauth_cluster_hooks_s  ngx_opsauth_cluster_hooks_t;


/* how TLS is spoken; shared by all connections of a store */
typedef struct {
#if (NGX_SSL)
    ngx_ssl_t       *ssl;
#endif
    unsigned         verify:1;
    unsigned         session_reuse:1;
} ngx_opsauth_redis_tls_t;


/* one that is asked where the primary is, or where slots are; lives as long as
   the cycle */
typedef struct {
    ngx_str_t        name;              /* "host:port" as written, for logs */
    ngx_str_t        host;
    in_port_t        port;
    ngx_addr_t      *addrs;             /* resolved when the config was read */
    ngx_uint_t       naddrs;
    unsigned         named:1;           /* host is a name, not a literal */
} ngx_opsauth_redis_sentinel_t;


/* what the configuration says; lives as long as the cycle */
struct ngx_opsauth_redis_conf_s {
    ngx_str_t        name;              /* of the store, for logs */
    ngx_str_t        url;               /* as written, for logs */
    ngx_addr_t      *addrs;             /* resolved when the config was read */
    ngx_uint_t       naddrs;
    ngx_str_t        host;              /* set if it is a name, not a literal */
    in_port_t        port;
    ngx_resolver_t  *resolver;          /* NULL: addrs are all there is */
    ngx_msec_t       resolver_timeout;
    ngx_uint_t       db;
    ngx_str_t        user;              /* empty: password alone, if any */
    ngx_str_t        password_file;     /* empty: no AUTH; re-read at each
                                           connect, so that it can rotate;
                                           terminated by a zero */
    ngx_str_t        password;          /* as it was when the configuration
                                           was read: for a worker that may not
                                           read the file (it is root's) */
    ngx_str_t        client_name;       /* "opsauth-<store>"; the worker's
                                           number is appended */
    ngx_str_t        marker;            /* key "<prefix>meta" */
    ngx_msec_t       connect_timeout;   /* with the handshake and greeting */
    ngx_msec_t       timeout;           /* of one command */
    ngx_opsauth_stats_t  *stats;        /* set before anything is created from
                                           this; NULL: nobody wants to know */
    ngx_opsauth_redis_tls_t  *tls;      /* NULL: plain */
    ngx_str_t        tls_name;          /* SNI, and whom the certificate must
                                           name; terminated by a zero. Empty
                                           with sentinels: the host that was
                                           written or named */
    ngx_opsauth_redis_sentinel_t  *sentinels;   /* they know where it is; then
                                           there are no addrs */
    ngx_uint_t       nsentinels;
    ngx_str_t        primary;           /* as the sentinels call it */
    ngx_str_t        sentinel_user;     /* as user, password_file, password */
    ngx_str_t        sentinel_password_file;
    ngx_str_t        sentinel_password;
    ngx_opsauth_redis_sentinel_t  *seeds;       /* nodes of a cluster, to begin
                                           with; then there are no addrs */
    ngx_uint_t       nseeds;
    const ngx_opsauth_cluster_hooks_t  *cluster;    /* NULL: it is none */
    /* who serves the store, as far as any worker has found, and when that one
       had looked it up; 0: nobody knows. No lock. NULL: nobody can tell */
    uint64_t       (*serves)(void *owner, ngx_msec_t *resolved);
    void            *owner;
    /* what follows is a cluster's own */
    void           (*release)(ngx_opsauth_redis_conf_t *conf);
    unsigned         clustered:1;       /* it leads to one node */
};


/* why a command has no reply, and what kind of error reply it got:
   the table of ngx_opsauth_redis_error.c */
typedef enum {
    NGX_OPSAUTH_REDIS_OK = 0,
    NGX_OPSAUTH_REDIS_DOWN,             /* in backoff, connecting failed, or
                                           too much of late was not answered
                                           in time */
    NGX_OPSAUTH_REDIS_CLOSED,           /* closed while the command was out */
    NGX_OPSAUTH_REDIS_TIMEOUT,
    NGX_OPSAUTH_REDIS_FULL,             /* too many commands pending */
    NGX_OPSAUTH_REDIS_BUSY,             /* -LOADING -BUSY -TRYAGAIN
                                           -MASTERDOWN -CLUSTERDOWN */
    NGX_OPSAUTH_REDIS_DENIED,           /* -NOAUTH -WRONGPASS -NOPERM */
    NGX_OPSAUTH_REDIS_WRONGTYPE,        /* this key's own trouble */
    NGX_OPSAUTH_REDIS_MOVED,            /* -MOVED -ASK -CROSSSLOT: it is a
                                           cluster, and the slot elsewhere */
    NGX_OPSAUTH_REDIS_ERROR,            /* any other error reply */
    NGX_OPSAUTH_REDIS_READONLY,         /* -READONLY -NOREPLICAS -OOM -MISCONF:
                                           it takes no writes */
    NGX_OPSAUTH_REDIS_NOSCRIPT,         /* -NOSCRIPT: no such script, so that
                                           nothing has run */
    NGX_OPSAUTH_REDIS_UNTRUSTED         /* TLS: not the server that it must be,
                                           or no agreement; commands get DOWN */
} ngx_opsauth_redis_error_e;


/*
 * Called once for each command that was accepted. reply is NULL unless error
 * is OK, and valid only during the call. Called from the connection's events:
 * it may issue commands, and must not run a request.
 */
typedef void (*ngx_opsauth_redis_handler_pt)(ngx_opsauth_redis_command_t *cmd,
    ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error);

/* owned by the caller from before send() until its handler was called */
struct ngx_opsauth_redis_command_s {
    ngx_queue_t                    queue;       /* the connection's */
    ngx_opsauth_redis_handler_pt   handler;
    void                          *data;        /* the caller's */
    ngx_msec_t                     sent_at;     /* CLOCK_MONOTONIC, ms, read
                                                   fresh before the write */
    ngx_msec_t                     deadline;
    ngx_str_t                      verb;        /* of a command, for logs; a
                                                   read has none */
    unsigned                       retried:1;
    unsigned                       done:1;      /* handler was called */
    ngx_opsauth_redis_t           *redis;       /* it was sent to; as long as
                                                   the handler is not left */
    /* what follows is the connection's own */
    unsigned                       once:1;      /* no read: never sent again,
                                                   wiped when written, and its
                                                   handler gets error replies */
    ngx_opsauth_redis_error_e      error;
};


/* one per worker and store, in malloc'ed memory of its own; NULL: no memory */
ngx_opsauth_redis_t *ngx_opsauth_redis_create(ngx_opsauth_redis_conf_t *conf,
    ngx_log_t *log);

/* closes at once; every pending command's handler is called with CLOSED */
void ngx_opsauth_redis_destroy(ngx_opsauth_redis_t *redis);

/*
 * Queues one idempotent read, of the key that name makes of the form; all of one
 * event-loop turn leave in one write. Never calls the handler before it returns.
 * NGX_OK        accepted: the handler will be called
 * NGX_DECLINED  not accepted, *error says why (DOWN, FULL); the handler will
 *               not be called
 */
OA_WARM ngx_int_t ngx_opsauth_redis_send(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_command_t *cmd, ngx_opsauth_codec_form_t *form,
    const ngx_str_t *name, ngx_opsauth_redis_error_e *error);

/* the store's marker stood there when this connection last looked */
ngx_uint_t ngx_opsauth_redis_is_marked(ngx_opsauth_redis_t *redis);

/* the store may have been emptied: it counts as not set up until the marker
   was seen again, ahead of the next read */
void ngx_opsauth_redis_unmark(ngx_opsauth_redis_t *redis);

/*
 * Who it is connected to: a number made of the server's run id, or of its
 * address where the ACL hides that; never 0. 0: not connected now.
 */
uint64_t ngx_opsauth_redis_server(ngx_opsauth_redis_t *redis);

/* when that connection was begun and the address looked up; CLOCK_MONOTONIC,
   ms */
ngx_msec_t ngx_opsauth_redis_resolved(ngx_opsauth_redis_t *redis);

/*
 * Another server than this one serves the store by now: closes the connection
 * soon, not within this call; pending commands go out on a new one. Calls that
 * follow one another too closely do nothing.
 */
void ngx_opsauth_redis_drop(ngx_opsauth_redis_t *redis);

/* where it is counted; never NULL */
ngx_opsauth_stats_t *ngx_opsauth_redis_stats(ngx_opsauth_redis_t *redis);

/* in the handler of a command that has a reply: when that was read, us */
uint64_t ngx_opsauth_redis_heard_us(ngx_opsauth_redis_t *redis);

/*
 * The sentinels name this primary by now ("host:port"): the same at once, unless
 * it is the one that this connection was led to. 1: it was another one.
 */
ngx_uint_t ngx_opsauth_redis_leave(ngx_opsauth_redis_t *redis,
    const ngx_str_t *primary);

/* one table for all error replies; reply->type is ERROR */
ngx_opsauth_redis_error_e ngx_opsauth_redis_classify(
    ngx_opsauth_reply_t *reply);

const char *ngx_opsauth_redis_error_name(ngx_opsauth_redis_error_e error);


#endif /* NGX_OPSAUTH_REDIS_H */
