#!/usr/bin/perl

# A Sentinel group: the primary is found, a failover is followed at once, and an
# old primary that comes back, and does not know yet that it is none any more, is
# not believed (REDIS section 4.3).

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::Group qw($LEASE status settles);
use OpsAuth::OAuth;
use OpsAuth::Process;
use OpsAuth::Sentinel;
use OpsAuth::Test;

sub gateway { return OpsAuth::Sentinel->gateway(workers => 4, @_) }

subtest 'the primary is found' => sub {
    my ($t, $group, $store, @keys) = gateway(extra => 'stale off;');
    $t->start;
    is(settles($t, $keys[0], 204), 204, 'served');
    is(scalar(grep { ($_->{name} // '') =~ /^opsauth-main-/ } $group->primary->clients) > 0, 1, 'from the primary');
    for my $replica (grep { $_ != $group->primary } $group->servers) {
        is(scalar(grep { ($_->{name} // '') =~ /^opsauth/ } $replica->clients), 0, 'not from a replica');
    }

    # a sentinel that is gone, and one that hangs, are passed by
    $group->sentinel(1)->pause;
    $group->sentinel(2)->kill;
    $group->primary_of(3)->cmd('CLIENT', 'KILL', 'TYPE', $_, 'SKIPME', 'yes') for qw(normal pubsub);
    is(settles($t, $keys[1], 204), 204, 'with one sentinel of three');
    $group->sentinel(1)->resume;
    $group->sentinel(3)->kill;
    $t->allow_log(qr/is down/);
    $t->finish;
};

subtest 'a failover that is asked for' => sub {
    my ($t, $group, $store, @keys) = gateway(extra => 'stale off;');
    $t->start;
    is(settles($t, $keys[0], 204), 204, 'before');
    my $new = $group->fail_over;
    $store->{redis} = $new;
    $store->revoke($keys[0]);
    is(settles($t, $keys[0], 401), 401, 'what is revoked on the new primary is refused');
    is(settles($t, $keys[1], 204), 204, 'and the rest served');
    ok($t->wait_for_log(qr/the primary is "127\.0\.0\.1:${\$new->port}" now, a sentinel tells/), 'a sentinel told of it');
    $t->allow_log(qr/is down/);
    $t->finish;
};

subtest 'an old primary that was frozen, and thaws' => sub {
    my ($t, $group, $store, @keys) = gateway();
    $t->start;
    is(settles($t, $keys[0], 204), 204, 'before');
    is(settles($t, $keys[1], 204), 204, 'and another key');
    my $old = $group->primary;
    $old->pause;
    my $new = $group->failed_over($old);
    $store->{redis} = $new;
    $store->revoke($keys[0]);
    my $revoked = time;
    $old->resume;

    # until the sentinels have made it a replica, and a while longer
    my (%seen, %worker, $thawed, $until);
    while (time < ($until // $revoked + 40)) {
        my $asked = time;
        my $r = $t->get('/', key => $keys[0]);
        next if $asked - $revoked < $LEASE;
        $seen{$r->status}++;
        $worker{$r->header('X-Worker') // ''}++ if $r->status != 503;
        my $role = eval { $old->cmd('ROLE')->[0] } // '';
        $thawed++ if $role eq 'master';
        $until //= time + 2 if $role eq 'slave';
    }
    ok($thawed, 'it said for a while that it is the primary') or diag 'Sentinel was too quick';
    ok(!$seen{204}, 'and no worker admitted the revoked key') or diag explain \%seen;
    ok($seen{401}, 'it was refused');
    is(scalar(keys %worker), 4, 'by all workers');
    is(settles($t, $keys[1], 204), 204, 'others are served');
    $t->allow_log(qr/is down/);
    $t->finish;
};

# What a sentinel tells is acted upon before anybody has reached the new primary,
# by all workers: the old one still answers, says that it is the primary, and the
# lease would admit what is known of it for a minute.
subtest 'told of a failover' => sub {
    my $t = OpsAuth::Test->new(workers => 4);
    my $sentinel = $t->fake_redis(name => 'SENTINEL');
    my ($old, $new) = map { $t->redis(name => $_) } qw(OLD NEW);
    my $store = $t->store(redis => $old);
    my ($key, @others) = map { $store->key } 0 .. 140;
    my @warm = splice @others, 40;
    for my $redis ($new, $old) {
        $store->{redis} = $redis;
        $store->marker;
        $store->account('crm');
        $store->credential($_, account => 'crm') for $key, @others, @warm;
    }
    $sentinel->script(SENTINEL => { array => ['127.0.0.1', $old->port] });
    $t->var(GROUP => 'redis+sentinel://mymaster@' . $sentinel->address);
    $t->var(EXTRA => 'stale off; cache_valid 10m; usage on; usage_interval 100ms;');
    $t->config_http(OpsAuth::Group::conf($t, lease => '60s'));
    $t->start;
    is(settles($t, $key, 204), 204, 'before');
    # what is not cached makes each worker connect
    my %reader;
    while (@warm && keys %reader < 4) {
        my $r = $t->get('/', key => shift @warm);
        $reader{$r->header('X-Worker')}++ if $r->status == 204;
    }
    is(scalar(keys %reader), 4, 'all workers have read from the old primary');
    my $counted = sub {
        my ($redis) = @_;
        return OpsAuth::Process->poll(20, sub { status($t, $others[0]); scalar @{$redis->cmd(qw(KEYS opsauth:usage:*))} });
    };
    ok($counted->($old), 'usage is counted, too');

    $store->{redis} = $new;
    $store->revoke($key);
    $new->pause;
    $sentinel->script(SENTINEL => { array => ['127.0.0.1', $new->port] });
    my %listening = map { $_->{connection} => 1 } $sentinel->commands('SUBSCRIBE +switch-master');
    is(scalar(keys %listening), 2, 'two workers listen');
    my $said = join ' ', 'mymaster', '127.0.0.1', $old->port, '127.0.0.1', $new->port;
    $sentinel->push("*3\r\n" . join('', map { '$' . length($_) . "\r\n$_\r\n" } 'message', '+switch-master', $said), $_)
        for keys %listening;
    ok($t->wait_for_log(qr/the primary is "127\.0\.0\.1:${\$new->port}" now, a sentinel tells/), 'they are told');

    # what was cached, and what was not
    my (%seen, %worker);
    for my $i (0 .. 79) {
        my $r = $t->get('/', key => $i % 2 ? $key : $others[$i / 2]);
        $seen{$r->status}++;
        $worker{$r->header('X-Worker') // ''}++;
    }
    is_deeply(\%seen, { 503 => 80 }, 'nobody goes by the old primary') or diag explain \%seen;
    is(scalar(keys %worker), 4, 'no worker');

    $new->resume;
    is(settles($t, $key, 401), 401, 'the new one is followed');
    is(settles($t, $others[0], 204), 204, 'for others, too');
    ok($counted->($new), 'and by what counts usage');
    ok(OpsAuth::Process->poll(20, sub {
        my $before = $old->calls('hincrby');
        for (1 .. 40) { status($t, $others[0]); sleep 0.05 }
        return $old->calls('hincrby') == $before;
    }), 'which leaves the old one alone');
    $t->allow_log(qr/is down/);
    $t->finish;
};

# What one worker does that listens: its feed and its reads leave what is not the
# primary any more, each by itself, with what is in flight.
subtest 'told, one worker' => sub {
    my $t = OpsAuth::Test->new;
    my $sentinel = $t->fake_redis(name => 'SENTINEL');
    my @servers = map { $t->redis(name => $_) } qw(ONE TWO);
    my $store = $t->store(redis => $servers[0]);
    my @keys = map { $store->key } 1 .. 40;
    for my $redis (@servers) {
        $store->{redis} = $redis;
        $store->marker;
        $store->account('crm');
        $store->credential($_, account => 'crm') for @keys;
    }
    my $names = sub { $sentinel->script(SENTINEL => { array => ['127.0.0.1', $_[0]->port] }) };
    $names->($servers[0]);
    $t->var(GROUP => 'redis+sentinel://mymaster@' . $sentinel->address);
    $t->var(EXTRA => 'stale off; usage off;');
    $t->config_http(OpsAuth::Group::conf($t, lease => '60s', timeout => '5s'));
    $t->allow_log(qr/is down/);
    $t->start;
    ok($t->wait_for_log(qr/feed of store "main": tracking/), 'a feed, and nobody has read anything');
    ok($sentinel->wait_for('SUBSCRIBE +switch-master', 1, 20), 'it listens');
    # the first PING follows the greeting
    ok($sentinel->wait_for('PING', 1, 20), 'and is heard');
    my $says = sub {
        my ($group, $old, $new) = @_;
        $names->($new) if $group eq 'mymaster';
        my $said = join ' ', $group, map { ('127.0.0.1', $_->port) } $old, $new;
        my ($listens) = map { $_->{connection} } reverse $sentinel->commands('SUBSCRIBE +switch-master');
        $sentinel->push("*3\r\n" . join('', map { '$' . length($_) . "\r\n$_\r\n" } 'message', '+switch-master', $said), $listens);
    };
    my $told = sub { my ($new, $mark) = @_; return $t->wait_for_log(qr/the primary is "127\.0\.0\.1:${\$new->port}" now, a sentinel tells/, since => $mark) };

    my $mark = $t->mark;
    $says->('yourmaster', $servers[0], $sentinel);
    $says->('mymaster', @servers);
    ok($told->($servers[1], $mark), 'what only the feed has to leave is left');
    is(scalar(() = $t->log_since($mark) =~ /sentinel "\S+" tells/g), 1, 'by the word about this group alone') or diag $t->log_since($mark);
    is(settles($t, $keys[0], 204), 204, 'the new one is followed');

    # asked the one that is replaced meanwhile
    $servers[1]->pause;
    my $client = $t->connect;
    $client->write_request('GET', '/', key => $keys[1]);
    sleep 0.3;
    $mark = $t->mark;
    $says->('mymaster', reverse @servers);
    ok($told->($servers[0], $mark), 'told of the next one');
    is($client->read_response->status, 204, 'which is asked instead, long before anything is late');
    $servers[1]->resume;

    # what was missed is named at the next connection; the breaker is the old one's
    $servers[0]->pause;
    my @r = OpsAuth::HTTP::parallel_requests([map { [$t->port(8080), 'GET', '/', key => $_] } @keys[2 .. 11]]);
    is(scalar(grep { $_->status == 503 } @r), 10, 'ten wait in vain, which opens the breaker');
    $mark = $t->mark;
    $names->($servers[1]);
    $sentinel->drop;
    ok($told->($servers[1], $mark), 'told of a failover that nobody announced');
    is(settles($t, $keys[12], 204), 204, 'the new one is asked');
    $servers[0]->resume;

    # its reads come to know of one before its feed does: they stay there
    my $clients = sub { my ($redis, $name) = @_; return grep { ($_->{name} // '') =~ $name } map { +{ /(\w+)=(\S*)/g } } split /\n/, $redis->cmd('CLIENT', 'LIST') };
    ok(OpsAuth::Process->poll(20, sub { $clients->($servers[1], qr/-feed$/) }), 'the feed has come');
    $names->($servers[0]);
    $servers[1]->cmd('CLIENT', 'KILL', 'ID', $_->{id}) for $clients->($servers[1], qr/^opsauth-main-\d+$/);
    is(settles($t, $keys[13], 204), 204, 'read from the next one');
    my $connected = $servers[0]->info('total_connections_received');
    is(scalar(grep { status($t, $_) == 204 } @keys[14 .. 33]), 20, 'and so on');
    is($servers[0]->info('total_connections_received') - $connected, 0, 'by the same connection');

    $mark = $t->mark;
    $sentinel->script(PING => 'silence');
    ok($t->wait_for_log(qr/sentinel "\S+" is down: it does not answer/, since => $mark), 'a sentinel that says nothing any more is left');
    $t->finish;
};

# Ten that waited in vain opened the breaker for the old one. The new one is slow to
# greet, and no feed knows it yet; a worker hears of it, or is led there by a probe.
subtest 'another one while the breaker is open' => sub {
    for my $how (qw(told led)) {
        my $t = OpsAuth::Test->new;
        my $sentinel = $t->fake_redis(name => 'SENTINEL');
        my $old = $t->redis(name => 'OLD');
        my $new = $t->fake_redis(name => 'NEW', script => { 'HMGET opsauth:meta' => { hold => 1 }, 'CLIENT TRACKING' => 'close' });
        my $store = $t->store(redis => $old);
        my @keys = map { $store->key } 1 .. 12;
        for my $redis ($old, $new) {
            $store->{redis} = $redis;
            $store->marker;
            $store->account('crm');
            $store->credential($_, account => 'crm') for @keys;
        }
        my $names = sub { $sentinel->script(SENTINEL => { array => ['127.0.0.1', $_[0]->port] }) };
        $names->($old);
        $t->var(GROUP => 'redis+sentinel://mymaster@' . $sentinel->address);
        $t->var(EXTRA => 'stale off; usage off;');
        $t->config_http(OpsAuth::Group::conf($t, lease => '60s', timeout => '5s'));
        $t->allow_log(qr/is down/);
        $t->start;
        ok($t->wait_for_log(qr/feed of store "main": tracking/), 'a feed');
        is(status($t, $keys[0]), 204, 'asked');
        $old->pause;
        my @r = OpsAuth::HTTP::parallel_requests([map { [$t->port(8080), 'GET', '/', key => $_] } @keys[1 .. 10]]);
        is(scalar(grep { $_->status == 503 } @r), 10, 'ten wait in vain');
        $names->($new);
        my $mark = $t->mark;
        if ($how eq 'told') {
            $sentinel->drop;
            ok($t->wait_for_log(qr/the primary is "\S+" now, a sentinel tells/, since => $mark), 'told');
        }
        else {
            $old->kill;
            ok($new->wait_held(1, 20), 'the probe is there');
        }
        my $client = $t->connect;
        $client->write_request('GET', '/', key => $keys[11]);
        ok($new->wait_held(1, 20), 'the new one is being greeted');
        sleep 0.3;
        $new->script('HMGET opsauth:meta' => undef, 'CLIENT TRACKING' => undef);
        $new->release;
        is($client->read_response->status, 204, "$how: a request waits for it");
        $old->resume if $how eq 'told';
        $t->finish;
    }
};

# Workers that do not listen had tried the old one in vain, and were about to wait.
subtest 'told of a failover, in backoff' => sub {
    my $t = OpsAuth::Test->new(workers => 4);
    my $sentinel = $t->fake_redis(name => 'SENTINEL');
    my ($old, $new) = map { $t->redis(name => $_) } qw(OLD NEW);
    my $store = $t->store(redis => $new);
    $store->marker;
    $store->account('crm');
    my @keys = map { $store->key } 1 .. 200;
    $store->credential($_, account => 'crm') for @keys;
    $sentinel->script(SENTINEL => { array => ['127.0.0.1', $old->port] });
    $t->var(GROUP => 'redis+sentinel://mymaster@' . $sentinel->address);
    $t->var(EXTRA => 'stale off; usage off;');
    $t->config_http(OpsAuth::Group::conf($t, lease => '60s', timeout => '5s'));
    $t->allow_log(qr/is down/);
    $t->start;
    ok(OpsAuth::Process->poll(20, sub { 2 <= $sentinel->count('PING') }), 'two listen');
    $old->kill;
    my %vain;
    my $until = time + 6;
    while (time < $until) {
        my $r = $t->get('/', key => $keys[0]);
        $vain{$r->status}++;
        sleep 0.01;
    }
    is_deeply([keys %vain], [503], 'six seconds in vain');

    my %listening = map { $_->{connection} => 1 } $sentinel->commands('SUBSCRIBE +switch-master');
    $sentinel->script(SENTINEL => { array => ['127.0.0.1', $new->port] });
    my $said = join ' ', 'mymaster', '127.0.0.1', $old->port, '127.0.0.1', $new->port;
    $sentinel->push("*3\r\n" . join('', map { '$' . length($_) . "\r\n$_\r\n" } 'message', '+switch-master', $said), $_)
        for keys %listening;
    # their feeds have found it
    ok(OpsAuth::Process->poll(30, sub { 2 == grep { ($_->{name} // '') =~ /-feed$/ } map { +{ /(\w+)=(\S*)/g } } split /\n/, $new->cmd('CLIENT', 'LIST') }), 'two know of the new one');
    $t->wait_for_log(qr/feed of store "main": tracking/);
    my %first;
    for my $key (@keys) {
        my $r = $t->get('/', key => $key);
        $first{$r->header('X-Worker')} //= $r->status;
        last if keys %first == 4;
    }
    is(join(' ', sort values %first), '204 204 204 204', 'each goes there with its next command');
    $t->finish;
};

# Two workers hear of a failover from the sentinels; the others go by what those
# have found, before they ask anything.
for my $how (qw(crashed frozen asked)) {
    subtest "a failover, seen by each worker: $how" => sub {
        my $t = OpsAuth::Test->new(workers => 4);
        my $group = OpsAuth::Sentinel->new(test => $t);
        my $store = $t->store(redis => $group->primary);
        my $o = OpsAuth::OAuth->new(t => $t, store => $store);
        $store->account('acme');
        $o->client('app');
        my @keys = map { $store->issue(account => 'acme') } 1 .. 300;
        $group->synced;
        $t->var(REDIS => $group->url);
        $t->config_http($o->conf(store => 'stale off; usage off;', token => 'add_header X-Worker $pid always;')
            =~ s/add_header X-Reason/add_header X-Worker \$pid always; add_header X-Reason/r
            =~ s/redis_timeout 5s/redis_timeout 250ms/r);
        $t->allow_log(qr/is down/);
        $t->start;

        my $token = sub { return $o->post('token', { client => 'app' }, grant_type => 'client_credentials') };
        my $read = sub { return $t->get('/api/', key => shift @keys) };
        # of each worker the first answer
        my $each = sub {
            my ($ask) = @_;
            my %first;
            for (1 .. 100) {
                my $r = $ask->();
                $first{$r->header('X-Worker') // '-'} //= $r->status;
                last if keys %first == 4;
            }
            return join ' ', sort values %first;
        };
        is($each->($_), '200 200 200 200', 'each worker reads, and writes') for $read, $token;

        my $old = $group->primary;
        my $new;
        if ($how eq 'asked') { $new = $group->fail_over }
        else {
            $how eq 'crashed' ? $old->kill : $old->pause;
            # what they try meanwhile fails, and opens breakers
            $_->() for (($read, $token) x 20);
            $new = $group->failed_over($old);
        }
        $store->{redis} = $new;
        # nobody but the two that listen asks anything until they know
        ok(OpsAuth::Process->poll(30, sub { 2 == grep { / name=opsauth-main-\d+-feed .* flags=\w*P/ } split /\n/, $new->cmd('CLIENT', 'LIST') }),
            'two workers are told by the new primary');
        sleep $LEASE;
        is($each->($token), '200 200 200 200', 'the first token of each worker');
        is($each->($read), '200 200 200 200', 'and the first key that is not cached');
        $old->resume if $how eq 'frozen';
        $t->finish;
    };
}

# A single wrong sentinel does not lead anybody to the old primary.
subtest 'a sentinel that has not heard of the failover' => sub {
    my ($t, $group, $store, @keys) = gateway(extra => 'stale off;', group => { replicas => 1, down => 60_000 });
    my $old = $group->primary;
    my ($other) = grep { $_ != $old } $group->servers;
    # what it has to say is written by hand: the others know nothing of it
    $group->sentinel(1)->cmd('SENTINEL', 'REMOVE', $group->{name});
    $group->sentinel(1)->cmd('SENTINEL', 'MONITOR', $group->{name}, '127.0.0.1', $other->port, 3);
    $t->start;
    is(settles($t, $keys[0], 204), 204, 'served');
    ok((grep { ($_->{name} // '') =~ /^opsauth-main-/ } $old->clients) > 0, 'from where most say that it is');
    $t->allow_log(qr/is down/);
    $t->finish;
};

subtest 'no help' => sub {
    my ($t, $group, $store, @keys) = gateway(extra => 'stale off;',
        url => sub { my $u = $_[1]->url; $u =~ s/mymaster/yourmaster/; $u });
    $t->start;
    is(status($t, $keys[0]), 503, 'a name that no sentinel knows');
    ok($t->wait_for_log(qr/no sentinel tells where "yourmaster" is.*knows no primary of this name/), 'is told');
    $t->allow_log(qr/is down/);
    $t->finish;
};

subtest 'passwords' => sub {
    my ($data, $own) = map { "sesame-$_-" . int rand 1e9 } qw(data sentinel);
    my ($t, $group, $store, @keys) = gateway(workers => 2,
        group => { replicas => 1, auth_password => $data, server => { password => $data }, args => ['--masterauth', $data],
            sentinel => { password => $own }, conf => ["sentinel sentinel-pass $own"] },
        extra => sub {
            my ($t) = @_;
            $t->secret($data, $own);
            return 'redis_password_file ' . $t->write_file('data.password', "$data\n", 0600)
                . '; redis_sentinel_password_file ' . $t->write_file('own.password', "$own\n", 0600) . ';';
        });
    $t->start;
    is(settles($t, $keys[0], 204), 204, 'of the server and of the sentinels');
    $t->finish;
};

subtest 'a replica by hand' => sub {
    my ($t, $group, $store, @keys) = gateway(extra => 'stale off;',
        url => sub { my ($t, $g) = @_; my ($r) = grep { $_ != $g->primary } $g->servers; $r->url });
    $t->start;
    is(status($t, $keys[0]), 503, 'is not read from');
    ok($t->wait_for_log(qr/is a replica, and what it knows may be old/), 'and why is told');
    $t->allow_log(qr/is down/);
    $t->finish;
};

done_testing();
