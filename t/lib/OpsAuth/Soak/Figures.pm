# What the soak test measures of processes, and how it judges whether that is flat.

package OpsAuth::Soak::Figures;

use strict;
use warnings;

use List::Util qw(max min sum0);

use OpsAuth::Process;

sub new { my ($class) = @_; return bless { series => {} }, $class }

sub add {
    my ($self, $name, $at, $value) = @_;
    push @{$self->{series}{$name}}, [$at, $value] if defined $value;
}

# A process' memory in KiB (anonymous: its own heap, nothing shared; of shared
# zones what it has touched; resident; its share of all) and its descriptors.
sub process {
    my ($self, $name, $at, $pid) = @_;
    my %kib = map { /^(\w+):\s+(\d+) kB/ ? ($1 => $2) : () }
        map { split /\n/, _read("/proc/$pid/$_") } qw(smaps_rollup status);
    $self->add("$name heap", $at, $kib{Anonymous});
    $self->add("$name shared", $at, $kib{RssShmem});
    $self->add("$name RSS", $at, $kib{Rss});
    $self->add("$name PSS", $at, $kib{Pss});
    $self->add("$name descriptors", $at, OpsAuth::Process->fd_count($pid));
}

sub _read {
    my ($path) = @_;
    open my $fh, '<', $path or return '';
    local $/;
    return <$fh> // '';
}

sub names { my ($self) = @_; return sort keys %{$self->{series}} }

sub count { my ($self, $name) = @_; return scalar @{$self->{series}{$name} // []} }

# { thirds => [mean, mean, mean], min, max, growth }; growth: what the line of
# least squares through the last two thirds rises by from their begin to their end;
# at most what lies between the values there, as a few that were taken at nearly one
# time have a steep line that says nothing.
# The first third is for what a process takes once: arenas, buffers, zones.
sub flat {
    my ($self, $name) = @_;
    my @all = @{$self->{series}{$name} // []};
    return if @all < 6;                # no line to speak of
    my ($first, $last) = ($all[0][0], $all[-1][0]);
    my $length = ($last - $first) / 3 || 1;
    my @thirds;
    push @{$thirds[min(2, int(($_->[0] - $first) / $length))]}, $_ for @all;
    my @tail = map { @{$_ // []} } @thirds[1, 2];
    my @values = map { $_->[1] } @all;
    my $range = @tail ? max(map { $_->[1] } @tail) - min(map { $_->[1] } @tail) : 0;
    return {
        thirds => [map { _mean(map { $_->[1] } @{$_ // []}) } @thirds[0 .. 2]],
        min => min(@values), max => max(@values), samples => scalar @all,
        growth => max(-$range, min($range, _slope(@tail) * 2 * $length)),
    };
}

sub _mean { return @_ ? sum0(@_) / @_ : 0 }

sub _slope {
    my ($x, $y) = (_mean(map { $_->[0] } @_), _mean(map { $_->[1] } @_));
    my $square = sum0(map { ($_->[0] - $x) ** 2 } @_) or return 0;
    return sum0(map { ($_->[0] - $x) * ($_->[1] - $y) } @_) / $square;
}

1;
