/*
 * What goes out: commands behind one another in one buffer, a slot each, sent
 * once a turn of the event loop. The buffer begins with what is answered, goes
 * on with what is sent and ends with what is not.
 */

#include "ngx_opsauth_redis_conn.h"


static void ngx_opsauth_redis_stamp(ngx_opsauth_redis_t *redis);
static void ngx_opsauth_redis_wipe(ngx_opsauth_redis_t *redis);


void
ngx_opsauth_redis_push(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_command_t *cmd, size_t before)
{
    ngx_opsauth_redis_slot_t  *slot;

    cmd->retried = 0;
    cmd->done = 0;
    cmd->redis = redis;

    slot = ngx_opsauth_redis_slot(redis, redis->nslots++);

    slot->command = cmd;
    slot->secret = cmd->once;
    redis->secrets += cmd->once;
    slot->size = (uint32_t) (redis->out.last - redis->out.start - before);
}


void
ngx_opsauth_redis_push_marker(ngx_opsauth_redis_t *redis)
{
    size_t     before;
    ngx_str_t  words[3];

    ngx_str_set(&words[0], "HMGET");
    words[1] = redis->link.conf->marker;
    ngx_str_set(&words[2], "v");

    before = redis->out.last - redis->out.start;

    if (ngx_opsauth_codec_encode(&redis->out, NGX_OPSAUTH_REDIS_OUT_MAX, 3,
                                 words, redis->link.log)
        == NGX_OK)
    {
        ngx_opsauth_redis_push(redis, &redis->marker, before);
        redis->marking = 1;
    }
}


void
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

    if (redis->secrets) {
        ngx_explicit_memzero(out->start + rest, redis->answered);
    }

    out->pos -= redis->answered;
    out->last -= redis->answered;
    redis->answered = 0;
}


void
ngx_opsauth_redis_flush(ngx_opsauth_redis_t *redis)
{
    if (redis->nsent < redis->nslots) {
        ngx_opsauth_redis_stamp(redis);
    }

    if (ngx_opsauth_link_send(&redis->link, &redis->out) != NGX_OK) {
        return;
    }

    ngx_opsauth_redis_wipe(redis);

    redis->link.connection->idle = (ngx_opsauth_redis_live(redis) == 0);

    ngx_opsauth_redis_set_timer(redis);
}


/* before the write: a record is at least as new as sent_at says */

static void
ngx_opsauth_redis_stamp(ngx_opsauth_redis_t *redis)
{
    uint64_t                   us;
    ngx_msec_t                 now;
    ngx_opsauth_redis_slot_t  *slot;

    us = ngx_opsauth_link_now_us();
    now = (ngx_msec_t) (us / 1000);
    redis->flushes++;

    while (redis->nsent < redis->nslots) {
        slot = ngx_opsauth_redis_slot(redis, redis->nsent++);

        slot->sent_at = now;
        slot->sent_us = us;
        slot->flush = redis->flushes;
        slot->command->sent_at = now;
        slot->command->deadline = now + redis->link.conf->timeout;
    }
}


/* what was written of commands that are never sent again */

static void
ngx_opsauth_redis_wipe(ngx_opsauth_redis_t *redis)
{
    u_char                    *p;
    ngx_uint_t                 i;
    ngx_opsauth_redis_slot_t  *slot;

    p = redis->out.start + redis->answered;

    for (i = 0; i < redis->nsent && redis->secrets; i++) {
        slot = ngx_opsauth_redis_slot(redis, i);

        if (p + slot->size > redis->out.pos) {
            break;
        }

        if (slot->secret) {
            ngx_explicit_memzero(p, slot->size);
            slot->secret = 0;
            redis->secrets--;
        }

        p += slot->size;
    }
}
