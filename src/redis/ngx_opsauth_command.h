/*
 * Commands of the token service: any words, on the worker's one connection,
 * pipelined with its reads. Unlike a read, a command is never sent a second
 * time: whoever lost its reply doesn't know whether it was done. Only those of
 * which nothing was written yet may leave on another connection.
 */

#ifndef NGX_OPSAUTH_COMMAND_H
#define NGX_OPSAUTH_COMMAND_H

#include "ngx_opsauth_redis.h"


/* of one command: how many, and their bytes, a script's text apart */
#define NGX_OPSAUTH_COMMAND_WORDS  64
#define NGX_OPSAUTH_COMMAND_BYTES  (64 * 1024)


typedef struct ngx_opsauth_command_s  ngx_opsauth_command_t;

/* a Lua script; static, shared by all commands; see ngx_opsauth_script_make() */
typedef struct {
    ngx_str_t   name;               /* for logs */
    ngx_str_t   text;
    u_char      sha1[40];           /* hex; by the first use */
    unsigned    ready:1;            /* there is a sha1 */
    unsigned    failed:1;           /* nor will there be one: EVAL always */
} ngx_opsauth_script_t;

/* static ngx_opsauth_script_t  x = ngx_opsauth_script_make("x", "return 1"); */
#define ngx_opsauth_script_make(name, text)                                   \
    { ngx_string(name), ngx_string(text), { 0 }, 0, 0 }


/*
 * Called once for each command that was accepted, as by
 * ngx_opsauth_redis_handler_pt: from the connection's events, never from within
 * the call that sends, so that it may send, and must not run a request. The
 * reply is valid during the call only; an array has its elements, never
 * strings. OK: there is one, and it is no error. Otherwise it is NULL, or the
 * error reply whose class is error. After CLOSED and TIMEOUT nobody knows
 * whether the command was done, after all others it was not (DOWN, FULL:
 * nothing was sent; the rest: an error reply; a script that raises one has not
 * written, if it writes last).
 */
typedef void (*ngx_opsauth_command_handler_pt)(void *data,
    ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error);


/*
 * Sends it. It is copied: nothing needs to outlive the call. The handle is for
 * cancel alone, and gone once the handler was called. NULL: not accepted,
 * *error says why (DOWN; FULL, also for one over the bounds, and for want of
 * memory); the handler won't be called. words[0] is the only one that is ever
 * logged. A nil, or a script's "unknown", is the store's answer only where
 * ngx_opsauth_redis_is_marked().
 */
ngx_opsauth_command_t *ngx_opsauth_command(ngx_opsauth_redis_t *redis,
    ngx_uint_t n, const ngx_str_t *words, ngx_opsauth_command_handler_pt handler,
    void *data, ngx_opsauth_redis_error_e *error);

/*
 * EVALSHA, and EVAL where the server doesn't know the script (it has been
 * restarted or flushed its scripts; such a script has not run). keys: one,
 * so that every script is cluster-safe. nargs: 0 to COMMAND_WORDS - 4.
 */
ngx_opsauth_command_t *ngx_opsauth_script(ngx_opsauth_redis_t *redis,
    ngx_opsauth_script_t *script, const ngx_str_t *key, ngx_uint_t nargs,
    const ngx_str_t *args, ngx_opsauth_command_handler_pt handler, void *data,
    ngx_opsauth_redis_error_e *error);

/*
 * The handler won't be called; the command goes on. What was sent is wiped as
 * soon as it is written to the socket, a script's words when it was answered,
 * since they may have to go out again by EVAL.
 */
void ngx_opsauth_command_cancel(ngx_opsauth_command_t *command);


#endif /* NGX_OPSAUTH_COMMAND_H */
