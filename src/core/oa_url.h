/*
 * Where Redis is: redis://host[:port][/db], redis://[v6]:port/db, the same
 * with rediss:// for TLS, unix:/path[?db=n]. redis+sentinel:// and
 * redis+cluster:// are known by name, so that an error can say what they are.
 */

#ifndef OA_URL_H
#define OA_URL_H

#include "oa_core.h"


#define OA_REDIS_PORT    6379
#define OA_REDIS_DB_MAX  16383


typedef enum {
    OA_REDIS_TCP = 1,
    OA_REDIS_UNIX
} oa_redis_transport_t;


typedef struct {
    oa_redis_transport_t  transport;
    oa_str_t              host;         /* without brackets; TCP only */
    unsigned              port;         /* TCP only */
    oa_str_t              path;         /* unix only */
    unsigned              db;
    unsigned              tls:1;        /* TCP only */
} oa_redis_url_t;


/*
 * Views into text. OA_INVALID and *error (static text that says what to write
 * instead) for everything else; a user or password in the URL is refused,
 * since URLs end up in process lists and logs.
 */
oa_rc_t oa_redis_url_parse(oa_str_t text, oa_redis_url_t *url,
    const char **error);


#endif /* OA_URL_H */
