/*
 * From options to fields of a record. The forms are the core's own, so that
 * nothing is written that the gateway would refuse; what is refused here names
 * the option, the value and the form that was expected.
 */

#ifndef CLI_VALUES_H
#define CLI_VALUES_H

#include "cli.h"


/* oa_account_field_check or oa_credential_field_check */
typedef oa_rc_t (*cli_check_t)(const char *field, oa_str_t value,
    const char **error);


/* data NULL where the option was not given; both are CLI_USAGE where wrong */
int cli_value(cli_t *cli, cli_check_t check, const char *option,
    const char *field, oa_str_t *value);

/* of a repeated option: one list, single spaces in between */
int cli_value_list(cli_t *cli, cli_check_t check, const char *option,
    const char *field, oa_str_t *value);

/* a value that must be there and must not be empty */
int cli_value_required(cli_t *cli, const char *option, const char *why);

/* a word of the command line that must be an id */
int cli_value_id(cli_check_t check, const char *what, const char *field,
    const char *word);


#endif /* CLI_VALUES_H */
