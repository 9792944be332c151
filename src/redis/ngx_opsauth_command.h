/*
 * Commands of the token service: any words, on the worker's one connection,
 * pipelined with its reads. Unlike a read, a command is never sent a second
 * time: whoever lost its reply doesn't know whether it was done.
 */

#ifndef NGX_OPSAUTH_COMMAND_H
#define NGX_OPSAUTH_COMMAND_H

#include "ngx_opsauth_redis.h"


#define NGX_OPSAUTH_COMMAND_WORDS  64
#define NGX_OPSAUTH_COMMAND_BYTES  (64 * 1024)


typedef struct ngx_opsauth_command_s  ngx_opsauth_command_t;

/* a Lua script; static, shared by all commands */
typedef struct {
    ngx_str_t   name;               /* for logs */
    ngx_str_t   text;
    u_char      sha1[40];           /* hex; by ngx_opsauth_script_init() */
    unsigned    ready:1;
} ngx_opsauth_script_t;


/*
 * Called once for each command that was accepted, as by
 * ngx_opsauth_redis_handler_pt: from the connection's events, so that it may
 * not run a request. An error reply comes as its class, with the reply: error
 * is OK for all others.
 */
typedef void (*ngx_opsauth_command_handler_pt)(void *data,
    ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error);


/*
 * Sends it. It is copied: nothing needs to outlive the call. The handle is for
 * cancel alone, and gone once the handler was called. NULL: not accepted,
 * *error says why; the handler won't be called.
 */
ngx_opsauth_command_t *ngx_opsauth_command(ngx_opsauth_redis_t *redis,
    ngx_uint_t n, const ngx_str_t *words, ngx_opsauth_command_handler_pt handler,
    void *data, ngx_opsauth_redis_error_e *error);

/*
 * EVALSHA, and EVAL where the server doesn't know the script (it has been
 * restarted or flushed its scripts; such a script has not run). keys: one,
 * so that every script is cluster-safe.
 */
ngx_opsauth_command_t *ngx_opsauth_script(ngx_opsauth_redis_t *redis,
    ngx_opsauth_script_t *script, const ngx_str_t *key, ngx_uint_t nargs,
    const ngx_str_t *args, ngx_opsauth_command_handler_pt handler, void *data,
    ngx_opsauth_redis_error_e *error);

/* the handler won't be called; the command goes on. Words are wiped as soon as
   they were written to the socket */
void ngx_opsauth_command_cancel(ngx_opsauth_command_t *command);


#endif /* NGX_OPSAUTH_COMMAND_H */
