/*
 * The ground of the opsauth command: exit codes, the context that every verb
 * gets, and how nouns and verbs describe themselves.
 *
 * One file holds one noun (cli_account.c: "opsauth account ...") and exports
 * one cli_noun_t; cli_main.c lists the nouns, and that is all it takes to add
 * one. Functions return an exit code; whoever returns another one than CLI_OK
 * has said why on stderr (cli_fail() does both), exceptions say so.
 */

#ifndef CLI_H
#define CLI_H

#include "oa_core.h"
#include "oa_digest.h"

#include "cli_config.h"
#include "cli_options.h"
#include "cli_redis.h"


#define CLI_VERSION     "0.1.0"

/* exit codes, as told by "opsauth --help" */
#define CLI_OK          0
#define CLI_FAILED      1
#define CLI_USAGE       2
#define CLI_NOT_FOUND   3

/* never an exit code: somebody changed the record meanwhile, read it again */
#define CLI_AGAIN       (-1)


typedef struct cli_s       cli_t;
typedef struct cli_noun_s  cli_noun_t;


typedef struct {
    const char          *name;          /* "create" */
    const char          *words;         /* "ID", for the usage line, or "" */
    unsigned             min;           /* how many words it takes */
    unsigned             max;
    const char          *summary;       /* one line */
    const cli_option_t  *options;       /* ends with name NULL; or NULL */
    const char          *text;          /* paragraphs and examples */
    int                (*run)(cli_t *cli);
} cli_verb_t;


struct cli_noun_s {
    const char          *name;          /* "account" */
    const char          *summary;
    const cli_verb_t    *verbs;         /* ends with name NULL; or NULL */
    const cli_verb_t    *alone;         /* what the word does by itself; its
                                           name is "" */
};


struct cli_s {
    const cli_noun_t *const  *nouns;    /* all there are; ends with NULL */
    const cli_noun_t    *noun;
    const cli_verb_t    *verb;
    cli_options_t        options;
    unsigned             json:1;
    int64_t              now;           /* Unix seconds, once for the run */

    cli_config_t         config;
    cli_redis_t          redis;
    oa_hasher_t          hasher;        /* see cli_store_hasher() */
};


/* "opsauth: ..." as one line on stderr; returns code */
int cli_fail(int code, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* the same for what is no failure */
void cli_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* asks a person, on stderr; CLI_FAILED unless the answer is yes */
int cli_confirm(const char *question);

/*
 * From here on what would be said on stderr is kept in *said instead, the last
 * of it without "opsauth: "; NULL ends that. For who reports failures itself.
 * Returns what it was before, for who may be called by such a one.
 */
const char **cli_capture(const char **said);

/* usage of the command, a noun or a verb, by what cli knows of them */
void cli_help_short(const cli_t *cli, const cli_noun_t *const *nouns);
void cli_help_full(const cli_t *cli, const cli_noun_t *const *nouns);


#endif /* CLI_H */
