/*
 * What each field of a record may be: src/core/oa_record_field.c.  Packing and
 * the check of one field alone must always say the same.
 */

#include "oa_record.h"
#include "oa_text.h"
#include "tap.h"
#include "oa_record_fixture.h"


static const char *const  credential_names[OA_CREDENTIAL_FIELDS] = {
    "v", "id", "kind", "account", "state", "environment", "scopes", "ips",
    "expires", "subject", "client", "deprecated", "tenant", "affiliate",
    "roles", "introspected"
};

static const char *const  account_names[OA_ACCOUNT_FIELDS] = {
    "enabled", "tenant", "affiliate", "roles", "ips", "rate", "refresh"
};


/* one field of a good credential is replaced; NULL: absent */

static void
credential(unsigned place, const char *value, oa_rc_t wanted)
{
    size_t         len;
    oa_rc_t        rc;
    oa_str_t       values[OA_CREDENTIAL_FIELDS], field;
    const char    *error;
    unsigned char  out[OA_RECORD_MAX];

    fill(values, credential_values, OA_CREDENTIAL_FIELDS);
    values[place] = str(value);

    rc = pack_credential(values, out, &len, &field);

    ok(rc == wanted
       && oa_text_eq(field, wanted == OA_OK ? "" : credential_names[place]),
       "credential: %s \"%.40s\" is %d", credential_names[place],
       value ? value : "(absent)", wanted);

    if (value == NULL) {
        return;
    }

    error = NULL;
    rc = oa_credential_field_check(credential_names[place], values[place],
                                   &error);
    ok(rc == wanted && (error == NULL) == (wanted == OA_OK),
       "and so says the check of the field alone");
}


static void
account(unsigned place, const char *value, oa_rc_t wanted)
{
    size_t         len;
    oa_rc_t        rc;
    oa_str_t       values[OA_ACCOUNT_FIELDS], field;
    const char    *error;
    unsigned char  out[OA_RECORD_MAX];

    fill(values, account_values, OA_ACCOUNT_FIELDS);
    values[place] = str(value);

    rc = oa_account_pack(str("crm"), values, out, &len, &field);

    ok(rc == wanted
       && oa_text_eq(field, wanted == OA_OK ? "" : account_names[place]),
       "account: %s \"%.40s\" is %d", account_names[place],
       value ? value : "(absent)", wanted);

    if (value == NULL) {
        return;
    }

    error = NULL;
    rc = oa_account_field_check(account_names[place], values[place], &error);
    ok(rc == wanted && (error == NULL) == (wanted == OA_OK),
       "and so says the check of the field alone");
}


static void
fields(void)
{
    size_t  i;

    for (i = 0; i < OA_CREDENTIAL_FIELDS; i++) {
        is_str(oa_credential_fields[i].data, oa_credential_fields[i].len,
               credential_names[i], "credential: field %zu", i);
    }

    for (i = 0; i < OA_ACCOUNT_FIELDS; i++) {
        is_str(oa_account_fields[i].data, oa_account_fields[i].len,
               account_names[i], "account: field %zu", i);
    }

    is_str(oa_state_name(OA_STATE_ACTIVE), 6, "active", "state");
    is_str(oa_state_name(OA_STATE_DEPRECATED), 10, "deprecated", "state");
    is_str(oa_state_name(OA_STATE_REVOKED), 7, "revoked", "state");
    is_str(oa_kind_name(OA_KIND_API_KEY), 7, "api_key", "kind");
    is_str(oa_kind_name(OA_KIND_ACCESS_TOKEN), 12, "access_token", "kind");
    is_str(oa_environment_name(OA_ENV_LIVE), 4, "live", "environment");
    is_str(oa_environment_name(OA_ENV_TEST), 4, "test", "environment");
    is_str(oa_environment_name(OA_ENV_ANY), 3, "any", "environment");
    ok(oa_state_name((oa_state_t) 99) != NULL
       && oa_kind_name((oa_kind_t) 99) != NULL
       && oa_environment_name((oa_environment_t) 99) != NULL,
       "a value outside has a name that can be printed");
}


/* text of n times c; static, for one use */

static const char *
long_text(char c, size_t n)
{
    static char  text[4096];

    memset(text, c, n);
    text[n] = '\0';

    return text;
}


static void
credential_fields(void)
{
    size_t         i, len;
    oa_str_t       values[OA_CREDENTIAL_FIELDS], field;
    unsigned char  out[OA_RECORD_MAX];

    memset(values, 0, sizeof(values));
    is_int(pack_credential(values, out, &len, &field), OA_DECLINED,
           "no field at all: no such credential");
    ok(field.len == 0, "and no field at fault");

    for (i = 0; i < OA_CREDENTIAL_FIELDS; i++) {
        credential((unsigned) i, NULL,
                   (i == IPS || i == SUBJECT || i == CLIENT
                    || i >= DEPRECATED) ? OA_OK : OA_INVALID);

        memset(values, 0, sizeof(values));
        values[i] = str("");
        is_int(pack_credential(values, out, &len, &field), OA_INVALID,
               "%s alone, and empty, is a record that is broken",
               credential_names[i]);
    }

    credential(OWN_TENANT, "org 9", OA_OK);
    credential(OWN_TENANT, "", OA_OK);
    credential(OWN_TENANT, "a\nb", OA_INVALID);
    credential(OWN_TENANT, long_text('t', OA_VALUE_MAX), OA_OK);
    credential(OWN_TENANT, long_text('t', OA_VALUE_MAX + 1), OA_INVALID);
    credential(OWN_AFFILIATE, "", OA_OK);
    credential(OWN_AFFILIATE, "a\177", OA_INVALID);
    credential(OWN_ROLES, "", OA_OK);
    credential(OWN_ROLES, "customer  plans", OA_OK);
    credential(OWN_ROLES, "a\"b", OA_INVALID);
    credential(OWN_ROLES, long_text('r', OA_SET_MAX + 1), OA_INVALID);
    credential(INTROSPECTED, "0", OA_OK);
    credential(INTROSPECTED, "", OA_INVALID);
    credential(INTROSPECTED, "-1", OA_INVALID);
    credential(INTROSPECTED, "yes", OA_INVALID);

    credential(V, "1", OA_OK);
    credential(V, "", OA_INVALID);
    credential(V, "2", OA_INVALID);
    credential(V, "0", OA_INVALID);
    credential(V, "01", OA_INVALID);
    credential(V, "1 ", OA_INVALID);

    credential(ID, "key_9f", OA_OK);
    credential(ID, "", OA_INVALID);
    credential(ID, "key 9f", OA_INVALID);
    credential(ID, "key\r\n", OA_INVALID);
    credential(ID, "schl\xc3\xbcssel", OA_INVALID);
    credential(ID, long_text('k', OA_ID_MAX), OA_OK);
    credential(ID, long_text('k', OA_ID_MAX + 1), OA_INVALID);

    credential(KIND, "access_token", OA_OK);
    credential(KIND, "API_KEY", OA_INVALID);
    credential(KIND, "", OA_INVALID);
    credential(KIND, "key", OA_INVALID);

    credential(ACCOUNT, "acc:1@example.com", OA_OK);
    credential(ACCOUNT, "", OA_INVALID);
    credential(ACCOUNT, "a/b", OA_INVALID);
    credential(ACCOUNT, "a*", OA_INVALID);
    credential(ACCOUNT, long_text('a', OA_ACCOUNT_MAX), OA_OK);
    credential(ACCOUNT, long_text('a', OA_ACCOUNT_MAX + 1), OA_INVALID);

    credential(STATE, "deprecated", OA_OK);
    credential(STATE, "revoked", OA_OK);
    credential(STATE, "", OA_INVALID);
    credential(STATE, "Active", OA_INVALID);
    credential(STATE, "active ", OA_INVALID);

    credential(ENVIRONMENT, "test", OA_OK);
    credential(ENVIRONMENT, "any", OA_INVALID);
    credential(ENVIRONMENT, "", OA_INVALID);
    credential(ENVIRONMENT, "staging", OA_INVALID);

    credential(SCOPES, "", OA_OK);
    credential(SCOPES, "admin", OA_OK);
    credential(SCOPES, "a\"b", OA_INVALID);
    credential(SCOPES, "a\nb", OA_INVALID);
    credential(SCOPES, "a\x7f", OA_INVALID);
    credential(SCOPES, long_text('s', OA_SET_MAX), OA_OK);
    credential(SCOPES, long_text('s', OA_SET_MAX + 1), OA_INVALID);

    credential(IPS, "", OA_OK);
    credential(IPS, "203.0.113.7,198.51.100.0/24", OA_OK);
    credential(IPS, "203.0.113.7/24", OA_INVALID);
    credential(IPS, ",", OA_INVALID);
    credential(IPS, "any", OA_INVALID);
    credential(IPS, long_text(' ', OA_IPS_MAX), OA_OK);
    credential(IPS, long_text(' ', OA_IPS_MAX + 1), OA_INVALID);

    credential(EXPIRES, "0", OA_OK);
    credential(EXPIRES, "9223372036854775807", OA_OK);
    credential(EXPIRES, "9223372036854775808", OA_INVALID);
    credential(EXPIRES, "", OA_INVALID);
    credential(EXPIRES, "never", OA_INVALID);
    credential(EXPIRES, "-1", OA_INVALID);
    credential(EXPIRES, "1.5", OA_INVALID);
    credential(EXPIRES, " 1", OA_INVALID);

    credential(SUBJECT, "", OA_OK);
    credential(SUBJECT, "Zo\xc3\xab, \"x\"", OA_OK);
    credential(SUBJECT, "a\r\nX-Roles: administrator", OA_INVALID);
    credential(SUBJECT, "a\tb", OA_INVALID);
    credential(SUBJECT, long_text('s', OA_VALUE_MAX), OA_OK);
    credential(SUBJECT, long_text('s', OA_VALUE_MAX + 1), OA_INVALID);

    credential(CLIENT, "https://client.example/metadata", OA_OK);
    credential(CLIENT, "a\nb", OA_INVALID);
    credential(CLIENT, long_text('c', OA_ACCOUNT_MAX), OA_OK);
    credential(CLIENT, long_text('c', OA_ACCOUNT_MAX + 1), OA_INVALID);

    credential(DEPRECATED, "0", OA_OK);
    credential(DEPRECATED, "9223372036854775807", OA_OK);
    credential(DEPRECATED, "9223372036854775808", OA_INVALID);
    credential(DEPRECATED, "", OA_INVALID);
    credential(DEPRECATED, "yes", OA_INVALID);
}


static void
account_fields(void)
{
    account(ENABLED, "1", OA_OK);
    account(ENABLED, "0", OA_OK);
    account(ENABLED, NULL, OA_INVALID);
    account(ENABLED, "", OA_INVALID);
    account(ENABLED, "2", OA_INVALID);
    account(ENABLED, "true", OA_INVALID);
    account(ENABLED, "01", OA_INVALID);

    account(TENANT, NULL, OA_OK);
    account(TENANT, "", OA_OK);
    account(TENANT, "Acme GmbH & Co", OA_OK);
    account(TENANT, "a\r\nb", OA_INVALID);
    account(TENANT, long_text('t', OA_VALUE_MAX), OA_OK);
    account(TENANT, long_text('t', OA_VALUE_MAX + 1), OA_INVALID);

    account(AFFILIATE, NULL, OA_OK);
    account(AFFILIATE, "a\x01", OA_INVALID);
    account(AFFILIATE, long_text('t', OA_VALUE_MAX + 1), OA_INVALID);

    account(ROLES, NULL, OA_OK);
    account(ROLES, "", OA_OK);
    account(ROLES, "customer  admin", OA_OK);
    account(ROLES, "cust\\omer", OA_INVALID);
    account(ROLES, long_text('r', OA_SET_MAX + 1), OA_INVALID);

    account(ACCOUNT_IPS, NULL, OA_OK);
    account(ACCOUNT_IPS, "::/0", OA_OK);
    account(ACCOUNT_IPS, "::1/0", OA_INVALID);

    account(RATE, NULL, OA_OK);
    account(RATE, "", OA_OK);
    account(RATE, "1/s", OA_OK);
    account(RATE, "300/m", OA_OK);
    account(RATE, "10/s,1000/h", OA_OK);
    account(RATE, "10/s,1000/h,100000/d", OA_OK);
    account(RATE, "1000000000/d", OA_OK);
    account(RATE, "1000000001/d", OA_INVALID);
    account(RATE, "0/m", OA_INVALID);
    account(RATE, "300", OA_INVALID);
    account(RATE, "300/", OA_INVALID);
    account(RATE, "/m", OA_INVALID);
    account(RATE, "300m", OA_INVALID);
    account(RATE, "300/w", OA_INVALID);
    account(RATE, "300/min", OA_INVALID);
    account(RATE, "300/M", OA_INVALID);
    account(RATE, "300/m,", OA_INVALID);
    account(RATE, ",300/m", OA_INVALID);
    account(RATE, "300/m 10/s", OA_INVALID);
    account(RATE, "300/m, 10/s", OA_INVALID);
    account(RATE, "-1/m", OA_INVALID);
    account(RATE, "1.5/s", OA_INVALID);
    account(RATE, "99999999999999999999/s", OA_INVALID);
    account(RATE, long_text('1', OA_RATE_MAX + 1), OA_INVALID);

    account(REFRESH, NULL, OA_OK);
    account(REFRESH, "0", OA_OK);
    account(REFRESH, "", OA_INVALID);
    account(REFRESH, "yes", OA_INVALID);
}


static void
field_checks(void)
{
    const char  *error;

    error = NULL;
    is_int(oa_credential_field_check("name", str("nightly sync"), &error),
           OA_OK, "a name");
    is_int(oa_credential_field_check("name", str("a\nb"), &error), OA_INVALID,
           "a name of two lines");
    ok(error != NULL && strstr(error, "control") != NULL, "says why");
    is_int(oa_account_field_check("description",
                                  str(long_text('d', OA_NAME_MAX)), &error),
           OA_OK, "the longest description");
    is_int(oa_account_field_check("description",
                                  str(long_text('d', OA_NAME_MAX + 1)),
                                  &error),
           OA_INVALID, "one longer");
    is_int(oa_credential_field_check("created", str("17x"), &error),
           OA_INVALID, "a time that is none");

    is_int(oa_account_field_check("scopes", str("read:* write:users"),
                                  &error),
           OA_OK, "the most that tokens of an account may have");
    is_int(oa_account_field_check("scopes", str(""), &error), OA_OK,
           "which may be none");
    is_int(oa_account_field_check("scopes",
                                  str(long_text('s', OA_SET_MAX)), &error),
           OA_OK, "the longest");
    error = NULL;
    is_int(oa_account_field_check("scopes",
                                  str(long_text('s', OA_SET_MAX + 1)),
                                  &error),
           OA_INVALID, "one longer");
    is_int(oa_account_field_check("scopes", str("a\"b"), &error), OA_INVALID,
           "one that is no set of words");
    ok(error != NULL && strstr(error, "words") != NULL, "says why");

    error = NULL;
    is_int(oa_credential_field_check("colour", str("red"), &error),
           OA_INVALID, "a field that is not known");
    ok(error != NULL, "says so");
    is_int(oa_account_field_check("expires", str("0"), &error), OA_INVALID,
           "a credential's field in an account");
    is_int(oa_credential_field_check("rate", str("1/s"), &error), OA_INVALID,
           "an account's field in a credential");
    is_int(oa_account_field_check("", str("a"), &error), OA_INVALID,
           "no name");
}


int
main(void)
{
    oa_str_t  pepper;

    pepper = str("0123456789abcdef");

    if (oa_hasher_init(&hasher, &pepper, 1) != OA_OK) {
        ok(0, "hasher");
        return done_testing();
    }

    fields();
    credential_fields();
    account_fields();
    field_checks();

    oa_hasher_cleanup(&hasher);

    return done_testing();
}
