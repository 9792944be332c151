/*
 * The one table of Redis' error replies (docs/redis.md): what a reply means
 * for the command, and what it means for the connection.
 *
 * Only the first word of a reply is ever logged: the text behind it may quote
 * the command's arguments, and those are digests or a password.
 */

#include "ngx_opsauth_link.h"


#define ngx_opsauth_redis_entry(text, error, fatal, remedy)                   \
    { ngx_string(text), NGX_OPSAUTH_REDIS_##error, fatal, 0, remedy }

#define ngx_opsauth_redis_elsewhere(text, error, remedy)                      \
    { ngx_string(text), NGX_OPSAUTH_REDIS_##error, 0, 1, remedy }


static const ngx_opsauth_redis_entry_t *ngx_opsauth_redis_find(
    const ngx_str_t *text);
static ngx_uint_t ngx_opsauth_redis_begins(const ngx_str_t *text,
    const ngx_str_t *with);


static const ngx_opsauth_redis_entry_t  ngx_opsauth_redis_entries[] = {

    /* it is there and can't answer now: the command fails, nothing else */

    ngx_opsauth_redis_entry("LOADING", BUSY, 0, NULL),
    ngx_opsauth_redis_entry("BUSY", BUSY, 0, NULL),
    ngx_opsauth_redis_entry("TRYAGAIN", BUSY, 0, NULL),

    /* nor will it soon: after a failover it is another one that serves */

    ngx_opsauth_redis_elsewhere("MASTERDOWN", BUSY, NULL),
    ngx_opsauth_redis_elsewhere("CLUSTERDOWN", BUSY, NULL),

    /* said instead of the first reply, before the server closes */

    ngx_opsauth_redis_entry("ERR max number of clients", BUSY, 1,
        "it has reached its maxclients"),

    /* somebody has to change something */

    ngx_opsauth_redis_entry("NOAUTH", DENIED, 1,
        "it asks for a password: set redis_password_file"),
    ngx_opsauth_redis_entry("WRONGPASS", DENIED, 1,
        "check redis_user and the contents of redis_password_file"),
    ngx_opsauth_redis_entry("DENIED", DENIED, 1,
        "it is in protected mode"),
    ngx_opsauth_redis_entry("NOPERM", DENIED, 0,
        "the ACL of its user must allow HMGET on the store's keys"),
    /* of a command in a script: of Redis 6, 7.0, 7.2 with Valkey */
    ngx_opsauth_redis_entry("The user executing the script", DENIED, 0, NULL),
    ngx_opsauth_redis_entry("ERR The user executing the script", DENIED, 0,
        NULL),
    ngx_opsauth_redis_entry("ERR ACL failure in script:", DENIED, 0, NULL),

    ngx_opsauth_redis_entry("WRONGTYPE", WRONGTYPE, 0, NULL),

    ngx_opsauth_redis_entry("MOVED", MOVED, 0,
        "this is a cluster, and the store is configured for one server"),
    ngx_opsauth_redis_entry("ASK", MOVED, 0,
        "this is a cluster, and the store is configured for one server"),
    ngx_opsauth_redis_entry("CROSSSLOT", MOVED, 0,
        "this is a cluster, and the store is configured for one server"),

    /* it is read, and can't be written to */

    ngx_opsauth_redis_elsewhere("READONLY", READONLY,
        "it is a replica: tokens are issued where the master is"),
    ngx_opsauth_redis_entry("NOREPLICAS", READONLY, 0,
        "it has fewer replicas than its min-replicas-to-write"),
    ngx_opsauth_redis_entry("OOM", READONLY, 0,
        "it has reached its maxmemory"),
    ngx_opsauth_redis_entry("MISCONF", READONLY, 0,
        "it can't write to its disk, see its own log"),

    ngx_opsauth_redis_entry("NOSCRIPT", NOSCRIPT, 0, NULL)
};


static const ngx_opsauth_redis_entry_t  ngx_opsauth_redis_other =
    ngx_opsauth_redis_entry("", ERROR, 0, NULL);


const ngx_opsauth_redis_entry_t *
ngx_opsauth_redis_error_entry(ngx_opsauth_reply_t *reply)
{
    size_t                            i;
    ngx_str_t                         text;
    const ngx_opsauth_redis_entry_t  *entry;

    static ngx_str_t  script = ngx_string("ERR Error running script");

    text = reply->str;

    if (!ngx_opsauth_redis_begins(&text, &script)) {
        entry = ngx_opsauth_redis_find(&text);

        return entry ? entry : &ngx_opsauth_redis_other;
    }

    /* before Redis 7 a command's own error stands behind where it happened:
       "(call to f_...): @user_script:1: @user_script: 1: -OOM ..." */

    for (i = 0; i + 2 < reply->str.len; i++) {

        if (reply->str.data[i] != ':' || reply->str.data[i + 1] != ' ') {
            continue;
        }

        text.data = reply->str.data + i + 2;
        text.len = reply->str.len - i - 2;

        if (*text.data == '-') {
            text.data++;
            text.len--;
        }

        entry = ngx_opsauth_redis_find(&text);

        if (entry && !entry->fatal) {
            return entry;
        }
    }

    return &ngx_opsauth_redis_other;
}


static const ngx_opsauth_redis_entry_t *
ngx_opsauth_redis_find(const ngx_str_t *text)
{
    ngx_uint_t                        i;
    const ngx_opsauth_redis_entry_t  *entry;

    for (i = 0;
         i < sizeof(ngx_opsauth_redis_entries)
             / sizeof(ngx_opsauth_redis_entries[0]);
         i++)
    {
        entry = &ngx_opsauth_redis_entries[i];

        if (ngx_opsauth_redis_begins(text, &entry->text)) {
            return entry;
        }
    }

    return NULL;
}


/* with whole words */

static ngx_uint_t
ngx_opsauth_redis_begins(const ngx_str_t *text, const ngx_str_t *with)
{
    if (text->len < with->len
        || ngx_memcmp(text->data, with->data, with->len) != 0)
    {
        return 0;
    }

    return (text->len == with->len || text->data[with->len] == ' ');
}


ngx_opsauth_redis_error_e
ngx_opsauth_redis_classify(ngx_opsauth_reply_t *reply)
{
    return ngx_opsauth_redis_error_entry(reply)->error;
}


ngx_str_t
ngx_opsauth_redis_error_word(ngx_opsauth_reply_t *reply)
{
    u_char     c;
    size_t     i;
    ngx_str_t  word;

    word = reply->str;

    for (i = 0; i < word.len && i < 32; i++) {
        c = word.data[i];

        if (!((c >= 'A' && c <= 'Z') || c == '_')) {
            break;
        }
    }

    /* what is no such word is not Redis', and not for the log */

    word.len = (i == word.len || word.data[i] == ' ') ? i : 0;

    if (word.len == 0) {
        ngx_str_set(&word, "ERR");
    }

    return word;
}


const char *
ngx_opsauth_redis_error_name(ngx_opsauth_redis_error_e error)
{
    switch (error) {

    case NGX_OPSAUTH_REDIS_OK:
        return "ok";

    case NGX_OPSAUTH_REDIS_DOWN:
        return "down";

    case NGX_OPSAUTH_REDIS_CLOSED:
        return "closed";

    case NGX_OPSAUTH_REDIS_TIMEOUT:
        return "timeout";

    case NGX_OPSAUTH_REDIS_FULL:
        return "full";

    case NGX_OPSAUTH_REDIS_BUSY:
        return "busy";

    case NGX_OPSAUTH_REDIS_DENIED:
        return "denied";

    case NGX_OPSAUTH_REDIS_WRONGTYPE:
        return "wrongtype";

    case NGX_OPSAUTH_REDIS_MOVED:
        return "moved";

    case NGX_OPSAUTH_REDIS_READONLY:
        return "readonly";

    case NGX_OPSAUTH_REDIS_NOSCRIPT:
        return "noscript";

    case NGX_OPSAUTH_REDIS_UNTRUSTED:
        return "untrusted";

    case NGX_OPSAUTH_REDIS_ERROR:
        return "error";
    }

    return "unknown";
}
