#!/usr/bin/perl

# The harness tested by itself, with a plain nginx: what it claims about servers,
# connections and faults, and above all that its checks do find what they are for.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::Check;
use OpsAuth::HTTP qw(parse_response);
use OpsAuth::RESP;
use OpsAuth::Soak::Figures;
use OpsAuth::Test;

my $t = OpsAuth::Test->new(module => 0, workers => 2);
my $upstream = $t->upstream;

$t->config_http(<<'CONF');
    upstream backend { server %%UPSTREAM%%; keepalive 8; }
    log_format seen '$status $http_x_seen';
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        underscores_in_headers on;
        location / {
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            access_log %%TESTDIR%%/seen.log seen;
        }
        location /ws {
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }
        location /here { return 200 "here\n"; }
    }
CONF
$t->start;

subtest 'nginx runs as asked' => sub {
    is(scalar(my @workers = $t->workers), 2, 'two workers');
    cmp_ok($t->fd_count, '>', 3, 'a worker has descriptors');
    cmp_ok($t->rss, '>', 500, 'and memory');
    like($t->log, qr/start worker processes/, 'log');
    is($t->port(8080), $t->port('8080'), 'a port keeps its number');
};

subtest 'echo' => sub {
    my $r = $t->request('POST', '/a/b?c=d', body => "x=1\xff\n", headers => [
        ['X-Dup', 'one'], ['x-dup', 'two'], ['X_Under', 'score'], ['Zz', 'last'], ['Aa', 'a'],
    ]);
    is($r->status, 200);
    my $seen = $r->json;
    is($seen->{method}, 'POST');
    is($seen->{uri}, '/a/b?c=d');
    is($seen->{body}, "x=1\xff\n", 'the body, byte by byte');
    my @own = grep { $_->[0] =~ /dup|under|zz|aa/i } @{$seen->{headers}};
    is_deeply(\@own, [['X-Dup', 'one'], ['x-dup', 'two'], ['X_Under', 'score'], ['Zz', 'last'],
        ['Aa', 'a']], 'headers in order, case and number');
    is_deeply([$r->echoed('x-under')], ['score'], 'echoed() folds - and _');
    is_deeply([$r->echoed('X-DUP')], ['one', 'two'], 'echoed() finds duplicates');

    is($t->request('POST', '/', chunks => ['ab', 'c' x 300])->json->{body}, 'ab' . 'c' x 300,
        'a chunked body');
    is($t->get('/?status=404')->status, 404, 'status');
    is(length $t->get('/?size=300000')->body, 300_000, 'size');
    is($t->get('/?chunked=1')->json->{uri}, '/?chunked=1', 'chunked');
    my $head = $t->request('HEAD', '/');
    is($head->status . $head->body, '200', 'HEAD');
    is($t->get('/?status=204')->status, 204, 'no content');
    my $slow = $t->get('/?delay=200');
    cmp_ok($slow->{time}, '>=', 0.19, 'delay');

    $upstream->reset;
    $t->get("/n$_") for 1 .. 3;
    is($upstream->count, 3, 'count');
    is_deeply([map { $_->{uri} } $upstream->requests], ['/n1', '/n2', '/n3'], 'requests');
};

subtest 'files' => sub {
    my $since = length $t->read_file('seen.log');
    $t->get('/', headers => ['X-Seen' => 'yes']);
    is($t->wait_for_file('seen.log', qr/yes/, since => $since), "200 yes\n", 'an access log');
    is($t->wait_for_file('seen.log', qr/nothing/, timeout => 0.1), '', 'in vain');
    my $path = $t->write_file('some/file', "text\n", 0640);
    is((stat $path)[2] & 0777, 0640, 'written with its mode');
    is($t->read_file('some/file'), "text\n");
};

subtest 'upgrade' => sub {
    my $c = $t->connect;
    my $r = $c->request('GET', '/ws', headers => [Upgrade => 'websocket', Connection => 'Upgrade']);
    is($r->status, 101);
    $c->send("\x01hello\x02");
    is($c->read_bytes(7), "\x01hello\x02", 'bytes come back');
};

subtest 'connections' => sub {
    my $c = $t->connect;
    is($c->request('GET', '/here')->body, "here\n", 'first');
    my $port = $c->local_port;
    is($c->request('GET', '/one')->json->{uri}, '/one', 'second on the same connection');
    is($c->local_port, $port);

    my @r = $c->pipeline(['GET', '/p1'], ['HEAD', '/p2'], ['POST', '/p3', body => 'b'], ['GET', '/here']);
    is(join(' ', map { $_->status } @r), '200 200 200 200', 'pipelining');
    is($r[0]->json->{uri}, '/p1');
    is($r[2]->json->{body}, 'b');
    is($r[3]->body, "here\n");

    $c->send_slowly("GET /here HTTP/1.1\r\nHost: x\r\n\r\n", chunk => 3, delay => 0.001);
    is($c->read_response->body, "here\n", 'sent in pieces');
    ok(!$c->closed_within(0.05), 'still open');
    $c->request('GET', '/here', close => 1);
    ok($c->closed_within(2), 'closed');
    is($c->request('GET', '/')->status, 0, 'no answer on a closed connection');

    my $mark = $t->mark;
    my $gone = $t->connect;
    $gone->write_request('GET', '/?delay=2000');
    sleep 0.1;
    $gone->reset;
    ok($t->wait_for_log(qr/client prematurely closed connection/, since => $mark), 'RST is seen');

    my $half = $t->connect;
    $half->send("GET /here HTTP/1.1\r\nHost: x\r\n\r\n");
    $half->half_close;
    is($half->read_response->body, "here\n", 'half-closed');

    my $r = $t->connect(local => '127.0.0.5')->request('GET', '/');
    is($r->status, 200, 'from another address');

    my $hang = $t->get('/?delay=5000', timeout => 0.2);
    is($hang->status . $hang->error, '0timeout', 'no request hangs');
    is(OpsAuth::HTTP::request(OpsAuth::Port->take, 'GET', '/')->status, 0, 'nobody listens');
};

subtest 'parallel' => sub {
    my $started = time;
    my @r = $t->parallel(50, 'GET', '/?delay=300');
    is(scalar(grep { $_->status == 200 } @r), 50, '50 answers');
    cmp_ok(time - $started, '<', 5, 'at the same time');
    my @list = map { [$t->port(8080), 'GET', "/i$_"] } 1 .. 20;
    @r = OpsAuth::HTTP::parallel_requests(\@list, concurrency => 3);
    is(join(' ', map { $_->json->{uri} } @r), join(' ', map { "/i$_" } 1 .. 20), 'in order');
    @r = $t->parallel(3, 'GET', '/?delay=3000', timeout => 0.3);
    is(join(' ', map { $_->error } @r), 'timeout timeout timeout', 'timeout');
};

subtest 'parser' => sub {
    my $whole = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: 1\r\na: 2\r\n"
        . "Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: t\r\n\r\nREST";
    my ($buffer, $early) = ('', 0);
    my $r;
    for my $byte (split //, $whole) {
        $buffer .= $byte;
        $r //= parse_response(\$buffer, 'GET', 0);
    }
    is($r->body, 'abcde', 'byte by byte');
    is($buffer, 'REST', 'not a byte too many');
    is_deeply([$r->header_all('A')], [1, 2]);
    for my $end (1 .. length($whole) - 5) {
        my $part = substr $whole, 0, $end;
        my $cut = parse_response(\$part, 'GET', 1);
        $early++ if !$cut || !$cut->error;
    }
    is($early, 0, 'every cut is an error');
    my $short = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc";
    is(parse_response(\$short, 'GET', 1)->error, 'closed in the body');
};

subtest 'load, reload, a killed worker' => sub {
    my $load = $t->load(uri => '/here', clients => 2);
    sleep 0.3;
    my @before = $t->workers;
    my $took = $t->reload;
    cmp_ok($took, '<', 10, "reload in $took s");
    my %after = map { $_ => 1 } $t->workers;
    is(scalar(grep { $after{$_} } @before), 0, 'the old workers are gone');
    my $sum = $load->stop;
    cmp_ok($sum->{requests}, '>', 50, "$sum->{requests} requests");
    is_deeply($sum->{status}, { 200 => $sum->{requests} }, 'all answered') or diag explain $sum;

    my ($old, $new) = $t->kill9_worker;
    ok($new && $new != $old, 'a new worker');
    is($t->get('/here')->status, 200);
    like($t->log, qr/\[alert\].* exited on signal 9/, 'nginx takes it for an alert');
};

subtest 'configuration errors' => sub {
    is($t->config_error('server { listen 127.0.0.1:%%PORT_8081%%; }'), '', 'a good one');
    like($t->config_error("server { nonsense on; }"),
        qr/unknown directive "nonsense"/, 'a wrong one');
    my ($exit) = $t->nginx_t('rubbish');
    is($exit, 1, 'exit status');
    ok(!eval { $t->config('%%NOTHING%%'); 1 }, 'unknown %%NAME%%');
    $t->config_http('server { listen 127.0.0.1:%%PORT_8080%%; return 204; } wrong;');
    ok(!eval { $t->reload; 1 }, 'a reload with a wrong one dies');
    like($@, qr/unknown directive "wrong"/, 'and says why');
    $t->allow_log(qr/unknown directive "wrong"/);
    is($t->get('/here')->status, 200, 'nginx goes on with the old one');
};

subtest 'ports' => sub {
    my %all = map { OpsAuth::Port->take => 1 } 1 .. 50;
    is(scalar(keys %all), 50, '50 different ports');
    is(scalar(grep { $_ >= 32_768 } keys %all), 0, 'none of them ephemeral');
    my ($port) = keys %all;
    ok(!IO::Socket::INET->new(Proto => 'udp', LocalAddr => '127.0.0.1', LocalPort => $port),
        'locked against other tests');
};

subtest 'redis' => sub {
    my $redis = $t->redis(password => 'Sesame-1');
    is($redis->cmd('SET', 'a', 'b'), 'OK');
    is($redis->cmd('GET', 'a'), 'b');
    is($redis->cmd('GET', 'none'), undef, 'nil');
    is_deeply($redis->cmd('MGET', 'a', 'none'), ['b', undef], 'array');
    ok(!eval { $redis->cmd('NONSENSE'); 1 }, 'an error reply dies');
    like($@, qr/unknown command/);
    isa_ok($redis->try('NONSENSE'), 'OpsAuth::RESP::Error', 'or comes back from try()');
    like($redis->client(password => undef)->try('GET', 'a'), qr/^NOAUTH/, 'password');
    like($redis->url(3), qr{^redis://127\.0\.0\.1:\d+/3$}, 'url');
    is($t->var('REDIS'), $redis->url, '%%REDIS%%');

    $redis->reset_stats;
    $redis->cmd('HMGET', 'a:b', 'f') for 1 .. 3;
    is($redis->calls('hmget'), 3, 'calls');
    is($redis->calls('hgetall'), 0);
    is(scalar(my @none = $redis->clients), 0, 'no client but the test');
    my $other = $redis->client;
    $other->cmd('PING');
    my @seen = $redis->monitor(sub { $redis->cmd('PING'); $other->cmd('GET', 'x') });
    is(scalar(@seen), 1, 'monitor, without our own') or diag explain \@seen;
    like($seen[0] // '', qr/"GET" "x"/);

    $redis->pause;
    my $started = time;
    ok(!eval { $redis->client(timeout => 0.3)->cmd('PING'); 1 }, 'paused, it does not answer');
    $redis->resume;
    is($redis->cmd('PING'), 'PONG', 'resumed');

    my $port = $redis->port;
    $redis->restart(keep => 1);
    is($redis->cmd('GET', 'a'), 'b', 'restarted with its data');
    $redis->restart;
    is($redis->cmd('GET', 'a'), undef, 'restarted without');
    is($redis->port, $port, 'on the same port');
    $redis->stop;
    ok(!eval { $redis->cmd('PING'); 1 }, 'stopped');
    $redis->start;
    my $pid = $redis->pid;
    $redis->kill;
    ok(!OpsAuth::Process->exists($pid), 'killed');

    my $unix = $t->redis(unix => 1, name => 'UNIX', user => 'tester', password => 'pw',
        acl => ['user default off', 'user tester on >pw ~* &* +@all',
                'user gateway on >secret ~opsauth:* +hmget']);
    like($t->var('UNIX'), qr{^unix:/.*/redis\.sock$}, 'unix socket');
    is($unix->cmd('SET', 'opsauth:x', 1), 'OK', 'ACL file');
    my $gateway = $unix->client(user => 'gateway', password => 'secret');
    like($gateway->try('SET', 'opsauth:x', 1), qr/^NOPERM/, 'and its limits');
    $unix->stop;
};

subtest 'store' => sub {
    is(OpsAuth::Store::crc32('123456789'), 0xcbf43926, 'CRC-32');
    # 0xcbf43926 in base 62, worked out by hand
    my ($n, $digits) = (0xcbf43926, '');
    $digits = ('0' .. '9', 'A' .. 'Z', 'a' .. 'z')[$n % 62] . $digits, $n = int $n / 62 for 1 .. 6;
    is(OpsAuth::Store::checksum('123456789'), $digits, 'six digits');

    my $redis = $t->redis(name => 'RECORDS');
    my $store = $t->store(redis => $redis, pepper => ['n' x 32, 'o' x 32]);
    is($t->var('PEPPER'), $store->pepper_file, '%%PEPPER%%');
    is($redis->cmd('HGET', 'opsauth:meta', 'v'), 1, 'marker');
    is($store->digest('x'), Digest::SHA::hmac_sha256_hex('x', 'n' x 32), 'digest');
    is($store->digest('x', 1), Digest::SHA::hmac_sha256_hex('x', 'o' x 32), 'with the old pepper');

    my $key = $store->key('op365_sk_test_');
    like($key, qr/^op365_sk_test_[0-9A-Za-z]{49}$/, 'a key');
    is(substr($key, -6), OpsAuth::Store::checksum(substr $key, 0, -6), 'and its checksum');
    my $wrong = $store->key(undef, checksum => 'wrong');
    isnt(substr($wrong, -6), OpsAuth::Store::checksum(substr $wrong, 0, -6), 'a wrong one');
    is(length $store->key('p_', checksum => 0), 45, 'none');

    $store->account('acme', roles => 'customer', ips => undef);
    my $record = $store->credential($key, scopes => 'read:tenants', name => undef);
    my $name = "opsauth:credential:$record->{digest}";
    is_deeply([@{$redis->cmd('HMGET', $name, qw(v account state environment scopes name))}],
        [1, 'acme', 'active', 'test', 'read:tenants', undef], 'a credential');
    is($redis->cmd('GET', "opsauth:id:$record->{id}"), $record->{digest}, 'by its id');
    is_deeply($redis->cmd('SMEMBERS', 'opsauth:credentials:acme'), [$record->{id}], 'of its account');
    is($redis->cmd('HGET', 'opsauth:account:acme', 'roles'), 'customer', 'an account');
    is($redis->cmd('HEXISTS', 'opsauth:account:acme', 'ips'), 0, 'undef leaves a field out');
    $store->revoke($key);
    is($store->read_credential($key)->{state}, 'revoked', 'revoked');
    my $issued = $store->issue(expires => 5, checksum => 0);
    is($store->read_credential($issued)->{expires}, 5, 'issued');
    like($store->read_credential($store->issue(kind => 'access_token'))->{id}, qr/^tok_/, 'a token');
    ok($t->{secrets}{$issued}, 'keys are secrets');
    $redis->stop;
};

subtest 'fake redis: a server that behaves' => sub {
    for my $unix (0, 1) {
        my $fake = $t->fake_redis(unix => $unix, name => "FAKE$unix");
        my $store = $t->store(redis => $fake, name => "PEPPER$unix");
        $store->account('acme', tenant => 'org_1');
        my $c = OpsAuth::RESP->new(connect => $fake->address);
        is($c->cmd('AUTH', 'u', 'p'), 'OK');
        is($c->cmd('SELECT', 2), 'OK');
        is($c->cmd('CLIENT', 'SETNAME', 'x'), 'OK');
        is($c->cmd('PING'), 'PONG');
        is_deeply($c->cmd('HMGET', 'opsauth:account:acme', 'tenant', 'none'), ['org_1', undef]);
        is($c->cmd('EXISTS', 'opsauth:meta'), 1);
        like($c->try('NONSENSE'), qr/^ERR unknown command/);
        is_deeply([$fake->names], [qw(AUTH SELECT CLIENT PING HMGET EXISTS NONSENSE)], 'names');
        is_deeply([map { @{$_->{words}} } $fake->commands('CLIENT SETNAME')], [qw(CLIENT SETNAME x)],
            'words');
        is($fake->count('HMGET opsauth:acc*'), 1, 'by the key');
        is($fake->count('HMGET opsauth:credential:*') + $fake->count('HM'), 0);
        is($fake->opened, 1, 'one connection');
        $c->disconnect;
        ok(OpsAuth::Process->poll(2, sub { $fake->closed == 1 }), 'and its end');
        is($fake->reset->count, 0, 'reset');

        my $feed = OpsAuth::RESP->new(connect => $fake->address);
        my $id = $feed->cmd('CLIENT', 'ID');
        $feed->cmd('CLIENT', 'TRACKING', 'ON', 'REDIRECT', $id, 'BCAST', 'PREFIX', 'opsauth:account:');
        is_deeply($feed->cmd('SUBSCRIBE', '__redis__:invalidate'),
            ['subscribe', '__redis__:invalidate', 1], 'subscribed');
        is_deeply($feed->cmd('PING'), ['pong', ''], 'PING of a subscriber');
        is($fake->invalidate('other', 'opsauth:account:acme'), 1, 'invalidate');
        is_deeply($feed->read_reply, ['message', '__redis__:invalidate', ['opsauth:account:acme']]);
        is($fake->invalidate('opsauth:id:x'), 0, 'another prefix');
        is($fake->invalidate, 1, 'everything');
        is_deeply($feed->read_reply, ['message', '__redis__:invalidate', undef]);
        $fake->stop;
    }
};

subtest 'fake redis: faults' => sub {
    my $fake = $t->fake_redis(name => 'FAULTY', script => { AUTH => '-WRONGPASS no' },
        handler => sub { my ($n, @words) = @_; return $words[0] eq 'ODD' ? { integer => $n } : undef });
    $fake->cmd('HSET', 'h', 'f', 'value');
    my $c = OpsAuth::RESP->new(connect => $fake->address, timeout => 2);
    my @ask = ('HMGET', 'h', 'f');
    my $again = sub { $c->disconnect; $fake->behave->script(@_) };
    # the segments as they arrive: TCP may join, but not these, with time between
    my $segments = sub {
        my ($send, $pause) = @_;
        my $raw = IO::Socket::INET->new(PeerAddr => $fake->address) or die $!;
        # a reset that was there before us shows as an error of the write
        return 'RST' if length $send && !syswrite $raw, $send;
        my @got;
        while (IO::Select->new($raw)->can_read($pause)) {
            my $n = sysread $raw, my $bytes, 65_536;
            push @got, $n ? $bytes : defined $n ? 'FIN' : 'RST';
            last unless $n;
        }
        return @got;
    };
    my $send = OpsAuth::RESP::command(@ask);
    my $whole = "*1\r\n\$5\r\nvalue\r\n";

    is($c->try('AUTH', 'x'), 'WRONGPASS no', 'an error');
    is($c->cmd('ODD'), 1, 'handler');
    is_deeply($c->cmd(@ask), ['value'], 'the rest behaves');
    $again->('HMGET h' => 'nil');
    is($c->cmd(@ask), undef, 'nil');
    is_deeply($c->cmd('HMGET', 'other', 'f'), [undef], 'for one key only');
    $again->('HMGET h*' => ':7', HMGET => '+no');
    is($c->cmd(@ask), 7, 'keys by prefix');
    is($c->cmd('HMGET', 'other', 'f'), 'no', 'the less specific');
    $again->(HMGET => [{ bulk => 'a' }, { array => ['b', undef] }, 'default', { status => 'S' }]);
    is_deeply([map { $c->cmd(@ask) } 1 .. 5], ['a', ['b', undef], ['value'], 'S', ['value']],
        'one after the other');
    $again->(HMGET => { delay => 200 });
    my $started = time;
    $c->cmd(@ask);
    cmp_ok(time - $started, '>=', 0.19, 'delay');

    $again->(HMGET => { chop => 1, pause => 5 });
    is_deeply([$segments->($send, 0.5)], [split //, $whole], 'byte by byte');
    $again->(HMGET => { split => [3, 6], pause => 30 });
    is_deeply([$segments->($send, 0.5)], [map { substr $whole, $_->[0], $_->[1] } [0, 3], [3, 3], [6, 99]],
        'split');
    $again->(HMGET => { twice => 1 });
    is_deeply([$segments->($send, 0.2)], [$whole x 2], 'twice in one segment');
    $again->(HMGET => { append => ":1\r\n" });
    is_deeply([$segments->($send, 0.2)], ["$whole:1\r\n"], 'an unsolicited reply');
    $again->(HMGET => { batch => 2 });
    is_deeply([$segments->($send x 2, 0.2)], [$whole x 2], 'two replies in one segment');
    $again->(HMGET => { cut => 6 });
    is_deeply([$segments->($send, 0.5)], [substr($whole, 0, 6), 'FIN'], 'closed mid-reply');
    $again->(HMGET => { cut => 6, then => 'rst' });
    is(($segments->($send, 0.5))[-1], 'RST', 'reset mid-reply');
    $again->(HMGET => 'close');
    is_deeply([$segments->($send, 0.5)], ['FIN'], 'closed');
    $again->(HMGET => 'rst');
    is_deeply([$segments->($send, 0.5)], ['RST'], 'reset');
    $again->(HMGET => { raw => "*1000000000\r\n" });
    is_deeply([$segments->($send, 0.2)], ["*1000000000\r\n"], 'a huge header');
    $again->(HMGET => { raw => "\x00\xff\r\n" });
    is_deeply([$segments->($send, 0.2)], ["\x00\xff\r\n"], 'any bytes');
    $again->(HMGET => ['silence']);
    is_deeply([$segments->("$send$send", 0.2)], [$whole], 'silence is for one command');
    $again->(ACCEPT => 'silence');
    is_deeply([$segments->($send, 0.2)], [], 'accept, then silence');
    $again->(ACCEPT => 'rst');
    is_deeply([$segments->($send, 0.5)], ['RST'], 'accept, then reset');
    $again->(ACCEPT => { raw => "-ERR max number of clients reached\r\n", then => 'close' });
    like(($segments->('', 0.5))[0], qr/max number/, 'a banner');
    $fake->behave;
    ok(OpsAuth::Process->poll(2, sub { $fake->opened == $fake->closed }), 'nothing open');

    $again->(HMGET => { hold => 1 });
    my $held = IO::Socket::INET->new(PeerAddr => $fake->address);
    syswrite $held, $send;
    ok($fake->wait_held(1), 'held');
    ok(!IO::Select->new($held)->can_read(0.05), 'no reply yet');
    $fake->release;
    ok(IO::Select->new($held)->can_read(1), 'released');
    sysread $held, my $bytes, 100;
    is($fake->push(":5\r\n"), 1, 'push');
    sysread $held, $bytes, 100;
    is($bytes, ":5\r\n");

    $again->();
    $c->cmd('PING');
    $fake->refuse;
    ok(!IO::Socket::INET->new(PeerAddr => $fake->address), 'refused');
    is($c->cmd('PING'), 'PONG', 'while open connections go on');
    $fake->down;
    ok(!eval { $c->cmd('PING'); 1 }, 'down');
    $fake->up;
    is_deeply($c->cmd(@ask), ['value'], 'up again, with its records');
    $fake->pause;
    ok(!eval { OpsAuth::RESP->new(connect => $fake->address, timeout => 0.2)->cmd('PING'); 1 }, 'paused');
    $fake->resume;
    is($c->cmd('PING'), 'PONG', 'resumed');
    $fake->stop;
};

# --- the checks at the end, on crafted logs -------------------------------------------

subtest 'alerts' => sub {
    my $log = join "\n",
        '2026/01/01 00:00:00 [notice] 1#1: signal process started',
        '2026/01/01 00:00:00 [info] 1#1: *1 client said [alerting]',
        '2026/01/01 00:00:00 [alert] 1#1: *3 open socket #5 left in connection 4',
        '2026/01/01 00:00:00 [crit] 1#1: connect() failed',
        '2026/01/01 00:00:00 [emerg] 1#1: bind() failed',
        '2026/01/01 00:00:00 [error] 1#1: that may happen';
    is(scalar(OpsAuth::Check::fault_lines($log)), 3, 'found');
    is(scalar(OpsAuth::Check::fault_lines($log, qr/open socket/)), 2, 'allowed by name');
    is(scalar(OpsAuth::Check::fault_lines('')), 0, 'nothing in an empty log');

    my $exits = join "\n",
        '2026/01/01 00:00:00 [notice] 1#1: worker process 5 exited with code 0',
        '2026/01/01 00:00:00 [alert] 1#1: worker process 5 exited on signal 11 (core dumped)',
        '2026/01/01 00:00:00 [notice] 1#1: worker process 6 exited with code 1',
        '2026/01/01 00:00:00 [alert] 1#1: worker process 7 exited with fatal code 2';
    is(scalar(OpsAuth::Check::bad_exits($exits)), 3, 'bad ends of workers');
    is(scalar(OpsAuth::Check::bad_exits($exits, qr/process 5 exited on signal 11/)), 2);
};

subtest 'sanitizers' => sub {
    my @reports = (
        '==123==ERROR: AddressSanitizer: heap-use-after-free on address 0x1',
        'SUMMARY: AddressSanitizer: 12 byte(s) leaked in 1 allocation(s).',
        'src/core/oa_key.c:10:3: runtime error: signed integer overflow',
        '==44== Invalid read of size 4',
        '*** stack smashing detected ***: terminated',
        'free(): invalid pointer',
        "nginx: x.c:1: f: Assertion `0' failed.",
    );
    for my $line (@reports) {
        is(scalar(OpsAuth::Check::sanitizer_reports("before\n$line\nafter")), 1, $line);
    }
    is(scalar(OpsAuth::Check::sanitizer_reports($t->log)), 0, 'none in a real log');
};

subtest 'secrets' => sub {
    my $inner = OpsAuth::Test->new(module => 0);
    my $redis = $inner->fake_redis;
    my $store = $inner->store(redis => $redis);
    my $key = $store->issue(scopes => 'read:tenants');
    my $count = sub {
        return scalar OpsAuth::Check::leaks([$inner->written_files], [keys %{$inner->{secrets}}]);
    };
    my $write = sub {
        my ($name, $text) = @_;
        open my $fh, '>', $inner->dir . "/$name" or die $!;
        print {$fh} "$text\n";
        close $fh;
        my $n = $count->();
        unlink $inner->dir . "/$name";
        return $n;
    };
    ok(-s $store->pepper_file, 'a pepper file');
    is((stat _)[2] & 0777, 0600, 'for its owner alone');
    is($count->(), 0, 'the pepper file itself is no leak');

    my $line = '2026/01/01 00:00:00 [%s] 1#1: *1 %s';
    is($write->('access.log', "GET / $key 200"), 1, 'a key in an access log');
    is($write->('tmp/proxy', $key), 1, 'in a temporary file');
    is($write->('error.log', sprintf $line, 'info', $key), 1, 'in the error log');
    is($write->('error.log', sprintf $line, 'info', substr $key, 20, 30), 1, 'a part of it');
    is($write->('error.log', sprintf $line, 'info', $store->pepper), 1, 'the pepper');
    my $digest = $store->digest($key);
    is($write->('error.log', sprintf $line, 'info', substr($digest, 0, 8) . '...'), 0, '8 hex of a digest');
    is($write->('error.log', sprintf $line, 'info', $digest), 1, 'a whole digest');
    is($write->('error.log', sprintf $line, 'debug', "http header: \"Authorization: $key\""), 0,
        'nginx\'s own debug lines');
    is($write->('error.log', sprintf $line, 'debug', "opsauth: $key"), 1, 'the module\'s');
    my @said = OpsAuth::Check::leaks([$store->pepper_file], [$store->pepper]);
    unlike("@said", qr/\Q${\$store->pepper}\E/, 'the report does not repeat the secret');
    $inner->finish;
};

subtest 'the soak test sees what grows' => sub {
    my $f = OpsAuth::Soak::Figures->new;
    for my $i (0 .. 299) {
        $f->add(flat => $i, 100 + $i % 7);
        $f->add(leak => $i, 100 + $i % 7 + $i / 10);
        $f->add(once => $i, $i < 90 ? $i : 90);
    }
    my %growth = map { $_ => $f->flat($_)->{growth} } qw(flat leak once);
    cmp_ok(abs $growth{$_}, '<', 1, $_) for qw(flat once);
    cmp_ok(abs($growth{leak} - 20), '<', 1, 'a leak, by two thirds of what it comes to');

    # of few, late ones, as where the machine was busy with something else
    $f->add(few => $_->[0], $_->[1]) for [0, 20], [1, 22], [1.5, 24], [8.4, 22], [8.5, 30], [9, 34];
    cmp_ok($f->flat('few')->{growth}, '<=', 12, 'but not what was never there');
};

subtest 'the end of a test finds faults' => sub {
    # a test in a process of its own, as its failures are wanted
    my $run = sub {
        my ($code) = @_;
        my $file = $t->write_file('inner.t', <<"TEST");
use strict; use warnings; use OpsAuth::Test; use Test::More;
my \$t = OpsAuth::Test->new(module => 0);
\$t->config_http('server { listen 127.0.0.1:%%PORT_8080%%; location / { return 200 ok; } }');
\$t->start;
$code
\$t->done;
TEST
        local @ENV{qw(TEST_NGINX_CATLOG TEST_NGINX_LEAVE)};
        my $lib = $t->root . '/t/lib';
        my $out = `$^X -I$lib $file 2>&1`;
        return ($? >> 8, $out);
    };
    my ($exit, $out) = $run->('');
    is($exit, 0, 'a test without a fault passes') or diag $out;
    ($exit, $out) = $run->('kill SEGV => ($t->workers)[0]; sleep 1;');
    isnt($exit, 0, 'a worker that crashed');
    # under AddressSanitizer the worker reports and exits instead
    like($out, qr/not ok \d+ - no (?:alert in the log|sanitizer report)/);
    like($out, qr/not ok \d+ - no worker died/);
    ($exit, $out) = $run->('$t->secret("Sesame123"); $t->get("/", headers => ["X-A:\x01" => "Sesame123"]); '
        . '$t->config_http("log_format a q; access_log %%TESTDIR%%/a.log; server { listen 127.0.0.1:%%PORT_8080%%; return 200 ok; }"); '
        . '$t->reload; $t->get("/Sesame123");');
    like($out, qr/not ok \d+ - no secret in what nginx wrote/, 'a secret in an access log');
    unlike($out, qr/Sesame123/, 'which the report does not repeat');
    ($exit, $out) = $run->('diag($t->{dir}); $t->redis; $t->fake_redis; $t->upstream; die "on purpose\n";');
    isnt($exit, 0, 'a test that dies');
    my ($dir) = $out =~ m{^# (/\S+)$}m;
    ok($dir && !-e $dir, 'leaves no directory behind');
    is(scalar(grep { index(OpsAuth::Process->title($_), $dir) >= 0 } map { m{(\d+)$} }
        glob '/proc/[0-9]*'), 0, 'and no process');
};

$t->done;
