/*
 * See cli_judge.h.
 */

#include "cli_credential.h"
#include "cli_issued.h"
#include "cli_judge.h"
#include "cli_text.h"

#include "oa_record.h"
#include "oa_text.h"

#include <string.h>


/* the record as it is now: in the store, or in a line before; or none */
typedef struct {
    const redisReply   *reply;
    const cli_entry_t  *entry;
    size_t              n;              /* fields; 0: there is none */
} existing_t;


static int
same(oa_str_t a, oa_str_t b)
{
    return a.data != NULL && b.data != NULL && a.len == b.len
           && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}


static oa_str_t
existing_name(const existing_t *existing, size_t i)
{
    return (existing->entry != NULL)
           ? existing->entry->fields[i].name
           : cli_reply_str(existing->reply->element[i * 2]);
}


static oa_str_t
existing_value(const existing_t *existing, size_t i)
{
    return (existing->entry != NULL)
           ? existing->entry->fields[i].value
           : cli_reply_str(existing->reply->element[i * 2 + 1]);
}


/* fields stand in the same order mostly: look there first */
static oa_str_t
existing_get(const existing_t *existing, oa_str_t name, size_t at)
{
    size_t    i, k;
    oa_str_t  none = oa_null;

    for (i = 0; i < existing->n; i++) {
        k = (at + i) % existing->n;

        if (same(existing_name(existing, k), name)) {
            return existing_value(existing, k);
        }
    }

    return none;
}


static oa_str_t
existing_getz(const existing_t *existing, const char *name)
{
    return existing_get(existing, cli_str(name), 0);
}


/* the last line before item i that wrote, or found, this record */
static const cli_entry_t *
line_before(const cli_batch_t *batch, size_t i, oa_str_t key)
{
    const cli_item_t  *item;

    while (i-- > 0) {
        item = &batch->items[i];

        if (item->entry != NULL && item->verdict != CLI_ITEM_BAD
            && item->verdict != CLI_ITEM_EXPIRED && same(item->key, key))
        {
            return item->entry;
        }
    }

    return NULL;
}


/* 0: something else than a hash stands there */
static int
existing_find(const cli_batch_t *batch, size_t i, oa_str_t key,
    const redisReply *reply, existing_t *existing)
{
    memset(existing, 0, sizeof(*existing));
    existing->entry = line_before(batch, i, key);

    if (existing->entry != NULL) {
        existing->n = existing->entry->n;
        return 1;
    }

    if (reply->type != REDIS_REPLY_ARRAY) {
        return 0;
    }

    existing->reply = reply;
    existing->n = reply->elements / 2;

    return 1;
}


/* the first field that is not the same; data NULL: all are */
static oa_str_t
difference(const cli_entry_t *entry, const existing_t *existing)
{
    size_t      i;
    oa_str_t    none = oa_null;
    existing_t  new;

    for (i = 0; i < entry->n; i++) {
        if (!same(existing_get(existing, entry->fields[i].name, i),
                  entry->fields[i].value))
        {
            return entry->fields[i].name;
        }
    }

    memset(&new, 0, sizeof(new));
    new.entry = entry;
    new.n = entry->n;

    for (i = 0; i < existing->n; i++) {
        if (existing_get(&new, existing_name(existing, i), i).data == NULL) {
            return existing_name(existing, i);
        }
    }

    return none;
}


/* what is there and is not in the line goes, all else is set */
static void
write_hash(cli_batch_t *batch, const cli_item_t *item,
    const existing_t *existing)
{
    size_t          i;
    existing_t      new;
    cli_command_t  *command;

    memset(&new, 0, sizeof(new));
    new.entry = item->entry;
    new.n = item->entry->n;
    command = NULL;

    for (i = 0; i < existing->n; i++) {
        if (existing_get(&new, existing_name(existing, i), i).data != NULL) {
            continue;
        }

        if (command == NULL) {
            command = cli_change_add(&batch->change, "HDEL", item->key);
        }

        cli_command_add(command, existing_name(existing, i));
    }

    command = cli_change_add(&batch->change, "HSET", item->key);

    for (i = 0; i < item->entry->n; i++) {
        cli_command_add(command, item->entry->fields[i].name);
        cli_command_add(command, item->entry->fields[i].value);
    }
}


static int
bad(cli_item_t *item, const char *why)
{
    item->verdict = CLI_ITEM_BAD;
    item->bad = why;

    return CLI_OK;
}


/* new, the same, or to be replaced; or bad */
static void
compare(cli_batch_t *batch, cli_item_t *item, const existing_t *existing,
    const char *what)
{
    oa_str_t  field;

    if (existing->n == 0) {
        item->verdict = CLI_ITEM_CREATED;
        return;
    }

    field = difference(item->entry, existing);

    if (field.data == NULL) {
        item->verdict = CLI_ITEM_UNCHANGED;

    } else if (batch->import->replace) {
        item->verdict = CLI_ITEM_REPLACED;

    } else {
        (void) bad(item, cli_format("%s %s exists already, with another %s; "
                                    "--replace overwrites it", what,
                                    cli_quote(item->entry->id),
                                    cli_quote(field)));
    }
}


static int
judge_account(cli_batch_t *batch, size_t i)
{
    cli_item_t  *item;
    existing_t   existing;

    item = &batch->items[i];

    if (!existing_find(batch, i, item->key, item->records[0], &existing)) {
        return bad(item, cli_format("%s is no hash in Redis: it is not of "
                                    "opsauth, or damaged",
                                    cli_quote(item->key)));
    }

    compare(batch, item, &existing, "account");

    if (item->verdict == CLI_ITEM_CREATED
        || item->verdict == CLI_ITEM_REPLACED)
    {
        write_hash(batch, item, &existing);
    }

    return CLI_OK;
}


static int
account_exists(const cli_batch_t *batch, size_t i, oa_str_t key)
{
    size_t             k;
    const cli_item_t  *item;

    if (line_before(batch, i, key) != NULL) {
        return 1;
    }

    for (k = 0; k <= i; k++) {
        item = &batch->items[k];

        if (item->asks_account && same(item->account, key)) {
            return item->owner->type == REDIS_REPLY_INTEGER
                   && item->owner->integer == 1;
        }
    }

    return 0;
}


static int
no_account(cli_item_t *item)
{
    return bad(item, cli_format("there is no account %s, neither in the store "
                                "nor in a line before",
                                cli_quote(cli_entry_get(item->entry,
                                                        "account"))));
}


static int
judge_client(cli_batch_t *batch, size_t i)
{
    oa_str_t     account;
    cli_item_t  *item;
    existing_t   existing;

    item = &batch->items[i];
    account = cli_entry_get(item->entry, "account");

    if (!existing_find(batch, i, item->key, item->records[0], &existing)) {
        return bad(item, cli_format("%s is no hash in Redis: it is not of "
                                    "opsauth, or damaged",
                                    cli_quote(item->key)));
    }

    if (existing.n != 0
        && !same(existing_getz(&existing, "account"), account))
    {
        return bad(item, cli_format("the client %s belongs to account %s; it "
                              "stays there", cli_quote(item->entry->id),
                              cli_quote(existing_getz(&existing, "account"))));
    }

    if (!account_exists(batch, i, item->account)) {
        return no_account(item);
    }

    compare(batch, item, &existing, "client");

    if (item->verdict == CLI_ITEM_CREATED
        || item->verdict == CLI_ITEM_REPLACED)
    {
        cli_command_add(cli_change_add(&batch->change, "SADD",
                            cli_store_key(batch->cli, "clients:", account)),
                        item->entry->id);
        write_hash(batch, item, &existing);
    }

    return CLI_OK;
}


/* the id is another credential's, in the store or in a line before */
static int
id_taken(const cli_batch_t *batch, size_t i)
{
    size_t             k;
    oa_str_t           digest;
    const cli_item_t  *item, *other;

    item = &batch->items[i];

    for (k = 0; k < i; k++) {
        other = &batch->items[k];

        if (other->entry != NULL && other->entry->type == &cli_type_credential
            && (other->verdict == CLI_ITEM_CREATED
                || other->verdict == CLI_ITEM_REPLACED)
            && same(other->entry->id, item->entry->id)
            && !same(other->key, item->key))
        {
            return 1;
        }
    }

    if (item->id_digest == NULL || item->id_digest->type == REDIS_REPLY_NIL) {
        return 0;
    }

    digest = cli_reply_str(item->id_digest);

    return digest.data == NULL || item->key.len < digest.len
           || memcmp(item->key.data + item->key.len - digest.len, digest.data,
                     digest.len) != 0;
}


/* a raw key may stand there already, maybe under an older pepper */
static int
credential_find(cli_batch_t *batch, size_t i, existing_t *existing)
{
    size_t       k;
    oa_str_t     key;
    cli_item_t  *item;

    item = &batch->items[i];

    for (k = 0; k < item->n; k++) {
        key = cli_store_key(batch->cli, "credential:", item->digests[k]);

        if (!existing_find(batch, i, key, item->records[k], existing)) {
            return bad(item, "in Redis, something else than a hash stands "
                       "where its record belongs");
        }

        if (k == 0 || existing->n != 0) {
            item->key = key;
            item->entry->digest = item->digests[k];
        }

        if (existing->n != 0) {
            break;
        }
    }

    return CLI_OK;
}


/* what a line with a raw key need not say */
static int
credential_fill(cli_batch_t *batch, cli_item_t *item,
    const existing_t *existing)
{
    int           rc;
    oa_str_t      value;
    cli_entry_t  *entry;

    entry = item->entry;
    entry->n = item->given;

    if (!item->raw) {
        return CLI_OK;
    }

    if (!item->asks_id) {
        entry->id = existing_getz(existing, "id");

        if (entry->id.data == NULL) {
            rc = cli_credential_id(oa_text_eq(cli_entry_get(entry, "kind"),
                                              oa_kind_name(OA_KIND_API_KEY))
                                   ? &cli_kind_key : &cli_kind_token,
                                   &entry->id);

            if (rc != CLI_OK) {
                return rc;
            }
        }

        cli_entry_set(entry, "id", entry->id);
    }

    if (cli_entry_get(entry, "created").data == NULL) {
        value = existing_getz(existing, "created");

        if (value.data == NULL && existing->n == 0) {
            value = cli_str(cli_format("%lld", (long long) batch->cli->now));
        }

        if (value.data != NULL) {
            cli_entry_set(entry, "created", value);
        }
    }

    return CLI_OK;
}


/* what no option lets pass; 1: it is bad, and says why */
static int
credential_refused(cli_batch_t *batch, size_t i, const existing_t *existing)
{
    cli_item_t   *item;
    cli_entry_t  *entry;
    const char   *revoked;

    item = &batch->items[i];
    entry = item->entry;
    revoked = oa_state_name(OA_STATE_REVOKED);

    if (existing->n != 0 && batch->import->single) {
        (void) bad(item, cli_format("the store knows this key already, as %s "
                              "of account %s (%s)",
                              cli_quote(existing_getz(existing, "id")),
                              cli_quote(existing_getz(existing, "account")),
                              cli_text_safe(existing_getz(existing,
                                                          "state"))));
        return 1;
    }

    if (existing->n != 0
        && (!same(existing_getz(existing, "id"), entry->id)
            || !same(existing_getz(existing, "account"),
                     cli_entry_get(entry, "account"))
            || !same(existing_getz(existing, "kind"),
                     cli_entry_get(entry, "kind"))))
    {
        (void) bad(item, cli_format("this credential exists already, as %s of "
                              "account %s; id, account and kind stay as they "
                              "are",
                              cli_quote(existing_getz(existing, "id")),
                              cli_quote(existing_getz(existing, "account"))));
        return 1;
    }

    if (id_taken(batch, i)) {
        (void) bad(item, cli_format("the id %s belongs to another credential",
                                    cli_quote(entry->id)));
        return 1;
    }

    if (!account_exists(batch, i, item->account)) {
        (void) no_account(item);
        return 1;
    }

    if (existing->n != 0 && !batch->import->unrevoke
        && oa_text_eq(existing_getz(existing, "state"), revoked)
        && !oa_text_eq(cli_entry_get(entry, "state"), revoked))
    {
        (void) bad(item, cli_format("%s is revoked and stays so; --replace "
                              "--unrevoke would bring it back",
                              cli_quote(entry->id)));
        return 1;
    }

    return 0;
}


/* when Redis forgets the record; 0: never */
static int64_t
credential_end(const cli_entry_t *entry)
{
    int64_t  expires;

    if (!oa_text_eq(cli_entry_get(entry, "kind"),
                    oa_kind_name(OA_KIND_ACCESS_TOKEN))
        || oa_text_number(cli_entry_get(entry, "expires"),
                          INT64_MAX / 1000 - CLI_TOKEN_GRACE, &expires)
           != OA_OK
        || expires == 0)
    {
        return 0;
    }

    return expires + CLI_TOKEN_GRACE;
}


/* what makes it live comes last */
static void
credential_write(cli_batch_t *batch, const cli_item_t *item,
    const existing_t *existing, int64_t end)
{
    oa_str_t       id, at, account;
    cli_t         *cli;
    cli_change_t  *change;

    cli = batch->cli;
    account = cli_entry_get(item->entry, "account");
    change = &batch->change;
    id = cli_store_key(cli, "id:", item->entry->id);

    cli_command_add(cli_change_add(change, "SET", id), item->entry->digest);

    if (oa_text_eq(cli_entry_get(item->entry, "kind"),
                   oa_kind_name(OA_KIND_API_KEY)))
    {
        cli_command_add(cli_change_add(change, "SADD",
                            cli_store_key(cli, "credentials:", account)),
                        item->entry->id);

    } else {
        cli_issued_add(change, account, item->entry->id, end);
    }

    write_hash(batch, item, existing);

    if (end != 0) {
        at = cli_str(cli_format("%lld", (long long) end));
        cli_command_add(cli_change_add(change, "EXPIREAT", id), at);
        cli_command_add(cli_change_add(change, "EXPIREAT", item->key), at);
    }
}


static int
judge_credential(cli_batch_t *batch, size_t i)
{
    int          rc;
    int64_t      end;
    cli_item_t  *item;
    existing_t   existing;

    item = &batch->items[i];
    item->bad = NULL;
    rc = credential_find(batch, i, &existing);

    if (rc == CLI_OK && item->bad == NULL) {
        rc = credential_fill(batch, item, &existing);
    }

    if (rc != CLI_OK || item->bad != NULL
        || credential_refused(batch, i, &existing))
    {
        return rc;
    }

    end = credential_end(item->entry);

    if (end != 0 && end <= batch->cli->now) {
        item->verdict = CLI_ITEM_EXPIRED;
        return CLI_OK;
    }

    compare(batch, item, &existing, "credential");

    if (item->verdict == CLI_ITEM_CREATED
        || item->verdict == CLI_ITEM_REPLACED)
    {
        credential_write(batch, item, &existing, end);
    }

    return CLI_OK;
}


int
cli_judge(cli_batch_t *batch, size_t i)
{
    const cli_type_t  *type;

    batch->items[i].bad = NULL;

    type = batch->items[i].entry->type;

    return (type == &cli_type_account) ? judge_account(batch, i)
           : (type == &cli_type_client) ? judge_client(batch, i)
           : judge_credential(batch, i);
}
