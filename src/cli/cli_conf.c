/*
 * Follows ngx_conf_read_token() of nginx: quotes count only at the start of a
 * word, a word ends at a blank, ";" or "{", "${name}" opens no block, a
 * backslash keeps the next character. Includes nest at most CLI_CONF_DEPTH
 * deep, which ends a circle too. The body of a *_by_lua_block is passed over.
 */

#include "cli.h"
#include "cli_conf.h"
#include "cli_file.h"
#include "cli_lua.h"
#include "cli_memory.h"
#include "cli_text.h"

#include <glob.h>
#include <string.h>


#define CLI_CONF_DEPTH  16


typedef struct {
    const char          *conf;          /* the first file */
    cli_conf_handler_t   handler;
    void                *data;
    unsigned             includes;      /* how deep we are */
} conf_t;


typedef struct {
    conf_t              *conf;
    const char          *file;
    const unsigned char *p;
    const unsigned char *end;
    unsigned             line;
    unsigned             blocks;        /* open in this file */
    char               **words;
    size_t               n;
    size_t               room;
} reader_t;


static int conf_file(conf_t *conf, const char *path, const char *from);


static int
conf_error(const reader_t *r, const char *what)
{
    return cli_fail(CLI_FAILED, "%s in %s:%u", what, r->file, r->line);
}


static int
is_blank(unsigned char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}


static void
skip_blanks(reader_t *r)
{
    while (r->p < r->end) {

        if (*r->p == '#') {
            while (r->p < r->end && *r->p != '\n') {
                r->p++;
            }
            continue;
        }

        if (!is_blank(*r->p)) {
            return;
        }

        r->line += (*r->p == '\n');
        r->p++;
    }
}


static void
word_add(reader_t *r, const unsigned char *start, size_t len)
{
    char    *word, *w;
    size_t   i;

    if (r->n == r->room) {
        r->words = cli_grow(r->words, r->n * sizeof(char *),
                            (r->room * 2 + 8) * sizeof(char *));
        r->room = r->room * 2 + 8;
    }

    w = word = cli_alloc(len + 1);

    for (i = 0; i < len; i++) {

        if (start[i] == '\\' && i + 1 < len) {
            switch (start[i + 1]) {
            case '"': case '\'': case '\\':
                *w++ = (char) start[++i];
                continue;
            case 't':
                *w++ = '\t'; i++;
                continue;
            case 'r':
                *w++ = '\r'; i++;
                continue;
            case 'n':
                *w++ = '\n'; i++;
                continue;
            }
        }

        *w++ = (char) start[i];
    }

    r->words[r->n++] = word;
}


static int
read_quoted(reader_t *r)
{
    unsigned char         quote;
    const unsigned char  *start;

    quote = *r->p++;
    start = r->p;

    while (r->p < r->end && *r->p != quote) {
        r->line += (*r->p == '\n');

        if (*r->p == '\\' && r->p + 1 < r->end) {
            r->p++;
        }

        r->p++;
    }

    if (r->p >= r->end) {
        return conf_error(r, "a quote is not closed");
    }

    word_add(r, start, (size_t) (r->p - start));
    r->p++;

    if (r->p < r->end && !is_blank(*r->p) && *r->p != ';' && *r->p != '{'
        && *r->p != ')')
    {
        return conf_error(r, "a blank is missing behind a closing quote");
    }

    return CLI_OK;
}


static void
read_plain(reader_t *r)
{
    const unsigned char  *start;

    start = r->p;

    while (r->p < r->end && !is_blank(*r->p) && *r->p != ';') {

        if (*r->p == '{' && (r->p == start || r->p[-1] != '$')) {
            break;
        }

        if (*r->p == '\\' && r->p + 1 < r->end) {
            r->p++;
            r->line += (*r->p == '\n');
        }

        r->p++;
    }

    word_add(r, start, (size_t) (r->p - start));
}


/* up to ";", "{" or "}"; item->what is 0 at the end of the file */
static int
read_item(reader_t *r, cli_conf_item_t *item)
{
    int  rc;

    /* a fresh list each time: a listener may keep the words */
    r->words = NULL;
    r->n = 0;
    r->room = 0;

    memset(item, 0, sizeof(*item));
    item->file = r->file;

    for ( ;; ) {
        skip_blanks(r);

        if (r->p == r->end) {
            return (r->n == 0) ? CLI_OK
                               : conf_error(r, "the file ends before \";\"");
        }

        if (*r->p == ';' || *r->p == '{') {
            if (r->n == 0) {
                return conf_error(r, "a directive is missing");
            }

            item->what = (*r->p == ';') ? CLI_CONF_DIRECTIVE : CLI_CONF_OPEN;
            break;
        }

        if (*r->p == '}') {
            if (r->n != 0) {
                return conf_error(r, "\";\" is missing before \"}\"");
            }

            item->what = CLI_CONF_CLOSE;
            break;
        }

        if (*r->p == '"' || *r->p == '\'') {
            rc = read_quoted(r);

            if (rc != CLI_OK) {
                return rc;
            }

        } else {
            read_plain(r);
        }
    }

    r->p++;
    item->line = r->line;
    item->words = r->words;
    item->n = r->n;

    return CLI_OK;
}


/* to the brace that ends it; lines are counted */
static int
skip_lua(reader_t *r)
{
    const unsigned char  *end;

    end = r->p + cli_lua_length(r->p, (size_t) (r->end - r->p));

    if (end == r->end) {
        return conf_error(r, "the Lua block that begins here is not closed,");
    }

    for ( /* void */ ; r->p < end; r->p++) {
        r->line += (*r->p == '\n');
    }

    return CLI_OK;
}


static int
conf_include(conf_t *conf, const cli_conf_item_t *item)
{
    int     rc;
    char   *path, *from;
    glob_t  found;
    size_t  i;

    from = cli_format("included in %s:%u", item->file, item->line);

    if (item->n != 2) {
        return cli_fail(CLI_FAILED, "include takes one file in %s:%u",
                        item->file, item->line);
    }

    if (conf->includes == CLI_CONF_DEPTH) {
        return cli_fail(CLI_FAILED, "includes nest too deep in %s:%u",
                        item->file, item->line);
    }

    path = cli_conf_path(conf->conf, item->words[1]);

    if (strpbrk(path, "*?[") == NULL) {
        conf->includes++;
        rc = conf_file(conf, path, from);
        conf->includes--;
        return rc;
    }

    /* as for nginx, a pattern that matches nothing is fine */
    switch (glob(path, 0, NULL, &found)) {
    case 0:
        break;
    case GLOB_NOMATCH:
        return CLI_OK;
    default:
        return cli_fail(CLI_FAILED, "%s (%s) can't be searched",
                        cli_quotez(path), from);
    }

    rc = CLI_OK;
    conf->includes++;

    for (i = 0; i < found.gl_pathc && rc == CLI_OK; i++) {
        rc = conf_file(conf, cli_copy(found.gl_pathv[i],
                                      strlen(found.gl_pathv[i])), from);
    }

    conf->includes--;
    globfree(&found);

    return rc;
}


static int
conf_file(conf_t *conf, const char *path, const char *from)
{
    int              rc;
    oa_str_t         text;
    reader_t         r;
    cli_conf_item_t  item;

    rc = cli_file_read(path, 0, "the configuration", from, &text);

    if (rc != CLI_OK) {
        return rc;
    }

    memset(&r, 0, sizeof(r));
    r.conf = conf;
    r.file = path;
    r.p = text.data;
    r.end = text.data + text.len;
    r.line = 1;

    for ( ;; ) {
        rc = read_item(&r, &item);

        if (rc != CLI_OK) {
            return rc;
        }

        if (item.what == 0) {
            return (r.blocks == 0) ? CLI_OK
                                   : conf_error(&r, "\"}\" is missing");
        }

        if (item.what == CLI_CONF_OPEN) {
            r.blocks++;

        } else if (item.what == CLI_CONF_CLOSE && r.blocks-- == 0) {
            return conf_error(&r, "unexpected \"}\"");
        }

        rc = (item.what == CLI_CONF_DIRECTIVE
              && strcmp(item.words[0], "include") == 0)
             ? conf_include(conf, &item)
             : conf->handler(conf->data, &item);

        if (rc == CLI_OK && item.what == CLI_CONF_OPEN
            && cli_lua_is_block(item.words[0]))
        {
            rc = skip_lua(&r);
        }

        if (rc != CLI_OK) {
            return rc;
        }
    }
}


int
cli_conf_parse(const char *path, const char *from, cli_conf_handler_t handler,
    void *data)
{
    conf_t  conf;

    conf.conf = path;
    conf.handler = handler;
    conf.data = data;
    conf.includes = 0;

    return conf_file(&conf, path, from);
}


char *
cli_conf_path(const char *conf, const char *name)
{
    const char  *slash;

    slash = strrchr(conf, '/');

    if (name[0] == '/' || slash == NULL) {
        return cli_copy(name, strlen(name));
    }

    return cli_format("%.*s/%s", (int) (slash - conf), conf, name);
}
