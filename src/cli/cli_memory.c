/*
 * Lists of malloc'ed blocks, each with its size in front for the wiping. In the
 * pool of the run a block is one piece, so that tools which watch over malloc()
 * see each; in other pools pieces lie side by side in larger blocks.
 */

#include "cli_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>


#define POOL_BLOCK  (32 * 1024)


typedef struct block_s  block_t;

struct block_s {
    block_t      *next;
    size_t        size;
    size_t        used;
    max_align_t   data[];
};


struct cli_pool_s {
    block_t     *blocks;
    cli_pool_t  *next;
};


static cli_pool_t   run;                /* next: the first of the others */
static cli_pool_t  *pool = &run;


static block_t *
block_add(size_t size)
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
    block->next = pool->blocks;
    pool->blocks = block;

    return block;
}


void *
cli_alloc(size_t size)
{
    void     *piece;
    block_t  *block;

    if (pool == &run) {
        return block_add(size)->data;
    }

    if (size > SIZE_MAX / 2) {
        return block_add(size)->data;   /* which ends the run */
    }

    size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t)
           * sizeof(max_align_t);
    block = pool->blocks;

    if (block == NULL || block->size - block->used < size) {
        block = block_add((size > POOL_BLOCK) ? size : POOL_BLOCK);
    }

    /* bytes that were never handed out, or wiped since, are zero */
    piece = (char *) block->data + block->used;
    block->used += size;

    return piece;
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


cli_pool_t *
cli_pool_create(void)
{
    cli_pool_t  *new, *former;

    former = cli_pool_use(NULL);
    new = cli_alloc(sizeof(cli_pool_t));
    (void) cli_pool_use(former);

    new->next = run.next;
    run.next = new;

    return new;
}


cli_pool_t *
cli_pool_use(cli_pool_t *new)
{
    cli_pool_t  *former;

    former = pool;
    pool = (new == NULL) ? &run : new;

    return former;
}


static void
pool_end(cli_pool_t *one)
{
    block_t  *block;

    while (one->blocks != NULL) {
        block = one->blocks;
        one->blocks = block->next;
        OPENSSL_cleanse(block->data, block->size);
        free(block);
    }
}


void
cli_pool_empty(cli_pool_t *one)
{
    block_t  *block;

    /* all but one are given back */

    while (one->blocks != NULL) {
        block = one->blocks;

        if (block->next == NULL && block->size == POOL_BLOCK) {
            OPENSSL_cleanse(block->data, block->used);
            block->used = 0;
            return;
        }

        one->blocks = block->next;
        OPENSSL_cleanse(block->data, block->size);
        free(block);
    }
}


void
cli_memory_release(void)
{
    pool = &run;

    /* pools lie in that of the run, which comes last */

    for (cli_pool_t *one = run.next; one != NULL; one = one->next) {
        pool_end(one);
    }

    run.next = NULL;
    pool_end(&run);
}
