# Software of others, from npm and from Debian, that speaks OAuth: the programs of
# t/interop, run with what "make deps" installed for them.

package OpsAuth::Interop;

use strict;
use warnings;

use Cwd ();
use File::Basename qw(dirname);
use JSON::PP ();
use MIME::Base64 ();
use Test::More ();

use OpsAuth::Port;
use OpsAuth::Process;

my $ROOT = Cwd::realpath(dirname(__FILE__) . '/../../..');
my $json = JSON::PP->new->utf8->canonical;

# test: an OpsAuth::Test, in whose directory the programs are put beside their
# node_modules
sub new {
    my ($class, %o) = @_;
    my $build = $ENV{TEST_BUILD} // "$ROOT/build";
    my $modules = "$build/interop/node_modules";
    die "$modules is missing: run make deps\n" unless -d $modules;
    my $dir = "$o{test}{dir}/interop";
    mkdir $dir or die "$dir: $!";
    symlink $modules, "$dir/node_modules" or die "$dir/node_modules: $!";
    for my $file (glob "$ROOT/t/interop/*.mjs $ROOT/t/interop/*.py") {
        symlink $file, "$dir/" . ($file =~ s{.*/}{}r) or die "$file: $!";
    }
    return bless { dir => $dir }, $class;
}

sub command {
    my ($self, $program, @args) = @_;
    # links stay links: packages are looked for beside them
    return $program =~ /\.py$/ ? ('/usr/bin/python3', "$self->{dir}/$program", @args)
        : ('node', '--preserve-symlinks', '--preserve-symlinks-main', "$self->{dir}/$program", @args);
}

# what it writes: (exit status, stdout, stderr)
sub run {
    my ($self, $program, $input) = @_;
    my %file = map { $_ => "$self->{dir}/$_" } qw(in out err);
    unlink values %file;
    open my $fh, '>', $file{in} or die "$file{in}: $!";
    print {$fh} $json->encode($input // {});
    close $fh;
    my $pid = OpsAuth::Process->spawn(name => $program, command => [$self->command($program)],
        stdin => $file{in}, stdout => $file{out}, stderr => $file{err});
    my $status = OpsAuth::Process->wait_for($pid, 240);
    unlink $file{in};
    return ($status, map { _slurp($_) } @file{qw(out err)});
}

# each line is one test
sub run_tests {
    my ($self, $program, $input) = @_;
    my ($status, $out, $err) = $self->run($program, $input);
    my $n = 0;
    for my $line (split /\n/, $out) {
        my $result = $json->decode($line);
        Test::More::ok($result->{ok}, "$program: $result->{name}") or Test::More::diag($result->{why});
        $n++;
    }
    Test::More::cmp_ok($n, '>', 0, "$program: it tried something");
    Test::More::is($status, 0, "$program: to its end") or Test::More::diag($err);
    return;
}

sub json {
    my ($self, $program, $input) = @_;
    my ($status, $out, $err) = $self->run($program, $input);
    die "$program failed:\n$err" unless defined $status && $status == 0;
    return $json->decode($out);
}

# oidc-provider, listening: its port
sub provider {
    my ($self) = @_;
    my $port = OpsAuth::Port->take;
    my $log = "$self->{dir}/provider.log";
    $self->{provider} = OpsAuth::Process->spawn(name => 'oidc-provider',
        command => [$self->command('provider.mjs', $port)], stdout => $log, stderr => $log);
    OpsAuth::Process->poll(60, sub { _slurp($log) =~ /^ready$/m || !OpsAuth::Process->running($self->{provider}) });
    die "oidc-provider did not start:\n" . _slurp($log) unless _slurp($log) =~ /^ready$/m;
    return $port;
}

sub stop {
    my ($self) = @_;
    OpsAuth::Process->stop(delete $self->{provider}, 'KILL') if $self->{provider};
}

sub base64 { return MIME::Base64::encode_base64($_[0], '') }

sub _slurp {
    my ($path) = @_;
    open my $fh, '<', $path or return '';
    local $/;
    return <$fh> // '';
}

1;
