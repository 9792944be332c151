/*
 * The slot of a key in a Redis Cluster: CRC-16 (XMODEM) of the key modulo 16384,
 * or of what stands between its first "{" and the next "}", if that is anything
 * (Redis' cluster specification, "hash tags").
 */

#ifndef OA_SLOT_H
#define OA_SLOT_H

#include "oa_core.h"


#define OA_SLOTS  16384


/* what kind of redirection an error reply is */
typedef enum {
    OA_REDIRECT_NONE = 0,
    OA_REDIRECT_MOVED,          /* for good: the slot is there now */
    OA_REDIRECT_ASK             /* for this once, after ASKING */
} oa_redirect_kind_t;


typedef struct {
    oa_redirect_kind_t  kind;
    unsigned            slot;
    oa_str_t            host;   /* without brackets; empty: whoever said it */
    unsigned            port;
    int                 unnamed;    /* host is "?", and empty here: nodes are to
                                   be known by names, and this one has none */
} oa_redirect_t;


/* 0 to OA_SLOTS - 1 */
unsigned oa_slot(oa_str_t key);

/*
 * "MOVED 3999 127.0.0.1:6381", "ASK 3999 redis-2:6379", of IPv6 without
 * brackets, of a node without a known endpoint ":6381" or "?:6381"; views into
 * text. OA_INVALID: it is no such reply, or none that can be followed.
 */
oa_rc_t oa_redirect_parse(oa_str_t text, oa_redirect_t *redirect);

/* a node's host as CLUSTER SLOTS or a redirection has it: what can be an
   address or a name, and no more than a DNS name's length */
int oa_slot_is_host(oa_str_t host);


#endif /* OA_SLOT_H */
