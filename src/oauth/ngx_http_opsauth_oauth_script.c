/*
 * The scripts' texts. They are plain Lua 5.1 without anything that Redis 7
 * added (no "#!lua" line), and find all that is malformed before they write:
 * where a field is missing or no number, Lua's own error ends the script, and
 * that is trouble of the store. HSET comes first of what is written: it is what
 * a Redis without memory refuses, and it refuses it only there.
 */

#include "ngx_http_opsauth_oauth_script.h"


#define NGX_HTTP_OPSAUTH_OAUTH_TEXT(n)   NGX_HTTP_OPSAUTH_OAUTH_TEXT_(n)
#define NGX_HTTP_OPSAUTH_OAUTH_TEXT_(n)  #n

#define NGX_HTTP_OPSAUTH_OAUTH_LIVE                                           \
    NGX_HTTP_OPSAUTH_OAUTH_TEXT(NGX_HTTP_OPSAUTH_OAUTH_FAMILY_LIVE)


/* "digest:expires ...": the digests of those alive, and what to keep of it */

#define NGX_HTTP_OPSAUTH_OAUTH_ALIVE                                          \
    "local function alive(access, now)\n"                                     \
    "  local digests, kept = {}, {}\n"                                        \
    "  for digest, expires in string.gmatch(access, '([^ :]+):(%d+)') do\n"   \
    "    if tonumber(expires) > now then\n"                                   \
    "      digests[#digests + 1] = digest\n"                                  \
    "      kept[#kept + 1] = digest .. ':' .. expires\n"                      \
    "    end\n"                                                               \
    "  end\n"                                                                 \
    "  return digests, kept\n"                                                \
    "end\n"


/* of a code or a family, which live for a time from now */

#define NGX_HTTP_OPSAUTH_OAUTH_CREATE                                         \
    "assert(tonumber(ARGV[1]))\n"                                             \
    "if redis.call('EXISTS', KEYS[1]) == 1 then\n"                            \
    "  return {'exists'}\n"                                                   \
    "end\n"                                                                   \
    "redis.call('HSET', KEYS[1], unpack(ARGV, 2))\n"                          \
    "redis.call('PEXPIRE', KEYS[1], ARGV[1])\n"                               \
    "return {'ok'}\n"


ngx_opsauth_script_t  ngx_http_opsauth_oauth_script_code_store =
    ngx_opsauth_script_make("code_store", NGX_HTTP_OPSAUTH_OAUTH_CREATE);


ngx_opsauth_script_t  ngx_http_opsauth_oauth_script_code_redeem =
    ngx_opsauth_script_make("code_redeem",

    "local keep, client, uri, challenge, access, family = unpack(ARGV)\n"
    "assert(tonumber(keep))\n"
    "local code = redis.call('HMGET', KEYS[1], 'state', 'client',\n"
    "  'redirect_uri', 'challenge', 'access', 'family')\n"
    "if not code[1] then\n"
    "  return {'unknown'}\n"
    "end\n"
    "if code[2] ~= client or code[3] ~= uri or code[4] ~= challenge then\n"
    "  return {'mismatch'}\n"
    "end\n"
    "if code[1] == 'redeemed' then\n"
    "  return {'replayed', code[5], code[6]}\n"
    "end\n"
    "if code[1] ~= 'issued' then\n"
    "  return {'unknown'}\n"
    "end\n"
    "redis.call('HSET', KEYS[1], 'state', 'redeemed', 'access', access,\n"
    "  'family', family)\n"
    "redis.call('PEXPIRE', KEYS[1], keep)\n"
    "return {'ok'}\n");


ngx_opsauth_script_t  ngx_http_opsauth_oauth_script_family_create =
    ngx_opsauth_script_make("family_create", NGX_HTTP_OPSAUTH_OAUTH_CREATE);


/*
 * Who presents the one before the current has a current that nobody has used,
 * else it would be further back: an answer that got lost, or two that asked at
 * once. Beyond the grace, and for any that is further back, somebody has a copy.
 */

ngx_opsauth_script_t  ngx_http_opsauth_oauth_script_family_rotate =
    ngx_opsauth_script_make("family_rotate",

    NGX_HTTP_OPSAUTH_OAUTH_ALIVE
    "local now_ms, now, grace = tonumber(ARGV[1]), tonumber(ARGV[2]),\n"
    "  tonumber(ARGV[3])\n"
    "local presented, new, access, expires = unpack(ARGV, 4, 7)\n"
    "local client, ttl = ARGV[8], tonumber(ARGV[9])\n"
    "local family = redis.call('HMGET', KEYS[1], 'state', 'client',\n"
    "  'current', 'previous', 'rotated', 'access', 'expires')\n"
    "local state, current, previous = family[1], family[3], family[4]\n"
    "if not state then\n"
    "  return {'unknown'}\n"
    "end\n"
    /* a tombstone has no client */
    "if family[2] ~= client and (family[2] or state == 'active') then\n"
    "  return {'mismatch'}\n"
    "end\n"
    "local digests, kept = alive(family[6] or '', now)\n"
    "if state ~= 'active' then\n"
    "  return {'revoked', unpack(digests)}\n"
    "end\n"
    "if tonumber(family[7]) <= now then\n"
    "  return {'unknown'}\n"
    "end\n"
    "if presented ~= current then\n"
    "  if presented ~= '' and presented == previous\n"
    "    and now_ms - tonumber(family[5]) <= grace\n"
    "  then\n"
    "    return {'repeated'}\n"
    "  end\n"
    "  redis.call('HSET', KEYS[1], 'state', 'revoked')\n"
    "  return {'replayed', unpack(digests)}\n"
    "end\n"
    "if #digests >= " NGX_HTTP_OPSAUTH_OAUTH_LIVE " then\n"
    "  return {'limited'}\n"
    "end\n"
    "kept[#kept + 1] = access .. ':' .. expires\n"
    "local ends = string.format('%.0f', now + math.floor(ttl / 1000))\n"
    "redis.call('HSET', KEYS[1], 'current', new, 'previous', current,\n"
    "  'rotated', ARGV[1], 'access', table.concat(kept, ' '),\n"
    "  'expires', ends)\n"
    "redis.call('PEXPIRE', KEYS[1], ARGV[9])\n"
    "return {'ok'}\n");


ngx_opsauth_script_t  ngx_http_opsauth_oauth_script_family_revoke =
    ngx_opsauth_script_make("family_revoke",

    NGX_HTTP_OPSAUTH_OAUTH_ALIVE
    "local tombstone, now = tonumber(ARGV[1]), tonumber(ARGV[2])\n"
    "local client = ARGV[3]\n"
    "local family = redis.call('HMGET', KEYS[1], 'state', 'client',\n"
    "  'access')\n"
    "if not family[1] then\n"
    "  if tombstone <= 0 then\n"
    "    return {'unknown'}\n"
    "  end\n"
    "  redis.call('HSET', KEYS[1], 'v', '1', 'state', 'revoked')\n"
    "  redis.call('PEXPIRE', KEYS[1], ARGV[1])\n"
    "  return {'ok'}\n"
    "end\n"
    "if client ~= '' and family[2] ~= client\n"
    "  and (family[2] or family[1] == 'active')\n"
    "then\n"
    "  return {'mismatch'}\n"
    "end\n"
    "local digests = alive(family[3] or '', now)\n"
    "redis.call('HSET', KEYS[1], 'state', 'revoked')\n"
    "return {'ok', unpack(digests)}\n");


ngx_opsauth_script_t  ngx_http_opsauth_oauth_script_credential_issue =
    ngx_opsauth_script_make("credential_issue",

    "assert(tonumber(ARGV[1]))\n"
    "if redis.call('EXISTS', KEYS[1]) == 1 then\n"
    "  return {'exists'}\n"
    "end\n"
    "redis.call('HSET', KEYS[1], unpack(ARGV, 2))\n"
    "redis.call('PEXPIREAT', KEYS[1], ARGV[1])\n"
    "return {'ok'}\n");


/*
 * Its tombstone has all that a gateway wants of a record, which takes one with
 * a field missing for trouble of the store. The id tells it from others.
 */

ngx_opsauth_script_t  ngx_http_opsauth_oauth_script_credential_revoke =
    ngx_opsauth_script_make("credential_revoke",

    "local tombstone, client = tonumber(ARGV[1]), ARGV[2]\n"
    "local credential = redis.call('HMGET', KEYS[1], 'state', 'client', 'id')\n"
    "if not credential[1] then\n"
    "  if tombstone <= 0 then\n"
    "    return {'unknown'}\n"
    "  end\n"
    "  redis.call('HSET', KEYS[1], 'v', '1', 'id', '-',\n"
    "    'kind', 'access_token', 'account', '-', 'state', 'revoked',\n"
    "    'environment', 'live', 'scopes', '', 'expires', '0')\n"
    "  redis.call('PEXPIRE', KEYS[1], ARGV[1])\n"
    "  return {'ok', ''}\n"
    "end\n"
    "if credential[3] == '-' then\n"
    "  return {'ok', ''}\n"
    "end\n"
    "if client ~= '' and credential[2] ~= client then\n"
    "  return {'mismatch'}\n"
    "end\n"
    "redis.call('HSET', KEYS[1], 'state', 'revoked')\n"
    "return {'ok', credential[3] or ''}\n");
