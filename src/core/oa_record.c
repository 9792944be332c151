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


#define OA_RECORD_LAYOUT            2

#define OA_RECORD_CREDENTIAL        'C'
#define OA_RECORD_ACCOUNT           'A'

#define OA_RECORD_ENABLED           1
#define OA_RECORD_REFRESH           2

#define OA_RECORD_TEXTS             6       /* of either kind */


typedef struct {
    unsigned char  type;
    unsigned char  layout;
    unsigned char  kind;
    unsigned char  state;
    unsigned char  environment;
    unsigned char  unused[3];
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


_Static_assert(sizeof(oa_credential_header_t) == 56, "padding");
_Static_assert(sizeof(oa_account_header_t) == 16, "padding");


/* the block as it is being written */
typedef struct {
    unsigned char  *start;
    size_t          len;
} oa_record_block_t;


/* one text of the block: the field it comes from, and how it is written */
typedef struct {
    unsigned    field;
    oa_rc_t   (*put)(oa_record_block_t *block, oa_str_t text, uint16_t *len);
} oa_record_layout_t;


static oa_rc_t oa_record_put_all(oa_record_block_t *block,
    const oa_record_layout_t *layout, size_t n, const oa_str_t *values,
    const oa_str_t *names, uint16_t *lens, oa_str_t *field);
static oa_rc_t oa_record_put(oa_record_block_t *block, oa_str_t text,
    uint16_t *len);
static oa_rc_t oa_record_put_set(oa_record_block_t *block, oa_str_t text,
    uint16_t *len);
static oa_rc_t oa_record_put_ips(oa_record_block_t *block, oa_str_t text,
    uint16_t *len);


/* in the order of the lengths in the header; the views follow it */

static const oa_record_layout_t  oa_credential_layout[OA_RECORD_TEXTS] = {
    { OA_CREDENTIAL_ID, oa_record_put },
    { OA_CREDENTIAL_ACCOUNT, oa_record_put },
    { OA_CREDENTIAL_SCOPES, oa_record_put_set },
    { OA_CREDENTIAL_IPS, oa_record_put_ips },
    { OA_CREDENTIAL_SUBJECT, oa_record_put },
    { OA_CREDENTIAL_CLIENT, oa_record_put }
};

/* behind the id, which is no field */

static const oa_record_layout_t  oa_account_layout[OA_RECORD_TEXTS - 1] = {
    { OA_ACCOUNT_TENANT, oa_record_put },
    { OA_ACCOUNT_AFFILIATE, oa_record_put },
    { OA_ACCOUNT_ROLES, oa_record_put_set },
    { OA_ACCOUNT_IPS, oa_record_put_ips },
    { OA_ACCOUNT_RATE, oa_record_put }
};


oa_rc_t
oa_credential_pack(const oa_str_t values[OA_CREDENTIAL_FIELDS],
    oa_hasher_t *hasher, unsigned char *out, size_t *len, oa_str_t *field)
{
    oa_rc_t                 rc;
    oa_credential_header_t  header;
    oa_record_block_t       block;
    unsigned char           key[OA_DIGEST_LEN];

    rc = oa_record_fields_check(oa_credential_forms, OA_CREDENTIAL_FIELDS,
                                values, field);
    if (rc != OA_OK) {
        return rc;
    }

    memset(&header, 0, sizeof(header));

    header.type = OA_RECORD_CREDENTIAL;
    header.layout = OA_RECORD_LAYOUT;
    header.kind = (unsigned char) oa_kind_value(values[OA_CREDENTIAL_KIND]);
    header.state = (unsigned char) oa_state_value(values[OA_CREDENTIAL_STATE]);
    header.environment = (unsigned char)
                   oa_environment_value(values[OA_CREDENTIAL_ENVIRONMENT]);

    if (oa_text_number(values[OA_CREDENTIAL_EXPIRES], INT64_MAX,
                       &header.expires)
        != OA_OK)
    {
        return OA_INVALID;
    }

    if (values[OA_CREDENTIAL_DEPRECATED].data != NULL
        && oa_text_number(values[OA_CREDENTIAL_DEPRECATED], INT64_MAX,
                          &header.deprecated)
           != OA_OK)
    {
        return OA_INVALID;
    }

    if (oa_hasher_account(hasher, values[OA_CREDENTIAL_ACCOUNT], key)
        != OA_OK)
    {
        return OA_ERROR;
    }

    memcpy(header.account_key, key, OA_ACCOUNT_KEY_LEN);

    block.start = out;
    block.len = sizeof(header);

    if (oa_record_put_all(&block, oa_credential_layout, OA_RECORD_TEXTS,
                          values, oa_credential_fields, header.len, field)
        != OA_OK)
    {
        return OA_INVALID;
    }

    memcpy(out, &header, sizeof(header));
    *len = block.len;

    return OA_OK;
}


oa_rc_t
oa_account_pack(oa_str_t id, const oa_str_t values[OA_ACCOUNT_FIELDS],
    unsigned char *out, size_t *len, oa_str_t *field)
{
    oa_rc_t              rc;
    oa_record_block_t    block;
    oa_account_header_t  header;

    static const oa_str_t  account = oa_string("account");

    rc = oa_record_fields_check(oa_account_forms, OA_ACCOUNT_FIELDS, values,
                                field);
    if (rc != OA_OK) {
        return rc;
    }

    *field = account;

    if (id.len > OA_ACCOUNT_MAX || !oa_text_is_id(id)) {
        return OA_INVALID;
    }

    memset(&header, 0, sizeof(header));

    header.type = OA_RECORD_ACCOUNT;
    header.layout = OA_RECORD_LAYOUT;

    if (oa_text_eq(values[OA_ACCOUNT_ENABLED], "1")) {
        header.flags |= OA_RECORD_ENABLED;
    }

    if (oa_text_eq(values[OA_ACCOUNT_REFRESH], "1")) {
        header.flags |= OA_RECORD_REFRESH;
    }

    block.start = out;
    block.len = sizeof(header);

    if (oa_record_put(&block, id, &header.len[0]) != OA_OK
        || oa_record_put_all(&block, oa_account_layout,
                             OA_RECORD_TEXTS - 1, values, oa_account_fields,
                             &header.len[1], field)
           != OA_OK)
    {
        return OA_INVALID;
    }

    memcpy(out, &header, sizeof(header));
    *len = block.len;

    return OA_OK;
}


/* a value that is well-formed alone can still be too much with the others */

static oa_rc_t
oa_record_put_all(oa_record_block_t *block, const oa_record_layout_t *layout,
    size_t n, const oa_str_t *values, const oa_str_t *names, uint16_t *lens,
    oa_str_t *field)
{
    size_t  i;

    for (i = 0; i < n; i++) {

        if (layout[i].put(block, values[layout[i].field], &lens[i]) != OA_OK) {
            *field = names[layout[i].field];
            return OA_INVALID;
        }
    }

    field->len = 0;
    field->data = NULL;

    return OA_OK;
}


static oa_rc_t
oa_record_put(oa_record_block_t *block, oa_str_t text, uint16_t *len)
{
    if (text.len > OA_RECORD_MAX - block->len) {
        return OA_INVALID;
    }

    if (text.len != 0) {
        memcpy(block->start + block->len, text.data, text.len);
    }

    block->len += text.len;
    *len = (uint16_t) text.len;

    return OA_OK;
}


static oa_rc_t
oa_record_put_set(oa_record_block_t *block, oa_str_t text, uint16_t *len)
{
    size_t  n;

    if (oa_set_pack(text, block->start + block->len,
                    OA_RECORD_MAX - block->len, &n)
        != OA_OK)
    {
        return OA_INVALID;
    }

    block->len += n;
    *len = (uint16_t) n;

    return OA_OK;
}


static oa_rc_t
oa_record_put_ips(oa_record_block_t *block, oa_str_t text, uint16_t *len)
{
    size_t    n;
    oa_str_t  bad;

    if (oa_cidr_pack(text, block->start + block->len,
                     OA_RECORD_MAX - block->len, &n, &bad)
        != OA_OK)
    {
        return OA_INVALID;
    }

    block->len += n;
    *len = (uint16_t) n;

    return OA_OK;
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


oa_rc_t
oa_credential_view(const unsigned char *packed, size_t len,
    oa_credential_t *credential)
{
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
        || header.expires < 0
        || header.deprecated < 0)
    {
        return OA_INVALID;
    }

    if (oa_record_texts_len(header.len) != len - sizeof(header)) {
        memset(credential, 0, sizeof(*credential));
        return OA_INVALID;
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
    credential->account_key = packed
                              + offsetof(oa_credential_header_t, account_key);

    return OA_OK;
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
