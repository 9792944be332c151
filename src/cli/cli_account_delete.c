/*
 * opsauth account delete: an account and, before it, all that it could be used
 * by. In this order, so that nothing is ever alive that will lose its account,
 * and that whoever repeats the command after a crash finds what is left to do:
 *
 *   1. switch the account off: none of its credentials passes any more, also
 *      not one that is being made now
 *   2. delete its clients, so that nobody logs in for it, then revoke its
 *      refresh tokens, tokens and keys, a batch in one change
 *   3. delete the account and the lists of what is its own in one change, if
 *      none of them has changed since it was seen that nothing is alive;
 *      otherwise again from 1. Who makes a credential watches the account.
 *
 * The credentials stay as tombstones, as "key revoke" leaves them: the answers
 * to their clients are what they would be anyway, the log goes on telling whose
 * they were, and an account that is made under the same id gets none of them.
 */

#include "cli_account.h"
#include "cli_issued.h"
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


#define ROUNDS  20
#define SETS    3                       /* credentials:, tokens:, clients: */


typedef struct {
    oa_str_t       id;
    oa_str_t       key;                 /* account:<id> */
    oa_str_t       sets[SETS];          /* of what is the account's */
    oa_str_t       clients_set;
    cli_record_t   record;
    unsigned       there:1;             /* the account's record is */
    unsigned       off:1;               /* switched off, by us or before */
    oa_str_t      *clients;             /* ids of those that there are */
    size_t         nclients;
    size_t         gone;                /* clients deleted */
    cli_ending_t   ending;
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
text_same(oa_str_t a, oa_str_t b)
{
    return a.len == b.len && a.len != 0 && memcmp(a.data, b.data, a.len) == 0;
}


/* keys and tokens, a refresh token being one too */
static size_t
revoked(const delete_t *d)
{
    return d->ending.revoked + d->ending.families;
}


static int
account_there(cli_t *cli, delete_t *d)
{
    int  rc;

    rc = cli_store_read(cli, d->key, &d->record);
    d->there = (rc == CLI_OK);

    return (rc == CLI_NOT_FOUND) ? CLI_OK : rc;
}


/* what there is of clients; those that are gone already are passed over */
static int
clients_read(cli_t *cli, delete_t *d)
{
    int            rc;
    size_t         i, n;
    oa_str_t      *ids, *keys;
    cli_record_t  *records;

    d->nclients = 0;
    rc = cli_store_members(cli, d->clients_set, &ids, &n);

    if (rc != CLI_OK) {
        return rc;
    }

    keys = cli_alloc((n + 1) * sizeof(oa_str_t));
    records = cli_alloc((n + 1) * sizeof(cli_record_t));
    d->clients = cli_alloc((n + 1) * sizeof(oa_str_t));

    for (i = 0; i < n; i++) {
        keys[i] = cli_store_key(cli, "client:", ids[i]);
    }

    rc = cli_store_read_many(cli, keys, n, records);

    for (i = 0; i < n && rc == CLI_OK; i++) {
        if (records[i].reply != NULL
            && text_same(cli_record_get(&records[i], "account"), d->id))
        {
            d->clients[d->nclients++] = ids[i];
        }
    }

    return rc;
}


/* all that the account can be used by */
static int
live_read(cli_t *cli, delete_t *d)
{
    int  rc;

    rc = clients_read(cli, d);

    return (rc == CLI_OK) ? cli_ending_read(&d->ending) : rc;
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


/* who has no client can't log in, and no new token comes from there */
static int
clients_attempt(cli_t *cli, void *data)
{
    size_t         i;
    delete_t      *d;
    cli_change_t   change;

    d = data;
    cli_change_init(&change, cli);

    for (i = 0; i < d->nclients; i++) {
        (void) cli_change_add(&change, "DEL",
                              cli_store_key(cli, "client:", d->clients[i]));
        cli_change_audit(&change, "client.delete", d->clients[i],
                         cli_format("account=%s, which is deleted",
                                    cli_text_safe(d->id)));
    }

    return cli_change_commit(&change);
}


static int
end_all(cli_t *cli, delete_t *d)
{
    int  rc;

    rc = CLI_OK;

    if (d->nclients != 0) {
        rc = cli_store_retry(cli, clients_attempt, d);
        d->gone += (rc == CLI_OK) ? d->nclients : 0;
    }

    return (rc == CLI_OK) ? cli_ending_revoke(&d->ending) : rc;
}


/* CLI_AGAIN: there is something left to end first */
static int
finish_attempt(cli_t *cli, delete_t *d)
{
    int           rc;
    cli_change_t  change;

    size_t        i;

    rc = cli_store_watch(cli, d->key);

    for (i = 0; i < SETS && rc == CLI_OK; i++) {
        rc = cli_store_watch(cli, d->sets[i]);
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

    if (d->ending.n + d->nclients != 0
        || (d->there
            && !oa_text_eq(cli_record_get(&d->record, "enabled"), "0")))
    {
        return CLI_AGAIN;
    }

    cli_change_init(&change, cli);
    (void) cli_change_add(&change, "DEL", d->key);

    for (i = 0; i < SETS; i++) {
        (void) cli_change_add(&change, "DEL", d->sets[i]);
    }

    cli_change_audit(&change, "account.delete", d->id,
                     cli_format("revoked=%zu", revoked(d)));

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
            rc = end_all(cli, d);
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

    fputs(cli_format("Delete the account %s (%s)%s and end %zu %s for good? "
                     "[y/N] ", cli_text_safe(d->id), name,
                     d->nclients ? cli_format(", its %zu client%s",
                                              d->nclients,
                                              (d->nclients == 1) ? "" : "s")
                                 : "", d->ending.n,
                     (d->ending.n == 1) ? "key or token" : "keys and tokens"),
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
    d->sets[0] = cli_store_key(cli, "credentials:", d->id);
    d->sets[1] = cli_store_key(cli, "tokens:", d->id);
    d->clients_set = d->sets[2] = cli_store_key(cli, "clients:", d->id);

    d->ending.cli = cli;
    d->ending.account = d->id;
    d->ending.why = "which is deleted";

    rc = account_there(cli, d);

    if (rc == CLI_OK) {
        rc = live_read(cli, d);
    }

    /* what a back office left behind of an account is worth ending, too */

    if (rc == CLI_OK && !d->there && d->ending.n + d->nclients == 0) {
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
                            json_integer((json_int_t) revoked(d)));
        json_object_set_new(object, "clients",
                            json_integer((json_int_t) d->gone));
        cli_json_print(object);
        return;
    }

    cli_output_line(cli_str(cli_format("account %s deleted, %zu %s revoked%s",
                                       cli_text_safe(d->id), revoked(d),
                                       (revoked(d) == 1) ? "key or token"
                                                    : "keys and tokens",
                                       (d->gone == 0) ? ""
                                       : cli_format(", %zu client%s deleted",
                                             d->gone,
                                             (d->gone == 1) ? "" : "s"))));
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
