/*
 * What protects the consent form: a ticket in it that proves what was shown,
 * to whom and when (oa_ticket.h), and a cookie that proves in which browser.
 * Nothing is kept on the server; any worker of any node can check it.
 */

#include "ngx_http_opsauth_oauth_page.h"

#include "oa_base64.h"
#include "oa_ticket.h"

#include <openssl/rand.h>


#define NGX_HTTP_OPSAUTH_OAUTH_TICKET_VALID   600       /* seconds */
#define NGX_HTTP_OPSAUTH_OAUTH_COOKIE_LEN     22        /* of 16 bytes */

/* the parameters that are handed on, and what else a ticket is for */
#define NGX_HTTP_OPSAUTH_OAUTH_TICKET_FIELDS  16


static size_t ngx_http_opsauth_oauth_ticket_fields(
    ngx_http_opsauth_oauth_t *oauth,
    const ngx_http_opsauth_oauth_consent_t *consent,
    oa_str_t fields[NGX_HTTP_OPSAUTH_OAUTH_TICKET_FIELDS]);
static void ngx_http_opsauth_oauth_ticket_cookie(
    ngx_http_opsauth_oauth_t *oauth,
    ngx_http_opsauth_oauth_consent_t *consent);
static ngx_int_t ngx_http_opsauth_oauth_ticket_set_cookie(
    ngx_http_opsauth_oauth_t *oauth,
    ngx_http_opsauth_oauth_consent_t *consent);


ngx_int_t
ngx_http_opsauth_oauth_ticket_make(ngx_http_opsauth_oauth_t *oauth,
    ngx_http_opsauth_oauth_consent_t *consent)
{
    u_char    *p;
    size_t     n;
    oa_str_t   fields[NGX_HTTP_OPSAUTH_OAUTH_TICKET_FIELDS];

    ngx_http_opsauth_oauth_ticket_cookie(oauth, consent);

    if (ngx_http_opsauth_oauth_ticket_set_cookie(oauth, consent) != NGX_OK) {
        return NGX_ERROR;
    }

    p = ngx_pnalloc(oauth->request->pool, OA_TICKET_MAX);
    if (p == NULL) {
        return NGX_ERROR;
    }

    n = ngx_http_opsauth_oauth_ticket_fields(oauth, consent, fields);

    if (oa_ticket_make(oauth->store->peppers[0], fields, n, ngx_time(), p,
                       &consent->ticket.len)
        != OA_OK)
    {
        ngx_log_error(NGX_LOG_CRIT, oauth->request->connection->log, 0,
                      "opsauth: libcrypto could not make a ticket");
        return NGX_ERROR;
    }

    consent->ticket.data = p;

    return NGX_OK;
}


ngx_int_t
ngx_http_opsauth_oauth_ticket_check(ngx_http_opsauth_oauth_t *oauth,
    ngx_http_opsauth_oauth_consent_t *consent, const char **reason)
{
    size_t    n;
    oa_str_t  fields[NGX_HTTP_OPSAUTH_OAUTH_TICKET_FIELDS];

    ngx_http_opsauth_oauth_ticket_cookie(oauth, consent);

    if (consent->cookie.len == 0) {
        *reason = "no cookie";
        return NGX_DECLINED;
    }

    n = ngx_http_opsauth_oauth_ticket_fields(oauth, consent, fields);

    switch (oa_ticket_check(oauth->store->peppers, oauth->store->npeppers,
                            fields, n, ngx_time(),
                            NGX_HTTP_OPSAUTH_OAUTH_TICKET_VALID,
                            oa_form_get(&oauth->form, "ticket")))
    {

    case OA_OK:
        return NGX_OK;

    case OA_DECLINED:
        *reason = "the page was open for too long";
        return NGX_DECLINED;

    default:
        *reason = "the form is not the one that this user was shown";
        return NGX_DECLINED;
    }
}


/* everything that the page showed or that its form brings back */

static size_t
ngx_http_opsauth_oauth_ticket_fields(ngx_http_opsauth_oauth_t *oauth,
    const ngx_http_opsauth_oauth_consent_t *consent,
    oa_str_t fields[NGX_HTTP_OPSAUTH_OAUTH_TICKET_FIELDS])
{
    size_t              n;
    const char *const  *name;

    n = 0;

    fields[n++] = ngx_http_opsauth_view(&oauth->conf->issuer);
    fields[n++] = ngx_http_opsauth_view(&consent->cookie);
    fields[n++] = consent->subject;
    fields[n++] = oauth->client.account;
    fields[n++] = consent->redirect;
    fields[n++] = consent->scopes;

    for (name = ngx_http_opsauth_oauth_handed_on; *name; name++) {
        fields[n++] = oa_form_get(&oauth->form, *name);
    }

    return n;
}


/* the browser's, if it has one of ours */

static void
ngx_http_opsauth_oauth_ticket_cookie(ngx_http_opsauth_oauth_t *oauth,
    ngx_http_opsauth_oauth_consent_t *consent)
{
    ngx_uint_t                  i;
    ngx_http_variable_value_t  *value;

    static ngx_str_t  name = ngx_string("cookie_opsauth_consent");

    value = ngx_http_get_variable(oauth->request, &name,
                                  ngx_hash_key(name.data, name.len));

    if (value == NULL || value->not_found
        || value->len != NGX_HTTP_OPSAUTH_OAUTH_COOKIE_LEN)
    {
        return;
    }

    for (i = 0; i < value->len; i++) {
        if (!oa_text_is_id((oa_str_t) { 1, &value->data[i] })) {
            return;
        }
    }

    consent->cookie.len = value->len;
    consent->cookie.data = value->data;
}


/*
 * A value that the browser has already stays, so that pages in several tabs
 * are all good. Lax: the page is come to from other sites, and a Strict cookie
 * would not come along then.
 */

static ngx_int_t
ngx_http_opsauth_oauth_ticket_set_cookie(ngx_http_opsauth_oauth_t *oauth,
    ngx_http_opsauth_oauth_consent_t *consent)
{
    u_char     *p, random[16];
    ngx_str_t   value, *path;

    static const char  format[] = "opsauth_consent=%V; Path=%V; Max-Age=%d; "
                                  "HttpOnly; SameSite=Lax%s";

    path = &oauth->conf->path;

    if (consent->cookie.len == 0) {

        p = ngx_pnalloc(oauth->request->pool,
                        NGX_HTTP_OPSAUTH_OAUTH_COOKIE_LEN);

        if (p == NULL || RAND_bytes(random, sizeof(random)) != 1) {
            return NGX_ERROR;
        }

        oa_base64url_encode(random, sizeof(random), p);

        consent->cookie.len = NGX_HTTP_OPSAUTH_OAUTH_COOKIE_LEN;
        consent->cookie.data = p;
    }

    value.data = ngx_pnalloc(oauth->request->pool,
                             sizeof(format) + consent->cookie.len + path->len
                             + NGX_INT_T_LEN + sizeof("; Secure"));
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    value.len = ngx_sprintf(value.data, format, &consent->cookie, path,
                            NGX_HTTP_OPSAUTH_OAUTH_TICKET_VALID,
                            ngx_strncmp(oauth->conf->issuer.data, "https:", 6)
                            == 0 ? "; Secure" : "")
                - value.data;

    return ngx_http_opsauth_add_header(oauth->request, "Set-Cookie", &value);
}
