/*
 * Records on their way into the store, some hundred at a time. A batch is read
 * from the file while Redis writes the one before it. Each is one MULTI/EXEC,
 * so that nobody ever sees half a record, and each line is judged by what the
 * store says, watched from there to EXEC: what somebody else changes meanwhile
 * (a key that is revoked) is read and judged again.
 */

#ifndef CLI_BATCH_H
#define CLI_BATCH_H

#include "cli_entry.h"
#include "cli_memory.h"
#include "cli_store.h"


#define CLI_BATCH_ITEMS  128


typedef enum {
    CLI_ITEM_BAD = 0,
    CLI_ITEM_CREATED,
    CLI_ITEM_REPLACED,
    CLI_ITEM_UNCHANGED,
    CLI_ITEM_EXPIRED,                   /* a token that is over: left out */
    CLI_ITEM_VERDICTS
} cli_verdict_t;


typedef struct {
    uint64_t             line;
    cli_entry_t         *entry;         /* NULL: bad from the start */
    cli_verdict_t        verdict;
    const char          *bad;           /* why it is */
    oa_str_t             key;           /* the record's name in Redis */
    oa_str_t             digests[OA_PEPPERS_MAX];   /* where it may be */
    oa_str_t             account;       /* the owner's record's name */
    size_t               n;
    size_t               given;         /* fields that stand in the line */
    size_t               first;         /* its commands in the change */
    size_t               last;
    unsigned             raw:1;         /* the line has the key itself */
    unsigned             asks_id:1;
    unsigned             asks_account:1;

    /* what Redis said, and what is known from lines before in the batch */
    redisReply          *records[OA_PEPPERS_MAX];
    redisReply          *id_digest;
    redisReply          *owner;
} cli_item_t;


typedef struct {
    unsigned             replace:1;     /* overwrite records that differ */
    unsigned             unrevoke:1;    /* even revoked ones */
    unsigned             single:1;      /* "key import": one key, and new */
    unsigned             begun:1;       /* mark and audit entry are written */
    const char          *source;        /* for the audit */
} cli_import_t;


typedef struct {
    cli_t               *cli;
    cli_import_t        *import;
    cli_pool_t          *pool;
    cli_item_t           items[CLI_BATCH_ITEMS];
    size_t               n;
    cli_change_t         change;        /* the write; n 0: there is none */
} cli_batch_t;


void cli_batch_init(cli_batch_t *batch, cli_t *cli, cli_import_t *import);
void cli_batch_empty(cli_batch_t *batch);

/* one line more; data NULL: it was too long. Errors are no bad lines */
int cli_batch_add(cli_batch_t *batch, uint64_t number, oa_str_t line);

/* an entry that was put together otherwise; its secret is given back */
int cli_batch_add_entry(cli_batch_t *batch, cli_entry_t *entry);

/* asks Redis for all that the batch needs; the answers are judged and what is
   to be written is sent */
int cli_batch_ask(cli_batch_t *batch);
int cli_batch_write(cli_batch_t *batch);

/* the outcome. CLI_AGAIN: nothing was written, ask once more */
int cli_batch_finish(cli_batch_t *batch);

/* throws the answers away: something before it was not written */
int cli_batch_forget(cli_batch_t *batch);

/* all three, with nothing else under way, and again where it must be */
int cli_batch_once(cli_batch_t *batch);


#endif /* CLI_BATCH_H */
