/*
 * A zone of shared memory that one block fills and that outlives reloads: what
 * the cache, the rates, the usage and the counters of the status page share.
 */

#ifndef NGX_OPSAUTH_ZONE_H
#define NGX_OPSAUTH_ZONE_H

#include <ngx_config.h>
#include <ngx_core.h>


/* what tells one kind of zone from another */
typedef struct {
    const char  *name;          /* "cache" */
    const char  *holds;         /* "records", for the log */
    size_t       align;         /* of the block, a power of two */
    size_t       head;          /* bytes that a block has at least */

    /*
     * owner: whatever has an ngx_opsauth_zone_t as its first member. adopt():
     * NGX_OK, the block was laid out by create(), in this process or in one
     * before; NGX_DECLINED otherwise. create(): the block is zeroed, or was
     * never used; NGX_ERROR: it is too small.
     */
    ngx_int_t  (*adopt)(void *owner, u_char *block, size_t size);
    ngx_int_t  (*create)(void *owner, u_char *block, size_t size);
} ngx_opsauth_zone_kind_t;


typedef struct {
    const ngx_opsauth_zone_kind_t  *kind;
    ngx_shm_zone_t                 *shm_zone;
    ngx_slab_pool_t                *shpool;     /* its mutex is the owner's to
                                                   use, its memory is not */
} ngx_opsauth_zone_t;


/* bytes of the smallest zone; less is a configuration error */
size_t ngx_opsauth_zone_size_min(void);

/*
 * Adds the zone to the cycle; its block is laid out before workers start. A
 * reload with the same name, size and tag (the module) keeps what it holds.
 * NGX_ERROR was logged.
 */
ngx_int_t ngx_opsauth_zone_add(ngx_conf_t *cf, ngx_opsauth_zone_t *zone,
    const ngx_opsauth_zone_kind_t *kind, ngx_str_t *name, size_t size,
    void *tag);


#endif /* NGX_OPSAUTH_ZONE_H */
