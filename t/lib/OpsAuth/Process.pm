# Processes that a test starts: forked Perl daemons and executed programs. Every
# one is registered and stopped by its pid, also when the test dies or is
# interrupted, and only ever by the process that started it.

package OpsAuth::Process;

use strict;
use warnings;

use POSIX ();
use Time::HiRes qw(sleep time);

# How many times as long a test lets pass so that something can have happened.
use constant PACE => $ENV{TEST_NGINX_VALGRIND} ? 5 : 1;

use constant WAIT => (grep { $ENV{"TEST_NGINX_$_"} } qw(SLOW PRELOAD VALGRIND)) ? 30 : 20;

my %started;            # pid => [owner's pid, name]
my @first;              # what to do before any of them is killed

# A text that is the same for all processes of one t/run and in no other run.
sub run_id {
    return $ENV{OPSAUTH_TEST_RUN} //= sprintf 'run%d-%d', $$, time;
}

# Executes a program in the background. stdout and stderr go to files, so that
# a process that stays behind never holds prove's pipe open.
#
#   command => [words], stdin => path, stdout => path, stderr => path,
#   env => {NAME => value}
sub spawn {
    my ($class, %o) = @_;
    run_id();
    my $pid = _fork($o{name} // $o{command}[0]);
    return $pid if $pid;

    @ENV{keys %{$o{env}}} = values %{$o{env}} if $o{env};
    open STDIN,  '<',  $o{stdin}  // '/dev/null'  or POSIX::_exit(126);
    open STDOUT, '>>', $o{stdout} // '/dev/null'  or POSIX::_exit(126);
    open STDERR, '>>', $o{stderr} // '/dev/null'  or POSIX::_exit(126);
    $SIG{$_} = 'DEFAULT' for qw(PIPE INT TERM HUP ALRM);
    { no warnings 'exec'; exec { $o{command}[0] } @{$o{command}} }
    print STDERR "cannot execute $o{command}[0]: $!\n";
    POSIX::_exit(127);
}

# Runs $code in a forked child that keeps only the handles in `keep`. Without
# that a daemon would hold a copy of every client socket that the test had open,
# and a close() in the test would send no FIN.
sub daemon {
    my ($class, %o) = @_;
    run_id();
    my $pid = _fork($o{name});
    return $pid if $pid;

    my %keep = map { fileno($_) => 1 } @{$o{keep} // []};
    opendir my $dir, '/proc/self/fd' or POSIX::_exit(126);
    my @fds = grep { /^\d+$/ && $_ > 2 && !$keep{$_} } readdir $dir;
    my $own = fileno $dir;
    # Not closed: perl counts what it has open by number, and a socket of the
    # daemon's that got such a number would stay open after its close().
    open my $null, '+<', '/dev/null' or POSIX::_exit(126);
    POSIX::dup2(fileno $null, $_) for grep { !defined $own || $_ != $own } @fds;

    open STDIN,  '<',  '/dev/null';
    open STDOUT, '>',  '/dev/null';
    open STDERR, '>>', $o{stderr} // '/dev/null';
    $SIG{PIPE} = 'IGNORE';
    $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP ALRM __DIE__);
    alarm 0;
    my $ok = eval { $o{code}->(); 1 };
    print STDERR $@ unless $ok;
    POSIX::_exit($ok ? 0 : 1);      # no END block, no destructor of the test
}

sub _fork {
    my ($name) = @_;
    # a signal between fork and registration would leave the child behind
    my $all = POSIX::SigSet->new;
    $all->fillset;
    my $old = POSIX::SigSet->new;
    POSIX::sigprocmask(POSIX::SIG_BLOCK(), $all, $old);
    my $pid = fork;
    if ($pid) {
        $started{$pid} = [$$, $name];
    }
    elsif (defined $pid) {
        %started = ();
    }
    POSIX::sigprocmask(POSIX::SIG_SETMASK(), $old);
    die "fork: $!" unless defined $pid;
    return $pid;
}

# Reaps the child if it has ended. Returns its wait status, or undef if it runs.
sub reap {
    my ($class, $pid) = @_;
    return 0 unless $started{$pid};
    my $got = waitpid $pid, POSIX::WNOHANG();
    return if $got == 0;
    delete $started{$pid};
    return $got == $pid ? $? : 0;
}

# Waits for the end of the child. Returns its wait status, undef after $timeout.
sub wait_for {
    my ($class, $pid, $timeout) = @_;
    my $until = time + $timeout;
    while (1) {
        my $status = $class->reap($pid);
        return $status if defined $status;
        return if time > $until;
        sleep 0.005;
    }
}

# Sends the signal and waits; SIGKILL if that did not help within $timeout.
# Returns the wait status.
sub stop {
    my ($class, $pid, $signal, $timeout) = @_;
    return 0 unless $started{$pid} && $started{$pid}[0] == $$;
    kill $signal // 'TERM', $pid;
    my $status = $class->wait_for($pid, $timeout // 5);
    return $status if defined $status;
    kill 'KILL', $pid;
    return $class->wait_for($pid, 5) // 0;
}

sub running {
    my ($class, $pid) = @_;
    return $pid && $started{$pid} && !defined $class->reap($pid);
}

# A condition polled until it holds; returns its value, or a false one. A timeout of
# a second or more is a time for what must happen, and a machine that is busy, or a
# sanitizer, may take longer: it is never less than WAIT. It stays well below a minute:
# some tests have a lease of that, to see that something else came first.
sub poll {
    my ($class, $timeout, $condition) = @_;
    $timeout = WAIT if $timeout >= 1 && $timeout < WAIT;
    my $until = time + $timeout;
    while (1) {
        my $value = $condition->();
        return $value if $value || time > $until;
        sleep 0.01;
    }
}

# --- what /proc says ----------------------------------------------------------

sub _slurp {
    my ($path) = @_;
    open my $fh, '<', $path or return;
    local $/;
    return scalar <$fh>;
}

sub exists {
    my ($class, $pid) = @_;
    my $stat = _slurp("/proc/$pid/stat") or return 0;
    return $stat !~ /\) Z /;            # a zombie is gone
}

sub children {
    my ($class, $pid) = @_;
    my @children;
    for my $path (glob '/proc/[0-9]*/stat') {
        my $stat = _slurp($path) or next;
        my ($child, $state, $parent) = $stat =~ /^(\d+) \(.*\) (\S) (\d+)/s or next;
        push @children, $child if $parent == $pid && $state ne 'Z';
    }
    return sort { $a <=> $b } @children;
}

sub title {
    my ($class, $pid) = @_;
    my $line = _slurp("/proc/$pid/cmdline") // '';
    $line =~ tr/\0/ /;
    return $line;
}

# whose it is; the owner of /proc/PID is another matter
sub uid {
    my ($class, $pid) = @_;
    my $status = _slurp("/proc/$pid/status") // return;
    return $status =~ /^Uid:\s+\d+\s+(\d+)/m ? $1 : undef;
}

# whether it is nginx's: valgrind keeps a title of its own
sub is_nginx {
    my ($class, $pid) = @_;
    return $class->title($pid) =~ ($ENV{TEST_NGINX_VALGRIND} ? qr{/nginx } : qr/^nginx: /);
}

sub fd_count {
    my ($class, $pid) = @_;
    opendir my $dir, "/proc/$pid/fd" or return;
    return scalar grep { /^\d+$/ } readdir $dir;
}

# whether one of its descriptors is such a thing
sub has_open {
    my ($class, $pid, $pattern) = @_;
    return scalar grep { (readlink // '') =~ $pattern } glob "/proc/$pid/fd/*";
}

# resident memory in KiB
sub rss {
    my ($class, $pid) = @_;
    my $status = _slurp("/proc/$pid/status") // return;
    return $status =~ /^VmRSS:\s+(\d+) kB/m ? $1 : undef;
}

# user + system CPU seconds
sub cpu {
    my ($class, $pid) = @_;
    my $stat = _slurp("/proc/$pid/stat") // return;
    my @f = split ' ', $stat =~ s/^.*\) //sr;
    return ($f[11] + $f[12]) / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

# --- the end ------------------------------------------------------------------

# code for a process that must be told to end, as it would leave others behind
sub before_stop_all { my ($class, $code) = @_; push @first, [$$, $code] }

sub stop_all {
    $_->[1]->() for grep { $_->[0] == $$ } splice @first;
    my @mine = grep { $started{$_}[0] == $$ } keys %started or return;
    # an nginx master must take its workers along; killed, it would leave them
    my @masters = grep {
        $started{$_}[1] eq 'nginx' || OpsAuth::Process->title($_) =~ /^nginx: master/
    } @mine;
    my @workers = map { OpsAuth::Process->children($_) } @masters;
    kill 'TERM', @masters;
    OpsAuth::Process->wait_for($_, 2) for @masters;
    @mine = grep { $started{$_} } @mine;
    kill 'KILL', @mine, grep { OpsAuth::Process->is_nginx($_) } @workers;
    OpsAuth::Process->wait_for($_, 5) for @mine;
}

# an interrupted test must still come through END
for my $name (qw(INT TERM HUP)) {
    $SIG{$name} //= sub { exit 128 + 1 };
}

END {
    local ($?, $!, $@);
    stop_all();
}

1;
