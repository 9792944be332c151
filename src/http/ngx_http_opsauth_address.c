/*
 * Where Redis is: the directive "redis", and what goes with it.
 *
 * Names are resolved in the master, when the configuration is read, and never by
 * blocking a worker. What could not be resolved then is an error, unless nginx
 * has a resolver, which workers ask at each connect.
 */

#include "ngx_http_opsauth.h"
#include "oa_url.h"


static ngx_int_t ngx_http_opsauth_address_server(ngx_conf_t *cf,
    ngx_http_opsauth_store_t *store, oa_redis_url_t *url);
static ngx_int_t ngx_http_opsauth_address_sentinels(ngx_conf_t *cf,
    ngx_http_opsauth_store_t *store, oa_redis_url_t *url);
static ngx_int_t ngx_http_opsauth_address_cluster(ngx_conf_t *cf,
    ngx_http_opsauth_store_t *store, oa_redis_url_t *url);
static ngx_opsauth_redis_sentinel_t *ngx_http_opsauth_address_list(
    ngx_conf_t *cf, ngx_http_opsauth_store_t *store, oa_redis_url_t *url);
static ngx_int_t ngx_http_opsauth_address_host(ngx_conf_t *cf,
    ngx_http_opsauth_store_t *store, oa_str_t host, ngx_uint_t port,
    ngx_url_t *u);
static ngx_int_t ngx_http_opsauth_address_resolve(ngx_conf_t *cf,
    ngx_http_opsauth_store_t *store, ngx_url_t *u);
static ngx_uint_t ngx_http_opsauth_address_named(ngx_url_t *u);


char *
ngx_http_opsauth_store_redis(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_opsauth_store_t *store = conf;

    u_char          *p;
    ngx_int_t        rc;
    ngx_str_t       *value, shown;
    const char      *error;
    oa_redis_url_t   url;

    if (store->url.len) {
        return "is duplicate: a store has one Redis";
    }

    value = cf->args->elts;

    if (oa_redis_url_parse(ngx_http_opsauth_view(&value[1]), &url, &error)
        != OA_OK)
    {
        /* what stands before an "@" may be a password, and this is a log */

        shown = value[1];

        for (p = value[1].data; p < value[1].data + value[1].len; p++) {
            if (*p == '@') {
                shown.data = p;
                shown.len = value[1].data + value[1].len - p;
            }
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid \"redis %s%V\": %s",
                           shown.data == value[1].data ? "" : "...", &shown,
                           error);
        return NGX_CONF_ERROR;
    }

    store->url = value[1];
    store->redis.db = url.db;
    store->tls.on = url.tls;

    switch (url.transport) {

    case OA_REDIS_SENTINEL:
        rc = ngx_http_opsauth_address_sentinels(cf, store, &url);
        break;

    case OA_REDIS_CLUSTER:
        rc = ngx_http_opsauth_address_cluster(cf, store, &url);
        break;

    default:
        rc = ngx_http_opsauth_address_server(cf, store, &url);
        break;
    }

    return (rc == NGX_OK) ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static ngx_int_t
ngx_http_opsauth_address_server(ngx_conf_t *cf,
    ngx_http_opsauth_store_t *store, oa_redis_url_t *url)
{
    ngx_url_t                  u;
    ngx_opsauth_redis_conf_t  *redis;

    redis = &store->redis;

    if (url->transport == OA_REDIS_UNIX) {
        ngx_memzero(&u, sizeof(ngx_url_t));

        u.url.data = ngx_pnalloc(cf->pool, url->path.len + sizeof("unix:"));
        if (u.url.data == NULL) {
            return NGX_ERROR;
        }

        u.url.len = ngx_sprintf(u.url.data, "unix:%*s%Z", url->path.len,
                                url->path.data)
                    - u.url.data - 1;

        if (ngx_http_opsauth_address_resolve(cf, store, &u) != NGX_OK) {
            return NGX_ERROR;
        }

    } else {
        if (ngx_http_opsauth_address_host(cf, store, url->host, url->port, &u)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        if (ngx_http_opsauth_address_named(&u)) {
            redis->host = ngx_http_opsauth_str(url->host);
        }
    }

    redis->addrs = u.addrs;
    redis->naddrs = u.naddrs;
    redis->port = (in_port_t) url->port;

    /* with a zero at its end, for OpenSSL */

    redis->tls_name.len = url->host.len;
    redis->tls_name.data = ngx_pcalloc(cf->pool, url->host.len + 1);
    if (redis->tls_name.data == NULL) {
        return NGX_ERROR;
    }

    if (url->host.len) {
        ngx_memcpy(redis->tls_name.data, url->host.data, url->host.len);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_opsauth_address_sentinels(ngx_conf_t *cf,
    ngx_http_opsauth_store_t *store, oa_redis_url_t *url)
{
    store->redis.primary = ngx_http_opsauth_str(url->name);
    store->redis.sentinels = ngx_http_opsauth_address_list(cf, store, url);
    store->redis.nsentinels = url->nhosts;

    return store->redis.sentinels ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_http_opsauth_address_cluster(ngx_conf_t *cf,
    ngx_http_opsauth_store_t *store, oa_redis_url_t *url)
{
    store->redis.seeds = ngx_http_opsauth_address_list(cf, store, url);
    store->redis.nseeds = url->nhosts;

    return store->redis.seeds ? ngx_http_opsauth_cluster(cf, store)
                              : NGX_ERROR;
}


/* NULL: the error was logged, or there is no memory */

static ngx_opsauth_redis_sentinel_t *
ngx_http_opsauth_address_list(ngx_conf_t *cf, ngx_http_opsauth_store_t *store,
    oa_redis_url_t *url)
{
    ngx_url_t                      u;
    ngx_uint_t                     i;
    ngx_opsauth_redis_sentinel_t  *list, *sentinel;

    list = ngx_pcalloc(cf->pool, url->nhosts
                                 * sizeof(ngx_opsauth_redis_sentinel_t));
    if (list == NULL) {
        return NULL;
    }

    sentinel = list;

    for (i = 0; i < url->nhosts; i++, sentinel++) {

        if (ngx_http_opsauth_address_host(cf, store, url->hosts[i].host,
                                          url->hosts[i].port, &u)
            != NGX_OK)
        {
            return NULL;
        }

        sentinel->name = u.url;
        sentinel->host = ngx_http_opsauth_str(url->hosts[i].host);
        sentinel->port = (in_port_t) url->hosts[i].port;
        sentinel->addrs = u.addrs;
        sentinel->naddrs = u.naddrs;
        sentinel->named = ngx_http_opsauth_address_named(&u);
    }

    return list;
}


static ngx_int_t
ngx_http_opsauth_address_host(ngx_conf_t *cf, ngx_http_opsauth_store_t *store,
    oa_str_t host, ngx_uint_t port, ngx_url_t *u)
{
    ngx_uint_t  v6;

    ngx_memzero(u, sizeof(ngx_url_t));

    u->url.data = ngx_pnalloc(cf->pool, host.len + sizeof("[]:65535"));
    if (u->url.data == NULL) {
        return NGX_ERROR;
    }

    v6 = (ngx_strlchr((u_char *) host.data, (u_char *) host.data + host.len,
                      ':')
          != NULL);

    u->url.len = ngx_sprintf(u->url.data, v6 ? "[%*s]:%ui%Z" : "%*s:%ui%Z",
                             host.len, host.data, port)
                 - u->url.data - 1;

    return ngx_http_opsauth_address_resolve(cf, store, u);
}


static ngx_int_t
ngx_http_opsauth_address_resolve(ngx_conf_t *cf,
    ngx_http_opsauth_store_t *store, ngx_url_t *u)
{
    if (ngx_parse_url(cf->pool, u) == NGX_OK && u->naddrs) {
        return NGX_OK;
    }

    if (u->err && ngx_strcmp(u->err, "host not found") == 0) {

        /* whether there is a resolver may be said further down */

        u->naddrs = 0;

        if (store->unresolved == NULL) {
            store->unresolved = (const char *) u->url.data;
            store->unresolved_file = cf->conf_file->file.name;
            store->unresolved_line = cf->conf_file->line;
        }

        return NGX_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s in \"redis %V\"",
                       u->err ? u->err : "no address found", &store->url);

    return NGX_ERROR;
}


static ngx_uint_t
ngx_http_opsauth_address_named(ngx_url_t *u)
{
    return ngx_inet_addr(u->host.data, u->host.len) == INADDR_NONE
           && u->host.data[0] != '[';
}


ngx_int_t
ngx_http_opsauth_check_sentinel(ngx_conf_t *cf,
    ngx_http_opsauth_store_t *store)
{
    ngx_opsauth_redis_conf_t  *redis;

    redis = &store->redis;

    if (redis->nsentinels == 0
        && (redis->sentinel_user.data || redis->sentinel_password_file.data))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"redis_sentinel_%s\" in \"opsauth_store %V\" is "
                           "for sentinels, and \"redis %V\" names none: write "
                           "redis+sentinel://, or leave it out",
                           redis->sentinel_user.data ? "user"
                                                     : "password_file",
                           &store->name, &store->url);
        return NGX_ERROR;
    }

    if (redis->sentinel_user.len && redis->sentinel_password_file.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"redis_sentinel_user %V\" in \"opsauth_store %V\" "
                           "requires \"redis_sentinel_password_file\"",
                           &redis->sentinel_user, &store->name);
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_opsauth_init_stores(ngx_conf_t *cf,
    ngx_http_opsauth_main_conf_t *omcf)
{
    ngx_uint_t                  i;
    ngx_http_opsauth_store_t  **store;
    ngx_http_core_loc_conf_t   *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    store = omcf->stores.elts;

    for (i = 0; i < omcf->stores.nelts; i++) {

        /* "resolver" of http, if there is one (nginx makes an empty one) */

        if (clcf->resolver && clcf->resolver->connections.nelts) {
            store[i]->redis.resolver = clcf->resolver;
            store[i]->redis.resolver_timeout =
                clcf->resolver_timeout == NGX_CONF_UNSET_MSEC
                ? 5000 : clcf->resolver_timeout;
        }

        if (store[i]->unresolved == NULL) {
            continue;
        }

        if (store[i]->redis.resolver == NULL) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "host not found: \"%s\" in \"redis %V\" (a "
                          "\"resolver\" in http would look for it later) in "
                          "%V:%ui",
                          store[i]->unresolved, &store[i]->url,
                          &store[i]->unresolved_file,
                          store[i]->unresolved_line);
            return NGX_ERROR;
        }

        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "host not found: \"%s\" in \"redis %V\" in %V:%ui; it is "
                      "looked up again at each connect", store[i]->unresolved,
                      &store[i]->url, &store[i]->unresolved_file,
                      store[i]->unresolved_line);
    }

    return NGX_OK;
}
