/*
 * RESP2 encoding and decoding: hiredis behind our own bounds. This is the one
 * place of the module that knows hiredis (0.14 and 1.x).
 *
 * Replies live in an arena of the codec: no allocation per reply, and nothing
 * a server announces makes us allocate more than the bounds.
 */

#ifndef NGX_OPSAUTH_CODEC_H
#define NGX_OPSAUTH_CODEC_H

#include <ngx_config.h>
#include <ngx_core.h>


typedef enum {
    NGX_OPSAUTH_REPLY_NIL = 0,
    NGX_OPSAUTH_REPLY_STRING,
    NGX_OPSAUTH_REPLY_STATUS,
    NGX_OPSAUTH_REPLY_ERROR,
    NGX_OPSAUTH_REPLY_INTEGER,
    NGX_OPSAUTH_REPLY_ARRAY
} ngx_opsauth_reply_type_e;

typedef struct ngx_opsauth_reply_s  ngx_opsauth_reply_t;
typedef struct ngx_opsauth_codec_s  ngx_opsauth_codec_t;

struct ngx_opsauth_reply_s {
    ngx_opsauth_reply_type_e   type;
    int64_t                    integer;
    ngx_str_t                  str;         /* STRING, STATUS, ERROR */
    ngx_uint_t                 n;           /* ARRAY */
    ngx_opsauth_reply_t       *elements;    /* NULL and n > 0: cut, unless
                                               there are strings */
    ngx_str_t                 *strings;     /* in place of elements, see
                                               ngx_opsauth_codec_strings() */
    unsigned                   cut:1;       /* passed a bound, and skipped: n
                                               was announced, str is empty */
};


/* a command in which only the key, its second word, changes, and of that only
   what follows a prefix */
typedef struct {
    ngx_str_t                  prefix;
    size_t                     name_len;    /* that lead is made for */
    size_t                     head_len;    /* of lead, up to the key */
    ngx_str_t                  lead;        /* with the prefix; empty: unmade */
    ngx_str_t                  tail;        /* from behind the key */
    u_char                    *data;        /* owned: ngx_free() */
} ngx_opsauth_codec_form_t;


/*
 * max_elements bounds one reply's elements of all levels together, max_bytes
 * its bytes (both those decoded and those still expected). NULL: no memory.
 */
ngx_opsauth_codec_t *ngx_opsauth_codec_create(ngx_uint_t max_elements,
    size_t max_bytes);
/*
 * From now on what passes the bounds is no error of the stream, but read over
 * to its end: a string over the bound is cut, as is an array of too many
 * elements, and what holds something cut. Such a string may be told of before
 * all of it is there. A line over max_bytes, or a string of more than 64 MB,
 * remains an error.
 */
void ngx_opsauth_codec_skip(ngx_opsauth_codec_t *codec);
/*
 * From now on an array of strings and nils may come as strings, n of them,
 * without elements; a nil's data is NULL, an empty string's is not.
 */
void ngx_opsauth_codec_strings(ngx_opsauth_codec_t *codec);
void ngx_opsauth_codec_destroy(ngx_opsauth_codec_t *codec);

/* bytes from the socket; NGX_ERROR: protocol error, a bound, no memory: the
   stream can't be trusted any more, close the connection. They must stand until
   next() says NGX_AGAIN */
ngx_int_t ngx_opsauth_codec_feed(ngx_opsauth_codec_t *codec, u_char *data,
    size_t len);

/*
 * NGX_OK     *reply is the next whole reply, valid until the next call
 * NGX_AGAIN  more bytes are needed
 * NGX_ERROR  as above
 */
ngx_int_t ngx_opsauth_codec_next(ngx_opsauth_codec_t *codec,
    ngx_opsauth_reply_t **reply);

/*
 * Encodes one command of n words at the end of *buf, which grows by
 * ngx_alloc/ngx_free as needed up to max bytes (buf->start is owned by the
 * caller). NGX_DECLINED: max would be passed; NGX_ERROR: no memory.
 */
ngx_int_t ngx_opsauth_codec_encode(ngx_buf_t *buf, size_t max, ngx_uint_t n,
    const ngx_str_t *words, ngx_log_t *log);

/* words: of the command, the key left out; prefix stays the caller's.
   NGX_ERROR: no memory */
ngx_int_t ngx_opsauth_codec_form(ngx_opsauth_codec_form_t *form, ngx_uint_t n,
    const ngx_str_t *words, const ngx_str_t *prefix, ngx_log_t *log);

/* as encode(); the key is the form's prefix and name. Names of one length are
   the cheapest */
ngx_int_t ngx_opsauth_codec_encode_form(ngx_buf_t *buf, size_t max,
    ngx_opsauth_codec_form_t *form, const ngx_str_t *name, ngx_log_t *log);


#endif /* NGX_OPSAUTH_CODEC_H */
