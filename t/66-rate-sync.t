#!/usr/bin/perl

# Quotas that nodes share through one Redis: several nginx, load that is skewed,
# bursts; how far the sum is from the plan. And Redis going away and coming back.

use strict;
use warnings;

use List::Util qw(max sum sum0);
use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::HTTP;
use OpsAuth::Process;
use OpsAuth::Test;

use constant NODES => 4;

# The user of the documentation, so that no right is missing there.
my ($rights) = do {
    open my $fh, '<', __FILE__ =~ s{t/[^/]+$}{docs/redis.md}r or die $!;
    local $/;
    <$fh> =~ /^    ACL SETUSER shared on >PASSWORD (.*)$/m;
};
ok($rights, 'docs/redis.md has a user for this');

my (@nodes, $redis, $store);
for my $i (0 .. NODES - 1) {
    my $t = OpsAuth::Test->new(workers => 1 + $i % 2);
    if ($i == 0) {
        $redis = $t->redis(acl => ['user default on nopass ~* &* +@all', "user shared on >rate-test-password $rights"]);
        $store = $t->store;
    }
    $t->secret('rate-test-password');
    $t->upstream;
    $t->var(SHARED => $redis->url);
    $t->write_file('password', "rate-test-password\n", 0600);
    my $pepper = $t->write_file('pepper', $store->pepper . "\n", 0600);
    $t->config_http(<<"CONF");
    log_format rate '\$opsauth_reason \$opsauth_cache \$opsauth_lookup_time';
    access_log %%TESTDIR%%/access.log rate;
    opsauth_store main {
        redis %%SHARED%%;
        redis_user shared;
        redis_password_file %%TESTDIR%%/password;
        pepper_file $pepper;
        key_prefix op365_sk_live_ checksum=crc32;
        rate_sync on;
        stale 60s;
    }
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        opsauth main;
        location / { proxy_pass http://%%UPSTREAM%%; }
        location /free { opsauth_rate off; add_header X-Cache \$opsauth_cache; proxy_pass http://%%UPSTREAM%%; }
        location /many { opsauth_rate default=60000/m; proxy_pass http://%%UPSTREAM%%; }
        location /few { opsauth_rate default=2/d; proxy_pass http://%%UPSTREAM%%; }
        location = /status { opsauth off; opsauth_status json; }
        location /shadow { opsauth main shadow; proxy_pass http://%%UPSTREAM%%; }
    }
CONF
    $t->start;
    push @nodes, $t;
}

my $number = 0;
sub account {
    my ($rate) = @_;
    my $id = 'a' . ++$number;
    $store->account($id, rate => $rate);
    my $key = $store->issue(account => $id);
    $_->secret($key) for @nodes;
    return ($key, $id);
}

sub statuses {
    my ($node, $n, $key) = @_;
    my %seen;
    $seen{$node->get('/', key => $key)->status}++ for 1 .. $n;
    return join ', ', map { "$_ $seen{$_}" } sort keys %seen;
}

# One process for each node sends as many requests a second as it is told, for a
# time, $together at once; it returns the times at which requests were allowed
# (when they were sent, when they were answered), and all statuses.
sub load {
    my ($key, $seconds, $together, @speeds) = @_;
    my $start = time + 0.1;
    my @pipes;
    for my $i (0 .. $#speeds) {
        next unless $speeds[$i];
        my $pid = open my $pipe, '-|';
        defined $pid or die $!;
        if (!$pid) {
            my $sent = 0;
            while ((my $now = time - $start) < $seconds) {
                if ($sent >= $speeds[$i] * $now) { sleep 0.002; next }
                my $from = time - $start;
                my @r = $together > 1 ? $nodes[$i]->parallel($together, 'GET', '/', key => $key)
                                      : $nodes[$i]->get('/', key => $key);
                my $to = time - $start;
                print "$from $to ", $_->status // 'none', "\n" for @r;
                $sent += @r;
            }
            close STDOUT;
            require POSIX;
            POSIX::_exit(0);
        }
        push @pipes, $pipe;
    }
    my (@allowed, %seen);
    for my $pipe (@pipes) {
        while (<$pipe>) {
            my ($from, $to, $status) = split;
            $seen{$status}++;
            push @allowed, [$from, $to] if $status eq '200';
        }
        close $pipe;
    }
    return (\@allowed, \%seen);
}

# The most that was allowed in any stretch of time beyond burst + rate * time.
# A request counts for a stretch that it began and ended in.
sub over {
    my ($allowed, $burst, $rate) = @_;
    my @by_end = sort { $a->[1] <=> $b->[1] } @$allowed;
    my $worst = -1e9;
    for my $begin (map { $_->[0] } @by_end) {
        my $n = 0;
        for my $r (@by_end) {
            next if $r->[0] < $begin;
            $n++;
            $worst = max($worst, $n - $burst - $rate * ($r->[1] - $begin));
        }
    }
    return $worst;
}

# seconds, at once, requests a second of each node
my @loads = (
    ['evenly',            4, 1, 60, 60, 60, 60],
    ['skewed',            4, 1, 220, 12, 12, 12],
    ['on one node alone', 4, 1, 250, 0, 0, 0],
    ['in bursts',         4, 25, 100, 100, 20, 20],
);
for my $case (@loads) {
    my ($name, $seconds, $together, @speeds) = @$case;
    subtest "twice the plan, $name" => sub {
        # 100 a second, and as many at once: 100 + 4 * 100
        my ($key) = account('100/s');
        my ($allowed, $seen) = load($key, $seconds, $together, @speeds);
        my $offered = sum values %$seen;
        my $span = max(map { $_->[1] } @$allowed);
        my $plan = 100 + 100 * $span;
        my $error = @$allowed / $plan - 1;
        diag sprintf 'allowed %d of %d, the plan is %.0f: %+.1f %%', scalar @$allowed, $offered, $plan, 100 * $error
            if $ENV{TEST_VERBOSE};
        is_deeply([grep { $_ !~ /^(?:200|429)$/ } keys %$seen], [], 'nothing but 200 and 429') or diag explain $seen;
        cmp_ok(over($allowed, 100, 100), '<=', 0, 'never over the plan, in any stretch of time');
        # a machine that is too busy to offer more than the plan has nothing to refuse
        my $wanted = $offered < $plan ? $offered : $plan;
        cmp_ok(scalar(@$allowed), '>=', 0.8 * $wanted, 'and not far under it')
            or diag "allowed " . @$allowed . " of $offered, plan $plan";
    };
}

subtest 'half of the plan, skewed' => sub {
    my ($key) = account('200/s');
    my ($allowed, $seen) = load($key, 3, 1, 85, 5, 5, 5);
    is_deeply([keys %$seen], [200], 'nobody is refused') or diag explain $seen;
};

subtest 'exactly' => sub {
    my ($key, $id) = account('40/d');
    my @r = map { $nodes[$_ % NODES]->get('/', key => $key) } 1 .. 60;
    is(scalar(grep { $_->status == 200 } @r), 40, '40 a day, over four nodes');
    my $left = $redis->cmd('HGETALL', "opsauth:rate:$id");
    is(join(' ', sort keys %{{@$left}}), 'day', 'one bucket');
    my $ttl = $redis->cmd('PTTL', "opsauth:rate:$id");
    ok($ttl > 80_000_000 && $ttl < 87_000_000, 'which goes by itself') or diag $ttl;
    is($r[0]->header('X-RateLimit-Limit'), 40, 'limit');
    is($r[-1]->header('X-RateLimit-Remaining'), 0, 'remaining');
    my $retry = $r[-1]->header('Retry-After');
    ok($retry > 0 && $retry <= 2161, 'Retry-After') or diag $retry;
};

subtest 'many at once' => sub {
    # of 100 one is set aside, and each node may be left with a chunk of two
    for my $case ([90, 90], [100, 99 - 2 * NODES]) {
        my ($plan, $least) = @$case;
        my ($key) = account("$plan/d");
        my %seen;
        $seen{$_->status}++ for map { $nodes[$_]->parallel(40, 'GET', '/', key => $key) } 0 .. 3;
        ok($seen{200} >= $least && $seen{200} <= $plan && $seen{429} == 160 - $seen{200}, "160 for $plan") or diag explain \%seen;
    }
};

subtest 'several limits' => sub {
    my ($key) = account('50/s,30/d');
    my @r = map { $nodes[$_ % NODES]->get('/', key => $key)->status } 1 .. 40;
    is(scalar(grep { $_ == 200 } @r), 30, 'the day is the nearer one');
};

subtest 'places with other defaults' => sub {
    my ($key) = account('');
    my $ask = sub { my ($node, $uri, $n) = @_; return join ' ', map { $node->get($uri, key => $key)->status } 1 .. $n };
    is($ask->($nodes[0], '/many', 40), join(' ', (200) x 40), 'one of them has some in hand');
    is($ask->($nodes[0], '/few', 5), '200 200 429 429 429', 'which is not for another');
    is($ask->($nodes[0], '/many', 10), join(' ', (200) x 10), 'nor does that one\'s refusal count here');
    is($ask->($nodes[1], '/few', 2) . ' ' . $ask->($nodes[1], '/many', 10), join(' ', 429, 429, (200) x 10), 'on another node neither');
    # at the same time, on one connection each
    my %seen;
    my ($other) = account('');
    $seen{$_->status}++ for OpsAuth::HTTP::parallel_requests([map { [$nodes[0]->port(8080), 'GET', $_ % 2 ? '/few' : '/many', key => $other] } 1 .. 40]);
    is_deeply(\%seen, { 200 => 22, 429 => 18 }, 'both at once') or diag explain \%seen;
};

subtest 'when to come again' => sub {
    # what may be kept in hand for ten seconds is set aside in Redis
    my ($key, $id) = account('100/d');
    my @r = map { $nodes[0]->get('/', key => $key) } 1 .. 100;
    is(join(' ', map { $_->status } @r[97 .. 99]), '200 200 429', 'one less at once');
    my $retry = $r[-1]->header('Retry-After');
    ok($retry >= 5 && $retry <= 10, 'Retry-After is when Redis has one more') or diag $retry;
    my $answer = $redis->cmd('EVAL', <<'LUA', 1, "opsauth:rate:$id");
local t = redis.call('TIME')
return tostring(tonumber(redis.call('HGET', KEYS[1], 'day')) - t[1] * 1000000 - t[2])
LUA
    cmp_ok($answer / 1e6, '>', 86400 - 864 - 10, 'as it says itself');
};

subtest 'a key of another kind' => sub {
    my ($key, $id) = account('8/d');
    $redis->cmd('SET', "opsauth:rate:$id", 'x');
    my %seen;
    $seen{$nodes[0]->get('/', key => $key)->status}++ for 1 .. 20;
    # 4 nodes or, as long as none was counted, 8
    ok(($seen{200} // 0) >= 1 && $seen{200} <= 2 && $seen{429} == 20 - $seen{200}, 'by its own share') or diag explain \%seen;
    $nodes[0]->wait_for_log(qr/"opsauth:rate:$id" is no hash: the rate of this account is not shared/);
    my $n = () = $nodes[0]->log =~ /"opsauth:rate:$id" is no hash/g;
    is($n, 1, 'the log names it, once for a worker');
    $redis->cmd('DEL', "opsauth:rate:$id");
    ok(OpsAuth::Process->poll(10, sub { ($nodes[0]->get('/', key => $key)->header('X-RateLimit-Limit') // 0) == 8 }), 'and it is shared again');
};

subtest 'few questions' => sub {
    my ($key) = account('6000/m');
    my $before = ($redis->cmd('INFO', 'commandstats') =~ /^cmdstat_evalsha:calls=(\d+)/m)[0];
    my ($allowed) = load($key, 3, 1, 150, 0, 0, 0);
    my $calls = ($redis->cmd('INFO', 'commandstats') =~ /^cmdstat_evalsha:calls=(\d+)/m)[0] - $before;
    cmp_ok($calls, '<', @$allowed / 4, 'chunks, not requests') or diag "$calls for " . @$allowed;
};

subtest 'shadow asks nobody' => sub {
    my ($key, $id) = account('5/d');
    $nodes[0]->get('/shadow', key => $key) for 1 .. 8;
    is($redis->cmd('EXISTS', "opsauth:rate:$id"), 0, 'nothing was taken');
};

subtest 'a request that goes away while it waits' => sub {
    my ($key, $id) = account('5/d');
    is($nodes[0]->get('/', key => $key)->status, 200, 'once');
    $redis->cmd('CLIENT', 'PAUSE', 150, 'WRITE');
    my $c = $nodes[0]->connect;
    $c->write_request('GET', '/', key => $key);
    sleep 0.05;
    $c->reset;
    ok(OpsAuth::Process->poll(5, sub { $nodes[0]->get('/', key => $key)->status == 200 }), 'others are served');
};

subtest 'Redis away' => sub {
    my ($key) = account('400/d');
    my $node = $nodes[0];
    ok(OpsAuth::Process->poll(10, sub { $redis->cmd('ZCARD', 'opsauth:nodes') == NODES }), 'all nodes are known');
    sleep 5.5;                              # so that each has heard of the others
    my %first;
    $first{$node->get('/', key => $key)->status}++ for 1 .. 20;
    is_deeply(\%first, { 200 => 20 }, 'before');
    $_->get('/', key => $key) for @nodes[1 .. 3];
    my ($other) = account('400/d');
    $_->get('/', key => $other) for @nodes;
    my ($spent) = account('30/d');
    $node->get('/', key => $spent) for 1 .. 31;
    my ($idle) = account('400/d');
    # known to the cache, and no more: a place without rates
    for my $n (@nodes) {
        ok(OpsAuth::Process->poll(10, sub { ($n->get('/free', key => $idle)->header('X-Cache') // '') eq 'hit' }), 'known');
    }
    $redis->cmd('SAVE');
    $redis->stop;
    my (%seen, @limit);
    for my $i (1 .. 140) {
        my $r = $node->get('/', key => $key);
        $seen{$r->status}++;
        push @limit, $r->header('X-RateLimit-Limit') // 'none';
    }
    is_deeply([grep { !/^(?:200|429)$/ } keys %seen], [], 'neither 503 nor anything else') or diag explain \%seen;
    # a quarter of the 377 that were left, and two chunks of at most a fiftieth
    # that may have been in hand
    my $allowed = $seen{200} // 0;
    ok($allowed >= 85 && $allowed <= 94 + 16, 'its part of what was left') or diag explain \%seen;
    is($limit[-1], 100, 'a quarter of 400: that is what is told');

    # of nothing there is no part
    %seen = ();
    $seen{$node->get('/', key => $spent)->status}++ for 1 .. 10;
    is_deeply(\%seen, { 429 => 10 }, 'none of a plan that was used up');

    # an account that this node has not seen of late has its share at once
    my $quiet = $nodes[3]->get('/', key => $idle);
    is(statuses($nodes[1], 120, $idle), '200 100, 429 20', 'no more than a quarter of the plan') or diag $quiet->status;

    $redis->start;
    ok(OpsAuth::Process->poll(15, sub {
        my $r = $nodes[1]->get('/', key => $idle);
        return $r->status == 200 && $r->header('X-RateLimit-Limit') == 400;
    }), 'and back');
    my $rates = $nodes[1]->get('/status')->json->{stores}{main}{rates};
    cmp_ok($rates->{own_share}, '>=', 100, 'the status page has what was on its own share');
    cmp_ok($rates->{chunks_unanswered}, '<=', $rates->{chunks_asked}, 'what Redis was asked');
    cmp_ok($rates->{granted}, '>', 0, 'and what it granted');
    cmp_ok($rates->{refused}, '>=', 20, 'and who was refused');
    is($rates->{nodes}, NODES, 'and how many nodes there are');
    my $r = $nodes[2]->get('/', key => $idle);
    cmp_ok($r->header('X-RateLimit-Remaining'), '<', 300, 'what was spent meanwhile is charged') or diag $r->header('X-RateLimit-Remaining');
};

$_->finish for reverse @nodes;
done_testing();
