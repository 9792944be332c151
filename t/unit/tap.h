/*
 * TAP for the unit tests, and what they share.
 *
 *     ok(n == 3, "three of them");
 *     is_int(n, 3, "count");
 *     is_str(text, len, "wanted", "text");      text and length, C string
 *     return done_testing();                    prints the plan, 0 = all well
 *
 * Each test is one file and one program; the state below is its own.
 */

#ifndef TAP_H
#define TAP_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define ok(cond, ...)                                                         \
    tap_ok(__FILE__, __LINE__, (cond) ? 1 : 0, __VA_ARGS__)

#define is_int(got, wanted, ...)                                              \
    tap_is_int(__FILE__, __LINE__, (long long) (got), (long long) (wanted),   \
               __VA_ARGS__)

#define is_str(data, len, wanted, ...)                                        \
    tap_is_str(__FILE__, __LINE__, (const char *) (data), (len), (wanted),    \
               __VA_ARGS__)


typedef struct {
    unsigned  tests;
    unsigned  failed;
} tap_state_t;


/* one copy in each program, without a warning where it is not used */

static inline tap_state_t *
tap_state(void)
{
    static tap_state_t  state;

    return &state;
}


__attribute__((format(printf, 2, 0)))
static inline int
tap_result(int cond, const char *fmt, va_list args)
{
    tap_state_t  *tap = tap_state();

    tap->tests++;
    tap->failed += !cond;

    printf("%sok %u - ", cond ? "" : "not ", tap->tests);
    vprintf(fmt, args);
    printf("\n");
    fflush(stdout);

    return cond;
}


__attribute__((format(printf, 4, 5)))
static inline int
tap_ok(const char *file, int line, int cond, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    tap_result(cond, fmt, args);
    va_end(args);

    if (!cond) {
        fprintf(stderr, "# failed at %s:%d\n", file, line);
    }

    return cond;
}


__attribute__((format(printf, 5, 6)))
static inline int
tap_is_int(const char *file, int line, long long got, long long wanted,
    const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    tap_result(got == wanted, fmt, args);
    va_end(args);

    if (got != wanted) {
        fprintf(stderr, "# failed at %s:%d: got %lld, wanted %lld\n",
                file, line, got, wanted);
    }

    return got == wanted;
}


__attribute__((format(printf, 6, 7)))
static inline int
tap_is_str(const char *file, int line, const char *data, size_t len,
    const char *wanted, const char *fmt, ...)
{
    int      same;
    va_list  args;

    same = (len == strlen(wanted)
            && (len == 0 || memcmp(data, wanted, len) == 0));

    va_start(args, fmt);
    tap_result(same, fmt, args);
    va_end(args);

    if (!same) {
        fprintf(stderr, "# failed at %s:%d: got \"%.*s\", wanted \"%s\"\n",
                file, line, (int) len, len ? data : "", wanted);
    }

    return same;
}


static inline int
done_testing(void)
{
    tap_state_t  *tap = tap_state();

    printf("1..%u\n", tap->tests);

    if (tap->failed) {
        fprintf(stderr, "# %u of %u failed\n", tap->failed, tap->tests);
    }

    return tap->failed != 0;
}


/*
 * Bytes that look random and are the same in every run (xorshift64), so that
 * what fails once fails again; TAP_SEED=n gives other ones.
 */

static inline uint64_t
tap_random(void)
{
    const char  *seed;

    static uint64_t  state;

    if (state == 0) {
        seed = getenv("TAP_SEED");
        state = 0x9e3779b97f4a7c15ULL ^ (seed ? strtoull(seed, NULL, 0) : 0);
        state += (state == 0);
    }

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;

    return state * 0x2545f4914f6cdd1dULL;
}


static inline void
tap_random_bytes(void *p, size_t n)
{
    unsigned char  *bytes = p;

    while (n--) {
        *bytes++ = (unsigned char) (tap_random() >> 56);
    }
}


/* n below a bound */

static inline size_t
tap_random_below(size_t bound)
{
    return (size_t) ((tap_random() >> 11) % bound);
}


/*
 * A copy in a block of its own size, so that AddressSanitizer sees the first
 * byte that is read beyond; free() it.
 */

static inline void *
tap_copy(const void *p, size_t n)
{
    void  *copy;

    copy = malloc(n ? n : 1);
    if (copy == NULL) {
        abort();
    }

    if (n) {
        memcpy(copy, p, n);
    }

    return copy;
}


#endif /* TAP_H */
