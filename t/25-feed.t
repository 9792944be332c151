# The feed of changes, on a real Redis: what it announces, by which right it
# does, and what holds where it does not (docs/cache.md).

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::Command;
use OpsAuth::Process;
use OpsAuth::Test;

my $CONF = <<'CONF';
    log_format cache '$request_uri $opsauth_cache $opsauth_reason';
    access_log %%TESTDIR%%/access.log cache;
    opsauth_store main {
        redis %%REDIS%%; pepper_file %%PEPPER%%; %%EXTRA%%
        key_prefix op365_sk_live_ environment=live checksum=crc32;
    }
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        location / {
            opsauth main;
            add_header X-Tenant $opsauth_tenant;
            add_header X-Cache $opsauth_cache always;
            add_header X-Worker $pid always;
            try_files /none =204;
        }
    }
CONF

# the ACL lines as the documentation has them
sub acl {
    my ($user, $password) = @_;
    open my $fh, '<', OpsAuth::Test->root . '/docs/redis.md' or die "docs/redis.md: $!";
    my ($line) = grep { /^    ACL SETUSER $user / } <$fh>;
    die "no ACL of $user in docs/redis.md" unless $line;
    chomp $line;
    return split / /, $line =~ s/^\s+//r =~ s/>PASSWORD/>$password/r;
}

# a test with Redis, nginx and one account; redis => options
sub gateway {
    my (%o) = @_;
    my $t = OpsAuth::Test->new(workers => $o{workers} // 2);
    my $redis = $t->redis(%{$o{redis} // {}});
    my $extra = $o{extra} // 'lease 1s;';
    if ($o{acl}) {
        my $password = 'feed-' . int rand 1e9;
        $t->secret($password);
        $redis->cmd(map { s/>PASSWORD/>$password/r } @{$o{acl}});
        my $file = $t->write_file('redis.password', "$password\n", 0600);
        $extra .= " redis_user gateway; redis_password_file $file;";
    }
    $t->var(EXTRA => $extra);
    my $store = $t->store;
    $store->account('crm', tenant => 'v1');
    $t->config_http($CONF);
    $t->start;
    return ($t, $redis, $store, $store->issue(account => 'crm'));
}

sub seen { my ($t, $key) = @_; return $t->get('/', key => $key)->header('X-Tenant') // '' }

# true as soon as all workers answer with this tenant
sub everywhere {
    my ($t, $key, $tenant, $seconds) = @_;
    my %bad = map { $_ => 1 } $t->workers;
    return OpsAuth::Process->poll($seconds, sub {
        for (1 .. 8) {
            my $r = $t->get('/', key => $key);
            $bad{$r->header('X-Worker')} = ($r->header('X-Tenant') // '') ne $tenant;
        }
        !grep { $_ } values %bad;
    });
}

sub hmgets { my ($redis) = @_; return $redis->calls('hmget') }

subtest 'tracking' => sub {
    my ($t, $redis, $store, $key) = gateway();
    ok($t->wait_for_log(qr/feed of store "main": tracking/), 'the mode is logged');

    sleep 0.1;                          # what was read before is not covered
    is($t->get('/', key => $key)->status, 204) for 1 .. 4;
    sleep 1.2;
    my $before = hmgets($redis);
    is($t->get('/', key => $key)->header('X-Cache'), 'hit', 'hit beyond the lease') for 1 .. 8;
    is(hmgets($redis) - $before, 0, 'Redis is not asked');

    for my $n (2 .. 6) {
        $store->update_account('crm', tenant => "v$n");
        ok(everywhere($t, $key, "v$n", 5), "change $n is in force");
    }

    # the lease is 60 s here: only the push can do that
    $store->revoke($key);
    ok(OpsAuth::Process->poll(5, sub { $t->get('/', key => $key)->status == 401 }), 'revoked');

    my $new = $store->issue(account => 'crm');
    is($t->get('/', key => $new)->status, 204, 'another key');
    $redis->cmd('DEL', $store->name('credential', $store->digest($new)));
    ok(OpsAuth::Process->poll(5, sub { $t->get('/', key => $new)->status == 401 }), 'deleted');
    $t->finish;
};

subtest 'what only the push can do' => sub {
    my ($t, $redis, $store, $key) = gateway(extra => 'lease 60s; cache_valid 10m; cache_negative 10m;');
    $t->wait_for_log(qr/tracking/);
    is(seen($t, $key), 'v1');
    $store->update_account('crm', tenant => 'v2');
    ok(everywhere($t, $key, 'v2', 5), 'a change');

    my $raw = $store->key;
    is($t->get('/', key => $raw)->status, 401, 'unknown, and cached as such');
    $store->credential($raw, account => 'crm');
    ok(OpsAuth::Process->poll(5, sub { $t->get('/', key => $raw)->status == 204 }), 'then made');

    is(seen($t, $key), 'v2');
    my @many = map { ($store->name('credential', sprintf '%064x', $_) => 'x') } 1 .. 5000;
    $redis->cmd('MSET', @many);
    is(seen($t, $key), 'v2', 'a message of 5000 keys');
    $store->update_account('crm', tenant => 'v3');
    ok(everywhere($t, $key, 'v3', 5), 'the feed goes on after it');

    # whoever may PUBLISH there is no source of truth
    my $before = hmgets($redis);
    $redis->cmd('PUBLISH', '__redis__:invalidate', $_)
        for $store->name('account', 'crm'), '*', 'x' x 100_000;
    is(seen($t, $key), 'v3', 'a message by PUBLISH') for 1 .. 4;
    $store->update_account('crm', tenant => 'v4');
    ok(everywhere($t, $key, 'v4', 5), 'the feed goes on after that too');

    $redis->cmd('FLUSHALL');
    ok(OpsAuth::Process->poll(5, sub { $t->get('/', key => $key)->status == 503 }),
        'FLUSHALL: nobody is known any more, and that is no 401');
    $t->finish;
};

subtest 'the feed is lost' => sub {
    my ($t, $redis, $store, $key) = gateway();
    $t->wait_for_log(qr/tracking/);
    is(seen($t, $key), 'v1');
    for my $n (2 .. 6) {
        $redis->cmd('CLIENT', 'KILL', 'TYPE', 'pubsub');
        $store->update_account('crm', tenant => "v$n");
        ok(everywhere($t, $key, "v$n", 5), "killed, change $n");
    }
    $redis->pause;
    sleep 1.5;
    $redis->resume;
    $store->update_account('crm', tenant => 'v7');
    ok(everywhere($t, $key, 'v7', 8), 'stopped and continued');
    my $pid = $t->kill9_worker;
    $store->update_account('crm', tenant => 'v8');
    ok(everywhere($t, $key, 'v8', 8), 'a worker killed');
    $t->finish;
};

subtest 'reload keeps the cache warm' => sub {
    my ($t, $redis, $store, $key) = gateway();
    $t->wait_for_log(qr/tracking/);
    sleep 0.1;                          # what was read before is not covered
    is($t->get('/', key => $key)->status, 204);
    sleep 1.2;
    for (1 .. 3) {
        my $mark = $t->mark;
        $t->reload;
        $t->wait_for_log(qr/tracking/, since => $mark);
        sleep 1.2;
        my $before = hmgets($redis);
        my $r = $t->get('/', key => $key);
        # the master gives new workers 100 ms until it ends the old ones
        SKIP: {
            skip 'under valgrind no new worker has a feed before the old ones end', 1 if $ENV{TEST_NGINX_VALGRIND};
            is($r->header('X-Cache'), 'hit', 'hit after a reload, beyond the lease');
        }
    }
    $store->update_account('crm', tenant => 'v2');
    ok(everywhere($t, $key, 'v2', 5), 'and the push goes on');
    $t->finish;
};

subtest 'the documented rights are enough' => sub {
    my ($t, $redis, $store, $key) = gateway(acl => [acl('gateway', 'PASSWORD')]);
    ok($t->wait_for_log(qr/feed of store "main": tracking/), 'tracking');
    is(seen($t, $key), 'v1');
    $store->update_account('crm', tenant => 'v2');
    ok(everywhere($t, $key, 'v2', 5), 'a change');
    unlike($t->log, qr/NOPERM|WRONGPASS/, 'nothing was refused');

    my @log = @{$redis->cmd('ACL', 'LOG')};
    is(scalar @log, 0, 'nor in Redis\' own log') or diag(explain(\@log));

    my $password = $t->write_file('operator.password', "operator-secret\n", 0600);
    $t->secret('operator-secret');
    $redis->cmd(acl('operator', 'operator-secret'));
    my $opsauth = OpsAuth::Command->new($t,
        OPSAUTH_REDIS => $redis->url, OPSAUTH_PEPPER_FILE => $store->pepper_file,
        OPSAUTH_KEY_PREFIX => 'live=op365_sk_live_', OPSAUTH_REDIS_USER => 'operator',
        OPSAUTH_REDIS_PASSWORD_FILE => $password);
    my %key;
    for my $words (
        [qw(account create ops --tenant t)], [qw(account set ops --tenant t2)],
        [qw(account list)], [qw(account show ops)], [qw(account disable ops)],
        [qw(account enable ops)], [qw(--json key create --account ops --name ops --permission read)],
        [qw(key list)], [qw(key list --account ops)], [qw(token issue --account ops --scope a)],
    ) {
        my ($exit, $out, $err) = $opsauth->run(@$words);
        is($exit, 0, "opsauth @$words") or diag($err);
        $key{id} = $1 if $out =~ /"id":\s*"(key_\w+)"/;
        $t->secret($1) if $out =~ /"key":\s*"([^"]+)"/;
    }
    is(($opsauth->run('key', 'show', $key{id}))[0], 0, 'key show');
    my ($exit, $out, $err) = $opsauth->run('key', 'rotate', $key{id});
    is($exit, 0, 'key rotate') or diag($err);
    $t->secret($out =~ /(\S+)/);
    my $replica = $t->redis(name => 'REPLICA', args => ['--replicaof', '127.0.0.1', $redis->port]);
    OpsAuth::Process->poll(20, sub { $redis->cmd('INFO', 'replication') =~ /state=online/ });
    for my $words (['key', 'revoke', $key{id}], [qw(account disable ops)], [qw(account delete ops --yes)]) {
        ($exit, $out, $err) = $opsauth->run(@$words, '--wait');
        is($exit, 0, "@$words --wait") or diag($err);
        like($err, qr/1 replica of Redis acknowledged it/, 'in force');
    }
    is(scalar @{$redis->cmd('ACL', 'LOG')}, 0, 'nothing was refused');
    $t->finish;
};

subtest 'without the right to track: the channel' => sub {
    my @acl = grep { !/tracking/ } acl('gateway', 'PASSWORD');
    my ($t, $redis, $store, $key) = gateway(acl => \@acl,
        extra => 'lease 2s; cache_valid 10m;');
    ok($t->wait_for_log(qr/\[warn\].*feed of store "main".*channel/), 'the mode is logged');
    is(seen($t, $key), 'v1');

    my $opsauth = OpsAuth::Command->new($t,
        OPSAUTH_REDIS => $redis->url, OPSAUTH_PEPPER_FILE => $store->pepper_file,
        OPSAUTH_KEY_PREFIX => 'live=op365_sk_live_');
    my $asked = 0;
    for my $n (2 .. 4) {
        seen($t, $key);
        is(($opsauth->run(qw(account set crm --tenant), "v$n"))[0], 0, 'opsauth account set');
        ok(everywhere($t, $key, "v$n", 5), "change $n by the command");
    }
    $store->update_account('crm', tenant => 'v9');
    ok(everywhere($t, $key, 'v9', 8), 'a change by others, within the lease');
    $redis->cmd('PUBLISH', 'opsauth:invalidate', $_) for '*', 'nonsense', '', "\0" x 1000;
    is(seen($t, $key), 'v9', 'whatever is published');
    $t->finish;
};

subtest 'without any right to listen' => sub {
    my @acl = grep { !/tracking|subscribe/ } acl('gateway', 'PASSWORD');
    my ($t, $redis, $store, $key) = gateway(acl => \@acl);
    ok($t->wait_for_log(qr/feed of store "main".*off/), 'the mode is logged');
    is(seen($t, $key), 'v1');
    $store->update_account('crm', tenant => 'v2');
    ok(everywhere($t, $key, 'v2', 8), 'the lease holds');
    $t->finish;
};

subtest 'refresh-ahead' => sub {
    my ($t, $redis, $store, $key) = gateway(workers => 1, extra => 'lease 500ms; cache_valid 2s;');
    $t->wait_for_log(qr/tracking/);
    my $end = time + 6;
    my (%cache, $n);
    while (time < $end) { $cache{$t->get('/', key => $key)->header('X-Cache')}++; $n++; sleep 0.02 }
    cmp_ok($cache{miss} // 0, '<=', 2, "in use, a record is read before it ends ($n requests)");
    cmp_ok(hmgets($redis), '>=', 6, 'and it was read again');
    cmp_ok(hmgets($redis), '<=', 40, 'not all the time');
    $t->finish;
};

subtest 'helpers and further workers have none' => sub {
    my $t = OpsAuth::Test->new(workers => 4);
    my $redis = $t->redis;
    $t->store;
    $t->var(EXTRA => 'lease 1s;');
    $t->config_http("    proxy_cache_path %%TESTDIR%%/cache keys_zone=c:1m;\n$CONF");
    $t->start;
    $t->wait_for_log(qr/tracking/);
    sleep 0.3;
    my @feeds = $redis->cmd('CLIENT', 'LIST') =~ /name=(opsauth-main-\d+-feed)/g;
    is_deeply([sort @feeds], ['opsauth-main-0-feed', 'opsauth-main-1-feed'], 'two feeds');
    $t->finish;
};

done_testing();
