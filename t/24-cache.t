#!/usr/bin/perl

# The cache as clients and Redis see it: what costs a read and what does not,
# how long a change takes, what survives, and what is kept apart.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::Process;
use OpsAuth::Test;

my $t = OpsAuth::Test->new(workers => $ENV{TEST_WORKERS} // 2);
my $fake = $t->fake_redis;
my @peppers = map { join '', map { sprintf '%02x', rand 256 } 1 .. 32 } 1 .. 3;
my $store = $t->store(pepper => [@peppers]);
$t->var(PREFIX => 'opsauth:');

my %stores = (
    long    => 'lease 60s; cache_negative 60s;',
    short   => 'lease 200ms; cache_negative 200ms;',
    soon    => 'lease 60s; cache_valid 200ms; cache_negative 200ms;',
    never   => 'lease 60s; cache_negative 0;',
    small   => 'lease 60s; cache_negative 60s; cache 32k;',
    other   => 'lease 60s; cache_negative 60s; prefix other:;',
    moving  => 'lease 60s; cache_negative 60s; prefix %%PREFIX%%;',
);

sub configure {
    my (%change) = @_;
    my $redis = delete $change{redis} // '%%REDIS%%';
    my %all = (%stores, %change);
    $t->config_http(join('', map { "opsauth_store $_ { " . ($_ eq 'moving' ? "redis $redis" : 'redis %%REDIS%%')
        . "; pepper_file %%PEPPER%%; $all{$_} " . ($all{$_} =~ /cache \d/ ? '' : 'cache 1m;')
        . " redis_timeout 5s; redis_connect_timeout 5s; stale off; }\n" } sort keys %all)
        . 'server { listen 127.0.0.1:%%PORT_8080%% reuseport; add_header X-Cache $opsauth_cache always; '
        . 'add_header X-Account $opsauth_account always; '
        . join('', map { "location /$_/ { opsauth $_; empty_gif; }\n" } sort keys %all) . '}');
}
configure();
$t->start;

sub told { my ($r) = @_; return join ' ', $r->status, map { $r->header("X-$_") // '-' } qw(Cache Account) }
sub seen { my %seen; $seen{told($_)}++ for @_; return \%seen }
# reads of records since the last reset
sub reads { return scalar(grep { $_->{words}[1] !~ /:meta$/ } $fake->commands('HMGET')) }

my $n = 0;
sub fresh { my ($s, %fields) = @_; $n++; return $s->issue(account => $s->account("a$n"), %fields) }

# what was just written is announced, and read once more where it was cached before that
sub announced { sleep($ENV{TEST_NGINX_SLOW} ? 1.5 : 0.3) }

# the prefix decides; other things are as they were
sub sibling {
    my ($prefix, $redis) = @_;
    return OpsAuth::Store->new(redis => $redis // $fake, prefix => $prefix, pepper => [@peppers],
        secret => sub { $t->secret(@_) })->marker;
}

# every worker has its connections now: the marker is read no more
$t->parallel(40, 'GET', "/$_/", key => $store->key) for keys %stores;

subtest 'hits' => sub {
    my $key = fresh($store);
    my $unknown = $store->key;
    announced();
    $fake->reset;
    is(told($t->get('/long/', key => $key)), "200 miss a$n", 'the first request');
    is(reads(), 2, 'reads credential and account');
    is_deeply(seen($t->parallel(60, 'GET', '/long/', key => $key)), { "200 hit a$n" => 60 }, 'later ones, on all workers');
    is(reads(), 2, 'read nothing');
    my $second = $store->issue(account => "a$n");
    announced();
    is(told($t->get('/long/', key => $second)), "200 miss a$n", 'another key of the account');
    is(reads(), 3, 'reads the credential alone');

    # one read under each pepper
    $fake->reset;
    is(told($t->get('/long/', key => $unknown)), '401 miss -', 'an unknown key');
    is(reads(), 3, 'is looked for under each pepper');
    is_deeply(seen($t->parallel(60, 'GET', '/long/', key => $unknown)), { '401 hit -' => 60 }, 'and remembered');
    is(reads(), 3, 'for all workers');

    $fake->reset;
    my $bad = fresh($store, state => 'revoked');
    announced();
    is(told($t->get('/long/', key => $bad)), "401 miss a$n", 'a revoked key');
    is_deeply(seen($t->parallel(20, 'GET', '/long/', key => $bad)), { "401 hit a$n" => 20 }, 'is remembered too');
    is(reads(), 1, 'all in all: nobody asks for its account');

    $fake->reset;
    $t->get('/never/', key => $unknown) for 1 .. 3;
    cmp_ok(reads(), '>=', 3, 'cache_negative 0 remembers it for no time worth speaking of');
    is($t->get('/long/')->header('X-Cache'), 'bypass', 'without a key');
};

subtest 'peppers' => sub {
    for my $i (1, 2) {
        my $key = $store->key;
        $store->account('old');
        $store->credential($key, digest => $store->digest($key, $i), account => 'old');
        $fake->reset;
        is(told($t->get('/long/', key => $key)), '200 miss old', "a key under pepper $i");
        cmp_ok($fake->count('HMGET opsauth:credential:*'), '==', $i + 1, 'newest first');
        $fake->reset;
        is_deeply(seen($t->parallel(20, 'GET', '/long/', key => $key)), { '200 hit old' => 20 }, 'later');
        is(reads(), 0, 'read nothing');
    }
};

# --- changes ----------------------------------------------------------------------------

sub becomes {
    my ($place, $key, $want, $name) = @_;
    my $started = time;
    ok(OpsAuth::Process->poll(5, sub { $t->get("/$place/", key => $key)->status == $want }), "$place: $name");
    return time - $started;
}

subtest 'changes' => sub {
    for my $place (qw(short soon)) {
        my $key = fresh($store);
        my $account = "a$n";
        is($t->get("/$place/", key => $key)->status, 200, "$place: before");
        # under load from all workers, which must not keep it alive
        my $load = $t->load(key => $key, uri => "/$place/", clients => 2);
        sleep 0.3;
        $store->revoke($key);
        my $took = becomes($place, $key, 401, 'revoked');
        cmp_ok($took, '<', 15, 'soon enough: nothing else ends it within a minute');
        my %status = %{$load->stop->{status}};
        is_deeply([grep { !/^(200|401)$/ } keys %status], [], 'nothing else under load');
        is_deeply(seen($t->parallel(40, 'GET', "/$place/", key => $key))->{"200 hit $account"}, undef, 'for good');

        $store->update($key, state => 'active');
        becomes($place, $key, 200, 'active again');
        $store->update_account($account, enabled => 0);
        becomes($place, $key, 401, 'the account is disabled');
        $store->update_account($account, enabled => 1);
        becomes($place, $key, 200, 'and enabled');
        $store->update_account($account, ips => '192.0.2.1');
        becomes($place, $key, 403, 'its addresses');
        $store->forget($key);
        becomes($place, $key, 401, 'deleted');

        my $later = $store->key;
        is($t->get("/$place/", key => $later)->status, 401, 'not known yet');
        $store->account('acme');
        $store->credential($later);
        becomes($place, $later, 200, 'made');
    }
    my $key = $store->key;
    is($t->get('/long/', key => $key)->status, 401, 'long: not known yet');
    $store->credential($key);
    ok(OpsAuth::Process->poll(5, sub { $t->get('/long/', key => $key)->status == 200 }),
        'made, and told of long before cache_negative ends');
    is($t->get('/never/', key => $key)->status, 200, 'in a store that does not remember, it is');
};

# --- what is kept apart -------------------------------------------------------------------

subtest 'stores' => sub {
    my $other = sibling('other:');
    my $key = fresh($store);
    $other->account("b$n", tenant => 'org_other');
    $other->credential($key, account => "b$n");
    for (1, 2) {
        is($t->get('/long/', key => $key)->header('X-Account'), "a$n", 'one key, two stores');
        is($t->get('/other/', key => $key)->header('X-Account'), "b$n", 'two accounts');
    }
    $other->revoke($key);
    my $fresh = fresh($store);
    is(told($t->get('/other/', key => $fresh)), '401 miss -', 'a key of one');
    is(told($t->get('/long/', key => $fresh)), "200 miss a$n", 'is not unknown in the other for that');
    is(told($t->get('/small/', key => $fresh)), "200 miss a$n", 'nor cached in a third, with the same prefix');
    # a store's accounts do not share records with its credentials
    $store->account('0' x 64);
    is($t->get('/long/', key => $store->issue(account => '0' x 64))->status, 200, 'an account named like a digest');
};

subtest 'the smallest zone' => sub {
    my @keys = map { fresh($store) } 1 .. 12;
    my $all = sub { OpsAuth::HTTP::parallel_requests([map { [$t->port(8080), 'GET', '/small/', key => $_] } @_], concurrency => 50) };
    is_deeply([grep { $_->status != 200 } $all->(@keys)], [], 'some good keys');
    my %before;
    $before{$_->header('X-Cache')}++ for $all->(@keys);
    my @garbage = map { $store->key } 1 .. 600;
    is_deeply([grep { $_->status != 401 } $all->(@garbage)], [], 'a flood of unknown ones');
    my %after;
    $after{$_->header('X-Cache')}++ for $all->(@keys);
    cmp_ok($after{hit} // 0, '>=', 10, 'leaves the good ones') or diag explain [\%before, \%after];

    my @many = map { fresh($store) } 1 .. 300;
    my @accounts = map { 'a' . ($n - 300 + $_) } 1 .. 300;
    for (1, 2) {
        is_deeply([map { $_->header('X-Account') // $_->status } $all->(@many)], \@accounts, 'more good ones than fit: all are served, as who they are');
    }
    my $one = fresh($store);
    $t->get('/small/', key => $one);
    is(told($t->get('/small/', key => $one)), "200 hit a$n", 'and it still caches');
    is_deeply([grep { $_->status != 200 } $all->(@keys)], [], 'the first ones are served');
};

# --- what survives --------------------------------------------------------------------------

subtest 'reload' => sub {
    my @keys = map { fresh($store) } 1 .. 5;
    my $unknown = $store->key;
    my $moved = sibling('moved:');
    $moved->account('moved');
    $moved->credential($keys[0], account => 'moved');
    for my $place (qw(long moving)) {
        is($t->get("/$place/", key => $_)->status, 200, 'before') for @keys;
        is($t->get("/$place/", key => $unknown)->status, 401, 'and an unknown one');
    }
    $fake->reset;
    $t->reload;
    for my $place (qw(long moving)) {
        is($t->get("/$place/", key => $_)->header('X-Cache'), 'hit', "$place survives") for @keys, $unknown;
    }
    is(reads(), 0, 'nothing was read');
    is($fake->opened, 0, 'nobody was asked');

    $t->kill9_worker($_) for $t->workers;
    is_deeply(seen($t->parallel(20, 'GET', '/long/', key => $keys[4])), { "200 hit a$n" => 20 }, 'also of killed workers');

    # other numbers, the same records
    configure(long => 'lease 100ms;');
    $t->reload;
    is($t->get('/long/', key => $keys[4])->header('X-Cache'), 'miss', 'a shorter lease holds for what is there');

    # another prefix: other records
    $t->var(PREFIX => 'moved:');
    configure();
    $t->reload;
    is(told($t->get('/moving/', key => $keys[0])), '200 miss moved', 'another prefix');
    is($t->get('/moving/', key => $keys[1])->status, 401, 'does not know the others');
    is(told($t->get('/long/', key => $keys[4])), "200 hit a$n", 'a store that did not change');

    # another size: nginx makes a new zone
    configure(long => 'lease 60s; cache 2m;');
    $t->reload;
    is(told($t->get('/long/', key => $keys[4])), "200 miss a$n", 'another size is another zone');

    # another server with another truth
    my $second = $t->fake_redis(name => 'SECOND');
    my $elsewhere = sibling('moved:', $second);
    $elsewhere->account('elsewhere');
    $elsewhere->credential($keys[0], account => 'elsewhere');
    configure(redis => '%%SECOND%%');
    $t->reload;
    is(told($t->get('/moving/', key => $keys[0])), '200 miss elsewhere', 'another Redis');
};

$t->done;
