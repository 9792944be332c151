/*
 * Follows the lexer of lua-nginx-module as far as it concerns braces: those in
 * strings, in long brackets and in comments do not count.
 */

#include "cli_lua.h"

#include <string.h>


int
cli_lua_is_block(const char *name)
{
    size_t  n;

    static const char  suffix[] = "_by_lua_block";

    n = strlen(name);

    return n >= sizeof(suffix)
           && strcmp(name + n - (sizeof(suffix) - 1), suffix) == 0;
}


/* "[[ ... ]]" or "[==[ ... ]==]" at p: its length; 0: no such bracket */
static size_t
lua_long(const unsigned char *p, size_t n)
{
    size_t  i, k, level;

    for (level = 0; level + 1 < n && p[level + 1] == '='; level++) {
        /* void */
    }

    if (level + 1 >= n || p[level + 1] != '[') {
        return 0;
    }

    for (i = level + 2; i < n; i++) {

        if (p[i] != ']') {
            continue;
        }

        for (k = 0; i + 1 + k < n && p[i + 1 + k] == '=' && k < level; k++) {
            /* void */
        }

        if (k == level && i + 1 + k < n && p[i + 1 + k] == ']') {
            return i + 2 + k;
        }
    }

    return n;
}


static size_t
lua_string(const unsigned char *p, size_t n)
{
    size_t  i;

    for (i = 1; i < n && p[i] != p[0]; i++) {
        i += (p[i] == '\\');
    }

    return (i < n) ? i + 1 : n;
}


static size_t
lua_comment(const unsigned char *p, size_t n)
{
    size_t  i;

    i = (n > 2 && p[2] == '[') ? lua_long(p + 2, n - 2) : 0;

    if (i != 0) {
        return i + 2;
    }

    while (i < n && p[i] != '\n') {
        i++;
    }

    return i;
}


size_t
cli_lua_length(const unsigned char *p, size_t n)
{
    size_t  i, len, depth;

    depth = 0;

    for (i = 0; i < n; i += len) {
        len = 1;

        switch (p[i]) {

        case '{':
            depth++;
            break;

        case '}':
            if (depth-- == 0) {
                return i;
            }
            break;

        case '"': case '\'':
            len = lua_string(p + i, n - i);
            break;

        case '[':
            len = lua_long(p + i, n - i);
            len += (len == 0);
            break;

        case '-':
            if (i + 1 < n && p[i + 1] == '-') {
                len = lua_comment(p + i, n - i);
            }
            break;
        }
    }

    return n;
}
