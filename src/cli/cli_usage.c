/*
 * opsauth usage: which keys are used, how much, from where, and which ones
 * nobody uses any more. It goes over all keys a page at a time, so that a
 * million of them take no more memory than a few hundred.
 */

#include "cli_account.h"
#include "cli_credential.h"
#include "cli_memory.h"
#include "cli_nouns.h"
#include "cli_output.h"
#include "cli_text.h"
#include "cli_time.h"
#include "cli_values.h"

#include "oa_text.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>


#define DAY           86400
#define DAYS_DEFAULT  30
#define DAYS_MAX      400               /* as long as the gateway keeps them */
#define PAGE          "250"             /* names that one SCAN looks for */
#define COLUMNS       7
#define DATE          8                 /* yyyymmdd */


typedef struct {
    cli_t         *cli;
    int64_t        days;
    int64_t        since;               /* --unused-since; -1: not given */
    oa_str_t       account;             /* data NULL: all of them */
    char           first[DATE + 1];     /* day of the window */
    size_t         widths[COLUMNS];
    unsigned       some:1;              /* something was printed */
} usage_t;


typedef struct {
    int64_t        requests;
    int64_t        denied;
} counts_t;


static int usage_run(cli_t *cli);


static const cli_option_t  usage_options[] = {
    { "account", 0, 0, "ID", "only the keys of this account" },
    { "days", 0, 0, "N", "counts of the last N days, 1 to 400 (default 30)" },
    { "unused-since", 0, 0, "TIME",
      "only active keys that were not let through since then:\n"
      "90d ago, 2027-01-31" },
    { NULL, 0, 0, NULL, NULL }
};

static const cli_verb_t  usage_alone = {
    "", "[ID]", 0, 1, "last use and counts of keys", usage_options,
    "Needs \"usage on;\" in the gateway's opsauth_store. ID is a public id "
    "(key_... or\ntok_...): its days one by one. Without it all keys are "
    "listed. Days are those of\nUTC. REQUESTS are all that came with the key, "
    "DENIED those of them that were\nturned away; LAST USED and FROM tell of "
    "the last one that was let through.\n"
    "\n"
    "--unused-since leaves out keys that are revoked, expired or newer. Trust "
    "it only\nif usage was counted all that time.\n"
    "\n"
    "  opsauth usage --account crm --days 7\n"
    "  opsauth usage key_5Uq0YbJm2wNfRkZx\n"
    "  opsauth usage --unused-since 90d --json | jq -r '.[].id'\n",
    usage_run
};

const cli_noun_t  cli_usage_noun = {
    "usage", "which keys are used, how much, and which are not",
    NULL, &usage_alone
};


/* --- counts -------------------------------------------------------------- */

static int64_t
number(oa_str_t text)
{
    int64_t  n;

    return (oa_text_number(text, INT64_MAX, &n) == OA_OK) ? n : 0;
}


static void
date_write(int64_t seconds, char date[DATE + 1])
{
    struct tm  tm;
    time_t     t;

    t = (time_t) seconds;
    (void) gmtime_r(&t, &tm);
    (void) strftime(date, DATE + 1, "%Y%m%d", &tm);
}


/* "requests:20270131": its number and the day; 0: no such field */
static int
field_day(const redisReply *field, const char *name, oa_str_t *date)
{
    oa_str_t  s;
    size_t    len;

    s = cli_reply_str(field);
    len = strlen(name);

    if (s.len != len + 1 + DATE || memcmp(s.data, name, len) != 0
        || s.data[len] != ':')
    {
        return 0;
    }

    date->data = s.data + len + 1;
    date->len = DATE;

    return 1;
}


/* of the window, or of one day */
static counts_t
counts(const usage_t *u, const cli_record_t *usage, const char *day)
{
    int       is_denied;
    size_t    i;
    int64_t   n;
    counts_t  c;
    oa_str_t  date;

    memset(&c, 0, sizeof(c));

    for (i = 0; usage->reply != NULL && i + 1 < usage->reply->elements; i += 2)
    {
        is_denied = field_day(usage->reply->element[i], "denied", &date);

        if (!is_denied
            && !field_day(usage->reply->element[i], "requests", &date))
        {
            continue;
        }

        if (day != NULL ? memcmp(date.data, day, DATE) != 0
                        : memcmp(date.data, u->first, DATE) < 0)
        {
            continue;
        }

        n = number(cli_reply_str(usage->reply->element[i + 1]));
        c.requests += is_denied ? 0 : n;
        c.denied += is_denied ? n : 0;
    }

    return c;
}


static oa_str_t
usage_get(const cli_record_t *usage, const char *field)
{
    oa_str_t  none = oa_null;

    return (usage->reply != NULL) ? cli_record_get(usage, field) : none;
}


static const char *
last_text(const cli_record_t *usage)
{
    oa_str_t  last;

    last = usage_get(usage, "last_used");

    return (last.len == 0) ? "never" : cli_time_field(last, "never");
}


static json_t *
days_json(const usage_t *u, const cli_record_t *usage)
{
    char      date[DATE + 1];
    json_t   *list, *day;
    int64_t   i;
    counts_t  c;

    list = json_array();

    for (i = 0; i < u->days; i++) {
        date_write(u->cli->now - i * DAY, date);
        c = counts(u, usage, date);

        if (c.requests == 0 && c.denied == 0) {
            continue;
        }

        day = json_object();
        json_object_set_new(day, "day", cli_json_str(cli_str(
            cli_format("%.4s-%.2s-%.2s", date, date + 4, date + 6))));
        json_object_set_new(day, "requests", json_integer(c.requests));
        json_object_set_new(day, "denied", json_integer(c.denied));
        json_array_append_new(list, day);
    }

    return list;
}


static json_t *
usage_json(const usage_t *u, const cli_record_t *record,
    const cli_record_t *usage)
{
    json_t    *object;
    counts_t   c;

    static const char *const  fields[] = { "id", "name", "account" };

    size_t     i;

    c = counts(u, usage, NULL);
    object = json_object();

    for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        json_object_set_new(object, fields[i],
                            cli_json_str(cli_record_get(record, fields[i])));
    }

    json_object_set_new(object, "state",
        cli_json_str(cli_str(cli_credential_state(u->cli, record))));
    json_object_set_new(object, "created",
                        cli_json_time(cli_record_get(record, "created")));
    json_object_set_new(object, "last_used",
                        cli_json_time(usage_get(usage, "last_used")));
    json_object_set_new(object, "last_ip",
                        cli_json_str(usage_get(usage, "last_ip")));
    json_object_set_new(object, "requests", json_integer(c.requests));
    json_object_set_new(object, "denied", json_integer(c.denied));

    return object;
}


/* --- one credential ------------------------------------------------------ */

static void
one_print(const usage_t *u, const cli_record_t *record,
    const cli_record_t *usage)
{
    size_t       i;
    json_t      *days, *day;
    counts_t     c;
    cli_table_t  table;

    static const char *const  head[] = { "DAY", "REQUESTS", "DENIED" };

    c = counts(u, usage, NULL);

    cli_table_init(&table, NULL, 2);
    cli_table_addz(&table, "id");
    cli_table_add(&table, cli_record_get(record, "id"));
    cli_table_addz(&table, "name");
    cli_table_add(&table, cli_record_get(record, "name"));
    cli_table_addz(&table, "account");
    cli_table_add(&table, cli_record_get(record, "account"));
    cli_table_addz(&table, "state");
    cli_table_addz(&table, cli_credential_state(u->cli, record));
    cli_table_addz(&table, "last used");
    cli_table_addz(&table, last_text(usage));
    cli_table_addz(&table, "from");
    cli_table_add(&table, usage_get(usage, "last_ip"));
    cli_table_addz(&table, cli_format("requests, %lld days",
                                      (long long) u->days));
    cli_table_addz(&table, cli_format("%lld", (long long) c.requests));
    cli_table_addz(&table, "of these denied");
    cli_table_addz(&table, cli_format("%lld", (long long) c.denied));
    cli_table_print(&table);

    days = days_json(u, usage);

    if (json_array_size(days) != 0) {
        cli_output_line(cli_str(""));
        cli_table_init(&table, head, sizeof(head) / sizeof(head[0]));

        json_array_foreach(days, i, day) {
            cli_table_addz(&table,
                           json_string_value(json_object_get(day, "day")));
            cli_table_addz(&table, cli_format("%lld",
                (long long) json_integer_value(json_object_get(day,
                                                               "requests"))));
            cli_table_addz(&table, cli_format("%lld",
                (long long) json_integer_value(json_object_get(day,
                                                               "denied"))));
        }

        cli_table_print(&table);
    }

    json_decref(days);
}


static int
one_run(usage_t *u, const char *id)
{
    int               rc;
    json_t           *object;
    oa_str_t          key;
    cli_record_t      usage;
    cli_credential_t  credential;

    rc = cli_credential_find(u->cli,
                             (strncmp(id, "tok_", 4) == 0) ? &cli_kind_token
                                                           : &cli_kind_key,
                             id, &credential);
    if (rc != CLI_OK) {
        return rc;
    }

    key = cli_store_key(u->cli, "usage:", credential.id);
    rc = cli_store_read_many(u->cli, &key, 1, &usage);

    if (rc != CLI_OK) {
        return rc;
    }

    if (!u->cli->json) {
        one_print(u, &credential.record, &usage);
        return CLI_OK;
    }

    object = usage_json(u, &credential.record, &usage);
    json_object_set_new(object, "days", days_json(u, &usage));
    cli_json_print(object);

    return CLI_OK;
}


/* --- all of them --------------------------------------------------------- */

static int
is_wanted(const usage_t *u, const cli_record_t *record,
    const cli_record_t *usage)
{
    oa_str_t     owner;
    const char  *state;

    if (!oa_text_eq(cli_record_get(record, "kind"),
                    oa_kind_name(OA_KIND_API_KEY)))
    {
        return 0;
    }

    owner = cli_record_get(record, "account");

    if (u->account.data != NULL
        && (owner.len != u->account.len
            || memcmp(owner.data, u->account.data, owner.len) != 0))
    {
        return 0;
    }

    if (u->since == -1) {
        return 1;
    }

    state = cli_credential_state(u->cli, record);

    return (strcmp(state, oa_state_name(OA_STATE_ACTIVE)) == 0
            || strcmp(state, oa_state_name(OA_STATE_DEPRECATED)) == 0)
           && number(cli_record_get(record, "created")) < u->since
           && number(usage_get(usage, "last_used")) < u->since;
}


static void
row_print(const usage_t *u, const char *const *cells)
{
    size_t  i;

    for (i = 0; i + 1 < COLUMNS; i++) {
        (void) printf("%s%*s", cells[i],
                      (int) (u->widths[i] - cli_text_width(cells[i]) + 2), "");
    }

    (void) printf("%s\n", cells[COLUMNS - 1]);
}


/* columns only grow from page to page; records NULL: only the head */
static void
table_print(usage_t *u, const cli_record_t *records,
    const cli_record_t *usages, size_t n)
{
    size_t        i, w;
    counts_t      c;
    const char  **cells, **row;

    static const char *const  head[] = {
        "ID", "NAME", "ACCOUNT", "LAST USED", "FROM", "REQUESTS", "DENIED"
    };

    cells = cli_alloc((n + 1) * COLUMNS * sizeof(char *));
    memcpy(cells, head, sizeof(head));

    for (i = 0; i < n; i++) {
        row = cells + (i + 1) * COLUMNS;
        c = counts(u, &usages[i], NULL);
        row[0] = cli_text_safe(cli_record_get(&records[i], "id"));
        row[1] = cli_text_safe(cli_record_get(&records[i], "name"));
        row[2] = cli_text_safe(cli_record_get(&records[i], "account"));
        row[3] = last_text(&usages[i]);
        row[4] = cli_text_safe(usage_get(&usages[i], "last_ip"));
        row[5] = cli_format("%lld", (long long) c.requests);
        row[6] = cli_format("%lld", (long long) c.denied);
    }

    for (i = 0; i < (n + 1) * COLUMNS; i++) {

        if (cells[i][0] == '\0') {
            cells[i] = "-";
        }

        w = cli_text_width(cells[i]);
        u->widths[i % COLUMNS] = (w > u->widths[i % COLUMNS])
                                 ? w : u->widths[i % COLUMNS];
    }

    for (i = u->some ? 1 : 0; i <= n; i++) {
        row_print(u, cells + i * COLUMNS);
    }

    u->some = 1;
}


static void
json_page(usage_t *u, const cli_record_t *records, const cli_record_t *usages,
    size_t n)
{
    size_t   i;
    json_t  *object;

    for (i = 0; i < n; i++) {
        (void) fputs(u->some ? ",\n  " : "[\n  ", stdout);
        object = usage_json(u, &records[i], &usages[i]);
        (void) json_dumpf(object, stdout, 0);
        json_decref(object);
        u->some = 1;
    }
}


/* a page of ids: what is wanted of them is printed */
static int
page_run(usage_t *u, const oa_str_t *ids, size_t n)
{
    int            rc;
    size_t         i, k;
    oa_str_t      *keys;
    cli_record_t  *records, *usages;

    records = cli_alloc((n + 1) * sizeof(cli_record_t));
    usages = cli_alloc((n + 1) * sizeof(cli_record_t));
    keys = cli_alloc((n + 1) * sizeof(oa_str_t));

    rc = cli_credential_read_ids(u->cli, ids, n, records, &n);

    for (i = 0, k = 0; i < n && rc == CLI_OK; i++) {
        if (records[i].reply != NULL) {
            records[k] = records[i];
            keys[k++] = cli_store_key(u->cli, "usage:",
                                      cli_record_get(&records[i], "id"));
        }
    }

    if (rc == CLI_OK) {
        n = k;
        rc = cli_store_read_many(u->cli, keys, n, usages);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    for (i = 0, k = 0; i < n; i++) {
        if (is_wanted(u, &records[i], &usages[i])) {
            records[k] = records[i];
            usages[k++] = usages[i];
        }
    }

    if (k == 0) {
        return CLI_OK;
    }

    if (u->cli->json) {
        json_page(u, records, usages, k);

    } else {
        table_print(u, records, usages, k);
    }

    return cli_output_flush();
}


/* the next page of names; skip: bytes in front of each id */
static int
page_next(usage_t *u, oa_str_t set, char cursor[32], size_t skip,
    const char *pattern)
{
    int             rc;
    size_t          i, n;
    oa_str_t       *ids, s;
    redisReply     *reply, *found;
    cli_command_t  *command;

    command = cli_command(set.data ? "SSCAN" : "SCAN", set);
    cli_command_addz(command, cursor);
    cli_command_addz(command, "MATCH");
    cli_command_addz(command, pattern);
    cli_command_addz(command, "COUNT");
    cli_command_addz(command, PAGE);

    rc = cli_redis_call(&u->cli->redis, command, &reply);

    if (rc != CLI_OK) {
        return rc;
    }

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2
        || reply->element[0]->type != REDIS_REPLY_STRING
        || reply->element[0]->len >= 32)
    {
        return cli_fail(CLI_FAILED, "Redis answered %s with something else "
                        "than a cursor and a list",
                        set.data ? "SSCAN" : "SCAN");
    }

    memcpy(cursor, reply->element[0]->str, reply->element[0]->len + 1);

    found = reply->element[1];
    ids = cli_alloc((found->elements + 1) * sizeof(oa_str_t));

    for (i = 0, n = 0; i < found->elements; i++) {
        s = cli_reply_str(found->element[i]);

        /* there may be far more tokens than keys, and their ids tell */

        if (s.len <= skip
            || (s.len - skip > 4 && memcmp(s.data + skip, "tok_", 4) == 0))
        {
            continue;
        }

        ids[n].data = s.data + skip;
        ids[n++].len = s.len - skip;
    }

    return (n != 0) ? page_run(u, ids, n) : CLI_OK;
}


static int
all_run(usage_t *u)
{
    int            rc;
    char           cursor[32];
    size_t         skip, mark;
    oa_str_t       set, none = oa_null;
    const char    *pattern;
    cli_pool_t    *page, *former;
    cli_record_t   owner;

    rc = cli_store_open(u->cli);

    if (rc == CLI_OK && u->account.data != NULL) {
        rc = cli_account_read(u->cli, u->account, &owner);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    set = u->account.data ? cli_store_key(u->cli, "credentials:", u->account)
                          : none;
    skip = u->account.data ? 0 : cli_store_key(u->cli, "id:", none).len;
    pattern = u->account.data ? "*"
              : cli_store_pattern(cli_store_key(u->cli, "id:", none));

    strcpy(cursor, "0");
    page = cli_pool_create();
    mark = u->cli->redis.n;

    do {
        former = cli_pool_use(page);
        rc = page_next(u, set, cursor, skip, pattern);
        (void) cli_pool_use(former);
        cli_pool_empty(page);
        cli_redis_forget(&u->cli->redis, mark);

    } while (rc == CLI_OK && strcmp(cursor, "0") != 0);

    if (rc != CLI_OK) {
        return rc;
    }

    if (u->cli->json) {
        (void) fputs(u->some ? "\n]\n" : "[]\n", stdout);

    } else if (!u->some) {
        table_print(u, NULL, NULL, 0);
    }

    return CLI_OK;
}


static int
usage_run(cli_t *cli)
{
    int          rc;
    usage_t      u;
    const char  *days, *since;

    memset(&u, 0, sizeof(u));
    u.cli = cli;
    u.days = DAYS_DEFAULT;
    u.since = -1;

    days = cli_option(&cli->options, "days");
    since = cli_option(&cli->options, "unused-since");

    if (days != NULL
        && (oa_text_number(cli_str(days), DAYS_MAX, &u.days) != OA_OK
            || u.days == 0))
    {
        return cli_fail(CLI_USAGE, "--days %s: expected a number of days, 1 "
                        "to %d", cli_quotez(days), DAYS_MAX);
    }

    if (since != NULL && cli_time_past(since, cli->now, &u.since) != OA_OK) {
        return cli_fail(CLI_USAGE, "--unused-since %s: expected how long ago, "
                        "like 90d, or a time, like 2027-01-31",
                        cli_quotez(since));
    }

    /* all keys would be unused, and somebody may be about to remove them */

    if (u.since > cli->now) {
        return cli_fail(CLI_USAGE, "--unused-since %s: this time has not come "
                        "yet", cli_quotez(since));
    }

    if (cli->options.nwords != 0
        && (since != NULL || cli_option(&cli->options, "account") != NULL))
    {
        return cli_fail(CLI_USAGE, "ID is one credential: --account and "
                        "--unused-since choose among all");
    }

    rc = cli_value(cli, oa_credential_field_check, "account", "account",
                   &u.account);

    if (rc != CLI_OK) {
        return rc;
    }

    date_write(cli->now - (u.days - 1) * DAY, u.first);

    return (cli->options.nwords != 0) ? one_run(&u, cli->options.words[0])
                                      : all_run(&u);
}
