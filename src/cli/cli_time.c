/*
 * See cli_time.h. A date that the calendar does not have (31 February, or an
 * hour lost to summer time) is refused and not moved, as mktime() would.
 */

#include "cli_memory.h"
#include "cli_text.h"
#include "cli_time.h"

#include "oa_text.h"

#include <stdio.h>
#include <string.h>
#include <time.h>


/* "", "Z", "+01:00", "-0530" */
static int
zone_parse(const char *p, int *utc, int *offset)
{
    int       sign, used;
    unsigned  h, m;

    *offset = 0;
    *utc = 1;

    if (*p == '\0') {
        *utc = 0;
        return 1;
    }

    if (strcmp(p, "Z") == 0) {
        return 1;
    }

    sign = (*p == '+') ? 1 : (*p == '-') ? -1 : 0;
    used = 0;

    if (sign == 0 || p[1] < '0' || p[1] > '2' || p[2] < '0' || p[2] > '9'
        || p[3 + (p[3] == ':')] < '0' || p[3 + (p[3] == ':')] > '5'
        || (sscanf(p + 1, (p[3] == ':') ? "%2u:%2u%n" : "%2u%2u%n",
                   &h, &m, &used) != 2)
        || p[1 + used] != '\0' || used != 4 + (p[3] == ':') || h > 23)
    {
        return 0;
    }

    *offset = sign * (int) (h * 3600 + m * 60);

    return 1;
}


static int
calendar_parse(const char *text, int64_t *seconds)
{
    int         utc, offset;
    char       *rest;
    time_t      t;
    struct tm   tm, asked;
    size_t      i;

    static const char *const  forms[] = {
        "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d"
    };

    for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        memset(&tm, 0, sizeof(tm));
        rest = strptime(text, forms[i], &tm);

        if (rest == NULL || !zone_parse(rest, &utc, &offset)) {
            continue;
        }

        tm.tm_isdst = -1;
        asked = tm;
        t = utc ? timegm(&tm) : mktime(&tm);

        if (t == (time_t) -1
            || tm.tm_mday != asked.tm_mday || tm.tm_mon != asked.tm_mon
            || tm.tm_hour != asked.tm_hour || tm.tm_min != asked.tm_min)
        {
            return 0;
        }

        *seconds = (int64_t) t - offset;

        return 1;
    }

    return 0;
}


oa_rc_t
cli_time_expires(const char *text, int64_t now, int64_t *expires)
{
    int64_t  n;

    if (strcmp(text, "never") == 0) {
        *expires = 0;
        return OA_OK;
    }

    if (oa_text_duration(cli_str(text), &n) == OA_OK) {
        if (n == 0 || n > CLI_TIME_MAX - now) {
            return OA_INVALID;
        }

        *expires = now + n;
        return OA_OK;
    }

    if (!calendar_parse(text, &n) || n <= now || n > CLI_TIME_MAX) {
        return OA_INVALID;
    }

    *expires = n;

    return OA_OK;
}


oa_rc_t
cli_time_past(const char *text, int64_t now, int64_t *seconds)
{
    int64_t  n;

    if (oa_text_duration(cli_str(text), &n) == OA_OK) {
        if (n > now) {
            return OA_INVALID;
        }

        *seconds = now - n;
        return OA_OK;
    }

    if (!calendar_parse(text, seconds)
        || *seconds < 0 || *seconds > CLI_TIME_MAX)
    {
        return OA_INVALID;
    }

    return OA_OK;
}


oa_rc_t
cli_time_msec(const char *text, int64_t *msec)
{
    size_t       i, next;
    int64_t      n, total;
    const char  *p;

    static const struct {
        const char  *name;
        int64_t      msec;
    } units[] = {
        { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 },
        { "ms", 1 }, { "", 1000 }
    };

    total = 0;
    next = 0;
    p = text;

    while (*p != '\0' || p == text) {

        if (*p < '0' || *p > '9') {
            return OA_INVALID;
        }

        for (n = 0; *p >= '0' && *p <= '9' && n < 100000000; p++) {
            n = n * 10 + (*p - '0');
        }

        /* "m" is not the beginning of "ms" here, nor "" that of all */

        for (i = next; i < sizeof(units) / sizeof(units[0]); i++) {
            if (strncmp(p, units[i].name, strlen(units[i].name)) == 0
                && strchr(" 0123456789", p[strlen(units[i].name)]) != NULL)
            {
                break;
            }
        }

        if (i == sizeof(units) / sizeof(units[0])) {
            return OA_INVALID;
        }

        total += n * units[i].msec;
        p += strlen(units[i].name);
        next = i + 1;

        while (*p == ' ') {
            p++;
        }

        if (total > 86400000) {
            return OA_INVALID;
        }
    }

    *msec = total;

    return OA_OK;
}


static char *
time_format(int64_t seconds, int utc, const char *format)
{
    char       text[64];
    time_t     t;
    struct tm  tm;

    t = (time_t) seconds;

    if (seconds < 0 || seconds > CLI_TIME_MAX
        || (utc ? gmtime_r(&t, &tm) : localtime_r(&t, &tm)) == NULL
        || strftime(text, sizeof(text), format, &tm) == 0)
    {
        return cli_format("%lld", (long long) seconds);
    }

    return cli_copy(text, strlen(text));
}


char *
cli_time_local(int64_t seconds)
{
    return time_format(seconds, 0, "%Y-%m-%d %H:%M:%S");
}


char *
cli_time_utc(int64_t seconds)
{
    return time_format(seconds, 1, "%Y-%m-%dT%H:%M:%SZ");
}


char *
cli_time_field(oa_str_t seconds, const char *zero)
{
    int64_t  t;

    if (oa_text_number(seconds, INT64_MAX, &t) != OA_OK) {
        return cli_text_safe(seconds);
    }

    return (t == 0) ? cli_format("%s", zero) : cli_time_local(t);
}
