/* Forms and escapes: src/core/oa_form.c */

#include "fuzz.h"
#include "oa_form.h"
#include "oa_text.h"


/* written again and read again, a form is the same */

static void
again(fuzz_t *in, const oa_form_t *form)
{
    size_t          i, len, n;
    oa_form_t       twin;
    const char     *error;
    unsigned char  *text, *p;

    len = 0;

    for (i = 0; i < form->n; i++) {
        len += oa_form_escape(form->fields[i].name, NULL)
               + oa_form_escape(form->fields[i].value, NULL) + 1 + (i != 0);
    }

    text = p = fuzz_room(in, len);

    for (i = 0; i < form->n; i++) {
        if (i) {
            *p++ = '&';
        }

        n = oa_form_escape(form->fields[i].name, p);
        must(n == oa_form_escape(form->fields[i].name, NULL));
        p += n;
        *p++ = '=';
        p += oa_form_escape(form->fields[i].value, p);
    }

    must(p == text + len);
    must(oa_form_parse(text, len, &twin, &error) == OA_OK);
    must(twin.n == form->n);

    for (i = 0; i < form->n; i++) {
        must(fuzz_same(twin.fields[i].name, form->fields[i].name));
        must(fuzz_same(twin.fields[i].value, form->fields[i].value));
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_t           in;
    size_t           i, k, n;
    oa_rc_t          rc;
    oa_str_t         text, escaped;
    oa_form_t        form;
    const char      *error;
    unsigned char   *room;

    fuzz_start(&in, data, size);
    text = fuzz_rest(&in);

    room = fuzz_copy(&in, text.data, text.len);
    error = NULL;
    rc = oa_form_parse(room, text.len, &form, &error);

    must((rc == OA_OK) == (error == NULL));

    if (rc == OA_OK) {
        must(form.n <= OA_FORM_MAX);

        for (i = 0; i < form.n; i++) {
            must(fuzz_within(form.fields[i].name,
                             (oa_str_t) { text.len, room }));
            must(fuzz_within(form.fields[i].value,
                             (oa_str_t) { text.len, room }));
            must(form.fields[i].name.len && form.fields[i].value.len);
            must(oa_text_is_utf8(form.fields[i].value));
            must(memchr(form.fields[i].value.data, '\0',
                        form.fields[i].value.len) == NULL);

            for (k = 0; k < i; k++) {
                must(!fuzz_same(form.fields[i].name, form.fields[k].name));
            }
        }

        must(oa_form_get(&form, "no such name \n").data == NULL);
        again(&in, &form);
    }

    /* what is escaped is itself once unescaped */

    n = oa_form_escape(text, NULL);
    room = fuzz_room(&in, n);
    must(oa_form_escape(text, room) == n);
    must(oa_form_unescape(room, &n) == OA_OK);
    must(fuzz_same(text, (oa_str_t) { n, room }));

    /* and nothing that would end a text or an attribute is left in HTML */

    n = oa_html_escape(text, NULL);
    room = fuzz_room(&in, n);
    must(oa_html_escape(text, room) == n);

    escaped = (oa_str_t) { n, room };

    for (i = 0; i < escaped.len; i++) {
        must(strchr("<>\"'", escaped.data[i]) == NULL
             || escaped.data[i] == '\0');
    }

    fuzz_end(&in);
    return 0;
}
