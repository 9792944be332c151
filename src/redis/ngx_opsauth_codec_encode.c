/*
 * RESP2 encoded: commands. Not by redisFormatCommandArgv(), which allocates for
 * each one and would leave passwords in freed memory.
 */

#include "ngx_opsauth_codec.h"


#define NGX_OPSAUTH_CODEC_BUF_MIN  4096


static ngx_int_t ngx_opsauth_codec_reserve(ngx_buf_t *buf, size_t max,
    size_t size, ngx_log_t *log);
static void ngx_opsauth_codec_lead(ngx_opsauth_codec_form_t *form,
    size_t name_len);
static u_char *ngx_opsauth_codec_word(u_char *p, const ngx_str_t *word);
static u_char *ngx_opsauth_codec_header(u_char *p, u_char type, size_t n);


ngx_int_t
ngx_opsauth_codec_encode(ngx_buf_t *buf, size_t max, ngx_uint_t n,
    const ngx_str_t *words, ngx_log_t *log)
{
    size_t      size;
    u_char     *p;
    ngx_int_t   rc;
    ngx_uint_t  i;

    size = sizeof("*\r\n") - 1 + NGX_SIZE_T_LEN;

    for (i = 0; i < n; i++) {
        size += sizeof("$\r\n\r\n") - 1 + NGX_SIZE_T_LEN + words[i].len;
    }

    if (buf->start == NULL || size > (size_t) (buf->end - buf->last)) {
        rc = ngx_opsauth_codec_reserve(buf, max, size, log);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    p = ngx_opsauth_codec_header(buf->last, '*', n);

    for (i = 0; i < n; i++) {
        p = ngx_opsauth_codec_word(p, &words[i]);
    }

    buf->last = p;

    return NGX_OK;
}


ngx_int_t
ngx_opsauth_codec_form(ngx_opsauth_codec_form_t *form, ngx_uint_t n,
    const ngx_str_t *words, const ngx_str_t *prefix, ngx_log_t *log)
{
    size_t      size;
    u_char     *p;
    ngx_uint_t  i;

    size = 2 * (sizeof("*\r\n") - 1 + NGX_SIZE_T_LEN) + prefix->len
           + sizeof("\r\n") - 1;

    for (i = 0; i < n; i++) {
        size += sizeof("$\r\n\r\n") - 1 + NGX_SIZE_T_LEN + words[i].len;
    }

    p = ngx_alloc(size, log);
    if (p == NULL) {
        return NGX_ERROR;
    }

    form->data = p;
    form->prefix = *prefix;
    form->name_len = 0;

    form->lead.data = p;
    form->lead.len = 0;

    p = ngx_opsauth_codec_header(p, '*', n + 1);
    p = ngx_opsauth_codec_word(p, &words[0]);
    form->head_len = p - form->lead.data;

    /* room for the rest of the lead */
    p += sizeof("$\r\n") - 1 + NGX_SIZE_T_LEN + prefix->len;

    form->tail.data = p;
    *p++ = CR;
    *p++ = LF;

    for (i = 1; i < n; i++) {
        p = ngx_opsauth_codec_word(p, &words[i]);
    }

    form->tail.len = p - form->tail.data;

    return NGX_OK;
}


ngx_int_t
ngx_opsauth_codec_encode_form(ngx_buf_t *buf, size_t max,
    ngx_opsauth_codec_form_t *form, const ngx_str_t *name, ngx_log_t *log)
{
    size_t     size;
    u_char    *p;
    ngx_int_t  rc;

    if (form->name_len != name->len || form->lead.len == 0) {
        ngx_opsauth_codec_lead(form, name->len);
    }

    size = form->lead.len + name->len + form->tail.len;

    if (buf->start == NULL || size > (size_t) (buf->end - buf->last)) {
        rc = ngx_opsauth_codec_reserve(buf, max, size, log);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    p = ngx_cpymem(buf->last, form->lead.data, form->lead.len);

    if (name->len) {
        p = ngx_cpymem(p, name->data, name->len);
    }

    buf->last = ngx_cpymem(p, form->tail.data, form->tail.len);

    return NGX_OK;
}


static void
ngx_opsauth_codec_lead(ngx_opsauth_codec_form_t *form, size_t name_len)
{
    u_char  *p;

    p = form->lead.data + form->head_len;
    p = ngx_opsauth_codec_header(p, '$', form->prefix.len + name_len);
    p = ngx_cpymem(p, form->prefix.data, form->prefix.len);

    form->lead.len = p - form->lead.data;
    form->name_len = name_len;
}


static ngx_int_t
ngx_opsauth_codec_reserve(ngx_buf_t *buf, size_t max, size_t size,
    ngx_log_t *log)
{
    u_char  *p;
    size_t   used, total;

    used = buf->start ? (size_t) (buf->last - buf->start) : 0;

    if (used > max || size > max - used) {
        return NGX_DECLINED;
    }

    total = buf->start ? (size_t) (buf->end - buf->start) : 0;
    total = ngx_max(total, NGX_OPSAUTH_CODEC_BUF_MIN);

    while (total < used + size) {
        total *= 2;
    }

    total = ngx_min(total, max);

    p = ngx_alloc(total, log);
    if (p == NULL) {
        return NGX_ERROR;
    }

    if (buf->start) {
        ngx_memcpy(p, buf->start, used);
        buf->pos = p + (buf->pos - buf->start);

        /* it may have held a password */
        ngx_explicit_memzero(buf->start, used);
        ngx_free(buf->start);

    } else {
        buf->pos = p;
    }

    buf->start = p;
    buf->last = p + used;
    buf->end = p + total;

    return NGX_OK;
}


static u_char *
ngx_opsauth_codec_word(u_char *p, const ngx_str_t *word)
{
    p = ngx_opsauth_codec_header(p, '$', word->len);

    if (word->len) {
        p = ngx_cpymem(p, word->data, word->len);
    }

    *p++ = CR;
    *p++ = LF;

    return p;
}


/* ngx_sprintf() would be most of the cost of a command */

static u_char *
ngx_opsauth_codec_header(u_char *p, u_char type, size_t n)
{
    u_char  digits[NGX_SIZE_T_LEN], *d;

    d = digits + sizeof(digits);

    do {
        *--d = (u_char) ('0' + n % 10);
        n /= 10;
    } while (n);

    *p++ = type;
    p = ngx_cpymem(p, d, digits + sizeof(digits) - d);
    *p++ = CR;
    *p++ = LF;

    return p;
}
