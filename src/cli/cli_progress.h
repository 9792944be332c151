/*
 * How far long work has come: one line on stderr that replaces itself, where
 * that is a terminal. Whoever says something else there clears it first.
 */

#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdint.h>
#include <time.h>


typedef struct {
    const char       *what;             /* "lines" */
    int64_t           total;            /* 0: not known */
    struct timespec   start;
    struct timespec   shown;
    unsigned          on:1;
    unsigned          visible:1;
} cli_progress_t;


/* total is what done (below) will have come to at the end */
void cli_progress_init(cli_progress_t *progress, const char *what,
    int64_t total);

/* a few times a second at most */
void cli_progress_show(cli_progress_t *progress, uint64_t count,
    int64_t done);

void cli_progress_clear(cli_progress_t *progress);


#endif /* CLI_PROGRESS_H */
