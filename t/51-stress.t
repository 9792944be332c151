#!/usr/bin/perl

# The bound of docs/cache.md on the real module: while feeds are cut, workers
# are killed and hang, Redis stands still and nginx is reloaded, no answer may
# be older than a lease, no valid key is ever refused, and what goes wrong goes
# wrong only while something is broken.
#
# STRESS_SECONDS=600 for a long run (20), as "make stress" does; STRESS_SEED
# repeats one's choices; STRESS_MODES: only those whose names match.
#
# Nothing here depends on how fast the machine is: ages are measured between
# moments that enclose what happened, and what comes late while the machine did
# not let us run is not counted.

use strict;
use warnings;

use List::Util qw(shuffle);
use Test::More;
use Time::HiRes qw(sleep);

use OpsAuth::Process;
use OpsAuth::Stress;
use OpsAuth::Test;

use constant LEASE => 0.5;
# both clocks of the comparison are whole milliseconds
use constant EPSILON => 0.002;
# a command's timeout; what the machine may take of it before a 503 is its fault
use constant TIMEOUT => OpsAuth::Nginx::redis_timeout(1);
# a reconnecting worker waits that long at most, and then for that
use constant BACKOFF => 5 + TIMEOUT;

my $seconds = $ENV{STRESS_SECONDS} // 20;
my $seed = $ENV{STRESS_SEED} // int rand 1e6;
srand $seed;

my $t = OpsAuth::Test->new(workers => 4);
alarm $seconds * 2 + 300;
my $redis = $t->redis;
my $store = $t->store;

$t->config_http(<<'CONF');
    opsauth_store main {
        redis %%REDIS%%; pepper_file %%PEPPER%%;
        key_prefix op365_sk_live_ environment=live checksum=crc32;
        lease 500ms; stale off; redis_timeout 1s; redis_connect_timeout 1s;
    }
    server {
        listen 127.0.0.1:%%PORT_8080%% reuseport;
        keepalive_requests 1000;
        location / {
            opsauth main;
            add_header X-Seen $opsauth_tenant always;
            add_header X-Cache $opsauth_cache always;
            add_header X-Worker $pid always;
            try_files /none =204;
        }
    }
CONF
$t->start;
ok($t->wait_for_log(qr/feed of store "main": tracking/), 'a feed tracks');

my $stress = OpsAuth::Stress->new(test => $t, redis => $redis, store => $store);
my @broken;                             # [from, to, what]: 5xx or lost connections are its fault

# what can be done to it: [seconds between two, code]
my %chaos = (
    feed   => [0.15, 0.30, \&cut_feeds],
    kill   => [0.40, 1.20, \&kill_worker],
    hang   => [0.60, 1.50, \&hang_worker],
    redis  => [0.80, 2.00, \&stop_redis],
    reload => [0.50, 1.50, sub { $t->reload(timeout => 60) }],
);
my @modes = (
    ['nothing', []], ['feeds cut', ['feed']], ['workers killed', ['kill']],
    ['workers hung', ['hang']], ['Redis stopped', ['redis']], ['reloads', ['reload']],
    ['everything', [sort keys %chaos]],
);
@modes = grep { $_->[0] =~ /$ENV{STRESS_MODES}/ } @modes if defined $ENV{STRESS_MODES};

$stress->start;
sleep 0.5;
my @phases;
for my $mode (@modes) {
    my ($name, $kinds) = @$mode;
    my $from = OpsAuth::Stress->now;
    my $did = torment($seconds / @modes, @$kinds);
    push @phases, [$name, $from, OpsAuth::Stress->now, $did, @$kinds];
    # what one mode broke is not to be the next one's fault
    if (@$kinds) {
        settle() or diag "not well again after \"$name\"";
    }
}
$stress->stop;
is($stress->stderr, '', 'writer and checkers ran to the end');

for my $phase (@phases) {
    my ($name, $from, $to, $did, @kinds) = @$phase;
    my %kind = map { $_ => 1 } @kinds;
    subtest $name => sub {
        my $r = $stress->result($from, $to);
        my @old = @{$r->{old}};
        note sprintf '%s: %d times; %d answers of %d workers, %d%% out of the cache; status %s',
            $name, $did, $r->{answers}, $r->{workers}, 100 * $r->{hits} / ($r->{answers} || 1),
            join ' ', map { "$_: $r->{status}{$_}" } sort keys %{$r->{status}};
        note sprintf 'replaced before their request started: %d; median %.1f ms, 99 %% %.1f ms, worst '
            . '%.1f ms; over 50 ms with the machine awake: %d', scalar @old, map({ 1000 * ($_ // 0) }
            $old[@old / 2], $old[@old * 0.99], $r->{worst}), $r->{late};

        cmp_ok($r->{answers}, '>', 2 * ($to - $from), 'it was asked');
        cmp_ok($r->{hits}, '>', @kinds ? 0 : $r->{answers} / 4, 'the cache was used');
        cmp_ok($r->{worst}, '<=', LEASE + EPSILON, 'nothing was used for longer than a lease');
        is($r->{status}{$_} // 0, 0, "no $_") for 401, 403;
        my @unexplained = grep { !excused(@$_) } @{$r->{bad}};
        is(scalar @unexplained, 0, 'no other failure but by what was broken')
            or diag join "\n", map { sprintf '%.3f..%.3f %s', map({ $_ - $from } @$_[0, 1]), $_->[2] }
            @unexplained[0 .. ($#unexplained < 9 ? $#unexplained : 9)];
        next_to_none($r) if !@kinds;
    } or diag "seed $seed";
}
note $stress->writes . ' writes acknowledged';

# a worker that dies takes its connections along, and nginx says so
$t->allow_log(qr/exited on signal 9/);
$t->done;

# --- chaos ------------------------------------------------------------------------------

# so many seconds of these kinds, at random moments; how often it did something
sub torment {
    my ($length, @kinds) = @_;
    my $until = OpsAuth::Stress->now + $length;
    my $did = 0;
    my %next = map { $_ => OpsAuth::Stress->now + between($_) } @kinds;
    while ((my $left = $until - OpsAuth::Stress->now) > 0) {
        my ($kind) = sort { $next{$a} <=> $next{$b} } keys %next;
        my $wait = $kind ? $next{$kind} - OpsAuth::Stress->now : $left;
        if (!$kind || $wait >= $left) {
            sleep $left;
            last;
        }
        sleep $wait if $wait > 0;
        $chaos{$kind}[2]->();
        $next{$kind} = OpsAuth::Stress->now + between($kind);
        $did++;
    }
    resume($_) for 'redis', 'worker';
    return $did;
}

sub between {
    my ($from, $to) = @{$chaos{$_[0]}};
    return $from + rand($to - $from);
}

# What stands still is woken later, by a process of its own, so that other things
# can happen meanwhile.
my (%stopped, %waker);

sub stand_still {
    my ($what, $for, @pids) = @_;
    kill 'STOP', @pids;
    $stopped{$what} = \@pids;
    push @broken, [OpsAuth::Stress->now, OpsAuth::Stress->now + $for, $what];
    $waker{$what} = OpsAuth::Process->daemon(name => 'waker', code => sub {
        sleep $for;
        kill 'CONT', @pids;
    });
}

sub resume {
    my ($what) = @_;
    my $pids = delete $stopped{$what} or return;
    OpsAuth::Process->wait_for($waker{$what}, 5);
    kill 'CONT', @$pids;
}

# also: wakes what has slept enough
sub awake {
    my ($what) = @_;
    resume($what) if $stopped{$what} && defined OpsAuth::Process->reap($waker{$what});
    return !$stopped{$what};
}

sub stop_redis { stand_still('redis', 0.3 + rand 1.7, $redis->pid) if awake('redis') }

# those with a feed, mostly, so that nobody reads what Redis tells
sub hang_worker {
    awake('worker') && awake('redis') or return;
    my @pids = rand() < 0.7 ? feed_workers() : shuffle($t->workers);
    splice @pids, 2;
    stand_still('worker', 0.2 + rand 1.3, @pids) if @pids;
    $stress->burst;
}

# ({id, port}, ...) of the connections that Redis tells of changes
sub feeds {
    return map { /^id=(\d+) addr=\S+:(\d+) .* name=\S+-feed / ? { id => $1, port => $2 } : () }
        split /\n/, $redis->cmd('CLIENT', 'LIST');
}

# One of them or both, and again as soon as they are back, so that they have to
# wait. What the test asks of Redis would wait while that stands still.
sub cut_feeds {
    awake('redis') or return;
    my $one = rand() < 0.3;
    for (1 .. 3) {
        my @feeds = shuffle(feeds());
        splice @feeds, 1 if $one;
        $stress->burst;
        $redis->try('CLIENT', 'KILL', 'ID', $_->{id}) for @feeds;
        sleep 0.003;
    }
    $stress->burst;
}

sub kill_worker {
    my %hung = map { $_ => 1 } @{$stopped{worker} // []};
    my @pids = awake('redis') && rand() < 0.5 ? feed_workers() : shuffle($t->workers);
    my ($pid, $other) = grep { !$hung{$_} } @pids or return;
    my $from = OpsAuth::Stress->now;
    $stress->burst;
    # both that have a feed, now and then: the second without waiting
    if ($other && rand() < 0.3) {
        push @{$t->nginx->{allow_exit}}, qr/worker process $other exited on signal 9/;
        kill 'KILL', $other;
    }
    $t->kill9_worker($pid);
    OpsAuth::Process->poll(5, sub { $t->workers >= 4 });
    push @broken, [$from, OpsAuth::Stress->now, 'kill'];
}

# pids of the workers whose sockets the feeds are
sub feed_workers {
    my %port = map { sprintf('%04X', $_->{port}) => 1 } feeds();
    open my $tcp, '<', '/proc/net/tcp' or return;
    my %socket = map { /^ *\d+: \w+:(\w{4}) .* (\d+) \d \w{8,} / && $port{$1} ? ("socket:[$2]" => 1) : () } <$tcp>;
    return grep {
        my $pid = $_;
        grep { $socket{readlink($_) // ''} } glob "/proc/$pid/fd/*";
    } $t->workers;
}

# all answer again
sub settle {
    my $ok = 0;
    return OpsAuth::Process->poll(20, sub {
        my $r = $t->get('/', key => $stress->{keys}[int rand @{$stress->{keys}}]);
        $ok = $r->status == 204 ? $ok + 1 : 0;
        return $ok >= 40;
    });
}

# 5xx while Redis stands still, and until everybody has connected again, or
# where the machine did; a lost connection where a worker was killed
sub excused {
    my ($start, $end, $status) = @_;
    return 1 if $status == 503 && $stress->stalled($start - TIMEOUT, $end, TIMEOUT / 2);
    for my $b (@broken) {
        my ($from, $to, $what) = @$b;
        next if $end < $from;
        return 1 if $what eq 'kill' && $status == 0 && $start <= $to;
        return 1 if $what eq 'redis' && $status == 503 && $start <= $to + BACKOFF;
    }
    return 0;
}

# Where nothing is broken, a push is in force at once. Not every delay of every
# process is seen, hence the small share; one push that is lost makes more.
sub next_to_none {
    my ($r) = @_;
    cmp_ok($r->{late}, '<=', 0.005 * $r->{answers}, 'a change is in force within 50 ms');
    cmp_ok($r->{latest}, '<=', LEASE / 2, 'in any case long before the lease is over');
}
