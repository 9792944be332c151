#!/usr/bin/perl

# opsauth import, export and key import: what a line may be, what becomes of it,
# that nothing good is lost and nothing revoked comes back; that both end in
# good order when they are stopped, and stay small. LOAD_LONG=1: a million
# records, and the rate.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex sha256_hex);
use Encode qw(encode_utf8);
use JSON::PP ();
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep);

use OpsAuth::Command;
use OpsAuth::Process;
use OpsAuth::Test;

$ENV{TEST_TIMEOUT} //= $ENV{LOAD_LONG} ? 1800 : 300;

my $t = OpsAuth::Test->new;
my $redis = $t->redis;
my $dir = $t->dir;
my $store = $t->store(pepper => ['n' x 40, 'o' x 40], marker => 0);

# the operator's user, as docs/redis.md says it
my ($acl) = OpsAuth::Nginx::_read($t->root . '/docs/redis.md', 0) =~ /(ACL SETUSER operator on >PASSWORD .*)/;
$redis->cmd(split / /, $acl);
my $password = $t->write_file('password', "PASSWORD\n", 0600);

my $opsauth = OpsAuth::Command->new($t,
    OPSAUTH_REDIS       => $redis->url,
    OPSAUTH_REDIS_USER  => 'operator',
    OPSAUTH_REDIS_PASSWORD_FILE => $password,
    OPSAUTH_PEPPER_FILE => $store->pepper_file,
    OPSAUTH_KEY_PREFIX  => 'live=op365_sk_live_ test=op365_sk_test_ live=old_:checksum=off',
);

my ($rc, $out, $err);
sub opsauth { ($rc, $out, $err) = $opsauth->run(@_); return $rc }

my $JSON = JSON::PP->new->utf8->canonical;
sub json { return $JSON->decode($_[0]) }
sub line { return $JSON->encode({@_}) . "\n" }
sub fields { return {@{$redis->cmd('HGETALL', $_[0])}} }

sub account { return line(type => 'account', id => shift, enabled => JSON::PP::true, @_) }

my %FORM = (type => 'credential', kind => 'api_key', account => 'acme', state => 'active',
    environment => 'live', scopes => ['read:tenants'], expires => undef);

# a credential by its number; undef leaves a member out, but for expires
sub credential {
    my ($n, %o) = @_;
    my %m = (%FORM, id => "key_$n", digest => sha256_hex("digest $n"), %o);
    delete @m{grep { !defined $m{$_} && $_ ne 'expires' } keys %m};
    return line(%m);
}
sub of { return 'opsauth:credential:' . sha256_hex("digest $_[0]") }

# by an import with --json: its summary
sub import_lines {
    my ($lines, @options) = @_;
    opsauth({in => join '', @$lines}, 'import', '--json', @options);
    return eval { json($out) } || die "exit $rc: $out$err";
}

# all records there are, but for the audit
sub dump_store {
    my %all;
    for my $name (@{$redis->cmd('KEYS', 'opsauth:*')}) {
        next if $name eq 'opsauth:audit';
        my $type = $redis->cmd('TYPE', $name);
        $all{$name} = $type eq 'hash' ? {@{$redis->cmd('HGETALL', $name)}}
            : $type eq 'set' ? [sort @{$redis->cmd('SMEMBERS', $name)}]
            : $type eq 'zset' ? $redis->cmd('ZRANGE', $name, 0, -1, 'WITHSCORES') : $redis->cmd('GET', $name);
    }
    return \%all;
}

sub audit { return map { {@{$_->[1]}} } @{$redis->cmd('XRANGE', 'opsauth:audit', '-', '+')} }

sub clear { $redis->cmd('FLUSHALL') }

# --- help ------------------------------------------------------------------------

subtest 'help' => sub {
    for my $word ('import', 'export') {
        is(opsauth($word, '--help'), 0, "$word --help");
        like($out, qr/^usage: opsauth $word \[FILE\|-\].*^  opsauth $word/ms, 'with an example');
        ok(!(grep { length > 100 } split /\n/, $out), 'no line is too long');
        opsauth('--help');
        like($out, qr/^$word /m, 'named in the help of the command');
    }
    is(opsauth('import', '--unrevoke', '-'), 2, '--unrevoke alone');
    is(opsauth('import', '--from-line', $_, '-'), 2, "--from-line $_") for 0, 'x', -1;
    is(opsauth('import', "$dir/none"), 1, 'no such file');
    like($err, qr/"\Q$dir\E\/none" can't be opened/);
    is(opsauth('import', $dir), 1, 'a directory');
    is(opsauth('import', '--frm-line', 3), 2);
    like($err, qr/did you mean "--from-line"/);
};

# --- lines -----------------------------------------------------------------------

subtest 'records' => sub {
    my $name = "  Caf\x{e9} \x{65e5}\x{672c} \x{1f600}  x ";
    my $sum = import_lines([
        account('acme', name => $name, roles => ['a', 'b'], ips => ['10.0.0.0/8'], rate => '300/m',
            created => '2026-01-02T03:04:05Z', other => {colour => 'blue'}),
        "\n", "  \t\r\n",
        credential(1, name => $name) =~ s/\n/\r\n/r,
        credential(2, expires => '2030-01-01T00:00:00Z', created => 1767225600, state => 'deprecated',
            ips => '10.0.0.1, 10.0.0.2'),
        credential(3, kind => 'access_token', id => 'tok_3', expires => time + 600, subject => 's', client => 'c'),
        credential(4, kind => 'access_token', id => 'tok_4', expires => time - 90_000),
        substr(credential(5, state => 'revoked'), 0, -1),
    ]);
    is("$rc $err", '0 ', 'all good');
    is_deeply($sum, {
        lines => 6, bad => 0, errors => [], from_line => undef,
        accounts => {created => 1, replaced => 0, unchanged => 0, expired => 0},
        clients => {created => 0, replaced => 0, unchanged => 0, expired => 0},
        credentials => {created => 4, replaced => 0, unchanged => 0, expired => 1},
    }, 'the summary');
    is_deeply(fields('opsauth:account:acme'), {
        name => encode_utf8($name), roles => 'a b', ips => '10.0.0.0/8', rate => '300/m', enabled => 1,
        created => 1767323045, colour => 'blue',
    }, 'an account, with what this version does not know');
    is_deeply(fields(of(1)), {
        v => 1, id => 'key_1', kind => 'api_key', account => 'acme', name => encode_utf8($name),
        state => 'active', environment => 'live', scopes => 'read:tenants', expires => 0,
    }, 'a credential, with nothing more than its line says');
    is(fields(of(2))->{expires}, 1893456000, 'a time');
    is(fields(of(2))->{ips}, '10.0.0.1, 10.0.0.2', 'a list as text');
    is($redis->cmd('GET', 'opsauth:id:key_1'), sha256_hex('digest 1'), 'found by its id');
    is_deeply([sort @{$redis->cmd('SMEMBERS', 'opsauth:credentials:acme')}], ['key_1', 'key_2', 'key_5'],
        'and by its account');
    is_deeply($redis->cmd('ZRANGE', 'opsauth:tokens:acme', 0, -1), ['tok_3'], 'a token in a set of its own');
    ok($redis->cmd('TTL', of(3)) > 86400, 'a token is forgotten a day after its end');
    ok($redis->cmd('TTL', 'opsauth:id:tok_3') > 86400, 'its id too');
    is($redis->cmd('TTL', of(1)), -1, 'a key never');
    is($redis->cmd('EXISTS', of(4)), 0, 'a token that was over long ago is left out');
    is(fields('opsauth:meta')->{v}, 1, 'the mark of the store');
    is_deeply([map { "$_->{action} $_->{object}" } audit()], ['import.begin stdin', 'import.end stdin'],
        'audit: two entries');
    like((audit())[1]{detail}, qr/accounts: 1 created.*credentials: 4 created/, 'with counts');
};

subtest 'bad lines' => sub {
    my @bad = (
        ['{"type":"account","id":"x"', qr/is no JSON: .*column/],
        ['[]', qr/is no JSON object/],
        ['{"type":"credential" "op365_sk_live_secretsecretsecret"}', qr/is no JSON: /],
        ["{\"type\":\"account\",\"id\":\"x\xff\"}", qr/is no JSON: /],
        ["{\"type\":\"account\",\0\"id\":\"x\"}", qr/is no JSON: /],
        ['{"type":"account","id":"a\u0000b","enabled":true}', qr/is no JSON: /],
        ['{"type":"account","id":"a","id":"b","enabled":true}', qr/is no JSON: a member stands there twice/],
        [line(type => 'account', id => 'x', name => 'y' x 70_000), qr/is longer than 64 KiB/],
        [line(type => 'account', id => 'x', name => 'y' x 900_000), qr/is longer than 64 KiB/],
        ['{"id":"x"}', qr/"type": expected "account", "client" or "credential"/],
        [account('a b'), qr/"id": expected letters/],
        [line(type => 'account', enabled => JSON::PP::true), qr/"id": is missing/],
        [line(type => 'account', id => 'x'), qr/"enabled": is missing/],
        [account('x', enabled => 'yes'), qr/"enabled": expected 0 or 1/],
        [account('x', enabled => 3), qr/"enabled": expected true or false/],
        [account('x', rate => '300'), qr/"rate": expected requests per/],
        [account('x', name => "a\nb"), qr/"name": expected a text without control/],
        [account('x', ips => ['10.0.0.1/8']), qr/"ips": expected at most 32/],
        [account('x', ip => ['10.0.0.1']), qr/unknown member "ip"; did you mean "/],
        [account('x', op365_sk_live_secretsecretsecret => 1), qr/a member that no such record has/],
        [account('x', other => {name => 'x'}), qr/"other": holds a field that has its own place/],
        [account('x', other => {map { $_ => 1 } 1 .. 100}), qr/"other": expected strings|too many/],
        [account('x', created => 'yesterday'), qr/"created": expected a time such as/],
        [credential(10, state => undef), qr/"state": is missing/],
        [credential(10, state => 'expired'), qr/"state": expected active/],
        [credential(10) =~ s/"expires":null,//r, qr/"expires": is missing/],
        [credential(10, expires => '2030-02-30T00:00:00Z'), qr/"expires": expected a time/],
        [credential(10, expires => -1), qr/"expires": expected a time/],
        [credential(10, scopes => ['a b']), qr/"scopes": expected a list of words/],
        [credential(10, scopes => 'x' x 800), qr/"scopes": .*768/],
        [credential(10, account => 'nobody'), qr/no account "nobody", neither in the store nor in a line before/],
        [credential(10, id => undef), qr/"id": is missing/],
        [credential(10, digest => undef), qr/expected either "digest" or "key"/],
        [credential(10, key => 'x' x 43), qr/expected either "digest" or "key"/],
        [credential(10, digest => uc sha256_hex('digest 10')), qr/"digest": expected 64 hex digits/],
        [credential(10, id => 'op365_sk_live_' . 'x' x 49), qr/"id": begins like a key/],
        [credential(10, v => '2'), qr/"v": expected 1/],
        [credential(10, id => 'key_1'), qr/the id "key_1" belongs to another credential/],
        [credential(1, id => 'key_10'), qr/exists already, as "key_1" of account "acme"; id, account and kind/],
        [credential(1, name => 'other'), qr/credential "key_1" exists already, with another "name"; --replace/],
        [credential(5, state => 'active'), qr/"key_5" is revoked and stays so; --replace --unrevoke/],
        [account('acme'), qr/account "acme" exists already, with another .*; --replace/],
        [credential(10, subject => 's' x 256, client => 'c' x 128, scopes => 's' x 768, ips => join(' ', map {
            "2001:db8:$_\::/64" } 1 .. 32), account => 'acme'), undef],
    );
    my $before = dump_store();
    my (@lines, %expected);
    for my $i (0 .. $#bad) {
        # good ones in between
        push @lines, account("good$i"), $bad[$i][0] =~ s/\n?\z/\n/r;
    }
    my $sum = import_lines(\@lines);
    is($rc, 1, 'exit code');
    my %reason = map { $_->{line} => $_->{reason} } @{$sum->{errors}};
    for my $i (0 .. $#bad) {
        my ($line, $reason) = @{$bad[$i]};
        next unless $reason;
        like($reason{2 * $i + 2} // '', $reason, 'line: ' . substr($line, 0, 60) =~ s/[^ -~]/?/gr);
    }
    my $n = grep { $_->[1] } @bad;
    is($sum->{bad}, $n, 'so many are bad');
    is($sum->{accounts}{created}, scalar @bad, 'and none of the good ones is lost');
    my @said = $err =~ /^opsauth: line (\d+): /mg;
    is_deeply(\@said, [sort { $a <=> $b } keys %reason], 'each is told, in order');
    unlike("$err$out", qr/secretsecret/, 'what may be a key is not repeated');
    my $after = dump_store();
    delete @$after{grep { /account:good|:$FORM{account}$/ || $_ eq of(10) || /key_10$/ } keys %$after};
    delete @$before{'opsauth:credentials:acme', 'opsauth:tokens:acme'};
    delete $before->{'opsauth:account:acme'};
    is_deeply($after, $before, 'nothing else has changed');
};

subtest 'again, replace, unrevoke' => sub {
    clear();
    my @lines = (account('acme', name => 'one'), credential(1), credential(2, state => 'revoked'), credential(1));
    my $sum = import_lines(\@lines);
    is_deeply($sum->{credentials}, {created => 2, replaced => 0, unchanged => 1, expired => 0},
        'the second of two equal lines changes nothing');
    my $store = dump_store();
    my $entries = audit();
    $sum = import_lines(\@lines);
    is("$rc $sum->{accounts}{unchanged} $sum->{credentials}{unchanged}", '0 1 3', 'again: all is so already');
    is_deeply(dump_store(), $store);
    is(scalar(audit()), $entries, 'and nothing stands in the audit');

    $sum = import_lines([account('acme', name => 'two', rate => '1/s'), credential(1, hint => 'abcd'),
        credential(2), credential(3), credential(3, name => 'b'), credential(4), credential(6, id => 'key_4')]);
    is("$rc $sum->{bad}", '1 5', 'what differs is refused, also within a file');
    is(fields('opsauth:account:acme')->{name}, 'one');

    $redis->cmd('HSET', 'opsauth:account:acme', 'gone', 'x');
    $sum = import_lines([account('acme', name => 'two'), credential(1, hint => 'abcd'), credential(2)], '--replace');
    is("$rc $sum->{bad} $sum->{accounts}{replaced} $sum->{credentials}{replaced}", '1 1 1 1', '--replace');
    is_deeply(fields('opsauth:account:acme'), {enabled => 1, name => 'two'}, 'the whole record');
    is(fields(of(1))->{hint}, 'abcd');
    is(fields(of(2))->{state}, 'revoked', 'a tombstone stays');
    import_lines([credential(2)], '--replace', '--unrevoke');
    is("$rc " . fields(of(2))->{state}, '0 active', '--unrevoke');
    $redis->cmd('SET', of(7), 'no hash');
    $redis->cmd('SET', 'opsauth:credentials:acme2', 'no set');
    $sum = import_lines([account('acme2'), credential(7), credential(8), credential(9, account => 'acme2')]);
    is("$rc $sum->{bad} $sum->{credentials}{created}", '1 2 1', 'what is not of opsauth');
};

# --- keys ------------------------------------------------------------------------

my $raw = $store->key('old_', checksum => 0);
my $minted = $store->key('op365_sk_test_');

subtest 'raw keys' => sub {
    clear();
    my $wrong = $store->key('op365_sk_live_', checksum => 'wrong');
    my $token = $store->token;
    my @keys = map { credential(0, id => undef, digest => undef, kind => undef, environment => undef, key => $_) }
        $raw, $minted, $wrong, $token, 'old_short', "$raw x";
    push @keys, credential(0, id => 'tok_raw', digest => undef, key => $token, kind => 'access_token',
        expires => time + 600);
    push @keys, credential(0, digest => undef, key => $minted, environment => 'live');
    my $sum = import_lines([account('acme'), @keys]);
    is_deeply([map { $_->{line} } @{$sum->{errors}}], [4, 5, 6, 7, 9], 'which are bad');
    my @why = (qr/checksum is wrong/, qr/begins with no key prefix/, qr/too short/, qr/no request could carry/,
        qr/prefix makes it a test key/);
    like($sum->{errors}[$_]{reason}, $why[$_]) for 0 .. $#why;
    unlike($out . $err, qr/\Q$_\E/, 'none is repeated') for $raw, $minted, $wrong, $token;

    my $record = fields('opsauth:credential:' . hmac_sha256_hex($raw, 'n' x 40));
    like(delete $record->{id}, qr/^key_[0-9A-Za-z]{16}$/, 'an id was made');
    like(delete $record->{created}, qr/^\d+$/);
    is_deeply($record, {v => 1, kind => 'api_key', account => 'acme', state => 'active', environment => 'live',
        scopes => 'read:tenants', expires => 0, hint => substr($raw, -4)}, 'the rest from line and prefix');
    is(fields('opsauth:credential:' . hmac_sha256_hex($minted, 'n' x 40))->{environment}, 'test');
    $sum = import_lines([@keys[0, 1]]);
    is("$rc $sum->{credentials}{unchanged}", '0 2', 'again: the same');

    # revoked, and under a pepper that is not the newest any more
    my $old = 'opsauth:credential:' . hmac_sha256_hex($raw, 'o' x 40);
    $redis->cmd('RENAME', 'opsauth:credential:' . hmac_sha256_hex($raw, 'n' x 40), $old);
    $redis->cmd('HSET', $old, 'state', 'revoked');
    $sum = import_lines([$keys[0]]);
    like($sum->{errors}[0]{reason}, qr/is revoked and stays so/, 'revoked under an older pepper');
    is($redis->cmd('EXISTS', 'opsauth:credential:' . hmac_sha256_hex($raw, 'n' x 40)), 0);

    is(opsauth({in => $keys[0], env => {OPSAUTH_PEPPER_FILE => "$dir/none"}}, 'import'), 1, 'without the pepper');
    like($err, qr/can't be opened.*stopped after line 0, .*--from-line 1/s);
};

subtest 'key import' => sub {
    clear();
    my @import = (qw(key import --account acme --permission read --name), 'from afar');
    is(opsauth({in => "$raw\n"}, @import), 3, 'no account yet');
    import_lines([account('acme')]);
    is(opsauth({in => "$raw\r\n"}, @import, '--expires', '90d'), 0, 'key import');
    like($out, qr/^key_[0-9A-Za-z]{16}\n$/, 'its id alone');
    chomp(my $id = $out);
    my $record = fields('opsauth:credential:' . hmac_sha256_hex($raw, 'n' x 40));
    is("$record->{id} $record->{name} $record->{scopes} $record->{environment}", "$id from afar read:* live");
    is("@{(audit())[-1]}{qw(action object)}", "key.import $id", 'audit');
    is(opsauth({in => $raw}, @import), 1, 'again');
    like($err, qr/knows this key already, as "$id" of account "acme" \(active\)/);
    is(opsauth({in => $minted}, @import, '--environment', 'live'), 1, 'another environment');
    is(opsauth({in => $minted}, @import, '--json'), 0, '--json');
    is(json($out)->{environment}, 'test', 'from the prefix');
    unlike($out, qr/\Q$minted\E/);
    is(opsauth({in => ''}, @import), 2, 'nothing on stdin');
    is(opsauth({in => "$raw\n$minted\n"}, @import), 1, 'two');
    is(opsauth({in => "$raw\0x"}, @import), 1, 'a zero byte');
    is(opsauth({in => $store->token}, @import), 1, 'no key');
    like($err, qr/begins with no key prefix/);
    is(opsauth({in => $store->key('op365_sk_live_', checksum => 'wrong')}, @import), 1, 'a typing error');
    is(opsauth(@import, $raw), 2, 'never on the command line');
    unlike($err, qr/\Q$raw\E/, 'nor shown');
};

# --- nginx -----------------------------------------------------------------------

subtest 'nginx takes them' => sub {
    clear();
    my $spare = $store->key('old_', checksum => 0);
    $t->config_http(<<'CONF');
    opsauth_store main {
        redis %%REDIS%%; pepper_file %%PEPPER%%; cache 1m;
        key_prefix op365_sk_test_ environment=test checksum=crc32; key_prefix old_ environment=live;
    }
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        location / { opsauth main; opsauth_environment any; try_files /none =204; }
    }
CONF
    $t->start;
    import_lines([account('acme')]);
    my %raw = (digest => undef, id => undef, kind => undef, environment => undef);
    is($t->get('/', key => $_)->status, 401, 'not yet') for $raw, $spare;
    import_lines([credential(0, %raw, key => $raw), credential(1, digest => $store->digest($minted),
        environment => 'test')]);
    is($t->get('/', key => $raw)->status, 204, 'by the key');
    is($t->get('/', key => $minted)->status, 204, 'by its digest');
    opsauth({in => $spare}, qw(key import --account acme --permission read --name n));
    is($t->get('/', key => $spare)->status, 204, 'by key import');
    import_lines([account('acme', enabled => JSON::PP::false)], '--replace');
    ok(OpsAuth::Process->poll(5, sub { $t->get('/', key => $raw)->status == 401 }), 'a change is in force');
    $t->stop;
};

# for gateways whose Redis tracks nothing for them
subtest 'announced' => sub {
    clear();
    my $listener = $redis->client;
    $listener->cmd('SUBSCRIBE', 'opsauth:invalidate');
    import_lines([account('acme'), credential(1)]);
    is_deeply([map { $listener->read_reply(5)->[2] } 1, 2], ['opsauth:account:acme', of(1)], 'each record');
    opsauth({in => $raw}, qw(key import --account acme --permission read --name n));
    like($listener->read_reply(5)->[2], qr/^opsauth:credential:[0-9a-f]{64}$/, 'key import');
    import_lines([account('acme'), credential(1)]);
    import_lines([map { credential($_) } 1 .. 1200]);
    is($listener->read_reply(5)->[2], '*', 'or everything, where there are many');
};

# --- export ----------------------------------------------------------------------

my @MANY = (account('acme'), account('bulk', name => 'b'), map { credential($_,
    account => $_ % 2 ? 'acme' : 'bulk', name => "number $_", created => 1700000000 + $_) } 1 .. 4000);

subtest 'rotated keys come back' => sub {
    clear();
    is(opsauth(@$_), 0, "@$_[0, 1]") or diag $err
        for ['account', 'create', 'rotating'],
        ['key', 'create', '--account', 'rotating', '--name', 'first', '--scope', 'read:tenants'], ['key', 'list', '--account', 'rotating', '--json'];
    my ($id) = $out =~ /"(key_\w+)"/;
    is(opsauth('key', 'rotate', $id), 0, 'rotated') or diag $err;
    my $before = dump_store();
    is(scalar(grep { ref eq 'HASH' && ($_->{successor} || $_->{predecessor}) } values %$before), 2, 'they name each other');
    is(opsauth('export', "$dir/rotated.jsonl"), 0, 'export');
    clear();
    is(opsauth('import', "$dir/rotated.jsonl"), 0, 'import') or diag $err;
    is_deeply(dump_store(), $before, 'as they were');
};

subtest 'round trip' => sub {
    clear();
    import_lines([@MANY, credential(5001, kind => 'access_token', id => 'tok_x', expires => time + 1000,
        subject => 'user 7'), account('odd', ips => [], roles => ['a'], other => {x => "1\tb"}, name => '')]);
    is($rc, 0, 'so many');
    # written by others, and read by nobody but us
    $redis->cmd('HSET', 'opsauth:account:odd', 'created', '0', 'updated', '007', 'roles', 'a  b', 'ips', '10.0.0.1,::1');
    $redis->cmd('HSET', of(1), 'ips', '', 'tag', "\x{c3}\x{a9}", 'created', '0');
    my $before = dump_store();

    umask 0022;
    is(opsauth('export', "$dir/out.jsonl"), 0, 'export');
    is("$out", '', 'nothing on stdout');
    like($err, qr/3 accounts, 0 clients and 4001 credentials written/);
    is(sprintf('%04o', (stat "$dir/out.jsonl")[2] & 07777), '0600', 'for its owner alone');
    is_deeply([glob "$dir/out.jsonl.*"], [], 'no temporary file');
    my $text = $t->read_file('out.jsonl');
    is(opsauth('export'), 0, 'to stdout');
    is_deeply([sort split /\n/, $out], [sort split /\n/, $text], 'the same');
    my ($one) = grep { $_->{id} eq 'key_2' } map { json($_) } split /\n/, $text;
    opsauth(qw(key show key_2 --json));
    my $show = json($out);
    is_deeply({map { $_ => $one->{$_} } grep { defined $show->{$_} && !ref $show->{$_} } keys %$show},
        {map { $_ => $show->{$_} } grep { defined $show->{$_} && !ref $show->{$_} } keys %$show}, 'as key show --json');

    clear();
    is(opsauth('import', "$dir/out.jsonl"), 0, 'import') or diag $err;
    is_deeply(dump_store(), $before, 'every record as it was, field by field');
    ok($redis->cmd('TTL', of(5001)) > 86400, 'the TTL too');

    my $old = $t->write_file('old.jsonl', 'old', 0644);
    symlink $old, "$dir/link.jsonl";
    is(opsauth('export', "$dir/link.jsonl", '--json'), 0, 'over a file, by a link');
    is(json($out)->{credentials}, 4001, '--json');
    ok(-l "$dir/link.jsonl" && -s $old > 1000, 'the file is replaced, not the link');

    $redis->cmd('HSET', of(1), 'name', "\xff");
    $redis->cmd('SET', of(2), 'x');
    $redis->cmd('HSET', 'opsauth:credential:x', 'state', 'active');
    is(opsauth('export'), 1, 'what JSON can not carry, and what is no record');
    is(scalar(() = $out =~ /\n/g), 4002, 'is left out');
    is(scalar(() = $err =~ /left out/g), 3, 'and told');
};

subtest 'export that can not be written' => sub {
    my $old = $t->write_file('keep.jsonl', "old\n");
    is(opsauth('export', '/dev/full'), 1, 'a full device');
    like($err, qr/"\/dev\/full" can't be written: No space/);
    ok(-c '/dev/full', 'which is still one');
    is(opsauth({out => '/dev/full'}, 'export'), 1, 'stdout is full');
    is(opsauth({closed => 1}, 'export'), 1, 'stdout is closed');
    is(opsauth('export', "$dir/none/x"), 1, 'no such directory');
    system 'sh', '-c', 'ulimit -f 1; trap "" XFSZ; exec "$0" --redis "$1" export "$2" 2>/dev/null',
        $opsauth->path, $redis->url, "$dir/keep.jsonl";
    is($? >> 8, 1, 'a file that may not grow');
    is($t->read_file('keep.jsonl'), "old\n", 'leaves the old one');
    is_deeply([glob "$dir/keep.jsonl.*"], [], 'and nothing beside it');
    system 'sh', '-c', "{ '${\ $opsauth->path}' --redis '${\ $redis->url}' export; echo \$? > '$dir/pipe.rc'; } 2>/dev/null | true";
    is($t->read_file('pipe.rc'), "1\n", 'a pipe that nobody reads');
};

# --- stopped ---------------------------------------------------------------------

# opsauth in the background, stdin from us: pid, handle
sub background {
    my (@words) = @_;
    pipe my $read, my $write or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        %ENV = $opsauth->env;
        $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP PIPE);
        close $write;
        open STDIN, '<&', $read or POSIX::_exit(126);
        open STDOUT, '>', "$dir/cli.out" or POSIX::_exit(126);
        open STDERR, '>', "$dir/cli.err" or POSIX::_exit(126);
        exec { $opsauth->path } 'opsauth', @words or POSIX::_exit(127);
    }
    $write->autoflush(1);
    return ($pid, $write);
}

sub credentials { return $redis->cmd('SCARD', 'opsauth:credentials:acme') + $redis->cmd('SCARD', 'opsauth:credentials:bulk') }

for my $signal ('INT', 'TERM') {
    subtest "import stopped by SIG$signal" => sub {
        clear();
        import_lines(\@MANY);
        my $whole = dump_store();
        clear();
        my ($pid, $to) = background('import');
        print {$to} @MANY[0 .. 2000], substr($MANY[2001], 0, 50);
        ok(OpsAuth::Process->poll(10, sub { credentials() > 1000 }), 'under way');
        kill $signal, $pid;
        waitpid $pid, 0;
        is($? & 127, POSIX->can("SIG$signal")->(), 'it ends by the signal');
        my ($line, $from) = $t->read_file('cli.err') =~ /stopped after line (\d+),.* go on with --from-line (\d+)/;
        ok($line > 1000 && $line <= 2001, 'says where: no half line is taken');
        is($from, $line + 1);
        is(credentials(), $line - 2, 'and all before is there');
        like($t->read_file('cli.out'), qr/credentials: @{[$line - 2]} created/, 'the summary');
        like((audit())[-1]{detail}, qr/stopped after line $line/, 'the audit');
        my $rest = $t->write_file('many.jsonl', join '', @MANY);
        is(opsauth('import', '--from-line', $from, $rest), 0, 'it goes on');
        is_deeply(dump_store(), $whole, 'and all is there');
    };
}

subtest 'a second signal' => sub {
    clear();
    my ($pid, $to) = background('import');
    print {$to} @MANY[0 .. 300];
    ok(OpsAuth::Process->poll(10, sub { credentials() > 100 }), 'under way');
    $redis->pause;
    # no more than a pipe holds, as nobody may read it now
    print {$to} credential(90_000 + $_) for 1 .. 200;
    sleep 0.3;
    kill 'INT', $pid;
    sleep 0.2;
    kill 'INT', $pid;
    waitpid $pid, 0;
    is($? & 127, POSIX::SIGINT(), 'ends it at once');
    $redis->resume;
};

subtest 'Redis is lost' => sub {
    my $own = $t->redis(name => 'LOST');
    delete local @{$opsauth->{env}}{qw(OPSAUTH_REDIS_USER OPSAUTH_REDIS_PASSWORD_FILE)};
    my ($pid, $to) = background('import', '--redis', $own->url);
    print {$to} @MANY[0 .. 1500];
    OpsAuth::Process->poll(10, sub { $own->cmd('SCARD', 'opsauth:credentials:acme') > 300 });
    my $written = $own->cmd('SCARD', 'opsauth:credentials:acme') + $own->cmd('SCARD', 'opsauth:credentials:bulk');
    $own->kill;
    local $SIG{PIPE} = 'IGNORE';
    print {$to} @MANY[1501 .. 2500];
    close $to;
    waitpid $pid, 0;
    is($? >> 8, 1, 'exit code');
    my $said = $t->read_file('cli.err');
    my ($line) = $said =~ /stopped after line (\d+), up to which all is written/;
    ok($line && $line > 128 && $line <= 1501, 'says the last line that is surely written') or diag $said;

    my $full = $t->redis(name => 'FULL', args => ['--maxmemory', '3mb', '--maxmemory-policy', 'noeviction']);
    opsauth({in => join '', @MANY}, 'import', '--redis', $full->url);
    is($rc, 1, 'no memory for writes');
    like($err, qr/no memory left for writes.*stopped after line \d+/s);
    is($full->cmd('SCARD', 'opsauth:credentials:acme') + $full->cmd('SCARD', 'opsauth:credentials:bulk'),
        () = @{$full->cmd('KEYS', 'opsauth:credential:*')}, 'nothing is written in part');
};

subtest 'export stopped' => sub {
    clear();
    import_lines(\@MANY);
    unlink glob "$dir/stop.jsonl*";
    POSIX::mkfifo("$dir/fifo", 0600) or die "mkfifo: $!";
    my ($pid) = background('export', "$dir/fifo");
    open my $fifo, '<', "$dir/fifo" or die "fifo: $!";
    kill 'TERM', $pid;
    my $text = do { local $/; <$fifo> };
    waitpid $pid, 0;
    is($? & 127, POSIX::SIGTERM(), 'it ends by the signal');
    like($t->read_file('cli.err'), qr/interrupted: what was written so far is not all/);
    unlink "$dir/fifo";
    $redis->pause;
    ($pid) = background('export', "$dir/stop.jsonl");
    sleep 0.3;
    kill 'INT', $pid;
    sleep 0.1;
    $redis->resume;
    waitpid $pid, 0;
    is($? & 127, POSIX::SIGINT(), 'to a file');
    is_deeply([glob "$dir/stop.jsonl*"], [], 'of which nothing is left');
};

# --- somebody else at the same time -------------------------------------------------

subtest 'others write meanwhile' => sub {
    clear();
    import_lines(\@MANY);
    # each line says "active" of keys that are revoked one by one meanwhile
    my @again = map { credential($_, account => $_ % 2 ? 'acme' : 'bulk', name => 'again') } 1 .. 4000;
    my ($pid, $to) = background('import', '--replace');
    my %revoked;
    for my $part (0 .. 39) {
        print {$to} @again[$part * 100 .. $part * 100 + 99];
        for my $n (map { 1 + int rand 4000 } 1 .. 20) {
            $redis->cmd('HSET', of($n), 'state', 'revoked');
            $revoked{$n} = 1;
        }
    }
    close $to;
    waitpid $pid, 0;
    is_deeply([grep { $redis->cmd('HGET', of($_), 'state') ne 'revoked' } keys %revoked], [],
        'what was revoked stays so');
};

# --- much ------------------------------------------------------------------------

subtest 'much' => sub {
    clear();
    my $n = $ENV{LOAD_LONG} ? 1_000_000 : 20_000;
    my ($pid, $to) = background('import');
    my ($start, $peak) = (time, 0);
    print {$to} map { account("a$_") } 1 .. $n / 1000;
    my $at = 0;
    while ($at < $n) {
        print {$to} map {
            my $h = sha256_hex($_);
            qq({"type":"credential","id":"key_$_","kind":"api_key","account":"a@{[1 + $_ % ($n / 1000)]}",)
            . qq("name":"key number $_","state":"active","environment":"live","scopes":["read:tenants"],)
            . qq("expires":null,"created":1767225600,"hint":"abcd","digest":"$h"}\n)
        } $at .. $at + 999;
        $at += 1000;
        my $rss = OpsAuth::Process->rss($pid) // 0;
        $peak = $rss if $rss > $peak;
    }
    close $to;
    waitpid $pid, 0;
    my $spent = time - $start || 1;
    is($?, 0, "$n records") or diag $t->read_file('cli.err');
    like($t->read_file('cli.out'), qr/credentials: $n created/, 'all of them');
    SKIP: {
        skip 'a sanitizer takes more', 1 if OpsAuth::Nginx::SLOW || $ENV{ASAN_OPTIONS};
        cmp_ok($peak, '<', 24_000, "in $peak KiB");
    }
    diag sprintf '%d records, %.0f/s, %d KiB', $n, $n / $spent, $peak if $ENV{LOAD_LONG};
    $start = time;
    is(opsauth('export', "$dir/much.jsonl"), 0, 'and out again');
    diag sprintf 'export: %.0f/s', $n / (time - $start || 1) if $ENV{LOAD_LONG};
    like($err, qr/$n credentials/);
    unlink "$dir/much.jsonl";
};

SKIP: {
    skip 'no pseudo-terminal here', 2 unless OpsAuth::Command->terminal;
    $t->write_file('many.jsonl', join('', (map { account("p$_") } 1 .. 30_000)));
    my $command = "'${\ $opsauth->path}' --redis '${\ $redis->url}' import '$dir/many.jsonl'";
    my $shown = qx(script -qec "$command" /dev/null 2>&1 </dev/null);
    like($shown, qr/\r\[[#.]{20}\] \d+ %  \d+ lines  \d+\/s.*left/, 'a bar on a terminal');
    $shown = qx($command 2>&1);
    unlike($shown, qr/\r/, 'and none elsewhere');
}

unlink glob "$dir/cli.* $dir/*.jsonl $dir/password $dir/pipe.rc";
$t->done;
