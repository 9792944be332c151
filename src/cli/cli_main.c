/*
 * The opsauth command: from the command line to one function of one noun, and
 * from what it returns to the exit code. Nothing is read or written before the
 * whole command line is understood.
 */

#include "cli.h"
#include "cli_memory.h"
#include "cli_nouns.h"
#include "cli_output.h"
#include "cli_signal.h"
#include "cli_text.h"

#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>


static const cli_noun_t *const  nouns[] = {
    &cli_account_noun,
    &cli_key_noun,
    &cli_client_noun,
    &cli_token_noun,
    &cli_pepper_noun,
    &cli_import_noun,
    &cli_export_noun,
    &cli_audit_noun,
    &cli_doctor_noun,
    &cli_completion_noun,
    &cli_man_noun,
    &cli_explain_noun,
    &cli_usage_noun,
    NULL
};


static const char  **captured;


/* one write, so that the lines of two commands never mix */
static void
say(const char *fmt, va_list args)
{
    const char  *text;

    text = cli_vformat(fmt, args);

    if (captured != NULL) {
        *captured = text;
        return;
    }

    fputs(cli_format("opsauth: %s\n", text), stderr);
}


const char **
cli_capture(const char **said)
{
    const char  **before;

    before = captured;
    captured = said;

    return before;
}


int
cli_fail(int code, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    say(fmt, args);
    va_end(args);

    return code;
}


void
cli_note(const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    say(fmt, args);
    va_end(args);
}


int
cli_confirm(const char *question)
{
    char  answer[16];

    fputs(cli_format("%s [y/N] ", question), stderr);

    if (fgets(answer, sizeof(answer), stdin) == NULL) {
        answer[0] = '\0';
    }

    answer[strcspn(answer, "\r\n")] = '\0';

    if (strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0) {
        return CLI_OK;
    }

    return cli_fail(CLI_FAILED, "nothing was changed");
}


static int
words_check(const cli_t *cli)
{
    const cli_verb_t  *verb;

    verb = cli->verb;

    if (cli->options.nwords < verb->min) {
        (void) cli_fail(CLI_USAGE, "%s is missing", verb->words);

    } else if (cli->options.nwords > verb->max) {
        (void) cli_fail(CLI_USAGE, "%s is too much",
                        cli_quotez(cli->options.words[verb->max]));

    } else {
        return CLI_OK;
    }

    cli_help_short(cli, nouns);

    return CLI_USAGE;
}


static int
run(cli_t *cli, int argc, char *const *argv)
{
    int  rc;

    rc = cli_options_parse(cli, nouns, argc, argv);

    if (rc != CLI_OK) {
        return rc;
    }

    if (cli_option(&cli->options, "help") != NULL) {
        cli_help_full(cli, nouns);
        return CLI_OK;
    }

    if (cli_option(&cli->options, "version") != NULL) {
        printf("opsauth %s\n", CLI_VERSION);
        return CLI_OK;
    }

    if (cli->verb == NULL) {
        cli_help_short(cli, nouns);
        return CLI_USAGE;
    }

    rc = words_check(cli);

    if (rc != CLI_OK) {
        return rc;
    }

    cli->json = (cli_option(&cli->options, "json") != NULL);
    cli->now = (int64_t) time(NULL);

    return cli->verb->run(cli);
}


int
main(int argc, char **argv)
{
    int    rc;
    cli_t  cli;

    memset(&cli, 0, sizeof(cli));
    cli.nouns = nouns;

    /* a pipe that nobody reads is an error like others, to be told */
    (void) signal(SIGPIPE, SIG_IGN);

    (void) setlocale(LC_CTYPE, "C.UTF-8");
    cli_output_init();

    rc = run(&cli, argc, argv);

    if (cli_output_flush() != CLI_OK && rc == CLI_OK) {
        rc = CLI_FAILED;
    }

    cli_redis_close(&cli.redis);
    oa_hasher_cleanup(&cli.hasher);
    cli_output_wipe();
    cli_memory_release();
    cli_signal_end();

    return rc;
}
