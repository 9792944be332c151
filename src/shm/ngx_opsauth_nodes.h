/*
 * Where the slots of a Redis Cluster are, for all workers: nodes, which are known
 * by the address that the cluster announces, what covers each of them, and whose
 * each slot is. It stands in the cache's zone, since a copy is good only as long
 * as the node that it came from has its slot (docs/cache.md).
 *
 * Functions are called under the cache's lock, but for those that say "no lock".
 * Times are CLOCK_MONOTONIC, ms. Cells are numbers of nodes, from 1 on.
 */

#ifndef NGX_OPSAUTH_NODES_H
#define NGX_OPSAUTH_NODES_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "oa_slot.h"
#include "ngx_opsauth_coverage.h"


/* primaries, and those that were lately */
#define NGX_OPSAUTH_NODES_MAX      64
/* "host:port" */
#define NGX_OPSAUTH_NODE_NAME_MAX  272


typedef struct {
    uint64_t                generation;     /* of the cell: changes with the
                                               node */
    uint64_t                len;            /* 0: free */
    u_char                  name[NGX_OPSAUTH_NODE_NAME_MAX];
} ngx_opsauth_node_t;


/* in shared memory; all zero: nothing is known */
typedef struct {
    uint64_t                version;        /* changes whenever a slot moves */
    uint64_t                asked_at;       /* what is known is of then */
    uint64_t                epoch;          /* the cluster's, at that time */
    uint64_t                accepted_at;
    uint64_t                confused;       /* maps of the past refused */
    uint64_t                pad[3];
    ngx_opsauth_coverage_t  cells[NGX_OPSAUTH_NODES_MAX + 1];
    uint64_t                moved_at[OA_SLOTS];
    ngx_opsauth_node_t      nodes[NGX_OPSAUTH_NODES_MAX + 1];
    u_char                  owners[OA_SLOTS];       /* cells; 0: not known */
} ngx_opsauth_nodes_t;


/* the cell of this node, a new one if need be; 0: there is no room, all have
   slots */
ngx_uint_t ngx_opsauth_nodes_cell(ngx_opsauth_nodes_t *nodes,
    const ngx_str_t *name, ngx_msec_t now, ngx_msec_t lease);

/* a node says that a slot, which is its own as far as is known, is another's.
   NGX_DECLINED: it was not its own, or there is no such cell */
ngx_int_t ngx_opsauth_nodes_move(ngx_opsauth_nodes_t *nodes, ngx_uint_t slot,
    ngx_uint_t from, ngx_uint_t to, ngx_msec_t now);

/*
 * A node was asked at asked_at where all slots are, and in which epoch the
 * cluster is (0: it hides that); owners[i] 0: it doesn't know. NGX_DECLINED: it
 * tells of the past, since another one knows of a later epoch: a primary that
 * was replaced while it was frozen does that, when it thaws.
 */
ngx_int_t ngx_opsauth_nodes_learn(ngx_opsauth_nodes_t *nodes,
    const u_char *owners, uint64_t epoch, ngx_msec_t asked_at, ngx_msec_t now);

/* no lock */
ngx_uint_t ngx_opsauth_nodes_owner(ngx_opsauth_nodes_t *nodes,
    ngx_uint_t slot);

/* no lock; before the copy is read: what vouches for copies of this slot */
void ngx_opsauth_nodes_view(ngx_opsauth_nodes_t *nodes, ngx_uint_t slot,
    ngx_opsauth_coverage_view_t *view);


#endif /* NGX_OPSAUTH_NODES_H */
