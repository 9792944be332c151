/*
 * An exhaustive model of coverage in a Redis Cluster (docs/cache.md):
 * two nodes, a feed from each, one slot that goes from one to the other, one key
 * in it; every interleaving is walked, breadth first, up to small bounds. What
 * several feeds of one node do together is in steps.c, and not here.
 *
 *   what happens              | step_...  | of
 *   --------------------------+-----------+--------------------------------------
 *   a tick of the clock       | tick      |
 *   a write, acknowledged     | write     | Redis: told on the feed of the node that
 *                             |           | has the key
 *   the slot moves            | move      | Redis: MIGRATE tells of the key on both
 *                             |           | feeds; then the slot is given away
 *   it is taken over          | takeover  | Redis: nothing is told, and who had it
 *                             |           | answers as before, until it hears of it
 *   a worker learns of it     | learn     | CLUSTER SLOTS; MOVED is in step_read
 *   a read, by way of ASK too | read      |
 *   a feed: as in steps.c     | feed      |
 *
 * A copy may be used if it was read less than a lease ago, or since the coverage
 * began of the node that has its slot now, and since the slot is there. It must
 * not be one that was replaced more than a lease before; after a take-over, not
 * more than a lease after the map was learnt, since nobody can tell earlier.
 *
 * Times are ages in ms. --break=NAME takes one rule out.
 */

#include <string.h>

#include "cluster.h"


/* --- the rules --------------------------------------------------------------- */

int
usable(const state_t *s)
{
    int  cell, from;

    if (s->t[SLOT] == NONE) {
        return 0;
    }

    if (s->t[SLOT] - NOW <= LEASE) {
        return 1;
    }

    cell = broken == CELL ? s->cell : s->map;
    from = s->t[FROM + cell];

    if (s->t[TO + cell] == NONE || s->t[TO + cell] - NOW > LEASE) {
        return 0;
    }

    /* younger: a smaller age */

    if (s->t[MOVED] != NONE && s->t[MOVED] < from && broken != MOVE && broken != CELL) {
        from = s->t[MOVED];
    }

    return s->t[SLOT] <= from;
}


const char *
too_old(const state_t *s, int v)
{
    if (v == CURRENT || v <= LEASE || s->noticed == CURRENT || s->noticed <= LEASE) {
        return NULL;
    }

    return "a copy is used that was replaced more than a lease ago";
}


/* --- what Redis does ------------------------------------------------------------- */

static void
step_tick(state_t s)
{
    int  i;

    for (i = 0; i < NT; i++) {
        s.t[i] += (s.t[i] < PAST);
    }

#define AGE(v)  if ((v) < GONE) (v)++
    AGE(s.v_slot);
    AGE(s.v_ghost);
    AGE(s.noticed);
    for (i = 0; i < READS; i++) {
        AGE(s.v_read[i]);
    }

    step(&s, "1 ms passes");
}


static int
messages(const state_t *s, int feed)
{
    int  n = 0;

    while (n < QUEUE && s->t[MSG + feed * QUEUE + n] != NONE) {
        n++;
    }

    return n;
}


static void
lose_feed(state_t *s, int i)
{
    s->up[i] = 0;
    s->t[START + i] = NONE;
    memset(s->t + MSG + i * QUEUE, NONE, QUEUE);
}


static void
tell(state_t *s, int feed)
{
    int  n = messages(s, feed);

    if (!s->up[feed]) {
        return;
    }

    if (n == QUEUE) {
        lose_feed(s, feed);             /* too slow: Redis closes it */
        return;
    }

    s->t[MSG + feed * QUEUE + n] = CHANGED;
}


static void
step_write(state_t s)
{
    int  i;

#define REPLACE(v)  if ((v) == CURRENT) (v) = 0

    tell(&s, s.key);

    if (s.t[SLOT] != NONE) {
        REPLACE(s.v_slot);
    }

    if (s.ghost) {
        REPLACE(s.v_ghost);
    }

    for (i = 0; i < READS; i++) {
        if (s.read[i] == ANSWERED) {
            REPLACE(s.v_read[i]);
        }
    }

    step(&s, "a write at node %d is acknowledged", s.key);
}


static void
step_move(state_t s)
{
    if (s.key == s.owner) {
        if (s.moves == moves_max || takeovers) {
            return;
        }
        s.moves++;
        s.key = !s.key;
        tell(&s, 0);
        tell(&s, 1);
        step(&s, "the key is migrated to node %d, the slot is not", s.key);
        return;
    }

    s.owner = s.key;
    step(&s, "node %d has the slot", s.owner);
}


static void
step_takeover(state_t s)
{
    if (s.ghost) {
        s.ghost = 0;
        s.v_ghost = CURRENT;
        step(&s, "node %d hears that it has lost the slot", !s.owner);
        return;
    }

    if (!takeovers || s.moves == moves_max || s.key != s.owner || s.map != s.owner) {
        return;
    }

    s.moves++;
    s.ghost = 1;
    s.owner = s.key = !s.owner;
    s.noticed = CURRENT;
    seen[TAKEN]++;
    step(&s, "node %d has taken the slot over, the other one knows nothing of it", s.owner);
}


/* --- what workers do --------------------------------------------------------------- */

static void
set_map(state_t *s, int node)
{
    s->map = (uint8_t) node;
    s->t[MOVED] = broken == ROUNDING ? NOW : NEXT;

    if (s->noticed == CURRENT) {
        s->noticed = 0;
    }
}


static void
step_learn(state_t s)
{
    state_t  past = s;

    if (s.map != s.owner) {
        seen[LEARNT]++;
        set_map(&s, s.owner);
        step(&s, "CLUSTER SLOTS names node %d", s.owner);
    }

    if (broken == EPOCH && past.ghost && past.map == past.owner) {
        past.map = !past.owner;
        past.t[MOVED] = NEXT;
        step(&past, "CLUSTER SLOTS of the past names node %d", past.map);
    }
}


static void
step_read(const state_t *from, int i)
{
    int      node;
    state_t  s = *from;

    node = s.at[i];

    switch (s.read[i]) {

    case IDLE:
        s.read[i] = ASKED;
        s.at[i] = s.map;
        s.t[SENT + i] = NOW;
        step(&s, "read %d is sent to node %d", i, s.map);
        return;

    case ASKED:

        if (s.ghost && node != s.owner) {
            s.read[i] = ANSWERED;
            s.v_read[i] = s.v_ghost;
            step(&s, "node %d answers read %d with what it had", node, i);

        } else if (s.key == node && (s.owner == node || s.asking[i])) {
            s.read[i] = ANSWERED;
            s.v_read[i] = CURRENT;
            step(&s, "node %d answers read %d", node, i);

        } else if (s.owner == node) {
            seen[ASKED_ON]++;
            s.at[i] = !node;
            s.asking[i] = 1;
            s.t[SENT + i] = NOW;
            step(&s, "node %d answers read %d with ASK, it is sent to the other", node, i);

        } else {
            seen[SENT_AWAY]++;
            if (s.map == node) {
                set_map(&s, s.owner);
            }
            s.read[i] = IDLE;
            step(&s, "node %d answers read %d with MOVED", node, i);
        }

        break;

    case ANSWERED:

        if (s.map != node && !s.asking[i]) {
            s.read[i] = IDLE;
            step(&s, "read %d is thrown away: node %d has not got the slot", i, node);
            break;
        }

        if ((!s.asking[i] || broken == ASK)
            && (s.t[SLOT] == NONE || s.t[SLOT] >= s.t[SENT + i]))
        {
            s.t[SLOT] = s.t[SENT + i];
            s.v_slot = s.v_read[i];
            s.cell = (uint8_t) node;
        }

        s.read[i] = IDLE;
        step(&s, "read %d answers, and fills the cache if it may", i);
        break;
    }

    s = *from;
    s.read[i] = IDLE;
    step(&s, "read %d is lost", i);
}


static void
certify(state_t *s, int i, int sent)
{
    int  start;

    if (s->t[START + i] == NONE) {
        s->t[START + i] = NEXT;
    }

    start = s->t[START + i];

    if (s->t[TO + i] != NONE && (start >= s->t[TO + i] || start >= s->t[FROM + i])) {

        if (sent < s->t[TO + i]) {
            s->t[TO + i] = (uint8_t) sent;
        }

        step(s, "feed %d: PONG, extends the coverage of its node", i);
        return;
    }

    if (s->t[TO + i] == NONE || s->t[TO + i] - NOW > LEASE) {
        s->t[FROM + i] = (uint8_t) start;
        s->t[TO + i] = (uint8_t) sent;
        step(s, "feed %d: PONG, begins the coverage of its node", i);
        return;
    }

    step(s, "feed %d: PONG, its node is still covered", i);
}


static void
step_feed(const state_t *from, int i)
{
    int       k, n, pings, what;
    state_t   s = *from;
    uint8_t  *msg;

    msg = s.t + MSG + i * QUEUE;

    if (!s.up[i]) {
        s.up[i] = 1;
        msg[0] = NOW;
        step(&s, "feed %d connects: tracks, sends a PING", i);
        return;
    }

    n = messages(&s, i);

    for (pings = 0, k = 0; k < n; k++) {
        pings += (msg[k] != CHANGED);
    }

    if (n < QUEUE && pings == 0) {
        msg[n] = NOW;
        step(&s, "feed %d sends a PING", i);
    }

    s = *from;
    lose_feed(&s, i);
    step(&s, "feed %d is lost", i);

    if (n == 0) {
        return;
    }

    s = *from;
    what = msg[0];
    memmove(msg, msg + 1, QUEUE - 1);
    msg[QUEUE - 1] = NONE;

    if (what != CHANGED) {
        certify(&s, i, what);
        return;
    }

    s.t[SLOT] = NONE;

    for (k = 0; k < READS; k++) {
        s.counted[k] = 1;
    }

    step(&s, "feed %d tells that the key has changed", i);
}


void
expand(const state_t *s)
{
    int  i;

    step_tick(*s);
    step_write(*s);
    step_move(*s);
    step_takeover(*s);
    step_learn(*s);

    for (i = 0; i < READS; i++) {
        step_read(s, i);
    }

    for (i = 0; i < 2; i++) {
        step_feed(s, i);
    }
}
