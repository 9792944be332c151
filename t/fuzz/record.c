/*
 * Records: src/core/oa_record.c. A byte that says what follows: a value a line
 * for each field of a credential or an account, to be packed, viewed and then
 * damaged; or a packed block as somebody left it.
 */

#include "fuzz.h"
#include "oa_policy.h"
#include "oa_record.h"
#include "oa_set.h"


static oa_hasher_t  hasher;


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    oa_str_t  pepper = oa_string("no secret, there are no keys here");

    must(oa_hasher_init(&hasher, &pepper, 1) == OA_OK);

    return 0;
}


/* what the gateway does with the views */

static void
use(oa_credential_t *credential, oa_account_t *account)
{
    oa_rule_t         rule;
    oa_policy_t       policy;
    oa_request_t      request;
    oa_verdict_t      verdict;
    oa_requirement_t  requirements[2];

    requirements[0].what = OA_REQUIRE_SCOPE;
    requirements[0].any = fuzz_text("read:tenants");
    requirements[1].what = OA_REQUIRE_ROLE;
    requirements[1].any = fuzz_text("plans customer");

    memset(&rule, 0, sizeof(rule));
    rule.requirements = requirements;
    rule.n = 2;

    memset(&policy, 0, sizeof(policy));
    policy.environment = OA_ENV_ANY;
    policy.rules = &rule;
    policy.n = 1;
    policy.admin = 1;
    policy.admin_roles = fuzz_text("administrator");
    policy.admin_scopes = fuzz_text("admin");

    memset(&request, 0, sizeof(request));
    request.method = 2;
    request.now = 1700000000;
    must(oa_addr_parse(fuzz_text("203.0.113.7"), &request.addr) == OA_OK);

    oa_policy_decide(&policy, &request, credential, account, &verdict);

    if (verdict.reason == OA_REASON_OK) {
        must(account->enabled && credential->state != OA_STATE_REVOKED);
        must(credential->expires == 0
             || credential->expires > request.now);
        must(oa_cidr_match(credential->ips, &request.addr) == OA_OK);
        must(oa_cidr_match(account->ips, &request.addr) == OA_OK);
    }
}


static void
touch_credential(const unsigned char *packed, size_t len)
{
    oa_str_t         block;
    oa_account_t     account;
    oa_credential_t  credential;

    if (oa_credential_view(packed, len, &credential) != OA_OK) {
        return;
    }

    block.data = packed;
    block.len = len;

    must(fuzz_within(credential.id, block));
    must(fuzz_within(credential.account, block));
    must(fuzz_within(credential.scopes, block));
    must(fuzz_within(credential.ips, block));
    must(fuzz_within(credential.subject, block));
    must(fuzz_within(credential.client, block));
    must(fuzz_within((oa_str_t) { OA_ACCOUNT_KEY_LEN, credential.account_key },
                     block));
    fuzz_touch(block);

    memset(&account, 0, sizeof(account));
    account.enabled = 1;

    if (credential.claims) {
        oa_credential_claims(&credential, &account);
        must(account.tenant.len == 0 || fuzz_within(account.tenant, block));
        must(account.affiliate.len == 0
             || fuzz_within(account.affiliate, block));
        must(account.roles.len == 0 || fuzz_within(account.roles, block));
    }

    use(&credential, &account);
}


static void
touch_account(const unsigned char *packed, size_t len)
{
    oa_str_t         block;
    oa_account_t     account;
    oa_credential_t  credential;

    if (oa_account_view(packed, len, &account) != OA_OK) {
        return;
    }

    block.data = packed;
    block.len = len;

    must(fuzz_within(account.id, block));
    must(fuzz_within(account.tenant, block));
    must(fuzz_within(account.affiliate, block));
    must(fuzz_within(account.roles, block));
    must(fuzz_within(account.ips, block));
    must(fuzz_within(account.rate, block));

    memset(&credential, 0, sizeof(credential));
    credential.kind = OA_KIND_API_KEY;
    credential.state = OA_STATE_ACTIVE;
    credential.environment = OA_ENV_LIVE;
    credential.scopes = fuzz_text("read:*");

    use(&credential, &account);
}


/* the words of a set are those of the field that it was packed from */

static void
same_words(oa_str_t set, oa_str_t field)
{
    size_t         len;
    unsigned char  out[OA_RECORD_MAX];

    must(oa_set_pack(field, out, sizeof(out), &len) == OA_OK);
    must(fuzz_same(set, (oa_str_t) { len, out }));
}


/* the length of what was packed, 0: nothing was, and a field is to blame */

static size_t
packed(oa_rc_t rc, oa_str_t field, size_t len)
{
    must(rc != OA_ERROR);
    must((rc == OA_INVALID) == (field.data != NULL));
    must(rc != OA_OK || (len > 0 && len <= OA_RECORD_MAX));

    return rc == OA_OK ? len : 0;
}


static void
pack_credential(fuzz_t *in, unsigned char *block, size_t *len)
{
    size_t           i;
    oa_rc_t          rc;
    oa_str_t         v[OA_CREDENTIAL_FIELDS], field;
    const char      *error;
    unsigned char   *copy;
    oa_credential_t  view;

    for (i = 0; i < OA_CREDENTIAL_FIELDS; i++) {
        v[i] = fuzz_value(in);
    }

    *len = 0;
    rc = oa_credential_pack(v, &hasher, block, len, &field);
    *len = packed(rc, field, *len);

    if (*len == 0) {
        return;
    }

    for (i = 0; i < OA_CREDENTIAL_FIELDS; i++) {
        /* the command line checks by the same forms */
        must(v[i].data == NULL
             || oa_credential_field_check(
                    (const char *) oa_credential_fields[i].data, v[i], &error)
                == OA_OK);
    }

    copy = fuzz_copy(in, block, *len);

    must(oa_credential_view(copy, *len, &view) == OA_OK);
    must(fuzz_same(view.id, v[1]) && fuzz_same(view.account, v[3]));
    must(fuzz_same(fuzz_text(oa_kind_name(view.kind)), v[2]));
    must(fuzz_same(fuzz_text(oa_state_name(view.state)), v[4]));
    must(fuzz_same(fuzz_text(oa_environment_name(view.environment)), v[5]));
    same_words(view.scopes, v[6]);
    must(fuzz_same(view.subject, v[9]) && fuzz_same(view.client, v[10]));
    must(view.introspected == (v[15].data != NULL));
    must((view.claims != NULL) == (v[12].data || v[13].data || v[14].data));

    /* whatever is cut off, it is no record any more */
    for (i = 0; i < *len; i++) {
        must(oa_credential_view(copy, i, &view) == OA_INVALID);
    }

    touch_credential(copy, *len);
}


static void
pack_account(fuzz_t *in, unsigned char *block, size_t *len)
{
    size_t          i;
    oa_rc_t         rc;
    oa_str_t        id, v[OA_ACCOUNT_FIELDS], field;
    oa_account_t    view;
    unsigned char  *copy;

    id = fuzz_line(in);

    for (i = 0; i < OA_ACCOUNT_FIELDS; i++) {
        v[i] = fuzz_value(in);
    }

    *len = 0;
    rc = oa_account_pack(id, v, block, len, &field);
    *len = packed(rc, field, *len);

    if (*len == 0) {
        return;
    }

    copy = fuzz_copy(in, block, *len);

    must(oa_account_view(copy, *len, &view) == OA_OK);
    must(fuzz_same(view.id, id) && fuzz_same(view.tenant, v[1]));
    must(view.enabled == (v[0].data[0] == '1'));
    must(fuzz_same(view.affiliate, v[2]) && fuzz_same(view.rate, v[5]));
    same_words(view.roles, v[3]);

    for (i = 0; i < *len; i++) {
        must(oa_account_view(copy, i, &view) == OA_INVALID);
    }

    touch_account(copy, *len);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_t          in;
    size_t          len, at;
    uint8_t         how;
    oa_str_t        bytes;
    unsigned char   block[OA_RECORD_MAX], *copy;

    fuzz_start(&in, data, size);
    how = fuzz_byte(&in);

    if (how & 2) {
        bytes = fuzz_rest(&in);

        /* bytes that an earlier build had in its place may be there */
        touch_credential(bytes.data, bytes.len);
        touch_account(bytes.data, bytes.len);

        fuzz_end(&in);
        return 0;
    }

    if (how & 1) {
        pack_account(&in, block, &len);
    } else {
        pack_credential(&in, block, &len);
    }

    if (len) {
        copy = fuzz_copy(&in, block, len);

        while (in.n) {
            at = fuzz_byte(&in);
            at = (at << 8 | fuzz_byte(&in)) % len;
            copy[at] ^= fuzz_byte(&in);

            touch_credential(copy, len);
            touch_account(copy, len);
        }
    }

    fuzz_end(&in);
    return 0;
}
