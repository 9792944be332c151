/*
 * What the files of src/oauth share: configuration, the state of one request to
 * the token service, and how it goes from step to step:
 *
 *   oauth.c     content handler: method, content type, body, form
 *   run.c       the runner: a step issues commands and says which step is next;
 *               that one runs when all of them were answered
 *   client.c    who asks: client authentication (assertion.c: signed logins)
 *   grant.c     what grants have in common: account, scopes, tokens; issue.c
 *   token.c     grants (code.c, refresh.c); revoke.c; introspect.c
 *   metadata.c  documents that clients find all this by
 *   reply.c     answers and errors
 *   conf.c      directives; variables.c
 *
 * A step is a function that returns
 *   NGX_AGAIN  by way of ngx_http_opsauth_oauth_wait(): replies are due
 *   other      what answering returned, for ngx_http_finalize_request()
 * or what the step it calls next returns.
 */

#ifndef NGX_HTTP_OPSAUTH_OAUTH_H
#define NGX_HTTP_OPSAUTH_OAUTH_H

#include "ngx_http_opsauth.h"
#include "ngx_opsauth_command.h"

#include "oa_client.h"
#include "oa_form.h"

#include <jansson.h>


#define NGX_HTTP_OPSAUTH_OAUTH_BODY_MAX   (16 * 1024)

/* commands of one step: as many as there are peppers, and some */
#define NGX_HTTP_OPSAUTH_OAUTH_SLOTS      12


typedef enum {
    NGX_HTTP_OPSAUTH_OAUTH_NONE = 0,
    NGX_HTTP_OPSAUTH_OAUTH_TOKEN,
    NGX_HTTP_OPSAUTH_OAUTH_REVOKE,
    NGX_HTTP_OPSAUTH_OAUTH_INTROSPECT,
    NGX_HTTP_OPSAUTH_OAUTH_AUTHORIZE,
    NGX_HTTP_OPSAUTH_OAUTH_METADATA,
    NGX_HTTP_OPSAUTH_OAUTH_RESOURCE,
    NGX_HTTP_OPSAUTH_OAUTH_KINDS
} ngx_http_opsauth_oauth_kind_e;


typedef struct ngx_http_opsauth_oauth_s  ngx_http_opsauth_oauth_t;

typedef ngx_int_t (*ngx_http_opsauth_oauth_step_pt)(
    ngx_http_opsauth_oauth_t *oauth);


/* a kind of endpoint; oauth.c has the table */
typedef struct {
    ngx_str_t                        name;
    ngx_uint_t                       methods;   /* NGX_HTTP_POST, ... */
    ngx_str_t                        allow;     /* the same, for the header */
    ngx_http_opsauth_oauth_step_pt   start;     /* NULL: no such endpoint */

    /* answers an error where JSON would be no answer; NULL: JSON */
    ngx_int_t                      (*failed)(ngx_http_opsauth_oauth_t *oauth,
        ngx_uint_t status, const char *error, const char *description);
} ngx_http_opsauth_oauth_endpoint_t;


/* of a place; all but kind, store_name, path and what is made of them is
   inherited */
struct ngx_http_opsauth_oauth_conf_s {
    ngx_http_opsauth_oauth_kind_e    kind;
    ngx_str_t                        store_name;    /* empty: not said */
    u_char                          *file;          /* where it was set */
    ngx_uint_t                       line;
    ngx_str_t                        path;          /* of the location */
    ngx_http_opsauth_store_t        *store;
    ngx_str_t                        document;      /* JSON: metadata, resource */
    ngx_str_t                        token_url;     /* of the token endpoint in
                                                       this server and for this
                                                       issuer; empty: none */

    ngx_str_t                        issuer;
    ngx_str_t                        origin;        /* a part of issuer: all up
                                                       to its path */
    ngx_str_t                        resource;
    ngx_http_complex_value_t        *subject;
    time_t                           token_valid;
    time_t                           short_token_valid;
    time_t                           refresh_token_valid;
    time_t                           code_valid;
    time_t                           refresh_grace;
};


/* one command of a step, and its reply */
typedef struct {
    ngx_http_opsauth_oauth_t        *oauth;
    ngx_opsauth_command_t           *command;   /* under way, else NULL */
    ngx_opsauth_redis_error_e        error;
    ngx_opsauth_reply_t              reply;     /* in the request's pool */
} ngx_http_opsauth_oauth_slot_t;


/* how a client has logged in; see client.c */
typedef struct {
    unsigned                         method;    /* oa_auth_method_t; 0: a signed
                                                   one, its header says which */
    oa_str_t                         secret;
    oa_str_t                         assertion;
    ngx_http_opsauth_oauth_step_pt   next;
} ngx_http_opsauth_oauth_login_t;


/* of an account, what tokens depend on */
typedef struct {
    oa_str_t                         id;
    oa_str_t                         tenant;
    oa_str_t                         scopes;    /* data NULL: no ceiling */
    unsigned                         refresh:1;
} ngx_http_opsauth_oauth_account_t;


typedef struct ngx_http_opsauth_oauth_secret_s  ngx_http_opsauth_oauth_secret_t;

struct ngx_http_opsauth_oauth_secret_s {
    ngx_http_opsauth_oauth_secret_t  *next;
    size_t                            size;
    u_char                           *data;
};


struct ngx_http_opsauth_oauth_s {
    ngx_http_request_t               *request;
    const ngx_http_opsauth_oauth_endpoint_t
                                     *endpoint;
    ngx_http_opsauth_oauth_conf_t    *conf;
    ngx_http_opsauth_store_t         *store;
    ngx_http_opsauth_worker_t        *worker;

    ngx_str_t                         body;
    oa_form_t                         form;     /* of the body; GET: the query */

    /* who asks: set when the client is authenticated; client_id earlier, as
       the request has it, where its form is an id's. The access log has it:
       a copy, since the form is wiped by then */
    oa_str_t                          client_id;
    oa_client_t                       client;
    ngx_http_opsauth_oauth_login_t    login;
    ngx_http_opsauth_oauth_account_t  account;

    /* hex, under each pepper, of what find() was called for last */
    ngx_str_t                         digests[OA_PEPPERS_MAX];

    void                             *data;     /* the endpoint's own */

    const char                       *error;    /* as answered; NULL: none */
    unsigned                          basic:1;  /* tried Authorization */
    unsigned                          refused:1;    /* a command was */

    /* the runner's */
    ngx_http_opsauth_oauth_step_pt    next;
    ngx_uint_t                        nslots;
    ngx_uint_t                        pending;
    ngx_http_opsauth_oauth_slot_t     slots[NGX_HTTP_OPSAUTH_OAUTH_SLOTS];
    ngx_event_t                       event;
    ngx_http_opsauth_oauth_secret_t  *secrets;
};


/* ngx_http_opsauth_oauth.c */

const ngx_http_opsauth_oauth_endpoint_t *ngx_http_opsauth_oauth_endpoint(
    ngx_uint_t kind);

/* content handler */
ngx_int_t ngx_http_opsauth_oauth_handler(ngx_http_request_t *r);


/* ngx_http_opsauth_oauth_run.c */

/* before the first step: what ends with the request is cleaned up */
ngx_int_t ngx_http_opsauth_oauth_init(ngx_http_opsauth_oauth_t *oauth);

/*
 * Adds a command to this step (at most SLOTS); its reply will be in
 * ngx_http_opsauth_oauth_reply(oauth, n) for the n-th of the step, from 0. All
 * of a step leave in one write and are carried out in that order. One that
 * isn't accepted shows in wait().
 */
void ngx_http_opsauth_oauth_command(ngx_http_opsauth_oauth_t *oauth,
    ngx_uint_t n, const ngx_str_t *words);
void ngx_http_opsauth_oauth_script(ngx_http_opsauth_oauth_t *oauth,
    ngx_opsauth_script_t *script, const ngx_str_t *key, ngx_uint_t nargs,
    const ngx_str_t *args);

/*
 * Ends a step that has commands. next runs when all were answered, and only
 * then: where one has no reply, or an error for a reply, the request is
 * answered with 503.
 */
ngx_int_t ngx_http_opsauth_oauth_wait(ngx_http_opsauth_oauth_t *oauth,
    ngx_http_opsauth_oauth_step_pt next);

/* valid until the next step adds a command; texts as long as the request */
ngx_opsauth_reply_t *ngx_http_opsauth_oauth_reply(
    ngx_http_opsauth_oauth_t *oauth, ngx_uint_t n);

/* goes on with what a step returned, outside of nginx's own calls */
void ngx_http_opsauth_oauth_run(ngx_http_opsauth_oauth_t *oauth,
    ngx_http_opsauth_oauth_step_pt step);

/* the request is answered, perhaps in the middle of a step: replies that are
   due don't go on with it any more */
void ngx_http_opsauth_oauth_leave(ngx_http_opsauth_oauth_t *oauth);

/* an array's n-th string; data NULL: it isn't one, or nil */
oa_str_t ngx_http_opsauth_oauth_text(ngx_opsauth_reply_t *reply, ngx_uint_t n);

/* a script's first word is this one */
ngx_uint_t ngx_http_opsauth_oauth_said(ngx_opsauth_reply_t *reply,
    const char *word);

/* memory of the request's pool that is wiped when the request ends; NULL: none */
u_char *ngx_http_opsauth_oauth_secret(ngx_http_opsauth_oauth_t *oauth,
    size_t size);

/* "<prefix><middle><name>" in the request's pool; data NULL: no memory */
ngx_str_t ngx_http_opsauth_oauth_key(ngx_http_opsauth_oauth_t *oauth,
    const char *middle, oa_str_t name);

/* decimal text in the request's pool; data NULL: no memory */
ngx_str_t ngx_http_opsauth_oauth_number(ngx_http_opsauth_oauth_t *oauth,
    int64_t number);

/* milliseconds since 1970, as the event loop has them */
int64_t ngx_http_opsauth_oauth_now(void);


/* ngx_http_opsauth_oauth_reply.c: all of them return what a step returns */

/* takes the body over; its strings are wiped */
ngx_int_t ngx_http_opsauth_oauth_json(ngx_http_opsauth_oauth_t *oauth,
    ngx_uint_t status, json_t *body);

/* a text as the body; both must last as long as the request. cache is what
   Cache-Control says; NULL: no-store, and no-cache for the old ones */
ngx_int_t ngx_http_opsauth_oauth_send(ngx_http_opsauth_oauth_t *oauth,
    ngx_uint_t status, ngx_str_t *type, ngx_str_t *body, ngx_str_t *cache);

/*
 * error and description are for the client, static text; reason for the log
 * alone (NULL: the description)
 */
ngx_int_t ngx_http_opsauth_oauth_error(ngx_http_opsauth_oauth_t *oauth,
    ngx_uint_t status, const char *error, const char *description,
    const char *reason);

/* the usual ones: 400 with these two; 503; 500, where memory is short */
ngx_int_t ngx_http_opsauth_oauth_invalid_request(
    ngx_http_opsauth_oauth_t *oauth, const char *description);
ngx_int_t ngx_http_opsauth_oauth_invalid_grant(
    ngx_http_opsauth_oauth_t *oauth, const char *reason);
ngx_int_t ngx_http_opsauth_oauth_unavailable(ngx_http_opsauth_oauth_t *oauth,
    const char *reason);
ngx_int_t ngx_http_opsauth_oauth_failed(ngx_http_opsauth_oauth_t *oauth);

/* an ngx_str_t or oa_str_t as JSON; NULL: no memory, or no UTF-8 */
#define ngx_http_opsauth_oauth_json_str(s)                                    \
    json_stringn((const char *) (s).data, (s).len)


/* ngx_http_opsauth_oauth_variables.c */

ngx_int_t ngx_http_opsauth_oauth_add_variables(ngx_conf_t *cf);


/* ngx_http_opsauth_oauth_client.c */

/*
 * Authenticates the client by the form and the header (RFC 6749 section 2.3,
 * RFC 7523); next runs when that succeeded, with oauth->client. All that can be
 * wrong with it is answered alike.
 */
ngx_int_t ngx_http_opsauth_oauth_login(ngx_http_opsauth_oauth_t *oauth,
    ngx_http_opsauth_oauth_step_pt next);

/* the only answer to a login that failed; reason is for the log */
ngx_int_t ngx_http_opsauth_oauth_invalid_client(
    ngx_http_opsauth_oauth_t *oauth, const char *reason);

/* parameters of the query that belong into the body (RFC 6749 section 3.2):
   NGX_DECLINED: there are none; else what answering returned */
ngx_int_t ngx_http_opsauth_oauth_refuse_query(ngx_http_opsauth_oauth_t *oauth);

/*
 * The record of a client: commands of a step, replies 0 and 1. An id must be of
 * the form that ids have. take: NGX_DECLINED there is no such client; NGX_ERROR
 * nobody can say: the record or the store is not what it must be. *reason is
 * for the log.
 */
void ngx_http_opsauth_oauth_client_ask(ngx_http_opsauth_oauth_t *oauth,
    oa_str_t id);
ngx_int_t ngx_http_opsauth_oauth_client_take(ngx_http_opsauth_oauth_t *oauth,
    oa_str_t id, oa_client_t *client, const char **reason);
ngx_uint_t ngx_http_opsauth_oauth_client_id_valid(oa_str_t id);


/* ngx_http_opsauth_oauth_assertion.c */

/* the id of the client that a signed login is for; not verified; data NULL:
   it names none */
oa_str_t ngx_http_opsauth_oauth_assertion_client(
    ngx_http_opsauth_oauth_t *oauth);

/*
 * Verifies a signed login (RFC 7523 section 3). client NULL: there is none such;
 * as much work is done as for one. OK: signed, for us and in time; *jti is to be
 * remembered for *valid ms. DECLINED and *reason: it must be refused.
 */
ngx_int_t ngx_http_opsauth_oauth_assertion_check(
    ngx_http_opsauth_oauth_t *oauth, const oa_client_t *client, ngx_str_t *jti,
    int64_t *valid, const char **reason);


/* ngx_http_opsauth_oauth_grant.c */

/*
 * An account: a command of a step, and its reply, the n-th of it. take sets
 * oauth->account. NGX_DECLINED: it is missing, disabled, or the client's
 * address is not among its allowed ones (if address is asked for); NGX_ERROR:
 * its record is malformed.
 */
void ngx_http_opsauth_oauth_account_ask(ngx_http_opsauth_oauth_t *oauth,
    oa_str_t id);
ngx_int_t ngx_http_opsauth_oauth_account_take(ngx_http_opsauth_oauth_t *oauth,
    ngx_uint_t n, oa_str_t id, ngx_uint_t address, const char **reason);

/* hex of the digest under a pepper, in the request's pool; data NULL: failed */
ngx_str_t ngx_http_opsauth_oauth_digest(ngx_http_opsauth_oauth_t *oauth,
    ngx_uint_t pepper, oa_str_t text);

/*
 * Reads "<prefix><middle><digest of text>" under each pepper: commands of a
 * step. found: the number of the first one that is there, or NGX_DECLINED.
 * NGX_ERROR of find: no memory.
 */
ngx_int_t ngx_http_opsauth_oauth_find(ngx_http_opsauth_oauth_t *oauth,
    const char *middle, oa_str_t text, ngx_uint_t nfields,
    const char *const *fields);
ngx_int_t ngx_http_opsauth_oauth_found(ngx_http_opsauth_oauth_t *oauth);

/* n base62 characters of a new secret, wiped at the end, n a multiple of
   OA_KEY_BODY_LEN or less than one; data NULL: failed */
ngx_str_t ngx_http_opsauth_oauth_mint(ngx_http_opsauth_oauth_t *oauth,
    size_t n);


/* ngx_http_opsauth_oauth_metadata.c */

ngx_int_t ngx_http_opsauth_oauth_document(ngx_http_opsauth_oauth_t *oauth);

/* origin and path as a URL; data NULL: no memory */
ngx_str_t ngx_http_opsauth_oauth_url(ngx_pool_t *pool,
    ngx_http_opsauth_oauth_conf_t *conf);


#endif /* NGX_HTTP_OPSAUTH_OAUTH_H */
