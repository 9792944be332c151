/*
 * See cli_stream.h.
 */

#include "cli.h"
#include "cli_file.h"
#include "cli_memory.h"
#include "cli_output.h"
#include "cli_stream.h"
#include "cli_text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>


static int
stream_failed(const cli_stream_t *stream, const char *what)
{
    return cli_fail(CLI_FAILED, "%s can't be %s: %s",
                    cli_quotez(stream->path), what, strerror(errno));
}


int
cli_stream_open(cli_stream_t *stream, const char *path)
{
    int          fd;
    char        *real;
    struct stat  st;

    memset(stream, 0, sizeof(*stream));
    stream->path = path;

    if (path == NULL) {
        stream->out = stdout;
        return CLI_OK;
    }

    stream->target = path;
    real = realpath(path, NULL);

    if (real != NULL) {
        stream->target = cli_copy(real, strlen(real));
        free(real);
    }

    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        /* a device or a pipe is written to, never replaced */
        fd = open(path, O_WRONLY|O_CLOEXEC);

    } else {
        fd = cli_file_temp(stream->target, &stream->temp);
    }

    if (fd == -1) {
        stream->temp = NULL;
        return stream_failed(stream, "written");
    }

    stream->out = fdopen(fd, "w");

    if (stream->out == NULL) {
        close(fd);
        cli_stream_abandon(stream);
        return stream_failed(stream, "written");
    }

    return CLI_OK;
}


int
cli_stream_flush(cli_stream_t *stream)
{
    if (stream->path == NULL) {
        return cli_output_flush();
    }

    errno = 0;

    if (fflush(stream->out) != 0 || ferror(stream->out)) {
        errno = errno ? errno : EIO;
        return stream_failed(stream, "written");
    }

    return CLI_OK;
}


int
cli_stream_finish(cli_stream_t *stream)
{
    int  rc;

    rc = cli_stream_flush(stream);

    if (rc != CLI_OK || stream->path == NULL) {
        cli_stream_abandon(stream);
        return rc;
    }

    if (stream->temp == NULL) {
        rc = fclose(stream->out);
        stream->out = NULL;
        return (rc == 0) ? CLI_OK : stream_failed(stream, "written");
    }

    if (fsync(fileno(stream->out)) == -1
        || rename(stream->temp, stream->target) == -1)
    {
        rc = stream_failed(stream, "written");
        cli_stream_abandon(stream);
        return rc;
    }

    stream->temp = NULL;
    cli_stream_abandon(stream);
    cli_file_sync_name(stream->target);

    return CLI_OK;
}


void
cli_stream_abandon(cli_stream_t *stream)
{
    if (stream->temp != NULL) {
        (void) unlink(stream->temp);
        stream->temp = NULL;
    }

    if (stream->path != NULL && stream->out != NULL) {
        (void) fclose(stream->out);
        stream->out = NULL;
    }
}
