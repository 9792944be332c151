/*
 * One blocking connection to Redis. Whoever gets an error from here finds it
 * already said on stderr, with what the operator can do about it. Replies
 * belong to the connection and live until cli_redis_close().
 */

#ifndef CLI_REDIS_H
#define CLI_REDIS_H

#include <stdint.h>

#include <hiredis/hiredis.h>

#include "oa_core.h"
#include "oa_url.h"
#include "cli_config.h"
#include "cli_tls.h"


#define CLI_REDIS_TIMEOUT   5           /* seconds */
#define CLI_REDIS_BATCH     256         /* commands in one write */


/* a command, word by word; the words must outlive it */
typedef struct {
    const char         **words;
    size_t              *lens;
    size_t               n;
    size_t               room;
} cli_command_t;


typedef struct cli_cluster_s  cli_cluster_t;

typedef struct {
    redisContext        *context;       /* of a cluster: see cli_cluster.h */
    cli_tls_t           *tls;           /* NULL: plain */
    cli_cluster_t       *cluster;       /* NULL: one server */
    unsigned             heard:1;       /* it answered something */
    const cli_config_t  *config;
    redisReply         **replies;
    size_t               n;
    size_t               room;
    int64_t              timeout;       /* seconds */
} cli_redis_t;


int cli_redis_open(cli_redis_t *redis, const cli_config_t *config,
    int64_t timeout);

/* this server, with user, password and TLS of redis->config; redis->timeout is
   set, and a context that is left must be closed */
int cli_redis_reach(cli_redis_t *redis, const oa_redis_url_t *url,
    const char *host, unsigned port);

/*
 * Gives back the replies behind the first n (redis->n of before), where there
 * are many. Nobody may use a view into them any more.
 */
void cli_redis_forget(cli_redis_t *redis, size_t n);

/* from here on an answer may take so long */
int cli_redis_patience(cli_redis_t *redis, int64_t seconds);

void cli_redis_close(cli_redis_t *redis);

cli_command_t *cli_command(const char *name, oa_str_t key);
void cli_command_add(cli_command_t *command, oa_str_t word);
void cli_command_addz(cli_command_t *command, const char *word);

/* the answer to one command, never an error reply */
int cli_redis_call(cli_redis_t *redis, const cli_command_t *command,
    redisReply **reply);

/*
 * The two halves of it, for who waits otherwise in between; an error reply is
 * left to the caller.
 */
int cli_redis_send(cli_redis_t *redis, const cli_command_t *command);
int cli_redis_receive(cli_redis_t *redis, const cli_command_t *command,
    redisReply **reply);

/*
 * The answers to n commands, CLI_REDIS_BATCH in flight; an error reply is left
 * to the caller, who may give it to cli_redis_refused().
 */
int cli_redis_pipeline(cli_redis_t *redis, cli_command_t *const *commands,
    size_t n, redisReply **replies);

/*
 * For work that goes on for long, with more in flight than one pipeline: a
 * command behind the others, all of them on their way, the next answer, which
 * is the caller's to free.
 */
int cli_redis_append(cli_redis_t *redis, const cli_command_t *command);
int cli_redis_flush(cli_redis_t *redis);
int cli_redis_next(cli_redis_t *redis, redisReply **reply);

/* something came that poll() on the socket would not tell of */
int cli_redis_pending(const cli_redis_t *redis);

/* says what an error reply means; CLI_FAILED */
int cli_redis_refused(const cli_redis_t *redis, const cli_command_t *command,
    const redisReply *reply);


/* a string reply as a view; data NULL for nil and all else */
oa_str_t cli_reply_str(const redisReply *reply);


#endif /* CLI_REDIS_H */
