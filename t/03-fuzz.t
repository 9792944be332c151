#!/usr/bin/perl

# Each fuzz target over its corpus, and for a number of runs on from there: with one
# seed, so that what fails here fails again. `make fuzz` goes on for as long as
# it is told to.

use strict;
use warnings;

use Cwd qw(realpath);
use File::Basename qw(basename dirname);
use File::Temp qw(tempdir);
use POSIX ();
use Test::More;

my $root  = realpath(dirname(__FILE__) . '/..');
my $build = $ENV{TEST_BUILD} // "$root/build";
my $limit = 600;                        # seconds for one program

# some do more than others in a run: libcrypto's signatures, tables of records
my %runs = (jws => 1_000, record => 5_000, resp => 5_000, table => 2_000, ticket => 2_000);

plan skip_all => 'no clang here: the targets are for its libFuzzer'
    if system('command -v clang >/dev/null 2>&1');

my @targets = map { basename($_, '.c') } sort glob "$root/t/fuzz/*.c";
ok(scalar @targets, 'there are targets');

my $dir = tempdir('opsauth-fuzz-XXXXXX', TMPDIR => 1, CLEANUP => 1);

# (exit status, what it said) of a target
sub fuzz {
    my ($name, @args) = @_;
    mkdir "$dir/$name";
    my $pid = open my $out, '-|' // die $!;
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        alarm $limit;                   # survives exec: SIGALRM ends the program
        exec "$build/fuzz/$name", "-artifact_prefix=$dir/$name-", @args
            or POSIX::_exit(127);
    }
    my $said = do { local $/; <$out> } // '';
    close $out;
    return ($?, $said);
}

# what it broke on, to be put into the corpus
sub found {
    my ($name, $said) = @_;
    diag join "\n", grep { !/^(?:#\d|\s*NEW_FUNC|INFO)/ } split /\n/, $said;
    for my $file (glob "$dir/$name-*") {
        open my $fh, '<:raw', $file or next;
        local $/;
        diag basename($file), ': ', unpack 'H*', <$fh>;
    }
}

for my $name (@targets) {
    my $corpus = "$root/t/fuzz/corpus/$name";
    my @seeds = glob "$corpus/*";
    ok(scalar @seeds, "$name: has a corpus");

    if (!-x "$build/fuzz/$name") {
        fail("$name: was not built (make fuzzers)");
        next;
    }

    my ($status, $said) = fuzz($name, @seeds);
    is($status, 0, "$name: its corpus") or found($name, $said);

    my $runs = $runs{$name} // 20_000;
    my $dict = "$root/t/fuzz/$name.dict";
    ($status, $said) = fuzz($name, '-seed=1', "-runs=$runs", '-max_len=1024', '-timeout=60',
        -f $dict ? "-dict=$dict" : (), "$dir/$name", $corpus);
    is($status, 0, "$name: $runs runs") or found($name, $said);
    like($said, qr/^Done \d+ runs/m, "$name: to the end");
}

done_testing();
