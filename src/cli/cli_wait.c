/*
 * See cli_wait.h. WAIT asks the replicas for what this connection wrote; since
 * Redis 7.2, and in Valkey, it asks for nothing where that is nothing. A command
 * which is repeated and finds nothing left to change must wait as well, so that
 * what decides is INFO: how far each replica says that it is. In a cluster both
 * are asked of each node that was read or written.
 */

#include "cli_wait.h"
#include "cli_cluster.h"
#include "cli_memory.h"
#include "cli_output.h"
#include "cli_text.h"
#include "cli_time.h"

#include "oa_text.h"

#include <errno.h>
#include <string.h>
#include <time.h>


/* what the gateway accepts */
#define LEASE_MIN      100
#define LEASE_MAX      60000
#define LEASE_DEFAULT  1000

/* gateways that are busy look at the clock a little late */
#define MARGIN_MSEC    100

/* longer than WAIT itself waits */
#define WAIT_PATIENCE  5

/* replicas say once a second how far they are */
#define LOOK_MSEC      50


typedef struct {
    cli_redis_t  *redis;
    int64_t       replicas;
    int64_t       offset;               /* bytes of its history */
    const char   *id;                   /* of this history */
    const char   *info;
} primary_t;


static int64_t
monotonic(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


static int
lease_read(cli_t *cli, int64_t *lease, const char **from)
{
    int             rc;
    cli_setting_t  *setting;

    rc = cli_config_read(cli);

    if (rc != CLI_OK) {
        return rc;
    }

    setting = &cli->config.lease;
    *lease = LEASE_DEFAULT;
    *from = "1s, the default";

    if (setting->value == NULL) {
        return CLI_OK;
    }

    if (cli_time_msec(setting->value, lease) != OA_OK
        || *lease < LEASE_MIN || *lease > LEASE_MAX)
    {
        return cli_fail(CLI_USAGE, "the lease %s (%s) is not valid: expected "
                        "%dms to %ds, such as 500ms or 2s",
                        cli_quotez(setting->value), setting->from, LEASE_MIN,
                        LEASE_MAX / 1000);
    }

    *from = cli_format("%s, %s", cli_text_safe(cli_str(setting->value)),
                       setting->from);

    return CLI_OK;
}


int
cli_wait_check(cli_t *cli)
{
    int64_t      lease;
    const char  *from;

    if (cli_option(&cli->options, "wait") != NULL) {
        return lease_read(cli, &lease, &from);
    }

    if (cli_option(&cli->options, "lease") != NULL) {
        return cli_fail(CLI_USAGE, "--lease is for --wait only");
    }

    return CLI_OK;
}


/* the rest of the line that begins with name, or "" */
static const char *
info_line(const char *info, const char *name)
{
    size_t       len;
    const char  *p;

    len = strlen(name);

    for (p = info; p != NULL; p = strchr(p, '\n')) {
        p += (*p == '\n');

        if (strncmp(p, name, len) == 0 && p[len] == ':') {
            p += len + 1;
            return cli_copy(p, strcspn(p, "\r\n"));
        }
    }

    return "";
}


static oa_rc_t
number(const char *text, int64_t *n)
{
    return oa_text_number(cli_str(text), INT64_MAX, n);
}


static int
primary_read(cli_redis_t *redis, primary_t *primary)
{
    int          rc;
    const char  *role;
    redisReply  *reply;

    primary->redis = redis;

    rc = cli_redis_call(redis, cli_command("INFO", cli_str("replication")),
                        &reply);

    if (rc != CLI_OK) {
        return rc;
    }

    if (reply->type != REDIS_REPLY_STRING) {
        return cli_fail(CLI_FAILED, "Redis answered INFO with something else "
                        "than text");
    }

    role = info_line(reply->str, "role");

    if (strcmp(role, "master") != 0) {
        return cli_fail(CLI_FAILED, "Redis is no primary any more: its role is "
                        "%s", cli_quotez(role));
    }

    primary->info = cli_copy(reply->str, reply->len);
    primary->id = info_line(primary->info, "master_replid");

    if (number(info_line(primary->info, "connected_slaves"),
               &primary->replicas) != OA_OK)
    {
        return cli_fail(CLI_FAILED, "Redis does not say how many replicas it "
                        "has");
    }

    if (number(info_line(primary->info, "master_repl_offset"),
               &primary->offset) != OA_OK)
    {
        return cli_fail(CLI_FAILED, "Redis does not say how far its replicas "
                        "should be");
    }

    return CLI_OK;
}


/* slave0:ip=127.0.0.1,port=6380,state=online,offset=1234,lag=0 */
static int64_t
replicas_at(const char *info, int64_t offset)
{
    size_t       len;
    int64_t      n, at;
    const char  *p, *field;

    n = 0;

    for (p = info; p != NULL; p = strchr(p, '\n')) {
        p += (*p == '\n');

        if (strncmp(p, "slave", 5) != 0 || p[5] < '0' || p[5] > '9') {
            continue;
        }

        len = strcspn(p, "\r\n");
        field = cli_copy(p, len);

        if (strstr(field, ",state=online,") == NULL) {
            continue;
        }

        field = strstr(field, ",offset=");

        if (field != NULL && number(cli_copy(field + 8,
                                             strcspn(field + 8, ",")), &at)
                             == OA_OK
            && at >= offset)
        {
            n++;
        }
    }

    return n;
}


static int
not_acknowledged(cli_redis_t *redis, int64_t n, int64_t replicas)
{
    return cli_fail(CLI_FAILED, "only %lld of %lld replicas of Redis "
                    "acknowledged this within %llds (--timeout): should "
                    "one of the others become the primary, it would be "
                    "undone", (long long) n, (long long) replicas,
                    (long long) redis->timeout);
}


static int
replicas_asked(cli_redis_t *redis, int64_t replicas)
{
    int             rc;
    int64_t         timeout;
    redisReply     *reply;
    cli_command_t  *command;

    timeout = redis->timeout;
    rc = cli_redis_patience(redis, timeout + WAIT_PATIENCE);

    if (rc != CLI_OK) {
        return rc;
    }

    command = cli_command("WAIT", cli_str(cli_format("%lld",
                                                     (long long) replicas)));
    cli_command_addz(command, cli_format("%lld", (long long) timeout * 1000));

    rc = cli_redis_call(redis, command, &reply);

    if (rc != CLI_OK) {
        return rc;
    }

    if (reply->type != REDIS_REPLY_INTEGER) {
        return cli_fail(CLI_FAILED, "Redis answered WAIT with something else "
                        "than a number");
    }

    return (reply->integer >= replicas)
           ? CLI_OK : not_acknowledged(redis, reply->integer, replicas);
}


static void
sleep_until(int64_t msec)
{
    struct timespec  ts;

    ts.tv_sec = (time_t) (msec / 1000);
    ts.tv_nsec = (long) (msec % 1000) * 1000000;

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
    { /* void */ }
}


/* until all have what the primary had when it was asked first */
static int
replicas_wait(const primary_t *primary)
{
    int           rc;
    int64_t       n, until;
    primary_t     now;
    cli_redis_t  *redis = primary->redis;

    if (primary->replicas == 0) {
        return CLI_OK;
    }

    until = monotonic() + redis->timeout * 1000;
    rc = replicas_asked(redis, primary->replicas);

    while (rc == CLI_OK) {
        rc = primary_read(redis, &now);

        if (rc != CLI_OK) {
            break;
        }

        n = replicas_at(now.info, primary->offset);

        if (n >= primary->replicas) {
            break;
        }

        if (monotonic() >= until) {
            return not_acknowledged(redis, n, primary->replicas);
        }

        sleep_until(monotonic() + LOOK_MSEC);
    }

    return rc;
}


/* those that have what was written, as they are now: in a cluster several */
static int
primaries_read(cli_t *cli, primary_t *primaries, size_t *n)
{
    int           rc;
    size_t        i;
    cli_redis_t  *redis;

    *n = 0;

    if (cli->redis.cluster == NULL) {
        *n = 1;
        return primary_read(&cli->redis, primaries);
    }

    rc = CLI_OK;
    i = 0;

    while (rc == CLI_OK
           && (redis = cli_cluster_used(&cli->redis, &i)) != NULL)
    {
        rc = primary_read(redis, &primaries[(*n)++]);
    }

    return rc;
}


static int
in_force(cli_t *cli, int64_t *replicas, const char **from)
{
    int         rc;
    size_t      i, n;
    int64_t     start, lease;
    primary_t   later, primaries[CLI_CLUSTER_NODES];

    start = monotonic();
    rc = lease_read(cli, &lease, from);

    if (rc == CLI_OK) {
        rc = primaries_read(cli, primaries, &n);
    }

    *replicas = 0;

    for (i = 0; rc == CLI_OK && i < n; i++) {
        *replicas += primaries[i].replicas;
        rc = replicas_wait(&primaries[i]);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    sleep_until(start + lease + lease / 10 + MARGIN_MSEC);

    /* was each the primary all the time? */

    for (i = 0; i < n; i++) {
        rc = primary_read(primaries[i].redis, &later);

        if (rc != CLI_OK) {
            return rc;
        }

        if (strcmp(primaries[i].id, later.id) != 0) {
            return cli_fail(CLI_FAILED, "Redis began another history while "
                            "waiting: it was restarted, or replaced");
        }
    }

    return CLI_OK;
}


int
cli_wait(cli_t *cli)
{
    int          rc, shown;
    int64_t      replicas;
    const char  *from;

    if (cli_option(&cli->options, "wait") == NULL) {
        return CLI_OK;
    }

    /* what was done is known now, and this takes a while */

    shown = cli_output_flush();
    rc = in_force(cli, &replicas, &from);

    if (rc != CLI_OK) {
        return cli_fail(rc, "the change is written, but not known to be in "
                        "force everywhere, or to last; look after Redis, and "
                        "run the same command again");
    }

    if (!cli->json) {
        cli_note("in force everywhere: %s, and one lease (%s) has passed",
                 (replicas == 0)
                 ? "Redis has no replicas"
                 : cli_format("%lld %s of Redis acknowledged it",
                              (long long) replicas,
                              (replicas == 1) ? "replica" : "replicas"),
                 from);
    }

    return shown;
}
