/*
 * A record as one line of JSON (cli_entry.h). What has not the form that
 * cli_entry.c would give back byte for byte is printed as the text that it is.
 */

#include <jansson.h>

#include "cli_entry.h"
#include "cli_memory.h"
#include "cli_text.h"
#include "cli_time.h"

#include "oa_record.h"
#include "oa_text.h"

#include <string.h>


static json_t *
text_json(oa_str_t text)
{
    /* a zero byte has no place in JSON Lines either */
    return (memchr(text.data, '\0', text.len) != NULL)
           ? NULL : json_stringn((const char *) text.data, text.len);
}


static json_t *
list_json(oa_str_t text)
{
    size_t    i, start;
    json_t   *list;
    oa_str_t  word;

    list = json_array();

    for (i = start = 0; text.len != 0 && i <= text.len; i++) {

        if (i < text.len && text.data[i] != ' ') {
            if (text.data[i] == ',' || text.data[i] == '\t') {
                break;
            }

            continue;
        }

        word.data = text.data + start;
        word.len = i - start;
        start = i + 1;

        if (word.len == 0
            || json_array_append_new(list, text_json(word)) == -1)
        {
            break;
        }
    }

    if (text.len == 0 || i > text.len) {
        return list;
    }

    json_decref(list);

    return text_json(text);
}


static json_t *
time_json(const char *name, oa_str_t text)
{
    int64_t  t;

    if (oa_text_number(text, CLI_TIME_MAX, &t) != OA_OK
        || (text.len > 1 && text.data[0] == '0'))
    {
        return text_json(text);
    }

    if (t == 0) {
        return (strcmp(name, "expires") == 0) ? json_null() : json_integer(0);
    }

    return json_string(cli_time_utc(t));
}


static json_t *
value_json(const cli_form_t *form, oa_str_t text)
{
    switch (form->type) {

    case CLI_FORM_LIST:
        return list_json(text);

    case CLI_FORM_TIME:
        return time_json(form->name, text);

    case CLI_FORM_FLAG:
        if (oa_text_eq(text, "1") || oa_text_eq(text, "0")) {
            return json_boolean(oa_text_eq(text, "1"));
        }

        break;

    case CLI_FORM_TEXT:
        break;
    }

    return text_json(text);
}


static oa_str_t
record_get(const redisReply *record, const char *field)
{
    size_t    i;
    oa_str_t  none = oa_null;

    for (i = 0; i + 1 < record->elements; i += 2) {
        if (oa_text_eq(cli_reply_str(record->element[i]), field)) {
            return cli_reply_str(record->element[i + 1]);
        }
    }

    return none;
}


/* fields that have no member of their own; NULL: JSON can't carry them */
static json_t *
other_json(const cli_form_t *forms, int named, const redisReply *record)
{
    size_t             i;
    char              *name;
    json_t            *other;
    oa_str_t           field;
    const cli_form_t  *form;

    other = json_object();

    for (i = 0; i + 1 < record->elements; i += 2) {
        field = cli_reply_str(record->element[i]);

        for (form = forms; form->name != NULL; form++) {
            if (oa_text_eq(field, form->name)
                && !(named && strcmp(form->name, "id") == 0))
            {
                break;
            }
        }

        if (form->name != NULL) {
            continue;
        }

        name = cli_copy(field.data, field.len);

        /* the id of what is named by it is no field */
        if (field.len == 0 || strlen(name) != field.len
            || (named && strcmp(name, "id") == 0)
            || json_object_set_new(other, name,
                   text_json(cli_reply_str(record->element[i + 1]))) == -1)
        {
            json_decref(other);
            return NULL;
        }
    }

    return other;
}


static int
members_add(json_t *object, const cli_form_t *form, const redisReply *record)
{
    oa_str_t  value;

    for ( /* void */ ; form->name != NULL; form++) {
        value = record_get(record, form->name);

        if (value.data == NULL
            || (strcmp(form->name, "v") == 0
                && oa_text_eq(value,
                              cli_format("%d", OA_RECORD_VERSION))))
        {
            continue;
        }

        if (json_object_set_new(object, form->name, value_json(form, value))
            == -1)
        {
            return CLI_FAILED;
        }
    }

    return CLI_OK;
}


int
cli_entry_print(FILE *out, const cli_type_t *type, oa_str_t name,
    const redisReply *record)
{
    int                rc, named;
    json_t            *object, *other;
    const cli_form_t  *forms;

    object = json_object();
    rc = json_object_set_new(object, "type", json_string(type->name));
    forms = type->forms;
    named = (type != &cli_type_credential);

    if (named) {
        rc |= json_object_set_new(object, "id", text_json(name));
        forms++;
    }

    if (rc == 0) {
        rc = members_add(object, forms, record);
    }

    if (rc == 0 && !named) {
        rc = json_object_set_new(object, "digest", text_json(name));
    }

    other = other_json(type->forms, named, record);

    if (rc == 0 && other != NULL && json_object_size(other) != 0) {
        rc = json_object_set(object, "other", other);
    }

    if (rc == 0 && other != NULL) {
        (void) json_dumpf(object, out, JSON_COMPACT);
        (void) fputc('\n', out);
    }

    json_decref(object);
    rc = (rc == 0 && other != NULL) ? CLI_OK : CLI_FAILED;
    json_decref(other);

    return rc;
}
