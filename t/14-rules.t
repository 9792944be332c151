#!/usr/bin/perl

# Who may do what: opsauth_require, opsauth_admin and the address lists, from
# the configuration to the verdict.

use strict;
use warnings;

use IO::Socket::IP;
use Test::More;

use OpsAuth::Test;

my $t = OpsAuth::Test->new;
my $redis = $t->redis;
my $store = $t->store;
$t->upstream;
my $v6 = IO::Socket::IP->new(LocalHost => '::1', LocalPort => 0, Listen => 1) ? 1 : 0;
$t->var(V6 => $v6 ? 'listen [::1]:' . $t->port(8080) . '; listen [::]:' . $t->port('dual') . ' ipv6only=off;' : '');

$t->config_http(<<'CONF');
    opsauth_store main {
        redis %%REDIS%%;
        pepper_file %%PEPPER%%;
        key_prefix op365_sk_live_ environment=live;
        key_prefix op365_sk_test_ environment=test;
        lease 60s;
        redis_timeout 2s;
    }
    add_header X-Reason $opsauth_reason always;
    opsauth_admin off;

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        %%V6%%
        listen unix:%%TESTDIR%%/nginx.sock;
        set_real_ip_from 127.0.0.2;
        set_real_ip_from unix:;
        real_ip_header X-Client;

        opsauth main;
        opsauth_admin role=administrator scope=admin;
        opsauth_require role=server;

        location / { proxy_pass http://%%UPSTREAM%%; }
        location /free { opsauth_require off; proxy_pass http://%%UPSTREAM%%; }
        location /one-scope { opsauth_require scope=read:a; proxy_pass http://%%UPSTREAM%%; }
        location /any-scope { opsauth_require scope=read:a|write:b,x; proxy_pass http://%%UPSTREAM%%; }
        location /two-scopes { opsauth_require scope=read:a scope=write:b; proxy_pass http://%%UPSTREAM%%; }
        location /two-lines { opsauth_require scope=read:a; opsauth_require role=r; proxy_pass http://%%UPSTREAM%%; }
        location /one-line { opsauth_require scope=read:a role=r|s; proxy_pass http://%%UPSTREAM%%; }
        location /methods {
            opsauth_require scope=read:a method=GET,HEAD;
            opsauth_require scope=write:a method=POST|PUT;
            opsauth_require scope=admin method=DELETE;
            proxy_pass http://%%UPSTREAM%%;
            location /methods/inner { proxy_pass http://%%UPSTREAM%%; }
            location /methods/replaced { opsauth_require role=s; proxy_pass http://%%UPSTREAM%%; }
            location /methods/off { opsauth_require off; proxy_pass http://%%UPSTREAM%%; }
        }
        location /get-only { opsauth_require method=GET; proxy_pass http://%%UPSTREAM%%; }
        location /v1/ {
            opsauth_require role=plans uri=~^/v1/(plans|enrollments)(/|$);
            opsauth_require role=account uri=~*^/v1/my-account(/|$);
            opsauth_require scope=read:a uri=~^/v1/plans/secret method=GET;
            proxy_pass http://%%UPSTREAM%%;
        }
        location /api/ { rewrite ^/api(.*) $1 break; opsauth_require role=plans uri=~^/v1/plans$; proxy_pass http://%%UPSTREAM%%; }
        location /no-admin { opsauth_admin off; opsauth_require role=r; opsauth_require scope=read:a; proxy_pass http://%%UPSTREAM%%; }
        location /no-admin-rule { opsauth_admin off; opsauth_require role=r method=PATCH; proxy_pass http://%%UPSTREAM%%; }
        location /own-admin { opsauth_admin role=root|boss; proxy_pass http://%%UPSTREAM%%; }
        location /scope-admin { opsauth_admin scope=all; proxy_pass http://%%UPSTREAM%%; }
        location /except {
            opsauth_require scope=read:a;
            limit_except GET { opsauth_require scope=write:a; }
            proxy_pass http://%%UPSTREAM%%;
        }
        location /except-off { limit_except POST { opsauth off; } proxy_pass http://%%UPSTREAM%%; }
    }
    server {
        listen 127.0.0.1:%%PORT_8081%%;
        opsauth_require role=r;
        location / { limit_except GET { opsauth main; } proxy_pass http://%%UPSTREAM%%; }
        location /admin { opsauth main; proxy_pass http://%%UPSTREAM%%; }
    }
CONF
$t->start;

# a key with these roles and scopes; one account for each set of roles
my (%keys, %accounts);
sub key {
    my ($roles, $scopes, %fields) = @_;
    $accounts{$roles} //= $store->account('a' . keys %accounts, roles => $roles);
    return $keys{join '|', $roles, $scopes, map { "$_=$fields{$_}" } sort keys %fields}
        //= $store->issue(account => $accounts{$roles}, scopes => $scopes, %fields);
}

# the reason of the verdict
sub verdict {
    my ($method, $uri, $key, %o) = @_;
    my $r = $t->request($method, $uri, key => $key, %o);
    return $r->header('X-Reason') // $r->status;
}

sub table {
    my ($uri, @rows) = @_;
    for my $row (@rows) {
        my ($methods, $roles, $scopes, $reason) = @$row;
        is(verdict($_, $uri, key($roles, $scopes)), $reason, "$_ $uri: roles \"$roles\", scopes \"$scopes\": $reason")
            for split /,/, $methods;
    }
}

subtest 'scopes and roles' => sub {
    table('/free', ['GET,POST', '', '', 'ok']);
    table('/one-scope', ['GET', '', 'read:a', 'ok'], ['GET', '', 'read:*', 'ok'], ['GET', '', 'x read:a y', 'ok'], ['GET', '', 'admin', 'ok'],
        ['GET', '', '', 'scope'], ['GET', '', 'read:b', 'scope'], ['GET', '', 'write:*', 'scope'], ['GET', '', 'read:', 'scope'], ['GET', '', 'read', 'scope'],
        ['GET', '', 'READ:A', 'scope'], ['GET', '', 'read:ab', 'scope'], ['GET', '', '*', 'scope'], ['GET', 'read:a', '', 'scope'], ['GET', '', '*:a', 'scope']);
    table('/any-scope', ['GET', '', 'read:a', 'ok'], ['GET', '', 'write:b', 'ok'], ['GET', '', 'x', 'ok'], ['GET', '', 'read:b', 'scope']);
    table('/two-scopes', ['GET', '', 'read:a write:b', 'ok'], ['GET', '', 'read:* write:*', 'ok'], ['GET', '', 'read:a', 'scope'], ['GET', '', 'write:b', 'scope']);
    table('/two-lines', ['GET', 'r', 'read:a', 'ok'], ['GET', 'r', '', 'scope'], ['GET', '', 'read:a', 'role'], ['GET', '', '', 'scope']);
    table('/one-line', ['GET', 's', 'read:a', 'ok'], ['GET', 'q r', 'read:*', 'ok'], ['GET', '', 'read:a', 'role'], ['GET', 'r', '', 'scope'], ['GET', 'R', 'read:a', 'role'], ['GET', 'rs', 'read:a', 'role']);
    like($t->get('/any-scope', key => key('', ''))->header('WWW-Authenticate'), qr/ scope="read:a write:b x"$/, 'what was asked for');
    like($t->get('/two-scopes', key => key('', 'read:a'))->header('WWW-Authenticate'), qr/ scope="write:b"$/, 'the one that failed');
};

subtest 'methods' => sub {
    table($_, ['GET,HEAD', '', 'read:a', 'ok'], ['GET,HEAD', '', 'write:a', 'scope'], ['POST,PUT', '', 'write:a', 'ok'], ['POST,PUT', '', 'read:a', 'scope'],
        ['DELETE', '', 'read:* write:*', 'scope'], ['PATCH,OPTIONS,PROPFIND', '', 'read:* write:*', 'no_rule'], ['FOO,GETS,LOCK', '', 'read:* write:*', 'no_rule'],
        ['DELETE,PATCH,FOO', '', 'admin', 'ok']) for '/methods', '/methods/inner';
    table('/methods/replaced', ['GET,PATCH,FOO', 's', '', 'ok'], ['GET,DELETE', '', 'read:* write:*', 'role']);
    table('/methods/off', ['GET,PATCH,FOO', '', '', 'ok']);
    table('/get-only', ['GET', '', '', 'ok'], ['HEAD,POST,FOO', '', '', 'no_rule']);
    is($t->request($_, '/free', key => key('', ''))->status, 405, "$_ is nginx's to refuse") for 'TRACE';
};

subtest 'URIs' => sub {
    table($_, ['GET', 'plans', '', 'ok'], ['GET', 'account', '', 'role']) for '/v1/plans', '/v1/plans/7', '/v1/enrollments', '/v1/%70lans', '/v1//plans', '/v1/x/../plans', '/v1/plans?a=/v1/my-account';
    table($_, ['GET', 'plans', '', 'no_rule'], ['GET', 'account', '', 'no_rule']) for '/v1/', '/v1/plansx', '/v1/Plans', '/v1/other', '/v1/x?a=/v1/plans', '/v1/plan%73x';
    table($_, ['GET', 'account', '', 'ok'], ['GET', 'plans', '', 'role']) for '/v1/my-account', '/v1/MY-Account/7';
    table('/v1/plans/secret', ['GET', 'plans', 'read:a', 'ok'], ['GET', 'plans', '', 'scope'], ['POST', 'plans', '', 'ok'], ['GET', '', 'read:a', 'role']);
    table('/api/v1/plans', ['GET', 'plans', '', 'ok']);
    table('/api/v1/plans/7', ['GET', 'plans', '', 'no_rule']);
};

subtest 'inheritance' => sub {
    table('/', ['GET,POST', 'server', '', 'ok'], ['GET', '', 'read:a', 'role']);
    is(verdict('GET', '/', key('', ''), port => 8081), '200', 'a place that is not guarded');
    is(verdict('POST', '/', key('', ''), port => 8081), 'role', 'rules of the server in limit_except');
    is(verdict('POST', '/', key('r', ''), port => 8081), 'ok');
    is(verdict('GET', '/admin', key('administrator', 'admin'), port => 8081), 'role', 'opsauth_admin of http');
};

subtest 'limit_except' => sub {
    table('/except', ['GET,HEAD', '', 'read:a', 'ok'], ['GET', '', 'write:a', 'scope'], ['POST,DELETE,FOO', '', 'write:a', 'ok'], ['POST,FOO', '', 'read:a', 'scope']);
    is($t->request('POST', '/except-off')->status, 401, 'off for others: guarded');
    is($t->request('GET', '/except-off')->status, 200, 'off for others');
};

subtest 'administrators' => sub {
    my @admins = (['administrator', ''], ['x administrator', ''], ['', 'admin'], ['', 'read:b admin']);
    for my $admin (@admins) {
        table($_, ['GET,PATCH,FOO', @$admin, 'ok']) for '/', '/methods', '/two-lines', '/v1/unknown', '/except';
        table('/own-admin', ['GET', @$admin, 'role']);
    }
    table('/two-lines', ['GET', 'Administrator', '', 'scope'], ['GET', '', 'admin:all', 'scope'], ['GET', 'admin', '', 'scope'], ['GET', 'r', 'administrator', 'scope']);
    table('/no-admin', ['GET', 'administrator', 'read:a', 'role'], ['GET', 'r', 'admin', 'ok'], ['GET', '', 'admin', 'role']);
    table('/no-admin-rule', ['GET', 'administrator', 'admin', 'no_rule'], ['PATCH', 'r', '', 'ok']);
    table('/own-admin', ['GET', 'root', '', 'ok'], ['GET', 'boss', '', 'ok'], ['GET', 'server', '', 'ok']);
    table('/scope-admin', ['GET', '', 'all', 'ok'], ['GET', '', 'admin', 'role'], ['GET', 'administrator', '', 'role']);

    is(verdict('GET', '/', key('administrator', 'admin', ips => '192.0.2.1')), 'ip', 'addresses hold for them');
    is(verdict('GET', '/', key('administrator', 'admin', state => 'revoked')), 'revoked', 'and their state');
    is(verdict('GET', '/', key('administrator', 'admin', expires => 1)), 'expired', 'their time');
    is(verdict('GET', '/', key('administrator', 'admin', environment => 'test')), 'environment', 'their environment');
    $store->account('off', enabled => 0, roles => 'administrator');
    is(verdict('GET', '/', $store->issue(account => 'off', scopes => 'admin')), 'disabled', 'their account');
};

# --- addresses --------------------------------------------------------------------------

my $n = 0;
sub allowed {           # address lists of account and credential
    my ($account, $credential) = @_;
    $store->account('ip' . ++$n, ips => $account);
    return $store->issue(account => "ip$n", ips => $credential);
}

subtest 'addresses' => sub {
    for my $case (['', undef, 'ok'], [undef, undef, 'ok'], [undef, '', 'ok'], ['127.0.0.1', undef, 'ok'], ['', '127.0.0.1', 'ok'], ['127.0.0.0/8', '127.0.0.1/32', 'ok'], ['0.0.0.0/0', '', 'ok'],
        ['::ffff:127.0.0.1', '', 'ok'], ['192.0.2.1 127.0.0.1', '127.0.0.1,192.0.2.1', 'ok'],
        ['127.0.0.2', '', 'ip'], ['', '127.0.0.2', 'ip'], ['127.0.0.1', '127.0.0.2', 'ip'], ['127.0.0.2', '127.0.0.1', 'ip'], ['::1', '', 'ip'], ['::/0', '', 'ip'], ['127.0.0.2/31', '', 'ip'])
    {
        my ($account, $credential, $reason) = @$case;
        is(verdict('GET', '/free', allowed($account, $credential)), $reason, join ' and ', map { $_ // 'none' } @$case);
    }
    my $key = allowed('127.0.0.3', '');
    is(verdict('GET', '/free', $key, local => '127.0.0.3'), 'ok', 'from there');
    is(verdict('GET', '/free', $key), 'ip', 'from elsewhere');
};

subtest 'behind a proxy' => sub {
    my $client = sub { my ($ip, $key, %o) = @_; return verdict('GET', '/free', $key, headers => ['X-Client' => $ip], %o) };
    my ($four, $six) = (allowed('203.0.113.0/24', ''), allowed('2001:db8::/32', ''));
    my @trusted = (local => '127.0.0.2');
    is($client->('203.0.113.7', $four, @trusted), 'ok', 'an address that a proxy of ours tells');
    is($client->('203.0.114.7', $four, @trusted), 'ip', 'another');
    is($client->('203.0.113.7', $four), 'ip', 'one that somebody else tells');
    is($client->('2001:db8:1::7', $six, @trusted), 'ok', 'IPv6');
    is($client->('2001:db9::7', $six, @trusted), 'ip', 'another');
    is($client->('::ffff:203.0.113.7', $four, @trusted), 'ok', 'IPv4 in IPv6');
    is($client->('nonsense', allowed('127.0.0.2', ''), @trusted), 'ok', 'no address: the proxy itself');
};

subtest 'IPv6' => sub {
    plan skip_all => 'no ::1 here' unless $v6;
    my %o = (host_addr => '::1');
    is(verdict('GET', '/free', allowed('::1', ''), %o), 'ok', 'the address');
    is(verdict('GET', '/free', allowed('', '::/64'), %o), 'ok', 'a network');
    is(verdict('GET', '/free', allowed('::2', ''), %o), 'ip', 'another');
    is(verdict('GET', '/free', allowed('127.0.0.1 0.0.0.0/0', ''), %o), 'ip', 'IPv4 is something else');
    is(verdict('GET', '/free', allowed('127.0.0.1', ''), port => 'dual'), 'ok', 'IPv4 on a socket of both');
    is(verdict('GET', '/free', allowed('::ffff:127.0.0.1', ''), port => 'dual'), 'ok', 'mapped');
    is(verdict('GET', '/free', allowed('127.0.0.2', ''), port => 'dual'), 'ip', 'another');
};

subtest 'a unix socket' => sub {
    my @unix = (unix => $t->dir . '/nginx.sock');
    is(verdict('GET', '/free', allowed('', ''), @unix), 'ok', 'no list');
    is(verdict('GET', '/free', allowed('0.0.0.0/0 ::/0', ''), @unix), 'ip', 'no address is in no list');
    is(verdict('GET', '/free', allowed('', '127.0.0.1'), @unix), 'ip', 'of the credential');
    is(verdict('GET', '/free', allowed('203.0.113.7', ''), @unix, headers => ['X-Client' => '203.0.113.7']), 'ok', 'but realip may tell one');
};

$t->done;
