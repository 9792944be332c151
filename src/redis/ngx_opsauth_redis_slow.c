/*
 * Deadlines, and the breaker: nobody is made to wait for a Redis that lets
 * most wait in vain.
 *
 * | breaker   | event                              | action            | next
 * |-----------|------------------------------------|-------------------|----------
 * | closed    | 5 commands in a row, or half of at | log, as trouble   | open
 * |           | least 20 within 5 s, not answered  |                   |
 * |           | in time                            |                   |
 * | open      | a command                          | declined at once  | open
 * |           | the timer: at first within 250 ms, | read the marker,  | open
 * |           | later within 2 s                   | or connect for it |
 * |           | the marker's read, in time         | -                 | half-open
 * | half-open | a command, as many are out as are  | declined at once  | half-open
 * |           | awaited                            |                   |
 * |           | one is answered in time            | log, as alive     | half-open
 * |           | the tenth                          | -                 | closed
 * |           | one is not                         | log, as trouble   | open
 * | any       | another server serves the store    | -                 | closed
 *
 * One good answer is no proof that it bears the load under which it failed. What
 * is out when the breaker opens may still be answered, but does not close it.
 */

#include "ngx_opsauth_redis_conn.h"


#define NGX_OPSAUTH_REDIS_BREAKER_ROW     5
#define NGX_OPSAUTH_REDIS_BREAKER_ALL     20
#define NGX_OPSAUTH_REDIS_BREAKER_WINDOW  5000
#define NGX_OPSAUTH_REDIS_BREAKER_TRIAL   10
#define NGX_OPSAUTH_REDIS_PROBE_MIN       250
#define NGX_OPSAUTH_REDIS_PROBE_MAX       2000


static void ngx_opsauth_redis_timer_handler(ngx_event_t *ev);
static void ngx_opsauth_redis_overdue(ngx_opsauth_redis_t *redis);
static void ngx_opsauth_redis_late(ngx_opsauth_redis_t *redis, ngx_uint_t n);
static void ngx_opsauth_redis_count(ngx_opsauth_redis_t *redis, ngx_uint_t n,
    ngx_uint_t late);
static void ngx_opsauth_redis_probe_handler(ngx_event_t *ev);
static void ngx_opsauth_redis_probe_later(ngx_opsauth_redis_t *redis);


void
ngx_opsauth_redis_slow_init(ngx_opsauth_redis_t *redis)
{
    redis->timer.handler = ngx_opsauth_redis_timer_handler;
    redis->timer.data = redis;
    redis->timer.log = redis->link.log;

    redis->probe.handler = ngx_opsauth_redis_probe_handler;
    redis->probe.data = redis;
    redis->probe.log = redis->link.log;
    redis->probe.cancelable = 1;
}


static void
ngx_opsauth_redis_timer_handler(ngx_event_t *ev)
{
    ngx_opsauth_redis_t  *redis;

    redis = ev->data;

    ngx_opsauth_link_enter(&redis->link);

    /*
     * A process that was held up hears of its timers before its sockets, where
     * a signal ended epoll_wait(): a reply that is there is not late. Without
     * an event nginx takes it that there is nothing to read.
     */

    if (redis->link.state == NGX_OPSAUTH_LINK_READY) {
        redis->link.connection->read->available = -1;
        ngx_opsauth_link_read(&redis->link);
    }

    ngx_opsauth_redis_overdue(redis);
    ngx_opsauth_redis_rest(&redis->link);

    ngx_opsauth_link_leave(&redis->link);
}


static void
ngx_opsauth_redis_overdue(ngx_opsauth_redis_t *redis)
{
    ngx_msec_t                 timeout, age;
    ngx_uint_t                 before, late;
    ngx_opsauth_redis_slot_t  *slot;

    timeout = redis->link.conf->timeout;
    before = redis->ndead;
    late = 0;

    while (redis->ndead < redis->nsent) {
        slot = ngx_opsauth_redis_slot(redis, redis->ndead);

        if ((ngx_msec_int_t) (ngx_current_msec - slot->sent_at - timeout) < 0)
        {
            break;
        }

        if (slot->command == &redis->marker) {
            redis->marking = 0;

        } else if (slot->command != &redis->asking) {
            late++;
            slot->command->error = NGX_OPSAUTH_REDIS_TIMEOUT;
            ngx_queue_insert_tail(&redis->ending, &slot->command->queue);
        }

        slot->command = NULL;
        redis->ndead++;

        if (!redis->late) {
            redis->late = 1;
            redis->late_at = slot->sent_at;
        }
    }

    ngx_opsauth_redis_late(redis, late);

    /* where replies were lost, those of later commands fill the tombstones */

    if (redis->ndead) {
        age = ngx_current_msec - redis->late_at;

        if ((ngx_msec_int_t) (age - 4 * timeout) >= 0
            || redis->ndead >= NGX_OPSAUTH_REDIS_PENDING_MAX)
        {
            ngx_opsauth_link_fail(&redis->link, NGX_OPSAUTH_REDIS_TIMEOUT, 0,
                                  "it does not answer");
            return;
        }
    }

    if (redis->ndead > before) {
        ngx_opsauth_link_trouble(&redis->link, NGX_OPSAUTH_REDIS_TIMEOUT, 0,
                                 "it does not answer in time");
    }

    ngx_opsauth_redis_set_timer(redis);

    ngx_opsauth_redis_end(redis);
}


/*
 * Left as it is where it comes early enough: then its handler sets it anew,
 * and a reply costs no timer at all.
 */

void
ngx_opsauth_redis_set_timer(ngx_opsauth_redis_t *redis)
{
    ngx_msec_t    at, live_at;
    ngx_event_t  *timer;

    timer = &redis->timer;
    timer->cancelable = (ngx_opsauth_redis_live(redis) == 0);

    if (redis->nsent == 0) {
        return;
    }

    at = ngx_opsauth_redis_slot(redis, 0)->sent_at + redis->link.conf->timeout;

    if (redis->ndead) {
        at += 3 * redis->link.conf->timeout;

        if (redis->ndead < redis->nsent) {
            live_at = ngx_opsauth_redis_slot(redis, redis->ndead)->sent_at
                      + redis->link.conf->timeout;

            if ((ngx_msec_int_t) (live_at - at) < 0) {
                at = live_at;
            }
        }
    }

    if (timer->timer_set) {
        if ((ngx_msec_int_t) (timer->timer.key - at) <= 0) {
            return;
        }

        ngx_del_timer(timer);
    }

    if ((ngx_msec_int_t) (at - ngx_current_msec) < 1) {
        at = ngx_current_msec + 1;
    }

    ngx_add_timer(timer, at - ngx_current_msec);
}


void
ngx_opsauth_redis_in_time(ngx_opsauth_redis_t *redis)
{
    redis->timeouts = 0;
    ngx_opsauth_redis_count(redis, 1, 0);

    if (redis->half_open && !redis->open) {
        redis->half_open--;
    }
}


ngx_uint_t
ngx_opsauth_redis_breaker_refuses(ngx_opsauth_redis_t *redis)
{
    return redis->open
           || (redis->half_open
               && ngx_opsauth_redis_live(redis) >= redis->half_open);
}


static void
ngx_opsauth_redis_late(ngx_opsauth_redis_t *redis, ngx_uint_t n)
{
    if (n == 0) {
        return;
    }

    redis->timeouts += n;
    ngx_opsauth_redis_count(redis, n, n);

    if (redis->open
        || (redis->half_open == 0
            && redis->timeouts < NGX_OPSAUTH_REDIS_BREAKER_ROW
            && (redis->window_all < NGX_OPSAUTH_REDIS_BREAKER_ALL
                || redis->window_late * 2 < redis->window_all)))
    {
        return;
    }

    if (redis->half_open == 0) {
        redis->probe_step = NGX_OPSAUTH_REDIS_PROBE_MIN;

        /* this one is no passing slowness: it is worth its line */
        redis->link.slow_at = 0;
    }

    redis->open = 1;
    redis->half_open = 0;
    ngx_opsauth_stats_add(&redis->stats->openings, 1);

    ngx_opsauth_redis_probe_later(redis);
}


static void
ngx_opsauth_redis_count(ngx_opsauth_redis_t *redis, ngx_uint_t n,
    ngx_uint_t late)
{
    if (ngx_current_msec - redis->window_at
        >= NGX_OPSAUTH_REDIS_BREAKER_WINDOW)
    {
        redis->window_at = ngx_current_msec;
        redis->window_all = 0;
        redis->window_late = 0;
    }

    redis->window_all += n;
    redis->window_late += late;
}


static void
ngx_opsauth_redis_probe_handler(ngx_event_t *ev)
{
    ngx_opsauth_redis_t  *redis;

    redis = ev->data;

    ngx_opsauth_link_enter(&redis->link);

    ngx_opsauth_redis_probe_later(redis);

    switch (redis->link.state) {

    case NGX_OPSAUTH_LINK_READY:

        /* an earlier one that is still out is overdue in its own time */

        if (!redis->marking) {
            ngx_opsauth_redis_push_marker(redis);
            ngx_opsauth_redis_flush(redis);
        }

        break;

    case NGX_OPSAUTH_LINK_DOWN:

        /* the greeting asks for the marker */

        redis->link.timer.cancelable = (redis->nslots == 0);
        ngx_opsauth_redis_connect(redis);
        break;

    default:
        break;
    }

    ngx_opsauth_link_leave(&redis->link);
}


/* full jitter: workers do not look at it all at once */

static void
ngx_opsauth_redis_probe_later(ngx_opsauth_redis_t *redis)
{
    ngx_add_timer(&redis->probe,
                  1 + (ngx_msec_t) ngx_random() % redis->probe_step);

    redis->probe_step = ngx_min(redis->probe_step * 2,
                                NGX_OPSAUTH_REDIS_PROBE_MAX);
}


void
ngx_opsauth_redis_probed(ngx_opsauth_redis_t *redis)
{
    ngx_uint_t  awaited;

    awaited = redis->open ? NGX_OPSAUTH_REDIS_BREAKER_TRIAL : redis->half_open;

    ngx_opsauth_redis_breaker_close(redis);

    redis->half_open = awaited;
}


void
ngx_opsauth_redis_breaker_close(ngx_opsauth_redis_t *redis)
{
    redis->open = 0;
    redis->half_open = 0;
    redis->timeouts = 0;
    redis->window_all = 0;
    redis->window_late = 0;

    if (redis->probe.timer_set) {
        ngx_del_timer(&redis->probe);
    }
}
