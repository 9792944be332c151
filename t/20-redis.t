#!/usr/bin/perl

# The connection to Redis: how it is reached, what is said on it, when there is
# one, and how few reads many requests cost.

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use Socket qw(IPPROTO_TCP);
use Test::More;
use Time::HiRes qw(sleep);

use OpsAuth::Process;
use OpsAuth::RESP;
use OpsAuth::Test;

use constant TCP_INFO => 11;

# a server that shows what the gateway thought of a request
sub server {
    my ($places, $listen) = @_;
    my $locations = join '', map { "location /$_ { opsauth $_; empty_gif; }\n" } @$places;
    return <<"CONF";
    server {
        listen 127.0.0.1:%%PORT_8080%% @{[$listen // '']};
        add_header X-Reason \$opsauth_reason always;
        add_header X-Account \$opsauth_account always;
        $locations
    }
CONF
}

sub different { my %seen = map { $_ => 1 } @_; return scalar keys %seen }
sub lines { my ($text, $re) = @_; return scalar(grep { /$re/ } split /\n/, $text) }

# --- ways to reach it -----------------------------------------------------------------

subtest 'a real Redis' => sub {
    my $t = OpsAuth::Test->new;
    my @passwords = map { join '', map { ('a' .. 'z')[rand 26] } 1 .. 24 } 1 .. 5;
    my ($gateway_pw, $new_pw, $narrow_pw, $unix_pw, $wrong_pw) = @passwords;
    $t->secret(@passwords);

    # what docs and doctor ask for, and nothing more
    my $least = 'resetchannels -@all +hmget +auth +select +client|setname '
        . '~opsauth:credential:* ~opsauth:account:* ~opsauth:meta';
    my $redis = $t->redis(acl => [
        'user default on nopass ~* &* +@all', "user gateway on >$gateway_pw $least",
        "user narrow on >$narrow_pw resetchannels -\@all +hmget +select ~opsauth:credential:*",
    ]);
    my $unix = $t->redis(name => 'UNIX', unix => 1, password => $unix_pw);
    my $store = $t->store(redis => $redis);
    my $shared = sub {
        my ($client) = @_;
        return OpsAuth::Store->new(redis => $client, pepper => [@{$store->{peppers}}],
            secret => sub { $t->secret(@_) })->marker;
    };
    my $unix_store = $shared->($unix);
    my ($db3, $db2) = ($redis->client, $unix->client);
    $db3->cmd('SELECT', 3);
    $db2->cmd('SELECT', 2);
    my %stores = (main => $store, db => $shared->($db3), unix => $unix_store, unixdb => $shared->($db2));
    $stores{$_} = $store for qw(acl name narrow);
    $stores{$_} = $unix_store for qw(noauth wrong nouser);

    my %file = map { $_->[0] => $t->write_file("$_->[0].pw", "$_->[1]\n", 0600) }
        ['gateway', $gateway_pw], ['narrow', $narrow_pw], ['unix', $unix_pw], ['wrong', $wrong_pw];
    $t->var(NAME => 'redis://localhost:' . $redis->port);
    my %lines = (
        main => 'redis %%REDIS%%;', db => 'redis %%REDIS%%/3;', name => 'redis %%NAME%%;',
        acl    => "redis %%REDIS%%/0; redis_user gateway; redis_password_file $file{gateway};",
        narrow => "redis %%REDIS%%; redis_user narrow; redis_password_file $file{narrow};",
        unix   => "redis %%UNIX%%; redis_password_file $file{unix};",
        unixdb => "redis %%UNIX%%?db=2; redis_password_file $file{unix};",
        wrong  => "redis %%UNIX%%; redis_password_file $file{wrong};",
        nouser => "redis %%UNIX%%; redis_user nobody; redis_password_file $file{unix};",
        noauth => 'redis %%UNIX%%;',
    );
    $t->config_http(join '', (map { "opsauth_store $_ { $lines{$_} pepper_file %%PEPPER%%; "
        . "redis_timeout 5s; redis_connect_timeout 5s; lease 100ms; cache 1m; }\n" } sort keys %lines),
        server([sort keys %lines]));
    $t->start;

    my %key;
    for my $name (qw(main acl name db unix unixdb)) {
        $stores{$name}->account("of-$name");
        $key{$name} = $stores{$name}->issue(account => "of-$name");
        my $r = $t->get("/$name", key => $key{$name});
        is($r->status . ' ' . ($r->header('X-Account') // '-'), "200 of-$name", $name);
        is($t->get("/$name", key => $store->key)->status, 401, "$name: an unknown key");
    }
    is($t->get('/main', key => $key{db})->status, 401, 'another database is another store');
    is($t->get('/unix', key => $key{unixdb})->status, 401, 'on a unix socket too');

    my %names = map { $_->{name} => 1 } $redis->clients, $unix->clients;
    delete $names{''};                              # the test's own
    is_deeply([sort keys %names], [map { "opsauth-$_-0" } qw(acl db main name unix unixdb)], 'CLIENT LIST');

    my %crit = (
        wrong  => [qr/is down: it answers AUTH with WRONGPASS, check redis_user and the contents of redis_password_file/],
        nouser => [qr/is down: it answers AUTH with WRONGPASS/],
        noauth => [qr/is down: it answers \S+( \S+)? with NOAUTH, it asks for a password: set redis_password_file/],
        narrow => [qr/answers HMGET with NOPERM: the ACL of its user must allow HMGET on the store's keys/],
    );
    for my $name (sort keys %crit) {
        $t->allow_log(qr/\[crit\].*store "$name"/);
        my $mark = $t->mark;
        my $key = $stores{$name}->issue(account => 'of-' . ($name eq 'narrow' ? 'main' : 'unix'));
        for (1 .. 5) {
            my $r = $t->get("/$name", key => $key);
            is($r->status . ' ' . $r->header('X-Reason'), '503 unavailable', "$name: 503, never 401");
            is($t->get("/$name", key => $store->key)->status, 503, "$name: nor for an unknown key");
        }
        my $log = $t->log_since($mark);
        is(lines($log, qr/\[crit\]/), 1, "$name: one line") or diag $log;
        like($log, $crit{$name}[0], "$name: that says what to do");
    }

    # --- rotation -----------------------------------------------------------------------
    $redis->cmd('ACL', 'SETUSER', 'gateway', 'resetpass', ">$new_pw");
    $t->write_file('gateway.pw', "$new_pw\r\n", 0600);
    my $mark = $t->mark;
    sleep 0.15;
    is($t->get('/acl', key => $key{acl})->status, 200, 'a new password concerns no connection that stands');
    $redis->cmd('CLIENT', 'KILL', 'USER', 'gateway');
    sleep 0.15;
    is($t->get('/acl', key => $key{acl})->status, 200, 'the next one reads the file again');
    my $word = $t->log_since($mark);
    is(lines($word, qr/opsauth: .*"acl"/), 0, 'without a word') or diag $word;

    # the file is behind: 503 and one line, until it is right
    $t->allow_log(qr/\[crit\].*store "acl"/);
    $redis->cmd('ACL', 'SETUSER', 'gateway', 'resetpass', ">$gateway_pw");
    $redis->cmd('CLIENT', 'KILL', 'USER', 'gateway');
    my $unknown = $store->key;
    is($t->get('/acl', key => $unknown)->status, 503, 'the file is behind');
    $t->write_file('gateway.pw', $gateway_pw, 0600);
    ok(OpsAuth::Process->poll(10, sub { $t->get('/acl', key => $unknown)->status == 401 }), 'until it is right');
    $mark = $t->log_since($mark);
    is(lines($mark, qr/"acl" is down/) . lines($mark, qr/"acl" is back/), '11', 'two lines in the log') or diag $mark;

    $t->finish;
};

subtest "root's password, nobody's worker" => sub {
    plan skip_all => 'only for root' unless $> == 0 && defined getpwnam 'nobody';
    my $t = OpsAuth::Test->new;
    my @passwords = map { join '', map { ('a' .. 'z')[rand 26] } 1 .. 24 } 1, 2;
    my $redis = $t->redis(password => $passwords[0]);
    $t->secret(@passwords);
    my $store = $t->store;
    my $file = $t->write_file('password', "$passwords[0]\n", 0600);
    my $group = getgrgid((getpwnam 'nobody')[3]);
    my $load = defined OpsAuth::Test->module_path ? 'load_module %%MODULE%%;' : '';
    $t->config(<<"CONF");
daemon off;
worker_processes 1;
user nobody $group;
error_log %%TESTDIR%%/error.log info;
pid %%TESTDIR%%/error.pid;
$load
%%TEST_EVENTS%%
http {
    %%TEST_GLOBALS_HTTP%%
    opsauth_store main { redis %%REDIS%%; redis_password_file $file; pepper_file %%PEPPER%%; redis_timeout 5s; lease 60s; cache_valid 100ms; }
    @{[server(['main'])]}
}
CONF
    $t->start;
    my ($worker) = $t->workers;
    is(OpsAuth::Process->uid($worker), scalar getpwnam 'nobody', 'the worker is nobody');
    is(sprintf('%04o %d', (stat $file)[2] & 07777, (stat _)[4]), '0600 0', 'the file is root\'s');

    $store->account('acme');
    my $key = $store->issue;
    is($t->get('/main', key => $key)->status, 200, 'what the master has read is used');
    my (undef, $new) = $t->kill9_worker;
    ok($new, 'another worker');
    sleep 0.15;
    is($t->get('/main', key => $key)->status, 200, 'has it too');

    $redis->cmd('CONFIG', 'SET', 'requirepass', $passwords[1]);
    $t->write_file('password', "$passwords[1]\n", 0600);
    $t->reload;
    sleep 0.15;
    is($t->get('/main', key => $key)->status, 200, 'and a reload reads it again');
    $redis->{client}{password} = $passwords[1];
    $t->finish;
};

# --- what is said ---------------------------------------------------------------------

subtest 'connections' => sub {
    my $t = OpsAuth::Test->new(workers => 2);
    my $fake = $t->fake_redis;
    my $store = $t->store;
    $t->secret('s3cret-of-the-fake');
    my $file = $t->write_file('password', "s3cret-of-the-fake\n", 0600);
    mkdir $t->dir . '/cache';
    $t->config_http(<<"CONF" . server(['main'], 'reuseport'));
    proxy_cache_path %%TESTDIR%%/cache keys_zone=cache:1m;
    opsauth_store main { redis %%REDIS%%/7; redis_user gw; redis_password_file $file; pepper_file %%PEPPER%%; cache 1m; redis_timeout 5s; lease 60s; cache_valid 100ms; }
CONF
    $t->start;
    $store->account('acme');
    ok($t->wait_for_log(qr/start cache manager process/), 'there is a helper process');
    sleep 0.3;
    is($fake->opened, 0, 'nobody connects before there is a request');
    is($t->get('/main')->status, 401, 'a request without a credential');
    is($t->get('/main', key => "a\x01b")->status, 400, 'and one that can not be any');
    is($fake->opened, 0, 'need no connection');

    my $key = $store->issue;
    is($t->get('/main', key => $key)->status, 200, 'one that needs it');
    is($fake->opened, 1, 'one connection');
    my @said = map { join ' ', @{$_->{words}}[0 .. ($_->{words}[0] eq 'HMGET' ? 1 : $#{$_->{words}})] } $fake->commands;
    like(shift @said, qr/^AUTH gw s3cret-of-the-fake$/, 'AUTH');
    is(shift @said, 'SELECT 7', 'SELECT');
    like(shift @said, qr/^CLIENT SETNAME opsauth-main-[01]$/, 'CLIENT SETNAME');
    is_deeply(\@said, ['INFO server', 'ROLE', map { 'HMGET ' . $store->name(@$_) } ['meta'], ['credential', $store->digest($key)], ['account', 'acme']],
        'who it is, the marker, the credential, the account');

    ok(OpsAuth::Process->poll(20, sub {
        $t->parallel(20, 'GET', '/main', key => $store->issue);
        return $fake->count('CLIENT') >= 2;
    }), 'the other worker');
    $t->parallel(200, 'GET', '/main', key => $store->issue) for 1 .. 3;
    is($fake->opened, 2, 'one connection a worker');
    is(join(' ', sort map { $_->{words}[2] } $fake->commands('CLIENT')), 'opsauth-main-0 opsauth-main-1', 'their names');
    is($fake->closed, 0, 'that stay');
    $t->finish;
};

# --- how few --------------------------------------------------------------------------

# The test is the Redis itself here, so that it can ask the kernel in how many
# segments the commands of one moment came.
subtest 'pipelining' => sub {
    my $t = OpsAuth::Test->new;
    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 8) or die $!;
    $t->var(REDIS => 'redis://127.0.0.1:' . $listen->sockport);
    my $store = $t->store(redis => bless({}, 'Nowhere'), marker => 0);
    $t->config_http('opsauth_store main { redis %%REDIS%%; pepper_file %%PEPPER%%; redis_timeout 20s; redis_connect_timeout 20s; }' . server(['main']));
    $t->start;

    my ($socket, $in) = (undef, '');
    # serves until so many records were asked for; their names
    my $serve = sub {
        my ($n) = @_;
        my @names;
        while (@names < $n) {
            IO::Select->new($socket // $listen)->can_read(10) or last;
            $socket //= $listen->accept;
            sysread $socket, $in, 65_536, length $in or last;
            my $out = '';
            while (my ($words) = OpsAuth::RESP::decode(\$in)) {
                if ("@$words" =~ /^CLIENT SETNAME \S+-feed$/) {
                    # not the one that is measured
                    close $socket;
                    ($socket, $in, $out) = (undef, '', '');
                    last;
                }
                my $value = $words->[0] ne 'HMGET' ? { status => 'OK' }
                    : $words->[1] =~ /meta$/ ? ['1'] : [(undef) x (@$words - 2)];
                push @names, $words->[1] if $words->[0] eq 'HMGET' && $words->[1] !~ /meta$/;
                $out .= OpsAuth::RESP::reply($value);
            }
            syswrite $socket, $out if $socket;
        }
        return @names;
    };
    my $segments = sub {
        my $info = getsockopt $socket, IPPROTO_TCP, TCP_INFO;
        return length($info // '') >= 156 ? unpack 'x152 L', $info : undef;
    };

    my $n = 200;
    my @clients = map { $t->connect } 1 .. $n;
    my $ask = sub { $_->write_request('GET', '/main', key => $store->key) for @clients };
    my $statuses = sub { my %seen; $seen{$_->read_response->status}++ for @clients; return \%seen };

    $ask->();
    is(different($serve->($n)), $n, 'commands that wait for the connection');
    is_deeply($statuses->(), { 401 => $n }, 'all are answered');

    my ($worker) = $t->workers;
    my $before = $segments->();
    kill 'STOP', $worker;
    $ask->();
    sleep 0.1;
    kill 'CONT', $worker;
    is(different($serve->($n)), $n, 'one read of each key');
    is_deeply($statuses->(), { 401 => $n }, 'all are answered');
  SKIP: {
        skip 'no TCP_INFO', 1 unless $before;
        # the marker may have to be looked at again; a turn takes 512 events
        cmp_ok($segments->() - $before, '<=', 4, "$n reads in a few segments");
    }
    close $socket;
    $t->finish;
};

# A worker that the machine held up for longer than a command's timeout finds the
# reply and the deadline at once.
subtest 'a worker that was held up' => sub {
    my $t = OpsAuth::Test->new;
    my $fake = $t->fake_redis;
    my $store = $t->store;
    $t->config_http('opsauth_store main { redis %%REDIS%%; pepper_file %%PEPPER%%; redis_timeout 500ms; '
        . 'lease 60s; stale off; }' . server(['main']));
    $t->start;
    $store->account('acme');
    is($t->get('/main', key => $store->issue)->status, 200, 'before');
    my ($worker) = $t->workers;
    $fake->script('HMGET opsauth:credential:*' => { delay => 200 });
    my %status;
    for (1 .. 5) {
        my $client = $t->connect(timeout => 20);
        my $asked = $fake->count('HMGET opsauth:credential:*');
        $client->write_request('GET', '/main', key => $store->issue);
        ok(OpsAuth::Process->poll(10, sub { $fake->count('HMGET opsauth:credential:*') > $asked }), 'it asks');
        kill 'STOP', $worker;
        sleep 0.8;
        kill 'CONT', $worker;
        $status{$client->read_response->status}++;
    }
    is_deeply(\%status, { 200 => 5 }, 'a reply that is there is not late');
    $t->finish;
};

subtest 'single flight' => sub {
    my $t = OpsAuth::Test->new;
    my $fake = $t->fake_redis;
    my $store = $t->store;
    my $events = $ENV{TEST_NGINX_EVENTS} // '';
    $t->config("%%TEST_GLOBALS%%\nevents { worker_connections 4096; $events }\nhttp { %%TEST_GLOBALS_HTTP%%\n"
        . 'opsauth_store main { redis %%REDIS%%; pepper_file %%PEPPER%%; redis_timeout 20s; lease 60s; }'
        . server(['main'], 'backlog=2048') . '}');
    $t->start;
    $store->account('acme');
    my $key = $store->issue;
    $fake->script('HMGET opsauth:credential:*' => { delay => 1000 });
    my %status;
    $status{$_->status}++ for $t->parallel(1000, 'GET', '/main', key => $key, timeout => 30);
    is_deeply(\%status, { 200 => 1000 }, '1000 first requests with one key');
    is($fake->count('HMGET opsauth:credential:*'), 1, 'one read of the credential');
    is($fake->count('HMGET opsauth:account:*'), 1, 'one of the account');
    is($fake->opened, 1, 'on one connection');
    $t->finish;
};

# what an old read brings may have been revoked longer than a lease ago
subtest 'nobody joins a read that is older than the lease' => sub {
    my $t = OpsAuth::Test->new;
    my $fake = $t->fake_redis;
    my $store = $t->store;
    $t->config_http('opsauth_store main { redis %%REDIS%%; pepper_file %%PEPPER%%; redis_timeout 20s; lease 300ms; }'
        . server(['main']));
    $t->start;
    $store->account('acme');
    my $key = $store->issue;
    my $read = 'HMGET opsauth:credential:*';
    $fake->script($read => { hold => 1 });
    my @clients = map { $t->connect(timeout => 20) } 1 .. 3;
    $clients[0]->write_request('GET', '/main', key => $key);
    ok($fake->wait_held(1), 'a read is under way');
    # nothing is announced meanwhile: it is its age alone
    sleep 0.6;
    $clients[$_]->write_request('GET', '/main', key => $key) for 1, 2;
    ok($fake->wait_held(2), 'a later request has one of its own');
    $fake->behave->release;
    is_deeply([map { $_->read_response->status } @clients], [200, 200, 200], 'all are answered');
    is($fake->count($read), 2, 'two reads for three requests');
    $t->finish;
};

done_testing();
