#!/usr/bin/perl

# On a Redis Cluster: the token service, usage, quotas that nodes share; and nodes
# that send others away, or answer as they should not.

use strict;
use warnings;

use List::Util qw(sum0);
use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::Cluster;
use OpsAuth::Group;
use OpsAuth::OAuth;
use OpsAuth::Process;
use OpsAuth::Test;

subtest 'tokens, usage, quotas' => sub {
    my $t = OpsAuth::Test->new(workers => 2);
    my $cluster = OpsAuth::Cluster->new(test => $t);
    my $store = $t->store(redis => $cluster);
    my $o = OpsAuth::OAuth->new(t => $t, store => $store);
    $t->var(REDIS => $cluster->url);
    $t->config_http($o->conf(store => 'usage on; usage_interval 200ms; rate_sync on;',
        server => 'location /limited { opsauth main; opsauth_rate default=100/h; empty_gif; }'));
    $store->account('acme');
    $store->account('short', refresh => 1);
    $o->client('app');
    $o->client('web', account => 'short', grants => 'authorization_code refresh_token', redirect_uris => 'https://app.test/cb');
    $t->start;

    my @tokens;
    for (1 .. 8) {
        my $r = $o->post('token', { client => 'app' }, grant_type => 'client_credentials');
        is($r->status, 200, 'a token') or diag $r->body, $t->log;
        push @tokens, $r->json->{access_token};
    }
    my %nodes = map { $cluster->owner(OpsAuth::Cluster::slot($store->name('credential', $store->digest($_))))->port => 1 } @tokens;
    cmp_ok(scalar keys %nodes, '>', 1, 'on several nodes');
    is($t->get('/api/', key => $_)->status, 200, 'it opens the API') for @tokens;
    is(OpsAuth::OAuth::said($o->post('token', { client => 'ghost', secret => 'x' }, grant_type => 'client_credentials')), '401 invalid_client', 'no such client');

    my ($code, $verifier) = $o->code(client => 'web', account => 'short');
    my $login = $o->post('token', { client => 'web' }, grant_type => 'authorization_code', code => $code, code_verifier => $verifier,
        redirect_uri => 'https://app.test/cb');
    is($login->status, 200, 'a code is redeemed') or diag $login->body;
    my $again = $o->post('token', { client => 'web' }, grant_type => 'refresh_token', refresh_token => $login->json->{refresh_token});
    is($again->status, 200, 'a token is refreshed') or diag $again->body;
    is($t->get('/api/', key => $again->json->{access_token})->status, 200, 'and opens the API');

    # slots of the scripts' keys move
    my $slot = OpsAuth::Cluster::slot($store->name('client', 'app'));
    $cluster->move($slot, (grep { $_ != $cluster->owner($slot) } $cluster->nodes)[0]);
    is($o->post('token', { client => 'app' }, grant_type => 'client_credentials')->status, 200, 'after its slot has moved');
    is($o->post('revoke', { client => 'app' }, token => $tokens[0])->status, 200, 'a token is revoked');
    ok(OpsAuth::Process->poll(10, sub { $t->get('/api/', key => $tokens[0])->status == 401 }), 'and opens it no more');

    # usage, flushed to where each credential's is
    my %ids = map { $_ => $store->read_credential($_)->{id} } @tokens[1 .. 7];
    $_->cmd('SCRIPT', 'FLUSH') for $cluster->nodes;
    ok(OpsAuth::Process->poll(15, sub {
        for my $id (values %ids) {
            my %u = @{$cluster->cmd('HGETALL', $store->name('usage', $id))};
            return 0 unless 1 == sum0 map { $u{$_} } grep { /^requests:/ } keys %u;
        }
        return 1;
    }), 'each use is counted');

    # quotas
    my @keys = map { $store->issue(account => $store->account("rated$_", rate => '5/h')) } 1 .. 4;
    for my $key (@keys) {
        my %seen;
        $seen{$t->get('/limited', key => $key)->status}++ for 1 .. 8;
        is(($seen{200} // 0) . ' ' . ($seen{429} // 0), '5 3', 'so many, and no more') or diag explain \%seen;
    }
    $t->finish;
};

subtest 'nodes that send to one another' => sub {
    my $t = OpsAuth::Test->new(workers => 2);
    my ($one, $two) = map { $t->fake_redis(name => "FAKE$_") } 1 .. 2;
    my $store = $t->store(redis => $one);
    $store->account('crm');
    my $key = $store->key;
    $store->credential($key, account => 'crm');
    my $slot = OpsAuth::Cluster::slot($store->name('credential', $store->digest($key)));
    $t->var(GROUP => 'redis+cluster://' . join ',', map { $_->address } $one, $two);
    $t->var(EXTRA => 'stale off;');
    $t->config_http(OpsAuth::Group::conf($t));
    $t->allow_log(qr/./);

    $one->script(HMGET => "-MOVED $slot 127.0.0.1:" . $two->port);
    $two->script(HMGET => "-MOVED $slot 127.0.0.1:" . $one->port);
    $t->start;
    is($t->get('/', key => $key)->status, 503, 'for ever: 503') for 1 .. 5;
    my $calls = sum0 map { $_->count('HMGET') } $one, $two;
    # with those of the greetings; a machine that is busy may leave out some
    cmp_ok($calls, '<', 100, 'after a few turns');
    cmp_ok($calls, '>=', 3, 'but not after the first');

    for my $reply ("-ASK $slot 127.0.0.1:" . $two->port, '-MOVED', '-MOVED x y', "-MOVED $slot nowhere", "-MOVED $slot 127.0.0.1:0", "-MOVED $slot 127.0.0.1:99999",
        '-MOVED 99999 127.0.0.1:1', '-ASK ' . $slot . ' ::::1', "-MOVED $slot " . 'a' x 300 . ':1', '-TRYAGAIN', '-CLUSTERDOWN The cluster is down', '-CROSSSLOT no', '-LOADING', '-MOVED ' . ($slot ^ 1) . ' 127.0.0.1:' . $two->port)
    {
        $_->script(HMGET => $reply) for $one, $two;
        is($t->get('/', key => $key)->status, 503, substr($reply, 0, 40) . ': 503') for 1 .. 2;
    }
    $_->script(HMGET => undef) for $one, $two;
    $two->script("HMGET $_" => '-MOVED ' . OpsAuth::Cluster::slot($_) . ' 127.0.0.1:' . $one->port)
        for $store->name('credential', $store->digest($key)), $store->name('account', 'crm');
    ok(OpsAuth::Process->poll(30, sub { $t->get('/', key => $key)->status == 204 }), 'served as soon as one behaves');
    $t->finish;
};

# each of them gets a cell among 64, and the connections to the ones before are
# given up
subtest 'nodes that come and go' => sub {
    my $t = OpsAuth::Test->new(workers => 2);
    my $one = $t->fake_redis(name => 'FAKE');
    my $store = $t->store(redis => $one);
    $store->account('crm');
    my $key = $store->key;
    $store->credential($key, account => 'crm');
    my $slot = OpsAuth::Cluster::slot($store->name('credential', $store->digest($key)));
    $t->var(GROUP => 'redis+cluster://' . $one->address);
    $t->var(EXTRA => 'stale off;');
    $t->config_http(OpsAuth::Group::conf($t));
    $t->allow_log(qr/./);
    my $port = $one->port;
    $one->script('CLUSTER INFO' => { bulk => "cluster_current_epoch:3\r\n" },
        'CLUSTER SLOTS' => { raw => "*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n\$0\r\n\r\n:$port\r\n\$1\r\nx\r\n" });
    $t->start;
    is($t->get('/', key => $key)->status, 204, 'served');
    my @workers = sort $t->workers;
    my $name = $store->name('credential', $store->digest($key));
    my $n = 0;
    for my $i (1 .. 150) {
        # nobody is there; where slots are is asked again, and the first one says so again
        $one->script("HMGET $name" => ["-MOVED $slot 127.1.$i.1:" . $t->port('NOBODY'), 'default']);
        $store->update($key, name => "n$i");
        $n += $t->get('/', key => $key)->status == 503;
    }
    cmp_ok($n, '>', 0, 'sent away') or diag $n;
    $one->script("HMGET $name" => undef);
    ok(OpsAuth::Process->poll(30, sub { $t->get('/', key => $key)->status == 204 }), 'served again');
    is("@{[sort $t->workers]}", "@workers", 'by the same workers');
    $t->finish;
};

subtest 'what CLUSTER SLOTS may say' => sub {
    my $t = OpsAuth::Test->new(workers => 1);
    my $one = $t->fake_redis(name => 'FAKE');
    my $store = $t->store(redis => $one);
    $store->account('crm');
    my $key = $store->key;
    $store->credential($key, account => 'crm');
    $t->var(GROUP => 'redis+cluster://' . $one->address);
    $t->var(EXTRA => 'stale off;');
    $t->config_http(OpsAuth::Group::conf($t));
    $t->allow_log(qr/./);
    my $port = $one->port;
    my $whole = sub { my ($host) = @_; return { raw => "*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$host\r\n:$port\r\n\$1\r\nx\r\n" } };
    $one->script('CLUSTER INFO' => { bulk => "cluster_current_epoch:3\r\n" });
    my @wrong = ('-ERR This instance has cluster support disabled', '-NOPERM no', ':1', '+OK', 'nil', { raw => "*0\r\n" }, { raw => "*1\r\n:1\r\n" },
        { raw => "*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n\$1\r\na\r\n:1\r\n" }, { raw => "*1\r\n*3\r\n:5\r\n:1\r\n*2\r\n\$1\r\na\r\n:1\r\n" },
        { raw => "*1\r\n*3\r\n:-1\r\n:1\r\n*2\r\n\$1\r\na\r\n:1\r\n" }, { raw => "*1\r\n*2\r\n:0\r\n:1\r\n" }, { raw => "*1\r\n*3\r\n:0\r\n:1\r\n*0\r\n" },
        { raw => "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n:1\r\n:1\r\n" }, { raw => "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n\$3\r\na b\r\n:1\r\n" },
        { raw => "*1000000\r\n" }, 'silence', 'close');
    $one->script('CLUSTER SLOTS' => [@wrong, 'default']);
    $t->start;
    is($t->get('/', key => $key)->status, 204, 'served by the one that is asked');
    ok(OpsAuth::Process->poll(60, sub { $t->get('/', key => $key); @wrong <= grep { $_->{words}[1] eq 'SLOTS' } $one->commands('CLUSTER') }), 'whatever it tells');

    # the same node, by no address, and by names for none
    for my $host ("\$-1", "\$0\r\n", "\$1\r\n?") {
        $one->script('CLUSTER SLOTS' => $whole->($host));
        ok(OpsAuth::Process->poll(20, sub { $t->get('/', key => $key)->status == 204 }), 'served');
    }
    ok(OpsAuth::Process->poll(20, sub { $t->log =~ /tracking on redis "redis:..127\.0\.0\.1:$port"/ }), 'with a feed, where it has told no address');
    $t->finish;
};

done_testing();
