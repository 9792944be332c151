/*
 * opsauth key import, for the table of verbs in cli_key.c.
 */

#ifndef CLI_KEY_IMPORT_H
#define CLI_KEY_IMPORT_H

#include "cli.h"


extern const cli_option_t  cli_key_import_options[];
extern const char          cli_key_import_text[];

int cli_key_import(cli_t *cli);


#endif /* CLI_KEY_IMPORT_H */
