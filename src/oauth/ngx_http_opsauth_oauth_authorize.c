/*
 * The authorization endpoint (RFC 6749 section 4.1, RFC 9700, RFC 9207). The
 * user is whoever the operator's login says; consent is asked for every time.
 *
 *   step     | goes on when                 | otherwise
 *   ---------+------------------------------+---------------------------------
 *   start    | there is a user, a client_id | page
 *   client   | it exists and is enabled,    | page: nothing is sent anywhere
 *            | the redirect URI is its own  | that we don't trust
 *   account  | it exists and is enabled     | page
 *   decide   | the request is right, the    | redirect with error
 *            | scopes are granted           |
 *            | GET                          | consent page
 *            | POST with a good ticket      | consent page again
 *            | allow                        | redirect with access_denied
 *   stored   | the code is in Redis         | page
 *
 * A POST is validated as the GET was, from the beginning. Its ticket says that
 * what is decided is what was shown, to this user, in this browser, of late.
 */

#include "ngx_http_opsauth_oauth_page.h"
#include "ngx_http_opsauth_oauth_script.h"


typedef struct {
    ngx_http_opsauth_oauth_consent_t  consent;
    ngx_str_t                         code;
    u_char                            scopes[OA_SET_MAX];
} ngx_http_opsauth_oauth_authorize_t;


static ngx_int_t ngx_http_opsauth_oauth_authorize_client(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_authorize_account(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_authorize_decide(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_authorize_ask(
    ngx_http_opsauth_oauth_t *oauth, ngx_uint_t again);
static ngx_int_t ngx_http_opsauth_oauth_authorize_answer(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_authorize_issue(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_authorize_stored(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_authorize_subject(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_uint_t ngx_http_opsauth_oauth_is_utf8(ngx_str_t *text);
static ngx_int_t ngx_http_opsauth_oauth_authorize_unknown(
    ngx_http_opsauth_oauth_t *oauth, const char *reason);
static ngx_int_t ngx_http_opsauth_oauth_authorize_refuse(
    ngx_http_opsauth_oauth_t *oauth, const oa_authorize_error_t *error);
static ngx_int_t ngx_http_opsauth_oauth_authorize_back(
    ngx_http_opsauth_oauth_t *oauth, const oa_authorize_error_t *error);


ngx_int_t
ngx_http_opsauth_oauth_authorize(ngx_http_opsauth_oauth_t *oauth)
{
    u_char     *p;
    oa_str_t    id;
    ngx_int_t   rc;

    oauth->data = ngx_pcalloc(oauth->request->pool,
                              sizeof(ngx_http_opsauth_oauth_authorize_t));
    if (oauth->data == NULL) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    /* who has not logged in learns nothing about clients */

    rc = ngx_http_opsauth_oauth_authorize_subject(oauth);
    if (rc != NGX_DECLINED) {
        return rc;
    }

    id = oa_form_get(&oauth->form, "client_id");

    if (id.data == NULL) {
        return ngx_http_opsauth_oauth_invalid_request(oauth,
                                                      "client_id is missing");
    }

    if (!ngx_http_opsauth_oauth_client_id_valid(id)) {
        return ngx_http_opsauth_oauth_authorize_unknown(oauth,
                                         "client_id is no client's id");
    }

    /* the form is wiped before the access log is written */

    p = ngx_pnalloc(oauth->request->pool, id.len);
    if (p == NULL) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    ngx_memcpy(p, id.data, id.len);
    oauth->client_id.len = id.len;
    oauth->client_id.data = p;

    ngx_http_opsauth_oauth_client_ask(oauth, oauth->client_id);

    return ngx_http_opsauth_oauth_wait(oauth,
                                  ngx_http_opsauth_oauth_authorize_client);
}


static ngx_int_t
ngx_http_opsauth_oauth_authorize_client(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_int_t                            rc;
    ngx_str_t                            words[3];
    const char                          *error;
    ngx_http_opsauth_oauth_authorize_t  *authorize;

    authorize = oauth->data;

    rc = ngx_http_opsauth_oauth_client_take(oauth, oauth->client_id,
                                            &oauth->client, &error);
    if (rc == NGX_DECLINED) {
        return ngx_http_opsauth_oauth_authorize_unknown(oauth, error);
    }

    if (rc != NGX_OK) {
        return ngx_http_opsauth_oauth_unavailable(oauth, error);
    }

    if (!oauth->client.enabled) {
        return ngx_http_opsauth_oauth_authorize_unknown(oauth,
                                                    "the client is disabled");
    }

    if (oa_authorize_redirect(&oauth->form, &oauth->client,
                              &authorize->consent.redirect, &error)
        != OA_OK)
    {
        return ngx_http_opsauth_oauth_invalid_request(oauth, error);
    }

    ngx_http_opsauth_oauth_account_ask(oauth, oauth->client.account);

    ngx_str_set(&words[0], "HMGET");
    words[1] = ngx_http_opsauth_oauth_key(oauth, "account:",
                                          oauth->client.account);
    ngx_str_set(&words[2], "name");

    if (words[1].data == NULL) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    ngx_http_opsauth_oauth_command(oauth, 3, words);

    return ngx_http_opsauth_oauth_wait(oauth,
                                  ngx_http_opsauth_oauth_authorize_account);
}


/*
 * A disabled account is told to nobody but the log: its redirect URIs are no
 * more to be trusted than those of a disabled client. Its allowed addresses are
 * those of the application, and this is the user's browser: they count when the
 * code is redeemed.
 */

static ngx_int_t
ngx_http_opsauth_oauth_authorize_account(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_int_t                            rc;
    oa_str_t                             name;
    const char                          *error;
    ngx_http_opsauth_oauth_authorize_t  *authorize;

    authorize = oauth->data;

    rc = ngx_http_opsauth_oauth_account_take(oauth, 0, oauth->client.account,
                                             0, &error);
    if (rc == NGX_DECLINED) {
        return ngx_http_opsauth_oauth_authorize_unknown(oauth, error);
    }

    if (rc != NGX_OK) {
        return ngx_http_opsauth_oauth_unavailable(oauth, error);
    }

    name = ngx_http_opsauth_oauth_text(ngx_http_opsauth_oauth_reply(oauth, 1),
                                       0);
    authorize->consent.account_name = name;

    return ngx_http_opsauth_oauth_authorize_decide(oauth);
}


/* from here on errors go to the client */

static ngx_int_t
ngx_http_opsauth_oauth_authorize_decide(ngx_http_opsauth_oauth_t *oauth)
{
    oa_rc_t                              rc;
    oa_authorize_error_t                 error;
    ngx_http_opsauth_oauth_authorize_t  *authorize;

    authorize = oauth->data;

    if (oa_authorize_check(&oauth->form, &oauth->client, &error) != OA_OK) {
        return ngx_http_opsauth_oauth_authorize_refuse(oauth, &error);
    }

    rc = oa_scope_narrow(oa_form_get(&oauth->form, "scope"),
                         oauth->client.scopes, oauth->account.scopes,
                         authorize->scopes, OA_SET_MAX,
                         &authorize->consent.scopes.len);

    if (rc == OA_INVALID) {
        error.error = "invalid_scope";
        error.description = "the scope is malformed, or more than is granted";
        return ngx_http_opsauth_oauth_authorize_refuse(oauth, &error);
    }

    if (rc != OA_OK) {
        ngx_log_error(NGX_LOG_ERR, oauth->request->connection->log, 0,
                      "opsauth: the scopes of client \"%*s\" or of its account "
                      "are invalid", oauth->client.id.len,
                      oauth->client.id.data);
        return ngx_http_opsauth_oauth_unavailable(oauth, "record_invalid");
    }

    authorize->consent.scopes.data = authorize->scopes;

    if (oauth->request->method != NGX_HTTP_POST) {
        return ngx_http_opsauth_oauth_authorize_ask(oauth, 0);
    }

    return ngx_http_opsauth_oauth_authorize_answer(oauth);
}


static ngx_int_t
ngx_http_opsauth_oauth_authorize_ask(ngx_http_opsauth_oauth_t *oauth,
    ngx_uint_t again)
{
    ngx_http_opsauth_oauth_authorize_t  *authorize;

    authorize = oauth->data;
    authorize->consent.again = again;

    if (ngx_http_opsauth_oauth_ticket_make(oauth, &authorize->consent)
        != NGX_OK)
    {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    return ngx_http_opsauth_oauth_consent_page(oauth, &authorize->consent);
}


static ngx_int_t
ngx_http_opsauth_oauth_authorize_answer(ngx_http_opsauth_oauth_t *oauth)
{
    oa_str_t                             decision;
    const char                          *reason;
    oa_authorize_error_t                 error;
    ngx_http_opsauth_oauth_authorize_t  *authorize;

    authorize = oauth->data;

    if (ngx_http_opsauth_oauth_ticket_check(oauth, &authorize->consent,
                                            &reason)
        != NGX_OK)
    {
        ngx_log_error(NGX_LOG_INFO, oauth->request->connection->log, 0,
                      "opsauth: \"opsauth_oauth authorize\" asks again: %s, "
                      "client \"%*s\"", reason,
                      oauth->client.id.len, oauth->client.id.data);

        return ngx_http_opsauth_oauth_authorize_ask(oauth, 1);
    }

    decision = oa_form_get(&oauth->form, "decision");

    if (oa_text_eq(decision, "allow")) {
        return ngx_http_opsauth_oauth_authorize_issue(oauth);
    }

    if (oa_text_eq(decision, "deny")) {
        error.error = "access_denied";
        error.description = "the user has denied it";
        return ngx_http_opsauth_oauth_authorize_refuse(oauth, &error);
    }

    return ngx_http_opsauth_oauth_invalid_request(oauth,
                                          "decision is neither allow nor deny");
}


static ngx_int_t
ngx_http_opsauth_oauth_authorize_issue(ngx_http_opsauth_oauth_t *oauth)
{
    oa_str_t                             redirect;
    ngx_str_t                            key, digest, args[21];
    ngx_uint_t                           n;
    oa_client_t                         *client;
    ngx_http_opsauth_oauth_authorize_t  *authorize;

    authorize = oauth->data;
    client = &oauth->client;

    authorize->code = ngx_http_opsauth_oauth_mint(oauth, OA_KEY_BODY_LEN);

    if (authorize->code.data == NULL) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    digest = ngx_http_opsauth_oauth_digest(oauth, 0,
                                   ngx_http_opsauth_view(&authorize->code));
    if (digest.data == NULL) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    key = ngx_http_opsauth_oauth_key(oauth, "code:",
                                     ngx_http_opsauth_view(&digest));

    n = 0;
    args[n++] = ngx_http_opsauth_oauth_number(oauth,
                                      (int64_t) oauth->conf->code_valid * 1000);

#define ngx_http_opsauth_oauth_field(name, value)                             \
    ngx_str_set(&args[n], name);                                              \
    args[n + 1] = value;                                                      \
    n += 2

    ngx_http_opsauth_oauth_field("v", (ngx_str_t) ngx_string("1"));
    ngx_http_opsauth_oauth_field("client", ngx_http_opsauth_str(client->id));
    ngx_http_opsauth_oauth_field("account",
                                 ngx_http_opsauth_str(client->account));
    ngx_http_opsauth_oauth_field("subject",
                       ngx_http_opsauth_str(authorize->consent.subject));

    /* as the request had it: the token request must say the same */

    redirect = oa_form_get(&oauth->form, "redirect_uri");
    ngx_http_opsauth_oauth_field("redirect_uri",
                                 ngx_http_opsauth_str(redirect));
    ngx_http_opsauth_oauth_field("scopes",
                        ngx_http_opsauth_str(authorize->consent.scopes));
    ngx_http_opsauth_oauth_field("challenge", ngx_http_opsauth_str(
                           oa_form_get(&oauth->form, "code_challenge")));
    ngx_http_opsauth_oauth_field("environment",
                                 client->environment == OA_ENV_TEST
                                 ? (ngx_str_t) ngx_string("test")
                                 : (ngx_str_t) ngx_string("live"));
    ngx_http_opsauth_oauth_field("created",
                       ngx_http_opsauth_oauth_number(oauth, ngx_time()));
    ngx_http_opsauth_oauth_field("state", (ngx_str_t) ngx_string("issued"));

#undef ngx_http_opsauth_oauth_field

    if (key.data == NULL || args[0].data == NULL || args[18].data == NULL) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    ngx_http_opsauth_oauth_script(oauth,
                                  &ngx_http_opsauth_oauth_script_code_store,
                                  &key, n, args);

    return ngx_http_opsauth_oauth_wait(oauth,
                                   ngx_http_opsauth_oauth_authorize_stored);
}


static ngx_int_t
ngx_http_opsauth_oauth_authorize_stored(ngx_http_opsauth_oauth_t *oauth)
{
    if (!ngx_http_opsauth_oauth_said(ngx_http_opsauth_oauth_reply(oauth, 0),
                                     "ok"))
    {
        return ngx_http_opsauth_oauth_unavailable(oauth,
                                              "the code was not stored");
    }

    ngx_log_error(NGX_LOG_INFO, oauth->request->connection->log, 0,
                  "opsauth: \"opsauth_oauth authorize\" has issued a code, "
                  "client \"%*s\", account \"%*s\"",
                  oauth->client.id.len, oauth->client.id.data,
                  oauth->client.account.len, oauth->client.account.data);

    return ngx_http_opsauth_oauth_authorize_back(oauth, NULL);
}


/* NGX_DECLINED: the login says who; or what a step returns */

static ngx_int_t
ngx_http_opsauth_oauth_authorize_subject(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_str_t                            subject;
    const char                          *reason;
    ngx_http_opsauth_oauth_authorize_t  *authorize;

    authorize = oauth->data;

    if (ngx_http_complex_value(oauth->request, oauth->conf->subject, &subject)
        != NGX_OK)
    {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    if (subject.len == 0) {
        reason = "\"opsauth_oauth_subject\" is empty: no login has said who "
                 "the user is";

    } else if (subject.len > OA_VALUE_MAX) {
        reason = "\"opsauth_oauth_subject\" has more than 256 bytes";

    } else if (!oa_text_is_header_safe(ngx_http_opsauth_view(&subject))
               || !ngx_http_opsauth_oauth_is_utf8(&subject))
    {
        reason = "\"opsauth_oauth_subject\" is no printable UTF-8";

    } else {
        authorize->consent.subject = ngx_http_opsauth_view(&subject);
        return NGX_DECLINED;
    }

    ngx_log_error(NGX_LOG_ERR, oauth->request->connection->log, 0,
                  "opsauth: %s", reason);

    return ngx_http_opsauth_oauth_error(oauth, NGX_HTTP_FORBIDDEN,
                                        "access_denied",
                                        "the login does not say who you are",
                                        "no subject");
}


/* or it could not stand in JSON, where introspection tells it */

static ngx_uint_t
ngx_http_opsauth_oauth_is_utf8(ngx_str_t *text)
{
    u_char    *p, *last;
    uint32_t   c;

    p = text->data;
    last = p + text->len;

    while (p < last) {

        if (*p < 0x80) {
            p++;
            continue;
        }

        c = ngx_utf8_decode(&p, last - p);

        if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
            return 0;
        }
    }

    return 1;
}


/* one answer for all clients that can't be used */

static ngx_int_t
ngx_http_opsauth_oauth_authorize_unknown(ngx_http_opsauth_oauth_t *oauth,
    const char *reason)
{
    return ngx_http_opsauth_oauth_error(oauth, NGX_HTTP_BAD_REQUEST,
                                        "invalid_client",
                                        "the application is not known here",
                                        reason);
}


ngx_int_t
ngx_http_opsauth_oauth_authorize_failed(ngx_http_opsauth_oauth_t *oauth,
    ngx_uint_t status, const char *error, const char *description)
{
    const char  *heading, *advice;

    switch (status) {

    case NGX_HTTP_SERVICE_UNAVAILABLE:
        heading = "Please try again";
        advice = "Nothing has been allowed. Reload this page in a moment.";
        break;

    case NGX_HTTP_FORBIDDEN:
        heading = "You can\xe2\x80\x99t do this";
        advice = "Nothing has been allowed. Log in and try again, or ask those "
                 "who run this service.";
        break;

    default:
        heading = "This request can\xe2\x80\x99t be served";
        advice = "Nothing has been allowed, and you have not been sent "
                 "anywhere. Go back to the application and try again; if that "
                 "does not help, tell those who make it.";
        break;
    }

    return ngx_http_opsauth_oauth_page_error(oauth, status, heading, advice,
                                             description);
}


static ngx_int_t
ngx_http_opsauth_oauth_authorize_refuse(ngx_http_opsauth_oauth_t *oauth,
    const oa_authorize_error_t *error)
{
    oauth->error = error->error;

    ngx_log_error(NGX_LOG_INFO, oauth->request->connection->log, 0,
                  "opsauth: \"opsauth_oauth authorize\" redirects with \"%s\": "
                  "%s, client \"%*s\"", error->error, error->description,
                  oauth->client.id.len, oauth->client.id.data);

    return ngx_http_opsauth_oauth_authorize_back(oauth, error);
}


/* with the code, or with an error; RFC 6749 sections 4.1.2 and 4.1.2.1 */

static ngx_int_t
ngx_http_opsauth_oauth_authorize_back(ngx_http_opsauth_oauth_t *oauth,
    const oa_authorize_error_t *error)
{
    size_t                               n;
    ngx_str_t                            location;
    oa_form_field_t                      parameters[4];
    ngx_http_opsauth_oauth_authorize_t  *authorize;

    authorize = oauth->data;
    n = 0;

    if (error) {
        parameters[n].name = (oa_str_t) oa_string("error");
        parameters[n].value.len = ngx_strlen(error->error);
        parameters[n++].value.data = (const u_char *) error->error;

        parameters[n].name = (oa_str_t) oa_string("error_description");
        parameters[n].value.len = ngx_strlen(error->description);
        parameters[n++].value.data = (const u_char *) error->description;

    } else {
        parameters[n].name = (oa_str_t) oa_string("code");
        parameters[n++].value = ngx_http_opsauth_view(&authorize->code);
    }

    parameters[n].name = (oa_str_t) oa_string("state");
    parameters[n++].value = oa_form_get(&oauth->form, "state");

    parameters[n].name = (oa_str_t) oa_string("iss");
    parameters[n++].value = ngx_http_opsauth_view(&oauth->conf->issuer);

    location.len = oa_authorize_location(authorize->consent.redirect,
                                         parameters, n, NULL);
    location.data = ngx_pnalloc(oauth->request->pool, location.len);

    if (location.data == NULL) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    (void) oa_authorize_location(authorize->consent.redirect, parameters, n,
                                 location.data);

    return ngx_http_opsauth_oauth_page_redirect(oauth, &location,
                                            authorize->consent.redirect.len);
}
