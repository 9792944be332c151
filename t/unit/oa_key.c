/* API keys: src/core/oa_key.c */

#include "oa_bearer.h"
#include "oa_crc32_naive.h"
#include "oa_key.h"
#include "tap.h"


static const char  alphabet[] =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";


static oa_str_t
str(const char *s)
{
    return (oa_str_t) { strlen(s), (const unsigned char *) s };
}


static void
append_checksum(unsigned char *p, uint32_t crc)
{
    int  i;

    for (i = OA_KEY_CHECKSUM_LEN - 1; i >= 0; i--) {
        p[i] = (unsigned char) alphabet[crc % 62];
        crc /= 62;
    }
}


static void
checksums(void)
{
    size_t           i, k, n, bad;
    oa_str_t         key;
    oa_key_prefix_t  prefix, none;
    unsigned char    text[160], *copy, right;

    memset(&prefix, 0, sizeof(prefix));
    prefix.prefix = str("1");
    prefix.environment = OA_ENV_LIVE;
    prefix.checksum = 1;

    /* the check value of CRC-32 */

    is_int(naive_crc((const unsigned char *) "123456789", 9), 0xcbf43926,
           "CRC-32 of 123456789 is CBF43926");

    memcpy(text, "123456789", 9);
    append_checksum(text + 9, 0xcbf43926);
    key = (oa_str_t) { 15, text };

    is_str(text + 9, 6, "3jZRME", "in base62");
    is_int(oa_key_check(&prefix, key), OA_OK, "and so is ours");

    none = prefix;
    none.checksum = 0;
    is_int(oa_key_check(&none, str("1nonsense")), OA_OK,
           "no checksum asked for, none looked at");
    is_int(oa_key_check(&none, str("1")), OA_OK, "nor is room for one needed");

    is_int(oa_key_check(&prefix, str("1")), OA_DECLINED, "the prefix alone");
    is_int(oa_key_check(&prefix, str("112345")), OA_DECLINED, "no room");

    bad = 0;

    for (n = 1; n <= 120; n++) {

        tap_random_bytes(text, n);
        text[0] = '1';
        append_checksum(text + n, naive_crc(text, n));

        copy = tap_copy(text, n + OA_KEY_CHECKSUM_LEN);
        key = (oa_str_t) { n + OA_KEY_CHECKSUM_LEN, copy };

        bad += (oa_key_check(&prefix, key) != OA_OK);

        /* every byte counts */

        for (i = 0; i < key.len; i++) {
            k = 1 + tap_random_below(255);
            copy[i] ^= (unsigned char) k;
            bad += (oa_key_check(&prefix, key) != OA_DECLINED);
            copy[i] ^= (unsigned char) k;
        }

        free(copy);
    }

    is_int(bad, 0, "random texts of every length, and each byte changed");

    /* no other byte stands for a digit */

    n = 9 + 20;
    tap_random_bytes(text, n);
    text[0] = '1';
    append_checksum(text + n, naive_crc(text, n));
    key = (oa_str_t) { n + OA_KEY_CHECKSUM_LEN, text };
    bad = 0;

    for (i = n; i < n + OA_KEY_CHECKSUM_LEN; i++) {
        right = text[i];

        for (k = 0; k < 256; k++) {
            text[i] = (unsigned char) k;
            bad += (oa_key_check(&prefix, key) == OA_OK) != (k == right);
        }

        text[i] = right;
    }

    is_int(bad, 0, "one byte alone is right at each place of a checksum");
}


/* a body back to its number: -1 where it is none of 256 bits */

static int
decode(const unsigned char *body, unsigned char number[OA_KEY_RANDOM_LEN])
{
    int          k;
    size_t       i;
    unsigned     carry;
    const char  *digit;

    memset(number, 0, OA_KEY_RANDOM_LEN);

    for (i = 0; i < OA_KEY_BODY_LEN; i++) {
        digit = body[i] ? strchr(alphabet, body[i]) : NULL;

        if (digit == NULL) {
            return -1;
        }

        carry = (unsigned) (digit - alphabet);

        for (k = OA_KEY_RANDOM_LEN - 1; k >= 0; k--) {
            carry += number[k] * 62u;
            number[k] = (unsigned char) carry;
            carry >>= 8;
        }

        if (carry) {
            return -1;
        }
    }

    return 0;
}


static void
minting(void)
{
    size_t           i, len, bad;
    char             longest[OA_KEY_PREFIX_MAX + 2];
    oa_str_t         found;
    oa_key_prefix_t  prefix;
    unsigned char    random[OA_KEY_RANDOM_LEN], out[OA_KEY_MAX], *exact;
    unsigned char    back[OA_KEY_RANDOM_LEN], token[OA_KEY_BODY_LEN];

    memset(&prefix, 0, sizeof(prefix));
    prefix.prefix = str("op365_sk_live_");
    prefix.environment = OA_ENV_LIVE;
    prefix.checksum = 1;

    memset(random, 0, sizeof(random));
    is_int(oa_key_mint(&prefix, random, out, &len), OA_OK, "minted of zeros");
    is_int(len, 14 + 43 + 6, "its length");
    is_str(out, 14 + 43, "op365_sk_live_"
           "0000000000000000000000000000000000000000000",
           "all zeros are 43 times 0");

    random[31] = 61;
    oa_token_mint(random, token);
    is_str(token, 43, "000000000000000000000000000000000000000000z",
           "61 is z");
    random[31] = 62;
    oa_token_mint(random, token);
    is_str(token, 43, "0000000000000000000000000000000000000000010",
           "62 is 10: big-endian, most significant digit first");

    /* 2^256 - 1, by another program */

    memset(random, 0xff, sizeof(random));
    oa_token_mint(random, token);
    is_str(token, 43, "yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1",
           "all ones");

    bad = 0;

    for (i = 0; i < 20000; i++) {
        tap_random_bytes(random, sizeof(random));

        if (i % 16 == 0) {
            memset(random, 0, tap_random_below(sizeof(random) + 1));
        }

        exact = malloc(OA_KEY_MAX);
        bad += (oa_key_mint(&prefix, random, exact, &len) != OA_OK
                || len != 63
                || oa_key_check(&prefix, (oa_str_t) { len, exact }) != OA_OK
                || decode(exact + 14, back) != 0
                || memcmp(random, back, sizeof(back)) != 0
                || oa_bearer_bare((oa_str_t) { len, exact }, &found) != OA_OK);

        oa_token_mint(random, token);
        bad += (memcmp(token, exact + 14, OA_KEY_BODY_LEN) != 0);
        free(exact);
    }

    is_int(bad, 0, "random keys: checked, decoded, fit a Bearer header");

    prefix.checksum = 0;
    is_int(oa_key_mint(&prefix, random, out, &len), OA_OK, "no checksum");
    is_int(len, 14 + 43, "is 6 shorter");

    memset(longest, 'p', sizeof(longest));
    prefix.prefix = (oa_str_t) { OA_KEY_PREFIX_MAX,
                                 (const unsigned char *) longest };
    prefix.checksum = 1;
    exact = malloc(OA_KEY_MAX);
    is_int(oa_key_mint(&prefix, random, exact, &len), OA_OK, "longest prefix");
    is_int(len, OA_KEY_MAX, "fills the room");

    prefix.prefix.len++;
    is_int(oa_key_mint(&prefix, random, exact, &len), OA_INVALID,
           "a prefix too long");
    free(exact);

    prefix.prefix = (oa_str_t) oa_null;
    is_int(oa_key_mint(&prefix, random, out, &len), OA_OK, "no prefix");
    is_int(len, 49, "its length");
}


static void
prefixes(void)
{
    size_t           i, bad;
    char             text[OA_KEY_PREFIX_MAX + 2];
    const char      *error;
    oa_key_prefix_t  list[4], p;

    memset(list, 0, sizeof(list));
    list[0].prefix = str("op365_sk_");
    list[1].prefix = str("op365_sk_live_");
    list[2].prefix = str("op365_sk_test_");
    list[3].prefix = str("op365_sk_live");

    ok(oa_key_prefix_find(list, 4, str("op365_sk_live_abc")) == &list[1],
       "the longest prefix");
    ok(oa_key_prefix_find(list, 4, str("op365_sk_live-abc")) == &list[3],
       "the longest that fits");
    ok(oa_key_prefix_find(list, 4, str("op365_sk_abc")) == &list[0],
       "a short one");
    ok(oa_key_prefix_find(list, 4, str("op365_sk_test_")) == &list[2],
       "nothing behind it");
    ok(oa_key_prefix_find(list, 4, str("op365_sk")) == NULL, "cut");
    ok(oa_key_prefix_find(list, 4, str("OP365_SK_live_")) == NULL, "case");
    ok(oa_key_prefix_find(list, 4, str("xop365_sk_live_")) == NULL, "inside");
    ok(oa_key_prefix_find(list, 4, str("")) == NULL, "empty");
    ok(oa_key_prefix_find(list, 0, str("op365_sk_")) == NULL, "no list");
    ok(oa_key_prefix_find(NULL, 0, str("op365_sk_")) == NULL, "none at all");
    ok(oa_key_prefix_find(list, 4, (oa_str_t) oa_null) == NULL, "absent");

    list[0].prefix = (oa_str_t) oa_null;
    ok(oa_key_prefix_find(list, 4, str("other")) == NULL,
       "an empty prefix is no prefix");

    is_int(oa_key_prefix_valid(str("op365_sk_live_")), OA_OK, "valid");
    is_int(oa_key_prefix_valid(str("a")), OA_OK, "one byte");
    is_int(oa_key_prefix_valid(str("")), OA_INVALID, "none");
    is_int(oa_key_prefix_valid((oa_str_t) oa_null), OA_INVALID, "absent");

    memset(text, 'x', sizeof(text));
    text[OA_KEY_PREFIX_MAX] = '\0';
    is_int(oa_key_prefix_valid(str(text)), OA_OK, "the longest");
    text[OA_KEY_PREFIX_MAX] = 'x';
    text[OA_KEY_PREFIX_MAX + 1] = '\0';
    is_int(oa_key_prefix_valid(str(text)), OA_INVALID, "one longer");

    bad = 0;

    for (i = 0; i < 256; i++) {
        text[0] = (char) i;

        bad += (oa_key_prefix_valid((oa_str_t) { 1, (unsigned char *) text })
                == OA_OK)
               != (i != 0 && (strchr(alphabet, (int) i) != NULL
                              || strchr("_-.", (int) i) != NULL));
    }

    is_int(bad, 0, "each byte may stand in a prefix or may not");

    memset(&p, 0, sizeof(p));
    error = NULL;

    is_int(oa_key_prefix_param(&p, str("environment=live"), &error), OA_OK,
           "environment=live");
    is_int(p.environment, OA_ENV_LIVE, "is live");
    is_int(oa_key_prefix_param(&p, str("environment=test"), &error), OA_OK,
           "environment=test");
    is_int(p.environment, OA_ENV_TEST, "is test");
    is_int(oa_key_prefix_param(&p, str("checksum=crc32"), &error), OA_OK,
           "checksum=crc32");
    is_int(p.checksum, 1, "is on");
    is_int(oa_key_prefix_param(&p, str("checksum=off"), &error), OA_OK,
           "checksum=off");
    is_int(p.checksum, 0, "is off");
    ok(error == NULL, "no error so far");

    is_int(oa_key_prefix_param(&p, str("environment=any"), &error),
           OA_INVALID, "environment=any");
    ok(error != NULL && error[0], "says what to write");
    is_int(oa_key_prefix_param(&p, str("environment="), &error), OA_INVALID,
           "environment=");
    is_int(oa_key_prefix_param(&p, str("environment=live "), &error),
           OA_INVALID, "with a blank");
    is_int(oa_key_prefix_param(&p, str("checksum=CRC32"), &error), OA_INVALID,
           "in capitals");
    is_int(oa_key_prefix_param(&p, str("color=red"), &error), OA_INVALID,
           "unknown");
    is_int(oa_key_prefix_param(&p, str(""), &error), OA_INVALID, "empty");
    is_int(p.environment, OA_ENV_TEST, "a refused one changes nothing");
}


int
main(void)
{
    checksums();
    minting();
    prefixes();

    return done_testing();
}
