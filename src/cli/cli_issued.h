/*
 * What was issued for an account: the sorted set tokens:<account>, which the
 * token service of the gateway keeps too. A member is the id of an access token
 * or, of a refresh token's family, the name of its record ("refresh:<digest>");
 * its score is when Redis forgets the record, so that a set never holds much
 * more than there is. API keys stand in credentials:<account> instead.
 */

#ifndef CLI_ISSUED_H
#define CLI_ISSUED_H

#include "cli_store.h"


/* a refresh token: which family, and a secret behind that */
#define CLI_FAMILY_LEN   22
#define CLI_REFRESH_LEN  65


/* the member, and away with those that are over; end 0: never */
void cli_issued_add(cli_change_t *change, oa_str_t account, oa_str_t member,
    int64_t end);

/* the name of a family's record; otherwise the id of a token */
int cli_issued_is_family(oa_str_t member);

/*
 * Former versions kept tokens in credentials:<account>, from which nothing
 * goes by itself. Of n members of it, those that Redis has forgotten are taken
 * out, where that is allowed; it is no failure where not.
 */
void cli_issued_sweep(cli_t *cli, oa_str_t account, const oa_str_t *ids,
    size_t n);

/*
 * All that can still be used, of an account, or (client.data not NULL) of one
 * of its clients alone, and its end: each record becomes a tombstone, as "key
 * revoke" leaves it, a batch in one change. Refresh tokens come first.
 */
typedef struct {
    cli_t         *cli;
    oa_str_t       account;
    oa_str_t       client;
    const char    *why;                 /* for the audit */
    oa_str_t      *live;                /* names of records */
    size_t         n;
    size_t         next;                /* of the batch */
    size_t         revoked;             /* access tokens and keys */
    size_t         families;
    unsigned       told:1;
} cli_ending_t;

/* what is alive now: ending->n records */
int cli_ending_read(cli_ending_t *ending);

int cli_ending_revoke(cli_ending_t *ending);


#endif /* CLI_ISSUED_H */
