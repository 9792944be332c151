/*
 * What becomes of commands when the connection is lost, given up or left.
 *
 * | the connection                        | commands          | then
 * |---------------------------------------|-------------------|--------------
 * | was READY, is closed, commands unheard| go out once more  | connect anew
 * | was READY, is closed, no command      | -                 | -
 * | failed otherwise: never READY, hang,  | end               | backoff, log a
 * | protocol error, NOAUTH                |                   | change of state
 * | leads to the wrong server             | go out once more  | connect anew
 * | nginx wants it closed                 | end               | -
 *
 * Of commands that are no reads only those go out, for the first time, of which
 * not a byte was written: one that was may have been done.
 */

#include "ngx_opsauth_redis_conn.h"


/* between two calls of drop() that are heeded */
#define NGX_OPSAUTH_REDIS_DROP_AGE  1000


static ngx_uint_t ngx_opsauth_redis_take(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_retry_e retry, ngx_opsauth_redis_error_e error);
static ngx_uint_t ngx_opsauth_redis_again(ngx_opsauth_redis_t *redis,
    ngx_uint_t i, const u_char *bytes, ngx_opsauth_redis_retry_e retry);
static void ngx_opsauth_redis_close(ngx_opsauth_redis_t *redis);


void
ngx_opsauth_redis_fail(ngx_opsauth_link_t *link,
    ngx_opsauth_redis_error_e error, ngx_err_t err, const char *why)
{
    ngx_uint_t                 live, kept, ready;
    ngx_opsauth_redis_t       *redis = (ngx_opsauth_redis_t *) link;
    ngx_opsauth_redis_error_e  given;
    ngx_opsauth_redis_retry_e  retry;

    ngx_opsauth_stats_add(&redis->stats->failures, 1);

    live = ngx_opsauth_redis_live(redis) || !ngx_queue_empty(&redis->ending);
    ready = (link->state == NGX_OPSAUTH_LINK_READY);

    given = error;

    if (error != NGX_OPSAUTH_REDIS_DENIED) {

        if (!ready) {
            given = NGX_OPSAUTH_REDIS_DOWN;

        } else if (error == NGX_OPSAUTH_REDIS_ERROR) {
            given = NGX_OPSAUTH_REDIS_CLOSED;
        }
    }

    retry = (ready && error == NGX_OPSAUTH_REDIS_CLOSED)
            ? NGX_OPSAUTH_REDIS_RETRY_UNHEARD : NGX_OPSAUTH_REDIS_RETRY_NONE;

    kept = ngx_opsauth_redis_take(redis, retry, given);

    ngx_opsauth_redis_close(redis);

    if (redis->node) {
        ngx_opsauth_cluster_trouble(redis);
    }

    if (kept) {
        ngx_log_error(NGX_LOG_INFO, link->log, err,
                      "opsauth: redis \"%V\": %s, asking again on a new "
                      "connection", &link->conf->url, why);

        ngx_post_event(&redis->flush, &ngx_posted_events);

    } else if (!ready || live || error != NGX_OPSAUTH_REDIS_CLOSED) {
        link->turn++;
        (void) ngx_opsauth_link_backoff(link, error);
        ngx_opsauth_link_trouble(link, error, err, why);
    }

    ngx_opsauth_redis_end(redis);
}


void
ngx_opsauth_redis_drop(ngx_opsauth_redis_t *redis)
{
    if (redis->link.state != NGX_OPSAUTH_LINK_READY
        || (redis->dropped
            && ngx_current_msec - redis->dropped_at
               < NGX_OPSAUTH_REDIS_DROP_AGE))
    {
        return;
    }

    redis->dropping = 1;
    redis->dropped = 1;
    redis->dropped_at = ngx_current_msec;

    ngx_post_event(&redis->flush, &ngx_posted_events);
}


ngx_uint_t
ngx_opsauth_redis_leave(ngx_opsauth_redis_t *redis, const ngx_str_t *primary)
{
    if (redis->link.primary_len == 0
        || !ngx_opsauth_link_astray(&redis->link, primary))
    {
        return 0;
    }

    /* what failed was the old one */

    ngx_opsauth_redis_breaker_close(redis);

    if (redis->link.state == NGX_OPSAUTH_LINK_READY) {
        redis->dropping = 1;
        redis->dropped = 1;
        redis->dropped_at = ngx_current_msec;

        ngx_post_event(&redis->flush, &ngx_posted_events);
        return 1;
    }

    redis->link.failures = 0;

    return 0;
}


void
ngx_opsauth_redis_connect(ngx_opsauth_redis_t *redis)
{
    ngx_msec_t                 resolved;
    ngx_opsauth_redis_conf_t  *conf;

    conf = redis->link.conf;
    redis->serving = conf->serves ? conf->serves(conf->owner, &resolved) : 0;

    ngx_opsauth_link_connect(&redis->link);
}


/*
 * Few workers hear of a failover themselves; the others go by what those have
 * found, before they ask anything: an answer of the server that was replaced
 * would be refused, and a write to it be lost. What stood in the way of the old
 * one, its backoff and the breaker, is nothing to the new one.
 */

void
ngx_opsauth_redis_catch_up(ngx_opsauth_redis_t *redis)
{
    uint64_t                   server;
    ngx_msec_t                 resolved;
    ngx_opsauth_redis_conf_t  *conf;

    conf = redis->link.conf;

    if (conf->serves == NULL) {
        return;
    }

    server = conf->serves(conf->owner, &resolved);

    if (server == 0
        || (ngx_msec_int_t) (redis->link.resolved - resolved) > 0)
    {
        return;
    }

    switch (redis->link.state) {

    case NGX_OPSAUTH_LINK_DOWN:

        /* somebody has found it since this one last tried */
        redis->link.failures = 0;
        break;

    case NGX_OPSAUTH_LINK_READY:

        if (redis->link.server == server) {
            return;
        }

        redis->dropping = 1;
        break;

    default:

        if (redis->serving == 0 || redis->serving == server) {
            return;
        }

        redis->dropping = 1;
        break;
    }

    if (redis->served != server) {
        ngx_opsauth_redis_breaker_close(redis);
    }

    if (redis->dropping) {
        ngx_post_event(&redis->flush, &ngx_posted_events);
    }
}


void
ngx_opsauth_redis_move(ngx_opsauth_redis_t *redis)
{
    ngx_uint_t  kept, level;

    kept = ngx_opsauth_redis_take(redis, NGX_OPSAUTH_REDIS_RETRY_ALL,
                                  NGX_OPSAUTH_REDIS_CLOSED);

    ngx_opsauth_redis_close(redis);

    /* where a name has several addresses, it is at one of the others */
    redis->link.turn++;

    /* where that is the trouble, it may happen once a second */

    level = redis->link.trouble ? NGX_LOG_DEBUG : NGX_LOG_INFO;

    ngx_log_error(level, redis->link.log, 0,
                  "opsauth: redis \"%V\": another server may serve the store "
                  "by now, connecting anew", &redis->link.conf->url);

    if (kept) {
        ngx_post_event(&redis->flush, &ngx_posted_events);
    }

    ngx_opsauth_redis_end(redis);
}


void
ngx_opsauth_redis_quit(ngx_opsauth_link_t *link)
{
    ngx_opsauth_redis_t  *redis = (ngx_opsauth_redis_t *) link;

    if (link->connection && link->connection->error) {
        redis->closing = 1;
    }

    (void) ngx_opsauth_redis_take(redis, NGX_OPSAUTH_REDIS_RETRY_NONE,
                                  NGX_OPSAUTH_REDIS_CLOSED);

    ngx_opsauth_redis_close(redis);

    /* requests of an exiting worker may still try their luck */

    ngx_opsauth_redis_breaker_close(redis);

    ngx_opsauth_redis_end(redis);
}


static void
ngx_opsauth_redis_close(ngx_opsauth_redis_t *redis)
{
    redis->dropping = 0;

    if (redis->timer.timer_set) {
        ngx_del_timer(&redis->timer);
    }

    ngx_opsauth_link_close(&redis->link);
}


static ngx_uint_t
ngx_opsauth_redis_take(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_retry_e retry, ngx_opsauth_redis_error_e error)
{
    u_char                       *src, *dst;
    uint32_t                      size;
    ngx_uint_t                    i, kept;
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

        if (cmd == NULL || cmd == &redis->marker || cmd == &redis->asking) {
            /* nobody waits for it */

        } else if (retry && ngx_opsauth_redis_again(redis, i, src, retry)) {
            cmd->retried |= (i < redis->nsent);

            ngx_memmove(dst, src, size);
            dst += size;

            *ngx_opsauth_redis_slot(redis, kept++) = *slot;

        } else {
            cmd->error = error;
            ngx_queue_insert_tail(&redis->ending, &cmd->queue);
        }

        src += size;
    }

    /* the rest of it, and what was moved away */

    ngx_explicit_memzero(dst, redis->out.last - dst);

    redis->secrets = 0;

    for (i = 0; i < kept; i++) {
        redis->secrets += ngx_opsauth_redis_slot(redis, i)->secret;
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


/* may the i-th, whose bytes these are, be sent on another connection? */

static ngx_uint_t
ngx_opsauth_redis_again(ngx_opsauth_redis_t *redis, ngx_uint_t i,
    const u_char *bytes, ngx_opsauth_redis_retry_e retry)
{
    ngx_opsauth_redis_slot_t  *slot;

    if (i >= redis->nsent) {
        return 1;
    }

    slot = ngx_opsauth_redis_slot(redis, i);

    if (slot->command->retried) {
        return 0;
    }

    if (slot->command->once) {
        return (bytes >= redis->out.pos);
    }

    return (retry == NGX_OPSAUTH_REDIS_RETRY_ALL
            || (int32_t) (slot->flush - redis->heard) > 0);
}
