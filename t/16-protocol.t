#!/usr/bin/perl

# The access phase and the wire: connections that are kept, bodies that nobody
# wants, clients that go away while a record is being read, HTTP/2, WebSocket.

use strict;
use warnings;

use Socket qw(SOL_SOCKET SO_RCVBUF);
use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::HTTP qw(build_request);
use OpsAuth::Process;
use OpsAuth::Test;

my $t = OpsAuth::Test->new;
my $fake = $t->fake_redis;
my $store = $t->store(redis => $fake);
my $upstream = $t->upstream;

$t->config_http(<<'CONF');
    log_format verdict '$request_uri $status $opsauth_reason $opsauth_cache';
    access_log %%TESTDIR%%/access.log verdict;
    upstream backend { server %%UPSTREAM%%; keepalive 8; }
    opsauth_store main { redis %%REDIS%%; pepper_file %%PEPPER%%; lease 60s; cache_negative 60s; redis_timeout 10s; }
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        listen 127.0.0.1:%%PORT_8081%% sndbuf=8k;
        listen 127.0.0.1:%%PORT_8082%% http2;
        client_max_body_size 10m;
        opsauth main;
        location / { proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; }
        location /ws {
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }
    }
CONF
$t->start;

my $n = 0;
sub fresh { return $store->issue(account => $store->account('acct' . ++$n)) }
my $key = fresh();
my $bad = $store->key;
is($t->get('/', key => $key)->status, 200, 'a key that is cached from now on');
is($t->get('/', key => $bad)->status, 401, 'and one that is known to be unknown');

# reads that arrived since the last reset: credentials and accounts
sub reads { return scalar grep { $_->{words}[1] !~ /:meta$/ } $fake->commands('HMGET') }
sub hold { $fake->reset; $fake->script(HMGET => { hold => 1 }) }
sub let_go { $fake->script(HMGET => undef); $fake->release }

# whether the access log gets a line like that
sub logged { my ($re) = @_; return OpsAuth::Process->poll(5, sub { $t->read_file('access.log') =~ /^$re$/m ? 1 : 0 }) }

sub statuses { return join ' ', map { $_->status || $_->error } @_ }

# --- one connection, many requests --------------------------------------------------------

subtest 'keep-alive' => sub {
    my $c = $t->connect;
    my @got = map { $c->request('GET', "/$_", key => $_ % 3 == 0 ? $bad : $_ % 3 == 1 ? $key : fresh()) } 1 .. 30;
    is(statuses(@got), join(' ', (200, 200, 401) x 10), 'one after the other');
    is_deeply([map { $_->json->{uri} } grep { $_->status == 200 } @got], [map { "/$_" } grep { $_ % 3 } 1 .. 30], 'each its own');
};

subtest 'pipelined' => sub {
    my @requests = map { ['GET', "/p$_", key => $_ % 4 == 0 ? $bad : $_ % 4 == 1 ? fresh() : $_ % 4 == 2 ? $store->key : $key] } 1 .. 20;
    my @got = $t->connect->pipeline(@requests);
    is(statuses(@got), join(' ', (200, 401, 200, 401) x 5), 'in one segment, known and unknown');
    is_deeply([map { $_->json->{uri} } grep { $_->status == 200 } @got], ['/p1', '/p3', '/p5', '/p7', '/p9', '/p11', '/p13', '/p15', '/p17', '/p19'], 'in order');

    hold();
    my $c = $t->connect;
    $c->write_request('GET', '/held1', key => fresh());
    ok($fake->wait_held(1), 'the first waits');
    $c->write_request('GET', '/held2', key => $key);
    $c->write_request('GET', '/held3', key => $bad);
    is($c->read_raw(0.1), '', 'and so do those behind it');
    let_go();
    is(statuses(map { $c->read_response } 1 .. 3), '200 200 401', 'then all of them');
};

subtest 'bodies that are turned away' => sub {
    my %body = (small => 'x' x 100, larger => 'y' x 100_000, large => 'z' x 500_000);
    for my $size (sort keys %body) {
        for my $chunked (0, 1) {
            my $body = $body{$size};
            my %o = $chunked ? (chunks => [unpack '(a9000)*', $body]) : (body => $body);
            for my $bad_key ($bad, $store->key) {
                my $c = $t->connect;
                my @got = $c->pipeline(['POST', '/body', key => $bad_key, %o], ['GET', '/behind', key => $key], ['POST', '/body2', %o], ['GET', '/last', key => $key]);
                is(statuses(@got), '401 200 401 200', "$size, chunked $chunked: what follows is read rightly");
            }
        }
    }
    $upstream->reset;
    my $smuggled = build_request('GET', '/smuggled', key => $key);
    is(statuses($t->connect->pipeline(['POST', '/', key => $bad, body => $smuggled], ['GET', '/real', key => $key])), '401 200', 'a request in a body');
    is_deeply([map { $_->{uri} } $upstream->requests], ['/real'], 'is a body');
};

subtest 'bodies that pass' => sub {
    my $body = join '', map { "line $_\n" } 1 .. 20_000;
    is($t->request('POST', '/', key => $_, body => $body)->json->{body}, $body, 'with a length') for $key, fresh();
    is($t->request('PUT', '/', key => $_, chunks => [unpack '(a50000)*', $body])->json->{body}, $body, 'chunked') for $key, fresh();

    hold();
    my $c = $t->connect;
    my $request = build_request('POST', '/slow', key => fresh(), body => $body);
    $c->send(substr $request, 0, 1000, '');
    ok($fake->wait_held(1), 'it waits for its record');
    $c->send(substr $request, 0, 50_000, '');
    let_go();
    sleep 0.02;
    $c->send($request);
    is($c->read_response->json->{body}, $body, 'a body that comes before and after');
};

subtest 'Expect: 100-continue' => sub {
    my @expect = (headers => [Expect => '100-continue', 'Content-Length' => 5]);
    for my $known ($key, fresh()) {
        my $c = $t->connect;
        $c->write_request('POST', '/', key => $known, @expect);
        like($c->read_bytes(25), qr/^HTTP\/1.1 100 Continue\r\n\r\n$/, 'allowed: go on');
        $c->send('12345');
        is($c->read_response->json->{body}, '12345', 'and it went on');
    }
    my $c = $t->connect;
    $c->write_request('POST', '/', key => $bad, @expect);
    like($c->read_bytes(12), qr/^HTTP\/1.1 401/, 'denied: at once');
};

subtest 'HTTP/1.0, slow clients' => sub {
    my $r = $t->get('/', key => fresh(), version => '1.0', host => undef);
    is($r->status, 200, 'HTTP/1.0');
    is($t->get('/', key => $bad, version => '1.0', host => undef)->status, 401);
    my $c = $t->connect;
    $c->send_slowly(build_request('GET', '/', key => fresh()), delay => 0.0005);
    is($c->read_response->status, 200, 'byte by byte');
    $c->send_slowly(build_request('POST', '/', key => $bad, body => 'abc'), delay => 0.0005);
    is($c->read_response->status, 401);
    $c->send_slowly(build_request('POST', '/', key => fresh(), body => 'abc' x 50), delay => 0.0005);
    is($c->read_response->json->{body}, 'abc' x 50);
};

subtest 'many at once' => sub {
    $fake->reset;
    $fake->script(HMGET => { delay => 50 });
    my $one = fresh();
    is(statuses($t->parallel(200, 'GET', '/', key => $one)), join(' ', (200) x 200), '200 requests with one key');
    is(reads(), 2, 'two reads');
    $fake->behave;
};

# --- clients that go away -----------------------------------------------------------------

subtest 'gone while it waits' => sub {
    my %end = (FIN => sub { $_[0]->close }, RST => sub { $_[0]->reset }, half => sub { $_[0]->half_close });
    for my $how (sort keys %end) {
        $upstream->reset;
        hold();
        my $gone = fresh();
        my $c = $t->connect;
        $c->write_request('GET', "/gone-$how", key => $gone);
        ok($fake->wait_held(1), "$how: it waits");
        $end{$how}->($c);
        ok(logged(qr{/gone-$how 499 - -}), "$how: noticed before the answer");
        let_go();
        ok(OpsAuth::Process->poll(5, sub { $fake->held == 0 }), "$how: the late reply comes");
        is($t->get('/', key => $key)->status, 200, "$how: others go on");
        is($upstream->count, 1, "$how: the backend never saw it");
        $fake->reset;
        is($t->get("/again-$how", key => $gone)->status, 200, "$how: the same key");
        is(reads(), 1, "$how: the late reply is in the cache") or diag explain [$fake->commands];
    }

    hold();
    my $shared = fresh();
    my @all = map { my $c = $t->connect; $c->write_request('GET', "/shared$_", key => $shared); $c } 1 .. 6;
    ok($fake->wait_held(1), 'six wait for one reply');
    sleep 0.05;
    is(reads(), 1, 'one read');
    $all[$_]->reset for 0, 2;
    $all[$_]->close for 3, 5;
    ok(logged(qr{/shared$_ 499 - -}), 'gone') for 1, 3, 4, 6;
    let_go();
    is(statuses(map { $_->read_response } @all[1, 4]), '200 200', 'the others get theirs');

    hold();
    my @many = map { my $c = $t->connect; $c->write_request('GET', "/many$_", key => fresh()); $c } 1 .. 50;
    ok($fake->wait_held(50), 'fifty wait');
    $many[$_]->reset for grep { $_ % 2 } 0 .. 49;
    let_go();
    is(statuses(map { $many[$_]->read_response } grep { !($_ % 2) } 0 .. 49), join(' ', (200) x 25), 'aborts and answers at the same time');
};

subtest 'entered again while it waits' => sub {
    # the first response fills the socket; the second request begins while the
    # client still reads it: each write event comes to the request that waits
    for my $round (1 .. 3) {
        my $c = $t->connect(port => 8081);
        setsockopt $c->socket, SOL_SOCKET, SO_RCVBUF, pack 'i', 16_384;
        $c->write_request('GET', '/?size=300000', key => $key);
        hold();
        my $second = fresh();
        $c->write_request('GET', '/second', key => $second);
        my $first = $c->read_response;
        is(length $first->body, 300_000, 'the first');
        ok($fake->wait_held(1), 'the second waits');
        sleep 0.02;
        is(reads(), 1, 'and asked once');
        let_go();
        my $r = $c->read_response;
        is($r->status, 200, 'the second');
        is_deeply([$r->echoed('X-Account-Id')], ["acct$n"], 'its own');
        is(reads(), 2, 'one read of each');
    }
};

subtest 'entered again together with the answer' => sub {
    # the answer and a write event of the earlier response come in one turn of
    # the event loop, in this order: what the request then waits for (its body)
    # must not be taken away from it
    my ($worker) = $t->workers;
    my $account = $store->account('known');
    is($t->get('/', key => $store->issue(account => $account))->status, 200, 'an account that is cached');
    for my $round (1 .. 3) {
        my $c = $t->connect(port => 8081);
        setsockopt $c->socket, SOL_SOCKET, SO_RCVBUF, pack 'i', 16_384;
        $c->write_request('GET', '/?size=300000', key => $key);
        hold();
        $c->write_request('POST', '/second', key => $store->issue(account => $account), headers => ['Content-Length' => 5]);
        # up to where nginx has written all of it, and the socket holds the rest
        my $got = $c->read_bytes(1_000);
        my $left = index($got, "\r\n\r\n") + 4 + 300_000 - length $got;
        $left -= length $c->read_bytes(4_000) until $left < 8_000 || $fake->held;
        ok($fake->wait_held(1), 'the second waits');
        kill 'STOP', $worker;
        let_go();
        sleep 0.05;
        $c->read_bytes($left);
        # epoll tells of both sides of a socket at once
        $c->send('12');
        sleep 0.02;
        kill 'CONT', $worker;
        sleep 0.05;
        $c->send('345');
        my $r = $c->read_response(timeout => 5);
        is($r->status || $r->error, 200, 'answered');
        is($r->status && $r->json->{body}, '12345', 'with its body');
    }
};

# --- WebSocket ----------------------------------------------------------------------------

subtest 'WebSocket' => sub {
    my @upgrade = (headers => [Upgrade => 'websocket', Connection => 'Upgrade']);
    my $c = $t->connect;
    is($c->request('GET', '/ws', key => $bad, @upgrade)->status, 401, 'denied');
    is($c->request('GET', '/ws', key => fresh(), @upgrade)->status, 101, 'allowed, on the same connection');
    $c->send("\x81\x05hello");
    is($c->read_bytes(7), "\x81\x05hello", 'bytes');

    hold();
    $c = $t->connect;
    $c->write_request('GET', '/ws', key => fresh(), @upgrade);
    ok($fake->wait_held(1));
    $c->send('early');
    let_go();
    is($c->read_response->status, 101, 'after a wait');
    is($c->read_bytes(5), 'early', 'with what came early');
    $c->send('late');
    is($c->read_bytes(4), 'late', 'and late');
};

# --- HTTP/2 -------------------------------------------------------------------------------

sub frame { my ($type, $flags, $stream, $payload) = @_; return substr(pack('N', length $payload), 1) . pack('CCN', $type, $flags, $stream) . $payload }

# literal header fields, never indexed
sub hpack { my $out = ''; while (@_) { my ($name, $value) = splice @_, 0, 2; $out .= "\x10" . pack('C', length $name) . $name . pack('C', length $value) . $value } return $out }

sub h2_request {
    my ($stream, $path, $key, @headers) = @_;
    return frame(1, 5, $stream, hpack(':method', 'GET', ':scheme', 'http', ':path', $path, ':authority', 'localhost',
        defined $key ? (authorization => "Bearer $key") : (), @headers));
}

sub h2_connect {
    my $c = $t->connect(port => 8082);
    $c->send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" . frame(4, 0, 0, ''));
    return $c;
}

# the statuses of the streams, once all of them have ended
sub h2_statuses {
    my ($c, @streams) = @_;
    my (%status, %ended);
    while (grep { !$ended{$_} } @streams) {
        my ($high, $low, $type, $flags, $stream) = unpack 'CnCCN', $c->read_bytes(9);
        last unless defined $stream;
        my $payload = $c->read_bytes($high << 16 | $low);
        $status{$stream} = $payload =~ /^\x88/ ? 200 : $payload =~ /^\x48\x03(\d\d\d)/ ? $1 : 'other' if $type == 1;
        $ended{$stream} = 1 if $type == 3 || $type <= 1 && $flags & 1;
    }
    return join ' ', map { $status{$_} // 'none' } @streams;
}

subtest 'HTTP/2' => sub {
    my $c = h2_connect();
    $c->send(h2_request(1, '/h2-1', $key) . h2_request(3, '/h2-2', $bad) . h2_request(5, '/h2-3', fresh()) . h2_request(7, '/h2-4', undef) . h2_request(9, '/h2-5', $store->key));
    is(h2_statuses($c, 1, 3, 5, 7, 9), '200 401 200 401 401', 'streams');

    $upstream->reset;
    $c->send(h2_request(11, '/h2-spoof', fresh(), 'x-tenant-id', 'spoof', 'x-roles', 'spoof', 'x_tenant_id', 'spoof'));
    is(h2_statuses($c, 11), '200');
    my ($seen) = $upstream->requests;
    is(join(' ', map { "@$_" } grep { $_->[0] =~ /tenant|roles|authorization/i } @{$seen->{headers}}), "X-Tenant-Id org_acct$n", 'headers');

    hold();
    $c->send(h2_request(13, '/h2-reset', fresh()) . h2_request(15, '/h2-kept', fresh()) . h2_request(17, '/h2-other', $key));
    ok($fake->wait_held(2), 'two streams wait');
    is(h2_statuses($c, 17), '200', 'a third does not');
    $c->send(frame(3, 0, 13, pack 'N', 8));
    ok(logged(qr{/h2-reset 499 - -}), 'one is reset');
    let_go();
    is(h2_statuses($c, 15), '200', 'the other gets its answer');

    hold();
    $c->send(h2_request(19, '/h2-closed', fresh()) . h2_request(21, '/h2-closed2', fresh()));
    ok($fake->wait_held(2), 'two wait');
    $c->close;
    ok(logged(qr{/h2-closed2? 499 - -}), 'and the connection is closed');
    let_go();

    my $out = `curl -s --http2-prior-knowledge -m 10 -w ' %{http_version} %{http_code}' -H 'Authorization: Bearer $key' --data-binary hello http://127.0.0.1:${\$t->port(8082)}/curl`;
    like($out, qr/"body":"hello".* 2 200$/, 'curl');
    $out = `curl -s --http2-prior-knowledge -m 10 -w ' %{http_version} %{http_code}' -H 'Authorization: Bearer $bad' http://127.0.0.1:${\$t->port(8082)}/curl`;
    # (without a body: curl and nginx 1.22 do not agree on how to refuse one)
    like($out, qr/^\{"success":false.*\}\s+2 401$/s, 'denied, with a body of ours');
};

$t->done;
