/* Digests and peppers: src/core/oa_digest.c */

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "oa_digest.h"
#include "oa_text.h"
#include "tap.h"


static oa_str_t
str(const char *s)
{
    return (oa_str_t) { strlen(s), (const unsigned char *) s };
}


/* RFC 4231; case 5 is about a cut digest and left out */

typedef struct {
    size_t       key_len;
    const char  *key;           /* NULL: key_len times byte */
    int          byte;
    size_t       data_len;
    const char  *data;          /* NULL: data_len times data_byte */
    int          data_byte;
    const char  *digest;
} vector_t;


static const vector_t  vectors[] = {
    { 20, NULL, 0x0b, 8, "Hi There", 0,
      "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7" },
    { 4, "Jefe", 0, 28, "what do ya want for nothing?", 0,
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" },
    { 20, NULL, 0xaa, 50, NULL, 0xdd,
      "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe" },
    { 25, "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d"
          "\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19", 0,
      50, NULL, 0xcd,
      "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b" },
    { 131, NULL, 0xaa, 54,
      "Test Using Larger Than Block-Size Key - Hash Key First", 0,
      "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54" },
    { 131, NULL, 0xaa, 152,
      "This is a test using a larger than block-size key and a larger than "
      "block-size data. The key needs to be hashed before being used by the "
      "HMAC algorithm.", 0,
      "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2" }
};


static void
known(void)
{
    size_t         i;
    oa_str_t       key, data;
    oa_hasher_t    h;
    unsigned char  keys[256], datas[256], out[32], hex[64];

    for (i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {

        memset(keys, vectors[i].byte, sizeof(keys));
        memset(datas, vectors[i].data_byte, sizeof(datas));

        key.len = vectors[i].key_len;
        key.data = vectors[i].key ? (const unsigned char *) vectors[i].key
                                  : keys;
        data.len = vectors[i].data_len;
        data.data = vectors[i].data ? (const unsigned char *) vectors[i].data
                                    : datas;

        is_int(oa_hasher_init(&h, &key, 1), OA_OK, "RFC 4231: hasher %zu", i);
        is_int(oa_hasher_credential(&h, 0, data, out), OA_OK, "digest");
        oa_text_hex(out, 32, hex);
        is_str(hex, 64, vectors[i].digest, "is the known one");
        oa_hasher_cleanup(&h);
    }
}


static void
differential(void)
{
    size_t         i, k, n, bad;
    unsigned       len;
    oa_str_t       peppers[OA_PEPPERS_MAX], data;
    oa_hasher_t    h;
    unsigned char  text[OA_BEARER_MAX], out[32], wanted[32], *copy;
    unsigned char  keys[OA_PEPPERS_MAX][OA_PEPPER_MAX];

    static const size_t  lens[OA_PEPPERS_MAX] = {
        OA_PEPPER_MIN, 32, 63, 64, 65, 128, 255, OA_PEPPER_MAX
    };

    for (i = 0; i < OA_PEPPERS_MAX; i++) {
        tap_random_bytes(keys[i], lens[i]);
        peppers[i].len = lens[i];
        peppers[i].data = keys[i];
    }

    is_int(oa_hasher_init(&h, peppers, OA_PEPPERS_MAX), OA_OK,
           "as many peppers as there may be");
    is_int(h.n, OA_PEPPERS_MAX, "are there");

    bad = 0;

    for (i = 0; i < 20000; i++) {
        n = tap_random_below(i % 4 ? 130 : sizeof(text) + 1);
        tap_random_bytes(text, n);
        copy = tap_copy(text, n);
        data = (oa_str_t) { n, copy };
        k = tap_random_below(OA_PEPPERS_MAX);

        (void) HMAC(EVP_sha256(), keys[k], (int) lens[k], copy, n, wanted,
                    &len);

        bad += (oa_hasher_credential(&h, k, data, out) != OA_OK
                || memcmp(out, wanted, 32) != 0);
        free(copy);
    }

    is_int(bad, 0, "random inputs: as a one-shot HMAC()");

    is_int(oa_hasher_credential(&h, OA_PEPPERS_MAX, str("x"), out), OA_ERROR,
           "a pepper that is not there");
    is_int(oa_hasher_credential(&h, (size_t) -1, str("x"), out), OA_ERROR,
           "nor is that one");

    oa_hasher_cleanup(&h);
    is_int(h.n, 0, "cleaned up");
    is_int(oa_hasher_credential(&h, 0, str("x"), out), OA_ERROR,
           "and gives no digest");
    is_int(oa_hasher_account(&h, str("x"), out), OA_ERROR, "of any kind");
    oa_hasher_cleanup(&h);
    ok(1, "cleaned up twice");

    memset(&h, 0, sizeof(h));
    oa_hasher_cleanup(&h);
    ok(1, "cleaned up before use");

    is_int(oa_hasher_init(&h, peppers, OA_PEPPERS_MAX + 1), OA_ERROR,
           "too many peppers");
    ok(!h.ready && h.n == 0, "leave nothing behind");

    is_int(oa_hasher_init(&h, NULL, 0), OA_OK, "no pepper at all");
    is_int(oa_hasher_credential(&h, 0, str("x"), out), OA_ERROR,
           "no digest then");
    is_int(oa_hasher_account(&h, str("x"), out), OA_OK,
           "but an account needs none");
    oa_hasher_cleanup(&h);
}


static void
accounts(void)
{
    size_t         i, bad;
    unsigned       len;
    oa_str_t       pepper;
    oa_hasher_t    h;
    unsigned char  out[32], wanted[32], text[8 + 130], *copy;

    pepper = str("0123456789abcdef");

    if (oa_hasher_init(&h, &pepper, 1) != OA_OK) {
        ok(0, "hasher");
        return;
    }

    (void) EVP_Digest("account:crm", 11, wanted, &len, EVP_sha256(), NULL);

    is_int(oa_hasher_account(&h, str("crm"), out), OA_OK, "account");
    ok(memcmp(out, wanted, 16) == 0, "16 bytes of SHA-256(\"account:crm\")");

    for (i = 16; i < 32 && out[i] == 0; i++) { /* void */ }

    is_int(i, 32, "and 16 zeros");

    /* the work context is shared: one does not disturb the other */

    is_int(oa_hasher_credential(&h, 0, str("x"), wanted), OA_OK, "credential");
    is_int(oa_hasher_account(&h, str("crm"), out), OA_OK, "account");
    is_int(oa_hasher_credential(&h, 0, str("x"), out), OA_OK, "credential");
    ok(memcmp(out, wanted, 32) == 0, "the same digest again");

    /* lengths on either side of what fits into the last block */

    memcpy(text, "account:", 8);

    for (i = 0, bad = 0; i <= 130; i++) {
        tap_random_bytes(text + 8, i);
        copy = tap_copy(text + 8, i);

        (void) EVP_Digest(text, 8 + i, wanted, &len, EVP_sha256(), NULL);

        bad += (oa_hasher_account(&h, (oa_str_t) { i, copy }, out) != OA_OK
                || memcmp(out, wanted, 16) != 0);
        free(copy);
    }

    is_int(bad, 0, "ids of any length");

    is_int(oa_hasher_account(&h, (oa_str_t) oa_null, out), OA_OK, "no id");
    is_int(oa_hasher_credential(&h, 0, (oa_str_t) oa_null, out), OA_OK,
           "no credential");

    oa_hasher_cleanup(&h);
}


static void
peppers(const char *text, size_t wanted, const char *first, const char *name)
{
    size_t       n;
    oa_rc_t      rc;
    oa_str_t     list[OA_PEPPERS_MAX];
    const char  *error;
    char        *copy;

    n = 0;
    error = NULL;
    copy = tap_copy(text, strlen(text));

    rc = oa_pepper_parse((oa_str_t) { strlen(text), (unsigned char *) copy },
                         list, &n, &error);

    if (wanted == 0) {
        ok(rc == OA_INVALID && error != NULL && error[0],
           "peppers: %s: refused", name);

    } else {
        ok(rc == OA_OK && n == wanted, "peppers: %s: %zu of them", name,
           wanted);

        if (rc == OA_OK && n) {
            is_str(list[0].data, list[0].len, first, "the first of them");
        }
    }

    free(copy);
}


static void
pepper_files(void)
{
    size_t         i, n, bad;
    char           line[OA_PEPPER_MAX + 2], text[OA_PEPPERS_MAX * 24 + 64];
    oa_str_t       list[OA_PEPPERS_MAX];
    const char    *error;
    unsigned char  bytes[64], *copy;

    peppers("0123456789abcdef", 1, "0123456789abcdef", "no end of line");
    peppers("0123456789abcdef\n", 1, "0123456789abcdef", "one line");
    peppers("0123456789abcdef\r\n", 1, "0123456789abcdef", "CR LF");
    peppers(" \t0123456789abcdef \t\r\n", 1, "0123456789abcdef", "blanks");
    peppers("\n\n# newest\n0123456789abcdef\n\n#old\nfedcba9876543210\n", 2,
            "0123456789abcdef", "comments");
    peppers("  # 0123456789abcdef\nfedcba9876543210\n", 1, "fedcba9876543210",
            "a comment that is indented");
    peppers("0123456789 abcdef\n", 1, "0123456789 abcdef", "a blank inside");
    peppers("0123456789abcde#f\n", 1, "0123456789abcde#f", "a # inside");

    peppers("", 0, NULL, "an empty file");
    peppers("\n \n\r\n", 0, NULL, "empty lines");
    peppers("# 0123456789abcdef\n", 0, NULL, "a comment alone");
    peppers("0123456789abcde\n", 0, NULL, "15 bytes");
    peppers(" 0123456789abcde \n", 0, NULL, "15 bytes and blanks");
    peppers("0123456789abcdef\nshort\n", 0, NULL, "a second one too short");
    peppers("0123456789abcdef\n 0123456789abcdef\n", 0, NULL, "one twice");

    memset(line, 'p', sizeof(line));
    line[OA_PEPPER_MAX] = '\0';
    peppers(line, 1, line, "the longest");
    line[OA_PEPPER_MAX] = 'p';
    line[OA_PEPPER_MAX + 1] = '\0';
    peppers(line, 0, NULL, "one longer");

    text[0] = '\0';

    for (i = 0; i < OA_PEPPERS_MAX; i++) {
        sprintf(text + strlen(text), "0123456789abcdef%zu\n", i);
    }

    peppers(text, OA_PEPPERS_MAX, "0123456789abcdef0", "as many as may be");
    strcat(text, "0123456789abcdefX\n");
    peppers(text, 0, NULL, "one more");

    is_int(oa_pepper_parse((oa_str_t) oa_null, list, &n, &error), OA_INVALID,
           "peppers: absent");

    bad = 0;

    for (i = 0; i < 50000; i++) {
        size_t  k, len;

        len = tap_random_below(sizeof(bytes) + 1);
        tap_random_bytes(bytes, len);

        for (k = 0; k < len; k++) {
            if (bytes[k] < 24) {
                bytes[k] = (unsigned char) "\n\r\t #\n"[bytes[k] % 6];
            }
        }

        copy = tap_copy(bytes, len);

        if (oa_pepper_parse((oa_str_t) { len, copy }, list, &n, &error)
            == OA_OK)
        {
            for (k = 0; k < n; k++) {
                bad += (list[k].len < OA_PEPPER_MIN
                        || list[k].data < copy
                        || list[k].data + list[k].len > copy + len
                        || memchr(list[k].data, '\n', list[k].len) != NULL);
            }
        }

        free(copy);
    }

    is_int(bad, 0, "random files");
}


int
main(void)
{
    known();
    differential();
    accounts();
    pepper_files();

    return done_testing();
}
