/*
 * Commands in RESP: src/redis/ngx_opsauth_codec_encode.c.
 */

#include "../../src/redis/ngx_opsauth_codec_encode.c"
#include "tap.h"


static unsigned  alloc_fails;


void *
ngx_alloc(size_t size, ngx_log_t *log)
{
    return alloc_fails ? NULL : malloc(size);
}


void
ngx_explicit_memzero(void *buf, size_t n)
{
    memset(buf, 0, n);
}


static void
encoding(void)
{
    u_char     *start;
    size_t      used;
    ngx_buf_t   buf;
    ngx_str_t   words[3];
    ngx_uint_t  i;

    static u_char      large[9000];
    static const char  both[] = "*3\r\n$5\r\nHMGET\r\n$4\r\na\r\nb\r\n"
                                "$0\r\n\r\n"
                                "*2\r\n$5\r\nHMGET\r\n$9000\r\nxxx";

    memset(&buf, 0, sizeof(buf));
    memset(large, 'x', sizeof(large));

    words[0] = (ngx_str_t) ngx_string("HMGET");
    words[1] = (ngx_str_t) ngx_string("a\r\nb");
    words[2] = (ngx_str_t) ngx_null_string;

    is_int(ngx_opsauth_codec_encode(&buf, 65536, 3, words, NULL), NGX_OK,
           "encode");
    is_str(buf.pos, buf.last - buf.pos,
           "*3\r\n$5\r\nHMGET\r\n$4\r\na\r\nb\r\n$0\r\n\r\n", "a command");

    start = buf.start;
    buf.pos += 4;

    words[1].data = large;
    words[1].len = 9000;

    is_int(ngx_opsauth_codec_encode(&buf, 65536, 2, words, NULL), NGX_OK,
           "one that makes the buffer grow");
    ok(buf.start != start && buf.pos == buf.start + 4, "pos moves with it");
    is_str(buf.start, strlen(both), both, "what was there, and what is new");

    used = buf.last - buf.start;

    alloc_fails = 1;

    for (i = 0; i < 10; i++) {
        if (ngx_opsauth_codec_encode(&buf, 65536, 2, words, NULL) != NGX_OK) {
            break;
        }
        used = buf.last - buf.start;
    }

    alloc_fails = 0;

    ok(i < 10 && (size_t) (buf.last - buf.start) == used,
       "no memory: as if nothing had been");

    for (i = 0; i < 10; i++) {
        if (ngx_opsauth_codec_encode(&buf, 65536, 2, words, NULL)
            == NGX_DECLINED)
        {
            break;
        }
    }

    ok(i < 10 && buf.end - buf.start <= 65536, "no more than the maximum");

    free(buf.start);
}


static void
forms(void)
{
    ngx_str_t                 words[3], prefix, name;
    ngx_buf_t                 one, two;
    ngx_str_t                 plain[4];
    ngx_opsauth_codec_form_t  form;

    words[0] = (ngx_str_t) ngx_string("HMGET");
    words[1] = (ngx_str_t) ngx_string("v");
    words[2] = (ngx_str_t) ngx_string("expires");
    prefix = (ngx_str_t) ngx_string("opsauth:credential:");
    name = (ngx_str_t) ngx_string("0123456789abcdef");

    plain[0] = words[0];
    plain[1] =
        (ngx_str_t) ngx_string("opsauth:credential:0123456789abcdef");
    plain[2] = words[1];
    plain[3] = words[2];

    memset(&one, 0, sizeof(one));
    memset(&two, 0, sizeof(two));

    is_int(ngx_opsauth_codec_form(&form, 3, words, &prefix, NULL), NGX_OK, "a form");
    is_int(ngx_opsauth_codec_encode_form(&one, 4096, &form, &name, NULL),
           NGX_OK, "filled in");
    is_int(ngx_opsauth_codec_encode(&two, 4096, 4, plain, NULL), NGX_OK,
           "the command as such");
    ok(one.last - one.pos == two.last - two.pos
       && memcmp(one.pos, two.pos, one.last - one.pos) == 0, "are the same");

    /* names of other lengths, there and back: the length is part of it */

    one.last = one.pos;
    two.last = two.pos;
    name = (ngx_str_t) ngx_string("01234");
    plain[1] = (ngx_str_t) ngx_string("opsauth:credential:01234");

    is_int(ngx_opsauth_codec_encode_form(&one, 4096, &form, &name, NULL),
           NGX_OK, "a shorter name");
    name = (ngx_str_t) ngx_null_string;
    is_int(ngx_opsauth_codec_encode_form(&one, 4096, &form, &name, NULL),
           NGX_OK, "none");
    (void) ngx_opsauth_codec_encode(&two, 4096, 4, plain, NULL);
    plain[1] = prefix;
    (void) ngx_opsauth_codec_encode(&two, 4096, 4, plain, NULL);
    ok(one.last - one.pos == two.last - two.pos
       && memcmp(one.pos, two.pos, one.last - one.pos) == 0, "are the same");

    is_int(ngx_opsauth_codec_encode_form(&one, 64, &form, &name, NULL),
           NGX_OK, "room that is there is used");

    one.last = one.end;
    is_int(ngx_opsauth_codec_encode_form(&one, 4096, &form, &name, NULL),
           NGX_DECLINED, "the maximum");

    free(one.start);
    free(two.start);
    free(form.data);
}


int
main(void)
{
    encoding();
    forms();

    return done_testing();
}
