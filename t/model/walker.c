/* See walker.h. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "walker.h"

static uint64_t   *states;              /* one behind the other, from 1 on */
static uint32_t   *parents;
static uint32_t   *table;               /* 0: free */
static uint64_t    nstates, nstates_max, table_mask, steps;
static size_t      nwords;
static uint32_t    current;             /* whose steps are made */
static void      (*expand)(const uint64_t *state);

static const char     *violated;        /* by the last state */
static const uint64_t *wanted;          /* while a trace is printed */
static char            found[256];


static inline uint64_t *
state_at(uint64_t n)
{
    return states + n * nwords;
}


static inline uint64_t
hash(const uint64_t *w)
{
    size_t    i;
    uint64_t  h = 0x9e3779b97f4a7c15ull;

    for (i = 0; i < nwords; i++) {
        h = (h ^ w[i]) * 0xff51afd7ed558ccdull;
        h ^= h >> 32;
    }

    return h;
}


/* a call of memcmp() would cost more than the few words do */

static inline int
is_same(const uint64_t *a, const uint64_t *b)
{
    size_t  i;

    for (i = 0; i < nwords && a[i] == b[i]; i++) { /* void */ }

    return i == nwords;
}


void
walker_start(size_t words, uint64_t limit, void (*handler)(const uint64_t *state))
{
    uint64_t  size;

    nwords = words;
    expand = handler;
    nstates_max = limit + 1;

    for (size = 1024; size < nstates_max * 3 / 2; size *= 2) { /* void */ }

    table_mask = size - 1;

    states = malloc(nstates_max * nwords * sizeof(uint64_t));
    parents = malloc(nstates_max * sizeof(uint32_t));
    table = calloc(size, sizeof(uint32_t));

    if (states == NULL || parents == NULL || table == NULL) {
        fprintf(stderr, "no memory for %llu states\n", (unsigned long long) limit);
        exit(3);
    }

    nstates = 1;
    current = 1;
}


int
walker_step(const uint64_t *state, const char *bad, const char *format,
    va_list args)
{
    uint64_t  i;

    if (wanted) {
        if (is_same(state, wanted) && (found[0] == '\0' || bad)) {
            vsnprintf(found, sizeof(found), format, args);
        }
        return 0;
    }

    if (violated) {
        return 0;
    }

    steps++;

    for (i = hash(state) & table_mask; table[i]; i = (i + 1) & table_mask) {
        if (is_same(state_at(table[i]), state)) {
            if (bad == NULL) {
                return 0;
            }
            break;
        }
    }

    if (nstates == nstates_max) {
        fprintf(stderr, "more than %llu states: smaller bounds, or --limit\n",
                (unsigned long long) nstates_max - 1);
        exit(3);
    }

    memcpy(state_at(nstates), state, nwords * sizeof(uint64_t));
    parents[nstates] = current;
    table[i] = (uint32_t) nstates++;
    violated = bad;

    return 1;
}


const char *
walker_walk(void)
{
    for (current = 1; current < nstates && !violated; current++) {
        expand(state_at(current));
    }

    return violated;
}


void
walker_trace(void (*print)(const uint64_t *state))
{
    int       i, n = 0;
    uint32_t  way[1000], at;

    for (at = (uint32_t) nstates - 1; n < 999; at = parents[at]) {
        way[n++] = at;
        if (at == 1) {
            break;
        }
    }

    for (i = n - 2; i >= 0; i--) {
        wanted = state_at(way[i]);
        found[0] = '\0';
        expand(state_at(way[i + 1]));
        printf("%3d. %s\n", n - 1 - i, found);
        if (print) {
            print(wanted);
        }
    }

    wanted = NULL;
}


uint64_t
walker_states(void)
{
    return nstates - 1;
}


uint64_t
walker_steps(void)
{
    return steps;
}
