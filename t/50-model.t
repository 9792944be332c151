#!/usr/bin/perl

# The proof of docs/cache.md: an exhaustive model of the cache's coherence
# (t/model). With all rules in force no state may break the bound; with any one
# of them taken out, one must. This takes about a minute.
#
# MODEL_LONG=1 walks through larger bounds too: half an hour or more, and 6 GB.

use strict;
use warnings;

use Cwd qw(realpath);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use Test::More;

use OpsAuth::Process;

my $root = realpath(dirname(__FILE__) . '/..');
my $dir = tempdir('opsauth-' . OpsAuth::Process->run_id . '-XXXXXX', TMPDIR => 1, CLEANUP => 1);
my ($model, $cluster) = ("$dir/model", "$dir/cluster");

# walked through to the end; the largest first, two at a time
my @whole = (
    ['--failovers=1 --workers=1 --queue=1', 'a failover, and a server that was replaced and still answers'],
    ['--workers=3 --queue=1',               'three workers'],
    ['--split-reader=1 --workers=1 --queue=1', 'hits that load word by word'],
    ['--workers=2 --queue=1 --late-start',  'feeds whose first PONG certifies nothing'],
    ['--workers=1 --queue=2 --pings=2',     'two messages and two PINGs on their way'],
    ['--failovers=1 --feeds=1 --workers=1 --queue=1 --late-start', 'the same, in a failover'],
    ['--failovers=2 --feeds=1 --workers=1 --queue=1', 'there and back'],
    ['--workers=1 --queue=2 --one-write',   'none is used that was announced as changed'],
    ['--workers=1 --queue=2 --one-write --no-loss', 'the same, where nothing is lost'],
);
my @long = (
    ['--workers=3 --queue=2',                            'three workers, two messages'],
    ['--workers=2 --queue=2',                            'two workers, two messages'],
    ['--lease=2 --workers=2 --queue=1',                  'a lease of two ticks'],
    ['--failovers=1 --feeds=1 --workers=2 --queue=1',    'a failover, two workers'],
);

# [the rule that is taken out, bounds in which that must show]
my $few = '--workers=1 --queue=2';
my $failover = '--failovers=1 --workers=1 --queue=1';
my @broken = (
    ['count', $few], ['count', "$few --one-write"], ['from', $few], ['lease', $few],
    ['send-time', $few], ['chain', $few], ['rounding', $few], ['join-age', $few],
    ['flush-count', $few], ['flush-count', "$few --one-write"],
    ['server', $failover], ['resolved', $failover], ['lapsed', $failover],
    ['gap', "$failover --feeds=1 --late-start"],
    ['load-order', '--split-reader=1 --workers=1 --queue=1'],
    ['store-order', '--split-reader=1 --workers=1 --queue=1'],
);

# the same of a cluster: a slot that goes from one node to another
my @cluster_whole = (
    ['--takeovers', 'a slot that is taken over, by a node that the other one does not know of'],
    ['--moves=1',   'a slot that moves'],
);
my @cluster_broken = (['move', ''], ['ask', ''], map { [$_, '--takeovers'] } qw(rounding cell epoch));

my $cc = $ENV{CC} // 'cc';
my %sources = ($model => [qw(steps walk walker)], $cluster => [qw(cluster cluster_walk walker)]);
for my $program (sort keys %sources) {
    is(system("$cc -std=c11 -O2 -Wall -Wextra -Werror -o $program " . join ' ', map { "$root/t/model/$_.c" } @{$sources{$program}}), 0, 'the model compiles')
        or BAIL_OUT('no model');
}

# every rule that the models can do without is tried
for ([$model, @broken], [$cluster, @cluster_broken]) {
    my ($program, @rules) = @$_;
    my %tried = map { $_->[0] => 1 } @rules;
    my @names = `$program --help` =~ /^    ([a-z]\S*) {2,}\S/mg;
    is_deeply([sort keys %tried], [sort @names], 'every rule is taken out once');
}

my @jobs = (
    (map { [whole  => $cluster, @$_] } @cluster_whole),
    (map { [whole  => $model, "--lease=1 $_->[0]", $_->[1]] } @whole, $ENV{MODEL_LONG} ? @long : ()),
    (map { [broken => $model, "--lease=1 --break=$_->[0] $_->[1]", $_->[0]] } @broken),
    (map { [broken => $cluster, "--break=$_->[0] $_->[1]", $_->[0]] } @cluster_broken),
);
run_jobs(2, @jobs);

done_testing();

# at most n of them at a time
sub run_jobs {
    my ($n, @queue) = @_;
    my (%running, $number);
    while (@queue || %running) {
        while (@queue && keys %running < $n) {
            my $job = shift @queue;
            my ($kind, $program, $options, $name) = @$job;
            my $out = "$dir/" . ++$number;
            my $pid = OpsAuth::Process->spawn(name => 'model', stdout => $out, stderr => $out,
                command => [$program, split ' ', $options]);
            $running{$pid} = [$out, $kind, $options, $name];
        }
        for my $pid (keys %running) {
            my $status = OpsAuth::Process->reap($pid) // next;
            my ($out, $kind, $options, $name) = @{delete $running{$pid}};
            open my $fh, '<', $out or die "$out: $!";
            my $said = do { local $/; <$fh> };
            $kind eq 'whole' ? check_whole($status, $said, $options, $name) : check_broken($status, $said, $options, $name);
        }
        select undef, undef, undef, 0.02;
    }
}

sub check_whole {
    my ($status, $said, $options, $name) = @_;
    my ($states) = $said =~ /^exhausted: (\d+) states, \d+ steps, no violation$/m;
    ok($status == 0 && $states, "$name: " . ($states // 'no') . ' states') or diag "$options\n$said";
    # a model in which nothing happens proves nothing
    my %seen = map { /^(\S.*?)\s+(\d+)$/ ? ($1 => $2) : () } split /\n/, $said;
    my @never = grep { !$seen{$_} } keys %seen;
    @never = grep { $options !~ /no-loss/ } @never;
    @never = grep { $_ ne 'take-overs' || $options =~ /takeovers/ } @never;
    @never = grep { $_ ne 'answers ASK' || $options =~ /moves/ } @never;
    ok(keys %seen && !@never, '... in which everything happens') or diag "never: @never";
}

sub check_broken {
    my ($status, $said, $options, $name) = @_;
    my @steps = $said =~ /^ *\d+\. (.*)$/mg;
    my ($states) = $said =~ /^rule taken out: .*; states: (\d+)$/m;
    ok($status >> 8 == 1 && $said =~ /^VIOLATION: /m && @steps && !grep({ /^$/ } @steps),
        "without \"$name\" the bound breaks: " . @steps . ' steps, ' . ($states // 'no') . ' states')
        or diag "$options\n$said";
}
