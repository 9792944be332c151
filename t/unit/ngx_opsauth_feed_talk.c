/*
 * What the invalidation feed makes of Redis' answers and messages:
 * src/redis/ngx_opsauth_feed_talk.c over the real codec, which skips here, and
 * over a link that is a log: "<" what the feed sent, the rest what it told the
 * owner, and how it ended. However the bytes are cut, the log is the same.
 */

#include "../../src/redis/ngx_opsauth_codec.c"
#include "../../src/redis/ngx_opsauth_codec_flat.c"
#include "../../src/redis/ngx_opsauth_codec_encode.c"
#include "../../src/redis/ngx_opsauth_redis_error.c"
#include "../../src/redis/ngx_opsauth_feed_talk.c"
#include "tap.h"


#define ELEMENTS    8
#define BYTES       256

#define HELLO       "+OK\r\n" "*3\r\n$9\r\nsubscribe\r\n"                      \
                    "$20\r\n__redis__:invalidate\r\n:1\r\n"
#define OWN         "*3\r\n$9\r\nsubscribe\r\n$9\r\no:channel\r\n:2\r\n"
#define PONG        "*2\r\n$4\r\npong\r\n$0\r\n\r\n"
#define NOPERM      "-NOPERM no\r\n"
#define MESSAGE     "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n"
#define PUBLISHED   "*3\r\n$7\r\nmessage\r\n$9\r\no:channel\r\n"

#define ASKED       "< CLIENT TRACKING ON REDIRECT 42 BCAST PREFIX o:c: "     \
                    "PREFIX o:a:\n< SUBSCRIBE __redis__:invalidate\n< PING\n"
#define ASKED_OWN   "< SUBSCRIBE o:channel\n< PING\n"


ngx_uint_t                ngx_event_flags;

static FILE              *out;
static ngx_msec_t         clock_ms;
static ngx_int_t          certify;
static unsigned           leave_at;     /* the n-th change ends the feed */
static ngx_connection_t   connection;


/* --- what stands in for nginx, the link and the feed's other room -------- */

void *
ngx_alloc(size_t size, ngx_log_t *log)
{
    return malloc(size);
}


void
ngx_explicit_memzero(void *buf, size_t n)
{
    memset(buf, 0, n);
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


/* "%s with %V%Z" */

u_char *
ngx_snprintf(u_char *buf, size_t max, const char *fmt, ...)
{
    va_list      args;
    ngx_str_t   *word;
    const char  *command;

    va_start(args, fmt);
    command = va_arg(args, const char *);
    word = va_arg(args, ngx_str_t *);
    va_end(args);

    snprintf((char *) buf, max, "%s with %.*s", command, (int) word->len,
             word->data);

    return buf;
}


static void
gone(ngx_opsauth_link_t *link)
{
    link->state = NGX_OPSAUTH_LINK_DOWN;
    link->connection = NULL;
}


void
ngx_opsauth_link_fail(ngx_opsauth_link_t *link,
    ngx_opsauth_redis_error_e error, ngx_err_t err, const char *why)
{
    fprintf(out, "fail %d: %s\n", error, why);
    gone(link);
}


void
ngx_opsauth_link_fail_reply(ngx_opsauth_link_t *link,
    const ngx_opsauth_redis_entry_t *entry, ngx_opsauth_reply_t *reply,
    const char *command)
{
    fprintf(out, "fail %d: %s\n", entry->error, command);
    gone(link);
}


ngx_msec_t
ngx_opsauth_link_now(void)
{
    return clock_ms++;
}


ngx_int_t
ngx_opsauth_link_step(ngx_opsauth_link_t *link, ngx_opsauth_link_step_pt step,
    ngx_uint_t n, const ngx_str_t *words)
{
    link->steps[0] = step;
    link->nsteps = 1;

    return NGX_OK;
}


ngx_int_t
ngx_opsauth_link_send(ngx_opsauth_link_t *link, ngx_buf_t *buf)
{
    ngx_uint_t            i;
    ngx_opsauth_codec_t  *codec;
    ngx_opsauth_reply_t  *reply;

    codec = ngx_opsauth_codec_create(32, 1024);
    ngx_opsauth_codec_feed(codec, buf->pos, buf->last - buf->pos);
    buf->pos = buf->last;

    while (ngx_opsauth_codec_next(codec, &reply) == NGX_OK) {
        fprintf(out, "<");

        for (i = 0; i < reply->n; i++) {
            fprintf(out, " %.*s", (int) reply->elements[i].str.len,
                    reply->elements[i].str.data);
        }

        fprintf(out, "\n");
    }

    ngx_opsauth_codec_destroy(codec);

    return NGX_OK;
}


void
ngx_opsauth_feed_set_timer(ngx_opsauth_feed_t *feed)
{
}


void
ngx_opsauth_feed_up(ngx_opsauth_feed_t *feed)
{
    feed->up = 1;
    feed->mode = feed->aim;

    fprintf(out, "up: %s\n", feed->aim == NGX_OPSAUTH_FEED_TRACKING
                             ? "tracking" : (char *) feed->refusal);
}


void
ngx_opsauth_feed_move(ngx_opsauth_feed_t *feed)
{
    fprintf(out, "move\n");
    gone(&feed->link);
}


void
ngx_opsauth_feed_parted(ngx_opsauth_feed_t *feed)
{
    if (feed->quit && feed->npings == 0) {
        fprintf(out, "parted\n");
        gone(&feed->link);
    }
}


void
ngx_opsauth_feed_off(ngx_opsauth_feed_t *feed)
{
    fprintf(out, "off: %s\n", feed->refusal);
    gone(&feed->link);
}


/* --- the owner ----------------------------------------------------------- */

static void
changed(void *owner, ngx_str_t *key)
{
    ngx_opsauth_feed_t  *feed = owner;

    fprintf(out, "changed %.*s\n", (int) key->len, key->data);

    if (leave_at && --leave_at == 0) {
        gone(&feed->link);
    }
}


static void
flushed(void *owner)
{
    fprintf(out, "flushed\n");
}


static ngx_int_t
certified(void *owner, uint64_t server, ngx_msec_t resolved,
    ngx_msec_t started, ngx_msec_t sent_at)
{
    fprintf(out, "certified %d\n", (int) sent_at);
    return certify;
}


static ngx_int_t
found(void *owner, uint64_t server, ngx_msec_t resolved)
{
    fprintf(out, "found\n");
    return certify;
}


/* --- a feed whose greeting is answered by id, then by data --------------- */

/* what a feed is told after PINGS more PINGs went out */
typedef struct {
    const char  *id;
    unsigned     pings;
    const char  *data;
    size_t       len;
} talk_t;


static char *
run(const talk_t *talk, size_t step)
{
    char                     *text, *copy;
    size_t                    size, n, len;
    ngx_int_t                 rc;
    ngx_uint_t                i;
    const char               *data;
    ngx_opsauth_feed_t        feed;
    ngx_opsauth_codec_t      *codec;
    ngx_opsauth_reply_t      *reply;
    ngx_opsauth_feed_hooks_t  hooks = { &feed, changed, flushed, certified,
                                          found };

    out = open_memstream(&text, &size);
    clock_ms = 100;

    memset(&feed, 0, sizeof(feed));
    feed.hooks = hooks;
    feed.channel = (ngx_str_t) ngx_string("o:channel");
    feed.prefixes[0] = (ngx_str_t) ngx_string("o:c:");
    feed.prefixes[1] = (ngx_str_t) ngx_string("o:a:");
    feed.nprefixes = 2;
    feed.link.state = NGX_OPSAUTH_LINK_READY;
    feed.link.connection = &connection;

    codec = ngx_opsauth_codec_create(ELEMENTS, BYTES);
    ngx_opsauth_codec_skip(codec);

    ngx_opsauth_feed_greet(&feed.link);
    ngx_opsauth_codec_feed(codec, (u_char *) talk->id, strlen(talk->id));

    if (ngx_opsauth_codec_next(codec, &reply) == NGX_OK) {
        feed.link.steps[0](&feed.link, reply);
    }

    if (feed.link.connection) {
        ngx_opsauth_feed_ready(&feed.link);
    }

    for (i = 0; i < talk->pings; i++) {
        ngx_opsauth_feed_ping(&feed);
        feed.out.pos = feed.out.last;
    }

    data = talk->data;
    len = talk->len;
    rc = NGX_AGAIN;

    while (len && rc != NGX_ERROR && feed.link.connection) {
        n = (step && step < len) ? step : len;
        copy = tap_copy(data, n);

        rc = ngx_opsauth_codec_feed(codec, (u_char *) copy, n);

        while (rc == NGX_OK && feed.link.connection) {
            rc = ngx_opsauth_codec_next(codec, &reply);

            if (rc == NGX_OK) {
                ngx_opsauth_feed_reply(&feed.link, reply);
            }
        }

        free(copy);

        data += n;
        len -= n;
    }

    if (rc == NGX_ERROR) {
        fprintf(out, "ERROR\n");
    }

    ngx_opsauth_codec_destroy(codec);
    free(feed.out.start);
    fclose(out);

    return text;
}


static void
talk_n(const talk_t *talk, const char *wanted, const char *name)
{
    char     *whole, *cut;
    int       same;
    size_t    step;
    unsigned  leave;

    leave = leave_at;
    whole = run(talk, 0);
    is_str(whole, strlen(whole), wanted, "%s", name);

    same = 1;

    for (step = 1; step < 30 && same; step++) {
        leave_at = leave;
        cut = run(talk, step);
        same = (strcmp(cut, whole) == 0);
        free(cut);
    }

    ok(same, "%s, in pieces", name);

    leave_at = 0;
    free(whole);
}


#define talk(id, pings, data, wanted, name)                                   \
    talk_n(&(talk_t) { id, pings, data, sizeof(data) - 1 }, wanted, name)


static void
modes(void)
{
    talk(":42\r\n", 0, HELLO PONG,
         ASKED "up: tracking\ncertified 100\n", "tracking");

    talk(":42\r\n", 2, HELLO PONG "+PONG\r\n" PONG,
         ASKED "up: tracking\ncertified 100\ncertified 101\ncertified 102\n",
         "each pong certifies by its own PING");

    talk(":42\r\n", 2, HELLO "-LOADING x\r\n" PONG "-MASTERDOWN x\r\n",
         ASKED "up: tracking\ncertified 101\n",
         "what is no pong certifies nothing");

    talk(NOPERM, 0, OWN PONG PONG,
         ASKED_OWN "up: CLIENT ID with NOPERM\nfound\n"
         "fail 9: it sent a reply that nobody asked for\n",
         "CLIENT ID refused");

    talk(":42\r\n", 0,
         "-ERR unknown subcommand\r\n"
         "*3\r\n$9\r\nsubscribe\r\n$20\r\n__redis__:invalidate\r\n:1\r\n"
         PONG OWN PONG,
         ASKED ASKED_OWN "up: CLIENT TRACKING with ERR\nfound\n",
         "CLIENT TRACKING refused");

    talk(":42\r\n", 0, "+OK\r\n" NOPERM "+PONG\r\n" OWN PONG,
         ASKED ASKED_OWN "up: SUBSCRIBE with NOPERM\nfound\n",
         "Redis' channel refused");

    talk(":42\r\n", 0, HELLO NOPERM OWN NOPERM,
         ASKED ASKED_OWN "up: PING with NOPERM\nfound\n", "PING refused");

    talk(":42\r\n", 1, HELLO PONG NOPERM,
         ASKED "up: tracking\ncertified 100\nfail 6: PING\n",
         "PING refused later");

    talk(NOPERM, 0, NOPERM, ASKED_OWN "off: CLIENT ID with NOPERM\n",
         "everything refused");

    talk(":42\r\n", 0, "-BUSY x\r\n", ASKED "fail 5: CLIENT TRACKING\n",
         "busy is no refusal");

    talk(":42\r\n", 0, "+OK\r\n-NOAUTH x\r\n", ASKED "fail 6: SUBSCRIBE\n",
         "neither is what costs the connection");

    talk("-BUSY x\r\n", 0, "", "fail 5: CLIENT ID\n", "nor in the greeting");

    talk("+what\r\n", 0, "",
         "fail 9: it does not answer as Redis does\n", "an odd id");

    talk(":42\r\n", 0, "+OK\r\n:1\r\n",
         ASKED "fail 9: it does not answer as Redis does\n",
         "an odd subscription");

    certify = NGX_DECLINED;
    talk(":42\r\n", 1, HELLO PONG PONG,
         ASKED "up: tracking\ncertified 100\nmove\n", "another server covers");
    certify = NGX_OK;
}


#define TRACKS(data, wanted, name)                                            \
    talk(":42\r\n", 1, HELLO PONG data PONG,                                  \
         ASKED "up: tracking\ncertified 100\n" wanted "certified 101\n", name)

#define LISTENS(data, wanted, name)                                           \
    talk(NOPERM, 0, OWN PONG data,                                            \
         ASKED_OWN "up: CLIENT ID with NOPERM\nfound\n" wanted, name)

#define FILL16     "aaaaaaaaaaaaaaaa"
#define FILL128    FILL16 FILL16 FILL16 FILL16 FILL16 FILL16 FILL16 FILL16


static void
messages(void)
{
    TRACKS(MESSAGE "*1\r\n$5\r\no:c:1\r\n", "changed o:c:1\n", "one key");
    TRACKS(MESSAGE "*2\r\n$5\r\no:c:1\r\n$5\r\no:a:2\r\n",
           "changed o:c:1\nchanged o:a:2\n", "two keys");
    TRACKS(MESSAGE "*0\r\n", "", "no key");
    TRACKS(MESSAGE "*-1\r\n", "flushed\n", "a null array");
    TRACKS(MESSAGE "$-1\r\n", "flushed\n", "a null string");
    TRACKS(MESSAGE "*1\r\n:1\r\n", "flushed\n", "what can't be a key");
    TRACKS(MESSAGE "$5\r\no:c:1\r\n", "", "somebody's PUBLISH");
    TRACKS(MESSAGE "$1\r\n*\r\n", "", "somebody's PUBLISH of all");
    TRACKS(PUBLISHED "$1\r\n*\r\n", "", "on a channel nobody listens to");

    /* the bounds: 8 elements, of which the message takes 3; 256 bytes */

    TRACKS(MESSAGE "*5\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n"
           "$1\r\n5\r\n",
           "changed 1\nchanged 2\nchanged 3\nchanged 4\nchanged 5\n",
           "as many keys as fit");
    TRACKS(MESSAGE "*6\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n"
           "$1\r\n5\r\n$1\r\n6\r\n",
           "flushed\n", "one more");
    TRACKS(MESSAGE "*6\r\n*1\r\n*1\r\n:1\r\n$-1\r\n*-1\r\n*0\r\n:1\r\n"
           "$3\r\nabc\r\n",
           "flushed\n", "of whatever");
    TRACKS(MESSAGE "*2\r\n$128\r\n" FILL128 "\r\n$128\r\n" FILL128 "\r\n",
           "flushed\n", "more bytes than fit");
    TRACKS(MESSAGE "*2\r\n$128\r\n" FILL128 "\r\n$2\r\n12\r\n",
           "changed " FILL128 "\nchanged 12\n", "as many as fit");

    TRACKS(MESSAGE "*1\r\n$257\r\n" FILL128 FILL128 "x\r\n",
           "flushed\n", "a key that is too long");
    talk(":42\r\n", 0, HELLO PONG MESSAGE "*1\r\n$67108865\r\n" FILL128,
         ASKED "up: tracking\ncertified 100\nERROR\n",
         "a key that can't be read over");

    talk(":42\r\n", 0,
         HELLO MESSAGE "*1\r\n$5\r\no:c:1\r\n" PONG,
         ASKED "changed o:c:1\nup: tracking\ncertified 100\n",
         "before the first pong");

    leave_at = 1;
    talk(":42\r\n", 0,
         HELLO PONG MESSAGE "*2\r\n$5\r\no:c:1\r\n$5\r\no:c:2\r\n" PONG,
         ASKED "up: tracking\ncertified 100\nchanged o:c:1\n",
         "the owner closes it over the first of two");

    LISTENS(PUBLISHED "$5\r\no:c:1\r\n", "changed o:c:1\n", "published");
    LISTENS(PUBLISHED "$1\r\n*\r\n", "flushed\n", "published, all");
    LISTENS(PUBLISHED "$250\r\n" FILL128 FILL16 FILL16 FILL16 FILL16 FILL16
            FILL16 FILL16 "1234567890" "\r\n", "flushed\n",
            "published, more than fits");
    LISTENS(MESSAGE "$1\r\n*\r\n", "", "on Redis' channel");
}


int
main(void)
{
    certify = NGX_OK;

    modes();
    messages();

    return done_testing();
}
