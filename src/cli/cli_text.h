/*
 * Text for people: UTF-8 as it comes from the command line and from Redis,
 * made safe for a terminal, and the width that it takes there.
 */

#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include "oa_core.h"


/* a C string as a view */
oa_str_t cli_str(const char *text);

/* valid UTF-8 without control characters (C0, DEL, C1) */
int cli_text_valid(oa_str_t text);

/* columns that a valid text takes on a terminal */
size_t cli_text_width(const char *text);

/* valid UTF-8 always: controls as \xHH, what is no UTF-8 as U+FFFD */
char *cli_text_safe(oa_str_t text);

/* the same in double quotes and cut where it is long: for messages */
char *cli_quote(oa_str_t text);
char *cli_quotez(const char *text);

/* the candidate nearest to a mistyped word, or NULL where none is near */
const char *cli_text_nearest(const char *word, const char *const *candidates,
    size_t n);

/* words (several values, each of them maybe a list) with single spaces */
char *cli_text_join(const char *const *values, size_t n, const char *blanks);


#endif /* CLI_TEXT_H */
