/*
 * See cli_tls.h. The rules are the gateway's (ngx_opsauth_link_tls.c): what is
 * an address is verified as one, and never sent as SNI; keys that others may
 * read are refused.
 */

#include "cli.h"
#include "cli_file.h"
#include "cli_memory.h"
#include "cli_text.h"
#include "cli_tls.h"

#include "oa_cidr.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>


#define TLS_DEPTH       4               /* as the gateway's default */
#define TLS_DEPTH_MAX   100
#define TLS_READ        16384

#define TLS_ALERT                                                             \
    "; does it ask for a client certificate (--cert, --key), of its CA?"


struct cli_tls_s {
    redisContext        *context;       /* not ours */
    SSL_CTX             *ctx;
    SSL                 *ssl;
    redisReader         *reader;
    char                *out;
    size_t               len;
    size_t               room;
    size_t               sent;
};


/* OpenSSL's last word */
static const char *
tls_reason(void)
{
    unsigned long   error;
    const char     *text;

    error = ERR_peek_last_error();
    text = (error != 0) ? ERR_reason_error_string(error) : NULL;
    text = (text != NULL) ? cli_copy(text, strlen(text)) : "no reason given";
    ERR_clear_error();

    return text;
}


static int
tls_file_failed(const cli_setting_t *file, const char *what)
{
    const char  *why;

    why = (errno != 0) ? strerror(errno) : tls_reason();

    return cli_fail(CLI_FAILED, "%s %s (%s) can't be used: %s", what,
                    cli_quotez(file->value), file->from, why);
}


/* a word of the password file; without this OpenSSL would ask the terminal */
static int
tls_password(char *buf, int size, int rwflag, void *data)
{
    size_t       len;
    const char  *password;

    (void) rwflag;
    password = data;
    len = (password != NULL) ? strlen(password) : 0;

    if (len > (size_t) size) {
        len = (size_t) size;
    }

    memcpy(buf, password ? password : "", len);

    return (int) len;
}


static EVP_PKEY *
tls_key_read(oa_str_t text, char *password)
{
    BIO       *bio;
    EVP_PKEY  *key;

    bio = BIO_new_mem_buf(text.data, (int) text.len);
    key = (bio != NULL) ? PEM_read_bio_PrivateKey(bio, NULL, tls_password,
                                                  password)
                        : NULL;
    BIO_free(bio);

    return key;
}


/* the gateway's redis_ssl_password_file: one word a line, tried in turn */
static int
tls_key_load(const cli_config_t *config, EVP_PKEY **key)
{
    int        rc;
    char      *word, *rest;
    oa_str_t   text, words;

    rc = cli_file_read(config->ssl_key.value, CLI_FILE_SECRET,
                       "the key for Redis", config->ssl_key.from, &text);

    if (rc != CLI_OK) {
        return rc;
    }

    if (config->ssl_password_file.value == NULL) {
        *key = tls_key_read(text, NULL);

    } else {
        rc = cli_file_read(config->ssl_password_file.value, CLI_FILE_SECRET,
                           "the key's password file",
                           config->ssl_password_file.from, &words);

        if (rc != CLI_OK) {
            return rc;
        }

        for (word = strtok_r((char *) words.data, "\r\n", &rest);
             word != NULL && *key == NULL;
             word = strtok_r(NULL, "\r\n", &rest))
        {
            *key = tls_key_read(text, word);
        }
    }

    errno = 0;

    return (*key != NULL) ? CLI_OK
                          : tls_file_failed(&config->ssl_key,
                                            "the key for Redis");
}


static int
tls_identity(cli_tls_t *tls, const cli_config_t *config)
{
    int        rc;
    EVP_PKEY  *key;

    if (config->ssl_certificate.value == NULL
        && config->ssl_key.value == NULL)
    {
        return CLI_OK;
    }

    if (config->ssl_certificate.value == NULL
        || config->ssl_key.value == NULL)
    {
        return cli_fail(CLI_USAGE, "a certificate and its key go together: "
                        "give --cert FILE and --key FILE");
    }

    errno = 0;

    if (SSL_CTX_use_certificate_chain_file(tls->ctx,
                                           config->ssl_certificate.value)
        != 1)
    {
        return tls_file_failed(&config->ssl_certificate,
                               "the certificate for Redis");
    }

    key = NULL;
    rc = tls_key_load(config, &key);

    if (rc == CLI_OK && SSL_CTX_use_PrivateKey(tls->ctx, key) != 1) {
        errno = 0;
        rc = tls_file_failed(&config->ssl_key, "the key for Redis");
    }

    EVP_PKEY_free(key);

    return rc;
}


static int
tls_protocols(cli_tls_t *tls, const cli_config_t *config)
{
    char      *list, *word, *rest;
    size_t     i;
    uint64_t   off;

    static const struct {
        const char  *name;
        uint64_t     off;
    } all[] = {
        { "TLSv1", SSL_OP_NO_TLSv1 },
        { "TLSv1.1", SSL_OP_NO_TLSv1_1 },
        { "TLSv1.2", SSL_OP_NO_TLSv1_2 },
        { "TLSv1.3", SSL_OP_NO_TLSv1_3 }
    };

    off = SSL_OP_NO_TLSv1|SSL_OP_NO_TLSv1_1;

    if (config->ssl_protocols.value != NULL) {
        off |= SSL_OP_NO_TLSv1_2|SSL_OP_NO_TLSv1_3;
        list = cli_copy(config->ssl_protocols.value,
                        strlen(config->ssl_protocols.value));

        for (word = strtok_r(list, " ", &rest); word != NULL;
             word = strtok_r(NULL, " ", &rest))
        {
            for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
                if (strcmp(word, all[i].name) == 0) {
                    off &= ~all[i].off;
                    break;
                }
            }

            if (i == sizeof(all) / sizeof(all[0])) {
                return cli_fail(CLI_USAGE, "redis_ssl_protocols (%s) does not "
                                "know %s, only TLSv1, TLSv1.1, TLSv1.2 and "
                                "TLSv1.3", config->ssl_protocols.from,
                                cli_quotez(word));
            }
        }
    }

    (void) SSL_CTX_set_min_proto_version(tls->ctx, 0);
    (void) SSL_CTX_set_options(tls->ctx, off);

    if (config->ssl_ciphers.value != NULL
        && SSL_CTX_set_cipher_list(tls->ctx, config->ssl_ciphers.value) != 1)
    {
        return cli_fail(CLI_USAGE, "redis_ssl_ciphers %s (%s) can't be used: "
                        "%s", cli_quotez(config->ssl_ciphers.value),
                        config->ssl_ciphers.from, tls_reason());
    }

    return CLI_OK;
}


static int
tls_verifies(const cli_config_t *config)
{
    return config->ssl_verify.value == NULL
           || strcmp(config->ssl_verify.value, "off") != 0;
}


static int
tls_trust(cli_tls_t *tls, const cli_config_t *config)
{
    long   depth;
    char  *end;

    depth = TLS_DEPTH;

    if (config->ssl_depth.value != NULL) {
        depth = strtol(config->ssl_depth.value, &end, 10);

        if (*end != '\0' || depth < 0 || depth > TLS_DEPTH_MAX) {
            return cli_fail(CLI_USAGE, "redis_ssl_verify_depth %s (%s) is no "
                            "number from 0 to %d",
                            cli_quotez(config->ssl_depth.value),
                            config->ssl_depth.from, TLS_DEPTH_MAX);
        }
    }

    SSL_CTX_set_verify_depth(tls->ctx, (int) depth);
    errno = 0;

    if (config->ssl_trusted.value == NULL) {
        (void) SSL_CTX_set_default_verify_paths(tls->ctx);

    } else if (SSL_CTX_load_verify_locations(tls->ctx,
                                             config->ssl_trusted.value, NULL)
               != 1)
    {
        return tls_file_failed(&config->ssl_trusted,
                               "the CA of Redis' certificate");
    }

    SSL_CTX_set_verify(tls->ctx, tls_verifies(config) ? SSL_VERIFY_PEER
                                                      : SSL_VERIFY_NONE,
                       NULL);

    return CLI_OK;
}


static int
tls_is_addr(const char *name)
{
    oa_addr_t  addr;

    return oa_addr_parse(cli_str(name), &addr) == OA_OK;
}


static int
tls_name(cli_tls_t *tls, const char *name)
{
    if (tls_is_addr(name)) {
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls->ssl), name);
    }

    return SSL_set1_host(tls->ssl, name)
           && SSL_set_tlsext_host_name(tls->ssl, name);
}


static int
tls_handshake_failed(cli_tls_t *tls, int n, const char *name,
    const char *peer)
{
    int          err, error;
    long         verify;
    const char  *reason;

    err = errno;
    error = SSL_get_error(tls->ssl, n);
    verify = SSL_get_verify_result(tls->ssl);

    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        return cli_fail(CLI_FAILED, "%s does not answer the TLS handshake in "
                        "time (--timeout); if it does not speak TLS on this "
                        "port, give that of its tls-port, or redis://", peer);
    }

    if (ERR_peek_error() == 0) {
        return cli_fail(CLI_FAILED, "%s closed the connection in the TLS "
                        "handshake%s%s", peer, err ? ": " : "",
                        err ? strerror(err) : "");
    }

    reason = tls_reason();

    if (strcmp(reason, "certificate verify failed") != 0) {
        return cli_fail(CLI_FAILED, "%s and TLS: %s%s", peer, reason,
                        strstr(reason, "wrong version number") != NULL
                        ? ": it does not speak TLS on this port; give that of "
                          "its tls-port, or redis://"
                        : strstr(reason, "alert") != NULL ? TLS_ALERT : "");
    }

    if (verify == X509_V_ERR_HOSTNAME_MISMATCH
        || verify == X509_V_ERR_IP_ADDRESS_MISMATCH)
    {
        return cli_fail(CLI_FAILED, "%s shows a certificate that is not for "
                        "%s: connect to a name that stands in it, or give "
                        "--sni NAME (redis_ssl_name)", peer, cli_quotez(name));
    }

    return cli_fail(CLI_FAILED, "%s shows a certificate that can't be trusted "
                    "(%ld: %s); --cacert FILE (redis_ssl_trusted_certificate) "
                    "names the CA that signed it", peer, verify,
                    X509_verify_cert_error_string(verify));
}


static int
tls_handshake(cli_tls_t *tls, const char *name, const char *peer)
{
    int  n;

    tls->ssl = SSL_new(tls->ctx);
    tls->reader = redisReaderCreate();

    if (tls->ssl == NULL || tls->reader == NULL || !tls_name(tls, name)
        || !SSL_set_fd(tls->ssl, tls->context->fd))
    {
        return cli_fail(CLI_FAILED, "out of memory");
    }

    ERR_clear_error();
    errno = 0;
    n = SSL_connect(tls->ssl);

    return (n == 1) ? CLI_OK : tls_handshake_failed(tls, n, name, peer);
}


int
cli_tls_open(cli_tls_t **out, redisContext *context,
    const cli_config_t *config, const char *host, const char *peer)
{
    int         rc;
    cli_tls_t  *tls;

    tls = calloc(1, sizeof(*tls));

    if (tls == NULL) {
        return cli_fail(CLI_FAILED, "out of memory");
    }

    tls->context = context;
    tls->ctx = SSL_CTX_new(TLS_client_method());

    if (tls->ctx == NULL) {
        cli_tls_close(tls);
        return cli_fail(CLI_FAILED, "out of memory");
    }

    (void) SSL_CTX_set_mode(tls->ctx, SSL_MODE_AUTO_RETRY
                                      |SSL_MODE_ENABLE_PARTIAL_WRITE
                                      |SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    (void) SSL_CTX_set_options(tls->ctx, SSL_OP_NO_RENEGOTIATION
                                         |SSL_OP_IGNORE_UNEXPECTED_EOF);

    rc = tls_protocols(tls, config);

    if (rc == CLI_OK) {
        rc = tls_identity(tls, config);
    }

    if (rc == CLI_OK) {
        rc = tls_trust(tls, config);
    }

    if (rc == CLI_OK) {
        rc = tls_handshake(tls, config->ssl_name.value ? config->ssl_name.value
                                                       : host, peer);
    }

    if (rc != CLI_OK) {
        cli_tls_close(tls);
        return rc;
    }

    *out = tls;

    return CLI_OK;
}


void
cli_tls_close(cli_tls_t *tls)
{
    if (tls->ssl != NULL) {
        if (SSL_is_init_finished(tls->ssl) && tls->context->err == 0) {
            (void) SSL_shutdown(tls->ssl);      /* not waited for */
        }

        SSL_free(tls->ssl);
    }

    if (tls->reader != NULL) {
        redisReaderFree(tls->reader);
    }

    if (tls->out != NULL) {
        OPENSSL_cleanse(tls->out, tls->room);
        free(tls->out);
    }

    SSL_CTX_free(tls->ctx);
    free(tls);
    ERR_clear_error();
}


static int
tls_error(cli_tls_t *tls, int err, const char *text)
{
    redisContext  *context;

    context = tls->context;
    context->err = err;
    (void) snprintf(context->errstr, sizeof(context->errstr), "%.*s",
                    (int) sizeof(context->errstr) - 1, text);

    return REDIS_ERR;
}


/* of SSL_read() or SSL_write(); errno is left for who asks */
static int
tls_failed(cli_tls_t *tls, int n)
{
    int          err, error;
    const char  *reason;

    err = errno;
    error = SSL_get_error(tls->ssl, n);

    switch (error) {

    case SSL_ERROR_ZERO_RETURN:
        return tls_error(tls, REDIS_ERR_EOF, "Server closed the connection");

    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        (void) tls_error(tls, REDIS_ERR_IO, "Resource temporarily unavailable");
        errno = EAGAIN;
        return REDIS_ERR;

    case SSL_ERROR_SYSCALL:
        (void) tls_error(tls, err ? REDIS_ERR_IO : REDIS_ERR_EOF,
                         err ? strerror(err) : "Server closed the connection");
        errno = err;
        return REDIS_ERR;

    default:
        reason = tls_reason();
        return tls_error(tls, REDIS_ERR_OTHER,
                         cli_format("TLS: %s%s", reason,
                                    strstr(reason, "alert") != NULL ? TLS_ALERT
                                                                    : ""));
    }
}


int
cli_tls_append(cli_tls_t *tls, size_t n, const char **words,
    const size_t *lens)
{
    char       *command, *out;
    size_t      size, room;
    long long   len;

    len = redisFormatCommandArgv(&command, (int) n, words, lens);

    if (len < 0) {
        return tls_error(tls, REDIS_ERR_OOM, "Out of memory");
    }

    size = (size_t) len;

    if (tls->room - tls->len < size) {
        room = 2 * tls->room + size + TLS_READ;
        out = calloc(1, room);

        if (out == NULL) {
            OPENSSL_cleanse(command, size);
            redisFreeCommand(command);
            return tls_error(tls, REDIS_ERR_OOM, "Out of memory");
        }

        if (tls->out != NULL) {
            memcpy(out, tls->out, tls->len);
            OPENSSL_cleanse(tls->out, tls->room);
            free(tls->out);
        }

        tls->out = out;
        tls->room = room;
    }

    memcpy(tls->out + tls->len, command, size);
    tls->len += size;
    OPENSSL_cleanse(command, size);
    redisFreeCommand(command);

    return REDIS_OK;
}


int
cli_tls_write(cli_tls_t *tls)
{
    int     n;
    size_t  size;

    while (tls->sent < tls->len) {
        size = tls->len - tls->sent;
        ERR_clear_error();
        errno = 0;
        n = SSL_write(tls->ssl, tls->out + tls->sent,
                      (size > TLS_READ) ? TLS_READ : (int) size);

        if (n <= 0) {
            return tls_failed(tls, n);
        }

        tls->sent += (size_t) n;
    }

    OPENSSL_cleanse(tls->out, tls->len);
    tls->len = 0;
    tls->sent = 0;

    return REDIS_OK;
}


int
cli_tls_reply(cli_tls_t *tls, void **reply)
{
    int   n;
    char  buf[TLS_READ];

    if (tls->context->err != 0) {
        return REDIS_ERR;
    }

    for ( ;; ) {
        *reply = NULL;

        if (redisReaderGetReply(tls->reader, reply) != REDIS_OK) {
            return tls_error(tls, tls->reader->err, tls->reader->errstr);
        }

        if (*reply != NULL) {
            return REDIS_OK;
        }

        if (tls->len != 0 && cli_tls_write(tls) != REDIS_OK) {
            return REDIS_ERR;
        }

        ERR_clear_error();
        errno = 0;
        n = SSL_read(tls->ssl, buf, sizeof(buf));

        if (n <= 0) {
            return tls_failed(tls, n);
        }

        if (redisReaderFeed(tls->reader, buf, (size_t) n) != REDIS_OK) {
            return tls_error(tls, tls->reader->err, tls->reader->errstr);
        }
    }
}


int
cli_tls_pending(const cli_tls_t *tls)
{
    return tls->reader->pos < tls->reader->len || SSL_pending(tls->ssl) > 0;
}


static const char *
tls_name_text(X509_NAME *name)
{
    char  text[256];

    text[0] = '\0';
    (void) X509_NAME_oneline(name, text, sizeof(text));

    return cli_text_safe(cli_str(cli_copy(text, strlen(text))));
}


void
cli_tls_facts(const cli_tls_t *tls, cli_tls_facts_t *facts)
{
    int    days, seconds;
    long   rc;
    X509  *cert;

    memset(facts, 0, sizeof(*facts));
    facts->protocol = SSL_get_version(tls->ssl);
    facts->cipher = SSL_get_cipher_name(tls->ssl);

    rc = SSL_get_verify_result(tls->ssl);
    facts->trouble = (rc == X509_V_OK) ? NULL
                                       : X509_verify_cert_error_string(rc);

    cert = SSL_get1_peer_certificate(tls->ssl);

    if (cert == NULL) {
        return;
    }

    facts->subject = tls_name_text(X509_get_subject_name(cert));
    facts->issuer = tls_name_text(X509_get_issuer_name(cert));

    if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert))) {
        facts->expires = (int64_t) days * 86400 + seconds;
    }

    X509_free(cert);
}
