#!/usr/bin/perl

# A Redis that is named: where nginx has a resolver the name is looked up anew
# at each connect, so that a failover by DNS is followed; and a name server that
# is gone is not a gateway that is gone.
#
# Three servers on one port: 127.0.0.1, where "localhost" was when nginx was
# started, and two others, where only the test's name server says that it is.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep);

use OpsAuth::Port;
use OpsAuth::Process;
use OpsAuth::Store;
use OpsAuth::Test;

plan skip_all => 'no 127.0.0.2 on this machine'
    unless IO::Socket::INET->new(Proto => 'udp', LocalAddr => '127.0.0.2', LocalPort => 0);

my $t = OpsAuth::Test->new(workers => 2);
my $dns = $t->dns;
my $port = OpsAuth::Port->take;
my %redis = map { $_ => $t->redis(name => "REDIS$_", host => "127.0.0.$_", port => $port) } 1 .. 3;

# the same key on all of them, of an account that tells which one it is
my $store = $t->store(redis => $redis{1});
my %records = map { $_ => OpsAuth::Store->new(redis => $redis{$_}, pepper => [$store->pepper],
    secret => sub { $t->secret(@_) })->marker } 1 .. 3;
my $key = $store->key;
sub fill { my ($i) = @_; $records{$i}->account("of$i"); $records{$i}->credential($key, account => "of$i"); $records{$i}->marker }
fill($_) for 1 .. 3;

$t->config_http(<<"CONF");
    resolver %%DNS%%;
    resolver_timeout 300ms;
    opsauth_store main {
        redis redis://LocalHost:$port; pepper_file %%PEPPER%%; cache 1m;
        lease 200ms; cache_negative 100ms; stale off; redis_timeout 2s; redis_connect_timeout 2s;
    }
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        add_header X-Account \$opsauth_account always;
        location / { opsauth main; empty_gif; }
    }
CONF

# Who serves: all of so many requests in a row. Where $from is a server that goes
# on, its connections are ended, again and again: nginx takes an answer of the
# same second for good, whatever its time to live.
sub served_by {
    my ($who, $from) = @_;
    my ($in_row, $seen, $n) = (0, '', 0);
    OpsAuth::Process->poll(30, sub {
        if (defined $from && $n++ % 20 == 0) {
            $redis{$from}->cmd('CLIENT', 'KILL', 'TYPE', $_, 'SKIPME', 'yes') for qw(normal pubsub);
        }
        my $r = $t->get('/', key => $key);
        $seen = $r->status . ' ' . ($r->header('X-Account') // '-');
        $in_row = $seen eq "200 $who" ? $in_row + 1 : 0;
        sleep 0.03;
        return $in_row >= 15;
    });
    return $in_row >= 15 ? $who : $seen;
}

# of what names each attempt asks, in lower case
sub only_this_name { my %seen = map { lc $_ => 1 } $dns->asked; return join ' ', sort keys %seen }

subtest 'an address that changes' => sub {
    $dns->answer(localhost => '127.0.0.2');
    $t->start;
    is(served_by('of2'), 'of2', 'the name server is asked, not the file of hosts');
    is(only_this_name(), 'localhost', 'for that name');

    $dns->answer(localhost => '127.0.0.3');
    sleep 0.3;
    is(served_by('of2'), 'of2', 'connections that stand stay');
    $redis{2}->kill;
    is(served_by('of3'), 'of3', 'a server that dies: its successor');

    $redis{2}->start;
    fill(2);
    $dns->answer(localhost => '127.0.0.2');
    is(served_by('of2', 3), 'of2', 'one that only lets go: its successor, too');

    # a record changed there is in force here
    $records{2}->revoke($key);
    ok(OpsAuth::Process->poll(10, sub { $t->get('/', key => $key)->status == 401 }), 'and its changes are heard of');
    fill(2);
};

# After a failover the old primary is a replica, lets nobody go, and says that it
# can't serve: -MASTERDOWN to reads and to PING.
subtest 'a primary that is none any more' => sub {
    is(served_by('of2'), 'of2', 'before');
    $redis{2}->cmd('CONFIG', 'SET', 'replica-serve-stale-data', 'no');
    $redis{2}->cmd('REPLICAOF', '127.0.0.1', OpsAuth::Port->take);
    my $reply = $redis{2}->try('HMGET', 'opsauth:meta', 'v');
    like("$reply", qr/^MASTERDOWN/, 'it does not serve');
    $dns->answer(localhost => '127.0.0.3');
    is(served_by('of3'), 'of3', 'another one is found');
    $redis{2}->kill;
    $redis{2}->start;
    fill(2);
    $dns->answer(localhost => '127.0.0.2');
    is(served_by('of2', 3), 'of2', 'again');
};

subtest 'several addresses' => sub {
    is(served_by('of2'), 'of2', 'one');
    $redis{2}->kill;
    $dns->answer(localhost => ['127.0.0.9', '127.0.0.3', '127.0.0.2']);
    is(served_by('of3'), 'of3', 'the one that answers is found');
    $redis{2}->start;
    fill(2);
};

subtest 'no name server' => sub {
    my $from;
    for my $way (qw(silence nxdomain servfail empty garbage)) {
        # from 3, by way of none, to 1: that is where it was at the start
        $dns->answer(localhost => '127.0.0.3');
        is(served_by('of3', $from), 'of3', "$way: before") or next;
        $from = 1;
        my $mark = $t->mark;
        $dns->answer(localhost => $way);
        is(served_by('of1', 3), 'of1', 'the address of the start');
        my $log = $t->log_since($mark);
        like($log, qr/"localhost" could not be resolved \(\d+: [^)]+\), going on with the addresses of the start/i,
            'the log says so');
    }
    my $mark = $t->mark;
    $dns->stop;
    is(served_by('of1', 1), 'of1', 'it is not even there');
    # four connections, each of which says it once
    my @said = grep { /\[warn\].*could not be resolved/ } split /\n/, $t->log_since($mark);
    cmp_ok(scalar @said, '<=', 4, 'which is not said again and again') or diag join "\n", @said;
};

subtest 'what nginx does meanwhile' => sub {
    my $mark = $t->mark;
    is($t->reload > 0, 1, 'a reload without a name server');
    is(served_by('of1'), 'of1', 'is served');
    my $error = $t->config_error('opsauth_store main { redis redis://redis.invalid:1; pepper_file %%PEPPER%%; }');
    like($error, qr/\[emerg\].*host not found.*redis:\/\/redis\.invalid:1/, 'a name has to be found at the start');
    is($t->config_error("resolver 127.0.0.1:53;\n"
        . 'opsauth_store main { redis redis://redis.invalid:1; pepper_file %%PEPPER%%; }'), '', 'unless there is a resolver');
    unlike($t->log_since($mark), qr/"redis\.invalid"/, 'which does not concern those that run');
};

# every connection of the first kind that was refused costs a line at most
my @lines = grep { /opsauth/ } split /\n/, $t->log;
cmp_ok(scalar @lines, '<', 150, 'a moderate log') or diag join "\n", @lines;
$t->done;
