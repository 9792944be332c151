/*
 * The choice of a location: "=" at once; else the longest prefix, in which the
 * same goes on; then, unless that prefix is "^~", the first regular expression
 * that matches, innermost level first. Named locations are met by redirects
 * only. See ngx_http_core_find_location().
 */

#include "cli.h"
#include "cli_memory.h"
#include "cli_regex.h"
#include "cli_site.h"
#include "cli_text.h"

#include "oa_rule.h"
#include "oa_text.h"

#include <string.h>
#include <strings.h>


typedef enum {
    LOCATION_PREFIX = 1,
    LOCATION_EXACT,                     /* = */
    LOCATION_FIRST,                     /* ^~: no regex after it */
    LOCATION_REGEX,                     /* ~, ~* */
    LOCATION_NAMED                      /* @name */
} kind_t;


typedef struct {
    kind_t      kind;
    oa_str_t    name;
    int         caseless;
} location_t;


/* how a search ends */
typedef enum {
    FOUND_NONE = 0,
    FOUND_PREFIX,                       /* regexes of outer levels may win */
    FOUND_FINAL
} found_t;


/* the modifier, a word of its own or not */
static void
location_parse(const cli_directive_t *d, location_t *location)
{
    size_t       i;
    const char  *text;

    static const struct {
        const char  *mark;
        kind_t       kind;
    } marks[] = {
        { "=", LOCATION_EXACT },
        { "^~", LOCATION_FIRST },
        { "~*", LOCATION_REGEX },
        { "~", LOCATION_REGEX },
        { "@", LOCATION_NAMED },
        { "", LOCATION_PREFIX }
    };

    /* nginx refuses one without a name; here it is met by nobody */
    text = (d->n > 1) ? d->words[1] : "@";

    for (i = 0; strncmp(text, marks[i].mark, strlen(marks[i].mark)) != 0; i++)
    {
        /* void */
    }

    location->kind = marks[i].kind;
    location->caseless = (strcmp(marks[i].mark, "~*") == 0);

    text = (d->n > 2) ? d->words[2]
           : (location->kind == LOCATION_NAMED) ? text
           : text + strlen(marks[i].mark);

    location->name = cli_str(text);
}


/* nginx adds a missing "/" where the location hands on to somebody */
static int
is_passed_on(const cli_directive_t *d)
{
    size_t  i;

    static const char *const  names[] = {
        "proxy_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass", "grpc_pass",
        "memcached_pass"
    };

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (cli_directive_find(d->first, names[i]) != NULL) {
            return 1;
        }
    }

    return 0;
}


static int
str_begins(oa_str_t text, oa_str_t with)
{
    return text.len >= with.len
           && (with.len == 0 || memcmp(text.data, with.data, with.len) == 0);
}


/* locations that are no regular expressions; *prefix: the longest of them */
static found_t
static_find(const cli_directive_t *block, oa_str_t uri,
    const cli_directive_t **found, kind_t *kind, unsigned *redirect)
{
    size_t                  len;
    location_t              location;
    const cli_directive_t  *d, *slash;

    len = 0;
    slash = NULL;
    *found = NULL;

    for (d = cli_directive_find(block->first, "location"); d != NULL;
         d = cli_directive_find(d->next, "location"))
    {
        location_parse(d, &location);

        if (location.kind == LOCATION_REGEX || location.kind == LOCATION_NAMED)
        {
            continue;
        }

        if (location.kind == LOCATION_EXACT) {
            if (location.name.len == uri.len && str_begins(uri, location.name))
            {
                *found = d;
                *redirect = 0;
                return FOUND_FINAL;
            }

            continue;
        }

        if (location.name.len == uri.len + 1
            && location.name.data[uri.len] == '/'
            && str_begins(location.name, uri) && is_passed_on(d))
        {
            slash = d;
        }

        if (str_begins(uri, location.name)
            && (*found == NULL || location.name.len > len))
        {
            len = location.name.len;
            *found = d;
            *kind = location.kind;
        }
    }

    if (slash != NULL && (*found == NULL || len < uri.len)) {
        *found = slash;
        *redirect = 1;
        return FOUND_FINAL;
    }

    return (*found != NULL) ? FOUND_PREFIX : FOUND_NONE;
}


static int
site_enter(cli_site_t *site, const cli_directive_t *block)
{
    if (site->n == CLI_PLACE_DEPTH) {
        return cli_fail(CLI_FAILED, "blocks nest too deep in %s",
                        block->where);
    }

    site->blocks[site->n++] = block;

    return CLI_OK;
}


static int location_find(const cli_directive_t *block, oa_str_t uri,
    cli_site_t *site, found_t *found);


static int
regex_find(const cli_directive_t *block, oa_str_t uri, cli_site_t *site,
    size_t depth, found_t *found)
{
    int                     rc;
    oa_rc_t                 match;
    found_t                 inner;
    location_t              location;
    const cli_directive_t  *d;

    for (d = cli_directive_find(block->first, "location"); d != NULL;
         d = cli_directive_find(d->next, "location"))
    {
        location_parse(d, &location);

        if (location.kind != LOCATION_REGEX) {
            continue;
        }

        match = cli_regex_match(location.name, location.caseless, uri);

        if (match == OA_DECLINED) {
            continue;
        }

        if (match != OA_OK) {
            return cli_fail(CLI_FAILED, "the regular expression of %s can't "
                            "be run (%s); \"nginx -t\" may tell more",
                            cli_quotez(cli_directive_text(d)), d->where);
        }

        /* instead of the prefix that was found, and what is in it */

        site->n = depth;
        rc = site_enter(site, d);
        *found = FOUND_FINAL;

        return (rc == CLI_OK) ? location_find(d, uri, site, &inner) : rc;
    }

    return CLI_OK;
}


static int
location_find(const cli_directive_t *block, oa_str_t uri, cli_site_t *site,
    found_t *found)
{
    int                     rc;
    kind_t                  kind;
    size_t                  depth;
    unsigned                redirect;
    const cli_directive_t  *d;

    depth = site->n;
    kind = LOCATION_PREFIX;
    redirect = 0;

    *found = static_find(block, uri, &d, &kind, &redirect);
    site->redirect = redirect;

    if (*found != FOUND_NONE) {
        rc = site_enter(site, d);

        if (rc == CLI_OK && *found == FOUND_PREFIX) {
            rc = location_find(d, uri, site, found);
        }

        if (rc != CLI_OK) {
            return rc;
        }
    }

    if (*found == FOUND_FINAL || kind == LOCATION_FIRST) {
        return CLI_OK;
    }

    return regex_find(block, uri, site, depth, found);
}


/* "limit_except GET { }" holds for all other methods; GET stands for HEAD */
static int
except_applies(const cli_directive_t *except, uint32_t method)
{
    size_t    i;
    char     *name, *p;
    uint32_t  listed;

    listed = 0;

    for (i = 1; i < except->n; i++) {
        name = cli_copy(except->words[i], strlen(except->words[i]));

        for (p = name; *p != '\0'; p++) {
            *p = (char) ((*p >= 'a' && *p <= 'z') ? *p & ~0x20 : *p);
        }

        listed |= oa_method(cli_str(name));
    }

    if (listed & OA_METHOD_GET) {
        listed |= OA_METHOD_HEAD;
    }

    return (listed & method) == 0;
}


int
cli_site_find(const cli_directive_t *http, const cli_directive_t *server,
    const cli_target_t *target, cli_site_t *site)
{
    int                     rc;
    found_t                 found;
    const cli_directive_t  *except;

    memset(site, 0, sizeof(*site));
    site->blocks[site->n++] = http;
    site->blocks[site->n++] = server;

    rc = location_find(server, target->uri, site, &found);

    if (rc != CLI_OK || site->n == 2) {
        return rc;
    }

    site->location = site->blocks[site->n - 1];
    except = cli_directive_find(site->location->first, "limit_except");

    if (except != NULL && except_applies(except, target->method)) {
        site->except = except;
        return site_enter(site, except);
    }

    return CLI_OK;
}
