/*
 * The answer of an authorization server (RFC 7662 section 2.2), read strictly:
 * what can't be read is no answer, so that the token is neither let pass nor
 * called unknown. Its claims become the fields of a record, which must be as
 * well-formed as any: they are packed here as they would be when it is read.
 *
 * A claim that is mapped speaks in place of the account's record also where
 * the token doesn't have it: such a token has no tenant, no role.
 */

#include "ngx_http_opsauth_introspection.h"

#include <jansson.h>


/* JSON objects within another, in a claim's name: "realm_access.roles" */
#define NGX_HTTP_OPSAUTH_CLAIM_DEPTH  8

/* s: a record stays that long behind the token's end, as those of the token
   service; and where no end was told, behind the last time it was asked for */
#define NGX_HTTP_OPSAUTH_KEPT         86400
#define NGX_HTTP_OPSAUTH_KEPT_UNTOLD  (30 * 86400)

/* the year 9999 */
#define NGX_HTTP_OPSAUTH_EXP_MAX      253402300799LL

#define ngx_http_opsauth_json_str(j)                                          \
    ((oa_str_t) { json_string_length(j),                                      \
                  (const u_char *) json_string_value(j) })


static ngx_http_opsauth_introspection_e ngx_http_opsauth_introspection_object(
    ngx_http_request_t *r, ngx_http_opsauth_introspection_t *in,
    json_t *claims);
static ngx_uint_t ngx_http_opsauth_introspection_is_ours(
    ngx_http_request_t *r, ngx_http_opsauth_introspection_t *in,
    json_t *claims);
static ngx_uint_t ngx_http_opsauth_audience_has(json_t *aud,
    const ngx_str_t *audience);
static ngx_int_t ngx_http_opsauth_introspection_times(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in, json_t *claims);
static ngx_int_t ngx_http_opsauth_introspection_fields(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in, json_t *claims, const char **wrong);
static ngx_int_t ngx_http_opsauth_claim_set(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in, const char *field, json_t *claim,
    ngx_uint_t words);
static ngx_int_t ngx_http_opsauth_claim_text(ngx_http_request_t *r,
    json_t *claim, oa_str_t *text);
static ngx_int_t ngx_http_opsauth_claim_words(ngx_http_request_t *r,
    json_t *claim, oa_str_t *text);
static ngx_int_t ngx_http_opsauth_claim_copy(ngx_http_request_t *r,
    oa_str_t from, oa_str_t *to);
static json_t *ngx_http_opsauth_claim_find(json_t *claims,
    const ngx_str_t *name);
static ngx_int_t ngx_http_opsauth_introspection_number(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in, const char *field, int64_t n);
static ngx_uint_t ngx_http_opsauth_claims_log(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in);


ngx_http_opsauth_introspection_e
ngx_http_opsauth_introspection_read(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in)
{
    json_t                            *claims, *active;
    json_error_t                       error;
    ngx_http_opsauth_introspection_e   result;

    if (in->status != NGX_HTTP_OK) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "opsauth: introspection \"%V\" failed: status %ui%s",
                      &in->conf->uri, in->status,
                      in->status == NGX_HTTP_UNAUTHORIZED
                      || in->status == NGX_HTTP_FORBIDDEN
                      ? ", does the location log in to the authorization "
                        "server?" : "");
        return NGX_HTTP_OPSAUTH_INTROSPECTION_UNAVAILABLE;
    }

    claims = (in->answer.len == 0) ? NULL
             : json_loadb((char *) in->answer.data, in->answer.len,
                          JSON_REJECT_DUPLICATES, &error);

    active = json_object_get(claims, "active");

    if (!json_is_boolean(active)) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "opsauth: introspection \"%V\" failed: the answer is not "
                      "a JSON object with a boolean \"active\"",
                      &in->conf->uri);
        json_decref(claims);
        return NGX_HTTP_OPSAUTH_INTROSPECTION_UNAVAILABLE;
    }

    result = json_is_true(active)
             ? ngx_http_opsauth_introspection_object(r, in, claims)
             : NGX_HTTP_OPSAUTH_INTROSPECTION_UNKNOWN;

    json_decref(claims);

    return result;
}


static ngx_http_opsauth_introspection_e
ngx_http_opsauth_introspection_object(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in, json_t *claims)
{
    size_t       len;
    oa_str_t     field;
    ngx_int_t    rc;
    const char  *wrong;

    ngx_memzero(&in->record, sizeof(ngx_http_opsauth_introspection_record_t));

    if (!ngx_http_opsauth_introspection_is_ours(r, in, claims)) {
        return NGX_HTTP_OPSAUTH_INTROSPECTION_UNKNOWN;
    }

    wrong = "exp";
    rc = ngx_http_opsauth_introspection_times(r, in, claims);

    if (rc == NGX_DONE) {
        return NGX_HTTP_OPSAUTH_INTROSPECTION_UNKNOWN;
    }

    if (rc == NGX_OK) {
        rc = ngx_http_opsauth_introspection_fields(r, in, claims, &wrong);
    }

    if (rc == NGX_OK) {
        wrong = NULL;

        switch (oa_credential_pack(in->record.values,
                                   &in->store->worker->hasher,
                                   in->store->worker->packed, &len, &field))
        {
        case OA_OK:
            return NGX_HTTP_OPSAUTH_INTROSPECTION_KNOWN;

        case OA_INVALID:
            rc = NGX_DECLINED;
            break;

        default:
            rc = NGX_ERROR;
        }
    }

    if (rc == NGX_ERROR) {
        return NGX_HTTP_OPSAUTH_INTROSPECTION_NONE;
    }

    if (wrong) {
        field.len = ngx_strlen(wrong);
        field.data = (const u_char *) wrong;
    }

    if (ngx_http_opsauth_claims_log(r, in)) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "opsauth: a token that introspection \"%V\" calls active "
                      "makes no record: what is to be its \"%*s\" is missing "
                      "or malformed", &in->conf->uri, field.len, field.data);
    }

    return NGX_HTTP_OPSAUTH_INTROSPECTION_INVALID;
}


/*
 * Active, and still not to be taken: a token of another type, one that is
 * bound to a key of which a Bearer request proves nothing (RFC 8705, RFC 9449),
 * one that was issued for another API.
 */

static ngx_uint_t
ngx_http_opsauth_introspection_is_ours(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in, json_t *claims)
{
    json_t      *type, *cnf;
    const char  *why;

    type = json_object_get(claims, "token_type");
    cnf = json_object_get(claims, "cnf");
    why = NULL;

    if (type && !json_is_null(type)
        && (!json_is_string(type)
            || ngx_strcasecmp((u_char *) json_string_value(type),
                              (u_char *) "bearer")
               != 0))
    {
        why = "its token_type is not Bearer";

    } else if (cnf && !json_is_null(cnf)) {
        why = "it is bound to a key (cnf)";

    } else if (in->conf->claims->audience.len
               && !ngx_http_opsauth_audience_has(
                       json_object_get(claims, "aud"),
                       &in->conf->claims->audience))
    {
        why = "its aud does not name this API";
    }

    if (why && ngx_http_opsauth_claims_log(r, in)) {
        ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                      "opsauth: a token that introspection \"%V\" calls active "
                      "is refused: %s", &in->conf->uri, why);
    }

    return why == NULL;
}


static ngx_uint_t
ngx_http_opsauth_audience_has(json_t *aud, const ngx_str_t *audience)
{
    size_t   i;
    json_t  *one;

    for (i = 0; /* void */ ; i++) {

        one = json_is_array(aud) ? json_array_get(aud, i)
                                 : (i == 0) ? aud : NULL;

        if (one == NULL) {
            return 0;
        }

        if (json_is_string(one) && json_string_length(one) == audience->len
            && ngx_memcmp(json_string_value(one), audience->data,
                          audience->len) == 0)
        {
            return 1;
        }
    }
}


/* NGX_DONE: it has ended. NGX_DECLINED: exp can't be read, so that it can't be
   kept to */

static ngx_int_t
ngx_http_opsauth_introspection_times(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in, json_t *claims)
{
    double    real;
    json_t   *exp;
    time_t    now;
    int64_t   end, expires;

    now = ngx_time();
    exp = json_object_get(claims, "exp");
    expires = (int64_t) now + in->conf->valid;
    in->record.kept = now + NGX_HTTP_OPSAUTH_KEPT_UNTOLD;

    if (exp && !json_is_null(exp)) {

        if (!json_is_number(exp)) {
            return NGX_DECLINED;
        }

        real = json_number_value(exp);

        if (real >= (double) NGX_HTTP_OPSAUTH_EXP_MAX) {
            end = NGX_HTTP_OPSAUTH_EXP_MAX;

        } else if (real <= (double) now) {
            return NGX_DONE;

        } else {
            end = (int64_t) real;
        }

        if (end <= (int64_t) now) {
            return NGX_DONE;
        }

        expires = ngx_min(expires, end);
        in->record.kept = end + NGX_HTTP_OPSAUTH_KEPT;
    }

    if (ngx_http_opsauth_introspection_number(r, in, "expires", expires)
        != NGX_OK
        || ngx_http_opsauth_introspection_number(r, in, "introspected",
                                                 now)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* NGX_DECLINED: *wrong is the field that has no form */

static ngx_int_t
ngx_http_opsauth_introspection_fields(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in, json_t *claims, const char **wrong)
{
    json_t                           *claim;
    oa_str_t                          value;
    ngx_int_t                         rc;
    ngx_uint_t                        i;
    const ngx_http_opsauth_claims_t  *map;

    static const struct {
        const char  *field;
        ngx_uint_t   words;
    } fields[NGX_HTTP_OPSAUTH_CLAIMS] = {
        [NGX_HTTP_OPSAUTH_CLAIM_TENANT] = { "tenant", 0 },
        [NGX_HTTP_OPSAUTH_CLAIM_ACCOUNT] = { "account", 0 },
        [NGX_HTTP_OPSAUTH_CLAIM_AFFILIATE] = { "affiliate", 0 },
        [NGX_HTTP_OPSAUTH_CLAIM_ROLES] = { "roles", 1 },
        [NGX_HTTP_OPSAUTH_CLAIM_SCOPES] = { "scopes", 1 }
    };

    map = in->conf->claims;

    for (i = 0; i < NGX_HTTP_OPSAUTH_CLAIMS; i++) {

        if (map->names[i].len == 0) {
            continue;
        }

        claim = ngx_http_opsauth_claim_find(claims, &map->names[i]);
        *wrong = fields[i].field;

        rc = ngx_http_opsauth_claim_set(r, in, fields[i].field, claim,
                                        fields[i].words);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (map->account_id.len) {
        ngx_http_opsauth_introspection_set(&in->record, "account",
                                    ngx_http_opsauth_view(&map->account_id));
    }

    /* for people, and under the names of RFC 7662 */

    claim = json_object_get(claims, "sub");
    *wrong = "subject";

    if (claim && !json_is_null(claim)) {
        rc = ngx_http_opsauth_claim_set(r, in, "subject", claim, 0);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    claim = json_object_get(claims, "client_id");
    *wrong = "client";

    if (claim && !json_is_null(claim)) {
        rc = ngx_http_opsauth_claim_set(r, in, "client", claim, 0);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    *wrong = "id";

    if (ngx_http_opsauth_introspection_id(r, in, &value) != NGX_OK) {
        return NGX_ERROR;
    }

#define ngx_http_opsauth_set(field, text)                                     \
    value.data = (const u_char *) (text);                                     \
    value.len = ngx_strlen(text);                                             \
    ngx_http_opsauth_introspection_set(&in->record, field, value)

    ngx_http_opsauth_introspection_set(&in->record, "id", value);
    ngx_http_opsauth_set("v", "1");
    ngx_http_opsauth_set("kind", oa_kind_name(OA_KIND_ACCESS_TOKEN));
    ngx_http_opsauth_set("state", oa_state_name(OA_STATE_ACTIVE));
    ngx_http_opsauth_set("environment",
                         oa_environment_name(map->environment));

#undef ngx_http_opsauth_set

    return NGX_OK;
}


/* absent and null are the same: an empty value */

static ngx_int_t
ngx_http_opsauth_claim_set(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in, const char *field, json_t *claim,
    ngx_uint_t words)
{
    oa_str_t   value;
    ngx_int_t  rc;

    value = (oa_str_t) oa_string("");

    if (claim && !json_is_null(claim)) {

        rc = words ? ngx_http_opsauth_claim_words(r, claim, &value)
                   : ngx_http_opsauth_claim_text(r, claim, &value);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    ngx_http_opsauth_introspection_set(&in->record, field, value);

    return NGX_OK;
}


/* a string, an integer, or an array of one of them */

static ngx_int_t
ngx_http_opsauth_claim_text(ngx_http_request_t *r, json_t *claim,
    oa_str_t *text)
{
    u_char  *p;

    if (json_is_array(claim) && json_array_size(claim) == 1) {
        claim = json_array_get(claim, 0);
    }

    if (json_is_string(claim)) {
        return ngx_http_opsauth_claim_copy(r, ngx_http_opsauth_json_str(claim),
                                           text);
    }

    if (!json_is_integer(claim)) {
        return NGX_DECLINED;
    }

    p = ngx_pnalloc(r->pool, NGX_INT64_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    text->data = p;
    text->len = ngx_sprintf(p, "%L", (int64_t) json_integer_value(claim)) - p;

    return NGX_OK;
}


/* a string of words, or an array of strings that are one word each: one with a
   blank in it would be two, of which nobody spoke */

static ngx_int_t
ngx_http_opsauth_claim_words(ngx_http_request_t *r, json_t *claim,
    oa_str_t *text)
{
    u_char     *p;
    size_t      i, len;
    json_t     *one;
    oa_str_t    word;

    if (json_is_string(claim)) {
        return ngx_http_opsauth_claim_copy(r, ngx_http_opsauth_json_str(claim),
                                           text);
    }

    if (!json_is_array(claim)) {
        return NGX_DECLINED;
    }

    len = 0;

    for (i = 0; i < json_array_size(claim); i++) {
        one = json_array_get(claim, i);

        if (!json_is_string(one)) {
            return NGX_DECLINED;
        }

        word = ngx_http_opsauth_json_str(one);

        /* of all characters below '!' only the blank could get further */

        if (word.len == 0
            || ngx_strlchr((u_char *) word.data,
                           (u_char *) word.data + word.len, ' ')
            || !oa_text_is_header_safe(word))
        {
            return NGX_DECLINED;
        }

        len += word.len + 1;
    }

    p = ngx_pnalloc(r->pool, len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    text->data = p;

    for (i = 0; i < json_array_size(claim); i++) {
        word = ngx_http_opsauth_json_str(json_array_get(claim, i));
        p = ngx_cpymem(p, word.data, word.len);
        *p++ = ' ';
    }

    text->len = p - text->data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_opsauth_claim_copy(ngx_http_request_t *r, oa_str_t from, oa_str_t *to)
{
    u_char  *p;

    p = ngx_pnalloc(r->pool, from.len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(p, from.data, from.len);

    to->data = p;
    to->len = from.len;

    return NGX_OK;
}


/* a name may have dots itself ("https://example.com/tenant"); where there is
   no such claim, each dot leads into an object */

static json_t *
ngx_http_opsauth_claim_find(json_t *claims, const ngx_str_t *name)
{
    json_t      *at;
    u_char      *p, *dot, *last, part[256];
    ngx_uint_t   depth;

    /* configuration's strings end with a zero */

    at = json_object_get(claims, (char *) name->data);

    if (at) {
        return at;
    }

    at = claims;
    p = name->data;
    last = name->data + name->len;

    for (depth = 0; depth < NGX_HTTP_OPSAUTH_CLAIM_DEPTH; depth++) {

        dot = ngx_strlchr(p, last, '.');
        dot = dot ? dot : last;

        if ((size_t) (dot - p) >= sizeof(part)) {
            return NULL;
        }

        *ngx_cpymem(part, p, dot - p) = '\0';

        at = json_object_get(at, (char *) part);

        if (at == NULL || dot == last) {
            return at;
        }

        p = dot + 1;
    }

    return NULL;
}


static ngx_int_t
ngx_http_opsauth_introspection_number(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in, const char *field, int64_t n)
{
    u_char    *p;
    oa_str_t   value;

    p = ngx_pnalloc(r->pool, NGX_INT64_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    value.data = p;
    value.len = ngx_sprintf(p, "%L", n) - p;

    ngx_http_opsauth_introspection_set(&in->record, field, value);

    return NGX_OK;
}


/* once for each token in a while, however often it comes */

static ngx_uint_t
ngx_http_opsauth_claims_log(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in)
{
    return ngx_http_opsauth_log_once(in->store->worker, in->key);
}
