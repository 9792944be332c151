# A raw HTTP/1.x client that sends exactly what it is told and never hangs:
# whatever goes wrong comes back as a response with status 0 and `error` set.

package OpsAuth::HTTP;

use strict;
use warnings;

use Exporter qw(import);
use IO::Select;
use IO::Socket::IP;
use IO::Socket::UNIX;
use Socket qw(SOL_SOCKET SO_LINGER SHUT_WR IPPROTO_TCP TCP_NODELAY SO_RCVBUF);
use Time::HiRes qw(sleep time);

our @EXPORT_OK = qw(request parallel parallel_requests build_request parse_response);

use constant TIMEOUT => $ENV{TEST_NGINX_SLOW} || $ENV{TEST_NGINX_VALGRIND} ? 3 * 10 : 10;

# --- messages -----------------------------------------------------------------

# The bytes of a request. Options:
#   headers  [[name, value], ...] or [name, value, ...], sent verbatim, in order
#   host     the Host header's value; undef leaves it out (default "localhost")
#   key      short for Authorization: Bearer
#   body     string, sent with Content-Length
#   chunks   [string, ...], sent chunked
#   version  default "1.1"
#   close    true: with Connection: close
sub build_request {
    my ($method, $uri, %o) = @_;
    my $version = $o{version} // '1.1';
    my @lines = ("$method $uri HTTP/$version");
    my $host = exists $o{host} ? $o{host} : 'localhost';
    push @lines, "Host: $host" if defined $host;
    push @lines, 'Connection: close' if $o{close};
    push @lines, "Authorization: Bearer $o{key}" if defined $o{key};

    my @headers = @{$o{headers} // []};
    while (@headers) {
        my $item = shift @headers;
        my ($name, $value) = ref $item ? @$item : ($item, shift @headers);
        push @lines, "$name: $value";
    }

    my $body = $o{body} // '';
    if ($o{chunks}) {
        push @lines, 'Transfer-Encoding: chunked';
        $body = join '', map { sprintf "%x\r\n%s\r\n", length, $_ } @{$o{chunks}};
        $body .= "0\r\n\r\n";
    }
    elsif (defined $o{body}) {
        push @lines, 'Content-Length: ' . length $body;
    }
    return join("\r\n", @lines) . "\r\n\r\n$body";
}

# One response at the start of $$buffer, which is removed from there. Returns
# undef while it is incomplete. $eof: nothing more will come.
sub parse_response {
    my ($buffer, $method, $eof) = @_;
    while (1) {
        my $end = index $$buffer, "\r\n\r\n";
        if ($end < 0) {
            return unless $eof;
            return _failed(length $$buffer ? 'closed in the header' : 'closed without a response',
                $$buffer);
        }
        my ($status_line, @lines) = split /\r\n/, substr $$buffer, 0, $end;
        $status_line =~ m{^HTTP/(\d\.\d) (\d{3})(?: (.*))?$}
            or return _failed("not HTTP: $status_line", $$buffer);
        my ($version, $status, $reason) = ($1, $2, $3 // '');
        my @headers = map { [split /:[ \t]*/, $_, 2] } @lines;

        # 100 and 103 only announce the response that follows
        if ($status >= 100 && $status < 200 && $status != 101) {
            substr $$buffer, 0, $end + 4, '';
            next;
        }

        my $response = bless {
            status => $status + 0, reason => $reason, version => $version,
            headers => \@headers, body => '', error => '',
        }, 'OpsAuth::HTTP::Response';
        my $at = $end + 4;
        my $length = $response->header('Content-Length');

        if ($method eq 'HEAD' || $status == 204 || $status == 304 || $status == 101) {
            # no body, whatever the headers say
        }
        elsif (($response->header('Transfer-Encoding') // '') =~ /chunked/i) {
            my ($body, $after) = _dechunk($buffer, $at);
            if (!defined $after) {
                return unless $eof;
                $response->{error} = 'closed in a chunked body';
                ($body, $after) = (substr($$buffer, $at), length $$buffer);
            }
            ($response->{body}, $at) = ($body, $after);
        }
        elsif (defined $length) {
            if (length($$buffer) < $at + $length) {
                return unless $eof;
                $response->{error} = 'closed in the body';
                $length = length($$buffer) - $at;
            }
            $response->{body} = substr $$buffer, $at, $length;
            $at += $length;
        }
        else {
            return unless $eof;
            $response->{body} = substr $$buffer, $at;
            $at = length $$buffer;
        }
        $response->{raw} = substr $$buffer, 0, $at, '';
        return $response;
    }
}

sub _dechunk {
    my ($buffer, $at) = @_;
    my $body = '';
    while (1) {
        my $end = index $$buffer, "\r\n", $at;
        return if $end < 0;
        my $size = hex substr($$buffer, $at, $end - $at) =~ s/;.*//sr;
        $at = $end + 2;
        if ($size == 0) {
            # trailers up to an empty line
            while (1) {
                my $line_end = index $$buffer, "\r\n", $at;
                return if $line_end < 0;
                my $empty = $line_end == $at;
                $at = $line_end + 2;
                return ($body, $at) if $empty;
            }
        }
        return if length($$buffer) < $at + $size + 2;
        $body .= substr $$buffer, $at, $size;
        $at += $size + 2;
    }
}

sub _failed {
    my ($error, $raw) = @_;
    return bless {
        status => 0, reason => '', version => '', headers => [], body => '',
        raw => $raw // '', error => $error,
    }, 'OpsAuth::HTTP::Response';
}

# --- one request --------------------------------------------------------------

# One request on a connection of its own. Options of build_request and of
# OpsAuth::HTTP::Connection->new (host_addr, local, timeout, unix).
sub request {
    my ($port, $method, $uri, %o) = @_;
    my $c = eval { OpsAuth::HTTP::Connection->new($port, %o) }
        or return _failed("cannot connect: $@");
    return $c->request($method, $uri, close => 1, %o);
}

# --- many at once -------------------------------------------------------------

# n times the same request, all at the same time: list of n responses, in order
sub parallel {
    my ($n, $port, $method, $uri, %o) = @_;
    return parallel_requests([map { [$port, $method, $uri, %o] } 1 .. $n], %o);
}

# [[port, method, uri, options], ...]; concurrency => at most so many at once.
# Every response gets `time`, the seconds that it took.
sub parallel_requests {
    my ($list, %o) = @_;
    my $until = time + ($o{timeout} // TIMEOUT);
    my $concurrency = $o{concurrency} // 1_000;
    my @responses;
    my %open;                                   # fileno => state
    my ($readers, $writers) = (IO::Select->new, IO::Select->new);
    my $next = 0;

    my $finish = sub {
        my ($state, $response) = @_;
        $response->{time} = time - $state->{started};
        $responses[$state->{index}] = $response;
        $readers->remove($state->{socket});
        $writers->remove($state->{socket});
        delete $open{fileno $state->{socket}};
        close $state->{socket};
    };

    while ($next < @$list || %open) {
        while ($next < @$list && keys(%open) < $concurrency) {
            my $index = $next++;
            my ($port, $method, $uri, %each) = @{$list->[$index]};
            my $c = eval { OpsAuth::HTTP::Connection->new($port, %each) };
            if (!$c) {
                $responses[$index] = _failed("cannot connect: $@");
                next;
            }
            my $socket = delete $c->{socket};
            $socket->blocking(0);
            $open{fileno $socket} = {
                socket => $socket, index => $index, method => $method, in => '',
                started => time, out => build_request($method, $uri, close => 1, %each),
            };
            $readers->add($socket);
            $writers->add($socket);
        }
        my $left = $until - time;
        if ($left <= 0) {
            $finish->($_, _failed('timeout', $_->{in})) for values %open;
            $responses[$_] = _failed('timeout') for $next .. $#$list;
            last;
        }
        my ($r, $w) = IO::Select->select($readers, $writers, undef, $left);
        for my $socket (@{$w // []}) {
            my $state = $open{fileno $socket} or next;
            my $n = syswrite $socket, $state->{out};
            substr $state->{out}, 0, $n, '' if $n;
            # a write error shows on the read side, perhaps behind a response
            $writers->remove($socket) if $state->{out} eq '' || !defined $n && !$!{EAGAIN};
        }
        for my $socket (@{$r // []}) {
            my $state = $open{fileno $socket} or next;
            my $n = sysread $socket, $state->{in}, 65_536, length $state->{in};
            next if !defined $n && $!{EAGAIN};
            my $response = parse_response(\$state->{in}, $state->{method}, !$n);
            $finish->($state, $response) if $response;
        }
    }
    return @responses;
}

# --- a response ---------------------------------------------------------------

package OpsAuth::HTTP::Response;

# the first header of that name, in any case; undef if there is none
sub header {
    my ($self, $name) = @_;
    return ($self->header_all($name))[0];
}

sub header_all {
    my ($self, $name) = @_;
    return map { $_->[1] // '' } grep { lc $_->[0] eq lc $name } @{$self->{headers}};
}

sub status { $_[0]{status} }
sub body   { $_[0]{body} }
sub error  { $_[0]{error} }

sub json {
    my ($self) = @_;
    require JSON::PP;
    return eval { JSON::PP->new->latin1->decode($self->{body}) };
}

# What the echo upstream saw: the values of a request header, in any case and
# with `_` for `-` alike (as CGI and friends fold them).
sub echoed {
    my ($self, $name) = @_;
    my $json = $self->json or return;
    my $fold = sub { lc $_[0] =~ tr/_/-/r };
    return map { $_->[1] } grep { $fold->($_->[0]) eq $fold->($name) } @{$json->{headers}};
}

# --- a connection -------------------------------------------------------------

package OpsAuth::HTTP::Connection;

# host_addr  address to connect to, default 127.0.0.1 (also ::1)
# local      address to connect from (127.0.0.2, ...)
# unix       path of a unix socket, instead of the port
# rcvbuf     a small receive buffer, so that the server's writes block
# timeout    seconds for everything that waits
sub new {
    my ($class, $port, %o) = @_;
    local $SIG{PIPE} = 'IGNORE';
    my $timeout = $o{timeout} // OpsAuth::HTTP::TIMEOUT;
    my $socket;
    if ($o{unix}) {
        $socket = IO::Socket::UNIX->new(Peer => $o{unix}) or die "$o{unix}: $!\n";
    }
    else {
        $socket = IO::Socket::IP->new(
            PeerHost => $o{host_addr} // '127.0.0.1', PeerPort => $port, Type => Socket::SOCK_STREAM(),
            Timeout => $timeout,
            $o{local} ? (LocalHost => $o{local}) : (),
            $o{rcvbuf} ? (Sockopts => [[Socket::SO_RCVBUF(), pack 'i', $o{rcvbuf}]]) : (),
        ) or die "port $port: $@\n";
        # so that every partial send really leaves as a segment of its own
        setsockopt $socket, Socket::IPPROTO_TCP(), Socket::TCP_NODELAY(), 1;
    }
    return bless { socket => $socket, buffer => '', timeout => $timeout, port => $port }, $class;
}

sub socket     { $_[0]{socket} }
sub local_port { $_[0]{socket}->sockport }

# Sends bytes; false if the connection is gone.
sub send {
    my ($self, $bytes) = @_;
    local $SIG{PIPE} = 'IGNORE';
    my $until = Time::HiRes::time() + $self->{timeout};
    my $select = IO::Select->new($self->{socket});
    $self->{socket}->blocking(0);
    while (length $bytes) {
        my $n = syswrite $self->{socket}, $bytes;
        if (defined $n) {
            substr $bytes, 0, $n, '';
            next;
        }
        last unless $!{EAGAIN};
        my $left = $until - Time::HiRes::time();
        last if $left <= 0 || !$select->can_write($left);
    }
    return length $bytes == 0;
}

# Sends bytes in pieces: chunk => bytes a piece (1), delay => seconds between
sub send_slowly {
    my ($self, $bytes, %o) = @_;
    my $chunk = $o{chunk} // 1;
    while (length $bytes) {
        $self->send(substr $bytes, 0, $chunk, '') or return 0;
        Time::HiRes::sleep($o{delay} // 0.002) if length $bytes;
    }
    return 1;
}

# sends a request without waiting for the response
sub write_request {
    my ($self, $method, $uri, %o) = @_;
    push @{$self->{methods}}, $method;
    return $self->send(OpsAuth::HTTP::build_request($method, $uri, %o));
}

# the next response of those written; timeout => seconds
sub read_response {
    my ($self, %o) = @_;
    my $method = $o{method} // shift @{$self->{methods} // []} // 'GET';
    my $until = Time::HiRes::time() + ($o{timeout} // $self->{timeout});
    while (1) {
        my $response = OpsAuth::HTTP::parse_response(\$self->{buffer}, $method, $self->{eof});
        return $response if $response;
        my $left = $until - Time::HiRes::time();
        $left = 0 if $left < 0;
        return OpsAuth::HTTP::_failed('timeout', $self->{buffer}) unless $self->_fill($left);
    }
}

# reads what is there; false if nothing came in time
sub _fill {
    my ($self, $timeout) = @_;
    return 1 if $self->{eof};
    $! = 0;
    IO::Select->new($self->{socket})->can_read($timeout) or return $!{EINTR} ? 1 : 0;
    my $n = sysread $self->{socket}, $self->{buffer}, 65_536, length $self->{buffer};
    return 1 if !defined $n && ($!{EAGAIN} || $!{EINTR});
    if (!$n) {
        $self->{eof} = 1;
        $self->{reset} = 1 if !defined $n;
    }
    return 1;
}

sub request {
    my ($self, $method, $uri, %o) = @_;
    my $started = Time::HiRes::time();
    $self->write_request($method, $uri, %o);
    my $response = $self->read_response(%o);
    $response->{time} = Time::HiRes::time() - $started;
    return $response;
}

# several requests in one segment: ([method, uri, options], ...) -> responses
sub pipeline {
    my ($self, @requests) = @_;
    $self->send(join '', map { OpsAuth::HTTP::build_request(@$_) } @requests);
    return map { $self->read_response(method => $_->[0]) } @requests;
}

# raw bytes that came within the time; ends early at EOF
sub read_raw {
    my ($self, $timeout) = @_;
    my $until = Time::HiRes::time() + ($timeout // 0.5);
    while (!$self->{eof}) {
        my $left = $until - Time::HiRes::time();
        last if $left <= 0 || !$self->_fill($left);
    }
    return substr $self->{buffer}, 0, length $self->{buffer}, '';
}

# exactly n raw bytes, or fewer if they do not come in time
sub read_bytes {
    my ($self, $n, $timeout) = @_;
    my $until = Time::HiRes::time() + ($timeout // $self->{timeout});
    while (length $self->{buffer} < $n && !$self->{eof}) {
        my $left = $until - Time::HiRes::time();
        last if $left <= 0 || !$self->_fill($left);
    }
    return substr $self->{buffer}, 0, $n, '';
}

# true if the server closes within the time
sub closed_within {
    my ($self, $timeout) = @_;
    my $until = Time::HiRes::time() + $timeout;
    while (!$self->{eof}) {
        my $left = $until - Time::HiRes::time();
        return 0 if $left <= 0 || !$self->_fill($left);
    }
    return 1;
}

# orderly end (FIN)
sub close {
    my ($self) = @_;
    CORE::close delete $self->{socket} if $self->{socket};
}

# abortive end (RST)
sub reset {
    my ($self) = @_;
    my $socket = delete $self->{socket} or return;
    setsockopt $socket, Socket::SOL_SOCKET(), Socket::SO_LINGER(), pack 'ii', 1, 0;
    CORE::close $socket;
}

# we will send no more, but still read
sub half_close {
    my ($self) = @_;
    shutdown $self->{socket}, Socket::SHUT_WR();
}

1;
