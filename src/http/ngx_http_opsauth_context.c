/*
 * The request's context. Internal redirects (try_files, index, error_page,
 * X-Accel-Redirect) wipe the contexts of all modules; what was found out about
 * the client must outlive that, or each redirect would cost another lookup.
 * So the context is noted in a cleanup of the request's pool, where it is found
 * again, as realip does it.
 *
 * A context is a block of its own, with room for the request's records and
 * headers, and is used again by a later request: proxying alone all but fills
 * the blocks of nginx's pool, and another one costs more than everything here.
 */

#include "ngx_http_opsauth.h"


/* kept for later requests; what a burst takes beyond that is given back */
#define NGX_HTTP_OPSAUTH_SPARE_MAX  256

#define NGX_HTTP_OPSAUTH_LINE       64

/* whole lines: clearing some of what is written later anyway does no harm */
#define NGX_HTTP_OPSAUTH_CLEAR                                                \
    ngx_align(offsetof(ngx_http_opsauth_ctx_t, key), 2 * NGX_HTTP_OPSAUTH_LINE)


OA_HOT static ngx_http_opsauth_ctx_t *ngx_http_opsauth_new_ctx(ngx_log_t *log);
OA_HOT static void ngx_http_opsauth_free_ctx(void *data);


static ngx_http_opsauth_ctx_t  *ngx_http_opsauth_spare;
static ngx_uint_t               ngx_http_opsauth_nspare;


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
        if (cln->handler == ngx_http_opsauth_free_ctx) {
            return cln->data;
        }
    }

    return NULL;
}


ngx_http_opsauth_ctx_t *
ngx_http_opsauth_make_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t      *cln;
    ngx_http_opsauth_ctx_t  *ctx;

    ctx = ngx_http_opsauth_get_ctx(r);

    if (ctx == NULL) {
        cln = ngx_pool_cleanup_add(r->pool, 0);
        if (cln == NULL) {
            return NULL;
        }

        ctx = ngx_http_opsauth_new_ctx(r->connection->log);
        if (ctx == NULL) {
            return NULL;
        }

        ctx->request = r;

        cln->handler = ngx_http_opsauth_free_ctx;
        cln->data = ctx;
    }

    ngx_http_set_ctx(r, ctx, ngx_http_opsauth_module);

    return ctx;
}


static ngx_http_opsauth_ctx_t *
ngx_http_opsauth_new_ctx(ngx_log_t *log)
{
    u_char                  *p, *last;
    ngx_http_opsauth_ctx_t  *ctx;

    ctx = ngx_http_opsauth_spare;

    if (ctx) {
        ngx_http_opsauth_spare = ctx->spare;
        ngx_http_opsauth_nspare--;

    } else {
        ctx = ngx_memalign(NGX_HTTP_OPSAUTH_LINE,
                           sizeof(ngx_http_opsauth_ctx_t), log);
        if (ctx == NULL) {
            return NULL;
        }
    }

    /* for one memset() of that size, gcc writes a slow "rep stos" */

    last = (u_char *) ctx + NGX_HTTP_OPSAUTH_CLEAR;

    for (p = (u_char *) ctx; p < last; p += 2 * NGX_HTTP_OPSAUTH_LINE) {
        ngx_memzero(p, NGX_HTTP_OPSAUTH_LINE);
        ngx_memzero(p + NGX_HTTP_OPSAUTH_LINE, NGX_HTTP_OPSAUTH_LINE);
    }

    return ctx;
}


/* with the request's pool: nobody has a pointer into it any more */

static void
ngx_http_opsauth_free_ctx(void *data)
{
    ngx_http_opsauth_ctx_t  *ctx = data;

    if (ngx_http_opsauth_nspare == NGX_HTTP_OPSAUTH_SPARE_MAX) {
        ngx_free(ctx);
        return;
    }

    ctx->spare = ngx_http_opsauth_spare;
    ngx_http_opsauth_spare = ctx;
    ngx_http_opsauth_nspare++;
}


void
ngx_http_opsauth_free_spare(void)
{
    ngx_http_opsauth_ctx_t  *ctx;

    while (ngx_http_opsauth_spare) {
        ctx = ngx_http_opsauth_spare;
        ngx_http_opsauth_spare = ctx->spare;
        ngx_free(ctx);
    }

    ngx_http_opsauth_nspare = 0;
}


void *
ngx_http_opsauth_alloc(ngx_http_opsauth_ctx_t *ctx, size_t size)
{
    void  *p;

    if (size > sizeof(ctx->room) - ctx->used) {
        return ngx_palloc(ctx->request->pool, size);
    }

    p = ctx->room + ctx->used;

    /* room is a multiple of the alignment: never beyond its end */

    ctx->used += ngx_align(size, NGX_ALIGNMENT);

    return p;
}
