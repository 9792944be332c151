/*
 * Small readers and writers of text: numbers, hex, durations, header-safe
 * bytes.  All of them are strict: no blanks, no sign, no rest.
 */

#ifndef OA_TEXT_H
#define OA_TEXT_H

#include <string.h>

#include "oa_core.h"


/* decimal digits only, at most max; leading zeros are allowed */
OA_WARM oa_rc_t oa_text_number(oa_str_t s, int64_t max, int64_t *out);

/* lower-case hex of n bytes into out[2 * n]; no terminator */
OA_WARM void oa_text_hex(const unsigned char *data, size_t n,
    unsigned char *out);

/* exactly 2 * n hex digits of either case into out[n] */
oa_rc_t oa_text_unhex(oa_str_t s, unsigned char *out, size_t n);

/*
 * A duration in seconds: "90d", "12h", "30m", "45s", "2w", "1y" (365 d), also
 * combined in that falling order ("1d12h"); a bare number is seconds.
 */
oa_rc_t oa_text_duration(oa_str_t s, int64_t *seconds);

/* printable UTF-8 bytes: none below 0x20, no 0x7f; what may stand in a header
   value without splitting it */
OA_WARM int oa_text_is_header_safe(oa_str_t s);

/* well-formed UTF-8 (RFC 3629): no overlong form, no surrogate */
int oa_text_is_utf8(oa_str_t s);

/* visible ASCII without blank: what an id may be made of ([A-Za-z0-9._:@-]) */
OA_WARM int oa_text_is_id(oa_str_t s);

/* s equal to a C string; case matters. Inline, so that a literal is compared
   without a call */
static inline int
oa_text_eq(oa_str_t s, const char *c)
{
    size_t  len;

    len = strlen(c);

    return s.len == len && (len == 0 || memcmp(s.data, c, len) == 0);
}


#endif /* OA_TEXT_H */
