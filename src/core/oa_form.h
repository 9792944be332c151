/*
 * application/x-www-form-urlencoded, read and written: the bodies and queries
 * of OAuth requests (RFC 6749 appendix B), and the escaping that redirects and
 * HTML need.
 */

#ifndef OA_FORM_H
#define OA_FORM_H

#include "oa_core.h"


#define OA_FORM_MAX  32             /* parameters in one form */


typedef struct {
    oa_str_t  name;
    oa_str_t  value;
} oa_form_field_t;

typedef struct {
    oa_form_field_t  fields[OA_FORM_MAX];
    size_t           n;
} oa_form_t;


/*
 * Decodes data in place; fields are views into it. Strict: a bad escape, a NUL
 * or other control character (but tab, CR, LF in values), invalid UTF-8, an
 * empty name, a name twice (RFC 6749 section 3.1) or more than OA_FORM_MAX
 * parameters is OA_INVALID, with *error static text. Parameters with an empty
 * value count as absent (section 3.1) and are left out, but still may not
 * stand twice. An empty text is an empty form, and nothing between two "&" is
 * no parameter.
 */
oa_rc_t oa_form_parse(unsigned char *data, size_t len, oa_form_t *form,
    const char **error);

/* data NULL: there is none */
oa_str_t oa_form_get(const oa_form_t *form, const char *name);

/* %XX for all but RFC 3986's unreserved characters; returns the length, out
   NULL: only that */
size_t oa_form_escape(oa_str_t s, unsigned char *out);

/* in place; '+' is a blank. OA_INVALID: a bad escape */
oa_rc_t oa_form_unescape(unsigned char *data, size_t *len);

/* & < > " ' as entities: for text and for quoted attributes; as above */
size_t oa_html_escape(oa_str_t s, unsigned char *out);


#endif /* OA_FORM_H */
