#!/usr/bin/perl

# opsauth usage, and what other verbs say of it: what is shown, what is unused,
# what goes with an account, how much memory many keys take. With a real Redis.

use strict;
use warnings;

use JSON::PP ();
use POSIX qw(strftime);
use Test::More;

use OpsAuth::Command;
use OpsAuth::Test;

my $t = OpsAuth::Test->new;
my $dir = $t->dir;
my $redis = $t->redis;
my $store = $t->store(redis => $redis);
my $opsauth = OpsAuth::Command->new($t, OPSAUTH_REDIS => $redis->url, OPSAUTH_PEPPER_FILE => $store->pepper_file,
    OPSAUTH_KEY_PREFIX => 'live=op365_sk_live_', TZ => 'UTC');
my ($rc, $out, $err);

sub opsauth { return ($rc, $out, $err) = $opsauth->run(@_) }
sub json { return JSON::PP->new->utf8->decode($_[0]) }
sub lines { return split /\n/, $out }

my $now = time;
my $DAY = 86400;
sub day { return strftime '%Y%m%d', gmtime($now - $_[0] * $DAY) }
sub long { return strftime '%Y-%m-%d', gmtime($now - $_[0] * $DAY) }
sub utc { return strftime '%Y-%m-%dT%H:%M:%SZ', gmtime $_[0] }
sub used { my ($id, @fields) = @_; return $redis->cmd('HSET', "opsauth:usage:$id", @fields) }

$store->account($_) for qw(crm shop);
my %created = (busy => 500, quiet => 500, never => 500, new => 1, revoked => 500, expired => 500, shop => 500, old => 500);
for my $name (sort keys %created) {
    my $key = $store->issue(account => $name eq 'shop' ? 'shop' : 'crm', id => "key_$name", name => $name,
        created => $now - $created{$name} * $DAY, $name eq 'revoked' ? (state => 'revoked') : (),
        $name eq 'expired' ? (expires => $now - 10) : ());
}
used('key_busy', last_used => $now - 60, last_ip => '203.0.113.7', 'requests:' . day(0) => 7, 'denied:' . day(0) => 2,
    'requests:' . day(3) => 40, 'requests:' . day(29) => 100, 'requests:' . day(30) => 1000, 'requests:x' => 5, other => 9);
used('key_quiet', last_used => $now - 100 * $DAY, last_ip => '2001:db8::1', 'requests:' . day(100) => 3);
used('key_shop', last_used => $now - 5, last_ip => 'unix:', 'requests:' . day(0) => 1);
used('key_old', 'requests:' . day(1) => 4, 'denied:' . day(1) => 4);

subtest 'all of them' => sub {
    opsauth('usage');
    is("$rc $err", '0 ', 'usage');
    my @lines = lines();
    like($lines[0], qr/^ID +NAME +ACCOUNT +LAST USED +FROM +REQUESTS +DENIED$/, 'a head');
    is(@lines, 1 + keys %created, 'a line for each key');
    my ($busy) = grep { /^key_busy / } @lines;
    like($busy, qr/^key_busy +busy +crm +\d{4}-\S+ [\d:]{8} +203\.0\.113\.7 +147 +2$/, 'of the last 30 days');
    like((grep { /^key_never / } @lines)[0], qr/never +crm +never +- +0 +0$/, 'one that was never used');
    my ($column) = map { index $_, 'LAST USED' } $lines[0];
    is_deeply([grep { substr($_, $column - 1, 1) ne ' ' } @lines], [], 'in columns');

    opsauth(qw(usage --days 400 --account crm));
    is(lines(), keys(%created), 'those of one account');
    like($out, qr/^key_busy .* 1147 +2$/m, 'of more days');
    opsauth(qw(usage --days 1));
    like($out, qr/^key_busy .* 7 +2$/m, 'of today');

    opsauth(qw(usage --json));
    my %of = map { $_->{id} => $_ } @{json($out)};
    is_deeply([sort keys %of], [map { "key_$_" } sort keys %created], 'as JSON');
    is_deeply($of{key_busy}, { id => 'key_busy', name => 'busy', account => 'crm', state => 'active',
        created => utc($now - 500 * $DAY), last_used => utc($now - 60), last_ip => '203.0.113.7', requests => 147, denied => 2 }, 'in all fields');
    is_deeply([@{$of{key_never}}{qw(last_used last_ip requests denied)}], [undef, undef, 0, 0], 'also where there is nothing');
};

subtest 'one of them' => sub {
    opsauth(qw(usage key_busy));
    is("$rc $err", '0 ', 'usage ID');
    like($out, qr/^requests, 30 days +147$/m, 'a sum');
    like($out, qr/^of these denied +2$/m, 'of denials, too');
    is_deeply([$out =~ /^(\d{4}-\d\d-\d\d +\d+ +\d+)$/mg], [long(0) . '  7         2', long(3) . '  40        0', long(29) . '  100       0'], 'and days')
        or diag $out;
    opsauth(qw(usage key_busy --json --days 5));
    is_deeply(json($out)->{days}, [{ day => long(0), requests => 7, denied => 2 }, { day => long(3), requests => 40, denied => 0 }], 'as JSON');
    opsauth(qw(usage key_never));
    like($out, qr/^last used +never$/m, 'never used');

    $store->credential($store->token, account => 'crm', id => 'tok_1', kind => 'access_token');
    used('tok_1', 'requests:' . day(0) => 3);
    opsauth(qw(usage tok_1));
    like($out, qr/^requests, 30 days +3$/m, 'a token');
    opsauth('usage');
    unlike($out, qr/tok_1/, 'is not in the list');
    opsauth(qw(usage key_none));
    is($rc, 3, 'one that there is not');
};

subtest 'unused ones' => sub {
    opsauth(qw(usage --unused-since 90d --json));
    is_deeply([sort map { $_->{id} } @{json($out)}], [qw(key_never key_old key_quiet)], 'active, not new, and not used since');
    opsauth(qw(usage --unused-since 200d --json));
    is_deeply([sort map { $_->{id} } @{json($out)}], [qw(key_never key_old)], 'longer ago');
    opsauth(qw(usage --unused-since 2d --account shop --json));
    is_deeply(json($out), [], 'none');
    opsauth(qw(usage --unused-since 2d --account shop));
    like($out, qr/^ID .*DENIED\n$/, 'is a head alone');
};

subtest 'refused' => sub {
    for ([[qw(--days 0)], qr/1 to 400/], [[qw(--days 401)], qr/1 to 400/], [[qw(--unused-since soon)], qr/90d/],
        [[qw(--unused-since 2999-01-01)], qr/has not come yet/],
        [[qw(key_busy --account crm)], qr/one credential/], [[qw(--account), 'a b'], qr/account/], [[qw(key_a key_b)], qr/too much/])
    {
        my ($words, $said) = @$_;
        opsauth('usage', @$words);
        is("$rc $out", '2 ', "@$words");
        like($err, $said, 'says why');
    }
    opsauth(qw(usage --account none));
    is($rc, 3, 'no such account');
    my $key = $store->issue(account => 'crm', id => 'key_secret');
    opsauth('usage', $key);
    is("$rc $out", '2 ', 'a key in place of an id');
    unlike($err, qr/\Q$key\E/, 'is not repeated');
    $store->forget($key);
    $redis->cmd(qw(SREM opsauth:credentials:crm key_secret));
    $redis->cmd(qw(DEL opsauth:id:key_secret));
};

subtest 'key list and show' => sub {
    opsauth(qw(key list --account crm));
    my @lines = lines();
    like($lines[0], qr/ LAST USED$/, 'a column');
    like((grep { /^key_busy / } @lines)[0], qr/ \d{4}-\S+ [\d:]{8}$/, 'when');
    like((grep { /^key_never / } @lines)[0], qr/ -$/, 'or not');
    opsauth(qw(key list --account crm --json));
    my %of = map { $_->{id} => $_ } @{json($out)};
    is_deeply([@{$of{key_busy}}{qw(last_used last_ip)}], [utc($now - 60), '203.0.113.7'], 'as JSON');
    is_deeply([@{$of{key_never}}{qw(last_used last_ip)}], [undef, undef], 'or null');
    opsauth(qw(key show key_busy));
    like($out, qr/^last used +\d{4}.*\nfrom +203\.0\.113\.7$/m, 'key show');
    opsauth(qw(key show key_never --json));
    is(json($out)->{last_used}, undef, 'never');
    $redis->cmd('SET', 'opsauth:usage:key_never', 'x');
    opsauth(qw(key list --account crm));
    is($rc, 0, 'a name that is no hash is passed over');
    opsauth(qw(usage));
    is($rc, 0, 'there, too');
    like($err, qr/"opsauth:usage:key_never" is not of the kind/, 'and told of');
    $redis->cmd('DEL', 'opsauth:usage:key_never');
};

subtest 'export and the end of an account' => sub {
    opsauth('export');
    is($rc, 0, 'export');
    unlike($out, qr/last_used|203\.0\.113/, 'has no usage');
    opsauth(qw(account delete crm --yes));
    is($rc, 0, 'account delete') or diag $err;
    is_deeply($redis->cmd('KEYS', 'opsauth:usage:key_*'), ['opsauth:usage:key_shop'], 'takes that of its keys along');
};

subtest 'doctor' => sub {
    my ($pw) = map { join '', map { ('a' .. 'z')[rand 26] } 1 .. 24 } 1;
    $t->secret($pw);
    $t->write_file('gateway.password', "$pw\n", 0600);
    $redis->cmd(qw(ACL SETUSER gateway on), ">$pw", qw(resetkeys %R~opsauth:credential:* %R~opsauth:account:* %R~opsauth:meta resetchannels
        &__redis__:invalidate &opsauth:invalidate -@all +hmget +ping +info +subscribe +client|id +client|setname +client|tracking +role));
    my $conf = sub {
        return $t->write_file('nginx.conf', 'http { opsauth_store main { redis ' . $redis->url . '; pepper_file ' . $store->pepper_file
            . '; key_prefix op365_sk_live_ environment=live checksum=crc32; redis_user gateway; redis_password_file gateway.password; '
            . "$_[0] } }\n");
    };
    my $checks = sub {
        my $plain = OpsAuth::Command->new($t);
        ($rc, $out, $err) = $plain->run(qw(doctor --json -c), $conf->($_[0]));
        return grep { $_->{check} eq 'usage rights' } @{json($out)->{checks}};
    };
    is_deeply([$checks->('')], [], 'without usage nothing is asked');
    is_deeply([$checks->('usage off;')], [], 'nor where it is off');
    for my $round (1 .. 6) {
        my @failed = grep { $_->{result} eq 'failure' } $checks->('usage on;');
        last if !@failed;
        my ($rule) = $failed[0]{remedy} =~ /^ACL SETUSER gateway (\S+)$/ or last;
        $redis->cmd(qw(ACL SETUSER gateway), $rule);
    }
    my @checks = $checks->('usage on;');
    is_deeply([map { $_->{result} } @checks], ['ok'], 'its remedies help') or diag explain \@checks;
    is_deeply([grep { /doctor/ } @{$redis->cmd('KEYS', '*')}], [], 'and nothing is written');
};

subtest 'many keys' => sub {
    # what lists hold must not grow with the number of keys
    my @fields = map { ('requests:' . day($_) => 100 + $_) } 0 .. 9;
    my $write = sub {
        my ($from, $to) = @_;
        $redis->cmd('EVAL', <<'LUA', 0, $from, $to, $now, @fields);
for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do
    local id, digest = string.format('key_m%07d', i), string.format('%064x', i)
    redis.call('SET', 'opsauth:id:' .. id, digest)
    redis.call('HSET', 'opsauth:credential:' .. digest, 'v', 1, 'id', id, 'kind', 'api_key', 'account', 'shop', 'state', 'active',
        'environment', 'live', 'scopes', '', 'expires', 0, 'name', 'many', 'created', 1)
    redis.call('HSET', 'opsauth:usage:' .. id, 'last_used', ARGV[3], 'last_ip', '192.0.2.1', unpack(ARGV, 4))
end
return 1
LUA
    };
    $write->(1, 20_000);
    my $limit = 48 * 1024;
    my $path = $opsauth->path;
    my $many = qr/^key_m\d{7} .* 1045 +0$/m;
    SKIP: {
        # AddressSanitizer reserves terabytes of addresses, valgrind some hundred MiB
        skip 'a sanitizer takes more', 2 if OpsAuth::Nginx::SLOW;
        local %ENV = (%ENV, $opsauth->env);
        is(system("ulimit -v $limit; '$path' usage > $dir/list 2> $dir/list.err"), 0, 'in 48 MiB') or diag $t->read_file('list.err');
        my $n = () = $t->read_file('list') =~ /$many/g;
        is($n, 20_000, '20000 keys are listed, with all their days');
    }
    my ($exit, $out) = $opsauth->run('usage');
    is($exit, 0, 'without a limit');
    my $n = () = $out =~ /$many/g;
    is($n, 20_000, 'the same');
};

$t->done;
