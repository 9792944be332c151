/*
 * A list of malloc'ed blocks, each with its size in front for the wiping.
 */

#include "cli_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>


typedef struct block_s  block_t;

struct block_s {
    block_t  *next;
    size_t    size;
    max_align_t  data[];
};


static block_t  *blocks;


void *
cli_alloc(size_t size)
{
    block_t  *block;

    block = (size > SIZE_MAX - sizeof(block_t))
            ? NULL : calloc(1, sizeof(block_t) + size);

    if (block == NULL) {
        fputs("opsauth: out of memory\n", stderr);
        cli_memory_release();
        exit(1);
    }

    block->size = size;
    block->next = blocks;
    blocks = block;

    return block->data;
}


void *
cli_grow(const void *old, size_t old_size, size_t size)
{
    void  *piece;

    piece = cli_alloc(size);

    if (old_size != 0) {
        memcpy(piece, old, old_size);
    }

    return piece;
}


char *
cli_copy(const void *data, size_t n)
{
    char  *copy;

    copy = cli_alloc(n + 1);

    if (n != 0) {
        memcpy(copy, data, n);
    }

    return copy;
}


char *
cli_vformat(const char *fmt, va_list args)
{
    int      n;
    char    *text;
    va_list  again;

    va_copy(again, args);
    n = vsnprintf(NULL, 0, fmt, args);

    if (n < 0) {
        n = 0;
    }

    text = cli_alloc((size_t) n + 1);
    (void) vsnprintf(text, (size_t) n + 1, fmt, again);
    va_end(again);

    return text;
}


char *
cli_format(const char *fmt, ...)
{
    char    *text;
    va_list  args;

    va_start(args, fmt);
    text = cli_vformat(fmt, args);
    va_end(args);

    return text;
}


const void *
cli_memory_mark(void)
{
    return blocks;
}


void
cli_memory_release(void)
{
    cli_memory_rewind(NULL);
}


void
cli_memory_rewind(const void *mark)
{
    block_t  *block;

    while (blocks != mark) {
        block = blocks;
        blocks = block->next;
        OPENSSL_cleanse(block->data, block->size);
        free(block);
    }
}
