/*
 * The runner. A step issues commands; their replies are copied into the
 * request's pool as they come; the last one posts an event, and that runs the
 * next step, since a reply comes on the connection's events, where no request
 * may run.
 *
 * A request that waits has no timer of its own: the commands have them. It
 * watches its connection, so that a client that goes away ends it: then the
 * cleanup takes its handlers off the commands, which go on without it.
 */

#include "ngx_http_opsauth_oauth.h"

#include <openssl/crypto.h>


static ngx_http_opsauth_oauth_slot_t *ngx_http_opsauth_oauth_slot(
    ngx_http_opsauth_oauth_t *oauth);
static void ngx_http_opsauth_oauth_sent(ngx_http_opsauth_oauth_slot_t *slot);
static void ngx_http_opsauth_oauth_answered(void *data,
    ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error);
static ngx_int_t ngx_http_opsauth_oauth_copy(ngx_pool_t *pool,
    ngx_opsauth_reply_t *to, ngx_opsauth_reply_t *from, ngx_uint_t depth);
static ngx_int_t ngx_http_opsauth_oauth_go_on(ngx_http_opsauth_oauth_t *oauth);
static void ngx_http_opsauth_oauth_wake(ngx_event_t *ev);
static void ngx_http_opsauth_oauth_resumed(ngx_http_request_t *r);
static void ngx_http_opsauth_oauth_cleanup(void *data);


ngx_int_t
ngx_http_opsauth_oauth_init(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_http_cleanup_t  *cln;

    cln = ngx_http_cleanup_add(oauth->request, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_http_opsauth_oauth_cleanup;
    cln->data = oauth;

    oauth->event.handler = ngx_http_opsauth_oauth_wake;
    oauth->event.data = oauth;
    oauth->event.log = oauth->request->connection->log;

    return NGX_OK;
}


void
ngx_http_opsauth_oauth_command(ngx_http_opsauth_oauth_t *oauth, ngx_uint_t n,
    const ngx_str_t *words)
{
    ngx_http_opsauth_oauth_slot_t  *slot;

    slot = ngx_http_opsauth_oauth_slot(oauth);

    if (slot) {
        slot->command = ngx_opsauth_command(oauth->worker->redis, n, words,
                                            ngx_http_opsauth_oauth_answered,
                                            slot, &slot->error);
        ngx_http_opsauth_oauth_sent(slot);
    }
}


void
ngx_http_opsauth_oauth_script(ngx_http_opsauth_oauth_t *oauth,
    ngx_opsauth_script_t *script, const ngx_str_t *key, ngx_uint_t nargs,
    const ngx_str_t *args)
{
    ngx_http_opsauth_oauth_slot_t  *slot;

    slot = ngx_http_opsauth_oauth_slot(oauth);

    if (slot) {
        slot->command = ngx_opsauth_script(oauth->worker->redis, script, key,
                                           nargs, args,
                                           ngx_http_opsauth_oauth_answered,
                                           slot, &slot->error);
        ngx_http_opsauth_oauth_sent(slot);
    }
}


static ngx_http_opsauth_oauth_slot_t *
ngx_http_opsauth_oauth_slot(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_http_opsauth_oauth_slot_t  *slot;

    if (oauth->nslots == NGX_HTTP_OPSAUTH_OAUTH_SLOTS) {
        ngx_log_error(NGX_LOG_ALERT, oauth->request->connection->log, 0,
                      "opsauth: too many commands in one step");
        oauth->refused = 1;
        return NULL;
    }

    slot = &oauth->slots[oauth->nslots++];

    ngx_memzero(slot, sizeof(ngx_http_opsauth_oauth_slot_t));
    slot->oauth = oauth;

    return slot;
}


static void
ngx_http_opsauth_oauth_sent(ngx_http_opsauth_oauth_slot_t *slot)
{
    if (slot->command) {
        slot->oauth->pending++;
        return;
    }

    slot->oauth->refused = 1;
}


ngx_int_t
ngx_http_opsauth_oauth_wait(ngx_http_opsauth_oauth_t *oauth,
    ngx_http_opsauth_oauth_step_pt next)
{
    oauth->next = next;

    if (oauth->pending == 0) {
        return ngx_http_opsauth_oauth_go_on(oauth);
    }

    return ngx_http_opsauth_suspend(oauth->request);
}


/* from the connection's events: nothing of the request may run here */

static void
ngx_http_opsauth_oauth_answered(void *data, ngx_opsauth_reply_t *reply,
    ngx_opsauth_redis_error_e error)
{
    ngx_http_opsauth_oauth_slot_t *slot = data;

    ngx_opsauth_redis_t       *redis;
    ngx_http_opsauth_oauth_t  *oauth;

    oauth = slot->oauth;
    redis = oauth->worker->redis;

    slot->command = NULL;
    slot->error = error;

    if (error == NGX_OPSAUTH_REDIS_OK) {

        /* a server that was replaced may still answer, with what used to be */

        if (ngx_opsauth_cache_replaced(&oauth->store->cache,
                                       ngx_opsauth_redis_server(redis),
                                       ngx_opsauth_redis_resolved(redis)))
        {
            ngx_opsauth_redis_drop(redis);
            slot->error = NGX_OPSAUTH_REDIS_CLOSED;

        } else if (ngx_http_opsauth_oauth_copy(oauth->request->pool,
                                               &slot->reply, reply, 0)
                   != NGX_OK)
        {
            slot->error = NGX_OPSAUTH_REDIS_ERROR;
        }
    }

    if (--oauth->pending == 0) {
        ngx_post_event(&oauth->event, &ngx_posted_events);
    }
}


static ngx_int_t
ngx_http_opsauth_oauth_copy(ngx_pool_t *pool, ngx_opsauth_reply_t *to,
    ngx_opsauth_reply_t *from, ngx_uint_t depth)
{
    ngx_uint_t  i;

    *to = *from;

    if (from->cut || (from->type == NGX_OPSAUTH_REPLY_ARRAY && from->n
                      && (from->elements == NULL || depth)))
    {
        return NGX_ERROR;
    }

    if (from->str.len) {
        to->str.data = ngx_pnalloc(pool, from->str.len);
        if (to->str.data == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(to->str.data, from->str.data, from->str.len);
    }

    if (from->type == NGX_OPSAUTH_REPLY_ARRAY && from->n) {

        to->elements = ngx_palloc(pool, from->n * sizeof(ngx_opsauth_reply_t));
        if (to->elements == NULL) {
            return NGX_ERROR;
        }

        for (i = 0; i < from->n; i++) {
            if (ngx_http_opsauth_oauth_copy(pool, &to->elements[i],
                                            &from->elements[i], depth + 1)
                != NGX_OK)
            {
                return NGX_ERROR;
            }
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_opsauth_oauth_go_on(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_uint_t                  i, refused;
    ngx_opsauth_redis_error_e   error;

    refused = oauth->refused;
    error = NGX_OPSAUTH_REDIS_OK;

    for (i = 0; i < oauth->nslots; i++) {
        if (error == NGX_OPSAUTH_REDIS_OK) {
            error = oauth->slots[i].error;
        }
    }

    oauth->refused = 0;
    oauth->nslots = 0;

    if (error != NGX_OPSAUTH_REDIS_OK || refused) {
        return ngx_http_opsauth_oauth_unavailable(oauth,
                                         ngx_opsauth_redis_error_name(error));
    }

    return oauth->next(oauth);
}


static void
ngx_http_opsauth_oauth_wake(ngx_event_t *ev)
{
    ngx_http_opsauth_oauth_t  *oauth = ev->data;

    ngx_http_opsauth_resume(oauth->request, ngx_http_opsauth_oauth_resumed);
}


static void
ngx_http_opsauth_oauth_resumed(ngx_http_request_t *r)
{
    ngx_http_opsauth_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_opsauth_module);

    ngx_http_opsauth_oauth_run(ctx->oauth, ngx_http_opsauth_oauth_go_on);
}


void
ngx_http_opsauth_oauth_run(ngx_http_opsauth_oauth_t *oauth,
    ngx_http_opsauth_oauth_step_pt step)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r;

    r = oauth->request;
    rc = step(oauth);

    if (rc != NGX_AGAIN) {
        ngx_http_opsauth_oauth_leave(oauth);
        ngx_http_finalize_request(r, rc);
    }
}


void
ngx_http_opsauth_oauth_leave(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_OPSAUTH_OAUTH_SLOTS; i++) {
        if (oauth->slots[i].command) {
            ngx_opsauth_command_cancel(oauth->slots[i].command);
            oauth->slots[i].command = NULL;
        }
    }

    if (oauth->event.posted) {
        ngx_delete_posted_event(&oauth->event);
    }
}


/*
 * As soon as the request ends, while its memory still stands. The answer has
 * been written by then, so that what it was made of can be wiped too.
 */

static void
ngx_http_opsauth_oauth_cleanup(void *data)
{
    ngx_http_opsauth_oauth_t *oauth = data;

    ngx_http_opsauth_oauth_secret_t  *secret;

    ngx_http_opsauth_oauth_leave(oauth);

    for (secret = oauth->secrets; secret; secret = secret->next) {
        OPENSSL_cleanse(secret->data, secret->size);
    }
}


ngx_opsauth_reply_t *
ngx_http_opsauth_oauth_reply(ngx_http_opsauth_oauth_t *oauth, ngx_uint_t n)
{
    return &oauth->slots[n].reply;
}


oa_str_t
ngx_http_opsauth_oauth_text(ngx_opsauth_reply_t *reply, ngx_uint_t n)
{
    oa_str_t  text = oa_null;

    if (reply->type != NGX_OPSAUTH_REPLY_ARRAY || n >= reply->n
        || (reply->elements[n].type != NGX_OPSAUTH_REPLY_STRING
            && reply->elements[n].type != NGX_OPSAUTH_REPLY_STATUS))
    {
        return text;
    }

    text = ngx_http_opsauth_view(&reply->elements[n].str);

    if (text.data == NULL) {
        text.data = (const unsigned char *) "";
    }

    return text;
}


ngx_uint_t
ngx_http_opsauth_oauth_said(ngx_opsauth_reply_t *reply, const char *word)
{
    oa_str_t  text;

    text = ngx_http_opsauth_oauth_text(reply, 0);

    return text.data && oa_text_eq(text, word);
}


u_char *
ngx_http_opsauth_oauth_secret(ngx_http_opsauth_oauth_t *oauth, size_t size)
{
    u_char                           *p;
    ngx_http_opsauth_oauth_secret_t  *secret;

    secret = ngx_palloc(oauth->request->pool,
                        sizeof(ngx_http_opsauth_oauth_secret_t));
    p = ngx_pnalloc(oauth->request->pool, size);

    if (secret == NULL || p == NULL) {
        return NULL;
    }

    secret->data = p;
    secret->size = size;
    secret->next = oauth->secrets;
    oauth->secrets = secret;

    return p;
}


ngx_str_t
ngx_http_opsauth_oauth_key(ngx_http_opsauth_oauth_t *oauth, const char *middle,
    oa_str_t name)
{
    ngx_str_t  key;

    key.len = oauth->store->prefix.len + ngx_strlen(middle) + name.len;
    key.data = ngx_pnalloc(oauth->request->pool, key.len);

    if (key.data) {
        ngx_sprintf(key.data, "%V%s%*s", &oauth->store->prefix, middle,
                    name.len, name.data);
    }

    return key;
}


ngx_str_t
ngx_http_opsauth_oauth_number(ngx_http_opsauth_oauth_t *oauth, int64_t number)
{
    ngx_str_t  text;

    text.len = 0;
    text.data = ngx_pnalloc(oauth->request->pool, NGX_INT64_LEN);

    if (text.data) {
        text.len = ngx_sprintf(text.data, "%L", number) - text.data;
    }

    return text;
}


int64_t
ngx_http_opsauth_oauth_now(void)
{
    ngx_time_t  *tp;

    tp = ngx_timeofday();

    return (int64_t) tp->sec * 1000 + tp->msec;
}
