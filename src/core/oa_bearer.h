/*
 * The Bearer credential of an Authorization header (RFC 6750 section 2.1,
 * RFC 9110 section 11.4) or of a header that holds the bare credential.
 */

#ifndef OA_BEARER_H
#define OA_BEARER_H

#include "oa_core.h"


/*
 * Authorization value -> credential, a view into value.
 * OA_OK        scheme Bearer in any case, one or more spaces, then
 *              1 to OA_BEARER_MAX token68 characters, and nothing else
 *              (trailing spaces and tabs are let go)
 * OA_DECLINED  another scheme, or an empty value: no Bearer credential here
 * OA_INVALID   scheme Bearer, but no credential of that form behind it
 */
OA_HOT oa_rc_t oa_bearer_parse(oa_str_t value, oa_str_t *credential);

/*
 * The same for a header that carries the credential alone (X-API-Key: ...).
 * An empty value is OA_DECLINED.
 */
oa_rc_t oa_bearer_bare(oa_str_t value, oa_str_t *credential);


#endif /* OA_BEARER_H */
