/*
 * See cli_uri.h. What ngx_http_parse_request_line(), _parse_complex_uri() and
 * _validate_host() of nginx do, on a whole text at once.
 */

#include "cli.h"
#include "cli_memory.h"
#include "cli_text.h"
#include "cli_uri.h"

#include "oa_text.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>


oa_rc_t
cli_host_parse(const char *text, const char **host, unsigned *port)
{
    char        *copy, *p;
    size_t       len;
    int64_t      n;
    const char  *rest;

    len = (text[0] == '[') ? strcspn(text, "]") : strcspn(text, ":");
    rest = text + len;

    if (text[0] == '[') {
        if (*rest != ']') {
            return OA_INVALID;
        }

        len++;
        rest++;
    }

    n = 0;

    if (*rest != '\0'
        && (*rest != ':' || rest[1] == '\0'
            || oa_text_number(cli_str(rest + 1), 65535, &n) != OA_OK
            || n == 0))
    {
        return OA_INVALID;
    }

    copy = cli_copy(text, len);

    for (p = copy; *p != '\0'; p++) {

        if ((unsigned char) *p <= 0x20 || *p == 0x7f || strchr("/?#@\\", *p)) {
            return OA_INVALID;
        }

        *p = (char) tolower((unsigned char) *p);
    }

    if (strstr(copy, "..") != NULL) {
        return OA_INVALID;
    }

    if (p > copy && p[-1] == '.') {
        *--p = '\0';
    }

    if (p == copy) {
        return OA_INVALID;
    }

    *host = copy;
    *port = (unsigned) n;

    return OA_OK;
}


int
cli_url_parse(const char *text, cli_url_t *url)
{
    size_t       n;
    unsigned     port;
    const char  *p;

    memset(url, 0, sizeof(*url));

    if (text[0] == '/') {
        url->path = text;
        return CLI_OK;
    }

    if (strncasecmp(text, "http://", 7) == 0) {
        port = 80;
        p = text + 7;

    } else if (strncasecmp(text, "https://", 8) == 0) {
        port = 443;
        p = text + 8;

    } else {
        return cli_fail(CLI_USAGE, "URI %s: expected a path that begins with "
                        "\"/\", or http://host[:port]/path",
                        cli_quotez(text));
    }

    n = strcspn(p, "/?#");

    if (cli_host_parse(cli_copy(p, n), &url->host, &url->port) != OA_OK) {
        return cli_fail(CLI_USAGE, "URI %s: expected http://host[:port]/path, "
                        "with a port of 1 to 65535", cli_quotez(text));
    }

    if (url->port == 0) {
        url->port = port;
    }

    p += n;
    url->path = (*p == '/') ? p : cli_format("/%s", p);

    return CLI_OK;
}


/* one more byte of the path; plain: was written as %3F and the like */
typedef struct {
    unsigned char   byte;
    unsigned        plain:1;
} byte_t;


/* the bytes before query and fragment, decoded */
static oa_rc_t
uri_decode(const char *path, byte_t *bytes, size_t *n, const char **error)
{
    oa_str_t              hex;
    unsigned char         c;
    const unsigned char  *p;

    *n = 0;

    for (p = (const unsigned char *) path; *p != '\0'; p++) {
        c = *p;

        if (c <= 0x20 || c == 0x7f) {
            *error = "a blank or a control character must be written as %20 "
                     "and the like";
            return OA_INVALID;
        }
    }

    for (p = (const unsigned char *) path;
         *p != '\0' && *p != '?' && *p != '#'; p++)
    {
        c = *p;

        if (c != '%') {
            bytes[(*n)++] = (byte_t) { c, 0 };
            continue;
        }

        hex.data = p + 1;
        hex.len = (p[1] != '\0' && p[2] != '\0') ? 2 : 0;

        if (hex.len == 0 || oa_text_unhex(hex, &c, 1) != OA_OK || c == '\0') {
            *error = "\"%\" must be followed by two hex digits, and not 00";
            return OA_INVALID;
        }

        bytes[(*n)++] = (byte_t) { c, c == '%' || c == '#' || c == '?' };
        p += 2;
    }

    return OA_OK;
}


/* "/.." at the end of u is taken back, and what stands before it */
static oa_rc_t
uri_up(const unsigned char *start, unsigned char **u)
{
    unsigned char  *p;

    for (p = *u - 4; p >= start; p--) {
        if (*p == '/') {
            *u = p + 1;
            return OA_OK;
        }
    }

    return OA_INVALID;
}


oa_rc_t
cli_uri_normalise(const char *path, int merge_slashes, oa_str_t *uri,
    const char **error)
{
    byte_t         *bytes;
    size_t          i, n;
    unsigned char  *start, *u;

    enum { USUAL, SLASH, DOT, DOT_DOT } state;

    bytes = cli_alloc((strlen(path) + 1) * sizeof(byte_t));
    start = cli_alloc(strlen(path) + 8);

    if (uri_decode(path, bytes, &n, error) != OA_OK) {
        return OA_INVALID;
    }

    /* in front of it room to step back into; it begins with no "/" */
    start += 4;
    u = start;
    state = USUAL;

    /* at the end, "." and ".." are as if a "/" followed */

    for (i = 0; i <= n; i++) {

        if (i < n && (bytes[i].plain || (bytes[i].byte != '/'
                                         && bytes[i].byte != '.')))
        {
            *u++ = bytes[i].byte;
            state = USUAL;
            continue;
        }

        if (i < n && bytes[i].byte == '.') {
            *u++ = '.';
            state = (state == SLASH) ? DOT : (state == DOT) ? DOT_DOT : USUAL;
            continue;
        }

        if (state == DOT) {
            u--;

        } else if (state == DOT_DOT && uri_up(start, &u) != OA_OK) {
            *error = "it leads above \"/\"";
            return OA_INVALID;

        } else if (i < n && (state == USUAL
                             || (state == SLASH && !merge_slashes)))
        {
            *u++ = '/';
        }

        state = SLASH;
    }

    uri->data = start;
    uri->len = (size_t) (u - start);

    return OA_OK;
}
