/* Sets of words, scopes and roles: src/core/oa_set.c */

#include "oa_set.h"
#include "tap.h"


static oa_str_t
str(const char *s)
{
    return (oa_str_t) { strlen(s), (const unsigned char *) s };
}


static void
pack(const char *text, oa_rc_t wanted, const char *packed)
{
    size_t         len;
    oa_rc_t        rc;
    unsigned char  out[256];

    len = 0;
    rc = oa_set_pack(str(text), out, sizeof(out), &len);

    is_int(rc, wanted, "pack \"%s\"", text);

    if (packed) {
        is_str(out, len, packed, "pack \"%s\": result", text);
    }
}


static void
packing(void)
{
    int            good;
    size_t         i, n, len, bad;
    unsigned char  text[3], *out;

    pack("", OA_OK, "");
    pack("   ", OA_OK, "");
    pack("a", OA_OK, "a");
    pack(" a ", OA_OK, "a");
    pack("a b", OA_OK, "a b");
    pack("\ta  \t b   c ", OA_OK, "a b c");
    pack("b a b a b", OA_OK, "b a");
    pack("ab a abc a ab", OA_OK, "ab a abc");
    pack("read:* write:tenants", OA_OK, "read:* write:tenants");
    pack("read:tenants read:tenants", OA_OK, "read:tenants");
    pack("read:tenants write:tenants read:tenants", OA_OK,
         "read:tenants write:tenants");
    pack("read:tenants write:tenants write:tenants", OA_OK,
         "read:tenants write:tenants");
    pack("read:tenants write:tenants ", OA_OK, "read:tenants write:tenants");
    pack(" read:tenants write:tenants", OA_OK, "read:tenants write:tenants");
    pack("read:tenants  write:tenants", OA_OK, "read:tenants write:tenants");
    pack("read:tenants\twrite:tenants", OA_OK, "read:tenants write:tenants");
    pack("a\nb", OA_INVALID, NULL);
    pack("a\rb", OA_INVALID, NULL);
    pack("a \"b\"", OA_INVALID, NULL);
    pack("a\\b", OA_INVALID, NULL);
    pack("\xc3\xa9", OA_INVALID, NULL);
    pack("a b\x7f", OA_INVALID, NULL);

    bad = 0;

    for (i = 0; i < 256; i++) {
        text[0] = 'a';
        text[1] = (unsigned char) i;
        text[2] = 'a';

        out = malloc(3);
        good = (i == 0x21 || (i >= 0x23 && i <= 0x5b)
                || (i >= 0x5d && i <= 0x7e) || i == ' ' || i == '\t');

        bad += (oa_set_pack((oa_str_t) { 3, text }, out, 3, &len)
                != (good ? OA_OK : OA_INVALID));
        free(out);
    }

    is_int(bad, 0, "each byte is one of a word or is not");

    bad = 0;

    for (n = 1; n <= 50; n++) {
        for (i = 0; i < n * 256; i++) {
            out = malloc(2 * n);
            memset(out, 'a', 2 * n);
            out[i / 256] = (unsigned char) i;

            good = ((i & 255) == 0x21 || ((i & 255) >= 0x23 && (i & 255) <= 0x5b)
                    || ((i & 255) >= 0x5d && (i & 255) <= 0x7e)
                    || (i & 255) == ' ' || (i & 255) == '\t');

            bad += (oa_set_pack((oa_str_t) { n, out }, out + n, n, &len)
                    != (good ? OA_OK : OA_INVALID));
            free(out);
        }
    }

    is_int(bad, 0, "in texts of any length, at any place");

    out = malloc(5);
    is_int(oa_set_pack(str("ab cd"), out, 5, &len), OA_OK, "just fits");
    is_int(oa_set_pack(str("ab cde"), out, 5, &len), OA_ERROR, "one too many");
    is_int(oa_set_pack(str("abcdef"), out, 5, &len), OA_ERROR, "word too long");
    is_int(oa_set_pack(str("abcde f"), out, 5, &len), OA_ERROR,
           "no room for a space");
    is_int(oa_set_pack(str("  ab   ab cd ab  "), out, 5, &len), OA_OK,
           "only what is kept needs room");
    is_int(len, 5, "its length");
    is_int(oa_set_pack(str("a"), out, 0, &len), OA_ERROR, "no room at all");
    is_int(oa_set_pack(str(" "), out, 0, &len), OA_OK, "none is needed");
    free(out);

    is_int(oa_set_pack((oa_str_t) oa_null, NULL, 0, &len), OA_OK, "absent");
    is_int(len, 0, "is empty");
}


static void
iterating(void)
{
    size_t    pos;
    oa_str_t  word;

    pos = 0;
    ok(oa_set_next(str("ab c"), &pos, &word), "a first word");
    is_str(word.data, word.len, "ab", "it");
    ok(oa_set_next(str("ab c"), &pos, &word), "a second word");
    is_str(word.data, word.len, "c", "it");
    ok(!oa_set_next(str("ab c"), &pos, &word), "no third");
    ok(!oa_set_next(str("ab c"), &pos, &word), "and still none");

    pos = 0;
    ok(!oa_set_next((oa_str_t) oa_null, &pos, &word), "absent has none");
    pos = 0;
    ok(!oa_set_next(str("  "), &pos, &word), "spaces have none");
    pos = 0;
    ok(oa_set_next(str("  a  "), &pos, &word), "not packed: found");
    is_str(word.data, word.len, "a", "it");
    pos = 100;
    ok(!oa_set_next(str("a"), &pos, &word), "a position beyond the end");
}


static void
membership(void)
{
    ok(oa_set_has(str("a b c"), str("a")), "first");
    ok(oa_set_has(str("a b c"), str("b")), "in between");
    ok(oa_set_has(str("a b c"), str("c")), "last");
    ok(!oa_set_has(str("a b c"), str("d")), "none");
    ok(!oa_set_has(str("abc"), str("ab")), "a start is not the word");
    ok(!oa_set_has(str("ab"), str("abc")), "nor is a longer one");
    ok(!oa_set_has(str("abc"), str("bc")), "nor an end");
    ok(!oa_set_has(str("a b"), str("a b")), "two words are not one");
    ok(!oa_set_has(str("a b"), str("A")), "case matters");
    ok(!oa_set_has(str("a b"), str("")), "an empty word is in no set");
    ok(!oa_set_has(str(""), str("")), "nor in an empty one");
    ok(!oa_set_has(str("a  b"), str("")), "nor between two spaces");
    ok(!oa_set_has((oa_str_t) oa_null, str("a")), "an absent set has none");

    ok(oa_set_has_any(str("a b"), str("c b")), "any: one of them");
    ok(!oa_set_has_any(str("a b"), str("c d")), "any: none of them");
    ok(!oa_set_has_any(str("a b"), str("")), "any of nothing");
    ok(!oa_set_has_any(str(""), str("")), "any of nothing in nothing");
    ok(!oa_set_has_any(str(""), str("a")), "any in nothing");
    ok(!oa_set_has_any(str("a"), (oa_str_t) oa_null), "any of absent");
    ok(!oa_set_has_any(str("admin"), str("read:x")), "admin is a plain word");
    ok(!oa_set_has_any(str("read:*"), str("read:x")), "so is read:*");
}


static void
grants(const char *scopes, const char *wanted, int expected)
{
    ok(oa_scope_grants(str(scopes), str(wanted)) == expected,
       "\"%s\" %s \"%s\"", scopes, expected ? "grants" : "does not grant",
       wanted);
}


static void
scopes(void)
{
    oa_str_t  s;

    grants("read:tenants", "read:tenants", 1);
    grants("read:tenants", "read:users", 0);
    grants("read:tenants", "write:tenants", 0);
    grants("read:tenants", "read:tenant", 0);
    grants("read:tenants", "read:tenants2", 0);
    grants("read:*", "read:tenants", 1);
    grants("read:*", "read:*", 1);
    grants("read:*", "write:tenants", 0);
    grants("read:*", "reader:tenants", 0);
    grants("read:*", "read", 0);
    grants("read:*", "read:", 0);
    grants("read:*", "read:a:b", 1);
    grants("read:a:*", "read:a:b", 0);
    grants("read:*", "spread:tenants", 0);
    grants("read:*x", "read:tenants", 0);
    grants("read*", "read:tenants", 0);
    grants("*", "read:tenants", 0);
    grants("*:*", "read:tenants", 0);
    grants(":*", ":x", 0);
    grants(":x", ":x", 1);
    grants("read:tenants", "read:*", 0);
    grants("write:* read:*", "read:tenants", 1);
    grants("x y read:tenants z", "read:tenants", 1);
    grants("admin", "read:tenants", 1);
    grants("admin", "anything", 1);
    grants("admin", "admin", 1);
    grants("x admin", "delete:all", 1);
    grants("administrator", "read:tenants", 0);
    grants("Admin", "read:tenants", 0);
    grants("admin:*", "read:tenants", 0);
    grants("read:* write:*", "admin", 0);
    grants("openid", "openid", 1);
    grants("openid", "profile", 0);
    grants("READ:*", "read:x", 0);
    grants("", "read:tenants", 0);
    grants("admin", "", 0);
    grants("", "", 0);

    ok(!oa_scope_grants(str("admin"), (oa_str_t) oa_null), "absent scope");
    ok(!oa_scope_grants((oa_str_t) oa_null, str("x")), "absent scopes");

    ok(oa_scope_grants_any(str("read:*"), str("admin read:users")),
       "any of two scopes");
    ok(!oa_scope_grants_any(str("read:*"), str("admin write:users")),
       "neither of two scopes");
    ok(!oa_scope_grants_any(str("admin"), str("")), "any of no scopes");
    ok(!oa_scope_grants_any((oa_str_t) oa_null, str("a")), "absent scopes");

    is_int(oa_permission_scopes(str("read"), &s), OA_OK, "permission read");
    is_str(s.data, s.len, "read:*", "its scopes");
    is_int(oa_permission_scopes(str("write"), &s), OA_OK, "permission write");
    is_str(s.data, s.len, "read:* write:*", "its scopes");
    is_int(oa_permission_scopes(str("admin"), &s), OA_OK, "permission admin");
    is_str(s.data, s.len, "admin", "its scopes");
    is_int(oa_permission_scopes(str("root"), &s), OA_INVALID, "no permission");
    is_int(oa_permission_scopes(str("Read"), &s), OA_INVALID, "case matters");
    is_int(oa_permission_scopes(str(""), &s), OA_INVALID, "empty permission");
}


/* packing is idempotent, keeps every word once, and writes nothing beyond */

static void
hostile(void)
{
    size_t         i, n, len, again, bad, pos;
    oa_rc_t        rc;
    oa_str_t       packed, word, text;
    unsigned char  buf[40], *in, *out, out2[40];

    static const char  likely[] = "ab  \tc:*";

    bad = 0;

    for (i = 0; i < 100000; i++) {
        n = tap_random_below(sizeof(buf) + 1);
        tap_random_bytes(buf, n);

        if (i % 8) {
            for (pos = 0; pos < n; pos++) {
                buf[pos] = (unsigned char) likely[buf[pos] % 8];
            }
        }

        in = tap_copy(buf, n);
        text.data = in;
        text.len = n;

        out = malloc(n ? n : 1);
        len = 0;
        rc = oa_set_pack(text, out, n, &len);

        if (rc == OA_ERROR || len > n) {
            bad++;

        } else if (rc == OA_OK) {
            packed.data = out;
            packed.len = len;

            bad += (oa_set_pack(packed, out2, sizeof(out2), &again) != OA_OK
                    || again != len || memcmp(out, out2, len) != 0);

            pos = 0;

            while (oa_set_next(text, &pos, &word)) {
                if (memchr(word.data, '\t', word.len) == NULL) {
                    bad += !oa_set_has(packed, word);
                }
            }
        }

        (void) oa_scope_grants_any(text, text);

        free(in);
        free(out);
    }

    is_int(bad, 0, "random texts");
}


int
main(void)
{
    packing();
    iterating();
    membership();
    scopes();
    hostile();

    return done_testing();
}
