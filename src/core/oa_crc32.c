/*
 * CRC-32, for the checksum of keys.
 *
 * Contract: both ways give the same number for the same bytes.  It is taken of
 * every key that a client sends.  Slicing by four reads some forty cache lines
 * of its 4 KB of tables for one key; where the processor multiplies without
 * carry (x86's PCLMULQDQ), a few lines of constants do, and a third of the
 * instructions.  Called by oa_key.c.
 */

#include "oa_crc32.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define OA_CRC32_CLMUL  1
#include <immintrin.h>
#endif


/*
 * The tables of slicing by four, 4 KB, laid down by the compiler.  A CRC table
 * is linear: the entry of a byte is the exclusive or of the entries of its
 * bits, so that eight constants say what 256 would.
 */

#define OA_CRC32_BIT(i, bit, entry)  (((i) >> (bit) & 1) ? entry##u : 0u)

#define OA_CRC32_SLICE_0(i)                                                   \
    (OA_CRC32_BIT(i, 0, 0x77073096) ^ OA_CRC32_BIT(i, 1, 0xee0e612c)          \
     ^ OA_CRC32_BIT(i, 2, 0x076dc419) ^ OA_CRC32_BIT(i, 3, 0x0edb8832)        \
     ^ OA_CRC32_BIT(i, 4, 0x1db71064) ^ OA_CRC32_BIT(i, 5, 0x3b6e20c8)        \
     ^ OA_CRC32_BIT(i, 6, 0x76dc4190) ^ OA_CRC32_BIT(i, 7, 0xedb88320))

#define OA_CRC32_SLICE_1(i)                                                   \
    (OA_CRC32_BIT(i, 0, 0x191b3141) ^ OA_CRC32_BIT(i, 1, 0x32366282)          \
     ^ OA_CRC32_BIT(i, 2, 0x646cc504) ^ OA_CRC32_BIT(i, 3, 0xc8d98a08)        \
     ^ OA_CRC32_BIT(i, 4, 0x4ac21251) ^ OA_CRC32_BIT(i, 5, 0x958424a2)        \
     ^ OA_CRC32_BIT(i, 6, 0xf0794f05) ^ OA_CRC32_BIT(i, 7, 0x3b83984b))

#define OA_CRC32_SLICE_2(i)                                                   \
    (OA_CRC32_BIT(i, 0, 0x01c26a37) ^ OA_CRC32_BIT(i, 1, 0x0384d46e)          \
     ^ OA_CRC32_BIT(i, 2, 0x0709a8dc) ^ OA_CRC32_BIT(i, 3, 0x0e1351b8)        \
     ^ OA_CRC32_BIT(i, 4, 0x1c26a370) ^ OA_CRC32_BIT(i, 5, 0x384d46e0)        \
     ^ OA_CRC32_BIT(i, 6, 0x709a8dc0) ^ OA_CRC32_BIT(i, 7, 0xe1351b80))

#define OA_CRC32_SLICE_3(i)                                                   \
    (OA_CRC32_BIT(i, 0, 0xb8bc6765) ^ OA_CRC32_BIT(i, 1, 0xaa09c88b)          \
     ^ OA_CRC32_BIT(i, 2, 0x8f629757) ^ OA_CRC32_BIT(i, 3, 0xc5b428ef)        \
     ^ OA_CRC32_BIT(i, 4, 0x5019579f) ^ OA_CRC32_BIT(i, 5, 0xa032af3e)        \
     ^ OA_CRC32_BIT(i, 6, 0x9b14583d) ^ OA_CRC32_BIT(i, 7, 0xed59b63b))

#define OA_CRC32_4(f, i)    f((i)), f((i) + 1), f((i) + 2), f((i) + 3)
#define OA_CRC32_16(f, i)   OA_CRC32_4(f, (i)), OA_CRC32_4(f, (i) + 4),       \
                            OA_CRC32_4(f, (i) + 8), OA_CRC32_4(f, (i) + 12)
#define OA_CRC32_64(f, i)   OA_CRC32_16(f, (i)), OA_CRC32_16(f, (i) + 16),    \
                            OA_CRC32_16(f, (i) + 32),                         \
                            OA_CRC32_16(f, (i) + 48)
#define OA_CRC32_256(f)     OA_CRC32_64(f, 0), OA_CRC32_64(f, 64),            \
                            OA_CRC32_64(f, 128), OA_CRC32_64(f, 192)


static const uint32_t  oa_crc32_slices[4][256] = {
    { OA_CRC32_256(OA_CRC32_SLICE_0) },
    { OA_CRC32_256(OA_CRC32_SLICE_1) },
    { OA_CRC32_256(OA_CRC32_SLICE_2) },
    { OA_CRC32_256(OA_CRC32_SLICE_3) }
};


uint32_t
oa_crc32_tables(const unsigned char *p, size_t len)
{
    uint32_t  crc;

    crc = 0xffffffff;

    for ( /* void */ ; len >= 4; len -= 4, p += 4) {
        crc ^= (uint32_t) p[0] | (uint32_t) p[1] << 8
               | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;

        crc = oa_crc32_slices[3][crc & 0xff]
              ^ oa_crc32_slices[2][crc >> 8 & 0xff]
              ^ oa_crc32_slices[1][crc >> 16 & 0xff]
              ^ oa_crc32_slices[0][crc >> 24];
    }

    for ( /* void */ ; len != 0; len--, p++) {
        crc = oa_crc32_slices[0][(crc ^ *p) & 0xff] ^ crc >> 8;
    }

    return ~crc;
}


#if OA_CRC32_CLMUL

#define OA_CRC32_BLOCK  16


/* x moved up by 16 - n bytes: read at n; down by n: at 16 + n */

static const unsigned char  oa_crc32_shift[48]
    __attribute__((__aligned__(64))) =
{
    0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
    0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
    0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
    0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80
};


/*
 * By folding: V. Gopal et al., "Fast CRC Computation for Generic Polynomials
 * Using PCLMULQDQ Instruction", Intel 2009, with its constants for this
 * polynomial, bits reflected.  Zeros ahead of a message change nothing once the
 * initial value is part of its first four bytes: so the first block is filled
 * up with them, and none remains behind the last one.  len is at least 32.
 */

__attribute__((target("ssse3,pclmul")))
OA_HOT static uint32_t
oa_crc32_clmul(const unsigned char *p, size_t len)
{
    size_t               n;
    __m128i              x, y, init;
    const unsigned char  *last;

    /* x^(128+32), x^(128-32): a block further; x^64: what 64 bits are left to
       32 by; the polynomial and its inverse */

    const __m128i  fold = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
    const __m128i  half = _mm_set_epi64x(0, 0x0163cd6124);
    const __m128i  poly = _mm_set_epi64x(0x01f7011641, 0x01db710641);
    const __m128i  word = _mm_set_epi32(0, -1, 0, -1);

    last = p + len;
    n = (len - 1) % OA_CRC32_BLOCK + 1;             /* bytes of the first */

    init = _mm_cvtsi32_si128(-1);

    x = _mm_xor_si128(_mm_loadu_si128((const __m128i *) p), init);
    x = _mm_shuffle_epi8(x, _mm_loadu_si128(
                                (const __m128i *) (oa_crc32_shift + n)));

    /* where the first has less than four, the second has the rest of init */

    y = _mm_shuffle_epi8(init, _mm_loadu_si128(
                (const __m128i *) (oa_crc32_shift + OA_CRC32_BLOCK + n)));

    for (p += n; p != last; p += OA_CRC32_BLOCK) {
        y = _mm_xor_si128(y, _mm_loadu_si128((const __m128i *) p));
        y = _mm_xor_si128(y, _mm_clmulepi64_si128(x, fold, 0x00));
        x = _mm_xor_si128(y, _mm_clmulepi64_si128(x, fold, 0x11));
        y = _mm_setzero_si128();
    }

    /* 128 bits to 96, to 64, and by Barrett's reduction to 32 */

    x = _mm_xor_si128(_mm_srli_si128(x, 8),
                      _mm_clmulepi64_si128(x, fold, 0x10));

    x = _mm_xor_si128(_mm_srli_si128(x, 4),
                      _mm_clmulepi64_si128(_mm_and_si128(x, word), half,
                                           0x00));

    y = _mm_clmulepi64_si128(_mm_and_si128(x, word), poly, 0x10);
    y = _mm_clmulepi64_si128(_mm_and_si128(y, word), poly, 0x00);

    x = _mm_srli_si128(_mm_xor_si128(x, y), 4);

    return ~(uint32_t) _mm_cvtsi128_si32(x);
}

#endif


uint32_t
oa_crc32(const unsigned char *p, size_t len)
{
#if OA_CRC32_CLMUL

    if (len >= 2 * OA_CRC32_BLOCK
        && __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("ssse3"))
    {
        return oa_crc32_clmul(p, len);
    }

#endif

    return oa_crc32_tables(p, len);
}
