/*
 * opsauth doctor: where the gateway finds Redis. Whether names are looked up
 * again; which sentinels answer, and whether they agree. That the primary says
 * that it is one was seen when it was connected to.
 */

#include "cli.h"
#include "cli_doctor.h"
#include "cli_memory.h"
#include "cli_sentinel.h"
#include "cli_text.h"

#include <string.h>

#include <arpa/inet.h>


int
cli_doctor_is_address(const char *host)
{
    unsigned char  address[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, host, address) == 1
           || inet_pton(AF_INET6, host, address) == 1;
}


/* whose address may change; this machine stays where it is */
static const char *
named(oa_str_t host)
{
    const char  *name;

    name = cli_copy(host.data, host.len);

    return (cli_doctor_is_address(name) || strcmp(name, "localhost") == 0) ? NULL : name;
}


/* only nginx.conf tells whether nginx has a resolver */
void
cli_doctor_names(cli_doctor_t *d)
{
    unsigned         i;
    const char      *error, *host;
    oa_redis_url_t   url;

    const cli_config_t  *config = &d->as_gateway;

    if (!config->block || config->redis.value == NULL
        || oa_redis_url_parse(cli_str(config->redis.value), &url, &error)
           != OA_OK
        || url.transport == OA_REDIS_UNIX)
    {
        return;
    }

    host = url.host.len ? named(url.host) : NULL;

    for (i = 0; i < url.nhosts && host == NULL; i++) {
        host = named(url.hosts[i].host);
    }

    if (host == NULL) {
        return;
    }

    if (config->resolver) {
        cli_doctor_say(d, CLI_DOCTOR_OK, "names", NULL,
                       "nginx looks %s up at each connect", cli_quotez(host));
        return;
    }

    cli_doctor_say(d, CLI_DOCTOR_WARNING, "names",
                   "set nginx' resolver in http",
                   "nginx looks %s up when it is started or reloaded, and not "
                   "after a failover by DNS", cli_quotez(host));
}


void
cli_doctor_sentinels(cli_doctor_t *d)
{
    unsigned         i, answers, others;
    const char      *error, *said;
    cli_sentinel_t   one, first;
    oa_redis_url_t   url;

    const cli_config_t  *config = &d->as_gateway;

    if (config->redis.value == NULL
        || oa_redis_url_parse(cli_str(config->redis.value), &url, &error)
           != OA_OK
        || url.transport != OA_REDIS_SENTINEL)
    {
        return;
    }

    answers = others = 0;
    memset(&first, 0, sizeof(first));

    for (i = 0; i < url.nhosts; i++) {
        cli_capture(&said);
        cli_sentinel_ask(config, &url, i, 1, &one);
        cli_capture(NULL);

        if (one.host == NULL) {
            cli_doctor_say(d, CLI_DOCTOR_WARNING, "sentinel",
                           "make it answer, or take it out of the URL",
                           "%s: %s", one.name, one.trouble);
            continue;
        }

        if (one.deaf != NULL) {
            cli_doctor_say(d, CLI_DOCTOR_WARNING, "sentinel",
                           cli_format("ACL SETUSER %s +subscribe "
                                      "&+switch-master, in that sentinel",
                                      config->sentinel_user.value
                                      ? cli_text_safe(cli_str(
                                            config->sentinel_user.value))
                                      : "default"),
                           "%s does not tell of a failover: %s", one.name,
                           one.deaf);
        }

        if (answers++ == 0) {
            first = one;
        }

        others += (one.port != first.port || strcmp(one.host, first.host) != 0);
    }

    if (answers == 0 || answers <= url.nhosts / 2) {
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, "sentinels",
                       "all sentinels of the group belong in the URL, and most "
                       "must run: otherwise there is no failover",
                       "%u of %u tell where the primary is", answers,
                       url.nhosts);
        return;
    }

    if (config->block && !config->resolver && !cli_doctor_is_address(first.host)) {
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, "sentinels",
                       "set nginx' resolver in http",
                       "they name the primary by a host name, %s, which nginx "
                       "does not look up", cli_quotez(first.host));
    }

    if (others != 0) {
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, "sentinels",
                       "look at SENTINEL MASTER on each; right after a failover "
                       "it may take some seconds",
                       "they do not agree where the primary is");
        return;
    }

    cli_doctor_say(d, CLI_DOCTOR_OK, "sentinels", NULL,
                   "%u of %u name %s:%u as the primary", answers, url.nhosts,
                   first.host, first.port);
}
