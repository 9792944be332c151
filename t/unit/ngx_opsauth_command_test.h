/*
 * A connection for tests of commands: the real queue, deadlines, breaker,
 * losses, codec and log lines of src/redis over a link that is a wire in
 * memory. The test says how much may be written, what is answered and when the
 * connection breaks.
 */

#ifndef NGX_OPSAUTH_COMMAND_TEST_H
#define NGX_OPSAUTH_COMMAND_TEST_H

#include "../../src/redis/ngx_opsauth_codec.c"
#include "../../src/redis/ngx_opsauth_codec_flat.c"
#include "../../src/redis/ngx_opsauth_codec_encode.c"
#include "../../src/redis/ngx_opsauth_redis_error.c"
#include "../../src/redis/ngx_opsauth_redis_log.c"
#include "../../src/redis/ngx_opsauth_redis_slow.c"
#include "../../src/redis/ngx_opsauth_redis_lost.c"
#include "../../src/redis/ngx_opsauth_redis_out.c"
#include "../../src/redis/ngx_opsauth_redis.c"
/* the first wait of a backoff: 50 ms, always */
#undef ngx_random
#define ngx_random()  50
#include "../../src/redis/ngx_opsauth_link_log.c"
#include "../../src/redis/ngx_opsauth_redis_words.c"
#include "../../src/core/oa_sha1.c"
#include "../../src/core/oa_text.c"
#include "../../src/core/oa_slot.c"
#include "../../src/redis/ngx_opsauth_command.c"
#include "ngx_opsauth_no_cluster.h"
#include "tap.h"


#define OK          "*1\r\n$2\r\nok\r\n"
#define MARKED      "*1\r\n$1\r\n1\r\n"
#define SECRET      "s3cr3t-of-a-client"


/* --- what nginx has ------------------------------------------------------- */

ngx_uint_t            ngx_event_flags;
ngx_uint_t            ngx_exiting;
volatile ngx_msec_t   ngx_current_msec = 1000;
ngx_queue_t           ngx_posted_events;
ngx_rbtree_t          ngx_event_timer_rbtree;

static FILE          *lines;
static char          *lines_text;
static size_t         lines_size;


void *
ngx_alloc(size_t size, ngx_log_t *log)
{
    return malloc(size);
}


void *
ngx_calloc(size_t size, ngx_log_t *log)
{
    return calloc(1, size);
}


void
ngx_explicit_memzero(void *buf, size_t n)
{
    memset(buf, 0, n);
}


void
ngx_rbtree_insert(ngx_rbtree_t *tree, ngx_rbtree_node_t *node)
{
}


void
ngx_rbtree_delete(ngx_rbtree_t *tree, ngx_rbtree_node_t *node)
{
}


static size_t
format(char *buf, size_t max, const char *fmt, va_list args)
{
    FILE        *f;
    size_t       len;
    ngx_str_t   *v;

    f = fmemopen(buf, max, "w");

    for ( ; *fmt; fmt++) {

        if (*fmt != '%') {
            fputc(*fmt, f);
            continue;
        }

        switch (*++fmt) {

        case 'V':
            v = va_arg(args, ngx_str_t *);
            fwrite(v->data, 1, v->len, f);
            break;

        case 's':
            fputs(va_arg(args, char *), f);
            break;

        case 'Z':
            fputc('\0', f);
            break;

        default:
            abort();
        }
    }

    len = ftell(f);
    fclose(f);

    return len;
}


u_char *
ngx_snprintf(u_char *buf, size_t max, const char *fmt, ...)
{
    size_t   len;
    va_list  args;

    va_start(args, fmt);
    len = format((char *) buf, max, fmt, args);
    va_end(args);

    return buf + len;
}


u_char *
ngx_sprintf(u_char *buf, const char *fmt, ...)
{
    int      n;
    va_list  args;

    va_start(args, fmt);
    n = sprintf((char *) buf, "%lld", (long long) va_arg(args, int64_t));
    va_end(args);

    return buf + n;
}


void
ngx_log_error_core(ngx_uint_t level, ngx_log_t *log, ngx_err_t err,
    const char *fmt, ...)
{
    char     line[1024];
    va_list  args;

    va_start(args, fmt);
    line[format(line, sizeof(line) - 1, fmt, args)] = '\0';
    va_end(args);

    if (level <= NGX_LOG_NOTICE) {
        fprintf(lines, "%d %s\n", (int) level, line);
    }
}


/* --- the wire, in place of ngx_opsauth_link*.c ----------------------------- */

static char               wire[4 * 1024 * 1024];
static size_t             wire_len;
static size_t             window;       /* the socket takes so much more */
static unsigned           connects;
static int                send_breaks;
static const char        *arrived;      /* but no event told of it */
static ngx_event_t        wire_read, wire_write;
static ngx_connection_t   wire_connection;


void
ngx_opsauth_link_init(ngx_opsauth_link_t *link,
    const ngx_opsauth_link_kind_t *kind, ngx_opsauth_redis_conf_t *conf,
    ngx_log_t *log)
{
    link->kind = kind;
    link->conf = conf;
    link->log = log;
}


void
ngx_opsauth_link_enter(ngx_opsauth_link_t *link)
{
    link->busy++;
}


void
ngx_opsauth_link_leave(ngx_opsauth_link_t *link)
{
    if (--link->busy == 0 && link->doomed) {
        link->kind->free(link);
    }
}


void
ngx_opsauth_link_connect(ngx_opsauth_link_t *link)
{
    connects++;
    link->logged = 0;
    link->state = NGX_OPSAUTH_LINK_CONNECTING;
}


void
ngx_opsauth_link_close(ngx_opsauth_link_t *link)
{
    link->state = NGX_OPSAUTH_LINK_DOWN;
    link->connection = NULL;

    if (link->codec) {
        ngx_opsauth_codec_destroy(link->codec);
        link->codec = NULL;
    }
}


void
ngx_opsauth_link_fail(ngx_opsauth_link_t *link,
    ngx_opsauth_redis_error_e error, ngx_err_t err, const char *why)
{
    link->kind->fail(link, error, err, why);
}


ngx_uint_t
ngx_opsauth_link_astray(ngx_opsauth_link_t *link, const ngx_str_t *primary)
{
    return 0;
}


void
ngx_opsauth_link_cleanup(ngx_opsauth_link_t *link)
{
}


ngx_msec_t
ngx_opsauth_link_now(void)
{
    return ngx_current_msec;
}


uint64_t
ngx_opsauth_link_now_us(void)
{
    return (uint64_t) ngx_current_msec * 1000;
}


ngx_int_t
ngx_opsauth_link_step(ngx_opsauth_link_t *link, ngx_opsauth_link_step_pt step,
    ngx_uint_t n, const ngx_str_t *words)
{
    link->steps[0] = step;

    return NGX_OK;
}


ngx_int_t
ngx_opsauth_link_send(ngx_opsauth_link_t *link, ngx_buf_t *out)
{
    size_t  n;

    if (send_breaks && out->pos < out->last) {
        ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_CLOSED, 0,
                              "send() failed");
        return NGX_ERROR;
    }

    n = ngx_min((size_t) (out->last - out->pos), window);

    memcpy(wire + wire_len, out->pos, n);
    wire_len += n;
    window -= n;
    out->pos += n;

    return NGX_OK;
}


void
ngx_opsauth_link_read(ngx_opsauth_link_t *link)
{
    const char           *text;
    ngx_connection_t     *c;
    ngx_opsauth_reply_t  *reply;

    if (arrived == NULL) {
        return;
    }

    text = arrived;
    arrived = NULL;
    c = link->connection;

    link->kind->heard(link);
    ngx_opsauth_codec_feed(link->codec, (u_char *) text, strlen(text));

    while (link->connection == c
           && ngx_opsauth_codec_next(link->codec, &reply) == NGX_OK)
    {
        link->kind->reply(link, reply);
    }
}


/* --- one store, its connection and what callers are told ------------------- */

static ngx_log_t                  log_;
static ngx_opsauth_redis_conf_t   conf;
static ngx_opsauth_redis_t       *redis;
static char                       told[4096];   /* "a:ok b:closed ..." */


static ngx_opsauth_script_t  script =
    ngx_opsauth_script_make("test", "return {ARGV[1]}");

/* by sha1sum */
#define SCRIPT_SHA1  "1a34b2563c5f202a5b75d886ebaade50fff62cf0"


static void
turn(void)
{
    ngx_event_t  *ev;
    ngx_queue_t  *q;

    while (!ngx_queue_empty(&ngx_posted_events)) {
        q = ngx_queue_head(&ngx_posted_events);
        ev = ngx_queue_data(q, ngx_event_t, queue);
        ngx_delete_posted_event(ev);
        ev->handler(ev);
    }
}


static void
up(void)
{
    redis->link.codec = ngx_opsauth_codec_create(64, 256 * 1024);
    ngx_opsauth_codec_skip(redis->link.codec);

    if (redis->link.kind->strings) {
        ngx_opsauth_codec_strings(redis->link.codec);
    }

    redis->link.state = NGX_OPSAUTH_LINK_READY;
    redis->link.connection = &wire_connection;
    redis->marked = 1;
    redis->marker_at = ngx_current_msec;

    ngx_opsauth_link_enter(&redis->link);
    redis->link.kind->ready(&redis->link);
    ngx_opsauth_link_leave(&redis->link);
}


static void
answer(const char *text)
{
    ngx_opsauth_redis_t  *r;

    r = redis;
    arrived = text;

    ngx_opsauth_link_enter(&r->link);
    ngx_opsauth_link_read(&r->link);
    r->link.kind->rest(&r->link);
    ngx_opsauth_link_leave(&r->link);

    turn();
}


static void
lost(ngx_opsauth_redis_error_e error)
{
    ngx_opsauth_link_enter(&redis->link);
    redis->link.kind->fail(&redis->link, error, 0, "a test");
    ngx_opsauth_link_leave(&redis->link);

    turn();
}


static void
pass_time(ngx_msec_t ms)
{
    ngx_current_msec += ms;

    /* no marker's read comes in between: that is of reads */
    redis->marker_at = ngx_current_msec;

    if (redis->timer.timer_set
        && (ngx_msec_int_t) (ngx_current_msec - redis->timer.timer.key) >= 0)
    {
        redis->timer.timer_set = 0;
        redis->timer.handler(&redis->timer);
    }

    turn();
}


static void
start(void)
{
    ngx_queue_init(&ngx_posted_events);

    log_.log_level = NGX_LOG_INFO;

    conf.name = (ngx_str_t) ngx_string("main");
    conf.url = (ngx_str_t) ngx_string("redis://r");
    conf.marker = (ngx_str_t) ngx_string("o:meta");
    conf.timeout = 250;

    wire_connection.read = &wire_read;
    wire_connection.write = &wire_write;

    lines = open_memstream(&lines_text, &lines_size);
    told[0] = '\0';
    wire_len = 0;
    window = sizeof(wire);
    connects = 0;
    send_breaks = 0;

    redis = ngx_opsauth_redis_create(&conf, &log_);
}


static void
stop(void)
{
    if (redis) {
        ngx_opsauth_redis_destroy(redis);
    }

    fclose(lines);
    free(lines_text);
}


static char *
logged(void)
{
    fflush(lines);
    return lines_text;
}


/* what went out since, CR LF as a space, and then nothing is known of it */

static char *
sent(void)
{
    size_t  i, n;

    static char  text[sizeof(wire) + 1];

    for (i = 0, n = 0; i < wire_len; i++) {
        if (wire[i] == '\n') {
            continue;
        }

        text[n++] = (wire[i] == '\r') ? ' ' : wire[i];
    }

    text[n] = '\0';
    wire_len = 0;

    return text;
}


static void
tell(const char *name, ngx_opsauth_reply_t *reply,
    ngx_opsauth_redis_error_e error)
{
    size_t  len = strlen(told);

    snprintf(told + len, sizeof(told) - len, "%s%s:%s", len ? " " : "", name,
             ngx_opsauth_redis_error_name(error));

    len = strlen(told);

    if (reply && reply->type == NGX_OPSAUTH_REPLY_ARRAY && reply->strings) {
        snprintf(told + len, sizeof(told) - len, "=%.*s",
                 (int) reply->strings[0].len, reply->strings[0].data);

    } else if (reply && reply->type == NGX_OPSAUTH_REPLY_ARRAY) {
        snprintf(told + len, sizeof(told) - len, "=%.*s",
                 (int) reply->elements[0].str.len, reply->elements[0].str.data);

    } else if (reply) {
        snprintf(told + len, sizeof(told) - len, "=%s",
                 reply->type == NGX_OPSAUTH_REPLY_ERROR ? "error" : "other");
    }
}


static void
handler(void *data, ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error)
{
    if (reply && (reply->strings
                  || (reply->type == NGX_OPSAUTH_REPLY_ARRAY
                      && reply->elements == NULL)))
    {
        abort();
    }

    tell(data, reply, error);
}


static char *
taken(void)
{
    static char  text[sizeof(told)];

    strcpy(text, told);
    told[0] = '\0';

    return text;
}


#define told_is(wanted, ...)                                                  \
    do {                                                                      \
        char  *got_ = taken();                                                \
        is_str(got_, strlen(got_), wanted, __VA_ARGS__);                      \
    } while (0)

#define sent_is(wanted, ...)                                                  \
    do {                                                                      \
        char  *got_ = sent();                                                 \
        is_str(got_, strlen(got_), wanted, __VA_ARGS__);                      \
    } while (0)


/* "SET <name> <secret>"; sent at the end of the turn */

static ngx_opsauth_command_t *
set(const char *name)
{
    ngx_str_t                  words[3];
    ngx_opsauth_command_t     *command;
    ngx_opsauth_redis_error_e  error;

    ngx_str_set(&words[0], "SET");
    words[1].data = (u_char *) name;
    words[1].len = strlen(name);
    ngx_str_set(&words[2], SECRET);

    command = ngx_opsauth_command(redis, 3, words, handler, (void *) name,
                                  &error);
    if (command == NULL) {
        tell(name, NULL, error);
    }

    return command;
}


#define SET(name)  "*3 $3 SET $1 " name " $18 " SECRET " "


static ngx_opsauth_command_t *
eval(const char *name)
{
    ngx_str_t                  key, args[1];
    ngx_opsauth_command_t     *command;
    ngx_opsauth_redis_error_e  error;

    ngx_str_set(&key, "key");
    ngx_str_set(&args[0], SECRET);

    command = ngx_opsauth_script(redis, &script, &key, 1, args, handler,
                                 (void *) name, &error);
    if (command == NULL) {
        tell(name, NULL, error);
    }

    return command;
}


#define EVALSHA  "*5 $7 EVALSHA $40 " SCRIPT_SHA1 " $1 1 $3 key $18 " SECRET " "
#define EVAL     "*5 $4 EVAL $16 return {ARGV[1]} $1 1 $3 key $18 " SECRET " "


/* a read, of which there may be one at a time */

static void
read_handler(ngx_opsauth_redis_command_t *cmd, ngx_opsauth_reply_t *reply,
    ngx_opsauth_redis_error_e error)
{
    tell("read", reply, error);
}


static void
get(void)
{
    ngx_str_t                  prefix, name, words[2];
    ngx_opsauth_codec_form_t   form;
    ngx_opsauth_redis_error_e  error;

    static ngx_opsauth_redis_command_t  cmd;

    ngx_str_set(&words[0], "HMGET");
    ngx_str_set(&words[1], "v");
    ngx_str_set(&prefix, "o:");
    ngx_str_set(&name, "x");

    ngx_memzero(&form, sizeof(form));
    ngx_opsauth_codec_form(&form, 2, words, &prefix, &log_);

    cmd.handler = read_handler;

    if (ngx_opsauth_redis_send(redis, &cmd, &form, &name, &error)
        != NGX_OK)
    {
        tell("read", NULL, error);
    }

    ngx_free(form.data);
}


#define GET  "*3 $5 HMGET $3 o:x $1 v "


static int
holds_secret(void)
{
    if (redis->out.start == NULL) {
        return 0;
    }

    return memmem(redis->out.start, redis->out.end - redis->out.start, SECRET,
                  sizeof(SECRET) - 1)
           != NULL;
}


#endif /* NGX_OPSAUTH_COMMAND_TEST_H */
