/*
 * Where the two records of a credential stood when it was used last, so that the
 * processor fetches them while the credential's digest is being made: from
 * memory that takes about as long as the digest does, and both at once.
 *
 * It is a guess, by the credential's last bytes, and nothing but time depends on
 * it: the records are looked up by their keys as they would be without it. One
 * for each process, so that nobody else's lines are touched; it holds places,
 * and nothing of a credential but 28 bits of a hash.
 */

#ifndef NGX_OPSAUTH_PREFETCH_H
#define NGX_OPSAUTH_PREFETCH_H

#include "ngx_opsauth_table.h"


/* more credentials than that in use at the same time push each other out; 8
   bytes each, so that those of some thousand stay in the processor's caches */
#define NGX_OPSAUTH_PREFETCH_BITS  12

#define NGX_OPSAUTH_PREFETCH_LEN   8


typedef struct {
    uint64_t  seen[1 << NGX_OPSAUTH_PREFETCH_BITS];
} ngx_opsauth_prefetch_t;


/* asks for the lines of the credential of len bytes, if it was seen; returns
   what seen() wants to know it by */

static ngx_inline uint64_t
ngx_opsauth_prefetch(const ngx_opsauth_prefetch_t *prefetch,
    const ngx_opsauth_table_t *table, const u_char *credential, size_t len)
{
    uint64_t  hash, seen;

    if (len < NGX_OPSAUTH_PREFETCH_LEN) {
        return 0;
    }

    ngx_memcpy(&hash, credential + len - NGX_OPSAUTH_PREFETCH_LEN,
               NGX_OPSAUTH_PREFETCH_LEN);

    hash *= 0x9e3779b97f4a7c15ULL;
    seen = prefetch->seen[hash >> (64 - NGX_OPSAUTH_PREFETCH_BITS)];

    if ((uint16_t) seen == (uint16_t) (hash >> 32)) {
        ngx_opsauth_table_prefetch(table, seen >> 40);
        ngx_opsauth_table_prefetch(table, seen >> 16 & 0xffffff);
    }

    return hash;
}


/* where (entry->slot) its record was found, and its account's. What lies behind
   the first GB of a table is not noted */

static ngx_inline void
ngx_opsauth_prefetch_seen(ngx_opsauth_prefetch_t *prefetch,
    const ngx_opsauth_table_t *table, uint64_t hash, const void *credential,
    const void *account)
{
    uint64_t  first, second, seen, *place;

    first = ngx_opsauth_table_line(table, credential);
    second = ngx_opsauth_table_line(table, account);

    if ((first | second) >> 24) {
        return;
    }

    place = &prefetch->seen[hash >> (64 - NGX_OPSAUTH_PREFETCH_BITS)];
    seen = first << 40 | second << 16 | (uint16_t) (hash >> 32);

    if (*place != seen) {
        *place = seen;
    }
}


#endif /* NGX_OPSAUTH_PREFETCH_H */
