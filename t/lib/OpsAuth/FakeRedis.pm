# A Redis that does what a test tells it to. By default it behaves: it greets,
# serves the records that the test writes into it (->cmd, so OpsAuth::Store
# works with it) and takes part in tracking. A script says what differs:
#
#   my $fake = $t->fake_redis(script => { AUTH => '-WRONGPASS no' });
#   $fake->script(HMGET => { delay => 300 });
#   $fake->script(HMGET => ['silence', 'default']);     # one after the other
#   $fake->script('HMGET opsauth:account:*' => 'nil', HMGET => undef);
#
# Keys, the most specific first: "COMMAND first-word", the same with a final *,
# "COMMAND", "*"; besides, ACCEPT is a new connection. Values are actions; a list
# is used up one action a command, and then the default holds. undef removes.
#
# An action is a word: default, ok, nil, silence, close, rst, deaf (stops
# reading); or a reply as it stands on the wire ("-ERR no", ":1", CRLF is added);
# or a hash of
#   one reply    error, status, integer, bulk, array, nil => 1, raw => exact
#                bytes; without one of them, the default reply
#   and changes  delay => ms
#                chop => n        n bytes a segment, pause => ms between (1)
#                split => [n...]  segments that end at these offsets
#                twice => 1       the reply two times in one segment
#                prepend, append => bytes before and behind, in one segment
#                batch => n       held back until n replies leave in one segment
#                cut => n         only the first n bytes, then close (or `then`)
#                then => 'close', 'rst' or 'silence'
#                hold => 1        until ->release
#                ignore => 1      the command changes nothing

package OpsAuth::FakeRedis;

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP ();
use Socket qw(AF_UNIX SOCK_STREAM PF_UNSPEC);
use Time::HiRes qw(time);

use OpsAuth::FakeRedis::Server;
use OpsAuth::Port;
use OpsAuth::Process;
use OpsAuth::RESP;

my $JSON = JSON::PP->new->latin1->canonical->allow_nonref;

# dir      where its log goes (made here)
# unix     true: a unix socket
# script   {key => action, ...}
# handler  sub ($connection, @words) that returns an action or undef; it runs in
#          the daemon, for what no script covers
sub new {
    my ($class, %o) = @_;
    my $self = bless { script => {}, %o }, $class;
    mkdir $self->{dir} or die "$self->{dir}: $!";
    if ($self->{unix}) {
        $self->{socket} = "$self->{dir}/redis.sock";
    }
    else {
        $self->{port} //= OpsAuth::Port->take;
    }
    $self->{log} = "$self->{dir}/commands";
    $self->{seen} = 0;

    socketpair my $ours, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC
        or die "socketpair: $!";
    my $server = OpsAuth::FakeRedis::Server->new(
        address => $self->address, log => $self->{log}, control => $theirs,
        handler => $self->{handler}, script => $self->{script},
    );
    $self->{pid} = OpsAuth::Process->daemon(
        name => 'fake redis', keep => [$server->handles], stderr => "$self->{dir}/stderr",
        code => sub { $server->run },
    );
    $server->leave;                 # the parent's copies of its sockets
    close $theirs;
    @$self{qw(control input)} = ($ours, '');
    return $self;
}

sub address { my ($self) = @_; return $self->{socket} // "127.0.0.1:$self->{port}" }
sub port    { $_[0]{port} }
sub pid     { $_[0]{pid} }

sub url {
    my ($self, $db) = @_;
    return "unix:$self->{socket}" if $self->{socket};
    return 'redis://' . $self->address . (defined $db ? "/$db" : '');
}

# One order to the daemon; it has been carried out when this returns.
sub _order {
    my ($self, %order) = @_;
    my $line = $JSON->encode(\%order) . "\n";
    local $SIG{PIPE} = 'IGNORE';
    syswrite $self->{control}, $line or die "fake redis is gone\n";
    my $until = time + 60;
    my $end;
    while (($end = index $self->{input}, "\n") < 0) {
        my $left = $until - time;
        die "fake redis does not answer\n"
            if $left <= 0 || !IO::Select->new($self->{control})->can_read($left);
        sysread $self->{control}, $self->{input}, 65_536, length $self->{input}
            or die "fake redis is gone\n";
    }
    return $JSON->decode(substr $self->{input}, 0, $end + 1, '');
}

# --- what it does -------------------------------------------------------------------

# changes parts of the script
sub script {
    my ($self, %script) = @_;
    $self->_order(do => 'script', script => \%script);
    return $self;
}

# from here on it only behaves
sub behave { my ($self) = @_; $self->_order(do => 'behave'); return $self }

# a command on its records, behind the back of its connections
sub cmd {
    my ($self, @words) = @_;
    my $bytes = $self->_order(do => 'cmd', words => [map { "$_" } @words]);
    my ($reply) = OpsAuth::RESP::decode(\$bytes);
    die "fake redis: $words[0]: $reply\n" if ref $reply eq 'OpsAuth::RESP::Error';
    return $reply;
}

# held replies: how many there are; wait for some; let them go
sub held    { my ($self) = @_; return $self->_order(do => 'held') }
sub release { my ($self) = @_; return $self->_order(do => 'release') }

sub wait_held {
    my ($self, $n, $timeout) = @_;
    return OpsAuth::Process->poll($timeout // 5, sub { $self->held >= $n });
}

# bytes that nobody asked for: to all connections, or to one
sub push {
    my ($self, $bytes, $connection) = @_;
    return $self->_order(do => 'push', bytes => $bytes, connection => $connection);
}

# An invalidation message to every connection that tracks the name; without
# names: the null message, everything. Returns how many connections got it.
sub invalidate {
    my ($self, @names) = @_;
    return $self->_order(do => 'invalidate', names => \@names);
}

# ends its connections: all, or one; rst => 1 with a reset
sub drop {
    my ($self, %o) = @_;
    return $self->_order(do => 'drop', connection => $o{connection}, rst => $o{rst});
}

# closes the listening socket: new connections are refused; open ones stay
sub refuse { my ($self) = @_; return $self->_order(do => 'refuse') }
sub listen { my ($self) = @_; return $self->_order(do => 'listen') }

# gone with everything, as a killed server is; and back again with its records
sub down { my ($self) = @_; $self->refuse; $self->drop; return $self }
sub up   { my ($self) = @_; $self->listen; return $self }

# the whole process hangs: the kernel still accepts, nobody answers
sub pause {
    my ($self) = @_;
    kill 'STOP', $self->{pid};
    return $self;
}

sub resume {
    my ($self) = @_;
    kill 'CONT', $self->{pid};
    return $self;
}

sub stop {
    my ($self) = @_;
    return OpsAuth::Process->stop(delete $self->{pid} // 0, 'KILL');
}

# --- what it saw --------------------------------------------------------------------

sub _events {
    my ($self) = @_;
    open my $fh, '<', $self->{log} or return;
    my @lines = <$fh>;
    pop @lines if @lines && $lines[-1] !~ /\n\z/;
    # the feed of changes is another matter, unless it is asked for
    my @all = map { $JSON->decode($_) } @lines;
    my %feed = map { $_->{connection} => 1 } grep {
        $_->{words} && join(' ', @{$_->{words}}) =~ /^CLIENT SETNAME \S+-feed$/i
    } @all;
    splice @all, 0, $self->{seen};
    return $self->{feeds} ? @all : grep { !$feed{$_->{connection}} } @all;
}

# The commands in the order in which they arrived: [{connection, time, words}].
# With names, only those: "HMGET", "CLIENT TRACKING", "HMGET opsauth:account:*".
sub commands {
    my ($self, @names) = @_;
    my @all = grep { $_->{words} } $self->_events;
    return @all unless @names;
    my $wanted = join '|', map { /^(.*)\*$/ ? quotemeta($1) . '.*' : "\Q$_\E(?: .*)?" } @names;
    return grep { join(' ', @{$_->{words}}) =~ /^(?:$wanted)$/is } @all;
}

sub count { my ($self, @names) = @_; return scalar(my @all = $self->commands(@names)) }

# the names alone: ("AUTH", "SELECT", "CLIENT", ...)
sub names { my ($self) = @_; return map { uc $_->{words}[0] } $self->commands }

# connections that were opened, and those of them that ended
sub opened { my ($self) = @_; return scalar grep { ($_->{event} // '') eq 'open' } $self->_events }
sub closed { my ($self) = @_; return scalar grep { ($_->{event} // '') eq 'close' } $self->_events }

# forget what was seen so far
sub reset {
    my ($self) = @_;
    open my $fh, '<', $self->{log} or return;
    my @lines = <$fh>;
    $self->{seen} = @lines;
    return $self;
}

# waits until n such commands have arrived
sub wait_for {
    my ($self, $name, $n, $timeout) = @_;
    return OpsAuth::Process->poll($timeout // 5, sub { $self->count($name) >= ($n // 1) });
}

1;
