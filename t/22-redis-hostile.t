#!/usr/bin/perl

# What a Redis, or what is taken for one, may answer: each answer gives the right
# status, costs no worker and no descriptor, and the next request works.
#
# Every answer has a store of its own, told apart by the prefix of its keys, so
# that all of them recover from their backoff at the same time.

use strict;
use warnings;

use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::Process;
use OpsAuth::RESP;
use OpsAuth::Test;

# [name, action of the fake, what the request gets]
my @record = map { [$_->[0], $_->[1], $_->[2] // '503 unavailable'] } (
    # no Redis protocol
    ['HTTP', { raw => "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" }],
    ['garbage', { raw => "garbage\r\n" }],
    ['zeroes', { raw => "\0" x 100 }],
    ['binary', { raw => join '', map { chr } 128 .. 255 }],
    ['empty lines', { raw => "\r\n\r\n\r\n" }],
    ['RESP3: a map', { raw => "%1\r\n+a\r\n+b\r\n" }],
    ['RESP3: null', { raw => "_\r\n" }],
    ['RESP3: a push', { raw => ">2\r\n+invalidate\r\n_\r\n" }],
    ['RESP3: a double', { raw => ",1.5\r\n" }],
    # sizes
    ['a bulk of 9 GB', { raw => "\$9000000000\r\nxx" }],
    ['an array of a billion', { raw => "*1000000000\r\n" }],
    ['a record of 300 kB', sub { { array => ['x' x 300_000, ('x') x ($_[0] - 1)] } }, '503 record_invalid'],
    ['one of 300 kB in many fields', sub { { array => [('x' x 30_000) x $_[0]] } }, '503 record_invalid'],
    ['an array of 2^32 + 1', { raw => "*4294967297\r\n\$1\r\n1\r\n" }],
    ['a bulk of 9 GB in an array', { raw => "*13\r\n\$9000000000\r\nxx" }],
    ['too many elements', { raw => '*65' . "\r\n\$-1" x 65 . "\r\n" }, '503 record_invalid'],
    ['a size below -1', { raw => "\$-7\r\n" }],
    ['a count below -1', { raw => "*-5\r\n" }],
    ['a size that is no number', { raw => "\$abc\r\nabc\r\n" }],
    ['a size without an end', { raw => '$' . '1' x 10_000 }],
    ['a status of 300 kB', { raw => '+' . 'x' x 300_000 . "\r\n" }],
    ['an error of 300 kB', { raw => '-ERR ' . 'x' x 300_000 . "\r\n" }],
    ['a bulk of 300 kB', { bulk => 'x' x 300_000 }],
    ['nested forty times', { raw => "*1\r\n" x 40 . ":1\r\n" }],
    ['nested for ever', { raw => "*1\r\n" x 50_000 }],
    # an end in the midst of it
    ['closed', 'close'], ['reset', 'rst'],
    (map { my $n = $_; map { ["$n bytes, then $_", { cut => $n, then => $_ }] } qw(close rst silence) } 1, 4, 30, 90),
    ['silence', { cut => 0, then => 'silence' }],
    # Redis protocol, but no record
    ['a status', 'ok'], ['an integer', ':1'], ['a bulk', { bulk => 'x' }], ['a nil bulk', 'nil'],
    ['a nil array', '*-1'], ['an empty status', '+'], ['an empty bulk', { bulk => '' }],
    ['an empty array', '*0', '503 record_invalid'],
    ['one element', { array => ['1'] }, '503 record_invalid'],
    ['one too many', { array => [(undef) x 40] }, '503 record_invalid'],
    ['nothing but nils', sub { { array => [(undef) x $_[0]] } }, '401 unknown'],
    # error replies, by what the table says of them
    (map { ["$_", { error => "$_ some text" }] } 'LOADING', 'BUSY', 'TRYAGAIN', 'MASTERDOWN', 'CLUSTERDOWN',
        'ERR max number of clients reached', 'NOAUTH', 'WRONGPASS', 'DENIED', 'NOPERM', 'MOVED 1234 127.0.0.1:1', 'ASK 1234 127.0.0.1:1',
        'OOM', 'READONLY', 'MISCONF', 'NOREPLICAS', 'NOPROTO', 'NOSCRIPT', 'EXECABORT', 'UNKILLABLE', 'ERR unknown command', 'lower', ''),
    ['WRONGTYPE', '-WRONGTYPE Operation against a key', '503 record_invalid'],
    ['an error without a word', '-'],
    ['half an error, then silence', { raw => '-LOAD' }],
);

# what is as good as it should be, only cut in an odd way
my @good = (
    ['byte by byte', { chop => 1, pause => 0.2 }], ['two bytes', { chop => 2, pause => 0.5 }],
    ['late', { delay => 150 }],
);
# the same with something behind it: that costs the connection, not the request
my @behind = (
    ['one that nobody asked for, behind it', { append => "+EXTRA\r\n" }],
    ['the reply twice', { twice => 1 }],
    ['half a reply behind it', { append => "*13\r\n\$1" }],
    ['garbage behind it', { append => "\0\0\0" }],
);

my $t = OpsAuth::Test->new;
my $fake = $t->fake_redis;
my $store = $t->store;

my ($n, %digest, @cases, $conf) = (0);
sub case {
    my ($type, $row) = @_;
    my $prefix = 's' . ++$n . ':';
    my $records = OpsAuth::Store->new(redis => $fake, prefix => $prefix, pepper => [$store->pepper],
        secret => sub { $t->secret(@_) })->marker;
    $records->account('acme');
    push @cases, { name => "$type: $row->[0]", place => "s$n", store => $records,
        script => "HMGET s$n:$type:*", action => $row->[1], expected => $row->[2] };
    $conf->{"s$n"} = "prefix $prefix;";
}
case('credential', $_) for @record;
case('account', $_)
    for grep { $_->[0] =~ /HTTP|billion|^reset|30 bytes|a status$|nil array|LOADING|NOAUTH|WRONGTYPE|^one element/ } @record;
# an account that is not there is the store's fault, not the client's
case('account', ['nothing but nils', sub { { array => [(undef) x $_[0]] } }, '503 record_invalid']);
case('credential', [@$_, '200 ok']) for @good;
case('account', [@$_, '200 ok']) for @good, @behind;
case('credential', [@$_, '503 unavailable']) for @behind;

my $stores = join '', map { "opsauth_store $_ { redis %%REDIS%%; $conf->{$_} pepper_file %%PEPPER%%; cache 64k; "
    . "redis_timeout 1500ms; redis_connect_timeout 5s; lease 60s; cache_valid 100ms; cache_negative 100ms; stale off; }\n" } sort keys %$conf;
my $locations = join '', map { "location /$_ { opsauth $_; empty_gif; }\n" } sort keys %$conf;
$t->config_http(<<"CONF");
    $stores
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        add_header X-Reason \$opsauth_reason always;
        add_header X-Account \$opsauth_account always;
        $locations
    }
CONF
$t->allow_log(qr/\[crit\].*opsauth: redis "[^"]*" of store "s\d+" (is down: it answers|answers) HMGET with (NOAUTH|WRONGPASS|DENIED|NOPERM)/);
$t->start;
my @workers = $t->workers;

sub told { my ($r) = @_; return $r->status . ' ' . ($r->header('X-Reason') // $r->error) }

sub at_once {
    my (@requests) = @_;
    return OpsAuth::HTTP::parallel_requests([map { [$t->port(8080), 'GET', "/$_->[0]", key => $_->[1]] } @requests], concurrency => 40);
}

subtest 'all connect' => sub {
    my @r = at_once(map { [$_->{place}, $_->{store}->issue] } @cases);
    is_deeply([grep { $_->status != 200 } @r], [], 'and serve');
};
my $fds = $t->settled_fds;
cmp_ok($fds, '>', @cases, 'descriptors');

subtest 'what they answer' => sub {
    $fake->script(map {
        my ($read) = $fake->commands($_->{script});
        $_->{script} => ref $_->{action} eq 'CODE' ? $_->{action}->(@{$read->{words}} - 2) : $_->{action};
    } @cases);
    my @r = at_once(map { [$_->{place}, $_->{store}->issue] } @cases);
    is(told($r[$_]), $cases[$_]{expected}, $cases[$_]{name}) for 0 .. $#cases;
    is($r[$_]->header('Retry-After') ? 1 : 0, $r[$_]->status == 503 ? 1 : 0, 'Retry-After') for 0 .. $#cases;
    # on the same connection, or in backoff: never a 401, never another's record
    @r = at_once(map { [$_->{place}, $_->{store}->issue] } @cases);
    my @odd = grep { my $want = $cases[$_]{expected}; told($r[$_]) !~ /^503 (unavailable|record_invalid)$/ && told($r[$_]) ne $want } 0 .. $#cases;
    is_deeply([map { "$cases[$_]{name}: " . told($r[$_]) } @odd], [], 'and again');
};

subtest 'what they leave behind' => sub {
    is_deeply([$t->workers], \@workers, 'no worker died');
    $fake->behave;
    my @left = @cases;
    OpsAuth::Process->poll(30, sub {
        my @r = at_once(map { [$_->{place}, $_->{key} //= $_->{store}->issue] } @left);
        @left = @left[grep { $r[$_]->status != 200 } 0 .. $#r];
        sleep 0.1 if @left;
        return !@left;
    });
    is_deeply([map { $_->{name} } @left], [], 'all serve again');
    my @r = at_once(map { [$_->{place}, $_->{store}->key] } @cases);
    is_deeply([grep { $_->status != 401 } @r], [], 'and know who is unknown');
    ok(OpsAuth::Process->poll(5, sub { $t->fd_count <= $fds + 2 }), 'no descriptor is lost') or diag $fds . ' ' . $t->fd_count;
    my @lines = split /\n/, $t->log;
    cmp_ok(scalar(grep { /opsauth: redis/ } @lines), '<', 4 * @cases, 'a few lines of log each');
    is_deeply([grep { /x{50}|some text/ } @lines], [], 'that do not quote what it said');
};

# --- replies that are cut anywhere ----------------------------------------------------------

subtest 'split at every offset' => sub {
    my ($records, $place) = @{$cases[0]}{qw(store place)};
    my $key = $records->issue;
    my $reply = OpsAuth::RESP::reply([values %{$records->read_credential($key)}]);
    my (@wrong, $tried);
    for my $at (1 .. length($reply) + 20) {
        my $key = $records->issue(account => $records->account("x$at"));
        $fake->script("HMGET $place:credential:*" => { split => [$at], pause => 2 });
        my $r = $t->get("/$place", key => $key);
        push @wrong, "$at: " . told($r) if told($r) . ($r->header('X-Account') // '') ne "200 okx$at";
        $tried++;
    }
    is_deeply(\@wrong, [], "$tried offsets");
    $fake->behave;
};

# --- a greeting that goes wrong ----------------------------------------------------------------

subtest 'greetings' => sub {
    my %greeting = (
        'a banner'  => { ACCEPT => { raw => "220 mail ESMTP\r\n" } },
        'HTTP'      => { ACCEPT => { raw => "HTTP/1.1 400 Bad Request\r\n\r\n", then => 'close' } },
        'closed'    => { ACCEPT => 'close' }, 'reset' => { ACCEPT => 'rst' }, 'silence' => { ACCEPT => 'silence' },
        'deaf'      => { ACCEPT => 'deaf' },
        'maxclients' => { ACCEPT => { raw => "-ERR max number of clients reached\r\n", then => 'close' } },
        'DENIED'    => { ACCEPT => { raw => "-DENIED Redis is running in protected mode\r\n", then => 'close' } },
        'SELECT'    => { SELECT => '-ERR DB index is out of range' },
        'SELECT: a number' => { SELECT => ':1' },
        'SELECT: BUSY' => { SELECT => '-BUSY a script' },
        'SETNAME: an array' => { CLIENT => '*0' },
        'SETNAME: closed' => { CLIENT => 'close' },
        'marker: a status' => { 'HMGET opsauth:meta' => 'ok' },
        'marker: two' => { 'HMGET opsauth:meta' => { array => [1, 2] } },
        'marker: cut' => { 'HMGET opsauth:meta' => { cut => 5 } },
        'marker: one too many' => { 'HMGET opsauth:meta' => { append => "+EXTRA\r\n" } },
        # these do no harm
        'SETNAME: refused' => { CLIENT => '-NOPERM no' },
        'byte by byte' => { SELECT => { chop => 1 }, CLIENT => { chop => 1 }, 'HMGET opsauth:meta' => { chop => 1 } },
        'marker: NOPERM' => { 'HMGET opsauth:meta' => '-NOPERM no' },
    );
    my @names = sort keys %greeting;
    my $test = OpsAuth::Test->new;
    my @fakes = map { $test->fake_redis(name => "FAKE$_", script => $greeting{$names[$_]}) } 0 .. $#names;
    my $shared = $test->store(redis => $fakes[0], marker => 0);
    my @stores = map { OpsAuth::Store->new(redis => $_, pepper => [$shared->pepper], secret => sub { $test->secret(@_) })->marker } @fakes;
    $_->account('acme') for @stores;
    my $http = join '', map { "opsauth_store g$_ { redis %%FAKE$_%%/1; pepper_file %%PEPPER%%; cache 64k; lease 100ms; "
        . "cache_negative 100ms; redis_connect_timeout 500ms; redis_timeout 5s; }\n" } 0 .. $#names;
    $http .= 'server { listen 127.0.0.1:%%PORT_8080%%; add_header X-Reason $opsauth_reason always; '
        . join('', map { "location /g$_/ { opsauth g$_; empty_gif; }\n" } 0 .. $#names) . '}';
    $test->allow_log(qr/\[crit\].*is down: it answers (SELECT 1|the greeting) with (ERR|DENIED)/);
    $test->config_http($http)->start;

    for my $i (0 .. $#names) {
        my $good = $names[$i] =~ /byte by byte|refused|NOPERM/;
        my $r = $test->get("/g$i/", key => $stores[$i]->issue);
        is(told($r), $good ? '200 ok' : '503 unavailable', $names[$i]);
        $r = $test->get("/g$i/", key => $stores[$i]->key);
        is($r->status, $good && $names[$i] !~ /marker/ ? 401 : 503, "$names[$i], unknown");
    }
    $_->behave for @fakes;
    for my $i (0 .. $#names) {
        my $key = $stores[$i]->issue;
        ok(OpsAuth::Process->poll(15, sub { $test->get("/g$i/", key => $key)->status == 200 }), "$names[$i], later");
        ok(OpsAuth::Process->poll(15, sub { $test->get("/g$i/", key => $stores[$i]->key)->status == 401 }), "$names[$i], unknown later");
    }
    $test->finish;
};

# --- a record that is too large ------------------------------------------------------------------

# A real Redis, and one record that somebody has made a mess of, in the midst of
# others that are read with it: all leave in one write and come on one connection.
subtest 'one record of a megabyte' => sub {
    my $test = OpsAuth::Test->new;
    my $redis = $test->redis;
    my $records = $test->store;
    $test->config_http('opsauth_store main { redis %%REDIS%%; pepper_file %%PEPPER%%; redis_timeout 20s; '
        . 'redis_connect_timeout 20s; lease 60s; } server { listen 127.0.0.1:%%PORT_8080%%; '
        . 'add_header X-Reason $opsauth_reason always; add_header X-Account $opsauth_account always; '
        . 'location / { opsauth main; empty_gif; } }');
    $test->start;
    my $n = 0;
    my $fresh = sub { $n++; return ($records->issue(account => $records->account("m$n")), "m$n") };
    is(told($test->get('/', key => ($fresh->())[0])), '200 ok', 'before');
    my @ids = map { $_->{id} } $redis->clients;

    my %large = (
        'scopes'   => { scopes => join ' ', map { sprintf 'read:%020d', $_ } 1 .. 40_000 },
        'ips'      => { ips => '10.0.0.0/8 ' x 100_000 },
        'at the bound' => { subject => 'x' x (256 * 1024) },
        'three'    => { scopes => 'x' x 300_000, ips => 'x' x 300_000, client => 'x' x 300_000 },
    );
    my ($worker) = $test->workers;
    for my $name (sort keys %large) {
        my $key = $records->issue(account => 'm1', %{$large{$name}});
        my @each = map { [$fresh->()] } 1 .. 40;
        splice @each, 20, 0, [$key, ''];
        my @clients = map { $test->connect(timeout => 30) } @each;
        kill 'STOP', $worker;
        $clients[$_]->write_request('GET', '/', key => $each[$_][0]) for 0 .. $#each;
        sleep 0.05;
        kill 'CONT', $worker;
        my @got = map { my $r = $_->read_response; told($r) . ' ' . ($r->header('X-Account') // '') } @clients;
        is(splice(@got, 20, 1), '503 record_invalid ', "$name: that one");
        splice @each, 20, 1;
        is_deeply(\@got, [map { "200 ok $_->[1]" } @each], 'and nobody else');
        my $reads = $redis->calls('hmget');
        is(told($test->get('/', key => $key)), '503 record_invalid', 'again') for 1 .. 10;
        cmp_ok($redis->calls('hmget') - $reads, '<=', 4, 'not read each time');
        $records->update($key, map { $_ => undef } keys %{$large{$name}});
        $records->update($key, scopes => 'read:tenants');
        ok(OpsAuth::Process->poll(5, sub { told($test->get('/', key => $key)) eq '200 ok' }), 'mended');
    }
    is_deeply([map { $_->{id} } $redis->clients], \@ids, 'on the same connection all the time');
    unlike($test->log, qr/is down|no Redis protocol/, 'of which there is nothing to say');
    is(scalar(my @said = $test->log =~ /\[error\].*record/g), scalar keys %large, 'a line for each of the records')
        or diag $test->log;
    $test->finish;
};

$t->done;
