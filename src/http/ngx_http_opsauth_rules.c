/*
 * opsauth_require and opsauth_admin: from their parameters to the rules that
 * the core decides by.
 */

#include "ngx_http_opsauth.h"


static char *ngx_http_opsauth_require_param(ngx_conf_t *cf, oa_rule_t *rule,
    ngx_array_t *requirements, ngx_str_t *param);
static char *ngx_http_opsauth_require_methods(ngx_conf_t *cf, oa_rule_t *rule,
    ngx_str_t *names);
static char *ngx_http_opsauth_require_uri(ngx_conf_t *cf, oa_rule_t *rule,
    ngx_str_t *pattern);
static char *ngx_http_opsauth_words(ngx_conf_t *cf, ngx_str_t *param,
    ngx_str_t *words, oa_str_t *set);
static ngx_int_t ngx_http_opsauth_param(ngx_str_t *param, const char *name,
    ngx_str_t *value);


static ngx_conf_bitmask_t  ngx_http_opsauth_methods[] = {
    { ngx_string("GET"), NGX_HTTP_GET },
    { ngx_string("HEAD"), NGX_HTTP_HEAD },
    { ngx_string("POST"), NGX_HTTP_POST },
    { ngx_string("PUT"), NGX_HTTP_PUT },
    { ngx_string("DELETE"), NGX_HTTP_DELETE },
    { ngx_string("PATCH"), NGX_HTTP_PATCH },
    { ngx_string("OPTIONS"), NGX_HTTP_OPTIONS },
    { ngx_string("TRACE"), NGX_HTTP_TRACE },
    { ngx_string("MKCOL"), NGX_HTTP_MKCOL },
    { ngx_string("COPY"), NGX_HTTP_COPY },
    { ngx_string("MOVE"), NGX_HTTP_MOVE },
    { ngx_string("PROPFIND"), NGX_HTTP_PROPFIND },
    { ngx_string("PROPPATCH"), NGX_HTTP_PROPPATCH },
    { ngx_string("LOCK"), NGX_HTTP_LOCK },
    { ngx_string("UNLOCK"), NGX_HTTP_UNLOCK },
    { ngx_null_string, 0 }
};


/* opsauth_require [scope=a|b] [role=a|b] [method=GET,HEAD] [uri=~regex] | off */

char *
ngx_http_opsauth_require(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_opsauth_loc_conf_t *olcf = conf;

    char         *rv;
    oa_rule_t    *rule;
    ngx_str_t    *value;
    ngx_uint_t    i;
    ngx_array_t  *requirements;

    value = cf->args->elts;

    if (olcf->rules == NULL) {
        return "conflicts with \"opsauth_require off\" beside it";
    }

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {

        if (olcf->rules != NGX_CONF_UNSET_PTR) {
            return "\"off\" conflicts with other rules beside it";
        }

        olcf->rules = NULL;
        return NGX_CONF_OK;
    }

    if (olcf->rules == NGX_CONF_UNSET_PTR) {
        olcf->rules = ngx_array_create(cf->pool, 4, sizeof(oa_rule_t));
        if (olcf->rules == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    rule = ngx_array_push(olcf->rules);
    requirements = ngx_array_create(cf->pool, 2, sizeof(oa_requirement_t));

    if (rule == NULL || requirements == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(rule, sizeof(oa_rule_t));

    for (i = 1; i < cf->args->nelts; i++) {
        rv = ngx_http_opsauth_require_param(cf, rule, requirements, &value[i]);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    rule->requirements = requirements->elts;
    rule->n = requirements->nelts;

    return NGX_CONF_OK;
}


static char *
ngx_http_opsauth_require_param(ngx_conf_t *cf, oa_rule_t *rule,
    ngx_array_t *requirements, ngx_str_t *param)
{
    ngx_str_t          value;
    oa_require_t       what;
    oa_requirement_t  *requirement;

    if (ngx_http_opsauth_param(param, "method=", &value) == NGX_OK) {
        return ngx_http_opsauth_require_methods(cf, rule, &value);
    }

    if (ngx_http_opsauth_param(param, "uri=", &value) == NGX_OK) {
        return ngx_http_opsauth_require_uri(cf, rule, &value);
    }

    if (ngx_http_opsauth_param(param, "scope=", &value) == NGX_OK) {
        what = OA_REQUIRE_SCOPE;

    } else if (ngx_http_opsauth_param(param, "role=", &value) == NGX_OK) {
        what = OA_REQUIRE_ROLE;

    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\" in \"opsauth_require\": "
                           "it must be \"scope=a|b\", \"role=a|b\", "
                           "\"method=GET,HEAD\" or \"uri=~regex\"", param);
        return NGX_CONF_ERROR;
    }

    requirement = ngx_array_push(requirements);
    if (requirement == NULL) {
        return NGX_CONF_ERROR;
    }

    requirement->what = what;

    return ngx_http_opsauth_words(cf, param, &value, &requirement->any);
}


static char *
ngx_http_opsauth_require_methods(ngx_conf_t *cf, oa_rule_t *rule,
    ngx_str_t *names)
{
    u_char              *p, *last, *start;
    ngx_str_t            name;
    ngx_conf_bitmask_t  *method;

    if (rule->methods) {
        return "has two \"method=\" in one line; write \"method=GET,HEAD\"";
    }

    p = names->data;
    last = names->data + names->len;

    for ( ;; ) {
        start = p;

        while (p < last && *p != ',' && *p != '|') {
            p++;
        }

        name.data = start;
        name.len = p - start;

        for (method = ngx_http_opsauth_methods; method->name.len; method++) {
            if (method->name.len == name.len
                && ngx_strncmp(method->name.data, name.data, name.len) == 0)
            {
                break;
            }
        }

        if (method->name.len == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "unknown method \"%V\" in \"opsauth_require\": "
                               "methods are in capitals, separated by commas, "
                               "like \"method=GET,HEAD\"", &name);
            return NGX_CONF_ERROR;
        }

        rule->methods |= (uint32_t) method->mask;

        if (p == last) {
            return NGX_CONF_OK;
        }

        p++;
    }
}


static char *
ngx_http_opsauth_require_uri(ngx_conf_t *cf, oa_rule_t *rule,
    ngx_str_t *pattern)
{
#if (NGX_PCRE)
    u_char               errstr[NGX_MAX_CONF_ERRSTR];
    ngx_regex_compile_t  rc;

    if (rule->uri) {
        return "has two \"uri=\" in one line";
    }

    if (pattern->len < 2 || pattern->data[0] != '~') {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"uri=%V\" in \"opsauth_require\": it must "
                           "be a regular expression, like \"uri=~^/v1/plans\" "
                           "(\"uri=~*\" for any case)", pattern);
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&rc, sizeof(ngx_regex_compile_t));

    rc.pattern.data = pattern->data + 1;
    rc.pattern.len = pattern->len - 1;
    rc.pool = cf->pool;
    rc.err.len = NGX_MAX_CONF_ERRSTR;
    rc.err.data = errstr;

    if (rc.pattern.data[0] == '*') {
        rc.pattern.data++;
        rc.pattern.len--;
        rc.options = NGX_REGEX_CASELESS;
    }

    if (ngx_regex_compile(&rc) != NGX_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"uri=%V\" in \"opsauth_require\": %V",
                           pattern, &rc.err);
        return NGX_CONF_ERROR;
    }

    rule->uri = rc.regex;

    return NGX_CONF_OK;

#else
    return "with \"uri=\" needs an nginx that was built with PCRE";
#endif
}


oa_rc_t
ngx_http_opsauth_uri_match(const void *uri, void *data)
{
#if (NGX_PCRE)
    ngx_http_request_t *r = data;

    ngx_int_t  rc;

    rc = ngx_regex_exec((ngx_regex_t *) uri, &r->uri, NULL, 0);

    if (rc == NGX_REGEX_NO_MATCHED) {
        return OA_DECLINED;
    }

    if (rc >= 0) {
        return OA_OK;
    }

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "opsauth: a \"uri=\" of \"opsauth_require\" failed on "
                  "\"%V\": " ngx_regex_exec_n " returned %i", &r->uri, rc);
#endif

    return OA_ERROR;
}


/* opsauth_admin [role=a|b] [scope=a|b] | off */

char *
ngx_http_opsauth_admin(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_opsauth_loc_conf_t *olcf = conf;

    char                      *rv;
    oa_str_t                  *set;
    ngx_str_t                 *value, words;
    ngx_uint_t                 i;
    ngx_http_opsauth_admin_t  *admin;

    if (olcf->admin != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    admin = ngx_pcalloc(cf->pool, sizeof(ngx_http_opsauth_admin_t));
    if (admin == NULL) {
        return NGX_CONF_ERROR;
    }

    olcf->admin = admin;

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        admin->off = 1;
        return NGX_CONF_OK;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_http_opsauth_param(&value[i], "role=", &words) == NGX_OK) {
            set = &admin->roles;

        } else if (ngx_http_opsauth_param(&value[i], "scope=", &words)
                   == NGX_OK)
        {
            set = &admin->scopes;

        } else {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\" in \"opsauth_admin\": "
                               "it must be \"role=administrator\", "
                               "\"scope=admin\", or \"off\" alone", &value[i]);
            return NGX_CONF_ERROR;
        }

        if (set->len) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate \"%V\" in \"opsauth_admin\": "
                               "alternatives are written \"a|b\"", &value[i]);
            return NGX_CONF_ERROR;
        }

        rv = ngx_http_opsauth_words(cf, &value[i], &words, set);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    return NGX_CONF_OK;
}


/* "a|b,c" -> the set "a b c" */

static char *
ngx_http_opsauth_words(ngx_conf_t *cf, ngx_str_t *param, ngx_str_t *words,
    oa_str_t *set)
{
    size_t      i, len;
    u_char     *packed, *p;
    ngx_str_t   text;
    ngx_uint_t  empty;

    p = ngx_pnalloc(cf->pool, words->len * 2 + 1);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    text.data = p;
    text.len = words->len;
    packed = p + words->len;
    empty = 1;

    for (i = 0; i < words->len; i++) {
        p[i] = words->data[i];

        if (p[i] == '|' || p[i] == ',') {
            if (empty) {
                break;
            }

            p[i] = ' ';
            empty = 1;
            continue;
        }

        if (p[i] == ' ' || p[i] == '\t') {
            break;
        }

        empty = 0;
    }

    if (empty || i < words->len
        || oa_set_pack(ngx_http_opsauth_view(&text), packed, words->len, &len)
           != OA_OK)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"%V\": words of printable ASCII, "
                           "alternatives separated by \"|\" or \",\", like "
                           "\"read:tenants|read:users\"", param);
        return NGX_CONF_ERROR;
    }

    set->data = packed;
    set->len = len;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_opsauth_param(ngx_str_t *param, const char *name, ngx_str_t *value)
{
    size_t  len;

    len = ngx_strlen(name);

    if (param->len < len || ngx_strncmp(param->data, name, len) != 0) {
        return NGX_DECLINED;
    }

    value->data = param->data + len;
    value->len = param->len - len;

    return NGX_OK;
}
