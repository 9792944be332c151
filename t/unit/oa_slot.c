/* Slots and redirections of a cluster: src/core/oa_slot.c */

#include "oa_slot.h"
#include "tap.h"


/* bit by bit, to compare with */

static unsigned
naive(const unsigned char *p, size_t len)
{
    int       k;
    unsigned  crc;

    crc = 0;

    while (len--) {
        crc ^= (unsigned) *p++ << 8;

        for (k = 0; k < 8; k++) {
            crc = (crc & 0x8000) ? crc << 1 ^ 0x1021 : crc << 1;
        }

        crc &= 0xffff;
    }

    return crc % OA_SLOTS;
}


static void
slot(const char *key, unsigned wanted)
{
    unsigned char  *copy;

    copy = tap_copy(key, strlen(key));

    is_int(oa_slot((oa_str_t) { strlen(key), copy }), wanted, "\"%s\"", key);

    free(copy);
}


static void
redirect(const char *text, oa_redirect_kind_t kind, unsigned number,
    const char *host, unsigned port)
{
    oa_rc_t         rc;
    oa_redirect_t   r;
    unsigned char  *copy;

    copy = tap_copy(text, strlen(text));
    rc = oa_redirect_parse((oa_str_t) { strlen(text), copy }, &r);

    ok(rc == OA_OK && r.kind == kind && r.slot == number && r.port == port,
       "\"%s\" is one", text);

    if (rc == OA_OK) {
        is_str(r.host.data, r.host.len, host, "\"%s\": host", text);
    }

    free(copy);
}


static void
unnamed(const char *text, int is)
{
    oa_redirect_t  r;

    (void) oa_redirect_parse((oa_str_t) { strlen(text),
                                          (const unsigned char *) text }, &r);
    is_int(r.unnamed, is, "\"%s\": a name that there is not", text);
}


static void
refused(const char *text)
{
    oa_redirect_t   r;
    unsigned char  *copy;

    copy = tap_copy(text, strlen(text));

    ok(oa_redirect_parse((oa_str_t) { strlen(text), copy }, &r) == OA_INVALID,
       "\"%s\" is none", text);

    free(copy);
}


int
main(void)
{
    size_t          i, n, k, bad;
    oa_redirect_t   r;
    unsigned char  *copy, text[96];

    static const char  likely[] = "MOVEDASK 0123456789:.?-{}";

    /* the specification's, and CLUSTER KEYSLOT's of a Redis 7.0 */

    slot("123456789", 0x31c3);
    slot("foo", 12182);
    slot("bar", 5061);
    slot("", 0);
    slot("opsauth:meta", 11011);
    slot("opsauth:account:crm", 10579);
    slot("{user1000}.following", 3443);
    slot("{user1000}.followers", 3443);
    slot("user1000", 3443);
    slot("foo{}{bar}", 8363);
    slot("foo{{bar}}zap", 4015);
    slot("{bar", 4015);
    slot("foo{bar}{zap}", 5061);
    slot("}{bar}", 5061);
    slot("foo{bar", 15278);
    slot("{}", 15257);

    bad = 0;

    for (i = 0; i < 20000; i++) {
        n = tap_random_below(sizeof(text) + 1);
        tap_random_bytes(text, n);

        for (k = 0; k < n; k++) {
            text[k] = (text[k] == '{') ? '}' : text[k];
        }

        copy = tap_copy(text, n);
        bad += (oa_slot((oa_str_t) { n, copy }) != naive(copy, n));
        free(copy);
    }

    is_int(bad, 0, "as bit by bit, for 20000 keys");

    redirect("MOVED 3999 127.0.0.1:6381", OA_REDIRECT_MOVED, 3999,
             "127.0.0.1", 6381);
    redirect("ASK 16383 redis-2.example:6379", OA_REDIRECT_ASK, 16383,
             "redis-2.example", 6379);
    redirect("MOVED 0 fd00::1:7001", OA_REDIRECT_MOVED, 0, "fd00::1", 7001);
    redirect("MOVED 1 :7001", OA_REDIRECT_MOVED, 1, "", 7001);
    redirect("MOVED 1 ?:7001", OA_REDIRECT_MOVED, 1, "", 7001);
    unnamed("MOVED 1 ?:7001", 1);
    unnamed("MOVED 1 :7001", 0);
    unnamed("ASK 1 redis-2:7001", 0);

    refused("MOVED");
    refused("MOVED ");
    refused("MOVED 1");
    refused("MOVED 1 ");
    refused("MOVED 1 a");
    refused("MOVED 1 a:");
    refused("MOVED 1 a:0");
    refused("MOVED 1 a:65536");
    refused("MOVED 16384 a:1");
    refused("MOVED -1 a:1");
    refused("MOVED x a:1");
    refused("MOVED 1 a b:1");
    refused("MOVED 1 a\r\nb:1");
    refused("MOVED 1 -a:1");
    refused("ASK 1 a/b:1");
    refused("CROSSSLOT Keys in request don't hash to the same slot");
    refused("CLUSTERDOWN Hash slot not served");

    bad = 0;

    for (i = 0; i < 200000; i++) {
        n = tap_random_below(40);
        tap_random_bytes(text, n);

        for (k = 0; k < n; k++) {
            if (text[k] < 240) {
                text[k] = (unsigned char) likely[text[k]
                                                 % (sizeof(likely) - 1)];
            }
        }

        if (n > 6 && i % 2) {
            memcpy(text, "MOVED ", 6);
        }

        copy = tap_copy(text, n);

        if (oa_redirect_parse((oa_str_t) { n, copy }, &r) == OA_OK) {
            bad += (r.slot >= OA_SLOTS || r.port == 0 || r.port > 65535
                    || (r.host.len && (r.host.data < copy
                                       || r.host.data + r.host.len
                                          > copy + n)));
        }

        free(copy);
    }

    is_int(bad, 0, "whatever is sent, what is followed is an address");

    return done_testing();
}
