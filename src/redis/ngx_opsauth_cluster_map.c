/*
 * Where slots are: some node is asked, on a connection of its own that is made
 * for that and closed again, since the answer may be larger than any record.
 *
 * | state   | event                               | action            | next
 * |---------|-------------------------------------|-------------------|--------
 * | idle    | somebody wants to know              | in a second after | waiting
 * |         |                                     | the last time     |
 * | waiting | the timer                           | connect to a node | asking
 * | asking  | connected                           | CLUSTER INFO,     | asking
 * |         |                                     | CLUSTER SLOTS     |
 * |         | it tells                            | learn, close      | idle
 * |         | it tells of the past, an error,     | close             | waiting,
 * |         | silent for too long, lost           |                   | for the
 * |         |                                     |                   | next one
 * |         | that was the last one               | log, close        | idle
 *
 * Whoever can't use what is known asks again, so that idle is no end. Each time
 * it is another node that is asked: one that is cut off from the others is not
 * believed for long. It is asked for its epoch, too: a primary that was frozen
 * and replaced has the old map when it thaws, and does not know better.
 */

#include "ngx_opsauth_cluster_conn.h"


#define NGX_OPSAUTH_CLUSTER_MAP_AGE       1000
/* three replicas a range, and a range for every few slots */
#define NGX_OPSAUTH_CLUSTER_MAP_ELEMENTS  65536
#define NGX_OPSAUTH_CLUSTER_MAP_BYTES     (2 * 1024 * 1024)
#define NGX_OPSAUTH_CLUSTER_MAP_NAMES     16


typedef struct {
    ngx_str_t                    host;          /* the reply's */
    int64_t                      port;
    ngx_uint_t                   cell;
} ngx_opsauth_cluster_map_name_t;


struct ngx_opsauth_cluster_map_s {
    ngx_opsauth_link_t           link;
    ngx_opsauth_cluster_t       *cluster;
    ngx_opsauth_cluster_node_t  *node;          /* that is asked */
    ngx_opsauth_redis_conf_t     conf;          /* of nobody in particular */
    ngx_buf_t                    out;
    ngx_event_t                  timer;
    ngx_msec_t                   asked_at;
    ngx_uint_t                   turn;
    ngx_uint_t                   tried;         /* in this round */
    ngx_uint_t                   replies;       /* to come */
    uint64_t                     epoch;
    u_char                      *owners;
    ngx_opsauth_cluster_map_name_t  known[NGX_OPSAUTH_CLUSTER_MAP_NAMES];
    ngx_uint_t                   nknown;        /* of one reply */
    u_char                       why[256];      /* the last one is no help */

    unsigned                     ever:1;        /* asked_at is set */
    unsigned                     wanted:1;
    unsigned                     trouble:1;     /* as last logged */
    unsigned                     quit:1;
};


static void ngx_opsauth_cluster_map_timer_handler(ngx_event_t *ev);
static void ngx_opsauth_cluster_map_begin(ngx_opsauth_cluster_map_t *map);
static ngx_opsauth_cluster_node_t *ngx_opsauth_cluster_map_candidate(
    ngx_opsauth_cluster_map_t *map, ngx_uint_t *n);
static ngx_int_t ngx_opsauth_cluster_map_greet(ngx_opsauth_link_t *link);
static void ngx_opsauth_cluster_map_ready(ngx_opsauth_link_t *link);
static void ngx_opsauth_cluster_map_reply(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply);
static void ngx_opsauth_cluster_map_info(ngx_opsauth_cluster_map_t *map,
    ngx_opsauth_reply_t *reply);
static void ngx_opsauth_cluster_map_slots(ngx_opsauth_cluster_map_t *map,
    ngx_opsauth_reply_t *reply);
static ngx_uint_t ngx_opsauth_cluster_map_range(
    ngx_opsauth_cluster_map_t *map, ngx_opsauth_reply_t *range);
static ngx_uint_t ngx_opsauth_cluster_map_cell(ngx_opsauth_cluster_map_t *map,
    ngx_opsauth_reply_t *node);
static void ngx_opsauth_cluster_map_refused(ngx_opsauth_cluster_map_t *map,
    ngx_opsauth_reply_t *reply);
static void ngx_opsauth_cluster_map_over(ngx_opsauth_cluster_map_t *map);
static void ngx_opsauth_cluster_map_write(ngx_opsauth_link_t *link);
static void ngx_opsauth_cluster_map_nothing(ngx_opsauth_link_t *link);
static void ngx_opsauth_cluster_map_fail(ngx_opsauth_link_t *link,
    ngx_opsauth_redis_error_e error, ngx_err_t err, const char *why);
static void ngx_opsauth_cluster_map_quit(ngx_opsauth_link_t *link);
static void ngx_opsauth_cluster_map_close(ngx_opsauth_cluster_map_t *map);
static void ngx_opsauth_cluster_map_free(ngx_opsauth_link_t *link);


static const ngx_opsauth_link_kind_t  ngx_opsauth_cluster_map_kind = {
    .title = "cluster of redis",
    .suffix = "-slots",
    .action = "asking where slots are",
    .level = NGX_LOG_ERR,
    .idle = 1,
    .skip = 1,
    .max_elements = NGX_OPSAUTH_CLUSTER_MAP_ELEMENTS,
    .max_bytes = NGX_OPSAUTH_CLUSTER_MAP_BYTES,
    .greet = ngx_opsauth_cluster_map_greet,
    .ready = ngx_opsauth_cluster_map_ready,
    .reply = ngx_opsauth_cluster_map_reply,
    .write = ngx_opsauth_cluster_map_write,
    .heard = ngx_opsauth_cluster_map_nothing,
    .fail = ngx_opsauth_cluster_map_fail,
    .quit = ngx_opsauth_cluster_map_quit,
    .rest = ngx_opsauth_cluster_map_nothing,
    .publish = ngx_opsauth_cluster_map_nothing,
    .free = ngx_opsauth_cluster_map_free
};


ngx_opsauth_cluster_map_t *
ngx_opsauth_cluster_map_create(ngx_opsauth_cluster_t *cluster)
{
    ngx_opsauth_cluster_map_t  *map;

    map = ngx_calloc(sizeof(ngx_opsauth_cluster_map_t) + OA_SLOTS,
                     cluster->log);
    if (map == NULL) {
        return NULL;
    }

    map->cluster = cluster;
    map->owners = (u_char *) (map + 1);
    map->conf = *cluster->conf;
    map->turn = (ngx_uint_t) ngx_random();

    ngx_opsauth_link_init(&map->link, &ngx_opsauth_cluster_map_kind,
                          &map->conf, cluster->log);

    map->link.timer.cancelable = 1;

    map->timer.handler = ngx_opsauth_cluster_map_timer_handler;
    map->timer.data = map;
    map->timer.log = cluster->log;
    map->timer.cancelable = 1;

    return map;
}


void
ngx_opsauth_cluster_map_destroy(ngx_opsauth_cluster_map_t *map)
{
    ngx_opsauth_link_enter(&map->link);

    map->link.doomed = 1;
    ngx_opsauth_cluster_map_quit(&map->link);

    ngx_opsauth_link_leave(&map->link);
}


static void
ngx_opsauth_cluster_map_free(ngx_opsauth_link_t *link)
{
    ngx_opsauth_cluster_map_t  *map = (ngx_opsauth_cluster_map_t *) link;

    if (map->out.start) {
        ngx_free(map->out.start);
    }

    ngx_opsauth_link_cleanup(link);
    ngx_free(map);
}


void
ngx_opsauth_cluster_want(ngx_opsauth_cluster_t *cluster)
{
    ngx_msec_t                  age, wait;
    ngx_opsauth_cluster_map_t  *map;

    if (cluster->doomed) {
        /* what ends now may still look for another node */
        return;
    }

    map = cluster->map;

    if (map->wanted || map->quit) {
        return;
    }

    map->wanted = 1;
    map->tried = 0;

    wait = 1;

    if (map->ever) {
        age = ngx_current_msec - map->asked_at;

        if (age < NGX_OPSAUTH_CLUSTER_MAP_AGE) {
            wait = NGX_OPSAUTH_CLUSTER_MAP_AGE - age;
        }
    }

    ngx_add_timer(&map->timer, wait);
}


static void
ngx_opsauth_cluster_map_timer_handler(ngx_event_t *ev)
{
    ngx_opsauth_cluster_map_t  *map;

    map = ev->data;

    ngx_opsauth_link_enter(&map->link);

    if (map->link.state == NGX_OPSAUTH_LINK_DOWN) {
        ngx_opsauth_cluster_map_begin(map);

    } else {
        ngx_opsauth_link_fail(&map->link, NGX_OPSAUTH_REDIS_TIMEOUT, 0,
                              "it does not answer CLUSTER SLOTS");
    }

    ngx_opsauth_link_leave(&map->link);
}


static void
ngx_opsauth_cluster_map_begin(ngx_opsauth_cluster_map_t *map)
{
    ngx_uint_t                   n;
    ngx_opsauth_cluster_node_t  *node;

    node = ngx_opsauth_cluster_map_candidate(map, &n);

    if (node == NULL || map->tried >= n) {
        ngx_opsauth_cluster_map_over(map);
        return;
    }

    map->tried++;

    map->node = node;
    ngx_opsauth_cluster_ref(node);

    map->conf = node->conf;
    map->conf.release = NULL;

    map->asked_at = ngx_current_msec;
    map->ever = 1;

    /* one server's session is nothing to another one */
    ngx_opsauth_link_tls_forget(&map->link);

    ngx_opsauth_link_connect(&map->link);
}


/* those that have slots, and those of the configuration */

static ngx_opsauth_cluster_node_t *
ngx_opsauth_cluster_map_candidate(ngx_opsauth_cluster_map_t *map,
    ngx_uint_t *n)
{
    u_char                  has[NGX_OPSAUTH_CLUSTER_NODES + 1];
    ngx_uint_t              i, k, primaries;
    ngx_opsauth_cluster_t  *cluster;

    cluster = map->cluster;

    primaries = ngx_opsauth_cluster_primaries(cluster, has);
    *n = primaries + cluster->conf->nseeds;

    k = map->turn++ % *n;

    if (k >= primaries) {
        return ngx_opsauth_cluster_seed(cluster, k - primaries);
    }

    for (i = 1; i <= NGX_OPSAUTH_CLUSTER_NODES; i++) {
        if (has[i] && k-- == 0) {
            break;
        }
    }

    return ngx_opsauth_cluster_node(cluster, i);
}


static ngx_int_t
ngx_opsauth_cluster_map_greet(ngx_opsauth_link_t *link)
{
    return NGX_OK;
}


static void
ngx_opsauth_cluster_map_ready(ngx_opsauth_link_t *link)
{
    ngx_uint_t                  i;
    ngx_str_t                   words[2];
    ngx_opsauth_cluster_map_t  *map = (ngx_opsauth_cluster_map_t *) link;

    static const char  *ask[] = { "INFO", "SLOTS" };

    map->out.pos = map->out.start;
    map->out.last = map->out.start;
    map->epoch = 0;
    map->replies = 2;

    ngx_str_set(&words[0], "CLUSTER");

    for (i = 0; i < 2; i++) {
        words[1].data = (u_char *) ask[i];
        words[1].len = ngx_strlen(ask[i]);

        if (ngx_opsauth_codec_encode(&map->out, 1024, 2, words, link->log)
            != NGX_OK)
        {
            ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_DOWN, 0,
                                  "there is no memory to ask it");
            return;
        }
    }

    /* what it says is not of earlier than this */

    map->asked_at = ngx_opsauth_link_now();

    if (ngx_opsauth_link_send(link, &map->out) == NGX_OK) {
        ngx_add_timer(&map->timer, ngx_max(map->conf.timeout, 1));
    }
}


static void
ngx_opsauth_cluster_map_reply(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply)
{
    ngx_opsauth_cluster_map_t  *map = (ngx_opsauth_cluster_map_t *) link;

    if (map->replies == 2) {
        map->replies--;
        ngx_opsauth_cluster_map_info(map, reply);
        return;
    }

    if (map->replies == 1) {
        map->replies--;
        ngx_opsauth_cluster_map_slots(map, reply);
        return;
    }

    ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_ERROR, 0,
                          "it sent a reply that nobody asked for");
}


static void
ngx_opsauth_cluster_map_info(ngx_opsauth_cluster_map_t *map,
    ngx_opsauth_reply_t *reply)
{
    u_char     *p, *last;
    ngx_int_t   n;

    static const char  epoch[] = "cluster_current_epoch:";

    if (reply->type != NGX_OPSAUTH_REPLY_STRING || reply->str.len == 0) {

        /* the map must do */
        return;
    }

    last = reply->str.data + reply->str.len;

    p = ngx_strlcasestrn(reply->str.data, last, (u_char *) epoch,
                         sizeof(epoch) - 2);
    if (p == NULL) {
        return;
    }

    p += sizeof(epoch) - 1;

    for (n = 0; p + n < last && p[n] >= '0' && p[n] <= '9'; n++) {
        /* void */
    }

    n = ngx_atoi(p, n);

    if (n > 0) {
        map->epoch = n;
    }
}


static void
ngx_opsauth_cluster_map_slots(ngx_opsauth_cluster_map_t *map,
    ngx_opsauth_reply_t *reply)
{
    ngx_int_t               rc;
    ngx_uint_t              i, slots;
    ngx_opsauth_cluster_t  *cluster;

    cluster = map->cluster;

    if (reply->type != NGX_OPSAUTH_REPLY_ARRAY || reply->cut) {
        ngx_opsauth_cluster_map_refused(map, reply);
        return;
    }

    ngx_memzero(map->owners, OA_SLOTS);

    slots = 0;
    map->nknown = 0;

    for (i = 0; i < reply->n && reply->elements; i++) {
        slots += ngx_opsauth_cluster_map_range(map, &reply->elements[i]);
    }

    if (slots == 0) {
        ngx_opsauth_link_fail(&map->link, NGX_OPSAUTH_REDIS_BUSY, 0,
                              "it knows of nobody who has slots");
        return;
    }

    rc = cluster->hooks->learn(cluster->hooks->owner, map->owners, map->epoch,
                               map->asked_at);

    if (rc != NGX_OK) {
        ngx_opsauth_link_fail(&map->link, NGX_OPSAUTH_REDIS_BUSY, 0,
                              "what it knows of the cluster is old");
        return;
    }

    if (map->trouble) {
        map->trouble = 0;

        ngx_log_error(NGX_LOG_NOTICE, map->link.log, 0,
                      "opsauth: redis \"%V\" of store \"%V\": the cluster "
                      "tells where slots are again", &cluster->conf->url,
                      &cluster->conf->name);
    }

    map->wanted = 0;

    ngx_opsauth_cluster_map_close(map);
    ngx_opsauth_cluster_feeds(cluster);
}


/* [first, last, [host, port, ...], ...]; how many slots that are */

static ngx_uint_t
ngx_opsauth_cluster_map_range(ngx_opsauth_cluster_map_t *map,
    ngx_opsauth_reply_t *range)
{
    ngx_uint_t            cell;
    ngx_opsauth_reply_t  *part;

    part = range->elements;

    if (range->type != NGX_OPSAUTH_REPLY_ARRAY || range->n < 3 || part == NULL
        || part[0].type != NGX_OPSAUTH_REPLY_INTEGER
        || part[1].type != NGX_OPSAUTH_REPLY_INTEGER
        || part[0].integer < 0 || part[1].integer >= OA_SLOTS
        || part[0].integer > part[1].integer
        || part[2].type != NGX_OPSAUTH_REPLY_ARRAY || part[2].n < 2
        || part[2].elements == NULL)
    {
        return 0;
    }

    cell = ngx_opsauth_cluster_map_cell(map, &part[2]);

    if (cell == 0) {
        return 0;
    }

    ngx_memset(map->owners + part[0].integer, (int) cell,
               part[1].integer - part[0].integer + 1);

    return part[1].integer - part[0].integer + 1;
}


static ngx_uint_t
ngx_opsauth_cluster_map_cell(ngx_opsauth_cluster_map_t *map,
    ngx_opsauth_reply_t *node)
{
    u_char                           data[NGX_OPSAUTH_LINK_PRIMARY_MAX];
    int64_t                          port;
    ngx_str_t                        name, host;
    ngx_uint_t                       i, cell;
    ngx_opsauth_cluster_map_name_t  *known;

    if (ngx_opsauth_cluster_host(node, &host) != NGX_OK
        || node->elements[1].type != NGX_OPSAUTH_REPLY_INTEGER)
    {
        return 0;
    }

    port = node->elements[1].integer;

    if (port < 1 || port > 65535) {
        return 0;
    }

    /* each name takes the cache's lock, and there may be a range per slot */

    for (i = 0; i < map->nknown; i++) {
        known = &map->known[i];

        if (known->port == port && known->host.len == host.len
            && ngx_memcmp(known->host.data, host.data, host.len) == 0)
        {
            return known->cell;
        }
    }

    name.data = data;
    name.len = ngx_opsauth_cluster_name(map->node, &host, (ngx_uint_t) port,
                                        data);

    cell = name.len ? ngx_opsauth_cluster_cell(map->cluster, &name) : 0;

    if (map->nknown < NGX_OPSAUTH_CLUSTER_MAP_NAMES) {
        known = &map->known[map->nknown++];
        known->host = host;
        known->port = port;
        known->cell = cell;
    }

    return cell;
}


static void
ngx_opsauth_cluster_map_refused(ngx_opsauth_cluster_map_t *map,
    ngx_opsauth_reply_t *reply)
{
    u_char                     why[192];
    ngx_str_t                  word;
    ngx_opsauth_redis_error_e  error;

    if (reply->type != NGX_OPSAUTH_REPLY_ERROR) {
        ngx_opsauth_link_fail(&map->link, NGX_OPSAUTH_REDIS_ERROR, 0,
                              reply->cut ? "it tells of more ranges of slots "
                                           "than are read"
                                         : "it does not answer as Redis does");
        return;
    }

    word = ngx_opsauth_redis_error_word(reply);
    error = ngx_opsauth_redis_classify(reply);

    (void) ngx_snprintf(why, sizeof(why), "it answers CLUSTER SLOTS with %V%s"
                        "%Z", &word,
                        error == NGX_OPSAUTH_REDIS_DENIED
                        ? ": its user needs +cluster|slots and +cluster|info"
                        : error == NGX_OPSAUTH_REDIS_ERROR
                          ? ": is it a node of a cluster? If not, use redis://"
                          : "");

    ngx_opsauth_link_fail(&map->link, error, 0, (char *) why);
}


/* nobody is left to be asked */

static void
ngx_opsauth_cluster_map_over(ngx_opsauth_cluster_map_t *map)
{
    ngx_opsauth_cluster_t *cluster = map->cluster;

    map->wanted = 0;
    map->asked_at = ngx_current_msec;
    map->ever = 1;

    if (map->trouble) {
        return;
    }

    map->trouble = 1;

    ngx_log_error(NGX_LOG_ERR, map->link.log, 0,
                  "opsauth: redis \"%V\" of store \"%V\": no node of the "
                  "cluster tells where slots are; the last one, %s",
                  &cluster->conf->url, &cluster->conf->name, map->why);
}


static void
ngx_opsauth_cluster_map_write(ngx_opsauth_link_t *link)
{
    ngx_opsauth_cluster_map_t  *map = (ngx_opsauth_cluster_map_t *) link;

    if (map->out.pos < map->out.last
        || !(ngx_event_flags & NGX_USE_CLEAR_EVENT))
    {
        (void) ngx_opsauth_link_send(link, &map->out);
    }
}


static void
ngx_opsauth_cluster_map_nothing(ngx_opsauth_link_t *link)
{
    /* there is a timer while something is awaited */
}


static void
ngx_opsauth_cluster_map_fail(ngx_opsauth_link_t *link,
    ngx_opsauth_redis_error_e error, ngx_err_t err, const char *why)
{
    ngx_opsauth_cluster_map_t  *map = (ngx_opsauth_cluster_map_t *) link;

    (void) ngx_snprintf(map->why, sizeof(map->why), "\"%V\": %s%Z",
                        &map->conf.url, why);
    map->why[sizeof(map->why) - 1] = '\0';

    ngx_log_error(NGX_LOG_INFO, link->log, err,
                  "opsauth: redis \"%V\" does not tell where slots are: %s",
                  &map->conf.url, why);

    link->turn++;

    ngx_opsauth_cluster_map_close(map);

    /* the next one, from the event loop */

    if (!map->quit) {
        ngx_add_timer(&map->timer, 1);
    }
}


static void
ngx_opsauth_cluster_map_quit(ngx_opsauth_link_t *link)
{
    ngx_opsauth_cluster_map_t  *map = (ngx_opsauth_cluster_map_t *) link;

    map->quit |= link->doomed;
    map->wanted = 0;

    ngx_opsauth_cluster_map_close(map);
}


static void
ngx_opsauth_cluster_map_close(ngx_opsauth_cluster_map_t *map)
{
    map->replies = 0;

    if (map->timer.timer_set) {
        ngx_del_timer(&map->timer);
    }

    ngx_opsauth_link_close(&map->link);

    if (map->node) {
        /* what conf pointed to */
        map->conf = *map->cluster->conf;
        ngx_opsauth_cluster_unref(map->node);
        map->node = NULL;
    }
}
