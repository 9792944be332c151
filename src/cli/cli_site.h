/*
 * Which server and which location of a configuration a request meets, as
 * nginx chooses them.
 */

#ifndef CLI_SITE_H
#define CLI_SITE_H

#include "cli_tree.h"

#include "oa_core.h"


#define CLI_PLACE_DEPTH  64


/* what the choice depends on */
typedef struct {
    const char             *address;    /* that is connected to; NULL: any */
    unsigned                port;       /* 0: any */
    unsigned                hint:1;     /* address is only the URL's host */
    const char             *host;       /* NULL: not told */
    uint32_t                method;     /* oa_rule.h; 0: another */
    oa_str_t                uri;        /* normalised */
} cli_target_t;


typedef struct {
    const cli_directive_t  *server;
    const cli_directive_t  *name;       /* server_name that fits, or NULL */
    const cli_directive_t  *first;      /* the socket's default server */
    const char             *socket;     /* "127.0.0.1:8080" */
} cli_server_t;


/* where a request ends up: blocks within blocks, http first */
typedef struct {
    const cli_directive_t  *blocks[CLI_PLACE_DEPTH];
    size_t                  n;
    const cli_directive_t  *location;   /* innermost, or NULL */
    const cli_directive_t  *except;     /* limit_except that applies, or NULL */
    unsigned                redirect:1; /* nginx adds a "/" by 301 */
} cli_site_t;


/* CLI_USAGE where what is told fits none, or several */
int cli_server_find(const cli_directive_t *http, const cli_target_t *target,
    cli_server_t *server);

int cli_site_find(const cli_directive_t *http, const cli_directive_t *server,
    const cli_target_t *target, cli_site_t *site);

/* a host that is an address, as it would stand in "listen" */
int cli_host_is_address(const char *host);


#endif /* CLI_SITE_H */
