/*
 * The least that a check of keys in nginx can be, for scale: an access handler
 * that hashes what follows "Bearer " by SHA-256, once, and looks for it in a
 * table that was made at the start and never changes. No records, no rules, no
 * headers, nobody who could revoke a key: nothing to be used.
 *
 *     bench_bare FILE;        keys of the bench, one behind another
 */

/* SHA256_*() are marked as deprecated since OpenSSL 3.0 */
#define OPENSSL_SUPPRESS_DEPRECATED

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <openssl/sha.h>

#include "scale.h"


#define NGX_HTTP_BARE_KEY_LEN  63
#define NGX_HTTP_BARE_SCHEME   (sizeof("Bearer ") - 1)


typedef struct {
    u_char      *table;                     /* digests; zeros where there is none */
    ngx_uint_t   mask;
} ngx_http_bare_conf_t;


static ngx_int_t ngx_http_bare_init(ngx_conf_t *cf);
static void *ngx_http_bare_create(ngx_conf_t *cf);
static char *ngx_http_bare_keys(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


static ngx_command_t  ngx_http_bare_commands[] = {

    { ngx_string("bench_bare"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_bare_keys,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_bare_module_ctx = {
    NULL, ngx_http_bare_init, NULL, NULL, NULL, NULL,
    ngx_http_bare_create, bench_scale_merge
};


ngx_module_t  ngx_http_bare_module = {
    NGX_MODULE_V1,
    &ngx_http_bare_module_ctx, ngx_http_bare_commands, NGX_HTTP_MODULE,
    NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NGX_MODULE_V1_PADDING
};


/* what nginx's own build writes for a module that it loads */

ngx_module_t  *ngx_modules[] = { &ngx_http_bare_module, NULL };
char          *ngx_module_names[] = { "ngx_http_bare_module", NULL };
char          *ngx_module_order[] = { NULL };


static void
ngx_http_bare_digest(u_char *text, size_t len, u_char digest[32])
{
    SHA256_CTX  ctx;

    SHA256_Init(&ctx);
    SHA256_Update(&ctx, text, len);
    SHA256_Final(digest, &ctx);
}


/* where it is, or the free place where it belongs */

static u_char *
ngx_http_bare_find(ngx_http_bare_conf_t *bcf, u_char *digest)
{
    u_char      *p;
    uint64_t     first;
    ngx_uint_t   i;

    ngx_memcpy(&first, digest, 8);

    for (i = first & bcf->mask; /* void */ ; i = (i + 1) & bcf->mask) {
        p = bcf->table + i * 32;
        ngx_memcpy(&first, p, 8);

        if (first == 0 || ngx_memcmp(p, digest, 32) == 0) {
            return p;
        }
    }
}


static ngx_int_t
ngx_http_bare_handler(ngx_http_request_t *r)
{
    u_char                 digest[32];
    uint64_t               first;
    ngx_str_t             *value;
    ngx_http_bare_conf_t  *bcf;

    bcf = ngx_http_get_module_loc_conf(r, ngx_http_bare_module);

    if (bcf->table == NULL) {
        return NGX_DECLINED;
    }

    if (r->headers_in.authorization == NULL) {
        return NGX_HTTP_UNAUTHORIZED;
    }

    value = &r->headers_in.authorization->value;

    if (value->len <= NGX_HTTP_BARE_SCHEME
        || ngx_strncasecmp(value->data, (u_char *) "Bearer ",
                           NGX_HTTP_BARE_SCHEME) != 0)
    {
        return NGX_HTTP_UNAUTHORIZED;
    }

    ngx_http_bare_digest(value->data + NGX_HTTP_BARE_SCHEME,
                         value->len - NGX_HTTP_BARE_SCHEME, digest);

    ngx_memcpy(&first, ngx_http_bare_find(bcf, digest), 8);

    return first ? NGX_OK : NGX_HTTP_UNAUTHORIZED;
}


static char *
ngx_http_bare_keys(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_bare_conf_t *bcf = conf;

    u_char            key[NGX_HTTP_BARE_KEY_LEN], digest[32];
    ngx_str_t        *value;
    ngx_file_t        file;
    ngx_uint_t        i, n;
    ngx_file_info_t   fi;

    value = cf->args->elts;

    ngx_memzero(&file, sizeof(ngx_file_t));
    file.name = value[1];
    file.log = cf->log;
    file.fd = ngx_open_file(value[1].data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (file.fd == NGX_INVALID_FILE || ngx_fd_info(file.fd, &fi) != 0) {
        return "names a file that can't be read";
    }

    n = ngx_file_size(&fi) / NGX_HTTP_BARE_KEY_LEN;

    for (bcf->mask = 1; bcf->mask < 2 * n; bcf->mask <<= 1) { /* void */ }

    bcf->table = ngx_pcalloc(cf->pool, bcf->mask * 32);
    if (bcf->table == NULL) {
        return NGX_CONF_ERROR;
    }

    bcf->mask--;

    for (i = 0; i < n; i++) {
        if (ngx_read_file(&file, key, sizeof(key), i * sizeof(key))
            != (ssize_t) sizeof(key))
        {
            return NGX_CONF_ERROR;
        }

        ngx_http_bare_digest(key, sizeof(key), digest);
        ngx_memcpy(ngx_http_bare_find(bcf, digest), digest, 32);
    }

    (void) ngx_close_file(file.fd);

    return NGX_CONF_OK;
}


static void *
ngx_http_bare_create(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_bare_conf_t));
}


static ngx_int_t
ngx_http_bare_init(ngx_conf_t *cf)
{
    return bench_scale_init(cf, ngx_http_bare_handler);
}
