/*
 * The walk of the model: leaves out of states what makes no difference, packs them,
 * and has walker.c go through all of them. See steps.c.
 */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "walker.h"

#define KEY  3

int       lease = 2, workers = 3, feeds = 2, queue = 2, pings = 1, failovers;
int       one_write, no_loss, split_reader, turn, late_start, broken;
uint64_t  seen[NSEEN];

static unsigned long long  limit = 40000000;

static const struct {
    const char  *name;
    const char  *what;
} breaks[NBREAKS] = {
    { "nothing",     "all rules hold" },
    { "count",       "a fill is accepted although its set's count has changed" },
    { "from",        "a copy older than covered_from counts as covered" },
    { "lease",       "coverage never runs out" },
    { "send-time",   "a PONG certifies up to when it was read, not to when its PING was sent" },
    { "chain",       "a feed that started after covered_to extends coverage" },
    { "server",      "a fill is accepted from a server that does not cover" },
    { "gap",         "a take-over keeps covered_from and the cache" },
    { "flush-count", "a flush does not raise the count" },
    { "rounding",    "coverage begins in the millisecond in which the feed started, not after it" },
    { "resolved",    "a feed takes over if it started later, whenever it had resolved the address" },
    { "lapsed",      "a replaced server's answers are refused only while coverage is in force" },
    { "load-order",  "a hit copies the slot before it loads the coverage" },
    { "store-order", "a new coverage is stored \"to\" before \"from\"" },
    { "join-age",    "a request may join a read that is older than the lease" },
};

static const char *seen_names[NSEEN] = {
    "states in which only coverage keeps a copy in use",
    "states in which a replaced copy is in use within the bound",
    "fills refused", "certificates that extend", "coverages begun",
    "coverages taken over",
};

/* --- packing ------------------------------------------------------------------ */

/* Twelve times of 5 bits a word, and what remains in the third one. An age is
   told as it is up to the lease, beyond it by its rank. */

enum { TIMES = 12, AGE_0 = 5 };

#define REST(what)                                                            \
    do {                                                                      \
        int  i_;                                                              \
        for (i_ = 0; i_ < NV; i_++)      { what(s->v[i_], 3) }                \
        for (i_ = 0; i_ < WORKERS; i_++) { what(s->read[i_], 2)               \
                                           what(s->counted[i_], 1)            \
                                           what(s->late[i_], 1)               \
                                           what(s->on[i_], 1) }               \
        for (i_ = 0; i_ < FEEDS; i_++)   { what(s->up[i_], 1)                 \
                                           what(s->feed_on[i_], 1)            \
                                           what(s->knows[i_], 1) }            \
        what(s->covers, 2)                                                    \
        what(s->primary, 1)                                                   \
        what(s->failed, 2)                                                    \
        what(s->stage, 2)                                                     \
        what(s->storing, 2)                                                   \
    } while (0)

#define PUT(field, bits)  w[2] |= (uint64_t) (field) << at; at += bits;
#define GET(field, bits)  field = w[2] >> at & ((1u << bits) - 1); at += bits;

static int
keep(void)
{
    return lease + turn;
}


/* the state's own times become codes: a copy is packed */

static void
pack(state_t *s, uint64_t *w)
{
    int       i, age, rank, at = (NT - 2 * TIMES) * 5;
    uint8_t   code[NOW + 2];
    uint64_t  old = 0;

    for (i = 0; i < NT; i++) {
        if (s->t[i] >= MARKS && NOW - s->t[i] > keep()) {
            old |= 1ull << (NOW - s->t[i]);
        }
    }

    for (rank = AGE_0 + keep() + 1; old; old &= old - 1) {
        code[__builtin_ctzll(old)] = rank++;
    }

    if (rank > 32) {
        fprintf(stderr, "too many times for 5 bits: smaller bounds are needed\n");
        exit(3);
    }

    memset(w, 0, KEY * sizeof(uint64_t));

    for (i = 0; i < NT; i++) {
        age = NOW - s->t[i];            /* -1: the next millisecond */
        w[i / TIMES] |= (uint64_t) (s->t[i] < MARKS ? s->t[i]
                                    : age <= keep() ? AGE_0 + age : code[age])
                        << i % TIMES * 5;
    }

    for (i = 0; i < NV; i++) {
        age = NOW - s->v[i];
        s->v[i] = s->v[i] < MARKS ? s->v[i]
                  : 2 + (age > keep() + 1 ? keep() + 1 : age);
    }

    REST(PUT);
}


static void
unpack(state_t *s, const uint64_t *w)
{
    int  i, code, at = (NT - 2 * TIMES) * 5;

    for (i = 0; i < NT; i++) {
        code = w[i / TIMES] >> i % TIMES * 5 & 31;
        s->t[i] = code < AGE_0 - 1 ? code : NOW + AGE_0 - code;
    }

    REST(GET);

    for (i = 0; i < NV; i++) {
        s->v[i] = s->v[i] < 2 ? s->v[i] : NOW + 2 - s->v[i];
    }
}


/* covered_to only grows while a server covers: what is before it, stays before
   it. PAST stands for earlier than all that it will be compared with. */

static void
simplify_feeds(state_t *s)
{
    int       i, k, n;
    uint8_t  *msg;

    for (i = 0; i < FEEDS; i++) {

        if (!s->up[i]) {
            continue;
        }

        if (s->t[BORN + i] <= s->t[TAKEN] && s->t[BORN + i] != NONE) {
            s->t[BORN + i] = PAST;
        }

        msg = s->t + MSG + i * QUEUE;
        n = messages(s, i);

        if (s->covers != s->feed_on[i] + 1 || s->storing) {

            /* on a replaced server: any PONG closes it */

            for (k = 0; k < n && s->t[BORN + i] == PAST && broken != RESOLVED; k++) {
                s->t[START + i] = NONE;
                msg[k] = msg[k] > FLUSHED ? PAST : CHANGED;
            }

            continue;
        }

        if (s->t[START + i] != NONE
            && (s->t[START + i] < s->t[TO] || s->t[START + i] < s->t[FROM_])
            && broken != RESOLVED && broken != CHAIN)
        {
            s->t[START + i] = PAST;
        }

        for (k = 0; k < n; k++) {
            if (msg[k] == FLUSHED && broken != FLUSH_COUNT) {
                msg[k] = CHANGED;       /* there is one key */
            }

            if (msg[k] >= MARKS && broken != SEND_TIME
                && (msg[k] <= s->t[TO] || (s->t[START + i] == NONE
                                           && NOW - msg[k] > lease)))
            {
                msg[k] = PAST;
            }
        }

        /* and such a PONG says nothing, unless it is the first */

        for (k = n - 1; k >= 0; k--) {
            if (msg[k] == PAST && s->t[START + i] == PAST
                && s->v[V_NOTICED] != UNNOTICED
                && (failovers == 0 || s->t[BORN + i] == PAST))
            {
                take_message(s, i, k);
            }
        }
    }
}


/* What can't make a difference any more is left out, so that states which
   differ in it alone are one. */

static void
simplify(state_t *s)
{
    int      i, k, chained = 0, dead = s->t[FROM_];
    uint8_t  oldest = NOW + 1;

    simplify_feeds(s);

    /* Coverage has run out, and no feed continues it: it will begin anew, not
       before the start of the first feed. What covered_to was, is over. */

    for (k = NOW, i = 0; i < FEEDS; i++) {
        if (s->up[i] && s->covers == s->feed_on[i] + 1 && s->t[START + i]) {
            chained |= (s->t[START + i] == PAST);
            k = s->t[START + i] < k ? s->t[START + i] : k;
        }
    }

    if (!chained && !s->storing && NOW - s->t[TO] > lease && s->t[TO] != NONE
        && broken != LEASE && broken != CHAIN && broken != ROUNDING
        && broken != RESOLVED && !split_reader)
    {
        s->t[TO] = PAST;
        dead = dead < k + 1 ? k + 1 : dead;
    }

    /* a read, or a copy, that can't be used: it is too old for the lease, and
       older than covered_from, which only grows */

    for (i = 0; i < WORKERS; i++) {

        if ((s->counted[i] && !s->late[i] && broken != COUNT)
            || (s->read[i] != IDLE && !s->late[i] && broken != FROM
                && broken != JOIN_AGE && s->t[SENT + i] < dead
                && NOW - s->t[SENT + i] > lease))
        {
            seen[REFUSED] += s->counted[i];
            end_read(s, i);
        }

        if (s->read[i] != IDLE && s->t[SENT + i] < oldest) {
            oldest = s->t[SENT + i];
        }

        if (s->t[LINK + i] <= s->t[TAKEN] && s->t[LINK + i] != NONE) {
            s->t[LINK + i] = PAST;
        }
    }

    if (s->t[SLOT] != NONE && broken != FROM && s->t[SLOT] < dead
        && NOW - s->t[SLOT] > lease)
    {
        s->t[SLOT] = NONE;
        s->v[V_SLOT] = CURRENT;
    }

    for (k = SLOT; k <= R_SLOT; k += R_SLOT - SLOT) {
        if (s->t[k] != NONE && s->t[k] < oldest) {
            oldest = s->t[k];
        }
    }

    if (s->t[FROM_] <= oldest && s->t[FROM_] <= s->t[TO] && s->t[FROM_] != NONE) {
        s->t[FROM_] = PAST;
    }
}


/* workers are alike, and so are feeds: one order of them stands for all */

#define SWAP(a, b)  do { uint8_t x_ = (a); (a) = (b); (b) = x_; } while (0)

static void
sort_alike(state_t *s)
{
    int       i, j, k;
    uint64_t  a, b;

#define WORKER(i)                                                             \
    ((uint64_t) s->read[i] << 40 | (uint64_t) s->t[SENT + i] << 32            \
     | s->t[LINK + i] << 16 | s->v[V_READ + i] << 8 | s->on[i] << 2           \
     | s->counted[i] << 1 | s->late[i])

    for (i = 1; i < WORKERS; i++) {
        for (j = i; j > 0 && WORKER(j) > WORKER(j - 1); j--) {
            SWAP(s->read[j], s->read[j - 1]);
            SWAP(s->counted[j], s->counted[j - 1]);
            SWAP(s->late[j], s->late[j - 1]);
            SWAP(s->on[j], s->on[j - 1]);
            SWAP(s->t[SENT + j], s->t[SENT + j - 1]);
            SWAP(s->t[LINK + j], s->t[LINK + j - 1]);
            SWAP(s->v[V_READ + j], s->v[V_READ + j - 1]);
        }
    }

    a = (uint64_t) s->knows[0] << 57 | (uint64_t) s->up[0] << 56
        | (uint64_t) s->feed_on[0] << 50
        | (uint64_t) s->t[START] << 40 | (uint64_t) s->t[BORN] << 32;
    b = (uint64_t) s->knows[1] << 57 | (uint64_t) s->up[1] << 56
        | (uint64_t) s->feed_on[1] << 50
        | (uint64_t) s->t[START + 1] << 40 | (uint64_t) s->t[BORN + 1] << 32;

    for (k = 0; k < QUEUE; k++) {
        a |= (uint64_t) s->t[MSG + k] << (24 - 8 * k);
        b |= (uint64_t) s->t[MSG + QUEUE + k] << (24 - 8 * k);
    }

    if (b > a) {
        SWAP(s->up[0], s->up[1]);
        SWAP(s->feed_on[0], s->feed_on[1]);
        SWAP(s->knows[0], s->knows[1]);
        SWAP(s->t[START], s->t[START + 1]);
        SWAP(s->t[BORN], s->t[BORN + 1]);
        for (k = 0; k < QUEUE; k++) {
            SWAP(s->t[MSG + k], s->t[MSG + QUEUE + k]);
        }
        if (s->storing) {
            s->storing = 3 - s->storing;
        }
    }
}


/* --- the walk ----------------------------------------------------------------------- */

/* a step leads to this state; bad: and does what must not be done */

void
step(const state_t *next, const char *bad, const char *format, ...)
{
    int       used, replaced;
    state_t   s = *next;
    va_list   args;
    uint64_t  w[KEY];

    simplify(&s);
    sort_alike(&s);

    used = s.t[SLOT] != NONE && usable(s.t[FROM_], s.t[TO], s.t[SLOT], NOW);
    replaced = s.v[V_SLOT] >= MARKS;

    if (used && !bad && !split_reader) {
        bad = too_old(&s, s.v[V_SLOT], NOW);
    }

    pack(&s, w);

    va_start(args, format);

    if (walker_step(w, bad, format, args)) {
        seen[COVERED_LONG] += used && NOW - s.t[SLOT] > lease;
        seen[STALE_USED] += used && replaced;
    }

    va_end(args);
}


static void
expand_packed(const uint64_t *w)
{
    state_t  s;

    unpack(&s, w);
    expand(&s);
}


/* --- what is said -------------------------------------------------------------------- */

static const char *
ago(int t)
{
    static char  text[8][16];
    static int   n;
    char        *p = text[n++ % 8];

    if (t < MARKS) {
        return t == NONE ? "-" : t == PAST ? "<" : t == CHANGED ? "!" : "!!";
    }

    snprintf(p, 16, "%d", NOW - t);
    return p;
}


static void
print_state(const uint64_t *w)
{
    int       i, k;
    state_t   state;
    state_t  *s = &state;

    unpack(s, w);

    printf("      covered %s..%s", ago(s->t[FROM_]), ago(s->t[TO]));
    printf("  slot %s", ago(s->t[SLOT]));

    if (s->t[SLOT] != NONE && s->v[V_SLOT] != CURRENT) {
        printf(" replaced %s", ago(s->v[V_SLOT]));
    }

    for (i = 0; i < workers; i++) {
        if (s->read[i] != IDLE) {
            printf("  read%d %s%s%s", i, ago(s->t[SENT + i]),
                   s->read[i] == ANSWERED ? " answered" : "",
                   s->counted[i] ? " counted" : "");
            if (s->v[V_READ + i] != CURRENT) {
                printf(" replaced %s", ago(s->v[V_READ + i]));
            }
        }
    }

    for (i = 0; i < feeds; i++) {
        if (s->up[i]) {
            printf("  feed%d start %s [", i, ago(s->t[START + i]));
            for (k = 0; k < QUEUE && s->t[MSG + i * QUEUE + k] != NONE; k++) {
                printf("%s%s", k ? " " : "", ago(s->t[MSG + i * QUEUE + k]));
            }
            printf("]");
            if (failovers) {
                printf(" on %d born %s", s->feed_on[i], ago(s->t[BORN + i]));
            }
        }
    }

    if (failovers) {
        printf("  covers %d primary %d", s->covers - 1, s->primary);
    }

    printf("\n");
}


static void
usage(void)
{
    int  i;

    printf("usage: model [--lease=N] [--workers=0..3] [--feeds=1..2] [--queue=1..4]\n"
           "    [--pings=N] [--failovers=0..2] [--split-reader=TURN] [--one-write]\n"
           "    [--no-loss] [--late-start] [--limit=STATES] [--break=NAME]\n\nNAME:\n");

    for (i = 1; i < NBREAKS; i++) {
        printf("    %-12s %s\n", breaks[i].name, breaks[i].what);
    }
}


static void
options(int argc, char **argv)
{
    int  i, k;

    for (i = 1; i < argc; i++) {
        if (sscanf(argv[i], "--lease=%d", &lease) == 1
            || sscanf(argv[i], "--workers=%d", &workers) == 1
            || sscanf(argv[i], "--feeds=%d", &feeds) == 1
            || sscanf(argv[i], "--queue=%d", &queue) == 1
            || sscanf(argv[i], "--pings=%d", &pings) == 1
            || sscanf(argv[i], "--failovers=%d", &failovers) == 1
            || sscanf(argv[i], "--limit=%llu", &limit) == 1)
        {
            continue;
        }

        if (sscanf(argv[i], "--split-reader=%d", &turn) == 1) {
            split_reader = 1;
        } else if (strcmp(argv[i], "--one-write") == 0) {
            one_write = 1;
        } else if (strcmp(argv[i], "--late-start") == 0) {
            late_start = 1;
        } else if (strcmp(argv[i], "--no-loss") == 0) {
            no_loss = 1;
        } else if (strncmp(argv[i], "--break=", 8) == 0) {
            for (k = 1; k < NBREAKS && strcmp(argv[i] + 8, breaks[k].name); k++) {}
            broken = k;
        } else {
            broken = NBREAKS;
        }
    }

    /* a message more is kept while a coverage is stored */

    if (lease < 1 || keep() > 4 || workers < 0 || workers > WORKERS || feeds < 1
        || feeds > FEEDS || queue < 1 || queue + split_reader > QUEUE
        || failovers < 0 || failovers > 2 || turn < 0 || broken == NBREAKS)
    {
        usage();
        exit(2);
    }
}


int
main(int argc, char **argv)
{
    int          i;
    state_t      s;
    const char  *violated;

    options(argc, argv);
    setvbuf(stdout, NULL, _IOLBF, 0);

    walker_start(KEY, limit, expand_packed);

    memset(&s, 0, sizeof(s));

    for (i = 0; failovers && i < workers; i++) {
        s.t[LINK + i] = NOW;
    }

    step(&s, NULL, "start");

    violated = walker_walk();

    if (violated) {
        printf("ages in ms; ! an invalidation, !! a null one under way; < so old that its"
               " age does not matter\n");
        walker_trace(print_state);
        printf("VIOLATION: %s\n", violated);
        printf("rule taken out: %s; states: %llu\n", breaks[broken].what,
               (unsigned long long) walker_states());
        return 1;
    }

    for (i = 0; i < NSEEN; i++) {
        printf("%-60s %llu\n", seen_names[i], (unsigned long long) seen[i]);
    }

    printf("exhausted: %llu states, %llu steps, no violation\n",
           (unsigned long long) walker_states(), (unsigned long long) walker_steps());

    return 0;
}
