#!/usr/bin/perl

# The authorization endpoint: what is refused without a redirect, what is told
# to the client, the consent page and its protection, the code. As a browser
# sees it: t/61-oauth-browser.t.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256 sha256 sha256_base64);
use MIME::Base64 qw(encode_base64 encode_base64url);
use Test::More;

use OpsAuth::Test;

use constant CHALLENGE => 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM';

my $t = OpsAuth::Test->new;
my $redis = $t->redis;
my $store = $t->store;
my $fake = $t->fake_redis(name => 'FAKE');
$t->upstream;
$t->write_file('users', "alice:{PLAIN}wonderland\nbob:{PLAIN}builder\n");

$t->config_http(<<'CONF');
    opsauth_store main { redis %%REDIS%%; pepper_file %%PEPPER%%; key_prefix op365_sk_live_; redis_timeout 2s; }
    opsauth_store down { redis %%FAKE%%; pepper_file %%PEPPER%%; key_prefix op365_sk_live_; redis_timeout 200ms; }
    opsauth_oauth_issuer https://api.example.com;

    log_format all '$request_method $uri $status "$sent_http_location" "$opsauth_oauth_client_id" "$opsauth_oauth_error"';
    access_log %%TESTDIR%%/access.log all;

    # X-User stands for what an operator's login says; the tests speak for it
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        opsauth_oauth_subject $http_x_user;
        location = /oauth/authorize { opsauth_oauth authorize main; }
        location = /oauth/token { opsauth_oauth token main; }
        location /v1/ { opsauth main; opsauth_require scope=read:tenants; proxy_pass http://%%UPSTREAM%%; }
        location = /short { opsauth_oauth authorize main; opsauth_oauth_code_valid 5s; }
        location = /down { opsauth_oauth authorize down; }
        location = /loopback { opsauth_oauth_issuer http://127.0.0.1:9; opsauth_oauth authorize main; }
        location = /basic {
            auth_basic "who are you";
            auth_basic_user_file %%TESTDIR%%/users;
            opsauth_oauth_subject $remote_user;
            opsauth_oauth authorize main;
        }
        location = /session { internal; proxy_pass http://127.0.0.1:%%PORT_8081%%; proxy_pass_request_body off; proxy_set_header Content-Length ""; }
        location = /request {
            auth_request /session;
            auth_request_set $who $upstream_http_x_session_user;
            opsauth_oauth_subject $who;
            opsauth_oauth authorize main;
        }
        location = /never { opsauth_oauth_subject $empty_one; opsauth_oauth authorize main; }
        location = /guarded { opsauth main; opsauth_oauth authorize; }
        location = /subrequest { auth_request /oauth/authorize; proxy_pass http://%%UPSTREAM%%; }
    }
    map $uri $empty_one { default ""; }

    # a proxy that knows who is logged in, such as one for OpenID Connect
    server {
        listen 127.0.0.1:%%PORT_8081%%;
        if ($cookie_session = "") { return 401; }
        location / { add_header X-Session-User "$cookie_session@example.com"; return 204; }
    }
CONF
$t->start;

# --- records and requests -------------------------------------------------------------

sub client {
    my ($id, %fields) = @_;
    $store->hash($store->name('client', $id), account => 'acme', name => 'Reports', redirect_uris => 'https://app.example/cb',
        grants => 'authorization_code refresh_token', scopes => 'read:tenants write:tenants admin', auth_method => 'none', %fields);
    return $id;
}

$store->account('acme', name => 'ACME Ltd');
$store->account('limited', scopes => 'read:*');
$store->account('off', enabled => 0);
client('app');

sub escape { my ($s) = @_; utf8::encode($s) if utf8::is_utf8($s); return $s =~ s/([^A-Za-z0-9._~-])/sprintf '%%%02X', ord $1/ger }

sub form {
    my (@pairs) = @_;
    my @out;
    while (my ($name, $value) = splice @pairs, 0, 2) {
        push @out, "$name=" . escape($value) if defined $value;
    }
    return join '&', @out;
}

# an authorization request that is right; undef leaves a parameter out
my @NAMES = qw(response_type response_mode client_id redirect_uri scope state code_challenge code_challenge_method);
sub parameters {
    my (%o) = @_;
    my %p = (response_type => 'code', client_id => 'app', redirect_uri => 'https://app.example/cb', state => 'st4te',
        code_challenge => CHALLENGE, code_challenge_method => 'S256', %o);
    my %known = map { $_ => 1 } @NAMES;
    return map { $_ => $p{$_} } @NAMES, grep { !$known{$_} } sort keys %p;
}

sub login { my ($user) = @_; return headers => [defined $user ? ('X-User' => $user) : ()] }

sub ask {
    my ($parameters, %o) = @_;
    my $uri = $o{uri} // '/oauth/authorize';
    return $t->request($o{method} // 'GET', "$uri?" . form(parameters(%$parameters)),
        headers => [(exists $o{user} ? (defined $o{user} ? ('X-User' => $o{user}) : ()) : ('X-User' => 'alice')), @{$o{headers} // []}]);
}

sub query {
    my ($url) = @_;
    my ($q) = $url =~ /\?(.*)/ or return {};
    return { map { my ($n, $v) = split /=/, $_, 2; ($n => $v =~ s/%([0-9A-F]{2})/chr hex $1/ger) } split /&/, $q };
}

sub unescape_html {
    my ($s) = @_;
    my %entity = (lt => '<', gt => '>', quot => '"', '#39' => "'", amp => '&');
    return $s =~ s/&(lt|gt|quot|#39|amp);/$entity{$1}/gr;
}

# the fields of the page's form, as a browser would send them
sub fields {
    my ($r) = @_;
    my ($body, @pairs) = $r->body;
    while ($body =~ /<input type="hidden" name="(\w+)" value="([^"]*)">/g) {
        push @pairs, $1, unescape_html($2);
    }
    return @pairs;
}

sub cookie { my ($r) = @_; my ($c) = ($r->header('Set-Cookie') // '') =~ /^(opsauth_consent=[^;]+)/; return $c // '' }

sub decide {
    my ($fields, %o) = @_;
    my @headers = ('Content-Type' => 'application/x-www-form-urlencoded', 'X-User' => $o{user} // 'alice');
    push @headers, Cookie => $o{cookie} if $o{cookie};
    push @headers, @{$o{headers} // []};
    return $t->request('POST', $o{uri} // '/oauth/authorize', headers => \@headers, body => form(@$fields));
}

# page, then decision; what stands in %change replaces what the form would send
sub consent {
    my ($parameters, $decision, %o) = @_;
    my $page = ask($parameters, %o);
    my %change = (decision => $decision, %{$o{change} // {}});
    my @fields = fields($page);
    for (my $i = 0; $i < @fields; $i += 2) {
        $fields[$i + 1] = delete $change{$fields[$i]} if exists $change{$fields[$i]};
    }
    return decide([@fields, %change], cookie => cookie($page), user => $o{user}, uri => $o{uri});
}

sub not_sent { my ($r, $status, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    subtest $name => sub {
        is($r->status, $status, "status $status");
        is($r->header('Location'), undef, 'no redirect');
        is($r->header('Content-Type'), 'text/html; charset=utf-8', 'a page');
        secured($r);
        unlike($r->body, qr/<form|<input|<a /, 'that leads nowhere');
    };
}

# the headers that every page has
sub secured {
    my ($r) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my %wanted = ('Cache-Control' => 'no-store', Pragma => 'no-cache', 'Referrer-Policy' => 'no-referrer',
        'X-Content-Type-Options' => 'nosniff', 'X-Frame-Options' => 'DENY');
    is_deeply([map { [$r->header_all($_)] } sort keys %wanted], [map { [$wanted{$_}] } sort keys %wanted],
        'kept by no cache, framed by nobody, told to nobody');
}

sub refused {
    my ($r, $error, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $q = query($r->header('Location') // '');
    is($r->status, 303, "$name: a redirect");
    is($q->{error}, $error, "$name: $error");
    is($q->{iss}, 'https://api.example.com', "$name: by whom");
    ok($q->{error_description}, "$name: described");
    ok(!exists $q->{code}, "$name: no code");
    return $q;
}

# --- before anything may be redirected ---------------------------------------------------

subtest 'methods' => sub {
    for my $method (qw(PUT DELETE PATCH OPTIONS)) {
        my $r = ask({}, method => $method);
        not_sent($r, 405, $method);
        is($r->header('Allow'), 'GET, HEAD, POST', 'Allow');
    }
    my $r = ask({}, method => 'HEAD');
    is($r->status, 200, 'HEAD');
    is($r->body, '', 'HEAD: no body');
    is($r->header('Content-Length'), length ask({ })->body, 'HEAD: as long as the page');
};

subtest 'who the user is' => sub {
    my $mark = $t->mark;
    not_sent(ask({}, user => undef), 403, 'nobody');
    not_sent(ask({ client_id => 'unknown' }, user => undef), 403, 'nobody, before the client is looked at');
    like($t->log_since($mark), qr/\[error\].*"opsauth_oauth_subject" is empty/, 'logged');
    not_sent(ask({}, uri => '/never'), 403, 'a variable that is always empty');
    is(ask({}, user => 'x' x 256)->status, 200, '256 bytes');
    not_sent(ask({}, user => 'x' x 257), 403, '257 bytes');
    not_sent(ask({}, user => "a\x01b"), 403, 'a control character');
    not_sent(ask({}, user => "a\tb"), 403, 'a tab');
    not_sent(ask({}, user => "a\xff"), 403, 'no UTF-8');
    not_sent(ask({}, user => "a\xed\xa0"), 403, 'UTF-8 that ends too early');
    like(ask({}, user => "Zo\xc3\xab")->body, qr/Zo\xc3\xab/, 'UTF-8');
    is(decide([parameters(), decision => 'allow'], user => '')->status, 403, 'a decision of nobody');
};

subtest 'requests that are none' => sub {
    not_sent($t->get('/oauth/authorize', login('alice')), 400, 'no parameters');
    my $good = form(parameters());
    for my $case (
        ['twice the same' => "$good&client_id=app"], ['twice, once empty' => "$good&scope=&scope="],
        ['twice an unknown one' => "$good&x=1&x=2"], ['a bad escape' => "$good&x=%4"],
        ['a NUL' => "$good&x=%00"], ['no UTF-8' => "$good&x=%ff"], ['no name' => "$good&=1"],
        ['too many' => "$good&" . join '&', map { "p$_=1" } 1 .. 40],
    ) {
        not_sent($t->get("/oauth/authorize?$case->[1]", login('alice')), 400, $case->[0]);
    }
    not_sent($t->request('POST', '/oauth/authorize', headers => ['X-User' => 'alice', 'Content-Type' => 'application/json'], body => '{}'),
        400, 'JSON');
    not_sent($t->request('POST', '/oauth/authorize', headers => ['X-User' => 'alice',
        'Content-Type' => 'application/x-www-form-urlencoded'], body => 'x=' . 'y' x 17_000), 413, 'more than 16 KB');
};

subtest 'clients that can not be used' => sub {
    client('disabled', enabled => 0);
    client('orphan', account => 'off');
    my %bodies;
    for my $id (qw(unknown disabled orphan), 'a b', 'x' x 200, '../app', "app\n") {
        my $r = ask({ client_id => $id });
        not_sent($r, 400, "client " . escape($id));
        $bodies{$r->body} = 1;
    }
    is(scalar keys %bodies, 1, 'all of them told the same');
    not_sent(ask({ client_id => undef }), 400, 'none');
    my $mark = $t->mark;
    ask({ client_id => 'orphan' });
    like($t->log_since($mark), qr/the account is disabled, client "orphan"/, 'the log knows why');
};

subtest 'redirect URIs' => sub {
    client('two', redirect_uris => 'https://app.example/cb https://app.example/cb2');
    client('native', redirect_uris => 'http://127.0.0.1/cb com.example.app:/cb');
    for my $uri ('https://evil.example/cb', 'https://app.example/cb/', 'https://app.example/CB', 'https://app.example/cb?x=1',
        'https://app.example/cb#x', 'https://app.example/cb2', 'http://app.example/cb', 'https://app.example:443/cb',
        'https://app.example/cb%2F', 'https://user@app.example/cb', 'javascript:alert(1)', '//app.example/cb', '/cb', 'x',
        "https://app.example/cb\r\nX: y", 'https://app.example', ' https://app.example/cb') {
        not_sent(ask({ redirect_uri => $uri }), 400, escape $uri);
    }
    not_sent(ask({ client_id => 'two', redirect_uri => undef }), 400, 'left out, with two registered');
    is(ask({ client_id => 'two', redirect_uri => 'https://app.example/cb2' })->status, 200, 'the second of two');
    is(ask({ redirect_uri => undef })->status, 200, 'left out, with one registered');
    is(ask({ client_id => 'native', redirect_uri => 'http://127.0.0.1:51234/cb' })->status, 200, 'loopback, any port');
    is(ask({ client_id => 'native', redirect_uri => 'com.example.app:/cb' })->status, 200, 'a private scheme');
    not_sent(ask({ client_id => 'native', redirect_uri => 'http://localhost/cb' }), 400, 'another name of loopback');
    not_sent(ask({ state => 'x' x 2049 }), 400, 'a state of more than 2048 bytes');
    # an error of the request that would otherwise be told to the client
    not_sent(ask({ redirect_uri => 'https://evil.example/', response_type => 'token' }), 400, 'two errors');
};

# --- errors that the client is told ------------------------------------------------------

subtest 'what a request must be' => sub {
    client('web', auth_method => 'client_secret_basic', secret => 'ab' x 32);
    client('machine', auth_method => 'client_secret_basic', secret => 'ab' x 32, grants => 'client_credentials');
    my @rows = (
        [{ response_type => undef },            'invalid_request'],
        [{ response_type => 'token' },          'unsupported_response_type'],
        [{ response_type => 'id_token' },       'unsupported_response_type'],
        [{ response_type => 'code id_token' },  'unsupported_response_type'],
        [{ response_mode => 'fragment' },       'invalid_request'],
        [{ response_mode => 'form_post' },      'invalid_request'],
        [{ client_id => 'machine' },            'unauthorized_client'],
        [{ code_challenge => undef },           'invalid_request'],
        [{ code_challenge => undef, code_challenge_method => undef }, 'invalid_request'],
        [{ code_challenge_method => undef },    'invalid_request'],
        [{ code_challenge_method => 'plain' },  'invalid_request'],
        [{ code_challenge => 'short' },         'invalid_request'],
        [{ code_challenge => '+' x 43 },        'invalid_request'],
        [{ client_id => 'web', code_challenge_method => 'plain' }, 'invalid_request'],
        [{ client_id => 'web', code_challenge => undef }, 'invalid_request'],
        [{ prompt => 'none' },                  'consent_required'],
        [{ prompt => 'login none' },            'consent_required'],
        [{ request => 'eyJhbGciOiJub25lIn0.e30.' }, 'request_not_supported'],
        [{ request_uri => 'https://evil.example/r' }, 'request_uri_not_supported'],
        [{ scope => 'write:users' },            'invalid_scope'],
        [{ scope => 'read:tenants write:users', client_id => 'reader' }, 'invalid_scope'],
        [{ scope => "a\"b" },                   'invalid_scope'],
        [{ scope => "read:tenants\nadmin" },    'invalid_scope'],
        [{ scope => '*', client_id => 'reader' }, 'invalid_scope'],
        [{ scope => 'admin', client_id => 'reader' }, 'invalid_scope'],
        [{ scope => 'write:tenants', client_id => 'ceiling' }, 'invalid_scope'],
    );
    client('reader', scopes => 'read:*');
    client('ceiling', account => 'limited');
    for my $row (@rows) {
        my ($change, $error) = @$row;
        # admin would grant whatever is asked for
        my %o = $error eq 'invalid_scope' && !$change->{client_id} ? (client_id => 'reader') : ();
        my $name = form(%$change);
        my $r = ask({ %o, %$change });
        my $q = refused($r, $error, $name);
        is($q->{state}, 'st4te', "$name: its state");
        like($r->header('Location'), qr{^https://app\.example/cb\?error=}, "$name: to the client");
        secured($r);
        # a form that comes back with the same is refused all the same
        refused(decide([parameters(%o, %$change), decision => 'allow', ticket => 'x']), $error, "POST $name");
    }
    for my $row ([{ client_id => 'web', code_challenge => undef, code_challenge_method => undef }, 'a confidential client without PKCE'],
        [{ nonce => 'n', login_hint => 'bob', unknown => 'x', ui_locales => 'de' }, 'what we do not know'],
        [{ prompt => 'consent' }, 'a prompt that we give anyway'], [{ response_mode => 'query' }, 'response_mode query'],
        [{ state => undef }, 'no state'], [{ scope => '' }, 'an empty scope is none']) {
        is(ask($row->[0])->status, 200, $row->[1]);
    }
};

subtest 'state comes back as it was' => sub {
    for my $state ('a b', 'a+b', '%41', '&error=x', '"><script>', "\xc3\xa9\xe2\x82\xac", '#f', '?=&', 'x' x 2048, "'\\") {
        my $r = ask({ state => $state, response_type => 'token' });
        is(query($r->header('Location'))->{state}, $state, 'state ' . substr escape($state), 0, 40);
    }
    my $r = ask({ state => "a\r\nSet-Cookie: x=y", response_type => 'code' });
    is(refused($r, 'invalid_request', 'line ends')->{state}, "a\r\nSet-Cookie: x=y", 'line ends come back escaped');
    is($r->header('Set-Cookie'), undef, 'and are none of the answer');
    $r = ask({ state => undef, response_type => 'token' });
    ok(!exists query($r->header('Location'))->{state}, 'none is none');
};

subtest 'a redirect URI with a query' => sub {
    client('query', redirect_uris => 'https://app.example/cb?tenant=1%262');
    my $r = ask({ client_id => 'query', redirect_uri => undef, response_type => 'token' });
    like($r->header('Location'), qr{^https://app\.example/cb\?tenant=1%262&error=unsupported_response_type&}, 'keeps it');
};

# --- the page ---------------------------------------------------------------------------------

subtest 'the consent page' => sub {
    my $r = ask({ scope => 'read:tenants write:tenants' });
    is($r->status, 200, 'shown');
    is($r->header('Content-Type'), 'text/html; charset=utf-8', 'as HTML');
    secured($r);
    my ($style) = $r->body =~ m{<style>(.*)</style>}s;
    my $hash = encode_base64(sha256($style), '');
    is($r->header('Content-Security-Policy'), "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; "
        . "style-src 'sha256-$hash'; form-action 'self' https:", 'its policy, with the hash of its style');
    unlike($r->body =~ s/<input[^>]*>//gr, qr/<script|javascript:|\bon\w+=|style=|<img|<link|https?:/i, 'no script, nothing from elsewhere');
    like($r->body, qr{<html lang="en">.*<meta name="viewport".*<title>[^<]+</title>}s, 'language, viewport, title');
    like($r->body, qr{<h1><bdi>Reports</bdi> asks for access</h1>}, 'who asks');
    like($r->body, qr{<dd><bdi>alice</bdi></dd>}, 'in whose name');
    like($r->body, qr{<bdi>ACME Ltd</bdi><span>acme</span>}, 'for which account');
    like($r->body, qr{<dt>Sends you to</dt><dd>app\.example</dd>}, 'where the answer goes');
    like($r->body, qr{<li>Read tenants <code>read:tenants</code></li>\n<li>Create and change tenants <code>write:tenants</code></li>},
        'what for');
    is($r->header('Set-Cookie') =~ s/=[\w-]{22};/=...;/r,
        'opsauth_consent=...; Path=/oauth/authorize; Max-Age=600; HttpOnly; SameSite=Lax; Secure', 'its cookie');
    my %f = fields($r);
    is_deeply([sort keys %f], [sort qw(response_type client_id redirect_uri scope state code_challenge code_challenge_method ticket)],
        'its form');
    like($f{ticket}, qr/^\d{10}\.[\w-]{43}$/, 'its ticket');

    $r = ask({}, uri => '/loopback');
    unlike($r->header('Set-Cookie'), qr/Secure/, 'a cookie without Secure where the issuer is http');
    isnt(cookie(ask({})), cookie(ask({})), 'each browser gets a cookie of its own');
    my $mine = cookie(ask({}));
    is(cookie(ask({}, headers => [Cookie => "a=b; $mine; c=d"])), $mine, 'and keeps it');
    for my $bad ('opsauth_consent=short', 'opsauth_consent=' . 'x' x 23, 'opsauth_consent=' . 'x' x 21 . '"', 'opsauth_consent=' . "x" x 20 . ', ') {
        isnt(cookie(ask({}, headers => [Cookie => $bad])), $bad, "$bad is replaced");
    }
};

subtest 'scopes on the page' => sub {
    client('all', scopes => 'read:* write:* admin sync:* sync:tenants launch');
    client('ceiling', account => 'limited', scopes => 'read:tenants write:tenants');
    client('bare', scopes => '');
    my $body = ask({ client_id => 'all' })->body;
    like($body, qr{<li>\Q$_\E</li>}, $_) for 'Read everything <code>read:*</code>', 'Create and change everything <code>write:*</code>',
        'Full control: read, create, change and delete everything <code>admin</code>',
        "Everything that needs \xe2\x80\x9csync\xe2\x80\x9d <code>sync:*</code>", '<code>sync:tenants</code>', '<code>launch</code>';
    $body = ask({ client_id => 'ceiling' })->body;
    like($body, qr{<code>read:tenants</code>}, 'what the account may');
    unlike($body, qr{write:tenants}, 'is all that is offered');
    $body = ask({ client_id => 'bare' })->body;
    like($body, qr{It asks for no permission of its own}, 'none');
    unlike($body, qr{<li>}, 'none: no list');
};

subtest 'where it sends' => sub {
    client('places', redirect_uris => 'http://127.0.0.1/cb http://[::1]/cb com.example.app:/cb http://localhost:3000/cb');
    for my $row (
        ['http://127.0.0.1:51234/cb', 'an application on this device<span>127.0.0.1:51234</span>', "'self' https: http://127.0.0.1:* http://localhost:*"],
        ['http://localhost:3000/cb', 'an application on this device<span>localhost:3000</span>', "'self' https: http://127.0.0.1:* http://localhost:*"],
        ['http://[::1]:51234/cb', 'an application on this device<span>[::1]:51234</span>', "'self' https: http:"],
        ['com.example.app:/cb', 'an application on this device<span>com.example.app</span>', "'self' com.example.app:"]) {
        my $r = ask({ client_id => 'places', redirect_uri => $row->[0] });
        like($r->body, qr{<dd>\Q$row->[1]\E</dd>}, $row->[0]);
        like($r->header('Content-Security-Policy'), qr{; form-action \Q$row->[2]\E$}, "$row->[0]: where its form may lead");
    }
};

subtest 'hostile texts' => sub {
    my $evil = q{"><script>alert(1)</script><b x='&amp;};
    client('evil', name => $evil, account => 'evil', scopes => "<i> '\&lt;");
    $store->account('evil', name => $evil);
    my $r = ask({ client_id => 'evil', state => $evil }, user => $evil);
    is($r->status, 200, 'shown');
    my $body = $r->body =~ s{<style>.*?</style>}{}sr;
    unlike($body, qr/<script|<b |<i>|'&amp;(?!amp|#|lt|gt|quot)/, 'as text');
    is(() = $body =~ /&quot;&gt;&lt;script&gt;alert\(1\)&lt;\/script&gt;&lt;b x=&#39;&amp;amp;/g, 5, 'every time: heading, application, account, user, state');
    my %f = fields($r);
    is($f{state}, $evil, 'the form brings it back');
    my $done = decide([%f, decision => 'allow'], cookie => cookie($r), user => $evil);
    is($done->status, 303, 'and is taken');
    is(query($done->header('Location'))->{state}, $evil, 'the client gets it');
};

# --- the decision --------------------------------------------------------------------------------

sub keys_like { my ($pattern) = @_; return @{$redis->cmd('KEYS', $store->name($pattern))} }

subtest 'allow' => sub {
    my $before = keys_like('code:*');
    my $r = consent({ scope => 'read:tenants', state => 'a b' }, 'allow');
    is($r->status, 303, 'a redirect, to be gone after by GET');
    secured($r);
    my $q = query($r->header('Location'));
    is_deeply([sort keys %$q], [qw(code iss state)], 'with code, iss, state');
    like($r->header('Location'), qr{^https://app\.example/cb\?code=[0-9A-Za-z]{43}&state=a%20b&iss=https%3A%2F%2Fapi\.example\.com$}, 'to the client');
    $t->secret($q->{code});
    is($r->body, '', 'no body');
    is($r->header('Set-Cookie'), undef, 'no cookie');

    my $name = $store->name('code', $store->digest($q->{code}));
    my %code = @{$redis->cmd('HGETALL', $name)};
    cmp_ok(delete $code{created}, '>', time - 60, 'created just now');
    is_deeply(\%code, { v => 1, client => 'app', account => 'acme', subject => 'alice', redirect_uri => 'https://app.example/cb',
        scopes => 'read:tenants', challenge => CHALLENGE, environment => 'live', state => 'issued' }, 'the record of the code');
    my $ttl = $redis->cmd('PTTL', $name);
    ok($ttl > 0 && $ttl <= 60_000, 'for a minute');
    is(keys_like('code:*'), $before + 1, 'one code');

    client('web', auth_method => 'client_secret_basic', secret => 'ab' x 32, environment => 'test', scopes => 'read:tenants write:tenants');
    $r = consent({ client_id => 'web', redirect_uri => undef, state => undef, code_challenge => undef, code_challenge_method => undef },
        'allow', uri => '/short', user => "Zo\xc3\xab");
    $q = query($r->header('Location'));
    $t->secret($q->{code});
    is_deeply([sort keys %$q], [qw(code iss)], 'no state where there was none');
    $name = $store->name('code', $store->digest($q->{code}));
    %code = @{$redis->cmd('HGETALL', $name)};
    delete $code{created};
    is_deeply(\%code, { v => 1, client => 'web', account => 'acme', subject => "Zo\xc3\xab", redirect_uri => '', scopes => 'read:tenants write:tenants',
        challenge => '', environment => 'test', state => 'issued' }, 'what was left out is empty');
    $ttl = $redis->cmd('PTTL', $name);
    ok($ttl > 0 && $ttl <= 5_000, 'for as long as the directive says');
};

subtest 'deny' => sub {
    my $before = keys_like('code:*');
    my $q = refused(consent({}, 'deny'), 'access_denied', 'deny');
    is($q->{state}, 'st4te', 'with its state');
    not_sent(consent({}, $_), 400, "decision \"$_\"") for 'yes', 'Allow', 'allow ';
    not_sent(consent({}, undef), 400, 'no decision');
    is(keys_like('code:*'), $before, 'no code');
};

subtest 'forged forms' => sub {
    client('other', name => 'Other');
    my $before = keys_like('code:*');
    my $page = ask({ scope => 'read:tenants' });
    my %f = fields($page);
    my $own = cookie($page);

    # asks again, and allows nothing
    my $again = sub {
        my ($r, $name) = @_;
        is($r->status, 403, "$name: refused");
        is($r->header('Location'), undef, "$name: no redirect");
        like($r->body, qr{role="alert"><strong>Nothing has been allowed}, "$name: says so");
        secured($r);
    };
    my $post = sub {
        my ($change, %o) = @_;
        my %sent = (%f, decision => 'allow', %$change);
        return decide([%sent], cookie => $own, %o);
    };

    $again->($post->({ ticket => undef }), 'no ticket');
    $again->($post->({ ticket => '' }), 'an empty ticket');
    $again->($post->({ ticket => $f{ticket} =~ s/(.)$/$1 eq 'A' ? 'E' : 'A'/er }), 'a ticket altered at its end');
    $again->($post->({ ticket => $f{ticket} =~ s/^(\d+)/$1 + 1/er }), 'a ticket made younger');
    $again->($post->({ ticket => 'x' x 5000 }), 'a long ticket');
    $again->($post->({}, cookie => ''), 'no cookie');
    $again->($post->({}, cookie => cookie(ask({}))), 'another browser');
    $again->($post->({}, cookie => $own =~ s/(.)$/$1 eq 'A' ? 'B' : 'A'/er), 'a cookie altered');
    $again->($post->({}, user => 'bob'), 'another user');
    $again->($post->({}, uri => '/loopback'), 'another issuer');
    $again->($post->({ state => 'other' }), 'another state');
    $again->($post->({ state => undef }), 'no state');
    $again->($post->({ scope => 'admin' }), 'another scope');
    $again->($post->({ scope => undef }), 'no scope');
    $again->($post->({ client_id => 'other' }), 'another client');
    $again->($post->({ client_id => 'two', redirect_uri => 'https://app.example/cb2' }), 'another redirect URI');
    $again->($post->({ redirect_uri => undef }), 'no redirect URI');
    $again->($post->({ code_challenge => 'F' . substr CHALLENGE, 1 }), 'another challenge');
    $again->($post->({ response_mode => 'query' }), 'a parameter more');
    $again->(decide([%{{ %f, decision => 'deny', ticket => undef }}], cookie => $own), 'deny without ticket');
    # what a page elsewhere could make a browser send
    $again->($t->request('POST', '/oauth/authorize?' . form(%f, decision => 'allow'), body => form(parameters(decision => 'allow')),
        headers => ['X-User' => 'alice', 'Content-Type' => 'application/x-www-form-urlencoded', Cookie => $own, Origin => 'https://evil.example']),
        'a ticket in the query');
    is(keys_like('code:*'), $before, 'no code was made');

    # what changes between page and decision
    $store->_change($store->name('client', 'app'), scopes => 'read:tenants write:tenants');
    is($post->({})->status, 303, 'a client that lost a scope which was not asked for');
    $store->_change($store->name('client', 'app'), account => 'limited');
    $again->($post->({}), 'a client that went to another account');
    $store->_change($store->name('client', 'app'), account => 'acme', enabled => 0);
    not_sent($post->({}), 400, 'a client that was disabled');
    $store->_change($store->name('client', 'app'), enabled => undef, redirect_uris => 'https://new.example/');
    not_sent($post->({}), 400, 'a client that moved');
    client('app');

    # the page of the refusal is as good as the first
    my $r = $post->({ ticket => 'x' });
    is(cookie($r), $own, 'the cookie stays');
    $r = decide([fields($r), decision => 'allow'], cookie => $own);
    is($r->status, 303, 'decided again');
};

# tickets as the module makes them, by a second hand
sub ticket {
    my ($issued, $pepper, @fields) = @_;
    my $bytes = join '', pack('Q>', $issued), map { pack('Q>', length) . $_ } map { $_ // '' } @fields;
    return "$issued." . encode_base64url(hmac_sha256(sha256($bytes), hmac_sha256('opsauth ticket key v1', $pepper)));
}

subtest 'how long a form is good' => sub {
    my $own = cookie(ask({}));
    my $value = $own =~ s/.*=//r;
    my @request = parameters(scope => 'read:tenants');
    my %request = @request;
    my $try = sub {
        my ($issued, $pepper) = @_;
        my $ticket = ticket($issued, $pepper // $store->pepper, 'https://api.example.com', $value, 'alice', 'acme', 'https://app.example/cb', 'read:tenants',
            @request{@NAMES});
        return decide([@request, decision => 'deny', ticket => $ticket], cookie => $own)->status;
    };
    is($try->(time), 303, 'now');
    is($try->(time - 590), 303, 'for ten minutes');
    is($try->(time - 610), 403, 'and no longer');
    is($try->(time + 300), 403, 'not from the future');
    is($try->(0), 403, 'not from 1970');
    is($try->(time, 'a pepper of somebody else'), 403, 'another pepper');
    my $old = $store->pepper;
    my $page = ask({});
    $store->pepper('a new pepper, of the same store', $old);
    $t->reload;
    is($try->(time, $old), 303, 'a page from before a pepper was rotated');
    is(decide([fields($page), decision => 'deny'], cookie => cookie($page))->status, 303, 'a real one too');
    $store->pepper($old);
    $t->reload;
};

# --- logins -----------------------------------------------------------------------------------------

subtest 'auth_basic' => sub {
    my $good = form(parameters());
    my $basic = sub { return (headers => [Authorization => 'Basic ' . encode_base64($_[0], ''), @_ > 1 ? @{$_[1]} : ()]) };
    is($t->get("/basic?$good")->status, 401, 'nobody');
    is($t->get("/basic?$good", $basic->('alice:wrong'))->status, 401, 'a wrong password');
    my $page = $t->get("/basic?$good", $basic->('alice:wonderland'));
    like($page->body, qr{<bdi>alice</bdi>}, 'the user');
    my @body = (body => form(fields($page), decision => 'allow'));
    my @form = ('Content-Type' => 'application/x-www-form-urlencoded', Cookie => cookie($page));
    is($t->request('POST', '/basic', $basic->('bob:builder', \@form), @body)->status, 403, "another user's form");
    my $r = $t->request('POST', '/basic', $basic->('alice:wonderland', \@form), @body);
    is($r->status, 303, 'allowed');
    my $code = query($r->header('Location'))->{code};
    $t->secret($code);
    is($redis->cmd('HGET', $store->name('code', $store->digest($code)), 'subject'), 'alice', 'by her');
};

subtest 'auth_request' => sub {
    my $good = form(parameters());
    is($t->get("/request?$good")->status, 401, 'nobody');
    my $page = $t->get("/request?$good", headers => [Cookie => 'session=carol', 'X-Session-User' => 'mallory']);
    like($page->body, qr{<bdi>carol\@example\.com</bdi>}, 'the user');
    my $r = $t->request('POST', '/request', body => form(fields($page), decision => 'allow'),
        headers => ['Content-Type' => 'application/x-www-form-urlencoded', Cookie => 'session=carol; ' . cookie($page)]);
    is($r->status, 303, 'allowed');
    my $code = query($r->header('Location'))->{code};
    $t->secret($code);
    is($redis->cmd('HGET', $store->name('code', $store->digest($code)), 'subject'), 'carol@example.com', 'by her');
};

subtest 'other places' => sub {
    is(ask({}, uri => '/guarded')->status, 200, 'a guarded location: the endpoint itself is not');
    my $mark = $t->mark;
    is($t->get('/subrequest', login('alice'))->status, 403, 'no page in a subrequest');
    like($t->log_since($mark), qr/can't be used in a subrequest/, 'logged');
};

# --- what it is all for ---------------------------------------------------------------------------------

subtest 'from the consent to the API' => sub {
    my $q = query(consent({ scope => 'read:tenants' }, 'allow')->header('Location'));
    $t->secret($q->{code});
    my $redeem = sub {
        return $t->request('POST', '/oauth/token', headers => ['Content-Type' => 'application/x-www-form-urlencoded'],
            body => form(grant_type => 'authorization_code', client_id => 'app', code => $q->{code}, redirect_uri => 'https://app.example/cb',
                code_verifier => 'dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk'));
    };
    is($t->request('POST', '/oauth/token', headers => ['Content-Type' => 'application/x-www-form-urlencoded'], body => form(grant_type => 'authorization_code',
        client_id => 'app', code => $q->{code}, redirect_uri => 'https://app.example/cb', code_verifier => 'x' x 43))->status, 400, 'somebody without the verifier');
    my $r = $redeem->();
    is($r->status, 200, 'redeemed') or diag $r->body;
    my $token = $r->json->{access_token};
    $t->secret(grep { defined } $token, $r->json->{refresh_token});
    is($r->json->{scope} // 'read:tenants', 'read:tenants', 'for the scope that was allowed');
    is($t->get('/v1/tenants', key => $token)->status, 200, 'the API takes the token');
    is($redeem->()->status, 400, 'the code is good once');
    is($t->get('/v1/tenants', key => $token)->status, 401, 'and its token is revoked by the second use');
};

subtest 'the access log' => sub {
    my $log = $t->wait_for_file('access.log', qr{POST /oauth/authorize 303});
    like($log, qr{^POST /oauth/authorize 303 "https://app\.example/cb" "app" "access_denied"$}m, 'client and error');
    like($log, qr{^POST /oauth/authorize 303 "https://app\.example/cb" "app" "-"$}m, 'where to, but not the code');
};

# --- Redis in trouble ---------------------------------------------------------------------------------

subtest 'trouble with Redis' => sub {
    my $down = sub {
        my ($r, $name) = @_;
        not_sent($r, 503, $name);
        like($r->header('Retry-After'), qr/^[1-3]$/, "$name: Retry-After");
    };
    $down->(ask({}, uri => '/down'), 'a Redis that does not answer as it should');

    client('broken', grants => 'nonsense');
    my $mark = $t->mark;
    $down->(ask({ client_id => 'broken' }), 'a client record that is invalid');
    like($t->log_since($mark), qr/record "opsauth:client:broken" is invalid: field "grants"/, 'logged');
    client('lost', account => 'nowhere');
    not_sent(ask({ client_id => 'lost' }), 400, 'a client of an account that is not there');
    $store->account('odd', enabled => 'maybe');
    client('odd', account => 'odd');
    $down->(ask({ client_id => 'odd' }), 'an account record that is invalid');
    $store->account('odd', scopes => "a\"b");
    $down->(ask({ client_id => 'odd' }), 'scopes of an account that are invalid');

    my $page = ask({});
    my @fields = (fields($page), decision => 'allow');
    $redis->cmd(qw(CONFIG SET maxmemory 1));
    $down->(decide(\@fields, cookie => cookie($page)), 'a Redis that takes no code');
    $redis->cmd(qw(CONFIG SET maxmemory 0));
    is(decide(\@fields, cookie => cookie($page))->status, 303, 'and takes it again');

    $redis->stop;
    $down->(ask({}), 'no Redis');
    $down->(decide(\@fields, cookie => cookie($page)), 'no Redis when it is decided');
};

$t->done;
