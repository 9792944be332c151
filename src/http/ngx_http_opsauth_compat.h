/*
 * What differs between the versions of nginx that we build against.
 */

#ifndef NGX_HTTP_OPSAUTH_COMPAT_H
#define NGX_HTTP_OPSAUTH_COMPAT_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


/* since 1.23.0 headers of one name are linked, lazily */

#if (nginx_version >= 1023000)

#define ngx_http_opsauth_elt_init(h)       (h)->next = NULL
#define ngx_http_opsauth_unlink_multi(r)   (r)->headers_in.multi_linked = 0

#else

#define ngx_http_opsauth_elt_init(h)
#define ngx_http_opsauth_unlink_multi(r)

#endif


#endif /* NGX_HTTP_OPSAUTH_COMPAT_H */
