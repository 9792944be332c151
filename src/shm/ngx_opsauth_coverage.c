/*
 * The chain of certificates; contract in the header, proof by the model in
 * t/model. Called by the cache: certify under its lock, the rest without.
 *
 * Two feeds may extend one coverage, so that either may be lost: a feed that
 * started before the last certificate continues the chain, since until that
 * moment the other one announced everything, and from its start on this one
 * does. A feed that started later may only begin anew, once the old coverage
 * has run out.
 */

#include "ngx_opsauth_coverage.h"


static void ngx_opsauth_coverage_begin(ngx_opsauth_coverage_t *coverage,
    ngx_msec_t from, ngx_msec_t to);


#define ngx_opsauth_coverage_load(word)                                       \
    ((ngx_msec_t) __atomic_load_n(word, __ATOMIC_ACQUIRE))

#define ngx_opsauth_coverage_store(word, value)                               \
    __atomic_store_n(word, (uint64_t) (value), __ATOMIC_RELEASE)

#define ngx_opsauth_coverage_after(a, b)  ((ngx_msec_int_t) ((a) - (b)) > 0)


ngx_opsauth_coverage_e
ngx_opsauth_coverage_certify(ngx_opsauth_coverage_t *coverage, uint64_t server,
    ngx_msec_t started, ngx_msec_t sent_at, ngx_msec_t now, ngx_msec_t lease)
{
    ngx_msec_t  to;

    if (coverage->server != server) {

        if (coverage->server != 0
            && !ngx_opsauth_coverage_after(started,
                                           (ngx_msec_t) coverage->taken))
        {
            return NGX_OPSAUTH_COVERAGE_REFUSED;
        }

        /* from then on: the other server's last replies may be in already */

        if (coverage->server != 0) {
            ngx_opsauth_coverage_store(&coverage->floor, now + 1);
        }

        ngx_opsauth_coverage_begin(coverage, now + 1, sent_at);

        coverage->taken = started;
        ngx_opsauth_coverage_store(&coverage->server, server);

        return NGX_OPSAUTH_COVERAGE_TAKEN;
    }

    to = (ngx_msec_t) coverage->to;

    if (!ngx_opsauth_coverage_after(started, to)) {

        if (ngx_opsauth_coverage_after(sent_at, to)) {
            ngx_opsauth_coverage_store(&coverage->to, sent_at);
        }

        return NGX_OPSAUTH_COVERAGE_KEPT;
    }

    if (ngx_opsauth_coverage_after(now - lease, to)) {
        ngx_opsauth_coverage_begin(coverage, started, sent_at);
        return NGX_OPSAUTH_COVERAGE_BEGUN;
    }

    return NGX_OPSAUTH_COVERAGE_KEPT;
}


static void
ngx_opsauth_coverage_begin(ngx_opsauth_coverage_t *coverage, ngx_msec_t from,
    ngx_msec_t to)
{
    ngx_opsauth_coverage_store(&coverage->from, from);
    ngx_opsauth_coverage_store(&coverage->to, to);
    ngx_opsauth_coverage_store(&coverage->gaps, coverage->gaps + 1);
}


ngx_uint_t
ngx_opsauth_coverage_holds(ngx_opsauth_coverage_t *coverage,
    ngx_msec_t fetched_at, ngx_msec_t now, ngx_msec_t lease)
{
    ngx_msec_t  from, to;

    to = ngx_opsauth_coverage_load(&coverage->to);
    from = ngx_opsauth_coverage_load(&coverage->from);

    return from != 0
           && !ngx_opsauth_coverage_after(from, fetched_at)
           && !ngx_opsauth_coverage_after(now - lease, to);
}


ngx_uint_t
ngx_opsauth_coverage_outdated(ngx_opsauth_coverage_t *coverage,
    ngx_msec_t fetched_at)
{
    ngx_msec_t  floor;

    floor = ngx_opsauth_coverage_load(&coverage->floor);

    return floor != 0 && ngx_opsauth_coverage_after(floor, fetched_at);
}


ngx_msec_t
ngx_opsauth_coverage_coherent(ngx_opsauth_coverage_t *coverage,
    ngx_msec_t fetched_at)
{
    ngx_msec_t  from, to;

    to = ngx_opsauth_coverage_load(&coverage->to);
    from = ngx_opsauth_coverage_load(&coverage->from);

    if (from != 0 && !ngx_opsauth_coverage_after(from, fetched_at)
        && ngx_opsauth_coverage_after(to, fetched_at))
    {
        return to;
    }

    return fetched_at;
}


ngx_uint_t
ngx_opsauth_coverage_foreign(ngx_opsauth_coverage_t *coverage, uint64_t server,
    ngx_msec_t now, ngx_msec_t lease)
{
    uint64_t    covering;
    ngx_msec_t  to;

    to = ngx_opsauth_coverage_load(&coverage->to);
    covering = __atomic_load_n(&coverage->server, __ATOMIC_ACQUIRE);

    return server != 0 && covering != 0 && server != covering
           && !ngx_opsauth_coverage_after(now - lease, to);
}
