/*
 * opsauth doctor: what its checks share. Each check says what it found, by
 * cli_doctor_say(); what may not be looked at is said too, and is no failure.
 * A connection that is lost on the way is told of once; every question after
 * that has no answer (NULL), and its check is silent.
 */

#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H

#include <jansson.h>

#include "cli_store.h"


typedef enum {
    CLI_DOCTOR_OK = 0,
    CLI_DOCTOR_WARNING,
    CLI_DOCTOR_FAILURE,
    CLI_DOCTOR_SKIPPED
} cli_doctor_result_t;


typedef struct {
    cli_t              *cli;
    int64_t             timeout;
    cli_config_t        as_gateway;     /* whom the gateway logs in as */
    cli_config_t        as_operator;    /* whom this command logs in as */
    cli_redis_t         gateway;
    cli_redis_t         operator;       /* not open where it is the same user */
    unsigned            separate:1;     /* the operator is another user */
    unsigned            no_write:1;
    unsigned            colour:1;
    unsigned            lost:1;         /* said already */
    cli_redis_t        *writer;         /* who may write; NULL: nobody */
    const char         *info;           /* INFO, or NULL */
    unsigned            major;          /* of Redis' version; 0: not known */
    const char         *probe;          /* <prefix>credential:doctor-... */
    const char         *oauth;          /* where tokens are taken in, NULL:
                                           nowhere */
    unsigned            oauth_uses;     /* cli_doctor_oauth.c */
    int                 clustered;      /* it is a node that is looked at */
    size_t              counts[4];
    json_t             *checks;         /* with --json */
} cli_doctor_t;


/* one line of the report; remedy NULL: none is needed */
void cli_doctor_say(cli_doctor_t *d, cli_doctor_result_t result,
    const char *check, const char *remedy, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* words up to NULL */
cli_command_t *cli_doctor_command(const char *word, ...)
    __attribute__((sentinel));

/* the answer, an error too; NULL: the connection is lost, or not open */
redisReply *cli_doctor_ask(cli_doctor_t *d, cli_redis_t *redis,
    const cli_command_t *command);

/* another connection of this user, closed by cli_redis_close(); 0: said why */
int cli_doctor_connect(cli_doctor_t *d, const cli_config_t *config,
    cli_redis_t *redis);

/* both users, at d->as_gateway's Redis; 0: said why */
int cli_doctor_log_in(cli_doctor_t *d);

/* <prefix><rest> */
const char *cli_doctor_name(const cli_doctor_t *d, const char *rest);

/* the name of the user for "ACL SETUSER" */
const char *cli_doctor_user(const cli_config_t *config);

/* what is refused, as "ACL SETUSER" has it */
const char *cli_doctor_missing_right(const cli_doctor_t *d,
    const redisReply *reply, const char *command, const char *name, int reads);

int cli_doctor_is_error(const redisReply *reply, const char *code);
const char *cli_doctor_error(const redisReply *reply);      /* quoted */

/* a line of INFO, NULL where it is not there */
const char *cli_doctor_info(const cli_doctor_t *d, const char *field);
int cli_doctor_info_number(const cli_doctor_t *d, const char *field,
    int64_t *n);

/* the checks, in their order */
void cli_doctor_store(cli_doctor_t *d);         /* cli_doctor_files.c */
void cli_doctor_pepper(cli_doctor_t *d);
void cli_doctor_password(cli_doctor_t *d);
void cli_doctor_oauth_find(cli_doctor_t *d);        /* cli_doctor_oauth.c */
void cli_doctor_oauth(cli_doctor_t *d);
void cli_doctor_extras(cli_doctor_t *d);        /* cli_doctor_extras.c */
void cli_doctor_gateway_rights(cli_doctor_t *d);    /* cli_doctor_rights.c */
void cli_doctor_operator_rights(cli_doctor_t *d);
void cli_doctor_protection(cli_doctor_t *d);
void cli_doctor_tls(cli_doctor_t *d);           /* cli_doctor_tls.c */
int cli_doctor_is_cluster(const cli_doctor_t *d);   /* cli_doctor_cluster.c */
void cli_doctor_cluster(cli_doctor_t *d);
void cli_doctor_names(cli_doctor_t *d);         /* cli_doctor_sentinel.c */
void cli_doctor_sentinels(cli_doctor_t *d);
int cli_doctor_is_address(const char *host);
void cli_doctor_server(cli_doctor_t *d);        /* cli_doctor_server.c */
void cli_doctor_settings(cli_doctor_t *d);      /* cli_doctor_settings.c */
void cli_doctor_tracking(cli_doctor_t *d);      /* cli_doctor_feed.c */
void cli_doctor_channel(cli_doctor_t *d);
void cli_doctor_mark(cli_doctor_t *d);          /* cli_doctor_records.c */
void cli_doctor_records(cli_doctor_t *d);


#endif /* CLI_DOCTOR_H */
