/*
 * Where the primary is, as the sentinels have it. They are asked one after the
 * other, over the link itself, at each attempt to connect:
 *
 * | state      | event                         | action            | next
 * |------------|-------------------------------|-------------------|-----------
 * | ASKING     | one that was not asked yet    | connect to it     | RESOLVING,
 * |            |                               |                   | CONNECTING
 * |            | most of all name one address  | connect to that   | CONNECTING
 * |            | all were asked, and those that| connect to that   | CONNECTING
 * |            | answer name one address       |                   |
 * |            | all were asked, otherwise     | fail              | DOWN
 * | CONNECTING,| connected, TLS                | ask it            | GREETING
 * | GREETING   | it names an address           | a vote            | ASKING
 * |            | it knows none, an error,      | -                 | ASKING
 * |            | silent for too long, lost     |                   |
 *
 * Most of all, and not the first that answers: a failover is decided by most of
 * the sentinels, and one of them that has not heard of it still names the old
 * primary, which may be there again, and says of itself that it is one. Where
 * most can't be reached those that can decide, if they agree: a gateway does not
 * stop because sentinels do.
 *
 * A step follows another one from the event loop: a connection that is closed
 * stays NULL until the frames that used it are left.
 */

#include "ngx_opsauth_link.h"


typedef struct {
    ngx_str_t                host;
    in_port_t                port;
    u_char                   primary[NGX_OPSAUTH_LINK_PRIMARY_MAX];
    size_t                   len;
    ngx_uint_t               n;
} ngx_opsauth_link_vote_t;


/* in the pool of the attempt */
struct ngx_opsauth_link_ask_s {
    ngx_opsauth_link_vote_t *votes;
    ngx_uint_t               nvotes;        /* different ones */
    ngx_uint_t               start;         /* the first that was asked */
    ngx_uint_t               asked;
    u_char                   why[384];      /* the last that did not help */
};


static void ngx_opsauth_link_ask_handler(ngx_event_t *ev);
static void ngx_opsauth_link_ask_next(ngx_opsauth_link_t *link);
static ngx_opsauth_link_vote_t *ngx_opsauth_link_ask_most(
    ngx_opsauth_link_t *link);
static void ngx_opsauth_link_ask_open(ngx_opsauth_link_t *link);
static void ngx_opsauth_link_ask_nobody(ngx_opsauth_link_t *link);
static void ngx_opsauth_link_ask_found(ngx_opsauth_link_t *link,
    ngx_opsauth_link_vote_t *vote);
static ngx_int_t ngx_opsauth_link_ask_tls(ngx_opsauth_link_t *link,
    const ngx_str_t *host);
static void ngx_opsauth_link_ask_reply(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply);
static ngx_int_t ngx_opsauth_link_ask_vote(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply);


void
ngx_opsauth_link_ask(ngx_opsauth_link_t *link)
{
    ngx_opsauth_link_ask_t  *ask;

    ask = ngx_pcalloc(link->pool, sizeof(ngx_opsauth_link_ask_t));

    if (ask) {
        ask->votes = ngx_pcalloc(link->pool, link->conf->nsentinels
                                             * sizeof(ngx_opsauth_link_vote_t));
    }

    if (ask == NULL || ask->votes == NULL) {
        ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_DOWN, 0,
                              "there is no memory to connect");
        return;
    }

    ask->start = link->first;

    link->ask = ask;
    link->next.handler = ngx_opsauth_link_ask_handler;

    if (link->watched) {
        link->sentinel = link->watched;
        ngx_opsauth_link_ask_open(link);
        return;
    }

    ngx_opsauth_link_ask_next(link);
}


static void
ngx_opsauth_link_ask_handler(ngx_event_t *ev)
{
    ngx_opsauth_link_t  *link;

    link = ev->data;

    ngx_opsauth_link_enter(link);

    ngx_opsauth_link_ask_next(link);

    link->kind->rest(link);

    ngx_opsauth_link_leave(link);
}


static void
ngx_opsauth_link_ask_next(ngx_opsauth_link_t *link)
{
    ngx_uint_t                n;
    ngx_opsauth_link_ask_t   *ask;
    ngx_opsauth_link_vote_t  *vote;

    ask = link->ask;
    n = link->conf->nsentinels;

    link->sentinel = NULL;
    link->state = NGX_OPSAUTH_LINK_ASKING;

    if (ngx_opsauth_link_decoder(link) != NGX_OK) {
        ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_DOWN, 0,
                              "there is no memory to connect");
        return;
    }

    vote = ngx_opsauth_link_ask_most(link);

    if (vote && (vote->n > n / 2 || (ask->asked == n && ask->nvotes == 1))) {
        ngx_opsauth_link_ask_found(link, vote);
        return;
    }

    if (ask->asked == n) {
        ngx_opsauth_link_ask_nobody(link);
        return;
    }

    link->sentinel = &link->conf->sentinels[(ask->start + ask->asked) % n];
    ask->asked++;

    ngx_opsauth_link_ask_open(link);
}


static ngx_opsauth_link_vote_t *
ngx_opsauth_link_ask_most(ngx_opsauth_link_t *link)
{
    ngx_uint_t                i;
    ngx_opsauth_link_ask_t   *ask;
    ngx_opsauth_link_vote_t  *vote;

    ask = link->ask;
    vote = NULL;

    for (i = 0; i < ask->nvotes; i++) {
        if (vote == NULL || ask->votes[i].n > vote->n) {
            vote = &ask->votes[i];
        }
    }

    return vote;
}


static void
ngx_opsauth_link_ask_open(ngx_opsauth_link_t *link)
{
    const ngx_opsauth_redis_sentinel_t  *sentinel;

    sentinel = link->sentinel;

    link->addrs = sentinel->addrs;
    link->naddrs = sentinel->naddrs;
    link->host = sentinel->host;
    link->port = sentinel->port;
    link->heard = 0;

    if (ngx_opsauth_link_ask_tls(link, &sentinel->host) != NGX_OK) {
        return;
    }

    if (sentinel->named && link->conf->resolver
        && ngx_opsauth_link_resolve(link) == NGX_OK)
    {
        return;
    }

    ngx_opsauth_link_open(link);
}


/* nobody to ask any more, and no answer to go by */

static void
ngx_opsauth_link_ask_nobody(ngx_opsauth_link_t *link)
{
    u_char                  *p, why[512];
    ngx_opsauth_link_ask_t  *ask;

    ask = link->ask;

    if (ask->nvotes) {
        p = ngx_snprintf(why, sizeof(why) - 1, "the sentinels that answer do "
                         "not agree where \"%V\" is", &link->conf->primary);

    } else {
        p = ngx_snprintf(why, sizeof(why) - 1, "no sentinel tells where \"%V\" "
                         "is; the last one: %s", &link->conf->primary,
                         ask->why);
    }

    *p = '\0';

    ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_DOWN, 0, (char *) why);
}


static void
ngx_opsauth_link_ask_found(ngx_opsauth_link_t *link,
    ngx_opsauth_link_vote_t *vote)
{
    ngx_int_t    rc;
    ngx_str_t    primary;
    ngx_addr_t  *addr;

    primary.len = vote->len;
    primary.data = vote->primary;

    if (ngx_opsauth_link_astray(link, &primary)) {

        ngx_log_error(NGX_LOG_INFO, link->log, 0,
                      "opsauth: redis \"%V\": the primary is \"%V\"",
                      &link->conf->url, &primary);

        /* one server's session is nothing to another one */
        ngx_opsauth_link_tls_forget(link);

        ngx_memcpy(link->primary, vote->primary, vote->len);
        link->primary_len = vote->len;

        if (link->kind->led) {
            link->kind->led(link);
        }
    }

    link->host = vote->host;
    link->port = vote->port;
    link->heard = 0;

    if (ngx_opsauth_link_ask_tls(link, &vote->host) != NGX_OK) {
        return;
    }

    addr = ngx_pcalloc(link->pool, sizeof(ngx_addr_t));

    rc = addr ? ngx_parse_addr(link->pool, addr, vote->host.data,
                               vote->host.len)
              : NGX_ERROR;

    if (rc == NGX_OK) {
        ngx_inet_set_port(addr->sockaddr, vote->port);

        addr->name.len = vote->len;
        addr->name.data = vote->primary;

        link->addrs = addr;
        link->naddrs = 1;

        ngx_opsauth_link_open(link);
        return;
    }

    link->addrs = NULL;
    link->naddrs = 0;

    if (link->conf->resolver && ngx_opsauth_link_resolve(link) == NGX_OK) {
        return;
    }

    ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_DOWN, 0,
                          "the sentinels call the primary by a host name: set "
                          "nginx' \"resolver\"");
}


/* NGX_ERROR: the link has failed */

static ngx_int_t
ngx_opsauth_link_ask_tls(ngx_opsauth_link_t *link, const ngx_str_t *host)
{
    u_char  *p;

    if (link->conf->tls == NULL || link->conf->tls_name.len) {
        return NGX_OK;
    }

    /* with a zero at its end, for OpenSSL */

    p = ngx_pcalloc(link->pool, host->len + 1);

    if (p == NULL) {
        ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_DOWN, 0,
                              "there is no memory to connect");
        return NGX_ERROR;
    }

    ngx_memcpy(p, host->data, host->len);

    link->tls_name.len = host->len;
    link->tls_name.data = p;

    return NGX_OK;
}


ngx_int_t
ngx_opsauth_link_ask_greet(ngx_opsauth_link_t *link)
{
    ngx_str_t  words[3];

    ngx_str_set(&words[0], "SENTINEL");
    ngx_str_set(&words[1], "get-master-addr-by-name");
    words[2] = link->conf->primary;

    if (ngx_opsauth_link_step(link, ngx_opsauth_link_ask_reply, 3, words)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return link->watched ? link->kind->greet(link) : NGX_OK;
}


static void
ngx_opsauth_link_ask_reply(ngx_opsauth_link_t *link,
    ngx_opsauth_reply_t *reply)
{
    u_char      why[192];
    ngx_str_t   word;
    ngx_uint_t  denied;

    if (reply->type == NGX_OPSAUTH_REPLY_NIL) {
        ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_DOWN, 0,
                              "it knows no primary of this name");
        return;
    }

    if (reply->type == NGX_OPSAUTH_REPLY_ERROR) {
        word = ngx_opsauth_redis_error_word(reply);
        denied = (ngx_opsauth_redis_classify(reply)
                  == NGX_OPSAUTH_REDIS_DENIED);

        (void) ngx_snprintf(why, sizeof(why), "it answers SENTINEL "
                            "get-master-addr-by-name with %V%s%Z", &word,
                            denied ? ": its user there needs "
                                     "+sentinel|get-master-addr-by-name"
                                   : ": is it a sentinel?");

        ngx_opsauth_link_fail(link, denied ? NGX_OPSAUTH_REDIS_DENIED
                                           : NGX_OPSAUTH_REDIS_ERROR,
                              0, (char *) why);
        return;
    }

    if (ngx_opsauth_link_ask_vote(link, reply) != NGX_OK) {
        ngx_opsauth_link_fail(link, NGX_OPSAUTH_REDIS_ERROR, 0,
                              "what it names is no address");
    }
}


static ngx_int_t
ngx_opsauth_link_ask_vote(ngx_opsauth_link_t *link, ngx_opsauth_reply_t *reply)
{
    u_char                    primary[NGX_OPSAUTH_LINK_PRIMARY_MAX];
    size_t                    len;
    ngx_str_t                *host, *port;
    ngx_uint_t                i;
    ngx_opsauth_link_ask_t   *ask;
    ngx_opsauth_link_vote_t  *vote;

    ask = link->ask;

    if (reply->type != NGX_OPSAUTH_REPLY_ARRAY || reply->n != 2) {
        return NGX_ERROR;
    }

    if (reply->strings) {
        host = &reply->strings[0];
        port = &reply->strings[1];

    } else if (reply->elements
               && reply->elements[0].type == NGX_OPSAUTH_REPLY_STRING
               && reply->elements[1].type == NGX_OPSAUTH_REPLY_STRING)
    {
        host = &reply->elements[0].str;
        port = &reply->elements[1].str;

    } else {
        return NGX_ERROR;
    }

    len = ngx_opsauth_link_primary(host, port, primary);

    if (len == 0) {
        return NGX_ERROR;
    }

    /* the next attempt begins with one that is there */

    if (ask->nvotes == 0) {
        link->first = link->sentinel - link->conf->sentinels;
    }

    for (i = 0; i < ask->nvotes; i++) {
        vote = &ask->votes[i];

        if (vote->len == len && ngx_memcmp(vote->primary, primary, len) == 0) {
            vote->n++;
            return NGX_OK;
        }
    }

    vote = &ask->votes[ask->nvotes++];

    ngx_memcpy(vote->primary, primary, len);
    vote->len = len;
    vote->n = 1;
    vote->port = (in_port_t) ngx_atoi(port->data, port->len);

    /* without the brackets that one of version 6 has in there */

    vote->host.len = host->len;
    vote->host.data = vote->primary + (primary[0] == '[');

    if (link->watched) {
        ngx_memcpy(link->primary, primary, len);
        link->primary_len = len;
    }

    return NGX_OK;
}


void
ngx_opsauth_link_ask_done(ngx_opsauth_link_t *link)
{
    ngx_opsauth_link_hang_up(link);

    link->state = NGX_OPSAUTH_LINK_ASKING;
    ngx_post_event(&link->next, &ngx_posted_events);
}


void
ngx_opsauth_link_ask_failed(ngx_opsauth_link_t *link, ngx_err_t err,
    const char *why)
{
    u_char                  *p;
    ngx_opsauth_link_ask_t  *ask;

    ask = link->ask;

    p = ngx_snprintf(ask->why, sizeof(ask->why) - 1, "sentinel \"%V\": %s",
                     &link->sentinel->name, why);

    if (err) {
        p = ngx_snprintf(p, ask->why + sizeof(ask->why) - 1 - p, " (%d)", err);
    }

    *p = '\0';

    ngx_log_error(NGX_LOG_INFO, link->log, err,
                  "opsauth: redis \"%V\": sentinel \"%V\": %s",
                  &link->conf->url, &link->sentinel->name, why);

    ngx_opsauth_link_hang_up(link);

    link->state = NGX_OPSAUTH_LINK_ASKING;
    ngx_post_event(&link->next, &ngx_posted_events);
}


size_t
ngx_opsauth_link_primary(ngx_str_t *host, ngx_str_t *port, u_char *primary)
{
    u_char      c, *p;
    size_t      i;
    ngx_int_t   n;
    ngx_uint_t  colon;

    n = ngx_atoi(port->data, port->len);

    if (n < 1 || n > 65535 || host->len == 0 || host->len > 253) {
        return 0;
    }

    colon = 0;

    for (i = 0; i < host->len; i++) {
        c = host->data[i];

        if (c == ':') {
            colon = 1;

        } else if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
                     || (c >= '0' && c <= '9') || c == '.' || c == '-'
                     || c == '_'))
        {
            return 0;
        }
    }

    p = ngx_snprintf(primary, NGX_OPSAUTH_LINK_PRIMARY_MAX,
                     colon ? "[%V]:%i" : "%V:%i", host, n);

    return p - primary;
}


ngx_uint_t
ngx_opsauth_link_astray(ngx_opsauth_link_t *link, const ngx_str_t *primary)
{
    return link->primary_len != primary->len
           || ngx_memcmp(link->primary, primary->data, primary->len) != 0;
}
