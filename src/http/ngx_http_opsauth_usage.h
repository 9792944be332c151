/*
 * Usage of credentials: counted at each verdict, written to Redis now and then.
 * The first is here, since every request passes it; the second is in usage.c.
 */

#ifndef NGX_HTTP_OPSAUTH_USAGE_H
#define NGX_HTTP_OPSAUTH_USAGE_H

#include "ngx_http_opsauth.h"


extern ngx_http_opsauth_range_t  ngx_http_opsauth_usage_interval_range;


/* what a request finds for the first time: since the last flush (touched), in
   this second, or ever (entry NULL: none yet); returns the entry or NULL */
OA_APART ngx_opsauth_usage_entry_t *ngx_http_opsauth_usage_first(ngx_http_request_t *r,
    ngx_http_opsauth_ctx_t *ctx, ngx_opsauth_usage_entry_t *entry,
    uint64_t tag);
OA_APART void ngx_http_opsauth_usage_touched(ngx_http_opsauth_store_t *store,
    ngx_opsauth_usage_entry_t *entry);


/*
 * Counts the request for its credential, once, by the verdict of the first
 * location that it came to. Where no credential was found there is nobody to
 * count it for; a token of another server is that server's to count.
 */

static ngx_inline void
ngx_http_opsauth_usage_count(ngx_http_request_t *r,
    ngx_http_opsauth_ctx_t *ctx, ngx_http_opsauth_store_t *store)
{
    uint64_t                    tag;
    ngx_opsauth_usage_entry_t  *entry;

    if (ctx->counted || ctx->credential.id.len == 0
        || ctx->credential.introspected)
    {
        return;
    }

    ctx->counted = 1;

    tag = ngx_opsauth_usage_tag(ctx->credential.id);
    entry = ngx_opsauth_usage_find(&store->usage, tag);

    if (entry == NULL || ctx->verdict.reason != OA_REASON_OK
        || entry->claim != (uint64_t) ngx_time())
    {
        entry = ngx_http_opsauth_usage_first(r, ctx, entry, tag);

        if (entry == NULL) {
            return;
        }
    }

    if (ngx_opsauth_usage_increment(entry)) {
        ngx_http_opsauth_usage_touched(store, entry);
    }
}


/* this process' timer and connection for it; without them, or without memory
   for them, other workers write what this one counts */
void ngx_http_opsauth_usage_start(ngx_http_opsauth_store_t *store);
void ngx_http_opsauth_usage_destroy(ngx_http_opsauth_worker_t *worker);

/* of the configuration; NGX_CONF_ERROR was logged */
char *ngx_http_opsauth_usage_finish(ngx_conf_t *cf,
    ngx_http_opsauth_store_t *store, uint32_t crc);


#endif /* NGX_HTTP_OPSAUTH_USAGE_H */
