/*
 * The look of all pages, and how they leave. No script, no image, no font, no
 * request for anything else: the style sheet stands in the page, named by its
 * hash in Content-Security-Policy, so that nothing that got into a page by
 * mistake could run, load or be sent anywhere.
 *
 * Contrast is at least 4.5:1 in both schemes; sizes follow the reader's font
 * size, so that zoom and large print reflow into one column.
 */

#include "ngx_http_opsauth_oauth_page.h"

#include <openssl/evp.h>


static ngx_int_t ngx_http_opsauth_oauth_page_headers(ngx_http_request_t *r);


static const char  ngx_http_opsauth_oauth_style[] =
    ":root{color-scheme:light dark;--back:#f2f4f7;--card:#fff;--text:#1a1d21;"
    "--soft:#535b65;--line:#c9cfd6;--main:#0b57d0;--on-main:#fff;"
    "--warn:#fff4d6;--warn-line:#9a6700}"
    "@media(prefers-color-scheme:dark){:root{--back:#14171a;--card:#1f2327;"
    "--text:#e9ecef;--soft:#aab2bb;--line:#454c54;--main:#8ab4f8;"
    "--on-main:#10151c;--warn:#3a2f12;--warn-line:#d8a93a}}"
    "*{box-sizing:border-box}"
    "body{margin:0;padding:1.5rem 1rem;background:var(--back);"
    "color:var(--text);font:1rem/1.5 system-ui,sans-serif;"
    "overflow-wrap:anywhere}"
    "main{max-width:34rem;margin:0 auto;padding:1.75rem;"
    "background:var(--card);border:1px solid var(--line);"
    "border-radius:.75rem}"
    "h1{margin:0 0 1rem;font-size:1.5rem;line-height:1.25}"
    "h2{margin:1.5rem 0 .5rem;font-size:1.0625rem}"
    "p{margin:0 0 1rem}"
    "dl{display:grid;grid-template-columns:minmax(8rem,auto) 1fr;"
    "gap:.5rem 1rem;margin:0;padding:1rem 0;"
    "border:solid var(--line);border-width:1px 0}"
    "dt{color:var(--soft)}"
    "dd{margin:0;font-weight:600}"
    "dd span{display:block;color:var(--soft);font-size:.875rem;"
    "font-weight:400}"
    "code{color:var(--soft);font:.875rem/1.5 ui-monospace,monospace}"
    "ul{margin:0 0 1.5rem;padding-left:1.25rem}"
    "li{margin:.25rem 0}"
    "form{display:flex;gap:.75rem}"
    "button{flex:1;min-height:2.75rem;padding:.5rem 1rem;"
    "border:1px solid var(--soft);border-radius:.5rem;"
    "background:var(--card);color:var(--text);font:inherit;font-weight:600;"
    "cursor:pointer}"
    "button[value=allow]{border-color:var(--main);background:var(--main);"
    "color:var(--on-main)}"
    "button:focus-visible{outline:3px solid var(--main);outline-offset:3px}"
    "button:hover{text-decoration:underline}"
    ".note{margin:1.25rem 0 0;color:var(--soft);font-size:.875rem}"
    ".notice{padding:.75rem 1rem;border:1px solid var(--warn-line);"
    "border-radius:.5rem;background:var(--warn)}"
    "@media(max-width:30rem){body{padding:0}"
    "main{min-height:100vh;border:0;border-radius:0;padding:1.25rem}"
    "dl{grid-template-columns:1fr;gap:0}dt:not(:first-child){margin-top:.5rem}"
    "form{flex-direction:column}}";


void
ngx_http_opsauth_oauth_page_begin(ngx_http_opsauth_oauth_page_t *page,
    ngx_http_opsauth_oauth_t *oauth, const char *title)
{
    ngx_memzero(page, sizeof(ngx_http_opsauth_oauth_page_t));

    page->oauth = oauth;
    page->text.pool = oauth->request->pool;

    ngx_http_opsauth_oauth_page_html(page,
        "<!DOCTYPE html>\n"
        "<html lang=\"en\">\n"
        "<head>\n"
        "<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" "
            "content=\"width=device-width, initial-scale=1\">\n"
        "<meta name=\"robots\" content=\"noindex\">\n"
        "<title>");
    ngx_http_opsauth_oauth_page_html(page, title);
    ngx_http_opsauth_oauth_page_html(page, "</title>\n<style>");
    ngx_http_opsauth_oauth_page_html(page, ngx_http_opsauth_oauth_style);
    ngx_http_opsauth_oauth_page_html(page,
        "</style>\n</head>\n<body>\n<main>\n");
}


void
ngx_http_opsauth_oauth_page_html(ngx_http_opsauth_oauth_page_t *page,
    const char *html)
{
    ngx_http_opsauth_text_put(&page->text, (const u_char *) html,
                              ngx_strlen(html));
}


void
ngx_http_opsauth_oauth_page_text(ngx_http_opsauth_oauth_page_t *page,
    oa_str_t text)
{
    size_t   len;
    u_char  *p;

    len = oa_html_escape(text, NULL);
    p = ngx_http_opsauth_text_room(&page->text, len);

    if (p) {
        (void) oa_html_escape(text, p);
        page->text.last = p + len;
    }
}


ngx_int_t
ngx_http_opsauth_oauth_page_send(ngx_http_opsauth_oauth_page_t *page,
    ngx_uint_t status, ngx_str_t *form_action)
{
    ngx_str_t                  body;
    ngx_http_opsauth_oauth_t  *oauth;

    static ngx_str_t  type = ngx_string("text/html; charset=utf-8");

    oauth = page->oauth;

    ngx_http_opsauth_oauth_page_html(page, "</main>\n</body>\n</html>\n");

    if (page->text.failed
        || ngx_http_opsauth_oauth_page_headers(oauth->request) != NGX_OK
        || ngx_http_opsauth_add_policy(oauth->request,
                                       ngx_http_opsauth_oauth_style,
                                       form_action)
           != NGX_OK)
    {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    body.len = page->text.last - page->text.start;
    body.data = page->text.start;

    return ngx_http_opsauth_oauth_send(oauth, status, &type, &body, NULL);
}


ngx_int_t
ngx_http_opsauth_oauth_page_error(ngx_http_opsauth_oauth_t *oauth,
    ngx_uint_t status, const char *heading, const char *advice,
    const char *reason)
{
    oa_str_t                       text;
    ngx_http_opsauth_oauth_page_t  page;

    text.len = ngx_strlen(reason);
    text.data = (const u_char *) reason;

    ngx_http_opsauth_oauth_page_begin(&page, oauth, heading);
    ngx_http_opsauth_oauth_page_html(&page, "<h1>");
    ngx_http_opsauth_oauth_page_html(&page, heading);
    ngx_http_opsauth_oauth_page_html(&page, "</h1>\n<p>");
    ngx_http_opsauth_oauth_page_html(&page, advice);
    ngx_http_opsauth_oauth_page_html(&page, "</p>\n<p class=\"note\">"
                                            "Reason: ");
    ngx_http_opsauth_oauth_page_text(&page, text);
    ngx_http_opsauth_oauth_page_html(&page, "</p>\n");

    return ngx_http_opsauth_oauth_page_send(&page, status, NULL);
}


ngx_int_t
ngx_http_opsauth_oauth_page_redirect(ngx_http_opsauth_oauth_t *oauth,
    ngx_str_t *location, size_t shown)
{
    ngx_int_t         rc;
    ngx_table_elt_t  *h;

    static ngx_str_t  none = ngx_null_string;

    if (ngx_http_opsauth_oauth_page_headers(oauth->request) != NGX_OK) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    h = ngx_list_push(&oauth->request->headers_out.headers);
    if (h == NULL) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    ngx_str_set(&h->key, "Location");
    h->value = *location;

    rc = ngx_http_opsauth_oauth_send(oauth, NGX_HTTP_SEE_OTHER, &none, &none,
                                     NULL);

    /* the header has been written: from here on it is for access logs */

    ngx_explicit_memzero(location->data + shown, location->len - shown);
    h->value.len = shown;

    return rc;
}


static ngx_int_t
ngx_http_opsauth_oauth_page_headers(ngx_http_request_t *r)
{
    ngx_uint_t  i;
    ngx_str_t   value;

    static const struct {
        const char  *name;
        ngx_str_t    value;
    } headers[] = {
        { "Referrer-Policy",        ngx_string("no-referrer") },
        { "X-Content-Type-Options", ngx_string("nosniff") },
        { "X-Frame-Options",        ngx_string("DENY") },
    };

    for (i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        value = headers[i].value;

        if (ngx_http_opsauth_add_header(r, headers[i].name, &value)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}
