/*
 * What the explanation does not follow: directives by which nginx changes a
 * request, answers it itself, or asks others too. Those that stand in the way
 * of this request are named, so that nobody takes them for looked at.
 */

#include "cli_explain.h"
#include "cli_memory.h"

#include <string.h>


/* where a directive of this name changes what happens to a request */
#define IN_HTTP      1                  /* inherited from there */
#define IN_SERVER    2
#define IN_LOCATION  4

static const struct {
    const char  *name;
    unsigned     in;
} unfollowed_names[] = {
    { "auth_basic", IN_HTTP|IN_SERVER|IN_LOCATION },
    { "auth_request", IN_HTTP|IN_SERVER|IN_LOCATION },
    { "auth_jwt", IN_HTTP|IN_SERVER|IN_LOCATION },
    { "allow", IN_HTTP|IN_SERVER|IN_LOCATION },
    { "deny", IN_HTTP|IN_SERVER|IN_LOCATION },
    { "limit_req", IN_HTTP|IN_SERVER|IN_LOCATION },
    { "limit_conn", IN_HTTP|IN_SERVER|IN_LOCATION },
    { "satisfy", IN_HTTP|IN_SERVER|IN_LOCATION },
    { "error_page", IN_HTTP|IN_SERVER|IN_LOCATION },
    { "if", IN_SERVER|IN_LOCATION },
    { "return", IN_SERVER|IN_LOCATION },
    { "rewrite", IN_SERVER|IN_LOCATION },
    { "try_files", IN_SERVER|IN_LOCATION },
    { "internal", IN_LOCATION }
};


/* server_rewrite_by_lua_file, access_by_lua_block, js_access, ... */
static int
is_script(const char *name)
{
    return strstr(name, "rewrite_by_lua") != NULL
           || strstr(name, "access_by_lua") != NULL;
}


static int
is_unfollowed(const cli_directive_t *d, unsigned in, unsigned status)
{
    size_t  i;

    if (is_script(d->words[0])) {
        return 1;
    }

    for (i = 0; i < sizeof(unfollowed_names) / sizeof(unfollowed_names[0]);
         i++)
    {
        if (cli_directive_is(d, unfollowed_names[i].name)) {
            break;
        }
    }

    if (i == sizeof(unfollowed_names) / sizeof(unfollowed_names[0])
        || !(unfollowed_names[i].in & in))
    {
        return 0;
    }

    /* those that change nothing here */

    if (cli_directive_is(d, "error_page")) {
        for (i = 1; i + 1 < d->n; i++) {
            if (strcmp(d->words[i], cli_format("%u", status)) == 0) {
                return 1;
            }
        }

        return 0;
    }

    return d->n < 2
           || (strcmp(d->words[1], "off") != 0
               && !(cli_directive_is(d, "satisfy")
                    && strcmp(d->words[1], "all") == 0));
}


const cli_directive_t **
cli_explain_unfollowed(const cli_explain_t *x, unsigned status, size_t *n)
{
    size_t                   i, room;
    unsigned                 in;
    const cli_directive_t   *d, **list;

    list = NULL;
    room = 0;
    *n = 0;

    /* what this store does not know, another server may */

    if (x->reason == OA_REASON_UNKNOWN && x->place.introspection != NULL
        && oa_key_prefix_find(x->cli->config.key_prefixes, x->cli->config.n,
                              x->secret) == NULL)
    {
        list = cli_alloc(8 * sizeof(*list));
        room = 8;
        list[(*n)++] = x->place.introspection;
    }

    for (i = 0; i < x->site.n; i++) {

        /* an outer location hands down what http could, no rewrites */

        in = (i == 1) ? IN_SERVER
             : (x->site.blocks[i] == x->site.location) ? IN_LOCATION : IN_HTTP;

        for (d = x->site.blocks[i]->first; d != NULL; d = d->next) {

            if (!is_unfollowed(d, in, status)) {
                continue;
            }

            if (*n == room) {
                list = cli_grow(list, *n * sizeof(*list),
                                (room * 2 + 8) * sizeof(*list));
                room = room * 2 + 8;
            }

            list[(*n)++] = d;
        }
    }

    return list;
}
