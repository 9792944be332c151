/*
 * What API keys and access tokens have in common: both are credential records
 * under a digest, found by a public id. cli_key.c and cli_token.c are the verbs
 * over this.
 */

#ifndef CLI_CREDENTIAL_H
#define CLI_CREDENTIAL_H

#include <jansson.h>

#include "cli_store.h"

#include "oa_key.h"


typedef struct {
    oa_kind_t            kind;
    const char          *noun;          /* "key" */
    const char          *article;       /* "a key", for messages */
    const char          *prefix;        /* of public ids: "key_" */
} cli_kind_t;


#define CLI_STDIN_MAX  (64 * 1024)

typedef struct cli_new_s  cli_new_t;

/* a new credential, as the options ask for it */
struct cli_new_s {
    const cli_kind_t    *kind;
    oa_str_t             id;
    oa_str_t             account;
    oa_str_t             name;          /* data NULL: none, as for all below */
    oa_str_t             environment;
    oa_str_t             scopes;
    oa_str_t             ips;
    oa_str_t             client;
    oa_str_t             subject;
    int64_t              expires;       /* 0: never */
    oa_key_prefix_t      key_prefix;    /* keys only */
    unsigned char        secret[OA_KEY_MAX];
    size_t               len;
    cli_record_t         owner;         /* the account */

    /* what else changes together with it, or NULL: along() watches and reads
       what it depends on and adds to the change; undo() is called when the
       secret reached nobody */
    int                (*along)(cli_t *cli, cli_new_t *new,
                             cli_change_t *change);
    void               (*undo)(cli_t *cli, cli_new_t *new);
    void                *data;
    oa_str_t             predecessor;   /* whom it replaces */
};


/* a credential that there is */
typedef struct {
    oa_str_t             id;
    oa_str_t             digest;        /* hex */
    cli_record_t         record;
    unsigned             family:1;      /* a refresh token: its family's */
} cli_credential_t;


extern const cli_kind_t  cli_kind_key;
extern const cli_kind_t  cli_kind_token;


/*
 * Mints, writes and prints it: the secret alone on stdout, the rest on stderr.
 * The account's existence, the pepper and, for keys, the prefix are looked at
 * before anything is written, and the account is watched: none is made for one
 * that is being deleted. Wipes the secret.
 */
int cli_credential_create(cli_t *cli, cli_new_t *new);

/* a new public id: key_ and 16 characters as random as the secret's own */
int cli_credential_id(const cli_kind_t *kind, oa_str_t *id);

/* scopes of --permission and --scope together, at least one */
int cli_credential_scopes(cli_t *cli, oa_str_t *scopes);

/* options that keys and tokens share: account, environment, ips, expires */
int cli_credential_options(cli_t *cli, cli_new_t *new, const char *expires);

/* by its public id; CLI_NOT_FOUND is said */
int cli_credential_find(cli_t *cli, const cli_kind_t *kind, const char *id,
    cli_credential_t *credential);

/*
 * The records of n ids, *found of them, in the order of the ids; an id whose
 * record is gone (a token that Redis has forgotten) is passed over. records
 * has room for n.
 */
int cli_credential_read_ids(cli_t *cli, const oa_str_t *ids, size_t n,
    cli_record_t *records, size_t *found);

/* the raw credentials on stdin, one a line */
int cli_credential_stdin(cli_t *cli, const cli_kind_t *kind,
    cli_credential_t **credentials, size_t *n);

/* stdin as it is, into text[CLI_STDIN_MAX] */
int cli_credential_text(unsigned char *text, size_t *len);

/* a key where an id should be stands in the shell's history now: CLI_USAGE */
int cli_credential_not_secret(cli_t *cli, const cli_kind_t *kind,
    const char *word);

/* every word of the command line, "-" for stdin; runs to the end */
int cli_credential_revoke(cli_t *cli, const cli_kind_t *kind);

/*
 * The tombstone: state revoked, where there is a record and it is not so yet;
 * *changed tells (NULL: who cares). Never makes half a record. CLI_NOT_FOUND,
 * not said, where the record is gone meanwhile.
 */
int cli_credential_revoke_one(cli_t *cli, const cli_kind_t *kind,
    cli_credential_t *credential, int *changed);

/* cli_token_list.c: "token list" */
int cli_token_list(cli_t *cli);

/* cli_family.c: refresh tokens */

/* whose the refresh token is; CLI_NOT_FOUND, not said: none like it */
int cli_family_find(cli_t *cli, oa_str_t secret, cli_credential_t *family);

/* its end, and that of the access tokens that it gave: *access of them */
int cli_family_revoke(cli_t *cli, cli_credential_t *family, int *changed,
    json_t *access);

/* active, deprecated, revoked, or expired by the clock */
const char *cli_credential_state(cli_t *cli, const cli_record_t *record);

json_t *cli_credential_json(cli_t *cli, const cli_record_t *record);


#endif /* CLI_CREDENTIAL_H */
