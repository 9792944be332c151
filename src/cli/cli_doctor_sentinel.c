/*
 * opsauth doctor: which sentinels answer, and whether they agree. That the
 * primary says that it is one was seen when it was connected to.
 */

#include "cli.h"
#include "cli_doctor.h"
#include "cli_memory.h"
#include "cli_sentinel.h"
#include "cli_text.h"

#include <string.h>


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
