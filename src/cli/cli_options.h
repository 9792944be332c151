/*
 * Options of the command line, by tables: "--name VALUE", "--name=VALUE",
 * "--switch", "-c VALUE"; "--" ends them, "-" is a word. Options of the whole
 * command may stand anywhere, those of a verb behind it.
 */

#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stddef.h>


#define CLI_MANY    1                   /* may be repeated */


typedef struct {
    const char              *name;      /* without the dashes */
    char                     letter;    /* "-c", or 0 */
    unsigned                 flags;
    const char              *value;     /* "URL" for the help; NULL: a switch */
    const char              *help;      /* \n begins another line */
} cli_option_t;


typedef struct {
    const cli_option_t      *option;
    const char              *value;     /* "" for a switch */
} cli_given_t;


typedef struct {
    cli_given_t             *given;     /* in the order of the command line */
    size_t                   n;
    const char             **words;
    size_t                   nwords;
} cli_options_t;


struct cli_s;
struct cli_noun_s;

extern const cli_option_t    cli_common_options[];

/*
 * Reads noun, verb, options and words into cli; nouns ends with NULL. CLI_USAGE
 * for what it does not know, with the nearest that it knows. Whether there are
 * a noun, a verb and the right number of words is for the caller to look at,
 * since "--help" stands above that.
 */
int cli_options_parse(struct cli_s *cli, const struct cli_noun_s *const *nouns,
    int argc, char *const *argv);

/* the value given, "" for a switch, NULL where the option is not there */
const char *cli_option(const cli_options_t *options, const char *name);

/* the values of an option that may be repeated; *n of them */
const char **cli_option_values(const cli_options_t *options, const char *name,
    size_t *n);


#endif /* CLI_OPTIONS_H */
