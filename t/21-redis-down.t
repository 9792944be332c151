#!/usr/bin/perl

# A Redis that is not there, goes away, comes back or hangs: never a 401 because
# of it, no answer for the wrong request, and two lines in the log.

use strict;
use warnings;

use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::Process;
use OpsAuth::Test;

sub lines { my ($text, $re) = @_; return scalar(grep { /$re/ } split /\n/, $text) }

# status and what the gateway says of it
sub told { my ($r) = @_; return join ' ', $r->status, map { $r->header("X-$_") // '-' } qw(Reason Cache) }

# An outage costs two lines, however many requests it costs. (A server under load
# may find Redis slow before it finds it gone: that is the same outage.)
sub one_outage {
    my ($t, $mark, $name) = @_;
    my $log = $t->log_since($mark);
    is(lines($log, qr/opsauth: redis \S+ of store "$name" is down: /) . ' ' . lines($log, qr/opsauth: redis \S+ of store "$name" is back$/), '1 1',
        "$name: one line down, one back") or diag $log;
}

my %server = (
    http => <<'CONF',
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        add_header X-Reason $opsauth_reason always;
        add_header X-Cache $opsauth_cache always;
        add_header X-Account $opsauth_account always;
        location / { opsauth main; empty_gif; }
        location /off { opsauth off; empty_gif; }
        location /strict { opsauth strict; empty_gif; }
        location /brief { opsauth brief; empty_gif; }
    }
CONF
);

# stores that differ in `stale` alone
sub config {
    my ($t, $more) = @_;
    my %stale = (main => '60s', strict => 'off', brief => '1s');
    $t->config_http(join('', map { "opsauth_store $_ { redis %%REDIS%%; pepper_file %%PEPPER%%; "
        . "lease 100ms; cache_negative 100ms; cache 1m; stale $stale{$_}; $more }\n" } sort keys %stale) . $server{http});
}

sub until_status {
    my ($t, $status, $uri, $key) = @_;
    return OpsAuth::Process->poll(15, sub { $t->get($uri, key => $key)->status == $status });
}

# --- a real one -------------------------------------------------------------------------

subtest 'not there at the start' => sub {
    my $t = OpsAuth::Test->new;
    my $redis = $t->redis;
    my $store = $t->store;
    config($t, 'redis_timeout 5s; redis_connect_timeout 5s;');
    $redis->stop;
    $t->start;

    my ($known, $unknown) = ($store->key, $store->key);
    my %seen;
    for my $i (1 .. 100) {
        my $r = $t->get('/', key => $i % 2 ? $known : $unknown);
        $seen{told($r)}++;
        $seen{'Retry-After ' . ($r->header('Retry-After') // 'none')}++;
        $seen{'a challenge'}++ if defined $r->header('WWW-Authenticate');
    }
    is(delete $seen{'503 unavailable miss'}, 100, 'all are 503, none is 401');
    is_deeply([grep { !/^Retry-After [123]$/ } keys %seen], [], 'to be tried again in 1 to 3 seconds') or diag explain \%seen;
    cmp_ok(scalar(keys %seen), '>', 1, 'not all at the same time');
    is($t->get('/off')->status, 200, 'a place without opsauth is not concerned');

    $redis->start;
    $store->marker->account('acme');
    $store->credential($known);
    # backoff ends after 5 s at the latest
    ok(until_status($t, 200, '/', $known), 'it comes up and is used');
    is($t->get('/', key => $unknown)->status, 401, 'nothing of the outage is remembered');
    one_outage($t, 0, 'main');
    $t->finish;
};

subtest 'restarted' => sub {
    my $t = OpsAuth::Test->new;
    my $redis = $t->redis;
    my $store = $t->store;
    config($t, 'redis_timeout 5s; redis_connect_timeout 5s;');
    $t->start;
    $store->account('acme');
    my $key = $store->issue;
    is($t->get('/', key => $key)->status, 200, 'before');
    for my $round (1 .. 3) {
        $redis->restart(keep => 1);
        sleep 0.2;
        is(told($t->get('/', key => $key)), '200 ok miss', "restart $round: the first request finds it");
        is($t->get('/', key => $store->key)->status, 401, 'as does one with an unknown key');
    }
    is(lines($t->log, qr/opsauth: redis/), 0, 'nothing to say of it') or diag $t->log;

    # --- stale --------------------------------------------------------------------------
    # what was read before the feed is back was read from a server that is replaced
    for my $place (qw(/ /strict /brief)) {
        ok(OpsAuth::Process->poll(20, sub { sleep 0.15; told($t->get($place, key => $key)) eq '200 ok hit' }), "the feed of $place is back");
    }
    my %key = map { $_ => $store->issue } qw(known dying revoked late);
    $store->update($key{dying}, expires => int(time) + 5);
    my @places = qw(/ /strict /brief);
    for my $place (@places) {
        is($t->get($place, key => $key{$_})->status, 200, "$_ at $place") for qw(known dying revoked);
    }
    $store->revoke($key{revoked});
    sleep 0.2;
    is($t->get($_, key => $key{revoked})->status, 401, 'revoked') for @places;
    my $mark = $t->mark;
    $redis->cmd('SAVE');
    $redis->kill;
    sleep 0.2;
    is(told($t->get('/', key => $key{known})), '200 ok stale', 'a known key is served');
    is(told($t->get('/brief', key => $key{known})), '200 ok stale', 'and where that is brief');
    is(told($t->get('/strict', key => $key{known})), '503 unavailable miss', 'not where it must not');
    is(told($t->get('/', key => $key{revoked})), '401 revoked stale', 'what is revoked stays so');
    is(told($t->get('/', key => $store->key)), '503 unavailable miss', 'an unknown key');
    is(told($t->get('/', key => $key{late})), '503 unavailable miss', 'one that nobody has used yet');
    my %all;
    $all{told($_)}++ for $t->parallel(200, 'GET', '/', key => $key{known});
    is_deeply(\%all, { '200 ok stale' => 200 }, 'as often as one likes');
    ok(until_status($t, 503, '/brief', $key{known}), 'brief is brief');
    is($t->get('/', key => $key{known})->status, 200, 'the other is not');
    ok(until_status($t, 401, '/', $key{dying}), 'an expiry is kept');
    is(told($t->get('/', key => $key{dying})), '401 expired stale', 'by the clock alone');

    $redis->start;
    ok(until_status($t, 200, $_, $key{late}), "back, $_") for @places;
    is($t->get('/', key => $store->key)->status, 401, 'an unknown key again');
    is(told($t->get('/', key => $key{known})), '200 ok miss', 'records are read again');
    one_outage($t, $mark, $_) for qw(main strict brief);
    $t->finish;
};

subtest 'stopped' => sub {
    my $t = OpsAuth::Test->new;
    my $redis = $t->redis;
    my $store = $t->store;
    config($t, 'redis_timeout 300ms; redis_connect_timeout 300ms;');
    $t->start;
    my $n = 0;
    my $fresh = sub { return $store->issue(account => $store->account('a' . ++$n)) };
    my $key = $fresh->();
    ok(until_status($t, 200, '/', $key), 'before');
    my $mark = $t->mark;
    $redis->pause;
    sleep 0.2;
    my $r = $t->get('/', key => $store->key);
    is(told($r), '503 unavailable miss', 'an unknown key has to wait');
    cmp_ok($r->{time}, '>=', 0.25, 'for redis_timeout');
    is(told($t->get('/', key => $key)), '200 ok stale', 'a known key is served');
    my %all;
    $all{told($_)}++ for $t->parallel(300, 'GET', '/strict', key => $key);
    is_deeply(\%all, { '503 unavailable miss' => 300 }, 'many') or diag explain \%all;
    $redis->resume;
    my $another = $fresh->();
    ok(until_status($t, 200, '/', $another), 'continued');
    is($t->get('/', key => $another)->header('X-Account'), "a$n", 'and its answers are those asked for');
    one_outage($t, $mark, 'main');
    $t->finish;
};

# --- a scripted one -----------------------------------------------------------------------

subtest 'in the midst of it' => sub {
    my $t = OpsAuth::Test->new;
    my $fake = $t->fake_redis;
    my $store = $t->store;
    config($t, 'redis_timeout 5s; redis_connect_timeout 5s;');
    $t->start;
    my $n = 0;
    my $fresh = sub { return $store->issue(account => $store->account('b' . ++$n)) };
    is($t->get('/', key => $fresh->())->status, 200, 'before');
    my $reads = 'HMGET opsauth:credential:*';

    for my $how (qw(close rst)) {
        $fake->reset->script($reads => [$how, 'default']);
        my $key = $fresh->();
        my $r = $t->get('/', key => $key);
        is(told($r) . ' ' . $r->header('X-Account'), "200 ok miss b$n", "$how: asked again");
        is($fake->count($reads) . $fake->opened, '21', 'once more, on a new connection');

        $fake->reset->script($reads => $how);
        is(told($t->get('/', key => $fresh->())), '503 unavailable miss', "$how always");
        is($fake->count($reads), 2, 'asked twice, not for ever');
        $fake->behave;
        ok(until_status($t, 200, '/', $fresh->()), 'and then it works');
    }

    # fifty that wait on a connection that ends: all are asked again, once
    $fake->reset->script($reads => { hold => 1 });
    my @clients = map { my $c = $t->connect; $c->write_request('GET', '/', key => $fresh->()); $c } 1 .. 50;
    ok($fake->wait_held(50), 'fifty wait');
    $fake->behave->drop;
    my @accounts = map { $_->read_response->header('X-Account') // '-' } @clients;
    is_deeply(\@accounts, [map { 'b' . ($n - 50 + $_) } 1 .. 50], 'each gets its own');
    is($fake->count($reads), 100, 'with one more read');

    # and once it is gone, at the same moment
    $fake->script($reads => { hold => 1 });
    @clients = map { my $c = $t->connect; $c->write_request('GET', '/', key => $fresh->()); $c } 1 .. 50;
    ok($fake->wait_held(50), 'fifty wait');
    my $mark = $t->mark;
    $fake->down;
    my %all;
    $all{told($_->read_response)}++ for @clients;
    is_deeply(\%all, { '503 unavailable miss' => 50 }, 'gone altogether');
    $fake->behave->up;
    ok(until_status($t, 200, '/', $fresh->()), 'up again');
    one_outage($t, $mark, 'main');
    $t->finish;
};

subtest 'late replies' => sub {
    my $t = OpsAuth::Test->new;
    my $fake = $t->fake_redis;
    my $store = $t->store;
    config($t, 'redis_timeout 400ms; redis_connect_timeout 5s;');
    $t->start;
    my $n = 0;
    my $fresh = sub { return $store->issue(account => $store->account('c' . ++$n)) };
    ok(until_status($t, 200, '/', $fresh->()), 'before');
    my $reads = 'HMGET opsauth:credential:*';

    $fake->reset->script($reads => [{ delay => 600 }, 'default']);
    my $late = $fresh->();
    is(told($t->get('/', key => $late)), '503 unavailable miss', 'too late');
    my $r = $t->get('/', key => $fresh->());
    # behind the late one on the same connection, so perhaps late itself
    ok($r->status == 503 || $r->header('X-Account') eq "c$n", 'the next is not answered with its reply');
    ok(until_status($t, 200, '/', $late), 'later');
    is($t->get('/', key => $late)->header('X-Account'), 'c' . ($n - 1), 'its own');
    is($fake->opened, 0, 'a late reply does not cost the connection');

    # a server that is late again and again: whoever gets an answer gets his own
    $fake->reset->script($reads => [map { { delay => 60 * (11 * $_ % 13) } } 1 .. 40]);
    my (%all, @wrong);
    for my $i (1 .. 40) {
        my $key = $fresh->();
        my $r = $t->get('/', key => $key, timeout => 5);
        $all{$r->status}++;
        push @wrong, "$i: " . $r->header('X-Account') if $r->status == 200 && $r->header('X-Account') ne "c$n";
        sleep 0.1 if $r->status != 200;
    }
    is_deeply(\@wrong, [], 'nobody got the answer of another');
    is_deeply([grep { !/^(200|503)$/ } keys %all], [], 'nor a 401') or diag explain \%all;
    $fake->behave;
    ok(until_status($t, 200, '/', $fresh->()), 'after that');

    # one that never answers again is left after a while
    $fake->reset->script($reads => ['silence']);
    is($t->get('/', key => $fresh->())->status, 503, 'silence');
    ok(OpsAuth::Process->poll(10, sub { $fake->closed >= 1 }), 'its connection is closed');
    ok(until_status($t, 200, '/', $fresh->()), 'and a new one works');

    # replies that are lost on the way: all that follow come a command too late,
    # as tombstones swallow them, also while there are always new requests
    $fake->reset->script($reads => ['silence', 'silence']);
    my $slow = 0;
    ok(OpsAuth::Process->poll(20, sub {
        return 1 if $t->get('/', key => $fresh->())->status == 200;
        $slow++;
        sleep 0.1;
        return 0;
    }), 'two lost replies');
    cmp_ok($slow, '>=', 2, 'cost requests');
    is($fake->opened, 1, 'until the connection is given up');
    $t->finish;
};

# Attempts show as greetings here: it accepts, and closes when it is spoken to.
subtest 'the backoff begins anew' => sub {
    my $t = OpsAuth::Test->new;
    my $fake = $t->fake_redis;
    my $store = $t->store;
    config($t, 'redis_timeout 5s; redis_connect_timeout 5s;');
    $t->start;
    my $n = 0;
    my $fresh = sub { return $store->issue(account => $store->account('d' . ++$n)) };
    is($t->get('/', key => $fresh->())->status, 200, 'before');
    # that which is asked in vain; when the command connections tried
    my $unknown = $store->key;
    my $attempts = sub { return map { $_->{time} } grep { $_->{words}[2] !~ /-feed$/ } $fake->commands('CLIENT SETNAME') };
    my $out = sub {
        my ($tries) = @_;
        $fake->reset->script('CLIENT SETNAME' => 'close');
        $fake->drop;
        my $ok = OpsAuth::Process->poll(60, sub { $t->get('/', key => $unknown); $attempts->() >= $tries });
        ok($ok, "an outage of $tries attempts");
    };

    # waits of up to 50, 100, ... 5000 ms: after eight they are as long as they get
    $out->(9);
    my @at = $attempts->();
    cmp_ok($at[-1] - $at[0], '>', 0.05, 'they become less frequent');
    $fake->reset->behave;
    my $key = $fresh->();
    ok(until_status($t, 200, '/', $key), 'back');
    is(scalar(my @one = $attempts->()), 1, 'by the first attempt');
    ok($t->wait_for_log(qr/feed of store "main": tracking(?s:.*)feed of store "main": tracking/, timeout => 20), 'the feed comes back as well');

    # the next outage is a new one: five attempts take 0.8 s, 1.6 s at most; with
    # what was left of the first they would take 12 s, and one in fifty runs 6 s
    $out->(6);
    @at = $attempts->();
    cmp_ok($at[5] - $at[0], '<', 6, 'attempts are frequent again');
    $fake->behave;
    ok(until_status($t, 200, '/', $key), 'back again');
    $t->finish;
};

done_testing();
