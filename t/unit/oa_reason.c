/* Reasons and what a client sees of them: src/core/oa_reason.c */

#include "oa_reason.h"
#include "oa_text.h"
#include "tap.h"


typedef struct {
    oa_reason_t  reason;
    const char  *name;
    unsigned     status;
    const char  *error;
    const char  *code;
    const char  *title;
} reason_row_t;


static const reason_row_t  rows[] = {
    { OA_REASON_OK, "ok", 0, "", "", "" },
    { OA_REASON_MISSING, "missing", 401, "", "UNAUTHORIZED",
      "Unauthorized" },
    { OA_REASON_MALFORMED, "malformed", 400, "invalid_request",
      "BAD_REQUEST", "Bad Request" },
    { OA_REASON_CHECKSUM, "checksum", 401, "invalid_token", "UNAUTHORIZED",
      "Unauthorized" },
    { OA_REASON_ENVIRONMENT, "environment", 401, "invalid_token",
      "UNAUTHORIZED", "Unauthorized" },
    { OA_REASON_UNKNOWN, "unknown", 401, "invalid_token", "UNAUTHORIZED",
      "Unauthorized" },
    { OA_REASON_REVOKED, "revoked", 401, "invalid_token", "UNAUTHORIZED",
      "Unauthorized" },
    { OA_REASON_EXPIRED, "expired", 401, "invalid_token", "UNAUTHORIZED",
      "Unauthorized" },
    { OA_REASON_DISABLED, "disabled", 401, "invalid_token", "UNAUTHORIZED",
      "Unauthorized" },
    { OA_REASON_IP, "ip", 403, "", "FORBIDDEN", "Forbidden" },
    { OA_REASON_ROLE, "role", 403, "insufficient_scope", "FORBIDDEN",
      "Forbidden" },
    { OA_REASON_SCOPE, "scope", 403, "insufficient_scope", "FORBIDDEN",
      "Forbidden" },
    { OA_REASON_NO_RULE, "no_rule", 403, "insufficient_scope", "FORBIDDEN",
      "Forbidden" },
    { OA_REASON_RATE, "rate", 429, "", "RATE_LIMITED",
      "Too Many Requests" },
    { OA_REASON_ATTEMPTS, "attempts", 429, "", "RATE_LIMITED",
      "Too Many Requests" },
    { OA_REASON_UNAVAILABLE, "unavailable", 503, "", "SERVICE_UNAVAILABLE",
      "Service Unavailable" },
    { OA_REASON_RECORD_INVALID, "record_invalid", 503, "",
      "SERVICE_UNAVAILABLE", "Service Unavailable" }
};

#define ROWS  (sizeof(rows) / sizeof(rows[0]))


static int
same(oa_str_t a, oa_str_t b)
{
    return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}


int
main(void)
{
    size_t                   i, k;
    oa_str_t                 s;
    const oa_reason_info_t  *info, *unknown;

    is_int(ROWS, OA_REASON_COUNT, "the table below knows every reason");

    unknown = oa_reason_info(OA_REASON_UNKNOWN);

    for (i = 0; i < ROWS; i++) {
        info = oa_reason_info(rows[i].reason);

        is_str(info->name.data, info->name.len, rows[i].name,
               "name of %s", rows[i].name);
        is_int(info->status, rows[i].status, "status of %s", rows[i].name);
        is_str(info->error.data, info->error.len, rows[i].error,
               "error of %s", rows[i].name);
        is_str(info->code.data, info->code.len, rows[i].code,
               "code of %s", rows[i].name);
        is_str(info->title.data, info->title.len, rows[i].title,
               "title of %s", rows[i].name);

        is_int(oa_reason_by_name(info->name), rows[i].reason,
               "%s is found by its name", rows[i].name);

        ok((info->message.len == 0) == (rows[i].reason == OA_REASON_OK),
           "%s has a message", rows[i].name);

        s = info->message;

        for (k = 0; k < s.len; k++) {
            if (s.data[k] < 0x20 || s.data[k] > 0x7e
                || strchr("\"\\<>&", s.data[k]))
            {
                break;
            }
        }

        ok(k == s.len, "message of %s needs no escaping", rows[i].name);

        if (oa_text_eq(info->error, "invalid_token")) {
            ok(info->status == unknown->status
               && same(info->code, unknown->code)
               && same(info->title, unknown->title)
               && same(info->message, unknown->message),
               "%s looks like unknown: no oracle", rows[i].name);
        }
    }

    ok(oa_reason_info(OA_REASON_COUNT)
       == oa_reason_info(OA_REASON_UNAVAILABLE), "a reason too large");
    ok(oa_reason_info((oa_reason_t) 4711)
       == oa_reason_info(OA_REASON_UNAVAILABLE), "a reason far too large");
    ok(oa_reason_info((oa_reason_t) -1)
       == oa_reason_info(OA_REASON_UNAVAILABLE), "a negative reason");

    s = (oa_str_t) oa_string("OK");
    is_int(oa_reason_by_name(s), OA_REASON_COUNT, "case of a name matters");
    s = (oa_str_t) oa_string("");
    is_int(oa_reason_by_name(s), OA_REASON_COUNT, "no reason has no name");
    s = (oa_str_t) oa_null;
    is_int(oa_reason_by_name(s), OA_REASON_COUNT, "absent");
    s = (oa_str_t) oa_string("revoke");
    is_int(oa_reason_by_name(s), OA_REASON_COUNT, "the start of a name");

    return done_testing();
}
