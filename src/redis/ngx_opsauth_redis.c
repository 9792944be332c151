/*
 * Commands on one connection: what is queued, sent, answered.
 *
 * Invariants:
 * - a handler is called exactly once for an accepted command, never from
 *   send(), and always with link.busy held, so that destroy() in a handler
 *   frees nothing that is still in use above it;
 * - after any handler the connection may be gone: nobody goes on with it
 *   before looking;
 * - replies come in the order of slots; one that nobody asked for means that
 *   the stream can't be trusted;
 * - all commands have the same timeout, so those overdue stand first: dead
 *   slots are a prefix of the ring;
 * - the timer keeps an exiting worker only while a caller waits.
 */

#include "ngx_opsauth_redis_conn.h"


#define NGX_OPSAUTH_REDIS_OUT_COMPACT  (32 * 1024)
/* of one reply; a record beyond that is invalid, and read over */
#define NGX_OPSAUTH_REDIS_REPLY_BYTES  (256 * 1024)
/* a store that is set up may be emptied: look again now and then */
#define NGX_OPSAUTH_REDIS_MARKER_AGE   1000


static ngx_int_t ngx_opsauth_redis_greet(ngx_opsauth_link_t *link);
static void ngx_opsauth_redis_led(ngx_opsauth_link_t *link);
static void ngx_opsauth_redis_ready(ngx_opsauth_link_t *link);
OA_WARM static void ngx_opsauth_redis_reply(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply);
static void ngx_opsauth_redis_write(ngx_opsauth_link_t *link);
static void ngx_opsauth_redis_heard(ngx_opsauth_link_t *link);
static void ngx_opsauth_redis_free(ngx_opsauth_link_t *link);
static void ngx_opsauth_redis_flush_handler(ngx_event_t *ev);
static void ngx_opsauth_redis_error_reply(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_command_t *cmd, ngx_opsauth_reply_t *reply);
static void ngx_opsauth_redis_marker_reply(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply);
static void ngx_opsauth_redis_marker_alive(ngx_opsauth_redis_t *redis);


static const ngx_opsauth_link_kind_t  ngx_opsauth_redis_kind = {
    .title = "redis",
    .suffix = "",
    .action = "asking for records",
    .level = NGX_LOG_ERR,
    .idle = 0,
    .skip = 1,
    .strings = 1,
    .max_elements = NGX_OPSAUTH_REDIS_REPLY_ELEMENTS,
    .max_bytes = NGX_OPSAUTH_REDIS_REPLY_BYTES,
    .greet = ngx_opsauth_redis_greet,
    .led = ngx_opsauth_redis_led,
    .ready = ngx_opsauth_redis_ready,
    .reply = ngx_opsauth_redis_reply,
    .write = ngx_opsauth_redis_write,
    .heard = ngx_opsauth_redis_heard,
    .fail = ngx_opsauth_redis_fail,
    .quit = ngx_opsauth_redis_quit,
    .rest = ngx_opsauth_redis_rest,
    .publish = ngx_opsauth_redis_publish,
    .free = ngx_opsauth_redis_free
};


ngx_opsauth_redis_t *
ngx_opsauth_redis_create(ngx_opsauth_redis_conf_t *conf, ngx_log_t *log)
{
    ngx_opsauth_redis_t  *redis;

    redis = ngx_calloc(sizeof(ngx_opsauth_redis_t), log);
    if (redis == NULL) {
        return NULL;
    }

    ngx_opsauth_link_init(&redis->link, &ngx_opsauth_redis_kind, conf, log);
    ngx_opsauth_redis_slow_init(redis);

    redis->stats = conf->stats ? conf->stats : &redis->unwanted;

    if (conf->cluster) {
        redis->cluster = ngx_opsauth_cluster_create(conf, log);

        if (redis->cluster == NULL) {
            ngx_free(redis);
            return NULL;
        }
    }

    ngx_queue_init(&redis->ending);

    redis->flush.handler = ngx_opsauth_redis_flush_handler;
    redis->flush.data = redis;
    redis->flush.log = log;

    return redis;
}


void
ngx_opsauth_redis_destroy(ngx_opsauth_redis_t *redis)
{
    if (redis->cluster) {
        ngx_opsauth_cluster_destroy(redis->cluster);
    }

    ngx_opsauth_link_enter(&redis->link);

    redis->link.doomed = 1;
    ngx_opsauth_redis_quit(&redis->link);

    if (redis->flush.posted) {
        ngx_delete_posted_event(&redis->flush);
    }

    ngx_opsauth_link_leave(&redis->link);
}


static void
ngx_opsauth_redis_free(ngx_opsauth_link_t *link)
{
    ngx_opsauth_redis_t  *redis = (ngx_opsauth_redis_t *) link;

    if (redis->out.start) {
        /* quit() has wiped what it held */
        ngx_free(redis->out.start);
    }

    ngx_opsauth_link_cleanup(link);
    ngx_free(redis);
}


ngx_int_t
ngx_opsauth_redis_send(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_command_t *cmd, ngx_opsauth_codec_form_t *form,
    const ngx_str_t *name, ngx_opsauth_redis_error_e *error)
{
    size_t  before;

    if (ngx_opsauth_redis_accept(redis, error) != NGX_OK) {
        return NGX_DECLINED;
    }

    before = redis->out.last - redis->out.start;

    if (ngx_opsauth_codec_encode_form(&redis->out, NGX_OPSAUTH_REDIS_OUT_MAX,
                                      form, name, redis->link.log)
        != NGX_OK)
    {
        *error = NGX_OPSAUTH_REDIS_FULL;
        return NGX_DECLINED;
    }

    cmd->once = 0;
    ngx_opsauth_redis_queue(redis, cmd, before);

    return NGX_OK;
}


ngx_int_t
ngx_opsauth_redis_accept(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_error_e *error)
{
    ngx_opsauth_redis_catch_up(redis);

    if (redis->closing || redis->link.doomed
        || ngx_opsauth_redis_breaker_refuses(redis)
        || (redis->link.state == NGX_OPSAUTH_LINK_DOWN && redis->link.failures
            && (ngx_msec_int_t) (redis->link.retry_at - ngx_current_msec) > 0))
    {
        *error = NGX_OPSAUTH_REDIS_DOWN;
        ngx_opsauth_stats_add(&redis->stats->errors[*error], 1);
        return NGX_DECLINED;
    }

    if (redis->nslots - redis->marking >= NGX_OPSAUTH_REDIS_PENDING_MAX) {
        *error = NGX_OPSAUTH_REDIS_FULL;
        ngx_opsauth_stats_add(&redis->stats->errors[*error], 1);
        return NGX_DECLINED;
    }

    if (redis->link.state == NGX_OPSAUTH_LINK_READY && !redis->marking
        && redis->node == NULL
        && (!redis->marked
            || ngx_current_msec - redis->marker_at
               >= NGX_OPSAUTH_REDIS_MARKER_AGE))
    {
        ngx_opsauth_redis_push_marker(redis);
    }

    if (redis->answered >= NGX_OPSAUTH_REDIS_OUT_COMPACT) {
        ngx_opsauth_redis_compact(redis);
    }

    return NGX_OK;
}


void
ngx_opsauth_redis_queue(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_command_t *cmd, size_t before)
{
    ngx_opsauth_redis_push(redis, cmd, before);
    ngx_opsauth_stats_add(&redis->stats->commands, 1);

    /* an attempt that the breaker began is somebody's now */
    redis->link.timer.cancelable = 0;

    ngx_post_event(&redis->flush, &ngx_posted_events);
}


ngx_uint_t
ngx_opsauth_redis_is_marked(ngx_opsauth_redis_t *redis)
{
    return redis->marked;
}


void
ngx_opsauth_redis_unmark(ngx_opsauth_redis_t *redis)
{
    if (redis->cluster) {
        ngx_opsauth_cluster_unmark(redis->cluster);
    }

    redis->marked = 0;
}


uint64_t
ngx_opsauth_redis_server(ngx_opsauth_redis_t *redis)
{
    return (redis->link.state == NGX_OPSAUTH_LINK_READY) ? redis->link.server
                                                         : 0;
}


ngx_msec_t
ngx_opsauth_redis_resolved(ngx_opsauth_redis_t *redis)
{
    return redis->link.resolved;
}


ngx_uint_t
ngx_opsauth_redis_live(ngx_opsauth_redis_t *redis)
{
    return redis->nslots - redis->ndead - redis->marking;
}


static void
ngx_opsauth_redis_flush_handler(ngx_event_t *ev)
{
    ngx_opsauth_redis_t  *redis;

    redis = ev->data;

    ngx_opsauth_link_enter(&redis->link);

    switch (redis->link.state) {

    case NGX_OPSAUTH_LINK_DOWN:

        if (redis->nslots) {
            redis->link.timer.cancelable = 0;
            ngx_opsauth_redis_connect(redis);
        }

        break;

    case NGX_OPSAUTH_LINK_READY:

        if (ngx_exiting && ngx_opsauth_redis_live(redis) == 0) {
            ngx_opsauth_redis_quit(&redis->link);
            break;
        }

        if (redis->dropping) {
            ngx_opsauth_redis_move(redis);
            break;
        }

        ngx_opsauth_redis_flush(redis);
        break;

    default:

        if (redis->dropping) {
            ngx_opsauth_redis_move(redis);
        }

        /* otherwise sent when the greeting is answered */
        break;
    }

    ngx_opsauth_link_leave(&redis->link);
}


static ngx_int_t
ngx_opsauth_redis_greet(ngx_opsauth_link_t *link)
{
    ngx_str_t             words[3];
    ngx_opsauth_redis_t  *redis = (ngx_opsauth_redis_t *) link;

    redis->marked = 0;

    ngx_str_set(&words[0], "HMGET");
    words[1] = link->conf->marker;
    ngx_str_set(&words[2], "v");

    return ngx_opsauth_link_step(link, ngx_opsauth_redis_marker_reply, 3,
                                 words);
}


/* commands wait for it: the breaker was the other one's */

static void
ngx_opsauth_redis_led(ngx_opsauth_link_t *link)
{
    ngx_opsauth_redis_breaker_close((ngx_opsauth_redis_t *) link);
}


static void
ngx_opsauth_redis_ready(ngx_opsauth_link_t *link)
{
    ngx_opsauth_redis_t  *redis = (ngx_opsauth_redis_t *) link;

    ngx_opsauth_stats_add(&redis->stats->connects, 1);

    redis->served = link->server;

    if (!redis->dropping) {
        ngx_opsauth_redis_flush(redis);
    }
}


static void
ngx_opsauth_redis_write(ngx_opsauth_link_t *link)
{
    ngx_opsauth_redis_t  *redis = (ngx_opsauth_redis_t *) link;

    /* epoll tells of it with every reply; poll must be told to stop */

    if (!redis->dropping
        && (redis->out.pos < redis->out.last
            || !(ngx_event_flags & NGX_USE_CLEAR_EVENT)))
    {
        ngx_opsauth_redis_flush(redis);
    }
}


static void
ngx_opsauth_redis_heard(ngx_opsauth_link_t *link)
{
    ngx_opsauth_redis_t  *redis = (ngx_opsauth_redis_t *) link;

    redis->heard = redis->flushes;
    redis->heard_us = ngx_opsauth_link_now_us();
}


/* one reply on a connection that is READY */

static void
ngx_opsauth_redis_reply(ngx_opsauth_link_t *link, ngx_opsauth_reply_t *reply)
{
    ngx_opsauth_redis_t  *redis = (ngx_opsauth_redis_t *) link;

    ngx_buf_t                    *out;
    ngx_opsauth_redis_slot_t     *slot;
    ngx_opsauth_redis_command_t  *cmd;

    out = &redis->out;
    slot = ngx_opsauth_redis_slot(redis, 0);

    if (redis->nsent == 0
        || redis->answered + slot->size > (size_t) (out->pos - out->start))
    {
        ngx_opsauth_link_fail(&redis->link, NGX_OPSAUTH_REDIS_ERROR, 0,
                              "it sent a reply that nobody asked for");
        return;
    }

    cmd = slot->command;

    redis->answered += slot->size;
    redis->nsent--;
    redis->nslots--;

    if (++redis->head == NGX_OPSAUTH_REDIS_SLOTS) {
        redis->head = 0;
    }

    if (redis->nslots == 0) {
        out->pos = out->start;
        out->last = out->start;
        redis->answered = 0;
        redis->late = 0;
    }

    if (cmd == NULL) {
        redis->ndead--;
        return;
    }

    redis->late = 0;

    if (cmd == &redis->asking) {
        return;
    }

    if (cmd == &redis->marker) {
        redis->marking = 0;

    } else {
        ngx_opsauth_redis_in_time(redis);
        ngx_opsauth_stats_observe(&redis->stats->command_time,
                                  redis->heard_us - slot->sent_us);
    }

    if (reply->type == NGX_OPSAUTH_REPLY_ERROR) {
        ngx_opsauth_redis_error_reply(redis, cmd, reply);
        return;
    }

    if (cmd == &redis->marker) {
        ngx_opsauth_redis_marker_reply(link, reply);
        return;
    }

    ngx_opsauth_link_alive(&redis->link);

    if (cmd->once) {
        ngx_opsauth_redis_done_log(redis, cmd);
    }

    cmd->done = 1;
    cmd->handler(cmd, reply, NGX_OPSAUTH_REDIS_OK);
}


static void
ngx_opsauth_redis_error_reply(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_command_t *cmd, ngx_opsauth_reply_t *reply)
{
    const ngx_opsauth_redis_entry_t  *entry;

    entry = ngx_opsauth_redis_error_entry(reply);

    if (entry->fatal) {

        if (cmd != &redis->marker) {
            cmd->error = entry->error;
            ngx_queue_insert_tail(&redis->ending, &cmd->queue);
        }

        ngx_opsauth_link_fail_reply(&redis->link, entry, reply,
                                    cmd->once ? (char *) cmd->verb.data
                                              : "HMGET");
        return;
    }

    if (redis->node) {

        /* it says where to go; or another one knows */

        if (entry->elsewhere) {
            ngx_opsauth_cluster_trouble(redis);
        }

    } else if (entry->elsewhere) {
        ngx_opsauth_redis_drop(redis);
    }

    if (cmd == &redis->marker) {
        ngx_opsauth_redis_marker_reply(&redis->link, reply);
        return;
    }

    ngx_opsauth_stats_add(&redis->stats->errors[entry->error], 1);

    if (redis->node && entry->error == NGX_OPSAUTH_REDIS_MOVED) {
        /* who sent it goes there */

    } else if (cmd->once) {
        ngx_opsauth_redis_refused_log(redis, cmd, entry, reply);

    } else {
        ngx_opsauth_redis_error_log(redis, entry, reply);
    }

    cmd->done = 1;
    cmd->handler(cmd, (cmd->once || redis->node) ? reply : NULL,
                 entry->error);
}


/* in the greeting, and later ahead of lookups */

static void
ngx_opsauth_redis_marker_reply(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply)
{
    ngx_opsauth_redis_t  *redis = (ngx_opsauth_redis_t *) link;

    ngx_opsauth_redis_probed(redis);

    redis->marked = 0;
    redis->marker_at = ngx_current_msec;

    if (redis->node) {

        /* it stands on one of the nodes, and is read by lookups: here all that
           counts is that there is an answer */

        if (reply->type != NGX_OPSAUTH_REPLY_ERROR
            || ngx_opsauth_redis_classify(reply) == NGX_OPSAUTH_REDIS_MOVED)
        {
            ngx_opsauth_redis_marker_alive(redis);
        }

        return;
    }

    if (reply->type == NGX_OPSAUTH_REPLY_ARRAY && reply->n == 1) {
        redis->marked = reply->strings
                        ? reply->strings[0].data != NULL
                        : reply->elements[0].type != NGX_OPSAUTH_REPLY_NIL;
        ngx_opsauth_redis_marker_alive(redis);

        if (!redis->marked) {
            ngx_opsauth_redis_unmarked_log(redis);
        }

        return;
    }

    if (reply->type != NGX_OPSAUTH_REPLY_ERROR) {
        ngx_opsauth_link_fail(&redis->link, NGX_OPSAUTH_REDIS_ERROR, 0,
                              "it does not answer as Redis does");
        return;
    }

    ngx_opsauth_redis_marker_log(redis, reply);
}


/* after the breaker was open it is a command's to say that Redis is back */

static void
ngx_opsauth_redis_marker_alive(ngx_opsauth_redis_t *redis)
{
    if (redis->half_open) {
        redis->link.failures = 0;
        return;
    }

    ngx_opsauth_link_alive(&redis->link);
}


void
ngx_opsauth_redis_end(ngx_opsauth_redis_t *redis)
{
    ngx_queue_t                  *q;
    ngx_opsauth_redis_command_t  *cmd;

    while (!ngx_queue_empty(&redis->ending)) {
        q = ngx_queue_head(&redis->ending);
        ngx_queue_remove(q);

        cmd = ngx_queue_data(q, ngx_opsauth_redis_command_t, queue);

        ngx_opsauth_stats_add(&redis->stats->errors[cmd->error], 1);

        cmd->done = 1;
        cmd->handler(cmd, NULL, cmd->error);
    }
}


/*
 * An exiting worker closes when nobody waits, but by way of the posted event:
 * the requests that were just answered are posted before it, and may ask for
 * their account.
 */

void
ngx_opsauth_redis_rest(ngx_opsauth_link_t *link)
{
    ngx_opsauth_redis_t  *redis = (ngx_opsauth_redis_t *) link;

    if (redis->link.state != NGX_OPSAUTH_LINK_READY
        || ngx_opsauth_redis_live(redis))
    {
        return;
    }

    redis->link.connection->idle = 1;
    redis->timer.cancelable = 1;

    if (ngx_exiting) {
        ngx_post_event(&redis->flush, &ngx_posted_events);
    }
}
