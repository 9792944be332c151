/*
 * opsauth doctor: what the gateway's user needs besides, where nginx.conf has
 * the token service, or has tokens of other servers asked for. It has to write
 * then, and each command is tried in a way that writes nothing: on a name that
 * nothing has, or with an argument too many, which Redis looks at only after
 * the rights.
 */

#include "cli_doctor.h"
#include "cli_memory.h"
#include "cli_text.h"
#include "cli_tree.h"

#include <string.h>


#define SERVICE        1                /* opsauth_oauth */
#define INTROSPECTION  2                /* opsauth_introspection */
#define BOTH           (SERVICE|INTROSPECTION)


/* words: a name under the prefix has a ":" */
typedef struct {
    const char  *right;
    const char  *pattern;               /* of names that it is for */
    unsigned     uses;                  /* who needs it */
    unsigned     reads:1;
    const char  *meaning;
    const char  *words[6];
} oauth_right_t;


static const oauth_right_t  rights[] = {
    { "hmget", "client:*", SERVICE, 1, "no client can log in",
      { "HMGET", "client:doctor", "v" } },
    { "set", "id:*", BOTH, 0, "no token is taken in",
      { "SET", "id:doctor", "1", "XX" } },
    { "set", "jti:*", SERVICE, 0, "signed logins are refused",
      { "SET", "jti:doctor", "1", "XX" } },
    { "zadd", "tokens:*", SERVICE, 0, "no token is issued",
      { "ZADD", "tokens:doctor", "XX", "1", "doctor" } },
    { "zremrangebyscore", "tokens:*", SERVICE, 0, "no token is issued",
      { "ZREMRANGEBYSCORE", "tokens:doctor", "-inf", "0" } },
    { "evalsha", "credential:*", BOTH, 0, "no token is taken in",
      { "EVALSHA", "0000000000000000000000000000000000000000", "1",
        "credential:doctor" } },
    { "eval", "credential:*", BOTH, 0, "no token is taken in",
      { "EVAL", "return 0", "1", "credential:doctor" } },
    { "eval", "code:*", SERVICE, 0, "no code is issued or redeemed",
      { "EVAL", "return 0", "1", "code:doctor" } },
    { "eval", "refresh:*", SERVICE, 0, "no refresh token is issued or used",
      { "EVAL", "return 0", "1", "refresh:doctor" } },
    { "exists", "credential:*", BOTH, 1, "no token is taken in",
      { "EXISTS", "credential:doctor" } },
    { "hset", "credential:*", BOTH, 0, "no token is taken in",
      { "HSET", "credential:doctor", "v", "1", "v" } },
    { "del", "credential:*", INTROSPECTION, 0, "no token is taken in",
      { "DEL", "credential:doctor" } },
    { "pexpire", "refresh:*", SERVICE, 0, "no refresh token is issued",
      { "PEXPIRE", "refresh:doctor", "1" } },
    { "pexpireat", "credential:*", BOTH, 0, "no token is taken in",
      { "PEXPIREAT", "credential:doctor", "1" } }
};


static int
is_service(const cli_directive_t *d, const char *store)
{
    size_t  i;

    /* metadata and resource are documents, and ask Redis nothing */

    static const char *const  kinds[] = {
        "token", "revoke", "introspect", "authorize"
    };

    if (!cli_directive_is(d, "opsauth_oauth") || d->n < 2
        || (d->n > 2 && store != NULL && strcmp(d->words[2], store) != 0))
    {
        return 0;
    }

    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(d->words[1], kinds[i]) == 0) {
            return 1;
        }
    }

    return 0;
}


/* what there is of both that this store is, or may be, asked for */
static void
uses_find(cli_doctor_t *d, const cli_directive_t *block)
{
    unsigned                use;
    const cli_directive_t  *directive;

    for (directive = block->first; directive != NULL;
         directive = directive->next)
    {
        use = is_service(directive, d->cli->config.name) ? SERVICE
              : (cli_directive_is(directive, "opsauth_introspection")
                 && directive->n == 2
                 && strcmp(directive->words[1], "off") != 0) ? INTROSPECTION
              : 0;

        if (use != 0) {
            d->oauth_uses |= use;
            d->oauth = d->oauth ? d->oauth
                       : cli_format("%s in %s", directive->words[0],
                                    directive->where);
        }

        uses_find(d, directive);
    }
}


void
cli_doctor_oauth_find(cli_doctor_t *d)
{
    int                     rc;
    const char             *said;
    cli_setting_t           conf;
    cli_directive_t        *root;

    conf = cli_config_file(d->cli);

    if (conf.value == NULL) {
        return;
    }

    /* the same file was read for the store already */

    cli_capture(&said);
    rc = cli_tree_read(conf.value, conf.from, &root);
    cli_capture(NULL);

    if (rc == CLI_OK) {
        uses_find(d, root);
    }
}


static cli_command_t *
right_command(const cli_doctor_t *d, const oauth_right_t *right)
{
    size_t          i;
    cli_command_t  *command;

    command = cli_doctor_command(right->words[0], NULL);

    for (i = 1; i < 6 && right->words[i] != NULL; i++) {
        cli_command_addz(command, (strchr(right->words[i], ':') != NULL)
                                  ? cli_doctor_name(d, right->words[i])
                                  : right->words[i]);
    }

    return command;
}


void
cli_doctor_oauth(cli_doctor_t *d)
{
    int                   refused;
    size_t                i;
    redisReply           *reply;
    const char           *user, *name;
    const oauth_right_t  *right;

    if (d->oauth == NULL) {
        return;
    }

    user = cli_doctor_user(&d->as_gateway);

    for (i = 0, refused = 0; i < sizeof(rights) / sizeof(rights[0]); i++) {
        right = &rights[i];

        if (!(right->uses & d->oauth_uses)) {
            continue;
        }

        reply = cli_doctor_ask(d, &d->gateway, right_command(d, right));

        if (reply == NULL) {
            return;
        }

        /* an error of another kind comes only to who may run it */

        if (!cli_doctor_is_error(reply, "NOPERM")) {
            continue;
        }

        refused = 1;
        name = cli_doctor_name(d, right->pattern);
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, "oauth rights",
                       cli_format("ACL SETUSER %s %s", user,
                                  cli_doctor_missing_right(d, reply,
                                                           right->right, name,
                                                           right->reads)),
                       "user %s may not run %s on %s, which is needed for "
                       "tokens (%s): %s", cli_quotez(user), right->right,
                       name, d->oauth, right->meaning);
    }

    if (!refused) {
        cli_doctor_say(d, CLI_DOCTOR_OK, "oauth rights", NULL,
                       "user %s may do all that is needed for tokens (%s)",
                       cli_quotez(user), d->oauth);
    }
}
