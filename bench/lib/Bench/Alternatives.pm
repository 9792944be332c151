# What operators would take instead, from Debian's packages: their configurations are
# in bench/alternatives, the packages are unpacked below the build directory and not
# installed, so that no nginx of this machine changes.

package Bench::Alternatives;

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex sha256_hex);
use File::Path qw(make_path);
use IO::Socket::INET;

use OpsAuth::Port;
use OpsAuth::Process;

use Bench::Setup;

my @PACKAGES = qw(
    libnginx-mod-http-ndk libnginx-mod-http-lua libluajit2-5.1-2 lua-resty-core lua-resty-lrucache
    lua-nginx-redis lua-nginx-string libnginx-mod-http-js
    golang-1.19-go golang-1.19-src golang-github-gomodule-redigo-dev);

# setup  a Bench::Setup
# build  the build directory
sub new {
    my ($class, %o) = @_;
    my $self = bless { root => "$o{build}/bench/debian", %o }, $class;
    make_path($self->{root});
    return $self;
}

# Downloads and unpacks what is missing, and builds the service.
sub unpack {
    my ($self) = @_;
    my $root = $self->{root};
    my @missing = grep { !-e "$root/.$_" } @PACKAGES;
    if (@missing) {
        make_path("$root/packages");
        system("cd $root/packages && apt-get -q download @missing >get.log 2>&1") == 0
            or die "cannot download Debian's packages @missing (apt-get update?):\n",
                Bench::Setup::read_file("$root/packages/get.log");
        for my $package (@missing) {
            system("dpkg -x $root/packages/${package}_*.deb $root && touch $root/.$package") == 0
                or die "cannot unpack $package\n";
        }
    }
    my $source = "$self->{setup}{here}/alternatives/service.go";
    return if -e "$root/service" && -M "$root/service" < -M $source;
    local %ENV = (%ENV, GOROOT => "$root/usr/lib/go-1.19", GOPATH => "$root/usr/share/gocode",
        GO111MODULE => 'off', GOCACHE => "$root/go-cache", GOFLAGS => '');
    my $said = `$root/usr/lib/go-1.19/bin/go build -o $root/service $source 2>&1`;
    $? == 0 or die "cannot build the service:\n$said";
}

# Builds a handler that is there for scale, by the headers that the module was built with.
sub build {
    my ($self, $name) = @_;
    my $source = "$self->{setup}{here}/alternatives/$name.c";
    my $nginx = $ENV{NGINX_SRC} // '/usr/share/nginx/src';
    my @include = map { "-I$_" } "$self->{build}/nginx",
        map { "$nginx/src/$_" } qw(core event event/modules os/unix http http/modules http/v2);
    my $cc = $ENV{CC} // 'cc';
    my $said = `$cc -O2 -Wall -Wextra -Werror -Wno-unused-parameter -fPIC -shared -o $self->{root}/$name.so @include $source -lcrypto 2>&1`;
    $? == 0 or die "cannot build $name.c:\n$said";
}

sub versions {
    my ($self) = @_;
    my @debs = map { s{.*/}{}r =~ s/%3a/:/r } glob "$self->{root}/packages/*.deb";
    my %version = map { /^(.+?)_(?:\d+:)?([^_-]+)/ ? ($1 => $2) : () } @debs;
    return join ', ', map { "$_->[0] " . ($version{$_->[1]} // '') } (
        ['lua-nginx-module', 'libnginx-mod-http-lua'], ['LuaJIT', 'libluajit2-5.1-2'],
        ['lua-resty-redis', 'lua-nginx-redis'], ['njs', 'libnginx-mod-http-js'], ['Go', 'golang-1.19-go']);
}

# --- records ------------------------------------------------------------------------

# For the alternatives one hash a key, account and all; and a few keys that the rules
# refuse, for everybody. Returns { what is wrong => [method, key, expected status] }.
sub records {
    my ($self) = @_;
    my $setup = $self->{setup};
    my @commands;
    my $n = 0;
    my $flush = sub { $setup->_pipeline(@commands); @commands = () };
    for my $key (@{$setup->{sets}{known}{keys}}) {
        push @commands, _plain($key, _fields($n++));
        $flush->() if @commands >= 1000;
    }
    my $good = $setup->{sets}{known}{keys}[0];
    my %try = (
        'a good key' => ['GET', $good, 200], 'no key' => ['GET', undef, 401],
        'an unknown key' => ['GET', $setup->{sets}{unknown}{keys}[0], 401],
        'another method' => ['DELETE', $good, 403],
    );
    my %wrong = (
        'a revoked key' => [401, 'GET', state => 'revoked'],
        'an expired key' => [401, 'GET', expires => 1709164801],
        'a scope that is missing' => [403, 'POST', scopes => 'read:tenants'],
        'another address' => [403, 'GET', ips => '203.0.113.0/24 192.0.2.0/25'],
        'an account that is switched off' => [401, 'GET', enabled => 0],
    );
    for my $what (sort keys %wrong) {
        my ($status, $method, %fields) = @{$wrong{$what}};
        my $key = Bench::Setup::key();
        my %record = (_fields($n++), account => "wrong$n", %fields);
        push @commands, _plain($key, %record),
            Bench::Setup::resp('HSET', "opsauth:account:wrong$n", enabled => $record{enabled},
                tenant => $record{tenant}, ips => $record{ips}),
            Bench::Setup::resp('HSET',
                'opsauth:credential:' . hmac_sha256_hex($key, Bench::Setup::PEPPER), v => 1, kind => 'api_key',
                environment => 'live', map { $_ => $record{$_} } qw(id account state scopes expires));
        $try{$what} = [$method, $key, $status];
    }
    $flush->();
    return \%try;
}

sub _fields {
    my ($n) = @_;
    my $group = int $n / Bench::Setup::PER_ACCOUNT;
    return (state => 'active', expires => 0, enabled => 1, account => sprintf('acct_%06d', $group),
        tenant => sprintf('org_%06d', $group), id => sprintf('key_%016x', $n),
        scopes => 'read:tenants write:tenants', ips => '203.0.113.0/24 127.0.0.0/8');
}

sub _plain {
    my ($key, %fields) = @_;
    return Bench::Setup::resp('HSET', 'plain:' . sha256_hex($key), map { $_ => $fields{$_} } sort keys %fields);
}

# --- processes -------------------------------------------------------------------------

# The service: { pid, port }
sub service {
    my ($self) = @_;
    my $setup = $self->{setup};
    my $port = OpsAuth::Port->take;
    my $log = $setup->dir . "/service.$port";
    my $pid = OpsAuth::Process->spawn(
        command => [$setup->on_core(1, "$self->{root}/service", '-listen', "127.0.0.1:$port",
            '-redis', "127.0.0.1:$setup->{redis_port}")],
        stdout => $log, stderr => $log);
    OpsAuth::Process->poll(10, sub {
        IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port)
    }) or die "the service does not start:\n", Bench::Setup::read_file($log);
    return { pid => $pid, port => $port };
}

# One of the configurations: { worker, warm, cold, service }. warm, cold: ports
sub nginx {
    my ($self, $name, %o) = @_;
    my $setup = $self->{setup};
    my $root = $self->{root};
    my $here = $setup->dir . "/$name";
    my %port = map { $_ => OpsAuth::Port->take } qw(warm cold);
    my $service = $o{service} ? $self->service : undef;
    my %value = (
        HERE => $here, DIR => $setup->dir, LUA => "$root/usr/share/lua/5.1", WARM => $port{warm},
        COLD => $port{cold}, REDIS_PORT => $setup->{redis_port}, SERVICE => $service ? $service->{port} : '',
    );
    mkdir $here or die "$here: $!\n";
    for my $path (glob "$setup->{here}/alternatives/*.{conf,lua,js}") {
        my $text = Bench::Setup::read_file($path) =~ s/%%(\w+)%%/$value{$1} \/\/ die "%%$1%%"/ger;
        $setup->write_file("$name/" . $path =~ s{.*/}{}r, $text);
    }
    my $main = join ' ', map({ "load_module $root/$_.so;" } @{$o{scale} // []}),
        map { "load_module $root/usr/lib/nginx/modules/$_.so;" } @{$o{modules} // []};
    local $ENV{LD_LIBRARY_PATH} = "$root/usr/lib/x86_64-linux-gnu";
    my $nginx = $setup->nginx($name, 0, $main, $setup->proxied . "include $here/$name.conf;\n");
    return { %$nginx, %port, service => $service };
}

1;
