/*
 * The zone that a block of counters stands in; contract in the header.
 */

#include "ngx_opsauth_counters.h"


static ngx_int_t ngx_opsauth_counters_adopt(void *owner, u_char *block,
    size_t size);
static ngx_int_t ngx_opsauth_counters_create(void *owner, u_char *block,
    size_t size);


static const ngx_opsauth_zone_kind_t  ngx_opsauth_counters_zone_kind = {
    .name = "status",
    .holds = "counters",
    .align = 64,
    .head = sizeof(uint64_t),
    .adopt = ngx_opsauth_counters_adopt,
    .create = ngx_opsauth_counters_create
};


ngx_int_t
ngx_opsauth_counters_add(ngx_conf_t *cf, ngx_opsauth_counters_t *counters,
    ngx_str_t *name, void *tag)
{
    size_t  size;

    /* and what nginx's own bookkeeping takes */

    size = ngx_align(ngx_opsauth_counters_size(counters->nwords), ngx_pagesize)
           + ngx_opsauth_zone_size_min();

    return ngx_opsauth_zone_add(cf, &counters->base,
                                &ngx_opsauth_counters_zone_kind, name, size,
                                tag);
}


static ngx_int_t
ngx_opsauth_counters_adopt(void *owner, u_char *block, size_t size)
{
    ngx_opsauth_counters_t  *counters = owner;

    if (ngx_opsauth_counters_check((ngx_opsauth_counters_zone_t *) block, size,
                                   counters->nwords, counters->ngauges)
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    counters->zone = (ngx_opsauth_counters_zone_t *) block;

    return NGX_OK;
}


static ngx_int_t
ngx_opsauth_counters_create(void *owner, u_char *block, size_t size)
{
    ngx_opsauth_counters_t  *counters = owner;

    if (size < ngx_opsauth_counters_size(counters->nwords)) {
        return NGX_ERROR;
    }

    ngx_memzero(block, ngx_opsauth_counters_size(counters->nwords));

    counters->zone = (ngx_opsauth_counters_zone_t *) block;

    ngx_opsauth_counters_init(counters->zone, counters->nwords,
                              counters->ngauges, ngx_time());

    return NGX_OK;
}
