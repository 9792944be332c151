/*
 * The token service's content handler: what kind of request it must be, its
 * body, its form. The body is read without nginx's buffering, into one piece
 * of memory that is wiped: what is in it must never reach a temporary file.
 *
 * error_page does not apply: an OAuth client needs the JSON that is answered.
 */

#include "ngx_http_opsauth_oauth_grant.h"
#include "ngx_http_opsauth_oauth_page.h"


static ngx_int_t ngx_http_opsauth_oauth_check(ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_form_type(ngx_http_request_t *r);
static ngx_int_t ngx_http_opsauth_oauth_query(ngx_http_opsauth_oauth_t *oauth);
static void ngx_http_opsauth_oauth_body(ngx_http_request_t *r);
static ngx_int_t ngx_http_opsauth_oauth_read(ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_collect(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_start(ngx_http_opsauth_oauth_t *oauth);


static const ngx_http_opsauth_oauth_endpoint_t
    ngx_http_opsauth_oauth_endpoints[NGX_HTTP_OPSAUTH_OAUTH_KINDS] =
{
    [NGX_HTTP_OPSAUTH_OAUTH_TOKEN] = {
        ngx_string("token"), NGX_HTTP_POST, ngx_string("POST"),
        ngx_http_opsauth_oauth_token, NULL },

    [NGX_HTTP_OPSAUTH_OAUTH_REVOKE] = {
        ngx_string("revoke"), NGX_HTTP_POST, ngx_string("POST"),
        ngx_http_opsauth_oauth_revoke, NULL },

    [NGX_HTTP_OPSAUTH_OAUTH_INTROSPECT] = {
        ngx_string("introspect"), NGX_HTTP_POST, ngx_string("POST"),
        ngx_http_opsauth_oauth_introspect, NULL },

    [NGX_HTTP_OPSAUTH_OAUTH_AUTHORIZE] = {
        ngx_string("authorize"), NGX_HTTP_GET|NGX_HTTP_HEAD|NGX_HTTP_POST,
        ngx_string("GET, HEAD, POST"), ngx_http_opsauth_oauth_authorize,
        ngx_http_opsauth_oauth_authorize_failed },

    [NGX_HTTP_OPSAUTH_OAUTH_METADATA] = {
        ngx_string("metadata"), NGX_HTTP_GET|NGX_HTTP_HEAD,
        ngx_string("GET, HEAD"), ngx_http_opsauth_oauth_document, NULL },

    [NGX_HTTP_OPSAUTH_OAUTH_RESOURCE] = {
        ngx_string("resource"), NGX_HTTP_GET|NGX_HTTP_HEAD,
        ngx_string("GET, HEAD"), ngx_http_opsauth_oauth_document, NULL }
};


const ngx_http_opsauth_oauth_endpoint_t *
ngx_http_opsauth_oauth_endpoint(ngx_uint_t kind)
{
    return &ngx_http_opsauth_oauth_endpoints[kind];
}


ngx_int_t
ngx_http_opsauth_oauth_handler(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    ngx_http_opsauth_ctx_t       *ctx;
    ngx_http_opsauth_oauth_t     *oauth;
    ngx_http_opsauth_loc_conf_t  *olcf;

    if (r != r->main) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "opsauth: an endpoint of \"opsauth_oauth\" can't be used "
                      "in a subrequest");
        return NGX_HTTP_FORBIDDEN;
    }

    olcf = ngx_http_get_module_loc_conf(r, ngx_http_opsauth_module);

    oauth = ngx_pcalloc(r->pool, sizeof(ngx_http_opsauth_oauth_t));
    ctx = ngx_http_opsauth_make_ctx(r);

    if (oauth == NULL || ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    oauth->request = r;
    oauth->conf = olcf->oauth;
    oauth->store = olcf->oauth->store;
    oauth->endpoint = ngx_http_opsauth_oauth_endpoint(olcf->oauth->kind);

    if (ngx_http_opsauth_oauth_init(oauth) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->oauth = oauth;

    rc = ngx_http_opsauth_oauth_check(oauth);
    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (r->method != NGX_HTTP_POST) {
        rc = ngx_http_discard_request_body(r);
        if (rc != NGX_OK) {
            return rc;
        }

        rc = ngx_http_opsauth_oauth_query(oauth);
        if (rc == NGX_DECLINED) {
            rc = ngx_http_opsauth_oauth_start(oauth);
        }

        if (rc == NGX_AGAIN) {
            r->main->count++;
            return NGX_DONE;
        }

        ngx_http_opsauth_oauth_leave(oauth);

        return rc;
    }

    r->request_body_no_buffering = 1;
    r->request_body_in_file_only = 0;

    rc = ngx_http_read_client_request_body(r, ngx_http_opsauth_oauth_body);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


/* what can be said by the header alone; NGX_DECLINED: nothing is wrong */

static ngx_int_t
ngx_http_opsauth_oauth_check(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_int_t            rc;
    ngx_uint_t           status;
    const char          *description;
    ngx_http_request_t  *r;

    r = oauth->request;

    if (!(r->method & oauth->endpoint->methods)) {

        if (ngx_http_opsauth_add_header(r, "Allow",
                                          (ngx_str_t *) &oauth->endpoint->allow)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        status = NGX_HTTP_NOT_ALLOWED;
        description = "this endpoint doesn't serve that method";

    } else if (r->method != NGX_HTTP_POST) {
        return NGX_DECLINED;

    } else if (ngx_http_opsauth_oauth_form_type(r) != NGX_OK) {
        status = NGX_HTTP_BAD_REQUEST;
        description = "the content type must be "
                      "application/x-www-form-urlencoded";

    } else if (r->headers_in.content_length_n
               > NGX_HTTP_OPSAUTH_OAUTH_BODY_MAX)
    {
        status = NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;
        description = "the body is too large";

    } else {
        return NGX_DECLINED;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_opsauth_oauth_error(oauth, status, "invalid_request",
                                        description, NULL);
}


static ngx_int_t
ngx_http_opsauth_oauth_form_type(ngx_http_request_t *r)
{
    u_char     *last;
    ngx_str_t  *type;

    static ngx_str_t  form = ngx_string("application/x-www-form-urlencoded");

    if (r->headers_in.content_type == NULL) {
        return NGX_DECLINED;
    }

    type = &r->headers_in.content_type->value;

    if (type->len < form.len
        || ngx_strncasecmp(type->data, form.data, form.len) != 0)
    {
        return NGX_DECLINED;
    }

    last = type->data + form.len;

    if (type->len == form.len || *last == ';' || *last == ' ' || *last == '\t')
    {
        return NGX_OK;
    }

    return NGX_DECLINED;
}


/* the form of a GET stands in the query; NGX_DECLINED: it could be read */

static ngx_int_t
ngx_http_opsauth_oauth_query(ngx_http_opsauth_oauth_t *oauth)
{
    u_char      *query;
    const char  *error;
    ngx_str_t   *args;

    args = &oauth->request->args;

    if (oauth->conf->document.len || args->len == 0) {
        return NGX_DECLINED;
    }

    if (args->len > NGX_HTTP_OPSAUTH_OAUTH_BODY_MAX) {
        return ngx_http_opsauth_oauth_invalid_request(oauth,
                                                      "the query is too long");
    }

    query = ngx_http_opsauth_oauth_secret(oauth, args->len);
    if (query == NULL) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    ngx_memcpy(query, args->data, args->len);

    if (oa_form_parse(query, args->len, &oauth->form, &error) != OA_OK) {
        oauth->form.n = 0;
        return ngx_http_opsauth_oauth_invalid_request(oauth, error);
    }

    return NGX_DECLINED;
}


/* called by nginx as soon as the first of the body is there, then at each event
   until all of it is */

static void
ngx_http_opsauth_oauth_body(ngx_http_request_t *r)
{
    ngx_http_opsauth_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_opsauth_module);

    ngx_http_opsauth_oauth_run(ctx->oauth, ngx_http_opsauth_oauth_read);
}


static ngx_int_t
ngx_http_opsauth_oauth_read(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_int_t            rc;
    const char          *error;
    ngx_http_request_t  *r;

    r = oauth->request;

    for ( ;; ) {
        rc = ngx_http_opsauth_oauth_collect(oauth);

        if (rc == NGX_DECLINED) {
            return ngx_http_opsauth_oauth_error(oauth,
                                           NGX_HTTP_REQUEST_ENTITY_TOO_LARGE,
                                           "invalid_request",
                                           "the body is too large", NULL);
        }

        if (rc != NGX_OK) {
            return ngx_http_opsauth_oauth_failed(oauth);
        }

        if (!r->reading_body) {
            break;
        }

        rc = ngx_http_read_unbuffered_request_body(r);

        if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
            return rc;
        }

        if (rc == NGX_AGAIN && r->request_body->bufs == NULL) {
            r->read_event_handler = ngx_http_opsauth_oauth_body;
            return NGX_AGAIN;
        }
    }

    r->read_event_handler = ngx_http_block_reading;

    if (oa_form_parse(oauth->body.data, oauth->body.len, &oauth->form, &error)
        != OA_OK)
    {
        oauth->form.n = 0;
        return ngx_http_opsauth_oauth_invalid_request(oauth, error);
    }

    return ngx_http_opsauth_oauth_start(oauth);
}


/*
 * Takes over what was read. NGX_DECLINED: it is more than a request may have.
 * A body may also have been read before, for another location, as nginx
 * pleased: then what it has put into a file is refused here.
 */

static ngx_int_t
ngx_http_opsauth_oauth_collect(ngx_http_opsauth_oauth_t *oauth)
{
    size_t                    size;
    ngx_buf_t                *b;
    ngx_chain_t              *cl;
    ngx_http_request_body_t  *rb;

    rb = oauth->request->request_body;

    if (rb == NULL) {
        return NGX_OK;
    }

    for (cl = rb->bufs; cl; cl = cl->next) {
        b = cl->buf;

        if (b->in_file) {
            return NGX_DECLINED;
        }

        size = b->last - b->pos;

        if (size == 0) {
            continue;
        }

        if (size > NGX_HTTP_OPSAUTH_OAUTH_BODY_MAX - oauth->body.len) {
            return NGX_DECLINED;
        }

        if (oauth->body.data == NULL) {
            oauth->body.data = ngx_http_opsauth_oauth_secret(oauth,
                                          NGX_HTTP_OPSAUTH_OAUTH_BODY_MAX);
            if (oauth->body.data == NULL) {
                return NGX_ERROR;
            }
        }

        ngx_memcpy(oauth->body.data + oauth->body.len, b->pos, size);
        oauth->body.len += size;

        ngx_explicit_memzero(b->pos, size);
        b->pos = b->last;
    }

    rb->bufs = NULL;

    return NGX_OK;
}


static ngx_int_t
ngx_http_opsauth_oauth_start(ngx_http_opsauth_oauth_t *oauth)
{
    if (oauth->conf->document.len == 0) {

        oauth->worker = ngx_http_opsauth_worker(oauth->store);

        if (oauth->worker == NULL) {
            return ngx_http_opsauth_oauth_unavailable(oauth, "no memory");
        }
    }

    return oauth->endpoint->start(oauth);
}
