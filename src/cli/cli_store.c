/*
 * See cli_store.h.
 */

#include "cli_store.h"
#include "cli_file.h"
#include "cli_memory.h"
#include "cli_text.h"

#include "oa_text.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>


#define CLI_AUDIT_MAX  "100000"


int
cli_store_timeout(cli_t *cli, int64_t *timeout)
{
    const char  *text;

    *timeout = CLI_REDIS_TIMEOUT;
    text = cli_option(&cli->options, "timeout");

    if (text != NULL
        && (oa_text_duration(cli_str(text), timeout) != OA_OK
            || *timeout < 1 || *timeout > 3600))
    {
        return cli_fail(CLI_USAGE, "--timeout %s: expected 1s to 1h",
                        cli_quotez(text));
    }

    return CLI_OK;
}


int
cli_store_open(cli_t *cli)
{
    int      rc;
    int64_t  timeout;

    /* of a cluster, context is the node's that was asked last, if any was */

    if (cli->redis.context != NULL || cli->redis.cluster != NULL) {
        return CLI_OK;
    }

    rc = cli_store_timeout(cli, &timeout);

    if (rc == CLI_OK) {
        rc = cli_config_read(cli);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    return cli_redis_open(&cli->redis, &cli->config, timeout);
}


int
cli_store_peppers(cli_t *cli, oa_str_t peppers[OA_PEPPERS_MAX], size_t *n)
{
    int             rc;
    oa_str_t        text;
    const char     *error;
    cli_setting_t  *file;

    rc = cli_config_read(cli);

    if (rc != CLI_OK) {
        return rc;
    }

    file = &cli->config.pepper_file;

    if (file->value == NULL) {
        return cli_fail(CLI_FAILED, "the gateway's pepper is needed: give "
                        "--pepper-file FILE, or write pepper_file into "
                        "opsauth_store; \"opsauth pepper generate FILE\" "
                        "makes one");
    }

    rc = cli_file_read(file->value, CLI_FILE_SECRET, "the pepper file",
                       file->from, &text);

    if (rc != CLI_OK) {
        return rc;
    }

    if (oa_pepper_parse(text, peppers, n, &error) != OA_OK) {
        return cli_fail(CLI_FAILED, "the pepper file %s (%s) is not valid: "
                        "%s", cli_quotez(file->value), file->from, error);
    }

    return CLI_OK;
}


int
cli_store_hasher(cli_t *cli)
{
    int       rc;
    size_t    i, n;
    oa_rc_t   ok;
    oa_str_t  peppers[OA_PEPPERS_MAX];

    if (cli->hasher.n != 0) {
        return CLI_OK;
    }

    rc = cli_store_peppers(cli, peppers, &n);

    if (rc != CLI_OK) {
        return rc;
    }

    ok = oa_hasher_init(&cli->hasher, peppers, n);

    for (i = 0; i < n; i++) {
        OPENSSL_cleanse((void *) peppers[i].data, peppers[i].len);
    }

    return (ok == OA_OK) ? CLI_OK : cli_fail(CLI_FAILED, "libcrypto failed");
}


oa_str_t
cli_store_key(cli_t *cli, const char *kind, oa_str_t id)
{
    char      *key;
    size_t     n;
    oa_str_t   s;

    /* an id from the command line or from Redis may hold any byte */
    n = strlen(cli->config.prefix.value) + strlen(kind);
    key = cli_alloc(n + id.len + 1);
    (void) stpcpy(stpcpy(key, cli->config.prefix.value), kind);

    if (id.len != 0) {
        memcpy(key + n, id.data, id.len);
    }

    s.data = (const unsigned char *) key;
    s.len = n + id.len;

    return s;
}


int
cli_store_read(cli_t *cli, oa_str_t key, cli_record_t *record)
{
    int          rc;
    redisReply  *reply;

    rc = cli_redis_call(&cli->redis, cli_command("HGETALL", key), &reply);

    if (rc != CLI_OK) {
        return rc;
    }

    record->key = key;
    record->reply = reply;

    return (reply->elements == 0) ? CLI_NOT_FOUND : CLI_OK;
}


/* one command a key; replies that are errors other than WRONGTYPE end it */
static int
read_each(cli_t *cli, const char *name, const oa_str_t *keys, size_t n,
    redisReply **replies)
{
    int              rc;
    size_t           i;
    cli_command_t  **commands;

    commands = cli_alloc((n + 1) * sizeof(cli_command_t *));

    for (i = 0; i < n; i++) {
        commands[i] = cli_command(name, keys[i]);
    }

    rc = cli_redis_pipeline(&cli->redis, commands, n, replies);

    for (i = 0; i < n && rc == CLI_OK; i++) {
        if (replies[i]->type != REDIS_REPLY_ERROR) {
            continue;
        }

        if (strncmp(replies[i]->str, "WRONGTYPE", 9) != 0) {
            return cli_redis_refused(&cli->redis, commands[i], replies[i]);
        }

        cli_note("%s is not of the kind that it should be; passed over",
                 cli_quote(keys[i]));
        replies[i] = NULL;
    }

    return rc;
}


int
cli_store_read_many(cli_t *cli, const oa_str_t *keys, size_t n,
    cli_record_t *records)
{
    int           rc;
    size_t        i;
    redisReply  **replies;

    replies = cli_alloc((n + 1) * sizeof(redisReply *));
    rc = read_each(cli, "HGETALL", keys, n, replies);

    for (i = 0; i < n && rc == CLI_OK; i++) {
        records[i].key = keys[i];
        records[i].reply = (replies[i] != NULL && replies[i]->elements != 0)
                           ? replies[i] : NULL;
    }

    return rc;
}


int
cli_store_read_ids(cli_t *cli, const char *kind, const oa_str_t *ids, size_t n,
    cli_record_t **records)
{
    size_t     i;
    oa_str_t  *keys;

    keys = cli_alloc((n + 1) * sizeof(oa_str_t));
    *records = cli_alloc((n + 1) * sizeof(cli_record_t));

    for (i = 0; i < n; i++) {
        keys[i] = cli_store_key(cli, kind, ids[i]);
    }

    return cli_store_read_many(cli, keys, n, *records);
}


int
cli_store_strings(cli_t *cli, const oa_str_t *keys, size_t n,
    oa_str_t *values)
{
    int           rc;
    size_t        i;
    redisReply  **replies;

    replies = cli_alloc((n + 1) * sizeof(redisReply *));
    rc = read_each(cli, "GET", keys, n, replies);

    for (i = 0; i < n && rc == CLI_OK; i++) {
        values[i] = cli_reply_str(replies[i]);
    }

    return rc;
}


static int
id_order(const void *one, const void *two)
{
    int              rc;
    const oa_str_t  *a, *b;

    a = one;
    b = two;
    rc = memcmp(a->data, b->data, (a->len < b->len) ? a->len : b->len);

    return (rc != 0) ? rc : (a->len > b->len) - (a->len < b->len);
}


/*
 * SCAN, SSCAN and ZSCAN: all elements, less skip bytes in front of each; of a
 * sorted set every second one is a score
 */
static int
scan(cli_t *cli, const char *name, oa_str_t key, const char *pattern,
    size_t skip, oa_str_t **ids, size_t *n)
{
    int             rc;
    size_t          i, k, step, room;
    oa_str_t        s;
    redisReply     *reply, *found;
    const char     *cursor;
    cli_command_t  *command;

    *ids = NULL;
    *n = room = 0;
    cursor = "0";
    step = (strcmp(name, "ZSCAN") == 0) ? 2 : 1;

    do {
        command = cli_command(name, key);
        cli_command_addz(command, cursor);
        cli_command_addz(command, "MATCH");
        cli_command_addz(command, pattern);
        cli_command_addz(command, "COUNT");
        cli_command_addz(command, "1000");

        rc = cli_redis_call(&cli->redis, command, &reply);

        if (rc != CLI_OK) {
            return rc;
        }

        if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2
            || reply->element[0]->type != REDIS_REPLY_STRING)
        {
            return cli_fail(CLI_FAILED, "Redis answered %s with something "
                            "else than a cursor and a list", name);
        }

        cursor = reply->element[0]->str;
        found = reply->element[1];

        for (i = 0; i < found->elements; i += step) {
            s = cli_reply_str(found->element[i]);

            if (s.len <= skip) {
                continue;
            }

            if (*n == room) {
                room = room * 2 + 256;
                *ids = cli_grow(*ids, *n * sizeof(oa_str_t),
                                room * sizeof(oa_str_t));
            }

            (*ids)[*n].data = s.data + skip;
            (*ids)[*n].len = s.len - skip;
            (*n)++;
        }

    } while (strcmp(cursor, "0") != 0);

    if (*n == 0) {
        return CLI_OK;
    }

    /* an element may be returned more than once */

    qsort(*ids, *n, sizeof(oa_str_t), id_order);

    for (i = 1, k = 1; i < *n; i++) {
        if (id_order(&(*ids)[i], &(*ids)[k - 1]) != 0) {
            (*ids)[k++] = (*ids)[i];
        }
    }

    *n = k;

    return CLI_OK;
}


char *
cli_store_pattern(oa_str_t key)
{
    char    *pattern, *p;
    size_t   i;

    p = pattern = cli_alloc(key.len * 2 + 2);

    for (i = 0; i < key.len; i++) {
        if (strchr("*?[]\\", key.data[i]) != NULL) {
            *p++ = '\\';
        }

        *p++ = (char) key.data[i];
    }

    *p = '*';

    return pattern;
}


int
cli_store_scan(cli_t *cli, const char *kind, oa_str_t **ids, size_t *n)
{
    oa_str_t  key, none = oa_null;

    key = cli_store_key(cli, kind, none);

    return scan(cli, "SCAN", none, cli_store_pattern(key), key.len, ids, n);
}


int
cli_store_members(cli_t *cli, oa_str_t key, oa_str_t **ids, size_t *n)
{
    return scan(cli, "SSCAN", key, "*", 0, ids, n);
}


int
cli_store_ranked(cli_t *cli, oa_str_t key, oa_str_t **members, size_t *n)
{
    return scan(cli, "ZSCAN", key, "*", 0, members, n);
}


oa_str_t
cli_record_get(const cli_record_t *record, const char *field)
{
    size_t    i;
    oa_str_t  none = oa_null;

    for (i = 0; i + 1 < record->reply->elements; i += 2) {
        if (oa_text_eq(cli_reply_str(record->reply->element[i]), field)) {
            return cli_reply_str(record->reply->element[i + 1]);
        }
    }

    return none;
}


int
cli_store_watch(cli_t *cli, oa_str_t key)
{
    return cli_redis_call(&cli->redis, cli_command("WATCH", key), NULL);
}


int
cli_store_retry(cli_t *cli, int (*attempt)(cli_t *cli, void *data), void *data)
{
    int  rc, i;

    for (i = 0; i < CLI_STORE_TRIES; i++) {
        rc = attempt(cli, data);

        if (rc != CLI_AGAIN) {
            return rc;
        }
    }

    return cli_fail(CLI_FAILED, "somebody else keeps changing the same record; "
                    "nothing was written");
}


void
cli_change_init(cli_change_t *change, cli_t *cli)
{
    memset(change, 0, sizeof(*change));
    change->cli = cli;

    (void) cli_change_add(change, "MULTI", (oa_str_t) oa_null);
}


cli_command_t *
cli_change_add(cli_change_t *change, const char *name, oa_str_t key)
{
    size_t          room;
    cli_command_t  *command;

    if (change->n == change->room) {
        room = change->room * 2 + 8;
        change->commands = cli_grow(change->commands,
                                    change->n * sizeof(cli_command_t *),
                                    room * sizeof(cli_command_t *));
        change->room = room;
    }

    command = cli_command(name, key);
    change->commands[change->n++] = command;

    return command;
}


/* SUDO_USER is a courtesy of sudo: the audit is a memory aid and no proof */
static const char *
audit_who(void)
{
    char            host[256];
    const char     *name;
    struct passwd  *pw;

    name = getenv("SUDO_USER");

    if (name == NULL || name[0] == '\0') {
        pw = getpwuid(geteuid());
        name = (pw != NULL) ? pw->pw_name
                            : cli_format("uid:%u", (unsigned) geteuid());
    }

    if (gethostname(host, sizeof(host)) == -1) {
        host[0] = '\0';
    }

    host[sizeof(host) - 1] = '\0';

    return cli_format("%s@%s", name, host);
}


void
cli_change_audit(cli_change_t *change, const char *action, oa_str_t object,
    const char *detail)
{
    cli_t          *cli;
    cli_command_t  *command;

    cli = change->cli;
    command = cli_change_add(change, "XADD",
                             cli_store_key(cli, "audit", (oa_str_t) oa_null));

    cli_command_addz(command, "MAXLEN");
    cli_command_addz(command, "~");
    cli_command_addz(command, CLI_AUDIT_MAX);
    cli_command_addz(command, "*");
    cli_command_addz(command, "who");
    cli_command_addz(command, audit_who());
    cli_command_addz(command, "action");
    cli_command_addz(command, action);
    cli_command_addz(command, "object");
    cli_command_add(command, object);
    cli_command_addz(command, "detail");
    cli_command_addz(command, detail);
    cli_command_addz(command, "at");
    cli_command_addz(command, cli_format("%lld", (long long) cli->now));
}


void
cli_change_announce(cli_change_t *change)
{
    size_t                i, n;
    oa_str_t              channel;
    redisReply          **replies;
    const cli_command_t  *command;
    cli_command_t       **messages;

    messages = cli_alloc(change->n * sizeof(cli_command_t *));
    replies = cli_alloc(change->n * sizeof(redisReply *));
    channel = cli_store_key(change->cli, "invalidate", (oa_str_t) oa_null);
    n = 0;

    for (i = 0; i < change->n; i++) {
        command = change->commands[i];

        if (strcmp(command->words[0], "HSET") == 0
            || strcmp(command->words[0], "DEL") == 0)
        {
            messages[n] = cli_command("PUBLISH", channel);
            cli_command_add(messages[n++],
                            (oa_str_t) { .len = command->lens[1],
                                 .data = (const unsigned char *)
                                             command->words[1] });
        }
    }

    (void) cli_redis_pipeline(&change->cli->redis, messages, n, replies);
}


int
cli_change_commit(cli_change_t *change)
{
    int              rc;
    size_t           i;
    redisReply     **replies, *done;
    cli_redis_t     *redis;
    cli_command_t   *mark;

    redis = &change->cli->redis;

    mark = cli_change_add(change, "HSETNX",
                          cli_store_key(change->cli, "meta",
                                        (oa_str_t) oa_null));
    cli_command_addz(mark, "v");
    cli_command_addz(mark, cli_format("%d", OA_RECORD_VERSION));

    (void) cli_change_add(change, "EXEC", (oa_str_t) oa_null);

    replies = cli_alloc(change->n * sizeof(redisReply *));
    rc = cli_redis_pipeline(redis, change->commands, change->n, replies);

    if (rc != CLI_OK) {
        return cli_fail(rc, "whether the change was made is not known; look "
                        "before you repeat it");
    }

    /* the first refusal is the cause, EXEC's own only its consequence */

    for (i = 0; i < change->n; i++) {
        if (replies[i]->type == REDIS_REPLY_ERROR) {
            return cli_redis_refused(redis, change->commands[i], replies[i]);
        }
    }

    done = replies[change->n - 1];

    if (done->type == REDIS_REPLY_NIL) {
        return CLI_AGAIN;
    }

    if (done->type != REDIS_REPLY_ARRAY) {
        return cli_fail(CLI_FAILED, "Redis answered EXEC with something else "
                        "than a list");
    }

    for (i = 0; i < done->elements && i + 1 < change->n; i++) {
        if (done->element[i]->type == REDIS_REPLY_ERROR) {
            return cli_redis_refused(redis, change->commands[i + 1],
                                     done->element[i]);
        }
    }

    cli_change_announce(change);

    return CLI_OK;
}
