/*
 * Quotas that nodes share through Redis. The buckets are there; a node takes
 * requests out of them in chunks of at most a fiftieth of the count, and spends
 * what it has in hand without asking anybody.
 *
 *   in hand     | Redis             | request
 *   ------------+-------------------+------------------------------------------
 *   some        | -                 | allowed; at half a chunk the next one is
 *               |                   | asked for ahead
 *   none        | says: none left   | 429, for as long as it said, at most 1 s
 *   none        | not asked         | waits for the answer: allowed or 429
 *   none        | can't be asked    | by this node's own share: rate / nodes
 *
 * Why the sum never passes the plan: what is granted passes through one bucket,
 * and is spent within AGE of the grant or not at all. Its bucket is smaller than
 * the plan's by what refills in AGE, so that requests are within the plan
 * although they come later than their grants.
 *
 * The chunk follows the demand: doubled when it was gone in half of AGE, halved
 * when it outlived it; a node with few requests asks for one at a time, and
 * hardly anything expires unspent. Of a plan of less than 100 nothing is kept in
 * hand: each request is asked for.
 *
 * What is in hand, and that Redis said that there is none, is of one plan. Where
 * places have different defaults, an account has several, which share the
 * buckets in Redis: while one of them has something in hand, the others ask for
 * each request.
 *
 * An own share begins with its part of what Redis last said to be left. What was
 * spent on it is charged to the bucket as soon as Redis can be told.
 */

#include "ngx_http_opsauth.h"


/* for as many, until Redis has told how many there are */
#define NGX_HTTP_OPSAUTH_RATE_NODES  8


static ngx_int_t ngx_http_opsauth_rate_judge(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_rate_slot_t *slot, ngx_uint_t answer);
static ngx_int_t ngx_http_opsauth_rate_own(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_rate_slot_t *slot);


ngx_int_t
ngx_http_opsauth_rate_sync(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_rate_slot_t *slot)
{
    ngx_uint_t  left;

    if (ctx->rated == NGX_HTTP_OPSAUTH_RATE_WAITS) {
        return ngx_http_opsauth_rate_judge(ctx, slot, ctx->rate.answer);
    }

    if (slot->plan != ctx->rate.limits->plan) {
        /* void */

    } else if (ngx_opsauth_rate_spend(slot, ngx_current_msec, &left)
               == NGX_OK)
    {
        ctx->rate.credits = left;

        ngx_http_opsauth_rate_ahead(ctx, slot, left);

        return ngx_http_opsauth_rate_judge(ctx, slot,
                                           NGX_HTTP_OPSAUTH_RATE_GRANTED);

    } else if (slot->refused > ngx_current_msec) {
        return ngx_http_opsauth_rate_judge(ctx, slot,
                                           NGX_HTTP_OPSAUTH_RATE_EMPTY);
    }

    if (ngx_http_opsauth_rate_wait(ctx, slot) == NGX_OK) {
        return NGX_AGAIN;
    }

    return ngx_http_opsauth_rate_judge(ctx, slot, NGX_HTTP_OPSAUTH_RATE_AWAY);
}


static ngx_int_t
ngx_http_opsauth_rate_judge(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_rate_slot_t *slot, ngx_uint_t answer)
{
    ngx_uint_t  i;

    if (answer == NGX_HTTP_OPSAUTH_RATE_AWAY) {
        return ngx_http_opsauth_rate_own(ctx, slot);
    }

    for (i = 0; i < ctx->rate.limits->n; i++) {
        ctx->rate.tat[i] =
            __atomic_load_n(&slot->tat[ctx->rate.limits->limit[i].unit],
                            __ATOMIC_RELAXED);
    }

    if (answer == NGX_HTTP_OPSAUTH_RATE_GRANTED) {
        ctx->rated = NGX_HTTP_OPSAUTH_RATE_ALLOWED;
        return NGX_OK;
    }

    ctx->rated = NGX_HTTP_OPSAUTH_RATE_DENIED;

    ctx->rate.retry = ngx_http_opsauth_rate_until(ctx->rate.limits,
                                                  ctx->rate.tat,
                                                  ctx->rate.now);

    ngx_opsauth_rate_count(&ctx->store->rate, NGX_OPSAUTH_RATE_REFUSED, 1);

    return NGX_OK;
}


/* while Redis is away; the share is what the client is told of, too */

static ngx_int_t
ngx_http_opsauth_rate_own(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_rate_slot_t *slot)
{
    uint32_t             nodes;
    uint64_t             tat, old, *word;
    oa_rate_t            share;
    ngx_uint_t           i;
    ngx_opsauth_rate_t  *rate;

    rate = &ctx->store->rate;
    nodes = ngx_opsauth_rate_nodes(rate);

    oa_rate_share(ctx->rate.limits,
                  nodes ? nodes : NGX_HTTP_OPSAUTH_RATE_NODES, &share);

    /*
     * A share has a part of the requests and is as much slower: when it is full
     * again says of both how large a part of them is left.
     */

    for (i = 0; i < share.n; i++) {
        word = &slot->share[share.limit[i].unit];
        tat = __atomic_load_n(&slot->tat[share.limit[i].unit],
                              __ATOMIC_RELAXED);
        old = __atomic_load_n(word, __ATOMIC_RELAXED);

        while (old < tat
               && !__atomic_compare_exchange_n(word, &old, tat, 0,
                                               __ATOMIC_RELAXED,
                                               __ATOMIC_RELAXED))
        {
            /* void */
        }
    }

    ctx->rate.own = share;
    ctx->rate.limits = &ctx->rate.own;

    if (ngx_opsauth_rate_take(slot->share, &share, ctx->rate.now,
                              ctx->rate.tat)
        == NGX_OK)
    {
        ctx->rated = NGX_HTTP_OPSAUTH_RATE_ALLOWED;
        (void) __atomic_add_fetch(&slot->owed, 1, __ATOMIC_RELAXED);
        ngx_opsauth_rate_count(rate, NGX_OPSAUTH_RATE_SHARED, 1);
        return NGX_OK;
    }

    ctx->rated = NGX_HTTP_OPSAUTH_RATE_DENIED;
    ngx_opsauth_rate_count(rate, NGX_OPSAUTH_RATE_REFUSED, 1);

    return NGX_OK;
}


void
ngx_http_opsauth_rate_resume(ngx_http_opsauth_ctx_t *ctx)
{
    if (ctx->rated != NGX_HTTP_OPSAUTH_RATE_WAITS) {
        return;
    }

    /* whoever waits next, waits for something else */

    ctx->waiting = 0;
    ctx->answered = 0;
    ctx->lookup_time += ngx_current_msec - ctx->wait_started;
}


void
ngx_http_opsauth_rate_leave(ngx_http_opsauth_ctx_t *ctx)
{
    if (ctx->rated == NGX_HTTP_OPSAUTH_RATE_WAITS && ctx->waiting
        && !ctx->answered)
    {
        ngx_queue_remove(&ctx->rate.queue);
        ctx->waiting = 0;
    }
}
