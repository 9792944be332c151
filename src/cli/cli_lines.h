/*
 * A file or stdin line by line, in bounded memory: a line of more than
 * CLI_LINE_MAX bytes is told of and passed over.
 */

#ifndef CLI_LINES_H
#define CLI_LINES_H

#include <stdint.h>

#include "oa_core.h"


#define CLI_LINE_MAX  (64 * 1024)


typedef struct {
    int                  fd;
    const char          *name;          /* for messages */
    unsigned char       *buffer;
    size_t               start;         /* of what is not yet handed out */
    size_t               end;
    uint64_t             line;          /* the number of the last line */
    int64_t              size;          /* of the file; 0: not known */
    int64_t              done;          /* bytes handed out */
    unsigned             ended:1;
} cli_lines_t;


/* "-" or NULL is stdin */
int cli_lines_open(cli_lines_t *lines, const char *path);
void cli_lines_close(cli_lines_t *lines);

/*
 * The next line without its end, good until the next call; data NULL where it
 * was too long. CLI_NOT_FOUND at the end of the file, and when a signal came
 * (cli_signal.h).
 */
int cli_lines_next(cli_lines_t *lines, oa_str_t *line);


#endif /* CLI_LINES_H */
