/*
 * A Redis Cluster, as one worker sees it: a connection to each node that it asks,
 * made on demand, the way from a key's slot to its node, redirections, and a
 * feed of changes from each primary, in the workers that have feeds.
 *
 * Where slots are is known to all workers together, in memory that the owner
 * has; it is reached by hooks. Nodes are known by the address that the cluster
 * announces, each of which has a cell there, a number from 1 on.
 */

#ifndef NGX_OPSAUTH_CLUSTER_H
#define NGX_OPSAUTH_CLUSTER_H

#include "ngx_opsauth_feed.h"
#include "oa_slot.h"


/* cells; that of the owner's memory */
#define NGX_OPSAUTH_CLUSTER_NODES      64

/* "host:port" */
#define NGX_OPSAUTH_CLUSTER_NAME_MAX   272

/* of one command: a cluster that is well needs two, while slots move */
#define NGX_OPSAUTH_CLUSTER_REDIRECTS  5


/* called from connections' events; generation tells whether the cell is still
   that of the node it was: see ngx_opsauth_nodes.h and ngx_opsauth_cache.h */
struct ngx_opsauth_cluster_hooks_s {
    void        *owner;

    /* the cell of the slot's node, 0: not known; no lock */
    ngx_uint_t (*whose)(void *owner, ngx_uint_t slot);
    /* changes whenever a slot moves, or a cell gets another node; no lock */
    uint64_t   (*version)(void *owner);

    /* a node's cell, a new one if need be; 0: there are too many */
    ngx_uint_t (*cell)(void *owner, const ngx_str_t *name);
    /* into name, of NGX_OPSAUTH_CLUSTER_NAME_MAX bytes; 0: none */
    size_t     (*name)(void *owner, ngx_uint_t cell, u_char *name,
        uint64_t *generation);
    /* the node that had it says so. NGX_DECLINED: it had it no more */
    ngx_int_t  (*move)(void *owner, ngx_uint_t slot, ngx_uint_t from,
        ngx_uint_t to);
    /* all slots. NGX_DECLINED: that is the past */
    ngx_int_t  (*learn)(void *owner, const u_char *owners, uint64_t epoch,
        ngx_msec_t asked_at);

    /* of feeds: as ngx_opsauth_feed_hooks_t, of one node */
    void       (*changed)(void *owner, ngx_str_t *key);
    void       (*flushed)(void *owner);
    ngx_int_t  (*certified)(void *owner, ngx_uint_t cell, uint64_t generation,
        uint64_t server, ngx_msec_t resolved, ngx_msec_t started,
        ngx_msec_t sent_at);
    ngx_int_t  (*found)(void *owner, ngx_uint_t cell, uint64_t generation,
        uint64_t server, ngx_msec_t resolved);
    /* asked at sent_at, this server said that it is a primary */
    void       (*confirmed)(void *owner, ngx_uint_t cell, uint64_t generation,
        uint64_t server, ngx_msec_t sent_at);
};


/* NULL: it is one server, and redis is the connection to it */
ngx_opsauth_cluster_t *ngx_opsauth_redis_cluster(ngx_opsauth_redis_t *redis);

/* the connection to the slot's node, or to one that may know where it is; NULL:
   no memory */
ngx_opsauth_redis_t *ngx_opsauth_cluster_route(ngx_opsauth_cluster_t *cluster,
    ngx_uint_t slot);

/*
 * redis has answered a command for this slot so. Where it is to be asked instead,
 * by ngx_opsauth_redis_asking() first if asking is set; NULL: the reply can't be
 * followed.
 */
ngx_opsauth_redis_t *ngx_opsauth_cluster_follow(
    ngx_opsauth_cluster_t *cluster, ngx_opsauth_redis_t *redis,
    ngx_uint_t slot, ngx_opsauth_reply_t *reply, ngx_uint_t *asking);

/* ahead of the command that is sent next. As ngx_opsauth_redis_send() */
ngx_int_t ngx_opsauth_redis_asking(ngx_opsauth_redis_t *redis,
    ngx_opsauth_redis_error_e *error);

/* the cell of the node that it leads to; 0: none */
ngx_uint_t ngx_opsauth_redis_cell(ngx_opsauth_redis_t *redis);

/* feeds from all primaries, from now on; arguments as of
   ngx_opsauth_feed_create(). redis: made for the cluster */
void ngx_opsauth_cluster_listen(ngx_opsauth_redis_t *redis, ngx_msec_t lease,
    const ngx_str_t *prefixes, ngx_uint_t nprefixes, const ngx_str_t *channel);

/* what is known of the store's marker: it stood there; looked at not long ago */
ngx_uint_t ngx_opsauth_cluster_is_marked(ngx_opsauth_cluster_t *cluster);
/* redis has just said so */
void ngx_opsauth_cluster_mark(ngx_opsauth_cluster_t *cluster,
    ngx_opsauth_redis_t *redis, ngx_uint_t marked);
ngx_str_t *ngx_opsauth_cluster_marker(ngx_opsauth_cluster_t *cluster);


#endif /* NGX_OPSAUTH_CLUSTER_H */
