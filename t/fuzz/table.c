/*
 * The shared cache's slots: src/shm/ngx_opsauth_table.c against a list of what
 * was put. A byte that says how many sets, what may be damaged and whether sets
 * are all in use or come into use from the first one on; then operations of four
 * bytes: which one, a key, and two more.
 *
 * A table may forget, but what it finds is what was put last, whole. When a bit
 * has flipped in its memory, that is not another key's bytes; whatever flips,
 * nothing outside the block is touched.
 */

#include "fuzz.h"
#include "ngx_opsauth_table_test.h"


#define KEYS  96


typedef struct {
    uint32_t  version;              /* 0: none */
    size_t    len;                  /* 0: a negative entry */
} model_t;


static model_t               model[KEYS];
static ngx_opsauth_entry_t   entry;
static uint32_t              now;
static ngx_uint_t            damaged;


static void
found(ngx_opsauth_table_t *table, uint32_t id)
{
    model_t    *m;
    ngx_int_t   rc;

    m = &model[id];

    /* what is not written is seen */
    memset(&entry, 0xa5, sizeof(entry));

    rc = get(table, id, &entry);

    if (rc != NGX_OK) {
        must(rc == NGX_DECLINED);
        return;
    }

    must(entry.len <= MAX);

    if (damaged > 1) {
        return;
    }

    if (damaged) {
        must(entry.len != m->len || m->len == 0 || entry.fetched_at != m->version
             || memcmp(entry.data, data_of(id, m->version, m->len), m->len)
                == 0);
        return;
    }

    must(m->version != 0);

    if (m->len == 0) {
        must(entry.len == 0 && entry.type == 255
             && entry.fetched_at == m->version);
        return;
    }

    must(is(&entry, id, m->version, m->len));
}


static void
store(ngx_opsauth_table_t *table, uint32_t id, uint8_t a, uint8_t b)
{
    int         there;
    size_t      len;
    uint32_t    version;
    ngx_int_t   rc;

    there = has(table, id);

    /* now and then an answer that was under way for long */
    version = (a & 128 && now > 8) ? now - (a & 7) : ++now;
    len = 8 + ((size_t) (a & 7) << 8 | b) % (MAX - 7);

    if ((a & 96) == 96) {
        len = 0;
        rc = put_negative(table, id, version);
    } else {
        rc = put(table, id, version, len);
    }

    must(rc == NGX_OK || rc == NGX_DECLINED);

    if (damaged) {
        if (rc == NGX_OK) {
            model[id].version = version;
            model[id].len = len;
        }

        return;
    }

    must((rc == NGX_OK) == (!there || version >= model[id].version));

    if (rc == NGX_OK) {
        model[id].version = version;
        model[id].len = len;
        must(has(table, id));
    }
}


/* 0: the table's and the sets' own words; 1: what stands in front of records,
   the key left out */

static void
flip(ngx_opsauth_table_t *table, uint8_t kind, uint8_t *in)
{
    u_char             *p;
    size_t              at;
    ngx_uint_t          slot;
    ngx_opsauth_set_t  *set;

    /* the block's own words may have been hit: then it says that it is off */
    if (table->check != ngx_opsauth_table_check(table->nsets)) {
        return;
    }

    set = ngx_opsauth_table_nth(table, in[0] % table->nsets);
    at = (size_t) in[1] << 3 | (in[2] & 7);

    if (kind == 0 && (in[2] & 64)) {
        p = (u_char *) table;
        at %= sizeof(ngx_opsauth_table_t) * 8;

    } else if (kind == 0) {
        p = (u_char *) set;
        at %= sizeof(ngx_opsauth_set_t) * 8;

    } else {
        slot = NGX_OPSAUTH_SLOT_FIRST
               + (in[2] >> 3) % (NGX_OPSAUTH_SET_SLOTS
                                 - NGX_OPSAUTH_SLOT_FIRST);

        /* a record's own bytes are nothing that the table could know */
        if (set->tags[slot] < NGX_OPSAUTH_TAG_START) {
            return;
        }

        p = ngx_opsauth_set_slot(set, slot) + NGX_OPSAUTH_TABLE_KEY_LEN;
        at %= (sizeof(ngx_opsauth_head_t) - NGX_OPSAUTH_TABLE_KEY_LEN) * 8;
    }

    p[at / 8] ^= (u_char) (1 << at % 8);
    damaged++;
}


static void
operate(ngx_opsauth_table_t *table, uint8_t how, uint8_t *op)
{
    uint32_t                   id, i;
    ngx_opsauth_table_stats_t  stats;

    id = op[1] % KEYS;

    switch (op[0] % 8) {

    case 0:
    case 1:
    case 2:
        store(table, id, op[2], op[3]);
        break;

    case 3:
    case 4:
        found(table, id);
        break;

    case 5:
        ngx_opsauth_table_remove(table, key_of(id));

        if (!damaged) {
            must(!has(table, id));
        }

        memset(&model[id], 0, sizeof(model_t));
        break;

    case 6:
        if (how & 4) {
            flip(table, (how >> 3) & 1, op + 1);
            break;
        }

        if ((op[2] & 1) && table->grown != 0) {
            must(ngx_opsauth_table_split(table) == NGX_OK || damaged);
        }

        ngx_opsauth_table_stats(table, &stats);
        must(damaged || (stats.used <= stats.slots
                         && stats.entries <= stats.used
                         && stats.negatives <= stats.entries));
        must(damaged || sound(table));
        break;

    default:
        if (op[2] > 16) {
            for (i = 0; i < KEYS; i++) {
                found(table, i);
            }

            break;
        }

        ngx_opsauth_table_flush(table);

        for (i = 0; i < KEYS; i++) {
            must(damaged || !has(table, i));
        }

        memset(model, 0, sizeof(model));
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void                 *block;
    uint8_t               how, op[4];
    fuzz_t                in;
    uint32_t              i;
    ngx_uint_t            sets;
    ngx_opsauth_table_t  *table;

    fuzz_start(&in, data, size);

    how = fuzz_byte(&in);
    sets = 1 + (how & 3) % 3 + (how >> 5) * 4;

    memset(model, 0, sizeof(model));
    now = 0;
    damaged = 0;

    table = table_new(sets, &block);
    must(table != NULL);
    must(ngx_opsauth_table_attach(block, block_size(sets)) == table);

    if (how & 16) {
        table->grown = ngx_opsauth_grown(5, 0);
    }

    while (in.n >= sizeof(op)) {
        for (i = 0; i < sizeof(op); i++) {
            op[i] = fuzz_byte(&in);
        }

        operate(table, how, op);
    }

    for (i = 0; i < KEYS; i++) {
        found(table, i);
    }

    must(damaged || sound(table));

    free(block);
    fuzz_end(&in);
    return 0;
}
