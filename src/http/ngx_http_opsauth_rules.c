/*
 * opsauth_require and opsauth_admin: from their parameters to the rules that
 * the core decides by.
 */

#include "ngx_http_opsauth.h"

#include "oa_rule.h"


static char *ngx_http_opsauth_require_param(ngx_conf_t *cf, oa_rule_t *rule,
    ngx_array_t *requirements, ngx_str_t *param);
static char *ngx_http_opsauth_require_methods(ngx_conf_t *cf, oa_rule_t *rule,
    ngx_str_t *names);
static char *ngx_http_opsauth_require_uri(ngx_conf_t *cf, oa_rule_t *rule,
    ngx_str_t *pattern);
static char *ngx_http_opsauth_words(ngx_conf_t *cf, ngx_str_t *param,
    oa_str_t words, oa_str_t *set);


/* a request's method goes to the core as it is */

#if (NGX_HTTP_GET != OA_METHOD_GET || NGX_HTTP_HEAD != OA_METHOD_HEAD         \
     || NGX_HTTP_POST != OA_METHOD_POST || NGX_HTTP_PUT != OA_METHOD_PUT      \
     || NGX_HTTP_DELETE != OA_METHOD_DELETE                                   \
     || NGX_HTTP_MKCOL != OA_METHOD_MKCOL || NGX_HTTP_COPY != OA_METHOD_COPY  \
     || NGX_HTTP_MOVE != OA_METHOD_MOVE                                       \
     || NGX_HTTP_OPTIONS != OA_METHOD_OPTIONS                                 \
     || NGX_HTTP_PROPFIND != OA_METHOD_PROPFIND                               \
     || NGX_HTTP_PROPPATCH != OA_METHOD_PROPPATCH                             \
     || NGX_HTTP_LOCK != OA_METHOD_LOCK                                       \
     || NGX_HTTP_UNLOCK != OA_METHOD_UNLOCK                                   \
     || NGX_HTTP_PATCH != OA_METHOD_PATCH                                     \
     || NGX_HTTP_TRACE != OA_METHOD_TRACE)
#error the methods of oa_rule.h are not those of this nginx
#endif


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
    oa_str_t           view;
    ngx_str_t          value;
    oa_param_t         kind;
    oa_require_t       what;
    oa_requirement_t  *requirement;

    kind = oa_rule_param(ngx_http_opsauth_view(param), &view);
    value = ngx_http_opsauth_str(view);

    switch (kind) {

    case OA_PARAM_METHOD:
        return ngx_http_opsauth_require_methods(cf, rule, &value);

    case OA_PARAM_URI:
        return ngx_http_opsauth_require_uri(cf, rule, &value);

    case OA_PARAM_SCOPE:
        what = OA_REQUIRE_SCOPE;
        break;

    case OA_PARAM_ROLE:
        what = OA_REQUIRE_ROLE;
        break;

    default:
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

    return ngx_http_opsauth_words(cf, param, view, &requirement->any);
}


static char *
ngx_http_opsauth_require_methods(ngx_conf_t *cf, oa_rule_t *rule,
    ngx_str_t *names)
{
    oa_str_t   bad;
    ngx_str_t  name;

    if (rule->methods) {
        return "has two \"method=\" in one line; write \"method=GET,HEAD\"";
    }

    if (oa_rule_methods(ngx_http_opsauth_view(names), &rule->methods, &bad)
        != OA_OK)
    {
        name = ngx_http_opsauth_str(bad);

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "unknown method \"%V\" in \"opsauth_require\": "
                           "methods are in capitals, separated by commas, "
                           "like \"method=GET,HEAD\"", &name);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_opsauth_require_uri(ngx_conf_t *cf, oa_rule_t *rule,
    ngx_str_t *pattern)
{
#if (NGX_PCRE)
    int                  caseless;
    u_char               errstr[NGX_MAX_CONF_ERRSTR];
    oa_str_t             regex;
    ngx_regex_compile_t  rc;

    if (rule->uri) {
        return "has two \"uri=\" in one line";
    }

    if (oa_rule_uri(ngx_http_opsauth_view(pattern), &regex, &caseless)
        != OA_OK)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"uri=%V\" in \"opsauth_require\": it must "
                           "be a regular expression, like \"uri=~^/v1/plans\" "
                           "(\"uri=~*\" for any case)", pattern);
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&rc, sizeof(ngx_regex_compile_t));

    rc.pattern = ngx_http_opsauth_str(regex);
    rc.pool = cf->pool;
    rc.err.len = NGX_MAX_CONF_ERRSTR;
    rc.err.data = errstr;

    if (caseless) {
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
    oa_str_t                  *set, words;
    ngx_str_t                 *value;
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

        switch (oa_rule_param(ngx_http_opsauth_view(&value[i]), &words)) {

        case OA_PARAM_ROLE:
            set = &admin->roles;
            break;

        case OA_PARAM_SCOPE:
            set = &admin->scopes;
            break;

        default:
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

        rv = ngx_http_opsauth_words(cf, &value[i], words, set);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    return NGX_CONF_OK;
}


/* "a|b,c" -> the set "a b c" */

static char *
ngx_http_opsauth_words(ngx_conf_t *cf, ngx_str_t *param, oa_str_t words,
    oa_str_t *set)
{
    u_char  *room;

    room = ngx_pnalloc(cf->pool, words.len * 2 + 1);
    if (room == NULL) {
        return NGX_CONF_ERROR;
    }

    if (oa_rule_words(words, room, set) != OA_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"%V\": words of printable ASCII, "
                           "alternatives separated by \"|\" or \",\", like "
                           "\"read:tenants|read:users\"", param);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}
