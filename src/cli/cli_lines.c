/*
 * See cli_lines.h. The buffer belongs to the memory of the run, which is wiped:
 * there may be keys in it.
 */

#include "cli.h"
#include "cli_lines.h"
#include "cli_memory.h"
#include "cli_signal.h"
#include "cli_text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>


#define ROOM  (4 * CLI_LINE_MAX)


int
cli_lines_open(cli_lines_t *lines, const char *path)
{
    struct stat  st;

    memset(lines, 0, sizeof(*lines));

    if (path == NULL || strcmp(path, "-") == 0) {
        lines->fd = STDIN_FILENO;
        lines->name = "stdin";

    } else {
        lines->name = cli_quotez(path);
        lines->fd = open(path, O_RDONLY|O_CLOEXEC);

        if (lines->fd == -1) {
            return cli_fail(CLI_FAILED, "%s can't be opened: %s", lines->name,
                            strerror(errno));
        }
    }

    if (fstat(lines->fd, &st) == 0 && S_ISREG(st.st_mode)) {
        lines->size = (int64_t) st.st_size;
    }

    lines->buffer = cli_alloc(ROOM);

    return CLI_OK;
}


void
cli_lines_close(cli_lines_t *lines)
{
    if (lines->fd > STDERR_FILENO) {
        close(lines->fd);
    }
}


/* more bytes behind those that are there; CLI_NOT_FOUND: there are none */
static int
lines_read(cli_lines_t *lines)
{
    ssize_t  n;

    if (lines->start != 0) {
        memmove(lines->buffer, lines->buffer + lines->start,
                lines->end - lines->start);
        lines->end -= lines->start;
        lines->start = 0;
    }

    do {
        if (cli_signal_caught()) {
            return CLI_NOT_FOUND;
        }

        n = read(lines->fd, lines->buffer + lines->end, ROOM - lines->end);

    } while (n == -1 && errno == EINTR);

    if (n == -1) {
        return cli_fail(CLI_FAILED, "%s can't be read: %s", lines->name,
                        strerror(errno));
    }

    lines->end += (size_t) n;
    lines->ended = (n == 0);

    return (n == 0) ? CLI_NOT_FOUND : CLI_OK;
}


/* hands out the first n bytes, of which the last ones may be an end of line */
static void
lines_take(cli_lines_t *lines, size_t n, oa_str_t *line)
{
    line->data = lines->buffer + lines->start;
    line->len = n;

    if (line->len != 0 && line->data[line->len - 1] == '\n') {
        line->len--;
    }

    if (line->len != 0 && line->data[line->len - 1] == '\r') {
        line->len--;
    }

    /* what some editors put at the start of a file */
    if (lines->line == 0 && line->len >= 3
        && memcmp(line->data, "\xef\xbb\xbf", 3) == 0)
    {
        line->data += 3;
        line->len -= 3;
    }

    if (line->len > CLI_LINE_MAX) {
        line->data = NULL;
        line->len = 0;
    }

    lines->start += n;
    lines->done += (int64_t) n;
    lines->line++;
}


/* the rest of a line that does not fit */
static int
lines_pass(cli_lines_t *lines, oa_str_t *line)
{
    int             rc;
    unsigned char  *newline;

    line->data = NULL;
    line->len = 0;

    for ( ;; ) {
        newline = memchr(lines->buffer + lines->start, '\n',
                         lines->end - lines->start);

        if (newline != NULL) {
            lines->done += newline + 1 - (lines->buffer + lines->start);
            lines->start = (size_t) (newline + 1 - lines->buffer);
            break;
        }

        lines->done += (int64_t) (lines->end - lines->start);
        lines->start = lines->end;
        rc = lines_read(lines);

        if (rc == CLI_NOT_FOUND && lines->ended) {
            break;
        }

        if (rc != CLI_OK) {
            return rc;
        }
    }

    lines->line++;

    return CLI_OK;
}


int
cli_lines_next(cli_lines_t *lines, oa_str_t *line)
{
    int             rc;
    size_t          n, seen;
    unsigned char  *newline;

    if (cli_signal_caught()) {
        return CLI_NOT_FOUND;
    }

    seen = 0;

    for ( ;; ) {
        n = lines->end - lines->start;
        newline = memchr(lines->buffer + lines->start + seen, '\n', n - seen);

        if (newline != NULL) {
            lines_take(lines, (size_t) (newline + 1
                                        - (lines->buffer + lines->start)),
                       line);
            return CLI_OK;
        }

        if (n > CLI_LINE_MAX + 2) {
            return lines_pass(lines, line);
        }

        seen = n;
        rc = lines->ended ? CLI_NOT_FOUND : lines_read(lines);

        if (rc == CLI_NOT_FOUND && lines->ended && n != 0) {
            /* the last line, and its end is missing */
            lines_take(lines, n, line);
            return CLI_OK;
        }

        if (rc != CLI_OK) {
            return rc;
        }
    }
}
