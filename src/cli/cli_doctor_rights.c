/*
 * opsauth doctor: what the users of Redis may do. What only reads is run. What
 * writes is queued behind MULTI, where Redis looks at the rights already, and
 * then discarded.
 */

#include "cli_doctor.h"
#include "cli_memory.h"
#include "cli_text.h"

#include <stdio.h>
#include <string.h>


const char *
cli_doctor_missing_right(const cli_doctor_t *d,
    const redisReply *reply, const char *command, const char *name, int reads)
{
    if (strstr(reply->str, "channel") != NULL) {
        return cli_format("&%s", name);
    }

    if (strstr(reply->str, "command") == NULL
        && strstr(reply->str, "key") != NULL)
    {
        /* Redis 6 can't tell reading from writing */
        return cli_format("%s~%s", (reads && d->major != 6) ? "%R" : "", name);
    }

    return cli_format("+%s", command);
}


/* --- the gateway's user ------------------------------------------------- */

typedef struct {
    const char           *right;        /* "client|setname" */
    const char           *words[3];     /* and a name under the prefix */
    const char           *name;
    const char           *pattern;      /* of names that the right is for */
    const char           *field;
    cli_doctor_result_t   without;      /* what it means without */
    const char           *meaning;
} gateway_right_t;


static const gateway_right_t  gateway_rights[] = {
    { "ping", { "PING" }, NULL, NULL, NULL, CLI_DOCTOR_FAILURE,
      "the gateway trusts no connection that it can't ping" },
    { "info", { "INFO", "server" }, NULL, NULL, NULL, CLI_DOCTOR_WARNING,
      "the gateway tells servers from one another by their address alone" },
    { "role", { "ROLE" }, NULL, NULL, NULL, CLI_DOCTOR_WARNING,
      "the gateway would read from a replica, whose answers may be old" },
    { "client|setname", { "CLIENT", "SETNAME", "opsauth-doctor" }, NULL, NULL,
      NULL, CLI_DOCTOR_WARNING,
      "the gateway's connections have no name in CLIENT LIST" },
    { "hmget", { "HMGET" }, "credential:doctor", "credential:*", "v",
      CLI_DOCTOR_FAILURE, "no credential can be looked up: all get a 503" },
    { "hmget", { "HMGET" }, "account:doctor", "account:*", "v",
      CLI_DOCTOR_FAILURE, "no account can be looked up: all get a 503" },
    { "hmget", { "HMGET" }, "meta", "meta", "v",
      CLI_DOCTOR_FAILURE, "unknown credentials get a 503 and no 401" }
};


static cli_command_t *
gateway_command(const cli_doctor_t *d, const gateway_right_t *right)
{
    cli_command_t  *command;

    command = cli_doctor_command(right->words[0], right->words[1],
                                 right->words[1] ? right->words[2] : NULL,
                                 NULL);

    if (right->name != NULL) {
        cli_command_addz(command, cli_doctor_name(d, right->name));
        cli_command_addz(command, right->field);
    }

    return command;
}


/* 1: it may */
static int
gateway_right(cli_doctor_t *d, const gateway_right_t *right)
{
    redisReply   *reply;
    const char   *user;

    reply = cli_doctor_ask(d, &d->gateway, gateway_command(d, right));

    if (reply == NULL) {
        return 0;
    }

    if (reply->type != REDIS_REPLY_ERROR) {
        return 1;
    }

    user = cli_doctor_user(&d->as_gateway);

    if (cli_doctor_is_error(reply, "NOPERM")) {
        cli_doctor_say(d, right->without, "rights",
                       cli_format("ACL SETUSER %s %s", user,
                                  cli_doctor_missing_right(d, reply,
                                      right->right, right->pattern
                                      ? cli_doctor_name(d, right->pattern)
                                      : "", 1)),
                       "user %s may not run %s%s%s: %s", cli_quotez(user),
                       right->right, right->name ? " on " : "",
                       right->name ? cli_doctor_name(d, right->pattern) : "",
                       right->meaning);
        return 0;
    }

    cli_doctor_say(d, right->without, "rights", NULL,
                   "Redis answers %s with %s: %s", right->right,
                   cli_doctor_error(reply), right->meaning);

    return 0;
}


void
cli_doctor_gateway_rights(cli_doctor_t *d)
{
    size_t  i, n, may;

    n = sizeof(gateway_rights) / sizeof(gateway_rights[0]);

    for (i = 0, may = 0; i < n; i++) {
        may += (size_t) gateway_right(d, &gateway_rights[i]);
    }

    if (may == n) {
        cli_doctor_say(d, CLI_DOCTOR_OK, "rights", NULL,
                       "user %s may read credentials, accounts and the mark",
                       cli_quotez(cli_doctor_user(&d->as_gateway)));
    }
}


/* --- the operator's user ------------------------------------------------ */

/* words behind the name; names are under the prefix */
typedef struct {
    const char  *command;
    const char  *before;
    const char  *name;
    const char  *words[3];
} operator_right_t;


/* what this command runs, and the operator's line in docs/redis.md has */
static const operator_right_t  operator_rights[] = {
    { "HGETALL", NULL, "account:doctor", { NULL } },
    { "HMGET", NULL, "account:doctor", { "v" } },
    { "HGET", NULL, "account:doctor", { "v" } },
    { "HSET", NULL, "account:doctor", { "v", "1" } },
    { "HSETNX", NULL, "meta", { "v", "1" } },
    { "HDEL", NULL, "account:doctor", { "v" } },
    { "EXISTS", NULL, "account:doctor", { NULL } },
    { "DEL", NULL, "account:doctor", { NULL } },
    { "GET", NULL, "id:doctor", { NULL } },
    { "SET", NULL, "id:doctor", { "1" } },
    { "SADD", NULL, "credentials:doctor", { "1" } },
    { "SSCAN", NULL, "credentials:doctor", { "0" } },
    { "SREM", NULL, "clients:doctor", { "1" } },
    { "ZADD", NULL, "tokens:doctor", { "1", "1" } },
    { "ZREMRANGEBYSCORE", NULL, "tokens:doctor", { "-inf", "0" } },
    { "ZSCAN", NULL, "tokens:doctor", { "0" } },
    { "SCAN", "0", NULL, { NULL } },
    { "INFO", "server", NULL, { NULL } },
    { "WAIT", "0", NULL, { "0" } },
    { "EXPIREAT", NULL, "account:doctor", { "1" } },
    { "XADD", NULL, "audit", { "*", "who", "doctor" } },
    { "XRANGE", NULL, "audit", { "-", "+" } },
    { "XREVRANGE", NULL, "audit", { "+", "-" } },
    { "XREAD", "STREAMS", "audit", { "$" } },
    { "PUBLISH", NULL, "invalidate", { "doctor" } }
};

#define OPERATOR_RIGHTS                                                       \
    (sizeof(operator_rights) / sizeof(operator_rights[0]))


static cli_command_t *
operator_command(const cli_doctor_t *d, const operator_right_t *right)
{
    size_t          i;
    cli_command_t  *command;

    command = cli_doctor_command(right->command, right->before, NULL);

    if (right->name != NULL) {
        cli_command_addz(command, cli_doctor_name(d, right->name));
    }

    for (i = 0; i < 3 && right->words[i] != NULL; i++) {
        cli_command_addz(command, right->words[i]);
    }

    return command;
}


/* the same in small letters, as ACL has them */
static const char *
right_name(const char *command)
{
    char    *name;
    size_t   i;

    name = cli_copy(command, strlen(command));

    for (i = 0; name[i] != '\0'; i++) {
        if (name[i] >= 'A' && name[i] <= 'Z') {
            name[i] = (char) (name[i] - 'A' + 'a');
        }
    }

    return name;
}


/* 1: it may; 0: no, said; -1: no answer */
static int
operator_may(cli_doctor_t *d, cli_redis_t *redis, const char *name,
    const cli_command_t *command)
{
    redisReply  *reply;
    const char  *user, *right;

    reply = cli_doctor_ask(d, redis, command);

    if (reply == NULL) {
        return -1;
    }

    /* EXEC's own refusal stands behind an EXECABORT */

    if (reply->type != REDIS_REPLY_ERROR
        || strstr(reply->str, "NOPERM ") == NULL)
    {
        /* what else there is to say, others say: READONLY, MISCONF */
        return 1;
    }

    user = cli_doctor_user(&d->as_operator);
    right = cli_doctor_missing_right(d, reply, right_name(name),
                                     (strcmp(name, "PUBLISH") == 0)
                                     ? cli_doctor_name(d, "invalidate")
                                     : cli_doctor_name(d, "*"), 0);

    cli_doctor_say(d, CLI_DOCTOR_FAILURE, "op. rights",
                   cli_format("ACL SETUSER %s %s", user, right),
                   "user %s may not run %s, which this command needs",
                   cli_quotez(user), name);

    return 0;
}


/* MULTI ... DISCARD; *may counts, -1: no answer */
static int
operator_queue(cli_doctor_t *d, cli_redis_t *redis, size_t *may)
{
    int         rc;
    size_t      i;

    rc = operator_may(d, redis, "MULTI", cli_doctor_command("MULTI", NULL));

    if (rc != 1) {
        return rc;
    }

    for (i = 0; i < OPERATOR_RIGHTS; i++) {
        rc = operator_may(d, redis, operator_rights[i].command,
                          operator_command(d, &operator_rights[i]));

        if (rc == -1) {
            return rc;
        }

        *may += (size_t) rc;
    }

    return operator_may(d, redis, "DISCARD",
                        cli_doctor_command("DISCARD", NULL));
}


static void
operator_rights_check(cli_doctor_t *d)
{
    int          rc;
    size_t       i, may;
    cli_redis_t  redis;

    static const char *const  rest[][2] = {
        { "PING", NULL }, { "WATCH", "meta" }, { "UNWATCH", NULL },
        { "MULTI", NULL }, { "EXEC", NULL }
    };

    may = 0;

    /* connections of their own: a MULTI that can't be discarded stays open */

    if (!cli_doctor_connect(d, &d->as_operator, &redis)) {
        return;
    }

    rc = operator_queue(d, &redis, &may);
    cli_redis_close(&redis);

    if (rc == -1 || !cli_doctor_connect(d, &d->as_operator, &redis)) {
        return;
    }

    for (i = 0; i < sizeof(rest) / sizeof(rest[0]) && rc != -1; i++) {

        /* MULTI was looked at */

        if (i == 3) {
            (void) cli_doctor_ask(d, &redis, cli_doctor_command("MULTI",
                                                                NULL));
            continue;
        }

        rc = operator_may(d, &redis, rest[i][0],
                          cli_doctor_command(rest[i][0],
                              rest[i][1] ? cli_doctor_name(d, rest[i][1])
                                         : NULL, NULL));
        may += (rc == 1);
    }

    cli_redis_close(&redis);

    if (may == OPERATOR_RIGHTS + 4) {
        cli_doctor_say(d, CLI_DOCTOR_OK, "op. rights", NULL,
                       "user %s may do all that this command needs",
                       cli_quotez(cli_doctor_user(&d->as_operator)));
    }
}


/* --- who may write ------------------------------------------------------ */

/* the token service writes credentials, and nothing of an account */
static const char *
gateway_probe(const cli_doctor_t *d)
{
    return d->oauth ? cli_doctor_name(d, "account:doctor") : d->probe;
}


/* 1: this user could change such a record; 0: no, or it is not to be seen */
static int
may_write(cli_doctor_t *d, const cli_config_t *config, const char *name)
{
    int          rc;
    redisReply  *reply;
    cli_redis_t  redis;
    const char  *said;

    memset(&redis, 0, sizeof(redis));

    cli_capture(&said);
    rc = cli_redis_open(&redis, config, d->timeout);
    cli_capture(NULL);

    if (rc == CLI_OK) {
        reply = cli_doctor_ask(d, &redis, cli_doctor_command("MULTI", NULL));
        rc = CLI_FAILED;

        if (reply != NULL && reply->type == REDIS_REPLY_STATUS) {
            reply = cli_doctor_ask(d, &redis,
                        cli_doctor_command("HSET", name, "v", "1", NULL));

            if (reply != NULL && reply->type == REDIS_REPLY_STATUS) {
                rc = CLI_OK;
            }
        }
    }

    /* it was only queued */
    cli_redis_close(&redis);

    return rc == CLI_OK;
}


void
cli_doctor_operator_rights(cli_doctor_t *d)
{
    if (d->separate) {
        if (d->operator.context != NULL) {
            operator_rights_check(d);
            d->writer = may_write(d, &d->as_operator, d->probe)
                        ? &d->operator : NULL;
        }

        return;
    }

    if (may_write(d, &d->as_gateway, gateway_probe(d))) {
        d->writer = &d->gateway;
        operator_rights_check(d);
        return;
    }

    cli_doctor_say(d, CLI_DOCTOR_SKIPPED, "op. rights",
                   "name the user that this command shall log in as: "
                   "--redis-user USER --redis-password-file FILE",
                   "not looked at: user %s, the gateway's, may not write, as "
                   "it should be",
                   cli_quotez(cli_doctor_user(&d->as_gateway)));
}


void
cli_doctor_protection(cli_doctor_t *d)
{
    const char    *user;
    cli_config_t   nobody;

    nobody = d->as_gateway;
    nobody.user.value = NULL;
    nobody.password_file.value = NULL;

    if (may_write(d, &nobody, d->probe)) {
        cli_doctor_say(d, CLI_DOCTOR_WARNING, "protection",
                       "give Redis users, as in docs/redis.md, then: ACL "
                       "SETUSER default off",
                       "Redis asks for no password: who can reach it can give "
                       "himself any access");
        return;
    }

    user = cli_doctor_user(&d->as_gateway);

    if (may_write(d, &d->as_gateway, gateway_probe(d))) {
        cli_doctor_say(d, CLI_DOCTOR_WARNING, "protection",
                       "give the gateway a user that reads, and this command "
                       "another: docs/redis.md has both",
                       "the gateway's user %s may change %s, and needs only to "
                       "read", cli_quotez(user),
                       d->oauth ? "accounts" : "records");
        return;
    }

    cli_doctor_say(d, CLI_DOCTOR_OK, "protection", NULL,
                   d->oauth ? "without a password nobody may write, nor may the "
                              "gateway's user %s change an account"
                            : "without a password nobody may write, nor may "
                              "the gateway's user %s", cli_quotez(user));
}
