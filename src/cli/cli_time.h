/*
 * Times: read from the command line, shown to people and programs.
 */

#ifndef CLI_TIME_H
#define CLI_TIME_H

#include <stdint.h>

#include "oa_core.h"


/* the year 9999: what ISO 8601 can write without a sign */
#define CLI_TIME_MAX  INT64_C(253402300799)


/*
 * "90d" from now, "never" (0), or a time: 2027-01-31, 2027-01-31T18:30[:00],
 * local time or with Z or +01:00. OA_INVALID: none of them, or not in the
 * future.
 */
oa_rc_t cli_time_expires(const char *text, int64_t now, int64_t *expires);

/*
 * A time that may have passed: "7d" ago, or as above. OA_INVALID: none of
 * them.
 */
oa_rc_t cli_time_past(const char *text, int64_t now, int64_t *seconds);

/* as nginx writes a time: "500ms", "1s", "1m 30s"; a bare number is seconds.
   OA_INVALID: not that, or longer than a day */
oa_rc_t cli_time_msec(const char *text, int64_t *msec);

char *cli_time_local(int64_t seconds);          /* 2027-01-31 18:30:00 */
char *cli_time_utc(int64_t seconds);            /* 2027-01-31T17:30:00Z */

/* a field of a record as local time, what it is not as it stands there */
char *cli_time_field(oa_str_t seconds, const char *zero);


#endif /* CLI_TIME_H */
