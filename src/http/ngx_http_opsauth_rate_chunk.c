/*
 * Chunks of shared quotas: how much is asked of Redis, the script that grants
 * it, and who gets what was granted. rate_sync.c has the rules.
 *
 * A worker asks for one chunk of an account at a time; whoever finds none in
 * hand joins. What is granted goes to those who wait, the rest in hand.
 */

#include "ngx_http_opsauth.h"
#include "ngx_opsauth_command.h"


#define NGX_HTTP_OPSAUTH_RATE_CHUNKS      50        /* of a count */
#define NGX_HTTP_OPSAUTH_RATE_AGE_MIN     100       /* ms */
#define NGX_HTTP_OPSAUTH_RATE_AGE_MAX     10000
#define NGX_HTTP_OPSAUTH_RATE_REFUSE_MAX  1000      /* ms */
#define NGX_HTTP_OPSAUTH_RATE_WANT_MAX    100000

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
    ngx_msec_t                  refused;        /* as the slot's */
    size_t                      len;
    u_char                      name[128 + sizeof("rate:") + OA_ACCOUNT_MAX];
} ngx_http_opsauth_chunk_t;


static ngx_http_opsauth_chunk_t *ngx_http_opsauth_chunk(
    ngx_http_opsauth_ctx_t *ctx, ngx_opsauth_rate_slot_t *slot);
static ngx_int_t ngx_http_opsauth_chunk_send(ngx_http_opsauth_chunk_t *chunk,
    ngx_uint_t waiting);
static ngx_uint_t ngx_http_opsauth_chunk_own(ngx_http_opsauth_chunk_t *chunk);
static void ngx_http_opsauth_chunk_size(ngx_http_opsauth_chunk_t *chunk);
static uint32_t ngx_http_opsauth_rate_chunk_max(const oa_rate_t *limits);
static ngx_msec_t ngx_http_opsauth_rate_age(const oa_rate_t *limits);
static void ngx_http_opsauth_chunk_answer(void *data,
    ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error);
static ngx_int_t ngx_http_opsauth_chunk_granted(
    ngx_http_opsauth_chunk_t *chunk, ngx_opsauth_reply_t *reply);
static ngx_uint_t ngx_http_opsauth_chunk_wake(ngx_http_opsauth_chunk_t *chunk,
    ngx_uint_t n, ngx_http_opsauth_rate_answer_e answer);
static void ngx_http_opsauth_chunk_free(ngx_http_opsauth_chunk_t *chunk);


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


ngx_int_t
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

void
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

        if (chunk->key.k[0] == key.k[0] && chunk->key.k[1] == key.k[1]
            && chunk->limits.plan == ctx->rate.limits->plan)
        {
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

    chunk->want = waiting;
    chunk->age = ngx_http_opsauth_rate_age(&chunk->limits);
    chunk->refused = 0;

    if (ngx_http_opsauth_chunk_own(chunk)) {
        ngx_http_opsauth_chunk_size(chunk);
        chunk->want = ngx_max(slot->chunk, waiting);
    }

    chunk->want = ngx_min(chunk->want, NGX_HTTP_OPSAUTH_RATE_WANT_MAX);
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


/* is what the slot has in hand of this plan, or of none any more? */

static ngx_uint_t
ngx_http_opsauth_chunk_own(ngx_http_opsauth_chunk_t *chunk)
{
    ngx_opsauth_rate_slot_t  *slot;

    slot = chunk->slot;

    if (slot->plan == chunk->limits.plan) {
        return 1;
    }

    if (slot->pending > ngx_current_msec || slot->refused > ngx_current_msec
        || ngx_opsauth_rate_credits(slot, ngx_current_msec))
    {
        return 0;
    }

    slot->plan = chunk->limits.plan;
    slot->chunk = 0;

    return 1;
}


/* what to ask for, and how long it may be kept */

static void
ngx_http_opsauth_chunk_size(ngx_http_opsauth_chunk_t *chunk)
{
    uint32_t                  size;
    ngx_msec_t                passed;
    ngx_opsauth_rate_slot_t  *slot;

    slot = chunk->slot;

    passed = ngx_current_msec - (ngx_msec_t) slot->asked;
    size = slot->chunk;

    if (passed < chunk->age / 2) {
        size *= 2;

    } else if (passed > chunk->age) {
        size /= 2;
    }

    slot->chunk = ngx_max(1, ngx_min(size,
                             ngx_http_opsauth_rate_chunk_max(&chunk->limits)));
    slot->asked = ngx_current_msec;
}


static uint32_t
ngx_http_opsauth_rate_chunk_max(const oa_rate_t *limits)
{
    uint32_t    max;
    ngx_uint_t  i;

    max = NGX_HTTP_OPSAUTH_RATE_WANT_MAX;

    for (i = 0; i < limits->n; i++) {
        max = ngx_min(max, limits->limit[i].count
                           / NGX_HTTP_OPSAUTH_RATE_CHUNKS);
        max = ngx_min(max, limits->limit[i].burst);
    }

    return max;
}


/* of a small plan nothing is kept in hand, and nothing set aside for it */

static ngx_msec_t
ngx_http_opsauth_rate_age(const oa_rate_t *limits)
{
    ngx_msec_t  age;

    if (ngx_http_opsauth_rate_chunk_max(limits) < 2) {
        return 0;
    }

    age = oa_rate_unit_seconds(limits->limit[0].unit) * 1000
          / NGX_HTTP_OPSAUTH_RATE_CHUNKS;
    age = ngx_min(age, NGX_HTTP_OPSAUTH_RATE_AGE_MAX);

    return ngx_max(age, NGX_HTTP_OPSAUTH_RATE_AGE_MIN);
}


/* as the script: the bucket is smaller by what may be kept in hand */

uint64_t
ngx_http_opsauth_rate_until(const oa_rate_t *limits, const uint64_t *tat,
    uint64_t now)
{
    uint64_t                age, room, until;
    ngx_uint_t              i;
    const oa_rate_limit_t  *limit;

    age = ngx_http_opsauth_rate_age(limits) * OA_RATE_TICKS_PER_MS;
    until = 0;

    for (i = 0; i < limits->n; i++) {
        limit = &limits->limit[i];

        room = (limit->full > age) ? limit->full - age : 0;
        room = ngx_max(room, limit->interval);

        if (tat[i] > now && tat[i] - now + limit->interval > room) {
            until = ngx_max(until, tat[i] - now + limit->interval - room);
        }
    }

    return until;
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

        /* the connection's log is silent about this one */

        if (error == NGX_OPSAUTH_REDIS_WRONGTYPE
            && ngx_http_opsauth_log_once(chunk->store->worker,
                                         (u_char *) &chunk->key))
        {
            ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                          "opsauth: \"%*s\" is no hash: the rate of this "
                          "account is not shared", chunk->len, chunk->name);
        }

        (void) ngx_http_opsauth_chunk_wake(chunk, (ngx_uint_t) -1,
                                           NGX_HTTP_OPSAUTH_RATE_AWAY);
        ngx_http_opsauth_chunk_free(chunk);
        return;
    }

    if (ngx_queue_empty(&chunk->waiters)) {
        ngx_http_opsauth_chunk_free(chunk);
        return;
    }

    if (chunk->refused > ngx_current_msec) {
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

    chunk->refused = (n < (int64_t) chunk->want)
                     ? ngx_current_msec
                       + ngx_max(1, ngx_min(wait,
                                            NGX_HTTP_OPSAUTH_RATE_REFUSE_MAX))
                     : 0;

    if (slot->plan == chunk->limits.plan) {
        slot->refused = chunk->refused;
    }

    ngx_opsauth_rate_count(&chunk->store->rate, NGX_OPSAUTH_RATE_GRANTED,
                           (uint64_t) n);

    /* who waits spends it now; what is left over may be kept for a while */

    rest = (ngx_uint_t) n
           - ngx_http_opsauth_chunk_wake(chunk, (ngx_uint_t) n,
                                         NGX_HTTP_OPSAUTH_RATE_GRANTED);

    if (rest && slot->plan == chunk->limits.plan
        && ngx_current_msec - chunk->sent_at < chunk->age)
    {
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
