/*
 * opsauth key import: one key that was made elsewhere. It goes the way of a
 * line of "opsauth import", alone.
 */

#include <jansson.h>

#include "cli_account.h"
#include "cli_batch.h"
#include "cli_credential.h"
#include "cli_key_import.h"
#include "cli_lines.h"
#include "cli_output.h"
#include "cli_text.h"
#include "cli_time.h"
#include "cli_values.h"

#include "oa_record.h"
#include "oa_text.h"

#include <string.h>
#include <unistd.h>


const cli_option_t  cli_key_import_options[] = {
    { "account", 0, 0, "ID", "whose key it is" },
    { "name", 0, 0, "TEXT", "what people call it" },
    { "permission", 0, 0, "WORD",
      "read (read:*), write (read:* write:*) or admin" },
    { "scope", 0, CLI_MANY, "SCOPE",
      "action:resource, such as read:tenants; may be repeated" },
    { "environment", 0, 0, "ENV",
      "live or test; the key's prefix says it, and must agree" },
    { "expires", 0, 0, "WHEN",
      "90d, 2027-01-31, 2027-01-31T18:30Z (default never)" },
    { "ip", 0, CLI_MANY, "CIDR",
      "admit this address or network and no other;\nmay be repeated" },
    { NULL, 0, 0, NULL, NULL }
};


const char  cli_key_import_text[] =
    "The key itself is read from stdin, since others can see a command line. "
    "It has to\nbegin with a key_prefix of opsauth_store, and its checksum is "
    "looked at where\nthat has checksum=crc32. The store gets its digest. Its "
    "public id goes to stdout.\n"
    "\n"
    "  opsauth key import --account crm --name legacy --permission read < "
    "key.txt\n"
    "\n"
    "Many at a time: opsauth import --help\n";


/* the one line on stdin; a second one is no key of this call */
static int
stdin_read(json_t **secret)
{
    int          rc;
    oa_str_t     line;
    cli_lines_t  lines;

    *secret = NULL;

    if (isatty(STDIN_FILENO)) {
        cli_note("the key, please");
    }

    rc = cli_lines_open(&lines, NULL);

    while (rc == CLI_OK) {
        rc = cli_lines_next(&lines, &line);

        if (rc != CLI_OK || (line.data != NULL && line.len == 0)) {
            continue;
        }

        if (*secret != NULL) {
            return cli_fail(CLI_FAILED, "there is more than one line on "
                            "stdin; \"opsauth import\" takes many keys");
        }

        *secret = (line.data == NULL)
                  ? NULL : json_stringn((const char *) line.data, line.len);

        if (*secret == NULL) {
            return cli_fail(CLI_FAILED, "what stands on stdin is no key");
        }

        /* a terminal has no end of file after one line */
        if (isatty(STDIN_FILENO)) {
            return CLI_OK;
        }
    }

    if (rc == CLI_NOT_FOUND && *secret == NULL) {
        return cli_fail(CLI_USAGE, "there is nothing on stdin; expected a "
                        "key");
    }

    return (rc == CLI_NOT_FOUND) ? CLI_OK : rc;
}


static void
set(cli_entry_t *entry, const char *field, oa_str_t value)
{
    if (value.data != NULL) {
        cli_entry_set(entry, field, value);
    }
}


static void
entry_make(cli_t *cli, const cli_new_t *new, cli_entry_t *entry)
{
    entry->type = &cli_type_credential;
    set(entry, "v", cli_str(cli_format("%d", OA_RECORD_VERSION)));
    set(entry, "kind", cli_str(oa_kind_name(OA_KIND_API_KEY)));
    set(entry, "account", new->account);
    set(entry, "name", new->name);
    set(entry, "state", cli_str(oa_state_name(OA_STATE_ACTIVE)));
    set(entry, "scopes", new->scopes);
    set(entry, "ips", new->ips);
    set(entry, "expires", cli_str(cli_format("%lld",
                                             (long long) new->expires)));

    /* without the option the key itself says it */
    if (cli_option(&cli->options, "environment") != NULL) {
        set(entry, "environment", new->environment);
    }
}


static int
import_print(cli_t *cli, const cli_item_t *item)
{
    int           rc;
    cli_record_t  record;

    if (!cli->json) {
        cli_output_line(item->entry->id);
        return CLI_OK;
    }

    rc = cli_store_read(cli, item->key, &record);

    if (rc == CLI_OK) {
        cli_json_print(cli_credential_json(cli, &record));
    }

    return rc;
}


static int
import_write(cli_t *cli, cli_batch_t *batch)
{
    int            rc;
    cli_item_t    *item;
    cli_change_t   change;

    item = &batch->items[0];

    if (item->bad != NULL) {
        return cli_fail(CLI_FAILED, "the key can't be taken in: %s",
                        item->bad);
    }

    rc = cli_batch_once(batch);

    if (rc != CLI_OK) {
        return rc;
    }

    if (item->verdict != CLI_ITEM_CREATED) {
        return cli_fail(CLI_FAILED, "%s", item->bad);
    }

    /* for gateways that have heard of it, and keep that it is unknown */
    memset(&change, 0, sizeof(change));
    change.cli = cli;
    (void) cli_change_add(&change, "HSET", item->key);
    cli_change_announce(&change);

    return import_print(cli, item);
}


/* all that is looked at before stdin is */
static int
import_prepare(cli_t *cli, cli_new_t *new)
{
    int  rc;

    /* a word may be the key, and is not repeated */
    if (cli->options.nwords != 0) {
        return cli_fail(CLI_USAGE, "the key is read from stdin, and from no "
                        "command line, where others can see it");
    }

    rc = cli_credential_options(cli, new, "never");

    if (rc == CLI_OK) {
        rc = cli_value_required(cli, "name", "what is it called, so that "
                                "people know it again?");
    }

    if (rc == CLI_OK) {
        rc = cli_store_open(cli);
    }

    if (rc == CLI_OK) {
        rc = cli_store_hasher(cli);
    }

    return (rc == CLI_OK) ? cli_account_read(cli, new->account, &new->owner)
                          : rc;
}


int
cli_key_import(cli_t *cli)
{
    int            rc;
    cli_new_t      new;
    const char    *bad;
    cli_entry_t   *entry;
    cli_batch_t   *batch;
    cli_import_t   import;

    memset(&new, 0, sizeof(new));
    memset(&import, 0, sizeof(import));
    new.kind = &cli_kind_key;
    import.single = 1;
    cli_entry_init();

    rc = import_prepare(cli, &new);
    entry = cli_alloc(sizeof(cli_entry_t));

    if (rc == CLI_OK) {
        rc = stdin_read(&entry->secret);
    }

    if (rc == CLI_OK) {
        entry_make(cli, &new, entry);

        if (cli_entry_secret(cli, entry, &bad) != CLI_OK) {
            rc = cli_fail(CLI_FAILED, "the key can't be taken in: %s", bad);
        }
    }

    if (rc != CLI_OK) {
        json_decref(entry->secret);
        return rc;
    }

    batch = cli_alloc(sizeof(cli_batch_t));
    cli_batch_init(batch, cli, &import);
    rc = cli_batch_add_entry(batch, entry);

    if (rc == CLI_OK) {
        rc = import_write(cli, batch);
    }

    cli_batch_empty(batch);

    return rc;
}
