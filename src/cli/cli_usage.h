/*
 * What the gateway has counted of credentials, where its store has "usage on":
 * hashes usage:<credential id>. Who was never let through has no last use, and
 * whom the gateway never saw no hash.
 */

#ifndef CLI_USAGE_H
#define CLI_USAGE_H

#include "cli_store.h"


typedef struct {
    oa_str_t       last_used;           /* Unix seconds; data NULL: never */
    oa_str_t       last_ip;
} cli_last_t;


/* when n credentials were last used; one hash that is none is passed over */
int cli_usage_last(cli_t *cli, const oa_str_t *ids, size_t n,
    cli_last_t *last);

/* what was counted of them goes */
int cli_usage_forget(cli_t *cli, const oa_str_t *ids, size_t n);


#endif /* CLI_USAGE_H */
