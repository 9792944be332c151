/*
 * Nodes and slots; contract in the header. Called by ngx_opsauth_cache_nodes.c,
 * which has the lock, and by a hit.
 *
 * Why a copy is safe: it is trusted by the coverage of the node that has its
 * slot now, and only if it was read after the slot came there. Readers take the
 * owner first and writers change it last: whoever sees the new owner sees when
 * it became one, and whoever sees the old one is judged by its coverage, which
 * was true until then.
 */

#include "ngx_opsauth_nodes.h"


/* ms: a cluster that was made anew begins with an early epoch */
#define NGX_OPSAUTH_NODES_EPOCH_AGE  60000


static void ngx_opsauth_nodes_clear(ngx_opsauth_nodes_t *nodes,
    ngx_uint_t cell, ngx_msec_t now, ngx_msec_t lease);
static void ngx_opsauth_nodes_set(ngx_opsauth_nodes_t *nodes, ngx_uint_t slot,
    ngx_uint_t to, ngx_msec_t now);


#define ngx_opsauth_nodes_later(a, b)  ((ngx_msec_int_t) ((a) - (b)) > 0)


ngx_uint_t
ngx_opsauth_nodes_cell(ngx_opsauth_nodes_t *nodes, const ngx_str_t *name,
    ngx_msec_t now, ngx_msec_t lease)
{
    u_char               has[NGX_OPSAUTH_NODES_MAX + 1];
    ngx_uint_t           i, free;
    ngx_opsauth_node_t  *node;

    if (name->len == 0 || name->len > NGX_OPSAUTH_NODE_NAME_MAX) {
        return 0;
    }

    free = 0;

    for (i = 1; i <= NGX_OPSAUTH_NODES_MAX; i++) {
        node = &nodes->nodes[i];

        if (node->len == name->len
            && ngx_memcmp(node->name, name->data, name->len) == 0)
        {
            return i;
        }

        if (node->len == 0 && free == 0) {
            free = i;
        }
    }

    if (free == 0) {

        /* addresses come and go where nodes are containers */

        ngx_memzero(has, sizeof(has));

        for (i = 0; i < OA_SLOTS; i++) {
            has[nodes->owners[i] % sizeof(has)] = 1;
        }

        for (i = 1; i <= NGX_OPSAUTH_NODES_MAX && free == 0; i++) {
            free = has[i] ? 0 : i;
        }
    }

    if (free == 0) {
        return 0;
    }

    ngx_opsauth_nodes_clear(nodes, free, now, lease);

    node = &nodes->nodes[free];

    ngx_memcpy(node->name, name->data, name->len);
    node->len = name->len;

    return free;
}


/* whoever has a connection to the node that was there learns of it by the
   generation */

static void
ngx_opsauth_nodes_clear(ngx_opsauth_nodes_t *nodes, ngx_uint_t cell,
    ngx_msec_t now, ngx_msec_t lease)
{
    ngx_opsauth_node_t      *node;
    ngx_opsauth_coverage_t  *coverage;

    node = &nodes->nodes[cell];
    coverage = &nodes->cells[cell];

    __atomic_store_n(&node->generation, node->generation + 1,
                     __ATOMIC_RELEASE);
    node->len = 0;

    /* before any slot can be seen to be this cell's */
    __atomic_store_n(&nodes->version, nodes->version + 1, __ATOMIC_RELEASE);

    __atomic_store_n(&coverage->from, (uint64_t) (now + 1), __ATOMIC_RELEASE);
    __atomic_store_n(&coverage->to, (uint64_t) (now - lease - 1),
                     __ATOMIC_RELEASE);
    __atomic_store_n(&coverage->floor, (uint64_t) (now + 1), __ATOMIC_RELEASE);
    __atomic_store_n(&coverage->confirmed, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&coverage->resolved, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&coverage->server, 0, __ATOMIC_RELEASE);
}


static void
ngx_opsauth_nodes_set(ngx_opsauth_nodes_t *nodes, ngx_uint_t slot,
    ngx_uint_t to, ngx_msec_t now)
{
    /* rounded up: what was read in this ms may be the other one's */

    __atomic_store_n(&nodes->moved_at[slot], (uint64_t) (now + 1),
                     __ATOMIC_RELEASE);
    __atomic_store_n(&nodes->owners[slot], (u_char) to, __ATOMIC_RELEASE);
}


ngx_int_t
ngx_opsauth_nodes_move(ngx_opsauth_nodes_t *nodes, ngx_uint_t slot,
    ngx_uint_t from, ngx_uint_t to, ngx_msec_t now)
{
    if (slot >= OA_SLOTS || to == 0 || to > NGX_OPSAUTH_NODES_MAX
        || nodes->nodes[to].len == 0 || nodes->owners[slot] != from
        || from == to)
    {
        return NGX_DECLINED;
    }

    ngx_opsauth_nodes_set(nodes, slot, to, now);

    __atomic_store_n(&nodes->version, nodes->version + 1, __ATOMIC_RELEASE);

    return NGX_OK;
}


ngx_int_t
ngx_opsauth_nodes_learn(ngx_opsauth_nodes_t *nodes, const u_char *owners,
    uint64_t epoch, ngx_msec_t asked_at, ngx_msec_t now)
{
    ngx_uint_t  i, moved;

    if (epoch && epoch < nodes->epoch
        && now - (ngx_msec_t) nodes->accepted_at < NGX_OPSAUTH_NODES_EPOCH_AGE)
    {
        __atomic_store_n(&nodes->confused, nodes->confused + 1,
                         __ATOMIC_RELAXED);
        return NGX_DECLINED;
    }

    /* another worker has asked since */

    if (nodes->accepted_at
        && ngx_opsauth_nodes_later((ngx_msec_t) nodes->asked_at, asked_at))
    {
        return NGX_OK;
    }

    if (epoch) {
        nodes->epoch = epoch;
    }

    nodes->asked_at = asked_at;
    nodes->accepted_at = now;

    moved = 0;

    for (i = 0; i < OA_SLOTS; i++) {

        if (owners[i] == 0 || owners[i] > NGX_OPSAUTH_NODES_MAX
            || nodes->nodes[owners[i]].len == 0
            || owners[i] == nodes->owners[i])
        {
            continue;
        }

        ngx_opsauth_nodes_set(nodes, i, owners[i], now);
        moved = 1;
    }

    if (moved) {
        __atomic_store_n(&nodes->version, nodes->version + 1,
                         __ATOMIC_RELEASE);
    }

    return NGX_OK;
}


ngx_uint_t
ngx_opsauth_nodes_owner(ngx_opsauth_nodes_t *nodes, ngx_uint_t slot)
{
    u_char  cell;

    if (slot >= OA_SLOTS) {
        return 0;
    }

    cell = __atomic_load_n(&nodes->owners[slot], __ATOMIC_ACQUIRE);

    return (cell <= NGX_OPSAUTH_NODES_MAX) ? cell : 0;
}


void
ngx_opsauth_nodes_view(ngx_opsauth_nodes_t *nodes, ngx_uint_t slot,
    ngx_opsauth_coverage_view_t *view)
{
    ngx_uint_t  cell;
    ngx_msec_t  moved_at;

    cell = ngx_opsauth_nodes_owner(nodes, slot);

    /* that of nobody has never been covered */

    ngx_opsauth_coverage_load(&nodes->cells[cell], view);

    if (cell == 0) {
        return;
    }

    moved_at = (ngx_msec_t) __atomic_load_n(&nodes->moved_at[slot],
                                            __ATOMIC_ACQUIRE);

    if (view->from && ngx_opsauth_nodes_later(moved_at, view->from)) {
        view->from = moved_at;
    }

    if (view->floor == 0 || ngx_opsauth_nodes_later(moved_at, view->floor)) {
        view->floor = moved_at;
    }
}
