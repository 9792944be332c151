# The backend behind the gateway: a select loop that answers 200 with what it
# saw, as JSON: {method, uri, version, headers: [[name, value], ...], body}.
# Headers are verbatim: order, case, duplicates.
#
# Query arguments change the answer: status=404, delay=MS, size=BYTES (a plain
# body of that many bytes), chunked=1, close=1. Upgrade requests get a 101 and
# then an echo of every byte.

package OpsAuth::Upstream;

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use Time::HiRes qw(time);

use OpsAuth::Port;
use OpsAuth::Process;

my $script;                     # in the daemon: answer

# dir     where it keeps its log (made here)
# answer  code that is called in the daemon with each request, and returns
#         ({ bytes, at => time to send them (0), close }, ...) in its place
sub new {
    my ($class, %o) = @_;
    my $self = bless { %o }, $class;
    mkdir $self->{dir} or die "$self->{dir}: $!";
    $self->{port} //= OpsAuth::Port->take;
    $self->{log} = "$self->{dir}/requests";
    return $self->start;
}

sub start {
    my ($self) = @_;
    # listening before the fork: nobody has to wait for the daemon
    my $listen = IO::Socket::INET->new(
        LocalAddr => '127.0.0.1', LocalPort => $self->{port}, Listen => 1024, ReuseAddr => 1,
    ) or die "upstream: port $self->{port}: $!";
    open my $log, '>>', $self->{log} or die "$self->{log}: $!";
    $self->{pid} = OpsAuth::Process->daemon(
        name => 'upstream', keep => [$listen, $log], stderr => "$self->{dir}/stderr",
        code => sub { $script = $self->{answer}; _loop($listen, $log) },
    );
    return $self;
}

sub stop {
    my ($self) = @_;
    return OpsAuth::Process->stop(delete $self->{pid} // 0, 'KILL');
}

sub port    { $_[0]{port} }
sub address { "127.0.0.1:$_[0]{port}" }

# the requests that arrived: [{method, uri, headers, connection}, ...]
sub requests {
    my ($self) = @_;
    open my $fh, '<', $self->{log} or return;
    my @lines = <$fh>;
    splice @lines, 0, $self->{seen} // 0;
    return map { JSON::PP->new->latin1->decode($_) } @lines;
}

sub count { my ($self) = @_; return scalar(my @all = $self->requests) }

# forget what was counted so far
sub reset {
    my ($self) = @_;
    open my $fh, '<', $self->{log} or return;
    my @lines = <$fh>;
    $self->{seen} = @lines;
}

# --- in the daemon --------------------------------------------------------------

my $JSON = JSON::PP->new->canonical->latin1;
my %connections;                # fileno => {socket, in, out, queue, ...}
my ($readers, $writers, $number, $log);

sub _loop {
    my ($listen, $log_handle) = @_;
    $log = $log_handle;
    $number = 0;
    ($readers, $writers) = (IO::Select->new($listen), IO::Select->new);
    $listen->blocking(0);

    while (1) {
        my $now = time;
        my $wait;
        for my $c (values %connections) {
            my $due = _due($c, $now);
            $wait = $due if defined $due && (!defined $wait || $due < $wait);
        }
        my ($r, $w) = IO::Select->select($readers, $writers, undef, $wait);
        for my $socket (@{$r // []}) {
            if ($socket == $listen) {
                while (my $new = $listen->accept) {
                    $new->blocking(0);
                    $connections{fileno $new} =
                        { socket => $new, in => '', out => '', queue => [], number => ++$number };
                    $readers->add($new);
                }
                next;
            }
            my $c = $connections{fileno $socket} or next;
            my $n = sysread $socket, $c->{in}, 65_536, length $c->{in};
            next if !defined $n && $!{EAGAIN};
            if (!$n) {
                _close($c);
                next;
            }
            _input($c);
        }
        _output($connections{fileno $_} // next) for @{$w // []};
    }
}

sub _close {
    my ($c) = @_;
    $readers->remove($c->{socket});
    $writers->remove($c->{socket});
    delete $connections{fileno $c->{socket}};
    close $c->{socket};
}

# Sends the answers whose time has come, in order. Returns the seconds until the
# next one.
sub _due {
    my ($c, $now) = @_;
    while (my $next = $c->{queue}[0]) {
        return $next->{at} - $now if $next->{at} > $now;
        shift @{$c->{queue}};
        $c->{out} .= $next->{bytes};
        $c->{closing} ||= $next->{close};
        _output($c);
        return unless $connections{fileno($c->{socket}) // -1};
    }
    return;
}

sub _output {
    my ($c) = @_;
    while (length $c->{out}) {
        my $n = syswrite $c->{socket}, $c->{out};
        if (!defined $n) {
            return $writers->add($c->{socket}) if $!{EAGAIN};
            return _close($c);
        }
        substr $c->{out}, 0, $n, '';
    }
    $writers->remove($c->{socket});
    _close($c) if $c->{closing};
}

sub _input {
    my ($c) = @_;
    if ($c->{upgraded}) {
        $c->{out} .= delete $c->{in};
        $c->{in} = '';
        return _output($c);
    }
    while (my $request = _parse($c)) {
        syswrite $log, $JSON->encode({ %$request, connection => $c->{number} }) . "\n";
        push @{$c->{queue}}, $script ? $script->($request) : _answer($c, $request);
        _due($c, time);
        return if $c->{upgraded} || !$connections{fileno($c->{socket}) // -1};
    }
}

# one request from the connection's input, undef while it is incomplete
sub _parse {
    my ($c) = @_;
    my $end = index $c->{in}, "\r\n\r\n";
    return if $end < 0;
    my ($line, @lines) = split /\r\n/, substr $c->{in}, 0, $end;
    my ($method, $uri, $version) = split / /, $line // '';
    my @headers = map { [split /:[ \t]*/, $_, 2] } @lines;
    my %first;
    $first{lc $_->[0]} //= $_->[1] for @headers;

    my ($at, $body) = ($end + 4, '');
    if (($first{'transfer-encoding'} // '') =~ /chunked/i) {
        require OpsAuth::HTTP;
        ($body, $at) = OpsAuth::HTTP::_dechunk(\$c->{in}, $at);
        return unless defined $at;
    }
    elsif (my $length = $first{'content-length'}) {
        return if length $c->{in} < $at + $length;
        $body = substr $c->{in}, $at, $length;
        $at += $length;
    }
    substr $c->{in}, 0, $at, '';
    return { method => $method, uri => $uri, version => $version,
             headers => \@headers, body => $body };
}

sub _answer {
    my ($c, $request) = @_;
    my %first;
    $first{lc $_->[0]} //= $_->[1] for @{$request->{headers}};
    my ($query) = ($request->{uri} // '') =~ /\?(.*)/;
    my %args = map { /^([^=]*)=(.*)$/ } split /&/, $query // '';

    if ($first{upgrade} && ($first{connection} // '') =~ /upgrade/i) {
        $c->{upgraded} = 1;
        return { at => 0, bytes => "HTTP/1.1 101 Switching Protocols\r\n"
            . "Upgrade: $first{upgrade}\r\nConnection: Upgrade\r\n\r\n" };
    }

    my $body = $args{size} ? 'x' x $args{size} : $JSON->encode($request);
    my $type = $args{size} ? 'text/plain' : 'application/json';
    my $close = $args{close} || ($first{connection} // '') =~ /close/i
        || $request->{version} eq 'HTTP/1.0' && ($first{connection} // '') !~ /keep-alive/i;
    my $status = $args{status} // 200;
    my @head = ("HTTP/1.1 $status " . ($status == 200 ? 'OK' : 'Status'),
        "Content-Type: $type", "X-Upstream-Connection: $c->{number}",
        'Connection: ' . ($close ? 'close' : 'keep-alive'));
    if ($args{chunked}) {
        push @head, 'Transfer-Encoding: chunked';
        $body = sprintf "%x\r\n%s\r\n0\r\n\r\n", length $body, $body;
    }
    elsif ($status != 204 && $status != 304) {
        push @head, 'Content-Length: ' . length $body;
    }
    $body = '' if $request->{method} eq 'HEAD' || $status == 204 || $status == 304;
    return {
        at    => $args{delay} ? time + $args{delay} / 1000 : 0,
        bytes => join("\r\n", @head) . "\r\n\r\n$body",
        close => $close,
    };
}

1;
