/*
 * What the rooms of the Redis connection share; nobody else includes it.
 *
 * ngx_opsauth_redis.c          commands: queue, write, replies, deadlines
 * ngx_opsauth_redis_connect.c  the connection: from DOWN to READY and back
 * ngx_opsauth_redis_greet.c    AUTH, SELECT, CLIENT SETNAME, the marker
 * ngx_opsauth_redis_log.c      what the error log gets of it
 * ngx_opsauth_redis_error.c    what error replies mean
 *
 * Slots are a ring in the order of the wire:
 *
 *     head                                                    head + nslots
 *     | ndead tombstones | sent, waiting for replies | not sent yet |
 *     |<---------------- nsent --------------------->|
 *
 * The bytes of all slots stand in "out" in the same order, from
 * out.start + answered on: a command can be sent again without its caller.
 */

#ifndef NGX_OPSAUTH_REDIS_CONN_H
#define NGX_OPSAUTH_REDIS_CONN_H

#include "ngx_opsauth_redis.h"


/* one more for the marker's read */
#define NGX_OPSAUTH_REDIS_SLOTS        (NGX_OPSAUTH_REDIS_PENDING_MAX + 1)
/* AUTH, SELECT, CLIENT SETNAME, the marker */
#define NGX_OPSAUTH_REDIS_GREETING     4


typedef enum {
    NGX_OPSAUTH_REDIS_ST_DOWN = 0,
    NGX_OPSAUTH_REDIS_ST_RESOLVING,
    NGX_OPSAUTH_REDIS_ST_CONNECTING,
    NGX_OPSAUTH_REDIS_ST_GREETING,
    NGX_OPSAUTH_REDIS_ST_READY
} ngx_opsauth_redis_state_e;


typedef struct {
    ngx_opsauth_redis_command_t  *command;      /* NULL: a tombstone */
    ngx_msec_t                    sent_at;
    uint32_t                      size;         /* bytes in out */
    uint32_t                      flush;        /* number of its flush */
} ngx_opsauth_redis_slot_t;


typedef void (*ngx_opsauth_redis_step_pt)(ngx_opsauth_redis_t *redis,
    ngx_opsauth_reply_t *reply);


struct ngx_opsauth_redis_s {
    /* debug logs take ev->data for a connection and read its fd, the fourth */
    void                         *ident[4];

    ngx_opsauth_redis_conf_t     *conf;
    ngx_log_t                    *log;          /* the cycle's */
    ngx_opsauth_redis_state_e     state;

    /* of one connection, or one attempt to get one */
    ngx_connection_t             *connection;
    ngx_pool_t                   *pool;
    ngx_opsauth_codec_t          *codec;
    ngx_resolver_ctx_t           *resolving;
    ngx_peer_connection_t         peer;
    ngx_addr_t                   *addrs;
    ngx_uint_t                    naddrs;
    ngx_uint_t                    tries;        /* addresses not tried yet */
    ngx_buf_t                     greeting;
    ngx_opsauth_redis_step_pt     steps[NGX_OPSAUTH_REDIS_GREETING];
    ngx_uint_t                    nsteps;
    ngx_uint_t                    step;
    ngx_uint_t                    logged;       /* bits of error classes */

    /* across connections */
    ngx_uint_t                    turn;         /* of the addresses */
    ngx_uint_t                    failures;     /* in a row */
    ngx_msec_t                    retry_at;     /* failures: not before */
    ngx_opsauth_redis_error_e     trouble;      /* as last logged */
    ngx_msec_t                    slow_at;      /* slow, busy: logged at */

    ngx_opsauth_redis_command_t   marker;
    ngx_msec_t                    marker_at;    /* last read */

    ngx_buf_t                     out;
    size_t                        answered;
    uint32_t                      flushes;
    uint32_t                      heard;        /* flush before last bytes */

    ngx_uint_t                    head;
    ngx_uint_t                    nslots;
    ngx_uint_t                    nsent;
    ngx_uint_t                    ndead;
    ngx_msec_t                    late_at;      /* late: since then */

    ngx_queue_t                   ending;       /* handlers to be called */

    ngx_event_t                   flush;        /* posted */
    ngx_event_t                   timer;        /* of the attempt; of slots */
    ngx_uint_t                    busy;         /* our own frames above */

    unsigned                      marked:1;
    unsigned                      marking:1;    /* a marker's read is out */
    unsigned                      late:1;       /* no reply came in time */
    unsigned                      closing:1;    /* nginx shuts us down */
    unsigned                      doomed:1;     /* freed when not busy */

    ngx_opsauth_redis_slot_t      slots[NGX_OPSAUTH_REDIS_SLOTS];
};


typedef struct {
    ngx_str_t                    text;
    ngx_opsauth_redis_error_e    error;
    ngx_uint_t                   fatal;         /* the connection is no use */
    const char                  *remedy;
} ngx_opsauth_redis_entry_t;


/* ngx_opsauth_redis.c */

/* of live commands of our callers */
ngx_uint_t ngx_opsauth_redis_live(ngx_opsauth_redis_t *redis);
void ngx_opsauth_redis_flush(ngx_opsauth_redis_t *redis);
void ngx_opsauth_redis_reply(ngx_opsauth_redis_t *redis,
    ngx_opsauth_reply_t *reply);
void ngx_opsauth_redis_marker_reply(ngx_opsauth_redis_t *redis,
    ngx_opsauth_reply_t *reply);
/* takes all commands off; those that may be retried stay queued, the others
   are left for end(). Returns how many stay. */
ngx_uint_t ngx_opsauth_redis_take(ngx_opsauth_redis_t *redis, ngx_uint_t retry,
    ngx_opsauth_redis_error_e error);
/* calls handlers: anything may have happened when it returns */
void ngx_opsauth_redis_end(ngx_opsauth_redis_t *redis);
/* after an event of ours: is there anything left to do? */
void ngx_opsauth_redis_rest(ngx_opsauth_redis_t *redis);
void ngx_opsauth_redis_enter(ngx_opsauth_redis_t *redis);
/* may free it */
void ngx_opsauth_redis_leave(ngx_opsauth_redis_t *redis);


/* ngx_opsauth_redis_connect.c */

void ngx_opsauth_redis_connect(ngx_opsauth_redis_t *redis);
void ngx_opsauth_redis_attempt_timeout(ngx_opsauth_redis_t *redis);
void ngx_opsauth_redis_read(ngx_opsauth_redis_t *redis);
/* the connection is lost or useless; commands are retried or ended */
void ngx_opsauth_redis_fail(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_error_e error, ngx_err_t err, const char *why);
/* closes without complaint */
void ngx_opsauth_redis_quit(ngx_opsauth_redis_t *redis);
void ngx_opsauth_redis_fail_reply(ngx_opsauth_redis_t *redis,
    const ngx_opsauth_redis_entry_t *entry, ngx_opsauth_reply_t *reply,
    const char *command);

/* ngx_opsauth_redis_greet.c */

void ngx_opsauth_redis_greet(ngx_opsauth_redis_t *redis);
void ngx_opsauth_redis_greet_write(ngx_opsauth_redis_t *redis);
void ngx_opsauth_redis_greet_reply(ngx_opsauth_redis_t *redis,
    ngx_opsauth_reply_t *reply);
/* what was written of it may be a password */
void ngx_opsauth_redis_greet_wipe(ngx_opsauth_redis_t *redis);


/* ngx_opsauth_redis_log.c */

/* the two lines that an outage costs in the log */
void ngx_opsauth_redis_trouble(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_error_e error, ngx_err_t err, const char *why);
/* a real reply came: the trouble and the backoff are over */
void ngx_opsauth_redis_alive(ngx_opsauth_redis_t *redis);
/* how bad: 0 for a Redis that can't be reached at the moment */
ngx_uint_t ngx_opsauth_redis_class(ngx_opsauth_redis_error_e error);
void ngx_opsauth_redis_error_log(ngx_opsauth_redis_t *redis,
    const ngx_opsauth_redis_entry_t *entry, ngx_opsauth_reply_t *reply);
void ngx_opsauth_redis_marker_log(ngx_opsauth_redis_t *redis,
    ngx_opsauth_reply_t *reply);
/* a store that nobody has set up, or that lost its data */
void ngx_opsauth_redis_unmarked_log(ngx_opsauth_redis_t *redis);
/* of a connection's log */
u_char *ngx_opsauth_redis_log_error(ngx_log_t *log, u_char *buf, size_t len);


/* ngx_opsauth_redis_error.c */

const ngx_opsauth_redis_entry_t *ngx_opsauth_redis_error_entry(
    ngx_opsauth_reply_t *reply);
/* its first word, the only part that may be logged */
ngx_str_t ngx_opsauth_redis_error_word(ngx_opsauth_reply_t *reply);


static ngx_inline ngx_opsauth_redis_slot_t *
ngx_opsauth_redis_slot(ngx_opsauth_redis_t *redis, ngx_uint_t i)
{
    i += redis->head;

    if (i >= NGX_OPSAUTH_REDIS_SLOTS) {
        i -= NGX_OPSAUTH_REDIS_SLOTS;
    }

    return &redis->slots[i];
}


#endif /* NGX_OPSAUTH_REDIS_CONN_H */
