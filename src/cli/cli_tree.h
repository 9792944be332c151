/*
 * A configuration as a tree of directives, included files in their places, so
 * that one can go through it as nginx does: blocks in blocks, in the order in
 * which they stand.
 */

#ifndef CLI_TREE_H
#define CLI_TREE_H

#include <stddef.h>


typedef struct cli_directive_s  cli_directive_t;

struct cli_directive_s {
    char              **words;          /* the name first */
    size_t              n;
    const char         *file;
    unsigned            line;
    const char         *where;          /* "conf.d/api.conf:31" */
    cli_directive_t    *parent;
    cli_directive_t    *next;           /* beside it */
    cli_directive_t    *first;          /* inside of it */
    cli_directive_t    *last;
};


/* *root has no words; it holds what stands outside of all blocks */
int cli_tree_read(const char *path, const char *from, cli_directive_t **root);

int cli_directive_is(const cli_directive_t *d, const char *name);

/* the first one of this name from d on, d included; NULL where there is none */
const cli_directive_t *cli_directive_find(const cli_directive_t *d,
    const char *name);

/* its words as they could stand in the file, safe for a terminal */
char *cli_directive_text(const cli_directive_t *d);


#endif /* CLI_TREE_H */
