/* A request's credential: src/core/oa_bearer.c, told another way */

#include <strings.h>

#include "fuzz.h"
#include "oa_bearer.h"


static int
is_token68(oa_str_t s)
{
    size_t  i, n;

    for (n = s.len; n && s.data[n - 1] == '='; n--) { /* void */ }

    for (i = 0; i < n; i++) {
        if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                   "0123456789-._~+/", s.data[i])
            == NULL || s.data[i] == '\0')
        {
            return 0;
        }
    }

    return n && s.len <= OA_BEARER_MAX;
}


static oa_str_t
trim(oa_str_t s)
{
    while (s.len && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t')) {
        s.len--;
    }

    return s;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_t    in;
    oa_rc_t   rc;
    oa_str_t  value, rest, credential;

    fuzz_start(&in, data, size);
    value = fuzz_rest(&in);
    rest = trim(value);

    rc = oa_bearer_bare(value, &credential);

    must(rc == (rest.len == 0 ? OA_DECLINED
                : is_token68(rest) ? OA_OK : OA_INVALID));
    must(rc != OA_OK || fuzz_same(credential, rest));

    rc = oa_bearer_parse(value, &credential);

    if (rest.len < 6
        || strncasecmp((const char *) rest.data, "bearer", 6) != 0)
    {
        must(rc == OA_DECLINED);

    } else if (rest.len > 6 && rest.data[6] == ' ') {
        rest.data += 6;
        rest.len -= 6;

        while (rest.len && rest.data[0] == ' ') {
            rest.data++;
            rest.len--;
        }

        must(rc == (is_token68(rest) ? OA_OK : OA_INVALID));
        must(rc != OA_OK || fuzz_same(credential, rest));

    } else {
        must(rc != OA_OK);
    }

    fuzz_end(&in);
    return 0;
}
