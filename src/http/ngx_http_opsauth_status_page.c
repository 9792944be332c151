/*
 * opsauth_status as a page for people: at the top of each store what is to be
 * seen at a glance, in words and not by colour alone; below it every row.
 *
 * No script, no image, no font: Content-Security-Policy lets nothing in but the
 * style sheet, named by its hash. Contrast is at least 4.5:1 in both schemes.
 */

#include "ngx_http_opsauth_status.h"

static void ngx_http_opsauth_page_store(ngx_http_opsauth_text_buf_t *text,
    ngx_http_opsauth_snapshot_t *store);
static void ngx_http_opsauth_page_glance(ngx_http_opsauth_text_buf_t *text,
    ngx_http_opsauth_snapshot_t *store);
static void ngx_http_opsauth_page_redis(ngx_http_opsauth_text_buf_t *text,
    ngx_http_opsauth_snapshot_t *store);
static void ngx_http_opsauth_page_feed(ngx_http_opsauth_text_buf_t *text,
    ngx_http_opsauth_snapshot_t *store);
static void ngx_http_opsauth_page_row(ngx_http_opsauth_text_buf_t *text,
    ngx_http_opsauth_snapshot_t *store, const ngx_http_opsauth_row_t *row);
static void ngx_http_opsauth_page_histogram(ngx_http_opsauth_text_buf_t *text,
    const ngx_opsauth_histogram_t *histogram);
static void ngx_http_opsauth_page_figure(ngx_http_opsauth_text_buf_t *text,
    uint64_t figure, ngx_uint_t seconds);
static void ngx_http_opsauth_page_number(ngx_http_opsauth_text_buf_t *text,
    uint64_t n);
static void ngx_http_opsauth_page_share(ngx_http_opsauth_text_buf_t *text,
    uint64_t part, uint64_t all, const char *of);
static void ngx_http_opsauth_page_time(ngx_http_opsauth_text_buf_t *text,
    uint64_t us);
static void ngx_http_opsauth_page_words(ngx_http_opsauth_text_buf_t *text,
    const char *key);
static void ngx_http_opsauth_page_date(ngx_http_opsauth_text_buf_t *text,
    uint64_t seconds);


static const char  ngx_http_opsauth_status_style[] =
    ":root{color-scheme:light dark;--back:#f2f4f7;--card:#fff;--text:#1a1d21;"
    "--soft:#535b65;--line:#c9cfd6;--link:#0b57d0;--good:#0a6b2d;"
    "--bad:#b3261e}"
    "@media(prefers-color-scheme:dark){:root{--back:#14171a;--card:#1f2327;"
    "--text:#e9ecef;--soft:#aab2bb;--line:#454c54;--link:#8ab4f8;"
    "--good:#7ddc97;--bad:#ffb4ab}}"
    "*{box-sizing:border-box}"
    "body{margin:0;padding:1.5rem 1rem;background:var(--back);"
    "color:var(--text);font:1rem/1.5 system-ui,sans-serif;"
    "overflow-wrap:anywhere}"
    "main,header{max-width:72rem;margin:0 auto}"
    "h1{margin:0;font-size:1.5rem;line-height:1.25}"
    "h2{margin:2rem 0 .75rem;font-size:1.25rem}"
    "h3{margin:0 0 .5rem;font-size:1.0625rem;text-transform:capitalize}"
    "p{margin:.25rem 0;color:var(--soft)}"
    "a{color:var(--link)}"
    "a:focus-visible{outline:3px solid var(--link);outline-offset:3px}"
    "dl{display:grid;margin:0 0 1rem;gap:.75rem;"
    "grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr))}"
    "dl div,section section{padding:.75rem 1rem;background:var(--card);"
    "border:1px solid var(--line);border-radius:.5rem}"
    "section section{margin:0 0 .75rem;break-inside:avoid}"
    "dt{color:var(--soft);font-size:.875rem}"
    "dd{margin:0;font-size:1.25rem;font-weight:600;"
    "font-variant-numeric:tabular-nums}"
    "dd span{display:block;color:var(--soft);font-size:.875rem;"
    "font-weight:400}"
    ".good{color:var(--good)}.bad{color:var(--bad)}"
    ".all{columns:24rem;column-gap:.75rem}"
    "table{width:100%;border-collapse:collapse}"
    "th,td{padding:.375rem 0;border-top:1px solid var(--line);"
    "text-align:left;vertical-align:top;font-weight:400}"
    "tr:first-child>*{border-top:0}"
    "th{padding-right:1rem}"
    "th span{display:block;color:var(--soft);font-size:.8125rem;"
    "line-height:1.35}"
    "td{width:40%;text-align:right;font-variant-numeric:tabular-nums}"
    "td span{display:block}"
    "@media(max-width:30rem){body{padding:1rem .75rem}"
    "dl{grid-template-columns:1fr 1fr}}";


void
ngx_http_opsauth_status_html(ngx_http_opsauth_text_buf_t *text,
    ngx_http_opsauth_snapshot_t *stores, ngx_uint_t n, ngx_uint_t refresh)
{
    ngx_uint_t  i;

    ngx_http_opsauth_text_add(text,
        "<!DOCTYPE html>\n"
        "<html lang=\"en\">\n"
        "<head>\n"
        "<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" "
            "content=\"width=device-width, initial-scale=1\">\n"
        "<meta name=\"robots\" content=\"noindex\">\n"
        "<title>opsauth status</title>\n<style>");
    ngx_http_opsauth_text_put(text,
                              (const u_char *) ngx_http_opsauth_status_style,
                              sizeof(ngx_http_opsauth_status_style) - 1);
    ngx_http_opsauth_text_add(text,
        "</style>\n</head>\n<body>\n<header>\n<h1>opsauth status</h1>\n<p>");

    ngx_http_opsauth_page_date(text, ngx_time());

    if (refresh) {
        ngx_http_opsauth_text_add(text, ", refreshed every %ui seconds. "
                                  "<a href=\"?refresh=0\">Stop</a></p>\n",
                                  refresh);
    } else {
        ngx_http_opsauth_text_add(text, ", not refreshed. "
                                  "<a href=\"?\">Refresh by itself</a></p>\n");
    }

    ngx_http_opsauth_text_add(text, "</header>\n<main>\n");

    for (i = 0; i < n; i++) {
        ngx_http_opsauth_page_store(text, &stores[i]);
    }

    if (n == 0) {
        ngx_http_opsauth_text_add(text, "<p>There is no store.</p>\n");
    }

    ngx_http_opsauth_text_add(text, "</main>\n</body>\n</html>\n");
}


static void
ngx_http_opsauth_page_store(ngx_http_opsauth_text_buf_t *text,
    ngx_http_opsauth_snapshot_t *store)
{
    ngx_uint_t                     i;
    const char                    *section;
    const ngx_http_opsauth_row_t  *row;

    ngx_http_opsauth_text_add(text, "<section aria-label=\"Store %V\">\n"
                              "<h2>Store %V</h2>\n<dl>\n", &store->name,
                              &store->name);
    ngx_http_opsauth_page_glance(text, store);
    ngx_http_opsauth_text_add(text, "</dl>\n<div class=\"all\">\n");

    section = "";

    for (i = 0; i < ngx_http_opsauth_nrows; i++) {
        row = &ngx_http_opsauth_rows[i];

        if (ngx_strcmp(section, row->section) != 0) {

            if (*section) {
                ngx_http_opsauth_text_add(text, "</table>\n</section>\n");
            }

            section = row->section;
            ngx_http_opsauth_text_add(text, "<section>\n<h3>%s</h3>\n"
                                      "<table aria-label=\"%s\">\n", section,
                                      section);
        }

        ngx_http_opsauth_page_row(text, store, row);
    }

    ngx_http_opsauth_text_add(text, "</table>\n</section>\n</div>\n"
                              "</section>\n");
}


static void
ngx_http_opsauth_page_glance(ngx_http_opsauth_text_buf_t *text,
    ngx_http_opsauth_snapshot_t *store)
{
    uint64_t    denied, shadow, hits, asked, *cache;
    ngx_uint_t  i;

    denied = 0;
    shadow = 0;

    for (i = OA_REASON_OK + 1; i < OA_REASON_COUNT; i++) {
        denied += store->counts.verdicts[0][i];
        shadow += store->counts.verdicts[1][i];
    }

    cache = store->counts.cache;
    hits = cache[NGX_HTTP_OPSAUTH_CACHE_HIT];
    asked = hits + cache[NGX_HTTP_OPSAUTH_CACHE_MISS]
            + cache[NGX_HTTP_OPSAUTH_CACHE_STALE];

    ngx_http_opsauth_text_add(text, "<div><dt>Allowed</dt><dd>");
    ngx_http_opsauth_page_number(text, store->allowed);
    ngx_http_opsauth_text_add(text, "</dd></div>\n"
                              "<div><dt>Turned away</dt><dd>");
    ngx_http_opsauth_page_number(text, denied);
    ngx_http_opsauth_page_share(text, denied, denied + store->allowed + shadow,
                                "of requests");

    if (shadow) {
        ngx_http_opsauth_text_add(text, "<span>");
        ngx_http_opsauth_page_number(text, shadow);
        ngx_http_opsauth_text_add(text, " more, were it no shadow</span>");
    }

    ngx_http_opsauth_text_add(text, "</dd></div>\n"
                              "<div><dt>From the cache</dt><dd>");
    ngx_http_opsauth_page_number(text, hits);
    ngx_http_opsauth_page_share(text, hits, asked, "of look-ups");
    ngx_http_opsauth_text_add(text, "</dd></div>\n"
                              "<div><dt>Cache entries</dt><dd>");
    ngx_http_opsauth_page_number(text, store->cache.table.entries);
    ngx_http_opsauth_page_share(text, store->cache.table.used,
                                store->cache.table.slots, "full");
    ngx_http_opsauth_text_add(text, "</dd></div>\n");

    ngx_http_opsauth_page_redis(text, store);
    ngx_http_opsauth_page_feed(text, store);
}


static void
ngx_http_opsauth_page_redis(ngx_http_opsauth_text_buf_t *text,
    ngx_http_opsauth_snapshot_t *store)
{
    uint64_t              count;
    ngx_uint_t            i;
    ngx_opsauth_stats_t  *redis;

    redis = &store->counts.redis;

    ngx_http_opsauth_text_add(text, "<div><dt>Redis</dt>");

    if (redis->breaker) {
        ngx_http_opsauth_text_add(text, "<dd class=\"bad\">does not answer"
                                  "<span>%uL of %uL workers have stopped "
                                  "asking</span>", redis->breaker,
                                  store->workers);

    } else if (redis->connected) {
        ngx_http_opsauth_text_add(text, "<dd class=\"good\">connected<span>"
                                  "%uL of %uL workers</span>",
                                  redis->connected, store->workers);

    } else if (redis->failures) {
        ngx_http_opsauth_text_add(text, "<dd class=\"bad\">not connected");

    } else {
        ngx_http_opsauth_text_add(text, "<dd>not asked yet");
    }

    count = 0;

    for (i = 0; i <= NGX_OPSAUTH_STATS_BOUNDS; i++) {
        count += redis->command_time.buckets[i];
    }

    if (count) {
        ngx_http_opsauth_text_add(text, "<span>answers in ");
        ngx_http_opsauth_page_time(text, redis->command_time.sum / count);
        ngx_http_opsauth_text_add(text, "</span>");
    }

    ngx_http_opsauth_text_add(text, "</dd></div>\n");
}


static void
ngx_http_opsauth_page_feed(ngx_http_opsauth_text_buf_t *text,
    ngx_http_opsauth_snapshot_t *store)
{
    ngx_str_t  mode;

    mode = ngx_http_opsauth_feed_mode_name(store);

    ngx_http_opsauth_text_add(text, "<div><dt>Feed of changes</dt>"
                              "<dd class=\"%s\">%V<span>",
                              store->covered ? "good" : "bad", &mode);

    if (store->covered) {
        ngx_http_opsauth_text_add(text, "all changes are known up to ");
        ngx_http_opsauth_page_time(text, store->coverage_age);
        ngx_http_opsauth_text_add(text, " ago");

    } else {
        ngx_http_opsauth_text_add(text, "records are good for ");
        ngx_http_opsauth_page_time(text, store->lease);
    }

    ngx_http_opsauth_text_add(text, "</span></dd></div>\n");
}


static void
ngx_http_opsauth_page_row(ngx_http_opsauth_text_buf_t *text,
    ngx_http_opsauth_snapshot_t *store, const ngx_http_opsauth_row_t *row)
{
    uint64_t    *figure;
    ngx_str_t    value;
    ngx_uint_t   i, shown;

    figure = ngx_http_opsauth_figure(store, row);

    ngx_http_opsauth_text_add(text, "<tr><th scope=\"row\">");
    ngx_http_opsauth_page_words(text, row->key);
    ngx_http_opsauth_text_add(text, "<span>%s</span></th><td>", row->help);

    if (row->type == NGX_HTTP_OPSAUTH_HISTOGRAM) {
        ngx_http_opsauth_page_histogram(text,
                                        (ngx_opsauth_histogram_t *) figure);

    } else if (row->offset == offsetof(ngx_http_opsauth_snapshot_t, since)) {
        ngx_http_opsauth_page_date(text, *figure);

    } else if (row->by == NULL) {
        ngx_http_opsauth_page_figure(text, *figure, row->seconds);

    } else {
        shown = 0;

        for (i = 0; i < row->n; i++) {
            value = row->value(i);

            if (value.len && figure[i]) {
                ngx_http_opsauth_text_add(text, "<span>%V ", &value);
                ngx_http_opsauth_page_figure(text, figure[i], row->seconds);
                ngx_http_opsauth_text_add(text, "</span>");
                shown = 1;
            }
        }

        if (!shown) {
            ngx_http_opsauth_text_add(text, "0");
        }
    }

    ngx_http_opsauth_text_add(text, "</td></tr>\n");
}


/* the bound that 99 of 100 keep says more than all buckets would */

static void
ngx_http_opsauth_page_histogram(ngx_http_opsauth_text_buf_t *text,
    const ngx_opsauth_histogram_t *histogram)
{
    uint64_t    count, below;
    ngx_uint_t  i;

    count = 0;

    for (i = 0; i <= NGX_OPSAUTH_STATS_BOUNDS; i++) {
        count += histogram->buckets[i];
    }

    if (count == 0) {
        ngx_http_opsauth_text_add(text, "0");
        return;
    }

    ngx_http_opsauth_text_add(text, "<span>");
    ngx_http_opsauth_page_number(text, count);
    ngx_http_opsauth_text_add(text, "</span><span>average ");
    ngx_http_opsauth_page_time(text, histogram->sum / count);

    below = 0;

    for (i = 0; i < NGX_OPSAUTH_STATS_BOUNDS; i++) {
        below += histogram->buckets[i];

        if (below >= count - count / 100) {
            break;
        }
    }

    ngx_http_opsauth_text_add(text, "</span><span>99%% %s ",
                              i < NGX_OPSAUTH_STATS_BOUNDS ? "within"
                                                           : "beyond");
    ngx_http_opsauth_page_time(text,
             ngx_opsauth_stats_bounds[ngx_min(i,
                                         NGX_OPSAUTH_STATS_BOUNDS - 1)]);
    ngx_http_opsauth_text_add(text, "</span>");
}


static void
ngx_http_opsauth_page_figure(ngx_http_opsauth_text_buf_t *text,
    uint64_t figure, ngx_uint_t seconds)
{
    if (figure == NGX_HTTP_OPSAUTH_NEVER) {
        ngx_http_opsauth_text_add(text, "never");

    } else if (seconds) {
        ngx_http_opsauth_page_time(text, figure);

    } else {
        ngx_http_opsauth_page_number(text, figure);
    }
}


/* 1,234,567 */

static void
ngx_http_opsauth_page_number(ngx_http_opsauth_text_buf_t *text, uint64_t n)
{
    if (n < 1000) {
        ngx_http_opsauth_text_add(text, "%uL", n);
        return;
    }

    ngx_http_opsauth_page_number(text, n / 1000);
    ngx_http_opsauth_text_add(text, ",%03uL", n % 1000);
}


static void
ngx_http_opsauth_page_share(ngx_http_opsauth_text_buf_t *text, uint64_t part,
    uint64_t all, const char *of)
{
    double  share;

    if (all) {
        share = 100.0 * (double) part / (double) all;
        ngx_http_opsauth_text_add(text, "<span>%.1f%% %s</span>", share, of);
    }
}


static void
ngx_http_opsauth_page_time(ngx_http_opsauth_text_buf_t *text, uint64_t us)
{
    if (us < 1000000) {
        ngx_http_opsauth_text_seconds(text, us * 1000);
        ngx_http_opsauth_text_add(text, "\xc2\xa0ms");

    } else {
        ngx_http_opsauth_text_seconds(text, us);
        ngx_http_opsauth_text_add(text, "\xc2\xa0s");
    }
}


static void
ngx_http_opsauth_page_words(ngx_http_opsauth_text_buf_t *text,
    const char *key)
{
    /* the unit stands with the figure */

    for ( /* void */ ; *key && ngx_strcmp(key, "_seconds") != 0; key++) {
        ngx_http_opsauth_text_put(text,
                                  (const u_char *) (*key == '_' ? " " : key),
                                  1);
    }
}


static void
ngx_http_opsauth_page_date(ngx_http_opsauth_text_buf_t *text,
    uint64_t seconds)
{
    ngx_tm_t  tm;

    ngx_gmtime((time_t) seconds, &tm);

    ngx_http_opsauth_text_add(text, "%4d-%02d-%02d %02d:%02d:%02d UTC",
                              tm.ngx_tm_year, tm.ngx_tm_mon, tm.ngx_tm_mday,
                              tm.ngx_tm_hour, tm.ngx_tm_min, tm.ngx_tm_sec);
}


ngx_int_t
ngx_http_opsauth_status_policy(ngx_http_request_t *r)
{
    return ngx_http_opsauth_add_policy(r, ngx_http_opsauth_status_style, NULL);
}
