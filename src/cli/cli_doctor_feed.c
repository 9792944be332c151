/*
 * opsauth doctor: does a change get to the gateway? Sends on a connection of
 * its own, as the gateway's user, what the gateway sends (see
 * ngx_opsauth_feed_talk.c), has a record change, and looks whether that was
 * announced before the answer to the next PING: what the gateway relies on.
 */

#include "cli_doctor.h"
#include "cli_memory.h"
#include "cli_text.h"

#include "oa_text.h"

#include <string.h>


#define MESSAGES_MAX  100000            /* of other changes, in one wait */


typedef struct {
    cli_doctor_t  *d;
    cli_redis_t    redis;
    unsigned       seen:1;              /* the probe was announced */
    unsigned       failed:1;            /* no answer; said */
} feed_t;


static int
reply_is(const redisReply *reply, const char *word, size_t n)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == n
           && oa_text_eq(cli_reply_str(reply->element[0]), word);
}


/* the probe's name, alone or in a list; no payload: everything */
static int
names_probe(const cli_doctor_t *d, const redisReply *payload)
{
    size_t  i;

    if (payload->type == REDIS_REPLY_NIL) {
        return 1;
    }

    if (payload->type != REDIS_REPLY_ARRAY) {
        return oa_text_eq(cli_reply_str(payload), d->probe);
    }

    for (i = 0; i < payload->elements; i++) {
        if (oa_text_eq(cli_reply_str(payload->element[i]), d->probe)) {
            return 1;
        }
    }

    return 0;
}


/* sends command; the answer to it, messages before it being looked at */
static redisReply *
feed_ask(feed_t *feed, const cli_command_t *command)
{
    int          rc;
    size_t       i;
    redisReply  *reply;
    const char  *said;

    if (feed->failed) {
        return NULL;
    }

    said = "";
    cli_capture(&said);
    rc = cli_redis_send(&feed->redis, command);

    for (i = 0; i < MESSAGES_MAX && rc == CLI_OK; i++) {
        rc = cli_redis_receive(&feed->redis, command, &reply);

        if (rc != CLI_OK || !reply_is(reply, "message", 3)) {
            break;
        }

        if (names_probe(feed->d, reply->element[2])) {
            feed->seen = 1;
        }
    }

    cli_capture(NULL);

    if (rc == CLI_OK && i < MESSAGES_MAX) {
        return reply;
    }

    feed->failed = 1;
    cli_doctor_say(feed->d, CLI_DOCTOR_FAILURE, "connection", NULL, "%s",
                   (rc == CLI_OK) ? "Redis sends messages without end" : said);

    return NULL;
}


/* a refusal: what is missing, and that it is no failure */
static void
refused(cli_doctor_t *d, const char *check, const char *right,
    const char *channel, const redisReply *reply)
{
    const char  *user, *give;

    user = cli_doctor_user(&d->as_gateway);

    if (!cli_doctor_is_error(reply, "NOPERM")) {
        cli_doctor_say(d, CLI_DOCTOR_WARNING, check, NULL,
                       "Redis answers %s with %s: changes are not pushed this "
                       "way; they are in force within the lease", right,
                       cli_doctor_error(reply));
        return;
    }

    give = (channel != NULL && strstr(reply->str, "channel") != NULL)
           ? cli_format("&%s", channel) : cli_format("+%s", right);

    cli_doctor_say(d, CLI_DOCTOR_WARNING, check,
                   cli_format("ACL SETUSER %s %s", user, give),
                   "user %s may not run %s%s%s: changes are not pushed this "
                   "way; they are in force within the lease",
                   cli_quotez(user), right, channel ? " on " : "",
                   channel ? channel : "");
}


static int
feed_track(feed_t *feed)
{
    redisReply     *reply;
    const char     *id;
    cli_doctor_t   *d;

    d = feed->d;
    reply = feed_ask(feed, cli_doctor_command("CLIENT", "ID", NULL));

    if (reply == NULL) {
        return 0;
    }

    if (reply->type != REDIS_REPLY_INTEGER) {
        refused(d, "tracking", "client|id", NULL, reply);
        return 0;
    }

    id = cli_format("%lld", reply->integer);
    reply = feed_ask(feed, cli_doctor_command("CLIENT", "TRACKING", "ON",
                               "REDIRECT", id, "BCAST",
                               "PREFIX", cli_doctor_name(d, "credential:"),
                               "PREFIX", cli_doctor_name(d, "account:"),
                               NULL));
    if (reply == NULL) {
        return 0;
    }

    if (reply->type != REDIS_REPLY_STATUS) {
        refused(d, "tracking", "client|tracking", NULL, reply);
        return 0;
    }

    return 1;
}


static int
feed_subscribe(feed_t *feed, const char *check, const char *channel)
{
    redisReply  *reply;

    reply = feed_ask(feed, cli_doctor_command("SUBSCRIBE", channel, NULL));

    if (reply == NULL) {
        return 0;
    }

    if (!reply_is(reply, "subscribe", 3)) {
        refused(feed->d, check, "subscribe", channel, reply);
        return 0;
    }

    return 1;
}


static int
feed_ping(feed_t *feed, const char *check)
{
    redisReply  *reply;

    reply = feed_ask(feed, cli_doctor_command("PING", NULL));

    if (reply == NULL) {
        return 0;
    }

    if (!reply_is(reply, "pong", 2) && reply->type != REDIS_REPLY_STATUS) {
        refused(feed->d, check, "ping", NULL, reply);
        return 0;
    }

    return 1;
}


/* a record that is written and expires in one step; 0: said why not */
static int
write_probe(cli_doctor_t *d)
{
    size_t          i, n;
    redisReply     *reply;
    cli_command_t  *commands[4];

    n = sizeof(commands) / sizeof(commands[0]);
    commands[0] = cli_doctor_command("MULTI", NULL);
    commands[1] = cli_doctor_command("HSET", d->probe, "doctor", "1", NULL);
    commands[2] = cli_doctor_command("EXPIREAT", d->probe, "1", NULL);
    commands[3] = cli_doctor_command("EXEC", NULL);

    for (i = 0, reply = NULL; i < n; i++) {
        reply = cli_doctor_ask(d, d->writer, commands[i]);

        if (reply == NULL) {
            return 0;
        }

        if (reply->type == REDIS_REPLY_ERROR) {
            break;
        }
    }

    if (i == n) {
        return 1;
    }

    cli_doctor_say(d, CLI_DOCTOR_FAILURE, "tracking", NULL,
                   "the probe could not be written: Redis answers %s with %s",
                   commands[i]->words[0], cli_doctor_error(reply));

    if (i < n - 1) {
        (void) cli_doctor_ask(d, d->writer,
                              cli_doctor_command("DISCARD", NULL));
    }

    return 0;
}


/* why no proof is to be had, or NULL */
static const char *
no_probe(const cli_doctor_t *d)
{
    return d->no_write ? "--no-write"
                       : (d->writer == NULL)
                         ? "no user here may write; --redis-user names one"
                         : NULL;
}


void
cli_doctor_tracking(cli_doctor_t *d)
{
    feed_t       feed;
    const char  *why;

    memset(&feed, 0, sizeof(feed));
    feed.d = d;
    why = no_probe(d);

    if (!cli_doctor_connect(d, &d->as_gateway, &feed.redis)) {
        return;
    }

    if (!feed_track(&feed)
        || !feed_subscribe(&feed, "tracking", "__redis__:invalidate")
        || !feed_ping(&feed, "tracking"))
    {
        /* said */

    } else if (why != NULL) {
        cli_doctor_say(d, CLI_DOCTOR_OK, "tracking", NULL,
                       "Redis takes the gateway's subscription; that changes "
                       "arrive was not tried: %s", why);

    } else if (write_probe(d) && feed_ping(&feed, "tracking")) {

        if (feed.seen) {
            cli_doctor_say(d, CLI_DOCTOR_OK, "tracking", NULL,
                           "a change of a record was announced at once");
        } else {
            cli_doctor_say(d, CLI_DOCTOR_FAILURE, "tracking",
                           "connect to Redis itself: something in between "
                           "does not pass its messages on",
                           "Redis takes the gateway's subscription, but a "
                           "change of %s was not announced", d->probe);
        }
    }

    cli_redis_close(&feed.redis);
}


static int
publish_probe(cli_doctor_t *d, const char *channel)
{
    redisReply  *reply;

    reply = cli_doctor_ask(d, d->writer,
                           cli_doctor_command("PUBLISH", channel, d->probe,
                                              NULL));
    if (reply == NULL) {
        return 0;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        cli_doctor_say(d, CLI_DOCTOR_WARNING, "channel",
                       cli_format("ACL SETUSER %s +publish &%s",
                                  cli_doctor_user(&d->as_operator), channel),
                       "this command can't announce its changes: Redis answers "
                       "PUBLISH with %s", cli_doctor_error(reply));
        return 0;
    }

    return 1;
}


void
cli_doctor_channel(cli_doctor_t *d)
{
    feed_t       feed;
    const char  *channel, *why;

    memset(&feed, 0, sizeof(feed));
    feed.d = d;
    why = no_probe(d);
    channel = cli_doctor_name(d, "invalidate");

    if (d->lost || !cli_doctor_connect(d, &d->as_gateway, &feed.redis)) {
        return;
    }

    if (!feed_subscribe(&feed, "channel", channel)
        || !feed_ping(&feed, "channel"))
    {
        /* said */

    } else if (why != NULL) {
        cli_doctor_say(d, CLI_DOCTOR_OK, "channel", NULL,
                       "Redis takes the gateway's subscription; that messages "
                       "arrive was not tried: %s", why);

    } else if (publish_probe(d, channel) && feed_ping(&feed, "channel")) {

        if (feed.seen) {
            cli_doctor_say(d, CLI_DOCTOR_OK, "channel", NULL,
                           "messages of this command arrive, where tracking "
                           "should be refused");
        } else {
            cli_doctor_say(d, CLI_DOCTOR_FAILURE, "channel",
                           "connect to Redis itself: something in between "
                           "does not pass its messages on",
                           "Redis takes the gateway's subscription, but a "
                           "message on %s did not arrive", channel);
        }
    }

    cli_redis_close(&feed.redis);
}
