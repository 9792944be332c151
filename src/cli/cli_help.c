/*
 * Help texts, put together from what nouns, verbs and options say of
 * themselves.
 */

#include "cli.h"
#include "cli_memory.h"

#include <stdio.h>
#include <string.h>


#define CLI_HELP_COLUMN  27


static void
help_option(const cli_option_t *o)
{
    int          width;
    const char  *head, *line;
    size_t       n;

    head = o->letter ? cli_format("  -%c, --%s %s", o->letter, o->name,
                                  o->value ? o->value : "")
                     : cli_format("  --%s %s", o->name,
                                  o->value ? o->value : "");
    width = CLI_HELP_COLUMN;

    if (strlen(head) >= CLI_HELP_COLUMN) {
        printf("%s\n", head);
        head = "";
    }

    for (line = o->help; *line != '\0'; line += n + (line[n] == '\n')) {
        n = strcspn(line, "\n");
        printf("%-*s%.*s\n", width, head, (int) n, line);
        head = "";
    }
}


static void
help_options(const cli_option_t *options)
{
    const cli_option_t  *o;

    for (o = options; o != NULL && o->name != NULL; o++) {
        help_option(o);
    }
}


static void
usage_line(FILE *out, const cli_noun_t *noun, const cli_verb_t *verb)
{
    fprintf(out, "usage: opsauth %s%s%s%s%s%s\n", noun->name,
            verb->name[0] ? " " : "", verb->name,
            verb->words[0] ? " " : "", verb->words,
            verb->options ? " [options]" : "");
}


static void
help_verb(const cli_noun_t *noun, const cli_verb_t *verb)
{
    usage_line(stdout, noun, verb);
    printf("\n%s\n", verb->summary);

    if (verb->options != NULL) {
        printf("\n");
        help_options(verb->options);
    }

    printf("\n%s\n"
           "-c FILE, --json and what else every command knows: "
           "opsauth --help\n", verb->text);
}


static void
help_noun(FILE *out, const cli_noun_t *noun)
{
    const cli_verb_t  *v;

    fprintf(out, "usage: opsauth %s VERB ...\n\n%s\n\n", noun->name,
            noun->summary);

    for (v = noun->verbs; v->name != NULL; v++) {
        fprintf(out, "  %-34s %s\n", cli_format("%s %s", v->name, v->words),
                v->summary);
    }

    fprintf(out, "\n\"opsauth %s VERB --help\" explains a verb.\n",
            noun->name);
}


static void
help_all(const cli_noun_t *const *nouns)
{
    size_t             i;
    const cli_verb_t  *v;

    printf("usage: opsauth [-c nginx.conf] NOUN VERB ...\n\n"
           "The operator's command of the opsauth gateway: accounts, API keys "
           "and tokens in\nRedis, as nginx reads them.\n");

    for (i = 0; nouns[i] != NULL; i++) {
        if (nouns[i]->alone != NULL) {
            printf("\n%-26s %s\n", nouns[i]->name, nouns[i]->summary);
            continue;
        }

        printf("\n%s: %s\n", nouns[i]->name, nouns[i]->summary);

        for (v = nouns[i]->verbs; v->name != NULL; v++) {
            printf("  %-24s %s\n",
                   cli_format("%s %s", nouns[i]->name, v->name), v->summary);
        }
    }

    printf("\nOptions of every command:\n");
    help_options(cli_common_options);

    printf("\nWhere the store is stands in the opsauth_store block of "
           "nginx.conf (-c). Options\nabove, or OPSAUTH_CONFIG, OPSAUTH_STORE, "
           "OPSAUTH_REDIS, OPSAUTH_REDIS_USER,\nOPSAUTH_REDIS_PASSWORD_FILE, "
           "OPSAUTH_SENTINEL_USER,\nOPSAUTH_SENTINEL_PASSWORD_FILE, "
           "OPSAUTH_REDIS_CACERT, OPSAUTH_REDIS_CERT,\nOPSAUTH_REDIS_KEY, "
           "OPSAUTH_REDIS_SNI, OPSAUTH_PEPPER_FILE, OPSAUTH_PREFIX,\n"
           "OPSAUTH_KEY_PREFIX and OPSAUTH_LEASE in the environment, do "
           "without it or\noverride it; options win over the environment, "
           "the environment over the\nfile.\n"
           "\n"
           "A new key or token goes alone to stdout, everything said about it "
           "to stderr.\n"
           "Exit codes: 0 done, 1 failed, 2 usage, 3 not found.\n"
           "\n"
           "  opsauth pepper generate /etc/opsauth/pepper\n"
           "  export OPSAUTH_CONFIG=/etc/nginx/nginx.conf\n"
           "  opsauth account create crm --name \"CRM\" --tenant org_42\n"
           "  opsauth key create --account crm --name sync --permission "
           "read\n"
           "\n"
           "\"opsauth NOUN --help\" and \"opsauth NOUN VERB --help\" tell "
           "more.\n");
}


void
cli_help_full(const cli_t *cli, const cli_noun_t *const *nouns)
{
    if (cli->noun == NULL) {
        help_all(nouns);

    } else if (cli->verb == NULL) {
        help_noun(stdout, cli->noun);

    } else {
        help_verb(cli->noun, cli->verb);
    }
}


void
cli_help_short(const cli_t *cli, const cli_noun_t *const *nouns)
{
    size_t  i;

    if (cli->noun == NULL) {
        fprintf(stderr, "usage: opsauth [-c nginx.conf] NOUN VERB ...\n\n");

        for (i = 0; nouns[i] != NULL; i++) {
            fprintf(stderr, "  %-10s %s\n", nouns[i]->name, nouns[i]->summary);
        }

        fprintf(stderr, "\n\"opsauth --help\" tells more.\n");

    } else if (cli->verb == NULL) {
        help_noun(stderr, cli->noun);

    } else {
        usage_line(stderr, cli->noun, cli->verb);
        fprintf(stderr, "\"opsauth %s%s%s --help\" tells more.\n",
                cli->noun->name, cli->verb->name[0] ? " " : "",
                cli->verb->name);
    }
}
