/*
 * The subrequest that asks (RFC 7662 section 2.1): a POST to a location of the
 * operator's, with headers, body and variables of its own. Nothing of the
 * client's request goes along: neither its headers, which may carry what the
 * authorization server would act upon, nor values of variables that were
 * evaluated for it; nor do such that are evaluated here get into its logs.
 *
 * The location must be internal: a name that is mistyped would find another
 * one, and take the token to a backend.
 *
 * The answer is kept in memory, up to a bound. nginx's own way to do that
 * (NGX_HTTP_SUBREQUEST_IN_MEMORY) ends the client's connection when an answer
 * is too large; here whatever goes wrong leaves the client's request to its own
 * answer. Error pages of the location are not looked for, since one that is
 * inherited might take the token elsewhere, too.
 */

#include "ngx_http_opsauth_introspection.h"
#include "ngx_http_opsauth_compat.h"


/* bytes of an answer */
#define NGX_HTTP_OPSAUTH_ANSWER_MAX  16384

/* all that a token may be of: letters, digits, - . _ ~ + / = */
#define ngx_http_opsauth_is_escaped(c)  ((c) == '+' || (c) == '/' || (c) == '=')


static ngx_http_request_body_t *ngx_http_opsauth_introspection_body(
    ngx_http_request_t *r, ngx_str_t *token);
static ngx_int_t ngx_http_opsauth_introspection_headers(ngx_http_request_t *r,
    ngx_http_headers_in_t *headers, size_t body);
static ngx_table_elt_t *ngx_http_opsauth_introspection_header(
    ngx_http_headers_in_t *headers, const char *name, const char *lowcase,
    ngx_str_t value);
static ngx_int_t ngx_http_opsauth_introspection_take(
    ngx_http_request_t *sr, ngx_http_opsauth_introspection_t *in,
    ngx_buf_t *b);
static ngx_int_t ngx_http_opsauth_introspection_done(ngx_http_request_t *sr,
    void *data, ngx_int_t rc);


static ngx_str_t  ngx_http_opsauth_post_method = ngx_string("POST");


ngx_int_t
ngx_http_opsauth_introspection_ask(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in)
{
    ngx_str_t                    uri;
    ngx_http_request_t          *sr;
    ngx_http_headers_in_t        headers;
    ngx_http_request_body_t     *body;
    ngx_http_core_main_conf_t   *cmcf;
    ngx_http_variable_value_t   *variables;
    ngx_http_post_subrequest_t  *ps;

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    ps = ngx_palloc(r->pool, sizeof(ngx_http_post_subrequest_t));
    variables = ngx_pcalloc(r->pool, cmcf->variables.nelts
                                     * sizeof(ngx_http_variable_value_t));
    body = ngx_http_opsauth_introspection_body(r, &in->ctx->bearer);

    if (ps == NULL || variables == NULL || body == NULL
        || ngx_http_opsauth_introspection_headers(r, &headers,
                                   ngx_buf_size(body->bufs->buf))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    ps->handler = ngx_http_opsauth_introspection_done;
    ps->data = in;

    uri = in->conf->uri;

    if (ngx_http_subrequest(r, &uri, NULL, &sr, ps,
                            NGX_HTTP_SUBREQUEST_WAITED)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    sr->method = NGX_HTTP_POST;
    sr->method_name = ngx_http_opsauth_post_method;
    sr->headers_in = headers;
    sr->headers_in.headers.last = &sr->headers_in.headers.part;
    sr->request_body = body;
    sr->variables = variables;
    sr->filter_need_in_memory = 1;

    in->body = body->buf;
    in->status = 0;
    in->answer.len = 0;
    in->answer.data = NULL;
    in->refused = 0;

    return NGX_OK;
}


/* token=...&token_type_hint=access_token */

static ngx_http_request_body_t *
ngx_http_opsauth_introspection_body(ngx_http_request_t *r, ngx_str_t *token)
{
    u_char                    c;
    size_t                    i, len;
    ngx_buf_t                *b;
    ngx_http_request_body_t  *body;

    static const char  start[] = "token=";
    static const char  end[] = "&token_type_hint=access_token";

    len = sizeof(start) - 1 + 3 * token->len + sizeof(end) - 1;

    b = ngx_create_temp_buf(r->pool, len);
    body = ngx_pcalloc(r->pool, sizeof(ngx_http_request_body_t));

    if (b == NULL || body == NULL) {
        return NULL;
    }

    body->bufs = ngx_alloc_chain_link(r->pool);
    if (body->bufs == NULL) {
        return NULL;
    }

    b->last = ngx_cpymem(b->last, start, sizeof(start) - 1);

    for (i = 0; i < token->len; i++) {
        c = token->data[i];

        if (ngx_http_opsauth_is_escaped(c)) {
            b->last = ngx_sprintf(b->last, "%%%02Xd", (u_int) c);

        } else {
            *b->last++ = c;
        }
    }

    b->last = ngx_cpymem(b->last, end, sizeof(end) - 1);
    b->last_buf = 1;
    b->last_in_chain = 1;

    body->bufs->buf = b;
    body->bufs->next = NULL;
    body->buf = b;

    return body;
}


static ngx_int_t
ngx_http_opsauth_introspection_headers(ngx_http_request_t *r,
    ngx_http_headers_in_t *headers, size_t body)
{
    ngx_str_t  length, type, accept;

    ngx_memzero(headers, sizeof(ngx_http_headers_in_t));

    if (ngx_list_init(&headers->headers, r->pool, 4, sizeof(ngx_table_elt_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    length.data = ngx_pnalloc(r->pool, NGX_SIZE_T_LEN);
    if (length.data == NULL) {
        return NGX_ERROR;
    }

    length.len = ngx_sprintf(length.data, "%uz", body) - length.data;

    ngx_str_set(&type, "application/x-www-form-urlencoded");
    ngx_str_set(&accept, "application/json");

    headers->content_length_n = body;
    headers->keep_alive_n = -1;

    headers->content_length = ngx_http_opsauth_introspection_header(headers,
                                  "Content-Length", "content-length", length);
    headers->content_type = ngx_http_opsauth_introspection_header(headers,
                                  "Content-Type", "content-type", type);

    if (headers->content_length == NULL || headers->content_type == NULL
        || ngx_http_opsauth_introspection_header(headers, "Accept", "accept",
                                                 accept)
           == NULL)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_table_elt_t *
ngx_http_opsauth_introspection_header(ngx_http_headers_in_t *headers,
    const char *name, const char *lowcase, ngx_str_t value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&headers->headers);
    if (h == NULL) {
        return NULL;
    }

    h->key.len = ngx_strlen(name);
    h->key.data = (u_char *) name;
    h->lowcase_key = (u_char *) lowcase;
    h->hash = ngx_hash_key(h->lowcase_key, h->key.len);
    h->value = value;
    ngx_http_opsauth_elt_init(h);

    return h;
}


ngx_http_opsauth_introspection_t *
ngx_http_opsauth_introspection_of(ngx_http_request_t *sr)
{
    if (sr == sr->main || sr->post_subrequest == NULL
        || sr->post_subrequest->handler
           != ngx_http_opsauth_introspection_done)
    {
        return NULL;
    }

    return sr->post_subrequest->data;
}


ngx_int_t
ngx_http_opsauth_introspection_preaccess(ngx_http_request_t *sr)
{
    ngx_http_core_loc_conf_t          *clcf;
    ngx_http_opsauth_introspection_t  *in;

    in = ngx_http_opsauth_introspection_of(sr);

    if (in == NULL) {
        return NGX_DECLINED;
    }

    clcf = ngx_http_get_module_loc_conf(sr, ngx_http_core_module);

    if (clcf->internal) {
        return NGX_DECLINED;
    }

    ngx_log_error(NGX_LOG_ERR, sr->connection->log, 0,
                  "opsauth: introspection \"%V\" leads to location \"%V\", "
                  "which is not internal: write \"location = %V { internal; "
                  "... }\"", &in->conf->uri, &clcf->name, &in->conf->uri);

    return NGX_HTTP_FORBIDDEN;
}


ngx_int_t
ngx_http_opsauth_introspection_filter(ngx_http_request_t *sr,
    ngx_http_opsauth_introspection_t *in, ngx_chain_t *chain)
{
    for ( /* void */ ; chain; chain = chain->next) {

        if (!ngx_buf_special(chain->buf)
            && ngx_http_opsauth_introspection_take(sr, in, chain->buf)
               != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_opsauth_introspection_take(ngx_http_request_t *sr,
    ngx_http_opsauth_introspection_t *in, ngx_buf_t *b)
{
    size_t  len;

    len = b->last - b->pos;

    if (!ngx_buf_in_memory(b)
        || len > NGX_HTTP_OPSAUTH_ANSWER_MAX - in->answer.len)
    {
        if (!in->refused) {
            ngx_log_error(NGX_LOG_ERR, sr->connection->log, 0,
                          "opsauth: introspection \"%V\" failed: the answer "
                          "is larger than %d bytes", &in->conf->uri,
                          NGX_HTTP_OPSAUTH_ANSWER_MAX);
        }

        goto refused;
    }

    if (in->answer.data == NULL) {
        in->answer.data = ngx_palloc(sr->pool, NGX_HTTP_OPSAUTH_ANSWER_MAX);
        if (in->answer.data == NULL) {
            goto refused;
        }
    }

    ngx_memcpy(in->answer.data + in->answer.len, b->pos, len);

    in->answer.len += len;
    b->pos = b->last;

    return NGX_OK;

refused:

    /* nginx takes that for the client's end, if it has not come before */

    in->refused = in->refused || !sr->connection->error;

    return NGX_ERROR;
}


/*
 * Also called for a subrequest that ends with the client's request: then
 * nothing may run any more, and who waits is told by a cleanup of that one.
 */

static ngx_int_t
ngx_http_opsauth_introspection_done(ngx_http_request_t *sr, void *data,
    ngx_int_t rc)
{
    ngx_http_opsauth_introspection_t  *in = data;

    if (in->refused) {
        sr->connection->error = 0;
        rc = NGX_ERROR;
    }

    if (sr->connection->error || rc == NGX_HTTP_CLIENT_CLOSED_REQUEST) {
        return rc;
    }

    ngx_explicit_memzero(in->body->start, in->body->end - in->body->start);

    in->status = (rc == NGX_OK) ? sr->headers_out.status
                 : (rc > NGX_OK) ? (ngx_uint_t) rc : 0;

    /* what a filter refused is not held back for it */

    sr->buffered = 0;

    /* by an event, as after any wait: the parent that nginx wakes goes on with
       nothing (ngx_http_opsauth_suspend()) */

    in->ctx->answered = 1;

    ngx_post_event(&in->ctx->event, &ngx_posted_events);

    return NGX_OK;
}
