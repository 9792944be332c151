/*
 * opsauth export: accounts, clients and credentials as JSON Lines.
 */

#include <jansson.h>

#include "cli_entry.h"
#include "cli_memory.h"
#include "cli_nouns.h"
#include "cli_output.h"
#include "cli_progress.h"
#include "cli_signal.h"
#include "cli_store.h"
#include "cli_stream.h"
#include "cli_text.h"

#include <string.h>
#include <unistd.h>


#define PAGE  "500"                     /* names asked for at a time */


typedef struct {
    cli_t           *cli;
    cli_pool_t      *pool;              /* of one page */
    cli_progress_t   progress;
    cli_stream_t     stream;
    FILE            *out;
    const cli_type_t  *type;            /* that is being written */
    uint64_t         accounts;
    uint64_t         clients;
    uint64_t         credentials;
    uint64_t         bad;
} export_t;


static int export_all(cli_t *cli);


static const cli_verb_t  export_alone = {
    "", "[FILE|-]", 0, 1, "write all records as JSON Lines", NULL,
    "One object a line, as \"opsauth import\" reads them: accounts first, then "
    "clients,\nthen API keys and access tokens with their digests, revoked "
    "ones too. The keys\nand secrets themselves are nowhere in the store; the "
    "pepper that the digests were\nmade under is not part of it and has to be "
    "kept as well. Refresh tokens are not\nexported: applications log in "
    "again.\n"
    "\n"
    "Without FILE to stdout. A FILE has mode 0600, and appears or is replaced "
    "only when\nall is in it.\n"
    "\n"
    "  opsauth export backup.jsonl\n"
    "  opsauth export | gzip > backup.jsonl.gz\n",
    export_all
};


const cli_noun_t  cli_export_noun = {
    "export", "write all records as JSON Lines", NULL,
    &export_alone
};


static void
bad_record(export_t *ex, oa_str_t key, const char *why)
{
    ex->bad++;
    cli_progress_clear(&ex->progress);
    cli_note("%s %s; it is left out", cli_quote(key), why);
}


static int
is_digest(oa_str_t name)
{
    size_t  i;

    for (i = 0; i < name.len; i++) {
        if (strchr("0123456789abcdef", name.data[i]) == NULL
            || name.data[i] == '\0')
        {
            return 0;
        }
    }

    return name.len == OA_DIGEST_HEX_LEN;
}


static void
print_one(export_t *ex, oa_str_t key, size_t skip, const redisReply *record)
{
    oa_str_t           name;
    const cli_type_t  *type;

    name.data = key.data + skip;
    name.len = key.len - skip;

    if (record->type != REDIS_REPLY_ARRAY) {
        bad_record(ex, key, "is no hash");
        return;
    }

    if (record->elements == 0) {
        /* gone since it was found */
        return;
    }

    type = ex->type;

    if (type == &cli_type_credential && !is_digest(name)) {
        bad_record(ex, key, "is not named by a digest");
        return;
    }

    if (cli_entry_print(ex->out, type, name, record) != CLI_OK) {
        bad_record(ex, key, "holds bytes that JSON can't carry");
        return;
    }

    (*(type == &cli_type_account ? &ex->accounts
       : type == &cli_type_client ? &ex->clients : &ex->credentials))++;
}


/* the records of the names that one SCAN found */
static int
export_page(export_t *ex, size_t skip, const redisReply *names)
{
    int             rc;
    size_t          i;
    redisReply     *record;
    cli_redis_t    *redis;
    cli_command_t  *command;

    redis = &ex->cli->redis;
    rc = CLI_OK;

    for (i = 0; i < names->elements && rc == CLI_OK; i++) {
        rc = cli_redis_append(redis,
                 cli_command("HGETALL", cli_reply_str(names->element[i])));
    }

    for (i = 0; i < names->elements && rc == CLI_OK; i++) {
        rc = cli_redis_next(redis, &record);

        if (rc != CLI_OK) {
            break;
        }

        if (record->type == REDIS_REPLY_ERROR
            && strncmp(record->str, "WRONGTYPE", 9) != 0)
        {
            command = cli_command("HGETALL", cli_reply_str(names->element[i]));
            rc = cli_redis_refused(redis, command, record);

        } else {
            print_one(ex, cli_reply_str(names->element[i]), skip, record);
        }

        freeReplyObject(record);
    }

    return rc;
}


/* one step of a SCAN: the names and where to go on */
static int
export_step(export_t *ex, const char *pattern, size_t skip, char *cursor,
    size_t room)
{
    int             rc;
    redisReply     *reply;
    cli_redis_t    *redis;
    cli_command_t  *scan;

    redis = &ex->cli->redis;
    scan = cli_command("SCAN", cli_str(cursor));
    cli_command_addz(scan, "MATCH");
    cli_command_addz(scan, pattern);
    cli_command_addz(scan, "COUNT");
    cli_command_addz(scan, PAGE);

    rc = cli_redis_append(redis, scan);

    if (rc == CLI_OK) {
        rc = cli_redis_next(redis, &reply);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        rc = cli_redis_refused(redis, scan, reply);

    } else if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2
               || reply->element[0]->type != REDIS_REPLY_STRING
               || reply->element[0]->len >= room)
    {
        rc = cli_fail(CLI_FAILED, "Redis answered SCAN with something else "
                      "than a cursor and a list");

    } else {
        memcpy(cursor, reply->element[0]->str, reply->element[0]->len + 1);
        rc = export_page(ex, skip, reply->element[1]);
    }

    freeReplyObject(reply);

    return rc;
}


/* all records of one kind. SCAN may name one twice; an import bears that */
static int
export_type(export_t *ex, const cli_type_t *type)
{
    int          rc;
    char         cursor[32] = "0";
    size_t       skip;
    oa_str_t     prefix;
    cli_pool_t  *former;
    const char  *pattern;

    ex->type = type;
    prefix = cli_store_key(ex->cli, type->kind, (oa_str_t) oa_null);
    pattern = cli_store_pattern(prefix);
    skip = prefix.len;

    do {
        former = cli_pool_use(ex->pool);
        rc = export_step(ex, pattern, skip, cursor, sizeof(cursor));

        if (rc == CLI_OK) {
            rc = cli_stream_flush(&ex->stream);
        }

        cli_progress_show(&ex->progress,
                          ex->accounts + ex->clients + ex->credentials, 0);
        (void) cli_pool_use(former);
        cli_pool_empty(ex->pool);

    } while (rc == CLI_OK && strcmp(cursor, "0") != 0
             && !cli_signal_caught());

    return rc;
}


static int
summary(export_t *ex)
{
    json_t  *object;

    if (!ex->cli->json) {
        cli_note("%llu account%s, %llu client%s and %llu credential%s written",
                 (unsigned long long) ex->accounts,
                 (ex->accounts == 1) ? "" : "s",
                 (unsigned long long) ex->clients,
                 (ex->clients == 1) ? "" : "s",
                 (unsigned long long) ex->credentials,
                 (ex->credentials == 1) ? "" : "s");
        return CLI_OK;
    }

    /* stdout has the records then, and nothing else */
    if (ex->out == stdout) {
        return CLI_OK;
    }

    object = json_object();
    json_object_set_new(object, "accounts",
                        json_integer((json_int_t) ex->accounts));
    json_object_set_new(object, "clients",
                        json_integer((json_int_t) ex->clients));
    json_object_set_new(object, "credentials",
                        json_integer((json_int_t) ex->credentials));
    json_object_set_new(object, "bad", json_integer((json_int_t) ex->bad));
    cli_json_print(object);

    return cli_output_flush();
}


static int
export_write(export_t *ex)
{
    int     rc;
    size_t  i;

    static const cli_type_t *const  types[] = {
        &cli_type_account, &cli_type_client, &cli_type_credential
    };

    for (rc = CLI_OK, i = 0; i < 3 && rc == CLI_OK && !cli_signal_caught();
         i++)
    {
        rc = export_type(ex, types[i]);
    }

    cli_progress_clear(&ex->progress);

    if (rc == CLI_OK && cli_signal_caught()) {
        rc = cli_fail(CLI_FAILED, "interrupted: what was written so far is "
                      "not all");
    }

    if (rc != CLI_OK) {
        cli_stream_abandon(&ex->stream);
        return rc;
    }

    return cli_stream_finish(&ex->stream);
}


static int
export_all(cli_t *cli)
{
    int          rc;
    export_t     ex;
    const char  *path;

    memset(&ex, 0, sizeof(ex));
    ex.cli = cli;
    ex.pool = cli_pool_create();

    path = (cli->options.nwords != 0) ? cli->options.words[0] : "-";
    rc = cli_store_open(cli);

    if (rc != CLI_OK) {
        return rc;
    }

    cli_signal_catch();
    rc = cli_stream_open(&ex.stream, (strcmp(path, "-") == 0) ? NULL : path);

    if (rc != CLI_OK) {
        return rc;
    }

    ex.out = ex.stream.out;
    cli_progress_init(&ex.progress, "records", 0);
    ex.progress.on = ex.progress.on && !isatty(fileno(ex.out));

    rc = export_write(&ex);

    if (rc == CLI_OK) {
        rc = summary(&ex);
    }

    return (rc == CLI_OK && ex.bad != 0) ? CLI_FAILED : rc;
}
