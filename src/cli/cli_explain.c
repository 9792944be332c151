/*
 * opsauth explain: the gateway's answer to a request, without asking it. The
 * configuration is read as nginx reads it, the records as the module reads
 * them, and the checks are the module's own, from src/core.
 */

#include "cli_explain.h"
#include "cli_memory.h"
#include "cli_nouns.h"
#include "cli_text.h"
#include "cli_time.h"

#include "oa_rule.h"
#include "oa_text.h"

#include <string.h>


static int explain_run(cli_t *cli);


static const cli_option_t  explain_options[] = {
    { "from", 0, 0, "ADDRESS",
      "the client's address, after realip; \"unix:\" is none" },
    { "host", 0, 0, "NAME",
      "what the client asks for in Host; default that of the URL" },
    { "listen", 0, 0, "SOCKET",
      "[ADDRESS:]PORT or unix:PATH that the client connects to;\n"
      "default that of the URL" },
    { "at", 0, 0, "TIME",
      "when: 2027-01-31, 2027-01-31T18:30Z, or 90d from now\n(default now)" },
    { NULL, 0, 0, NULL, NULL }
};


static const cli_verb_t  explain_alone = {
    "", "ID|- METHOD URI --from ADDRESS", 3, 3,
    "would this credential pass, and why", explain_options,
    "ID is a public id (key_... or tok_...). With - the key or token itself is "
    "read\nfrom stdin, and what nginx checks before it asks Redis is explained "
    "too. URI is\na path, or http://host:port/path where the configuration has "
    "several servers.\n"
    "\n"
    "Each check is shown with its outcome and the line that decides it, in the "
    "order\nin which the gateway makes them; the first failure decides. Nothing "
    "is changed,\nand nginx is not asked: -c names its configuration.\n"
    "\n"
    "Exit code 0: the request would go on, 1: it would be turned away (or the "
    "command\nfailed; stdout is empty then), 2 usage, 3 there is no such id.\n"
    "\n"
    "  opsauth explain key_5Uq0YbJm2wNfRkZx GET /v1/tenants --from "
    "203.0.113.7\n"
    "  opsauth explain - POST https://api.example.com/v1/tenants \\\n"
    "      --from 203.0.113.7 < key.txt\n"
    "  opsauth explain key_5Uq0YbJm2wNfRkZx GET /v1/plans --from ::1 --at 90d "
    "--json\n",
    explain_run
};


const cli_noun_t  cli_explain_noun = {
    "explain", "would this credential pass, and which line decides",
    NULL, &explain_alone
};


cli_row_t *
cli_explain_row(cli_explain_t *x, const char *check, const char *outcome,
    const char *fact, const cli_directive_t *by)
{
    cli_row_t  *row;

    if (x->n == x->room) {
        x->rows = cli_grow(x->rows, x->n * sizeof(cli_row_t),
                           (x->room * 2 + 32) * sizeof(cli_row_t));
        x->room = x->room * 2 + 32;
    }

    row = &x->rows[x->n++];
    row->check = check;
    row->outcome = outcome;
    row->fact = fact;
    row->by = by;
    row->otherwise = NULL;

    return row;
}


static int
method_read(cli_explain_t *x, const char *method)
{
    if (method[0] == '\0'
        || method[strspn(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_-")] != '\0')
    {
        return cli_fail(CLI_USAGE, "METHOD %s: expected capitals, such as GET; "
                        "nginx answers 400 to all else", cli_quotez(method));
    }

    if (strcmp(method, "TRACE") == 0 || strcmp(method, "CONNECT") == 0) {
        return cli_fail(CLI_USAGE, "METHOD %s: nginx answers 405 before any "
                        "check", method);
    }

    x->method = method;
    x->request.method = oa_method(cli_str(method));

    return CLI_OK;
}


static int
address_read(cli_explain_t *x)
{
    x->from = cli_option(&x->cli->options, "from");

    if (x->from == NULL) {
        return cli_fail(CLI_USAGE, "--from is missing: which address does the "
                        "client have? --from 203.0.113.7");
    }

    if (strcmp(x->from, "unix:") != 0
        && oa_addr_parse(cli_str(x->from), &x->request.addr) != OA_OK)
    {
        return cli_fail(CLI_USAGE, "--from %s: expected an IPv4 or IPv6 "
                        "address such as 203.0.113.7 or 2001:db8::7, or unix:",
                        cli_quotez(x->from));
    }

    return CLI_OK;
}


static int
time_read(cli_explain_t *x)
{
    const char  *text;

    x->request.now = x->cli->now;
    text = cli_option(&x->cli->options, "at");

    /* what is over may be asked about as well: any time after 1970 */

    if (text != NULL && strcmp(text, "now") != 0
        && (strcmp(text, "never") == 0
            || (cli_time_expires(text, x->cli->now, &x->request.now) != OA_OK
                && (strchr(text, '-') == NULL
                    || cli_time_expires(text, 0, &x->request.now) != OA_OK))))
    {
        return cli_fail(CLI_USAGE, "--at %s: expected 2027-01-31, "
                        "2027-01-31T18:30Z, or 90d from now",
                        cli_quotez(text));
    }

    return CLI_OK;
}


/* where the client connects to, and what it says in Host */
static int
target_read(cli_explain_t *x)
{
    size_t        len;
    unsigned      port;
    const char   *listen, *host, *colon;

    x->target.host = x->url.host;
    x->target.port = x->url.port;
    x->target.method = x->request.method;

    if (x->url.host != NULL && cli_host_is_address(x->url.host)) {
        x->target.address = x->url.host;
        x->target.hint = 1;
    }

    host = cli_option(&x->cli->options, "host");

    if (host != NULL
        && cli_host_parse(host, &x->target.host, &port) != OA_OK)
    {
        return cli_fail(CLI_USAGE, "--host %s: expected a name such as "
                        "api.example.com", cli_quotez(host));
    }

    listen = cli_option(&x->cli->options, "listen");

    if (listen == NULL) {
        return CLI_OK;
    }

    x->target.hint = 0;
    x->target.address = NULL;
    x->target.port = 0;

    if (strncmp(listen, "unix:", 5) == 0) {
        x->target.address = listen;
        return CLI_OK;
    }

    len = strlen(listen);

    if (strspn(listen, "0123456789") == len) {
        listen = cli_format("*:%s", listen);

    } else {
        colon = strrchr(listen, ':');
        x->target.address = cli_copy(listen, colon ? (size_t) (colon - listen)
                                                   : len);
    }

    if (cli_host_parse(listen, &host, &x->target.port) != OA_OK
        || x->target.port == 0)
    {
        return cli_fail(CLI_USAGE, "--listen %s: expected [ADDRESS:]PORT or "
                        "unix:PATH, as \"listen\" has it",
                        cli_quotez(cli_option(&x->cli->options, "listen")));
    }

    return CLI_OK;
}


/*
 * merge_slashes of the socket's default server, or of http: nginx reads the
 * path before it knows the host
 */
static int
merges_slashes(const cli_directive_t *http, const cli_directive_t *server)
{
    const cli_directive_t  *d;

    d = cli_directive_find(server->first, "merge_slashes");

    if (d == NULL) {
        d = cli_directive_find(http->first, "merge_slashes");
    }

    return d == NULL || d->n < 2 || strcmp(d->words[1], "off") != 0;
}


static int
place_find(cli_explain_t *x)
{
    int                     rc;
    const char             *error;
    cli_setting_t           conf;
    cli_directive_t        *root;

    conf = cli_config_file(x->cli);

    if (conf.value == NULL) {
        return cli_fail(CLI_USAGE, "which configuration? Give -c nginx.conf "
                        "(or OPSAUTH_CONFIG in the environment)");
    }

    rc = cli_tree_read(conf.value, conf.from, &root);

    if (rc != CLI_OK) {
        return rc;
    }

    x->http = cli_directive_find(root->first, "http");

    if (x->http == NULL) {
        return cli_fail(CLI_FAILED, "there is no http block in %s and what it "
                        "includes", cli_quotez(conf.value));
    }

    rc = cli_server_find(x->http, &x->target, &x->server);

    if (rc != CLI_OK) {
        return rc;
    }

    if (cli_uri_normalise(x->url.path,
                          merges_slashes(x->http, x->server.first),
                          &x->target.uri, &error) != OA_OK)
    {
        return cli_fail(CLI_USAGE, "URI %s: nginx answers 400 to it: %s",
                        cli_quotez(x->url.path), error);
    }

    x->request.uri_match = cli_place_uri_match;
    x->request.data = &x->target.uri;

    rc = cli_site_find(x->http, x->server.server, &x->target, &x->site);

    return (rc == CLI_OK) ? cli_place_read(&x->site, &x->place) : rc;
}


/* the store that guards the place is the one to ask */
static int
store_find(cli_explain_t *x)
{
    const char  *name;

    name = cli_option(&x->cli->options, "store");

    if (name != NULL && strcmp(name, x->place.store) != 0) {
        return cli_fail(CLI_USAGE, "--store %s: this place is guarded by %s "
                        "(%s)", cli_quotez(name), cli_quotez(x->place.store),
                        x->place.guard->where);
    }

    for (x->store = cli_directive_find(x->http->first, "opsauth_store");
         x->store != NULL;
         x->store = cli_directive_find(x->store->next, "opsauth_store"))
    {
        if (x->store->n == 2 && strcmp(x->store->words[1], x->place.store) == 0)
        {
            break;
        }
    }

    x->cli->config.store = x->place.store;

    return CLI_OK;
}


static int
explain_run(cli_t *cli)
{
    int             rc;
    cli_explain_t  *x;

    x = cli_alloc(sizeof(*x));
    x->cli = cli;
    x->id = strcmp(cli->options.words[0], "-") ? cli->options.words[0] : NULL;

    rc = method_read(x, cli->options.words[1]);

    if (rc == CLI_OK) {
        rc = cli_url_parse(cli->options.words[2], &x->url);
    }

    if (rc == CLI_OK) {
        rc = address_read(x);
    }

    if (rc == CLI_OK) {
        rc = time_read(x);
    }

    if (rc == CLI_OK) {
        rc = target_read(x);
    }

    if (rc == CLI_OK) {
        rc = place_find(x);
    }

    if (rc == CLI_OK && x->place.store != NULL && !x->site.redirect) {
        rc = store_find(x);

        if (rc == CLI_OK) {
            rc = cli_explain_identify(x);
        }

        if (rc == CLI_OK) {
            cli_explain_decide(x);
        }
    }

    return (rc == CLI_OK) ? cli_explain_print(x) : rc;
}
