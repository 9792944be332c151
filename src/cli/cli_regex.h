/*
 * Regular expressions of a configuration, by the library that nginx uses and
 * as nginx calls it.
 */

#ifndef CLI_REGEX_H
#define CLI_REGEX_H

#include "oa_core.h"


/*
 * OA_OK: the subject matches, OA_DECLINED: it does not. OA_INVALID: no such
 * expression; OA_ERROR: it can't be run on this subject (too much work).
 */
oa_rc_t cli_regex_match(oa_str_t pattern, int caseless, oa_str_t subject);


#endif /* CLI_REGEX_H */
