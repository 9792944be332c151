#!/usr/bin/perl

# The token service as software of others sees it: oauth4webapi, openid-client and
# Authlib go through the flow of an application with every way to log in. And the
# other way round: the tokens of oidc-provider, an authorization server of somebody
# else's, are accepted by introspection.

use strict;
use warnings;

use JSON::PP ();
use Test::More;

use OpsAuth::Command;
use OpsAuth::HTTP;
use OpsAuth::Interop;
use OpsAuth::Process;
use OpsAuth::Test;

my $json = JSON::PP->new->utf8->canonical;
my $BACKEND = 'server { listen 127.0.0.1:%%PORT_8082%%; location / { return 200 "$http_x_tenant_id\n"; } }';

subtest 'clients of others' => sub {
    my $t = OpsAuth::Test->new(workers => 2);
    alarm 600;
    my $redis = $t->redis;
    my $store = $t->store;
    $store->account('crm', tenant => 'org_42', refresh => 1);
    my $url = 'http://127.0.0.1:' . $t->port(8080);
    my $api = 'http://127.0.0.1:' . $t->port(8081);
    my $callback = 'http://127.0.0.1:9/callback';

    $t->config_http(<<"CONF");
    opsauth_store main { redis %%REDIS%%; pepper_file %%PEPPER%%; }
    opsauth_oauth_issuer $url;
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        opsauth main;
        opsauth_oauth_subject \$http_x_user;
        location = /oauth/authorize  { opsauth_oauth authorize; }
        location = /oauth/token      { opsauth_oauth token; }
        location = /oauth/revoke     { opsauth_oauth revoke; }
        location = /oauth/introspect { opsauth_oauth introspect; }
        location = /.well-known/oauth-authorization-server { opsauth_oauth metadata; }
    }
    server {
        listen 127.0.0.1:%%PORT_8081%%;
        opsauth main;
        opsauth_oauth_resource $api;
        opsauth_resource_metadata $api/.well-known/oauth-protected-resource;
        location = /.well-known/oauth-protected-resource { opsauth_oauth resource; }
        location / {
            opsauth_require scope=read:tenants;
            proxy_pass http://127.0.0.1:%%PORT_8082%%;
        }
    }
    $BACKEND
CONF
    $t->start;

    my $others = OpsAuth::Interop->new(test => $t);
    my $opsauth = OpsAuth::Command->new($t, OPSAUTH_REDIS => $redis->url, OPSAUTH_PEPPER_FILE => $store->pepper_file);
    my $client = sub {
        my ($method, @more) = @_;
        my ($exit, $out, $err) = $opsauth->run(qw(client create --json --account crm), '--name', "by $method",
            '--redirect-uri', $callback, qw(--grant authorization_code --grant refresh_token --scope read:tenants),
            $method eq 'none' ? () : qw(--grant client_credentials --introspect), '--auth-method', $method, @more);
        $exit == 0 or die "client create: $err";
        my $made = $json->decode($out);
        return { method => $method, id => $made->{id}, secret => $made->{client_secret} };
    };

    my $keys = $others->json('keys.mjs');
    my @clients = map { $client->($_, $_ eq 'client_secret_jwt' ? '--signed-login' : ()) }
        qw(client_secret_basic client_secret_post client_secret_jwt none);
    for my $alg (sort keys %$keys) {
        my $file = $t->write_file("$alg.jwk", $json->encode($keys->{$alg}{public}));
        push @clients, { %{$client->('private_key_jwt', '--jwk', $file)}, alg => $alg, key => $keys->{$alg}{private} };
    }
    $t->secret(grep { defined } map { $_->{secret} } @clients);

    my %input = (issuer => $url, resource => $api, api => "$api/tenants", redirect_uri => $callback, clients => \@clients);
    $others->run_tests('oauth4webapi.mjs', \%input);
    $others->run_tests('openid-client.mjs', \%input);
    # Authlib 1.2 has no EdDSA for logins, and no public client with a key
    $others->run_tests('client_authlib.py', { %input, clients => [grep { ($_->{alg} // '') ne 'EdDSA' } @clients] });
    $t->finish;
};

subtest 'tokens of others' => sub {
    my $t = OpsAuth::Test->new(workers => 2);
    alarm 600;
    my $redis = $t->redis;
    my $store = $t->store;
    my $others = OpsAuth::Interop->new(test => $t);
    my $provider = $others->provider;
    my $basic = OpsAuth::Interop::base64('gateway:secret-of-gateway');

    $t->config_http(<<"CONF");
    opsauth_store main { redis %%REDIS%%; pepper_file %%PEPPER%%; cache_negative 1s; }
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        opsauth main;
        opsauth_introspection /introspect;
        opsauth_introspection_valid 2s;
        location / {
            opsauth_require scope=read:tenants;
            proxy_pass http://127.0.0.1:%%PORT_8082%%;
        }
        location = /introspect {
            internal;
            opsauth off;
            proxy_pass http://127.0.0.1:$provider/token/introspection;
            proxy_set_header Authorization "Basic $basic";
        }
    }
    $BACKEND
CONF
    $t->start;
    # the authorization server calls the account crm, and knows nothing more of it
    $store->account('crm', tenant => 'org_42');

    my $token = sub {
        my ($who, $scope) = @_;
        my $r = OpsAuth::HTTP::request($provider, 'POST', '/token', headers => [
            ['Authorization', 'Basic ' . OpsAuth::Interop::base64("$who:secret-of-$who")],
            ['Content-Type', 'application/x-www-form-urlencoded'],
        ], body => "grant_type=client_credentials&scope=$scope");
        return $json->decode($r->body)->{access_token};
    };
    my $good = $token->('crm', 'read:tenants');
    my $r = $t->get('/', key => $good);
    is($r->status, 200, 'a token that is active');
    is($r->body, "org_42\n", 'its tenant');
    is($t->get('/', key => $good)->status, 200, 'again') for 1 .. 3;
    is($t->get('/', key => $token->('crm', 'write:tenants'))->status, 403, 'another scope');
    is($t->get('/', key => $token->('nobody', 'read:tenants'))->status, 401, 'of an account that is not ours');
    is($t->get('/', key => $store->token)->status, 401, 'a token that nobody knows');

    OpsAuth::HTTP::request($provider, 'POST', '/token/revocation', headers => [
        ['Authorization', 'Basic ' . OpsAuth::Interop::base64('crm:secret-of-crm')],
        ['Content-Type', 'application/x-www-form-urlencoded'],
    ], body => "token=$good");
    ok(OpsAuth::Process->poll(30, sub { $t->get('/', key => $good)->status == 401 }), 'revoked there');

    my $left = $token->('crm', 'read:tenants');
    $others->stop;
    is($t->get('/', key => $left)->status, 503, 'where that server is gone');
    $t->allow_log(qr/connect\(\) failed \(111/);
    $t->finish;
};

done_testing;
