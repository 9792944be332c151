/*
 * Where a Redis is: its name is resolved anew for each attempt where nginx has
 * a resolver, and the addresses that the configuration found are the fallback.
 */

#include "ngx_opsauth_link.h"


static void ngx_opsauth_link_resolve_handler(ngx_resolver_ctx_t *ctx);
static ngx_int_t ngx_opsauth_link_copy_addrs(ngx_opsauth_link_t *link,
    ngx_resolver_ctx_t *ctx);
static void ngx_opsauth_link_sort(ngx_addr_t *addrs, ngx_uint_t n);


ngx_int_t
ngx_opsauth_link_resolve(ngx_opsauth_link_t *link)
{
    ngx_str_t            name;
    ngx_resolver_ctx_t  *ctx;

    /* the resolver lowers its case in place */

    name.len = link->host.len;
    name.data = ngx_pstrdup(link->pool, &link->host);
    if (name.data == NULL) {
        return NGX_ERROR;
    }

    ctx = ngx_resolve_start(link->conf->resolver, NULL);

    if (ctx == NULL || ctx == NGX_NO_RESOLVER) {
        return NGX_DECLINED;
    }

    ctx->name = name;
    ctx->handler = ngx_opsauth_link_resolve_handler;
    ctx->data = link;
    ctx->timeout = ngx_min(link->conf->resolver_timeout,
                           link->conf->connect_timeout);

    link->resolving = ctx;
    link->state = NGX_OPSAUTH_LINK_RESOLVING;

    if (ngx_resolve_name(ctx) != NGX_OK) {
        /* and ctx is freed */
        link->resolving = NULL;
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* may be called from within ngx_resolve_name() */

static void
ngx_opsauth_link_resolve_handler(ngx_resolver_ctx_t *ctx)
{
    ngx_uint_t           level;
    ngx_opsauth_link_t  *link;

    link = ctx->data;

    ngx_opsauth_link_enter(link);

    link->resolving = NULL;

    if (ctx->state) {
        /* the first time; and not where that it is down was said */

        level = (link->trouble || link->unresolved) ? NGX_LOG_INFO
                                                    : NGX_LOG_WARN;
        link->unresolved = 1;

        ngx_log_error(level, link->log, 0,
                      "opsauth: redis \"%V\": \"%V\" could not be resolved "
                      "(%i: %s)%s",
                      &link->conf->url, &ctx->name, ctx->state,
                      ngx_resolver_strerror(ctx->state),
                      link->naddrs ? ", going on with the addresses of the "
                                     "start" : "");

    } else {
        link->unresolved = 0;

        /* those of the start, where there is no memory */
        (void) ngx_opsauth_link_copy_addrs(link, ctx);
    }

    ngx_resolve_name_done(ctx);

    ngx_opsauth_link_open(link);

    ngx_opsauth_link_leave(link);
}


static ngx_int_t
ngx_opsauth_link_copy_addrs(ngx_opsauth_link_t *link,
    ngx_resolver_ctx_t *ctx)
{
    u_char           *p;
    ngx_uint_t        i;
    ngx_addr_t       *addrs;
    struct sockaddr  *sockaddr;

    addrs = ngx_palloc(link->pool, ctx->naddrs * sizeof(ngx_addr_t));
    if (addrs == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < ctx->naddrs; i++) {

        sockaddr = ngx_palloc(link->pool, ctx->addrs[i].socklen);
        p = ngx_pnalloc(link->pool, NGX_SOCKADDR_STRLEN);

        if (sockaddr == NULL || p == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(sockaddr, ctx->addrs[i].sockaddr, ctx->addrs[i].socklen);
        ngx_inet_set_port(sockaddr, link->port);

        addrs[i].sockaddr = sockaddr;
        addrs[i].socklen = ctx->addrs[i].socklen;
        addrs[i].name.data = p;
        addrs[i].name.len = ngx_sock_ntop(sockaddr, addrs[i].socklen, p,
                                          NGX_SOCKADDR_STRLEN, 1);
    }

    ngx_opsauth_link_sort(addrs, ctx->naddrs);

    link->addrs = addrs;
    link->naddrs = ctx->naddrs;

    return NGX_OK;
}


/*
 * The resolver rotates addresses to share out load. All links of a store are
 * to end up at one server, where a name has several: each tries them in the
 * same order.
 */

static void
ngx_opsauth_link_sort(ngx_addr_t *addrs, ngx_uint_t n)
{
    ngx_uint_t  i, j;
    ngx_addr_t  addr;

    for (i = 1; i < n; i++) {
        addr = addrs[i];

        for (j = i; j; j--) {
            if (ngx_memn2cmp(addrs[j - 1].name.data, addr.name.data,
                             addrs[j - 1].name.len, addr.name.len)
                <= 0)
            {
                break;
            }

            addrs[j] = addrs[j - 1];
        }

        addrs[j] = addr;
    }
}
