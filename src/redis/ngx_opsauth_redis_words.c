/*
 * What is sent to a cluster's node besides reads and their callers' commands:
 * ROLE, and ASKING ahead of a command.
 */

#include "ngx_opsauth_redis_conn.h"
#include "ngx_opsauth_cluster.h"


ngx_int_t
ngx_opsauth_redis_words(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_command_t *cmd, ngx_uint_t n, const ngx_str_t *words,
    ngx_opsauth_redis_error_e *error)
{
    size_t  before;

    if (ngx_opsauth_redis_accept(redis, error) != NGX_OK) {
        return NGX_DECLINED;
    }

    before = redis->out.last - redis->out.start;

    if (ngx_opsauth_codec_encode(&redis->out, NGX_OPSAUTH_REDIS_OUT_MAX, n,
                                 words, redis->link.log)
        != NGX_OK)
    {
        *error = NGX_OPSAUTH_REDIS_FULL;
        return NGX_DECLINED;
    }

    cmd->verb = words[0];
    cmd->once = 1;

    ngx_opsauth_redis_queue(redis, cmd, before);

    return NGX_OK;
}


/* its answer says nothing: without it, the command's own is MOVED */

ngx_int_t
ngx_opsauth_redis_asking(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_error_e *error)
{
    size_t     before;
    ngx_str_t  word;

    if (ngx_opsauth_redis_accept(redis, error) != NGX_OK) {
        return NGX_DECLINED;
    }

    ngx_str_set(&word, "ASKING");

    before = redis->out.last - redis->out.start;

    if (redis->nslots + 2 > NGX_OPSAUTH_REDIS_PENDING_MAX
        || ngx_opsauth_codec_encode(&redis->out, NGX_OPSAUTH_REDIS_OUT_MAX, 1,
                                    &word, redis->link.log)
           != NGX_OK)
    {
        *error = NGX_OPSAUTH_REDIS_FULL;
        return NGX_DECLINED;
    }

    redis->asking.once = 0;
    ngx_opsauth_redis_queue(redis, &redis->asking, before);

    return NGX_OK;
}
