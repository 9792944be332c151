#!/usr/bin/perl

# Tokens of another authorization server, in the long run: many requests at once,
# clients that go away, answers whose time is over, tokens that are revoked here,
# a store that fails.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::Command;
use OpsAuth::HTTP;
use OpsAuth::Introspection qw(yes reason);
use OpsAuth::Process;

my $WORKERS = $ENV{TEST_WORKERS} // 2;
# ms until an answer comes in which much must have happened; 3 s are its bound
my $LATE = OpsAuth::Nginx::SLOW ? 2_500 : 1_500;
my $g = OpsAuth::Introspection->new(workers => $WORKERS);
my ($t, $redis, $store, $as) = ($g->test, $g->redis, $g->store, $g->as);
$store->account('everybody', tenant => 'org_all');

my $opsauth = OpsAuth::Command->new($t, OPSAUTH_REDIS => $redis->url,
    OPSAUTH_PEPPER_FILE => $store->pepper_file);

sub token { return $store->token }
sub record { return $g->record(@_) }

subtest 'HTTP/2' => sub {
    my $curl = `curl -V` =~ /HTTP2/ ? 1 : 0;
    plan skip_all => 'this curl speaks no HTTP/2' unless $curl;
    my @tokens = map { $as->says(token(), body => yes(), delay => 50) } 1 .. 5;
    my $port = $t->port(8082);
    $t->write_file('curl.conf', join "\nnext\n", map {
        "http2-prior-knowledge\nno-progress-meter\nsilent\noutput = /dev/null\nwrite-out = \"%{http_version} %{http_code}\\n\"\n"
        . "url = http://127.0.0.1:$port/h2\nheader = \"Authorization: Bearer $_\"" } @tokens, $as->inactive(token()));
    my $out = `curl -sS --no-progress-meter --parallel --parallel-immediate -K @{[$t->dir]}/curl.conf`;
    is_deeply([sort split /\n/, $out], [('2 200') x 5, '2 401'], 'streams of one connection');

    # a client that gives up while its token is asked of
    my $token = $as->says(token(), body => yes(), delay => 1000);
    $t->write_file('curl.conf', "http2-prior-knowledge\nsilent\nmax-time = 0.4\nurl = http://127.0.0.1:$port/h2\n"
        . "header = \"Authorization: Bearer $token\"");
    system 'curl -K ' . $t->dir . '/curl.conf >/dev/null 2>&1';
    is(reason($t->get('/h2', key => $token)), '200 ok', 'the next one is answered');
    $t->write_file('curl.conf', '');
};

subtest 'one ask for many' => sub {
    for my $case ([200, 'active', body => yes(), delay => 300], [401, 'inactive', delay => 300], [503, 'failing', status => 500, delay => 300]) {
        my ($status, $name, %say) = @$case;
        my $token = $as->says(token(), %say);
        my %seen;
        $seen{$_->status}++ for $t->parallel(200, 'GET', '/many', key => $token);
        is_deeply(\%seen, { $status => 200 }, "$name: 200 requests at once");
        my $asked = $as->asked($token);
        # a failure is not remembered: who comes after it asks again
        cmp_ok($asked, '<=', $name eq 'failing' ? 20 : $WORKERS, "$asked asks of $WORKERS workers");
        cmp_ok($asked, '>=', 1, 'at least one');
    }
};

subtest 'who asks goes away' => sub {
    my $token = $as->says(token(), body => yes(), delay => 600);
    my @c = map { $t->connect } 1 .. 8;
    $_->write_request('GET', '/gone', key => $token) for @c;
    ok(OpsAuth::Process->poll(5, sub { $as->asked($token) >= 1 }), 'asked');
    # those that ask are among them; the others take their place
    $c[$_]->reset for 0 .. 3;
    is_deeply([map { $_->read_response->status } @c[4 .. 7]], [(200) x 4], 'the others are answered');

    my @fds = map { $t->fd_count($_) } $t->workers;
    for my $round (1 .. 20) {
        my $one = $as->says(token(), body => yes(), delay => 100);
        my @all = map { $t->connect } 1 .. 3;
        $_->write_request('GET', '/gone', key => $one) for @all;
        sleep 0.01 if $round % 2;
        $round % 3 ? $_->reset : $_->close for @all;
    }
    is($t->get('/', key => $as->says(token(), body => yes()))->status, 200, 'after many aborts it works');
    ok(OpsAuth::Process->poll(5, sub {
        my @after = map { $t->fd_count($_) } $t->workers;
        return !grep { $after[$_] > $fds[$_] + 6 } 0 .. $#fds;
    }), 'no descriptor is left');
};

subtest 'bound' => sub {
    plan skip_all => 'needs to know which worker gets a connection' if $WORKERS > 4;
    my $n = 128 * $WORKERS + 60;
    my @tokens = map { $as->says(token(), body => yes()) } 1 .. 2;
    my @many = map { token() } 1 .. $n;
    # all of them in one file at once
    $as->{known}{$_} = { body => yes(), delay => 5000 } for @many;
    $as->inactive(token());
    my %seen;
    $seen{$_->status}++ for OpsAuth::HTTP::parallel_requests([map { [$t->port(8080), 'GET', '/bound', key => $_] } @many], timeout => 60);
    is(join(' ', sort keys %seen), '200 503', 'more than the bound at once: some are refused');
    cmp_ok($seen{200}, '<=', 128 * $WORKERS, 'none beyond the bound');
    cmp_ok($seen{200}, '>', 100, 'and those within it are answered');
    is($t->get('/', key => $tokens[0])->status, 200, 'then there is room again');
    delete @{$as->{known}}{@many};
};

subtest 'asked again when its time is over' => sub {
    my $token = $as->says(token(), body => yes());
    is($t->get('/short', key => $token)->status, 200, 'first');
    my $id = record($token)->{id};
    for my $round (1 .. 2) {
        sleep 0.1 while time <= record($token)->{expires};
        my ($asked, $started) = ($as->asked($token), time);
        is_deeply([map { $_->status } $t->parallel(50, 'GET', '/short', key => $token)], [(200) x 50], 'the token still passes');
        # more often, if all this took longer than the answer is good for
        my $times = 1 + int(time - $started);
        cmp_ok($as->asked($token), '<=', $asked + $times * $WORKERS, 'asked once by each worker');
        cmp_ok($as->asked($token), '>', $asked, 'anew');
        is(record($token)->{id}, $id, 'its id is the same');
    }
    ok(OpsAuth::Process->poll(10, sub {
        $t->get('/short', key => $token);       # its time may be over at once
        return reason($t->get('/off', key => $token)) eq '200 ok';
    }), 'where nobody is asked, the record counts');
    $as->inactive($token);
    sleep 0.1 while time <= record($token)->{expires};
    is(reason($t->get('/off', key => $token)), '401 expired', 'until it expires');
    is(reason($t->get('/short', key => $token)), '401 unknown', 'not active any more: refused');
    my $asked = $as->asked($token);
    is(reason($t->get('/short', key => $token)), '401 unknown', 'again');
    is($as->asked($token), $asked, 'which is remembered');

    $token = $as->says(token(), body => yes());
    is($t->get('/short', key => $token)->status, 200, 'another one');
    $as->says($token, status => 500);
    sleep 0.1 while time <= record($token)->{expires};
    is($t->get('/short', key => $token)->status, 503, 'no answer: unavailable, not expired');
    $as->says($token, body => yes(scope => 'changed'));
    is(join(',', $t->get('/short', key => $token)->echoed('X-Scopes')), 'changed', 'and what it says anew counts');
};

subtest 'revoked here' => sub {
    my $token = $as->says(token(), body => yes());
    is($t->get('/short', key => $token)->status, 200, 'passes');
    my $id = record($token)->{id};
    my ($exit, $out, $err) = $opsauth->run(qw(token revoke), $id);
    is($exit, 0, 'opsauth token revoke') or diag $err;
    ok(OpsAuth::Process->poll(5, sub { reason($t->get('/short', key => $token)) eq '401 revoked' }), 'is in force');
    my $asked = $as->asked($token);
    sleep 0.1 while time <= record($token)->{expires} + 1;
    is(reason($t->get('/short', key => $token)), '401 revoked', 'also when its time is over');
    is($as->asked($token), $asked, 'the other server has no say any more');
    cmp_ok($redis->cmd('TTL', $store->name('credential', $store->digest($token))), '>', 86400, 'for as long as it may live');

    # the answer comes when it was revoked meanwhile
    $token = $as->says(token(), body => yes());
    is($t->get('/short', key => $token)->status, 200, 'another one passes');
    sleep 0.1 while time <= record($token)->{expires};
    $as->says($token, body => yes(), delay => $LATE);
    my $c = $t->connect;
    my $before = $as->asked($token);
    $c->write_request('GET', '/short', key => $token);
    OpsAuth::Process->poll(5, sub { $as->asked($token) > $before });
    $store->revoke($token);
    is(reason($c->read_response), '401 revoked', 'revoked while it was asked of: stays so');
    is(record($token)->{state}, 'revoked', 'in the store');

    # one of our own appears meanwhile
    $token = $as->says(token(), body => yes(), delay => $LATE);
    $c = $t->connect;
    $c->write_request('GET', '/short', key => $token);
    OpsAuth::Process->poll(5, sub { $as->asked($token) });
    $store->credential($token, kind => 'access_token', account => 'everybody', id => 'tok_own');
    is(join(',', $c->read_response->echoed('X-Account-Id')), 'everybody', 'a record of our own is not touched');
    is(record($token)->{id}, 'tok_own', 'nor written over');
};

subtest 'the store' => sub {
    my $token = $as->says(token(), body => yes());
    is($t->get('/', key => $token)->status, 200, 'a token passes');
    my $asked = $as->asked;
    $t->quit;
    $t->start;
    is($t->get('/', key => $token)->status, 200, 'after a restart it is known');
    is($as->asked, $asked, 'without asking');
    $t->reload;
    is($t->get('/', key => $token)->status, 200, 'after a reload');
    is($as->asked, $asked, 'too');

    $redis->cmd('CONFIG', 'SET', 'maxmemory', '1');
    my $other = $as->says(token(), body => yes());
    is($t->get('/', key => $other)->status, 503, 'a store that takes no writes: unavailable');
    $redis->cmd('CONFIG', 'SET', 'maxmemory', '0');
    is($t->get('/', key => $other)->status, 200, 'later it does');

    $redis->cmd('SCRIPT', 'FLUSH');
    is($t->get('/', key => $as->says(token(), body => yes()))->status, 200, 'a store that forgot the script');

    my $short = $as->says(token(), body => yes());
    is($t->get('/short', key => $short)->status, 200, 'one of short time');
    my $read = time;
    my $expires = record($short)->{expires};
    $redis->stop;
    is($t->get('/', key => $token)->status, 200, 'Redis gone: who is known still passes');
    is($t->get('/', key => token())->status, 503, 'a new one is not called unknown');
    sleep 0.1 while time <= $expires;
    ok(OpsAuth::Process->poll(10, sub { ($t->get('/', key => $token)->header('X-Cache') // '') eq 'stale' }), 'on its stale record');
    sleep 0.1 while time <= $read + 2;      # its lease
    $asked = $as->asked($short);
    is($t->get('/short', key => $short)->status, 503, 'nor is one whose time is over');
    is($as->asked($short), $asked, 'and nobody is asked');
    $redis->start;
    # it came up empty
    $store->marker;
    $g->crm;
    ok(OpsAuth::Process->poll(10, sub { $t->get('/', key => $as->says(token(), body => yes()))->status != 503 }), 'Redis is back');
};

subtest 'rights' => sub {
    my @read = qw(resetkeys %R~opsauth:credential:* %R~opsauth:account:* %R~opsauth:meta resetchannels
        &__redis__:invalidate &opsauth:invalidate -@all +hmget +ping +info +subscribe +client|id +client|setname +client|tracking +role);
    my @write = qw(~opsauth:credential:* ~opsauth:id:* +set +hset +exists +del +pexpireat +eval +evalsha);
    $t->write_file('password', 'pass', 0600);
    $redis->cmd(qw(ACL SETUSER gateway on >pass), @read);
    my $limited = $g->http;
    $limited =~ s/(opsauth_store main \{)/$1 redis_user gateway; redis_password_file %%TESTDIR%%\/password;/;
    $t->config_http($limited);
    $t->reload;
    my $token = $as->says(token(), body => yes());
    is(reason($t->get('/', key => $token)), '503 unavailable', 'a Redis user who may only read');
    $t->allow_log(qr/answers SET with NOPERM/);
    like($t->log, qr/the record of an introspected token could not be written: may the gateway's Redis user write\?/, 'as the log says');
    $redis->cmd(qw(ACL SETUSER gateway), @write);
    is(reason($t->get('/', key => $token)), '200 ok', 'one with the rights of the documentation');
    $t->config_http($g->http);
    $t->reload;
};

subtest 'while nginx goes' => sub {
    my $token = $as->says(token(), body => yes(), delay => $LATE);
    my @c = map { $t->connect } 1 .. 6;
    $_->write_request('GET', '/going', key => $token) for @c;
    OpsAuth::Process->poll(5, sub { $as->asked($token) });
    $t->reload;
    is_deeply([map { $_->read_response->status } @c], [(200) x 6], 'a reload loses no request that waits');
};

$t->done;
