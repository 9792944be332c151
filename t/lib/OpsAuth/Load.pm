# Requests without pause in the background, for what must hold under load: a
# reload, a killed worker, a Redis that comes and goes.

package OpsAuth::Load;

use strict;
use warnings;

use JSON::PP ();
use POSIX ();
use Time::HiRes qw(sleep);

use OpsAuth::HTTP;
use OpsAuth::Process;

# port, uri (/), method (GET), key and further request options
# clients    so many processes, one request at a time each (2)
# keepalive  requests on one connection before it is closed (100; 1 = none)
# pause      seconds between two requests (0)
sub new {
    my ($class, %o) = @_;
    my $self = bless { clients => 2, keepalive => 100, uri => '/', method => 'GET', %o }, $class;
    mkdir $self->{dir} or die "$self->{dir}: $!";
    for my $i (1 .. $self->{clients}) {
        push @{$self->{pids}}, OpsAuth::Process->daemon(
            name => 'load', stderr => "$self->{dir}/stderr", code => sub { $self->_run($i) },
        );
    }
    return $self;
}

# Ends the load: {requests, status => {200 => n, 0 => n}, errors => {text => n},
# retried, slowest}. Status 0 is a request without an answer.
sub stop {
    my ($self) = @_;
    return $self->{result} if $self->{result};
    my %sum = (requests => 0, retried => 0, slowest => 0, status => {}, errors => {});
    my @pids = @{delete $self->{pids} // []};
    kill 'TERM', @pids;
    for my $i (1 .. @pids) {
        OpsAuth::Process->wait_for($pids[$i - 1], 15)
            // OpsAuth::Process->stop($pids[$i - 1], 'KILL');
        open my $fh, '<', "$self->{dir}/$i" or do {
            $sum{errors}{'a client of the load died'}++;
            next;
        };
        local $/;
        my $part = JSON::PP->new->latin1->decode(<$fh>);
        $sum{$_} += $part->{$_} for qw(requests retried);
        $sum{slowest} = $part->{slowest} if $part->{slowest} > $sum{slowest};
        for my $table (qw(status errors)) {
            $sum{$table}{$_} += $part->{$table}{$_} for keys %{$part->{$table}};
        }
    }
    return $self->{result} = \%sum;
}

sub _run {
    my ($self, $i) = @_;
    my %sum = (requests => 0, retried => 0, slowest => 0, status => {}, errors => {});
    my $stop = 0;
    $SIG{TERM} = sub { $stop = 1 };
    my ($connection, $left);
    while (!$stop) {
        my $reused = $connection ? 1 : 0;
        if (!$connection) {
            $connection = eval { OpsAuth::HTTP::Connection->new($self->{port}, %$self) };
            $left = $self->{keepalive};
        }
        my $response = $connection
            ? $connection->request($self->{method}, $self->{uri}, %$self, close => $left <= 1)
            : OpsAuth::HTTP::_failed("cannot connect: $@");
        # A server may close an idle connection at any time. A request that met
        # such an end and no byte of an answer is sent again, as browsers do.
        if ($reused && $response->{status} == 0 && $connection->{eof} && $response->{raw} eq '') {
            $sum{retried}++;
            undef $connection;
            next;
        }
        $sum{requests}++;
        $sum{status}{$response->{status}}++;
        $sum{errors}{$response->{error}}++ if $response->{error};
        $sum{slowest} = $response->{time} if ($response->{time} // 0) > $sum{slowest};
        undef $connection
            if --$left <= 0 || $response->{error}
            || ($response->header('Connection') // '') =~ /close/i;
        sleep $self->{pause} if $self->{pause};
    }
    open my $fh, '>', "$self->{dir}/$i.new" or die $!;
    print {$fh} JSON::PP->new->latin1->encode(\%sum);
    close $fh or die $!;
    rename "$self->{dir}/$i.new", "$self->{dir}/$i" or die $!;
}

1;
