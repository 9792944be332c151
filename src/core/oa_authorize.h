/*
 * Authorization requests (RFC 6749 section 4.1): what may be sent back to a
 * redirect URI, what is wrong with a request, where the answer goes, and what a
 * person is told about it all.
 */

#ifndef OA_AUTHORIZE_H
#define OA_AUTHORIZE_H

#include "oa_client.h"
#include "oa_core.h"
#include "oa_form.h"


#define OA_STATE_MAX        2048        /* bytes, unescaped */
#define OA_FORM_ACTION_MAX  128


/* error is what RFC 6749 section 4.1.2.1 and its successors call it;
   both are static text that needs no escaping in HTML */
typedef struct {
    const char  *error;
    const char  *description;
} oa_authorize_error_t;

typedef enum {
    OA_PLACE_WEB = 1,                   /* text: host and port */
    OA_PLACE_LOOPBACK,                  /* an app on this device; the same */
    OA_PLACE_APP                        /* an app; text: the scheme */
} oa_place_t;

/* a scope in plain words: before, resource, after; both texts static */
typedef struct {
    const char  *before;
    oa_str_t     resource;              /* may be empty */
    const char  *after;
} oa_scope_words_t;


/*
 * Where the answer would go. As long as this is not OA_OK, nothing may be sent
 * to any URI of the request (RFC 6749 section 4.1.2.1): *uri, the one to send
 * to, is a view into the form or, where it was left out and the client has one
 * alone, into the record. OA_DECLINED: *error says why, for people.
 */
oa_rc_t oa_authorize_redirect(const oa_form_t *form, const oa_client_t *client,
    oa_str_t *uri, const char **error);

/*
 * All the rest but the scope: response_type and _mode, the client's grants,
 * PKCE (RFC 7636: S256, and for a public client always; RFC 9700 section
 * 2.1.1), request objects, prompt. OA_DECLINED: *error.
 */
oa_rc_t oa_authorize_check(const oa_form_t *form, const oa_client_t *client,
    oa_authorize_error_t *error);

/*
 * The redirect URI with these parameters added to its query (RFC 6749 section
 * 4.1.2), escaped; absent ones (data NULL) are left out. Returns the length,
 * out NULL: only that.
 */
size_t oa_authorize_location(oa_str_t uri, const oa_form_field_t *parameters,
    size_t n, unsigned char *out);

/* what the place that a redirect URI names is called; see oa_place_t */
oa_place_t oa_redirect_place(oa_str_t uri, oa_str_t *text);

/*
 * The sources for form-action (CSP Level 3) of a form that is answered by a
 * redirect to the URI. Chromium applies form-action to every further redirect
 * too, so that the client's own origin alone would break clients that go on to
 * another one: any https, and loopback for loopback. No byte of a host gets
 * there. Length of what stands in out then.
 */
size_t oa_redirect_form_action(oa_str_t uri,
    unsigned char out[OA_FORM_ACTION_MAX]);

/* OA_DECLINED: not of a known form, to be shown as it is */
oa_rc_t oa_scope_words(oa_str_t scope, oa_scope_words_t *words);


#endif /* OA_AUTHORIZE_H */
