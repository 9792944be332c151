/*
 * Forms: see oa_form.h.
 *
 * Contract: what is accepted has one meaning only.  Parameters are split
 * before they are decoded, so that an escaped "&" or "=" is a character like
 * any other; names are compared after that, so that an escape can't hide that
 * one stands twice.  Bounded: OA_FORM_MAX parameters, one pass over the text.
 */

#include <string.h>

#include "oa_form.h"
#include "oa_text.h"


static oa_rc_t oa_form_parameter(unsigned char *data, size_t len,
    oa_form_field_t *field, const char **error);
static oa_rc_t oa_form_part(unsigned char *data, size_t len, oa_str_t *part);
static int oa_form_is_name(oa_str_t name);
static int oa_form_is_value(oa_str_t value);
static int oa_form_has(const oa_form_t *form, oa_str_t name);
static void oa_form_drop_empty(oa_form_t *form);
static int oa_form_hex(unsigned char c);
static int oa_form_is_unreserved(unsigned char c);


oa_rc_t
oa_form_parse(unsigned char *data, size_t len, oa_form_t *form,
    const char **error)
{
    size_t           n;
    unsigned char   *end;
    oa_form_field_t  field;

    form->n = 0;

    while (len != 0) {

        end = memchr(data, '&', len);
        n = end ? (size_t) (end - data) : len;

        if (n != 0) {

            if (form->n == OA_FORM_MAX) {
                *error = "too many parameters";
                return OA_INVALID;
            }

            if (oa_form_parameter(data, n, &field, error) != OA_OK) {
                return OA_INVALID;
            }

            if (oa_form_has(form, field.name)) {
                *error = "a parameter stands twice";
                return OA_INVALID;
            }

            form->fields[form->n++] = field;
        }

        data += n + (end != NULL);
        len -= n + (end != NULL);
    }

    oa_form_drop_empty(form);

    return OA_OK;
}


static oa_rc_t
oa_form_parameter(unsigned char *data, size_t len, oa_form_field_t *field,
    const char **error)
{
    size_t          n;
    unsigned char  *mark;

    mark = memchr(data, '=', len);
    n = mark ? (size_t) (mark - data) : len;

    if (oa_form_part(data, n, &field->name) != OA_OK
        || oa_form_part(data + n + (mark != NULL), len - n - (mark != NULL),
                        &field->value)
           != OA_OK)
    {
        *error = "a parameter has a bad escape";
        return OA_INVALID;
    }

    if (!oa_form_is_name(field->name)) {
        *error = "a parameter has no proper name";
        return OA_INVALID;
    }

    if (!oa_form_is_value(field->value)) {
        *error = "a parameter has a value that is no text";
        return OA_INVALID;
    }

    return OA_OK;
}


static oa_rc_t
oa_form_part(unsigned char *data, size_t len, oa_str_t *part)
{
    if (oa_form_unescape(data, &len) != OA_OK) {
        return OA_INVALID;
    }

    part->data = data;
    part->len = len;

    return OA_OK;
}


static int
oa_form_is_name(oa_str_t name)
{
    return name.len != 0 && oa_text_is_header_safe(name)
           && oa_text_is_utf8(name);
}


static int
oa_form_is_value(oa_str_t value)
{
    size_t         i;
    unsigned char  c;

    for (i = 0; i < value.len; i++) {
        c = value.data[i];

        if (c == 0x7f || (c < 0x20 && c != '\t' && c != '\r' && c != '\n')) {
            return 0;
        }
    }

    return oa_text_is_utf8(value);
}


static int
oa_form_has(const oa_form_t *form, oa_str_t name)
{
    size_t  i;

    for (i = 0; i < form->n; i++) {
        if (form->fields[i].name.len == name.len
            && memcmp(form->fields[i].name.data, name.data, name.len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


static void
oa_form_drop_empty(oa_form_t *form)
{
    size_t  i, n;

    n = 0;

    for (i = 0; i < form->n; i++) {
        if (form->fields[i].value.len != 0) {
            form->fields[n++] = form->fields[i];
        }
    }

    form->n = n;
}


oa_str_t
oa_form_get(const oa_form_t *form, const char *name)
{
    size_t  i;

    static const oa_str_t  none = oa_null;

    for (i = 0; i < form->n; i++) {
        if (oa_text_eq(form->fields[i].name, name)) {
            return form->fields[i].value;
        }
    }

    return none;
}


size_t
oa_form_escape(oa_str_t s, unsigned char *out)
{
    size_t  i, n;

    static const char  hex[] = "0123456789ABCDEF";

    n = 0;

    for (i = 0; i < s.len; i++) {

        if (oa_form_is_unreserved(s.data[i])) {

            if (out != NULL) {
                out[n] = s.data[i];
            }

            n++;
            continue;
        }

        if (out != NULL) {
            out[n] = '%';
            out[n + 1] = (unsigned char) hex[s.data[i] >> 4];
            out[n + 2] = (unsigned char) hex[s.data[i] & 15];
        }

        n += 3;
    }

    return n;
}


oa_rc_t
oa_form_unescape(unsigned char *data, size_t *len)
{
    int     high, low;
    size_t  i, n;

    n = 0;

    for (i = 0; i < *len; i++) {

        if (data[i] != '%') {
            data[n++] = (data[i] == '+') ? ' ' : data[i];
            continue;
        }

        if (*len - i < 3) {
            return OA_INVALID;
        }

        high = oa_form_hex(data[i + 1]);
        low = oa_form_hex(data[i + 2]);

        if (high < 0 || low < 0) {
            return OA_INVALID;
        }

        data[n++] = (unsigned char) (high << 4 | low);
        i += 2;
    }

    *len = n;

    return OA_OK;
}


size_t
oa_html_escape(oa_str_t s, unsigned char *out)
{
    size_t       i, n, len;
    const char  *entity;

    n = 0;

    for (i = 0; i < s.len; i++) {

        switch (s.data[i]) {

        case '&':
            entity = "&amp;";
            break;

        case '<':
            entity = "&lt;";
            break;

        case '>':
            entity = "&gt;";
            break;

        case '"':
            entity = "&quot;";
            break;

        case '\'':
            entity = "&#39;";
            break;

        default:
            if (out != NULL) {
                out[n] = s.data[i];
            }

            n++;
            continue;
        }

        len = strlen(entity);

        if (out != NULL) {
            memcpy(out + n, entity, len);
        }

        n += len;
    }

    return n;
}


static int
oa_form_hex(unsigned char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    c |= 0x20;

    return (c >= 'a' && c <= 'f') ? c - 'a' + 10 : -1;
}


/* RFC 3986 section 2.3 */

static int
oa_form_is_unreserved(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
           || (c >= '0' && c <= '9')
           || c == '-' || c == '.' || c == '_' || c == '~';
}
