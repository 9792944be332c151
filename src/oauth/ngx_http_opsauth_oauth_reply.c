/*
 * Answers of the token service: JSON (RFC 6749 sections 5.1 and 5.2), never
 * kept by any cache. What an answer was made of is wiped when it was sent.
 */

#include "ngx_http_opsauth_oauth.h"
#include "ngx_http_opsauth_status.h"

#include <openssl/crypto.h>


static void ngx_http_opsauth_oauth_json_wipe(json_t *json);
static ngx_int_t ngx_http_opsauth_oauth_challenge(
    ngx_http_opsauth_oauth_t *oauth);


ngx_int_t
ngx_http_opsauth_oauth_json(ngx_http_opsauth_oauth_t *oauth, ngx_uint_t status,
    json_t *body)
{
    size_t     size;
    ngx_str_t  text;

    static ngx_str_t  type = ngx_string("application/json");

    if (body == NULL) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    size = json_dumpb(body, NULL, 0, JSON_COMPACT);
    text.len = 0;
    text.data = ngx_http_opsauth_oauth_secret(oauth, size + 1);

    if (text.data) {
        text.len = json_dumpb(body, (char *) text.data, size, JSON_COMPACT);
    }

    ngx_http_opsauth_oauth_json_wipe(body);
    json_decref(body);

    if (size == 0 || text.len != size) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    return ngx_http_opsauth_oauth_send(oauth, status, &type, &text, NULL);
}


/* jansson has copies of the strings, and frees them as they are */

static void
ngx_http_opsauth_oauth_json_wipe(json_t *json)
{
    json_t      *value;
    const char  *key;

    json_object_foreach(json, key, value) {
        if (json_is_string(value)) {
            OPENSSL_cleanse((char *) json_string_value(value),
                            json_string_length(value));
        }
    }
}


ngx_int_t
ngx_http_opsauth_oauth_send(ngx_http_opsauth_oauth_t *oauth, ngx_uint_t status,
    ngx_str_t *type, ngx_str_t *body, ngx_str_t *cache)
{
    ngx_int_t            rc;
    ngx_buf_t           *b;
    ngx_chain_t          out;
    ngx_http_request_t  *r;

    static ngx_str_t  no_store = ngx_string("no-store");
    static ngx_str_t  no_cache = ngx_string("no-cache");

    r = oauth->request;

    if (ngx_http_opsauth_add_header(r, "Cache-Control",
                                      cache ? cache : &no_store)
        != NGX_OK
        || (cache == NULL
            && ngx_http_opsauth_add_header(r, "Pragma", &no_cache)
               != NGX_OK))
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = status;
    r->headers_out.content_type = *type;
    r->headers_out.content_type_len = type->len;
    r->headers_out.content_type_lowcase = NULL;
    r->headers_out.content_length_n = body->len;

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK) {
        return rc;
    }

    if (r->header_only) {
        return NGX_OK;
    }

    b->pos = body->data;
    b->last = body->data + body->len;
    b->memory = body->len ? 1 : 0;
    b->last_buf = 1;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    rc = ngx_http_output_filter(r, &out);

    /* what could not be sent at once nginx sends when the request is finalized;
       a step's NGX_AGAIN would say that it isn't answered yet */

    return (rc == NGX_AGAIN) ? NGX_OK : rc;
}


ngx_int_t
ngx_http_opsauth_oauth_error(ngx_http_opsauth_oauth_t *oauth,
    ngx_uint_t status, const char *error, const char *description,
    const char *reason)
{
    json_t              *body;
    ngx_http_request_t  *r;

    r = oauth->request;
    oauth->error = error;

    ngx_http_opsauth_count_oauth_error(oauth->store, error);

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "opsauth: \"opsauth_oauth %V\" answers %ui \"%s\": %s, "
                  "client \"%*s\"", &oauth->endpoint->name, status, error,
                  reason ? reason : description, oauth->client_id.len,
                  oauth->client_id.data);

    if (oauth->endpoint->failed) {
        return oauth->endpoint->failed(oauth, status, error, description);
    }

    if (status == NGX_HTTP_UNAUTHORIZED && oauth->basic
        && ngx_http_opsauth_oauth_challenge(oauth) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body = json_pack("{s:s, s:s}", "error", error,
                     "error_description", description);

    return ngx_http_opsauth_oauth_json(oauth, status, body);
}


/* RFC 6749 section 5.2: in the scheme that the client has tried */

static ngx_int_t
ngx_http_opsauth_oauth_challenge(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_str_t                     value;
    ngx_http_request_t           *r;
    ngx_http_opsauth_loc_conf_t  *olcf;

    r = oauth->request;
    olcf = ngx_http_get_module_loc_conf(r, ngx_http_opsauth_module);

    value.data = ngx_pnalloc(r->pool, sizeof("Basic realm=\"\"") - 1
                                      + olcf->realm.len);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    value.len = ngx_sprintf(value.data, "Basic realm=\"%V\"", &olcf->realm)
                - value.data;

    return ngx_http_opsauth_add_header(r, "WWW-Authenticate", &value);
}


ngx_int_t
ngx_http_opsauth_oauth_invalid_request(ngx_http_opsauth_oauth_t *oauth,
    const char *description)
{
    return ngx_http_opsauth_oauth_error(oauth, NGX_HTTP_BAD_REQUEST,
                                        "invalid_request", description, NULL);
}


/* one description for all reasons: whoever has found a code or a token must not
   learn what is wrong with it */

ngx_int_t
ngx_http_opsauth_oauth_invalid_grant(ngx_http_opsauth_oauth_t *oauth,
    const char *reason)
{
    return ngx_http_opsauth_oauth_error(oauth, NGX_HTTP_BAD_REQUEST,
                                        "invalid_grant",
                                        "the grant is not valid", reason);
}


ngx_int_t
ngx_http_opsauth_oauth_unavailable(ngx_http_opsauth_oauth_t *oauth,
    const char *reason)
{
    static ngx_str_t  seconds[] = {
        ngx_string("1"), ngx_string("2"), ngx_string("3")
    };

    /* random, so that all clients don't come back at once */

    if (ngx_http_opsauth_add_header(oauth->request, "Retry-After",
                                      &seconds[ngx_random() % 3])
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_opsauth_oauth_error(oauth, NGX_HTTP_SERVICE_UNAVAILABLE,
                                        "temporarily_unavailable",
                                        "the service can't answer now",
                                        reason);
}


ngx_int_t
ngx_http_opsauth_oauth_failed(ngx_http_opsauth_oauth_t *oauth)
{
    oauth->error = "server_error";

    ngx_http_opsauth_count_oauth_error(oauth->store, oauth->error);

    return NGX_HTTP_INTERNAL_SERVER_ERROR;
}
