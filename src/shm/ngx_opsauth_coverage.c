/*
 * The chain of certificates; contract in the header, proof by the model in
 * t/model. Called by the cache: certify and take under its lock, the rest
 * without.
 *
 * Two feeds may extend one coverage, so that either may be lost: a feed that
 * started before the last certificate continues the chain, since until that
 * moment the other one announced everything, and from its start on this one
 * does. So does a feed that started before the coverage did. One that started
 * later may only begin anew, once the old coverage has run out.
 */

#include "ngx_opsauth_coverage.h"


static void ngx_opsauth_coverage_begin(ngx_opsauth_coverage_t *coverage,
    ngx_msec_t from, ngx_msec_t to);


#define ngx_opsauth_coverage_get(word)                                        \
    ((ngx_msec_t) __atomic_load_n(word, __ATOMIC_ACQUIRE))

#define ngx_opsauth_coverage_set(word, value)                                 \
    __atomic_store_n(word, (uint64_t) (value), __ATOMIC_RELEASE)

#define ngx_opsauth_coverage_after(a, b)  ((ngx_msec_int_t) ((a) - (b)) > 0)


ngx_opsauth_coverage_e
ngx_opsauth_coverage_certify(ngx_opsauth_coverage_t *coverage, uint64_t server,
    ngx_msec_t resolved, ngx_msec_t started, ngx_msec_t sent_at,
    ngx_msec_t now, ngx_msec_t lease)
{
    ngx_msec_t              from, to;
    ngx_opsauth_coverage_e  rc;

    rc = ngx_opsauth_coverage_take(coverage, server, resolved, now, lease);

    if (rc == NGX_OPSAUTH_COVERAGE_REFUSED) {
        return rc;
    }

    from = (ngx_msec_t) coverage->from;
    to = (ngx_msec_t) coverage->to;

    if (rc == NGX_OPSAUTH_COVERAGE_TAKEN) {
        ngx_opsauth_coverage_begin(coverage, from, sent_at);
        return rc;
    }

    if (!ngx_opsauth_coverage_after(started, to)
        || !ngx_opsauth_coverage_after(started, from))
    {
        if (ngx_opsauth_coverage_after(sent_at, to)) {
            ngx_opsauth_coverage_set(&coverage->to, sent_at);
        }

        return NGX_OPSAUTH_COVERAGE_KEPT;
    }

    if (ngx_opsauth_coverage_after(now - lease, to)) {
        ngx_opsauth_coverage_begin(coverage, started, sent_at);
        return NGX_OPSAUTH_COVERAGE_BEGUN;
    }

    return NGX_OPSAUTH_COVERAGE_KEPT;
}


ngx_opsauth_coverage_e
ngx_opsauth_coverage_take(ngx_opsauth_coverage_t *coverage, uint64_t server,
    ngx_msec_t resolved, ngx_msec_t now, ngx_msec_t lease)
{
    ngx_uint_t  later;

    later = ngx_opsauth_coverage_after(resolved,
                                       (ngx_msec_t) coverage->resolved);

    if (coverage->server == server) {

        if (later) {
            ngx_opsauth_coverage_set(&coverage->resolved, resolved);
        }

        return NGX_OPSAUTH_COVERAGE_KEPT;
    }

    if (coverage->server != 0) {

        if (!later) {
            return NGX_OPSAUTH_COVERAGE_REFUSED;
        }

        /* from then on: the other server's last replies may be in already */

        ngx_opsauth_coverage_set(&coverage->floor, now + 1);
    }

    /* not in force, until it is certified */

    ngx_opsauth_coverage_set(&coverage->from, now + 1);
    ngx_opsauth_coverage_set(&coverage->to, now - lease - 1);

    ngx_opsauth_coverage_set(&coverage->resolved, resolved);
    ngx_opsauth_coverage_set(&coverage->server, server);

    return NGX_OPSAUTH_COVERAGE_TAKEN;
}


static void
ngx_opsauth_coverage_begin(ngx_opsauth_coverage_t *coverage, ngx_msec_t from,
    ngx_msec_t to)
{
    ngx_opsauth_coverage_set(&coverage->from, from);
    ngx_opsauth_coverage_set(&coverage->to, to);
    ngx_opsauth_coverage_set(&coverage->gaps, coverage->gaps + 1);
}


void
ngx_opsauth_coverage_load(ngx_opsauth_coverage_t *coverage,
    ngx_opsauth_coverage_view_t *view)
{
    view->to = ngx_opsauth_coverage_get(&coverage->to);
    view->from = ngx_opsauth_coverage_get(&coverage->from);
    view->floor = ngx_opsauth_coverage_get(&coverage->floor);
}


ngx_uint_t
ngx_opsauth_coverage_holds(const ngx_opsauth_coverage_view_t *view,
    ngx_msec_t fetched_at, ngx_msec_t now, ngx_msec_t lease)
{
    return view->from != 0
           && !ngx_opsauth_coverage_after(view->from, fetched_at)
           && !ngx_opsauth_coverage_after(now - lease, view->to);
}


ngx_uint_t
ngx_opsauth_coverage_outdated(const ngx_opsauth_coverage_view_t *view,
    ngx_msec_t fetched_at)
{
    return view->floor != 0
           && ngx_opsauth_coverage_after(view->floor, fetched_at);
}


ngx_msec_t
ngx_opsauth_coverage_coherent(const ngx_opsauth_coverage_view_t *view,
    ngx_msec_t fetched_at)
{
    if (view->from != 0
        && !ngx_opsauth_coverage_after(view->from, fetched_at)
        && ngx_opsauth_coverage_after(view->to, fetched_at))
    {
        return view->to;
    }

    return fetched_at;
}


ngx_uint_t
ngx_opsauth_coverage_replaced(ngx_opsauth_coverage_t *coverage,
    uint64_t server, ngx_msec_t resolved)
{
    uint64_t    covering;
    ngx_msec_t  latest;

    covering = __atomic_load_n(&coverage->server, __ATOMIC_ACQUIRE);
    latest = ngx_opsauth_coverage_get(&coverage->resolved);

    return covering != 0 && server != covering
           && !ngx_opsauth_coverage_after(resolved, latest);
}


uint64_t
ngx_opsauth_coverage_server(ngx_opsauth_coverage_t *coverage,
    ngx_msec_t *resolved)
{
    uint64_t  server;

    /* in the opposite order of take() */

    server = __atomic_load_n(&coverage->server, __ATOMIC_ACQUIRE);
    *resolved = ngx_opsauth_coverage_get(&coverage->resolved);

    return server;
}


ngx_uint_t
ngx_opsauth_coverage_foreign(ngx_opsauth_coverage_t *coverage, uint64_t server)
{
    return coverage->server != 0 && server != coverage->server;
}
