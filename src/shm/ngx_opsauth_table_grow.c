/*
 * How the sets of the slot table come into use; what it is about is in the
 * header. Called by ngx_opsauth_table.c, under the writers' lock.
 *
 * Nothing that was invalidated may come back by a split, whenever its writer
 * dies. So:
 *
 *   - the new set is emptied first, whatever an earlier writer that died has
 *     left in it;
 *   - it is filled, and gets the old one's count, before the word that leads to
 *     it is stored: a fill that is under way finds the count that it noted, or
 *     a later one;
 *   - the old set is open when that happens, and until it has lost what went:
 *     no reader that has the old word takes a copy that a change wouldn't
 *     reach any more, and if the writer dies there, all of the set is cleared;
 *   - the old set keeps what belongs to it and nothing else: what damage or an
 *     older time has left there would otherwise be found after a later split.
 */

#include "ngx_opsauth_set_room.h"
#include "ngx_opsauth_table_grow.h"


/*
 * The next sets are split while a level's sets, if all of them were unsplit,
 * would hold more slots each than this, less an entry's: sets are filled
 * unevenly, the more so the larger entries are, and one that is still unsplit
 * should have room for another. As each put splits more than it takes, all of a
 * level is split soon, and the next one begins when there is twice as much: so
 * a fifth to two fifths of the slots in use are taken.
 */
#define NGX_OPSAUTH_GROW_LOAD      28

/* splits for one put, and more if its own set is full. The lock is held: by 99
   of 100 puts of a growing table for less than 17 us, by 999 of 1 000 for less
   than 32 us, most of which is the kernel's for pages that are new */
#define NGX_OPSAUTH_GROW_SPLITS    2
#define NGX_OPSAUTH_GROW_FULL      4


static ngx_uint_t ngx_opsauth_table_is_loaded(ngx_opsauth_table_t *table);
static ngx_uint_t ngx_opsauth_table_is_full(ngx_opsauth_table_t *table,
    const u_char *key, ngx_uint_t negative, size_t len);
static ngx_int_t ngx_opsauth_table_splits(ngx_opsauth_table_t *table,
    ngx_uint_t n);
static ngx_int_t ngx_opsauth_table_split(ngx_opsauth_table_t *table);
static ngx_int_t ngx_opsauth_table_halve(ngx_opsauth_table_t *table,
    uint32_t left, uint32_t right, uint64_t grown);
static void ngx_opsauth_table_sort(ngx_opsauth_table_t *table,
    ngx_opsauth_set_t *set, ngx_opsauth_map_t *map, uint32_t left,
    uint32_t right, uint64_t *moved, uint64_t *gone);


uint64_t
ngx_opsauth_table_grow_start(uint32_t nsets)
{
    ngx_uint_t  level;

    level = 0;

    while ((nsets - 1) >> level >= NGX_OPSAUTH_GROW_FROM) {
        level++;
    }

    return ngx_opsauth_grown(level, 0);
}


ngx_int_t
ngx_opsauth_table_grow(ngx_opsauth_table_t *table, const u_char *key,
    ngx_uint_t negative, size_t len)
{
    ngx_int_t  rc;

    rc = NGX_OK;

    if (ngx_opsauth_table_is_loaded(table)) {
        rc = ngx_opsauth_table_splits(table, NGX_OPSAUTH_GROW_SPLITS);
    }

    if (rc == NGX_OK && ngx_opsauth_table_is_full(table, key, negative, len)) {
        rc = ngx_opsauth_table_splits(table, NGX_OPSAUTH_GROW_FULL);
    }

    return rc;
}


/* the total may be wrong, after a writer has died: then sets come into use
   sooner or later than they should */

static ngx_uint_t
ngx_opsauth_table_is_loaded(ngx_opsauth_table_t *table)
{
    uint64_t  nodes, slots, entries, size;

    nodes = ((table->nsets - 1)
             >> ngx_opsauth_grown_level(table->grown)) + 1;

    slots = table->counters.held[0];
    entries = table->counters.held[1];

    size = (slots > entries && entries) ? slots / entries : 1;
    size = ngx_min(size, NGX_OPSAUTH_GROW_LOAD - 4);

    return slots > nodes * (NGX_OPSAUTH_GROW_LOAD - size);
}


static ngx_uint_t
ngx_opsauth_table_is_full(ngx_opsauth_table_t *table, const u_char *key,
    ngx_uint_t negative, size_t len)
{
    ngx_opsauth_map_t   map;
    ngx_opsauth_set_t  *set;

    set = ngx_opsauth_table_set(table, key);

    if (set == NULL || set->seq & 1 || set->epoch != table->epoch) {
        return 0;
    }

    ngx_opsauth_set_map(set, &map);

    return ngx_opsauth_set_is_full(set, &map, key, negative, len);
}


static ngx_int_t
ngx_opsauth_table_splits(ngx_opsauth_table_t *table, ngx_uint_t n)
{
    ngx_int_t  rc;

    rc = NGX_OK;

    for ( /* void */ ; n && table->grown != 0; n--) {
        if (ngx_opsauth_table_split(table) != NGX_OK) {
            rc = NGX_DECLINED;
        }
    }

    return rc;
}


/* the next one; damage may lead to none, and then another level begins */

static ngx_int_t
ngx_opsauth_table_split(ngx_opsauth_table_t *table)
{
    uint32_t    next;
    uint64_t    left, right, size, grown;
    ngx_uint_t  level;

    level = ngx_opsauth_grown_level(table->grown);
    next = ngx_opsauth_grown_next(table->grown);

    if (level == 0) {
        __atomic_store_n(&table->grown, 0, __ATOMIC_RELEASE);
        return NGX_OK;
    }

    size = (uint64_t) 1 << level;
    left = next * size;
    right = left + size / 2;

    grown = (left + size < table->nsets)
            ? ngx_opsauth_grown(level, next + 1)
            : ngx_opsauth_grown(level - 1, 0);

    /* the last node of a level may be of one half only */

    if (right >= table->nsets) {
        __atomic_store_n(&table->grown, grown, __ATOMIC_RELEASE);
        return NGX_OK;
    }

    return ngx_opsauth_table_halve(table, (uint32_t) left, (uint32_t) right,
                                   grown);
}


static ngx_int_t
ngx_opsauth_table_halve(ngx_opsauth_table_t *table, uint32_t left,
    uint32_t right, uint64_t grown)
{
    uint32_t                     hand;
    uint64_t                     moved, gone;
    ngx_int_t                    rc;
    ngx_uint_t                   slot;
    ngx_opsauth_map_t            map, new;
    ngx_opsauth_set_t           *set, *to;
    ngx_opsauth_set_counters_t  *counters;

    counters = &table->counters;

    set = ngx_opsauth_table_nth(table,
                                ngx_opsauth_table_place(table->nsets, left));
    to = ngx_opsauth_table_nth(table,
                               ngx_opsauth_table_place(table->nsets, right));

    rc = NGX_OK;

    if (set->seq & 1 || set->epoch != table->epoch) {

        /* who died there may have been about to remove what is being put, and
           only the count of this set will say so */

        rc = ngx_opsauth_set_open(set, table->epoch, counters);
        ngx_opsauth_set_map(set, &map);
        ngx_opsauth_set_close(set, counters, &map);
    }

    ngx_opsauth_set_map(set, &map);
    ngx_opsauth_table_sort(table, set, &map, left, right, &moved, &gone);

    (void) ngx_opsauth_set_open(to, table->epoch, counters);
    ngx_opsauth_set_map(to, &new);

    if (new.used != NGX_OPSAUTH_SLOT_FIRST) {
        ngx_opsauth_set_clear(to);
        ngx_opsauth_set_map(to, &new);
    }

    hand = NGX_OPSAUTH_SLOT_FIRST;

    for ( /* void */ ; moved; moved &= moved - 1) {
        slot = __builtin_ctzll(moved);

        ngx_opsauth_set_append(to, &new, set, &map, slot);

        if (slot < set->hand) {
            hand = (uint32_t) new.used;
        }
    }

    to->hand = hand;
    __atomic_store_n(&to->count, set->count, __ATOMIC_RELEASE);

    ngx_opsauth_set_close(to, counters, &new);

    (void) ngx_opsauth_set_open(set, table->epoch, counters);

    __atomic_store_n(&table->grown, grown, __ATOMIC_RELEASE);

    /* from the last on: so those before it stay where they are */

    while (gone) {
        slot = 63 - __builtin_clzll(gone);
        gone &= ~ngx_opsauth_bit(slot);

        ngx_opsauth_set_delete(set, &map, slot);
    }

    ngx_opsauth_set_close(set, counters, &map);

    return rc;
}


/* moved: entries of the right node; gone: all that aren't the left one's */

static void
ngx_opsauth_table_sort(ngx_opsauth_table_t *table, ngx_opsauth_set_t *set,
    ngx_opsauth_map_t *map, uint32_t left, uint32_t right, uint64_t *moved,
    uint64_t *gone)
{
    u_char      *key;
    uint32_t     final;
    uint64_t     starts;
    ngx_uint_t   slot;

    *moved = 0;
    *gone = 0;

    for (starts = map->starts; starts; starts &= starts - 1) {
        slot = __builtin_ctzll(starts);
        key = ngx_opsauth_set_slot(set, slot);

        final = ngx_opsauth_table_final(table->nsets, key);

        if (final >= left && final < right) {
            continue;
        }

        *gone |= ngx_opsauth_bit(slot);

        if (final >= right && final - right < right - left
            && set->tags[slot] == ngx_opsauth_set_tag(key))
        {
            *moved |= ngx_opsauth_bit(slot);
        }
    }
}
