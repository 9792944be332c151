#!/usr/bin/perl

# docs/verdicts.md, row by row: what a client sees of each verdict, what logs
# see of it, and that an answer never tells why a credential is not valid.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::Process;
use OpsAuth::Test;

my $t = OpsAuth::Test->new;
my $redis = $t->redis;
my $store = $t->store(pepper => [map { join '', map { sprintf '%02x', rand 256 } 1 .. 32 } 1, 2]);
$t->upstream;
$t->var(DOWN => 'redis://127.0.0.1:' . $t->port('down'));

$t->config_http(<<'CONF');
    log_format verdict '$arg_n $request_method $uri $status $opsauth_verdict $opsauth_reason '
                       '[$opsauth_credential_id][$opsauth_credential_kind][$opsauth_account]'
                       '[$opsauth_environment][$opsauth_cache][$opsauth_tenant]';
    access_log %%TESTDIR%%/access.log verdict;

    opsauth_store main {
        redis %%REDIS%%;
        pepper_file %%PEPPER%%;
        key_prefix op365_sk_live_ environment=live checksum=crc32;
        key_prefix op365_sk_test_ environment=test checksum=crc32;
        key_prefix legacy- environment=live;
        lease 60s;
        cache_negative 60s;
        redis_timeout 2s;
    }
    opsauth_store unmarked { redis %%REDIS%%; pepper_file %%PEPPER%%; prefix unmarked:; }
    opsauth_store down { redis %%DOWN%%; pepper_file %%PEPPER%%; }

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        opsauth main;
        opsauth_realm "Test API";
        opsauth_credential bearer header=X-API-Key;
        opsauth_require uri=~/open$;
        opsauth_require scope=read:tenants|write:tenants uri=~/scope$;
        opsauth_require role=customer uri=~/role$;

        location /json/     { proxy_pass http://%%UPSTREAM%%; }
        location /problem/  { opsauth_error_format problem; proxy_pass http://%%UPSTREAM%%; }
        location /off/      { opsauth_error_format off; proxy_pass http://%%UPSTREAM%%; }
        location /any/      { opsauth_environment any; proxy_pass http://%%UPSTREAM%%; }
        location /unmarked/ { opsauth unmarked; proxy_pass http://%%UPSTREAM%%; }
        location /down/     { opsauth down; proxy_pass http://%%UPSTREAM%%; }
    }
    server {
        listen 127.0.0.1:%%PORT_8081%%;
        location / { opsauth main; proxy_pass http://%%UPSTREAM%%; }
    }
CONF
$t->start;

$store->account('acme', tenant => 'org_42', roles => 'plans-and-rates');
$store->account('off', enabled => 0);
$store->account('elsewhere', ips => '192.0.2.0/24 2001:db8::/32');
my $good = $store->issue(scopes => 'read:users');
my $soon = int(time) + 3;
my $expiring = $store->issue(expires => $soon);
is($t->get('/json/open', key => $expiring)->status, 200, 'it expires later');

# a request, and the line that the access log has of it
my ($number, $line) = (0);
sub ask {
    my ($uri, %o) = @_;
    my $n = ++$number;
    my $r = $t->request($o{method} // 'GET', "$uri?n=$n", %o);
    OpsAuth::Process->poll(5, sub { $t->read_file('access.log') =~ /^$n (.*)$/m and $line = $1 });
    return $r;
}

my $body = qr/^\{.*\}\r\n\z/s;
my %code = (400 => 'BAD_REQUEST', 401 => 'UNAUTHORIZED', 403 => 'FORBIDDEN',
    503 => 'SERVICE_UNAVAILABLE');
my %title = (400 => 'Bad Request', 401 => 'Unauthorized', 403 => 'Forbidden',
    503 => 'Service Unavailable');

# every row: reason, status, challenge behind the realm (undef: none), how to get it
my @rows = (
    ['missing', 401, '', '/open'],
    ['malformed', 400, ', error="invalid_request"', '/open', key => $good, headers => ['X-API-Key' => $good]],
    (map { [$_->[0], 401, ', error="invalid_token"', '/open', key => $_->[1]] }
        ['unknown', $store->key], ['checksum', $store->key(undef, checksum => 'wrong')],
        ['environment', $store->issue(key_prefix => 'op365_sk_test_', environment => 'test')],
        ['environment', $store->issue(environment => 'test')],
        ['revoked', $store->issue(state => 'revoked')], ['expired', $store->issue(expires => int time)],
        ['disabled', $store->issue(account => 'off')]),
    ['ip', 403, undef, '/open', key => $store->issue(account => 'elsewhere')],
    ['ip', 403, undef, '/open', key => $store->issue(ips => '127.0.0.2')],
    ['role', 403, ', error="insufficient_scope"', '/role', key => $good],
    ['scope', 403, ', error="insufficient_scope", scope="read:tenants write:tenants"', '/scope', key => $good],
    ['no_rule', 403, ', error="insufficient_scope"', '/norule', key => $good],
    ['record_invalid', 503, undef, '/open', key => $store->issue(account => 'nobody')],
);

sub check_denial {
    my ($r, $format, $status, $challenge, $name) = @_;
    is($r->status, $status, "$name: status");
    is_deeply([$r->header_all('WWW-Authenticate')],
        [defined $challenge ? qq{Bearer realm="Test API"$challenge} : ()], "$name: challenge");
    is_deeply([$r->header_all('Cache-Control')], ['no-store'], "$name: no-store");
    is_deeply([map { /^[123]$/ ? 'seconds' : $_ } $r->header_all('Retry-After')],
        [$status == 503 ? 'seconds' : ()], "$name: Retry-After");
    is_deeply([$r->header_all('X-Upstream-Connection')], [], "$name: not of the backend");

    my $type = { json => 'application/json', problem => 'application/problem+json', off => 'text/html' }->{$format};
    is_deeply([$r->header_all('Content-Type')], [$type], "$name: Content-Type");
    if ($format eq 'off') {
        like($r->body, qr{<title>$status .*<center>nginx}s, "$name: nginx's own page");
        return;
    }
    like($r->body, $body, "$name: body");
    is($r->header('Content-Length'), length $r->body, "$name: its length");
    my $json = $r->json // {};
    my $text = $format eq 'json' ? delete $json->{error}{message} : delete $json->{detail};
    like($text // '', qr/^[A-Z][A-Za-z ,-]+\.$/, "$name: a sentence");
    is_deeply($json, $format eq 'json'
        ? { success => JSON::PP::false(), error => { code => $code{$status} } }
        : { type => 'about:blank', title => $title{$status}, status => $status }, "$name: fields");
}

for my $format (qw(json problem off)) {
    subtest "every row as $format" => sub {
        for my $row (@rows, ['unavailable', 503, undef, '/open', place => 'down', key => $good],
            ['unavailable', 503, undef, '/open', place => 'unmarked', key => $good])
        {
            my ($reason, $status, $challenge, $end, %o) = @$row;
            my $place = delete $o{place};
            next if $place && $format ne 'json';
            my $uri = '/' . ($place // $format) . $end;
            my $r = ask($uri, %o);
            check_denial($r, $format, $status, $challenge, $reason);
            like($line, qr/^GET \S+ $status deny $reason \[/, "$reason: logged");

            my $head = $t->request('HEAD', $uri, %o);
            is($head->status, $status, "$reason: HEAD");
            is($head->body . $head->error, '', "$reason: HEAD has no body");
            is_deeply([map { $_ eq 'Retry-After' ? () : $head->header_all($_) } qw(WWW-Authenticate Cache-Control Content-Type Content-Length)],
                [map { $r->header_all($_) } qw(WWW-Authenticate Cache-Control Content-Type Content-Length)],
                "$reason: HEAD has the headers of GET");
        }
    };
}

subtest 'ok' => sub {
    my $r = ask('/json/open', key => $good);
    is($r->status, 200);
    is_deeply([map { $r->header_all($_) } qw(WWW-Authenticate Cache-Control Retry-After)], [], 'nothing added');
    my $id = $store->read_credential($good)->{id};
    is($line,
        "GET /json/open 200 allow ok [$id][api_key][acme][live][hit][org_42]", 'log');
    is($t->request('HEAD', '/json/open', key => $good)->status, 200, 'HEAD');
    is($t->request('POST', '/json/open', key => $good, body => 'abc')->json->{body}, 'abc', 'POST');
    like($t->get('/json/open', port => 8081)->header('WWW-Authenticate'), qr/^Bearer realm="API"$/,
        'default realm');
};

# --- one and the same answer ----------------------------------------------------------

subtest 'no oracle' => sub {
    for my $format (qw(json problem off)) {
        my %seen;
        for my $row (grep { $_->[2] && $_->[2] =~ /invalid_token/ } @rows) {
            my ($reason, undef, undef, $end, %o) = @$row;
            my $raw = $t->get("/$format$end", %o)->{raw};
            like($raw, qr/^HTTP\/1.1 401 /, "$format: $reason");
            $raw =~ s/^Date: .*\r\n//m or fail('no Date');
            push @{$seen{$raw}}, $reason;
        }
        is(scalar(keys %seen), 1, "$format: all of them are the same bytes") or diag explain \%seen;
    }
};

subtest 'what logs say of who was turned away' => sub {
    my %by = map { $_->[0] => [@$_[3 .. $#$_]] } @rows;
    my $variables = sub {
        my ($end, %o) = @{$by{$_[0]}};
        ask("/json$end", %o);
        return $line =~ / (\[.*)/ ? $1 : '';
    };
    my $id = sub { my ($end, %o) = @{$by{$_[0]}}; return $store->read_credential($o{key})->{id} };
    is($variables->('missing'), '[-][-][-][-][bypass][-]', 'missing');
    is($variables->('malformed'), '[-][-][-][-][bypass][-]', 'malformed');
    is($variables->('checksum'), '[-][-][-][-][bypass][-]', 'checksum: Redis is not asked');
    is($variables->('unknown'), '[-][-][-][-][hit][-]', 'unknown, and remembered');
    for my $reason (qw(revoked expired)) {
        is($variables->($reason), sprintf('[%s][api_key][acme][live][hit][-]', $id->($reason)), $reason);
    }
    is($variables->('disabled'), sprintf('[%s][api_key][off][live][hit][-]', $id->('disabled')), 'disabled');
    is($variables->('scope'), sprintf('[%s][api_key][acme][live][hit][-]', $id->('scope')),
        'scope: no tenant where the verdict is not allow');
};

# --- records ----------------------------------------------------------------------------

my $too_many = join ' ', map { "scope:$_" } 1 .. 100;

subtest 'a credential of a wrong form' => sub {
    my %wrong = (
        v => ['', '2', 'x'], id => ['', 'with space', "a\nb", 'x' x 65], kind => ['', 'key'],
        account => ['', 'a b', 'x' x 129], state => ['', 'Active', 'active '], environment => ['', 'any', 'prod'],
        scopes => ["read:a\nx", 'say "hi"', 'x' x 769, $too_many], expires => ['', '-1', 'never', '1.5', '9' x 20],
        ips => ['127.0.0.1/33', 'localhost', '10.0.0.1/8', '127.0.0.1 x'],
        subject => ["a\r\nX-Evil: 1"], client => ["a\x00b"],
    );
    for my $field (sort keys %wrong) {
        my $optional = $field =~ /^(ips|subject|client)$/;
        for my $value ($optional ? () : undef, @{$wrong{$field}}) {
            my $name = defined $value ? "$field \"" . substr($value, 0, 20) =~ s/[^ -~]/?/gr . '"' : "$field missing";
            my $raw = $store->key;
            # digest and id must not depend on what is broken
            my $record = $store->credential($raw);
            $store->update($raw, $field => $value);
            my $mark = $t->mark;
            my $r = ask('/json/open', key => $raw);
            is($r->status, 503, $name);
            my $prefix = 'opsauth:credential:' . substr $record->{digest}, 0, 8;
            like($t->log_since($mark), qr/\[error\].*record "\Q$prefix\E\.\.\." is invalid: field "$field"/, 'logged');
            ask('/json/open', key => $raw);
            is(scalar(my @lines = $t->log_since($mark) =~ /is invalid/g), 1, 'once') if $value && $value eq '2';
        }
    }
    like($line, qr/503 deny record_invalid/, 'the reason');
    is(ask('/json/open', key => $store->issue(subject => "J\xc3\xbcrgen", client => 'app', extra => 'x'))->status,
        200, 'unknown fields are ignored');
};

subtest 'an account of a wrong form' => sub {
    my %wrong = (
        enabled => [undef, '', 'yes', '2'], tenant => ["a\nb", 'x' x 257], affiliate => ["a\x7f"],
        roles => ['bad"role', 'x' x 769], ips => ['any', '10.0.0.0/33'], rate => ['300', '0/m', '1/y'], refresh => ['x'],
    );
    my $n = 0;
    for my $field (sort keys %wrong) {
        for my $value (@{$wrong{$field}}) {
            my $account = 'bad' . ++$n;
            $store->account($account, $field => $value);
            my $mark = $t->mark;
            is(ask('/json/open', key => $store->issue(account => $account))->status, 503, "$field $n");
            like($t->log_since($mark), qr/\[error\].*record "opsauth:account:$account" is invalid: field "$field"/, 'logged');
        }
    }
};

subtest 'records that are no records' => sub {
    my $mark = $t->mark;
    my $key = $store->key;
    $redis->cmd('SET', $store->name('credential', $store->digest($key)), 'x');
    is(ask('/json/open', key => $key)->status, 503, 'a credential of another type');
    like($line, qr/deny record_invalid/);
    $redis->cmd('RPUSH', $store->name('account', 'list'), 'x');
    is(ask('/json/open', key => $store->issue(account => 'list'))->status, 503, 'an account of another type');
    like($line, qr/deny record_invalid/);
    my @lines = $t->log_since($mark) =~ /is invalid: it is not a hash/g;
    is(scalar @lines, 2, 'both logged');

    $mark = $t->mark;
    is(ask('/json/open', key => $store->issue(account => 'ghost'))->status, 503, 'no account');
    like($line, qr/deny record_invalid/);
    like($t->log_since($mark), qr/belongs to account "ghost", which has no record/, 'logged');

    # each field is within its limits, all of them together are not
    my $most = join ' ', map { sprintf 'action%03d:resource%03d', $_, $_ } 1 .. 34;
    my $ips = join ' ', map { sprintf '2001:db8:0:%x::/64', $_ } 1 .. 32;
    my %big = (scopes => $most, subject => 's' x 256, client => 'c' x 128);
    is(ask('/any/open', key => $store->issue(%big))->status, 200, 'a large one');
    is(ask('/json/open', key => $store->issue(%big, ips => $ips, account => 'acme'))->status, 503, 'one too large')
        if 48 + length($most) + 32 * 18 + 256 + 128 > 1920;

    my $huge = $store->issue(scopes => 'x' x 100_000);
    is(ask('/json/open', key => $huge)->status, 503, 'a much larger one');
    like($line, qr/deny record_invalid/);
    is(ask('/json/open', key => $store->issue)->status, 200, 'others are not concerned');

    # more than we want to read: it costs the connection, but is neither a pass
    # nor a 401, and Redis is used again after a moment
    $huge = $store->issue(scopes => 'x' x 3_000_000);
    is(ask('/json/open', key => $huge)->status, 503, 'a huge one');
    my $other = $store->issue;
    ok(OpsAuth::Process->poll(10, sub { $t->get('/json/open', key => $other)->status == 200 }), 'and then');
};

# --- what else decides ---------------------------------------------------------------------

subtest 'credentials' => sub {
    my %o = (account => 'acme');
    is(ask('/json/open', key => $store->issue(state => 'deprecated', %o))->status, 200, 'deprecated passes');
    my $token = $store->issue(kind => 'access_token', %o);
    is(ask('/json/open', key => $token)->status, 200, 'an access token');
    like($line, qr/allow ok \[tok_[0-9a-f]+\]\[access_token\]/, 'is one');
    is(ask('/json/open', key => $store->token)->status, 401, 'an unknown one');
    like($line, qr/deny unknown/);

    my $legacy = $store->issue(key_prefix => 'legacy-', checksum => 0, %o);
    is(ask('/json/open', key => $legacy)->status, 200, 'a prefix without checksum');
    is(ask('/json/open', key => 'legacy-short')->status, 401, 'an unknown one');
    like($line, qr/deny unknown/);

    my $old = $store->key;
    $store->credential($old, digest => $store->digest($old, 1));
    is(ask('/json/open', key => $old)->status, 200, 'under the second pepper');
    is(ask('/json/open', key => $old)->status, 200, 'again');

    my $test = $store->issue(key_prefix => 'op365_sk_test_', environment => 'test');
    is(ask('/any/open', key => $test)->status, 200, 'the test environment where it may');
    like($line, qr/\[test\]/);
    is(ask('/any/open', key => $good)->status, 200, 'and the live one');
    is(ask('/json/open', key => $store->issue(ips => '127.0.0.0/8 ::1'))->status, 200, 'an address that may');
};

subtest 'a store that was never set up' => sub {
    my $other = OpsAuth::Store->new(redis => $redis, prefix => 'unmarked:', pepper => [@{$store->{peppers}}],
        secret => sub { $t->secret(@_) });
    my $key = $other->issue;
    $other->account('acme');
    is(ask('/unmarked/open', key => $key)->status, 200, 'a known key passes');
    my $unknown = $other->key;
    is(ask('/unmarked/open', key => $unknown)->status, 503, 'an unknown one is "unavailable"');
    like($line, qr/deny unavailable/);
    $other->marker;
    my $r;
    OpsAuth::Process->poll(10, sub { ($r = $t->get('/unmarked/open', key => $unknown))->status != 503 });
    is($r->status, 401, 'until it is set up');
};

subtest 'unavailable is never remembered' => sub {
    my $key = $store->key;
    is(ask('/down/open', key => $key)->status, 503);
    like($line, qr/deny unavailable \[-\]\[-\]\[-\]\[-\]\[miss\]/, 'nobody was found');
    is(ask('/json/open', key => $good)->status, 200, 'another store is not concerned');
};

subtest 'expired, to the second' => sub {
    sleep $soon - time + 0.01 if time < $soon;
    is(ask('/json/open', key => $expiring)->status, 401);
    like($line, qr/deny expired .*\[hit\]/, 'although its record is cached');
};

$t->done;
