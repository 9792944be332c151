/*
 * A breadth-first walk over states that are packed into words: each is kept once,
 * and the shortest way to a violation is told. One walk a process.
 *
 *   walker_start(...);  the first walker_step();  walker_walk();
 */

#ifndef OPSAUTH_MODEL_WALKER_H
#define OPSAUTH_MODEL_WALKER_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#define WALKER_WORDS(size)  (((size) + sizeof(uint64_t) - 1) / sizeof(uint64_t))

/* States have so many words, and there are "limit" of them at most: the process
   ends with 3 where there are more, or no memory. expand() calls walker_step()
   for all that can happen next, always in the same order. */
void walker_start(size_t words, uint64_t limit,
    void (*expand)(const uint64_t *state));

/* A step leads to this state; bad (NULL: nothing): and does what must not be done.
   The rest says which step, as of vprintf(). 1: it is kept, as a new one or as the
   violation. */
int walker_step(const uint64_t *state, const char *bad, const char *format,
    va_list args);

/* what was violated, or NULL: all states were walked through */
const char *walker_walk(void);

/* the way to the violation, a line each step, and after it what print() (NULL:
   nothing) says of the state */
void walker_trace(void (*print)(const uint64_t *state));

uint64_t walker_states(void);
uint64_t walker_steps(void);

#endif /* OPSAUTH_MODEL_WALKER_H */
