/*
 * What the rooms of the cluster share; nobody outside src/redis includes it.
 *
 * ngx_opsauth_cluster.c        the way to nodes, redirections
 * ngx_opsauth_cluster_node.c   nodes
 * ngx_opsauth_cluster_feed.c   feeds, and whether primaries still are
 * ngx_opsauth_cluster_map.c    where slots are: who is asked, and when
 *
 * A node lives as long as somebody uses its configuration: the table, its
 * connection, its feed.
 */

#ifndef NGX_OPSAUTH_CLUSTER_CONN_H
#define NGX_OPSAUTH_CLUSTER_CONN_H

#include "ngx_opsauth_cluster.h"
#include "ngx_opsauth_feed_conn.h"
#include "ngx_opsauth_redis_conn.h"


/* the build fails where one does not fit into the other */
typedef u_char  ngx_opsauth_cluster_names_t
    [NGX_OPSAUTH_CLUSTER_NAME_MAX == NGX_OPSAUTH_LINK_PRIMARY_MAX ? 1 : -1];

typedef struct ngx_opsauth_cluster_map_s  ngx_opsauth_cluster_map_t;


struct ngx_opsauth_cluster_node_s {
    ngx_opsauth_redis_conf_t     conf;          /* first */
    ngx_opsauth_cluster_t       *cluster;
    ngx_pool_t                  *pool;          /* of what conf points to */
    ngx_uint_t                   refs;
    ngx_uint_t                   cell;          /* 0: of the configuration */
    uint64_t                     generation;
    ngx_str_t                    name;          /* "host:port" */
    ngx_str_t                    host;          /* without brackets */
    in_port_t                    port;

    ngx_opsauth_redis_t         *redis;
    ngx_opsauth_feed_t          *feed;
    ngx_opsauth_redis_command_t  role;
    ngx_msec_t                   confirmed_at;
    unsigned                     asked:1;       /* its role */
    unsigned                     confirmed:1;
};


struct ngx_opsauth_cluster_s {
    ngx_opsauth_redis_conf_t    *conf;
    const ngx_opsauth_cluster_hooks_t  *hooks;
    ngx_log_t                   *log;
    ngx_opsauth_cluster_map_t   *map;

    ngx_opsauth_cluster_node_t  *nodes[NGX_OPSAUTH_CLUSTER_NODES + 1];
    ngx_opsauth_cluster_node_t **seeds;         /* of the configuration */
    uint64_t                     version;       /* as last looked at */
    ngx_uint_t                   turn;          /* of seeds */
    ngx_msec_t                   marker_at;

    /* of feeds */
    ngx_msec_t                   lease;
    ngx_str_t                    channel;
    ngx_uint_t                   nprefixes;
    ngx_str_t                    prefixes[NGX_OPSAUTH_FEED_PREFIXES_MAX];
    void                        *ident[4];      /* as in a link */
    ngx_event_t                  timer;

    unsigned                     marked:1;
    unsigned                     listening:1;
    unsigned                     doomed:1;
    unsigned                     full:1;        /* logged: too many nodes */
};


/* ngx_opsauth_cluster_node.c */

/* of a cell or, with cell 0, the i-th of the configuration; NULL: there is none,
   no memory */
ngx_opsauth_cluster_node_t *ngx_opsauth_cluster_node(
    ngx_opsauth_cluster_t *cluster, ngx_uint_t cell);
ngx_opsauth_cluster_node_t *ngx_opsauth_cluster_seed(
    ngx_opsauth_cluster_t *cluster, ngx_uint_t i);
/* its connection; NULL: no memory */
ngx_opsauth_redis_t *ngx_opsauth_cluster_node_redis(
    ngx_opsauth_cluster_node_t *node);
void ngx_opsauth_cluster_ref(ngx_opsauth_cluster_node_t *node);
void ngx_opsauth_cluster_unref(ngx_opsauth_cluster_node_t *node);
/* nobody finds it any more, and its connections are closed */
void ngx_opsauth_cluster_remove(ngx_opsauth_cluster_node_t *node);


/* ngx_opsauth_cluster.c */

/* cells[c]: has it slots? returns how many have */
ngx_uint_t ngx_opsauth_cluster_primaries(ngx_opsauth_cluster_t *cluster,
    u_char *cells);
/* the name of a node that is called so by another one; 0: it has none */
size_t ngx_opsauth_cluster_name(ngx_opsauth_cluster_node_t *by,
    const ngx_str_t *host, ngx_uint_t port, u_char *name);
/*
 * The host in [host, port, id, [key, value, ...]], of which two elements are
 * there, for cluster_name(). NULL is the address at which the node was asked; "?"
 * stands where nodes are to be known by names and this one has none, or none that
 * has got around yet: then its address is among what follows. NGX_DECLINED: none
 */
ngx_int_t ngx_opsauth_cluster_host(ngx_opsauth_reply_t *node, ngx_str_t *host);
ngx_uint_t ngx_opsauth_cluster_cell(ngx_opsauth_cluster_t *cluster,
    const ngx_str_t *name);


/* ngx_opsauth_cluster_feed.c */

/* slots may be elsewhere */
void ngx_opsauth_cluster_feeds(ngx_opsauth_cluster_t *cluster);
void ngx_opsauth_cluster_no_feed(ngx_opsauth_cluster_node_t *node);


/* ngx_opsauth_cluster_map.c */

ngx_opsauth_cluster_map_t *ngx_opsauth_cluster_map_create(
    ngx_opsauth_cluster_t *cluster);
void ngx_opsauth_cluster_map_destroy(ngx_opsauth_cluster_map_t *map);
/* where slots are is to be asked, soon, and not too often */
void ngx_opsauth_cluster_want(ngx_opsauth_cluster_t *cluster);


#endif /* NGX_OPSAUTH_CLUSTER_CONN_H */
