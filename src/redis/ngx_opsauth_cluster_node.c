/*
 * Nodes of a cluster: made when somebody is to be asked, of an address that the
 * cluster announces or the configuration names; see ngx_opsauth_cluster_conn.h.
 */

#include "ngx_opsauth_cluster_conn.h"


static ngx_opsauth_cluster_node_t *ngx_opsauth_cluster_create_node(
    ngx_opsauth_cluster_t *cluster, ngx_str_t *host, ngx_uint_t port);
static ngx_int_t ngx_opsauth_cluster_fill_node(
    ngx_opsauth_cluster_node_t *node, ngx_str_t *host, ngx_uint_t port);
static ngx_int_t ngx_opsauth_cluster_addrs(ngx_opsauth_cluster_node_t *node);
static ngx_int_t ngx_opsauth_cluster_borrow(ngx_opsauth_cluster_node_t *node,
    ngx_opsauth_redis_sentinel_t *seed);
static ngx_int_t ngx_opsauth_cluster_split(ngx_str_t *name, ngx_str_t *host,
    ngx_uint_t *port);
static void ngx_opsauth_cluster_release(ngx_opsauth_redis_conf_t *conf);


ngx_opsauth_cluster_node_t *
ngx_opsauth_cluster_node(ngx_opsauth_cluster_t *cluster, ngx_uint_t cell)
{
    u_char                       data[NGX_OPSAUTH_LINK_PRIMARY_MAX];
    uint64_t                     generation;
    ngx_str_t                    name, host;
    ngx_uint_t                   port;
    ngx_opsauth_cluster_node_t  *node;

    if (cluster->doomed || cell == 0 || cell > NGX_OPSAUTH_CLUSTER_NODES) {
        return NULL;
    }

    if (cluster->nodes[cell]) {
        return cluster->nodes[cell];
    }

    name.data = data;
    name.len = cluster->hooks->name(cluster->hooks->owner, cell, data,
                                    &generation);

    if (name.len == 0
        || ngx_opsauth_cluster_split(&name, &host, &port) != NGX_OK)
    {
        return NULL;
    }

    node = ngx_opsauth_cluster_create_node(cluster, &host, port);
    if (node == NULL) {
        return NULL;
    }

    node->cell = cell;
    node->generation = generation;

    cluster->nodes[cell] = node;

    return node;
}


ngx_opsauth_cluster_node_t *
ngx_opsauth_cluster_seed(ngx_opsauth_cluster_t *cluster, ngx_uint_t i)
{
    ngx_str_t                      host;
    ngx_opsauth_cluster_node_t    *node;
    ngx_opsauth_redis_sentinel_t  *seed;

    if (cluster->doomed) {
        return NULL;
    }

    if (cluster->seeds[i] == NULL) {
        seed = &cluster->conf->seeds[i];
        host = seed->host;

        node = ngx_opsauth_cluster_create_node(cluster, &host, seed->port);
        if (node == NULL) {
            return NULL;
        }

        cluster->seeds[i] = node;
    }

    return cluster->seeds[i];
}


static ngx_opsauth_cluster_node_t *
ngx_opsauth_cluster_create_node(ngx_opsauth_cluster_t *cluster,
    ngx_str_t *host, ngx_uint_t port)
{
    ngx_pool_t                  *pool;
    ngx_opsauth_cluster_node_t  *node;

    pool = ngx_create_pool(2048, cluster->log);
    if (pool == NULL) {
        return NULL;
    }

    node = ngx_pcalloc(pool, sizeof(ngx_opsauth_cluster_node_t));

    if (node) {
        node->cluster = cluster;
        node->pool = pool;
        node->refs = 1;
        node->conf = *cluster->conf;
    }

    if (node == NULL
        || ngx_opsauth_cluster_fill_node(node, host, port) != NGX_OK)
    {
        ngx_destroy_pool(pool);
        return NULL;
    }

    return node;
}


static ngx_int_t
ngx_opsauth_cluster_fill_node(ngx_opsauth_cluster_node_t *node,
    ngx_str_t *host, ngx_uint_t port)
{
    u_char                    *p;
    ngx_opsauth_redis_conf_t  *conf;

    conf = &node->conf;

    /* with a zero at its end, for OpenSSL */

    node->port = (in_port_t) port;
    node->host.len = host->len;
    node->host.data = ngx_pcalloc(node->pool, host->len + 1);
    p = ngx_pnalloc(node->pool, host->len + sizeof("rediss://[]:65535"));

    if (node->host.data == NULL || p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(node->host.data, host->data, host->len);

    conf->url.data = p;
    p = ngx_cpymem(p, "rediss", conf->tls ? 6 : 5);
    p = ngx_cpymem(p, "://", 3);

    node->name.data = p;
    p = ngx_sprintf(p, ngx_strlchr(host->data, host->data + host->len, ':')
                       ? "[%V]:%ui" : "%V:%ui",
                    host, port);

    node->name.len = p - node->name.data;
    conf->url.len = p - conf->url.data;

    conf->serves = NULL;
    conf->cluster = NULL;
    conf->seeds = NULL;
    conf->nseeds = 0;
    conf->clustered = 1;
    conf->release = ngx_opsauth_cluster_release;
    conf->port = node->port;

    if (conf->tls_name.len == 0) {
        conf->tls_name = node->host;
    }

    return ngx_opsauth_cluster_addrs(node);
}


/* an address; or a name, for the resolver, or of a host of the configuration,
   whose address was found when that was read */

static ngx_int_t
ngx_opsauth_cluster_addrs(ngx_opsauth_cluster_node_t *node)
{
    ngx_int_t                      rc;
    ngx_uint_t                     i;
    ngx_addr_t                    *addr;
    ngx_opsauth_redis_conf_t      *conf;
    ngx_opsauth_redis_sentinel_t  *seed, *found;

    conf = &node->conf;
    found = NULL;

    conf->addrs = NULL;
    conf->naddrs = 0;
    ngx_str_null(&conf->host);

    addr = ngx_pcalloc(node->pool, sizeof(ngx_addr_t));
    if (addr == NULL) {
        return NGX_ERROR;
    }

    rc = ngx_parse_addr(node->pool, addr, node->host.data, node->host.len);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc == NGX_OK) {
        ngx_inet_set_port(addr->sockaddr, node->port);
        addr->name = node->name;

        conf->addrs = addr;
        conf->naddrs = 1;
        return NGX_OK;
    }

    conf->host = node->host;

    for (i = 0; i < node->cluster->conf->nseeds; i++) {
        seed = &node->cluster->conf->seeds[i];

        if (seed->naddrs && seed->host.len == node->host.len
            && ngx_strncasecmp(seed->host.data, node->host.data,
                               node->host.len)
               == 0)
        {
            found = seed;

            if (seed->port == node->port) {
                break;
            }
        }
    }

    return found ? ngx_opsauth_cluster_borrow(node, found) : NGX_OK;
}


/* the node may be behind another port of that host */

static ngx_int_t
ngx_opsauth_cluster_borrow(ngx_opsauth_cluster_node_t *node,
    ngx_opsauth_redis_sentinel_t *seed)
{
    u_char           *p;
    ngx_uint_t        i;
    ngx_addr_t       *addrs;
    struct sockaddr  *sockaddr;

    addrs = ngx_pcalloc(node->pool, seed->naddrs * sizeof(ngx_addr_t));
    if (addrs == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < seed->naddrs; i++) {
        sockaddr = ngx_palloc(node->pool, seed->addrs[i].socklen);
        p = ngx_pnalloc(node->pool, NGX_SOCKADDR_STRLEN);

        if (sockaddr == NULL || p == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(sockaddr, seed->addrs[i].sockaddr, seed->addrs[i].socklen);
        ngx_inet_set_port(sockaddr, node->port);

        addrs[i].sockaddr = sockaddr;
        addrs[i].socklen = seed->addrs[i].socklen;
        addrs[i].name.data = p;
        addrs[i].name.len = ngx_sock_ntop(sockaddr, addrs[i].socklen, p,
                                          NGX_SOCKADDR_STRLEN, 1);
    }

    node->conf.addrs = addrs;
    node->conf.naddrs = seed->naddrs;

    return NGX_OK;
}


/* "host:port", "[v6]:port", which ngx_opsauth_link_primary() made */

static ngx_int_t
ngx_opsauth_cluster_split(ngx_str_t *name, ngx_str_t *host, ngx_uint_t *port)
{
    u_char     *p;
    ngx_int_t   n;

    for (p = name->data + name->len; p > name->data; p--) {
        if (p[-1] == ':') {
            break;
        }
    }

    if (p == name->data) {
        return NGX_DECLINED;
    }

    n = ngx_atoi(p, name->data + name->len - p);

    if (n < 1 || n > 65535) {
        return NGX_DECLINED;
    }

    *port = n;

    host->data = name->data;
    host->len = p - 1 - name->data;

    if (host->len > 2 && host->data[0] == '[') {
        host->data++;
        host->len -= 2;
    }

    return host->len ? NGX_OK : NGX_DECLINED;
}


void
ngx_opsauth_cluster_ref(ngx_opsauth_cluster_node_t *node)
{
    node->refs++;
}


void
ngx_opsauth_cluster_unref(ngx_opsauth_cluster_node_t *node)
{
    if (--node->refs == 0) {
        ngx_destroy_pool(node->pool);
    }
}


/* by a link of ours that is freed */

static void
ngx_opsauth_cluster_release(ngx_opsauth_redis_conf_t *conf)
{
    ngx_opsauth_cluster_unref((ngx_opsauth_cluster_node_t *) conf);
}


void
ngx_opsauth_cluster_remove(ngx_opsauth_cluster_node_t *node)
{
    ngx_uint_t              i;
    ngx_opsauth_redis_t    *redis;
    ngx_opsauth_cluster_t  *cluster;

    cluster = node->cluster;

    /* first, so that nobody finds it */

    if (node->cell) {
        cluster->nodes[node->cell] = NULL;

    } else {
        for (i = 0; i < cluster->conf->nseeds; i++) {
            if (cluster->seeds[i] == node) {
                cluster->seeds[i] = NULL;
            }
        }
    }

    ngx_opsauth_cluster_no_feed(node);

    redis = node->redis;

    if (redis) {
        node->redis = NULL;
        ngx_opsauth_redis_destroy(redis);
    }

    ngx_opsauth_cluster_unref(node);
}


ngx_opsauth_redis_t *
ngx_opsauth_cluster_node_redis(ngx_opsauth_cluster_node_t *node)
{
    if (node->redis == NULL) {
        node->redis = ngx_opsauth_redis_create(&node->conf,
                                               node->cluster->log);
        if (node->redis == NULL) {
            return NULL;
        }

        node->redis->node = node;
        ngx_opsauth_cluster_ref(node);
    }

    return node->redis;
}
