#!/usr/bin/perl

# The opsauth command against a real Redis: what each verb prints, what it
# returns, and what stands in Redis afterwards, field by field (DESIGN section
# 4). The digest is computed here once more, by other code.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex);
use Encode qw(encode_utf8);
use JSON::PP ();
use Test::More;

use OpsAuth::Command;
use OpsAuth::Test;

my $t = OpsAuth::Test->new;
my $redis = $t->redis;
my $dir = $t->dir;

my $pepper = "$dir/pepper";
my $opsauth = OpsAuth::Command->new($t,
    OPSAUTH_REDIS       => $redis->url,
    OPSAUTH_PEPPER_FILE => $pepper,
    OPSAUTH_KEY_PREFIX  => 'live=op365_sk_live_ test=op365_sk_test_',
);

sub opsauth { return $opsauth->run(@_) }

sub json { return JSON::PP->new->utf8->decode($_[0]) }
sub fields { return {@{$redis->cmd('HGETALL', $_[0])}} }

sub audit {
    return map { {@{$_->[1]}} } @{$redis->cmd('XRANGE', 'opsauth:audit', '-', '+')};
}

my ($rc, $out, $err);

# --- help ------------------------------------------------------------------------

subtest 'help and version' => sub {
    ($rc, $out, $err) = opsauth();
    is($rc, 2, 'opsauth alone is usage');
    is($out, '', 'which goes to stderr');
    like($err, qr/^usage: opsauth .*account.*key.*token.*pepper/s, 'and lists the nouns');

    for my $words (['help'], ['--help'], ['-h']) {
        ($rc, $out, $err) = opsauth(@$words);
        is("$rc $err", '0 ', "@$words");
        like($out, qr/--redis-password-file FILE/, 'explains the common options');
        like($out, qr/0 done, 1 failed, 2 usage, 3 not found/, 'and the exit codes');
    }

    my %verbs = (
        account => [qw(create list show set enable disable delete)],
        key     => [qw(create list show rotate revoke)],
        token   => [qw(issue revoke)],
        pepper  => [qw(generate)],
    );
    for my $noun (sort keys %verbs) {
        ($rc, $out, $err) = opsauth($noun);
        is("$rc $out", '2 ', "$noun alone is usage");
        ($rc, $out, $err) = opsauth($noun, '--help');
        is("$rc $err", '0 ', "$noun --help");
        like($out, qr/^  \Q$_\E /m, "names $_") for @{$verbs{$noun}};
        for my $verb (@{$verbs{$noun}}) {
            ($rc, $out, $err) = opsauth($noun, $verb, '--help');
            is("$rc $err", '0 ', "$noun $verb --help");
            like($out, qr/^usage: opsauth $noun $verb.*^  opsauth $noun $verb/ms, 'with an example');
            is((opsauth('help', $noun, $verb))[1], $out, 'help does the same');
            ok(!(grep { length > 100 } split /\n/, $out), 'no line is too long');
        }
    }

    ($rc, $out, $err) = opsauth('--version');
    is("$rc $err", '0 ', '--version');
    like($out, qr/^opsauth \d+\.\d+\.\d+\n$/);
};

# --- pepper ----------------------------------------------------------------------

subtest 'pepper generate' => sub {
    ($rc, $out, $err) = opsauth('pepper', 'generate');
    is("$rc $err", '0 ', 'to stdout');
    like($out, qr/^[0-9a-f]{64}\n$/, '64 hex digits');
    isnt((opsauth('pepper', 'generate'))[1], $out, 'never the same');
    like(json((opsauth('pepper', 'generate', '--json'))[1])->{pepper}, qr/^[0-9a-f]{64}$/, 'JSON');

    ($rc, $out, $err) = opsauth('pepper', 'generate', $pepper);
    is($rc, 0, 'into a file');
    unlike($out . $err, qr/[0-9a-f]{64}/, 'is not shown');
    is(sprintf('%04o', (stat $pepper)[2] & 07777), '0600', 'mode 0600');
    my $first = $t->read_file('pepper');
    like($first, qr/^[0-9a-f]{64}\n$/, 'one line');

    ($rc, $out, $err) = opsauth('pepper', 'generate', $pepper);
    is($rc, 1, 'an existing file is left alone');
    like($err, qr/exists; --rotate/, 'and the message says what to do');
    is($t->read_file('pepper'), $first, 'really');

    chmod 0640, $pepper;
    symlink $pepper, "$dir/link";
    is((opsauth('pepper', 'generate', '--rotate', "$dir/link"))[0], 0, '--rotate, by a link');
    ok(-l "$dir/link", 'the link is still one');
    like($t->read_file('pepper'), qr/^[0-9a-f]{64}\n\Q$first\E$/, 'new first, old kept');
    is(sprintf('%04o', (stat $pepper)[2] & 07777), '0640', 'mode kept');
    is_deeply([glob "$pepper.*"], [], 'no temporary file left');
    ($rc, $out, $err) = opsauth('pepper', 'generate', '--rotate', $pepper, '--json');
    is(json($out)->{peppers}, 3, 'three now');

    is((opsauth('pepper', 'generate', '--rotate'))[0], 2, '--rotate without a file');
    is((opsauth('pepper', 'generate', '--rotate', "$dir/none"))[0], 1, '--rotate of nothing');
    chmod 0644, $pepper;
    ($rc, $out, $err) = opsauth('pepper', 'generate', '--rotate', $pepper);
    is($rc, 1, 'not built upon a file that others can read');
    like($err, qr/chmod 600 \Q$pepper\E/, 'with the remedy');
    chmod 0600, $pepper;
};

my @peppers = split /\n/, $t->read_file('pepper');
$t->secret($_) for @peppers;

# --- accounts --------------------------------------------------------------------

subtest 'account create, show, list' => sub {
    ($rc, $out, $err) = opsauth(qw(account list));
    is("$rc $err", '0 ', 'no account yet');
    is($redis->cmd('EXISTS', 'opsauth:meta'), 0, 'reading makes no mark');

    my $before = time;
    ($rc, $out, $err) = opsauth(qw(account create crm --name), encode_utf8("Caf\x{e9} CRM"),
        qw(--description=d --tenant org_42 --affiliate aff_7 --role customer),
        '--role', 'plans-and-rates customer', '--ip', '203.0.113.0/24, 2001:db8::/32',
        qw(--ip 10.1.2.3 --rate 300/m));
    is("$rc $out $err", "0 account crm created\n ", 'create');

    my $record = fields('opsauth:account:crm');
    my ($created, $updated) = delete @$record{qw(created updated)};
    ok($created >= $before && $created <= time && $created eq $updated, 'created, updated');
    is_deeply($record, {
        name => encode_utf8("Caf\x{e9} CRM"), description => 'd', enabled => 1,
        tenant => 'org_42', affiliate => 'aff_7', roles => 'customer plans-and-rates',
        ips => '203.0.113.0/24 2001:db8::/32 10.1.2.3', rate => '300/m', refresh => 0,
    }, 'the record, and nothing more');
    is_deeply(fields('opsauth:meta'), {v => 1}, 'the mark of the store');

    my ($entry) = audit();
    like($entry->{who}, qr/^\S+@\S+$/, 'audit: who');
    is("$entry->{action} $entry->{object}", 'account.create crm', 'audit: what');
    is_deeply([sort keys %$entry], [qw(action at detail object who)], 'audit: fields');

    ($rc, $out, $err) = opsauth(qw(account create crm));
    is($rc, 1, 'a second one of the same id');
    like($err, qr/"crm" exists already.*opsauth account set crm/, 'says so');

    ($rc, $out) = opsauth(qw(account create b --refresh --disabled --json));
    is($rc, 0, 'with --json');
    my $object = json($out);
    like(delete $object->{created}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'time in UTC');
    delete $object->{updated};
    is_deeply($object, {
        id => 'b', name => '', description => '', enabled => JSON::PP::false, tenant => '',
        affiliate => '', roles => [], ips => [], rate => '', refresh => JSON::PP::true,
        scopes => undef,
    }, 'the object');

    ($rc, $out) = opsauth(qw(account show crm));
    is($rc, 0, 'show');
    like($out, qr/^roles +customer plans-and-rates$/m);
    like($out, qr/^enabled +yes$/m);
    is_deeply(json((opsauth(qw(account show crm --json)))[1])->{roles},
        ['customer', 'plans-and-rates'], 'show --json');

    ($rc, $out) = opsauth(qw(account list));
    my @lines = split /\n/, $out;
    is(@lines, 3, 'list');
    like($lines[0], qr/^ID +NAME +ENABLED +TENANT +AFFILIATE +ROLES +IPS +RATE$/);
    like($lines[1], qr/^b +- +no +-/, 'sorted');
    my @at = map { index Encode::decode_utf8($_), 'org_42' } $lines[2];
    is($at[0], index($lines[0], 'TENANT'), 'aligned by characters, not bytes');
    is_deeply([map { $_->{id} } @{json((opsauth(qw(account list --json)))[1])}],
        ['b', 'crm'], 'list --json');
};

subtest 'account set, enable, disable' => sub {
    my $old = fields('opsauth:account:crm');
    ($rc, $out, $err) = opsauth('account', 'set', 'crm', '--affiliate', '', '--role', 'administrator',
        '--rate=10/s', '--refresh');
    is("$rc $out$err", "0 account crm changed\n", 'set');
    my $new = fields('opsauth:account:crm');
    delete $_->{updated} for $old, $new;
    is_deeply($new, {%$old, affiliate => '', roles => 'administrator', rate => '10/s', refresh => 1},
        'what was given has changed, nothing else');
    like((opsauth(qw(account set crm --rate 10/s)))[1], qr/is so already/, 'nothing to do');
    is((opsauth('account', 'set', 'crm', '--ip', ''))[0], 0, 'an empty value');
    is(fields('opsauth:account:crm')->{ips}, '', 'clears the list');
    is((opsauth(qw(account set crm --no-refresh)))[0], 0, '--no-refresh');
    is(fields('opsauth:account:crm')->{refresh}, 0);

    for my $case (['disable', 0, 'disabled'], ['disable', 0, 'is disabled already'],
        ['enable', 1, 'enabled'], ['enable', 1, 'is enabled already'])
    {
        my ($verb, $enabled, $said) = @$case;
        ($rc, $out) = opsauth('account', $verb, 'crm');
        is("$rc $out", "0 account crm $said\n", $verb);
        is(fields('opsauth:account:crm')->{enabled}, $enabled);
    }
    ok(!json((opsauth(qw(account disable crm --json)))[1])->{enabled}, 'disable --json');
    opsauth(qw(account enable crm));

    is((opsauth('account', @$_, 'nobody'))[0], 3, "$_->[0] of an unknown account")
        for ['show'], ['enable'], ['disable'], [qw(set --name x)];
    is($redis->cmd('EXISTS', 'opsauth:account:nobody'), 0, 'and none was made');
};

# many at once: one wins, the others see that it is there
subtest 'account create at the same time' => sub {
    my $n = 12;
    my @pids = map {
        my $pid = fork // die "fork: $!";
        if (!$pid) {
            %ENV = $opsauth->env;
            open STDOUT, '>', '/dev/null';
            open STDERR, '>', '/dev/null';
            exec { $opsauth->path } 'opsauth', qw(account create race --name), "n$_" or POSIX::_exit(127);
        }
        $pid;
    } 1 .. $n;
    my %codes;
    for my $pid (@pids) {
        waitpid $pid, 0;
        $codes{$? >> 8}++;
    }
    is_deeply(\%codes, {0 => 1, 1 => $n - 1}, 'one was created');
    my @entries = grep { $_->{object} eq 'race' } audit();
    is(scalar @entries, 1, 'one entry in the audit');
    my $name = fields('opsauth:account:race')->{name};
    like($entries[0]{detail}, qr/^name=$name,/, 'of the one that is there');
    $redis->cmd('DEL', 'opsauth:account:race');
};

# --- keys ------------------------------------------------------------------------

my (%key, %id);

subtest 'key create' => sub {
    my $before = time;
    ($rc, $out, $err) = opsauth('key', 'create', '--account', 'crm', '--name', 'nightly sync',
        qw(--permission read --environment live --expires 90d));
    is($rc, 0, 'create');
    like($out, qr/^op365_sk_live_[0-9A-Za-z]{49}\n$/, 'the key alone on stdout');
    chomp(my $key = $out);
    $key{live} = $key;
    $t->secret($key);
    is(OpsAuth::Store::checksum(substr $key, 0, -6), substr($key, -6), 'its checksum');
    unlike($err, qr/\Q$key\E/, 'and not on stderr');
    my ($id) = $err =~ /\b(key_[0-9A-Za-z]{16})\b/ or die $err;
    $id{live} = $id;
    like($err, qr/"nightly sync".*crm.*expires .*read:\*/, 'which tells the rest');

    my $digest = hmac_sha256_hex($key, $peppers[0]);
    my $record = fields("opsauth:credential:$digest");
    my ($created, $expires) = delete @$record{qw(created expires)};
    ok($created >= $before && $created <= time, 'created');
    is($expires, $created + 90 * 86400, 'expires');
    is_deeply($record, {
        v => 1, id => $id, kind => 'api_key', account => 'crm', name => 'nightly sync',
        state => 'active', environment => 'live', scopes => 'read:*', hint => substr($key, -4),
    }, 'the record under HMAC(newest pepper, key), and nothing more');
    is($redis->cmd('GET', "opsauth:id:$id"), $digest, 'found by its id');
    is_deeply($redis->cmd('SMEMBERS', 'opsauth:credentials:crm'), [$id], 'and by its account');
    is($redis->cmd('TTL', "opsauth:credential:$digest"), -1, 'no TTL');

    ($rc, $out, $err) = opsauth('key', 'create', '--account=crm', '--name', "\xe6\x97\xa5\xe6\x9c\xac",
        '--environment', 'test', '--scope', 'read:tenants', '--scope', 'admin read:tenants',
        '--permission', 'write', '--ip', '10.0.0.0/8', '--ip', '::1', '--json');
    is("$rc $err", '0 ', 'with --json stderr is silent');
    my $object = json($out);
    $key{test} = $object->{key};
    $id{test} = $object->{id};
    $t->secret($key{test});
    like($key{test}, qr/^op365_sk_test_[0-9A-Za-z]{49}$/, 'key');
    is_deeply($object->{scopes}, ['read:*', 'write:*', 'read:tenants', 'admin'], 'scopes, each once');
    is($object->{expires}, undef, 'never is null');
    $record = fields('opsauth:credential:' . hmac_sha256_hex($key{test}, $peppers[0]));
    is($record->{ips}, '10.0.0.0/8 ::1', 'ips');
    is($record->{expires}, 0, 'expires never is 0');

    my $year = (gmtime)[5] + 1901;
    for my $case (["$year-01-31", "$year-01-31T00:00:00Z"], ["$year-06-01T12:30Z", "$year-06-01T12:30:00Z"],
        ["$year-06-01 12:30:15", "$year-06-01T12:30:15Z"], ["$year-06-01T12:30+02:00", "$year-06-01T10:30:00Z"])
    {
        my ($given, $meant) = @$case;
        ($rc, $out) = opsauth(qw(key create --account b --name t --scope s --json --expires), $given);
        is("$rc " . json($out)->{expires}, "0 $meant", "--expires $given");
    }
    like((opsauth(qw(key create --account b --name t --scope s)))[2],
        qr/account b is disabled: .*opsauth account enable b/, 'a disabled account is told');
};

subtest 'key list, show' => sub {
    ($rc, $out, $err) = opsauth(qw(key list --account crm));
    is("$rc $err", '0 ', 'list');
    my @lines = split /\n/, $out;
    like($lines[0], qr/^ID +NAME +ACCOUNT +ENV +STATE +SCOPES +EXPIRES +HINT +SUCCESSOR$/);
    is(@lines, 3);
    like($lines[1], qr/^$id{live} +nightly sync +crm +live +active +read:\* +\d{4}-/);
    # two characters, four columns
    is(index(Encode::decode_utf8($lines[2]), 'crm') + 2, index($lines[0], 'ACCOUNT'), 'wide characters');
    unlike($out, qr/$key{live}|$key{test}/, 'no key');

    my $digest = hmac_sha256_hex($key{live}, $peppers[0]);
    my $expires = $redis->cmd('HGET', "opsauth:credential:$digest", 'expires');
    $redis->cmd('HSET', "opsauth:credential:$digest", 'expires', time - 1);
    like((opsauth(qw(key list)))[1], qr/^$id{live} .* expired /m, 'an expired key shows as such');
    is(json((opsauth('key', 'show', $id{live}, '--json'))[1])->{state}, 'expired', 'in JSON too');
    $redis->cmd('HSET', "opsauth:credential:$digest", 'expires', $expires);

    my $all = json((opsauth(qw(key list --json)))[1]);
    is(scalar @$all, 7, 'all keys of all accounts');
    is_deeply([grep { exists $_->{key} } @$all], [], 'without the keys themselves');

    ($rc, $out) = opsauth('key', 'show', $id{test});
    is($rc, 0, 'show');
    like($out, qr/^ips +10\.0\.0\.0\/8 ::1$/m);
    like($out, qr/^expires +never$/m);
    ($rc, $out, $err) = opsauth('key', 'show', 'key_nothere');
    is("$rc $out", '3 ', 'show of an unknown one');
    like($err, qr/no key "key_nothere"/);
    is((opsauth(qw(key list --account nobody)))[0], 3, 'list of an unknown account');

    ($rc, $out, $err) = opsauth('key', 'show', $key{live});
    is($rc, 2, 'a key in place of its id');
    unlike($err, qr/\Q$key{live}\E/, 'is not repeated');

    # records of somebody else's hand
    $redis->cmd('SET', 'opsauth:id:key_odd', 'f' x 64);
    $redis->cmd('SET', 'opsauth:credential:' . 'f' x 64, 'no hash');
    ($rc, $out, $err) = opsauth(qw(key list));
    is($rc, 0, 'a damaged record does not hide the others');
    like($err, qr/passed over/, 'and is told');
    is((opsauth(qw(key show key_odd)))[0], 1, 'shown, it fails');
    $redis->cmd('DEL', 'opsauth:id:key_odd', 'opsauth:credential:' . 'f' x 64);
    $redis->cmd('HSET', "opsauth:credential:$digest", 'name', "x\e[31m\n\xff");
    like((opsauth(qw(key list)))[1], qr/ x\\x1b\[31m\\x0a\xef\xbf\xbd /, 'nothing reaches the terminal');
    is(json((opsauth('key', 'show', $id{live}, '--json'))[1])->{id}, $id{live}, 'JSON stays valid');
    $redis->cmd('HSET', "opsauth:credential:$digest", 'name', 'nightly sync');
};

subtest 'key revoke' => sub {
    my $digest = hmac_sha256_hex($key{live}, $peppers[0]);
    my $before = fields("opsauth:credential:$digest");
    ($rc, $out, $err) = opsauth('key', 'revoke', $id{live});
    is("$rc $out$err", "0 key $id{live} revoked\n", 'revoke');
    is_deeply(fields("opsauth:credential:$digest"), {%$before, state => 'revoked'}, 'a tombstone');
    my $entries = () = audit();
    is("@{(audit())[-1]}{qw(action object)}", "key.revoke $id{live}", 'audit');
    is((opsauth('key', 'revoke', $id{live}))[1], "key $id{live} is revoked already\n", 'idempotent');
    is(scalar(() = audit()), $entries, 'without a second entry');

    ($rc, $out, $err) = opsauth('key', 'revoke', 'key_nothere', $id{test});
    is($rc, 3, 'one of two is unknown');
    is($out, "key $id{test} revoked\n", 'the other one is revoked all the same');

    $redis->cmd('HSET', "opsauth:credential:$digest", 'state', 'active');
    ($rc, $out, $err) = opsauth({in => "$key{live}\r\n\n$key{test}\n"}, qw(key revoke - --json));
    is($rc, 0, 'by the keys on stdin');
    is_deeply(json($out), [
        {id => $id{live}, state => 'revoked', changed => JSON::PP::true},
        {id => $id{test}, state => 'revoked', changed => JSON::PP::false},
    ], 'JSON');
    my $unknown = OpsAuth::Store->new(redis => $redis)->key;
    ($rc, $out, $err) = opsauth({in => "$unknown\n"}, qw(key revoke -));
    is($rc, 3, 'an unknown key on stdin');
    unlike($err, qr/\Q$unknown\E/, 'is not repeated');
    is((opsauth({in => "\n"}, qw(key revoke -)))[0], 2, 'nothing on stdin');
    is((opsauth({in => "no key at all\n"}, qw(key revoke -)))[0], 3, 'no key on stdin');

    # a record that is gone must not come back in part
    my $gone = json((opsauth(qw(key create --account crm --name g --scope s --json)))[1]);
    $redis->cmd('DEL', 'opsauth:credential:' . hmac_sha256_hex($gone->{key}, $peppers[0]));
    is((opsauth('key', 'revoke', $gone->{id}))[0], 3, 'a record that is gone');
    is($redis->cmd('EXISTS', 'opsauth:credential:' . hmac_sha256_hex($gone->{key}, $peppers[0])),
        0, 'stays so');

    # a key under an older pepper is still found
    my $old = OpsAuth::Store->new(redis => $redis, pepper => $peppers[2]);
    my $raw = $old->issue(id => 'key_old', account => 'crm');
    $redis->cmd('SET', 'opsauth:id:key_old', $old->digest($raw));
    is((opsauth({in => $raw}, qw(key revoke -)))[1], "key key_old revoked\n", 'under an older pepper');
};

# --- tokens ----------------------------------------------------------------------

subtest 'token issue, revoke' => sub {
    ($rc, $out, $err) = opsauth(qw(token issue --account crm --scope read:tenants --client app_1
        --subject), 'user 7');
    is($rc, 0, 'issue');
    like($out, qr/^[0-9A-Za-z]{43}\n$/, 'the token alone on stdout');
    chomp(my $token = $out);
    $t->secret($token);
    my ($id) = $err =~ /\b(tok_[0-9A-Za-z]{16})\b/ or die $err;

    my $digest = hmac_sha256_hex($token, $peppers[0]);
    my $record = fields("opsauth:credential:$digest");
    my ($created, $expires) = delete @$record{qw(created expires)};
    is($expires, $created + 3600, 'an hour');
    is_deeply($record, {
        v => 1, id => $id, kind => 'access_token', account => 'crm', state => 'active',
        environment => 'live', scopes => 'read:tenants', hint => substr($token, -4),
        subject => 'user 7', client => 'app_1',
    }, 'the record');
    for my $name ("opsauth:credential:$digest", "opsauth:id:$id") {
        my $ttl = $redis->cmd('TTL', $name);
        ok($ttl > 3600 + 86400 - 60 && $ttl <= 3600 + 86400, "forgotten a day after ($ttl)");
    }

    is((opsauth('key', 'revoke', $id))[0], 3, 'is no key');
    unlike((opsauth(qw(key list)))[1], qr/tok_/, 'nor listed as one');
    is((opsauth('token', 'revoke', $id))[1], "token $id revoked\n", 'revoke');
    is(fields("opsauth:credential:$digest")->{state}, 'revoked');
    ok($redis->cmd('TTL', "opsauth:credential:$digest") > 0, 'the TTL stays');
    is((opsauth({in => $token}, qw(token revoke -)))[1], "token $id is revoked already\n", 'on stdin');
    is((opsauth(qw(token revoke tok_nothere)))[0], 3, 'an unknown one');

    my $object = json((opsauth(qw(token issue --account crm --permission read --environment test
        --expires 15m --json)))[1]);
    like($object->{token}, qr/^[0-9A-Za-z]{43}$/, 'JSON');
    is("$object->{kind} $object->{environment}", 'access_token test');
    is((opsauth(qw(token issue --account crm --scope s --expires never)))[0], 2, 'never is no time');
};

# --- what stdout does ------------------------------------------------------------

subtest 'stdout that takes nothing' => sub {
    for my $case ([{out => '/dev/full'}, 'full'], [{closed => 1}, 'closed']) {
        my ($how, $name) = @$case;
        ($rc, $out, $err) = opsauth($how, qw(account list));
        is($rc, 1, "$name: account list");
        like($err, qr/can't write to stdout/, 'said');
        my @before = @{$redis->cmd('SMEMBERS', 'opsauth:credentials:crm')};
        ($rc, $out, $err) = opsauth($how, qw(key create --account crm --name lost --scope s));
        is($rc, 1, "$name: key create");
        my %known = map { $_ => 1 } @before;
        my ($id) = grep { !$known{$_} } @{$redis->cmd('SMEMBERS', 'opsauth:credentials:crm')};
        is($redis->cmd('HGET', 'opsauth:credential:' . $redis->cmd('GET', "opsauth:id:$id"), 'state'),
            'revoked', 'a key that reached nobody is not alive');
    }
    is((opsauth({out => '/dev/full'}, '--help'))[0], 1, 'full: --help');

    system 'sh', '-c', "{ sleep 0.3; '${\ $opsauth->path}' --help; echo \$? > '$dir/pipe.rc'; } 2>/dev/null | true";
    is($t->read_file('pipe.rc'), "1\n", 'a pipe that nobody reads');
};

subtest 'a scope that looks mistyped' => sub {
    opsauth(qw(account create doubt));
    ($rc, $out, $err) = opsauth(qw(key create --account doubt --name x --scope), 'read tenants');
    is($rc, 0, 'is taken as it is');
    like($err, qr/--scope "$_" is no ACTION:RESOURCE/, "... but \"$_\" is pointed out") for qw(read tenants);
    ($rc, $out, $err) = opsauth(qw(key create --account doubt --name x --scope read:tenants --scope admin));
    unlike($err, qr/ACTION:RESOURCE/, 'not the usual ones');
};

# --- nothing secret anywhere -----------------------------------------------------

my $dump = join "\n", map { join ' ', %$_ } audit();
unlike($dump, qr/op365_sk_(?:live|test)_/, 'no key in the audit');
unlike($dump, qr/\Q$_\E/, 'no secret in the audit') for keys %{$t->{secrets}};
my @stored = map {
    my $type = $redis->cmd('TYPE', $_);
    $type eq 'hash' ? @{$redis->cmd('HGETALL', $_)} : $type eq 'string' ? $redis->cmd('GET', $_) : ();
} @{$redis->cmd('KEYS', '*')};
my %secret = map { $_ => 1 } keys %{$t->{secrets}};
is_deeply([grep { $secret{$_} && length > 16 } @stored, @{$redis->cmd('KEYS', '*')}], [],
    'no key, token or pepper in Redis');

unlink $pepper, "$dir/link", glob "$dir/cli.*";
$t->done;
