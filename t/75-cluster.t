#!/usr/bin/perl

# A Redis Cluster: records are found wherever their slot is, changes are told by
# each primary, slots that move are followed.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::Cluster;
use OpsAuth::Command;
use OpsAuth::Process;
use OpsAuth::Test;

my $LEASE = 0.5;

my $CONF = <<"CONF";
    opsauth_store main {
        redis %%GROUP%%; pepper_file %%PEPPER%%; %%EXTRA%%
        lease ${\($LEASE * 1000)}ms; redis_timeout 250ms; cache_negative 100ms;
        key_prefix op365_sk_live_ environment=live checksum=crc32;
    }
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        opsauth main;
        location / {
            add_header X-Cache \$opsauth_cache always;
            add_header X-Reason \$opsauth_reason always;
            add_header X-Worker \$pid always;
            try_files /none =204;
        }
    }
CONF

sub gateway {
    my (%o) = @_;
    my $t = OpsAuth::Test->new(workers => $o{workers} // 2);
    my $cluster = OpsAuth::Cluster->new(test => $t, %{$o{cluster} // {}});
    my $store = $t->store(redis => $cluster);
    $store->account('crm');
    my @keys = map { $store->key } 1 .. $o{keys} // 30;
    $store->credential($_, account => 'crm') for @keys;
    $t->var(GROUP => $o{url} ? $o{url}->($cluster) : $cluster->url);
    $t->var(EXTRA => $o{extra} // '');
    $t->config_http($CONF);
    return ($t, $cluster, $store, @keys);
}

sub status { my ($t, $key) = @_; return $t->get('/', key => $key)->status }
sub cache  { my ($t, $key) = @_; return $t->get('/', key => $key)->header('X-Cache') }

sub slot_of { my ($store, $key) = @_; return OpsAuth::Cluster::slot($store->name('credential', $store->digest($key))) }

# covered by the feed of each primary: what was read before is served from the cache
sub covered {
    my ($t, @keys) = @_;
    my ($n, $uncovered) = (0, 0);
    OpsAuth::Process->poll(20, sub {
        status($t, $_) for @keys;
        sleep $LEASE + 0.2;
        $uncovered = grep { cache($t, $_) ne 'hit' } @keys;
        return $uncovered == 0;
    });
    return $uncovered == 0;
}

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
    my ($t, $cluster, $store, @keys) = gateway(extra => 'cache_valid 300s;');
    $t->config_http($CONF =~ s/lease \S+;/lease 30s;/r);
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

# The users of the documentation, and nothing more: that they have all rights.
sub rights {
    my ($user) = @_;
    open my $fh, '<', OpsAuth::Test->root . '/docs/redis.md' or die $!;
    local $/;
    my $text = <$fh>;
    my ($rights) = $text =~ /^    ACL SETUSER $user on >PASSWORD (.*)$/m or die "no $user";
    my ($more) = $text =~ /^    ACL SETUSER gateway (\+cluster.*)$/m or die 'no rights for a cluster';
    return "$rights $more";
}

subtest 'with a user of its own' => sub {
    my ($t, $cluster, $store, @keys) = gateway(
        cluster => { server => { acl => ['user default on nopass ~* &* +@all', 'user gateway on >of-the-gateway ' . rights('gateway')] } });
    $t->secret('of-the-gateway');
    my $file = $t->write_file('redis.password', "of-the-gateway\n", 0600);
    $t->var(EXTRA => "redis_user gateway; redis_password_file $file;");
    $t->config_http($CONF);
    $t->start;
    is(scalar(grep { status($t, $_) == 204 } @keys), scalar @keys, 'each is served');
    is(status($t, $store->key), 401, 'one that there is not');
    ok(covered($t, @keys), 'and covered');
    my $slot = slot_of($store, $keys[0]);
    my ($from, $to) = ($cluster->owner($slot), (grep { $_ != $cluster->owner($slot) } $cluster->nodes)[0]);
    $to->cmd('CLUSTER', 'SETSLOT', $slot, 'IMPORTING', $from->{cluster_id});
    $from->cmd('CLUSTER', 'SETSLOT', $slot, 'MIGRATING', $to->{cluster_id});
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
    my $t = OpsAuth::Test->new(workers => 2);
    my $pki = $t->certificates;
    my $own = $pki->issue('redis', ip => ['127.0.0.1']);
    my $cluster = OpsAuth::Cluster->new(test => $t, args => ['--tls-cluster', 'yes'],
        server => { tls => { cert => $own->{cert}, key => $own->{key}, ca => $pki->ca } });
    my $store = $t->store(redis => $cluster);
    $store->account('crm');
    my @keys = map { $store->key } 1 .. 12;
    $store->credential($_, account => 'crm') for @keys;
    like($cluster->url, qr/^rediss\+cluster:/, 'rediss+cluster://');
    $t->var(GROUP => $cluster->url);
    $t->var(EXTRA => 'redis_ssl_trusted_certificate ' . $pki->ca . ';');
    $t->config_http($CONF);
    $t->start;
    is(scalar(grep { status($t, $_) == 204 } @keys), scalar @keys, 'each is served');
    ok(covered($t, @keys), 'and covered');
    my $opsauth = OpsAuth::Command->new($t, OPSAUTH_PEPPER_FILE => $store->pepper_file, OPSAUTH_KEY_PREFIX => 'live=op365_sk_live_',
        OPSAUTH_REDIS => $cluster->url);
    my ($exit, $out, $err) = $opsauth->run(qw(account show crm --cacert), $pki->ca);
    is($exit, 0, 'the command, too') or diag $err;
    ($exit, $out, $err) = $opsauth->run(qw(account show crm));
    isnt($exit, 0, 'which verifies');
    $t->finish;
};

subtest 'nginx -t' => sub {
    my $t = OpsAuth::Test->new;
    $t->store(redis => $t->redis);
    $t->var(EXTRA => '');
    for (['redis+cluster://127.0.0.1/1', qr/database 0 alone/], ['redis+cluster://127.0.0.1;cache 64k', qr/"cache" of 65536 bytes.*too small/]) {
        $t->var(GROUP => $_->[0]);
        like($t->config_error($CONF), $_->[1], $_->[0]);
    }
    $t->finish;
};

done_testing();
