/*
 * For the tests of RESP: its files are included, and what they make of a stream
 * becomes a text that can be compared.
 */

#ifndef NGX_OPSAUTH_CODEC_TEST_H
#define NGX_OPSAUTH_CODEC_TEST_H

#include "../../src/redis/ngx_opsauth_codec.c"
#include "../../src/redis/ngx_opsauth_codec_flat.c"
#include "tap.h"


#define ELEMENTS  16
#define BYTES     256


typedef ngx_int_t (*feed_pt)(ngx_opsauth_codec_t *codec, u_char *data,
    size_t len);


static int  skips;                      /* the codec under test does */
static int  strings;                    /* it gives strings for elements */


static void
print_string(FILE *out, const ngx_str_t *str)
{
    if (str->data == NULL) {
        fprintf(out, "nil");
        return;
    }

    fputc('"', out);
    fwrite(str->data, 1, str->len, out);
    fputc('"', out);
}


/* a reply as text: "hello" (STATUS) 12 nil [ "a" nil ] !ERROR; cut: <...> */

static void
print_reply(FILE *out, ngx_opsauth_reply_t *reply)
{
    ngx_uint_t  i;

    if (reply->cut && (reply->type != NGX_OPSAUTH_REPLY_ARRAY
                       || reply->elements == NULL))
    {
        fprintf(out, "<%d %u>", (int) reply->type, (unsigned) reply->n);
        return;
    }

    switch (reply->type) {

    case NGX_OPSAUTH_REPLY_NIL:
        fprintf(out, "nil");
        break;

    case NGX_OPSAUTH_REPLY_STRING:
        print_string(out, &reply->str);
        break;

    case NGX_OPSAUTH_REPLY_STATUS:
    case NGX_OPSAUTH_REPLY_ERROR:
        fputc(reply->type == NGX_OPSAUTH_REPLY_ERROR ? '!' : '+', out);
        fwrite(reply->str.data, 1, reply->str.len, out);
        break;

    case NGX_OPSAUTH_REPLY_INTEGER:
        fprintf(out, "%lld", (long long) reply->integer);
        break;

    case NGX_OPSAUTH_REPLY_ARRAY:
        fprintf(out, reply->cut ? "<[" : "[");
        for (i = 0; i < reply->n; i++) {
            fprintf(out, " ");

            if (reply->strings) {
                print_string(out, &reply->strings[i]);
                continue;
            }

            print_reply(out, &reply->elements[i]);
        }
        fprintf(out, reply->cut ? " ]>" : " ]");
        break;
    }
}


/* past the way for plain replies, so that hiredis parses everything */

static ngx_int_t
feed_reader(ngx_opsauth_codec_t *codec, u_char *data, size_t len)
{
    if (redisReaderFeed(codec->reader, (char *) data, len) != REDIS_OK) {
        codec->failed = 1;
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* all replies of a stream, then ERROR if that is how it ends; free() it */

static char *
decode_by(feed_pt feed, const void *data, size_t len, size_t step)
{
    char                 *text, *copy;
    FILE                 *out;
    size_t                size, n;
    ngx_int_t             rc;
    ngx_opsauth_codec_t  *codec;
    ngx_opsauth_reply_t  *reply;

    out = open_memstream(&text, &size);
    codec = ngx_opsauth_codec_create(ELEMENTS, BYTES);
    rc = NGX_AGAIN;

    if (skips) {
        ngx_opsauth_codec_skip(codec);
    }

    if (strings) {
        ngx_opsauth_codec_strings(codec);
    }

    while (len && rc != NGX_ERROR) {
        n = (step && step < len) ? step : len;
        copy = tap_copy(data, n);

        rc = feed(codec, (u_char *) copy, n);

        while (rc == NGX_OK) {
            rc = ngx_opsauth_codec_next(codec, &reply);
            if (rc == NGX_OK) {
                print_reply(out, reply);
                fputc('\n', out);
            }
        }

        free(copy);

        data = (const char *) data + n;
        len -= n;
    }

    if (rc == NGX_ERROR) {
        fprintf(out, "ERROR\n");

        if (ngx_opsauth_codec_feed(codec, (u_char *) "+", 1) != NGX_ERROR
            || ngx_opsauth_codec_next(codec, &reply) != NGX_ERROR)
        {
            fprintf(out, "BUT USED AGAIN\n");
        }
    }

    ngx_opsauth_codec_destroy(codec);
    fclose(out);

    return text;
}


#endif /* NGX_OPSAUTH_CODEC_TEST_H */
