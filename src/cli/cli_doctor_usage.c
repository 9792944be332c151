/*
 * opsauth doctor: what the gateway's user needs to write down usage, where its
 * store has "usage on". Each command is tried on a name that nothing has, or
 * with an argument that Redis refuses only after it has looked at the rights.
 */

#include "cli_doctor.h"
#include "cli_memory.h"
#include "cli_text.h"

#include <string.h>


typedef struct {
    const char  *right;
    const char  *words[4];              /* the name of the key stands before
                                           them */
} usage_right_t;


static const usage_right_t  rights[] = {
    { "hincrby", { "doctor", "none" } },
    { "hset", { "v", "1", "v" } },
    { "expire", { "1" } },
    { "hdel", { "doctor" } }
};


static cli_command_t *
right_command(const cli_doctor_t *d, const usage_right_t *right)
{
    size_t          i;
    cli_command_t  *command;

    command = cli_doctor_command(right->right, NULL);
    cli_command_addz(command, cli_doctor_name(d, "usage:doctor"));

    for (i = 0; i < 4 && right->words[i] != NULL; i++) {
        cli_command_addz(command, right->words[i]);
    }

    return command;
}


void
cli_doctor_usage(cli_doctor_t *d)
{
    int                   refused;
    size_t                i;
    redisReply           *reply;
    const char           *user, *name;
    const cli_setting_t  *usage;

    usage = &d->cli->config.usage;

    if (usage->value == NULL || strcmp(usage->value, "on") != 0) {
        return;
    }

    user = cli_doctor_user(&d->as_gateway);
    name = cli_doctor_name(d, "usage:*");

    for (i = 0, refused = 0; i < sizeof(rights) / sizeof(rights[0]); i++) {
        reply = cli_doctor_ask(d, &d->gateway, right_command(d, &rights[i]));

        if (reply == NULL) {
            return;
        }

        if (!cli_doctor_is_error(reply, "NOPERM")) {
            continue;
        }

        refused = 1;
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, "usage rights",
                       cli_format("ACL SETUSER %s %s", user,
                                  cli_doctor_missing_right(d, reply,
                                                           rights[i].right,
                                                           name, 0)),
                       "user %s may not run %s on %s, which is needed for "
                       "\"usage on\" (%s): no usage is kept",
                       cli_quotez(user), rights[i].right, name, usage->from);
    }

    if (!refused) {
        cli_doctor_say(d, CLI_DOCTOR_OK, "usage rights", NULL,
                       "user %s may write the usage of credentials (%s)",
                       cli_quotez(user), usage->from);
    }
}
