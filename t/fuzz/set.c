/* Sets of words: src/core/oa_set.c. A byte, and two lines: a set, and wishes */

#include "fuzz.h"
#include "oa_set.h"


/* the next word between blanks, by hand */

static int
next(oa_str_t text, size_t *pos, oa_str_t *word)
{
    while (*pos < text.len
           && (text.data[*pos] == ' ' || text.data[*pos] == '\t'))
    {
        (*pos)++;
    }

    word->data = text.data + *pos;

    for (word->len = 0;
         *pos < text.len
         && text.data[*pos] != ' ' && text.data[*pos] != '\t';
         (*pos)++)
    {
        word->len++;
    }

    return word->len != 0;
}


static int
has(oa_str_t set, oa_str_t word)
{
    size_t    pos;
    oa_str_t  each;

    for (pos = 0; next(set, &pos, &each); ) {
        if (fuzz_same(each, word)) {
            return 1;
        }
    }

    return 0;
}


static int
grants(oa_str_t set, oa_str_t wanted)
{
    size_t          pos;
    oa_str_t        each;
    unsigned char  *colon;

    colon = memchr(wanted.data, ':', wanted.len);

    for (pos = 0; next(set, &pos, &each); ) {
        if (fuzz_same(each, wanted) || fuzz_same(each, fuzz_text("admin"))) {
            return 1;
        }

        if (colon && colon != wanted.data
            && colon != wanted.data + wanted.len - 1
            && each.len == (size_t) (colon - wanted.data) + 2
            && each.data[each.len - 1] == '*'
            && memcmp(each.data, wanted.data, each.len - 1) == 0)
        {
            return 1;
        }
    }

    return 0;
}


static int
valid(oa_str_t text)
{
    size_t         i;
    unsigned char  c;

    for (i = 0; i < text.len; i++) {
        c = text.data[i];
        if ((c < 0x20 && c != '\t') || c > 0x7e || c == '"' || c == '\\') {
            return 0;
        }
    }

    return 1;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int             any, any_grant;
    fuzz_t          in;
    size_t          room, len, len2, pos, at;
    oa_rc_t         rc;
    uint8_t         how;
    oa_str_t        text, wanted, set, again, word, mine;
    unsigned char  *out, *out2;

    fuzz_start(&in, data, size);

    how = fuzz_byte(&in);
    text = fuzz_line(&in);
    wanted = fuzz_line(&in);

    /* any text may be asked */
    any = any_grant = 0;

    for (pos = 0; oa_set_next(wanted, &pos, &word); ) {
        must(fuzz_within(word, wanted));
        any |= oa_set_has(text, word);
        any_grant |= oa_scope_grants(text, word);
    }

    must(oa_set_has_any(text, wanted) == any);
    must(oa_scope_grants_any(text, wanted) == any_grant);

    room = (how & 1) ? how / 2 : text.len;
    out = fuzz_room(&in, room);

    rc = oa_set_pack(text, out, room, &len);

    must((rc == OA_INVALID) <= !valid(text));
    must(rc != OA_ERROR || (how & 1));

    if (rc == OA_OK) {
        must(valid(text) && len <= room);

        set.data = out;
        set.len = len;

        /* every word once, in order, and nothing else */
        for (pos = at = 0; oa_set_next(set, &pos, &word); at++) {
            must(has(text, word));
            mine.data = set.data;
            mine.len = (size_t) (word.data - set.data);
            must(!has(mine, word));
        }

        for (pos = 0; next(text, &pos, &word); ) {
            must(oa_set_has(set, word) && oa_scope_grants(set, word));
        }

        for (pos = 0; valid(wanted) && next(wanted, &pos, &word); ) {
            must(oa_set_has(set, word) == has(text, word));
            must(oa_scope_grants(set, word) == grants(text, word));
        }

        /* packed once more it stays as it is */
        again.len = len;
        again.data = fuzz_copy(&in, out, len);
        out2 = fuzz_copy(&in, out, len);

        must(oa_set_pack(again, out2, len, &len2) == OA_OK && len2 == len);
        must(len == 0 || memcmp(out2, out, len) == 0);
    }

    (void) oa_permission_scopes(text, &word);

    fuzz_end(&in);
    return 0;
}
