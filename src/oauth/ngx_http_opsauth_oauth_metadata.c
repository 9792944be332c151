/*
 * The documents by which clients find the service: of the authorization server
 * (RFC 8414) and of the resource that it protects (RFC 9728). They are written
 * when the configuration was read, from the endpoints in the same server block
 * that have the same issuer, and say nothing that isn't so.
 */

#include "ngx_http_opsauth_oauth.h"


static ngx_http_opsauth_oauth_conf_t *ngx_http_opsauth_oauth_neighbour(
    ngx_http_opsauth_main_conf_t *omcf, ngx_http_opsauth_endpoint_t *place,
    ngx_uint_t kind);
static json_t *ngx_http_opsauth_oauth_server(ngx_conf_t *cf,
    ngx_http_opsauth_main_conf_t *omcf, ngx_http_opsauth_endpoint_t *place);
static void ngx_http_opsauth_oauth_logins(json_t *document, const char *name,
    ngx_uint_t mask);
static ngx_int_t ngx_http_opsauth_oauth_dump(ngx_conf_t *cf, json_t *document,
    ngx_str_t *text);


ngx_int_t
ngx_http_opsauth_oauth_documents(ngx_conf_t *cf,
    ngx_http_opsauth_main_conf_t *omcf)
{
    json_t                         *document;
    ngx_str_t                      *id;
    ngx_uint_t                      i;
    ngx_http_opsauth_endpoint_t    *place;
    ngx_http_opsauth_oauth_conf_t  *conf, *token;

    place = omcf->endpoints.elts;

    for (i = 0; i < omcf->endpoints.nelts; i++) {
        conf = place[i].conf;

        token = ngx_http_opsauth_oauth_neighbour(omcf, &place[i],
                                            NGX_HTTP_OPSAUTH_OAUTH_TOKEN);
        if (token) {
            conf->token_url = ngx_http_opsauth_oauth_url(cf->pool, token);
            if (conf->token_url.data == NULL) {
                return NGX_ERROR;
            }
        }

        switch (conf->kind) {

        case NGX_HTTP_OPSAUTH_OAUTH_METADATA:
            document = ngx_http_opsauth_oauth_server(cf, omcf, &place[i]);
            break;

        case NGX_HTTP_OPSAUTH_OAUTH_RESOURCE:
            id = conf->resource.len ? &conf->resource : &conf->issuer;

            document = json_pack("{s:s%, s:[s%], s:[s]}",
                                 "resource", id->data, id->len,
                                 "authorization_servers", conf->issuer.data,
                                 conf->issuer.len,
                                 "bearer_methods_supported", "header");
            break;

        default:
            continue;
        }

        if (ngx_http_opsauth_oauth_dump(cf, document, &conf->document)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_http_opsauth_oauth_conf_t *
ngx_http_opsauth_oauth_neighbour(ngx_http_opsauth_main_conf_t *omcf,
    ngx_http_opsauth_endpoint_t *place, ngx_uint_t kind)
{
    ngx_uint_t                    i;
    ngx_http_opsauth_endpoint_t  *other;

    other = omcf->endpoints.elts;

    for (i = 0; i < omcf->endpoints.nelts; i++) {

        if (other[i].conf->kind == kind && other[i].server == place->server
            && other[i].conf->issuer.len == place->conf->issuer.len
            && ngx_strncmp(other[i].conf->issuer.data,
                           place->conf->issuer.data, place->conf->issuer.len)
               == 0)
        {
            return other[i].conf;
        }
    }

    return NULL;
}


static json_t *
ngx_http_opsauth_oauth_server(ngx_conf_t *cf,
    ngx_http_opsauth_main_conf_t *omcf, ngx_http_opsauth_endpoint_t *place)
{
    json_t                         *document, *grants;
    ngx_str_t                       url;
    ngx_uint_t                      i, there;
    ngx_http_opsauth_oauth_conf_t  *conf;

    static struct {
        ngx_uint_t   kind;
        const char  *name;
    } endpoints[] = {
        { NGX_HTTP_OPSAUTH_OAUTH_AUTHORIZE, "authorization_endpoint" },
        { NGX_HTTP_OPSAUTH_OAUTH_TOKEN, "token_endpoint" },
        { NGX_HTTP_OPSAUTH_OAUTH_REVOKE, "revocation_endpoint" },
        { NGX_HTTP_OPSAUTH_OAUTH_INTROSPECT, "introspection_endpoint" }
    };

    there = 0;

    document = json_pack("{s:s%}", "issuer", place->conf->issuer.data,
                         place->conf->issuer.len);

    for (i = 0; i < sizeof(endpoints) / sizeof(endpoints[0]); i++) {

        conf = ngx_http_opsauth_oauth_neighbour(omcf, place, endpoints[i].kind);
        if (conf == NULL) {
            continue;
        }

        url = ngx_http_opsauth_oauth_url(cf->pool, conf);
        if (url.data == NULL) {
            json_decref(document);
            return NULL;
        }

        json_object_set_new(document, endpoints[i].name,
                            ngx_http_opsauth_oauth_json_str(url));
        there |= 1 << endpoints[i].kind;
    }

    grants = json_array();

    if (there & 1 << NGX_HTTP_OPSAUTH_OAUTH_AUTHORIZE) {
        json_array_append_new(grants, json_string("authorization_code"));
        json_object_set_new(document, "response_types_supported",
                            json_pack("[s]", "code"));
        json_object_set_new(document, "response_modes_supported",
                            json_pack("[s]", "query"));
        json_object_set_new(document, "code_challenge_methods_supported",
                            json_pack("[s]", "S256"));
        json_object_set_new(document,
                            "authorization_response_iss_parameter_supported",
                            json_true());
    } else {
        json_object_set_new(document, "response_types_supported",
                            json_array());
    }

    if (there & 1 << NGX_HTTP_OPSAUTH_OAUTH_TOKEN) {
        json_array_append_new(grants, json_string("refresh_token"));
        json_array_append_new(grants, json_string("client_credentials"));
        ngx_http_opsauth_oauth_logins(document, "token_endpoint", ~0);
    }

    json_object_set_new(document, "grant_types_supported", grants);

    if (there & 1 << NGX_HTTP_OPSAUTH_OAUTH_REVOKE) {
        ngx_http_opsauth_oauth_logins(document, "revocation_endpoint", ~0);
    }

    if (there & 1 << NGX_HTTP_OPSAUTH_OAUTH_INTROSPECT) {
        ngx_http_opsauth_oauth_logins(document, "introspection_endpoint",
                                      ~OA_AUTH_NONE);
    }

    return document;
}


static void
ngx_http_opsauth_oauth_logins(json_t *document, const char *name,
    ngx_uint_t mask)
{
    char        key[80];
    json_t     *methods;
    ngx_uint_t  bit;

    methods = json_array();

    for (bit = OA_AUTH_NONE; bit <= OA_AUTH_PRIVATE_KEY_JWT; bit <<= 1) {
        if (bit & mask) {
            json_array_append_new(methods,
                                  json_string(oa_auth_method_name(bit)));
        }
    }

    (void) ngx_snprintf((u_char *) key, sizeof(key),
                        "%s_auth_methods_supported%Z", name);
    json_object_set_new(document, key, methods);

    (void) ngx_snprintf((u_char *) key, sizeof(key),
                        "%s_auth_signing_alg_values_supported%Z", name);
    json_object_set_new(document, key, json_pack("[s, s, s, s, s]", "HS256",
                                                 "RS256", "ES256", "Ed25519",
                                                 "EdDSA"));
}


static ngx_int_t
ngx_http_opsauth_oauth_dump(ngx_conf_t *cf, json_t *document, ngx_str_t *text)
{
    size_t  size;

    size = json_dumpb(document, NULL, 0, JSON_COMPACT);

    text->data = size ? ngx_pnalloc(cf->pool, size) : NULL;

    if (text->data) {
        text->len = json_dumpb(document, (char *) text->data, size,
                               JSON_COMPACT);
    }

    json_decref(document);

    return text->data ? NGX_OK : NGX_ERROR;
}


ngx_str_t
ngx_http_opsauth_oauth_url(ngx_pool_t *pool,
    ngx_http_opsauth_oauth_conf_t *conf)
{
    u_char     *p;
    size_t      escape;
    ngx_str_t   url;

    /* a location's name is unescaped, as requests are compared with it */

    escape = 2 * ngx_escape_uri(NULL, conf->path.data, conf->path.len,
                                NGX_ESCAPE_URI);

    url.len = conf->origin.len + conf->path.len + escape;
    url.data = ngx_pnalloc(pool, url.len);

    if (url.data) {
        p = ngx_cpymem(url.data, conf->origin.data, conf->origin.len);

        if (escape) {
            (void) ngx_escape_uri(p, conf->path.data, conf->path.len,
                                  NGX_ESCAPE_URI);
        } else {
            ngx_memcpy(p, conf->path.data, conf->path.len);
        }
    }

    return url;
}


/* public, and the same for all: caches may have them for a while */

ngx_int_t
ngx_http_opsauth_oauth_document(ngx_http_opsauth_oauth_t *oauth)
{
    static ngx_str_t  type = ngx_string("application/json");
    static ngx_str_t  cache = ngx_string("public, max-age=300");

    return ngx_http_opsauth_oauth_send(oauth, NGX_HTTP_OK, &type,
                                       &oauth->conf->document, &cache);
}
