/*
 * Lua inside of a configuration (access_by_lua_block { ... }): where it ends.
 * What it does is nobody's business here.
 */

#ifndef CLI_LUA_H
#define CLI_LUA_H

#include <stddef.h>


/* the directive's body is Lua and no directives */
int cli_lua_is_block(const char *name);

/* the length of the Lua at p, up to the brace that ends it; n: there is none */
size_t cli_lua_length(const unsigned char *p, size_t n);


#endif /* CLI_LUA_H */
