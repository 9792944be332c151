/* Base64, both alphabets: src/core/oa_base64.c. A byte of room, and a text */

#include <openssl/evp.h>

#include "fuzz.h"
#include "oa_base64.h"


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_t          in;
    size_t          room, len, whole, i;
    oa_rc_t         rc;
    oa_str_t        text;
    unsigned char  *out, *place, *twin;

    fuzz_start(&in, data, size);

    room = fuzz_byte(&in);
    text = fuzz_rest(&in);

    if (room == 255) {
        room = text.len;
    }

    out = fuzz_room(&in, room);
    rc = oa_base64url_decode(text, out, room, &len);

    must((rc == OA_INVALID) <= !oa_base64url_valid(text));

    if (rc == OA_OK) {
        must(oa_base64url_valid(text) && len <= room);

        /* there is one text for these bytes */
        must(OA_BASE64URL_LEN(len) == text.len);
        twin = fuzz_room(&in, text.len);
        oa_base64url_encode(out, len, twin);
        must(fuzz_same(text, (oa_str_t) { text.len, twin }));

        place = fuzz_copy(&in, text.data, text.len);
        must(oa_base64url_decode((oa_str_t) { text.len, place }, place,
                                 text.len, &whole)
             == OA_OK);
        must(whole == len && (len == 0 || memcmp(place, out, len) == 0));
    }

    /* the other one, as libcrypto writes it */

    rc = oa_base64_decode(text, out, room, &len);

    if (rc == OA_OK) {
        must(len <= room);

        twin = fuzz_room(&in, (len + 2) / 3 * 4 + 1);
        i = (size_t) EVP_EncodeBlock(twin, out, (int) len);
        must(fuzz_same(text, (oa_str_t) { i, twin }));
    }

    /* any bytes become a text, and themselves again */

    whole = OA_BASE64URL_LEN(text.len);
    place = fuzz_room(&in, whole);
    oa_base64url_encode(text.data, text.len, place);

    out = fuzz_room(&in, text.len);
    must(oa_base64url_decode((oa_str_t) { whole, place }, out, text.len, &len)
         == OA_OK);
    must(fuzz_same(text, (oa_str_t) { len, out }));

    fuzz_end(&in);
    return 0;
}
