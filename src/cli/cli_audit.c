/*
 * opsauth audit: who changed what, from the stream that every change writes
 * into (cli_change_audit()). Read page by page, so that a stream of any length
 * takes the memory of one page: the last entries are found from the end, then
 * read from there on.
 */

#include "cli_audit.h"
#include "cli_memory.h"
#include "cli_nouns.h"
#include "cli_output.h"
#include "cli_text.h"
#include "cli_time.h"

#include "oa_text.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>


#define AUDIT_LAST      50
#define AUDIT_PAGE      "500"
#define AUDIT_PAGE_N    500
#define AUDIT_WAIT      5               /* seconds; shorter than for ever, so
                                           that a Redis that is gone is seen */


static int audit_run(cli_t *cli);


static const cli_option_t  audit_options[] = {
    { "since", 0, 0, "WHEN",
      "from then on: 7d ago, 2027-01-31, 2027-01-31T18:30Z" },
    { "until", 0, 0, "WHEN", "up to then" },
    { "action", 0, 0, "PATTERN",
      "only these: key.create, \"key.*\", \"*.revoke\"" },
    { "object", 0, 0, "PATTERN", "only what was done to this id" },
    { "account", 0, 0, "ID",
      "only what was done to this account, its clients,\nkeys and tokens" },
    { "who", 0, 0, "PATTERN", "only what they did: \"anna@*\"" },
    { "limit", 0, 0, "N",
      "the last N (default 50; with --since or --until: all)" },
    { "all", 0, 0, NULL, "all that there are" },
    { "follow", 0, 0, NULL, "then wait for more, until Ctrl-C" },
    { NULL, 0, 0, NULL, NULL }
};


static const cli_verb_t  audit_verb = {
    "", "", 0, 0, "show who changed what, the newest last", audit_options,
    "Every change that this command makes leaves an entry in the store; the "
    "last\n100000 or so are kept. In a pattern * stands for anything. With "
    "--json the\nentries are an array, with --follow JSON Lines.\n"
    "\n"
    "  opsauth audit\n"
    "  opsauth audit --since 7d --action \"key.*\"\n"
    "  opsauth audit --account crm --all\n"
    "  opsauth audit --follow --json | jq -r .object\n",
    audit_run
};


const cli_noun_t  cli_audit_noun = {
    "audit", "who changed what",
    NULL, &audit_verb
};


static volatile sig_atomic_t  interrupted;


static void
on_interrupt(int signo)
{
    interrupted = 1;
}


static const char *
position_text(cli_position_t id)
{
    return cli_format("%" PRIu64 "-%" PRIu64, id.ms, id.seq);
}


static int
position_before(cli_position_t a, cli_position_t b)
{
    return a.ms < b.ms || (a.ms == b.ms && a.seq < b.seq);
}


static cli_position_t
position_next(cli_position_t id)
{
    if (++id.seq == 0) {
        id.ms++;
    }

    return id;
}


static cli_position_t
position_previous(cli_position_t id)
{
    if (id.seq-- == 0) {
        id.ms--;
    }

    return id;
}


static int
page_read(cli_audit_t *audit, const char *name, cli_position_t from,
    cli_position_t to, redisReply **page)
{
    int             rc;
    cli_command_t  *command;

    command = cli_command(name, audit->key);
    cli_command_addz(command, position_text(from));
    cli_command_addz(command, position_text(to));
    cli_command_addz(command, "COUNT");
    cli_command_addz(command, AUDIT_PAGE);

    rc = cli_redis_call(&audit->cli->redis, command, page);

    if (rc == CLI_OK && (*page)->type != REDIS_REPLY_ARRAY) {
        rc = cli_fail(CLI_FAILED, "Redis answered %s with something else than "
                      "a list", name);
    }

    return rc;
}


/* nothing of the page is kept; of Redis' replies the first n */
static void
page_end(cli_audit_t *audit, size_t n)
{
    (void) cli_pool_use(NULL);
    cli_pool_empty(audit->pool);
    cli_redis_forget(&audit->cli->redis, n);
}


/*
 * From the end: where the last entries begin, as many as are asked for. The
 * end becomes the newest that there is now: what comes meanwhile is for
 * --follow.
 */
static int
find_start(cli_audit_t *audit)
{
    int                 rc;
    size_t              i, n, replies;
    int64_t             left;
    redisReply         *page;
    cli_position_t      cursor, first;
    cli_audit_entry_t   entry;

    replies = audit->cli->redis.n;
    left = audit->limit;
    cursor = audit->end;
    first = audit->start;
    audit->end = position_previous(audit->start);       /* nothing */

    do {
        (void) cli_pool_use(audit->pool);
        rc = page_read(audit, "XREVRANGE", cursor, audit->start, &page);
        n = (rc == CLI_OK) ? page->elements : 0;

        for (i = 0; i < n && rc == CLI_OK; i++) {
            if (!cli_audit_entry(page->element[i], &entry)) {
                rc = cli_fail(CLI_FAILED, "Redis answered XREVRANGE with "
                              "something else than entries of a stream");
                break;
            }

            if (position_before(audit->end, entry.id)) {
                audit->end = entry.id;
            }

            cursor = position_previous(entry.id);

            if (cli_audit_wanted(audit, &entry)) {
                first = entry.id;
                left--;
            }

            if (audit->limit == 0 || left == 0) {
                break;
            }
        }

        page_end(audit, replies);

    } while (rc == CLI_OK && left != 0 && audit->limit != 0
             && n == AUDIT_PAGE_N);

    if (audit->limit != 0 && left == 0) {
        audit->start = first;
    }

    return rc;
}


/* from start to end, page by page */
static int
print_range(cli_audit_t *audit)
{
    int              rc;
    size_t           n, replies;
    redisReply      *page;
    cli_position_t   cursor;

    replies = audit->cli->redis.n;
    cursor = audit->start;
    audit->last = audit->end;
    n = AUDIT_PAGE_N;

    for (rc = CLI_OK; rc == CLI_OK && n == AUDIT_PAGE_N
                      && !position_before(audit->end, cursor); )
    {
        (void) cli_pool_use(audit->pool);
        rc = page_read(audit, "XRANGE", cursor, audit->end, &page);
        n = (rc == CLI_OK) ? page->elements : 0;

        if (n != 0) {
            rc = cli_audit_print(audit, page);
        }

        if (rc == CLI_OK) {
            rc = cli_output_flush();
        }

        cursor = position_next(audit->last);
        page_end(audit, replies);
    }

    return rc;
}


/*
 * Until Redis answers, a signal comes (*done) or nobody reads stdout any more.
 * Signals are let in here alone.
 */
static int
follow_wait(cli_audit_t *audit, const sigset_t *signals, int *done)
{
    int              n;
    struct pollfd    fds[2];
    struct timespec  limit;

    limit.tv_sec = 2 * AUDIT_WAIT;
    limit.tv_nsec = 0;

    if (cli_redis_pending(&audit->cli->redis)) {
        limit.tv_sec = 0;
    }

    fds[0].fd = audit->cli->redis.context->fd;
    fds[0].events = POLLIN;
    fds[1].fd = STDOUT_FILENO;
    fds[1].events = 0;
    fds[1].revents = 0;

    n = interrupted ? -1 : ppoll(fds, 2, &limit, signals);

    if (interrupted || (n == -1 && errno != EINTR)) {
        *done = 1;
        return CLI_OK;
    }

    if (n > 0 && (fds[1].revents & POLLERR)) {
        return cli_fail(CLI_FAILED, "can't write to stdout: nobody reads it "
                        "any more");
    }

    return CLI_OK;
}


static int
follow_once(cli_audit_t *audit, const sigset_t *signals, int *done)
{
    int             rc;
    redisReply     *reply;
    cli_command_t  *command;

    command = cli_command("XREAD", (oa_str_t) oa_null);
    cli_command_addz(command, "BLOCK");
    cli_command_addz(command, cli_format("%d", AUDIT_WAIT * 1000));
    cli_command_addz(command, "COUNT");
    cli_command_addz(command, AUDIT_PAGE);
    cli_command_addz(command, "STREAMS");
    cli_command_add(command, audit->key);
    cli_command_addz(command, position_text(audit->last));

    rc = cli_redis_send(&audit->cli->redis, command);

    if (rc == CLI_OK) {
        rc = follow_wait(audit, signals, done);
    }

    if (rc != CLI_OK || *done) {
        return rc;
    }

    rc = cli_redis_receive(&audit->cli->redis, command, &reply);

    /* nil: nothing came; else one stream, of name and entries */

    if (rc != CLI_OK || reply->type == REDIS_REPLY_NIL) {
        return rc;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        return cli_redis_refused(&audit->cli->redis, command, reply);
    }

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 1
        || reply->element[0]->type != REDIS_REPLY_ARRAY
        || reply->element[0]->elements != 2
        || reply->element[0]->element[1]->type != REDIS_REPLY_ARRAY)
    {
        return cli_fail(CLI_FAILED, "Redis answered XREAD with something else "
                        "than a stream");
    }

    rc = cli_audit_print(audit, reply->element[0]->element[1]);

    return (rc == CLI_OK) ? cli_output_flush() : rc;
}


static int
follow(cli_audit_t *audit)
{
    int                rc, done;
    size_t             replies;
    sigset_t           blocked, before;
    struct sigaction   sa;

    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = on_interrupt;
    sigemptyset(&sa.sa_mask);

    sigemptyset(&blocked);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGTERM);

    (void) sigprocmask(SIG_BLOCK, &blocked, &before);
    (void) sigaction(SIGINT, &sa, NULL);
    (void) sigaction(SIGTERM, &sa, NULL);

    replies = audit->cli->redis.n;

    for (rc = CLI_OK, done = 0; rc == CLI_OK && !done; ) {
        (void) cli_pool_use(audit->pool);
        rc = follow_once(audit, &before, &done);
        page_end(audit, replies);
    }

    return rc;
}


/* --since and --until */
static int
time_option(cli_audit_t *audit, const char *name, int64_t *seconds)
{
    const char  *text;

    text = cli_option(&audit->cli->options, name);

    if (text == NULL) {
        *seconds = -1;
        return CLI_OK;
    }

    if (cli_time_past(text, audit->cli->now, seconds) != OA_OK) {
        return cli_fail(CLI_USAGE, "--%s %s: expected how long ago, such as "
                        "90d, 12h or 30m, or a time such as 2027-01-31 or "
                        "2027-01-31T18:30Z", name, cli_quotez(text));
    }

    return CLI_OK;
}


static int
limit_option(cli_audit_t *audit, int range)
{
    const char     *text;
    cli_options_t  *options;

    options = &audit->cli->options;
    text = cli_option(options, "limit");

    if (cli_option(options, "all") != NULL) {
        range = 1;

        if (text != NULL) {
            return cli_fail(CLI_USAGE, "--all and --limit exclude each other");
        }
    }

    audit->limit = range ? 0 : AUDIT_LAST;

    if (text != NULL
        && (oa_text_number(cli_str(text), INT64_MAX, &audit->limit) != OA_OK
            || audit->limit == 0))
    {
        return cli_fail(CLI_USAGE, "--limit %s: expected a number from 1 on; "
                        "--all shows all", cli_quotez(text));
    }

    return CLI_OK;
}


static int
audit_options_read(cli_audit_t *audit)
{
    int             rc;
    int64_t         since, until;
    cli_options_t  *options;

    options = &audit->cli->options;
    audit->who = cli_option(options, "who");
    audit->action = cli_option(options, "action");
    audit->object = cli_option(options, "object");
    audit->account = cli_option(options, "account");
    audit->follow = (cli_option(options, "follow") != NULL);

    rc = time_option(audit, "since", &since);

    if (rc == CLI_OK) {
        rc = time_option(audit, "until", &until);
    }

    if (rc == CLI_OK) {
        rc = limit_option(audit, since >= 0 || until >= 0);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    if (audit->follow && until >= 0) {
        return cli_fail(CLI_USAGE, "--follow and --until exclude each other");
    }

    if (since >= 0 && until >= 0 && since > until) {
        return cli_fail(CLI_USAGE, "--since is later than --until");
    }

    /* no entry has the id 0-0 */
    audit->start.ms = (since > 0) ? (uint64_t) since * 1000 : 0;
    audit->start.seq = (since > 0) ? 0 : 1;
    audit->end.ms = (until >= 0) ? (uint64_t) until * 1000 + 999 : UINT64_MAX;
    audit->end.seq = UINT64_MAX;

    return CLI_OK;
}


static int
audit_run(cli_t *cli)
{
    int          rc;
    cli_audit_t  audit;

    memset(&audit, 0, sizeof(audit));
    audit.cli = cli;

    rc = audit_options_read(&audit);

    if (rc == CLI_OK) {
        rc = cli_store_open(cli);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    audit.pool = cli_pool_create();
    audit.key = cli_store_key(cli, "audit", (oa_str_t) oa_null);

    rc = find_start(&audit);

    if (rc == CLI_OK) {
        rc = print_range(&audit);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    if (!cli->json && !audit.some) {
        (void) cli_audit_print(&audit, NULL);
    }

    if (!audit.follow) {
        if (cli->json) {
            (void) fputs(audit.some ? "\n]\n" : "[]\n", stdout);
        }

        return CLI_OK;
    }

    rc = cli_output_flush();

    return (rc == CLI_OK) ? follow(&audit) : rc;
}
