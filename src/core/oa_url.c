/*
 * Where Redis is, as one word of the configuration or the command line.
 *
 * Contract: views into the text, or a sentence that says what to write
 * instead.  Strict on purpose: what is not understood is refused when the
 * configuration is read, not when the first connection fails.  Called by the
 * opsauth_store block and by the opsauth command.
 */

#include <string.h>

#include <sys/socket.h>
#include <sys/un.h>

#include "oa_cidr.h"
#include "oa_text.h"
#include "oa_url.h"


/* a DNS name without its final dot */
#define OA_URL_HOST_MAX  253


static int oa_url_starts(oa_str_t text, const char *start, oa_str_t *rest);
static oa_rc_t oa_url_tcp(oa_str_t rest, oa_redis_url_t *url,
    const char **error);
static oa_rc_t oa_url_sentinel(oa_str_t rest, oa_redis_url_t *url,
    const char **error);
static oa_rc_t oa_url_cluster(oa_str_t rest, oa_redis_url_t *url,
    const char **error);
static oa_rc_t oa_url_db(oa_str_t *rest, oa_redis_url_t *url,
    const char **error);
static oa_rc_t oa_url_list(oa_str_t text, unsigned port, oa_redis_url_t *url,
    const char **error);
static oa_rc_t oa_url_authority(oa_str_t authority, unsigned port,
    oa_redis_host_t *host, const char **error);
static oa_rc_t oa_url_unix(oa_str_t rest, oa_redis_url_t *url,
    const char **error);
static oa_rc_t oa_url_number(oa_str_t text, unsigned min, unsigned max,
    unsigned *out);
static int oa_url_is_host(oa_str_t host);
static int oa_url_is_name(oa_str_t name);


oa_rc_t
oa_redis_url_parse(oa_str_t text, oa_redis_url_t *url, const char **error)
{
    oa_str_t  rest;

    memset(url, 0, sizeof(*url));

    if (oa_url_starts(text, "redis://", &rest)) {
        return oa_url_tcp(rest, url, error);
    }

    if (oa_url_starts(text, "rediss://", &rest)) {
        url->tls = 1;
        return oa_url_tcp(rest, url, error);
    }

    if (oa_url_starts(text, "unix:", &rest)) {
        return oa_url_unix(rest, url, error);
    }

    if (oa_url_starts(text, "redis+sentinel://", &rest)) {
        return oa_url_sentinel(rest, url, error);
    }

    if (oa_url_starts(text, "rediss+sentinel://", &rest)) {
        url->tls = 1;
        return oa_url_sentinel(rest, url, error);
    }

    if (oa_url_starts(text, "redis+cluster://", &rest)) {
        return oa_url_cluster(rest, url, error);
    }

    if (oa_url_starts(text, "rediss+cluster://", &rest)) {
        url->tls = 1;
        return oa_url_cluster(rest, url, error);
    }

    *error = "expected redis://host[:port][/db], rediss:// for TLS, "
             "redis+sentinel://name@host[:port],host[:port][/db], "
             "redis+cluster://host[:port],host[:port], or unix:/path[?db=n]";

    return OA_INVALID;
}


static int
oa_url_starts(oa_str_t text, const char *start, oa_str_t *rest)
{
    size_t  len;

    len = strlen(start);

    if (text.len < len || memcmp(text.data, start, len) != 0) {
        return 0;
    }

    rest->len = text.len - len;
    rest->data = text.data + len;

    return 1;
}


/* host[:port][/db] */

static oa_rc_t
oa_url_tcp(oa_str_t rest, oa_redis_url_t *url, const char **error)
{
    oa_redis_host_t  host;

    url->transport = OA_REDIS_TCP;

    if (rest.len == 0) {
        *error = "host is missing, expected redis://host[:port][/db]";
        return OA_INVALID;
    }

    if (memchr(rest.data, '@', rest.len) != NULL) {
        *error = "user and password may not stand in the URL, "
                 "use redis_user and redis_password_file";
        return OA_INVALID;
    }

    if (oa_url_db(&rest, url, error) != OA_OK
        || oa_url_authority(rest, OA_REDIS_PORT, &host, error) != OA_OK)
    {
        return OA_INVALID;
    }

    url->host = host.host;
    url->port = host.port;

    return OA_OK;
}


/* name@host[:port],host[:port]...[/db] */

static oa_rc_t
oa_url_sentinel(oa_str_t rest, oa_redis_url_t *url, const char **error)
{
    const unsigned char  *at;

    url->transport = OA_REDIS_SENTINEL;

    at = rest.len ? memchr(rest.data, '@', rest.len) : NULL;

    if (at == NULL || at == rest.data) {
        *error = "the name that the sentinels know the primary by is missing, "
                 "expected redis+sentinel://name@host[:port],host[:port][/db]";
        return OA_INVALID;
    }

    url->name.data = rest.data;
    url->name.len = (size_t) (at - rest.data);

    rest.len -= url->name.len + 1;
    rest.data = at + 1;

    if (memchr(url->name.data, ':', url->name.len) != NULL
        || (rest.len && memchr(rest.data, '@', rest.len) != NULL))
    {
        *error = "user and password may not stand in the URL, "
                 "use redis_user and redis_password_file, and for the "
                 "sentinels redis_sentinel_user and "
                 "redis_sentinel_password_file";
        return OA_INVALID;
    }

    if (!oa_url_is_name(url->name)) {
        *error = "the primary's name has letters, digits, \".\", \"-\" and "
                 "\"_\", as in \"sentinel monitor\"";
        return OA_INVALID;
    }

    if (oa_url_db(&rest, url, error) != OA_OK) {
        return OA_INVALID;
    }

    return oa_url_list(rest, OA_SENTINEL_PORT, url, error);
}


/* host[:port],host[:port]... */

static oa_rc_t
oa_url_cluster(oa_str_t rest, oa_redis_url_t *url, const char **error)
{
    url->transport = OA_REDIS_CLUSTER;

    if (rest.len == 0) {
        *error = "hosts are missing, expected "
                 "redis+cluster://host[:port],host[:port]";
        return OA_INVALID;
    }

    if (memchr(rest.data, '@', rest.len) != NULL) {
        *error = "user and password may not stand in the URL, "
                 "use redis_user and redis_password_file";
        return OA_INVALID;
    }

    if (oa_url_db(&rest, url, error) != OA_OK) {
        return OA_INVALID;
    }

    if (url->db != 0) {
        *error = "a cluster has database 0 alone, leave the number out";
        return OA_INVALID;
    }

    return oa_url_list(rest, OA_REDIS_PORT, url, error);
}


/* takes [/db] off the end; "redis://host/" is often written and means 0 */

static oa_rc_t
oa_url_db(oa_str_t *rest, oa_redis_url_t *url, const char **error)
{
    oa_str_t              db;
    const unsigned char  *slash;

    if (rest->len == 0) {
        return OA_OK;
    }

    if (memchr(rest->data, '?', rest->len) != NULL
        || memchr(rest->data, '#', rest->len) != NULL)
    {
        *error = "parameters are not known here, "
                 "expected redis://host[:port][/db]";
        return OA_INVALID;
    }

    slash = memchr(rest->data, '/', rest->len);

    if (slash == NULL) {
        return OA_OK;
    }

    db.data = slash + 1;
    db.len = rest->len - (size_t) (slash - rest->data) - 1;
    rest->len = (size_t) (slash - rest->data);

    if (db.len != 0
        && oa_url_number(db, 0, OA_REDIS_DB_MAX, &url->db) != OA_OK)
    {
        *error = "database must be a number from 0 to 16383, "
                 "expected redis://host[:port][/db]";
        return OA_INVALID;
    }

    return OA_OK;
}


/* host[:port],host[:port]... */

static oa_rc_t
oa_url_list(oa_str_t text, unsigned port, oa_redis_url_t *url,
    const char **error)
{
    oa_str_t              one;
    unsigned              i;
    oa_redis_host_t      *host;
    const unsigned char  *comma;

    do {
        one = text;
        comma = text.len ? memchr(text.data, ',', text.len) : NULL;

        if (comma != NULL) {
            one.len = (size_t) (comma - text.data);
            text.len -= one.len + 1;
            text.data = comma + 1;
        }

        if (url->nhosts == OA_REDIS_HOSTS_MAX) {
            *error = "too many hosts, 16 are enough";
            return OA_INVALID;
        }

        host = &url->hosts[url->nhosts];

        if (oa_url_authority(one, port, host, error) != OA_OK) {
            return OA_INVALID;
        }

        /* of sentinels it would have two votes */

        for (i = 0; i < url->nhosts; i++) {
            if (url->hosts[i].port == host->port
                && url->hosts[i].host.len == host->host.len
                && memcmp(url->hosts[i].host.data, host->host.data,
                          host->host.len) == 0)
            {
                *error = "a host stands there twice";
                return OA_INVALID;
            }
        }

        url->nhosts++;

    } while (comma != NULL);

    return OA_OK;
}


/* host[:port] or [v6][:port] */

static oa_rc_t
oa_url_authority(oa_str_t authority, unsigned default_port,
    oa_redis_host_t *host, const char **error)
{
    oa_str_t              port;
    oa_addr_t             addr;
    const unsigned char  *end;

    host->host = authority;
    host->port = default_port;

    if (authority.len != 0 && authority.data[0] == '[') {

        end = memchr(authority.data, ']', authority.len);

        if (end == NULL) {
            *error = "\"]\" is missing, expected redis://[address]:port/db";
            return OA_INVALID;
        }

        host->host.data = authority.data + 1;
        host->host.len = (size_t) (end - authority.data) - 1;

        if (oa_addr_parse(host->host, &addr) != OA_OK
            || memchr(host->host.data, ':', host->host.len) == NULL)
        {
            *error = "not an IPv6 address between \"[\" and \"]\"";
            return OA_INVALID;
        }

        end++;

    } else {
        end = authority.len ? memchr(authority.data, ':', authority.len)
                            : NULL;

        if (end == NULL) {
            end = authority.data + authority.len;
        }

        host->host.len = (size_t) (end - authority.data);

        if (!oa_url_is_host(host->host)) {
            *error = "host must be a name or an address (IPv6 in brackets), "
                     "expected redis://host[:port][/db]";
            return OA_INVALID;
        }
    }

    port.len = authority.len - (size_t) (end - authority.data);
    port.data = end;

    if (port.len == 0) {
        return OA_OK;
    }

    if (port.data[0] == ':') {
        port.data++;
        port.len--;

        if (oa_url_number(port, 1, 65535, &host->port) == OA_OK) {
            return OA_OK;
        }
    }

    *error = "port must be a number from 1 to 65535 "
             "(an IPv6 address stands in brackets)";

    return OA_INVALID;
}


/* /path[?db=n] */

static oa_rc_t
oa_url_unix(oa_str_t rest, oa_redis_url_t *url, const char **error)
{
    oa_str_t              query, db;
    const unsigned char  *mark;

    url->transport = OA_REDIS_UNIX;

    if (rest.len == 0 || rest.data[0] != '/') {
        *error = "path must be absolute, expected unix:/path[?db=n]";
        return OA_INVALID;
    }

    url->path = rest;
    mark = memchr(rest.data, '?', rest.len);

    if (mark != NULL) {
        url->path.len = (size_t) (mark - rest.data);

        query.data = mark;
        query.len = rest.len - url->path.len;

        if (!oa_url_starts(query, "?db=", &db)
            || oa_url_number(db, 0, OA_REDIS_DB_MAX, &url->db) != OA_OK)
        {
            *error = "only ?db= and a number from 0 to 16383 may follow the "
                     "path, expected unix:/path[?db=n]";
            return OA_INVALID;
        }
    }

    if (url->path.len >= sizeof(((struct sockaddr_un *) 0)->sun_path)) {
        *error = "path is too long for a unix socket";
        return OA_INVALID;
    }

    if (!oa_text_is_header_safe(url->path)) {
        *error = "path contains a control character";
        return OA_INVALID;
    }

    return OA_OK;
}


static oa_rc_t
oa_url_number(oa_str_t text, unsigned min, unsigned max, unsigned *out)
{
    int64_t  n;

    if (oa_text_number(text, max, &n) != OA_OK || n < (int64_t) min) {
        return OA_INVALID;
    }

    *out = (unsigned) n;

    return OA_OK;
}


static int
oa_url_is_host(oa_str_t host)
{
    size_t         i;
    unsigned char  c;

    if (host.len == 0 || host.len > OA_URL_HOST_MAX
        || host.data[0] == '-' || host.data[0] == '.')
    {
        return 0;
    }

    for (i = 0; i < host.len; i++) {
        c = host.data[i];

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
            || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_')
        {
            continue;
        }

        return 0;
    }

    return 1;
}


static int
oa_url_is_name(oa_str_t name)
{
    size_t         i;
    unsigned char  c;

    for (i = 0; i < name.len; i++) {
        c = name.data[i];

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
            || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_')
        {
            continue;
        }

        return 0;
    }

    return name.len > 0 && name.len <= OA_URL_HOST_MAX;
}
