/*
 * A request whose token no record knows, or whose record's time is over while
 * the token may live on:
 *
 *   step    | event                     | action                    | next
 *   --------+---------------------------+---------------------------+--------
 *   START   | answered with no lately   | -                         | DONE
 *   START   | asked of already          | wait for that one         | JOINED
 *   START   | else                      | subrequest                | ASKING
 *   ASKING  | no, or no answer          | remember a no, tell all   | DONE
 *   ASKING  | active                    | write id:<id>             | NAMING
 *   NAMING  | written                   | write the record          | ISSUING
 *   ISSUING | written                   | tell all                  | DONE
 *   JOINED  | told                      | as that one               | DONE
 *   JOINED  | that request is gone      | -                         | START
 *
 * When there is a record, all look it up as any other, and are judged by it. So
 * that a token is asked of once by a worker, whatever many requests come with
 * it; a no is remembered in the cache, under a key that is not the token's own,
 * since it is no answer of the store. A failure is remembered nowhere.
 */

#include "ngx_http_opsauth_introspection.h"


static ngx_uint_t ngx_http_opsauth_introspection_is_due(
    ngx_http_opsauth_loc_conf_t *olcf, ngx_http_opsauth_ctx_t *ctx);
static ngx_http_opsauth_introspection_t *ngx_http_opsauth_introspection_make(
    ngx_http_request_t *r, ngx_http_opsauth_loc_conf_t *olcf,
    ngx_http_opsauth_ctx_t *ctx);
static ngx_int_t ngx_http_opsauth_introspection_keys(
    ngx_http_request_t *r, ngx_http_opsauth_introspection_t *in);
static ngx_int_t ngx_http_opsauth_introspection_start(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in);
static ngx_http_opsauth_introspection_t *ngx_http_opsauth_introspection_find(
    ngx_http_opsauth_introspection_t *in);
static ngx_uint_t ngx_http_opsauth_introspection_remembered(
    ngx_http_opsauth_introspection_t *in);
static void ngx_http_opsauth_introspection_remember(
    ngx_http_opsauth_introspection_t *in);
static ngx_int_t ngx_http_opsauth_introspection_step(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in);
static ngx_int_t ngx_http_opsauth_introspection_answered(
    ngx_http_request_t *r, ngx_http_opsauth_introspection_t *in);
static ngx_int_t ngx_http_opsauth_introspection_wrote(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in);
static ngx_int_t ngx_http_opsauth_introspection_wait(
    ngx_http_opsauth_introspection_t *in,
    ngx_http_opsauth_introspection_step_e step);
static ngx_int_t ngx_http_opsauth_introspection_end(
    ngx_http_opsauth_introspection_t *in,
    ngx_http_opsauth_introspection_e result);
static ngx_int_t ngx_http_opsauth_introspection_judge(
    ngx_http_opsauth_introspection_t *in);
static void ngx_http_opsauth_introspection_tell(
    ngx_http_opsauth_introspection_t *in);
static void ngx_http_opsauth_introspection_leave(void *data);


ngx_int_t
ngx_http_opsauth_introspect(ngx_http_request_t *r,
    ngx_http_opsauth_loc_conf_t *olcf, ngx_http_opsauth_ctx_t *ctx)
{
    ngx_int_t                          rc;
    ngx_http_opsauth_introspection_t  *in;

    in = ctx->introspection;

    if (ctx->waiting) {
        ctx->waiting = 0;
        ctx->answered = 0;
        ctx->lookup_time += ngx_current_msec - ctx->wait_started;

        rc = ngx_http_opsauth_introspection_step(r, in);

    } else {

        if (!ngx_http_opsauth_introspection_is_due(olcf, ctx)) {
            return NGX_DECLINED;
        }

        in = ngx_http_opsauth_introspection_make(r, olcf, ctx);
        if (in == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        rc = ngx_http_opsauth_introspection_start(r, in);
    }

    return (rc == NGX_ERROR) ? NGX_HTTP_INTERNAL_SERVER_ERROR : rc;
}


static ngx_uint_t
ngx_http_opsauth_introspection_is_due(ngx_http_opsauth_loc_conf_t *olcf,
    ngx_http_opsauth_ctx_t *ctx)
{
    ngx_http_opsauth_store_t          *store;
    ngx_http_opsauth_introspection_t  *in;

    store = ctx->store;
    in = ctx->introspection;

    switch (ctx->verdict.reason) {

    case OA_REASON_UNKNOWN:

        /* who has a record already is not asked of: its account has none */

        if (ctx->credential.id.len
            || (olcf->failure_rate
                && ngx_http_opsauth_attempts_spent(olcf, ctx)))
        {
            return 0;
        }

        break;

    case OA_REASON_EXPIRED:

        if (!ctx->credential.introspected) {
            return 0;
        }

        /* the store can't be asked, so that no answer could be kept there */

        if (ctx->cache == NGX_HTTP_OPSAUTH_CACHE_STALE) {
            ctx->identity = OA_REASON_UNAVAILABLE;
            ctx->verdict.reason = OA_REASON_UNAVAILABLE;
            return 0;
        }

        break;

    default:
        return 0;
    }

    if (oa_key_prefix_find(store->key_prefixes->elts,
                           store->key_prefixes->nelts,
                           ngx_http_opsauth_view(&ctx->bearer)))
    {
        return 0;                       /* an API key: nobody else's */
    }

    /* once for a request; after a redirect perhaps at another place */

    return in == NULL || in->store != store
           || in->conf->key.len != olcf->introspection.key.len
           || ngx_memcmp(in->conf->key.data, olcf->introspection.key.data,
                         in->conf->key.len) != 0;
}


static ngx_http_opsauth_introspection_t *
ngx_http_opsauth_introspection_make(ngx_http_request_t *r,
    ngx_http_opsauth_loc_conf_t *olcf, ngx_http_opsauth_ctx_t *ctx)
{
    ngx_http_opsauth_introspection_t  *in;

    in = ngx_pcalloc(r->pool, sizeof(ngx_http_opsauth_introspection_t));
    if (in == NULL) {
        return NULL;
    }

    in->ctx = ctx;
    in->store = ctx->store;
    in->conf = &olcf->introspection;

    ngx_queue_init(&in->waiters);

    /* a record whose time is over is written anew where it stands */

    if (ctx->verdict.reason == OA_REASON_EXPIRED) {
        in->pepper = ctx->pepper;
    }

    if (ngx_http_opsauth_introspection_keys(r, in) != NGX_OK) {
        return NULL;
    }

    ctx->introspection = in;

    return in;
}


static ngx_int_t
ngx_http_opsauth_introspection_keys(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in)
{
    u_char       *p;
    oa_rc_t       rc;
    oa_str_t      text;
    ngx_str_t    *bearer;
    oa_hasher_t  *hasher;

    hasher = &in->store->worker->hasher;
    bearer = &in->ctx->bearer;

    text.len = in->conf->key.len + bearer->len;

    p = ngx_pnalloc(r->pool, text.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    text.data = p;

    p = ngx_cpymem(p, in->conf->key.data, in->conf->key.len);
    ngx_memcpy(p, bearer->data, bearer->len);

    rc = oa_hasher_credential(hasher, 0, text, in->key);

    ngx_explicit_memzero(p, bearer->len);

    if (rc != OA_OK
        || oa_hasher_credential(hasher, in->pepper,
                                ngx_http_opsauth_view(bearer), in->digest)
           != OA_OK)
    {
        ngx_log_error(NGX_LOG_CRIT, r->connection->log, 0,
                      "opsauth: libcrypto could not make a digest");
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_opsauth_introspection_start(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in)
{
    ngx_http_cleanup_t                *cln;
    ngx_http_opsauth_worker_t         *worker;
    ngx_http_opsauth_introspection_t  *other;

    worker = in->store->worker;

    if (ngx_http_opsauth_introspection_remembered(in)) {
        return ngx_http_opsauth_introspection_end(in, in->result);
    }

    if (!in->prepared) {
        cln = ngx_http_cleanup_add(r, 0);

        if (cln == NULL || ngx_http_opsauth_prepare(in->ctx) != NGX_OK) {
            return NGX_ERROR;
        }

        cln->handler = ngx_http_opsauth_introspection_leave;
        cln->data = in;

        in->prepared = 1;
    }

    other = ngx_http_opsauth_introspection_find(in);

    if (other) {
        ngx_queue_insert_tail(&other->waiters, &in->queue);
        in->queued = 1;

        return ngx_http_opsauth_introspection_wait(in,
                                       NGX_HTTP_OPSAUTH_INTROSPECTION_JOINED);
    }

    if (worker->nintrospections >= NGX_HTTP_OPSAUTH_INTROSPECTIONS_MAX) {
        ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                      "opsauth: introspection \"%V\": too many tokens are "
                      "being asked of", &in->conf->uri);

        return ngx_http_opsauth_introspection_end(in,
                                  NGX_HTTP_OPSAUTH_INTROSPECTION_UNAVAILABLE);
    }

    if (ngx_http_opsauth_introspection_ask(r, in) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_queue_insert_tail(&worker->introspections, &in->queue);
    worker->nintrospections++;
    in->queued = 1;

    return ngx_http_opsauth_introspection_wait(in,
                                       NGX_HTTP_OPSAUTH_INTROSPECTION_ASKING);
}


static ngx_http_opsauth_introspection_t *
ngx_http_opsauth_introspection_find(ngx_http_opsauth_introspection_t *in)
{
    ngx_queue_t                       *q, *asks;
    ngx_http_opsauth_introspection_t  *other;

    asks = &in->store->worker->introspections;

    for (q = ngx_queue_head(asks);
         q != ngx_queue_sentinel(asks);
         q = ngx_queue_next(q))
    {
        other = ngx_queue_data(q, ngx_http_opsauth_introspection_t, queue);

        if (ngx_memcmp(other->key, in->key, OA_DIGEST_LEN) == 0) {
            return other;
        }
    }

    return NULL;
}


static ngx_uint_t
ngx_http_opsauth_introspection_remembered(ngx_http_opsauth_introspection_t *in)
{
    ngx_opsauth_entry_t  *entry;

    entry = &in->store->worker->entry;

    if (ngx_opsauth_cache_get(&in->store->cache, in->key, ngx_current_msec,
                              entry)
        < NGX_OPSAUTH_CACHE_FRESH)
    {
        return 0;
    }

    in->result = (entry->type == NGX_OPSAUTH_CACHE_UNKNOWN)
                 ? NGX_HTTP_OPSAUTH_INTROSPECTION_UNKNOWN
                 : NGX_HTTP_OPSAUTH_INTROSPECTION_INVALID;

    return entry->type >= NGX_OPSAUTH_CACHE_INVALID;
}


/* where it is refused, the next request asks again */

static void
ngx_http_opsauth_introspection_remember(ngx_http_opsauth_introspection_t *in)
{
    ngx_uint_t                  type;
    ngx_opsauth_cache_ticket_t  ticket;

    switch (in->result) {

    case NGX_HTTP_OPSAUTH_INTROSPECTION_UNKNOWN:
        type = NGX_OPSAUTH_CACHE_UNKNOWN;
        break;

    case NGX_HTTP_OPSAUTH_INTROSPECTION_INVALID:
        type = NGX_OPSAUTH_CACHE_INVALID;
        break;

    default:
        return;
    }

    ngx_opsauth_cache_begin(&in->store->cache, in->key, &ticket);

    (void) ngx_opsauth_cache_fill(&in->store->cache, in->key, &ticket,
                      ngx_opsauth_redis_server(in->store->worker->redis),
                      ngx_current_msec, type, NULL, 0);
}


/* the request runs again */

static ngx_int_t
ngx_http_opsauth_introspection_step(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in)
{
    switch (in->step) {

    case NGX_HTTP_OPSAUTH_INTROSPECTION_JOINED:

        if (in->result == NGX_HTTP_OPSAUTH_INTROSPECTION_NONE) {
            in->step = NGX_HTTP_OPSAUTH_INTROSPECTION_START;
            return ngx_http_opsauth_introspection_start(r, in);
        }

        in->step = NGX_HTTP_OPSAUTH_INTROSPECTION_DONE;

        return ngx_http_opsauth_introspection_judge(in);

    case NGX_HTTP_OPSAUTH_INTROSPECTION_ASKING:
        return ngx_http_opsauth_introspection_answered(r, in);

    case NGX_HTTP_OPSAUTH_INTROSPECTION_NAMING:
    case NGX_HTTP_OPSAUTH_INTROSPECTION_ISSUING:
        return ngx_http_opsauth_introspection_wrote(r, in);

    default:
        return NGX_DECLINED;
    }
}


static ngx_int_t
ngx_http_opsauth_introspection_answered(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in)
{
    ngx_int_t                         rc;
    ngx_http_opsauth_introspection_e  result;

    result = ngx_http_opsauth_introspection_read(r, in);

    if (result == NGX_HTTP_OPSAUTH_INTROSPECTION_NONE) {
        return NGX_ERROR;
    }

    if (result != NGX_HTTP_OPSAUTH_INTROSPECTION_KNOWN) {
        return ngx_http_opsauth_introspection_end(in, result);
    }

    rc = ngx_http_opsauth_introspection_name(r, in);

    if (rc == NGX_OK) {
        return ngx_http_opsauth_introspection_wait(in,
                                       NGX_HTTP_OPSAUTH_INTROSPECTION_NAMING);
    }

    return (rc == NGX_ERROR) ? NGX_ERROR
           : ngx_http_opsauth_introspection_end(in,
                                  NGX_HTTP_OPSAUTH_INTROSPECTION_UNAVAILABLE);
}


/* a command was answered */

static ngx_int_t
ngx_http_opsauth_introspection_wrote(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in)
{
    ngx_int_t  rc;

    rc = NGX_DECLINED;

    if (in->written && in->step == NGX_HTTP_OPSAUTH_INTROSPECTION_ISSUING) {

        /* not to wait for the store's own word that it has changed */

        ngx_opsauth_cache_invalidate(&in->store->cache, in->digest);

        return ngx_http_opsauth_introspection_end(in,
                                        NGX_HTTP_OPSAUTH_INTROSPECTION_KNOWN);
    }

    if (in->written) {
        rc = ngx_http_opsauth_introspection_issue(r, in);
    }

    if (rc == NGX_OK) {
        return ngx_http_opsauth_introspection_wait(in,
                                      NGX_HTTP_OPSAUTH_INTROSPECTION_ISSUING);
    }

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "opsauth: the record of an introspected token could not be "
                  "written: may the gateway's Redis user write?");

    return ngx_http_opsauth_introspection_end(in,
                                  NGX_HTTP_OPSAUTH_INTROSPECTION_UNAVAILABLE);
}


static ngx_int_t
ngx_http_opsauth_introspection_wait(ngx_http_opsauth_introspection_t *in,
    ngx_http_opsauth_introspection_step_e step)
{
    ngx_http_opsauth_ctx_t  *ctx;

    ctx = in->ctx;

    in->step = step;

    ctx->cache = ngx_max(ctx->cache, NGX_HTTP_OPSAUTH_CACHE_MISS);
    ctx->waiting = 1;
    ctx->answered = 0;
    ctx->wait_started = ngx_current_msec;

    return NGX_AGAIN;
}


static ngx_int_t
ngx_http_opsauth_introspection_end(ngx_http_opsauth_introspection_t *in,
    ngx_http_opsauth_introspection_e result)
{
    in->result = result;
    in->step = NGX_HTTP_OPSAUTH_INTROSPECTION_DONE;

    if (in->queued) {                   /* it was this one that asked */
        ngx_http_opsauth_introspection_remember(in);
        ngx_http_opsauth_introspection_tell(in);
    }

    return ngx_http_opsauth_introspection_judge(in);
}


static ngx_int_t
ngx_http_opsauth_introspection_judge(ngx_http_opsauth_introspection_t *in)
{
    ngx_http_opsauth_ctx_t  *ctx;

    ctx = in->ctx;

    switch (in->result) {

    case NGX_HTTP_OPSAUTH_INTROSPECTION_KNOWN:
        ngx_http_opsauth_start(ctx, in->store);
        ctx->cache = NGX_HTTP_OPSAUTH_CACHE_MISS;
        return NGX_OK;

    case NGX_HTTP_OPSAUTH_INTROSPECTION_UNKNOWN:
        ctx->identity = OA_REASON_UNKNOWN;
        break;

    case NGX_HTTP_OPSAUTH_INTROSPECTION_INVALID:
        ctx->identity = OA_REASON_RECORD_INVALID;
        break;

    default:
        ctx->identity = OA_REASON_UNAVAILABLE;
        break;
    }

    /* also for a place that the request may be redirected to */

    ctx->verdict.reason = ctx->identity;

    return NGX_DECLINED;
}


/* the ask is over: who waits goes on by itself */

static void
ngx_http_opsauth_introspection_tell(ngx_http_opsauth_introspection_t *in)
{
    ngx_queue_t                       *q;
    ngx_http_opsauth_introspection_t  *other;

    ngx_queue_remove(&in->queue);
    in->store->worker->nintrospections--;
    in->queued = 0;

    while (!ngx_queue_empty(&in->waiters)) {
        q = ngx_queue_head(&in->waiters);
        ngx_queue_remove(q);

        other = ngx_queue_data(q, ngx_http_opsauth_introspection_t, queue);

        other->queued = 0;
        other->result = in->result;
        other->ctx->answered = 1;

        ngx_post_event(&other->ctx->event, &ngx_posted_events);
    }
}


/* the request ends, perhaps before the ask does: then another one asks */

static void
ngx_http_opsauth_introspection_leave(void *data)
{
    ngx_http_opsauth_introspection_t  *in = data;

    if (in->command) {
        ngx_opsauth_command_cancel(in->command);
        in->command = NULL;
    }

    if (in->queued && in->step == NGX_HTTP_OPSAUTH_INTROSPECTION_JOINED) {
        ngx_queue_remove(&in->queue);
        in->queued = 0;
    }

    if (in->queued) {
        in->result = NGX_HTTP_OPSAUTH_INTROSPECTION_NONE;
        ngx_http_opsauth_introspection_tell(in);
    }
}
