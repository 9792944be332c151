/*
 * What Redis sends: src/redis/ngx_opsauth_codec.c. A byte that says how it is
 * read and in what pieces, and a stream: it reads alike whole, in pieces of any
 * size, and by hiredis alone.
 */

#include "fuzz.h"
#include "ngx_opsauth_codec_test.h"


static void
alike(char *text, char *other)
{
    must(strcmp(text, other) == 0);
    free(other);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char     *text;
    uint8_t   how;

    if (size == 0) {
        return 0;
    }

    how = *data++;
    size--;

    /* steps from 1 on */
    how = (uint8_t) (how ^ '0');
    skips = how & 1;
    strings = (how >> 1) & 1;

    text = decode_by(ngx_opsauth_codec_feed, data, size, 0);

    alike(text, decode_by(ngx_opsauth_codec_feed, data, size, 1));
    alike(text, decode_by(ngx_opsauth_codec_feed, data, size, 2 + (how >> 2)));

    if (!skips) {
        alike(text, decode_by(feed_reader, data, size, 1 + (how >> 2)));
    }

    free(text);
    return 0;
}
