/*
 * Values of directives: nginx's own slots, but that a mistyped one is answered
 * with the directive, the value and what is expected.
 */

#include "ngx_http_opsauth.h"


static char *ngx_http_opsauth_invalid(ngx_conf_t *cf, const char *expected);


char *
ngx_http_opsauth_size(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    size_t     *field;
    ngx_str_t  *value;

    value = cf->args->elts;
    field = (size_t *) ((u_char *) conf + cmd->offset);

    if (*field == NGX_CONF_UNSET_SIZE
        && ngx_parse_size(&value[1]) == NGX_ERROR)
    {
        return ngx_http_opsauth_invalid(cf, "a size like \"512k\" or \"4m\"");
    }

    return ngx_conf_set_size_slot(cf, cmd, conf);
}


char *
ngx_http_opsauth_msec(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t   *value;
    ngx_msec_t  *field;

    value = cf->args->elts;
    field = (ngx_msec_t *) ((u_char *) conf + cmd->offset);

    if (*field == NGX_CONF_UNSET_MSEC
        && ngx_parse_time(&value[1], 0) == NGX_ERROR)
    {
        return ngx_http_opsauth_invalid(cf, "a time like \"500ms\" or \"1s\"");
    }

    return ngx_conf_set_msec_slot(cf, cmd, conf);
}


char *
ngx_http_opsauth_enum(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    u_char           expected[128], *p;
    ngx_str_t       *value;
    ngx_uint_t       i;
    ngx_conf_enum_t *e;

    value = cf->args->elts;
    e = cmd->post;
    p = ngx_cpymem(expected, "one of", sizeof("one of") - 1);

    for (i = 0; e[i].name.len; i++) {

        if (e[i].name.len == value[1].len
            && ngx_strcasecmp(e[i].name.data, value[1].data) == 0)
        {
            return ngx_conf_set_enum_slot(cf, cmd, conf);
        }

        p = ngx_slprintf(p, expected + sizeof(expected) - 1, "%s \"%V\"",
                         i ? "," : "", &e[i].name);
    }

    *p = '\0';

    return ngx_http_opsauth_invalid(cf, (char *) expected);
}


static char *
ngx_http_opsauth_invalid(ngx_conf_t *cf, const char *expected)
{
    ngx_str_t  *value;

    value = cf->args->elts;

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid value \"%V\" in \"%V\": %s is expected",
                       &value[1], &value[0], expected);

    return NGX_CONF_ERROR;
}
