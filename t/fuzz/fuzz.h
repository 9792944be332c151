/*
 * What the fuzz targets share. A target reads its input piece by piece; every
 * piece is a block of its own size, so that AddressSanitizer sees the first byte
 * that is read beyond it. What must hold for any input is said by must().
 */

#ifndef FUZZ_H
#define FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oa_core.h"


#define FUZZ_PIECES  64

#define must(cond)                                                            \
    ((cond) ? (void) 0 : fuzz_broken(__FILE__, __LINE__, #cond))


typedef struct {
    const uint8_t  *p;
    size_t          n;
    void           *pieces[FUZZ_PIECES];
    size_t          npieces;
} fuzz_t;


/* libFuzzer calls these */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);


static inline void
fuzz_broken(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
    abort();
}


static inline void
fuzz_start(fuzz_t *in, const uint8_t *data, size_t size)
{
    in->p = data;
    in->n = size;
    in->npieces = 0;
}


static inline void
fuzz_end(fuzz_t *in)
{
    while (in->npieces) {
        free(in->pieces[--in->npieces]);
    }
}


/* 0 where nothing is left */

static inline uint8_t
fuzz_byte(fuzz_t *in)
{
    if (in->n == 0) {
        return 0;
    }

    in->n--;

    return *in->p++;
}


/* a block of n bytes to write to; of none, an address where none may be read */

static inline unsigned char *
fuzz_room(fuzz_t *in, size_t n)
{
    unsigned char  *room;

    must(in->npieces < FUZZ_PIECES);

    room = calloc(1, n + (n == 0));
    must(room != NULL);

    in->pieces[in->npieces++] = room;

    return n ? room : room + 1;
}


static inline unsigned char *
fuzz_copy(fuzz_t *in, const void *p, size_t n)
{
    unsigned char  *copy;

    copy = fuzz_room(in, n);

    if (n) {
        memcpy(copy, p, n);
    }

    return copy;
}


/* at most n bytes */

static inline oa_str_t
fuzz_take(fuzz_t *in, size_t n)
{
    oa_str_t  s;

    s.len = n < in->n ? n : in->n;
    s.data = fuzz_copy(in, in->p, s.len);

    in->p += s.len;
    in->n -= s.len;

    return s;
}


static inline oa_str_t
fuzz_rest(fuzz_t *in)
{
    return fuzz_take(in, in->n);
}


/* up to a line feed, which belongs to nothing */

static inline oa_str_t
fuzz_line(fuzz_t *in)
{
    oa_str_t        s;
    const uint8_t  *end;

    end = in->n ? memchr(in->p, '\n', in->n) : NULL;

    s = fuzz_take(in, end ? (size_t) (end - in->p) : in->n);

    if (end) {
        in->p++;
        in->n--;
    }

    return s;
}


/* a record's value: a line; an empty one is absent, "-" is empty */

static inline oa_str_t
fuzz_value(fuzz_t *in)
{
    oa_str_t  s;

    s = fuzz_line(in);

    if (s.len == 0) {
        return (oa_str_t) oa_null;
    }

    if (s.len == 1 && s.data[0] == '-') {
        s.len = 0;
    }

    return s;
}


/* every byte can be read */

static inline void
fuzz_touch(oa_str_t s)
{
    size_t                   i;
    volatile unsigned char   byte;

    for (i = 0; i < s.len; i++) {
        byte = s.data[i];
        (void) byte;
    }
}


/* part is a view into whole */

static inline int
fuzz_within(oa_str_t part, oa_str_t whole)
{
    return part.data >= whole.data && part.len <= whole.len
           && part.data + part.len <= whole.data + whole.len;
}


static inline int
fuzz_same(oa_str_t a, oa_str_t b)
{
    return a.len == b.len
           && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}


static inline oa_str_t
fuzz_text(const char *s)
{
    return (oa_str_t) { strlen(s), (const unsigned char *) s };
}


#endif /* FUZZ_H */
