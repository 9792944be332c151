/*
 * Reads of records, where Redis is a cluster:
 *
 * | a node answers                  | next
 * |---------------------------------|------------------------------------------
 * | with the record                 | that is it
 * | MOVED, ASK                      | it is asked of the node that is named
 * | not at all, and another one has | it is asked of that
 * | the slot by now                 |
 * | that there is none              | the store's marker is read, which stands
 * |                                 | on a node of its own, if it was not lately
 *
 * A flight is asked of so many nodes and no more.
 */

#include "ngx_opsauth_lookup_flight.h"


static ngx_int_t ngx_opsauth_lookup_send_to(ngx_opsauth_flight_t *flight,
    ngx_opsauth_redis_t *redis, ngx_uint_t asking);
static ngx_opsauth_redis_t *ngx_opsauth_lookup_next(
    ngx_opsauth_flight_t *flight, ngx_uint_t slot, ngx_opsauth_reply_t *reply,
    ngx_opsauth_redis_error_e error, ngx_uint_t *asking);
static ngx_int_t ngx_opsauth_lookup_read_marker(ngx_opsauth_flight_t *flight,
    ngx_opsauth_redis_t *redis, ngx_uint_t asking);
static void ngx_opsauth_lookup_marker(ngx_opsauth_redis_command_t *cmd,
    ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error);


ngx_int_t
ngx_opsauth_lookup_cluster_init(ngx_opsauth_lookup_t *lookup)
{
    oa_str_t    key;
    ngx_str_t   words[2];
    ngx_str_t  *marker;

    lookup->cluster = ngx_opsauth_redis_cluster(lookup->redis);

    if (lookup->cluster == NULL) {
        return NGX_OK;
    }

    marker = ngx_opsauth_cluster_marker(lookup->cluster);

    key.data = marker->data;
    key.len = marker->len;
    lookup->marker_slot = oa_slot(key);

    ngx_str_set(&words[0], "HMGET");
    ngx_str_set(&words[1], "v");

    return ngx_opsauth_codec_form(&lookup->marker, 2, words, marker,
                                  lookup->log);
}


void
ngx_opsauth_lookup_slot(ngx_opsauth_flight_t *flight)
{
    u_char      data[NGX_OPSAUTH_LOOKUP_KEY_MAX];
    oa_str_t    key;
    ngx_str_t  *prefix;

    prefix = (ngx_str_t *) &flight->kind->prefix;

    /* a hash tag may begin in one of them and end in the other */

    ngx_memcpy(ngx_cpymem(data, prefix->data, prefix->len), flight->name.data,
               flight->name.len);

    key.data = data;
    key.len = prefix->len + flight->name.len;

    flight->slot = oa_slot(key);
    flight->redirects = 0;
    flight->asking = 0;
}


ngx_int_t
ngx_opsauth_lookup_send(ngx_opsauth_flight_t *flight)
{
    ngx_opsauth_redis_t  *redis;

    redis = flight->next;
    flight->next = NULL;

    if (redis == NULL) {
        flight->asking = 0;
        redis = ngx_opsauth_cluster_route(flight->lookup->cluster,
                                          flight->slot);
    }

    return redis ? ngx_opsauth_lookup_send_to(flight, redis, flight->asking)
                 : NGX_DECLINED;
}


static ngx_int_t
ngx_opsauth_lookup_send_to(ngx_opsauth_flight_t *flight,
    ngx_opsauth_redis_t *redis, ngx_uint_t asking)
{
    ngx_opsauth_codec_form_t   *form;
    ngx_opsauth_redis_error_e   error;

    form = ngx_opsauth_lookup_form(flight->lookup, flight->kind);

    if (form == NULL
        || (asking && ngx_opsauth_redis_asking(redis, &error) != NGX_OK))
    {
        return NGX_DECLINED;
    }

    return ngx_opsauth_redis_send(redis, &flight->command, form, &flight->name,
                                  &error);
}


ngx_int_t
ngx_opsauth_lookup_follow(ngx_opsauth_flight_t *flight,
    ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error)
{
    ngx_uint_t            asking;
    ngx_opsauth_redis_t  *redis;

    redis = ngx_opsauth_lookup_next(flight, flight->slot, reply, error,
                                    &asking);
    if (redis == NULL) {
        return NGX_DECLINED;
    }

    flight->next = redis;
    flight->asking = asking;

    return ngx_opsauth_lookup_ask(flight);
}


/* NULL: this answer is the last */

static ngx_opsauth_redis_t *
ngx_opsauth_lookup_next(ngx_opsauth_flight_t *flight, ngx_uint_t slot,
    ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error,
    ngx_uint_t *asking)
{
    ngx_opsauth_redis_t    *redis;
    ngx_opsauth_cluster_t  *cluster;

    cluster = flight->lookup->cluster;
    *asking = 0;

    if (error == NGX_OPSAUTH_REDIS_OK
        || flight->redirects >= NGX_OPSAUTH_CLUSTER_REDIRECTS)
    {
        return NULL;
    }

    flight->redirects++;

    if (error == NGX_OPSAUTH_REDIS_MOVED) {
        return reply ? ngx_opsauth_cluster_follow(cluster,
                                                  flight->command.redis, slot,
                                                  reply, asking)
                     : NULL;
    }

    if (error != NGX_OPSAUTH_REDIS_DOWN && error != NGX_OPSAUTH_REDIS_CLOSED
        && error != NGX_OPSAUTH_REDIS_TIMEOUT)
    {
        return NULL;
    }

    redis = ngx_opsauth_cluster_route(cluster, slot);

    return (redis == flight->command.redis) ? NULL : redis;
}


ngx_int_t
ngx_opsauth_lookup_absent(ngx_opsauth_flight_t *flight,
    const ngx_str_t *values)
{
    ngx_uint_t             i;
    ngx_opsauth_redis_t   *redis;
    ngx_opsauth_lookup_t  *lookup;

    lookup = flight->lookup;

    if (ngx_opsauth_cluster_is_marked(lookup->cluster)) {
        return NGX_DECLINED;
    }

    for (i = 0; i < flight->nfields; i++) {
        if (values[i].data) {
            return NGX_DECLINED;
        }
    }

    redis = ngx_opsauth_cluster_route(lookup->cluster, lookup->marker_slot);

    return redis ? ngx_opsauth_lookup_read_marker(flight, redis, 0)
                 : NGX_DECLINED;
}


static ngx_int_t
ngx_opsauth_lookup_read_marker(ngx_opsauth_flight_t *flight,
    ngx_opsauth_redis_t *redis, ngx_uint_t asking)
{
    ngx_str_t                   name;
    ngx_opsauth_redis_error_e   error;

    ngx_str_set(&name, "");

    flight->command.handler = ngx_opsauth_lookup_marker;

    if (asking && ngx_opsauth_redis_asking(redis, &error) != NGX_OK) {
        return NGX_DECLINED;
    }

    return ngx_opsauth_redis_send(redis, &flight->command,
                                  &flight->lookup->marker, &name, &error);
}


static void
ngx_opsauth_lookup_marker(ngx_opsauth_redis_command_t *cmd,
    ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error)
{
    ngx_str_t              values[NGX_OPSAUTH_VALUES_MAX];
    ngx_uint_t             asking, marked;
    ngx_opsauth_redis_t   *redis;
    ngx_opsauth_flight_t  *flight;

    flight = cmd->data;

    redis = ngx_opsauth_lookup_next(flight, flight->lookup->marker_slot, reply,
                                    error, &asking);

    if (redis
        && ngx_opsauth_lookup_read_marker(flight, redis, asking) == NGX_OK)
    {
        return;
    }

    if (error != NGX_OPSAUTH_REDIS_OK
        || reply->type != NGX_OPSAUTH_REPLY_ARRAY || reply->n != 1
        || reply->cut)
    {
        ngx_opsauth_lookup_finish(flight, NULL, NGX_OPSAUTH_UNAVAILABLE,
                                  ngx_opsauth_stats_now());
        return;
    }

    marked = reply->strings
             ? reply->strings[0].data != NULL
             : reply->elements[0].type != NGX_OPSAUTH_REPLY_NIL;

    ngx_opsauth_cluster_mark(flight->lookup->cluster, cmd->redis, marked);

    ngx_memzero(values, sizeof(values));

    ngx_opsauth_lookup_finish(flight, values,
                              marked ? NGX_OPSAUTH_UNKNOWN
                                     : NGX_OPSAUTH_UNAVAILABLE,
                              ngx_opsauth_redis_heard_us(cmd->redis));
}
