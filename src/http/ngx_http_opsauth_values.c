/*
 * Values of directives: what nginx's own slots do, but that a mistyped one is
 * answered with the directive, the value and what is expected; and that most
 * are held to a range, which cmd->post points to.
 */

#include "ngx_http_opsauth.h"


#define NGX_HTTP_OPSAUTH_SIZE_MAX   ((uint64_t) 1 << 40)
#define NGX_HTTP_OPSAUTH_SHOWN_MAX  256


static ngx_int_t ngx_http_opsauth_in_range(ngx_conf_t *cf, ngx_command_t *cmd,
    ngx_int_t n);
static u_char *ngx_http_opsauth_alternative(u_char *p, u_char *last,
    ngx_uint_t i, ngx_str_t *name);
static void ngx_http_opsauth_invalid(ngx_conf_t *cf, ngx_str_t *value,
    const char *expected);


char *
ngx_http_opsauth_string(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t  *value, *field;

    value = cf->args->elts;
    field = (ngx_str_t *) ((u_char *) conf + cmd->offset);

    if (field->data) {
        return "is duplicate";
    }

    if (ngx_http_opsauth_in_range(cf, cmd, (ngx_int_t) value[1].len)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    *field = value[1];

    return NGX_CONF_OK;
}


char *
ngx_http_opsauth_number(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_int_t   n, *field;
    ngx_str_t  *value;

    value = cf->args->elts;
    field = (ngx_int_t *) ((u_char *) conf + cmd->offset);

    if (*field != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    n = ngx_atoi(value[1].data, value[1].len);

    if (ngx_http_opsauth_in_range(cf, cmd, n) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    *field = n;

    return NGX_CONF_OK;
}


char *
ngx_http_opsauth_size(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    size_t     *field;
    ssize_t     size;
    ngx_str_t  *value;

    value = cf->args->elts;
    field = (size_t *) ((u_char *) conf + cmd->offset);

    if (*field != NGX_CONF_UNSET_SIZE) {
        return "is duplicate";
    }

    size = ngx_parse_size(&value[1]);

    /* what is too small depends on the zone, and is said by who makes it;
       nginx knows no "g" here */

    if (size == NGX_ERROR || (uint64_t) size > NGX_HTTP_OPSAUTH_SIZE_MAX) {
        ngx_http_opsauth_invalid(cf, &value[1],
                                 "a size in \"k\" or \"m\" up to 1048576m, "
                                 "like \"64m\",");
        return NGX_CONF_ERROR;
    }

    *field = size;

    return NGX_CONF_OK;
}


char *
ngx_http_opsauth_msec(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_int_t    ms;
    ngx_str_t   *value;
    ngx_msec_t  *field;

    value = cf->args->elts;
    field = (ngx_msec_t *) ((u_char *) conf + cmd->offset);

    if (*field != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    ms = ngx_parse_time(&value[1], 0);

    if (ngx_http_opsauth_in_range(cf, cmd, ms) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    *field = (ngx_msec_t) ms;

    return NGX_CONF_OK;
}


char *
ngx_http_opsauth_sec(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    time_t     *field;
    ngx_int_t   seconds;
    ngx_str_t  *value;

    value = cf->args->elts;
    field = (time_t *) ((u_char *) conf + cmd->offset);

    if (*field != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    seconds = ngx_parse_time(&value[1], 1);

    if (ngx_http_opsauth_in_range(cf, cmd, seconds) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    *field = (time_t) seconds;

    return NGX_CONF_OK;
}


char *
ngx_http_opsauth_enum(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    u_char            expected[128], *p, *last;
    ngx_str_t        *value;
    ngx_uint_t        i;
    ngx_conf_enum_t  *e;

    value = cf->args->elts;
    e = cmd->post;
    p = expected;
    last = expected + sizeof(expected) - 1;

    for (i = 0; e[i].name.len; i++) {

        if (e[i].name.len == value[1].len
            && ngx_strcasecmp(e[i].name.data, value[1].data) == 0)
        {
            return ngx_conf_set_enum_slot(cf, cmd, conf);
        }

        p = ngx_http_opsauth_alternative(p, last, i, &e[i].name);
    }

    *p = '\0';

    ngx_http_opsauth_invalid(cf, &value[1], (char *) expected);

    return NGX_CONF_ERROR;
}


char *
ngx_http_opsauth_bitmask(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    u_char               expected[128], *p, *last;
    ngx_str_t           *value;
    ngx_uint_t           i, m, *field;
    ngx_conf_bitmask_t  *mask;

    value = cf->args->elts;
    field = (ngx_uint_t *) ((u_char *) conf + cmd->offset);
    mask = cmd->post;
    last = expected + sizeof(expected) - 1;

    if (*field) {
        return "is duplicate: all its values stand in one line";
    }

    for (i = 1; i < cf->args->nelts; i++) {

        p = expected;

        for (m = 0; mask[m].name.len; m++) {

            if (mask[m].name.len == value[i].len
                && ngx_strcasecmp(mask[m].name.data, value[i].data) == 0)
            {
                break;
            }

            p = ngx_http_opsauth_alternative(p, last, m, &mask[m].name);
        }

        if (mask[m].name.len == 0) {
            *p = '\0';
            ngx_http_opsauth_invalid(cf, &value[i], (char *) expected);
            return NGX_CONF_ERROR;
        }

        *field |= mask[m].mask;
    }

    return NGX_CONF_OK;
}


/* a value that is none at all (NGX_ERROR) is below every range */

static ngx_int_t
ngx_http_opsauth_in_range(ngx_conf_t *cf, ngx_command_t *cmd, ngx_int_t n)
{
    ngx_str_t                       *value;
    const ngx_http_opsauth_range_t  *range;

    range = cmd->post;

    if (n >= range->min && n <= range->max) {
        return NGX_OK;
    }

    value = cf->args->elts;

    ngx_http_opsauth_invalid(cf, &value[1], range->expected);

    return NGX_ERROR;
}


static u_char *
ngx_http_opsauth_alternative(u_char *p, u_char *last, ngx_uint_t i,
    ngx_str_t *name)
{
    return ngx_slprintf(p, last, "%s \"%V\"", i ? "," : "one of", name);
}


/* of a long value its beginning: nginx cuts off lines, the rest is needed */

static void
ngx_http_opsauth_invalid(ngx_conf_t *cf, ngx_str_t *value,
    const char *expected)
{
    size_t  len;

    len = ngx_min(value->len, NGX_HTTP_OPSAUTH_SHOWN_MAX);

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid value \"%*s%s\" in \"%V\": %s is expected",
                       len, value->data, len < value->len ? "..." : "",
                       (ngx_str_t *) cf->args->elts, expected);
}
