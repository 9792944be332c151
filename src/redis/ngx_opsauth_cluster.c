/*
 * The way to the nodes of a cluster. See ngx_opsauth_cluster_conn.h for the other
 * rooms.
 *
 * | a command for a slot            | is sent to
 * |---------------------------------|---------------------------------------
 * | whose node is known             | that node
 * | of which nothing is known       | a node of the configuration, which
 * |                                 | answers, or says MOVED
 * | answered with MOVED by the node | the one it names, which has the slot
 * | that has the slot               | from now on, for all workers
 * | answered with MOVED by another  | whoever has it by now
 * | answered with ASK               | the one it names, behind ASKING, for this
 * |                                 | once: nothing is learnt
 *
 * A redirection names a node by an address, or by a host name, which the link to
 * it looks up; by nothing: it is at the address at which the one was asked that
 * says so, on another port; by "?": it has to have a name and has none, so that
 * nobody can go there before it was asked where slots are.
 *
 * Whenever somebody was wrong, or can't be reached, it is asked where slots are
 * (ngx_opsauth_cluster_map.c), once a second at most.
 */

#include "ngx_opsauth_cluster_conn.h"


#define NGX_OPSAUTH_CLUSTER_MARKER_AGE  1000


static void ngx_opsauth_cluster_look(ngx_opsauth_cluster_t *cluster);
static ngx_opsauth_redis_t *ngx_opsauth_cluster_any(
    ngx_opsauth_cluster_t *cluster);
static ngx_uint_t ngx_opsauth_cluster_is_down(ngx_opsauth_redis_t *redis);


ngx_opsauth_cluster_t *
ngx_opsauth_cluster_create(ngx_opsauth_redis_conf_t *conf, ngx_log_t *log)
{
    ngx_opsauth_cluster_t  *cluster;

    cluster = ngx_calloc(sizeof(ngx_opsauth_cluster_t)
                         + conf->nseeds * sizeof(ngx_opsauth_cluster_node_t *),
                         log);
    if (cluster == NULL) {
        return NULL;
    }

    cluster->conf = conf;
    cluster->hooks = conf->cluster;
    cluster->log = log;
    cluster->seeds = (ngx_opsauth_cluster_node_t **) (cluster + 1);
    cluster->ident[3] = (void *) -1;

    /* workers do not begin with one and the same */
    cluster->turn = (ngx_uint_t) ngx_random();

    cluster->map = ngx_opsauth_cluster_map_create(cluster);

    if (cluster->map == NULL) {
        ngx_free(cluster);
        return NULL;
    }

    return cluster;
}


void
ngx_opsauth_cluster_destroy(ngx_opsauth_cluster_t *cluster)
{
    ngx_uint_t  i;

    /* handlers of what ends now find nobody to send to */

    cluster->doomed = 1;

    if (cluster->timer.timer_set) {
        ngx_del_timer(&cluster->timer);
    }

    ngx_opsauth_cluster_map_destroy(cluster->map);

    for (i = 1; i <= NGX_OPSAUTH_CLUSTER_NODES; i++) {
        if (cluster->nodes[i]) {
            ngx_opsauth_cluster_remove(cluster->nodes[i]);
        }
    }

    for (i = 0; i < cluster->conf->nseeds; i++) {
        if (cluster->seeds[i]) {
            ngx_opsauth_cluster_remove(cluster->seeds[i]);
        }
    }

    ngx_free(cluster);
}


/* --- the way to them ----------------------------------------------------- */

ngx_opsauth_redis_t *
ngx_opsauth_cluster_route(ngx_opsauth_cluster_t *cluster, ngx_uint_t slot)
{
    ngx_uint_t                   cell;
    ngx_opsauth_redis_t         *redis;
    ngx_opsauth_cluster_node_t  *node;

    cell = cluster->hooks->whose(cluster->hooks->owner, slot);

    ngx_opsauth_cluster_look(cluster);

    if (cell == 0) {
        ngx_opsauth_cluster_want(cluster);
        return ngx_opsauth_cluster_any(cluster);
    }

    node = ngx_opsauth_cluster_node(cluster, cell);
    redis = node ? ngx_opsauth_cluster_node_redis(node) : NULL;

    if (redis && ngx_opsauth_cluster_is_down(redis)) {
        ngx_opsauth_cluster_want(cluster);
    }

    return redis;
}


/* what was known of nodes is of little worth once slots have moved */

static void
ngx_opsauth_cluster_look(ngx_opsauth_cluster_t *cluster)
{
    size_t                       len;
    u_char                       name[NGX_OPSAUTH_LINK_PRIMARY_MAX];
    uint64_t                     version, generation;
    ngx_uint_t                   i;
    ngx_opsauth_cluster_node_t  *node;

    version = cluster->hooks->version(cluster->hooks->owner);

    if (version == cluster->version) {
        return;
    }

    cluster->version = version;

    for (i = 1; i <= NGX_OPSAUTH_CLUSTER_NODES; i++) {
        node = cluster->nodes[i];

        if (node == NULL) {
            continue;
        }

        len = cluster->hooks->name(cluster->hooks->owner, i, name,
                                   &generation);

        if (len == 0 || generation != node->generation) {
            ngx_opsauth_cluster_remove(node);
            continue;
        }

        /* one that has slots again is not waited for */

        if (node->redis && node->redis->link.state == NGX_OPSAUTH_LINK_DOWN) {
            node->redis->link.failures = 0;
        }
    }
}


static ngx_opsauth_redis_t *
ngx_opsauth_cluster_any(ngx_opsauth_cluster_t *cluster)
{
    ngx_uint_t                   i, n;
    ngx_opsauth_redis_t         *redis;
    ngx_opsauth_cluster_node_t  *node;

    n = cluster->conf->nseeds;
    redis = NULL;

    for (i = 0; i < n; i++) {
        node = ngx_opsauth_cluster_seed(cluster, cluster->turn % n);
        redis = node ? ngx_opsauth_cluster_node_redis(node) : NULL;

        if (redis && !ngx_opsauth_cluster_is_down(redis)) {
            break;
        }

        cluster->turn++;
    }

    return redis;
}


static ngx_uint_t
ngx_opsauth_cluster_is_down(ngx_opsauth_redis_t *redis)
{
    return redis->open
           || (redis->link.state == NGX_OPSAUTH_LINK_DOWN
               && redis->link.failures);
}


ngx_opsauth_redis_t *
ngx_opsauth_cluster_follow(ngx_opsauth_cluster_t *cluster,
    ngx_opsauth_redis_t *redis, ngx_uint_t slot, ngx_opsauth_reply_t *reply,
    ngx_uint_t *asking)
{
    u_char                       data[NGX_OPSAUTH_LINK_PRIMARY_MAX];
    oa_str_t                     text;
    ngx_str_t                    name, host;
    ngx_uint_t                   cell, owner;
    oa_redirect_t                redirect;
    ngx_opsauth_cluster_node_t  *node;

    *asking = 0;

    if (redis->node == NULL || reply->type != NGX_OPSAUTH_REPLY_ERROR) {
        return NULL;
    }

    text.data = reply->str.data;
    text.len = reply->str.len;

    if (oa_redirect_parse(text, &redirect) != OA_OK || redirect.slot != slot) {
        return NULL;
    }

    host.data = (u_char *) redirect.host.data;
    host.len = redirect.host.len;

    name.data = data;
    name.len = ngx_opsauth_cluster_name(redis->node, &host, redirect.port,
                                        data);

    if (redirect.kind == OA_REDIRECT_MOVED) {
        ngx_opsauth_cluster_want(cluster);

        owner = cluster->hooks->whose(cluster->hooks->owner, slot);

        if (owner != redis->node->cell) {

            /* it is known elsewhere by now */
            return ngx_opsauth_cluster_route(cluster, slot);
        }
    }

    if (redirect.unnamed) {

        /* CLUSTER SLOTS tells its address */

        ngx_opsauth_cluster_want(cluster);
        return NULL;
    }

    cell = name.len ? ngx_opsauth_cluster_cell(cluster, &name) : 0;

    if (cell == 0) {
        return NULL;
    }

    if (redirect.kind == OA_REDIRECT_MOVED) {
        (void) cluster->hooks->move(cluster->hooks->owner, slot,
                                    redis->node->cell, cell);
        return ngx_opsauth_cluster_route(cluster, slot);
    }

    *asking = 1;

    ngx_opsauth_cluster_look(cluster);

    node = ngx_opsauth_cluster_node(cluster, cell);

    return node ? ngx_opsauth_cluster_node_redis(node) : NULL;
}


size_t
ngx_opsauth_cluster_name(ngx_opsauth_cluster_node_t *by, const ngx_str_t *host,
    ngx_uint_t port, u_char *name)
{
    u_char     number[NGX_INT_T_LEN];
    ngx_str_t  h, p;

    /* a node that doesn't know its own address, or is not to tell it, has that
       at which it was asked */

    h = (host->len == 0 || (host->len == 1 && host->data[0] == '?'))
        ? by->host : *host;

    p.data = number;
    p.len = ngx_sprintf(number, "%ui", port) - number;

    return ngx_opsauth_link_primary(&h, &p, name);
}


ngx_int_t
ngx_opsauth_cluster_host(ngx_opsauth_reply_t *node, ngx_str_t *host)
{
    ngx_uint_t            i;
    ngx_opsauth_reply_t  *first, *more;

    first = &node->elements[0];

    if (first->type == NGX_OPSAUTH_REPLY_NIL) {
        ngx_str_set(host, "");
        return NGX_OK;
    }

    if (first->type != NGX_OPSAUTH_REPLY_STRING) {
        return NGX_DECLINED;
    }

    *host = first->str;

    if (host->len != 1 || host->data[0] != '?' || node->n < 4
        || node->elements[3].type != NGX_OPSAUTH_REPLY_ARRAY
        || node->elements[3].elements == NULL)
    {
        return NGX_OK;
    }

    more = node->elements[3].elements;

    for (i = 0; i + 1 < node->elements[3].n; i += 2) {
        if (more[i].type == NGX_OPSAUTH_REPLY_STRING && more[i].str.len == 2
            && ngx_strncmp(more[i].str.data, "ip", 2) == 0
            && more[i + 1].type == NGX_OPSAUTH_REPLY_STRING)
        {
            *host = more[i + 1].str;
            break;
        }
    }

    return NGX_OK;
}


ngx_uint_t
ngx_opsauth_cluster_cell(ngx_opsauth_cluster_t *cluster, const ngx_str_t *name)
{
    ngx_uint_t  cell;

    cell = cluster->hooks->cell(cluster->hooks->owner, name);

    if (cell == 0 && !cluster->full) {
        cluster->full = 1;

        ngx_log_error(NGX_LOG_ERR, cluster->log, 0,
                      "opsauth: redis \"%V\": the cluster has more than %d "
                      "primaries, and \"%V\" is one too many: what it holds is "
                      "unavailable", &cluster->conf->url,
                      NGX_OPSAUTH_CLUSTER_NODES, name);
    }

    return cell;
}


ngx_uint_t
ngx_opsauth_cluster_primaries(ngx_opsauth_cluster_t *cluster, u_char *cells)
{
    ngx_uint_t  i, n, cell;

    ngx_memzero(cells, NGX_OPSAUTH_CLUSTER_NODES + 1);

    n = 0;

    for (i = 0; i < OA_SLOTS; i++) {
        cell = cluster->hooks->whose(cluster->hooks->owner, i);

        if (cell && cell <= NGX_OPSAUTH_CLUSTER_NODES && !cells[cell]) {
            cells[cell] = 1;
            n++;
        }
    }

    return n;
}


/* --- what callers see ---------------------------------------------------- */

ngx_opsauth_cluster_t *
ngx_opsauth_redis_cluster(ngx_opsauth_redis_t *redis)
{
    return redis->cluster;
}


ngx_uint_t
ngx_opsauth_redis_cell(ngx_opsauth_redis_t *redis)
{
    return redis->node ? redis->node->cell : 0;
}


ngx_uint_t
ngx_opsauth_cluster_is_marked(ngx_opsauth_cluster_t *cluster)
{
    return cluster->marked
           && ngx_current_msec - cluster->marker_at
              < NGX_OPSAUTH_CLUSTER_MARKER_AGE;
}


void
ngx_opsauth_cluster_unmark(ngx_opsauth_cluster_t *cluster)
{
    cluster->marked = 0;
}


void
ngx_opsauth_cluster_trouble(ngx_opsauth_redis_t *redis)
{
    if (!redis->node->cluster->doomed) {
        ngx_opsauth_cluster_want(redis->node->cluster);
    }
}


ngx_str_t *
ngx_opsauth_cluster_marker(ngx_opsauth_cluster_t *cluster)
{
    return &cluster->conf->marker;
}


void
ngx_opsauth_cluster_mark(ngx_opsauth_cluster_t *cluster,
    ngx_opsauth_redis_t *redis, ngx_uint_t marked)
{
    if (!marked) {
        ngx_opsauth_redis_unmarked_log(redis);
    }

    cluster->marked = marked;
    cluster->marker_at = ngx_current_msec;
}
