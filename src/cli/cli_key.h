/*
 * What of "opsauth key" stands in files of its own.
 */

#ifndef CLI_KEY_H
#define CLI_KEY_H

#include "cli.h"


/* cli_key_rotate.c */

extern const cli_option_t  cli_key_rotate_options[];
extern const char          cli_key_rotate_text[];

int cli_key_rotate(cli_t *cli);


#endif /* CLI_KEY_H */
