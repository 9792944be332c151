# Free TCP ports, safe among tests that run side by side: whoever takes a port
# holds the UDP port of the same number as a lock until the test ends.

package OpsAuth::Port;

use strict;
use warnings;

use IO::Socket::INET;

# Below the ephemeral range of Linux (32768 and up), so that no outgoing
# connection can sit on a port between reserving it and listening on it.
use constant { FIRST => 12_000, LAST => 32_000 };

my @locks;

sub take {
    my ($class) = @_;
    for (1 .. 2_000) {
        my $port = FIRST + int rand(LAST - FIRST);
        my $lock = IO::Socket::INET->new(
            Proto => 'udp', LocalAddr => '127.0.0.1', LocalPort => $port,
        ) or next;
        # ReuseAddr as servers do: a connection in TIME_WAIT is no obstacle
        my $try = IO::Socket::INET->new(
            Proto => 'tcp', LocalAddr => '0.0.0.0', LocalPort => $port,
            Listen => 1, ReuseAddr => 1,
        ) or next;
        close $try;
        push @locks, $lock;
        return $port;
    }
    die "no free port found";
}

1;
