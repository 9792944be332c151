/*
 * Where long output goes: stdout, or a file that appears, or is replaced, only
 * when all of it is on the disk.
 */

#ifndef CLI_STREAM_H
#define CLI_STREAM_H

#include <stdio.h>


typedef struct {
    FILE         *out;
    const char   *path;                 /* NULL: stdout */
    const char   *target;               /* behind a symlink: the file */
    char         *temp;                 /* until it is all there; or NULL */
} cli_stream_t;


/* NULL is stdout; a new file has mode 0600 */
int cli_stream_open(cli_stream_t *stream, const char *path);

/* CLI_FAILED: what was written did not get there, and that is said */
int cli_stream_flush(cli_stream_t *stream);

int cli_stream_finish(cli_stream_t *stream);
void cli_stream_abandon(cli_stream_t *stream);


#endif /* CLI_STREAM_H */
