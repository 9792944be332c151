/*
 * What other nouns need of accounts.
 */

#ifndef CLI_ACCOUNT_H
#define CLI_ACCOUNT_H

#include "cli_store.h"


/* an absent account is CLI_NOT_FOUND, and said */
int cli_account_read(cli_t *cli, oa_str_t id, cli_record_t *record);


#endif /* CLI_ACCOUNT_H */
