/*
 * What a client could try to forge: src/core/oa_ticket.c and oa_wrap.c. A byte,
 * lines: two fields and a ticket or a wrapped secret.
 */

#include "fuzz.h"
#include "oa_ticket.h"
#include "oa_wrap.h"


#define NOW  1700000000


static const oa_str_t  peppers[] = {
    oa_string("no secret: it is in this text"),
    oa_string("and this one was there before it")
};


static void
ticket(oa_str_t a, oa_str_t b, oa_str_t text, uint8_t at, uint8_t to)
{
    size_t         len;
    oa_rc_t        rc;
    oa_str_t       fields[2], moved[2];
    unsigned char  made[OA_TICKET_MAX];

    fields[0] = a;
    fields[1] = b;

    /* nobody guesses one */
    rc = oa_ticket_check(peppers, 2, fields, 2, NOW, 600, text);
    must(rc == OA_INVALID);

    must(oa_ticket_make(peppers[1], fields, 2, NOW, made, &len) == OA_OK);
    must(len <= OA_TICKET_MAX);
    must(oa_ticket_check(peppers, 2, fields, 2, NOW, 600,
                         (oa_str_t) { len, made })
         == OA_OK);
    must(oa_ticket_check(peppers, 1, fields, 2, NOW, 600,
                         (oa_str_t) { len, made })
         == OA_INVALID);

    /* what moves from one field to the next is another form */
    if (a.len) {
        moved[0] = (oa_str_t) { a.len - 1, a.data };
        moved[1] = b;
        must(oa_ticket_check(peppers, 2, moved, 2, NOW, 600,
                             (oa_str_t) { len, made })
             == OA_INVALID);
    }

    if (made[at % len] != to) {
        made[at % len] = to;
        must(oa_ticket_check(peppers, 2, fields, 2, NOW, 600,
                             (oa_str_t) { len, made })
             != OA_OK);
    }
}


static void
wrapped(fuzz_t *in, oa_str_t id, oa_str_t secret, oa_str_t text, uint8_t at,
    uint8_t to)
{
    size_t          len, back;
    oa_rc_t         rc;
    unsigned char  *out, *made;

    static const unsigned char  nonce[12] = "twelve bytes";

    out = fuzz_room(in, OA_WRAP_SECRET_MAX);
    made = fuzz_room(in, OA_WRAP_MAX);

    rc = oa_unwrap(peppers[0], id, text, out, &back);
    must(rc == OA_DECLINED || rc == OA_INVALID);

    rc = oa_wrap(peppers[0], id, secret, nonce, made, &len);

    must((rc == OA_OK) == (id.len && id.len <= OA_ACCOUNT_MAX && secret.len
                           && secret.len <= OA_WRAP_SECRET_MAX));

    if (rc != OA_OK) {
        return;
    }

    must(len <= OA_WRAP_MAX);
    must(oa_unwrap(peppers[0], id, (oa_str_t) { len, made }, out, &back)
         == OA_OK);
    must(fuzz_same(secret, (oa_str_t) { back, out }));
    must(oa_unwrap(peppers[1], id, (oa_str_t) { len, made }, out, &back)
         == OA_DECLINED);

    if (made[at % len] != to) {
        made[at % len] = to;
        rc = oa_unwrap(peppers[0], id, (oa_str_t) { len, made }, out, &back);
        must(rc == OA_DECLINED || rc == OA_INVALID);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_t    in;
    uint8_t   at, to;
    oa_str_t  a, b, text;

    fuzz_start(&in, data, size);

    at = fuzz_byte(&in);
    to = fuzz_byte(&in);
    a = fuzz_line(&in);
    b = fuzz_line(&in);
    text = fuzz_line(&in);

    ticket(a, b, text, at, to);
    wrapped(&in, a, b, text, at, to);

    fuzz_end(&in);
    return 0;
}
