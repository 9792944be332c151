/*
 * opsauth_require and opsauth_admin as text: their parameters, words and
 * methods. The module and "opsauth explain" read them by this file; what to do
 * with them, and what to say of a wrong one, is theirs.
 */

#ifndef OA_RULE_H
#define OA_RULE_H

#include "oa_core.h"


/* the bits are nginx's own, so that a request's method needs no table */
#define OA_METHOD_GET        0x0002
#define OA_METHOD_HEAD       0x0004
#define OA_METHOD_POST       0x0008
#define OA_METHOD_PUT        0x0010
#define OA_METHOD_DELETE     0x0020
#define OA_METHOD_MKCOL      0x0040
#define OA_METHOD_COPY       0x0080
#define OA_METHOD_MOVE       0x0100
#define OA_METHOD_OPTIONS    0x0200
#define OA_METHOD_PROPFIND   0x0400
#define OA_METHOD_PROPPATCH  0x0800
#define OA_METHOD_LOCK       0x1000
#define OA_METHOD_UNLOCK     0x2000
#define OA_METHOD_PATCH      0x4000
#define OA_METHOD_TRACE      0x8000


typedef enum {
    OA_PARAM_UNKNOWN = 0,
    OA_PARAM_SCOPE,             /* scope= */
    OA_PARAM_ROLE,              /* role= */
    OA_PARAM_METHOD,            /* method= */
    OA_PARAM_URI                /* uri= */
} oa_param_t;


/* which parameter it is; *value is what stands behind the "=" */
oa_param_t oa_rule_param(oa_str_t param, oa_str_t *value);

/* the bit of a method; 0 for one that rules can't name */
uint32_t oa_method(oa_str_t name);

/* "GET,HEAD" or "GET|HEAD" -> mask; OA_INVALID and *bad, the one at fault */
oa_rc_t oa_rule_methods(oa_str_t names, uint32_t *methods, oa_str_t *bad);

/*
 * "a|b,c" -> the set "a b c", in room[2 * words.len]. OA_INVALID: an empty
 * word, a blank, or what no scope or role can be made of.
 */
oa_rc_t oa_rule_words(oa_str_t words, unsigned char *room, oa_str_t *set);

/* "~regex", "~*regex" -> the expression; OA_INVALID: neither */
oa_rc_t oa_rule_uri(oa_str_t uri, oa_str_t *pattern, int *caseless);


#endif /* OA_RULE_H */
