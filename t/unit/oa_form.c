/* Forms, percent escapes, HTML escapes: src/core/oa_form.c */

#include "oa_form.h"
#include "oa_text.h"
#include "tap.h"


static oa_str_t
str(const char *s)
{
    return (oa_str_t) { strlen(s), (const unsigned char *) s };
}


/* for a line of TAP */

static const char *
shown(const char *text)
{
    char         *p;
    static char   line[512];

    snprintf(line, sizeof(line), "%s", text);

    for (p = line; *p != '\0'; p++) {
        if (*p == '\n') {
            *p = '.';
        }
    }

    return line;
}


/* "name=value name=value" of what was read; "!" and the error if refused */

static void
form_of(const char *data, size_t len, const char *wanted)
{
    char            said[4096];
    size_t          i;
    oa_form_t       form;
    const char     *error;
    unsigned char  *copy;

    said[0] = '\0';
    error = NULL;
    copy = tap_copy(data, len);

    if (oa_form_parse(copy, len, &form, &error) != OA_OK) {
        snprintf(said, sizeof(said), "!%s", error ? error : "(no reason)");

    } else {
        for (i = 0; i < form.n; i++) {
            snprintf(said + strlen(said), sizeof(said) - strlen(said),
                     "%s%.*s=%.*s", i ? " " : "",
                     (int) form.fields[i].name.len, form.fields[i].name.data,
                     (int) form.fields[i].value.len,
                     form.fields[i].value.data);
        }
    }

    is_str(said, strlen(said), wanted, "form \"%s\"", shown(data));

    free(copy);
}


static void
form(const char *data, const char *wanted)
{
    form_of(data, strlen(data), wanted);
}


#define ESCAPE  "!a parameter has a bad escape"
#define TWICE   "!a parameter stands twice"
#define NAME    "!a parameter has no proper name"
#define VALUE   "!a parameter has a value that is no text"


static void
forms(void)
{
    form("", "");
    form("a=1", "a=1");
    form("grant_type=authorization_code&code=SplxlOBeZQQYbYS6WxSbIA"
         "&redirect_uri=https%3A%2F%2Fclient%2Eexample%2Ecom%2Fcb",
         "grant_type=authorization_code code=SplxlOBeZQQYbYS6WxSbIA "
         "redirect_uri=https://client.example.com/cb");
    form("a=+%25%26%2B%C2%A3%E2%82%AC", "a= %&+\xc2\xa3\xe2\x82\xac");
    form("a=b=c&d==", "a=b=c d==");
    form("a=1%262", "a=1&2");
    form("a%3Db=c", "a=b=c");
    form("a=1&b=", "a=1");
    form("a&b=2", "b=2");
    form("a", "");
    form("&", "");
    form("&&a=1&&b=2&", "a=1 b=2");
    form("a=%0d%0A%09.", "a=\r\n\t.");
    form("A=1&a=2", "A=1 a=2");
    form("a=%f0%9f%94%91", "a=\xf0\x9f\x94\x91");

    form("a=1&a=1", TWICE);
    form("a=1&a=2", TWICE);
    form("a=1&b=3&%61=2", TWICE);
    form("a=&a=2", TWICE);
    form("a=1&a=", TWICE);
    form("a&a", TWICE);
    form("a+b=1&a%20b=2", TWICE);

    form("=1", NAME);
    form("=", NAME);
    form("a=1&=", NAME);
    form("a%00=1", NAME);
    form("a%0a=1", NAME);
    form("a\n=1", NAME);
    form("a%7f=1", NAME);
    form("%ff=1", NAME);
    form("%00", NAME);

    form("a=%", ESCAPE);
    form("a=%4", ESCAPE);
    form("a=%4&b=1", ESCAPE);
    form("a=%zz", ESCAPE);
    form("a=%4g", ESCAPE);
    form("a=%g4", ESCAPE);
    form("a=% 41", ESCAPE);
    form("a=%-1", ESCAPE);
    form("%=1", ESCAPE);
    form("a=%u0041", ESCAPE);
    form("a=1&b=2&%4", ESCAPE);

    form("a=%00", VALUE);
    form("a=b%00c", VALUE);
    form_of("a=b\0c", 5, VALUE);
    form("a=%01", VALUE);
    form("a=%1b", VALUE);
    form("a=%7F", VALUE);
    form("a=%80", VALUE);
    form("a=%c0%80", VALUE);            /* overlong */
    form("a=%c1%bf", VALUE);
    form("a=%e0%80%af", VALUE);
    form("a=%ed%a0%80", VALUE);         /* a surrogate */
    form("a=%f4%90%80%80", VALUE);      /* beyond U+10FFFF */
    form("a=%f5%80%80%80", VALUE);
    form("a=%e2%82", VALUE);            /* cut short */
    form("a=%c3&b=%a4", VALUE);
    form("a=\xff", VALUE);
}


static void
limits(void)
{
    char         text[4096];
    size_t       i;
    oa_form_t    form;
    const char  *error;

    text[0] = '\0';

    for (i = 0; i < OA_FORM_MAX; i++) {
        sprintf(text + strlen(text), "%sp%zu=%s", i ? "&" : "", i,
                i % 2 ? "1" : "");
    }

    strcat(text, "&&");

    is_int(oa_form_parse((unsigned char *) text, strlen(text), &form, &error),
           OA_OK, "as many as may be");
    is_int(form.n, OA_FORM_MAX / 2, "without the empty ones");
    is_str(form.fields[0].name.data, form.fields[0].name.len, "p1",
           "in their order");

    text[0] = '\0';

    for (i = 0; i <= OA_FORM_MAX; i++) {
        sprintf(text + strlen(text), "%sp%zu", i ? "&" : "", i);
    }

    is_int(oa_form_parse((unsigned char *) text, strlen(text), &form, &error),
           OA_INVALID, "one more, though they are empty");
    is_str(error, strlen(error), "too many parameters", "says so");

    is_int(oa_form_parse(NULL, 0, &form, &error), OA_OK, "no text at all");
    is_int(form.n, 0, "is an empty form");
    ok(oa_form_get(&form, "a").data == NULL, "with nothing in it");
}


static void
get(void)
{
    char         text[] = "code=1&code_verifier=2&empty=&co%64e2=3";
    oa_str_t     value;
    oa_form_t    form;
    const char  *error;

    is_int(oa_form_parse((unsigned char *) text, strlen(text), &form, &error),
           OA_OK, "a form");

    value = oa_form_get(&form, "code");
    is_str(value.data, value.len, "1", "by its whole name");
    value = oa_form_get(&form, "code_verifier");
    is_str(value.data, value.len, "2", "a longer name");
    value = oa_form_get(&form, "code2");
    is_str(value.data, value.len, "3", "a name that was escaped");
    ok(oa_form_get(&form, "empty").data == NULL, "an empty one is absent");
    ok(oa_form_get(&form, "cod").data == NULL, "a beginning is no name");
    ok(oa_form_get(&form, "Code").data == NULL, "case matters");
    ok(oa_form_get(&form, "").data == NULL, "no name");
}


static void
escapes(void)
{
    size_t         i, n, bad;
    unsigned char  out[3 * 256], all[256];

    for (i = 0; i < 256; i++) {
        all[i] = (unsigned char) i;
    }

    n = oa_form_escape((oa_str_t) { 256, all }, NULL);
    is_int(n, 66 + 3 * 190, "all but 66 characters are escaped");
    is_int(oa_form_escape((oa_str_t) { 256, all }, out), n,
           "the same length when it writes");

    bad = 0;

    for (i = 0; i < n; i++) {
        bad += (out[i] >= 0x7f || strchr("%-._~ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                         "abcdefghijklmnopqrstuvwxyz"
                                         "0123456789", out[i]) == NULL);
    }

    is_int(bad, 0, "nothing else stands there");

    is_int(oa_form_unescape(out, &n), OA_OK, "and back");
    ok(n == 256 && memcmp(out, all, 256) == 0, "to the same");

    n = oa_form_escape(str("a b&c=\xc3\xa4~"), out);
    is_str(out, n, "a%20b%26c%3D%C3%A4~", "escaped");

    is_int(oa_form_escape((oa_str_t) oa_null, out), 0, "nothing to escape");

    memcpy(out, "a+b%2B%", 7);
    n = 6;
    is_int(oa_form_unescape(out, &n), OA_OK, "unescaped");
    is_str(out, n, "a b+", "its value");

    n = 0;
    is_int(oa_form_unescape(NULL, &n), OA_OK, "nothing to unescape");
}


static void
html(void)
{
    size_t         n;
    unsigned char  out[128];

    const char *text = "<a href=\"x\" title='&amp;'>\xc3\xa4</a>";
    const char *wanted = "&lt;a href=&quot;x&quot; title=&#39;&amp;amp;&#39;"
                         "&gt;\xc3\xa4&lt;/a&gt;";

    n = oa_html_escape(str(text), NULL);
    is_int(n, strlen(wanted), "length of HTML");
    is_int(oa_html_escape(str(text), out), n, "the same when it writes");
    is_str(out, n, wanted, "HTML");
    is_int(oa_html_escape((oa_str_t) oa_null, out), 0, "nothing");
}


static void
utf8(void)
{
    size_t         i, bad, sequences;
    uint32_t       c;
    unsigned char  s[4];

    sequences = 0;
    bad = 0;

    /* every code point, by the table of RFC 3629 section 3 */

    for (c = 0; c < 0x110800; c++) {

        size_t  len;

        if (c < 0x80) {
            s[0] = (unsigned char) c;
            len = 1;
        } else if (c < 0x800) {
            s[0] = (unsigned char) (0xc0 | c >> 6);
            len = 2;
        } else if (c < 0x10000) {
            s[0] = (unsigned char) (0xe0 | c >> 12);
            len = 3;
        } else {
            s[0] = (unsigned char) (0xf0 | c >> 18);
            len = 4;
        }

        for (i = 1; i < len; i++) {
            s[i] = (unsigned char) (0x80 | (c >> 6 * (len - 1 - i) & 63));
        }

        bad += oa_text_is_utf8((oa_str_t) { len, s })
               != (c < 0x110000 && (c < 0xd800 || c > 0xdfff));
        bad += (len > 1 && oa_text_is_utf8((oa_str_t) { len - 1, s }));
    }

    is_int(bad, 0, "each code point, and each without its last byte");

    /* how many of all sequences of two and three bytes are well-formed */

    for (c = 0; c < 0x10000; c++) {
        s[0] = (unsigned char) (c >> 8);
        s[1] = (unsigned char) c;
        sequences += oa_text_is_utf8((oa_str_t) { 2, s });
    }

    is_int(sequences, 128 * 128 + 1920, "of two bytes");

    sequences = 0;

    for (c = 0; c < 0x1000000; c += 1) {
        s[0] = (unsigned char) (c >> 16);
        s[1] = (unsigned char) (c >> 8);
        s[2] = (unsigned char) c;
        sequences += oa_text_is_utf8((oa_str_t) { 3, s });
    }

    is_int(sequences, 128 * 128 * 128 + 2 * 128 * 1920 + 0xf800 - 0x800,
           "of three bytes");
    ok(oa_text_is_utf8((oa_str_t) oa_null), "of none");
}


/* whatever comes, views stay inside and no name stands twice */

static void
random_forms(void)
{
    size_t          i, j, k, n, bad, good;
    oa_form_t       form;
    const char     *error;
    unsigned char  *copy, data[64];

    bad = 0;
    good = 0;

    for (i = 0; i < 200000; i++) {

        n = tap_random_below(sizeof(data) + 1);
        tap_random_bytes(data, n);

        if (i % 4) {
            for (k = 0; k < n; k++) {
                data[k] = (unsigned char) "abc===&&&%0412+f\n\xc3\xa4"
                                                             [data[k] % 19];
            }
        }

        copy = tap_copy(data, n);
        error = NULL;

        if (oa_form_parse(copy, n, &form, &error) != OA_OK) {
            bad += (error == NULL);
            free(copy);
            continue;
        }

        good += (form.n != 0);

        for (j = 0; j < form.n; j++) {
            oa_str_t  name = form.fields[j].name;
            oa_str_t  value = form.fields[j].value;

            bad += (name.len == 0 || value.len == 0
                    || name.data < copy || name.data + name.len > copy + n
                    || value.data < name.data + name.len
                    || value.data + value.len > copy + n
                    || memchr(value.data, '\0', value.len) != NULL);

            for (k = 0; k < j; k++) {
                bad += (form.fields[k].name.len == name.len
                        && memcmp(form.fields[k].name.data, name.data,
                                  name.len) == 0);
            }
        }

        free(copy);
    }

    is_int(bad, 0, "random forms");
    ok(good > 1000, "many of them are forms");
}


int
main(void)
{
    forms();
    limits();
    get();
    escapes();
    html();
    utf8();
    random_forms();

    return done_testing();
}
