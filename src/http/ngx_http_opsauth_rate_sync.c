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
 * Own shares start empty where a chunk was in use a moment ago. What was spent
 * on them is charged to the bucket as soon as Redis can be told.
 */

#include "ngx_http_opsauth.h"
#include "ngx_opsauth_command.h"


#define NGX_HTTP_OPSAUTH_RATE_CHUNKS      50        /* of a count */
#define NGX_HTTP_OPSAUTH_RATE_AGE_MIN     100       /* ms */
#define NGX_HTTP_OPSAUTH_RATE_AGE_MAX     10000
#define NGX_HTTP_OPSAUTH_RATE_REFUSE_MAX  1000      /* ms */
#define NGX_HTTP_OPSAUTH_RATE_WANT_MAX    100000

/* for as many, until Redis has told how many there are */
#define NGX_HTTP_OPSAUTH_RATE_NODES       8

#define NGX_HTTP_OPSAUTH_RATE_NODE_TIME   5000      /* ms */

#define NGX_HTTP_OPSAUTH_RATE_ARGS        (3 + 4 * OA_RATE_UNITS)


/* being asked for */
typedef struct {
    ngx_queue_t                 queue;          /* the worker's */
    ngx_queue_t                 waiters;        /* contexts */
    ngx_http_opsauth_store_t   *store;
    ngx_opsauth_rate_slot_t    *slot;
    ngx_opsauth_rate_key_t      key;
    oa_rate_t                   limits;
    ngx_uint_t                  want;
    uint32_t                    owed;
    ngx_msec_t                  age;
    ngx_msec_t                  sent_at;
    size_t                      len;
    u_char                      name[128 + sizeof("rate:") + OA_ACCOUNT_MAX];
} ngx_http_opsauth_chunk_t;


struct ngx_http_opsauth_rate_node_s {
    ngx_event_t                 event;
    ngx_http_opsauth_store_t   *store;
    ngx_opsauth_command_t      *command;
};


static ngx_int_t ngx_http_opsauth_rate_judge(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_rate_slot_t *slot, ngx_uint_t answer);
static ngx_int_t ngx_http_opsauth_rate_own(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_rate_slot_t *slot);
static ngx_int_t ngx_http_opsauth_rate_wait(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_rate_slot_t *slot);
static void ngx_http_opsauth_rate_ahead(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_rate_slot_t *slot, ngx_uint_t left);
static ngx_http_opsauth_chunk_t *ngx_http_opsauth_chunk(
    ngx_http_opsauth_ctx_t *ctx, ngx_opsauth_rate_slot_t *slot);
static ngx_int_t ngx_http_opsauth_chunk_send(ngx_http_opsauth_chunk_t *chunk,
    ngx_uint_t waiting);
static void ngx_http_opsauth_chunk_size(ngx_http_opsauth_chunk_t *chunk);
static void ngx_http_opsauth_chunk_answer(void *data,
    ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error);
static ngx_int_t ngx_http_opsauth_chunk_granted(
    ngx_http_opsauth_chunk_t *chunk, ngx_opsauth_reply_t *reply);
static ngx_uint_t ngx_http_opsauth_chunk_wake(ngx_http_opsauth_chunk_t *chunk,
    ngx_uint_t n, ngx_http_opsauth_rate_answer_e answer);
static void ngx_http_opsauth_chunk_free(ngx_http_opsauth_chunk_t *chunk);
static void ngx_http_opsauth_rate_node(ngx_event_t *ev);
static void ngx_http_opsauth_rate_node_answer(void *data,
    ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error);


/*
 * rate:<account>  args: want, owed, age in us, then for each limit: field,
 * period in us, count, burst. The clock is the server's, so that nodes need not
 * agree on theirs. Fields hold the times (us) at which buckets will be full.
 * {granted, us until there may be more, us until each limit's bucket is full}
 */
static ngx_opsauth_script_t  ngx_http_opsauth_rate_script =
    ngx_opsauth_script_make("rate",

    /* Redis 6.2 wants to be told, newer ones do so by themselves */
    "if redis.replicate_commands then redis.replicate_commands() end\n"
    "local want, owed, age = tonumber(ARGV[1]), tonumber(ARGV[2]),\n"
    "  tonumber(ARGV[3])\n"
    "local time = redis.call('TIME')\n"
    "local now = tonumber(time[1]) * 1000000 + tonumber(time[2])\n"
    "local grant, limits = want, {}\n"
    "for i = 4, #ARGV, 4 do\n"
    "  local limit = { field = ARGV[i],\n"
    "    interval = tonumber(ARGV[i + 1]) / tonumber(ARGV[i + 2]) }\n"
    "  limit.full = limit.interval * tonumber(ARGV[i + 3])\n"
    "  local tat = tonumber(redis.call('HGET', KEYS[1], limit.field) or 0)\n"
    "  local ahead = math.max((tat or 0) - now, 0) + owed * limit.interval\n"
    "  limit.ahead = math.min(ahead, limit.full)\n"
    "  limit.room = math.max(limit.full - age, limit.interval)\n"
    "    - limit.ahead\n"
    "  grant = math.min(grant, math.max(0,\n"
    "    math.floor(limit.room / limit.interval)))\n"
    "  limits[#limits + 1] = limit\n"
    "end\n"
    "local wait, keep, reply, fields = 0, 0, { grant, 0 }, {}\n"
    "for i, limit in ipairs(limits) do\n"
    "  local ahead = limit.ahead + grant * limit.interval\n"
    "  wait = math.max(wait, limit.interval\n"
    "    - (limit.room - grant * limit.interval))\n"
    "  keep = math.max(keep, ahead)\n"
    "  fields[#fields + 1] = limit.field\n"
    "  fields[#fields + 1] = string.format('%.0f', math.ceil(now + ahead))\n"
    "  reply[#reply + 1] = math.ceil(ahead)\n"
    "end\n"
    "reply[2] = math.ceil(wait)\n"
    "if grant > 0 or owed > 0 then\n"
    "  redis.call('HSET', KEYS[1], unpack(fields))\n"
    "  redis.call('PEXPIRE', KEYS[1],\n"
    "    string.format('%.0f', math.ceil(keep / 1000) + 1000))\n"
    "end\n"
    "return reply\n");


/* nodes  args: this node's number. How many were there in the last minute */
static ngx_opsauth_script_t  ngx_http_opsauth_rate_nodes_script =
    ngx_opsauth_script_make("nodes",

    "if redis.replicate_commands then redis.replicate_commands() end\n"
    "local now = tonumber(redis.call('TIME')[1])\n"
    "redis.call('ZADD', KEYS[1], now, ARGV[1])\n"
    "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 60)\n"
    "redis.call('PEXPIRE', KEYS[1], 120000)\n"
    "return redis.call('ZCARD', KEYS[1])\n");


ngx_int_t
ngx_http_opsauth_rate_sync(ngx_http_opsauth_ctx_t *ctx)
{
    uint64_t                  now;
    ngx_uint_t                left;
    ngx_opsauth_rate_t       *rate;
    ngx_opsauth_rate_key_t    key;
    ngx_opsauth_rate_slot_t  *slot;

    rate = &ctx->store->rate;
    now = ngx_opsauth_rate_now();

    ctx->rate.now = now;
    ctx->rate.credits = 0;
    ctx->rate.retry = 0;

    ngx_http_opsauth_rate_key(ctx, &key);

    slot = ngx_opsauth_rate_slot(rate, NGX_OPSAUTH_RATE_ACCOUNTS, &key, now);

    if (ctx->rated == NGX_HTTP_OPSAUTH_RATE_WAITS) {
        ctx->waiting = 0;
        ctx->answered = 0;
        ctx->lookup_time += ngx_current_msec - ctx->wait_started;

        return ngx_http_opsauth_rate_judge(ctx, slot, ctx->rate.answer);
    }

    if (ngx_opsauth_rate_spend(slot, ngx_current_msec, &left) == NGX_OK) {
        ctx->rate.credits = left;

        ngx_http_opsauth_rate_ahead(ctx, slot, left);

        return ngx_http_opsauth_rate_judge(ctx, slot,
                                           NGX_HTTP_OPSAUTH_RATE_GRANTED);
    }

    if (slot->refused > ngx_current_msec) {
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
    uint64_t    until;
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
        __atomic_store_n(&slot->credited, ctx->rate.now, __ATOMIC_RELAXED);
        return NGX_OK;
    }

    ctx->rated = NGX_HTTP_OPSAUTH_RATE_DENIED;

    until = slot->refused;

    if (until > ngx_current_msec) {
        ctx->rate.retry = (until - ngx_current_msec) * OA_RATE_TICKS_PER_MS;
    }

    ngx_opsauth_rate_count(&ctx->store->rate, NGX_OPSAUTH_RATE_REFUSED, 1);

    return NGX_OK;
}


/* while Redis is away; the share is what the client is told of, too */

static ngx_int_t
ngx_http_opsauth_rate_own(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_rate_slot_t *slot)
{
    uint32_t             nodes;
    uint64_t             credited, full, old, *word;
    oa_rate_t            share;
    ngx_uint_t           i;
    ngx_opsauth_rate_t  *rate;

    rate = &ctx->store->rate;
    nodes = ngx_opsauth_rate_nodes(rate);

    oa_rate_share(ctx->rate.limits,
                  nodes ? nodes : NGX_HTTP_OPSAUTH_RATE_NODES, &share);

    credited = __atomic_load_n(&slot->credited, __ATOMIC_RELAXED);

    for (i = 0; credited && i < share.n; i++) {
        word = &slot->share[share.limit[i].unit];
        full = credited + share.limit[i].full;
        old = __atomic_load_n(word, __ATOMIC_RELAXED);

        while (old < full
               && !__atomic_compare_exchange_n(word, &old, full, 0,
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


/* joins what this worker asks for, or asks; NGX_DECLINED: nobody can be asked */

static ngx_int_t
ngx_http_opsauth_rate_wait(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_rate_slot_t *slot)
{
    ngx_http_opsauth_chunk_t  *chunk;

    if (ngx_http_opsauth_prepare(ctx) != NGX_OK) {
        return NGX_DECLINED;
    }

    chunk = ngx_http_opsauth_chunk(ctx, slot);

    if (chunk == NULL) {
        return NGX_DECLINED;
    }

    if (chunk->want == 0 && ngx_http_opsauth_chunk_send(chunk, 1) != NGX_OK) {
        ngx_http_opsauth_chunk_free(chunk);
        return NGX_DECLINED;
    }

    ngx_queue_insert_tail(&chunk->waiters, &ctx->rate.queue);

    ctx->rated = NGX_HTTP_OPSAUTH_RATE_WAITS;
    ctx->waiting = 1;
    ctx->answered = 0;
    ctx->wait_started = ngx_current_msec;

    return NGX_OK;
}


/* at half a chunk, one worker asks for the next, unless it is but one */

static void
ngx_http_opsauth_rate_ahead(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_rate_slot_t *slot, ngx_uint_t left)
{
    uint64_t                   pending;
    ngx_http_opsauth_chunk_t  *chunk;

    pending = __atomic_load_n(&slot->pending, __ATOMIC_RELAXED);

    if (slot->chunk < 2 || left > slot->chunk / 2
        || pending > ngx_current_msec || slot->refused > ngx_current_msec)
    {
        return;
    }

    /* a time, not a lock: it ends by itself if the worker does */

    if (!__atomic_compare_exchange_n(&slot->pending, &pending,
                       (uint64_t) ngx_current_msec
                       + ctx->store->redis.timeout,
                       0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
    {
        return;
    }

    chunk = ngx_http_opsauth_chunk(ctx, slot);

    if (chunk && chunk->want == 0
        && ngx_http_opsauth_chunk_send(chunk, 0) != NGX_OK)
    {
        ngx_http_opsauth_chunk_free(chunk);
    }
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


/* the one that is under way, or a new one with want == 0; NULL: no memory */

static ngx_http_opsauth_chunk_t *
ngx_http_opsauth_chunk(ngx_http_opsauth_ctx_t *ctx,
    ngx_opsauth_rate_slot_t *slot)
{
    u_char                     *p;
    ngx_queue_t                *q;
    ngx_opsauth_rate_key_t      key;
    ngx_http_opsauth_chunk_t   *chunk;
    ngx_http_opsauth_worker_t  *worker;

    worker = ctx->store->worker;

    ngx_http_opsauth_rate_key(ctx, &key);

    for (q = ngx_queue_head(&worker->chunks);
         q != ngx_queue_sentinel(&worker->chunks);
         q = ngx_queue_next(q))
    {
        chunk = ngx_queue_data(q, ngx_http_opsauth_chunk_t, queue);

        if (chunk->key.k[0] == key.k[0] && chunk->key.k[1] == key.k[1]) {
            return chunk;
        }
    }

    chunk = ngx_alloc(sizeof(ngx_http_opsauth_chunk_t), ngx_cycle->log);
    if (chunk == NULL) {
        return NULL;
    }

    ngx_queue_init(&chunk->waiters);
    ngx_queue_insert_tail(&worker->chunks, &chunk->queue);

    chunk->store = ctx->store;
    chunk->slot = slot;
    chunk->key = key;
    chunk->limits = *ctx->rate.limits;
    chunk->want = 0;
    chunk->owed = 0;

    p = ngx_cpymem(chunk->name, ctx->store->rate_prefix.data,
                   ctx->store->rate_prefix.len);
    p = ngx_cpymem(p, ctx->account.id.data, ctx->account.id.len);

    chunk->len = p - chunk->name;

    return chunk;
}


static ngx_int_t
ngx_http_opsauth_chunk_send(ngx_http_opsauth_chunk_t *chunk,
    ngx_uint_t waiting)
{
    u_char                     *p, room[NGX_HTTP_OPSAUTH_RATE_ARGS][24];
    ngx_str_t                   key, args[NGX_HTTP_OPSAUTH_RATE_ARGS];
    ngx_uint_t                  i, n;
    const oa_rate_limit_t      *limit;
    ngx_opsauth_rate_slot_t    *slot;
    ngx_opsauth_redis_error_e   error;

    slot = chunk->slot;

    ngx_http_opsauth_chunk_size(chunk);

    chunk->want = ngx_min(ngx_max(slot->chunk, waiting),
                          NGX_HTTP_OPSAUTH_RATE_WANT_MAX);
    chunk->owed = __atomic_exchange_n(&slot->owed, 0, __ATOMIC_RELAXED);
    chunk->sent_at = ngx_current_msec;

    n = 0;

#define add(format, value)                                                    \
    p = ngx_sprintf(room[n], format, value);                                  \
    args[n].data = room[n];                                                   \
    args[n].len = p - room[n];                                                \
    n++

    add("%ui", chunk->want);
    add("%uD", chunk->owed);
    add("%uL", (uint64_t) chunk->age * 1000);

    for (i = 0; i < chunk->limits.n; i++) {
        limit = &chunk->limits.limit[i];

        add("%s", oa_rate_unit_name(limit->unit));
        add("%uL", (uint64_t) oa_rate_unit_seconds(limit->unit) * 1000000);
        add("%uD", limit->count);
        add("%uD", limit->burst);
    }

#undef add

    key.data = chunk->name;
    key.len = chunk->len;

    if (ngx_opsauth_script(chunk->store->worker->redis,
                           &ngx_http_opsauth_rate_script, &key, n, args,
                           ngx_http_opsauth_chunk_answer, chunk, &error)
        != NULL)
    {
        ngx_opsauth_rate_count(&chunk->store->rate, NGX_OPSAUTH_RATE_ASKED, 1);
        return NGX_OK;
    }

    (void) __atomic_add_fetch(&slot->owed, chunk->owed, __ATOMIC_RELAXED);
    __atomic_store_n(&slot->pending, 0, __ATOMIC_RELAXED);

    return NGX_DECLINED;
}


/* what to ask for, and how long it may be kept */

static void
ngx_http_opsauth_chunk_size(ngx_http_opsauth_chunk_t *chunk)
{
    uint32_t                  max, size;
    ngx_uint_t                i;
    ngx_msec_t                age, passed;
    ngx_opsauth_rate_slot_t  *slot;

    slot = chunk->slot;

    age = oa_rate_unit_seconds(chunk->limits.limit[0].unit) * 1000
          / NGX_HTTP_OPSAUTH_RATE_CHUNKS;
    age = ngx_min(age, NGX_HTTP_OPSAUTH_RATE_AGE_MAX);

    chunk->age = ngx_max(age, NGX_HTTP_OPSAUTH_RATE_AGE_MIN);

    max = NGX_HTTP_OPSAUTH_RATE_WANT_MAX;

    for (i = 0; i < chunk->limits.n; i++) {
        max = ngx_min(max, chunk->limits.limit[i].count
                           / NGX_HTTP_OPSAUTH_RATE_CHUNKS);
        max = ngx_min(max, chunk->limits.limit[i].burst);
    }

    passed = ngx_current_msec - (ngx_msec_t) slot->asked;
    size = slot->chunk;

    if (passed < chunk->age / 2) {
        size *= 2;

    } else if (passed > chunk->age) {
        size /= 2;
    }

    slot->chunk = ngx_max(1, ngx_min(size, max));

    /* of a small plan nothing is kept in hand, and nothing set aside for it */

    if (max < 2) {
        chunk->age = 0;
    }

    slot->asked = ngx_current_msec;
}


static void
ngx_http_opsauth_chunk_answer(void *data, ngx_opsauth_reply_t *reply,
    ngx_opsauth_redis_error_e error)
{
    ngx_http_opsauth_chunk_t *chunk = data;

    ngx_uint_t                waiting;
    ngx_opsauth_rate_t       *rate;
    ngx_opsauth_rate_slot_t  *slot;

    rate = &chunk->store->rate;

    /* it may have changed hands meanwhile */

    slot = ngx_opsauth_rate_slot(rate, NGX_OPSAUTH_RATE_ACCOUNTS, &chunk->key,
                                 ngx_opsauth_rate_now());
    chunk->slot = slot;

    __atomic_store_n(&slot->pending, 0, __ATOMIC_RELAXED);

    if (error != NGX_OPSAUTH_REDIS_OK
        || ngx_http_opsauth_chunk_granted(chunk, reply) == NGX_ERROR)
    {
        /* charged twice at worst, where nobody knows whether it was */

        (void) __atomic_add_fetch(&slot->owed, chunk->owed, __ATOMIC_RELAXED);
        ngx_opsauth_rate_count(rate, NGX_OPSAUTH_RATE_UNANSWERED, 1);

        (void) ngx_http_opsauth_chunk_wake(chunk, (ngx_uint_t) -1,
                                           NGX_HTTP_OPSAUTH_RATE_AWAY);
        ngx_http_opsauth_chunk_free(chunk);
        return;
    }

    if (ngx_queue_empty(&chunk->waiters)) {
        ngx_http_opsauth_chunk_free(chunk);
        return;
    }

    if (slot->refused > ngx_current_msec) {
        (void) ngx_http_opsauth_chunk_wake(chunk, (ngx_uint_t) -1,
                                           NGX_HTTP_OPSAUTH_RATE_EMPTY);
        ngx_http_opsauth_chunk_free(chunk);
        return;
    }

    /* more came than were asked for */

    waiting = ngx_http_opsauth_chunk_wake(chunk, 0, 0);

    if (ngx_http_opsauth_chunk_send(chunk, waiting) != NGX_OK) {
        (void) ngx_http_opsauth_chunk_wake(chunk, (ngx_uint_t) -1,
                                           NGX_HTTP_OPSAUTH_RATE_AWAY);
        ngx_http_opsauth_chunk_free(chunk);
    }
}


/* NGX_ERROR: no such reply as ours */

static ngx_int_t
ngx_http_opsauth_chunk_granted(ngx_http_opsauth_chunk_t *chunk,
    ngx_opsauth_reply_t *reply)
{
    int64_t                   n, wait;
    uint64_t                  now;
    ngx_uint_t                i, rest;
    ngx_opsauth_rate_slot_t  *slot;

    slot = chunk->slot;

    if (reply->type != NGX_OPSAUTH_REPLY_ARRAY || reply->cut
        || reply->elements == NULL || reply->n != 2 + chunk->limits.n)
    {
        return NGX_ERROR;
    }

    for (i = 0; i < reply->n; i++) {
        if (reply->elements[i].type != NGX_OPSAUTH_REPLY_INTEGER
            || reply->elements[i].integer < 0
            || reply->elements[i].integer
               > (int64_t) (OA_RATE_AHEAD_MAX / 16000))
        {
            return NGX_ERROR;
        }
    }

    n = reply->elements[0].integer;

    if (n > (int64_t) chunk->want) {
        return NGX_ERROR;
    }

    now = ngx_opsauth_rate_now();

    for (i = 0; i < chunk->limits.n; i++) {
        __atomic_store_n(&slot->tat[chunk->limits.limit[i].unit],
                         now + reply->elements[2 + i].integer * 16000,
                         __ATOMIC_RELAXED);
    }

    /* rounded down: asked once too often, not refused too long */

    wait = reply->elements[1].integer / 1000;

    slot->refused = (n < (int64_t) chunk->want)
                    ? ngx_current_msec
                      + ngx_max(1, ngx_min(wait,
                                           NGX_HTTP_OPSAUTH_RATE_REFUSE_MAX))
                    : 0;

    ngx_opsauth_rate_count(&chunk->store->rate, NGX_OPSAUTH_RATE_GRANTED,
                           (uint64_t) n);

    /* who waits spends it now; what is left over may be kept for a while */

    rest = (ngx_uint_t) n
           - ngx_http_opsauth_chunk_wake(chunk, (ngx_uint_t) n,
                                         NGX_HTTP_OPSAUTH_RATE_GRANTED);

    if (rest && ngx_current_msec - chunk->sent_at < chunk->age) {
        ngx_opsauth_rate_credit(slot, ngx_current_msec,
                                chunk->sent_at + chunk->age, rest);
    }

    return NGX_OK;
}


/* the first n that wait: how many those were. n == 0: how many wait */

static ngx_uint_t
ngx_http_opsauth_chunk_wake(ngx_http_opsauth_chunk_t *chunk, ngx_uint_t n,
    ngx_http_opsauth_rate_answer_e answer)
{
    ngx_uint_t               count;
    ngx_queue_t             *q;
    ngx_http_opsauth_ctx_t  *ctx;

    count = 0;

    if (answer == 0) {
        for (q = ngx_queue_head(&chunk->waiters);
             q != ngx_queue_sentinel(&chunk->waiters);
             q = ngx_queue_next(q))
        {
            count++;
        }

        return count;
    }

    while (count < n && !ngx_queue_empty(&chunk->waiters)) {
        q = ngx_queue_head(&chunk->waiters);
        ngx_queue_remove(q);

        ctx = (ngx_http_opsauth_ctx_t *)
              ((u_char *) q - offsetof(ngx_http_opsauth_ctx_t, rate)
               - offsetof(ngx_http_opsauth_rated_t, queue));

        ctx->rate.answer = answer;
        ctx->answered = 1;

        ngx_post_event(&ctx->event, &ngx_posted_events);

        count++;
    }

    return count;
}


static void
ngx_http_opsauth_chunk_free(ngx_http_opsauth_chunk_t *chunk)
{
    ngx_queue_remove(&chunk->queue);
    ngx_free(chunk);
}


ngx_int_t
ngx_http_opsauth_rate_node_start(ngx_http_opsauth_store_t *store,
    ngx_log_t *log)
{
    ngx_http_opsauth_worker_t     *worker;
    ngx_http_opsauth_rate_node_t  *node;

    worker = ngx_http_opsauth_worker(store);
    if (worker == NULL) {
        return NGX_ERROR;
    }

    node = ngx_calloc(sizeof(ngx_http_opsauth_rate_node_t), log);
    if (node == NULL) {
        return NGX_ERROR;
    }

    node->store = store;

    node->event.handler = ngx_http_opsauth_rate_node;
    node->event.data = node;
    node->event.log = ngx_cycle->log;
    node->event.cancelable = 1;

    worker->node = node;

    ngx_add_timer(&node->event, 1);

    return NGX_OK;
}


void
ngx_http_opsauth_rate_node_stop(ngx_http_opsauth_rate_node_t *node)
{
    if (node->event.timer_set) {
        ngx_del_timer(&node->event);
    }

    if (node->command) {
        ngx_opsauth_command_cancel(node->command);
    }

    ngx_free(node);
}


static void
ngx_http_opsauth_rate_node(ngx_event_t *ev)
{
    u_char                         hex[16], *p;
    ngx_str_t                      id;
    ngx_opsauth_redis_error_e      error;
    ngx_http_opsauth_rate_node_t  *node;

    node = ev->data;

    if (ngx_exiting || ngx_terminate || ngx_quit) {
        return;
    }

    p = ngx_sprintf(hex, "%016xL",
                    (int64_t) ngx_opsauth_rate_node(&node->store->rate));

    id.data = hex;
    id.len = p - hex;

    if (node->command == NULL) {
        node->command = ngx_opsauth_script(node->store->worker->redis,
                                           &ngx_http_opsauth_rate_nodes_script,
                                           &node->store->rate_nodes, 1, &id,
                                           ngx_http_opsauth_rate_node_answer,
                                           node, &error);
    }

    ngx_add_timer(ev, ngx_opsauth_rate_nodes(&node->store->rate)
                      ? NGX_HTTP_OPSAUTH_RATE_NODE_TIME : 1000);
}


static void
ngx_http_opsauth_rate_node_answer(void *data, ngx_opsauth_reply_t *reply,
    ngx_opsauth_redis_error_e error)
{
    ngx_http_opsauth_rate_node_t *node = data;

    node->command = NULL;

    if (error == NGX_OPSAUTH_REDIS_OK
        && reply->type == NGX_OPSAUTH_REPLY_INTEGER && reply->integer > 0
        && reply->integer <= OA_RATE_NODES_MAX)
    {
        ngx_opsauth_rate_set_nodes(&node->store->rate,
                                   (uint32_t) reply->integer);
    }
}
