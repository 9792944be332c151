/*
 * Commands that are no reads, on the connection that reads share: whatever
 * happens, nothing is sent twice, everybody is told once, and what was written
 * is not to be found any more.
 */

#include "ngx_opsauth_command_test.h"


static void
test_plain(void)
{
    ngx_opsauth_command_t  *command;

    start();

    set("a");
    eval("b");
    told_is("", "never from within the call");
    turn();
    is_int(connects, 1, "the first command connects");

    up();
    sent_is(SET("a") EVALSHA, "both in one write");
    ok(!holds_secret(), "wiped when written");

    answer("+OK\r\n" OK);
    told_is("a:ok=other b:ok=ok", "answered in their order");

    eval("b");
    turn();
    (void) sent();
    answer("*2\r\n$-1\r\n$0\r\n\r\n");
    told_is("b:ok=", "a nil");

    command = set("c");
    ngx_opsauth_command_cancel(command);
    set("d");
    turn();
    answer("+OK\r\n+OK\r\n");
    told_is("d:ok=other", "one that is canceled goes on without its caller");
    sent_is(SET("c") SET("d"), "sent");

    is_int(strlen(logged()), 0, "nothing to log");

    /* nil is the store's word only if the store is set up: that is asked first */

    redis->marker_at -= 1000;
    set("e");
    turn();
    sent_is("*3 $5 HMGET $6 o:meta $1 v " SET("e"), "the marker, when it is old");
    answer("*1\r\n$-1\r\n" "+OK\r\n");
    told_is("e:ok=other", "answered");
    ok(!ngx_opsauth_redis_is_marked(redis), "and nobody has set it up");
    redis->marker_at = ngx_current_msec;
    redis->marked = 1;

    set("e");
    get();
    ngx_opsauth_redis_destroy(redis);
    redis = NULL;
    told_is("e:closed read:closed", "destroyed with two queued");
    stop();
}


static void
test_noscript(void)
{
    ngx_opsauth_command_t  *command;

    start();
    eval("a");
    turn();
    up();
    sent_is(EVALSHA, "by its SHA-1");

    answer("-NOSCRIPT No matching script. Please use EVAL.\r\n");
    sent_is(EVAL, "by its text");
    ok(!holds_secret(), "wiped");
    answer(OK);
    told_is("a:ok=ok", "one answer");

    eval("b");
    turn();
    answer("-NOSCRIPT no\r\n");
    answer("-NOSCRIPT a script may say so\r\n");
    told_is("b:noscript=error", "not a third time");
    sent_is(EVALSHA EVAL, "two tries");

    eval("c");
    turn();
    command = eval("d");
    ngx_opsauth_command_cancel(command);
    turn();
    answer("-NOSCRIPT no\r\n-NOSCRIPT no\r\n");
    sent_is(EVALSHA EVALSHA EVAL EVAL, "canceled: what was begun is finished");
    lost(NGX_OPSAUTH_REDIS_CLOSED);
    told_is("c:closed", "an EVAL that is lost is lost");
    sent_is("", "not sent again");

    pass_time(50);
    eval("e");
    turn();
    up();
    answer("-NOSCRIPT no\r\n");
    sent_is(EVALSHA EVAL, "known or not: a new server");
    pass_time(250);
    told_is("e:timeout", "the second one has a deadline, too");

    stop();
}


static void
test_classes(void)
{
    size_t  i;
    char    wanted[64], text[512];

    static const struct {
        const char  *reply;
        const char  *class;
        const char  *line;
    } cases[] = {
        { "READONLY You can't write against a read only replica.", "readonly",
          "answers SET with READONLY: it is a replica: tokens are issued where "
          "the master is" },
        { "READONLY You can't write. script: 09e, on @user_script:1.",
          "readonly", "with READONLY: " },
        { "NOREPLICAS Not enough good replicas to write.", "readonly",
          "with NOREPLICAS: it has fewer replicas than its "
          "min-replicas-to-write" },
        { "OOM command not allowed when used memory > 'maxmemory'.",
          "readonly", "with OOM: it has reached its maxmemory" },
        { "MISCONF Redis is configured to save RDB snapshots, but", "readonly",
          "with MISCONF: it can't write to its disk" },
        { "CROSSSLOT Keys in request don't hash to the same slot", "moved",
          "with CROSSSLOT: this is a cluster" },
        { "MOVED 3999 127.0.0.1:6381", "moved", "with MOVED: this is" },
        { "NOPERM this user has no permissions to run the 'set' command",
          "denied", "3 opsauth: redis \"redis://r\" of store \"main\" answers "
          "SET with NOPERM: the ACL of its user must allow what a gateway "
          "needs that issues tokens, counts usage or shares rates\n" },
        { "ERR The user executing the script can't run this command or "
          "subcommand script: 098, on @user_script:1.", "denied",
          "the ACL of its user must" },
        { "ERR ACL failure in script: User issuer has no permissions to run "
          "the 'hset' command script: 67e, on @user_script:7.", "denied",
          "the ACL of its user must" },
        { "ERR Error running script (call to f_098e): @user_script:1: "
          "@user_script: 1: The user executing the script can't run this",
          "denied", "the ACL of its user must" },
        { "BUSY Redis is busy running a script.", "busy",
          "is down: it answers BUSY" },
        { "WRONGTYPE Operation against a key", "wrongtype", NULL },
        { "ERR user_script:1: attempt to compare nil with number script: 12",
          "error", "answers SET with ERR\n" },

        /* Redis 6.2 */
        { "ERR Error running script (call to f_098e): @user_script:1: "
          "@user_script: 1: -OOM command not allowed when used memory",
          "readonly", "with OOM: " },
        { "ERR Error running script (call to f_098e): @user_script:1: "
          "@user_script: 1: -READONLY You can't write", "readonly",
          "with READONLY: " },
        { "ERR Error running script (call to f_098e): @user_script:1: "
          "WRONGTYPE Operation against a key", "wrongtype", NULL },
        { "ERR Error running script (call to f_098e): @user_script:1: "
          "user_script:1: attempt to compare nil with number", "error",
          "answers SET with ERR\n" }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        start();
        set("a");
        turn();
        up();

        snprintf(text, sizeof(text), "-%s\r\n", cases[i].reply);
        answer(text);

        snprintf(wanted, sizeof(wanted), "a:%s=error", cases[i].class);
        told_is(wanted, "%.40s", cases[i].reply);

        if (cases[i].line) {
            if (!ok(strstr(logged(), cases[i].line) != NULL, "its line")) {
                fprintf(stderr, "# %s", logged());
            }

            ok(strchr(logged(), '\n') == logged() + lines_size - 1, "one line");

        } else {
            is_int(strlen(logged()), 0, "no line");
        }

        stop();
    }
}


static void
test_lines(void)
{
    unsigned  i;

    start();

    /* a replica: left, and come back to */

    for (i = 0; i < 20; i++) {
        set("a");
        turn();

        if (redis->link.state != NGX_OPSAUTH_LINK_READY) {
            up();
        }

        answer("-READONLY You can't\r\n");
        pass_time(700);
    }

    ok(connects > 5 && connects < 20, "a replica is left, not every time");
    is_int(strlen(strchr(logged(), '\n')), 1, "one line for all of it");

    for (i = 0; i < 3; i++) {
        set("b");
        turn();

        if (redis->link.state != NGX_OPSAUTH_LINK_READY) {
            up();
        }

        answer("+OK\r\n");
    }

    ok(strstr(logged(), "does SET again\n") != NULL, "and one when it is over");
    is_int(strlen(strchr(strchr(logged(), '\n') + 1, '\n')), 1, "two lines");

    stop();


    start();
    set("a");
    turn();
    up();
    answer("-NOAUTH Authentication required.\r\n");
    told_is("a:denied", "what ends the connection has no reply");
    ok(strstr(logged(), "is down: it answers SET with NOAUTH") != NULL,
       "and its own line");
    set("b");
    told_is("b:down", "in backoff");
    stop();
}


static void
test_lost(void)
{
    start();

    /* not written yet: connecting */

    set("a");
    turn();
    lost(NGX_OPSAUTH_REDIS_DOWN);
    told_is("a:down", "never connected");
    set("b");
    told_is("b:down", "in backoff: at once");
    pass_time(50);

    /* written, and not */

    set("a");
    get();
    turn();
    up();
    set("b");
    eval("c");
    sent_is(SET("a") GET, "written");
    lost(NGX_OPSAUTH_REDIS_CLOSED);
    told_is("a:closed", "written: nobody knows");
    ok(redis->link.state == NGX_OPSAUTH_LINK_CONNECTING, "connects anew");
    up();
    sent_is(GET SET("b") EVALSHA, "the read again, the others at last");
    ok(!holds_secret(), "wiped");
    answer("*1\r\n$1\r\n1\r\n+OK\r\n" OK);
    told_is("read:ok=1 b:ok=other c:ok=ok", "in their order");

    /* written in part: b to its last byte but one, c not at all */

    window = 2 * (sizeof(SET("a")) - 1 + 7) - 1;
    set("a");
    set("b");
    set("c");
    turn();
    is_int(window, 0, "the socket is full");
    ok(holds_secret(), "not wiped before it is written");
    lost(NGX_OPSAUTH_REDIS_CLOSED);
    told_is("a:closed b:closed", "one byte may be all that was missing");
    wire_len = 0;
    window = sizeof(wire);
    up();
    sent_is(SET("c"), "not a byte of it was written");
    ok(!holds_secret(), "wiped");
    answer("+OK\r\n");
    told_is("c:ok=other", "done");

    /* send() itself tells of the loss */

    send_breaks = 1;
    set("a");
    turn();
    told_is("", "not written");
    up();
    told_is("a:closed", "but not for ever");
    send_breaks = 0;
    ok(!holds_secret(), "wiped");
    pass_time(50);

    /* no loss that a server may have caused by doing it */

    set("a");
    turn();
    up();
    set("b");
    lost(NGX_OPSAUTH_REDIS_ERROR);
    told_is("a:closed b:closed", "it is no Redis");
    ok(!holds_secret(), "wiped");
    pass_time(50);

    /* another server serves the store */

    pass_time(2000);
    set("a");
    get();
    turn();
    up();
    wire_len = 0;
    ngx_opsauth_redis_drop(redis);
    set("b");
    turn();
    told_is("a:closed", "the old server's word is worth nothing");
    up();
    sent_is(GET SET("b"), "the rest is the new one's");
    answer("*1\r\n$-1\r\n+OK\r\n");
    told_is("read:ok= b:ok=other", "answered");

    stop();
}


static void
test_slow(void)
{
    unsigned  i;

    start();
    set("a");
    turn();
    up();
    pass_time(200);
    set("b");
    turn();
    pass_time(50);
    told_is("a:timeout", "late");
    answer("+OK\r\n+OK\r\n");
    told_is("b:ok=other", "the late reply is not the next one's");
    ok(redis->ndead == 0 && redis->nslots == 0, "no tombstone");

    set("b");
    turn();
    arrived = "+OK\r\n";
    pass_time(250);
    told_is("b:ok=other", "an answer that is there is not late");

    /* one that is late and only half written */

    window = 5;
    set("c");
    turn();
    pass_time(250);
    told_is("c:timeout", "late");
    ok(holds_secret(), "its rest has to be written");
    window = sizeof(wire);
    ngx_opsauth_redis_flush(redis);
    ok(!holds_secret(), "and is wiped");
    answer("+OK\r\n");
    told_is("", "told already");

    /* five in a row: the breaker */

    for (i = 0; i < 5; i++) {
        set("d");
    }

    turn();
    pass_time(250);
    told_is("d:timeout d:timeout d:timeout d:timeout d:timeout", "late");
    set("e");
    told_is("e:down", "the breaker is open");
    stop();

    start();
    set("a");
    turn();
    up();
    pass_time(250);
    pass_time(750);
    ok(redis->link.state == NGX_OPSAUTH_LINK_DOWN, "a hang ends the connection");
    told_is("a:timeout", "told once");
    stop();
}


static void
test_bounds(void)
{
    unsigned                    i, n;
    u_char                     *data;
    ngx_str_t                   words[65], key;
    ngx_opsauth_redis_error_e   error;

    start();

    for (i = 0; i < 65; i++) {
        ngx_str_set(&words[i], "x");
    }

    error = NGX_OPSAUTH_REDIS_OK;
    ok(ngx_opsauth_command(redis, 65, words, handler, "x", &error) == NULL
       && error == NGX_OPSAUTH_REDIS_FULL, "65 words");
    ok(ngx_opsauth_command(redis, 0, words, handler, "x", &error) == NULL,
       "none");
    ok(ngx_opsauth_command(redis, 64, words, handler, "x", &error) != NULL,
       "64 words");

    ngx_str_set(&key, "key");
    ok(ngx_opsauth_script(redis, &script, &key, 61, words, handler, "x",
                          &error)
       == NULL, "61 arguments");
    ok(ngx_opsauth_script(redis, &script, &key, 60, words, handler, "x",
                          &error)
       != NULL, "60 arguments");
    ok(ngx_opsauth_script(redis, &script, &key, 0, NULL, handler, "x",
                          &error)
       != NULL, "no argument");

    data = malloc(NGX_OPSAUTH_COMMAND_BYTES);
    memset(data, 'x', NGX_OPSAUTH_COMMAND_BYTES);

    words[1].data = data;
    words[1].len = NGX_OPSAUTH_COMMAND_BYTES;
    ok(ngx_opsauth_command(redis, 2, words, handler, "x", &error) == NULL,
       "a byte too many");
    words[1].len--;
    ok(ngx_opsauth_command(redis, 2, words, handler, "x", &error) != NULL,
       "as many as may be");

    for (n = 1; ngx_opsauth_command(redis, 2, words, handler, "x", &error);
         n++)
    {
        /* void */
    }

    is_int(n, 15, "and 1 MB of them");
    is_int(error, NGX_OPSAUTH_REDIS_FULL, "then no more");

    turn();
    lost(NGX_OPSAUTH_REDIS_DOWN);
    (void) taken();
    pass_time(50);

    words[1].len = 8;

    for (n = 0; ngx_opsauth_command(redis, 2, words, handler, "x", &error);
         n++)
    {
        /* void */
    }

    is_int(n, NGX_OPSAUTH_REDIS_PENDING_MAX, "1024 at one time");
    is_int(error, NGX_OPSAUTH_REDIS_FULL, "no more");
    free(data);

    stop();
}


/* the output buffer grows, is compacted, and moves what it holds */

static void
test_wiped(void)
{
    unsigned  i, n;

    start();
    set("a");
    turn();
    up();

    for (i = 0; i < 900; i++) {
        set("b");
    }

    turn();
    ok(!holds_secret(), "900 at once");

    for (i = 0; i < 600; i++) {
        answer("+OK\r\n");
    }

    /* compaction moves the unwritten */

    window = 0;

    for (i = 0; i < 50; i++) {
        set("c");
    }

    turn();

    for (i = 0; i < 150; i++) {
        answer("+OK\r\n");
    }

    ok(redis->answered >= NGX_OPSAUTH_REDIS_OUT_COMPACT, "worth it");
    set("c");
    turn();
    ok(redis->answered < NGX_OPSAUTH_REDIS_OUT_COMPACT, "compacted");
    window = sizeof(wire);
    ngx_opsauth_redis_flush(redis);
    ok(!holds_secret(), "and nothing is left of it");

    for (i = 0; i < 202; i++) {
        answer("+OK\r\n");
    }

    is_int(redis->nslots, 0, "all answered");
    is_int(redis->secrets, 0, "none to be wiped");

    /* at random: nothing that was written is found again, and all that was
       accepted is told of once */

    (void) taken();
    n = 0;

    for (i = 0; i < 3000; i++) {

        switch (tap_random_below(6)) {

        case 0:
        case 1:
            if (set("x")) {
                n++;
            }
            break;

        case 2:
            window = tap_random_below(200);
            turn();
            break;

        case 3:
            if (redis->link.state == NGX_OPSAUTH_LINK_READY
                && redis->nsent
                && redis->answered + redis->slots[redis->head].size
                   <= (size_t) (redis->out.pos - redis->out.start))
            {
                answer("+OK\r\n");
            }
            break;

        case 4:
            if (redis->link.state == NGX_OPSAUTH_LINK_READY) {
                window = sizeof(wire);
                ngx_opsauth_redis_flush(redis);

                if (redis->nsent == redis->nslots && holds_secret()) {
                    ok(0, "found after all was written");
                    i = 3000;
                }
            }
            break;

        case 5:
            if (redis->link.state == NGX_OPSAUTH_LINK_CONNECTING) {
                window = tap_random_below(200);
                up();

            } else if (redis->link.state == NGX_OPSAUTH_LINK_READY
                       && tap_random_below(4) == 0)
            {
                lost(NGX_OPSAUTH_REDIS_CLOSED);
                ngx_current_msec += 50;
            }
            break;
        }

        /* one that was declined is told, too */

        for (char *p = told; *p; p++) {
            n -= (*p == ':');
        }

        for (char *p = told; (p = strstr(p, ":down")) != NULL; p++) {
            n++;
        }

        told[0] = '\0';
        wire_len = 0;
    }

    is_int(n, ngx_opsauth_redis_live(redis), "each is told of once");

    stop();
}


/* a handler may do what it likes */

static ngx_opsauth_redis_t  *destroyed;


static void
destroyer(void *data, ngx_opsauth_reply_t *reply,
    ngx_opsauth_redis_error_e error)
{
    tell(data, reply, error);

    if (destroyed) {
        destroyed = NULL;
        ngx_opsauth_redis_destroy(redis);
    }
}


static void
sender(void *data, ngx_opsauth_reply_t *reply, ngx_opsauth_redis_error_e error)
{
    tell(data, reply, error);
    set("next");
}


static void
test_handlers(void)
{
    ngx_str_t                  words[1];
    ngx_opsauth_redis_error_e  error;

    ngx_str_set(&words[0], "PING");

    start();
    ngx_opsauth_command(redis, 1, words, destroyer, "a", &error);
    ngx_opsauth_command(redis, 1, words, destroyer, "b", &error);
    turn();
    up();
    destroyed = redis;
    answer("+PONG\r\n+PONG\r\n");
    redis = NULL;
    told_is("a:ok=other b:closed", "it destroys the connection");
    stop();

    start();
    ngx_opsauth_command(redis, 1, words, sender, "a", &error);
    turn();
    up();
    answer("+PONG\r\n");
    (void) sent();
    told_is("a:ok=other", "it sends");
    answer("+OK\r\n");
    told_is("next:ok=other", "the next one");

    ngx_opsauth_command(redis, 1, words, sender, "a", &error);
    turn();
    lost(NGX_OPSAUTH_REDIS_TIMEOUT);
    told_is("a:timeout next:down", "not where it just failed");
    stop();
}


int
main(void)
{
    test_plain();
    test_noscript();
    test_classes();
    test_lines();
    test_lost();
    test_slow();
    test_bounds();
    test_wiped();
    test_handlers();

    return done_testing();
}
