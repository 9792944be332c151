/*
 * SIGINT, SIGTERM and SIGHUP during work that goes on for long: the first one
 * is noted, so that what is under way comes to its end; another one ends the
 * command at once. A wait in read() is interrupted.
 */

#ifndef CLI_SIGNAL_H
#define CLI_SIGNAL_H


/* from here on; a signal that is ignored stays so */
void cli_signal_catch(void);

/* the signal, or 0 */
int cli_signal_caught(void);

/* ends by the signal that was caught; returns where there was none */
void cli_signal_end(void);


#endif /* CLI_SIGNAL_H */
