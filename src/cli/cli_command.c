/*
 * Commands word by word, and strings of replies: see cli_redis.h.
 */

#include "cli.h"
#include "cli_memory.h"
#include "cli_redis.h"
#include "cli_text.h"

#include <string.h>


cli_command_t *
cli_command(const char *name, oa_str_t key)
{
    cli_command_t  *command;

    command = cli_alloc(sizeof(cli_command_t));
    cli_command_addz(command, name);

    if (key.data != NULL) {
        cli_command_add(command, key);
    }

    return command;
}


void
cli_command_add(cli_command_t *command, oa_str_t word)
{
    size_t  room;

    if (command->n == command->room) {
        room = command->room * 2 + 8;
        command->words = cli_grow(command->words,
                                  command->n * sizeof(char *),
                                  room * sizeof(char *));
        command->lens = cli_grow(command->lens, command->n * sizeof(size_t),
                                 room * sizeof(size_t));
        command->room = room;
    }

    command->words[command->n] = (word.len == 0) ? ""
                                                 : (const char *) word.data;
    command->lens[command->n] = word.len;
    command->n++;
}


void
cli_command_addz(cli_command_t *command, const char *word)
{
    cli_command_add(command, cli_str(word));
}


oa_str_t
cli_reply_str(const redisReply *reply)
{
    oa_str_t  s = oa_null;

    if (reply != NULL
        && (reply->type == REDIS_REPLY_STRING
            || reply->type == REDIS_REPLY_STATUS))
    {
        s.data = (const unsigned char *) reply->str;
        s.len = reply->len;
    }

    return s;
}
