# What is measured, and what it needs: Redis, a backend, nginx with the module
# and nginx without it. Everything on loopback, below one private directory;
# OpsAuth::Process stops what was started, also after an error or Ctrl-C.

package Bench::Setup;

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex);
use Compress::Zlib ();
use File::Temp ();
use IO::Socket::INET;

use OpsAuth::Port;
use OpsAuth::Process;

use constant PREFIX   => 'bench_sk_live_';
use constant PER_ACCOUNT => 100;        # keys of one account
use constant SERVERS  => 4;             # of either nginx
use constant RATE     => '1000000/s';   # that nobody comes to
use constant PEPPER   => 'the pepper of the bench, a secret of nobody';

my @BASE62 = ('0' .. '9', 'A' .. 'Z', 'a' .. 'z');

# nginx   its binary
# module  the module's .so
# keys    how many there are in the largest set
# store   further lines for opsauth_store
# place   further lines for the location
# read_rule  what its opsauth_require says (scope=read:tenants)
# rate    of accounts
# cores   [for both nginx], [for everything else]; empty: no choice
sub new {
    my ($class, %o) = @_;
    my $self = bless { %o }, $class;
    $self->{dir} = File::Temp->newdir('opsauth-bench-XXXXXX', TMPDIR => 1);
    # started by root, workers become this user: nobody reads our directory
    $self->{user} = $> == 0 ? 'user root;' : '';
    mkdir "$self->{dir}/$_" or die "$_: $!\n" for qw(redis tmp);
    return $self;
}

sub dir { "$_[0]{dir}" }

sub write_file {
    my ($self, $name, $text) = @_;
    my $path = $self->dir . "/$name";
    open my $fh, '>', $path or die "$path: $!\n";
    print {$fh} $text;
    close $fh or die "$path: $!\n";
    return $path;
}

sub read_file {
    my ($path) = @_;
    open my $fh, '<', $path or return '';
    local $/;
    return scalar(<$fh>) // '';
}

# taskset and the like, in front of a command
sub on_core {
    my ($self, $which, @command) = @_;
    my $core = $self->{cores}[$which] or return @command;
    return ('taskset', '-c', join(',', @$core), @command);
}

# --- services -----------------------------------------------------------------

sub start {
    my ($self) = @_;
    $self->redis;
    $self->backend;
}

sub redis {
    my ($self) = @_;
    my $dir = $self->dir;
    $self->{redis_port} = OpsAuth::Port->take;
    $self->{redis_pid} = OpsAuth::Process->spawn(
        command => [$self->on_core(1, 'redis-server', '--port', $self->{redis_port},
            '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no',
            '--dir', "$dir/redis")],
        stdout => "$dir/redis.log", stderr => "$dir/redis.log");
    OpsAuth::Process->poll(10, sub { $self->redis_socket })
        or die "redis-server does not start:\n" . read_file("$dir/redis.log");
}

sub redis_socket {
    my ($self) = @_;
    return $self->{redis} //= IO::Socket::INET->new(
        PeerAddr => '127.0.0.1', PeerPort => $self->{redis_port});
}

sub resp { join '', '*' . @_ . "\r\n", map { '$' . length($_) . "\r\n$_\r\n" } @_ }

# how many records the gateway has read so far
sub redis_reads {
    my ($self) = @_;
    my $socket = $self->redis_socket;
    print {$socket} resp('INFO', 'commandstats');
    my ($length) = <$socket> =~ /^\$(\d+)/ or die "Redis gives no INFO\n";
    read $socket, my $text, $length + 2;
    return $text =~ /^cmdstat_hmget:calls=(\d+)/m ? $1 : 0;
}

sub backend {
    my ($self) = @_;
    my $port = $self->{backend_port} = OpsAuth::Port->take;
    $self->nginx('backend', 1, '', <<'CONF' =~ s/%%PORT%%/$port/r);
    server {
        listen 127.0.0.1:%%PORT%% backlog=1024;
        location / { return 200 "{\"success\":true,\"data\":[]}\n"; }
        # what came with a request, for bench/compare
        location = /v1/seen {
            return 200 "tenant=$http_x_tenant_id account=$http_x_account_id credential=$http_x_credential_id scopes=$http_x_scopes roles=$http_x_roles key=$http_authorization\n";
        }
    }
CONF
}

# the text of a configuration; $main: lines of the main context
sub conf {
    my ($self, $name, $main, $http) = @_;
    my $dir = $self->dir;
    my $temp = join "\n    ", map { "${_}_temp_path $dir/tmp/$name-$_;" }
        qw(client_body proxy fastcgi uwsgi scgi);
    return <<"CONF";
$main
$self->{user}
daemon off;
worker_processes 1;
pid       $dir/$name.pid;
error_log $dir/$name.log error;
events { worker_connections 1024; }
http {
    $temp
    access_log off;
    default_type application/json;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
$http}
CONF
}

# starts an nginx and returns [master, worker]
sub nginx {
    my ($self, $name, $core, $main, $http) = @_;
    my $dir = $self->dir;
    my $conf = $self->write_file("$name.conf", $self->conf($name, $main, $http));
    my $master = OpsAuth::Process->spawn(
        command => [$self->on_core($core, $self->{nginx}, '-e', "$dir/$name.log",
            '-p', "$dir/", '-c', $conf)],
        stdout => "$dir/$name.out", stderr => "$dir/$name.out");
    my $worker;
    OpsAuth::Process->poll(10, sub {
        return 1 unless OpsAuth::Process->running($master);
        ($worker) = grep { OpsAuth::Process->title($_) =~ /^nginx: worker/ }
            OpsAuth::Process->children($master);
        return $worker;
    });
    die "nginx ($name) does not start:\n", read_file("$dir/$name.out"),
        read_file("$dir/$name.log") unless $worker;
    return { master => $master, worker => $worker };
}

sub stop {
    my ($self, $nginx) = @_;
    OpsAuth::Process->stop($nginx->{master}, 'QUIT', 10);
}

# the proxying that both do
sub proxied {
    my ($self) = @_;
    return <<"CONF";
    upstream backend {
        server 127.0.0.1:$self->{backend_port};
        keepalive 128;
        keepalive_requests 1000000000;
        keepalive_timeout 600s;
    }
    proxy_http_version 1.1;
    proxy_set_header   Connection "";
CONF
}

# The servers of either: in the gateway each has a store of its own. The second
# store's cache is too small for the keys, so that each key is a miss; $usage:
# further lines for those that count usage.
sub http_part {
    my ($self, $with, $ports, $usage) = @_;
    my $text = $self->proxied;
    my $counted = 'usage on; ' . ($usage // '');
    my @store = ('cache 64m;', 'cache 256k;', ("cache 64m; $counted") x 2);
    my @place = ($self->{place}, $self->{place}, 'opsauth_rate_headers off;', '');
    for my $n (0 .. $#$ports) {
        my $port = $ports->[$n];
        $text .= <<"CONF" if $with;
    opsauth_store store$port {
        redis       redis://127.0.0.1:$self->{redis_port}/0;
        pepper_file @{[$self->dir]}/pepper;
        key_prefix  @{[PREFIX]} environment=live checksum=crc32;
        $store[$n]
        redis_timeout         5s;           # valgrind is slow, and so is a busy machine
        redis_connect_timeout 5s;
        $self->{store}
    }
CONF
        my $guard = $with ? "opsauth store$port; opsauth_require @{[$self->{read_rule} // 'scope=read:tenants']}; $place[$n]" : '';
        $text .= <<"CONF";
    server {
        listen 127.0.0.1:$port backlog=1024;
        location / { $guard proxy_pass http://backend; }
        @{[$with ? "location = /oauth/token { opsauth_oauth token store$port; }" : '']}
    }
CONF
    }
    $text = "    opsauth_oauth_issuer http://127.0.0.1;\n$text" if $with;
    return $text;
}

sub gateway_main { "load_module $_[0]{module};" }

# --- keys and records -----------------------------------------------------------

sub _body {
    return join '', map { $BASE62[rand 62] } 1 .. 43;
}

sub _checksum {
    my ($text) = @_;
    my $n = Compress::Zlib::crc32($text);
    my $out = '';
    for (1 .. 6) {
        $out = $BASE62[$n % 62] . $out;
        $n = int $n / 62;
    }
    return $out;
}

sub key {
    my $key = PREFIX . _body();
    return $key . _checksum($key);
}

# Writes the sets of keys as files, one key behind another, and the records of
# those that are known. The same ones in every run.
sub keys {
    my ($self) = @_;
    srand 20240229;
    $self->write_file('pepper', PEPPER . "\n");
    chmod 0600, $self->dir . '/pepper';

    my (@known, @unknown, @checksum, @rated);
    push @known, key() for 1 .. $self->{keys};
    push @unknown, key() for 1 .. $self->{keys};
    for (1 .. 1000) {
        my $key = key();
        substr($key, -1) =~ tr/0-9A-Za-z/1-9A-Za-z0/;
        push @checksum, $key;
        push @rated, key();
    }
    $self->{sets} = {
        known    => $self->_set('known', \@known),
        thousand => $self->_set('thousand', [@known[0 .. 999]]),
        unknown  => $self->_set('unknown', [@unknown[0 .. 999]]),
        flood    => $self->_set('flood', \@unknown),
        checksum => $self->_set('checksum', \@checksum),
        rated    => $self->_set('rated', \@rated),
    };
    $self->_records(\@known, 0, $self->{rate});
    $self->_records(\@rated, scalar @known, RATE);
}

sub _set {
    my ($self, $name, $keys) = @_;
    return {
        file => $self->write_file("$name.keys", join '', @$keys),
        count => scalar @$keys, keys => $keys,
    };
}

# An account with an IP list, tenant and roles; a credential with two scopes.
# Only what opsauth itself writes, so that the sizes are the usual ones. $n:
# the first one's number; $rate: of their accounts.
sub _records {
    my ($self, $keys, $n, $rate) = @_;
    my $now = 1709164800;
    my @commands = (
        resp('HSET', 'opsauth:meta', 'v', 1),
        resp('HSET', 'opsauth:client:bench', v => 1, account => 'acct_000000', name => 'Bench',
            secret => hmac_sha256_hex('secret-of-the-bench-client-of-nobody', PEPPER),
            grants => 'client_credentials', auth_method => 'client_secret_basic',
            scopes => 'read:tenants', created => $now));
    my $end = $n + @$keys;
    for my $key (@$keys) {
        my $account = sprintf 'acct_%06d', $n / PER_ACCOUNT;
        push @commands, resp('HSET', "opsauth:account:$account",
            name => "Account $account", description => 'of the bench', enabled => 1,
            tenant => sprintf('org_%06d', $n / PER_ACCOUNT), affiliate => $self->{all} ? 'aff_7' : '',
            roles => $self->{all} ? 'customer plans-and-rates' : '',
            ips => '203.0.113.0/24 127.0.0.0/8', rate => $rate, refresh => 0,
            created => $now, updated => $now) if $n % PER_ACCOUNT == 0;
        push @commands, resp('HSET',
            'opsauth:credential:' . hmac_sha256_hex($key, PEPPER),
            v => 1, id => sprintf('key_%016x', $n), kind => 'api_key', account => $account,
            name => 'nightly sync', state => 'active', environment => 'live',
            scopes => 'read:tenants write:tenants', expires => 0, created => $now,
            hint => substr $key, -4);
        $n++;
        next unless @commands >= 1000 || $n == $end;
        $self->_pipeline(@commands);
        @commands = ();
    }
}

sub _pipeline {
    my ($self, @commands) = @_;
    my $socket = $self->redis_socket;
    print {$socket} join '', @commands;
    $socket->flush;
    for (@commands) {
        my $line = <$socket> // '';
        $line =~ /^:\d+\r$/ or die "Redis refuses a record of the bench: $line\n";
    }
}

1;
