/*
 * Sets of words: scopes and roles as one text with single spaces.
 *
 * Contract: words are compared whole and byte by byte; an empty word is in no
 * set; the readers take any text, also one that was never packed.  Sets are
 * short (a few words), so that a scan is quicker than any index.  Called for
 * each request by the policy, and by the record packer and the configuration.
 */

#include <string.h>

#include "oa_set.h"
#include "oa_text.h"


static const oa_str_t  oa_set_admin = oa_string("admin");


static int
oa_set_is_word(unsigned char c)
{
    return c >= 0x21 && c <= 0x7e && c != '"' && c != '\\';
}


oa_rc_t
oa_set_pack(oa_str_t text, unsigned char *out, size_t cap, size_t *len)
{
    size_t    i, n;
    oa_str_t  word, packed;

    n = 0;
    i = 0;

    while (i < text.len) {

        if (text.data[i] == ' ' || text.data[i] == '\t') {
            i++;
            continue;
        }

        word.data = text.data + i;
        word.len = 0;

        while (i < text.len && oa_set_is_word(text.data[i])) {
            word.len++;
            i++;
        }

        if (i < text.len && text.data[i] != ' ' && text.data[i] != '\t') {
            return OA_INVALID;
        }

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
    size_t  i, start;

    i = *pos;

    while (i < set.len && set.data[i] == ' ') {
        i++;
    }

    start = i;

    while (i < set.len && set.data[i] != ' ') {
        i++;
    }

    *pos = i;

    if (i == start) {
        return 0;
    }

    word->data = set.data + start;
    word->len = i - start;

    return 1;
}


int
oa_set_has(oa_str_t set, oa_str_t word)
{
    size_t    pos;
    oa_str_t  candidate;

    pos = 0;

    while (oa_set_next(set, &pos, &candidate)) {
        if (candidate.len == word.len
            && memcmp(candidate.data, word.data, word.len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


int
oa_set_has_any(oa_str_t set, oa_str_t wanted)
{
    size_t    pos;
    oa_str_t  word;

    if (set.len == 0) {
        return 0;
    }

    pos = 0;

    while (oa_set_next(wanted, &pos, &word)) {
        if (oa_set_has(set, word)) {
            return 1;
        }
    }

    return 0;
}


int
oa_scope_grants(oa_str_t scopes, oa_str_t wanted)
{
    size_t                pos, action;
    oa_str_t              scope;
    const unsigned char  *colon;

    if (wanted.len == 0) {
        return 0;
    }

    /* length of "action:" in "action:resource", 0 where it has no such form */

    colon = memchr(wanted.data, ':', wanted.len);

    action = colon ? (size_t) (colon - wanted.data) + 1 : 0;

    if (action == 1 || action == wanted.len) {
        action = 0;
    }

    pos = 0;

    while (oa_set_next(scopes, &pos, &scope)) {

        if (scope.len == wanted.len
            && memcmp(scope.data, wanted.data, wanted.len) == 0)
        {
            return 1;
        }

        if (action != 0
            && scope.len == action + 1
            && scope.data[action] == '*'
            && memcmp(scope.data, wanted.data, action) == 0)
        {
            return 1;
        }

        if (scope.len == oa_set_admin.len
            && memcmp(scope.data, oa_set_admin.data, oa_set_admin.len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


int
oa_scope_grants_any(oa_str_t scopes, oa_str_t wanted)
{
    size_t    pos;
    oa_str_t  scope;

    if (scopes.len == 0) {
        return 0;
    }

    pos = 0;

    while (oa_set_next(wanted, &pos, &scope)) {
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
