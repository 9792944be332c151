/*
 * opsauth_status as JSON and as Prometheus' text format 0.0.4, both made of the
 * rows. Labels need no escapes: names of stores are letters, digits and
 * "._:@-", all else is ours.
 */

#include "ngx_http_opsauth_status.h"

#include <jansson.h>


static void ngx_http_opsauth_prometheus_row(ngx_http_opsauth_text_buf_t *text,
    ngx_http_opsauth_snapshot_t *store, const ngx_http_opsauth_row_t *row);
static void ngx_http_opsauth_prometheus_histogram(
    ngx_http_opsauth_text_buf_t *text, ngx_http_opsauth_snapshot_t *store,
    const ngx_http_opsauth_row_t *row);
static json_t *ngx_http_opsauth_json_store(
    ngx_http_opsauth_snapshot_t *store);
static json_t *ngx_http_opsauth_json_row(ngx_http_opsauth_snapshot_t *store,
    const ngx_http_opsauth_row_t *row);
static json_t *ngx_http_opsauth_json_histogram(
    const ngx_opsauth_histogram_t *histogram);
static json_t *ngx_http_opsauth_json_figure(uint64_t figure,
    ngx_uint_t seconds);
static int ngx_http_opsauth_json_piece(const char *buffer, size_t size,
    void *data);


static const char *const  ngx_http_opsauth_types[] = {
    "counter", "gauge", "histogram"
};


void
ngx_http_opsauth_text_seconds(ngx_http_opsauth_text_buf_t *text, uint64_t us)
{
    u_char  *p;

    ngx_http_opsauth_text_add(text, "%uL.%06uL", us / 1000000, us % 1000000);

    if (text->failed) {
        return;
    }

    /* 0.250000 is 0.25 */

    for (p = text->last; p[-1] == '0'; p--) { /* void */ }

    text->last = (p[-1] == '.') ? p - 1 : p;
}


/* all lines of a name stand together, those of all stores and all rows */

void
ngx_http_opsauth_status_prometheus(ngx_http_opsauth_text_buf_t *text,
    ngx_http_opsauth_snapshot_t *stores, ngx_uint_t n)
{
    ngx_uint_t                     i, j, s;
    const ngx_http_opsauth_row_t  *row;

    for (i = 0; i < ngx_http_opsauth_nrows; i = j) {
        row = &ngx_http_opsauth_rows[i];

        ngx_http_opsauth_text_add(text, "# HELP %s %s\n# TYPE %s %s\n",
                                  row->name, row->help, row->name,
                                  ngx_http_opsauth_types[row->type]);

        for (j = i; j < ngx_http_opsauth_nrows; j++) {
            if (ngx_strcmp(ngx_http_opsauth_rows[j].name, row->name) != 0) {
                break;
            }

            for (s = 0; s < n; s++) {
                ngx_http_opsauth_prometheus_row(text, &stores[s],
                                                &ngx_http_opsauth_rows[j]);
            }
        }
    }
}


static void
ngx_http_opsauth_prometheus_row(ngx_http_opsauth_text_buf_t *text,
    ngx_http_opsauth_snapshot_t *store, const ngx_http_opsauth_row_t *row)
{
    uint64_t    *figure;
    ngx_str_t    value;
    ngx_uint_t   i;

    if (row->type == NGX_HTTP_OPSAUTH_HISTOGRAM) {
        ngx_http_opsauth_prometheus_histogram(text, store, row);
        return;
    }

    figure = ngx_http_opsauth_figure(store, row);

    for (i = 0; i < row->n; i++) {

        ngx_str_null(&value);

        if (row->by) {
            value = row->value(i);

            if (value.len == 0) {
                continue;
            }
        }

        ngx_http_opsauth_text_add(text, "%s{store=\"%V\"%s%s", row->name,
                                  &store->name, row->labels ? "," : "",
                                  row->labels ? row->labels : "");

        if (row->by) {
            ngx_http_opsauth_text_add(text, ",%s=\"%V\"", row->by, &value);
        }

        ngx_http_opsauth_text_add(text, "} ");

        if (figure[i] == NGX_HTTP_OPSAUTH_NEVER) {
            ngx_http_opsauth_text_add(text, "NaN");

        } else if (row->seconds) {
            ngx_http_opsauth_text_seconds(text, figure[i]);

        } else {
            ngx_http_opsauth_text_add(text, "%uL", figure[i]);
        }

        ngx_http_opsauth_text_add(text, "\n");
    }
}


static void
ngx_http_opsauth_prometheus_histogram(ngx_http_opsauth_text_buf_t *text,
    ngx_http_opsauth_snapshot_t *store, const ngx_http_opsauth_row_t *row)
{
    uint64_t                  count;
    ngx_uint_t                i;
    ngx_opsauth_histogram_t  *histogram;

    histogram = (ngx_opsauth_histogram_t *) ngx_http_opsauth_figure(store,
                                                                    row);
    count = 0;

    for (i = 0; i <= NGX_OPSAUTH_STATS_BOUNDS; i++) {
        count += histogram->buckets[i];

        ngx_http_opsauth_text_add(text, "%s_bucket{store=\"%V\",le=\"",
                                  row->name, &store->name);

        if (i < NGX_OPSAUTH_STATS_BOUNDS) {
            ngx_http_opsauth_text_seconds(text, ngx_opsauth_stats_bounds[i]);

        } else {
            ngx_http_opsauth_text_add(text, "+Inf");
        }

        ngx_http_opsauth_text_add(text, "\"} %uL\n", count);
    }

    ngx_http_opsauth_text_add(text, "%s_sum{store=\"%V\"} ", row->name,
                              &store->name);
    ngx_http_opsauth_text_seconds(text, histogram->sum);
    ngx_http_opsauth_text_add(text, "\n%s_count{store=\"%V\"} %uL\n",
                              row->name, &store->name, count);
}


void
ngx_http_opsauth_status_json(ngx_http_opsauth_text_buf_t *text,
    ngx_http_opsauth_snapshot_t *stores, ngx_uint_t n)
{
    json_t      *root, *all;
    ngx_uint_t   s;

    root = json_object();
    all = json_object();

    if (json_object_set_new(root, "time", json_integer(ngx_time())) != 0) {
        text->failed = 1;
    }

    for (s = 0; s < n; s++) {
        if (json_object_setn_new(all, (char *) stores[s].name.data,
                                 stores[s].name.len,
                                 ngx_http_opsauth_json_store(&stores[s]))
            != 0)
        {
            text->failed = 1;
        }
    }

    if (json_object_set_new(root, "stores", all) != 0
        || json_dump_callback(root, ngx_http_opsauth_json_piece, text,
                              JSON_INDENT(2)|JSON_REAL_PRECISION(9))
           != 0)
    {
        text->failed = 1;
    }

    json_decref(root);

    ngx_http_opsauth_text_add(text, "\n");
}


static json_t *
ngx_http_opsauth_json_store(ngx_http_opsauth_snapshot_t *store)
{
    int                            rc;
    json_t                        *all, *section;
    ngx_str_t                      mode;
    ngx_uint_t                     i;
    const ngx_http_opsauth_row_t  *row;

    all = json_object();
    rc = 0;

    for (i = 0; i < ngx_http_opsauth_nrows; i++) {
        row = &ngx_http_opsauth_rows[i];

        section = json_object_get(all, row->section);

        if (section == NULL) {
            section = json_object();
            rc |= json_object_set_new(all, row->section, section);
        }

        rc |= json_object_set_new(section, row->key,
                                  ngx_http_opsauth_json_row(store, row));
    }

    mode = ngx_http_opsauth_feed_mode_name(store);

    rc |= json_object_set_new(json_object_get(all, "feed"), "mode",
                              json_stringn((char *) mode.data, mode.len));

    if (rc != 0) {
        json_decref(all);
        return NULL;
    }

    return all;
}


static json_t *
ngx_http_opsauth_json_row(ngx_http_opsauth_snapshot_t *store,
    const ngx_http_opsauth_row_t *row)
{
    json_t      *object;
    uint64_t    *figure;
    ngx_str_t    value;
    ngx_uint_t   i;

    figure = ngx_http_opsauth_figure(store, row);

    if (row->type == NGX_HTTP_OPSAUTH_HISTOGRAM) {
        return ngx_http_opsauth_json_histogram(
                                     (ngx_opsauth_histogram_t *) figure);
    }

    if (row->by == NULL) {
        return ngx_http_opsauth_json_figure(*figure, row->seconds);
    }

    object = json_object();

    for (i = 0; i < row->n; i++) {
        value = row->value(i);

        if (value.len
            && json_object_setn_new(object, (char *) value.data, value.len,
                          ngx_http_opsauth_json_figure(figure[i],
                                                       row->seconds))
               != 0)
        {
            json_decref(object);
            return NULL;
        }
    }

    return object;
}


/* cumulative, as Prometheus has them */

static json_t *
ngx_http_opsauth_json_histogram(const ngx_opsauth_histogram_t *histogram)
{
    u_char       name[NGX_INT64_LEN + 1];
    json_t      *buckets;
    uint64_t     count;
    ngx_uint_t   i;

    buckets = json_object();
    count = 0;

    for (i = 0; i <= NGX_OPSAUTH_STATS_BOUNDS; i++) {
        count += histogram->buckets[i];

        if (i < NGX_OPSAUTH_STATS_BOUNDS) {
            (void) ngx_sprintf(name, "%uD.%06uD%Z",
                               ngx_opsauth_stats_bounds[i] / 1000000,
                               ngx_opsauth_stats_bounds[i] % 1000000);
        } else {
            (void) ngx_sprintf(name, "+Inf%Z");
        }

        if (json_object_set_new(buckets, (char *) name, json_integer(count))
            != 0)
        {
            json_decref(buckets);
            return NULL;
        }
    }

    return json_pack("{s:I, s:o, s:o}", "count", (json_int_t) count,
                     "sum", ngx_http_opsauth_json_figure(histogram->sum, 1),
                     "buckets", buckets);
}


static json_t *
ngx_http_opsauth_json_figure(uint64_t figure, ngx_uint_t seconds)
{
    if (figure == NGX_HTTP_OPSAUTH_NEVER) {
        return json_null();
    }

    return seconds ? json_real((double) figure / 1000000)
                   : json_integer((json_int_t) figure);
}


static int
ngx_http_opsauth_json_piece(const char *buffer, size_t size, void *data)
{
    ngx_http_opsauth_text_buf_t *text = data;

    ngx_http_opsauth_text_put(text, (const u_char *) buffer, size);

    return text->failed ? -1 : 0;
}
