/*
 * Base64 (RFC 4648): the URL alphabet without padding for OAuth, the standard
 * one with padding for HTTP Basic. Strict: no blanks, no foreign characters,
 * no stray bits in the last character.
 */

#ifndef OA_BASE64_H
#define OA_BASE64_H

#include "oa_core.h"


#define OA_BASE64URL_LEN(n)  (((n) * 4 + 2) / 3)


/* n bytes into out[OA_BASE64URL_LEN(n)]; no terminator */
void oa_base64url_encode(const unsigned char *data, size_t n,
    unsigned char *out);

/* OA_INVALID: not such a text; OA_ERROR: more than cap bytes. out may be what
   text points to; it holds parts of the value also when this fails */
oa_rc_t oa_base64url_decode(oa_str_t text, unsigned char *out, size_t cap,
    size_t *len);

/* it could be decoded; an empty text can */
int oa_base64url_valid(oa_str_t text);

/* RFC 4648 section 4, padded; the same results */
oa_rc_t oa_base64_decode(oa_str_t text, unsigned char *out, size_t cap,
    size_t *len);


#endif /* OA_BASE64_H */
