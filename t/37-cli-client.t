#!/usr/bin/perl

# opsauth client: what is written, what is shown once, what is refused; the
# ceiling of an account's scopes; clients in import and export. With a real
# Redis; digests are computed independently of the command.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex);
use JSON::PP ();
use MIME::Base64 qw(decode_base64url encode_base64url);
use Test::More;

use OpsAuth::Command;
use OpsAuth::Test;

my $t = OpsAuth::Test->new;
my $dir = $t->dir;
my $redis = $t->redis;
my $store = $t->store(redis => $redis);
my $opsauth = OpsAuth::Command->new($t, OPSAUTH_REDIS => $redis->url, OPSAUTH_PEPPER_FILE => $store->pepper_file,
    OPSAUTH_KEY_PREFIX => 'live=op365_sk_live_');
my ($rc, $out, $err);

sub opsauth { return ($rc, $out, $err) = $opsauth->run(@_) }
sub json { return JSON::PP->new->utf8->decode($_[0]) }
sub fields { return {@{$redis->cmd('HGETALL', $_[0])}} }
sub record { return fields("opsauth:client:$_[0]") }
sub audit { return map { {@{$_->[1]}} } @{$redis->cmd('XRANGE', 'opsauth:audit', '-', '+')} }
sub members { return [sort @{$redis->cmd('SMEMBERS', $_[0])}] }

sub refused {
    my ($words, $code, $said, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    opsauth(@$words);
    is("$rc $out", "$code ", $name // "@$words");
    like($err, $said, '  says so');
}

# a client by the command; its id and its secret
sub create {
    my (@words) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    opsauth(qw(--json client create --account crm --name app), @words);
    is($rc, 0, "create @words") or diag $err;
    my $client = json($out);
    $t->secret($client->{client_secret}) if defined $client->{client_secret};
    return ($client->{id}, $client->{client_secret});
}

my @WEB = ('--redirect-uri', 'https://crm.example.com/cb', '--permission', 'read');

# public keys, and a private one, as files
sub openssl { my ($command) = @_; my $text = `$command 2>/dev/null`; die "$command: $?\n" if $?; return $text }
sub point {
    openssl("openssl ecparam -name prime256v1 -genkey -noout -out $dir/ec.pem");
    my $der = openssl("openssl ec -in $dir/ec.pem -pubout -outform DER");
    return (encode_base64url(substr $der, -64, 32), encode_base64url(substr $der, -32));
}
sub jwk { my ($name, %jwk) = @_; return $t->write_file($name, JSON::PP->new->canonical->encode(\%jwk)) }
my ($x, $y) = point();
my %ec = (kty => 'EC', crv => 'P-256', x => $x, y => $y, kid => 'one');
my $jwk = jwk('public.jwk', %ec, use => 'sig', alg => 'ES256', x5c => ['left out']);

refused([qw(client list --account crm)], 3, qr/there is no account "crm"/);
opsauth(qw(account create crm));
is((opsauth(qw(client list)))[1] =~ tr/\n//, 1, 'an empty list has its head');
is((opsauth(qw(--json client list)))[1], "[]\n", 'and is an array');

subtest 'create' => sub {
    my $then = time;
    opsauth(qw(client create --account crm --name), 'CRM app', '--redirect-uri', 'https://a.example/cb?x=1,2',
        '--redirect-uri', 'http://127.0.0.1/cb', qw(--scope read:a --scope read:b --scope read:a));
    is($rc, 0, 'create') or diag $err;
    my ($secret) = $out =~ /^([0-9A-Za-z]{43})\n\z/;
    ok($secret, 'the secret stands alone on stdout') or diag $out;
    $t->secret($secret // ());
    my ($id) = $err =~ /^opsauth: (client_[0-9A-Za-z]{16}) "CRM app" is a live client of account crm, /;
    ok($id, 'its id on stderr') or diag $err;
    like($err, qr/shown this once; the store has only its digest/);
    unlike($err, qr/\Q$secret\E/, 'which has no secret');
    my $got = record($id);
    ok($got->{created} >= $then && $got->{created} <= time, 'created now');
    is_deeply($got, { account => 'crm', name => 'CRM app', secret => hmac_sha256_hex($secret, $store->pepper),
        redirect_uris => 'https://a.example/cb?x=1,2 http://127.0.0.1/cb', scopes => 'read:a read:b',
        grants => 'authorization_code refresh_token', auth_method => 'client_secret_basic client_secret_post',
        environment => 'live', enabled => 1, created => $got->{created}, updated => $got->{created} }, 'the record');
    is_deeply(members('opsauth:clients:crm'), [$id], 'is the account\'s');
    my ($entry) = grep { $_->{action} eq 'client.create' } audit();
    is($entry->{object}, $id, 'audit');
    like($entry->{detail}, qr/^account=crm, name=CRM app, secret, redirect_uris=https:.*scopes=read:a read:b/);
    unlike($entry->{detail}, qr/$got->{secret}/, 'without the digest');

    opsauth(qw(client show), $id);
    like($out, qr/^logs in by +client_secret_basic client_secret_post$/m, 'show');
    like($out, qr/^redirect URI +https:.*\nredirect URI +http:/m);
    unlike($out, qr/$got->{secret}/, 'without the digest');
    my $shown = json((opsauth(qw(--json client show), $id))[1]);
    is_deeply($shown->{redirect_uris}, ['https://a.example/cb?x=1,2', 'http://127.0.0.1/cb'], 'show --json');
    ok(!exists $shown->{secret} && !exists $shown->{client_secret}, 'has no secret');
    like((opsauth(qw(account show crm)))[1], qr/^clients +1$/m, 'account show counts it');
    is(json((opsauth(qw(--json account show crm)))[1])->{clients}, 1, 'in JSON too');

    opsauth(qw(--json client create --account crm --name job --permission write --environment test));
    is("$rc $err", '0 ', '--json');
    my $object = json($out);
    $t->secret($object->{client_secret});
    is(hmac_sha256_hex($object->{client_secret}, $store->pepper), record($object->{id})->{secret}, 'id and secret in one');
    is("@{$object->{grants}} $object->{environment}", 'client_credentials test', 'without a redirect URI: for itself');
    is_deeply([map { $_->{id} } @{json((opsauth(qw(--json client list --account crm)))[1])}],
        members('opsauth:clients:crm'), 'list --account');
    like((opsauth(qw(client list)))[1], qr/^\Q$id\E +CRM app +crm +yes +live /m, 'list');
};

subtest 'ways to log in' => sub {
    opsauth(qw(client create --account crm --name cli --auth-method none), @WEB);
    my $id = $out =~ s/\n\z//r;
    like($id, qr/^client_\w{16}$/, 'a public client: its id on stdout');
    ok(!exists record($id)->{secret}, 'it has no secret');
    unlike($err, qr/secret is shown/, 'nor is one told of');

    opsauth(qw(client create --account crm --name pk --permission read --jwk), $jwk);
    $id = $out =~ s/\n\z//r;
    is(record($id)->{auth_method}, 'private_key_jwt', '--jwk');
    is_deeply(json(record($id)->{jwk}), \%ec, 'the public key and its name, nothing more');
    ok(!exists record($id)->{secret}, 'no secret');

    opsauth(qw(client create --account crm --name s --permission read --signed-login));
    is($rc, 0, '--signed-login') or diag $err;
    my $secret = $out =~ s/\n\z//r;
    $t->secret($secret);
    like($err, qr/for client_secret_jwt the store has it wrapped, so that who has the store and the pepper can read it/);
    ($id) = $err =~ /(client_\w{16})/;
    my $got = record($id);
    is($got->{auth_method}, 'client_secret_jwt', 'alone');
    ok(!exists $got->{secret}, 'no digest is needed');
    my $wrapped = decode_base64url($got->{secret_wrapped});
    is(length $wrapped, 12 + 43 + 16, 'nonce, secret and tag');
    is(index($wrapped, $secret), -1, 'encrypted');
    my ($both) = create(qw(--permission read --auth-method client_secret_post --signed-login));
    is(record($both)->{auth_method}, 'client_secret_post client_secret_jwt', 'besides another');
    ok(record($both)->{secret} && record($both)->{secret_wrapped}, 'has both forms');
    isnt(substr(record($both)->{secret_wrapped}, 0, 16), substr($got->{secret_wrapped}, 0, 16), 'another nonce');

    my ($backend) = create('--introspect');
    is_deeply([@{record($backend)}{qw(introspect grants scopes)}], [1, '', ''], 'a backend that only asks');
};

subtest 'what is refused' => sub {
    my $count = $redis->cmd('DBSIZE');
    my @create = qw(client create --account crm --name n);
    my %private = (%ec, d => 'AAAA');
    for my $case (
        [[qw(client create --name n --permission read)], 2, qr/--account is missing/],
        [[qw(client create --account crm --permission read)], 2, qr/--name is missing/],
        [[qw(client create --account gone --name n --permission read)], 3, qr/there is no account "gone"/],
        [[@create], 2, qr/what may it do\? Give --permission/],
        [[@create, qw(--permission read --redirect-uri http://a.example/)], 2, qr/--redirect-uri "http:\/\/a.example\/": http:\/\/ is for a loopback/],
        [[@create, qw(--permission read --redirect-uri), "https://a.example/#x"], 2, qr/no fragment/],
        [[@create, qw(--permission read --redirect-uri javascript:alert(1))], 2, qr/--redirect-uri/],
        [[@create, '--redirect-uri', 'https://a.example/ https://b.example/', qw(--permission read)], 2, qr/written as %XX/],
        [[@create, qw(--permission read --redirect-uri), ''], 0, qr/is a live client/],
        [[@create, qw(--permission read --grant password)], 2, qr/--grant "password": expected any of authorization_code/],
        [[@create, qw(--permission read --grant authorization_code)], 2, qr/authorization_code needs to know where.*--redirect-uri/],
        [[@create, @WEB, qw(--grant refresh_token)], 2, qr/refresh_token needs another one/],
        [[@create, qw(--permission read --auth-method none)], 2, qr/needs to know where users are sent/],
        [[@create, @WEB, qw(--auth-method none --grant client_credentials)], 2, qr/client_credentials is not for public clients/],
        [[@create, @WEB, qw(--auth-method none --introspect)], 2, qr/public client .* may not ask about tokens/],
        [[@create, @WEB, qw(--auth-method none --signed-login)], 2, qr/public client .* no secret to sign with/],
        [[@create, @WEB, qw(--auth-method none --auth-method client_secret_post)], 2, qr/expected none alone/],
        [[@create, @WEB, qw(--auth-method tls_client_auth)], 2, qr/--auth-method "tls_client_auth": expected/],
        [[@create, @WEB, qw(--auth-method private_key_jwt)], 2, qr/needs the client's public key: --jwk FILE/],
        [[@create, @WEB, qw(--auth-method client_secret_post --jwk), $jwk], 2, qr/--jwk goes with --auth-method private_key_jwt/],
        [[@create, @WEB, '--jwk', "$dir/none"], 1, qr/can't be opened/],
        [[@create, @WEB, '--jwk', jwk('private.jwk', %private)], 1, qr/it has "d", so that it is the private key/],
        [[@create, @WEB, '--jwk', jwk('oct.jwk', kty => 'oct', k => 'c2VjcmV0')], 1, qr/it has "k"/],
        [[@create, @WEB, '--jwk', jwk('short.jwk', %ec, x => 'AAAA')], 1, qr/short\.jwk": /],
        [[@create, @WEB, '--jwk', jwk('alg.jwk', %ec, alg => 'ES384')], 1, qr/"alg" is "ES384", expected ES256/],
        [[@create, @WEB, '--jwk', jwk('enc.jwk', %ec, use => 'enc')], 1, qr/not for signatures/],
        [[@create, @WEB, '--jwk', $t->write_file('no.jwk', '{"kty":')], 1, qr/it is no JSON \(line 1\)/],
        [[@create, @WEB, '--jwk', $t->write_file('set.jwk', '{"keys":[]}')], 1, qr/expected one key/],
        [[@create, qw(--permission read --environment prod)], 2, qr/--environment "prod": expected live or test/],
        [[@create, qw(--permission read --redirect-ur x)], 2, qr/did you mean "--redirect-uri"/],
        [[qw(client show client_none)], 3, qr/there is no client "client_none"/],
        [[qw(client show), 'a b'], 2, qr/is no id of a client/],
        [[qw(client craete)], 2, qr/did you mean "create"/],
    ) {
        my ($words, $code, $said) = @$case;
        opsauth(@$words);
        is($rc, $code, "@$words[3 .. $#$words]") or diag $err;
        like($err, $said, '  says so');
        unlike($err, qr/AAAA|c2VjcmV0/, '  and no private key');
        if ($code == 0) {
            $t->secret($out =~ /(\w+)/);
            $count = $redis->cmd('DBSIZE');
        }
    }
    is($redis->cmd('DBSIZE'), $count, 'none of them made anything');
    my $set = $t->write_file('one.jwk', JSON::PP->new->encode({ keys => [\%ec] }));
    is((opsauth(qw(client create --account crm --name set --permission read --jwk), $set))[0], 0, 'a set of one key') or diag $err;
};

subtest 'set' => sub {
    my ($id) = create(@WEB, '--signed-login', '--auth-method', 'client_secret_basic');
    my $before = record($id);
    opsauth(qw(client set), $id, qw(--name), 'new name', qw(--scope read:x --redirect-uri https://new.example/ --introspect));
    is("$rc $out", "0 client $id changed\n", 'set') or diag $err;
    is_deeply(record($id), {%$before, name => 'new name', scopes => 'read:x', redirect_uris => 'https://new.example/',
        introspect => 1, updated => record($id)->{updated}}, 'changes what is given, replaces lists');
    like((audit())[-1]{detail}, qr/^account=crm, name=new name, redirect_uris=\S+, scopes=read:x, introspect=1$/, 'audit');
    my $entries = () = audit();
    is((opsauth(qw(client set), $id, qw(--introspect --scope read:x)))[1], "client $id is so already\n", 'nothing new');
    is(scalar(() = audit()), $entries, 'is nothing to tell');
    opsauth(qw(client set), $id, '--no-introspect');
    is(record($id)->{introspect}, 0, '--no-introspect');
    refused([qw(client set), $id], 2, qr/nothing to change/);
    refused([qw(client set), $id, qw(--introspect --no-introspect)], 2, qr/exclude each other/);
    refused([qw(client set), $id, '--redirect-uri', ''], 2, qr/authorization_code needs to know where/);
    opsauth(qw(client set), $id, '--redirect-uri', '', qw(--grant client_credentials));
    is($rc, 0, 'both together are right') or diag $err;
    ok(!exists record($id)->{redirect_uris}, 'an empty value clears');

    opsauth(qw(client set), $id, qw(--auth-method client_secret_basic));
    ok(!exists record($id)->{secret_wrapped}, 'without client_secret_jwt, the wrapped secret goes');
    is(record($id)->{secret}, $before->{secret}, 'and the digest stays');
    refused([qw(client set), $id, qw(--auth-method client_secret_jwt)], 2, qr/"opsauth client rotate $id --signed-login" makes one/);
    refused([qw(client set), $id, qw(--auth-method private_key_jwt)], 2, qr/--jwk FILE/);
    opsauth(qw(client set), $id, qw(--auth-method private_key_jwt --jwk), $jwk);
    ok(!exists record($id)->{secret} && record($id)->{jwk}, 'a key in place of the secret') or diag $err;
    refused([qw(client set), $id, qw(--auth-method client_secret_post)], 2, qr/needs a new secret: "opsauth client rotate $id --auth-method/);
    is(record($id)->{auth_method}, 'private_key_jwt', 'is refused as a whole');
};

subtest 'rotate' => sub {
    my ($id, $old) = create(@WEB);
    my $before = record($id);
    opsauth(qw(client rotate), $id);
    my ($new) = $out =~ /^(\w{43})\n\z/;
    $t->secret($new // ());
    is($rc, 0, 'rotate') or diag $err;
    isnt($new, $old, 'another secret');
    is_deeply(record($id), {%$before, secret => hmac_sha256_hex($new, $store->pepper), updated => record($id)->{updated}},
        'nothing else changes');
    like($err, qr/^opsauth: $id has a new secret; the old one has ended$/m);
    like((audit())[-1]{detail}, qr/^account=crm, secret$/, 'audit: no digest');
    opsauth(qw(client rotate), $id, '--signed-login');
    $t->secret($out =~ /(\w+)/);
    is(record($id)->{auth_method}, 'client_secret_basic client_secret_post client_secret_jwt', '--signed-login');
    ok(record($id)->{secret_wrapped}, 'the wrapped form is there');
    opsauth(qw(client rotate), $id, qw(--auth-method client_secret_jwt --json));
    $t->secret(json($out)->{client_secret});
    ok(!exists record($id)->{secret}, '--auth-method: what it does not need goes');

    my ($public) = create(@WEB, qw(--auth-method none));
    refused([qw(client rotate), $public], 2, qr/logs in by none and has no secret; --auth-method client_secret_basic would/);
    opsauth(qw(client rotate), $public, qw(--auth-method client_secret_basic));
    $t->secret($out =~ /(\w+)/);
    ok(record($public)->{secret}, 'a public one becomes confidential');
    refused([qw(client rotate client_none)], 3, qr/there is no client/);
};

subtest 'what reaches nobody' => sub {
    plan skip_all => 'no /dev/full' unless -c '/dev/full';
    my $before = members('opsauth:clients:crm');
    for my $words (['client', 'create', qw(--account crm --name n), @WEB], ['--json', 'client', 'create', qw(--account crm --name n), @WEB]) {
        opsauth({ out => '/dev/full' }, @$words);
        is($rc, 1, "@$words[0 .. 1]");
        like($err, qr/can't write to stdout.*taken back/s, 'is taken back');
    }
    is_deeply(members('opsauth:clients:crm'), $before, 'and gone');
    is(scalar(@{$redis->cmd('KEYS', 'opsauth:client:*')}), scalar @$before, 'as is the record');

    my ($id) = create(@WEB, qw(--auth-method client_secret_post --signed-login));
    my $record = record($id);
    opsauth({ out => '/dev/full' }, qw(client rotate), $id, qw(--auth-method client_secret_basic));
    is($rc, 1, 'rotate');
    like($err, qr/the new secret did not reach anybody; the old one goes on/);
    is_deeply({%{record($id)}, updated => 0}, {%$record, updated => 0}, 'all is as it was');
};

subtest 'enable, disable' => sub {
    my ($id) = create(@WEB);
    is((opsauth(qw(client disable), $id))[1], "client $id disabled\n", 'disable');
    is(record($id)->{enabled}, 0, 'is so');
    is((opsauth(qw(client disable), $id))[1], "client $id is disabled already\n", 'again');
    like((opsauth(qw(client show), $id))[1], qr/^enabled +no$/m);
    is((opsauth(qw(client enable), $id))[1], "client $id enabled\n", 'enable');
    is(record($id)->{enabled}, 1, 'is so');
    opsauth(qw(client disable), $id, qw(--wait --lease 100ms));
    like($err, qr/in force everywhere/, '--wait');
    refused([qw(client disable client_none)], 3, qr/there is no client/);
};

subtest 'a ceiling of scopes' => sub {
    opsauth(qw(account create low --scope read:a --scope write:*));
    is(fields('opsauth:account:low')->{scopes}, 'read:a write:*', 'create --scope');
    like((opsauth(qw(account show low)))[1], qr/^scopes +read:a write:\*$/m, 'show');
    is_deeply(json((opsauth(qw(--json account show low)))[1])->{scopes}, ['read:a', 'write:*'], 'show --json');
    opsauth(qw(account set low --scope read:b));
    is(fields('opsauth:account:low')->{scopes}, 'read:b', 'set replaces');
    opsauth(qw(account set low --scope), '');
    ok(!exists fields('opsauth:account:low')->{scopes}, 'an empty value is no ceiling: the field goes');
    is((opsauth(qw(account set low --scope), ''))[1], "account low is so already\n", 'again');
    ok(!exists fields('opsauth:account:crm')->{scopes}, 'nor is it there without the option');
    is(json((opsauth(qw(--json account show low)))[1])->{scopes}, undef, 'null in JSON');
    refused([qw(account set low --scope), 'a"b'], 2, qr/--scope "a"b": expected words/);
};

subtest 'export and import' => sub {
    opsauth(qw(account set low --scope read:z));
    my @keys = sort @{$redis->cmd('KEYS', 'opsauth:client:*')};
    my %before = map { $_ => fields($_) } @keys;
    my $file = "$dir/all.jsonl";
    opsauth('export', $file);
    like($err, qr/2 accounts, \d+ clients and 0 credentials written/, 'export');
    open my $fh, '<', $file or die $!;
    my @lines = <$fh>;
    is_deeply([map { json($_)->{type} } @lines], [('account') x 2, ('client') x @keys], 'accounts first, then clients');

    my $other = $t->redis(name => 'OTHER');
    my @other = ('--redis', $other->url);
    opsauth(@other, 'import', $file);
    is($rc, 0, 'import') or diag $err;
    like($out, qr/^clients: +@{[scalar @keys]} created, 0 replaced, 0 unchanged$/m, 'counts them');
    is_deeply({map { $_ => {@{$other->cmd('HGETALL', $_)}} } @keys}, \%before, 'each as it was');
    is_deeply([sort @{$other->cmd('SMEMBERS', 'opsauth:clients:crm')}], members('opsauth:clients:crm'), 'and its place');
    is({@{$other->cmd('HGETALL', 'opsauth:account:low')}}->{scopes}, 'read:z', 'the ceiling of an account');
    opsauth(@other, 'import', $file);
    like($out, qr/^clients: +0 created, 0 replaced, @{[scalar @keys]} unchanged$/m, 'may be repeated');

    my ($line) = grep { json($_)->{type} eq 'client' && json($_)->{secret} } @lines;
    my $client = json($line);
    my $try = sub {
        my ($change, $code, $said, @options) = @_;
        my %new = (%$client, %$change);
        delete @new{grep { !defined $new{$_} } keys %new};
        my @run = opsauth({ in => JSON::PP->new->utf8->encode(\%new) . "\n" }, @other, qw(--json import -), @options);
        is($rc, $code, join ' ', map { $_ . '=' . ($new{$_} // 'none') } keys %$change) or diag $err;
        like($err . $out, $said, '  says so');
    };
    my $raw = 'A' x 43;
    $try->({ name => 'other' }, 1, qr/client "$client->{id}" exists already, with another "name"; --replace overwrites it/);
    $try->({ name => 'other' }, 0, qr/"clients": \{\s+"created": 0,\s+"replaced": 1/, '--replace');
    is({@{$other->cmd('HGETALL', "opsauth:client:$client->{id}")}}->{name}, 'other', '  and it is');
    $try->({ account => 'low' }, 1, qr/belongs to account "crm"; it stays there/, '--replace');
    $try->({ account => 'gone', id => 'client_x' }, 1, qr/there is no account "gone"/);
    $try->({ secret => $raw }, 1, qr/"secret": expected a digest/);
    unlike($err . $out, qr/$raw/, '  and does not repeat it');
    $try->({ secret => undef }, 1, qr/"secret": is missing, or does not go with the rest/);
    $try->({ auth_method => ['none'] }, 1, qr/does not go with the rest/);
    $try->({ redirect_uris => ['http://evil.example/'] }, 1, qr/"redirect_uris": expected URIs/);
    $try->({ grants => ['password'] }, 1, qr/"grants": expected any of/);
    $try->({ id => undef }, 1, qr/"id": is missing/);
    $try->({ redirect_urls => ['https://a.example/'] }, 1, qr/unknown member "redirect_urls"; did you mean "redirect_uris"/);
    $try->({ id => 'client_new', name => 'a new one' }, 0, qr/"created": 1/);
    is($other->cmd('SISMEMBER', 'opsauth:clients:crm', 'client_new'), 1, '  in its place');
    opsauth({ in => qq({"type":"account","id":"a","enabled":true,"scopes":"a\\"b"}\n) }, @other, 'import', '-');
    like($err, qr/"scopes": expected words/, 'the form of an account\'s scopes');
    $other->stop;
};

my $dump = join "\n", map { join ' ', %$_ } audit();
unlike($dump, qr/\b[0-9a-f]{64}\b/, 'no digest in the audit');

unlink glob("$dir/cli.*"), "$dir/all.jsonl";
$t->done;
