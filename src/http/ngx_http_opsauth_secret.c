/*
 * Files that hold secrets: the pepper, the passwords for Redis and its sentinels.
 * All are read when the configuration is, by the master, and refused where others may
 * read them. Their bytes are wiped with the configuration.
 */

#include "ngx_http_opsauth.h"


static char *ngx_http_opsauth_read_password(ngx_conf_t *cf, ngx_str_t *file,
    ngx_str_t *password);
static char *ngx_http_opsauth_read_secret(ngx_conf_t *cf, ngx_str_t *directive,
    ngx_str_t *path, ngx_str_t *text);
static ngx_int_t ngx_http_opsauth_read_bytes(ngx_conf_t *cf, ngx_file_t *file,
    ngx_str_t *text, size_t size);
static ngx_int_t ngx_http_opsauth_check_fd(ngx_conf_t *cf, ngx_fd_t fd,
    ngx_file_info_t *fi, ngx_str_t *directive, ngx_str_t *path,
    ngx_uint_t secret);
static void ngx_http_opsauth_wipe(void *data);


/* a file of secrets is short; more is a mistake */
#define NGX_HTTP_OPSAUTH_SECRET_MAX  4096


/*
 * Workers read the file again at each connect, so that the password can
 * rotate; what is read here serves where a worker may not (the file is root's).
 */

char *
ngx_http_opsauth_store_password_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_opsauth_store_t *store = conf;

    return ngx_http_opsauth_read_password(cf, &store->redis.password_file,
                                          &store->redis.password);
}


char *
ngx_http_opsauth_store_sentinel_password_file(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf)
{
    ngx_http_opsauth_store_t *store = conf;

    return ngx_http_opsauth_read_password(cf,
                                          &store->redis.sentinel_password_file,
                                          &store->redis.sentinel_password);
}


static char *
ngx_http_opsauth_read_password(ngx_conf_t *cf, ngx_str_t *file,
    ngx_str_t *password)
{
    ngx_str_t  *value;

    if (file->data) {
        return "is duplicate";
    }

    value = cf->args->elts;
    *file = value[1];

    if (ngx_http_opsauth_read_secret(cf, &value[0], file, password)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    while (password->len
           && (password->data[password->len - 1] == LF
               || password->data[password->len - 1] == CR))
    {
        password->len--;
    }

    if (password->len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V %V\" holds no password", &value[0], file);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_opsauth_store_pepper_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_opsauth_store_t *store = conf;

    ngx_str_t   *value, file;
    const char  *error;

    if (store->npeppers) {
        return "is duplicate";
    }

    value = cf->args->elts;
    file = value[1];

    if (ngx_http_opsauth_read_secret(cf, &value[0], &file,
                                     &store->pepper_text)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (oa_pepper_parse(ngx_http_opsauth_view(&store->pepper_text),
                        store->peppers, &store->npeppers, &error)
        != OA_OK)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"pepper_file %V\": %s; "
                           "\"opsauth pepper generate FILE\" makes one",
                           &file, error);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/*
 * Who else may read or change such a file decides who can make valid keys or
 * log in to Redis: nothing for others, no writing for the group.
 */

static char *
ngx_http_opsauth_read_secret(ngx_conf_t *cf, ngx_str_t *directive,
    ngx_str_t *path, ngx_str_t *text)
{
    size_t            size;
    ngx_int_t         rc;
    ngx_file_t        file;
    ngx_file_info_t   fi;

    if (path->len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"\" in \"%V\": the name of a file "
                           "is expected", directive);
        return NGX_CONF_ERROR;
    }

    if (ngx_conf_full_name(cf->cycle, path, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&file, sizeof(ngx_file_t));

    file.name = *path;
    file.log = cf->log;
    file.fd = ngx_open_file(path->data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (file.fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "\"%V %V\" can't be opened", directive, path);
        return NGX_CONF_ERROR;
    }

    rc = NGX_ERROR;
    size = 0;

    if (ngx_http_opsauth_check_fd(cf, file.fd, &fi, directive, path, 1)
        == NGX_OK)
    {
        size = (size_t) ngx_file_size(&fi);
        rc = NGX_OK;
    }

    if (rc == NGX_OK && (size == 0 || size > NGX_HTTP_OPSAUTH_SECRET_MAX)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V %V\" must be a file of 1 to %d bytes",
                           directive, path, NGX_HTTP_OPSAUTH_SECRET_MAX);
        rc = NGX_ERROR;
    }

    if (rc == NGX_OK) {
        rc = ngx_http_opsauth_read_bytes(cf, &file, text, size);
    }

    if (ngx_close_file(file.fd) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_ALERT, cf, ngx_errno,
                           ngx_close_file_n " \"%V\" failed", path);
    }

    return rc == NGX_OK ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static ngx_int_t
ngx_http_opsauth_check_fd(ngx_conf_t *cf, ngx_fd_t fd, ngx_file_info_t *fi,
    ngx_str_t *directive, ngx_str_t *path, ngx_uint_t secret)
{
    ngx_uint_t  mode;

    if (ngx_fd_info(fd, fi) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_fd_info_n " \"%V\" failed", path);
        return NGX_ERROR;
    }

    /* before its mode: what is right for a file is wrong for a directory */

    if (!ngx_is_file(fi)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"%V %V\" must be a file",
                           directive, path);
        return NGX_ERROR;
    }

    if (secret && ngx_file_access(fi) & 027) {

        /* nginx has no format for octal numbers */

        mode = ngx_file_access(fi);

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V %V\" has mode 0%ui%ui%ui: it holds a secret "
                           "that others may not read; run \"chmod 600 %V\"",
                           directive, path, mode >> 6 & 7, mode >> 3 & 7,
                           mode & 7, path);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* those that nginx reads itself, with errors that name no directive */

ngx_int_t
ngx_http_opsauth_check_file(ngx_conf_t *cf, const char *directive,
    ngx_str_t *path, ngx_uint_t secret)
{
    ngx_fd_t         fd;
    ngx_int_t        rc;
    ngx_str_t        name;
    ngx_file_info_t  fi;

    name.data = (u_char *) directive;
    name.len = ngx_strlen(directive);

    if (ngx_conf_full_name(cf->cycle, path, 1) != NGX_OK) {
        return NGX_ERROR;
    }

    fd = ngx_open_file(path->data, NGX_FILE_RDONLY|NGX_FILE_NONBLOCK,
                       NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "\"%V %V\" can't be opened", &name, path);
        return NGX_ERROR;
    }

    rc = ngx_http_opsauth_check_fd(cf, fd, &fi, &name, path, secret);

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_ALERT, cf, ngx_errno,
                           ngx_close_file_n " \"%V\" failed", path);
    }

    return rc;
}


static ngx_int_t
ngx_http_opsauth_read_bytes(ngx_conf_t *cf, ngx_file_t *file, ngx_str_t *text,
    size_t size)
{
    ssize_t              n;
    ngx_pool_cleanup_t  *cln;

    text->data = ngx_pnalloc(cf->pool, size);
    cln = ngx_pool_cleanup_add(cf->pool, sizeof(ngx_str_t));

    if (text->data == NULL || cln == NULL) {
        return NGX_ERROR;
    }

    text->len = size;
    *(ngx_str_t *) cln->data = *text;
    cln->handler = ngx_http_opsauth_wipe;

    n = ngx_read_file(file, text->data, size, 0);

    if (n == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_read_file_n " \"%V\" failed", &file->name);
        return NGX_ERROR;
    }

    text->len = n;

    return NGX_OK;
}


static void
ngx_http_opsauth_wipe(void *data)
{
    ngx_str_t *secret = data;

    ngx_explicit_memzero(secret->data, secret->len);
}
