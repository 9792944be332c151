/*
 * opsauth audit: entries of the stream, and how they are shown.
 */

#ifndef CLI_AUDIT_H
#define CLI_AUDIT_H

#include "cli_memory.h"
#include "cli_store.h"


#define CLI_AUDIT_COLUMNS  4            /* those that are aligned */


/* an id of a stream's entry */
typedef struct {
    uint64_t             ms;
    uint64_t             seq;
} cli_position_t;


typedef struct {
    cli_position_t       id;
    oa_str_t             name;          /* the id as Redis has it */
    oa_str_t             who;
    oa_str_t             action;
    oa_str_t             object;
    oa_str_t             detail;
    oa_str_t             at;
} cli_audit_entry_t;


typedef struct {
    cli_t               *cli;
    cli_pool_t          *pool;          /* of one page */
    oa_str_t             key;
    cli_position_t       start;         /* what is asked for, both included */
    cli_position_t       end;
    cli_position_t       last;          /* what was read last */
    int64_t              limit;         /* 0: all of them */
    const char          *who;
    const char          *action;
    const char          *object;
    const char          *account;
    size_t               widths[CLI_AUDIT_COLUMNS];
    unsigned             follow:1;
    unsigned             some:1;        /* printed already */
} cli_audit_t;


/* an array of id and fields -> entry; 0: it is none */
int cli_audit_entry(const redisReply *reply, cli_audit_entry_t *entry);

/* whether the options ask for it */
int cli_audit_wanted(const cli_audit_t *audit, const cli_audit_entry_t *entry);

/* those wanted of a list as Redis returned it; an empty one (NULL) prints the
   head alone */
int cli_audit_print(cli_audit_t *audit, const redisReply *page);


#endif /* CLI_AUDIT_H */
