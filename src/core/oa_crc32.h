/*
 * CRC-32 as IEEE 802.3 and zlib have it.
 */

#ifndef OA_CRC32_H
#define OA_CRC32_H

#include "oa_core.h"


/* of len bytes, any number; the processor's carry-less product where it has
   one, else tables */
OA_HOT uint32_t oa_crc32(const unsigned char *p, size_t len);

/* the same by tables alone, on every processor */
uint32_t oa_crc32_tables(const unsigned char *p, size_t len);


#endif /* OA_CRC32_H */
