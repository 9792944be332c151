/*
 * See cli_file.h. Text stays in the memory of the run, which is wiped at its
 * end; nothing goes through stdio, whose buffers are not.
 */

#include "cli.h"
#include "cli_file.h"
#include "cli_memory.h"
#include "cli_text.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>


#define CLI_FILE_MAX  (16 * 1024 * 1024)


static int
file_check(int fd, const char *path, unsigned flags, const char *what,
    struct stat *st)
{
    if (fstat(fd, st) == -1) {
        return cli_fail(CLI_FAILED, "%s %s can't be read: %s", what,
                        cli_quotez(path), strerror(errno));
    }

    if (!S_ISREG(st->st_mode)) {
        return cli_fail(CLI_FAILED, "%s %s is no regular file", what,
                        cli_quotez(path));
    }

    if ((flags & CLI_FILE_SECRET) && (st->st_mode & CLI_FILE_MODE_BAD)) {
        return cli_fail(CLI_FAILED, "%s %s has mode %04o: others could read "
                        "it, and the gateway refuses it too; chmod 600 %s",
                        what, cli_quotez(path),
                        (unsigned) (st->st_mode & 07777), path);
    }

    if (st->st_size > CLI_FILE_MAX) {
        return cli_fail(CLI_FAILED, "%s %s is too large", what,
                        cli_quotez(path));
    }

    return CLI_OK;
}


int
cli_file_read(const char *path, unsigned flags, const char *what,
    const char *from, oa_str_t *text)
{
    int          fd, rc;
    char        *data;
    size_t       len;
    ssize_t      n;
    struct stat  st;

    /* a fifo must not hang the command before it is seen to be one */
    fd = open(path, O_RDONLY|O_CLOEXEC|O_NONBLOCK);

    if (fd == -1) {
        return cli_fail(CLI_FAILED, "%s %s (%s) can't be opened: %s", what,
                        cli_quotez(path), from, strerror(errno));
    }

    rc = file_check(fd, path, flags, what, &st);

    if (rc != CLI_OK) {
        close(fd);
        return rc;
    }

    data = cli_alloc((size_t) st.st_size + 1);
    len = 0;

    do {
        n = read(fd, data + len, (size_t) st.st_size - len);

        if (n > 0) {
            len += (size_t) n;
        }

    } while (n > 0 || (n == -1 && errno == EINTR));

    if (n == -1) {
        rc = cli_fail(CLI_FAILED, "%s %s can't be read: %s", what,
                      cli_quotez(path), strerror(errno));
    }

    close(fd);

    text->data = (const unsigned char *) data;
    text->len = len;

    return rc;
}


/* closes fd in any case */
static int
file_write(int fd, oa_str_t text)
{
    int      err;
    size_t   done;
    ssize_t  n;

    for (done = 0; done < text.len; done += (size_t) n) {
        n = write(fd, text.data + done, text.len - done);

        if (n == -1 && errno == EINTR) {
            n = 0;

        } else if (n == -1) {
            err = errno;
            close(fd);
            errno = err;
            return -1;
        }
    }

    if (fsync(fd) == -1) {
        err = errno;
        close(fd);
        errno = err;
        return -1;
    }

    return close(fd);
}


void
cli_file_sync_name(const char *path)
{
    int  fd;

    fd = open(dirname(cli_copy(path, strlen(path))),
              O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (fd != -1) {
        (void) fsync(fd);
        close(fd);
    }
}


int
cli_file_create(const char *path, oa_str_t text, const char *what)
{
    int  fd, err;

    fd = open(path, O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC, 0600);

    if (fd == -1 && errno == EEXIST) {
        return cli_fail(CLI_FAILED, "%s %s exists and is left as it is", what,
                        cli_quotez(path));
    }

    if (fd == -1) {
        return cli_fail(CLI_FAILED, "%s %s can't be created: %s", what,
                        cli_quotez(path), strerror(errno));
    }

    if (file_write(fd, text) == -1) {
        err = errno;
        (void) unlink(path);
        return cli_fail(CLI_FAILED, "%s %s can't be written: %s", what,
                        cli_quotez(path), strerror(err));
    }

    cli_file_sync_name(path);

    return CLI_OK;
}


int
cli_file_temp(const char *target, char **name)
{
    /* what mkstemp(3) asks for */
    *name = cli_format("%s.XXXXXX", target);

    return mkostemp(*name, O_CLOEXEC);
}


int
cli_file_replace(const char *path, oa_str_t text, const char *what)
{
    int          fd, err;
    char        *real, *target, *temp;
    struct stat  st;

    /* behind a symlink the file itself is replaced, not the link */
    real = realpath(path, NULL);

    if (real == NULL || stat(real, &st) == -1) {
        err = errno;
        free(real);
        return cli_fail(CLI_FAILED, "%s %s can't be found: %s", what,
                        cli_quotez(path), strerror(err));
    }

    target = cli_copy(real, strlen(real));
    free(real);

    fd = cli_file_temp(target, &temp);

    if (fd == -1) {
        return cli_fail(CLI_FAILED, "%s can't be created: %s",
                        cli_quotez(temp), strerror(errno));
    }

    err = 0;

    if ((st.st_uid != geteuid() || st.st_gid != getegid())
        && fchown(fd, st.st_uid, st.st_gid) == -1)
    {
        err = errno;
    }

    if (err == 0 && fchmod(fd, st.st_mode & 07777) == -1) {
        err = errno;
    }

    if (err != 0) {
        close(fd);

    } else if (file_write(fd, text) == -1 || rename(temp, target) == -1) {
        err = errno;
    }

    if (err != 0) {
        (void) unlink(temp);
        return cli_fail(CLI_FAILED, "%s %s can't be replaced, it is as it "
                        "was: %s", what, cli_quotez(path), strerror(err));
    }

    cli_file_sync_name(target);

    return CLI_OK;
}
