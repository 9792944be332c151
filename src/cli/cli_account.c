/*
 * opsauth account ...: the principals that keys and tokens belong to.
 */

#include "cli_account.h"
#include "cli_memory.h"
#include "cli_nouns.h"
#include "cli_output.h"
#include "cli_store.h"
#include "cli_text.h"
#include "cli_values.h"
#include "cli_wait.h"

#include "oa_text.h"

#include <string.h>


/* fields that options set; lists come from options that may be repeated */
typedef struct {
    const char  *option;
    const char  *field;
    unsigned     list:1;
    unsigned     rare:1;                /* absent where it is empty */
} account_field_t;


static const account_field_t  account_fields[] = {
    { "name", "name", 0, 0 },
    { "description", "description", 0, 0 },
    { "tenant", "tenant", 0, 0 },
    { "affiliate", "affiliate", 0, 0 },
    { "role", "roles", 1, 0 },
    { "ip", "ips", 1, 0 },
    { "rate", "rate", 0, 0 },
    { "scope", "scopes", 1, 1 }         /* empty, it would admit nothing */
};

#define ACCOUNT_FIELDS  (sizeof(account_fields) / sizeof(account_fields[0]))


typedef struct {
    oa_str_t      id;
    oa_str_t      values[ACCOUNT_FIELDS];       /* data NULL: not given */
    const char   *refresh;                      /* NULL: not given */
    const char   *enabled;                      /* the same */
    int           changed;
    cli_record_t  record;                       /* as it is at the end */
} account_t;


static int account_create(cli_t *cli);
static int account_set(cli_t *cli);
static int account_enable(cli_t *cli);
static int account_disable(cli_t *cli);


#define ACCOUNT_OPTIONS                                                       \
    { "name", 0, 0, "TEXT", "what people call it" },                          \
    { "description", 0, 0, "TEXT", "what it is for" },                        \
    { "tenant", 0, 0, "ID", "the organisation; the backend gets it" },        \
    { "affiliate", 0, 0, "ID", "the affiliate that filters answers" },        \
    { "role", 0, CLI_MANY, "ROLE", "a group of endpoints; may be repeated" }, \
    { "ip", 0, CLI_MANY, "CIDR",                                              \
      "admit this address or network and no other;\nmay be repeated; "        \
      "none: any address" },                                                  \
    { "rate", 0, 0, "RATE", "at most so many requests: 300/m" },              \
    { "scope", 0, CLI_MANY, "SCOPE",                                          \
      "tokens issued for it get this scope and no other;\nmay be repeated; "  \
      "none: what their client may" },                                        \
    { "refresh", 0, 0, NULL, "tokens of a few seconds, with a refresh token" }


static const cli_option_t  create_options[] = {
    ACCOUNT_OPTIONS,
    { "disabled", 0, 0, NULL, "create it switched off" },
    { NULL, 0, 0, NULL, NULL }
};

static const cli_option_t  set_options[] = {
    ACCOUNT_OPTIONS,
    { "no-refresh", 0, 0, NULL, "take --refresh back" },
    { NULL, 0, 0, NULL, NULL }
};


static const cli_option_t  disable_options[] = {
    CLI_WAIT_OPTIONS,
    { NULL, 0, 0, NULL, NULL }
};


static const cli_verb_t  account_verbs[] = {
    { "create", "ID", 1, 1, "create an account", create_options,
      "ID is chosen by you: letters, digits and . _ : @ -. An account of this "
      "id must\nnot exist.\n"
      "\n"
      "  opsauth account create crm --name \"CRM\" --tenant org_42 \\\n"
      "      --role customer --role plans-and-rates --ip 203.0.113.0/24 "
      "--rate 300/m\n",
      account_create },

    { "list", "", 0, 0, "list all accounts", NULL,
      "  opsauth account list\n"
      "  opsauth account list --json | jq -r '.[] | select(.enabled).id'\n",
      cli_account_list },

    { "show", "ID", 1, 1, "show one account", NULL,
      "  opsauth account show crm\n",
      cli_account_show },

    { "set", "ID", 1, 1, "change an account", set_options,
      "Only what is given is changed. Options that may be repeated replace the "
      "whole\nlist; an empty value clears it.\n"
      "\n"
      "  opsauth account set crm --rate 600/m --ip 203.0.113.0/24 --ip "
      "2001:db8::/32\n"
      "  opsauth account set crm --affiliate \"\"\n",
      account_set },

    { "enable", "ID", 1, 1, "switch an account on", NULL,
      "  opsauth account enable crm\n",
      account_enable },

    { "disable", "ID", 1, 1, "switch an account off: all its keys and tokens",
      disable_options,
      "Nothing is deleted; enable brings all of them back.\n"
      "\n"
      CLI_WAIT_TEXT
      "\n"
      "  opsauth account disable crm\n",
      account_disable },

    { "delete", "ID", 1, 1, "delete an account, and end its keys and tokens",
      cli_account_delete_options, cli_account_delete_text,
      cli_account_delete },

    { NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }
};


const cli_noun_t  cli_account_noun = {
    "account", "who may use the API: tenant, roles, addresses, rate",
    account_verbs, NULL
};


int
cli_account_read(cli_t *cli, oa_str_t id, cli_record_t *record)
{
    int  rc;

    rc = cli_store_read(cli, cli_store_key(cli, "account:", id), record);

    if (rc == CLI_NOT_FOUND) {
        return cli_fail(rc, "there is no account %s; \"opsauth account list\" "
                        "shows all, \"opsauth account create %s\" creates it",
                        cli_quote(id), cli_text_safe(id));
    }

    return rc;
}


/* scopes are no field that the gateway packs; their form is a credential's */
static oa_rc_t
field_check(const char *field, oa_str_t value, const char **error)
{
    return (strcmp(field, "scopes") == 0 ? oa_credential_field_check
            : oa_account_field_check)(field, value, error);
}


/* options -> account->values */
static int
account_options(cli_t *cli, account_t *account)
{
    int                     rc;
    size_t                  i;
    const account_field_t  *f;

    account->id = cli_str(cli->options.words[0]);

    /* the form of an account's id is that of a credential's account */
    rc = cli_value_id(oa_credential_field_check, "an account", "account",
                      cli->options.words[0]);

    for (i = 0; i < ACCOUNT_FIELDS && rc == CLI_OK; i++) {
        f = &account_fields[i];
        rc = (f->list ? cli_value_list : cli_value)
             (cli, field_check, f->option, f->field,
              &account->values[i]);
    }

    if (rc == CLI_OK && cli_option(&cli->options, "refresh")) {
        account->refresh = "1";
    }

    return rc;
}


/* what was done, as the record is now */
static int
account_print(cli_t *cli, account_t *account, const char *what)
{
    int  rc;

    if (!cli->json) {
        cli_output_line(cli_str(cli_format("account %s %s",
                                           cli_text_safe(account->id), what)));
        return CLI_OK;
    }

    rc = cli_account_read(cli, account->id, &account->record);

    if (rc == CLI_OK) {
        cli_json_print(cli_account_json(&account->record, account->id));
    }

    return rc;
}


static void
change_field(cli_command_t *hset, const char *field, oa_str_t value)
{
    cli_command_addz(hset, field);
    cli_command_add(hset, value);
}


/* which fields a change is about, for the audit: names only */
static const char *
account_detail(const account_t *account)
{
    size_t       i;
    const char  *detail;

    detail = "";

    for (i = 0; i < ACCOUNT_FIELDS; i++) {
        if (account->values[i].data != NULL) {
            detail = cli_format("%s%s%s=%s", detail, detail[0] ? ", " : "",
                                account_fields[i].field,
                                cli_text_safe(account->values[i]));
        }
    }

    if (account->refresh != NULL) {
        detail = cli_format("%s%srefresh=%s", detail, detail[0] ? ", " : "",
                            account->refresh);
    }

    if (account->enabled != NULL) {
        detail = cli_format("%s%senabled=%s", detail, detail[0] ? ", " : "",
                            account->enabled);
    }

    return detail;
}


static int
create_attempt(cli_t *cli, void *data)
{
    int             rc;
    size_t          i;
    oa_str_t        key, now;
    account_t      *account;
    cli_change_t    change;
    cli_command_t  *hset;

    account = data;
    key = cli_store_key(cli, "account:", account->id);
    rc = cli_store_watch(cli, key);

    if (rc != CLI_OK) {
        return rc;
    }

    rc = cli_store_read(cli, key, &account->record);

    if (rc == CLI_OK) {
        return cli_fail(CLI_FAILED, "the account %s exists already; "
                        "\"opsauth account set %s\" changes it",
                        cli_quote(account->id), cli_text_safe(account->id));
    }

    if (rc != CLI_NOT_FOUND) {
        return rc;
    }

    now = cli_str(cli_format("%lld", (long long) cli->now));

    cli_change_init(&change, cli);
    hset = cli_change_add(&change, "HSET", key);

    for (i = 0; i < ACCOUNT_FIELDS; i++) {
        if (account->values[i].len != 0 || !account_fields[i].rare) {
            change_field(hset, account_fields[i].field, account->values[i]);
        }
    }

    change_field(hset, "enabled", cli_str(account->enabled));
    change_field(hset, "refresh",
                 cli_str(account->refresh ? account->refresh : "0"));
    change_field(hset, "created", now);
    change_field(hset, "updated", now);

    cli_change_audit(&change, "account.create", account->id,
                     account_detail(account));

    return cli_change_commit(&change);
}


static int
account_create(cli_t *cli)
{
    int          rc;
    size_t       i, n;
    account_t    account;
    const char **ips;

    memset(&account, 0, sizeof(account));
    account.enabled = cli_option(&cli->options, "disabled") ? "0" : "1";

    rc = account_options(cli, &account);

    if (rc != CLI_OK) {
        return rc;
    }

    /* a variable that was not set must not open the account to everybody */

    ips = cli_option_values(&cli->options, "ip", &n);

    for (i = 0; i < n; i++) {
        if (ips[i][strspn(ips[i], " ")] == '\0') {
            return cli_fail(CLI_USAGE, "--ip is empty: leave it out to admit "
                            "every address");
        }
    }

    rc = cli_store_open(cli);

    if (rc == CLI_OK) {
        rc = cli_store_retry(cli, create_attempt, &account);
    }

    if (rc == CLI_OK) {
        rc = account_print(cli, &account, "created");
    }

    return rc;
}


/* 1: there is such a field, and it goes */
static int
field_drop(const account_t *account, cli_change_t *change, oa_str_t key,
    const char *field)
{
    if (cli_record_get(&account->record, field).data == NULL) {
        return 0;
    }

    cli_command_addz(cli_change_add(change, "HDEL", key), field);

    return 1;
}


/* writes what differs; account->changed tells whether anything did */
static int
set_attempt(cli_t *cli, void *data)
{
    int             rc;
    size_t          i;
    oa_str_t        key, old;
    account_t      *account;
    cli_change_t    change;
    cli_command_t  *hset;

    account = data;
    account->changed = 0;
    key = cli_store_key(cli, "account:", account->id);

    rc = cli_store_watch(cli, key);

    if (rc == CLI_OK) {
        rc = cli_account_read(cli, account->id, &account->record);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    cli_change_init(&change, cli);
    hset = cli_change_add(&change, "HSET", key);

#define set(field, value)                                                     \
    old = cli_record_get(&account->record, field);                            \
    if (old.data == NULL || old.len != (value).len                            \
        || memcmp(old.data, (value).data, old.len) != 0)                      \
    {                                                                         \
        change_field(hset, field, value);                                     \
        account->changed = 1;                                                 \
    }

    for (i = 0; i < ACCOUNT_FIELDS; i++) {
        if (account->values[i].data == NULL) {
            continue;
        }

        if (account->values[i].len == 0 && account_fields[i].rare) {
            account->changed |= field_drop(account, &change, key,
                                           account_fields[i].field);
            continue;
        }

        set(account_fields[i].field, account->values[i]);
    }

    if (account->enabled != NULL) {
        set("enabled", cli_str(account->enabled));
    }

    if (account->refresh != NULL) {
        set("refresh", cli_str(account->refresh));
    }

#undef set

    if (!account->changed) {
        return CLI_OK;
    }

    change_field(hset, "updated",
                 cli_str(cli_format("%lld", (long long) cli->now)));

    cli_change_audit(&change, "account.set", account->id,
                     account_detail(account));

    return cli_change_commit(&change);
}


static int
account_change(cli_t *cli, account_t *account, const char *what,
    const char *same)
{
    int  rc;

    rc = cli_store_open(cli);

    if (rc == CLI_OK) {
        rc = cli_store_retry(cli, set_attempt, account);
    }

    if (rc == CLI_OK) {
        rc = account_print(cli, account, account->changed ? what : same);
    }

    return rc;
}


static int
account_set(cli_t *cli)
{
    int        rc;
    account_t  account;

    memset(&account, 0, sizeof(account));
    rc = account_options(cli, &account);

    if (rc != CLI_OK) {
        return rc;
    }

    if (cli_option(&cli->options, "no-refresh")) {
        if (account.refresh != NULL) {
            return cli_fail(CLI_USAGE, "--refresh and --no-refresh exclude "
                            "each other");
        }

        account.refresh = "0";
    }

    if (account_detail(&account)[0] == '\0') {
        return cli_fail(CLI_USAGE, "nothing to change; give at least one of "
                        "the options that \"opsauth account set --help\" "
                        "lists");
    }

    return account_change(cli, &account, "changed", "is so already");
}


static int
account_switch(cli_t *cli, const char *enabled, const char *what,
    const char *same)
{
    int        rc;
    account_t  account;

    memset(&account, 0, sizeof(account));
    rc = account_options(cli, &account);

    if (rc != CLI_OK) {
        return rc;
    }

    account.enabled = enabled;

    return account_change(cli, &account, what, same);
}


static int
account_enable(cli_t *cli)
{
    return account_switch(cli, "1", "enabled", "is enabled already");
}


static int
account_disable(cli_t *cli)
{
    int  rc;

    rc = cli_wait_check(cli);

    if (rc == CLI_OK) {
        rc = account_switch(cli, "0", "disabled", "is disabled already");
    }

    return (rc == CLI_OK) ? cli_wait(cli) : rc;
}
