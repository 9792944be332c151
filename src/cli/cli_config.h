/*
 * Where the store is: options before the environment before the opsauth_store
 * block of nginx.conf. Each setting remembers where it came from, so that a
 * message can say what to change.
 */

#ifndef CLI_CONFIG_H
#define CLI_CONFIG_H

#include "oa_key.h"


typedef struct {
    const char         *value;          /* NULL: not set */
    const char         *from;           /* "--redis", "nginx.conf:12" */
} cli_setting_t;


typedef struct {
    cli_setting_t       redis;
    cli_setting_t       user;
    cli_setting_t       password_file;
    cli_setting_t       sentinel_user;  /* these for sentinels only */
    cli_setting_t       sentinel_password_file;
    cli_setting_t       ssl_trusted;    /* these for rediss:// only */
    cli_setting_t       ssl_certificate;
    cli_setting_t       ssl_key;
    cli_setting_t       ssl_password_file;
    cli_setting_t       ssl_name;
    cli_setting_t       ssl_verify;
    cli_setting_t       ssl_depth;
    cli_setting_t       ssl_protocols;  /* words */
    cli_setting_t       ssl_ciphers;
    cli_setting_t       pepper_file;
    cli_setting_t       prefix;
    cli_setting_t       lease;          /* as nginx writes times */
    cli_setting_t       usage;          /* "on", "off"; the block's alone, */
    cli_setting_t       rate_sync;      /* as this is */
    oa_key_prefix_t     key_prefixes[OA_KEY_PREFIXES_MAX];
    size_t              n;
    cli_setting_t       block_user;     /* as the block has it, whatever */
    cli_setting_t       block_password_file;    /* options say besides */
    const char         *name;           /* of the block */
    unsigned            block:1;        /* there is one */
    unsigned            resolver:1;     /* and "resolver" in its http */
    const char         *store;          /* the block to read, if it is known */
    unsigned            read:1;
} cli_config_t;


struct cli_s;

/* nginx.conf, by option or environment; value NULL where none is given */
cli_setting_t cli_config_file(const struct cli_s *cli);

/* fills cli->config; does nothing the second time */
int cli_config_read(struct cli_s *cli);

/* the prefix for new keys of this environment; CLI_FAILED where none is set */
int cli_config_key_prefix(struct cli_s *cli, const char *environment,
    oa_key_prefix_t *prefix);


#endif /* CLI_CONFIG_H */
