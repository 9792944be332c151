/*
 * redis_ssl_*: TLS to a store's Redis. Certificates and keys are read with the
 * configuration, by the master; a new one comes into use with a reload, and has
 * no part in the name of the shared zone.
 */

#include "ngx_http_opsauth.h"


/* our own bits: an nginx without SSL has none, and must say so */
#define NGX_HTTP_OPSAUTH_TLS1    0x0002
#define NGX_HTTP_OPSAUTH_TLS1_1  0x0004
#define NGX_HTTP_OPSAUTH_TLS1_2  0x0008
#define NGX_HTTP_OPSAUTH_TLS1_3  0x0010

/* CAs between the server's certificate and one that is trusted */
#define NGX_HTTP_OPSAUTH_TLS_DEPTH  4


static const char *ngx_http_opsauth_tls_given(ngx_http_opsauth_tls_t *tls);

#if (NGX_SSL)
static char *ngx_http_opsauth_tls_init(ngx_conf_t *cf,
    ngx_http_opsauth_store_t *store);
static ngx_int_t ngx_http_opsauth_tls_load(ngx_conf_t *cf,
    ngx_http_opsauth_store_t *store, ngx_ssl_t *ssl);
static ngx_int_t ngx_http_opsauth_tls_identity(ngx_conf_t *cf,
    ngx_http_opsauth_store_t *store, ngx_ssl_t *ssl);
static ngx_int_t ngx_http_opsauth_tls_trust(ngx_conf_t *cf,
    ngx_http_opsauth_tls_t *tls, ngx_ssl_t *ssl);
static ngx_int_t ngx_http_opsauth_tls_name(ngx_conf_t *cf,
    ngx_http_opsauth_store_t *store);
static ngx_uint_t ngx_http_opsauth_tls_bits(ngx_uint_t protocols);
#endif


ngx_conf_bitmask_t  ngx_http_opsauth_tls_protocols[] = {
    { ngx_string("TLSv1"), NGX_HTTP_OPSAUTH_TLS1 },
    { ngx_string("TLSv1.1"), NGX_HTTP_OPSAUTH_TLS1_1 },
    { ngx_string("TLSv1.2"), NGX_HTTP_OPSAUTH_TLS1_2 },
    { ngx_string("TLSv1.3"), NGX_HTTP_OPSAUTH_TLS1_3 },
    { ngx_null_string, 0 }
};


ngx_http_opsauth_range_t  ngx_http_opsauth_tls_file_range = {
    1, NGX_MAX_PATH - 1, "the name of a file"
};


ngx_http_opsauth_range_t  ngx_http_opsauth_tls_name_range = {
    1, 255, "the name or the address in Redis' certificate"
};


ngx_http_opsauth_range_t  ngx_http_opsauth_tls_ciphers_range = {
    1, 4096, "a list as \"openssl ciphers\" shows it"
};


/* more CAs than that stand between no two certificates */

ngx_http_opsauth_range_t  ngx_http_opsauth_tls_depth_range = {
    0, 100, "a number from 0 to 100, like \"4\","
};


void
ngx_http_opsauth_tls_create(ngx_http_opsauth_tls_t *tls)
{
    tls->verify = NGX_CONF_UNSET;
    tls->verify_depth = NGX_CONF_UNSET;
    tls->session_reuse = NGX_CONF_UNSET;
}


char *
ngx_http_opsauth_tls_finish(ngx_conf_t *cf, ngx_http_opsauth_store_t *store)
{
    const char              *given;
    ngx_http_opsauth_tls_t  *tls;

    tls = &store->tls;

    if (!tls->on) {
        given = ngx_http_opsauth_tls_given(tls);

        if (given == NULL) {
            return NGX_CONF_OK;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%s\" in \"opsauth_store %V\" is for TLS, and "
                           "\"redis %V\" is not: write rediss://, or leave it "
                           "out", given, &store->name, &store->url);
        return NGX_CONF_ERROR;
    }

#if (NGX_SSL)

    return ngx_http_opsauth_tls_init(cf, store);

#else

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "\"redis %V\" in \"opsauth_store %V\" needs TLS, and "
                       "this module was built for an nginx without SSL: "
                       "configure nginx with \"--with-http_ssl_module\"",
                       &store->url, &store->name);
    return NGX_CONF_ERROR;

#endif
}


/* the first directive that was written; NULL: none */

static const char *
ngx_http_opsauth_tls_given(ngx_http_opsauth_tls_t *tls)
{
    ngx_uint_t  i;

    struct {
        ngx_uint_t   given;
        const char  *name;
    } all[] = {
        { tls->trusted_certificate.data != NULL,
          "redis_ssl_trusted_certificate" },
        { tls->certificate.data != NULL, "redis_ssl_certificate" },
        { tls->certificate_key.data != NULL, "redis_ssl_certificate_key" },
        { tls->password_file.data != NULL, "redis_ssl_password_file" },
        { tls->name.data != NULL, "redis_ssl_name" },
        { tls->ciphers.data != NULL, "redis_ssl_ciphers" },
        { tls->protocols != 0, "redis_ssl_protocols" },
        { tls->verify != NGX_CONF_UNSET, "redis_ssl_verify" },
        { tls->verify_depth != NGX_CONF_UNSET, "redis_ssl_verify_depth" },
        { tls->session_reuse != NGX_CONF_UNSET, "redis_ssl_session_reuse" }
    };

    for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (all[i].given) {
            return all[i].name;
        }
    }

    return NULL;
}


#if (NGX_SSL)

static char *
ngx_http_opsauth_tls_init(ngx_conf_t *cf, ngx_http_opsauth_store_t *store)
{
    ngx_ssl_t                *ssl;
    ngx_pool_cleanup_t       *cln;
    ngx_http_opsauth_tls_t   *tls;
    ngx_opsauth_redis_tls_t  *redis;

    tls = &store->tls;

    ngx_conf_init_value(tls->verify, 1);
    ngx_conf_init_value(tls->verify_depth, NGX_HTTP_OPSAUTH_TLS_DEPTH);
    ngx_conf_init_value(tls->session_reuse, 1);

    if (tls->protocols == 0) {
        tls->protocols = NGX_HTTP_OPSAUTH_TLS1_2|NGX_HTTP_OPSAUTH_TLS1_3;
    }

    if (ngx_http_opsauth_tls_name(cf, store) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    redis = ngx_pcalloc(cf->pool, sizeof(ngx_opsauth_redis_tls_t));
    ssl = ngx_pcalloc(cf->pool, sizeof(ngx_ssl_t));

    if (redis == NULL || ssl == NULL) {
        return NGX_CONF_ERROR;
    }

    ssl->log = cf->log;

    if (ngx_ssl_create(ssl, ngx_http_opsauth_tls_bits(tls->protocols), NULL)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);

    if (cln == NULL) {
        ngx_ssl_cleanup_ctx(ssl);
        return NGX_CONF_ERROR;
    }

    cln->handler = ngx_ssl_cleanup_ctx;
    cln->data = ssl;

    if (ngx_http_opsauth_tls_load(cf, store, ssl) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    redis->ssl = ssl;
    redis->verify = (tls->verify != 0);
    redis->session_reuse = (tls->session_reuse != 0);

    store->redis.tls = redis;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_opsauth_tls_load(ngx_conf_t *cf, ngx_http_opsauth_store_t *store,
    ngx_ssl_t *ssl)
{
    ngx_http_opsauth_tls_t  *tls;

    tls = &store->tls;

    if (tls->ciphers.len
        && ngx_ssl_ciphers(cf, ssl, &tls->ciphers, 0) != NGX_OK)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"redis_ssl_ciphers %V\": \"openssl "
                           "ciphers\" shows how they are written",
                           &tls->ciphers);
        return NGX_ERROR;
    }

    if (ngx_http_opsauth_tls_identity(cf, store, ssl) != NGX_OK
        || ngx_http_opsauth_tls_trust(cf, tls, ssl) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (!tls->verify) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "\"redis_ssl_verify off\" in \"opsauth_store %V\": "
                           "whoever is in between can pass for Redis and "
                           "let anybody through", &store->name);
    }

    return ngx_ssl_client_session_cache(cf, ssl, tls->session_reuse);
}


/* the gateway's own certificate */

static ngx_int_t
ngx_http_opsauth_tls_identity(ngx_conf_t *cf, ngx_http_opsauth_store_t *store,
    ngx_ssl_t *ssl)
{
    ngx_array_t             *passwords;
    ngx_http_opsauth_tls_t  *tls;

    tls = &store->tls;
    passwords = NULL;

    if ((tls->certificate.len == 0) != (tls->certificate_key.len == 0)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"redis_ssl_certificate\" and "
                           "\"redis_ssl_certificate_key\" in \"opsauth_store "
                           "%V\" go together", &store->name);
        return NGX_ERROR;
    }

    if (tls->password_file.len) {

        if (ngx_http_opsauth_check_file(cf, "redis_ssl_password_file",
                                        &tls->password_file, 1)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        passwords = ngx_ssl_read_password_file(cf, &tls->password_file);
        if (passwords == NULL) {
            return NGX_ERROR;
        }
    }

    if (tls->certificate.len == 0) {
        return NGX_OK;
    }

    if (ngx_http_opsauth_check_file(cf, "redis_ssl_certificate",
                                    &tls->certificate, 0)
        != NGX_OK
        || ngx_http_opsauth_check_file(cf, "redis_ssl_certificate_key",
                                       &tls->certificate_key, 1)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_ssl_certificate(cf, ssl, &tls->certificate, &tls->certificate_key,
                            passwords)
        != NGX_OK)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"redis_ssl_certificate %V\" with "
                           "\"redis_ssl_certificate_key %V\" can't be used: a "
                           "certificate in PEM and its own key are expected",
                           &tls->certificate, &tls->certificate_key);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_opsauth_tls_trust(ngx_conf_t *cf, ngx_http_opsauth_tls_t *tls,
    ngx_ssl_t *ssl)
{
    if (tls->trusted_certificate.len == 0) {
        SSL_CTX_set_verify_depth(ssl->ctx, tls->verify_depth);

        if (SSL_CTX_set_default_verify_paths(ssl->ctx) == 0) {
            ngx_ssl_error(NGX_LOG_EMERG, cf->log, 0,
                          "SSL_CTX_set_default_verify_paths() failed");
            return NGX_ERROR;
        }

        return NGX_OK;
    }

    if (ngx_http_opsauth_check_file(cf, "redis_ssl_trusted_certificate",
                                    &tls->trusted_certificate, 0)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_ssl_trusted_certificate(cf, ssl, &tls->trusted_certificate,
                                    tls->verify_depth)
        != NGX_OK)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"redis_ssl_trusted_certificate %V\" can't be "
                           "used: certificates of CAs in PEM are expected",
                           &tls->trusted_certificate);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_opsauth_tls_name(ngx_conf_t *cf, ngx_http_opsauth_store_t *store)
{
    ngx_uint_t  i;
    ngx_str_t  *name;

    name = &store->tls.name;

    if (name->data == NULL) {
        return NGX_OK;
    }

    for (i = 0; i < name->len; i++) {
        if (name->data[i] <= ' ' || name->data[i] > '~') {
            break;
        }
    }

    if (i != name->len) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"redis_ssl_name %V\": the name or the "
                           "address in Redis' certificate is expected", name);
        return NGX_ERROR;
    }

    /* words of the configuration end with a zero */
    store->redis.tls_name = *name;

    return NGX_OK;
}


static ngx_uint_t
ngx_http_opsauth_tls_bits(ngx_uint_t protocols)
{
    ngx_uint_t  bits;

    bits = 0;

    if (protocols & NGX_HTTP_OPSAUTH_TLS1) {
        bits |= NGX_SSL_TLSv1;
    }

    if (protocols & NGX_HTTP_OPSAUTH_TLS1_1) {
        bits |= NGX_SSL_TLSv1_1;
    }

    if (protocols & NGX_HTTP_OPSAUTH_TLS1_2) {
        bits |= NGX_SSL_TLSv1_2;
    }

    if (protocols & NGX_HTTP_OPSAUTH_TLS1_3) {
        bits |= NGX_SSL_TLSv1_3;
    }

    return bits;
}

#endif
