#!/usr/bin/perl

# What doctor and explain say where nginx.conf has the token service, or asks
# another server about tokens. The users of Redis are those of the
# documentation; each right that they are given there must be missed when it is
# taken away.

use strict;
use warnings;

use JSON::PP ();
use Test::More;

use OpsAuth::Command;
use OpsAuth::Test;

my $t = OpsAuth::Test->new;
my $opsauth = OpsAuth::Command->new($t);

my %password = map { $_ => "oauth-$_-" . int rand 1e9 } qw(admin gateway operator);
$t->secret($_) for values %password;
my %file = map { $_ => $t->write_file("$_.password", "$password{$_}\n", 0600) } keys %password;
$t->write_file('pepper', 'p' x 40 . "\n", 0600);

my $redis = $t->redis(acl => ['user default off', "user admin on >$password{admin} ~* &* +\@all"],
    user => 'admin', password => $password{admin});

# the ACL lines as the documentation has them: a user's own, and what is added for
# introspection
my (%acl, @foreign);
{
    open my $fh, '<', OpsAuth::Test->root . '/docs/redis.md' or die "docs/redis.md: $!";
    for my $line (<$fh>) {
        my ($user, $rest) = $line =~ /^    ACL SETUSER (\w+) (.*)/ or next;
        if ($rest =~ s/>PASSWORD//) { $acl{$user} = [grep { length } split / /, $rest] }
        else { @foreign = split / /, $rest }
    }
}
is_deeply([sort keys %acl], [qw(gateway issuer operator)], 'users') or BAIL_OUT('docs/redis.md');
# what one that issues has besides, in the order that a remedy names them
my %plain = map { $_ => 1 } @{$acl{gateway}};
my @issuer = grep { !$plain{$_} } @{$acl{issuer}};

sub users {
    my (@more) = @_;
    $redis->cmd('ACL', 'SETUSER', $_, 'reset', ">$password{$_}", @{$acl{$_}}) for qw(gateway operator);
    $redis->cmd('ACL', 'SETUSER', 'gateway', @more) if @more;
}

sub conf {
    my ($server) = @_;
    return $t->write_file('nginx.conf', 'http { opsauth_store main { redis ' . $redis->url . '; pepper_file pepper; '
        . 'redis_user gateway; redis_password_file gateway.password; '
        . "key_prefix op365_sk_live_ environment=live checksum=crc32; }\n"
        . "server { listen 80; server_name api.example.com;\nopsauth main;\n$server\n} }\n");
}
my @OPERATOR = ('--redis-user', 'operator', '--redis-password-file', $file{operator});
my ($rc, $out, $err, @checks, $conf);

sub opsauth { return ($rc, $out, $err) = $opsauth->run(@_, '-c', $conf, @OPERATOR) }
sub json { return JSON::PP->new->utf8->decode($_[0]) }

sub doctor {
    ($rc, $out, $err) = $opsauth->run(qw(doctor --json -c), $conf, @OPERATOR, @_);
    @checks = @{(eval { json($out) } // { checks => [] })->{checks}};
}
sub bad { return map { "$_->{result} $_->{check}: $_->{text}" } grep { $_->{result} =~ /warning|failure/ } @checks }
sub healthy {
    my ($name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    doctor();
    is_deeply([bad()], [], $name) or diag $err;
}
sub oauth { return map { "$_->{result}: $_->{text}" } grep { $_->{check} eq 'oauth rights' } @checks }

my $SERVICE = "opsauth_oauth_issuer https://api.example.com;\nlocation = /token { opsauth_oauth token; }\n"
    . "location = /.well-known/oauth-authorization-server { opsauth_oauth metadata; }";
my $FOREIGN = "opsauth_introspection /introspect;\nlocation = /introspect { internal; }";

users();
$conf = conf('');
is((opsauth(qw(account create crm)))[0], 0, 'an account') or diag $err;
opsauth(qw(client create --account crm --name app --permission read --redirect-uri https://a.example/cb --json));
is($rc, 0, 'a client, as the operator of the documentation') or diag $err;
my $client = json($out);
$t->secret($client->{client_secret});
opsauth(qw(token issue --account crm --scope read:a --subject), 'joe doe', '--client', $client->{id}, '--json');
is($rc, 0, 'a token') or diag $err;
my $token = json($out);
$t->secret($token->{token});
$redis->cmd(qw(CONFIG SET appendonly yes));

subtest 'doctor: whom it concerns' => sub {
    healthy('without a token service, the gateway that only reads is right');
    is_deeply([oauth()], [], 'and nothing is said of it');
    for my $server ("location = /m { opsauth_oauth metadata; }\nlocation = /r { opsauth_oauth resource; }",
        'opsauth_introspection off;', 'location = /t { opsauth_oauth token elsewhere; }')
    {
        $conf = conf($server);
        healthy($server);
        is_deeply([oauth()], [], '  asks nothing of this store');
    }
    for my $kind (qw(token revoke introspect authorize)) {
        $conf = conf("location /a { location /a/b { opsauth_oauth $kind; } }");
        doctor();
        is($rc, 1, "$kind needs more than to read");
        ok(scalar(oauth()), '  and it is said');
    }
};

subtest 'doctor: the rights of the documentation' => sub {
    for my $case ([$SERVICE, \@issuer], [$FOREIGN, \@foreign]) {
        my ($server, $rights) = @$case;
        $conf = conf($server);
        users(@$rights);
        my $before = $redis->cmd(qw(DEBUG DIGEST));
        healthy('all is well');
        like((oauth())[0], qr/^ok: user "gateway" may do all that is needed for tokens \(opsauth_\w+ in nginx\.conf:\d+\)$/);
        is($redis->cmd(qw(DEBUG DIGEST)), $before, 'nothing was changed');

        for my $right (@$rights) {
            my @rest = grep { $_ ne $right } @$rights;
            users(@rest);
            doctor();
            my @missed = grep { ($_->{remedy} // '') eq "ACL SETUSER gateway $right" } @checks;
            ok(scalar @missed, "$right is missed") or diag(join "\n", bad());
            is((grep { $_->{result} ne 'failure' } @missed) + 0, 0, '  which is a failure');
            $redis->cmd(split / /, $missed[0]{remedy}) if @missed;
            healthy('  and its remedy helps');
        }
    }
    $conf = conf($SERVICE);
    users(@issuer);
    $redis->cmd(qw(ACL SETUSER gateway +multi ~opsauth:account:*));
    doctor();
    ok((grep { $_->{check} eq 'protection' && $_->{result} eq 'warning' && $_->{text} =~ /"gateway" may change accounts/ } @checks),
        'more than it needs') or diag(join "\n", bad());
    users(@issuer);
    doctor();
    ok((grep { $_->{check} eq 'protection' && $_->{result} eq 'ok' && $_->{text} =~ /nor may the gateway's user "gateway" change an account/ } @checks), 'no more');
    users();
};

subtest 'doctor: clients' => sub {
    $conf = conf('');
    doctor();
    ok((grep { $_->{text} =~ /^1 account, 1 credential, 1 client$/ } @checks), 'are counted') or diag explain \@checks;
    for my $case ([{ account => 'gone' }, qr/there is no account "gone"/],
        [{ auth_method => 'private_key_jwt' }, qr/its field jwk is missing/],
        [{ grants => 'password' }, qr/its field grants is missing, of a wrong form/])
    {
        my ($change, $said) = @$case;
        my $name = "opsauth:client:$client->{id}";
        my %before = @{$redis->cmd('HGETALL', $name)};
        $redis->cmd('HSET', $name, %$change);
        doctor();
        my ($check) = grep { $_->{check} eq 'clients' } @checks;
        is($check->{result}, 'warning', join ' ', %$change);
        like($check->{text}, qr/^1 of 1 clients looked into can't log in: $client->{id}: /);
        like($check->{text}, $said);
        $redis->cmd('HSET', $name, %before);
    }
    healthy('all is well again');
};

subtest 'explain' => sub {
    $conf = conf("$SERVICE\nlocation /v1 { }\nlocation /known { opsauth_introspection off; }\n$FOREIGN");
    opsauth('explain', $token->{id}, qw(GET http://api.example.com/v1 --from 192.0.2.1));
    is($rc, 0, 'a token') or diag $err;
    like($out, qr/^credential +$token->{id} of account crm, given to client $client->{id}, acting for joe doe$/m, 'its client and its user');
    opsauth('--json', 'explain', $token->{id}, qw(GET http://api.example.com/v1 --from 192.0.2.1));
    is_deeply([@{json($out)}{qw(client subject)}], [$client->{id}, 'joe doe'], '--json');

    opsauth('explain', $token->{id}, qw(POST http://api.example.com/token --from 192.0.2.1));
    is($rc, 0, 'an endpoint of the token service');
    like($out, qr/^guard +nginx\.conf:\d+: opsauth_oauth token$/m, 'is named');
    like($out, qr/^not guarded: the token service answers here, and asks for a login of its own$/m);
    opsauth('--json', 'explain', $token->{id}, qw(POST http://api.example.com/token --from 192.0.2.1));
    is(json($out)->{verdict}, 'unguarded', '--json');

    my $unknown = 'x' x 43;
    my $asked = qr/^not followed: nginx\.conf:\d+: opsauth_introspection \/introspect$/m;
    for my $case ([$unknown, '/v1', 1], [$unknown, '/known', 0], [$token->{token}, '/v1', 0]) {
        my ($bearer, $path, $follows) = @$case;
        ($rc, $out, $err) = $opsauth->run({ in => $bearer }, qw(explain - GET), "http://api.example.com$path",
            qw(--from 192.0.2.1 -c), $conf, @OPERATOR);
        ($follows ? \&like : \&unlike)->($out, $asked, $follows ? 'an unknown token would be asked for' : "not so: $path");
        like($out, qr/^denied: unknown, HTTP 401$/m, '  the verdict is that of the records') if $bearer eq $unknown;
    }
};

unlink glob($t->dir . '/cli.*');
$t->done;
