/*
 * RESP: src/redis/ngx_opsauth_codec.c. However its bytes are cut, a stream
 * gives the same replies and the same end; and nothing that a server sends
 * makes the codec pass its bounds.
 */

#include "ngx_opsauth_codec_test.h"


static char *
decode(const void *data, size_t len, size_t step)
{
    return decode_by(ngx_opsauth_codec_feed, data, len, step);
}


static void
stream_n(const char *data, size_t len, const char *wanted, const char *name)
{
    char    *whole, *cut;
    size_t   step;
    int      same;

    whole = decode(data, len, 0);
    is_str(whole, strlen(whole), wanted, "%s", name);

    same = 1;

    for (step = 1; step < 20 && same; step++) {
        cut = decode(data, len, step);
        same = (strcmp(cut, whole) == 0);

        if (!same) {
            fprintf(stderr, "# in steps of %zu: %s", step, cut);
        }

        free(cut);
    }

    ok(same, "%s: cut into pieces", name);

    free(whole);
}


static void
stream(const char *data, const char *wanted, const char *name)
{
    stream_n(data, strlen(data), wanted, name);
}


static void random_streams(void);


static void
replies(void)
{
    stream("+OK\r\n", "+OK\n", "a status");
    stream("+\r\n", "+\n", "an empty status");
    stream("-ERR no\r\n", "!ERR no\n", "an error");
    stream(":42\r\n:-7\r\n:0\r\n", "42\n-7\n0\n", "integers");
    stream("$5\r\nhello\r\n", "\"hello\"\n", "a string");
    stream("$0\r\n\r\n", "\"\"\n", "an empty string");
    stream("$4\r\n\r\n\r\n\r\n", "\"\r\n\r\n\"\n", "a string of line ends");
    stream("$-1\r\n", "nil\n", "a nil string");
    stream("*-1\r\n", "nil\n", "a nil array");
    stream("*0\r\n", "[ ]\n", "an empty array");
    stream("*3\r\n$1\r\na\r\n$-1\r\n$0\r\n\r\n", "[ \"a\" nil \"\" ]\n",
           "an array");
    stream("*2\r\n*2\r\n:1\r\n*0\r\n*-1\r\n", "[ [ 1 [ ] ] nil ]\n",
           "arrays in an array");
    stream("*2\r\n-ERR a\r\n+OK\r\n", "[ !ERR a +OK ]\n",
           "an error in an array");
    stream("+A\r\n*1\r\n$1\r\nb\r\n-C\r\n:4\r\n", "+A\n[ \"b\" ]\n!C\n4\n",
           "pipelined");
    stream("*2\r\n$3\r\nabc\r\n$3\r\nde", "", "not all there");
    stream("", "", "nothing");
}


static void
garbage(void)
{
    stream("HTTP/1.1 400 Bad Request\r\n\r\n", "ERROR\n", "HTTP");
    stream("+OK\r\nHTTP/1.1 400\r\n", "+OK\nERROR\n", "HTTP behind a reply");
    stream("\r\n", "ERROR\n", "an empty line");
    stream("$abc\r\n", "ERROR\n", "a length of letters");
    stream("$-2\r\n", "ERROR\n", "a negative length");
    stream("*-2\r\n", "ERROR\n", "a negative number of elements");
    stream(":12x\r\n", "ERROR\n", "an integer with a tail");
    stream(":\r\n", "ERROR\n", "an empty integer");
    stream("%1\r\n+a\r\n+b\r\n", "ERROR\n", "a RESP3 map");
    stream("~1\r\n+a\r\n", "ERROR\n", "a RESP3 set");
    stream(">1\r\n+a\r\n", "ERROR\n", "a RESP3 push");
    stream("_\r\n", "ERROR\n", "a RESP3 null");
    stream("#t\r\n", "ERROR\n", "a RESP3 boolean");
    stream(",1.5\r\n", "ERROR\n", "a RESP3 double");
    stream("(12345\r\n", "ERROR\n", "a RESP3 big number");
    stream("=5\r\ntxt:x\r\n", "ERROR\n", "a RESP3 verbatim string");
    stream_n("\0\0\0\0", 4, "ERROR\n", "zeroes");
}


static void
bounds(void)
{
    char    data[BYTES * 4], wanted[BYTES * 4], line[128];
    size_t  i, n;

    stream("$9000000000\r\n", "ERROR\n", "a string of 9 GB");
    stream("$9000000000", "ERROR\n", "a string of 9 GB, not yet all said");
    stream("$9223372036854775807\r\n", "ERROR\n", "the longest string");
    stream("$99999999999999999999999\r\n", "ERROR\n", "beyond all integers");
    stream("*1000000000\r\n", "ERROR\n", "a thousand million elements");
    stream("*9223372036854775807\r\n", "ERROR\n", "the longest array");
    stream("*2\r\n:1\r\n*1000000000\r\n", "ERROR\n", "in an array");
    stream("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "[ [ [ [ [ 1 ] ] ] ] ]\n",
           "five levels");
    stream("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "ERROR\n",
           "six levels");
    stream(":1111111111111111111111111111111111111111111111111111111111",
           "ERROR\n", "an integer without end");
    stream("*1111111111111111111111111111111111111111111111111111111111",
           "ERROR\n", "a header without end");

    /* elements: 16 in one array, or in all levels together */

    stream("*16\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n"
           ":1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n*1\r\n:1\r\n",
           "[ 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 ]\n[ 1 ]\n",
           "as many elements as may be, and again");
    stream("*17\r\n", "ERROR\n", "one element too many");
    stream("*8\r\n*8\r\n", "", "eight and eight");
    stream("*8\r\n*9\r\n", "ERROR\n", "eight and nine");

    /* bytes */

    for (n = BYTES - 1; n <= BYTES + 1; n++) {

        i = sprintf(data, "$%zu\r\n", n);
        memset(data + i, 'x', n);
        strcpy(data + i + n, "\r\n");

        wanted[0] = '"';
        memset(wanted + 1, 'x', n);
        strcpy(wanted + 1 + n, "\"\n");

        sprintf(line, "a string of %zu", n);
        stream(data, n <= BYTES ? wanted : "ERROR\n", line);

        data[0] = '+';
        memset(data + 1, 'x', n);
        strcpy(data + 1 + n, "\r\n");

        wanted[0] = '+';
        strcpy(wanted + 1 + n, "\n");

        sprintf(line, "a status of %zu", n);
        stream(data, n <= BYTES ? wanted : "ERROR\n", line);

        sprintf(data, "*2\r\n$10\r\n0123456789\r\n$%zu\r\n", n - 10);
        sprintf(line, "%zu in two strings", n);
        stream(data, n <= BYTES ? "" : "ERROR\n", line);
    }

    memset(data, 'x', sizeof(data));
    data[0] = '+';
    stream_n(data, sizeof(data), "ERROR\n", "a line without end");
}


/* "$n" and so many x, at p */

static char *
put_string(char *p, size_t n)
{
    p += sprintf(p, "$%zu\r\n", n);
    memset(p, 'x', n);
    memcpy(p + n, "\r\n", 3);

    return p + n + 2;
}


/* what passes the bounds is read over, and what comes behind it is not lost */

static void
skipping(void)
{
    char    data[BYTES * 64], *p;
    size_t  n;

    skips = 1;

    for (n = BYTES + 1; n < 40 * BYTES; n += 1 + n / 3) {
        p = put_string(data, n);
        strcpy(p, ":1\r\n");
        stream(data, "<1 0>\n1\n", "a string over the bound");

        p = data + sprintf(data, "*3\r\n$1\r\na\r\n");
        p = put_string(p, n);
        strcpy(p, "$1\r\nb\r\n+OK\r\n");
        stream(data, "<[ \"a\" <1 0> \"b\" ]>\n+OK\n", "in an array");

        p = data + sprintf(data, "*2\r\n*1\r\n");
        p = put_string(p, n);
        p = put_string(p, n + 1);
        strcpy(p, "$2\r\nok\r\n");
        stream(data, "<[ <[ <1 0> ]> <1 0> ]>\n\"ok\"\n", "two, nested");

        p = data + sprintf(data, "*17\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n"
                           ":1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n"
                           "$-1\r\n");
        p = put_string(p, n);
        strcpy(p, ":1\r\n:7\r\n");
        stream(data, "<5 17>\n7\n", "below an array that is cut");

        p = put_string(data, n);
        p = put_string(p, n);
        stream(data, "<1 0>\n<1 0>\n", "one behind the other");
    }

    p = data + sprintf(data, "*3\r\n");
    p = put_string(p, 100);
    p = put_string(p, 200);
    strcpy(p, "$-1\r\n$-1\r\n");
    p = decode(data, strlen(data), 0);
    ok(strstr(p, "<1 0> nil ]>\nnil\n") != NULL, "two that are too much together");
    free(p);

    stream("$67108865\r\n", "ERROR\n", "one that is not read over");
    stream("$67108865", "ERROR\n", "nor waited for");
    stream("$300x\r\n", "ERROR\n", "a length with a tail");
    stream("$300\rx", "ERROR\n", "half an end of line");
    stream("$300\r", "", "not all there");
    stream("$-300\r\n", "ERROR\n", "a negative length");

    memset(data, 'x', sizeof(data));
    data[0] = '+';
    stream_n(data, sizeof(data), "ERROR\n", "a line without end");

    /* the same with an end, whether that comes at once or later */

    for (n = BYTES - 1; n <= BYTES + 40; n++) {
        data[0] = "+-"[n % 2];
        memset(data + 1, 'x', n);
        strcpy(data + 1 + n, "\r\n:1\r\n");

        p = decode(data, strlen(data), 0);
        ok((n > BYTES) == (strcmp(p, "ERROR\n") == 0), "a line of %zu", n);
        stream(data, p, "cut");
        free(p);

        p = data + sprintf(data, "*17\r\n*1\r\n-");
        memset(p, 'x', n);
        strcpy(p + n, "\r\n");
        stream(data, n <= BYTES ? "" : "ERROR\n", "below a cut array");
    }

    replies();
    garbage();
    random_streams();

    skips = 0;
}


/* streams of fragments, and of any bytes: whole or cut, they read alike */

static void
random_streams(void)
{
    char     data[600], *whole, *cut;
    size_t   len, i, n;
    unsigned round, differ;

    static const char *const  parts[] = {
        "+OK\r\n", "-ERR x\r\n", ":1\r\n", ":-9\r\n", "$3\r\nabc\r\n",
        "$0\r\n\r\n", "$-1\r\n", "*-1\r\n", "*0\r\n", "*1\r\n", "*2\r\n",
        "*3\r\n", "*15\r\n", "$200\r\n", "$", "\r", "\n", "\r\n", "*", "1",
        "abc", "$1\r\n", "$300\r\n"
    };

    differ = 0;

    for (round = 0; round < 20000; round++) {
        len = 0;

        if (round % 4 == 0) {
            len = tap_random_below(100);
            tap_random_bytes(data, len);

            if (len) {
                data[0] = "+-:$*"[tap_random_below(5)];
            }

        } else {
            n = tap_random_below(40);

            for (i = 0; i < n; i++) {
                /* the whole ones more often than the pieces */
                const char *part = parts[tap_random_below(
                                       tap_random_below(4) ? 14 : 23)];

                memcpy(data + len, part, strlen(part));
                len += strlen(part);
            }
        }

        whole = decode(data, len, 0);
        cut = decode(data, len, 1 + tap_random_below(4));

        if (strcmp(whole, cut) != 0) {
            differ++;
        }

        free(whole);
        free(cut);
    }

    is_int(differ, 0, "random streams read alike, whole and cut");
}


/* some replies as Redis gives them to HMGET, now and then beyond the bounds */

static size_t
flat_replies(char *p)
{
    char    *start;
    size_t   len, max, i, n, replies;

    start = p;

    for (replies = 1 + tap_random_below(3); replies; replies--) {
        n = tap_random_below(8) ? tap_random_below(8) : tap_random_below(19);
        max = tap_random_below(4) ? 12 : 90;
        p += sprintf(p, "*%zu\r\n", n);

        for (i = 0; i < n; i++) {
            if (tap_random_below(3) == 0) {
                p += sprintf(p, "$-1\r\n");
                continue;
            }

            len = tap_random_below(max);
            p += sprintf(p, "$%zu\r\n", len);

            while (len--) {
                *p++ = "ab\r\n$*-10:+"[tap_random_below(11)];
            }

            p += sprintf(p, "\r\n");
        }
    }

    return p - start;
}


/* one byte more, less or other, where it hurts more often than not */

static size_t
mutate(char *data, size_t len)
{
    size_t  at;
    char    c;

    if (len == 0) {
        return 0;
    }

    at = tap_random_below(len);
    c = "\r\n$*-0019:+ \0\377"[tap_random_below(14)];

    switch (tap_random_below(4)) {

    case 0:
        memmove(data + at + 1, data + at, len - at);
        data[at] = c;
        return len + 1;

    case 1:
        memmove(data + at, data + at + 1, len - at - 1);
        return len - 1;

    case 2:
        return at;

    default:
        data[at] = c;
        return len;
    }
}


/* a stream in two pieces, read both ways; ASan sees what is read beyond them */

static unsigned
differs(const char *data, size_t len, size_t cut)
{
    char      *text[2];
    FILE      *out;
    size_t     size[2], n[2];
    unsigned   way, piece, differ;

    n[0] = cut;
    n[1] = len - cut;

    for (way = 0; way < 2; way++) {
        ngx_int_t             rc = NGX_AGAIN;
        ngx_opsauth_codec_t  *codec = ngx_opsauth_codec_create(ELEMENTS, BYTES);
        ngx_opsauth_reply_t  *reply;

        if (strings) {
            ngx_opsauth_codec_strings(codec);
        }

        out = open_memstream(&text[way], &size[way]);

        for (piece = 0; piece < 2 && rc != NGX_ERROR; piece++) {
            u_char  *copy = tap_copy(data + (piece ? cut : 0), n[piece]);

            rc = way ? feed_reader(codec, copy, n[piece])
                     : ngx_opsauth_codec_feed(codec, copy, n[piece]);

            while (rc == NGX_OK) {
                rc = ngx_opsauth_codec_next(codec, &reply);
                if (rc == NGX_OK) {
                    print_reply(out, reply);
                }
            }

            fprintf(out, "|%s", rc == NGX_ERROR ? "ERROR" : "");
            free(copy);
        }

        ngx_opsauth_codec_destroy(codec);
        fclose(out);
    }

    differ = (size[0] != size[1] || memcmp(text[0], text[1], size[0]) != 0);

    free(text[0]);
    free(text[1]);

    return differ;
}


static void
plain_way(void)
{
    char      data[8192];
    size_t    len, cut;
    unsigned  round, differ, i;

    differ = 0;

    for (round = 0; round < 30000 && differ < 5; round++) {
        len = flat_replies(data);

        for (i = tap_random_below(4); i; i--) {
            len = mutate(data, len);
        }

        if (round % 100) {
            differ += differs(data, len, tap_random_below(len + 1));
            continue;
        }

        for (cut = 0; cut <= len; cut++) {
            differ += differs(data, len, cut);
        }
    }

    is_int(differ, 0, "plain replies, also damaged and cut, read as hiredis "
                      "reads them");
}


/* what is meant to take it does: no bytes reach the reader */

static void
plain_way_taken(void)
{
    u_char                data[] = "*3\r\n$2\r\nab\r\n$-1\r\n$0\r\n\r\n"
                                   "*1\r\n$1\r\nc\r\n+OK\r\n";
    ngx_opsauth_codec_t  *codec;
    ngx_opsauth_reply_t  *reply;

    codec = ngx_opsauth_codec_create(ELEMENTS, BYTES);

    is_int(ngx_opsauth_codec_feed(codec, data, sizeof(data) - 1), NGX_OK,
           "fed");
    is_int(ngx_opsauth_codec_next(codec, &reply), NGX_OK, "a first reply");
    ok(reply->n == 3 && reply->elements[0].str.data == data + 8,
       "it lies where it was fed");
    ok(reply->strings == NULL, "and has no strings");

    ngx_opsauth_codec_strings(codec);

    is_int(ngx_opsauth_codec_next(codec, &reply), NGX_OK, "a second reply");
    ok(reply->n == 1 && reply->elements == NULL
       && reply->strings[0].len == 1 && reply->strings[0].data == data + 31,
       "as strings, where it was fed");
    is_int(codec->reader->len, 0, "the reader has seen none");
    is_int(ngx_opsauth_codec_next(codec, &reply), NGX_OK, "a third reply");
    ok(reply->type == NGX_OPSAUTH_REPLY_STATUS, "it is the reader's");
    is_int(ngx_opsauth_codec_next(codec, &reply), NGX_AGAIN, "no more");

    ngx_opsauth_codec_destroy(codec);
}


int
main(void)
{
    replies();
    garbage();
    bounds();
    random_streams();
    skipping();
    plain_way();
    plain_way_taken();

    strings = 1;

    replies();
    random_streams();
    skipping();
    plain_way();

    return done_testing();
}
