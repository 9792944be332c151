/*
 * OAuth clients: src/core/oa_client*.c. A value a line for each field; then a
 * redirect URI, scopes that are requested, allowed and a ceiling, a verifier
 * and a challenge.
 */

#include "fuzz.h"
#include "oa_client.h"
#include "oa_set.h"


static int
starts(oa_str_t s, const char *with)
{
    return s.len >= strlen(with) && memcmp(s.data, with, strlen(with)) == 0;
}


static void
redirects(const oa_client_t *client, oa_str_t uri)
{
    size_t       pos;
    oa_str_t     word;
    const char  *error;

    error = NULL;

    if (oa_redirect_uri_check(uri, &error) == OA_OK) {
        must(error == NULL && uri.len && uri.len <= OA_REDIRECT_MAX);
        must(memchr(uri.data, '#', uri.len) == NULL);
        must(memchr(uri.data, '\r', uri.len) == NULL);
        must(memchr(uri.data, '\n', uri.len) == NULL);
        must(oa_redirect_uri_match(uri, uri));
    } else {
        must(error != NULL);
    }

    if (client == NULL) {
        return;
    }

    for (pos = 0; oa_set_next(client->redirect_uris, &pos, &word); ) {
        must(oa_redirect_uri_check(word, &error) == OA_OK);
        must(oa_redirect_uri_match(word, word));

        if (oa_redirect_uri_match(word, uri)) {
            /* what is sent to is never another place */
            must(fuzz_same(word, uri)
                 || starts(word, "http://127.0.0.1")
                 || starts(word, "http://[::1]"));
            must(oa_redirect_uri_check(uri, &error) == OA_OK);
        }
    }
}


static void
scopes(fuzz_t *in, oa_str_t requested, oa_str_t allowed, oa_str_t ceiling)
{
    size_t          len, pos;
    oa_rc_t         rc;
    oa_str_t        set, word;
    unsigned char  *out, *words[2];

    out = fuzz_room(in, OA_SET_MAX);
    rc = oa_scope_narrow(requested, allowed, ceiling, out, OA_SET_MAX, &len);

    if (rc != OA_OK) {
        return;
    }

    must(len <= OA_SET_MAX);

    words[0] = fuzz_room(in, allowed.len);
    words[1] = fuzz_room(in, ceiling.len);

    must(oa_set_pack(allowed, words[0], allowed.len, &allowed.len) == OA_OK);
    allowed.data = words[0];

    if (ceiling.data) {
        must(oa_set_pack(ceiling, words[1], ceiling.len, &ceiling.len)
             == OA_OK);
        ceiling.data = words[1];
    }

    set.data = out;
    set.len = len;

    /* never more than is allowed, nor than there is of the ceiling */

    for (pos = 0; oa_set_next(set, &pos, &word); ) {
        must(oa_scope_grants(allowed, word));
        must(ceiling.data == NULL || oa_scope_grants(ceiling, word));
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t        i;
    fuzz_t        in;
    oa_rc_t       rc;
    oa_str_t      v[OA_CLIENT_FIELDS], field, uri, a, b, c, verifier;
    oa_client_t   client;

    fuzz_start(&in, data, size);

    for (i = 0; i < OA_CLIENT_FIELDS; i++) {
        v[i] = fuzz_value(&in);
    }

    uri = fuzz_line(&in);

    rc = oa_client_read(fuzz_text("app"), v, &client, &field);

    must(rc != OA_ERROR);

    if (rc == OA_OK) {
        must(client.account.len && client.auth_methods);
        must(client.grants || client.introspect);
        must((client.auth_methods & OA_AUTH_NONE) == 0
             || (client.auth_methods == OA_AUTH_NONE
                 && client.secret.data == NULL && !client.introspect
                 && (client.grants & OA_GRANT_CLIENT_CREDENTIALS) == 0));
        must((client.auth_methods
              & (OA_AUTH_SECRET_BASIC|OA_AUTH_SECRET_POST))
             == 0 || client.secret.len == OA_DIGEST_HEX_LEN);
        must((client.grants & OA_GRANT_AUTHORIZATION_CODE) == 0
             || client.redirect_uris.len);
    } else {
        must((rc == OA_INVALID) == (field.len != 0));
    }

    redirects(rc == OA_OK ? &client : NULL, uri);

    a = fuzz_line(&in);
    b = fuzz_line(&in);
    c = fuzz_value(&in);
    scopes(&in, a, b, c);

    verifier = fuzz_line(&in);
    c = fuzz_line(&in);

    rc = oa_pkce_check(verifier, c);
    must(rc == OA_OK || rc == OA_DECLINED || rc == OA_INVALID);
    must(rc == OA_INVALID || (verifier.len >= OA_VERIFIER_MIN
                              && verifier.len <= OA_VERIFIER_MAX));
    must(rc != OA_OK || oa_pkce_challenge_valid(c));

    fuzz_end(&in);
    return 0;
}
