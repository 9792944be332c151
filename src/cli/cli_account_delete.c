/*
 * opsauth account delete: an account and, before it, all that it could be used
 * by. In this order, so that nothing is ever alive that will lose its account,
 * and that whoever repeats the command after a crash finds what is left to do:
 *
 *   1. switch the account off: none of its credentials passes any more, also
 *      not one that is being made now
 *   2. revoke its credentials, a batch in one change
 *   3. delete the account and the list of its credentials in one change, if
 *      neither has changed since it was seen that nothing in it is alive;
 *      otherwise again from 1. Who makes a credential watches the account.
 *
 * The credentials stay as tombstones, as "key revoke" leaves them: the answers
 * to their clients are what they would be anyway, the log goes on telling whose
 * they were, and an account that is made under the same id gets none of them.
 */

#include "cli_account.h"
#include "cli_credential.h"
#include "cli_memory.h"
#include "cli_output.h"
#include "cli_store.h"
#include "cli_text.h"
#include "cli_values.h"
#include "cli_wait.h"

#include "oa_text.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>


#define BATCH   100                     /* credentials at once */
#define ROUNDS  20


typedef struct {
    oa_str_t       id;
    oa_str_t       key;                 /* account:<id> */
    oa_str_t       set;                 /* credentials:<id> */
    cli_record_t   record;
    unsigned       there:1;             /* the account's record is */
    unsigned       off:1;               /* switched off, by us or before */
    unsigned       told:1;
    oa_str_t      *live;                /* names of credentials' records */
    size_t         n;
    size_t         next;                /* the batch */
    size_t         revoked;
} delete_t;


const cli_option_t  cli_account_delete_options[] = {
    { "yes", 0, 0, NULL, "don't ask" },
    CLI_WAIT_OPTIONS,
    { NULL, 0, 0, NULL, NULL }
};

const char  cli_account_delete_text[] =
    "The account is switched off first, so that all of it ends at once; its "
    "keys and\ntokens stay as revoked records. On a terminal the command asks; "
    "anywhere else\n--yes must be given. If it is interrupted, run it again.\n"
    "\n"
    CLI_WAIT_TEXT
    "\n"
    "  opsauth account delete crm\n"
    "  opsauth account delete crm --yes --wait\n";


static int
is_live(const cli_record_t *record)
{
    return !oa_text_eq(cli_record_get(record, "state"),
                       oa_state_name(OA_STATE_REVOKED));
}


static int
account_there(cli_t *cli, delete_t *d)
{
    int  rc;

    rc = cli_store_read(cli, d->key, &d->record);
    d->there = (rc == CLI_OK);

    return (rc == CLI_NOT_FOUND) ? CLI_OK : rc;
}


/* of n records, those that are of this account, and not revoked */
static void
live_add(delete_t *d, const cli_record_t *records, size_t n)
{
    size_t    i;
    oa_str_t  owner;

    for (i = 0; i < n; i++) {
        if (records[i].reply == NULL || !is_live(&records[i])) {
            continue;
        }

        owner = cli_record_get(&records[i], "account");

        if (owner.len == d->id.len
            && memcmp(owner.data, d->id.data, owner.len) == 0)
        {
            d->live[d->n++] = records[i].key;

        } else if (!d->told) {
            cli_note("%s is listed here but belongs to account %s; it stays",
                     cli_quote(cli_record_get(&records[i], "id")),
                     cli_quote(owner));
        }
    }
}


/* n ids of the set, BATCH at most */
static int
ids_read(cli_t *cli, delete_t *d, const oa_str_t *ids, size_t n)
{
    int           rc;
    size_t        k;
    cli_record_t  records[BATCH];

    rc = cli_credential_read_ids(cli, ids, n, records, &k);

    if (rc == CLI_OK) {
        live_add(d, records, k);
    }

    return rc;
}


static int
live_read(cli_t *cli, delete_t *d)
{
    int        rc;
    size_t     i, n, mark;
    oa_str_t  *ids;

    d->n = d->next = 0;
    rc = cli_store_members(cli, d->set, &ids, &n);

    if (rc != CLI_OK) {
        return rc;
    }

    d->live = cli_alloc((n + 1) * sizeof(oa_str_t));
    mark = cli->redis.n;

    for (i = 0; i < n && rc == CLI_OK; i += BATCH) {
        rc = ids_read(cli, d, ids + i, (n - i < BATCH) ? n - i : BATCH);
        cli_redis_forget(&cli->redis, mark);
    }

    d->told = 1;

    return rc;
}


static int
off_attempt(cli_t *cli, void *data)
{
    int             rc;
    delete_t       *d;
    cli_change_t    change;
    cli_command_t  *hset;

    d = data;
    rc = cli_store_watch(cli, d->key);

    if (rc == CLI_OK) {
        rc = account_there(cli, d);
    }

    if (rc != CLI_OK || !d->there
        || oa_text_eq(cli_record_get(&d->record, "enabled"), "0"))
    {
        return rc;
    }

    cli_change_init(&change, cli);
    hset = cli_change_add(&change, "HSET", d->key);
    cli_command_addz(hset, "enabled");
    cli_command_addz(hset, "0");
    cli_command_addz(hset, "updated");
    cli_command_addz(hset, cli_format("%lld", (long long) cli->now));
    cli_change_audit(&change, "account.set", d->id,
                     "enabled=0, to be deleted");

    return cli_change_commit(&change);
}


static int
batch_attempt(cli_t *cli, void *data)
{
    int             rc;
    size_t          i, n, live;
    delete_t       *d;
    oa_str_t       *keys, kind;
    cli_change_t    change;
    cli_record_t   *records;
    cli_command_t  *command;

    d = data;
    keys = &d->live[d->next];
    n = (d->n - d->next < BATCH) ? d->n - d->next : BATCH;
    records = cli_alloc(n * sizeof(cli_record_t));
    command = cli_command("WATCH", keys[0]);

    for (i = 1; i < n; i++) {
        cli_command_add(command, keys[i]);
    }

    rc = cli_redis_call(&cli->redis, command, NULL);

    if (rc == CLI_OK) {
        rc = cli_store_read_many(cli, keys, n, records);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    cli_change_init(&change, cli);

    for (i = 0, live = 0; i < n; i++) {

        /* one that is gone meanwhile must not come back as half a record */

        if (records[i].reply == NULL || !is_live(&records[i])) {
            continue;
        }

        command = cli_change_add(&change, "HSET", keys[i]);
        cli_command_addz(command, "state");
        cli_command_addz(command, oa_state_name(OA_STATE_REVOKED));

        kind = cli_record_get(&records[i], "kind");
        cli_change_audit(&change,
                         oa_text_eq(kind, oa_kind_name(OA_KIND_API_KEY))
                         ? "key.revoke" : "token.revoke",
                         cli_record_get(&records[i], "id"),
                         cli_format("account=%s, which is deleted",
                                    cli_text_safe(d->id)));
        live++;
    }

    rc = (live != 0) ? cli_change_commit(&change) : CLI_OK;

    if (rc == CLI_OK) {
        d->revoked += live;
    }

    return rc;
}


static int
revoke_all(cli_t *cli, delete_t *d)
{
    int     rc;
    size_t  mark;

    mark = cli->redis.n;

    for (rc = CLI_OK; d->next < d->n && rc == CLI_OK; d->next += BATCH) {
        rc = cli_store_retry(cli, batch_attempt, d);
        cli_redis_forget(&cli->redis, mark);
    }

    return rc;
}


/* CLI_AGAIN: there is something left to end first */
static int
finish_attempt(cli_t *cli, delete_t *d)
{
    int           rc;
    cli_change_t  change;

    rc = cli_store_watch(cli, d->key);

    if (rc == CLI_OK) {
        rc = cli_store_watch(cli, d->set);
    }

    if (rc == CLI_OK) {
        rc = account_there(cli, d);
    }

    if (rc == CLI_OK) {
        rc = live_read(cli, d);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    if (d->n != 0
        || (d->there
            && !oa_text_eq(cli_record_get(&d->record, "enabled"), "0")))
    {
        return CLI_AGAIN;
    }

    cli_change_init(&change, cli);
    (void) cli_change_add(&change, "DEL", d->key);
    (void) cli_change_add(&change, "DEL", d->set);
    cli_change_audit(&change, "account.delete", d->id,
                     cli_format("revoked=%zu", d->revoked));

    return cli_change_commit(&change);
}


static int
delete_run(cli_t *cli, delete_t *d)
{
    int  rc, i;

    for (i = 0; i < ROUNDS; i++) {
        rc = cli_store_retry(cli, off_attempt, d);

        if (rc != CLI_OK) {
            return rc;
        }

        d->off = 1;
        rc = live_read(cli, d);

        if (rc == CLI_OK) {
            rc = revoke_all(cli, d);
        }

        if (rc == CLI_OK) {
            rc = finish_attempt(cli, d);
        }

        if (rc != CLI_AGAIN) {
            return rc;
        }
    }

    return cli_fail(CLI_FAILED, "somebody else keeps changing the account %s "
                    "or making credentials for it", cli_quote(d->id));
}


/* people are asked, scripts must have said so */
static int
confirm(delete_t *d)
{
    char         answer[16];
    const char  *name;
    oa_str_t     text;

    text = d->there ? cli_record_get(&d->record, "name") : d->id;
    name = (text.len != 0) ? cli_quote(text) : "without a name";

    fputs(cli_format("Delete the account %s (%s) and end %zu %s for good? "
                     "[y/N] ", cli_text_safe(d->id), name, d->n,
                     (d->n == 1) ? "key or token" : "keys and tokens"),
          stderr);

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
delete_prepare(cli_t *cli, delete_t *d)
{
    int  rc;

    rc = cli_value_id(oa_credential_field_check, "an account", "account",
                      cli->options.words[0]);

    if (rc == CLI_OK) {
        rc = cli_wait_check(cli);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    if (cli_option(&cli->options, "yes") == NULL && !isatty(STDIN_FILENO)) {
        return cli_fail(CLI_USAGE, "this ends all keys and tokens of the "
                        "account for good, and there is no terminal to ask "
                        "on: give --yes");
    }

    rc = cli_store_open(cli);

    if (rc != CLI_OK) {
        return rc;
    }

    d->id = cli_str(cli->options.words[0]);
    d->key = cli_store_key(cli, "account:", d->id);
    d->set = cli_store_key(cli, "credentials:", d->id);

    rc = account_there(cli, d);

    if (rc == CLI_OK) {
        rc = live_read(cli, d);
    }

    /* what a back office left behind of an account is worth ending, too */

    if (rc == CLI_OK && !d->there && d->n == 0) {
        rc = cli_account_read(cli, d->id, &d->record);
    }

    if (rc == CLI_OK && cli_option(&cli->options, "yes") == NULL) {
        rc = confirm(d);
    }

    return rc;
}


static void
delete_print(cli_t *cli, delete_t *d)
{
    json_t  *object;

    if (cli->json) {
        object = json_object();
        json_object_set_new(object, "id", cli_json_str(d->id));
        json_object_set_new(object, "deleted", json_true());
        json_object_set_new(object, "revoked",
                            json_integer((json_int_t) d->revoked));
        cli_json_print(object);
        return;
    }

    cli_output_line(cli_str(cli_format("account %s deleted, %zu %s revoked",
                                       cli_text_safe(d->id), d->revoked,
                                       (d->revoked == 1) ? "key or token"
                                                    : "keys and tokens")));
}


int
cli_account_delete(cli_t *cli)
{
    int       rc;
    delete_t  d;

    memset(&d, 0, sizeof(d));
    rc = delete_prepare(cli, &d);

    if (rc != CLI_OK) {
        return rc;
    }

    rc = delete_run(cli, &d);

    if (rc != CLI_OK) {
        return d.off ? cli_fail(rc, "the account %s is switched off, so that "
                                "nothing of it passes, but not deleted: run "
                                "the same command again", cli_quote(d.id))
                     : rc;
    }

    delete_print(cli, &d);

    return cli_wait(cli);
}
