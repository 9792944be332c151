/*
 * Address lists.
 *
 * Contract: text becomes binary once, when a record is packed; matching then
 * compares bytes.  Invariants: an address or network inside ::ffff:0:0/96 is
 * IPv4 everywhere, so a list for IPv4 can't be passed by a mapped address nor
 * miss one; a packed list is checked to its end before it may say yes, since
 * a damaged one must not admit anybody.  Called for each request by the policy.
 */

#include <string.h>

#include <arpa/inet.h>

#include "oa_cidr.h"
#include "oa_text.h"


/* "255.255.255.255", the longest IPv6 text, and room for a terminator */
#define OA_ADDR_TEXT_MAX  INET6_ADDRSTRLEN


static const unsigned char  oa_addr_mapped[12] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff
};


static oa_rc_t oa_addr_pton(oa_str_t text, unsigned char bytes[16],
    size_t *len);
static oa_rc_t oa_cidr_entry(oa_str_t text, unsigned char *entry, size_t *len);


void
oa_addr_set(oa_addr_t *addr, const unsigned char *bytes, size_t len)
{
    memset(addr, 0, sizeof(*addr));

    if (len == 4) {
        addr->family = 4;
        memcpy(addr->bytes, bytes, 4);
        return;
    }

    if (len != 16) {
        return;
    }

    if (memcmp(bytes, oa_addr_mapped, 12) == 0) {
        addr->family = 4;
        memcpy(addr->bytes, bytes + 12, 4);
        return;
    }

    addr->family = 6;
    memcpy(addr->bytes, bytes, 16);
}


oa_rc_t
oa_addr_parse(oa_str_t text, oa_addr_t *addr)
{
    size_t         len;
    unsigned char  bytes[16];

    if (oa_addr_pton(text, bytes, &len) != OA_OK) {
        return OA_INVALID;
    }

    oa_addr_set(addr, bytes, len);

    return OA_OK;
}


/* inet_pton() is strict as we want it: no octal, no zone, no short forms */

static oa_rc_t
oa_addr_pton(oa_str_t text, unsigned char bytes[16], size_t *len)
{
    int   family;
    char  buf[OA_ADDR_TEXT_MAX];

    if (text.len == 0 || text.len >= sizeof(buf)
        || memchr(text.data, '\0', text.len) != NULL)
    {
        return OA_INVALID;
    }

    memcpy(buf, text.data, text.len);
    buf[text.len] = '\0';

    family = memchr(buf, ':', text.len) ? AF_INET6 : AF_INET;

    if (inet_pton(family, buf, bytes) != 1) {
        return OA_INVALID;
    }

    *len = (family == AF_INET6) ? 16 : 4;

    return OA_OK;
}


oa_rc_t
oa_cidr_pack(oa_str_t text, unsigned char *out, size_t cap, size_t *len,
    oa_str_t *bad)
{
    int            commas;
    size_t         i, n, size, entries;
    oa_str_t       word;
    unsigned char  entry[18];

    n = 0;
    i = 0;
    commas = 0;
    entries = 0;

    while (i < text.len) {

        if (text.data[i] == ' ' || text.data[i] == ',') {
            commas |= (text.data[i] == ',');
            i++;
            continue;
        }

        word.data = text.data + i;
        word.len = 0;

        while (i < text.len && text.data[i] != ' ' && text.data[i] != ',') {
            word.len++;
            i++;
        }

        if (entries == OA_CIDR_MAX
            || oa_cidr_entry(word, entry, &size) != OA_OK)
        {
            *bad = word;
            return OA_INVALID;
        }

        if (size > cap - n) {
            return OA_ERROR;
        }

        memcpy(out + n, entry, size);
        n += size;
        entries++;
    }

    if (entries == 0 && commas) {

        /* an empty list admits everybody: commas alone must not become one */

        *bad = text;
        return OA_INVALID;
    }

    *len = n;

    return OA_OK;
}


/* "address" or "address/length" -> family, length, address bytes */

static oa_rc_t
oa_cidr_entry(oa_str_t text, unsigned char *entry, size_t *len)
{
    size_t                size, i;
    int64_t               bits;
    oa_str_t              addr, length;
    const unsigned char  *slash;
    unsigned char         bytes[16], *p;

    addr = text;
    slash = memchr(text.data, '/', text.len);

    if (slash != NULL) {
        addr.len = (size_t) (slash - text.data);
    }

    if (oa_addr_pton(addr, bytes, &size) != OA_OK) {
        return OA_INVALID;
    }

    bits = (int64_t) size * 8;

    if (slash != NULL) {
        length.data = slash + 1;
        length.len = text.len - addr.len - 1;

        if (oa_text_number(length, bits, &bits) != OA_OK
            || (length.len > 1 && length.data[0] == '0'))
        {
            return OA_INVALID;
        }
    }

    /* no bit may be set behind the prefix */

    for (i = 0; i < size; i++) {

        if (bits >= (int64_t) (i + 1) * 8) {
            continue;
        }

        if (bits <= (int64_t) i * 8) {
            if (bytes[i] != 0) {
                return OA_INVALID;
            }

            continue;
        }

        if (bytes[i] & (0xff >> (bits - (int64_t) i * 8))) {
            return OA_INVALID;
        }
    }

    p = bytes;

    if (size == 16 && bits >= 96 && memcmp(bytes, oa_addr_mapped, 12) == 0) {
        p += 12;
        size = 4;
        bits -= 96;
    }

    entry[0] = (size == 4) ? 4 : 6;
    entry[1] = (unsigned char) bits;
    memcpy(entry + 2, p, size);

    *len = size + 2;

    return OA_OK;
}


static inline uint32_t
oa_cidr_word(const unsigned char *p)
{
    return (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16
           | (uint32_t) p[2] << 8 | p[3];
}


static inline int
oa_cidr_covers(const unsigned char *net, unsigned bits,
    const unsigned char *addr)
{
    for ( /* void */ ; bits >= 32; bits -= 32) {
        if (oa_cidr_word(net) != oa_cidr_word(addr)) {
            return 0;
        }

        net += 4;
        addr += 4;
    }

    /* a packed list may be damaged: bits behind the prefix are not looked at */

    return bits == 0
           || ((oa_cidr_word(net) ^ oa_cidr_word(addr)) >> (32 - bits)) == 0;
}


oa_rc_t
oa_cidr_match(oa_str_t packed, const oa_addr_t *addr)
{
    oa_rc_t               rc;
    unsigned              family, bits;
    size_t                size;
    uint32_t              word;
    const unsigned char  *p, *last;

    if (packed.len == 0) {
        return OA_OK;
    }

    if (packed.len > OA_CIDR_PACKED_MAX) {
        return OA_INVALID;
    }

    rc = OA_DECLINED;

    p = packed.data;
    last = p + packed.len;
    word = oa_cidr_word(addr->bytes);

    while (p < last) {

        /* of most lists, all there is */

        if (last - p >= 6 && p[0] == 4 && p[1] <= 32) {

            if (((uint64_t) (oa_cidr_word(p + 2) ^ word) >> (32 - p[1])) == 0
                && addr->family == 4)
            {
                rc = OA_OK;
            }

            p += 6;
            continue;
        }

        if (last - p < 2) {
            return OA_INVALID;
        }

        family = p[0];
        bits = p[1];

        if (family == 4) {
            size = 4;

        } else if (family == 6) {
            size = 16;

        } else {
            return OA_INVALID;
        }

        p += 2;

        if ((size_t) (last - p) < size || bits > size * 8) {
            return OA_INVALID;
        }

        if (family == addr->family && oa_cidr_covers(p, bits, addr->bytes)) {
            rc = OA_OK;
        }

        p += size;
    }

    return rc;
}
