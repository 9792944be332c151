#!/usr/bin/perl

# Usage of credentials: what is counted, what stands in Redis and when, what
# reloads, quits, crashes and a Redis in trouble make of it.

use strict;
use warnings;

use List::Util qw(sum0);
use POSIX qw(strftime);
use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::Process;
use OpsAuth::Test;

my $PATIENCE = 15;

sub http {
    my ($store, %o) = @_;
    my $more = $o{more} // '';
    return <<"CONF";
    opsauth_store main { redis %%REDIS%%; pepper_file %%PEPPER%%; cache 1m; $store }
    server {
        listen 127.0.0.1:%%PORT_8080%% reuseport backlog=1024;
        set_real_ip_from 127.0.0.0/8;
        real_ip_header X-From;
        add_header X-Reason \$opsauth_reason always;
        location / { opsauth main; empty_gif; }
        location /admin { opsauth main; opsauth_require scope=write:all; empty_gif; }
        location /shadow { opsauth main shadow; opsauth_require scope=write:all; empty_gif; }
        location /redirect { opsauth main; try_files /nothing.gif /there; }
        location /status { opsauth_status json; }
        location /there { opsauth main; empty_gif; }
        $more
    }
CONF
}

my $n = 0;
sub fresh {
    my ($store, %fields) = @_;
    my $id = 'key_' . sprintf '%016d', ++$n;
    return ($store->issue(account => $store->account("a$n"), id => $id, %fields), $id);
}

sub usage { my ($redis, $id) = @_; return {@{$redis->cmd('HGETALL', "opsauth:usage:$id")}} }
# of all days, so that midnight does no harm
sub counts {
    my ($redis, $id) = @_;
    my $usage = usage($redis, $id);
    return join ' ', map { my $what = $_; sum0 map { $usage->{$_} } grep { /^$what:\d{8}$/ } keys %$usage } qw(requests denied);
}
sub becomes {
    my ($redis, $id, $expected, $name) = @_;
    my $got;
    OpsAuth::Process->poll($PATIENCE, sub { $got = counts($redis, $id); $got eq $expected });
    return is($got, $expected, $name);
}

subtest 'what is counted' => sub {
    my $t = OpsAuth::Test->new(workers => 2);
    my $redis = $t->redis;
    my $store = $t->store;
    $t->config_http(http('usage on;'));
    $t->start;

    my ($key, $id) = fresh($store, scopes => 'read:all');
    my $from = time;
    my %seen;
    $seen{$_->status}++ for $t->parallel(40, 'GET', '/', key => $key);
    is_deeply(\%seen, { 200 => 40 }, '40 requests on two workers');
    becomes($redis, $id, '40 0', 'are 40 in Redis');
    my $usage = usage($redis, $id);
    is_deeply([sort map { s/\d{8}$/day/r } keys %$usage], [qw(last_ip last_used requests:day)], 'with the last use');
    ok($usage->{last_used} >= int $from && $usage->{last_used} <= time, 'when it was');
    is($usage->{last_ip}, '127.0.0.1', 'from where');
    my ($day) = map { /(\d{8})$/ } grep { /^requests/ } keys %$usage;
    ok((grep { $day eq strftime '%Y%m%d', gmtime $_ } $from, time), 'under the day in UTC');
    my $ttl = $redis->cmd('TTL', "opsauth:usage:$id");
    ok($ttl > 399 * 86400 && $ttl <= 400 * 86400, 'for 400 days');

    # turned away: counted, but no use
    my $before = $usage->{last_used};
    sleep 1.1;
    is($t->get('/admin', key => $key, headers => [['X-From', '192.0.2.9']])->status, 403, 'turned away');
    becomes($redis, $id, '41 1', 'is a request and a denial');
    is_deeply([@{usage($redis, $id)}{qw(last_used last_ip)}], [$before, '127.0.0.1'], 'and no use');
    is($t->get('/', key => $key, headers => [['X-From', '2001:db8::7']])->status, 200, 'by IPv6');
    becomes($redis, $id, '42 1', 'counted');
    is(usage($redis, $id)->{last_ip}, '2001:db8::7', 'its address');
    cmp_ok(usage($redis, $id)->{last_used}, '>', $before, 'and its time');

    # once a request
    is($t->get('/redirect', key => $key)->status, 200, 'redirected inside');
    is($t->get('/shadow', key => $key)->status, 200, 'what a shadow would deny');
    becomes($redis, $id, '44 2', 'is one request each, the shadow\'s a denial');

    # revoked ones, too; keys that nobody knows belong to nobody
    my ($revoked, $revoked_id) = fresh($store, state => 'revoked');
    is($t->get('/', key => $_)->status, 401, 'no key') for $revoked, $store->key;
    becomes($redis, $revoked_id, '1 1', 'a revoked key');
    is_deeply([sort keys %{usage($redis, $revoked_id)}], [grep { !/last/ } sort keys %{usage($redis, $revoked_id)}], 'was not used');
    is_deeply([sort @{$redis->cmd('KEYS', 'opsauth:usage:*')}], [map { "opsauth:usage:$_" } sort $id, $revoked_id], 'and nobody else has a record');

    # a token's usage ends soon after it
    my $token = $store->token;
    $store->credential($token, account => $store->account('tokens'), id => 'tok_1', kind => 'access_token');
    is($t->get('/', key => $token)->status, 200, 'a token');
    becomes($redis, 'tok_1', '1 0', 'is counted');
    cmp_ok($redis->cmd('TTL', 'opsauth:usage:tok_1'), '<=', 7 * 86400, 'for a week');

    my $status = $t->get('/status')->json;
    my $figures = $status->{stores}{main}{usage};
    is($figures->{credentials}, 3, 'the status page has it');
    is_deeply([@$figures{qw(written lost errors)}], [46, 0, 0], 'in figures') or diag explain $status;

    # few writes, none while nothing happens
    $redis->reset_stats;
    $t->parallel(50, 'GET', '/', key => $key) for 1 .. 4;
    becomes($redis, $id, '244 2', '200 more');
    cmp_ok($redis->calls('hincrby'), '<', 20, 'in few writes');
    $redis->reset_stats;
    sleep 2.5;
    is($redis->calls('hincrby') + $redis->calls('hset') + $redis->calls('expire'), 0, 'and none without requests');
    $t->finish;
};

subtest 'days that are over' => sub {
    my $t = OpsAuth::Test->new;
    my $redis = $t->redis;
    my $store = $t->store;
    $t->config_http(http('usage on; usage_interval 50ms;'));
    my ($key, $id) = fresh($store);
    my @days = map { strftime '%Y%m%d', gmtime(time - $_ * 86400) } 420, 402, 397, 3;
    $redis->cmd('HSET', "opsauth:usage:$id", map { ("requests:$_" => 5, "denied:$_" => 1) } @days);
    $t->start;
    is($t->get('/', key => $key)->status, 200, 'a request');
    becomes($redis, $id, '11 2', 'takes those of more than 400 days with it');
    my $usage = usage($redis, $id);
    is_deeply([sort map { /requests:(\d+)/ } keys %$usage], [sort @days[2, 3], map { /requests:(\d+)/ && $1 > $days[3] ? $1 : () } keys %$usage],
        'and no others');
    $t->finish;
};

subtest 'many credentials' => sub {
    my $t = OpsAuth::Test->new(workers => 2);
    my $redis = $t->redis;
    my $store = $t->store;
    $t->config_http(http('usage on; usage_interval 200ms;'));
    $t->start;
    my %key = map { fresh($store) } 1 .. 300;
    for my $round (1 .. 2) {
        my $c = $t->connect(timeout => 20);
        $c->request('GET', '/', key => $_)->status eq '200' or fail('a request') for keys %key;
    }
    my @wrong;
    OpsAuth::Process->poll($PATIENCE, sub { @wrong = grep { counts($redis, $_) ne '2 0' } values %key; !@wrong });
    is_deeply(\@wrong, [], '300 of them, more than one batch');
    $t->finish;
};

subtest 'reload, quit, kill' => sub {
    my $t = OpsAuth::Test->new(workers => 2);
    my $redis = $t->redis;
    my $store = $t->store;
    my ($key, $id) = fresh($store);

    # an interval that never ends: only what the end of a worker does is seen
    $t->config_http(http('usage on; usage_interval 1h;'));
    $t->start;
    # the first turn is at once
    is($t->get('/', key => $key)->status, 200, 'first');
    # which may be before the first request where nginx is slow
    becomes($redis, $id, '1 0', 'is written at once') unless OpsAuth::Nginx::SLOW;
    $t->parallel(30, 'GET', '/', key => $key);
    sleep 0.7;
    is(counts($redis, $id), '1 0', 'then an hour passes') unless OpsAuth::Nginx::SLOW;
    $t->reload;
    becomes($redis, $id, '31 0', 'but a reload writes what there is');

    $t->parallel(20, 'GET', '/', key => $key);
    my ($old) = $t->kill9_worker;
    $t->kill9_worker((grep { $_ != $old } $t->workers)[0]);
    is(counts($redis, $id), '31 0', 'two workers are killed');
    $t->reload;
    becomes($redis, $id, '51 0', 'nothing of theirs is lost');

    # another size is another zone: the old workers write theirs
    $t->parallel(10, 'GET', '/', key => $key);
    $t->config_http(http('usage on; usage_interval 1h; usage_zone 1m;'));
    $t->reload;
    becomes($redis, $id, '61 0', 'a zone of another size');
    $t->parallel(10, 'GET', '/', key => $key);
    $t->nginx->quit;
    becomes($redis, $id, $_, 'a quit') for '71 0';
    $t->finish;
};

subtest 'under load' => sub {
    my $t = OpsAuth::Test->new(workers => 2);
    my $redis = $t->redis;
    my $store = $t->store;
    $t->config_http(http('usage on; usage_interval 100ms; redis_timeout 5s;'));
    $t->start;
    my %key = map { fresh($store) } 1 .. 3;
    my $begun = time;
    my %load = map { ($key{$_} => $t->load(key => $_, clients => 1, keepalive => 20, pause => 0.002)) } keys %key;
    my $kills = 0;
    for my $round (1 .. 3) {
        sleep 0.4;
        $t->reload;
        sleep 0.4;
        next if $round == 3;
        $t->kill9_worker;
        $kills++;
        OpsAuth::Process->poll(10, sub { $t->workers == 2 });
    }
    my %sent = map { ($_ => $load{$_}->stop) } keys %load;
    my $span = time - $begun;
    my %got;
    # until nothing more is written
    OpsAuth::Process->poll($PATIENCE, sub {
        sleep 0.5;
        my %now = map { ($_ => counts($redis, $_)) } keys %sent;
        my $same = !grep { ($got{$_} // '') ne $now{$_} } keys %now;
        %got = %now;
        return $same;
    });
    for my $id (sort keys %sent) {
        my ($requests, $denied) = split / /, $got{$id};
        my $answered = $sent{$id}{status}{200};
        # a client that loses its connection asks again
        my $all = $sent{$id}{requests} + $sent{$id}{retried};
        cmp_ok($answered, '>', 100, "$id is in use");
        cmp_ok($requests, '<=', $all, 'none is counted twice');
        # who is killed takes along what he was just writing: one interval, and
        # those on busy machines are long
        cmp_ok($requests, '>=', $answered - $kills * 0.4 / $span * $answered, 'and none is missing but what a killed worker was writing')
            or diag "$requests of $answered answered, $all sent";
        is($denied, 0, 'nor denied');
    }
    $t->finish;
};

subtest 'a crash of all of it' => sub {
    my $t = OpsAuth::Test->new(workers => 2);
    my $redis = $t->redis;
    my $store = $t->store;
    my ($key, $id) = fresh($store);
    $t->config_http(http('usage on; usage_interval 200ms;'));
    $t->start;
    $t->parallel(25, 'GET', '/', key => $key);
    becomes($redis, $id, '25 0', 'what is older than the interval');
    my @pids = ($t->pid, $t->workers);
    $t->parallel(5, 'GET', '/', key => $key);
    kill 'KILL', @pids;
    ok(OpsAuth::Process->poll(5, sub { !grep { OpsAuth::Process->exists($_) && OpsAuth::Process->running($_) } $pids[0] }), 'all killed');
    OpsAuth::Process->wait_for($pids[0], 5);
    $t->start;
    is($t->get('/', key => $key)->status, 200, 'it starts again');
    my ($requests, $expected);
    OpsAuth::Process->poll($PATIENCE, sub { ($requests) = counts($redis, $id) =~ /^(\d+)/; $requests >= 26 });
    ok($requests >= 26 && $requests <= 31, "and at most the last interval is missing ($requests of 31)");
    $t->finish;
};

subtest 'a Redis in trouble' => sub {
    my $t = OpsAuth::Test->new(workers => 2);
    my $redis = $t->redis;
    my $store = $t->store;
    my ($key, $id) = fresh($store);
    $t->config_http(http('usage on; usage_interval 100ms; redis_timeout 2s; lease 60s; cache_valid 60s; stale 60s;'));
    $t->start;
    is($t->get('/', key => $key)->status, 200, 'before');
    becomes($redis, $id, '1 0', 'counted');

    # certainly not written: kept
    $redis->stop;
    my %seen;
    for (1 .. 4) {
        $seen{$_->status}++ for $t->parallel(10, 'GET', '/', key => $key);
        sleep 0.2;
    }
    is_deeply(\%seen, { 200 => 40 }, 'without Redis requests pass');
    $redis->start;
    $store->marker;
    my ($requests) = (0);
    OpsAuth::Process->poll($PATIENCE, sub { ($requests) = counts($redis, $id) =~ /^(\d+)/; $requests >= 40 });
    is($requests, 40, 'and are in Redis when it is back');
    $t->finish;
};

subtest 'unknown outcomes' => sub {
    my $t = OpsAuth::Test->new;
    my $fake = $t->fake_redis;
    my $store = $t->store;
    my ($key, $id) = fresh($store);
    $t->config_http(http('usage on; usage_interval 200ms; redis_timeout 300ms; lease 60s;'));
    $t->start;
    $fake->script("HINCRBY opsauth:usage:$id*" => 'close');
    is($t->get('/', key => $key)->status, 200, 'a request');
    ok($fake->wait_for("HINCRBY opsauth:usage:$id*", 1), 'its count is sent');
    sleep 1;
    $fake->behave;
    is($t->get('/', key => $key)->status, 200, 'another one');
    ok(OpsAuth::Process->poll($PATIENCE, sub { 2 <= grep { $_->{words}[1] eq "opsauth:usage:$id" } $fake->commands('HINCRBY') }), 'is sent, too');
    is_deeply([map { $_->{words}[3] } $fake->commands('HINCRBY')], [1, 1], 'but the first one never again');
    ok($t->nginx->wait_for_log(qr/1 requests so far are in no count/, timeout => 10), 'which the log says');
    $t->finish;
};

subtest 'rights' => sub {
    my $t = OpsAuth::Test->new(workers => 2);
    my ($test, $gateway) = map { join '', map { ('a' .. 'z')[rand 26] } 1 .. 24 } 1 .. 2;
    $t->secret($test, $gateway);
    my $read = 'resetkeys %R~opsauth:credential:* %R~opsauth:account:* %R~opsauth:meta resetchannels &__redis__:invalidate '
        . '&opsauth:invalidate -@all +hmget +ping +info +subscribe +client|id +client|setname +client|tracking +role';
    my $redis = $t->redis(user => 'test', password => $test, acl => [
        "user test on >$test ~* &* +\@all", 'user default off', "user gateway on >$gateway $read",
    ]);
    my $store = $t->store(redis => $redis);
    my ($key, $id) = fresh($store);
    $t->write_file('password', "$gateway\n", 0600);
    my $t_dir = $t->dir;
    $t->config_http(http("usage on; usage_interval 50ms; redis_user gateway; redis_password_file $t_dir/password;"));
    $t->start;
    my %seen;
    for (1 .. 5) {
        $seen{$_->status}++ for $t->parallel(10, 'GET', '/', key => $key);
        sleep 0.2;
    }
    is_deeply(\%seen, { 200 => 50 }, 'without the right to write, requests pass');
    ok($t->nginx->wait_for_log(qr/answers HINCRBY with NOPERM/, timeout => 10), 'and the log says what is wrong');
    my @lines = $t->nginx->log =~ /\(usage\)" answers/g;
    cmp_ok(@lines, '<=', 2, 'once for each worker');
    $redis->cmd(qw(ACL SETUSER gateway ~opsauth:usage:* +hincrby +hset +hdel +expire));
    becomes($redis, $id, '50 0', 'with the right, nothing is missing');
    cmp_ok($redis->cmd('TTL', "opsauth:usage:$id"), '>', 0, 'and it expires');
    $t->allow_log(qr/NOPERM/);
    $t->finish;
};

subtest 'a key of another kind' => sub {
    my $t = OpsAuth::Test->new;
    my $redis = $t->redis;
    my $store = $t->store;
    my ($bad, $bad_id) = fresh($store);
    my ($good, $good_id) = fresh($store);
    $redis->cmd('SET', "opsauth:usage:$bad_id", 'x');
    $t->config_http(http('usage on; usage_interval 50ms;'));
    $t->start;
    is($t->get('/', key => $_)->status, 200, 'a request') for $bad, $good, $bad, $good;
    becomes($redis, $good_id, '2 0', 'the other ones are counted');
    ok($t->nginx->wait_for_log(qr/"opsauth:usage:\Q$bad_id\E" is no hash/), 'and the log names the one');
    $t->finish;
};

subtest 'a small zone' => sub {
    my $t = OpsAuth::Test->new;
    my $redis = $t->redis;
    my $store = $t->store;
    $t->config_http(http('usage on; usage_zone 32k; usage_interval 1h;'));
    $t->start;
    my %key = map { fresh($store) } 1 .. 400;
    my $c = $t->connect(timeout => 20);
    my @status = map { $c->request('GET', '/', key => $_)->status } keys %key;
    is_deeply([grep { $_ ne '200' } @status], [], '400 keys in room for about 100: requests pass');
    $t->reload;
    my $sum = 0;
    OpsAuth::Process->poll(5, sub { $sum = grep { counts($redis, $_) eq '1 0' } values %key; $sum > 50 });
    ok($sum >= 50 && $sum < 400, "some are counted ($sum)");
    $t->finish;
};

subtest 'configuration' => sub {
    my $t = OpsAuth::Test->new;
    $t->redis;
    $t->store;
    is($t->config_error(http("usage on; $_")), '', "$_") for '', 'usage_zone 32k;', 'usage_interval 50ms;', 'usage_interval 1h;';
    my %wrong = (
        'usage perhaps;'                   => qr/invalid value "perhaps" in "usage" directive/,
        'usage on; usage on;'              => qr/"usage" directive is duplicate/,
        'usage on; usage_zone 1k;'         => qr/"usage_zone" of 1024 bytes in "opsauth_store main" is too small: it must be at least 32768 bytes/,
        'usage on; usage_zone much;'       => qr/invalid value "much" in "usage_zone": a size in "k" or "m" up to 1048576m, like "64m", is expected/,
        'usage_zone 1k;'                   => qr/"usage_zone" of 1024 bytes/,
        'usage_zone 1m; usage_zone x;'     => qr/"usage_zone" directive is duplicate/,
        'usage on; usage_interval often;'  => qr/invalid value "often" in "usage_interval": a time from 50ms to 1h, like "1s", is expected/,
        'usage_interval 2h;'               => qr/invalid value "2h" in "usage_interval": a time from 50ms to 1h/,
        'usage on; usage_interval 10ms;'   => qr/invalid value "10ms" in "usage_interval": a time from 50ms to 1h/,
    );
    like($t->config_error(http($_)), $wrong{$_}, $_) for sort keys %wrong;
    $t->finish;
};

done_testing;
