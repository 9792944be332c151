/*
 * TLS of a link: the handshake, who the server must be, sessions that are taken
 * up again, the end. nginx's own glue does the work.
 *
 * Invariants:
 * - nothing is written before the server is known to be the right one;
 * - nginx's lines about TLS go into link->tls, and from there into our one
 *   line of an outage: a server that fails each time is not told of each time;
 * - OpenSSL may be given its bytes again from elsewhere (buffers grow), and
 *   says after each record how far it has come: of what is not told as written
 *   the server has no whole record.
 */

#include "ngx_opsauth_link.h"


#if (NGX_SSL)

/* of one connection, in its pool */
struct ngx_opsauth_link_tls_s {
    ngx_log_t    log;               /* the connection's: keeps what is said */
    ngx_log_t    rest;              /* behind it: alerts, and debugging */
    u_char       said[128];         /* OpenSSL's last reason */
    size_t       len;
};


static void ngx_opsauth_link_tls_log(ngx_opsauth_link_t *link);
static void ngx_opsauth_link_tls_writer(ngx_log_t *log, ngx_uint_t level,
    u_char *buf, size_t len);
static void ngx_opsauth_link_tls_save(ngx_connection_t *c);
static void ngx_opsauth_link_tls_failed(ngx_opsauth_link_t *link,
    ngx_err_t err);
static ngx_uint_t ngx_opsauth_link_tls_has(ngx_opsauth_link_t *link,
    const char *text);
static ngx_int_t ngx_opsauth_link_tls_verify(ngx_opsauth_link_t *link);
static ngx_int_t ngx_opsauth_link_tls_verify_name(ngx_opsauth_link_t *link);
static const char *ngx_opsauth_link_tls_remedy(long rc);


void
ngx_opsauth_link_tls_start(ngx_opsauth_link_t *link)
{
    ngx_str_t                *name;
    ngx_connection_t         *c;
    ngx_opsauth_redis_tls_t  *tls;

    c = link->connection;
    tls = link->conf->tls;
    name = &link->tls_name;

    link->state = NGX_OPSAUTH_LINK_HANDSHAKE;
    c->log->action = "SSL handshaking";

    link->tls = ngx_pcalloc(link->pool, sizeof(ngx_opsauth_link_tls_t));

    if (link->tls == NULL) {
        ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_DOWN, 0,
                              "there is no memory to connect");
        return;
    }

    ngx_opsauth_link_tls_log(link);

    if (ngx_ssl_create_connection(tls->ssl, c, NGX_SSL_CLIENT) != NGX_OK
        || (!ngx_opsauth_link_tls_is_addr(name)
            && SSL_set_tlsext_host_name(c->ssl->connection,
                                        (char *) name->data)
               == 0))
    {
        ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_DOWN, 0,
                              "there is no memory for TLS");
        return;
    }

    SSL_set_mode(c->ssl->connection, SSL_MODE_ENABLE_PARTIAL_WRITE
                                     |SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);

#ifdef SSL_OP_NO_RENEGOTIATION
    SSL_set_options(c->ssl->connection, SSL_OP_NO_RENEGOTIATION);
#endif

    /* that of a server is not to be lost to one that knows where it is */

    if (tls->session_reuse && link->sentinel == NULL) {
        c->ssl->save_session = ngx_opsauth_link_tls_save;

        if (link->session) {
            (void) ngx_ssl_set_session(c, link->session);
        }
    }

    ngx_opsauth_link_tls_handshake(link);
}


void
ngx_opsauth_link_tls_handshake(ngx_opsauth_link_t *link)
{
    ngx_int_t             rc;
    ngx_connection_t     *c;
    ngx_event_handler_pt  read, write;

    c = link->connection;

    /* nginx's own for this time would not look at c->close */

    read = c->read->handler;
    write = c->write->handler;

    ngx_set_errno(0);

    rc = ngx_ssl_handshake(c);

    c->read->handler = read;
    c->write->handler = write;

    if (rc == NGX_AGAIN) {
        return;
    }

    if (rc != NGX_OK) {
        ngx_opsauth_link_tls_failed(link, ngx_errno);
        return;
    }

    if (ngx_opsauth_link_tls_verify(link) != NGX_OK) {
        return;
    }

    ngx_log_error(NGX_LOG_INFO, link->log, 0,
                  "opsauth: redis \"%V\": %s, %s%s", &link->conf->url,
                  SSL_get_version(c->ssl->connection),
                  SSL_get_cipher_name(c->ssl->connection),
                  SSL_session_reused(c->ssl->connection) ? ", session reused"
                                                         : "");

    ngx_opsauth_link_begin(link);
}


static void
ngx_opsauth_link_tls_log(ngx_opsauth_link_t *link)
{
    ngx_log_t               *log;
    ngx_opsauth_link_tls_t  *tls;

    tls = link->tls;
    log = link->connection->log;

    tls->rest = *log;

    if (log->log_level < NGX_LOG_DEBUG) {
        tls->rest.log_level = ngx_min(log->log_level, NGX_LOG_ALERT);
    }

    tls->log = *log;
    tls->log.log_level = ngx_max(log->log_level, NGX_LOG_INFO);
    tls->log.writer = ngx_opsauth_link_tls_writer;
    tls->log.wdata = tls;
    tls->log.next = &tls->rest;

    link->connection->log = &tls->log;
}


/* "... (SSL: error:0A000086:SSL routines::certificate verify failed) ..." */

static void
ngx_opsauth_link_tls_writer(ngx_log_t *log, ngx_uint_t level, u_char *buf,
    size_t len)
{
    u_char                  *p, *last;
    ngx_uint_t               i;
    ngx_opsauth_link_tls_t  *tls;

    static u_char  mark[] = "(SSL: error:";

    tls = log->wdata;
    last = buf + len;

    if (level == NGX_LOG_DEBUG) {
        return;
    }

    p = ngx_strlcasestrn(buf, last, mark, sizeof(mark) - 2);

    if (p == NULL) {
        return;
    }

    p += sizeof(mark) - 1;

    /* its number, the library, and before OpenSSL 3 the function */

    for (i = 0; i < 3; i++) {
        p = ngx_strlchr(p, last, ':');

        if (p == NULL) {
            return;
        }

        p++;
    }

    for (i = 0; i < sizeof(tls->said) && p + i < last; i++) {

        if (p[i] == ')' || p[i] < ' ' || p[i] > '~'
            || (last - p - i > 7
                && ngx_strncmp(p + i, " error:", 7) == 0))
        {
            break;
        }

        tls->said[i] = p[i];
    }

    tls->len = i;
}


size_t
ngx_opsauth_link_tls_said(ngx_opsauth_link_t *link, u_char *why, size_t size)
{
    u_char  *p;

    if (link->tls == NULL || link->tls->len == 0) {
        return 0;
    }

    p = ngx_snprintf(why, size - 1, "TLS failed (%*s)%s", link->tls->len,
                     link->tls->said,
                     ngx_opsauth_link_tls_has(link, "certificate required")
                     || ngx_opsauth_link_tls_has(link, "alert number 4")
                     ? ": does it ask for a client certificate "
                       "(redis_ssl_certificate), one of a CA that it trusts?"
                     : "");
    *p = '\0';

    return p - why;
}


/* TLS 1.2: within the handshake; 1.3: as soon as something is read */

static void
ngx_opsauth_link_tls_save(ngx_connection_t *c)
{
    ngx_ssl_session_t   *session;
    ngx_opsauth_link_t  *link;

    link = c->data;

    session = ngx_ssl_get_session(c);

    if (session) {
        ngx_opsauth_link_tls_forget(link);
        link->session = session;
    }
}


void
ngx_opsauth_link_tls_forget(ngx_opsauth_link_t *link)
{
    if (link->session) {
        ngx_ssl_free_session(link->session);
        link->session = NULL;
    }
}


static void
ngx_opsauth_link_tls_failed(ngx_opsauth_link_t *link, ngx_err_t err)
{
    u_char  why[512];

    ngx_opsauth_link_tls_forget(link);

    /* what OpenSSL thinks of "-ERR ..." */

    if (ngx_opsauth_link_tls_has(link, "wrong version number")
        || ngx_opsauth_link_tls_has(link, "packet length too long")
        || ngx_opsauth_link_tls_has(link, "record layer failure"))
    {
        ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_UNTRUSTED, 0,
                              "it does not speak TLS on this port: use the "
                              "port of its \"tls-port\", or redis://");
        return;
    }

    if (ngx_opsauth_link_tls_said(link, why, sizeof(why)) == 0) {
        ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_DOWN, err,
                              "it closed the connection in the TLS handshake");
        return;
    }

    ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_UNTRUSTED, 0, (char *) why);
}


static ngx_uint_t
ngx_opsauth_link_tls_has(ngx_opsauth_link_t *link, const char *text)
{
    ngx_opsauth_link_tls_t  *tls = link->tls;

    return ngx_strlcasestrn(tls->said, tls->said + tls->len, (u_char *) text,
                            ngx_strlen(text) - 1)
           != NULL;
}


/* NGX_ERROR: the link has failed */

static ngx_int_t
ngx_opsauth_link_tls_verify(ngx_opsauth_link_t *link)
{
    long               rc;
    u_char             why[512], *p;
    ngx_connection_t  *c;

    if (!link->conf->tls->verify) {
        return NGX_OK;
    }

    c = link->connection;
    rc = SSL_get_verify_result(c->ssl->connection);

    if (rc != X509_V_OK) {
        p = ngx_snprintf(why, sizeof(why) - 1,
                         "its certificate can't be trusted (%l: %s)%s", rc,
                         X509_verify_cert_error_string(rc),
                         ngx_opsauth_link_tls_remedy(rc));

    } else if (ngx_opsauth_link_tls_verify_name(link) != NGX_OK) {
        p = ngx_snprintf(why, sizeof(why) - 1,
                         "its certificate is not for \"%V\": connect to a "
                         "name that stands in it, or set redis_ssl_name",
                         &link->tls_name);

    } else {
        return NGX_OK;
    }

    *p = '\0';

    ngx_opsauth_link_tls_forget(link);
    ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_UNTRUSTED, 0, (char *) why);

    return NGX_ERROR;
}


/* a certificate without a name is none; nor does one for a name made of digits
   stand for an address */

static ngx_int_t
ngx_opsauth_link_tls_verify_name(ngx_opsauth_link_t *link)
{
    int                rc;
    X509              *cert;
    ngx_str_t         *name;
    ngx_connection_t  *c;

    c = link->connection;
    name = &link->tls_name;

    if (!ngx_opsauth_link_tls_is_addr(name)) {
        return ngx_ssl_check_host(c, name);
    }

    cert = SSL_get_peer_certificate(c->ssl->connection);

    if (cert == NULL) {
        return NGX_ERROR;
    }

    rc = X509_check_ip_asc(cert, (char *) name->data, 0);

    X509_free(cert);

    return (rc == 1) ? NGX_OK : NGX_ERROR;
}


static const char *
ngx_opsauth_link_tls_remedy(long rc)
{
    switch (rc) {

    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        return ": redis_ssl_trusted_certificate must hold the CA that signed "
               "it";

    case X509_V_ERR_CERT_CHAIN_TOO_LONG:
        return ": raise redis_ssl_verify_depth";

    case X509_V_ERR_CERT_HAS_EXPIRED:
        return ": renew it";

    case X509_V_ERR_CERT_NOT_YET_VALID:
        return ": is a clock wrong?";

    default:
        return "";
    }
}


/* the good-bye leaves at once or not at all: nobody waits for its answer */

void
ngx_opsauth_link_tls_close(ngx_opsauth_link_t *link)
{
    ngx_connection_t  *c;

    c = link->connection;

    if (c->ssl == NULL) {
        return;
    }

    c->ssl->no_wait_shutdown = 1;

    if (ngx_ssl_shutdown(c) == NGX_AGAIN) {
        c->error = 1;
        (void) ngx_ssl_shutdown(c);
    }
}


#else


/* an nginx without SSL: no configuration leads here */

void
ngx_opsauth_link_tls_start(ngx_opsauth_link_t *link)
{
    ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_DOWN, 0,
                          "this nginx has no SSL");
}


void
ngx_opsauth_link_tls_handshake(ngx_opsauth_link_t *link)
{
    ngx_opsauth_link_tls_start(link);
}


size_t
ngx_opsauth_link_tls_said(ngx_opsauth_link_t *link, u_char *why, size_t size)
{
    return 0;
}


void
ngx_opsauth_link_tls_forget(ngx_opsauth_link_t *link)
{
    /* there is none */
}


void
ngx_opsauth_link_tls_close(ngx_opsauth_link_t *link)
{
    /* plain */
}

#endif


void
ngx_opsauth_link_lost(ngx_opsauth_link_t *link, ssize_t n, ngx_err_t err)
{
    u_char                     why[512];
    ngx_opsauth_redis_error_e  error;

    if (ngx_opsauth_link_tls_said(link, why, sizeof(why))) {

        /* with TLS 1.3 a client certificate is refused only now */

        error = (link->state == NGX_OPSAUTH_LINK_GREETING)
                ? NGX_OPSAUTH_REDIS_UNTRUSTED : NGX_OPSAUTH_REDIS_CLOSED;

        ngx_opsauth_link_fail(link, error, 0, (char *) why);
        return;
    }

    /* a port that speaks TLS does so with what is none */

    if (!link->heard && !link->conf->tls
        && link->peer.sockaddr->sa_family != AF_UNIX)
    {
        ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_CLOSED, err,
                              "it closed the connection without an answer; if "
                              "it speaks TLS on this port, use rediss://");
        return;
    }

    /* with TLS 1.3 a reset may overtake the alert that tells why */

    if (!link->heard && link->conf->tls) {
        ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_CLOSED, err,
                              "it closed the connection right after the TLS "
                              "handshake; does it ask for a client "
                              "certificate (redis_ssl_certificate)?");
        return;
    }

    ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_CLOSED, err,
                          n ? "recv() failed" : "it closed the connection");
}


ngx_uint_t
ngx_opsauth_link_tls_is_addr(const ngx_str_t *name)
{
    return ngx_inet_addr(name->data, name->len) != INADDR_NONE
           || ngx_strlchr(name->data, name->data + name->len, ':') != NULL;
}
