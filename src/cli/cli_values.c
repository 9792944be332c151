/*
 * See cli_values.h.
 */

#include "cli_values.h"
#include "cli_text.h"

#include "oa_record.h"
#include "oa_set.h"

#include <string.h>

#include "cli_memory.h"


static int
value_check(cli_check_t check, const char *option, const char *field,
    oa_str_t value)
{
    const char  *error;

    if (!cli_text_valid(value)) {
        return cli_fail(CLI_USAGE, "--%s %s: expected UTF-8 without control "
                        "characters", option, cli_quote(value));
    }

    if (check(field, value, &error) != OA_OK) {
        return cli_fail(CLI_USAGE, "--%s %s: %s", option, cli_quote(value),
                        error);
    }

    return CLI_OK;
}


int
cli_value(cli_t *cli, cli_check_t check, const char *option, const char *field,
    oa_str_t *value)
{
    *value = cli_str(cli_option(&cli->options, option));

    return (value->data == NULL) ? CLI_OK
                                 : value_check(check, option, field, *value);
}


int
cli_value_list(cli_t *cli, cli_check_t check, const char *option,
    const char *field, oa_str_t *value)
{
    int             rc;
    size_t          i, n, len;
    oa_str_t        joined;
    const char    **values, *blanks;
    unsigned char  *set;

    values = cli_option_values(&cli->options, option, &n);
    memset(value, 0, sizeof(*value));

    if (n == 0) {
        return CLI_OK;
    }

    /* one by one first: the message is about the one that is wrong */

    for (i = 0; i < n; i++) {
        rc = value_check(check, option, field, cli_str(values[i]));

        if (rc != CLI_OK) {
            return rc;
        }
    }

    blanks = (strcmp(field, "ips") == 0) ? " ," : " ";
    joined = cli_str(cli_text_join(values, n, blanks));
    rc = value_check(check, option, field, joined);

    if (rc != CLI_OK || strcmp(field, "ips") == 0) {
        *value = joined;
        return rc;
    }

    set = cli_alloc(joined.len + 1);

    if (oa_set_pack(joined, set, joined.len, &len) != OA_OK) {
        return cli_fail(CLI_FAILED, "--%s can't be read", option);
    }

    value->data = set;
    value->len = len;

    return CLI_OK;
}


int
cli_value_required(cli_t *cli, const char *option, const char *why)
{
    const char  *value;

    value = cli_option(&cli->options, option);

    if (value == NULL || value[0] == '\0') {
        return cli_fail(CLI_USAGE, "--%s is %s: %s", option,
                        (value == NULL) ? "missing" : "empty", why);
    }

    return CLI_OK;
}


int
cli_value_id(cli_check_t check, const char *what, const char *field,
    const char *word)
{
    const char  *error;

    if (check(field, cli_str(word), &error) != OA_OK) {
        return cli_fail(CLI_USAGE, "%s is no id of %s: %s", cli_quotez(word),
                        what, error);
    }

    return CLI_OK;
}
