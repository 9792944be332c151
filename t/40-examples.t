#!/usr/bin/perl

# The complete configurations of conf-examples: they load, and every group of
# endpoints lets in who may and turns away who may not. Only addresses, paths
# and certificates are replaced; rules and directives are run as they stand.
# Then every piece of configuration in the documentation: each of them loads.

use strict;
use warnings;

use FindBin qw($Bin);
use Test::More;

use lib "$Bin/lib";
use OpsAuth::Docs;
use OpsAuth::OAuth;
use OpsAuth::Test;

# A file of conf-examples as a configuration of the harness; @replace are pairs
# of a pattern, which must be found, and its replacement.
sub example {
    my ($name, @replace) = @_;
    open my $fh, '<', "$Bin/../conf-examples/$name" or die "$name: $!";
    my $text = do { local $/; <$fh> };

    @replace = (
        qr/\A.*?^http \{\n/ms            => "%%TEST_GLOBALS%%\n%%TEST_EVENTS%%\nhttp {\n    %%TEST_GLOBALS_HTTP%%\n",
        qr/^ *listen \[::\]:443 ssl;\n/m => '',
        qr/listen 443 ssl;/              => 'listen 127.0.0.1:%%PORT_8080%%;',
        qr/^ *ssl_\w+ .*;\n/m            => '',
        qr{/var/log/nginx/}              => '%%TESTDIR%%/',
        qr{pepper_file( +)/etc/opsauth/pepper;} => 'pepper_file$1%%PEPPER%%;',
        @replace,
    );
    while (my ($pattern, $replacement) = splice @replace, 0, 2) {
        my $n = $text =~ s/$pattern/my $one = $1 \/\/ ''; my $new = $replacement; $new =~ s{\$1}{$one}; $new/ge;
        ok($n, "$name has $pattern") or die "$name has changed: adapt this test\n";
    }
    return $text;
}

# of the user that docs/redis.md has for a gateway that issues tokens
sub issuer_rights {
    open my $fh, '<', "$Bin/../docs/redis.md" or die "docs/redis.md: $!";
    my ($rights) = do { local $/; <$fh> } =~ /ACL SETUSER issuer on >PASSWORD (.+)/ or die 'no issuer in docs/redis.md';
    return $rights;
}

# [name, method, path, key, status] and what the backend must have seen
sub check {
    my ($t, $name, $method, $path, $status, %o) = @_;
    my $r = $t->request($method, $path, headers => [@{$o{headers} // []}],
        host => $o{host}, defined $o{key} ? (key => $o{key}) : ());
    is($r->status, $status, "$name: $method $path: $status") or diag($r->error || $r->body);
    return $r;
}

sub envelope {
    my ($r, $code) = @_;
    is($r->header('Content-Type'), 'application/json', "$code is JSON");
    my $json = $r->json // {};
    is($json->{error}{code}, $code, "$code in the envelope");
    ok(exists $json->{success} && !$json->{success}, "$code is no success");
}

# --- forms of Redis: what they do is in t/26-resolver.t, 70 to 75 -------------------------

{
    my $t = OpsAuth::Test->new;
    $t->store(redis => $t->redis);
    my $password = $t->write_file('redis.password', "sesame\n", 0600);
    my $pki = $t->certificates;
    my $own = $pki->issue('gateway', dns => ['gateway.test']);
    my @password = (qr{/etc/opsauth/(?:redis|sentinel)\.password} => $password);
    my %replace = (
        'sentinel.conf'  => [],
        'cluster.conf'   => [],
        # a name that nobody has to know
        'redis-dns.conf' => [qr{redis://redis\.example\.com} => 'redis://redis.invalid'],
        'redis-tls.conf' => [
            qr{rediss://store\.redis\.example\.com} => 'rediss://store.invalid',
            qr{/etc/opsauth/redis-ca\.pem} => $pki->ca,
            qr{/etc/opsauth/gateway\.pem} => $own->{cert}, qr{/etc/opsauth/gateway\.key} => $own->{key},
        ],
    );
    for my $name (sort keys %replace) {
        my ($exit, $said) = $t->nginx_t(example($name, @password, @{$replace{$name}}));
        is($exit, 0, "$name loads") or diag $said;
        like($said, qr/host not found: "[\w.]+\.invalid:\d+".*it is looked up again at each connect/, 'with a warning of the name')
            if $name !~ /^(?:sentinel|cluster)/;
    }
    $t->finish;
}

# --- OpsPilot365-like -------------------------------------------------------------

{
    my $t = OpsAuth::Test->new(workers => 2);
    $t->redis(user => 'tests', password => 'of-the-tests', acl => [
        'user default off', 'user tests on >of-the-tests ~* &* +@all',
        'user issuer on >of-the-gateway ' . issuer_rights(),    # as the file says
    ]);
    $t->secret('of-the-gateway');
    my $store = $t->store;
    my $password = $t->write_file('redis.password', "of-the-gateway\n", 0600);
    my $live = $t->upstream(name => 'LIVE');
    my $sandbox = $t->upstream(name => 'SANDBOX');

    $t->config(example('opspilot.conf',
        qr{redis( +)redis://127\.0\.0\.1:6379/0;} => 'redis$1%%REDIS%%;',
        qr{/etc/opsauth/redis\.password}          => $password,
        qr{server 127\.0\.0\.1:9001;}             => 'server %%LIVE%%;',
        qr{server 127\.0\.0\.1:9002;}             => 'server %%SANDBOX%%;',
        # the portal knows who has a session
        qr{server 127\.0\.0\.1:9003;}             => 'server 127.0.0.1:%%PORT_8081%%;',
        qr{\n\}\n\z}                              => <<'PORTAL',

    server {
        listen 127.0.0.1:%%PORT_8081%%;
        add_header X-Portal-User $cookie_session;
        if ($cookie_session = '') { return 401; }
        location / { empty_gif; }
    }
}
PORTAL
    ));
    $t->start;

    $store->account('acme', tenant => 'org_acme');
    $store->account('office', tenant => 'org_office', ips => '203.0.113.0/24');
    my %key = (
        read      => $store->issue(scopes => 'read:*'),
        write     => $store->issue(scopes => 'read:* write:*'),
        admin     => $store->issue(scopes => 'admin'),
        users     => $store->issue(scopes => 'read:users'),
        licenses  => $store->issue(scopes => 'write:licenses'),
        elsewhere => $store->issue(scopes => 'admin', account => 'office'),
        test      => $store->issue(key_prefix => 'op365_sk_test_', scopes => 'read:* write:*',
                                   environment => 'test'),
    );

    my $host = 'api.opspilot.example';
    my %groups = (
        tenants  => { read  => ['GET /v1/tenants', 'HEAD /v1/tenants', 'GET /v1/tenants/t1'],
                      write => ['POST /v1/tenants', 'PUT /v1/tenants/t1', 'PATCH /v1/tenants/t1',
                                'POST /v1/tenants/t1/sync'],
                      admin => ['DELETE /v1/tenants/t1'] },
        users    => { read  => ['GET /v1/tenants/t1/users', 'HEAD /v1/tenants/t1/users/u1',
                                'GET /v1/tenants/t1/users/u1'],
                      write => ['POST /v1/tenants/t1/users', 'PUT /v1/tenants/t1/users/u1',
                                'PATCH /v1/tenants/t1/users/u1'],
                      admin => ['DELETE /v1/tenants/t1/users/u1'] },
        licenses => { read  => ['GET /v1/tenants/t1/licenses', 'GET /v1/tenants/t1/licenses/assignments'],
                      write => ['POST /v1/tenants/t1/licenses/assignments',
                                'PUT /v1/tenants/t1/licenses'],
                      admin => ['DELETE /v1/tenants/t1/licenses/assignments'] },
    );
    # who may do what; "-" is no key at all
    my %may = (
        read  => { map { $_ => 1 } qw(tenants/read users/read licenses/read) },
        write => { map { $_ => 1 } map { ("$_/read", "$_/write") } qw(tenants users licenses) },
        admin => { map { $_ => 1 } map { ("$_/read", "$_/write", "$_/admin") } qw(tenants users licenses) },
        users    => { 'users/read' => 1 },
        licenses => { 'licenses/write' => 1 },
    );

    for my $group (sort keys %groups) {
        for my $what (qw(read write admin)) {
            for my $endpoint (@{$groups{$group}{$what}}) {
                my ($method, $path) = split / /, $endpoint;
                for my $who (sort keys %may) {
                    check($t, $who, $method, $path, $may{$who}{"$group/$what"} ? 200 : 403,
                        host => $host, key => $key{$who});
                }
                check($t, 'no key', $method, $path, 401, host => $host);
                check($t, 'test key', $method, $path, 401, host => $host, key => $key{test});
                check($t, 'other address', $method, $path, 403, host => $host,
                    key => $key{elsewhere});
            }
        }
    }

    my $r = check($t, 'read', 'GET', '/v1/tenants?page=2', 200, host => $host, key => $key{read},
        headers => ['X-Tenant-Id' => 'org_other', 'x_tenant_id' => 'org_other']);
    is_deeply([$r->echoed('X-Tenant-Id')], ['org_acme'], 'the tenant is the record\'s');
    is_deeply([$r->echoed('X-Scopes')], ['read:*'], 'and so are the scopes');
    is_deeply([$r->echoed('Authorization')], [], 'the key stays here');
    is_deeply([$r->echoed('Host')], [$host], 'the backend gets the host');
    is($r->json->{uri}, '/v1/tenants?page=2', 'and the query string');

    # methods and paths that no line names
    check($t, 'write', 'GET', '/v1/tenants/t1/sync', 403, host => $host, key => $key{write});
    check($t, 'write', 'OPTIONS', '/v1/tenants', 403, host => $host, key => $key{write});
    check($t, 'write', 'PUT', '/v1/tenants', 403, host => $host, key => $key{write});

    envelope(check($t, 'no key', 'GET', '/v1/tenants', 401, host => $host), 'UNAUTHORIZED');
    envelope(check($t, 'read', 'DELETE', '/v1/tenants/t1', 403, host => $host,
        key => $key{read}), 'FORBIDDEN');
    envelope(check($t, 'read', 'GET', '/v1/nothing', 404, host => $host, key => $key{read}),
        'NOT_FOUND');
    for my $path ('/v1/tenants/a%2Fsync', '/v1//tenants', '/v1/x/../tenants', '/v1/%2e%2e/v1/tenants',
                  '/v1/tenants/a%5cb')
    {
        envelope(check($t, 'admin', 'GET', $path, 404, host => $host, key => $key{admin}),
            'NOT_FOUND');
    }
    check($t, 'admin', 'GET', '/v1/tenants?next=%2Fv1//x', 200, host => $host, key => $key{admin});

    # the backend's own errors are its own
    $r = check($t, 'read', 'GET', '/v1/tenants/t1?status=404', 404, host => $host, key => $key{read});
    ok($r->json && $r->json->{method}, 'a 404 of the backend passes as it is');

    is(check($t, 'anybody', 'GET', '/health', 200, host => $host)->body, qq({"success":true}\n),
        'health is open');

    # the sandbox
    my $test = 'sandbox.opspilot.example';
    my $before = $live->count;
    check($t, 'test key', 'GET', '/v1/tenants', 200, host => $test, key => $key{test});
    check($t, 'test key', 'POST', '/v1/tenants/t1/users', 200, host => $test, key => $key{test});
    check($t, 'test key', 'DELETE', '/v1/tenants/t1', 403, host => $test, key => $key{test});
    check($t, 'live key', 'GET', '/v1/tenants', 401, host => $test, key => $key{admin});
    check($t, 'no key', 'GET', '/v1/tenants', 401, host => $test);
    envelope(check($t, 'test key', 'GET', '/v1/nothing', 404, host => $test, key => $key{test}),
        'NOT_FOUND');
    is($live->count, $before, 'nothing of it reached the live backend');
    is($sandbox->count, 2, 'what was allowed reached the other one');

    # OAuth
    my $oauth = OpsAuth::OAuth->new(t => $t, store => $store);
    my @auth = (host => 'auth.opspilot.example');
    my $app = $oauth->client('client_app', account => 'acme', scopes => 'read:tenants',
        grants => 'authorization_code refresh_token client_credentials', redirect_uris => 'https://app.example/back');
    my $request = "/oauth/authorize?response_type=code&client_id=$app&redirect_uri=https%3A%2F%2Fapp.example%2Fback";
    $r = check($t, 'nobody', 'GET', $request, 302, @auth);
    like($r->header('Location'), qr{^https://portal\.opspilot\.example/login\?next=}, 'logs in at the portal');
    $r = check($t, 'a user', 'GET', $request, 200, @auth, headers => [Cookie => 'session=jane']);
    like($r->body, qr/jane/, 'is asked');
    envelope(check($t, 'nobody', 'GET', '/oauth/nothing', 404, @auth), 'NOT_FOUND');
    $r = $t->request('POST', '/oauth/token', @auth, headers => ['Content-Type' => 'application/x-www-form-urlencoded'],
        body => "grant_type=client_credentials&client_id=$app&client_secret=" . $oauth->secret_of($app));
    is($r->status, 200, 'a token, with the rights of the documentation') or diag $t->log;
    check($t, 'a token', 'GET', '/v1/tenants', 200, host => $host, key => $r->json->{access_token});
    check($t, 'a token', 'POST', '/v1/tenants', 403, host => $host, key => $r->json->{access_token});
    is(check($t, 'metadata', 'GET', '/.well-known/oauth-authorization-server', 200, @auth)->json->{token_endpoint},
        'https://auth.opspilot.example/oauth/token', 'where tokens are');

    # a revoked key, after the lease
    $store->revoke($key{read});
    select undef, undef, undef, 1.2;
    check($t, 'revoked', 'GET', '/v1/tenants', 401, host => $host, key => $key{read});

    # the backend gone
    $live->stop;
    envelope(check($t, 'write', 'GET', '/v1/tenants', 500, host => $host, key => $key{write}),
        'INTERNAL_ERROR');

    my ($line) = grep { /"reason":"scope"/ } split /\n/, $t->read_file('api.log');
    my $entry = eval { JSON::PP::decode_json($line // '') } // {};
    is($entry->{verdict}, 'deny', 'the access log says what was decided');
    is($entry->{account}, 'acme', 'and about whom');
    is($entry->{tenant}, '', 'the tenant is there only where access was given');

    $t->finish;
}

# --- OpsAdmin-like ------------------------------------------------------------------

{
    my $t = OpsAuth::Test->new;
    $t->redis(unix => 1);
    my $store = $t->store(prefix => 'opsadmin:', key_prefix => 'opsadmin_');
    my $backend = $t->upstream;

    $t->config(example('opsadmin.conf',
        qr{redis( +)unix:/run/redis/redis-server\.sock;} => 'redis$1%%REDIS%%;',
        qr{server 127\.0\.0\.1:9000;}                    => 'server %%UPSTREAM%%;',
    ));
    $t->start;

    $store->account('portal', tenant => 'retail', roles => 'customer');
    $store->account('shop', tenant => 'retail', roles => 'plans-and-rates', affiliate => 'aff_7');
    $store->account('both', tenant => 'retail', roles => 'customer plans-and-rates');
    $store->account('office', tenant => 'retail', roles => 'administrator');
    $store->account('nobody', tenant => 'retail');
    $store->account('here', tenant => 'retail', roles => 'customer', ips => '127.0.0.1');
    $store->account('there', tenant => 'retail', roles => 'administrator', ips => '203.0.113.7 2001:db8::/32');
    $store->account('off', tenant => 'retail', roles => 'administrator', enabled => 0);
    my %key = map { $_ => $store->issue(account => $_) }
        qw(portal shop both office nobody here there off);

    my %paths = (
        customer => ['/my-account', '/my-account/orders/7'],
        plans    => ['/plans', '/plans/7', '/enrollments', '/enrollments/7/lines'],
        other    => ['/', '/users', '/plansX', '/my-accounts'],
    );
    my %may = (
        portal => { customer => 200, plans => 403, other => 403 },
        shop   => { customer => 403, plans => 200, other => 403 },
        both   => { customer => 200, plans => 200, other => 403 },
        office => { customer => 200, plans => 200, other => 200 },
        nobody => { customer => 403, plans => 403, other => 403 },
        here   => { customer => 200, plans => 403, other => 403 },
        there  => { customer => 403, plans => 403, other => 403 },
        off    => { customer => 401, plans => 401, other => 401 },
    );
    for my $who (sort keys %may) {
        for my $group (sort keys %paths) {
            for my $path (@{$paths{$group}}) {
                check($t, $who, $_, $path, $may{$who}{$group}, key => $key{$who},
                    host => 'api.opsadmin.example') for qw(GET POST DELETE);
            }
        }
    }

    my @host = (host => 'api.opsadmin.example');
    my $r = check($t, 'shop', 'GET', '/plans', 200, @host, key => $key{shop},
        headers => ['X-Affiliate-Id' => 'aff_other', 'X-Scopes' => 'admin']);
    is_deeply([$r->echoed('X-Affiliate-Id')], ['aff_7'], 'the affiliate filters');
    is_deeply([$r->echoed('X-Roles')], ['plans-and-rates'], 'roles are told');
    is_deeply([$r->echoed('X-Scopes')], [], 'a default header that is not set here is removed, too');

    $r = check($t, 'both', 'GET', '/plans', 200, @host, key => $key{both},
        headers => ['x-affiliate_id' => 'aff_other']);
    is_deeply([$r->echoed('X-Affiliate-Id')], [], 'no affiliate, no header');

    $r = check($t, 'older client', 'GET', '/plans', 200, @host, headers => ['X-API-Key' => $key{shop}]);
    is_deeply([$r->echoed('X-API-Key')], [], 'its key stays here as well');
    envelope(check($t, 'two keys', 'GET', '/plans', 400, @host, key => $key{shop},
        headers => ['X-API-Key' => $key{shop}]), 'BAD_REQUEST');
    envelope(check($t, 'no key', 'GET', '/plans', 401, @host), 'UNAUTHORIZED');
    envelope(check($t, 'office', 'GET', '/plans/../users', 404, @host, key => $key{office}), 'NOT_FOUND');

    # a login that the secret signs
    my $oauth = OpsAuth::OAuth->new(t => $t, store => $store);
    $store->update_account('shop', refresh => 1);
    $oauth->client('client_shop', account => 'shop', scopes => 'read:*', grants => 'client_credentials refresh_token');
    $r = $t->request('POST', '/login', @host, headers => ['Content-Type' => 'application/x-www-form-urlencoded'],
        body => 'grant_type=client_credentials&client_id=client_shop&client_secret=' . $oauth->secret_of('client_shop'));
    is($r->status, 200, 'an account logs in') or diag $t->log;
    is($r->json->{expires_in}, 30, 'for some seconds');
    ok($r->json->{refresh_token}, 'with a refresh token');
    is_deeply([check($t, 'a token', 'GET', '/plans', 200, @host, key => $r->json->{access_token})->echoed('X-Affiliate-Id')],
        ['aff_7'], 'the token has the account\'s affiliate');

    # the switch of an account
    $store->update_account('shop', enabled => 0);
    select undef, undef, undef, 1.2;
    check($t, 'switched off', 'GET', '/plans', 401, @host, key => $key{shop});

    # "stale off": without Redis nobody is let in, and nobody is told to get another key
    $t->{servers}[0]->kill;
    select undef, undef, undef, 1.2;
    $r = check($t, 'no Redis', 'GET', '/plans', 503, @host, key => $key{both});
    envelope($r, 'SERVICE_UNAVAILABLE');
    like($r->header('Retry-After'), qr/^[123]$/, 'it says when to try again');

    $t->finish;
}

# --- documentation ------------------------------------------------------------------

{
    my $t = OpsAuth::Test->new;
    $t->var(REDIS => 'redis://127.0.0.1:6379');         # nginx -t asks nobody
    my $store = 'opsauth_store main { redis redis://127.0.0.1; pepper_file /etc/opsauth/pepper; %s}';

    # what the pieces find in /etc/opsauth: by the end of its name a certificate,
    # its key, or a secret
    my $dir = $t->dir;
    system('openssl', qw(req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=docs -keyout),
        "$dir/docs.key", '-out', "$dir/docs.pem") == 0 or die 'openssl';
    my $file = sub {
        my ($name) = @_;
        my ($end) = $name =~ /\.(key|pem)$/;
        $t->write_file($name, $end ? $t->read_file("docs.$end") : "a secret of some length\n", 0600) if !-e "$dir/$name";
        return "$dir/$name";
    };

    for my $page (OpsAuth::Docs->pages($t->root)) {
        my @pieces = $page->configurations;
        is(scalar(grep { ($_->{language} // '') eq 'nginx' } @pieces), $page->fences('nginx'),
            $page->name . ': no piece is passed over');
        for my $piece (@pieces) {
            my $text = $piece->{text};
            # alone it is no configuration
            if ($text =~ /^\s*(?:redis\w*|prefix|pepper_file|key_prefix|cache\w*|lease|stale|rate_\w+|usage\w*)\s/) {
                my $own = $text =~ /^\s*redis\s/ ? $store =~ s/redis redis:\S+ //r : $store;
                $text = sprintf $own, "\n$text";
            }
            $text = "server {\n listen 80;\n$text}\n" unless $text =~ /^(?:server|opsauth_store) /m;
            $text = sprintf("$store\n", '') . $text unless $text =~ /^opsauth_store main /m;
            $text .= "upstream backend { server 127.0.0.1:9000; }\n" unless $text =~ /^upstream backend /m;
            # certificates and other machines are the reader's
            $text =~ s{listen 443 ssl}{listen 80}g;
            $text =~ s{https://login\.example\.com}{https://127.0.0.1:9}g;
            $text =~ s{(rediss?://)[\w.-]+\.example\.com}{${1}127.0.0.1}g;
            $text =~ s{listen 80(?:80)?\b}{listen 127.0.0.1:%%PORT_8080%%}g;
            $text =~ s{/etc/opsauth/([\w.-]+)}{$file->($1)}ge;
            $text =~ s{/var/(?:log|cache)/nginx/}{%%TESTDIR%%/}g;
            is($t->config_error($text), '', $page->name . ":$piece->{line} loads");
        }
    }
    $t->finish;
}

done_testing();
