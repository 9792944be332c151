/*
 * Records, packed and viewed: src/core/oa_record.c.  What each field may be is
 * tested in oa_record_field.c.
 */

#include "oa_cidr.h"
#include "oa_record.h"
#include "oa_set.h"
#include "oa_text.h"
#include "tap.h"
#include "oa_record_fixture.h"


static void
credential_round_trip(void)
{
    size_t           len;
    oa_str_t         values[OA_CREDENTIAL_FIELDS], field, bad;
    oa_credential_t  c;
    unsigned char    out[OA_RECORD_MAX], again[OA_RECORD_MAX], key[32];
    unsigned char    ips[OA_CIDR_PACKED_MAX];

    fill(values, credential_values, OA_CREDENTIAL_FIELDS);
    memset(out, 0x55, sizeof(out));
    memset(again, 0xaa, sizeof(again));

    is_int(pack_credential(values, out, &len, &field), OA_OK, "packs");
    is_int(pack_credential(values, again, &len, &field), OA_OK, "and again");
    ok(memcmp(out, again, len) == 0, "to the same bytes: none is left unset");
    ok(field.len == 0, "no field at fault");

    is_int(oa_credential_view(out, len, &c), OA_OK, "view");
    is_int(c.kind, OA_KIND_API_KEY, "kind");
    is_int(c.state, OA_STATE_ACTIVE, "state");
    is_int(c.environment, OA_ENV_LIVE, "environment");
    is_int(c.expires, 1900000000, "expires");
    is_int(c.deprecated, 1700000000, "deprecated");
    is_str(c.id.data, c.id.len, "key_9f", "id");
    is_str(c.account.data, c.account.len, "crm", "account");
    is_str(c.scopes.data, c.scopes.len, "read:* write:tenants", "scopes");
    is_str(c.subject.data, c.subject.len, "user-7", "subject");
    is_str(c.client.data, c.client.len, "client_1", "client");

    (void) oa_cidr_pack(values[IPS], ips, sizeof(ips), &len, &bad);
    ok(c.ips.len == len && memcmp(c.ips.data, ips, len) == 0, "ips");

    (void) oa_hasher_account(&hasher, str("crm"), key);
    ok(memcmp(c.account_key, key, OA_ACCOUNT_KEY_LEN) == 0, "account key");
    ok(c.introspected, "introspected");
    ok(c.claims != NULL, "claims of its own");

    /* the least that is a record */

    values[SCOPES] = str("");
    values[IPS] = values[SUBJECT] = values[CLIENT] = (oa_str_t) oa_null;
    values[DEPRECATED] = (oa_str_t) oa_null;
    values[OWN_TENANT] = values[OWN_AFFILIATE] = (oa_str_t) oa_null;
    values[OWN_ROLES] = values[INTROSPECTED] = (oa_str_t) oa_null;
    values[EXPIRES] = str("0");
    values[KIND] = str("access_token");
    values[STATE] = str("revoked");
    values[ENVIRONMENT] = str("test");

    is_int(pack_credential(values, out, &len, &field), OA_OK, "the least");
    is_int(oa_credential_view(out, len, &c), OA_OK, "view");
    ok(c.kind == OA_KIND_ACCESS_TOKEN && c.state == OA_STATE_REVOKED
       && c.environment == OA_ENV_TEST && c.expires == 0
       && c.deprecated == 0, "its words");
    ok(c.scopes.len == 0 && c.ips.len == 0 && c.subject.len == 0
       && c.client.len == 0, "its texts are empty");
    ok(!c.introspected && c.claims == NULL, "and it claims nothing");

    /* who wrote a state may not have said since when */

    values[STATE] = str("deprecated");
    is_int(pack_credential(values, out, &len, &field), OA_OK,
           "deprecated, and no word of since when");
    is_int(oa_credential_view(out, len, &c), OA_OK, "view");
    ok(c.state == OA_STATE_DEPRECATED && c.deprecated == 0, "is 0");

    values[SCOPES] = str("  a   b\ta ");
    (void) pack_credential(values, out, &len, &field);
    (void) oa_credential_view(out, len, &c);
    is_str(c.scopes.data, c.scopes.len, "a b", "scopes are kept as a set");
}


/* what the credential says itself, in place of its account's */

static void
claims(void)
{
    size_t           len, account_len, i, n, bad;
    oa_str_t         values[OA_CREDENTIAL_FIELDS], field;
    oa_str_t         account_texts[OA_ACCOUNT_FIELDS];
    oa_account_t     a;
    oa_credential_t  c;
    unsigned char    out[OA_RECORD_MAX], account[OA_RECORD_MAX];

    static const unsigned  places[] = { OWN_TENANT, OWN_AFFILIATE, OWN_ROLES };

    fill(account_texts, account_values, OA_ACCOUNT_FIELDS);
    (void) oa_account_pack(str("crm"), account_texts, account, &account_len,
                           &field);

    /* each of them there, empty, or absent */

    bad = 0;

    for (n = 0; n < 27; n++) {

        fill(values, credential_values, OA_CREDENTIAL_FIELDS);

        for (i = 0; i < 3; i++) {
            switch (n / (i == 0 ? 1 : i == 1 ? 3 : 9) % 3) {
            case 0:
                values[places[i]] = (oa_str_t) oa_null;
                break;
            case 1:
                values[places[i]] = str("");
                break;
            default:
                break;
            }
        }

        bad += (pack_credential(values, out, &len, &field) != OA_OK
                || oa_credential_view(out, len, &c) != OA_OK
                || oa_account_view(account, account_len, &a) != OA_OK
                || (c.claims == NULL) != (n == 0));

        if (c.claims != NULL) {
            oa_credential_claims(&c, &a);
        }

        bad += !oa_text_eq(a.tenant, n % 3 == 0 ? "org_42"
                                     : n % 3 == 1 ? "" : "org_9");
        bad += !oa_text_eq(a.affiliate, n / 3 % 3 == 0 ? "aff_7"
                                        : n / 3 % 3 == 1 ? "" : "aff_3");
        bad += !oa_text_eq(a.roles, n / 9 % 3 == 0 ? "customer plans-and-rates"
                                    : n / 9 % 3 == 1 ? "" : "partner plans");
        bad += !oa_text_eq(a.id, "crm") || !oa_text_eq(a.rate, "300/m");
        bad += !oa_text_eq(c.client, "client_1");
    }

    is_int(bad, 0, "what is there stands in place of the account's, also where "
           "it is empty");
}


static void
account_round_trip(void)
{
    size_t         len;
    char           id[OA_ACCOUNT_MAX + 2];
    oa_str_t       values[OA_ACCOUNT_FIELDS], field;
    oa_account_t   a;
    unsigned char  out[OA_RECORD_MAX];

    fill(values, account_values, OA_ACCOUNT_FIELDS);

    is_int(oa_account_pack(str("crm"), values, out, &len, &field), OA_OK,
           "packs");
    is_int(oa_account_view(out, len, &a), OA_OK, "view");
    is_int(a.enabled, 1, "enabled");
    is_int(a.refresh, 1, "refresh");
    is_str(a.id.data, a.id.len, "crm", "id");
    is_str(a.tenant.data, a.tenant.len, "org_42", "tenant");
    is_str(a.affiliate.data, a.affiliate.len, "aff_7", "affiliate");
    is_str(a.roles.data, a.roles.len, "customer plans-and-rates", "roles");
    is_str(a.rate.data, a.rate.len, "300/m", "rate");
    ok(a.ips.len == 6
       && memcmp(a.ips.data, "\x04\x20\xc6\x33\x64\x07", 6) == 0, "ips");

    memset(values, 0, sizeof(values));
    values[ENABLED] = str("0");
    is_int(oa_account_pack(str("crm"), values, out, &len, &field), OA_OK,
           "only enabled is required");
    is_int(oa_account_view(out, len, &a), OA_OK, "view");
    ok(!a.enabled && !a.refresh, "both off");
    ok(a.tenant.len == 0 && a.affiliate.len == 0 && a.roles.len == 0
       && a.ips.len == 0 && a.rate.len == 0, "its texts are empty");

    is_int(oa_account_pack(str(""), values, out, &len, &field), OA_INVALID,
           "an empty id");
    is_int(oa_account_pack(str("a b"), values, out, &len, &field), OA_INVALID,
           "an id with a blank");
    ok(field.len != 0, "names a field");

    memset(id, 'i', sizeof(id));
    id[OA_ACCOUNT_MAX] = '\0';
    is_int(oa_account_pack(str(id), values, out, &len, &field), OA_OK,
           "the longest id");
    id[OA_ACCOUNT_MAX] = 'i';
    id[OA_ACCOUNT_MAX + 1] = '\0';
    is_int(oa_account_pack(str(id), values, out, &len, &field), OA_INVALID,
           "one longer");

    values[ENABLED] = (oa_str_t) oa_null;
    is_int(oa_account_pack(str("crm"), values, out, &len, &field),
           OA_DECLINED, "no field at all: no such account");
}


static void
largest(void)
{
    size_t           len, i;
    oa_str_t         values[OA_CREDENTIAL_FIELDS], field;
    oa_str_t         account_fields[OA_ACCOUNT_FIELDS];
    oa_credential_t  c;
    char             ips[OA_IPS_MAX], text[OA_SET_MAX], filler[OA_SET_MAX];
    unsigned char   *out;

    ips[0] = '\0';

    for (i = 0; i < OA_CIDR_MAX; i++) {
        sprintf(ips + strlen(ips), "2001:db8::%zx ", i + 1);
    }

    memset(text, 'x', sizeof(text));

    fill(values, credential_values, OA_CREDENTIAL_FIELDS);
    values[IPS] = str(ips);
    values[SCOPES] = (oa_str_t) { OA_SET_MAX, (unsigned char *) text };
    values[SUBJECT] = (oa_str_t) { OA_VALUE_MAX, (unsigned char *) text };
    values[ID] = (oa_str_t) { OA_ID_MAX, (unsigned char *) text };
    values[ACCOUNT] = (oa_str_t) { OA_ACCOUNT_MAX, (unsigned char *) text };
    values[CLIENT] = (oa_str_t) oa_null;

    /* exactly OA_RECORD_MAX bytes of room, guarded */

    out = malloc(OA_RECORD_MAX);

    is_int(pack_credential(values, out, &len, &field), OA_OK,
           "a very large record");
    ok(len <= OA_RECORD_MAX && oa_credential_view(out, len, &c) == OA_OK
       && c.scopes.len == OA_SET_MAX && c.ips.len == OA_CIDR_PACKED_MAX,
       "comes back");

    values[CLIENT] = (oa_str_t) { OA_RECORD_MAX - len,
                                  (unsigned char *) text };
    is_int(pack_credential(values, out, &len, &field), OA_OK,
           "one that is full");
    is_int(len, OA_RECORD_MAX, "to the last byte");
    is_int(oa_credential_view(out, len, &c), OA_OK, "comes back too");

    values[CLIENT].len++;
    is_int(pack_credential(values, out, &len, &field), OA_INVALID,
           "one byte more is too much");
    ok(field.len != 0, "and some field is named");

    fill(account_fields, account_values, OA_ACCOUNT_FIELDS);
    memset(filler, 'y', sizeof(filler));
    account_fields[TENANT] = (oa_str_t) { OA_VALUE_MAX,
                                          (unsigned char *) filler };
    account_fields[AFFILIATE] = account_fields[TENANT];
    account_fields[ROLES] = (oa_str_t) { OA_SET_MAX,
                                         (unsigned char *) filler };
    account_fields[ACCOUNT_IPS] = str(ips);

    is_int(oa_account_pack((oa_str_t) { OA_ACCOUNT_MAX,
                                        (unsigned char *) text },
                           account_fields, out, &len, &field),
           OA_INVALID, "an account with everything at its limit");
    ok(field.len != 0, "names a field");

    free(out);
}


/* touch every byte that a view points at: ASan sees whether it is ours */

static unsigned
touch(oa_str_t s)
{
    size_t    i;
    unsigned  sum;

    for (sum = 0, i = 0; i < s.len; i++) {
        sum += s.data[i];
    }

    return sum;
}


static int
inside(oa_str_t s, const unsigned char *p, size_t len)
{
    return s.data >= p && s.len <= len
           && (size_t) (s.data - p) <= len - s.len;
}


static volatile unsigned  sink;


static int
view_credential(const unsigned char *p, size_t len)
{
    size_t           i;
    oa_addr_t        addr;
    oa_account_t     a;
    oa_credential_t  c;

    if (oa_credential_view(p, len, &c) != OA_OK) {
        return 0;
    }

    sink += touch(c.id) + touch(c.account) + touch(c.scopes) + touch(c.ips)
            + touch(c.subject) + touch(c.client);

    for (i = 0; i < OA_ACCOUNT_KEY_LEN; i++) {
        sink += c.account_key[i];
    }

    (void) oa_addr_parse(str("203.0.113.7"), &addr);
    sink += oa_cidr_match(c.ips, &addr);
    sink += (unsigned) oa_scope_grants(c.scopes, str("read:x"));

    memset(&a, 0, sizeof(a));
    a.tenant = a.affiliate = a.roles = c.id;

    if (c.claims != NULL) {
        oa_credential_claims(&c, &a);
        sink += touch(a.tenant) + touch(a.affiliate) + touch(a.roles);
    }

    return inside(a.tenant, p, len) && inside(a.affiliate, p, len)
           && inside(a.roles, p, len) && inside(c.id, p, len) && inside(c.account, p, len)
           && inside(c.scopes, p, len) && inside(c.ips, p, len)
           && inside(c.subject, p, len) && inside(c.client, p, len)
           && c.expires >= 0 && c.deprecated >= 0 ? 1 : -1;
}


static int
view_account(const unsigned char *p, size_t len)
{
    oa_addr_t     addr;
    oa_account_t  a;

    if (oa_account_view(p, len, &a) != OA_OK) {
        return 0;
    }

    sink += touch(a.id) + touch(a.tenant) + touch(a.affiliate)
            + touch(a.roles) + touch(a.ips) + touch(a.rate);

    (void) oa_addr_parse(str("203.0.113.7"), &addr);
    sink += oa_cidr_match(a.ips, &addr);

    return inside(a.id, p, len) && inside(a.tenant, p, len)
           && inside(a.affiliate, p, len) && inside(a.roles, p, len)
           && inside(a.ips, p, len) && inside(a.rate, p, len) ? 1 : -1;
}


static void
damaged_block(const char *name, const unsigned char *block, size_t len,
    int (*view)(const unsigned char *p, size_t len),
    int (*other)(const unsigned char *p, size_t len))
{
    size_t         i, k, n, bad;
    unsigned char *copy;

    /* at any address */

    bad = 0;

    for (i = 0; i < 16; i++) {
        copy = malloc(len + i);
        memcpy(copy + i, block, len);
        bad += (view(copy + i, len) != 1);
        free(copy);
    }

    is_int(bad, 0, "%s: viewed at any alignment", name);

    bad = 0;

    for (n = 0; n < len; n++) {
        copy = tap_copy(block, n);
        bad += (view(copy, n) != 0) + (other(copy, n) != 0);
        free(copy);
    }

    is_int(bad, 0, "%s: refused when cut, wherever", name);

    bad = 0;

    for (n = 1; n < 64; n++) {
        copy = malloc(len + n);
        memcpy(copy, block, len);
        memset(copy + len, 0, n);
        bad += (view(copy, len + n) != 0);
        free(copy);
    }

    is_int(bad, 0, "%s: refused when something stands behind", name);

    copy = malloc(OA_RECORD_MAX + 1);
    memset(copy, 0, OA_RECORD_MAX + 1);
    memcpy(copy, block, len);
    is_int(view(copy, OA_RECORD_MAX + 1), 0, "%s: refused when too large",
           name);
    free(copy);

    is_int(other(block, len), 0, "%s: is not the other kind", name);

    bad = 0;

    for (i = 0; i < len * 8; i++) {
        copy = tap_copy(block, len);
        copy[i / 8] ^= (unsigned char) (1 << i % 8);
        bad += (view(copy, len) < 0) + (other(copy, len) < 0);
        free(copy);
    }

    is_int(bad, 0, "%s: every bit turned: no view beyond the block", name);

    bad = 0;

    for (i = 0; i < 50000; i++) {
        copy = tap_copy(block, len);

        for (k = 1 + tap_random_below(8); k; k--) {
            n = tap_random_below(tap_random_below(4) ? 64 : len);
            copy[n < len ? n : 0] = (unsigned char) tap_random();
        }

        /* type and layout, so that more get past the first look */

        copy[0] = block[0];
        copy[1] = block[1];

        bad += (view(copy, len) < 0) + (other(copy, len) < 0);
        free(copy);
    }

    is_int(bad, 0, "%s: random bytes changed: no view beyond the block",
           name);

    bad = 0;

    for (i = 0; i < 50000; i++) {
        n = tap_random_below(200);
        copy = malloc(n ? n : 1);
        tap_random_bytes(copy, n);

        if (n > 1) {
            copy[0] = block[0];
            copy[1] = block[1];
        }

        bad += (view(copy, n) < 0) + (other(copy, n) < 0);
        free(copy);
    }

    is_int(bad, 0, "%s: random bytes", name);
}


static void
damaged(void)
{
    size_t         len;
    oa_str_t       values[OA_CREDENTIAL_FIELDS], field;
    unsigned char  out[OA_RECORD_MAX];

    fill(values, credential_values, OA_CREDENTIAL_FIELDS);
    (void) pack_credential(values, out, &len, &field);
    damaged_block("credential", out, len, view_credential, view_account);

    fill(values, account_values, OA_ACCOUNT_FIELDS);
    (void) oa_account_pack(str("crm"), values, out, &len, &field);
    damaged_block("account", out, len, view_account, view_credential);
}


/* values as a hostile Redis might send them */

static void
hostile(void)
{
    size_t           i, k, n, len, bad, oks;
    oa_str_t         values[OA_CREDENTIAL_FIELDS], field;
    oa_account_t     a;
    oa_credential_t  c;
    unsigned char   *copies[OA_CREDENTIAL_FIELDS], *out, text[1200];

    bad = 0;
    oks = 0;

    for (i = 0; i < 30000; i++) {

        fill(values, credential_values, OA_CREDENTIAL_FIELDS);
        memset(copies, 0, sizeof(copies));

        for (k = 1 + tap_random_below(2); k; k--) {
            n = tap_random_below(OA_CREDENTIAL_FIELDS);

            if (copies[n]) {
                continue;
            }

            len = tap_random_below(tap_random_below(8) ? 12 : sizeof(text));
            tap_random_bytes(text, len);

            if (i % 2) {
                size_t  b;

                for (b = 0; b < len; b++) {
                    text[b] = (unsigned char) "01ax:./, "[text[b] % 9];
                }
            }

            copies[n] = tap_copy(text, len);
            values[n].len = len;
            values[n].data = copies[n];
        }

        out = malloc(OA_RECORD_MAX);

        switch (pack_credential(values, out, &len, &field)) {

        case OA_OK:
            oks++;
            bad += (field.len != 0 || len > OA_RECORD_MAX
                    || oa_credential_view(out, len, &c) != OA_OK
                    || !oa_text_is_header_safe(c.id)
                    || !oa_text_is_header_safe(c.account)
                    || !oa_text_is_header_safe(c.scopes)
                    || !oa_text_is_header_safe(c.subject)
                    || !oa_text_is_header_safe(c.client));

            memset(&a, 0, sizeof(a));

            if (c.claims != NULL) {
                oa_credential_claims(&c, &a);
            }

            bad += (!oa_text_is_header_safe(a.tenant)
                    || !oa_text_is_header_safe(a.affiliate)
                    || !oa_text_is_header_safe(a.roles));
            break;

        case OA_INVALID:
            bad += (field.len == 0);
            break;

        default:
            bad++;
        }

        free(out);

        for (k = 0; k < OA_CREDENTIAL_FIELDS; k++) {
            free(copies[k]);
        }
    }

    ok(oks > 1000, "random fields: some make a record");
    is_int(bad, 0, "and those are header-safe and come back");
}


int
main(void)
{
    oa_str_t       pepper, values[OA_CREDENTIAL_FIELDS], field;
    size_t         len;
    oa_hasher_t    none;
    unsigned char  out[OA_RECORD_MAX];

    pepper = str("0123456789abcdef");

    if (oa_hasher_init(&hasher, &pepper, 1) != OA_OK) {
        ok(0, "hasher");
        return done_testing();
    }

    credential_round_trip();
    claims();
    account_round_trip();
    largest();
    damaged();
    hostile();

    memset(&none, 0, sizeof(none));
    fill(values, credential_values, OA_CREDENTIAL_FIELDS);
    is_int(oa_credential_pack(values, &none, out, &len, &field), OA_ERROR,
           "a hasher that fails is our own trouble");

    oa_hasher_cleanup(&hasher);

    return done_testing();
}
