/*
 * One set of the slot table; layout and invariants in the header. Called by
 * ngx_opsauth_table.c and ngx_opsauth_table_grow.c.
 *
 * A reader finds an entry by its tag and full key, copies it out, and takes it
 * only if the sequence word is even and the same before and after. A writer
 * makes the sequence odd, works, makes it even again; it keeps the entries
 * packed by moving them, which costs a fraction of a microsecond and leaves no
 * fragmentation to care about.
 */

#include "ngx_opsauth_set_room.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif


/* a writer that lives is through in less than a microsecond */
#define NGX_OPSAUTH_TRIES          16

#define NGX_OPSAUTH_BYTES(b)       (0x0101010101010101ULL * (b))

#define ngx_opsauth_slots(len)                                                \
    ((sizeof(ngx_opsauth_head_t) + (len) + NGX_OPSAUTH_SLOT_SIZE - 1)         \
     / NGX_OPSAUTH_SLOT_SIZE)


/* the block is written as structures and bytes, and read as words */
typedef uint64_t __attribute__((__may_alias__))  ngx_opsauth_word_t;


/* the build fails where the layout isn't the intended one */
typedef u_char  ngx_opsauth_set_layout_t
    [sizeof(ngx_opsauth_set_t)
        == NGX_OPSAUTH_SLOT_FIRST * NGX_OPSAUTH_SLOT_SIZE
     && sizeof(ngx_opsauth_head_t) == 48
     && NGX_OPSAUTH_SET_SLOTS * NGX_OPSAUTH_SLOT_SIZE == NGX_OPSAUTH_SET_SIZE
     && NGX_OPSAUTH_SET_SIZE - sizeof(ngx_opsauth_set_t)
        >= sizeof(ngx_opsauth_head_t) + NGX_OPSAUTH_TABLE_DATA_MAX
     && sizeof(ngx_opsauth_head_t) + NGX_OPSAUTH_TABLE_NEGATIVE_MAX
        <= NGX_OPSAUTH_SLOT_SIZE
     ? 1 : -1];


static uint64_t ngx_opsauth_set_step(ngx_opsauth_set_t *set, ngx_uint_t n,
    ngx_uint_t tag);
static uint64_t ngx_opsauth_set_stamp(ngx_opsauth_set_counters_t *counters);
static ngx_uint_t ngx_opsauth_set_ones(uint64_t bits);
static ngx_uint_t ngx_opsauth_set_is(const u_char *slot, const u_char *key);
static ngx_uint_t ngx_opsauth_set_find(ngx_opsauth_set_t *set,
    const u_char *key);
static ngx_uint_t ngx_opsauth_set_is_whole(ngx_opsauth_set_t *set,
    ngx_uint_t slot, ngx_uint_t n);
static ngx_int_t ngx_opsauth_set_copy(ngx_opsauth_set_t *set, ngx_uint_t slot,
    ngx_opsauth_entry_t *entry);


ngx_int_t
ngx_opsauth_set_get(ngx_opsauth_set_t *set, const uint32_t *epoch,
    const u_char *key, ngx_opsauth_entry_t *entry)
{
    uint32_t    seq, filled;
    uint64_t    bit;
    ngx_int_t   rc;
    ngx_uint_t  slot, tries;

    for (tries = 0; tries < NGX_OPSAUTH_TRIES; tries++) {

        seq = __atomic_load_n(&set->seq, __ATOMIC_ACQUIRE);

        if (seq & 1) {
            ngx_cpu_pause();
            continue;
        }

        rc = NGX_DECLINED;

        slot = ngx_opsauth_set_find(set, key);
        if (slot) {
            rc = ngx_opsauth_set_copy(set, slot, entry);
        }

        filled = __atomic_load_n(&set->epoch, __ATOMIC_RELAXED);

        /* what was read above was read before the sequence is read again */
        __atomic_thread_fence(__ATOMIC_ACQUIRE);

        if (__atomic_load_n(&set->seq, __ATOMIC_RELAXED) != seq) {
            continue;
        }

        if (rc != NGX_OK
            || filled != __atomic_load_n(epoch, __ATOMIC_RELAXED))
        {
            return NGX_DECLINED;
        }

        /*
         * Only where it changes something, so that a hot set's line stays
         * shared between CPUs. The entry may have moved since: a mark that
         * hits another one gives that a second chance, no more.
         */

        bit = ngx_opsauth_bit(slot);

        if ((__atomic_load_n(&set->marks, __ATOMIC_RELAXED) & bit) == 0) {
            (void) __atomic_fetch_or(&set->marks, bit, __ATOMIC_RELAXED);
        }

        return NGX_OK;
    }

    return NGX_DECLINED;
}


/*
 * Makes the set's sequence odd. An odd one means that a writer died in it, and
 * then nothing there is trusted, nor any fill that was under way, this one
 * included: the dead one may have been about to remove what it brings.
 * NGX_DECLINED says so; the set is open and empty then as well.
 */

ngx_int_t
ngx_opsauth_set_open(ngx_opsauth_set_t *set, uint32_t epoch,
    ngx_opsauth_set_counters_t *counters)
{
    ngx_int_t  rc;

    rc = NGX_OK;

    if (set->seq & 1) {
        rc = NGX_DECLINED;

        __atomic_store_n(&set->count, ngx_opsauth_set_stamp(counters),
                         __ATOMIC_RELEASE);

        if (set->epoch == epoch) {
            ngx_opsauth_set_count(&counters->torn);
        }

    } else {
        __atomic_store_n(&set->seq, set->seq + 1, __ATOMIC_RELAXED);

        /* no write below is seen before the odd sequence */
        __atomic_thread_fence(__ATOMIC_RELEASE);

        if (set->epoch == epoch) {
            return NGX_OK;
        }
    }

    /* what was flushed is in no total any more */

    if (set->epoch != epoch) {
        ngx_memzero(set->held, sizeof(set->held));
    }

    ngx_opsauth_set_clear(set);

    __atomic_store_n(&set->epoch, epoch, __ATOMIC_RELAXED);

    return rc;
}


void
ngx_opsauth_set_clear(ngx_opsauth_set_t *set)
{
    set->hand = NGX_OPSAUTH_SLOT_FIRST;
    set->negatives = 0;
    __atomic_store_n(&set->marks, 0, __ATOMIC_RELAXED);

    ngx_memzero(set->tags, NGX_OPSAUTH_SET_SLOTS);
    ngx_memzero(ngx_opsauth_set_slot(set, NGX_OPSAUTH_SLOT_FIRST),
                NGX_OPSAUTH_SET_SIZE - sizeof(ngx_opsauth_set_t));
}


/*
 * A set's count is a number that no set had before, not one more than its last:
 * a key may come to another set, and what a fill noted of the one must not come
 * again as the count of the other.
 */

static uint64_t
ngx_opsauth_set_stamp(ngx_opsauth_set_counters_t *counters)
{
    ngx_opsauth_set_count(&counters->stamp);

    return counters->stamp;
}


/*
 * The totals follow what the set holds. A writer that dies in between leaves
 * them wrong by what it was about to do, no more: the set's part is its own.
 */

void
ngx_opsauth_set_close(ngx_opsauth_set_t *set,
    ngx_opsauth_set_counters_t *counters, const ngx_opsauth_map_t *map)
{
    uint16_t    now[3];
    ngx_uint_t  i;

    now[0] = (uint16_t) (map->used - NGX_OPSAUTH_SLOT_FIRST);

    /* an entry that took another one's place leaves them as they are */

    if (now[0] == set->held[0]
        && map->starts == map->opened_starts
        && set->negatives == map->opened_negatives)
    {
        __atomic_store_n(&set->seq, set->seq + 1, __ATOMIC_RELEASE);
        return;
    }

    now[1] = (uint16_t) ngx_opsauth_set_ones(map->starts);
    now[2] = (uint16_t) ngx_opsauth_set_ones(map->starts & set->negatives);

    for (i = 0; i < 3; i++) {
        if (now[i] != set->held[i]) {
            __atomic_store_n(&counters->held[i],
                             counters->held[i] + now[i] - set->held[i],
                             __ATOMIC_RELAXED);
            set->held[i] = now[i];
        }
    }

    __atomic_store_n(&set->seq, set->seq + 1, __ATOMIC_RELEASE);
}


/* where the processor's own instruction can't be counted on, the compiler's is
   a call */

static ngx_inline ngx_uint_t
ngx_opsauth_set_ones(uint64_t bits)
{
    return bits ? (ngx_uint_t) __builtin_popcountll(bits) : 0;
}


/* replaces in place where the size allows, else by deleting and inserting */

ngx_int_t
ngx_opsauth_set_put(ngx_opsauth_set_t *set,
    ngx_opsauth_set_counters_t *counters, ngx_opsauth_map_t *map,
    const u_char *key, ngx_msec_t fetched_at, ngx_uint_t type,
    ngx_uint_t negative, const u_char *data, size_t len)
{
    uint64_t             bit, mark;
    ngx_uint_t           n, slot;
    ngx_msec_t           stands;
    ngx_opsauth_head_t  *head;

    n = ngx_opsauth_slots(len);
    mark = 0;

    slot = ngx_opsauth_set_find(set, key);

    if (slot) {
        head = (ngx_opsauth_head_t *) ngx_opsauth_set_slot(set, slot);
        stands = (ngx_msec_t) head->fetched_at;

        if ((ngx_msec_int_t) (fetched_at - stands) < 0) {
            return NGX_DECLINED;
        }

        bit = ngx_opsauth_bit(slot);

        if (ngx_opsauth_map_extent(map, slot) == n
            && !negative == !(set->negatives & bit))
        {
            ngx_opsauth_set_write(set, slot, n, key, fetched_at, type, data,
                                  len);
            return NGX_OK;
        }

        /* a hot entry stays one when its size changes */
        mark = set->marks & bit;

        ngx_opsauth_set_delete(set, map, slot);
    }

    /*
     * At the hand, which goes past it: so the new entry is the last that the
     * hand looks at. It starts without a mark: only a second use earns it a
     * second chance, and a flood of entries used once evicts itself.
     */

    slot = ngx_opsauth_set_room(set, counters, map, n, negative);

    if (slot) {
        ngx_opsauth_set_replace(set, counters, slot, n,
                                ngx_opsauth_set_tag(key));

    } else {
        slot = set->hand;
        ngx_opsauth_set_insert(set, map, slot, n, ngx_opsauth_set_tag(key));
    }

    bit = ngx_opsauth_bit(slot);

    if (mark) {
        (void) __atomic_fetch_or(&set->marks, bit, __ATOMIC_RELAXED);
    }

    if (negative) {
        set->negatives |= bit;
    }

    ngx_opsauth_set_write(set, slot, n, key, fetched_at, type, data, len);

    return NGX_OK;
}


ngx_uint_t
ngx_opsauth_set_is_full(ngx_opsauth_set_t *set, ngx_opsauth_map_t *map,
    const u_char *key, ngx_uint_t negative, size_t len)
{
    uint64_t    negatives;
    ngx_uint_t  slot, used, full;

    used = map->used;
    negatives = set->negatives & map->starts;

    slot = ngx_opsauth_set_find(set, key);

    if (slot) {
        used -= ngx_opsauth_map_extent(map, slot);
        negatives &= ~ngx_opsauth_bit(slot);
    }

    full = used + ngx_opsauth_slots(len) > NGX_OPSAUTH_SET_SLOTS;

    if (!negative || negatives == 0) {
        return full;
    }

    if (!full && ngx_opsauth_set_ones(negatives) < NGX_OPSAUTH_TABLE_NEGATIVES)
    {
        return 0;
    }

    return (negatives & ~__atomic_load_n(&set->marks, __ATOMIC_RELAXED)) == 0;
}


void
ngx_opsauth_set_remove(ngx_opsauth_set_t *set,
    ngx_opsauth_set_counters_t *counters, ngx_opsauth_map_t *map,
    const u_char *key)
{
    ngx_uint_t  slot;

    __atomic_store_n(&set->count, ngx_opsauth_set_stamp(counters),
                     __ATOMIC_RELEASE);

    /* there is one, but damage must not leave another behind */

    while ((slot = ngx_opsauth_set_find(set, key)) != 0) {
        ngx_opsauth_set_delete(set, map, slot);
    }
}


/*
 * Which of the n-th STEP slots have this tag, as bits. Whoever takes no lock
 * reads what may be changing, and looks at the sequence afterwards.
 */

#if defined(__SSE2__)

#define NGX_OPSAUTH_STEP  16

static ngx_inline uint64_t
ngx_opsauth_set_step(ngx_opsauth_set_t *set, ngx_uint_t n, ngx_uint_t tag)
{
    __m128i  v;

    v = _mm_loadu_si128((const __m128i *) set->tags + n);
    v = _mm_cmpeq_epi8(v, _mm_set1_epi8((char) tag));

    return (uint64_t) _mm_movemask_epi8(v);
}


/* is this an entry of the key */

static ngx_inline ngx_uint_t
ngx_opsauth_set_is(const u_char *slot, const u_char *key)
{
    __m128i  a, b;

    a = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *) slot),
                       _mm_loadu_si128((const __m128i *) key));
    b = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *) slot + 1),
                       _mm_loadu_si128((const __m128i *) key + 1));

    return _mm_movemask_epi8(_mm_and_si128(a, b)) == 0xffff;
}

#else

#define NGX_OPSAUTH_STEP  8

static ngx_inline uint64_t
ngx_opsauth_set_step(ngx_opsauth_set_t *set, ngx_uint_t n, ngx_uint_t tag)
{
    uint64_t  w;

    w = __atomic_load_n((ngx_opsauth_word_t *) set->tags + n,
                        __ATOMIC_RELAXED);

#if !(NGX_HAVE_LITTLE_ENDIAN)
    /* the first tag in the lowest byte */
    w = __builtin_bswap64(w);
#endif

    /* the high bit of each byte that is zero, exactly */
    w ^= NGX_OPSAUTH_BYTES(tag);
    w = ~(((w & NGX_OPSAUTH_BYTES(0x7f)) + NGX_OPSAUTH_BYTES(0x7f))
          | w | NGX_OPSAUTH_BYTES(0x7f));

    /* gathered into the low 8 bits */
    return ((w >> 7) * 0x0102040810204080ULL) >> 56;
}


static ngx_inline ngx_uint_t
ngx_opsauth_set_is(const u_char *slot, const u_char *key)
{
    uint64_t             k[4];
    ngx_opsauth_word_t  *p;

    p = (ngx_opsauth_word_t *) slot;

    ngx_memcpy(k, key, NGX_OPSAUTH_TABLE_KEY_LEN);

    return __atomic_load_n(&p[0], __ATOMIC_RELAXED) == k[0]
           && __atomic_load_n(&p[1], __ATOMIC_RELAXED) == k[1]
           && __atomic_load_n(&p[2], __ATOMIC_RELAXED) == k[2]
           && __atomic_load_n(&p[3], __ATOMIC_RELAXED) == k[3];
}

#endif


/* whatever stands in the tags, the result covers all that isn't free, in
   extents of at least one slot */

void
ngx_opsauth_set_map(ngx_opsauth_set_t *set, ngx_opsauth_map_t *map)
{
    uint64_t    free, next, mask;
    ngx_uint_t  i;

    free = 0;
    next = 0;

    for (i = 0; i < NGX_OPSAUTH_SET_SLOTS / NGX_OPSAUTH_STEP; i++) {
        free |= ngx_opsauth_set_step(set, i, NGX_OPSAUTH_TAG_FREE)
                << (i * NGX_OPSAUTH_STEP);
        next |= ngx_opsauth_set_step(set, i, NGX_OPSAUTH_TAG_NEXT)
                << (i * NGX_OPSAUTH_STEP);
    }

    mask = ~free & ~ngx_opsauth_below(NGX_OPSAUTH_SLOT_FIRST);

    map->opened_negatives = set->negatives;

    if (mask == 0) {
        map->used = NGX_OPSAUTH_SLOT_FIRST;
        map->starts = 0;
        map->opened_starts = 0;
        return;
    }

    map->used = 64 - __builtin_clzll(mask);

    /* everything up to there, except continuations */
    mask = (~(uint64_t) 0 >> (64 - map->used))
           & ~ngx_opsauth_below(NGX_OPSAUTH_SLOT_FIRST);

    map->starts = (mask & ~next) | ngx_opsauth_bit(NGX_OPSAUTH_SLOT_FIRST);
    map->opened_starts = map->starts;
}


/* the slot where the entry starts, or 0, which is never one */

static ngx_inline ngx_uint_t
ngx_opsauth_set_find(ngx_opsauth_set_t *set, const u_char *key)
{
    u_char      *p;
    uint64_t     mask;
    ngx_uint_t   i, slot, tag;

    tag = ngx_opsauth_set_tag(key);

    /* two steps at once: most sets are filled so far */

    for (i = 0; i < NGX_OPSAUTH_SET_SLOTS / NGX_OPSAUTH_STEP; i += 2) {

        for (mask = ngx_opsauth_set_step(set, i, tag)
                    | ngx_opsauth_set_step(set, i + 1, tag)
                      << NGX_OPSAUTH_STEP;
             mask;
             mask &= mask - 1)
        {
            slot = i * NGX_OPSAUTH_STEP + __builtin_ctzll(mask);
            p = ngx_opsauth_set_slot(set, slot);

            if (slot >= NGX_OPSAUTH_SLOT_FIRST
                && ngx_opsauth_set_is(p, key))
            {
                return slot;
            }
        }
    }

    return 0;
}


/* an entry that starts here takes these slots, neither less nor more: with a bit
   of the tags or of a length flipped, it would go on with another one's bytes */

static ngx_inline ngx_uint_t
ngx_opsauth_set_is_whole(ngx_opsauth_set_t *set, ngx_uint_t slot, ngx_uint_t n)
{
    ngx_uint_t  i;

#if (NGX_HAVE_LITTLE_ENDIAN)
    uint64_t    tags, bits;

    /* of most entries, the tags behind the first are one word */

    if (n < sizeof(uint64_t) && slot < NGX_OPSAUTH_SET_SLOTS - sizeof(uint64_t)) {
        ngx_memcpy(&tags, &set->tags[slot + 1], sizeof(uint64_t));

        tags ^= NGX_OPSAUTH_BYTES(NGX_OPSAUTH_TAG_NEXT);
        bits = 8 * (n - 1);

        return (tags & (((uint64_t) 1 << bits) - 1)) == 0
               && (tags >> bits & 0xff) != 0;
    }
#endif

    for (i = slot + 1; i < slot + n; i++) {
        if (__atomic_load_n(&set->tags[i], __ATOMIC_RELAXED)
            != NGX_OPSAUTH_TAG_NEXT)
        {
            return 0;
        }
    }

    return i == NGX_OPSAUTH_SET_SLOTS
           || __atomic_load_n(&set->tags[i], __ATOMIC_RELAXED)
              != NGX_OPSAUTH_TAG_NEXT;
}


/* what is copied may be torn; the caller looks at the sequence afterwards */

static ngx_inline ngx_int_t
ngx_opsauth_set_copy(ngx_opsauth_set_t *set, ngx_uint_t slot,
    ngx_opsauth_entry_t *entry)
{
    size_t               len;
    u_char              *p;
    ngx_opsauth_head_t  *head;

    p = ngx_opsauth_set_slot(set, slot);
    head = (ngx_opsauth_head_t *) p;

    len = __atomic_load_n(&head->len, __ATOMIC_RELAXED);

    if (len > NGX_OPSAUTH_TABLE_DATA_MAX
        || len > (NGX_OPSAUTH_SET_SLOTS - slot) * NGX_OPSAUTH_SLOT_SIZE
                 - sizeof(ngx_opsauth_head_t)
        || !ngx_opsauth_set_is_whole(set, slot, ngx_opsauth_slots(len)))
    {
        return NGX_DECLINED;
    }

    entry->len = len;
    entry->slot = p;
    entry->type = __atomic_load_n(&head->type, __ATOMIC_RELAXED);
    entry->fetched_at = (ngx_msec_t) __atomic_load_n(&head->fetched_at,
                                                     __ATOMIC_RELAXED);

    ngx_memcpy(entry->data, p + sizeof(ngx_opsauth_head_t), len);

    return NGX_OK;
}
