/*
 * opsauth doctor: what the gateway's user needs to write down usage and to share
 * rates, where its store has "usage on" or "rate_sync on". Each command is tried
 * on a name that nothing has, or with an argument that Redis refuses only after
 * it has looked at the rights: nothing is written.
 */

#include "cli_doctor.h"
#include "cli_memory.h"
#include "cli_text.h"

#include <string.h>
#include <strings.h>


/* stands for the name of the key */
#define NAME  ""


typedef struct {
    const char  *right;
    const char  *pattern;               /* of names that it is for, or NULL */
    const char  *name;
    const char  *words[6];
} extra_right_t;


typedef struct {
    const char           *directive;
    const char           *check;
    size_t                setting;      /* in cli_config_t */
    const char           *may;          /* what all of them are for */
    const char           *without;
    const extra_right_t  *rights;
    size_t                n;
} extra_t;


static const extra_right_t  usage_rights[] = {
    { "hincrby", "usage:*", "usage:doctor",
      { "HINCRBY", NAME, "doctor", "none" } },
    { "hset", "usage:*", "usage:doctor", { "HSET", NAME, "v", "1", "v" } },
    { "expire", "usage:*", "usage:doctor", { "EXPIRE", NAME, "1" } },
    { "hdel", "usage:*", "usage:doctor", { "HDEL", NAME, "doctor" } }
};


/* "nodes" is there while gateways run: nothing that could be done to it */
static const extra_right_t  rate_rights[] = {
    { "evalsha", "rate:*", "rate:doctor",
      { "EVALSHA", "0000000000000000000000000000000000000000", "1", NAME } },
    { "eval", "rate:*", "rate:doctor", { "EVAL", "return 0", "1", NAME } },
    { "eval", "nodes", "nodes", { "EVAL", "return 0", "1", NAME } },
    { "time", NULL, NULL, { "TIME" } },
    { "hget", "rate:*", "rate:doctor", { "HGET", NAME, "v" } },
    { "hset", "rate:*", "rate:doctor", { "HSET", NAME, "v", "1", "v" } },
    { "pexpire", "rate:*", "rate:doctor", { "PEXPIRE", NAME, "1" } },
    { "zadd", "nodes", "nodes", { "ZADD", NAME, "none", "doctor" } },
    { "zremrangebyscore", "nodes", "nodes",
      { "ZREMRANGEBYSCORE", NAME, "none", "none" } },
    { "zcard", "nodes", "nodes", { "ZCARD", NAME } }
};


#define count(rights)  (sizeof(rights) / sizeof(rights[0]))

static const extra_t  extras[] = {
    { "usage", "usage rights", offsetof(cli_config_t, usage),
      "write the usage of credentials", "no usage is kept",
      usage_rights, count(usage_rights) },
    { "rate_sync", "rate rights", offsetof(cli_config_t, rate_sync),
      "share rates with other gateways",
      "no rate is shared, and each gateway has its own part of it",
      rate_rights, count(rate_rights) }
};


static const cli_setting_t *
extra_setting(const cli_doctor_t *d, const extra_t *extra)
{
    return (const cli_setting_t *) ((const char *) &d->cli->config
                                    + extra->setting);
}


/* nginx takes "ON", too */
static int
extra_on(const cli_doctor_t *d, const extra_t *extra)
{
    const cli_setting_t  *setting;

    setting = extra_setting(d, extra);

    return setting->value != NULL && strcasecmp(setting->value, "on") == 0;
}


static cli_command_t *
right_command(const cli_doctor_t *d, const extra_right_t *right)
{
    size_t          i;
    const char     *word;
    cli_command_t  *command;

    command = cli_doctor_command(right->words[0], NULL);

    for (i = 1; i < 6 && right->words[i] != NULL; i++) {
        word = right->words[i];
        cli_command_addz(command, *word ? word
                                        : cli_doctor_name(d, right->name));
    }

    return command;
}


/* 1: it may; 0: no, said; -1: no answer */
static int
right_check(cli_doctor_t *d, const extra_t *extra, const extra_right_t *right)
{
    redisReply  *reply;
    const char  *user, *name;

    reply = cli_doctor_ask(d, &d->gateway, right_command(d, right));

    if (reply == NULL) {
        return -1;
    }

    if (!cli_doctor_is_error(reply, "NOPERM")) {
        return 1;
    }

    user = cli_doctor_user(&d->as_gateway);
    name = right->pattern ? cli_doctor_name(d, right->pattern) : "";

    cli_doctor_say(d, CLI_DOCTOR_FAILURE, extra->check,
                   cli_format("ACL SETUSER %s %s", user,
                              cli_doctor_missing_right(d, reply, right->right,
                                                       name, 0)),
                   "user %s may not run %s%s%s, which is needed for \"%s on\" "
                   "(%s): %s", cli_quotez(user), right->right,
                   *name ? " on " : "", name, extra->directive,
                   extra_setting(d, extra)->from, extra->without);

    return 0;
}


/* before Redis 7 who may read a record may do to it whatever he may do at all */
static void
reach_check(cli_doctor_t *d, const extra_t *extra)
{
    redisReply  *reply;
    const char  *name;

    /* that the default user may do everything is said in any case */

    if (d->as_gateway.user.value == NULL) {
        return;
    }

    name = d->oauth ? "account" : "credential";

    reply = cli_doctor_ask(d, &d->gateway,
                cli_doctor_command("HSET",
                    cli_doctor_name(d, cli_format("%s:doctor", name)),
                    "v", "1", "v", NULL));

    if (reply == NULL || cli_doctor_is_error(reply, "NOPERM")) {
        return;
    }

    cli_doctor_say(d, CLI_DOCTOR_WARNING, extra->check,
                   (d->major == 6)
                   ? cli_format("use Redis 7 or newer, or \"%s off\"",
                                extra->directive)
                   : cli_format("let it only read them: %%R~%s in place of ~, "
                                "as docs/redis.md has it",
                                cli_doctor_name(d, cli_format("%s:*", name))),
                   "with what \"%s on\" needs (%s) user %s may change %ss, "
                   "too%s", extra->directive, extra_setting(d, extra)->from,
                   cli_quotez(cli_doctor_user(&d->as_gateway)), name,
                   (d->major == 6) ? ": Redis 6 can't tell reading from writing"
                                   : "");
}


void
cli_doctor_extras(cli_doctor_t *d)
{
    int             rc, refused;
    size_t          i, k;
    const extra_t  *extra;

    for (i = 0; i < count(extras); i++) {
        extra = &extras[i];

        if (!extra_on(d, extra)) {
            continue;
        }

        for (k = 0, refused = 0; k < extra->n; k++) {
            rc = right_check(d, extra, &extra->rights[k]);

            if (rc == -1) {
                return;
            }

            refused |= !rc;
        }

        if (!refused) {
            cli_doctor_say(d, CLI_DOCTOR_OK, extra->check, NULL,
                           "user %s may %s (%s)",
                           cli_quotez(cli_doctor_user(&d->as_gateway)),
                           extra->may, extra_setting(d, extra)->from);
        }

        reach_check(d, extra);
    }
}
