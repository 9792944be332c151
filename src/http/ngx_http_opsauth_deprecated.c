/*
 * What the client of a deprecated credential is told on each answer: since when
 * it is deprecated (Deprecation, RFC 9745) and when it ends (Sunset, RFC 8594).
 *
 * Both headers may stand in an answer once, and speak of a resource where the
 * backend sends them. Who finds one of them there leaves both alone: half of
 * the one statement and half of the other would be a third one, and wrong.
 */

#include "ngx_http_opsauth.h"


/* the year 9999: what a date in a header can hold */
#define NGX_HTTP_OPSAUTH_DATE_MAX  253402300799LL


static ngx_uint_t ngx_http_opsauth_is_announced(ngx_http_request_t *r);


ngx_int_t
ngx_http_opsauth_deprecated(ngx_http_request_t *r, ngx_http_opsauth_ctx_t *ctx)
{
    ngx_str_t         value;
    oa_credential_t  *credential;

    if (!ctx->decided || ctx->verdict.reason != OA_REASON_OK
        || ngx_http_opsauth_is_announced(r))
    {
        return NGX_OK;
    }

    credential = &ctx->credential;

    if (credential->deprecated != 0
        && credential->deprecated <= NGX_HTTP_OPSAUTH_DATE_MAX)
    {
        value.data = ngx_pnalloc(r->pool, sizeof("@") - 1 + NGX_INT64_LEN);
        if (value.data == NULL) {
            return NGX_ERROR;
        }

        value.len = ngx_sprintf(value.data, "@%L", credential->deprecated)
                    - value.data;

        if (ngx_http_opsauth_add_header(r, "Deprecation", &value) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (credential->expires != 0
        && credential->expires <= NGX_HTTP_OPSAUTH_DATE_MAX)
    {
        value.data = ngx_pnalloc(r->pool,
                                 sizeof("Mon, 28 Sep 1970 06:00:00 GMT") - 1);
        if (value.data == NULL) {
            return NGX_ERROR;
        }

        value.len = ngx_http_time(value.data, (time_t) credential->expires)
                    - value.data;

        if (ngx_http_opsauth_add_header(r, "Sunset", &value) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_http_opsauth_is_announced(ngx_http_request_t *r)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    part = &r->headers_out.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return 0;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].hash == 0) {
            continue;
        }

        if ((h[i].key.len == sizeof("Deprecation") - 1
             && ngx_strncasecmp(h[i].key.data, (u_char *) "Deprecation",
                                sizeof("Deprecation") - 1)
                == 0)
            || (h[i].key.len == sizeof("Sunset") - 1
                && ngx_strncasecmp(h[i].key.data, (u_char *) "Sunset",
                                   sizeof("Sunset") - 1)
                   == 0))
        {
            return 1;
        }
    }
}
