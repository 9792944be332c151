/*
 * The life of an invalidation feed: connections that follow one another, each
 * with PINGs a quarter of the lease apart, until one is silent for a lease, or
 * is lost. What is said on it is ngx_opsauth_feed_talk.c's.
 *
 * Invariants:
 * - after any hook the connection may be gone: nobody goes on with it before
 *   looking;
 * - one timer: it connects where the link is DOWN, and is always set where it
 *   is READY;
 * - all timers are cancelable, and nginx may close the connection whenever it
 *   likes: a feed never keeps a worker that is to quit, but for the one answer
 *   that makes its successor's coverage continue its own.
 */

#include "ngx_opsauth_feed_conn.h"


/* a message of more keys, or bytes, is as good as one that says "all" */
#define NGX_OPSAUTH_FEED_KEYS        1024
#define NGX_OPSAUTH_FEED_BYTES       (256 * 1024)

#define NGX_OPSAUTH_FEED_PERIOD_MIN  10

/* after a refusal */
#define NGX_OPSAUTH_FEED_OFF_WAIT    30000
/* where another server covers */
#define NGX_OPSAUTH_FEED_MOVE_WAIT   100
/* what an answer may cost a worker that is to quit */
#define NGX_OPSAUTH_FEED_PART_WAIT   250
/* a connection that stood that long was no failure */
#define NGX_OPSAUTH_FEED_STOOD       5000
/* losses, and that it is up again, are told of at most this often */
#define NGX_OPSAUTH_FEED_LOG_AGE     10000


static void ngx_opsauth_feed_timer_handler(ngx_event_t *ev);
static void ngx_opsauth_feed_tick(ngx_opsauth_feed_t *feed);
static void ngx_opsauth_feed_heard(ngx_opsauth_link_t *link);
static void ngx_opsauth_feed_rest(ngx_opsauth_link_t *link);
static void ngx_opsauth_feed_fail(ngx_opsauth_link_t *link,
    ngx_opsauth_redis_error_e error, ngx_err_t err, const char *why);
static void ngx_opsauth_feed_lose(ngx_opsauth_feed_t *feed,
    ngx_opsauth_redis_error_e error, ngx_err_t err, const char *why,
    ngx_msec_t wait);
static void ngx_opsauth_feed_quit(ngx_opsauth_link_t *link);
static ngx_int_t ngx_opsauth_feed_part(ngx_opsauth_feed_t *feed);
static void ngx_opsauth_feed_close(ngx_opsauth_feed_t *feed);
static void ngx_opsauth_feed_again(ngx_opsauth_feed_t *feed, ngx_msec_t wait);
static void ngx_opsauth_feed_publish(ngx_opsauth_link_t *link);
static void ngx_opsauth_feed_free(ngx_opsauth_link_t *link);


static const ngx_opsauth_link_kind_t  ngx_opsauth_feed_kind = {
    .title = "feed from redis",
    .suffix = "-feed",
    .action = "listening to changes",
    .level = NGX_LOG_WARN,
    .idle = 1,
    .skip = 1,
    .primary = 1,
    .max_elements = NGX_OPSAUTH_FEED_KEYS + 3,
    .max_bytes = NGX_OPSAUTH_FEED_BYTES,
    .greet = ngx_opsauth_feed_greet,
    .ready = ngx_opsauth_feed_ready,
    .reply = ngx_opsauth_feed_reply,
    .write = ngx_opsauth_feed_write,
    .heard = ngx_opsauth_feed_heard,
    .fail = ngx_opsauth_feed_fail,
    .quit = ngx_opsauth_feed_quit,
    .rest = ngx_opsauth_feed_rest,
    .publish = ngx_opsauth_feed_publish,
    .free = ngx_opsauth_feed_free
};


ngx_opsauth_feed_t *
ngx_opsauth_feed_create(ngx_opsauth_redis_conf_t *conf, ngx_msec_t lease,
    const ngx_str_t *prefixes, ngx_uint_t nprefixes, const ngx_str_t *channel,
    const ngx_opsauth_feed_hooks_t *hooks, ngx_log_t *log)
{
    ngx_opsauth_feed_t  *feed;

    if (nprefixes > NGX_OPSAUTH_FEED_PREFIXES_MAX) {
        return NULL;
    }

    feed = ngx_calloc(sizeof(ngx_opsauth_feed_t), log);
    if (feed == NULL) {
        return NULL;
    }

    ngx_opsauth_link_init(&feed->link, &ngx_opsauth_feed_kind, conf, log);

    feed->link.timer.cancelable = 1;

    feed->stats = conf->stats ? conf->stats : &feed->unwanted;
    feed->lease = lease;
    feed->period = ngx_max(lease / 4, NGX_OPSAUTH_FEED_PERIOD_MIN);
    feed->channel = *channel;
    feed->hooks = *hooks;
    feed->nprefixes = nprefixes;

    if (nprefixes) {
        ngx_memcpy(feed->prefixes, prefixes, nprefixes * sizeof(ngx_str_t));
    }

    /* nothing was logged: no feed connects for its own sake */
    feed->told = NGX_OPSAUTH_FEED_CONNECTING;

    feed->timer.handler = ngx_opsauth_feed_timer_handler;
    feed->timer.data = feed;
    feed->timer.log = log;
    feed->timer.cancelable = 1;

    return feed;
}


void
ngx_opsauth_feed_start(ngx_opsauth_feed_t *feed)
{
    feed->mode = NGX_OPSAUTH_FEED_CONNECTING;

    ngx_opsauth_feed_publish(&feed->link);
    ngx_opsauth_feed_again(feed, 1);
}


void
ngx_opsauth_feed_destroy(ngx_opsauth_feed_t *feed)
{
    ngx_opsauth_link_enter(&feed->link);

    feed->link.doomed = 1;
    ngx_opsauth_feed_quit(&feed->link);

    ngx_opsauth_link_leave(&feed->link);
}


static void
ngx_opsauth_feed_publish(ngx_opsauth_link_t *link)
{
    ngx_uint_t           i;
    ngx_opsauth_feed_t  *feed = (ngx_opsauth_feed_t *) link;

    /* of a cluster's feeds each is one of several */

    if (link->conf->clustered) {
        i = link->doomed ? NGX_OPSAUTH_STATS_FEED_MODES
                         : (ngx_uint_t) feed->mode;

        if (feed->published) {
            ngx_opsauth_stats_add(&feed->stats->feed[feed->published - 1],
                                  (uint64_t) -1);
            feed->published = 0;
        }

        if (i < NGX_OPSAUTH_STATS_FEED_MODES) {
            ngx_opsauth_stats_add(&feed->stats->feed[i], 1);
            feed->published = i + 1;
        }

        return;
    }

    for (i = 0; i < NGX_OPSAUTH_STATS_FEED_MODES; i++) {
        ngx_opsauth_stats_set(&feed->stats->feed[i],
                              i == (ngx_uint_t) feed->mode && !link->doomed);
    }
}


static void
ngx_opsauth_feed_free(ngx_opsauth_link_t *link)
{
    ngx_opsauth_feed_t  *feed = (ngx_opsauth_feed_t *) link;

    if (feed->out.start) {
        ngx_free(feed->out.start);
    }

    ngx_opsauth_link_cleanup(link);
    ngx_free(feed);
}


ngx_opsauth_feed_mode_e
ngx_opsauth_feed_mode(ngx_opsauth_feed_t *feed)
{
    return feed->mode;
}


static void
ngx_opsauth_feed_timer_handler(ngx_event_t *ev)
{
    ngx_opsauth_feed_t  *feed;

    feed = ev->data;

    ngx_opsauth_link_enter(&feed->link);

    if (ngx_exiting) {
        ngx_opsauth_feed_quit(&feed->link);

    } else if (feed->link.state == NGX_OPSAUTH_LINK_READY) {
        ngx_opsauth_feed_tick(feed);

    } else {
        ngx_opsauth_link_connect(&feed->link);
    }

    ngx_opsauth_link_leave(&feed->link);
}


static void
ngx_opsauth_feed_tick(ngx_opsauth_feed_t *feed)
{
    ngx_msec_t  now;

    now = ngx_opsauth_link_now();

    if (feed->npings && now - feed->pings[0] > feed->lease) {
        ngx_opsauth_link_fail(&feed->link, NGX_OPSAUTH_REDIS_TIMEOUT, 0,
                              "it does not answer");
        return;
    }

    if (feed->stage == NGX_OPSAUTH_FEED_ST_PINGS
        && (ngx_msec_int_t) (feed->ping_at - now) <= 0)
    {
        /* kept in step, unless the worker itself was held up */

        feed->ping_at += feed->period;

        if ((ngx_msec_int_t) (feed->ping_at - now) <= 0) {
            feed->ping_at = now + feed->period;
        }

        /* what the first one's answer leads to must find no second one out */

        if (feed->npings < (feed->up ? NGX_OPSAUTH_FEED_PINGS : 1)) {

            if (ngx_opsauth_feed_ping(feed) != NGX_OK
                || ngx_opsauth_link_send(&feed->link, &feed->out) != NGX_OK)
            {
                return;
            }
        }
    }

    ngx_opsauth_feed_set_timer(feed);
}


void
ngx_opsauth_feed_set_timer(ngx_opsauth_feed_t *feed)
{
    ngx_msec_t      at, now, silent_at;
    ngx_msec_int_t  wait;

    now = ngx_opsauth_link_now();

    at = (feed->stage == NGX_OPSAUTH_FEED_ST_PINGS) ? feed->ping_at
                                                    : now + feed->lease;

    if (feed->npings) {
        silent_at = feed->pings[0] + feed->lease + 1;

        if ((ngx_msec_int_t) (silent_at - at) < 0) {
            at = silent_at;
        }
    }

    wait = (ngx_msec_int_t) (at - now);

    /* nginx would leave one that is set nearly right as it is */

    if (feed->timer.timer_set) {
        ngx_del_timer(&feed->timer);
    }

    ngx_add_timer(&feed->timer, (ngx_msec_t) ngx_max(wait, 1));
}


static void
ngx_opsauth_feed_heard(ngx_opsauth_link_t *link)
{
    /* only what answers a PING counts */
}


static void
ngx_opsauth_feed_rest(ngx_opsauth_link_t *link)
{
    /* there is always the next PING */
}


void
ngx_opsauth_feed_up(ngx_opsauth_feed_t *feed)
{
    ngx_opsauth_link_t  *link = &feed->link;

    /* rounded up: what was read before this moment is not covered */

    ngx_opsauth_stats_add(&feed->stats->feed_connects, 1);

    feed->up = 1;
    feed->started = ngx_opsauth_link_now() + 1;
    feed->mode = feed->aim;

    if (link->trouble == NGX_OPSAUTH_REDIS_OK && feed->told == feed->mode) {
        return;
    }

    link->trouble = NGX_OPSAUTH_REDIS_OK;
    feed->told = feed->mode;

    if (feed->mode == NGX_OPSAUTH_FEED_TRACKING) {
        ngx_log_error(NGX_LOG_NOTICE, link->log, 0,
                      "opsauth: feed of store \"%V\": tracking on redis "
                      "\"%V\"", &link->conf->name, &link->conf->url);
        return;
    }

    ngx_log_error(NGX_LOG_WARN, link->log, 0,
                  "opsauth: feed of store \"%V\": channel \"%V\" on redis "
                  "\"%V\", which answers %s: only changes made by opsauth are "
                  "told, and records are read again after each lease; its "
                  "user needs +client|id +client|tracking +subscribe +ping "
                  "and &__redis__:invalidate", &link->conf->name,
                  &feed->channel, &link->conf->url, feed->refusal);
}


/* a gap, and what was certified lapses by itself */

static void
ngx_opsauth_feed_fail(ngx_opsauth_link_t *link,
    ngx_opsauth_redis_error_e error, ngx_err_t err, const char *why)
{
    ngx_opsauth_feed_t  *feed = (ngx_opsauth_feed_t *) link;

    if (link->state == NGX_OPSAUTH_LINK_READY
        && error == NGX_OPSAUTH_REDIS_ERROR)
    {
        /* it may have been a message, one too large to read */

        feed->hooks.flushed(feed->hooks.owner);

        if (link->state != NGX_OPSAUTH_LINK_READY) {
            return;
        }
    }

    ngx_opsauth_feed_lose(feed, error, err, why, 0);
}


void
ngx_opsauth_feed_move(ngx_opsauth_feed_t *feed)
{
    ngx_opsauth_feed_lose(feed, NGX_OPSAUTH_REDIS_MOVED, 0,
                          "another server covers the store by now",
                          NGX_OPSAUTH_FEED_MOVE_WAIT);
}


ngx_uint_t
ngx_opsauth_feed_leave(ngx_opsauth_feed_t *feed, const ngx_str_t *primary)
{
    ngx_opsauth_link_t  *link = &feed->link;

    if (feed->quit || link->primary_len == 0
        || !ngx_opsauth_link_astray(link, primary))
    {
        return 0;
    }

    ngx_opsauth_link_enter(link);

    if (link->state == NGX_OPSAUTH_LINK_READY) {
        ngx_opsauth_feed_lose(feed, NGX_OPSAUTH_REDIS_CLOSED, 0,
                              "the sentinels name another primary", 0);
    }

    /* what failed was the old one */

    if (link->state == NGX_OPSAUTH_LINK_DOWN && feed->timer.timer_set) {
        link->failures = 0;
        ngx_del_timer(&feed->timer);
        ngx_opsauth_feed_again(feed, 1);
    }

    ngx_opsauth_link_leave(link);

    return 1;
}


static void
ngx_opsauth_feed_lose(ngx_opsauth_feed_t *feed,
    ngx_opsauth_redis_error_e error, ngx_err_t err, const char *why,
    ngx_msec_t wait)
{
    ngx_uint_t           up;
    ngx_msec_t           backoff;
    ngx_msec_int_t       stood;
    ngx_opsauth_link_t  *link = &feed->link;

    ngx_opsauth_stats_add(&feed->stats->feed_losses, 1);

    up = feed->up;
    stood = (ngx_msec_int_t) (ngx_opsauth_link_now() - feed->started);

    if (up && stood > NGX_OPSAUTH_FEED_STOOD) {
        link->failures = 0;
    }

    if (!up || error != NGX_OPSAUTH_REDIS_CLOSED) {
        link->turn++;
    }

    feed->mode = NGX_OPSAUTH_FEED_CONNECTING;

    ngx_opsauth_feed_close(feed);

    backoff = ngx_opsauth_link_backoff(link, error);

    /* one that comes and goes is not worth two lines each time */

    if (!up || !feed->lost
        || ngx_current_msec - feed->lost_at >= NGX_OPSAUTH_FEED_LOG_AGE)
    {
        if (up) {
            feed->lost = 1;
            feed->lost_at = ngx_current_msec;
        }

        ngx_opsauth_link_trouble(link, error, err, why);
    }

    ngx_opsauth_feed_again(feed, ngx_max(backoff, wait));
}


void
ngx_opsauth_feed_off(ngx_opsauth_feed_t *feed)
{
    ngx_opsauth_link_t  *link = &feed->link;

    feed->mode = NGX_OPSAUTH_FEED_OFF;
    link->trouble = NGX_OPSAUTH_REDIS_OK;

    (void) feed->hooks.found(feed->hooks.owner, link->server, link->resolved);

    if (feed->told != feed->mode) {
        feed->told = feed->mode;

        ngx_log_error(NGX_LOG_WARN, link->log, 0,
                      "opsauth: feed of store \"%V\": off, since redis \"%V\" "
                      "answers %s: no change is told, and records are read "
                      "again after each lease; its user needs +client|id "
                      "+client|tracking +subscribe +ping and "
                      "&__redis__:invalidate, or at least +subscribe and "
                      "&%V", &link->conf->name, &link->conf->url,
                      feed->refusal, &feed->channel);
    }

    ngx_opsauth_feed_close(feed);
    ngx_opsauth_feed_again(feed, NGX_OPSAUTH_FEED_OFF_WAIT);
}


/*
 * nginx quits, or we are destroyed: it does not come back. A worker that makes
 * way for another one at a reload certifies once more first: the feed that
 * replaces this one has started by then, and only a certificate from after its
 * start makes one chain of the two. Without it each reload would be a gap, and
 * the whole cache be read anew.
 */

static void
ngx_opsauth_feed_quit(ngx_opsauth_link_t *link)
{
    ngx_opsauth_feed_t  *feed = (ngx_opsauth_feed_t *) link;

    if (ngx_exiting && !feed->quit && !link->doomed
        && feed->up && feed->mode == NGX_OPSAUTH_FEED_TRACKING
        && ngx_opsauth_feed_part(feed) == NGX_OK)
    {
        return;
    }

    feed->quit = 1;
    feed->mode = NGX_OPSAUTH_FEED_OFF;

    ngx_opsauth_feed_close(feed);
}


/* NGX_OK: a last PING is out, and the worker stays for its answer */

static ngx_int_t
ngx_opsauth_feed_part(ngx_opsauth_feed_t *feed)
{
    ngx_opsauth_link_t  *link = &feed->link;

    if (link->connection->error
        || feed->npings == NGX_OPSAUTH_FEED_PINGS)
    {
        return NGX_DECLINED;
    }

    feed->quit = 1;
    link->connection->close = 0;

    if (feed->timer.timer_set) {
        ngx_del_timer(&feed->timer);
    }

    if (ngx_opsauth_feed_ping(feed) != NGX_OK
        || ngx_opsauth_link_send(link, &feed->out) != NGX_OK)
    {
        /* the link has failed, and was closed */
        return NGX_OK;
    }

    feed->timer.cancelable = 0;
    ngx_add_timer(&feed->timer, NGX_OPSAUTH_FEED_PART_WAIT);

    return NGX_OK;
}


/* a PONG came: was it the last one? */

void
ngx_opsauth_feed_parted(ngx_opsauth_feed_t *feed)
{
    if (feed->quit && feed->npings == 0) {
        ngx_opsauth_feed_quit(&feed->link);
    }
}


static void
ngx_opsauth_feed_close(ngx_opsauth_feed_t *feed)
{
    feed->up = 0;
    feed->npings = 0;

    if (feed->timer.timer_set) {
        ngx_del_timer(&feed->timer);
    }

    ngx_opsauth_link_close(&feed->link);
}


static void
ngx_opsauth_feed_again(ngx_opsauth_feed_t *feed, ngx_msec_t wait)
{
    if (!feed->quit && !ngx_exiting) {
        ngx_add_timer(&feed->timer, ngx_max(wait, 1));
    }
}
