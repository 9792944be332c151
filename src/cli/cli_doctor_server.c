/*
 * opsauth doctor: which server it is, how far away, and in what state, by INFO,
 * which the gateway's user may run too.
 */

#include "cli_doctor.h"
#include "cli_memory.h"
#include "cli_text.h"

#include "oa_text.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>


#define PINGS           21
#define NUMBER_MAX      INT64_C(100000000000)
#define RTT_SLOW        50.0            /* ms */
#define CLOCK_OFF       2000.0          /* ms */
#define CLOCK_FAR       (12 * 3600 * 1000.0)


static double
milliseconds(clockid_t clock)
{
    struct timespec  ts;

    (void) clock_gettime(clock, &ts);

    return (double) ts.tv_sec * 1e3 + (double) ts.tv_nsec / 1e6;
}


static int
double_order(const void *one, const void *two)
{
    double  a, b;

    a = *(const double *) one;
    b = *(const double *) two;

    return (a > b) - (a < b);
}


static void
round_trip(cli_doctor_t *d)
{
    size_t       i;
    double       start, times[PINGS];
    redisReply  *reply;

    for (i = 0; i < PINGS; i++) {
        start = milliseconds(CLOCK_MONOTONIC);
        reply = cli_doctor_ask(d, &d->gateway,
                               cli_doctor_command("PING", NULL));

        if (reply == NULL) {
            return;
        }

        if (reply->type == REDIS_REPLY_ERROR) {
            /* a missing right is told of by its own check */
            if (!cli_doctor_is_error(reply, "NOPERM")) {
                cli_doctor_say(d, CLI_DOCTOR_FAILURE, "round trip", NULL,
                               "Redis answers PING with %s",
                               cli_doctor_error(reply));
            }
            return;
        }

        times[i] = milliseconds(CLOCK_MONOTONIC) - start;
    }

    qsort(times, PINGS, sizeof(double), double_order);

    if (times[PINGS / 2] >= RTT_SLOW) {
        cli_doctor_say(d, CLI_DOCTOR_WARNING, "round trip",
                       "put Redis nearer to the gateway; redis_timeout must be "
                       "well above this",
                       "%.0f ms, the slowest of %d %.0f ms: so long waits "
                       "every request that the cache can't decide",
                       times[PINGS / 2], PINGS, times[PINGS - 1]);
        return;
    }

    cli_doctor_say(d, CLI_DOCTOR_OK, "round trip", NULL,
                   "%.2f ms from here, the slowest of %d %.2f ms",
                   times[PINGS / 2], PINGS, times[PINGS - 1]);
}


/* Redis' clock in ms, or 0; TIME needs a right that INFO mostly comes with */
static double
server_clock(cli_doctor_t *d, cli_redis_t *redis)
{
    int64_t      seconds, us;
    redisReply  *reply;
    const char  *before;

    reply = cli_doctor_ask(d, redis, cli_doctor_command("TIME", NULL));

    if (reply == NULL) {
        return 0;
    }

    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2
        && oa_text_number(cli_reply_str(reply->element[0]), NUMBER_MAX,
                          &seconds) == OA_OK
        && oa_text_number(cli_reply_str(reply->element[1]), NUMBER_MAX,
                          &us) == OA_OK)
    {
        return (double) seconds * 1e3 + (double) us / 1e3;
    }

    reply = cli_doctor_ask(d, redis, cli_doctor_command("INFO", "server",
                                                        NULL));

    if (reply == NULL || reply->type != REDIS_REPLY_STRING) {
        return 0;
    }

    before = d->info;
    d->info = reply->str;
    us = 0;
    (void) cli_doctor_info_number(d, "server_time_usec", &us);
    d->info = before;

    return (double) us / 1e3;
}


static void
clock_check(cli_doctor_t *d)
{
    double               theirs, before, after, off;
    cli_doctor_result_t  result;

    before = milliseconds(CLOCK_REALTIME);
    theirs = server_clock(d, &d->gateway);
    after = milliseconds(CLOCK_REALTIME);

    if (theirs == 0) {
        if (!d->lost) {
            cli_doctor_say(d, CLI_DOCTOR_SKIPPED, "clock", NULL,
                           "not looked at: no permission to run TIME, and "
                           "INFO does not tell");
        }
        return;
    }

    /* between the two moments it is right */

    off = (theirs < before) ? theirs - before
                            : (theirs > after) ? theirs - after : 0;

    if (off < CLOCK_OFF && off > -CLOCK_OFF) {
        cli_doctor_say(d, CLI_DOCTOR_OK, "clock", NULL,
                       "Redis and this machine differ by less than %.0f s",
                       CLOCK_OFF / 1e3);
        return;
    }

    result = (off > CLOCK_FAR || off < -CLOCK_FAR) ? CLI_DOCTOR_FAILURE
                                                   : CLI_DOCTOR_WARNING;

    cli_doctor_say(d, result, "clock",
                   "set both clocks by NTP",
                   "Redis is %.0f s %s this machine: keys and tokens expire "
                   "by the gateway's clock, Redis forgets tokens by its own",
                   ((off < 0) ? -off : off) / 1e3,
                   (off < 0) ? "behind" : "ahead of");
}


static void
version(cli_doctor_t *d)
{
    const char  *name, *number;

    name = "Redis";
    number = cli_doctor_info(d, "redis_version");

    if (number == NULL) {
        cli_doctor_say(d, CLI_DOCTOR_SKIPPED, "version", NULL,
                       "INFO does not tell which it is");
        return;
    }

    d->major = (unsigned) strtoul(number, NULL, 10);

    if (cli_doctor_info(d, "valkey_version") != NULL) {
        name = "Valkey";
        number = cli_doctor_info(d, "valkey_version");
    }

    if (d->major < 6) {
        cli_doctor_say(d, CLI_DOCTOR_WARNING, "version",
                       "use Redis 6.0 or newer, or Valkey",
                       "%s %s can't announce changes: those that this command "
                       "makes go by a channel, others are in force within the "
                       "lease", name, number);
        return;
    }

    cli_doctor_say(d, CLI_DOCTOR_OK, "version", NULL, "%s %s", name, number);
}


static void
role(cli_doctor_t *d)
{
    int64_t      n;
    const char  *text;

    text = cli_doctor_info(d, "redis_mode");

    if (text != NULL && strcmp(text, "sentinel") == 0) {
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, "role",
                       "give the address of the primary",
                       "this is a Sentinel, and holds no records");
        return;
    }

    if (!d->clustered && cli_doctor_info_number(d, "cluster_enabled", &n)
        && n != 0)
    {
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, "cluster",
                       "give redis+cluster:// and some of its nodes",
                       "this is one node of a cluster, and has some of the "
                       "slots at most");
    }

    text = cli_doctor_info(d, "role");

    if (text == NULL) {
        cli_doctor_say(d, CLI_DOCTOR_SKIPPED, "role", NULL,
                       "INFO does not tell whether this is a primary");
        return;
    }

    if (strcmp(text, "master") != 0) {
        text = cli_doctor_info(d, "master_host");
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, "role",
                       cli_format("give the address of the primary: %s:%s",
                                  text ? text : "?",
                                  cli_doctor_info(d, "master_port")
                                  ? cli_doctor_info(d, "master_port") : "?"),
                       "this is a replica: it lags behind, and takes no "
                       "writes");
        return;
    }

    cli_doctor_say(d, CLI_DOCTOR_OK, "role", NULL, "primary");
}


static void
memory(cli_doctor_t *d)
{
    int64_t      used, limit;
    const char  *policy;

    policy = cli_doctor_info(d, "maxmemory_policy");

    if (policy == NULL || !cli_doctor_info_number(d, "maxmemory", &limit)
        || !cli_doctor_info_number(d, "used_memory", &used))
    {
        cli_doctor_say(d, CLI_DOCTOR_SKIPPED, "memory", NULL,
                       "INFO does not tell of memory and eviction");
        return;
    }

    if (strcmp(policy, "noeviction") != 0) {
        cli_doctor_say(d, (limit != 0) ? CLI_DOCTOR_FAILURE
                                       : CLI_DOCTOR_WARNING,
                       "eviction", "CONFIG SET maxmemory-policy noeviction",
                       "maxmemory-policy is %s: %sa record that is evicted is "
                       "an unknown credential", policy,
                       (limit != 0) ? "" : "as soon as maxmemory is set, ");
    } else {
        cli_doctor_say(d, CLI_DOCTOR_OK, "eviction", NULL,
                       "maxmemory-policy is noeviction");
    }

    if (limit == 0) {
        cli_doctor_say(d, CLI_DOCTOR_OK, "memory", NULL,
                       "%.1f MiB in use, no limit", (double) used / 1048576);

    } else if (used > limit / 10 * 9) {
        cli_doctor_say(d, CLI_DOCTOR_WARNING, "memory",
                       "raise maxmemory",
                       "%.1f of %.1f MiB are in use: when all are, nothing can "
                       "be written, nor revoked", (double) used / 1048576,
                       (double) limit / 1048576);
    } else {
        cli_doctor_say(d, CLI_DOCTOR_OK, "memory", NULL,
                       "%.1f of %.1f MiB are in use", (double) used / 1048576,
                       (double) limit / 1048576);
    }
}


static void
connections(cli_doctor_t *d)
{
    int64_t  n, max;

    if (!cli_doctor_info_number(d, "connected_clients", &n)
        || !cli_doctor_info_number(d, "maxclients", &max))
    {
        return;
    }

    if (n > max / 10 * 9) {
        cli_doctor_say(d, CLI_DOCTOR_WARNING, "connections",
                       "CONFIG SET maxclients, and look who they are: CLIENT "
                       "LIST",
                       "%lld of %lld are open: beyond that a worker that "
                       "reconnects is refused", (long long) n,
                       (long long) max);
        return;
    }

    cli_doctor_say(d, CLI_DOCTOR_OK, "connections", NULL, "%lld of %lld",
                   (long long) n, (long long) max);
}


void
cli_doctor_server(cli_doctor_t *d)
{
    redisReply  *reply;

    round_trip(d);
    clock_check(d);

    reply = cli_doctor_ask(d, &d->gateway, cli_doctor_command("INFO", NULL));

    if (reply != NULL && reply->type == REDIS_REPLY_ERROR
        && d->operator.context != NULL)
    {
        reply = cli_doctor_ask(d, &d->operator,
                               cli_doctor_command("INFO", NULL));
    }

    if (reply == NULL) {
        return;
    }

    if (reply->type != REDIS_REPLY_STRING) {
        cli_doctor_say(d, CLI_DOCTOR_SKIPPED, "server", NULL,
                       "version, role, memory and persistence were not looked "
                       "at: %s",
                       cli_doctor_is_error(reply, "NOPERM")
                       ? "no permission to run INFO"
                       : cli_doctor_error(reply));
        return;
    }

    d->info = reply->str;

    version(d);
    role(d);
    memory(d);
    connections(d);
}
