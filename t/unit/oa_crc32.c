/* CRC-32: src/core/oa_crc32.c */

#include "oa_crc32.h"
#include "oa_crc32_naive.h"
#include "tap.h"


#define LONGEST  300


int
main(void)
{
    size_t          i, k, len, shift, bad, bad_tables, flips;
    uint32_t        number, crc;
    unsigned char  *copy;
    unsigned char   text[LONGEST + 16];

    static const unsigned char  check[] = "123456789";
    static const unsigned char  words[] =
        "The quick brown fox jumps over the lazy dog";

    ok(oa_crc32(check, 9) == 0xcbf43926, "the check value of CRC-32");
    ok(oa_crc32(words, sizeof(words) - 1) == 0x414fa339,
       "a text longer than two blocks");
    ok(oa_crc32_tables(words, sizeof(words) - 1) == 0x414fa339,
       "the same by tables");
    ok(oa_crc32(words, 0) == 0, "of nothing");

    number = 1;

    for (i = 0; i < sizeof(text); i++) {
        number = number * 1664525 + 1013904223;
        text[i] = (unsigned char) (number >> 24);
    }

    bad = 0;
    bad_tables = 0;

    /* each length at each alignment; a copy of that size, for sanitizers */

    for (shift = 0; shift < 16; shift++) {
        for (len = 0; len <= LONGEST; len++) {

            copy = malloc(shift + len + 1);
            memcpy(copy + shift, text + shift, len);

            crc = naive_crc(text + shift, len);
            bad += (oa_crc32(copy + shift, len) != crc);
            bad_tables += (oa_crc32_tables(copy + shift, len) != crc);

            free(copy);
        }
    }

    ok(bad == 0, "as bit by bit, at each length and alignment");
    ok(bad_tables == 0, "as bit by bit by tables, at each length and alignment");

    flips = 0;

    for (len = 1; len <= 70; len++) {
        crc = oa_crc32(text, len);

        for (k = 0; k < len * 8; k++) {
            text[k / 8] ^= (unsigned char) (1 << k % 8);
            flips += (oa_crc32(text, len) == crc);
            text[k / 8] ^= (unsigned char) (1 << k % 8);
        }
    }

    ok(flips == 0, "each bit that is flipped is noticed");

    return done_testing();
}
