/*
 * The least that asking Redis at each request can be, for scale: an access
 * handler that sends one HMGET, always the same, and lets the request go on with
 * whatever comes back. All commands of a turn of nginx's loop leave in one write.
 * No key is looked at, no reply is parsed, no failure dealt with: nothing to be
 * used.
 *
 *     bench_ask PORT;         of Redis, on 127.0.0.1
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_connect.h>
#include <ngx_http.h>

#include "scale.h"


/* more requests than that never wait at the same time */
#define NGX_HTTP_ASK_WAITING  1024


typedef struct {
    in_port_t   port;                       /* 0: not here */
} ngx_http_ask_conf_t;


/* of the worker; there is one Redis */
typedef struct {
    ngx_peer_connection_t   peer;
    struct sockaddr_in      sockaddr;
    ngx_str_t               name;
    ngx_event_t             flush;
    ngx_buf_t              *out;
    ngx_http_request_t     *waiting[NGX_HTTP_ASK_WAITING];
    ngx_uint_t              first;
    ngx_uint_t              behind;
    size_t                  reply;          /* bytes, all alike; 0: unknown */
    size_t                  got;            /* of those that are not complete */
    unsigned                asked:1;
} ngx_http_ask_t;


static ngx_int_t ngx_http_ask_init(ngx_conf_t *cf);
static void *ngx_http_ask_create(ngx_conf_t *cf);
static char *ngx_http_ask_port(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);


static const u_char  ngx_http_ask_command[] =
    "*8\r\n$5\r\nHMGET\r\n$27\r\nopsauth:account:acct_000000\r\n"
    "$4\r\nname\r\n$11\r\ndescription\r\n$7\r\nenabled\r\n"
    "$6\r\ntenant\r\n$5\r\nroles\r\n$3\r\nips\r\n";

#define NGX_HTTP_ASK_LEN  (sizeof(ngx_http_ask_command) - 1)


static ngx_http_ask_t  ngx_http_ask;


static ngx_command_t  ngx_http_ask_commands[] = {

    { ngx_string("bench_ask"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_ask_port,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_ask_module_ctx = {
    NULL, ngx_http_ask_init, NULL, NULL, NULL, NULL,
    ngx_http_ask_create, bench_scale_merge
};


ngx_module_t  ngx_http_ask_module = {
    NGX_MODULE_V1,
    &ngx_http_ask_module_ctx, ngx_http_ask_commands, NGX_HTTP_MODULE,
    NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NGX_MODULE_V1_PADDING
};


/* what nginx's own build writes for a module that it loads */

ngx_module_t  *ngx_modules[] = { &ngx_http_ask_module, NULL };
char          *ngx_module_names[] = { "ngx_http_ask_module", NULL };
char          *ngx_module_order[] = { NULL };


static void
ngx_http_ask_flush(ngx_event_t *ev)
{
    size_t             size;
    ssize_t            n;
    ngx_buf_t         *out;
    ngx_connection_t  *c;

    c = ngx_http_ask.peer.connection;
    out = ngx_http_ask.out;

    /* the first one alone: it says how long a reply is */

    size = ngx_http_ask.reply ? (size_t) (out->last - out->pos)
                              : ngx_http_ask.asked ? 0 : NGX_HTTP_ASK_LEN;

    if (size == 0 || !c->write->ready) {
        return;
    }

    n = c->send(c, out->pos, size);

    if (n <= 0) {
        return;
    }

    ngx_http_ask.asked = 1;
    out->pos += n;

    if (out->pos == out->last) {
        out->pos = out->start;
        out->last = out->start;
    }
}


static void
ngx_http_ask_write_handler(ngx_event_t *wev)
{
    ngx_http_ask_flush(wev);
}


static void
ngx_http_ask_read_handler(ngx_event_t *rev)
{
    u_char               buf[16384];
    ssize_t              n;
    ngx_connection_t    *c, *client;
    ngx_http_request_t  *r;

    c = rev->data;

    do {
        n = c->recv(c, buf, sizeof(buf));

        if (n <= 0) {
            return;
        }

        ngx_http_ask.got += n;

        if (ngx_http_ask.reply == 0) {
            ngx_http_ask.reply = ngx_http_ask.got;
            ngx_post_event(&ngx_http_ask.flush, &ngx_posted_events);
        }

        while (ngx_http_ask.got >= ngx_http_ask.reply) {
            ngx_http_ask.got -= ngx_http_ask.reply;

            r = ngx_http_ask.waiting[ngx_http_ask.first++
                                     % NGX_HTTP_ASK_WAITING];
            client = r->connection;

            ngx_http_set_ctx(r, &ngx_http_ask.reply, ngx_http_ask_module);

            r->write_event_handler = ngx_http_core_run_phases;
            ngx_http_core_run_phases(r);
            ngx_http_run_posted_requests(client);
        }

    } while (rev->ready);
}


static ngx_int_t
ngx_http_ask_connect(in_port_t port)
{
    int                     nodelay;
    ngx_connection_t       *c;
    ngx_peer_connection_t  *peer;

    ngx_http_ask.out = ngx_create_temp_buf(ngx_cycle->pool,
                                           NGX_HTTP_ASK_WAITING
                                           * NGX_HTTP_ASK_LEN);
    if (ngx_http_ask.out == NULL) {
        return NGX_ERROR;
    }

    ngx_http_ask.sockaddr.sin_family = AF_INET;
    ngx_http_ask.sockaddr.sin_port = htons(port);
    ngx_http_ask.sockaddr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ngx_str_set(&ngx_http_ask.name, "redis");

    peer = &ngx_http_ask.peer;
    peer->sockaddr = (struct sockaddr *) &ngx_http_ask.sockaddr;
    peer->socklen = sizeof(struct sockaddr_in);
    peer->name = &ngx_http_ask.name;
    peer->get = ngx_event_get_peer;
    peer->log = ngx_cycle->log;
    peer->log_error = NGX_ERROR_ERR;

    if (ngx_event_connect_peer(peer) == NGX_ERROR) {
        return NGX_ERROR;
    }

    c = peer->connection;
    c->read->handler = ngx_http_ask_read_handler;
    c->write->handler = ngx_http_ask_write_handler;

    ngx_http_ask.flush.handler = ngx_http_ask_flush;
    ngx_http_ask.flush.log = ngx_cycle->log;

    nodelay = 1;

    return setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &nodelay,
                      sizeof(nodelay));
}


static ngx_int_t
ngx_http_ask_handler(ngx_http_request_t *r)
{
    ngx_http_ask_conf_t  *acf;

    acf = ngx_http_get_module_loc_conf(r, ngx_http_ask_module);

    if (acf->port == 0) {
        return NGX_DECLINED;
    }

    if (ngx_http_get_module_ctx(r, ngx_http_ask_module)) {
        return NGX_OK;
    }

    if (ngx_http_ask.behind - ngx_http_ask.first == NGX_HTTP_ASK_WAITING
        || (ngx_http_ask.peer.connection == NULL
            && ngx_http_ask_connect(acf->port) != NGX_OK)
        || (size_t) (ngx_http_ask.out->end - ngx_http_ask.out->last)
           < NGX_HTTP_ASK_LEN)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_ask.waiting[ngx_http_ask.behind++ % NGX_HTTP_ASK_WAITING] = r;
    ngx_http_ask.out->last = ngx_cpymem(ngx_http_ask.out->last,
                                        ngx_http_ask_command,
                                        NGX_HTTP_ASK_LEN);

    ngx_post_event(&ngx_http_ask.flush, &ngx_posted_events);

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    return NGX_AGAIN;
}


static char *
ngx_http_ask_port(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_ask_conf_t *acf = conf;

    ngx_int_t   port;
    ngx_str_t  *value;

    value = cf->args->elts;
    port = ngx_atoi(value[1].data, value[1].len);

    if (port < 1 || port > 65535) {
        return "is no port";
    }

    acf->port = (in_port_t) port;

    return NGX_CONF_OK;
}


static void *
ngx_http_ask_create(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_ask_conf_t));
}


static ngx_int_t
ngx_http_ask_init(ngx_conf_t *cf)
{
    return bench_scale_init(cf, ngx_http_ask_handler);
}
