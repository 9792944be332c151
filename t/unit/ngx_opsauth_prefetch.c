/*
 * Which lines are asked for ahead: those in which the two records and their
 * sets' headers stand, for a credential that was seen, and none for another.
 */

static void test_fetch(const void *p);

#if defined(__SSE2__)
#include <immintrin.h>                  /* has it, too, with more arguments */
#endif

#define __builtin_prefetch(p)  test_fetch(p)

#include "ngx_opsauth_table_test.h"
#include "../../src/shm/ngx_opsauth_prefetch.h"


static const u_char  *test_lines[64];
static ngx_uint_t     test_nlines;


static void
test_fetch(const void *p)
{
    if (test_nlines < 64) {
        test_lines[test_nlines++] = p;
    }
}


static int
is_fetched(const void *p)
{
    ngx_uint_t  i;

    for (i = 0; i < test_nlines; i++) {
        if ((uintptr_t) test_lines[i] / NGX_OPSAUTH_LINE
            == (uintptr_t) p / NGX_OPSAUTH_LINE)
        {
            return 1;
        }
    }

    return 0;
}


/* all that a reader of this key touches */

static int
is_ahead(ngx_opsauth_table_t *table, uint32_t id, ngx_opsauth_entry_t *entry)
{
    size_t         n;
    const u_char  *set, *slot;

    set = (const u_char *) ngx_opsauth_table_set(table, key_of(id));
    slot = entry->slot;

    if (memcmp(slot, key_of(id), NGX_OPSAUTH_TABLE_KEY_LEN) != 0
        || !is_fetched(set) || !is_fetched(set + NGX_OPSAUTH_LINE))
    {
        return 0;
    }

    for (n = 0; n < sizeof(ngx_opsauth_head_t) + entry->len;
         n += NGX_OPSAUTH_LINE)
    {
        if (!is_fetched(slot + n)) {
            return 0;
        }
    }

    return 1;
}


static ngx_uint_t
fetches(ngx_opsauth_prefetch_t *prefetch, ngx_opsauth_table_t *table,
    const char *credential, uint64_t *hash)
{
    test_nlines = 0;
    *hash = ngx_opsauth_prefetch(prefetch, table, (const u_char *) credential,
                                 strlen(credential));
    return test_nlines;
}


static void
text_of(uint32_t id, char *text)
{
    (void) sprintf(text, "key_%08x%08x", id * 2654435761u, id);
}


static void
test_records(ngx_uint_t sets)
{
    int                      ahead, none;
    char                     text[32];
    void                    *block;
    uint32_t                 i, n;
    uint64_t                 hash;
    ngx_opsauth_entry_t     *first, *second;
    ngx_opsauth_table_t     *table;
    ngx_opsauth_prefetch_t  *prefetch;

    table = table_new(sets, &block);
    prefetch = calloc(1, sizeof(ngx_opsauth_prefetch_t));
    first = calloc(2, sizeof(ngx_opsauth_entry_t));
    second = first + 1;

    n = sets * 4;
    ahead = none = 0;

    for (i = 0; i < n; i++) {
        put(table, 5 * i, 1, 60 + rnd(140));
    }

    /* the account of each hundred is the first of them */

    for (i = 0; i < n; i++) {
        text_of(i, text);

        if (get(table, 5 * i, first) != NGX_OK
            || get(table, i / 100 * 5, second) != NGX_OK)
        {
            continue;
        }

        none += fetches(prefetch, table, text, &hash) == 0;
        ngx_opsauth_prefetch_seen(prefetch, table, hash, first->slot,
                                  second->slot);
        ahead += fetches(prefetch, table, text, &hash) != 0
                 && is_ahead(table, 5 * i, first)
                 && is_ahead(table, i / 100 * 5, second);
    }

    ok(ahead > (int) n * 9 / 10, "%u records: the lines of both are asked for "
       "(%d)", n, ahead);
    ok(none == ahead && sound(table), "and none before it was seen (%d)",
       none);

    free(first);
    free(prefetch);
    free(block);
}


static void
test_guesses(void)
{
    char                     text[32];
    void                    *block;
    uint32_t                 i, others;
    uint64_t                 hash, same;
    ngx_opsauth_entry_t     *entry, *moved;
    ngx_opsauth_table_t     *table;
    ngx_opsauth_prefetch_t  *prefetch;

    table = table_new(64, &block);
    prefetch = calloc(1, sizeof(ngx_opsauth_prefetch_t));
    entry = calloc(1, sizeof(ngx_opsauth_entry_t));
    moved = calloc(1, sizeof(ngx_opsauth_entry_t));

    put(table, 1, 1, 100);
    put(table, 2, 1, 100);

    ok(get(table, 1, entry) == NGX_OK && is(entry, 1, 1, 100) && has(table, 2),
       "two records");
    (void) fetches(prefetch, table, "key_one_of_them", &hash);
    ngx_opsauth_prefetch_seen(prefetch, table, hash, entry->slot, entry->slot);

    ok(fetches(prefetch, table, "key_one_of_them", &same) && same == hash,
       "seen");

    for (i = 0, others = 0; i < 100000; i++) {
        text_of(i, text);
        others += fetches(prefetch, table, text, &same) != 0;
    }

    ok(others == 0, "not taken for another (%u)", others);

    ok(fetches(prefetch, table, "7_bytes", &hash) == 0 && hash == 0
       && fetches(prefetch, table, "", &hash) == 0 && hash == 0,
       "one that is too short has no last bytes");
    (void) fetches(prefetch, table, "key_one_of_them", &hash);

    /* it moves */

    ngx_opsauth_table_remove(table, key_of(1));
    put(table, 1, 2, 1500);
    (void) get(table, 2, entry);
    ngx_opsauth_prefetch_seen(prefetch, table, hash, entry->slot, entry->slot);

    ok(fetches(prefetch, table, "key_one_of_them", &hash)
       && is_ahead(table, 2, entry), "where it was seen last counts");

    (void) get(table, 1, moved);
    ngx_opsauth_prefetch_seen(prefetch, table, hash,
        (u_char *) (table + 1) + ((size_t) NGX_OPSAUTH_LINE << 24),
        moved->slot);
    ngx_opsauth_prefetch_seen(prefetch, table, hash, moved->slot,
        (u_char *) (table + 1) + ((size_t) NGX_OPSAUTH_LINE << 24));

    ok(fetches(prefetch, table, "key_one_of_them", &hash)
       && is_ahead(table, 2, entry), "what is too far away is not noted");

    free(moved);
    free(entry);
    free(prefetch);
    free(block);
}


int
main(void)
{
    test_records(16);
    test_records(1000);
    test_guesses();

    return done_testing();
}
