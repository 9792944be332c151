/*
 * The ground of src/core: views, result codes and the limits that every layer
 * shares.  Nothing in src/core allocates, reads a clock or knows nginx; all
 * inputs are {len, data} views, all outputs are structures of the caller.
 */

#ifndef OA_CORE_H
#define OA_CORE_H

#include <stddef.h>
#include <stdint.h>

#include "oa_hot.h"


/* bytes that somebody else owns; not terminated; data == NULL means absent */
typedef struct {
    size_t                len;
    const unsigned char  *data;
} oa_str_t;

#define oa_string(s)  { sizeof(s) - 1, (const unsigned char *) (s) }
#define oa_null       { 0, NULL }


/* results of the core; an error is never turned into a yes */
typedef enum {
    OA_OK = 0,
    OA_DECLINED,            /* a clear no: absent, no match */
    OA_INVALID,             /* the input has not the form it must have */
    OA_ERROR                /* our own trouble: no room, libcrypto failed */
} oa_rc_t;


/* RFC 6750 sets no limit; ours keeps one hash cheap (docs/verdicts.md) */
#define OA_BEARER_MAX         512

#define OA_DIGEST_LEN         32          /* SHA-256 */
#define OA_DIGEST_HEX_LEN     64
#define OA_PEPPERS_MAX        8
#define OA_PEPPER_MIN         16          /* bytes in one line of the file */
#define OA_PEPPER_MAX         256

/* limits of record fields, in bytes */
#define OA_ID_MAX             64          /* credential's public id */
#define OA_NAME_MAX           256         /* names and descriptions (UTF-8) */
#define OA_ACCOUNT_MAX        128         /* account id, client id */
#define OA_VALUE_MAX          256         /* tenant, affiliate, subject */
#define OA_SET_MAX            768         /* scopes or roles, as text */
#define OA_IPS_MAX            1024        /* addresses, as text */
#define OA_CIDR_MAX           32          /* addresses in one list */
#define OA_RATE_MAX           64


typedef enum {
    OA_ENV_NONE = 0,
    OA_ENV_LIVE = 1,
    OA_ENV_TEST = 2,
    OA_ENV_ANY  = 3         /* a mask of both; only in a configuration */
} oa_environment_t;


#endif /* OA_CORE_H */
