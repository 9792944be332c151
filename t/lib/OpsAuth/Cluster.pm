# A real Redis Cluster of the test's own, on loopback: primaries with a third of
# the slots each, and replicas. Nodes are told apart by ports.

package OpsAuth::Cluster;

use strict;
use warnings;

use parent 'OpsAuth::Group';

use OpsAuth::Process;
use OpsAuth::Redis;

use constant SLOTS => 16384;

# test      the OpsAuth::Test
# primaries how many (3)
# replicas  how many of the first primary (0)
# timeout   cluster-node-timeout, ms (5000)
# args      further words for all nodes
# server    options of OpsAuth::Redis for all nodes, or a function of a node's
#           number, from 1 on
# slots     0: nobody gets any
# names     what nodes announce as their host name, a function likewise
# endpoint  cluster-preferred-endpoint-type (hostname if there are names)
sub new {
    my ($class, %o) = @_;
    my $self = bless { primaries => 3, replicas => 0, timeout => 5000, slots => 1, %o }, $class;
    $self->{endpoint} //= 'hostname' if $self->{names};
    my $n = $self->{primaries} + $self->{replicas};
    $self->{nodes} = [map { $self->_node($_) } 1 .. $n];

    my @nodes = @{$self->{nodes}};
    $_->{cluster_id} = $_->cmd('CLUSTER', 'MYID') for @nodes;
    my $epoch = 0;
    $_->cmd('CLUSTER', 'SET-CONFIG-EPOCH', ++$epoch) for @nodes;
    for my $node (@nodes[1 .. $#nodes]) {
        $node->cmd('CLUSTER', 'MEET', $nodes[0]{host}, $nodes[0]->port, $nodes[0]{cluster_port});
    }
    for my $i ($self->{slots} ? 0 .. $self->{primaries} - 1 : ()) {
        my ($first, $last) = $self->range($i + 1);
        $nodes[$i]->cmd('CLUSTER', $nodes[$i]->version >= 7 ? ('ADDSLOTSRANGE', $first, $last)
            : ('ADDSLOTS', $first .. $last));
    }
    $self->wait(sub { $_[0]->cmd('CLUSTER', 'INFO') =~ /cluster_known_nodes:\Q$n\E\b/ })
        or die "the nodes do not find each other\n";
    for my $replica (@nodes[$self->{primaries} .. $#nodes]) {
        OpsAuth::Process->poll(20, sub { !ref $replica->try('CLUSTER', 'REPLICATE', $nodes[0]{cluster_id}) })
            or die "no replica\n";
    }
    $self->wait(sub { $_[0]->cmd('CLUSTER', 'INFO') =~ /cluster_state:ok/ && $_[0]->cmd('CLUSTER', 'SLOTS')->@* >= $self->{primaries} })
        or die "the cluster does not serve\n" if $self->{slots};
    $self->wait(sub { ($_[0]->info('master_link_status') // 'up') eq 'up' }) or die "the replicas do not follow\n";
    $self->synced;
    $self->_named if $self->{names} && $self->{endpoint} eq 'hostname';
    return $self;
}

sub _node {
    my ($self, $i) = @_;
    my $server = $self->{server} // {};
    $server = $server->($i) if ref $server eq 'CODE';
    my @args = ('--cluster-node-timeout', $self->{timeout}, '--repl-diskless-sync-delay', 0,
        '--cluster-allow-replica-migration', 'no', @{$self->{args} // []});
    push @args, '--cluster-announce-hostname', $self->{names}->($i) if $self->{names};
    push @args, '--cluster-preferred-endpoint-type', $self->{endpoint} if $self->{endpoint};
    # on loopback others would take it to be at the address of their own
    push @args, '--cluster-announce-ip', $server->{host} if $server->{host};
    return $self->{test}->redis(name => "NODE$i", cluster => 1, %$server, args => \@args);
}

# all know the names of all: they get around by and by
sub _named {
    my ($self) = @_;
    my %name = map { $self->node($_)->port => $self->{names}->($_) } 1 .. $self->nodes;
    $self->wait(sub {
        my ($asked) = @_;
        for my $range (@{$asked->cmd('CLUSTER', 'SLOTS')}) {
            for my $node (@{$range}[2 .. $#$range]) { return 0 if $node->[0] ne $name{$node->[1]} }
        }
        return 1;
    }) or die "the nodes' names do not get around\n";
}

# of OpsAuth::Group
sub over_tls {
    my ($class, $pki) = @_;
    my $own = $pki->issue('redis', ip => ['127.0.0.1']);
    return (args => ['--tls-cluster', 'yes'], server => { tls => { %$own, ca => $pki->ca } });
}
sub writable { $_[0] }

# first and last of the slots that the i-th primary begins with
sub range {
    my ($self, $i) = @_;
    my $n = $self->{primaries};
    return (int(SLOTS * ($i - 1) / $n), int(SLOTS * $i / $n) - 1);
}

# until it is so on each node that runs
sub wait {
    my ($self, $true, $seconds) = @_;
    return OpsAuth::Process->poll($seconds // 30, sub {
        for my $node (grep { $_->running && !$_->{paused} } @{$self->{nodes}}) {
            return 0 unless eval { $true->($node) };
        }
        return 1;
    });
}

# the first primary's replicas have what it has
sub synced {
    my ($self) = @_;
    return if !$self->{replicas};
    OpsAuth::Process->poll(20, sub {
        ($self->{nodes}[0]->info('connected_slaves') // 0) >= $self->{replicas}
            && $self->{nodes}[0]->cmd('WAIT', $self->{replicas}, 1000) >= $self->{replicas}
    }) or die "the replicas do not follow\n";
}

sub nodes { @{$_[0]{nodes}} }
sub node  { my ($self, $i) = @_; return $self->{nodes}[$i - 1] }

# the host decides where several have the port
sub by_port {
    my ($self, $port, $host) = @_;
    my @nodes = grep { $_->port == $port } $self->nodes;
    my ($node) = grep { $_->{host} eq ($host // '') } @nodes;
    return $node // $nodes[0];
}

sub slot {
    my ($key) = @_;
    $key = $1 if $key =~ /^[^{]*\{([^}]+)\}/;
    my $crc = 0;
    for my $byte (unpack 'C*', $key) {
        $crc ^= $byte << 8;
        $crc = $crc & 0x8000 ? ($crc << 1 ^ 0x1021) & 0xffff : $crc << 1 for 1 .. 8;
    }
    return $crc % SLOTS;
}

# of a key of the gateway
sub slot_of {
    my ($store, $key) = @_;
    return slot($store->name('credential', $store->digest($key)));
}

# those of the keys that are the node's
sub of_node {
    my ($self, $store, $node, @keys) = @_;
    return grep { $self->owner(slot_of($store, $_)) == $node } @keys;
}

# a primary that has not got the slot
sub other {
    my ($self, $slot) = @_;
    my $owner = $self->owner($slot);
    my ($other) = grep { $_ != $owner } @{$self->{nodes}}[0 .. $self->{primaries} - 1];
    return $other;
}

# whose a slot is by now, as the others have it
sub owner {
    my ($self, $slot) = @_;
    for my $asked (grep { $_->running && !$_->{paused} } $self->nodes) {
        my $ranges = eval { $asked->cmd('CLUSTER', 'SLOTS') } or next;
        for my $r (@$ranges) {
            return $self->by_port(@{$r->[2]}[1, 0]) if $r->[0] <= $slot && $slot <= $r->[1];
        }
    }
    return;
}

# one command for one key, wherever it is; dies of an error reply
sub cmd {
    my ($self, @words) = @_;
    my ($node, $asking, $last);
    $node = $self->{seen}{slot($words[1] // '')} // $self->node(1);
    $node = (grep { $_->running && !$_->{paused} } $self->nodes)[0] unless $node->running && !$node->{paused};
    for (1 .. 100) {
        $node->cmd('ASKING') if $asking;
        my $reply = $node->try(@words);
        if (ref $reply ne 'OpsAuth::RESP::Error') {
            $self->{seen}{slot($words[1] // '')} = $node unless $asking;
            return $reply;
        }
        $last = $reply->{text};
        if ($last =~ /^(MOVED|ASK) \d+ (\S*):(\d+)$/) {
            ($node, $asking) = ($self->by_port($3, $2), $1 eq 'ASK');
        }
        elsif ($last =~ /^(?:TRYAGAIN|CLUSTERDOWN|LOADING)/) { select undef, undef, undef, 0.05 }
        else                                                 { last }
    }
    die "redis: $words[0]: $last\n";
}

# the first steps of a move: the slot is in both, its keys in the first one
sub begin_move {
    my ($self, $slot, $to) = @_;
    my $from;
    # who was asked whose it is may not have heard yet
    OpsAuth::Process->poll(10, sub {
        $from = $self->owner($slot);
        $to->cmd('CLUSTER', 'SETSLOT', $slot, 'IMPORTING', $from->{cluster_id});
        return !ref $from->try('CLUSTER', 'SETSLOT', $slot, 'MIGRATING', $to->{cluster_id});
    }) or die "nobody gives slot $slot away\n";
    return $from;
}

# Moves a slot with its keys, as redis-cli --cluster reshard does; between each
# two steps $step is called.
sub move {
    my ($self, $slot, $to, $step) = @_;
    $step //= sub { };
    return if $self->owner($slot) == $to;
    my $from = $self->begin_move($slot, $to);
    $step->();
    while (my @keys = @{$from->cmd('CLUSTER', 'GETKEYSINSLOT', $slot, 10)}) {
        for my $key (@keys) {
            $from->cmd('MIGRATE', $to->{host}, $to->port, $key, 0, 5000);
            $step->();
        }
    }
    # the new owner first: otherwise nobody has it for a moment
    for my $node ($to, $from, grep { $_ != $to && $_ != $from } $self->nodes) {
        next unless $node->running && !$node->{paused} && $node->cmd('ROLE')->[0] eq 'master';
        $node->cmd('CLUSTER', 'SETSLOT', $slot, 'NODE', $to->{cluster_id});
        $step->();
    }
    delete $self->{seen}{$slot};
}

# as the `redis` directive writes it, with these nodes; all by default
sub url {
    my ($self, @nodes) = @_;
    @nodes = $self->nodes unless @nodes;
    return 'rediss+cluster://' . join ',', map { "$_->{host}:" . $_->tls_port } @nodes if $nodes[0]{tls};
    return 'redis+cluster://' . join ',', map { $_->address } @nodes;
}

1;
