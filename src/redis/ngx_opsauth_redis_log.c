/*
 * What the error log gets of the answers to a Redis' commands: one line a
 * connection for what they tell of the configuration, the link's two for an
 * outage. And its gauges, for the status page.
 */

#include "ngx_opsauth_redis_conn.h"


/* the build fails where an error has no word to be counted by */
typedef u_char  ngx_opsauth_redis_stats_errors_t
    [NGX_OPSAUTH_STATS_ERRORS == NGX_OPSAUTH_REDIS_NOSCRIPT + 1 ? 1 : -1];


/* a command that is refused now and then is told of at most this often */
#define NGX_OPSAUTH_REDIS_REFUSED_AGE  10000


/* an error reply to a command that costs the command alone */

void
ngx_opsauth_redis_error_log(ngx_opsauth_redis_t *redis,
    const ngx_opsauth_redis_entry_t *entry, ngx_opsauth_reply_t *reply)
{
    u_char               why[64];
    ngx_str_t            word;
    ngx_uint_t           level;
    ngx_opsauth_link_t  *link = &redis->link;

    word = ngx_opsauth_redis_error_word(reply);

    switch (entry->error) {

    case NGX_OPSAUTH_REDIS_WRONGTYPE:
        /* Redis is well, the record is not: that is the caller's to say */
        ngx_opsauth_link_alive(link);
        return;

    case NGX_OPSAUTH_REDIS_BUSY:
        (void) ngx_snprintf(why, sizeof(why), "it answers %V%Z", &word);
        ngx_opsauth_link_trouble(link, entry->error, 0, (char *) why);
        return;

    case NGX_OPSAUTH_REDIS_DENIED:
        level = NGX_LOG_CRIT;
        break;

    default:
        level = NGX_LOG_ERR;
        break;
    }

    if (link->logged & ((ngx_uint_t) 1 << entry->error)) {
        return;
    }

    link->logged |= (ngx_uint_t) 1 << entry->error;

    ngx_log_error(level, link->log, 0,
                  "opsauth: redis \"%V\" of store \"%V\" answers HMGET with "
                  "%V%s%s", &link->conf->url, &link->conf->name, &word,
                  entry->remedy ? ": " : "",
                  entry->remedy ? entry->remedy : "");
}


/*
 * An error reply to a command that is no read: one line when it begins and one
 * when it ends, of all connections together, since a replica is left, and come
 * back to, once a second. Reads may be well meanwhile.
 */

void
ngx_opsauth_redis_refused_log(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_command_t *cmd, const ngx_opsauth_redis_entry_t *entry,
    ngx_opsauth_reply_t *reply)
{
    u_char               why[64];
    size_t               len;
    ngx_str_t            word;
    ngx_uint_t           level;
    const char          *remedy;
    ngx_opsauth_link_t  *link = &redis->link;

    word = entry->text.len ? entry->text : ngx_opsauth_redis_error_word(reply);
    remedy = entry->remedy;
    level = NGX_LOG_ERR;

    switch (entry->error) {

    case NGX_OPSAUTH_REDIS_BUSY:
        (void) ngx_snprintf(why, sizeof(why), "it answers %V%Z", &word);
        ngx_opsauth_link_trouble(link, entry->error, 0, (char *) why);
        return;

    case NGX_OPSAUTH_REDIS_WRONGTYPE:
    case NGX_OPSAUTH_REDIS_NOSCRIPT:
        ngx_opsauth_link_alive(link);
        return;

    case NGX_OPSAUTH_REDIS_DENIED:
        remedy = "the ACL of its user must allow what a gateway needs that "
                 "issues tokens, counts usage or shares rates";
        level = NGX_LOG_CRIT;
        break;

    default:
        ngx_opsauth_link_alive(link);
        break;
    }

    if (redis->refused_at
        && (redis->refused == entry
            || ngx_current_msec - redis->refused_at
               < NGX_OPSAUTH_REDIS_REFUSED_AGE))
    {
        return;
    }

    redis->refused = entry;
    redis->refused_at = ngx_current_msec;

    len = ngx_min(cmd->verb.len, sizeof(redis->refused_verb) - 1);
    ngx_memcpy(redis->refused_verb, cmd->verb.data, len);
    redis->refused_verb[len] = '\0';

    ngx_log_error(level, link->log, 0,
                  "opsauth: redis \"%V\" of store \"%V\" answers %s with "
                  "%V%s%s", &link->conf->url, &link->conf->name,
                  redis->refused_verb, &word, remedy ? ": " : "",
                  remedy ? remedy : "");
}


void
ngx_opsauth_redis_done_log(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_command_t *cmd)
{
    ngx_opsauth_link_t  *link = &redis->link;

    if (redis->refused == NULL
        || ngx_strcmp(redis->refused_verb, cmd->verb.data) != 0)
    {
        return;
    }

    redis->refused = NULL;

    ngx_log_error(NGX_LOG_NOTICE, link->log, 0,
                  "opsauth: redis \"%V\" of store \"%V\" does %s again",
                  &link->conf->url, &link->conf->name, redis->refused_verb);
}


/* an error reply to the marker's read */

void
ngx_opsauth_redis_marker_log(ngx_opsauth_redis_t *redis,
    ngx_opsauth_reply_t *reply)
{
    u_char               why[64];
    ngx_str_t            word;
    ngx_uint_t           bit;
    ngx_opsauth_link_t  *link = &redis->link;

    word = ngx_opsauth_redis_error_word(reply);

    if (ngx_opsauth_redis_classify(reply) == NGX_OPSAUTH_REDIS_BUSY) {
        (void) ngx_snprintf(why, sizeof(why), "it answers %V%Z", &word);
        ngx_opsauth_link_trouble(link, NGX_OPSAUTH_REDIS_BUSY, 0,
                                 (char *) why);
        return;
    }

    /* a bit of its own: no class is OK here */
    bit = (ngx_uint_t) 1 << NGX_OPSAUTH_REDIS_OK;

    if (link->logged & bit) {
        return;
    }

    link->logged |= bit;

    ngx_log_error(NGX_LOG_WARN, link->log, 0,
                  "opsauth: redis \"%V\" of store \"%V\" does not show "
                  "\"%V\" (%V): whether the store is set up can't be told, "
                  "and unknown credentials will be answered as unavailable",
                  &link->conf->url, &link->conf->name, &link->conf->marker,
                  &word);
}


void
ngx_opsauth_redis_unmarked_log(ngx_opsauth_redis_t *redis)
{
    ngx_uint_t           bit;
    ngx_opsauth_link_t  *link = &redis->link;

    /* nor is any reply an error of this class */
    bit = (ngx_uint_t) 1 << NGX_OPSAUTH_REDIS_DOWN;

    if (link->logged & bit) {
        return;
    }

    link->logged |= bit;

    ngx_log_error(NGX_LOG_WARN, link->log, 0,
                  "opsauth: redis \"%V\" of store \"%V\" has no \"%V\": "
                  "nobody has set this store up, so unknown credentials get "
                  "503; \"opsauth account create\" makes it",
                  &link->conf->url, &link->conf->name,
                  &link->conf->marker);
}


void
ngx_opsauth_redis_publish(ngx_opsauth_link_t *link)
{
    uint64_t              now[3], *words[3];
    ngx_uint_t            i;
    ngx_opsauth_redis_t  *redis = (ngx_opsauth_redis_t *) link;

    if (redis->cluster) {
        return;
    }

    if (redis->node) {

        /* one of several, which the worker's figures sum up */

        now[0] = !link->doomed && link->state == NGX_OPSAUTH_LINK_READY;
        now[1] = !link->doomed && redis->open;
        now[2] = link->doomed ? 0 : ngx_opsauth_redis_live(redis);

        words[0] = &redis->stats->connected;
        words[1] = &redis->stats->breaker;
        words[2] = &redis->stats->pending;

        for (i = 0; i < 3; i++) {
            if (now[i] != redis->published[i]) {
                ngx_opsauth_stats_add(words[i], now[i] - redis->published[i]);
                redis->published[i] = now[i];
            }
        }

        return;
    }

    ngx_opsauth_stats_set(&redis->stats->connected,
                          link->state == NGX_OPSAUTH_LINK_READY);
    ngx_opsauth_stats_set(&redis->stats->breaker, redis->open);
    ngx_opsauth_stats_set(&redis->stats->pending,
                          ngx_opsauth_redis_live(redis));
}


uint64_t
ngx_opsauth_redis_heard_us(ngx_opsauth_redis_t *redis)
{
    return redis->heard_us;
}


ngx_opsauth_stats_t *
ngx_opsauth_redis_stats(ngx_opsauth_redis_t *redis)
{
    return redis->stats;
}
