/*
 * For tests of what serves one server: there is no cluster, and nobody asks it
 * anything.
 */

#ifndef NGX_OPSAUTH_NO_CLUSTER_H
#define NGX_OPSAUTH_NO_CLUSTER_H


ngx_opsauth_cluster_t *
ngx_opsauth_cluster_create(ngx_opsauth_redis_conf_t *conf, ngx_log_t *log)
{
    return NULL;
}


void
ngx_opsauth_cluster_destroy(ngx_opsauth_cluster_t *cluster)
{
    abort();
}


void
ngx_opsauth_cluster_trouble(ngx_opsauth_redis_t *redis)
{
    abort();
}


void
ngx_opsauth_cluster_unmark(ngx_opsauth_cluster_t *cluster)
{
    abort();
}


ngx_opsauth_redis_t *
ngx_opsauth_cluster_route(ngx_opsauth_cluster_t *cluster, ngx_uint_t slot)
{
    abort();
}


ngx_opsauth_redis_t *
ngx_opsauth_cluster_follow(ngx_opsauth_cluster_t *cluster,
    ngx_opsauth_redis_t *redis, ngx_uint_t slot, ngx_opsauth_reply_t *reply,
    ngx_uint_t *asking)
{
    abort();
}


#endif /* NGX_OPSAUTH_NO_CLUSTER_H */
