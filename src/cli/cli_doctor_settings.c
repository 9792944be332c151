/*
 * opsauth doctor: settings of Redis. What INFO does not tell is asked by CONFIG
 * GET, which many users and most managed servers are without: then it is said
 * that it was not looked at.
 */

#include "cli_doctor.h"
#include "cli_memory.h"
#include "cli_text.h"

#include <stdlib.h>
#include <string.h>


#define PUBSUB_LEAST  (1024 * 1024)     /* bytes of messages */


/* NULL: may not be looked at, *why says so; or no answer, *why is NULL */
static const char *
config_get(cli_doctor_t *d, const char *name, const char **why)
{
    size_t        i;
    redisReply   *reply;
    cli_redis_t  *users[2] = { &d->operator, &d->gateway };

    *why = NULL;

    for (i = 0; i < 2; i++) {
        reply = cli_doctor_ask(d, users[i],
                               cli_doctor_command("CONFIG", "GET", name,
                                                  NULL));
        if (reply == NULL) {
            continue;
        }

        if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2
            && reply->element[1]->type == REDIS_REPLY_STRING)
        {
            return cli_text_safe(cli_reply_str(reply->element[1]));
        }

        *why = cli_doctor_is_error(reply, "NOPERM")
               ? "not looked at: no permission to run CONFIG GET"
               : "not looked at: Redis does not answer CONFIG GET";
    }

    return NULL;
}


/* writes that fail by what is wrong with the disk */
static int
disk(cli_doctor_t *d)
{
    const char  *snapshot, *log;

    snapshot = cli_doctor_info(d, "rdb_last_bgsave_status");
    log = cli_doctor_info(d, "aof_last_write_status");

    if ((snapshot != NULL && strcmp(snapshot, "ok") != 0)
        || (log != NULL && strcmp(log, "ok") != 0))
    {
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, "persistence",
                       "look into Redis' log, and for room on its disk",
                       "Redis could not save to disk when it last tried, and "
                       "may take no writes");
        return 0;
    }

    return 1;
}


static void
persistence(cli_doctor_t *d)
{
    int64_t      aof;
    const char  *save, *why;

    static const char  remedy[] = "appendonly yes in redis.conf; at once: "
                                  "CONFIG SET appendonly yes";

    if (!cli_doctor_info_number(d, "aof_enabled", &aof)) {
        cli_doctor_say(d, CLI_DOCTOR_SKIPPED, "persistence", NULL,
                       "INFO does not tell of it");
        return;
    }

    if (!disk(d)) {
        return;
    }

    if (aof) {
        cli_doctor_say(d, CLI_DOCTOR_OK, "persistence", NULL,
                       "appendonly is on");
        return;
    }

    save = config_get(d, "save", &why);

    if (save == NULL && why != NULL) {
        cli_doctor_say(d, CLI_DOCTOR_WARNING, "persistence", remedy,
                       "appendonly is off: changes since the last snapshot, "
                       "revocations among them, are lost with a crash "
                       "(snapshots %s)", why);

    } else if (save != NULL && save[0] != '\0') {
        cli_doctor_say(d, CLI_DOCTOR_WARNING, "persistence", remedy,
                       "appendonly is off: changes since the last snapshot "
                       "(save %s), revocations among them, are lost with a "
                       "crash", save);

    } else if (save != NULL) {
        cli_doctor_say(d, CLI_DOCTOR_WARNING, "persistence", remedy,
                       "nothing is kept on disk: with a restart all accounts "
                       "and keys are gone");
    }
}


static void
replicas(cli_doctor_t *d)
{
    int64_t      n;
    const char  *role, *least, *why;

    role = cli_doctor_info(d, "role");

    if (role == NULL || strcmp(role, "master") != 0
        || !cli_doctor_info_number(d, "connected_slaves", &n))
    {
        return;
    }

    if (n == 0) {
        cli_doctor_say(d, CLI_DOCTOR_OK, "replicas", NULL,
                       "none: while this server is away, only records that "
                       "were in use serve, for as long as stale says");
        return;
    }

    least = config_get(d, "min-replicas-to-write", &why);

    if (least == NULL && why != NULL) {
        cli_doctor_say(d, CLI_DOCTOR_SKIPPED, "replicas", NULL,
                       "%lld; min-replicas-to-write %s", (long long) n, why);

    } else if (least != NULL && strcmp(least, "0") == 0) {
        cli_doctor_say(d, CLI_DOCTOR_WARNING, "replicas",
                       "CONFIG SET min-replicas-to-write 1",
                       "%lld, but min-replicas-to-write is 0: a primary that "
                       "is cut off takes revocations that a failover forgets",
                       (long long) n);

    } else if (least != NULL) {
        cli_doctor_say(d, CLI_DOCTOR_OK, "replicas", NULL,
                       "%lld, min-replicas-to-write is %s", (long long) n,
                       least);
    }
}


/* "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60" */
static void
buffers(cli_doctor_t *d)
{
    const char  *limits, *p, *why;
    long long    hard;

    static const char  remedy[] =
        "CONFIG SET client-output-buffer-limit \"pubsub 32mb 8mb 60\"";

    limits = config_get(d, "client-output-buffer-limit", &why);

    if (limits == NULL) {
        if (why != NULL) {
            cli_doctor_say(d, CLI_DOCTOR_SKIPPED, "buffers", NULL,
                           "client-output-buffer-limit %s", why);
        }
        return;
    }

    p = strstr(limits, "pubsub ");

    if (p == NULL) {
        return;
    }

    hard = strtoll(p + 7, NULL, 10);

    if (hard == 0) {
        cli_doctor_say(d, CLI_DOCTOR_WARNING, "buffers", remedy,
                       "client-output-buffer-limit %s: a worker that hangs "
                       "could fill Redis' memory", p);

    } else if (hard < PUBSUB_LEAST) {
        cli_doctor_say(d, CLI_DOCTOR_WARNING, "buffers", remedy,
                       "client-output-buffer-limit %s: workers lose their "
                       "connection whenever many records change", p);
    } else {
        cli_doctor_say(d, CLI_DOCTOR_OK, "buffers", NULL,
                       "client-output-buffer-limit %s", p);
    }
}


void
cli_doctor_settings(cli_doctor_t *d)
{
    if (d->info != NULL) {
        persistence(d);
        replicas(d);
    }

    buffers(d);
}
