#!/usr/bin/perl

# The endpoints beside the token's: revoke (RFC 7009), introspect (RFC 7662), the
# documents by which clients find them (RFC 8414, RFC 9728), what nginx -t says
# about their directives, and what else may stand in their locations.

use strict;
use warnings;

use Test::More;

use OpsAuth::HTTP;
use OpsAuth::OAuth;
use OpsAuth::Process;
use OpsAuth::Test;

*said = \&OpsAuth::OAuth::said;

my $CB = 'https://app.test/cb';
my $ISSUER = $OpsAuth::OAuth::ISSUER;

my $t = OpsAuth::Test->new;
my $store = $t->store;
my $o = OpsAuth::OAuth->new(t => $t, store => $store);

my %web = (grants => 'authorization_code refresh_token', redirect_uris => $CB);
$store->account('acme');
$store->account('short', refresh => 1);
$store->account('backend');
$store->account('far', ips => '192.0.2.7');
$o->client('web', %web);
$o->client('other', %web);
$o->client('spa', %web, secret => undef, auth_method => 'none');
$o->client('app');
$o->client('rs', account => 'backend', grants => '', introspect => 1, scopes => undef);
$o->client('rsfar', account => 'far', grants => '', introspect => 1, scopes => undef);

my $users = $t->write_file('users', "operator:{PLAIN}letmein\napp:{PLAIN}" . $o->secret_of('app') . "\n", 0644);
$t->config_http($o->conf(server => <<"CONF"));
    opsauth_resource_metadata $ISSUER/.well-known/oauth-protected-resource;
    error_page 400 401 403 405 413 503 /error;
    location = /error { opsauth off; return 200 "the page"; }
    location /api/off { opsauth main; opsauth_resource_metadata off; empty_gif; }
    location = /basic/token { opsauth_oauth token; auth_basic operators; auth_basic_user_file $users; }
    location = /any/token { opsauth_oauth token; satisfy any; deny all; auth_basic operators; auth_basic_user_file $users; }
    location = /open/token { opsauth_oauth token; satisfy any; allow 127.0.0.1; auth_basic operators; auth_basic_user_file $users; }
    location = /deny/token { opsauth_oauth token; deny all; }
    location = /guarded/token { opsauth main; opsauth_oauth token; }
    location = /limited/token { opsauth_oauth token; limit_except POST { deny all; } }
    location = /from { auth_request /oauth/introspect; empty_gif; }
    location /deep/ { opsauth main; location /deep/token { opsauth_oauth token; location /deep/token/in { empty_gif; } } }
CONF
$t->start;

sub login {
    my ($client, %code) = @_;
    my ($code, $verifier) = $o->code(client => $client, account => 'short', %code);
    my $r = $o->post('token', $client eq 'spa' ? {} : { client => $client }, $client eq 'spa' ? (client_id => 'spa') : (),
        grant_type => 'authorization_code', code => $code, code_verifier => $verifier, redirect_uri => $CB);
    is($r->status, 200, 'a login') or diag $r->body, $t->log;
    return $r->json;
}

sub token { return $o->post('token', { client => $_[0] // 'app' }, grant_type => 'client_credentials')->json->{access_token} }
sub revoke { my ($client, $token, @form) = @_; return $o->post('revoke', { client => $client }, token => $token, @form) }
sub state_of { my ($token) = @_; return $store->read_credential($token)->{state} }
sub api { my ($token) = @_; return $t->get('/api/', key => $token)->status }
sub refused { my ($token) = @_; return OpsAuth::Process->poll(5, sub { api($token) == 401 }) }

sub refresh {
    my ($client, $token) = @_;
    return $o->post('token', $client eq 'spa' ? {} : { client => $client }, $client eq 'spa' ? (client_id => 'spa') : (),
        grant_type => 'refresh_token', refresh_token => $token);
}

# --- revoke -----------------------------------------------------------------------------

subtest 'revoking an access token' => sub {
    for my $hint (undef, 'access_token', 'refresh_token', 'nonsense') {
        my $token = token();
        is(api($token), 200, 'it opens the API');
        my $ttl = $o->cmd('TTL', $o->name('credential', $store->digest($token)));
        my $r = revoke('app', $token, token_type_hint => $hint);
        is($r->status, 200, 'revoked') or diag $r->body;
        is($r->header('Cache-Control'), 'no-store', 'no-store');
        is(state_of($token), 'revoked', 'its record says so');
        ok(refused($token), 'in force');
        ok($o->cmd('TTL', $o->name('credential', $store->digest($token))) <= $ttl, 'for as long as it would have lived');
        is(revoke('app', $token)->status, 200, 'once more');
    }
    my $token = token();
    is(revoke('web', $token)->status, 200, 'another client\'s');
    is(state_of($token), 'active', 'stays as it is');
    my $key = $store->issue(scopes => 'read:tenants');
    is(revoke('app', $key)->status, 200, 'an API key');
    is(state_of($key), 'active', 'is no client\'s');
    is(revoke('app', $_)->status, 200, 'what is no token') for $store->token, 'x', 'ü', 'x' x 5000;
    is(said($o->post('revoke', { client => 'app' })), '400 invalid_request', 'none');
    is(said($o->post('revoke', { client => 'app', secret => 'guess' }, token => $token)), '401 invalid_client', 'nobody');
    is($o->post('revoke', { client => 'app', method => 'GET' })->status, 405, 'GET');
};

subtest 'revoking a refresh token' => sub {
    my $login = login('web');
    my $second = refresh('web', $login->{refresh_token})->json;
    is(revoke('other', $second->{refresh_token})->status, 200, 'another client\'s');
    is(state_of($second->{access_token}), 'active', 'stays as it is');
    is(revoke('web', $second->{refresh_token}, token_type_hint => 'access_token')->status, 200, 'revoked');
    is(said(refresh('web', $second->{refresh_token})), '400 invalid_grant', 'no more');
    is(state_of($_->{access_token}), 'revoked', 'and its access tokens') for $login, $second;
    ok(refused($second->{access_token}), 'in force');
    is(revoke('web', $second->{refresh_token})->status, 200, 'once more');

    $login = login('web');
    $second = refresh('web', $login->{refresh_token})->json;
    is(revoke('web', $login->{refresh_token})->status, 200, 'an old one of the family');
    is(said(refresh('web', $second->{refresh_token})), '400 invalid_grant', 'takes it, too');
    $login = login('web');
    is(revoke('web', $login->{access_token})->status, 200, 'an access token of a family');
    is(refresh('web', $login->{refresh_token})->status, 200, 'goes alone');

    $login = login('spa');
    is($o->post('revoke', {}, client_id => 'spa', token => $login->{refresh_token})->status, 200, 'by a public client');
    is(said(refresh('spa', $login->{refresh_token})), '400 invalid_grant', 'no more');
    is(state_of($login->{access_token}), 'revoked', 'and its access token');

    # a family that has issued more than one step's worth of commands
    $login = login('web');
    my @all = ($login);
    push @all, refresh('web', $all[-1]{refresh_token})->json for 1 .. 20;
    is(revoke('web', $all[-1]{refresh_token})->status, 200, 'a family with 21 access tokens');
    is(join(' ', map { state_of($_->{access_token}) } @all), join(' ', ('revoked') x 21), 'all of them');
};

subtest 'too many access tokens of one family' => sub {
    my $login = login('web');
    my $r;
    for (1 .. 60) {
        $r = refresh('web', $login->{refresh_token});
        last if $r->status != 200;
        $login = $r->json;
    }
    is(said($r), '503 temporarily_unavailable', 'a client that refreshes without pause has to wait');
    is(revoke('web', $login->{refresh_token})->status, 200, 'revoked');
    is(state_of($login->{access_token}), 'revoked', 'still all at once');
};

# --- introspect -------------------------------------------------------------------------

sub ask { my ($token, %o) = @_; return $o->post('introspect', { client => $o{client} // 'rs' }, token => $token, @{$o{form} // []}) }

subtest 'introspection' => sub {
    my $token = token();
    my $r = ask($token);
    is($r->status, 200, 'asked') or diag $r->body, $t->log;
    is($r->header('Cache-Control'), 'no-store', 'no-store');
    my $record = $store->read_credential($token);
    is_deeply($r->json, { active => JSON::PP::true(), scope => 'read:tenants write:users', client_id => 'app', sub => 'app',
        exp => 0 + $record->{expires}, iat => 0 + $record->{created}, iss => $ISSUER, token_type => 'Bearer',
        jti => $record->{id}, account => 'acme', tenant => 'org_acme', environment => 'live' }, 'an access token');

    my $inactive = sub {
        my ($name, $what) = @_;
        my $r = ask($what);
        is($r->status . ' ' . $r->body, '200 {"active":false}', $name);
    };
    my $login = login('web');
    $r = ask($login->{refresh_token}, form => [token_type_hint => 'access_token'])->json;
    ok($r->{active} && $r->{sub} eq 'alice' && $r->{client_id} eq 'web' && $r->{account} eq 'short', 'a refresh token')
        or diag explain $r;
    ok(!exists $r->{token_type}, 'which is no Bearer token');
    cmp_ok(abs($r->{exp} - time - 30 * 86400), '<', 60, 'its exp');
    my $next = refresh('web', $login->{refresh_token})->json;
    $inactive->('one that was used', $login->{refresh_token});
    ok(ask($next->{refresh_token})->json->{active}, 'its successor');
    revoke('web', $next->{refresh_token});
    $inactive->('a refresh token that was revoked', $next->{refresh_token});
    $inactive->('an access token of it', $next->{access_token});

    $store->update_account('acme', enabled => 0);
    $inactive->('an account that is switched off', $token);
    $store->update_account('acme', enabled => 1);
    ok(ask($token)->json->{active}, 'and on again');
    $store->update($token, expires => time - 1);
    $inactive->('an expired one', $token);
    $store->update($token, expires => 'never');
    $inactive->('a malformed one', $token);
    revoke('app', $token);
    $inactive->('a revoked one', $token);
    $inactive->('an unknown one', $store->token);
    $inactive->('an unknown refresh token', 'A' x 65);
    $inactive->('a very long one', 'x' x 3000);
    $inactive->('an API key', $store->issue(scopes => 'read:tenants'));

    is(said(ask($token, client => 'app')), '403 unauthorized_client', 'a client that may not ask');
    is(said(ask($token, client => 'rsfar')), '403 unauthorized_client', 'from elsewhere');
    is(said($o->post('introspect', {}, client_id => 'spa', token => $token)), '403 unauthorized_client', 'nobody with a secret');
    is(said(ask(undef)), '400 invalid_request', 'no token');
    is(said($o->post('introspect', { client => 'rs', secret => 'guess' }, token => $token)), '401 invalid_client', 'wrong');
    is(said($o->post('token', { client => 'rs' }, grant_type => 'client_credentials')), '400 unauthorized_client',
        'it gets no tokens itself');
};

# --- documents --------------------------------------------------------------------------

subtest 'documents' => sub {
    my $r = $t->get('/.well-known/oauth-authorization-server');
    is($r->status, 200, 'metadata');
    is($r->header('Content-Type'), 'application/json', 'JSON');
    like($r->header('Cache-Control'), qr/^public, max-age=\d+$/, 'may be kept for a while');
    my $json = $r->json;
    is($json->{issuer}, $ISSUER, 'issuer');
    is($json->{token_endpoint}, "$ISSUER/oauth/token", 'token');
    is($json->{revocation_endpoint}, "$ISSUER/oauth/revoke", 'revoke');
    is($json->{introspection_endpoint}, "$ISSUER/oauth/introspect", 'introspect');
    my %want = (
        token_endpoint_auth_methods_supported => [qw(none client_secret_basic client_secret_post client_secret_jwt private_key_jwt)],
        revocation_endpoint_auth_methods_supported => [qw(none client_secret_basic client_secret_post client_secret_jwt private_key_jwt)],
        introspection_endpoint_auth_methods_supported => [qw(client_secret_basic client_secret_post client_secret_jwt private_key_jwt)],
        map { ("${_}_endpoint_auth_signing_alg_values_supported" => [qw(HS256 RS256 ES256 Ed25519 EdDSA)]) } qw(token revocation introspection),
    );
    is_deeply($json->{$_}, $want{$_}, $_) for sort keys %want;
    ok(!exists $json->{scopes_supported}, 'no scopes: nobody knows them all');
    is($t->request('HEAD', '/.well-known/oauth-authorization-server')->status, 200, 'HEAD');
    is($t->request('POST', '/.well-known/oauth-authorization-server', body => 'x')->header('Allow'), 'GET, HEAD', 'POST');

    is_deeply($t->get('/.well-known/oauth-protected-resource')->json, { resource => $ISSUER,
        authorization_servers => [$ISSUER], bearer_methods_supported => ['header'] }, 'the resource');
    my $url = "$ISSUER/.well-known/oauth-protected-resource";
    is($t->get('/api/')->header('WWW-Authenticate'), undef, 'error_page has taken a 401 over') if 0;
    like(($t->get('/api/')->header('WWW-Authenticate') // ''), qr/^Bearer realm="API", resource_metadata="\Q$url\E"$/, 'no credential');
    like(($t->get('/api/', key => $store->token)->header('WWW-Authenticate') // ''),
        qr/^Bearer realm="API", error="invalid_token", resource_metadata="\Q$url\E"$/, 'a wrong one');
    is($t->get('/api/off')->header('WWW-Authenticate'), 'Bearer realm="API"', 'off');
};

# --- its place in nginx -----------------------------------------------------------------

subtest 'beside other directives' => sub {
    my @grant = (grant_type => 'client_credentials');
    my $at = sub { my ($uri, %more) = @_; return $o->post('token', { uri => $uri, %more }, @grant) };
    is($at->('/guarded/token', client => 'app')->status, 200, 'opsauth: it authenticates by itself');
    is($at->('/deep/token', client => 'app')->status, 200, 'inherited');
    is($t->get('/deep/token/in')->body, 'the page', 'a location within is guarded');
    is($at->('/basic/token', client => 'app')->status, 200, 'auth_basic with the same name and secret');
    is($at->('/basic/token', client => 'app', secret => 'guess')->body, 'the page', 'auth_basic refuses first');
    is($at->('/any/token', client => 'app')->status, 200, 'satisfy any');
    is($at->('/open/token', client => 'app')->status, 200, 'satisfy any, by address');
    is(said($at->('/open/token', client => 'app', secret => 'guess')), '401 invalid_client', 'which is no login of a client');
    is($at->('/deny/token', client => 'app')->body, 'the page', 'deny');
    is($at->('/limited/token', client => 'app')->status, 200, 'limit_except');
    is($at->('/limited/token', client => 'app', method => 'GET')->body, 'the page', 'limit_except: another method');
    is(said($at->('/oauth/token', client => 'app', secret => 'guess')), '401 invalid_client', 'error_page leaves errors to clients');
    is($t->get('/from')->body, 'the page', 'no subrequest');
    like($t->log, qr/an endpoint of "opsauth_oauth" can't be used in a subrequest/, 'and says why');
};

subtest 'nginx -t' => sub {
    my $store_block = sub { "opsauth_store $_[0] { redis %%REDIS%%; pepper_file %%PEPPER%%; cache 1m; }\n" };
    my $error = sub { my ($stores, $server) = @_; $t->config_error(join('', map { $store_block->($_) } @$stores) . "server { $server }") };
    my $issuer = 'opsauth_oauth_issuer https://a.test;';
    my @bad = (
        ["location /t { opsauth_oauth token; }", qr/"opsauth_oauth token" requires "opsauth_oauth_issuer"/],
        ["$issuer location /t { opsauth_oauth tokens; }", qr/invalid value "tokens" in "opsauth_oauth": it must be "token"/],
        ["$issuer location /t { opsauth_oauth token; opsauth_oauth revoke; }", qr/"opsauth_oauth" directive is duplicate/],
        ["$issuer location ~ /t { opsauth_oauth token; }", qr/needs a location with a path/],
        ["$issuer location \@t { opsauth_oauth token; }", qr/needs a location with a path/],
        ["$issuer location /t { opsauth_oauth token other; }", qr/unknown store "other" in "opsauth_oauth token"/],
        ["$issuer opsauth_oauth token;", qr/"opsauth_oauth" directive is not allowed here/],
        ["opsauth_oauth_issuer http://a.test;", qr/tokens need https/],
        ["opsauth_oauth_issuer http://127.0.0.1.test;", qr/tokens need https/],
        ["opsauth_oauth_issuer https://a.test/?x=1;", qr/no query and no fragment/],
        ["opsauth_oauth_issuer https://a.test/#x;", qr/no query and no fragment/],
        ["opsauth_oauth_issuer a.test;", qr/a URL like "https:\/\/api.example.com" is expected/],
        ["opsauth_oauth_issuer https://;", qr/a URL like/],
        ["opsauth_oauth_issuer https://user\@a.test;", qr/a URL like/],
        ["opsauth_oauth_issuer \$host;", qr/a URL like/],
        ["$issuer $issuer", qr/"opsauth_oauth_issuer" directive is duplicate/],
        ["opsauth_oauth_token_valid 0;", qr/invalid value "0" in "opsauth_oauth_token_valid": a time from 1s/],
        ["opsauth_oauth_token_valid 2y;", qr/invalid value "2y"/],
        ["opsauth_oauth_code_valid 11m;", qr/a time from 1s to 600s/],
        ["opsauth_oauth_refresh_grace soon;", qr/invalid value "soon"/],
        ["opsauth_oauth_subject alice;", qr/a variable is expected, like "\$remote_user"/],
        ["opsauth_resource_metadata /x;", qr/a URL like/],
    );
    like($error->(['main'], $_->[0]), $_->[1], $_->[0]) for @bad;
    like($error->([], "$issuer location /t { opsauth_oauth token; }"), qr/there is no "opsauth_store" in http/, 'no store');
    like($error->([qw(a b)], "$issuer location /t { opsauth_oauth token; }"), qr/there are several: write "opsauth_oauth token STORE;"/,
        'several stores');
    is($error->([qw(a b)], "$issuer location /t { opsauth_oauth token b; }"), '', 'one is named');
    is($error->([qw(a b)], "$issuer opsauth a; location /t { opsauth_oauth token; }"), '', 'or by "opsauth"');
    is($error->(['main'], "opsauth_oauth_issuer $_; location /t { opsauth_oauth token; }"), '', $_)
        for qw(https://a.test https://a.test:8443/x http://127.0.0.1:8080 http://localhost http://[::1]:80/);
    is($error->(['main'], "$issuer opsauth_oauth_refresh_grace 0; opsauth_oauth_resource https://a.test/v1; "
        . "location /r { opsauth_oauth resource; }"), '', 'the others');
};

$t->done;
