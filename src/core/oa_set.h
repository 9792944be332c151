/*
 * Sets of words: scopes and roles, kept as one text with single spaces.
 */

#ifndef OA_SET_H
#define OA_SET_H

#include "oa_core.h"


/*
 * Text with any blanks between words -> words with single spaces, duplicates
 * dropped, order kept. Words are RFC 6749 scope-tokens: %x21 / %x23-5B /
 * %x5D-7E. OA_INVALID: another byte; OA_ERROR: no room in out.
 */
OA_WARM oa_rc_t oa_set_pack(oa_str_t text, unsigned char *out, size_t cap,
    size_t *len);

/* iterates: returns 1 and the next word, or 0 at the end; start with *pos 0 */
int oa_set_next(oa_str_t set, size_t *pos, oa_str_t *word);

OA_HOT int oa_set_has(oa_str_t set, oa_str_t word);

/* any word of wanted is in set */
OA_HOT int oa_set_has_any(oa_str_t set, oa_str_t wanted);

/*
 * A scope set grants one wanted scope: the scope itself, "admin" (grants all),
 * or "action:*" for "action:resource" (docs/directives.md).
 */
OA_HOT int oa_scope_grants(oa_str_t scopes, oa_str_t wanted);

/* any scope of wanted is granted */
int oa_scope_grants_any(oa_str_t scopes, oa_str_t wanted);

/*
 * "read", "write", "admin" -> "read:*", "read:* write:*", "admin";
 * OA_INVALID otherwise. *scopes is static text.
 */
oa_rc_t oa_permission_scopes(oa_str_t permission, oa_str_t *scopes);


#endif /* OA_SET_H */
