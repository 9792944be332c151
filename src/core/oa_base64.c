/*
 * Base64: see oa_base64.h.
 *
 * Contract: one text for one sequence of bytes and the other way round, so
 * that a signature, a digest or a password can't be written in two ways.
 * Not constant in time: what is secret is compared after it was decoded.
 */

#include "oa_base64.h"


#define OA_BASE64_BAD  64               /* no character of the alphabet */


static oa_rc_t oa_base64_decode_by(unsigned (*value)(unsigned char c),
    oa_str_t text, unsigned char *out, size_t cap, size_t *len);
static unsigned oa_base64_value(unsigned char c);
static unsigned oa_base64url_value(unsigned char c);


static const char  oa_base64url_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";


void
oa_base64url_encode(const unsigned char *data, size_t n, unsigned char *out)
{
    size_t    i;
    unsigned  bits, held;

    bits = 0;
    held = 0;

    for (i = 0; i < n; i++) {
        bits = (bits << 8 | data[i]) & 0x3fff;
        held += 8;

        while (held >= 6) {
            held -= 6;
            *out++ = (unsigned char) oa_base64url_alphabet[bits >> held & 63];
        }
    }

    if (held != 0) {
        *out = (unsigned char) oa_base64url_alphabet[bits << (6 - held) & 63];
    }
}


oa_rc_t
oa_base64url_decode(oa_str_t text, unsigned char *out, size_t cap,
    size_t *len)
{
    return oa_base64_decode_by(oa_base64url_value, text, out, cap, len);
}


int
oa_base64url_valid(oa_str_t text)
{
    size_t         i, rest;
    unsigned char  c;

    rest = text.len % 4;

    if (rest == 1) {
        return 0;
    }

    for (i = 0; i < text.len; i++) {
        if (oa_base64url_value(text.data[i]) == OA_BASE64_BAD) {
            return 0;
        }
    }

    if (rest == 0) {
        return 1;
    }

    c = text.data[text.len - 1];

    return (oa_base64url_value(c) & (rest == 2 ? 15 : 3)) == 0;
}


oa_rc_t
oa_base64_decode(oa_str_t text, unsigned char *out, size_t cap, size_t *len)
{
    size_t  pad;

    if (text.len % 4 != 0) {
        return OA_INVALID;
    }

    for (pad = 0; pad < 2 && text.len != 0; pad++) {

        if (text.data[text.len - 1] != '=') {
            break;
        }

        text.len--;
    }

    return oa_base64_decode_by(oa_base64_value, text, out, cap, len);
}


/* never ahead of what it reads, so that it may write over the text itself */

static oa_rc_t
oa_base64_decode_by(unsigned (*value)(unsigned char c), oa_str_t text,
    unsigned char *out, size_t cap, size_t *len)
{
    size_t    i, n;
    unsigned  bits, held, v;

    if (text.len % 4 == 1) {
        return OA_INVALID;
    }

    n = 0;
    bits = 0;
    held = 0;

    for (i = 0; i < text.len; i++) {

        v = value(text.data[i]);

        if (v == OA_BASE64_BAD) {
            return OA_INVALID;
        }

        bits = (bits << 6 | v) & 0x3fff;
        held += 6;

        if (held < 8) {
            continue;
        }

        if (n == cap) {
            return OA_ERROR;
        }

        held -= 8;
        out[n++] = (unsigned char) (bits >> held);
    }

    if ((bits & ((1u << held) - 1)) != 0) {
        return OA_INVALID;
    }

    *len = n;

    return OA_OK;
}


static unsigned
oa_base64_value(unsigned char c)
{
    if (c == '+') {
        return 62;
    }

    if (c == '/') {
        return 63;
    }

    return (c == '-' || c == '_') ? OA_BASE64_BAD : oa_base64url_value(c);
}


static unsigned
oa_base64url_value(unsigned char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }

    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }

    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }

    if (c == '-') {
        return 62;
    }

    return (c == '_') ? 63 : OA_BASE64_BAD;
}
