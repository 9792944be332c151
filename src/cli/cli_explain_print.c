/*
 * The explanation, for people and for programs.
 */

#include "cli_explain.h"
#include "cli_memory.h"
#include "cli_output.h"
#include "cli_text.h"
#include "cli_time.h"

#include "oa_text.h"

#include <string.h>


/* in the words of $opsauth_verdict, and what it does not know */
static const char *
verdict_word(const cli_explain_t *x)
{
    if (x->site.redirect) {
        return "redirect";
    }

    if (x->place.store == NULL) {
        return "unguarded";
    }

    return (x->reason == OA_REASON_OK) ? "allow"
           : x->place.shadow ? "shadow-deny" : "deny";
}


/* what nginx answers by itself; 0: the request goes on */
static unsigned
verdict_status(const cli_explain_t *x)
{
    if (x->site.redirect) {
        return 301;
    }

    return (x->place.store == NULL || x->place.shadow)
           ? 0 : oa_reason_info(x->reason)->status;
}


static const char *
verdict_text(const cli_explain_t *x)
{
    const char              *name;
    const oa_reason_info_t  *info;

    if (x->site.redirect) {
        return cli_format("redirect: nginx answers 301 to %s/ before any check",
                          cli_text_safe(x->target.uri));
    }

    if (x->place.service != NULL) {
        return "not guarded: the token service answers here, and asks for a "
               "login of its own";
    }

    if (x->place.store == NULL) {
        return (x->place.guard == NULL)
               ? "not guarded: opsauth is not set here; the request goes on"
               : "not guarded: opsauth is off here; the request goes on";
    }

    info = oa_reason_info(x->reason);
    name = (const char *) info->name.data;

    if (x->reason == OA_REASON_OK) {
        return x->place.shadow ? "allowed (shadow)"
               : x->admin ? "allowed, as an administrator" : "allowed";
    }

    return x->place.shadow
           ? cli_format("would be denied: %.*s; shadow: the request goes on",
                        (int) info->name.len, name)
           : cli_format("denied: %.*s, HTTP %u", (int) info->name.len, name,
                        info->status);
}


static const char *
line_text(const cli_directive_t *d, const char *otherwise)
{
    return (d == NULL) ? otherwise
           : cli_format("%s: %s", d->where, cli_directive_text(d));
}


static const char *
who_text(const cli_explain_t *x)
{
    return (x->credential.id.len != 0)
           ? cli_format("%s of account %s%s%s%s%s",
                        cli_text_safe(x->credential.id),
                        cli_text_safe(x->credential.account),
                        x->credential.client.len ? ", given to client " : "",
                        cli_text_safe(x->credential.client),
                        x->credential.subject.len ? ", acting for " : "",
                        cli_text_safe(x->credential.subject))
           : (x->id != NULL) ? cli_text_safe(cli_str(x->id))
           : "read from stdin";
}


static const char *
server_text(const cli_explain_t *x)
{
    const cli_directive_t  *server, *name;

    server = x->server.server;
    name = x->server.name;

    return cli_format("%s: %s, of %s", server->where,
                      name ? cli_directive_text(name) : "the default server",
                      x->server.socket);
}


static void
head_print(const cli_explain_t *x)
{
    cli_table_t  table;

    cli_table_init(&table, NULL, 2);

    cli_table_addz(&table, "credential");
    cli_table_addz(&table, who_text(x));

    cli_table_addz(&table, "request");
    cli_table_addz(&table,
        cli_format("%s %s%s%s from %s%s%s", x->method,
                   cli_text_safe(x->target.uri),
                   x->target.host ? " of " : "",
                   x->target.host ? x->target.host : "", x->from,
                   (x->request.now == x->cli->now) ? "" : " at ",
                   (x->request.now == x->cli->now)
                   ? "" : cli_time_local(x->request.now)));

    cli_table_addz(&table, "server");
    cli_table_addz(&table, server_text(x));

    cli_table_addz(&table, "location");
    cli_table_addz(&table, line_text(x->site.location, "none"));

    if (x->site.except != NULL) {
        cli_table_addz(&table, "");
        cli_table_addz(&table, line_text(x->site.except, ""));
    }

    cli_table_addz(&table, "guard");
    cli_table_addz(&table, line_text(x->place.guard, "none"));

    cli_table_print(&table);
}


static void
people_print(const cli_explain_t *x)
{
    size_t                   i, n;
    cli_table_t              table;
    const cli_row_t         *row;
    const cli_directive_t  **unfollowed;

    static const char *const  head[] = {
        "CHECK", "OUTCOME", "FACT", "DECIDED BY"
    };

    head_print(x);

    if (x->n != 0) {
        cli_output_line(cli_str(""));
        cli_table_init(&table, head, sizeof(head) / sizeof(head[0]));

        for (i = 0; i < x->n; i++) {
            row = &x->rows[i];
            cli_table_addz(&table, row->check);
            cli_table_addz(&table, row->outcome);
            cli_table_addz(&table, row->fact);
            cli_table_addz(&table, line_text(row->by, row->otherwise
                                                      ? row->otherwise : ""));
        }

        cli_table_print(&table);
    }

    cli_output_line(cli_str(""));
    unfollowed = cli_explain_unfollowed(x, verdict_status(x), &n);

    for (i = 0; i < n; i++) {
        cli_output_line(cli_str(cli_format("not followed: %s",
                                           line_text(unfollowed[i], ""))));
    }

    cli_output_line(cli_str(verdict_text(x)));
}


static json_t *
json_text(const char *text)
{
    return (text == NULL || text[0] == '\0') ? json_null()
                                             : cli_json_str(cli_str(text));
}


static json_t *
json_line(const cli_directive_t *d)
{
    json_t  *object;

    if (d == NULL) {
        return json_null();
    }

    object = json_object();
    json_object_set_new(object, "file", cli_json_str(cli_str(d->file)));
    json_object_set_new(object, "line", json_integer(d->line));
    json_object_set_new(object, "text", json_text(cli_directive_text(d)));

    return object;
}


static json_t *
json_request(const cli_explain_t *x)
{
    json_t  *object;

    object = json_object();
    json_object_set_new(object, "method", json_text(x->method));
    json_object_set_new(object, "uri", cli_json_str(x->target.uri));
    json_object_set_new(object, "host", json_text(x->target.host));
    json_object_set_new(object, "from", json_text(x->from));
    json_object_set_new(object, "at",
                        json_string(cli_time_utc(x->request.now)));

    return object;
}


static json_t *
json_checks(const cli_explain_t *x)
{
    size_t            i;
    json_t           *list, *object;
    const cli_row_t  *row;

    list = json_array();

    for (i = 0; i < x->n; i++) {
        row = &x->rows[i];
        object = json_object();
        json_object_set_new(object, "check", json_text(row->check));
        json_object_set_new(object, "outcome", json_text(row->outcome));
        json_object_set_new(object, "fact", json_text(row->fact));
        json_object_set_new(object, "by", json_line(row->by));
        json_array_append_new(list, object);
    }

    return list;
}


static void
programs_print(const cli_explain_t *x)
{
    int                      guarded;
    size_t                   i, n;
    json_t                  *object, *list;
    unsigned                 status;
    const cli_directive_t  **unfollowed;

    guarded = (x->place.store != NULL && !x->site.redirect);
    status = verdict_status(x);
    object = json_object();
    list = json_array();

    json_object_set_new(object, "verdict", json_text(verdict_word(x)));
    json_object_set_new(object, "reason",
                        guarded ? cli_json_str(oa_reason_info(x->reason)->name)
                                : json_null());
    json_object_set_new(object, "status",
                        status ? json_integer(status) : json_null());
    json_object_set_new(object, "admin", json_boolean(x->admin));
    json_object_set_new(object, "shadow", json_boolean(x->place.shadow));
    json_object_set_new(object, "credential",
                        x->credential.id.len ? cli_json_str(x->credential.id)
                                             : json_text(x->id));
    json_object_set_new(object, "account",
                        x->credential.id.len
                        ? cli_json_str(x->credential.account) : json_null());
    json_object_set_new(object, "client",
                        x->credential.client.len
                        ? cli_json_str(x->credential.client) : json_null());
    json_object_set_new(object, "subject",
                        x->credential.subject.len
                        ? cli_json_str(x->credential.subject) : json_null());
    json_object_set_new(object, "request", json_request(x));
    json_object_set_new(object, "server", json_line(x->server.server));
    json_object_set_new(object, "location", json_line(x->site.location));
    json_object_set_new(object, "limit_except", json_line(x->site.except));
    json_object_set_new(object, "guard", json_line(x->place.guard));
    json_object_set_new(object, "store", json_text(x->place.store));
    json_object_set_new(object, "checks", json_checks(x));

    unfollowed = cli_explain_unfollowed(x, status, &n);

    for (i = 0; i < n; i++) {
        json_array_append_new(list, json_line(unfollowed[i]));
    }

    json_object_set_new(object, "not_followed", list);

    cli_json_print(object);
}


int
cli_explain_print(const cli_explain_t *x)
{
    if (x->cli->json) {
        programs_print(x);

    } else {
        people_print(x);
    }

    return (verdict_status(x) == 0) ? CLI_OK : CLI_FAILED;
}
