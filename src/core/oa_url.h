/*
 * Where Redis is: redis://host[:port][/db], redis://[v6]:port/db,
 * redis+sentinel://name@host[:port],host[:port]/db,
 * redis+cluster://host[:port],host[:port], the same with rediss://,
 * rediss+sentinel:// or rediss+cluster:// for TLS, unix:/path[?db=n].
 */

#ifndef OA_URL_H
#define OA_URL_H

#include "oa_core.h"


#define OA_REDIS_PORT    6379
#define OA_SENTINEL_PORT  26379
#define OA_REDIS_DB_MAX  16383
/* in a list; Sentinel groups have 3 or 5, and of a cluster a few will do */
#define OA_REDIS_HOSTS_MAX  16


typedef enum {
    OA_REDIS_TCP = 1,
    OA_REDIS_UNIX,
    OA_REDIS_SENTINEL,
    OA_REDIS_CLUSTER
} oa_redis_transport_t;


typedef struct {
    oa_str_t              host;         /* without brackets */
    unsigned              port;
} oa_redis_host_t;


typedef struct {
    oa_redis_transport_t  transport;
    oa_str_t              host;         /* without brackets; TCP only */
    unsigned              port;         /* TCP only */
    oa_str_t              path;         /* unix only */
    oa_str_t              name;         /* of the primary; Sentinel only */
    oa_redis_host_t       hosts[OA_REDIS_HOSTS_MAX];  /* of the sentinels, or
                                                       nodes to begin with */
    unsigned              nhosts;
    unsigned              db;
    unsigned              tls:1;        /* not unix */
} oa_redis_url_t;


/*
 * Views into text. OA_INVALID and *error (static text that says what to write
 * instead) for everything else; a user or password in the URL is refused,
 * since URLs end up in process lists and logs.
 */
oa_rc_t oa_redis_url_parse(oa_str_t text, oa_redis_url_t *url,
    const char **error);


#endif /* OA_URL_H */
