/*
 * opsauth doctor: a cluster. Who has slots, whether somebody has each of them,
 * and then every primary by itself, by the checks that one server gets: users,
 * versions and settings are each node's own.
 */

#include "cli.h"
#include "cli_cluster.h"
#include "cli_doctor.h"
#include "cli_memory.h"
#include "cli_text.h"

#include "oa_slot.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>


/* milliseconds; so long a primary that is cut off still answers */
#define NODE_TIMEOUT_MAX  5000

/* a node with few slots may go without a probe */
#define PROBE_TRIES       100000


int
cli_doctor_is_cluster(const cli_doctor_t *d)
{
    const char      *error;
    oa_redis_url_t   url;

    return d->as_gateway.redis.value != NULL
           && oa_redis_url_parse(cli_str(d->as_gateway.redis.value), &url,
                                 &error)
              == OA_OK
           && url.transport == OA_REDIS_CLUSTER;
}


/* what the gateway asks of each node besides what it asks of one server */
static void
node_rights(cli_doctor_t *d)
{
    size_t       i, may;
    redisReply  *reply;

    static const struct {
        const char  *words[2];
        const char  *right;
        const char  *meaning;
    } rights[] = {
        { { "CLUSTER", "SLOTS" }, "+cluster|slots",
          "where slots are can't be told" },
        { { "CLUSTER", "INFO" }, "+cluster|info",
          "a node that tells of the past can't be told from others" },
        { { "ROLE", NULL }, "+role",
          "no record is kept for longer than the lease" },
        { { "ASKING", NULL }, "+asking",
          "while slots move, requests for what they hold get a 503" }
    };

    for (i = 0, may = 0; i < sizeof(rights) / sizeof(rights[0]); i++) {

        reply = cli_doctor_ask(d, &d->gateway,
                               cli_doctor_command(rights[i].words[0],
                                                  rights[i].words[1], NULL));
        if (reply == NULL) {
            return;
        }

        if (reply->type != REDIS_REPLY_ERROR) {
            may++;
            continue;
        }

        cli_doctor_say(d, CLI_DOCTOR_FAILURE, "cluster rights",
                       cli_doctor_is_error(reply, "NOPERM")
                       ? cli_format("ACL SETUSER %s %s",
                                    cli_doctor_user(&d->as_gateway),
                                    rights[i].right)
                       : NULL,
                       "%s answers %s with %s: %s",
                       cli_text_safe(cli_str(d->as_gateway.redis.value)),
                       rights[i].right, cli_doctor_error(reply),
                       rights[i].meaning);
    }

    if (may == i) {
        cli_doctor_say(d, CLI_DOCTOR_OK, "cluster rights", NULL,
                       "user %s may ask for slots and the role",
                       cli_quotez(cli_doctor_user(&d->as_gateway)));
    }
}


static void
node_state(cli_doctor_t *d)
{
    redisReply  *reply;
    const char  *timeout;

    reply = cli_doctor_ask(d, &d->gateway,
                           cli_doctor_command("CLUSTER", "INFO", NULL));

    if (reply != NULL && reply->type == REDIS_REPLY_STRING
        && strstr(reply->str, "cluster_state:ok") == NULL)
    {
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, "cluster state",
                       "look at CLUSTER INFO and CLUSTER NODES there",
                       "%s says that the cluster does not serve",
                       cli_text_safe(cli_str(d->as_gateway.redis.value)));
    }

    reply = cli_doctor_ask(d, d->operator.context != NULL ? &d->operator
                                                          : &d->gateway,
                           cli_doctor_command("CONFIG", "GET",
                                              "cluster-node-timeout", NULL));

    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY
        || reply->elements != 2)
    {
        return;
    }

    timeout = cli_copy(cli_reply_str(reply->element[1]).data,
                       cli_reply_str(reply->element[1]).len);

    if (atoll(timeout) > NODE_TIMEOUT_MAX) {
        cli_doctor_say(d, CLI_DOCTOR_WARNING, "node timeout",
                       "CONFIG SET cluster-node-timeout 5000",
                       "cluster-node-timeout is %s ms: a primary that is cut "
                       "off from the others answers for so long, and a failover "
                       "begins no earlier", timeout);
    }
}


/* a record whose slot the node has, so that its change is told by it */
static const char *
node_probe(const cli_doctor_t *d, const cli_redis_t *redis,
    const cli_cluster_node_t *node)
{
    unsigned     i;
    const char  *probe;

    probe = d->probe;

    for (i = 0; i < PROBE_TRIES; i++) {
        probe = cli_format("%s-%u", d->probe, i);

        if (cli_cluster_owner(redis, oa_slot(cli_str(probe))) == node) {
            break;
        }
    }

    return probe;
}


static void
node_examine(cli_doctor_t *d, const cli_redis_t *redis,
    const cli_cluster_node_t *node, int tls)
{
    size_t        i;
    const char   *url, *probe;
    cli_config_t  gateway, operator;

    static void (*const  checks[])(cli_doctor_t *d) = {
        cli_doctor_tls,
        cli_doctor_server,
        cli_doctor_settings,
        node_rights,
        node_state,
        cli_doctor_gateway_rights,
        cli_doctor_oauth,
        cli_doctor_extras,
        cli_doctor_operator_rights,
        cli_doctor_protection,
        cli_doctor_tracking
    };

    gateway = d->as_gateway;
    operator = d->as_operator;
    probe = d->probe;
    d->probe = node_probe(d, redis, node);

    url = cli_format(strchr(node->host, ':') ? "%s://[%s]:%u" : "%s://%s:%u",
                     tls ? "rediss" : "redis", node->host, node->port);

    d->as_gateway.redis.value = url;
    d->as_operator.redis.value = url;

    if (cli_doctor_log_in(d)) {
        for (i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
            if (d->gateway.context == NULL || d->gateway.context->err != 0) {
                break;
            }

            checks[i](d);
        }
    }

    cli_redis_close(&d->gateway);
    cli_redis_close(&d->operator);

    d->as_gateway = gateway;
    d->as_operator = operator;
    d->probe = probe;
    d->lost = 0;
    d->info = NULL;
}


static int
in_url(const oa_redis_url_t *url, const char *host)
{
    unsigned  i;

    for (i = 0; i < url->nhosts; i++) {
        if (url->hosts[i].host.len == strlen(host)
            && strncasecmp((const char *) url->hosts[i].host.data, host,
                           strlen(host))
               == 0)
        {
            return 1;
        }
    }

    return 0;
}


/* what nodes call themselves is looked up by nginx, at each connect, or by
   nobody: but for the hosts of the URL, when it is started */
static void
cluster_names(cli_doctor_t *d, const oa_redis_url_t *url,
    const cli_cluster_node_t **nodes, size_t n)
{
    size_t       i, strange;
    const char  *host;

    const cli_config_t  *config = &d->as_gateway;

    strange = 0;
    host = NULL;

    for (i = 0; i < n; i++) {

        if (nodes[i]->unnamed) {
            cli_doctor_say(d, CLI_DOCTOR_WARNING, "cluster names",
                           "CONFIG SET cluster-announce-hostname on it, or "
                           "cluster-preferred-endpoint-type ip on all nodes",
                           "%s:%u is to be known by a host name, and has none",
                           nodes[i]->host, nodes[i]->port);
        }

        if (!cli_doctor_is_address(nodes[i]->host)
            && !in_url(url, nodes[i]->host))
        {
            host = nodes[i]->host;
            strange++;
        }
    }

    if (strange == 0 || !config->block) {
        return;
    }

    if (config->resolver) {
        cli_doctor_say(d, CLI_DOCTOR_OK, "cluster names", NULL,
                       "nginx looks nodes up at each connect, like %s",
                       cli_quotez(host));
        return;
    }

    cli_doctor_say(d, CLI_DOCTOR_FAILURE, "cluster names",
                   "set nginx' resolver in http",
                   "the cluster calls %zu of its nodes by host names that nginx "
                   "does not look up, like %s: what they hold is unavailable",
                   strange, cli_quotez(host));
}


static void
cluster_mark(cli_doctor_t *d, cli_redis_t *redis)
{
    int             rc;
    redisReply     *reply;
    const char     *said;
    cli_command_t  *command;

    command = cli_doctor_command("HGET", cli_doctor_name(d, "meta"), "v",
                                 NULL);

    cli_capture(&said);
    rc = cli_redis_call(redis, command, &reply);
    cli_capture(NULL);

    if (rc != CLI_OK) {
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, "store", NULL, "%s", said);

    } else if (reply->type == REDIS_REPLY_NIL) {
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, "store",
                       "\"opsauth account create\" sets it up",
                       "there is no %s: nobody has set this store up, and "
                       "unknown credentials get a 503",
                       cli_doctor_name(d, "meta"));
    } else {
        cli_doctor_say(d, CLI_DOCTOR_OK, "store", NULL, "it is set up");
    }
}


void
cli_doctor_cluster(cli_doctor_t *d)
{
    int                        rc;
    size_t                     i, n, primaries;
    unsigned                   missing;
    const char                *said;
    cli_redis_t                redis;
    const char                *error;
    oa_redis_url_t             url;
    const cli_cluster_node_t  *nodes[CLI_CLUSTER_NODES];

    (void) oa_redis_url_parse(cli_str(d->as_gateway.redis.value), &url,
                              &error);

    cli_doctor_names(d);

    /* no node but the first one is connected to: they may be out of reach from
       here alone */

    memset(&redis, 0, sizeof(redis));

    cli_capture(&said);
    rc = cli_redis_open(&redis, &d->as_gateway, d->timeout);
    cli_capture(NULL);

    if (rc != CLI_OK) {
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, "connection", NULL, "%s", said);
        cli_redis_close(&redis);
        return;
    }

    n = cli_cluster_nodes(&redis, nodes, &missing);
    cluster_names(d, &url, nodes, n);

    for (i = 0, primaries = 0; i < n; i++) {
        primaries += (nodes[i]->slots != 0);
    }

    if (missing != 0) {
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, "cluster",
                       "redis-cli --cluster check, and fix",
                       "nobody has %u of the %d slots", missing, OA_SLOTS);
    } else {
        cli_doctor_say(d, CLI_DOCTOR_OK, "cluster", NULL,
                       "%zu primaries have all %d slots", primaries,
                       OA_SLOTS);
    }

    cluster_mark(d, &redis);

    d->clustered = 1;

    for (i = 0; i < n; i++) {
        if (nodes[i]->slots != 0) {
            node_examine(d, &redis, nodes[i], url.tls);
        }
    }

    cli_redis_close(&redis);
}
