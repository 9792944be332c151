#!/usr/bin/perl

# opsauth doctor against Redis in many states: what it finds, that its remedies
# help, that it says what it may not look at, and that it changes nothing. The
# users are those of the documentation: each right that they are given there
# must be missed when it is taken away.

use strict;
use warnings;

use JSON::PP ();
use Test::More;

use OpsAuth::Command;
use OpsAuth::Process;
use OpsAuth::Test;

my $t = OpsAuth::Test->new;
my $dir = $t->dir;
my $opsauth = OpsAuth::Command->new($t);

my %password = map { $_ => "doctor-$_-" . int rand 1e9 } qw(admin gateway operator issuer shared);
$t->secret($_) for values %password;
my %file = map { $_ => $t->write_file("$_.password", "$password{$_}\n", 0600) } keys %password;
my $pepper = $t->write_file('pepper', 'p' x 40 . "\n", 0600);

my $redis = $t->redis(acl => ['user default off', "user admin on >$password{admin} ~* &* +\@all"],
    user => 'admin', password => $password{admin});

# the ACL lines as the documentation has them
my (%acl, @usage);
{
    open my $fh, '<', OpsAuth::Test->root . '/docs/redis.md' or die "docs/redis.md: $!";
    for my $line (<$fh>) {
        @usage = split / /, $1 if $line =~ /^    ACL SETUSER gateway (\S+:usage:\*.*)$/;
        my ($user, $rest) = $line =~ /^    ACL SETUSER (\w+) (on .*)/ or next;
        $acl{$user} = [split / /, $rest =~ s/>PASSWORD/>$password{$user}/r] if $password{$user};
    }
}
sub users { $redis->cmd('ACL', 'SETUSER', $_, 'reset', @{$acl{$_}}) for sort keys %acl }
users();

sub conf {
    my ($url, $extra) = @_;
    return $t->write_file('nginx.conf', "http { opsauth_store main { redis $url; pepper_file pepper; "
        . "key_prefix op365_sk_live_ environment=live checksum=crc32; $extra } }\n");
}
my $AS_GATEWAY = 'redis_user gateway; redis_password_file gateway.password;';
my $conf = conf($redis->url, $AS_GATEWAY);
my @OPERATOR = ('--redis-user', 'operator', '--redis-password-file', $file{operator});
my @ADMIN = ('--redis-user', 'admin', '--redis-password-file', $file{admin});

my ($rc, $out, $err, @checks);

# runs it; leaves the lines in @checks
sub doctor {
    my (@args) = @_;
    ($rc, $out, $err) = $opsauth->run('doctor', '--json', @args);
    my $json = eval { JSON::PP->new->utf8->decode($out) };
    @checks = $json ? @{$json->{checks}} : ();
    my %n;
    $n{$_->{result}}++ for @checks;
    is_deeply([@{$json // {}}{qw(failures warnings)}], [$n{failure} // 0, $n{warning} // 0], 'counts')
        or diag("$rc $out $err") unless $rc == 2;
    is($rc, $n{failure} ? 1 : 0, 'exit code') unless $rc == 2;
    unlike($out . $err, qr/\Q$_\E/, 'no password shown') for values %password;
}

sub bad { return map { "$_->{result} $_->{check}: $_->{text}" } grep { $_->{result} =~ /warning|failure/ } @checks }

# exactly one line like this; returns its remedy
sub says {
    my ($result, $check, $text) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my @lines = grep { $_->{result} eq $result && $_->{check} eq $check && $_->{text} =~ $text } @checks;
    is(scalar @lines, 1, "$result $check: $text") or diag(join "\n", bad(), $err);
    return @lines ? $lines[0]{remedy} : undef;
}

sub healthy {
    my ($name, @args) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    doctor('-c', $conf, @OPERATOR, @args);
    is_deeply([bad()], [], $name);
}

is(($opsauth->run(qw(account create crm), '-c', $conf, @OPERATOR))[0], 0, 'an account');
is(($opsauth->run(qw(key create --account crm --name n --scope s), '-c', $conf, @OPERATOR))[0], 0, 'a key');
$redis->cmd(qw(CONFIG SET appendonly yes));
OpsAuth::Process->poll(10, sub { ($redis->info('aof_rewrite_in_progress') // 1) == 0 });

subtest 'all is well' => sub {
    my $before = $redis->cmd(qw(DEBUG DIGEST));
    my $audit = $redis->cmd(qw(XLEN opsauth:audit));
    healthy('with the users of the documentation');
    says('ok', 'tracking', qr/was announced at once/);
    says('ok', 'channel', qr/arrive/);
    says('ok', 'rights', qr/"gateway" may read/);
    says('ok', 'op. rights', qr/"operator" may do all/);
    says('ok', 'protection', qr/without a password nobody/);
    says('ok', 'records', qr/^1 account, 1 credential$/);
    says('ok', 'mark', qr/layout 1/);
    says('ok', 'pepper', qr/holds 1, mode 0600 of \S+/);
    says('skipped', 'buffers', qr/not looked at: no permission to run CONFIG GET/);
    is($redis->cmd(qw(DEBUG DIGEST)), $before, 'nothing was changed');
    is($redis->cmd(qw(XLEN opsauth:audit)), $audit, 'nor recorded');

    $redis->reset_stats;
    healthy('--no-write', '--no-write');
    says('ok', 'tracking', qr/was not tried: --no-write/);
    is($redis->calls($_), 0, "no $_") for qw(hset expireat publish);

    doctor('-c', $conf);
    says('ok', 'tracking', qr/was not tried: no user here may write/);
    says('skipped', 'op. rights', qr/may not write, as it should be/);
    says('skipped', 'records', qr/not looked at: no permission to run SCAN/);
    is_deeply([bad()], [], 'as the gateway alone');

    doctor('-c', $conf, @ADMIN);
    says('ok', 'buffers', qr/pubsub 33554432/);
    is_deeply([bad()], [], 'as an administrator');
};

subtest 'each right of the gateway' => sub {
    for my $right (grep { /^\+/ && !/select/ } @{$acl{gateway}}) {
        my $name = substr $right, 1;
        $redis->cmd('ACL', 'SETUSER', 'gateway', "-$name");
        doctor('-c', $conf, @OPERATOR);
        my @missed = grep { ($_->{remedy} // '') eq "ACL SETUSER gateway +$name" } @checks;
        ok(scalar @missed, "$name is missed") or diag(join "\n", bad());
        is((grep { $_->{result} eq 'failure' } @missed) ? 1 : 0, $name =~ /^(?:hmget|ping)$/ ? 1 : 0,
            '  as much as it matters');
        $redis->cmd(split / /, $missed[0]{remedy}) if @missed;
        healthy('  and its remedy helps');
    }
    for my $pattern (grep { /[~&]/ } @{$acl{gateway}}) {
        my @rest = grep { $_ ne $pattern } @{$acl{gateway}};
        $redis->cmd('ACL', 'SETUSER', 'gateway', 'reset', @rest);
        doctor('-c', $conf, @OPERATOR);
        my @missed = grep { ($_->{remedy} // '') eq "ACL SETUSER gateway $pattern" } @checks;
        ok(scalar @missed, "$pattern is missed") or diag(join "\n", bad());
        $redis->cmd(split / /, $missed[0]{remedy}) if @missed;
        healthy('  and its remedy helps');
    }
    $redis->cmd(qw(ACL SETUSER gateway +@all ~*));
    doctor('-c', $conf, @OPERATOR);
    like(says('warning', 'protection', qr/"gateway" may change records/), qr/docs\/redis\.md/);
    users();
};

# each right that a user has for a directive, beyond those of one that only reads
sub extras {
    my ($directive, $check, $user, @rights) = @_;
    my $own = conf($redis->url, "redis_user $user; redis_password_file $user.password; $directive ON;");
    my $run = sub { doctor('-c', $own, @OPERATOR); return grep { $_->{check} eq $check } @checks };
    is_deeply([map { $_->{result} } $run->()], ['ok'], 'as documented') or diag(join "\n", bad());
    is_deeply([bad()], [], '  and nothing else is wrong');
    for my $right (@rights) {
        my @rest = grep { $_ ne $right } @{$acl{$user}}, $user eq 'gateway' ? @usage : ();
        $redis->cmd('ACL', 'SETUSER', $user, 'reset', @rest);
        my @missed = grep { $_->{result} eq 'failure' && $_->{remedy} eq "ACL SETUSER $user $right" } $run->();
        ok(scalar @missed, "$right is missed") or diag(join "\n", bad());
        like($missed[0]{text}, qr/needed for "$directive on" \(\S+nginx\.conf:1\)/, '  and where it is needed');
        $redis->cmd(split / /, $missed[0]{remedy}) if @missed;
        is_deeply([map { $_->{result} } $run->()], ['ok'], '  and its remedy helps');
    }
    # a pattern that is for reading and writing, as all are before Redis 7
    $redis->cmd('ACL', 'SETUSER', $user, '~opsauth:credential:*');
    $run->();
    like(says('warning', $check, qr/what "$directive on" needs .* "$user" may change credentials, too$/), qr/%R~opsauth:credential:\*/);
    is_deeply([grep { /doctor/ } @{$redis->cmd('KEYS', '*')}], [], 'nothing is written');
    users();
    conf($redis->url, $AS_GATEWAY);
}

subtest 'each right for usage' => sub {
    $redis->cmd('ACL', 'SETUSER', 'gateway', @usage);
    is(scalar @usage, 5, 'documented');
    extras(usage => 'usage rights', gateway => @usage);
};

subtest 'each right for shared rates' => sub {
    my %plain = map { $_ => 1 } @{$acl{gateway}};
    my @rights = grep { !$plain{$_} && !/^>/ } @{$acl{shared}};
    cmp_ok(scalar @rights, '>', 9, 'documented');
    extras(rate_sync => 'rate rights', shared => @rights);
    $redis->cmd(qw(ZADD opsauth:nodes 1 0123456789abcdef));
    doctor('-c', conf($redis->url, 'redis_user shared; redis_password_file shared.password; rate_sync on;'), @OPERATOR);
    is_deeply([bad()], [], 'with a gateway that runs');
    is_deeply($redis->cmd(qw(ZRANGE opsauth:nodes 0 -1 WITHSCORES)), ['0123456789abcdef', 1], 'which is left alone');
    is($redis->cmd(qw(TTL opsauth:nodes)), -1, '  in all respects');
    $redis->cmd(qw(DEL opsauth:nodes));
    conf($redis->url, $AS_GATEWAY);
};

subtest 'each right of the operator' => sub {
    for my $right (grep { /^\+/ && !/select/ } @{$acl{operator}}) {
        my $name = substr $right, 1;
        $redis->cmd('ACL', 'SETUSER', 'operator', "-$name");
        doctor('-c', $conf, @OPERATOR);
        is($rc, 1, "without $name it fails");
        my @missed = grep { ($_->{remedy} // '') eq "ACL SETUSER operator +$name" } @checks;
        ok(scalar @missed, '  is missed') or diag(join "\n", bad());
        $redis->cmd(split / /, $missed[0]{remedy}) if @missed;
    }
    healthy('the remedies help');
    for my $case (['~opsauth:*', 'resetkeys'], ['&opsauth:invalidate', 'resetchannels']) {
        $redis->cmd('ACL', 'SETUSER', 'operator', $case->[1]);
        doctor('-c', $conf, @OPERATOR);
        my @missed = grep { ($_->{remedy} // '') eq "ACL SETUSER operator $case->[0]" } @checks;
        ok(scalar @missed, "$case->[0] is missed") or diag(join "\n", bad());
        $redis->cmd(split / /, $missed[0]{remedy}) if @missed;
        healthy('  and its remedy helps');
    }
};

subtest 'users' => sub {
    my $wrong = $t->write_file('wrong', "not-the-password\n", 0600);
    doctor('-c', conf($redis->url, 'redis_user gateway; redis_password_file wrong;'));
    says('failure', 'connection', qr/does not accept this user and password/);
    unlike($out, qr/not-the-password/, 'which is not shown');
    doctor('-c', conf($redis->url, ''));
    says('failure', 'connection', qr/asks for a password/);
    conf($redis->url, $AS_GATEWAY);
    doctor('-c', $conf, '--redis-user', 'operator', '--redis-password-file', $wrong);
    says('failure', 'operator', qr/does not accept this user and password/);

    $redis->cmd(qw(ACL SETUSER default on nopass ~* &* +@all));
    doctor('-c', $conf, @OPERATOR);
    is(says('warning', 'protection', qr/asks for no password/), 'give Redis users, as in docs/redis.md, '
        . 'then: ACL SETUSER default off');
    $redis->cmd(qw(ACL SETUSER default reset));
};

subtest 'settings' => sub {
    my $set = sub { $redis->cmd('CONFIG', 'SET', @_) };

    $set->('maxmemory-policy', 'allkeys-lru');
    doctor('-c', $conf, @OPERATOR);
    says('warning', 'eviction', qr/allkeys-lru: as soon as maxmemory/);
    $set->('maxmemory', '1gb');
    doctor('-c', $conf, @OPERATOR);
    my $remedy = says('failure', 'eviction', qr/allkeys-lru: a record that is evicted/);
    $redis->cmd(split / /, $remedy);
    healthy('its remedy helps');
    says('ok', 'memory', qr/of 1024\.0 MiB/);
    $set->('maxmemory', $redis->info('used_memory') + 20_000);
    doctor('-c', $conf);
    says('warning', 'memory', qr/nothing can be written/);
    $set->('maxmemory', 0);

    $set->('appendonly', 'no');
    doctor('-c', $conf, @OPERATOR);
    says('warning', 'persistence', qr/appendonly is off.*not looked at/);
    doctor('-c', $conf, @ADMIN);
    says('warning', 'persistence', qr/nothing is kept on disk/);
    $set->('save', '3600 1');
    doctor('-c', $conf, @ADMIN);
    says('warning', 'persistence', qr/last snapshot \(save 3600 1\)/);
    $set->('save', '');
    $set->('appendonly', 'yes');

    $set->('client-output-buffer-limit', 'pubsub 64kb 8kb 60');
    doctor('-c', $conf, @ADMIN);
    says('warning', 'buffers', qr/lose their connection/);
    $set->('client-output-buffer-limit', 'pubsub 0 0 0');
    doctor('-c', $conf, @ADMIN);
    says('warning', 'buffers', qr/fill Redis' memory/);
    $set->('client-output-buffer-limit', 'pubsub 32mb 8mb 60');
};

subtest 'primary and replica' => sub {
    my $replica = $t->redis(name => 'REPLICA', args => ['--replicaof', '127.0.0.1', $redis->port,
        '--masteruser', 'admin', '--masterauth', $password{admin}]);
    ok(OpsAuth::Process->poll(20, sub { ($replica->info('master_link_status') // '') eq 'up' }), 'in step');
    doctor('-c', $conf, @ADMIN);
    is(says('warning', 'replicas', qr/^1, but min-replicas-to-write is 0/),
        'CONFIG SET min-replicas-to-write 1', 'with a hint');
    $redis->cmd(qw(CONFIG SET min-replicas-to-write 1));
    OpsAuth::Process->poll(20, sub { ($redis->info('min_slaves_good_slaves') // 0) >= 1 });
    doctor('-c', $conf, @ADMIN);
    says('ok', 'replicas', qr/min-replicas-to-write is 1/);
    $redis->cmd(qw(CONFIG SET min-replicas-to-write 0));

    doctor('--redis', $replica->url, '--pepper-file', $pepper);
    is(says('failure', 'role', qr/is a replica/), 'give the address of the primary: 127.0.0.1:' . $redis->port);
    $replica->stop;
};

subtest 'a node of a cluster' => sub {
    my $node = $t->redis(name => 'NODE', cluster => 1);
    doctor('--redis', $node->url);
    says('failure', 'cluster', qr/one node of a cluster/);
    $node->stop;
};

subtest 'files' => sub {
    for my $mode (0644, 0620, 0660) {
        chmod $mode, $pepper;
        doctor('-c', $conf);
        says('failure', 'pepper', qr/has mode \Q@{[sprintf '%04o', $mode]}\E.*chmod 600/);
    }
    chmod 0640, $pepper;
    doctor('-c', $conf);
    says('ok', 'pepper', qr/mode 0640/);
    $t->write_file('pepper', "short\n", 0600);
    doctor('-c', $conf);
    says('failure', 'pepper', qr/is not valid: a pepper has less than 16 bytes/);
    $t->write_file('pepper', 'p' x 5000, 0600);
    doctor('-c', $conf);
    says('failure', 'pepper', qr/has 5000 bytes; the gateway takes 1 to 4096/);
    $t->write_file('pepper', 'p' x 40 . "\n", 0600);
    doctor('-c', $conf, '--pepper-file', "$dir/none");
    says('failure', 'pepper', qr/can't be opened/);
    mkdir "$dir/open";
    chmod 0777, "$dir/open";
    my $exposed = $t->write_file('open/pepper', 'p' x 40, 0600);
    doctor('-c', $conf, '--pepper-file', $exposed);
    is(says('failure', 'pepper', qr/anybody may replace/), "chmod o-w $dir/open");

    chmod 0644, $file{gateway};
    doctor('-c', $conf);
    says('failure', 'password', qr/has mode 0644/);
    $t->write_file('gateway.password', "$password{gateway}\nagain\n", 0600);
    doctor('-c', $conf);
    says('warning', 'password', qr/several lines/);
    $t->write_file('gateway.password', "$password{gateway}\n", 0600);

    doctor('--redis', $redis->url, @ADMIN);
    says('warning', 'pepper', qr/none is set/);
    says('warning', 'key prefixes', qr/none is set/);
};

subtest 'records' => sub {
    my $mark = $redis->cmd(qw(HGET opsauth:meta v));
    $redis->cmd(qw(DEL opsauth:meta));
    doctor('-c', $conf, @OPERATOR);
    like(says('failure', 'mark', qr/opsauth:meta is missing/), qr/database and prefix/);
    $redis->cmd(qw(HSET opsauth:meta v 7));
    doctor('-c', $conf, @OPERATOR);
    says('failure', 'mark', qr/are of layout "7", this opsauth knows layout 1/);
    $redis->cmd(qw(DEL opsauth:meta));
    $redis->cmd(qw(SET opsauth:meta x));
    doctor('-c', $conf, @OPERATOR);
    says('failure', 'mark', qr/can't be read.*WRONGTYPE/);
    $redis->cmd(qw(DEL opsauth:meta));
    $redis->cmd(qw(HSET opsauth:meta v), $mark);

    $redis->cmd(qw(HSET opsauth:credential:feed v 1 id key_lost account gone));
    $redis->cmd(qw(HSET opsauth:credential:dead v 1 id - account -));  # a tombstone
    $redis->cmd(qw(SET opsauth:id:key_nothing beef));
    doctor('-c', $conf, @OPERATOR);
    says('warning', 'orphans', qr/^1 of 3 credentials .*: key_lost of account "gone"$/);
    says('warning', 'orphans', qr/^1 of 2 ids .*: key_nothing$/);
    says('warning', 'forms', qr/^1 of \d+ accounts and credentials .*: key_lost: its field kind is missing/);
    $redis->cmd(qw(DEL opsauth:credential:feed opsauth:credential:dead opsauth:id:key_nothing));
    healthy('as before');

    # what is revoked needs no account
    $redis->cmd(qw(HSET opsauth:credential:beef v 1 id key_old kind api_key account gone state revoked
        environment live scopes), '', qw(expires 0));
    healthy('a revoked key of an account that is gone');
    $redis->cmd(qw(DEL opsauth:credential:beef));
    $redis->cmd(qw(HSET opsauth:account:broken enabled maybe));
    doctor('-c', $conf, @OPERATOR);
    says('warning', 'forms', qr/account broken: its field enabled is missing or of a wrong form$/);
    $redis->cmd(qw(DEL opsauth:account:broken));
};

subtest 'a Redis that is not itself' => sub {
    my $fake = $t->fake_redis(name => 'FAKE');
    my $own = conf($fake->url, '');
    $fake->cmd(qw(HSET opsauth:meta v 1));
    my $at = sub { my $s = time + $_[0]; return { raw => "*2\r\n\$" . length($s) . "\r\n$s\r\n\$1\r\n0\r\n" } };

    doctor('-c', $own);
    says('ok', 'clock', qr/less than 2 s/);
    $fake->script(TIME => $at->(-30));
    doctor('-c', $own);
    says('warning', 'clock', qr/Redis is (?:2|3)\d s behind/);
    $fake->script(TIME => $at->(2 * 86_400));
    doctor('-c', $own);
    says('failure', 'clock', qr/ s ahead of this machine/);
    $fake->script(TIME => '-NOPERM no');
    doctor('-c', $own);
    says('skipped', 'clock', qr/no permission to run TIME/);
    $fake->behave;

    $fake->script(PING => { delay => 60 });
    doctor('-c', $own);
    says('warning', 'round trip', qr/\d+ ms/);
    $fake->behave;

    $fake->script('CLIENT TRACKING' => "-ERR unknown subcommand 'tracking'");
    doctor('-c', $own);
    says('warning', 'tracking', qr/unknown subcommand.*in force within the lease/);
    $fake->behave;

    # it takes everything and announces nothing
    my $swallow = sub { return { status => $_[0], ignore => JSON::PP::true } };
    $fake->script(MULTI => '+OK', HSET => $swallow->('QUEUED'), EXPIREAT => '+QUEUED', EXEC => '*0',
        PUBLISH => ':0');
    doctor('-c', $own);
    like(says('failure', 'tracking', qr/was not announced/), qr/something in between/);
    says('failure', 'channel', qr/did not arrive/);
    $fake->behave;

    $fake->script(INFO => { bulk => "redis_version:6.2.14\r\nrole:master\r\n" });
    doctor('-c', conf($fake->url, "redis_user default; redis_password_file gateway.password; usage on;"));
    like(says('warning', 'usage rights', qr/may change credentials, too: Redis 6 can't tell/), qr/Redis 7 or newer, or "usage off"/);
    conf($fake->url, '');
    $fake->behave;

    $fake->script('CONFIG' => "-ERR unknown command 'CONFIG'", INFO => '-NOPERM no');
    doctor('-c', $own);
    says('skipped', 'buffers', qr/Redis does not answer CONFIG GET/);
    says('skipped', 'server', qr/no permission to run INFO/);
    $fake->behave;

    $fake->script(INFO => { bulk => "redis_version:5.0.3\r\nrole:master\r\n" });
    doctor('-c', $own);
    says('warning', 'version', qr/Redis 5\.0\.3 can't announce changes/);
    $fake->script(INFO => { bulk => "redis_version:7.2.4\r\nvalkey_version:8.0.1\r\nredis_mode:sentinel\r\n" });
    doctor('-c', $own);
    says('ok', 'version', qr/^Valkey 8\.0\.1$/);
    says('failure', 'role', qr/Sentinel/);
    $fake->behave;

    for my $answer ('-LOADING Redis is loading the dataset in memory', '-ERR no', '+WHAT', ':7', '*-1', '*0', '$-1') {
        $fake->script('*' => $answer);
        doctor('-c', $own);
        is($rc, 1, "$answer to everything");
    }
    for my $action ('close', 'silence', { raw => "HTTP/1.0 400 Bad\r\n\r\n" }) {
        $fake->behave->script('*' => $action);
        doctor('-c', $own, '--timeout', '1s');
        is(scalar(grep { $_->{check} eq 'connection' && $_->{result} eq 'failure' } @checks), 1, 'lost, said once');
        $fake->behave->script(SUBSCRIBE => $action);
        doctor('-c', $own, '--timeout', '1s');
        is($rc, 1, '  lost in the middle') or diag(join "\n", bad());
    }
    $fake->stop;
    doctor('-c', $own);
    says('failure', 'connection', qr/connection refused; is it running/);
};

subtest 'usage' => sub {
    doctor();
    is("$rc $out", '2 ', 'no store');
    like($err, qr/where is the store/, 'said');
    is(($opsauth->run('doctor', '-c', $conf, 'x'))[0], 2, 'a word too much');
    is(($opsauth->run('doctor', '-c', $conf, '--timeout', '0'))[0], 2, '--timeout');
    is(($opsauth->run({out => '/dev/full'}, 'doctor', '-c', $conf))[0], 1, 'a full disk');
};

subtest 'for people' => sub {
    conf($redis->url, $AS_GATEWAY);
    ($rc, $out, $err) = $opsauth->run('doctor', '-c', $conf, @OPERATOR);
    is("$rc $err", '0 ', 'well');
    my @lines = split /\n/, $out;
    is(pop @lines, '0 failures, 0 warnings', 'ends with the sum');
    is((grep { !/^(?:ok|warning|failure|skipped) +[a-z]/ && !/^ +-> / && length } @lines), 0, 'a line each');
    unlike($out, qr/\e/, 'no colour in a pipe');
    SKIP: {
        skip 'no pseudo-terminal here', 3 unless OpsAuth::Command->terminal;
        my $at = sub { return scalar `env -i PATH="\$PATH" @_ script -qec "${\ $opsauth->path} doctor -c $conf" /dev/null 2>&1` };
        like($at->('TERM=xterm'), qr/\e\[32mok/, 'colour on a terminal');
        unlike($at->('TERM=xterm NO_COLOR=1'), qr/\e/, 'not with NO_COLOR');
        unlike($at->('TERM=dumb'), qr/\e/, 'nor where it is dumb');
    }
};

unlink glob("$dir/cli.*"), glob("$dir/*.password"), $pepper, "$dir/wrong", "$dir/open/pepper";
rmdir "$dir/open";
$t->done;
