/*
 * opsauth completion ...: scripts for shells, written from the same tables as
 * the help, so that they know every command and option that there is. What an
 * option takes is told by the word that the help has for it: FILE, or the
 * values themselves ("live|test").
 */

#include "cli_memory.h"
#include "cli_nouns.h"
#include "cli_output.h"
#include "cli_text.h"

#include <stdio.h>
#include <string.h>


static int completion_run(cli_t *cli);


static const cli_verb_t  completion_verb = {
    "", "bash|zsh", 1, 1, "print the script that completes this command", NULL,
    "\"make install\" puts both where bash and zsh look for them. Without "
    "that:\n"
    "\n"
    "  . <(opsauth completion bash)\n"
    "  opsauth completion zsh > ~/.zfunc/_opsauth\n",
    completion_run
};


const cli_noun_t  cli_completion_noun = {
    "completion", "what makes a shell complete this command",
    NULL, &completion_verb
};


/* options whose values the help spells out in its text */
static const struct {
    const char  *name;
    const char  *values;
} fixed[] = {
    { "permission", "read write admin" },
    { "environment", "live test" },
    { "grant", "authorization_code refresh_token client_credentials" },
    { "auth-method", "client_secret_basic client_secret_post "
      "client_secret_jwt private_key_jwt none" }
};


/* "live|test" -> "live test"; NULL: no such list */
static const char *
alternatives(const char *words)
{
    char    *list, *p;
    size_t   n;

    if (strchr(words, '|') == NULL) {
        return NULL;
    }

    n = strcspn(words + (*words == '['), "] ");
    list = cli_copy(words + (*words == '['), n);

    for (p = list; *p != '\0'; p++) {
        if (*p == '|') {
            *p = ' ';
        }
    }

    return list;
}


static const char *
option_values(const cli_option_t *o)
{
    size_t  i;

    for (i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        if (strcmp(o->name, fixed[i].name) == 0) {
            return fixed[i].values;
        }
    }

    return alternatives(o->value);
}


static int
takes_file(const char *words)
{
    return strstr(words, "FILE") != NULL;
}


/* --- bash --------------------------------------------------------------- */

/* one case for each option with a value: noun/verb/option */
static void
bash_values(const char *place, const cli_option_t *options)
{
    const char          *values;
    const cli_option_t  *o;

    for (o = options; o != NULL && o->name != NULL; o++) {
        if (o->value == NULL) {
            continue;
        }

        printf("    %s/--%s", place, o->name);

        if (o->letter) {
            printf("|%s/-%c", place, o->letter);
        }

        values = option_values(o);

        if (values != NULL) {
            printf(") taken=values values='%s' ;;\n", values);
        } else {
            printf(") taken=%s ;;\n",
                   takes_file(o->value) ? "files" : "text");
        }
    }
}


static void
bash_verb(const char *noun, const cli_verb_t *verb)
{
    const char          *values;
    const cli_option_t  *o;

    printf("    %s/%s) options+='", noun, verb->name);

    for (o = verb->options; o != NULL && o->name != NULL; o++) {
        printf(" --%s", o->name);
    }

    values = alternatives(verb->words);

    printf("'%s%s%s%s ;;\n", values ? " words='" : "", values ? values : "",
           values ? "'" : "", takes_file(verb->words) ? " words=files" : "");
}


static void
bash_tables(const cli_noun_t *const *nouns)
{
    size_t               i;
    const cli_verb_t    *v;
    const cli_option_t  *o;

    printf("_opsauth_option()\n{\n    taken= values=\n\n    case $1 in\n");
    bash_values("*", cli_common_options);

    for (i = 0; nouns[i] != NULL; i++) {
        if (nouns[i]->alone != NULL) {
            bash_values(cli_format("%s/", nouns[i]->name),
                        nouns[i]->alone->options);
        }

        for (v = nouns[i]->verbs; v != NULL && v->name != NULL; v++) {
            bash_values(cli_format("%s/%s", nouns[i]->name, v->name),
                        v->options);
        }
    }

    printf("    esac\n}\n\n_opsauth_words()\n{\n    words= options='");

    for (o = cli_common_options; o->name != NULL; o++) {
        printf("%s--%s", (o == cli_common_options) ? "" : " ", o->name);
    }

    printf("'\n\n    case $1 in\n    /) words='");

    for (i = 0; nouns[i] != NULL; i++) {
        printf("%s ", nouns[i]->name);
    }

    printf("help' ;;\n");

    for (i = 0; nouns[i] != NULL; i++) {
        if (nouns[i]->alone != NULL) {
            bash_verb(nouns[i]->name, nouns[i]->alone);
            continue;
        }

        printf("    %s/) words='", nouns[i]->name);

        for (v = nouns[i]->verbs; v->name != NULL; v++) {
            printf("%s%s", (v == nouns[i]->verbs) ? "" : " ", v->name);
        }

        printf("' ;;\n");

        for (v = nouns[i]->verbs; v->name != NULL; v++) {
            bash_verb(nouns[i]->name, v);
        }
    }

    printf("    esac\n}\n\n");
}


static void
bash_script(const cli_noun_t *const *nouns)
{
    printf("# bash completion of opsauth, as \"opsauth completion bash\" "
           "prints it\n\n");

    bash_tables(nouns);

    /*
     * "=" is a word of its own in COMP_WORDS. noun and verb are the first words
     * that are neither options nor values of options.
     */

    printf(
"_opsauth()\n"
"{\n"
"    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
"    local i word noun= verb= taken values words options\n"
"\n"
"    if [[ $cur == = ]]; then\n"
"        cur=\n"
"    elif [[ $prev == = ]]; then\n"
"        prev=${COMP_WORDS[COMP_CWORD-2]}\n"
"    fi\n"
"\n"
"    for ((i = 1; i < COMP_CWORD; i++)); do\n"
"        word=${COMP_WORDS[i]}\n"
"        case $word in\n"
"        =) ;;\n"
"        -*)\n"
"            _opsauth_option \"$noun/$verb/$word\"\n"
"            [[ $taken && ${COMP_WORDS[i+1]} == = ]] && ((i++))\n"
"            [[ $taken ]] && ((i++)) ;;\n"
"        help) [[ $noun && ! $verb ]] && verb=$word ;;\n"
"        *)\n"
"            if [[ ! $noun ]]; then noun=$word\n"
"            elif [[ ! $verb ]]; then\n"
"                _opsauth_words \"$noun/\"\n"
"                [[ \" $words \" == *\" $word \"* ]] && verb=$word\n"
"            fi ;;\n"
"        esac\n"
"    done\n"
"\n"
"    COMPREPLY=()\n"
"    [[ $prev == -* ]] && _opsauth_option \"$noun/$verb/$prev\"\n"
"\n"
"    if [[ ! $taken || $prev != -* ]]; then\n"
"        _opsauth_words \"$noun/$verb\"\n"
"        taken=values values=$words\n"
"        [[ $cur == -* ]] && values=$options\n"
"        [[ $words == files && $cur != -* ]] && taken=files\n"
"    fi\n"
"\n"
"    case $taken in\n"
"    values) mapfile -t COMPREPLY < <(compgen -W \"$values\" -- \"$cur\") ;;\n"
"    files)\n"
"        compopt -o filenames 2>/dev/null\n"
"        mapfile -t COMPREPLY < <(compgen -f -- \"$cur\") ;;\n"
"    esac\n"
"}\n"
"\n"
"complete -F _opsauth opsauth\n");
}


/* --- zsh ---------------------------------------------------------------- */

/* text inside of '...[here]...' */
static const char *
zsh_text(const char *text)
{
    char        *out, *p;
    const char  *t;

    p = out = cli_alloc(strlen(text) * 4 + 1);

    for (t = text; *t != '\0'; t++) {
        if (*t == '\'') {
            p = stpcpy(p, "'\\''");

        } else if (*t == '\n') {
            *p++ = ' ';

        } else {
            if (strchr("[]:\\", *t) != NULL) {
                *p++ = '\\';
            }

            *p++ = *t;
        }
    }

    *p = '\0';

    return out;
}


static void
zsh_option(const cli_option_t *o, const char *indent)
{
    const char  *names, *values, *action;

    action = "";

    if (o->value != NULL) {
        values = option_values(o);
        action = cli_format(":%s:%s", zsh_text(o->value),
                            values ? cli_format("(%s)", values)
                                   : takes_file(o->value) ? "_files" : " ");
    }

    names = cli_format("--%s%s", o->name, o->value ? "=" : "");

    printf("%s'%s%s[%s]%s'", indent, (o->flags & CLI_MANY) ? "*" : "", names,
           zsh_text(o->help), action);

    if (o->letter) {
        printf(" \\\n%s'-%c[%s]%s'", indent, o->letter, zsh_text(o->help),
               action);
    }
}


static void
zsh_verb(const cli_verb_t *verb, const char *indent)
{
    const char          *values;
    const cli_option_t  *o;

    printf("%s_arguments -s -S $common", indent);

    for (o = verb->options; o != NULL && o->name != NULL; o++) {
        printf(" \\\n");
        zsh_option(o, cli_format("%s    ", indent));
    }

    values = alternatives(verb->words);

    if (verb->max != 0) {
        printf(" \\\n%s    '%s:%s:%s'", indent, (verb->max > 1) ? "*" : "1",
               zsh_text(verb->words),
               values ? cli_format("(%s)", values)
                      : takes_file(verb->words) ? "_files" : " ");
    }

    printf(" ;;\n");
}


static void
zsh_noun(const cli_noun_t *noun)
{
    const cli_verb_t  *v;

    printf("    %s)\n", noun->name);

    if (noun->alone != NULL) {
        zsh_verb(noun->alone, "        ");
        return;
    }

    printf("        _arguments -C -s -S $common '1: :((");

    for (v = noun->verbs; v->name != NULL; v++) {
        printf("%s%s\\:\"%s\"", (v == noun->verbs) ? "" : " ", v->name,
               zsh_text(v->summary));
    }

    printf("))' '*::: :->verb'\n"
           "        [[ $state == verb ]] || return\n"
           "        words=($line[1] \"${words[@]}\")\n"
           "        (( CURRENT += 1 ))\n\n"
           "        case $line[1] in\n");

    for (v = noun->verbs; v->name != NULL; v++) {
        printf("        %s)\n", v->name);
        zsh_verb(v, "            ");
    }

    printf("        esac ;;\n");
}


static void
zsh_script(const cli_noun_t *const *nouns)
{
    size_t               i;
    const cli_option_t  *o;

    printf("#compdef opsauth\n"
           "# zsh completion of opsauth, as \"opsauth completion zsh\" prints "
           "it\n\n"
           "_opsauth()\n{\n"
           "    local context curcontext=\"$curcontext\" state line\n"
           "    typeset -A opt_args\n"
           "    local -a common\n\n"
           "    common=(\n");

    for (o = cli_common_options; o->name != NULL; o++) {
        zsh_option(o, "        ");
        printf("\n");
    }

    printf("    )\n\n    _arguments -C -s -S $common '1: :((");

    for (i = 0; nouns[i] != NULL; i++) {
        printf("%s%s\\:\"%s\"", (i == 0) ? "" : " ", nouns[i]->name,
               zsh_text(nouns[i]->summary));
    }

    printf("))' '*::: :->noun'\n"
           "    [[ $state == noun ]] || return\n"
           "    words=($line[1] \"${words[@]}\")\n"
           "    (( CURRENT += 1 ))\n\n"
           "    case $line[1] in\n");

    for (i = 0; nouns[i] != NULL; i++) {
        zsh_noun(nouns[i]);
    }

    printf("    esac\n}\n\n"
           "if [[ $funcstack[1] == _opsauth ]]; then\n"
           "    _opsauth \"$@\"\n"
           "else\n"
           "    compdef _opsauth opsauth\n"
           "fi\n");
}


static int
completion_run(cli_t *cli)
{
    const char  *shell;

    shell = cli->options.words[0];

    if (strcmp(shell, "bash") == 0) {
        bash_script(cli->nouns);
        return CLI_OK;
    }

    if (strcmp(shell, "zsh") == 0) {
        zsh_script(cli->nouns);
        return CLI_OK;
    }

    return cli_fail(CLI_USAGE, "%s: expected bash or zsh", cli_quotez(shell));
}
