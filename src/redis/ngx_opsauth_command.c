/*
 * Commands that are no reads: their callers' side. The connection is the
 * reads' own, with its deadlines, breaker and bounds; it knows such a command
 * by "once": never sent again, wiped when written (ngx_opsauth_redis_conn.h).
 *
 * Invariants:
 * - a command frees itself just before its caller's handler is called, so that
 *   the handler may do whatever it likes with the connection;
 * - a script's words are kept until it is answered: NOSCRIPT says that it has
 *   not run, and it is sent once more by its text. That is a new command with
 *   a deadline of its own; should it not be accepted, the caller is told why;
 * - in a cluster all words are kept: MOVED and ASK say that it has not run, and
 *   it goes to the node that they name, so many times and no more.
 */

#include "ngx_opsauth_command.h"
#include "ngx_opsauth_cluster.h"
#include "ngx_opsauth_redis_conn.h"
#include "oa_sha1.h"


/* EVAL text 1 key */
#define NGX_OPSAUTH_COMMAND_SCRIPT_WORDS  4
#define NGX_OPSAUTH_COMMAND_VERB_MAX      16


struct ngx_opsauth_command_s {
    ngx_opsauth_redis_command_t      command;
    ngx_opsauth_redis_t             *redis;
    ngx_opsauth_command_handler_pt   handler;   /* NULL: canceled */
    void                            *data;

    ngx_opsauth_script_t            *script;    /* sent by its SHA-1 */
    ngx_opsauth_script_t            *whole;     /* the same, however sent */
    ngx_opsauth_redis_t             *next;      /* of a cluster, that is named */
    ngx_uint_t                       slot;
    ngx_uint_t                       redirects;
    unsigned                         asking:1;
    ngx_uint_t                       n;
    ngx_str_t                       *words;     /* script: key and arguments;
                                                   in a cluster, all */
    size_t                           size;      /* of all this */

    u_char                           verb[NGX_OPSAUTH_COMMAND_VERB_MAX];
};


static ngx_opsauth_command_t *ngx_opsauth_command_create(
    ngx_opsauth_redis_t *redis, ngx_uint_t n, const ngx_str_t *words,
    ngx_opsauth_command_handler_pt handler, void *data);
static void ngx_opsauth_command_free(ngx_opsauth_command_t *command);
static ngx_int_t ngx_opsauth_command_send(ngx_opsauth_command_t *command,
    ngx_uint_t n, const ngx_str_t *words, ngx_opsauth_redis_error_e *error);
static void ngx_opsauth_command_handler(ngx_opsauth_redis_command_t *cmd,
    ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error);
static void ngx_opsauth_command_slot(ngx_opsauth_command_t *command,
    const ngx_str_t *key);
static ngx_int_t ngx_opsauth_command_follow(ngx_opsauth_command_t *command,
    ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error);
static ngx_uint_t ngx_opsauth_command_is_over(ngx_uint_t n,
    const ngx_str_t *words);
static void ngx_opsauth_command_tell(ngx_opsauth_command_handler_pt handler,
    void *data, ngx_opsauth_reply_t *reply);
static ngx_int_t ngx_opsauth_script_send(ngx_opsauth_command_t *command,
    ngx_opsauth_script_t *script, ngx_uint_t by_text,
    ngx_opsauth_redis_error_e *error);
static ngx_uint_t ngx_opsauth_script_is_ready(ngx_opsauth_script_t *script);


ngx_opsauth_command_t *
ngx_opsauth_command(ngx_opsauth_redis_t *redis, ngx_uint_t n,
    const ngx_str_t *words, ngx_opsauth_command_handler_pt handler, void *data,
    ngx_opsauth_redis_error_e *error)
{
    ngx_opsauth_command_t  *command;

    *error = NGX_OPSAUTH_REDIS_FULL;

    if (n == 0 || ngx_opsauth_command_is_over(n, words)) {
        return NULL;
    }

    command = redis->cluster
              ? ngx_opsauth_command_create(redis, n, words, handler, data)
              : ngx_opsauth_command_create(redis, 0, NULL, handler, data);

    if (command == NULL) {
        return NULL;
    }

    ngx_opsauth_command_slot(command, n > 1 ? &words[1] : &words[0]);

    if (ngx_opsauth_command_send(command, n, words, error) != NGX_OK) {
        ngx_opsauth_command_free(command);
        return NULL;
    }

    return command;
}


ngx_opsauth_command_t *
ngx_opsauth_script(ngx_opsauth_redis_t *redis, ngx_opsauth_script_t *script,
    const ngx_str_t *key, ngx_uint_t nargs, const ngx_str_t *args,
    ngx_opsauth_command_handler_pt handler, void *data,
    ngx_opsauth_redis_error_e *error)
{
    ngx_str_t               words[NGX_OPSAUTH_COMMAND_WORDS];
    ngx_opsauth_command_t  *command;

    *error = NGX_OPSAUTH_REDIS_FULL;

    if (nargs > NGX_OPSAUTH_COMMAND_WORDS - NGX_OPSAUTH_COMMAND_SCRIPT_WORDS) {
        return NULL;
    }

    words[0] = *key;

    if (nargs) {
        ngx_memcpy(&words[1], args, nargs * sizeof(ngx_str_t));
    }

    if (ngx_opsauth_command_is_over(nargs + 1, words)) {
        return NULL;
    }

    command = ngx_opsauth_command_create(redis, nargs + 1, words, handler,
                                         data);
    if (command == NULL) {
        return NULL;
    }

    command->whole = script;
    ngx_opsauth_command_slot(command, key);

    if (ngx_opsauth_script_send(command, script,
                                !ngx_opsauth_script_is_ready(script), error)
        != NGX_OK)
    {
        ngx_opsauth_command_free(command);
        return NULL;
    }

    return command;
}


void
ngx_opsauth_command_cancel(ngx_opsauth_command_t *command)
{
    command->handler = NULL;
}


/* with a copy of n words */

static ngx_opsauth_command_t *
ngx_opsauth_command_create(ngx_opsauth_redis_t *redis, ngx_uint_t n,
    const ngx_str_t *words, ngx_opsauth_command_handler_pt handler, void *data)
{
    u_char                 *p;
    size_t                  size;
    ngx_uint_t              i;
    ngx_opsauth_command_t  *command;

    size = sizeof(ngx_opsauth_command_t) + n * sizeof(ngx_str_t);

    for (i = 0; i < n; i++) {
        size += words[i].len;
    }

    command = ngx_alloc(size, redis->link.log);
    if (command == NULL) {
        return NULL;
    }

    ngx_memzero(command, sizeof(ngx_opsauth_command_t));

    command->redis = redis;
    command->handler = handler;
    command->data = data;
    command->n = n;
    command->words = (ngx_str_t *) (command + 1);
    command->size = size;

    command->command.handler = ngx_opsauth_command_handler;
    command->command.data = command;
    command->command.once = 1;

    p = (u_char *) (command->words + n);

    for (i = 0; i < n; i++) {
        command->words[i].data = p;
        command->words[i].len = words[i].len;

        if (words[i].len) {
            p = ngx_cpymem(p, words[i].data, words[i].len);
        }
    }

    return command;
}


static void
ngx_opsauth_command_free(ngx_opsauth_command_t *command)
{
    ngx_explicit_memzero(command, command->size);
    ngx_free(command);
}


static ngx_int_t
ngx_opsauth_command_send(ngx_opsauth_command_t *command, ngx_uint_t n,
    const ngx_str_t *words, ngx_opsauth_redis_error_e *error)
{
    size_t                before, len;
    ngx_opsauth_redis_t  *redis;

    redis = command->redis;

    if (redis->cluster) {
        redis = command->next;
        command->next = NULL;

        if (redis == NULL) {
            command->asking = 0;
            redis = ngx_opsauth_cluster_route(command->redis->cluster,
                                              command->slot);
        }

        if (redis == NULL) {
            *error = NGX_OPSAUTH_REDIS_DOWN;
            return NGX_DECLINED;
        }

        if (command->asking
            && ngx_opsauth_redis_asking(redis, error) != NGX_OK)
        {
            return NGX_DECLINED;
        }
    }

    if (ngx_opsauth_redis_accept(redis, error) != NGX_OK) {
        return NGX_DECLINED;
    }

    len = ngx_min(words[0].len, NGX_OPSAUTH_COMMAND_VERB_MAX - 1);

    ngx_memcpy(command->verb, words[0].data, len);
    command->verb[len] = '\0';

    command->command.verb.data = command->verb;
    command->command.verb.len = len;

    before = redis->out.last - redis->out.start;

    if (ngx_opsauth_codec_encode(&redis->out, NGX_OPSAUTH_REDIS_OUT_MAX, n,
                                 words, redis->link.log)
        != NGX_OK)
    {
        *error = NGX_OPSAUTH_REDIS_FULL;
        return NGX_DECLINED;
    }

    ngx_opsauth_redis_queue(redis, &command->command, before);

    return NGX_OK;
}


static void
ngx_opsauth_command_handler(ngx_opsauth_redis_command_t *cmd,
    ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error)
{
    void                            *data;
    ngx_opsauth_command_t           *command;
    ngx_opsauth_redis_error_e        declined;
    ngx_opsauth_command_handler_pt   handler;

    command = cmd->data;

    /* canceled or not: what the caller began is finished */

    if (command->redis->cluster
        && ngx_opsauth_command_follow(command, reply, error) == NGX_OK)
    {
        return;
    }

    if (error == NGX_OPSAUTH_REDIS_NOSCRIPT && command->script) {

        if (command->redis->cluster) {
            /* of the node that said so */
            command->next = cmd->redis;
        }

        if (ngx_opsauth_script_send(command, command->script, 1, &declined)
            == NGX_OK)
        {
            return;
        }

        error = declined;
        reply = NULL;
    }

    handler = command->handler;
    data = command->data;

    ngx_opsauth_command_free(command);

    if (handler == NULL) {
        return;
    }

    if (reply && reply->strings) {
        ngx_opsauth_command_tell(handler, data, reply);
        return;
    }

    handler(data, reply, error);
}


/* the connection's replies come as strings where they can; a command's caller
   finds the elements that its command may also have as something else */

static void
ngx_opsauth_command_tell(ngx_opsauth_command_handler_pt handler, void *data,
    ngx_opsauth_reply_t *reply)
{
    ngx_uint_t           i;
    ngx_opsauth_reply_t  root, elements[NGX_OPSAUTH_REDIS_REPLY_ELEMENTS];

    root = *reply;
    root.elements = elements;
    root.strings = NULL;

    ngx_memzero(elements, root.n * sizeof(ngx_opsauth_reply_t));

    for (i = 0; i < root.n; i++) {

        if (reply->strings[i].data) {
            elements[i].type = NGX_OPSAUTH_REPLY_STRING;
            elements[i].str = reply->strings[i];
        }
    }

    handler(data, &root, NGX_OPSAUTH_REDIS_OK);
}


static ngx_int_t
ngx_opsauth_script_send(ngx_opsauth_command_t *command,
    ngx_opsauth_script_t *script, ngx_uint_t by_text,
    ngx_opsauth_redis_error_e *error)
{
    ngx_str_t  words[NGX_OPSAUTH_COMMAND_WORDS];

    if (by_text) {
        command->script = NULL;
        ngx_str_set(&words[0], "EVAL");
        words[1] = script->text;

    } else {
        command->script = script;
        ngx_str_set(&words[0], "EVALSHA");
        words[1].data = script->sha1;
        words[1].len = sizeof(script->sha1);
    }

    ngx_str_set(&words[2], "1");

    ngx_memcpy(&words[3], command->words, command->n * sizeof(ngx_str_t));

    return ngx_opsauth_command_send(command, 3 + command->n, words, error);
}


static ngx_uint_t
ngx_opsauth_script_is_ready(ngx_opsauth_script_t *script)
{
    oa_str_t  text;

    if (!script->ready && !script->failed) {
        text.data = script->text.data;
        text.len = script->text.len;

        if (oa_sha1_hex(text, script->sha1) == OA_OK) {
            script->ready = 1;

        } else {
            script->failed = 1;
        }
    }

    return script->ready;
}


static void
ngx_opsauth_command_slot(ngx_opsauth_command_t *command, const ngx_str_t *key)
{
    oa_str_t  text;

    if (command->redis->cluster) {
        text.data = key->data;
        text.len = key->len;

        command->slot = oa_slot(text);
    }
}


/* NGX_OK: it was not done, and goes to another node; DOWN: nor was it sent */

static ngx_int_t
ngx_opsauth_command_follow(ngx_opsauth_command_t *command,
    ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error)
{
    ngx_uint_t                  asking;
    ngx_opsauth_redis_t        *redis, *from;
    ngx_opsauth_cluster_t      *cluster;
    ngx_opsauth_redis_error_e   declined;

    if ((error != NGX_OPSAUTH_REDIS_MOVED && error != NGX_OPSAUTH_REDIS_DOWN)
        || command->redirects >= NGX_OPSAUTH_CLUSTER_REDIRECTS)
    {
        return NGX_DECLINED;
    }

    command->redirects++;

    cluster = command->redis->cluster;
    from = command->command.redis;
    asking = 0;

    if (error == NGX_OPSAUTH_REDIS_MOVED) {
        redis = reply ? ngx_opsauth_cluster_follow(cluster, from,
                                                   command->slot, reply,
                                                   &asking)
                      : NULL;
    } else {
        redis = ngx_opsauth_cluster_route(cluster, command->slot);
        redis = (redis == from) ? NULL : redis;
    }

    if (redis == NULL) {
        return NGX_DECLINED;
    }

    command->next = redis;
    command->asking = asking;

    return command->whole
           ? ngx_opsauth_script_send(command, command->whole,
                             !ngx_opsauth_script_is_ready(command->whole),
                             &declined)
           : ngx_opsauth_command_send(command, command->n, command->words,
                                      &declined);
}


static ngx_uint_t
ngx_opsauth_command_is_over(ngx_uint_t n, const ngx_str_t *words)
{
    size_t      size;
    ngx_uint_t  i;

    if (n > NGX_OPSAUTH_COMMAND_WORDS) {
        return 1;
    }

    size = 0;

    for (i = 0; i < n; i++) {

        if (words[i].len > NGX_OPSAUTH_COMMAND_BYTES) {
            return 1;
        }

        size += words[i].len;
    }

    return (size > NGX_OPSAUTH_COMMAND_BYTES);
}
