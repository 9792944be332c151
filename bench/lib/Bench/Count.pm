# What can be counted rather than timed: instructions by callgrind, system calls
# by strace.

package Bench::Count;

use strict;
use warnings;

use File::Copy ();

use OpsAuth::Port;
use OpsAuth::Process;

use Bench::Load;
use Bench::Report;
use Bench::Setup;

# What libc's allocator is made of. What one call costs depends on how the heap
# happens to lie, differently in every run: by some hundred instructions a
# request. The number of calls does not: see even_out().
my %allocator = map { $_ => 1 } qw(
    malloc free calloc realloc _int_malloc _int_free malloc_consolidate unlink_chunk
    _int_realloc _mid_memalign _int_memalign posix_memalign sysmalloc systrim);

# Instructions of one request, by "object function"; what begins with # is for
# even_out(). Two runs of one nginx that
# differ by $n requests: what both have, start, warming and end, cancels out.
# The median of $repeats such pairs for each function.
sub instructions {
    my ($setup, $scenario, $with, $n, $repeats) = @_;
    my %seen;
    for my $repeat (1 .. $repeats) {
        my ($short, $long) = map { _callgrind($setup, $scenario, $with, $_) } 0, $n;
        my %names = (%$short, %$long);
        $seen{$_}[$repeat - 1] = (($long->{$_} // 0) - ($short->{$_} // 0)) / $n
            for keys %names;
    }
    return { map { $_ => Bench::Report::median(map { $_ // 0 } @{$seen{$_}}[0 .. $repeats - 1]) }
        keys %seen };
}

use constant ALLOCATOR => "libc libc's allocator";

# Gives each call of the allocator the mean cost that its like (the same function,
# called by the same object) had over all runs, with the module and without, so
# that only their number makes a difference.
sub even_out {
    my @costs = @_;
    my (%calls, %total);
    for my $cost (@costs) {
        delete @{$cost}{grep { /libc's allocator$/ } keys %$cost};
        for (grep { /^#calls / } keys %$cost) {
            my $kind = s/^#calls //r;
            $calls{$kind} += $cost->{$_};
            $total{$kind} += delete($cost->{"#cost $kind"}) // 0;
        }
    }
    for my $cost (@costs) {
        for my $kind (keys %calls) {
            my $calls = delete($cost->{"#calls $kind"}) // 0;
            $cost->{+ALLOCATOR} += $calls * $total{$kind} / $calls{$kind} if $calls{$kind} > 0;
        }
    }
}

sub _callgrind {
    my ($setup, $scenario, $with, $n) = @_;
    my $dir = $setup->dir;
    my $number = ++$setup->{callgrinds};
    my $name = "callgrind$number";
    my @ports = map { OpsAuth::Port->take } 1 .. $setup->SERVERS;
    my $port = $ports[$scenario->{server}];
    my $main = 'master_process off;' . ($with ? $setup->gateway_main : '');
    my $conf = $setup->write_file("$name.conf",
        # what is written once a second is not a request's, and there are few of
        # those in a second here
        $setup->conf($name, $main, $setup->http_part($with, \@ports, 'usage_interval 1h;')));
    my $pid = OpsAuth::Process->spawn(
        command => [$setup->on_core(0, 'valgrind', '--tool=callgrind',
            "--callgrind-out-file=$dir/$name.cost", $setup->{nginx}, '-e', "$dir/$name.log",
            '-p', "$dir/", '-c', $conf)],
        stdout => "$dir/$name.out", stderr => "$dir/$name.out");
    my $ready = OpsAuth::Process->poll(60, sub {
        return -1 unless OpsAuth::Process->running($pid);
        return -s "$dir/$name.pid" && IO::Socket::INET->new(
            PeerAddr => '127.0.0.1', PeerPort => $port);
    });
    die "nginx does not start under valgrind:\n", Bench::Setup::read_file("$dir/$name.out")
        unless ref $ready;
    close $ready;

    # the feed must run before the cache fills: what was read earlier is soon
    # read again. Then all of a small set once, so that it is in the cache
    sleep 2 if $with;
    my $set = $setup->{sets}{$scenario->{set}};
    my $warm = $scenario->{warm} // ($set->{count} < 2048 ? $set->{count} : 2048);
    my $expect = $with ? $scenario->{status} : 200;
    my $status = Bench::Load::exactly($port, $set, 0, $warm);
    my $reads = $setup->redis_reads;
    if ($n) {
        $status = Bench::Load::exactly($port, $set, $warm, $warm + $n);
        $setup->{reads}{$scenario->{name}} = ($setup->redis_reads - $reads) / $n if $with;
    }
    die "$scenario->{name}: expected $expect, got ", join(' ', %$status), "\n"
        if grep { $_ ne $expect } keys %$status;
    OpsAuth::Process->stop($pid, 'QUIT', 60);
    # for callgrind_annotate, which knows the callers
    my $copy = sprintf '%s/%s-%s%s.callgrind', $setup->{results}, $scenario->{name},
        $with ? 'gateway' : 'plain', $n ? '' : '-start';
    File::Copy::copy("$dir/$name.cost", $copy) or die "$copy: $!\n";
    return _parse("$dir/$name.cost");
}

# the cost of each function itself, by "object function"
sub _parse {
    my ($path) = @_;
    open my $fh, '<', $path or die "valgrind left no $path\n";
    my (%cost, %names, $object, $function, $callee, $key, $called);
    my $skip = 0;
    local $_;
    while (<$fh>) {
        if (/^(c?)(ob|fn)=\((\d+)\)(?: (.*))?$/) {
            my ($called_one, $what, $number, $name) = ($1, $2, $3, $4);
            # a name stands where it occurs first, recursion in a suffix
            $names{"$what$number"} = $name =~ s/'\d+$//r if defined $name;
            $name = $names{"$what$number"};
            if ($called_one) {
                $callee = $name if $what eq 'fn';
                next;
            }
            if ($what eq 'ob') { $object = $name =~ s{.*/}{}r }
            else {
                $function = $allocator{$name =~ s/\..*//r} ? "libc's allocator" : $name;
            }
            $key = ($object // '???') . ' ' . ($function // '???');
        }
        elsif (/^calls=(\d+)/) {
            $skip = 1;              # the next line is inclusive
            undef $called;
            if ($allocator{$callee} && $function ne "libc's allocator") {
                $called = "$object $callee";
                $cost{"#calls $called"} += $1;
            }
        }
        elsif (/^[+\-*\d]\S* (\d+)/) {
            if    (!$skip)  { $cost{$key} += $1 }
            elsif ($called) { $cost{"#cost $called"} += $1 }
            $skip = 0;
        }
    }
    return \%cost;
}

# System calls a request: { name => n }. wrk for a while, strace on the worker.
sub system_calls {
    my ($setup, $scenario, $nginx, $port, $seconds) = @_;
    my $dir = $setup->dir;
    my $out = "$dir/strace." . ++$setup->{straces};
    my $set = $setup->{sets}{$scenario->{set}};
    my $pid = OpsAuth::Process->spawn(
        command => [$setup->on_core(1, 'strace', '-c', '-f', '-o', $out, '-p', $nginx->{worker})],
        stdout => "$out.said", stderr => "$out.said");
    OpsAuth::Process->poll(10, sub { Bench::Setup::read_file("$out.said") =~ /attached/ })
        or die "strace can't attach to nginx:\n", Bench::Setup::read_file("$out.said");
    my $load = Bench::Load::run($setup, $port, $set, $scenario->{order}, $seconds);
    OpsAuth::Process->stop($pid, 'INT', 10);
    my %calls;
    for (split /\n/, Bench::Setup::read_file($out)) {
        $calls{$2} = $1 / $load->{requests}
            if /^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$/ && $2 ne 'total';
    }
    die "strace counted nothing:\n", Bench::Setup::read_file($out) unless %calls;
    return \%calls;
}

1;
