/*
 * opsauth account list, show: what the records say.
 */

#include "cli_account.h"
#include "cli_memory.h"
#include "cli_output.h"
#include "cli_text.h"
#include "cli_time.h"
#include "cli_values.h"

#include "oa_text.h"


json_t *
cli_account_json(const cli_record_t *record, oa_str_t id)
{
    oa_str_t  v;
    json_t   *object;

    object = json_object();

#define text(field)                                                           \
    v = cli_record_get(record, field);                                        \
    json_object_set_new(object, field, cli_json_str(v))

    json_object_set_new(object, "id", cli_json_str(id));
    text("name");
    text("description");

    v = cli_record_get(record, "enabled");
    json_object_set_new(object, "enabled", json_boolean(oa_text_eq(v, "1")));

    text("tenant");
    text("affiliate");

    v = cli_record_get(record, "roles");
    json_object_set_new(object, "roles", cli_json_words(v));

    v = cli_record_get(record, "ips");
    json_object_set_new(object, "ips", cli_json_words(v));

    text("rate");

    v = cli_record_get(record, "refresh");
    json_object_set_new(object, "refresh", json_boolean(oa_text_eq(v, "1")));

    /* absent is no ceiling, which an empty list would be */

    v = cli_record_get(record, "scopes");
    json_object_set_new(object, "scopes",
                        (v.data == NULL) ? json_null() : cli_json_words(v));

    v = cli_record_get(record, "created");
    json_object_set_new(object, "created", cli_json_time(v));

    v = cli_record_get(record, "updated");
    json_object_set_new(object, "updated", cli_json_time(v));

#undef text

    return object;
}


static const char *
account_enabled(const cli_record_t *record)
{
    return oa_text_eq(cli_record_get(record, "enabled"), "1") ? "yes" : "no";
}


int
cli_account_list(cli_t *cli)
{
    int            rc;
    size_t         i, n;
    json_t        *list;
    oa_str_t      *ids;
    cli_table_t    table;
    cli_record_t  *records, *r;

    static const char *const  head[] = {
        "ID", "NAME", "ENABLED", "TENANT", "AFFILIATE", "ROLES", "IPS", "RATE"
    };

    rc = cli_store_open(cli);

    if (rc == CLI_OK) {
        rc = cli_store_scan(cli, "account:", &ids, &n);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    rc = cli_store_read_ids(cli, "account:", ids, n, &records);

    if (rc != CLI_OK) {
        return rc;
    }

    list = json_array();
    cli_table_init(&table, head, sizeof(head) / sizeof(head[0]));

    for (i = 0; i < n; i++) {
        r = &records[i];

        if (r->reply == NULL) {
            continue;
        }

        if (cli->json) {
            json_array_append_new(list, cli_account_json(r, ids[i]));
            continue;
        }

        cli_table_add(&table, ids[i]);
        cli_table_add(&table, cli_record_get(r, "name"));
        cli_table_addz(&table, account_enabled(r));
        cli_table_add(&table, cli_record_get(r, "tenant"));
        cli_table_add(&table, cli_record_get(r, "affiliate"));
        cli_table_add(&table, cli_record_get(r, "roles"));
        cli_table_add(&table, cli_record_get(r, "ips"));
        cli_table_add(&table, cli_record_get(r, "rate"));
    }

    cli_list_print(cli->json, list, &table);

    return CLI_OK;
}


int
cli_account_show(cli_t *cli)
{
    int            rc;
    size_t         i, clients;
    json_t        *object;
    oa_str_t       id, *ids;
    cli_table_t    table;
    cli_record_t   record, *r;

    static const char *const  fields[] = {
        "name", "description", "tenant", "affiliate", "roles", "ips", "rate"
    };

    id = cli_str(cli->options.words[0]);
    rc = cli_value_id(oa_credential_field_check, "an account", "account",
                      cli->options.words[0]);

    if (rc == CLI_OK) {
        rc = cli_store_open(cli);
    }

    if (rc == CLI_OK) {
        rc = cli_account_read(cli, id, &record);
    }

    if (rc == CLI_OK) {
        rc = cli_store_members(cli, cli_store_key(cli, "clients:", id), &ids,
                               &clients);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    r = &record;

    if (cli->json) {
        object = cli_account_json(r, id);
        json_object_set_new(object, "clients",
                            json_integer((json_int_t) clients));
        cli_json_print(object);
        return CLI_OK;
    }

    cli_table_init(&table, NULL, 2);
    cli_table_addz(&table, "id");
    cli_table_add(&table, id);
    cli_table_addz(&table, "enabled");
    cli_table_addz(&table, account_enabled(r));

    for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        cli_table_addz(&table, fields[i]);
        cli_table_add(&table, cli_record_get(r, fields[i]));
    }

    if (cli_record_get(r, "scopes").data != NULL) {
        cli_table_addz(&table, "scopes");
        cli_table_add(&table, cli_record_get(r, "scopes"));
    }

    cli_table_addz(&table, "clients");
    cli_table_addz(&table, cli_format("%zu", clients));
    cli_table_addz(&table, "refresh");
    cli_table_addz(&table, oa_text_eq(cli_record_get(r, "refresh"), "1")
                           ? "yes" : "no");
    cli_table_addz(&table, "created");
    cli_table_addz(&table, cli_time_field(cli_record_get(r, "created"), "-"));
    cli_table_addz(&table, "updated");
    cli_table_addz(&table, cli_time_field(cli_record_get(r, "updated"), "-"));
    cli_table_print(&table);

    return CLI_OK;
}
