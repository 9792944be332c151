/*
 * See cli_options.h. A word that no table knows is never guessed at: the run
 * ends with exit code 2 before anything was read or written.
 */

#include "cli.h"
#include "cli_memory.h"
#include "cli_text.h"

#include <string.h>


#define CLI_NAMES_MAX   64


typedef struct {
    cli_t                    *cli;
    const cli_noun_t *const  *nouns;
    char *const              *argv;
    int                       argc;
    int                       i;
    unsigned                  help:1;       /* "opsauth help key create" */
} parser_t;


const cli_option_t  cli_common_options[] = {
    { "config", 'c', 0, "FILE",
      "nginx.conf with the opsauth_store block; includes are followed" },
    { "store", 0, 0, "NAME",
      "which opsauth_store block, where there are several" },
    { "redis", 0, 0, "URL",
      "redis://host[:port][/db], rediss:// for TLS, redis+sentinel://"
      "name@host,host[/db], redis+cluster://host,host, or "
      "unix:/path[?db=n]" },
    { "redis-user", 0, 0, "USER",
      "the user to log in to Redis as" },
    { "redis-password-file", 0, 0, "FILE",
      "that holds the user's password" },
    { "sentinel-user", 0, 0, "USER",
      "the user to log in to sentinels as" },
    { "sentinel-password-file", 0, 0, "FILE",
      "that holds the sentinels' password" },
    { "cacert", 0, 0, "FILE",
      "CAs that may sign Redis' certificate (default: the system's)" },
    { "cert", 0, 0, "FILE",
      "a client certificate for Redis" },
    { "key", 0, 0, "FILE",
      "its key" },
    { "sni", 0, 0, "NAME",
      "whom Redis' certificate must name (default: the host)" },
    { "insecure", 0, 0, NULL,
      "don't verify Redis' certificate" },
    { "pepper-file", 0, 0, "FILE",
      "the gateway's pepper, newest first" },
    { "prefix", 0, 0, "TEXT",
      "what all names in Redis begin with (default opsauth:)" },
    { "key-prefix", 0, CLI_MANY, "ENV=TEXT",
      "what new keys begin with: live=op365_sk_live_; may be repeated" },
    { "timeout", 0, 0, "TIME",
      "how long to wait for Redis (default 5s)" },
    { "json", 0, 0, NULL,
      "JSON on stdout, for programs" },
    { "help", 'h', 0, NULL,
      "explain the command, noun or verb" },
    { "version", 'V', 0, NULL,
      "print the version" },
    { NULL, 0, 0, NULL, NULL }
};


static const char *
command_name(const cli_t *cli)
{
    if (cli->noun == NULL) {
        return "opsauth";
    }

    return (cli->verb == NULL || cli->noun->alone != NULL)
           ? cli_format("opsauth %s", cli->noun->name)
           : cli_format("opsauth %s %s", cli->noun->name, cli->verb->name);
}


static int
unknown(parser_t *p, const char *what, const char *word,
    const char *const *names, size_t n)
{
    const char  *dashes, *nearest, *command;

    command = command_name(p->cli);
    dashes = (strcmp(what, "option") == 0) ? "--" : "";
    nearest = cli_text_nearest(word, names, n);

    if (nearest == NULL) {
        return cli_fail(CLI_USAGE, "unknown %s %s; see \"%s --help\"", what,
                        cli_quotez(cli_format("%s%s", dashes, word)), command);
    }

    return cli_fail(CLI_USAGE,
                    "unknown %s %s; did you mean \"%s%s\"? See \"%s --help\"",
                    what, cli_quotez(cli_format("%s%s", dashes, word)),
                    dashes, nearest, command);
}


static const cli_option_t *
option_find(const cli_option_t *table, const char *name, size_t len,
    char letter)
{
    const cli_option_t  *o;

    for (o = table; o != NULL && o->name != NULL; o++) {
        if (letter != 0) {
            if (o->letter == letter) {
                return o;
            }

        } else if (strlen(o->name) == len && memcmp(o->name, name, len) == 0) {
            return o;
        }
    }

    return NULL;
}


static int
option_unknown(parser_t *p, const char *name)
{
    size_t               n;
    const char          *names[CLI_NAMES_MAX];
    const cli_option_t  *o;

    n = 0;

    /* the verb's own first: of two that are equally near, they win */
    if (p->cli->verb != NULL) {
        for (o = p->cli->verb->options; o && o->name && n < CLI_NAMES_MAX; o++)
        {
            names[n++] = o->name;
        }
    }

    for (o = cli_common_options; o->name && n < CLI_NAMES_MAX; o++) {
        names[n++] = o->name;
    }

    return unknown(p, "option", name, names, n);
}


static void
option_keep(cli_options_t *options, const cli_option_t *o, const char *value)
{
    options->given[options->n].option = o;
    options->given[options->n].value = value;
    options->n++;
}


static int
option_take(parser_t *p, const cli_option_t *o, const char *attached)
{
    const char     *value;
    cli_options_t  *options;

    options = &p->cli->options;

    if (o->value == NULL) {
        if (attached != NULL) {
            return cli_fail(CLI_USAGE, "--%s takes no value", o->name);
        }

        option_keep(options, o, "");
        return CLI_OK;
    }

    value = attached;

    if (value == NULL && p->i + 1 < p->argc
        && strncmp(p->argv[p->i + 1], "--", 2) != 0)
    {
        value = p->argv[++p->i];
    }

    if (value == NULL) {
        return cli_fail(CLI_USAGE, "--%s needs a value: --%s %s", o->name,
                        o->name, o->value);
    }

    if (!(o->flags & CLI_MANY) && cli_option(options, o->name) != NULL) {
        return cli_fail(CLI_USAGE, "--%s is given twice", o->name);
    }

    option_keep(options, o, value);

    return CLI_OK;
}


static int
option_parse(parser_t *p)
{
    char                 letter;
    size_t               len;
    const char          *arg, *name, *attached;
    const cli_option_t  *o;

    arg = p->argv[p->i];

    if (arg[1] == '-') {
        letter = 0;
        name = arg + 2;
        len = strcspn(name, "=");
        attached = (name[len] == '=') ? name + len + 1 : NULL;

    } else {
        letter = arg[1];
        name = arg + 1;
        len = 1;
        attached = (arg[2] != '\0') ? arg + 2 : NULL;
    }

    o = NULL;

    if (p->cli->verb != NULL) {
        o = option_find(p->cli->verb->options, name, len, letter);
    }

    if (o == NULL) {
        o = option_find(cli_common_options, name, len, letter);
    }

    if (o != NULL) {
        return option_take(p, o, attached);
    }

    if (letter != 0) {
        return cli_fail(CLI_USAGE, "unknown option %s; see \"%s --help\"",
                        cli_quotez(arg), command_name(p->cli));
    }

    return option_unknown(p, cli_copy(name, len));
}


static int
noun_parse(parser_t *p, const char *word)
{
    size_t       n;
    const char  *names[CLI_NAMES_MAX];

    if (strcmp(word, "help") == 0 && !p->help) {
        p->help = 1;
        return CLI_OK;
    }

    for (n = 0; p->nouns[n] != NULL && n < CLI_NAMES_MAX; n++) {
        if (strcmp(p->nouns[n]->name, word) == 0) {
            p->cli->noun = p->nouns[n];
            p->cli->verb = p->nouns[n]->alone;
            return CLI_OK;
        }

        names[n] = p->nouns[n]->name;
    }

    return unknown(p, "command", word, names, n);
}


static int
verb_parse(parser_t *p, const char *word)
{
    size_t             n;
    const char        *names[CLI_NAMES_MAX];
    const cli_verb_t  *verbs;

    verbs = p->cli->noun->verbs;

    for (n = 0; verbs[n].name != NULL && n < CLI_NAMES_MAX; n++) {
        if (strcmp(verbs[n].name, word) == 0) {
            p->cli->verb = &verbs[n];
            return CLI_OK;
        }

        names[n] = verbs[n].name;
    }

    return unknown(p, "verb", word, names, n);
}


int
cli_options_parse(cli_t *cli, const cli_noun_t *const *nouns, int argc,
    char *const *argv)
{
    int             rc, ended;
    const char     *arg;
    parser_t        p;
    cli_options_t  *options;

    memset(&p, 0, sizeof(p));
    p.cli = cli;
    p.nouns = nouns;
    p.argv = argv;
    p.argc = argc;

    options = &cli->options;
    options->given = cli_alloc(((size_t) argc + 1) * sizeof(cli_given_t));
    options->words = cli_alloc(((size_t) argc + 1) * sizeof(char *));

    ended = 0;

    for (p.i = 1; p.i < argc; p.i++) {
        arg = argv[p.i];

        if (!ended && strcmp(arg, "--") == 0) {
            ended = 1;
            continue;
        }

        if (!ended && arg[0] == '-' && arg[1] != '\0') {
            rc = option_parse(&p);

        } else if (cli->noun == NULL) {
            rc = noun_parse(&p, arg);

        } else if (cli->verb == NULL) {
            rc = verb_parse(&p, arg);

        } else {
            options->words[options->nwords++] = arg;
            rc = CLI_OK;
        }

        if (rc != CLI_OK) {
            return rc;
        }
    }

    if (p.help) {
        option_keep(options, option_find(cli_common_options, "help", 4, 0), "");
    }

    return CLI_OK;
}


const char *
cli_option(const cli_options_t *options, const char *name)
{
    size_t  i;

    for (i = 0; i < options->n; i++) {
        if (strcmp(options->given[i].option->name, name) == 0) {
            return options->given[i].value;
        }
    }

    return NULL;
}


const char **
cli_option_values(const cli_options_t *options, const char *name, size_t *n)
{
    size_t        i;
    const char  **values;

    values = cli_alloc((options->n + 1) * sizeof(char *));
    *n = 0;

    for (i = 0; i < options->n; i++) {
        if (strcmp(options->given[i].option->name, name) == 0) {
            values[(*n)++] = options->given[i].value;
        }
    }

    return values;
}
