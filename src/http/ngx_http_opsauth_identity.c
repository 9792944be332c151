/*
 * The headers by which the backend learns who asks. They are appended to the
 * request's own list, so that proxy_pass, grpc_pass, fastcgi_pass and the like
 * forward them as any other header. The client's copies were taken out before
 * (strip.c). Values come from records, where they were checked when the record
 * was packed.
 */

#include "ngx_http_opsauth.h"


ngx_http_opsauth_rare ngx_int_t ngx_http_opsauth_identity_value(
    ngx_http_request_t *r, ngx_http_opsauth_ctx_t *ctx, ngx_http_opsauth_identity_t *identity,
    ngx_str_t *value);
static ngx_int_t ngx_http_opsauth_identity_set(ngx_conf_t *cf,
    ngx_http_opsauth_identity_t *header, ngx_str_t *name);
static ngx_int_t ngx_http_opsauth_identity_from(ngx_conf_t *cf,
    ngx_http_opsauth_identity_t *header, ngx_str_t *value);
static ngx_uint_t ngx_http_opsauth_same_name(ngx_str_t *a, ngx_str_t *b);


typedef struct {
    ngx_str_t   name;
    ngx_uint_t  source;
} ngx_http_opsauth_identity_default_t;


static const ngx_http_opsauth_identity_default_t
    ngx_http_opsauth_default_set[] =
{
    { ngx_string("X-Tenant-Id"), NGX_HTTP_OPSAUTH_VAR_TENANT },
    { ngx_string("X-Affiliate-Id"), NGX_HTTP_OPSAUTH_VAR_AFFILIATE },
    { ngx_string("X-Account-Id"), NGX_HTTP_OPSAUTH_VAR_ACCOUNT },
    { ngx_string("X-Credential-Id"), NGX_HTTP_OPSAUTH_VAR_CREDENTIAL_ID },
    { ngx_string("X-Roles"), NGX_HTTP_OPSAUTH_VAR_ROLES },
    { ngx_string("X-Scopes"), NGX_HTTP_OPSAUTH_VAR_SCOPES }
};


ngx_int_t
ngx_http_opsauth_set_identity(ngx_http_request_t *r,
    ngx_http_opsauth_loc_conf_t *olcf, ngx_http_opsauth_ctx_t *ctx)
{
    oa_str_t                      text;
    ngx_uint_t                    n;
    ngx_list_t                   *list;
    ngx_list_part_t              *part;
    ngx_table_elt_t              *h;
    ngx_http_opsauth_identity_t  *identity, *last;

    n = olcf->identity->nelts;
    identity = olcf->identity->elts;
    last = identity + n;

    if (n == 0) {
        return NGX_OK;
    }

    /* a part of our own, of the right size: one allocation for all */

    part = ngx_http_opsauth_alloc(ctx, sizeof(ngx_list_part_t)
                                       + n * sizeof(ngx_table_elt_t));
    if (part == NULL) {
        return NGX_ERROR;
    }

    h = (ngx_table_elt_t *) (part + 1);

    part->elts = h;
    part->next = NULL;

    for ( /* void */ ; identity < last; identity++) {

        if (identity->offset) {
            text = *(oa_str_t *) ((u_char *) ctx + identity->offset);

            if (text.len == 0) {
                continue;
            }

            *h = identity->header;
            h->value = ngx_http_opsauth_str(text);
            h++;

            continue;
        }

        *h = identity->header;

        if (ngx_http_opsauth_identity_value(r, ctx, identity, &h->value)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        if (h->value.len) {
            h++;
        }
    }

    part->nelts = h - (ngx_table_elt_t *) part->elts;

    if (part->nelts == 0) {
        return NGX_OK;
    }

    list = &r->headers_in.headers;

    list->last->next = part;
    list->last = part;
    list->nalloc = n;

    return NGX_OK;
}


/* one that doesn't stand in the context as it is */

ngx_http_opsauth_rare ngx_int_t
ngx_http_opsauth_identity_value(ngx_http_request_t *r,
    ngx_http_opsauth_ctx_t *ctx, ngx_http_opsauth_identity_t *identity,
    ngx_str_t *value)
{
    if (identity->source) {
        *value = ngx_http_opsauth_variable_value(ctx, identity->source);
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, &identity->value, value) != NGX_OK) {
        return NGX_ERROR;
    }

    /* a variable may hold what a client sent, unescaped ($uri) */

    if (!oa_text_is_header_safe(ngx_http_opsauth_view(value))) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "opsauth: identity header \"%V\" left out: its value "
                      "has control bytes", &identity->header.key);
        value->len = 0;
    }

    return NGX_OK;
}


/* opsauth_identity_header NAME VALUE | off */

char *
ngx_http_opsauth_identity_header(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_opsauth_loc_conf_t *olcf = conf;

    ngx_str_t                    *value;
    ngx_uint_t                    i;
    ngx_http_opsauth_identity_t  *header;

    value = cf->args->elts;

    if (olcf->identity == NGX_CONF_UNSET_PTR) {
        olcf->identity = ngx_array_create(cf->pool, 8,
                                          sizeof(ngx_http_opsauth_identity_t));
        if (olcf->identity == NULL) {
            return NGX_CONF_ERROR;
        }

    } else if (olcf->identity->nelts == 0) {
        return "conflicts with \"opsauth_identity_header off\" beside it";
    }

    if (cf->args->nelts == 2) {

        if (ngx_strcmp(value[1].data, "off") != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"opsauth_identity_header %V\" needs a value: "
                               "\"opsauth_identity_header %V $opsauth_tenant;\""
                               ", or \"off\"", &value[1], &value[1]);
            return NGX_CONF_ERROR;
        }

        if (olcf->identity->nelts) {
            return "\"off\" conflicts with other lines beside it";
        }

        return NGX_CONF_OK;
    }

    if (ngx_http_opsauth_check_header_name(cf, &value[0], &value[1])
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    header = olcf->identity->elts;

    for (i = 0; i < olcf->identity->nelts; i++) {
        if (ngx_http_opsauth_same_name(&header[i].header.key, &value[1])) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate \"opsauth_identity_header %V\"",
                               &value[1]);
            return NGX_CONF_ERROR;
        }
    }

    header = ngx_array_push(olcf->identity);

    if (header == NULL
        || ngx_http_opsauth_identity_set(cf, header, &value[1]) != NGX_OK
        || ngx_http_opsauth_identity_from(cf, header, &value[2]) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_opsauth_identity_from(ngx_conf_t *cf,
    ngx_http_opsauth_identity_t *header, ngx_str_t *value)
{
    ngx_str_t                         variable;
    ngx_http_compile_complex_value_t  ccv;

    /* "$opsauth_tenant" alone needs no evaluation at run time */

    if (value->len > 1 && value->data[0] == '$') {
        variable.len = value->len - 1;
        variable.data = value->data + 1;

        header->source = ngx_http_opsauth_variable_number(&variable);

        if (header->source) {
            header->offset = ngx_http_opsauth_variable_offset(header->source);
            return NGX_OK;
        }
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = value;
    ccv.complex_value = &header->value;

    return ngx_http_compile_complex_value(&ccv);
}


ngx_array_t *
ngx_http_opsauth_identity_defaults(ngx_conf_t *cf)
{
    size_t                        i, n;
    ngx_str_t                     name;
    ngx_array_t                  *set;
    ngx_http_opsauth_identity_t  *header;

    n = sizeof(ngx_http_opsauth_default_set)
        / sizeof(ngx_http_opsauth_identity_default_t);

    set = ngx_array_create(cf->pool, n, sizeof(ngx_http_opsauth_identity_t));
    if (set == NULL) {
        return NULL;
    }

    for (i = 0; i < n; i++) {
        header = ngx_array_push(set);
        name = ngx_http_opsauth_default_set[i].name;

        if (header == NULL
            || ngx_http_opsauth_identity_set(cf, header, &name) != NGX_OK)
        {
            return NULL;
        }

        header->source = ngx_http_opsauth_default_set[i].source;
        header->offset = ngx_http_opsauth_variable_offset(header->source);
    }

    return set;
}


static ngx_int_t
ngx_http_opsauth_identity_set(ngx_conf_t *cf,
    ngx_http_opsauth_identity_t *header, ngx_str_t *name)
{
    ngx_memzero(header, sizeof(ngx_http_opsauth_identity_t));

    header->header.key = *name;
    header->header.lowcase_key = ngx_pnalloc(cf->pool, name->len);
    if (header->header.lowcase_key == NULL) {
        return NGX_ERROR;
    }

    header->header.hash = ngx_hash_strlow(header->header.lowcase_key,
                                          name->data, name->len);

    return NGX_OK;
}


/*
 * What nginx itself reads from its headers (Host, Connection, Content-Length,
 * Authorization, ...) is not ours to take out or to set: it holds pointers to
 * them, and they frame the request.
 */

ngx_int_t
ngx_http_opsauth_check_header_name(ngx_conf_t *cf, ngx_str_t *directive,
    ngx_str_t *name)
{
    u_char              c;
    ngx_uint_t          i;
    ngx_http_header_t  *known;

    static ngx_str_t  framing[] = {
        ngx_string("Proxy-Connection"),
        ngx_string("Trailer"),
        ngx_null_string
    };

    for (i = 0; i < name->len; i++) {
        c = name->data[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
              || (c >= '0' && c <= '9') || c == '-' || c == '_'))
        {
            break;
        }
    }

    if (name->len == 0 || name->len > 128 || i < name->len) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid header name \"%V\" in \"%V\": letters, "
                           "digits, \"-\" and \"_\" are allowed",
                           name, directive);
        return NGX_ERROR;
    }

    for (known = ngx_http_headers_in; known->name.len; known++) {
        if (ngx_http_opsauth_same_name(&known->name, name)) {
            break;
        }
    }

    for (i = 0; known->name.len == 0 && framing[i].len; i++) {
        if (ngx_http_opsauth_same_name(&framing[i], name)) {
            break;
        }
    }

    if (known->name.len || framing[i].len) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "header \"%V\" in \"%V\" is one that nginx itself "
                           "relies on; choose another name, like "
                           "\"X-Tenant-Id\"", name, directive);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* as client's headers are compared: in any case, '_' as '-' (strip.c) */

static ngx_uint_t
ngx_http_opsauth_same_name(ngx_str_t *a, ngx_str_t *b)
{
    u_char  c, d;
    size_t  i;

    if (a->len != b->len) {
        return 0;
    }

    for (i = 0; i < a->len; i++) {
        c = (a->data[i] == '_') ? '-' : ngx_tolower(a->data[i]);
        d = (b->data[i] == '_') ? '-' : ngx_tolower(b->data[i]);

        if (c != d) {
            return 0;
        }
    }

    return 1;
}
