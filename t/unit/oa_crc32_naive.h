/* CRC-32 bit by bit, to compare with */

#ifndef OA_CRC32_NAIVE_H
#define OA_CRC32_NAIVE_H

#include <stddef.h>
#include <stdint.h>


static inline uint32_t
naive_crc(const unsigned char *p, size_t len)
{
    int       k;
    uint32_t  crc;

    crc = 0xffffffff;

    while (len--) {
        crc ^= *p++;

        for (k = 0; k < 8; k++) {
            crc = (crc & 1) ? crc >> 1 ^ 0xedb88320 : crc >> 1;
        }
    }

    return ~crc;
}


#endif /* OA_CRC32_NAIVE_H */
