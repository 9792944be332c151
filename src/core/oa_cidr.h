/*
 * Lists of IPv4 and IPv6 networks, kept packed in binary: per entry one byte
 * family (4 or 6), one byte prefix length, then 4 or 16 address bytes.
 * IPv4-mapped IPv6 (::ffff:a.b.c.d) is the IPv4 address, on both sides.
 */

#ifndef OA_CIDR_H
#define OA_CIDR_H

#include "oa_core.h"


#define OA_CIDR_PACKED_MAX  (OA_CIDR_MAX * 18)


typedef struct {
    unsigned       family;          /* 4, 6, or 0: no IP address (unix:) */
    unsigned char  bytes[16];       /* network order; the first 4 for IPv4 */
} oa_addr_t;


/* from 4 or 16 raw bytes in network order; normalises v4-mapped */
OA_HOT void oa_addr_set(oa_addr_t *addr, const unsigned char *bytes, size_t len);

/* "203.0.113.7", "2001:db8::1"; OA_INVALID otherwise */
oa_rc_t oa_addr_parse(oa_str_t text, oa_addr_t *addr);

/*
 * A space- or comma-separated list of addresses and networks -> packed form.
 * Host bits set beyond the prefix length are OA_INVALID (a typing error that
 * would otherwise open more or less than was meant), as are bad addresses,
 * zone ids, lengths with leading zeros, and more than OA_CIDR_MAX entries;
 * *bad is then the entry at fault. An empty list packs to 0 bytes.
 */
oa_rc_t oa_cidr_pack(oa_str_t text, unsigned char *out, size_t cap,
    size_t *len, oa_str_t *bad);

/*
 * OA_OK        the address is in one of the networks, or the list is empty
 * OA_DECLINED  it is in none (an address of family 0 is in none)
 * OA_INVALID   the packed form is broken: treat as a no
 */
OA_HOT oa_rc_t oa_cidr_match(oa_str_t packed, const oa_addr_t *addr);


#endif /* OA_CIDR_H */
