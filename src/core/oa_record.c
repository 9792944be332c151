/*
 * Records: the packed block and the view into it.
 *
 * Contract: oa_record_field.c says what a field may be; here the values are
 * laid out.  Invariants: a block holds its own length to the byte, so that
 * one which was cut, stretched or torn is refused; it may lie at any address
 * (the header is copied out, never pointed at); it has no padding that was
 * not set.  The block is made when a Redis reply comes in and read at each
 * hit, by workers that may have been started from another build: whoever
 * changes the layout changes OA_RECORD_LAYOUT.
 */

#include <string.h>

#include "oa_cidr.h"
#include "oa_record.h"
#include "oa_record_field.h"
#include "oa_set.h"
#include "oa_text.h"


#define OA_RECORD_LAYOUT            3

#define OA_RECORD_CREDENTIAL        'C'
#define OA_RECORD_ACCOUNT           'A'

#define OA_RECORD_ENABLED           1
#define OA_RECORD_REFRESH           2

#define OA_RECORD_TEXTS             6       /* of either kind */

/* flags of a credential */
#define OA_RECORD_INTROSPECTED      1
#define OA_RECORD_CLAIMS            2       /* behind the texts: its own */

#define OA_RECORD_CLAIM_TEXTS       3


typedef struct {
    unsigned char  type;
    unsigned char  layout;
    unsigned char  kind;
    unsigned char  state;
    unsigned char  environment;
    unsigned char  flags;
    unsigned char  unused[2];
    int64_t        expires;
    int64_t        deprecated;
    uint16_t       len[OA_RECORD_TEXTS];
    unsigned char  account_key[OA_ACCOUNT_KEY_LEN];
    unsigned char  unused_end[4];
} oa_credential_header_t;


typedef struct {
    unsigned char  type;
    unsigned char  layout;
    unsigned char  flags;
    unsigned char  unused;
    uint16_t       len[OA_RECORD_TEXTS];
} oa_account_header_t;


/* few credentials have any: they are no matter to the others */
typedef struct {
    uint16_t       present;                 /* bit n: text n stands in place of
                                               the account's */
    uint16_t       len[OA_RECORD_CLAIM_TEXTS];
} oa_claims_header_t;


_Static_assert(sizeof(oa_credential_header_t) == 56, "padding");
_Static_assert(sizeof(oa_claims_header_t) == 8, "padding");
_Static_assert(sizeof(oa_account_header_t) == 16, "padding");


/* a record that is being packed */
typedef struct {
    const oa_str_t          *values;
    const oa_record_form_t  *forms;
    unsigned                 at;            /* the field that is looked at */
    unsigned char           *start;
    size_t                   len;           /* of the block, so far */
    uint16_t                *lens;          /* of its texts, in the header */
} oa_record_packer_t;


static int oa_credential_facts(oa_record_packer_t *packer,
    oa_credential_header_t *header);
static int oa_credential_texts(oa_record_packer_t *packer);
static int oa_credential_own(oa_record_packer_t *packer,
    unsigned char *flags);
static int oa_claims_texts(oa_record_packer_t *packer);
static int oa_account_texts(oa_record_packer_t *packer, oa_str_t id);
static int oa_record_absent(const oa_str_t *values, size_t n);


/*
 * Goes on to field i: it is there and not too long, or absent and not required.
 * What it says is still to be checked; most forms hold for an absent one, which
 * is an empty text.
 */

OA_WARM static inline int
oa_record_at(oa_record_packer_t *packer, unsigned i)
{
    oa_str_t                 value;
    const oa_record_form_t  *form;

    value = packer->values[i];
    form = &packer->forms[i];
    packer->at = i;

    return value.data ? value.len <= form->max : !form->required;
}


/* 0: a value that is well-formed alone can be too much with the others */

OA_WARM static inline int
oa_record_put(oa_record_packer_t *packer, oa_str_t text, unsigned n)
{
    if (text.len > OA_RECORD_MAX - packer->len) {
        return 0;
    }

    if (text.len != 0) {
        memcpy(packer->start + packer->len, text.data, text.len);
    }

    packer->len += text.len;
    packer->lens[n] = (uint16_t) text.len;

    return 1;
}


OA_WARM static inline int
oa_record_put_set(oa_record_packer_t *packer, oa_str_t text, unsigned n)
{
    size_t  len;

    len = 0;

    if (text.len != 0
        && oa_set_pack(text, packer->start + packer->len,
                       OA_RECORD_MAX - packer->len, &len)
           != OA_OK)
    {
        return 0;
    }

    packer->len += len;
    packer->lens[n] = (uint16_t) len;

    return 1;
}


OA_WARM static inline int
oa_record_put_ips(oa_record_packer_t *packer, oa_str_t text, unsigned n)
{
    size_t    len;
    oa_str_t  bad;

    len = 0;

    if (text.len != 0
        && oa_cidr_pack(text, packer->start + packer->len,
                        OA_RECORD_MAX - packer->len, &len, &bad)
           != OA_OK)
    {
        return 0;
    }

    packer->len += len;
    packer->lens[n] = (uint16_t) len;

    return 1;
}


oa_rc_t
oa_credential_pack(const oa_str_t values[OA_CREDENTIAL_FIELDS],
    oa_hasher_t *hasher, unsigned char *out, size_t *len, oa_str_t *field)
{
    oa_record_packer_t      packer;
    oa_credential_header_t  header;
    unsigned char           key[OA_DIGEST_LEN];

    *field = (oa_str_t) oa_null;

    if (values[OA_CREDENTIAL_V].data == NULL
        && oa_record_absent(values, OA_CREDENTIAL_FIELDS))
    {
        return OA_DECLINED;
    }

    memset(&header, 0, sizeof(header));

    header.type = OA_RECORD_CREDENTIAL;
    header.layout = OA_RECORD_LAYOUT;

    packer.values = values;
    packer.forms = oa_credential_forms;
    packer.start = out;
    packer.len = sizeof(header);
    packer.lens = header.len;

    if (!oa_credential_facts(&packer, &header)
        || !oa_credential_texts(&packer)
        || !oa_credential_own(&packer, &header.flags))
    {
        *field = oa_credential_fields[packer.at];
        return OA_INVALID;
    }

    if (oa_hasher_account(hasher, values[OA_CREDENTIAL_ACCOUNT], key)
        != OA_OK)
    {
        return OA_ERROR;
    }

    memcpy(header.account_key, key, OA_ACCOUNT_KEY_LEN);

    memcpy(out, &header, sizeof(header));
    *len = packer.len;

    return OA_OK;
}


/* what has a place of its own in the header */

static int
oa_credential_facts(oa_record_packer_t *packer, oa_credential_header_t *header)
{
    const oa_str_t  *v;

    v = packer->values;

    if (!oa_record_at(packer, OA_CREDENTIAL_V)
        || !oa_field_version(v[OA_CREDENTIAL_V])
        || !oa_record_at(packer, OA_CREDENTIAL_KIND))
    {
        return 0;
    }

    header->kind = (unsigned char) oa_kind_value(v[OA_CREDENTIAL_KIND]);

    if (header->kind == 0 || !oa_record_at(packer, OA_CREDENTIAL_STATE)) {
        return 0;
    }

    header->state = (unsigned char) oa_state_value(v[OA_CREDENTIAL_STATE]);

    if (header->state == 0
        || !oa_record_at(packer, OA_CREDENTIAL_ENVIRONMENT))
    {
        return 0;
    }

    header->environment = (unsigned char)
                        oa_environment_value(v[OA_CREDENTIAL_ENVIRONMENT]);

    return header->environment != OA_ENV_NONE
           && oa_record_at(packer, OA_CREDENTIAL_EXPIRES)
           && oa_text_number(v[OA_CREDENTIAL_EXPIRES], INT64_MAX,
                             &header->expires)
              == OA_OK
           && oa_record_at(packer, OA_CREDENTIAL_DEPRECATED)
           && (v[OA_CREDENTIAL_DEPRECATED].data == NULL
               || oa_text_number(v[OA_CREDENTIAL_DEPRECATED], INT64_MAX,
                                 &header->deprecated)
                  == OA_OK);
}


/* in the order of the lengths in the header; the views follow it */

static int
oa_credential_texts(oa_record_packer_t *packer)
{
    const oa_str_t  *v;

    v = packer->values;

    return oa_record_at(packer, OA_CREDENTIAL_ID)
           && oa_text_is_id(v[OA_CREDENTIAL_ID])
           && oa_record_put(packer, v[OA_CREDENTIAL_ID], 0)

           && oa_record_at(packer, OA_CREDENTIAL_ACCOUNT)
           && oa_text_is_id(v[OA_CREDENTIAL_ACCOUNT])
           && oa_record_put(packer, v[OA_CREDENTIAL_ACCOUNT], 1)

           && oa_record_at(packer, OA_CREDENTIAL_SCOPES)
           && oa_record_put_set(packer, v[OA_CREDENTIAL_SCOPES], 2)

           && oa_record_at(packer, OA_CREDENTIAL_IPS)
           && oa_record_put_ips(packer, v[OA_CREDENTIAL_IPS], 3)

           && oa_record_at(packer, OA_CREDENTIAL_SUBJECT)
           && oa_text_is_header_safe(v[OA_CREDENTIAL_SUBJECT])
           && oa_record_put(packer, v[OA_CREDENTIAL_SUBJECT], 4)

           && oa_record_at(packer, OA_CREDENTIAL_CLIENT)
           && oa_text_is_header_safe(v[OA_CREDENTIAL_CLIENT])
           && oa_record_put(packer, v[OA_CREDENTIAL_CLIENT], 5);
}


/* what few have; one that is there and empty is not one that is absent */

static int
oa_credential_own(oa_record_packer_t *packer, unsigned char *flags)
{
    size_t               start;
    const oa_str_t      *v;
    oa_claims_header_t   header;

    v = packer->values;

    if (v[OA_CREDENTIAL_INTROSPECTED].data != NULL) {
        *flags |= OA_RECORD_INTROSPECTED;

        if (!oa_record_at(packer, OA_CREDENTIAL_INTROSPECTED)
            || !oa_credential_forms[OA_CREDENTIAL_INTROSPECTED]
                    .check(v[OA_CREDENTIAL_INTROSPECTED]))
        {
            return 0;
        }
    }

    memset(&header, 0, sizeof(header));

    header.present = (uint16_t) ((v[OA_CREDENTIAL_TENANT].data != NULL)
                                 | (v[OA_CREDENTIAL_AFFILIATE].data != NULL) << 1
                                 | (v[OA_CREDENTIAL_ROLES].data != NULL) << 2);

    if (header.present == 0) {
        return 1;
    }

    if (sizeof(header) > OA_RECORD_MAX - packer->len) {
        return 0;
    }

    start = packer->len;
    packer->len += sizeof(header);
    packer->lens = header.len;

    if (!oa_claims_texts(packer)) {
        return 0;
    }

    memcpy(packer->start + start, &header, sizeof(header));
    *flags |= OA_RECORD_CLAIMS;

    return 1;
}


static int
oa_claims_texts(oa_record_packer_t *packer)
{
    const oa_str_t  *v;

    v = packer->values;

    return oa_record_at(packer, OA_CREDENTIAL_TENANT)
           && oa_text_is_header_safe(v[OA_CREDENTIAL_TENANT])
           && oa_record_put(packer, v[OA_CREDENTIAL_TENANT], 0)

           && oa_record_at(packer, OA_CREDENTIAL_AFFILIATE)
           && oa_text_is_header_safe(v[OA_CREDENTIAL_AFFILIATE])
           && oa_record_put(packer, v[OA_CREDENTIAL_AFFILIATE], 1)

           && oa_record_at(packer, OA_CREDENTIAL_ROLES)
           && oa_record_put_set(packer, v[OA_CREDENTIAL_ROLES], 2);
}


oa_rc_t
oa_account_pack(oa_str_t id, const oa_str_t values[OA_ACCOUNT_FIELDS],
    unsigned char *out, size_t *len, oa_str_t *field)
{
    oa_record_packer_t   packer;
    oa_account_header_t  header;

    static const oa_str_t  account = oa_string("account");

    *field = (oa_str_t) oa_null;

    if (values[OA_ACCOUNT_ENABLED].data == NULL
        && oa_record_absent(values, OA_ACCOUNT_FIELDS))
    {
        return OA_DECLINED;
    }

    if (id.len > OA_ACCOUNT_MAX || !oa_text_is_id(id)) {
        *field = account;
        return OA_INVALID;
    }

    memset(&header, 0, sizeof(header));

    header.type = OA_RECORD_ACCOUNT;
    header.layout = OA_RECORD_LAYOUT;

    packer.values = values;
    packer.forms = oa_account_forms;
    packer.start = out;
    packer.len = sizeof(header);
    packer.lens = header.len;

    if (!oa_account_texts(&packer, id)) {
        *field = oa_account_fields[packer.at];
        return OA_INVALID;
    }

    if (oa_text_eq(values[OA_ACCOUNT_ENABLED], "1")) {
        header.flags |= OA_RECORD_ENABLED;
    }

    if (oa_text_eq(values[OA_ACCOUNT_REFRESH], "1")) {
        header.flags |= OA_RECORD_REFRESH;
    }

    memcpy(out, &header, sizeof(header));
    *len = packer.len;

    return OA_OK;
}


/* behind the id, which is no field */

static int
oa_account_texts(oa_record_packer_t *packer, oa_str_t id)
{
    const oa_str_t  *v;

    v = packer->values;

    return oa_record_at(packer, OA_ACCOUNT_ENABLED)
           && oa_field_flag(v[OA_ACCOUNT_ENABLED])
           && oa_record_put(packer, id, 0)

           && oa_record_at(packer, OA_ACCOUNT_TENANT)
           && oa_text_is_header_safe(v[OA_ACCOUNT_TENANT])
           && oa_record_put(packer, v[OA_ACCOUNT_TENANT], 1)

           && oa_record_at(packer, OA_ACCOUNT_AFFILIATE)
           && oa_text_is_header_safe(v[OA_ACCOUNT_AFFILIATE])
           && oa_record_put(packer, v[OA_ACCOUNT_AFFILIATE], 2)

           && oa_record_at(packer, OA_ACCOUNT_ROLES)
           && oa_record_put_set(packer, v[OA_ACCOUNT_ROLES], 3)

           && oa_record_at(packer, OA_ACCOUNT_IPS)
           && oa_record_put_ips(packer, v[OA_ACCOUNT_IPS], 4)

           && oa_record_at(packer, OA_ACCOUNT_RATE)
           && oa_field_rate(v[OA_ACCOUNT_RATE])
           && oa_record_put(packer, v[OA_ACCOUNT_RATE], 5)

           && oa_record_at(packer, OA_ACCOUNT_REFRESH)
           && (v[OA_ACCOUNT_REFRESH].data == NULL
               || oa_field_flag(v[OA_ACCOUNT_REFRESH]));
}


static int
oa_record_absent(const oa_str_t *values, size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        if (values[i].data != NULL) {
            return 0;
        }
    }

    return 1;
}


/* the texts behind the header must fill the block exactly, together */

static inline size_t
oa_record_texts_len(const uint16_t len[OA_RECORD_TEXTS])
{
    return (size_t) len[0] + len[1] + len[2] + len[3] + len[4] + len[5];
}


/* returns where the next one starts */

static inline const unsigned char *
oa_record_text(const unsigned char *p, size_t len, oa_str_t *text)
{
    text->len = len;
    text->data = p;

    return p + len;
}


/* len: of what stands behind the credential's texts */

static int
oa_record_claims_fit(const unsigned char *p, size_t len)
{
    size_t              i, sum;
    oa_claims_header_t  header;

    if (len < sizeof(header)) {
        return 0;
    }

    memcpy(&header, p, sizeof(header));

    sum = sizeof(header);

    for (i = 0; i < OA_RECORD_CLAIM_TEXTS; i++) {
        sum += header.len[i];
    }

    return sum == len && header.present != 0
           && header.present < (1u << OA_RECORD_CLAIM_TEXTS);
}


oa_rc_t
oa_credential_view(const unsigned char *packed, size_t len,
    oa_credential_t *credential)
{
    size_t                  texts;
    const unsigned char    *text;
    oa_credential_header_t  header;

    if (len < sizeof(header) || len > OA_RECORD_MAX) {
        return OA_INVALID;
    }

    memcpy(&header, packed, sizeof(header));

    if (header.type != OA_RECORD_CREDENTIAL
        || header.layout != OA_RECORD_LAYOUT
        || header.kind < OA_KIND_API_KEY
        || header.kind > OA_KIND_ACCESS_TOKEN
        || header.state < OA_STATE_ACTIVE
        || header.state > OA_STATE_REVOKED
        || header.environment < OA_ENV_LIVE
        || header.environment > OA_ENV_TEST
        || header.flags > (OA_RECORD_INTROSPECTED|OA_RECORD_CLAIMS)
        || header.expires < 0
        || header.deprecated < 0)
    {
        return OA_INVALID;
    }

    texts = oa_record_texts_len(header.len);
    credential->claims = NULL;

    if (texts != len - sizeof(header)
        || (header.flags & OA_RECORD_CLAIMS) != 0)
    {
        text = packed + sizeof(header) + texts;

        if (texts > len - sizeof(header)
            || (header.flags & OA_RECORD_CLAIMS) == 0
            || !oa_record_claims_fit(text, len - sizeof(header) - texts))
        {
            memset(credential, 0, sizeof(*credential));
            return OA_INVALID;
        }

        credential->claims = text;
    }

    text = packed + sizeof(header);

    text = oa_record_text(text, header.len[0], &credential->id);
    text = oa_record_text(text, header.len[1], &credential->account);
    text = oa_record_text(text, header.len[2], &credential->scopes);
    text = oa_record_text(text, header.len[3], &credential->ips);
    text = oa_record_text(text, header.len[4], &credential->subject);
    (void) oa_record_text(text, header.len[5], &credential->client);

    credential->kind = (oa_kind_t) header.kind;
    credential->state = (oa_state_t) header.state;
    credential->environment = (oa_environment_t) header.environment;
    credential->expires = header.expires;
    credential->deprecated = header.deprecated;
    credential->introspected = (header.flags & OA_RECORD_INTROSPECTED) != 0;
    credential->account_key = packed
                              + offsetof(oa_credential_header_t, account_key);

    return OA_OK;
}


void
oa_credential_claims(const oa_credential_t *credential, oa_account_t *account)
{
    size_t                i;
    oa_str_t             *texts[OA_RECORD_CLAIM_TEXTS], text;
    oa_claims_header_t    header;
    const unsigned char  *p;

    memcpy(&header, credential->claims, sizeof(header));

    texts[0] = &account->tenant;
    texts[1] = &account->affiliate;
    texts[2] = &account->roles;

    p = credential->claims + sizeof(header);

    for (i = 0; i < OA_RECORD_CLAIM_TEXTS; i++) {

        p = oa_record_text(p, header.len[i], &text);

        if (header.present & (1u << i)) {
            *texts[i] = text;
        }
    }
}


oa_rc_t
oa_account_view(const unsigned char *packed, size_t len,
    oa_account_t *account)
{
    const unsigned char  *text;
    oa_account_header_t   header;

    if (len < sizeof(header) || len > OA_RECORD_MAX) {
        return OA_INVALID;
    }

    memcpy(&header, packed, sizeof(header));

    if (header.type != OA_RECORD_ACCOUNT
        || header.layout != OA_RECORD_LAYOUT
        || header.flags > (OA_RECORD_ENABLED|OA_RECORD_REFRESH))
    {
        return OA_INVALID;
    }

    if (oa_record_texts_len(header.len) != len - sizeof(header)) {
        memset(account, 0, sizeof(*account));
        return OA_INVALID;
    }

    text = packed + sizeof(header);

    text = oa_record_text(text, header.len[0], &account->id);
    text = oa_record_text(text, header.len[1], &account->tenant);
    text = oa_record_text(text, header.len[2], &account->affiliate);
    text = oa_record_text(text, header.len[3], &account->roles);
    text = oa_record_text(text, header.len[4], &account->ips);
    (void) oa_record_text(text, header.len[5], &account->rate);

    account->enabled = (header.flags & OA_RECORD_ENABLED) != 0;
    account->refresh = (header.flags & OA_RECORD_REFRESH) != 0;

    return OA_OK;
}
