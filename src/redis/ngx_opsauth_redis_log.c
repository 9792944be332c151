/*
 * What the error log gets of a Redis: two lines for an outage, however long,
 * one line a connection for what its answers tell of the configuration. Never
 * a line a request, never anything that a reply or a command contains beyond
 * an error's first word.
 */

#include "ngx_opsauth_redis_conn.h"


/* slow and busy answers are told of at most this often */
#define NGX_OPSAUTH_REDIS_SLOW_AGE  10000


void
ngx_opsauth_redis_trouble(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_error_e error, ngx_err_t err, const char *why)
{
    ngx_uint_t  class, level;

    class = ngx_opsauth_redis_class(error);

    if (redis->trouble
        && class == ngx_opsauth_redis_class(redis->trouble))
    {
        return;
    }

    /* of a connection that stands: it may come and go many times a second */

    if (redis->state == NGX_OPSAUTH_REDIS_ST_READY) {

        if (redis->slow_at
            && ngx_current_msec - redis->slow_at < NGX_OPSAUTH_REDIS_SLOW_AGE)
        {
            return;
        }

        redis->slow_at = ngx_current_msec;
    }

    redis->trouble = error;

    level = (error == NGX_OPSAUTH_REDIS_DENIED) ? NGX_LOG_CRIT : NGX_LOG_ERR;

    ngx_log_error(level, redis->log, err,
                  "opsauth: redis \"%V\" of store \"%V\" is down: %s",
                  &redis->conf->url, &redis->conf->name, why);
}


void
ngx_opsauth_redis_alive(ngx_opsauth_redis_t *redis)
{
    redis->failures = 0;

    if (redis->trouble == NGX_OPSAUTH_REDIS_OK) {
        return;
    }

    redis->trouble = NGX_OPSAUTH_REDIS_OK;

    ngx_log_error(NGX_LOG_NOTICE, redis->log, 0,
                  "opsauth: redis \"%V\" of store \"%V\" is back",
                  &redis->conf->url, &redis->conf->name);
}


/* 0: it can't be reached; 1: it does not serve us; 2: nor will it like this */

ngx_uint_t
ngx_opsauth_redis_class(ngx_opsauth_redis_error_e error)
{
    switch (error) {

    case NGX_OPSAUTH_REDIS_DENIED:
        return 2;

    case NGX_OPSAUTH_REDIS_BUSY:
    case NGX_OPSAUTH_REDIS_ERROR:
        return 1;

    default:
        return 0;
    }
}


u_char *
ngx_opsauth_redis_log_error(ngx_log_t *log, u_char *buf, size_t len)
{
    ngx_opsauth_redis_t  *redis;

    redis = log->data;

    return ngx_snprintf(buf, len, " while %s, redis \"%V\"", log->action,
                        &redis->conf->url);
}


/* an error reply to a command that costs the command alone */

void
ngx_opsauth_redis_error_log(ngx_opsauth_redis_t *redis,
    const ngx_opsauth_redis_entry_t *entry, ngx_opsauth_reply_t *reply)
{
    u_char      why[64];
    ngx_str_t   word;
    ngx_uint_t  level;

    word = ngx_opsauth_redis_error_word(reply);

    switch (entry->error) {

    case NGX_OPSAUTH_REDIS_WRONGTYPE:
        /* Redis is well, the record is not: that is the caller's to say */
        ngx_opsauth_redis_alive(redis);
        return;

    case NGX_OPSAUTH_REDIS_BUSY:
        (void) ngx_snprintf(why, sizeof(why), "it answers %V%Z", &word);
        ngx_opsauth_redis_trouble(redis, entry->error, 0, (char *) why);
        return;

    case NGX_OPSAUTH_REDIS_DENIED:
        level = NGX_LOG_CRIT;
        break;

    default:
        level = NGX_LOG_ERR;
        break;
    }

    if (redis->logged & ((ngx_uint_t) 1 << entry->error)) {
        return;
    }

    redis->logged |= (ngx_uint_t) 1 << entry->error;

    ngx_log_error(level, redis->log, 0,
                  "opsauth: redis \"%V\" of store \"%V\" answers HMGET with "
                  "%V%s%s", &redis->conf->url, &redis->conf->name, &word,
                  entry->remedy ? ": " : "",
                  entry->remedy ? entry->remedy : "");
}


/* an error reply to the marker's read */

void
ngx_opsauth_redis_marker_log(ngx_opsauth_redis_t *redis,
    ngx_opsauth_reply_t *reply)
{
    u_char      why[64];
    ngx_str_t   word;
    ngx_uint_t  bit;

    word = ngx_opsauth_redis_error_word(reply);

    if (ngx_opsauth_redis_classify(reply) == NGX_OPSAUTH_REDIS_BUSY) {
        (void) ngx_snprintf(why, sizeof(why), "it answers %V%Z", &word);
        ngx_opsauth_redis_trouble(redis, NGX_OPSAUTH_REDIS_BUSY, 0,
                                  (char *) why);
        return;
    }

    /* a bit of its own: no class is OK here */
    bit = (ngx_uint_t) 1 << NGX_OPSAUTH_REDIS_OK;

    if (redis->logged & bit) {
        return;
    }

    redis->logged |= bit;

    ngx_log_error(NGX_LOG_WARN, redis->log, 0,
                  "opsauth: redis \"%V\" of store \"%V\" does not show "
                  "\"%V\" (%V): whether the store is set up can't be told, "
                  "and unknown credentials will be answered as unavailable",
                  &redis->conf->url, &redis->conf->name, &redis->conf->marker,
                  &word);
}


void
ngx_opsauth_redis_unmarked_log(ngx_opsauth_redis_t *redis)
{
    ngx_uint_t  bit;

    /* nor is any reply an error of this class */
    bit = (ngx_uint_t) 1 << NGX_OPSAUTH_REDIS_DOWN;

    if (redis->logged & bit) {
        return;
    }

    redis->logged |= bit;

    ngx_log_error(NGX_LOG_WARN, redis->log, 0,
                  "opsauth: redis \"%V\" of store \"%V\" has no \"%V\": "
                  "nobody has set this store up, so unknown credentials get "
                  "503; \"opsauth account create\" makes it",
                  &redis->conf->url, &redis->conf->name,
                  &redis->conf->marker);
}
