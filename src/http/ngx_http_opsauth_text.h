/*
 * Text that grows in a request's pool, and what pages made of it leave with.
 */

#ifndef NGX_HTTP_OPSAUTH_TEXT_H
#define NGX_HTTP_OPSAUTH_TEXT_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


/* all zero but the pool, to begin with */
typedef struct {
    ngx_pool_t  *pool;
    u_char      *start;
    u_char      *last;
    u_char      *end;
    unsigned     failed:1;              /* no memory: what there is, is cut */
} ngx_http_opsauth_text_buf_t;


/* room for len bytes at text->last, which is the caller's to move; NULL: none,
   and text->failed says so */
u_char *ngx_http_opsauth_text_room(ngx_http_opsauth_text_buf_t *text,
    size_t len);
void ngx_http_opsauth_text_put(ngx_http_opsauth_text_buf_t *text,
    const u_char *data, size_t len);
/* one piece of it is 1024 bytes at most */
void ngx_cdecl ngx_http_opsauth_text_add(ngx_http_opsauth_text_buf_t *text,
    const char *fmt, ...);

/*
 * Adds Content-Security-Policy to the answer: no frame, and nothing in the page
 * but its own style sheet, which is named by its hash, and forms that lead to
 * these sources, by default to none (form_action NULL). NGX_ERROR: no memory,
 * or no SHA-256.
 */
ngx_int_t ngx_http_opsauth_add_policy(ngx_http_request_t *r, const char *style,
    ngx_str_t *form_action);


#endif /* NGX_HTTP_OPSAUTH_TEXT_H */
