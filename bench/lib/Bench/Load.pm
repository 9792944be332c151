# Load, and what it costs: wrk for time, a client of our own that sends an exact
# number of requests where instructions are counted.

package Bench::Load;

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use POSIX ();

use OpsAuth::Process;

use Bench::Setup;

use constant CONNECTIONS => 32;

# How long wrk waits for an answer, in seconds, before that counts as lost; under
# strace one waits for longer.
use constant PATIENCE => 10;

# Starts wrk; finish() waits for it.
sub start {
    my ($setup, $port, $set, $order, $seconds) = @_;
    return _wrk($setup, $seconds, 'requests.lua', "http://127.0.0.1:$port/v1/tenants", '--',
        $set->{file}, $set->{count}, $order);
}

# the token endpoint, for so many seconds
sub tokens {
    my ($setup, $port, $seconds) = @_;
    return finish(_wrk($setup, $seconds, 'tokens.lua', "http://127.0.0.1:$port/oauth/token"));
}

sub _wrk {
    my ($setup, $seconds, $script, @rest) = @_;
    my $out = $setup->dir . '/wrk.' . ++$setup->{loads};
    my $pid = OpsAuth::Process->spawn(
        command => [$setup->on_core(1, 'wrk', '-t1', '-c' . CONNECTIONS, "-d${seconds}s",
            '--timeout', PATIENCE . 's', '-s', "$setup->{here}/$script", @rest)],
        stdout => $out, stderr => $out);
    return { pid => $pid, out => $out, seconds => $seconds };
}

# { requests, seconds, p50, p99 in microseconds, status: how many were denied }
sub finish {
    my ($load) = @_;
    my $status = OpsAuth::Process->wait_for($load->{pid}, $load->{seconds} + 60);
    my $text = Bench::Setup::read_file($load->{out});
    unlink $load->{out};
    my ($line) = $text =~ /^BENCH (.*)/m
        or die "wrk failed, status " . ($status // 'none') . ":\n$text";
    my %result = $line =~ /(\w+)=([\d.]+)/g;
    die "wrk lost requests: $line\n" if $result{lost};
    $result{seconds} = delete($result{duration}) / 1e6;
    return \%result;
}

sub run { return finish(start(@_)) }

# Microseconds of CPU (user + system) that a process has had. The scheduler's
# own account, exact to the nanosecond; without it, /proc/PID/stat in ticks.
sub cpu {
    my ($pid) = @_;
    my ($ns) = split ' ', Bench::Setup::read_file("/proc/$pid/schedstat");
    return $ns / 1000 if $ns;
    return OpsAuth::Process->cpu($pid) * 1e6;
}

# What became of a process' CPU time: { user, system => microseconds, sleeps =>
# how often it had nothing to do }. By the kernel's ticks: good for sums of many
# seconds.
sub spent {
    my ($pid) = @_;
    my @stat = split ' ', Bench::Setup::read_file("/proc/$pid/stat") =~ s/^.*\) //sr;
    my ($sleeps) = Bench::Setup::read_file("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s*(\d+)/m;
    my $tick = 1e6 / POSIX::sysconf(POSIX::_SC_CLK_TCK());
    return { user => $stat[11] * $tick, system => $stat[12] * $tick, sleeps => $sleeps };
}

# Sends the requests $from .. $to - 1 of a set: one on each connection, then all
# the answers, and so on. Returns how often each status came.
sub exactly {
    my ($port, $set, $from, $to) = @_;
    my @sockets = map {
        IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 10)
            // die "no connection to nginx: $@\n"
    } 1 .. CONNECTIONS;
    my %status;
    for (my $n = $from; $n < $to; $n += @sockets) {
        my $last = $n + @sockets < $to ? $n + @sockets : $to;
        for my $i ($n .. $last - 1) {
            my $key = $set->{keys}[$i % $set->{count}];
            syswrite $sockets[$i - $n], "GET /v1/tenants HTTP/1.1\r\nHost: api.example.com\r\n"
                . "Authorization: Bearer $key\r\n\r\n";
        }
        $status{_answer($sockets[$_ - $n])}++ for $n .. $last - 1;
    }
    return \%status;
}

sub _whole {
    my ($text) = @_;
    my $head = index $text, "\r\n\r\n";
    return 0 if $head < 0;
    my ($length) = $text =~ /^content-length: *(\d+)/mi
        or die "an answer without Content-Length:\n$text";
    return length $text >= $head + 4 + $length;
}

sub _answer {
    my ($socket) = @_;
    my $text = '';
    until (_whole($text)) {
        IO::Select->new($socket)->can_read(60) or die "nginx does not answer\n";
        sysread $socket, $text, 65536, length $text
            or die "nginx closed a connection\n";
    }
    return $text =~ m{^HTTP/1.1 (\d+)} ? $1 : 'none';
}

1;
