#!/usr/bin/perl

# One request in several places: internal redirects, error pages, subrequests.
# Who asks is found out once; what that may is decided by each place anew.

use strict;
use warnings;

use Test::More;

use OpsAuth::Process;
use OpsAuth::Test;

my $t = OpsAuth::Test->new;
my $fake = $t->fake_redis;
my $store = $t->store(redis => $fake);
my $other = $t->store(redis => $fake, name => 'OTHER_PEPPER', prefix => 'other:');
my $upstream = $t->upstream;

$t->write_file("html/$_->[0]", $_->[1]) for ['401.html', "please log in\n"], ['dir/index.html', "index\n"], ['file', "file\n"],
    ['ssi.html', '<!--#include virtual="/sub/a" --> <!--#echo var="opsauth_tenant" -->'];

$t->config_http(<<'CONF');
    log_format verdict '$request $status $opsauth_verdict $opsauth_reason $opsauth_account';
    access_log %%TESTDIR%%/access.log verdict;
    opsauth_store main { redis %%REDIS%%; pepper_file %%PEPPER%%; lease 60s; redis_timeout 2s; }
    opsauth_store other { redis %%REDIS%%; pepper_file %%OTHER_PEPPER%%; prefix other:; lease 60s; redis_timeout 2s; }
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        root %%TESTDIR%%/html;
        opsauth main;

        location / { proxy_pass http://%%UPSTREAM%%; }
        location @backend { proxy_pass http://%%UPSTREAM%%; }
        location @scope { opsauth_require scope=read:a; proxy_pass http://%%UPSTREAM%%; }
        location /off { opsauth off; proxy_pass http://%%UPSTREAM%%; }
        location /scope { opsauth_require scope=read:a; proxy_pass http://%%UPSTREAM%%; }
        location /files/ { alias %%TESTDIR%%/html/; }

        location /try { try_files $uri @backend; }
        location /try-uri { try_files $uri /backend; }
        location /try-scope { try_files $uri @scope; }
        location /try-scope-uri { try_files $uri /scope; }
        location /try-both { try_files $uri @both; }
        location @both { opsauth_credential bearer header=X-API-Key; proxy_pass http://%%UPSTREAM%%; }
        location /try-forward { opsauth_forward_credential on; try_files $uri @forward; }
        location @forward { opsauth_forward_credential on; proxy_pass http://%%UPSTREAM%%; }
        location /try-from-off { opsauth off; try_files $uri @backend; }
        location /try-to-off { try_files $uri /off; }
        location /dir/ { index index.html; }
        location /rewrite { rewrite ^ /scope last; }
        location /accel { proxy_pass http://127.0.0.1:%%PORT_8090%%; }
        location /internal/ { internal; opsauth_require scope=read:a; alias %%TESTDIR%%/html/; }
        location /intercept {
            proxy_intercept_errors on;
            error_page 404 = @scope;
            proxy_pass http://%%UPSTREAM%%;
        }

        location /page-static { error_page 401 503 /401.html; }
        location = /401.html { opsauth off; }
        location /page-named { error_page 401 @named; }
        location @named { return 401 "named\n"; }
        location /page-200 { error_page 401 =200 /401.html; }
        location /page-proxied { error_page 401 = /off/page; }
        location /page-inherits { error_page 401 /scope; }
        location /page-loop { recursive_error_pages on; error_page 401 /page-loop; }
        location /page-elsewhere { error_page 401 https://login.example.com/; }
        location /page-403 { error_page 403 =200 @backend; opsauth_require scope=write:a; proxy_pass http://%%UPSTREAM%%; }

        location /auth-request { auth_request /auth; proxy_pass http://%%UPSTREAM%%; }
        location = /auth { internal; proxy_pass http://%%UPSTREAM%%/auth; proxy_pass_request_body off; proxy_set_header Content-Length ""; }
        location /auth-denied { auth_request /auth-no; proxy_pass http://%%UPSTREAM%%; }
        location = /auth-no { internal; return 403; }
        location /mirror { mirror /mirrored; proxy_pass http://%%UPSTREAM%%; }
        location = /mirrored { internal; proxy_pass http://%%UPSTREAM%%/mirrored; }
        location /sub/ { opsauth_require scope=nobody; proxy_pass http://%%UPSTREAM%%; }
        location /ssi.html { ssi on; }
        location /add { add_before_body /sub/before; addition_types *; proxy_pass http://%%UPSTREAM%%; }

        location /if { if ($arg_a) { proxy_pass http://%%UPSTREAM%%; } if ($arg_b) { return 204; } }
        location /other { opsauth other; try_files $uri @backend; location /other/inner { proxy_pass http://%%UPSTREAM%%; } }
        location /main-to-other { try_files $uri /other/inner; }
    }
    server {
        listen 127.0.0.1:%%PORT_8090%%;
        access_log off;
        add_header X-Accel-Redirect /internal/file;
        return 200;
    }
CONF
$t->start;

my ($accounts, $number, $logged) = (0, 0, '');

# a key that no cache has, nor its account
sub fresh { my (%o) = @_; my $in = delete $o{in} // $store; return $in->issue(account => $in->account('acct' . ++$accounts), scopes => 'read:a', %o) }

# the response; how often credentials and accounts were read; the line in the log
sub ask {
    my ($uri, %o) = @_;
    $fake->reset;
    my $n = ++$number;
    my $r = $t->request($o{method} // 'GET', $uri . ($uri =~ /\?/ ? '&' : '?') . "n=$n", %o);
    my @keys = map { $_->{words}[1] } grep { $_->{words}[1] !~ /:meta$/ } $fake->commands('HMGET');
    $r->{lookups} = join ' ', map { /^(\w+):(\w+):/ ? "$1-$2" : $_ } @keys;
    OpsAuth::Process->poll(5, sub { $t->read_file('access.log') =~ /\bn=$n HTTP\S+ (.*)$/m and $logged = $1 });
    return $r;
}

my $once = 'opsauth-credential opsauth-account';
my @spoof = map { ($_ => 'spoof') } qw(X-Tenant-Id X-Roles X-Affiliate-Id);
sub seen { my ($r) = @_; return join ' ', map { my @all = $r->echoed($_); @all ? "$_=@all" : () } qw(X-Tenant-Id X-Account-Id X-Roles Authorization X-API-Key) }
sub mine { return "X-Tenant-Id=org_acct$accounts X-Account-Id=acct$accounts" }

subtest 'allowed, and redirected' => sub {
    for my $uri (qw(/try /try-uri /try-scope /try-scope-uri /rewrite /intercept?status=404)) {
        my $r = ask($uri, key => fresh(), headers => \@spoof);
        my $status = $uri =~ /status=(\d+)/ ? $1 : 200;
        is($r->status, $status, $uri);
        is($r->{lookups}, $once, 'one lookup');
        is(seen($r), mine(), 'headers once');
        is($logged, "$status allow ok acct$accounts", 'log');
    }
    for my $case (['/dir/', "index\n"], ['/accel', "file\n"], ['/files/file', "file\n"]) {
        my $r = ask($case->[0], key => fresh());
        is($r->status . $r->body, "200$case->[1]", $case->[0]);
        is($r->{lookups}, $once, 'one lookup');
    }
    is(ask($_)->status, 401, "$_ without a key") for qw(/try /try-uri /dir/ /accel /rewrite /intercept /files/file);
    is(ask('/internal/file', key => fresh())->status, 404, 'internal is internal');
};

subtest 'each place decides' => sub {
    for my $uri (qw(/try-scope /try-scope-uri /rewrite /accel /intercept?status=404)) {
        my $r = ask($uri, key => fresh(scopes => ''));
        is($r->status, 403, $uri);
        is($r->{lookups}, $once, 'one lookup');
        like($logged, qr/^403 deny scope /, 'log');
        is_deeply([$r->header_all('WWW-Authenticate')], ['Bearer realm="API", error="insufficient_scope", scope="read:a"'], 'challenge');
        is($r->json->{error}{code}, 'FORBIDDEN', 'body');
    }
    my $r = ask('/page-403', key => fresh());
    is($r->status, 200, 'refused by one, passed by the next');
    is($r->{lookups}, $once, 'one lookup');
    is(seen($r), mine(), 'headers once');
};

subtest 'credentials over redirects' => sub {
    my ($one, $two) = (fresh(), fresh());
    is(ask('/try-both', key => $one)->status, 200);
    is(ask('/try-both', headers => ['X-API-Key' => $two])->status, 401, 'the first place wants one, too');
    my $r = ask('/try-both', key => $one, headers => ['X-API-Key' => $two]);
    is($r->status, 400, 'the second place finds a second one');
    like($logged, qr/deny malformed/);
    my $key = fresh();
    is(seen(ask('/try-forward', key => $key)), mine() . " Authorization=Bearer $key", 'forwarded, and found twice, it is one');
    $r = ask('/try-from-off', key => fresh());
    is(seen($r), mine(), 'from a place that is off');
    is($r->{lookups}, $once);
    is(ask('/try-from-off')->status, 401);
    $r = ask('/try-to-off', key => fresh(), headers => \@spoof);
    is(seen($r), '', 'to a place that is off');
    is($r->{lookups}, $once);
    is($logged, "200 allow ok acct$accounts", 'the verdict stays in the log');
};

# --- error pages -----------------------------------------------------------------------

subtest 'error pages' => sub {
    my $challenge = ['Bearer realm="API"'];
    my $page = sub {
        my ($uri, %o) = @_;
        my $r = ask($uri, headers => \@spoof, %o);
        is_deeply([$r->header_all('WWW-Authenticate')], $o{challenge} // $challenge, "$uri: one challenge");
        is_deeply([$r->header_all('Cache-Control')], ['no-store'], "$uri: no-store once");
        is($r->header('Content-Length'), length $r->body, "$uri: length") if defined $r->header('Content-Length');
        return $r->status . ' ' . ($r->header('Content-Type') // '') . ' ' . $r->body;
    };
    is($page->('/page-static'), "401 text/html please log in\n", 'a file');
    is($logged, '401 deny missing -', 'the reason is in the log');
    is($page->('/page-named'), "401 text/plain named\n", 'a named location');
    is($logged, '401 deny missing -', 'log');
    is($page->('/page-200'), "200 text/html please log in\n", 'another status');
    is($logged, '200 deny missing -', 'log');
    like($page->('/page-inherits'), qr/^401 application\/json .*UNAUTHORIZED/, 'a guarded one is refused as well');
    is($logged, '401 deny missing -', 'log');
    my $r = ask('/page-proxied', headers => \@spoof);
    is($r->status, 200, 'a proxied one');
    is(seen($r), '', 'without identity');
    is($r->json->{uri}, '/off/page', 'its body untouched');
    is($logged, '200 deny missing -', 'log');
    $r = ask('/page-elsewhere');
    is($r->status, 302, 'another server');
    is($r->header('Location'), 'https://login.example.com/');
    unlike($r->body, qr/success/, 'no body of ours');

    my $unknown = $store->key;
    $r = ask('/page-loop', key => $unknown);
    is($r->status, 500, 'error pages that never end');
    is($r->{lookups}, 'opsauth-credential', 'cost one lookup');
    like($t->log, qr/rewrite or internal redirection cycle/, 'and are ended by nginx');

    is($page->('/page-static', key => fresh(state => 'revoked'), challenge => ['Bearer realm="API", error="invalid_token"']),
        "401 text/html please log in\n", 'a revoked key');
    is($logged, "401 deny revoked acct$accounts", 'log');
    $fake->script(HMGET => '-LOADING x');
    $r = ask('/page-static', key => fresh());
    $fake->behave;
    is($r->status . ' ' . $r->body, "503 please log in\n", 'no Redis');
    like($r->header('Retry-After'), qr/^[123]$/, 'Retry-After');
};

# --- subrequests -------------------------------------------------------------------------

subtest 'auth_request' => sub {
    $upstream->reset;
    my $r = ask('/auth-request', key => fresh(), headers => \@spoof);
    is(seen($r), mine(), 'beside it');
    is($r->{lookups}, $once);
    my ($auth) = grep { $_->{uri} =~ m{^/auth\b} && $_->{uri} !~ /auth-request/ } $upstream->requests;
    ok($auth, 'the subrequest was made');
    is(scalar(grep { $_->[1] =~ /spoof|Bearer/ } @{$auth->{headers}}), 0, 'without what clients claim');
    $r = ask('/auth-denied', key => fresh());
    is($r->status, 403, 'refused by it');
    is($r->{lookups}, '', 'costs no lookup');
    is($logged, '403 - - -', 'and is no verdict of ours');
    unlike($r->body, qr/success/, 'nor our page');
    is(ask('/auth-request')->status, 401, 'both are needed');
};

subtest 'mirror, ssi, addition' => sub {
    $upstream->reset;
    my $r = ask('/mirror', key => fresh(), headers => \@spoof);
    is(seen($r), mine());
    OpsAuth::Process->poll(5, sub { $upstream->count >= 2 });
    my ($mirrored) = grep { $_->{uri} =~ m{^/mirrored} } $upstream->requests;
    is(join(' ', map { $_->[1] } grep { $_->[0] =~ /^x-(tenant|roles|affiliate)|^authorization/i } @{$mirrored->{headers}}), "org_acct$accounts", 'mirrored headers');
    is($r->{lookups}, $once);
    $upstream->reset;
    is(ask('/mirror')->status, 401, 'denied');
    is($upstream->count, 0, 'not mirrored');

    $r = ask('/ssi.html', key => fresh());
    is($r->status, 200);
    like($r->body, qr/ org_acct$accounts$/, 'a variable in ssi');
    like($r->body, qr/"X-Tenant-Id","org_acct$accounts"/, 'headers of a subrequest, which is not asked again');
    is($r->{lookups}, $once);
    is(ask('/ssi.html')->status, 401);
    $r = ask('/add', key => fresh());
    is($r->{lookups}, $once, 'addition');
    is(scalar(() = $r->body =~ /"X-Account-Id","acct$accounts"/g), 2, 'both parts');
    $r = ask('/add');
    is($r->status, 401, 'addition, denied');
    is($r->json && $r->json->{error}{code}, 'UNAUTHORIZED', 'the body is ours alone');
};

subtest 'if, nested places, two stores' => sub {
    is(ask('/if?a=1')->status, 401, 'in if');
    is(seen(ask('/if?a=1', key => fresh())), mine());
    is(ask('/if?b=1')->status, 204, '"return" comes before any access phase');

    my $key = fresh();
    is(ask('/other', key => $key)->status, 401, 'a key of another store');
    like($logged, qr/deny unknown/);
    is(ask('/other/inner', key => $key)->status, 401, 'nested');
    my $others = fresh(in => $other);
    is(ask('/', key => $others)->status, 401);
    my $r = ask('/other/inner', key => $others);
    is($r->{lookups}, 'other-credential other-account', 'its own records');
    is(seen($r), mine());
    $r = ask('/main-to-other', key => fresh());
    is($r->status, 401, 'redirected to the other store, where it is unknown');
    is($r->{lookups}, "$once other-credential", 'who asks is found out again');
    is($logged, '401 deny unknown -', 'and nothing is left of the first');

    # one string that both know
    my $both = fresh();
    $other->account('there');
    $other->credential($both, account => 'there');
    $r = ask('/main-to-other', key => $both);
    is(seen($r), 'X-Tenant-Id=org_there X-Account-Id=there', 'the last place counts');
};

$t->done;
