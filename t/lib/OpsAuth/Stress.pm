# How old is what a gateway says? A writer stamps records with growing versions,
# checkers ask through all workers which version is in use, and every answer is
# measured against the moment at which Redis had acknowledged the next version.
#
#   my $s = OpsAuth::Stress->new(test => $t, redis => $redis, store => $store);
#   $s->start;
#   my $from = $s->now;  ...  my $to = $s->now;
#   $s->stop;
#   my $r = $s->result($from, $to);
#
# Times are CLOCK_MONOTONIC, in seconds, and comparable between the processes.
# The server answers with X-Seen (an account's tenant, "v<number>"), X-Cache and
# X-Worker. Every process writes a file of its own, one line for each event.

package OpsAuth::Stress;

use strict;
use warnings;

use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC sleep);

use OpsAuth::HTTP;
use OpsAuth::Process;
use OpsAuth::RESP;

# how long a heartbeat may sleep in place of 5 ms, or nginx or Redis may wait for
# a CPU, before the machine is to blame for what is late
use constant STALL => 0.020;

# test, redis, store
# accounts  that are written to, each one seldom, so that what is cached lives
#           longer than a lease (50)
# checkers  processes that ask (3)
# pause     seconds between two writes, in the mean (0.025)
sub new {
    my ($class, %o) = @_;
    my $self = bless { accounts => 50, checkers => 3, pause => 0.025, %o }, $class;
    $self->{dir} = $self->{test}->_own_dir('stress');
    mkdir $self->{dir} or die "$self->{dir}: $!";
    for my $i (0 .. $self->{accounts} - 1) {
        $self->{store}->account("stress$i", tenant => 'v1');
        push @{$self->{keys}}, $self->{store}->issue(account => "stress$i");
    }
    return $self;
}

sub now { return clock_gettime(CLOCK_MONOTONIC) }

sub start {
    my ($self) = @_;
    # which account is being written to: one byte
    open my $hint, '>', "$self->{dir}/hint" or die $!;
    syswrite $hint, chr 0;
    close $hint;
    $self->{writer} = $self->_spawn('writer', sub { $self->_write(@_) });
    for my $cpu (0 .. _cpus() - 1) {
        $self->_spawn("heartbeat$cpu", sub { $self->_beat($cpu, @_) });
    }
    $self->_spawn('waits', sub { $self->_waits(@_) });
    $self->_spawn("checker$_", sub { $self->_check(@_) }) for 1 .. $self->{checkers};
}

sub stop {
    my ($self) = @_;
    my @pids = @{delete $self->{pids} // []};
    kill 'TERM', @pids;
    OpsAuth::Process->wait_for($_, 15) // OpsAuth::Process->stop($_, 'KILL') for @pids;
}

# many writes at once, now: to be called when something has just been broken
sub burst { my ($self) = @_; kill 'USR1', $self->{writer} }

# a process that runs $code->($stopped, $out) until TERM
sub _spawn {
    my ($self, $name, $code) = @_;
    push @{$self->{pids}}, OpsAuth::Process->daemon(
        name => "stress $name", stderr => "$self->{dir}/stderr", code => sub {
            my $stop = 0;
            $SIG{TERM} = sub { $stop = 1 };
            $SIG{USR1} = sub { $self->{burst} = 10 };
            srand $$;
            open my $out, '>', "$self->{dir}/$name" or die $!;
            $code->(sub { $stop }, $out);
            close $out or die $!;
        });
    return $self->{pids}[-1];
}

# --- the processes --------------------------------------------------------------

# Account, version, when its write was acknowledged; one write at a time. Many
# are followed by a second one at once: that is what a fill must not overtake.
sub _write {
    my ($self, $stopped, $out) = @_;
    my $client = $self->{redis}->client(timeout => 10);
    open my $hint, '+<', "$self->{dir}/hint" or die $!;
    my @version = (1) x $self->{accounts};
    printf {$out} "%d 1 %.6f\n", $_, now() for 0 .. $#version;
    my $again = 0;
    while (!$stopped->()) {
        my $i = int rand $self->{accounts};
        sysseek $hint, 0, 0;
        syswrite $hint, chr $i;
        for my $n (0, $again ? 1 : ()) {
            sleep rand 0.001 if $n;
            my $v = ++$version[$i];
            my $name = $self->{store}->name('account', "stress$i");
            # if that fails, whether it was written is not known: it does not count
            eval { $client->cmd('HSET', $name, 'tenant', "v$v"); 1 } or next;
            printf {$out} "%d %d %.6f\n", $i, $v, now();
        }
        $again = !$again;
        next if $self->{burst} && $self->{burst}--;
        sleep -log(1 - rand) * $self->{pause};
    }
}

sub _cpus {
    open my $in, '<', '/proc/stat' or return 1;
    return scalar(grep { /^cpu\d/ } <$in>) || 1;
}

# when a CPU did not let it run: from, to
sub _beat {
    my ($self, $cpu, $stopped, $out) = @_;
    {
        # each has its own, if that can be had
        no warnings 'exec';
        system 'taskset', '-cp', $cpu, $$;
    }
    my $last = now();
    while (!$stopped->()) {
        sleep 0.005;
        my $now = now();
        printf {$out} "%.6f %.6f\n", $last, $now if $now - $last > STALL;
        $last = $now;
    }
}

# when a worker or Redis could run, and had to wait for a CPU: from, to
sub _waits {
    my ($self, $stopped, $out) = @_;
    my ($master, $redis) = ($self->{test}->pid, $self->{redis}->pid);
    my (@pids, %waited);
    for (my $n = 0; !$stopped->(); $n++) {
        @pids = ($redis, OpsAuth::Process->children($master)) if $n % 50 == 0;
        for my $pid (@pids) {
            open my $in, '<', "/proc/$pid/schedstat" or next;
            my (undef, $ns) = split ' ', <$in> // next;
            my ($now, $before) = (now(), $waited{$pid} // $ns);
            $waited{$pid} = $ns;
            my $wait = ($ns - $before) / 1e9;
            printf {$out} "%.6f %.6f\n", $now - 0.010 - $wait, $now if $wait > STALL;
        }
        sleep 0.010;
    }
}

# Start, end, account, version (0: none), status, cache, worker. Every second
# request is for the account that is being written to. A worker that does not
# answer is not waited for; its answer is read when it comes.
sub _check {
    my ($self, $stopped, $out) = @_;
    my ($c, $left, $port) = (undef, 0, $self->{test}->port(8080));
    open my $hint, '<', "$self->{dir}/hint" or die $!;
    my @slow;
    while (!$stopped->()) {
        @slow = grep { !_answered($out, $_, 0) } @slow;
        # a new connection now and then: it may go to another worker
        undef $c if $left-- <= 0;
        my $i = int rand $self->{accounts};
        if (rand() < 0.5) {
            sysseek $hint, 0, 0;
            sysread $hint, my $byte, 1;
            $i = ord $byte if length $byte;
        }
        my %ask = (i => $i, reused => defined $c, from => now());
        if (!$c) {
            $left = 10 + int rand 20;
            $c = eval { OpsAuth::HTTP::Connection->new($port) };
        }
        $ask{c} = $c;
        $c->write_request('GET', '/', key => $self->{keys}[$i]) if $c;
        if (!_answered($out, \%ask, 0.05)) {
            push @slow, \%ask;
            undef $c;
        }
        undef $c if $ask{closed};
        sleep 0.001;
    }
    # what was asked before the end is to be answered after it
    _answered($out, $_, 5) || _line($out, $_, undef) for @slow;
}

# reads the answer, if it comes within so many seconds; whether it did
sub _answered {
    my ($out, $ask, $timeout) = @_;
    my $c = $ask->{c};
    my $r = $c ? $c->read_response(method => 'GET', timeout => $timeout) : undef;
    return 0 if $r && $r->error eq 'timeout' && now() - $ask->{from} < 10;
    $ask->{closed} = !$r || $r->status == 0 || ($r->header('Connection') // '') =~ /close/;
    # an idle connection may be closed at any time; that is no answer
    return 1 if $ask->{reused} && $r && $r->status == 0 && $c->{eof} && $r->{raw} eq '';
    _line($out, $ask, $r);
    return 1;
}

sub _line {
    my ($out, $ask, $r) = @_;
    my %h = map { $_ => $r && $r->header($_) // '-' } qw(X-Seen X-Cache X-Worker);
    my ($v) = $h{'X-Seen'} =~ /^v(\d+)$/;
    printf {$out} "%.6f %.6f %d %d %d %s %s\n", $ask->{from}, now(), $ask->{i}, $v // 0,
        $r ? $r->status : 0, $h{'X-Cache'}, $h{'X-Worker'};
}

# --- the measure ----------------------------------------------------------------

# What was answered to the requests that started between $from and $to:
#   answers, hits     how many with a version; out of the cache
#   status            {status => n}; 0 is a connection that was lost
#   bad               [[start, end, status], ...] of those that are no 204
#   worst             seconds by which an answer was older than the write that
#                     had replaced it, at the moment when its request started
#   old               [seconds, ...] of all such, sorted
#   late, latest      how many of them were older than 50 ms although the
#                     machine had not stalled meanwhile; the oldest of these
#   workers           how many answered
sub result {
    my ($self, $from, $to) = @_;
    my $replaced = $self->{replaced} //= $self->_replaced;
    my %r = (answers => 0, hits => 0, late => 0, latest => 0, worst => 0, status => {}, bad => [], old => []);
    my %workers;
    for my $line (map { $self->_lines("checker$_") } 1 .. $self->{checkers}) {
        my ($start, $end, $i, $v, $status, $cache, $worker) = split / /, $line;
        next if $start < $from || $start >= $to;
        $r{status}{$status}++;
        push @{$r{bad}}, [$start, $end, $status] if $status != 204;
        next if !$v;
        $r{answers}++;
        $r{hits}++ if $cache eq 'hit';
        $workers{$worker} = 1;
        # no later version was acknowledged, or only after this request started
        my $at = $replaced->[$i][$v] // next;
        my $age = $start - $at;
        next if $age <= 0;
        push @{$r{old}}, $age;
        $r{worst} = $age if $age > $r{worst};
        next if $age <= 0.050 || $self->stalled($at, $start);
        $r{late}++;
        $r{latest} = $age if $age > $r{latest};
    }
    $r{old} = [sort { $a <=> $b } @{$r{old}}];
    $r{workers} = keys %workers;
    return \%r;
}

# did the machine stall between the two? $long: seconds at a time
sub stalled {
    my ($self, $from, $to, $long) = @_;
    my $stalls = $self->{stalled} //= [map { [split] }
        map { $self->_lines($_) } 'waits', map { "heartbeat$_" } 0 .. _cpus() - 1];
    return scalar grep {
        $_->[0] < $to && $_->[1] > $from && $_->[1] - $_->[0] >= ($long // 0)
    } @$stalls;
}

# [account][version]: when the first later one was acknowledged
sub _replaced {
    my ($self) = @_;
    my (@replaced, @last);
    for my $line ($self->_lines('writer')) {
        my ($i, $v, $at) = split ' ', $line;
        # versions without an acknowledgement lie between the two
        $replaced[$i][$_] = $at for $last[$i] // 1 .. $v - 1;
        $last[$i] = $v;
    }
    return \@replaced;
}

sub writes { my ($self) = @_; return scalar(() = $self->_lines('writer')) }

sub stderr { my ($self) = @_; return join "\n", $self->_lines('stderr') }

sub _lines {
    my ($self, $name) = @_;
    open my $in, '<', "$self->{dir}/$name" or return;
    chomp(my @lines = <$in>);
    return @lines;
}

1;
