/*
 * opsauth man: the manual page, in roff, written from the same tables as the
 * help. "make" keeps it as build/opsauth.1.
 */

#include "cli_memory.h"
#include "cli_nouns.h"
#include "cli_output.h"

#include <stdio.h>
#include <string.h>


static int man_run(cli_t *cli);


static const cli_verb_t  man_verb = {
    "", "", 0, 0, "print the manual page of this command, in roff", NULL,
    "\"make install\" puts it where man looks for it. Without that:\n"
    "\n"
    "  opsauth man | man -l -\n",
    man_run
};


const cli_noun_t  cli_man_noun = {
    "man", "the manual page, in roff",
    NULL, &man_verb
};


/* variables of the environment and what they stand for */
static const struct {
    const char  *name;
    const char  *text;
} environment[] = {
    { "OPSAUTH_CONFIG", "as --config" },
    { "OPSAUTH_STORE", "as --store" },
    { "OPSAUTH_REDIS", "as --redis" },
    { "OPSAUTH_REDIS_USER", "as --redis-user" },
    { "OPSAUTH_REDIS_PASSWORD_FILE", "as --redis-password-file" },
    { "OPSAUTH_SENTINEL_USER", "as --sentinel-user" },
    { "OPSAUTH_SENTINEL_PASSWORD_FILE", "as --sentinel-password-file" },
    { "OPSAUTH_REDIS_CACERT", "as --cacert" },
    { "OPSAUTH_REDIS_CERT", "as --cert" },
    { "OPSAUTH_REDIS_KEY", "as --key" },
    { "OPSAUTH_REDIS_SNI", "as --sni" },
    { "OPSAUTH_PEPPER_FILE", "as --pepper-file" },
    { "OPSAUTH_PREFIX", "as --prefix" },
    { "OPSAUTH_KEY_PREFIX", "as --key-prefix; several with blanks in between" },
    { "OPSAUTH_LEASE", "as --lease" },
    { "NO_COLOR", "where it is not empty, nothing is coloured" },
    { "TZ", "the time zone of tables, and of times without one" }
};


/* a piece of text that roff shows as it is; starts: at the start of a line */
static void
roff(const char *text, size_t n, int starts)
{
    size_t  i;

    if (starts && n != 0 && (text[0] == '.' || text[0] == '\'')) {
        (void) fputs("\\&", stdout);
    }

    for (i = 0; i < n; i++) {
        switch (text[i]) {
        case '\\':
            (void) fputs("\\e", stdout);
            break;
        case '-':
            (void) fputs("\\-", stdout);
            break;
        case '\'':
            (void) fputs("\\(aq", stdout);
            break;
        case '"':
            (void) fputs("\\(dq", stdout);
            break;
        case '`':
            (void) fputs("\\(ga", stdout);
            break;
        case '^':
            (void) fputs("\\(ha", stdout);
            break;
        case '~':
            (void) fputs("\\(ti", stdout);
            break;
        default:
            (void) fputc(text[i], stdout);
        }
    }
}


static void
roffz(const char *text)
{
    roff(text, strlen(text), 0);
}


/*
 * Paragraphs, behind others or the first; what is indented is an example and
 * stands as it is.
 */
static void
paragraphs(const char *text, int first)
{
    int          example, empty;
    size_t       n;
    const char  *line;

    example = 0;
    empty = !first;

    for (line = text; *line != '\0'; line += n + (line[n] == '\n')) {
        n = strcspn(line, "\n");

        if (n == 0) {
            empty = 1;
            continue;
        }

        if (strncmp(line, "  ", 2) == 0) {
            if (!example) {
                printf(".PP\n.nf\n.RS 4\n");
            } else if (empty) {
                printf(".sp\n");
            }

            example = 1;
            roff(line + 2, n - 2, 1);

        } else {
            if (example) {
                printf(".RE\n.fi\n");
            }

            if (example || empty) {
                printf(".PP\n");
            }

            example = 0;
            roff(line, n, 1);
        }

        (void) fputc('\n', stdout);
        empty = 0;
    }

    if (example) {
        printf(".RE\n.fi\n");
    }
}


static void
options(const cli_option_t *table)
{
    size_t               n;
    const char          *line;
    const cli_option_t  *o;

    for (o = table; o != NULL && o->name != NULL; o++) {
        printf(".TP\n\\fB");

        if (o->letter) {
            printf("\\-%c\\fR, \\fB", o->letter);
        }

        roffz(cli_format("--%s", o->name));
        printf("\\fR");

        if (o->value != NULL) {
            printf(" \\fI");
            roffz(o->value);
            printf("\\fR");
        }

        printf("\n");

        for (line = o->help; *line != '\0'; line += n + (line[n] == '\n')) {
            n = strcspn(line, "\n");
            roff(line, n, 1);
            printf("\n");
        }
    }
}


static void
verb(const cli_noun_t *noun, const cli_verb_t *v)
{
    printf(".SS \"opsauth ");
    roffz(noun->name);

    if (v->name[0] != '\0') {
        printf(" ");
        roffz(v->name);
    }

    if (v->words[0] != '\0') {
        printf(" ");
        roffz(v->words);
    }

    printf("%s\"\n", v->options ? " [options]" : "");
    roffz(v->summary);
    printf(".\n");
    options(v->options);
    paragraphs(v->text, 0);
}


static void
head(void)
{
    printf(".TH OPSAUTH 1 \"\" \"opsauth %s\" \"opsauth\"\n"
           ".SH NAME\n"
           "opsauth \\- accounts, API keys and tokens of the opsauth gateway\n"
           ".SH SYNOPSIS\n"
           ".B opsauth\n"
           "[\\fB\\-c\\fR \\fInginx.conf\\fR] \\fINOUN\\fR \\fIVERB\\fR ...\n"
           ".SH DESCRIPTION\n", CLI_VERSION);

    paragraphs("The operator's command of the opsauth gateway writes accounts, "
               "API keys and access\ntokens into Redis, where nginx reads "
               "them. Where Redis is, which pepper is used and\nwhat keys "
               "begin with stands in the opsauth_store block of nginx.conf; "
               "options and\nthe environment do without it or override it. "
               "Options win over the environment,\nthe environment over the "
               "file.\n"
               "\n"
               "A new key, token or pepper goes alone to stdout, everything "
               "said about it to\nstderr. Tables show local times. With "
               "--json stdout is one JSON value, with times\nin UTC.\n", 1);
}


static int
man_run(cli_t *cli)
{
    size_t             i;
    const cli_verb_t  *v;

    head();
    printf(".SH COMMANDS\n");

    for (i = 0; cli->nouns[i] != NULL; i++) {
        if (cli->nouns[i]->alone != NULL) {
            verb(cli->nouns[i], cli->nouns[i]->alone);
            continue;
        }

        for (v = cli->nouns[i]->verbs; v->name != NULL; v++) {
            verb(cli->nouns[i], v);
        }
    }

    printf(".SH OPTIONS\nOf every command:\n");
    options(cli_common_options);

    printf(".SH ENVIRONMENT\n");

    for (i = 0; i < sizeof(environment) / sizeof(environment[0]); i++) {
        printf(".TP\n.B %s\n", environment[i].name);
        roffz(environment[i].text);
        printf("\n");
    }

    printf(".SH EXIT STATUS\n"
           ".TP\n.B 0\ndone, also where it was so already\n"
           ".TP\n.B 1\nfailed\n"
           ".TP\n.B 2\nusage: nothing was read or written\n"
           ".TP\n.B 3\nnot found\n"
           ".SH SEE ALSO\n"
           ".BR nginx (8),\n.BR redis\\-cli (1)\n.PP\n");
    roffz("/usr/share/doc/opsauth/docs");
    printf("\n");

    return CLI_OK;
}
