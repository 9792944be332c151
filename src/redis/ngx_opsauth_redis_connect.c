/*
 * One connection, from DOWN to READY and back.
 *
 * | state      | event                        | action             | next
 * |------------|------------------------------|--------------------|-----------
 * | DOWN       | commands queued              | resolve a name     | RESOLVING
 * |            |                              | or take addresses  | CONNECTING
 * | RESOLVING  | addresses, or none           | theirs, or conf's  | CONNECTING
 * | CONNECTING | connected                    | write the greeting | GREETING
 * |            | refused                      | next address, fail | CONNECTING
 * | GREETING   | all replies are there        | flush commands     | READY
 * |            | AUTH or SELECT refused       | fail               | DOWN
 * | CONNECTING | connect_timeout since start, | fail               | DOWN
 * | GREETING   | closed, protocol error       |                    |
 * | READY      | closed, commands unheard     | keep them, again   | DOWN
 * |            | closed, no command           | nothing            | DOWN
 * |            | closed otherwise, hang,      | fail               | DOWN
 * |            | protocol error, NOAUTH       |                    |
 * | any        | c->close, destroy            | end all, no wait   | DOWN
 *
 * fail: ends the queued commands, starts a backoff, logs a change of state.
 * An attempt is only ever begun by the posted flush event, so a connection that
 * is lost stays NULL until the frames that used it are left.
 */

#include "ngx_opsauth_redis_conn.h"


#define NGX_OPSAUTH_REDIS_BACKOFF_MIN    50
#define NGX_OPSAUTH_REDIS_BACKOFF_MAX    5000
/* where the next attempt is unlikely to fare better */
#define NGX_OPSAUTH_REDIS_BACKOFF_FLOOR  1000

#define NGX_OPSAUTH_REDIS_READ_SIZE      16384
/* one reply; a record beyond that costs the connection */
#define NGX_OPSAUTH_REDIS_REPLY_ELEMENTS 64
#define NGX_OPSAUTH_REDIS_REPLY_BYTES    (256 * 1024)


static ngx_int_t ngx_opsauth_redis_resolve(ngx_opsauth_redis_t *redis);
static void ngx_opsauth_redis_resolve_handler(ngx_resolver_ctx_t *ctx);
static ngx_int_t ngx_opsauth_redis_copy_addrs(ngx_opsauth_redis_t *redis,
    ngx_resolver_ctx_t *ctx);
static void ngx_opsauth_redis_open(ngx_opsauth_redis_t *redis);
static void ngx_opsauth_redis_open_next(ngx_opsauth_redis_t *redis,
    ngx_err_t err);
static ngx_int_t ngx_opsauth_redis_open_addr(ngx_opsauth_redis_t *redis,
    ngx_addr_t *addr, ngx_err_t *err);
static void ngx_opsauth_redis_connected(ngx_opsauth_redis_t *redis);
static void ngx_opsauth_redis_read_handler(ngx_event_t *rev);
static void ngx_opsauth_redis_write_handler(ngx_event_t *wev);
static ngx_int_t ngx_opsauth_redis_parse(ngx_opsauth_redis_t *redis,
    u_char *data, size_t len);
static void ngx_opsauth_redis_backoff(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_error_e error);
static void ngx_opsauth_redis_close(ngx_opsauth_redis_t *redis);
static void ngx_opsauth_redis_close_socket(ngx_opsauth_redis_t *redis);


void
ngx_opsauth_redis_connect(ngx_opsauth_redis_t *redis)
{
    redis->marked = 0;
    redis->logged = 0;
    redis->addrs = redis->conf->addrs;
    redis->naddrs = redis->conf->naddrs;

    redis->pool = ngx_create_pool(1024, redis->log);
    redis->codec = ngx_opsauth_codec_create(NGX_OPSAUTH_REDIS_REPLY_ELEMENTS,
                                            NGX_OPSAUTH_REDIS_REPLY_BYTES);

    if (redis->pool == NULL || redis->codec == NULL) {
        ngx_opsauth_redis_fail(redis, NGX_OPSAUTH_REDIS_DOWN, 0,
                               "there is no memory to connect");
        return;
    }

    if (redis->conf->resolver && redis->conf->host.len
        && ngx_opsauth_redis_resolve(redis) == NGX_OK)
    {
        return;
    }

    ngx_opsauth_redis_open(redis);
}


/* NGX_OK: the handler has been called or will be */

static ngx_int_t
ngx_opsauth_redis_resolve(ngx_opsauth_redis_t *redis)
{
    ngx_str_t            name;
    ngx_resolver_ctx_t  *ctx;

    /* the resolver lowers its case in place */

    name.len = redis->conf->host.len;
    name.data = ngx_pstrdup(redis->pool, &redis->conf->host);
    if (name.data == NULL) {
        return NGX_ERROR;
    }

    ctx = ngx_resolve_start(redis->conf->resolver, NULL);

    if (ctx == NULL || ctx == NGX_NO_RESOLVER) {
        return NGX_DECLINED;
    }

    ctx->name = name;
    ctx->handler = ngx_opsauth_redis_resolve_handler;
    ctx->data = redis;
    ctx->timeout = ngx_min(redis->conf->resolver_timeout,
                           redis->conf->connect_timeout);

    redis->resolving = ctx;
    redis->state = NGX_OPSAUTH_REDIS_ST_RESOLVING;

    if (ngx_resolve_name(ctx) != NGX_OK) {
        /* and ctx is freed */
        redis->resolving = NULL;
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* may be called from within ngx_resolve_name() */

static void
ngx_opsauth_redis_resolve_handler(ngx_resolver_ctx_t *ctx)
{
    ngx_uint_t            level;
    ngx_opsauth_redis_t  *redis;

    redis = ctx->data;

    ngx_opsauth_redis_enter(redis);

    redis->resolving = NULL;

    if (ctx->state) {
        level = redis->trouble ? NGX_LOG_INFO : NGX_LOG_WARN;

        ngx_log_error(level, redis->log, 0,
                      "opsauth: redis \"%V\": \"%V\" could not be resolved "
                      "(%i: %s), going on with the addresses of the start",
                      &redis->conf->url, &ctx->name, ctx->state,
                      ngx_resolver_strerror(ctx->state));

    } else if (ngx_opsauth_redis_copy_addrs(redis, ctx) != NGX_OK) {
        redis->addrs = redis->conf->addrs;
        redis->naddrs = redis->conf->naddrs;
    }

    ngx_resolve_name_done(ctx);

    ngx_opsauth_redis_open(redis);

    ngx_opsauth_redis_leave(redis);
}


static ngx_int_t
ngx_opsauth_redis_copy_addrs(ngx_opsauth_redis_t *redis,
    ngx_resolver_ctx_t *ctx)
{
    u_char           *p;
    ngx_uint_t        i;
    ngx_addr_t       *addrs;
    struct sockaddr  *sockaddr;

    addrs = ngx_palloc(redis->pool, ctx->naddrs * sizeof(ngx_addr_t));
    if (addrs == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < ctx->naddrs; i++) {

        sockaddr = ngx_palloc(redis->pool, ctx->addrs[i].socklen);
        p = ngx_pnalloc(redis->pool, NGX_SOCKADDR_STRLEN);

        if (sockaddr == NULL || p == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(sockaddr, ctx->addrs[i].sockaddr, ctx->addrs[i].socklen);
        ngx_inet_set_port(sockaddr, redis->conf->port);

        addrs[i].sockaddr = sockaddr;
        addrs[i].socklen = ctx->addrs[i].socklen;
        addrs[i].name.data = p;
        addrs[i].name.len = ngx_sock_ntop(sockaddr, addrs[i].socklen, p,
                                          NGX_SOCKADDR_STRLEN, 1);
    }

    redis->addrs = addrs;
    redis->naddrs = ctx->naddrs;

    return NGX_OK;
}


/*
 * "localhost" often has an address that nobody listens on: those that refuse
 * are passed by within one attempt, and the one that answers is kept.
 */

static void
ngx_opsauth_redis_open(ngx_opsauth_redis_t *redis)
{
    redis->state = NGX_OPSAUTH_REDIS_ST_CONNECTING;
    redis->tries = redis->naddrs;

    redis->timer.cancelable = 0;
    ngx_add_timer(&redis->timer, redis->conf->connect_timeout);

    ngx_opsauth_redis_open_next(redis, 0);
}


static void
ngx_opsauth_redis_open_next(ngx_opsauth_redis_t *redis, ngx_err_t err)
{
    ngx_int_t    rc;
    ngx_addr_t  *addr;

    while (redis->tries) {
        redis->tries--;

        addr = &redis->addrs[redis->turn % redis->naddrs];

        rc = ngx_opsauth_redis_open_addr(redis, addr, &err);

        if (rc == NGX_AGAIN) {
            return;
        }

        if (rc == NGX_OK) {
            ngx_opsauth_redis_connected(redis);
            return;
        }

        if (rc == NGX_ERROR) {
            break;
        }

        redis->turn++;
    }

    ngx_opsauth_redis_fail(redis, NGX_OPSAUTH_REDIS_DOWN, err,
                           "connect() failed");
}


static ngx_int_t
ngx_opsauth_redis_open_addr(ngx_opsauth_redis_t *redis, ngx_addr_t *addr,
    ngx_err_t *err)
{
    ngx_int_t               rc;
    ngx_log_t              *log;
    ngx_uint_t              level;
    ngx_connection_t       *c;
    ngx_peer_connection_t  *pc;

    log = ngx_palloc(redis->pool, sizeof(ngx_log_t));
    if (log == NULL) {
        return NGX_ERROR;
    }

    *log = *redis->log;
    log->handler = ngx_opsauth_redis_log_error;
    log->data = redis;
    log->action = "connecting";

    pc = &redis->peer;
    ngx_memzero(pc, sizeof(ngx_peer_connection_t));

    pc->sockaddr = addr->sockaddr;
    pc->socklen = addr->socklen;
    pc->name = &addr->name;
    pc->get = ngx_event_get_peer;
    pc->log = log;
    pc->log_error = NGX_ERROR_INFO;
    pc->so_keepalive = 1;

    /* a refusal is our one line's to tell, not a line of each attempt's */

    level = log->log_level;

    if (level < NGX_LOG_DEBUG) {
        log->log_level = ngx_min(level, NGX_LOG_ALERT);
    }

    ngx_set_errno(0);

    rc = ngx_event_connect_peer(pc);

    *err = ngx_socket_errno;
    log->log_level = level;

    if (rc != NGX_OK && rc != NGX_AGAIN) {
        return (rc == NGX_DECLINED) ? NGX_DECLINED : NGX_ERROR;
    }

    c = pc->connection;

    c->data = redis;
    c->log = log;
    c->pool = redis->pool;
    c->read->handler = ngx_opsauth_redis_read_handler;
    c->write->handler = ngx_opsauth_redis_write_handler;

    log->connection = c->number;

    redis->connection = c;

    if (c->tcp_nodelay == NGX_TCP_NODELAY_UNSET) {
        /* without it commands are late, no worse */
        (void) ngx_tcp_nodelay(c);
    }

    return rc;
}


static void
ngx_opsauth_redis_connected(ngx_opsauth_redis_t *redis)
{
    int                err;
    socklen_t          len;
    ngx_connection_t  *c;

    c = redis->connection;
    err = 0;
    len = sizeof(int);

    /* BSDs and Linux return 0 and set err, Solaris returns -1 */

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, (void *) &err, &len) == -1) {
        err = ngx_socket_errno;
    }

    if (err) {
        ngx_opsauth_redis_close_socket(redis);
        redis->turn++;
        ngx_opsauth_redis_open_next(redis, err);
        return;
    }

    redis->state = NGX_OPSAUTH_REDIS_ST_GREETING;
    c->log->action = "greeting";

    ngx_opsauth_redis_greet(redis);

    /* it may have spoken first */

    if (redis->connection == c && c->read->ready) {
        ngx_opsauth_redis_read(redis);
    }
}


void
ngx_opsauth_redis_attempt_timeout(ngx_opsauth_redis_t *redis)
{
    ngx_opsauth_redis_fail(redis, NGX_OPSAUTH_REDIS_TIMEOUT, 0,
                           redis->state == NGX_OPSAUTH_REDIS_ST_GREETING
                           ? "it does not answer the greeting"
                           : "connecting takes too long");
}


static void
ngx_opsauth_redis_read_handler(ngx_event_t *rev)
{
    ngx_connection_t     *c;
    ngx_opsauth_redis_t  *redis;

    c = rev->data;
    redis = c->data;

    ngx_opsauth_redis_enter(redis);

    if (c->close) {

        /* nginx closes what is idle, or everything (worker_shutdown_timeout) */

        if (c->error) {
            redis->closing = 1;
        }

        ngx_opsauth_redis_quit(redis);

    } else if (redis->state == NGX_OPSAUTH_REDIS_ST_CONNECTING) {

        /* the write event tells of success, this one of failure at most */

        if (c->write->ready) {
            ngx_opsauth_redis_connected(redis);
        }

    } else {
        ngx_opsauth_redis_read(redis);
    }

    ngx_opsauth_redis_rest(redis);

    ngx_opsauth_redis_leave(redis);
}


static void
ngx_opsauth_redis_write_handler(ngx_event_t *wev)
{
    ngx_connection_t     *c;
    ngx_opsauth_redis_t  *redis;

    c = wev->data;
    redis = c->data;

    ngx_opsauth_redis_enter(redis);

    switch (redis->state) {

    case NGX_OPSAUTH_REDIS_ST_CONNECTING:
        ngx_opsauth_redis_connected(redis);
        break;

    case NGX_OPSAUTH_REDIS_ST_GREETING:
        ngx_opsauth_redis_greet_write(redis);
        break;

    default:

        /* epoll tells of it with every reply; poll must be told to stop */

        if (redis->out.pos < redis->out.last
            || !(ngx_event_flags & NGX_USE_CLEAR_EVENT))
        {
            ngx_opsauth_redis_flush(redis);
        }

        break;
    }

    ngx_opsauth_redis_rest(redis);

    ngx_opsauth_redis_leave(redis);
}


void
ngx_opsauth_redis_read(ngx_opsauth_redis_t *redis)
{
    ssize_t            n;
    u_char             buf[NGX_OPSAUTH_REDIS_READ_SIZE];
    ngx_connection_t  *c;

    c = redis->connection;

    do {
        n = c->recv(c, buf, sizeof(buf));

        if (n == NGX_AGAIN) {
            break;
        }

        if (n <= 0) {
            ngx_opsauth_redis_fail(redis, NGX_OPSAUTH_REDIS_CLOSED,
                                   n ? ngx_socket_errno : 0,
                                   n ? "recv() failed"
                                     : "it closed the connection");
            return;
        }

        if (redis->state == NGX_OPSAUTH_REDIS_ST_READY) {
            redis->heard = redis->flushes;
        }

        if (ngx_opsauth_redis_parse(redis, buf, n) != NGX_OK) {
            return;
        }

    } while (c->read->ready);

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_opsauth_redis_fail(redis, NGX_OPSAUTH_REDIS_CLOSED, 0,
                               "its socket can't be watched");
    }
}


/* NGX_DECLINED: the connection is gone */

static ngx_int_t
ngx_opsauth_redis_parse(ngx_opsauth_redis_t *redis, u_char *data, size_t len)
{
    ngx_int_t             rc;
    ngx_connection_t     *c;
    ngx_opsauth_reply_t  *reply;

    c = redis->connection;

    rc = ngx_opsauth_codec_feed(redis->codec, data, len);

    while (rc == NGX_OK) {

        rc = ngx_opsauth_codec_next(redis->codec, &reply);

        if (rc != NGX_OK) {
            break;
        }

        if (redis->state == NGX_OPSAUTH_REDIS_ST_GREETING) {
            ngx_opsauth_redis_greet_reply(redis, reply);

        } else {
            ngx_opsauth_redis_reply(redis, reply);
        }

        if (redis->connection != c) {
            return NGX_DECLINED;
        }
    }

    if (rc == NGX_AGAIN) {
        return NGX_OK;
    }

    ngx_opsauth_redis_fail(redis, NGX_OPSAUTH_REDIS_ERROR, 0,
                           "what it sent is no Redis protocol, or too long");

    return NGX_DECLINED;
}


void
ngx_opsauth_redis_fail(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_error_e error, ngx_err_t err, const char *why)
{
    ngx_uint_t                 live, kept, ready;
    ngx_opsauth_redis_error_e  given;

    live = ngx_opsauth_redis_live(redis) || !ngx_queue_empty(&redis->ending);
    ready = (redis->state == NGX_OPSAUTH_REDIS_ST_READY);

    given = error;

    if (error != NGX_OPSAUTH_REDIS_DENIED) {

        if (!ready) {
            given = NGX_OPSAUTH_REDIS_DOWN;

        } else if (error == NGX_OPSAUTH_REDIS_ERROR) {
            given = NGX_OPSAUTH_REDIS_CLOSED;
        }
    }

    kept = ngx_opsauth_redis_take(redis, ready
                                         && error == NGX_OPSAUTH_REDIS_CLOSED,
                                  given);

    ngx_opsauth_redis_close(redis);

    if (kept) {
        ngx_log_error(NGX_LOG_INFO, redis->log, err,
                      "opsauth: redis \"%V\": %s, asking again on a new "
                      "connection", &redis->conf->url, why);

        ngx_post_event(&redis->flush, &ngx_posted_events);

    } else if (!ready || live || error != NGX_OPSAUTH_REDIS_CLOSED) {
        redis->turn++;
        ngx_opsauth_redis_backoff(redis, error);
        ngx_opsauth_redis_trouble(redis, error, err, why);
    }

    ngx_opsauth_redis_end(redis);
}


/* a fatal error reply */

void
ngx_opsauth_redis_fail_reply(ngx_opsauth_redis_t *redis,
    const ngx_opsauth_redis_entry_t *entry, ngx_opsauth_reply_t *reply,
    const char *command)
{
    u_char     why[256];
    ngx_str_t  word;

    word = ngx_opsauth_redis_error_word(reply);

    (void) ngx_snprintf(why, sizeof(why), "it answers %s with %V%s%s%Z",
                        command, &word, entry->remedy ? ", " : "",
                        entry->remedy ? entry->remedy : "");

    ngx_opsauth_redis_fail(redis, entry->error, 0, (char *) why);
}


void
ngx_opsauth_redis_quit(ngx_opsauth_redis_t *redis)
{
    (void) ngx_opsauth_redis_take(redis, 0, NGX_OPSAUTH_REDIS_CLOSED);

    ngx_opsauth_redis_close(redis);

    ngx_opsauth_redis_end(redis);
}


/* full jitter: workers that lost one Redis do not return to it in step */

static void
ngx_opsauth_redis_backoff(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_error_e error)
{
    ngx_msec_t  step, wait;

    step = NGX_OPSAUTH_REDIS_BACKOFF_MIN << ngx_min(redis->failures, 10);
    step = ngx_min(step, NGX_OPSAUTH_REDIS_BACKOFF_MAX);

    wait = (ngx_msec_t) ngx_random() % (step + 1);

    if (ngx_opsauth_redis_class(error)) {
        wait += NGX_OPSAUTH_REDIS_BACKOFF_FLOOR;
    }

    redis->failures++;
    redis->retry_at = ngx_current_msec
                      + ngx_min(wait, NGX_OPSAUTH_REDIS_BACKOFF_MAX);
}


static void
ngx_opsauth_redis_close(ngx_opsauth_redis_t *redis)
{
    redis->state = NGX_OPSAUTH_REDIS_ST_DOWN;

    if (redis->timer.timer_set) {
        ngx_del_timer(&redis->timer);
    }

    if (redis->resolving) {
        ngx_resolve_name_done(redis->resolving);
        redis->resolving = NULL;
    }

    ngx_opsauth_redis_close_socket(redis);
    ngx_opsauth_redis_greet_wipe(redis);

    if (redis->codec) {
        ngx_opsauth_codec_destroy(redis->codec);
        redis->codec = NULL;
    }

    if (redis->pool) {
        ngx_destroy_pool(redis->pool);
        redis->pool = NULL;
    }
}


static void
ngx_opsauth_redis_close_socket(ngx_opsauth_redis_t *redis)
{
    if (redis->connection) {
        ngx_close_connection(redis->connection);
        redis->connection = NULL;
    }
}
