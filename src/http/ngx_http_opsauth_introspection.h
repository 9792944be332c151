/*
 * Tokens of another authorization server: one that no record knows is asked of
 * an RFC 7662 endpoint, through a location of nginx, and the answer is kept as a
 * record, which then answers as any other does. docs/oauth-introspection.md
 *
 *   introspection.c         a request's way; one ask for all that want it
 *   introspection_ask.c     the subrequest
 *   introspection_claims.c  the answer's claims as fields of a record
 *   introspection_write.c   the record, in Redis
 *   introspection_conf.c    directives
 */

#ifndef NGX_HTTP_OPSAUTH_INTROSPECTION_H
#define NGX_HTTP_OPSAUTH_INTROSPECTION_H

#include "ngx_http_opsauth.h"
#include "ngx_opsauth_command.h"


/* asks of one worker under way, for one store; one more is unavailable */
#define NGX_HTTP_OPSAUTH_INTROSPECTIONS_MAX  128


/* fields of a record that come from claims */
typedef enum {
    NGX_HTTP_OPSAUTH_CLAIM_TENANT = 0,
    NGX_HTTP_OPSAUTH_CLAIM_ACCOUNT,
    NGX_HTTP_OPSAUTH_CLAIM_AFFILIATE,
    NGX_HTTP_OPSAUTH_CLAIM_ROLES,
    NGX_HTTP_OPSAUTH_CLAIM_SCOPES,
    NGX_HTTP_OPSAUTH_CLAIMS
} ngx_http_opsauth_claim_e;


/* opsauth_introspection_claim */
struct ngx_http_opsauth_claims_s {
    ngx_str_t                      names[NGX_HTTP_OPSAUTH_CLAIMS];
                                                /* len 0: from no claim */
    ngx_str_t                      account_id;  /* of all tokens; else len 0 */
    ngx_str_t                      audience;    /* that aud must name; or len 0 */
    oa_environment_t               environment;
    ngx_str_t                      text;        /* all of it */
};


/* what became of an ask */
typedef enum {
    NGX_HTTP_OPSAUTH_INTROSPECTION_NONE = 0,    /* the request that asked was
                                                   gone first */
    NGX_HTTP_OPSAUTH_INTROSPECTION_KNOWN,       /* there is a record now */
    NGX_HTTP_OPSAUTH_INTROSPECTION_UNKNOWN,     /* not active, or not for us */
    NGX_HTTP_OPSAUTH_INTROSPECTION_INVALID,     /* active, but its claims make
                                                   no record */
    NGX_HTTP_OPSAUTH_INTROSPECTION_UNAVAILABLE
} ngx_http_opsauth_introspection_e;


/* where a request is with it; see introspection.c */
typedef enum {
    NGX_HTTP_OPSAUTH_INTROSPECTION_START = 0,
    NGX_HTTP_OPSAUTH_INTROSPECTION_JOINED,
    NGX_HTTP_OPSAUTH_INTROSPECTION_ASKING,
    NGX_HTTP_OPSAUTH_INTROSPECTION_NAMING,
    NGX_HTTP_OPSAUTH_INTROSPECTION_ISSUING,
    NGX_HTTP_OPSAUTH_INTROSPECTION_DONE
} ngx_http_opsauth_introspection_step_e;


/* a record to be; values are in the request's pool */
typedef struct {
    oa_str_t                       values[OA_CREDENTIAL_FIELDS];
    time_t                         kept;        /* until when the store does */
} ngx_http_opsauth_introspection_record_t;


/* a request's; in its pool */
struct ngx_http_opsauth_introspection_s {
    ngx_http_opsauth_ctx_t                       *ctx;
    ngx_http_opsauth_store_t                     *store;
    const ngx_http_opsauth_introspection_conf_t  *conf;
    ngx_http_opsauth_introspection_step_e         step;
    ngx_http_opsauth_introspection_e              result;

    u_char                         key[OA_DIGEST_LEN];      /* of the ask */
    u_char                         digest[OA_DIGEST_LEN];   /* the token's */
    ngx_uint_t                     pepper;                  /* of its digest */

    ngx_queue_t                    queue;       /* who asks: the worker's;
                                                   who joined: of that one */
    ngx_queue_t                    waiters;
    unsigned                       queued:1;
    unsigned                       prepared:1;
    unsigned                       refused:1;   /* the answer: too large */

    /* the subrequest's; its answer stands in the request's pool */
    ngx_buf_t                     *body;        /* wiped when it was sent */
    ngx_uint_t                     status;      /* 0: there is none */
    ngx_str_t                      answer;

    /* a command's */
    ngx_http_opsauth_introspection_record_t  record;
    ngx_opsauth_command_t         *command;
    ngx_uint_t                     written;
};


/* introspection.c */

/*
 * For a request that was not let pass, where the place asks another server.
 * NGX_OK        there may be a record by now: identify anew
 * NGX_AGAIN     the request waits, and will be woken
 * NGX_DECLINED  ctx->verdict stands
 * otherwise     to be returned by the access handler
 */
OA_APART ngx_int_t ngx_http_opsauth_introspect(ngx_http_request_t *r,
    ngx_http_opsauth_loc_conf_t *olcf, ngx_http_opsauth_ctx_t *ctx);


/* introspection_ask.c */

/* NGX_OK: ctx->event is posted when the answer is there, or that there is none.
   NGX_ERROR: no memory, or too many subrequests */
ngx_int_t ngx_http_opsauth_introspection_ask(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in);

/* whose subrequest it is; NULL: it is not one of these */
ngx_http_opsauth_introspection_t *ngx_http_opsauth_introspection_of(
    ngx_http_request_t *sr);

/* of subrequests: NGX_DECLINED, or a status if the location is none to ask */
ngx_int_t ngx_http_opsauth_introspection_preaccess(ngx_http_request_t *sr);

/* the answer's body goes no further; NGX_ERROR: too large, or no memory */
ngx_int_t ngx_http_opsauth_introspection_filter(ngx_http_request_t *sr,
    ngx_http_opsauth_introspection_t *in, ngx_chain_t *chain);


/* introspection_claims.c */

/*
 * The answer as a record: KNOWN, or why there is none (NONE: no memory). What
 * is wrong with it was logged.
 */
ngx_http_opsauth_introspection_e ngx_http_opsauth_introspection_read(
    ngx_http_request_t *r, ngx_http_opsauth_introspection_t *in);


/* introspection_write.c */

/* each sends one command; ctx->event is posted when it was answered, with
   in->written. NGX_DECLINED: it can't be sent. NGX_ERROR: no memory */
ngx_int_t ngx_http_opsauth_introspection_name(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in);
ngx_int_t ngx_http_opsauth_introspection_issue(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in);

/* the record's public id: the same one whoever asks, and whenever. NGX_ERROR:
   no memory, or libcrypto failed */
ngx_int_t ngx_http_opsauth_introspection_id(ngx_http_request_t *r,
    ngx_http_opsauth_introspection_t *in, oa_str_t *id);

/* a field's value by its name; data NULL: none */
void ngx_http_opsauth_introspection_set(
    ngx_http_opsauth_introspection_record_t *record, const char *field,
    oa_str_t value);
oa_str_t ngx_http_opsauth_introspection_get(
    const ngx_http_opsauth_introspection_record_t *record, const char *field);


/* introspection_conf.c */

char *ngx_http_opsauth_introspection(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_opsauth_introspection_claim(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_http_opsauth_merge_introspection(ngx_conf_t *cf,
    ngx_http_opsauth_introspection_conf_t *prev,
    ngx_http_opsauth_introspection_conf_t *conf);

extern ngx_http_opsauth_range_t  ngx_http_opsauth_introspection_valid;


#endif /* NGX_HTTP_OPSAUTH_INTROSPECTION_H */
