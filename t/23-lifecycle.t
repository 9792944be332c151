#!/usr/bin/perl

# Reloads, quits, killed workers and clients that give up, while lookups are
# under way: nothing that could be answered is lost, nothing stays behind.

use strict;
use warnings;

use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::Process;
use OpsAuth::Test;

# all to one store; a line of its own for the main context
sub start {
    my ($t, $store, $main) = @_;
    my $events = $ENV{TEST_NGINX_EVENTS} // '';
    $t->config(($main // '') . <<"CONF");
%%TEST_GLOBALS%%
events { worker_connections 2048; $events }
http {
    %%TEST_GLOBALS_HTTP%%
    opsauth_store main { redis %%REDIS%%; pepper_file %%PEPPER%%; cache 1m; $store }
    server {
        listen 127.0.0.1:%%PORT_8080%% backlog=1024;
        add_header X-Account \$opsauth_account always;
        add_header X-Cache \$opsauth_cache always;
        location / { opsauth main; empty_gif; }
    }
}
CONF
    return $t->start;
}

my $PATIENT = 'redis_timeout 20s; redis_connect_timeout 20s; lease 60s; cache_negative 60s;';
my $READS = 'HMGET opsauth:credential:*';

my $n = 0;
sub fresh { my ($store) = @_; return $store->issue(account => $store->account('a' . ++$n)) }

# clients with a request each under way; the accounts in the order of their answers
sub clients {
    my ($t, $store, $count) = @_;
    return map { my $c = $t->connect(timeout => 20); $c->write_request('GET', '/', key => fresh($store)); [$c, "a$n"] } 1 .. $count;
}

sub all_served {
    my ($name, @clients) = @_;
    my @wrong = grep { $_->[0] ne '200' || $_->[1] ne $_->[2] } map {
        my $r = $_->[0]->read_response;
        [$r->status, $r->header('X-Account') // $r->error, $_->[1]];
    } @clients;
    is_deeply(\@wrong, [], "$name: " . @clients . ' requests get their answers');
}

# a reload up to where the old workers no longer accept
sub handed_over {
    my ($t, @old) = @_;
    $t->reload(wait => 0);
    my %serves;
    ok(OpsAuth::Process->poll(10, sub {
        %serves = map { $_ => 1 } $t->workers;
        return %serves && !grep { $serves{$_} } @old;
    }), 'another worker serves');
}

subtest 'lookups under way' => sub {
    my $t = OpsAuth::Test->new;
    my $fake = $t->fake_redis;
    my $store = $t->store;
    start($t, $PATIENT);
    is($t->get('/', key => fresh($store))->status, 200, 'before');

    # 200 at the same time
    $fake->script($READS => { hold => 1 });
    my @waiting = clients($t, $store, 200);
    ok($fake->wait_held(200), '200 wait');
    is($fake->opened, 1, 'on one connection');
    $fake->behave->release;
    all_served('200', @waiting);

    # a reload
    $fake->script($READS => { hold => 1 });
    @waiting = clients($t, $store, 20);
    ok($fake->wait_held(20), 'some wait');
    my @old = $t->workers;
    handed_over($t, @old);
    ok(OpsAuth::Process->exists($old[0]), 'the old one is still there');
    $fake->behave;
    is($t->get('/', key => fresh($store))->status, 200, 'meanwhile');
    $fake->release;
    all_served('reload', @waiting);
    ok(OpsAuth::Process->poll(5, sub { !OpsAuth::Process->exists($old[0]) }), 'then the old one ends');
    ok(OpsAuth::Process->poll(5, sub { $fake->opened - $fake->closed == 1 }), 'with its connection');

    # one that has not even connected: the greeting is held
    $t->reload;
    $fake->script('HMGET opsauth:meta' => [{ hold => 1 }]);
    @waiting = clients($t, $store, 5);
    ok($fake->wait_held(1), 'some wait for the greeting');
    @old = $t->workers;
    handed_over($t, @old);
    $fake->release;
    all_served('reload while it connects', @waiting);
    ok(OpsAuth::Process->poll(5, sub { !OpsAuth::Process->exists($old[0]) }), 'then the old one ends');

    # an idle worker ends at once, whatever Redis does
    $fake->script('*' => 'silence');
    cmp_ok($t->reload, '<', 15, 'nobody waits for the 20 s that Redis has to answer');
    $fake->behave;
    is($t->get('/', key => fresh($store))->status, 200, 'again');

    # a quit
    $fake->script($READS => { hold => 1 });
    @waiting = clients($t, $store, 20);
    ok($fake->wait_held(20), 'some wait');
    kill 'QUIT', $t->pid;
    sleep 0.2;
    ok($t->running, 'nginx waits');
    $fake->behave->release;
    all_served('quit', @waiting);
    ok(OpsAuth::Process->poll(5, sub { !$t->running }), 'and ends');
    $t->finish;
};

subtest 'no more time' => sub {
    my $t = OpsAuth::Test->new;
    my $fake = $t->fake_redis;
    my $store = $t->store;
    start($t, $PATIENT, "worker_shutdown_timeout 500ms;\n");
    is($t->get('/', key => fresh($store))->status, 200, 'before');
    $fake->script($READS => 'silence');
    my @waiting = clients($t, $store, 10);
    ok($fake->wait_for($READS, 11), 'some wait, for nothing');
    my @old = $t->workers;
    my $took = $t->reload;
    cmp_ok($took, '<', 15, 'worker_shutdown_timeout ends it, not the 20 s that Redis has');
    ok(!OpsAuth::Process->exists($old[0]), 'the old worker is gone');
    my %got;
    $got{$_->[0]->read_response->status}++ for @waiting;
    is_deeply([grep { !/^(0|503)$/ } keys %got], [], 'their requests are not passed') or diag explain \%got;
    $fake->behave;
    is($t->get('/', key => fresh($store))->status, 200, 'the new one serves');
    $fake->script($READS => 'silence');
    clients($t, $store, 3);
    $t->finish;
};

subtest 'clients that give up' => sub {
    my $t = OpsAuth::Test->new;
    my $fake = $t->fake_redis;
    my $store = $t->store;
    start($t, $PATIENT);
    is($t->get('/', key => fresh($store))->status, 200, 'before');
    my $fds = $t->settled_fds;
    for my $end (qw(close reset)) {
        $fake->script($READS => { hold => 1 });
        my @gone = clients($t, $store, 100);
        ok($fake->wait_held(100), "$end: they wait");
        $gone[$_][0]->$end for grep { $_ % 2 } 0 .. 99;
        sleep 0.1;
        my @more = clients($t, $store, 10);
        ok($fake->wait_held(110), 'others come');
        $fake->behave->release;
        all_served("$end: those who stayed", (map { $gone[$_] } grep { $_ % 2 == 0 } 0 .. 99), @more);
        $_->[0]->close for (map { $gone[$_] } grep { $_ % 2 == 0 } 0 .. 99), @more;
        ok(OpsAuth::Process->poll(5, sub { $t->fd_count <= $fds + 2 }), 'no descriptor is lost') or diag $t->fd_count;
        is($fake->opened, 1, 'nor the connection');
    }
    $t->finish;
};

# --- under load ---------------------------------------------------------------------------

sub only_200 {
    my ($result, $name, $lost) = @_;
    my %status = %{$result->{status}};
    my $served = delete $status{200} // 0;
    cmp_ok($served, '>', 100, "$name: there was load");
    my $failed = 0;
    $failed += $_ for values %status;
    cmp_ok($failed, '<=', $lost // 0, "$name: requests that failed") or diag explain $result;
}

subtest 'under load' => sub {
    my $t = OpsAuth::Test->new(workers => 2);
    my $redis = $t->redis;
    my $store = $t->store;
    # a short lease, so that there is always a lookup under way
    start($t, 'redis_timeout 20s; redis_connect_timeout 20s; lease 100ms;');
    my $key = fresh($store);
    is($t->get('/', key => $key)->status, 200, 'before');

    my $load = $t->load(clients => 6, key => $key, keepalive => 5);
    for (1 .. 5) {
        sleep 0.2;
        $t->reload;
    }
    only_200($load->stop, 'five reloads');
    ok(OpsAuth::Process->poll(5, sub { $redis->clients <= 2 }), 'no connection stays behind') or diag scalar $redis->clients;

    $load = $t->load(clients => 6, key => $key, keepalive => 5);
    my @killed;
    for (1 .. 3) {
        sleep 0.3;
        my ($old, $new) = $t->kill9_worker;
        ok($new, 'a killed worker has a successor');
        push @killed, $old;
    }
    sleep 0.3;
    # each of the clients may have had one request on a worker that was killed
    only_200($load->stop, 'three killed workers', 6 * @killed);
    my %status;
    $status{$_->status}++ for $t->parallel(100, 'GET', '/', key => $key), $t->parallel(100, 'GET', '/', key => fresh($store));
    is_deeply(\%status, { 200 => 200 }, 'all is well afterwards');
    $t->finish;

    $t = OpsAuth::Test->new(workers => 2);
    $t->redis;
    $store = $t->store;
    start($t, $PATIENT);
    $key = fresh($store);
    # what was written just now may still be announced, and is read again then
    is($t->get('/', key => $key)->status, 200, 'read');
    sleep 0.2;
    is($t->get('/', key => $key)->status, 200, 'cached');
    $t->kill9_worker($_) for $t->workers;
    my %cache;
    $cache{$_->header('X-Cache')}++ for $t->parallel(40, 'GET', '/', key => $key);
    is_deeply(\%cache, { hit => 40 }, 'what killed workers have read is still good');
    $t->finish;
};

# --- slopes ---------------------------------------------------------------------------------

subtest 'nothing grows' => sub {
    my $t = OpsAuth::Test->new;
    my $fake = $t->fake_redis;
    my $store = $t->store;
    start($t, 'redis_timeout 100ms; redis_connect_timeout 5s; lease 100ms; cache_negative 100ms; stale off;');
    my @keys = map { fresh($store) } 1 .. 50;
    my @list = ((map { [$t->port(8080), 'GET', '/', key => $_] } @keys, map { $store->key } 1 .. 30),
        [$t->port(8080), 'GET', '/'], [$t->port(8080), 'GET', '/', key => 'x' x 600]);
    my $round = sub {
        my ($i) = @_;
        # now and then a reply is late, or its connection ends
        $fake->script($READS => [{ delay => 130 }]) if $i % 4 == 1;
        $fake->drop(rst => $i % 2) if $i % 4 == 3;
        my @gone = clients($t, $store, 5);
        $_->[0]->reset for @gone;
        my @answers = OpsAuth::HTTP::parallel_requests(\@list, concurrency => 50);
        # or the next rounds would meet but the backoff
        OpsAuth::Process->poll(10, sub { $t->get('/', key => fresh($store))->status == 200 })
            or die "round $i: Redis is not used again";
        return @answers;
    };
    my %status;
    $status{$_->status}++ for map { $round->($_) } 1 .. 12;
    my ($fds, $rss) = ($t->settled_fds, $t->rss);
    $status{$_->status}++ for map { $round->($_) } 1 .. 40;
    cmp_ok($status{200} // 0, '>', 500, 'served');
    cmp_ok($status{401} // 0, '>', 300, 'and turned away');
    is_deeply([grep { !/^(200|400|401|503)$/ } keys %status], [], 'nothing else') or diag explain \%status;
    # each connection that ended would have left one; that to Redis and that of
    # its feed may have been away, or both there twice, when they were counted
    ok(OpsAuth::Process->poll(5, sub { $t->fd_count <= $fds + 2 }), 'descriptors') or diag "$fds " . $t->fd_count;
    # the pages of a 1 MiB zone come one by one; sanitizers keep what was freed
    my $limit = OpsAuth::Nginx::SLOW ? 300_000 : 3_000;
    cmp_ok($t->rss - $rss, '<', $limit, 'resident KiB') or diag "$rss " . $t->rss;
    $t->finish;
};

subtest 'master_process off' => sub {
    my $t = OpsAuth::Test->new;
    my $redis = $t->redis;
    my $store = $t->store;
    start($t, $PATIENT, "master_process off;\n");
    my $key = fresh($store);
    is($t->get('/', key => $key)->status, 200, 'it serves');
    is($t->get('/', key => $store->key)->status, 401, 'and turns away');
    is(scalar(my @clients = $redis->clients), 1, 'with one connection');
    # 1.22.1 serves nobody after a HUP in this mode, with or without modules
    my $mark = $t->mark;
    kill 'HUP', $t->pid;
    ok($t->wait_for_log(qr/reconfiguring/, since => $mark), 'a HUP');
    sleep 0.3;
    ok($t->running, 'and lives');
    $t->finish;
};

done_testing();
