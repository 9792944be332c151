/*
 * The reasons and what a client gets to see of them: docs/verdicts.md as data.
 *
 * Invariants: every reason with error "invalid_token" has the same status,
 * code, title and message, so that an answer never tells a revoked key from
 * one that never was.  No text contains a character that JSON, an HTTP header
 * or HTML would have to escape.  Used by responses, log, metrics and the
 * command line.
 */

#include <string.h>

#include "oa_reason.h"


#define OA_REASON_INVALID_TOKEN(name)                                         \
    { oa_string(name), 401, oa_string("invalid_token"),                       \
      oa_string("UNAUTHORIZED"), oa_string("Unauthorized"),                   \
      oa_string("The API key or access token is not valid.") }

#define OA_REASON_FORBIDDEN(name)                                             \
    { oa_string(name), 403, oa_string("insufficient_scope"),                  \
      oa_string("FORBIDDEN"), oa_string("Forbidden"),                         \
      oa_string("The credential does not permit this request.") }

#define OA_REASON_SERVICE(name)                                               \
    { oa_string(name), 503, oa_string(""),                                    \
      oa_string("SERVICE_UNAVAILABLE"), oa_string("Service Unavailable"),     \
      oa_string("Authentication is temporarily unavailable, try again.") }


static const oa_reason_info_t  oa_reasons[OA_REASON_COUNT] = {

    [OA_REASON_OK] =
        { oa_string("ok"), 0, oa_string(""), oa_string(""), oa_string(""),
          oa_string("") },

    [OA_REASON_MISSING] =
        { oa_string("missing"), 401, oa_string(""),
          oa_string("UNAUTHORIZED"), oa_string("Unauthorized"),
          oa_string("This request needs an API key or access token.") },

    [OA_REASON_MALFORMED] =
        { oa_string("malformed"), 400, oa_string("invalid_request"),
          oa_string("BAD_REQUEST"), oa_string("Bad Request"),
          oa_string("The credential is not well-formed.") },

    [OA_REASON_CHECKSUM] = OA_REASON_INVALID_TOKEN("checksum"),
    [OA_REASON_ENVIRONMENT] = OA_REASON_INVALID_TOKEN("environment"),
    [OA_REASON_UNKNOWN] = OA_REASON_INVALID_TOKEN("unknown"),
    [OA_REASON_REVOKED] = OA_REASON_INVALID_TOKEN("revoked"),
    [OA_REASON_EXPIRED] = OA_REASON_INVALID_TOKEN("expired"),
    [OA_REASON_DISABLED] = OA_REASON_INVALID_TOKEN("disabled"),

    [OA_REASON_IP] =
        { oa_string("ip"), 403, oa_string(""),
          oa_string("FORBIDDEN"), oa_string("Forbidden"),
          oa_string("The credential may not be used from this address.") },

    [OA_REASON_ROLE] = OA_REASON_FORBIDDEN("role"),
    [OA_REASON_SCOPE] = OA_REASON_FORBIDDEN("scope"),
    [OA_REASON_NO_RULE] = OA_REASON_FORBIDDEN("no_rule"),

    [OA_REASON_RATE] =
        { oa_string("rate"), 429, oa_string(""),
          oa_string("RATE_LIMITED"), oa_string("Too Many Requests"),
          oa_string("The rate limit is exceeded, try again later.") },

    [OA_REASON_ATTEMPTS] =
        { oa_string("attempts"), 429, oa_string(""),
          oa_string("RATE_LIMITED"), oa_string("Too Many Requests"),
          oa_string("Too many attempts have failed, try again later.") },

    [OA_REASON_UNAVAILABLE] = OA_REASON_SERVICE("unavailable"),
    [OA_REASON_RECORD_INVALID] = OA_REASON_SERVICE("record_invalid")
};


const oa_reason_info_t *
oa_reason_info(oa_reason_t reason)
{
    if ((unsigned) reason >= OA_REASON_COUNT) {
        reason = OA_REASON_UNAVAILABLE;
    }

    return &oa_reasons[reason];
}


oa_reason_t
oa_reason_by_name(oa_str_t name)
{
    unsigned  i;

    for (i = 0; i < OA_REASON_COUNT; i++) {
        if (oa_reasons[i].name.len == name.len
            && memcmp(oa_reasons[i].name.data, name.data, name.len) == 0)
        {
            return (oa_reason_t) i;
        }
    }

    return OA_REASON_COUNT;
}
