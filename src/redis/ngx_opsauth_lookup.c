/*
 * Reads of records. A flight is one HMGET under way; requests that want the
 * same key wait on it together.
 *
 * Invariants:
 * - flights are in the index as long as somebody may join them: not after
 *   their reply came, nor after the owner said that they are too old to share;
 * - a flight without waiters goes on, and its reply still reaches decode();
 * - handlers are called from a connection's event, never from read(): waiters
 *   are taken off first, so they may ask anew, or cancel one another.
 */

#include "ngx_opsauth_lookup_flight.h"


static void ngx_opsauth_lookup_publish(ngx_opsauth_lookup_t *lookup);
static ngx_queue_t *ngx_opsauth_lookup_bucket(ngx_opsauth_lookup_t *lookup,
    const u_char *key);
static ngx_opsauth_flight_t *ngx_opsauth_lookup_find(
    ngx_opsauth_lookup_t *lookup, const u_char *key, ngx_uint_t type);
static void ngx_opsauth_lookup_unindex(ngx_opsauth_flight_t *flight);
static ngx_opsauth_flight_t *ngx_opsauth_lookup_start(
    ngx_opsauth_lookup_t *lookup, const ngx_opsauth_lookup_kind_t *kind,
    const u_char *key, ngx_str_t *name);
static ngx_opsauth_codec_form_t *ngx_opsauth_lookup_new_form(
    ngx_opsauth_lookup_t *lookup, const ngx_opsauth_lookup_kind_t *kind);
static ngx_opsauth_flight_t *ngx_opsauth_lookup_alloc(
    ngx_opsauth_lookup_t *lookup);
static void ngx_opsauth_lookup_free(ngx_opsauth_flight_t *flight);
static ngx_str_t *ngx_opsauth_lookup_values(ngx_opsauth_flight_t *flight,
    ngx_opsauth_reply_t *reply, ngx_str_t *room, ngx_opsauth_status_e *why);
static ngx_int_t ngx_opsauth_lookup_strings(ngx_opsauth_reply_t *reply,
    ngx_str_t *values);


ngx_opsauth_lookup_t *
ngx_opsauth_lookup_create(ngx_opsauth_redis_t *redis,
    const ngx_opsauth_lookup_hooks_t *hooks, ngx_log_t *log)
{
    ngx_uint_t             i;
    ngx_opsauth_lookup_t  *lookup;

    lookup = ngx_alloc(sizeof(ngx_opsauth_lookup_t), log);
    if (lookup == NULL) {
        return NULL;
    }

    lookup->redis = redis;
    lookup->stats = ngx_opsauth_redis_stats(redis);
    lookup->hooks = *hooks;
    lookup->log = log;
    ngx_memzero(&lookup->marker, sizeof(ngx_opsauth_codec_form_t));
    lookup->nflights = 0;
    lookup->nwaiters = 0;
    lookup->nforms = 0;

    if (ngx_opsauth_lookup_cluster_init(lookup) != NGX_OK) {
        ngx_free(lookup);
        return NULL;
    }

    ngx_queue_init(&lookup->free);

    for (i = 0; i < NGX_OPSAUTH_LOOKUP_BUCKETS; i++) {
        ngx_queue_init(&lookup->buckets[i]);
    }

    return lookup;
}


void
ngx_opsauth_lookup_destroy(ngx_opsauth_lookup_t *lookup)
{
    ngx_uint_t    i;
    ngx_queue_t  *q;

    for (i = 0; i < lookup->nforms; i++) {
        ngx_free(lookup->forms[i].command.data);
    }

    if (lookup->marker.data) {
        ngx_free(lookup->marker.data);
    }

    while (!ngx_queue_empty(&lookup->free)) {
        q = ngx_queue_head(&lookup->free);
        ngx_queue_remove(q);
        ngx_free(ngx_queue_data(q, ngx_opsauth_flight_t, index));
    }

    ngx_free(lookup);
}


ngx_int_t
ngx_opsauth_lookup_read(ngx_opsauth_lookup_t *lookup,
    const ngx_opsauth_lookup_kind_t *kind, const u_char *key, ngx_str_t *name,
    ngx_opsauth_waiter_t *waiter)
{
    ngx_opsauth_flight_t  *flight;

    if (waiter && lookup->nwaiters >= NGX_OPSAUTH_WAITERS_MAX) {
        ngx_opsauth_stats_add(&lookup->stats->refusals, 1);
        return NGX_BUSY;
    }

    flight = ngx_opsauth_lookup_find(lookup, key, kind->type);

    if (flight) {
        flight->sent_at = flight->command.sent_at;

        if (lookup->hooks.joinable(lookup->hooks.owner, flight) != NGX_OK) {
            /* those who wait for it began early enough */
            ngx_opsauth_lookup_unindex(flight);
            flight = NULL;
        }
    }

    if (flight == NULL) {
        flight = ngx_opsauth_lookup_start(lookup, kind, key, name);
        if (flight == NULL) {
            ngx_opsauth_stats_add(&lookup->stats->refusals, 1);
            return NGX_BUSY;
        }

        ngx_opsauth_stats_add(&lookup->stats->lookups, 1);

    } else if (waiter) {
        ngx_opsauth_stats_add(&lookup->stats->joins, 1);
    }

    if (waiter) {
        waiter->lookup = lookup;
        waiter->since = ngx_opsauth_stats_now();
        ngx_queue_insert_tail(&flight->waiters, &waiter->queue);
        lookup->nwaiters++;
    }

    ngx_opsauth_lookup_publish(lookup);

    return NGX_AGAIN;
}


void
ngx_opsauth_lookup_cancel(ngx_opsauth_waiter_t *waiter)
{
    if (waiter->lookup == NULL) {
        return;
    }

    ngx_queue_remove(&waiter->queue);
    waiter->lookup->nwaiters--;
    ngx_opsauth_lookup_publish(waiter->lookup);
    waiter->lookup = NULL;
}


static void
ngx_opsauth_lookup_publish(ngx_opsauth_lookup_t *lookup)
{
    ngx_opsauth_stats_set(&lookup->stats->reads, lookup->nflights);
    ngx_opsauth_stats_set(&lookup->stats->waiters, lookup->nwaiters);
}


/* keys are uniform: no hash of a hash */

static ngx_queue_t *
ngx_opsauth_lookup_bucket(ngx_opsauth_lookup_t *lookup, const u_char *key)
{
    return &lookup->buckets[(key[0] | (ngx_uint_t) key[1] << 8)
                            % NGX_OPSAUTH_LOOKUP_BUCKETS];
}


static ngx_opsauth_flight_t *
ngx_opsauth_lookup_find(ngx_opsauth_lookup_t *lookup, const u_char *key,
    ngx_uint_t type)
{
    ngx_queue_t           *q, *bucket;
    ngx_opsauth_flight_t  *flight;

    bucket = ngx_opsauth_lookup_bucket(lookup, key);

    for (q = ngx_queue_head(bucket);
         q != ngx_queue_sentinel(bucket);
         q = ngx_queue_next(q))
    {
        flight = ngx_queue_data(q, ngx_opsauth_flight_t, index);

        if (flight->type == type
            && ngx_memcmp(flight->key, key, NGX_OPSAUTH_KEY_LEN) == 0)
        {
            return flight;
        }
    }

    return NULL;
}


static void
ngx_opsauth_lookup_unindex(ngx_opsauth_flight_t *flight)
{
    if (flight->indexed) {
        ngx_queue_remove(&flight->index);
        flight->indexed = 0;
    }
}


static ngx_opsauth_flight_t *
ngx_opsauth_lookup_start(ngx_opsauth_lookup_t *lookup,
    const ngx_opsauth_lookup_kind_t *kind, const u_char *key, ngx_str_t *name)
{
    size_t                 len;
    ngx_opsauth_flight_t  *flight;

    len = name->len;

    if (len > sizeof(flight->name_data)
        || kind->prefix.len + len > NGX_OPSAUTH_LOOKUP_KEY_MAX
        || kind->nfields == 0 || kind->nfields > NGX_OPSAUTH_VALUES_MAX)
    {
        return NULL;
    }

    flight = ngx_opsauth_lookup_alloc(lookup);
    if (flight == NULL) {
        return NULL;
    }

    ngx_memcpy(flight->key, key, NGX_OPSAUTH_KEY_LEN);
    ngx_memcpy(flight->name_data, name->data, len);

    flight->type = kind->type;
    flight->nfields = kind->nfields;
    flight->name.len = len;
    flight->name.data = flight->name_data;
    flight->kind = kind;
    flight->server = 0;
    flight->cell = 0;
    flight->next = NULL;
    flight->moved = 0;

    if (lookup->cluster) {
        ngx_opsauth_lookup_slot(flight);
    }

    if (ngx_opsauth_lookup_ask(flight) != NGX_OK) {
        ngx_opsauth_lookup_free(flight);
        return NULL;
    }

    return flight;
}


ngx_int_t
ngx_opsauth_lookup_ask(ngx_opsauth_flight_t *flight)
{
    ngx_opsauth_lookup_t         *lookup = flight->lookup;
    ngx_opsauth_redis_error_e     error;
    ngx_opsauth_redis_command_t  *cmd;
    ngx_opsauth_codec_form_t     *form;

    form = ngx_opsauth_lookup_form(lookup, flight->kind);
    if (form == NULL) {
        return NGX_ERROR;
    }

    lookup->hooks.begin(lookup->hooks.owner, flight);

    flight->sent_at = 0;

    cmd = &flight->command;
    cmd->handler = ngx_opsauth_lookup_handler;
    cmd->data = flight;
    cmd->sent_at = 0;

    if ((lookup->cluster
         ? ngx_opsauth_lookup_send(flight)
         : ngx_opsauth_redis_send(lookup->redis, cmd, form, &flight->name,
                                  &error))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_queue_insert_head(ngx_opsauth_lookup_bucket(lookup, flight->key),
                          &flight->index);
    flight->indexed = 1;

    return NGX_OK;
}


/* all that does not change from one read to the next is encoded once */

ngx_opsauth_codec_form_t *
ngx_opsauth_lookup_form(ngx_opsauth_lookup_t *lookup,
    const ngx_opsauth_lookup_kind_t *kind)
{
    ngx_uint_t  i;

    for (i = 0; i < lookup->nforms; i++) {
        if (lookup->forms[i].kind == kind) {
            return &lookup->forms[i].command;
        }
    }

    return ngx_opsauth_lookup_new_form(lookup, kind);
}


static ngx_opsauth_codec_form_t *
ngx_opsauth_lookup_new_form(ngx_opsauth_lookup_t *lookup,
    const ngx_opsauth_lookup_kind_t *kind)
{
    ngx_str_t                   words[1 + NGX_OPSAUTH_VALUES_MAX];
    ngx_opsauth_lookup_form_t  *form;

    if (lookup->nforms == NGX_OPSAUTH_LOOKUP_KINDS_MAX) {
        return NULL;
    }

    form = &lookup->forms[lookup->nforms];
    form->kind = kind;

    ngx_str_set(&words[0], "HMGET");
    ngx_memcpy(&words[1], kind->fields, kind->nfields * sizeof(ngx_str_t));

    if (ngx_opsauth_codec_form(&form->command, 1 + kind->nfields, words,
                               &kind->prefix, lookup->log)
        != NGX_OK)
    {
        return NULL;
    }

    lookup->nforms++;

    return &form->command;
}


static ngx_opsauth_flight_t *
ngx_opsauth_lookup_alloc(ngx_opsauth_lookup_t *lookup)
{
    ngx_queue_t           *q;
    ngx_opsauth_flight_t  *flight;

    if (lookup->nflights >= NGX_OPSAUTH_FLIGHTS_MAX) {
        return NULL;
    }

    if (!ngx_queue_empty(&lookup->free)) {
        q = ngx_queue_head(&lookup->free);
        ngx_queue_remove(q);
        flight = ngx_queue_data(q, ngx_opsauth_flight_t, index);

    } else {
        flight = ngx_calloc(sizeof(ngx_opsauth_flight_t), lookup->log);
        if (flight == NULL) {
            return NULL;
        }

        flight->lookup = lookup;
    }

    ngx_queue_init(&flight->waiters);
    lookup->nflights++;

    return flight;
}


static void
ngx_opsauth_lookup_free(ngx_opsauth_flight_t *flight)
{
    flight->lookup->nflights--;

    /* the last one used is the one still in the processor's cache */
    ngx_queue_insert_head(&flight->lookup->free, &flight->index);
}


static ngx_inline void __attribute__((always_inline))
ngx_opsauth_lookup_conclude(ngx_opsauth_flight_t *flight, ngx_str_t *values,
    ngx_opsauth_status_e why, uint64_t heard)
{
    size_t                 len;
    u_char                *data;
    ngx_queue_t           *q, waiters;
    ngx_opsauth_lookup_t  *lookup;
    ngx_opsauth_waiter_t  *waiter;
    ngx_opsauth_status_e   status;

    lookup = flight->lookup;

    data = NULL;
    len = 0;

    status = lookup->hooks.decode(lookup->hooks.owner, flight, values,
                                  values ? flight->nfields : 0, why, &data,
                                  &len);

    if (status == NGX_OPSAUTH_MOVED) {

        if (!flight->moved && ngx_opsauth_lookup_ask(flight) == NGX_OK) {
            flight->moved = 1;
            return;
        }

        status = NGX_OPSAUTH_UNAVAILABLE;
    }

    ngx_queue_init(&waiters);

    if (!ngx_queue_empty(&flight->waiters)) {
        ngx_queue_add(&waiters, &flight->waiters);
    }

    ngx_opsauth_lookup_free(flight);

    if (ngx_queue_empty(&waiters)) {
        ngx_opsauth_lookup_publish(lookup);
    }

    while (!ngx_queue_empty(&waiters)) {
        q = ngx_queue_head(&waiters);

        waiter = ngx_queue_data(q, ngx_opsauth_waiter_t, queue);

        /* one that joined after the bytes were read has not waited */

        ngx_opsauth_stats_observe(&lookup->stats->lookup_time,
                                  heard > waiter->since
                                                  ? heard - waiter->since
                                                      : 0);

        ngx_opsauth_lookup_cancel(waiter);
        waiter->handler(waiter, status, data, len);
    }
}


void
ngx_opsauth_lookup_handler(ngx_opsauth_redis_command_t *cmd,
    ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error)
{
    ngx_str_t             *values, room[NGX_OPSAUTH_VALUES_MAX];
    ngx_opsauth_redis_t   *redis;
    ngx_opsauth_flight_t  *flight;
    ngx_opsauth_lookup_t  *lookup;
    ngx_opsauth_status_e   why;

    flight = cmd->data;
    lookup = flight->lookup;
    redis = cmd->redis;

    flight->sent_at = cmd->sent_at;
    flight->server = ngx_opsauth_redis_server(redis);
    flight->resolved = ngx_opsauth_redis_resolved(redis);

    ngx_opsauth_lookup_unindex(flight);

    if (lookup->cluster) {
        flight->cell = flight->asking ? 0 : ngx_opsauth_redis_cell(redis);

        if (error != NGX_OPSAUTH_REDIS_OK
            && ngx_opsauth_lookup_follow(flight, reply, error) == NGX_OK)
        {
            return;
        }
    }

    values = NULL;
    why = (error == NGX_OPSAUTH_REDIS_WRONGTYPE) ? NGX_OPSAUTH_INVALID
                                                 : NGX_OPSAUTH_UNAVAILABLE;

    if (error == NGX_OPSAUTH_REDIS_OK) {
        values = ngx_opsauth_lookup_values(flight, reply, room, &why);
    }

    if (lookup->cluster && values
        && ngx_opsauth_lookup_absent(flight, values) == NGX_OK)
    {
        return;
    }

    ngx_opsauth_lookup_conclude(flight, values, why,
                                reply ? ngx_opsauth_redis_heard_us(redis)
                                      : ngx_opsauth_stats_now());
}


void
ngx_opsauth_lookup_finish(ngx_opsauth_flight_t *flight, ngx_str_t *values,
    ngx_opsauth_status_e why, uint64_t heard)
{
    ngx_opsauth_lookup_conclude(flight, values, why, heard);
}


/* as many as there are fields; NULL: none, and why */

static ngx_str_t *
ngx_opsauth_lookup_values(ngx_opsauth_flight_t *flight,
    ngx_opsauth_reply_t *reply, ngx_str_t *room, ngx_opsauth_status_e *why)
{
    ngx_str_t  *values;

    if (reply->type != NGX_OPSAUTH_REPLY_ARRAY) {
        *why = NGX_OPSAUTH_UNAVAILABLE;
        return NULL;
    }

    *why = NGX_OPSAUTH_INVALID;

    /* what is cut is no record, nor is any of it absent */

    if (reply->n != flight->nfields || reply->cut) {
        return NULL;
    }

    values = reply->strings;

    if (values == NULL) {
        values = room;

        if (ngx_opsauth_lookup_strings(reply, values) != NGX_OK) {
            return NULL;
        }
    }

    if (flight->lookup->cluster) {
        *why = ngx_opsauth_cluster_is_marked(flight->lookup->cluster)
               ? NGX_OPSAUTH_UNKNOWN : NGX_OPSAUTH_UNAVAILABLE;
        return values;
    }

    *why = ngx_opsauth_redis_is_marked(flight->lookup->redis)
           ? NGX_OPSAUTH_UNKNOWN : NGX_OPSAUTH_UNAVAILABLE;

    return values;
}


/* NGX_DECLINED: not all of the elements are strings or nils */

static ngx_int_t
ngx_opsauth_lookup_strings(ngx_opsauth_reply_t *reply, ngx_str_t *values)
{
    ngx_uint_t            i;
    ngx_opsauth_reply_t  *element;

    for (i = 0; i < reply->n; i++) {
        element = &reply->elements[i];

        if (element->type == NGX_OPSAUTH_REPLY_STRING) {
            values[i] = element->str;

        } else if (element->type == NGX_OPSAUTH_REPLY_NIL) {
            ngx_str_null(&values[i]);

        } else {
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}
