/*
 * Zones that outlive reloads; contract in the header.
 */

#include "ngx_opsauth_zone.h"


/* as nginx asks of its own zones */
#define NGX_OPSAUTH_ZONE_PAGES  8


static ngx_int_t ngx_opsauth_zone_init(ngx_shm_zone_t *shm_zone, void *data);
static ngx_int_t ngx_opsauth_zone_adopt(ngx_opsauth_zone_t *zone);
static ngx_int_t ngx_opsauth_zone_create(ngx_opsauth_zone_t *zone,
    ngx_uint_t dirty);


size_t
ngx_opsauth_zone_size_min(void)
{
    return NGX_OPSAUTH_ZONE_PAGES * ngx_pagesize;
}


ngx_int_t
ngx_opsauth_zone_add(ngx_conf_t *cf, ngx_opsauth_zone_t *zone,
    const ngx_opsauth_zone_kind_t *kind, ngx_str_t *name, size_t size,
    void *tag)
{
    ngx_shm_zone_t  *shm_zone;

    shm_zone = ngx_shared_memory_add(cf, name, size, tag);
    if (shm_zone == NULL) {
        return NGX_ERROR;
    }

    if (shm_zone->data) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "opsauth: %s zone \"%V\" is used twice", kind->name,
                           name);
        return NGX_ERROR;
    }

    shm_zone->init = ngx_opsauth_zone_init;
    shm_zone->data = zone;

    zone->kind = kind;
    zone->shm_zone = shm_zone;

    return NGX_OK;
}


static ngx_int_t
ngx_opsauth_zone_init(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_uint_t           dirty;
    ngx_opsauth_zone_t  *zone;

    zone = shm_zone->data;

    zone->shm_zone = shm_zone;
    zone->shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    dirty = 0;

    /* of the cycle before, or of another process where zones have names */

    if (data || shm_zone->shm.exists) {

        if (ngx_opsauth_zone_adopt(zone) == NGX_OK) {
            return NGX_OK;
        }

        ngx_log_error(NGX_LOG_NOTICE, shm_zone->shm.log, 0,
                      "opsauth: %s zone \"%V\" has another layout, "
                      "its %s are dropped", zone->kind->name,
                      &shm_zone->shm.name, zone->kind->holds);

        ngx_slab_init(zone->shpool);
        dirty = 1;
    }

    if (ngx_opsauth_zone_create(zone, dirty) != NGX_OK) {
        ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                      "opsauth: %s zone \"%V\" is too small: "
                      "%uz bytes, at least %uz are needed", zone->kind->name,
                      &shm_zone->shm.name, shm_zone->shm.size,
                      ngx_opsauth_zone_size_min());
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_opsauth_zone_adopt(ngx_opsauth_zone_t *zone)
{
    u_char           *p;
    ngx_slab_pool_t  *shpool;

    shpool = zone->shpool;
    p = shpool->data;

    if (p == NULL || p < shpool->start || p >= shpool->end
        || (uintptr_t) p % zone->kind->align
        || (size_t) (shpool->end - p) < zone->kind->head)
    {
        return NGX_DECLINED;
    }

    return zone->kind->adopt(zone, p, shpool->end - p);
}


static ngx_int_t
ngx_opsauth_zone_create(ngx_opsauth_zone_t *zone, ngx_uint_t dirty)
{
    u_char           *p;
    size_t            size;
    ngx_uint_t        pages;
    ngx_slab_pool_t  *shpool;

    shpool = zone->shpool;

    if (zone->shm_zone->shm.size < ngx_opsauth_zone_size_min()) {
        return NGX_ERROR;
    }

    shpool->data = NULL;
    shpool->log_nomem = 0;

    p = NULL;
    size = 0;

    /* a fresh pool's pages are one run; nobody else has the zone yet */

    for (pages = shpool->pfree; pages && p == NULL; pages--) {
        size = (size_t) pages << ngx_pagesize_shift;
        p = ngx_slab_alloc_locked(shpool, size);
    }

    if (p == NULL || size < zone->kind->head) {
        return NGX_ERROR;
    }

    if (dirty) {
        ngx_memzero(p, size);
    }

    if (zone->kind->create(zone, p, size) != NGX_OK) {
        return NGX_ERROR;
    }

    shpool->data = p;

    return NGX_OK;
}
