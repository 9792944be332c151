/*
 * The slot table: one flat block of memory, sets of fixed-size slots,
 * addressed by the first bytes of a uniform 32-byte key. Pure algorithm over
 * memory that the caller gives: no allocation, no lock, no log, no clock; so
 * that it can be tested against a naive model, fuzzed and torn.
 *
 *   table   header, then sets, which come into use one after the other
 *   set     4 KiB: a header (sequence word, invalidation count, epoch, CLOCK
 *           hand, per-slot tags and marks), then 62 slots of 64 bytes
 *   entry   a head of 48 bytes (key, fetched_at, type, length) and the packed
 *           record, in as many consecutive slots of its set as it needs
 *
 * Readers take no lock: a set's sequence word is even and unchanged around the
 * copy. Writers are serialised by the caller (one mutex). A writer that died
 * leaves the sequence odd: the next writer clears that set. Whatever bytes
 * stand in the block, nothing is read or written outside it.
 */

#ifndef NGX_OPSAUTH_TABLE_H
#define NGX_OPSAUTH_TABLE_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "oa_hot.h"


#define NGX_OPSAUTH_TABLE_KEY_LEN    32
#define NGX_OPSAUTH_TABLE_DATA_MAX   1920

/* a negative entry takes one slot, and a set holds so many of them at most */
#define NGX_OPSAUTH_TABLE_NEGATIVE_MAX  16
#define NGX_OPSAUTH_TABLE_NEGATIVES     8


typedef struct ngx_opsauth_table_s  ngx_opsauth_table_t;


/* an entry, copied out */
typedef struct {
    ngx_msec_t   fetched_at;            /* CLOCK_MONOTONIC, ms */
    ngx_uint_t   type;                  /* 32 bits, not 0, the caller's meaning */
    size_t       len;
    const void  *slot;                  /* where it stood: no longer, perhaps */
    u_char       data[NGX_OPSAUTH_TABLE_DATA_MAX];
} ngx_opsauth_entry_t;


typedef struct {
    uint64_t     slots;                 /* in all, also of sets not in use yet */
    uint64_t     used;                  /* slots that hold entries */
    uint64_t     entries;
    uint64_t     negatives;             /* entries of the bounded share */
    uint64_t     evictions;             /* records pushed out by others */
    uint64_t     negative_evictions;
    uint64_t     torn;                  /* sets cleared after a dead writer */
} ngx_opsauth_table_stats_t;


/* bytes of the smallest table; less is a configuration error */
size_t ngx_opsauth_table_size_min(void);

/*
 * Lays a fresh table into size bytes at block (8-byte aligned; the table
 * aligns its sets to 64 bytes itself). The block is zeroed already, as fresh
 * shared memory is: so the sets need not be touched, and a large zone costs
 * pages only where records stand. NULL: too small.
 */
ngx_opsauth_table_t *ngx_opsauth_table_init(void *block, size_t size);

/* the table that stands there from before (a reload); NULL where magic,
   layout version or size differ: then init again */
ngx_opsauth_table_t *ngx_opsauth_table_attach(void *block, size_t size);

/* no lock. NGX_OK: *entry filled, and marked as used for CLOCK.
   NGX_DECLINED: not there, or being written just now */
OA_HOT ngx_int_t ngx_opsauth_table_get(ngx_opsauth_table_t *table, const u_char *key,
    ngx_opsauth_entry_t *entry);

/* an entry's slot as a number, counted from the first set on in lines of 64 bytes,
   and what asks the processor for the lines of the entry there, and of what is
   read before it: nothing but time depends on it, whatever stands there now */
OA_HOT size_t ngx_opsauth_table_line(const ngx_opsauth_table_t *table,
    const void *slot);
OA_HOT void ngx_opsauth_table_prefetch(const ngx_opsauth_table_t *table,
    size_t line);

/* no lock: is another one for good after each invalidation of this key, and
   after some of others */
uint64_t ngx_opsauth_table_count(ngx_opsauth_table_t *table,
    const u_char *key);

/* no lock: changes with every flush */
uint32_t ngx_opsauth_table_epoch(ngx_opsauth_table_t *table);

/*
 * Writers only, below. Put replaces an entry of the same key, unless that one
 * has a later fetched_at (compared as signed difference). negative: counted
 * against the set's bounded share, so that garbage evicts garbage.
 * NGX_DECLINED: an entry with a later fetched_at stands there; or a writer died
 * in the set, and it was cleared just now; or len is too large, or is 0 and
 * the entry isn't negative.
 */
OA_WARM ngx_int_t ngx_opsauth_table_put(ngx_opsauth_table_t *table,
    const u_char *key, ngx_msec_t fetched_at, ngx_uint_t type,
    ngx_uint_t negative, const u_char *data, size_t len);

/* clears the entry (wiping it) and changes the key's count, also where there is
   no entry */
void ngx_opsauth_table_remove(ngx_opsauth_table_t *table, const u_char *key);

/* in O(1), every entry is gone: no get finds it again. The bytes of each set
   are wiped when it is next written to */
void ngx_opsauth_table_flush(ngx_opsauth_table_t *table);

/* no lock; totals that writers keep, so that it costs no walk over the sets */
void ngx_opsauth_table_stats(ngx_opsauth_table_t *table,
    ngx_opsauth_table_stats_t *stats);


#endif /* NGX_OPSAUTH_TABLE_H */
