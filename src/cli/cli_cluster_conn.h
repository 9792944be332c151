/*
 * What the rooms of the cluster share; nobody else includes it.
 *
 * cli_cluster.c       nodes, one command
 * cli_cluster_map.c   where slots are
 * cli_cluster_many.c  what concerns several nodes: MULTI, WATCH, SCAN
 */

#ifndef CLI_CLUSTER_CONN_H
#define CLI_CLUSTER_CONN_H

#include "oa_slot.h"
#include "cli_cluster.h"


typedef struct {
    cli_cluster_node_t   is;
    cli_redis_t          redis;
    cli_config_t         config;        /* with its own address */
    char                 url[320];
    unsigned             watched:1;
    unsigned             written:1;     /* or read */
} cluster_node_t;


struct cli_cluster_s {
    cli_redis_t         *redis;
    int64_t              patience;
    cluster_node_t      *owners[OA_SLOTS];
    cluster_node_t      *last;          /* of a command with a key */
    cluster_node_t      *sent;
    redisReply         **replies;       /* of append(), for next() */
    size_t               first;
    size_t               nreplies;
    size_t               room;
    const cli_command_t **held;         /* behind MULTI */
    size_t               nheld;
    size_t               held_room;
    size_t               n;
    unsigned             tls:1;
    unsigned             multi:1;
    cluster_node_t       nodes[CLI_CLUSTER_NODES];
};


/* NULL: there are too many, and that was said */
cluster_node_t *cli_cluster_node(cli_cluster_t *cluster, const char *host,
    unsigned port);
cluster_node_t *cli_cluster_any(cli_cluster_t *cluster);
size_t cli_cluster_key(const cli_command_t *command);
unsigned cli_cluster_slot(const cli_command_t *command, size_t key);
/* of this node, whatever it answers */
int cli_cluster_ask(cli_cluster_t *cluster, cluster_node_t *node,
    const cli_command_t *command, redisReply **reply);
/* of the node that has its key */
int cli_cluster_one(cli_cluster_t *cluster, const cli_command_t *command,
    redisReply **reply);
int cli_cluster_follow(cli_cluster_t *cluster, const redisReply *reply,
    cluster_node_t **node, int *asking);
/* where slots are, as this node has it by now */
int cli_cluster_map_again(cli_cluster_t *cluster, cluster_node_t *node);
/* 1: not now; it has waited a little */
int cli_cluster_busy(const redisReply *reply);


#endif /* CLI_CLUSTER_CONN_H */
