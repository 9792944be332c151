/*
 * Redirect URIs of clients: which may be registered, and which of them a
 * request may name; see oa_client.h.
 *
 * Contract: what a browser would read in another way than we do is refused
 * when it is registered (a backslash, user info, a port that is none); what a
 * request names is compared byte by byte and never normalised.
 */

#include <string.h>

#include "oa_cidr.h"
#include "oa_client.h"
#include "oa_set.h"
#include "oa_text.h"


typedef struct {
    oa_str_t  scheme;
    oa_str_t  host;                     /* IPv6 with its brackets */
    oa_str_t  port;                     /* data NULL: there is none */
    oa_str_t  rest;                     /* path and query */
} oa_redirect_t;


static oa_rc_t oa_redirect_characters(oa_str_t uri, const char **error);
static oa_rc_t oa_redirect_scheme(oa_str_t uri, oa_str_t *scheme,
    oa_str_t *rest);
static oa_rc_t oa_redirect_web(oa_str_t uri, const char **error);
static oa_rc_t oa_redirect_private(oa_str_t scheme, oa_str_t rest,
    const char **error);
static oa_rc_t oa_redirect_split(oa_str_t uri, oa_redirect_t *r);
static size_t oa_redirect_authority(oa_str_t text);
static oa_rc_t oa_redirect_host(oa_str_t authority, oa_str_t *host);
static int oa_redirect_is_name(oa_str_t name);
static int oa_redirect_is_port(oa_str_t port);
static int oa_redirect_is_loopback(oa_str_t host);
static int oa_redirect_is_hex(unsigned char c);
static int oa_redirect_has(oa_str_t text, unsigned char c);
static int oa_redirect_same(oa_str_t a, oa_str_t b);


oa_rc_t
oa_redirect_uri_check(oa_str_t uri, const char **error)
{
    oa_str_t  scheme, rest;

    if (uri.len == 0 || uri.len > OA_REDIRECT_MAX) {
        *error = "a redirect URI has 1 to 512 characters";
        return OA_INVALID;
    }

    if (oa_redirect_characters(uri, error) != OA_OK) {
        return OA_INVALID;
    }

    if (oa_redirect_scheme(uri, &scheme, &rest) != OA_OK) {
        *error = "a redirect URI begins with a scheme in lower case, such as "
                 "https://";
        return OA_INVALID;
    }

    if (oa_text_eq(scheme, "https") || oa_text_eq(scheme, "http")) {
        return oa_redirect_web(uri, error);
    }

    return oa_redirect_private(scheme, rest, error);
}


/* RFC 3986 appendix A, without the "#" */

static oa_rc_t
oa_redirect_characters(oa_str_t uri, const char **error)
{
    size_t         i;
    unsigned char  c;

    static const char  marks[] = "-._~:/?[]@!$&'()*+,;=";

    for (i = 0; i < uri.len; i++) {
        c = uri.data[i];

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
            || (c >= '0' && c <= '9'))
        {
            continue;
        }

        if (c == '#') {
            *error = "a redirect URI has no fragment (#...)";
            return OA_INVALID;
        }

        if (c == '%' && uri.len - i > 2
            && oa_redirect_is_hex(uri.data[i + 1])
            && oa_redirect_is_hex(uri.data[i + 2]))
        {
            continue;
        }

        if (memchr(marks, c, sizeof(marks) - 1) == NULL) {
            *error = "a redirect URI has a character that must be written "
                     "as %XX";
            return OA_INVALID;
        }
    }

    return OA_OK;
}


static oa_rc_t
oa_redirect_scheme(oa_str_t uri, oa_str_t *scheme, oa_str_t *rest)
{
    size_t         i;
    unsigned char  c;

    for (i = 0; i < uri.len; i++) {
        c = uri.data[i];

        if (c == ':' && i != 0) {
            scheme->data = uri.data;
            scheme->len = i;
            rest->data = uri.data + i + 1;
            rest->len = uri.len - i - 1;
            return OA_OK;
        }

        if (c >= 'a' && c <= 'z') {
            continue;
        }

        if (i == 0
            || !((c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.'))
        {
            break;
        }
    }

    return OA_INVALID;
}


static oa_rc_t
oa_redirect_web(oa_str_t uri, const char **error)
{
    oa_redirect_t  r;

    if (oa_redirect_split(uri, &r) != OA_OK) {
        *error = "a redirect URI has a host, and a port if need be, but no "
                 "user: https://host[:port]/path";
        return OA_INVALID;
    }

    if (oa_redirect_has(r.rest, '[') || oa_redirect_has(r.rest, ']')) {
        *error = "a redirect URI has a character that must be written as %XX";
        return OA_INVALID;
    }

    if (oa_text_eq(r.scheme, "http") && !oa_redirect_is_loopback(r.host)) {
        *error = "http:// is for a loopback address or localhost only, use "
                 "https://";
        return OA_INVALID;
    }

    return OA_OK;
}


/* RFC 8252 section 7.1: without a dot it could be javascript: or data: */

static oa_rc_t
oa_redirect_private(oa_str_t scheme, oa_str_t rest, const char **error)
{
    oa_str_t  authority;

    if (!oa_redirect_has(scheme, '.')
        || scheme.data[scheme.len - 1] == '.')
    {
        *error = "a redirect URI is https://, http:// on a loopback address, "
                 "or has a private scheme with a dot, such as "
                 "com.example.app:/callback";
        return OA_INVALID;
    }

    if (rest.len == 0 || rest.data[0] != '/') {
        *error = "a path is missing behind the private scheme, such as "
                 "com.example.app:/callback";
        return OA_INVALID;
    }

    if (oa_redirect_has(rest, '[') || oa_redirect_has(rest, ']')) {
        *error = "a redirect URI has a character that must be written as %XX";
        return OA_INVALID;
    }

    if (rest.len > 1 && rest.data[1] == '/') {
        authority.data = rest.data + 2;
        authority.len = rest.len - 2;
        authority.len = oa_redirect_authority(authority);

        if (oa_redirect_has(authority, '@')) {
            *error = "a redirect URI has no user";
            return OA_INVALID;
        }
    }

    return OA_OK;
}


int
oa_redirect_uri_match(oa_str_t registered, oa_str_t uri)
{
    int            loopback;
    size_t         pos;
    oa_str_t       word;
    oa_redirect_t  asked, own;

    if (uri.len == 0 || uri.len > OA_REDIRECT_MAX) {
        return 0;
    }

    /* the addresses that RFC 8252 section 7.3 names, not "localhost" */

    loopback = oa_redirect_split(uri, &asked) == OA_OK
               && oa_text_eq(asked.scheme, "http")
               && (oa_text_eq(asked.host, "127.0.0.1")
                   || oa_text_eq(asked.host, "[::1]"));

    pos = 0;

    while (oa_set_next(registered, &pos, &word)) {

        if (oa_redirect_same(word, uri)) {
            return 1;
        }

        if (loopback
            && oa_redirect_split(word, &own) == OA_OK
            && oa_redirect_same(own.scheme, asked.scheme)
            && oa_redirect_same(own.host, asked.host)
            && oa_redirect_same(own.rest, asked.rest))
        {
            return 1;
        }
    }

    return 0;
}


/* http:// and https:// */

static oa_rc_t
oa_redirect_split(oa_str_t uri, oa_redirect_t *r)
{
    size_t    n;
    oa_str_t  rest, authority;

    if (oa_redirect_scheme(uri, &r->scheme, &rest) != OA_OK
        || rest.len < 2 || rest.data[0] != '/' || rest.data[1] != '/')
    {
        return OA_INVALID;
    }

    authority.data = rest.data + 2;
    authority.len = rest.len - 2;

    n = oa_redirect_authority(authority);

    r->rest.data = authority.data + n;
    r->rest.len = authority.len - n;

    authority.len = n;

    if (oa_redirect_host(authority, &r->host) != OA_OK) {
        return OA_INVALID;
    }

    r->port.len = 0;
    r->port.data = NULL;

    if (r->host.len == authority.len) {
        return OA_OK;
    }

    if (authority.data[r->host.len] != ':') {
        return OA_INVALID;
    }

    r->port.data = authority.data + r->host.len + 1;
    r->port.len = authority.len - r->host.len - 1;

    return oa_redirect_is_port(r->port) ? OA_OK : OA_INVALID;
}


/* where path or query begin */

static size_t
oa_redirect_authority(oa_str_t text)
{
    size_t  n;

    for (n = 0; n < text.len; n++) {
        if (text.data[n] == '/' || text.data[n] == '?' || text.data[n] == '#')
        {
            break;
        }
    }

    return n;
}


static oa_rc_t
oa_redirect_host(oa_str_t authority, oa_str_t *host)
{
    oa_str_t              literal;
    oa_addr_t             addr;
    const unsigned char  *end;

    if (authority.len == 0) {
        return OA_INVALID;
    }

    host->data = authority.data;

    if (authority.data[0] != '[') {

        end = memchr(authority.data, ':', authority.len);
        host->len = end ? (size_t) (end - authority.data) : authority.len;

        return oa_redirect_is_name(*host) ? OA_OK : OA_INVALID;
    }

    end = memchr(authority.data, ']', authority.len);

    if (end == NULL) {
        return OA_INVALID;
    }

    host->len = (size_t) (end - authority.data) + 1;

    literal.data = host->data + 1;
    literal.len = host->len - 2;

    if (!oa_redirect_has(literal, ':')) {
        return OA_INVALID;
    }

    return oa_addr_parse(literal, &addr);
}


static int
oa_redirect_is_name(oa_str_t name)
{
    size_t         i;
    unsigned char  c;

    for (i = 0; i < name.len; i++) {
        c = name.data[i];

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
            || (c >= '0' && c <= '9'))
        {
            continue;
        }

        if (i == 0 || (c != '.' && c != '-' && c != '_')) {
            return 0;
        }
    }

    return name.len != 0;
}


static int
oa_redirect_is_port(oa_str_t port)
{
    int64_t  n;

    return port.len <= 5 && oa_text_number(port, 65535, &n) == OA_OK
           && port.data[0] != '0';
}


static int
oa_redirect_is_loopback(oa_str_t host)
{
    oa_addr_t  addr;

    if (oa_text_eq(host, "localhost") || oa_text_eq(host, "[::1]")) {
        return 1;
    }

    return oa_addr_parse(host, &addr) == OA_OK && addr.family == 4
           && addr.bytes[0] == 127;
}


static int
oa_redirect_is_hex(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')
           || (c >= 'A' && c <= 'F');
}


static int
oa_redirect_has(oa_str_t text, unsigned char c)
{
    return text.len != 0 && memchr(text.data, c, text.len) != NULL;
}


static int
oa_redirect_same(oa_str_t a, oa_str_t b)
{
    return a.len == b.len
           && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}
