/*
 * The access phase: one request's way from "who is it" to "may it".
 *
 *   state    | event                        | action                 | return
 *   ---------+------------------------------+------------------------+---------
 *   start    | opsauth off                  | -                      | DECLINED
 *   start    | credential missing or bad    | deny                   | 4xx
 *   start    | records cached and fresh     | decide                 | OK, 4xx
 *   start    | a record must be read        | join or start a read,  | AGAIN
 *            |                              | watch for an abort     |
 *   start    | Redis in backoff             | stale record or 503    | OK, 503
 *   start    | unknown, and another server  | ask that one           | AGAIN
 *            | may know it (introspection.c)|                        |
 *   waiting  | entered again, no answer yet | -                      | AGAIN
 *   waiting  | client gone (cleanup)        | leave the read         | -
 *   waiting  | answer, then posted event    | next read, or decide   | as above
 *   known    | redirected to a location     | decide by its rules,   | OK, 4xx
 *            |                              | no lookup              |
 *   decided  | allowed, the quota's chunk   | ask Redis for the next | AGAIN
 *            | is spent (rate_sync)         | one                    |
 *
 * A request that waits has no timer of its own: the read it waits for has one
 * (src/redis), and that one keeps a worker from quitting before the answer.
 */

#include "ngx_http_opsauth.h"
#include "ngx_http_opsauth_introspection.h"
#include "ngx_http_opsauth_status.h"
#include "ngx_http_opsauth_usage.h"


ngx_http_opsauth_always ngx_int_t ngx_http_opsauth_judge(
    ngx_http_request_t *r, ngx_http_opsauth_loc_conf_t *olcf,
    ngx_http_opsauth_ctx_t *ctx);
OA_HOT static oa_reason_t ngx_http_opsauth_check_offline(
    ngx_http_opsauth_loc_conf_t *olcf, ngx_http_opsauth_ctx_t *ctx);
OA_HOT static void ngx_http_opsauth_decide(ngx_http_request_t *r,
    ngx_http_opsauth_loc_conf_t *olcf, ngx_http_opsauth_ctx_t *ctx);
OA_HOT static ngx_int_t ngx_http_opsauth_answer(ngx_http_request_t *r,
    ngx_http_opsauth_loc_conf_t *olcf, ngx_http_opsauth_ctx_t *ctx);


ngx_int_t
ngx_http_opsauth_access_handler(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    ngx_http_opsauth_ctx_t       *ctx;
    ngx_http_opsauth_loc_conf_t  *olcf;

    olcf = ngx_http_get_module_loc_conf(r, ngx_http_opsauth_module);

    if (olcf->store == NULL || olcf->endpoint) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_opsauth_module);

    if (ctx == NULL) {
        ngx_log_error(NGX_LOG_ALERT, r->connection->log, 0,
                      "opsauth: access phase without preaccess phase");
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /*
     * Whoever runs the phases while the request waits, or between the answer
     * and its posted event, has nothing to go on with yet. And to do so would
     * let that event take away the handlers of whatever reads it next.
     */

    if (ctx->waiting && (!ctx->answered || ctx->event.posted)) {
        return NGX_AGAIN;
    }

    ngx_memzero(&ctx->verdict, sizeof(oa_verdict_t));

    if (ctx->waiting) {
        ctx->verdict.reason = OA_REASON_OK;     /* passed the other before */
        ngx_http_opsauth_rate_resume(ctx);

    } else {
        ctx->verdict.reason = ngx_http_opsauth_check_offline(olcf, ctx);
    }

    if (ctx->verdict.reason == OA_REASON_OK) {

        rc = ngx_http_opsauth_judge(r, olcf, ctx);

        if (rc == NGX_AGAIN) {
            return ngx_http_opsauth_suspend(r);
        }

        if (rc != NGX_OK) {
            return rc;
        }

    } else if (ctx->cache == NGX_HTTP_OPSAUTH_CACHE_NONE) {
        ctx->cache = NGX_HTTP_OPSAUTH_CACHE_BYPASS;
    }

    if (olcf->failure_rate) {
        ngx_http_opsauth_attempts_judge(olcf, ctx);
    }

    ctx->decided = 1;
    ngx_http_opsauth_count(olcf->store, ctx);

    if (olcf->store->usage_on) {
        ngx_http_opsauth_usage_count(r, ctx, olcf->store);
    }

    return ngx_http_opsauth_answer(r, olcf, ctx);
}


/*
 * By records: who asks, may they, and is it too often. NGX_OK: ctx->verdict
 * says it. NGX_AGAIN: something is asked for, the request will be woken.
 * Anything else is what the phase returns.
 */

ngx_http_opsauth_always ngx_int_t
ngx_http_opsauth_judge(ngx_http_request_t *r,
    ngx_http_opsauth_loc_conf_t *olcf, ngx_http_opsauth_ctx_t *ctx)
{
    ngx_int_t  rc;

    do {
        rc = ngx_http_opsauth_identify(r, ctx, olcf->store);

        if (rc != NGX_OK) {
            return rc;
        }

        ngx_http_opsauth_decide(r, olcf, ctx);

        if (ctx->verdict.reason == OA_REASON_OK
            || olcf->introspection.uri.len == 0)
        {
            break;
        }

        rc = ngx_http_opsauth_introspect(r, olcf, ctx);

        if (rc != NGX_OK && rc != NGX_DECLINED) {
            return rc;
        }

    } while (rc == NGX_OK);

    /* last: what is turned away takes nothing from anybody's rate. Most accounts
       have none of their own, and most places none for all */

    if (olcf->rate && ctx->verdict.reason == OA_REASON_OK
        && (ctx->account.rate.len || olcf->rate->limits.n || ctx->rated)
        && ngx_http_opsauth_rate_check(olcf, ctx) == NGX_AGAIN)
    {
        return NGX_AGAIN;
    }

    return NGX_OK;
}


/* what can be said without asking anybody */

static oa_reason_t
ngx_http_opsauth_check_offline(ngx_http_opsauth_loc_conf_t *olcf,
    ngx_http_opsauth_ctx_t *ctx)
{
    const oa_key_prefix_t     *prefix;
    ngx_http_opsauth_store_t  *store;

    if (ctx->presence == NGX_HTTP_OPSAUTH_NONE) {
        return OA_REASON_MISSING;
    }

    if (ctx->presence == NGX_HTTP_OPSAUTH_MALFORMED) {
        return OA_REASON_MALFORMED;
    }

    store = olcf->store;

    return oa_policy_offline(store->key_prefixes->elts,
                             store->key_prefixes->nelts, olcf->environment,
                             ngx_http_opsauth_view(&ctx->bearer), &prefix);
}


static void
ngx_http_opsauth_decide(ngx_http_request_t *r,
    ngx_http_opsauth_loc_conf_t *olcf, ngx_http_opsauth_ctx_t *ctx)
{
    oa_request_t  facts;

    if (ctx->identity != OA_REASON_OK) {
        ctx->verdict.reason = ctx->identity;
        return;
    }

    ngx_memzero(&facts, sizeof(oa_request_t));

    facts.method = (uint32_t) (r->method & ~NGX_HTTP_UNKNOWN);
    facts.now = ngx_time();
    facts.uri_match = ngx_http_opsauth_uri_match;
    facts.data = r;

    ngx_http_opsauth_addr(r, &facts.addr);

    oa_policy_decide(&olcf->policy, &facts, &ctx->credential, &ctx->account,
                     &ctx->verdict);
}


void
ngx_http_opsauth_addr(ngx_http_request_t *r, oa_addr_t *addr)
{
    struct sockaddr  *sa;

    sa = r->connection->sockaddr;

    switch (sa->sa_family) {

    case AF_INET:
        oa_addr_set(addr, (u_char *) &((struct sockaddr_in *) sa)->sin_addr, 4);
        break;

#if (NGX_HAVE_INET6)
    case AF_INET6:
        oa_addr_set(addr, (u_char *) &((struct sockaddr_in6 *) sa)->sin6_addr,
                    16);
        break;
#endif

    default:
        ngx_memzero(addr, sizeof(oa_addr_t));   /* in no allowlist */
        break;
    }
}


static ngx_int_t
ngx_http_opsauth_answer(ngx_http_request_t *r,
    ngx_http_opsauth_loc_conf_t *olcf, ngx_http_opsauth_ctx_t *ctx)
{
    const oa_reason_info_t  *info;

    if (ctx->verdict.reason == OA_REASON_OK) {

        if (ngx_http_opsauth_set_identity(r, olcf, ctx) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        /* a shadow opens no door that others keep shut ("satisfy any") */

        return ctx->shadow ? NGX_DECLINED : NGX_OK;
    }

    info = oa_reason_info(ctx->verdict.reason);

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "opsauth: %s, reason \"%*s\", credential \"%*s\", "
                  "account \"%*s\"",
                  ctx->shadow ? "would deny (shadow)" : "denied",
                  info->name.len, info->name.data,
                  ctx->credential.id.len, ctx->credential.id.data,
                  ctx->credential.account.len, ctx->credential.account.data);

    if (ctx->shadow) {
        return NGX_DECLINED;
    }

    return ngx_http_opsauth_deny(r, olcf, ctx);
}
