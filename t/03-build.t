# What people type to build and install: make with another compiler, what it
# says when something is missing, make install and uninstall.

use strict;
use warnings;

use Cwd ();
use File::Basename qw(dirname);
use File::Find ();
use File::Temp ();
use Test::More;

my $ROOT = Cwd::realpath(dirname(__FILE__) . '/..');
my $dir = File::Temp::tempdir('opsauth-build-XXXXXX', TMPDIR => 1, CLEANUP => 1);

# (exit status, output) of make in the repository
sub make {
    my (@args) = @_;
    delete local @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL BUILD)};
    my $command = join ' ', map { s/'/'\\''/gr =~ s/^|$/'/gr } 'make', '-C', $ROOT, @args;
    my $output = `$command 2>&1`;
    return ($? >> 8, $output);
}

sub files {
    my @found;
    File::Find::find({ no_chdir => 1, wanted => sub { push @found, $_ if -f } }, @_);
    return sort map { s/^\Q$dir\E\/[^\/]+//r } @found;
}

sub script {
    my ($name, $text) = @_;
    open my $fh, '>', "$dir/$name" or die "$dir/$name: $!";
    print {$fh} "#!/bin/sh\n$text";
    close $fh or die "$dir/$name: $!";
    chmod 0755, "$dir/$name";
    return "$dir/$name";
}

subtest 'clang' => sub {
    plan skip_all => 'no clang here' if system('command -v clang >/dev/null 2>&1');
    my ($rc, $output) = make('all', 'CC=clang', "BUILD=$dir/clang");
    is($rc, 0, 'builds') or diag($output);
    unlike($output, qr/warning/, 'without a warning');
    ok(-x "$dir/clang/$_", "leaves $_") for qw(ngx_http_opsauth_module.so opsauth);
};

subtest 'what is missing is named with its package' => sub {
    for my $library (qw(hiredis openssl jansson pcre2)) {
        my %package = (hiredis => 'libhiredis-dev', openssl => 'libssl-dev',
            jansson => 'libjansson-dev', pcre2 => 'libpcre2-dev');
        my $cc = script("cc-$library", <<"SH");
in=\$(cat)
case \$in in *$library/*|*$library.h*) exit 1 ;; esac
printf '%s\\n' "\$in" | cc "\$@"
SH
        my ($rc, $output) = make('all', "CC=$cc", "BUILD=$dir/missing-$library");
        isnt($rc, 0, "no $library: fails");
        like($output, qr/apt-get install $package{$library}$/m, "and names $package{$library}");
    }

    my ($rc, $output) = make('all', "NGINX_SRC=$dir", "BUILD=$dir/no-nginx");
    isnt($rc, 0, 'no nginx source: fails');
    like($output, qr/NGINX_SRC=\Q$dir\E is no nginx source tree/, 'and says so');
};

subtest 'install and uninstall' => sub {
    my ($rc, $output) = make('install', "DESTDIR=$dir/root");
    is($rc, 0, 'make install') or diag($output);

    my %file = map { $_ => 1 } files("$dir/root");
    ok($file{$_}, $_) for qw(
        /usr/bin/opsauth
        /usr/share/man/man1/opsauth.1
        /usr/share/bash-completion/completions/opsauth
        /usr/share/zsh/vendor-completions/_opsauth
        /usr/lib/nginx/modules/ngx_http_opsauth_module.so
        /usr/share/nginx/modules-available/mod-http-opsauth.conf
        /usr/share/doc/opsauth/README.md
        /usr/share/doc/opsauth/docs/directives.md
        /usr/share/doc/opsauth/conf-examples/opspilot.conf
    );

    like(`$dir/root/usr/bin/opsauth --version 2>&1`, qr/^opsauth \d/, 'the command runs');

    ($rc, $output) = make('uninstall', "DESTDIR=$dir/root");
    is($rc, 0, 'make uninstall') or diag($output);
    is_deeply([files("$dir/root")], [], 'leaves no file');
};

subtest 'help' => sub {
    my ($rc, $output) = make('help');
    is($rc, 0);
    like($output, qr/^make \Q$_\E\b/m, "names $_") for qw(demo demo-stop test install clean);
};

done_testing();
