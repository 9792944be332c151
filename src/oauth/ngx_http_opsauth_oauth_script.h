/*
 * Every change of several steps that the token service makes in Redis, as one
 * Lua script each. A script has one key and touches no other, takes every time
 * from its caller, and writes only after all that may fail: it is atomic, does
 * on a replica what it did on the master, and runs on a cluster, on Redis 6.2
 * and newer, and on Valkey. docs/redis.md has the ACL that they need.
 *
 * A reply is an array of strings, the first of which is a word. Whoever meets a
 * word that is not listed here treats it as trouble of the store. "unknown" is
 * the store's answer only where ngx_opsauth_redis_is_marked().
 *
 * <d> is a digest as in credential:<d>. Numbers are decimal. "state" is among
 * the fields that are given where records are made. Send by ngx_opsauth_script.
 */

#ifndef NGX_HTTP_OPSAUTH_OAUTH_SCRIPT_H
#define NGX_HTTP_OPSAUTH_OAUTH_SCRIPT_H

#include "ngx_opsauth_command.h"


/*
 * The most access tokens of one family that live at one time: all their digests
 * fit into one reply (see NGX_OPSAUTH_REDIS_REPLY_ELEMENTS).
 */
#define NGX_HTTP_OPSAUTH_OAUTH_FAMILY_LIVE  48


/*
 * code:<d>  args: ttl_ms, field, value, ...
 * fields: v client account subject redirect_uri scopes challenge environment
 * created state=issued; redirect_uri and challenge are empty, not absent, where
 * the request had none.
 * {"ok"}      stored
 * {"exists"}  nothing was changed
 */
extern ngx_opsauth_script_t  ngx_http_opsauth_oauth_script_code_store;

/*
 * code:<d>  args: keep_ms, client, redirect_uri, challenge, access digest,
 * family digest ("": none). challenge: what the verifier comes to, "" without
 * one.
 * {"ok"}        it is redeemed now, and remembered for keep_ms, which must be
 *               no less than what it gave lives
 * {"unknown"}   there is none (any more)
 * {"mismatch"}  another client's, another redirect_uri or challenge, or one of
 *               them where the code has none; nothing was changed. Replayed or
 *               not: who can't redeem a code shall not revoke by it either
 * {"replayed", access digest, family digest}  those that it was redeemed for
 */
extern ngx_opsauth_script_t  ngx_http_opsauth_oauth_script_code_redeem;

/*
 * refresh:<d>  args: ttl_ms, field, value, ...
 * fields: v client account subject scopes environment current previous="" rotated
 * access="digest:expires" state=active created expires; rotated in ms, the
 * other times in s.
 * {"ok"}
 * {"exists"}  nothing was changed; it may be the tombstone that a replay left
 */
extern ngx_opsauth_script_t  ngx_http_opsauth_oauth_script_family_create;

/*
 * refresh:<d>  args: now_ms, now_s, grace_ms, digest presented, new digest,
 * access digest, its expiry in s, client, ttl_ms
 * {"ok"}        rotated; lives for ttl_ms from now
 * {"unknown"}   there is none (any more)
 * {"mismatch"}  another client's
 * {"revoked", access digest, ...}  before; those that are still alive, so that
 *               a retry can finish what somebody else began
 * {"repeated"}  the one before the current, within the grace; nothing changed
 * {"replayed", access digest, ...}  any other: revoked now; those alive
 * {"limited"}   FAMILY_LIVE access tokens are alive: nothing changed
 */
extern ngx_opsauth_script_t  ngx_http_opsauth_oauth_script_family_rotate;

/*
 * refresh:<d>  args: tombstone_ms, now_s, client ("": any)
 * {"ok", access digest, ...}  revoked, now or before; those alive. There was
 *               none and tombstone_ms is not 0: one that is revoked stands there
 *               for so long, and a family_create under way fails
 * {"mismatch"}  another client's
 * {"unknown"}   there is none, and tombstone_ms is 0
 */
extern ngx_opsauth_script_t  ngx_http_opsauth_oauth_script_family_revoke;

/*
 * credential:<d>  args: expire_at_ms, field, value, ...
 * {"ok"}
 * {"exists"}  nothing was changed; it may be a tombstone
 */
extern ngx_opsauth_script_t  ngx_http_opsauth_oauth_script_credential_issue;

/*
 * credential:<d>  args: tombstone_ms, client ("": any)
 * {"ok", id}    revoked, now or before; its time to live is what it was. There
 *               was none and tombstone_ms is not 0: a revoked record of nobody
 *               stands there for so long, and a credential_issue under way
 *               fails; the id is "" then
 * {"mismatch"}  another client's, or no client's, as an API key is
 * {"unknown"}   there is none, and tombstone_ms is 0
 */
extern ngx_opsauth_script_t  ngx_http_opsauth_oauth_script_credential_revoke;


#endif /* NGX_HTTP_OPSAUTH_OAUTH_SCRIPT_H */
