/*
 * See cli_signal.h.
 */

#include "cli_signal.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>


static const int  signals[] = { SIGINT, SIGTERM, SIGHUP };

#define SIGNALS  (sizeof(signals) / sizeof(signals[0]))


static volatile sig_atomic_t  caught;


static void
handler(int number)
{
    size_t            i;
    struct sigaction  now;

    caught = number;

    /* the next one, whichever it is, ends the command */

    for (i = 0; i < SIGNALS; i++) {
        if (sigaction(signals[i], NULL, &now) == 0
            && now.sa_handler == handler)
        {
            (void) signal(signals[i], SIG_DFL);
        }
    }
}


void
cli_signal_catch(void)
{
    size_t            i;
    struct sigaction  now, new;

    memset(&new, 0, sizeof(new));
    new.sa_handler = handler;
    (void) sigemptyset(&new.sa_mask);

    for (i = 0; i < SIGNALS; i++) {
        if (sigaction(signals[i], NULL, &now) == 0
            && now.sa_handler == SIG_DFL)
        {
            (void) sigaction(signals[i], &new, NULL);
        }
    }
}


int
cli_signal_caught(void)
{
    return (int) caught;
}


void
cli_signal_end(void)
{
    if (caught) {
        (void) signal(caught, SIG_DFL);
        (void) raise(caught);
    }
}
