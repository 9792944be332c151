/*
 * See cli_batch.h; cli_judge.c says what becomes of a line.
 */

#include "cli_batch.h"
#include "cli_judge.h"
#include "cli_text.h"

#include "oa_text.h"

#include <string.h>


#define HINT_LEN  4


void
cli_batch_init(cli_batch_t *batch, cli_t *cli, cli_import_t *import)
{
    memset(batch, 0, sizeof(*batch));
    batch->cli = cli;
    batch->import = import;
    batch->pool = cli_pool_create();
}


static void
replies_free(cli_batch_t *batch)
{
    size_t       i, k;
    cli_item_t  *item;

    for (i = 0; i < batch->n; i++) {
        item = &batch->items[i];

        for (k = 0; k < OA_PEPPERS_MAX; k++) {
            freeReplyObject(item->records[k]);
        }

        freeReplyObject(item->id_digest);
        freeReplyObject(item->owner);
        memset(item->records, 0, sizeof(item->records));
        item->id_digest = item->owner = NULL;
    }
}


void
cli_batch_empty(cli_batch_t *batch)
{
    replies_free(batch);
    cli_pool_empty(batch->pool);
    memset(batch->items, 0, batch->n * sizeof(cli_item_t));
    memset(&batch->change, 0, sizeof(batch->change));
    batch->n = 0;
}


/* the digests that a raw key may stand under, the newest pepper's first */
static int
secret_digest(cli_t *cli, cli_item_t *item, oa_str_t secret)
{
    int             rc;
    size_t          i;
    unsigned char  *hex, bytes[OA_DIGEST_LEN];

    rc = cli_store_hasher(cli);

    if (rc != CLI_OK) {
        return rc;
    }

    for (i = 0; i < cli->hasher.n; i++) {
        if (oa_hasher_credential(&cli->hasher, i, secret, bytes) != OA_OK) {
            return cli_fail(CLI_FAILED, "libcrypto failed");
        }

        hex = cli_alloc(OA_DIGEST_HEX_LEN);
        oa_text_hex(bytes, sizeof(bytes), hex);
        item->digests[i].data = hex;
        item->digests[i].len = OA_DIGEST_HEX_LEN;
    }

    item->n = cli->hasher.n;

    return CLI_OK;
}


static int
secret_take(cli_t *cli, cli_item_t *item)
{
    int           rc;
    oa_str_t      secret;
    cli_entry_t  *entry;

    entry = item->entry;
    secret = cli_str(json_string_value(entry->secret));
    rc = secret_digest(cli, item, secret);

    if (cli_entry_get(entry, "hint").data == NULL) {
        cli_entry_set(entry, "hint", cli_str(cli_copy(secret.data + secret.len
                                                      - HINT_LEN, HINT_LEN)));
    }

    json_decref(entry->secret);
    entry->secret = NULL;
    item->raw = 1;

    return rc;
}


/* whether its form is right, and where in the store it belongs */
static int
item_prepare(cli_t *cli, cli_item_t *item)
{
    int           rc;
    cli_entry_t  *entry;

    rc = CLI_OK;
    entry = item->entry;

    if (entry->type != &cli_type_credential) {
        item->bad = cli_entry_check(cli, entry);
        item->key = cli_store_key(cli, entry->type->kind, entry->id);
        item->given = entry->n;

    } else {
        if (entry->secret != NULL) {
            rc = secret_take(cli, item);

        } else {
            item->digests[0] = entry->digest;
            item->n = 1;
        }

        item->given = entry->n;

        /* an id that is to be minted is a good one */
        if (entry->id.data == NULL) {
            cli_entry_set(entry, "id", cli_str("key_"));
        }

        item->bad = cli_entry_check(cli, entry);
        item->asks_id = (entry->id.data != NULL);
    }

    item->account = cli_store_key(cli, "account:",
                                  cli_entry_get(entry, "account"));

    entry->n = item->given;

    return rc;
}


int
cli_batch_add(cli_batch_t *batch, uint64_t number, oa_str_t line)
{
    int           rc;
    size_t        i;
    cli_pool_t   *former;
    cli_item_t   *item, *other;
    cli_entry_t  *entry;

    former = cli_pool_use(batch->pool);
    item = &batch->items[batch->n++];
    item->line = number;
    rc = CLI_OK;

    if (line.data == NULL) {
        item->bad = "is longer than 64 KiB";

    } else {
        entry = cli_alloc(sizeof(cli_entry_t));

        if (cli_entry_parse(batch->cli, line, entry, &item->bad) == CLI_OK) {
            item->entry = entry;
            rc = item_prepare(batch->cli, item);
        }
    }

    if (item->bad != NULL) {
        item->entry = NULL;
    }

    /* an account is asked for once */

    item->asks_account = (item->entry != NULL
                          && item->entry->type != &cli_type_account);

    for (i = 0; i + 1 < batch->n && item->asks_account; i++) {
        other = &batch->items[i];

        if (other->asks_account && other->account.len == item->account.len
            && memcmp(other->account.data, item->account.data,
                      item->account.len) == 0)
        {
            item->asks_account = 0;
        }
    }

    (void) cli_pool_use(former);

    return rc;
}


int
cli_batch_add_entry(cli_batch_t *batch, cli_entry_t *entry)
{
    cli_item_t  *item;

    item = &batch->items[batch->n++];
    item->entry = entry;
    item->asks_account = 1;

    return item_prepare(batch->cli, item);
}


static oa_str_t
digest_key(cli_batch_t *batch, oa_str_t digest)
{
    return cli_store_key(batch->cli, "credential:", digest);
}


static int
send_watch(cli_batch_t *batch)
{
    size_t          i, k;
    cli_item_t     *item;
    cli_command_t  *watch;

    watch = cli_command("WATCH", (oa_str_t) oa_null);

    /* so that there is one in any case */
    cli_command_add(watch, cli_store_key(batch->cli, "meta",
                                         (oa_str_t) oa_null));

    for (i = 0; i < batch->n; i++) {
        item = &batch->items[i];

        if (item->entry == NULL) {
            continue;
        }

        if (item->entry->type != &cli_type_credential) {
            cli_command_add(watch, item->key);
        }

        for (k = 0; k < item->n; k++) {
            cli_command_add(watch, digest_key(batch, item->digests[k]));
        }

        if (item->asks_account) {
            cli_command_add(watch, item->account);
        }
    }

    return cli_redis_append(&batch->cli->redis, watch);
}


static int
send_reads(cli_batch_t *batch, cli_item_t *item)
{
    int           rc;
    size_t        k;
    cli_redis_t  *redis;

    redis = &batch->cli->redis;
    rc = CLI_OK;

    if (item->entry == NULL) {
        return rc;
    }

    if (item->entry->type != &cli_type_credential) {
        rc = cli_redis_append(redis, cli_command("HGETALL", item->key));
    }

    for (k = 0; k < item->n && rc == CLI_OK; k++) {
        rc = cli_redis_append(redis,
                              cli_command("HGETALL",
                                          digest_key(batch,
                                                     item->digests[k])));
    }

    if (rc == CLI_OK && item->asks_id) {
        rc = cli_redis_append(redis,
                              cli_command("GET",
                                          cli_store_key(batch->cli, "id:",
                                                        item->entry->id)));
    }

    if (rc == CLI_OK && item->asks_account) {
        rc = cli_redis_append(redis, cli_command("EXISTS", item->account));
    }

    return rc;
}


int
cli_batch_ask(cli_batch_t *batch)
{
    int          rc;
    size_t       i;
    cli_pool_t  *former;

    former = cli_pool_use(batch->pool);
    rc = send_watch(batch);

    for (i = 0; i < batch->n && rc == CLI_OK; i++) {
        rc = send_reads(batch, &batch->items[i]);
    }

    if (rc == CLI_OK) {
        rc = cli_redis_flush(&batch->cli->redis);
    }

    (void) cli_pool_use(former);

    return rc;
}


/* WRONGTYPE is an answer; for other errors the command is made up again */
static int
receive(cli_batch_t *batch, const char *name, oa_str_t key,
    redisReply **reply)
{
    int  rc;

    rc = cli_redis_next(&batch->cli->redis, reply);

    if (rc == CLI_OK && (*reply)->type == REDIS_REPLY_ERROR
        && strncmp((*reply)->str, "WRONGTYPE", 9) != 0)
    {
        rc = cli_redis_refused(&batch->cli->redis, cli_command(name, key),
                               *reply);
        freeReplyObject(*reply);
        *reply = NULL;
    }

    return rc;
}


static int
receive_reads(cli_batch_t *batch, cli_item_t *item)
{
    int     rc;
    size_t  k;

    rc = CLI_OK;

    if (item->entry == NULL) {
        return rc;
    }

    if (item->entry->type != &cli_type_credential) {
        rc = receive(batch, "HGETALL", item->key, &item->records[0]);
    }

    for (k = 0; k < item->n && rc == CLI_OK; k++) {
        rc = receive(batch, "HGETALL", digest_key(batch, item->digests[k]),
                     &item->records[k]);
    }

    if (rc == CLI_OK && item->asks_id) {
        rc = receive(batch, "GET",
                     cli_store_key(batch->cli, "id:", item->entry->id),
                     &item->id_digest);
    }

    if (rc == CLI_OK && item->asks_account) {
        rc = receive(batch, "EXISTS", item->account, &item->owner);
    }

    return rc;
}


static int
receive_all(cli_batch_t *batch)
{
    int          rc;
    size_t       i;
    redisReply  *watch;

    rc = receive(batch, "WATCH", (oa_str_t) oa_null, &watch);

    if (rc == CLI_OK) {
        freeReplyObject(watch);
    }

    for (i = 0; i < batch->n && rc == CLI_OK; i++) {
        rc = receive_reads(batch, &batch->items[i]);
    }

    return rc;
}


int
cli_batch_forget(cli_batch_t *batch)
{
    int          rc;
    cli_pool_t  *former;

    former = cli_pool_use(batch->pool);
    rc = receive_all(batch);
    replies_free(batch);

    if (rc == CLI_OK) {
        rc = cli_redis_call(&batch->cli->redis,
                            cli_command("UNWATCH", (oa_str_t) oa_null), NULL);
    }

    (void) cli_pool_use(former);

    return rc;
}


/* with the first change of an import: where the rest comes from */
static void
change_begin(cli_batch_t *batch)
{
    cli_entry_t    *entry;
    cli_command_t  *mark;

    entry = batch->items[0].entry;

    if (batch->import->single) {
        cli_change_audit(&batch->change, "key.import", entry->id,
                         cli_format("account=%s, environment=%s, scopes=%s, "
                             "expires=%s",
                             cli_text_safe(cli_entry_get(entry, "account")),
                             cli_text_safe(cli_entry_get(entry,
                                                         "environment")),
                             cli_text_safe(cli_entry_get(entry, "scopes")),
                             cli_text_safe(cli_entry_get(entry, "expires"))));
    } else {
        cli_change_audit(&batch->change, "import.begin",
                         cli_str(batch->import->source), "");
    }

    mark = cli_change_add(&batch->change, "HSETNX",
                          cli_store_key(batch->cli, "meta",
                                        (oa_str_t) oa_null));
    cli_command_addz(mark, "v");
    cli_command_addz(mark, cli_format("%d", OA_RECORD_VERSION));
}


static int
send_change(cli_batch_t *batch)
{
    int            rc;
    size_t         i;
    cli_change_t  *change;

    rc = CLI_OK;
    change = &batch->change;

    if (change->n == 1) {
        /* MULTI and nothing more */
        change->commands[0] = cli_command("UNWATCH", (oa_str_t) oa_null);

    } else {
        if (!batch->import->begun) {
            change_begin(batch);
        }

        (void) cli_change_add(change, "EXEC", (oa_str_t) oa_null);
    }

    for (i = 0; i < change->n && rc == CLI_OK; i++) {
        rc = cli_redis_append(&batch->cli->redis, change->commands[i]);
    }

    return (rc == CLI_OK) ? cli_redis_flush(&batch->cli->redis) : rc;
}


int
cli_batch_write(cli_batch_t *batch)
{
    int          rc;
    size_t       i;
    cli_item_t  *item;
    cli_pool_t  *former;

    former = cli_pool_use(batch->pool);
    rc = receive_all(batch);

    cli_change_init(&batch->change, batch->cli);

    for (i = 0; i < batch->n && rc == CLI_OK; i++) {
        item = &batch->items[i];
        item->first = batch->change.n;
        item->verdict = CLI_ITEM_BAD;

        if (item->entry != NULL) {
            rc = cli_judge(batch, i);
        }

        item->last = batch->change.n;
    }

    if (rc == CLI_OK) {
        rc = send_change(batch);
    }

    (void) cli_pool_use(former);

    return rc;
}


/* what became of the commands inside of EXEC: number i there is i + 1 here */
static void
exec_errors(cli_batch_t *batch, const redisReply *done)
{
    size_t       i, k;
    cli_item_t  *item;

    for (i = 0; i < batch->n; i++) {
        item = &batch->items[i];

        for (k = item->first; k < item->last && k - 1 < done->elements; k++) {
            if (done->element[k - 1]->type == REDIS_REPLY_ERROR) {
                item->verdict = CLI_ITEM_BAD;
                item->bad = cli_format("Redis refuses %s: %s",
                                batch->change.commands[k]->words[0],
                                cli_quotez(done->element[k - 1]->str));
            }
        }
    }
}


static int
receive_exec(cli_batch_t *batch)
{
    int             rc;
    size_t          i;
    redisReply     *reply;
    cli_change_t   *change;
    cli_command_t  *command;

    rc = CLI_OK;
    change = &batch->change;

    for (i = 0; i < change->n && rc == CLI_OK; i++) {
        command = change->commands[i];
        rc = receive(batch, command->words[0],
                     (command->n > 1) ? cli_str(command->words[1])
                                      : (oa_str_t) oa_null, &reply);

        if (rc != CLI_OK) {
            break;
        }

        if (i + 1 == change->n && change->n > 1) {

            if (reply->type == REDIS_REPLY_NIL) {
                rc = CLI_AGAIN;

            } else if (reply->type != REDIS_REPLY_ARRAY) {
                rc = cli_fail(CLI_FAILED, "Redis answered EXEC with something "
                              "else than a list");
            } else {
                exec_errors(batch, reply);
                batch->import->begun = 1;
            }
        }

        freeReplyObject(reply);
    }

    return rc;
}


int
cli_batch_finish(cli_batch_t *batch)
{
    int          rc;
    cli_pool_t  *former;

    former = cli_pool_use(batch->pool);
    rc = receive_exec(batch);
    (void) cli_pool_use(former);

    if (rc == CLI_AGAIN) {
        replies_free(batch);
    }

    return rc;
}


int
cli_batch_once(cli_batch_t *batch)
{
    int  rc, i;

    for (i = 0; i < CLI_STORE_TRIES; i++) {
        rc = cli_batch_ask(batch);

        if (rc == CLI_OK) {
            rc = cli_batch_write(batch);
        }

        if (rc == CLI_OK) {
            rc = cli_batch_finish(batch);
        }

        if (rc != CLI_AGAIN) {
            return rc;
        }
    }

    return cli_fail(CLI_FAILED, "somebody else keeps changing the same "
                    "records");
}
