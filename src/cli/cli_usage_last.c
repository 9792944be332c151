/*
 * What other verbs need of usage: see cli_usage.h.
 */

#include "cli_memory.h"
#include "cli_usage.h"

#include <string.h>


int
cli_usage_last(cli_t *cli, const oa_str_t *ids, size_t n, cli_last_t *last)
{
    int              rc;
    size_t           i;
    redisReply     **replies;
    cli_command_t  **commands;

    memset(last, 0, n * sizeof(cli_last_t));

    commands = cli_alloc((n + 1) * sizeof(cli_command_t *));
    replies = cli_alloc((n + 1) * sizeof(redisReply *));

    for (i = 0; i < n; i++) {
        commands[i] = cli_command("HMGET", cli_store_key(cli, "usage:",
                                                         ids[i]));
        cli_command_addz(commands[i], "last_used");
        cli_command_addz(commands[i], "last_ip");
    }

    rc = cli_redis_pipeline(&cli->redis, commands, n, replies);

    for (i = 0; i < n && rc == CLI_OK; i++) {

        if (replies[i]->type == REDIS_REPLY_ARRAY
            && replies[i]->elements == 2)
        {
            last[i].last_used = cli_reply_str(replies[i]->element[0]);
            last[i].last_ip = cli_reply_str(replies[i]->element[1]);

        } else if (replies[i]->type == REDIS_REPLY_ERROR
                   && strncmp(replies[i]->str, "WRONGTYPE", 9) != 0)
        {
            return cli_redis_refused(&cli->redis, commands[i], replies[i]);
        }
    }

    return rc;
}


int
cli_usage_forget(cli_t *cli, const oa_str_t *ids, size_t n)
{
    int              rc;
    size_t           i, k, mark;
    redisReply      *reply;
    cli_command_t   *del;

    mark = cli->redis.n;

    for (i = 0, rc = CLI_OK; i < n && rc == CLI_OK; i += k) {
        del = cli_command("DEL", cli_store_key(cli, "usage:", ids[i]));

        for (k = 1; k < 100 && i + k < n; k++) {
            cli_command_add(del, cli_store_key(cli, "usage:", ids[i + k]));
        }

        rc = cli_redis_call(&cli->redis, del, &reply);
        cli_redis_forget(&cli->redis, mark);
    }

    return rc;
}
