/*
 * Tickets against forged forms: a form that we sent carries one, and what comes
 * back is only taken with it. It proves, without any state on a server, that
 * this very form was made for this user and this browser, and when.
 */

#ifndef OA_TICKET_H
#define OA_TICKET_H

#include "oa_core.h"


#define OA_TICKET_MAX   64              /* bytes of its text */
#define OA_TICKET_SKEW  60              /* seconds that servers may differ by */


/*
 * "<issued>.<base64url of HMAC-SHA-256>", the key derived from the pepper, over
 * issued and all fields with their lengths, in this order; an absent field
 * (data NULL) and an empty one are the same. issued: Unix seconds.
 * OA_ERROR: libcrypto failed; OA_INVALID: issued is negative.
 */
oa_rc_t oa_ticket_make(oa_str_t pepper, const oa_str_t *fields, size_t n,
    int64_t issued, unsigned char out[OA_TICKET_MAX], size_t *len);

/*
 * Under any of the peppers, in constant time.
 * OA_OK        it is the one for these fields
 * OA_DECLINED  it was, more than max_age seconds ago
 * OA_INVALID   it isn't, or is none
 * OA_ERROR     libcrypto failed
 */
oa_rc_t oa_ticket_check(const oa_str_t *peppers, size_t npeppers,
    const oa_str_t *fields, size_t n, int64_t now, int64_t max_age,
    oa_str_t ticket);


#endif /* OA_TICKET_H */
