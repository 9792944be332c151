/*
 * A request that waits for an answer from elsewhere, and goes on when an event
 * of ours was posted. The access phase and the token service wait alike.
 */

#include "ngx_http_opsauth.h"


/*
 * The order is limit_req's. The read handler that tests the connection gives
 * 499 as soon as the client goes away; without it that would be noticed only
 * after the answer. Nobody but the posted event goes on with the request: epoll
 * tells of a socket that can be written to with each request.
 */

ngx_int_t
ngx_http_opsauth_suspend(ngx_http_request_t *r)
{
    if (r->connection->read->ready) {
        ngx_post_event(r->connection->read, &ngx_posted_events);

    } else if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    return NGX_AGAIN;
}


void
ngx_http_opsauth_resume(ngx_http_request_t *r,
    void (*go_on)(ngx_http_request_t *r))
{
    ngx_connection_t  *c;

    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    r->read_event_handler = ngx_http_block_reading;

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);

    } else {
        go_on(r);
    }

    ngx_http_run_posted_requests(c);
}
