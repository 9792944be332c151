/*
 * nginx's configuration syntax: words, quotes, comments, blocks, include.
 * A reader that hands out directives one by one and knows the meaning of none
 * but include; cli_config.c is who listens.
 */

#ifndef CLI_CONF_H
#define CLI_CONF_H

#include <stddef.h>


typedef enum {
    CLI_CONF_DIRECTIVE = 1,             /* words ; */
    CLI_CONF_OPEN,                      /* words { */
    CLI_CONF_CLOSE                      /* } */
} cli_conf_what_t;


typedef struct {
    cli_conf_what_t     what;
    const char         *file;
    unsigned            line;           /* where the last word stands */
    char              **words;
    size_t              n;
} cli_conf_item_t;


typedef int (*cli_conf_handler_t)(void *data, const cli_conf_item_t *item);


/*
 * Reads the file and what it includes, names being relative to the directory
 * of the first file, as they are for nginx. A handler's code other than
 * CLI_OK ends the reading and is returned.
 */
int cli_conf_parse(const char *path, const char *from,
    cli_conf_handler_t handler, void *data);

/* a name in the configuration at conf -> the file that nginx means by it */
char *cli_conf_path(const char *conf, const char *name);


#endif /* CLI_CONF_H */
