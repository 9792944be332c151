#!/usr/bin/perl

# Tokens of another authorization server: what is asked, what its answers mean,
# and that nothing but a clear yes lets anybody pass. How that goes on with time,
# load and failures is in 62-introspection-life.t.

use strict;
use warnings;

use JSON::PP ();
use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::Command;
use OpsAuth::Introspection qw(yes reason);
use OpsAuth::Process;

my $WORKERS = $ENV{TEST_WORKERS} // 2;
my $g = OpsAuth::Introspection->new(workers => $WORKERS);
my ($t, $redis, $store, $rotated) = ($g->test, $g->redis, $g->store, $g->rotated);
my ($as, $other_as) = ($g->as, $g->other_as);
$store->account('everybody', tenant => 'org_all');

sub token { return $store->token }
sub record { return $g->record(@_) }

subtest 'configuration' => sub {
    my $head = 'opsauth_store main { redis %%REDIS%%; pepper_file %%PEPPER%%; } server { listen 127.0.0.1:%%PORT_8080%%; opsauth main; ';
    my %errors = (
        'opsauth_introspection as;' => qr/invalid value "as" in "opsauth_introspection": it must be "off", or the path/,
        'opsauth_introspection @as;' => qr/invalid value "\@as"/,
        'opsauth_introspection "";' => qr/invalid value ""/,
        'opsauth_introspection /a?b;' => qr/invalid value "\/a\?b"/,
        'opsauth_introspection /$uri;' => qr/invalid value "\/\$uri"/,
        'opsauth_introspection /a; opsauth_introspection /b;' => qr/"opsauth_introspection" directive is duplicate/,
        'opsauth_introspection_valid 1s;' => qr/invalid value "1" in "opsauth_introspection_valid": it must be two seconds at least/,
        'opsauth_introspection_valid soon;' => qr/"opsauth_introspection_valid" directive invalid value/,
        'opsauth_introspection_claim tenant;' => qr/invalid parameter "tenant" in "opsauth_introspection_claim": it must be one of/,
        'opsauth_introspection_claim tenant=;' => qr/invalid parameter "tenant="/,
        'opsauth_introspection_claim colour=red;' => qr/invalid parameter "colour=red"/,
        'opsauth_introspection_claim environment=any;' => qr/invalid parameter "environment=any"/,
        'opsauth_introspection_claim environment=live environment=test;' => qr/duplicate parameter "environment=test"/,
        'opsauth_introspection_claim tenant=a tenant=b;' => qr/duplicate parameter "tenant=b"/,
        'opsauth_introspection_claim account=a account_id=b;' => qr/takes "account" or "account_id", not both/,
        'opsauth_introspection_claim "account_id=a b";' => qr/invalid parameter "account_id=a b".*: expected letters/,
        'opsauth_introspection_claim roles=r; opsauth_introspection_claim tenant=t;' => qr/is duplicate: all its parameters stand in one line/,
    );
    like($t->config_error("$head $_ }"), $errors{$_}, $_) for sort keys %errors;
    is($t->config_error("$head opsauth_introspection off; location / { limit_except GET { opsauth_introspection /a; } } }"), '', 'off, and in limit_except');
};

subtest 'asked once' => sub {
    my $token = $as->active(token(), client_id => 'crm', scope => 'read:a read:b', sub => 'user-7', exp => time + 600 | 0);
    my $before = int time;
    my $r = $t->get('/read/1', key => $token);
    is($r->status, 200, 'passes');
    is_deeply([map { ($r->echoed($_))[0] } qw(X-Tenant-Id X-Affiliate-Id X-Account-Id X-Roles X-Scopes)],
        [qw(org_crm aff_crm crm customer), 'read:a read:b'], 'as its account and its scopes say');
    ok(!$r->echoed('Authorization'), 'the backend does not see the token');
    is($t->get('/read/1', key => $token)->status, 200, 'and again') for 1 .. 5;
    is(reason($t->get('/none', key => $token)), '200 ok', 'elsewhere, too');
    is($as->asked($token), 1, 'the server was asked once');

    my ($asked) = grep { $_->{body} =~ /^token=\Q$token\E/ } $as->requests;
    is($asked->{method}, 'POST', 'by POST');
    is($asked->{uri}, '/oauth/introspect', 'at the place that proxy_pass says');
    is($asked->{body}, "token=$token&token_type_hint=access_token", 'with the form of RFC 7662');
    my %headers = map { lc $_->[0] => $_->[1] } @{$asked->{headers}};
    is($headers{'content-type'}, 'application/x-www-form-urlencoded', 'its type');
    is($headers{'content-length'}, length $asked->{body}, 'its length');
    is($headers{accept}, 'application/json', 'what is wanted');
    is($headers{authorization}, 'Basic Z3c6c2VjcmV0', 'and the login of the location');

    my $record = record($token);
    is($record->{$_->[0]}, $_->[1], "record: $_->[0]")
        for [v => 1], [kind => 'access_token'], [account => 'crm'], [state => 'active'], [environment => 'live'],
            [scopes => 'read:a read:b'], [subject => 'user-7'], [client => 'crm'];
    like($record->{id}, qr/^tok_[0-9A-Za-z]{16}$/, 'record: id');
    is($redis->cmd('GET', $store->name('id', $record->{id})), $store->digest($token), 'by which it is found');
    cmp_ok($record->{introspected}, '>=', $before, 'record: introspected');
    cmp_ok($record->{expires}, '<=', time + 60, 'record: expires within opsauth_introspection_valid');
    cmp_ok($record->{expires}, '>=', $before + 60, 'and not before');
    ok(!exists $record->{tenant} && !exists $record->{roles}, 'record: no claims that are not mapped');
    my $ttl = $redis->cmd('PTTL', $store->name('credential', $store->digest($token)));
    ok($ttl > 86400_000 && $ttl <= (86400 + 600) * 1000, 'kept for a day behind its end');
};

subtest 'nothing of the client goes along' => sub {
    my $token = $as->active(token(), client_id => 'crm');
    $as->reset;
    my $r = $t->request('PUT', '/read/x?a=b', key => $token, body => 'x' x 100, headers => [
        'Cookie' => 'session=1', 'X-Forwarded-For' => '10.9.9.9', 'Expect' => '', 'Accept-Encoding' => 'gzip',
        'Content-Type' => 'text/plain', 'X-Custom' => 'c', 'Range' => 'bytes=0-1', 'If-None-Match' => '"x"', 'Upgrade' => 'websocket']);
    is($r->status, 403, 'judged as any other');
    my ($asked) = $as->requests;
    # "Connection: close" is sent by nginx before 1.29.7
    my @names = grep { $_ ne 'connection' } sort map { lc $_->[0] } @{$asked->{headers}};
    is_deeply(\@names, [sort qw(host content-length content-type accept authorization x-seen)], 'its own headers alone');
    my %headers = map { lc $_->[0] => $_->[1] } @{$asked->{headers}};
    is($headers{'x-seen'}, '||' . length($asked->{body}) . '||', 'also in variables');
    is(scalar(grep { /x{10}|session|10\.9\.9\.9/ } $asked->{body}), 0, 'and its own body');

    my $chunked = $as->active(token(), client_id => 'crm', scope => 'read:a');
    $r = $t->request('POST', '/read/y', key => $chunked, chunks => ['ab', 'cd']);
    is($r->status, 200, 'a request with a chunked body');
    is($r->json->{body}, 'abcd', 'whose body gets to the backend');
    is($as->asked($chunked), 1, 'was asked of');

    my $c = $t->connect;
    my @tokens = map { $as->active(token(), client_id => 'crm') } 1 .. 3;
    is_deeply([map { $_->status } $c->pipeline(map { ['GET', '/p', key => $_] } @tokens)], [200, 200, 200], 'pipelined requests');
    my $text = $t->read_file('access.log');
    like($text, qr{^/read/x\?a=b 403 \S+ \S+ \S+ 100 }m, 'the log has the own length of the request');
};

subtest 'what is sent of a token' => sub {
    my $token = token() . '+/._~-==';
    $t->secret($token);
    $as->active($token, client_id => 'crm');
    is($t->get('/', key => $token)->status, 200, 'all characters that a token may have');
    is($as->asked($token), 1, 'get there');
    my ($asked) = reverse $as->requests;
    like($asked->{body}, qr/%2B%2F\._~-%3D%3D&/, 'escaped');
};

subtest 'not asked' => sub {
    my $key = $store->key;
    my $mistyped = $store->key(undef, checksum => 'wrong');
    my $unchecked = $store->key('old_', checksum => 0);
    $as->reset;
    is(reason($t->get('/', key => $key)), '401 unknown', 'an unknown key');
    is(reason($t->get('/', key => $mistyped)), '401 checksum', 'a mistyped one');
    is(reason($t->get('/', key => $unchecked)), '401 unknown', 'one without checksum');
    is(reason($t->get('/', key => 'a"b')), '400 malformed', 'a malformed token');
    is(reason($t->get('/', key => 'x' x 513)), '400 malformed', 'one that is too long');
    is($t->get('/')->status, 401, 'no token');
    my $token = token();
    is(reason($t->get('/off', key => $token)), '401 unknown', 'where it is off');
    my $own = $store->issue(kind => 'access_token', account => 'crm', scopes => 'read:a');
    is($t->get('/', key => $own)->status, 200, 'one of our own');
    my $expired = $store->issue(kind => 'access_token', account => 'crm', expires => time - 1 | 0);
    $as->active($expired, client_id => 'crm');
    is(reason($t->get('/', key => $expired)), '401 expired', 'one of our own that is expired');
    my $revoked = $store->issue(kind => 'access_token', account => 'crm', state => 'revoked');
    is(reason($t->get('/', key => $revoked)), '401 revoked', 'one that is revoked');
    is($as->asked, 0, 'nobody was asked');
};

subtest 'not active' => sub {
    my $token = $as->inactive(token());
    my @r = map { reason($t->get('/no', key => $token)) } 1 .. 10;
    is_deeply(\@r, [('401 unknown') x 10], 'is unknown');
    is($as->asked($token), 1, 'asked once in cache_negative, on all workers');
    is_deeply(record($token), {}, 'and leaves no record');

    # another server may know better
    $other_as->active($token, client_id => 'crm');
    is($t->get('/other', key => $token)->status, 200, 'one server\'s no is not another one\'s');
    is($other_as->asked($token), 1, 'which was asked');
    is($t->get('/no', key => $token)->status, 200, 'what it says is a record of the store, for all places');
};

my $now = int time;

subtest 'no answer' => sub {
    my $json = JSON::PP->new->canonical;
    my $yes = $json->encode(yes());
    my $padding = 'x' x 20_000;
    my %bad = (
        'status 500'            => { status => 500, body => yes() },
        'status 401'            => { status => 401, body => yes() },
        'status 403'            => { status => 403, body => yes() },
        'status 204'            => { status => 204, bytes => "HTTP/1.1 204 None\r\n\r\n" },
        'status 201'            => { status => 201, body => yes() },
        'status 302'            => { status => 302, body => yes(), head => ['Location: /'] },
        'status 101'            => { bytes => "HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n$yes" },
        'status 408'            => { status => 408, body => yes() },
        'status 499'            => { status => 499, body => yes() },
        'an empty body'         => { body => '' },
        'a page'                => { body => '<html>login</html>' },
        'cut JSON'              => { body => substr $yes, 0, -3 },
        'JSON and more'         => { body => "$yes {}" },
        'an array'              => { body => '[true]' },
        'active as a string'    => { body => yes(active => 'true') },
        'active as a number'    => { body => yes(active => 1) },
        'active null'           => { body => yes(active => undef) },
        'no active'             => { body => '{"client_id":"crm"}' },
        'active twice'          => { body => '{"active":false,"active":true,"client_id":"crm"}' },
        'client_id twice'       => { body => '{"active":true,"client_id":"a","client_id":"crm"}' },
        'a NUL'                 => { body => '{"active":true,"client_id":"crm\u0000"}' },
        'not UTF-8'             => { body => qq({"active":true,"client_id":"crm","x":"\xff"}) },
        'deep'                  => { body => '{"active":true,"client_id":"crm","x":' . '[' x 1900 . ']' x 1900 . '' },
        'deep and whole'        => { body => '{"active":true,"client_id":"crm","x":' . '[' x 2050 . ']' x 2050 . '}' },
        'large'                 => { body => yes(x => $padding) },
        'large, chunked'        => { body => yes(x => $padding), chunked => 100 },
        'huge'                  => { body => yes(x => 'x' x 3_000_000) },
        'huge, chunked'         => { body => yes(x => 'x' x 3_000_000), chunked => 4000 },
        'a header too large'    => { body => yes(), head => ['X-Large: ' . 'x' x 9000] },
        'cut in its head'       => { body => yes(), cut => 20 },
        'cut in its body'       => { body => yes(), cut => 120 },
        'longer announced'      => { body => '{"active":true,', head => ['Content-Length: 500'] },
        'a broken chunk'        => { bytes => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n$yes\r\n" },
        'no HTTP'               => { bytes => "220 smtp ready\r\n" },
        'nothing'               => { bytes => '' },
        'a number too large'    => { body => '{"active":true,"client_id":"crm","exp":1e999}' },
        'an integer too large'  => { body => '{"active":true,"client_id":"crm","exp":99999999999999999999999}' },
    );
    for my $name (sort keys %bad) {
        my $token = $as->says(token(), %{$bad{$name}});
        my $r = $t->get('/bad', key => $token);
        is($r->status, 503, $name) or diag $r->error;
        ok($r->header('Retry-After') && !$r->header('WWW-Authenticate'), 'is unavailable');
        is_deeply(record($token), {}, 'and leaves no record');
        is($t->get('/unbuffered', key => $token)->status, 503, 'unbuffered as well');
        # it is not remembered
        $as->active($token, client_id => 'crm');
        is($t->get('/bad', key => $token)->status, 200, 'an answer later is taken');
    }
    is($t->get('/nowhere', key => token())->status, 503, 'a location that is not there');
    is($t->get('/refused', key => token())->status, 503, 'nobody there');
    is($t->get('/itself', key => $as->says(token(), body => yes()))->status, 503, 'a location that is not internal');
    like($t->log, qr/introspection "\/itself" leads to location "\/itself", which is not internal/, 'as the log says');
    like($t->log, qr/introspection "\/_nowhere" leads to location "\/", which is not internal: write "location = \/_nowhere \{ internal; ... \}"/, 'also where a name is mistyped');

    my $token = $as->says(token(), status => 500);
    my $r = $t->get('/pages', key => $token);
    is($r->status . ' ' . $r->body, '503 page', 'error_page of the place itself is heeded');
    my @leaked = grep { ($_->{body} // '') =~ /token=/ } $g->upstream->requests;
    is(scalar @leaked, 0, 'one of the asking location is not: the token goes nowhere else');
};

subtest 'any way of sending it' => sub {
    my %good = (
        'whole'         => { body => yes() },
        'chunked'       => { body => yes(), chunked => 7 },
        'byte by byte'  => { body => yes(), pieces => 2 },
        'slow'          => { body => yes(), delay => 700 },
        'to the end'    => { bytes => "HTTP/1.0 200 OK\r\n\r\n" . JSON::PP->new->encode(yes()) },
        'more claims'   => { body => yes(x => { y => [1, { z => undef }] }, iat => $now, jti => 'j', username => "\x{e9}") },
        'just 16 KB'    => { body => yes(x => 'x' x 16_300) },
        'nested deep'   => { body => '{"active":true,"client_id":"crm","x":' . '[' x 1900 . ']' x 1900 . '}' },
    );
    for my $name (sort keys %good) {
        my $token = $as->says(token(), %{$good{$name}});
        is($t->get('/', key => $token)->status, 200, $name);
        next if $name eq 'nested deep';
        $token = $as->says(token(), %{$good{$name}}, keep => $name ne 'to the end');
        is($t->get('/unbuffered', key => $token)->status, 200, "$name, unbuffered");
    }
    is($t->get('/static', key => token())->status, 200, 'of a location that answers itself');
};

subtest 'times' => sub {
    my @cases = (
        [60,   'no exp'],
        [60,   'exp far away', exp => $now + 1e6],
        [60,   'exp in another millennium', exp => 1e15],
        [60,   'exp a fraction', exp => $now + 1000.5],
        [60,   'exp null', exp => undef],
        [20,   'exp soon', exp => (my $soon = 20 + int time)],
    );
    for my $case (@cases) {
        my ($valid, $name, @exp) = @$case;
        my $token = $as->says(token(), body => yes(@exp));
        is($t->get('/', key => $token)->status, 200, $name);
        my $record = record($token);
        my $end = $valid == 20 ? $soon : $record->{introspected} + $valid;
        is($record->{expires}, $end, 'expires by the earlier of the two');
        my $ttl = $redis->cmd('TTL', $store->name('credential', $store->digest($token)));
        cmp_ok($ttl, '>', 29 * 86400, 'kept for long: nobody knows its end') if $name =~ /no exp|null/;
    }
    for my $case (['in the past', $now - 1], ['zero', 0], ['negative', -5], ['very negative', -1e300]) {
        my ($name, $exp) = @$case;
        my $token = $as->says(token(), body => yes(exp => $exp));
        is(reason($t->get('/past', key => $token)), '401 unknown', "exp $name") for 1 .. 2;
        is($as->asked($token), 1, 'asked once');
    }
    for my $case (['a string', "$now"], ['an object', {}], ['a boolean', JSON::PP::true], ['an array', [$now + 9]]) {
        my ($name, $exp) = @$case;
        my $token = $as->says(token(), body => yes(exp => $exp));
        my $mark = $t->mark;
        is(reason($t->get('/noexp', key => $token)), '503 record_invalid', "exp $name") for 1 .. 2;
        my @lines = $t->log_since($mark) =~ /what is to be its "exp" is missing or malformed/g;
        ok(@lines >= 1 && @lines <= $WORKERS, 'logged once');
    }
};

subtest 'claims' => sub {
    my $set = sub {
        my (%o) = @_;
        my $token = $as->says(token(), body => { active => JSON::PP::true, azp => 'crm', %o });
        my $r = $t->get('/claims', key => $token);
        return reason($r) if $r->status != 200;
        return join '|', map { join ',', $r->echoed($_) } qw(X-Tenant-Id X-Account-Id X-Affiliate-Id X-Roles X-Scopes);
    };
    is($set->(org => { id => 'org_9' }, affiliate => 'aff_9', realm_access => { roles => ['a', 'b'] }, scp => ['read:a', 'write:a']),
        'org_9|crm|aff_9|a b|read:a write:a', 'nested, and in arrays');
    is($set->(), '|crm|||', 'what is mapped and not there is nothing, not the account\'s');
    is($set->(org => {}, realm_access => [], scp => undef), '|crm|||', 'nor where it stops half-way');
    is($set->(org => { id => 42 }, affiliate => ['one']), '42|crm|one||', 'numbers, and an array of one');
    is($set->('org.id' => 'flat', org => { id => 'deep' }), 'flat|crm|||', 'a name with dots goes first');
    is($set->(realm_access => { roles => 'a b' }, scp => 'x y'), '|crm||a b|x y', 'words in a string');
    is($set->(realm_access => { roles => [] }), '|crm|||', 'an empty array');
    is($set->(org => { id => "caf\x{e9}" }), "caf\x{c3}\x{a9}|crm|||", 'UTF-8');

    my %bad = (
        'roles: a blank'           => { realm_access => { roles => ['no administrator'] } },
        'roles: a tab'             => { realm_access => { roles => ["no\tadministrator"] } },
        'roles: an empty one'      => { realm_access => { roles => ['a', ''] } },
        'roles: a quote'           => { realm_access => { roles => ['a"b'] } },
        'roles: a number'          => { realm_access => { roles => [1] } },
        'roles: an object'         => { realm_access => { roles => { a => 1 } } },
        'roles: true'              => { realm_access => { roles => JSON::PP::true } },
        'roles: too many'          => { realm_access => { roles => [map { "role-$_" } 1 .. 200] } },
        'scopes: a line feed'      => { scp => ["a\nb"] },
        'scopes: nested'           => { scp => [['a']] },
        'tenant: two'              => { org => { id => ['a', 'b'] } },
        'tenant: an object'        => { org => { id => {} } },
        'tenant: a fraction'       => { org => { id => 1.5 } },
        'tenant: a line feed'      => { org => { id => "a\r\nX-Roles: administrator" } },
        'tenant: long'             => { org => { id => 't' x 257 } },
        'account: missing'         => { azp => undef },
        'account: empty'           => { azp => '' },
        'account: a blank'         => { azp => 'c r m' },
        'account: a glob'          => { azp => 'crm*' },
        'account: long'            => { azp => 'a' x 129 },
        'sub: a line feed'         => { sub => "a\nb" },
        'sub: an object'           => { sub => {} },
        'client_id: a boolean'     => { client_id => JSON::PP::false },
    );
    for my $name (sort keys %bad) {
        my ($field) = $name =~ /^(\w+)/;
        $field = { sub => 'subject', client_id => 'client' }->{$field} // $field;
        my $mark = $t->mark;
        is($set->(%{$bad{$name}}), '503 record_invalid', $name);
        like($t->log_since($mark), qr/what is to be its "$field" is missing or malformed/, 'as the log says');
    }

    my $dotted = sub {
        my $token = $as->says(token(), body => { active => JSON::PP::true, aud => 'https://api.example.com', @_ });
        my $r = $t->get('/dotted', key => $token);
        return $r->status if $r->status != 200;
        return join '|', map { join ',', $r->echoed($_) } qw(X-Tenant-Id X-Account-Id);
    };
    is($dotted->('https://example.com/tenant' => 'org_5'), 'org_5|everybody', 'a name with dots; one account for all');
    is($dotted->(aud => ['x', 'https://api.example.com']), '|everybody', 'one audience of several');
    is($dotted->(aud => $_->[0]), 401, "audience: $_->[1]")
        for ['https://other.example.com', 'another'], [undef, 'null'], [['x'], 'not among them'], [[], 'none'],
            [{}, 'an object'], ['https://api.example.com/', 'nearly'], [[['https://api.example.com']], 'nested'];

    my $type = sub {
        my $token = $as->says(token(), body => yes(@_));
        return $t->get('/', key => $token)->status;
    };
    is($type->(token_type => 'bearer'), 200, 'token_type bearer');
    is($type->(token_type => undef), 200, 'token_type null');
    is($type->(token_type => 'DPoP'), 401, 'token_type DPoP');
    is($type->(token_type => 'refresh_token'), 401, 'a refresh token');
    is($type->(token_type => 7), 401, 'token_type 7');
    is($type->(cnf => { jkt => 'x' }), 401, 'bound to a key');
    is($type->(cnf => undef), 200, 'bound to none');
};

subtest 'roles of a token' => sub {
    my $conf = $t->nginx->{conf};
    my $explain = OpsAuth::Command->new($t, OPSAUTH_CONFIG => $conf);
    for my $case ([['partner'], '200 ok'], [['customer'], '403 role'], [undef, '403 role'], [['administrator'], '200 ok']) {
        my ($groups, $expected) = @$case;
        my $token = $as->says(token(), body => yes(groups => $groups));
        is(reason($t->get('/partner', key => $token)), $expected, 'rules see the roles of the token: ' . join ',', @{$groups // ['none']});
        my ($exit, $out) = $explain->run('--store', 'main', 'explain', record($token)->{id}, 'GET', '/partner', '--from', '127.0.0.1', '--listen', $t->port(8080), '--json');
        is(eval { JSON::PP->new->utf8->decode($out)->{reason} }, $expected =~ s/.* //r, 'and so does opsauth explain') or diag $out;
    }
};

subtest 'peppers' => sub {
    my $token = token();
    $t->secret($_) for map { substr $rotated->digest($token, $_), 0, 9 } 0, 1;
    $rotated->account('crm');
    # from before the newest pepper
    my %fields = (kind => 'access_token', account => 'crm', introspected => time - 90 | 0, expires => time - 30 | 0, id => 'tok_before');
    $rotated->credential($token, %fields, digest => $rotated->digest($token, 1));
    $as->says($token, body => yes());
    is(reason($t->get('/rotated', key => $token)), '200 ok', 'a record under an older pepper');
    my ($new, $old) = map { { @{$redis->cmd('HGETALL', $rotated->name('credential', $rotated->digest($token, $_)))} } } 0, 1;
    cmp_ok($old->{expires}, '>', time, 'is renewed where it stands');
    is_deeply($new, {}, 'not under another one beside');
    is(reason($t->get('/rotated', key => $token)), '200 ok', 'again');
    is($as->asked($token), 1, 'asked once');
    my $fresh = $as->says(token(), body => yes());
    is(reason($t->get('/rotated', key => $fresh)), '200 ok', 'a token that nobody knows');
    is($redis->cmd('EXISTS', $rotated->name('credential', $rotated->digest($fresh, 0))), 1, 'gets one under the newest');
    is($as->asked($fresh), 1, 'asked once');
};

subtest 'its account' => sub {
    my $token = $as->says(token(), body => yes(client_id => 'newcomer'));
    is(reason($t->get('/acc', key => $token)), '401 unknown', 'of an account that is not ours');
    is(reason($t->get('/acc', key => $token)), '401 unknown', 'again');
    is($as->asked($token), 1, 'asked once');
    $store->account('newcomer', ips => '127.0.0.1');
    ok(OpsAuth::Process->poll(5, sub { $t->get('/acc', key => $token)->status == 200 }), 'as soon as there is one, it passes');
    is($as->asked($token), 1, 'and was not asked again');
    $store->update_account('newcomer', ips => '192.0.2.1');
    ok(OpsAuth::Process->poll(5, sub { $t->get('/acc', key => $token)->status == 403 }), 'its addresses count');
    $store->update_account('newcomer', enabled => 0, ips => '');
    ok(OpsAuth::Process->poll(5, sub { reason($t->get('/acc', key => $token)) eq '401 disabled' }), 'its switch counts');
    is($t->get('/role', key => $as->says(token(), body => yes()))->status, 200, 'its roles count');
};

subtest 'rules, environments, redirects, shadow, stores' => sub {
    my $token = $as->says(token(), body => yes(scope => 'read:b'));
    my $r = $t->get('/read', key => $token);
    is(reason($r), '403 scope', 'rules hold');
    is(reason($t->get('/test', key => $as->says(token(), body => yes()))), '401 environment', 'a live token at a place for test');
    my $test = $as->says(token(), body => yes());
    is($t->get('/tested', key => $test)->status, 200, 'a server of test tokens');
    is(record($test)->{environment}, 'test', 'whose records say so');
    is(reason($t->get('/', key => $test)), '401 environment', 'elsewhere it is refused');
    is($t->get('/try', key => $as->says(token(), body => yes()))->status, 200, 'try_files');

    my $shadow = $as->says(token(), body => yes());
    $r = $t->get('/shadow', key => $shadow);
    is_deeply([$r->status, $r->echoed('X-Account-Id')], [200, 'crm'], 'in shadow, too');
    $r = $t->get('/shadow/no', key => $as->inactive(token()));
    is_deeply([$r->status, $r->echoed('X-Account-Id')], [200], 'which blocks nothing');
    is($r->header('X-Reason'), 'unknown', 'and says why it would');

    my $second = $as->says(token(), body => yes());
    is($t->get('/', key => $second)->status, 200, 'one store');
    is($t->get('/second', key => $second)->status, 503, 'another one, that was never set up');
    is($as->asked($second), 1, 'does not ask');
    $redis->cmd('HSET', 'second:meta', 'v', 1);
    $redis->cmd('HSET', 'second:account:crm', 'enabled', 1, 'tenant', 'org_second');
    ok(OpsAuth::Process->poll(5, sub { $t->get('/second', key => $second)->status == 200 }), 'set up, it does');
    is($as->asked($second), 2, 'once, for itself');
};

$t->done;
