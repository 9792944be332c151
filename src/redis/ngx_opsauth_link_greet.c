/*
 * The greeting: AUTH, SELECT, CLIENT SETNAME, who the server is, whether it is a
 * primary, and what the user adds, leave in one write; their replies come one by one, each to its
 * step. Nothing else is sent before the last of them.
 *
 * The password lives on the stack and in link->greeting, and is wiped from
 * both once it is written, or the connection is closed.
 */

#include "ngx_opsauth_link.h"


#define NGX_OPSAUTH_LINK_PASSWORD_MAX  4096
#define NGX_OPSAUTH_LINK_GREETING_MAX  16384


static ngx_int_t ngx_opsauth_link_greet_build(ngx_opsauth_link_t *link);
static ngx_int_t ngx_opsauth_link_greet_auth(ngx_opsauth_link_t *link);
static ssize_t ngx_opsauth_link_read_password(ngx_opsauth_link_t *link,
    ngx_str_t *file, u_char *password, ngx_err_t *err);
static ngx_uint_t ngx_opsauth_link_refused(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply);
static void ngx_opsauth_link_auth_reply(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply);
static void ngx_opsauth_link_select_reply(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply);
static void ngx_opsauth_link_setname_reply(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply);
static void ngx_opsauth_link_info_reply(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply);
static void ngx_opsauth_link_role_reply(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply);
static void ngx_opsauth_link_ready(ngx_opsauth_link_t *link);


void
ngx_opsauth_link_greet(ngx_opsauth_link_t *link)
{
    link->nsteps = 0;
    link->step = 0;

    switch (ngx_opsauth_link_greet_build(link)) {

    case NGX_OK:
        ngx_opsauth_link_greet_write(link);
        break;

    case NGX_ERROR:
        ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_DOWN, 0,
                              "there is no memory to greet it");
        break;

    default:
        /* it has failed with a reason of its own */
        break;
    }
}


static ngx_int_t
ngx_opsauth_link_greet_build(ngx_opsauth_link_t *link)
{
    u_char                    *p, db[NGX_INT_T_LEN], name[256];
    ngx_int_t                  rc;
    ngx_str_t                  words[3];
    ngx_opsauth_redis_conf_t  *conf;

    conf = link->conf;

    if (link->sentinel ? conf->sentinel_password_file.len
                       : conf->password_file.len)
    {
        rc = ngx_opsauth_link_greet_auth(link);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (link->sentinel) {
        return ngx_opsauth_link_ask_greet(link);
    }

    if (conf->db) {
        ngx_str_set(&words[0], "SELECT");
        words[1].data = db;
        words[1].len = ngx_sprintf(db, "%ui", conf->db) - db;

        if (ngx_opsauth_link_step(link, ngx_opsauth_link_select_reply, 2,
                                  words)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    p = ngx_snprintf(name, sizeof(name), "%V-%ui%s", &conf->client_name,
                     ngx_worker, link->kind->suffix);

    ngx_str_set(&words[0], "CLIENT");
    ngx_str_set(&words[1], "SETNAME");
    words[2].data = name;
    words[2].len = p - name;

    if (ngx_opsauth_link_step(link, ngx_opsauth_link_setname_reply, 3, words)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_str_set(&words[0], "INFO");
    ngx_str_set(&words[1], "server");

    if (ngx_opsauth_link_step(link, ngx_opsauth_link_info_reply, 2, words)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_str_set(&words[0], "ROLE");

    if (ngx_opsauth_link_step(link, ngx_opsauth_link_role_reply, 1, words)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return link->kind->greet(link);
}


/* NGX_DECLINED: no password, the connection is closed */

static ngx_int_t
ngx_opsauth_link_greet_auth(ngx_opsauth_link_t *link)
{
    u_char      password[NGX_OPSAUTH_LINK_PASSWORD_MAX + 1], why[512];
    ssize_t     len;
    ngx_err_t   err;
    ngx_int_t   rc;
    ngx_str_t   words[3];
    ngx_uint_t  n;
    ngx_str_t  *user, *file, *known;

    if (link->sentinel) {
        user = &link->conf->sentinel_user;
        file = &link->conf->sentinel_password_file;
        known = &link->conf->sentinel_password;

    } else {
        user = &link->conf->user;
        file = &link->conf->password_file;
        known = &link->conf->password;
    }

    len = ngx_opsauth_link_read_password(link, file, password, &err);

    if (len == NGX_ERROR && err == NGX_EACCES) {

        /* the file is root's: the master has read it with the configuration */

        len = ngx_min(known->len, NGX_OPSAUTH_LINK_PASSWORD_MAX);
        ngx_memcpy(password, known->data, len);
    }

    if (len <= 0) {
        (void) ngx_snprintf(why, sizeof(why) - 1, "its password file \"%V\" "
                            "%s%Z", file,
                            len == 0 ? "is empty"
                            : len == NGX_DECLINED ? "is too large"
                            : "can't be read");
        why[sizeof(why) - 1] = '\0';

        ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_DENIED, err,
                              (char *) why);
        return NGX_DECLINED;
    }

    n = 0;

    ngx_str_set(&words[n], "AUTH");
    n++;

    if (user->len) {
        words[n++] = *user;
    }

    words[n].data = password;
    words[n].len = len;
    n++;

    rc = ngx_opsauth_link_step(link, ngx_opsauth_link_auth_reply, n,
                               words);

    ngx_explicit_memzero(password, sizeof(password));

    return rc;
}


/* 0: empty; NGX_DECLINED: over the maximum; NGX_ERROR: err says why */

static ssize_t
ngx_opsauth_link_read_password(ngx_opsauth_link_t *link, ngx_str_t *file,
    u_char *password, ngx_err_t *err)
{
    size_t    len;
    ssize_t   n;
    ngx_fd_t  fd;

    *err = 0;

    /* a pipe without a writer must not hold up the worker */

    fd = ngx_open_file(file->data,
                       NGX_FILE_RDONLY|NGX_FILE_NONBLOCK, NGX_FILE_OPEN, 0);
    if (fd == NGX_INVALID_FILE) {
        *err = ngx_errno;
        return NGX_ERROR;
    }

    len = 0;

    do {
        n = ngx_read_fd(fd, password + len,
                        NGX_OPSAUTH_LINK_PASSWORD_MAX + 1 - len);

        if (n == -1) {
            *err = ngx_errno;
            break;
        }

        len += n;

    } while (n && len <= NGX_OPSAUTH_LINK_PASSWORD_MAX);

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, link->log, ngx_errno,
                      ngx_close_file_n " \"%V\" failed", file);
    }

    if (n == -1 || len > NGX_OPSAUTH_LINK_PASSWORD_MAX) {
        ngx_explicit_memzero(password, NGX_OPSAUTH_LINK_PASSWORD_MAX + 1);
        return (n == -1) ? NGX_ERROR : NGX_DECLINED;
    }

    while (len && (password[len - 1] == LF || password[len - 1] == CR)) {
        len--;
    }

    return len;
}


ngx_int_t
ngx_opsauth_link_step(ngx_opsauth_link_t *link,
    ngx_opsauth_link_step_pt step, ngx_uint_t n, const ngx_str_t *words)
{
    if (ngx_opsauth_codec_encode(&link->greeting,
                                 NGX_OPSAUTH_LINK_GREETING_MAX, n, words,
                                 link->log)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    link->steps[link->nsteps++] = step;

    return NGX_OK;
}


void
ngx_opsauth_link_greet_write(ngx_opsauth_link_t *link)
{
    ssize_t            n;
    ngx_err_t          err;
    ngx_buf_t         *b;
    ngx_connection_t  *c;

    c = link->connection;
    b = &link->greeting;

    while (b->pos < b->last && c->write->ready) {

        n = c->send(c, b->pos, b->last - b->pos);

        if (n == NGX_ERROR) {
            err = ngx_socket_errno;

            /* what it said before it closed is a better reason */

            ngx_opsauth_link_read(link);

            if (link->connection == c) {
                ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_CLOSED, err,
                                      "send() failed");
            }

            return;
        }

        if (n <= 0) {
            break;
        }

        b->pos += n;
    }

    if (b->pos == b->last) {
        ngx_opsauth_link_greet_wipe(link);
    }

    if (ngx_handle_write_event(c->write, 0) != NGX_OK) {
        ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_CLOSED, 0,
                              "its socket can't be watched");
    }
}


void
ngx_opsauth_link_greet_wipe(ngx_opsauth_link_t *link)
{
    ngx_buf_t  *b;

    b = &link->greeting;

    if (b->start) {
        ngx_explicit_memzero(b->start, b->last - b->start);
        ngx_free(b->start);
    }

    ngx_memzero(b, sizeof(ngx_buf_t));
}


void
ngx_opsauth_link_greet_reply(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply)
{
    ngx_connection_t                 *c;
    ngx_opsauth_link_step_pt          step;
    const ngx_opsauth_redis_entry_t  *entry;

    c = link->connection;
    step = link->steps[link->step];

    if (reply->type == NGX_OPSAUTH_REPLY_ERROR) {
        entry = ngx_opsauth_redis_error_entry(reply);

        if (entry->fatal) {
            ngx_opsauth_link_fail_reply(link, entry, reply,
                                        step == ngx_opsauth_link_auth_reply
                                        ? "AUTH" : "the greeting");
            return;
        }
    }

    step(link, reply);

    if (link->connection == c && ++link->step == link->nsteps) {
        ngx_opsauth_link_ready(link);
    }
}


/* what may be answered with "+OK" or an error only: was it an error? */

static ngx_uint_t
ngx_opsauth_link_refused(ngx_opsauth_link_t *link, ngx_opsauth_reply_t *reply)
{
    if (reply->type != NGX_OPSAUTH_REPLY_STATUS
        && reply->type != NGX_OPSAUTH_REPLY_ERROR)
    {
        ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_ERROR, 0,
                              "it does not answer as Redis does");
        return 0;
    }

    return reply->type == NGX_OPSAUTH_REPLY_ERROR;
}


static void
ngx_opsauth_link_auth_reply(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply)
{
    u_char     why[128];
    ngx_str_t  word;

    if (!ngx_opsauth_link_refused(link, reply)) {
        return;
    }

    /* "-ERR": an old Redis, or one without a password */

    word = ngx_opsauth_redis_error_word(reply);

    (void) ngx_snprintf(why, sizeof(why), "it answers AUTH with %V, check "
                        "%s%Z", &word, link->sentinel
                        ? "redis_sentinel_user and redis_sentinel_password_file"
                        : "redis_user and redis_password_file");

    ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_DENIED, 0, (char *) why);
}


static void
ngx_opsauth_link_select_reply(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply)
{
    u_char                     why[128];
    ngx_str_t                  word;
    ngx_opsauth_redis_error_e  error;

    if (!ngx_opsauth_link_refused(link, reply)) {
        return;
    }

    word = ngx_opsauth_redis_error_word(reply);
    error = ngx_opsauth_redis_classify(reply);

    if (error != NGX_OPSAUTH_REDIS_BUSY) {
        error = NGX_OPSAUTH_REDIS_DENIED;
    }

    (void) ngx_snprintf(why, sizeof(why), "it answers SELECT %ui with %V%Z",
                        link->conf->db, &word);

    ngx_opsauth_link_fail(link, error, 0, (char *) why);
}


/* a name is for the operator's eyes: a Redis that refuses it will do */

static void
ngx_opsauth_link_setname_reply(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply)
{
    if (reply->type != NGX_OPSAUTH_REPLY_STATUS
        && reply->type != NGX_OPSAUTH_REPLY_ERROR)
    {
        ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_ERROR, 0,
                              "it does not answer as Redis does");
    }
}


/*
 * Coverage belongs to one server (docs/cache.md), and an address may be
 * another one's tomorrow. Where the run id is not for our eyes, the address
 * must do.
 */

static void
ngx_opsauth_link_info_reply(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply)
{
    u_char                           *p, *last, *id;
    ngx_str_t                        *name;
    const ngx_opsauth_redis_entry_t  *entry;

    if (reply->type == NGX_OPSAUTH_REPLY_ERROR) {
        entry = ngx_opsauth_redis_error_entry(reply);

        if (entry->error == NGX_OPSAUTH_REDIS_BUSY) {
            /* it may tell others, and then we would take it for another one */
            ngx_opsauth_link_fail_reply(link, entry, reply, "INFO");
            return;
        }

    } else if (reply->type == NGX_OPSAUTH_REPLY_STRING && reply->str.len) {

        p = reply->str.data;
        last = p + reply->str.len;

        id = ngx_strlcasestrn(p, last, (u_char *) "run_id:", 7 - 1);

        if (id) {
            id += 7;

            for (p = id; p < last && *p > ' '; p++) { /* void */ }
        }

        if (id && p > id) {
            link->server = ngx_opsauth_link_hash(id, p - id);
            return;
        }
    }

    name = link->peer.name;

    link->server = ngx_opsauth_link_hash(name->data, name->len);
}


/*
 * A replica is always a little late, and may be so for ever: what it knows of a
 * revocation has no bound. Whoever hides what it is was chosen by the operator;
 * where the sentinels chose, it must tell, since what they know may be old.
 */

static void
ngx_opsauth_link_role_reply(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply)
{
    u_char     why[128];
    ngx_str_t  word;

    if (link->conf->clustered && !link->kind->primary) {
        return;
    }

    if (reply->type == NGX_OPSAUTH_REPLY_ARRAY) {

        if (ngx_opsauth_link_is_primary(reply)) {
            return;
        }

        ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_READONLY, 0,
                              link->conf->clustered
                              ? "it is a replica by now"
                              : link->conf->nsentinels
                              ? "the server that the sentinels name is no "
                                "primary yet, or none any more"
                              : "it is a replica, and what it knows may be "
                                "old: name the primary, or use "
                                "redis+sentinel://");
        return;
    }

    if (link->conf->nsentinels == 0) {
        return;
    }

    word = (reply->type == NGX_OPSAUTH_REPLY_ERROR)
           ? ngx_opsauth_redis_error_word(reply)
           : (ngx_str_t) ngx_string("no role");

    (void) ngx_snprintf(why, sizeof(why), "it answers ROLE with %V: its user "
                        "needs +role where sentinels name the primary%Z",
                        &word);

    ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_DENIED, 0, (char *) why);
}


ngx_uint_t
ngx_opsauth_link_is_primary(ngx_opsauth_reply_t *reply)
{
    ngx_str_t  word;

    if (reply->type != NGX_OPSAUTH_REPLY_ARRAY) {
        return 0;
    }

    /* of a primary with many replicas the list may be cut: it has three
       elements, and a replica's five */

    if (reply->elements && reply->n
        && reply->elements[0].type == NGX_OPSAUTH_REPLY_STRING)
    {
        word = reply->elements[0].str;

        return word.len == 6 && ngx_strncmp(word.data, "master", 6) == 0;
    }

    return reply->n == 3;
}


/* FNV-1a; never 0 */

uint64_t
ngx_opsauth_link_hash(u_char *data, size_t len)
{
    size_t    i;
    uint64_t  hash;

    hash = 0xcbf29ce484222325;

    for (i = 0; i < len; i++) {
        hash = (hash ^ data[i]) * 0x100000001b3;
    }

    return hash ? hash : 1;
}


static void
ngx_opsauth_link_ready(ngx_opsauth_link_t *link)
{
    if (link->sentinel && link->watched == NULL) {
        ngx_opsauth_link_ask_done(link);
        return;
    }

    link->state = NGX_OPSAUTH_LINK_READY;
    link->connection->log->action = (char *) link->kind->action;

    /* that of the attempt */

    if (link->timer.timer_set) {
        ngx_del_timer(&link->timer);
    }

    link->kind->ready(link);
}
