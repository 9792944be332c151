/*
 * What the files of src/http share: configuration, the request's context and
 * the functions by which a request passes from one to the next:
 *
 *   preaccess   strip.c       client's identity headers and the credential out
 *   access      access.c      credential.c -> records.c -> policy -> identity.c
 *   on denial   deny.c        status, challenge, body
 *   on its way  deprecated.c  tells the client that its key is due
 *   any time    variables.c   reads the context
 *   afterwards  status.c      shows what all of them were counted as
 */

#ifndef NGX_HTTP_OPSAUTH_H
#define NGX_HTTP_OPSAUTH_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "oa_bearer.h"
#include "oa_digest.h"
#include "oa_key.h"
#include "oa_policy.h"
#include "oa_record.h"
#include "oa_set.h"
#include "oa_text.h"
#include "ngx_opsauth_cache.h"
#include "ngx_opsauth_prefetch.h"
#include "ngx_opsauth_counters.h"
#include "ngx_opsauth_feed.h"
#include "ngx_opsauth_watch.h"
#include "ngx_opsauth_cluster.h"
#include "ngx_opsauth_lookup.h"
#include "ngx_opsauth_redis.h"
#include "ngx_http_opsauth_rate.h"
#include "ngx_opsauth_usage.h"


extern ngx_module_t  ngx_http_opsauth_module;


/* what few requests come to, apart from what each one does: or all of them
   would save its registers and guard its stack */
#define ngx_http_opsauth_rare  static __attribute__((__noinline__))

/* a part of what every request does, which only reads better apart */
#define ngx_http_opsauth_always                                               \
    static ngx_inline __attribute__((__always_inline__))

/* directives inside opsauth_store { }; a bit that nginx leaves free */
#define NGX_HTTP_OPSAUTH_STORE_CONF   0x00020000

#define NGX_HTTP_OPSAUTH_FORMAT_JSON     0
#define NGX_HTTP_OPSAUTH_FORMAT_PROBLEM  1
#define NGX_HTTP_OPSAUTH_FORMAT_OFF      2
#define NGX_HTTP_OPSAUTH_FORMATS         2      /* that have bodies */

/* type of records, in flights and in the cache */
#define NGX_HTTP_OPSAUTH_CREDENTIAL      1
#define NGX_HTTP_OPSAUTH_ACCOUNT         2

/* of a context: two usual records and six headers, with room to copy any
   entry of the cache to; the rest is the pool's */
#define NGX_HTTP_OPSAUTH_ROOM            (1024 + sizeof(ngx_opsauth_entry_t))


/* what one process needs to write usage; see usage.c */
typedef struct ngx_http_opsauth_usage_s  ngx_http_opsauth_usage_t;


/* what one process needs to ask one store; made at its first request */
typedef struct {
    oa_hasher_t                     hasher;
    uint64_t                        hash;       /* of the latest credential */
    const void                     *slots[2];   /* where the latest records stood */
    ngx_opsauth_redis_t            *redis;
    ngx_opsauth_lookup_t           *lookup;
    ngx_opsauth_feed_t             *feed;       /* the first two workers' */
    ngx_http_opsauth_rate_node_t   *node;       /* the first worker's */
    ngx_queue_t                     chunks;     /* of quotas, being asked for */
    ngx_http_opsauth_rate_plan_t    plans[NGX_HTTP_OPSAUTH_RATE_PLANS];
    ngx_opsauth_watch_t           **watches;    /* theirs, one a sentinel */
    ngx_opsauth_entry_t             entry;      /* where no context has room */
    uint32_t                        flushes;    /* of the cache, as last seen */
    u_char                          packed[OA_RECORD_MAX];
    uint64_t                        invalid[16];    /* records logged as such */
    ngx_uint_t                      ninvalid;
    ngx_queue_t                     introspections; /* under way */
    ngx_uint_t                      nintrospections;
    ngx_http_opsauth_usage_t       *usage;      /* NULL: off */
    ngx_opsauth_prefetch_t          prefetch;
} ngx_http_opsauth_worker_t;


/* redis_ssl_*, as written */
typedef struct {
    ngx_str_t                       trusted_certificate;
    ngx_str_t                       certificate;
    ngx_str_t                       certificate_key;
    ngx_str_t                       password_file;
    ngx_str_t                       name;
    ngx_str_t                       ciphers;
    ngx_uint_t                      protocols;      /* bits; 0: not set */
    ngx_int_t                       verify_depth;
    ngx_flag_t                      verify;
    ngx_flag_t                      session_reuse;
    unsigned                        on:1;           /* rediss:// */
} ngx_http_opsauth_tls_t;


/* one opsauth_store block; lives as long as the cycle */
struct ngx_http_opsauth_store_s {
    ngx_str_t                       name;
    ngx_str_t                       prefix;         /* of all keys in Redis */
    ngx_str_t                       channel;        /* "<prefix>invalidate" */
    ngx_str_t                       url;
    /* a name that could not be resolved when the configuration was read */
    const char                     *unresolved;
    ngx_str_t                       unresolved_file;
    ngx_uint_t                      unresolved_line;
    ngx_opsauth_redis_conf_t        redis;
    ngx_http_opsauth_tls_t          tls;

    ngx_str_t                       pepper_text;    /* peppers point into it */
    oa_str_t                        peppers[OA_PEPPERS_MAX];
    size_t                          npeppers;
    ngx_array_t                    *key_prefixes;   /* oa_key_prefix_t */

    size_t                          cache_size;
    ngx_msec_t                      cache_valid;
    ngx_msec_t                      cache_negative;
    ngx_msec_t                      lease;
    ngx_msec_t                      stale;
    ngx_opsauth_cache_t             cache;
    ngx_opsauth_counters_t          counters;       /* ..._counts_t */

    size_t                          rate_zone;      /* bytes */
    ngx_flag_t                      rate_sync;
    ngx_opsauth_rate_t              rate;
    ngx_str_t                       rate_prefix;    /* "<prefix>rate:" */
    ngx_str_t                       rate_nodes;     /* "<prefix>nodes" */

    ngx_flag_t                      usage_on;
    size_t                          usage_size;
    ngx_msec_t                      usage_interval;
    ngx_str_t                       usage_prefix;   /* "<prefix>usage:" */
    ngx_str_t                       usage_name;     /* of its connections */
    ngx_str_t                       usage_client_name;
    ngx_opsauth_usage_t             usage;

    ngx_opsauth_lookup_kind_t       credential_kind;
    ngx_opsauth_lookup_kind_t       account_kind;

    ngx_http_opsauth_worker_t      *worker;         /* this process' own */
};


/* of the token service, src/oauth; one for each place */
typedef struct ngx_http_opsauth_oauth_conf_s  ngx_http_opsauth_oauth_conf_t;
/* one request to it */
typedef struct ngx_http_opsauth_oauth_s       ngx_http_opsauth_oauth_t;


/* a location that is an endpoint of the token service */
typedef struct {
    ngx_http_core_srv_conf_t       *server;
    ngx_http_core_loc_conf_t       *location;
    ngx_http_opsauth_oauth_conf_t  *conf;
} ngx_http_opsauth_endpoint_t;


typedef struct {
    ngx_array_t                     stores;         /* of store pointers */
    ngx_array_t                     endpoints;      /* ..._endpoint_t */
    ngx_str_t                       bodies[NGX_HTTP_OPSAUTH_FORMATS]
                                          [OA_REASON_COUNT];
} ngx_http_opsauth_main_conf_t;


/* a header whose name is ours: compared folded, in lower case, '_' as '-' */
typedef struct {
    ngx_str_t                       name;
    unsigned                        credential:1;   /* carries one, bare */
    unsigned                        authorization:1;
} ngx_http_opsauth_name_t;


typedef struct {
    uint64_t                        lengths;        /* bit n: a name of n bytes;
                                                       bit 63: 63 and longer */
    ngx_array_t                     names;          /* ngx_http_opsauth_name_t */
} ngx_http_opsauth_names_t;


/* one header for the backend */
typedef struct {
    ngx_table_elt_t                 header;         /* all but its value */
    size_t                          offset;         /* its text in the context,
                                                       0: to be asked for */
    ngx_uint_t                      source;         /* a variable of ours, by
                                                       number, or NONE: value */
    ngx_http_complex_value_t        value;
} ngx_http_opsauth_identity_t;


/* what a value may be, both ends included, and how that is said: "... is
   expected" */
typedef struct {
    ngx_int_t                       min;
    ngx_int_t                       max;
    const char                     *expected;
} ngx_http_opsauth_range_t;


typedef struct {
    unsigned                        off:1;
    oa_str_t                        roles;
    oa_str_t                        scopes;
} ngx_http_opsauth_admin_t;


/* tokens of another authorization server; see introspection.h */
typedef struct ngx_http_opsauth_claims_s  ngx_http_opsauth_claims_t;
typedef struct ngx_http_opsauth_introspection_s
    ngx_http_opsauth_introspection_t;

typedef struct {
    ngx_str_t                       uri;            /* data NULL: not set;
                                                       len 0: off */
    time_t                          valid;
    const ngx_http_opsauth_claims_t  *claims;
    ngx_str_t                       key;            /* all of this as a text:
                                                       who shares an answer */
} ngx_http_opsauth_introspection_conf_t;


struct ngx_http_opsauth_loc_conf_s {
    ngx_str_t                       store_name;     /* empty: not set here */
    u_char                         *file;           /* where it was set */
    ngx_uint_t                      line;
    ngx_http_opsauth_store_t       *store;          /* NULL: off or nowhere */
    ngx_flag_t                      named;          /* "opsauth" stands here
                                                       or above, even off */
    ngx_flag_t                      shadow;
    ngx_uint_t                      environment;    /* mask */
    ngx_str_t                       realm;
    ngx_uint_t                      error_format;
    ngx_flag_t                      forward_credential;
    ngx_array_t                    *rules;          /* oa_rule_t */
    ngx_http_opsauth_admin_t       *admin;
    ngx_array_t                    *credential;     /* ngx_http_opsauth_name_t */
    ngx_array_t                    *identity;       /* ..._identity_t */
    ngx_http_opsauth_rate_conf_t   *rate;           /* NULL: off */
    ngx_http_opsauth_rate_conf_t   *failure_rate;   /* NULL: off */
    ngx_uint_t                      rate_headers;
    ngx_str_t                       resource_metadata;  /* URL; empty: none */
    ngx_http_opsauth_oauth_conf_t  *oauth;
    unsigned                        endpoint:1;     /* of the token service: it
                                                       authenticates by itself;
                                                       not inherited */
    ngx_uint_t                      status;         /* format; 0: no such page;
                                                       not inherited */
    ngx_http_opsauth_introspection_conf_t  introspection;

    /* made of the above when the configuration is merged */
    oa_policy_t                     policy;
    ngx_http_opsauth_names_t        names;
};


typedef enum {
    NGX_HTTP_OPSAUTH_NONE = 0,      /* no credential in the request */
    NGX_HTTP_OPSAUTH_PRESENT,
    NGX_HTTP_OPSAUTH_MALFORMED      /* bad form, or more than one */
} ngx_http_opsauth_presence_e;


typedef enum {
    NGX_HTTP_OPSAUTH_CACHE_NONE = 0,
    NGX_HTTP_OPSAUTH_CACHE_BYPASS,  /* decided without any record */
    NGX_HTTP_OPSAUTH_CACHE_HIT,
    NGX_HTTP_OPSAUTH_CACHE_MISS,
    NGX_HTTP_OPSAUTH_CACHE_STALE
} ngx_http_opsauth_cache_e;


/* where finding out who asks has got to; see records.c */
typedef enum {
    NGX_HTTP_OPSAUTH_START = 0,
    NGX_HTTP_OPSAUTH_READ_CREDENTIAL,
    NGX_HTTP_OPSAUTH_READ_ACCOUNT,
    NGX_HTTP_OPSAUTH_IDENTIFIED     /* ctx->identity says how it ended */
} ngx_http_opsauth_state_e;


/*
 * Its lines of the processor's caches are what a hit waits for: what every
 * phase and filter looks at stands on the first one, where context.c aligns
 * it; what only some requests need comes last.
 */

struct ngx_http_opsauth_ctx_s {
    ngx_http_request_t             *request;
    ngx_http_opsauth_ctx_t         *spare;          /* while nobody's */

    /* memory of the request, see ngx_http_opsauth_alloc() */
    size_t                          used;

    ngx_http_opsauth_store_t       *store;          /* of this identity */

    /* the credential, as the request has it */
    ngx_str_t                       bearer;
    ngx_http_opsauth_presence_e     presence:8;

    /* who asks: found out once per request, kept over internal redirects */
    ngx_http_opsauth_state_e        state:8;
    oa_reason_t                     identity:8;     /* OK, or why not */
    unsigned                        pepper:8;       /* being tried */
    ngx_http_opsauth_cache_e        cache:8;
    ngx_http_opsauth_rated_e        rated:8;        /* as this account */

    unsigned                        page:8;         /* our body: 1 due, 2 sent */
    unsigned                        waiting:1;
    unsigned                        answered:1;
    unsigned                        asked:1;        /* once, or more often */
    unsigned                        attempted:1;    /* charged as a failure */
    unsigned                        slowed:1;       /* so it is not looked up */

    /* what this location made of it */
    unsigned                        decided:1;
    unsigned                        counted:1;      /* in the usage */
    unsigned                        shadow:1;
    unsigned                        deny_status:16; /* 0: not turned away */

    oa_credential_t                 credential;
    oa_account_t                    account;
    oa_verdict_t                    verdict;

    ngx_msec_t                      lookup_time;    /* waited, in ms */
    ngx_table_elt_t                *challenge;      /* pushed once, then reused */
    ngx_table_elt_t                *retry_after;
    ngx_table_elt_t                *cache_control;
    ngx_http_opsauth_oauth_t       *oauth;          /* NULL: no endpoint */
    ngx_http_opsauth_introspection_t  *introspection;   /* NULL: none so far */

    /* undefined from here on, until somebody writes it */

    u_char                          key[OA_DIGEST_LEN];
    u_char                          room[NGX_HTTP_OPSAUTH_ROOM];

    /* a read that this request waits for */
    ngx_opsauth_waiter_t            waiter;
    ngx_event_t                     event;          /* posted on completion */
    ngx_msec_t                      wait_started;
    ngx_opsauth_status_e            answer;
    ngx_str_t                       packed;         /* record of the answer */
    ngx_str_t                       stale;          /* to fall back on */

    ngx_http_opsauth_rated_t        rate;           /* as ctx->rated says */
};


/* ngx_http_opsauth_context.c: the context survives internal redirects */

/* of the main request, also where a redirect has wiped it; NULL: none */
OA_HOT ngx_http_opsauth_ctx_t *ngx_http_opsauth_get_ctx(ngx_http_request_t *r);

/* the same, made or put back in place where missing; NULL: no memory */
OA_HOT ngx_http_opsauth_ctx_t *ngx_http_opsauth_make_ctx(ngx_http_request_t *r);

/* memory that lives as long as the request's pool; NULL: there is none */
OA_HOT void *ngx_http_opsauth_alloc(ngx_http_opsauth_ctx_t *ctx, size_t size);

/* the process ends */
void ngx_http_opsauth_free_spare(void);


/* ngx_http_opsauth_strip.c */

/*
 * Preaccess handler: takes the client's own identity headers and the
 * credential out of the request's headers, and notes the credential.
 */
OA_HOT ngx_int_t ngx_http_opsauth_preaccess_handler(ngx_http_request_t *r);

/* adds a name (any case) to the set that is looked for. NGX_DECLINED: it can't
   carry a credential and an identity both. NGX_ERROR: no memory */
ngx_int_t ngx_http_opsauth_add_name(ngx_conf_t *cf,
    ngx_http_opsauth_names_t *names, const ngx_http_opsauth_name_t *name);


/* ngx_http_opsauth_access.c */

OA_HOT ngx_int_t ngx_http_opsauth_access_handler(ngx_http_request_t *r);

/* the client's, after realip; of family 0 where it has none (unix:) */
OA_HOT void ngx_http_opsauth_addr(ngx_http_request_t *r, oa_addr_t *addr);


/* ngx_http_opsauth_records.c */

/*
 * Finds out who asks. NGX_OK: ctx->identity is OA_REASON_OK, and credential
 * and account are there, or it is the reason why not. NGX_AGAIN: a read is
 * under way, the request will be woken.
 */
OA_HOT ngx_int_t ngx_http_opsauth_identify(ngx_http_request_t *r,
    ngx_http_opsauth_ctx_t *ctx, ngx_http_opsauth_store_t *store);

/* forgets what was found out: identify() begins anew */
OA_HOT void ngx_http_opsauth_start(ngx_http_opsauth_ctx_t *ctx,
    ngx_http_opsauth_store_t *store);

/* before a request waits: ctx->event, which wakes it. NGX_ERROR: no memory */
OA_WARM OA_APART ngx_int_t ngx_http_opsauth_prepare(
    ngx_http_opsauth_ctx_t *ctx);


/* ngx_http_opsauth_wait.c */

/* the request does nothing but watch for an abort; returns what its handler is
   to return: NGX_AGAIN, or 500 */
OA_WARM OA_APART ngx_int_t ngx_http_opsauth_suspend(ngx_http_request_t *r);

/* from a posted event: the request goes on, or is ended where that can't be */
void ngx_http_opsauth_resume(ngx_http_request_t *r,
    void (*go_on)(ngx_http_request_t *r));


/* ngx_http_opsauth_worker.c */

/* this process' connection and hasher for the store; NULL: no memory */
OA_APART ngx_http_opsauth_worker_t *ngx_http_opsauth_worker(
    ngx_http_opsauth_store_t *store);
void ngx_http_opsauth_exit_process(ngx_cycle_t *cycle);
void ngx_http_opsauth_worker_destroy(ngx_http_opsauth_store_t *store);

/* 1 once for each key in a while, for logs; key: 8 bytes of a digest at least */
ngx_uint_t ngx_http_opsauth_log_once(ngx_http_opsauth_worker_t *worker,
    const u_char *key);


/* ngx_http_opsauth_feed.c */

ngx_int_t ngx_http_opsauth_init_process(ngx_cycle_t *cycle);
void ngx_http_opsauth_stop_watches(ngx_http_opsauth_store_t *store);
/* hooks of feeds; owner: the store */
void ngx_http_opsauth_changed(void *owner, ngx_str_t *key);
void ngx_http_opsauth_flushed(void *owner);


/* ngx_http_opsauth_cluster.c */

/* the store is in a Redis Cluster; NGX_ERROR: no memory */
ngx_int_t ngx_http_opsauth_cluster(ngx_conf_t *cf,
    ngx_http_opsauth_store_t *store);
/* of a store in a cluster, as ngx_opsauth_cache_replaced() and _fill() */
ngx_uint_t ngx_http_opsauth_cluster_replaced(ngx_http_opsauth_store_t *store,
    ngx_opsauth_flight_t *flight);
void ngx_http_opsauth_cluster_fill(ngx_http_opsauth_store_t *store,
    ngx_opsauth_flight_t *flight, ngx_uint_t type, u_char *data, size_t len);


/* ngx_http_opsauth_identity.c */

/* sets the headers for the backend; NGX_ERROR: no memory */
OA_HOT ngx_int_t ngx_http_opsauth_set_identity(ngx_http_request_t *r,
    ngx_http_opsauth_loc_conf_t *olcf, ngx_http_opsauth_ctx_t *ctx);
char *ngx_http_opsauth_identity_header(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
/* the default set, made once per main configuration; NULL: no memory */
ngx_array_t *ngx_http_opsauth_identity_defaults(ngx_conf_t *cf);

/* NGX_OK: a name nginx leaves to others; otherwise the error was logged */
ngx_int_t ngx_http_opsauth_check_header_name(ngx_conf_t *cf,
    ngx_str_t *directive, ngx_str_t *name);


/* ngx_http_opsauth_deny.c */

/* prepares the answer and returns its status, or NGX_ERROR */
OA_APART ngx_int_t ngx_http_opsauth_deny(ngx_http_request_t *r,
    ngx_http_opsauth_loc_conf_t *olcf, ngx_http_opsauth_ctx_t *ctx);
ngx_int_t ngx_http_opsauth_init_bodies(ngx_conf_t *cf,
    ngx_http_opsauth_main_conf_t *omcf);
void ngx_http_opsauth_init_filters(void);


/* ngx_http_opsauth_header.c: adds a header to the answer; name and what value
   points to must last as long as the request. NGX_ERROR: no memory */
ngx_int_t ngx_http_opsauth_add_header(ngx_http_request_t *r, const char *name,
    ngx_str_t *value);


/* ngx_http_opsauth_deprecated.c */

/*
 * Adds Deprecation and Sunset to the answer to a request that was allowed; for
 * credentials that are deprecated. NGX_ERROR: no memory
 */
ngx_int_t ngx_http_opsauth_deprecated(ngx_http_request_t *r,
    ngx_http_opsauth_ctx_t *ctx);


/* ngx_http_opsauth_variables.c */

typedef enum {
    NGX_HTTP_OPSAUTH_VAR_NONE = 0,
    NGX_HTTP_OPSAUTH_VAR_VERDICT,
    NGX_HTTP_OPSAUTH_VAR_REASON,
    NGX_HTTP_OPSAUTH_VAR_CREDENTIAL_ID,
    NGX_HTTP_OPSAUTH_VAR_CREDENTIAL_KIND,
    NGX_HTTP_OPSAUTH_VAR_CREDENTIAL_STATE,
    NGX_HTTP_OPSAUTH_VAR_ACCOUNT,
    NGX_HTTP_OPSAUTH_VAR_TENANT,
    NGX_HTTP_OPSAUTH_VAR_AFFILIATE,
    NGX_HTTP_OPSAUTH_VAR_ROLES,
    NGX_HTTP_OPSAUTH_VAR_SCOPES,
    NGX_HTTP_OPSAUTH_VAR_ENVIRONMENT,
    NGX_HTTP_OPSAUTH_VAR_CACHE,
    NGX_HTTP_OPSAUTH_VAR_LOOKUP_TIME,
    NGX_HTTP_OPSAUTH_VAR_RATE_LIMIT,
    NGX_HTTP_OPSAUTH_VAR_RATE_REMAINING,
    NGX_HTTP_OPSAUTH_VAR_RATE_RESET
} ngx_http_opsauth_var_e;

ngx_int_t ngx_http_opsauth_add_variables(ngx_conf_t *cf);

/* the number of a variable named "opsauth_..."; NONE: not one of ours */
ngx_uint_t ngx_http_opsauth_variable_number(ngx_str_t *name);

/* where in the context its value stands as an oa_str_t once the verdict is
   "allow"; 0: it doesn't */
size_t ngx_http_opsauth_variable_offset(ngx_uint_t number);

/* its value, empty where there is none; points into the context's memory */
ngx_str_t ngx_http_opsauth_variable_value(ngx_http_opsauth_ctx_t *ctx,
    ngx_uint_t number);


/* ngx_http_opsauth_conf.c */

void *ngx_http_opsauth_create_main_conf(ngx_conf_t *cf);
void *ngx_http_opsauth_create_loc_conf(ngx_conf_t *cf);
char *ngx_http_opsauth_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
char *ngx_http_opsauth_guard(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_opsauth_environment(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_opsauth_realm(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_opsauth_credential(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

extern ngx_conf_enum_t  ngx_http_opsauth_formats[];


/* ngx_http_opsauth_values.c: as nginx's slots; what is wrong is said with the
   value and what helps. cmd->post is a range for _string() (of its length),
   _number(), _msec() and _sec(), and nginx's table for _enum(), _bitmask() */

char *ngx_http_opsauth_string(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_opsauth_number(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_opsauth_size(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_opsauth_msec(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_opsauth_sec(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_opsauth_enum(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_opsauth_bitmask(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);


/* src/oauth/ngx_http_opsauth_oauth_conf.c, _metadata.c */

ngx_http_opsauth_oauth_conf_t *ngx_http_opsauth_oauth_create_conf(
    ngx_conf_t *cf);
char *ngx_http_opsauth_oauth_merge_conf(ngx_conf_t *cf,
    ngx_http_opsauth_loc_conf_t *prev, ngx_http_opsauth_loc_conf_t *conf);
ngx_int_t ngx_http_opsauth_oauth_documents(ngx_conf_t *cf,
    ngx_http_opsauth_main_conf_t *omcf);
char *ngx_http_opsauth_oauth_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_opsauth_oauth_issuer(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_opsauth_oauth_resource(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_opsauth_oauth_subject(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_opsauth_oauth_resource_metadata(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);

/* seconds; the command's offset is that of ngx_http_opsauth_oauth_conf_t */
char *ngx_http_opsauth_oauth_time(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* ngx_http_opsauth_rules.c */

char *ngx_http_opsauth_require(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_opsauth_admin(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* oa_request_t's uri_match; data is the request */
oa_rc_t ngx_http_opsauth_uri_match(const void *uri, void *data);


/* ngx_http_opsauth_store.c */

extern ngx_http_opsauth_range_t  ngx_http_opsauth_prefix_range;
extern ngx_http_opsauth_range_t  ngx_http_opsauth_user_range;
extern ngx_http_opsauth_range_t  ngx_http_opsauth_timeout_range;
extern ngx_http_opsauth_range_t  ngx_http_opsauth_cached_range;
extern ngx_http_opsauth_range_t  ngx_http_opsauth_lease_range;

char *ngx_http_opsauth_store(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_opsauth_store_key_prefix(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_opsauth_store_stale(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_http_opsauth_store_t *ngx_http_opsauth_find_store(
    ngx_http_opsauth_main_conf_t *omcf, ngx_str_t *name);


/* ngx_http_opsauth_address.c */

char *ngx_http_opsauth_store_redis(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
/* what goes with sentinels only */
ngx_int_t ngx_http_opsauth_check_sentinel(ngx_conf_t *cf,
    ngx_http_opsauth_store_t *store);
/* after the whole configuration was read: the resolver, if there is one */
ngx_int_t ngx_http_opsauth_init_stores(ngx_conf_t *cf,
    ngx_http_opsauth_main_conf_t *omcf);


/* ngx_http_opsauth_secret.c */

char *ngx_http_opsauth_store_sentinel_password_file(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
char *ngx_http_opsauth_store_password_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_opsauth_store_pepper_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
/* that a file can be read, and, if it holds a secret, not by others; path is
   made absolute */
ngx_int_t ngx_http_opsauth_check_file(ngx_conf_t *cf, const char *directive,
    ngx_str_t *path, ngx_uint_t secret);


/* ngx_http_opsauth_tls.c */

extern ngx_conf_bitmask_t  ngx_http_opsauth_tls_protocols[];
extern ngx_http_opsauth_range_t  ngx_http_opsauth_tls_file_range;
extern ngx_http_opsauth_range_t  ngx_http_opsauth_tls_name_range;
extern ngx_http_opsauth_range_t  ngx_http_opsauth_tls_ciphers_range;
extern ngx_http_opsauth_range_t  ngx_http_opsauth_tls_depth_range;

void ngx_http_opsauth_tls_create(ngx_http_opsauth_tls_t *tls);
/* the block was read: loads certificates, fills store->redis.tls */
char *ngx_http_opsauth_tls_finish(ngx_conf_t *cf,
    ngx_http_opsauth_store_t *store);


/* a view of nginx's string for the core, and back */
#define ngx_http_opsauth_view(s)                                              \
    ((oa_str_t) { .len = (s)->len, .data = (s)->data })
#define ngx_http_opsauth_str(s)                                               \
    ((ngx_str_t) { .len = (s).len, .data = (u_char *) (s).data })


#endif /* NGX_HTTP_OPSAUTH_H */
