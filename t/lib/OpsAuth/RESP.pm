# RESP2: encoding, decoding and a small blocking client. Error replies are
# objects of OpsAuth::RESP::Error, nil is undef, statuses are plain strings.

package OpsAuth::RESP;

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use Time::HiRes qw(time);

# a command as clients send it
sub command {
    my (@words) = @_;
    my $out = '*' . @words . "\r\n";
    for my $word (@words) {
        my $bytes = $word;
        utf8::encode($bytes) if utf8::is_utf8($bytes);
        $out .= '$' . length($bytes) . "\r\n$bytes\r\n";
    }
    return $out;
}

# a reply as servers send it: undef nil, array ref, scalar ref = integer,
# {error => text}, {status => text}, else a bulk string
sub reply {
    my ($value) = @_;
    return "\$-1\r\n" unless defined $value;
    if (ref $value eq 'ARRAY') {
        return '*' . @$value . "\r\n" . join '', map { reply($_) } @$value;
    }
    return ":$$value\r\n" if ref $value eq 'SCALAR';
    if (ref $value eq 'HASH') {
        return "-$value->{error}\r\n"  if exists $value->{error};
        return "+$value->{status}\r\n" if exists $value->{status};
        return ":$value->{integer}\r\n";
    }
    return '$' . length($value) . "\r\n$value\r\n";
}

# Decodes one value at the start of $$buffer and removes it from there. Returns
# a one-element list, or an empty one while the value is incomplete.
sub decode {
    my ($buffer) = @_;
    my $at = 0;
    my @value = _decode($buffer, \$at) or return;
    substr($$buffer, 0, $at, '');
    return @value;
}

sub _decode {
    my ($buffer, $at) = @_;
    my $end = index $$buffer, "\r\n", $$at;
    return if $end < 0;
    my $type = substr $$buffer, $$at, 1;
    my $line = substr $$buffer, $$at + 1, $end - $$at - 1;
    $$at = $end + 2;

    return $line                             if $type eq '+' || $type eq ':';
    return OpsAuth::RESP::Error->new($line)  if $type eq '-';
    if ($type eq '$') {
        return undef if $line < 0;           # nil: a list of one element
        return if length($$buffer) < $$at + $line + 2;
        my $bytes = substr $$buffer, $$at, $line;
        $$at += $line + 2;
        return $bytes;
    }
    if ($type eq '*') {
        return undef if $line < 0;
        my @elements;
        for (1 .. $line) {
            my @element = _decode($buffer, $at) or return;
            push @elements, $element[0];
        }
        return \@elements;
    }
    die "not RESP: '$type$line'\n";
}

# --- client -------------------------------------------------------------------

# connect => "host:port" or a unix socket's path; user, password, timeout
sub new {
    my ($class, %o) = @_;
    return bless { timeout => 5, %o }, $class;
}

sub _connect {
    my ($self) = @_;
    # a socket that was inherited by fork belongs to the parent
    return $self->{socket} if $self->{socket} && $self->{pid} == $$;
    my $to = $self->{connect};
    my $socket = $to =~ m{^/}
        ? IO::Socket::UNIX->new(Peer => $to)
        : IO::Socket::INET->new(PeerAddr => $to, Timeout => $self->{timeout});
    die "redis $to: $!\n" unless $socket;
    $socket->autoflush(1);
    @$self{qw(socket pid buffer)} = ($socket, $$, '');
    if (defined $self->{password}) {
        my @user = defined $self->{user} ? $self->{user} : ();
        my $reply = $self->try('AUTH', @user, $self->{password});
        die "redis $to: AUTH: $reply\n" if ref $reply;
    }
    return $socket;
}

sub disconnect {
    my ($self) = @_;
    delete @$self{qw(socket buffer)};
}

# one command; an error reply comes back as an object
sub try {
    my ($self, @words) = @_;
    my $socket = $self->_connect;
    my $sent = eval { local $SIG{PIPE} = 'IGNORE'; print {$socket} command(@words) };
    return $self->read_reply if $sent;
    $self->disconnect;
    die "redis $self->{connect}: connection lost\n";
}

# one command; dies of an error reply
sub cmd {
    my ($self, @words) = @_;
    my $reply = $self->try(@words);
    die "redis: $words[0]: $reply->{text}\n" if ref $reply eq 'OpsAuth::RESP::Error';
    return $reply;
}

sub read_reply {
    my ($self, $timeout) = @_;
    my $until = time + ($timeout // $self->{timeout});
    my $select = IO::Select->new($self->{socket});
    while (1) {
        my @value = decode(\$self->{buffer});
        return $value[0] if @value;
        my $left = $until - time;
        if ($left <= 0 || !$select->can_read($left)) {
            $self->disconnect;
            die "redis $self->{connect}: no reply\n";
        }
        my $n = sysread $self->{socket}, $self->{buffer}, 65_536, length $self->{buffer};
        if (!$n) {
            $self->disconnect;
            die "redis $self->{connect}: connection closed\n";
        }
    }
}

package OpsAuth::RESP::Error;

use overload '""' => sub { $_[0]{text} }, fallback => 1;

sub new { my ($class, $text) = @_; return bless { text => $text }, $class }

1;
