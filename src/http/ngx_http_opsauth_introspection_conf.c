/*
 * Directives of introspection, and what they inherit. The answer of one ask is
 * shared by requests whose settings are the same: they are kept as one text
 * besides, with the server that the location stands in.
 */

#include "ngx_http_opsauth_introspection.h"


#define NGX_HTTP_OPSAUTH_INTROSPECTION_VALID  60


static ngx_int_t ngx_http_opsauth_claim_param(ngx_conf_t *cf,
    ngx_http_opsauth_claims_t *claims, ngx_str_t *param);
static ngx_int_t ngx_http_opsauth_claim_value(ngx_conf_t *cf,
    ngx_http_opsauth_claims_t *claims, ngx_str_t *param, ngx_str_t *name,
    ngx_str_t *value);
static ngx_int_t ngx_http_opsauth_claim_environment(
    ngx_http_opsauth_claims_t *claims, ngx_str_t *value);
static ngx_int_t ngx_http_opsauth_introspection_key(ngx_conf_t *cf,
    ngx_http_opsauth_introspection_conf_t *conf);


/* records count in whole seconds */

ngx_http_opsauth_range_t  ngx_http_opsauth_introspection_valid = {
    2, 24 * 3600, "a time from 2s to 1d, like \"60s\","
};


static ngx_str_t  ngx_http_opsauth_claim_names[NGX_HTTP_OPSAUTH_CLAIMS] = {
    ngx_string("tenant"),
    ngx_string("account"),
    ngx_string("affiliate"),
    ngx_string("roles"),
    ngx_string("scopes")
};


/* names of RFC 7662 */

static const ngx_http_opsauth_claims_t  ngx_http_opsauth_default_claims = {
    .names = {
        [NGX_HTTP_OPSAUTH_CLAIM_ACCOUNT] = ngx_string("client_id"),
        [NGX_HTTP_OPSAUTH_CLAIM_SCOPES] = ngx_string("scope")
    },
    .environment = OA_ENV_LIVE
};


/* opsauth_introspection /uri | off */

char *
ngx_http_opsauth_introspection(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_opsauth_loc_conf_t *olcf = conf;

    ngx_str_t  *value;

    if (olcf->introspection.uri.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    olcf->introspection.uri = value[1];

    if (ngx_strcmp(value[1].data, "off") == 0) {
        olcf->introspection.uri.len = 0;
        return NGX_CONF_OK;
    }

    if (value[1].len == 0 || value[1].data[0] != '/'
        || ngx_strlchr(value[1].data, value[1].data + value[1].len, '$')
        || ngx_strlchr(value[1].data, value[1].data + value[1].len, '?'))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"opsauth_introspection\": "
                           "it must be \"off\", or the path of an internal "
                           "location without variables and arguments, like "
                           "\"/_introspect\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* opsauth_introspection_claim [tenant=claim] ... [environment=live|test] */

char *
ngx_http_opsauth_introspection_claim(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_opsauth_loc_conf_t *olcf = conf;

    u_char                     *p;
    size_t                      len;
    ngx_str_t                  *value, *account;
    ngx_uint_t                  i;
    ngx_http_opsauth_claims_t  *claims;

    if (olcf->introspection.claims != NGX_CONF_UNSET_PTR) {
        return "is duplicate: all its parameters stand in one line";
    }

    claims = ngx_pcalloc(cf->pool, sizeof(ngx_http_opsauth_claims_t));
    if (claims == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;
    len = 0;

    for (i = 1; i < cf->args->nelts; i++) {
        if (ngx_http_opsauth_claim_param(cf, claims, &value[i]) != NGX_OK) {
            return NGX_CONF_ERROR;
        }

        len += value[i].len + 1;
    }

    account = &claims->names[NGX_HTTP_OPSAUTH_CLAIM_ACCOUNT];

    if (account->len && claims->account_id.len) {
        return "takes \"account\" or \"account_id\", not both: the account "
               "comes from a claim, or is always the same";
    }

    if (account->len == 0 && claims->account_id.len == 0) {
        *account = ngx_http_opsauth_default_claims
                       .names[NGX_HTTP_OPSAUTH_CLAIM_ACCOUNT];
    }

    if (claims->names[NGX_HTTP_OPSAUTH_CLAIM_SCOPES].len == 0) {
        claims->names[NGX_HTTP_OPSAUTH_CLAIM_SCOPES] =
            ngx_http_opsauth_default_claims
                .names[NGX_HTTP_OPSAUTH_CLAIM_SCOPES];
    }

    if (claims->environment == OA_ENV_NONE) {
        claims->environment = ngx_http_opsauth_default_claims.environment;
    }

    p = ngx_pnalloc(cf->pool, len);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    claims->text.data = p;

    for (i = 1; i < cf->args->nelts; i++) {
        p = ngx_cpymem(p, value[i].data, value[i].len);
        *p++ = ' ';
    }

    claims->text.len = p - claims->text.data;
    olcf->introspection.claims = claims;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_opsauth_claim_param(ngx_conf_t *cf, ngx_http_opsauth_claims_t *claims,
    ngx_str_t *param)
{
    u_char     *p;
    ngx_int_t   rc;
    ngx_str_t   name, value;

    p = ngx_strlchr(param->data, param->data + param->len, '=');
    rc = NGX_DECLINED;

    if (p && p + 1 < param->data + param->len) {
        name.data = param->data;
        name.len = p - param->data;
        value.data = p + 1;
        value.len = param->data + param->len - value.data;

        rc = ngx_http_opsauth_claim_value(cf, claims, param, &name, &value);
    }

    if (rc == NGX_DECLINED) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\" in "
                           "\"opsauth_introspection_claim\": it must be one of "
                           "\"tenant=\", \"account=\", \"affiliate=\", "
                           "\"roles=\", \"scopes=\" with the name of a claim, "
                           "\"account_id=ID\", \"audience=VALUE\", "
                           "\"environment=live\" or \"environment=test\"",
                           param);
    }

    return (rc == NGX_OK) ? NGX_OK : NGX_ERROR;
}


/* NGX_DECLINED: there is no such parameter */

static ngx_int_t
ngx_http_opsauth_claim_value(ngx_conf_t *cf, ngx_http_opsauth_claims_t *claims,
    ngx_str_t *param, ngx_str_t *name, ngx_str_t *value)
{
    ngx_str_t   *slot;
    ngx_uint_t   i, environment;
    const char  *error;

    static const ngx_str_t  words[] = {
        ngx_string("account_id"),
        ngx_string("audience"),
        ngx_string("environment")
    };

#define ngx_http_opsauth_is(s)                                                \
    (name->len == (s).len && ngx_strncmp(name->data, (s).data, (s).len) == 0)

    slot = NULL;

    for (i = 0; i < NGX_HTTP_OPSAUTH_CLAIMS; i++) {
        if (ngx_http_opsauth_is(ngx_http_opsauth_claim_names[i])) {
            slot = &claims->names[i];
        }
    }

    if (ngx_http_opsauth_is(words[0])) {
        slot = &claims->account_id;

    } else if (ngx_http_opsauth_is(words[1])) {
        slot = &claims->audience;
    }

    environment = ngx_http_opsauth_is(words[2]);

#undef ngx_http_opsauth_is

    if (slot == NULL && !environment) {
        return NGX_DECLINED;
    }

    if (slot ? slot->len != 0 : claims->environment != OA_ENV_NONE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate parameter \"%V\" in "
                           "\"opsauth_introspection_claim\"", param);
        return NGX_ERROR;
    }

    if (slot == NULL) {
        return ngx_http_opsauth_claim_environment(claims, value);
    }

    if (slot == &claims->account_id
        && oa_credential_field_check("account", ngx_http_opsauth_view(value),
                                     &error)
           != OA_OK)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\" in "
                           "\"opsauth_introspection_claim\": %s",
                           param, error);
        return NGX_ERROR;
    }

    *slot = *value;

    return NGX_OK;
}


static ngx_int_t
ngx_http_opsauth_claim_environment(ngx_http_opsauth_claims_t *claims,
    ngx_str_t *value)
{
    if (ngx_strcmp(value->data, "live") == 0) {
        claims->environment = OA_ENV_LIVE;
        return NGX_OK;
    }

    if (ngx_strcmp(value->data, "test") == 0) {
        claims->environment = OA_ENV_TEST;
        return NGX_OK;
    }

    return NGX_DECLINED;
}


ngx_int_t
ngx_http_opsauth_merge_introspection(ngx_conf_t *cf,
    ngx_http_opsauth_introspection_conf_t *prev,
    ngx_http_opsauth_introspection_conf_t *conf)
{
    if (conf->uri.data == NULL) {
        conf->uri = prev->uri;
    }

    ngx_conf_merge_value(conf->valid, prev->valid,
                         NGX_HTTP_OPSAUTH_INTROSPECTION_VALID);
    ngx_conf_merge_ptr_value(conf->claims, prev->claims,
                             &ngx_http_opsauth_default_claims);

    if (conf->uri.len == 0) {
        return NGX_OK;
    }

    return ngx_http_opsauth_introspection_key(cf, conf);
}


/* a blank comes first: no token has one, so that nothing else has this digest */

static ngx_int_t
ngx_http_opsauth_introspection_key(ngx_conf_t *cf,
    ngx_http_opsauth_introspection_conf_t *conf)
{
    u_char                    *p;
    size_t                     len;
    ngx_http_core_srv_conf_t  *cscf;

    cscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);

    len = sizeof(" introspection       ") - 1 + 2 * NGX_INT64_LEN
          + conf->uri.len + conf->claims->text.len;

    p = ngx_pnalloc(cf->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    conf->key.data = p;
    conf->key.len = ngx_snprintf(p, len, " introspection %p %V %T %V",
                                 cscf, &conf->uri, conf->valid,
                                 &conf->claims->text)
                    - p;

    return NGX_OK;
}
