/*
 * What the rooms of the command connection share; nobody else includes it.
 *
 * ngx_opsauth_redis.c        commands: queue, replies
 * ngx_opsauth_redis_out.c    what is written, and when
 * ngx_opsauth_command.c      those that are no reads, their callers' side
 * ngx_opsauth_redis_slow.c   deadlines, and the breaker
 * ngx_opsauth_redis_lost.c   what becomes of commands when the link is lost
 * ngx_opsauth_redis_log.c    what the error log and the status page get
 * ngx_opsauth_link.h         the connection itself
 *
 * Slots are a ring in the order of the wire:
 *
 *     head                                                    head + nslots
 *     | ndead tombstones | sent, waiting for replies | not sent yet |
 *     |<---------------- nsent --------------------->|
 *
 * The bytes of all slots stand in "out" in the same order, from
 * out.start + answered on: a read can be sent again without its caller. Those
 * of a command that is no read are wiped as soon as they are written.
 */

#ifndef NGX_OPSAUTH_REDIS_CONN_H
#define NGX_OPSAUTH_REDIS_CONN_H

#include "ngx_opsauth_link.h"


/* one more for the marker's read */
#define NGX_OPSAUTH_REDIS_SLOTS        (NGX_OPSAUTH_REDIS_PENDING_MAX + 1)

#define NGX_OPSAUTH_REDIS_OUT_MAX      (1024 * 1024)
/* of one reply */
#define NGX_OPSAUTH_REDIS_REPLY_ELEMENTS  64


typedef struct {
    ngx_opsauth_redis_command_t  *command;      /* NULL: a tombstone */
    ngx_msec_t                    sent_at;
    uint64_t                      sent_us;      /* likewise, to be counted */
    uint32_t                      size;         /* bytes in out */
    uint32_t                      flush;        /* number of its flush */
    unsigned                      secret:1;     /* to be wiped in out */
} ngx_opsauth_redis_slot_t;


/* which of the commands that are out may go out again */
typedef enum {
    NGX_OPSAUTH_REDIS_RETRY_NONE = 0,
    NGX_OPSAUTH_REDIS_RETRY_UNHEARD,    /* nothing was read since */
    NGX_OPSAUTH_REDIS_RETRY_ALL
} ngx_opsauth_redis_retry_e;


typedef struct ngx_opsauth_cluster_node_s  ngx_opsauth_cluster_node_t;


struct ngx_opsauth_redis_s {
    ngx_opsauth_link_t            link;

    ngx_opsauth_cluster_t        *cluster;      /* in place of a connection of
                                                   its own; or NULL */
    ngx_opsauth_cluster_node_t   *node;         /* of a cluster, to which it
                                                   leads; or NULL */
    ngx_opsauth_redis_command_t   asking;       /* goes with the next one */

    ngx_opsauth_stats_t          *stats;
    ngx_opsauth_stats_t           unwanted;     /* where nobody wants them */

    uint64_t                      serving;      /* when the attempt began */
    uint64_t                      served;       /* the server it was on last */

    ngx_opsauth_redis_command_t   marker;
    ngx_msec_t                    marker_at;    /* last read */

    ngx_buf_t                     out;
    size_t                        answered;
    uint32_t                      flushes;
    uint32_t                      heard;        /* flush before last bytes */
    uint64_t                      heard_us;     /* when they were read */
    ngx_uint_t                    secrets;      /* slots to be wiped */

    ngx_uint_t                    head;
    ngx_uint_t                    nslots;
    ngx_uint_t                    nsent;
    ngx_uint_t                    ndead;
    ngx_msec_t                    late_at;      /* late: since then */

    ngx_queue_t                   ending;       /* handlers to be called */

    ngx_event_t                   flush;        /* posted */
    ngx_event_t                   timer;        /* of slots */

    /* the breaker */
    ngx_event_t                   probe;        /* open: look again */
    ngx_msec_t                    probe_step;
    ngx_uint_t                    timeouts;     /* in a row */
    ngx_msec_t                    window_at;    /* counted since */
    ngx_uint_t                    window_all;
    ngx_uint_t                    window_late;
    ngx_uint_t                    half_open;    /* answers that are awaited
                                                   before it closes */

    ngx_msec_t                    dropped_at;
    uint64_t                      published[3]; /* of a cluster's node */

    /* a command was refused, as last logged */
    const ngx_opsauth_redis_entry_t  *refused;
    u_char                        refused_verb[16];
    ngx_msec_t                    refused_at;

    unsigned                      marked:1;
    unsigned                      marking:1;    /* a marker's read is out */
    unsigned                      late:1;       /* no reply came in time */
    unsigned                      closing:1;    /* nginx shuts us down */
    unsigned                      open:1;       /* the breaker is */
    unsigned                      dropping:1;
    unsigned                      dropped:1;    /* dropped_at is set */

    ngx_opsauth_redis_slot_t      slots[NGX_OPSAUTH_REDIS_SLOTS];
};


/* ngx_opsauth_redis.c */

/* of both kinds: may there be one more now? */
OA_WARM ngx_int_t ngx_opsauth_redis_accept(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_error_e *error);
/* after accept(): its bytes were put into out, from "before" on */
OA_WARM void ngx_opsauth_redis_queue(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_command_t *cmd, size_t before);
/* one that is no read, for src/redis itself: cmd->handler and cmd->data are set.
   As ngx_opsauth_redis_send() */
ngx_int_t ngx_opsauth_redis_words(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_command_t *cmd, ngx_uint_t n, const ngx_str_t *words,
    ngx_opsauth_redis_error_e *error);
/* of live commands of our callers */
ngx_uint_t ngx_opsauth_redis_live(ngx_opsauth_redis_t *redis);
/* calls handlers: anything may have happened when it returns */
void ngx_opsauth_redis_end(ngx_opsauth_redis_t *redis);
/* after an event of ours: is there anything left to do? */
void ngx_opsauth_redis_rest(ngx_opsauth_link_t *link);


/* ngx_opsauth_redis_out.c */

/* a slot for a command whose bytes were put into out, from "before" on */
void ngx_opsauth_redis_push(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_command_t *cmd, size_t before);
void ngx_opsauth_redis_push_marker(ngx_opsauth_redis_t *redis);
/* takes what was answered out of it, where that is worth it */
void ngx_opsauth_redis_compact(ngx_opsauth_redis_t *redis);
/* READY: sends what it can; the link may have failed */
OA_WARM void ngx_opsauth_redis_flush(ngx_opsauth_redis_t *redis);


/* ngx_opsauth_cluster.c, ngx_opsauth_cluster_map.c */

ngx_opsauth_cluster_t *ngx_opsauth_cluster_create(
    ngx_opsauth_redis_conf_t *conf, ngx_log_t *log);
void ngx_opsauth_cluster_destroy(ngx_opsauth_cluster_t *cluster);
/* its node has trouble, or knows that others have */
void ngx_opsauth_cluster_trouble(ngx_opsauth_redis_t *redis);
void ngx_opsauth_cluster_unmark(ngx_opsauth_cluster_t *cluster);


/* ngx_opsauth_redis_slow.c */

void ngx_opsauth_redis_slow_init(ngx_opsauth_redis_t *redis);
void ngx_opsauth_redis_set_timer(ngx_opsauth_redis_t *redis);
/* a command was answered before its deadline */
void ngx_opsauth_redis_in_time(ngx_opsauth_redis_t *redis);
/* the marker was: the breaker is half-open */
void ngx_opsauth_redis_probed(ngx_opsauth_redis_t *redis);
/* what was late is nothing to what is asked from now on */
void ngx_opsauth_redis_breaker_close(ngx_opsauth_redis_t *redis);
/* one more command may not go out now */
ngx_uint_t ngx_opsauth_redis_breaker_refuses(ngx_opsauth_redis_t *redis);


/* ngx_opsauth_redis_lost.c */

void ngx_opsauth_redis_fail(ngx_opsauth_link_t *link,
    ngx_opsauth_redis_error_e error, ngx_err_t err, const char *why);
void ngx_opsauth_redis_quit(ngx_opsauth_link_t *link);
/* to another server, if drop() was called */
void ngx_opsauth_redis_move(ngx_opsauth_redis_t *redis);
/* DOWN: begins an attempt */
void ngx_opsauth_redis_connect(ngx_opsauth_redis_t *redis);
/* has another server been found by anybody since this one was? Then that is
   where the next command goes */
void ngx_opsauth_redis_catch_up(ngx_opsauth_redis_t *redis);


/* ngx_opsauth_redis_log.c */

void ngx_opsauth_redis_error_log(ngx_opsauth_redis_t *redis,
    const ngx_opsauth_redis_entry_t *entry, ngx_opsauth_reply_t *reply);
/* the same for a command: two lines for as long as it is refused */
void ngx_opsauth_redis_refused_log(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_command_t *cmd, const ngx_opsauth_redis_entry_t *entry,
    ngx_opsauth_reply_t *reply);
void ngx_opsauth_redis_done_log(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_command_t *cmd);
void ngx_opsauth_redis_marker_log(ngx_opsauth_redis_t *redis,
    ngx_opsauth_reply_t *reply);
/* a store that nobody has set up, or that lost its data */
void ngx_opsauth_redis_unmarked_log(ngx_opsauth_redis_t *redis);
/* its gauges, after each event */
void ngx_opsauth_redis_publish(ngx_opsauth_link_t *link);


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
