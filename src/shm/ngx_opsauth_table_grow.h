/*
 * Where in the slot table a key's set lies, and how sets come into use: one
 * after the other, from the start of the zone on, so that few records lie on
 * few pages. (The first touch of a set on a page of which the processor doesn't
 * know the address costs more than the rest of a hit.) For ngx_opsauth_table.c
 * and ngx_opsauth_table_grow.c only.
 *
 *   final number   the hash, scaled to 0..nsets-1: which set is the key's when
 *                  all are in use
 *   node           the final numbers that have the same set: those that begin
 *                  with the same bits. At level L there are 2^L of them to one,
 *                  and the first of these stands for it
 *   level, next    sets up to next are split already and stand for a level
 *                  less; those behind it are next. One split takes a node's
 *                  later half out of its set and gives it the first set that
 *                  isn't in use. When all of a level are split, the next level
 *                  begins; at level 0 every final number has its own set
 *   place          where a node's set lies. It stays there for good: a split
 *                  leaves the earlier half where it is
 *
 * This is linear hashing (Litwin, 1980) with the leading bits in place of the
 * last ones, so that any number of sets is filled evenly in the end.
 *
 * Level and next are one word. A reader that has an old one looks where the
 * entry was before a split, and doesn't find it: a read of Redis, no more.
 * Whatever stands in the word, the place lies within the table.
 */

#ifndef NGX_OPSAUTH_TABLE_GROW_H
#define NGX_OPSAUTH_TABLE_GROW_H

#include "ngx_opsauth_set.h"


#define NGX_OPSAUTH_TABLE_MAGIC    0x31656c6261743a41ULL

#define NGX_OPSAUTH_LINE           64

/* in use from the start, or the whole of a smaller table */
#define NGX_OPSAUTH_GROW_FROM      16

#define ngx_opsauth_grown(level, next)                                        \
    ((uint64_t) (level) << 32 | (uint32_t) (next))
#define ngx_opsauth_grown_level(grown)  ((ngx_uint_t) ((grown) >> 32) & 31)
#define ngx_opsauth_grown_next(grown)   ((uint32_t) (grown))


struct ngx_opsauth_table_s {
    /* read by every get */
    uint64_t                    magic;
    uint64_t                    check;  /* of nsets */
    uint64_t                    size;   /* of the block */
    uint32_t                    nsets;
    uint32_t                    version;
    uint64_t                    grown;  /* level and next; 0: all in use */
    uint32_t                    epoch;  /* never 0, what fresh memory has */
    u_char                      pad[NGX_OPSAUTH_LINE - 44];

    /* written by writers, on a line of their own */
    ngx_opsauth_set_counters_t  counters;
    u_char                      tail[NGX_OPSAUTH_LINE
                                     - sizeof(ngx_opsauth_set_counters_t)];
};


static ngx_inline uint64_t
ngx_opsauth_table_check(uint32_t nsets)
{
    return (nsets * 0x9e3779b97f4a7c15ULL) ^ NGX_OPSAUTH_TABLE_MAGIC;
}


/* the key is uniform: its first bytes scaled to the number of sets are a fair
   choice of one, and any number of sets will do */

static ngx_inline uint32_t
ngx_opsauth_table_final(uint32_t nsets, const u_char *key)
{
    uint32_t  hash;

    ngx_memcpy(&hash, key, sizeof(uint32_t));

    return (uint32_t) (((uint64_t) hash * nsets) >> 32);
}


/* the node in use, as its first final number */

static ngx_inline uint32_t
ngx_opsauth_table_node(uint64_t grown, uint32_t final)
{
    ngx_uint_t  level;

    level = grown >> 32;

    /* no branch, since no processor could foresee it; a damaged word may say less
       than 0 or more than there is */

    level -= (final >> (level & 31) < ngx_opsauth_grown_next(grown));

    return final >> (level & 31) << (level & 31);
}


/*
 * Nodes of a level take the places in front of all that come later: those that
 * were there at the level above keep theirs, the others follow in their order.
 * For node 0 that is place 0; for another one, of which the lowest bit that is
 * set is bit t, as many as the level above has, ceil(nsets / 2^(t+1)), and then
 * node / 2^(t+1) more, rounded down. Below, one of the first sum's rounding is
 * with the second term, so that it is 0 for node 0. Less than nsets, if node is.
 */

static ngx_inline uint32_t
ngx_opsauth_table_place(uint32_t nsets, uint32_t node)
{
    ngx_uint_t  bit;

    bit = __builtin_ctz(node | (uint32_t) 1 << 31);

    return ((nsets - 1) >> bit >> 1) + (((node >> bit) + 1) >> 1);
}


static ngx_inline ngx_opsauth_set_t *
ngx_opsauth_table_nth(ngx_opsauth_table_t *table, uint32_t n)
{
    return (ngx_opsauth_set_t *) ((u_char *) table
                                  + sizeof(ngx_opsauth_table_t)
                                  + (size_t) n * NGX_OPSAUTH_SET_STRIDE);
}


/* NULL: the table is damaged, and off */

static ngx_inline ngx_opsauth_set_t *
ngx_opsauth_table_set(ngx_opsauth_table_t *table, const u_char *key)
{
    uint32_t  n, node;
    uint64_t  grown;

    n = __atomic_load_n(&table->nsets, __ATOMIC_RELAXED);

    if (__atomic_load_n(&table->check, __ATOMIC_RELAXED)
        != ngx_opsauth_table_check(n))
    {
        return NULL;
    }

    /* a set that came into use is seen as it was made for that */
    grown = __atomic_load_n(&table->grown, __ATOMIC_ACQUIRE);

    node = ngx_opsauth_table_node(grown, ngx_opsauth_table_final(n, key));

    return ngx_opsauth_table_nth(table, ngx_opsauth_table_place(n, node));
}


/* how a fresh table of nsets sets begins */
uint64_t ngx_opsauth_table_grow_start(uint32_t nsets);

/*
 * Writers only, in a table that is not damaged: splits some sets where entries
 * would otherwise be pushed out soon, or one by what is put now. NGX_DECLINED:
 * a writer had died in one of them, so that nothing may be put that was read
 * before.
 */
ngx_int_t ngx_opsauth_table_grow(ngx_opsauth_table_t *table,
    const u_char *key, ngx_uint_t negative, size_t len);


#endif /* NGX_OPSAUTH_TABLE_GROW_H */
