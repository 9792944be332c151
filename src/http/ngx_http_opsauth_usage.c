/*
 * From the counters in shared memory (src/shm) to the hashes usage:<id> in
 * Redis: once an interval the worker whose turn it is takes what was touched,
 * a batch of credentials at a time, and the next batch when the one before is
 * answered.
 *
 *   outcome of a command    | what becomes of its counts
 *   ------------------------+----------------------------------------------
 *   done                    | written
 *   certainly not done      | given back, for a later flush; longer and longer
 *                           | waits between these, up to a minute
 *   nobody knows (CLOSED,   | lost, and counted as lost: nothing is ever
 *   TIMEOUT)                | counted twice
 *   this key's own trouble  | lost
 *
 * It goes over a connection of its own: what is slow or refused here delays no
 * lookup, opens no breaker and costs no request anything.
 *
 * The timer keeps a worker that quits for as long as this one has counted what
 * it has not seen written: one tick at most, and the flush.
 */

#include "ngx_http_opsauth_usage.h"
#include "ngx_opsauth_command.h"


#define NGX_HTTP_OPSAUTH_USAGE_BATCH    64

/* of one credential: HINCRBY twice, HSET, EXPIRE, HDEL */
#define NGX_HTTP_OPSAUTH_USAGE_OPS      5

/* days, seconds: of keys, and of tokens, which are many and live shortly */
#define NGX_HTTP_OPSAUTH_USAGE_DAYS     400
#define NGX_HTTP_OPSAUTH_USAGE_KEEP     (NGX_HTTP_OPSAUTH_USAGE_DAYS * 86400)
#define NGX_HTTP_OPSAUTH_USAGE_TOKENS   (7 * 86400)

/* days whose fields one HDEL takes away */
#define NGX_HTTP_OPSAUTH_USAGE_PRUNE    31

/* ms: how often a worker looks whether it is its turn */
#define NGX_HTTP_OPSAUTH_USAGE_TICK_MIN  20
#define NGX_HTTP_OPSAUTH_USAGE_TICK_MAX  250

#define NGX_HTTP_OPSAUTH_USAGE_FIELD    (sizeof("requests:yyyymmdd"))


typedef enum {
    NGX_HTTP_OPSAUTH_USAGE_REQUESTS = 0,
    NGX_HTTP_OPSAUTH_USAGE_DENIED,
    NGX_HTTP_OPSAUTH_USAGE_LAST,
    NGX_HTTP_OPSAUTH_USAGE_REST
} ngx_http_opsauth_usage_op_e;


typedef struct {
    ngx_http_opsauth_usage_t       *usage;
    ngx_opsauth_usage_item_t       *item;
    ngx_http_opsauth_usage_op_e     type;
} ngx_http_opsauth_usage_op_t;


struct ngx_http_opsauth_usage_s {
    ngx_http_opsauth_store_t       *store;
    volatile ngx_cycle_t           *cycle;
    ngx_opsauth_redis_conf_t        conf;
    ngx_opsauth_redis_t            *redis;      /* made at the first flush */
    ngx_event_t                     timer;

    ngx_uint_t                      cursor;
    ngx_uint_t                      pending;    /* commands of the batch */
    uint64_t                        written;    /* requests of the batch */
    uint64_t                        lost;
    ngx_uint_t                      nops;

    unsigned                        failed:1;   /* something of the batch */
    unsigned                        sending:1;
    unsigned                        marked:1;   /* by this worker, and not seen
                                                   written since */

    ngx_opsauth_usage_item_t        items[NGX_HTTP_OPSAUTH_USAGE_BATCH];
    ngx_http_opsauth_usage_op_t     ops[NGX_HTTP_OPSAUTH_USAGE_BATCH
                                        * NGX_HTTP_OPSAUTH_USAGE_OPS];
};


static void ngx_http_opsauth_usage_tick(ngx_event_t *ev);
static void ngx_http_opsauth_usage_arm(ngx_http_opsauth_usage_t *usage);
static void ngx_http_opsauth_usage_flush(ngx_http_opsauth_usage_t *usage);
static void ngx_http_opsauth_usage_batches(ngx_http_opsauth_usage_t *usage);
static ngx_int_t ngx_http_opsauth_usage_batch(
    ngx_http_opsauth_usage_t *usage);
static void ngx_http_opsauth_usage_write(ngx_http_opsauth_usage_t *usage,
    ngx_opsauth_usage_item_t *item);
static void ngx_http_opsauth_usage_prune(ngx_http_opsauth_usage_t *usage,
    ngx_opsauth_usage_item_t *item, ngx_str_t *key);
static void ngx_http_opsauth_usage_send(ngx_http_opsauth_usage_t *usage,
    ngx_opsauth_usage_item_t *item, ngx_http_opsauth_usage_op_e type,
    ngx_uint_t n, ngx_str_t *words);
static void ngx_http_opsauth_usage_sent(void *data,
    ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error);
static void ngx_http_opsauth_usage_result(ngx_http_opsauth_usage_op_t *op,
    ngx_opsauth_redis_error_e error);
static void ngx_http_opsauth_usage_over(ngx_http_opsauth_usage_t *usage);
static u_char *ngx_http_opsauth_usage_field(u_char *p, const char *name,
    uint64_t seconds);
static void ngx_http_opsauth_usage_tell(ngx_http_opsauth_usage_t *usage);


ngx_http_opsauth_range_t  ngx_http_opsauth_usage_interval_range = {
    50, 3600 * 1000, "a time from 50ms to 1h, like \"1s\","
};


/* --- counting ------------------------------------------------------------ */

ngx_opsauth_usage_entry_t *
ngx_http_opsauth_usage_first(ngx_http_request_t *r,
    ngx_http_opsauth_ctx_t *ctx, ngx_opsauth_usage_entry_t *entry,
    uint64_t tag)
{
    uint32_t   keep;
    uint64_t   now;
    oa_addr_t  addr;

    now = (uint64_t) ngx_time();

    if (entry == NULL) {
        keep = (ctx->credential.kind == OA_KIND_API_KEY)
               ? NGX_HTTP_OPSAUTH_USAGE_KEEP : NGX_HTTP_OPSAUTH_USAGE_TOKENS;

        entry = ngx_opsauth_usage_insert(&ctx->store->usage, tag,
                                         ctx->credential.id, keep, now);
        if (entry == NULL) {
            return NULL;
        }
    }

    if (ctx->verdict.reason != OA_REASON_OK) {
        ngx_opsauth_usage_denied(entry, now);
        return entry;
    }

    ngx_http_opsauth_addr(r, &addr);
    ngx_opsauth_usage_used(entry, now, &addr);

    return entry;
}


void
ngx_http_opsauth_usage_touched(ngx_http_opsauth_store_t *store,
    ngx_opsauth_usage_entry_t *entry)
{
    ngx_http_opsauth_usage_t  *usage;

    ngx_opsauth_usage_touch(&store->usage, entry);

    usage = store->worker ? store->worker->usage : NULL;

    if (usage && !usage->marked) {
        usage->marked = 1;
        ngx_http_opsauth_usage_arm(usage);
    }
}


/* --- this process -------------------------------------------------------- */

void
ngx_http_opsauth_usage_start(ngx_http_opsauth_store_t *store)
{
    ngx_log_t                 *log;
    ngx_http_opsauth_usage_t  *usage;

    log = ngx_cycle->log;

    usage = ngx_calloc(sizeof(ngx_http_opsauth_usage_t), log);
    if (usage == NULL) {
        return;
    }

    usage->store = store;
    usage->cycle = ngx_cycle;

    usage->conf = store->redis;
    usage->conf.name = store->usage_name;
    usage->conf.client_name = store->usage_client_name;
    usage->conf.stats = NULL;       /* they are of the store's lookups */

    usage->timer.handler = ngx_http_opsauth_usage_tick;
    usage->timer.data = usage;
    usage->timer.log = log;

    store->worker->usage = usage;

    /* a worker that was killed may have left something behind: who comes in its
       place sees to it, at the latest when it quits */

    usage->marked = 1;

    ngx_http_opsauth_usage_arm(usage);
}


void
ngx_http_opsauth_usage_destroy(ngx_http_opsauth_worker_t *worker)
{
    ngx_http_opsauth_usage_t  *usage;

    usage = worker->usage;

    if (usage == NULL) {
        return;
    }

    worker->usage = NULL;
    usage->sending = 1;         /* what ends now begins nothing new */

    if (usage->redis) {
        ngx_opsauth_redis_destroy(usage->redis);
    }

    if (usage->timer.timer_set) {
        ngx_del_timer(&usage->timer);
    }

    ngx_free(usage);
}


static void
ngx_http_opsauth_usage_arm(ngx_http_opsauth_usage_t *usage)
{
    ngx_msec_t  tick;

    usage->timer.cancelable = !usage->marked;

    if (usage->timer.timer_set || (ngx_exiting && !usage->marked)) {
        return;
    }

    tick = ngx_min(usage->store->usage_interval / 4,
                   NGX_HTTP_OPSAUTH_USAGE_TICK_MAX);
    tick = ngx_max(tick, NGX_HTTP_OPSAUTH_USAGE_TICK_MIN);

    ngx_add_timer(&usage->timer, tick);
}


static void
ngx_http_opsauth_usage_tick(ngx_event_t *ev)
{
    ngx_http_opsauth_usage_t  *usage = ev->data;

    /* without processes of its own, a reload leaves the old cycle's timers
       running, and its memory may be gone */

    if (ngx_cycle != usage->cycle) {
        return;
    }

    if (usage->pending == 0
        && (ngx_exiting
            || ngx_opsauth_usage_turn(&usage->store->usage, ngx_current_msec,
                                      usage->store->usage_interval)
               == NGX_OK))
    {
        ngx_http_opsauth_usage_flush(usage);
    }

    ngx_http_opsauth_usage_arm(usage);
}


/* --- a flush ------------------------------------------------------------- */

static void
ngx_http_opsauth_usage_flush(ngx_http_opsauth_usage_t *usage)
{
    usage->marked = 0;
    usage->cursor = 0;

    ngx_opsauth_usage_check(&usage->store->usage);
    ngx_http_opsauth_usage_tell(usage);

    ngx_http_opsauth_usage_batches(usage);
}


static void
ngx_http_opsauth_usage_batches(ngx_http_opsauth_usage_t *usage)
{
    do {
        if (ngx_http_opsauth_usage_batch(usage) != NGX_OK) {
            return;
        }

        /* all of it may be over already: nothing could be sent */

    } while (usage->pending == 0 && !usage->failed);
}


/* NGX_DONE: nothing is left */

static ngx_int_t
ngx_http_opsauth_usage_batch(ngx_http_opsauth_usage_t *usage)
{
    ngx_uint_t  i, n;

    if (usage->redis == NULL) {
        usage->redis = ngx_opsauth_redis_create(&usage->conf, ngx_cycle->log);
        if (usage->redis == NULL) {
            return NGX_ERROR;
        }
    }

    n = ngx_opsauth_usage_take(&usage->store->usage, &usage->cursor,
                               usage->items, NGX_HTTP_OPSAUTH_USAGE_BATCH);
    if (n == 0) {
        return NGX_DONE;
    }

    usage->nops = 0;
    usage->written = 0;
    usage->lost = 0;
    usage->failed = 0;
    usage->sending = 1;

    for (i = 0; i < n; i++) {
        ngx_http_opsauth_usage_write(usage, &usage->items[i]);
    }

    usage->sending = 0;

    if (usage->pending == 0) {
        ngx_http_opsauth_usage_over(usage);
    }

    return NGX_OK;
}


static void
ngx_http_opsauth_usage_write(ngx_http_opsauth_usage_t *usage,
    ngx_opsauth_usage_item_t *item)
{
    u_char     *p, name[128 + sizeof("usage:") + OA_ID_MAX],
                field[NGX_HTTP_OPSAUTH_USAGE_FIELD], number[NGX_INT64_LEN],
                addr[NGX_SOCKADDR_STRLEN];
    ngx_str_t   words[6], key;

    p = ngx_cpymem(name, usage->store->usage_prefix.data,
                   usage->store->usage_prefix.len);
    key.data = name;
    key.len = ngx_cpymem(p, item->id, item->len) - name;

    words[1] = key;
    words[2].data = field;
    words[3].data = number;

    ngx_str_set(&words[0], "HINCRBY");

    if (item->requests) {
        words[2].len = ngx_http_opsauth_usage_field(field, "requests",
                                                    item->at) - field;
        words[3].len = ngx_sprintf(number, "%uL", item->requests) - number;

        ngx_http_opsauth_usage_send(usage, item,
                                    NGX_HTTP_OPSAUTH_USAGE_REQUESTS, 4, words);
    }

    if (item->denied) {
        words[2].len = ngx_http_opsauth_usage_field(field, "denied", item->at)
                       - field;
        words[3].len = ngx_sprintf(number, "%uL", item->denied) - number;

        ngx_http_opsauth_usage_send(usage, item,
                                    NGX_HTTP_OPSAUTH_USAGE_DENIED, 4, words);
    }

    if (item->last) {
        ngx_str_set(&words[0], "HSET");
        ngx_str_set(&words[2], "last_used");
        words[3].len = ngx_sprintf(number, "%uL", item->last) - number;
        ngx_str_set(&words[4], "last_ip");
        ngx_str_set(&words[5], "unix:");

        if (item->addr.family) {
            words[5].data = addr;
            words[5].len = ngx_inet_ntop(item->addr.family == 4 ? AF_INET
                                                                : AF_INET6,
                                         item->addr.bytes, addr, sizeof(addr));
        }

        ngx_http_opsauth_usage_send(usage, item, NGX_HTTP_OPSAUTH_USAGE_LAST,
                                    6, words);
    }

    ngx_str_set(&words[0], "EXPIRE");
    words[2].data = number;
    words[2].len = ngx_sprintf(number, "%uD", item->keep) - number;

    ngx_http_opsauth_usage_send(usage, item, NGX_HTTP_OPSAUTH_USAGE_REST, 3,
                                words);

    ngx_http_opsauth_usage_prune(usage, item, &key);
}


/*
 * Days that are too old, once a day: as many as have passed since the last time.
 * Who has not seen this credential before takes a month of them.
 */

static void
ngx_http_opsauth_usage_prune(ngx_http_opsauth_usage_t *usage,
    ngx_opsauth_usage_item_t *item, ngx_str_t *key)
{
    u_char     *p, fields[2 * NGX_HTTP_OPSAUTH_USAGE_PRUNE]
                         [NGX_HTTP_OPSAUTH_USAGE_FIELD];
    uint64_t    day, at;
    ngx_str_t   words[2 + 2 * NGX_HTTP_OPSAUTH_USAGE_PRUNE];
    ngx_uint_t  i, n;

    day = item->at / 86400;

    if (day <= item->day || item->keep < NGX_HTTP_OPSAUTH_USAGE_KEEP
        || day < NGX_HTTP_OPSAUTH_USAGE_DAYS + NGX_HTTP_OPSAUTH_USAGE_PRUNE)
    {
        return;
    }

    n = ngx_min(day - item->day, NGX_HTTP_OPSAUTH_USAGE_PRUNE);

    ngx_str_set(&words[0], "HDEL");
    words[1] = *key;

    for (i = 0; i < n; i++) {
        at = (day - NGX_HTTP_OPSAUTH_USAGE_DAYS - i) * 86400;

        p = ngx_http_opsauth_usage_field(fields[2 * i], "requests", at);
        words[2 + 2 * i].data = fields[2 * i];
        words[2 + 2 * i].len = p - fields[2 * i];

        p = ngx_http_opsauth_usage_field(fields[2 * i + 1], "denied", at);
        words[3 + 2 * i].data = fields[2 * i + 1];
        words[3 + 2 * i].len = p - fields[2 * i + 1];
    }

    ngx_http_opsauth_usage_send(usage, item, NGX_HTTP_OPSAUTH_USAGE_REST,
                                2 + 2 * n, words);
}


/* "requests:20270131", of the day in UTC */

static u_char *
ngx_http_opsauth_usage_field(u_char *p, const char *name, uint64_t seconds)
{
    ngx_tm_t  tm;

    ngx_gmtime((time_t) seconds, &tm);

    return ngx_sprintf(p, "%s:%04d%02d%02d", name, tm.ngx_tm_year,
                       tm.ngx_tm_mon, tm.ngx_tm_mday);
}


static void
ngx_http_opsauth_usage_send(ngx_http_opsauth_usage_t *usage,
    ngx_opsauth_usage_item_t *item, ngx_http_opsauth_usage_op_e type,
    ngx_uint_t n, ngx_str_t *words)
{
    ngx_opsauth_redis_error_e     error;
    ngx_http_opsauth_usage_op_t  *op;

    op = &usage->ops[usage->nops++];

    op->usage = usage;
    op->item = item;
    op->type = type;

    if (ngx_opsauth_command(usage->redis, n, words,
                            ngx_http_opsauth_usage_sent, op, &error)
        == NULL)
    {
        ngx_http_opsauth_usage_result(op, error);
        return;
    }

    usage->pending++;
}


static void
ngx_http_opsauth_usage_sent(void *data, ngx_opsauth_reply_t *reply,
    ngx_opsauth_redis_error_e error)
{
    ngx_http_opsauth_usage_op_t *op = data;

    ngx_http_opsauth_usage_t  *usage;

    usage = op->usage;

    /* written to a server that was replaced, and will be forgotten with it */

    if (error == NGX_OPSAUTH_REDIS_OK
        && ngx_opsauth_cache_replaced(&usage->store->cache,
                                      ngx_opsauth_redis_server(usage->redis),
                                      ngx_opsauth_redis_resolved(usage->redis)))
    {
        ngx_opsauth_redis_drop(usage->redis);
        error = NGX_OPSAUTH_REDIS_CLOSED;
    }

    ngx_http_opsauth_usage_result(op, error);

    if (--usage->pending || usage->sending) {
        return;
    }

    ngx_http_opsauth_usage_over(usage);

    if (!usage->failed) {
        ngx_http_opsauth_usage_batches(usage);
    }
}


static void
ngx_http_opsauth_usage_result(ngx_http_opsauth_usage_op_t *op,
    ngx_opsauth_redis_error_e error)
{
    uint64_t                   requests, denied;
    ngx_http_opsauth_usage_t  *usage;

    usage = op->usage;

    requests = (op->type == NGX_HTTP_OPSAUTH_USAGE_REQUESTS)
               ? op->item->requests : 0;
    denied = (op->type == NGX_HTTP_OPSAUTH_USAGE_DENIED) ? op->item->denied
                                                         : 0;
    switch (error) {

    case NGX_OPSAUTH_REDIS_OK:
        usage->written += requests;
        return;

    case NGX_OPSAUTH_REDIS_WRONGTYPE:

        /* the connection's log is silent about this one */

        if (ngx_http_opsauth_log_once(usage->store->worker,
                                      (u_char *) &op->item->tag))
        {
            ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                          "opsauth: \"%V%*s\" is no hash: the usage of this "
                          "credential is not kept",
                          &usage->store->usage_prefix,
                          (size_t) op->item->len, op->item->id);
        }

        /* fall through */

    case NGX_OPSAUTH_REDIS_ERROR:
        usage->lost += requests;
        return;

    case NGX_OPSAUTH_REDIS_CLOSED:
    case NGX_OPSAUTH_REDIS_TIMEOUT:
        usage->failed = 1;
        usage->lost += requests;
        return;

    default:
        usage->failed = 1;
        break;
    }

    if (op->type != NGX_HTTP_OPSAUTH_USAGE_REST) {
        ngx_opsauth_usage_give_back(&usage->store->usage, op->item, requests,
                                    denied,
                                    op->type == NGX_HTTP_OPSAUTH_USAGE_LAST);
        usage->marked |= !ngx_exiting;
    }
}


static void
ngx_http_opsauth_usage_over(ngx_http_opsauth_usage_t *usage)
{
    ngx_opsauth_usage_done(&usage->store->usage, usage->failed, usage->written,
                           usage->lost);

    if (usage->lost) {
        ngx_http_opsauth_usage_tell(usage);
    }
}


static void
ngx_http_opsauth_usage_tell(ngx_http_opsauth_usage_t *usage)
{
    uint64_t  lost;

    lost = ngx_opsauth_usage_untold(&usage->store->usage, ngx_current_msec);

    if (lost) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "opsauth: usage of store \"%V\": %uL requests so far "
                      "are in no count: either \"usage_zone\" is too small, "
                      "or Redis did not say whether it had written them",
                      &usage->store->name, lost);
    }
}


/* --- configuration ------------------------------------------------------- */

char *
ngx_http_opsauth_usage_finish(ngx_conf_t *cf, ngx_http_opsauth_store_t *store,
    uint32_t crc)
{
    u_char     *p;
    size_t      min;
    ngx_str_t   name;

    ngx_conf_init_value(store->usage_on, 0);
    ngx_conf_init_size_value(store->usage_size, 4 * 1024 * 1024);
    ngx_conf_init_msec_value(store->usage_interval, 1000);

    min = ngx_opsauth_zone_size_min();

    if (store->usage_size < min) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"usage_zone\" of %uz bytes in \"opsauth_store "
                           "%V\" is too small: it must be at least %uz bytes",
                           store->usage_size, &store->name, min);
        return NGX_CONF_ERROR;
    }

    if (!store->usage_on) {
        return NGX_CONF_OK;
    }

    p = ngx_pnalloc(cf->pool, 3 * store->name.len + store->prefix.len
                              + sizeof("opsauth_usage::") + 8
                              + sizeof("opsauth--usage")
                              + sizeof(" (usage)") + sizeof("usage:"));
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    name.data = p;
    p = ngx_sprintf(p, "opsauth_usage:%V:%08XD", &store->name, crc);
    name.len = p - name.data;

    store->usage_client_name.data = p;
    p = ngx_sprintf(p, "opsauth-%V-usage", &store->name);
    store->usage_client_name.len = p - store->usage_client_name.data;

    store->usage_name.data = p;
    p = ngx_sprintf(p, "%V (usage)", &store->name);
    store->usage_name.len = p - store->usage_name.data;

    store->usage_prefix.data = p;
    p = ngx_sprintf(p, "%Vusage:", &store->prefix);
    store->usage_prefix.len = p - store->usage_prefix.data;

    return (ngx_opsauth_usage_add(cf, &store->usage, &name, store->usage_size,
                                  &ngx_http_opsauth_module)
            == NGX_OK)
           ? NGX_CONF_OK : NGX_CONF_ERROR;
}
