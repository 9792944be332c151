#!/usr/bin/perl

# Signed logins (RFC 7523): the secret or private key stays with the client, what
# travels is good once, for a moment, and for us alone.

use strict;
use warnings;

use Test::More;

use OpsAuth::HTTP;
use OpsAuth::JOSE;
use OpsAuth::OAuth;
use OpsAuth::Test;

*said = \&OpsAuth::OAuth::said;

my $TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
my $ISSUER = $OpsAuth::OAuth::ISSUER;

my $t = OpsAuth::Test->new;
my $store = $t->store;
my $o = OpsAuth::OAuth->new(t => $t, store => $store);

$store->account('acme');
my %key = map { $_ => OpsAuth::JOSE::key($_) } qw(RS256 ES256 EdDSA);
my $secret = $store->token . $store->token;
my $wrapped = OpsAuth::JOSE::wrap($store->pepper, 'hmac', $secret);
$t->secret($secret, $wrapped);
$o->client('hmac', auth_method => 'client_secret_jwt', secret => undef, secret_wrapped => $wrapped);
$o->client($_, auth_method => 'private_key_jwt', secret => undef, jwk => OpsAuth::JOSE::json($key{$_}{public}))
    for keys %key;
$o->client('both', auth_method => 'client_secret_basic client_secret_jwt private_key_jwt', secret => $secret,
    secret_wrapped => OpsAuth::JOSE::wrap($store->pepper, 'both', $secret),
    jwk => OpsAuth::JOSE::json({ %{$key{ES256}{public}}, kid => 'k1', use => 'sig' }));
$o->client('moved', auth_method => 'client_secret_jwt', secret => undef, secret_wrapped => $wrapped);
$o->client('weak', auth_method => 'private_key_jwt', secret => undef,
    jwk => OpsAuth::JOSE::json(OpsAuth::JOSE::key('RS256', bits => 1024)->{public}));
$o->client('junk', auth_method => 'private_key_jwt', secret => undef, jwk => '{"kty":"RSA"}');
$o->client('plain', secret => $secret);

$t->config_http($o->conf);
$t->start;

my $n = 0;

sub claims {
    my ($client, %more) = @_;
    my %claims = (iss => $client, sub => $client, aud => $ISSUER, exp => time + 60, iat => time,
        jti => 'id-' . $$ . '-' . ++$n, %more);
    delete @claims{grep { !defined $claims{$_} } keys %claims};
    return \%claims;
}

sub send_jwt {
    my ($jwt, @form) = @_;
    $t->secret($jwt) if length $jwt > 40;
    return $o->post('token', {}, grant_type => 'client_credentials', client_assertion_type => $TYPE,
        client_assertion => $jwt, @form);
}

# by the secret of "hmac" unless said otherwise
sub hmac {
    my ($claims, %o) = @_;
    return send_jwt(OpsAuth::JOSE::jwt(alg => 'HS256', secret => $secret, claims => $claims, %o));
}

subtest 'every algorithm' => sub {
    my $r = hmac(claims('hmac'));
    is($r->status, 200, 'HS256') or diag $r->body, $t->log;
    is($store->read_credential($r->json->{access_token})->{client}, 'hmac', 'for its client');
    for my $alg (sort keys %key) {
        $r = send_jwt(OpsAuth::JOSE::jwt(alg => $alg, private => $key{$alg}{private}, claims => claims($alg)));
        is($r->status, 200, $alg) or diag $r->body, $t->log;
    }
    is(hmac(claims('both'))->status, 200, 'a client with several: by secret');
    is(send_jwt(OpsAuth::JOSE::jwt(alg => 'ES256', private => $key{ES256}{private}, header => { kid => 'k1' },
        claims => claims('both')))->status, 200, 'by key');
    is($o->post('token', { client => 'both' }, grant_type => 'client_credentials')->status, 200, 'by Basic');
    is(send_jwt(OpsAuth::JOSE::jwt(alg => 'HS256', secret => $secret, claims => claims('hmac')), client_id => 'hmac')->status,
        200, 'with client_id');
    is(said(send_jwt(OpsAuth::JOSE::jwt(alg => 'HS256', secret => $secret, claims => claims('hmac')), client_id => 'both')),
        '400 invalid_request', 'with another one\'s');
};

subtest 'claims' => sub {
    my $now = time;
    my @good = (
        ['aud: the token endpoint', aud => "$ISSUER/oauth/token"],
        ['aud: a list', aud => ['https://elsewhere.test', $ISSUER]],
        ['exp in nine minutes', exp => $now + 540],
        ['exp with a fraction', exp => $now + 30.5],
        ['exp within the skew', exp => $now - 30],
        ['nbf within the skew', nbf => $now + 30],
        ['no iat', iat => undef],
        ['a long jti', jti => 'j' x 256],
    );
    for my $case (@good) {
        my ($name, %claims) = @$case;
        is(said(hmac(claims('hmac', %claims))), '200', $name) or diag $t->log;
    }
    my @bad = (
        ['no aud', aud => undef],
        ['another aud', aud => 'https://elsewhere.test'],
        ['aud with a slash', aud => "$ISSUER/"],
        ['aud: an empty text', aud => ''],
        ['aud: an empty list', aud => []],
        ['aud: a list of others', aud => ['https://elsewhere.test', 7]],
        ['aud: a nested list', aud => [[$ISSUER]]],
        ['aud: an object', aud => { $ISSUER => 1 }],
        ['no exp', exp => undef],
        ['exp: text', exp => 'soon'],
        ['exp past', exp => $now - 120],
        ['exp far ahead', exp => $now + 7200],
        ['exp very far ahead', exp => 1e300],
        ['exp negative', exp => -1],
        ['nbf to come', nbf => $now + 300],
        ['nbf: text', nbf => 'now'],
        ['iat to come', iat => $now + 300],
        ['no jti', jti => undef],
        ['an empty jti', jti => ''],
        ['jti: a number', jti => 7],
        ['a very long jti', jti => 'j' x 257],
        ['another iss', iss => 'both'],
        ['no iss', iss => undef],
        ['no sub', sub => undef],
        ['another sub', sub => 'both'],
        ['sub: an unknown one', sub => 'nobody', iss => 'nobody'],
        ['sub: no id', sub => 'a b', iss => 'a b'],
        ['sub: a number', sub => 7],
    );
    for my $case (@bad) {
        my ($name, %claims) = @$case;
        is(said(hmac(claims('hmac', %claims))), '401 invalid_client', $name);
    }
};

subtest 'once' => sub {
    my $jwt = OpsAuth::JOSE::jwt(alg => 'HS256', secret => $secret, claims => claims('hmac', jti => 'once'));
    is(send_jwt($jwt)->status, 200, 'the first time');
    is(said(send_jwt($jwt)), '401 invalid_client', 'the second');
    is(said(hmac(claims('hmac', jti => 'once', exp => time + 90))), '401 invalid_client', 'the same jti in another one');
    is(hmac(claims('both', jti => 'once'))->status, 200, 'which is another client\'s to use');
    like($t->log, qr/the assertion was used before, client "hmac"/, 'why');
    my @keys = @{$o->cmd('KEYS', $o->name('jti', '*'))};
    ok(@keys > 5, 'they are remembered');
    my @ttl = map { $o->cmd('TTL', $_) } @keys;
    ok(!(grep { $_ < 1 || $_ > 661 } @ttl), 'and forgotten when they have expired') or diag "@ttl";
    ok(!(grep { !/:[0-9a-f]{64}$/ } @keys), 'as digests');

    my $twice = OpsAuth::JOSE::jwt(alg => 'HS256', secret => $secret, claims => claims('hmac'));
    my @r = map { $o->note($_) } OpsAuth::HTTP::parallel_requests([map {
        [$t->port(8080), 'POST', '/oauth/token', headers => [['Content-Type' => 'application/x-www-form-urlencoded']],
            body => OpsAuth::OAuth::form(grant_type => 'client_credentials', client_assertion_type => $TYPE,
                client_assertion => $twice)]
    } 1 .. 8]);
    is(scalar(grep { $_->status == 200 } @r), 1, 'one of eight at once');

    # what is refused uses nothing up
    my $claims = claims('hmac');
    is(said(send_jwt(OpsAuth::JOSE::jwt(alg => 'HS256', secret => 'x' x 40, claims => $claims))), '401 invalid_client',
        'somebody else\'s signature');
    is(hmac($claims)->status, 200, 'does not use up a jti');
};

subtest 'signatures' => sub {
    my $bad = sub { my ($name, $jwt) = @_; is(said(send_jwt($jwt)), '401 invalid_client', $name) };
    my $json = \&OpsAuth::JOSE::json;
    my %by_es = (private => $key{ES256}{private});
    $bad->('another secret', OpsAuth::JOSE::jwt(alg => 'HS256', secret => "${secret}x", claims => claims('hmac')));
    $bad->('another key', OpsAuth::JOSE::jwt(alg => 'EdDSA', private => OpsAuth::JOSE::key('EdDSA')->{private},
        claims => claims('EdDSA')));
    $bad->('none', OpsAuth::JOSE::jwt(alg => 'none', signature => '', claims => claims('hmac')));
    $bad->('none, with one', OpsAuth::JOSE::jwt(alg => 'none', signature => 'AAAA', claims => claims('hmac')));
    $bad->("an unknown algorithm: $_", OpsAuth::JOSE::jwt(alg => $_, sign => 'HS256', secret => $secret,
        claims => claims('hmac'))) for qw(HS512 hs256 RS512);
    $bad->('the public key as a secret', OpsAuth::JOSE::jwt(alg => 'HS256', secret => $json->($key{ES256}{public}),
        claims => claims('ES256')));
    $bad->('a secret where a key is due', OpsAuth::JOSE::jwt(alg => 'HS256', secret => $secret, claims => claims('ES256')));
    $bad->('another algorithm than the key\'s', OpsAuth::JOSE::jwt(alg => 'RS256', sign => 'ES256', %by_es,
        claims => claims('ES256')));
    $bad->('a secret of another client', OpsAuth::JOSE::jwt(alg => 'HS256', secret => $secret, claims => claims('moved')));
    $bad->('a client without signed logins', OpsAuth::JOSE::jwt(alg => 'HS256', secret => $secret, claims => claims('plain')));
    $bad->('an extension that must be understood', OpsAuth::JOSE::jwt(alg => 'HS256', secret => $secret,
        header => { crit => ['exp'] }, claims => claims('hmac')));
    $bad->('a key that is too short', OpsAuth::JOSE::jwt(alg => 'RS256', private => $key{RS256}{private}, claims => claims('weak')));
    $bad->('a key that is none', OpsAuth::JOSE::jwt(alg => 'RS256', private => $key{RS256}{private}, claims => claims('junk')));
    $bad->("an unknown client, $_", OpsAuth::JOSE::jwt(alg => $_, private => $key{$_}{private}, claims => claims('nobody')))
        for sort keys %key;

    my $good = OpsAuth::JOSE::jwt(alg => 'HS256', secret => $secret, claims => claims('hmac'));
    my ($h, $p, $s) = split /\./, $good;
    $bad->($_->[0], $_->[1]) for ['two parts', "$h.$p"], ['four', "$good.x"], ['no text', '...'], ['junk', 'x'],
        ['padding', "$good="], ['a bit of the signature', "$h.$p." . ($s =~ s/^(.)/$1 eq 'A' ? 'B' : 'A'/er)],
        ['a very long one', 'A' x 9000];
    $bad->($_->[0], OpsAuth::JOSE::jwt(alg => 'HS256', secret => $secret, raw => $_->[1])) for
        ['no JSON', ['{"alg":"HS256"', '{}']],
        ['a list for a payload', ['{"alg":"HS256"}', '[]']],
        ['a list for a header', ['["HS256"]', $json->(claims('hmac'))]],
        ['alg twice', ['{"alg":"HS256","alg":"none"}', $json->(claims('hmac'))]],
        ['a claim twice', ['{"alg":"HS256"}', $json->(claims('hmac')) =~ s/^\{/{"aud":"x",/r]],
        ['a NUL in it', ['{"alg":"HS256"}', $json->(claims('hmac')) =~ s/"hmac"/"hmac\\u0000"/gr]],
        ['deep', ['{"alg":"HS256"}', '{"sub":"hmac","x":' . '[' x 2500 . ']' x 2500 . '}']];
    is(send_jwt($good)->status, 200, 'while this one is good');

    is(said($o->post('token', {}, grant_type => 'client_credentials', client_assertion => $good)), '400 invalid_request',
        'no type');
    is(said($o->post('token', {}, grant_type => 'client_credentials', client_assertion_type => $TYPE)), '400 invalid_request',
        'a type alone');
    is(said($o->post('token', {}, grant_type => 'client_credentials', client_assertion => $good,
        client_assertion_type => 'urn:ietf:params:oauth:client-assertion-type:saml2-bearer')), '400 invalid_request', 'another type');
    is(said($o->post('token', { client => 'both' }, grant_type => 'client_credentials', client_assertion => $good,
        client_assertion_type => $TYPE)), '400 invalid_request', 'besides Basic');
};

subtest 'elsewhere, and another pepper' => sub {
    my $new = join '', map { ('a' .. 'f')[rand 6] } 1 .. 40;
    $store->pepper($new, @{$store->{peppers}});
    $t->reload;
    is(hmac(claims('hmac'))->status, 200, 'a secret that is wrapped under the old one');
    my $r = $o->post('revoke', {}, token => 'x', client_assertion_type => $TYPE,
        client_assertion => OpsAuth::JOSE::jwt(alg => 'HS256', secret => $secret, claims => claims('hmac')));
    is($r->status, 200, 'at revoke, too') or diag $r->body;
};

$t->done;
