/*
 * Records in Redis (DESIGN section 4): reading them, and changing them in one
 * way only. A change is a list of commands in the safe order: what makes a
 * credential live last, what kills it first, the audit entry and the store's
 * mark (<prefix>meta) with it. It is sent as one MULTI/EXEC, so that nobody
 * sees half of it; where a decision was taken on what a record said, the
 * record is watched, and CLI_AGAIN tells that it has changed meanwhile.
 */

#ifndef CLI_STORE_H
#define CLI_STORE_H

#include "cli.h"

#include "oa_record.h"


#define CLI_STORE_TRIES  5


typedef struct {
    oa_str_t            key;            /* name in Redis */
    redisReply         *reply;          /* an array: field, value, ... */
} cli_record_t;


typedef struct {
    cli_t              *cli;
    cli_command_t     **commands;
    size_t              n;
    size_t              room;
} cli_change_t;


/* --timeout, in seconds */
int cli_store_timeout(cli_t *cli, int64_t *timeout);

/* configuration and connection; does nothing the second time */
int cli_store_open(cli_t *cli);

/* the hasher of the pepper file, read at the first call */
int cli_store_hasher(cli_t *cli);

/* the peppers themselves, newest first; wiped at the end of the run */
int cli_store_peppers(cli_t *cli, oa_str_t peppers[OA_PEPPERS_MAX], size_t *n);

/* <prefix><kind><id> */
oa_str_t cli_store_key(cli_t *cli, const char *kind, oa_str_t id);

/* the hash at key; an absent one is CLI_NOT_FOUND, and not said */
int cli_store_read(cli_t *cli, oa_str_t key, cli_record_t *record);

/* n hashes in a pipeline; reply NULL where there is none, or no hash */
int cli_store_read_many(cli_t *cli, const oa_str_t *keys, size_t n,
    cli_record_t *records);

/* strings in a pipeline; data NULL where there is none */
int cli_store_strings(cli_t *cli, const oa_str_t *keys, size_t n,
    oa_str_t *values);

/* a pattern for all names that begin like this */
char *cli_store_pattern(oa_str_t key);

/* all ids under <prefix><kind>, sorted, each of them once */
int cli_store_scan(cli_t *cli, const char *kind, oa_str_t **ids, size_t *n);

/* the same for the members of a set */
int cli_store_members(cli_t *cli, oa_str_t key, oa_str_t **ids, size_t *n);

/* and of a sorted set */
int cli_store_ranked(cli_t *cli, oa_str_t key, oa_str_t **members, size_t *n);

/* data NULL where the field is absent */
oa_str_t cli_record_get(const cli_record_t *record, const char *field);

/* from here to cli_change_commit() a change of key gives CLI_AGAIN */
int cli_store_watch(cli_t *cli, oa_str_t key);

/* calls attempt again as long as it returns CLI_AGAIN, a few times */
int cli_store_retry(cli_t *cli, int (*attempt)(cli_t *cli, void *data),
    void *data);

void cli_change_init(cli_change_t *change, cli_t *cli);
cli_command_t *cli_change_add(cli_change_t *change, const char *name,
    oa_str_t key);

/* action "key.create", object its public id; never anything secret */
void cli_change_audit(cli_change_t *change, const char *action,
    oa_str_t object, const char *detail);

int cli_change_commit(cli_change_t *change);

/*
 * Gateways whose Redis does not track changes for them listen on a channel
 * (DESIGN section 7). It is sent after the fact, by cli_change_commit() itself,
 * and its refusal is no failure: then the lease alone brings the change into
 * force.
 */
void cli_change_announce(cli_change_t *change);


#endif /* CLI_STORE_H */
