/*
 * Address lists: src/core/oa_cidr.c against the C library, bit by bit. A byte
 * that says which; 16 of an address, which is 4 where the byte is odd; a list, as
 * text, or packed and perhaps damaged.
 */

#include <arpa/inet.h>

#include "fuzz.h"
#include "oa_cidr.h"


typedef struct {
    unsigned char  bits[128];
} wide_t;


/* everything as IPv6, IPv4 mapped into it, a bit in each byte */

static void
widen(const unsigned char *bytes, size_t len, wide_t *wide)
{
    size_t         i;
    unsigned char  all[16] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

    memcpy(len == 4 ? all + 12 : all, bytes, len);

    for (i = 0; i < 128; i++) {
        wide->bits[i] = all[i / 8] >> (7 - i % 8) & 1;
    }
}


/* 1: covers, 0: does not, -1: no such entry */

static int
entry(const char *word, const wide_t *addr)
{
    int             family;
    char            text[64], *slash, *end;
    long            bits, i;
    wide_t          net;
    unsigned char   bytes[16];

    if (strlen(word) >= sizeof(text)) {
        return -1;
    }

    strcpy(text, word);
    slash = strchr(text, '/');

    if (slash) {
        *slash++ = '\0';
    }

    family = strchr(text, ':') ? AF_INET6 : AF_INET;

    if (inet_pton(family, text, bytes) != 1) {
        return -1;
    }

    bits = (family == AF_INET) ? 32 : 128;

    if (slash) {
        for (i = 0; slash[i] >= '0' && slash[i] <= '9'; i++) { /* void */ }

        if (i == 0 || slash[i] || (i > 1 && slash[0] == '0')) {
            return -1;
        }

        i = strtol(slash, &end, 10);
        if (i > bits) {
            return -1;
        }

        bits = i;
    }

    widen(bytes, family == AF_INET ? 4 : 16, &net);

    if (family == AF_INET) {
        bits += 96;
    }

    for (i = bits; i < 128; i++) {
        if (net.bits[i]) {
            return -1;
        }
    }

    /* ::/0 and what else is shorter than the mapped range is of IPv6 alone */

    if (bits < 96
        && memcmp(addr->bits + 80, "\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1", 16) == 0)
    {
        for (i = 0; i < 80 && addr->bits[i] == 0; i++) { /* void */ }

        if (i == 80) {
            return 0;
        }
    }

    return memcmp(net.bits, addr->bits, (size_t) bits) == 0;
}


/* the same list, word by word: 1 admits, 0 does not, -1 is none */

static int
list(oa_str_t text, const wide_t *addr)
{
    int          got, rc, separators;
    char        *copy, *p, *word;
    unsigned     n;

    if (text.len && memchr(text.data, '\0', text.len)) {
        return -1;
    }

    copy = malloc(text.len + 1);
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';

    separators = strchr(copy, ',') != NULL;
    rc = 0;
    n = 0;

    for (p = copy; rc >= 0 && (word = strsep(&p, " ,")) != NULL; ) {
        if (*word == '\0') {
            continue;
        }

        got = (n++ < OA_CIDR_MAX) ? entry(word, addr) : -1;
        rc = got < 0 ? -1 : rc | got;
    }

    free(copy);

    if (n == 0) {
        return separators ? -1 : 1;
    }

    return rc;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int            wanted;
    fuzz_t         in;
    size_t         len, room;
    wide_t         wide;
    uint8_t        how;
    oa_rc_t        rc;
    oa_str_t       bytes, text, bad, packed;
    oa_addr_t      addr, same;
    unsigned char  ip[16], out[OA_CIDR_PACKED_MAX];
    char           name[INET6_ADDRSTRLEN];

    fuzz_start(&in, data, size);

    how = fuzz_byte(&in);
    bytes = fuzz_take(&in, 16);

    memset(ip, 0, sizeof(ip));
    memcpy(ip, bytes.data, bytes.len);

    oa_addr_set(&addr, ip, (how & 1) ? 4 : 16);
    widen(ip, (how & 1) ? 4 : 16, &wide);

    must(inet_ntop((how & 1) ? AF_INET : AF_INET6, ip, name, sizeof(name)));
    must(oa_addr_parse(fuzz_text(name), &same) == OA_OK);
    must(memcmp(&same, &addr, sizeof(addr)) == 0);

    text = fuzz_rest(&in);

    if (how & 2) {
        /* packed by somebody, or damaged */
        rc = oa_cidr_match(text, &addr);
        must(rc == OA_OK || rc == OA_DECLINED || rc == OA_INVALID);

        addr.family = 0;
        rc = oa_cidr_match(text, &addr);
        must(rc != OA_OK || text.len == 0);

        fuzz_end(&in);
        return 0;
    }

    room = (how & 4) ? how : sizeof(out);
    rc = oa_cidr_pack(text, out, room, &len, &bad);
    wanted = list(text, &wide);

    if (rc == OA_OK) {
        must(len <= room);

        packed.len = len;
        packed.data = fuzz_copy(&in, out, len);

        must(wanted >= 0);
        must(oa_cidr_match(packed, &addr) == (wanted ? OA_OK : OA_DECLINED));

    } else if (rc == OA_INVALID) {
        must(wanted < 0);
        must(fuzz_within(bad, text));

    } else {
        must(rc == OA_ERROR && room < sizeof(out));
    }

    fuzz_end(&in);
    return 0;
}
