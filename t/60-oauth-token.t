#!/usr/bin/perl

# The token endpoint: how a client logs in, client_credentials, every error that
# RFC 6749 section 5.2 has, and what is no proper request at all.

use strict;
use warnings;

use MIME::Base64 qw(encode_base64);
use Test::More;

use OpsAuth::HTTP;
use OpsAuth::OAuth;
use OpsAuth::Test;

*said = \&OpsAuth::OAuth::said;

my $t = OpsAuth::Test->new;
my $store = $t->store;
my $o = OpsAuth::OAuth->new(t => $t, store => $store);

$store->account('acme');
$store->account('short', refresh => 1);
$store->account('off', enabled => 0);
$store->account('far', ips => '192.0.2.0/24 2001:db8::/32');
$store->account('near', ips => '127.0.0.0/8');
$store->account('capped', scopes => 'read:tenants');
$store->account('nothing', scopes => '');
$store->account('broken', enabled => 'perhaps');

$o->client('app');
$o->client('basic', auth_method => 'client_secret_basic');
$o->client('post', auth_method => 'client_secret_post');
$o->client($_, account => $_) for qw(short off far near capped nothing broken ghost);
$o->client('asleep', enabled => 0);
$o->client('testing', environment => 'test');
$o->client('web', grants => 'authorization_code', redirect_uris => 'https://app.test/cb');
$o->client('public', secret => undef, auth_method => 'none', grants => 'authorization_code',
    redirect_uris => 'https://app.test/cb');
$o->client('wild', scopes => 'read:* admin');
$o->client('od:d@x.y-z_1', secret => 'p:a ss+%&=word/ü"');
$o->client('damaged', grants => undef);

$t->config_http($o->conf(server => 'opsauth_realm "the gate";',
    http => 'client_body_buffer_size 1k;'));
$t->start;

my @grant = (grant_type => 'client_credentials');

# --- client_credentials -----------------------------------------------------------------

subtest 'a token' => sub {
    my $r = $o->post('token', { client => 'app' }, @grant);
    is($r->status, 200, 'issued') or diag $r->body, $t->log;
    is($r->header('Cache-Control'), 'no-store', 'no-store');
    is($r->header('Pragma'), 'no-cache', 'no-cache');
    is($r->header('Content-Type'), 'application/json', 'JSON');
    my $json = $r->json;
    like($json->{access_token}, qr/^[0-9A-Za-z]{43}$/, 'access_token');
    is($json->{token_type}, 'Bearer', 'Bearer');
    is($json->{expires_in}, 3600, 'an hour');
    is($json->{scope}, 'read:tenants write:users', 'all scopes of the client');
    is_deeply([sort keys %$json], [qw(access_token expires_in scope token_type)], 'no refresh token');

    my $api = $t->get('/api/', key => $json->{access_token});
    is($api->status, 200, 'it opens the API') or diag $t->log;
    is($api->header('X-Scopes'), 'read:tenants write:users', 'with its scopes');
    is($api->header('X-Account'), 'acme', 'for its account');

    my $record = $store->read_credential($json->{access_token});
    my %want = (v => 1, kind => 'access_token', account => 'acme', state => 'active',
        environment => 'live', scopes => 'read:tenants write:users', client => 'app', subject => 'app',
        hint => substr($json->{access_token}, -4));
    is($record->{$_}, $want{$_}, "record: $_") for sort keys %want;
    like($record->{id}, qr/^tok_[0-9A-Za-z]{16}$/, 'record: id');
    cmp_ok(abs($record->{expires} - time - 3600), '<', 60, 'record: expires');
    cmp_ok(abs($record->{created} - time), '<', 60, 'record: created');
    my $digest = $store->digest($json->{access_token});
    is($o->cmd('GET', $o->name('id', $record->{id})), $digest, 'found by its id');
    for my $key ($o->name('credential', $digest), $o->name('id', $record->{id})) {
        my $ttl = $o->cmd('TTL', $key);
        ok($ttl > 86400 + 3000 && $ttl <= 86400 + 3600, 'outlives it by a day') or diag $ttl;
    }
    is($o->cmd('EXISTS', $o->name('credentials', 'acme')), 0, 'not among the account\'s keys');
    my $tokens = $o->name('tokens', 'acme');
    is($o->cmd('ZSCORE', $tokens, $record->{id}), $record->{expires} + 86400, 'but its tokens, until it is forgotten');
    $o->cmd('ZADD', $tokens, time - 5, 'tok_over');
    $o->post('token', { client => 'app' }, @grant);
    is($o->cmd('ZSCORE', $tokens, 'tok_over'), undef, 'where what is over is taken out');
};

subtest 'how long, and for where' => sub {
    is($o->post('token', { client => 'short' }, @grant)->json->{expires_in}, 30, 'an account that refreshes');
    my $token = $o->post('token', { client => 'testing' }, @grant)->json->{access_token};
    is($store->read_credential($token)->{environment}, 'test', 'environment of the client');
    is($t->get('/api/', key => $token)->header('X-Reason'), 'environment', 'not for the live one');
};

subtest 'scopes' => sub {
    my $scope = sub { $o->post('token', { client => $_[0] }, @grant, scope => $_[1]) };
    is($scope->('app', 'write:users')->json->{scope}, 'write:users', 'less than all');
    is(said($scope->('app', 'read:users')), '400 invalid_scope', 'another one');
    is(said($scope->('app', 'read:tenants admin')), '400 invalid_scope', 'more');
    is(said($scope->('app', "read:ten\"ants")), '400 invalid_scope', 'malformed');
    is($scope->('wild', 'read:licenses')->json->{scope}, 'read:licenses', 'out of a wild card');
    is($scope->('capped')->json->{scope}, 'read:tenants', 'within the account\'s');
    is(said($scope->('capped', 'write:users')), '400 invalid_scope', 'beyond them');
    my $none = $scope->('nothing');
    is($none->status, 200, 'none at all');
    ok(!exists $none->json->{scope}, 'and it says none');
};

subtest 'the account' => sub {
    for my $client (qw(off far ghost)) {
        is(said($o->post('token', { client => $client }, @grant)), '400 unauthorized_client', $client);
    }
    is($o->post('token', { client => 'near' }, @grant)->status, 200, 'an address that is admitted');
    is(said($o->post('token', { client => 'broken' }, @grant)), '503 temporarily_unavailable', 'a malformed record');
    like($t->log, qr/unauthorized_client": the account doesn't admit this address, client "far"/, 'why: address');
    like($t->log, qr/unauthorized_client": the account is disabled, client "off"/, 'why: disabled');
};

# --- who asks ---------------------------------------------------------------------------

subtest 'client authentication' => sub {
    my $secret = sub { $o->secret_of($_[0]) };
    my $by_post = sub { $o->post('token', {}, @grant, client_id => $_[0], client_secret => $_[1] // $secret->($_[0])) };
    is($o->post('token', { client => 'basic' }, @grant)->status, 200, 'Basic');
    is($by_post->('post')->status, 200, 'in the body');
    is($by_post->('app')->status, 200, 'the same client');
    is($o->post('token', { client => 'od:d@x.y-z_1' }, @grant)->status, 200, 'form-encoded within Basic') or diag $t->log;
    is($o->post('token', { client => 'app' }, @grant, client_id => 'app')->status, 200, 'client_id besides');
    is($o->post('token', { headers => [[Authorization => 'bASIC   ' . encode_base64('app:' . $secret->('app'), '')]] },
        @grant)->status, 200, 'the scheme in any case');

    my %same;
    my $refused = sub {
        my ($name, $r) = @_;
        is(said($r), '401 invalid_client', $name);
        $same{$r->body} = 1;
        is($r->header('Cache-Control'), 'no-store', "$name: no-store");
        return $r;
    };
    my $r = $refused->('wrong secret', $o->post('token', { client => 'app', secret => 'guess' }, @grant));
    is($r->header('WWW-Authenticate'), 'Basic realm="the gate"', 'a challenge in kind');
    $refused->('unknown', $o->post('token', { client => 'nobody', secret => 'x' }, @grant));
    $refused->('no secret', $o->post('token', { client => 'app', secret => '' }, @grant));
    $refused->('disabled', $o->post('token', { client => 'asleep' }, @grant));
    $refused->('not by post', $by_post->('basic'));
    $refused->('not by Basic', $o->post('token', { client => 'post' }, @grant));
    $r = $refused->('wrong secret by post', $by_post->('post', 'guess'));
    is($r->header('WWW-Authenticate'), undef, 'no challenge where the header was not used');
    $refused->('no secret by post', $o->post('token', {}, @grant, client_id => 'app'));
    $refused->('the digest for a secret', $by_post->('post', $store->digest($secret->('post'))));
    $refused->('nobody at all', $o->post('token', {}, @grant));
    $refused->('no id', $o->post('token', { client => '', secret => 'x' }, @grant));
    $refused->('an id that none can have', $by_post->('a b"', 'x'));
    $refused->('a long id', $by_post->('a' x 200, 'x'));
    $refused->('a public one with a secret', $by_post->('public', 'x'));
    for my $bad ('Basic', 'Basic ', 'Basic !!!', 'Basic ' . encode_base64('app', ''), 'Bearer x',
        'Basic ' . encode_base64('%zz:x', '')) {
        $refused->("Authorization: $bad", $o->post('token', { headers => [[Authorization => $bad]] }, @grant));
    }
    is(scalar keys %same, 1, 'all alike');

    is(said($o->post('token', { client => 'app' }, @grant, client_id => 'app', client_secret => $secret->('app'))),
        '400 invalid_request', 'two ways at once');
    is(said($o->post('token', { client => 'app' }, @grant, client_id => 'basic')), '400 invalid_request', 'two clients at once');
    is(said($o->post('token', {}, @grant, client_id => 'app', client_assertion => 'x')), '400 invalid_request',
        'half an assertion');
    is(said($o->post('token', { client => 'damaged' }, @grant)), '503 temporarily_unavailable', 'a malformed record');
    like($t->log, qr/record "opsauth:client:damaged" is invalid: field "grants"/, 'says which field');
};

subtest 'peppers' => sub {
    my ($one, @rest) = @{$store->{peppers}};
    my $new = join '', map { ('a' .. 'f')[rand 6] } 1 .. 40;
    $store->pepper($new, $one);
    $t->reload;
    is($o->post('token', { client => 'app' }, @grant)->status, 200, 'a secret under the old one');
    $o->client('fresh');
    my $r = $o->post('token', { client => 'fresh' }, @grant);
    is($r->status, 200, 'one under the new one');
    ok($store->read_credential($r->json->{access_token})->{id}, 'tokens are made under the new one');
    is(said($o->post('token', { client => 'app', secret => 'guess' }, @grant)), '401 invalid_client', 'a wrong one under none');
};

# --- what is no request -----------------------------------------------------------------

subtest 'errors of form' => sub {
    my $body = OpsAuth::OAuth::form(@grant);
    my $send = sub { my ($body, %more) = @_; $o->post('token', { client => 'app', body => $body, %more }) };
    my @cases = (
        ['no grant', 'scope=x', '400 invalid_request'],
        ['an empty body', '', '400 invalid_request'],
        ['an empty grant', 'grant_type=', '400 invalid_request'],
        ['another grant', 'grant_type=password&username=a&password=b', '400 unsupported_grant_type'],
        ['an unknown one', 'grant_type=urn%3Afoo', '400 unsupported_grant_type'],
        ['not this client\'s', 'grant_type=authorization_code&code=x', '400 unauthorized_client'],
        ['not this client\'s either', 'grant_type=refresh_token&refresh_token=x', '400 unauthorized_client'],
        ['twice', 'grant_type=client_credentials&grant_type=client_credentials', '400 invalid_request'],
        ['twice, unknown', "$body&x=1&x=2", '400 invalid_request'],
        ['a bad escape', "$body&x=%4", '400 invalid_request'],
        ['a NUL', "$body&x=%00", '400 invalid_request'],
        ['no UTF-8', "$body&x=%ff", '400 invalid_request'],
        ['too many', join('&', $body, map { "p$_=1" } 1 .. 40), '400 invalid_request'],
        ['an unknown parameter', "$body&x=1", '200'],
        ['an empty scope', "$body&scope=", '200'],
    );
    is(said($send->($_->[1])), $_->[2], $_->[0]) for @cases;

    for my $type (undef, 'application/json', 'application/x-www-form-urlencodedx', 'text/plain') {
        is(said($send->($body, type => $type)), '400 invalid_request', 'type ' . ($type // 'none'));
    }
    for my $type ('application/x-www-form-urlencoded;charset=UTF-8', 'Application/X-WWW-Form-URLencoded') {
        is($send->($body, type => $type)->status, 200, "type $type");
    }
    is(said($send->($body, uri => '/oauth/token?client_secret=abc')), '400 invalid_request', 'a secret in the URL');
    is(said($send->($body, uri => '/oauth/token?c%6fde=abc')), '400 invalid_request', 'in disguise');
    is($send->($body, uri => '/oauth/token?x=1')->status, 200, 'another parameter there');
};

subtest 'methods' => sub {
    for my $method (qw(GET HEAD PUT DELETE OPTIONS)) {
        my $r = $o->post('token', { client => 'app', method => $method }, @grant);
        is($r->status . ' ' . ($r->header('Allow') // ''), '405 POST', $method);
        is($r->header('Cache-Control'), 'no-store', "$method: no-store");
    }
};

subtest 'bodies' => sub {
    my $pad = sub { OpsAuth::OAuth::form(@grant) . '&x=' . 'y' x ($_[0] - length(OpsAuth::OAuth::form(@grant)) - 3) };
    for my $n (900, 8192, 9000, 16384) {
        is($o->post('token', { client => 'app', body => $pad->($n) })->status, 200, "$n bytes");
        is($o->post('token', { client => 'app', chunks => [unpack '(a1000)*', $pad->($n)] })->status, 200, "$n bytes, chunked");
    }
    is(said($o->post('token', { client => 'app', body => $pad->(16385) })), '413 invalid_request', 'one byte more');
    is(said($o->post('token', { client => 'app', chunks => [unpack '(a1000)*', $pad->(16385)] })), '413 invalid_request',
        'one more, chunked');
    is($o->post('token', { client => 'app', chunks => [split //, $pad->(16384)] })->status, 200, 'a byte a chunk');

    # slowly, on a connection that goes on after an error
    my $c = $t->connect;
    my @headers = (OpsAuth::OAuth::basic('app', $o->secret_of('app')), ['Content-Type' => 'application/x-www-form-urlencoded']);
    my $request = OpsAuth::HTTP::build_request('POST', '/oauth/token', headers => \@headers, body => $pad->(60));
    $c->send_slowly($request, chunk => 7);
    my $r = $o->note($c->read_response(method => 'POST'));
    is($r->status, 200, 'byte by byte') or diag $r->error;
    for my $bad ('grant_type=password', 'grant_type=client_credentials&x=%zz') {
        is($c->request('POST', '/oauth/token', headers => \@headers, body => $bad)->status, 400, 'an error');
    }
    is($c->request('PUT', '/oauth/token', headers => \@headers, body => 'x' x 5000)->status, 405, 'another method');
    $r = $o->note($c->request('POST', '/oauth/token', headers => \@headers, body => $pad->(60)));
    is($r->status, 200, 'and a token, on the same connection');
    my @two = map { $o->note($_) } $c->pipeline(map { ['POST', '/oauth/token', headers => \@headers, body => $pad->(60)] } 1 .. 3);
    is(join(' ', map { $_->status } @two), '200 200 200', 'pipelined');
    $r = $o->post('token', { client => 'app', headers => [[Expect => '100-continue']] }, @grant);
    is($r->status, 200, 'Expect: 100-continue');

    unlike($t->log, qr/buffered to a temporary file/, 'none of them went to a file');
};

subtest 'variables' => sub {
    ok($t->wait_for_file('access.log', qr{^/oauth/token 401 "app" "invalid_client"$}m), 'client and error');
    ok($t->wait_for_file('access.log', qr{^/oauth/token 200 "app" "-"$}m), 'no error');
};

$t->done;
