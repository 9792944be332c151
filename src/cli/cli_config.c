/*
 * See cli_config.h. The block is read leniently where the gateway is the judge
 * (its other directives), and strictly in what is used here.
 */

#include "cli.h"
#include "cli_conf.h"
#include "cli_memory.h"
#include "cli_text.h"

#include "oa_record.h"

#include <stdlib.h>
#include <string.h>


#define CLI_STORES_MAX  32


typedef struct {
    const char          *name;
    const char          *file;
    unsigned             line;
    cli_config_t         config;
} block_t;


typedef struct {
    const char          *conf;
    block_t             *stores;
    size_t               n;
    block_t             *open;          /* the block we are in, or NULL */
    unsigned             depth;         /* of other blocks */
    unsigned             http:1;        /* the outermost of them */
    unsigned             resolver:1;
} blocks_t;


/* one setting: its directive, and its option and variable, if it has them */
typedef struct {
    const char          *directive;
    const char          *option;
    const char          *variable;
    size_t               offset;
    unsigned             file:1;
    unsigned             many:1;        /* words, kept with blanks between */
} place_t;


static const place_t  places[] = {
    { "redis", "redis", "OPSAUTH_REDIS",
      offsetof(cli_config_t, redis), 0, 0 },
    { "redis_user", "redis-user", "OPSAUTH_REDIS_USER",
      offsetof(cli_config_t, user), 0, 0 },
    { "redis_password_file", "redis-password-file",
      "OPSAUTH_REDIS_PASSWORD_FILE",
      offsetof(cli_config_t, password_file), 1, 0 },
    { "redis_sentinel_user", "sentinel-user", "OPSAUTH_SENTINEL_USER",
      offsetof(cli_config_t, sentinel_user), 0, 0 },
    { "redis_sentinel_password_file", "sentinel-password-file",
      "OPSAUTH_SENTINEL_PASSWORD_FILE",
      offsetof(cli_config_t, sentinel_password_file), 1, 0 },
    { "redis_ssl_trusted_certificate", "cacert", "OPSAUTH_REDIS_CACERT",
      offsetof(cli_config_t, ssl_trusted), 1, 0 },
    { "redis_ssl_certificate", "cert", "OPSAUTH_REDIS_CERT",
      offsetof(cli_config_t, ssl_certificate), 1, 0 },
    { "redis_ssl_certificate_key", "key", "OPSAUTH_REDIS_KEY",
      offsetof(cli_config_t, ssl_key), 1, 0 },
    { "redis_ssl_password_file", NULL, NULL,
      offsetof(cli_config_t, ssl_password_file), 1, 0 },
    { "redis_ssl_name", "sni", "OPSAUTH_REDIS_SNI",
      offsetof(cli_config_t, ssl_name), 0, 0 },
    { "redis_ssl_verify", NULL, NULL,
      offsetof(cli_config_t, ssl_verify), 0, 0 },
    { "redis_ssl_verify_depth", NULL, NULL,
      offsetof(cli_config_t, ssl_depth), 0, 0 },
    { "redis_ssl_protocols", NULL, NULL,
      offsetof(cli_config_t, ssl_protocols), 0, 1 },
    { "redis_ssl_ciphers", NULL, NULL,
      offsetof(cli_config_t, ssl_ciphers), 0, 0 },
    { "pepper_file", "pepper-file", "OPSAUTH_PEPPER_FILE",
      offsetof(cli_config_t, pepper_file), 1, 0 },
    { "prefix", "prefix", "OPSAUTH_PREFIX",
      offsetof(cli_config_t, prefix), 0, 0 },
    { "lease", "lease", "OPSAUTH_LEASE",
      offsetof(cli_config_t, lease), 0, 0 },
    { "usage", NULL, NULL, offsetof(cli_config_t, usage), 0, 0 },
    { "rate_sync", NULL, NULL, offsetof(cli_config_t, rate_sync), 0, 0 }
};

#define PLACES  (sizeof(places) / sizeof(places[0]))


static cli_setting_t *
setting(cli_config_t *config, const place_t *place)
{
    return (cli_setting_t *) ((char *) config + place->offset);
}


static int
key_prefix_add(cli_config_t *config, const oa_key_prefix_t *prefix,
    const char *from)
{
    if (oa_key_prefix_valid(prefix->prefix) != OA_OK) {
        return cli_fail(CLI_USAGE, "the key prefix %s (%s) is not valid, "
                        "expected 1 to %d of A-Z a-z 0-9 _ - .",
                        cli_quote(prefix->prefix), from, OA_KEY_PREFIX_MAX);
    }

    if (config->n == OA_KEY_PREFIXES_MAX) {
        return cli_fail(CLI_USAGE, "there are more than %d key prefixes (%s)",
                        OA_KEY_PREFIXES_MAX, from);
    }

    config->key_prefixes[config->n++] = *prefix;

    return CLI_OK;
}


/* key_prefix op365_sk_live_ environment=live checksum=crc32; */
static int
block_key_prefix(cli_config_t *config, const cli_conf_item_t *item,
    const char *from)
{
    size_t           i;
    const char      *error;
    oa_key_prefix_t  prefix;

    memset(&prefix, 0, sizeof(prefix));
    prefix.prefix = cli_str(item->words[1]);
    prefix.environment = OA_ENV_LIVE;           /* the directive's default */

    for (i = 2; i < item->n; i++) {
        if (oa_key_prefix_param(&prefix, cli_str(item->words[i]), &error)
            != OA_OK)
        {
            return cli_fail(CLI_FAILED, "%s is no parameter of key_prefix "
                            "(%s): %s", cli_quotez(item->words[i]), from,
                            error);
        }
    }

    return key_prefix_add(config, &prefix, from);
}


static int
block_directive(blocks_t *blocks, const cli_conf_item_t *item)
{
    size_t          i, n;
    const char     *from, *value;
    cli_config_t   *config;
    cli_setting_t  *s;

    from = cli_format("%s:%u", item->file, item->line);
    config = &blocks->open->config;

    if (strcmp(item->words[0], "key_prefix") == 0 && item->n > 1) {
        return block_key_prefix(config, item, from);
    }

    for (i = 0; i < PLACES; i++) {
        if (strcmp(item->words[0], places[i].directive) != 0) {
            continue;
        }

        s = setting(config, &places[i]);

        if ((item->n != 2 && !(places[i].many && item->n > 2))
            || s->value != NULL)
        {
            return cli_fail(CLI_FAILED, "%s in %s: expected one, with one "
                            "value", item->words[0], from);
        }

        value = item->words[1];

        for (n = 2; n < item->n; n++) {
            value = cli_format("%s %s", value, item->words[n]);
        }

        s->value = places[i].file ? cli_conf_path(blocks->conf, value) : value;
        s->from = from;

        return CLI_OK;
    }

    return CLI_OK;
}


/* outside of opsauth_store; the file may also be one that http includes */
static void
block_other(blocks_t *blocks, const cli_conf_item_t *item)
{
    switch (item->what) {

    case CLI_CONF_OPEN:
        if (blocks->depth++ == 0) {
            blocks->http = (strcmp(item->words[0], "http") == 0);
        }

        break;

    case CLI_CONF_CLOSE:
        blocks->depth -= (blocks->depth != 0);
        break;

    default:
        if (strcmp(item->words[0], "resolver") == 0
            && (blocks->depth == 0 || (blocks->depth == 1 && blocks->http)))
        {
            blocks->resolver = (item->n > 1
                                && strcmp(item->words[1], "off") != 0);
        }
    }
}


static int
block_item(void *data, const cli_conf_item_t *item)
{
    block_t   *store;
    blocks_t  *blocks;

    blocks = data;

    if (blocks->open != NULL) {
        switch (item->what) {
        case CLI_CONF_DIRECTIVE:
            return block_directive(blocks, item);
        case CLI_CONF_CLOSE:
            blocks->open = NULL;
            return CLI_OK;
        default:
            return cli_fail(CLI_FAILED, "unexpected block inside of "
                            "opsauth_store in %s:%u", item->file, item->line);
        }
    }

    if (item->what != CLI_CONF_OPEN
        || strcmp(item->words[0], "opsauth_store") != 0)
    {
        block_other(blocks, item);
        return CLI_OK;
    }

    if (item->n != 2 || blocks->n == CLI_STORES_MAX) {
        return cli_fail(CLI_FAILED, "expected opsauth_store NAME { in %s:%u",
                        item->file, item->line);
    }

    store = &blocks->stores[blocks->n++];
    store->name = item->words[1];
    store->file = item->file;
    store->line = item->line;
    blocks->open = store;

    return CLI_OK;
}


static int
block_choose(const blocks_t *blocks, const char *name, const block_t **store)
{
    size_t       i;
    const char  *names;

    names = "";

    for (i = 0; i < blocks->n; i++) {
        if (name != NULL && strcmp(blocks->stores[i].name, name) == 0) {
            *store = &blocks->stores[i];
            return CLI_OK;
        }

        names = cli_format("%s%s%s", names, (i == 0) ? "" : ", ",
                           cli_text_safe(cli_str(blocks->stores[i].name)));
    }

    if (blocks->n == 0) {
        return cli_fail(CLI_FAILED, "there is no opsauth_store block in %s "
                        "and what it includes", cli_quotez(blocks->conf));
    }

    if (name != NULL) {
        return cli_fail(CLI_USAGE, "there is no opsauth_store %s in %s, only "
                        "%s", cli_quotez(name), cli_quotez(blocks->conf),
                        names);
    }

    if (blocks->n > 1) {
        return cli_fail(CLI_USAGE, "%s has several stores; say which one: "
                        "--store NAME, of %s", cli_quotez(blocks->conf),
                        names);
    }

    *store = &blocks->stores[0];

    return CLI_OK;
}


/* an option, or else its variable; an empty variable is none */
static cli_setting_t
given(const cli_t *cli, const char *option, const char *variable)
{
    cli_setting_t  s;

    s.value = cli_option(&cli->options, option);
    s.from = cli_format("--%s", option);

    if (s.value == NULL) {
        s.value = getenv(variable);
        s.from = variable;

        if (s.value != NULL && s.value[0] == '\0') {
            s.value = NULL;
        }
    }

    return s;
}


cli_setting_t
cli_config_file(const cli_t *cli)
{
    return given(cli, "config", "OPSAUTH_CONFIG");
}


static int
config_file(cli_t *cli)
{
    int             rc;
    blocks_t        blocks;
    cli_setting_t   conf, name;
    const block_t  *store;

    conf = cli_config_file(cli);
    name = given(cli, "store", "OPSAUTH_STORE");

    if (cli->config.store != NULL) {
        name.value = cli->config.store;
    }

    if (conf.value == NULL) {
        /* left over in the environment, it may mean another call */
        if (cli_option(&cli->options, "store") != NULL) {
            return cli_fail(CLI_USAGE, "--store needs --config nginx.conf");
        }

        return CLI_OK;
    }

    memset(&blocks, 0, sizeof(blocks));
    blocks.conf = conf.value;
    store = NULL;
    blocks.stores = cli_alloc(CLI_STORES_MAX * sizeof(block_t));

    rc = cli_conf_parse(conf.value, conf.from, block_item, &blocks);

    if (rc == CLI_OK) {
        rc = block_choose(&blocks, name.value, &store);
    }

    if (rc == CLI_OK) {
        cli->config = store->config;
        cli->config.block = 1;
        cli->config.resolver = blocks.resolver;
        cli->config.name = store->name;
        cli->config.block_user = store->config.user;
        cli->config.block_password_file = store->config.password_file;
    }

    return rc;
}


/*
 * live=op365_sk_live_: with a checksum, as every key that is minted here;
 * live=old_:checksum=off for keys that were minted elsewhere
 */
static int
key_prefix_option(cli_config_t *config, const char *text, const char *from)
{
    const char      *value, *param, *error;
    oa_key_prefix_t  prefix;

    memset(&prefix, 0, sizeof(prefix));
    prefix.checksum = 1;
    value = strchr(text, '=');

    if (value == NULL
        || oa_key_prefix_param(&prefix,
               cli_str(cli_format("environment=%.*s", (int) (value - text),
                                  text)), &error) != OA_OK)
    {
        return cli_fail(CLI_USAGE, "%s %s: expected live=PREFIX or "
                        "test=PREFIX", from, cli_quotez(text));
    }

    prefix.prefix = cli_str(value + 1);
    param = strchr(value, ':');

    if (param != NULL) {
        prefix.prefix.len = (size_t) (param - value) - 1;

        if (oa_key_prefix_param(&prefix, cli_str(param + 1), &error)
            != OA_OK)
        {
            return cli_fail(CLI_USAGE, "%s %s: %s", from, cli_quotez(text),
                            error);
        }
    }

    return key_prefix_add(config, &prefix, from);
}


static int
config_key_prefixes(cli_t *cli)
{
    int           rc;
    char         *list, *word, *rest;
    size_t        i, n;
    const char   *variable, *from, **values;

    from = "--key-prefix";
    values = cli_option_values(&cli->options, "key-prefix", &n);

    if (n == 0) {
        variable = getenv("OPSAUTH_KEY_PREFIX");

        if (variable == NULL) {
            return CLI_OK;
        }

        from = "OPSAUTH_KEY_PREFIX";
        list = cli_copy(variable, strlen(variable));
        values = cli_alloc((strlen(list) + 1) * sizeof(char *));

        for (word = strtok_r(list, ", ", &rest); word != NULL;
             word = strtok_r(NULL, ", ", &rest))
        {
            values[n++] = word;
        }
    }

    if (n != 0) {
        cli->config.n = 0;
    }

    for (i = 0; i < n; i++) {
        rc = key_prefix_option(&cli->config, values[i], from);

        if (rc != CLI_OK) {
            return rc;
        }
    }

    return CLI_OK;
}


/* an option that would have no effect is a mistake; a variable may be meant
   for another call */
static int
config_tls(cli_t *cli)
{
    size_t  i;

    static const char *const  options[] = {
        "cacert", "cert", "key", "sni", "insecure"
    };

    if (cli_option(&cli->options, "insecure") != NULL) {
        cli->config.ssl_verify.value = "off";
        cli->config.ssl_verify.from = "--insecure";
    }

    if (strncmp(cli->config.redis.value, "rediss:", 7) == 0
        || strncmp(cli->config.redis.value, "rediss+", 7) == 0)
    {
        return CLI_OK;
    }

    for (i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        if (cli_option(&cli->options, options[i]) != NULL) {
            return cli_fail(CLI_USAGE, "--%s is for TLS, and the address %s "
                            "(%s) is not: give rediss://, or leave it out",
                            options[i], cli_quotez(cli->config.redis.value),
                            cli->config.redis.from);
        }
    }

    return CLI_OK;
}


/* the same of sentinels */
static int
config_sentinels(cli_t *cli)
{
    size_t  i;

    static const char *const  options[] = {
        "sentinel-user", "sentinel-password-file"
    };

    for (i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        if (cli_option(&cli->options, options[i]) != NULL
            && strstr(cli->config.redis.value, "+sentinel:") == NULL)
        {
            return cli_fail(CLI_USAGE, "--%s is for sentinels, and the address "
                            "%s (%s) names none: give redis+sentinel://, or "
                            "leave it out", options[i],
                            cli_quotez(cli->config.redis.value),
                            cli->config.redis.from);
        }
    }

    if (cli->config.sentinel_user.value != NULL
        && cli->config.sentinel_password_file.value == NULL)
    {
        return cli_fail(CLI_USAGE, "the user of the sentinels %s (%s) needs "
                        "--sentinel-password-file FILE",
                        cli_quotez(cli->config.sentinel_user.value),
                        cli->config.sentinel_user.from);
    }

    return CLI_OK;
}


int
cli_config_read(cli_t *cli)
{
    int            rc;
    size_t         i;
    cli_setting_t  s;

    if (cli->config.read) {
        return CLI_OK;
    }

    rc = config_file(cli);

    if (rc != CLI_OK) {
        return rc;
    }

    for (i = 0; i < PLACES; i++) {
        if (places[i].option == NULL) {
            continue;
        }

        s = given(cli, places[i].option, places[i].variable);

        if (s.value == NULL) {
            continue;
        }

        if (s.value[0] == '\0') {
            return cli_fail(CLI_USAGE, "%s is empty", s.from);
        }

        *setting(&cli->config, &places[i]) = s;
    }

    rc = config_key_prefixes(cli);

    if (rc != CLI_OK) {
        return rc;
    }

    if (cli->config.redis.value == NULL) {
        return cli_fail(CLI_USAGE, "where is the store? Give "
                        "--config nginx.conf or --redis URL (or OPSAUTH_CONFIG "
                        "or OPSAUTH_REDIS in the environment)");
    }

    rc = config_tls(cli);

    if (rc == CLI_OK) {
        rc = config_sentinels(cli);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    if (cli->config.prefix.value == NULL) {
        cli->config.prefix.value = "opsauth:";
        cli->config.prefix.from = "default";
    }

    cli->config.read = 1;

    return CLI_OK;
}


int
cli_config_key_prefix(cli_t *cli, const char *environment,
    oa_key_prefix_t *prefix)
{
    size_t         i;
    cli_config_t  *config;

    config = &cli->config;

    for (i = 0; i < config->n; i++) {
        if (strcmp(oa_environment_name(config->key_prefixes[i].environment),
                   environment) == 0)
        {
            *prefix = config->key_prefixes[i];
            return CLI_OK;
        }
    }

    return cli_fail(CLI_FAILED, "what do new %s keys begin with? Give "
                    "--key-prefix %s=TEXT, or write key_prefix TEXT "
                    "environment=%s checksum=crc32; into opsauth_store",
                    environment, environment, environment);
}
