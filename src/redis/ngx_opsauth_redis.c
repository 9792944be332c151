/*
 * Commands on one connection: what is queued, sent, answered, overdue.
 *
 * Invariants:
 * - a handler is called exactly once for an accepted command, never from
 *   send(), and always with redis->busy held, so that destroy() in a handler
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


#define NGX_OPSAUTH_REDIS_OUT_MAX      (1024 * 1024)
#define NGX_OPSAUTH_REDIS_OUT_COMPACT  (32 * 1024)
/* a store that is set up may be emptied: look again now and then */
#define NGX_OPSAUTH_REDIS_MARKER_AGE   1000


static ngx_int_t ngx_opsauth_redis_push(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_command_t *cmd, ngx_uint_t n, const ngx_str_t *words);
static void ngx_opsauth_redis_push_marker(ngx_opsauth_redis_t *redis);
static void ngx_opsauth_redis_compact(ngx_opsauth_redis_t *redis);
static void ngx_opsauth_redis_flush_handler(ngx_event_t *ev);
static void ngx_opsauth_redis_stamp(ngx_opsauth_redis_t *redis);
static void ngx_opsauth_redis_error_reply(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_command_t *cmd, ngx_opsauth_reply_t *reply);
static void ngx_opsauth_redis_timer_handler(ngx_event_t *ev);
static void ngx_opsauth_redis_overdue(ngx_opsauth_redis_t *redis);
static void ngx_opsauth_redis_set_timer(ngx_opsauth_redis_t *redis);
static ngx_msec_t ngx_opsauth_redis_now(void);


ngx_opsauth_redis_t *
ngx_opsauth_redis_create(ngx_opsauth_redis_conf_t *conf, ngx_log_t *log)
{
    ngx_opsauth_redis_t  *redis;

    redis = ngx_calloc(sizeof(ngx_opsauth_redis_t), log);
    if (redis == NULL) {
        return NULL;
    }

    redis->ident[3] = (void *) -1;
    redis->conf = conf;
    redis->log = log;

    ngx_queue_init(&redis->ending);

    redis->flush.handler = ngx_opsauth_redis_flush_handler;
    redis->flush.data = redis;
    redis->flush.log = log;

    redis->timer.handler = ngx_opsauth_redis_timer_handler;
    redis->timer.data = redis;
    redis->timer.log = log;

    return redis;
}


void
ngx_opsauth_redis_destroy(ngx_opsauth_redis_t *redis)
{
    ngx_opsauth_redis_enter(redis);

    redis->doomed = 1;
    ngx_opsauth_redis_quit(redis);

    if (redis->flush.posted) {
        ngx_delete_posted_event(&redis->flush);
    }

    ngx_opsauth_redis_leave(redis);
}


void
ngx_opsauth_redis_enter(ngx_opsauth_redis_t *redis)
{
    redis->busy++;
}


void
ngx_opsauth_redis_leave(ngx_opsauth_redis_t *redis)
{
    if (--redis->busy || !redis->doomed) {
        return;
    }

    if (redis->out.start) {
        ngx_free(redis->out.start);
    }

    ngx_free(redis);
}


ngx_int_t
ngx_opsauth_redis_send(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_command_t *cmd, ngx_uint_t n, const ngx_str_t *words,
    ngx_opsauth_redis_error_e *error)
{
    if (redis->closing || redis->doomed
        || (redis->state == NGX_OPSAUTH_REDIS_ST_DOWN && redis->failures
            && (ngx_msec_int_t) (redis->retry_at - ngx_current_msec) > 0))
    {
        *error = NGX_OPSAUTH_REDIS_DOWN;
        return NGX_DECLINED;
    }

    if (redis->nslots - redis->marking >= NGX_OPSAUTH_REDIS_PENDING_MAX) {
        *error = NGX_OPSAUTH_REDIS_FULL;
        return NGX_DECLINED;
    }

    if (redis->state == NGX_OPSAUTH_REDIS_ST_READY && !redis->marking
        && (!redis->marked
            || ngx_current_msec - redis->marker_at
               >= NGX_OPSAUTH_REDIS_MARKER_AGE))
    {
        ngx_opsauth_redis_push_marker(redis);
    }

    if (ngx_opsauth_redis_push(redis, cmd, n, words) != NGX_OK) {
        *error = NGX_OPSAUTH_REDIS_FULL;
        return NGX_DECLINED;
    }

    ngx_post_event(&redis->flush, &ngx_posted_events);

    return NGX_OK;
}


ngx_uint_t
ngx_opsauth_redis_is_marked(ngx_opsauth_redis_t *redis)
{
    return redis->marked;
}


ngx_uint_t
ngx_opsauth_redis_live(ngx_opsauth_redis_t *redis)
{
    return redis->nslots - redis->ndead - redis->marking;
}


static ngx_int_t
ngx_opsauth_redis_push(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_command_t *cmd, ngx_uint_t n, const ngx_str_t *words)
{
    size_t                     before;
    ngx_opsauth_redis_slot_t  *slot;

    if (redis->answered >= NGX_OPSAUTH_REDIS_OUT_COMPACT) {
        ngx_opsauth_redis_compact(redis);
    }

    before = redis->out.last - redis->out.start;

    if (ngx_opsauth_codec_encode(&redis->out, NGX_OPSAUTH_REDIS_OUT_MAX, n,
                                 words, redis->log)
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    cmd->retried = 0;
    cmd->done = 0;

    slot = ngx_opsauth_redis_slot(redis, redis->nslots++);

    slot->command = cmd;
    slot->size = (uint32_t) (redis->out.last - redis->out.start - before);

    return NGX_OK;
}


static void
ngx_opsauth_redis_push_marker(ngx_opsauth_redis_t *redis)
{
    ngx_str_t  words[3];

    ngx_str_set(&words[0], "HMGET");
    words[1] = redis->conf->marker;
    ngx_str_set(&words[2], "v");

    if (ngx_opsauth_redis_push(redis, &redis->marker, 3, words) == NGX_OK) {
        redis->marking = 1;
    }
}


static void
ngx_opsauth_redis_compact(ngx_opsauth_redis_t *redis)
{
    size_t      rest;
    ngx_buf_t  *out;

    out = &redis->out;
    rest = out->last - out->start - redis->answered;

    if (rest > redis->answered) {
        return;
    }

    ngx_memmove(out->start, out->start + redis->answered, rest);

    out->pos -= redis->answered;
    out->last -= redis->answered;
    redis->answered = 0;
}


static void
ngx_opsauth_redis_flush_handler(ngx_event_t *ev)
{
    ngx_opsauth_redis_t  *redis;

    redis = ev->data;

    ngx_opsauth_redis_enter(redis);

    switch (redis->state) {

    case NGX_OPSAUTH_REDIS_ST_DOWN:

        if (redis->nslots) {
            ngx_opsauth_redis_connect(redis);
        }

        break;

    case NGX_OPSAUTH_REDIS_ST_READY:

        if (ngx_exiting && ngx_opsauth_redis_live(redis) == 0) {
            ngx_opsauth_redis_quit(redis);
            break;
        }

        ngx_opsauth_redis_flush(redis);
        break;

    default:
        /* sent when the greeting is answered */
        break;
    }

    ngx_opsauth_redis_leave(redis);
}


void
ngx_opsauth_redis_flush(ngx_opsauth_redis_t *redis)
{
    ssize_t            n;
    ngx_buf_t         *out;
    ngx_connection_t  *c;

    c = redis->connection;
    out = &redis->out;

    if (redis->nsent < redis->nslots) {
        ngx_opsauth_redis_stamp(redis);
    }

    while (out->pos < out->last && c->write->ready) {

        n = c->send(c, out->pos, out->last - out->pos);

        if (n == NGX_ERROR) {
            ngx_opsauth_redis_fail(redis, NGX_OPSAUTH_REDIS_CLOSED,
                                   ngx_socket_errno, "send() failed");
            return;
        }

        if (n <= 0) {
            break;
        }

        out->pos += n;
    }

    if (ngx_handle_write_event(c->write, 0) != NGX_OK) {
        ngx_opsauth_redis_fail(redis, NGX_OPSAUTH_REDIS_CLOSED, 0,
                               "its socket can't be watched");
        return;
    }

    c->idle = (ngx_opsauth_redis_live(redis) == 0);

    ngx_opsauth_redis_set_timer(redis);
}


/* before the write: a record is at least as new as sent_at says */

static void
ngx_opsauth_redis_stamp(ngx_opsauth_redis_t *redis)
{
    ngx_msec_t                 now;
    ngx_opsauth_redis_slot_t  *slot;

    now = ngx_opsauth_redis_now();
    redis->flushes++;

    while (redis->nsent < redis->nslots) {
        slot = ngx_opsauth_redis_slot(redis, redis->nsent++);

        slot->sent_at = now;
        slot->flush = redis->flushes;
        slot->command->sent_at = now;
        slot->command->deadline = now + redis->conf->timeout;
    }
}


/* one reply on a connection that is READY */

void
ngx_opsauth_redis_reply(ngx_opsauth_redis_t *redis, ngx_opsauth_reply_t *reply)
{
    ngx_buf_t                    *out;
    ngx_opsauth_redis_slot_t     *slot;
    ngx_opsauth_redis_command_t  *cmd;

    out = &redis->out;
    slot = ngx_opsauth_redis_slot(redis, 0);

    if (redis->nsent == 0
        || redis->answered + slot->size > (size_t) (out->pos - out->start))
    {
        ngx_opsauth_redis_fail(redis, NGX_OPSAUTH_REDIS_ERROR, 0,
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

    if (cmd == &redis->marker) {
        redis->marking = 0;
    }

    if (reply->type == NGX_OPSAUTH_REPLY_ERROR) {
        ngx_opsauth_redis_error_reply(redis, cmd, reply);
        return;
    }

    if (cmd == &redis->marker) {
        ngx_opsauth_redis_marker_reply(redis, reply);
        return;
    }

    ngx_opsauth_redis_alive(redis);

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

        ngx_opsauth_redis_fail_reply(redis, entry, reply, "HMGET");
        return;
    }

    if (cmd == &redis->marker) {
        ngx_opsauth_redis_marker_reply(redis, reply);
        return;
    }

    ngx_opsauth_redis_error_log(redis, entry, reply);

    cmd->done = 1;
    cmd->handler(cmd, NULL, entry->error);
}


/* in the greeting, and later ahead of lookups */

void
ngx_opsauth_redis_marker_reply(ngx_opsauth_redis_t *redis,
    ngx_opsauth_reply_t *reply)
{
    redis->marked = 0;
    redis->marker_at = ngx_current_msec;

    if (reply->type == NGX_OPSAUTH_REPLY_ARRAY && reply->n == 1) {
        redis->marked = (reply->elements[0].type != NGX_OPSAUTH_REPLY_NIL);
        ngx_opsauth_redis_alive(redis);

        if (!redis->marked) {
            ngx_opsauth_redis_unmarked_log(redis);
        }

        return;
    }

    if (reply->type != NGX_OPSAUTH_REPLY_ERROR) {
        ngx_opsauth_redis_fail(redis, NGX_OPSAUTH_REDIS_ERROR, 0,
                               "it does not answer as Redis does");
        return;
    }

    ngx_opsauth_redis_marker_log(redis, reply);
}


ngx_uint_t
ngx_opsauth_redis_take(ngx_opsauth_redis_t *redis, ngx_uint_t retry,
    ngx_opsauth_redis_error_e error)
{
    u_char                       *src, *dst;
    uint32_t                      size;
    ngx_uint_t                    i, kept, unsent;
    ngx_opsauth_redis_slot_t     *slot;
    ngx_opsauth_redis_command_t  *cmd;

    if (redis->nslots == 0) {
        return 0;
    }

    dst = redis->out.start;
    src = dst + redis->answered;
    kept = 0;

    for (i = 0; i < redis->nslots; i++) {
        slot = ngx_opsauth_redis_slot(redis, i);
        cmd = slot->command;
        size = slot->size;
        unsent = (i >= redis->nsent);

        if (cmd == NULL || cmd == &redis->marker) {
            /* nobody waits for it */

        } else if (retry
                   && (unsent
                       || (!cmd->retried
                           && (int32_t) (slot->flush - redis->heard) > 0)))
        {
            cmd->retried |= !unsent;

            ngx_memmove(dst, src, size);
            dst += size;

            *ngx_opsauth_redis_slot(redis, kept++) = *slot;

        } else {
            cmd->error = error;
            ngx_queue_insert_tail(&redis->ending, &cmd->queue);
        }

        src += size;
    }

    redis->nslots = kept;
    redis->nsent = 0;
    redis->ndead = 0;
    redis->late = 0;
    redis->marking = 0;

    redis->answered = 0;
    redis->out.pos = redis->out.start;
    redis->out.last = dst;

    return kept;
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
ngx_opsauth_redis_rest(ngx_opsauth_redis_t *redis)
{
    if (redis->state != NGX_OPSAUTH_REDIS_ST_READY
        || ngx_opsauth_redis_live(redis))
    {
        return;
    }

    redis->connection->idle = 1;
    redis->timer.cancelable = 1;

    if (ngx_exiting) {
        ngx_post_event(&redis->flush, &ngx_posted_events);
    }
}


static void
ngx_opsauth_redis_timer_handler(ngx_event_t *ev)
{
    ngx_opsauth_redis_t  *redis;

    redis = ev->data;

    ngx_opsauth_redis_enter(redis);

    if (redis->state == NGX_OPSAUTH_REDIS_ST_READY) {
        ngx_opsauth_redis_overdue(redis);
        ngx_opsauth_redis_rest(redis);

    } else {
        ngx_opsauth_redis_attempt_timeout(redis);
    }

    ngx_opsauth_redis_leave(redis);
}


static void
ngx_opsauth_redis_overdue(ngx_opsauth_redis_t *redis)
{
    ngx_msec_t                 timeout, age;
    ngx_uint_t                 before;
    ngx_opsauth_redis_slot_t  *slot;

    timeout = redis->conf->timeout;
    before = redis->ndead;

    while (redis->ndead < redis->nsent) {
        slot = ngx_opsauth_redis_slot(redis, redis->ndead);

        if ((ngx_msec_int_t) (ngx_current_msec - slot->sent_at - timeout) < 0)
        {
            break;
        }

        if (slot->command == &redis->marker) {
            redis->marking = 0;

        } else {
            slot->command->error = NGX_OPSAUTH_REDIS_TIMEOUT;
            ngx_queue_insert_tail(&redis->ending, &slot->command->queue);
        }

        slot->command = NULL;
        redis->ndead++;

        if (!redis->late) {
            redis->late = 1;
            redis->late_at = slot->sent_at;
        }
    }

    /* where replies were lost, those of later commands fill the tombstones */

    if (redis->ndead) {
        age = ngx_current_msec - redis->late_at;

        if ((ngx_msec_int_t) (age - 4 * timeout) >= 0
            || redis->ndead >= NGX_OPSAUTH_REDIS_PENDING_MAX)
        {
            ngx_opsauth_redis_fail(redis, NGX_OPSAUTH_REDIS_TIMEOUT, 0,
                                   "it does not answer");
            return;
        }
    }

    if (redis->ndead > before) {
        ngx_opsauth_redis_trouble(redis, NGX_OPSAUTH_REDIS_TIMEOUT, 0,
                                  "it does not answer in time");
    }

    ngx_opsauth_redis_set_timer(redis);

    ngx_opsauth_redis_end(redis);
}


/*
 * Left as it is where it comes early enough: then its handler sets it anew,
 * and a reply costs no timer at all.
 */

static void
ngx_opsauth_redis_set_timer(ngx_opsauth_redis_t *redis)
{
    ngx_msec_t     at, live_at;
    ngx_event_t   *timer;

    timer = &redis->timer;
    timer->cancelable = (ngx_opsauth_redis_live(redis) == 0);

    if (redis->nsent == 0) {
        return;
    }

    at = ngx_opsauth_redis_slot(redis, 0)->sent_at + redis->conf->timeout;

    if (redis->ndead) {
        at += 3 * redis->conf->timeout;

        if (redis->ndead < redis->nsent) {
            live_at = ngx_opsauth_redis_slot(redis, redis->ndead)->sent_at
                      + redis->conf->timeout;

            if ((ngx_msec_int_t) (live_at - at) < 0) {
                at = live_at;
            }
        }
    }

    if (timer->timer_set) {
        if ((ngx_msec_int_t) (timer->timer.key - at) <= 0) {
            return;
        }

        ngx_del_timer(timer);
    }

    if ((ngx_msec_int_t) (at - ngx_current_msec) < 1) {
        at = ngx_current_msec + 1;
    }

    ngx_add_timer(timer, at - ngx_current_msec);
}


/*
 * The clock of ngx_current_msec, which stands still within a turn of the event
 * loop, read now: sent_at is compared with both.
 */

static ngx_msec_t
ngx_opsauth_redis_now(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (ngx_msec_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}
