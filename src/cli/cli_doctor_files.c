/*
 * opsauth doctor: where the store is, and the files of secrets, by the
 * gateway's own rules for them (ngx_http_opsauth_secret.c).
 */

#include "cli_doctor.h"
#include "cli_file.h"
#include "cli_memory.h"
#include "cli_text.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>


#define SECRET_MAX  4096                /* bytes; the gateway's bound */


void
cli_doctor_store(cli_doctor_t *d)
{
    size_t         i;
    const char    *prefixes;
    cli_config_t  *config;

    config = &d->cli->config;
    cli_doctor_say(d, CLI_DOCTOR_OK, "store", NULL,
                   "%s (%s), names begin with %s",
                   cli_text_safe(cli_str(config->redis.value)),
                   config->redis.from, cli_quotez(config->prefix.value));

    prefixes = "";

    for (i = 0; i < config->n; i++) {
        prefixes = cli_format("%s%s%s %s", prefixes, (i == 0) ? "" : ", ",
                              oa_environment_name(
                                  config->key_prefixes[i].environment),
                              cli_text_safe(config->key_prefixes[i].prefix));
    }

    if (config->n == 0) {
        cli_doctor_say(d, CLI_DOCTOR_WARNING, "key prefixes",
                       "write key_prefix TEXT environment=live "
                       "checksum=crc32; into opsauth_store, or give "
                       "--key-prefix live=TEXT",
                       "none is set: no key can be made, and the gateway "
                       "takes every credential for an access token");
        return;
    }

    cli_doctor_say(d, CLI_DOCTOR_OK, "key prefixes", NULL, "%s", prefixes);
}


static const char *
owner_name(const struct stat *st)
{
    struct passwd  *pw;

    pw = getpwuid(st->st_uid);

    return (pw != NULL) ? pw->pw_name
                        : cli_format("uid %u", (unsigned) st->st_uid);
}


/* who may replace the file without being able to write it */
static int
directory_check(cli_doctor_t *d, const char *check, const char *path)
{
    char         *dir;
    struct stat   st;

    dir = dirname(cli_copy(path, strlen(path)));

    if (stat(dir, &st) == -1
        || !(st.st_mode & S_IWOTH) || (st.st_mode & S_ISVTX))
    {
        return 1;
    }

    cli_doctor_say(d, CLI_DOCTOR_FAILURE, check,
                   cli_format("chmod o-w %s", dir),
                   "anybody may replace %s, since its directory has mode "
                   "%04o", cli_quotez(path), (unsigned) (st.st_mode & 07777));

    return 0;
}


/* 1: read, and as the gateway wants it; else it is said */
static int
secret_read(cli_doctor_t *d, const char *check, const char *what,
    const cli_setting_t *file, oa_str_t *text, struct stat *st)
{
    int          rc;
    const char  *said;

    if (stat(file->value, st) == 0 && S_ISREG(st->st_mode)
        && (st->st_size == 0 || st->st_size > SECRET_MAX))
    {
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, check, NULL,
                       "%s %s (%s) has %lld bytes; the gateway takes 1 to %d",
                       what, cli_quotez(file->value), file->from,
                       (long long) st->st_size, SECRET_MAX);
        return 0;
    }

    /* that of others may be right, and we not they */

    if (access(file->value, R_OK) == -1 && errno == EACCES) {
        cli_doctor_say(d, CLI_DOCTOR_SKIPPED, check,
                       "run the doctor as root, or as the user that nginx is "
                       "started by",
                       "not looked at: no permission to read %s %s (%s)", what,
                       cli_quotez(file->value), file->from);
        return 0;
    }

    cli_capture(&said);
    rc = cli_file_read(file->value, CLI_FILE_SECRET, what, file->from, text);
    cli_capture(NULL);

    if (rc != CLI_OK) {
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, check, NULL, "%s", said);
        return 0;
    }

    return directory_check(d, check, file->value);
}


void
cli_doctor_pepper(cli_doctor_t *d)
{
    size_t          n;
    oa_str_t        text, peppers[OA_PEPPERS_MAX];
    const char     *error;
    struct stat     st;
    cli_setting_t  *file;

    file = &d->cli->config.pepper_file;

    if (file->value == NULL) {
        /* without the block, the gateway may have one that we don't know */
        cli_doctor_say(d, d->cli->config.block ? CLI_DOCTOR_FAILURE
                                               : CLI_DOCTOR_WARNING,
                       "pepper",
                       "\"opsauth pepper generate FILE\" makes one; write "
                       "pepper_file FILE; into opsauth_store, or give "
                       "--pepper-file FILE",
                       "none is set: no key can be made, and the gateway does "
                       "not start without");
        return;
    }

    if (!secret_read(d, "pepper", "the pepper file", file, &text, &st)) {
        return;
    }

    if (oa_pepper_parse(text, peppers, &n, &error) != OA_OK) {
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, "pepper",
                       "\"opsauth pepper generate FILE\" makes one",
                       "the pepper file %s (%s) is not valid: %s",
                       cli_quotez(file->value), file->from, error);

    } else {
        cli_doctor_say(d, CLI_DOCTOR_OK, "pepper", NULL,
                       "%s holds %zu, mode %04o of %s",
                       cli_quotez(file->value), n,
                       (unsigned) (st.st_mode & 07777), owner_name(&st));
    }

    OPENSSL_cleanse((void *) text.data, text.len);
}


static void
password_check(cli_doctor_t *d, const char *check, const cli_config_t *config)
{
    oa_str_t     text;
    struct stat  st;

    if (config->password_file.value == NULL
        || !secret_read(d, check, "the Redis password file",
                        &config->password_file, &text, &st))
    {
        return;
    }

    while (text.len != 0 && (text.data[text.len - 1] == '\n'
                             || text.data[text.len - 1] == '\r'))
    {
        text.len--;
    }

    if (text.len == 0) {
        cli_doctor_say(d, CLI_DOCTOR_FAILURE, check, NULL,
                       "the Redis password file %s (%s) holds no password",
                       cli_quotez(config->password_file.value),
                       config->password_file.from);

    } else if (memchr(text.data, '\n', text.len) != NULL) {
        cli_doctor_say(d, CLI_DOCTOR_WARNING, check,
                       "leave one line in it",
                       "%s has several lines, and all of them together are "
                       "taken for the password",
                       cli_quotez(config->password_file.value));

    } else {
        cli_doctor_say(d, CLI_DOCTOR_OK, check, NULL,
                       "%s, mode %04o of %s",
                       cli_quotez(config->password_file.value),
                       (unsigned) (st.st_mode & 07777), owner_name(&st));
    }
}


void
cli_doctor_password(cli_doctor_t *d)
{
    password_check(d, "password", &d->as_gateway);

    if (d->separate) {
        password_check(d, "op. password", &d->as_operator);
    }
}
