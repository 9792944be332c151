/*
 * What a command connection and a feed have in common: one connection to one
 * Redis, from DOWN to READY and back, with its greeting, its backoff and its
 * lines in the log. Nobody outside src/redis includes it.
 *
 * ngx_opsauth_link.c         the connection
 * ngx_opsauth_link_addr.c    where the server is
 * ngx_opsauth_link_sentinel.c  where the primary is, if sentinels know
 * ngx_opsauth_link_tls.c     TLS
 * ngx_opsauth_link_greet.c   AUTH, SELECT, CLIENT SETNAME, who the server is
 * ngx_opsauth_link_log.c     what the error log gets of it
 * ngx_opsauth_redis_error.c  what error replies mean
 *
 * A link is the first member of what it serves, which calls it "the user".
 */

#ifndef NGX_OPSAUTH_LINK_H
#define NGX_OPSAUTH_LINK_H

#include "ngx_opsauth_redis.h"


/* AUTH, SELECT, CLIENT SETNAME, INFO, ROLE, and one of the user's own */
#define NGX_OPSAUTH_LINK_STEPS  6

/* "host:port" of a primary, as sentinels name it */
#define NGX_OPSAUTH_LINK_PRIMARY_MAX  272


typedef struct ngx_opsauth_link_s      ngx_opsauth_link_t;
typedef struct ngx_opsauth_link_tls_s  ngx_opsauth_link_tls_t;
typedef struct ngx_opsauth_link_ask_s  ngx_opsauth_link_ask_t;


typedef enum {
    NGX_OPSAUTH_LINK_DOWN = 0,
    NGX_OPSAUTH_LINK_ASKING,            /* between two sentinels */
    NGX_OPSAUTH_LINK_RESOLVING,
    NGX_OPSAUTH_LINK_CONNECTING,
    NGX_OPSAUTH_LINK_HANDSHAKE,         /* of TLS */
    NGX_OPSAUTH_LINK_GREETING,
    NGX_OPSAUTH_LINK_READY
} ngx_opsauth_link_state_e;


typedef void (*ngx_opsauth_link_step_pt)(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply);


/* what makes one kind of user differ from another */
typedef struct {
    const char   *title;            /* "<title> "URL" of store "main" is ..." */
    const char   *suffix;           /* of the client's name */
    const char   *action;           /* "... while <action>", once READY */
    ngx_uint_t    level;            /* of the line that says "is down" */
    unsigned      idle:1;           /* nginx may close it whenever it quits */
    unsigned      skip:1;           /* larger replies are cut, not refused */
    unsigned      strings:1;        /* it takes arrays as strings */
    unsigned      primary:1;        /* of a cluster it takes no replica, though
                                       that would say where to go */

    /* of one reply */
    ngx_uint_t    max_elements;
    size_t        max_bytes;

    /* adds to the greeting by ngx_opsauth_link_step() */
    ngx_int_t   (*greet)(ngx_opsauth_link_t *link);
    /* the sentinels lead it to another primary than before; may be NULL */
    void        (*led)(ngx_opsauth_link_t *link);
    /* the greeting was answered */
    void        (*ready)(ngx_opsauth_link_t *link);
    /* READY: a reply; the socket can be written to; something was read */
    void        (*reply)(ngx_opsauth_link_t *link, ngx_opsauth_reply_t *reply);
    void        (*write)(ngx_opsauth_link_t *link);
    void        (*heard)(ngx_opsauth_link_t *link);
    /* the connection is lost or useless: it is the user who calls close() */
    void        (*fail)(ngx_opsauth_link_t *link,
        ngx_opsauth_redis_error_e error, ngx_err_t err, const char *why);
    /* nginx wants it closed: without complaint */
    void        (*quit)(ngx_opsauth_link_t *link);
    /* after an event: is there anything left to do? */
    void        (*rest)(ngx_opsauth_link_t *link);
    /* an event is over: what may have changed of its gauges */
    void        (*publish)(ngx_opsauth_link_t *link);
    /* nobody uses it any more */
    void        (*free)(ngx_opsauth_link_t *link);
} ngx_opsauth_link_kind_t;


struct ngx_opsauth_link_s {
    /* debug logs take ev->data for a connection and read its fd, the fourth */
    void                           *ident[4];

    const ngx_opsauth_link_kind_t  *kind;
    ngx_opsauth_redis_conf_t       *conf;
    ngx_log_t                      *log;        /* the cycle's */
    ngx_opsauth_link_state_e        state;

    /* of one connection, or one attempt to get one */
    ngx_connection_t               *connection;
    ngx_pool_t                     *pool;
    ngx_opsauth_codec_t            *codec;
    ngx_resolver_ctx_t             *resolving;
    ngx_peer_connection_t           peer;
    ngx_addr_t                     *addrs;
    ngx_uint_t                      naddrs;
    ngx_uint_t                      tries;      /* addresses not tried yet */
    ngx_str_t                       host;       /* to be resolved */
    in_port_t                       port;
    ngx_str_t                       tls_name;
    const ngx_opsauth_redis_sentinel_t  *sentinel;  /* whom it talks to; NULL:
                                                   to the server itself */
    ngx_opsauth_link_ask_t         *ask;        /* what the sentinels said */
    ngx_buf_t                       greeting;
    ngx_opsauth_link_step_pt        steps[NGX_OPSAUTH_LINK_STEPS];
    ngx_uint_t                      nsteps;
    ngx_uint_t                      step;
    uint64_t                        server;     /* who answers; 0: not known */
    ngx_msec_t                      resolved;   /* its address was looked up,
                                                   not earlier than then */
    ngx_uint_t                      logged;     /* bits of error classes */
    ngx_opsauth_link_tls_t         *tls;        /* NULL: plain */

    /* across connections */
    ngx_uint_t                      turn;       /* of the addresses */
    ngx_uint_t                      failures;   /* in a row */
    ngx_msec_t                      retry_at;   /* failures: not before */
    ngx_opsauth_redis_error_e       trouble;    /* as last logged */
    ngx_msec_t                      slow_at;    /* slow, busy: logged at */
    void                           *session;    /* of TLS, to be taken up */
    ngx_uint_t                      first;      /* sentinel that is asked */
    u_char                          primary[NGX_OPSAUTH_LINK_PRIMARY_MAX];
    size_t                          primary_len;    /* where it was led to */
    const ngx_opsauth_redis_sentinel_t  *watched;   /* a sentinel is all that
                                                   it is for */
    ngx_event_t                     next;       /* of an attempt's steps */

    ngx_event_t                     timer;      /* of the attempt; whether it
                                                   is cancelable is the user's
                                                   to say */
    ngx_uint_t                      busy;       /* our own frames above */

    unsigned                        heard:1;    /* it sent something */
    unsigned                        doomed:1;   /* freed when not busy */
    unsigned                        unresolved:1;   /* its name, as logged */
};


typedef struct {
    ngx_str_t                    text;
    ngx_opsauth_redis_error_e    error;
    ngx_uint_t                   fatal;         /* the connection is no use */
    ngx_uint_t                   elsewhere;     /* another server may serve */
    const char                  *remedy;
} ngx_opsauth_redis_entry_t;


/* ngx_opsauth_link.c */

void ngx_opsauth_link_init(ngx_opsauth_link_t *link,
    const ngx_opsauth_link_kind_t *kind, ngx_opsauth_redis_conf_t *conf,
    ngx_log_t *log);
/* DOWN: begins an attempt; may fail at once */
void ngx_opsauth_link_connect(ngx_opsauth_link_t *link);
/* the second half of it: link->addrs are known */
void ngx_opsauth_link_open(ngx_opsauth_link_t *link);
/* the third: the server may be talked to */
void ngx_opsauth_link_begin(ngx_opsauth_link_t *link);
/* a new one for a new stream. NGX_ERROR: no memory */
ngx_int_t ngx_opsauth_link_decoder(ngx_opsauth_link_t *link);
OA_WARM void ngx_opsauth_link_read(ngx_opsauth_link_t *link);
/* sends what it can. NGX_ERROR: the link has failed */
ngx_int_t ngx_opsauth_link_send(ngx_opsauth_link_t *link, ngx_buf_t *out);
/* tells the user; when it returns the connection is gone */
void ngx_opsauth_link_fail(ngx_opsauth_link_t *link,
    ngx_opsauth_redis_error_e error, ngx_err_t err, const char *why);
void ngx_opsauth_link_close(ngx_opsauth_link_t *link);
/* the connection alone: the attempt goes on with another one */
void ngx_opsauth_link_hang_up(ngx_opsauth_link_t *link);
/* what outlives connections; the link was closed */
void ngx_opsauth_link_cleanup(ngx_opsauth_link_t *link);
/* around every event: a user that is destroyed meanwhile is freed by the last
   to leave */
void ngx_opsauth_link_enter(ngx_opsauth_link_t *link);
void ngx_opsauth_link_leave(ngx_opsauth_link_t *link);
/* CLOCK_MONOTONIC in ms, the clock of ngx_current_msec, read now */
ngx_msec_t ngx_opsauth_link_now(void);
/* the same in us */
uint64_t ngx_opsauth_link_now_us(void);


/* ngx_opsauth_link_addr.c */

/* link->host and link->port; link->addrs stay where nobody knows it. NGX_OK:
   link_open() has been called or will be */
ngx_int_t ngx_opsauth_link_resolve(ngx_opsauth_link_t *link);


/* ngx_opsauth_link_sentinel.c */

/* begins an attempt: asks them, or talks to the one that is watched */
void ngx_opsauth_link_ask(ngx_opsauth_link_t *link);
/* adds to the greeting of a sentinel */
ngx_int_t ngx_opsauth_link_ask_greet(ngx_opsauth_link_t *link);
/* it has answered all of it */
void ngx_opsauth_link_ask_done(ngx_opsauth_link_t *link);
/* it is no help: on to the next one, from the event loop */
void ngx_opsauth_link_ask_failed(ngx_opsauth_link_t *link, ngx_err_t err,
    const char *why);
/* of ["host", "port"]: "host:port", of that many bytes; 0: it is none */
size_t ngx_opsauth_link_primary(ngx_str_t *host, ngx_str_t *port,
    u_char *primary);
/* was it led to another one? */
ngx_uint_t ngx_opsauth_link_astray(ngx_opsauth_link_t *link,
    const ngx_str_t *primary);


/* ngx_opsauth_link_tls.c */

/* connected: begins the handshake, which ends in link_begin() or link_fail() */
void ngx_opsauth_link_tls_start(ngx_opsauth_link_t *link);
/* goes on with it after an event */
void ngx_opsauth_link_tls_handshake(ngx_opsauth_link_t *link);
/* why TLS has failed, with a zero at its end; 0: it has not */
size_t ngx_opsauth_link_tls_said(ngx_opsauth_link_t *link, u_char *why,
    size_t size);
/* recv() returned n: fails, with what that tells of TLS where it is too much or
   too little */
void ngx_opsauth_link_lost(ngx_opsauth_link_t *link, ssize_t n, ngx_err_t err);
/* the session that the next connection would take up */
void ngx_opsauth_link_tls_forget(ngx_opsauth_link_t *link);
/* before the socket is closed; never blocks */
void ngx_opsauth_link_tls_close(ngx_opsauth_link_t *link);
/* verified as an address, and never sent as SNI */
ngx_uint_t ngx_opsauth_link_tls_is_addr(const ngx_str_t *name);


/* ngx_opsauth_link_greet.c */

void ngx_opsauth_link_greet(ngx_opsauth_link_t *link);
void ngx_opsauth_link_greet_write(ngx_opsauth_link_t *link);
void ngx_opsauth_link_greet_reply(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply);
/* an answer to ROLE */
ngx_uint_t ngx_opsauth_link_is_primary(ngx_opsauth_reply_t *reply);
/* a server's number, of its run id or address; never 0 */
uint64_t ngx_opsauth_link_hash(u_char *data, size_t len);
/* what was written of it may be a password */
void ngx_opsauth_link_greet_wipe(ngx_opsauth_link_t *link);
ngx_int_t ngx_opsauth_link_step(ngx_opsauth_link_t *link,
    ngx_opsauth_link_step_pt step, ngx_uint_t n, const ngx_str_t *words);


/* ngx_opsauth_link_log.c */

/* the two lines that an outage costs in the log */
void ngx_opsauth_link_trouble(ngx_opsauth_link_t *link,
    ngx_opsauth_redis_error_e error, ngx_err_t err, const char *why);
/* a real reply came: the trouble and the backoff are over */
OA_WARM void ngx_opsauth_link_alive(ngx_opsauth_link_t *link);
/* how bad: 0 for a Redis that can't be reached at the moment */
ngx_uint_t ngx_opsauth_link_class(ngx_opsauth_redis_error_e error);
/* link_fail() for an error reply */
void ngx_opsauth_link_fail_reply(ngx_opsauth_link_t *link,
    const ngx_opsauth_redis_entry_t *entry, ngx_opsauth_reply_t *reply,
    const char *command);
/* sets retry_at; returns how long that is from now */
ngx_msec_t ngx_opsauth_link_backoff(ngx_opsauth_link_t *link,
    ngx_opsauth_redis_error_e error);
/* of a connection's log */
u_char *ngx_opsauth_link_log_error(ngx_log_t *log, u_char *buf, size_t len);


/* ngx_opsauth_redis_error.c */

const ngx_opsauth_redis_entry_t *ngx_opsauth_redis_error_entry(
    ngx_opsauth_reply_t *reply);
/* its first word, the only part that may be logged */
ngx_str_t ngx_opsauth_redis_error_word(ngx_opsauth_reply_t *reply);


#endif /* NGX_OPSAUTH_LINK_H */
