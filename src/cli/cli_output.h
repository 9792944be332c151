/*
 * What goes to stdout: tables and field lists for people, JSON for programs.
 * Tables show local times and make everything safe for a terminal; JSON has
 * ISO 8601 in UTC, and real lists, numbers and nulls. That stdout took it all
 * is known only after cli_output_flush(); main calls it once more at the end.
 */

#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stdint.h>

#include <jansson.h>

#include "oa_core.h"


typedef struct {
    const char *const  *head;           /* NULL: rows of name and value */
    size_t              columns;
    const char        **cells;
    size_t              n;
    size_t              room;
} cli_table_t;


/* at start and end of the run */
void cli_output_init(void);
void cli_output_wipe(void);

/* CLI_FAILED where stdout is closed, full or a pipe that nobody reads */
int cli_output_flush(void);

/* text as it is, and the end of the line */
void cli_output_line(oa_str_t text);

void cli_table_init(cli_table_t *table, const char *const *head,
    size_t columns);
/* an empty value shows as "-" */
void cli_table_add(cli_table_t *table, oa_str_t value);
void cli_table_addz(cli_table_t *table, const char *value);
void cli_table_print(const cli_table_t *table);

/* consumes the value */
void cli_json_print(json_t *value);
/* one of the two that were made side by side; consumes both */
void cli_list_print(int json, json_t *list, const cli_table_t *table);
/* of a string that holds a secret: wipes it and gives it back */
void cli_json_wipe(json_t *secret);
json_t *cli_json_str(oa_str_t text);    /* absent: null */
json_t *cli_json_words(oa_str_t set);
json_t *cli_json_time(oa_str_t seconds);        /* 0, absent: null */


#endif /* CLI_OUTPUT_H */
