/*
 * What other nouns need of accounts, and what of this noun stands in a file of
 * its own.
 */

#ifndef CLI_ACCOUNT_H
#define CLI_ACCOUNT_H

#include <jansson.h>

#include "cli_store.h"


/* an absent account is CLI_NOT_FOUND, and said */
int cli_account_read(cli_t *cli, oa_str_t id, cli_record_t *record);


/* cli_account_show.c */

json_t *cli_account_json(const cli_record_t *record, oa_str_t id);

int cli_account_list(cli_t *cli);
int cli_account_show(cli_t *cli);


/* cli_account_delete.c */

extern const cli_option_t  cli_account_delete_options[];
extern const char          cli_account_delete_text[];

int cli_account_delete(cli_t *cli);


#endif /* CLI_ACCOUNT_H */
