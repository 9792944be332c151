# A real Sentinel group of the test's own: a primary, replicas and sentinels, on
# loopback. Addresses are told apart by ports.

package OpsAuth::Sentinel;

use strict;
use warnings;

use parent 'OpsAuth::Group';

use OpsAuth::Process;
use OpsAuth::Redis;

# test      the OpsAuth::Test
# name      of the primary, "mymaster"
# replicas  how many (2)
# sentinels how many (3)
# down      down-after-milliseconds (500)
# args      further words for the data servers
# server    options of OpsAuth::Redis for the data servers
# sentinel  the same for the sentinels; conf: further lines of their files
# host      what all call the servers, where not 127.0.0.1
# tls       of OpsAuth::Redis: servers and sentinels talk TLS, also to each other
sub new {
    my ($class, %o) = @_;
    my $self = bless { name => 'mymaster', replicas => 2, sentinels => 3, down => 500, %o }, $class;
    my $t = $self->{test};
    my $tls = $self->{tls};
    my %server = (%{$self->{server} // {}}, $tls ? (tls => $tls) : ());
    my $host = $self->{host} // '127.0.0.1';
    my @args = (@{$self->{args} // []}, $tls ? ('--tls-replication', 'yes') : (),
        defined $self->{host} ? ('--replica-announce-ip', $host) : ());
    my $primary = $t->redis(name => 'PRIMARY', %server,
        args => ['--repl-diskless-sync-delay', 0, @args]);
    $self->{servers} = [$primary, map {
        $t->redis(name => "REPLICA$_", %server, args => ['--repl-diskless-sync-delay', 0,
            '--replicaof', $host, $self->port_of($primary), @args])
    } 1 .. $self->{replicas}];

    my $synced = OpsAuth::Process->poll(20, sub {
        return $primary->cmd('INFO', 'replication') =~ /connected_slaves:(\d+)/
            && $1 == $self->{replicas}
            && !grep { ($_->info('master_link_status') // '') ne 'up' } @{$self->{servers}}[1 .. $self->{replicas}];
    });
    die "the replicas do not follow\n" unless $synced;

    my ($user, $password) = @{$self}{qw(auth_user auth_password)};
    my $quorum = int($self->{sentinels} / 2) + 1;
    for my $i (1 .. $self->{sentinels}) {
        my $dir = $t->dir . "/sentinel-conf-$self->{name}-$i";
        mkdir $dir or die "$dir: $!";
        open my $fh, '>', "$dir/sentinel.conf" or die $!;
        print {$fh} defined $self->{host} ? "sentinel resolve-hostnames yes\nsentinel announce-hostnames yes\n" : '',
            $tls ? "tls-replication yes\n" : '',
            "sentinel monitor $self->{name} $host ", $self->port_of($primary), " $quorum\n",
            "sentinel down-after-milliseconds $self->{name} $self->{down}\n",
            "sentinel failover-timeout $self->{name} 5000\n",
            defined $user ? "sentinel auth-user $self->{name} $user\n" : '',
            defined $password ? "sentinel auth-pass $self->{name} $password\n" : '',
            map { "$_\n" } @{$self->{conf} // []};
        close $fh;
        push @{$self->{group}}, $t->redis(name => "SENTINEL$i", %{$self->{sentinel} // {}}, $tls ? (tls => $tls) : (),
            sentinel => "$dir/sentinel.conf");
    }
    my $ready = OpsAuth::Process->poll(20, sub {
        for my $s (@{$self->{group}}) {
            my %m = $self->ask($s);
            return 0 unless ($m{'num-slaves'} // 0) == $self->{replicas}
                && ($m{'num-other-sentinels'} // 0) == $self->{sentinels} - 1;
        }
        return 1;
    });
    die "the sentinels do not find each other\n" unless $ready;
    return $self;
}

# what one sentinel knows of the primary
sub ask {
    my ($self, $sentinel) = @_;
    my $r = $sentinel->cmd('SENTINEL', 'MASTER', $self->{name});
    return @$r;
}

# where it is reached
sub port_of { my ($self, $redis) = @_; return $self->{tls} ? $redis->tls_port : $redis->port }

# of OpsAuth::Group
sub over_tls {
    my ($class, $pki) = @_;
    return (tls => { %{$pki->issue('server', ip => ['127.0.0.1'])}, ca => $pki->ca });
}
sub writable { $_[0]->primary }

# the replicas have what the primary has
sub synced {
    my ($self) = @_;
    return if !$self->{replicas};
    OpsAuth::Process->poll(20, sub { $self->primary->cmd('WAIT', $self->{replicas}, 1000) >= $self->{replicas} })
        or die "the replicas do not follow\n";
}

# a failover that is asked for; returns the new primary
sub fail_over {
    my ($self) = @_;
    my $old = $self->primary;
    $self->sentinel(2)->cmd('SENTINEL', 'FAILOVER', $self->{name});
    return $self->failed_over($old);
}

sub sentinel  { my ($self, $i) = @_; return $self->{group}[$i - 1] }
sub sentinels { @{$_[0]{group}} }
sub servers   { @{$_[0]{servers}} }

# the ports of the primary that each of these names; all by default
sub named {
    my ($self, @sentinels) = @_;
    @sentinels = $self->sentinels unless @sentinels;
    return map { $_->cmd('SENTINEL', 'get-master-addr-by-name', $self->{name})->[1] } @sentinels;
}

sub by_port {
    my ($self, $port) = @_;
    my ($server) = grep { $self->port_of($_) == $port } $self->servers;
    return $server;
}

# as one sentinel has it; of those that answer, the first
sub primary_of { my ($self, $i) = @_; return $self->by_port(($self->named($self->sentinel($i)))[0]) }
sub primary    { my ($self) = @_; return $self->primary_of(1) }

# All name the same one, another one than $old, and it says that it is a primary.
sub failed_over {
    my ($self, $old) = @_;
    my $new;
    OpsAuth::Process->poll(40, sub {
        my %ports = map { $_ => 1 } $self->named;
        return 0 if keys %ports != 1 || $ports{$self->port_of($old)};
        $new = $self->by_port(keys %ports);
        # a sentinel ends the connections of whom it promotes
        my $role = eval { $new->cmd('ROLE')->[0] } // '';
        $new->{client}->disconnect if $role eq '';
        return $role eq 'master';
    }) or die "no failover\n";
    return $new;
}

sub url {
    my ($self, $db) = @_;
    return ($self->{tls} ? 'rediss' : 'redis') . "+sentinel://$self->{name}\@"
        . join(',', map { '127.0.0.1:' . $self->port_of($_) } $self->sentinels)
        . (defined $db ? "/$db" : '');
}

1;
