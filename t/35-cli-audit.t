#!/usr/bin/perl

# opsauth audit: what the changes of this command left in the stream, in order,
# chosen by time, action, object, account and who, page by page, and as it
# comes.

use strict;
use warnings;

use Encode qw(encode_utf8);
use JSON::PP ();
use POSIX ();
use Test::More;

use OpsAuth::Command;
use OpsAuth::Process;
use OpsAuth::Test;

my $t = OpsAuth::Test->new;
my $redis = $t->redis;
my $dir = $t->dir;
my $pepper = $t->write_file('pepper', 'p' x 40, 0600);
my $opsauth = OpsAuth::Command->new($t, OPSAUTH_REDIS => $redis->url, OPSAUTH_PEPPER_FILE => $pepper,
    OPSAUTH_KEY_PREFIX => 'live=op365_sk_live_', SUDO_USER => 'anna');

my ($rc, $out, $err);
sub audit { ($rc, $out, $err) = $opsauth->run('audit', @_); return $out }

sub json {
    audit(@_, '--json');
    my $list = eval { JSON::PP->new->utf8->decode($out) };
    ok($list, "@_") or diag("$rc $out $err");
    return @{$list // []};
}

sub actions { return join ' ', map { "$_->{action}:$_->{object}" } json(@_) }

# an entry of our own: when, action, object, detail
sub entry {
    my ($ms, $action, $object, $detail, $who) = @_;
    return $redis->cmd(qw(XADD opsauth:audit), "$ms-0", 'who', $who // 'bob@host', 'action', $action,
        'object', $object, 'detail', $detail, 'at', int($ms / 1000));
}

subtest 'nothing yet' => sub {
    is(audit(), "TIME  WHO  ACTION  OBJECT  DETAIL\n", 'a head');
    is(audit('--json'), "[]\n", 'an empty list');
    is(audit('--all', '--json'), "[]\n", '--all');
};

subtest 'what this command writes' => sub {
    my $before = time;
    $opsauth->run(qw(account create crm --name), encode_utf8("\x{65e5}\x{672c} crm"));
    my (undef, undef, $said) = $opsauth->run(qw(key create --account crm --name n --scope s));
    my ($id) = $said =~ /(key_\w{16})/;
    $opsauth->run(qw(key revoke), $id);
    $opsauth->run(qw(account disable crm));
    my @all = json();
    is(join(' ', map { $_->{action} } @all[0 .. 2]), 'account.create key.create key.revoke', 'in order');
    like($all[3]{action}, qr/^account\.\w+$/, 'one for each change');
    is($all[1]{object}, $id, 'the object');
    like($all[0]{who}, qr/^anna@/, 'who');
    like($all[0]{at}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'ISO 8601');
    like($all[1]{detail}, qr/account=crm/, 'detail');
    is_deeply([sort keys %{$all[0]}], [qw(action at detail id object who)], 'no more and no less');
    is(scalar(json('--account', 'crm')), 4, '--account: its keys too');
    is(scalar(json('--account', 'cr')), 0, 'no part of an id');
    is($redis->cmd(qw(XLEN opsauth:audit)), 4, 'looking leaves no trace');
    $redis->cmd(qw(DEL opsauth:audit));
};

# far apart, so that times tell them apart
my $DAY = 86_400_000;
my $now = time * 1000;
entry($now - 10 * $DAY, 'account.create', 'crm', 'name=CRM', 'anna@host');
entry($now - 8 * $DAY, 'key.create', 'key_1', 'account=crm, environment=live');
entry($now - 6 * $DAY, 'key.create', 'key_2', 'account=crm2, environment=live');
entry($now - 4 * $DAY, 'token.issue', 'tok_1', 'environment=live, account=crm');
entry($now - 2 * $DAY, 'key.revoke', 'key_1', 'account=crm');
entry($now - 3_600_000, 'account.set', 'crm2', '');

subtest 'choosing' => sub {
    is(actions(), 'account.create:crm key.create:key_1 key.create:key_2 token.issue:tok_1 key.revoke:key_1 '
        . 'account.set:crm2', 'the newest last');
    is(actions('--limit', 2), 'key.revoke:key_1 account.set:crm2', '--limit: the last ones');
    is(actions('--since', '7d'), 'key.create:key_2 token.issue:tok_1 key.revoke:key_1 account.set:crm2', '--since');
    is(actions('--since', '7d', '--limit', 1), 'account.set:crm2', '--since and --limit');
    is(actions('--until', '7d'), 'account.create:crm key.create:key_1', '--until');
    is(actions('--since', '9d', '--until', '5d'), 'key.create:key_1 key.create:key_2', 'both');
    is(actions('--since', POSIX::strftime('%Y-%m-%dT%H:%M:%SZ', gmtime($now / 1000 - 3600))), 'account.set:crm2',
        'a time, which is included');
    is(actions('--until', POSIX::strftime('%Y-%m-%dT%H:%M:%SZ', gmtime($now / 1000 - 10 * 86_400))),
        'account.create:crm', 'at the other end too');
    is(actions('--action', 'key.*'), 'key.create:key_1 key.create:key_2 key.revoke:key_1', '--action');
    is(actions('--action', '*.create', '--limit', 1), 'key.create:key_2', '--limit counts what is chosen');
    is(actions('--object', 'key_1'), 'key.create:key_1 key.revoke:key_1', '--object');
    is(actions('--account', 'crm'), 'account.create:crm key.create:key_1 token.issue:tok_1 key.revoke:key_1',
        '--account');
    is(actions('--account', 'crm2'), 'key.create:key_2 account.set:crm2', 'another one');
    is(actions('--who', 'anna@*'), 'account.create:crm', '--who');
    is(actions('--object', 'none'), '', 'none');
    is(actions('--prefix', 'other:'), '', 'of another store');
};

subtest 'the table' => sub {
    $redis->cmd(qw(XADD opsauth:audit), "$now-5", 'who', encode_utf8("\x{65e5}\x{672c}"), 'action', "a\e[31mb", 'at', 'x');
    my @lines = split /\n/, audit('--limit', 2);
    is("$rc $err", '0 ', 'well');
    my $at = index $lines[0], 'ACTION';
    is(substr($lines[1], $at, 11), 'account.set', 'aligned');
    like($lines[2], qr/^\S+ \S+  \xe6\x97\xa5\xe6\x9c\xac {6}a\\x1b\[31mb {3}- +-$/, 'by width; nothing for the terminal; - for nothing');
    my $utc = POSIX::strftime('%Y-%m-%d %H:%M:%S', gmtime $now / 1000 - 3600);
    like($lines[1], qr/^\Q$utc\E /, 'local time');
    my @there = $opsauth->run({env => {TZ => 'Etc/GMT-5'}}, qw(audit --limit 2));
    my $local = POSIX::strftime('%Y-%m-%d %H:%M:%S', gmtime $now / 1000 - 3600 + 5 * 3600);
    like($there[1], qr/^\Q$local\E /m, 'of where one is');
    $redis->cmd(qw(XDEL opsauth:audit), "$now-5");
};

subtest 'refused' => sub {
    for my $case (
        [['--since', 'yesterday'], qr/--since "yesterday": expected how long ago, such as 90d, .* or a time/],
        [['--until', ''], qr/--until "": expected/],
        [['--since', '2027-02-30'], qr/--since "2027-02-30": expected/],
        [['--since', '1d', '--until', '2d'], qr/--since is later than --until/],
        [['--limit', '0'], qr/--limit "0": expected a number from 1 on; --all/],
        [['--limit', '-1'], qr/--limit "-1": expected/],
        [['--limit', 'x'], qr/--limit "x": expected/],
        [['--limit', '5', '--all'], qr/exclude each other/],
        [['--follow', '--until', '1d'], qr/exclude each other/],
        [['crm'], qr/"crm" is too much/],
    ) {
        audit(@{$case->[0]});
        is("$rc $out", '2 ', "@{$case->[0]}");
        like($err, $case->[1], '  says so');
    }
    $redis->cmd(qw(SET other:audit x));
    audit('--prefix', 'other:');
    is("$rc $out", '1 ', 'no stream');
    like($err, qr/it is not of opsauth, or damaged/, '  says so');
    my $fake = $t->fake_redis(name => 'FAKE');
    for my $reply (':1', '+OK', '*1', "*1\r\n:7", "*1\r\n*2\r\n\$1\r\nx\r\n*0", "*1\r\n*2\r\n\$3\r\n1-1\r\n:1", '$-1') {
        $fake->script('*' => { raw => "$reply\r\n" });
        audit('--redis', $fake->url, '--timeout', '1s');
        is($rc, 1, $reply =~ s/\r\n/ /gr);
    }
    $fake->script('*' => "-NOPERM this user has no permissions to run the 'xrevrange' command");
    audit('--redis', $fake->url);
    like($err, qr/to run XREVRANGE "opsauth:audit"/, 'a missing right is named');
    $fake->stop;
};

# more than a page: each of them once, in order, and in little memory
subtest 'many' => sub {
    $redis->cmd(qw(DEL opsauth:audit));
    my $client = $redis->client;
    $client->cmd('EVAL', 'for i = 1, tonumber(ARGV[1]) do redis.call("XADD", KEYS[1], 1 + math.floor((i - 1) / 10) .. "-"
        .. (i - 1) % 10, "who", "w", "action", "key.create", "object", "key_" .. i, "detail", "account=a" .. (i % 7)) end',
        1, 'opsauth:audit', 20_000);
    my @all = json('--all');
    is(join(',', map { $_->{object} =~ s/key_//r } @all),
        join(',', 1 .. 20_000), 'in order');
    is(scalar(@all), 20_000, 'all of them');
    my %seen;
    $seen{$_->{object}}++ for @all;
    is(scalar(keys %seen), 20_000, 'each once');
    is(scalar(json()), 50, '50 without more');
    is(actions('--account', 'a3', '--limit', '1'), 'key.create:key_19995', 'one');
    is(scalar(json('--account', 'a3', '--limit', '1000')), 1000, 'from many pages');
    is(scalar(json('--limit', '500')), 500, 'a page');
    is(scalar(json('--limit', '501')), 501, 'and one more');
    SKIP: {
        skip 'no GNU time', 1 unless -x '/usr/bin/time';
        skip 'a sanitizer takes more', 1
            if OpsAuth::Nginx::SLOW || `nm '${\ $opsauth->path}' 2>/dev/null` =~ /__asan/;
        my ($kb) = `OPSAUTH_REDIS=@{[$redis->url]} /usr/bin/time -f 'kb=%M' '${\ $opsauth->path}' audit --all 2>&1 >/dev/null` =~ /kb=(\d+)/;
        cmp_ok($kb, '<', 16_000, 'in the memory of a page');
    }
    is(($opsauth->run({out => '/dev/full'}, qw(audit --all)))[0], 1, 'a full disk');
};

# --follow in the background; stdout into a file
sub follow {
    my (@args) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        %ENV = $opsauth->env;
        open STDOUT, '>', "$dir/follow.out" or POSIX::_exit(126);
        open STDERR, '>', "$dir/follow.err" or POSIX::_exit(126);
        exec { $opsauth->path } 'opsauth', 'audit', '--follow', @args or POSIX::_exit(127);
    }
    return $pid;
}

sub shows { my ($what) = @_; return OpsAuth::Process->poll(10, sub { (-e "$dir/follow.out") && $t->read_file('follow.out') =~ $what }) }

subtest '--follow' => sub {
    $redis->cmd(qw(DEL opsauth:audit));
    for my $signal ('INT', 'TERM') {
        $opsauth->run(qw(account create), "a$signal");
        my $pid = follow('--json', '--action', 'account.*');
        ok(shows(qr/"object": "a$signal"/), 'what there is');
        $redis->cmd(qw(XADD opsauth:audit * who w action key.create object key_no));
        $opsauth->run(qw(account create), "b$signal");
        ok(shows(qr/"object": "b$signal"/), 'what comes');
        kill $signal, $pid;
        waitpid $pid, 0;
        is($?, 0, "SIG$signal ends it well");
        my @lines = split /\n/, $t->read_file('follow.out');
        is((grep { eval { JSON::PP->new->utf8->decode($_)->{id} } } @lines), scalar @lines, 'JSON Lines');
        unlike($t->read_file('follow.out'), qr/key_no/, 'chosen as before');
        is($t->read_file('follow.err'), '', 'nothing is said');
    }
    $redis->cmd(qw(DEL opsauth:audit));
    my $pid = follow();
    ok(shows(qr/^TIME/), 'from nothing');
    $opsauth->run(qw(account create first));
    ok(shows(qr/account\.create  first/), 'the first ever');
    $redis->kill;
    waitpid $pid, 0;
    is($? >> 8, 1, 'Redis gone');
    like($t->read_file('follow.err'), qr/closed the connection|reset/, 'is said');
    $redis->start;

    my $pipe = `OPSAUTH_REDIS=@{[$redis->url]} '${\ $opsauth->path}' audit --follow 2>'$dir/follow.err' | head -n 1`;
    like($pipe, qr/^TIME/, 'a pipe that is closed ends it');
    like($t->read_file('follow.err'), qr/can't write to stdout/, 'and it says so');
};

unlink glob("$dir/cli.*"), glob("$dir/follow.*"), $pepper;
$t->done;
