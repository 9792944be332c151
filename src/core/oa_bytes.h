/*
 * Sixteen bytes at a time, by the vectors that gcc and clang know on every
 * processor.  For texts that are checked at each read of a record; private to
 * src/core.
 */

#ifndef OA_BYTES_H
#define OA_BYTES_H

#include <string.h>

#include "oa_core.h"


typedef unsigned char  oa_bytes_t __attribute__((vector_size(16)));


static inline oa_bytes_t
oa_bytes_load(const unsigned char *p)
{
    oa_bytes_t  v;

    memcpy(&v, p, sizeof(v));

    return v;
}


/* of a text of 8 to 15 bytes: its first eight and its last eight */

static inline oa_bytes_t
oa_bytes_load_short(const unsigned char *p, size_t len)
{
    uint64_t    half[2];
    oa_bytes_t  v;

    memcpy(&half[0], p, sizeof(uint64_t));
    memcpy(&half[1], p + len - sizeof(uint64_t), sizeof(uint64_t));
    memcpy(&v, half, sizeof(v));

    return v;
}


/* 0xff where the byte is one of first .. last, else 0 */

static inline oa_bytes_t
oa_bytes_in(oa_bytes_t v, unsigned char first, unsigned char last)
{
    return (oa_bytes_t) ((v - first) <= (unsigned char) (last - first));
}


static inline int
oa_bytes_all(oa_bytes_t v)
{
    uint64_t  half[2];

    memcpy(half, &v, sizeof(half));

    return (half[0] & half[1]) == UINT64_MAX;
}


#endif /* OA_BYTES_H */
