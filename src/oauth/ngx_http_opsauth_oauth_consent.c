/*
 * The page that asks: who wants what, in whose name, and where the answer goes.
 * A form with two buttons; everything it sends back is validated again.
 */

#include "ngx_http_opsauth_oauth_page.h"
#include "oa_set.h"


static void ngx_http_opsauth_oauth_consent_who(
    ngx_http_opsauth_oauth_page_t *page,
    const ngx_http_opsauth_oauth_consent_t *consent);
static void ngx_http_opsauth_oauth_consent_where(
    ngx_http_opsauth_oauth_page_t *page, oa_str_t redirect);
static void ngx_http_opsauth_oauth_consent_scopes(
    ngx_http_opsauth_oauth_page_t *page, oa_str_t scopes);
static void ngx_http_opsauth_oauth_consent_scope(
    ngx_http_opsauth_oauth_page_t *page, oa_str_t scope);
static void ngx_http_opsauth_oauth_consent_form(
    ngx_http_opsauth_oauth_page_t *page,
    const ngx_http_opsauth_oauth_consent_t *consent);
static void ngx_http_opsauth_oauth_consent_hidden(
    ngx_http_opsauth_oauth_page_t *page, const char *name, oa_str_t value);


const char *const  ngx_http_opsauth_oauth_handed_on[] = {
    "response_type", "response_mode", "client_id", "redirect_uri", "scope",
    "state", "code_challenge", "code_challenge_method", NULL
};


ngx_int_t
ngx_http_opsauth_oauth_consent_page(ngx_http_opsauth_oauth_t *oauth,
    const ngx_http_opsauth_oauth_consent_t *consent)
{
    u_char                         sources[OA_FORM_ACTION_MAX];
    ngx_str_t                      form_action;
    ngx_http_opsauth_oauth_page_t  page;

    ngx_http_opsauth_oauth_page_begin(&page, oauth, "Allow access?");

    if (consent->again) {
        ngx_http_opsauth_oauth_page_html(&page,
            "<p class=\"notice\" role=\"alert\"><strong>Nothing has been "
            "allowed.</strong> This page was open for too long, or the answer "
            "did not come from it. Please decide again; your browser must "
            "accept cookies.</p>\n");
    }

    ngx_http_opsauth_oauth_page_html(&page, "<h1><bdi>");
    ngx_http_opsauth_oauth_page_text(&page, oauth->client.name.len
                                            ? oauth->client.name
                                            : oauth->client.id);
    ngx_http_opsauth_oauth_page_html(&page,
        "</bdi> asks for access</h1>\n"
        "<p>If you allow it, this application can use the API in your "
        "name.</p>\n");

    ngx_http_opsauth_oauth_consent_who(&page, consent);
    ngx_http_opsauth_oauth_consent_scopes(&page, consent->scopes);
    ngx_http_opsauth_oauth_consent_form(&page, consent);

    form_action.len = oa_redirect_form_action(consent->redirect, sources);
    form_action.data = sources;

    return ngx_http_opsauth_oauth_page_send(&page,
                       consent->again ? NGX_HTTP_FORBIDDEN : NGX_HTTP_OK,
                       &form_action);
}


static void
ngx_http_opsauth_oauth_consent_who(ngx_http_opsauth_oauth_page_t *page,
    const ngx_http_opsauth_oauth_consent_t *consent)
{
    const oa_client_t  *client;

    client = &page->oauth->client;

    ngx_http_opsauth_oauth_page_html(page,
        "<dl>\n<dt>Signed in as</dt><dd><bdi>");
    ngx_http_opsauth_oauth_page_text(page, consent->subject);

    ngx_http_opsauth_oauth_page_html(page,
        "</bdi></dd>\n<dt>Application</dt><dd><bdi>");
    ngx_http_opsauth_oauth_page_text(page, client->name.len ? client->name
                                                            : client->id);
    ngx_http_opsauth_oauth_page_html(page, "</bdi><span>");
    ngx_http_opsauth_oauth_page_text(page, client->id);

    ngx_http_opsauth_oauth_page_html(page,
        "</span></dd>\n<dt>API account</dt><dd><bdi>");
    ngx_http_opsauth_oauth_page_text(page, consent->account_name.len
                                           ? consent->account_name
                                           : client->account);
    ngx_http_opsauth_oauth_page_html(page, "</bdi><span>");
    ngx_http_opsauth_oauth_page_text(page, client->account);

    ngx_http_opsauth_oauth_page_html(page,
        "</span></dd>\n<dt>Sends you to</dt><dd>");
    ngx_http_opsauth_oauth_consent_where(page, consent->redirect);
    ngx_http_opsauth_oauth_page_html(page, "</dd>\n</dl>\n");
}


static void
ngx_http_opsauth_oauth_consent_where(ngx_http_opsauth_oauth_page_t *page,
    oa_str_t redirect)
{
    oa_str_t    text;
    oa_place_t  place;

    place = oa_redirect_place(redirect, &text);

    if (place != OA_PLACE_WEB) {
        ngx_http_opsauth_oauth_page_html(page,
            "an application on this device<span>");
    }

    ngx_http_opsauth_oauth_page_text(page, text);

    if (place != OA_PLACE_WEB) {
        ngx_http_opsauth_oauth_page_html(page, "</span>");
    }
}


static void
ngx_http_opsauth_oauth_consent_scopes(ngx_http_opsauth_oauth_page_t *page,
    oa_str_t scopes)
{
    size_t    pos;
    oa_str_t  scope;

    if (scopes.len == 0) {
        ngx_http_opsauth_oauth_page_html(page,
            "<h2>It asks for no permission of its own</h2>\n"
            "<p>It can use what needs none.</p>\n");
        return;
    }

    ngx_http_opsauth_oauth_page_html(page,
        "<h2 id=\"scopes\">It will be able to</h2>\n"
        "<ul aria-labelledby=\"scopes\">\n");

    pos = 0;

    while (oa_set_next(scopes, &pos, &scope)) {
        ngx_http_opsauth_oauth_consent_scope(page, scope);
    }

    ngx_http_opsauth_oauth_page_html(page, "</ul>\n");
}


static void
ngx_http_opsauth_oauth_consent_scope(ngx_http_opsauth_oauth_page_t *page,
    oa_str_t scope)
{
    oa_scope_words_t  words;

    ngx_http_opsauth_oauth_page_html(page, "<li>");

    if (oa_scope_words(scope, &words) == OA_OK) {
        ngx_http_opsauth_oauth_page_html(page, words.before);
        ngx_http_opsauth_oauth_page_text(page, words.resource);
        ngx_http_opsauth_oauth_page_html(page, words.after);
        ngx_http_opsauth_oauth_page_html(page, " ");
    }

    ngx_http_opsauth_oauth_page_html(page, "<code>");
    ngx_http_opsauth_oauth_page_text(page, scope);
    ngx_http_opsauth_oauth_page_html(page, "</code></li>\n");
}


static void
ngx_http_opsauth_oauth_consent_form(ngx_http_opsauth_oauth_page_t *page,
    const ngx_http_opsauth_oauth_consent_t *consent)
{
    oa_str_t            value;
    const char *const  *name;

    /* "?": the page's own address, wherever that is, without its query */

    ngx_http_opsauth_oauth_page_html(page,
        "<form method=\"post\" action=\"?\" autocomplete=\"off\">\n");

    for (name = ngx_http_opsauth_oauth_handed_on; *name; name++) {

        value = oa_form_get(&page->oauth->form, *name);

        if (value.data) {
            ngx_http_opsauth_oauth_consent_hidden(page, *name, value);
        }
    }

    ngx_http_opsauth_oauth_consent_hidden(page, "ticket", consent->ticket);

    ngx_http_opsauth_oauth_page_html(page,
        "<button name=\"decision\" value=\"allow\">Allow</button>\n"
        "<button name=\"decision\" value=\"deny\">Deny</button>\n"
        "</form>\n"
        "<p class=\"note\">Only allow an application that you know and that "
        "you came from. If you deny, you are sent back and it gets no "
        "access.</p>\n");
}


static void
ngx_http_opsauth_oauth_consent_hidden(ngx_http_opsauth_oauth_page_t *page,
    const char *name, oa_str_t value)
{
    ngx_http_opsauth_oauth_page_html(page, "<input type=\"hidden\" name=\"");
    ngx_http_opsauth_oauth_page_html(page, name);
    ngx_http_opsauth_oauth_page_html(page, "\" value=\"");
    ngx_http_opsauth_oauth_page_text(page, value);
    ngx_http_opsauth_oauth_page_html(page, "\">\n");
}
