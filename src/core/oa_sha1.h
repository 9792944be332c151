/*
 * SHA-1 in hex: the name under which Redis keeps a script (EVALSHA). It
 * protects nothing here.
 */

#ifndef OA_SHA1_H
#define OA_SHA1_H

#include "oa_core.h"


#define OA_SHA1_HEX_LEN  40


/* OA_ERROR: libcrypto has none, as under a policy that forbids it */
oa_rc_t oa_sha1_hex(oa_str_t text, unsigned char out[OA_SHA1_HEX_LEN]);


#endif /* OA_SHA1_H */
