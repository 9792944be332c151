/*
 * Memory of one run: taken piece by piece, wiped and given back at its end by
 * cli_memory_release(). The command lives for moments, so nobody frees single
 * pieces, and no path can forget to wipe one that held a secret. No function
 * here returns NULL: without memory the run ends with exit code 1.
 *
 * Work that goes on for long takes its pieces from pools of its own and empties
 * them in between; that wipes and gives back too.
 */

#ifndef CLI_MEMORY_H
#define CLI_MEMORY_H

#include <stdarg.h>
#include <stddef.h>


/* zeroed */
void *cli_alloc(size_t size);

/* a larger piece with the first old_size bytes of the old one */
void *cli_grow(const void *old, size_t old_size, size_t size);

/* n bytes and a terminating zero */
char *cli_copy(const void *data, size_t n);

char *cli_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *cli_vformat(const char *fmt, va_list args)
    __attribute__((format(printf, 1, 0)));

typedef struct cli_pool_s  cli_pool_t;

cli_pool_t *cli_pool_create(void);

/* where pieces come from now on (NULL: that of the run); returns the former */
cli_pool_t *cli_pool_use(cli_pool_t *pool);
void cli_pool_empty(cli_pool_t *pool);

void cli_memory_release(void);


#endif /* CLI_MEMORY_H */
