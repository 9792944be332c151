/*
 * What the rooms of the usage zone share; nobody else includes it.
 *
 * ngx_opsauth_usage.c        the zone, slots, counting
 * ngx_opsauth_usage_flush.c  whose turn it is, what is taken and given back
 */

#ifndef NGX_OPSAUTH_USAGE_ZONE_H
#define NGX_OPSAUTH_USAGE_ZONE_H

#include "ngx_opsauth_usage.h"


struct ngx_opsauth_usage_zone_s {
    uint64_t    magic;
    uint64_t    version;
    uint64_t    size;           /* of what follows */
    uint64_t    nsets;
    uint64_t    pad[4];

    uint64_t    next_flush;     /* ms, CLOCK_MONOTONIC */
    uint64_t    failures;       /* flushes in a row */
    uint64_t    check;          /* entry to begin with */
    uint64_t    told;           /* lost, as last logged */
    uint64_t    told_at;        /* ms */

    uint64_t    entries;
    uint64_t    lost;
    uint64_t    flushes;
    uint64_t    written;
    uint64_t    errors;
    uint64_t    tail[6];
};


#define ngx_opsauth_usage_get(word)                                           \
    __atomic_load_n(word, __ATOMIC_RELAXED)

#define ngx_opsauth_usage_put(word, value)                                    \
    __atomic_store_n(word, (uint64_t) (value), __ATOMIC_RELAXED)

#define ngx_opsauth_usage_plus(word, n)                                       \
    (void) __atomic_fetch_add(word, (uint64_t) (n), __ATOMIC_RELAXED)


static ngx_inline void
ngx_opsauth_usage_mark(ngx_opsauth_usage_t *usage, ngx_uint_t slot)
{
    (void) __atomic_fetch_or(&usage->touched[slot / 64],
                             (uint64_t) 1 << slot % 64, __ATOMIC_ACQ_REL);
}


#endif /* NGX_OPSAUTH_USAGE_ZONE_H */
