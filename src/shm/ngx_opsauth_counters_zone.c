/*
 * The zone that a block of counters stands in; contract in the header.
 */

#include "ngx_opsauth_counters.h"


static ngx_int_t ngx_opsauth_counters_init_zone(ngx_shm_zone_t *shm_zone,
    void *data);


ngx_int_t
ngx_opsauth_counters_add(ngx_conf_t *cf, ngx_opsauth_counters_t *counters,
    ngx_str_t *name, void *tag)
{
    size_t           size;
    ngx_shm_zone_t  *shm_zone;

    /* and what nginx's own bookkeeping takes */

    size = ngx_align(ngx_opsauth_counters_size(counters->nwords), ngx_pagesize)
           + 8 * ngx_pagesize;

    shm_zone = ngx_shared_memory_add(cf, name, size, tag);
    if (shm_zone == NULL) {
        return NGX_ERROR;
    }

    shm_zone->init = ngx_opsauth_counters_init_zone;
    shm_zone->data = counters;

    counters->shm_zone = shm_zone;

    return NGX_OK;
}


static ngx_int_t
ngx_opsauth_counters_init_zone(ngx_shm_zone_t *shm_zone, void *data)
{
    u_char                  *p;
    size_t                   size;
    ngx_slab_pool_t         *shpool;
    ngx_opsauth_counters_t  *counters;

    counters = shm_zone->data;
    shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;
    size = ngx_opsauth_counters_size(counters->nwords);

    /* of the cycle before, or of another process where zones have names */

    if (data || shm_zone->shm.exists) {
        p = shpool->data;

        if (p != NULL && p >= shpool->start && p < shpool->end
            && (uintptr_t) p % ngx_pagesize == 0
            && ngx_opsauth_counters_check((ngx_opsauth_counters_zone_t *) p,
                                          shpool->end - p, counters->nwords,
                                          counters->ngauges)
               == NGX_OK)
        {
            counters->zone = (ngx_opsauth_counters_zone_t *) p;
            return NGX_OK;
        }

        ngx_slab_init(shpool);
    }

    p = ngx_slab_alloc_locked(shpool, size);

    if (p == NULL) {
        ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                      "opsauth: zone \"%V\" has no room for counters",
                      &shm_zone->shm.name);
        return NGX_ERROR;
    }

    ngx_memzero(p, size);

    counters->zone = (ngx_opsauth_counters_zone_t *) p;

    ngx_opsauth_counters_init(counters->zone, counters->nwords,
                              counters->ngauges, ngx_time());

    shpool->data = p;

    return NGX_OK;
}
