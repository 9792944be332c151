# The figures as Markdown.

package Bench::Report;

use strict;
use warnings;

use POSIX qw(strftime);

use Bench::Setup;

sub median {
    my @v = sort { $a <=> $b } @_;
    return @v % 2 ? $v[$#v / 2] : ($v[@v / 2 - 1] + $v[@v / 2]) / 2;
}

sub sum { my $sum = 0; $sum += $_ for @_; return $sum }

sub outside { my ($cost) = @_; return sum(map { $cost->{$_} } grep { !/^libcrypto/ } keys %$cost) }

# what Bench::Count gathers under that name
sub allocator {
    my ($cost) = @_;
    return sum(map { $cost->{$_} } grep { /libc's allocator$/ } keys %$cost);
}

# the numbers of one scenario, where they were measured
sub figures {
    my ($s) = @_;
    my %f;
    if (my @r = @{$s->{rounds} // []}) {
        $f{ratio} = median(map { $_->{gateway}{cpu} / $_->{plain}{cpu} } @r);
        for my $who (qw(plain gateway)) {
            $f{"cpu_$who"} = median(map { $_->{$who}{cpu} } @r);
            $f{"p50_$who"} = median(map { $_->{$who}{p50} } @r);
            $f{"p99_$who"} = median(map { $_->{$who}{p99} } @r);
        }
        $f{rate} = median(map { $_->{gateway}{rate} / $_->{plain}{rate} } @r);
        $f{reads} = median(map { $_->{gateway}{reads} } @r);
    }
    if ($s->{cost}) {
        my ($plain, $gateway) = @{$s->{cost}}{qw(plain gateway)};
        $f{plain} = sum(values %$plain);
        $f{added} = sum(values %$gateway) - $f{plain};
        $f{outside} = outside($gateway) - outside($plain);
        $f{malloc} = allocator($gateway) - allocator($plain);
        $f{calls_plain} = sum(values %{$s->{calls_of}{plain}});
        $f{calls} = sum(values %{$s->{calls_of}{gateway}}) - $f{calls_plain};
    }
    return \%f;
}

sub number {
    my ($format, $value) = @_;
    return '-' unless defined $value;
    my $text = sprintf $format, $value;
    1 while $text =~ s/(\d)(\d{3})(?=$|[ .])/$1 $2/ && $text !~ /\./;
    return $text;
}

sub text {
    my ($setup, $scenarios, $o) = @_;
    my $out = "# opsauth against plain proxying\n\n" . machine($setup, $o) . "\n";
    my @head = ('', 'CPU ratio', 'CPU us', 'plain', 'throughput', 'p50 us', 'plain', 'p99 us',
        'plain', 'Redis reads', 'system calls', 'plain', 'instructions added',
        'outside libcrypto', 'of them malloc, free', 'more than the hit', 'plain', 'targets');
    $out .= '| ' . join(' | ', @head) . " |\n|" . ' --- |' . (' ---: |' x (@head - 2)) . " --- |\n";
    my %outside;
    for my $s (@$scenarios) {
        my $f = $s->{figures} = figures($s);
        $outside{$s->{name}} = $f->{outside};
        my $than = $s->{over} ? $outside{$s->{over}} : undef;
        $f->{growth} = $f->{outside} - $than if defined $than && defined $f->{outside};
        my @targets = grep { $_ } (
            $s->{cpu} ? target('CPU', $f->{ratio}, $s->{cpu}, '%.2f') : '',
            defined $s->{added} ? target('instructions', $f->{outside}, $s->{added}, '%.0f') : '',
            defined $s->{calls} ? target('calls', $f->{calls}, $s->{calls}, '%.2f') : '',
            defined $s->{growth} ? target('more than the hit', $f->{growth}, $s->{growth}, '%.0f') : '');
        $out .= '| ' . join(' | ', $s->{title},
            number('%.3f', $f->{ratio}), number('%.1f', $f->{cpu_gateway}),
            number('%.1f', $f->{cpu_plain}), number('%.2f', $f->{rate}),
            number('%.0f', $f->{p50_gateway}), number('%.0f', $f->{p50_plain}),
            number('%.0f', $f->{p99_gateway}), number('%.0f', $f->{p99_plain}),
            number('%.2f', $f->{reads} // $setup->{reads}{$s->{name}}),
            number('%+.2f', $f->{calls}), number('%.2f', $f->{calls_plain}),
            number('%+.0f', $f->{added}), number('%+.0f', $f->{outside}),
            number('%+.0f', $f->{malloc}), number('%+.0f', $f->{growth}), number('%.0f', $f->{plain}), join(', ', @targets) || 'none') . " |\n";
    }
    $out .= spent(@$scenarios);
    $out = $out . tokens(@{$setup->{tokens}}) if $setup->{tokens};
    $out .= explanation($o);
    $out .= breakdown($_) for grep { $_->{cost} } @$scenarios;
    return $out;
}

# what the CPU time of all rounds went into, in microseconds a request
sub spent {
    my @measured = grep { $_->{rounds} && @{$_->{rounds}} } @_;
    return '' unless @measured;
    my @columns = map { my $what = $_; map { [$_, $what] } qw(gateway plain) } qw(user system sleeps);
    my $out = "\n| | user us | plain | system us | plain | sleeps | plain |\n| --- |" . (' ---: |' x @columns) . "\n";
    for my $s (@measured) {
        my @figures = map {
            my ($who, $what) = @$_;
            my $requests = sum(map { $_->{$who}{spent}{requests} } @{$s->{rounds}});
            number($what eq 'sleeps' ? '%.3f' : '%.1f', sum(map { $_->{$who}{spent}{$what} } @{$s->{rounds}}) / $requests);
        } @columns;
        $out .= '| ' . join(' | ', $s->{title}, @figures) . " |\n";
    }
    return $out;
}

# the token service
sub tokens {
    my @rounds = @_;
    my %m = map { my $what = $_; ($what => median(map { $_->{$what} } @rounds)) } qw(rate ratio cpu p50 p99);
    return "\n**Tokens**: " . number('%.0f', $m{rate}) . ' a second by client_credentials, a login each ('
        . sprintf('%.2f', $m{ratio}) . " of the requests a second of plain proxying in the same run); "
        . sprintf('%.1f', $m{cpu}) . ' us of CPU of the worker, p50 ' . number('%.0f', $m{p50})
        . ' us, p99 ' . number('%.0f', $m{p99}) . " us.\n";
}

sub target {
    my ($name, $value, $limit, $format) = @_;
    return '' unless defined $value;
    return sprintf "%s %s $format", $name, $value <= $limit ? 'within' : '**over**', $limit;
}

sub machine {
    my ($setup, $o) = @_;
    my ($cpu) = Bench::Setup::read_file('/proc/cpuinfo') =~ /^model name\s*: (.*)/m;
    my $cores = () = Bench::Setup::read_file('/proc/cpuinfo') =~ /^processor/mg;
    my ($kernel) = Bench::Setup::read_file('/proc/version') =~ /^Linux version (\S+)/;
    my ($os) = Bench::Setup::read_file('/etc/os-release') =~ /^PRETTY_NAME="(.*)"/m;
    my $version = sub {
        my ($pattern, @command) = @_;
        open my $out, '-|', 'sh', '-c', "@command 2>&1" or return '?';
        local $/;
        my ($v) = (<$out> // '') =~ $pattern;
        return $v // '?';
    };
    my @lines = (
        strftime('%Y-%m-%d', gmtime) . ", $cores x " . ($cpu // '?') . ", Linux $kernel, $os",
        'nginx ' . $version->(qr{nginx/(\S+)}, $setup->{nginx}, '-v')
            . ', Redis ' . $version->(qr/v=(\S+)/, 'redis-server --version')
            . ', OpenSSL ' . $version->(qr/OpenSSL (\S+)/, 'openssl version')
            . ', valgrind ' . $version->(qr/valgrind-(\S+)/, 'valgrind --version')
            . ', ' . $version->(qr/^(wrk \S+)/, 'wrk -v'),
        "$o->{rounds} rounds, " . Bench::Load::CONNECTIONS . ' connections, '
            . "$setup->{keys} keys" . ($o->{store} ? ", opsauth_store with \"$o->{store}\"" : ''),
    );
    return join '', map { "- $_\n" } @lines;
}

sub explanation {
    my ($o) = @_;
    my $headers = $o->{'all-headers'} ? 'all six of them with values'
        : 'four of them with values (no role, no affiliate)';
    return <<"TEXT";

Measured is what opsauth adds with one scope rule, an IP list of two networks at the
account, and the default identity headers, $headers.

- CPU: user and system time of the worker, a request; both nginx at the same time on one
  core, each with its own load; the median of the rounds' ratios.
- user, system, sleeps: what that time was, by the kernel's ticks, all rounds together; and how
  often the worker had nothing to do and another process got the core.
- throughput, p50, p99: either nginx alone, in turn; the median of the rounds. The load, the
  backend and Redis share the other cores, so that a ratio says less than that of CPU time.
- system calls: strace, in a run of its own, which slows nginx down.
- instructions: callgrind, user mode, $o->{n} requests on as many connections, the median of
  three; libcrypto is told apart since valgrind has none of the processor's instructions for
  SHA-256. What malloc() and free() cost depends on how the heap happens to lie, by some
  hundred instructions from run to run: every call is counted at the mean cost of all.
- more than the hit: instructions outside libcrypto, against the first row, which counts
  for the status page like any other. What usage costs once a second is not in it.
TEXT
}

# which functions the added instructions are spent in
sub breakdown {
    my ($s) = @_;
    my %diff = %{$s->{cost}{gateway}};
    $diff{$_} -= $s->{cost}{plain}{$_} for keys %{$s->{cost}{plain}};
    my $text = "\n## $s->{title}: instructions added, by function\n\n| | instructions |\n| --- | ---: |\n";
    my $crypto = sum(map { $diff{$_} } grep { /^libcrypto/ } keys %diff);
    delete @diff{grep { /^libcrypto/ } keys %diff};
    # a stripped nginx has few names to tell: it is one line
    my @nginx = grep { /^nginx / } keys %diff;
    $diff{'nginx its own functions'} = sum(delete @diff{@nginx});
    # what a denied request does not come to any more
    my $spared = $s->{status} == 200 ? undef : sum(grep { $_ < 0 } values %diff);
    delete @diff{grep { $diff{$_} < 0 } keys %diff} if defined $spared;
    my @order = sort { abs $diff{$b} <=> abs $diff{$a} } keys %diff;
    my $rest = 0;
    for (@order) {
        my ($object, $function) = split ' ', $_, 2;
        if (abs $diff{$_} < 20) { $rest += $diff{$_}; next }
        $text .= sprintf "| %s (%s) | %+.0f |\n", $function, $object =~ s/\.so.*//r, $diff{$_};
    }
    $text .= sprintf "| all that is not done for it | %+.0f |\n", $spared if defined $spared;
    my $calls = $s->{calls_of};
    my %names = map { %$_ } values %$calls;
    my @calls = map {
        sprintf '%s %.2f (%.2f)', $_, $calls->{gateway}{$_} // 0, $calls->{plain}{$_} // 0
    } sort grep {
        ($calls->{gateway}{$_} // 0) >= 0.01 || ($calls->{plain}{$_} // 0) >= 0.01
    } keys %names;
    my $said = "\nSystem calls a request (and with plain proxying): " . join(', ', @calls) . ".\n";
    return $text . sprintf("| less than 20 each | %+.0f |\n| libcrypto | %+.0f |\n", $rest, $crypto) . $said;
}

1;
