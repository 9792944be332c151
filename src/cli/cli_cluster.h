/*
 * A Redis Cluster under cli_redis.h: each command goes to the node that has the
 * slot of its key, one after the other; MOVED and ASK are followed. Verbs know
 * nothing of it. What is different:
 *
 * - MULTI ... EXEC is one transaction for each slot, not for all of them. WATCH
 *   guards what is on the watched keys' nodes, and that is written first;
 * - SCAN goes over all primaries;
 * - what is about one server, such as WAIT, is to be asked of each of
 *   cli_cluster_used().
 */

#ifndef CLI_CLUSTER_H
#define CLI_CLUSTER_H

#include "oa_url.h"
#include "cli_redis.h"


#define CLI_CLUSTER_NODES  256


/* one node; valid until the connection is closed */
typedef struct {
    const char  *host;
    unsigned     port;
    unsigned     slots;         /* that it has; 0: a replica, or empty */
    unsigned     unnamed:1;     /* nodes are to be known by names, and this one
                                   has none */
} cli_cluster_node_t;


/* sets redis->cluster; what fails is said */
int cli_cluster_open(cli_redis_t *redis, const oa_redis_url_t *url);
void cli_cluster_close(cli_redis_t *redis);

/* the answer is the caller's to free; an error reply is one, too */
int cli_cluster_run(cli_redis_t *redis, const cli_command_t *command,
    redisReply **reply);

/* the same in two halves: of the first the answer is kept */
int cli_cluster_append(cli_redis_t *redis, const cli_command_t *command);
int cli_cluster_next(cli_redis_t *redis, redisReply **reply);

/* a command that waits: redis->context is the node's from then on */
int cli_cluster_send(cli_redis_t *redis, const cli_command_t *command);
int cli_cluster_receive(cli_redis_t *redis, const cli_command_t *command,
    redisReply **reply);

int cli_cluster_patience(cli_redis_t *redis, int64_t seconds);

/*
 * The connection to the next node, from *i on, to which a command with a key went;
 * *i is moved on. It is the cluster's, and of that node alone. NULL: no more
 */
cli_redis_t *cli_cluster_used(const cli_redis_t *redis, size_t *i);

/* whose a slot is; NULL: nobody's */
const cli_cluster_node_t *cli_cluster_owner(const cli_redis_t *redis,
    unsigned slot);
/* nodes as CLUSTER SLOTS named them; *missing: slots that nobody has */
size_t cli_cluster_nodes(const cli_redis_t *redis,
    const cli_cluster_node_t **nodes, unsigned *missing);


#endif /* CLI_CLUSTER_H */
