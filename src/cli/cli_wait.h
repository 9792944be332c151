/*
 * --wait: when what was written is in force on every gateway. A change is so
 * one lease after Redis acknowledged it (docs/cache.md), if the primary that
 * did is not lost before its replicas have it.
 */

#ifndef CLI_WAIT_H
#define CLI_WAIT_H

#include "cli.h"


#define CLI_WAIT_OPTIONS                                                      \
    { "wait", 0, 0, NULL,                                                     \
      "return when it is in force on every gateway" },                        \
    { "lease", 0, 0, "TIME",                                                  \
      "the gateways' lease, for --wait: 500ms, 2s\n(default: as in "          \
      "nginx.conf, or 1s)" }

/* for the help of verbs that have it */
#define CLI_WAIT_TEXT                                                         \
    "With --wait the command returns when this is in force on every "         \
    "gateway: Redis'\nreplicas have it, and one lease has passed. Exit code "  \
    "1 means that it is written\nbut not known to be in force. A gateway that "\
    "can't reach Redis at that time goes\non with what it knows for the time " \
    "that its opsauth_store gives as \"stale\".\n"


/* before anything is written: are the options as they should be? */
int cli_wait_check(cli_t *cli);

/* behind all changes, on their connection; does nothing without --wait */
int cli_wait(cli_t *cli);


#endif /* CLI_WAIT_H */
