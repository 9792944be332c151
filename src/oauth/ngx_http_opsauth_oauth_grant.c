/*
 * What grants share: the account that a token is for, scopes and minting;
 * issue.c writes. An account is read from Redis at each login, never from the cache:
 * its switch and its allowed addresses hold at once.
 */

#include "ngx_http_opsauth_oauth_grant.h"
#include "oa_cidr.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>


/* in the order of account_take() */
static ngx_str_t  ngx_http_opsauth_oauth_account_fields[] = {
    ngx_string("enabled"),
    ngx_string("ips"),
    ngx_string("refresh"),
    ngx_string("scopes"),
    ngx_string("tenant")
};

#define NGX_HTTP_OPSAUTH_OAUTH_ACCOUNT_FIELDS                                 \
    (sizeof(ngx_http_opsauth_oauth_account_fields) / sizeof(ngx_str_t))


void
ngx_http_opsauth_oauth_account_ask(ngx_http_opsauth_oauth_t *oauth,
    oa_str_t id)
{
    ngx_str_t  words[2 + NGX_HTTP_OPSAUTH_OAUTH_ACCOUNT_FIELDS];

    ngx_str_set(&words[0], "HMGET");
    words[1] = ngx_http_opsauth_oauth_key(oauth, "account:", id);

    if (words[1].data == NULL) {
        oauth->refused = 1;
        return;
    }

    ngx_memcpy(&words[2], ngx_http_opsauth_oauth_account_fields,
               sizeof(ngx_http_opsauth_oauth_account_fields));

    ngx_http_opsauth_oauth_command(oauth,
                             2 + NGX_HTTP_OPSAUTH_OAUTH_ACCOUNT_FIELDS, words);
}


ngx_int_t
ngx_http_opsauth_oauth_account_take(ngx_http_opsauth_oauth_t *oauth,
    ngx_uint_t n, oa_str_t id, ngx_uint_t address, const char **reason)
{
    size_t                len;
    u_char                packed[OA_CIDR_PACKED_MAX];
    oa_str_t              enabled, ips, refresh, scopes, tenant, bad;
    oa_addr_t             addr;
    const char           *error;
    ngx_opsauth_reply_t  *reply;

    reply = ngx_http_opsauth_oauth_reply(oauth, n);

    enabled = ngx_http_opsauth_oauth_text(reply, 0);
    ips = ngx_http_opsauth_oauth_text(reply, 1);
    refresh = ngx_http_opsauth_oauth_text(reply, 2);
    scopes = ngx_http_opsauth_oauth_text(reply, 3);
    tenant = ngx_http_opsauth_oauth_text(reply, 4);

    if (enabled.data == NULL && ips.data == NULL && refresh.data == NULL
        && scopes.data == NULL && tenant.data == NULL)
    {
        *reason = "the account has no record";
        return NGX_DECLINED;
    }

    len = 0;

    if (enabled.data == NULL
        || oa_account_field_check("enabled", enabled, &error) != OA_OK
        || (refresh.data
            && oa_account_field_check("refresh", refresh, &error) != OA_OK)
        || (tenant.data
            && oa_account_field_check("tenant", tenant, &error) != OA_OK)
        || scopes.len > OA_SET_MAX
        || (ips.data
            && oa_cidr_pack(ips, packed, sizeof(packed), &len, &bad) != OA_OK))
    {
        ngx_log_error(NGX_LOG_ERR, oauth->request->connection->log, 0,
                      "opsauth: record \"%Vaccount:%*s\" is invalid",
                      &oauth->store->prefix, id.len, id.data);

        *reason = "the account's record is invalid";
        return NGX_ERROR;
    }

    if (!oa_text_eq(enabled, "1")) {
        *reason = "the account is disabled";
        return NGX_DECLINED;
    }

    if (address) {
        ngx_http_opsauth_addr(oauth->request, &addr);

        bad.data = packed;
        bad.len = len;

        if (oa_cidr_match(bad, &addr) != OA_OK) {
            *reason = "the account doesn't admit this address";
            return NGX_DECLINED;
        }
    }

    oauth->account.id = id;
    oauth->account.tenant = tenant;
    oauth->account.scopes = scopes;
    oauth->account.refresh = (refresh.data && oa_text_eq(refresh, "1"));

    return NGX_OK;
}


ngx_str_t
ngx_http_opsauth_oauth_digest(ngx_http_opsauth_oauth_t *oauth,
    ngx_uint_t pepper, oa_str_t text)
{
    ngx_str_t  hex;
    u_char     digest[OA_DIGEST_LEN];

    hex.len = OA_DIGEST_HEX_LEN;
    hex.data = ngx_http_opsauth_oauth_secret(oauth, OA_DIGEST_HEX_LEN);

    if (hex.data == NULL) {
        return hex;
    }

    if (oa_hasher_credential(&oauth->worker->hasher, pepper, text, digest)
        != OA_OK)
    {
        ngx_log_error(NGX_LOG_CRIT, oauth->request->connection->log, 0,
                      "opsauth: libcrypto could not make a digest");
        hex.data = NULL;
        return hex;
    }

    oa_text_hex(digest, OA_DIGEST_LEN, hex.data);

    return hex;
}


ngx_int_t
ngx_http_opsauth_oauth_find(ngx_http_opsauth_oauth_t *oauth,
    const char *middle, oa_str_t text, ngx_uint_t nfields,
    const char *const *fields)
{
    ngx_str_t   words[NGX_OPSAUTH_COMMAND_WORDS], *digest;
    ngx_uint_t  i, k;

    ngx_str_set(&words[0], "HMGET");

    for (k = 0; k < nfields; k++) {
        words[2 + k].data = (u_char *) fields[k];
        words[2 + k].len = ngx_strlen(fields[k]);
    }

    for (i = 0; i < oauth->worker->hasher.n; i++) {
        digest = &oauth->digests[i];
        *digest = ngx_http_opsauth_oauth_digest(oauth, i, text);

        if (digest->data == NULL) {
            return NGX_ERROR;
        }

        words[1] = ngx_http_opsauth_oauth_key(oauth, middle,
                                              ngx_http_opsauth_view(digest));
        if (words[1].data == NULL) {
            return NGX_ERROR;
        }

        ngx_http_opsauth_oauth_command(oauth, 2 + nfields, words);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_opsauth_oauth_found(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_uint_t            i, k;
    ngx_opsauth_reply_t  *reply;

    for (i = 0; i < oauth->worker->hasher.n; i++) {
        reply = ngx_http_opsauth_oauth_reply(oauth, i);

        for (k = 0; k < reply->n; k++) {
            if (ngx_http_opsauth_oauth_text(reply, k).data) {
                return i;
            }
        }
    }

    return NGX_DECLINED;
}


ngx_str_t
ngx_http_opsauth_oauth_mint(ngx_http_opsauth_oauth_t *oauth, size_t n)
{
    size_t      at, len;
    u_char      random[OA_KEY_RANDOM_LEN], body[OA_KEY_BODY_LEN];
    ngx_str_t   text;

    text.len = n;
    text.data = ngx_http_opsauth_oauth_secret(oauth, n);

    for (at = 0; text.data && at < n; at += len) {

        if (RAND_bytes(random, sizeof(random)) != 1) {
            ngx_log_error(NGX_LOG_CRIT, oauth->request->connection->log, 0,
                          "opsauth: libcrypto has no randomness");
            text.data = NULL;
            break;
        }

        oa_token_mint(random, body);

        /* the last ones: the first digit of 256 bits in base 62 is not even */

        len = ngx_min(n - at, OA_KEY_BODY_LEN);
        ngx_memcpy(text.data + at, body + OA_KEY_BODY_LEN - len, len);
    }

    OPENSSL_cleanse(random, sizeof(random));
    OPENSSL_cleanse(body, sizeof(body));

    return text;
}


ngx_http_opsauth_oauth_grant_t *
ngx_http_opsauth_oauth_grant(ngx_http_opsauth_oauth_t *oauth)
{
    ngx_http_opsauth_oauth_grant_t  *grant;

    if (oauth->data == NULL) {
        grant = ngx_pcalloc(oauth->request->pool,
                            sizeof(ngx_http_opsauth_oauth_grant_t));
        if (grant == NULL) {
            return NULL;
        }

        grant->now = ngx_time();
        oauth->data = grant;
    }

    return oauth->data;
}


ngx_http_opsauth_oauth_grant_t *
ngx_http_opsauth_oauth_presented(ngx_http_opsauth_oauth_t *oauth,
    oa_str_t *name, ngx_int_t *rc)
{
    oa_str_t                         token;
    ngx_http_opsauth_oauth_grant_t  *grant;

    token = oa_form_get(&oauth->form, "token");

    if (token.data == NULL) {
        *rc = ngx_http_opsauth_oauth_invalid_request(oauth,
                                                     "token is missing");
        return NULL;
    }

    grant = ngx_http_opsauth_oauth_grant(oauth);
    if (grant == NULL) {
        *rc = ngx_http_opsauth_oauth_failed(oauth);
        return NULL;
    }

    if (token.len > OA_BEARER_MAX) {
        name->len = 0;
        name->data = NULL;
        return grant;
    }

    grant->presented = token;

    if (ngx_http_opsauth_oauth_family(token, name) == NGX_OK) {
        grant->is_refresh = 1;

    } else {
        *name = token;
    }

    return grant;
}


ngx_int_t
ngx_http_opsauth_oauth_narrow(ngx_http_opsauth_oauth_t *oauth,
    oa_str_t requested, oa_str_t allowed)
{
    size_t                           len;
    oa_rc_t                          rc;
    oa_str_t                         narrowed;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;

    rc = oa_scope_narrow(requested, allowed, oauth->account.scopes,
                         grant->words[0], OA_SET_MAX, &len);

    if (rc == OA_OK && requested.data == NULL) {
        narrowed.data = grant->words[0];
        narrowed.len = len;

        /* the client's record may have been narrowed since it was allowed */

        rc = oa_scope_narrow((oa_str_t) oa_null, narrowed,
                             oauth->client.scopes.data
                             ? oauth->client.scopes : (oa_str_t) oa_string(""),
                             grant->words[1], OA_SET_MAX, &len);

        grant->scopes.data = grant->words[1];

    } else if (rc == OA_OK) {
        narrowed.data = grant->words[0];
        narrowed.len = len;

        rc = oa_scope_narrow(narrowed, oauth->client.scopes,
                             (oa_str_t) oa_null, grant->words[1], OA_SET_MAX,
                             &len);

        grant->scopes.data = grant->words[1];
    }

    if (rc == OA_OK) {
        grant->scopes.len = len;
        return NGX_OK;
    }

    return (rc == OA_INVALID) ? NGX_DECLINED : NGX_ERROR;
}


ngx_int_t
ngx_http_opsauth_oauth_not_narrowed(ngx_http_opsauth_oauth_t *oauth,
    ngx_int_t rc)
{
    if (rc == NGX_ERROR) {
        return ngx_http_opsauth_oauth_unavailable(oauth,
                                                  "scopes are malformed");
    }

    return ngx_http_opsauth_oauth_error(oauth, NGX_HTTP_BAD_REQUEST,
                                        "invalid_scope",
                                        "the scope is malformed, or more than "
                                        "is granted", NULL);
}


ngx_int_t
ngx_http_opsauth_oauth_new_access(ngx_http_opsauth_oauth_t *oauth)
{
    u_char                          *p;
    oa_str_t                         token = oa_null;
    ngx_str_t                        random;
    ngx_uint_t                       i;
    ngx_http_opsauth_store_t        *store;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;
    store = oauth->store;

    grant->valid = oauth->account.refresh ? oauth->conf->short_token_valid
                                          : oauth->conf->token_valid;

    /* one that by chance begins like a key would be taken for one */

    for (i = 0; i < 64; i++) {
        grant->access = ngx_http_opsauth_oauth_mint(oauth, OA_KEY_BODY_LEN);
        if (grant->access.data == NULL) {
            return NGX_ERROR;
        }

        token = ngx_http_opsauth_view(&grant->access);

        if (oa_key_prefix_find(store->key_prefixes->elts,
                               store->key_prefixes->nelts, token)
            == NULL)
        {
            break;
        }
    }

    if (i == 64) {
        ngx_log_error(NGX_LOG_ERR, oauth->request->connection->log, 0,
                      "opsauth: the key prefixes of store \"%V\" leave no room "
                      "for tokens", &store->name);
        return NGX_ERROR;
    }

    grant->access_digest = ngx_http_opsauth_oauth_digest(oauth, 0, token);
    random = ngx_http_opsauth_oauth_mint(oauth, 16);
    p = ngx_pnalloc(oauth->request->pool, sizeof("tok_") - 1 + 16);

    if (grant->access_digest.data == NULL || random.data == NULL || p == NULL) {
        return NGX_ERROR;
    }

    grant->access_id.data = p;
    grant->access_id.len = ngx_sprintf(p, "tok_%V", &random) - p;

    return NGX_OK;
}


ngx_int_t
ngx_http_opsauth_oauth_new_refresh(ngx_http_opsauth_oauth_t *oauth,
    oa_str_t family)
{
    oa_str_t                         name;
    ngx_str_t                        token;
    ngx_http_opsauth_oauth_grant_t  *grant;

    grant = oauth->data;

    token = ngx_http_opsauth_oauth_mint(oauth,
                                        NGX_HTTP_OPSAUTH_OAUTH_REFRESH_LEN);
    if (token.data == NULL) {
        return NGX_ERROR;
    }

    if (family.data) {
        ngx_memcpy(token.data, family.data, NGX_HTTP_OPSAUTH_OAUTH_FAMILY_LEN);

    } else {
        name.data = token.data;
        name.len = NGX_HTTP_OPSAUTH_OAUTH_FAMILY_LEN;

        grant->family = ngx_http_opsauth_oauth_digest(oauth, 0, name);
        if (grant->family.data == NULL) {
            return NGX_ERROR;
        }
    }

    /* a family keeps the pepper that it was made under: who finds it can tell
       its own tokens, also where a newer pepper hasn't come yet, and doesn't
       take one for a replay */

    grant->refresh = token;
    grant->refresh_digest = ngx_http_opsauth_oauth_digest(oauth,
                                              grant->pepper,
                                              ngx_http_opsauth_view(&token));

    return grant->refresh_digest.data ? NGX_OK : NGX_ERROR;
}
