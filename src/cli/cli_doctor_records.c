/*
 * opsauth doctor: the store's mark, and a look at the records: a part of them,
 * so that it stays cheap where there are millions.
 */

#include "cli_doctor.h"
#include "cli_memory.h"
#include "cli_text.h"

#include "oa_client.h"
#include "oa_text.h"

#include <string.h>


#define PAGES           50              /* of SCAN */
#define PAGE            "1000"
#define SAMPLE          200             /* records looked into */


typedef enum {
    KIND_ACCOUNT = 0,
    KIND_CREDENTIAL,
    KIND_CLIENT,
    KIND_ID,
    KINDS
} kind_t;


typedef struct {
    size_t      counts[KINDS];
    oa_str_t    names[KINDS][SAMPLE];   /* the first of each, whole */
    unsigned    all:1;                  /* the whole store was seen */
} found_t;


static const char *const  kinds[KINDS] = { 
    "account:", "credential:", "client:", "id:"
};


void
cli_doctor_mark(cli_doctor_t *d)
{
    oa_str_t     mark;
    redisReply  *reply;
    const char  *name;

    name = cli_doctor_name(d, "meta");
    reply = cli_doctor_ask(d, &d->gateway,
                           cli_doctor_command("HMGET", name, "v", NULL));

    if (reply == NULL || cli_doctor_is_error(reply, "NOPERM")) {
        return;         /* said with the rights */
    }

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 1) {
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, "mark", NULL,
                       "%s can't be read: Redis answers HMGET with %s", name,
                       cli_doctor_error(reply));
        return;
    }

    mark = cli_reply_str(reply->element[0]);

    if (mark.data == NULL) {
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, "mark",
                       "is it the right Redis, database and prefix, with its "
                       "data? A new store: \"opsauth account create\" marks "
                       "it",
                       "%s is missing: unknown credentials get a 503 and no "
                       "401, since the store may have lost its records", name);

    } else if (!oa_text_eq(mark, cli_format("%d", OA_RECORD_VERSION))) {
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, "mark",
                       "use an opsauth of the version that wrote the store",
                       "the records are of layout %s, this opsauth knows "
                       "layout %d", cli_quote(mark), OA_RECORD_VERSION);
    } else {
        cli_doctor_say(d, CLI_DOCTOR_OK, "mark", NULL,
                       "%s says layout %d", name, OA_RECORD_VERSION);
    }
}


static void
count_name(const cli_doctor_t *d, found_t *found, oa_str_t name)
{
    size_t  i, prefix, n;

    prefix = strlen(d->cli->config.prefix.value);

    for (i = 0; i < KINDS; i++) {
        n = strlen(kinds[i]);

        if (name.len <= prefix + n
            || memcmp(name.data + prefix, kinds[i], n) != 0)
        {
            continue;
        }

        if (found->counts[i] < SAMPLE) {
            found->names[i][found->counts[i]].data =
                (unsigned char *) cli_copy(name.data, name.len);
            found->names[i][found->counts[i]].len = name.len;
        }

        found->counts[i]++;
    }
}


/* 1: looked at; an element that SCAN returns twice counts twice */
static int
scan_some(cli_doctor_t *d, cli_redis_t *redis, found_t *found)
{
    size_t       i, page, replies;
    const char  *pattern, *cursor;
    redisReply  *reply;

    pattern = cli_store_pattern(cli_str(d->cli->config.prefix.value));
    cursor = "0";
    replies = redis->n;

    for (page = 0; page < PAGES; page++) {
        reply = cli_doctor_ask(d, redis,
                               cli_doctor_command("SCAN", cursor, "MATCH",
                                                  pattern, "COUNT", PAGE,
                                                  NULL));

        if (reply == NULL || reply->type != REDIS_REPLY_ARRAY
            || reply->elements != 2
            || reply->element[0]->type != REDIS_REPLY_STRING
            || reply->element[1]->type != REDIS_REPLY_ARRAY)
        {
            return 0;
        }

        for (i = 0; i < reply->element[1]->elements; i++) {
            count_name(d, found, cli_reply_str(reply->element[1]->element[i]));
        }

        cursor = cli_copy(reply->element[0]->str, reply->element[0]->len);
        cli_redis_forget(redis, replies);

        if (strcmp(cursor, "0") == 0) {
            found->all = 1;
            break;
        }
    }

    return 1;
}


/* the string or hash of this name, behind the prefix */
static redisReply *
look(cli_doctor_t *d, cli_redis_t *redis, const char *name,
    const char *kind, oa_str_t id)
{
    cli_command_t  *command;

    command = cli_command(name, cli_store_key(d->cli, kind, id));

    return cli_doctor_ask(d, redis, command);
}


static int
is_there(cli_doctor_t *d, cli_redis_t *redis, const char *kind, oa_str_t id)
{
    redisReply  *reply;

    reply = look(d, redis, "HGETALL", kind, id);

    /* what can't be read is no orphan */
    return reply == NULL || reply->type != REDIS_REPLY_ARRAY
           || reply->elements != 0;
}


static oa_str_t
sampled_id(const cli_doctor_t *d, const found_t *found, kind_t kind, size_t i)
{
    size_t    skip;
    oa_str_t  id;

    skip = strlen(d->cli->config.prefix.value) + strlen(kinds[kind]);
    id = found->names[kind][i];
    id.data += skip;
    id.len -= skip;

    return id;
}


static size_t
sampled(const found_t *found, kind_t kind)
{
    return (found->counts[kind] < SAMPLE) ? found->counts[kind] : SAMPLE;
}


/* credentials of an account that is not there */
static void
credentials_check(cli_doctor_t *d, cli_redis_t *redis, const found_t *found)
{
    size_t        i, n, orphans;
    oa_str_t      account;
    const char   *example;
    cli_record_t  record;

    n = sampled(found, KIND_CREDENTIAL);
    example = "";

    for (i = 0, orphans = 0; i < n; i++) {
        record.reply = look(d, redis, "HGETALL", kinds[KIND_CREDENTIAL],
                            sampled_id(d, found, KIND_CREDENTIAL, i));

        if (record.reply == NULL || record.reply->type != REDIS_REPLY_ARRAY
            || record.reply->elements == 0)
        {
            continue;
        }

        /* a tombstone: a token that was revoked before it was issued */

        if (oa_text_eq(cli_record_get(&record, "id"), "-")) {
            continue;
        }

        account = cli_record_get(&record, "account");

        if (is_there(d, redis, kinds[KIND_ACCOUNT], account)) {
            continue;
        }

        if (orphans++ == 0) {
            example = cli_format("%s of account %s",
                                 cli_text_safe(cli_record_get(&record, "id")),
                                 cli_quote(account));
        }
    }

    if (orphans != 0) {
        cli_doctor_say(d, CLI_DOCTOR_WARNING, "orphans",
                       "create the account, or revoke them",
                       "%zu of %zu credentials looked into belong to no "
                       "account that there is, and are refused: %s", orphans,
                       n, example);
    }
}


/* the first that is wrong with a client's record; NULL: nothing */
static const char *
client_wrong(cli_doctor_t *d, cli_redis_t *redis, oa_str_t id,
    const cli_record_t *record)
{
    size_t        i;
    oa_str_t      field, account, values[OA_CLIENT_FIELDS];
    oa_client_t   client;

    for (i = 0; i < OA_CLIENT_FIELDS; i++) {
        values[i] = cli_record_get(record,
                                   (const char *) oa_client_fields[i].data);
    }

    field = cli_str("");

    if (oa_client_read(id, values, &client, &field) != OA_OK) {
        return cli_format("%s: its field %s is missing, of a wrong form, or "
                          "does not go with the rest", cli_text_safe(id),
                          cli_text_safe(field.data ? field
                                                   : oa_client_fields[0]));
    }

    account = client.account;

    return is_there(d, redis, kinds[KIND_ACCOUNT], account)
           ? NULL : cli_format("%s: there is no account %s", cli_text_safe(id),
                               cli_quote(account));
}


static void
clients_check(cli_doctor_t *d, cli_redis_t *redis, const found_t *found)
{
    size_t        i, n, bad;
    oa_str_t      id;
    const char   *wrong, *example;
    cli_record_t  record;

    n = sampled(found, KIND_CLIENT);
    example = "";

    for (i = 0, bad = 0; i < n; i++) {
        id = sampled_id(d, found, KIND_CLIENT, i);
        record.reply = look(d, redis, "HGETALL", kinds[KIND_CLIENT], id);

        if (record.reply == NULL || record.reply->type != REDIS_REPLY_ARRAY
            || record.reply->elements == 0)
        {
            continue;
        }

        wrong = client_wrong(d, redis, id, &record);

        if (wrong != NULL && bad++ == 0) {
            example = wrong;
        }
    }

    if (bad != 0) {
        cli_doctor_say(d, CLI_DOCTOR_WARNING, "clients",
                       "\"opsauth client set\" or \"opsauth client delete\"",
                       "%zu of %zu clients looked into can't log in: %s", bad,
                       n, example);
    }
}


/* ids that lead to no credential: it can't be shown, nor revoked */
static void
ids_check(cli_doctor_t *d, cli_redis_t *redis, const found_t *found)
{
    size_t       i, n, orphans;
    oa_str_t     id;
    redisReply  *reply;
    const char  *example;

    n = sampled(found, KIND_ID);
    example = "";

    for (i = 0, orphans = 0; i < n; i++) {
        id = sampled_id(d, found, KIND_ID, i);
        reply = look(d, redis, "GET", kinds[KIND_ID], id);

        if (reply == NULL || reply->type != REDIS_REPLY_STRING
            || is_there(d, redis, kinds[KIND_CREDENTIAL],
                        cli_reply_str(reply)))
        {
            continue;
        }

        if (orphans++ == 0) {
            example = cli_text_safe(id);
        }
    }

    if (orphans != 0) {
        cli_doctor_say(d, CLI_DOCTOR_WARNING, "orphans", NULL,
                       "%zu of %zu ids looked into lead to no credential: %s",
                       orphans, n, example);
    }
}


void
cli_doctor_records(cli_doctor_t *d)
{
    size_t        i;
    found_t      *found;
    cli_redis_t  *users[2] = { &d->operator, &d->gateway };

    found = cli_alloc(sizeof(found_t));

    for (i = 0; i < 2; i++) {
        if (users[i]->context != NULL && scan_some(d, users[i], found)) {
            break;
        }
    }

    if (i == 2) {
        if (!d->lost) {
            cli_doctor_say(d, CLI_DOCTOR_SKIPPED, "records", NULL,
                           "not looked at: no permission to run SCAN");
        }
        return;
    }

    cli_doctor_say(d, CLI_DOCTOR_OK, "records", NULL,
                   "%s%zu account%s, %zu credential%s%s",
                   found->all ? "" : "at least ",
                   found->counts[KIND_ACCOUNT],
                   (found->counts[KIND_ACCOUNT] == 1) ? "" : "s",
                   found->counts[KIND_CREDENTIAL],
                   (found->counts[KIND_CREDENTIAL] == 1) ? "" : "s",
                   (found->counts[KIND_CLIENT] == 0) ? ""
                   : cli_format(", %zu client%s", found->counts[KIND_CLIENT],
                                (found->counts[KIND_CLIENT] == 1) ? "" : "s"));

    credentials_check(d, users[i], found);
    clients_check(d, users[i], found);
    ids_check(d, users[i], found);
}
