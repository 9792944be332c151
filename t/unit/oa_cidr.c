/* Addresses and networks: src/core/oa_cidr.c */

#include <arpa/inet.h>

#include "oa_cidr.h"
#include "tap.h"


static oa_str_t
str(const char *s)
{
    return (oa_str_t) { strlen(s), (const unsigned char *) s };
}


static void
addr(const char *text, unsigned family, const char *canonical)
{
    char       buf[INET6_ADDRSTRLEN];
    oa_rc_t    rc;
    oa_addr_t  a;

    memset(&a, 0, sizeof(a));
    rc = oa_addr_parse(str(text), &a);

    if (canonical == NULL) {
        is_int(rc, OA_INVALID, "\"%s\" is no address", text);
        return;
    }

    ok(rc == OA_OK && a.family == family, "\"%s\" is IPv%u", text, family);

    inet_ntop(family == 4 ? AF_INET : AF_INET6, a.bytes, buf, sizeof(buf));
    is_str(buf, strlen(buf), canonical, "\"%s\": address", text);
}


static void
addresses(void)
{
    oa_addr_t      a;
    unsigned char  bytes[16];

    addr("203.0.113.7", 4, "203.0.113.7");
    addr("0.0.0.0", 4, "0.0.0.0");
    addr("255.255.255.255", 4, "255.255.255.255");
    addr("2001:db8::1", 6, "2001:db8::1");
    addr("2001:DB8:0:0:0:0:0:1", 6, "2001:db8::1");
    addr("::", 6, "::");
    addr("::1", 6, "::1");
    addr("::ffff:203.0.113.7", 4, "203.0.113.7");
    addr("::FFFF:cb00:7107", 4, "203.0.113.7");
    addr("0:0:0:0:0:ffff:203.0.113.7", 4, "203.0.113.7");
    addr("::203.0.113.7", 6, "::203.0.113.7");
    addr("64:ff9b::203.0.113.7", 6, "64:ff9b::cb00:7107");

    addr("", 0, NULL);
    addr("203.0.113", 0, NULL);
    addr("203.0.113.256", 0, NULL);
    addr("203.0.113.07", 0, NULL);
    addr("0313.0.113.7", 0, NULL);
    addr("0xcb.0.113.7", 0, NULL);
    addr("3405803783", 0, NULL);
    addr("203.0.113.7 ", 0, NULL);
    addr(" 203.0.113.7", 0, NULL);
    addr("203.0.113.7.", 0, NULL);
    addr("203.0.113.7/32", 0, NULL);
    addr("203.0.113.7:80", 0, NULL);
    addr("[::1]", 0, NULL);
    addr("fe80::1%eth0", 0, NULL);
    addr("fe80::1%1", 0, NULL);
    addr("::1::", 0, NULL);
    addr(":::", 0, NULL);
    addr("1:2:3:4:5:6:7", 0, NULL);
    addr("1:2:3:4:5:6:7:8:9", 0, NULL);
    addr("::12345", 0, NULL);
    addr("::g", 0, NULL);
    addr("localhost", 0, NULL);
    addr("unix:", 0, NULL);
    addr("1111111111111111111111111111111111111111111111111111", 0, NULL);

    is_int(oa_addr_parse((oa_str_t) { 9, (const unsigned char *)
                                      "1.2.3.4\0x" }, &a),
           OA_INVALID, "a zero byte ends no address");
    is_int(oa_addr_parse((oa_str_t) oa_null, &a), OA_INVALID, "absent");

    memset(bytes, 0, sizeof(bytes));
    memcpy(bytes + 10, "\xff\xff\xcb\x00\x71\x07", 6);

    oa_addr_set(&a, bytes, 16);
    ok(a.family == 4 && memcmp(a.bytes, "\xcb\x00\x71\x07", 4) == 0,
       "a mapped address is set as IPv4");

    bytes[9] = 1;
    oa_addr_set(&a, bytes, 16);
    ok(a.family == 6 && memcmp(a.bytes, bytes, 16) == 0,
       "one that only looks so is not");

    oa_addr_set(&a, (const unsigned char *) "\xcb\x00\x71\x07", 4);
    ok(a.family == 4 && a.bytes[0] == 0xcb && a.bytes[4] == 0
       && a.bytes[15] == 0, "four bytes are IPv4");

    oa_addr_set(&a, bytes, 0);
    is_int(a.family, 0, "no bytes are no address");
    oa_addr_set(&a, bytes, 15);
    is_int(a.family, 0, "nor are fifteen");
}


/* "" in bad: packs; otherwise the entry at fault */

static void
pack(const char *text, size_t entries, const char *bad)
{
    size_t         len, n, i;
    oa_rc_t        rc;
    oa_str_t       fault;
    unsigned char  out[OA_CIDR_PACKED_MAX];

    fault = (oa_str_t) oa_null;
    len = 0;

    rc = oa_cidr_pack(str(text), out, sizeof(out), &len, &fault);

    if (bad[0] != '\0') {
        is_int(rc, OA_INVALID, "\"%s\" is refused", text);
        is_str(fault.data, fault.len, bad, "\"%s\": for \"%s\"", text, bad);
        return;
    }

    for (n = 0, i = 0; i < len; n++) {
        i += (out[i] == 4) ? 6 : 18;
    }

    ok(rc == OA_OK && n == entries && i == len, "\"%s\" has %zu entries",
       text, entries);
}


static void
packing(void)
{
    size_t         i, len;
    char           text[OA_CIDR_MAX * 24 + 64];
    oa_str_t       bad;
    unsigned char  out[OA_CIDR_PACKED_MAX], *exact;

    pack("", 0, "");
    pack("   ", 0, "");
    pack("203.0.113.7", 1, "");
    pack("203.0.113.0/24", 1, "");
    pack("203.0.113.0/24 198.51.100.7,2001:db8::/32", 3, "");
    pack(" ,203.0.113.7, ,198.51.100.7 , ", 2, "");
    pack("0.0.0.0/0", 1, "");
    pack("::/0", 1, "");
    pack("255.255.255.255/32", 1, "");
    pack("::ffff:203.0.113.0/120", 1, "");
    pack("::ffff:0.0.0.0/96", 1, "");
    pack("128.0.0.0/1", 1, "");

    pack(",", 0, ",");
    pack(" , , ", 0, " , , ");
    pack("203.0.113.7/24", 0, "203.0.113.7/24");
    pack("203.0.113.0/33", 0, "203.0.113.0/33");
    pack("203.0.113.0/024", 0, "203.0.113.0/024");
    pack("203.0.113.0/00", 0, "203.0.113.0/00");
    pack("203.0.113.0/", 0, "203.0.113.0/");
    pack("203.0.113.0/ 24", 0, "203.0.113.0/");
    pack("203.0.113.0/-1", 0, "203.0.113.0/-1");
    pack("203.0.113.0/+24", 0, "203.0.113.0/+24");
    pack("203.0.113.0/2x", 0, "203.0.113.0/2x");
    pack("203.0.113.0/24/24", 0, "203.0.113.0/24/24");
    pack("203.0.113.0/255.255.255.0", 0, "203.0.113.0/255.255.255.0");
    pack("203.0.113.0/4294967320", 0, "203.0.113.0/4294967320");
    pack("/24", 0, "/24");
    pack("203.0.113.*", 0, "203.0.113.*");
    pack("203.0.113.0-203.0.113.9", 0, "203.0.113.0-203.0.113.9");
    pack("203.0.113", 0, "203.0.113");
    pack("1.2.3.4/0", 0, "1.2.3.4/0");
    pack("128.0.0.0/0", 0, "128.0.0.0/0");
    pack("2001:db8::1/32", 0, "2001:db8::1/32");
    pack("2001:db8::/129", 0, "2001:db8::/129");
    pack("fe80::1%eth0", 0, "fe80::1%eth0");
    pack("::ffff:203.0.113.7/64", 0, "::ffff:203.0.113.7/64");
    pack("::ffff:0.0.0.0/95", 0, "::ffff:0.0.0.0/95");
    pack("203.0.113.7\t198.51.100.7", 0, "203.0.113.7\t198.51.100.7");
    pack("203.0.113.7 example.com 198.51.100.7", 0, "example.com");
    pack("203.0.113.7;198.51.100.7", 0, "203.0.113.7;198.51.100.7");

    text[0] = '\0';

    for (i = 0; i < OA_CIDR_MAX; i++) {
        sprintf(text + strlen(text), "%s2001:db8::%zx", i ? " " : "", i + 1);
    }

    is_int(oa_cidr_pack(str(text), out, sizeof(out), &len, &bad), OA_OK,
           "as many entries as there may be");
    is_int(len, OA_CIDR_PACKED_MAX, "fill the room for them");

    strcat(text, " 203.0.113.7");
    is_int(oa_cidr_pack(str(text), out, sizeof(out), &len, &bad), OA_INVALID,
           "one more");
    is_str(bad.data, bad.len, "203.0.113.7", "is the one at fault");

    exact = malloc(6);
    is_int(oa_cidr_pack(str("1.2.3.4"), exact, 6, &len, &bad), OA_OK,
           "just fits");
    ok(memcmp(exact, "\x04\x20\x01\x02\x03\x04", 6) == 0,
       "family, length, address");
    is_int(oa_cidr_pack(str("1.2.3.4 1.2.3.5"), exact, 6, &len, &bad),
           OA_ERROR, "no room for a second");
    is_int(oa_cidr_pack(str("::1"), exact, 6, &len, &bad), OA_ERROR,
           "no room for IPv6");
    is_int(oa_cidr_pack(str("::ffff:1.2.3.0/120"), exact, 6, &len, &bad),
           OA_OK, "a mapped network needs the room of IPv4");
    ok(memcmp(exact, "\x04\x18\x01\x02\x03\x00", 6) == 0, "and is one");
    free(exact);
}


static void
match(const char *list, const char *address, oa_rc_t wanted)
{
    size_t         len;
    oa_str_t       bad;
    oa_addr_t      a;
    unsigned char  out[OA_CIDR_PACKED_MAX], *exact;

    if (oa_cidr_pack(str(list), out, sizeof(out), &len, &bad) != OA_OK) {
        ok(0, "\"%s\" packs", list);
        return;
    }

    memset(&a, 0, sizeof(a));

    if (address[0] != '\0') {
        (void) oa_addr_parse(str(address), &a);
    }

    exact = tap_copy(out, len);
    is_int(oa_cidr_match((oa_str_t) { len, exact }, &a), wanted,
           "\"%s\" %s \"%s\"", list,
           wanted == OA_OK ? "admits" : "does not admit", address);
    free(exact);
}


static void
matching(void)
{
    match("", "203.0.113.7", OA_OK);
    match("", "2001:db8::1", OA_OK);
    match("", "", OA_OK);
    match("203.0.113.7", "203.0.113.7", OA_OK);
    match("203.0.113.7", "203.0.113.6", OA_DECLINED);
    match("203.0.113.7", "::ffff:203.0.113.7", OA_OK);
    match("::ffff:203.0.113.7", "203.0.113.7", OA_OK);
    match("203.0.113.7", "::203.0.113.7", OA_DECLINED);
    match("203.0.113.0/24", "203.0.113.0", OA_OK);
    match("203.0.113.0/24", "203.0.113.255", OA_OK);
    match("203.0.113.0/24", "203.0.114.0", OA_DECLINED);
    match("203.0.113.0/24", "203.0.112.255", OA_DECLINED);
    match("203.0.113.128/25", "203.0.113.128", OA_OK);
    match("203.0.113.128/25", "203.0.113.127", OA_DECLINED);
    match("203.0.113.4/31", "203.0.113.5", OA_OK);
    match("203.0.113.4/31", "203.0.113.6", OA_DECLINED);
    match("203.0.113.4/31", "203.0.113.3", OA_DECLINED);
    match("128.0.0.0/1", "255.1.2.3", OA_OK);
    match("128.0.0.0/1", "127.1.2.3", OA_DECLINED);
    match("0.0.0.0/0", "203.0.113.7", OA_OK);
    match("0.0.0.0/0", "2001:db8::1", OA_DECLINED);
    match("::/0", "2001:db8::1", OA_OK);
    match("::/0", "203.0.113.7", OA_DECLINED);
    match("::/0", "::ffff:203.0.113.7", OA_DECLINED);
    match("::/0 0.0.0.0/0", "", OA_DECLINED);
    match("2001:db8::/32", "2001:db8:ffff::1", OA_OK);
    match("2001:db8::/32", "2001:db9::1", OA_DECLINED);
    match("2001:db8::/33", "2001:db8:8000::", OA_DECLINED);
    match("2001:db8::1", "2001:db8::1", OA_OK);
    match("2001:db8::1", "2001:db8::2", OA_DECLINED);
    match("198.51.100.7 203.0.113.7", "203.0.113.7", OA_OK);
    match("2001:db8::/32 203.0.113.7", "203.0.113.7", OA_OK);
    match("2001:db8::/32 203.0.113.7", "2001:db8::7", OA_OK);
    match("2001:db8::/32 203.0.113.7", "203.0.113.8", OA_DECLINED);
}


/* against a comparison bit by bit */

static int
naive(const unsigned char *net, unsigned bits, const unsigned char *a)
{
    unsigned  i;

    for (i = 0; i < bits; i++) {
        if (((net[i / 8] ^ a[i / 8]) >> (7 - i % 8)) & 1) {
            return 0;
        }
    }

    return 1;
}


static void
differential(void)
{
    size_t         i, k, n, len, bad, yes, size;
    oa_rc_t        wanted, rc;
    char           text[OA_CIDR_MAX * 64], one[INET6_ADDRSTRLEN];
    oa_str_t       fault;
    oa_addr_t      a;
    unsigned       bits, bit;
    unsigned char  net[16], out[OA_CIDR_PACKED_MAX];

    bad = 0;
    yes = 0;

    for (i = 0; i < 20000; i++) {

        /* few values, so that addresses and networks meet */

        memset(&a, 0, sizeof(a));
        a.family = (tap_random() >> 60) & 1 ? 4 : 6;
        size = (a.family == 4) ? 4 : 16;
        tap_random_bytes(a.bytes, size);

        text[0] = '\0';
        wanted = OA_DECLINED;
        n = 1 + tap_random_below(4);

        for (k = 0; k < n; k++) {
            bits = (unsigned) tap_random_below(size * 8 + 1);
            memcpy(net, a.bytes, 16);

            bit = (unsigned) tap_random_below(size * 8);
            net[bit / 8] ^= (unsigned char) (0x80 >> bit % 8);

            for (bit = bits; bit < size * 8; bit++) {
                net[bit / 8] &= (unsigned char) ~(0x80 >> bit % 8);
            }

            if (naive(net, bits, a.bytes)) {
                wanted = OA_OK;
            }

            inet_ntop(a.family == 4 ? AF_INET : AF_INET6, net, one,
                      sizeof(one));
            sprintf(text + strlen(text), "%s%s/%u", k ? "," : "", one, bits);
        }

        if (oa_cidr_pack(str(text), out, sizeof(out), &len, &fault) != OA_OK) {
            bad++;
            continue;
        }

        rc = oa_cidr_match((oa_str_t) { len, out }, &a);

        yes += (rc == OA_OK);

        if (rc != wanted) {
            bad++;
            fprintf(stderr, "# %s: %d, wanted %d\n", text, rc, wanted);
        }
    }

    ok(yes > 2000 && yes < 18000, "random networks: some admit, some do not");
    is_int(bad, 0, "as a comparison bit by bit says");
}


/* broken packed lists */

static void
hostile(void)
{
    size_t         i, n, len, bad;
    oa_rc_t        rc;
    oa_str_t       fault;
    oa_addr_t      a;
    unsigned char  out[OA_CIDR_PACKED_MAX + 6], *copy;

    (void) oa_addr_parse(str("203.0.113.7"), &a);
    (void) oa_cidr_pack(str("203.0.113.7 2001:db8::/32 198.51.100.0/24"), out,
                        sizeof(out), &len, &fault);

    bad = 0;

    for (i = 1; i < len; i++) {
        copy = tap_copy(out, i);
        rc = oa_cidr_match((oa_str_t) { i, copy }, &a);
        bad += (rc != ((i == 6 || i == 24) ? OA_OK : OA_INVALID));
        free(copy);
    }

    is_int(bad, 0, "a list cut anywhere inside an entry admits nobody");

    out[6] = 5;
    is_int(oa_cidr_match((oa_str_t) { len, out }, &a), OA_INVALID,
           "an unknown family behind an entry that matches");
    out[6] = 6;
    out[7] = 129;
    is_int(oa_cidr_match((oa_str_t) { len, out }, &a), OA_INVALID,
           "a length beyond the address");
    out[7] = 128;
    out[1] = 33;
    is_int(oa_cidr_match((oa_str_t) { len, out }, &a), OA_INVALID,
           "a length beyond an IPv4 address");

    memset(out, 0, sizeof(out));

    for (i = 0; i < sizeof(out); i += 6) {
        out[i] = 4;
    }

    is_int(oa_cidr_match((oa_str_t) { OA_CIDR_PACKED_MAX, out }, &a), OA_OK,
           "the longest list");
    is_int(oa_cidr_match((oa_str_t) { OA_CIDR_PACKED_MAX + 6, out }, &a),
           OA_INVALID, "a longer one is none of ours");

    bad = 0;

    for (i = 0; i < 200000; i++) {
        n = tap_random_below(64);
        tap_random_bytes(out, n);

        if (n && i % 2) {
            out[0] = (out[0] & 1) ? 4 : 6;
        }

        copy = tap_copy(out, n);
        rc = oa_cidr_match((oa_str_t) { n, copy }, &a);
        bad += (n == 0) ? (rc != OA_OK) : (n < 6 && rc != OA_INVALID);

        /* and as text */
        (void) oa_cidr_pack((oa_str_t) { n, copy }, out, sizeof(out), &len,
                            &fault);
        free(copy);
    }

    is_int(bad, 0, "random bytes");
}


int
main(void)
{
    addresses();
    packing();
    matching();
    differential();
    hostile();

    return done_testing();
}
