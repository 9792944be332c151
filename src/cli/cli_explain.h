/*
 * opsauth explain: what is asked, what the configuration says of it, who asks,
 * and the checks as they were made.
 */

#ifndef CLI_EXPLAIN_H
#define CLI_EXPLAIN_H

#include "cli.h"
#include "cli_place.h"
#include "cli_site.h"
#include "cli_store.h"
#include "cli_uri.h"

#include "oa_policy.h"


/* one line of the explanation */
typedef struct {
    const char              *check;
    const char              *outcome;
    const char              *fact;
    const cli_directive_t   *by;            /* the deciding line, or NULL */
    const char              *otherwise;     /* in place of it: "default" */
} cli_row_t;


typedef struct {
    cli_t                   *cli;

    /* what is asked */
    const char              *method;
    const char              *from;          /* the address, as typed */
    cli_url_t                url;
    cli_target_t             target;
    oa_request_t             request;

    /* what the configuration says */
    const cli_directive_t   *http;
    const cli_directive_t   *store;         /* the block, or NULL */
    cli_server_t             server;
    cli_site_t               site;
    cli_place_t              place;

    /* who asks */
    const char              *id;            /* NULL: the credential is on stdin */
    oa_str_t                 secret;
    oa_str_t                 digest;
    oa_str_t                 fields[OA_CREDENTIAL_FIELDS];
    oa_str_t                 owner[OA_ACCOUNT_FIELDS];
    unsigned char            packed[2][OA_RECORD_MAX];
    oa_credential_t          credential;
    oa_account_t             account;

    /* what came of it */
    cli_row_t               *rows;
    size_t                   n;
    size_t                   room;
    size_t                   rule;          /* the next one that has no row */
    oa_check_t               check;         /* the last one that was made */
    unsigned                 admin:1;
    oa_reason_t              reason;
} cli_explain_t;


/* outcomes, alike in tables and JSON */
#define CLI_ROW_OK       "ok"
#define CLI_ROW_FAILS    "fails"
#define CLI_ROW_NO       "no"
#define CLI_ROW_PASSES   "passes"
#define CLI_ROW_APART    "does not apply"
#define CLI_ROW_SKIPPED  "not reached"
#define CLI_ROW_UNASKED  "not checked"

cli_row_t *cli_explain_row(cli_explain_t *x, const char *check,
    const char *outcome, const char *fact, const cli_directive_t *by);

/* from presence to the account's record; x->reason is what came of it */
int cli_explain_identify(cli_explain_t *x);

/* the checks of the policy; x->reason is the verdict */
void cli_explain_decide(cli_explain_t *x);

/* CLI_OK: the request would go on; CLI_FAILED: it would be turned away */
int cli_explain_print(const cli_explain_t *x);

/* directives that may change the outcome and are not followed */
const cli_directive_t **cli_explain_unfollowed(const cli_explain_t *x,
    unsigned status, size_t *n);


#endif /* CLI_EXPLAIN_H */
