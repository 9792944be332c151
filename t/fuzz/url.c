/* Where Redis is: src/core/oa_url.c */

#include "fuzz.h"
#include "oa_cidr.h"
#include "oa_text.h"
#include "oa_url.h"


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_t           in;
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
        must(url.port >= 1 && url.port <= 65535);
        must(url.host.len && fuzz_within(url.host, text));
        must(oa_text_is_header_safe(url.host));
        must(memchr(text.data, '@', text.len) == NULL);

    } else {
        must(url.transport == OA_REDIS_UNIX);
        must(fuzz_within(url.path, text) && url.path.data[0] == '/');
        must(url.path.len < 108 && oa_text_is_header_safe(url.path));
    }

    fuzz_end(&in);
    return 0;
}
