/*
 * opsauth import: accounts, clients and credentials from JSON Lines.
 */

#include <jansson.h>

#include "cli_batch.h"
#include "cli_lines.h"
#include "cli_nouns.h"
#include "cli_output.h"
#include "cli_progress.h"
#include "cli_signal.h"
#include "cli_text.h"

#include "oa_text.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>


#define ANNOUNCED_MAX  1024             /* beyond that: "everything" */
#define ERRORS_MAX     1000             /* in the JSON of the summary */


typedef struct {
    cli_t           *cli;
    cli_import_t     options;
    cli_lines_t      lines;
    cli_progress_t   progress;
    int64_t          from;              /* the line to begin with */
    uint64_t         judged;            /* lines */
    uint64_t         done;              /* the last line of which all is told */
    uint64_t         accounts[CLI_ITEM_VERDICTS];
    uint64_t         clients[CLI_ITEM_VERDICTS];
    uint64_t         credentials[CLI_ITEM_VERDICTS];
    uint64_t         bad;
    json_t          *errors;
    oa_str_t        *changed;           /* records, for the announcement */
    size_t           nchanged;
    unsigned         ended:1;           /* all lines are read */
    unsigned         lost:1;            /* Redis is, or said no */
} import_t;


static int import_all(cli_t *cli);


static const cli_option_t  import_options[] = {
    { "replace", 0, 0, NULL, "overwrite records that exist and differ" },
    { "unrevoke", 0, 0, NULL,
      "with --replace: bring revoked credentials back to life,\nwhere a line "
      "says so" },
    { "from-line", 0, 0, "N", "go on where an import was stopped" },
    { NULL, 0, 0, NULL, NULL }
};


static const cli_verb_t  import_alone = {
    "", "[FILE|-]", 0, 1, "write records from JSON Lines",
    import_options,
    "One object a line, as \"opsauth export\" writes them, from FILE or from "
    "stdin. A\ncredential has its \"digest\", or the \"key\" itself, which is "
    "checked as the gateway\nwould and stored as its digest.\n"
    "\n"
    "A line that is wrong is reported with its number and keeps none of the "
    "others out;\nthe exit code is 1 then. What exists already and is the same "
    "stays as it is, so\nan import may be repeated; what differs is refused "
    "without --replace. Interrupted\n(ctrl-C), it says with which --from-line "
    "to go on.\n"
    "\n"
    "  opsauth import backup.jsonl\n"
    "  opsauth export --redis redis://old | opsauth import --redis "
    "redis://new\n",
    import_all
};


const cli_noun_t  cli_import_noun = {
    "import", "write records from JSON Lines", NULL,
    &import_alone
};


static void
bad_line(import_t *im, const cli_item_t *item)
{
    json_t  *error;

    im->bad++;
    cli_progress_clear(&im->progress);
    cli_note("line %llu: %s", (unsigned long long) item->line, item->bad);

    if (im->cli->json && json_array_size(im->errors) < ERRORS_MAX) {
        error = json_object();
        json_object_set_new(error, "line",
                            json_integer((json_int_t) item->line));
        json_object_set_new(error, "reason", cli_json_str(cli_str(item->bad)));
        json_array_append_new(im->errors, error);
    }
}


static void
changed(import_t *im, oa_str_t key)
{
    cli_pool_t  *former;

    if (im->nchanged < ANNOUNCED_MAX) {
        former = cli_pool_use(NULL);
        im->changed[im->nchanged].data =
                            (unsigned char *) cli_copy(key.data, key.len);
        im->changed[im->nchanged].len = key.len;
        (void) cli_pool_use(former);
    }

    im->nchanged++;
}


/* what became of a batch: told, counted, forgotten */
static void
settle(import_t *im, cli_batch_t *batch)
{
    size_t       i;
    cli_item_t  *item;
    cli_pool_t  *former;

    former = cli_pool_use(batch->pool);

    for (i = 0; i < batch->n; i++) {
        item = &batch->items[i];
        im->done = item->line;
        im->judged++;

        if (item->verdict == CLI_ITEM_BAD) {
            bad_line(im, item);
            continue;
        }

        (item->entry->type == &cli_type_account ? im->accounts
         : item->entry->type == &cli_type_client ? im->clients
         : im->credentials)[item->verdict]++;

        /* gateways keep no clients */

        if ((item->verdict == CLI_ITEM_CREATED
             || item->verdict == CLI_ITEM_REPLACED)
            && item->entry->type != &cli_type_client)
        {
            changed(im, item->key);
        }
    }

    (void) cli_pool_use(former);
    cli_batch_empty(batch);
    cli_progress_show(&im->progress, im->judged, im->lines.done);
}


static int
is_blank(oa_str_t line)
{
    size_t  i;

    for (i = 0; i < line.len; i++) {
        if (line.data[i] != ' ' && line.data[i] != '\t') {
            return 0;
        }
    }

    return line.data != NULL;
}


static int
fill(import_t *im, cli_batch_t *batch)
{
    int        rc;
    oa_str_t   line;

    while (batch->n < CLI_BATCH_ITEMS && !im->ended) {
        rc = cli_lines_next(&im->lines, &line);

        if (rc == CLI_NOT_FOUND) {
            im->ended = 1;
            break;
        }

        if (rc != CLI_OK) {
            im->ended = 1;
            return rc;
        }

        if (im->lines.line < (uint64_t) im->from || is_blank(line)) {
            continue;
        }

        rc = cli_batch_add(batch, im->lines.line, line);

        if (rc != CLI_OK) {
            return rc;
        }
    }

    return CLI_OK;
}


/* one is on its way to the store; next, if any, has been asked for behind it */
static int
finish(import_t *im, cli_batch_t *one, cli_batch_t *next)
{
    int  rc;

    rc = cli_batch_finish(one);

    if (rc == CLI_AGAIN) {
        rc = (next != NULL) ? cli_batch_forget(next) : CLI_OK;

        if (rc == CLI_OK) {
            rc = cli_batch_once(one);
        }

        if (rc == CLI_OK && next != NULL) {
            rc = cli_batch_ask(next);
        }
    }

    if (rc == CLI_OK) {
        settle(im, one);
    }

    return rc;
}


static int
run(import_t *im)
{
    int           rc, failed;
    cli_batch_t  *next, *one, *batches[2];

    batches[0] = cli_alloc(sizeof(cli_batch_t));
    batches[1] = cli_alloc(sizeof(cli_batch_t));
    cli_batch_init(batches[0], im->cli, &im->options);
    cli_batch_init(batches[1], im->cli, &im->options);

    one = NULL;
    next = batches[0];
    rc = failed = CLI_OK;

    while (rc == CLI_OK && !im->ended) {

        /* what can't be read on ends it, but what was read is written */
        failed = fill(im, next);

        if (next->n == 0) {
            break;
        }

        if (failed != CLI_OK && !im->ended) {
            /* a line that was not understood for trouble of our own */
            cli_batch_empty(next);
            break;
        }

        rc = cli_batch_ask(next);

        if (rc == CLI_OK && one != NULL) {
            rc = finish(im, one, next);
        }

        if (rc == CLI_OK) {
            rc = cli_batch_write(next);
        }

        one = next;
        next = (one == batches[0]) ? batches[1] : batches[0];
    }

    if (rc == CLI_OK && one != NULL) {
        rc = finish(im, one, NULL);
    }

    im->lost = (rc != CLI_OK);
    cli_batch_empty(batches[0]);
    cli_batch_empty(batches[1]);

    return (rc == CLI_OK) ? failed : rc;
}


/* gateways without tracking (cli_store.c); its refusal is no failure */
static void
announce(import_t *im)
{
    size_t           i, n;
    oa_str_t         channel;
    redisReply     **replies;
    cli_command_t  **messages;

    n = (im->nchanged > ANNOUNCED_MAX) ? 1 : im->nchanged;
    messages = cli_alloc((n + 1) * sizeof(cli_command_t *));
    replies = cli_alloc((n + 1) * sizeof(redisReply *));
    channel = cli_store_key(im->cli, "invalidate", (oa_str_t) oa_null);

    for (i = 0; i < n; i++) {
        messages[i] = cli_command("PUBLISH", channel);
        cli_command_add(messages[i], (im->nchanged > ANNOUNCED_MAX)
                                     ? cli_str("*") : im->changed[i]);
    }

    (void) cli_redis_pipeline(&im->cli->redis, messages, n, replies);
}


static const char *
counts(const uint64_t *n)
{
    return cli_format("%llu created, %llu replaced, %llu unchanged%s",
                      (unsigned long long) n[CLI_ITEM_CREATED],
                      (unsigned long long) n[CLI_ITEM_REPLACED],
                      (unsigned long long) n[CLI_ITEM_UNCHANGED],
                      n[CLI_ITEM_EXPIRED]
                      ? cli_format(", %llu expired and left out",
                                   (unsigned long long) n[CLI_ITEM_EXPIRED])
                      : "");
}


static json_t *
counts_json(const uint64_t *n)
{
    json_t  *object;

    object = json_object();
    json_object_set_new(object, "created",
                        json_integer((json_int_t) n[CLI_ITEM_CREATED]));
    json_object_set_new(object, "replaced",
                        json_integer((json_int_t) n[CLI_ITEM_REPLACED]));
    json_object_set_new(object, "unchanged",
                        json_integer((json_int_t) n[CLI_ITEM_UNCHANGED]));
    json_object_set_new(object, "expired",
                        json_integer((json_int_t) n[CLI_ITEM_EXPIRED]));

    return object;
}


static void
summary(import_t *im, int stopped)
{
    json_t  *object;

    if (!im->cli->json) {
        cli_output_line(cli_str(cli_format("accounts:    %s",
                                           counts(im->accounts))));
        cli_output_line(cli_str(cli_format("clients:     %s",
                                           counts(im->clients))));
        cli_output_line(cli_str(cli_format("credentials: %s",
                                           counts(im->credentials))));
        cli_output_line(cli_str(cli_format("bad lines:   %llu",
                                    (unsigned long long) im->bad)));
        return;
    }

    object = json_object();
    json_object_set_new(object, "lines",
                        json_integer((json_int_t) im->judged));
    json_object_set_new(object, "accounts", counts_json(im->accounts));
    json_object_set_new(object, "clients", counts_json(im->clients));
    json_object_set_new(object, "credentials", counts_json(im->credentials));
    json_object_set_new(object, "bad", json_integer((json_int_t) im->bad));
    json_object_set_new(object, "errors", im->errors);
    json_object_set_new(object, "from_line",
                        stopped ? json_integer((json_int_t) im->done + 1)
                                : json_null());
    cli_json_print(object);
}


/* the audit's second entry: what came of it */
static int
audit_end(import_t *im, int stopped)
{
    cli_change_t  change;

    if (!im->options.begun) {
        return CLI_OK;
    }

    cli_change_init(&change, im->cli);
    cli_change_audit(&change, "import.end", cli_str(im->options.source),
                     cli_format("accounts: %s; clients: %s; credentials: %s; "
                                "bad lines: %llu%s", counts(im->accounts),
                                counts(im->clients),
                                counts(im->credentials),
                                (unsigned long long) im->bad,
                                stopped
                                ? cli_format("; stopped after line %llu",
                                             (unsigned long long) im->done)
                                : ""));

    return cli_change_commit(&change);
}


static int
options_read(import_t *im)
{
    const char     *text, *file;
    cli_options_t  *options;

    options = &im->cli->options;
    im->options.replace = (cli_option(options, "replace") != NULL);
    im->options.unrevoke = (cli_option(options, "unrevoke") != NULL);

    if (im->options.unrevoke && !im->options.replace) {
        return cli_fail(CLI_USAGE, "--unrevoke needs --replace: it overwrites "
                        "records");
    }

    im->from = 1;
    text = cli_option(options, "from-line");

    if (text != NULL
        && (oa_text_number(cli_str(text), INT64_MAX, &im->from) != OA_OK
            || im->from < 1))
    {
        return cli_fail(CLI_USAGE, "--from-line %s: expected the number of a "
                        "line, from 1", cli_quotez(text));
    }

    file = (options->nwords != 0) ? options->words[0] : NULL;

    if (file == NULL && isatty(STDIN_FILENO)) {
        return cli_fail(CLI_USAGE, "what is to be imported? Give FILE, or - "
                        "to type it in");
    }

    im->options.source = (file == NULL || strcmp(file, "-") == 0)
                         ? "stdin" : cli_text_safe(cli_str(file));

    return cli_lines_open(&im->lines, file);
}


static int
import_end(import_t *im, int rc)
{
    int  stopped, one;

    stopped = (rc != CLI_OK || cli_signal_caught() != 0);
    cli_progress_clear(&im->progress);

    if (im->done == 0 && stopped) {
        im->done = (uint64_t) im->from - 1;
    }

    if (!im->lost) {
        announce(im);
        one = audit_end(im, stopped);
        rc = (rc == CLI_OK) ? one : rc;
    }

    if (stopped) {
        cli_note("stopped after line %llu, up to which all is written%s; go "
                 "on with --from-line %llu", (unsigned long long) im->done,
                 im->lost ? " (what was under way behind it may be, too)"
                                : "",
                 (unsigned long long) im->done + 1);
    }

    summary(im, stopped);
    one = cli_output_flush();
    rc = (rc == CLI_OK) ? one : rc;

    return (rc == CLI_OK && im->bad != 0) ? CLI_FAILED : rc;
}


static int
import_all(cli_t *cli)
{
    int       rc;
    import_t  im;

    memset(&im, 0, sizeof(im));
    im.cli = cli;
    cli_entry_init();

    rc = options_read(&im);

    if (rc == CLI_OK) {
        rc = cli_store_open(cli);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    im.errors = json_array();
    im.changed = cli_alloc(ANNOUNCED_MAX * sizeof(oa_str_t));
    cli_progress_init(&im.progress, "lines", im.lines.size);
    cli_signal_catch();

    rc = import_end(&im, run(&im));

    if (!cli->json) {
        json_decref(im.errors);
    }

    cli_lines_close(&im.lines);

    return rc;
}
