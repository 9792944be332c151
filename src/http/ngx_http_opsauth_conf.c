/*
 * Configuration of places (http, server, location, limit_except): creation,
 * inheritance and the directives that say whether and how a place is guarded.
 * By nginx's convention a list (rules, identity headers, credential sources)
 * that is given in a place replaces the inherited one.
 */

#include "ngx_http_opsauth.h"
#include "ngx_http_opsauth_introspection.h"


static ngx_array_t *ngx_http_opsauth_credential_default(ngx_conf_t *cf);
static void ngx_http_opsauth_credential_bearer(
    ngx_http_opsauth_name_t *source);
static char *ngx_http_opsauth_merge_guard(ngx_conf_t *cf,
    ngx_http_opsauth_loc_conf_t *prev, ngx_http_opsauth_loc_conf_t *conf);
static char *ngx_http_opsauth_resolve_store(ngx_conf_t *cf,
    ngx_http_opsauth_loc_conf_t *conf);
static char *ngx_http_opsauth_merge_names(ngx_conf_t *cf,
    ngx_http_opsauth_loc_conf_t *conf);
static void ngx_http_opsauth_merge_policy(ngx_http_opsauth_loc_conf_t *conf);


ngx_conf_enum_t  ngx_http_opsauth_formats[] = {
    { ngx_string("json"), NGX_HTTP_OPSAUTH_FORMAT_JSON },
    { ngx_string("problem"), NGX_HTTP_OPSAUTH_FORMAT_PROBLEM },
    { ngx_string("off"), NGX_HTTP_OPSAUTH_FORMAT_OFF },
    { ngx_null_string, 0 }
};


static ngx_http_opsauth_admin_t  ngx_http_opsauth_default_admin = {
    0, oa_string("administrator"), oa_string("admin")
};


void *
ngx_http_opsauth_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_opsauth_main_conf_t  *omcf;

    omcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_opsauth_main_conf_t));
    if (omcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&omcf->stores, cf->pool, 2,
                       sizeof(ngx_http_opsauth_store_t *))
        != NGX_OK
        || ngx_array_init(&omcf->endpoints, cf->pool, 4,
                          sizeof(ngx_http_opsauth_endpoint_t))
           != NGX_OK)
    {
        return NULL;
    }

    return omcf;
}


void *
ngx_http_opsauth_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_opsauth_loc_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_opsauth_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     conf->store_name = { 0, NULL };
     *     conf->store = NULL;
     *     conf->realm = { 0, NULL };
     *     conf->environment = 0;
     *     conf->resource_metadata = { 0, NULL };
     *     conf->endpoint = 0;
     *     conf->status = 0;
     *     conf->introspection.uri = { 0, NULL };
     *     conf->policy, conf->names
     */

    conf->named = NGX_CONF_UNSET;
    conf->shadow = NGX_CONF_UNSET;
    conf->error_format = NGX_CONF_UNSET_UINT;
    conf->forward_credential = NGX_CONF_UNSET;
    conf->rules = NGX_CONF_UNSET_PTR;
    conf->admin = NGX_CONF_UNSET_PTR;
    conf->credential = NGX_CONF_UNSET_PTR;
    conf->identity = NGX_CONF_UNSET_PTR;
    conf->rate = NGX_CONF_UNSET_PTR;
    conf->failure_rate = NGX_CONF_UNSET_PTR;
    conf->rate_headers = NGX_CONF_UNSET_UINT;
    conf->introspection.valid = NGX_CONF_UNSET;
    conf->introspection.claims = NGX_CONF_UNSET_PTR;

    conf->oauth = ngx_http_opsauth_oauth_create_conf(cf);

    return conf->oauth ? conf : NULL;
}


char *
ngx_http_opsauth_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_opsauth_loc_conf_t *prev = parent;
    ngx_http_opsauth_loc_conf_t *conf = child;

    char  *rv;

    rv = ngx_http_opsauth_merge_guard(cf, prev, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (conf->environment == 0) {
        conf->environment = prev->environment ? prev->environment
                                              : OA_ENV_LIVE;
    }

    ngx_conf_merge_str_value(conf->realm, prev->realm, "API");
    ngx_conf_merge_str_value(conf->resource_metadata, prev->resource_metadata,
                             "");
    ngx_conf_merge_uint_value(conf->error_format, prev->error_format,
                              NGX_HTTP_OPSAUTH_FORMAT_JSON);
    ngx_conf_merge_value(conf->forward_credential, prev->forward_credential,
                         0);
    ngx_conf_merge_ptr_value(conf->rules, prev->rules, NULL);
    ngx_conf_merge_ptr_value(conf->admin, prev->admin,
                             &ngx_http_opsauth_default_admin);

    ngx_http_opsauth_rate_merge(prev, conf);

    if (ngx_http_opsauth_merge_introspection(cf, &prev->introspection,
                                             &conf->introspection)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (prev->identity == NGX_CONF_UNSET_PTR) {
        prev->identity = ngx_http_opsauth_identity_defaults(cf);
        if (prev->identity == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    ngx_conf_merge_ptr_value(conf->identity, prev->identity, NULL);

    if (prev->credential == NGX_CONF_UNSET_PTR) {
        prev->credential = ngx_http_opsauth_credential_default(cf);
        if (prev->credential == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    ngx_conf_merge_ptr_value(conf->credential, prev->credential, NULL);

    rv = ngx_http_opsauth_oauth_merge_conf(cf, prev, conf);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (conf->named) {
        ngx_http_opsauth_merge_policy(conf);
        return ngx_http_opsauth_merge_names(cf, conf);
    }

    return NGX_CONF_OK;
}


/* "bearer"; NULL: no memory */

static ngx_array_t *
ngx_http_opsauth_credential_default(ngx_conf_t *cf)
{
    ngx_array_t              *sources;
    ngx_http_opsauth_name_t  *source;

    sources = ngx_array_create(cf->pool, 1, sizeof(ngx_http_opsauth_name_t));
    if (sources == NULL) {
        return NULL;
    }

    source = ngx_array_push(sources);
    if (source == NULL) {
        return NULL;
    }

    ngx_memzero(source, sizeof(ngx_http_opsauth_name_t));
    ngx_http_opsauth_credential_bearer(source);

    return sources;
}


static void
ngx_http_opsauth_credential_bearer(ngx_http_opsauth_name_t *source)
{
    ngx_str_set(&source->name, "authorization");
    source->credential = 1;
    source->authorization = 1;
}


static char *
ngx_http_opsauth_merge_guard(ngx_conf_t *cf, ngx_http_opsauth_loc_conf_t *prev,
    ngx_http_opsauth_loc_conf_t *conf)
{
    /* the http level is merged into nothing itself, so its store is found here */

    if (ngx_http_opsauth_resolve_store(cf, prev) != NGX_CONF_OK
        || ngx_http_opsauth_resolve_store(cf, conf) != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (conf->named == NGX_CONF_UNSET) {
        conf->store = prev->store;
    }

    ngx_conf_merge_value(conf->named, prev->named, 0);
    ngx_conf_merge_value(conf->shadow, prev->shadow, 0);

    return NGX_CONF_OK;
}


static char *
ngx_http_opsauth_resolve_store(ngx_conf_t *cf,
    ngx_http_opsauth_loc_conf_t *conf)
{
    ngx_http_opsauth_main_conf_t  *omcf;

    if (conf->store_name.len == 0 || conf->store) {
        return NGX_CONF_OK;
    }

    omcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_opsauth_module);

    conf->store = ngx_http_opsauth_find_store(omcf, &conf->store_name);

    if (conf->store == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "unknown store \"%V\" in \"opsauth\": there is no "
                      "\"opsauth_store %V { ... }\" in http in %s:%ui",
                      &conf->store_name, &conf->store_name, conf->file,
                      conf->line);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static void
ngx_http_opsauth_merge_policy(ngx_http_opsauth_loc_conf_t *conf)
{
    ngx_memzero(&conf->policy, sizeof(oa_policy_t));

    conf->policy.environment = conf->environment;

    if (conf->rules) {
        conf->policy.rules = conf->rules->elts;
        conf->policy.n = conf->rules->nelts;
    }

    if (!conf->admin->off) {
        conf->policy.admin = 1;
        conf->policy.admin_roles = conf->admin->roles;
        conf->policy.admin_scopes = conf->admin->scopes;
    }
}


/*
 * The names that are looked for among the client's headers: where the
 * credential may stand, the identity headers of this place, and the default
 * ones too, since a backend may know them from elsewhere. "off" means that
 * identity headers are none of our business here.
 */

static char *
ngx_http_opsauth_merge_names(ngx_conf_t *cf, ngx_http_opsauth_loc_conf_t *conf)
{
    ngx_int_t                     rc;
    ngx_uint_t                    i, n;
    ngx_array_t                  *lists[2];
    ngx_http_opsauth_name_t      *source, name;
    ngx_http_opsauth_identity_t  *header;

    conf->names.lengths = 0;

    if (ngx_array_init(&conf->names.names, cf->pool, 8,
                       sizeof(ngx_http_opsauth_name_t))
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (conf->store && !conf->endpoint) {
        source = conf->credential->elts;

        for (i = 0; i < conf->credential->nelts; i++) {
            if (ngx_http_opsauth_add_name(cf, &conf->names, &source[i])
                != NGX_OK)
            {
                return NGX_CONF_ERROR;
            }
        }
    }

    if (conf->identity->nelts == 0) {
        return NGX_CONF_OK;
    }

    lists[0] = conf->identity;
    lists[1] = ngx_http_opsauth_identity_defaults(cf);

    if (lists[1] == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&name, sizeof(ngx_http_opsauth_name_t));

    for (n = 0; n < 2; n++) {
        header = lists[n]->elts;

        for (i = 0; i < lists[n]->nelts; i++) {
            name.name = header[i].header.key;

            rc = ngx_http_opsauth_add_name(cf, &conf->names, &name);

            if (rc == NGX_DECLINED) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "\"opsauth_credential header=%V\" takes a "
                                   "header by which the backend learns who "
                                   "asks; choose another, like \"X-API-Key\"",
                                   &name.name);
            }

            if (rc != NGX_OK) {
                return NGX_CONF_ERROR;
            }
        }
    }

    return NGX_CONF_OK;
}


/* opsauth store [shadow] | off */

char *
ngx_http_opsauth_guard(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_opsauth_loc_conf_t *olcf = conf;

    ngx_str_t  *value;

    if (olcf->named != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    olcf->named = 1;
    olcf->shadow = 0;

    if (ngx_strcmp(value[1].data, "off") == 0) {

        if (cf->args->nelts > 2) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"opsauth off\" takes no parameter \"%V\"",
                               &value[2]);
            return NGX_CONF_ERROR;
        }

        return NGX_CONF_OK;
    }

    if (cf->args->nelts > 2) {

        if (ngx_strcmp(value[2].data, "shadow") != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\" in \"opsauth\": only "
                               "\"shadow\" may follow the store's name",
                               &value[2]);
            return NGX_CONF_ERROR;
        }

        olcf->shadow = 1;
    }

    if (value[1].len == 0) {
        return "needs the name of a store, or \"off\"";
    }

    /* stores may stand further down: found when everything was read */

    olcf->store_name = value[1];
    olcf->file = cf->conf_file->file.name.data;
    olcf->line = cf->conf_file->line;

    return NGX_CONF_OK;
}


char *
ngx_http_opsauth_environment(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_opsauth_loc_conf_t *olcf = conf;

    ngx_str_t  *value;

    if (olcf->environment) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "live") == 0) {
        olcf->environment = OA_ENV_LIVE;

    } else if (ngx_strcmp(value[1].data, "test") == 0) {
        olcf->environment = OA_ENV_TEST;

    } else if (ngx_strcmp(value[1].data, "any") == 0) {
        olcf->environment = OA_ENV_ANY;

    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"opsauth_environment\": "
                           "it must be \"live\", \"test\" or \"any\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_opsauth_realm(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_opsauth_loc_conf_t *olcf = conf;

    u_char      c;
    ngx_str_t  *value;
    ngx_uint_t  i;

    if (olcf->realm.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (i = 0; i < value[1].len; i++) {
        c = value[1].data[i];

        if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\') {
            break;
        }
    }

    if (value[1].len == 0 || i < value[1].len) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"opsauth_realm\": it "
                           "stands in quotes in a header, so it must be "
                           "printable ASCII without quotes and backslashes",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    olcf->realm = value[1];

    return NGX_CONF_OK;
}


/* opsauth_credential bearer [header=X-API-Key] ... */

char *
ngx_http_opsauth_credential(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_opsauth_loc_conf_t *olcf = conf;

    ngx_str_t                *value;
    ngx_uint_t                i;
    ngx_http_opsauth_name_t  *source;

    if (olcf->credential != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    olcf->credential = ngx_array_create(cf->pool, cf->args->nelts - 1,
                                        sizeof(ngx_http_opsauth_name_t));
    if (olcf->credential == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        source = ngx_array_push(olcf->credential);
        if (source == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_memzero(source, sizeof(ngx_http_opsauth_name_t));
        source->credential = 1;

        if (ngx_strcmp(value[i].data, "bearer") == 0) {
            ngx_http_opsauth_credential_bearer(source);
            continue;
        }

        if (ngx_strncmp(value[i].data, "header=", 7) == 0) {
            source->name.len = value[i].len - 7;
            source->name.data = value[i].data + 7;

            if (ngx_http_opsauth_check_header_name(cf, &value[0],
                                                   &source->name)
                != NGX_OK)
            {
                return NGX_CONF_ERROR;
            }

            continue;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\" in \"opsauth_credential\""
                           ": it must be \"bearer\" or \"header=NAME\"",
                           &value[i]);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}
