/*
 * opsauth key rotate: a new key that may do what the old one may, and the old
 * one's end, in one change. The successor is made like any other new key
 * (cli_mint.c); this adds what happens to its predecessor.
 */

#include "cli_credential.h"
#include "cli_key.h"
#include "cli_memory.h"
#include "cli_text.h"
#include "cli_time.h"

#include "oa_text.h"

#include <string.h>


#define GRACE  "24h"


typedef struct {
    cli_credential_t   old;
    int64_t            grace;           /* seconds; 0: revoke at once */
    int64_t            until;           /* when the old one ends */
    int64_t            expires;         /* as it was: 0 never */
    const char        *given;           /* --expires, or NULL */
} rotation_t;


const cli_option_t  cli_key_rotate_options[] = {
    { "grace", 0, 0, "TIME",
      "how long the old key goes on working: 7d, 2h\n(default " GRACE
      "; 0: not at all)" },
    { "now", 0, 0, NULL, "revoke the old key at once, as --grace 0" },
    { "expires", 0, 0, "WHEN",
      "of the new key: 90d, 2027-01-31, never\n(default: when the old one "
      "would have)" },
    { NULL, 0, 0, NULL, NULL }
};

const char  cli_key_rotate_text[] =
    "The new key has account, name, environment, scopes and addresses of the "
    "old one.\nIt goes alone to stdout, as with \"key create\". The old key is "
    "deprecated: it\nworks until the grace is over, and each answer to it says "
    "so (Deprecation,\nSunset). To end it before, revoke it. With --json the "
    "object has the new key as\n\"key\".\n"
    "\n"
    "  opsauth key rotate key_5Uq0YbJm2wNfRkZx --grace 7d > key.txt\n"
    "  opsauth key rotate key_5Uq0YbJm2wNfRkZx --now --expires 90d\n";


static int
options_read(cli_t *cli, rotation_t *rotation)
{
    int          now;
    int64_t      expires;
    const char  *grace;

    grace = cli_option(&cli->options, "grace");
    now = (cli_option(&cli->options, "now") != NULL);

    if (grace != NULL && now) {
        return cli_fail(CLI_USAGE, "--now and --grace exclude each other");
    }

    grace = now ? "0" : (grace == NULL) ? GRACE : grace;

    if (oa_text_duration(cli_str(grace), &rotation->grace) != OA_OK
        || rotation->grace > CLI_TIME_MAX - cli->now)
    {
        return cli_fail(CLI_USAGE, "--grace %s: expected a time such as 7d, "
                        "24h or 30m, or 0 to revoke the old key at once",
                        cli_quotez(grace));
    }

    rotation->given = cli_option(&cli->options, "expires");

    if (rotation->given != NULL
        && cli_time_expires(rotation->given, cli->now, &expires) != OA_OK)
    {
        return cli_fail(CLI_USAGE, "--expires %s: expected a time from now "
                        "(90d, 12h), a date in the future (2027-01-31, "
                        "2027-01-31T18:30, with Z for UTC), or never",
                        cli_quotez(rotation->given));
    }

    return CLI_OK;
}


/* only a key that is in full use has something to hand on */
static int
old_check(cli_t *cli, rotation_t *rotation)
{
    oa_str_t           id, successor;
    const char        *state, *why;
    cli_credential_t  *old;

    old = &rotation->old;
    id = old->id;
    state = cli_credential_state(cli, &old->record);

    if (strcmp(state, "active") == 0) {
        return CLI_OK;
    }

    successor = cli_record_get(&old->record, "successor");

    if (strcmp(state, "deprecated") == 0) {
        why = (successor.len == 0)
              ? cli_format("\"opsauth key revoke %s\" ends it",
                           cli_text_safe(id))
              : cli_format("its successor is %s; \"opsauth key revoke %s\" "
                           "ends it", cli_text_safe(successor),
                           cli_text_safe(id));

        return cli_fail(CLI_FAILED, "the key %s is deprecated already: %s",
                        cli_quote(id), why);
    }

    return cli_fail(CLI_FAILED, "the key %s is %s and has nothing to hand on; "
                    "\"opsauth key create --account %s\" makes a new one",
                    cli_quote(id), cli_quotez(state),
                    cli_text_safe(cli_record_get(&old->record, "account")));
}


/* the old record's rights -> new; it may be another program's work */
static int
rights_copy(rotation_t *rotation, cli_new_t *new)
{
    size_t       i;
    oa_str_t     value;
    const char  *error;

    const struct {
        const char  *name;
        oa_str_t    *place;
        unsigned     needed;
    } fields[] = {
        { "account", &new->account, 1 },
        { "environment", &new->environment, 1 },
        { "scopes", &new->scopes, 1 },
        { "ips", &new->ips, 0 },
        { "name", &new->name, 0 },
        { "subject", &new->subject, 0 },
        { "client", &new->client, 0 }
    };

    for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        value = cli_record_get(&rotation->old.record, fields[i].name);

        if (value.data == NULL && !fields[i].needed) {
            memset(fields[i].place, 0, sizeof(oa_str_t));
            continue;
        }

        if (value.data == NULL
            || oa_credential_field_check(fields[i].name, value, &error)
               != OA_OK)
        {
            return cli_fail(CLI_FAILED, "the record of key %s is damaged: %s "
                            "is %s", cli_quote(rotation->old.id),
                            fields[i].name,
                            (value.data == NULL) ? "missing"
                                                 : cli_quote(value));
        }

        *fields[i].place = value;
    }

    return CLI_OK;
}


/* when the new key ends, and when the old one */
static int
times_set(cli_t *cli, rotation_t *rotation, cli_new_t *new)
{
    oa_str_t  expires;

    expires = cli_record_get(&rotation->old.record, "expires");

    if (oa_text_number(expires, INT64_MAX, &rotation->expires) != OA_OK) {
        return cli_fail(CLI_FAILED, "the record of key %s is damaged: expires "
                        "is %s", cli_quote(rotation->old.id),
                        cli_quote(expires));
    }

    rotation->until = cli->now + rotation->grace;

    if (rotation->expires != 0 && rotation->expires < rotation->until) {
        rotation->until = rotation->expires;
    }

    new->expires = rotation->expires;

    if (rotation->given != NULL) {
        (void) cli_time_expires(rotation->given, cli->now, &new->expires);
    }

    return CLI_OK;
}


static int
old_read(cli_t *cli, rotation_t *rotation, cli_new_t *new)
{
    int  rc;

    rc = old_check(cli, rotation);

    if (rc == CLI_OK) {
        rc = rights_copy(rotation, new);
    }

    return (rc == CLI_OK) ? times_set(cli, rotation, new) : rc;
}


static oa_str_t
number(int64_t n)
{
    return cli_str(cli_format("%lld", (long long) n));
}


static void
set(cli_command_t *hset, const char *field, oa_str_t value)
{
    cli_command_addz(hset, field);
    cli_command_add(hset, value);
}


static int
rotate_along(cli_t *cli, cli_new_t *new, cli_change_t *change)
{
    int                rc;
    oa_str_t           account, environment;
    rotation_t        *rotation;
    cli_command_t     *hset;
    cli_credential_t  *old;

    rotation = new->data;
    old = &rotation->old;
    account = new->account;
    environment = new->environment;

    rc = cli_store_watch(cli, old->record.key);

    if (rc == CLI_OK) {
        rc = cli_store_read(cli, old->record.key, &old->record);
    }

    if (rc == CLI_NOT_FOUND) {
        return cli_fail(rc, "the key %s is gone", cli_quote(old->id));
    }

    if (rc == CLI_OK) {
        rc = old_read(cli, rotation, new);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    if (account.len != new->account.len
        || memcmp(account.data, new->account.data, account.len) != 0
        || environment.len != new->environment.len
        || memcmp(environment.data, new->environment.data, environment.len)
           != 0)
    {
        return cli_fail(CLI_FAILED, "the key %s was given to another account "
                        "or environment at this moment; nothing was written",
                        cli_quote(old->id));
    }

    hset = cli_change_add(change, "HSET", old->record.key);

    if (rotation->grace == 0) {
        set(hset, "state", cli_str(oa_state_name(OA_STATE_REVOKED)));

    } else {
        set(hset, "state", cli_str(oa_state_name(OA_STATE_DEPRECATED)));
        set(hset, "deprecated", number(cli->now));
        set(hset, "expires", number(rotation->until));
    }

    set(hset, "successor", new->id);

    cli_change_audit(change, "key.rotate", old->id,
                     cli_format("account=%s, successor=%s, %s",
                                cli_text_safe(new->account),
                                cli_text_safe(new->id),
                                (rotation->grace == 0)
                                ? "revoked"
                                : cli_format("expires=%lld",
                                             (long long) rotation->until)));

    return CLI_OK;
}


static int
undo_attempt(cli_t *cli, void *data)
{
    int                rc;
    cli_new_t         *new;
    cli_change_t       change;
    rotation_t        *rotation;
    cli_command_t     *hset;
    cli_credential_t  *old;

    new = data;
    rotation = new->data;
    old = &rotation->old;

    rc = cli_store_watch(cli, old->record.key);

    if (rc == CLI_OK) {
        rc = cli_store_read(cli, old->record.key, &old->record);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    /* whoever changed it since knows why */

    if (!oa_text_eq(cli_record_get(&old->record, "successor"),
                    cli_text_safe(new->id))
        || !oa_text_eq(cli_record_get(&old->record, "state"),
                       oa_state_name(OA_STATE_DEPRECATED)))
    {
        return CLI_OK;
    }

    cli_change_init(&change, cli);
    hset = cli_change_add(&change, "HSET", old->record.key);
    set(hset, "state", cli_str(oa_state_name(OA_STATE_ACTIVE)));
    set(hset, "deprecated", number(0));
    set(hset, "expires", number(rotation->expires));
    set(hset, "successor", cli_str(""));
    cli_change_audit(&change, "key.rotate", old->id,
                     "taken back: the new key reached nobody");

    return cli_change_commit(&change);
}


/* the old key's clients can't go over to one that nobody has */
static void
rotate_undo(cli_t *cli, cli_new_t *new)
{
    rotation_t  *rotation;

    rotation = new->data;

    if (rotation->grace == 0) {
        cli_note("the key %s is revoked all the same; \"opsauth key create "
                 "--account %s\" makes a new one",
                 cli_quote(rotation->old.id), cli_text_safe(new->account));

    } else if (cli_store_retry(cli, undo_attempt, new) == CLI_OK) {
        cli_note("the key %s is as it was before",
                 cli_quote(rotation->old.id));
    }
}


int
cli_key_rotate(cli_t *cli)
{
    int         rc;
    cli_new_t   new;
    rotation_t  rotation;

    memset(&new, 0, sizeof(new));
    memset(&rotation, 0, sizeof(rotation));

    rc = options_read(cli, &rotation);

    if (rc == CLI_OK) {
        rc = cli_credential_find(cli, &cli_kind_key, cli->options.words[0],
                                 &rotation.old);
    }

    if (rc == CLI_OK) {
        rc = old_read(cli, &rotation, &new);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    new.kind = &cli_kind_key;
    new.predecessor = rotation.old.id;
    new.along = rotate_along;
    new.undo = rotate_undo;
    new.data = &rotation;

    rc = cli_credential_create(cli, &new);

    if (rc != CLI_OK || cli->json) {
        return rc;
    }

    if (rotation.grace == 0) {
        cli_note("it replaces %s, which is revoked",
                 cli_text_safe(rotation.old.id));

    } else {
        cli_note("it replaces %s, which works until %s",
                 cli_text_safe(rotation.old.id),
                 cli_time_local(rotation.until));
    }

    return rc;
}
