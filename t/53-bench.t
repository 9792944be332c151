#!/usr/bin/perl

# The bench starts what it needs, every scenario gets the answer that it is named
# after, and a table comes out. Nothing is measured here: that is "make bench".

use strict;
use warnings;

use Cwd qw(realpath);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use Test::More;

my $root   = realpath(dirname(__FILE__) . '/..');
my $module = $ENV{TEST_NGINX_MODULE} // "$root/build/ngx_http_opsauth_module.so";

# a build directory of its own, so that no results of the real one are written over
my $build = tempdir('opsauth-' . ($ENV{OPSAUTH_TEST_RUN} // 'bench') . '-XXXXXX',
    TMPDIR => 1, CLEANUP => 1);
symlink $module, "$build/ngx_http_opsauth_module.so" or die "symlink: $!\n";
local $ENV{BUILD} = $build;
local $ENV{TMPDIR} = $build;            # so that what it starts can be told by its files

my $said = `$root/bench/run --quick --keys 2000 --no-time --no-count 2>$build/progress`;
is($?, 0, 'bench/run') or diag read_file("$build/progress");

my @rows = grep { /^\|/ } split /\n/, $said;
is(scalar @rows, 2 + 8, 'a table of eight scenarios') or diag $said;
my %columns = map { scalar(() = /\|/g) => 1 } @rows;
is(scalar keys %columns, 1, 'all of its rows have the same columns');
is(read_file("$build/bench/RESULTS.md"), $said, 'RESULTS.md has the same text');

# what is compared: opsauth's part needs no further packages
is(`$root/bench/compare --check --only opsauth 2>$build/progress`, "the same verdicts: opsauth\n", 'bench/compare --check')
    or diag read_file("$build/progress");
system "$root/bench/compare --only nothing >/dev/null 2>&1";
is($? >> 8, 2, 'an alternative that is not there: usage');

system "$root/bench/run --only nothing >/dev/null 2>&1";
is($? >> 8, 2, 'a scenario that is not there: usage');

my @left = map { m{^/proc/(\d+)/} } grep { (readlink // '') =~ m{^\Q$build\E/} } glob '/proc/[0-9]*/fd/*';
is("@left", '', 'no process is left behind') or kill 'KILL', @left;

done_testing();

sub read_file {
    my ($path) = @_;
    open my $fh, '<', $path or return "$path: $!\n";
    local $/;
    return scalar <$fh>;
}
