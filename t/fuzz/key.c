/*
 * API keys: src/core/oa_key.c. A line that is a prefix, lines that are its
 * parameters up to an empty one, 32 bytes of chance, and a credential.
 */

#include "fuzz.h"
#include "oa_key.h"
#include "oa_policy.h"


/* what is minted is taken, and no longer once a byte of it is another */

static void
minted(const oa_key_prefix_t *prefix, oa_str_t random, uint8_t at, uint8_t to)
{
    size_t         len;
    oa_str_t       key;
    unsigned char  bytes[OA_KEY_RANDOM_LEN], out[OA_KEY_MAX];

    memset(bytes, 0, sizeof(bytes));
    memcpy(bytes, random.data, random.len);

    must(oa_key_mint(prefix, bytes, out, &len) == OA_OK);
    must(len == prefix->prefix.len + OA_KEY_BODY_LEN
                + (prefix->checksum ? OA_KEY_CHECKSUM_LEN : 0));

    key.data = out;
    key.len = len;

    must(oa_key_prefix_find(prefix, 1, key) == prefix);
    must(oa_key_check(prefix, key) == OA_OK);

    if (prefix->checksum && out[at % len] != to) {
        out[at % len] = to;
        must(oa_key_check(prefix, key) == OA_DECLINED);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t                  n;
    fuzz_t                  in;
    uint8_t                 at, to;
    oa_str_t                line, random, credential;
    const char             *error;
    oa_key_prefix_t         prefixes[2];
    const oa_key_prefix_t  *found, *told;

    fuzz_start(&in, data, size);

    memset(prefixes, 0, sizeof(prefixes));
    prefixes[0].prefix = fuzz_line(&in);
    prefixes[0].environment = OA_ENV_LIVE;
    prefixes[1].prefix = fuzz_line(&in);
    prefixes[1].environment = OA_ENV_TEST;

    for (n = 0; n < 4 && (line = fuzz_line(&in)).len; n++) {
        error = NULL;
        must((oa_key_prefix_param(&prefixes[0], line, &error) == OA_OK)
             == (error == NULL));
    }

    at = fuzz_byte(&in);
    to = fuzz_byte(&in);
    random = fuzz_take(&in, OA_KEY_RANDOM_LEN);
    credential = fuzz_rest(&in);

    if (oa_key_prefix_valid(prefixes[0].prefix) == OA_OK) {
        minted(&prefixes[0], random, at, to);
    }

    if (oa_key_prefix_valid(prefixes[1].prefix) == OA_OK) {
        minted(&prefixes[1], random, at, to);
    }

    found = oa_key_prefix_find(prefixes, 2, credential);

    if (found) {
        must(found->prefix.len && found->prefix.len <= credential.len);
        (void) oa_key_check(found, credential);
    }

    (void) oa_policy_offline(prefixes, 2, OA_ENV_LIVE, credential, &told);
    must(told == found);

    fuzz_end(&in);
    return 0;
}
