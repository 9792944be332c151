#!/usr/bin/perl

# A Redis Cluster that changes: slots that move while requests run, a failover
# that somebody asks for, a primary that crashes and one that freezes.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::Cluster;
use OpsAuth::Group qw($LEASE status cache settles);
use OpsAuth::Process;
use OpsAuth::Test;

sub gateway { return OpsAuth::Cluster->gateway(workers => 3, keys => 40, @_) }
sub slot_of { return OpsAuth::Cluster::slot_of(@_) }

# nothing is served from a copy: each request asks
subtest 'slots move while requests run' => sub {
    # a busy machine's Redis is not what this is about
    my ($t, $cluster, $store, @keys) = gateway(timeout => '2s', extra => 'cache_valid 1ms; stale off;');
    $t->start;
    is(scalar(grep { status($t, $_) == 204 } @keys), scalar @keys, 'each is served');

    my (%answers, %revoked, $i);
    my $ask = sub {
        for (1 .. 3) {
            my $key = $keys[$i++ % @keys];
            my $status = status($t, $key);
            $answers{$revoked{$key} ? "revoked $status" : $status}++;
        }
    };
    for my $key (@keys[0 .. 11]) {
        my $slot = slot_of($store, $key);
        $cluster->move($slot, $cluster->other($slot), $ask);
        $ask->();
    }
    is_deeply([keys %answers], [204], 'right answers, and nothing else')
        or diag join ' ', map { "$_: $answers{$_}" } sort keys %answers;

    # and back, while records change; each revocation is in force within the lease
    for my $key (@keys[0 .. 5]) {
        my $slot = slot_of($store, $key);
        my ($to) = grep { $_ != $cluster->owner($slot) } reverse $cluster->nodes;
        $cluster->move($slot, $to);
        $store->revoke($key);
        sleep $LEASE;
        is(status($t, $key), 401, 'revoked where it came to');
    }
    $t->finish;
};

subtest 'a copy does not outlive the move of its slot' => sub {
    my ($t, $cluster, $store, @keys) = gateway(extra => 'cache_valid 300s;');
    $t->start;
    OpsAuth::Process->poll(20, sub {
        status($t, $_) for @keys;
        sleep $LEASE + 0.2;
        return !grep { cache($t, $_) ne 'hit' } @keys;
    }) or fail('covered');
    for my $key (@keys[0 .. 4]) {
        my $slot = slot_of($store, $key);
        $cluster->move($slot, $cluster->other($slot));
        $store->revoke($key);
        sleep $LEASE;
        is(status($t, $key), 401, 'revoked, hot in the cache');
    }
    $t->finish;
};

# an answer of the one that had the slot, which comes when another has it
subtest 'an answer that the move has overtaken' => sub {
    my $t = OpsAuth::Test->new;
    my ($from, $to) = map { $t->fake_redis(name => $_) } qw(FROM TO);
    my $store = $t->store(redis => $from);
    my ($key, $other) = map { $store->key } 1 .. 2;
    for my $node ($to, $from) {
        $store->{redis} = $node;
        $store->marker;
        $store->account('crm');
        $store->credential($_, account => 'crm') for $key, $other;
        $store->revoke($key) if $node == $to;
    }
    my $all_at = sub {
        my ($node) = @_;
        my $port = $node->port;
        return { raw => "*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n\$9\r\n127.0.0.1\r\n:$port\r\n\$1\r\nx\r\n" };
    };
    my $asks = sub { return 'HMGET ' . $store->name('credential', $store->digest($_[0])) };
    $_->script('CLUSTER SLOTS' => $all_at->($from), 'CLUSTER INFO' => { bulk => "cluster_current_epoch:3\r\n" }) for $from, $to;
    $t->var(GROUP => 'redis+cluster://' . $from->address);
    $t->var(EXTRA => 'stale off;');
    $t->config_http(OpsAuth::Group::conf($t, timeout => '5s'));
    $t->start;
    ok(OpsAuth::Process->poll(20, sub { status($t, $other) == 204 }), 'served');

    $from->script($asks->($key) => { hold => 1 });
    my $client = $t->connect;
    $client->write_request('GET', '/', key => $key);
    ok($from->wait_held(1, 20), 'asked');
    $_->script('CLUSTER SLOTS' => $all_at->($to), 'CLUSTER INFO' => { bulk => "cluster_current_epoch:4\r\n" }) for $from, $to;
    my $asked = grep { $_->{words}[1] eq 'SLOTS' } $from->commands('CLUSTER'), $to->commands('CLUSTER');
    ok(OpsAuth::Process->poll(20, sub {
        $asked < grep { $_->{words}[1] eq 'SLOTS' } $from->commands('CLUSTER'), $to->commands('CLUSTER')
    }), 'and then heard where slots are');
    sleep 0.1;
    $from->release;
    is($client->read_response->status, 401, 'it is revoked where it came to');
    is($to->count($asks->($key)), 1, 'which was asked');
    $t->finish;
};

subtest 'a failover that is asked for' => sub {
    my ($t, $cluster, $store, @keys) = gateway(group => { replicas => 1 }, extra => 'cache_valid 300s; stale off;');
    my ($old, $new) = ($cluster->node(1), $cluster->node(4));
    my @moved = $cluster->of_node($store, $old, @keys);
    ok(scalar @moved, 'there are records on it');
    $t->start;
    is(settles($t, $moved[0], 204), 204, 'served');
    status($t, $_) for @keys;

    # on a machine that is busy it may be given up, without a word
    my $asked = 0;
    ok(OpsAuth::Process->poll(40, sub {
        return 1 if $new->cmd('ROLE')->[0] eq 'master' && $old->cmd('ROLE')->[0] eq 'slave';
        ($asked = time) && $new->try('CLUSTER', 'FAILOVER') if time - $asked > 6 && $new->cmd('ROLE')->[0] eq 'slave';
        return 0;
    }), 'done');
    delete $cluster->{seen};

    # the old one follows, but late: what it would tell comes never
    $store->revoke($moved[0]);
    sleep $LEASE + 1;
    is(status($t, $moved[0]), 401, 'revoked on the new one');
    is(scalar(grep { status($t, $_) == 204 } @moved[1 .. $#moved]), $#moved, 'all else is served');
    $t->finish;
};

subtest 'a primary crashes' => sub {
    my ($t, $cluster, $store, @keys) = gateway(group => { replicas => 1, timeout => 1000 }, extra => 'stale off;');
    my ($old, $new) = ($cluster->node(1), $cluster->node(4));
    my @its = $cluster->of_node($store, $old, @keys);
    my %its = map { $_ => 1 } @its;
    my @others = grep { !$its{$_} } @keys;
    $t->start;
    is(scalar(grep { status($t, $_) == 204 } @keys), scalar @keys, 'each is served');
    $t->allow_log(qr/is down|does not tell/);

    $old->kill;
    my $since = time;
    my %answers;
    my $promoted;
    my $end = OpsAuth::Process->poll(60, sub {
        $answers{status($t, $its[rand @its])}++;
        $promoted //= $new->cmd('ROLE')->[0] eq 'master' ? time : undef;
        return 0 unless $promoted;
        return 0 if grep { status($t, $_) != 204 } @its;
        return time;
    });
    ok($end, 'all are served again');
    ok(!(grep { $_ != 204 && $_ != 503 } keys %answers), 'what was not served was 503')
        or diag join ' ', map { "$_: $answers{$_}" } sort keys %answers;
    note sprintf 'promoted after %.1f s, served again %.1f s later', $promoted - $since, $end - $promoted if $end;
    is(scalar(grep { status($t, $_) == 204 } @others), scalar @others, 'so are the others');

    delete $cluster->{seen};
    $store->revoke($its[0]);
    sleep $LEASE + 0.2;
    is(status($t, $its[0]), 401, 'revoked on the new one');
    $t->finish;
};

subtest 'a primary freezes, is replaced, and thaws' => sub {
    my ($t, $cluster, $store, @keys) = gateway(group => { replicas => 1, timeout => 1000 }, extra => 'stale off; cache_valid 300s;');
    my ($old, $new) = ($cluster->node(1), $cluster->node(4));
    my @its = $cluster->of_node($store, $old, @keys);
    $t->start;
    is(settles($t, $its[0], 204), 204, 'served');
    status($t, $_) for @keys;
    $t->allow_log(qr/is down|does not tell/);

    $old->pause;
    ok(OpsAuth::Process->poll(60, sub { $new->cmd('ROLE')->[0] eq 'master' }), 'replaced');
    delete $cluster->{seen};
    ok(OpsAuth::Process->poll(20, sub { eval { $store->revoke($its[0]); 1 } }), 'revoked on the new one');
    is(settles($t, $its[0], 401), 401, 'it is not served any more');

    # the old one has the record as it was, and believes for a moment that it serves
    $old->resume;
    my $end = time + 4;
    my %answers;
    $answers{status($t, $its[0])}++ while time < $end;
    is_deeply([grep { $_ == 204 } keys %answers], [], 'never, when the old one thaws')
        or diag join ' ', map { "$_: $answers{$_}" } sort keys %answers;
    is(settles($t, $its[1], 204), 204, 'all else is served');
    $t->finish;
};

done_testing();
