/*
 * Trouble with a link: how long it waits then, and what the error log gets of
 * it, which is two lines for an outage, however long.
 * Never a line a request, never anything that a reply or a command contains
 * beyond an error's first word.
 */

#include "ngx_opsauth_link.h"


/* slow and busy answers are told of at most this often */
#define NGX_OPSAUTH_LINK_SLOW_AGE  10000

#define NGX_OPSAUTH_LINK_BACKOFF_MIN    50
#define NGX_OPSAUTH_LINK_BACKOFF_MAX    5000
/* where the next attempt is unlikely to fare better */
#define NGX_OPSAUTH_LINK_BACKOFF_FLOOR  1000


void
ngx_opsauth_link_trouble(ngx_opsauth_link_t *link,
    ngx_opsauth_redis_error_e error, ngx_err_t err, const char *why)
{
    ngx_uint_t  class, level;

    class = ngx_opsauth_link_class(error);

    if (link->trouble
        && class == ngx_opsauth_link_class(link->trouble))
    {
        return;
    }

    /* of a connection that stands: it may come and go many times a second */

    if (link->state == NGX_OPSAUTH_LINK_READY) {

        if (link->slow_at
            && ngx_current_msec - link->slow_at < NGX_OPSAUTH_LINK_SLOW_AGE)
        {
            return;
        }

        link->slow_at = ngx_current_msec;
    }

    link->trouble = error;

    level = (class >= 2) ? NGX_LOG_CRIT : link->kind->level;

    ngx_log_error(level, link->log, err,
                  "opsauth: %s \"%V\" of store \"%V\" is down: %s",
                  link->kind->title, &link->conf->url, &link->conf->name, why);
}


void
ngx_opsauth_link_alive(ngx_opsauth_link_t *link)
{
    link->failures = 0;

    if (link->trouble == NGX_OPSAUTH_REDIS_OK) {
        return;
    }

    link->trouble = NGX_OPSAUTH_REDIS_OK;

    ngx_log_error(NGX_LOG_NOTICE, link->log, 0,
                  "opsauth: %s \"%V\" of store \"%V\" is back",
                  link->kind->title, &link->conf->url, &link->conf->name);
}


/* 0: it can't be reached; 1: it does not serve us; 2: nor will it like this;
   3: and we would not have it */

ngx_uint_t
ngx_opsauth_link_class(ngx_opsauth_redis_error_e error)
{
    switch (error) {

    case NGX_OPSAUTH_REDIS_UNTRUSTED:
        return 3;

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
ngx_opsauth_link_log_error(ngx_log_t *log, u_char *buf, size_t len)
{
    ngx_opsauth_link_t  *link;

    link = log->data;

    return ngx_snprintf(buf, len, " while %s, redis \"%V\"", log->action,
                        &link->conf->url);
}


/* a fatal error reply */

void
ngx_opsauth_link_fail_reply(ngx_opsauth_link_t *link,
    const ngx_opsauth_redis_entry_t *entry, ngx_opsauth_reply_t *reply,
    const char *command)
{
    u_char       why[256];
    ngx_str_t    word;
    const char  *remedy;

    word = ngx_opsauth_redis_error_word(reply);
    remedy = entry->remedy;

    if (link->sentinel && entry->error == NGX_OPSAUTH_REDIS_DENIED) {
        remedy = "check redis_sentinel_user and redis_sentinel_password_file";
    }

    (void) ngx_snprintf(why, sizeof(why), "it answers %s with %V%s%s%Z",
                        command, &word, remedy ? ", " : "",
                        remedy ? remedy : "");

    ngx_opsauth_link_fail(link, entry->error, 0, (char *) why);
}


/* full jitter: workers that lost one Redis do not return to it in step */

ngx_msec_t
ngx_opsauth_link_backoff(ngx_opsauth_link_t *link,
    ngx_opsauth_redis_error_e error)
{
    ngx_msec_t  step, wait;

    step = NGX_OPSAUTH_LINK_BACKOFF_MIN << ngx_min(link->failures, 10);
    step = ngx_min(step, NGX_OPSAUTH_LINK_BACKOFF_MAX);

    wait = (ngx_msec_t) ngx_random() % (step + 1);

    if (ngx_opsauth_link_class(error)) {
        wait += NGX_OPSAUTH_LINK_BACKOFF_FLOOR;
    }

    wait = ngx_min(wait, NGX_OPSAUTH_LINK_BACKOFF_MAX);

    link->failures++;
    link->retry_at = ngx_current_msec + wait;

    return wait;
}
