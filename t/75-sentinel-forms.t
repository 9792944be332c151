#!/usr/bin/perl

# Sentinel groups as people run them: with users of their own, with TLS, with
# host names. What a group does is in 74-sentinel.t.

use strict;
use warnings;

use Test::More;

use OpsAuth::Command;
use OpsAuth::Group qw(status settles documented);
use OpsAuth::Process;
use OpsAuth::Sentinel;

# a group with keys in it, and what the gateway and the command need
sub group {
    my (%o) = @_;
    my ($t, $group, $store, @keys) = OpsAuth::Sentinel->gateway(timeout => '1s', keys => 2, %o,
        group => { replicas => 1, %{$o{group} // {}} }, extra => sub { 'stale off;' . ($o{extra} ? $o{extra}->(@_) : '') });
    $t->allow_log(qr/is down/);
    my $opsauth = OpsAuth::Command->new($t, OPSAUTH_PEPPER_FILE => $store->pepper_file, OPSAUTH_REDIS => $group->url);
    return ($t, $group, $store, \@keys, $opsauth);
}

sub fails_over {
    my ($t, $group, $store, $keys) = @_;
    my $new = $group->fail_over;
    $store->{redis} = $new;
    $store->revoke($keys->[0]);
    is(settles($t, $keys->[0], 401), 401, 'a failover is followed: what is revoked there');
    is(settles($t, $keys->[1], 204), 204, 'and what is not');
    return $new;
}

subtest 'users of the sentinels' => sub {
    my %password = map { $_ => "sesame-$_-" . int rand 1e9 } qw(tests gateway data);
    my ($file, $data, $wrong);
    my @tests = (user => 'tests', password => $password{tests});
    my $all = "user default off\nuser tests on >$password{tests} ~* &* +\@all";
    my ($t, $group, $store, $keys, $opsauth) = group(
        group => {
            auth_user => 'tests', auth_password => $password{tests},
            args => ['--masteruser', 'tests', '--masterauth', $password{tests}],
            server => { @tests, acl => [$all, "user gateway on >$password{data} " . documented('ACL SETUSER gateway on >PASSWORD')] },
            sentinel => { @tests, acl => [$all, "user gateway on >$password{gateway} " . documented('user gateway on >PASSWORD')] },
            conf => ['sentinel sentinel-user tests', "sentinel sentinel-pass $password{tests}"],
        },
        extra => sub {
            my ($t) = @_;
            $t->secret(values %password);
            $data = $t->write_file('data.password', "$password{data}\n", 0640);
            $file = $t->write_file('own.password', "$password{gateway}\n", 0640);
            return "redis_user gateway; redis_password_file $data;"
                . "redis_sentinel_user gateway; redis_sentinel_password_file $file;";
        });
    $t->start;
    is(settles($t, $keys->[0], 204), 204, 'with the rights of the documentation');
    my $refused = sub { scalar grep { {@$_}->{username} eq 'gateway' } map { @{$_->cmd('ACL', 'LOG')} } @_ };
    is($refused->($group->sentinels), 0, 'the sentinels refused nothing');
    is($refused->($group->servers), 0, 'nor did the servers');

    my @user = ('--redis-user', 'gateway', '--redis-password-file', $data);
    my @own = ('--sentinel-user', 'gateway', '--sentinel-password-file', $file);
    my ($exit, $out, $err) = $opsauth->run(qw(account show crm), '--redis-user', 'tests', '--redis-password-file',
        $t->write_file('tests.password', "$password{tests}\n", 0600), @own);
    is($exit, 0, 'the command logs in to them') or diag $err;
    ($exit, $out, $err) = $opsauth->run('doctor', '--no-write', @user, @own);
    like($out, qr/sentinels\s.*3 of 3 name/, 'and so does doctor') or diag $out, $err;
    unlike($out, qr/does not tell of a failover/, 'to which they would tell of a failover');
    ($exit, $out, $err) = $opsauth->run('account', 'list', @user);
    isnt($exit, 0, 'without a password');
    like($err, qr/it asks for redis_sentinel_password_file/, 'that is told');
    ($exit, $out, $err) = $opsauth->run(qw(account list --redis redis://127.0.0.1), @own);
    is($exit, 2, 'for no sentinels');
    like($err, qr/--sentinel-user is for sentinels, and the address .* names none/, 'they are a mistake');

    fails_over($t, $group, $store, $keys);

    # a password that changes: the file is read at each connect
    my $mark = $t->mark;
    my $next = "sesame-next-" . int rand 1e9;
    $t->secret($next);
    for my $sentinel ($group->sentinels) {
        $sentinel->cmd('ACL', 'SETUSER', 'gateway', 'resetpass', ">$next");
        $sentinel->cmd('CLIENT', 'KILL', 'USER', 'gateway');
    }
    ok($t->wait_for_log(qr/sentinel "[^"]+" is down: .*WRONGPASS.*check redis_sentinel_user and redis_sentinel_password_file/,
        since => $mark), 'an old password') or diag $t->log_since($mark);
    $t->write_file('own.password', "$next\n", 0640);
    ok($t->wait_for_log(qr/sentinel "[^"]+" is back/, since => $mark, timeout => 20), 'a new one, without a reload');

    $_->cmd('ACL', 'SETUSER', 'gateway', '-subscribe') for $group->sentinels;
    ($exit, $out, $err) = $opsauth->run('doctor', '--no-write', @user, @own);
    is(() = $out =~ /does not tell of a failover: it answers .*NOPERM/g, 3, 'doctor tells which right is missing');
    like($out, qr/ACL SETUSER gateway \+subscribe &\+switch-master/, 'and how it is given');
    $t->finish;
};

subtest 'a right that is missing' => sub {
    my $secret = 'sesame-' . int rand 1e9;
    my $password;
    my ($t, $group, $store, $keys, $opsauth) = group(
        extra => sub {
            my ($t) = @_;
            $t->secret($secret);
            return 'redis_user gateway; redis_password_file '
                . ($password = $t->write_file('password', "$secret\n", 0600)) . ';';
        });
    $_->cmd(qw(ACL SETUSER gateway on), ">$secret", split / /, documented('ACL SETUSER gateway on >PASSWORD') =~ s/ \+role//r)
        for $group->servers;
    $t->start;
    is(status($t, $keys->[0]), 503, 'without +role nobody is believed to be the primary');
    ok($t->wait_for_log(qr/it answers ROLE with NOPERM: its user needs \+role/), 'which is told');
    my ($exit, $out, $err) = $opsauth->run('doctor', '--no-write', '--redis-user', 'gateway', '--redis-password-file', $password);
    like($out, qr/does not allow user "gateway".* to run ROLE: give the user this right, \+role/, 'by doctor, too') or diag $out;
    $t->finish;
};

subtest 'TLS' => sub {
    my ($t, $group, $store, $keys, $opsauth) = group(tls => 1, extra => sub { "redis_ssl_trusted_certificate @{[$_[1]{pki}->ca]};" });
    my $ca = $group->{pki}->ca;
    like($group->url, qr/^rediss\+sentinel:/, 'rediss+sentinel://');
    $t->start;
    is(settles($t, $keys->[0], 204), 204, 'served');
    like($t->log, qr/redis "rediss\+sentinel:[^"]+": TLSv1\.[23]/, 'by TLS');
    my $new = fails_over($t, $group, $store, $keys);

    my ($exit, $out, $err) = $opsauth->run(qw(account show crm --cacert), $ca);
    is($exit, 0, 'the command, too') or diag $err;
    ($exit, $out, $err) = $opsauth->run(qw(doctor --cacert), $ca);
    like($out, qr/sentinels\s.*3 of 3 name 127\.0\.0\.1:${\$new->tls_port}/, 'and doctor') or diag $out, $err;
    like($out, qr/TLS\s.*TLSv1\.[23]/, 'which looks at TLS');
    ($exit, $out, $err) = $opsauth->run(qw(account show crm));
    is($exit, 1, 'but not without its CA');
    like($err, qr/no sentinel tells where the primary is.*can't be trusted/, 'since no sentinel can be trusted');
    is(() = $err =~ /\n/g, 1, 'in one line');
    $t->finish;
};

subtest 'sentinels that nobody can trust' => sub {
    my ($t, $group, $store, $keys) = group(tls => 1, extra => sub {
        my $other = $_[0]->certificates(name => 'OTHER');
        return "redis_ssl_trusted_certificate @{[$other->ca]};";
    });
    $t->start;
    is(status($t, $keys->[0]), 503, 'nobody gets in');
    ok($t->wait_for_log(qr/no sentinel tells where "mymaster" is.*can't be trusted/), 'and why is told') or diag $t->log;
    # the test asks the first one itself
    is($group->sentinel($_)->calls('sentinel|get-master-addr-by-name'), 0, 'and nothing was asked') for 2, 3;
    $t->finish;
};

subtest 'host names' => sub {
    my $dns;
    my ($t, $group, $store, $keys, $opsauth) = group(
        group => { host => 'localhost' }, url => sub { $_[1]->url =~ s/127\.0\.0\.1/sentinel.invalid/gr },
        http => sub {
            $dns = $_[0]->dns;
            $dns->answer(localhost => '127.0.0.1', 'sentinel.invalid' => '127.0.0.1');
            return 'resolver ' . $dns->address . '; resolver_timeout 1s;';
        });
    is($group->sentinel(1)->cmd('SENTINEL', 'get-master-addr-by-name', 'mymaster')->[0], 'localhost', 'a group with names');
    $t->start;
    is(settles($t, $keys->[0], 204), 204, 'nginx\' resolver finds sentinels and the primary');
    is(join(' ', sort keys %{{ map { lc $_ => 1 } $dns->asked }}), 'localhost sentinel.invalid', 'by both names');
    fails_over($t, $group, $store, $keys);
    my ($exit, $out, $err) = $opsauth->run(qw(account show crm));
    is($exit, 0, 'the command finds it, too') or diag $err;

    # doctor reads in nginx.conf whether nginx can
    my $doctor = sub {
        my ($url, $resolver) = @_;
        my $conf = $t->write_file('doctor.conf', "events { }\nhttp { $resolver opsauth_store main { redis $url; "
            . 'pepper_file ' . $store->pepper_file . "; } server { resolver 127.0.0.1; } }\n");
        delete local $opsauth->{env}{OPSAUTH_REDIS};
        my ($exit, $out) = $opsauth->run('doctor', '-c', $conf);
        return $out;
    };
    my $with = 'resolver ' . $dns->address . ';';
    unlike($doctor->($group->url, $with), qr/(?:failure|warning) +(?:names|sentinels)/, 'doctor: a resolver');
    like($doctor->($group->url, ''), qr/failure +sentinels +they name the primary by a host name, "localhost", which nginx does not look up\n\s+-> set nginx' resolver/,
        'doctor: none');
    like($doctor->('redis://redis.invalid', $with), qr/ok +names +nginx looks "redis\.invalid" up at each connect/, 'a server with a name');
    like($doctor->('redis://redis.invalid', ''), qr/warning +names +nginx looks "redis\.invalid" up when it is started or reloaded/, 'without a resolver');
    unlike($doctor->($_, ""), qr/^\w+ +names /m, "$_: no name") for 'redis://127.0.0.1', 'redis://[::1]', 'redis://localhost';
    $t->finish;
};

subtest 'host names without a resolver' => sub {
    my ($t, $group, $store, $keys) = group(group => { host => 'localhost' });
    $t->start;
    is(status($t, $keys->[0]), 503, 'nobody gets in');
    ok($t->wait_for_log(qr/the sentinels call the primary by a host name: set nginx' "resolver"/), 'and why is told');
    $t->finish;
};

done_testing();
