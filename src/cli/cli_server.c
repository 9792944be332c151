/*
 * The choice of a server: first the socket, by what "listen" says, then among
 * the servers of that socket by "server_name": exact names, then the longest
 * "*.name", then the longest "name.*", then the first regular expression, then
 * the socket's default.
 *
 * Who asks may not know the socket. Then all that fit are looked at, and it is
 * an error only where they lead to different servers.
 */

#include "cli.h"
#include "cli_memory.h"
#include "cli_regex.h"
#include "cli_site.h"
#include "cli_text.h"
#include "cli_uri.h"

#include "oa_cidr.h"
#include "oa_text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>


typedef struct {
    const cli_directive_t  *server;
    const cli_directive_t  *directive;  /* NULL: nginx's default, *:80 */
    const char             *address;    /* "*", "[::]", "127.0.0.1", "unix:x" */
    unsigned                from;       /* ports; 0 for unix: */
    unsigned                to;
    unsigned                first:1;    /* default_server */
    unsigned                both:1;     /* ipv6only=off */
} listen_t;


typedef struct {
    listen_t               *all;
    size_t                  n;
    size_t                  room;
} listens_t;


/* how well a name fits; more is better */
typedef struct {
    unsigned                kind;
    size_t                  len;
} fit_t;

enum { FIT_NONE = 0, FIT_REGEX, FIT_TAIL, FIT_HEAD, FIT_EXACT };


int
cli_host_is_address(const char *host)
{
    size_t     len;
    oa_str_t   text;
    oa_addr_t  addr;

    text = cli_str(host);
    len = text.len;

    if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
        text.data++;
        text.len -= 2;
    }

    return oa_addr_parse(text, &addr) == OA_OK;
}


static int
ports_parse(const char *text, listen_t *l)
{
    char        *copy, *dash;
    int64_t      from, to;

    copy = cli_copy(text, strlen(text));
    dash = strchr(copy, '-');

    if (dash != NULL) {
        *dash++ = '\0';
    }

    if (oa_text_number(cli_str(copy), 65535, &from) != OA_OK
        || oa_text_number(cli_str(dash ? dash : copy), 65535, &to) != OA_OK
        || from == 0 || to < from)
    {
        return 0;
    }

    l->from = (unsigned) from;
    l->to = (unsigned) to;

    return 1;
}


/* "80", "127.0.0.1:80", "*:80", "[::]:80", "name", "unix:/path" */
static void
listen_parse(listen_t *l, const char *text)
{
    char        *copy, *p;
    const char  *colon;

    l->from = l->to = 80;
    l->address = "*";

    if (strncasecmp(text, "unix:", 5) == 0) {
        l->address = text;
        l->from = l->to = 0;
        return;
    }

    if (ports_parse(text, l)) {
        return;
    }

    colon = strrchr(text, ':');

    if (colon != NULL && strchr(colon, ']') != NULL) {
        colon = NULL;
    }

    if (colon != NULL) {
        (void) ports_parse(colon + 1, l);
    }

    copy = cli_copy(text, colon ? (size_t) (colon - text) : strlen(text));

    for (p = copy; *p != '\0'; p++) {
        *p = (char) tolower((unsigned char) *p);
    }

    l->address = (strcmp(copy, "0.0.0.0") == 0) ? "*" : copy;
}


static listen_t *
listen_add(listens_t *listens, const cli_directive_t *server,
    const cli_directive_t *directive)
{
    listen_t  *l;

    if (listens->n == listens->room) {
        listens->all = cli_grow(listens->all, listens->n * sizeof(listen_t),
                                (listens->room * 2 + 16) * sizeof(listen_t));
        listens->room = listens->room * 2 + 16;
    }

    l = &listens->all[listens->n++];
    l->server = server;
    l->directive = directive;
    l->address = "*";
    l->from = l->to = 80;

    return l;
}


static void
listens_read(listens_t *listens, const cli_directive_t *server)
{
    size_t                  i;
    listen_t               *l;
    const cli_directive_t  *d;

    d = cli_directive_find(server->first, "listen");

    if (d == NULL) {
        (void) listen_add(listens, server, NULL);
    }

    for ( /* void */ ; d != NULL; d = cli_directive_find(d->next, "listen")) {

        if (d->n < 2) {
            continue;
        }

        l = listen_add(listens, server, d);
        listen_parse(l, d->words[1]);

        for (i = 2; i < d->n; i++) {
            l->first |= (strcmp(d->words[i], "default_server") == 0
                         || strcmp(d->words[i], "default") == 0);
            l->both |= (strcmp(d->words[i], "ipv6only=off") == 0);
        }
    }
}


static int
address_same(const char *one, const char *two)
{
    return strcmp(one, two) == 0
           || (strcmp(one, "*") == 0 && strcmp(two, "0.0.0.0") == 0);
}


static int
port_fits(const listen_t *l, unsigned port)
{
    return port == 0 || (port >= l->from && port <= l->to);
}


/* does a socket of this kind take connections to the address, if none is it? */
static int
wildcard_fits(const listen_t *l, const char *address)
{
    int  v6;

    v6 = (address[0] == '[');

    return strcmp(l->address, v6 ? "[::]" : "*") == 0
           || (!v6 && strcmp(l->address, "[::]") == 0 && l->both);
}


/* what is not listened on is taken out; "first" holds of all that are left */
static void
listens_filter(listens_t *listens, const cli_target_t *target)
{
    int        exact;
    size_t     i, n;
    listen_t  *l;

    exact = 0;

    for (i = 0; target->address != NULL && i < listens->n; i++) {
        l = &listens->all[i];
        exact |= port_fits(l, target->port)
                 && address_same(l->address, target->address);
    }

    for (i = 0, n = 0; i < listens->n; i++) {
        l = &listens->all[i];

        if (!port_fits(l, target->port)
            || (target->port != 0 && l->from == 0)
            || (target->address != NULL
                && (exact ? !address_same(l->address, target->address)
                          : !wildcard_fits(l, target->address))))
        {
            continue;
        }

        listens->all[n++] = *l;
    }

    listens->n = n;
}


static fit_t
name_fit(const char *name, const char *host)
{
    char     own[256];
    fit_t    fit;
    size_t   n, h;
    int      caseless;

    fit.kind = FIT_NONE;
    fit.len = 0;
    caseless = 0;

    if (name[0] == '~') {
        for (n = 1; name[n] != '\0'; n++) {
            caseless |= (name[n] >= 'A' && name[n] <= 'Z');
        }

        if (cli_regex_match(cli_str(name + 1), caseless, cli_str(host))
            == OA_OK)
        {
            fit.kind = FIT_REGEX;
        }

        return fit;
    }

    if (strcmp(name, "$hostname") == 0 && gethostname(own, sizeof(own)) == 0) {
        own[sizeof(own) - 1] = '\0';
        name = own;
    }

    n = strlen(name);
    h = strlen(host);
    fit.len = n;

    if (name[0] == '.' && strcasecmp(name + 1, host) == 0) {
        fit.kind = FIT_HEAD;

    } else if (name[0] == '.' || (name[0] == '*' && name[1] == '.')) {
        name += (name[0] == '*');
        n = fit.len = strlen(name);

        if (h > n && strcasecmp(host + h - n, name) == 0) {
            fit.kind = FIT_HEAD;
        }

    } else if (n > 2 && name[n - 1] == '*' && name[n - 2] == '.') {
        if (h >= n && strncasecmp(host, name, n - 1) == 0) {
            fit.kind = FIT_TAIL;
        }

    } else if (strcasecmp(name, host) == 0) {
        fit.kind = FIT_EXACT;
    }

    return fit;
}


/* of the servers that listen as this one does */
static void
server_pick(const listens_t *listens, const listen_t *socket, const char *host,
    cli_server_t *found)
{
    fit_t                   fit, best;
    size_t                  i, k;
    unsigned                named;
    const listen_t         *l;
    const cli_directive_t  *d;

    memset(&best, 0, sizeof(best));
    memset(found, 0, sizeof(*found));
    named = 0;

    for (i = 0; i < listens->n; i++) {
        l = &listens->all[i];

        if (!address_same(l->address, socket->address)
            || l->from > socket->from || l->to < socket->from)
        {
            continue;
        }

        if (found->first == NULL || (l->first && !named)) {
            found->first = l->server;
            named = l->first;
        }

        for (d = cli_directive_find(l->server->first, "server_name");
             d != NULL && host != NULL;
             d = cli_directive_find(d->next, "server_name"))
        {
            for (k = 1; k < d->n; k++) {
                fit = name_fit(d->words[k], host);

                if (fit.kind > best.kind
                    || (fit.kind == best.kind && fit.len > best.len
                        && (fit.kind == FIT_HEAD || fit.kind == FIT_TAIL)))
                {
                    best = fit;
                    found->server = l->server;
                    found->name = d;
                }
            }
        }
    }

    if (best.kind == FIT_NONE) {
        found->server = found->first;
    }

    found->socket = (socket->from == 0)
                    ? socket->address
                    : cli_format("%s:%u", socket->address, socket->from);
}


static const char *
sockets_text(const listens_t *listens)
{
    size_t       i;
    const char  *text, *one;

    text = "";

    for (i = 0; i < listens->n && i < 16; i++) {
        one = cli_format("%s%s%s", listens->all[i].address,
                         listens->all[i].from ? ":" : "",
                         listens->all[i].from
                         ? cli_format("%u", listens->all[i].from) : "");

        if (strstr(text, one) == NULL) {
            text = cli_format("%s%s%s", text, text[0] ? ", " : "",
                              cli_text_safe(cli_str(one)));
        }
    }

    return text;
}


/* another server that listens on the same socket stood before */
static int
socket_seen(const listens_t *listens, size_t i)
{
    size_t  k;

    for (k = 0; k < i; k++) {
        if (listens->all[k].from == listens->all[i].from
            && address_same(listens->all[k].address, listens->all[i].address))
        {
            return 1;
        }
    }

    return 0;
}


/* servers whose sockets fit in several ways must be one and the same */
static int
server_choose(const listens_t *listens, const cli_target_t *target,
    cli_server_t *server)
{
    size_t        i;
    listen_t      socket;
    cli_server_t  other;

    for (i = 0; i < listens->n; i++) {
        if (socket_seen(listens, i)) {
            continue;
        }

        socket = listens->all[i];

        if (target->port != 0) {
            socket.from = target->port;
        }

        server_pick(listens, &socket, target->host, &other);

        if (i == 0) {
            *server = other;

        } else if (other.server != server->server) {
            return cli_fail(CLI_USAGE, "which server is asked? At %s it is the "
                            "one in %s, at %s the one in %s; give "
                            "http://host:port/path or --listen "
                            "[ADDRESS:]PORT", server->socket,
                            server->server->where, other.socket,
                            other.server->where);
        }
    }

    return CLI_OK;
}


int
cli_server_find(const cli_directive_t *http, const cli_target_t *target,
    cli_server_t *server)
{
    listens_t               listens, all;
    cli_target_t            port;
    const cli_directive_t  *d;

    memset(&listens, 0, sizeof(listens));

    for (d = cli_directive_find(http->first, "server"); d != NULL;
         d = cli_directive_find(d->next, "server"))
    {
        listens_read(&listens, d);
    }

    if (listens.n == 0) {
        return cli_fail(CLI_FAILED, "there is no server in http (%s)",
                        http->where);
    }

    all = listens;
    all.all = cli_alloc(all.n * sizeof(listen_t));
    memcpy(all.all, listens.all, all.n * sizeof(listen_t));

    listens_filter(&listens, target);

    if (listens.n == 0 && target->hint) {

        /* the URL's address may be that of something before nginx */

        memcpy(listens.all, all.all, all.n * sizeof(listen_t));
        listens.n = all.n;
        port = *target;
        port.address = NULL;
        listens_filter(&listens, &port);
    }

    if (listens.n == 0) {
        return cli_fail(CLI_USAGE, "no server listens on %s%s%u; there are: "
                        "%s. Give the port in http://host:port/path, or "
                        "--listen [ADDRESS:]PORT",
                        target->address ? target->address : "port ",
                        target->address ? ":" : "", target->port,
                        sockets_text(&all));
    }

    return server_choose(&listens, target, server);
}
