/*
 * RESP2 decoded: hiredis' reader, with reply objects of our own.
 *
 * The reader keeps what it has not parsed yet; every parsed value is copied
 * into the codec's arena, since the reader moves its buffer while it parses.
 * What lies wholly in the bytes that were fed, and is an array of strings and
 * nils, is read where it lies (ngx_opsauth_codec_flat.c), as long as the reader
 * has nothing left.
 *
 * A root reply is codec->root, the elements of an array are one run of
 * codec->nodes, so that an announced size costs nothing beyond the arena.
 *
 * Bounds are exact, and the same however the bytes are cut: what is announced
 * ("$9000000000") is refused when its header is read, not when it is there.
 * A codec that skips keeps to the same memory: what hangs below a cut array is
 * parsed and dropped, and a string over the bound never reaches the reader. Its
 * header becomes a nil in the reader's own buffer, and its bytes are counted.
 * RESP3 types, which hiredis 1.x knows and 0.14 does not, are refused.
 *
 * Commands are encoded in ngx_opsauth_codec_encode.c.
 */

#include "ngx_opsauth_codec.h"
#include "ngx_opsauth_codec_flat.h"

#include <stdlib.h>
#include <hiredis/hiredis.h>


/* "$-9223372036854775808\r" and room to spare */
#define NGX_OPSAUTH_CODEC_HEADER_MAX  32
/* CLUSTER SLOTS, the deepest that is asked for, has four */
#define NGX_OPSAUTH_CODEC_DEPTH_MAX   5
/* a longer string is not read over: it would hold up all behind it */
#define NGX_OPSAUTH_CODEC_SKIP_MAX    (64 * 1024 * 1024)


#if (HIREDIS_MAJOR >= 1)

typedef size_t  ngx_opsauth_codec_count_t;

#define ngx_opsauth_codec_task(reader)  ((reader)->task[(reader)->ridx])

#else

typedef int  ngx_opsauth_codec_count_t;

#define ngx_opsauth_codec_task(reader)  (&(reader)->rstack[(reader)->ridx])

#endif


struct ngx_opsauth_codec_s {
    redisReader          *reader;
    ngx_uint_t            max_elements;
    size_t                max_bytes;

    ngx_opsauth_reply_t   root;
    ngx_opsauth_reply_t  *nodes;
    ngx_uint_t            nnodes;       /* used */
    ngx_str_t            *strings;      /* of a flat reply */
    u_char               *bytes;
    size_t                nbytes;       /* used */
    ngx_opsauth_reply_t   dropped;      /* stands for what is below a cut */
    size_t                passing;      /* bytes to come of a cut string */

    u_char               *pos;          /* fed, but not to the reader */
    u_char               *last;

    unsigned              skip:1;
    unsigned              as_strings:1;
    unsigned              cut:1;        /* the next nil stands for a string */
    unsigned              emitted:1;    /* the arena holds the last reply */
    unsigned              failed:1;
};


static void *ngx_opsauth_codec_string(const redisReadTask *task, char *data,
    size_t len);
static void *ngx_opsauth_codec_array(const redisReadTask *task,
    ngx_opsauth_codec_count_t n);
static void *ngx_opsauth_codec_integer(const redisReadTask *task,
    long long value);
static void *ngx_opsauth_codec_nil(const redisReadTask *task);
#if (HIREDIS_MAJOR >= 1)
static void *ngx_opsauth_codec_double(const redisReadTask *task, double value,
    char *data, size_t len);
static void *ngx_opsauth_codec_bool(const redisReadTask *task, int value);
#endif

static ngx_opsauth_reply_t *ngx_opsauth_codec_node(const redisReadTask *task);
static ngx_int_t ngx_opsauth_codec_plain(ngx_opsauth_codec_t *codec);
static void ngx_opsauth_codec_expand(ngx_opsauth_codec_t *codec);
static ngx_int_t ngx_opsauth_codec_hand_over(ngx_opsauth_codec_t *codec);
static ngx_int_t ngx_opsauth_codec_check(ngx_opsauth_codec_t *codec);
static ngx_int_t ngx_opsauth_codec_pass(ngx_opsauth_codec_t *codec,
    char *header, char *data, size_t size);
static void ngx_opsauth_codec_cut(const redisReadTask *task,
    ngx_opsauth_reply_t *node);


/* hiredis takes no const; it does not write to it */
static redisReplyObjectFunctions  ngx_opsauth_codec_functions = {
    .createString = ngx_opsauth_codec_string,
    .createArray = ngx_opsauth_codec_array,
    .createInteger = ngx_opsauth_codec_integer,
#if (HIREDIS_MAJOR >= 1)
    .createDouble = ngx_opsauth_codec_double,
    .createBool = ngx_opsauth_codec_bool,
#endif
    .createNil = ngx_opsauth_codec_nil,
    .freeObject = NULL
};


ngx_opsauth_codec_t *
ngx_opsauth_codec_create(ngx_uint_t max_elements, size_t max_bytes)
{
    ngx_opsauth_codec_t  *codec;

    codec = calloc(1, sizeof(ngx_opsauth_codec_t));
    if (codec == NULL) {
        return NULL;
    }

    codec->max_elements = max_elements;
    codec->max_bytes = max_bytes;

    /* one more, so that an empty string at the end has an address too */
    codec->nodes = calloc(max_elements + 1, sizeof(ngx_opsauth_reply_t));
    codec->strings = calloc(max_elements + 1, sizeof(ngx_str_t));
    codec->bytes = malloc(max_bytes + 1);
    codec->reader = redisReaderCreateWithFunctions(
                                               &ngx_opsauth_codec_functions);

    if (codec->nodes == NULL || codec->strings == NULL || codec->bytes == NULL
        || codec->reader == NULL)
    {
        ngx_opsauth_codec_destroy(codec);
        return NULL;
    }

    codec->reader->privdata = codec;

    /* keep the buffer: 0.14 asserts on the memory for a smaller one */
    codec->reader->maxbuf = 0;

    return codec;
}


void
ngx_opsauth_codec_skip(ngx_opsauth_codec_t *codec)
{
    codec->skip = 1;
}


void
ngx_opsauth_codec_strings(ngx_opsauth_codec_t *codec)
{
    codec->as_strings = 1;
}


void
ngx_opsauth_codec_destroy(ngx_opsauth_codec_t *codec)
{
    if (codec->reader) {
        redisReaderFree(codec->reader);
    }

    free(codec->bytes);
    free(codec->strings);
    free(codec->nodes);
    free(codec);
}


ngx_int_t
ngx_opsauth_codec_feed(ngx_opsauth_codec_t *codec, u_char *data, size_t len)
{
    size_t        n;
    redisReader  *reader;

    /* the bytes before these come first */

    if (codec->failed || ngx_opsauth_codec_hand_over(codec) != NGX_OK) {
        return NGX_ERROR;
    }

    n = ngx_min(len, codec->passing);

    codec->passing -= n;
    codec->pos = data + n;
    codec->last = data + len;

    reader = codec->reader;

    if (reader->ridx < 0 && reader->pos == reader->len) {
        return NGX_OK;
    }

    /* the reader is in the middle of something */

    return ngx_opsauth_codec_hand_over(codec);
}


static ngx_int_t
ngx_opsauth_codec_hand_over(ngx_opsauth_codec_t *codec)
{
    u_char  *data;
    size_t   len;

    data = codec->pos;
    len = codec->last - codec->pos;

    codec->pos = NULL;
    codec->last = NULL;

    if (len != 0
        && redisReaderFeed(codec->reader, (char *) data, len) != REDIS_OK)
    {
        codec->failed = 1;
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_int_t
ngx_opsauth_codec_next(ngx_opsauth_codec_t *codec,
    ngx_opsauth_reply_t **reply)
{
    void       *object;
    ngx_int_t   rc;

    if (codec->failed) {
        return NGX_ERROR;
    }

    if (codec->emitted) {
        codec->emitted = 0;
        codec->nnodes = 0;
        codec->nbytes = 0;
    }

    if (codec->pos != codec->last) {

        if (ngx_opsauth_codec_plain(codec) == NGX_OK) {
            codec->emitted = 1;
            *reply = &codec->root;
            return NGX_OK;
        }

        if (ngx_opsauth_codec_hand_over(codec) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (codec->reader->ridx < 0 && codec->reader->pos == codec->reader->len) {
        return NGX_AGAIN;
    }

    do {
        if (redisReaderGetReply(codec->reader, &object) != REDIS_OK) {
            codec->failed = 1;
            return NGX_ERROR;
        }

        if (object != NULL) {
            codec->emitted = 1;
            *reply = object;
            return NGX_OK;
        }

        rc = ngx_opsauth_codec_check(codec);

    } while (rc == NGX_DECLINED);

    if (rc != NGX_OK) {
        codec->failed = 1;
        return NGX_ERROR;
    }

    return NGX_AGAIN;
}


/* one whole array of strings and nils; NGX_DECLINED: anything else, and nothing
   is taken */

static ngx_int_t
ngx_opsauth_codec_plain(ngx_opsauth_codec_t *codec)
{
    u_char      *p;
    ngx_uint_t   n;

    p = ngx_opsauth_codec_flat(codec->pos, codec->last, codec->max_elements,
                               codec->max_bytes, codec->strings, &n);
    if (p == NULL) {
        return NGX_DECLINED;
    }

    codec->pos = p;

    ngx_memzero(&codec->root, sizeof(ngx_opsauth_reply_t));

    codec->root.type = NGX_OPSAUTH_REPLY_ARRAY;
    codec->root.n = n;

    if (codec->as_strings) {
        codec->root.strings = codec->strings;

    } else {
        ngx_opsauth_codec_expand(codec);
    }

    return NGX_OK;
}


static void
ngx_opsauth_codec_expand(ngx_opsauth_codec_t *codec)
{
    ngx_uint_t            i;
    ngx_opsauth_reply_t  *node;

    codec->root.elements = codec->nodes;

    for (i = 0; i < codec->root.n; i++) {
        node = &codec->nodes[i];

        ngx_memzero(node, sizeof(ngx_opsauth_reply_t));

        if (codec->strings[i].data) {
            node->type = NGX_OPSAUTH_REPLY_STRING;
            node->str = codec->strings[i];
        }
    }
}


/* what is half there must still fit when it is whole; NGX_DECLINED: it does
   not, and is passed over: there is more to parse */

static ngx_int_t
ngx_opsauth_codec_check(ngx_opsauth_codec_t *codec)
{
    char         *p, *last;
    size_t        room, size, max;
    redisReader  *reader;

    reader = codec->reader;

    if (reader->ridx < 0) {
        return NGX_OK;
    }

    p = reader->buf + reader->pos;
    last = reader->buf + reader->len;
    room = codec->max_bytes - (codec->skip ? 0 : codec->nbytes);

    switch (ngx_opsauth_codec_task(reader)->type) {

    case REDIS_REPLY_STATUS:
    case REDIS_REPLY_ERROR:

        size = last - p;

        if (size && last[-1] == '\r') {
            size--;
        }

        return (size > room) ? NGX_ERROR : NGX_OK;

    case REDIS_REPLY_STRING:

        max = codec->skip ? NGX_OPSAUTH_CODEC_SKIP_MAX : room;

        for (size = 0; p < last && *p >= '0' && *p <= '9'; p++) {
            size = size * 10 + (*p - '0');

            if (size > max) {
                return NGX_ERROR;
            }
        }

        if (p < last && *p == '\r') {
            return (size > room && last - p > 1)
                   ? ngx_opsauth_codec_pass(codec, reader->buf + reader->pos,
                                            p + 2, size)
                   : NGX_OK;
        }

        break;

    default:
        break;
    }

    return (last - p > NGX_OPSAUTH_CODEC_HEADER_MAX) ? NGX_ERROR : NGX_OK;
}


/*
 * The reader would keep a string until it is whole: what is there of it is
 * passed over, and "-1\r\n" put in place of its last bytes.
 */

static ngx_int_t
ngx_opsauth_codec_pass(ngx_opsauth_codec_t *codec, char *header, char *data,
    size_t size)
{
    size_t        n;
    redisReader  *reader;

    reader = codec->reader;

    if (data[-1] != '\n' || data - header < 4) {
        return NGX_ERROR;
    }

    size += 2;

    n = reader->buf + reader->len - data;
    n = ngx_min(n, size);

    codec->passing = size - n;
    codec->cut = 1;

    data += n;
    data -= 4;

    ngx_memcpy(data, "-1\r\n", 4);

    reader->pos = data - reader->buf;

    return NGX_DECLINED;
}


static void
ngx_opsauth_codec_cut(const redisReadTask *task, ngx_opsauth_reply_t *node)
{
    const redisReadTask  *up;

    node->cut = 1;

    for (up = task->parent; up; up = up->parent) {
        ((ngx_opsauth_reply_t *) up->obj)->cut = 1;
    }
}


static ngx_opsauth_reply_t *
ngx_opsauth_codec_node(const redisReadTask *task)
{
    ngx_opsauth_codec_t  *codec;
    ngx_opsauth_reply_t  *node, *parent;

    codec = task->privdata;

    if (task->parent) {
        parent = task->parent->obj;
        node = parent->elements ? &parent->elements[task->idx]
                                : &codec->dropped;

    } else {
        node = &codec->root;
    }

    ngx_memzero(node, sizeof(ngx_opsauth_reply_t));

    return node;
}


/* NULL makes the reader fail: a bound is an error of the stream */

static void *
ngx_opsauth_codec_string(const redisReadTask *task, char *data, size_t len)
{
    ngx_opsauth_codec_t      *codec;
    ngx_opsauth_reply_t      *node;
    ngx_opsauth_reply_type_e  type;

    codec = task->privdata;

    switch (task->type) {

    case REDIS_REPLY_STRING:
        type = NGX_OPSAUTH_REPLY_STRING;
        break;

    case REDIS_REPLY_STATUS:
        type = NGX_OPSAUTH_REPLY_STATUS;
        break;

    case REDIS_REPLY_ERROR:
        type = NGX_OPSAUTH_REPLY_ERROR;
        break;

    default:
        return NULL;
    }

    if (len > codec->max_bytes - codec->nbytes && !codec->skip) {
        return NULL;
    }

    /* it would have been one as long as its end was not there */
    if (len > codec->max_bytes && type != NGX_OPSAUTH_REPLY_STRING) {
        return NULL;
    }

    node = ngx_opsauth_codec_node(task);

    node->type = type;

    if (node == &codec->dropped) {
        return node;
    }

    if (len > codec->max_bytes - codec->nbytes) {
        ngx_opsauth_codec_cut(task, node);
        return node;
    }

    node->str.len = len;
    node->str.data = codec->bytes + codec->nbytes;

    ngx_memcpy(node->str.data, data, len);
    codec->nbytes += len;

    return node;
}


static void *
ngx_opsauth_codec_array(const redisReadTask *task, ngx_opsauth_codec_count_t n)
{
    ngx_uint_t            depth, fits;
    const redisReadTask  *up;
    ngx_opsauth_codec_t  *codec;
    ngx_opsauth_reply_t  *node;

    codec = task->privdata;

    fits = ((ngx_uint_t) n <= codec->max_elements - codec->nnodes);

    if (task->type != REDIS_REPLY_ARRAY || (!fits && !codec->skip)) {
        return NULL;
    }

    for (depth = 1, up = task->parent; up; up = up->parent) {
        depth++;
    }

    if (depth > NGX_OPSAUTH_CODEC_DEPTH_MAX) {
        return NULL;
    }

    node = ngx_opsauth_codec_node(task);

    node->type = NGX_OPSAUTH_REPLY_ARRAY;

    if (node == &codec->dropped) {
        return node;
    }

    node->n = n;

    if (fits) {
        node->elements = codec->nodes + codec->nnodes;
        codec->nnodes += n;
        return node;
    }

    ngx_opsauth_codec_cut(task, node);

    return node;
}


static void *
ngx_opsauth_codec_integer(const redisReadTask *task, long long value)
{
    ngx_opsauth_reply_t  *node;

    node = ngx_opsauth_codec_node(task);

    node->type = NGX_OPSAUTH_REPLY_INTEGER;
    node->integer = value;

    return node;
}


static void *
ngx_opsauth_codec_nil(const redisReadTask *task)
{
    ngx_opsauth_codec_t  *codec;
    ngx_opsauth_reply_t  *node;

    /* "$-1" or "*-1"; RESP3's "_" has a type of its own */

    if (task->type != REDIS_REPLY_STRING && task->type != REDIS_REPLY_ARRAY) {
        return NULL;
    }

    codec = task->privdata;
    node = ngx_opsauth_codec_node(task);

    if (codec->cut) {
        codec->cut = 0;

        node->type = NGX_OPSAUTH_REPLY_STRING;

        if (node != &codec->dropped) {
            ngx_opsauth_codec_cut(task, node);
        }

        return node;
    }

    node->type = NGX_OPSAUTH_REPLY_NIL;

    return node;
}


#if (HIREDIS_MAJOR >= 1)

static void *
ngx_opsauth_codec_double(const redisReadTask *task, double value, char *data,
    size_t len)
{
    return NULL;
}


static void *
ngx_opsauth_codec_bool(const redisReadTask *task, int value)
{
    return NULL;
}

#endif
