/*
 * See cli_progress.h.
 */

#include "cli_progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>


#define INTERVAL  0.2                   /* seconds */
#define BAR       20                    /* columns */


static double
seconds(const struct timespec *from, const struct timespec *to)
{
    return (double) (to->tv_sec - from->tv_sec)
           + (double) (to->tv_nsec - from->tv_nsec) / 1e9;
}


void
cli_progress_init(cli_progress_t *progress, const char *what, int64_t total)
{
    memset(progress, 0, sizeof(*progress));
    progress->what = what;
    progress->total = total;
    progress->on = (isatty(STDERR_FILENO) == 1);
    (void) clock_gettime(CLOCK_MONOTONIC, &progress->start);
    progress->shown = progress->start;
}


/* "[######..............] 30 %  " and, in left, "  0:12 left" */
static void
bar(const cli_progress_t *progress, int64_t done, double spent, char *left,
    size_t room)
{
    int      n;
    char     text[BAR + 1];
    double   share;
    int64_t  rest;

    share = (double) done / (double) progress->total;
    share = (share > 1) ? 1 : share;

    memset(text, '.', BAR);
    text[BAR] = '\0';

    for (n = 0; n < (int) (share * BAR); n++) {
        text[n] = '#';
    }

    fprintf(stderr, "[%s] %d %%  ", text, (int) (share * 100));

    if (share > 0.01) {
        rest = (int64_t) (spent * (1 - share) / share + 0.5);
        (void) snprintf(left, room, "  %lld:%02d left",
                        (long long) (rest / 60), (int) (rest % 60));
    }
}


void
cli_progress_show(cli_progress_t *progress, uint64_t count, int64_t done)
{
    char             left[40];
    double           spent;
    struct timespec  now;

    if (!progress->on) {
        return;
    }

    (void) clock_gettime(CLOCK_MONOTONIC, &now);

    if (seconds(&progress->shown, &now) < INTERVAL) {
        return;
    }

    progress->shown = now;
    progress->visible = 1;
    spent = seconds(&progress->start, &now);
    left[0] = '\0';

    fputc('\r', stderr);

    if (progress->total > 0) {
        bar(progress, done, spent, left, sizeof(left));
    }

    fprintf(stderr, "%llu %s  %.0f/s%s\033[K", (unsigned long long) count,
            progress->what, (double) count / spent, left);
    (void) fflush(stderr);
}


void
cli_progress_clear(cli_progress_t *progress)
{
    if (progress->visible) {
        fputs("\r\033[K", stderr);
        (void) fflush(stderr);
        progress->visible = 0;
    }
}
