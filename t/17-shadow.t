#!/usr/bin/perl

# Shadow: the verdict is found and told, and never blocks; nor does it open a
# door that something else keeps shut.

use strict;
use warnings;

use Test::More;

use OpsAuth::Test;

my $t = OpsAuth::Test->new;
my $redis = $t->redis;
my $store = $t->store;
$t->upstream;
$t->write_file('htpasswd', "basic:{PLAIN}secret\n");
$t->var(DOWN => 'redis://127.0.0.1:' . $t->port('down'));

$t->config_http(<<'CONF');
    opsauth_store main {
        redis %%REDIS%%;
        pepper_file %%PEPPER%%;
        key_prefix op365_sk_live_ checksum=crc32;
        key_prefix op365_sk_test_ environment=test;
        lease 60s;
        redis_timeout 2s;
    }
    opsauth_store down { redis %%DOWN%%; pepper_file %%PEPPER%%; }
    add_header X-Seen "$opsauth_verdict $opsauth_reason [$opsauth_account][$opsauth_tenant]" always;
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        opsauth main shadow;
        opsauth_credential bearer header=X-API-Key;
        opsauth_require uri=~^/$;
        opsauth_require scope=read:a uri=~/scope$;
        opsauth_require role=r uri=~/role$;

        location / { proxy_pass http://%%UPSTREAM%%; }
        location /down { opsauth down shadow; opsauth_require off; proxy_pass http://%%UPSTREAM%%; }
        location /enforced { opsauth main; opsauth_require off; proxy_pass http://%%UPSTREAM%%; }
        location /inherited/ { opsauth_require role=r; proxy_pass http://%%UPSTREAM%%; }
        location /off { opsauth off; proxy_pass http://%%UPSTREAM%%; }
        location /any-deny { satisfy any; deny all; opsauth_require off; proxy_pass http://%%UPSTREAM%%; }
        location /any-allow { satisfy any; allow all; opsauth_require off; proxy_pass http://%%UPSTREAM%%; }
        location /all-deny { deny all; opsauth_require off; proxy_pass http://%%UPSTREAM%%; }
        location /any-basic {
            satisfy any;
            auth_basic basic;
            auth_basic_user_file %%TESTDIR%%/htpasswd;
            opsauth_require off;
            proxy_pass http://%%UPSTREAM%%;
        }
        location /to-enforced { opsauth_require off; try_files $uri @enforced; }
        location @enforced { opsauth main; opsauth_require role=r; proxy_pass http://%%UPSTREAM%%; }
        location /to-shadow { opsauth main; error_page 401 = @shadow; }
        location @shadow { proxy_pass http://%%UPSTREAM%%; }
        location /no-identity { opsauth_identity_header off; opsauth_require off; proxy_pass http://%%UPSTREAM%%; }
    }
CONF
$t->start;

$store->account('acme', tenant => 'org_42', roles => 'customer');
$store->account('off', enabled => 0);
my $key = $store->issue;
my @names = qw(X-Tenant-Id X-Account-Id X-Roles X-Credential-Id);
my @spoof = map { ($_ => 'spoof') } @names, qw(X-Affiliate-Id X-Scopes x_tenant_id);

sub identity { my ($r) = @_; return join ' ', map { $r->echoed($_) } @names, qw(X-Affiliate-Id X-Scopes) }
my $true = 'org_42 acme customer ' . $store->read_credential($key)->{id};

subtest 'every reason' => sub {
    my $wrong = $store->key(undef, checksum => 'wrong');
    my %case = (
        missing => ['/'], malformed => ['/', headers => [Authorization => "Bearer $key", 'X-API-Key' => $key]],
        unknown => ['/', key => $store->key], checksum => ['/', key => $wrong],
        environment => ['/', key => $store->issue(key_prefix => 'op365_sk_test_')],
        revoked => ['/', key => $store->issue(state => 'revoked'), '[acme][]'], expired => ['/', key => $store->issue(expires => 1), '[acme][]'],
        disabled => ['/', key => $store->issue(account => 'off'), '[off][]'], ip => ['/', key => $store->issue(ips => '192.0.2.1'), '[acme][]'],
        role => ['/role', key => $key, '[acme][]'], scope => ['/scope', key => $key, '[acme][]'], no_rule => ['/else', key => $key, '[acme][]'],
        unavailable => ['/down', key => $key], record_invalid => ['/', key => $store->issue(account => 'ghost'), '[ghost][]'],
    );
    for my $reason (sort keys %case) {
        my ($uri, @o) = @{$case{$reason}};
        my $who = @o % 2 ? pop @o : '[][]';
        my %o = @o;
        my $mark = $t->mark;
        my $r = $t->get($uri, %o, headers => [@{$o{headers} // []}, @spoof]);
        is($r->status, 200, "$reason: passes");
        is($r->header('X-Seen'), "shadow-deny $reason $who", "$reason: is told");
        is_deeply([map { $r->header_all($_) } qw(WWW-Authenticate Cache-Control Retry-After)], [], "$reason: no challenge");
        is(identity($r), '', "$reason: no identity, neither ours nor the client's");
        is_deeply([$r->echoed('Authorization'), $r->echoed('X-API-Key')],
            [$o{key} ? "Bearer $o{key}" : grep { /\Q$key/ } @{$o{headers} // []}], "$reason: the credential is forwarded");
        like($t->log_since($mark), qr/\[info\].*opsauth: would deny \(shadow\), reason "$reason"/, "$reason: logged");
        is($t->request('POST', $uri, %o, body => 'abc')->json->{body}, 'abc', "$reason: POST");
    }
};

subtest 'where it would allow' => sub {
    my $r = $t->get('/', key => $key, headers => \@spoof);
    is($r->status, 200);
    is($r->header('X-Seen'), 'allow ok [acme][org_42]', 'verdict');
    is(identity($r), $true, 'identity');
    is_deeply([$r->echoed('Authorization')], ["Bearer $key"], 'the credential is still forwarded');
    $r = $t->get('/no-identity', key => $key, headers => ['X-Roles' => 'own']);
    is(identity($r), 'own', 'identity headers off');
};

subtest 'places' => sub {
    is($t->get('/enforced')->status, 401, 'a place without shadow');
    is_deeply([$t->get('/enforced', key => $key)->echoed('Authorization')], [], 'its credential goes no further');
    is($t->get('/inherited/', key => $key)->header('X-Seen'), 'shadow-deny role [acme][]', 'shadow is inherited');
    is($t->get('/off')->header('X-Seen'), '[][]', 'off: no verdict');
    is($t->get('/to-enforced')->status, 401, 'from shadow to where it is enforced');
    my $r = $t->get('/to-enforced', key => $key);
    is($r->status, 403, 'also by its rules');
    is($r->header('X-Seen'), 'deny role [acme][]', 'which is no shadow');
    is($t->get('/to-shadow')->status, 200, 'and back, by an error page');
};

subtest 'no door is opened' => sub {
    for my $case ([$key, 'allow ok', 'a valid key'], [$store->key, 'shadow-deny unknown', 'an unknown key'], [undef, 'shadow-deny missing', 'no key']) {
        my ($credential, $seen, $name) = @$case;
        my @key = defined $credential ? (key => $credential) : ();
        my $r = $t->get('/any-deny', @key, headers => \@spoof);
        is($r->status, 403, "satisfy any, deny, $name");
        like($r->header('X-Seen'), qr/^$seen /, 'the verdict is told');
        $r = $t->get('/any-allow', @key, headers => \@spoof);
        is($r->status, 200, "satisfy any, allow, $name");
        is(identity($r), '', 'who asks was not looked for');
        is($t->get('/all-deny', @key)->status, 403, "satisfy all, deny, $name");
        $r = $t->get('/any-basic', @key);
        is($r->status, 401, "satisfy any, auth_basic, $name");
        is_deeply([$r->header_all('WWW-Authenticate')], ['Basic realm="basic"'], 'its own challenge, no other');
    }
    my $r = $t->get('/any-basic', headers => [Authorization => 'Basic YmFzaWM6c2VjcmV0', @spoof]);
    is($r->status, 200, 'its own credential');
    is(identity($r), '');
};

$t->done;
