/*
 * See cli_issued.h.
 */

#include "cli_credential.h"
#include "cli_issued.h"
#include "cli_memory.h"
#include "cli_text.h"

#include "oa_text.h"

#include <string.h>


#define BATCH   100                     /* records at once */
#define FAMILY  "refresh:"
#define HINT    8                       /* of a digest, what may be shown */


void
cli_issued_add(cli_change_t *change, oa_str_t account, oa_str_t member,
    int64_t end)
{
    oa_str_t        key;
    cli_command_t  *command;

    key = cli_store_key(change->cli, "tokens:", account);

    command = cli_change_add(change, "ZADD", key);
    cli_command_addz(command, (end == 0) ? "+inf"
                              : cli_format("%lld", (long long) end));
    cli_command_add(command, member);

    command = cli_change_add(change, "ZREMRANGEBYSCORE", key);
    cli_command_addz(command, "-inf");
    cli_command_addz(command, cli_format("(%lld",
                                         (long long) change->cli->now));
}


int
cli_issued_is_family(oa_str_t member)
{
    return member.len == sizeof(FAMILY) - 1 + OA_DIGEST_HEX_LEN
           && memcmp(member.data, FAMILY, sizeof(FAMILY) - 1) == 0;
}


void
cli_issued_sweep(cli_t *cli, oa_str_t account, const oa_str_t *ids, size_t n)
{
    size_t           i, k;
    oa_str_t        *tokens, *keys, *digests;
    redisReply      *reply;
    cli_command_t   *srem;

    tokens = cli_alloc((n + 1) * sizeof(oa_str_t));
    keys = cli_alloc((n + 1) * sizeof(oa_str_t));
    digests = cli_alloc((n + 1) * sizeof(oa_str_t));

    for (i = k = 0; i < n; i++) {
        if (ids[i].len > 4 && memcmp(ids[i].data, "tok_", 4) == 0) {
            tokens[k] = ids[i];
            keys[k++] = cli_store_key(cli, "id:", ids[i]);
        }
    }

    if (k == 0 || cli_store_strings(cli, keys, k, digests) != CLI_OK) {
        return;
    }

    srem = cli_command("SREM", cli_store_key(cli, "credentials:", account));

    for (i = n = 0; i < k; i++) {
        if (digests[i].data == NULL) {
            cli_command_add(srem, tokens[i]);
            n++;
        }
    }

    if (n != 0) {
        (void) cli_redis_pipeline(&cli->redis, &srem, 1, &reply);
    }
}


static int
same(oa_str_t a, oa_str_t b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}


static int
is_live(const cli_record_t *record)
{
    return !oa_text_eq(cli_record_get(record, "state"),
                       oa_state_name(OA_STATE_REVOKED));
}


/* of n records, those that are meant, and not revoked */
static void
live_add(cli_ending_t *e, const cli_record_t *records, size_t n)
{
    size_t    i;
    oa_str_t  owner;

    for (i = 0; i < n; i++) {
        if (records[i].reply == NULL || !is_live(&records[i])) {
            continue;
        }

        owner = cli_record_get(&records[i], "account");

        if (!same(owner, e->account)) {
            if (!e->told) {
                cli_note("%s is listed here but belongs to account %s; it "
                         "stays", cli_quote(cli_record_get(&records[i], "id")),
                         cli_quote(owner));
            }

            continue;
        }

        if (e->client.data == NULL
            || same(cli_record_get(&records[i], "client"), e->client))
        {
            e->live[e->n++] = records[i].key;
        }
    }
}


/* n names of what was issued, BATCH at most */
static int
names_read(cli_ending_t *e, const oa_str_t *names, size_t n)
{
    int           rc;
    size_t        i, ids, families;
    oa_str_t      id[BATCH], family[BATCH];
    cli_record_t  records[BATCH];

    for (i = ids = families = 0; i < n; i++) {
        if (cli_issued_is_family(names[i])) {
            family[families++] = cli_store_key(e->cli, "", names[i]);

        } else {
            id[ids++] = names[i];
        }
    }

    rc = cli_store_read_many(e->cli, family, families, records);

    if (rc == CLI_OK) {
        live_add(e, records, families);
        rc = cli_credential_read_ids(e->cli, id, ids, records, &ids);
    }

    if (rc == CLI_OK) {
        live_add(e, records, ids);
    }

    return rc;
}


static int
names_each(cli_ending_t *e, const oa_str_t *names, size_t n)
{
    int     rc;
    size_t  i, mark;

    mark = e->cli->redis.n;

    for (rc = CLI_OK, i = 0; i < n && rc == CLI_OK; i += BATCH) {
        rc = names_read(e, names + i, (n - i < BATCH) ? n - i : BATCH);
        cli_redis_forget(&e->cli->redis, mark);
    }

    return rc;
}


int
cli_ending_read(cli_ending_t *e)
{
    int        rc;
    size_t     n, issued;
    oa_str_t  *ids, *names;

    e->n = e->next = 0;

    /* sorted, so that families ("refresh:") precede tokens ("tok_") */

    rc = cli_store_ranked(e->cli, cli_store_key(e->cli, "tokens:", e->account),
                          &names, &issued);

    if (rc == CLI_OK) {
        rc = cli_store_members(e->cli, cli_store_key(e->cli, "credentials:",
                                                     e->account), &ids, &n);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    e->live = cli_alloc((issued + n + 1) * sizeof(oa_str_t));
    rc = names_each(e, names, issued);

    if (rc == CLI_OK) {
        rc = names_each(e, ids, n);
    }

    e->told = 1;

    return rc;
}


/* a family has no id of its own */
static oa_str_t
record_object(const cli_record_t *record)
{
    oa_str_t  id;

    id = cli_record_get(record, "id");

    return (id.data != NULL || record->key.len < OA_DIGEST_HEX_LEN)
           ? id
           : cli_str(cli_format("refresh_%.*s", HINT,
                                (const char *) record->key.data
                                + record->key.len - OA_DIGEST_HEX_LEN));
}


static void
record_end(cli_ending_t *e, cli_change_t *change, const cli_record_t *record)
{
    oa_str_t        kind;
    cli_command_t  *command;

    command = cli_change_add(change, "HSET", record->key);
    cli_command_addz(command, "state");
    cli_command_addz(command, oa_state_name(OA_STATE_REVOKED));

    kind = cli_record_get(record, "kind");
    cli_change_audit(change,
                     oa_text_eq(kind, oa_kind_name(OA_KIND_API_KEY))
                     ? "key.revoke" : "token.revoke", record_object(record),
                     cli_format("account=%s%s%s, %s",
                                cli_text_safe(e->account),
                                e->client.data ? ", client=" : "",
                                cli_text_safe(e->client), e->why));
}


static int
batch_attempt(cli_t *cli, void *data)
{
    int             rc;
    size_t          i, n, live, families;
    oa_str_t       *keys;
    cli_change_t    change;
    cli_record_t   *records;
    cli_ending_t   *e;
    cli_command_t  *watch;

    e = data;
    keys = &e->live[e->next];
    n = (e->n - e->next < BATCH) ? e->n - e->next : BATCH;
    records = cli_alloc(n * sizeof(cli_record_t));
    watch = cli_command("WATCH", keys[0]);

    for (i = 1; i < n; i++) {
        cli_command_add(watch, keys[i]);
    }

    rc = cli_redis_call(&cli->redis, watch, NULL);

    if (rc == CLI_OK) {
        rc = cli_store_read_many(cli, keys, n, records);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    cli_change_init(&change, cli);

    for (i = live = families = 0; i < n; i++) {

        /* one that is gone meanwhile must not come back as half a record */

        if (records[i].reply == NULL || !is_live(&records[i])) {
            continue;
        }

        record_end(e, &change, &records[i]);
        families += (cli_record_get(&records[i], "id").data == NULL);
        live++;
    }

    rc = (live != 0) ? cli_change_commit(&change) : CLI_OK;

    if (rc == CLI_OK) {
        e->revoked += live - families;
        e->families += families;
    }

    return rc;
}


int
cli_ending_revoke(cli_ending_t *e)
{
    int     rc;
    size_t  mark;

    mark = e->cli->redis.n;

    for (rc = CLI_OK; e->next < e->n && rc == CLI_OK; e->next += BATCH) {
        rc = cli_store_retry(e->cli, batch_attempt, e);
        cli_redis_forget(&e->cli->redis, mark);
    }

    return rc;
}
