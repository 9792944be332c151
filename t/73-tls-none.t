# An nginx that was configured without SSL: the module builds, and says what is
# missing.

use strict;
use warnings;

use Test::More;

use OpsAuth::Test;

my $t = OpsAuth::Test->new;
my $root = $t->root;
my $source = '/usr/share/nginx/src';
plan skip_all => 'no nginx-dev here' unless -e "$source/auto/module";

# Debian's tree without Debian's flags
my $build = $t->dir . '/build';
mkdir $build or die "$build: $!";
system('cp', '-rs', "$source/.", "$build/src") == 0 or die "cp: $?";
unlink "$build/src/conf_flags";
my $log = do {
    delete local @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL BUILD)};
    `make -C $root module BUILD=$build/out NGINX_SRC=$build/src NGINX_CONFIGURE='--with-compat --with-threads' OPT=-O0 LTO= 2>&1`;
};
is($?, 0, 'it builds') or diag($log);
my $module = "$build/out/ngx_http_opsauth_module.so";
unlike(`ldd $module`, qr/libssl/, 'without libssl');

$t->{nginx}{module} = $module;
my $pepper = $t->write_file('pepper', 'ab' x 32 . "\n", 0600);
my $conf = sub { "opsauth_store main { redis $_[0]; pepper_file $pepper; }" };

SKIP: {
    my $plain = $t->config_error($conf->('redis://127.0.0.1:6379'));
    skip 'this nginx does not take it', 3 if $plain =~ /is not binary compatible/;
    is($plain, '', 'plain Redis');
    like($t->config_error($conf->('rediss://127.0.0.1:6379')),
        qr/"redis rediss:[^"]*" in "opsauth_store main" needs TLS.*without SSL: configure nginx with "--with-http_ssl_module"/,
        'TLS');
    like($t->config_error("opsauth_store main { redis redis://127.0.0.1; pepper_file $pepper; redis_ssl_verify off; }"),
        qr/"redis_ssl_verify" .* is for TLS/, 'a directive of TLS');
}

$t->{finished} = 1;
$t->_remove;
done_testing();
