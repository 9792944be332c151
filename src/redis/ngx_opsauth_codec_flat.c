/*
 * The answer to HMGET, one array of strings and nils, is most of what comes.
 * It is read here for a tenth of what hiredis takes, without a copy. This way
 * takes no decision but "yes, this": whatever is not plainly well-formed,
 * complete and within the bounds goes to hiredis as it is, and all that follows
 * it in those bytes.
 */

#include "ngx_opsauth_codec_flat.h"


/* of a number that can't overflow; longer ones are the reader's */
#define NGX_OPSAUTH_CODEC_DIGITS_MAX  9


static ngx_inline ngx_uint_t ngx_opsauth_codec_is_crlf(const u_char *p);
static ngx_inline ngx_uint_t ngx_opsauth_codec_is_nil(const u_char *p);
static ngx_inline u_char *ngx_opsauth_codec_short(u_char *p, u_char type,
    size_t *len);
static u_char *ngx_opsauth_codec_number(u_char *p, u_char *last, size_t *n);


u_char *
ngx_opsauth_codec_flat(u_char *p, u_char *last, ngx_uint_t max_elements,
    size_t max_bytes, ngx_str_t *strings, ngx_uint_t *n)
{
    size_t      len, bytes;
    u_char     *start;
    ngx_str_t  *str, *end;

    if (last - p < 5) {
        return NULL;
    }

    start = p;
    p = ngx_opsauth_codec_short(p, '*', n);

    if (p == NULL) {

        if (*start != '*') {
            return NULL;
        }

        p = ngx_opsauth_codec_number(start + 1, last, n);
    }

    if (p == NULL || *n > max_elements) {
        return NULL;
    }

    bytes = 0;
    end = strings + *n;

    for (str = strings; str < end; str++) {

        if (p > last - 5) {                     /* "$-1\r\n", "$0\r\n\r\n" */
            return NULL;
        }

        /* half the fields of a usual record are absent */

        if (ngx_opsauth_codec_is_nil(p)) {
            ngx_str_null(str);
            p += 5;
            continue;
        }

        start = p;
        p = ngx_opsauth_codec_short(p, '$', &len);

        if (p == NULL) {

            if (*start != '$') {
                return NULL;
            }

            p = ngx_opsauth_codec_number(start + 1, last, &len);
        }

        if (p == NULL || (size_t) (last - p) < len + 2
            || !ngx_opsauth_codec_is_crlf(p + len))
        {
            return NULL;
        }

        str->len = len;
        str->data = p;

        bytes += len;
        p += len + 2;
    }

    return (bytes <= max_bytes) ? p : NULL;
}


static ngx_inline ngx_uint_t
ngx_opsauth_codec_is_crlf(const u_char *p)
{
    return ngx_memcmp(p, "\r\n", 2) == 0;
}


/* five bytes are there, and the last one is looked at where the others match */

static ngx_inline ngx_uint_t
ngx_opsauth_codec_is_nil(const u_char *p)
{
    uint32_t  head, nil;

    ngx_memcpy(&head, p, 4);
    ngx_memcpy(&nil, "$-1\r", 4);

    return head == nil && p[4] == LF;
}


/* the header of a string of less than 100 bytes, or of so many elements, as
   most are; five bytes are there. NULL: something else */

static ngx_inline u_char *
ngx_opsauth_codec_short(u_char *p, u_char type, size_t *len)
{
    size_t  first, second;

    first = (size_t) p[1] - '0';
    second = (size_t) p[2] - '0';

    if (*p != type || first > 9) {
        return NULL;
    }

    if (second > 9) {
        *len = first;
        return ngx_opsauth_codec_is_crlf(p + 2) ? p + 4 : NULL;
    }

    *len = first * 10 + second;

    return (first != 0 && ngx_opsauth_codec_is_crlf(p + 3)) ? p + 5 : NULL;
}


/* digits and CRLF, no zero ahead of others; NULL: not that, or too many */

static u_char *
ngx_opsauth_codec_number(u_char *p, u_char *last, size_t *n)
{
    size_t   value;
    u_char  *start, *end;

    start = p;
    end = last;

    if (last - p > NGX_OPSAUTH_CODEC_DIGITS_MAX) {
        end = p + NGX_OPSAUTH_CODEC_DIGITS_MAX;
    }

    for (value = 0; p < end && *p >= '0' && *p <= '9'; p++) {
        value = value * 10 + (*p - '0');
    }

    if (p == start || (*start == '0' && p - start > 1)
        || last - p < 2 || p[0] != CR || p[1] != LF)
    {
        return NULL;
    }

    *n = value;

    return p + 2;
}
