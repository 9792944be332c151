/*
 * The form of each field of a record.
 *
 * Contract: one table a record, in the order in which Redis is asked; packing
 * and the command line read the same tables, so that the one never writes
 * what the other refuses.  Invariants: everything that can reach a header of
 * the backend is header-safe; nothing is guessed: a required field that is
 * absent, and any field with a form of its own that is empty, is invalid.
 */

#include <string.h>

#include "oa_cidr.h"
#include "oa_rate.h"
#include "oa_record_field.h"
#include "oa_set.h"
#include "oa_text.h"


#define OA_RECORD_NUMBER_MAX  20        /* digits, with some leading zeros */


typedef struct {
    const char              *name;
    const oa_record_form_t  *form;
} oa_record_extra_t;


static int oa_field_kind(oa_str_t value);
static int oa_field_state(oa_str_t value);
static int oa_field_environment(oa_str_t value);
static int oa_field_number(oa_str_t value);
static int oa_field_set(oa_str_t value);
static int oa_field_ips(oa_str_t value);

static oa_rc_t oa_record_field_check(const oa_str_t *names,
    const oa_record_form_t *forms, size_t n, const char *field,
    oa_str_t value, const char **error);
static int oa_record_form_holds(const oa_record_form_t *form, oa_str_t value);


#define OA_EXPECTED_ID                                                        \
    "expected letters, digits and any of . _ : @ -, at most "

#define OA_EXPECTED_TEXT                                                      \
    "expected a text without control characters, at most "

#define OA_EXPECTED_SET                                                       \
    "expected words of visible ASCII without \" and \\, with spaces in "      \
    "between, at most 768 bytes"

#define OA_EXPECTED_IPS                                                       \
    "expected at most 32 addresses or networks with no bit set behind the "   \
    "prefix length, such as 203.0.113.7 198.51.100.0/24 2001:db8::/32"


const oa_str_t  oa_credential_fields[OA_CREDENTIAL_FIELDS] = {
    [OA_CREDENTIAL_V] = oa_string("v"),
    [OA_CREDENTIAL_ID] = oa_string("id"),
    [OA_CREDENTIAL_KIND] = oa_string("kind"),
    [OA_CREDENTIAL_ACCOUNT] = oa_string("account"),
    [OA_CREDENTIAL_STATE] = oa_string("state"),
    [OA_CREDENTIAL_ENVIRONMENT] = oa_string("environment"),
    [OA_CREDENTIAL_SCOPES] = oa_string("scopes"),
    [OA_CREDENTIAL_IPS] = oa_string("ips"),
    [OA_CREDENTIAL_EXPIRES] = oa_string("expires"),
    [OA_CREDENTIAL_SUBJECT] = oa_string("subject"),
    [OA_CREDENTIAL_CLIENT] = oa_string("client"),
    [OA_CREDENTIAL_DEPRECATED] = oa_string("deprecated"),
    [OA_CREDENTIAL_TENANT] = oa_string("tenant"),
    [OA_CREDENTIAL_AFFILIATE] = oa_string("affiliate"),
    [OA_CREDENTIAL_ROLES] = oa_string("roles"),
    [OA_CREDENTIAL_INTROSPECTED] = oa_string("introspected")
};


const oa_str_t  oa_account_fields[OA_ACCOUNT_FIELDS] = {
    [OA_ACCOUNT_ENABLED] = oa_string("enabled"),
    [OA_ACCOUNT_TENANT] = oa_string("tenant"),
    [OA_ACCOUNT_AFFILIATE] = oa_string("affiliate"),
    [OA_ACCOUNT_ROLES] = oa_string("roles"),
    [OA_ACCOUNT_IPS] = oa_string("ips"),
    [OA_ACCOUNT_RATE] = oa_string("rate"),
    [OA_ACCOUNT_REFRESH] = oa_string("refresh")
};


const oa_record_form_t  oa_credential_forms[OA_CREDENTIAL_FIELDS] = {
    [OA_CREDENTIAL_V] =
        { 1, 1, oa_field_version, "expected 1" },
    [OA_CREDENTIAL_ID] =
        { 1, OA_ID_MAX, oa_text_is_id, OA_EXPECTED_ID "64" },
    [OA_CREDENTIAL_KIND] =
        { 1, 16, oa_field_kind, "expected api_key or access_token" },
    [OA_CREDENTIAL_ACCOUNT] =
        { 1, OA_ACCOUNT_MAX, oa_text_is_id, OA_EXPECTED_ID "128" },
    [OA_CREDENTIAL_STATE] =
        { 1, 16, oa_field_state, "expected active, deprecated or revoked" },
    [OA_CREDENTIAL_ENVIRONMENT] =
        { 1, 16, oa_field_environment, "expected live or test" },
    [OA_CREDENTIAL_SCOPES] =
        { 1, OA_SET_MAX, oa_field_set, OA_EXPECTED_SET },
    [OA_CREDENTIAL_IPS] =
        { 0, OA_IPS_MAX, oa_field_ips, OA_EXPECTED_IPS },
    [OA_CREDENTIAL_EXPIRES] =
        { 1, OA_RECORD_NUMBER_MAX, oa_field_number,
          "expected Unix seconds, 0 for never" },
    [OA_CREDENTIAL_SUBJECT] =
        { 0, OA_VALUE_MAX, oa_text_is_header_safe,
          OA_EXPECTED_TEXT "256 bytes" },
    [OA_CREDENTIAL_CLIENT] =
        { 0, OA_ACCOUNT_MAX, oa_text_is_header_safe,
          OA_EXPECTED_TEXT "128 bytes" },
    [OA_CREDENTIAL_DEPRECATED] =
        { 0, OA_RECORD_NUMBER_MAX, oa_field_number, "expected Unix seconds" },
    [OA_CREDENTIAL_TENANT] =
        { 0, OA_VALUE_MAX, oa_text_is_header_safe,
          OA_EXPECTED_TEXT "256 bytes" },
    [OA_CREDENTIAL_AFFILIATE] =
        { 0, OA_VALUE_MAX, oa_text_is_header_safe,
          OA_EXPECTED_TEXT "256 bytes" },
    [OA_CREDENTIAL_ROLES] =
        { 0, OA_SET_MAX, oa_field_set, OA_EXPECTED_SET },
    [OA_CREDENTIAL_INTROSPECTED] =
        { 0, OA_RECORD_NUMBER_MAX, oa_field_number, "expected Unix seconds" }
};


const oa_record_form_t  oa_account_forms[OA_ACCOUNT_FIELDS] = {
    [OA_ACCOUNT_ENABLED] =
        { 1, 1, oa_field_flag, "expected 0 or 1" },
    [OA_ACCOUNT_TENANT] =
        { 0, OA_VALUE_MAX, oa_text_is_header_safe,
          OA_EXPECTED_TEXT "256 bytes" },
    [OA_ACCOUNT_AFFILIATE] =
        { 0, OA_VALUE_MAX, oa_text_is_header_safe,
          OA_EXPECTED_TEXT "256 bytes" },
    [OA_ACCOUNT_ROLES] =
        { 0, OA_SET_MAX, oa_field_set, OA_EXPECTED_SET },
    [OA_ACCOUNT_IPS] =
        { 0, OA_IPS_MAX, oa_field_ips, OA_EXPECTED_IPS },
    [OA_ACCOUNT_RATE] =
        { 0, OA_RATE_MAX, oa_field_rate,
          "expected requests per s, m, h or d, such as 300/m or "
          "10/s,1000/h, or unlimited, or nothing" },
    [OA_ACCOUNT_REFRESH] =
        { 0, 1, oa_field_flag, "expected 0 or 1" }
};


/* fields that the gateway does not read, but people do */

static const oa_record_form_t  oa_form_name =
    { 0, OA_NAME_MAX, oa_text_is_header_safe, OA_EXPECTED_TEXT "256 bytes" };

static const oa_record_form_t  oa_form_time =
    { 0, OA_RECORD_NUMBER_MAX, oa_field_number, "expected Unix seconds" };

static const oa_record_form_t  oa_form_id =
    { 1, OA_ID_MAX, oa_text_is_id, OA_EXPECTED_ID "64" };

static const oa_record_extra_t  oa_record_extras[] = {
    { "name", &oa_form_name },
    { "description", &oa_form_name },
    { "hint", &oa_form_name },
    { "created", &oa_form_time },
    { "updated", &oa_form_time },
    { "successor", &oa_form_id },
    { "predecessor", &oa_form_id }
};

#define OA_RECORD_EXTRAS                                                      \
    (sizeof(oa_record_extras) / sizeof(oa_record_extras[0]))


oa_rc_t
oa_credential_field_check(const char *field, oa_str_t value,
    const char **error)
{
    return oa_record_field_check(oa_credential_fields, oa_credential_forms,
                                 OA_CREDENTIAL_FIELDS, field, value, error);
}


oa_rc_t
oa_account_field_check(const char *field, oa_str_t value, const char **error)
{
    /* read by the token service alone, so that it is none of the packed */

    if (strcmp(field, "scopes") == 0) {
        return oa_record_field_check(oa_credential_fields,
                                     oa_credential_forms,
                                     OA_CREDENTIAL_FIELDS, field, value,
                                     error);
    }

    return oa_record_field_check(oa_account_fields, oa_account_forms,
                                 OA_ACCOUNT_FIELDS, field, value, error);
}


static oa_rc_t
oa_record_field_check(const oa_str_t *names, const oa_record_form_t *forms,
    size_t n, const char *field, oa_str_t value, const char **error)
{
    size_t                   i;
    const oa_record_form_t  *form;

    form = NULL;

    for (i = 0; i < n; i++) {
        if (oa_text_eq(names[i], field)) {
            form = &forms[i];
        }
    }

    for (i = 0; i < OA_RECORD_EXTRAS; i++) {
        if (strcmp(oa_record_extras[i].name, field) == 0) {
            form = oa_record_extras[i].form;
        }
    }

    if (form == NULL) {
        *error = "no such field";
        return OA_INVALID;
    }

    if (!oa_record_form_holds(form, value)) {
        *error = form->expected;
        return OA_INVALID;
    }

    return OA_OK;
}


static int
oa_record_form_holds(const oa_record_form_t *form, oa_str_t value)
{
    return value.len <= form->max && form->check(value);
}


int
oa_field_version(oa_str_t value)
{
    return value.len == 1 && value.data[0] == '0' + OA_RECORD_VERSION;
}


static int
oa_field_kind(oa_str_t value)
{
    return oa_kind_value(value) != 0;
}


static int
oa_field_state(oa_str_t value)
{
    return oa_state_value(value) != 0;
}


static int
oa_field_environment(oa_str_t value)
{
    return oa_environment_value(value) != OA_ENV_NONE;
}


static int
oa_field_number(oa_str_t value)
{
    int64_t  n;

    return oa_text_number(value, INT64_MAX, &n) == OA_OK;
}


int
oa_field_flag(oa_str_t value)
{
    return oa_text_eq(value, "0") || oa_text_eq(value, "1");
}


static int
oa_field_set(oa_str_t value)
{
    size_t         len;
    unsigned char  out[OA_SET_MAX];

    return oa_set_pack(value, out, sizeof(out), &len) == OA_OK;
}


static int
oa_field_ips(oa_str_t value)
{
    size_t         len;
    oa_str_t       bad;
    unsigned char  out[OA_CIDR_PACKED_MAX];

    return oa_cidr_pack(value, out, sizeof(out), &len, &bad) == OA_OK;
}


/*
 * "300/m", "10/s,1000/h", "unlimited" whatever a place's default is, or nothing.
 * 0 is refused: it could be read as "no request" and as "no limit"; the switch
 * of the account says the former.
 */

int
oa_field_rate(oa_str_t value)
{
    oa_rate_t  rate;

    return oa_rate_parse(value, 0, &rate) != OA_INVALID;
}


oa_kind_t
oa_kind_value(oa_str_t word)
{
    if (oa_text_eq(word, "api_key")) {
        return OA_KIND_API_KEY;
    }

    if (oa_text_eq(word, "access_token")) {
        return OA_KIND_ACCESS_TOKEN;
    }

    return (oa_kind_t) 0;
}


oa_state_t
oa_state_value(oa_str_t word)
{
    if (oa_text_eq(word, "active")) {
        return OA_STATE_ACTIVE;
    }

    if (oa_text_eq(word, "deprecated")) {
        return OA_STATE_DEPRECATED;
    }

    if (oa_text_eq(word, "revoked")) {
        return OA_STATE_REVOKED;
    }

    return (oa_state_t) 0;
}


oa_environment_t
oa_environment_value(oa_str_t word)
{
    if (oa_text_eq(word, "live")) {
        return OA_ENV_LIVE;
    }

    if (oa_text_eq(word, "test")) {
        return OA_ENV_TEST;
    }

    return OA_ENV_NONE;
}


const char *
oa_kind_name(oa_kind_t kind)
{
    switch (kind) {

    case OA_KIND_API_KEY:
        return "api_key";

    case OA_KIND_ACCESS_TOKEN:
        return "access_token";
    }

    return "";
}


const char *
oa_state_name(oa_state_t state)
{
    switch (state) {

    case OA_STATE_ACTIVE:
        return "active";

    case OA_STATE_DEPRECATED:
        return "deprecated";

    case OA_STATE_REVOKED:
        return "revoked";
    }

    return "";
}


const char *
oa_environment_name(oa_environment_t environment)
{
    switch (environment) {

    case OA_ENV_LIVE:
        return "live";

    case OA_ENV_TEST:
        return "test";

    case OA_ENV_ANY:
        return "any";

    case OA_ENV_NONE:
        break;
    }

    return "";
}
