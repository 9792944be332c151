/*
 * opsauth doctor: would the gateway work with this store? Looks at everything
 * as the gateway's own user of Redis, and changes nothing: the one thing that
 * it writes, to see that a change is announced, is gone in the same step.
 */

#include "cli_doctor.h"
#include "cli_memory.h"
#include "cli_nouns.h"
#include "cli_output.h"
#include "cli_text.h"

#include "oa_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/rand.h>


static int doctor_run(cli_t *cli);


static const cli_option_t  doctor_options[] = {
    { "no-write", 0, 0, NULL, "don't even write the probe" },
    { NULL, 0, 0, NULL, NULL }
};


static const cli_verb_t  doctor_verb = {
    "", "", 0, 0, "look for what would keep the gateway from working",
    doctor_options,
    "Logs in to Redis as the gateway does (redis_user and redis_password_file "
    "of the\nopsauth_store block), and tries what the gateway needs: rights, "
    "the push of\nchanges, settings of Redis, the files of secrets, the "
    "records. Where options\nname another user, the rights that this command "
    "needs are tried with that one.\nEach line is ok, a warning, a failure, or "
    "skipped, with what helps below it.\n"
    "\n"
    "Nothing is changed. To prove that changes are announced, a record of no "
    "use is\nwritten and ends in the same transaction; --no-write leaves that "
    "out.\n"
    "\n"
    "Exit code 0: no failure, though maybe warnings. 1: at least one "
    "failure.\n"
    "\n"
    "  opsauth doctor -c /etc/nginx/nginx.conf\n"
    "  opsauth doctor --redis-user operator --redis-password-file "
    "/etc/opsauth/operator\n"
    "  opsauth doctor --json | jq -r '.checks[] | select(.result == "
    "\"failure\").text'\n",
    doctor_run
};


const cli_noun_t  cli_doctor_noun = {
    "doctor", "would the gateway work with this store?",
    NULL, &doctor_verb
};


/* --- what it says ------------------------------------------------------- */

static const struct {
    const char  *name;
    const char  *colour;
} results[] = {
    { "ok", "\033[32m" },
    { "warning", "\033[33m" },
    { "failure", "\033[31m" },
    { "skipped", "\033[2m" }
};


static void
say_json(cli_doctor_t *d, cli_doctor_result_t result, const char *check,
    const char *remedy, const char *text)
{
    json_t  *object;

    object = json_object();
    json_object_set_new(object, "check", json_string(check));
    json_object_set_new(object, "result", json_string(results[result].name));
    json_object_set_new(object, "text", cli_json_str(cli_str(text)));
    json_object_set_new(object, "remedy", cli_json_str(cli_str(remedy)));
    json_array_append_new(d->checks, object);
}


void
cli_doctor_say(cli_doctor_t *d, cli_doctor_result_t result, const char *check,
    const char *remedy, const char *fmt, ...)
{
    va_list      args;
    const char  *text;

    va_start(args, fmt);
    text = cli_vformat(fmt, args);
    va_end(args);

    d->counts[result]++;

    if (d->checks != NULL) {
        say_json(d, result, check, remedy, text);
        return;
    }

    printf("%s%-8s%s %-13s %s\n", d->colour ? results[result].colour : "",
           results[result].name, d->colour ? "\033[0m" : "", check, text);

    if (remedy != NULL) {
        printf("%-22s -> %s\n", "", remedy);
    }

    /* the next check may take its time */
    (void) fflush(stdout);
}


static void
say_end(cli_doctor_t *d)
{
    size_t   warnings, failures;
    json_t  *object;

    warnings = d->counts[CLI_DOCTOR_WARNING];
    failures = d->counts[CLI_DOCTOR_FAILURE];

    if (d->checks == NULL) {
        printf("\n%zu failure%s, %zu warning%s\n", failures,
               (failures == 1) ? "" : "s", warnings,
               (warnings == 1) ? "" : "s");
        return;
    }

    object = json_object();
    json_object_set_new(object, "failures",
                        json_integer((json_int_t) failures));
    json_object_set_new(object, "warnings",
                        json_integer((json_int_t) warnings));
    json_object_set_new(object, "checks", d->checks);
    cli_json_print(object);
}


/* --- talking to Redis --------------------------------------------------- */

cli_command_t *
cli_doctor_command(const char *word, ...)
{
    va_list         args;
    const char     *next;
    cli_command_t  *command;

    command = cli_command(word, (oa_str_t) oa_null);
    va_start(args, word);

    for ( ;; ) {
        next = va_arg(args, const char *);

        if (next == NULL) {
            break;
        }

        cli_command_addz(command, next);
    }

    va_end(args);

    return command;
}


redisReply *
cli_doctor_ask(cli_doctor_t *d, cli_redis_t *redis,
    const cli_command_t *command)
{
    int             rc;
    redisReply     *reply;
    const char     *said;
    cli_command_t  *one;

    if (redis->context == NULL || redis->context->err != 0) {
        return NULL;
    }

    one = (cli_command_t *) command;
    said = NULL;

    cli_capture(&said);
    rc = cli_redis_pipeline(redis, &one, 1, &reply);
    cli_capture(NULL);

    if (rc == CLI_OK) {

        /* a node that has not got the key has looked at the rights before */

        if (d->clustered && cli_doctor_is_error(reply, "MOVED")) {
            reply->type = REDIS_REPLY_STATUS;
        }

        return reply;
    }

    if (!d->lost) {
        d->lost = 1;
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, "connection", NULL, "%s", said);
    }

    return NULL;
}


static int
connect_as(cli_doctor_t *d, const cli_config_t *config, cli_redis_t *redis,
    const char **said)
{
    int             rc;
    redisReply     *reply;
    cli_command_t  *ping;

    ping = cli_doctor_command("PING", NULL);

    cli_capture(said);
    rc = cli_redis_open(redis, config, d->timeout);

    if (rc == CLI_OK) {
        rc = cli_redis_pipeline(redis, &ping, 1, &reply);
    }

    /* who gives no password is told so by the first command only */

    if (rc == CLI_OK && cli_doctor_is_error(reply, "NOAUTH")) {
        rc = cli_redis_refused(redis, ping, reply);
    }

    cli_capture(NULL);

    if (rc != CLI_OK) {
        cli_redis_close(redis);
    }

    return rc == CLI_OK;
}


int
cli_doctor_connect(cli_doctor_t *d, const cli_config_t *config,
    cli_redis_t *redis)
{
    const char  *said;

    memset(redis, 0, sizeof(*redis));

    if (connect_as(d, config, redis, &said)) {
        return 1;
    }

    cli_doctor_say(d, CLI_DOCTOR_FAILURE, "connection", NULL, "%s", said);

    return 0;
}


const char *
cli_doctor_name(const cli_doctor_t *d, const char *rest)
{
    return cli_format("%s%s", d->cli->config.prefix.value, rest);
}


const char *
cli_doctor_user(const cli_config_t *config)
{
    return config->user.value
           ? cli_text_safe(cli_str(config->user.value)) : "default";
}


int
cli_doctor_is_error(const redisReply *reply, const char *code)
{
    return reply != NULL && reply->type == REDIS_REPLY_ERROR
           && strncmp(reply->str, code, strlen(code)) == 0;
}


const char *
cli_doctor_error(const redisReply *reply)
{
    return (reply->type == REDIS_REPLY_ERROR)
           ? cli_quote((oa_str_t) { reply->len,
                                    (const unsigned char *) reply->str })
           : "what is no answer to it";
}


const char *
cli_doctor_info(const cli_doctor_t *d, const char *field)
{
    size_t       n;
    const char  *p;

    n = strlen(field);

    for (p = d->info; p != NULL && *p != '\0'; p = strchr(p, '\n')) {
        p += (*p == '\n');

        if (strncmp(p, field, n) == 0 && p[n] == ':') {
            return cli_text_safe(
                cli_str(cli_copy(p + n + 1, strcspn(p + n + 1, "\r\n"))));
        }
    }

    return NULL;
}


int
cli_doctor_info_number(const cli_doctor_t *d, const char *field, int64_t *n)
{
    const char  *text;

    text = cli_doctor_info(d, field);

    return text != NULL
           && oa_text_number(cli_str(text), INT64_MAX, n) == OA_OK;
}


/* --- the run ------------------------------------------------------------ */

static int
same_text(const char *a, const char *b)
{
    return (a == NULL) ? (b == NULL) : (b != NULL && strcmp(a, b) == 0);
}


static void
find_users(cli_doctor_t *d)
{
    d->as_operator = d->cli->config;
    d->as_gateway = d->cli->config;

    if (d->cli->config.block) {
        d->as_gateway.user = d->cli->config.block_user;
        d->as_gateway.password_file = d->cli->config.block_password_file;
    }

    d->separate = !same_text(d->as_gateway.user.value,
                             d->as_operator.user.value)
                  || !same_text(d->as_gateway.password_file.value,
                                d->as_operator.password_file.value);
}


int
cli_doctor_log_in(cli_doctor_t *d)
{
    const char  *said;

    /* also where nobody gets any further; a cluster's nodes were looked at */

    if (!d->clustered) {
        cli_doctor_names(d);
        cli_doctor_sentinels(d);
    }

    /* the user that matters first: without it there is nothing to look at */

    if (!connect_as(d, &d->as_gateway, &d->gateway, &said)) {
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, "connection", NULL, "%s", said);
        return 0;
    }

    cli_doctor_say(d, CLI_DOCTOR_OK, "connection", NULL,
                   "Redis at %s admits user %s, as the gateway logs in",
                   cli_text_safe(cli_str(d->as_gateway.redis.value)),
                   cli_quotez(cli_doctor_user(&d->as_gateway)));

    if (!d->separate) {
        return 1;
    }

    if (!connect_as(d, &d->as_operator, &d->operator, &said)) {
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, "operator", NULL, "%s", said);
        return 1;
    }

    cli_doctor_say(d, CLI_DOCTOR_OK, "operator", NULL,
                   "and user %s, as this command logs in",
                   cli_quotez(cli_doctor_user(&d->as_operator)));

    return 1;
}


static void
examine(cli_doctor_t *d)
{
    size_t  i;

    static void (*const  checks[])(cli_doctor_t *d) = {
        cli_doctor_tls,
        cli_doctor_server,
        cli_doctor_settings,
        cli_doctor_gateway_rights,
        cli_doctor_oauth,
        cli_doctor_extras,
        cli_doctor_operator_rights,
        cli_doctor_protection,
        cli_doctor_tracking,
        cli_doctor_channel,
        cli_doctor_mark,
        cli_doctor_records
    };

    for (i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        if (d->gateway.context->err != 0) {
            return;
        }

        checks[i](d);
    }
}


/* of a form that no digest has: no gateway looks it up */
static int
make_probe(cli_doctor_t *d)
{
    char           hex[17];
    unsigned char  bytes[8];

    if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
        return cli_fail(CLI_FAILED, "there is no randomness to be had");
    }

    oa_text_hex(bytes, sizeof(bytes), (unsigned char *) hex);
    hex[16] = '\0';
    d->probe = cli_doctor_name(d, cli_format("credential:doctor-%s", hex));

    return CLI_OK;
}


static int
doctor_run(cli_t *cli)
{
    int            rc;
    const char    *term, *no_colour;
    cli_doctor_t   d;

    memset(&d, 0, sizeof(d));
    d.cli = cli;
    rc = cli_store_timeout(cli, &d.timeout);

    if (rc == CLI_OK) {
        rc = cli_config_read(cli);
    }

    if (rc == CLI_OK) {
        rc = make_probe(&d);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    term = getenv("TERM");
    no_colour = getenv("NO_COLOR");
    d.colour = isatty(STDOUT_FILENO) && (no_colour == NULL || *no_colour == 0)
               && term != NULL && strcmp(term, "dumb") != 0;
    d.no_write = (cli_option(&cli->options, "no-write") != NULL);
    d.checks = cli->json ? json_array() : NULL;

    find_users(&d);
    cli_doctor_oauth_find(&d);
    cli_doctor_store(&d);
    cli_doctor_pepper(&d);
    cli_doctor_password(&d);

    if (cli_doctor_is_cluster(&d)) {
        cli_doctor_cluster(&d);

    } else if (cli_doctor_log_in(&d)) {
        examine(&d);
    }

    say_end(&d);
    cli_redis_close(&d.gateway);
    cli_redis_close(&d.operator);

    return (d.counts[CLI_DOCTOR_FAILURE] == 0) ? CLI_OK : CLI_FAILED;
}
