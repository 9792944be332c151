/*
 * See cli_output.h. stdout's buffer is ours, so that a key that went through
 * it can be wiped.
 */

#include "cli.h"
#include "cli_memory.h"
#include "cli_output.h"
#include "cli_text.h"
#include "cli_time.h"

#include "oa_set.h"
#include "oa_text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>


static char  buffer[BUFSIZ];
static int   failed;                    /* said already */


void
cli_output_init(void)
{
    int  fd;

    /*
     * A descriptor that is closed now would become the one of the next file
     * or connection, and a new key would be written there.
     */

    for (fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF) {
            (void) open("/dev/null", (fd == 0) ? O_WRONLY : O_RDONLY);
        }
    }

    (void) setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
}


void
cli_output_wipe(void)
{
    OPENSSL_cleanse(buffer, sizeof(buffer));
}


int
cli_output_flush(void)
{
    if (failed) {
        return CLI_FAILED;
    }

    errno = 0;

    if (fflush(stdout) == 0 && !ferror(stdout)) {
        return CLI_OK;
    }

    failed = 1;

    return cli_fail(CLI_FAILED, "can't write to stdout: %s",
                    strerror(errno ? errno : EIO));
}


void
cli_output_line(oa_str_t text)
{
    (void) fwrite(text.data, 1, text.len, stdout);
    (void) fputc('\n', stdout);
}


void
cli_table_init(cli_table_t *table, const char *const *head, size_t columns)
{
    memset(table, 0, sizeof(*table));
    table->head = head;
    table->columns = columns;
}


void
cli_table_add(cli_table_t *table, oa_str_t value)
{
    size_t  room;

    if (table->n == table->room) {
        room = table->room * 2 + 64;
        table->cells = cli_grow(table->cells, table->n * sizeof(char *),
                                room * sizeof(char *));
        table->room = room;
    }

    table->cells[table->n++] = (value.len == 0) ? "-" : cli_text_safe(value);
}


void
cli_table_addz(cli_table_t *table, const char *value)
{
    cli_table_add(table, cli_str(value));
}


static void
row_print(const char *const *cells, const size_t *widths, size_t columns)
{
    size_t  i, pad;

    for (i = 0; i < columns; i++) {
        (void) fputs(cells[i], stdout);

        if (i + 1 == columns) {
            break;
        }

        pad = widths[i] - cli_text_width(cells[i]) + 2;
        (void) fprintf(stdout, "%*s", (int) pad, "");
    }

    (void) fputc('\n', stdout);
}


void
cli_table_print(const cli_table_t *table)
{
    size_t  i, w, *widths;

    widths = cli_alloc(table->columns * sizeof(size_t));

    for (i = 0; table->head != NULL && i < table->columns; i++) {
        widths[i] = cli_text_width(table->head[i]);
    }

    for (i = 0; i < table->n; i++) {
        w = cli_text_width(table->cells[i]);

        if (w > widths[i % table->columns]) {
            widths[i % table->columns] = w;
        }
    }

    if (table->head != NULL) {
        row_print(table->head, widths, table->columns);
    }

    for (i = 0; i + table->columns <= table->n; i += table->columns) {
        row_print(table->cells + i, widths, table->columns);
    }
}


void
cli_json_print(json_t *value)
{
    /* a failure to write leaves its mark in stdout, which is looked at */
    (void) json_dumpf(value, stdout, JSON_INDENT(2));
    (void) fputc('\n', stdout);
    json_decref(value);
}


void
cli_list_print(int json, json_t *list, const cli_table_t *table)
{
    if (json) {
        cli_json_print(list);
        return;
    }

    json_decref(list);
    cli_table_print(table);
}


void
cli_json_wipe(json_t *secret)
{
    OPENSSL_cleanse((void *) json_string_value(secret),
                    json_string_length(secret));
    json_decref(secret);
}


json_t *
cli_json_str(oa_str_t text)
{
    json_t  *value;

    if (text.data == NULL) {
        return json_null();
    }

    value = json_stringn((const char *) text.data, text.len);

    if (value == NULL) {
        /* no UTF-8: a program still gets the rest of the record */
        value = json_string(cli_text_safe(text));
    }

    return value;
}


json_t *
cli_json_words(oa_str_t set)
{
    size_t     pos;
    json_t    *list;
    oa_str_t   word;

    list = json_array();
    pos = 0;

    while (oa_set_next(set, &pos, &word)) {
        json_array_append_new(list, cli_json_str(word));
    }

    return list;
}


json_t *
cli_json_time(oa_str_t seconds)
{
    int64_t  t;

    if (oa_text_number(seconds, INT64_MAX, &t) != OA_OK || t == 0) {
        return json_null();
    }

    return json_string(cli_time_utc(t));
}
