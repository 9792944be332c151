# Coverage belongs to one server (docs/cache.md): two real ones at one
# address, as before and after a failover. The one that was replaced still
# answers, and must not be believed.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::Process;
use OpsAuth::Store;
use OpsAuth::Test;

my $CONF = <<'CONF';
    opsauth_store main {
        redis unix:%%LINK%%; pepper_file %%PEPPER%%; %%LOGIN%% %%EXTRA%%
        redis_timeout 2s;
        key_prefix op365_sk_live_ environment=live checksum=crc32;
    }
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        location / {
            opsauth main;
            add_header X-Tenant $opsauth_tenant always;
            add_header X-Cache $opsauth_cache always;
            add_header X-Worker $pid always;
            try_files /none =204;
        }
    }
CONF

# a gateway with two workers, an address that can be made to lead elsewhere, and
# two servers with the same records
sub gateway {
    my (%o) = @_;
    my $t = OpsAuth::Test->new(workers => 2);
    my @redis = map { $t->redis(name => $_, unix => 1) } qw(OLD NEW);
    my $store = $t->store(redis => $redis[0]);
    my $other = OpsAuth::Store->new(redis => $redis[1], pepper => [@{$store->{peppers}}],
        secret => sub { $t->secret(@_) })->marker;
    $t->var(EXTRA => $o{extra} // 'lease 1s;');
    $t->var(LINK => $t->dir . '/redis.sock');
    my $password = 'one-server-' . int rand 1e9;
    $t->secret($password);
    my $file = $t->write_file('redis.password', "$password\n", 0600);
    $t->var(LOGIN => "redis_user gateway; redis_password_file $file;");
    $_->cmd(qw(ACL SETUSER gateway on), ">$password", qw(~* &* +@all), @{$o{refuse} // []}) for @redis;
    lead($t, $redis[0]);
    my @keys = map { $store->key } 1 .. 4;
    for my $s ($store, $other) {
        $s->account('crm', tenant => $s == $store ? 'old' : 'new');
        $s->credential($_, account => 'crm') for @keys;
    }
    $t->config_http($CONF);
    $t->start;
    return ($t, @redis, $store, $other, @keys);
}

# the address leads to this server from now on
sub lead {
    my ($t, $redis) = @_;
    my $link = $t->dir . '/redis.sock';
    unlink "$link.new";
    symlink $redis->address, "$link.new" or die "symlink: $!";
    rename "$link.new", $link or die "rename: $!";
}

# ids of the feeds' connections that listen already
sub feeds {
    my ($redis) = @_;
    my @ids = $redis->cmd('CLIENT', 'LIST') =~ /^id=(\d+) .* name=opsauth-main-\d+-feed .* sub=[12] /mg;
    return @ids;
}

sub cut_feeds {
    my ($redis) = @_;
    my @feeds = feeds($redis);
    $redis->try('CLIENT', 'KILL', 'ID', $_) for @feeds;
    return scalar @feeds;
}

sub both_feeds {
    my ($redis, $name) = @_;
    ok(OpsAuth::Process->poll(5, sub { feeds($redis) == 2 }), $name);
}

# asks until both workers have answered so often; {worker}{answer} => n
sub ask {
    my ($t, $key, $n) = @_;
    my %seen;
    for (1 .. 400) {
        my $r = $t->get('/', key => $key);
        my $said = $r->status == 204 ? $r->header('X-Tenant') : $r->status;
        push @{$seen{$r->header('X-Worker') // '-'}}, $said;
        last if keys %seen == 2 && !grep { @$_ < $n } values %seen;
    }
    return \%seen;
}

# every answer is one of these
sub only {
    my ($seen, $re, $name) = @_;
    is(scalar keys %$seen, 2, "$name: both workers answered");
    is_deeply([grep { !/$re/ } map { @$_ } values %$seen], [], $name);
}

subtest 'the old server still answers' => sub {
    my ($t, $old, $new, $store, $other, @keys) = gateway();
    both_feeds($old, 'two feeds');
    sleep 0.2;
    only(ask($t, $keys[0], 4), '^old$', 'before');

    # the failover: revoked on the new one alone, only the feeds are cut
    $other->revoke($keys[0]);
    lead($t, $new);
    is(cut_feeds($old), 2, 'the feeds are cut, the links for reading are not');
    both_feeds($new, 'both feeds are on the new one');
    sleep 0.05;
    only(ask($t, $keys[0], 8), '^401$', 'what the new one revoked');
    only(ask($t, $keys[1], 8), '^new$', 'never asked before');
    is(scalar $old->clients, 0, 'nobody asks the old one any more');

    # and what comes now is the new one's to tell
    $other->update_account('crm', tenant => 'newer');
    ok(OpsAuth::Process->poll(5, sub {
        my $seen = ask($t, $keys[1], 4);
        return !grep { $_ ne 'newer' } map { @$_ } values %$seen;
    }), 'a change there is in force');
    $t->finish;
};

subtest 'one feed is thawed after the other one moved' => sub {
    my ($t, $old, $new, $store, $other, @keys) = gateway();
    both_feeds($old, 'two feeds');
    sleep 0.2;
    only(ask($t, $keys[0], 4), '^old$', 'before');

    # frozen: whoever waits for it gives up after the lease and resolves anew
    $old->pause;
    $other->revoke($keys[0]);
    lead($t, $new);
    both_feeds($new, 'the feeds find the new one');
    $old->resume;
    only(ask($t, $keys[0], 8), '^401$', 'after the thaw');
    sleep 1.1;
    only(ask($t, $keys[0], 8), '^401$', 'and a lease later');
    only(ask($t, $keys[2], 8), '^new$', 'never asked before');
    $t->finish;
};

subtest 'coverage of the new one has lapsed' => sub {
    my ($t, $old, $new, $store, $other, @keys) = gateway(extra => 'lease 500ms;');
    both_feeds($old, 'two feeds');
    sleep 0.2;
    only(ask($t, $keys[0], 4), '^old$', 'before');
    $other->revoke($keys[0]);
    lead($t, $new);
    cut_feeds($old);
    both_feeds($new, 'both feeds are on the new one');

    # no feed can come back: nothing certifies, and yet the old one is out
    $new->cmd(qw(ACL SETUSER gateway -client|tracking -subscribe));
    cut_feeds($new);
    sleep 1;
    only(ask($t, $keys[0], 8), '^401$', 'without any feed');
    only(ask($t, $keys[3], 8), '^new$', 'never asked before');
    $t->finish;
};

subtest 'where changes are not tracked' => sub {
    my ($t, $old, $new, $store, $other, @keys) = gateway(refuse => ['-client|tracking']);
    ok($t->wait_for_log(qr/feed of store "main": channel/), 'a channel');
    both_feeds($old, 'two feeds');
    only(ask($t, $keys[0], 4), '^old$', 'before');
    $other->revoke($keys[0]);
    lead($t, $new);
    cut_feeds($old);
    both_feeds($new, 'both feeds are on the new one');
    sleep 0.05;
    only(ask($t, $keys[0], 8), '^401$', 'what the new one revoked');
    only(ask($t, $keys[1], 4), '^new$', 'never asked before');

    # and it is cached: what is read from the new one may fill
    my $before = $new->calls('hmget');
    ask($t, $keys[1], 20);
    cmp_ok($new->calls('hmget') - $before, '<=', 20, 'and cached');
    $t->finish;
};

done_testing();
