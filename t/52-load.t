#!/usr/bin/perl

# Many records and many unknown keys: garbage costs the good keys nothing, a
# hundred thousand cached records are as good as ten, and memory stays where the
# zone puts it. LOAD_LONG=1: a million records; under valgrind, twenty thousand.

use strict;
use warnings;

use Test::More;

use OpsAuth::Bulk;
use OpsAuth::Process;
use OpsAuth::Test;

use constant PREFIX => 'op365_bulk_live_';

# One worker has one L1 to be asked for: what it does not have was read from
# Redis, and by nobody else. A lease of a minute and a feed: nothing ages here.
sub start {
    my ($size) = @_;
    my $t = OpsAuth::Test->new;
    my $redis = $t->redis;
    my $store = $t->store;
    $t->config_http(<<"CONF");
    opsauth_store main {
        redis %%REDIS%%; pepper_file %%PEPPER%%; cache $size;
        key_prefix op365_sk_live_ environment=live checksum=crc32;
        key_prefix @{[PREFIX]} environment=live;
        lease 60s; cache_valid 1h; cache_negative 60s; redis_timeout 20s; redis_connect_timeout 20s;
    }
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        keepalive_requests 1000000;
        location / {
            opsauth main;
            add_header X-Cache \$opsauth_cache always;
            try_files /none =204;
        }
    }
CONF
    $t->start;
    ok($t->wait_for_log(qr/feed of store "main": tracking/), 'a feed tracks');
    return ($t, $redis, $store, OpsAuth::Bulk->new(port => $t->port(8080)));
}

# Private memory of the workers, KiB: what is not shared with another process.
# The zone's pages that only one of them has touched count too, so a zone that
# fills up shows.
sub private {
    my ($t) = @_;
    my $sum = 0;
    for my $pid ($t->workers) {
        open my $in, '<', "/proc/$pid/smaps_rollup" or return;
        $sum += $_ for map { /^Private_\w+:\s+(\d+) kB/ ? $1 : () } <$in>;
    }
    return $sum;
}

# --- garbage ------------------------------------------------------------------------

subtest 'a flood of unknown keys' => sub {
    my ($t, $redis, $store, $bulk) = start('512k');
    # keys of two forms, accounts of their own
    my @good = map { $store->issue(account => $store->account("a$_")) } 1 .. 200;
    push @good, $bulk->records($redis, $store, 100, prefix => PREFIX, account => 'a1');

    my $read = sub { return $redis->calls('hmget') };
    my $seen = $bulk->ask('/', @good);
    is_deeply($seen, { '204 miss' => 300 }, 'good keys are read once') or diag explain $seen;
    cmp_ok($read->(), '>=', 500, 'with their accounts');

    my @memory;
    # that they are in no log is other tests' to say: a search for so many is slow
    local $store->{secret} = sub { };
    for my $round (1 .. 3) {
        my @garbage = (
            (map { $store->key } 1 .. 1_000),                                # with a checksum
            (map { OpsAuth::Bulk::key(PREFIX, "g$round", $_) } 1 .. 6_000), # without
            (map { OpsAuth::Bulk::key('', "t$round", $_) } 1 .. 6_000),     # tokens
        );
        my $before = $read->();
        $seen = $bulk->ask('/', @garbage);
        is_deeply($seen, { '401 miss' => scalar @garbage }, "flood $round: unknown, each is asked for")
            or diag explain $seen;
        cmp_ok($read->() - $before, '>=', @garbage, 'at Redis');
        push @memory, private($t);

        $before = $read->();
        $seen = $bulk->ask('/', @good);
        is_deeply($seen, { '204 hit' => 300 }, 'good keys are hits, all of them, though nobody used them meanwhile')
            or diag explain $seen;
        is($read->() - $before, 0, 'and Redis is not asked');

        # the last of the garbage is still known as such
        $before = $read->();
        $seen = $bulk->ask('/', @garbage[-200 .. -1]);
        cmp_ok($seen->{'401 hit'} // 0, '>', 100, 'garbage has a place, too');
        cmp_ok($read->() - $before, '<', 100, 'which saves reads');
    }
    # sanitizers keep what was freed
    my $limit = OpsAuth::Nginx::SLOW ? 300_000 : 1_024;
  SKIP: {
        skip 'no smaps_rollup', 1 if !defined $memory[0];
        cmp_ok($memory[$_] - $memory[0], '<', $limit, 'KiB of private memory, after flood ' . ($_ + 1)) for 1, 2;
        note "private memory after each flood: @memory KiB";
    }
    unlike($t->log, qr/no memory|could not allocate|malloc|"slab"/, 'nothing lacks memory');
    $t->finish;
};

# --- many records -------------------------------------------------------------------

# as docs/capacity.md counts: 320 bytes a credential
subtest 'many records' => sub {
    my $n = $ENV{LOAD_LONG} ? 1_000_000 : $ENV{TEST_NGINX_VALGRIND} ? 20_000 : 100_000;
    my ($t, $redis, $store, $bulk) = start(int($n * 320 / 1024) + 64 . 'k');
    alarm 1800 if $ENV{LOAD_LONG};
    $store->account('acme');
    my @good = $bulk->records($redis, $store, $n, prefix => PREFIX, account => 'acme');

    # a sample, early: it is cached when there is next to nothing else
    my @sample = @good[map { int $_ * $n / 4_000 } 0 .. 3_999];
    my $cost = sub {
        my ($cpu, $seen) = (OpsAuth::Process->cpu(($t->workers)[0]));
        for (1 .. 3) {
            my $round = $bulk->ask('/', @sample);
            $seen->{$_} += $round->{$_} for keys %$round;
        }
        return ($seen, 1e6 * (OpsAuth::Process->cpu(($t->workers)[0]) - $cpu) / (3 * @sample));
    };
    my $seen = $bulk->ask('/', @sample);
    is_deeply($seen, { '204 miss' => 4_000 }, 'a few thousand are read') or diag explain $seen;
    ($seen, my $few) = $cost->();
    # one in thousands is pushed out by another while sets come into use
    my $missed = delete $seen->{'204 miss'} // 0;
    is_deeply($seen, { '204 hit' => 12_000 - $missed }, 'and are hits') or diag explain $seen;
    cmp_ok($missed, '<=', 12, 'but for a few at most');

    $seen = $bulk->ask('/', @good);
    my $all = ($seen->{'204 miss'} // 0) + ($seen->{'204 hit'} // 0);
    is($all, $n, "$n records, each asked for once") or diag explain $seen;

    my $before = $redis->calls('hmget');
    ($seen, my $many) = $cost->();
    my $hits = $seen->{'204 hit'} // 0;
    is($hits + ($seen->{'204 miss'} // 0), 12_000, 'the sample, among them') or diag explain $seen;
    cmp_ok($hits, '>', 0.99 * 12_000, 'hits, by and large');
    cmp_ok($redis->calls('hmget') - $before, '<=', 12_000 - $hits + 30, 'and no other reads');
    note sprintf 'CPU of a hit: %.1f us among 4000 records, %.1f us among %d', $few, $many, $n;
    note "private memory: @{[private($t) // 'not known']} KiB";

    # everything changes at once
    $redis->cmd('FLUSHALL');
    $store->marker->account('acme');
    $seen = {};
    ok(OpsAuth::Process->poll(20, sub {
        $seen = $bulk->ask('/', @sample[0 .. 99]);
        return !grep { !/^401/ } keys %$seen;
    }), 'and a flush forgets all of them') or diag explain $seen;
    $t->finish;
};

done_testing();
