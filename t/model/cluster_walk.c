/*
 * The walk of cluster.c: leaves out of states what makes no difference, and has
 * walker.c go through all of them.
 */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster.h"
#include "walker.h"

#define KEY  WALKER_WORDS(sizeof(state_t))

static const struct {
    const char  *name;
    const char  *what;
} breaks[NBREAKS] = {
    { "nothing",  "all rules hold" },
    { "move",     "a slot that moves does not raise what its copies must be younger than" },
    { "rounding", "it raises that to the millisecond of the move, not behind it" },
    { "cell",     "a copy is covered by the node that it was read from, not by that which has its slot" },
    { "ask",      "an answer by way of ASK is kept" },
    { "epoch",    "a node that tells of the past is believed where slots are" },
};

int       broken, moves_max = 1, takeovers;
uint64_t  seen[NSEEN];

static const uint64_t  limit = 10000000;

static const char  *seen_names[NSEEN] = {
    "states in which only coverage keeps a copy in use",
    "states in which a replaced copy is in use within the bound",
    "answers ASK", "answers MOVED", "take-overs", "maps learnt",
};


/* --- what is walked ------------------------------------------------------------ */

/* coverage that lapsed, and that no feed can go on with, will begin anew; and a
   feed that can go on with it can do so for ever */

static void
simplify_feeds(state_t *s)
{
    int      i, k;
    uint8_t  *to, *from, *start, *msg;

    for (i = 0; i < 2; i++) {
        to = &s->t[TO + i];
        from = &s->t[FROM + i];
        start = &s->t[START + i];
        msg = s->t + MSG + i * QUEUE;

        if (*start != NONE && *to != NONE && (*start >= *to || *start >= *from)) {
            *start = PAST;
        }

        if (*to != NONE && *to - NOW > LEASE && *start != PAST) {
            *to = *from = NONE;
        }

        if (*to != NONE && *to > OLD) {
            *to = OLD;
        }

        for (k = 0; k < QUEUE; k++) {
            if (msg[k] < PAST && *start == PAST && msg[k] >= *to) {
                msg[k] = PAST;
            }

            if (msg[k] < PAST && msg[k] > OLD) {
                msg[k] = OLD;
            }
        }
    }
}


/* the slot has moved for the last time, and the map says so: the node that had it
   is nobody's any more */

static void
simplify_over(state_t *s)
{
    int  i, old = !s->map;

    if (s->moves != moves_max || s->map != s->owner || s->key != s->owner
        || broken == MOVE || broken == CELL || broken == EPOCH)
    {
        return;
    }

    s->up[old] = 0;
    s->t[FROM + old] = s->t[TO + old] = s->t[START + old] = NONE;
    memset(s->t + MSG + old * QUEUE, NONE, QUEUE);
    s->v_ghost = CURRENT;

    for (i = 0; i < READS; i++) {
        if (s->at[i] == old) {
            s->read[i] = IDLE;
        }
    }
}


/* what was read then can't be used any more, whoever covers */

static int
is_dead(const state_t *s, int age)
{
    int  i;

    if (age - NOW <= LEASE) {
        return 0;
    }

    for (i = 0; i < 2; i++) {
        if ((i == s->map || broken == MOVE || broken == CELL)
            && s->t[TO + i] != NONE && age <= s->t[FROM + i]
            && (age <= s->t[MOVED] || broken == MOVE || broken == CELL))
        {
            return 0;
        }
    }

    return 1;
}


/* reads and copies are compared with it, and nothing else: an older time will do
   where it is on the same side of all of them */

static uint8_t
rounded(const state_t *s, int age)
{
    int      i;
    uint8_t  next = PAST;

    if (age == NONE) {
        return NONE;
    }

    for (i = SLOT; i < NT; i++) {
        if (s->t[i] > age && s->t[i] <= next) {
            next = s->t[i] - 1;
        }
    }

    return next;
}


/* older ages by their order; what makes no difference is left out, so that states
   which differ in it alone are one */

static void
simplify(state_t *s)
{
    int      i, k;
    uint8_t  rank[256], is[256] = { 0 };

    simplify_over(s);
    simplify_feeds(s);

    for (i = 0; i < READS; i++) {
        if (s->read[i] != IDLE
            && (s->counted[i] || is_dead(s, s->t[SENT + i])
                || (s->asking[i] && s->read[i] == ANSWERED && broken != ASK)))
        {
            /* it only answers its own request */
            s->read[i] = IDLE;
        }
        if (s->read[i] == IDLE) {
            s->t[SENT + i] = NONE;
            s->v_read[i] = CURRENT;
            s->at[i] = s->counted[i] = s->asking[i] = 0;
        }
    }

    if (s->t[SLOT] != NONE && is_dead(s, s->t[SLOT])) {
        s->t[SLOT] = NONE;
    }

    if (s->t[SLOT] == NONE) {
        s->v_slot = CURRENT;
        s->cell = 0;
    }

    if (broken != CELL) {
        s->cell = 0;
    }

    for (i = 0; i < 2; i++) {
        if (s->t[START + i] == PAST || s->t[START + i] == NONE) {
            s->t[FROM + i] = rounded(s, s->t[FROM + i]);
        }
    }

    if (s->t[MOVED] != NEXT) {
        s->t[MOVED] = rounded(s, s->t[MOVED]);
    }

    for (i = 0; i < NT; i++) {
        is[s->t[i]] = 1;
    }

    for (i = OLD + 1, k = OLD + 1; i < PAST; i++) {
        if (is[i]) {
            rank[i] = (uint8_t) k++;
        }
    }

    for (i = 0; i < NT; i++) {
        if (s->t[i] > OLD && s->t[i] < PAST) {
            s->t[i] = rank[s->t[i]];
        }
    }

}


void
step(const state_t *next, const char *format, ...)
{
    int          used;
    state_t      s = *next;
    va_list      args;
    uint64_t     w[KEY] = { 0 };
    const char  *bad;

    simplify(&s);

    used = usable(&s);

    bad = used ? too_old(&s, s.v_slot) : NULL;

    memcpy(w, &s, sizeof(s));

    va_start(args, format);

    if (walker_step(w, bad, format, args)) {
        seen[COVERED] += used && s.t[SLOT] - NOW > LEASE;
        seen[STALE_USED] += used && s.v_slot != CURRENT;
    }

    va_end(args);
}


static void
expand_packed(const uint64_t *w)
{
    state_t  s;

    memcpy(&s, w, sizeof(s));
    expand(&s);
}


int
main(int argc, char **argv)
{
    int          i, k;
    state_t      s;
    const char  *violated;

    for (i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--break=", 8) == 0) {
            for (k = 0; k < NBREAKS && strcmp(breaks[k].name, argv[i] + 8) != 0; k++) { /* void */ }
            broken = k;
        } else if (strncmp(argv[i], "--moves=", 8) == 0) {
            moves_max = atoi(argv[i] + 8);
        } else if (strcmp(argv[i], "--takeovers") == 0) {
            takeovers = 1;
        } else {
            broken = NBREAKS;
        }
    }

    if (broken == NBREAKS) {
        printf("cluster [--moves=N] [--takeovers] [--break=NAME]\n");
        for (k = 1; k < NBREAKS; k++) {
            printf("    %-10s  %s\n", breaks[k].name, breaks[k].what);
        }
        return 2;
    }

    walker_start(KEY, limit, expand_packed);

    memset(&s, 0, sizeof(s));
    memset(s.t, NONE, sizeof(s.t));
    s.v_slot = s.v_ghost = CURRENT;
    s.noticed = GONE;
    memset(s.v_read, CURRENT, sizeof(s.v_read));

    step(&s, "the beginning");

    violated = walker_walk();

    if (violated) {
        printf("VIOLATION: %s\n", violated);
        walker_trace(NULL);
        printf("rule taken out: %s; states: %llu\n", breaks[broken].name,
               (unsigned long long) walker_states());
        return 1;
    }

    printf("exhausted: %llu states, %llu steps, no violation\n",
           (unsigned long long) walker_states(), (unsigned long long) walker_steps());

    for (k = 0; k < NSEEN; k++) {
        printf("%-60s %llu\n", seen_names[k], (unsigned long long) seen[k]);
    }

    return 0;
}
