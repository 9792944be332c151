/*
 * See cli_audit.h.
 */

#include "cli_audit.h"
#include "cli_memory.h"
#include "cli_output.h"
#include "cli_text.h"
#include "cli_time.h"

#include "oa_text.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


int
cli_audit_entry(const redisReply *reply, cli_audit_entry_t *entry)
{
    char        *rest;
    size_t       i, k;
    oa_str_t     name;
    redisReply  *fields;

    static const struct {
        const char  *name;
        size_t       offset;
    } places[] = {
        { "who", offsetof(cli_audit_entry_t, who) },
        { "action", offsetof(cli_audit_entry_t, action) },
        { "object", offsetof(cli_audit_entry_t, object) },
        { "detail", offsetof(cli_audit_entry_t, detail) },
        { "at", offsetof(cli_audit_entry_t, at) }
    };

    memset(entry, 0, sizeof(*entry));

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2
        || reply->element[0]->type != REDIS_REPLY_STRING)
    {
        return 0;
    }

    entry->name = cli_reply_str(reply->element[0]);
    entry->id.ms = strtoull(reply->element[0]->str, &rest, 10);

    if (*rest != '-') {
        return 0;
    }

    entry->id.seq = strtoull(rest + 1, &rest, 10);
    fields = reply->element[1];

    if (*rest != '\0' || fields->type != REDIS_REPLY_ARRAY) {
        return 0;
    }

    for (i = 0; i + 1 < fields->elements; i += 2) {
        name = cli_reply_str(fields->element[i]);

        for (k = 0; k < sizeof(places) / sizeof(places[0]); k++) {
            if (oa_text_eq(name, places[k].name)) {
                *(oa_str_t *) ((char *) entry + places[k].offset) =
                    cli_reply_str(fields->element[i + 1]);
            }
        }
    }

    return 1;
}


static int
matches(const char *pattern, oa_str_t text)
{
    return pattern == NULL
           || fnmatch(pattern, cli_copy(text.data, text.len), 0) == 0;
}


/* the account itself, or an object whose detail names it: "account=crm, ..." */
static int
of_account(const char *account, const cli_audit_entry_t *entry)
{
    size_t       n;
    const char  *p;

    if (account == NULL
        || (entry->action.len > 8
            && memcmp(entry->action.data, "account.", 8) == 0
            && oa_text_eq(entry->object, account)))
    {
        return 1;
    }

    n = strlen(account);
    p = cli_copy(entry->detail.data, entry->detail.len);

    while (p != NULL) {
        if (strncmp(p, "account=", 8) == 0 && strncmp(p + 8, account, n) == 0
            && (p[8 + n] == '\0' || p[8 + n] == ','))
        {
            return 1;
        }

        p = strstr(p, ", ");
        p = (p == NULL) ? NULL : p + 2;
    }

    return 0;
}


int
cli_audit_wanted(const cli_audit_t *audit, const cli_audit_entry_t *entry)
{
    return matches(audit->who, entry->who)
           && matches(audit->action, entry->action)
           && matches(audit->object, entry->object)
           && of_account(audit->account, entry);
}


/* what the entry says of its time, or else when Redis took it in */
static int64_t
entry_time(const cli_audit_entry_t *entry)
{
    int64_t  t;

    if (oa_text_number(entry->at, CLI_TIME_MAX, &t) == OA_OK) {
        return t;
    }

    return (int64_t) (entry->id.ms / 1000);
}


static json_t *
entry_json(const cli_audit_entry_t *entry)
{
    json_t  *object;

    object = json_object();

    json_object_set_new(object, "id", cli_json_str(entry->name));
    json_object_set_new(object, "at",
                        json_string(cli_time_utc(entry_time(entry))));
    json_object_set_new(object, "who", cli_json_str(entry->who));
    json_object_set_new(object, "action", cli_json_str(entry->action));
    json_object_set_new(object, "object", cli_json_str(entry->object));
    json_object_set_new(object, "detail", cli_json_str(entry->detail));

    return object;
}


static void
print_json(cli_audit_t *audit, const cli_audit_entry_t *entries, size_t n)
{
    size_t   i;
    json_t  *object;

    for (i = 0; i < n; i++) {
        if (!audit->follow) {
            (void) fputs(audit->some ? ",\n  " : "[\n  ", stdout);
        }

        object = entry_json(&entries[i]);
        (void) json_dumpf(object, stdout, 0);
        json_decref(object);

        if (audit->follow) {
            (void) fputc('\n', stdout);
        }

        audit->some = 1;
    }
}


static void
print_row(const cli_audit_t *audit, const char *const *cells)
{
    size_t  i;

    for (i = 0; i < CLI_AUDIT_COLUMNS; i++) {
        (void) fprintf(stdout, "%s%*s", cells[i],
                       (int) (audit->widths[i] - cli_text_width(cells[i]) + 2),
                       "");
    }

    (void) fprintf(stdout, "%s\n", cells[CLI_AUDIT_COLUMNS]);
}


/* columns only grow from page to page */
static void
print_table(cli_audit_t *audit, const cli_audit_entry_t *entries, size_t n)
{
    size_t        i, k, w;
    const char  **cells, **row;

    static const char *const  head[] = {
        "TIME", "WHO", "ACTION", "OBJECT", "DETAIL"
    };

    cells = cli_alloc((n + 1) * (CLI_AUDIT_COLUMNS + 1) * sizeof(char *));
    memcpy(cells, head, sizeof(head));

    for (i = 0; i < n; i++) {
        row = cells + (i + 1) * (CLI_AUDIT_COLUMNS + 1);
        row[0] = cli_time_local(entry_time(&entries[i]));
        row[1] = cli_text_safe(entries[i].who);
        row[2] = cli_text_safe(entries[i].action);
        row[3] = cli_text_safe(entries[i].object);
        row[4] = cli_text_safe(entries[i].detail);
    }

    for (i = 0; i < (n + 1) * (CLI_AUDIT_COLUMNS + 1); i++) {
        k = i % (CLI_AUDIT_COLUMNS + 1);

        if (cells[i][0] == '\0') {
            cells[i] = "-";
        }

        w = cli_text_width(cells[i]);

        if (k < CLI_AUDIT_COLUMNS && w > audit->widths[k]) {
            audit->widths[k] = w;
        }
    }

    for (i = audit->some ? 1 : 0; i <= n; i++) {
        print_row(audit, cells + i * (CLI_AUDIT_COLUMNS + 1));
    }

    audit->some = 1;
}


int
cli_audit_print(cli_audit_t *audit, const redisReply *page)
{
    size_t              i, n;
    cli_audit_entry_t  *entries;

    if (page == NULL) {
        print_table(audit, NULL, 0);
        return CLI_OK;
    }

    entries = cli_alloc((page->elements + 1) * sizeof(cli_audit_entry_t));

    for (i = 0, n = 0; i < page->elements; i++) {
        if (!cli_audit_entry(page->element[i], &entries[n])) {
            return cli_fail(CLI_FAILED, "Redis answered with something else "
                            "than entries of a stream");
        }

        audit->last = entries[n].id;

        if (cli_audit_wanted(audit, &entries[n])) {
            n++;
        }
    }

    if (n == 0) {
        return CLI_OK;
    }

    if (audit->cli->json) {
        print_json(audit, entries, n);

    } else {
        print_table(audit, entries, n);
    }

    return CLI_OK;
}
