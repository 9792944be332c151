/*
 * See ngx_http_opsauth_text.h.
 */

#include "ngx_http_opsauth.h"
#include "ngx_http_opsauth_text.h"

#include <openssl/evp.h>


#define NGX_HTTP_OPSAUTH_TEXT_SIZE   16384
#define NGX_HTTP_OPSAUTH_TEXT_PIECE  1024

#define NGX_HTTP_OPSAUTH_TEXT_POLICY                                          \
    "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; "           \
    "style-src 'sha256-"


void
ngx_http_opsauth_text_put(ngx_http_opsauth_text_buf_t *text,
    const u_char *data, size_t len)
{
    u_char  *p;

    p = ngx_http_opsauth_text_room(text, len);

    if (p) {
        text->last = ngx_cpymem(p, data, len);
    }
}


void ngx_cdecl
ngx_http_opsauth_text_add(ngx_http_opsauth_text_buf_t *text, const char *fmt,
    ...)
{
    u_char   *p;
    va_list   args;

    p = ngx_http_opsauth_text_room(text, NGX_HTTP_OPSAUTH_TEXT_PIECE);

    if (p) {
        va_start(args, fmt);
        text->last = ngx_vslprintf(p, p + NGX_HTTP_OPSAUTH_TEXT_PIECE, fmt,
                                   args);
        va_end(args);
    }
}


u_char *
ngx_http_opsauth_text_room(ngx_http_opsauth_text_buf_t *text, size_t len)
{
    u_char  *p;
    size_t   used, size;

    if (text->failed) {
        return NULL;
    }

    if (text->start && len <= (size_t) (text->end - text->last)) {
        return text->last;
    }

    used = text->last - text->start;
    size = ngx_max(NGX_HTTP_OPSAUTH_TEXT_SIZE, 2 * (used + len));

    p = ngx_pnalloc(text->pool, size);
    if (p == NULL) {
        text->failed = 1;
        return NULL;
    }

    if (used) {
        ngx_memcpy(p, text->start, used);
    }

    text->start = p;
    text->last = p + used;
    text->end = p + size;

    return text->last;
}


ngx_int_t
ngx_http_opsauth_add_policy(ngx_http_request_t *r, const char *style,
    ngx_str_t *form_action)
{
    u_char      digest[EVP_MAX_MD_SIZE], *p;
    unsigned    len;
    ngx_str_t   hash, text, policy;

    static ngx_str_t  none = ngx_string("'none'");

    if (EVP_Digest(style, ngx_strlen(style), digest, &len, EVP_sha256(), NULL)
        != 1)
    {
        ngx_log_error(NGX_LOG_CRIT, r->connection->log, 0,
                      "opsauth: libcrypto could not make a digest");
        return NGX_ERROR;
    }

    hash.len = len;
    hash.data = digest;

    if (form_action == NULL) {
        form_action = &none;
    }

    p = ngx_pnalloc(r->pool, sizeof(NGX_HTTP_OPSAUTH_TEXT_POLICY) - 1
                             + ngx_base64_encoded_length(len)
                             + sizeof("'; form-action ") - 1
                             + form_action->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    policy.data = p;

    p = ngx_cpymem(p, NGX_HTTP_OPSAUTH_TEXT_POLICY,
                   sizeof(NGX_HTTP_OPSAUTH_TEXT_POLICY) - 1);

    text.data = p;
    ngx_encode_base64(&text, &hash);

    p = ngx_cpymem(p + text.len, "'; form-action ",
                   sizeof("'; form-action ") - 1);
    p = ngx_cpymem(p, form_action->data, form_action->len);

    policy.len = p - policy.data;

    return ngx_http_opsauth_add_header(r, "Content-Security-Policy", &policy);
}
