/*
 * One set of the slot table: its layout, and what is done to it. For
 * files ngx_opsauth_table*.c and ngx_opsauth_set*.c only.
 *
 * Invariants of a set while its sequence is even:
 *   - entries stand packed from the first slot on, free slots behind them are
 *     zero; so room is one number, and CLOCK order is the order of slots;
 *   - a tag is 0 (free), 1 (continuation) or 2..255 (an entry starts here);
 *   - it belongs to the table's epoch, or it is empty whatever it contains.
 *
 * Nothing of that is relied on for memory safety: readers race with writers,
 * and a writer may have died half-way. Every index is derived from the tags'
 * 64 positions or checked against the set's end; every length is loaded once
 * and then checked.
 */

#ifndef NGX_OPSAUTH_SET_H
#define NGX_OPSAUTH_SET_H

#include "ngx_opsauth_table.h"


#define NGX_OPSAUTH_SET_SIZE       4096

/* from one set to the next: at whole pages, the headers of all sets would
   share the same few lines of the processor's caches */
#define NGX_OPSAUTH_SET_STRIDE     (NGX_OPSAUTH_SET_SIZE + 64)

#define NGX_OPSAUTH_SET_LINES      (NGX_OPSAUTH_SET_STRIDE / 64)

#define NGX_OPSAUTH_SLOT_SIZE      64
#define NGX_OPSAUTH_SET_SLOTS      64       /* with those under the header */
#define NGX_OPSAUTH_SLOT_FIRST     2

#define NGX_OPSAUTH_TAG_FREE       0
#define NGX_OPSAUTH_TAG_NEXT       1
#define NGX_OPSAUTH_TAG_START      2


typedef struct {
    uint32_t        seq;
    uint32_t        epoch;
    uint32_t        hand;
    uint32_t        spare;
    uint64_t        marks;              /* bits of slots where entries start */
    uint64_t        negatives;          /* likewise */
    u_char          tags[NGX_OPSAUTH_SET_SLOTS];
    uint16_t        held[3];            /* its part of the table's totals:
                                           slots, entries, negatives */
    u_char          pad[2];
    uint64_t        count;              /* the stamp of the last invalidation */
    u_char          tail[16];
} ngx_opsauth_set_t;


typedef struct {
    u_char          key[NGX_OPSAUTH_TABLE_KEY_LEN];
    uint64_t        fetched_at;
    uint32_t        type;
    uint16_t        len;
    u_char          pad[2];
} ngx_opsauth_head_t;


/* what a set's tags say, made safe to compute with */
typedef struct {
    ngx_uint_t      used;               /* the slot behind the last entry */
    uint64_t        starts;

    /* as the set was opened */
    uint64_t        opened_starts;
    uint64_t        opened_negatives;
} ngx_opsauth_map_t;


typedef struct {
    uint64_t        evictions;
    uint64_t        negative_evictions;
    uint64_t        torn;
    uint64_t        held[3];            /* as in a set; all sets together */
    uint64_t        stamp;              /* rises with every invalidation */
} ngx_opsauth_set_counters_t;


/* no lock; epoch is the table's */
OA_HOT ngx_int_t ngx_opsauth_set_get(ngx_opsauth_set_t *set, const uint32_t *epoch,
    const u_char *key, ngx_opsauth_entry_t *entry);
OA_WARM void ngx_opsauth_set_map(ngx_opsauth_set_t *set,
    ngx_opsauth_map_t *map);

/* put and remove stand between open and close, and keep the map that was made
   after opening in step; put only where open said NGX_OK */
OA_WARM ngx_int_t ngx_opsauth_set_open(ngx_opsauth_set_t *set, uint32_t epoch,
    ngx_opsauth_set_counters_t *counters);
OA_WARM void ngx_opsauth_set_close(ngx_opsauth_set_t *set,
    ngx_opsauth_set_counters_t *counters, const ngx_opsauth_map_t *map);

/* between open and close: the set is empty, a map of it is to be made anew */
void ngx_opsauth_set_clear(ngx_opsauth_set_t *set);

/* len was checked */
OA_WARM ngx_int_t ngx_opsauth_set_put(ngx_opsauth_set_t *set,
    ngx_opsauth_set_counters_t *counters, ngx_opsauth_map_t *map,
    const u_char *key, ngx_msec_t fetched_at, ngx_uint_t type,
    ngx_uint_t negative, const u_char *data, size_t len);
void ngx_opsauth_set_remove(ngx_opsauth_set_t *set,
    ngx_opsauth_set_counters_t *counters, ngx_opsauth_map_t *map,
    const u_char *key);

/* would put() push out what may still be of use: a record, or a negative entry
   that was used twice */
ngx_uint_t ngx_opsauth_set_is_full(ngx_opsauth_set_t *set,
    ngx_opsauth_map_t *map, const u_char *key, ngx_uint_t negative,
    size_t len);


#endif /* NGX_OPSAUTH_SET_H */
