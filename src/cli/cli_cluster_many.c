/*
 * What concerns several nodes of a cluster: see cli_cluster.h.
 *
 * A transaction is of one slot there. What stands between MULTI and EXEC is held
 * until EXEC, and goes out as one transaction a slot, in the order in which it
 * was given, but for those on nodes with watched keys, which come first: while
 * they are refused, nothing was written. Should one of the others fail, part of
 * the change was made, and that is said.
 */

#include "cli.h"
#include "cli_cluster.h"
#include "cli_cluster_conn.h"
#include "cli_memory.h"
#include "cli_text.h"

#include "oa_text.h"

#include <stdlib.h>
#include <string.h>


/* of one slot */
typedef struct {
    unsigned  slot;
    size_t    n;
    size_t   *which;            /* numbers of held commands */
    unsigned  done:1;
} group_t;


/* from what Redis would send */
static redisReply *
reply_make(const char *text)
{
    void         *reply;
    redisReader  *reader;

    reply = NULL;
    reader = redisReaderCreate();

    if (reader != NULL) {
        if (redisReaderFeed(reader, text, strlen(text)) != REDIS_OK
            || redisReaderGetReply(reader, &reply) != REDIS_OK)
        {
            reply = NULL;
        }

        redisReaderFree(reader);
    }

    if (reply == NULL) {
        (void) cli_alloc(SIZE_MAX);         /* ends the run */
    }

    return reply;
}


static int
answer(redisReply **reply, const char *text)
{
    *reply = reply_make(text);
    return CLI_OK;
}


/* --- WATCH ---------------------------------------------------------------- */

static int
run_watch(cli_cluster_t *cluster, const cli_command_t *command,
    redisReply **reply)
{
    int             rc;
    size_t          i;
    cli_command_t  *watch;

    for (i = 1; i < command->n; i++) {
        watch = cli_command("WATCH", (oa_str_t) {
                                command->lens[i],
                                (const unsigned char *) command->words[i] });

        rc = cli_cluster_one(cluster, watch, reply);

        if (rc != CLI_OK) {
            return rc;
        }

        if ((*reply)->type == REDIS_REPLY_ERROR) {
            return CLI_OK;
        }

        freeReplyObject(*reply);
        cluster->last->watched = 1;
    }

    return answer(reply, "+OK\r\n");
}


static int
run_unwatch(cli_cluster_t *cluster, redisReply **reply)
{
    int     rc;
    size_t  i;

    for (i = 0; i < cluster->n; i++) {

        if (!cluster->nodes[i].watched) {
            continue;
        }

        cluster->nodes[i].watched = 0;

        rc = cli_cluster_ask(cluster, &cluster->nodes[i],
                             cli_command("UNWATCH", (oa_str_t) oa_null),
                             reply);
        if (rc != CLI_OK) {
            return rc;
        }

        freeReplyObject(*reply);
    }

    return answer(reply, "+OK\r\n");
}


/* --- EXEC ----------------------------------------------------------------- */

static group_t *
make_groups(cli_cluster_t *cluster, size_t *n)
{
    size_t    i, g, key;
    unsigned  slot;
    group_t  *groups;

    groups = cli_alloc((cluster->nheld + 1) * sizeof(group_t));
    *n = 0;

    for (i = 0; i < cluster->nheld; i++) {

        key = cli_cluster_key(cluster->held[i]);
        slot = key ? cli_cluster_slot(cluster->held[i], key) : 0;

        for (g = 0; g < *n && groups[g].slot != slot; g++) {
            /* void */
        }

        if (g == *n) {
            memset(&groups[g], 0, sizeof(group_t));
            groups[g].slot = slot;
            groups[g].which = cli_alloc(cluster->nheld * sizeof(size_t));
            (*n)++;
        }

        groups[g].which[groups[g].n++] = i;
    }

    return groups;
}


/* one transaction at one node; *reply: EXEC's, or the error that came first */
static int
group_at(cli_cluster_t *cluster, cluster_node_t *node, const group_t *group,
    redisReply **reply)
{
    int          rc;
    size_t       i;
    redisReply  *error, *r;

    error = NULL;
    r = NULL;

    for (i = 0; i < group->n + 2; i++) {

        rc = cli_cluster_ask(cluster, node,
                             (i == 0) ? cli_command("MULTI",
                                                    (oa_str_t) oa_null)
                             : (i > group->n)
                               ? cli_command("EXEC", (oa_str_t) oa_null)
                               : cluster->held[group->which[i - 1]],
                             &r);

        if (rc != CLI_OK) {
            if (error != NULL) {
                freeReplyObject(error);
            }

            return rc;
        }

        if (i > group->n) {
            break;
        }

        if (r->type == REDIS_REPLY_ERROR && error == NULL) {
            error = r;

        } else {
            freeReplyObject(r);
        }
    }

    node->watched = 0;
    node->written = 1;

    if (error != NULL) {
        freeReplyObject(r);
        r = error;
    }

    *reply = r;

    return CLI_OK;
}


/* wherever its slot is by now; a guard that was left behind has not held */
static int
run_group(cli_cluster_t *cluster, const group_t *group, redisReply **reply)
{
    int              rc, left, asking, next, guarded;
    cluster_node_t  *node, *was;

    node = cluster->owners[group->slot];

    if (node == NULL) {
        node = cli_cluster_any(cluster);
    }

    for (left = 50; ; left--) {

        guarded = node->watched;
        rc = group_at(cluster, node, group, reply);

        if (rc != CLI_OK || left == 0) {
            return rc;
        }

        was = node;
        next = cli_cluster_follow(cluster, *reply, &node, &asking);

        if (next < 0) {
            freeReplyObject(*reply);
            return CLI_FAILED;
        }

        if (next == 0 && !cli_cluster_busy(*reply)) {
            return CLI_OK;
        }

        freeReplyObject(*reply);

        if (guarded) {
            return answer(reply, "*-1\r\n");
        }

        /* half of the slot's keys are here and half are there: a transaction
           has to wait until all are there */

        if (next == 1 && asking) {
            node = was;
            *reply = reply_make("-TRYAGAIN\r\n");
            (void) cli_cluster_busy(*reply);
            freeReplyObject(*reply);
        }
    }
}


/* the answers to one group, at their places among all */
static void
take_results(const group_t *group, redisReply *done, redisReply **results)
{
    size_t  i;

    for (i = 0; i < group->n && i < done->elements; i++) {
        results[group->which[i]] = done->element[i];
        done->element[i] = NULL;
    }

    /* of old hiredis: it frees each element that is not NULL */
    freeReplyObject(done);
}


static int
part_was_made(const redisReply *why, redisReply **reply)
{
    *reply = reply_make(cli_format("-ERR part of the change was made, and the "
                                   "rest was refused (%s); look before you "
                                   "repeat it\r\n",
                                   why->type == REDIS_REPLY_ERROR
                                   ? cli_copy((const unsigned char *) why->str,
                                              strcspn(why->str, "\r\n"))
                                   : "somebody else changed it meanwhile"));
    return CLI_OK;
}


/* nodes that are watched and not written to: has anything changed there? */
static int
guards_hold(cli_cluster_t *cluster, const group_t *groups, size_t n,
    int *hold)
{
    int          rc;
    size_t       i, g;
    group_t      nothing;
    redisReply  *reply;

    memset(&nothing, 0, sizeof(nothing));
    *hold = 1;

    for (i = 0; i < cluster->n && *hold; i++) {

        if (!cluster->nodes[i].watched) {
            continue;
        }

        for (g = 0; g < n; g++) {
            if (cluster->owners[groups[g].slot] == &cluster->nodes[i]) {
                break;
            }
        }

        if (g < n) {
            continue;
        }

        rc = group_at(cluster, &cluster->nodes[i], &nothing, &reply);

        if (rc != CLI_OK) {
            return rc;
        }

        *hold = (reply->type != REDIS_REPLY_NIL);
        freeReplyObject(reply);
    }

    return CLI_OK;
}


static int
exec_groups(cli_cluster_t *cluster, group_t *groups, size_t n,
    redisReply **results, redisReply **reply)
{
    int          rc, pass, some;
    size_t       g;
    redisReply  *done;

    some = 0;

    for (pass = 0; pass < 2; pass++) {
        for (g = 0; g < n; g++) {

            if (groups[g].done
                || (pass == 0
                    && (cluster->owners[groups[g].slot] == NULL
                        || !cluster->owners[groups[g].slot]->watched)))
            {
                continue;
            }

            rc = run_group(cluster, &groups[g], &done);

            if (rc != CLI_OK) {
                return rc;
            }

            if (done->type != REDIS_REPLY_ARRAY) {
                if (!some) {
                    *reply = done;
                    return CLI_OK;
                }

                rc = part_was_made(done, reply);
                freeReplyObject(done);
                return rc;
            }

            some = 1;
            groups[g].done = 1;
            take_results(&groups[g], done, results);
        }
    }

    *reply = NULL;

    return CLI_OK;
}


static int
run_exec(cli_cluster_t *cluster, redisReply **reply)
{
    int           rc, hold;
    size_t        i, n, all;
    group_t      *groups;
    redisReply  **results, *unwatched;

    cluster->multi = 0;
    all = cluster->nheld;

    groups = make_groups(cluster, &n);
    results = calloc(all + 1, sizeof(redisReply *));

    if (results == NULL) {
        return cli_fail(CLI_FAILED, "out of memory");
    }

    rc = guards_hold(cluster, groups, n, &hold);

    if (rc == CLI_OK) {
        rc = hold ? exec_groups(cluster, groups, n, results, reply)
                  : answer(reply, "*-1\r\n");
    }

    if (rc == CLI_OK && run_unwatch(cluster, &unwatched) == CLI_OK) {
        freeReplyObject(unwatched);
    }

    if (rc == CLI_OK && *reply == NULL) {

        /* as one server would answer all of it */

        *reply = reply_make("*0\r\n");
        (*reply)->element = results;
        (*reply)->elements = all;

        for (i = 0; i < all; i++) {
            if (results[i] == NULL) {
                results[i] = reply_make("-ERR no answer\r\n");
            }
        }

        return CLI_OK;
    }

    for (i = 0; i < all; i++) {
        if (results[i] != NULL) {
            freeReplyObject(results[i]);
        }
    }

    free(results);

    return rc;
}


static int
run_hold(cli_cluster_t *cluster, const cli_command_t *command,
    redisReply **reply)
{
    size_t                 room;
    const cli_command_t  **held;

    if (cluster->nheld == cluster->held_room) {
        room = cluster->held_room * 2 + 16;
        held = realloc(cluster->held, room * sizeof(cli_command_t *));

        if (held == NULL) {
            return cli_fail(CLI_FAILED, "out of memory");
        }

        cluster->held = held;
        cluster->held_room = room;
    }

    cluster->held[cluster->nheld++] = command;

    return answer(reply, "+QUEUED\r\n");
}


/* --- SCAN, WAIT ------------------------------------------------------------ */

/* a cursor is a node's cursor and, in its last byte, which node's */
static int
run_scan(cli_cluster_t *cluster, const cli_command_t *command,
    redisReply **reply)
{
    int                  rc;
    size_t               i, at, n;
    char                *end, text[24];
    redisReply          *cursor;
    cli_command_t       *scan;
    cluster_node_t      *node;
    unsigned long long   from;

    from = strtoull(command->words[1], &end, 10);
    at = (size_t) (from & 0xff);
    node = NULL;

    for (i = 0, n = 0; i < cluster->n; i++) {
        if (cluster->nodes[i].is.slots != 0 && n++ == at) {
            node = &cluster->nodes[i];
        }
    }

    if (node == NULL) {
        return answer(reply, "*2\r\n$1\r\n0\r\n*0\r\n");
    }

    scan = cli_command("SCAN", cli_str(cli_format("%llu", from >> 8)));

    for (i = 2; i < command->n; i++) {
        cli_command_add(scan, (oa_str_t) {
                            command->lens[i],
                            (const unsigned char *) command->words[i] });
    }

    rc = cli_cluster_ask(cluster, node, scan, reply);

    if (rc != CLI_OK || (*reply)->type != REDIS_REPLY_ARRAY
        || (*reply)->elements != 2
        || (*reply)->element[0]->type != REDIS_REPLY_STRING)
    {
        return rc;
    }

    cursor = (*reply)->element[0];
    from = strtoull(cursor->str, &end, 10);

    if (from != 0) {
        from = from << 8 | at;

    } else if (at + 1 < n) {
        from = at + 1;
    }

    (void) snprintf(text, sizeof(text), "%llu", from);

    (*reply)->element[0] = reply_make(cli_format("$%zu\r\n%s\r\n",
                                                 strlen(text), text));
    freeReplyObject(cursor);

    return CLI_OK;
}


int
cli_cluster_run(cli_redis_t *redis, const cli_command_t *command,
    redisReply **reply)
{
    const char     *verb;
    cli_cluster_t  *cluster;

    cluster = redis->cluster;
    verb = command->words[0];

    if (strcmp(verb, "MULTI") == 0) {
        cluster->multi = 1;
        cluster->nheld = 0;
        return answer(reply, "+OK\r\n");
    }

    if (strcmp(verb, "DISCARD") == 0) {
        cluster->multi = 0;
        return run_unwatch(cluster, reply);
    }

    if (strcmp(verb, "EXEC") == 0) {
        return run_exec(cluster, reply);
    }

    if (strcmp(verb, "UNWATCH") == 0) {
        /* behind MULTI it stands in for a change that is none */
        return cluster->multi ? answer(reply, "+OK\r\n")
                              : run_unwatch(cluster, reply);
    }

    if (cluster->multi) {
        return run_hold(cluster, command, reply);
    }

    if (strcmp(verb, "WATCH") == 0) {
        return run_watch(cluster, command, reply);
    }

    if (strcmp(verb, "SCAN") == 0) {
        return run_scan(cluster, command, reply);
    }

    return cli_cluster_one(cluster, command, reply);
}
