/*
 * Authorization requests. Two steps that must not change places: first who
 * asks and where the answer goes, told to the user alone while in doubt; then
 * everything else, told to the client.
 */

#include <string.h>

#include "oa_authorize.h"
#include "oa_set.h"
#include "oa_text.h"


static int oa_authorize_text(oa_str_t s);
static oa_rc_t oa_authorize_pkce(const oa_form_t *form,
    const oa_client_t *client, oa_authorize_error_t *error);
static oa_rc_t oa_authorize_refuse(oa_authorize_error_t *error,
    const char *name, const char *description);
static int oa_authorize_starts(oa_str_t s, const char *prefix, oa_str_t *rest);
static int oa_scope_starts(oa_str_t scope, const char *action, oa_str_t *rest);
static size_t oa_authorize_put(unsigned char *out, size_t at, oa_str_t s);


oa_rc_t
oa_authorize_redirect(const oa_form_t *form, const oa_client_t *client,
    oa_str_t *uri, const char **error)
{
    size_t       pos, n;
    oa_str_t     asked, registered, last;
    const char  *detail;

    asked = oa_form_get(form, "redirect_uri");
    last = (oa_str_t) oa_null;
    *uri = (oa_str_t) oa_null;
    pos = 0;
    n = 0;

    while (oa_set_next(client->redirect_uris, &pos, &registered)) {

        if (asked.data != NULL && oa_redirect_uri_match(registered, asked)) {
            *uri = asked;
            break;
        }

        last = registered;
        n++;
    }

    if (asked.data == NULL) {

        if (n != 1) {
            *error = "redirect_uri is missing, and the application has not "
                     "registered exactly one";
            return OA_DECLINED;
        }

        *uri = last;

    } else if (uri->data == NULL) {
        *error = "redirect_uri is not one that the application has "
                 "registered";
        return OA_DECLINED;
    }

    if (oa_redirect_uri_check(*uri, &detail) != OA_OK) {
        *error = "redirect_uri is malformed";
        return OA_DECLINED;
    }

    if (oa_form_get(form, "state").len > OA_STATE_MAX) {
        *error = "state has more than 2048 bytes";
        return OA_DECLINED;
    }

    return OA_OK;
}


oa_rc_t
oa_authorize_check(const oa_form_t *form, const oa_client_t *client,
    oa_authorize_error_t *error)
{
    oa_str_t       value, prompt;
    unsigned char  words[OA_VALUE_MAX];

    if (oa_form_get(form, "request").data) {
        return oa_authorize_refuse(error, "request_not_supported",
                                   "request objects are not supported");
    }

    if (oa_form_get(form, "request_uri").data) {
        return oa_authorize_refuse(error, "request_uri_not_supported",
                                   "request objects are not supported");
    }

    /* the consent page hands these on, and a form changes line ends */

    if (!oa_authorize_text(oa_form_get(form, "state"))) {
        return oa_authorize_refuse(error, "invalid_request",
                                   "state has control characters");
    }

    value = oa_form_get(form, "response_type");

    if (value.data == NULL) {
        return oa_authorize_refuse(error, "invalid_request",
                                   "response_type is missing");
    }

    if (!oa_text_eq(value, "code")) {
        return oa_authorize_refuse(error, "unsupported_response_type",
                                   "response_type must be code");
    }

    value = oa_form_get(form, "response_mode");

    if (value.data && !oa_text_eq(value, "query")) {
        return oa_authorize_refuse(error, "invalid_request",
                                   "response_mode must be query");
    }

    if (!(client->grants & OA_GRANT_AUTHORIZATION_CODE)) {
        return oa_authorize_refuse(error, "unauthorized_client",
                                   "the client may not use this grant");
    }

    if (oa_authorize_pkce(form, client, error) != OA_OK) {
        return OA_DECLINED;
    }

    /* others ask for more of what is done anyway: a consent is never skipped */

    if (oa_set_pack(oa_form_get(form, "prompt"), words, sizeof(words),
                    &prompt.len)
        != OA_OK)
    {
        return oa_authorize_refuse(error, "invalid_request",
                                   "prompt is malformed");
    }

    prompt.data = words;

    if (oa_set_has(prompt, (oa_str_t) oa_string("none"))) {
        return oa_authorize_refuse(error, "consent_required",
                                   "the user has to consent");
    }

    return OA_OK;
}


static oa_rc_t
oa_authorize_pkce(const oa_form_t *form, const oa_client_t *client,
    oa_authorize_error_t *error)
{
    oa_str_t  challenge, method;

    challenge = oa_form_get(form, "code_challenge");
    method = oa_form_get(form, "code_challenge_method");

    if (challenge.data == NULL) {

        if (client->auth_methods & OA_AUTH_NONE) {
            return oa_authorize_refuse(error, "invalid_request",
                               "code_challenge is required (PKCE, S256)");
        }

        if (method.data) {
            return oa_authorize_refuse(error, "invalid_request",
                               "code_challenge_method without code_challenge");
        }

        return OA_OK;
    }

    /* without a method it would be "plain" (RFC 7636 section 4.3) */

    if (!oa_text_eq(method, "S256")) {
        return oa_authorize_refuse(error, "invalid_request",
                                   "code_challenge_method must be S256");
    }

    if (!oa_pkce_challenge_valid(challenge)) {
        return oa_authorize_refuse(error, "invalid_request",
                                   "code_challenge is not of S256");
    }

    return OA_OK;
}


static oa_rc_t
oa_authorize_refuse(oa_authorize_error_t *error, const char *name,
    const char *description)
{
    error->error = name;
    error->description = description;

    return OA_DECLINED;
}


static int
oa_authorize_text(oa_str_t s)
{
    size_t  i;

    for (i = 0; i < s.len; i++) {
        if (s.data[i] < 0x20 || s.data[i] == 0x7f) {
            return 0;
        }
    }

    return 1;
}


size_t
oa_authorize_location(oa_str_t uri, const oa_form_field_t *parameters,
    size_t n, unsigned char *out)
{
    size_t         i, len;
    oa_str_t       mark;
    unsigned char  last;

    len = oa_authorize_put(out, 0, uri);

    /* a query of its own stays (RFC 6749 section 3.1.2) */

    mark = (oa_str_t) oa_string("?");

    if (uri.len && memchr(uri.data, '?', uri.len)) {
        last = uri.data[uri.len - 1];
        mark = (oa_str_t) oa_string("&");
        mark.len = (last != '?' && last != '&');
    }

    for (i = 0; i < n; i++) {

        if (parameters[i].value.data == NULL) {
            continue;
        }

        len = oa_authorize_put(out, len, mark);
        len = oa_authorize_put(out, len, parameters[i].name);
        len = oa_authorize_put(out, len, (oa_str_t) oa_string("="));
        len += oa_form_escape(parameters[i].value, out ? out + len : NULL);

        mark = (oa_str_t) oa_string("&");
    }

    return len;
}


static size_t
oa_authorize_put(unsigned char *out, size_t at, oa_str_t s)
{
    if (out && s.len) {
        memcpy(out + at, s.data, s.len);
    }

    return at + s.len;
}


oa_place_t
oa_redirect_place(oa_str_t uri, oa_str_t *text)
{
    int         http;
    size_t      i;
    oa_str_t    host;

    http = oa_authorize_starts(uri, "http://", &host);

    if (!http && !oa_authorize_starts(uri, "https://", &host)) {

        for (i = 0; i < uri.len && uri.data[i] != ':'; i++) { /* void */ }

        text->data = uri.data;
        text->len = i;

        return OA_PLACE_APP;
    }

    for (i = 0; i < host.len; i++) {
        if (host.data[i] == '/' || host.data[i] == '?' || host.data[i] == '#') {
            break;
        }
    }

    text->data = host.data;
    text->len = i;

    /* clients may register http for loopback alone (oa_redirect_uri_check) */

    return http ? OA_PLACE_LOOPBACK : OA_PLACE_WEB;
}


size_t
oa_redirect_form_action(oa_str_t uri, unsigned char out[OA_FORM_ACTION_MAX])
{
    size_t          i, len;
    oa_str_t        text, sources;
    unsigned char   c;

    switch (oa_redirect_place(uri, &text)) {

    case OA_PLACE_WEB:
        sources = (oa_str_t) oa_string("'self' https:");
        return oa_authorize_put(out, 0, sources);

    case OA_PLACE_LOOPBACK:

        /* a source can't name an IPv6 address */

        if (text.len && text.data[0] == '[') {
            sources = (oa_str_t) oa_string("'self' https: http:");

        } else {
            sources = (oa_str_t) oa_string("'self' https: http://127.0.0.1:* "
                                           "http://localhost:*");
        }

        return oa_authorize_put(out, 0, sources);

    case OA_PLACE_APP:
        break;
    }

    sources = (oa_str_t) oa_string("'self' ");
    len = oa_authorize_put(out, 0, sources);

    if (text.len == 0 || len + text.len + 1 > OA_FORM_ACTION_MAX) {
        return len - 1;
    }

    /* a scheme (RFC 3986 section 3.1), or it could end the directive */

    for (i = 0; i < text.len; i++) {
        c = text.data[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
              || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '+'))
        {
            return len - 1;
        }
    }

    len = oa_authorize_put(out, len, text);

    return oa_authorize_put(out, len, (oa_str_t) oa_string(":"));
}


oa_rc_t
oa_scope_words(oa_str_t scope, oa_scope_words_t *words)
{
    oa_str_t              rest;
    const unsigned char  *colon;

    words->resource = (oa_str_t) oa_null;
    words->after = "";

    if (oa_text_eq(scope, "admin")) {
        words->before = "Full control: read, create, change and delete "
                        "everything";
        return OA_OK;
    }

    if (oa_text_eq(scope, "read:*")) {
        words->before = "Read everything";
        return OA_OK;
    }

    if (oa_text_eq(scope, "write:*")) {
        words->before = "Create and change everything";
        return OA_OK;
    }

    if (oa_scope_starts(scope, "read:", &rest)) {
        words->before = "Read ";
        words->resource = rest;
        return OA_OK;
    }

    if (oa_scope_starts(scope, "write:", &rest)) {
        words->before = "Create and change ";
        words->resource = rest;
        return OA_OK;
    }

    colon = scope.len ? memchr(scope.data, ':', scope.len) : NULL;

    if (colon && colon != scope.data
        && colon + 2 == scope.data + scope.len && colon[1] == '*')
    {
        words->before = "Everything that needs \xe2\x80\x9c";
        words->resource.data = scope.data;
        words->resource.len = (size_t) (colon - scope.data);
        words->after = "\xe2\x80\x9d";
        return OA_OK;
    }

    return OA_DECLINED;
}


/* scopes are compared byte by byte */

static int
oa_scope_starts(oa_str_t scope, const char *action, oa_str_t *rest)
{
    size_t  len;

    len = strlen(action);

    if (scope.len <= len || memcmp(scope.data, action, len) != 0) {
        return 0;
    }

    rest->data = scope.data + len;
    rest->len = scope.len - len;

    return 1;
}


/* schemes are compared in any case (RFC 3986 section 3.1); prefix in lower */

static int
oa_authorize_starts(oa_str_t s, const char *prefix, oa_str_t *rest)
{
    size_t         i;
    unsigned char  c;

    for (i = 0; prefix[i]; i++) {

        if (i == s.len) {
            return 0;
        }

        c = s.data[i];

        if (c >= 'A' && c <= 'Z') {
            c |= 0x20;
        }

        if (c != (unsigned char) prefix[i]) {
            return 0;
        }
    }

    rest->data = s.data + i;
    rest->len = s.len - i;

    return 1;
}
