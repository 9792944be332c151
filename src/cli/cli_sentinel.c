/*
 * The sentinels, asked one after the other, each on a connection of its own.
 */

#include "cli.h"
#include "cli_file.h"
#include "cli_memory.h"
#include "cli_sentinel.h"
#include "cli_text.h"
#include "cli_tls.h"

#include "oa_text.h"

#include <string.h>


/* of one sentinel, in seconds: a run of the command has time */
#define PATIENCE        1


typedef struct {
    redisContext        *context;
    cli_tls_t           *tls;
} wire_t;


/* NULL: the connection is lost */
static redisReply *
wire_call(wire_t *wire, size_t n, const char **words, const size_t *lens)
{
    void  *reply;

    reply = NULL;

    if (wire->tls != NULL) {
        if (cli_tls_append(wire->tls, n, words, lens) != REDIS_OK
            || cli_tls_write(wire->tls) != REDIS_OK
            || cli_tls_reply(wire->tls, &reply) != REDIS_OK)
        {
            return NULL;
        }

        return reply;
    }

    return redisCommandArgv(wire->context, (int) n, words, lens);
}


static int
wire_tls(wire_t *wire, const cli_config_t *config, const char *host,
    const char **trouble)
{
    int          rc;
    const char  **before;

    before = cli_capture(trouble);
    rc = cli_tls_open(&wire->tls, wire->context, config, host,
                      "the sentinel");
    (void) cli_capture(before);

    return rc;
}


static const char *
sentinel_login(wire_t *wire, const cli_config_t *config)
{
    int          rc;
    size_t       n, lens[3];
    oa_str_t     password;
    redisReply  *reply;
    const char  *words[3], *trouble, **before;

    if (config->sentinel_password_file.value == NULL) {
        return NULL;
    }

    trouble = NULL;
    before = cli_capture(&trouble);

    rc = cli_file_read(config->sentinel_password_file.value, CLI_FILE_SECRET,
                       "the password file of the sentinels",
                       config->sentinel_password_file.from, &password);

    (void) cli_capture(before);

    if (rc != CLI_OK) {
        return trouble;
    }

    while (password.len != 0
           && (password.data[password.len - 1] == '\n'
               || password.data[password.len - 1] == '\r'))
    {
        password.len--;
    }

    n = 0;
    words[n] = "AUTH";
    lens[n++] = 4;

    if (config->sentinel_user.value != NULL) {
        words[n] = config->sentinel_user.value;
        lens[n] = strlen(words[n]);
        n++;
    }

    words[n] = (const char *) password.data;
    lens[n++] = password.len;

    reply = wire_call(wire, n, words, lens);

    if (reply == NULL) {
        return "it closed the connection";
    }

    trouble = (reply->type == REDIS_REPLY_ERROR)
              ? "it refuses redis_sentinel_user and "
                "redis_sentinel_password_file" : NULL;

    freeReplyObject(reply);

    return trouble;
}


static int
host_valid(const char *host, size_t len)
{
    return len > 0 && len <= 253
           && strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                     "0123456789.:-_") == len;
}


static const char *
sentinel_reply(const redisReply *reply, cli_sentinel_t *answer)
{
    int64_t            port;
    oa_str_t           text;
    const redisReply  *host;

    if (reply == NULL) {
        return "it did not answer in time, or closed the connection";
    }

    if (reply->type == REDIS_REPLY_NIL) {
        return "it knows no primary of this name";
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        return cli_format("it answers %s%s",
                          cli_quote((oa_str_t) { reply->len,
                              (const unsigned char *) reply->str }),
                          strncmp(reply->str, "NOPERM", 6) == 0
                          ? ": its user there needs "
                            "+sentinel|get-master-addr-by-name"
                          : strncmp(reply->str, "NOAUTH", 6) == 0
                          ? ": it asks for redis_sentinel_password_file"
                          : "");
    }

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2
        || reply->element[0]->type != REDIS_REPLY_STRING
        || reply->element[1]->type != REDIS_REPLY_STRING)
    {
        return "it does not answer as a sentinel does";
    }

    host = reply->element[0];
    text.data = (const unsigned char *) reply->element[1]->str;
    text.len = reply->element[1]->len;

    if (!host_valid(host->str, host->len)
        || oa_text_number(text, 65535, &port) != OA_OK || port == 0)
    {
        return "what it names is no address";
    }

    answer->host = cli_copy(host->str, host->len);
    answer->port = (unsigned) port;

    return NULL;
}


/* as the gateway listens; what keeps it from that, or NULL */
static const char *
sentinel_listen(wire_t *wire)
{
    redisReply    *reply;
    const char    *deaf;
    const char    *words[2] = { "SUBSCRIBE", "+switch-master" };
    const size_t   lens[2] = { 9, 14 };

    reply = wire_call(wire, 2, words, lens);

    if (reply == NULL) {
        return "it closed the connection";
    }

    deaf = (reply->type == REDIS_REPLY_ERROR)
           ? cli_format("it answers %s",
                        cli_quote((oa_str_t) { reply->len,
                            (const unsigned char *) reply->str }))
           : NULL;

    freeReplyObject(reply);

    return deaf;
}


static const char *
sentinel_talk(wire_t *wire, const cli_config_t *config,
    const oa_redis_url_t *url, int listen, cli_sentinel_t *answer)
{
    redisReply  *reply;
    const char  *trouble, *words[3];
    const size_t lens[3] = { 8, 23, url->name.len };

    trouble = sentinel_login(wire, config);

    if (trouble != NULL) {
        return trouble;
    }

    words[0] = "SENTINEL";
    words[1] = "get-master-addr-by-name";
    words[2] = (const char *) url->name.data;

    reply = wire_call(wire, 3, words, lens);
    trouble = sentinel_reply(reply, answer);

    if (reply != NULL) {
        freeReplyObject(reply);
    }

    if (trouble == NULL && listen) {
        answer->deaf = sentinel_listen(wire);
    }

    return trouble;
}


void
cli_sentinel_ask(const cli_config_t *config, const oa_redis_url_t *url,
    unsigned i, int listen, cli_sentinel_t *answer)
{
    char            *host;
    wire_t           wire;
    struct timeval   tv;

    tv.tv_sec = PATIENCE;
    tv.tv_usec = 0;

    memset(answer, 0, sizeof(*answer));
    memset(&wire, 0, sizeof(wire));

    host = cli_copy(url->hosts[i].host.data, url->hosts[i].host.len);
    answer->name = cli_format(strchr(host, ':') ? "[%s]:%u" : "%s:%u", host,
                              url->hosts[i].port);

    wire.context = redisConnectWithTimeout(host, (int) url->hosts[i].port, tv);

    if (wire.context == NULL || wire.context->err != 0
        || redisSetTimeout(wire.context, tv) != REDIS_OK)
    {
        answer->trouble = wire.context ? cli_format("%s", wire.context->errstr)
                                       : "out of memory";

    } else if (!url->tls
               || wire_tls(&wire, config, host, &answer->trouble) == CLI_OK)
    {
        answer->trouble = sentinel_talk(&wire, config, url, listen,
                                        answer);
    }

    if (wire.tls != NULL) {
        cli_tls_close(wire.tls);
    }

    if (wire.context != NULL) {
        redisFree(wire.context);
    }
}


int
cli_sentinel_primary(const cli_config_t *config, const oa_redis_url_t *url,
    const char **host, unsigned *port)
{
    unsigned         i, k, n, votes, answers;
    const char      *trouble;
    cli_sentinel_t   all[OA_REDIS_HOSTS_MAX], *one;

    n = url->nhosts;
    answers = votes = 0;
    trouble = "";

    for (i = 0; i < n; i++) {
        one = &all[i];
        cli_sentinel_ask(config, url, i, 0, one);

        if (one->host == NULL) {
            trouble = cli_format("%s; %s: %s", trouble, one->name,
                                 one->trouble);
            continue;
        }

        answers++;

        for (k = 0, votes = 0; k <= i; k++) {
            votes += (all[k].host != NULL && all[k].port == one->port
                      && strcmp(all[k].host, one->host) == 0);
        }

        *host = one->host;
        *port = one->port;

        if (votes > n / 2) {
            return CLI_OK;
        }
    }

    if (answers != 0 && votes == answers) {
        return CLI_OK;
    }

    return cli_fail(CLI_FAILED, "%s (%s): %s%s",
                    cli_text_safe(cli_str(config->redis.value)),
                    config->redis.from,
                    answers ? "the sentinels that answer do not agree where "
                              "the primary is; try again in a moment"
                            : "no sentinel tells where the primary is",
                    trouble);
}
