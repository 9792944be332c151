/* Tickets against forged forms: src/core/oa_ticket.c */

#include "oa_ticket.h"
#include "tap.h"


#define NOW  1700000000

static oa_str_t
str(const char *s)
{
    return (oa_str_t) { s ? strlen(s) : 0, (const unsigned char *) s };
}


static oa_rc_t
check(const char *pepper, const oa_str_t *fields, size_t n, int64_t now,
    const void *ticket, size_t len)
{
    oa_rc_t         rc;
    oa_str_t        peppers[2], text;

    peppers[0] = str("another pepper, newer");
    peppers[1] = str(pepper);

    text.len = len;
    text.data = tap_copy(ticket, len);

    rc = oa_ticket_check(peppers, 2, fields, n, now, 600, text);

    free((void *) text.data);

    return rc;
}


int
main(void)
{
    size_t         i, len, other_len, bad;
    oa_str_t       fields[3], moved[3];
    unsigned char  ticket[OA_TICKET_MAX], other[OA_TICKET_MAX], kept;

    static const char  pepper[] = "0123456789abcdef0123456789abcdef";

    fields[0] = str("alice");
    fields[1] = str("");
    fields[2] = str("client_1");

    is_int(oa_ticket_make(str(pepper), fields, 3, NOW, ticket, &len), OA_OK,
           "made");
    is_int(len, 10 + 1 + 43, "its length");
    ok(memcmp(ticket, "1700000000.", 11) == 0, "it says when");

    ok(memchr(ticket + 11, '=', 43) == NULL, "base64url without padding");

    is_int(check(pepper, fields, 3, NOW, ticket, len), OA_OK, "at once");
    is_int(check(pepper, fields, 3, NOW + 600, ticket, len), OA_OK,
           "in the last second");
    is_int(check(pepper, fields, 3, NOW + 601, ticket, len), OA_DECLINED,
           "expired");
    is_int(check(pepper, fields, 3, NOW - 60, ticket, len), OA_OK,
           "a clock that is a little ahead");
    is_int(check(pepper, fields, 3, NOW - 61, ticket, len), OA_INVALID,
           "from the future");
    is_int(check(pepper, fields, 3, INT64_MAX, ticket, len), OA_DECLINED,
           "at the end of time");
    is_int(check("0123456789abcdef0123456789abcdee", fields, 3, NOW, ticket,
                 len),
           OA_INVALID, "another pepper");
    is_int(check(pepper, fields, 2, NOW, ticket, len), OA_INVALID,
           "a field less");

    fields[1] = (oa_str_t) oa_null;
    is_int(check(pepper, fields, 3, NOW, ticket, len), OA_OK,
           "absent is empty");

    /* the same bytes, with other borders */

    moved[0] = str("alic");
    moved[1] = str("e");
    moved[2] = str("client_1");
    is_int(check(pepper, moved, 3, NOW, ticket, len), OA_INVALID,
           "a border moved");

    moved[0] = str("alice");
    moved[1] = str("client_1");
    moved[2] = str("");
    is_int(check(pepper, moved, 3, NOW, ticket, len), OA_INVALID,
           "fields in another order");

    bad = 0;

    for (i = 0; i < len; i++) {
        kept = ticket[i];
        ticket[i] = (unsigned char) (kept == '1' ? '2' : '1');
        bad += check(pepper, fields, 3, NOW, ticket, len) != OA_INVALID;
        ticket[i] = kept;
    }

    is_int(bad, 0, "every character changed, one by one");

    bad = 0;

    for (i = 0; i < len; i++) {
        bad += check(pepper, fields, 3, NOW, ticket, i) != OA_INVALID;
    }

    is_int(bad, 0, "cut short anywhere");
    is_int(check(pepper, fields, 3, NOW, "", 0), OA_INVALID, "empty");
    is_int(oa_ticket_check(NULL, 0, fields, 3, NOW, 600,
                           (oa_str_t) { len, ticket }),
           OA_INVALID, "no pepper");

    /* the time is part of what is signed */

    memcpy(other, ticket, len);
    memcpy(other, "1700000300", 10);
    is_int(check(pepper, fields, 3, NOW, other, len), OA_INVALID,
           "a later time put in front");
    memcpy(other, "01700000000", 11);
    memcpy(other + 11, ticket + 10, len - 10);
    is_int(check(pepper, fields, 3, NOW, other, len + 1), OA_OK,
           "a leading zero is the same number");

    is_int(oa_ticket_make(str(pepper), fields, 3, 0, other, &other_len), OA_OK,
           "at the epoch");
    is_int(check(pepper, fields, 3, 0, other, other_len), OA_OK,
           "at the epoch: checked");
    is_int(oa_ticket_make(str(pepper), fields, 3, INT64_MAX, other,
                          &other_len),
           OA_OK, "the largest time");
    is_int(other_len, 19 + 1 + 43, "the largest time: length");
    is_int(oa_ticket_make(str(pepper), fields, 3, -1, other, &other_len),
           OA_INVALID, "a negative time");

    return done_testing();
}
