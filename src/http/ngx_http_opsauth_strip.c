/*
 * Preaccess: what a client may not say for itself leaves the request.
 *
 *   identity headers   in any case, with '_' for '-', all copies: the backend
 *                      may believe what it gets
 *   the credential     noted in the context; taken out unless it is forwarded
 *
 * It is done here and not in the access phase, since "satisfy any" may jump
 * over our access handler, and before subrequests copy the headers.
 *
 * To set an element's hash to 0 would not remove it: proxy_pass never looks.
 * The list's parts are chained anew around what goes. Elements don't move, so
 * the pointers into them in r->headers_in stay right.
 */

#include "ngx_http_opsauth.h"
#include "ngx_http_opsauth_compat.h"
#include "ngx_http_opsauth_introspection.h"


typedef struct {
    ngx_http_opsauth_loc_conf_t  *olcf;
    ngx_http_opsauth_ctx_t       *ctx;
    ngx_uint_t                    removed;
    unsigned                      keep_credential:1;
} ngx_http_opsauth_strip_t;


OA_HOT static void ngx_http_opsauth_strip_walk(ngx_http_request_t *r,
    ngx_http_opsauth_strip_t *strip);
OA_HOT static void ngx_http_opsauth_strip_header(ngx_http_request_t *r,
    ngx_http_opsauth_strip_t *strip, const ngx_http_opsauth_name_t *name,
    ngx_table_elt_t *h);
OA_HOT static const ngx_http_opsauth_name_t *ngx_http_opsauth_find_name(
    const ngx_http_opsauth_names_t *names, const ngx_str_t *key,
    const u_char *lowcase);
OA_HOT static ngx_int_t ngx_http_opsauth_strip_chain(ngx_http_request_t *r,
    ngx_http_opsauth_ctx_t *ctx);


/*
 * A removed element, until the list is chained anew in the same turn. A hash
 * of 0 would not do: with "ignore_invalid_headers off" nginx leaves it in
 * headers of clients.
 */
#define ngx_http_opsauth_mark_removed(h)                                      \
    do {                                                                      \
        (h)->value.len = 0;                                                   \
        (h)->value.data = ngx_http_opsauth_removed;                           \
    } while (0)
#define ngx_http_opsauth_is_removed(h)                                        \
    ((h)->value.data == ngx_http_opsauth_removed)

#define ngx_http_opsauth_length_bit(len)                                      \
    ((uint64_t) 1 << ngx_min(len, 63))


static u_char  ngx_http_opsauth_removed[1];


ngx_int_t
ngx_http_opsauth_preaccess_handler(ngx_http_request_t *r)
{
    ngx_http_opsauth_ctx_t       *ctx;
    ngx_http_opsauth_strip_t      strip;
    ngx_http_opsauth_loc_conf_t  *olcf;

    if (r != r->main) {
        return ngx_http_opsauth_introspection_preaccess(r);
    }

    olcf = ngx_http_get_module_loc_conf(r, ngx_http_opsauth_module);

    if (!olcf->named) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_opsauth_make_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /*
     * After a redirect, another location decides anew. One that does not, like
     * that of an error page, leaves the verdict to be logged.
     */

    ctx->deny_status = 0;
    ctx->page = 0;

    if (olcf->store && !olcf->endpoint) {
        ctx->decided = 0;
        ctx->shadow = olcf->shadow;
    }

    ngx_memzero(&strip, sizeof(ngx_http_opsauth_strip_t));

    strip.olcf = olcf;
    strip.ctx = ctx;

    /* in shadow the backend's own check must still find what it looks for */

    strip.keep_credential = (olcf->forward_credential || ctx->shadow);

    ngx_http_opsauth_strip_walk(r, &strip);

    if (strip.removed && ngx_http_opsauth_strip_chain(r, ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_DECLINED;
}


static void
ngx_http_opsauth_strip_walk(ngx_http_request_t *r,
    ngx_http_opsauth_strip_t *strip)
{
    uint64_t                        lengths;
    ngx_uint_t                      i;
    ngx_list_part_t                *part;
    ngx_table_elt_t                *h;
    const ngx_http_opsauth_name_t  *name;

    /* most of a request's headers have a length that none of the names has */

    lengths = strip->olcf->names.lengths;

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (!(lengths & ngx_http_opsauth_length_bit(h[i].key.len))) {
            continue;
        }

        name = ngx_http_opsauth_find_name(&strip->olcf->names, &h[i].key,
                                          h[i].lowcase_key);

        if (name) {
            ngx_http_opsauth_strip_header(r, strip, name, &h[i]);
        }
    }
}


static void
ngx_http_opsauth_strip_header(ngx_http_request_t *r,
    ngx_http_opsauth_strip_t *strip, const ngx_http_opsauth_name_t *name,
    ngx_table_elt_t *h)
{
    oa_rc_t                  rc;
    oa_str_t                 bearer;
    ngx_http_opsauth_ctx_t  *ctx;

    if (name->credential) {
        ctx = strip->ctx;

        rc = name->authorization
             ? oa_bearer_parse(ngx_http_opsauth_view(&h->value), &bearer)
             : oa_bearer_bare(ngx_http_opsauth_view(&h->value), &bearer);

        if (rc == OA_DECLINED) {
            return;                     /* Basic, say: somebody else's */
        }

        /*
         * One that was left in the headers is found again after a redirect;
         * any other is a second one, also where an earlier location took the
         * first out.
         */

        if (rc == OA_OK
            && (ctx->presence == NGX_HTTP_OPSAUTH_NONE
                || (ctx->presence == NGX_HTTP_OPSAUTH_PRESENT
                    && ctx->bearer.data == bearer.data)))
        {
            ctx->presence = NGX_HTTP_OPSAUTH_PRESENT;
            ctx->bearer = ngx_http_opsauth_str(bearer);

        } else {
            ctx->presence = NGX_HTTP_OPSAUTH_MALFORMED;
        }

        if (strip->keep_credential) {
            return;
        }

        if (h == r->headers_in.authorization) {
            r->headers_in.authorization = NULL;
        }
    }

    ngx_http_opsauth_mark_removed(h);
    strip->removed++;
}


static const ngx_http_opsauth_name_t *
ngx_http_opsauth_find_name(const ngx_http_opsauth_names_t *names,
    const ngx_str_t *key, const u_char *lowcase)
{
    u_char                          c;
    size_t                          n;
    ngx_uint_t                      i;
    const ngx_http_opsauth_name_t  *name;

    name = names->names.elts;

    for (i = 0; i < names->names.nelts; i++) {

        if (name[i].name.len != key->len) {
            continue;
        }

        /* nginx has folded the letters of most; '_' or none: by the byte */

        if (lowcase && ngx_memcmp(lowcase, name[i].name.data, key->len) == 0) {
            return &name[i];
        }

        for (n = 0; n < key->len; n++) {
            c = key->data[n];
            c = (c == '_') ? '-' : ngx_tolower(c);

            if (c != name[i].name.data[n]) {
                break;
            }
        }

        if (n == key->len) {
            return &name[i];
        }
    }

    return NULL;
}


ngx_int_t
ngx_http_opsauth_add_name(ngx_conf_t *cf, ngx_http_opsauth_names_t *names,
    const ngx_http_opsauth_name_t *name)
{
    size_t                          i;
    ngx_str_t                       folded;
    ngx_http_opsauth_name_t        *known;
    const ngx_http_opsauth_name_t  *same;

    folded.len = name->name.len;
    folded.data = ngx_pnalloc(cf->pool, folded.len);
    if (folded.data == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < folded.len; i++) {
        folded.data[i] = (name->name.data[i] == '_')
                         ? '-' : ngx_tolower(name->name.data[i]);
    }

    same = ngx_http_opsauth_find_name(names, &folded, folded.data);

    if (same != NULL) {
        return (same->credential == name->credential) ? NGX_OK : NGX_DECLINED;
    }

    known = ngx_array_push(&names->names);
    if (known == NULL) {
        return NGX_ERROR;
    }

    *known = *name;
    known->name = folded;
    names->lengths |= ngx_http_opsauth_length_bit(folded.len);

    return NGX_OK;
}


/*
 * One part for every run of elements that stay. ngx_list_push() takes nalloc
 * both for the last part's capacity and for the next part's size: it is set to
 * the last run's length, so that the next push opens a part of its own. No
 * part is left empty behind another, readers look at elts[0] unasked.
 */

static ngx_int_t
ngx_http_opsauth_strip_chain(ngx_http_request_t *r,
    ngx_http_opsauth_ctx_t *ctx)
{
    ngx_uint_t        i, start;
    ngx_list_t       *list;
    ngx_list_part_t  *part, *run, *last, first;
    ngx_table_elt_t  *h;

    list = &r->headers_in.headers;
    last = NULL;

    ngx_memzero(&first, sizeof(ngx_list_part_t));

    for (part = &list->part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; /* void */ ) {

            if (ngx_http_opsauth_is_removed(&h[i])) {
                i++;
                continue;
            }

            start = i;

            while (i < part->nelts && !ngx_http_opsauth_is_removed(&h[i])) {
                i++;
            }

            run = &first;

            if (last != NULL) {
                run = ngx_http_opsauth_alloc(ctx, sizeof(ngx_list_part_t));
                if (run == NULL) {
                    return NGX_ERROR;
                }

                last->next = run;
            }

            run->elts = &h[start];
            run->nelts = i - start;
            run->next = NULL;
            last = run;
        }
    }

    ngx_http_opsauth_unlink_multi(r);

    if (last == NULL) {
        return ngx_list_init(list, r->pool, 8, sizeof(ngx_table_elt_t));
    }

    list->part = first;
    list->last = (last == &first) ? &list->part : last;
    list->nalloc = last->nelts;

    return NGX_OK;
}
