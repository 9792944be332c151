/*
 * Room in a set: what its writers move, and what has to go. For the files
 * ngx_opsauth_set*.c and ngx_opsauth_table_grow.c only; all of it between open
 * and close. A map is kept in step with the set.
 */

#ifndef NGX_OPSAUTH_SET_ROOM_H
#define NGX_OPSAUTH_SET_ROOM_H

#include "ngx_opsauth_set.h"


/* the slots below n; n is less than 64 */
#define ngx_opsauth_below(n)       (((uint64_t) 1 << (n)) - 1)

#define ngx_opsauth_bit(n)         ((uint64_t) 1 << (n))


static ngx_inline u_char *
ngx_opsauth_set_slot(ngx_opsauth_set_t *set, ngx_uint_t slot)
{
    return (u_char *) set + slot * NGX_OPSAUTH_SLOT_SIZE;
}


/* of a byte that isn't used for addressing */

static ngx_inline ngx_uint_t
ngx_opsauth_set_tag(const u_char *key)
{
    return (key[8] < NGX_OPSAUTH_TAG_START) ? key[8] + NGX_OPSAUTH_TAG_START
                                            : key[8];
}


/* slots of the entry that starts there */

static ngx_inline ngx_uint_t
ngx_opsauth_map_extent(ngx_opsauth_map_t *map, ngx_uint_t slot)
{
    uint64_t  later;

    later = map->starts & ~ngx_opsauth_below(slot) & ~ngx_opsauth_bit(slot);

    return (later ? (ngx_uint_t) __builtin_ctzll(later) : map->used) - slot;
}


/*
 * Makes n slots free, and the hand a place to insert at: 0. Or the slot of an
 * entry of that very size which is to go, to be replaced: so nothing has to be
 * moved.
 */
OA_WARM ngx_uint_t ngx_opsauth_set_room(ngx_opsauth_set_t *set,
    ngx_opsauth_set_counters_t *counters, ngx_opsauth_map_t *map, ngx_uint_t n,
    ngx_uint_t negative);

/* n free slots are there; the hand goes behind what is inserted */
void ngx_opsauth_set_insert(ngx_opsauth_set_t *set, ngx_opsauth_map_t *map,
    ngx_uint_t slot, ngx_uint_t n, ngx_uint_t tag);
OA_WARM void ngx_opsauth_set_replace(ngx_opsauth_set_t *set,
    ngx_opsauth_set_counters_t *counters, ngx_uint_t slot, ngx_uint_t n,
    ngx_uint_t tag);
void ngx_opsauth_set_delete(ngx_opsauth_set_t *set, ngx_opsauth_map_t *map,
    ngx_uint_t slot);

/* the entry of another set that starts at this slot of it, behind the last one
   of set, as it is; there is room, and the other set stays as it is */
void ngx_opsauth_set_append(ngx_opsauth_set_t *set, ngx_opsauth_map_t *map,
    ngx_opsauth_set_t *other, ngx_opsauth_map_t *its, ngx_uint_t slot);

/* the entry's head and data, into n slots that are its own */
OA_WARM void ngx_opsauth_set_write(ngx_opsauth_set_t *set, ngx_uint_t slot,
    ngx_uint_t n, const u_char *key, ngx_msec_t fetched_at, ngx_uint_t type,
    const u_char *data, size_t len);

/* writers are serialised; who reads the counter isn't */
void ngx_opsauth_set_count(uint64_t *counter);


#endif /* NGX_OPSAUTH_SET_ROOM_H */
