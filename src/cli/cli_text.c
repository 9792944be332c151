/*
 * UTF-8 is decoded here and not by the C library: what is valid must not
 * depend on the operator's locale. Only widths are asked from it (wcwidth();
 * main sets the character type to C.UTF-8), and count as 1 where it knows none.
 */

#include "cli_text.h"
#include "cli_memory.h"

#include <stdio.h>
#include <string.h>
#include <wchar.h>


#define CLI_QUOTE_MAX   160
#define CLI_WORD_MAX    64


/* the bytes of the next character, 0: no valid one */
static size_t
utf8_next(const unsigned char *p, size_t n, uint32_t *cp)
{
    size_t    i, len;
    uint32_t  c, least;

    c = p[0];

    if (c < 0x80) {
        *cp = c;
        return 1;
    }

    if (c >= 0xc2 && c <= 0xdf) {
        len = 2; least = 0x80; c &= 0x1f;
    } else if (c >= 0xe0 && c <= 0xef) {
        len = 3; least = 0x800; c &= 0x0f;
    } else if (c >= 0xf0 && c <= 0xf4) {
        len = 4; least = 0x10000; c &= 0x07;
    } else {
        return 0;
    }

    if (n < len) {
        return 0;
    }

    for (i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
        c = (c << 6) | (p[i] & 0x3f);
    }

    if (c < least || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
        return 0;
    }

    *cp = c;

    return len;
}


static int
is_control(uint32_t cp)
{
    return cp < 0x20 || (cp >= 0x7f && cp <= 0x9f);
}


oa_str_t
cli_str(const char *text)
{
    oa_str_t  s;

    s.data = (const unsigned char *) text;
    s.len = (text == NULL) ? 0 : strlen(text);

    return s;
}


int
cli_text_valid(oa_str_t text)
{
    size_t    i, n;
    uint32_t  cp;

    for (i = 0; i < text.len; i += n) {
        n = utf8_next(text.data + i, text.len - i, &cp);

        if (n == 0 || is_control(cp)) {
            return 0;
        }
    }

    return 1;
}


size_t
cli_text_width(const char *text)
{
    int       w;
    size_t    i, n, len, width;
    uint32_t  cp;

    len = strlen(text);
    width = 0;

    for (i = 0; i < len; i += n) {
        n = utf8_next((const unsigned char *) text + i, len - i, &cp);

        if (n == 0) {
            n = 1;
            cp = '?';
        }

        w = wcwidth((wchar_t) cp);
        width += (w < 0) ? 1 : (size_t) w;
    }

    return width;
}


char *
cli_text_safe(oa_str_t text)
{
    char     *out, *p;
    size_t    i, n;
    uint32_t  cp;

    /* the longest that a byte becomes: "\x1b" */
    p = out = cli_alloc(text.len * 4 + 1);

    for (i = 0; i < text.len; i += n) {
        n = utf8_next(text.data + i, text.len - i, &cp);

        if (n == 0) {
            p = stpcpy(p, "\xef\xbf\xbd");
            n = 1;

        } else if (is_control(cp)) {
            p += sprintf(p, "\\x%02x", (unsigned) cp);

        } else {
            memcpy(p, text.data + i, n);
            p += n;
        }
    }

    *p = '\0';

    return out;
}


char *
cli_quote(oa_str_t text)
{
    const char  *more;

    more = "";

    if (text.len > CLI_QUOTE_MAX) {
        text.len = CLI_QUOTE_MAX;
        more = "...";
    }

    return cli_format("\"%s%s\"", cli_text_safe(text), more);
}


char *
cli_quotez(const char *text)
{
    return cli_quote(cli_str(text));
}


/* edits between two words, a swap of neighbours counting as one */
static size_t
distance(const char *a, const char *b)
{
    size_t  i, j, la, lb, best, cost;
    size_t  d[CLI_WORD_MAX + 1][CLI_WORD_MAX + 1];

    la = strlen(a);
    lb = strlen(b);

    if (la > CLI_WORD_MAX || lb > CLI_WORD_MAX) {
        return SIZE_MAX;
    }

    for (i = 0; i <= la; i++) {
        for (j = 0; j <= lb; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = i + j;
                continue;
            }

            cost = (a[i - 1] == b[j - 1]) ? 0 : 1;
            best = d[i - 1][j - 1] + cost;

            if (d[i - 1][j] + 1 < best) {
                best = d[i - 1][j] + 1;
            }

            if (d[i][j - 1] + 1 < best) {
                best = d[i][j - 1] + 1;
            }

            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]
                && d[i - 2][j - 2] + 1 < best)
            {
                best = d[i - 2][j - 2] + 1;
            }

            d[i][j] = best;
        }
    }

    return d[la][lb];
}


const char *
cli_text_nearest(const char *word, const char *const *candidates, size_t n)
{
    size_t       i, d, best, len;
    const char  *nearest;

    len = strlen(word);
    nearest = NULL;
    best = (len <= 3) ? 2 : 3;      /* fewer edits than this */

    for (i = 0; i < n; i++) {
        d = distance(word, candidates[i]);

        /* a begun word counts as near: "desc" is "description" */
        if (len >= 3 && strncmp(word, candidates[i], len) == 0) {
            d = 1;
        }

        if (d < best) {
            best = d;
            nearest = candidates[i];
        }
    }

    return nearest;
}


char *
cli_text_join(const char *const *values, size_t n, const char *blanks)
{
    char        *out;
    size_t       i, len, room, part;
    const char  *p;

    room = 1;

    for (i = 0; i < n; i++) {
        room += strlen(values[i]) + 1;
    }

    out = cli_alloc(room);
    len = 0;

    for (i = 0; i < n; i++) {
        for (p = values[i] + strspn(values[i], blanks); *p != '\0';
             p += part + strspn(p + part, blanks))
        {
            part = strcspn(p, blanks);

            if (len != 0) {
                out[len++] = ' ';
            }

            memcpy(out + len, p, part);
            len += part;
        }
    }

    return out;
}
