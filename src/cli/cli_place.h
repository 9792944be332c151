/*
 * What opsauth's directives say of a place: inherited as the module merges
 * them, each with the line that it stands in.
 */

#ifndef CLI_PLACE_H
#define CLI_PLACE_H

#include "cli_site.h"

#include "oa_policy.h"


/* an expression of "uri=": what oa_rule_t's uri points to */
typedef struct {
    oa_str_t                 text;
    int                      caseless;
} cli_pattern_t;


typedef struct {
    const cli_directive_t   *guard;         /* opsauth; NULL: nowhere */
    const char              *store;         /* NULL: not guarded */
    unsigned                 shadow:1;
    const cli_directive_t   *environment;   /* NULL for these three: default */
    const cli_directive_t   *admin;
    const cli_directive_t   *credential;
    const cli_directive_t   *off;           /* opsauth_require off */
    const cli_directive_t   *service;       /* opsauth_oauth: answers itself */
    const cli_directive_t   *introspection; /* whom unknown tokens are asked
                                               of; NULL: nobody */
    const cli_directive_t  **lines;         /* of the policy's rules */
    oa_policy_t              policy;
} cli_place_t;


int cli_place_read(const cli_site_t *site, cli_place_t *place);

/* oa_request_t's uri_match; data is the oa_str_t to match */
oa_rc_t cli_place_uri_match(const void *uri, void *data);


#endif /* CLI_PLACE_H */
