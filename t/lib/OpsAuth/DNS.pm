# A name server of the test's own, for nginx' "resolver": UDP on loopback, A
# records only, and whatever else a name server may do.
#
#   my $dns = $t->dns;                      # %%DNS%% is address:port
#   $dns->answer(localhost => '127.0.0.2');
#   $dns->answer(localhost => 'silence');   # or nxdomain, servfail, empty, garbage
#
# What has no answer is nxdomain. Answers may be kept for `ttl` seconds.

package OpsAuth::DNS;

use strict;
use warnings;

use IO::Socket::INET;
use JSON::PP ();

use OpsAuth::Process;

# dir: where it keeps what it answers and what it was asked (made here); ttl (0)
sub new {
    my ($class, %o) = @_;
    my $self = bless { ttl => 0, names => {}, %o }, $class;
    mkdir $self->{dir} or die "$self->{dir}: $!";
    # the kernel's choice: the numbers of OpsAuth::Port are taken in UDP
    my $socket = IO::Socket::INET->new(Proto => 'udp', LocalAddr => '127.0.0.1', LocalPort => 0)
        or die "dns: $!";
    $self->{port} = $socket->sockport;
    $self->answer;
    $self->{pid} = OpsAuth::Process->daemon(
        name => 'dns', keep => [$socket], stderr => "$self->{dir}/stderr", code => sub { $self->_serve($socket) },
    );
    return $self;
}

sub address { "127.0.0.1:$_[0]{port}" }

# from now on: name => address, [addresses], or a word
sub answer {
    my ($self, %names) = @_;
    @{$self->{names}}{keys %names} = values %names;
    open my $out, '>', "$self->{dir}/names.new" or die $!;
    print {$out} JSON::PP->new->encode($self->{names});
    close $out or die $!;
    rename "$self->{dir}/names.new", "$self->{dir}/names" or die $!;
    return $self;
}

# names that were asked for, in order
sub asked {
    my ($self) = @_;
    open my $in, '<', "$self->{dir}/asked" or return;
    chomp(my @names = <$in>);
    return @names;
}

sub stop {
    my ($self) = @_;
    return OpsAuth::Process->stop(delete $self->{pid} // 0, 'KILL');
}

sub _serve {
    my ($self, $socket) = @_;
    open my $asked, '>>', "$self->{dir}/asked" or die $!;
    $asked->autoflush(1);
    while (1) {
        my $from = $socket->recv(my $query, 512) // next;
        my ($name, $type, $question) = _question($query) or next;
        print {$asked} "$name\n";
        open my $in, '<', "$self->{dir}/names" or die $!;
        my $answer = JSON::PP->new->decode(join '', <$in>)->{lc $name} // 'nxdomain';
        my $bytes = _reply($query, $question, $type, $answer, $self->{ttl});
        $socket->send($bytes, 0, $from) if length $bytes;
    }
}

# name, type and the whole question section
sub _question {
    my ($query) = @_;
    my ($at, @labels) = (12);
    while ($at < length $query and my $length = ord substr $query, $at, 1) {
        push @labels, substr $query, $at + 1, $length;
        $at += 1 + $length;
    }
    return if $at + 5 > length $query;
    return join('.', @labels), unpack('n', substr $query, $at + 1, 2), substr $query, 12, $at + 5 - 12;
}

sub _reply {
    my ($query, $question, $type, $answer, $ttl) = @_;
    my $id = substr $query, 0, 2;
    return '' if $answer eq 'silence';
    return $id . 'x' x 20 if $answer eq 'garbage';
    my %code = (nxdomain => 3, servfail => 2, empty => 0);
    my @addresses = exists $code{$answer} || $type != 1 ? () : ref $answer ? @$answer : $answer;
    return $id . pack('n5', 0x8180 | ($code{$answer} // 0), 1, scalar @addresses, 0, 0) . $question
        . join '', map { pack 'n n n N n a4', 0xc00c, 1, 1, $ttl, 4, pack 'C4', split /\./ } @addresses;
}

1;
