#!/usr/bin/perl

# A Redis Cluster: records are found wherever their slot is, changes are told by
# each primary, slots that move are followed.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::Cluster;
use OpsAuth::Command;
use OpsAuth::Group qw($LEASE status cache covered documented);
use OpsAuth::Process;
use OpsAuth::Test;

sub gateway { return OpsAuth::Cluster->gateway(keys => 30, @_) }
sub slot_of { return OpsAuth::Cluster::slot_of(@_) }

subtest 'records of all slots' => sub {
    my ($t, $cluster, $store, @keys) = gateway();
    $t->start;
    is(scalar(grep { status($t, $_) == 204 } @keys), scalar @keys, 'each is served');
    is(status($t, $store->key), 401, 'one that there is not');
    my %owners = map { $cluster->owner(slot_of($store, $_))->port => 1 } @keys;
    is(scalar keys %owners, 3, 'they stood on three nodes');

    ok(covered($t, @keys), 'each primary covers its own, beyond the lease');
    for my $node ($cluster->nodes) {
        is(scalar(grep { $_->{name} =~ /^opsauth-main-\d+$/ } $node->clients) > 0, 1, 'a connection to ' . $node->port);
    }

    # a change is told by the primary that has it
    my %seen;
    for my $key (@keys) {
        next if $seen{$cluster->owner(slot_of($store, $key))->port}++ >= 2;
        $store->update($key, state => 'revoked');
        my $since = time;
        my $end = OpsAuth::Process->poll(10, sub { status($t, $key) == 401 ? time : 0 });
        ok($end && $end - $since < $LEASE + 15, 'revoked');
    }
    is(scalar keys %seen, 3, 'on each of the three');
    $t->finish;
};

subtest 'pushed, not waited for' => sub {
    my ($t, $cluster, $store, @keys) = gateway(lease => '30s', extra => 'cache_valid 300s;');
    $t->start;
    ok(OpsAuth::Process->poll(20, sub {
        3 == grep { my $n = $_; grep { $_->{name} =~ /-feed$/ } map { { map { /^(.*?)=(.*)$/ } split / / } } split /\n/, $n->cmd('CLIENT', 'LIST') } $cluster->nodes
    }), 'a feed from each');
    status($t, $_) for @keys, @keys;
    my %seen;
    for my $key (@keys) {
        next if $seen{$cluster->owner(slot_of($store, $key))->port}++;
        is(cache($t, $key), 'hit', 'from the cache');
        $store->update($key, state => 'revoked');
        ok(OpsAuth::Process->poll(5, sub { status($t, $key) == 401 }), 'revoked, long before the lease ends');
    }
    # one node is emptied, of which the others hear nothing
    my $without = $cluster->other(OpsAuth::Cluster::slot($store->name('meta')));
    my ($key) = grep { cache($t, $_) eq 'hit' && status($t, $_) == 204 } $cluster->of_node($store, $without, @keys);
    $without->cmd('FLUSHALL');
    ok(OpsAuth::Process->poll(20, sub { status($t, $key) != 204 }), 'nor does what is flushed stay');
    $t->finish;
};

subtest 'nobody has set it up' => sub {
    my ($t, $cluster, $store, @keys) = gateway();
    $cluster->cmd('DEL', $store->name('meta'));
    $t->start;
    is(status($t, $keys[0]), 204, 'what is known is served');
    is(status($t, $store->key), 503, 'what is not known may be missing');
    $store->marker;
    ok(OpsAuth::Process->poll(10, sub { status($t, $store->key) == 401 }), 'until there is the marker');
    $t->finish;
};

subtest 'with a user of its own' => sub {
    my $rights = join ' ', documented('ACL SETUSER gateway on >PASSWORD'), documented('ACL SETUSER gateway (?=\+cluster)');
    my ($t, $cluster, $store, @keys) = gateway(
        group => { server => { acl => ['user default on nopass ~* &* +@all', "user gateway on >of-the-gateway $rights"] } },
        extra => sub {
            my ($t) = @_;
            $t->secret('of-the-gateway');
            return 'redis_user gateway; redis_password_file ' . $t->write_file('redis.password', "of-the-gateway\n", 0600) . ';';
        });
    $t->start;
    is(scalar(grep { status($t, $_) == 204 } @keys), scalar @keys, 'each is served');
    is(status($t, $store->key), 401, 'one that there is not');
    ok(covered($t, @keys), 'and covered');
    my $slot = slot_of($store, $keys[0]);
    my $to = $cluster->other($slot);
    my $from = $cluster->begin_move($slot, $to);
    $from->cmd('MIGRATE', $to->{host}, $to->port, $store->name('credential', $store->digest($keys[0])), 0, 5000);
    sleep $LEASE + 0.2;
    for (1 .. 4) {
        my $r = $t->get('/', key => $keys[0]);
        is($r->status . ' ' . $r->header('X-Cache'), '204 miss', 'by way of ASK, and not kept');
    }
    unlike($t->log, qr/NOPERM|refuses|is down/, 'nothing is refused');
    $t->finish;
};

subtest 'over TLS' => sub {
    my ($t, $cluster, $store, @keys) = gateway(keys => 12, tls => 1, timeout => '1s',
        extra => sub { "redis_ssl_trusted_certificate @{[$_[1]{pki}->ca]};" });
    my $ca = $cluster->{pki}->ca;
    like($cluster->url, qr/^rediss\+cluster:/, 'rediss+cluster://');
    $t->start;
    is(scalar(grep { status($t, $_) == 204 } @keys), scalar @keys, 'each is served');
    ok(covered($t, @keys), 'and covered');
    my $opsauth = OpsAuth::Command->new($t, OPSAUTH_PEPPER_FILE => $store->pepper_file, OPSAUTH_KEY_PREFIX => 'live=op365_sk_live_',
        OPSAUTH_REDIS => $cluster->url);
    my ($exit, $out, $err) = $opsauth->run(qw(account show crm --cacert), $ca);
    is($exit, 0, 'the command, too') or diag $err;
    ($exit, $out, $err) = $opsauth->run(qw(account show crm));
    isnt($exit, 0, 'which verifies');
    $t->finish;
};

subtest 'nginx -t' => sub {
    my $t = OpsAuth::Test->new;
    $t->store(redis => $t->redis);
    my $conf = 'opsauth_store main { redis %%GROUP%%; pepper_file %%PEPPER%%; } server { location / { opsauth main; } }';
    for (['redis+cluster://127.0.0.1/1', qr/database 0 alone/], ['redis+cluster://127.0.0.1;cache 64k', qr/"cache" of 65536 bytes.*too small/]) {
        $t->var(GROUP => $_->[0]);
        like($t->config_error($conf), $_->[1], $_->[0]);
    }
    $t->finish;
};

done_testing();
