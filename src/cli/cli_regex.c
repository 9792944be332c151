/*
 * See cli_regex.h: ngx_regex_compile() and ngx_regex_exec(), each time anew,
 * since a run matches each expression once.
 */

#include "cli_regex.h"

#define PCRE2_CODE_UNIT_WIDTH  8
#include <pcre2.h>


oa_rc_t
cli_regex_match(oa_str_t pattern, int caseless, oa_str_t subject)
{
    int                rc, error;
    PCRE2_SIZE         at;
    pcre2_code        *code;
    pcre2_match_data  *match;

    code = pcre2_compile(pattern.data, pattern.len,
                         caseless ? PCRE2_CASELESS : 0, &error, &at, NULL);

    if (code == NULL) {
        return OA_INVALID;
    }

    match = pcre2_match_data_create(1, NULL);

    if (match == NULL) {
        pcre2_code_free(code);
        return OA_ERROR;
    }

    rc = pcre2_match(code, subject.data, subject.len, 0, 0, match, NULL);

    pcre2_match_data_free(match);
    pcre2_code_free(code);

    return (rc >= 0) ? OA_OK
           : (rc == PCRE2_ERROR_NOMATCH) ? OA_DECLINED : OA_ERROR;
}
