/*
 * Flushing usage counters: who does it, what is taken, what comes back; contract
 * in ngx_opsauth_usage.h. Called by src/http in the worker whose turn it is, and
 * in one that quits.
 */

#include "ngx_opsauth_usage_zone.h"


/* entries that one check looks at */
#define NGX_OPSAUTH_USAGE_STRETCH  4096

/* ms; between flushes that fail */
#define NGX_OPSAUTH_USAGE_BACKOFF_MAX  60000

/* ms; between two lines about lost requests */
#define NGX_OPSAUTH_USAGE_TELL     60000


static ngx_int_t ngx_opsauth_usage_take_one(ngx_opsauth_usage_t *usage,
    ngx_uint_t slot, ngx_opsauth_usage_item_t *item);
static void ngx_opsauth_usage_read(ngx_opsauth_usage_entry_t *entry,
    ngx_opsauth_usage_item_t *item);


ngx_int_t
ngx_opsauth_usage_turn(ngx_opsauth_usage_t *usage, ngx_msec_t now,
    ngx_msec_t interval)
{
    uint64_t    next, failures;
    ngx_msec_t  wait;

    next = ngx_opsauth_usage_get(&usage->zone->next_flush);
    failures = ngx_opsauth_usage_get(&usage->zone->failures);

    wait = interval;

    for ( /* void */ ; failures && wait < NGX_OPSAUTH_USAGE_BACKOFF_MAX;
         failures--)
    {
        wait = ngx_min(wait * 2, NGX_OPSAUTH_USAGE_BACKOFF_MAX);
    }

    /* a time that lies too far ahead is another machine's, or damaged */

    if ((ngx_msec_int_t) (next - now) > 0 && next - now <= 2 * wait) {
        return NGX_DECLINED;
    }

    wait = wait - wait / 10 + (ngx_msec_t) ngx_random() % (wait / 5 + 1);

    return __atomic_compare_exchange_n(&usage->zone->next_flush, &next,
                                       (uint64_t) (now + wait), 0,
                                       __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)
           ? NGX_OK : NGX_DECLINED;
}


ngx_uint_t
ngx_opsauth_usage_take(ngx_opsauth_usage_t *usage, ngx_uint_t *cursor,
    ngx_opsauth_usage_item_t *items, ngx_uint_t n)
{
    uint64_t    word;
    ngx_uint_t  found, slot, nslots;

    found = 0;
    nslots = (ngx_uint_t) usage->nsets * NGX_OPSAUTH_USAGE_WAYS;

    for (slot = *cursor; slot < nslots && found < n; /* void */ ) {

        word = __atomic_load_n(&usage->touched[slot / 64], __ATOMIC_RELAXED)
               >> slot % 64;

        if (word == 0) {
            slot = (slot / 64 + 1) * 64;
            continue;
        }

        slot += (ngx_uint_t) __builtin_ctzll(word);

        if (ngx_opsauth_usage_take_one(usage, slot, &items[found]) == NGX_OK) {
            found++;
        }

        slot++;
    }

    *cursor = slot;

    return found;
}


static ngx_int_t
ngx_opsauth_usage_take_one(ngx_opsauth_usage_t *usage, ngx_uint_t slot,
    ngx_opsauth_usage_item_t *item)
{
    uint64_t                    bit;
    ngx_opsauth_usage_entry_t  *entry;

    bit = (uint64_t) 1 << slot % 64;

    /* another one may take it */

    if (!(__atomic_fetch_and(&usage->touched[slot / 64], ~bit,
                             __ATOMIC_ACQ_REL) & bit))
    {
        return NGX_DECLINED;
    }

    entry = &usage->entries[slot];

    item->slot = slot;
    item->tag = __atomic_load_n(&usage->tags[slot], __ATOMIC_ACQUIRE);

    if (item->tag == 0 || entry->len > OA_ID_MAX) {
        return NGX_DECLINED;
    }

    /* requests last: as long as they stand here, nobody gets the slot */

    item->keep = entry->keep;
    item->len = entry->len;
    ngx_memcpy(item->id, entry->id, entry->len);

    ngx_opsauth_usage_read(entry, item);

    item->at = ngx_max(item->last, ngx_opsauth_usage_get(&entry->denied_at));

    if (__atomic_exchange_n(&entry->written, item->last, __ATOMIC_ACQ_REL)
        == item->last)
    {
        item->last = 0;
    }

    item->day = __atomic_exchange_n(&entry->day, item->at / 86400,
                                    __ATOMIC_ACQ_REL);
    item->denied = __atomic_exchange_n(&entry->denied, 0, __ATOMIC_ACQ_REL);
    item->requests = __atomic_exchange_n(&entry->requests, 0, __ATOMIC_ACQ_REL);

    return (item->requests || item->denied || item->last) ? NGX_OK
                                                          : NGX_DECLINED;
}


static void
ngx_opsauth_usage_read(ngx_opsauth_usage_entry_t *entry,
    ngx_opsauth_usage_item_t *item)
{
    uint64_t    words[2], claim;
    ngx_uint_t  i;

    /* a writer that laps us has two seconds to do so */

    for (i = 0; i < 3; i++) {
        item->last = __atomic_load_n(&entry->last, __ATOMIC_ACQUIRE);

        words[0] = ngx_opsauth_usage_get(&entry->addr[item->last & 1][0]);
        words[1] = ngx_opsauth_usage_get(&entry->addr[item->last & 1][1]);

        __atomic_thread_fence(__ATOMIC_ACQUIRE);

        claim = ngx_opsauth_usage_get(&entry->claim);

        if (claim - item->last < 2) {
            break;
        }
    }

    ngx_memzero(&item->addr, sizeof(oa_addr_t));

    if (words[0] || words[1]) {
        oa_addr_set(&item->addr, (u_char *) words, 16);
    }
}


void
ngx_opsauth_usage_give_back(ngx_opsauth_usage_t *usage,
    const ngx_opsauth_usage_item_t *item, uint64_t requests, uint64_t denied,
    ngx_uint_t last)
{
    ngx_opsauth_usage_entry_t  *entry;

    entry = &usage->entries[item->slot];

    ngx_shmtx_lock(&usage->base.shpool->mutex);

    if (usage->tags[item->slot] == item->tag) {

        if (last) {
            ngx_opsauth_usage_put(&entry->written, 0);
        }

        ngx_opsauth_usage_plus(&entry->denied, denied);
        ngx_opsauth_usage_plus(&entry->requests, requests);

        ngx_opsauth_usage_mark(usage, item->slot);

    } else {
        ngx_opsauth_usage_plus(&usage->zone->lost, requests);
    }

    ngx_shmtx_unlock(&usage->base.shpool->mutex);
}


void
ngx_opsauth_usage_done(ngx_opsauth_usage_t *usage, ngx_uint_t failed,
    uint64_t written, uint64_t lost)
{
    ngx_opsauth_usage_zone_t  *zone;

    zone = usage->zone;

    ngx_opsauth_usage_plus(&zone->written, written);
    ngx_opsauth_usage_plus(&zone->lost, lost);

    if (failed) {
        ngx_opsauth_usage_plus(&zone->errors, 1);
        ngx_opsauth_usage_plus(&zone->failures, 1);
        return;
    }

    ngx_opsauth_usage_plus(&zone->flushes, 1);
    ngx_opsauth_usage_put(&zone->failures, 0);
}


void
ngx_opsauth_usage_check(ngx_opsauth_usage_t *usage)
{
    uint64_t    first;
    ngx_uint_t  i, n, slot, nslots;

    nslots = (ngx_uint_t) usage->nsets * NGX_OPSAUTH_USAGE_WAYS;
    n = ngx_min(nslots, NGX_OPSAUTH_USAGE_STRETCH);

    first = __atomic_fetch_add(&usage->zone->check, n, __ATOMIC_RELAXED);

    for (i = 0; i < n; i++) {
        slot = (ngx_uint_t) ((first + i) % nslots);

        if (ngx_opsauth_usage_get(&usage->tags[slot])
            && ngx_opsauth_usage_get(&usage->entries[slot].requests))
        {
            ngx_opsauth_usage_mark(usage, slot);
        }
    }
}


uint64_t
ngx_opsauth_usage_untold(ngx_opsauth_usage_t *usage, ngx_msec_t now)
{
    uint64_t                   lost, at;
    ngx_opsauth_usage_zone_t  *zone;

    zone = usage->zone;
    lost = ngx_opsauth_usage_get(&zone->lost);
    at = ngx_opsauth_usage_get(&zone->told_at);

    if (lost == ngx_opsauth_usage_get(&zone->told)
        || (at && now - at < NGX_OPSAUTH_USAGE_TELL)
        || !__atomic_compare_exchange_n(&zone->told_at, &at, (uint64_t) now, 0,
                                        __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
    {
        return 0;
    }

    ngx_opsauth_usage_put(&zone->told, lost);

    return lost;
}
