/*
 * Where the primary is, as the sentinels have it: the rules of the gateway
 * (src/redis/ngx_opsauth_link_sentinel.c), blocking.
 */

#ifndef CLI_SENTINEL_H
#define CLI_SENTINEL_H

#include "oa_url.h"
#include "cli_config.h"


/* what one of them said; of the run's memory */
typedef struct {
    const char  *name;                  /* "host:port", for people */
    const char  *host;                  /* of the primary; NULL: see trouble */
    unsigned     port;
    const char  *trouble;
    const char  *deaf;                  /* why nobody may listen; NULL */
} cli_sentinel_t;


/* the i-th of the URL's; waits for a second at most. listen: also whether it
   would tell of a failover */
void cli_sentinel_ask(const cli_config_t *config, const oa_redis_url_t *url,
    unsigned i, int listen, cli_sentinel_t *answer);

/* the primary that most of them name, or all that answer; what fails is said */
int cli_sentinel_primary(const cli_config_t *config,
    const oa_redis_url_t *url, const char **host, unsigned *port);


#endif /* CLI_SENTINEL_H */
