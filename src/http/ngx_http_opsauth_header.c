/*
 * A header of the answer, as every part of the module adds one.
 */

#include "ngx_http_opsauth.h"
#include "ngx_http_opsauth_compat.h"


ngx_int_t
ngx_http_opsauth_add_header(ngx_http_request_t *r, const char *name,
    ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));
    ngx_http_opsauth_elt_init(h);

    h->hash = 1;
    h->key.len = ngx_strlen(name);
    h->key.data = (u_char *) name;
    h->value = *value;

    return NGX_OK;
}
