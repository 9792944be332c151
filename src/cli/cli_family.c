/*
 * Refresh tokens. All of a family are one record, refresh:<digest of the part
 * that they have in common>; to revoke one is to revoke them all, and the
 * access tokens that they gave and that are still alive (the gateway does the
 * same by a script, where it may not watch several records).
 */

#include "cli_credential.h"
#include "cli_issued.h"
#include "cli_memory.h"
#include "cli_text.h"

#include "oa_set.h"
#include "oa_text.h"

#include <string.h>


#define HINT  8                         /* of a digest, what may be shown */


typedef struct {
    cli_credential_t  *family;
    json_t            *access;
    int                changed;
} revoke_t;


int
cli_family_find(cli_t *cli, oa_str_t secret, cli_credential_t *family)
{
    int             rc;
    char            hex[OA_DIGEST_HEX_LEN];
    size_t          i;
    unsigned char   bytes[OA_DIGEST_LEN];

    if (secret.len != CLI_REFRESH_LEN) {
        return CLI_NOT_FOUND;
    }

    secret.len = CLI_FAMILY_LEN;

    for (i = 0; i < cli->hasher.n; i++) {

        if (oa_hasher_credential(&cli->hasher, i, secret, bytes) != OA_OK) {
            return cli_fail(CLI_FAILED, "libcrypto failed");
        }

        oa_text_hex(bytes, sizeof(bytes), (unsigned char *) hex);
        family->digest.data = (unsigned char *) cli_copy(hex, sizeof(hex));
        family->digest.len = sizeof(hex);
        family->id = cli_str(cli_format("refresh_%.*s", HINT, hex));
        family->family = 1;

        family->record.key = cli_store_key(cli, "refresh:", family->digest);
        rc = cli_store_read(cli, family->record.key, &family->record);

        if (rc != CLI_NOT_FOUND) {
            return rc;
        }
    }

    family->family = 0;

    return CLI_NOT_FOUND;
}


/* "digest:expires ..." -> names of records; *n of them */
static oa_str_t *
access_keys(cli_t *cli, oa_str_t access, size_t *n)
{
    size_t     pos;
    oa_str_t   word, *keys;

    keys = cli_alloc((access.len / OA_DIGEST_HEX_LEN + 1) * sizeof(oa_str_t));
    pos = 0;
    *n = 0;

    while (oa_set_next(access, &pos, &word)) {
        if (word.len > OA_DIGEST_HEX_LEN
            && word.data[OA_DIGEST_HEX_LEN] == ':')
        {
            word.len = OA_DIGEST_HEX_LEN;
            keys[(*n)++] = cli_store_key(cli, "credential:", word);
        }
    }

    return keys;
}


static int
is_revoked(const cli_record_t *record)
{
    return oa_text_eq(cli_record_get(record, "state"),
                      oa_state_name(OA_STATE_REVOKED));
}


static void
tombstone(cli_change_t *change, oa_str_t key)
{
    cli_command_t  *hset;

    hset = cli_change_add(change, "HSET", key);
    cli_command_addz(hset, "state");
    cli_command_addz(hset, oa_state_name(OA_STATE_REVOKED));
}


static int
revoke_attempt(cli_t *cli, void *data)
{
    int                rc;
    size_t             i, n;
    oa_str_t          *keys, id;
    revoke_t          *revoke;
    const char        *with;
    cli_change_t       change;
    cli_record_t      *records;
    cli_credential_t  *f;

    revoke = data;
    revoke->changed = 0;
    json_array_clear(revoke->access);
    f = revoke->family;

    rc = cli_store_watch(cli, f->record.key);

    if (rc == CLI_OK) {
        rc = cli_store_read(cli, f->record.key, &f->record);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    keys = access_keys(cli, cli_record_get(&f->record, "access"), &n);
    records = cli_alloc((n + 1) * sizeof(cli_record_t));

    for (i = 0; i < n && rc == CLI_OK; i++) {
        rc = cli_store_watch(cli, keys[i]);
    }

    if (rc == CLI_OK) {
        rc = cli_store_read_many(cli, keys, n, records);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    cli_change_init(&change, cli);
    with = "";

    if (!is_revoked(&f->record)) {
        tombstone(&change, f->record.key);
        revoke->changed = 1;
    }

    for (i = 0; i < n; i++) {
        if (records[i].reply == NULL || is_revoked(&records[i])) {
            continue;
        }

        tombstone(&change, keys[i]);
        id = cli_record_get(&records[i], "id");
        with = cli_format("%s%s%s", with, with[0] ? " " : ", with ",
                          cli_text_safe(id));
        json_array_append_new(revoke->access,
                              json_string(cli_text_safe(id)));
    }

    if (!revoke->changed && with[0] == '\0') {
        return CLI_OK;
    }

    revoke->changed = 1;
    cli_change_audit(&change, "token.revoke", f->id,
                     cli_format("account=%s, client=%s%s",
                                cli_text_safe(cli_record_get(&f->record,
                                                             "account")),
                                cli_text_safe(cli_record_get(&f->record,
                                                             "client")),
                                with));

    return cli_change_commit(&change);
}


int
cli_family_revoke(cli_t *cli, cli_credential_t *family, int *changed,
    json_t *access)
{
    int       rc;
    revoke_t  revoke;

    revoke.family = family;
    revoke.access = access;
    rc = cli_store_retry(cli, revoke_attempt, &revoke);
    *changed = revoke.changed;

    return rc;
}
