# The processes of the soak test: clients of every kind, good and bad, of two
# gateways, and what each of them saw.
#
#   my $s = OpsAuth::Soak->new(dir => ..., gates => [{port, h2}, {port, h2}], ...);
#   $s->start;  ...  $s->stop;
#   my $r = $s->result;
#
# Every client is a process. It counts what it was answered, and writes a line for
# each answer that it did not expect; whether a fault that stood at that time
# excuses it is not its to say. Times are CLOCK_MONOTONIC, in seconds.

package OpsAuth::Soak;

use strict;
use warnings;

use JSON::PP ();
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC sleep);

use OpsAuth::HTTP;
use OpsAuth::Process;
use OpsAuth::Soak::Clients;

# dir     where it may write (made here)
# gates   [{ name, port, short => port, h2 => port, patient }, ...]; patient: such a
#         gate never closes a connection, so that nothing is ever sent again; short: where
#         connections are not kept for long
# store, redis, oauth   OpsAuth::Store, ::Redis, ::OAuth
# keys    { good => [...], revoked => [...], ... }, see OpsAuth::Soak::Clients
# clients [[name, number of processes], ...]
sub new {
    my ($class, %o) = @_;
    my $self = bless { pids => [], %o }, $class;
    mkdir $self->{dir} or die "$self->{dir}: $!";
    return $self;
}

sub now { return clock_gettime(CLOCK_MONOTONIC) }

sub start {
    my ($self) = @_;
    for my $client (@{$self->{clients}}) {
        my ($name, $n) = @$client;
        for my $i (1 .. $n) {
            push @{$self->{names}}, "$name$i";
            push @{$self->{pids}}, OpsAuth::Process->daemon(
                name => "soak $name", stderr => "$self->{dir}/stderr",
                code => sub { $self->_run($name, $i) });
        }
    }
}

sub stop {
    my ($self) = @_;
    my @pids = splice @{$self->{pids}};
    kill 'TERM', @pids;
    OpsAuth::Process->wait_for($_, 30) // OpsAuth::Process->stop($_, 'KILL') for @pids;
}

sub _run {
    my ($self, $name, $i) = @_;
    my $stop = 0;
    $SIG{TERM} = sub { $stop = 1 };
    srand $$;
    # what this process makes up is known to no log's search
    $self->{store}{secret} = sub { };
    my $path = "$self->{dir}/$name$i";
    open $self->{out}, '>', "$path.lines" or die "$path: $!";
    $self->{out}->autoflush(1);
    $self->{sum} = {};
    my $client = OpsAuth::Soak::Clients->can($name) or die "no client $name";
    my $data = $client->($self, sub { $stop }) // {};
    open my $fh, '>', "$path.json" or die "$path: $!";
    print {$fh} JSON::PP->new->latin1->canonical->encode({ sum => $self->{sum}, data => $data });
    close $fh or die "$path: $!";
}

# --- for the clients ----------------------------------------------------------------

# One request on this process' kept connection to a gate: (response, start, end).
# A connection that the server closed while it was idle is opened anew, as clients
# do; where the gate never does that, nothing is sent again.
sub ask {
    my ($self, $gate, $method, $uri, %o) = @_;
    my $g = $self->{gates}[$gate];
    while (1) {
        my $reused = $self->{kept}[$gate] ? 1 : 0;
        my $from = now();
        my $c = $self->{kept}[$gate] //= eval { OpsAuth::HTTP::Connection->new($g->{port}, timeout => 30) };
        my $r = $c ? $c->request($method, $uri, %o) : OpsAuth::HTTP::_failed("cannot connect: $@");
        delete $self->{kept}[$gate]
            if $r->error ne '' || ($r->header('Connection') // '') =~ /close/i;
        if ($reused && !$g->{patient} && $r->status == 0 && $c->{eof} && $r->{raw} eq '') {
            $self->{sum}{$g->{name}}{again}++;
            next;
        }
        return ($r, $from, now());
    }
}

# Counts an answer, and writes it down where it is none of the expected statuses.
sub saw {
    my ($self, $gate, $kind, $expected, $r, $from, $to) = @_;
    my $name = $self->{gates}[$gate]{name};
    my $status = ref $r ? $r->status : $r;
    $self->{sum}{$name}{answers}{$kind}{$status}++;
    return 1 if grep { $status == $_ } ref $expected ? @$expected : $expected;
    my $why = ref $r ? $r->error || ($r->header('X-Reason') // '') : '';
    $self->line(bad => $from, $to, $name, $kind, $status, $why =~ s/\s+/_/gr || '-');
    return 0;
}

sub line {
    my ($self, @words) = @_;
    printf {$self->{out}} "%s\n", join ' ', map { /^\d+\.\d+$/ ? sprintf '%.6f', $_ : $_ } @words;
}

# A write that is to be acknowledged, however often Redis is away: when it was
sub write {
    my ($self, $stopped, $code) = @_;
    my $store = $self->{store};
    $self->{client} //= $self->{redis}->client(timeout => 30);
    local $store->{redis} = $self->{client};
    until (eval { $code->($store); 1 }) {
        $self->{client}->disconnect;
        return if $stopped->();
        sleep 0.1;
    }
    return now();
}

# --- what came of it --------------------------------------------------------------

# { sum => { client => { gate => { answers => { kind => { status => n } }, again } } },
#   data => { client => ... }, lines => [[words], ...], missing => [clients that died],
#   stderr }
sub result {
    my ($self) = @_;
    my %r = (sum => {}, data => {}, lines => [], missing => []);
    for my $name (@{$self->{names}}) {
        my $kind = $name =~ s/\d+$//r;
        my $json = _read("$self->{dir}/$name.json");
        my $part = $json eq '' ? undef : JSON::PP->new->latin1->decode($json);
        push @{$r{missing}}, $name if !$part;
        push @{$r{lines}}, map { [split ' '] } split /\n/, _read("$self->{dir}/$name.lines");
        push @{$r{data}{$kind}}, $part->{data} if $part;
        _add($r{sum}{$kind} //= {}, $part->{sum}) if $part;
    }
    $r{stderr} = _read("$self->{dir}/stderr");
    return \%r;
}

sub _add {
    my ($to, $from) = @_;
    for my $name (keys %$from) {
        if (ref $from->{$name}) { _add($to->{$name} //= {}, $from->{$name}) }
        else                    { $to->{$name} += $from->{$name} }
    }
}

sub _read {
    my ($path) = @_;
    open my $fh, '<', $path or return '';
    local $/;
    return <$fh> // '';
}

1;
