/*
 * The scripts of the token service as they are compiled in. "--print" gives
 * them to t/29-scripts.t, which runs them: name, SHA-1 and text of each, and a
 * zero behind every one of these.
 */

#include "../../src/core/oa_sha1.c"
#include "../../src/oauth/ngx_http_opsauth_oauth_script.c"
#include "tap.h"


static const ngx_opsauth_script_t  *scripts[] = {
    &ngx_http_opsauth_oauth_script_code_store,
    &ngx_http_opsauth_oauth_script_code_redeem,
    &ngx_http_opsauth_oauth_script_family_create,
    &ngx_http_opsauth_oauth_script_family_rotate,
    &ngx_http_opsauth_oauth_script_family_revoke,
    &ngx_http_opsauth_oauth_script_credential_issue,
    &ngx_http_opsauth_oauth_script_credential_revoke
};

#define SCRIPTS  (sizeof(scripts) / sizeof(scripts[0]))


int
main(int argc, char **argv)
{
    size_t                       i;
    oa_str_t                     text;
    const char                  *p;
    unsigned char                sha1[OA_SHA1_HEX_LEN];
    const ngx_opsauth_script_t  *script;

    for (i = 0; i < SCRIPTS; i++) {
        script = scripts[i];

        text.data = script->text.data;
        text.len = script->text.len;

        if (oa_sha1_hex(text, sha1) != OA_OK) {
            return 1;
        }

        if (argc > 1 && strcmp(argv[1], "--print") == 0) {
            fwrite(script->name.data, 1, script->name.len + 1, stdout);
            fwrite(sha1, 1, sizeof(sha1), stdout);
            fwrite("", 1, 1, stdout);
            fwrite(text.data, 1, text.len + 1, stdout);
            continue;
        }

        p = (const char *) text.data;

        ok(strstr(p, "KEYS[1]") != NULL, "%s: has a key", script->name.data);

        while ((p = strstr(p, "KEYS")) != NULL && strncmp(p, "KEYS[1]", 7) == 0)
        {
            p++;
        }

        ok(p == NULL, "%s: the first, and no other", script->name.data);
        ok(strstr((const char *) text.data, "'TIME'") == NULL,
           "%s: no clock", script->name.data);
        ok(text.data[0] != '#', "%s: as Redis 6.2 has it", script->name.data);
        ok(text.len < 4096, "%s: %zu bytes", script->name.data, text.len);
        ok(!script->ready && !script->failed, "%s: untouched",
           script->name.data);
    }

    return (argc > 1) ? 0 : done_testing();
}
