/*
 * An exhaustive model of the cache's coherence (docs/cache.md): every
 * interleaving of two feeds, three workers and one key is walked, breadth
 * first, up to small bounds. No use of a copy may be older than the bound says.
 *
 *   what happens           | step_... | docs/cache.md
 *   -----------------------+----------+--------------------------------------
 *   a tick of the clock    | tick     | Times
 *   a write, acknowledged  | write    | The feed: its message is on the way to
 *                          |          | every feed before the writer's +OK
 *   a flush of everything  | write    | The feed: a null payload
 *   a read is sent         | worker   | No stale fill: counts are noted before
 *   ... is answered        | worker   | it sees what that server holds then
 *   ... fills the cache    | worker   | No stale fill, One server
 *   ... is lost            | worker   | a worker is killed, a link is lost
 *   ... is joined          | worker   | Misses: a later joiner
 *   a feed connects        | feed     | The feed: tracking is on from here
 *   a PING is sent         | feed     | The feed: its PONG stands behind all
 *                          |          | that was acknowledged before
 *   a message is read      | feed     | invalidation, flush, Validity (PONG)
 *   a feed is lost         | feed     | closed, half-dead or its worker killed:
 *                          |          | all the same, nothing arrives any more
 *   another primary        | failover | One server: the old one still answers
 *   a hit, word by word    | reader   | Validity: read without a lock
 *
 * Time. Steps between two ticks happen in the same millisecond, in any order.
 * A state holds ages; those beyond the lease matter only by their order, which
 * keeps the states finite. A copy does not hold a version but the moment at
 * which the write that replaced it was acknowledged: nothing else is asked.
 *
 * The properties. A copy that is used at a moment was not replaced more than a
 * lease before it; after a failover: not more than a lease after a feed was on
 * the new server, since nobody can tell earlier. With --one-write, moreover, no
 * copy is used that a feed has announced as changed.
 *
 * --break=NAME takes one rule out: the model must find what it is there for.
 */

#include <string.h>

#include "model.h"

int
messages(const state_t *s, int feed)
{
    int  n = 0;

    while (n < queue && s->t[MSG + feed * QUEUE + n] != NONE) {
        n++;
    }

    return n;
}


void
take_message(state_t *s, int feed, int n)
{
    uint8_t  *msg = s->t + MSG + feed * QUEUE;

    memmove(msg + n, msg + n + 1, QUEUE - n - 1);
    msg[QUEUE - 1] = NONE;
}


void
end_read(state_t *s, int i)
{
    s->read[i] = IDLE;
    s->counted[i] = s->late[i] = 0;
    s->t[SENT + i] = NONE;
    s->v[V_READ + i] = CURRENT;
}


/* --- the rules -------------------------------------------------------------------- */

static int
covered_at(int from, int to, int fetched_at, int now)
{
    return to != NONE
           && (fetched_at >= from || broken == FROM)
           && (now - to <= lease || broken == LEASE);
}


int
usable(int from, int to, int fetched_at, int now)
{
    return covered_at(from, to, fetched_at, now) || now - fetched_at <= lease;
}


/* may a copy that was replaced at v not be used any more at that moment? */

const char *
too_old(const state_t *s, int v, int now)
{
    if (v == CURRENT || s->v[V_NOTICED] == UNNOTICED) {
        return NULL;
    }

    if (v == ANNOUNCED) {
        return one_write ? "a copy is used that a feed has announced as changed"
                         : NULL;
    }

    if (now - v <= lease
        || (s->v[V_NOTICED] != CURRENT && now - s->v[V_NOTICED] <= lease))
    {
        return NULL;
    }

    return "a copy is used that was replaced more than a lease ago";
}


static void
step_tick(state_t s)
{
    int  i;

    for (i = 0; i < NT; i++) {
        s.t[i] -= (s.t[i] >= MARKS);
    }

    for (i = 0; i < NV; i++) {
        s.v[i] -= (s.v[i] >= MARKS);
    }

    if (s.stage && NOW - s.t[R_NOW] > turn) {
        return;                         /* no turn of the event loop is longer */
    }

    step(&s, NULL, "1 ms passes");
}


static void
lose_feed(state_t *s, int i)
{
    s->up[i] = s->feed_on[i] = s->knows[i] = 0;
    s->t[START + i] = s->t[BORN + i] = NONE;
    memset(s->t + MSG + i * QUEUE, NONE, QUEUE);
}


static void
mark_replaced(uint8_t *v)
{
    if (*v == CURRENT) {
        *v = NOW;
    }
}


/* a write to the primary, or a flush: it is in every feed's stream there, and
   then the client has its +OK */

static void
step_write(state_t s, int what)
{
    int  i, k;

    for (i = 0; i < FEEDS; i++) {

        for (k = 0; k < QUEUE; k++) {
            if (one_write && (s.t[MSG + i * QUEUE + k] == CHANGED
                              || s.t[MSG + i * QUEUE + k] == FLUSHED))
            {
                return;
            }
        }

        if (!s.up[i] || s.feed_on[i] != s.primary) {
            continue;
        }

        k = messages(&s, i);

        if (k < queue) {
            s.t[MSG + i * QUEUE + k] = what;

        } else if (no_loss) {
            return;

        } else {
            lose_feed(&s, i);           /* too slow: Redis closes it */
        }
    }

    if (s.t[SLOT] != NONE) {
        mark_replaced(&s.v[V_SLOT]);
    }

    if (s.t[R_SLOT] != NONE) {
        mark_replaced(&s.v[V_READER]);
    }

    for (i = 0; i < WORKERS; i++) {
        if (s.read[i] == ANSWERED) {
            mark_replaced(&s.v[V_READ + i]);
        }
    }

    if (failovers) {
        mark_replaced(&s.v[V_SERVER + !s.primary]);
    }

    step(&s, NULL, what == FLUSHED ? "FLUSHALL is acknowledged"
                                   : "a write is acknowledged");
}


static void
reconnect(state_t *s, int i)
{
    end_read(s, i);
    s->on[i] = s->primary;
    s->t[LINK + i] = NOW;
}


/* this worker's server was replaced, as far as the zone knows */

static int
replaced(const state_t *s, int i)
{
    if (s->covers == 0 || s->covers == s->on[i] + 1) {
        return 0;
    }

    if (broken == LAPSED) {
        return NOW - s->t[TO] <= lease;
    }

    return s->t[LINK + i] <= s->t[TAKEN];
}


static int
fill_refused(const state_t *s, int i)
{
    if (s->counted[i] && broken != COUNT) {
        return 1;
    }

    if (s->covers != 0 && s->covers != s->on[i] + 1 && broken != SERVER) {
        return broken != LAPSED || NOW - s->t[TO] <= lease;
    }

    /* the table keeps a copy whose read was sent later */

    return s->t[SLOT] != NONE && s->t[SLOT] > s->t[SENT + i];
}


static void
step_worker(const state_t *from, int i)
{
    state_t      s;
    const char  *bad;

    if (failovers
        && (from->on[i] != from->primary || from->t[LINK + i] <= from->t[TAKEN]))
    {
        s = *from;
        reconnect(&s, i);
        step(&s, NULL, "worker %d connects anew, to server %d", i, s.on[i]);
    }

    s = *from;

    switch (s.read[i]) {

    case IDLE:
        s.read[i] = ASKED;
        s.t[SENT + i] = NOW;
        s.late[i] = failovers && too_old(&s, s.v[V_SERVER + s.on[i]], NOW);
        step(&s, NULL, "worker %d sends a read to server %d", i, s.on[i]);
        break;

    case ASKED:
        s.read[i] = ANSWERED;
        s.v[V_READ + i] = s.v[V_SERVER + s.on[i]];
        s.late[i] &= (s.v[V_READ + i] != CURRENT);
        step(&s, NULL, "server %d answers worker %d", s.on[i], i);
        break;

    case ANSWERED:

        /* a request that comes now */

        if ((!s.counted[i] || broken == COUNT)
            && (NOW - s.t[SENT + i] <= lease || broken == JOIN_AGE)
            && !replaced(&s, i))
        {
            bad = too_old(&s, s.v[V_READ + i], NOW);
            if (bad) {
                step(&s, bad, "a request joins the read of worker %d", i);
            }
        }

        if (replaced(&s, i) && broken != SERVER) {
            seen[REFUSED]++;
            reconnect(&s, i);
            step(&s, NULL, "worker %d reads a replaced server's answer and "
                 "connects anew", i);
            break;
        }

        bad = s.late[i] ? "a replaced server's answer is used" : NULL;

        if (fill_refused(&s, i)) {
            seen[REFUSED]++;
            end_read(&s, i);
            step(&s, bad, "worker %d answers, its fill is refused", i);
            break;
        }

        s.t[SLOT] = s.t[SENT + i];
        s.v[V_SLOT] = s.v[V_READ + i];
        end_read(&s, i);
        step(&s, bad, "worker %d fills the cache", i);
        break;
    }

    if (from->read[i] != IDLE) {
        s = *from;
        end_read(&s, i);
        step(&s, NULL, "worker %d is killed, or its read is lost", i);
    }
}


/* clears what is cached and what is under way */

static void
invalidate(state_t *s, int count)
{
    int  i;

    s->t[SLOT] = NONE;
    s->v[V_SLOT] = CURRENT;

    for (i = 0; i < WORKERS; i++) {

        if (count && s->read[i] != IDLE) {
            s->counted[i] = 1;
        }

        if (one_write && s->v[V_READ + i] >= MARKS) {
            s->v[V_READ + i] = ANNOUNCED;
        }
    }
}


/* a new coverage: in two steps if somebody may read between them */

static void
begin(state_t *s, int i, int from, int to, const char *what)
{
    s->t[broken == STORE_ORDER ? TO : FROM_] = broken == STORE_ORDER ? to : from;

    if (split_reader) {

        /* the message stays, the second step finishes with it */

        memmove(s->t + MSG + i * QUEUE + 1, s->t + MSG + i * QUEUE, QUEUE - 1);
        s->t[MSG + i * QUEUE] = broken == STORE_ORDER ? from : to;
        s->storing = i + 1;
        step(s, NULL, "feed %d: %s, stores the first word", i, what);
        return;
    }

    s->t[FROM_] = from;
    s->t[TO] = to;
    step(s, NULL, "feed %d: %s", i, what);
}


/* the rule of Validity and of One server; sent_at: of the PING */

static void
certify(state_t *s, int i, int sent_at)
{
    int  start, from, takes;

    if (s->t[START + i] == NONE) {
        s->t[START + i] = NOW;

        if (late_start) {
            step(s, NULL, "feed %d: its first PONG, which certifies nothing", i);
        }
    }

    start = s->t[START + i];

    if (broken == SEND_TIME) {
        sent_at = NOW;
    }

    if (s->covers != s->feed_on[i] + 1) {

        takes = s->covers == 0
                || (broken == RESOLVED ? start : s->t[BORN + i]) > s->t[TAKEN];

        if (!takes) {
            lose_feed(s, i);
            step(s, NULL, "feed %d is on a replaced server and closes", i);
            return;
        }

        seen[TAKEN_OVER]++;
        from = NOW + 1;

        if (broken == GAP && s->covers) {
            from = s->t[FROM_];
        } else {
            invalidate(s, 1);
        }

        s->covers = s->feed_on[i] + 1;
        s->t[TAKEN] = failovers ? (broken == RESOLVED ? start : s->t[BORN + i])
                                : NONE;

        if (s->v[V_NOTICED] == UNNOTICED && s->knows[i]) {
            s->v[V_NOTICED] = NOW;
        }

        begin(s, i, from, sent_at, "PONG, takes coverage over");
        return;
    }

    if (failovers && s->t[BORN + i] > s->t[TAKEN] && broken != RESOLVED) {
        s->t[TAKEN] = s->t[BORN + i];
    }

    if (s->v[V_NOTICED] == UNNOTICED && s->knows[i]) {
        s->v[V_NOTICED] = NOW;
    }

    /* all that was announced since covered_from, was announced here as well */

    if (start < s->t[TO] || start < s->t[FROM_] || (broken == CHAIN && s->t[TO] != NONE)) {

        if (sent_at > s->t[TO]) {
            seen[EXTENDED]++;
            s->t[TO] = sent_at;
        }

        step(s, NULL, "feed %d: PONG, extends coverage", i);
        return;
    }

    if (NOW - s->t[TO] > lease) {
        seen[BEGUN]++;
        from = broken == ROUNDING ? start : start + 1;

        /* never back behind a take-over */

        if (from < s->t[FROM_]) {
            from = s->t[FROM_];
        }

        if (sent_at < s->t[TO]) {
            sent_at = s->t[TO];
        }

        begin(s, i, from, sent_at, "PONG, begins coverage anew");
        return;
    }

    step(s, NULL, "feed %d: PONG, another feed still covers", i);
}


static void
step_feed(const state_t *from, int i)
{
    int      n, k, under_way, what;
    state_t  s = *from;

    if (!s.up[i]) {
        s.up[i] = 1;
        s.feed_on[i] = s.primary;
        s.knows[i] = failovers != 0;
        s.t[BORN + i] = failovers ? NOW : NONE;
        s.t[MSG + i * QUEUE] = NOW;
        step(&s, NULL, "feed %d connects to server %d: tracks, sends a PING", i,
             s.primary);
        return;
    }

    n = messages(&s, i);

    for (under_way = 0, k = 0; k < n; k++) {
        under_way += (s.t[MSG + i * QUEUE + k] > FLUSHED);
    }

    if (n < queue && under_way < pings) {
        s.t[MSG + i * QUEUE + n] = NOW;
        step(&s, NULL, "feed %d sends a PING", i);
    }

    if (!no_loss) {
        s = *from;
        lose_feed(&s, i);
        step(&s, NULL, "feed %d is lost", i);
    }

    if (n == 0) {
        return;
    }

    s = *from;
    what = s.t[MSG + i * QUEUE];
    take_message(&s, i, 0);

    switch (what) {

    case CHANGED:
        invalidate(&s, 1);
        step(&s, NULL, "feed %d reads an invalidation", i);
        break;

    case FLUSHED:
        invalidate(&s, broken != FLUSH_COUNT);
        step(&s, NULL, "feed %d reads a null invalidation", i);
        break;

    default:
        certify(&s, i, what);
    }
}


/* the feed has stored one word of a coverage and holds the lock; or dies there */

static void
step_storing(const state_t *from)
{
    int      i = from->storing - 1;
    state_t  s = *from;

    s.storing = 0;
    s.t[broken == STORE_ORDER ? FROM_ : TO] = s.t[MSG + i * QUEUE];
    take_message(&s, i, 0);
    step(&s, NULL, "feed %d stores the second word", i);

    if (broken != STORE_ORDER) {
        s = *from;
        s.storing = 0;
        lose_feed(&s, i);
        step(&s, NULL, "feed %d dies with one word stored", i);
    }
}


/* a hit: the clock as it was when the event loop's turn began, then coverage
   and slot, in this order; a tick may come between any two */

static void
step_reader(state_t s)
{
    int          last;
    const char  *bad;

    static const char  right[] = "-tfs", wrong[] = "-stf";

    if (s.stage == 0) {
        s.stage = 1;
        s.t[R_NOW] = NOW;
        step(&s, NULL, "a request comes");
        return;
    }

    last = (s.stage == 3);

    switch ((broken == LOAD_ORDER ? wrong : right)[s.stage]) {
    case 't':
        s.t[R_TO] = s.t[TO];
        break;
    case 'f':
        s.t[R_FROM] = s.t[FROM_];
        break;
    case 's':
        s.t[R_SLOT] = s.t[SLOT];
        s.v[V_READER] = s.v[V_SLOT];
        break;
    }

    if (!last) {
        s.stage++;
        step(&s, NULL, "the request loads one of coverage and slot");
        return;
    }

    bad = NULL;

    if (s.t[R_SLOT] != NONE
        && usable(s.t[R_FROM], s.t[R_TO], s.t[R_SLOT], s.t[R_NOW]))
    {
        bad = too_old(&s, s.v[V_READER], s.t[R_NOW]);
    }

    s.stage = 0;
    s.t[R_NOW] = s.t[R_TO] = s.t[R_FROM] = s.t[R_SLOT] = NONE;
    s.v[V_READER] = CURRENT;
    step(&s, bad, "the request uses what it has loaded, or asks");
}


/* The new primary has it all; the old one stays, and knows nothing of it. One
   that becomes primary again was started again, as a replica, before. */

static void
step_failover(state_t s)
{
    int  i;

    s.failed++;
    s.primary = !s.primary;
    s.v[V_SERVER + s.primary] = CURRENT;
    s.v[V_NOTICED] = UNNOTICED;
    memset(s.knows, 0, sizeof(s.knows));

    for (i = 0; i < WORKERS && s.failed > 1; i++) {
        if (s.on[i] == s.primary) {
            end_read(&s, i);
            s.t[LINK + i] = PAST;
        }
    }

    for (i = 0; i < FEEDS && s.failed > 1; i++) {
        if (s.up[i] && s.feed_on[i] == s.primary) {
            lose_feed(&s, i);
        }
    }

    step(&s, NULL, "server %d is the primary now", s.primary);
}


void
expand(const state_t *s)
{
    int  i;

    step_tick(*s);
    step_write(*s, CHANGED);

    if (s->failed < failovers) {
        step_failover(*s);
    }

    if (split_reader) {
        step_reader(*s);
    }

    if (s->storing) {
        step_storing(s);
        return;                         /* everything else needs the lock */
    }

    step_write(*s, FLUSHED);

    for (i = 0; i < workers; i++) {
        step_worker(s, i);
    }

    for (i = 0; i < feeds; i++) {
        step_feed(s, i);
    }
}

