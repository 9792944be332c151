/*
 * Who asks: from the credential to its record and its account's record, out of
 * the shared cache or by reads that the request waits for.
 *
 *   state            | next
 *   -----------------+------------------------------------------------------
 *   START            | digest under the pepper being tried; READ_CREDENTIAL
 *   READ_CREDENTIAL  | found: READ_ACCOUNT, or IDENTIFIED if it is revoked;
 *                    | unknown: START with the next pepper, after the last one
 *                    | IDENTIFIED (unknown)
 *   READ_ACCOUNT     | IDENTIFIED
 *   IDENTIFIED       | -
 *
 * Both reads go the same way: a fresh copy answers at once; else the request
 * joins a read, keeping a stale copy to fall back on if nobody can be asked.
 */

#include "ngx_http_opsauth.h"


OA_HOT static void ngx_http_opsauth_credential_read(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_status_e status, ngx_str_t *packed);
OA_HOT static void ngx_http_opsauth_account_read(ngx_http_request_t *r,
    ngx_http_opsauth_ctx_t *ctx, ngx_opsauth_status_e status,
    ngx_str_t *packed);
OA_HOT OA_FLAT static ngx_opsauth_status_e ngx_http_opsauth_read(
    ngx_http_opsauth_ctx_t *ctx, ngx_http_opsauth_worker_t *worker,
    const ngx_opsauth_lookup_kind_t *kind, ngx_str_t *packed);
OA_WARM ngx_http_opsauth_rare ngx_opsauth_status_e ngx_http_opsauth_read_answer(
    ngx_http_opsauth_ctx_t *ctx, ngx_str_t *packed);
OA_WARM ngx_http_opsauth_rare ngx_opsauth_status_e ngx_http_opsauth_read_anew(
    ngx_http_opsauth_ctx_t *ctx, ngx_http_opsauth_worker_t *worker,
    const ngx_opsauth_lookup_kind_t *kind, ngx_opsauth_entry_t *entry,
    ngx_str_t *packed);
static ngx_opsauth_entry_t *ngx_http_opsauth_entry(
    ngx_http_opsauth_ctx_t *ctx, ngx_http_opsauth_worker_t *worker);
static u_char *ngx_http_opsauth_keep(ngx_http_opsauth_ctx_t *ctx,
    ngx_http_opsauth_worker_t *worker, ngx_opsauth_entry_t *entry);
OA_WARM static ngx_opsauth_status_e ngx_http_opsauth_ask(
    ngx_http_opsauth_ctx_t *ctx, ngx_http_opsauth_worker_t *worker,
    const ngx_opsauth_lookup_kind_t *kind, ngx_str_t *packed);
OA_WARM OA_APART static ngx_int_t ngx_http_opsauth_start_read(
    ngx_http_opsauth_ctx_t *ctx, ngx_http_opsauth_worker_t *worker,
    const ngx_opsauth_lookup_kind_t *kind, ngx_opsauth_waiter_t *waiter);
static ngx_opsauth_status_e ngx_http_opsauth_fall_back(
    ngx_http_opsauth_ctx_t *ctx, ngx_str_t *packed);
OA_WARM static void ngx_http_opsauth_answered(ngx_opsauth_waiter_t *waiter,
    ngx_opsauth_status_e status, u_char *data, size_t len);
OA_WARM static void ngx_http_opsauth_wake(ngx_event_t *ev);
OA_WARM static void ngx_http_opsauth_run_phases(ngx_http_request_t *r);
OA_WARM static void ngx_http_opsauth_leave(void *data);


/* no status of a read: the request waits for one */
#define NGX_HTTP_OPSAUTH_WAIT  ((ngx_opsauth_status_e) 0)


ngx_int_t
ngx_http_opsauth_identify(ngx_http_request_t *r, ngx_http_opsauth_ctx_t *ctx,
    ngx_http_opsauth_store_t *store)
{
    ngx_str_t                   packed;
    ngx_opsauth_status_e        status;
    ngx_http_opsauth_worker_t  *worker;

    if (ctx->store != store) {
        ngx_http_opsauth_start(ctx, store);
    }

    worker = store->worker ? store->worker : ngx_http_opsauth_worker(store);

    if (worker == NULL) {
        ctx->state = NGX_HTTP_OPSAUTH_IDENTIFIED;
        ctx->identity = OA_REASON_UNAVAILABLE;
    }

    for ( ;; ) {

        switch (ctx->state) {

        case NGX_HTTP_OPSAUTH_START:

            /* both records are on their way while the digest is made */

            worker->hash = ngx_opsauth_prefetch(&worker->prefetch,
                                                store->cache.table,
                                                ctx->bearer.data,
                                                ctx->bearer.len);

            if (oa_hasher_credential(&worker->hasher, ctx->pepper,
                                     ngx_http_opsauth_view(&ctx->bearer),
                                     ctx->key)
                != OA_OK)
            {
                ngx_log_error(NGX_LOG_CRIT, r->connection->log, 0,
                              "opsauth: libcrypto could not make a digest");
                ctx->identity = OA_REASON_UNAVAILABLE;
                ctx->state = NGX_HTTP_OPSAUTH_IDENTIFIED;
                break;
            }

            ctx->state = NGX_HTTP_OPSAUTH_READ_CREDENTIAL;
            break;

        case NGX_HTTP_OPSAUTH_READ_CREDENTIAL:

            status = ngx_http_opsauth_read(ctx, worker,
                                           &store->credential_kind, &packed);
            if (status == NGX_HTTP_OPSAUTH_WAIT) {
                return NGX_AGAIN;
            }

            ngx_http_opsauth_credential_read(ctx, status, &packed);
            break;

        case NGX_HTTP_OPSAUTH_READ_ACCOUNT:

            status = ngx_http_opsauth_read(ctx, worker,
                                           &store->account_kind, &packed);
            if (status == NGX_HTTP_OPSAUTH_WAIT) {
                return NGX_AGAIN;
            }

            ngx_http_opsauth_account_read(r, ctx, status, &packed);

            if (ctx->cache == NGX_HTTP_OPSAUTH_CACHE_HIT) {
                ngx_opsauth_prefetch_seen(&worker->prefetch,
                                          store->cache.table, worker->hash,
                                          worker->slots[0], worker->slots[1]);
            }

            break;

        case NGX_HTTP_OPSAUTH_IDENTIFIED:
            return NGX_OK;
        }
    }
}


void
ngx_http_opsauth_start(ngx_http_opsauth_ctx_t *ctx,
    ngx_http_opsauth_store_t *store)
{
    ngx_uint_t  again;

    again = (ctx->store != NULL);       /* an earlier location's, say */

    ctx->store = store;
    ctx->state = NGX_HTTP_OPSAUTH_START;
    ctx->pepper = 0;
    ctx->cache = NGX_HTTP_OPSAUTH_CACHE_NONE;
    ctx->rated = NGX_HTTP_OPSAUTH_RATE_NONE;
    ctx->slowed = 0;

    if (again) {
        ngx_memzero(&ctx->credential, sizeof(oa_credential_t));
        ngx_memzero(&ctx->account, sizeof(oa_account_t));
    }
}


static void
ngx_http_opsauth_credential_read(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_status_e status, ngx_str_t *packed)
{
    switch (status) {

    case NGX_OPSAUTH_FOUND:

        if (oa_credential_view(packed->data, packed->len, &ctx->credential)
            != OA_OK)
        {
            ctx->identity = OA_REASON_RECORD_INVALID;
            break;
        }

        /*
         * Whose it was changes nothing any more. An account that is deleted
         * leaves revoked credentials behind: these must look like any other
         * one, not like a record that is damaged.
         */

        if (ctx->credential.state == OA_STATE_REVOKED) {
            ctx->identity = OA_REASON_OK;
            break;
        }

        ngx_memcpy(ctx->key, ctx->credential.account_key, OA_ACCOUNT_KEY_LEN);
        ngx_memzero(ctx->key + OA_ACCOUNT_KEY_LEN,
                    OA_DIGEST_LEN - OA_ACCOUNT_KEY_LEN);

        ctx->state = NGX_HTTP_OPSAUTH_READ_ACCOUNT;
        return;

    case NGX_OPSAUTH_UNKNOWN:

        if (++ctx->pepper < ctx->store->npeppers) {
            ctx->state = NGX_HTTP_OPSAUTH_START;
            return;
        }

        /* where it was not even looked up, nobody can tell */

        ctx->identity = ctx->slowed ? OA_REASON_ATTEMPTS : OA_REASON_UNKNOWN;
        break;

    case NGX_OPSAUTH_INVALID:
        ctx->identity = OA_REASON_RECORD_INVALID;
        break;

    default:
        ctx->identity = OA_REASON_UNAVAILABLE;
        break;
    }

    ctx->state = NGX_HTTP_OPSAUTH_IDENTIFIED;
}


static void
ngx_http_opsauth_account_read(ngx_http_request_t *r,
    ngx_http_opsauth_ctx_t *ctx, ngx_opsauth_status_e status,
    ngx_str_t *packed)
{
    ctx->state = NGX_HTTP_OPSAUTH_IDENTIFIED;

    switch (status) {

    case NGX_OPSAUTH_FOUND:

        /* the id is compared too: its cache key is only half a digest */

        if (oa_account_view(packed->data, packed->len, &ctx->account) == OA_OK
            && ctx->account.id.len == ctx->credential.account.len
            && ngx_memcmp(ctx->account.id.data, ctx->credential.account.data,
                          ctx->account.id.len) == 0)
        {
            if (ctx->credential.claims) {
                oa_credential_claims(&ctx->credential, &ctx->account);
            }

            ctx->identity = OA_REASON_OK;
            break;
        }

        ngx_memzero(&ctx->account, sizeof(oa_account_t));
        ctx->identity = OA_REASON_RECORD_INVALID;
        break;

    case NGX_OPSAUTH_UNKNOWN:

        /* another server's token, of an account that is none of ours */

        if (ctx->credential.introspected) {
            ctx->identity = OA_REASON_UNKNOWN;
            break;
        }

        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "opsauth: credential \"%*s\" belongs to account \"%*s\", "
                      "which has no record",
                      ctx->credential.id.len, ctx->credential.id.data,
                      ctx->credential.account.len,
                      ctx->credential.account.data);

        ctx->identity = OA_REASON_RECORD_INVALID;
        break;

    case NGX_OPSAUTH_INVALID:
        ctx->identity = OA_REASON_RECORD_INVALID;
        break;

    default:
        ctx->identity = OA_REASON_UNAVAILABLE;
        break;
    }
}


/* the record with ctx->key: its status, or that the request waits for it */

static ngx_opsauth_status_e
ngx_http_opsauth_read(ngx_http_opsauth_ctx_t *ctx,
    ngx_http_opsauth_worker_t *worker, const ngx_opsauth_lookup_kind_t *kind,
    ngx_str_t *packed)
{
    ngx_opsauth_entry_t  *entry;
    ngx_opsauth_cache_e   fresh;

    if (ctx->waiting) {
        return ngx_http_opsauth_read_answer(ctx, packed);
    }

    entry = ngx_http_opsauth_entry(ctx, worker);
    fresh = ngx_opsauth_cache_get(&ctx->store->cache, ctx->key,
                                  ngx_current_msec, entry);

    if (fresh < NGX_OPSAUTH_CACHE_FRESH) {
        if (fresh == NGX_OPSAUTH_CACHE_MISS) {
            entry = NULL;
        }

        return ngx_http_opsauth_read_anew(ctx, worker, kind, entry, packed);
    }

    if (entry->type == kind->type) {

        worker->slots[0] = worker->slots[1];
        worker->slots[1] = entry->slot;

        packed->len = entry->len;
        packed->data = ngx_http_opsauth_keep(ctx, worker, entry);
        if (packed->data == NULL) {
            return NGX_OPSAUTH_UNAVAILABLE;
        }

        /* while it is in use, nobody has to wait for its next read */

        if (fresh == NGX_OPSAUTH_CACHE_AGEING) {
            (void) ngx_http_opsauth_start_read(ctx, worker, kind, NULL);
        }

    } else if (entry->type < NGX_OPSAUTH_CACHE_INVALID) {
        return ngx_http_opsauth_read_anew(ctx, worker, kind, NULL, packed);
    }

    ctx->cache = ngx_max(ctx->cache, NGX_HTTP_OPSAUTH_CACHE_HIT);

    if (entry->type < NGX_OPSAUTH_CACHE_INVALID) {
        return NGX_OPSAUTH_FOUND;
    }

    return (entry->type == NGX_OPSAUTH_CACHE_UNKNOWN) ? NGX_OPSAUTH_UNKNOWN
                                                      : NGX_OPSAUTH_INVALID;
}


/* what the request has waited for */

ngx_http_opsauth_rare ngx_opsauth_status_e
ngx_http_opsauth_read_answer(ngx_http_opsauth_ctx_t *ctx, ngx_str_t *packed)
{
    ctx->waiting = 0;
    ctx->answered = 0;
    ctx->lookup_time += ngx_current_msec - ctx->wait_started;

    if (ctx->answer == NGX_OPSAUTH_UNAVAILABLE) {
        return ngx_http_opsauth_fall_back(ctx, packed);
    }

    *packed = ctx->packed;
    return ctx->answer;
}


/* by asking Redis; entry: what may do where that can't be asked, or NULL */

ngx_http_opsauth_rare ngx_opsauth_status_e
ngx_http_opsauth_read_anew(ngx_http_opsauth_ctx_t *ctx,
    ngx_http_opsauth_worker_t *worker, const ngx_opsauth_lookup_kind_t *kind,
    ngx_opsauth_entry_t *entry, ngx_str_t *packed)
{
    ngx_http_opsauth_loc_conf_t  *olcf;

    ctx->stale.len = 0;

    if (entry && entry->type == kind->type) {
        ctx->stale.len = entry->len;
        ctx->stale.data = ngx_http_opsauth_keep(ctx, worker, entry);
        if (ctx->stale.data == NULL) {
            return NGX_OPSAUTH_UNAVAILABLE;
        }
    }

    /* the cache may still know it under another pepper */

    olcf = ngx_http_get_module_loc_conf(ctx->request, ngx_http_opsauth_module);

    if (olcf->failure_rate && kind->type == NGX_HTTP_OPSAUTH_CREDENTIAL
        && ctx->stale.len == 0 && ngx_http_opsauth_attempts_spent(olcf, ctx))
    {
        return NGX_OPSAUTH_UNKNOWN;
    }

    return ngx_http_opsauth_ask(ctx, worker, kind, packed);
}


/* where the cache may copy an entry to: in the context, so that it can stay */

static ngx_inline ngx_opsauth_entry_t *
ngx_http_opsauth_entry(ngx_http_opsauth_ctx_t *ctx,
    ngx_http_opsauth_worker_t *worker)
{
    if (ctx->used > sizeof(ctx->room) - sizeof(ngx_opsauth_entry_t)) {
        return &worker->entry;
    }

    return (ngx_opsauth_entry_t *) (ctx->room + ctx->used);
}


/* the entry's bytes, for as long as the request lives; NULL: no memory */

static ngx_inline u_char *
ngx_http_opsauth_keep(ngx_http_opsauth_ctx_t *ctx,
    ngx_http_opsauth_worker_t *worker, ngx_opsauth_entry_t *entry)
{
    size_t   size;
    u_char  *p;

    if (entry != &worker->entry) {
        size = offsetof(ngx_opsauth_entry_t, data) + entry->len;
        ctx->used += ngx_align(size, NGX_ALIGNMENT);
        return entry->data;
    }

    p = ngx_http_opsauth_alloc(ctx, entry->len);

    if (p != NULL) {
        ngx_memcpy(p, entry->data, entry->len);
    }

    return p;
}


static ngx_opsauth_status_e
ngx_http_opsauth_ask(ngx_http_opsauth_ctx_t *ctx,
    ngx_http_opsauth_worker_t *worker, const ngx_opsauth_lookup_kind_t *kind,
    ngx_str_t *packed)
{
    ctx->cache = ngx_max(ctx->cache, NGX_HTTP_OPSAUTH_CACHE_MISS);

    if (ngx_http_opsauth_prepare(ctx) != NGX_OK
        || ngx_http_opsauth_start_read(ctx, worker, kind, &ctx->waiter)
           != NGX_AGAIN)
    {
        return ngx_http_opsauth_fall_back(ctx, packed);
    }

    ctx->waiting = 1;
    ctx->answered = 0;
    ctx->wait_started = ngx_current_msec;

    return NGX_HTTP_OPSAUTH_WAIT;
}


/* for the request's first wait; many never come to one */

ngx_int_t
ngx_http_opsauth_prepare(ngx_http_opsauth_ctx_t *ctx)
{
    ngx_http_cleanup_t  *cln;

    if (ctx->asked) {
        return NGX_OK;
    }

    cln = ngx_http_cleanup_add(ctx->request, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&ctx->waiter, sizeof(ngx_opsauth_waiter_t));
    ngx_memzero(&ctx->event, sizeof(ngx_event_t));

    ctx->waiter.handler = ngx_http_opsauth_answered;
    ctx->waiter.data = ctx;

    ctx->event.handler = ngx_http_opsauth_wake;
    ctx->event.data = ctx;
    ctx->event.log = ctx->request->connection->log;

    cln->handler = ngx_http_opsauth_leave;
    cln->data = ctx;

    ctx->asked = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_http_opsauth_start_read(ngx_http_opsauth_ctx_t *ctx,
    ngx_http_opsauth_worker_t *worker, const ngx_opsauth_lookup_kind_t *kind,
    ngx_opsauth_waiter_t *waiter)
{
    u_char     hex[OA_DIGEST_HEX_LEN];
    ngx_str_t  name;

    if (kind->type == NGX_HTTP_OPSAUTH_CREDENTIAL) {
        oa_text_hex(ctx->key, OA_DIGEST_LEN, hex);
        name.len = OA_DIGEST_HEX_LEN;
        name.data = hex;

    } else {
        name = ngx_http_opsauth_str(ctx->credential.account);
    }

    return ngx_opsauth_lookup_read(worker->lookup, kind, ctx->key, &name,
                                   waiter);
}


static ngx_opsauth_status_e
ngx_http_opsauth_fall_back(ngx_http_opsauth_ctx_t *ctx, ngx_str_t *packed)
{
    if (ctx->stale.len == 0) {
        return NGX_OPSAUTH_UNAVAILABLE;
    }

    *packed = ctx->stale;
    ctx->cache = NGX_HTTP_OPSAUTH_CACHE_STALE;

    return NGX_OPSAUTH_FOUND;
}


/* called from the reply parser: nothing of the request may run here */

static void
ngx_http_opsauth_answered(ngx_opsauth_waiter_t *waiter,
    ngx_opsauth_status_e status, u_char *data, size_t len)
{
    ngx_http_opsauth_ctx_t  *ctx = waiter->data;

    ctx->answer = status;

    if (status == NGX_OPSAUTH_FOUND) {
        ctx->packed.len = len;
        ctx->packed.data = ngx_http_opsauth_alloc(ctx, len);

        if (ctx->packed.data != NULL) {
            ngx_memcpy(ctx->packed.data, data, len);

        } else {
            ctx->answer = NGX_OPSAUTH_UNAVAILABLE;
        }
    }

    ctx->answered = 1;

    ngx_post_event(&ctx->event, &ngx_posted_events);
}


static void
ngx_http_opsauth_wake(ngx_event_t *ev)
{
    ngx_http_opsauth_ctx_t  *ctx = ev->data;

    ngx_http_opsauth_resume(ctx->request, ngx_http_opsauth_run_phases);
}


/* as nginx does it where an event is the request's own */

static void
ngx_http_opsauth_run_phases(ngx_http_request_t *r)
{
    r->write_event_handler = ngx_http_core_run_phases;
    ngx_http_core_run_phases(r);
}


/*
 * Runs as soon as the request ends, while its memory still stands: a read that
 * is under way must not find it.
 */

static void
ngx_http_opsauth_leave(void *data)
{
    ngx_http_opsauth_ctx_t  *ctx = data;

    ngx_opsauth_lookup_cancel(&ctx->waiter);
    ngx_http_opsauth_rate_leave(ctx);

    if (ctx->event.posted) {
        ngx_delete_posted_event(&ctx->event);
    }
}
