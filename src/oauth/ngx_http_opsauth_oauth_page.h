/*
 * HTML pages for people: one look for all of them, and the headers that keep
 * them from being framed, cached, scripted or leaked.
 */

#ifndef NGX_HTTP_OPSAUTH_OAUTH_PAGE_H
#define NGX_HTTP_OPSAUTH_OAUTH_PAGE_H

#include "ngx_http_opsauth_oauth.h"
#include "ngx_http_opsauth_text.h"

#include "oa_authorize.h"


typedef struct {
    ngx_http_opsauth_oauth_t     *oauth;
    ngx_http_opsauth_text_buf_t   text;     /* failed: it won't be sent */
} ngx_http_opsauth_oauth_page_t;


/* what the consent page shows and sends back, besides the client and the form
   of the request; views, escaped by the page */
typedef struct {
    oa_str_t             account_name;  /* may be absent */
    oa_str_t             subject;
    oa_str_t             redirect;      /* where the answer will go */
    oa_str_t             scopes;        /* that will be granted */
    oa_str_t             ticket;
    ngx_str_t            cookie;        /* the browser's */
    unsigned             again:1;       /* an earlier answer was not taken */
} ngx_http_opsauth_oauth_consent_t;


/* parameters of a request that the consent form hands on; NULL at the end */
extern const char *const  ngx_http_opsauth_oauth_handed_on[];


/* begins a page; title is plain text */
void ngx_http_opsauth_oauth_page_begin(ngx_http_opsauth_oauth_page_t *page,
    ngx_http_opsauth_oauth_t *oauth, const char *title);

/* HTML as it stands */
void ngx_http_opsauth_oauth_page_html(ngx_http_opsauth_oauth_page_t *page,
    const char *html);

/* any text, escaped for elements and quoted attributes */
void ngx_http_opsauth_oauth_page_text(ngx_http_opsauth_oauth_page_t *page,
    oa_str_t text);

/*
 * Ends and sends it, with all headers; form_action: sources of that directive,
 * NULL: no form may be sent. Returns what a step returns.
 */
ngx_int_t ngx_http_opsauth_oauth_page_send(ngx_http_opsauth_oauth_page_t *page,
    ngx_uint_t status, ngx_str_t *form_action);

/* a whole page that only says something; three static texts, plain */
ngx_int_t ngx_http_opsauth_oauth_page_error(ngx_http_opsauth_oauth_t *oauth,
    ngx_uint_t status, const char *heading, const char *advice,
    const char *reason);

/*
 * A redirect that no cache keeps; 303, so that a browser goes on with GET (RFC
 * 9700 section 4.12). location is the request's own; once it was sent, all but
 * its first bytes is wiped, and these are what $sent_http_location has.
 */
ngx_int_t ngx_http_opsauth_oauth_page_redirect(ngx_http_opsauth_oauth_t *oauth,
    ngx_str_t *location, size_t shown);


/* ngx_http_opsauth_oauth_authorize.c: the endpoint's first step, and its errors
   as pages */

ngx_int_t ngx_http_opsauth_oauth_authorize(ngx_http_opsauth_oauth_t *oauth);
ngx_int_t ngx_http_opsauth_oauth_authorize_failed(
    ngx_http_opsauth_oauth_t *oauth, ngx_uint_t status, const char *error,
    const char *description);


/* ngx_http_opsauth_oauth_ticket.c */

/* sets consent->ticket and the answer's cookie, for all that is in consent and
   in the request; NGX_ERROR: failed */
ngx_int_t ngx_http_opsauth_oauth_ticket_make(ngx_http_opsauth_oauth_t *oauth,
    ngx_http_opsauth_oauth_consent_t *consent);

/* NGX_DECLINED: the form is not the one of that page, user and browser, or too
   old; *reason is for the log */
ngx_int_t ngx_http_opsauth_oauth_ticket_check(ngx_http_opsauth_oauth_t *oauth,
    ngx_http_opsauth_oauth_consent_t *consent, const char **reason);


/* ngx_http_opsauth_oauth_consent.c */

/* sends the page that asks; status 200, or 403 where again is set */
ngx_int_t ngx_http_opsauth_oauth_consent_page(ngx_http_opsauth_oauth_t *oauth,
    const ngx_http_opsauth_oauth_consent_t *consent);


#endif /* NGX_HTTP_OPSAUTH_OAUTH_PAGE_H */
