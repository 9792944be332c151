#!/usr/bin/perl

# What is given away (.ci/deb, docker/, releases), as far as it can be looked at
# without a bookworm tree: names, versions, files and users agree, and the real
# programs take the configurations of compose.yaml. The whole of it is tried by
# .ci/check-deb and docker/check.

use strict;
use warnings;

use CPAN::Meta::YAML ();
use Digest::SHA qw(sha256_hex);
use File::Temp qw(tempdir);
use Test::More;

use OpsAuth::Command;
use OpsAuth::Test;

my $root = OpsAuth::Test->root;
my $t = OpsAuth::Test->new;
my $opsauth = OpsAuth::Command->new($t);

sub text {
    my ($file) = @_;
    open my $in, '<', $file =~ m{^/} ? $file : "$root/$file" or die "$file: $!";
    local $/;
    return scalar <$in>;
}

sub version { chomp(my $line = `$_[0]/.ci/version $_[1] 2>&1`); return $line }

subtest 'version' => sub {
    my $version = version($root, 'upstream');
    like($version, qr/^\d+\.\d+\.\d+$/, 'has three numbers');
    my (undef, $said) = $opsauth->run('--version');
    is($said, "opsauth $version\n", 'is what the command says');
    my (undef, $page) = $opsauth->run('man');
    like($page, qr/^\.TH .*\b\Q$version\E/m, 'and the manual page');
    like(version($root, 'epoch'), qr/^\d{9,}$/, 'the time of the tree');

    # a tree of its own, with no git: a release, and what comes before it
    my $tree = tempdir(CLEANUP => 1);
    mkdir "$tree/$_" or die $! for qw(.ci src src/cli);
    system('cp', "$root/.ci/version", "$tree/.ci/") == 0 or die;
    my $write = sub {
        my ($file, $content) = @_;
        open my $out, '>', "$tree/$file" or die $!;
        print {$out} $content;
        close $out;
        utime 1_700_000_000, 1_700_000_000, "$tree/$file";
    };
    local $ENV{SOURCE_DATE_EPOCH};
    delete $ENV{SOURCE_DATE_EPOCH};
    $write->('src/cli/cli.h', qq{#define CLI_VERSION     "1.2.3"\n});
    $write->('CHANGELOG.md', "## [Unreleased]\n\n- news\n\n## [1.2.2] - 2026-01-02\n");
    is(version($tree, 'upstream'), '1.2.3', 'is read from the source');
    is(version($tree, 'package'), '1.2.3~dev20231114', 'unreleased: a package that the release replaces');
    is(version($tree, 'released'), '1.2.2 2026-01-02', 'the newest section of CHANGELOG.md');
    $write->('CHANGELOG.md', "## [Unreleased]\n\n## [1.2.3] - 2026-01-03\n\n## [1.2.2] - 2026-01-02\n");
    is(version($tree, 'package'), '1.2.3', 'released: the version');
    is(version($tree, 'released'), '1.2.3 2026-01-03', 'and its section');

    my ($released) = split ' ', version($root, 'released');
    if (defined $released) {
        my @newest = sort { version_order($a, $b) } $released, $version;
        is($newest[-1], $version, 'CHANGELOG.md is not ahead of the source');
    }
};

sub version_order {
    my @a = split /\./, $_[0];
    my @b = split /\./, $_[1];
    return $a[0] <=> $b[0] || $a[1] <=> $b[1] || $a[2] <=> $b[2];
}

# in a tree of its own, whose tests fail
subtest 'release check' => sub {
    my $tree = tempdir(CLEANUP => 1);
    local @ENV{qw(HOME GIT_CONFIG_NOSYSTEM GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL)}
        = ($tree, 1, ('test', 'test@localhost') x 2);
    mkdir "$tree/$_" or die $! for qw(.ci src src/cli);
    system('cp', map({ "$root/.ci/$_" } qw(release-check tests-passed version)), "$tree/.ci/") == 0 or die;
    my $write = sub {
        my ($file, $content) = @_;
        open my $out, '>', "$tree/$file" or die $!;
        print {$out} $content;
        close $out;
    };
    my $git = sub { system('git', '-C', $tree, @_) == 0 or die "git @_" };
    my $commit = sub { $git->('add', '-A'); $git->('commit', '-q', '--allow-empty', '-m', 'step') };
    my $check = sub {
        my $said = `$tree/.ci/release-check 2>&1`;
        return ($? >> 8, $said);
    };
    my $changes = sub { return "## [Unreleased]\n\n$_[0]\n## [$_[1]] - $_[2]\n\n- news\n" };

    $write->('.gitignore', "/build/\n");
    $write->('Makefile', "test dist deb:\n\t\@echo \$@ is run; exit 1\n");
    $write->('src/cli/cli.h', qq{#define CLI_VERSION "1.2.3"\n});
    $write->('CHANGELOG.md', $changes->('', '1.2.2', '2026-01-02'));
    my ($exit, $said) = $check->();
    isnt($exit, 0, 'no git: no release');
    my $tag = sub { $git->('update-ref', 'refs/tags/v1.2.3', 'HEAD') };
    $git->('init', '-q');
    $commit->();
    $tag->();

    my $refuses = sub {
        my ($what, @reasons) = @_;
        ($exit, $said) = $check->();
        is($exit, 1, $what);
        like($said, $_, 'says so') for @reasons;
        like($said, qr/not fit to be released: @{[scalar @reasons]} reason/, 'and nothing else');
        unlike($said, qr/is run/, 'before half an hour of tests');
    };
    $refuses->('CHANGELOG.md has no entry of the version',
        qr/^not ok: the newest section of CHANGELOG\.md is for 1\.2\.2, src\/cli\/cli\.h says 1\.2\.3/m);

    $write->('CHANGELOG.md', $changes->("- not yet\n", '1.2.3', '2026-01-02'));
    $commit->();
    $tag->();
    $refuses->('unreleased entries', qr/^not ok: CHANGELOG\.md has entries under \[Unreleased\]/m);

    $write->('CHANGELOG.md', $changes->('', '1.2.3', '9999-01-02'));
    $commit->();
    $tag->();
    $refuses->('a day to come', qr/^not ok: CHANGELOG\.md: 9999-01-02 is still to come/m);

    $write->('CHANGELOG.md', $changes->('', '1.2.3', '2026-01-02'));
    $refuses->('not committed', qr/^not ok: not committed:\n M CHANGELOG\.md/m);
    $commit->();
    $tag->();
    $write->('new.c', '');
    $refuses->('not added', qr/^not ok: not committed:\n\?\? new\.c/m);
    $commit->();
    $refuses->('another commit has the tag', qr/^not ok: the tag v1\.2\.3 is another commit/m);
    $git->('update-ref', '-d', 'refs/tags/v1.2.3');
    $refuses->('no tag', qr/^not ok: there is no tag v1\.2\.3: git tag v1\.2\.3/m);

    $tag->();
    ($exit, $said) = $check->();
    is($exit, 1, 'all of that is well, but the tests fail');
    like($said, qr/^ok: v1\.2\.3 is tagged here\n.*^test is run\n.*^not ok: make test\n.*^not ok: the tarball does not build\n/ms, 'says so');
    like($said, qr/not fit to be released: 3 reasons$/, 'tests, tarball, package');
};

subtest 'scripts' => sub {
    for my $script (qw(.ci/build-deb .ci/check-deb .ci/debian-tree .ci/release-check .ci/tests-passed
        .ci/version docker/make-secrets docker/healthcheck)) {
        ok(-x "$root/$script", "$script can be run");
        my ($shell) = text($script) =~ m{^#!.*?(bash|sh)$}m;
        is(`$shell -n $root/$script 2>&1`, '', "$script is a script of $shell");
    }
    like(`$^X -c $root/docker/check 2>&1`, qr/syntax OK/, 'docker/check');
    is(`sh -n $root/.ci/deb/libnginx-mod-http-opsauth.postinst 2>&1`, '', 'postinst');
    like(text('.ci/deb/libnginx-mod-http-opsauth.postinst'), qr/^#DEBHELPER#$/m, 'with what debhelper adds');
};

subtest 'Debian package' => sub {
    my ($source, $package) = map { fields($_) } split /\n\n/, text('.ci/deb/control');
    is($package->{Package}, 'libnginx-mod-http-opsauth', 'is called as modules are');
    like($package->{Depends}, qr/\$\{misc:Depends\}/, 'depends on the ABI of nginx');
    like($package->{Depends}, qr/\$\{shlibs:Depends\}/, 'and on libraries');
    like(text('.ci/deb/rules'), qr/^\tdh_nginx$/m, 'which dh_nginx writes down');
    is((stat "$root/.ci/deb/rules")[2] & 0444, 0444, 'rules can be read');

    # what it is built with is what "make" asks for
    my ($wanted) = text('.ci/packages') =~ /^    build\) packages\+=\((.*?)\)/m;
    my %build = map { s/\s.*//r => 1 } split /\s*,\s*/, $source->{'Build-Depends'};
    is_deeply([sort grep { $_ ne 'debhelper-compat' } keys %build],
        [sort grep { /-dev$/ && $_ ne 'libc6-dev' } split ' ', $wanted], 'Build-Depends');

    my ($license) = text('LICENSE') =~ /^(Redistribution.*)\z/ms;
    my ($copy) = text('.ci/deb/copyright') =~ /^ (Redistribution.*)\z/ms;
    is($copy =~ s/^ \.?//gmr, $license, 'copyright has the licence');

    my ($copied) = text('.ci/build-deb') =~ /^tar -c .*?\.ci (.*?) \|/ms;
    ok(-e "$root/$_", "$_ is there to be packed") for split ' ', $copied =~ s/\\\n//r;
};

sub fields {
    my %field;
    my $name;
    for my $line (split /\n/, $_[0]) {
        if ($line =~ /^([\w-]+):\s*(.*)/) { $field{$name = $1} = $2 }
        else                              { $field{$name} .= " $1" if $line =~ /^\s+(.*)/ }
    }
    return \%field;
}

subtest 'Dockerfile' => sub {
    my $text = text('docker/Dockerfile') =~ s/^#.*\n//gmr =~ s/\\\n//gr;
    my @from = $text =~ /^FROM (\S+)/mg;
    is_deeply(\@from, [('debian:bookworm-slim') x 2], 'two stages over one base');

    my ($build, $final) = $text =~ /^(FROM.*?)^(FROM.*)\z/ms;
    my %ignored = map { s/^!//r => /^!/ ? 0 : 1 } grep { !/^#/ } split /\n/, text('docker/Dockerfile.dockerignore');
    ok($ignored{'*'}, '.dockerignore begins with everything');
    for my $line ($text =~ /^COPY (.*)/mg) {
        my @names = split ' ', $line;
        pop @names;
        for my $name (@names) {
            ok(-e "$root/$name", "$name is there");
            my ($top) = $name =~ m{^([^/]+)};
            is($ignored{$top}, 0, "and in the context: $top");
        }
    }
    my %copied = map { $_ => 1 } map { my @n = split ' '; pop @n; @n } $build =~ /^COPY (.*)/mg;
    my ($packed) = text('.ci/build-deb') =~ /^tar -c .*?(\.ci .*?) \|/ms;
    is_deeply([grep { !$copied{$_} } split ' ', $packed =~ s/\\\n//r], [], 'what the package is made of is copied');

    like($final, qr/^USER [1-9]\d*:[1-9]\d*$/m, 'an ordinary user, by number');
    like($final, qr/^HEALTHCHECK .*CMD/m, 'a health check');
    like($final, qr/^STOPSIGNAL SIGQUIT$/m, 'ends gracefully');
    is_deeply([grep { $_ < 1024 } $final =~ /^EXPOSE (\d+)/mg], [], 'no port that only root may have');
    unlike($text, qr/^(?:ARG|ENV).*(?:password|pepper|secret)/mi, 'no secret');
};

my $compose = CPAN::Meta::YAML->read_string(text('docker/compose.yaml'))->[0];

subtest 'compose.yaml' => sub {
    my $services = $compose->{services};
    is_deeply([sort keys %$services], [qw(backend gateway opsauth redis setup)], 'services');
    for my $name (sort keys %$services) {
        my $service = $services->{$name};
        is_deeply($service->{cap_drop}, ['ALL'], "$name: no capability");
        next if $name eq 'setup';
        is($service->{read_only}, 'true', "$name: nothing is written");
        isnt($service->{user} // 'of the image', '0:0', "$name: not root");
        is($service->{pull_policy}, 'never', "$name: the image that setup builds, never one of a registry")
            if $service->{image} eq $services->{setup}{image};
        ok($services->{$_}, "$name: $_ is there") for keys %{$service->{depends_on}};
    }
    my %used;
    for my $volume (map { @{$_->{volumes} // []} } values %$services) {
        my ($from, undef, $mode) = split /:/, $volume;
        if ($from =~ m{^\./(.*)}) {
            ok(-e "$root/docker/$1", "$from is there");
            is($mode, 'ro', 'and only read');
        }
        else {
            $used{$from} = 1;
        }
    }
    is_deeply([sort keys %used], [sort keys %{$compose->{volumes}}], 'volumes');
    # who sees what
    unlike("@{$services->{$_}{volumes}}", qr/operator-secrets/, "$_ has not the operator's password") for qw(gateway redis backend);
    unlike("@{$services->{$_}{volumes}}", qr/gateway-secrets/, "$_ has not the pepper") for qw(redis backend);
};

subtest 'configurations of compose.yaml' => sub {
    my $pepper = $t->write_file('pepper', "a pepper of some length\n", 0600);
    my $password = $t->write_file('redis.password', "a password of some length\n", 0600);
    my $local = sub {
        my ($conf) = @_;
        $conf =~ s{ /tmp/}{ %%TESTDIR%%/image-}g;
        $conf =~ s{/etc/opsauth/pepper}{$pepper}g;
        $conf =~ s{/etc/opsauth/redis\.password}{$password}g;
        $conf =~ s{\b(?:redis|backend):(\d)}{127.0.0.1:$1}g;
        $conf =~ s{(listen +)(?:127\.0\.0\.1:)?(\d+)}{${1}127.0.0.1:%%PORT_$2%%}g;
        $conf =~ s{/dev/stdout}{%%TESTDIR%%/stdout.log}g;
        return $conf;
    };
    my $gateway = $local->(text('docker/gateway.conf'));
    is($t->config_error($gateway), '', 'gateway.conf');

    my $whole = $local->(text('docker/nginx.conf'));
    is($whole =~ s{include /etc/nginx/modules-enabled/\*\.conf;}{load_module %%MODULE%%;}, 1, 'nginx.conf loads what the package links');
    is($whole =~ s{include conf\.d/\*\.conf;}{$gateway}, 1, 'and reads conf.d');
    $whole =~ s{include +mime\.types;}{};
    $t->var(MODULE => $t->module_path);
    my ($exit, $output) = $t->nginx_t($whole);
    is($exit, 0, 'nginx.conf with gateway.conf in it') or diag($output);

    ($exit, $output) = $t->nginx_t($local->(text('docker/backend.conf')));
    is($exit, 0, 'backend.conf') or diag($output);
};

subtest 'users of Redis' => sub {
    my %password = map { $_ => $t->secret("the password of $_, long enough") } qw(gateway operator);
    my %rule = text('docker/users.acl.in') =~ /^user (\w+) reset (.*)$/mg;
    is_deeply([sort keys %rule], [qw(default gateway health operator)], 'are four');

    # the same rights as the documentation gives them
    my $docs = text('docs/redis.md');
    for my $user (qw(gateway operator)) {
        my ($line) = $docs =~ /^    ACL SETUSER $user on >PASSWORD (.*)$/m;
        is($rule{$user} =~ s/^on #\@\w+\@ //r, $line, "$user: the line of docs/redis.md");
    }

    my $acl = text('docker/users.acl.in') =~ s/\@GATEWAY\@/sha256_hex($password{gateway})/er
        =~ s/\@OPERATOR\@/sha256_hex($password{operator})/er;
    # --save and such of the harness win over the file's
    my $redis = $t->redis(acl => [split /\n/, $acl], user => 'operator', password => $password{operator});
    is($redis->cmd('HSET', 'opsauth:account:crm', 'name', 'CRM'), 1, 'the operator writes');
    my $gateway = $redis->client(user => 'gateway', password => $password{gateway});
    is_deeply($gateway->cmd('HMGET', 'opsauth:account:crm', 'name'), ['CRM'], 'the gateway reads');
    like(error_of($gateway, 'HSET', 'opsauth:account:crm', 'name', 'x'), qr/^NOPERM/, 'and does not write');
    my $anybody = $redis->client(user => undef, password => undef);
    like(error_of($anybody, 'PING'), qr/^NOAUTH/, 'who gives no password gets in nowhere');
    my $health = $redis->client(user => 'health', password => 'none');
    is($health->cmd('PING'), 'PONG', 'the health check sees that it lives');
    like(error_of($health, 'HMGET', 'opsauth:account:crm', 'name'), qr/^NOPERM/, 'and nothing else');
};

sub error_of {
    my ($client, @words) = @_;
    my $reply = eval { $client->try(@words) } // return "$@";
    return ref $reply eq 'OpsAuth::RESP::Error' ? $reply->{text} : 'no error';
}

$t->done;
