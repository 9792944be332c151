/*
 * How many nodes share a store: the first worker of each makes its node known
 * every few seconds, and is told how many there were in the last minute. Only
 * where Redis is away does anybody need that (rate_sync.c).
 */

#include "ngx_http_opsauth.h"
#include "ngx_opsauth_command.h"


#define NGX_HTTP_OPSAUTH_RATE_NODE_TIME   5000      /* ms */
#define NGX_HTTP_OPSAUTH_RATE_NODE_FIRST  1000


struct ngx_http_opsauth_rate_node_s {
    ngx_event_t                 event;
    ngx_http_opsauth_store_t   *store;
    ngx_opsauth_command_t      *command;
};


static void ngx_http_opsauth_rate_node(ngx_event_t *ev);
static void ngx_http_opsauth_rate_node_answer(void *data,
    ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error);


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
                      ? NGX_HTTP_OPSAUTH_RATE_NODE_TIME
                      : NGX_HTTP_OPSAUTH_RATE_NODE_FIRST);
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
