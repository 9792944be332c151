/*
 * A feed from each primary, and the question whether it still is one. A
 * connection that listens may ask nothing but PING, and a primary that became a
 * replica goes on telling of changes, late: so ROLE is asked as often as PINGs
 * go out, on the connection that serves reads.
 */

#include "ngx_opsauth_cluster_conn.h"


#define NGX_OPSAUTH_CLUSTER_PERIOD_MIN  10


static void ngx_opsauth_cluster_timer_handler(ngx_event_t *ev);
static void ngx_opsauth_cluster_start_feed(ngx_opsauth_cluster_node_t *node);
static void ngx_opsauth_cluster_ask_role(ngx_opsauth_cluster_node_t *node);
static void ngx_opsauth_cluster_role(ngx_opsauth_redis_command_t *cmd,
    ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error);
static void ngx_opsauth_cluster_changed(void *owner, ngx_str_t *key);
static void ngx_opsauth_cluster_flushed(void *owner);
static ngx_int_t ngx_opsauth_cluster_certified(void *owner, uint64_t server,
    ngx_msec_t resolved, ngx_msec_t started, ngx_msec_t sent_at);
static ngx_int_t ngx_opsauth_cluster_found(void *owner, uint64_t server,
    ngx_msec_t resolved);


void
ngx_opsauth_cluster_listen(ngx_opsauth_redis_t *redis, ngx_msec_t lease,
    const ngx_str_t *prefixes, ngx_uint_t nprefixes, const ngx_str_t *channel)
{
    ngx_opsauth_cluster_t *cluster = redis->cluster;

    cluster->lease = lease;
    cluster->channel = *channel;
    cluster->nprefixes = ngx_min(nprefixes, NGX_OPSAUTH_FEED_PREFIXES_MAX);

    ngx_memcpy(cluster->prefixes, prefixes,
               cluster->nprefixes * sizeof(ngx_str_t));

    cluster->timer.handler = ngx_opsauth_cluster_timer_handler;
    cluster->timer.data = cluster->ident;
    cluster->timer.log = cluster->log;
    cluster->timer.cancelable = 1;

    cluster->listening = 1;

    ngx_add_timer(&cluster->timer, 1);
}


void
ngx_opsauth_cluster_feeds(ngx_opsauth_cluster_t *cluster)
{
    if (!cluster->listening || ngx_exiting || cluster->doomed) {
        return;
    }

    if (cluster->timer.timer_set) {
        ngx_del_timer(&cluster->timer);
    }

    ngx_add_timer(&cluster->timer, 1);
}


static void
ngx_opsauth_cluster_timer_handler(ngx_event_t *ev)
{
    u_char                       has[NGX_OPSAUTH_CLUSTER_NODES + 1];
    ngx_uint_t                   i, n;
    ngx_opsauth_cluster_t       *cluster;
    ngx_opsauth_cluster_node_t  *node;

    cluster = (ngx_opsauth_cluster_t *)
                  ((u_char *) ev->data - offsetof(ngx_opsauth_cluster_t,
                                                  ident));
    if (ngx_exiting) {
        return;
    }

    n = ngx_opsauth_cluster_primaries(cluster, has);

    if (n == 0) {
        ngx_opsauth_cluster_want(cluster);
    }

    for (i = 1; i <= NGX_OPSAUTH_CLUSTER_NODES; i++) {

        if (!has[i]) {
            if (cluster->nodes[i]) {
                ngx_opsauth_cluster_no_feed(cluster->nodes[i]);
            }

            continue;
        }

        node = ngx_opsauth_cluster_node(cluster, i);

        if (node) {
            ngx_opsauth_cluster_start_feed(node);
            ngx_opsauth_cluster_ask_role(node);
        }
    }

    ngx_add_timer(&cluster->timer,
                  ngx_max(cluster->lease / 4, NGX_OPSAUTH_CLUSTER_PERIOD_MIN));
}


static void
ngx_opsauth_cluster_start_feed(ngx_opsauth_cluster_node_t *node)
{
    ngx_opsauth_cluster_t     *cluster;
    ngx_opsauth_feed_hooks_t   hooks;

    if (node->feed) {
        return;
    }

    cluster = node->cluster;

    hooks.owner = node;
    hooks.changed = ngx_opsauth_cluster_changed;
    hooks.flushed = ngx_opsauth_cluster_flushed;
    hooks.certified = ngx_opsauth_cluster_certified;
    hooks.found = ngx_opsauth_cluster_found;

    node->feed = ngx_opsauth_feed_create(&node->conf, cluster->lease,
                                         cluster->prefixes, cluster->nprefixes,
                                         &cluster->channel, &hooks,
                                         cluster->log);
    if (node->feed == NULL) {
        return;
    }

    ngx_opsauth_cluster_ref(node);
    ngx_opsauth_feed_start(node->feed);

    /* until it has said what it is */
    node->confirmed_at = ngx_current_msec;
}


void
ngx_opsauth_cluster_no_feed(ngx_opsauth_cluster_node_t *node)
{
    ngx_opsauth_feed_t  *feed;

    feed = node->feed;

    if (feed) {
        node->feed = NULL;
        ngx_opsauth_feed_destroy(feed);
    }
}


static void
ngx_opsauth_cluster_ask_role(ngx_opsauth_cluster_node_t *node)
{
    ngx_str_t                  word;
    ngx_opsauth_redis_t       *redis;
    ngx_opsauth_redis_error_e  error;

    /* it has said nothing for long: another one may have its slots */

    if (ngx_current_msec - node->confirmed_at > node->cluster->lease) {
        ngx_opsauth_cluster_want(node->cluster);
    }

    if (node->asked) {
        return;
    }

    redis = ngx_opsauth_cluster_node_redis(node);
    if (redis == NULL) {
        return;
    }

    ngx_str_set(&word, "ROLE");

    node->role.handler = ngx_opsauth_cluster_role;
    node->role.data = node;

    if (ngx_opsauth_redis_words(redis, &node->role, 1, &word, &error)
        == NGX_OK)
    {
        node->asked = 1;
        ngx_opsauth_cluster_ref(node);
    }
}


static void
ngx_opsauth_cluster_role(ngx_opsauth_redis_command_t *cmd,
    ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error)
{
    ngx_opsauth_cluster_t       *cluster;
    ngx_opsauth_cluster_node_t  *node;

    node = cmd->data;
    cluster = node->cluster;

    node->asked = 0;

    if (cmd->redis == node->redis && !cluster->doomed) {

        if (error == NGX_OPSAUTH_REDIS_OK
            && ngx_opsauth_link_is_primary(reply))
        {
            node->confirmed_at = ngx_current_msec;

            cluster->hooks->confirmed(cluster->hooks->owner, node->cell,
                                      node->generation,
                                      ngx_opsauth_redis_server(cmd->redis),
                                      cmd->sent_at);

        } else if (error == NGX_OPSAUTH_REDIS_OK) {
            ngx_opsauth_cluster_want(cluster);
        }
    }

    ngx_opsauth_cluster_unref(node);
}


/* --- what feeds tell ------------------------------------------------------ */

static void
ngx_opsauth_cluster_changed(void *owner, ngx_str_t *key)
{
    ngx_opsauth_cluster_node_t  *node = owner;

    node->cluster->hooks->changed(node->cluster->hooks->owner, key);
}


static void
ngx_opsauth_cluster_flushed(void *owner)
{
    ngx_opsauth_cluster_node_t  *node = owner;

    node->cluster->hooks->flushed(node->cluster->hooks->owner);
}


static ngx_int_t
ngx_opsauth_cluster_certified(void *owner, uint64_t server,
    ngx_msec_t resolved, ngx_msec_t started, ngx_msec_t sent_at)
{
    const ngx_opsauth_cluster_hooks_t  *hooks;
    ngx_opsauth_cluster_node_t         *node = owner;

    hooks = node->cluster->hooks;

    return hooks->certified(hooks->owner, node->cell, node->generation, server,
                            resolved, started, sent_at);
}


static ngx_int_t
ngx_opsauth_cluster_found(void *owner, uint64_t server, ngx_msec_t resolved)
{
    const ngx_opsauth_cluster_hooks_t  *hooks;
    ngx_opsauth_cluster_node_t         *node = owner;

    hooks = node->cluster->hooks;

    return hooks->found(hooks->owner, node->cell, node->generation, server,
                        resolved);
}
