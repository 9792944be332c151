/*
 * Sets of words: scopes and roles as one text with single spaces.
 *
 * Contract: words are compared whole and byte by byte; an empty word is in no
 * set; the readers take any text, also one that was never packed.  Sets are
 * short (a few words), so that a scan is quicker than any index.  Called for
 * each request by the policy, and by the record packer and the configuration.
 */

#include <string.h>

#include "oa_bytes.h"
#include "oa_set.h"
#include "oa_text.h"


static const oa_str_t  oa_set_admin = oa_string("admin");


/* the next word from p on, empty if there is none; returns where it ends */

static inline const unsigned char *
oa_set_word(const unsigned char *p, const unsigned char *last, oa_str_t *word)
{
    while (p < last && *p == ' ') {
        p++;
    }

    word->data = p;
    word->len = 0;

    if (p < last) {
        p = memchr(p, ' ', (size_t) (last - p));

        if (p == NULL) {
            p = last;
        }

        word->len = (size_t) (p - word->data);
    }

    return p;
}


/* of words that are not empty */

static inline int
oa_set_same(oa_str_t a, oa_str_t b)
{
    return a.len == b.len && a.data[0] == b.data[0]
           && memcmp(a.data, b.data, a.len) == 0;
}


static inline int
oa_set_is_word(unsigned char c)
{
    return c >= 0x21 && c <= 0x7e && c != '"' && c != '\\';
}


static inline oa_bytes_t
oa_set_plain_bytes(oa_bytes_t v)
{
    return oa_bytes_in(v, ' ', '~') & ~(oa_bytes_t) (v == '"')
           & ~(oa_bytes_t) (v == '\\');
}


/* nothing but words and spaces; 0 also for what is too short to tell so */

static int
oa_set_is_plain(oa_str_t text)
{
    size_t      i;
    oa_bytes_t  ok;

    if (text.len < sizeof(oa_bytes_t)) {
        return text.len >= sizeof(oa_bytes_t) / 2
               && oa_bytes_all(oa_set_plain_bytes(
                                   oa_bytes_load_short(text.data, text.len)));
    }

    /* the last ones overlap with those before them */

    ok = oa_set_plain_bytes(oa_bytes_load(text.data + text.len
                                          - sizeof(oa_bytes_t)));

    for (i = 0; i + sizeof(oa_bytes_t) < text.len; i += sizeof(oa_bytes_t)) {
        ok &= oa_set_plain_bytes(oa_bytes_load(text.data + i));
    }

    return oa_bytes_all(ok);
}


/* words with single spaces between them and none twice: packed already */

static int
oa_set_is_packed(oa_str_t text)
{
    size_t                n;
    oa_str_t              word, before, first;
    const unsigned char  *p, *last;

    if (!oa_set_is_plain(text)) {
        return 0;
    }

    p = text.data;
    last = p + text.len;

    before.data = p;
    first = (oa_str_t) oa_null;

    for (n = 0; ; n++) {

        word.data = p;
        p = memchr(p, ' ', (size_t) (last - p));

        word.len = (size_t) ((p ? p : last) - word.data);
        before.len = (size_t) (word.data - text.data);

        if (word.len == 0) {
            return 0;
        }

        /* most sets have one or two */

        if (n == 0) {
            first = word;

        } else if (n == 1 ? oa_set_same(first, word)
                          : oa_set_has(before, word))
        {
            return 0;
        }

        if (p == NULL) {
            return 1;
        }

        if (++p == last) {
            return 0;
        }
    }
}


oa_rc_t
oa_set_pack(oa_str_t text, unsigned char *out, size_t cap, size_t *len)
{
    size_t    i, n, start;
    oa_str_t  word, packed;

    if (text.len <= cap && oa_set_is_packed(text)) {
        memcpy(out, text.data, text.len);
        *len = text.len;

        return OA_OK;
    }

    n = 0;
    i = 0;

    while (i < text.len) {

        if (text.data[i] == ' ' || text.data[i] == '\t') {
            i++;
            continue;
        }

        start = i;

        while (i < text.len && oa_set_is_word(text.data[i])) {
            i++;
        }

        if (i < text.len && text.data[i] != ' ' && text.data[i] != '\t') {
            return OA_INVALID;
        }

        word.data = text.data + start;
        word.len = i - start;

        packed.data = out;
        packed.len = n;

        if (oa_set_has(packed, word)) {
            continue;
        }

        if (word.len + (n != 0) > cap - n) {
            return OA_ERROR;
        }

        if (n != 0) {
            out[n++] = ' ';
        }

        memcpy(out + n, word.data, word.len);
        n += word.len;
    }

    *len = n;

    return OA_OK;
}


int
oa_set_next(oa_str_t set, size_t *pos, oa_str_t *word)
{
    const unsigned char  *p, *last;

    if (*pos >= set.len) {
        return 0;
    }

    last = set.data + set.len;

    p = oa_set_word(set.data + *pos, last, word);

    *pos = set.len - (size_t) (last - p);

    return word->len != 0;
}


int
oa_set_has(oa_str_t set, oa_str_t word)
{
    oa_str_t              candidate;
    const unsigned char  *p, *last;

    if (set.len == 0 || word.len == 0) {
        return 0;
    }

    p = set.data;
    last = p + set.len;

    while (p < last) {
        p = oa_set_word(p, last, &candidate);

        if (candidate.len == 0) {
            break;
        }

        if (oa_set_same(candidate, word)) {
            return 1;
        }
    }

    return 0;
}


int
oa_set_has_any(oa_str_t set, oa_str_t wanted)
{
    oa_str_t              word;
    const unsigned char  *p, *last;

    if (set.len == 0 || wanted.len == 0) {
        return 0;
    }

    p = wanted.data;
    last = p + wanted.len;

    while (p < last) {
        p = oa_set_word(p, last, &word);

        if (oa_set_has(set, word)) {
            return 1;
        }
    }

    return 0;
}


/* "action:*" grants "action:resource", where neither of the two is empty and
   the action ends at the first colon */

static inline int
oa_scope_is_wildcard(oa_str_t scope, oa_str_t wanted)
{
    size_t  action;

    if (scope.len < 3
        || scope.data[scope.len - 1] != '*'
        || scope.data[scope.len - 2] != ':')
    {
        return 0;
    }

    action = scope.len - 2;

    return wanted.len > action + 1
           && memcmp(scope.data, wanted.data, action + 1) == 0
           && memchr(wanted.data, ':', action) == NULL;
}


int
oa_scope_grants(oa_str_t scopes, oa_str_t wanted)
{
    oa_str_t              scope;
    const unsigned char  *p, *last;

    if (scopes.len == 0 || wanted.len == 0) {
        return 0;
    }

    p = scopes.data;
    last = p + scopes.len;

    while (p < last) {
        p = oa_set_word(p, last, &scope);

        if (scope.len == 0) {
            break;
        }

        if (oa_set_same(scope, wanted) || oa_set_same(scope, oa_set_admin)
            || oa_scope_is_wildcard(scope, wanted))
        {
            return 1;
        }
    }

    return 0;
}


int
oa_scope_grants_any(oa_str_t scopes, oa_str_t wanted)
{
    oa_str_t              scope;
    const unsigned char  *p, *last;

    if (scopes.len == 0 || wanted.len == 0) {
        return 0;
    }

    p = wanted.data;
    last = p + wanted.len;

    while (p < last) {
        p = oa_set_word(p, last, &scope);

        if (oa_scope_grants(scopes, scope)) {
            return 1;
        }
    }

    return 0;
}


oa_rc_t
oa_permission_scopes(oa_str_t permission, oa_str_t *scopes)
{
    static const oa_str_t  read = oa_string("read:*");
    static const oa_str_t  write = oa_string("read:* write:*");

    if (oa_text_eq(permission, "read")) {
        *scopes = read;
        return OA_OK;
    }

    if (oa_text_eq(permission, "write")) {
        *scopes = write;
        return OA_OK;
    }

    if (oa_text_eq(permission, "admin")) {
        *scopes = oa_set_admin;
        return OA_OK;
    }

    return OA_INVALID;
}
