/*
 * See cli_tree.h.
 */

#include "cli.h"
#include "cli_conf.h"
#include "cli_memory.h"
#include "cli_text.h"
#include "cli_tree.h"

#include <string.h>


typedef struct {
    cli_directive_t  *block;            /* that we are in */
    size_t            directory;        /* length of the first file's */
    const char       *conf;
} tree_t;


/* files below the directory of the first one go by their names there */
static const char *
tree_where(const tree_t *tree, const cli_conf_item_t *item)
{
    const char  *file;

    file = item->file;

    if (strncmp(file, tree->conf, tree->directory) == 0) {
        file += tree->directory;
    }

    return cli_format("%s:%u", cli_text_safe(cli_str(file)), item->line);
}


static int
tree_item(void *data, const cli_conf_item_t *item)
{
    tree_t           *tree;
    cli_directive_t  *d, *block;

    tree = data;
    block = tree->block;

    if (item->what == CLI_CONF_CLOSE) {
        tree->block = block->parent;
        return CLI_OK;
    }

    d = cli_alloc(sizeof(*d));
    d->words = item->words;
    d->n = item->n;
    d->file = item->file;
    d->line = item->line;
    d->where = tree_where(tree, item);
    d->parent = block;

    if (block->last == NULL) {
        block->first = d;

    } else {
        block->last->next = d;
    }

    block->last = d;

    if (item->what == CLI_CONF_OPEN) {
        tree->block = d;
    }

    return CLI_OK;
}


int
cli_tree_read(const char *path, const char *from, cli_directive_t **root)
{
    tree_t       tree;
    const char  *slash;

    slash = strrchr(path, '/');

    *root = cli_alloc(sizeof(cli_directive_t));
    tree.block = *root;
    tree.conf = path;
    tree.directory = (slash == NULL) ? 0 : (size_t) (slash + 1 - path);

    return cli_conf_parse(path, from, tree_item, &tree);
}


int
cli_directive_is(const cli_directive_t *d, const char *name)
{
    return strcmp(d->words[0], name) == 0;
}


const cli_directive_t *
cli_directive_find(const cli_directive_t *d, const char *name)
{
    while (d != NULL && !cli_directive_is(d, name)) {
        d = d->next;
    }

    return d;
}


char *
cli_directive_text(const cli_directive_t *d)
{
    char        *text;
    size_t       i;
    const char  *word;

    text = cli_format("%s", "");

    for (i = 0; i < d->n; i++) {
        word = cli_text_safe(cli_str(d->words[i]));

        text = (word[0] == '\0' || strpbrk(word, " \t;{}") != NULL)
               ? cli_format("%s%s\"%s\"", text, i ? " " : "", word)
               : cli_format("%s%s%s", text, i ? " " : "", word);
    }

    return text;
}
