#!/usr/bin/perl

# Runs the C unit tests that `make unit` built, each one as a subtest.

use strict;
use warnings;

use Cwd qw(realpath);
use File::Basename qw(basename dirname);
use IO::Select;
use POSIX ();
use Test::More;

my $root  = realpath(dirname(__FILE__) . '/..');
my $build = $ENV{TEST_BUILD} // "$root/build";
my $limit = 120;                        # seconds for one program

my @sources = map { basename($_, '.c') } sort glob "$root/t/unit/*.c";
ok(scalar @sources, 'there are unit tests') or diag "no t/unit/*.c";

for my $name (@sources) {
    my $program = "$build/unit/$name";
    if (!-x $program) {
        fail("t/unit/$name.c was not built: no $program (make unit)");
        next;
    }
    subtest $name => sub { run_program($program) };
}

my %known = map { $_ => 1 } @sources;
my @old = grep { -f && -x && !$known{basename $_} } glob "$build/unit/*";
diag "built from a source that is gone, not run: @old" if @old;

done_testing();

# The program's TAP becomes this subtest's.
sub run_program {
    my ($program) = @_;
    my $pid = open my $out, '-|' // die $!;
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        alarm $limit;                   # survives exec: SIGALRM ends the program
        exec $program or POSIX::_exit(127);
    }

    my ($plan, $seen, @said) = (undef, 0);
    while (my $line = <$out>) {
        chomp $line;
        if ($line =~ /^(not )?ok\b\s*(\d*)\s*-?\s*(.*)/) {
            $seen++;
            my ($not, $number, $name) = ($1, $2, $3);
            fail("out of order: $line") if length $number && $number != $seen;
            # in the subtest's own words, so that # SKIP and # TODO keep working
            if ($name =~ /#\s*skip\b\s*(.*)/i) { SKIP: { skip $1, 1 } }
            else                               { $not ? fail($name) : pass($name) }
            push @said, $line if $not;
        }
        elsif ($line =~ /^1\.\.(\d+)\s*(?:#\s*skip\w*\s*(.*))?/i) {
            $plan = $1;
            plan skip_all => $2 if $plan == 0 && $seen == 0 && defined $2;
        }
        elsif ($line =~ /^Bail out!/) { fail($line) }
        else                          { push @said, $line }   # a sanitizer's report, too
    }
    close $out;
    is($plan, $seen, 'as many tests as planned');
    is($?, 0, 'exit status') or diag join "\n", @said;
}
