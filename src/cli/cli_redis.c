/*
 * See cli_redis.h. hiredis 0.14 is enough: no call of a later one is used.
 */

#include "cli.h"
#include "cli_cluster.h"
#include "cli_file.h"
#include "cli_memory.h"
#include "cli_sentinel.h"
#include "cli_text.h"

#include "oa_text.h"
#include "oa_url.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>


/* until who was named a primary says that it is one */
#define ROLE_TRIES  6


/* what an error reply begins with -> what it means here, what helps */
typedef struct {
    const char  *code;
    const char  *text;
} refusal_t;


static const refusal_t  refusals[] = {
    { "NOAUTH",
      "asks for a password: give --redis-password-file (and --redis-user)" },
    { "WRONGPASS", "does not accept this user and password" },
    { "ERR invalid password", "does not accept this password" },
    { "ERR AUTH", "has no password set, or no user of its own: leave "
      "--redis-password-file and --redis-user out" },
    { "ERR Client sent AUTH", "has no password set: leave "
      "--redis-password-file out" },
    { "LOADING", "is still loading its data; try again in a moment" },
    { "READONLY", "is a replica and takes no writes: give the primary's "
      "address" },
    { "MASTERDOWN", "is a replica that has lost its primary: give the "
      "primary's address" },
    { "MOVED", "is a node of a cluster: give redis+cluster://" },
    { "CLUSTERDOWN", "is a cluster that does not serve all slots" },
    { "OOM", "has no memory left for writes (maxmemory)" },
    { "MISCONF", "takes no writes since it can't save to disk" },
    { "WRONGTYPE", "holds something else under this name: it is not of "
      "opsauth, or damaged" },
    { "ERR DB index", "has no database of this number" },
    { NULL, NULL }
};


static const char *
redis_name(const cli_redis_t *redis)
{
    return cli_format("Redis at %s (%s)",
                      cli_text_safe(cli_str(redis->config->redis.value)),
                      redis->config->redis.from);
}


static const char *
redis_user(const cli_redis_t *redis)
{
    const cli_config_t  *config;

    config = redis->config;

    return cli_format("user %s%s%s%s",
                      config->user.value
                      ? cli_quotez(config->user.value) : "\"default\"",
                      config->password_file.value ? ", password file " : "",
                      config->password_file.value
                      ? cli_quotez(config->password_file.value) : "",
                      config->password_file.value
                      ? cli_format(" (%s)", config->password_file.from) : "");
}


static const char *
command_text(const cli_command_t *command)
{
    if (command->n > 1 && strcmp(command->words[0], "AUTH") != 0) {
        return cli_format("%s %s", command->words[0],
                          cli_quote((oa_str_t) {
                              command->lens[1],
                              (const unsigned char *) command->words[1] }));
    }

    return command->words[0];
}


/* the connection itself failed */
static int
redis_lost(const cli_redis_t *redis, const char *doing)
{
    int          err;
    const char  *why;

    err = errno;
    why = redis->context->errstr;

    if (redis->context->err == REDIS_ERR_IO
        && (err == EAGAIN || err == EWOULDBLOCK || err == ETIMEDOUT
            || err == EINPROGRESS))
    {
        why = "it did not answer in time (--timeout)";

    } else if (redis->context->err == REDIS_ERR_IO && err == ECONNREFUSED) {
        why = "connection refused; is it running there?";

    } else if (!redis->heard
               && redis->context->connection_type == REDIS_CONN_TCP
               && (redis->context->err == REDIS_ERR_EOF || err == ECONNRESET
                   || err == EPIPE))
    {
        /* with TLS 1.3 a reset may overtake the alert that tells why */

        why = (redis->tls != NULL)
              ? "it closed the connection right after the TLS handshake; does "
                "it ask for a client certificate (--cert, --key)?"
              : "it closed the connection without an answer; if it speaks TLS "
                "on this port, give rediss://";

    } else if (redis->context->err == REDIS_ERR_EOF) {
        why = "it closed the connection";
    }

    return cli_fail(CLI_FAILED, "%s failed at %s: %s",
                    redis_name(redis), doing, why);
}


int
cli_redis_refused(const cli_redis_t *redis, const cli_command_t *command,
    const redisReply *reply)
{
    oa_str_t          text;
    const refusal_t  *r;

    text = (oa_str_t) { reply->len, (const unsigned char *) reply->str };

    if (strncmp(reply->str, "NOPERM", 6) == 0) {
        return cli_fail(CLI_FAILED, "%s does not allow %s to run %s: give the "
                        "user this right%s, or another user (--redis-user); it "
                        "said %s", redis_name(redis), redis_user(redis),
                        command_text(command),
                        strcmp(command->words[0], "ROLE") == 0
                        ? ", +role, on all servers that sentinels may name"
                        : "", cli_quote(text));
    }

    for (r = refusals; r->code != NULL; r++) {
        if (strncmp(reply->str, r->code, strlen(r->code)) == 0) {
            break;
        }
    }

    if (r->code == NULL) {
        return cli_fail(CLI_FAILED, "%s refuses %s: %s", redis_name(redis),
                        command_text(command), cli_quote(text));
    }

    if (strcmp(command->words[0], "AUTH") == 0
        || strcmp(r->code, "NOAUTH") == 0)
    {
        return cli_fail(CLI_FAILED, "%s %s: %s; it said %s", redis_name(redis),
                        r->text, redis_user(redis), cli_quote(text));
    }

    return cli_fail(CLI_FAILED, "%s %s: %s; it said %s", redis_name(redis),
                    r->text, command_text(command), cli_quote(text));
}


/* --- the wire: hiredis' own, or TLS ------------------------------------- */

static int
wire_append(cli_redis_t *redis, const cli_command_t *command)
{
    int  rc;

    rc = (redis->tls != NULL)
         ? cli_tls_append(redis->tls, command->n, command->words,
                          command->lens)
         : redisAppendCommandArgv(redis->context, (int) command->n,
                                  command->words, command->lens);

    return (rc == REDIS_OK) ? CLI_OK : redis_lost(redis, command->words[0]);
}


static int
wire_write(cli_redis_t *redis, const char *doing)
{
    int  done;

    errno = 0;

    if (redis->tls != NULL) {
        return (cli_tls_write(redis->tls) == REDIS_OK)
               ? CLI_OK : redis_lost(redis, doing);
    }

    do {
        if (redisBufferWrite(redis->context, &done) != REDIS_OK) {
            return redis_lost(redis, doing);
        }

    } while (!done);

    return CLI_OK;
}


static int
wire_reply(cli_redis_t *redis, void **reply, const char *doing)
{
    int  rc;

    errno = 0;
    rc = (redis->tls != NULL) ? cli_tls_reply(redis->tls, reply)
                              : redisGetReply(redis->context, reply);

    if (rc != REDIS_OK) {
        return redis_lost(redis, doing);
    }

    redis->heard = 1;

    return CLI_OK;
}


int
cli_redis_pending(const cli_redis_t *redis)
{
    return redis->tls != NULL && cli_tls_pending(redis->tls);
}


static void
redis_keep(cli_redis_t *redis, redisReply *reply)
{
    redisReply  **replies;

    /* not of the run's memory: it must outlive cli_memory_rewind() */

    if (redis->n == redis->room) {
        replies = realloc(redis->replies,
                          (redis->room * 2 + 64) * sizeof(redisReply *));

        if (replies == NULL) {
            freeReplyObject(reply);
            (void) cli_alloc(SIZE_MAX);         /* ends the run */
            return;
        }

        redis->replies = replies;
        redis->room = redis->room * 2 + 64;
    }

    redis->replies[redis->n++] = reply;
}


int
cli_redis_pipeline(cli_redis_t *redis, cli_command_t *const *commands,
    size_t n, redisReply **replies)
{
    int      rc;
    void    *reply;
    size_t   i, sent;

    for (i = 0; redis->cluster != NULL && i < n; i++) {
        rc = cli_cluster_run(redis, commands[i], &replies[i]);

        if (rc != CLI_OK) {
            return rc;
        }

        redis_keep(redis, replies[i]);
    }

    if (redis->cluster != NULL) {
        return CLI_OK;
    }

    sent = 0;

    for (i = 0; i < n; i++) {

        /* the next batch goes out in one write, when this one is answered */

        while (sent < n && (i == sent || sent % CLI_REDIS_BATCH != 0)) {

            rc = wire_append(redis, commands[sent]);

            if (rc != CLI_OK) {
                return rc;
            }

            sent++;
        }

        rc = wire_reply(redis, &reply, commands[i]->words[0]);

        if (rc != CLI_OK) {
            return rc;
        }

        redis_keep(redis, reply);
        replies[i] = reply;
    }

    return CLI_OK;
}


int
cli_redis_append(cli_redis_t *redis, const cli_command_t *command)
{
    return (redis->cluster != NULL) ? cli_cluster_append(redis, command)
                                    : wire_append(redis, command);
}


int
cli_redis_flush(cli_redis_t *redis)
{
    return (redis->cluster != NULL) ? CLI_OK : wire_write(redis, "writing");
}


int
cli_redis_next(cli_redis_t *redis, redisReply **reply)
{
    int    rc;
    void  *next;

    if (redis->cluster != NULL) {
        return cli_cluster_next(redis, reply);
    }

    rc = wire_reply(redis, &next, "reading");

    if (rc == CLI_OK) {
        *reply = next;
    }

    return rc;
}


int
cli_redis_call(cli_redis_t *redis, const cli_command_t *command,
    redisReply **reply)
{
    int             rc;
    redisReply     *r;
    cli_command_t  *one;

    one = (cli_command_t *) command;
    rc = cli_redis_pipeline(redis, &one, 1, &r);

    if (rc != CLI_OK) {
        return rc;
    }

    if (r->type == REDIS_REPLY_ERROR) {
        return cli_redis_refused(redis, command, r);
    }

    if (reply != NULL) {
        *reply = r;
    }

    return CLI_OK;
}


int
cli_redis_send(cli_redis_t *redis, const cli_command_t *command)
{
    int  rc;

    if (redis->cluster != NULL) {
        return cli_cluster_send(redis, command);
    }

    rc = wire_append(redis, command);

    return (rc == CLI_OK) ? wire_write(redis, command->words[0]) : rc;
}


int
cli_redis_receive(cli_redis_t *redis, const cli_command_t *command,
    redisReply **reply)
{
    int    rc;
    void  *r;

    if (redis->cluster != NULL) {
        return cli_cluster_receive(redis, command, reply);
    }

    rc = wire_reply(redis, &r, command->words[0]);

    if (rc == CLI_OK) {
        redis_keep(redis, r);
        *reply = r;
    }

    return rc;
}


static int
redis_login(cli_redis_t *redis)
{
    int                  rc;
    oa_str_t             text, password;
    cli_command_t       *command;
    const cli_config_t  *config;

    config = redis->config;

    if (config->password_file.value == NULL) {
        if (config->user.value != NULL) {
            return cli_fail(CLI_USAGE, "the user %s (%s) needs "
                            "--redis-password-file FILE",
                            cli_quotez(config->user.value), config->user.from);
        }

        return CLI_OK;
    }

    rc = cli_file_read(config->password_file.value, CLI_FILE_SECRET,
                       "the Redis password file", config->password_file.from,
                       &text);

    if (rc != CLI_OK) {
        return rc;
    }

    /* as the gateway reads it: all but the end of the line */

    password = text;

    while (password.len != 0
           && (password.data[password.len - 1] == '\n'
               || password.data[password.len - 1] == '\r'))
    {
        password.len--;
    }

    if (password.len == 0) {
        return cli_fail(CLI_FAILED, "the Redis password file %s (%s) holds "
                        "no password",
                        cli_quotez(config->password_file.value),
                        config->password_file.from);
    }

    command = cli_command("AUTH", config->user.value
                                  ? cli_str(config->user.value) : password);

    if (config->user.value != NULL) {
        cli_command_add(command, password);
    }

    return cli_redis_call(redis, command, NULL);
}


static void
redis_hang_up(cli_redis_t *redis)
{
    if (redis->tls != NULL) {
        cli_tls_close(redis->tls);
        redis->tls = NULL;
    }

    if (redis->context != NULL) {
        redisFree(redis->context);
        redis->context = NULL;
    }
}


/* the server itself, wherever the URL or the sentinels say that it is */
int
cli_redis_reach(cli_redis_t *redis, const oa_redis_url_t *url, const char *host,
    unsigned port)
{
    int             rc;
    struct timeval  tv;

    tv.tv_sec = (time_t) redis->timeout;
    tv.tv_usec = 0;
    errno = 0;

    redis->context = (url->transport == OA_REDIS_UNIX)
                     ? redisConnectUnixWithTimeout(
                           cli_copy(url->path.data, url->path.len), tv)
                     : redisConnectWithTimeout(host, (int) port, tv);

    if (redis->context == NULL) {
        return cli_fail(CLI_FAILED, "out of memory");
    }

    if (redis->context->err != 0) {
        return redis_lost(redis, "connecting");
    }

    if (redisSetTimeout(redis->context, tv) != REDIS_OK) {
        return redis_lost(redis, "setting the timeout");
    }

    if (url->tls) {
        rc = cli_tls_open(&redis->tls, redis->context, redis->config, host,
                          redis_name(redis));

        if (rc != CLI_OK) {
            return rc;
        }
    }

    rc = redis_login(redis);

    if (rc == CLI_OK && url->db != 0) {
        rc = cli_redis_call(redis,
                            cli_command("SELECT",
                                        cli_str(cli_format("%u", url->db))),
                            NULL);
    }

    return rc;
}


/*
 * What sentinels name may be none any more, or not yet: it must say that it is
 * a primary, and is asked for again for a while.
 */
static int
redis_reach_primary(cli_redis_t *redis, const oa_redis_url_t *url)
{
    int                  rc, left;
    unsigned             port;
    redisReply          *reply = NULL;
    const char          *host;
    const cli_config_t  *config;
    struct timespec      wait = { 0, 300 * 1000 * 1000 };

    config = redis->config;

    for (left = ROLE_TRIES; ; left--) {

        rc = cli_sentinel_primary(config, url, &host, &port);

        if (rc == CLI_OK) {
            rc = cli_redis_reach(redis, url, host, port);
        }

        if (rc == CLI_OK) {
            rc = cli_redis_call(redis, cli_command("ROLE", (oa_str_t) oa_null), &reply);
        }

        if (rc != CLI_OK) {
            return rc;
        }

        if (reply->type == REDIS_REPLY_ARRAY && reply->elements != 0
            && oa_text_eq(cli_reply_str(reply->element[0]), "master"))
        {
            return CLI_OK;
        }

        if (left == 0) {
            return cli_fail(CLI_FAILED, "%s: the server that the sentinels "
                            "name, %s:%u, is no primary; try again in a moment",
                            redis_name(redis), host, port);
        }

        redis_hang_up(redis);
        (void) nanosleep(&wait, NULL);
    }
}


int
cli_redis_open(cli_redis_t *redis, const cli_config_t *config, int64_t timeout)
{
    const char      *error;
    oa_redis_url_t   url;

    redis->config = config;
    redis->timeout = timeout;

    if (oa_redis_url_parse(cli_str(config->redis.value), &url, &error)
        != OA_OK)
    {
        return cli_fail(CLI_USAGE, "the Redis address %s (%s) is not valid: "
                        "%s", cli_quotez(config->redis.value),
                        config->redis.from, error);
    }

    if (url.transport == OA_REDIS_CLUSTER) {
        return cli_cluster_open(redis, &url);
    }

    return (url.transport == OA_REDIS_SENTINEL)
           ? redis_reach_primary(redis, &url)
           : cli_redis_reach(redis, &url, cli_copy(url.host.data, url.host.len),
                         url.port);
}


int
cli_redis_patience(cli_redis_t *redis, int64_t seconds)
{
    struct timeval  tv;

    if (redis->cluster != NULL) {
        return cli_cluster_patience(redis, seconds);
    }

    tv.tv_sec = (time_t) seconds;
    tv.tv_usec = 0;
    errno = 0;

    return (redisSetTimeout(redis->context, tv) == REDIS_OK)
           ? CLI_OK : redis_lost(redis, "setting the timeout");
}


void
cli_redis_forget(cli_redis_t *redis, size_t n)
{
    while (redis->n > n) {
        freeReplyObject(redis->replies[--redis->n]);
    }
}


void
cli_redis_close(cli_redis_t *redis)
{
    cli_redis_forget(redis, 0);
    free(redis->replies);

    if (redis->cluster != NULL) {
        cli_cluster_close(redis);
    }

    redis_hang_up(redis);

    memset(redis, 0, sizeof(*redis));
}
