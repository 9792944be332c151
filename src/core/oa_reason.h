/*
 * The reasons of docs/verdicts.md, and what each of them means on the wire.
 * One word is used everywhere: variable, log, metric, test.
 */

#ifndef OA_REASON_H
#define OA_REASON_H

#include "oa_core.h"


typedef enum {
    OA_REASON_OK = 0,
    OA_REASON_MISSING,
    OA_REASON_MALFORMED,
    OA_REASON_CHECKSUM,
    OA_REASON_ENVIRONMENT,
    OA_REASON_UNKNOWN,
    OA_REASON_REVOKED,
    OA_REASON_EXPIRED,
    OA_REASON_DISABLED,
    OA_REASON_IP,
    OA_REASON_ROLE,
    OA_REASON_SCOPE,
    OA_REASON_NO_RULE,
    OA_REASON_RATE,
    OA_REASON_ATTEMPTS,
    OA_REASON_UNAVAILABLE,
    OA_REASON_RECORD_INVALID,
    OA_REASON_COUNT
} oa_reason_t;


typedef struct {
    oa_str_t     name;          /* "no_rule" */
    unsigned     status;        /* HTTP status, 0 for ok */
    oa_str_t     error;         /* RFC 6750 error attribute, or empty */
    oa_str_t     code;          /* code of the JSON envelope */
    oa_str_t     title;         /* RFC 9457 title: "Unauthorized" */
    oa_str_t     message;       /* one sentence for the client; no oracle:
                                   every invalid_token reason has the same */
} oa_reason_info_t;


/* never NULL; a value outside the enum gives the row of unavailable */
const oa_reason_info_t *oa_reason_info(oa_reason_t reason);

/* the reason with this name; OA_REASON_COUNT where there is none */
oa_reason_t oa_reason_by_name(oa_str_t name);


#endif /* OA_REASON_H */
