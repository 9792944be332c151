/*
 * One line of an export: an account, a client or a credential as one JSON
 * object, in the shape that "show --json" has. Reading it checks every field as the gateway
 * would; what it can't know of (the store, the peppers) is for cli_batch.c.
 */

#ifndef CLI_ENTRY_H
#define CLI_ENTRY_H

#include <stdio.h>

#include <jansson.h>

#include "cli.h"

#include "oa_key.h"


#define CLI_ENTRY_FIELDS  64            /* of one record at most */

/* a token's record outlives it by a day */
#define CLI_TOKEN_GRACE   86400


typedef struct {
    oa_str_t             name;
    oa_str_t             value;
} cli_field_t;


typedef struct cli_type_s  cli_type_t;

typedef struct {
    const cli_type_t    *type;
    oa_str_t             id;            /* data NULL: to be minted */
    oa_str_t             digest;        /* of a credential, hex; or NULL */
    json_t              *secret;        /* the raw key instead; or NULL */
    cli_field_t          fields[CLI_ENTRY_FIELDS];
    size_t               n;
} cli_entry_t;


typedef enum {
    CLI_FORM_TEXT,                      /* a string */
    CLI_FORM_LIST,                      /* a list of words, or one string */
    CLI_FORM_FLAG,                      /* true, false */
    CLI_FORM_TIME                       /* ISO 8601 in UTC, Unix seconds */
} cli_form_type_t;

typedef struct {
    const char          *name;
    cli_form_type_t      type;
} cli_form_t;

struct cli_type_s {
    const char          *name;          /* "account" */
    const char          *kind;          /* "account:", of names in Redis */
    const cli_form_t    *forms;         /* members in the order of "show
                                           --json"; they end with name NULL */
};

/* the id of a credential is a field of it; of the others, their name */
extern const cli_type_t  cli_type_account;
extern const cli_type_t  cli_type_client;
extern const cli_type_t  cli_type_credential;


/* what JSON leaves in memory is wiped from here on; before any other use */
void cli_entry_init(void);

/*
 * The line -> entry. CLI_USAGE: it is a bad one, and *bad says why without
 * repeating what may be a secret. The entry lives in the pool in use, but
 * entry->secret is the caller's to give back
 * (and only there where the line is a good one).
 */
int cli_entry_parse(cli_t *cli, oa_str_t line, cli_entry_t *entry,
    const char **bad);

/* a field's value; data NULL where the entry has none */
oa_str_t cli_entry_get(const cli_entry_t *entry, const char *field);
void cli_entry_set(cli_entry_t *entry, const char *field, oa_str_t value);

/*
 * entry->secret, a raw key, as the gateway would read it; what follows from its
 * prefix is set in the entry. CLI_USAGE as above.
 */
int cli_entry_secret(cli_t *cli, cli_entry_t *entry, const char **bad);

/* the whole record, as the gateway would pack it; NULL: it is good */
const char *cli_entry_check(cli_t *cli, const cli_entry_t *entry);

/*
 * The record under this name as one line. CLI_FAILED: it holds what JSON can't
 * carry; what happened to out is for the caller to ask of it.
 */
int cli_entry_print(FILE *out, const cli_type_t *type, oa_str_t name,
    const redisReply *record);


#endif /* CLI_ENTRY_H */
