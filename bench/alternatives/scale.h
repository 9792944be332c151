/*
 * What the handlers that are there for scale have in common: they come into the
 * access phase, and stand in one location only.
 */

#ifndef BENCH_SCALE_H
#define BENCH_SCALE_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


static char *
bench_scale_merge(ngx_conf_t *cf, void *parent, void *child)
{
    return NGX_CONF_OK;
}


static ngx_int_t
bench_scale_init(ngx_conf_t *cf, ngx_http_handler_pt handler)
{
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_ACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = handler;

    return NGX_OK;
}


#endif /* BENCH_SCALE_H */
