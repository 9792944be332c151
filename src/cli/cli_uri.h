/*
 * What a request asks for, as it is typed, and the path that nginx makes of
 * it: decoded and normalised, what locations and "uri=~" are matched with.
 */

#ifndef CLI_URI_H
#define CLI_URI_H

#include "oa_core.h"


typedef struct {
    const char  *host;          /* in lower case, without port; NULL: not told */
    unsigned     port;          /* 0: not told */
    const char  *path;          /* as typed, with the query; begins with "/" */
} cli_url_t;


/* "/v1/x?y", "http://host:8080/v1/x", "https://host/v1/x" */
int cli_url_parse(const char *text, cli_url_t *url);

/* "host", "host:8080", "[::1]:8080" -> host as nginx compares it, and port */
oa_rc_t cli_host_parse(const char *text, const char **host, unsigned *port);

/*
 * The path, as nginx normalises it (merge_slashes on or off). OA_INVALID where
 * nginx answers 400: *error is why, static text.
 */
oa_rc_t cli_uri_normalise(const char *path, int merge_slashes, oa_str_t *uri,
    const char **error);


#endif /* CLI_URI_H */
