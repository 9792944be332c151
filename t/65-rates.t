#!/usr/bin/perl

# Rates of accounts and the budget of failed attempts, on one host: how many pass,
# what clients are told, and what never takes anything. Rates are a day's where
# they are counted, so that nothing refills meanwhile.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::Process;
use OpsAuth::Test;

my $t = OpsAuth::Test->new(workers => 4);
my $redis = $t->redis;
my $store = $t->store;
$t->upstream;

my $http = <<'CONF';
    log_format rate '$request_uri $status $opsauth_verdict $opsauth_reason $opsauth_rate_limit $opsauth_rate_remaining $opsauth_rate_reset';
    access_log %%TESTDIR%%/access.log rate;
    opsauth_store main {
        redis %%REDIS%%;
        pepper_file %%PEPPER%%;
        key_prefix op365_sk_live_ checksum=crc32;
        key_prefix op365_sk_test_ environment=test;
        lease 60s;
        redis_timeout 2s;
    }
    set_real_ip_from 127.0.0.1;
    real_ip_header X-Real-Ip;
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        opsauth main;
        add_header X-Seen "$opsauth_rate_limit $opsauth_rate_remaining" always;
        location / { proxy_pass http://%%UPSTREAM%%; }
        location /off { opsauth_rate off; proxy_pass http://%%UPSTREAM%%; }
        location /default { opsauth_rate default=4/d; proxy_pass http://%%UPSTREAM%%; }
        location /burst { opsauth_rate default=100/d burst=3; proxy_pass http://%%UPSTREAM%%; }
        location /ietf { opsauth_rate_headers ietf; proxy_pass http://%%UPSTREAM%%; }
        location /both { opsauth_rate_headers both; opsauth_error_format problem; proxy_pass http://%%UPSTREAM%%; }
        location /none { opsauth_rate_headers off; opsauth_error_format off; proxy_pass http://%%UPSTREAM%%; }
        location /scope { opsauth_require scope=write:a; proxy_pass http://%%UPSTREAM%%; }
        location /shadow { opsauth main shadow; proxy_pass http://%%UPSTREAM%%; }
        location /redirect { try_files /nothing @named; }
        location @named { opsauth_rate default=1/d; rewrite ^ /again last; }
        location /again { error_page 404 /; proxy_pass http://%%UPSTREAM%%; }
        location /page { error_page 429 /sorry; proxy_pass http://%%UPSTREAM%%; }
        location = /sorry { internal; opsauth off; return 429 "sorry\n"; }
        location = /status { opsauth off; opsauth_status json; }
        location /slowed { opsauth_failure_rate 10/d burst=3; proxy_pass http://%%UPSTREAM%%; }
    }
CONF
$t->config_http($http);
$t->start;

my ($number, @told) = (0);
sub ask {
    my ($key, %o) = @_;
    return $t->get(delete $o{uri} // '/', key => $key, %o);
}
sub statuses { my ($n, $key, %o) = @_; return join ' ', map { ask($key, %o)->status } 1 .. $n }
sub account {
    my ($rate, %o) = @_;
    my $id = 'a' . ++$number;
    $store->account($id, rate => $rate, %o);
    return $store->issue(account => $id, scopes => 'read:a'), $id;
}

subtest 'allowed, then refused' => sub {
    my ($key) = account('3/d');
    for my $i (1 .. 5) {
        my $r = ask($key);
        my $left = $i > 3 ? 0 : 3 - $i;
        is($r->status, $i > 3 ? 429 : 200, "request $i");
        is_deeply([map { $r->header_all($_) } qw(X-RateLimit-Limit X-RateLimit-Remaining)], [3, $left], 'what it is told');
        my $full = 86400 / 3 * ($i > 3 ? 3 : $i);
        my ($reset) = $r->header_all('X-RateLimit-Reset');
        ok(abs($reset - time - $full) < 30, 'when all is there again') or diag $reset - time;
        is($r->header('X-Seen'), "3 $left", 'variables');
        if ($i > 3) {
            my $retry = $r->header('Retry-After');
            ok($retry > 28800 - 30 && $retry <= 28800, 'Retry-After') or diag $retry;
            is_deeply($r->json, { success => JSON::PP::false(), error => { code => 'RATE_LIMITED', message => 'The rate limit is exceeded, try again later.' } }, 'body');
            is($r->header('WWW-Authenticate'), undef, 'no challenge');
            is($r->header('Cache-Control'), 'no-store', 'not to be kept');
        }
        else { is($r->header('Retry-After'), undef, 'no Retry-After') }
    }
    like($t->wait_for_file('access.log', qr{^/ 429 deny rate 3 0 \d{10}$}m), qr/^\/ 200 allow ok 3 2 \d{10}$/m, 'the log');
    like($t->log, qr/denied, reason "rate", credential "key_\w+", account "a1"/, 'who');
};

subtest 'when all is there again' => sub {
    my ($key) = account('100/d');
    # late in a second, which must not be taken for its beginning
    sleep 0.02 while time - int time < 0.6;
    my $begun = time;
    for my $i (1 .. 3) {
        my ($reset) = ask($key)->header_all('X-RateLimit-Reset');
        my $early = $begun + 864 * $i - $reset;
        ok($early < 0.05 && $early > -30, "X-RateLimit-Reset is not too early: $i") or diag $early;
    }
};

subtest 'it is of the account, on all workers' => sub {
    my ($key, $id) = account('40/d');
    my $other = $store->issue(account => $id);
    ask($_) for $key, $other;
    my %seen;
    for (1 .. 4) {
        $seen{$_->status}++ for $t->parallel(20, 'GET', '/', key => $_ % 2 ? $key : $other);
    }
    is_deeply(\%seen, { 200 => 38, 429 => 42 }, 'two keys, four workers, 82 requests at once: 40') or diag explain \%seen;
    my ($more) = account('1/d');
    is(statuses(2, $more), '200 429', 'another account has its own');
};

subtest 'whose rate' => sub {
    my ($own) = account('2/d');
    is(statuses(3, $own, uri => '/default'), '200 200 429', 'its own, whatever the default');
    my ($none) = account('');
    is(statuses(6, $none), '200 200 200 200 200 200', 'none');
    is(ask($none)->header('X-RateLimit-Limit'), undef, 'nor headers');
    is(statuses(6, $none, uri => '/default'), '200 200 200 200 429 429', 'the default of a place');
    my ($free) = account('unlimited');
    is(statuses(6, $free, uri => '/default'), '200 200 200 200 200 200', 'unlimited is, in spite of it');
    is(statuses(1, $own, uri => '/off'), '200', 'off');
    is(ask($own, uri => '/off')->header('X-RateLimit-Limit'), undef, 'without headers');
    my ($bursts) = account('');
    is(statuses(5, $bursts, uri => '/burst'), '200 200 200 429 429', 'burst');
    my ($few) = account('50/d');
    is(statuses(5, $few, uri => '/burst'), '200 200 200 429 429', 'also of its own');
    my ($two) = account('3/d,100/s');
    is(statuses(4, $two), '200 200 200 429', 'two limits');
};

subtest 'refills' => sub {
    my ($key) = account('20/s');
    my ($passed, $start) = (0, time);
    while ($passed <= 40 && time - $start < 20) { $passed++ if ask($key)->status == 200 }
    my $bound = 20 + 20 * (time - $start) + 1;
    ok($passed > 30 && $passed <= $bound, 'a bucket, and what it refills') or diag "$passed of $bound";
};

subtest 'a change is in force with the record' => sub {
    my ($key, $id) = account('2/d');
    is(statuses(3, $key), '200 200 429', 'before');
    $store->update_account($id, rate => '5/h');
    ok(OpsAuth::Process->poll(10, sub { ask($key)->status == 200 }), 'more');
    is(ask($key)->header('X-RateLimit-Limit'), 5, 'it is told');
    $store->update_account($id, rate => '2/d');
    ok(OpsAuth::Process->poll(10, sub { ask($key)->status == 429 }), 'what was taken is not forgotten');
    $store->update_account($id, rate => '0/d');
    ok(OpsAuth::Process->poll(10, sub { ask($key)->status == 503 }), 'one that is malformed is 503');
};

subtest 'nothing else takes any' => sub {
    my ($key, $id) = account('3/d');
    my $ip = $store->issue(account => $id, ips => '192.0.2.1');
    my $expired = $store->issue(account => $id, expires => 1);
    is(statuses(5, $key, uri => '/scope'), '403 403 403 403 403', 'scope');
    is(statuses(5, $ip), '403 403 403 403 403', 'address');
    is(statuses(5, $expired), '401 401 401 401 401', 'expired');
    is(ask($key, uri => '/scope')->header('X-RateLimit-Limit'), undef, 'nor is one told');
    is(statuses(4, $key), '200 200 200 429', 'all are left');
    is(ask($key, uri => '/scope')->status, 403, 'the rate is the last of reasons');
    is(ask($ip)->status, 403, 'for an address, too');
};

subtest 'the status page' => sub {
    my $rates = sub { return $t->get('/status')->json->{stores}{main}{rates} };
    my $before = $rates->();
    my ($key) = account('3/d');
    ask($key) for 1 .. 7;
    my ($quick) = account('50/s');
    ask($quick);
    ask($store->key, uri => '/slowed', headers => ['X-Real-Ip' => '198.51.100.7']) for 1 .. 8;
    my $after = $rates->();
    my %more = map { $_ => $after->{$_} - $before->{$_} } qw(refused failures slowed evicted own_share);
    is_deeply(\%more, { refused => 4, failures => 3, slowed => 5, evicted => 0, own_share => 0 }, 'who was refused') or diag explain \%more;
    is($after->{buckets_used}{account} - $before->{buckets_used}{account}, 2, 'two buckets more');
    is($after->{buckets_used}{address} - $before->{buckets_used}{address}, 1, 'and one of an address');
    cmp_ok($after->{buckets}{account}, '>', 10_000, 'of so many');
    ok(OpsAuth::Process->poll(5, sub { $rates->()->{buckets_busy}{account} <= $after->{buckets_used}{account} - 1 }), 'one is full again soon');
    cmp_ok($rates->()->{buckets_busy}{account}, '>', 0, 'the other is not');
};

subtest 'once a request' => sub {
    my ($key) = account('4/d');
    is(statuses(5, $key, uri => '/redirect'), '200 200 200 200 429', 'internal redirects');
    my $r = ask((account('4/d'))[0], uri => '/redirect');
    is_deeply([$r->header_all('X-RateLimit-Remaining')], [3], 'one header');
    my ($page) = account('1/d');
    is(statuses(1, $page, uri => '/page'), '200', 'error_page');
    $r = ask($page, uri => '/page');
    is($r->status . $r->body, "429sorry\n", 'has its page');
    is_deeply([$r->header_all('X-RateLimit-Remaining'), defined $r->header('Retry-After') ? 1 : 0], [0, 1], 'and its headers');
};

subtest 'forms' => sub {
    my ($key) = account('2/d,100/h');
    my $r = ask($key, uri => '/ietf');
    is($r->header('X-RateLimit-Limit'), undef, 'ietf alone');
    is($r->header('RateLimit-Policy'), '"hour";q=100;w=3600, "day";q=2;w=86400', 'RateLimit-Policy');
    is($r->header('RateLimit'), '"day";r=1;t=43200', 'RateLimit');
    ask($key);
    $r = ask($key, uri => '/both');
    is($r->header('X-RateLimit-Limit'), 2, 'both');
    like($r->header('RateLimit'), qr/^"day";r=0;t=86\d\d\d$/, 'refused');
    is($r->header('Content-Type'), 'application/problem+json', 'problem');
    is_deeply([@{$r->json}{qw(status title)}], [429, 'Too Many Requests'], 'its body');
    $r = ask($key, uri => '/none');
    is_deeply([map { defined $r->header($_) ? 1 : 0 } qw(X-RateLimit-Limit RateLimit RateLimit-Policy Retry-After)], [0, 0, 0, 1], 'off leaves Retry-After');
    like($r->body, qr/<h1>429 Too Many Requests/, "nginx's own page");
    is($t->request('HEAD', '/', key => $key)->status, 429, 'HEAD');
};

subtest 'shadow' => sub {
    my ($key) = account('2/d');
    my @r = map { ask($key, uri => '/shadow?n=' . $_) } 1 .. 4;
    is(join(' ', map { $_->status } @r), '200 200 200 200', 'never blocks');
    is($r[0]->header('X-RateLimit-Limit'), undef, 'nor tells clients');
    my $log = $t->wait_for_file('access.log', qr{^/shadow\?n=4 }m);
    is(join(' ', $log =~ m{^/shadow\S+ 200 (\S+ \S+)}mg), 'allow ok allow ok shadow-deny rate shadow-deny rate', 'but logs');
    is(statuses(3, $key), '200 200 429', 'and took nothing from requests that count');
};

subtest 'reload, and a worker that is killed' => sub {
    my ($key) = account('6/d');
    is(statuses(2, $key), '200 200', 'two');
    $t->reload;
    is(statuses(2, $key), '200 200', 'two more');
    $t->kill9_worker;
    ok(OpsAuth::Process->poll(10, sub { $t->workers == 4 }), 'a new worker');
    is(statuses(3, $key), '200 200 429', 'and the last two');
};

subtest 'failed attempts' => sub {
    my ($key, $id) = account('');
    my $slowed = sub { my ($n, $k, $ip) = @_; return statuses($n, $k, uri => '/slowed', headers => ['X-Real-Ip' => $ip]) };
    is($slowed->(2, $key, '192.0.2.1'), '200 200', 'a good one');
    is($slowed->(1, $store->key, '192.0.2.1') . ' ' . $slowed->(1, 'a"b', '192.0.2.1') . ' '
        . $slowed->(1, $store->key(undef, checksum => 'wrong'), '192.0.2.1'), '401 400 401', 'three bad ones');
    my $calls = sub { ($redis->cmd('INFO', 'commandstats') =~ /^cmdstat_hmget:calls=(\d+)/m)[0] };
    my $before = $calls->();
    is($slowed->(4, $store->key, '192.0.2.1'), '429 429 429 429', 'no more');
    is($slowed->(1, 'a"b', '192.0.2.1') . ' ' . $slowed->(1, $store->key(undef, checksum => 'wrong'), '192.0.2.1'), '429 429', 'of whatever kind');
    my $fresh = $store->issue(account => $id);
    is($slowed->(1, $fresh, '192.0.2.1'), '429', 'nor one that nobody has used yet');
    is($calls->(), $before, 'none of them cost Redis anything');
    is($slowed->(2, $key, '192.0.2.1'), '200 200', 'a good one that is in use passes');
    is(ask($store->key, headers => ['X-Real-Ip' => '192.0.2.1'])->status, 401, 'a place without a budget');
    is(ask(undef, uri => '/slowed', headers => ['X-Real-Ip' => '192.0.2.1'])->status, 401, 'none at all is no attempt');
    is($slowed->(1, $fresh, '192.0.2.2'), '200', 'from another address it does');
    is($slowed->(1, $fresh, '192.0.2.1'), '200', 'and then from there, too');
    is($slowed->(4, $store->key, '2001:db8::1'), '401 401 401 429', 'IPv6');
    is($slowed->(1, $store->key, '2001:db8::ffff:2'), '429', 'the same network of 64 bits');
    is($slowed->(1, $store->key, '2001:db8:0:1::1'), '401', 'another one');
    my $r = ask($store->key, uri => '/slowed', headers => ['X-Real-Ip' => '192.0.2.1']);
    my $retry = $r->header('Retry-After');
    ok($retry > 8000 && $retry <= 8640, 'Retry-After') or diag $retry;
    is($r->json->{error}{code}, 'RATE_LIMITED', 'body');
    is($r->header('X-RateLimit-Limit'), undef, 'it is nobody\'s rate');
    like($t->wait_for_file('access.log', qr{^/slowed 429 deny attempts - - -$}m), qr/attempts/, 'the log');
    $t->reload;
    is($slowed->(1, $store->key, '192.0.2.1'), '429', 'a reload forgets nothing');
};

subtest 'failed attempts while a pepper is replaced' => sub {
    my ($old, $id) = account('');
    my ($first) = @{$store->{peppers}};
    $store->pepper('the newest pepper of this test, long enough', $first);
    $t->reload;
    my @from = (uri => '/slowed', headers => ['X-Real-Ip' => '192.0.2.9']);
    is(ask($old, @from)->status, 200, 'a key of the old pepper');
    is(join(' ', map { ask($store->key, @from)->status } 1 .. 4), '401 401 401 429', 'the budget is spent');
    is(ask($old, @from)->status, 200, 'it passes');
    sleep 5.5;                          # cache_negative: not there under the new one
    is(ask($old, @from)->status, 200, 'and goes on doing so');
    is(ask($store->issue(account => $id), @from)->status, 429, 'one that nobody has used yet does not');
};

subtest 'what is no configuration' => sub {
    my $store = 'opsauth_store main { redis %%REDIS%%; pepper_file %%PEPPER%%; %s }';
    for my $case (
        ['opsauth_rate default=60;', qr/invalid rate "60" in "opsauth_rate": requests per s, m, h or d are expected/],
        ['opsauth_rate default=0/m;', qr/invalid rate "0\/m"/],
        ['opsauth_rate default=;', qr/invalid rate ""/],
        ['opsauth_rate 60/m;', qr/invalid parameter "60\/m" in "opsauth_rate": "default=60\/m"/],
        ['opsauth_rate default=60/m burst=0;', qr/invalid parameter "burst=0" in "opsauth_rate": a number of requests from 1/],
        ['opsauth_rate burst=x;', qr/invalid parameter "burst=x" in "opsauth_rate"/],
        ['opsauth_rate off default=1/m;', qr/invalid parameter "off"/],
        ['opsauth_rate off; opsauth_rate off;', qr/"opsauth_rate" directive is duplicate/],
        ['opsauth_rate_headers yes;', qr/invalid value "yes" in "opsauth_rate_headers": one of "off", "x", "ietf", "both" is expected/],
        ['opsauth_failure_rate 10/m burst=0;', qr/invalid parameter "burst=0" in "opsauth_failure_rate"/],
        ['', qr/invalid value "1g" in "rate_zone": a size in "k" or "m" up to 1048576m, like "64m", is expected/, 'rate_zone 1g;'],
        ['opsauth_failure_rate 10;', qr/invalid rate "10" in "opsauth_failure_rate"/],
        ['opsauth_failure_rate 10/m,5/h;', qr/takes one limit/],
        ['opsauth_failure_rate 10/m 5;', qr/only "burst=20" may follow/],
        ['', qr/"rate_zone" of 4096 bytes in "opsauth_store main" is too small/, 'rate_zone 4k;'],
        ['', qr/invalid value "yes" in "rate_sync"/, 'rate_sync yes;'],
    ) {
        my ($line, $error, $more) = @$case;
        like($t->config_error(($store =~ s/%s/$more \/\/ ''/er) . " $line"), $error, $line || $more);
    }
    is($t->config_error(($store =~ s/%s/rate_zone 64k; rate_sync on;/r)
        . ' opsauth_rate default=10/s,1000/h burst=20; opsauth_rate_headers both; opsauth_failure_rate 10/m burst=5;'
        . ' server { location / { opsauth_rate burst=5; opsauth_failure_rate off; limit_except GET { opsauth_rate off; } } }'), '', 'all that there is');
};

$t->done;
