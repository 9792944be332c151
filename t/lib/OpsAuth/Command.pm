# The opsauth command as a person or a script runs it, in an environment of its
# own.
#
#   my $opsauth = OpsAuth::Command->new($t, OPSAUTH_REDIS => $redis->url);
#   my ($exit, $out, $err) = $opsauth->run(qw(account list));

package OpsAuth::Command;

use strict;
use warnings;

use POSIX ();
use Test::More ();

# $t: OpsAuth::Test; the rest are variables of the environment
sub new {
    my ($class, $t, %env) = @_;
    my $path = $t->opsauth_path;
    -x $path or die "there is no $path; make cli\n";
    return bless {
        t => $t, path => $path,
        env => {
            TZ => 'UTC', LANG => 'C', PATH => $ENV{PATH}, %env,
            map { $_ => $ENV{$_} } grep { /^(ASAN|UBSAN|LSAN|OPSAUTH_TEST_RUN)/ } keys %ENV,
        },
    }, $class;
}

sub path { $_[0]{path} }
sub env  { %{$_[0]{env}} }

# Returns exit code, stdout, stderr. A leading hash: in => stdin, out => file
# for stdout, closed => without stdout, env => changes.
sub run {
    my ($self, @words) = @_;
    my %o = ref $words[0] ? %{shift @words} : ();
    my $t = $self->{t};
    my ($in, $out, $err) = map { $t->dir . "/$_" } qw(cli.in cli.out cli.err);
    $t->write_file('cli.in', $o{in} // '');

    my $pid = fork // die "fork: $!";
    if (!$pid) {
        %ENV = (%{$self->{env}}, %{$o{env} // {}});
        open STDIN,  '<', $in  or POSIX::_exit(126);
        open STDOUT, '>', $o{out} // $out or POSIX::_exit(126);
        open STDERR, '>', $err or POSIX::_exit(126);
        close STDOUT if $o{closed};
        exec { $self->{path} } $self->{path}, @words or POSIX::_exit(127);
    }
    waitpid $pid, 0;
    my $status = $?;

    my @text = map { open my $fh, '<:raw', $_ or die "$_: $!"; local $/; scalar <$fh> // '' }
        $out, $err;
    Test::More::fail("no sanitizer report: @words[0 .. 1]"), Test::More::diag($text[1])
        if $text[1] =~ /Sanitizer|runtime error|^==\d+==/m;
    return ($status & 127 ? "signal $status" : $status >> 8, @text);
}

# whether programs can be run on a terminal: script(1), and a machine that gives
# out pseudo-terminals (a bare chroot does not)
sub terminal { return system('script -qec true /dev/null >/dev/null 2>&1') == 0 }

1;
