/*
 * The credential of a request, as it stands in a header.
 *
 * Contract: a view into the value, or a clear no; a block at a time where it
 * looks like a key, else one table look-up a byte.  Runs for every request
 * before anything else, so it sees whatever a client can send.  RFC 6750
 * section 2.1: b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" /
 * "/" ) *"=".
 */

#include <string.h>

#include "oa_bearer.h"
#include "oa_bytes.h"


#define OA_BEARER_TOKEN68  1        /* may stand in a token68, before the = */
#define OA_BEARER_TCHAR    2        /* may stand in the name of a scheme */

#define OA_BEARER_BLOCK    ((ptrdiff_t) sizeof(oa_bytes_t))

#define OA_BEARER_SCHEME_LEN  (sizeof("bearer") - 1)

#define T  OA_BEARER_TOKEN68
#define C  OA_BEARER_TCHAR
#define B  (OA_BEARER_TOKEN68|OA_BEARER_TCHAR)


static const unsigned char  oa_bearer_class[256] = {
    ['!'] = C, ['#'] = C, ['$'] = C, ['%'] = C, ['&'] = C, ['\''] = C,
    ['*'] = C, ['^'] = C, ['`'] = C, ['|'] = C,

    ['/'] = T,

    ['+'] = B, ['-'] = B, ['.'] = B, ['_'] = B, ['~'] = B,

    ['0'] = B, ['1'] = B, ['2'] = B, ['3'] = B, ['4'] = B,
    ['5'] = B, ['6'] = B, ['7'] = B, ['8'] = B, ['9'] = B,

    ['A'] = B, ['B'] = B, ['C'] = B, ['D'] = B, ['E'] = B, ['F'] = B,
    ['G'] = B, ['H'] = B, ['I'] = B, ['J'] = B, ['K'] = B, ['L'] = B,
    ['M'] = B, ['N'] = B, ['O'] = B, ['P'] = B, ['Q'] = B, ['R'] = B,
    ['S'] = B, ['T'] = B, ['U'] = B, ['V'] = B, ['W'] = B, ['X'] = B,
    ['Y'] = B, ['Z'] = B,

    ['a'] = B, ['b'] = B, ['c'] = B, ['d'] = B, ['e'] = B, ['f'] = B,
    ['g'] = B, ['h'] = B, ['i'] = B, ['j'] = B, ['k'] = B, ['l'] = B,
    ['m'] = B, ['n'] = B, ['o'] = B, ['p'] = B, ['q'] = B, ['r'] = B,
    ['s'] = B, ['t'] = B, ['u'] = B, ['v'] = B, ['w'] = B, ['x'] = B,
    ['y'] = B, ['z'] = B
};

#undef T
#undef C
#undef B


/* value without the blanks at its end */

OA_HOT static oa_str_t
oa_bearer_trim(oa_str_t value)
{
    while (value.len != 0
           && (value.data[value.len - 1] == ' '
               || value.data[value.len - 1] == '\t'))
    {
        value.len--;
    }

    return value;
}


/* what | 0x20 makes a small letter was a letter */

static inline oa_bytes_t
oa_bearer_key_bytes(oa_bytes_t v)
{
    return oa_bytes_in(v | 0x20, 'a', 'z') | oa_bytes_in(v, '0', '9')
           | (oa_bytes_t) (v == '_');
}


/* all are [0-9A-Za-z_], as a key has nothing else; what is shorter than a block
   is not looked at */

static inline int
oa_bearer_is_key(const unsigned char *p, const unsigned char *last)
{
    oa_bytes_t  ok;

    if (last - p < OA_BEARER_BLOCK) {
        return 0;
    }

    /* the last block may overlap with the one before */

    ok = oa_bearer_key_bytes(oa_bytes_load(last - OA_BEARER_BLOCK));

    for ( /* void */ ; p < last - OA_BEARER_BLOCK; p += OA_BEARER_BLOCK) {
        ok &= oa_bearer_key_bytes(oa_bytes_load(p));
    }

    return oa_bytes_all(ok);
}


OA_HOT static oa_rc_t
oa_bearer_token68(oa_str_t value, oa_str_t *credential)
{
    const unsigned char  *p, *last;

    if (value.len == 0 || value.len > OA_BEARER_MAX) {
        return OA_INVALID;
    }

    p = value.data;
    last = p + value.len;

    if (!oa_bearer_is_key(p, last)) {

        while (p < last && (oa_bearer_class[*p] & OA_BEARER_TOKEN68)) {
            p++;
        }

        if (p == value.data) {
            return OA_INVALID;
        }

        while (p < last && *p == '=') {
            p++;
        }

        if (p != last) {
            return OA_INVALID;
        }
    }

    *credential = value;

    return OA_OK;
}


/* the first bytes are "Bearer" in any case: by words, since it is looked for in
   each request. What | 0x20 makes a small letter was a letter */

static inline int
oa_bearer_is_scheme(const unsigned char *p)
{
    uint16_t  b, tail;
    uint32_t  a, head;

    memcpy(&a, p, 4);
    memcpy(&b, p + 4, 2);
    memcpy(&head, "bear", 4);
    memcpy(&tail, "er", 2);

    return (a | 0x20202020) == head && (b | 0x2020) == tail;
}


oa_rc_t
oa_bearer_parse(oa_str_t value, oa_str_t *credential)
{
    size_t                i;
    const unsigned char  *p;

    value = oa_bearer_trim(value);

    if (value.len < OA_BEARER_SCHEME_LEN
        || !oa_bearer_is_scheme(value.data))
    {
        return OA_DECLINED;
    }

    p = value.data;
    i = OA_BEARER_SCHEME_LEN;

    if (i < value.len && p[i] != ' '
        && (oa_bearer_class[p[i]] & OA_BEARER_TCHAR))
    {

        /* a longer name, such as "BearerX" */

        return OA_DECLINED;
    }

    while (i < value.len && p[i] == ' ') {
        i++;
    }

    if (i == OA_BEARER_SCHEME_LEN) {

        /* nothing behind the scheme, or no space in between */

        return OA_INVALID;
    }

    value.data += i;
    value.len -= i;

    return oa_bearer_token68(value, credential);
}


oa_rc_t
oa_bearer_bare(oa_str_t value, oa_str_t *credential)
{
    value = oa_bearer_trim(value);

    if (value.len == 0) {
        return OA_DECLINED;
    }

    return oa_bearer_token68(value, credential);
}
