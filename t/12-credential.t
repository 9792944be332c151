#!/usr/bin/perl

# The credential in the request: its form, its length, its place, one and no
# more; and that it goes no further unless it is told to.

use strict;
use warnings;

use Test::More;

use OpsAuth::Test;

my $t = OpsAuth::Test->new;
my $redis = $t->redis;
my $store = $t->store;
$t->upstream;

$t->config_http(<<'CONF');
    opsauth_store main {
        redis %%REDIS%%;
        pepper_file %%PEPPER%%;
        key_prefix op365_sk_live_ checksum=crc32;
        lease 60s;
        redis_timeout 2s;
    }
    large_client_header_buffers 4 16k;
    underscores_in_headers on;

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        opsauth main;
        location / { proxy_pass http://%%UPSTREAM%%; }
        location /forward { opsauth_forward_credential on; proxy_pass http://%%UPSTREAM%%; }
        location /both {
            opsauth_credential bearer header=X-API-Key header=X-Token;
            proxy_pass http://%%UPSTREAM%%;
            location /both/forward { opsauth_forward_credential on; proxy_pass http://%%UPSTREAM%%; }
            location /both/inner { proxy_pass http://%%UPSTREAM%%; }
        }
        location /header { opsauth_credential header=X-API-Key; proxy_pass http://%%UPSTREAM%%; }
        location /off { opsauth off; proxy_pass http://%%UPSTREAM%%; }
    }
CONF
$t->start;

$store->account('acme');
my $key = $store->issue;
my $other = $store->issue;

# the status for an Authorization header, exactly as it is
sub authorization { my ($value, %o) = @_; return $t->get($o{uri} // '/', headers => ["Authorization" => $value])->status }

sub challenge {
    my ($r) = @_;
    return $r->status . ($r->header('WWW-Authenticate') // '') =~ s/Bearer realm="API"//r;
}

subtest 'scheme' => sub {
    is(authorization("$_ $key"), 200, $_) for qw(Bearer bearer BEARER bEaReR);
    for my $value ("Basic $key", 'Basic YTpi', "Digest $key", "Bear $key", "Bearer2 $key", "Bearer-Token $key", "BearerBearer $key",
        "Token $key", $key, 'x', '')
    {
        my $r = $t->get('/', headers => [Authorization => $value]);
        is(challenge($r), '401', "\"$value\" is no Bearer credential") unless $value =~ /\Q$key/;
        is(challenge($r), '401', 'nor this') if $value =~ /\Q$key/;
    }
    is(challenge($t->get('/')), '401', 'none at all');
    is(challenge($t->get("/?access_token=$_")), '401', 'not in the query') for 'x' x 43;
};

subtest 'blanks' => sub {
    is(authorization("Bearer$_"), 200, 'blanks ' . unpack 'H*', $_ =~ s/\Q$key//r)
        for " $key", "  $key", "      $key", " $key ", " $key   ";
    my $malformed = '400, error="invalid_request"';
    is(challenge($t->get('/', headers => [Authorization => "Bearer$_"])), $malformed, 'malformed ' . unpack 'H*', $_ =~ s/\Q$key//r)
        for '', ' ', "\t$key", " \t$key", " $key x", " $key,", ",$key", "=$key", " $key $key", "\"$key\"", " \"$key\"", ": $key";
};

subtest 'bytes' => sub {
    # each byte in the middle of a credential that would be known with it
    my %valid = map { $_ => 1 } 'a' .. 'z', 'A' .. 'Z', 0 .. 9, qw(- . _ ~ + /);
    my (@right, @wrong);
    for my $code (1 .. 9, 11, 12, 14 .. 255) {
        my $raw = 'token' . chr($code) . 'end' . $code;
        $store->credential($raw, kind => 'access_token');
        my $r = $t->get('/', headers => [Authorization => "Bearer $raw"]);
        push @right, chr $code if $r->status == 200;
        push @wrong, $code if $r->status != 200 && $r->status != 400;
    }
    is(join('', sort @right), join('', sort keys %valid), 'a token68 and nothing else');
    is_deeply(\@wrong, [], 'everything else is 400');
    $store->credential($_, kind => 'access_token') for qw(padded= padded== a / ==);
    is(authorization("Bearer $_"), 200, $_) for qw(padded= padded== a /);
    is(authorization("Bearer $_"), 400, $_) for qw(== =a a=b a==b);
    my $c = $t->connect;
    $c->send("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\x00b\r\n\r\n");
    is($c->read_response->status, 400, 'a null byte');
    $c = $t->connect;
    $c->send("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\n b\r\n\r\n");
    is($c->read_response->status, 400, 'a folded line');
};

subtest 'length' => sub {
    for my $length (1, 64, 511, 512, 513, 600) {
        my $raw = ('x' . $length) x 200;
        $raw = $length == 1 ? 'q' : substr $raw, 0, $length;
        $store->credential($raw, kind => 'access_token');
        is(authorization("Bearer $raw"), $length > 512 ? 400 : 200, "$length bytes");
        is($t->get('/both', headers => ['X-API-Key' => $raw])->status, $length > 512 ? 400 : 200, "$length bytes, bare");
    }
    for my $length (4_000, 10_000, 16_000) {
        is(challenge($t->get('/', headers => [Authorization => 'Bearer ' . 'z' x $length])),
            '400, error="invalid_request"', "$length bytes");
    }
    my $r = $t->get('/', headers => [Authorization => 'Bearer ' . 'z' x 20_000]);
    is($r->status, 400, 'more than nginx takes');
    like($r->body, qr/<html>/, 'is its own answer');
};

subtest 'two at once' => sub {
    my $malformed = '400, error="invalid_request"';
    is(challenge($t->get('/both', headers => $_->[1])), $malformed, $_->[0]) for
        ['bearer and header', [Authorization => "Bearer $key", 'X-API-Key' => $key]],
        ['the other way round', ['X-API-Key' => $other, Authorization => "Bearer $key"]],
        ['the header twice', ['X-API-Key' => $key, 'X-API-Key' => $key]],
        ['in another case', ['X-API-Key' => $key, 'x-api-key' => $other]],
        ['with underscores', ['X-API-Key' => $key, 'X_API_KEY' => $other]],
        ['two headers', ['X-API-Key' => $key, 'X-Token' => $key]],
        ['three', [Authorization => "Bearer $key", 'X-API-Key' => $key, 'X-Token' => $key]],
        ['a good one and a bad one', [Authorization => "Bearer $key", 'X-API-Key' => 'b"ad']],
        ['a bad one and a good one', ['X-API-Key' => 'b"ad', 'X-Token' => $key]],
        ['in an inner place', ['X-API-Key' => $key, 'X-Token' => $key], '/both/inner'];
    is(challenge($t->get('/both/forward', headers => ['X-API-Key' => $key, 'X-Token' => $key])), $malformed, 'where they are forwarded');
    is($t->get('/both', headers => ['X-API-Key' => $key])->status, 200, 'the header alone');
    is($t->get('/both', headers => ['x_api_key' => $key])->status, 200, 'in another form');
    is($t->get('/both', headers => ['X-API-Key' => "$key  "])->status, 200, 'with blanks behind');
    is($t->get('/both', headers => ['X-API-Key' => "Bearer $key"])->status, 400, 'which has no scheme');
    is($t->get('/both', headers => ['X-API-Key' => '', Authorization => "Bearer $key"])->status, 200, 'an empty one is none');
    is($t->get('/both', headers => ['X-API-Key' => '', 'X-Token' => ''])->status, 401, 'nor are two empty ones');
    is($t->get('/both', headers => ['X-API-Key' => $key, Authorization => 'Basic YTpi'])->status, 200, 'another scheme beside it');

    # of no key that is a secret here: nginx itself logs such lines, with their values
    my $r = $t->get('/', headers => [Authorization => 'Bearer one', Authorization => 'Bearer two']);
    is($r->status, 400, 'two Authorization headers');
    like($r->body, qr/<html>/, 'nginx does not take them itself');
    is_deeply([$r->header_all('WWW-Authenticate')], [], 'so it is not our answer');
};

subtest 'where it may stand' => sub {
    is($t->get('/header', headers => ['X-API-Key' => $key])->status, 200, 'the header alone is configured');
    is($t->get('/header', key => $key)->status, 401, 'so this is none');
    is($t->get('/', headers => ['X-API-Key' => $key])->status, 401, 'and the other way round');
    my $r = $t->get('/', key => $key, headers => ['X-API-Key' => 'of the backend']);
    is_deeply([$r->echoed('X-API-Key')], ['of the backend'], 'what is no credential here is left alone');
    $r = $t->get('/header', headers => ['X-API-Key' => $key, Authorization => "Bearer of-the-backend"]);
    is_deeply([$r->echoed('Authorization')], ['Bearer of-the-backend'], 'in this place, too');
};

subtest 'what the backend sees of it' => sub {
    my $seen = sub { my ($r) = @_; return [map { $r->echoed($_) } qw(Authorization X-API-Key X-Token)] };
    is_deeply($seen->($t->get('/', key => $key)), [], 'nothing');
    is_deeply($seen->($t->get('/', headers => [authorization => "bearer   $key"])), [], 'in no form');
    is_deeply($seen->($t->get('/forward', headers => [Authorization => "bearer  $key"])), ["bearer  $key"], 'all of it, as it was');
    is_deeply($seen->($t->get('/both', headers => ['X-API-Key' => $key])), [], 'a header: nothing');
    is_deeply($seen->($t->get('/both', headers => ['X_API_KEY' => $key])), [], 'in another form: nothing');
    is_deeply($seen->($t->get('/both/inner', headers => ['X-Token' => $key])), [], 'in an inner place: nothing');
    is_deeply($seen->($t->get('/both/forward', headers => ['X-API-Key' => $key])), [$key], 'forwarded');
    is_deeply($seen->($t->get('/both', headers => ['X-API-Key' => $key, Authorization => 'Basic YTpi'])), ['Basic YTpi'],
        'another scheme is not ours to take out');
    is_deeply($seen->($t->get('/off', key => $key)), ["Bearer $key"], 'where opsauth is off');
};

subtest 'no lookup for what has no form' => sub {
    my @seen = $redis->monitor(sub {
        authorization('Bearer b"ad');
        authorization('Bearer ' . 'x' x 513);
        authorization('Basic YTpi');
        $t->get('/both', headers => ['X-API-Key' => $store->key, 'X-Token' => $store->key]);
        $t->get('/', key => $store->key(undef, checksum => 'wrong'));
        $t->get('/', key => 'op365_sk_live_');
        $t->get('/', key => 'op365_sk_live_short');
    });
    is_deeply([grep { /HMGET.*:(?:credential|account):/i } @seen], [], 'Redis is not asked');
    @seen = $redis->monitor(sub { is($t->get('/', key => $store->key)->status, 401, 'well-formed and unknown') });
    is(scalar(grep { /HMGET.*:(?:credential|account):/i } @seen), 1, 'asked once');
};

$t->done;
