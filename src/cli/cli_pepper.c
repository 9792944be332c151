/*
 * opsauth pepper ...: the secret under which credentials are digested. Asks
 * Redis nothing.
 */

#include "cli_file.h"
#include "cli_memory.h"
#include "cli_nouns.h"
#include "cli_output.h"
#include "cli_text.h"

#include "oa_text.h"

#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>


#define PEPPER_LEN  32


static int pepper_generate(cli_t *cli);


static const cli_option_t  generate_options[] = {
    { "rotate", 0, 0, NULL,
      "put the new one before those in FILE, which stay valid" },
    { NULL, 0, 0, NULL, NULL }
};


static const cli_verb_t  pepper_verbs[] = {
    { "generate", "[FILE]", 0, 1, "make a new pepper", generate_options,
      "Without FILE the new pepper goes to stdout; with FILE into a new file "
      "that only\nits owner may read. A file that exists is left alone, unless "
      "--rotate: then the\nnew pepper becomes the first line, in one step. "
      "Keys that were made under the\nolder ones go on working as long as "
      "these stay in the file. Reload nginx\nbefore you make keys under the "
      "new one.\n"
      "\n"
      "  opsauth pepper generate /etc/opsauth/pepper\n"
      "  opsauth pepper generate --rotate /etc/opsauth/pepper && nginx -s "
      "reload\n",
      pepper_generate },

    { NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }
};


const cli_noun_t  cli_pepper_noun = {
    "pepper", "the secret that credentials are digested with",
    pepper_verbs, NULL
};


static int
pepper_make(oa_str_t *line)
{
    char           *text;
    unsigned char   bytes[PEPPER_LEN];

    if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
        return cli_fail(CLI_FAILED, "there is no randomness to be had");
    }

    text = cli_alloc(2 * PEPPER_LEN + 1);
    oa_text_hex(bytes, sizeof(bytes), (unsigned char *) text);
    text[2 * PEPPER_LEN] = '\n';
    OPENSSL_cleanse(bytes, sizeof(bytes));

    line->data = (unsigned char *) text;
    line->len = 2 * PEPPER_LEN + 1;

    return CLI_OK;
}


static int
pepper_rotate(const char *file, oa_str_t line, size_t *n)
{
    int          rc;
    char        *all;
    oa_str_t     old, text, peppers[OA_PEPPERS_MAX];
    const char  *error;

    rc = cli_file_read(file, CLI_FILE_SECRET, "the pepper file", "FILE", &old);

    if (rc != CLI_OK) {
        return rc;
    }

    all = cli_alloc(line.len + old.len + 1);
    memcpy(all, line.data, line.len);

    if (old.len != 0) {
        memcpy(all + line.len, old.data, old.len);
    }

    text.data = (unsigned char *) all;
    text.len = line.len + old.len;

    /* an old file that the gateway refuses is not to be built upon */

    if (oa_pepper_parse(old, peppers, n, &error) != OA_OK
        || oa_pepper_parse(text, peppers, n, &error) != OA_OK)
    {
        return cli_fail(CLI_FAILED, "the pepper file %s can't take a new one: "
                        "%s", cli_quotez(file), error);
    }

    return cli_file_replace(file, text, "the pepper file");
}


static int
pepper_generate(cli_t *cli)
{
    int          rc;
    size_t       n;
    json_t      *object, *secret;
    oa_str_t     line;
    const char  *file;

    n = 1;
    file = (cli->options.nwords == 1) ? cli->options.words[0] : NULL;

    if (cli_option(&cli->options, "rotate") && file == NULL) {
        return cli_fail(CLI_USAGE, "--rotate needs the FILE to rotate");
    }

    if (file != NULL && cli_option(&cli->options, "rotate") == NULL
        && access(file, F_OK) == 0)
    {
        return cli_fail(CLI_FAILED, "the pepper file %s exists; --rotate puts "
                        "a new pepper before those in it", cli_quotez(file));
    }

    rc = pepper_make(&line);

    if (rc == CLI_OK && file != NULL) {
        rc = cli_option(&cli->options, "rotate")
             ? pepper_rotate(file, line, &n)
             : cli_file_create(file, line, "the pepper file");
    }

    if (rc != CLI_OK) {
        return rc;
    }

    line.len--;         /* the end of the line */

    if (!cli->json) {
        if (file == NULL) {
            cli_output_line(line);

        } else {
            cli_output_line(cli_str(cli_format("a new pepper written to %s, "
                                               "which holds %zu now",
                                               cli_quotez(file), n)));
        }

        return CLI_OK;
    }

    object = json_object();

    if (file != NULL) {
        json_object_set_new(object, "file", cli_json_str(cli_str(file)));
        json_object_set_new(object, "peppers", json_integer((json_int_t) n));
        cli_json_print(object);
        return CLI_OK;
    }

    secret = cli_json_str(line);
    json_object_set(object, "pepper", secret);
    cli_json_print(object);
    cli_json_wipe(secret);

    return CLI_OK;
}
