/*
 * The request's context. Internal redirects (try_files, index, error_page,
 * X-Accel-Redirect) wipe the contexts of all modules; what was found out about
 * the client must outlive that, or each redirect would cost another lookup.
 * So the context hangs on a cleanup of the request's pool, where it is found
 * again, as realip does it.
 */

#include "ngx_http_opsauth.h"


static void ngx_http_opsauth_cleanup_marker(void *data);
static void ngx_http_opsauth_request_cleanup(void *data);


ngx_http_opsauth_ctx_t *
ngx_http_opsauth_get_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t      *cln;
    ngx_http_opsauth_ctx_t  *ctx;

    r = r->main;
    ctx = ngx_http_get_module_ctx(r, ngx_http_opsauth_module);

    if (ctx != NULL || !(r->internal || r->filter_finalize)) {
        return ctx;
    }

    for (cln = r->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_opsauth_cleanup_marker) {
            return cln->data;
        }
    }

    return NULL;
}


ngx_http_opsauth_ctx_t *
ngx_http_opsauth_make_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t      *cln;
    ngx_http_cleanup_t      *http_cln;
    ngx_http_opsauth_ctx_t  *ctx;

    ctx = ngx_http_opsauth_get_ctx(r);

    if (ctx == NULL) {
        cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_opsauth_ctx_t));
        if (cln == NULL) {
            return NULL;
        }

        ctx = cln->data;
        ngx_memzero(ctx, sizeof(ngx_http_opsauth_ctx_t));
        ctx->request = r;

        cln->handler = ngx_http_opsauth_cleanup_marker;

        /*
         * runs as soon as the request ends, while its memory still stands: a
         * read that is under way must not find it (CRAFT, waiters of requests
         * that were freed)
         */

        http_cln = ngx_http_cleanup_add(r, 0);
        if (http_cln == NULL) {
            return NULL;
        }

        http_cln->handler = ngx_http_opsauth_request_cleanup;
        http_cln->data = ctx;
    }

    ngx_http_set_ctx(r, ctx, ngx_http_opsauth_module);

    return ctx;
}


static void
ngx_http_opsauth_cleanup_marker(void *data)
{
    /* only its address is needed */
}


static void
ngx_http_opsauth_request_cleanup(void *data)
{
    ngx_http_opsauth_ctx_t  *ctx = data;

    ngx_opsauth_lookup_cancel(&ctx->waiter);

    if (ctx->event.posted) {
        ngx_delete_posted_event(&ctx->event);
    }
}
