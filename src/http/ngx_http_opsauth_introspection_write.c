/*
 * The record of an introspected token: fields of the public layout, a name by
 * which people find it, then the record itself, by one script. What is there
 * already decides: a token that was revoked here stays so, and one that was
 * issued here is no matter for another server.
 */

#include "ngx_http_opsauth_introspection.h"


/* characters of an id behind "tok_": as the token service's */
#define NGX_HTTP_OPSAUTH_ID_LEN  16


static ngx_int_t ngx_http_opsauth_introspection_store_key(
    ngx_http_request_t *r, ngx_str_t *prefix, const char *kind, oa_str_t name,
    ngx_str_t *key);
static void ngx_http_opsauth_introspection_hex(
    ngx_http_opsauth_introspection_t *in, u_char *hex, ngx_str_t *text);
static ngx_int_t ngx_http_opsauth_introspection_sent(
    ngx_http_opsauth_introspection_t *in);
static void ngx_http_opsauth_introspection_written(void *data,
    ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error);


/*
 * KEYS credential:<digest>  ARGV until (Unix ms), field, value, ...
 * "ok", or why nothing was changed: "revoked", "exists" (one of our own)
 */
static ngx_opsauth_script_t  ngx_http_opsauth_introspection_script =
    ngx_opsauth_script_make("introspection_issue",
        "local old = redis.call('HMGET', KEYS[1], 'state', 'introspected')\n"
        "if old[1] == 'revoked' then return {'revoked'} end\n"
        "if not old[2] and redis.call('EXISTS', KEYS[1]) == 1 then"
        " return {'exists'} end\n"
        "redis.call('DEL', KEYS[1])\n"
        "redis.call('HSET', KEYS[1], unpack(ARGV, 2))\n"
        "redis.call('PEXPIREAT', KEYS[1], ARGV[1])\n"
        "return {'ok'}\n");


/* SET <prefix>id:<id> <digest> PX <ms> */

ngx_int_t
ngx_http_opsauth_introspection_name(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in)
{
    u_char                     hex[OA_DIGEST_HEX_LEN], ms[NGX_INT64_LEN];
    ngx_str_t                  words[5];
    ngx_opsauth_redis_error_e  error;

    ngx_str_set(&words[0], "SET");
    ngx_str_set(&words[3], "PX");

    if (ngx_http_opsauth_introspection_store_key(r, &in->store->prefix, "id:",
                        ngx_http_opsauth_introspection_get(&in->record, "id"),
                        &words[1])
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_http_opsauth_introspection_hex(in, hex, &words[2]);

    words[4].data = ms;
    words[4].len = ngx_sprintf(ms, "%L", ((int64_t) in->record.kept
                                          - ngx_time()) * 1000)
                   - ms;

    in->command = ngx_opsauth_command(in->store->worker->redis, 5, words,
                                      ngx_http_opsauth_introspection_written,
                                      in, &error);

    return ngx_http_opsauth_introspection_sent(in);
}


ngx_int_t
ngx_http_opsauth_introspection_issue(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in)
{
    u_char                     hex[OA_DIGEST_HEX_LEN], ms[NGX_INT64_LEN];
    ngx_str_t                  key, digest;
    ngx_str_t                  args[1 + 2 * (OA_CREDENTIAL_FIELDS + 1)];
    ngx_uint_t                 i, n;
    ngx_opsauth_redis_error_e  error;

    ngx_http_opsauth_introspection_hex(in, hex, &digest);

    if (ngx_http_opsauth_introspection_store_key(r,
                        &in->store->credential_kind.prefix, "",
                        ngx_http_opsauth_view(&digest), &key)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    args[0].data = ms;
    args[0].len = ngx_sprintf(ms, "%L", (int64_t) in->record.kept * 1000) - ms;

    n = 1;

    for (i = 0; i < OA_CREDENTIAL_FIELDS; i++) {
        if (in->record.values[i].data) {
            args[n++] = ngx_http_opsauth_str(oa_credential_fields[i]);
            args[n++] = ngx_http_opsauth_str(in->record.values[i]);
        }
    }

    ngx_str_set(&args[n], "created");
    n++;
    args[n++] = ngx_http_opsauth_str(
                    ngx_http_opsauth_introspection_get(&in->record,
                                                       "introspected"));

    in->command = ngx_opsauth_script(in->store->worker->redis,
                                     &ngx_http_opsauth_introspection_script,
                                     &key, n, args,
                                     ngx_http_opsauth_introspection_written,
                                     in, &error);

    return ngx_http_opsauth_introspection_sent(in);
}


static ngx_int_t
ngx_http_opsauth_introspection_store_key(ngx_http_request_t *r,
    ngx_str_t *prefix, const char *kind, oa_str_t name, ngx_str_t *key)
{
    key->len = prefix->len + ngx_strlen(kind) + name.len;
    key->data = ngx_pnalloc(r->pool, key->len);

    if (key->data == NULL) {
        return NGX_ERROR;
    }

    ngx_sprintf(key->data, "%V%s%*s", prefix, kind, name.len, name.data);

    return NGX_OK;
}


static void
ngx_http_opsauth_introspection_hex(ngx_http_opsauth_introspection_t *in,
    u_char *hex, ngx_str_t *text)
{
    oa_text_hex(in->digest, OA_DIGEST_LEN, hex);

    text->data = hex;
    text->len = OA_DIGEST_HEX_LEN;
}


static ngx_int_t
ngx_http_opsauth_introspection_sent(ngx_http_opsauth_introspection_t *in)
{
    in->written = 0;

    return in->command ? NGX_OK : NGX_DECLINED;
}


/* called from the connection's events: nothing of the request may run here */

static void
ngx_http_opsauth_introspection_written(void *data, ngx_opsauth_reply_t *reply,
    ngx_opsauth_redis_error_e error)
{
    ngx_http_opsauth_introspection_t  *in = data;

    in->command = NULL;

    /* whatever the script says, there is a record now */

    in->written = (error == NGX_OPSAUTH_REDIS_OK);

    in->ctx->answered = 1;

    ngx_post_event(&in->ctx->event, &ngx_posted_events);
}


/*
 * Of the digest and under its pepper, so that the id is the same at each
 * renewal and on each node, and tells nothing of the digest.
 */

ngx_int_t
ngx_http_opsauth_introspection_id(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in, oa_str_t *id)
{
    u_char     *p, hex[OA_DIGEST_HEX_LEN], bytes[OA_DIGEST_LEN];
    u_char      text[OA_KEY_BODY_LEN];
    ngx_str_t   digest;
    oa_str_t    input;
    u_char      buffer[sizeof("introspected ") + OA_DIGEST_HEX_LEN];

    p = ngx_pnalloc(r->pool, sizeof("tok_") - 1 + NGX_HTTP_OPSAUTH_ID_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_http_opsauth_introspection_hex(in, hex, &digest);

    input.data = buffer;
    input.len = ngx_sprintf(buffer, "introspected %V", &digest) - buffer;

    if (oa_hasher_credential(&in->store->worker->hasher, in->pepper, input,
                             bytes)
        != OA_OK)
    {
        return NGX_ERROR;
    }

    oa_token_mint(bytes, text);

    id->data = p;
    id->len = sizeof("tok_") - 1 + NGX_HTTP_OPSAUTH_ID_LEN;

    p = ngx_cpymem(p, "tok_", sizeof("tok_") - 1);
    ngx_memcpy(p, text + OA_KEY_BODY_LEN - NGX_HTTP_OPSAUTH_ID_LEN,
               NGX_HTTP_OPSAUTH_ID_LEN);

    return NGX_OK;
}


static ngx_uint_t
ngx_http_opsauth_introspection_place(const char *field)
{
    ngx_uint_t  i;

    for (i = 0; i < OA_CREDENTIAL_FIELDS - 1; i++) {
        if (oa_text_eq(oa_credential_fields[i], field)) {
            break;
        }
    }

    return i;
}


void
ngx_http_opsauth_introspection_set(
    ngx_http_opsauth_introspection_record_t *record, const char *field,
    oa_str_t value)
{
    record->values[ngx_http_opsauth_introspection_place(field)] = value;
}


oa_str_t
ngx_http_opsauth_introspection_get(
    const ngx_http_opsauth_introspection_record_t *record, const char *field)
{
    return record->values[ngx_http_opsauth_introspection_place(field)];
}
