/*
 * One connection, from DOWN to READY and back.
 *
 * | state      | event                        | action             | next
 * |------------|------------------------------|--------------------|-----------
 * | DOWN       | the user connects            | ask the sentinels  | ASKING
 * |            |                              | resolve a name     | RESOLVING
 * |            |                              | or take addresses  | CONNECTING
 * | ASKING     | see link_sentinel.c          | take their address | CONNECTING
 * | RESOLVING  | addresses, or none           | theirs, or conf's  | CONNECTING
 * | CONNECTING | connected                    | TLS, if it is to be| HANDSHAKE
 * |            |                              | write the greeting | GREETING
 * |            | refused                      | next address, fail | CONNECTING
 * | HANDSHAKE  | it is who it must be         | write the greeting | GREETING
 * |            | it is not, or no TLS         | fail               | DOWN
 * | GREETING   | all replies are there        | the user goes on   | READY
 * |            | AUTH or SELECT refused       | fail               | DOWN
 * | CONNECTING | connect_timeout since start, | fail               | DOWN
 * | HANDSHAKE, | closed, protocol error       |                    |
 * | GREETING   |                              |                    |
 * | READY      | closed, protocol error       | fail               | DOWN
 * | any        | c->close                     | quit               | DOWN
 *
 * fail, quit: the user's, who closes the link and sees to what it had under
 * way. An attempt is only ever begun by an event of the user's own, so a
 * connection that is lost stays NULL until the frames that used it are left.
 */

#include "ngx_opsauth_link.h"


#define NGX_OPSAUTH_LINK_READ_SIZE      16384

/* for one sentinel */
#define NGX_OPSAUTH_LINK_ASK_TIMEOUT    250


static void ngx_opsauth_link_open_next(ngx_opsauth_link_t *link,
    ngx_err_t err);
static ngx_int_t ngx_opsauth_link_open_addr(ngx_opsauth_link_t *link,
    ngx_addr_t *addr, ngx_err_t *err);
static void ngx_opsauth_link_connected(ngx_opsauth_link_t *link);
static void ngx_opsauth_link_timer_handler(ngx_event_t *ev);
static void ngx_opsauth_link_read_handler(ngx_event_t *rev);
static void ngx_opsauth_link_write_handler(ngx_event_t *wev);
static ngx_int_t ngx_opsauth_link_parse(ngx_opsauth_link_t *link,
    u_char *data, size_t len);
static void ngx_opsauth_link_close_socket(ngx_opsauth_link_t *link);


void
ngx_opsauth_link_init(ngx_opsauth_link_t *link,
    const ngx_opsauth_link_kind_t *kind, ngx_opsauth_redis_conf_t *conf,
    ngx_log_t *log)
{
    link->ident[3] = (void *) -1;
    link->kind = kind;
    link->conf = conf;
    link->log = log;

    link->timer.handler = ngx_opsauth_link_timer_handler;
    link->timer.data = link;
    link->timer.log = log;

    link->next.data = link;
    link->next.log = log;
}


void
ngx_opsauth_link_enter(ngx_opsauth_link_t *link)
{
    link->busy++;
}


void
ngx_opsauth_link_leave(ngx_opsauth_link_t *link)
{
    void                     (*release)(ngx_opsauth_redis_conf_t *conf);
    ngx_opsauth_redis_conf_t  *conf;

    if (--link->busy) {
        return;
    }

    link->kind->publish(link);

    if (link->doomed) {

        /* a node's configuration outlives the link, its own does not */

        conf = link->conf;
        release = conf->release;

        link->kind->free(link);

        if (release) {
            release(conf);
        }
    }
}


void
ngx_opsauth_link_connect(ngx_opsauth_link_t *link)
{
    link->server = 0;
    link->resolved = ngx_opsauth_link_now();
    link->logged = 0;
    link->heard = 0;
    link->addrs = link->conf->addrs;
    link->naddrs = link->conf->naddrs;
    link->host = link->conf->host;
    link->port = link->conf->port;
    link->tls_name = link->conf->tls_name;

    link->pool = ngx_create_pool(1024, link->log);

    if (link->pool == NULL || ngx_opsauth_link_decoder(link) != NGX_OK) {
        ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_DOWN, 0,
                              "there is no memory to connect");
        return;
    }

    if (link->conf->nsentinels) {
        ngx_opsauth_link_ask(link);
        return;
    }

    if (link->conf->resolver && link->host.len
        && ngx_opsauth_link_resolve(link) == NGX_OK)
    {
        return;
    }

    ngx_opsauth_link_open(link);
}


ngx_int_t
ngx_opsauth_link_decoder(ngx_opsauth_link_t *link)
{
    if (link->codec) {
        ngx_opsauth_codec_destroy(link->codec);
    }

    link->codec = ngx_opsauth_codec_create(link->kind->max_elements,
                                           link->kind->max_bytes);
    if (link->codec == NULL) {
        return NGX_ERROR;
    }

    if (link->kind->skip) {
        ngx_opsauth_codec_skip(link->codec);
    }

    if (link->kind->strings) {
        ngx_opsauth_codec_strings(link->codec);
    }

    return NGX_OK;
}


/*
 * "localhost" often has an address that nobody listens on: those that refuse
 * are passed by within one attempt, and the one that answers is kept.
 */

void
ngx_opsauth_link_open(ngx_opsauth_link_t *link)
{
    link->state = NGX_OPSAUTH_LINK_CONNECTING;
    link->tries = link->naddrs;

    ngx_add_timer(&link->timer,
                  link->sentinel
                  ? ngx_min(link->conf->connect_timeout,
                            NGX_OPSAUTH_LINK_ASK_TIMEOUT)
                  : link->conf->connect_timeout);

    ngx_opsauth_link_open_next(link, 0);
}


static void
ngx_opsauth_link_open_next(ngx_opsauth_link_t *link, ngx_err_t err)
{
    ngx_int_t    rc;
    ngx_addr_t  *addr;

    while (link->tries) {
        link->tries--;

        addr = &link->addrs[link->turn % link->naddrs];

        rc = ngx_opsauth_link_open_addr(link, addr, &err);

        if (rc == NGX_AGAIN) {
            return;
        }

        if (rc == NGX_OK) {
            ngx_opsauth_link_connected(link);
            return;
        }

        if (rc == NGX_ERROR) {
            break;
        }

        link->turn++;
    }

    ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_DOWN, err,
                          link->naddrs ? "connect() failed"
                          : link->conf->resolver
                          ? "its name can't be resolved"
                          : "its name can't be resolved: set nginx' "
                            "\"resolver\" in http");
}


static ngx_int_t
ngx_opsauth_link_open_addr(ngx_opsauth_link_t *link, ngx_addr_t *addr,
    ngx_err_t *err)
{
    ngx_int_t               rc;
    ngx_log_t              *log;
    ngx_uint_t              level;
    ngx_connection_t       *c;
    ngx_peer_connection_t  *pc;

    log = ngx_palloc(link->pool, sizeof(ngx_log_t));
    if (log == NULL) {
        return NGX_ERROR;
    }

    *log = *link->log;
    log->handler = ngx_opsauth_link_log_error;
    log->data = link;
    log->action = "connecting";

    pc = &link->peer;
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

    c->data = link;
    c->log = log;
    c->pool = link->pool;
    c->read->handler = ngx_opsauth_link_read_handler;
    c->write->handler = ngx_opsauth_link_write_handler;

    c->idle = link->kind->idle;

    log->connection = c->number;

    link->connection = c;

    if (c->tcp_nodelay == NGX_TCP_NODELAY_UNSET) {
        /* without it commands are late, no worse */
        (void) ngx_tcp_nodelay(c);
    }

    return rc;
}


static void
ngx_opsauth_link_connected(ngx_opsauth_link_t *link)
{
    int                err;
    socklen_t          len;
    ngx_connection_t  *c;

    c = link->connection;
    err = 0;
    len = sizeof(int);

    /* BSDs and Linux return 0 and set err, Solaris returns -1 */

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, (void *) &err, &len) == -1) {
        err = ngx_socket_errno;
    }

    if (err) {
        ngx_opsauth_link_close_socket(link);
        link->turn++;
        ngx_opsauth_link_open_next(link, err);
        return;
    }

    if (link->conf->tls) {
        ngx_opsauth_link_tls_start(link);

    } else {
        ngx_opsauth_link_begin(link);
    }
}


void
ngx_opsauth_link_begin(ngx_opsauth_link_t *link)
{
    ngx_connection_t  *c;

    c = link->connection;

    link->state = NGX_OPSAUTH_LINK_GREETING;
    c->log->action = "greeting";

    ngx_opsauth_link_greet(link);

    /* it may have spoken first */

    if (link->connection == c && c->read->ready) {
        ngx_opsauth_link_read(link);
    }
}


static void
ngx_opsauth_link_timer_handler(ngx_event_t *ev)
{
    const char          *why;
    ngx_opsauth_link_t  *link;

    link = ev->data;

    ngx_opsauth_link_enter(link);

    switch (link->state) {

    case NGX_OPSAUTH_LINK_GREETING:
        why = "it does not answer the greeting";
        break;

    case NGX_OPSAUTH_LINK_HANDSHAKE:
        why = "it does not answer the TLS handshake; if it does not speak "
              "TLS on this port, use that of its \"tls-port\", or redis://";
        break;

    default:
        why = "connecting takes too long";
        break;
    }

    ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_TIMEOUT, 0, why);

    ngx_opsauth_link_leave(link);
}


static void
ngx_opsauth_link_read_handler(ngx_event_t *rev)
{
    ngx_connection_t    *c;
    ngx_opsauth_link_t  *link;

    c = rev->data;
    link = c->data;

    ngx_opsauth_link_enter(link);

    if (c->close) {

        /* nginx closes what is idle, or everything (worker_shutdown_timeout) */

        link->kind->quit(link);

    } else if (link->state == NGX_OPSAUTH_LINK_CONNECTING) {

        /* the write event tells of success, this one of failure at most */

        if (c->write->ready) {
            ngx_opsauth_link_connected(link);
        }

    } else if (link->state == NGX_OPSAUTH_LINK_HANDSHAKE) {
        ngx_opsauth_link_tls_handshake(link);

    } else {
        ngx_opsauth_link_read(link);
    }

    link->kind->rest(link);

    ngx_opsauth_link_leave(link);
}


static void
ngx_opsauth_link_write_handler(ngx_event_t *wev)
{
    ngx_connection_t    *c;
    ngx_opsauth_link_t  *link;

    c = wev->data;
    link = c->data;

    ngx_opsauth_link_enter(link);

    if (c->close) {

        /* by way of OpenSSL, where a write waits for something to read */

        link->kind->quit(link);
        link->kind->rest(link);
        ngx_opsauth_link_leave(link);
        return;
    }

    switch (link->state) {

    case NGX_OPSAUTH_LINK_CONNECTING:
        ngx_opsauth_link_connected(link);
        break;

    case NGX_OPSAUTH_LINK_HANDSHAKE:
        ngx_opsauth_link_tls_handshake(link);
        break;

    case NGX_OPSAUTH_LINK_GREETING:
        ngx_opsauth_link_greet_write(link);
        break;

    default:

        /* epoll tells of it with every reply; poll must be told to stop */

        link->kind->write(link);
        break;
    }

    link->kind->rest(link);

    ngx_opsauth_link_leave(link);
}


void
ngx_opsauth_link_read(ngx_opsauth_link_t *link)
{
    ssize_t            n;
    u_char             buf[NGX_OPSAUTH_LINK_READ_SIZE];
    ngx_connection_t  *c;

    c = link->connection;

    do {
        n = c->recv(c, buf, sizeof(buf));

        if (n == NGX_AGAIN) {
            break;
        }

        if (n <= 0) {
            ngx_opsauth_link_lost(link, n, n ? ngx_socket_errno : 0);
            return;
        }

        if (link->state == NGX_OPSAUTH_LINK_READY) {
            link->kind->heard(link);
        }

        if (ngx_opsauth_link_parse(link, buf, n) != NGX_OK) {
            return;
        }

    } while (c->read->ready);

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_CLOSED, 0,
                              "its socket can't be watched");
    }
}


/* NGX_DECLINED: the connection is gone */

static ngx_int_t
ngx_opsauth_link_parse(ngx_opsauth_link_t *link, u_char *data, size_t len)
{
    ngx_int_t             rc;
    ngx_connection_t     *c;
    ngx_opsauth_reply_t  *reply;

    c = link->connection;

    if (!link->heard) {
        link->heard = 1;

        /* an alert's record begins like this, and no reply */

        if (len && data[0] == 0x15 && !link->conf->tls) {
            ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_UNTRUSTED, 0,
                                  "it speaks TLS on this port: use rediss://, "
                                  "or its plain port");
            return NGX_DECLINED;
        }
    }

    rc = ngx_opsauth_codec_feed(link->codec, data, len);

    while (rc == NGX_OK) {

        rc = ngx_opsauth_codec_next(link->codec, &reply);

        if (rc != NGX_OK) {
            break;
        }

        if (link->state == NGX_OPSAUTH_LINK_GREETING) {
            ngx_opsauth_link_greet_reply(link, reply);

        } else {
            link->kind->reply(link, reply);
        }

        if (link->connection != c) {
            return NGX_DECLINED;
        }
    }

    if (rc == NGX_AGAIN) {
        return NGX_OK;
    }

    ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_ERROR, 0,
                          "what it sent is no Redis protocol, or too long");

    return NGX_DECLINED;
}


ngx_int_t
ngx_opsauth_link_send(ngx_opsauth_link_t *link, ngx_buf_t *out)
{
    ssize_t            n;
    ngx_connection_t  *c;

    c = link->connection;

    while (out->pos < out->last && c->write->ready) {

        n = c->send(c, out->pos, out->last - out->pos);

        if (n == NGX_ERROR) {
            ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_CLOSED,
                                  ngx_socket_errno, "send() failed");
            return NGX_ERROR;
        }

        if (n <= 0) {
            break;
        }

        out->pos += n;
    }

    if (ngx_handle_write_event(c->write, 0) != NGX_OK) {
        ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_CLOSED, 0,
                              "its socket can't be watched");
        return NGX_ERROR;
    }

    return NGX_OK;
}


void
ngx_opsauth_link_fail(ngx_opsauth_link_t *link,
    ngx_opsauth_redis_error_e error, ngx_err_t err, const char *why)
{
    if (link->sentinel && link->watched == NULL) {
        ngx_opsauth_link_ask_failed(link, err, why);
        return;
    }

    link->kind->fail(link, error, err, why);
}


void
ngx_opsauth_link_close(ngx_opsauth_link_t *link)
{
    link->state = NGX_OPSAUTH_LINK_DOWN;
    link->server = 0;

    link->sentinel = NULL;
    link->ask = NULL;

    if (link->next.posted) {
        ngx_delete_posted_event(&link->next);
    }

    ngx_opsauth_link_hang_up(link);

    if (link->codec) {
        ngx_opsauth_codec_destroy(link->codec);
        link->codec = NULL;
    }

    if (link->pool) {
        ngx_destroy_pool(link->pool);
        link->pool = NULL;
    }
}


void
ngx_opsauth_link_hang_up(ngx_opsauth_link_t *link)
{
    if (link->timer.timer_set) {
        ngx_del_timer(&link->timer);
    }

    if (link->resolving) {
        ngx_resolve_name_done(link->resolving);
        link->resolving = NULL;
    }

    ngx_opsauth_link_close_socket(link);
    ngx_opsauth_link_greet_wipe(link);
}


static void
ngx_opsauth_link_close_socket(ngx_opsauth_link_t *link)
{
    if (link->connection) {
        ngx_opsauth_link_tls_close(link);
        ngx_close_connection(link->connection);
        link->connection = NULL;
    }

    link->tls = NULL;
}


void
ngx_opsauth_link_cleanup(ngx_opsauth_link_t *link)
{
    ngx_opsauth_link_tls_forget(link);
}


ngx_msec_t
ngx_opsauth_link_now(void)
{
    return (ngx_msec_t) (ngx_opsauth_stats_now() / 1000);
}


uint64_t
ngx_opsauth_link_now_us(void)
{
    return ngx_opsauth_stats_now();
}
