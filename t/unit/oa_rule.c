/* Rules as text: src/core/oa_rule.c */

#include "oa_rule.h"
#include "tap.h"


static oa_str_t
str(const char *s)
{
    return (oa_str_t) { strlen(s), (const unsigned char *) s };
}


static void
param(const char *text, oa_param_t wanted, const char *value)
{
    oa_str_t  got;

    got = str("");

    is_int(oa_rule_param(str(text), &got), wanted, "parameter \"%s\"", text);
    is_str(got.data, got.len, value, "parameter \"%s\": value", text);
}


static void
methods(const char *text, uint32_t wanted, const char *bad)
{
    oa_rc_t   rc;
    oa_str_t  at;
    uint32_t  mask;

    rc = oa_rule_methods(str(text), &mask, &at);

    is_int(rc, bad ? OA_INVALID : OA_OK, "methods \"%s\"", text);

    if (bad) {
        is_str(at.data, at.len, bad, "methods \"%s\": at fault", text);

    } else {
        is_int(mask, wanted, "methods \"%s\": mask", text);
    }
}


static void
words(const char *text, const char *wanted)
{
    oa_rc_t        rc;
    oa_str_t       set;
    unsigned char  room[128];

    rc = oa_rule_words(str(text), room, &set);

    is_int(rc, wanted ? OA_OK : OA_INVALID, "words \"%s\"", text);

    if (wanted) {
        is_str(set.data, set.len, wanted, "words \"%s\": set", text);
    }
}


static void
uri(const char *text, const char *wanted, int wanted_caseless)
{
    int       caseless;
    oa_rc_t   rc;
    oa_str_t  pattern;

    rc = oa_rule_uri(str(text), &pattern, &caseless);

    is_int(rc, wanted ? OA_OK : OA_INVALID, "uri \"%s\"", text);

    if (wanted) {
        is_str(pattern.data, pattern.len, wanted, "uri \"%s\": regex", text);
        is_int(caseless, wanted_caseless, "uri \"%s\": case", text);
    }
}


int
main(void)
{
    param("scope=a|b", OA_PARAM_SCOPE, "a|b");
    param("role=", OA_PARAM_ROLE, "");
    param("method=GET", OA_PARAM_METHOD, "GET");
    param("uri=~^/x=y", OA_PARAM_URI, "~^/x=y");
    param("scope", OA_PARAM_UNKNOWN, "");
    param("scopes=a", OA_PARAM_UNKNOWN, "");
    param("Scope=a", OA_PARAM_UNKNOWN, "");
    param("", OA_PARAM_UNKNOWN, "");

    methods("GET", OA_METHOD_GET, NULL);
    methods("GET,HEAD|DELETE", OA_METHOD_GET|OA_METHOD_HEAD|OA_METHOD_DELETE,
            NULL);
    methods("PROPFIND,PROPPATCH", OA_METHOD_PROPFIND|OA_METHOD_PROPPATCH,
            NULL);
    methods("TRACE,GET,GET", OA_METHOD_TRACE|OA_METHOD_GET, NULL);
    methods("", 0, "");
    methods("GET,", 0, "");
    methods(",GET", 0, "");
    methods("GET,get", 0, "get");
    methods("GE", 0, "GE");
    methods("GETS", 0, "GETS");
    is_int(oa_method(str("PURGE")), 0, "a method that rules can't name");

    words("a", "a");
    words("read:a|write:b,c", "read:a write:b c");
    words("a|a", "a");
    words("", NULL);
    words("|a", NULL);
    words("a|", NULL);
    words("a||b", NULL);
    words("a b", NULL);
    words("a\tb", NULL);
    words("a\"", NULL);
    words("caf\xc3\xa9", NULL);

    uri("~^/v1", "^/v1", 0);
    uri("~*^/v1", "^/v1", 1);
    uri("~*", "", 1);
    uri("~", NULL, 0);
    uri("", NULL, 0);
    uri("^/v1", NULL, 0);

    return done_testing();
}
