/*
 * Authorization requests: src/core/oa_authorize.c. Lines: a redirect URI of the
 * client's, its grants and way to log in as two digits, a scope, a state; the
 * rest is the request's form.
 */

#include "fuzz.h"
#include "oa_authorize.h"
#include "oa_set.h"


static oa_client_t
make_client(oa_str_t uris, uint8_t grants, uint8_t methods)
{
    const char   *error;
    oa_client_t   client;

    memset(&client, 0, sizeof(client));

    client.id = fuzz_text("app");
    client.account = fuzz_text("crm");
    client.enabled = 1;
    client.grants = grants & 7;
    client.auth_methods = methods & 31;

    if (oa_client_field_check("redirect_uris", uris, &error) == OA_OK) {
        client.redirect_uris = uris;
    }

    return client;
}


/* nothing in it ends a header */

static void
location(fuzz_t *in, oa_str_t uri, oa_str_t state)
{
    size_t            n, i;
    unsigned char    *out;
    oa_form_field_t   parameters[2];

    parameters[0].name = fuzz_text("code");
    parameters[0].value = fuzz_text("abc");
    parameters[1].name = fuzz_text("state");
    parameters[1].value = state;

    n = oa_authorize_location(uri, parameters, 2, NULL);
    out = fuzz_room(in, n);
    must(oa_authorize_location(uri, parameters, 2, out) == n);

    for (i = 0; i < n; i++) {
        must(out[i] > 0x20 && out[i] < 0x7f);
    }

    must(n > uri.len && memcmp(out, uri.data, uri.len) == 0);
}


static void
shown(fuzz_t *in, oa_str_t uri)
{
    size_t          n, i;
    oa_str_t        text;
    unsigned char  *out;

    (void) oa_redirect_place(uri, &text);
    must(fuzz_within(text, uri));

    out = fuzz_room(in, OA_FORM_ACTION_MAX);
    n = oa_redirect_form_action(uri, out);
    must(n <= OA_FORM_ACTION_MAX);

    for (i = 0; i < n; i++) {
        must(out[i] >= 0x20 && out[i] < 0x7f
             && out[i] != ';' && out[i] != ',' && out[i] != '"');
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_t                in;
    oa_str_t              uris, text, uri, scope, state;
    oa_form_t             form;
    oa_client_t           client;
    const char           *why;
    unsigned char        *room;
    oa_scope_words_t      words;
    oa_authorize_error_t  error;

    fuzz_start(&in, data, size);

    uris = fuzz_line(&in);
    client = make_client(uris, fuzz_byte(&in), fuzz_byte(&in));
    scope = fuzz_line(&in);
    state = fuzz_value(&in);
    text = fuzz_rest(&in);

    room = fuzz_copy(&in, text.data, text.len);

    if (oa_form_parse(room, text.len, &form, &why) == OA_OK) {

        why = NULL;

        if (oa_authorize_redirect(&form, &client, &uri, &why) == OA_OK) {
            must(uri.len && client.redirect_uris.len);
            must(oa_redirect_uri_check(uri, &why) == OA_OK);
            location(&in, uri, state);
            shown(&in, uri);
        } else {
            must(why != NULL);
        }

        memset(&error, 0, sizeof(error));

        if (oa_authorize_check(&form, &client, &error) != OA_OK) {
            must(error.error && error.description);
        } else {
            must(client.grants & OA_GRANT_AUTHORIZATION_CODE);
            must((client.auth_methods & OA_AUTH_NONE) == 0
                 || oa_form_get(&form, "code_challenge").len);
        }
    }

    if (oa_scope_words(scope, &words) == OA_OK) {
        must(words.before && words.after);
        must(words.resource.len == 0 || fuzz_within(words.resource, scope));
    }

    fuzz_end(&in);
    return 0;
}
