#!/usr/bin/perl

# What was issued for an account: the index of its tokens, token list, the end
# of tokens, of refresh tokens, and of all that a client or an account has. The
# records of refresh tokens are written here as the token service writes them;
# that a deleted account's tokens are refused is told by a real nginx.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex);
use JSON::PP ();
use Test::More;

use OpsAuth::Command;
use OpsAuth::Process;
use OpsAuth::Test;

my $t = OpsAuth::Test->new(workers => 1);
my $redis = $t->redis;
my $store = $t->store(redis => $redis);
$t->upstream;
$t->config_http(<<'CONF');
    opsauth_store main {
        redis %%REDIS%%;
        pepper_file %%PEPPER%%;
        key_prefix op365_sk_live_ environment=live checksum=crc32;
        lease 500ms;
    }
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        location / { opsauth main; proxy_pass http://%%UPSTREAM%%; }
    }
CONF
$t->start;

my %env = (OPSAUTH_REDIS => $redis->url, OPSAUTH_PEPPER_FILE => $store->pepper_file, OPSAUTH_KEY_PREFIX => 'live=op365_sk_live_');
my $opsauth = OpsAuth::Command->new($t, %env);
my ($rc, $out, $err);

sub opsauth { return ($rc, $out, $err) = $opsauth->run(@_) }
sub json { return JSON::PP->new->utf8->decode($_[0]) }
sub fields { return {@{$redis->cmd('HGETALL', $_[0])}} }
sub digest { return hmac_sha256_hex($_[0], $store->pepper) }
sub audit { return map { {@{$_->[1]}} } @{$redis->cmd('XRANGE', 'opsauth:audit', '-', '+')} }
sub issued { return {@{$redis->cmd('ZRANGE', "opsauth:tokens:$_[0]", 0, -1, 'WITHSCORES')}} }
sub listed { my @words = @_; return json((opsauth(qw(--json token list --account), @words))[1]) }
sub states { my %n; $n{"$_->{kind} $_->{state}"}++ for @{listed(@_)}; return \%n }
sub becomes { my ($token, $status) = @_; return OpsAuth::Process->poll(10, sub { $t->get('/', key => $token)->status == $status }) }

# a token by the command: itself and its id
sub issue {
    my ($account, @words) = @_;
    opsauth(qw(--json token issue --scope read:a --account), $account, @words);
    my $token = json($out);
    $t->secret($token->{token});
    return ($token->{token}, $token->{id});
}

sub client {
    my ($account, @words) = @_;
    opsauth(qw(--json client create --name app --permission read --redirect-uri https://a.example/cb --account), $account, @words);
    my $client = json($out);
    $t->secret($client->{client_secret});
    return $client->{id};
}

# a refresh token, its family's record as the token service writes it
sub family {
    my ($account, $client, $access, %o) = @_;
    my $pepper = $o{pepper} // $store->pepper;
    my $token = $store->token . substr $store->token, 0, 22;
    my $name = 'refresh:' . hmac_sha256_hex(substr($token, 0, 22), $pepper);
    my $end = time + 3600;
    $redis->cmd('HSET', "opsauth:$name", v => 1, account => $account, client => $client, subject => 'joe',
        scopes => 'read:a', environment => 'live', current => hmac_sha256_hex($token, $pepper), previous => '',
        rotated => time . '000', access => join(' ', map { digest($_) . ':' . (time + 60) } @$access),
        state => 'active', created => time, expires => $end);
    $redis->cmd('EXPIREAT', "opsauth:$name", $end);
    $redis->cmd('ZADD', "opsauth:tokens:$account", $end, $name) unless $o{unlisted};
    $t->secret($token);
    return ($token, "opsauth:$name");
}

opsauth(qw(account create), $_) for qw(crm other);

subtest 'the index of tokens' => sub {
    my ($token, $id) = issue('crm', qw(--expires 15m --client client_x --subject), 'joe doe');
    my $expires = fields('opsauth:credential:' . digest($token))->{expires};
    is_deeply(issued('crm'), {$id => $expires + 86400}, 'scored by when Redis forgets the record');
    is($redis->cmd('EXISTS', 'opsauth:credentials:crm'), 0, 'not among the keys');
    is(becomes($token, 200), 1, 'it works');

    $redis->cmd('ZADD', 'opsauth:tokens:crm', time - 1, 'tok_over', time + 60, 'tok_gone');
    (undef, my $second) = issue('crm');
    is_deeply([sort keys %{issued('crm')}], [sort $id, $second, 'tok_gone'], 'those that are over go with the next issue');

    opsauth(qw(token list --account crm));
    like($out, qr/^\Q$id\E +access +client_x +joe doe +live +active +read:a +\d{4}-/m, 'list');
    is($out =~ tr/\n//, 3, 'what Redis has forgotten is not in it');
    is_deeply([map { $_->{id} } @{listed('crm', '--client', 'client_x')}], [$id], '--client');
    is_deeply(listed('other'), [], 'of another account');
    is((opsauth(qw(token list)))[0], 2, 'without an account');
    is((opsauth(qw(token list --account none)))[0], 3, 'of one that there is not');
    is((opsauth(qw(token revoke), $id, $second))[0], 0, 'revoked by id');
    is_deeply(states('crm'), {'access_token revoked' => 2}, 'is so');
};

subtest 'tokens of a former version' => sub {
    my ($token, $id) = issue('crm');
    $redis->cmd('ZREM', 'opsauth:tokens:crm', $id);
    $redis->cmd('SADD', 'opsauth:credentials:crm', $id, 'tok_forgotten');
    opsauth(qw(--json key create --account crm --name k --permission read));
    my $key = json($out);
    $t->secret($key->{key});
    like((opsauth(qw(key list --account crm)))[1], qr/^$key->{id} /m, 'keys are listed');
    unlike($out, qr/tok_/, 'and no token');
    is_deeply([sort @{$redis->cmd('SMEMBERS', 'opsauth:credentials:crm')}], [sort $key->{id}, $id], 'what is forgotten is taken out');
    is((grep { $_->{id} eq $id } @{listed('crm')}) + 0, 1, 'what lives is listed');

    my $password = $t->write_file('reader.password', "reader-secret\n", 0600);
    $t->secret('reader-secret');
    $redis->cmd(qw(ACL SETUSER reader on >reader-secret ~* &* -@all +@read +ping +select));
    $redis->cmd('SADD', 'opsauth:credentials:crm', 'tok_forgotten');
    opsauth(qw(--redis-user reader --redis-password-file), $password, qw(key list --account crm));
    is("$rc $err", '0 ', 'who may only read can list');
    opsauth(qw(key revoke), $key->{id});
};

subtest 'refresh tokens' => sub {
    my ($a, $a_id) = issue('crm');
    my ($b) = issue('crm');
    $redis->cmd('HSET', 'opsauth:credential:' . digest($b), state => 'revoked');
    my ($token, $record) = family('crm', 'client_y', [$a, $b, 'never-stored']);
    my $hint = 'refresh_' . substr $record =~ s/.*://r, 0, 8;
    like((opsauth(qw(token list --account crm)))[1], qr/^$hint +refresh +client_y +joe +live +active /m, 'list');
    my $before = fields($record);
    my $ttl = $redis->cmd('TTL', $record);
    is(becomes($a, 200), 1, 'its access token works');

    opsauth({ in => "$token\n" }, qw(token revoke -));
    is("$rc $out", "0 token $hint revoked, with 1 access token\n", 'revoke -') or diag $err;
    is_deeply(fields($record), {%$before, state => 'revoked'}, 'a tombstone');
    ok($redis->cmd('TTL', $record) > $ttl - 60, 'until it would have been forgotten');
    is(fields('opsauth:credential:' . digest($a))->{state}, 'revoked', 'with its access token');
    is($redis->cmd('EXISTS', 'opsauth:credential:' . digest('never-stored')), 0, 'and no half record of one that is gone');
    is(becomes($a, 401), 1, 'which nginx refuses');
    my $last = (audit())[-1];
    is("$last->{action} $last->{object} $last->{detail}", "token.revoke $hint account=crm, client=client_y, with $a_id", 'audit');
    opsauth({ in => "$token\n" }, qw(--json token revoke -));
    is_deeply(json($out), [{ id => $hint, state => 'revoked', changed => JSON::PP::false, access => [] }], 'again, --json');

    # a crash of the gateway left an access token behind
    my ($c) = issue('crm');
    my ($late, $late_record) = family('crm', 'client_y', [$c]);
    $redis->cmd('HSET', $late_record, state => 'revoked');
    opsauth({ in => "$late\n" }, qw(token revoke -));
    like($out, qr/revoked, with 1 access token$/, 'what a crash left is ended');

    my $old = 'an older pepper of this store';
    my ($aged, $aged_record) = family('crm', 'client_y', [], pepper => $old);
    my $two = $t->write_file('two-peppers', $store->pepper . "\n$old\n", 0600);
    opsauth({ in => "$aged\n" }, qw(token revoke -));
    is($rc, 3, 'made under a pepper that is not in the file');
    unlike($err, qr/\Q$aged\E/, 'and is not repeated');
    opsauth({ in => "$aged\n" }, '--pepper-file', $two, qw(token revoke -));
    is("$rc " . fields($aged_record)->{state}, '0 revoked', 'under an older one');
    opsauth({ in => substr($token, 0, 64) . "\n" }, qw(token revoke -));
    is($rc, 3, 'one character short');
    opsauth({ in => "$token\n" }, qw(key revoke -));
    is($rc, 3, 'no key');
};

subtest 'client disable --revoke, client delete' => sub {
    my ($mine, $yours) = (client('crm'), client('crm'));
    my %token = map { $_ => [issue('crm', '--client', $_)] } $mine, $yours;
    my ($f, $family) = family('crm', $mine, [$token{$mine}[0]]);
    my (undef, $other) = family('crm', $yours, []);
    opsauth(qw(client disable), $mine);
    is(fields($family)->{state}, 'active', 'disable alone ends no token');
    opsauth(qw(client disable --revoke), $mine);
    is($rc, 0, '--revoke') or diag $err;
    like($err, qr/1 access token and 1 refresh token of it revoked/);
    is(fields($family)->{state}, 'revoked', 'the family');
    is_deeply([map { $_->{state} } @{listed('crm', '--client', $mine)}], [qw(revoked revoked)], 'and the token');
    is_deeply([map { $_->{state} } @{listed('crm', '--client', $yours)}], [qw(active active)], 'of this client alone');

    opsauth(qw(client enable), $mine);
    $redis->cmd('HSET', $family, state => 'active');
    my ($token) = issue('crm', '--client', $mine);
    is(becomes($token, 200), 1, 'a token');
    opsauth(qw(client delete), $mine);
    is($rc, 2, 'delete asks for --yes where it can\'t ask');
    is(fields($family)->{state}, 'active', 'and has changed nothing');
    opsauth(qw(client delete --yes), $mine);
    is("$rc $out", "0 client $mine deleted, 2 tokens revoked\n", 'delete') or diag $err;
    is($redis->cmd('EXISTS', "opsauth:client:$mine"), 0, 'the record is gone');
    is_deeply($redis->cmd('SMEMBERS', 'opsauth:clients:crm'), [$yours], 'and its place');
    is(becomes($token, 401), 1, 'nginx refuses its token');
    is(fields($other)->{state}, 'active', 'another\'s stay');
    is((grep { $_->{action} eq 'token.revoke' && $_->{detail} eq "account=crm, client=$mine, which is deleted" } audit()) + 0, 2, 'audit');
    opsauth(qw(client delete --yes), $mine);
    is($rc, 3, 'again');
    opsauth(qw(--json client delete --yes), $yours);
    is_deeply(json($out), { id => $yours, deleted => JSON::PP::true, revoked => 2 }, '--json');

    $redis->cmd('HSET', 'opsauth:client:odd', account => 'crm', grants => 'x');
    $redis->cmd('SADD', 'opsauth:clients:crm', 'odd');
    my (undef, $odd) = family('crm', 'odd', []);
    opsauth(qw(client delete odd --yes));
    is("$rc " . fields($odd)->{state}, '0 revoked', 'a damaged record can go as well') or diag $err;
    is($redis->cmd('EXISTS', 'opsauth:client:odd'), 0, 'is gone');
};

subtest 'client delete: Redis says no' => sub {
    my $id = client('crm');
    my (undef, $family) = family('crm', $id, []);
    my $password = $t->write_file('weak.password', "weak-secret\n", 0600);
    $t->secret('weak-secret');
    $redis->cmd(qw(ACL SETUSER weak on >weak-secret ~* &* +@all -srem));
    my @weak = ('--redis-user', 'weak', '--redis-password-file', $password);
    opsauth(@weak, qw(client delete --yes), $id);
    is("$rc $out", '1 ', 'refused');
    like($err, qr/SREM.*is not deleted with all that it has: run the same command again/s, 'and says what to do');
    is(fields("opsauth:client:$id")->{enabled}, 0, 'it is switched off');
    is(fields($family)->{state}, 'revoked', 'what was done stays');
    opsauth(qw(client delete --yes), $id);
    is($rc, 0, 'who may, finishes');
};

subtest 'account delete' => sub {
    opsauth(qw(account create gone));
    my @clients = map { client('gone') } 1, 2;
    my @tokens = map { [issue('gone', '--client', $_)] } @clients, 'by-hand';
    my ($refresh, $family) = family('gone', $clients[0], [$tokens[0][0]]);
    my (undef, $unlisted) = family('gone', $clients[1], [], unlisted => 1);
    my (undef, $foreign) = family('other', 'client_z', []);
    $redis->cmd('ZADD', 'opsauth:tokens:gone', time + 60, $foreign =~ s/opsauth://r);
    # as a former version has it
    $redis->cmd('ZREM', 'opsauth:tokens:gone', $tokens[2][1]);
    $redis->cmd('SADD', 'opsauth:credentials:gone', $tokens[2][1]);
    is(becomes($_->[0], 200), 1, 'a token works') for @tokens;

    opsauth(qw(account delete gone --yes));
    is("$rc $out", "0 account gone deleted, 4 keys and tokens revoked, 2 clients deleted\n", 'delete') or diag $err;
    is_deeply([grep { !/:(?:credential|id|refresh|audit)\b/ && /gone|client/ } @{$redis->cmd('KEYS', '*')}], [],
        'no record and no list is left');
    is(becomes($_->[0], 401), 1, 'nginx refuses its tokens') for @tokens;
    is(fields($family)->{state}, 'revoked', 'its refresh tokens end');
    is(fields($foreign)->{state}, 'active', 'those of another account don\'t');
    like($err, qr/is listed here but belongs to account "other"; it stays/, 'and it says so');
    is((grep { $_->{action} eq 'client.delete' && $_->{detail} eq 'account=gone, which is deleted' } audit()) + 0, 2, 'audit');
    opsauth(qw(account create gone));
    is_deeply(listed('gone'), [], 'an account of the same id has none of them');
    is((opsauth(qw(client list --account gone)))[1] =~ tr/\n//, 1, 'and no client');
};

subtest 'account delete: many, with clients' => sub {
    opsauth(qw(account create big));
    my $lines = join '', map { JSON::PP->new->encode({ type => 'credential', kind => 'access_token', id => "tok_big$_",
        account => 'big', state => 'active', environment => 'live', scopes => [], expires => time + 600,
        digest => digest("big $_"), client => 'c' }) . "\n" } 1 .. 450;
    opsauth({ in => $lines }, qw(import -));
    is($rc, 0, 'imported') or diag $err;
    is($redis->cmd('ZCARD', 'opsauth:tokens:big'), 450, 'in the index');
    is($redis->cmd('EXISTS', 'opsauth:credentials:big'), 0, 'and nowhere else');
    family('big', 'c', []) for 1 .. 120;
    opsauth(qw(--json account delete big --yes));
    is_deeply(json($out), { id => 'big', deleted => JSON::PP::true, revoked => 570, clients => 0 }, 'all of them end');
    is((grep { fields('opsauth:credential:' . digest("big $_"))->{state} ne 'revoked' } 1 .. 450) + 0, 0, 'are revoked');
};

my $dump = join "\n", map { join ' ', %$_ } audit();
unlike($dump, qr/[0-9a-f]{64}/, 'no digest in the audit');

unlink glob($t->dir . '/cli.*');
$t->done;
