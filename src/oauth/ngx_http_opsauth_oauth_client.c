/*
 * Client authentication (RFC 6749 section 2.3, RFC 7523): exactly one method a
 * request, the one that the client's record allows.
 *
 *   Authorization: Basic     client_secret_basic
 *   client_secret            client_secret_post
 *   client_assertion         client_secret_jwt, private_key_jwt
 *   client_id alone          none: a public client
 *
 * An unknown client, a wrong secret, a wrong method and a client that is
 * switched off get one and the same answer, and cost the same work.
 */

#include "ngx_http_opsauth_oauth.h"
#include "oa_base64.h"

#include <openssl/crypto.h>


static ngx_int_t ngx_http_opsauth_oauth_login_find(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_login_named(
    ngx_http_opsauth_oauth_t *oauth, oa_str_t named, oa_str_t id);
static ngx_int_t ngx_http_opsauth_oauth_login_basic(
    ngx_http_opsauth_oauth_t *oauth, ngx_str_t *value);
static ngx_int_t ngx_http_opsauth_oauth_login_part(u_char *text, size_t *len);
static ngx_int_t ngx_http_opsauth_oauth_login_read(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_int_t ngx_http_opsauth_oauth_login_once(
    ngx_http_opsauth_oauth_t *oauth, ngx_str_t *jti, int64_t valid);
static ngx_int_t ngx_http_opsauth_oauth_login_jti(
    ngx_http_opsauth_oauth_t *oauth);
static ngx_uint_t ngx_http_opsauth_oauth_secret_matches(
    ngx_http_opsauth_oauth_t *oauth, const oa_client_t *client);


#define NGX_HTTP_OPSAUTH_OAUTH_ASSERTION_TYPE                                 \
    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


ngx_int_t
ngx_http_opsauth_oauth_login(ngx_http_opsauth_oauth_t *oauth,
    ngx_http_opsauth_oauth_step_pt next)
{
    ngx_int_t  rc;

    rc = ngx_http_opsauth_oauth_refuse_query(oauth);
    if (rc != NGX_DECLINED) {
        return rc;
    }

    rc = ngx_http_opsauth_oauth_login_find(oauth);
    if (rc != NGX_DECLINED) {
        return rc;
    }

    oauth->login.next = next;

    ngx_http_opsauth_oauth_client_ask(oauth, oauth->client_id);

    return ngx_http_opsauth_oauth_wait(oauth,
                                       ngx_http_opsauth_oauth_login_read);
}


/* NGX_DECLINED: login and client_id are set; else it was answered */

static ngx_int_t
ngx_http_opsauth_oauth_login_find(ngx_http_opsauth_oauth_t *oauth)
{
    oa_str_t          id, secret, assertion, type, named;
    ngx_int_t         rc;
    ngx_table_elt_t  *h;

    h = oauth->request->headers_in.authorization;

    id = oa_form_get(&oauth->form, "client_id");
    secret = oa_form_get(&oauth->form, "client_secret");
    assertion = oa_form_get(&oauth->form, "client_assertion");
    type = oa_form_get(&oauth->form, "client_assertion_type");

    oauth->basic = (h != NULL);

    if ((h != NULL) + (secret.data != NULL)
        + (assertion.data != NULL || type.data != NULL) > 1)
    {
        return ngx_http_opsauth_oauth_invalid_request(oauth,
                         "more than one way of client authentication is used");
    }

    if (h) {
        rc = ngx_http_opsauth_oauth_login_basic(oauth, &h->value);

        if (rc == NGX_ERROR) {
            return ngx_http_opsauth_oauth_failed(oauth);
        }

        if (rc != NGX_OK) {
            return ngx_http_opsauth_oauth_invalid_client(oauth,
                                            "the Authorization header is no "
                                            "well-formed Basic");
        }

        named = oauth->client_id;

    } else if (assertion.data || type.data) {

        if (assertion.data == NULL || type.data == NULL
            || !oa_text_eq(type, NGX_HTTP_OPSAUTH_OAUTH_ASSERTION_TYPE))
        {
            return ngx_http_opsauth_oauth_invalid_request(oauth,
                         "client_assertion and client_assertion_type must come "
                         "together, and the type be jwt-bearer");
        }

        oauth->login.assertion = assertion;
        named = ngx_http_opsauth_oauth_assertion_client(oauth);

        if (named.data == NULL) {
            return ngx_http_opsauth_oauth_invalid_client(oauth,
                                            "the assertion can't be read");
        }

    } else if (id.data == NULL) {
        return ngx_http_opsauth_oauth_invalid_client(oauth,
                                            "there is no client "
                                            "authentication and no client_id");
    } else {
        oauth->login.method = secret.data ? OA_AUTH_SECRET_POST : OA_AUTH_NONE;
        oauth->login.secret = secret;
        named = id;
    }

    oauth->client_id = (oa_str_t) oa_null;

    return ngx_http_opsauth_oauth_login_named(oauth, named, id);
}


/* by the authentication, and by client_id, if there is one */

static ngx_int_t
ngx_http_opsauth_oauth_login_named(ngx_http_opsauth_oauth_t *oauth,
    oa_str_t named, oa_str_t id)
{
    if (id.data && (id.len != named.len
                    || ngx_memcmp(id.data, named.data, id.len) != 0))
    {
        return ngx_http_opsauth_oauth_invalid_request(oauth,
                         "client_id differs from the client that "
                         "authenticates");
    }

    if (!ngx_http_opsauth_oauth_client_id_valid(named)) {
        return ngx_http_opsauth_oauth_invalid_client(oauth,
                                            "no client has such an id");
    }

    /* the form is wiped before the access log is written */

    oauth->client_id.data = ngx_pstrdup(oauth->request->pool,
                                        &ngx_http_opsauth_str(named));
    oauth->client_id.len = named.len;

    if (oauth->client_id.data == NULL) {
        oauth->client_id.len = 0;
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    return NGX_DECLINED;
}


/* RFC 6749 section 2.3.1: both parts are form-encoded before they are put
   together. NGX_DECLINED: it has another form */

static ngx_int_t
ngx_http_opsauth_oauth_login_basic(ngx_http_opsauth_oauth_t *oauth,
    ngx_str_t *value)
{
    u_char    *p, *last, *text, *colon;
    size_t     len;
    oa_str_t   encoded;

    oauth->login.method = OA_AUTH_SECRET_BASIC;

    if (value->len < 6 || ngx_strncasecmp(value->data, (u_char *) "Basic ", 6)
                          != 0)
    {
        return NGX_DECLINED;
    }

    p = value->data + 6;
    last = value->data + value->len;

    while (p < last && *p == ' ') {
        p++;
    }

    encoded.data = p;
    encoded.len = last - p;

    if (encoded.len == 0) {
        return NGX_DECLINED;
    }

    text = ngx_http_opsauth_oauth_secret(oauth, encoded.len);
    if (text == NULL) {
        return NGX_ERROR;
    }

    if (oa_base64_decode(encoded, text, encoded.len, &len) != OA_OK) {
        return NGX_DECLINED;
    }

    colon = ngx_strlchr(text, text + len, ':');

    if (colon == NULL) {
        return NGX_DECLINED;
    }

    oauth->client_id.data = text;
    oauth->client_id.len = colon - text;
    oauth->login.secret.data = colon + 1;
    oauth->login.secret.len = text + len - (colon + 1);

    if (ngx_http_opsauth_oauth_login_part(text, &oauth->client_id.len)
        != NGX_OK
        || ngx_http_opsauth_oauth_login_part(colon + 1,
                                             &oauth->login.secret.len)
           != NGX_OK)
    {
        oauth->client_id = (oa_str_t) oa_null;
        return NGX_DECLINED;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_opsauth_oauth_login_part(u_char *text, size_t *len)
{
    return (oa_form_unescape(text, len) == OA_OK) ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
ngx_http_opsauth_oauth_login_read(ngx_http_opsauth_oauth_t *oauth)
{
    int64_t         valid;
    ngx_int_t       rc;
    ngx_str_t       jti;
    oa_client_t     client, *known;
    const char     *reason, *wrong;
    ngx_uint_t      matches;

    rc = ngx_http_opsauth_oauth_client_take(oauth, oauth->client_id, &client,
                                            &reason);
    if (rc == NGX_ERROR) {
        return ngx_http_opsauth_oauth_unavailable(oauth, reason);
    }

    known = (rc == NGX_OK) ? &client : NULL;
    wrong = "the secret is wrong";

    ngx_str_null(&jti);
    valid = 0;

    if (oauth->login.assertion.data) {
        rc = ngx_http_opsauth_oauth_assertion_check(oauth, known, &jti, &valid,
                                                    &wrong);
        if (rc == NGX_ERROR) {
            return ngx_http_opsauth_oauth_failed(oauth);
        }

        matches = (rc == NGX_OK);

    } else if (oauth->login.method == OA_AUTH_NONE) {
        matches = 1;

    } else {
        matches = ngx_http_opsauth_oauth_secret_matches(oauth, known);
    }

    if (known == NULL) {
        return ngx_http_opsauth_oauth_invalid_client(oauth, reason);
    }

    if (!(client.auth_methods & oauth->login.method)) {
        return ngx_http_opsauth_oauth_invalid_client(oauth,
                            "this client doesn't authenticate by that method");
    }

    if (!matches) {
        return ngx_http_opsauth_oauth_invalid_client(oauth, wrong);
    }

    if (!client.enabled) {
        return ngx_http_opsauth_oauth_invalid_client(oauth,
                                                     "the client is disabled");
    }

    oauth->client = client;

    return jti.len ? ngx_http_opsauth_oauth_login_once(oauth, &jti, valid)
                   : oauth->login.next(oauth);
}


/* an assertion counts once (RFC 7523 section 3): it is noted until it ends */

static ngx_int_t
ngx_http_opsauth_oauth_login_once(ngx_http_opsauth_oauth_t *oauth,
    ngx_str_t *jti, int64_t valid)
{
    ngx_str_t  words[6];

    ngx_str_set(&words[0], "SET");
    words[1] = ngx_http_opsauth_oauth_key(oauth, "jti:",
                                          ngx_http_opsauth_view(jti));
    ngx_str_set(&words[2], "1");
    ngx_str_set(&words[3], "NX");
    ngx_str_set(&words[4], "PX");
    words[5] = ngx_http_opsauth_oauth_number(oauth, valid);

    if (words[1].data == NULL || words[5].data == NULL) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    ngx_http_opsauth_oauth_command(oauth, 6, words);

    return ngx_http_opsauth_oauth_wait(oauth,
                                       ngx_http_opsauth_oauth_login_jti);
}


static ngx_int_t
ngx_http_opsauth_oauth_login_jti(ngx_http_opsauth_oauth_t *oauth)
{
    if (ngx_http_opsauth_oauth_reply(oauth, 0)->type
        != NGX_OPSAUTH_REPLY_STATUS)
    {
        return ngx_http_opsauth_oauth_invalid_client(oauth,
                                            "the assertion was used before");
    }

    return oauth->login.next(oauth);
}


/* all peppers, whichever it is, and also where there is nothing to compare */

static ngx_uint_t
ngx_http_opsauth_oauth_secret_matches(ngx_http_opsauth_oauth_t *oauth,
    const oa_client_t *client)
{
    u_char       digest[OA_DIGEST_LEN], stored[OA_DIGEST_LEN];
    oa_hasher_t  *hasher;
    ngx_uint_t   i, matches, there;

    hasher = &oauth->worker->hasher;
    matches = 0;

    there = (client && client->secret.data
             && oa_text_unhex(client->secret, stored, OA_DIGEST_LEN) == OA_OK);

    if (!there) {
        ngx_memzero(stored, OA_DIGEST_LEN);
    }

    for (i = 0; i < hasher->n; i++) {
        if (oa_hasher_credential(hasher, i, oauth->login.secret, digest)
            == OA_OK)
        {
            matches |= (CRYPTO_memcmp(digest, stored, OA_DIGEST_LEN) == 0);
        }
    }

    OPENSSL_cleanse(digest, sizeof(digest));

    return matches & there;
}


ngx_int_t
ngx_http_opsauth_oauth_invalid_client(ngx_http_opsauth_oauth_t *oauth,
    const char *reason)
{
    return ngx_http_opsauth_oauth_error(oauth, NGX_HTTP_UNAUTHORIZED,
                                        "invalid_client",
                                        "client authentication failed",
                                        reason);
}


ngx_int_t
ngx_http_opsauth_oauth_refuse_query(ngx_http_opsauth_oauth_t *oauth)
{
    u_char      *query;
    oa_form_t    form;
    ngx_str_t   *args;
    ngx_uint_t   i;
    const char  *error;

    static const char  *names[] = {
        "client_id", "client_secret", "client_assertion", "code",
        "code_verifier", "refresh_token", "token", "access_token", "password",
        "username", "assertion"
    };

    args = &oauth->request->args;

    if (args->len == 0) {
        return NGX_DECLINED;
    }

    query = ngx_http_opsauth_oauth_secret(oauth, args->len);
    if (query == NULL) {
        return ngx_http_opsauth_oauth_failed(oauth);
    }

    ngx_memcpy(query, args->data, args->len);

    if (oa_form_parse(query, args->len, &form, &error) != OA_OK) {
        return ngx_http_opsauth_oauth_invalid_request(oauth, error);
    }

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (oa_form_get(&form, names[i]).data) {
            return ngx_http_opsauth_oauth_invalid_request(oauth,
                         "parameters belong into the body, not into the URL");
        }
    }

    return NGX_DECLINED;
}


ngx_uint_t
ngx_http_opsauth_oauth_client_id_valid(oa_str_t id)
{
    return id.len > 0 && id.len <= OA_ACCOUNT_MAX && oa_text_is_id(id);
}


void
ngx_http_opsauth_oauth_client_ask(ngx_http_opsauth_oauth_t *oauth, oa_str_t id)
{
    ngx_str_t   words[2 + OA_CLIENT_FIELDS];
    ngx_uint_t  i;

    ngx_str_set(&words[0], "HMGET");
    words[1] = ngx_http_opsauth_oauth_key(oauth, "client:", id);

    for (i = 0; i < OA_CLIENT_FIELDS; i++) {
        words[2 + i] = ngx_http_opsauth_str(oa_client_fields[i]);
    }

    if (words[1].data == NULL) {
        oauth->refused = 1;
        return;
    }

    ngx_http_opsauth_oauth_command(oauth, 2 + OA_CLIENT_FIELDS, words);

    /* a store that was never set up knows nobody: that is no answer */

    words[1] = oauth->store->redis.marker;
    ngx_str_set(&words[2], "v");

    ngx_http_opsauth_oauth_command(oauth, 3, words);
}


ngx_int_t
ngx_http_opsauth_oauth_client_take(ngx_http_opsauth_oauth_t *oauth,
    oa_str_t id, oa_client_t *client, const char **reason)
{
    oa_str_t              field, values[OA_CLIENT_FIELDS];
    ngx_uint_t            i;
    ngx_opsauth_reply_t  *record, *mark;

    record = ngx_http_opsauth_oauth_reply(oauth, 0);
    mark = ngx_http_opsauth_oauth_reply(oauth, 1);

    for (i = 0; i < OA_CLIENT_FIELDS; i++) {
        values[i] = ngx_http_opsauth_oauth_text(record, i);
    }

    switch (oa_client_read(id, values, client, &field)) {

    case OA_OK:
        return NGX_OK;

    case OA_DECLINED:

        if (ngx_http_opsauth_oauth_text(mark, 0).data) {
            *reason = "there is no such client";
            return NGX_DECLINED;
        }

        *reason = "the store is not set up";
        return NGX_ERROR;

    default:
        ngx_log_error(NGX_LOG_ERR, oauth->request->connection->log, 0,
                      "opsauth: record \"%Vclient:%*s\" is invalid: field "
                      "\"%*s\" is missing or malformed", &oauth->store->prefix,
                      id.len, id.data, field.len, field.data);

        *reason = "the client's record is invalid";
        return NGX_ERROR;
    }
}
