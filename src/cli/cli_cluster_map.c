/*
 * Where slots are: asked once, of the first node that answers; what has moved
 * since is told by MOVED. See cli_cluster.h.
 */

#include "cli.h"
#include "cli_cluster.h"
#include "cli_cluster_conn.h"
#include "cli_memory.h"
#include "cli_text.h"

#include "oa_text.h"

#include <stdlib.h>
#include <string.h>


/*
 * Of [host, port, id, [key, value, ...]]. Whoever is not to tell its address has
 * that at which it was asked. "?" has to have a name, and has none: its address
 * is among what follows.
 */
static oa_str_t
map_host(const cluster_node_t *asked, const redisReply *node, int *unnamed)
{
    size_t             i;
    oa_str_t           host;
    const redisReply  *more;

    host = cli_reply_str(node->element[0]);
    *unnamed = oa_text_eq(host, "?");

    if (host.len != 0 && !*unnamed) {
        return host;
    }

    more = (*unnamed && node->elements > 3) ? node->element[3] : NULL;

    for (i = 0; more != NULL && i + 1 < more->elements; i += 2) {
        if (oa_text_eq(cli_reply_str(more->element[i]), "ip")
            && cli_reply_str(more->element[i + 1]).len != 0)
        {
            return cli_reply_str(more->element[i + 1]);
        }
    }

    return cli_str(asked->is.host);
}


static int
map_range(cli_cluster_t *cluster, cluster_node_t *asked,
    const redisReply *range)
{
    int                unnamed;
    size_t             i;
    oa_str_t           host;
    const redisReply  *primary;
    cluster_node_t    *node;

    if (range->type != REDIS_REPLY_ARRAY || range->elements < 3
        || range->element[0]->type != REDIS_REPLY_INTEGER
        || range->element[1]->type != REDIS_REPLY_INTEGER
        || range->element[0]->integer < 0
        || range->element[1]->integer >= OA_SLOTS)
    {
        return CLI_OK;
    }

    for (i = 2; i < range->elements; i++) {
        primary = range->element[i];

        if (primary->type != REDIS_REPLY_ARRAY || primary->elements < 2
            || primary->element[1]->type != REDIS_REPLY_INTEGER
            || primary->element[1]->integer < 1
            || primary->element[1]->integer > 65535)
        {
            return CLI_OK;
        }

        host = map_host(asked, primary, &unnamed);

        if (!oa_slot_is_host(host)) {
            return CLI_OK;
        }

        node = cli_cluster_node(cluster, cli_copy(host.data, host.len),
                                (unsigned) primary->element[1]->integer);

        if (node == NULL) {
            return CLI_FAILED;
        }

        node->is.unnamed = unnamed;

        if (i == 2) {
            long long  slot;

            for (slot = range->element[0]->integer;
                 slot <= range->element[1]->integer;
                 slot++)
            {
                cluster->owners[slot] = node;
                node->is.slots++;
            }
        }
    }

    return CLI_OK;
}


static int
map_ask(cli_cluster_t *cluster, cluster_node_t *node)
{
    int             rc;
    size_t          i;
    redisReply     *reply;
    cli_command_t  *command;

    command = cli_command("CLUSTER", (oa_str_t) oa_string("SLOTS"));
    rc = cli_cluster_ask(cluster, node, command, &reply);

    if (rc != CLI_OK) {
        return rc;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        rc = cli_redis_refused(&node->redis, command, reply);

    } else if (reply->type != REDIS_REPLY_ARRAY) {
        rc = cli_fail(CLI_FAILED, "%s:%u answers CLUSTER SLOTS with something "
                      "else than a list", node->is.host, node->is.port);
    }

    for (i = 0; rc == CLI_OK && i < reply->elements; i++) {
        rc = map_range(cluster, node, reply->element[i]);
    }

    freeReplyObject(reply);

    return rc;
}


int
cli_cluster_map_again(cli_cluster_t *cluster, cluster_node_t *node)
{
    size_t  i;

    memset(cluster->owners, 0, sizeof(cluster->owners));

    for (i = 0; i < cluster->n; i++) {
        cluster->nodes[i].is.slots = 0;
    }

    return map_ask(cluster, node);
}


int
cli_cluster_open(cli_redis_t *redis, const oa_redis_url_t *url)
{
    int              rc;
    unsigned         i;
    const char      *said, **former;
    cli_cluster_t   *cluster;
    cluster_node_t  *node;

    cluster = calloc(1, sizeof(cli_cluster_t));

    if (cluster == NULL) {
        return cli_fail(CLI_FAILED, "out of memory");
    }

    cluster->redis = redis;
    cluster->tls = url->tls;
    redis->cluster = cluster;

    rc = CLI_FAILED;

    for (i = 0; i < url->nhosts && rc != CLI_OK; i++) {
        node = cli_cluster_node(cluster, cli_copy(url->hosts[i].host.data,
                                                  url->hosts[i].host.len),
                                url->hosts[i].port);
        if (node == NULL) {
            return CLI_FAILED;
        }

        /* the last one tells why there is none */

        if (i + 1 < url->nhosts) {
            former = cli_capture(&said);
            rc = map_ask(cluster, node);
            (void) cli_capture(former);

        } else {
            rc = map_ask(cluster, node);
        }
    }

    return rc;
}
