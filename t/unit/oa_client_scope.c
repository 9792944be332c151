/* Scopes of a token, PKCE: src/core/oa_client_scope.c */

#include "oa_client.h"
#include "oa_set.h"
#include "tap.h"


static oa_str_t
str(const char *s)
{
    return (oa_str_t) { s ? strlen(s) : 0, (const unsigned char *) s };
}


/* wanted NULL: invalid_scope */

static void
narrow(const char *requested, const char *allowed, const char *ceiling,
    const char *wanted)
{
    size_t         len;
    oa_rc_t        rc;
    unsigned char  out[OA_SET_MAX];

    len = 0;
    rc = oa_scope_narrow(str(requested), str(allowed), str(ceiling), out,
                         sizeof(out), &len);

    if (wanted == NULL) {
        is_int(rc, OA_INVALID, "\"%s\" of \"%s\" below \"%s\" is refused",
               requested, allowed, ceiling ? ceiling : "-");
        return;
    }

    ok(rc == OA_OK, "\"%s\" of \"%s\" below \"%s\"",
       requested ? requested : "-", allowed ? allowed : "-",
       ceiling ? ceiling : "-");
    is_str(out, len, wanted, "is \"%s\"", wanted);
}


static void
narrowing(void)
{
    narrow("a", "a b", NULL, "a");
    narrow("b a", "a b", NULL, "b a");
    narrow("a  a a", "a b", NULL, "a");
    narrow("a", "a b", "a", "a");
    narrow("read:users", "read:*", NULL, "read:users");
    narrow("read:users", "read:*", "read:users", "read:users");
    narrow("read:*", "read:*", "admin", "read:*");
    narrow("read:*", "admin", "read:*", "read:*");
    narrow("admin", "admin", "admin", "admin");

    narrow("c", "a b", NULL, NULL);
    narrow("a c", "a b", NULL, NULL);
    narrow("a", "", NULL, NULL);
    narrow("a", NULL, NULL, NULL);
    narrow("A", "a", NULL, NULL);
    narrow("a", "a b", "b", NULL);
    narrow("a b", "a b", "b", NULL);
    narrow("a", "a", "", NULL);
    narrow("read:*", "read:users", NULL, NULL);
    narrow("read:*", "read:*", "read:users", NULL);
    narrow("admin", "read:* write:*", NULL, NULL);
    narrow("admin", "admin", "read:*", NULL);
    narrow("write:users", "admin", "read:*", NULL);

    narrow(" ", "a", NULL, NULL);
    narrow("a\tb", "a b", NULL, NULL);
    narrow("a\r", "a", NULL, NULL);
    narrow("a\"", "a", NULL, NULL);
    narrow("\xc3\xa4", "admin", NULL, NULL);

    narrow(NULL, "a b", NULL, "a b");
    narrow("", "a b", NULL, "a b");
    narrow("", "b  a b", NULL, "b a");
    narrow("", "a\tb", NULL, "a b");
    narrow("", "read:* admin", NULL, "read:* admin");
    narrow("", "a b", "b c", "b");
    narrow("", "a b", "c", "");
    narrow("", "a b", "", "");
    narrow("", "", NULL, "");
    narrow("", "", "admin", "");
    narrow("", NULL, "admin", "");
    narrow("", "read:*", "read:users read:roles", "read:users read:roles");
    narrow("", "read:users", "read:*", "read:users");
    narrow("", "read:* write:users", "read:users write:*",
           "write:users read:users");
    narrow("", "admin", "read:* x", "read:* x");
    narrow("", "read:* x", "admin", "read:* x");
    narrow("", "admin", "admin", "admin");
    narrow("", "admin", "admin read:*", "admin");
    narrow("", "a:b:c", "a:*", "a:b:c");
    narrow("", "a:b:*", "a:b:c", "");
}


static void
limits(void)
{
    char           text[2 * OA_SET_MAX];
    size_t         i, len;
    unsigned char  out[OA_SET_MAX];

    memset(text, 'a', sizeof(text));

    is_int(oa_scope_narrow((oa_str_t) { OA_SET_MAX + 1,
                                        (unsigned char *) text },
                           str("admin"), str(NULL), out, sizeof(out), &len),
           OA_INVALID, "a request beyond all bounds is the client's fault");
    ok(oa_scope_narrow((oa_str_t) { OA_SET_MAX, (unsigned char *) text },
                       str("admin"), str(NULL), out, sizeof(out), &len)
       == OA_OK && len == OA_SET_MAX, "one at the bound");
    is_int(oa_scope_narrow(str("abc"), str("admin"), str(NULL), out, 2, &len),
           OA_ERROR, "no room");
    is_int(oa_scope_narrow(str(""), str("ab c"), str(NULL), out, 3, &len),
           OA_ERROR, "no room for all");
    is_int(oa_scope_narrow(str(""), str("ab c"), str(NULL), out, 4, &len),
           OA_OK, "just room for all");
    is_int(oa_scope_narrow(str("a"), str("a \x01"), str(NULL), out,
                           sizeof(out), &len),
           OA_ERROR, "what is allowed is malformed");
    is_int(oa_scope_narrow(str("a"), str("a"), str("a \x01"), out,
                           sizeof(out), &len),
           OA_ERROR, "the ceiling is malformed");

    text[0] = '\0';

    for (i = 0; i < 180; i++) {
        sprintf(text + strlen(text), "%02zx ", i);
    }

    is_int(oa_scope_narrow(str(""), str("aaaaa admin"), str(text), out,
                           sizeof(out), &len),
           OA_OK, "many words");
    is_int(len, 180 * 3 - 1, "all of them");
}


/* never more than both grant, and all of what was asked for */

static void
random_sets(void)
{
    size_t         i, k, pos, len, bad;
    oa_rc_t        rc;
    oa_str_t       sets[3], word, set;
    unsigned char  text[3][40], out[OA_SET_MAX];

    static const char *const  some[] = {
        "a", "b", "admin", "r:*", "r:x", "r:y", "w:*", "w:x", "*", "r:", ":x"
    };

    bad = 0;

    for (i = 0; i < 200000; i++) {

        for (k = 0; k < 3; k++) {
            sets[k].data = text[k];
            sets[k].len = 0;

            while (tap_random_below(4) != 0 && sets[k].len < 32) {
                sets[k].len += (size_t) sprintf((char *) text[k]
                                                + sets[k].len, "%s ",
                                                some[tap_random_below(11)]);
            }
        }

        if (tap_random_below(3) == 0) {
            sets[2].data = NULL;
            sets[2].len = 0;
        }

        rc = oa_scope_narrow(sets[0], sets[1], sets[2], out, sizeof(out),
                             &len);
        if (rc != OA_OK) {
            bad += (rc != OA_INVALID || sets[0].len == 0);
            continue;
        }

        set.data = out;
        set.len = len;
        pos = 0;

        while (oa_set_next(set, &pos, &word)) {
            bad += (!oa_scope_grants(sets[1], word)
                    || (sets[2].data != NULL
                        && !oa_scope_grants(sets[2], word)));
        }

        pos = 0;

        while (oa_set_next(sets[0], &pos, &word)) {
            bad += !oa_set_has(set, word);
        }
    }

    is_int(bad, 0, "random sets");
}


/* RFC 7636 appendix B */

#define VERIFIER   "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
#define CHALLENGE  "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"

static void
pkce(void)
{
    char    text[256];
    size_t  i, bad;

    is_int(oa_pkce_check(str(VERIFIER), str(CHALLENGE)), OA_OK,
           "RFC 7636 appendix B");
    is_int(oa_pkce_check(str(CHALLENGE), str(CHALLENGE)), OA_DECLINED,
           "the challenge is not its verifier");
    is_int(oa_pkce_check(str(VERIFIER), str(VERIFIER)), OA_DECLINED,
           "a plain challenge");
    is_int(oa_pkce_check(str(VERIFIER), str("")), OA_DECLINED,
           "no challenge");
    is_int(oa_pkce_check(str(VERIFIER), str(NULL)), OA_DECLINED,
           "an absent challenge");
    is_int(oa_pkce_check(str(VERIFIER), str(CHALLENGE "=")), OA_DECLINED,
           "a challenge with padding");
    is_int(oa_pkce_check(str(NULL), str(CHALLENGE)), OA_INVALID,
           "no verifier");
    is_int(oa_pkce_check(str(""), str("")), OA_INVALID, "neither");

    strcpy(text, VERIFIER);
    text[42] = '\0';
    is_int(oa_pkce_check(str(text), str(CHALLENGE)), OA_INVALID,
           "a verifier that is too short");

    memset(text, '~', 129);
    text[128] = '\0';
    is_int(oa_pkce_check(str(text), str(CHALLENGE)), OA_DECLINED,
           "the longest verifier");
    text[128] = '~';
    text[129] = '\0';
    is_int(oa_pkce_check(str(text), str(CHALLENGE)), OA_INVALID,
           "one that is longer");

    bad = 0;

    for (i = 1; i < 256; i++) {
        strcpy(text, VERIFIER);
        text[7] = (char) i;
        bad += ((oa_pkce_check(str(text), str(CHALLENGE)) != OA_INVALID)
                != (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                           "abcdefghijklmnopqrstuvwxyz0123456789-._~",
                           (int) i) != NULL));
    }

    is_int(bad, 0, "characters of a verifier");

    bad = 0;

    for (i = 0; i < OA_CHALLENGE_LEN; i++) {
        strcpy(text, CHALLENGE);
        text[i] ^= 1;
        bad += (oa_pkce_check(str(VERIFIER), str(text)) != OA_DECLINED);
    }

    is_int(bad, 0, "each character of the challenge counts");

    ok(oa_pkce_challenge_valid(str(CHALLENGE)), "a challenge");
    ok(!oa_pkce_challenge_valid(str("")), "none");
    ok(!oa_pkce_challenge_valid(str(NULL)), "absent");
    ok(!oa_pkce_challenge_valid(str(CHALLENGE "A")), "a longer one");
    strcpy(text, CHALLENGE);
    text[42] = '\0';
    ok(!oa_pkce_challenge_valid(str(text)), "a shorter one");
    strcpy(text, CHALLENGE);
    text[42] = 'N';
    ok(!oa_pkce_challenge_valid(str(text)), "stray bits");
    text[42] = 'M';
    text[3] = '.';
    ok(!oa_pkce_challenge_valid(str(text)), "a foreign character");
}


int
main(void)
{
    narrowing();
    limits();
    random_sets();
    pkce();

    return done_testing();
}
