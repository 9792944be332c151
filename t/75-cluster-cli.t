#!/usr/bin/perl

# The command on a Redis Cluster: all it writes and reads is spread over nodes,
# and slots move under it.

use strict;
use warnings;

use JSON::PP ();
use POSIX ();
use Test::More;

use OpsAuth::Cluster;
use OpsAuth::Command;
use OpsAuth::Process;
use OpsAuth::Test;

my $t = OpsAuth::Test->new;
my $cluster = OpsAuth::Cluster->new(test => $t);
my $store = $t->store(redis => $cluster, marker => 0);
my %env = (OPSAUTH_PEPPER_FILE => $store->pepper_file, OPSAUTH_KEY_PREFIX => 'live=op365_sk_live_');
my $opsauth = OpsAuth::Command->new($t, %env, OPSAUTH_REDIS => $cluster->url);

sub ok_run {
    my ($name, @words) = @_;
    my ($exit, $out, $err) = $opsauth->run(@words);
    is($exit, 0, $name) or diag "@words: $err";
    return $out;
}

sub json { my ($name, @words) = @_; return JSON::PP->new->utf8->decode(ok_run($name, @words, '--json')) }

subtest 'accounts and keys' => sub {
    ok_run("account $_ is made", qw(account create), $_, '--name', uc $_, '--tenant', 'org_1') for qw(crm erp pos);
    my %nodes = map { $cluster->owner(OpsAuth::Cluster::slot("opsauth:account:$_"))->port => 1 } qw(crm erp pos);
    cmp_ok(scalar keys %nodes, '>', 1, 'on several nodes');
    is($cluster->cmd('HGET', 'opsauth:account:erp', 'name'), 'ERP', 'as it is to be');
    is($cluster->cmd('HGET', 'opsauth:meta', 'v'), 1, 'the store is set up');
    is(scalar @{json('they are listed', qw(account list))}, 3, 'all three');

    my @keys = map { my $k = ok_run("key $_", qw(key create --account crm --name), "k$_", qw(--permission read)); chomp $k; $k } 1 .. 6;
    my @ids = map { $_->{id} } @{json('keys are listed', qw(key list --account crm))};
    is(scalar @ids, 6, 'all six');
    is(scalar(@{$cluster->cmd('SMEMBERS', 'opsauth:credentials:crm')}), 6, 'and known by their account');
    my %digests = map { $cluster->cmd('GET', "opsauth:id:$_") => 1 } @ids;
    is(scalar(grep { $cluster->cmd('HGET', "opsauth:credential:$_", 'account') eq 'crm' } keys %digests), 6, 'their records');

    ok_run('one is revoked', qw(key revoke), $ids[0]);
    is($cluster->cmd('HGET', 'opsauth:credential:' . $cluster->cmd('GET', "opsauth:id:$ids[0]"), 'state'), 'revoked', 'in its record');
    ok_run('one is revoked, and waited for', qw(key revoke --wait), $ids[1]);
    ok_run('one is shown', qw(key show), $ids[3]);
    ok_run('an account is disabled', qw(account disable erp));
    is($cluster->cmd('HGET', 'opsauth:account:erp', 'enabled'), 0, 'in its record');
    ok_run('an account is deleted', qw(account delete pos --yes));
    is($cluster->cmd('EXISTS', 'opsauth:account:pos'), 0, 'its record is gone');
    ok_run('the audit', qw(audit));
    cmp_ok($cluster->cmd('XLEN', 'opsauth:audit'), '>=', 12, 'has all that');

    my $secret = ok_run('a client is made', qw(client create --account crm --name App --permission read));
    ok(length $secret, 'with a secret');
    is(scalar @{json('clients are listed', qw(client list))}, 1, 'one');
};

subtest 'slots move' => sub {
    my $slot = OpsAuth::Cluster::slot('opsauth:account:crm');
    my ($to) = grep { $_ != $cluster->owner($slot) } $cluster->nodes;
    $cluster->move($slot, $to);
    ok_run('an account whose slot has moved', qw(account set crm --description moved));
    is($cluster->cmd('HGET', 'opsauth:account:crm', 'description'), 'moved', 'is changed');

    # half way: its key is still where it was
    my ($next) = grep { $_ != $to } $cluster->nodes;
    $next->cmd('CLUSTER', 'SETSLOT', $slot, 'IMPORTING', $to->{cluster_id});
    $to->cmd('CLUSTER', 'SETSLOT', $slot, 'MIGRATING', $next->{cluster_id});
    ok_run('while its slot moves', qw(account show crm));
    $to->cmd('MIGRATE', $next->{host}, $next->port, 'opsauth:account:crm', 0, 5000);
    ok_run('when it is there, but the slot is not', qw(account show crm));
    $_->cmd('CLUSTER', 'SETSLOT', $slot, 'NODE', $next->{cluster_id}) for $next, $to;
    ok_run('and when it is', qw(account show crm));
};

subtest 'export and import' => sub {
    my $file = $t->dir . '/all.jsonl';
    my $text = ok_run('exported', 'export');
    open my $fh, '>', $file or die $!;
    print {$fh} $text;
    close $fh;
    cmp_ok(scalar(() = $text =~ /\n/g), '>=', 9, 'accounts, credentials and a client');
    for my $node ($cluster->nodes) { $node->cmd('FLUSHALL') }
    ok_run('imported', 'import', $file);
    is(scalar @{json('keys', qw(key list --account crm))}, 6, 'are there again');
    is(scalar @{json('accounts', qw(account list))}, 2, 'so are accounts');
    my ($id) = map { $_->{id} } grep { $_->{state} eq 'active' } @{json('keys', qw(key list --account crm))};
    my $asked = sub { my $n = 0; $n += $_->calls('cluster|slots') for $cluster->nodes; return $n };
    my $before = $asked->();
    ok_run('one is rotated', qw(key rotate --grace 1h), $id);
    is($asked->() - $before, 1, 'the slots are asked for once');
};

subtest 'doctor' => sub {
    my ($exit, $out, $err) = $opsauth->run('doctor');
    is($exit, 0, 'all is well') or diag $out, $err;
    like($out, qr/^ok\s+cluster\s+3 primaries have all 16384 slots/m, 'the slots');
    is(scalar(() = $out =~ /^ok\s+tracking /mg), 3, 'each primary announces');
    is(scalar(() = $out =~ /^ok\s+version /mg), 3, 'and tells its version');
    like($out, qr/^ok\s+cluster rights /m, 'rights');

    $_->cmd(qw(ACL SETUSER gw on >of-a-gateway resetkeys %R~opsauth:credential:* %R~opsauth:account:* %R~opsauth:meta resetchannels &__redis__:invalidate
        &opsauth:invalidate -@all +hmget +ping +info +subscribe +client|id +client|setname +client|tracking +cluster|slots), $_ == $cluster->node(1) ? '+role' : '-role')
        for $cluster->nodes;
    my $conf = $t->write_file('doctor.conf', "http { opsauth_store main { redis " . $cluster->url . "; redis_user gw; redis_password_file "
        . $t->write_file('doctor.password', "of-a-gateway\n", 0600) . "; pepper_file " . $store->pepper_file . "; usage on; } }");
    my $other = OpsAuth::Command->new($t);
    ($exit, $out, $err) = $other->run('doctor', '-c', $conf);
    is($exit, 1, 'rights that are missing');
    is(scalar(() = $out =~ /^failure\s+cluster rights .* answers \+role/mg), 2, 'on those where they are') or diag $out;
    like($out, qr/ACL SETUSER gw \+cluster\|info/, 'with the remedy');
    like($out, qr/ACL SETUSER gw \+asking/, 'for each');
    is(scalar(() = $out =~ /^failure\s+usage rights .*may not run hincrby on opsauth:usage:/mg), 3, 'those for usage, on each node') or diag $out;
};

subtest 'what can be wrong' => sub {
    my ($exit, $out, $err) = $opsauth->run(qw(account list --redis), 'redis+cluster://127.0.0.1:' . $t->port('NOBODY') . ',' . $cluster->node(2)->address);
    is($exit, 0, 'a node that is not there is passed by') or diag $err;
    ($exit, $out, $err) = $opsauth->run(qw(account list --redis), 'redis+cluster://' . $cluster->node(1)->address . '/3');
    is($exit, 2, 'a database');
    like($err, qr/database 0/, 'is told');
    my $owner = $cluster->owner(OpsAuth::Cluster::slot('opsauth:account:crm'));
    my ($other) = grep { $_ != $owner } $cluster->nodes;
    ($exit, $out, $err) = $opsauth->run(qw(account show crm --redis), 'redis://' . $other->address);
    is($exit, 1, 'one node of it');
    like($err, qr/redis\+cluster/, 'the remedy is told');
    my $one = $t->redis(name => 'ONE');
    ($exit, $out, $err) = $opsauth->run(qw(account list --redis), 'redis+cluster://' . $one->address);
    is($exit, 1, 'a server that is no node');
    like($err, qr/CLUSTER/, 'is told');
};

# all nodes that have a part of the change are asked for their replicas, and no others.
# The one that has a replica is neither asked first nor last
subtest '--wait' => sub {
    my $group = OpsAuth::Cluster->new(test => $t, replicas => 1, server => sub { { name => "REPLICATED$_[0]" } });
    my $here = OpsAuth::Command->new($t, %env, OPSAUTH_REDIS => 'redis+cluster://' . $group->node(2)->address);
    my $run = sub { return $here->run(@_) };
    my $node_of = sub { my $owner = $group->owner(OpsAuth::Cluster::slot($_[0])); return (grep { $group->node($_) == $owner } 1 .. 3)[0] };
    is(($run->(qw(account create crm --name CRM --tenant org_1)))[0], 0, 'an account');
    my %ids = (1 => [], 2 => [], 3 => []);
    while (@{$ids{1}} < 3 || @{$ids{2}} < 4) {
        my ($exit, $out, $err) = $run->(qw(key create --account crm --name app --permission read --json));
        my $id = JSON::PP->new->decode($out)->{id};
        my $node = $node_of->('opsauth:credential:' . $group->cmd('GET', "opsauth:id:$id"));
        push @{$ids{$node}}, $id if $node == 1 || $node_of->("opsauth:id:$id") != 1;
    }
    my @pairs = map { [$ids{1}[$_], $ids{2}[$_]] } 0 .. 2;
    my ($replica) = grep { ($_->info('role') // '') eq 'slave' } $group->nodes;
    my ($exit, $out, $err) = $run->(qw(key revoke --wait --lease 100ms), @{$pairs[0]});
    is($exit, 0, 'a node has a replica') or diag $err;
    like($err, qr/in force everywhere: 1 replica of Redis acknowledged it/, 'which is asked');

    $replica->pause;
    for my $again ('', ', again, with nothing left to write') {
        ($exit, $out, $err) = $run->(qw(key revoke --wait --lease 100ms --timeout 1s), @{$pairs[1]});
        is($exit, 1, "a replica that is away$again");
        like($err, qr/only 0 of 1 replicas of Redis acknowledged this within 1s/, 'is told');
    }
    my $there = OpsAuth::Command->new($t, %env, OPSAUTH_REDIS => 'redis+cluster://' . $group->node(1)->address);
    ($exit, $out, $err) = $there->run(qw(key revoke --wait --lease 100ms --timeout 1s), $ids{2}[3]);
    is($exit, 0, 'where its primary has no part, nobody waits for it') or diag $err;
    $replica->resume;
    ($exit, $out, $err) = $run->(qw(key revoke --wait --lease 100ms), @{$pairs[1]});
    is($exit, 0, 'when it is back') or diag $err;

    my $pid = fork // die "fork: $!";
    if (!$pid) {
        my @said = $run->(qw(key revoke --wait --lease 10s), @{$pairs[2]});
        $t->write_file('waited', "$said[0] $said[2]");
        POSIX::_exit(0);
    }
    my $old = $group->node(1);
    ok(OpsAuth::Process->poll(20, sub { grep { $_->{cmd} eq 'info' && $_->{idle} >= 1 } $old->clients }), 'while it waits for the lease');
    $replica->cmd(qw(CLUSTER FAILOVER));
    ok(OpsAuth::Process->poll(20, sub { ($old->info('role') // '') eq 'slave' }), 'the replica takes over');
    waitpid $pid, 0;
    like($t->read_file('waited'), qr/^1 .*Redis is no primary any more/s, 'is told');
};

$t->finish;
done_testing();
