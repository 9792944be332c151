/*
 * What an invalidation feed says to Redis, and what Redis says to it.
 *
 * | stage     | reply                       | action               | next
 * |-----------|-----------------------------|----------------------|----------
 * | greeting  | CLIENT ID's                 | CLIENT TRACKING,     | TRACKING
 * |           |                             | SUBSCRIBE, PING      |
 * |           | refused                     | SUBSCRIBE to our own | SUBSCRIBE
 * |           |                             | channel, PING        |
 * | TRACKING  | OK, or refused              | -                    | SUBSCRIBE
 * | SUBSCRIBE | subscribed, or refused      | -                    | PINGS
 * |           | refused, our own channel    | mode OFF, close      | in 30 s
 * | PINGS     | pong                        | certify              | PINGS
 * |           | pong, something was refused | SUBSCRIBE to our own | SUBSCRIBE
 * |           |                             | channel, PING        |
 * |           | LOADING and the like        | certify nothing      | PINGS
 * | any       | a message                   | tell the owner       | -
 * | any       | no answer for one lease     | close, backoff       | greeting
 *
 * "Refused" is what no later answer would change. What Redis says while it is
 * busy is a failure like a lost connection: backoff, and all of it anew.
 *
 * Invariants:
 * - tracking is redirected to this connection itself, never to another one;
 * - answers come in the order of what was sent, messages anywhere between
 *   them; no PING but the first is sent before that one was answered, since
 *   it may be followed by another SUBSCRIBE;
 * - after any hook the connection may be gone.
 */

#include "ngx_opsauth_feed_conn.h"


#define NGX_OPSAUTH_FEED_OUT_MAX  16384


static void ngx_opsauth_feed_id_reply(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply);
static ngx_int_t ngx_opsauth_feed_track(ngx_opsauth_feed_t *feed);
static ngx_int_t ngx_opsauth_feed_subscribe(ngx_opsauth_feed_t *feed,
    const ngx_str_t *channel);
static void ngx_opsauth_feed_fall_back(ngx_opsauth_feed_t *feed);
static ngx_int_t ngx_opsauth_feed_put(ngx_opsauth_feed_t *feed, ngx_uint_t n,
    const ngx_str_t *words);
static ngx_uint_t ngx_opsauth_feed_is(ngx_opsauth_reply_t *reply,
    const char *word, ngx_uint_t n);
static void ngx_opsauth_feed_message(ngx_opsauth_feed_t *feed,
    ngx_opsauth_reply_t *channel, ngx_opsauth_reply_t *payload);
static void ngx_opsauth_feed_keys(ngx_opsauth_feed_t *feed,
    ngx_opsauth_reply_t *payload);
static ngx_uint_t ngx_opsauth_feed_same(const ngx_str_t *one,
    const ngx_str_t *two);
static void ngx_opsauth_feed_pong(ngx_opsauth_feed_t *feed);
static void ngx_opsauth_feed_no_pong(ngx_opsauth_feed_t *feed,
    ngx_opsauth_reply_t *reply);
static ngx_msec_t ngx_opsauth_feed_answered(ngx_opsauth_feed_t *feed);
static ngx_int_t ngx_opsauth_feed_error(ngx_opsauth_feed_t *feed,
    ngx_opsauth_reply_t *reply, const char *command);
static void ngx_opsauth_feed_refuse(ngx_opsauth_feed_t *feed,
    ngx_opsauth_reply_t *reply, const char *command);


static const ngx_str_t  ngx_opsauth_feed_invalidate =
    ngx_string("__redis__:invalidate");


ngx_int_t
ngx_opsauth_feed_greet(ngx_opsauth_link_t *link)
{
    ngx_str_t            words[2];
    ngx_opsauth_feed_t  *feed = (ngx_opsauth_feed_t *) link;

    feed->id_len = 0;
    feed->npings = 0;
    feed->refused = 0;
    feed->up = 0;
    feed->out.pos = feed->out.start;
    feed->out.last = feed->out.start;

    ngx_str_set(&words[0], "CLIENT");
    ngx_str_set(&words[1], "ID");

    return ngx_opsauth_link_step(link, ngx_opsauth_feed_id_reply, 2, words);
}


static void
ngx_opsauth_feed_id_reply(ngx_opsauth_link_t *link, ngx_opsauth_reply_t *reply)
{
    ngx_opsauth_feed_t  *feed = (ngx_opsauth_feed_t *) link;

    if (reply->type == NGX_OPSAUTH_REPLY_INTEGER) {
        feed->id_len = ngx_sprintf(feed->id, "%L", reply->integer) - feed->id;
        return;
    }

    if (ngx_opsauth_feed_error(feed, reply, "CLIENT ID") == NGX_OK) {
        ngx_opsauth_feed_refuse(feed, reply, "CLIENT ID");
    }
}


void
ngx_opsauth_feed_ready(ngx_opsauth_link_t *link)
{
    ngx_opsauth_feed_t  *feed = (ngx_opsauth_feed_t *) link;

    if (feed->refused) {
        ngx_opsauth_feed_fall_back(feed);
        return;
    }

    feed->aim = NGX_OPSAUTH_FEED_TRACKING;
    feed->stage = NGX_OPSAUTH_FEED_ST_TRACKING;

    if (ngx_opsauth_feed_track(feed) != NGX_OK
        || ngx_opsauth_feed_subscribe(feed, &ngx_opsauth_feed_invalidate)
           != NGX_OK)
    {
        return;
    }

    ngx_opsauth_feed_set_timer(feed);
}


/* in the order of the wire: whatever is written after it is told of */

static ngx_int_t
ngx_opsauth_feed_track(ngx_opsauth_feed_t *feed)
{
    ngx_str_t   words[6 + 2 * NGX_OPSAUTH_FEED_PREFIXES_MAX];
    ngx_uint_t  i, n;

    ngx_str_set(&words[0], "CLIENT");
    ngx_str_set(&words[1], "TRACKING");
    ngx_str_set(&words[2], "ON");
    ngx_str_set(&words[3], "REDIRECT");
    words[4].data = feed->id;
    words[4].len = feed->id_len;
    ngx_str_set(&words[5], "BCAST");

    n = 6;

    for (i = 0; i < feed->nprefixes; i++) {
        ngx_str_set(&words[n], "PREFIX");
        words[n + 1] = feed->prefixes[i];
        n += 2;
    }

    return ngx_opsauth_feed_put(feed, n, words);
}


/* and asks for the first pong, all in one write */

static ngx_int_t
ngx_opsauth_feed_subscribe(ngx_opsauth_feed_t *feed, const ngx_str_t *channel)
{
    ngx_str_t  words[2];

    ngx_str_set(&words[0], "SUBSCRIBE");
    words[1] = *channel;

    if (ngx_opsauth_feed_put(feed, 2, words) != NGX_OK
        || ngx_opsauth_feed_ping(feed) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_opsauth_link_send(&feed->link, &feed->out);
}


static void
ngx_opsauth_feed_fall_back(ngx_opsauth_feed_t *feed)
{
    feed->aim = NGX_OPSAUTH_FEED_CHANNEL;
    feed->stage = NGX_OPSAUTH_FEED_ST_SUBSCRIBE;

    if (ngx_opsauth_feed_subscribe(feed, &feed->channel) == NGX_OK) {
        ngx_opsauth_feed_set_timer(feed);
    }
}


/* its time is read before it is written: what Redis did until then, it said */

ngx_int_t
ngx_opsauth_feed_ping(ngx_opsauth_feed_t *feed)
{
    ngx_str_t  word;

    ngx_str_set(&word, "PING");

    feed->pings_us[feed->npings] = ngx_opsauth_link_now_us();
    feed->pings[feed->npings] = (ngx_msec_t) (feed->pings_us[feed->npings]
                                              / 1000);
    feed->npings++;

    return ngx_opsauth_feed_put(feed, 1, &word);
}


/* NGX_ERROR: the connection is gone */

static ngx_int_t
ngx_opsauth_feed_put(ngx_opsauth_feed_t *feed, ngx_uint_t n,
    const ngx_str_t *words)
{
    ngx_buf_t  *out;

    out = &feed->out;

    if (out->pos == out->last) {
        out->pos = out->start;
        out->last = out->start;
    }

    if (ngx_opsauth_codec_encode(out, NGX_OPSAUTH_FEED_OUT_MAX, n, words,
                                 feed->link.log)
        != NGX_OK)
    {
        ngx_opsauth_link_fail(&feed->link, NGX_OPSAUTH_REDIS_DOWN, 0,
                              "there is no memory to ask it");
        return NGX_ERROR;
    }

    return NGX_OK;
}


void
ngx_opsauth_feed_write(ngx_opsauth_link_t *link)
{
    ngx_opsauth_feed_t  *feed = (ngx_opsauth_feed_t *) link;

    /* epoll tells of it with every reply; poll must be told to stop */

    if (feed->out.pos < feed->out.last
        || !(ngx_event_flags & NGX_USE_CLEAR_EVENT))
    {
        (void) ngx_opsauth_link_send(link, &feed->out);
    }
}


void
ngx_opsauth_feed_reply(ngx_opsauth_link_t *link, ngx_opsauth_reply_t *reply)
{
    ngx_opsauth_feed_t  *feed = (ngx_opsauth_feed_t *) link;

    if (ngx_opsauth_feed_is(reply, "message", 3)) {
        ngx_opsauth_feed_message(feed, &reply->elements[1],
                                 &reply->elements[2]);
        return;
    }

    switch (feed->stage) {

    case NGX_OPSAUTH_FEED_ST_TRACKING:

        if (reply->type != NGX_OPSAUTH_REPLY_STATUS) {

            if (ngx_opsauth_feed_error(feed, reply, "CLIENT TRACKING")
                != NGX_OK)
            {
                return;
            }

            ngx_opsauth_feed_refuse(feed, reply, "CLIENT TRACKING");
        }

        feed->stage = NGX_OPSAUTH_FEED_ST_SUBSCRIBE;
        break;

    case NGX_OPSAUTH_FEED_ST_SUBSCRIBE:

        if (!ngx_opsauth_feed_is(reply, "subscribe", 3)) {

            if (ngx_opsauth_feed_error(feed, reply, "SUBSCRIBE") != NGX_OK) {
                return;
            }

            ngx_opsauth_feed_refuse(feed, reply, "SUBSCRIBE");

            if (feed->aim == NGX_OPSAUTH_FEED_CHANNEL) {
                ngx_opsauth_feed_off(feed);
                return;
            }
        }

        feed->stage = NGX_OPSAUTH_FEED_ST_PINGS;
        feed->ping_at = ngx_opsauth_link_now() + feed->period;
        break;

    case NGX_OPSAUTH_FEED_ST_PINGS:

        if (feed->npings == 0) {
            ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_ERROR, 0,
                                  "it sent a reply that nobody asked for");
            return;
        }

        if (ngx_opsauth_feed_is(reply, "pong", 2)
            || (reply->type == NGX_OPSAUTH_REPLY_STATUS
                && reply->str.len == 4
                && ngx_memcmp(reply->str.data, "PONG", 4) == 0))
        {
            ngx_opsauth_feed_pong(feed);
            return;
        }

        ngx_opsauth_feed_no_pong(feed, reply);
        return;
    }

    ngx_opsauth_feed_set_timer(feed);
}


/* an array of n that begins with this word */

static ngx_uint_t
ngx_opsauth_feed_is(ngx_opsauth_reply_t *reply, const char *word, ngx_uint_t n)
{
    ngx_str_t  *str;

    if (reply->type != NGX_OPSAUTH_REPLY_ARRAY || reply->n != n
        || reply->elements[0].type != NGX_OPSAUTH_REPLY_STRING)
    {
        return 0;
    }

    str = &reply->elements[0].str;

    return str->len == ngx_strlen(word)
           && ngx_memcmp(str->data, word, str->len) == 0;
}


/*
 * Anybody may publish on Redis' own channel, and what they publish comes as a
 * string: only Redis sends an array, or nothing, for "everything".
 */

static void
ngx_opsauth_feed_message(ngx_opsauth_feed_t *feed,
    ngx_opsauth_reply_t *channel, ngx_opsauth_reply_t *payload)
{
    if (ngx_opsauth_feed_same(&channel->str, &ngx_opsauth_feed_invalidate)) {

        if (payload->type == NGX_OPSAUTH_REPLY_NIL) {
            feed->hooks.flushed(feed->hooks.owner);

        } else if (payload->type == NGX_OPSAUTH_REPLY_ARRAY) {
            ngx_opsauth_feed_keys(feed, payload);
        }

        return;
    }

    if (feed->aim != NGX_OPSAUTH_FEED_CHANNEL
        || !ngx_opsauth_feed_same(&channel->str, &feed->channel)
        || payload->type != NGX_OPSAUTH_REPLY_STRING)
    {
        return;
    }

    if (payload->cut
        || (payload->str.len == 1 && payload->str.data[0] == '*'))
    {
        feed->hooks.flushed(feed->hooks.owner);

    } else {
        feed->hooks.changed(feed->hooks.owner, &payload->str);
    }
}


static void
ngx_opsauth_feed_keys(ngx_opsauth_feed_t *feed, ngx_opsauth_reply_t *payload)
{
    ngx_uint_t         i;
    ngx_connection_t  *c;

    c = feed->link.connection;

    if (payload->cut) {
        feed->hooks.flushed(feed->hooks.owner);
        return;
    }

    for (i = 0; i < payload->n; i++) {

        if (payload->elements[i].type != NGX_OPSAUTH_REPLY_STRING) {
            feed->hooks.flushed(feed->hooks.owner);
            return;
        }

        feed->hooks.changed(feed->hooks.owner, &payload->elements[i].str);

        if (feed->link.connection != c) {
            return;
        }
    }
}


static ngx_uint_t
ngx_opsauth_feed_same(const ngx_str_t *one, const ngx_str_t *two)
{
    return one->len == two->len
           && ngx_memcmp(one->data, two->data, one->len) == 0;
}


static void
ngx_opsauth_feed_pong(ngx_opsauth_feed_t *feed)
{
    uint64_t    us;
    ngx_int_t   rc;
    ngx_msec_t  sent_at;

    us = ngx_opsauth_stats_now() - feed->pings_us[0];
    sent_at = ngx_opsauth_feed_answered(feed);

    if (feed->aim == NGX_OPSAUTH_FEED_TRACKING && feed->refused) {
        ngx_opsauth_feed_fall_back(feed);
        return;
    }

    if (!feed->up) {
        ngx_opsauth_feed_up(feed);
    }

    ngx_opsauth_stats_observe(&feed->stats->feed_time, us);

    if (feed->aim == NGX_OPSAUTH_FEED_TRACKING) {
        rc = feed->hooks.certified(feed->hooks.owner, feed->link.server,
                                   feed->link.resolved, feed->started,
                                   sent_at);
    } else {
        rc = feed->hooks.found(feed->hooks.owner, feed->link.server,
                               feed->link.resolved);
    }

    if (rc == NGX_DECLINED && feed->link.state == NGX_OPSAUTH_LINK_READY) {
        ngx_opsauth_feed_move(feed);
        return;
    }

    ngx_opsauth_feed_parted(feed);
}


/* an answer to a PING that is no pong */

static void
ngx_opsauth_feed_no_pong(ngx_opsauth_feed_t *feed, ngx_opsauth_reply_t *reply)
{
    const ngx_opsauth_redis_entry_t  *entry;

    if (reply->type == NGX_OPSAUTH_REPLY_ERROR) {
        entry = ngx_opsauth_redis_error_entry(reply);

        if (entry->error == NGX_OPSAUTH_REDIS_BUSY && !entry->fatal) {
            /* it lives, and can't vouch for anything yet */
            (void) ngx_opsauth_feed_answered(feed);
            return;
        }
    }

    if (ngx_opsauth_feed_error(feed, reply, "PING") != NGX_OK) {
        return;
    }

    if (feed->aim == NGX_OPSAUTH_FEED_TRACKING) {

        if (feed->up) {
            ngx_opsauth_link_fail_reply(&feed->link,
                                        ngx_opsauth_redis_error_entry(reply),
                                        reply, "PING");
            return;
        }

        /* without pongs there is no telling how current it is */
        ngx_opsauth_feed_refuse(feed, reply, "PING");
    }

    ngx_opsauth_feed_pong(feed);
}


/* takes the oldest PING off; returns when it was sent */

static ngx_msec_t
ngx_opsauth_feed_answered(ngx_opsauth_feed_t *feed)
{
    ngx_uint_t  i;
    ngx_msec_t  sent_at;

    sent_at = feed->pings[0];
    feed->npings--;

    for (i = 0; i < feed->npings; i++) {
        feed->pings[i] = feed->pings[i + 1];
        feed->pings_us[i] = feed->pings_us[i + 1];
    }

    return sent_at;
}


/* NGX_OK: a refusal. NGX_ERROR: no answer at all, and the link has failed */

static ngx_int_t
ngx_opsauth_feed_error(ngx_opsauth_feed_t *feed, ngx_opsauth_reply_t *reply,
    const char *command)
{
    const ngx_opsauth_redis_entry_t  *entry;

    if (reply->type != NGX_OPSAUTH_REPLY_ERROR) {
        ngx_opsauth_link_fail(&feed->link, NGX_OPSAUTH_REDIS_ERROR, 0,
                              "it does not answer as Redis does");
        return NGX_ERROR;
    }

    entry = ngx_opsauth_redis_error_entry(reply);

    if (entry->fatal || entry->error == NGX_OPSAUTH_REDIS_BUSY) {
        ngx_opsauth_link_fail_reply(&feed->link, entry, reply, command);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* the first one is the reason that is logged */

static void
ngx_opsauth_feed_refuse(ngx_opsauth_feed_t *feed, ngx_opsauth_reply_t *reply,
    const char *command)
{
    ngx_str_t  word;

    if (feed->refused) {
        return;
    }

    feed->refused = 1;

    word = ngx_opsauth_redis_error_word(reply);

    (void) ngx_snprintf(feed->refusal, sizeof(feed->refusal), "%s with %V%Z",
                        command, &word);
}
