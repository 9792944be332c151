/*
 * Counters that all processes of a host add to, in a shared zone of their own.
 *
 *   block   a head, then cells, each on cache lines that no other one touches
 *   cell    one process' words; what was counted there stays when the process is
 *           gone, and whoever takes the cell over goes on counting there
 *   last    of the processes that found no cell of their own: they share it,
 *           and add atomically
 *
 * Of a cell's words the first ones are gauges: what is so now, in that process.
 * They are summed over processes that live, and mean nothing in the last cell.
 * All others are counters, summed over all cells. A reader takes no lock: it
 * sees each word whole, and words a moment apart.
 *
 * What the words mean is the caller's.
 */

#ifndef NGX_OPSAUTH_COUNTERS_H
#define NGX_OPSAUTH_COUNTERS_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_opsauth_zone.h"


/* with the last one: workers of two cycles at a reload, and room to spare */
#define NGX_OPSAUTH_COUNTERS_CELLS  128


typedef struct ngx_opsauth_counters_zone_s  ngx_opsauth_counters_zone_t;

typedef struct {
    ngx_opsauth_zone_t            base;     /* first: see zone.h */
    ngx_opsauth_counters_zone_t  *zone;     /* in shared memory */
    uint64_t                     *own;      /* words of this process alone: it
                                               adds as to any variable */
    uint64_t                     *words;    /* the same, or those of the last
                                               cell; NULL: not claimed yet */
    ngx_uint_t                    nwords;
    ngx_uint_t                    ngauges;
} ngx_opsauth_counters_t;


/* bytes of a block */
size_t ngx_opsauth_counters_size(ngx_uint_t nwords);

/* lays out a block of that size, zeroed and aligned to cache lines; now is in
   seconds since the epoch */
void ngx_opsauth_counters_init(ngx_opsauth_counters_zone_t *zone,
    ngx_uint_t nwords, ngx_uint_t ngauges, time_t now);

/* NGX_OK: a block of such words stands there, of that many bytes at most */
ngx_int_t ngx_opsauth_counters_check(ngx_opsauth_counters_zone_t *zone,
    size_t size, ngx_uint_t nwords, ngx_uint_t ngauges);

/* in the process that counts, before it does; a cell whose process is gone is
   taken over */
void ngx_opsauth_counters_claim(ngx_opsauth_counters_t *counters,
    ngx_pid_t pid);

/* before the process ends; not called where it is killed */
void ngx_opsauth_counters_release(ngx_opsauth_counters_t *counters);

/* fills sums[nwords]; returns how many processes have cells now */
ngx_uint_t ngx_opsauth_counters_sum(ngx_opsauth_counters_t *counters,
    uint64_t *sums);

/* when counting began, in seconds since the epoch */
time_t ngx_opsauth_counters_since(ngx_opsauth_counters_t *counters);


/* ngx_opsauth_counters_zone.c */

/*
 * Adds the zone to the cycle; counters->nwords and ngauges are set. A reload
 * keeps what was counted, unless the words have changed. NGX_ERROR was logged.
 */
ngx_int_t ngx_opsauth_counters_add(ngx_conf_t *cf,
    ngx_opsauth_counters_t *counters, ngx_str_t *name, void *tag);


#endif /* NGX_OPSAUTH_COUNTERS_H */
