/*
 * TLS under hiredis' reader and writer, by OpenSSL: a hiredis that knows TLS is
 * newer than the oldest one that is enough here. The socket stays that of the
 * redisContext, with its timeouts, and so do err and errstr: what follows a
 * failure looks there as it does without TLS.
 */

#ifndef CLI_TLS_H
#define CLI_TLS_H

#include <stdint.h>

#include <hiredis/hiredis.h>

#include "cli_config.h"


typedef struct cli_tls_s  cli_tls_t;


/* what the server showed, for people; strings are of the run's memory */
typedef struct {
    const char  *protocol;              /* "TLSv1.3" */
    const char  *cipher;
    const char  *subject;
    const char  *issuer;
    const char  *trouble;               /* of its chain or name, with
                                           verification off; NULL: none */
    int64_t      expires;               /* whole seconds from now */
} cli_tls_facts_t;


/*
 * The handshake on a connected socket, which must have its timeouts. host is
 * who the certificate must name, unless the configuration has another name;
 * peer ("Redis at ...") is for messages. What fails is said.
 */
int cli_tls_open(cli_tls_t **tls, redisContext *context,
    const cli_config_t *config, const char *host, const char *peer);

void cli_tls_close(cli_tls_t *tls);

/* as redisAppendCommandArgv(), redisBufferWrite() and redisGetReply() */
int cli_tls_append(cli_tls_t *tls, size_t n, const char **words,
    const size_t *lens);
int cli_tls_write(cli_tls_t *tls);
int cli_tls_reply(cli_tls_t *tls, void **reply);

/* something came that the socket does not show any more */
int cli_tls_pending(const cli_tls_t *tls);

void cli_tls_facts(const cli_tls_t *tls, cli_tls_facts_t *facts);


#endif /* CLI_TLS_H */
