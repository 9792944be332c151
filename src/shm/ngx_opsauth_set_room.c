/*
 * How a set's entries make room for one another: they are kept packed by moving
 * them, and those that go are chosen as CLOCK does. Called by ngx_opsauth_set.c
 * and ngx_opsauth_table_grow.c.
 */

#include "ngx_opsauth_set_room.h"


static void ngx_opsauth_set_evict(ngx_opsauth_set_t *set,
    ngx_opsauth_set_counters_t *counters, ngx_opsauth_map_t *map,
    ngx_uint_t slot);
static void ngx_opsauth_set_count_eviction(ngx_opsauth_set_t *set,
    ngx_opsauth_set_counters_t *counters, ngx_uint_t slot);


void
ngx_opsauth_set_delete(ngx_opsauth_set_t *set, ngx_opsauth_map_t *map,
    ngx_uint_t slot)
{
    uint64_t    low, marks;
    ngx_uint_t  n, next, tail;

    n = ngx_opsauth_map_extent(map, slot);
    next = slot + n;
    tail = map->used - next;

    ngx_memmove(ngx_opsauth_set_slot(set, slot),
                ngx_opsauth_set_slot(set, next),
                tail * NGX_OPSAUTH_SLOT_SIZE);
    ngx_memzero(ngx_opsauth_set_slot(set, slot + tail),
                n * NGX_OPSAUTH_SLOT_SIZE);

    ngx_memmove(&set->tags[slot], &set->tags[next], tail);
    ngx_memzero(&set->tags[slot + tail], n);

    low = ngx_opsauth_below(slot);
    marks = __atomic_load_n(&set->marks, __ATOMIC_RELAXED);

    if (tail) {
        marks = (marks & low) | (marks >> next << slot);
        set->negatives = (set->negatives & low)
                         | (set->negatives >> next << slot);
        map->starts = (map->starts & low) | (map->starts >> next << slot);

    } else {
        marks &= low;
        set->negatives &= low;
        map->starts &= low;
    }

    map->used -= n;

    /* a reader's mark that comes in between is lost: no harm */
    __atomic_store_n(&set->marks, marks, __ATOMIC_RELAXED);

    if (set->hand >= next) {
        set->hand -= n;

    } else if (set->hand > slot) {
        set->hand = slot;
    }
}


void
ngx_opsauth_set_insert(ngx_opsauth_set_t *set, ngx_opsauth_map_t *map,
    ngx_uint_t slot, ngx_uint_t n, ngx_uint_t tag)
{
    uint64_t    low, marks;
    ngx_uint_t  next, tail;

    next = slot + n;
    tail = map->used - slot;

    ngx_memmove(ngx_opsauth_set_slot(set, next),
                ngx_opsauth_set_slot(set, slot),
                tail * NGX_OPSAUTH_SLOT_SIZE);
    ngx_memmove(&set->tags[next], &set->tags[slot], tail);

    set->tags[slot] = (u_char) tag;
    ngx_memset(&set->tags[slot + 1], NGX_OPSAUTH_TAG_NEXT, n - 1);

    low = ngx_opsauth_below(slot);
    marks = __atomic_load_n(&set->marks, __ATOMIC_RELAXED);

    if (tail) {
        marks = (marks & low) | (marks >> slot << next);
        set->negatives = (set->negatives & low)
                         | (set->negatives >> slot << next);
        map->starts = (map->starts & low) | (map->starts >> slot << next);

    } else {
        marks &= low;
        set->negatives &= low;
        map->starts &= low;
    }

    __atomic_store_n(&set->marks, marks, __ATOMIC_RELAXED);

    map->starts |= ngx_opsauth_bit(slot);
    map->used += n;

    set->hand = next;
}


void
ngx_opsauth_set_append(ngx_opsauth_set_t *set, ngx_opsauth_map_t *map,
    ngx_opsauth_set_t *other, ngx_opsauth_map_t *its, ngx_uint_t slot)
{
    uint64_t    bit;
    ngx_uint_t  n, at;

    n = ngx_opsauth_map_extent(its, slot);
    at = map->used;
    bit = ngx_opsauth_bit(slot);

    ngx_opsauth_set_insert(set, map, at, n, other->tags[slot]);

    ngx_memcpy(ngx_opsauth_set_slot(set, at), ngx_opsauth_set_slot(other, slot),
               n * NGX_OPSAUTH_SLOT_SIZE);

    if (__atomic_load_n(&other->marks, __ATOMIC_RELAXED) & bit) {
        (void) __atomic_fetch_or(&set->marks, ngx_opsauth_bit(at),
                                 __ATOMIC_RELAXED);
    }

    if (other->negatives & bit) {
        set->negatives |= ngx_opsauth_bit(at);
    }
}


void
ngx_opsauth_set_write(ngx_opsauth_set_t *set, ngx_uint_t slot, ngx_uint_t n,
    const u_char *key, ngx_msec_t fetched_at, ngx_uint_t type,
    const u_char *data, size_t len)
{
    u_char              *p;
    ngx_opsauth_head_t  *head;

    p = ngx_opsauth_set_slot(set, slot);
    head = (ngx_opsauth_head_t *) p;

    ngx_memzero(head, sizeof(ngx_opsauth_head_t));

    ngx_memcpy(head->key, key, NGX_OPSAUTH_TABLE_KEY_LEN);
    head->fetched_at = fetched_at;
    head->len = (uint16_t) len;
    head->type = (uint32_t) type;

    p += sizeof(ngx_opsauth_head_t);

    if (len) {
        ngx_memcpy(p, data, len);
    }

    ngx_memzero(p + len, n * NGX_OPSAUTH_SLOT_SIZE
                         - sizeof(ngx_opsauth_head_t) - len);
}


/*
 * A negative entry takes free slots up to its share and then the place of
 * another negative; a good record only where the set is full and holds none,
 * so that a client that repeats a wrong key is answered from here also in a
 * crowded zone. A record takes negatives that weren't used twice, and then
 * whatever CLOCK says.
 */

ngx_uint_t
ngx_opsauth_set_room(ngx_opsauth_set_t *set,
    ngx_opsauth_set_counters_t *counters, ngx_opsauth_map_t *map, ngx_uint_t n,
    ngx_uint_t negative)
{
    uint64_t    bit, marks, mask;
    ngx_uint_t  turns;

    set->negatives &= map->starts;

    if (negative
        && set->negatives
        && (map->used + n > NGX_OPSAUTH_SET_SLOTS
            || __builtin_popcountll(set->negatives)
               >= NGX_OPSAUTH_TABLE_NEGATIVES))
    {
        marks = __atomic_load_n(&set->marks, __ATOMIC_RELAXED);
        mask = set->negatives & ~marks;

        if (mask == 0) {
            mask = set->negatives;
            __atomic_store_n(&set->marks, marks & ~mask, __ATOMIC_RELAXED);
        }

        ngx_opsauth_set_evict(set, counters, map, __builtin_ctzll(mask));
    }

    while (!negative && map->used + n > NGX_OPSAUTH_SET_SLOTS) {

        mask = set->negatives
               & ~__atomic_load_n(&set->marks, __ATOMIC_RELAXED);

        if (mask == 0) {
            break;
        }

        ngx_opsauth_set_evict(set, counters, map, __builtin_ctzll(mask));
    }

    for (turns = 0; /* void */ ; turns++) {

        /* the next entry from the hand on; none: round it goes */

        mask = (set->hand < NGX_OPSAUTH_SET_SLOTS)
               ? map->starts & ~ngx_opsauth_below(set->hand) : 0;

        if (map->used + n <= NGX_OPSAUTH_SET_SLOTS) {
            set->hand = mask ? (uint32_t) __builtin_ctzll(mask)
                             : (uint32_t) map->used;
            return 0;
        }

        if (mask == 0) {
            set->hand = NGX_OPSAUTH_SLOT_FIRST;
            continue;
        }

        set->hand = __builtin_ctzll(mask);
        bit = ngx_opsauth_bit(set->hand);

        /* readers set marks while we clear them: two rounds are enough */

        if (turns < 2 * NGX_OPSAUTH_SET_SLOTS
            && (__atomic_load_n(&set->marks, __ATOMIC_RELAXED) & bit))
        {
            (void) __atomic_fetch_and(&set->marks, ~bit, __ATOMIC_RELAXED);
            set->hand += ngx_opsauth_map_extent(map, set->hand);
            continue;
        }

        if (ngx_opsauth_map_extent(map, set->hand) == n) {
            return set->hand;
        }

        ngx_opsauth_set_evict(set, counters, map, set->hand);
    }
}


/* as evict() and insert() would leave the set; what follows the entry's first
   slot are its continuations already */

void
ngx_opsauth_set_replace(ngx_opsauth_set_t *set,
    ngx_opsauth_set_counters_t *counters, ngx_uint_t slot, ngx_uint_t n,
    ngx_uint_t tag)
{
    uint64_t  bit;

    ngx_opsauth_set_count_eviction(set, counters, slot);

    bit = ngx_opsauth_bit(slot);

    if (__atomic_load_n(&set->marks, __ATOMIC_RELAXED) & bit) {
        (void) __atomic_fetch_and(&set->marks, ~bit, __ATOMIC_RELAXED);
    }

    set->negatives &= ~bit;
    set->tags[slot] = (u_char) tag;
    set->hand = (uint32_t) (slot + n);
}


static void
ngx_opsauth_set_evict(ngx_opsauth_set_t *set,
    ngx_opsauth_set_counters_t *counters, ngx_opsauth_map_t *map,
    ngx_uint_t slot)
{
    ngx_opsauth_set_count_eviction(set, counters, slot);

    ngx_opsauth_set_delete(set, map, slot);

    set->negatives &= map->starts;
}


static void
ngx_opsauth_set_count_eviction(ngx_opsauth_set_t *set,
    ngx_opsauth_set_counters_t *counters, ngx_uint_t slot)
{
    ngx_opsauth_set_count((set->negatives & ngx_opsauth_bit(slot))
                          ? &counters->negative_evictions
                          : &counters->evictions);
}


void
ngx_opsauth_set_count(uint64_t *counter)
{
    __atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}
