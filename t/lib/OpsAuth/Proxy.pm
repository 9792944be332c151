# A TCP proxy in front of a server, which sees what goes over the wire and may
# hinder it: n bytes at a time (chop), nothing at all (silent).

package OpsAuth::Proxy;

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(sleep);

use OpsAuth::Port;
use OpsAuth::Process;

# dir     where it keeps its records (made here)
# to      "address:port"
# chop    bytes of a segment from the server, a millisecond between them
# silent  true: it accepts, and nothing more ever happens
sub new {
    my ($class, %o) = @_;
    my $self = bless { %o }, $class;
    mkdir $self->{dir} or die "$self->{dir}: $!";
    $self->{port} //= OpsAuth::Port->take;
    my $listen = IO::Socket::INET->new(
        LocalAddr => '127.0.0.1', LocalPort => $self->{port}, Listen => 256, ReuseAddr => 1,
    ) or die "proxy: port $self->{port}: $!";
    $self->{pid} = OpsAuth::Process->daemon(
        name => 'proxy', keep => [$listen], stderr => "$self->{dir}/stderr",
        code => sub { $self->_loop($listen) },
    );
    return $self;
}

sub address { "127.0.0.1:$_[0]{port}" }
sub port    { $_[0]{port} }

sub stop {
    my ($self) = @_;
    return OpsAuth::Process->stop(delete $self->{pid} // 0, 'KILL');
}

# what the server sent first (up to 4096 bytes), connection by connection
sub heard {
    my ($self) = @_;
    my @heard;
    for my $n (1 .. 1e4) {
        open my $fh, '<:raw', "$self->{dir}/$n" or last;
        local $/;
        push @heard, scalar(<$fh>) // '';
    }
    return @heard;
}

# How many TLS connections began with these first bytes of the server's: (full
# handshakes, resumed ones). A ServerHello that takes up a session has the
# pre_shared_key extension (TLS 1.3), or no Certificate behind it (1.2).
sub handshakes {
    my ($self) = @_;
    my ($full, $resumed) = (0, 0);
    for my $bytes ($self->heard) {
        my ($type, $length) = unpack 'C x2 n', $bytes;
        next unless defined $length && $type == 22 && length $bytes >= 5 + $length;
        my $record = substr $bytes, 5, $length;
        my $hello = substr $record, 4, unpack 'N', "\0" . substr $record, 1, 3;
        my $at = 34 + 1 + ord substr $hello, 34, 1;     # version, random, session
        $at += 3 + 2;                                   # cipher, compression, length
        my %extension;
        while ($at + 4 <= length $hello) {
            my ($id, $size) = unpack 'n n', substr $hello, $at, 4;
            $extension{$id} = 1;
            $at += 4 + $size;
        }
        my $tls13 = $extension{43};
        my $rest = substr($record, 4 + length $hello) . substr $bytes, 5 + $length;
        # 1.2: the next message is a Certificate, in this record or the next one
        my $certificate = $rest =~ /^(?:\x16\x03.{3})?\x0b/s;
        if ($tls13 ? $extension{41} : !$certificate) { $resumed++ } else { $full++ }
    }
    return ($full, $resumed);
}

sub _loop {
    my ($self, $listen) = @_;
    my $select = IO::Select->new($listen);
    my (%peer, %server, $n);
    while (1) {
        for my $handle ($select->can_read) {
            if ($handle == $listen) {
                my $client = $listen->accept or next;
                $client->setsockopt(6, 1, 1);
                if ($self->{silent}) {
                    $peer{$client} = $client;           # kept, never read
                    next;
                }
                my $server = IO::Socket::INET->new(PeerAddr => $self->{to}, Timeout => 5);
                if (!$server) {
                    close $client;
                    next;
                }
                $server->setsockopt(6, 1, 1);
                my $file = $self->{dir} . '/' . ++$n;
                open my $log, '>:raw', $file or die "$file: $!";
                $log->autoflush(1);
                @peer{$client, $server} = ($server, $client);
                $server{$server} = { log => $log, left => 4096 };
                $select->add($client, $server);
                next;
            }
            my $other = $peer{$handle} or next;
            my $state = $server{$handle};
            my $size = $state && $self->{chop} ? $self->{chop} : 65_536;
            my $bytes = '';
            if (!sysread $handle, $bytes, $size) {
                $select->remove($handle, $other);
                delete @peer{$handle, $other};
                delete @server{$handle, $other};
                close $_ for $handle, $other;
                next;
            }
            if ($state && $state->{left} > 0) {
                print { $state->{log} } substr $bytes, 0, $state->{left};
                $state->{left} -= length $bytes;
            }
            for (my $at = 0; $at < length $bytes; ) {
                my $sent = syswrite $other, $bytes, length($bytes) - $at, $at or last;
                $at += $sent;
            }
            sleep 0.001 if $state && $self->{chop};
        }
    }
}

1;
