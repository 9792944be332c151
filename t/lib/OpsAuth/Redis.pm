# A real redis-server of the test's own: loopback or unix socket, nothing on
# disk unless asked for.

package OpsAuth::Redis;

use strict;
use warnings;

use OpsAuth::Port;
use OpsAuth::Process;
use OpsAuth::RESP;

# dir       where it may write (made here)
# unix      true: a unix socket, no port
# host      its address (127.0.0.1), which may be any 127.x.y.z; port
# password  requirepass
# acl       lines of an ACL file ("user gateway on >secret ~* +@all", ...);
#           then user and password say whom the test itself logs in as
# tls       { cert, key, ca, auth => 'no' | 'yes' | 'optional', protocols }: a
#           TLS port besides, which url() names; the test's own connections stay
#           on the plain one
# cluster   true: a node of a cluster
# sentinel  its file: a sentinel, and no server of records
# args      further words of the command line
sub new {
    my ($class, %o) = @_;
    my $self = bless { args => [], host => '127.0.0.1', %o }, $class;
    my $dir = $self->{dir} or die "redis: no dir";
    mkdir $dir or die "$dir: $!";
    if ($self->{unix}) {
        $self->{socket} = "$dir/redis.sock";
    }
    else {
        $self->{port} //= OpsAuth::Port->take;
    }
    $self->{tls_port} //= OpsAuth::Port->take if $self->{tls};
    if ($self->{acl}) {
        open my $fh, '>', "$dir/users.acl" or die "$dir/users.acl: $!";
        print {$fh} map { "$_\n" } @{$self->{acl}};
        close $fh;
    }
    $self->{client} = $self->client;
    $self->start;
    return $self;
}

# a further connection, for SUBSCRIBE, MONITOR, MULTI or another user
sub client {
    my ($self, %o) = @_;
    return OpsAuth::RESP->new(connect => $self->address, user => $self->{user},
        password => $self->{password}, %o);
}

sub address { my ($self) = @_; return $self->{socket} // "$self->{host}:$self->{port}" }
sub port    { $_[0]{port} }
sub pid     { $_[0]{pid} }
sub tls_port { $_[0]{tls_port} }

# a redis-server, or a valkey-server
sub _binary {
    my $binary = $ENV{TEST_REDIS_BINARY} // 'redis-server';
    ($binary) = grep { -x } map { "$_/$binary" } split /:/, $ENV{PATH}
        unless $binary =~ m{/};
    die "no redis-server on this machine" unless $binary && -x $binary;
    return $binary;
}

# 7.0 of Redis 7.0.15; Valkey begins at 7.2, and goes on from there as Redis 7 would
my %version;

sub version {
    my $binary = _binary();
    return $version{$binary} //= do {
        open my $said, '-|', $binary, '--version' or die "$binary: $!";
        my $text = join '', <$said>;
        close $said;
        $text =~ /\bv=(\d+\.\d+)/ ? $1 : die "$binary is of no version: $text";
    };
}

# as the `redis` directive writes it
sub url {
    my ($self, $db) = @_;
    return "rediss://$self->{host}:$self->{tls_port}" . (defined $db ? "/$db" : '') if $self->{tls};
    my $url = $self->{socket} ? "unix:$self->{socket}" : "redis://" . $self->address;
    return defined $db && !$self->{socket} ? "$url/$db" : $url;
}

sub start {
    my ($self) = @_;
    die "redis runs already" if $self->running;
    my $dir = $self->{dir};
    my @args = (
        '--save', '', '--appendonly', 'no', '--daemonize', 'no',
        '--dir', $dir, '--dbfilename', 'dump.rdb', '--logfile', "$dir/redis.log",
        $self->version >= 7 ? ('--enable-debug-command', 'yes') : (),
        $self->{socket} ? ('--port', 0, '--unixsocket', $self->{socket})
                        : ('--port', $self->{port}, '--bind', $self->{host}),
    );
    push @args, '--requirepass', $self->{password}
        if defined $self->{password} && !$self->{acl};
    push @args, '--aclfile', "$dir/users.acl" if $self->{acl};

    # what it does not know of a server's it would not start with
    @args = ($self->{sentinel}, '--sentinel', '--daemonize', 'no', '--dir', $dir,
        '--logfile', "$dir/redis.log", '--port', $self->{port}, '--bind', $self->{host},
        defined $self->{password} && !$self->{acl} ? ('--requirepass', $self->{password}) : (),
        $self->{acl} ? ('--aclfile', "$dir/users.acl") : ())
        if $self->{sentinel};

    if (my $tls = $self->{tls}) {
        push @args, '--tls-port', $self->{tls_port}, '--tls-cert-file', $tls->{cert},
            '--tls-key-file', $tls->{key}, '--tls-ca-cert-file', $tls->{ca},
            '--tls-auth-clients', $tls->{auth} // 'no';
        push @args, '--tls-protocols', $tls->{protocols} if $tls->{protocols};
        push @args, '--bind', $self->{host} if $self->{socket};
    }

    # port + 10000, its default, may be some connection's own port; Redis 6 knows no other
    push @args, '--cluster-enabled', 'yes', $self->version >= 7
        ? ('--cluster-port', $self->{cluster_port} //= OpsAuth::Port->take)
        : () if $self->{cluster};
    $self->{cluster_port} //= $self->{port} + 10_000 if $self->{cluster};

    $self->{pid} = OpsAuth::Process->spawn(
        name => 'redis-server', command => [_binary(), @args, @{$self->{args}}],
        stdout => "$dir/redis.out", stderr => "$dir/redis.out",
    );
    my $ready = OpsAuth::Process->poll(10, sub {
        return -1 unless OpsAuth::Process->running($self->{pid});
        return eval { $self->{client}->try('PING'); 1 };
    });
    return $self if $ready && $ready == 1;
    $self->kill;
    die "redis-server did not start:\n" . $self->log;
}

sub log {
    my ($self) = @_;
    my $text = '';
    for my $file (qw(redis.out redis.log)) {
        open my $fh, '<', "$self->{dir}/$file" or next;
        local $/;
        $text .= <$fh> // '';
    }
    return $text;
}

sub cmd { my ($self, @words) = @_; return $self->{client}->cmd(@words) }
sub try { my ($self, @words) = @_; return $self->{client}->try(@words) }

sub running { my ($self) = @_; return OpsAuth::Process->running($self->{pid}) }

sub stop {
    my ($self) = @_;
    $self->resume if delete $self->{paused};
    $self->{client}->disconnect;
    return OpsAuth::Process->stop(delete $self->{pid} // 0, 'TERM');
}

sub kill {
    my ($self) = @_;
    delete $self->{paused};
    $self->{client}->disconnect;
    return OpsAuth::Process->stop(delete $self->{pid} // 0, 'KILL');
}

# Stopped, it still accepts (the kernel does) but never answers.
sub pause {
    my ($self) = @_;
    $self->{paused} = 1;
    CORE::kill('STOP', $self->{pid});
    OpsAuth::Process->poll(2, sub {
        open my $fh, '<', "/proc/$self->{pid}/stat" or return 1;
        return <$fh> =~ /\) T /;
    });
}

sub resume {
    my ($self) = @_;
    delete $self->{paused};
    CORE::kill('CONT', $self->{pid});
}

# keep => 1: with its data; otherwise it comes back empty
sub restart {
    my ($self, %o) = @_;
    if ($self->running) {
        $self->cmd('SAVE') if $o{keep};
        $self->stop;
    }
    unlink "$self->{dir}/dump.rdb" unless $o{keep};
    return $self->start;
}

# how often a command was executed since the start or the last reset_stats
sub calls {
    my ($self, $command) = @_;
    my $info = $self->cmd('INFO', 'commandstats');
    return $info =~ /^cmdstat_\Q$command\E:calls=(\d+)/mi ? $1 : 0;
}

sub reset_stats { my ($self) = @_; return $self->cmd('CONFIG', 'RESETSTAT') }

# one line of INFO
sub info {
    my ($self, $field) = @_;
    return $self->cmd('INFO', 'everything') =~ /^\Q$field\E:(.*?)\r?$/m ? $1 : undef;
}

# the connections of others than the test: [{id, name, cmd, ...}, ...]
sub clients {
    my ($self) = @_;
    my $own = $self->cmd('CLIENT', 'ID');
    my @all = map { { map { /^(.*?)=(.*)$/ } split / / } }
        split /\n/, $self->cmd('CLIENT', 'LIST');
    # the feed of changes is another matter
    return grep { $_->{id} != $own && $_->{name} !~ /-feed$/ } @all;
}

# Runs the code and returns the commands that Redis received meanwhile, as
# MONITOR prints them, without those of the test's own connection.
sub monitor {
    my ($self, $code, $settle) = @_;
    my $own = $self->cmd('CLIENT', 'INFO') =~ /\baddr=(\S+)/ ? $1 : '';
    my $watch = $self->client;
    $watch->cmd('MONITOR');
    $code->();
    my @seen;
    while (defined(my $line = eval { $watch->read_reply($settle // 0.2) })) {
        push @seen, $line unless $own && $line =~ /\[\d+ \Q$own\E\]/;
    }
    return @seen;
}

sub DESTROY {
    my ($self) = @_;
    local ($?, $!, $@);
    $self->kill if $self->{pid} && ${^GLOBAL_PHASE} ne 'DESTRUCT';
}

1;
