/*
 * Plain replies read where they lie; for ngx_opsauth_codec.c only.
 */

#ifndef NGX_OPSAUTH_CODEC_FLAT_H
#define NGX_OPSAUTH_CODEC_FLAT_H

#include <ngx_config.h>
#include <ngx_core.h>


/*
 * One whole array of at most max_elements strings and nils, of max_bytes
 * together, from p on: its *n values in strings (a nil's data is NULL), and
 * where the next reply starts. NULL: anything else, or not all of it is there.
 */
u_char *ngx_opsauth_codec_flat(u_char *p, u_char *last,
    ngx_uint_t max_elements, size_t max_bytes, ngx_str_t *strings,
    ngx_uint_t *n);


#endif /* NGX_OPSAUTH_CODEC_FLAT_H */
