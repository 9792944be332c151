/*
 * Nodes, and one command; see cli_cluster.h. Nodes have addresses or names, which
 * the system looks up.
 */

#include "cli.h"
#include "cli_cluster.h"
#include "cli_cluster_conn.h"
#include "cli_memory.h"
#include "cli_text.h"

#include "oa_text.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>


#define REDIRECTS  16
/* -TRYAGAIN, -CLUSTERDOWN, -LOADING: a tenth of a second apart */
#define BUSY_TRIES 50


cluster_node_t *
cli_cluster_node(cli_cluster_t *cluster, const char *host, unsigned port)
{
    size_t           i;
    cluster_node_t  *node;

    for (i = 0; i < cluster->n; i++) {
        node = &cluster->nodes[i];

        if (node->is.port == port && strcmp(node->is.host, host) == 0) {
            return node;
        }
    }

    if (cluster->n == CLI_CLUSTER_NODES) {
        (void) cli_fail(CLI_FAILED, "the cluster has more than %d nodes",
                        CLI_CLUSTER_NODES);
        return NULL;
    }

    node = &cluster->nodes[cluster->n++];
    memset(node, 0, sizeof(*node));

    node->is.host = strdup(host);
    node->is.port = port;

    if (node->is.host == NULL) {
        (void) cli_alloc(SIZE_MAX);         /* ends the run */
    }

    return node;
}


static int
node_open(cli_cluster_t *cluster, cluster_node_t *node)
{
    int              rc;
    oa_redis_url_t   url;

    if (node->redis.context != NULL) {
        return CLI_OK;
    }

    node->config = *cluster->redis->config;

    if (snprintf(node->url, sizeof(node->url),
                 strchr(node->is.host, ':') ? "%s://[%s]:%u" : "%s://%s:%u",
                 cluster->tls ? "rediss" : "redis", node->is.host,
                 node->is.port)
        >= (int) sizeof(node->url))
    {
        return cli_fail(CLI_FAILED, "the cluster names a host that is too "
                        "long");
    }

    node->config.redis.value = node->url;

    memset(&url, 0, sizeof(url));
    url.transport = OA_REDIS_TCP;
    url.tls = cluster->tls;

    node->redis.config = &node->config;
    node->redis.timeout = cluster->redis->timeout;

    rc = cli_redis_reach(&node->redis, &url, node->is.host, node->is.port);

    if (rc == CLI_OK && cluster->patience != 0) {
        rc = cli_redis_patience(&node->redis, cluster->patience);
    }

    return rc;
}


int
cli_cluster_ask(cli_cluster_t *cluster, cluster_node_t *node,
    const cli_command_t *command, redisReply **reply)
{
    int  rc;

    rc = node_open(cluster, node);

    if (rc == CLI_OK) {
        rc = cli_redis_append(&node->redis, command);
    }

    if (rc == CLI_OK) {
        rc = cli_redis_flush(&node->redis);
    }

    return (rc == CLI_OK) ? cli_redis_next(&node->redis, reply) : rc;
}


void
cli_cluster_close(cli_redis_t *redis)
{
    size_t          i;
    cli_cluster_t  *cluster;

    cluster = redis->cluster;
    redis->cluster = NULL;

    /* a node's, if it is any */
    redis->context = NULL;
    redis->tls = NULL;

    for (i = 0; i < cluster->n; i++) {
        if (cluster->nodes[i].redis.config != NULL) {
            cli_redis_close(&cluster->nodes[i].redis);
        }

        free((void *) cluster->nodes[i].is.host);
    }

    for (i = cluster->first; i < cluster->nreplies; i++) {
        freeReplyObject(cluster->replies[i]);
    }

    free(cluster->replies);
    free(cluster->held);
    free(cluster);
}


cli_redis_t *
cli_cluster_used(const cli_redis_t *redis, size_t *i)
{
    cluster_node_t  *node;

    while (*i < redis->cluster->n) {
        node = &redis->cluster->nodes[(*i)++];

        if (node->written && node->redis.context != NULL) {
            return &node->redis;
        }
    }

    return NULL;
}


size_t
cli_cluster_nodes(const cli_redis_t *redis, const cli_cluster_node_t **nodes,
    unsigned *missing)
{
    size_t    i;
    unsigned  n;

    n = 0;

    for (i = 0; i < OA_SLOTS; i++) {
        n += (redis->cluster->owners[i] == NULL);
    }

    *missing = n;

    for (i = 0; i < redis->cluster->n; i++) {
        nodes[i] = &redis->cluster->nodes[i].is;
    }

    return redis->cluster->n;
}


const cli_cluster_node_t *
cli_cluster_owner(const cli_redis_t *redis, unsigned slot)
{
    return redis->cluster->owners[slot] ? &redis->cluster->owners[slot]->is
                                        : NULL;
}


/* --- one command ---------------------------------------------------------- */

/* the number of the word that is the key; 0: it has none */
size_t
cli_cluster_key(const cli_command_t *command)
{
    size_t       i;
    const char  *verb;

    static const char *const  none[] = {
        "PING", "INFO", "TIME", "CLIENT", "CONFIG", "ACL", "PUBLISH", "ROLE",
        "COMMAND", "SCRIPT", "CLUSTER", "DBSIZE", "WAIT", "SUBSCRIBE",
        "MEMORY", "LATENCY", "SLOWLOG", "MODULE", NULL
    };

    verb = command->words[0];

    for (i = 0; none[i] != NULL; i++) {
        if (strcmp(verb, none[i]) == 0) {
            return 0;
        }
    }

    if (strcmp(verb, "EVAL") == 0 || strcmp(verb, "EVALSHA") == 0) {
        return (command->n > 3) ? 3 : 0;
    }

    if (strcmp(verb, "XREAD") == 0) {
        for (i = 1; i + 1 < command->n; i++) {
            if (strcmp(command->words[i], "STREAMS") == 0) {
                return i + 1;
            }
        }
    }

    return (command->n > 1) ? 1 : 0;
}


unsigned
cli_cluster_slot(const cli_command_t *command, size_t key)
{
    return oa_slot((oa_str_t) {
                       command->lens[key],
                       (const unsigned char *) command->words[key] });
}


/* one that has slots: for what has no key */
cluster_node_t *
cli_cluster_any(cli_cluster_t *cluster)
{
    size_t  i;

    if (cluster->last != NULL) {
        return cluster->last;
    }

    for (i = 0; i < cluster->n; i++) {
        if (cluster->nodes[i].is.slots != 0) {
            return &cluster->nodes[i];
        }
    }

    return &cluster->nodes[0];
}


/* 1: the error says where to go; *node is there. 0: it does not. -1: it was
   said why not */
int
cli_cluster_follow(cli_cluster_t *cluster, const redisReply *reply,
    cluster_node_t **node, int *asking)
{
    oa_redirect_t  redirect;

    if (reply->type != REDIS_REPLY_ERROR
        || oa_redirect_parse((oa_str_t) { reply->len,
                                 (const unsigned char *) reply->str },
                             &redirect)
           != OA_OK)
    {
        return 0;
    }

    if (redirect.unnamed) {

        /* CLUSTER SLOTS tells its address */

        if (redirect.kind != OA_REDIRECT_MOVED) {
            return 0;
        }

        if (cli_cluster_map_again(cluster, *node) != CLI_OK) {
            return -1;
        }

        *asking = 0;

        if (cluster->owners[redirect.slot] == NULL) {
            return 0;
        }

        *node = cluster->owners[redirect.slot];
        return 1;
    }

    *node = cli_cluster_node(cluster,
                             redirect.host.len
                             ? cli_copy(redirect.host.data, redirect.host.len)
                             : (*node)->is.host,
                             redirect.port);

    if (*node == NULL) {
        return -1;
    }

    *asking = (redirect.kind == OA_REDIRECT_ASK);

    if (!*asking) {
        if (cluster->owners[redirect.slot] != NULL) {
            cluster->owners[redirect.slot]->is.slots--;
        }

        cluster->owners[redirect.slot] = *node;
        (*node)->is.slots++;
    }

    return 1;
}


int
cli_cluster_busy(const redisReply *reply)
{
    struct timespec  wait = { 0, 100 * 1000 * 1000 };

    if (reply->type != REDIS_REPLY_ERROR
        || (strncmp(reply->str, "TRYAGAIN", 8) != 0
            && strncmp(reply->str, "CLUSTERDOWN", 11) != 0
            && strncmp(reply->str, "LOADING", 7) != 0))
    {
        return 0;
    }

    (void) nanosleep(&wait, NULL);

    return 1;
}


int
cli_cluster_one(cli_cluster_t *cluster, const cli_command_t *command,
    redisReply **reply)
{
    int              rc, left, asking, busy, next;
    size_t           key;
    unsigned         slot;
    cluster_node_t  *node;

    key = cli_cluster_key(command);
    slot = 0;
    node = NULL;

    if (key != 0) {
        slot = cli_cluster_slot(command, key);
        node = cluster->owners[slot];
    }

    if (node == NULL) {
        node = cli_cluster_any(cluster);
    }

    asking = 0;
    busy = BUSY_TRIES;

    for (left = REDIRECTS; ; left--) {

        if (asking) {
            rc = cli_cluster_ask(cluster, node,
                                 cli_command("ASKING", (oa_str_t) oa_null),
                                 reply);
            if (rc != CLI_OK) {
                return rc;
            }

            freeReplyObject(*reply);
        }

        rc = cli_cluster_ask(cluster, node, command, reply);

        if (rc != CLI_OK || key == 0) {
            return rc;
        }

        while (busy > 0 && cli_cluster_busy(*reply)) {
            busy--;
            freeReplyObject(*reply);
            rc = cli_cluster_ask(cluster, node, command, reply);

            if (rc != CLI_OK) {
                return rc;
            }
        }

        next = (left > 0) ? cli_cluster_follow(cluster, *reply, &node, &asking)
                          : 0;

        if (next == 0) {
            node->written = 1;
            cluster->last = node;
            return CLI_OK;
        }

        freeReplyObject(*reply);

        if (next < 0) {
            return CLI_FAILED;
        }
    }
}


/* --- the two halves ------------------------------------------------------- */

int
cli_cluster_append(cli_redis_t *redis, const cli_command_t *command)
{
    int             rc;
    size_t          room;
    redisReply     *reply, **replies;
    cli_cluster_t  *cluster;

    cluster = redis->cluster;
    rc = cli_cluster_run(redis, command, &reply);

    if (rc != CLI_OK) {
        return rc;
    }

    if (cluster->first == cluster->nreplies) {
        cluster->first = 0;
        cluster->nreplies = 0;
    }

    if (cluster->nreplies == cluster->room) {
        room = cluster->room * 2 + 64;
        replies = realloc(cluster->replies, room * sizeof(redisReply *));

        if (replies == NULL) {
            freeReplyObject(reply);
            return cli_fail(CLI_FAILED, "out of memory");
        }

        cluster->replies = replies;
        cluster->room = room;
    }

    cluster->replies[cluster->nreplies++] = reply;

    return CLI_OK;
}


int
cli_cluster_next(cli_redis_t *redis, redisReply **reply)
{
    cli_cluster_t  *cluster;

    cluster = redis->cluster;

    if (cluster->first == cluster->nreplies) {
        return cli_fail(CLI_FAILED, "an answer is waited for that nobody asked "
                        "for");
    }

    *reply = cluster->replies[cluster->first++];

    return CLI_OK;
}


int
cli_cluster_send(cli_redis_t *redis, const cli_command_t *command)
{
    int             rc;
    size_t          key;
    redisReply     *reply;
    cli_cluster_t  *cluster;

    cluster = redis->cluster;
    key = cli_cluster_key(command);

    if (key != 0) {

        /* a redirection would come too late */

        rc = cli_cluster_one(cluster,
                             cli_command("EXISTS", (oa_str_t) {
                                 command->lens[key],
                                 (const unsigned char *)
                                     command->words[key] }),
                             &reply);
        if (rc != CLI_OK) {
            return rc;
        }

        freeReplyObject(reply);
    }

    cluster->sent = cli_cluster_any(cluster);

    rc = cli_redis_send(&cluster->sent->redis, command);

    redis->context = cluster->sent->redis.context;
    redis->tls = cluster->sent->redis.tls;

    return rc;
}


int
cli_cluster_receive(cli_redis_t *redis, const cli_command_t *command,
    redisReply **reply)
{
    return cli_redis_receive(&redis->cluster->sent->redis, command, reply);
}


int
cli_cluster_patience(cli_redis_t *redis, int64_t seconds)
{
    int             rc;
    size_t          i;
    cli_cluster_t  *cluster;

    cluster = redis->cluster;
    cluster->patience = seconds;
    rc = CLI_OK;

    for (i = 0; i < cluster->n && rc == CLI_OK; i++) {
        if (cluster->nodes[i].redis.context != NULL) {
            rc = cli_redis_patience(&cluster->nodes[i].redis, seconds);
        }
    }

    return rc;
}
