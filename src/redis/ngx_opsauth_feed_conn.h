/*
 * What the two rooms of the feed share; nobody else includes it.
 *
 * ngx_opsauth_feed.c       its life: connect, PING, silence, loss
 * ngx_opsauth_feed_talk.c  what it says to Redis, and what Redis says
 */

#ifndef NGX_OPSAUTH_FEED_CONN_H
#define NGX_OPSAUTH_FEED_CONN_H

#include "ngx_opsauth_feed.h"
#include "ngx_opsauth_link.h"


/* a quarter of the lease apart, and none is awaited for longer than that */
#define NGX_OPSAUTH_FEED_PINGS  8


typedef enum {
    NGX_OPSAUTH_FEED_ST_TRACKING = 0,
    NGX_OPSAUTH_FEED_ST_SUBSCRIBE,
    NGX_OPSAUTH_FEED_ST_PINGS
} ngx_opsauth_feed_stage_e;


struct ngx_opsauth_feed_s {
    ngx_opsauth_link_t         link;

    ngx_opsauth_stats_t       *stats;
    ngx_opsauth_stats_t        unwanted;        /* where nobody wants them */
    ngx_uint_t                 published;       /* of a cluster: its mode, and
                                                   1 */

    ngx_msec_t                 lease;
    ngx_msec_t                 period;          /* of PINGs */
    ngx_str_t                  channel;
    ngx_uint_t                 nprefixes;
    ngx_str_t                  prefixes[NGX_OPSAUTH_FEED_PREFIXES_MAX];
    ngx_opsauth_feed_hooks_t   hooks;

    ngx_opsauth_feed_mode_e    mode;
    ngx_opsauth_feed_mode_e    told;            /* mode as last logged */
    ngx_msec_t                 lost_at;         /* a loss was logged at */

    /* of one connection */
    ngx_opsauth_feed_stage_e   stage;
    ngx_opsauth_feed_mode_e    aim;             /* the mode it is to be */
    ngx_buf_t                  out;
    u_char                     id[NGX_INT64_LEN];
    size_t                     id_len;          /* 0: refused */
    u_char                     refusal[64];     /* "... answers <refusal>" */
    ngx_msec_t                 pings[NGX_OPSAUTH_FEED_PINGS];
    uint64_t                   pings_us[NGX_OPSAUTH_FEED_PINGS];
    ngx_uint_t                 npings;          /* sent and not answered */
    ngx_msec_t                 ping_at;         /* next one */
    ngx_msec_t                 started;         /* first PONG */

    ngx_event_t                timer;           /* DOWN: connect; READY: PING,
                                                   and whether it answers */
    unsigned                   refused:1;
    unsigned                   up:1;            /* started is set */
    unsigned                   quit:1;
    unsigned                   lost:1;          /* lost_at is set */
};


/* ngx_opsauth_feed.c */

/* the timer comes with the next thing to be done */
void ngx_opsauth_feed_set_timer(ngx_opsauth_feed_t *feed);
/* the first answer to a PING: it is what it was to be */
void ngx_opsauth_feed_up(ngx_opsauth_feed_t *feed);
/* a PONG was handled; may close */
void ngx_opsauth_feed_parted(ngx_opsauth_feed_t *feed);
/* another server covers */
void ngx_opsauth_feed_move(ngx_opsauth_feed_t *feed);
/* everything was refused */
void ngx_opsauth_feed_off(ngx_opsauth_feed_t *feed);


/* ngx_opsauth_feed_talk.c */

ngx_int_t ngx_opsauth_feed_greet(ngx_opsauth_link_t *link);
void ngx_opsauth_feed_ready(ngx_opsauth_link_t *link);
void ngx_opsauth_feed_reply(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply);
void ngx_opsauth_feed_write(ngx_opsauth_link_t *link);
/* NGX_ERROR: the link has failed */
ngx_int_t ngx_opsauth_feed_ping(ngx_opsauth_feed_t *feed);


#endif /* NGX_OPSAUTH_FEED_CONN_H */
