/* SHA-1 in hex, by libcrypto. */

#include <openssl/evp.h>

#include "oa_sha1.h"


oa_rc_t
oa_sha1_hex(oa_str_t text, unsigned char out[OA_SHA1_HEX_LEN])
{
    size_t         i;
    unsigned int   len;
    unsigned char  digest[EVP_MAX_MD_SIZE];

    static const char  hex[] = "0123456789abcdef";

    if (EVP_Digest(text.data, text.len, digest, &len, EVP_sha1(), NULL) != 1
        || len != OA_SHA1_HEX_LEN / 2)
    {
        return OA_ERROR;
    }

    for (i = 0; i < len; i++) {
        out[2 * i] = (unsigned char) hex[digest[i] >> 4];
        out[2 * i + 1] = (unsigned char) hex[digest[i] & 0xf];
    }

    return OA_OK;
}
