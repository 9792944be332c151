/*
 * An account's rate: judged last, so that what is turned away for any other
 * reason takes nothing from it; taken once in a request's life, also where
 * internal redirects lead from place to place.
 *
 * In shadow a request takes from a bucket of its own, which nobody is refused
 * by: the verdict is what it would be, and real requests have their whole rate.
 */

#include "ngx_http_opsauth.h"
#include "ngx_http_opsauth_compat.h"


/* a number that is likely to be asked for again */
typedef struct {
    uint64_t    n;
    size_t      len;
    u_char      text[NGX_INT64_LEN];        /* at its end */
} ngx_http_opsauth_rate_digits_t;


static const oa_rate_t *ngx_http_opsauth_rate_plan(
    ngx_http_opsauth_ctx_t *ctx, uint32_t burst);
static ngx_int_t ngx_http_opsauth_rate_host(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_rate_slot_t *slot);
static ngx_uint_t ngx_http_opsauth_rate_nearest(ngx_http_opsauth_ctx_t *ctx,
    oa_rate_state_t *state);
static uint64_t ngx_http_opsauth_rate_seconds(uint64_t ticks);
static ngx_int_t ngx_http_opsauth_rate_x(ngx_http_request_t *r,
    ngx_http_opsauth_ctx_t *ctx);
static ngx_int_t ngx_http_opsauth_rate_ietf(ngx_http_request_t *r,
    ngx_http_opsauth_ctx_t *ctx);
static ngx_int_t ngx_http_opsauth_rate_header(ngx_http_request_t *r,
    const char *name, size_t len, u_char *value, u_char *last);
static u_char *ngx_http_opsauth_rate_number(u_char *last, uint64_t n);
static u_char *ngx_http_opsauth_rate_same(ngx_http_opsauth_rate_digits_t *same,
    u_char *last, uint64_t n);


/* "day";r=1000000000;t=86400 and the like, for each limit */
#define NGX_HTTP_OPSAUTH_RATE_ITEM  (sizeof("\"second\";q=;w=, ") + 2 * 20)


/* of this process */
static ngx_http_opsauth_rate_digits_t  ngx_http_opsauth_rate_limit_digits;
static ngx_http_opsauth_rate_digits_t  ngx_http_opsauth_rate_reset_digits;


ngx_int_t
ngx_http_opsauth_rate_check(ngx_http_opsauth_loc_conf_t *olcf,
    ngx_http_opsauth_ctx_t *ctx)
{
    uint64_t                  now;
    ngx_int_t                 status;
    ngx_opsauth_rate_key_t    key;
    ngx_opsauth_rate_slot_t  *slot;

    if (ctx->rated <= NGX_HTTP_OPSAUTH_RATE_WAITS) {

        if (ctx->account.rate.len) {
            ctx->rate.limits = ngx_http_opsauth_rate_plan(ctx,
                                                          olcf->rate->burst);

            /* it was checked when it was read */

            if (ctx->rate.limits == NULL) {
                ctx->verdict.reason = OA_REASON_RECORD_INVALID;
                return NGX_OK;
            }

            if (ctx->rate.limits->n == 0) {
                return NGX_OK;
            }

        } else if (olcf->rate->limits.n) {
            ctx->rate.limits = &olcf->rate->limits;

        } else {
            return NGX_OK;
        }

        now = ngx_opsauth_rate_now();

        ctx->rate.now = now;
        ctx->rate.credits = 0;
        ctx->rate.retry = 0;

        ngx_http_opsauth_rate_key(ctx, &key);

        slot = ngx_opsauth_rate_slot(&ctx->store->rate,
                                     NGX_OPSAUTH_RATE_ACCOUNTS, &key, now);

        status = (ctx->store->rate_sync && !ctx->shadow)
                 ? ngx_http_opsauth_rate_sync(ctx, slot)
                 : ngx_http_opsauth_rate_host(ctx, slot);

        if (status != NGX_OK) {
            return status;
        }
    }

    if (ctx->rated == NGX_HTTP_OPSAUTH_RATE_DENIED) {
        ctx->verdict.reason = OA_REASON_RATE;
    }

    return NGX_OK;
}


/* the account's own; NULL: malformed */

static const oa_rate_t *
ngx_http_opsauth_rate_plan(ngx_http_opsauth_ctx_t *ctx, uint32_t burst)
{
    oa_str_t                       text;
    ngx_http_opsauth_rate_plan_t  *plan;

    text = ctx->account.rate;

    /* what differs in plans is how they begin and how long they are */

    plan = &ctx->store->worker->plans[(text.data[0] + 8 * text.len + burst)
                                      % NGX_HTTP_OPSAUTH_RATE_PLANS];

    if (plan->len == text.len && plan->burst == burst
        && ngx_memcmp(plan->text, text.data, text.len) == 0)
    {
        return &plan->limits;
    }

    if (oa_rate_parse(text, burst, &ctx->rate.own) == OA_INVALID) {
        return NULL;
    }

    if (plan->len == 0 && text.len <= sizeof(plan->text)) {
        plan->limits = ctx->rate.own;
        plan->burst = burst;
        ngx_memcpy(plan->text, text.data, text.len);
        plan->len = text.len;
    }

    return &ctx->rate.own;
}


/* by this host's buckets alone */

static ngx_int_t
ngx_http_opsauth_rate_host(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_rate_slot_t *slot)
{
    if (ngx_opsauth_rate_take(slot->tat, ctx->rate.limits, ctx->rate.now,
                              ctx->rate.tat)
        == NGX_OK)
    {
        ctx->rated = NGX_HTTP_OPSAUTH_RATE_ALLOWED;
        return NGX_OK;
    }

    ctx->rated = NGX_HTTP_OPSAUTH_RATE_DENIED;
    ngx_opsauth_rate_count(&ctx->store->rate, NGX_OPSAUTH_RATE_REFUSED, 1);

    return NGX_OK;
}


void
ngx_http_opsauth_rate_key(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_rate_key_t *key)
{
    ngx_memcpy(key->k, ctx->credential.account_key, sizeof(key->k));

    key->k[0] |= 1;                     /* never 0 */
    key->k[1] ^= ctx->shadow;
}


static ngx_uint_t
ngx_http_opsauth_rate_nearest(ngx_http_opsauth_ctx_t *ctx,
    oa_rate_state_t *state)
{
    ngx_uint_t  i, refused;

    refused = (ctx->rated == NGX_HTTP_OPSAUTH_RATE_DENIED);

    i = oa_rate_nearest(ctx->rate.limits, ctx->rate.tat, ctx->rate.now,
                        refused, state);

    state->remaining = refused ? 0 : state->remaining + ctx->rate.credits;

    return i;
}


static uint64_t
ngx_http_opsauth_rate_seconds(uint64_t ticks)
{
    return (ticks + OA_RATE_TICKS_PER_S - 1) / OA_RATE_TICKS_PER_S;
}


ngx_uint_t
ngx_http_opsauth_rate_retry(ngx_http_opsauth_ctx_t *ctx)
{
    uint64_t         ticks;
    oa_rate_state_t  state;

    ticks = ctx->rate.retry;

    if (ctx->verdict.reason == OA_REASON_RATE) {
        (void) ngx_http_opsauth_rate_nearest(ctx, &state);
        ticks = ngx_max(ticks, state.retry);
    }

    return ngx_max(1, (ngx_uint_t) ngx_http_opsauth_rate_seconds(ticks));
}


ngx_int_t
ngx_http_opsauth_rate_told(ngx_http_opsauth_ctx_t *ctx, uint64_t *limit,
    uint64_t *remaining, time_t *reset)
{
    ngx_time_t      *tp;
    ngx_uint_t       i;
    oa_rate_state_t  state;

    if (ctx->rated < NGX_HTTP_OPSAUTH_RATE_ALLOWED) {
        return NGX_DECLINED;
    }

    i = ngx_http_opsauth_rate_nearest(ctx, &state);

    *limit = ctx->rate.limits->limit[i].count;
    *remaining = state.remaining;

    /* not before it is so: of this second some has passed */

    tp = ngx_timeofday();
    *reset = tp->sec + (time_t) ngx_http_opsauth_rate_seconds(
                           state.reset + tp->msec * OA_RATE_TICKS_PER_MS);

    return NGX_OK;
}


ngx_int_t
ngx_http_opsauth_rate_headers(ngx_http_request_t *r,
    ngx_http_opsauth_loc_conf_t *olcf, ngx_http_opsauth_ctx_t *ctx)
{
    /* in shadow the client must not notice */

    if (ctx->shadow || ctx->rated < NGX_HTTP_OPSAUTH_RATE_ALLOWED) {
        return NGX_OK;
    }

    if ((olcf->rate_headers & NGX_HTTP_OPSAUTH_RATE_HEADERS_X)
        && ngx_http_opsauth_rate_x(r, ctx) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if ((olcf->rate_headers & NGX_HTTP_OPSAUTH_RATE_HEADERS_IETF)
        && ngx_http_opsauth_rate_ietf(r, ctx) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_opsauth_rate_x(ngx_http_request_t *r, ngx_http_opsauth_ctx_t *ctx)
{
    time_t     reset;
    u_char    *p, *value[3];
    uint64_t   limit, remaining;

    p = ngx_http_opsauth_alloc(ctx, 3 * NGX_INT64_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_http_opsauth_rate_told(ctx, &limit, &remaining, &reset);

    value[0] = ngx_http_opsauth_rate_same(&ngx_http_opsauth_rate_limit_digits,
                                          p + NGX_INT64_LEN, limit);
    value[1] = ngx_http_opsauth_rate_number(p + 2 * NGX_INT64_LEN, remaining);
    value[2] = ngx_http_opsauth_rate_same(&ngx_http_opsauth_rate_reset_digits,
                                          p + 3 * NGX_INT64_LEN,
                                          (uint64_t) reset);

#define add(name, i)                                                          \
    ngx_http_opsauth_rate_header(r, name, sizeof(name) - 1, value[i],         \
                                 p + (i + 1) * NGX_INT64_LEN)

    if (add("X-RateLimit-Limit", 0) != NGX_OK
        || add("X-RateLimit-Remaining", 1) != NGX_OK
        || add("X-RateLimit-Reset", 2) != NGX_OK)
    {
        return NGX_ERROR;
    }

#undef add

    return NGX_OK;
}


/* draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4 */

static ngx_int_t
ngx_http_opsauth_rate_ietf(ngx_http_request_t *r, ngx_http_opsauth_ctx_t *ctx)
{
    u_char                 *policy, *state, *p, *s;
    ngx_uint_t              i, nearest;
    const char             *name;
    oa_rate_state_t         told;
    const oa_rate_t        *limits;
    const oa_rate_limit_t  *limit;

    limits = ctx->rate.limits;

    policy = ngx_http_opsauth_alloc(ctx, 2 * limits->n
                                         * NGX_HTTP_OPSAUTH_RATE_ITEM);
    if (policy == NULL) {
        return NGX_ERROR;
    }

    p = policy;
    state = policy + limits->n * NGX_HTTP_OPSAUTH_RATE_ITEM;
    s = state;

    for (i = 0; i < limits->n; i++) {
        limit = &limits->limit[i];
        name = oa_rate_unit_name(limit->unit);

        p = ngx_sprintf(p, "%s\"%s\";q=%uD;w=%uD", i ? ", " : "", name,
                        limit->count, oa_rate_unit_seconds(limit->unit));
    }

    nearest = ngx_http_opsauth_rate_nearest(ctx, &told);

    s = ngx_sprintf(s, "\"%s\";r=%uL;t=%uL",
                    oa_rate_unit_name(limits->limit[nearest].unit),
                    told.remaining,
                    ngx_http_opsauth_rate_seconds(told.reset));

    if (ngx_http_opsauth_rate_header(r, "RateLimit-Policy",
                                     sizeof("RateLimit-Policy") - 1, policy, p)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_opsauth_rate_header(r, "RateLimit",
                                        sizeof("RateLimit") - 1, state, s);
}


static ngx_int_t
ngx_http_opsauth_rate_header(ngx_http_request_t *r, const char *name,
    size_t len, u_char *value, u_char *last)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    h->key.len = len;
    h->key.data = (u_char *) name;
    h->value.len = last - value;
    h->value.data = value;
    h->lowcase_key = NULL;
    ngx_http_opsauth_elt_init(h);

    return NGX_OK;
}


/* decimal digits that end at last; where they begin. By twos: one number of
   each response is never the same as the one before */

static u_char *
ngx_http_opsauth_rate_number(u_char *last, uint64_t n)
{
    static const u_char  twos[] =
        "00010203040506070809" "10111213141516171819"
        "20212223242526272829" "30313233343536373839"
        "40414243444546474849" "50515253545556575859"
        "60616263646566676869" "70717273747576777879"
        "80818283848586878889" "90919293949596979899";

    while (n >= 10) {
        last -= 2;
        ngx_memcpy(last, &twos[n % 100 * 2], 2);
        n /= 100;

        if (n == 0) {
            return last;
        }
    }

    *--last = (u_char) ('0' + n);

    return last;
}


static ngx_inline u_char *
ngx_http_opsauth_rate_same(ngx_http_opsauth_rate_digits_t *same, u_char *last,
    uint64_t n)
{
    u_char  *end;

    if (same->n != n || same->len == 0) {
        end = same->text + NGX_INT64_LEN;

        same->n = n;
        same->len = end - ngx_http_opsauth_rate_number(end, n);
    }

    ngx_memcpy(last - NGX_INT64_LEN, same->text, NGX_INT64_LEN);

    return last - same->len;
}
