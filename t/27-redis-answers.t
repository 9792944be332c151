#!/usr/bin/perl

# What each error of Redis means for a request whose record is fresh, stale or
# not there, and for the log: one line when things change for the worse, one
# when they are well again.

use strict;
use warnings;

use JSON::PP ();
use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::Process;
use OpsAuth::Test;

# [error, without a record, with a stale one, what the log says]; connections:
# 'stays', 'leaves' (for another server) or 'ends'
my $DOWN = qr/is down: it answers %s$/;
my @rows = (
    ['LOADING Redis is loading the dataset in memory', '503 unavailable', '200 stale', $DOWN, 'stays'],
    ['BUSY Redis is busy running a script', '503 unavailable', '200 stale', $DOWN, 'stays'],
    ['TRYAGAIN Multiple keys request during rehashing of slot', '503 unavailable', '200 stale', $DOWN, 'stays'],
    ['MASTERDOWN Link with MASTER is down', '503 unavailable', '200 stale', $DOWN, 'leaves'],
    ['CLUSTERDOWN The cluster is down', '503 unavailable', '200 stale', $DOWN, 'leaves'],
    ['ERR max number of clients reached', '503 unavailable', '200 stale', qr/is down: it answers \S.*, it has reached its maxclients$/, 'ends'],
    ['NOAUTH Authentication required.', '503 unavailable', '200 stale', qr/\[crit\].*is down: it answers \S.* with NOAUTH, it asks for a password: set redis_password_file/, 'ends'],
    ['WRONGPASS invalid username-password pair', '503 unavailable', '200 stale', qr/\[crit\].*is down: it answers \S.* with WRONGPASS, check redis_user/, 'ends'],
    ['NOPERM this user has no permissions', '503 unavailable', '200 stale', qr/\[crit\].*answers HMGET with NOPERM: the ACL of its user must allow HMGET/, 'stays'],
    ['MOVED 1234 127.0.0.1:7001', '503 unavailable', '200 stale', qr/\[error\].*answers HMGET with MOVED: this is a cluster/, 'stays'],
    ['ASK 1234 127.0.0.1:7001', '503 unavailable', '200 stale', qr/\[error\].*answers HMGET with ASK: this is a cluster/, 'stays'],
    ['ERR unknown command', '503 unavailable', '200 stale', qr/\[error\].*answers HMGET with ERR$/, 'stays'],
    # the record's own trouble: nothing that was there before counts
    ['WRONGTYPE Operation against a key', '503 record_invalid', '503 record_invalid', undef, 'stays'],
);

my $t = OpsAuth::Test->new;
my $fake = $t->fake_redis;
my $shared = $t->store;
my @stores;
my ($http, $places) = ('', '');
my %kind = (
    fresh => 'lease 60s; cache_valid 60s; cache_negative 60s;',
    stale => 'lease 10s; cache_valid 100ms; cache_negative 100ms;',
);
for my $i (0 .. $#rows) {
    for my $kind (sort keys %kind) {
        my $name = "$kind$i";
        $stores[$i]{$kind} = OpsAuth::Store->new(redis => $fake, prefix => "$name:", pepper => [$shared->pepper],
            secret => sub { $t->secret(@_) })->marker;
        $stores[$i]{$kind}->account('acme');
        $http .= "opsauth_store $name { redis %%REDIS%%; prefix $name:; pepper_file %%PEPPER%%; cache 64k; "
            . "redis_timeout 5s; redis_connect_timeout 5s; stale 60s; $kind{$kind} }\n";
        $places .= "location /$name { opsauth $name; empty_gif; }\n";
    }
}
$t->config_http(<<"CONF");
    $http
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        add_header X-Reason \$opsauth_reason always;
        add_header X-Cache \$opsauth_cache always;
        $places
    }
CONF
$t->allow_log(qr/\[crit\].*answers .*(NOAUTH|WRONGPASS|NOPERM)/);
$t->start;

sub reason { my ($r) = @_; return $r->status . ' ' . ($r->header('X-Reason') // '-') }
sub cached { my ($r) = @_; return $r->status . ' ' . ($r->status == 200 ? $r->header('X-Cache') // '-' : $r->header('X-Reason') // '-') }
sub lines { my ($text, $re) = @_; return scalar(grep { /$re/ } split /\n/, $text) }

subtest 'error replies' => sub {
    my (@key, @late);
    for my $i (0 .. $#rows) {
        for my $kind (sort keys %kind) {
            $key[$i]{$kind} = $stores[$i]{$kind}->issue;
            is($t->get("/$kind$i", key => $key[$i]{$kind})->status, 200, "$rows[$i][0], $kind: before");
        }
        $late[$i] = $stores[$i]{stale}->issue;
    }
    # records, and the marker with them
    my $mark = $t->mark;
    $fake->reset->script(map {
        my $i = $_;
        map { ("HMGET $_$i:*" => "-$rows[$i][0]") } keys %kind;
    } 0 .. $#rows);
    sleep 0.3;

    for my $i (0 .. $#rows) {
        my ($error, $none, $stale, undef, $then) = @{$rows[$i]};
        my ($word) = $error =~ /^(ERR.*|\w+)/;
        for (1 .. 3) {
            is(cached($t->get("/fresh$i", key => $key[$i]{fresh})), '200 hit', "$word: with a fresh record");
            is(cached($t->get("/stale$i", key => $key[$i]{stale})), $stale, "$word: with a stale one");
            my $r = $t->get("/stale$i", key => $late[$i]);
            # in backoff it is not asked for the record at all
            is(reason($r), $then eq 'ends' ? '503 unavailable' : $none, "$word: without one");
            is($r->header('Retry-After') ? 1 : 0, 1, 'to be tried again');
            is($r->header('WWW-Authenticate'), undef, 'it is not the client\'s fault');
        }
        is($t->get("/stale$i", key => $stores[$i]{stale}->key)->status, 503, "$word: an unknown key");
    }

    # where another server may serve, it is looked for, and not all the time
    my %again;
    for my $said ($fake->commands('CLIENT SETNAME')) {
        $again{$1}++ if $said->{words}[2] =~ /^opsauth-((?:stale|fresh)\d+)-0$/;
    }
    for my $i (0 .. $#rows) {
        my $n = $again{"stale$i"} // 0;
        my ($word) = $rows[$i][0] =~ /^(\w+)/;
        is($n, 0, "$word: the connection stays") if $rows[$i][4] eq 'stays';
        cmp_ok($n, '>=', 1, "$word: another connection") if $rows[$i][4] eq 'leaves';
        cmp_ok($n, '<=', 5, 'or a few') if $rows[$i][4] ne 'stays';
    }

    $fake->behave;
    for my $i (0 .. $#rows) {
        ok(OpsAuth::Process->poll(15, sub { $t->get("/stale$i", key => $late[$i])->status == 200 }), "$rows[$i][0]: back");
        ok(OpsAuth::Process->poll(15, sub { $t->get("/stale$i", key => $stores[$i]{stale}->key)->status == 401 }), 'also for unknown keys');
    }
    my $log = $t->log_since($mark);
    for my $i (0 .. $#rows) {
        my $line = $rows[$i][3] // next;
        my ($word) = $rows[$i][0] =~ /^(\w+)/;
        $line = qr/is down: it answers $word$/ if $line == $DOWN;
        my $of = join "\n", grep { /of store "stale$i"/ && !/opsauth: feed/ } split /\n/, $log;
        is(lines($of, $line), 1, "$word: one line says so") or diag $of;
        is(lines($of, qr/ is down/), lines($of, qr/ is back$/), 'and one that it is over') or diag $of;
        # not counted: that the marker can not be seen, which has a remedy of its own
        cmp_ok(lines($of, qr/opsauth: redis/), '<=', 3, 'and no more') or diag $of;
        unlike($of, qr/some|dataset|script|permissions|127\.0\.0\.1:7001/, 'nor what else Redis said');
    }
};

# --- a store without its mark -----------------------------------------------------------------

subtest 'an empty store' => sub {
    my ($records, $key) = ($stores[0]{stale}, $stores[0]{stale}->issue);
    is($t->get('/stale0', key => $key)->status, 200, 'before');
    my $mark = $t->mark;
    $fake->script('HMGET stale0:meta' => { array => [undef] },
        'HMGET stale0:credential:*' => { array => [(undef) x 16] });
    $fake->drop;
    sleep 0.3;
    # found absent, which means nothing here: what was known before still counts
    is(cached($t->get('/stale0', key => $key)), '200 stale', 'a stale record serves');
    is(reason($t->get('/stale0', key => $records->key)), '503 unavailable', 'an unknown key is no 401') for 1 .. 3;
    $fake->script('HMGET stale0:meta' => undef);
    ok(OpsAuth::Process->poll(10, sub { $t->get('/stale0', key => $records->key)->status == 401 }), 'set up: it is');
    is(lines($t->log_since($mark), qr/of store "stale0" has no "stale0:meta"/), 1, 'one line')
        or diag $t->log_since($mark);
    $fake->behave;
};
$t->finish;

# --- the breaker ------------------------------------------------------------------------------

subtest 'one that never answers in time' => sub {
    my $b = OpsAuth::Test->new;
    my $slow = $b->fake_redis;
    my $records = $b->store;
    $b->config_http('opsauth_store main { redis %%REDIS%%; pepper_file %%PEPPER%%; cache 1m; redis_timeout 1500ms; '
        . 'redis_connect_timeout 1500ms; lease 60s; stale off; } server { listen 127.0.0.1:%%PORT_8080%%; '
        . 'add_header X-Reason $opsauth_reason always; location / { opsauth main; empty_gif; } location = /status { opsauth_status; } }');
    $b->start;
    $records->account('acme');
    my $known = $records->issue;
    ok(OpsAuth::Process->poll(15, sub { $b->get('/', key => $known)->status == 200 }), 'before');
    my $mark = $b->mark;
    my $reads = 'HMGET opsauth:credential:*';

    $slow->reset->script(HMGET => 'silence');
    my @r = OpsAuth::HTTP::parallel_requests([map { [$b->port(8080), 'GET', '/', key => $records->issue] } 1 .. 30]);
    is_deeply([grep { reason($_) ne '503 unavailable' } @r], [], 'those that wait for it wait in vain');
    is(scalar(() = $slow->commands($reads)), 30, 'once each');
    ok($b->wait_for_log(qr/is down: it does not answer in time/, since => $mark), 'which is trouble');
    # five in a row open it: from then on nobody asks
    my %all;
    $all{reason($b->get('/', key => $records->issue))}++ for 1 .. 100;
    is_deeply(\%all, { '503 unavailable' => 100 }, 'a hundred more are answered');
    is($slow->count($reads), 30, 'none of which has asked Redis');
    is($b->get('/', key => $known)->status, 200, 'what is cached is served');

    my $marks = $slow->count('HMGET opsauth:meta');
    ok($slow->wait_for('HMGET opsauth:meta', $marks + 1, 15), 'it is looked at, now and then')
        or diag join "\n", map { "$_->{time} @{$_->{words}}" } $slow->commands;

    # one good answer of the marker lets ten out, not all; one that waits in vain
    # opens it again
    my $state = sub { return JSON::PP->new->decode($b->get('/status')->body)->{stores}{main}{redis} };
    my $half_open = sub { return OpsAuth::Process->poll(20, sub { !$state->()->{breaker_open} }) };
    my $good = sub {
        $slow->script($reads => 'default');
        return $b->get('/', key => $records->issue)->status == 200;
    };
    my $ends = 0;
    my @served;
    # after so many good answers: how many of thirty at once are tried, in vain
    my $tried = sub {
        my ($n) = @_;
        for (1 .. $n) {
            # from the second on it is asked for the marker, too
            sleep 1.1 if $_ > 1;
            $good->() or return 0;
            $ends++ if $_ == 1;
        }
        my $before = $slow->count($reads);
        $slow->script($reads => 'silence');
        push @served, grep { reason($_) ne '503 unavailable' }
            OpsAuth::HTTP::parallel_requests([map { [$b->port(8080), 'GET', '/', key => $records->issue] } 1 .. 30]);
        return $slow->count($reads) - $before;
    };
    $slow->script(HMGET => undef, $reads => 'silence');
    for ([0, 10, 'ten are tried'], [1, 9, 'after a good answer nine'], [0, 10, 'which opens it, and ten are again'],
        [2, 8, 'after two eight, also where the marker was read between them'])
    {
        my ($n, $awaited, $what) = @$_;
        # fewer where the machine is too busy for all to be there before the first is late
        my @asked;
        OpsAuth::Process->poll(30, sub { $half_open->() or return; push @asked, $tried->($n); return $asked[-1] >= $awaited });
        is($asked[-1], $awaited, "half open: $what") or diag "@asked";
    }
    is_deeply([map { reason($_) } @served], [], 'in vain');

    ok(OpsAuth::Process->poll(20, sub { $half_open->() && $good->() }), 'half open, and one is answered');
    $ends++;
    my $before = $state->()->{breaker_openings};
    $slow->script($reads => 'silence');
    is($b->get('/', key => $records->issue)->status, 503, 'one waits in vain');
    is($state->()->{breaker_openings} - $before, 1, 'and it is open');

    $slow->behave;
    ok(OpsAuth::Process->poll(15, sub { $b->get('/', key => $records->issue)->status == 200 }), 'and used again');
    $b->get('/', key => $records->issue) for 1 .. 10;
    @r = OpsAuth::HTTP::parallel_requests([map { [$b->port(8080), 'GET', '/', key => $records->issue] } 1 .. 30]);
    is(scalar(grep { $_->status == 200 } @r), 30, 'after ten good answers by all');
    my $log = $b->log_since($mark);
    $ends++;
    is(join(' ', map { lines($log, $_) } qr/redis .* is down/, qr/redis .* is back$/), "$ends $ends",
        'a line for each time, and for each good answer behind it') or diag $log;

    # late, but in time: that is no trouble
    $mark = $b->mark;
    $slow->script(HMGET => { delay => 20 });
    is($b->get('/', key => $records->issue)->status, 200, 'a slow one serves') for 1 .. 5;
    $b->finish;
};

done_testing();
