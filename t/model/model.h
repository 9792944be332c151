/*
 * The state that the model of the cache's coherence walks through, and what its
 * two halves share: steps.c (what can happen, by which rules) and walk.c (that
 * all of it happens, in every order).
 */

#ifndef OPSAUTH_MODEL_H
#define OPSAUTH_MODEL_H

#include <stdint.h>

#define WORKERS  3
#define FEEDS    2
#define QUEUE    4              /* messages on their way to one feed */

/* the bounds */
extern int  lease, workers, feeds, queue, pings, failovers;
extern int  one_write, no_loss, split_reader, turn, late_start;

/* the rule that is taken out; walk.c says what each one is */
enum {
    BREAK_NOTHING, COUNT, FROM, LEASE, SEND_TIME, CHAIN, SERVER, GAP,
    FLUSH_COUNT, ROUNDING, RESOLVED, LAPSED, LOAD_ORDER, STORE_ORDER, JOIN_AGE,
    NBREAKS
};

extern int  broken;

/* --- a state -------------------------------------------------------------------- */

/* In t: times, compared with one another. In v: when what this copy holds was
   replaced, compared with "now" alone. NOW is the present in every state, a
   tick makes everything else older. Smaller values than MARKS are no times. */

enum { NOW = 64, NONE = 0, CHANGED = 1, FLUSHED = 2, PAST = 3, MARKS = 8 };
enum { CURRENT = 0, ANNOUNCED = 1, UNNOTICED = 1 };

enum {
    TO, FROM_, TAKEN,                   /* the zone's coverage; TAKEN: the
                                           newest resolution it stands on */
    SLOT,                               /* fetched_at of the copy; NONE: none */
    SENT,                               /* of a worker's read */
    LINK = SENT + WORKERS,              /* when its link's address was resolved */
    START = LINK + WORKERS,             /* of a feed: its first PONG was read */
    BORN = START + FEEDS,               /* when its address was resolved */
    MSG = BORN + FEEDS,                 /* CHANGED, FLUSHED, or a PONG by the
                                           time when its PING was sent */
    R_NOW = MSG + FEEDS * QUEUE, R_TO, R_FROM, R_SLOT,
    NT
};

enum {
    V_SLOT, V_READ, V_SERVER = V_READ + WORKERS, V_READER = V_SERVER + 2,
    V_NOTICED, NV
};

enum { IDLE, ASKED, ANSWERED };         /* a worker's read */

typedef struct {
    uint8_t  t[NT];
    uint8_t  v[NV];
    uint8_t  read[WORKERS];
    uint8_t  counted[WORKERS];          /* a count changed since it was sent */
    uint8_t  late[WORKERS];             /* sent to a server that was replaced
                                           longer ago than the bound allows */
    uint8_t  on[WORKERS];               /* the server of a worker's link */
    uint8_t  up[FEEDS];
    uint8_t  feed_on[FEEDS];
    uint8_t  knows[FEEDS];              /* it was made after the last failover */
    uint8_t  covers;                    /* server + 1; 0: none ever did */
    uint8_t  primary;
    uint8_t  failed;                    /* failovers so far */
    uint8_t  stage;                     /* of the split reader */
    uint8_t  storing;                   /* feed + 1 that stores a coverage */
} state_t;

/* that the model does what it is about: how often */
enum { COVERED_LONG, STALE_USED, REFUSED, EXTENDED, BEGUN, TAKEN_OVER, NSEEN };

extern uint64_t  seen[NSEEN];

/* steps.c: all that can happen next; each one calls step() */
void expand(const state_t *s);

/* walk.c: a step leads to this state; bad: and does what must not be done */
void step(const state_t *next, const char *bad, const char *format, ...);

/* steps.c */
int messages(const state_t *s, int feed);
void take_message(state_t *s, int feed, int n);
void end_read(state_t *s, int worker);
int usable(int from, int to, int fetched_at, int now);
const char *too_old(const state_t *s, int replaced_at, int now);

#endif /* OPSAUTH_MODEL_H */
