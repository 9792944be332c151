/*
 * The budget of failed attempts: an address that presents credentials which are
 * malformed, mistyped or nobody's may do so at a rate. Beyond it such requests
 * are 429, and none of them costs Redis anything any more.
 *
 * Others may stand behind the same address. So a credential that the cache
 * knows as somebody's passes whatever the budget: it can be told without asking
 * anybody. One that would have to be looked up is 429 until the budget has room
 * again. Lookups that were under way by then are still answered.
 *
 * A client without an address (a unix socket, without realip) has no budget.
 */

#include "ngx_http_opsauth.h"


static ngx_int_t ngx_http_opsauth_attempts_key(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_rate_key_t *key);
static void ngx_http_opsauth_attempts_refuse(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_rate_t *rate, const oa_rate_limit_t *limit, uint64_t tat,
    uint64_t now);


ngx_uint_t
ngx_http_opsauth_attempts_spent(ngx_http_opsauth_loc_conf_t *olcf,
    ngx_http_opsauth_ctx_t *ctx)
{
    uint64_t                       now;
    const oa_rate_limit_t         *limit;
    ngx_opsauth_rate_key_t         key;
    ngx_opsauth_rate_slot_t       *slot;

    if (ngx_http_opsauth_attempts_key(ctx, &key) != NGX_OK) {
        return 0;
    }

    slot = ngx_opsauth_rate_find(&ctx->store->rate, NGX_OPSAUTH_RATE_ADDRESSES,
                                 &key);
    if (slot == NULL) {
        return 0;
    }

    now = ngx_opsauth_rate_now();

    if (ngx_opsauth_rate_peek(slot->tat, &olcf->failure_rate->limits, now)
        == NGX_OK)
    {
        return 0;
    }

    if (ctx->slowed) {
        return 1;                       /* under another pepper */
    }

    limit = &olcf->failure_rate->limits.limit[0];

    ngx_http_opsauth_attempts_refuse(ctx, &ctx->store->rate, limit,
                                     slot->tat[limit->unit], now);

    return 1;
}


void
ngx_http_opsauth_attempts_judge(ngx_http_opsauth_loc_conf_t *olcf,
    ngx_http_opsauth_ctx_t *ctx)
{
    uint64_t                  now, tat[OA_RATE_UNITS];
    ngx_opsauth_rate_t       *rate;
    ngx_opsauth_rate_key_t    key;
    ngx_opsauth_rate_slot_t  *slot;

    switch (ctx->verdict.reason) {

    case OA_REASON_MALFORMED:
    case OA_REASON_CHECKSUM:
    case OA_REASON_UNKNOWN:
        break;

    default:
        return;
    }

    if (ctx->attempted || ngx_http_opsauth_attempts_key(ctx, &key) != NGX_OK) {
        return;
    }

    rate = &olcf->store->rate;
    now = ngx_opsauth_rate_now();

    slot = ngx_opsauth_rate_slot(rate, NGX_OPSAUTH_RATE_ADDRESSES, &key, now);

    if (ngx_opsauth_rate_take(slot->tat, &olcf->failure_rate->limits, now, tat)
        == NGX_OK)
    {
        ctx->attempted = 1;
        ngx_opsauth_rate_count(rate, NGX_OPSAUTH_RATE_FAILURES, 1);
        return;
    }

    ctx->verdict.reason = OA_REASON_ATTEMPTS;

    ngx_http_opsauth_attempts_refuse(ctx, rate,
                                     &olcf->failure_rate->limits.limit[0],
                                     tat[0], now);
}


static ngx_int_t
ngx_http_opsauth_attempts_key(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_rate_key_t *key)
{
    oa_addr_t  addr;

    ngx_http_opsauth_addr(ctx->request, &addr);

    if (addr.family == 0) {
        return NGX_DECLINED;
    }

    ngx_opsauth_rate_addr_key(addr.bytes, addr.family == 4 ? 4 : 16, key);

    /* in shadow nobody else is to be slowed */

    key->k[0] |= (uint64_t) ctx->shadow << 32;

    return NGX_OK;
}


static void
ngx_http_opsauth_attempts_refuse(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_rate_t *rate, const oa_rate_limit_t *limit, uint64_t tat,
    uint64_t now)
{
    oa_rate_state_t  state;

    oa_rate_state(limit, tat, now, &state);

    ctx->rate.retry = state.retry;

    if (!ctx->slowed) {
        ngx_opsauth_rate_count(rate, NGX_OPSAUTH_RATE_SLOWED, 1);
        ctx->slowed = 1;
    }
}
