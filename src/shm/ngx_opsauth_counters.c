/*
 * The block of counters; contract in the header. Called by src/http, by way of
 * ngx_opsauth_counters_zone.c.
 *
 * A cell belongs to the process whose id stands in it. A process that was killed
 * leaves its id behind; it is known to be gone by kill(), so that its gauges
 * don't count and its cell can be taken. Should another process have got that
 * id, the cell waits a little longer, and nothing worse happens.
 */

#include "ngx_opsauth_counters.h"


#define NGX_OPSAUTH_COUNTERS_MAGIC    0x31746e756f633a41ULL
#define NGX_OPSAUTH_COUNTERS_VERSION  1

/* two lines: processors fetch them in pairs */
#define NGX_OPSAUTH_COUNTERS_LINE     128


typedef struct {
    uint64_t  pid;                      /* 0: nobody's */
    uint64_t  words[];
} ngx_opsauth_cell_t;


struct ngx_opsauth_counters_zone_s {
    uint64_t  magic;
    uint64_t  version;
    uint64_t  nwords;
    uint64_t  ngauges;
    uint64_t  ncells;
    uint64_t  since;
    uint64_t  pad[NGX_OPSAUTH_COUNTERS_LINE / sizeof(uint64_t) - 6];
};


static size_t ngx_opsauth_counters_stride(ngx_uint_t nwords);
static ngx_opsauth_cell_t *ngx_opsauth_counters_cell(
    ngx_opsauth_counters_t *counters, ngx_uint_t n);
static ngx_uint_t ngx_opsauth_counters_lives(uint64_t pid);


size_t
ngx_opsauth_counters_size(ngx_uint_t nwords)
{
    return sizeof(ngx_opsauth_counters_zone_t)
           + NGX_OPSAUTH_COUNTERS_CELLS * ngx_opsauth_counters_stride(nwords);
}


void
ngx_opsauth_counters_init(ngx_opsauth_counters_zone_t *zone,
    ngx_uint_t nwords, ngx_uint_t ngauges, time_t now)
{
    zone->version = NGX_OPSAUTH_COUNTERS_VERSION;
    zone->nwords = nwords;
    zone->ngauges = ngauges;
    zone->ncells = NGX_OPSAUTH_COUNTERS_CELLS;
    zone->since = now;
    zone->magic = NGX_OPSAUTH_COUNTERS_MAGIC;
}


ngx_int_t
ngx_opsauth_counters_check(ngx_opsauth_counters_zone_t *zone, size_t size,
    ngx_uint_t nwords, ngx_uint_t ngauges)
{
    if (size < ngx_opsauth_counters_size(nwords)
        || zone->magic != NGX_OPSAUTH_COUNTERS_MAGIC
        || zone->version != NGX_OPSAUTH_COUNTERS_VERSION
        || zone->nwords != nwords
        || zone->ngauges != ngauges
        || zone->ncells != NGX_OPSAUTH_COUNTERS_CELLS)
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


void
ngx_opsauth_counters_claim(ngx_opsauth_counters_t *counters, ngx_pid_t pid)
{
    uint64_t             owner;
    ngx_uint_t           i, n;
    ngx_opsauth_cell_t  *cell;

    for (i = 0; i < NGX_OPSAUTH_COUNTERS_CELLS - 1; i++) {

        cell = ngx_opsauth_counters_cell(counters, i);
        owner = __atomic_load_n(&cell->pid, __ATOMIC_ACQUIRE);

        /* its own: of a cycle before, where one process is all there is */

        if (owner != 0 && owner != (uint64_t) pid
            && ngx_opsauth_counters_lives(owner))
        {
            continue;
        }

        if (!__atomic_compare_exchange_n(&cell->pid, &owner, (uint64_t) pid, 0,
                                         __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        {
            continue;
        }

        for (n = 0; n < counters->ngauges; n++) {
            __atomic_store_n(&cell->words[n], 0, __ATOMIC_RELAXED);
        }

        counters->own = cell->words;
        counters->words = cell->words;
        return;
    }

    cell = ngx_opsauth_counters_cell(counters, i);

    counters->own = NULL;
    counters->words = cell->words;
}


void
ngx_opsauth_counters_release(ngx_opsauth_counters_t *counters)
{
    ngx_uint_t           n;
    ngx_opsauth_cell_t  *cell;

    if (counters->own) {
        cell = (ngx_opsauth_cell_t *) ((u_char *) counters->own
                                       - offsetof(ngx_opsauth_cell_t, words));

        for (n = 0; n < counters->ngauges; n++) {
            __atomic_store_n(&cell->words[n], 0, __ATOMIC_RELAXED);
        }

        __atomic_store_n(&cell->pid, 0, __ATOMIC_RELEASE);
    }

    counters->own = NULL;
    counters->words = NULL;
}


ngx_uint_t
ngx_opsauth_counters_sum(ngx_opsauth_counters_t *counters, uint64_t *sums)
{
    uint64_t             pid;
    ngx_uint_t           i, n, live;
    ngx_opsauth_cell_t  *cell;

    ngx_memzero(sums, counters->nwords * sizeof(uint64_t));

    live = 0;

    for (i = 0; i < NGX_OPSAUTH_COUNTERS_CELLS; i++) {

        cell = ngx_opsauth_counters_cell(counters, i);
        pid = __atomic_load_n(&cell->pid, __ATOMIC_ACQUIRE);
        n = counters->ngauges;

        if (pid != 0 && ngx_opsauth_counters_lives(pid)) {
            live++;
            n = 0;
        }

        for ( /* void */ ; n < counters->nwords; n++) {
            sums[n] += __atomic_load_n(&cell->words[n], __ATOMIC_RELAXED);
        }
    }

    return live;
}


time_t
ngx_opsauth_counters_since(ngx_opsauth_counters_t *counters)
{
    return (time_t) counters->zone->since;
}


static size_t
ngx_opsauth_counters_stride(ngx_uint_t nwords)
{
    return ngx_align(sizeof(ngx_opsauth_cell_t) + nwords * sizeof(uint64_t),
                     NGX_OPSAUTH_COUNTERS_LINE);
}


static ngx_opsauth_cell_t *
ngx_opsauth_counters_cell(ngx_opsauth_counters_t *counters, ngx_uint_t n)
{
    return (ngx_opsauth_cell_t *)
               ((u_char *) (counters->zone + 1)
                + n * ngx_opsauth_counters_stride(counters->nwords));
}


/* one of another user lives, too */

static ngx_uint_t
ngx_opsauth_counters_lives(uint64_t pid)
{
    return kill((ngx_pid_t) pid, 0) == 0 || ngx_errno != ESRCH;
}
