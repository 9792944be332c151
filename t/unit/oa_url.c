/* Where Redis is: src/core/oa_url.c */

#include "oa_url.h"
#include "tap.h"


static void
tcp(const char *text, const char *host, unsigned port, unsigned db)
{
    oa_rc_t          rc;
    const char      *error;
    unsigned char   *copy;
    oa_redis_url_t   url;

    copy = tap_copy(text, strlen(text));
    error = NULL;
    rc = oa_redis_url_parse((oa_str_t) { strlen(text), copy }, &url, &error);

    ok(rc == OA_OK && url.transport == OA_REDIS_TCP && url.port == port
       && url.db == db && url.tls == (text[5] == 's'),
       "\"%s\": port %u, database %u", text, port, db);

    if (rc == OA_OK) {
        is_str(url.host.data, url.host.len, host, "\"%s\": host", text);
    }

    free(copy);
}


static void
local(const char *text, const char *path, unsigned db)
{
    oa_rc_t          rc;
    const char      *error;
    unsigned char   *copy;
    oa_redis_url_t   url;

    copy = tap_copy(text, strlen(text));
    error = NULL;
    rc = oa_redis_url_parse((oa_str_t) { strlen(text), copy }, &url, &error);

    ok(rc == OA_OK && url.transport == OA_REDIS_UNIX && url.db == db,
       "\"%s\": database %u", text, db);

    if (rc == OA_OK) {
        is_str(url.path.data, url.path.len, path, "\"%s\": path", text);
    }

    free(copy);
}


/* list: "host port host port" */

static void
sentinels(const char *text, const char *name, const char *list, unsigned db)
{
    char             seen[512];
    size_t           n;
    oa_rc_t          rc;
    unsigned         i;
    const char      *error;
    unsigned char   *copy;
    oa_redis_url_t   url;

    copy = tap_copy(text, strlen(text));
    error = NULL;
    rc = oa_redis_url_parse((oa_str_t) { strlen(text), copy }, &url, &error);

    ok(rc == OA_OK && url.transport == OA_REDIS_SENTINEL && url.db == db
       && url.tls == (text[5] == 's'), "\"%s\": database %u (%s)", text, db,
       error ? error : "no error");

    if (rc == OA_OK) {
        is_str(url.name.data, url.name.len, name, "\"%s\": name", text);

        for (i = 0, n = 0; i < url.nhosts; i++) {
            n += (size_t) snprintf(seen + n, sizeof(seen) - n, "%s%.*s %u",
                                   i ? " " : "", (int) url.hosts[i].host.len,
                                   (const char *) url.hosts[i].host.data,
                                   url.hosts[i].port);
        }

        is_str((unsigned char *) seen, n, list, "\"%s\": sentinels", text);
    }

    free(copy);
}


/* list: "host port host port" */

static void
cluster(const char *text, const char *list)
{
    char             seen[512];
    size_t           n;
    oa_rc_t          rc;
    unsigned         i;
    const char      *error;
    unsigned char   *copy;
    oa_redis_url_t   url;

    copy = tap_copy(text, strlen(text));
    error = NULL;
    rc = oa_redis_url_parse((oa_str_t) { strlen(text), copy }, &url, &error);

    ok(rc == OA_OK && url.transport == OA_REDIS_CLUSTER && url.db == 0
       && url.tls == (text[5] == 's'), "\"%s\" (%s)", text,
       error ? error : "no error");

    for (i = 0, n = 0; rc == OA_OK && i < url.nhosts; i++) {
        n += (size_t) snprintf(seen + n, sizeof(seen) - n, "%s%.*s %u",
                               i ? " " : "", (int) url.hosts[i].host.len,
                               (const char *) url.hosts[i].host.data,
                               url.hosts[i].port);
    }

    if (rc == OA_OK) {
        is_str((unsigned char *) seen, n, list, "\"%s\": nodes", text);
    }

    free(copy);
}


/* refused, and the sentence contains what helps */

static void
refused(const char *text, const char *hint)
{
    oa_rc_t          rc;
    const char      *error;
    unsigned char   *copy;
    oa_redis_url_t   url;

    copy = tap_copy(text, strlen(text));
    error = NULL;
    rc = oa_redis_url_parse((oa_str_t) { strlen(text), copy }, &url, &error);

    ok(rc == OA_INVALID && error != NULL && strstr(error, hint) != NULL,
       "\"%.60s\" is refused: %s", text, error ? error : "(no error)");

    free(copy);
}


static void
hostile(void)
{
    size_t           i, n, k, bad, oks;
    const char      *error;
    unsigned char    text[48], *copy;
    oa_redis_url_t   url;

    static const char        likely[] = "ab:/0123[]?db=.@ ";
    static const char *const  starts[] = { "redis://", "unix:/", "redis://[",
                                           "redis+sentinel://a@1,2" };

    bad = 0;
    oks = 0;

    for (i = 0; i < 200000; i++) {
        n = tap_random_below(sizeof(text) + 1);
        tap_random_bytes(text, n);

        for (k = 0; k < n; k++) {
            if (text[k] < 230) {
                text[k] = (unsigned char) likely[text[k]
                                                 % (sizeof(likely) - 1)];
            }
        }

        k = strlen(starts[i % 4]);

        if (n >= k) {
            memcpy(text, starts[i % 4], k);
        }

        copy = tap_copy(text, n);
        error = NULL;

        if (oa_redis_url_parse((oa_str_t) { n, copy }, &url, &error)
            == OA_OK)
        {
            oks++;
            bad += (url.db > OA_REDIS_DB_MAX);

            if (url.transport == OA_REDIS_TCP) {
                bad += (url.port < 1 || url.port > 65535 || url.host.len == 0
                        || url.host.data < copy
                        || url.host.data + url.host.len > copy + n);
            } else if (url.transport == OA_REDIS_SENTINEL) {
                bad += (url.nhosts == 0 || url.nhosts > OA_REDIS_HOSTS_MAX
                        || url.name.len == 0);

                for (k = 0; k < url.nhosts; k++) {
                    bad += (url.hosts[k].port < 1
                            || url.hosts[k].port > 65535
                            || url.hosts[k].host.len == 0
                            || url.hosts[k].host.data < copy
                            || url.hosts[k].host.data + url.hosts[k].host.len
                               > copy + n);
                }

            } else {
                bad += (url.path.len == 0 || url.path.data[0] != '/'
                        || url.path.data + url.path.len > copy + n);
            }

        } else {
            bad += (error == NULL);
        }

        free(copy);
    }

    ok(oks > 100, "random texts: some are URLs");
    is_int(bad, 0, "and those are well-formed; the others have an error");
}


int
main(void)
{
    char         longest[300];
    const char  *error;

    oa_redis_url_t  url;

    tcp("redis://127.0.0.1", "127.0.0.1", 6379, 0);
    tcp("redis://127.0.0.1/", "127.0.0.1", 6379, 0);
    tcp("redis://127.0.0.1:6380", "127.0.0.1", 6380, 0);
    tcp("redis://127.0.0.1:6380/5", "127.0.0.1", 6380, 5);
    tcp("redis://127.0.0.1/15", "127.0.0.1", 6379, 15);
    tcp("redis://redis.example.com:1/16383", "redis.example.com", 1, 16383);
    tcp("redis://redis_1", "redis_1", 6379, 0);
    tcp("redis://localhost:65535", "localhost", 65535, 0);
    tcp("redis://[::1]", "::1", 6379, 0);
    tcp("redis://[::1]/2", "::1", 6379, 2);
    tcp("redis://[2001:db8::7]:6380/3", "2001:db8::7", 6380, 3);
    tcp("redis://[::ffff:127.0.0.1]:6379", "::ffff:127.0.0.1", 6379, 0);

    tcp("rediss://127.0.0.1", "127.0.0.1", 6379, 0);
    tcp("rediss://redis.example.com:6380/5", "redis.example.com", 6380, 5);
    tcp("rediss://[::1]:6380", "::1", 6380, 0);

    local("unix:/run/redis.sock", "/run/redis.sock", 0);
    local("unix:/run/redis.sock?db=4", "/run/redis.sock", 4);
    local("unix:/run/redis/a b.sock", "/run/redis/a b.sock", 0);

    refused("", "redis://host");
    refused("127.0.0.1:6379", "redis://host");
    refused("http://127.0.0.1", "redis://host");
    refused("REDIS://127.0.0.1", "redis://host");
    refused(" redis://127.0.0.1", "redis://host");
    refused("redis:/127.0.0.1", "redis://host");
    refused("rediss://", "host");
    refused("rediss://user:secret@127.0.0.1", "redis_password_file");
    refused("rediss:/127.0.0.1", "redis://host");

    sentinels("redis+sentinel://mymaster@host", "mymaster", "host 26379", 0);
    sentinels("redis+sentinel://a.b-c_1@host:1/3", "a.b-c_1", "host 1", 3);
    sentinels("redis+sentinel://m@a,b:2,[::1]:3,[::2],127.0.0.1:5/7", "m",
              "a 26379 b 2 ::1 3 ::2 26379 127.0.0.1 5", 7);
    sentinels("rediss+sentinel://m@a:1,a:2/", "m", "a 1 a 2", 0);
    refused("redis+sentinel://", "name");
    refused("redis+sentinel://host:1", "name");
    refused("redis+sentinel://@host:1", "name");
    refused("redis+sentinel://m@", "host");
    refused("redis+sentinel://m@,a", "host");
    refused("redis+sentinel://m@a,", "host");
    refused("redis+sentinel://m@a,,b", "host");
    refused("redis+sentinel://m@a b", "host");
    refused("redis+sentinel://m@a:0,b", "port");
    refused("redis+sentinel://m@a,b:99999", "port");
    refused("redis+sentinel://m@a,[::1", "]");
    refused("redis+sentinel://m@a/x", "database");
    refused("redis+sentinel://m@a/1,b/2", "database");
    refused("redis+sentinel://m@a?x", "parameters");
    refused("redis+sentinel://m@a:1,b,a:1", "twice");
    refused("redis+sentinel://m m@a", "letters");
    refused("redis+sentinel://user:secret@host", "redis_sentinel");
    refused("redis+sentinel://user:secret@m@host", "redis_sentinel");
    refused("redis+sentinel://m@a,b@c", "redis_sentinel");
    refused("redis+sentinel://m@1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17",
            "too many");

    cluster("redis+cluster://a", "a 6379");
    cluster("redis+cluster://a:7001,10.0.0.2:7002,[fd00::1]", "a 7001 "
            "10.0.0.2 7002 fd00::1 6379");
    cluster("rediss+cluster://a:7001,b/", "a 7001 b 6379");
    cluster("redis+cluster://a/0", "a 6379");
    refused("redis+cluster://a/1", "database 0");
    refused("redis+cluster://", "hosts are missing");
    refused("redis+cluster://a,", "host must");
    refused("redis+cluster://a,a", "twice");
    refused("redis+cluster://u:secret@a", "redis_password_file");
    refused("redis+cluster://a?x=1", "parameters");

    refused("redis://", "host");
    refused("redis:///0", "host");
    refused("redis://:6379", "host");
    refused("redis://user:secret@127.0.0.1", "redis_password_file");
    refused("redis://:secret@127.0.0.1:6379/0", "redis_password_file");
    refused("redis://user@127.0.0.1", "redis_password_file");
    refused("redis://127.0.0.1 ", "host");
    refused("redis://127.0.0.1:", "port");
    refused("redis://127.0.0.1:0", "port");
    refused("redis://127.0.0.1:65536", "port");
    refused("redis://127.0.0.1:6379x", "port");
    refused("redis://127.0.0.1:-1", "port");
    refused("redis://127.0.0.1:/0", "port");
    refused("redis://::1:6379", "host");
    refused("redis://2001:db8::7", "bracket");
    refused("redis://127.0.0.1/x", "database");
    refused("redis://127.0.0.1/-1", "database");
    refused("redis://127.0.0.1/16384", "database");
    refused("redis://127.0.0.1/0/", "database");
    refused("redis://127.0.0.1/0?x=1", "parameters");
    refused("redis://127.0.0.1?db=1", "parameters");
    refused("redis://127.0.0.1#x", "parameters");
    refused("redis://[::1", "]");
    refused("redis://[]:1", "IPv6");
    refused("redis://[127.0.0.1]:1", "IPv6");
    refused("redis://[::1%lo]", "IPv6");
    refused("redis://[::1]x", "port");
    refused("redis://[::1]6379", "port");
    refused("redis://a,b", "host");
    refused("redis://-x", "host");
    refused("redis://.x", "host");
    refused("redis://h\n", "host");

    refused("unix:", "absolute");
    refused("unix:run/redis.sock", "absolute");
    refused("unix:/run/redis.sock?", "?db=");
    refused("unix:/run/redis.sock?db=", "?db=");
    refused("unix:/run/redis.sock?db=x", "?db=");
    refused("unix:/run/redis.sock?db=16384", "?db=");
    refused("unix:/run/redis.sock?db=1&x=2", "?db=");
    refused("unix:/run/redis.sock?x=2", "?db=");
    refused("unix:/run/\n", "control");

    strcpy(longest, "unix:/");
    memset(longest + 6, 'p', 106);
    longest[6 + 106] = '\0';
    local(longest, longest + 5, 0);
    longest[6 + 106] = 'p';
    longest[6 + 107] = '\0';
    refused(longest, "too long");

    strcpy(longest, "redis://");
    memset(longest + 8, 'h', 254);
    longest[8 + 253] = '\0';
    tcp(longest, longest + 8, 6379, 0);
    longest[8 + 253] = 'h';
    longest[8 + 254] = '\0';
    refused(longest, "host");

    is_int(oa_redis_url_parse((oa_str_t) { 17, (const unsigned char *)
                                           "unix:/run/r\0.sock" },
                              &url, &error),
           OA_INVALID, "a zero byte in a path");
    is_int(oa_redis_url_parse((oa_str_t) oa_null, &url, &error), OA_INVALID,
           "absent");

    hostile();

    return done_testing();
}
