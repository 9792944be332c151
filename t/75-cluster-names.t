#!/usr/bin/perl

# A Redis Cluster whose nodes are known by host names, by nothing but their port,
# or are to have names and have none: by CLUSTER SLOTS and by redirections, for the
# gateway, which asks nginx' resolver, and for the command, which asks the system.

use strict;
use warnings;

use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(sleep);

use OpsAuth::Cluster;
use OpsAuth::Command;
use OpsAuth::Group qw($LEASE status cache settles covered);
use OpsAuth::Port;
use OpsAuth::Process;
use OpsAuth::Test;

plan skip_all => 'no 127.0.0.2 on this machine'
    unless IO::Socket::INET->new(Proto => 'udp', LocalAddr => '127.0.0.2', LocalPort => 0);

# so many that there are some on each node
sub gateway { return OpsAuth::Cluster->gateway(keys => 30, @_) }
sub slot_of { return OpsAuth::Cluster::slot_of(@_) }

my $name = sub { return "redis-$_[0].test" };

# http of a gateway whose name server knows the nodes, and nobody else does
sub resolver {
    my ($dns, @nodes) = @_;
    return sub {
        my ($t) = @_;
        $$dns = $t->dns;
        $$dns->answer(map { $name->($_) => '127.0.0.1' } @nodes ? @nodes : 1 .. 3);
        return 'resolver ' . $$dns->address . '; resolver_timeout 1s;';
    };
}

sub first_of { my ($cluster) = @_; return $cluster->url($cluster->node(1)) }

# what a node says to one who asks the wrong one for a key
sub redirection {
    my ($cluster, $store, $key) = @_;
    my $at = $cluster->other(slot_of($store, $key));
    return $at->try('HGET', $store->name('credential', $store->digest($key)), 'v')->{text};
}

# a slot moves, for a while it is in both; each time it is asked what is not kept
sub moves {
    my ($t, $cluster, $store, $key) = @_;
    my $slot = slot_of($store, $key);
    my $to = $cluster->other($slot);
    my $from = $cluster->begin_move($slot, $to);
    $from->cmd('MIGRATE', $to->{host}, $to->port, $store->name('credential', $store->digest($key)), 0, 5000);
    sleep $LEASE + 0.2;
    my $asked = join ' ', map { $_->status . ' ' . $_->header('X-Cache') } map { $t->get('/', key => $key) } 1 .. 2;
    my @ask = $from->try('HGET', $store->name('credential', $store->digest($key)), 'v')->{text};
    $_->cmd('CLUSTER', 'SETSLOT', $slot, 'NODE', $to->{cluster_id}) for $to, $from;
    delete $cluster->{seen};
    return ($asked, @ask);
}

# by the command, to one node and another
sub writes {
    my ($opsauth) = @_;
    for my $account (qw(erp pos hub)) {
        my ($exit, $out, $err) = $opsauth->run(qw(account create), $account, qw(--name X --tenant org_1));
        is($exit, 0, "the command writes $account") or diag $err;
    }
}

subtest 'host names' => sub {
    my $dns;
    my ($t, $cluster, $store, @keys) = gateway(group => { names => $name }, url => sub { first_of($_[1]) }, http => resolver(\$dns));
    like(redirection($cluster, $store, $keys[0]), qr/^MOVED \d+ redis-\d\.test:\d+$/, 'nodes send to one another by name');
    $t->start;
    is(scalar(grep { status($t, $_) == 204 } @keys), scalar @keys, 'each is served');
    ok(covered($t, @keys), 'and covered');
    my %asked = map { lc $_ => 1 } $dns->asked;
    is(join(' ', sort keys %asked), 'redis-1.test redis-2.test redis-3.test', 'nginx\' resolver was asked for all of them');

    my ($answers, $ask) = moves($t, $cluster, $store, $keys[0]);
    is($answers, '204 miss 204 miss', 'by way of ASK');
    like($ask, qr/^ASK \d+ redis-\d\.test:\d+$/, 'which names it, too');
    is(settles($t, $keys[0], 204), 204, 'and of MOVED');
    $store->revoke($keys[0]);
    is(settles($t, $keys[0], 401), 401, 'revoked where it came to');

    # names that come later, or change: another name is another node
    $_->cmd('CONFIG', 'SET', 'cluster-preferred-endpoint-type', 'ip') for $cluster->nodes;
    $cluster->move(slot_of($store, $keys[1]), $cluster->other(slot_of($store, $keys[1])));
    is(settles($t, $keys[1], 204), 204, 'addresses in place of names are followed');
    $_->cmd('CONFIG', 'SET', 'cluster-preferred-endpoint-type', 'hostname') for $cluster->nodes;
    $cluster->move(slot_of($store, $keys[2]), $cluster->other(slot_of($store, $keys[2])));
    is(settles($t, $keys[2], 204), 204, 'and names in place of addresses');
    unlike($t->log, qr/is down/, 'without trouble');
    $t->finish;
};

subtest 'host names, and nobody who knows them' => sub {
    my ($t, $cluster, $store, @keys) = gateway(workers => 1, group => { names => $name }, url => sub { first_of($_[1]) }, extra => 'stale off;');
    $t->allow_log(qr/is down/);
    $t->start;
    is(settles($t, $keys[0], 503), 503, 'nobody gets in');
    my $port = $cluster->owner(slot_of($store, $keys[0]))->port;
    my $line = qr/: redis "redis:\/\/redis-\d\.test:$port" of store "main" is down: its name can't be resolved: set nginx' "resolver" in http/;
    ok($t->wait_for_log($line), 'and why is told') or diag $t->log;
    for (1 .. 40) { status($t, $keys[0]); sleep 0.05 }
    is(scalar(() = $t->log =~ /$line/g), 1, 'once');

    # doctor reads in nginx.conf whether nginx can; what it finds it can't look up itself
    my $opsauth = OpsAuth::Command->new($t, OPSAUTH_PEPPER_FILE => $store->pepper_file);
    my $doctor = sub {
        my ($resolver) = @_;
        my $conf = $t->write_file('doctor.conf', "events { }\nhttp { $resolver opsauth_store main { redis " . first_of($cluster)
            . '; pepper_file ' . $store->pepper_file . "; } }\n");
        return ($opsauth->run('doctor', '--no-write', '-c', $conf))[1];
    };
    like($doctor->(''), qr/failure +cluster names +the cluster calls 3 of its nodes by host names that nginx does not look up, like "redis-\d\.test": .*\n\s+-> set nginx' resolver/,
        'doctor tells, too');
    like($doctor->('resolver 127.0.0.1;'), qr/ok +cluster names +nginx looks nodes up at each connect, like "redis-\d\.test"/, 'a resolver is all that is missing');
    $t->finish;
};

subtest 'one that the name server does not know' => sub {
    my $dns;
    my ($t, $cluster, $store, @keys) = gateway(group => { names => $name }, url => sub { first_of($_[1]) }, http => resolver(\$dns, 1, 2), extra => 'stale off;');
    $t->allow_log(qr/is down/);
    $t->start;
    my %on = map { $_ => [$cluster->of_node($store, $cluster->node($_), @keys)] } 1 .. 3;
    is(settles($t, $_->[0], 204), 204, 'others are served') for grep { @$_ } @on{1, 2};
    is(settles($t, $on{3}[0], 503), 503, 'what is on it is not');
    ok($t->wait_for_log(qr/"redis-3\.test" could not be resolved \(3: Host not found\)/), 'which is told');
    $dns->answer($name->(3) => '127.0.0.1');
    is(settles($t, $on{3}[0], 204), 204, 'until it is known');
    $t->finish;
};

# as a container that is started anew, elsewhere
subtest 'a name that leads to another address' => sub {
    my $dns;
    my ($t, $cluster, $store, @keys) = gateway(group => { names => $name, args => ['--appendonly', 'yes'] }, url => sub { first_of($_[1]) },
        http => resolver(\$dns), extra => 'stale off; cache_valid 300s;');
    $t->allow_log(qr/is down/);
    $t->start;
    my $node = $cluster->node(3);
    my @its = $cluster->of_node($store, $node, @keys);
    is(settles($t, $its[0], 204), 204, 'served');
    status($t, $_) for @keys;

    $node->kill;
    $node->{host} = '127.0.0.2';
    $node->{client} = $node->client;
    $node->start;
    $dns->answer($name->(3) => '127.0.0.2');
    is(settles($t, $its[0], 204), 204, 'served again, from there');
    ok(OpsAuth::Process->poll(20, sub { grep { $_->{name} =~ /^opsauth-main-/ } $node->clients }), 'by a connection to it');
    ok($cluster->wait(sub { $_[0]->cmd('CLUSTER', 'INFO') =~ /cluster_state:ok/ }), 'the others have found it, too');
    $store->revoke($its[0]);
    is(settles($t, $its[0], 401), 401, 'and what is revoked there is refused');
    ok(covered($t, @its[1 .. $#its]), 'its records are covered') if @its > 1;
    $t->finish;
};

# the command looks names up by the system, which knows this one; nginx has found
# it when it was started, on another port
subtest 'a name that stands in the URL' => sub {
    my ($t, $cluster, $store, @keys) = gateway(group => { names => sub { 'localhost' } }, url => sub { 'redis+cluster://LocalHost:' . $_[1]->node(1)->port });
    is($cluster->node(1)->cmd('CLUSTER', 'SLOTS')->[0][2][0], 'localhost', 'all are called so');
    $t->start;
    is(scalar(grep { status($t, $_) == 204 } @keys), scalar @keys, 'each is served, without a resolver');
    ok(covered($t, @keys), 'and covered');
    unlike($t->log, qr/is down/, 'without trouble');

    my $opsauth = OpsAuth::Command->new($t, OPSAUTH_PEPPER_FILE => $store->pepper_file, OPSAUTH_KEY_PREFIX => 'live=op365_sk_live_',
        OPSAUTH_REDIS => 'redis+cluster://127.0.0.1:' . $cluster->node(2)->port);
    my ($exit, $out, $err) = $opsauth->run(qw(account list));
    is($exit, 0, 'the command goes by names') or diag $err;
    writes($opsauth);
    my $slot = OpsAuth::Cluster::slot('opsauth:account:erp');
    my $to = $cluster->other($slot);
    my $from = $cluster->begin_move($slot, $to);
    $from->cmd('MIGRATE', $to->{host}, $to->port, 'opsauth:account:erp', 0, 5000);
    like($from->try('HGET', 'opsauth:account:erp', 'v')->{text}, qr/^ASK \d+ localhost:\d+$/, 'a redirection by name');
    ($exit, $out, $err) = $opsauth->run(qw(account show erp));
    is($exit, 0, 'is followed') or diag $err;
    $_->cmd('CLUSTER', 'SETSLOT', $slot, 'NODE', $to->{cluster_id}) for $to, $from;
    ($exit, $out, $err) = $opsauth->run(qw(doctor --no-write --redis), 'redis+cluster://localhost:' . $cluster->node(1)->port);
    is($exit, 0, 'doctor finds nothing wrong') or diag $out, $err;
    $t->finish;
};

# behind a balancer that has a port for each node: nodes do not know what they are
# called
for my $host (qw(127.0.0.1 localhost)) {
    subtest "nothing but ports, on $host" => sub {
        my ($t, $cluster, $store, @keys) = gateway(group => { endpoint => 'unknown-endpoint' },
            url => sub { "redis+cluster://$host:" . $_[1]->node(1)->port });
        is($cluster->node(1)->cmd('CLUSTER', 'SLOTS')->[0][2][0], undef, 'no node is named');
        like(redirection($cluster, $store, $keys[0]), qr/^MOVED \d+ :\d+$/, 'nor in a redirection');
        $t->start;
        is(scalar(grep { status($t, $_) == 204 } @keys), scalar @keys, 'each is served');
        ok(covered($t, @keys), 'and covered');
        my ($answers, $ask) = moves($t, $cluster, $store, $keys[0]);
        is($answers, '204 miss 204 miss', 'by way of ASK');
        like($ask, qr/^ASK \d+ :\d+$/, 'which names nobody');
        is(settles($t, $keys[0], 204), 204, 'and of MOVED');
        like($t->log, qr/tracking on redis "redis:..\Q$host\E:${\$cluster->node(2)->port}"/, 'they are where the first one is');
        unlike($t->log, qr/is down/, 'without trouble');

        my $opsauth = OpsAuth::Command->new($t, OPSAUTH_PEPPER_FILE => $store->pepper_file, OPSAUTH_REDIS => "redis+cluster://$host:" . $cluster->node(3)->port);
        writes($opsauth);
        $t->finish;
    };
}

subtest 'names that are wanted, and are not there' => sub {
    # not all at the address of the one that is asked
    my ($t, $cluster, $store, @keys) = gateway(group => { endpoint => 'hostname', server => sub { { host => $_[0] == 3 ? '127.0.0.2' : '127.0.0.1' } } },
        url => sub { first_of($_[1]) }, extra => 'stale off;');
    is($cluster->node(1)->cmd('CLUSTER', 'SLOTS')->[0][2][0], '?', 'no node has a name');
    like(redirection($cluster, $store, $keys[0]), qr/^MOVED \d+ \?:\d+$/, 'nor in a redirection');
    $t->start;
    is(settles($t, $_, 204), 204, 'found by its address') for map { ($cluster->of_node($store, $cluster->node($_), @keys))[0] } 1 .. 3;
    ok(covered($t, @keys), 'all are covered');
    my ($key) = $cluster->of_node($store, $cluster->node(1), @keys);
    $cluster->move(slot_of($store, $key), $cluster->node(3));
    is(settles($t, $key, 204), 204, 'also where its slot has moved');
    unlike($t->log, qr/is down/, 'without trouble');

    my $opsauth = OpsAuth::Command->new($t, OPSAUTH_PEPPER_FILE => $store->pepper_file, OPSAUTH_REDIS => first_of($cluster));
    my ($exit, $out, $err) = $opsauth->run(qw(account show crm));
    is($exit, 0, 'the command finds them, too') or diag $err;
    ($exit, $out, $err) = $opsauth->run('doctor', '--no-write');
    is(scalar(() = $out =~ /^warning +cluster names +127\.0\.0\.[12]:\d+ is to be known by a host name, and has none/mg), 3, 'doctor does not like that') or diag $out;
    $t->finish;
};

# as containers are, each with an address of its own
subtest 'one port, three addresses' => sub {
    my $port = OpsAuth::Port->take;
    my ($t, $cluster, $store, @keys) = gateway(group => { server => sub { return { host => "127.0.0.$_[0]", port => $port } } }, url => sub { first_of($_[1]) });
    $t->start;
    is(scalar(grep { status($t, $_) == 204 } @keys), scalar @keys, 'each is served');
    ok(covered($t, @keys), 'and covered');
    unlike($t->log, qr/is down/, 'without trouble');
    $t->finish;
};

# what a node with no name says while the command has the slots of a moment ago
subtest 'the command is sent to nobody' => sub {
    my $t = OpsAuth::Test->new;
    my ($one, $two) = map { $t->fake_redis(name => "FAKE$_") } 1 .. 2;
    my $store = $t->store(redis => $two);
    $store->account('crm');
    my $slot = OpsAuth::Cluster::slot('opsauth:account:crm');
    my $all_at = sub {
        my ($port) = @_;
        return { raw => "*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n\$1\r\n?\r\n:$port\r\n\$1\r\nx\r\n*2\r\n\$2\r\nip\r\n\$9\r\n127.0.0.1\r\n" };
    };
    $one->script('CLUSTER SLOTS' => [$all_at->($one->port), $all_at->($two->port)],
        'HGETALL opsauth:account:crm' => "-MOVED $slot ?:" . $two->port, 'HMGET opsauth:account:crm' => "-MOVED $slot ?:" . $two->port);
    $_->script(SSCAN => { raw => "*2\r\n\$1\r\n0\r\n*0\r\n" }) for $one, $two;
    my $opsauth = OpsAuth::Command->new($t, OPSAUTH_PEPPER_FILE => $store->pepper_file, OPSAUTH_REDIS => 'redis+cluster://' . $one->address);
    my ($exit, $out, $err) = $opsauth->run(qw(account show crm));
    is($exit, 0, 'it asks where slots are') or diag $err;
    is(scalar(grep { $_->{words}[1] eq 'SLOTS' } $one->commands('CLUSTER')), 2, 'once more');
    $t->finish;
};

# each node's certificate is for its name, and for no address
subtest 'TLS' => sub {
    my ($dns, $pki);
    my $t = OpsAuth::Test->new(workers => 2);
    $pki = $t->certificates;
    my %own = map { $_ => $pki->issue("redis-$_", dns => [$name->($_ == 3 ? 4 : $_)]) } 1 .. 3;
    my $cluster = OpsAuth::Cluster->new(test => $t, names => $name, args => ['--tls-cluster', 'yes'],
        server => sub { return { tls => { %{$own{$_[0]}}, ca => $pki->ca } } });
    my $store = $t->store(redis => $cluster);
    $store->account('crm');
    my @keys = map { $store->key } 1 .. 20;
    $store->credential($_, account => 'crm') for @keys;
    $t->var(HTTP => resolver(\$dns)->($t));
    $t->var(EXTRA => 'stale off; redis_ssl_trusted_certificate ' . $pki->ca . ';');
    $t->var(GROUP => 'rediss+cluster://' . join ',', map { $name->($_) . ':' . $cluster->node($_)->tls_port } 1, 2);
    $t->config_http(OpsAuth::Group::conf($t, timeout => '1s'));
    $t->allow_log(qr/is down/);
    $t->start;
    for my $i (1 .. 3) {
        my ($key) = $cluster->of_node($store, $cluster->node($i), @keys);
        is(settles($t, $key, $i == 3 ? 503 : 204), $i == 3 ? 503 : 204, $i == 3 ? 'one whose certificate is for another name is not' : 'a node with a certificate for its name is asked');
    }
    like($t->log, qr/redis "rediss:\/\/redis-1\.test:\d+": TLSv1\.[23]/, 'by TLS');
    ok($t->wait_for_log(qr/redis "rediss:\/\/redis-3\.test:\d+" of store "main" is down: its certificate is not for "redis-3\.test"/), 'which is told');
    $t->finish;
};

done_testing();
