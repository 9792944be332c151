/*
 * The state that the model of a cluster's coverage walks through, and what its two
 * halves share: cluster.c (what can happen, by which rules) and cluster_walk.c
 * (that all of it happens, in every order).
 */

#ifndef OPSAUTH_MODEL_CLUSTER_H
#define OPSAUTH_MODEL_CLUSTER_H

#include <stdint.h>

enum { READS = 1, LEASE = 1 };
#define QUEUE  1

/* ages, the next ms being 0; older than OLD they are told by their order. PAST is
   before all that it will be compared with */
enum { NEXT, NOW, OLD = NOW + LEASE + 1, PAST = 253, CHANGED = 254, NONE = 255 };

/* who replaced what: CURRENT, or an age in ms up to GONE */
enum { CURRENT = 255, GONE = LEASE + 1 };

enum {
    FROM, TO = FROM + 2, START = TO + 2, MSG = START + 2,
    MOVED = MSG + 2 * QUEUE, SLOT, SENT, NT = SENT + READS
};

enum { IDLE, ASKED, ANSWERED };

typedef struct {
    uint8_t  t[NT];
    uint8_t  v_slot;                    /* the copy was replaced so long ago */
    uint8_t  v_read[READS];
    uint8_t  v_ghost;                   /* what the node that lost the slot has */
    uint8_t  noticed;                   /* since then the map is right; CURRENT:
                                           there was nothing to be noticed */
    uint8_t  cell;                      /* whose the copy is */
    uint8_t  read[READS];
    uint8_t  at[READS];                 /* the node that is asked */
    uint8_t  counted[READS];
    uint8_t  asking[READS];
    uint8_t  up[2];
    uint8_t  owner, key, map, ghost, moves;
} state_t;

enum {
    NOTHING, MOVE, ROUNDING, CELL, ASK, EPOCH, NBREAKS
};

extern int  broken, moves_max, takeovers;

/* that the model does what it is about: how often */
enum { COVERED, STALE_USED, ASKED_ON, SENT_AWAY, TAKEN, LEARNT, NSEEN };

extern uint64_t  seen[NSEEN];

/* cluster.c: all that can happen next; each one calls step() */
void expand(const state_t *s);
int usable(const state_t *s);
const char *too_old(const state_t *s, int v);

/* cluster_walk.c: a step leads to this state */
void step(const state_t *next, const char *format, ...);

#endif /* OPSAUTH_MODEL_CLUSTER_H */
