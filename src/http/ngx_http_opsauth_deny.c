/*
 * Turning a request away. The access handler returns the status, so that nginx
 * does the rest as for any other (error_page, satisfy, auth_delay, discarding
 * the body); the headers are set here, and the body of nginx's own page is
 * replaced on its way out by two filters, where the status is still ours.
 *
 * What error_page redirects elsewhere is never touched: the new location's
 * preaccess phase forgets the denial.
 *
 * The header filter is also where the answers to deprecated credentials are
 * marked (deprecated.c), and where clients are told of their rate (rate.c).
 */

#include "ngx_http_opsauth.h"
#include "ngx_http_opsauth_compat.h"
#include "ngx_http_opsauth_introspection.h"


static ngx_int_t ngx_http_opsauth_challenge(ngx_http_request_t *r,
    ngx_http_opsauth_loc_conf_t *olcf, ngx_http_opsauth_ctx_t *ctx,
    const oa_reason_info_t *info);
static ngx_int_t ngx_http_opsauth_set_header(ngx_http_request_t *r,
    ngx_table_elt_t **slot, const char *name, ngx_str_t *value);
OA_HOT static ngx_int_t ngx_http_opsauth_header_filter(ngx_http_request_t *r);
ngx_http_opsauth_rare ngx_int_t ngx_http_opsauth_header_answer(
    ngx_http_request_t *r, ngx_http_opsauth_ctx_t *ctx);
OA_HOT static ngx_int_t ngx_http_opsauth_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
ngx_http_opsauth_rare ngx_int_t ngx_http_opsauth_subrequest_body(
    ngx_http_request_t *r, ngx_chain_t *in);
ngx_http_opsauth_rare ngx_int_t ngx_http_opsauth_page(ngx_http_request_t *r,
    ngx_http_opsauth_ctx_t *ctx, ngx_chain_t *in);
static ngx_int_t ngx_http_opsauth_init_body(ngx_conf_t *cf, ngx_str_t *body,
    ngx_uint_t format, const oa_reason_info_t *info);


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;
static ngx_http_output_body_filter_pt    ngx_http_next_body_filter;


static ngx_str_t  ngx_http_opsauth_content_types[] = {
    ngx_string("application/json"),
    ngx_string("application/problem+json")
};


ngx_int_t
ngx_http_opsauth_deny(ngx_http_request_t *r, ngx_http_opsauth_loc_conf_t *olcf,
    ngx_http_opsauth_ctx_t *ctx)
{
    ngx_str_t                value;
    const oa_reason_info_t  *info;

    static ngx_str_t  no_store = ngx_string("no-store");

    info = oa_reason_info(ctx->verdict.reason);

    if (ngx_http_opsauth_challenge(r, olcf, ctx, info) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* what was denied now may be allowed in a moment, for somebody else */

    if (ngx_http_opsauth_set_header(r, &ctx->cache_control, "Cache-Control",
                                    &no_store)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (info->status == NGX_HTTP_SERVICE_UNAVAILABLE
        || info->status == NGX_HTTP_TOO_MANY_REQUESTS)
    {
        value.data = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
        if (value.data == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        /* 503: random, so that all clients don't come back at once */

        value.len = ngx_sprintf(value.data, "%ui",
                                info->status == NGX_HTTP_TOO_MANY_REQUESTS
                                ? ngx_http_opsauth_rate_retry(ctx)
                                : (ngx_uint_t) (1 + ngx_random() % 3))
                    - value.data;

        if (ngx_http_opsauth_set_header(r, &ctx->retry_after, "Retry-After",
                                        &value)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    ctx->deny_status = info->status;

    return info->status;
}


/* RFC 6750 section 3 */

static ngx_int_t
ngx_http_opsauth_challenge(ngx_http_request_t *r,
    ngx_http_opsauth_loc_conf_t *olcf, ngx_http_opsauth_ctx_t *ctx,
    const oa_reason_info_t *info)
{
    u_char     *p;
    size_t      len;
    ngx_str_t   scope, value;

    if (info->status != NGX_HTTP_UNAUTHORIZED && info->error.len == 0) {
        return NGX_OK;
    }

    ngx_str_null(&scope);

    if (ctx->verdict.reason == OA_REASON_SCOPE && ctx->verdict.requirement) {
        scope = ngx_http_opsauth_str(ctx->verdict.requirement->any);
    }

    len = sizeof("Bearer realm=\"\", error=\"\", scope=\"\", "
                 "resource_metadata=\"\"") - 1
          + olcf->realm.len + info->error.len + scope.len
          + olcf->resource_metadata.len;

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    value.data = p;

    p = ngx_sprintf(p, "Bearer realm=\"%V\"", &olcf->realm);

    if (info->error.len) {
        p = ngx_sprintf(p, ", error=\"%*s\"", info->error.len,
                        info->error.data);
    }

    if (scope.len) {
        p = ngx_sprintf(p, ", scope=\"%V\"", &scope);
    }

    /* RFC 9728 section 5.1: where a client may learn how to get a token */

    if (info->status == NGX_HTTP_UNAUTHORIZED && olcf->resource_metadata.len) {
        p = ngx_sprintf(p, ", resource_metadata=\"%V\"",
                        &olcf->resource_metadata);
    }

    value.len = p - value.data;

    if (ngx_http_opsauth_set_header(r, &ctx->challenge, "WWW-Authenticate",
                                    &value)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    r->headers_out.www_authenticate = ctx->challenge;

    return NGX_OK;
}


/* pushes the header once; a second denial, after a redirect, reuses it */

static ngx_int_t
ngx_http_opsauth_set_header(ngx_http_request_t *r, ngx_table_elt_t **slot,
    const char *name, ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = *slot;

    if (h == NULL) {
        h = ngx_list_push(&r->headers_out.headers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        ngx_memzero(h, sizeof(ngx_table_elt_t));
        ngx_http_opsauth_elt_init(h);

        h->key.len = ngx_strlen(name);
        h->key.data = (u_char *) name;

        *slot = h;
    }

    h->hash = 1;
    h->value = *value;

    return NGX_OK;
}


static ngx_int_t
ngx_http_opsauth_header_filter(ngx_http_request_t *r)
{
    ngx_http_opsauth_ctx_t       *ctx;
    ngx_http_opsauth_loc_conf_t  *olcf;

    ctx = ngx_http_get_module_ctx(r, ngx_http_opsauth_module);
    olcf = ngx_http_get_module_loc_conf(r, ngx_http_opsauth_module);

    if (ctx && ctx->deny_status == 0
        && ctx->credential.state != OA_STATE_DEPRECATED
        && (ctx->rated == NGX_HTTP_OPSAUTH_RATE_NONE
            || olcf->rate_headers == NGX_HTTP_OPSAUTH_RATE_HEADERS_OFF))
    {
        return ngx_http_next_header_filter(r);
    }

    return ngx_http_opsauth_header_answer(r, ctx);
}


ngx_http_opsauth_rare ngx_int_t
ngx_http_opsauth_header_answer(ngx_http_request_t *r,
    ngx_http_opsauth_ctx_t *ctx)
{
    ngx_str_t                     *type;
    ngx_http_opsauth_ctx_t        *who;
    ngx_http_opsauth_loc_conf_t   *olcf;

    /* a redirect takes nothing back of what was said about the credential */

    who = ctx ? ctx : ngx_http_opsauth_get_ctx(r);

    if (who && who->credential.state == OA_STATE_DEPRECATED && r == r->main
        && ngx_http_opsauth_deprecated(r, who) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (who && who->rated && r == r->main) {
        olcf = ngx_http_get_module_loc_conf(r, ngx_http_opsauth_module);

        if (olcf->rate_headers
            && ngx_http_opsauth_rate_headers(r, olcf, who) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (ctx == NULL || ctx->deny_status == 0 || r != r->main
        || r->headers_out.status != ctx->deny_status)
    {
        return ngx_http_next_header_filter(r);
    }

    olcf = ngx_http_get_module_loc_conf(r, ngx_http_opsauth_module);

    if (olcf->error_format == NGX_HTTP_OPSAUTH_FORMAT_OFF) {
        return ngx_http_next_header_filter(r);
    }

    ngx_http_clear_content_length(r);
    ngx_http_clear_accept_ranges(r);
    ngx_http_clear_last_modified(r);
    ngx_http_clear_etag(r);

    type = &ngx_http_opsauth_content_types[olcf->error_format];

    r->headers_out.content_type = *type;
    r->headers_out.content_type_len = type->len;
    r->headers_out.content_type_lowcase = NULL;
    ngx_str_null(&r->headers_out.charset);

    r->headers_out.content_length_n =
        ((ngx_http_opsauth_main_conf_t *)
         ngx_http_get_module_main_conf(r, ngx_http_opsauth_module))
            ->bodies[olcf->error_format][ctx->verdict.reason].len;

    ctx->page = 1;

    return ngx_http_next_header_filter(r);
}


static ngx_int_t
ngx_http_opsauth_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_http_opsauth_ctx_t  *ctx;

    if (r != r->main) {
        return ngx_http_opsauth_subrequest_body(r, in);
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_opsauth_module);

    if (ctx == NULL || ctx->page == 0 || in == NULL) {
        return ngx_http_next_body_filter(r, in);
    }

    return ngx_http_opsauth_page(r, ctx, in);
}


ngx_http_opsauth_rare ngx_int_t
ngx_http_opsauth_subrequest_body(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_http_opsauth_introspection_t  *introspection;

    introspection = ngx_http_opsauth_introspection_of(r);

    return introspection
           ? ngx_http_opsauth_introspection_filter(r, introspection, in)
           : ngx_http_next_body_filter(r, in);
}


ngx_http_opsauth_rare ngx_int_t
ngx_http_opsauth_page(ngx_http_request_t *r, ngx_http_opsauth_ctx_t *ctx,
    ngx_chain_t *in)
{
    ngx_buf_t                     *b;
    ngx_str_t                     *body;
    ngx_chain_t                    out;
    ngx_http_opsauth_loc_conf_t   *olcf;
    ngx_http_opsauth_main_conf_t  *omcf;

    /* nginx's page comes in one chain; whatever may follow it is dropped */

    for ( /* void */ ; in; in = in->next) {
        in->buf->pos = in->buf->last;
    }

    if (ctx->page == 2) {
        return ngx_http_next_body_filter(r, NULL);
    }

    ctx->page = 2;

    olcf = ngx_http_get_module_loc_conf(r, ngx_http_opsauth_module);
    omcf = ngx_http_get_module_main_conf(r, ngx_http_opsauth_module);

    body = &omcf->bodies[olcf->error_format][ctx->verdict.reason];

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = body->data;
    b->last = body->data + body->len;
    b->memory = 1;
    b->last_buf = 1;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_next_body_filter(r, &out);
}


void
ngx_http_opsauth_init_filters(void)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_opsauth_header_filter;

    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_opsauth_body_filter;
}


ngx_int_t
ngx_http_opsauth_init_bodies(ngx_conf_t *cf,
    ngx_http_opsauth_main_conf_t *omcf)
{
    ngx_uint_t  format, reason;

    for (format = 0; format < NGX_HTTP_OPSAUTH_FORMATS; format++) {
        for (reason = 0; reason < OA_REASON_COUNT; reason++) {

            if (ngx_http_opsauth_init_body(cf, &omcf->bodies[format][reason],
                                           format, oa_reason_info(reason))
                != NGX_OK)
            {
                return NGX_ERROR;
            }
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_opsauth_init_body(ngx_conf_t *cf, ngx_str_t *body, ngx_uint_t format,
    const oa_reason_info_t *info)
{
    u_char  *last;
    size_t   len;

    len = 128 + info->code.len + info->title.len + info->message.len;

    body->data = ngx_pnalloc(cf->pool, len);
    if (body->data == NULL) {
        return NGX_ERROR;
    }

    /* texts of ours, without a quote or a backslash: nothing to escape */

    if (format == NGX_HTTP_OPSAUTH_FORMAT_JSON) {
        last = ngx_snprintf(body->data, len,
                            "{\"success\":false,\"error\":{\"code\":\"%*s\","
                            "\"message\":\"%*s\"}}" CRLF,
                            info->code.len, info->code.data,
                            info->message.len, info->message.data);
    } else {
        last = ngx_snprintf(body->data, len,
                            "{\"type\":\"about:blank\",\"title\":\"%*s\","
                            "\"status\":%ui,\"detail\":\"%*s\"}" CRLF,
                            info->title.len, info->title.data,
                            (ngx_uint_t) info->status,
                            info->message.len, info->message.data);
    }

    body->len = last - body->data;

    return NGX_OK;
}
