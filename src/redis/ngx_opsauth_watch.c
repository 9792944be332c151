/*
 * One sentinel, listened to: what it names at each connect, and +switch-master
 * from then on. A PING each second tells whether it is still there; it is what
 * a sentinel sends its own kind.
 *
 * | state   | event                               | action        | next
 * |---------|-------------------------------------|---------------|----------
 * | DOWN    | timer                               | connect       | link's
 * | link's  | it names the primary, and subscribes| PING          | READY
 * | READY   | +switch-master of our primary       | tell owner    | READY
 * |         | timer, the last PING was answered   | PING          | READY
 * |         | timer, it was not                   | close, backoff| DOWN
 * | any     | lost, refused                       | close, backoff| DOWN
 *
 * What it names after a reconnect may be a change that was missed. It is no
 * vote: the links that leave the old primary ask all sentinels anew.
 */

#include "ngx_opsauth_watch.h"
#include "ngx_opsauth_link.h"


#define NGX_OPSAUTH_WATCH_PERIOD    1000
#define NGX_OPSAUTH_WATCH_OUT_MAX   1024
#define NGX_OPSAUTH_WATCH_ELEMENTS  16
#define NGX_OPSAUTH_WATCH_BYTES     4096


struct ngx_opsauth_watch_s {
    ngx_opsauth_link_t        link;

    ngx_opsauth_watch_pt      moved;
    void                     *owner;

    /* what it named last */
    u_char                    said[NGX_OPSAUTH_LINK_PRIMARY_MAX];
    size_t                    said_len;

    ngx_buf_t                 out;
    ngx_event_t               timer;
    unsigned                  waiting:1;        /* for the answer to a PING */
    unsigned                  quit:1;
};


static ngx_int_t ngx_opsauth_watch_greet(ngx_opsauth_link_t *link);
static void ngx_opsauth_watch_subscribed(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply);
static void ngx_opsauth_watch_ready(ngx_opsauth_link_t *link);
static void ngx_opsauth_watch_reply(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply);
static ngx_uint_t ngx_opsauth_watch_is(ngx_opsauth_reply_t *reply,
    const char *word);
static void ngx_opsauth_watch_switched(ngx_opsauth_watch_t *watch,
    ngx_str_t *message);
static void ngx_opsauth_watch_named(ngx_opsauth_watch_t *watch,
    const u_char *primary, size_t len);
static void ngx_opsauth_watch_ping(ngx_opsauth_watch_t *watch);
static void ngx_opsauth_watch_write(ngx_opsauth_link_t *link);
static void ngx_opsauth_watch_heard(ngx_opsauth_link_t *link);
static void ngx_opsauth_watch_fail(ngx_opsauth_link_t *link,
    ngx_opsauth_redis_error_e error, ngx_err_t err, const char *why);
static void ngx_opsauth_watch_quit(ngx_opsauth_link_t *link);
static void ngx_opsauth_watch_rest(ngx_opsauth_link_t *link);
static void ngx_opsauth_watch_publish(ngx_opsauth_link_t *link);
static void ngx_opsauth_watch_free(ngx_opsauth_link_t *link);
static void ngx_opsauth_watch_timer_handler(ngx_event_t *ev);
static void ngx_opsauth_watch_close(ngx_opsauth_watch_t *watch);


static const ngx_opsauth_link_kind_t  ngx_opsauth_watch_kind = {
    .title = "sentinel of redis",
    .suffix = "-watch",
    .action = "listening to a sentinel",
    .level = NGX_LOG_WARN,
    .idle = 1,
    .skip = 1,
    .max_elements = NGX_OPSAUTH_WATCH_ELEMENTS,
    .max_bytes = NGX_OPSAUTH_WATCH_BYTES,
    .greet = ngx_opsauth_watch_greet,
    .ready = ngx_opsauth_watch_ready,
    .reply = ngx_opsauth_watch_reply,
    .write = ngx_opsauth_watch_write,
    .heard = ngx_opsauth_watch_heard,
    .fail = ngx_opsauth_watch_fail,
    .quit = ngx_opsauth_watch_quit,
    .rest = ngx_opsauth_watch_rest,
    .publish = ngx_opsauth_watch_publish,
    .free = ngx_opsauth_watch_free
};


ngx_opsauth_watch_t *
ngx_opsauth_watch_create(ngx_opsauth_redis_conf_t *conf, ngx_uint_t n,
    ngx_opsauth_watch_pt moved, void *owner, ngx_log_t *log)
{
    ngx_opsauth_watch_t  *watch;

    watch = ngx_calloc(sizeof(ngx_opsauth_watch_t), log);
    if (watch == NULL) {
        return NULL;
    }

    ngx_opsauth_link_init(&watch->link, &ngx_opsauth_watch_kind, conf, log);

    watch->link.watched = &conf->sentinels[n];
    watch->link.timer.cancelable = 1;

    watch->moved = moved;
    watch->owner = owner;

    watch->timer.handler = ngx_opsauth_watch_timer_handler;
    watch->timer.data = watch;
    watch->timer.log = log;
    watch->timer.cancelable = 1;

    return watch;
}


void
ngx_opsauth_watch_start(ngx_opsauth_watch_t *watch)
{
    ngx_add_timer(&watch->timer, 1);
}


void
ngx_opsauth_watch_destroy(ngx_opsauth_watch_t *watch)
{
    ngx_opsauth_link_enter(&watch->link);

    watch->link.doomed = 1;
    ngx_opsauth_watch_quit(&watch->link);

    ngx_opsauth_link_leave(&watch->link);
}


static void
ngx_opsauth_watch_free(ngx_opsauth_link_t *link)
{
    ngx_opsauth_watch_t  *watch = (ngx_opsauth_watch_t *) link;

    if (watch->out.start) {
        ngx_free(watch->out.start);
    }

    ngx_opsauth_link_cleanup(link);
    ngx_free(watch);
}


static void
ngx_opsauth_watch_timer_handler(ngx_event_t *ev)
{
    ngx_opsauth_watch_t  *watch;

    watch = ev->data;

    ngx_opsauth_link_enter(&watch->link);

    if (ngx_exiting) {
        ngx_opsauth_watch_quit(&watch->link);

    } else if (watch->link.state == NGX_OPSAUTH_LINK_DOWN) {
        ngx_opsauth_link_connect(&watch->link);

    } else if (watch->link.state == NGX_OPSAUTH_LINK_READY) {

        if (watch->waiting) {
            ngx_opsauth_link_fail(&watch->link, NGX_OPSAUTH_REDIS_TIMEOUT, 0,
                                  "it does not answer");
        } else {
            ngx_opsauth_watch_ping(watch);
        }
    }

    ngx_opsauth_link_leave(&watch->link);
}


static ngx_int_t
ngx_opsauth_watch_greet(ngx_opsauth_link_t *link)
{
    ngx_str_t            words[2];
    ngx_opsauth_watch_t  *watch = (ngx_opsauth_watch_t *) link;

    watch->waiting = 0;
    watch->out.pos = watch->out.start;
    watch->out.last = watch->out.start;

    ngx_str_set(&words[0], "SUBSCRIBE");
    ngx_str_set(&words[1], "+switch-master");

    return ngx_opsauth_link_step(link, ngx_opsauth_watch_subscribed, 2, words);
}


static void
ngx_opsauth_watch_subscribed(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply)
{
    if (reply->type != NGX_OPSAUTH_REPLY_ARRAY) {
        ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_DENIED, 0,
                              "it refuses SUBSCRIBE: its user there needs "
                              "+subscribe and &+switch-master");
    }
}


static void
ngx_opsauth_watch_ready(ngx_opsauth_link_t *link)
{
    ngx_opsauth_watch_t  *watch = (ngx_opsauth_watch_t *) link;

    link->failures = 0;

    if (link->trouble) {
        link->trouble = NGX_OPSAUTH_REDIS_OK;

        ngx_log_error(NGX_LOG_NOTICE, link->log, 0,
                      "opsauth: redis \"%V\": sentinel \"%V\" is back",
                      &link->conf->url, &link->watched->name);
    }

    ngx_opsauth_watch_named(watch, link->primary, link->primary_len);

    if (link->state == NGX_OPSAUTH_LINK_READY) {
        ngx_opsauth_watch_ping(watch);
    }
}


static void
ngx_opsauth_watch_reply(ngx_opsauth_link_t *link, ngx_opsauth_reply_t *reply)
{
    ngx_opsauth_watch_t  *watch = (ngx_opsauth_watch_t *) link;

    if (reply->type != NGX_OPSAUTH_REPLY_ARRAY || reply->elements == NULL
        || reply->n < 2)
    {
        ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_ERROR, 0,
                              "it does not answer as a sentinel does");
        return;
    }

    if (ngx_opsauth_watch_is(&reply->elements[0], "pong")) {
        watch->waiting = 0;
        return;
    }

    if (reply->n == 3
        && ngx_opsauth_watch_is(&reply->elements[0], "message")
        && ngx_opsauth_watch_is(&reply->elements[1], "+switch-master")
        && reply->elements[2].type == NGX_OPSAUTH_REPLY_STRING)
    {
        ngx_opsauth_watch_switched(watch, &reply->elements[2].str);
    }
}


static ngx_uint_t
ngx_opsauth_watch_is(ngx_opsauth_reply_t *reply, const char *word)
{
    size_t  len;

    len = ngx_strlen(word);

    return reply->type == NGX_OPSAUTH_REPLY_STRING && reply->str.len == len
           && ngx_strncmp(reply->str.data, word, len) == 0;
}


/* "name old-host old-port new-host new-port" */

static void
ngx_opsauth_watch_switched(ngx_opsauth_watch_t *watch, ngx_str_t *message)
{
    u_char      *p, *last, *space, primary[NGX_OPSAUTH_LINK_PRIMARY_MAX];
    size_t       len;
    ngx_str_t    words[5];
    ngx_uint_t   n;

    p = message->data;
    last = p + message->len;

    for (n = 0; n < 5; n++) {
        space = ngx_strlchr(p, last, ' ');

        if (space == NULL || n == 4) {
            space = last;
        }

        words[n].data = p;
        words[n].len = space - p;

        p = (space < last) ? space + 1 : last;
    }

    if (words[0].len != watch->link.conf->primary.len
        || ngx_memcmp(words[0].data, watch->link.conf->primary.data,
                      words[0].len)
           != 0)
    {
        /* one that others use */
        return;
    }

    len = ngx_opsauth_link_primary(&words[3], &words[4], primary);

    if (len == 0) {
        ngx_opsauth_link_fail(&watch->link, NGX_OPSAUTH_REDIS_ERROR, 0,
                              "what it names is no address");
        return;
    }

    ngx_opsauth_watch_named(watch, primary, len);
}


static void
ngx_opsauth_watch_named(ngx_opsauth_watch_t *watch, const u_char *primary,
    size_t len)
{
    ngx_str_t   name;
    ngx_uint_t  first;

    if (watch->said_len == len
        && ngx_memcmp(watch->said, primary, len) == 0)
    {
        return;
    }

    first = (watch->said_len == 0);

    ngx_memcpy(watch->said, primary, len);
    watch->said_len = len;

    if (first) {
        return;
    }

    name.data = watch->said;
    name.len = len;

    ngx_log_error(NGX_LOG_INFO, watch->link.log, 0,
                  "opsauth: redis \"%V\": sentinel \"%V\" tells that the "
                  "primary is \"%V\" now", &watch->link.conf->url,
                  &watch->link.watched->name, &name);

    watch->moved(watch->owner, &name,
                 ngx_opsauth_link_hash(name.data, name.len),
                 ngx_opsauth_link_now());
}


static void
ngx_opsauth_watch_ping(ngx_opsauth_watch_t *watch)
{
    ngx_str_t            word;
    ngx_opsauth_link_t  *link = &watch->link;

    ngx_str_set(&word, "PING");

    if (watch->out.pos == watch->out.last) {
        watch->out.pos = watch->out.start;
        watch->out.last = watch->out.start;
    }

    if (ngx_opsauth_codec_encode(&watch->out, NGX_OPSAUTH_WATCH_OUT_MAX, 1,
                                 &word, link->log)
        != NGX_OK)
    {
        ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_DOWN, 0,
                              "there is no memory to ask it");
        return;
    }

    watch->waiting = 1;

    if (ngx_opsauth_link_send(link, &watch->out) != NGX_OK) {
        return;
    }

    ngx_add_timer(&watch->timer, NGX_OPSAUTH_WATCH_PERIOD);
}


static void
ngx_opsauth_watch_write(ngx_opsauth_link_t *link)
{
    ngx_opsauth_watch_t  *watch = (ngx_opsauth_watch_t *) link;

    if (watch->out.pos < watch->out.last
        || !(ngx_event_flags & NGX_USE_CLEAR_EVENT))
    {
        (void) ngx_opsauth_link_send(link, &watch->out);
    }
}


static void
ngx_opsauth_watch_heard(ngx_opsauth_link_t *link)
{
    /* only what answers a PING counts */
}


static void
ngx_opsauth_watch_rest(ngx_opsauth_link_t *link)
{
    /* there is always the next PING */
}


static void
ngx_opsauth_watch_publish(ngx_opsauth_link_t *link)
{
    /* it has no gauges */
}


static void
ngx_opsauth_watch_fail(ngx_opsauth_link_t *link,
    ngx_opsauth_redis_error_e error, ngx_err_t err, const char *why)
{
    ngx_msec_t            wait;
    ngx_opsauth_watch_t  *watch = (ngx_opsauth_watch_t *) link;

    /* one line; another one where somebody has to do something about it */

    if (link->trouble == NGX_OPSAUTH_REDIS_OK
        || ngx_opsauth_link_class(error)
           > ngx_opsauth_link_class(link->trouble))
    {
        link->trouble = error;

        ngx_log_error(NGX_LOG_WARN, link->log, err,
                      "opsauth: redis \"%V\": sentinel \"%V\" is down: %s",
                      &link->conf->url, &link->watched->name, why);
    }

    link->turn++;

    ngx_opsauth_watch_close(watch);

    wait = ngx_opsauth_link_backoff(link, error);

    if (!watch->quit && !ngx_exiting) {
        ngx_add_timer(&watch->timer, ngx_max(wait, 1));
    }
}


static void
ngx_opsauth_watch_quit(ngx_opsauth_link_t *link)
{
    ngx_opsauth_watch_t  *watch = (ngx_opsauth_watch_t *) link;

    watch->quit = 1;

    ngx_opsauth_watch_close(watch);
}


static void
ngx_opsauth_watch_close(ngx_opsauth_watch_t *watch)
{
    watch->waiting = 0;

    if (watch->timer.timer_set) {
        ngx_del_timer(&watch->timer);
    }

    ngx_opsauth_link_close(&watch->link);
}
