/* Where Redis is: src/core/oa_url.c */

#include "fuzz.h"
#include "oa_cidr.h"
#include "oa_text.h"
#include "oa_url.h"


static void
host(oa_str_t name, unsigned port, oa_str_t text)
{
    must(port >= 1 && port <= 65535);
    must(name.len && fuzz_within(name, text));
    must(oa_text_is_header_safe(name));
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_t           in;
    unsigned         i;
    oa_str_t         text;
    const char      *error;
    oa_redis_url_t   url;

    fuzz_start(&in, data, size);
    text = fuzz_rest(&in);
    error = NULL;

    if (oa_redis_url_parse(text, &url, &error) != OA_OK) {
        must(error != NULL);
        fuzz_end(&in);
        return 0;
    }

    must(error == NULL && url.db <= OA_REDIS_DB_MAX);

    if (url.transport == OA_REDIS_TCP) {
        host(url.host, url.port, text);
        must(memchr(text.data, '@', text.len) == NULL);

    } else if (url.transport == OA_REDIS_UNIX) {
        must(!url.tls);
        must(fuzz_within(url.path, text) && url.path.data[0] == '/');
        must(url.path.len < 108 && oa_text_is_header_safe(url.path));

    } else {
        must(url.nhosts >= 1 && url.nhosts <= OA_REDIS_HOSTS_MAX);

        for (i = 0; i < url.nhosts; i++) {
            host(url.hosts[i].host, url.hosts[i].port, text);
        }

        if (url.transport == OA_REDIS_SENTINEL) {
            must(url.name.len && fuzz_within(url.name, text));
            must(oa_text_is_header_safe(url.name));

        } else {
            must(url.transport == OA_REDIS_CLUSTER && url.db == 0);
            must(memchr(text.data, '@', text.len) == NULL);
        }
    }

    fuzz_end(&in);
    return 0;
}
