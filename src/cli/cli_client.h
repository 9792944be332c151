/*
 * OAuth clients: the record client:<client_id> as the options ask for it, and
 * its changes. cli_client.c has the verbs that read, cli_client_write.c those
 * that write, cli_client_secret.c what is shown once, cli_client_delete.c the
 * end of one.
 */

#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include <jansson.h>

#include "cli_credential.h"
#include "cli_store.h"

#include "oa_client.h"
#include "oa_key.h"
#include "oa_wrap.h"


/* places in oa_client_fields[] */
enum {
    CLI_CLIENT_ACCOUNT = 0,
    CLI_CLIENT_NAME,
    CLI_CLIENT_SECRET,
    CLI_CLIENT_WRAPPED,
    CLI_CLIENT_JWK,
    CLI_CLIENT_REDIRECTS,
    CLI_CLIENT_GRANTS,
    CLI_CLIENT_SCOPES,
    CLI_CLIENT_METHODS,
    CLI_CLIENT_ENVIRONMENT,
    CLI_CLIENT_ENABLED,
    CLI_CLIENT_INTROSPECT
};


typedef struct {
    oa_str_t         id;
    oa_str_t         given[OA_CLIENT_FIELDS];   /* data NULL: as it is */
    oa_str_t         values[OA_CLIENT_FIELDS];  /* as they will be */
    cli_record_t     record;        /* as it was; reply NULL: it is new */
    const char      *action;        /* for the audit: "client.set" */
    unsigned         mint:1;        /* it has a new secret */
    unsigned         signed_login:1;    /* client_secret_jwt besides the rest */
    unsigned         changed:1;
    unsigned char    secret[OA_KEY_BODY_LEN];
} cli_client_t;


/* what create and set share, and rotate; they end no list */
#define CLI_CLIENT_METHOD_OPTIONS                                             \
    { "auth-method", 0, CLI_MANY, "METHOD",                                   \
      "how it logs in: client_secret_basic,\nclient_secret_post, "            \
      "client_secret_jwt, private_key_jwt,\nnone (a public client); may be "  \
      "repeated" }

#define CLI_CLIENT_OPTIONS                                                    \
    { "name", 0, 0, "TEXT", "what people call it; users see it" },            \
    { "redirect-uri", 0, CLI_MANY, "URI",                                     \
      "where users are sent back to; may be repeated" },                      \
    { "grant", 0, CLI_MANY, "GRANT",                                          \
      "authorization_code, refresh_token,\nclient_credentials; may be "       \
      "repeated" },                                                           \
    { "permission", 0, 0, "WORD",                                             \
      "read (read:*), write (read:* write:*) or admin" },                     \
    { "scope", 0, CLI_MANY, "SCOPE",                                          \
      "action:resource, such as read:tenants, that its\ntokens may have; may "\
      "be repeated" },                                                        \
    CLI_CLIENT_METHOD_OPTIONS,                                                \
    { "jwk", 0, 0, "FILE",                                                    \
      "its public key, a JWK, for private_key_jwt" },                         \
    { "environment", 0, 0, "ENV",                                             \
      "of its tokens: live or test (default live)" },                         \
    { "introspect", 0, 0, NULL,                                               \
      "it may ask about tokens (RFC 7662)" }

#define CLI_CLIENT_SIGNED_LOGIN                                               \
    { "signed-login", 0, 0, NULL,                                             \
      "by client_secret_jwt, so that the secret never\ntravels; the store "   \
      "then has it wrapped" }

extern const cli_option_t  cli_client_create_options[];
extern const cli_option_t  cli_client_set_options[];
extern const cli_option_t  cli_client_rotate_options[];
extern const cli_option_t  cli_client_disable_options[];
extern const cli_option_t  cli_client_delete_options[];


/* by its id; CLI_NOT_FOUND is said */
int cli_client_find(cli_t *cli, const char *id, cli_client_t *client);

/* as above, without looking whether the store is open */
int cli_client_read(cli_t *cli, cli_client_t *client);

json_t *cli_client_json(const cli_record_t *record, oa_str_t id);

/* cli_client_fields.c: the options into client->given */
int cli_client_given(cli_t *cli, cli_client_t *client);

/* scopes of --permission and --scope, where there are any */
int cli_client_scopes(cli_t *cli, cli_client_t *client);

/* client->record and client->given into client->values; its ways to log in */
unsigned cli_client_merge(cli_client_t *client);

/*
 * The same; what no way to log in needs any more is dropped, and CLI_USAGE says
 * what is missing for one.
 */
int cli_client_settle(cli_client_t *client);

/* cli_client_write.c */
int cli_client_create(cli_t *cli);
int cli_client_set(cli_t *cli);
int cli_client_enable(cli_t *cli);
int cli_client_disable(cli_t *cli);

/* CLI_OK, with client->changed; watched, tried again and audited */
int cli_client_write(cli_t *cli, cli_client_t *client);

/* cli_client_secret.c */
int cli_client_rotate(cli_t *cli);

/* a new one in client->given, where a way to log in asks for it; then
   client->mint, and the caller wipes client->secret */
int cli_client_mint(cli_t *cli, cli_client_t *client);

/* the record, and the secret, this once; and what is said about it */
int cli_client_secret_print(cli_t *cli, cli_client_t *client);
void cli_client_secret_explain(const cli_client_t *client);

/* a field that is not for the audit */
int cli_client_is_secret(size_t place);

/* cli_client_delete.c */
int cli_client_delete(cli_t *cli);

/* the record and its place among the account's, nothing else */
int cli_client_remove(cli_t *cli, cli_client_t *client);


#endif /* CLI_CLIENT_H */
