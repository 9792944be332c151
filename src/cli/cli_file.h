/*
 * Files: configurations and secrets.
 */

#ifndef CLI_FILE_H
#define CLI_FILE_H

#include "oa_core.h"


#define CLI_FILE_SECRET   1     /* refused where others could read it */

/* what the gateway accepts too: not writable by the group, closed to others */
#define CLI_FILE_MODE_BAD 0027


/*
 * The whole of a regular file, terminated. what ("the pepper file") and from
 * ("--pepper-file") are for the message.
 */
int cli_file_read(const char *path, unsigned flags, const char *what,
    const char *from, oa_str_t *text);

/* a new file of mode 0600 on the disk; CLI_FAILED where there is one */
int cli_file_create(const char *path, oa_str_t text, const char *what);

/* the file's new text, all of it or none of it; keeps owner and mode */
int cli_file_replace(const char *path, oa_str_t text, const char *what);

/*
 * A new file of mode 0600 beside target, to be renamed to it: its descriptor
 * and its name, or -1 and errno.
 */
int cli_file_temp(const char *target, char **name);

/* so that the name survives a power cut too; some file systems can't */
void cli_file_sync_name(const char *path);


#endif /* CLI_FILE_H */
