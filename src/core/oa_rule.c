/*
 * Rules as text: see oa_rule.h.
 *
 * Contract: pure; reads configuration, so clarity goes before speed. A word
 * that could be misread is refused, never dropped: a requirement that is lost
 * would open a door.
 */

#include "oa_rule.h"
#include "oa_set.h"
#include "oa_text.h"


oa_param_t
oa_rule_param(oa_str_t param, oa_str_t *value)
{
    size_t  i;

    static const struct {
        oa_str_t    name;
        oa_param_t  param;
    } params[] = {
        { oa_string("scope="), OA_PARAM_SCOPE },
        { oa_string("role="), OA_PARAM_ROLE },
        { oa_string("method="), OA_PARAM_METHOD },
        { oa_string("uri="), OA_PARAM_URI }
    };

    for (i = 0; i < sizeof(params) / sizeof(params[0]); i++) {

        if (param.len >= params[i].name.len
            && memcmp(param.data, params[i].name.data, params[i].name.len)
               == 0)
        {
            value->data = param.data + params[i].name.len;
            value->len = param.len - params[i].name.len;
            return params[i].param;
        }
    }

    return OA_PARAM_UNKNOWN;
}


uint32_t
oa_method(oa_str_t name)
{
    size_t  i;

    static const struct {
        const char  *name;
        uint32_t     bit;
    } methods[] = {
        { "GET", OA_METHOD_GET },
        { "HEAD", OA_METHOD_HEAD },
        { "POST", OA_METHOD_POST },
        { "PUT", OA_METHOD_PUT },
        { "DELETE", OA_METHOD_DELETE },
        { "PATCH", OA_METHOD_PATCH },
        { "OPTIONS", OA_METHOD_OPTIONS },
        { "TRACE", OA_METHOD_TRACE },
        { "MKCOL", OA_METHOD_MKCOL },
        { "COPY", OA_METHOD_COPY },
        { "MOVE", OA_METHOD_MOVE },
        { "PROPFIND", OA_METHOD_PROPFIND },
        { "PROPPATCH", OA_METHOD_PROPPATCH },
        { "LOCK", OA_METHOD_LOCK },
        { "UNLOCK", OA_METHOD_UNLOCK }
    };

    for (i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (oa_text_eq(name, methods[i].name)) {
            return methods[i].bit;
        }
    }

    return 0;
}


oa_rc_t
oa_rule_methods(oa_str_t names, uint32_t *methods, oa_str_t *bad)
{
    size_t    i, start;
    uint32_t  bit;

    *methods = 0;
    start = 0;

    for (i = 0; i <= names.len; i++) {

        if (i < names.len && names.data[i] != ',' && names.data[i] != '|') {
            continue;
        }

        bad->data = names.data + start;
        bad->len = i - start;

        bit = oa_method(*bad);

        if (bit == 0) {
            return OA_INVALID;
        }

        *methods |= bit;
        start = i + 1;
    }

    return OA_OK;
}


oa_rc_t
oa_rule_words(oa_str_t words, unsigned char *room, oa_str_t *set)
{
    int        empty;
    size_t     i;
    oa_str_t   text;

    empty = 1;

    for (i = 0; i < words.len; i++) {
        room[i] = words.data[i];

        if (room[i] == '|' || room[i] == ',') {

            if (empty) {
                return OA_INVALID;
            }

            room[i] = ' ';
            empty = 1;
            continue;
        }

        if (room[i] == ' ' || room[i] == '\t') {
            return OA_INVALID;
        }

        empty = 0;
    }

    if (empty) {
        return OA_INVALID;
    }

    text.data = room;
    text.len = words.len;

    set->data = room + words.len;

    return oa_set_pack(text, room + words.len, words.len, &set->len);
}


oa_rc_t
oa_rule_uri(oa_str_t uri, oa_str_t *pattern, int *caseless)
{
    if (uri.len < 2 || uri.data[0] != '~') {
        return OA_INVALID;
    }

    *caseless = (uri.data[1] == '*');

    pattern->data = uri.data + 1 + *caseless;
    pattern->len = uri.len - 1 - (size_t) *caseless;

    return OA_OK;
}
