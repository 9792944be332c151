#!/usr/bin/perl

# How credentials end: key rotate, account delete, and --wait, which tells when
# that is in force. With a real Redis and its replica, and a real nginx to say
# what passes and what its clients are told.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex);
use JSON::PP ();
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::Command;
use OpsAuth::Process;
use OpsAuth::Test;

my $t = OpsAuth::Test->new(workers => 2);
my $redis = $t->redis;
my $store = $t->store(redis => $redis);
$t->upstream;

$t->config_http(<<'CONF');
    log_format life '$request_uri $status $opsauth_reason $opsauth_credential_state $opsauth_credential_id';
    access_log %%TESTDIR%%/access.log life;
    opsauth_store main {
        redis %%REDIS%%;
        pepper_file %%PEPPER%%;
        key_prefix op365_sk_live_ environment=live checksum=crc32;
        key_prefix op365_sk_test_ environment=test checksum=crc32;
        lease 500ms;
    }
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        location / {
            opsauth main;
            opsauth_environment any;
            opsauth_require scope=read:a;
            opsauth_require scope=write:a uri=~^/write;
            proxy_pass http://%%UPSTREAM%%;
        }
        location /own/     { opsauth main; proxy_pass http://127.0.0.1:%%PORT_8081%%; }
        location /accel/   { opsauth main; proxy_pass http://127.0.0.1:%%PORT_8081%%; }
        location /file     { internal; add_header X-State $opsauth_credential_state; return 200 "file\n"; }
        location /shadow   { opsauth main shadow; proxy_pass http://%%UPSTREAM%%; }
        location /error    { opsauth main; error_page 404 = /file; proxy_intercept_errors on; proxy_pass http://%%UPSTREAM%%; }
        location /denied   { opsauth main; opsauth_require scope=none; error_page 403 = /file; proxy_pass http://%%UPSTREAM%%; }
        location /204      { opsauth main; try_files /none =204; }
        location /off      { opsauth off; proxy_pass http://%%UPSTREAM%%; }
    }
    server {
        listen 127.0.0.1:%%PORT_8081%%;
        location /own/both   { add_header Deprecation @1; add_header Sunset "Fri, 01 Jan 2038 00:00:00 GMT"; return 200; }
        location /own/sunset { add_header sunset "Fri, 01 Jan 2038 00:00:00 GMT"; return 200; }
        location /own/none   { return 200; }
        location /accel/     { add_header X-Accel-Redirect /file; return 200; }
    }
CONF
$t->start;

my $conf = $t->write_file('operator.conf', 'opsauth_store main { redis ' . $redis->url . '; pepper_file '
    . $store->pepper_file . '; key_prefix op365_sk_live_; key_prefix op365_sk_test_ environment=test; lease 600ms; }');
my $opsauth = OpsAuth::Command->new($t, OPSAUTH_CONFIG => $conf);
my ($rc, $out, $err);

sub opsauth { return ($rc, $out, $err) = $opsauth->run(@_) }
sub json { return JSON::PP->new->utf8->decode($_[0]) }
sub fields { return {@{$redis->cmd('HGETALL', $_[0])}} }
sub audit { return map { {@{$_->[1]}} } @{$redis->cmd('XRANGE', 'opsauth:audit', '-', '+')} }

sub refused {
    my ($words, $code, $said, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    opsauth(@$words);
    is("$rc $out", "$code ", $name // "@$words");
    like($err, $said, '  says so');
}

# a key by the command: its id, itself, its record's name
sub create {
    my ($account, @words) = @_;
    opsauth(qw(--json key create --account), $account, '--name', 'nightly sync', @words);
    my $key = json($out);
    $t->secret($key->{key});
    return ($key->{id}, $key->{key}, record($key->{key}));
}

sub record { return 'opsauth:credential:' . hmac_sha256_hex($_[0], $store->pepper) }

# the same for the key that rotate printed; the record's name
sub rotated {
    my ($id) = $err =~ /\b(key_\w{16})\b/;
    my ($raw) = $out =~ /^(op365_sk_\w+)\n\z/;
    $t->secret($raw // ());
    return ($id, $raw, record($raw // ''));
}

sub status { my ($key, $uri) = @_; return $t->get($uri // '/', key => $key)->status }
sub said {
    my ($key, $uri) = @_;
    my $r = $t->get($uri // '/', key => $key);
    return join ' ', $r->status, map { "$_=" . join '+', $r->header_all($_) } grep { defined $r->header($_) } qw(Deprecation Sunset);
}
sub becomes { my ($key, $status) = @_; return OpsAuth::Process->poll(10, sub { status($key) == $status }) }
sub http_date { return POSIX::strftime('%a, %d %b %Y %H:%M:%S GMT', gmtime $_[0]) }

opsauth(qw(account create crm --tenant org_42));
is($rc, 0, 'an account') or diag $err;

# --- key rotate ------------------------------------------------------------------

subtest 'key rotate' => sub {
    my ($id, $key, $record) = create('crm', qw(--scope read:a --scope write:a --ip 127.0.0.0/8 --environment test));
    is(said($key), '200', 'before: nothing is said');
    my $before = fields($record);
    my $entries = () = audit();

    my $then = time;
    opsauth(qw(key rotate), $id, '--grace', '2h');
    is($rc, 0, 'rotate') or diag $err;
    my ($new_id, $new, $new_record) = rotated();
    ok($new, 'the new key stands alone on stdout');
    like($new, qr/^op365_sk_test_/, 'with the prefix of its environment');
    unlike($err, qr/\Q$new\E/, 'and not on stderr');
    like($err, qr/replaces $id, which works until \d{4}-/, 'which names the old one');

    my $old = fields($record);
    my $until = delete $old->{expires};
    my $since = delete $old->{deprecated};
    ok($since >= int $then && $since <= time, 'deprecated since now');
    is($until, $since + 7200, 'expires when the grace is over');
    is_deeply($old, {%$before{grep { $_ ne 'expires' } keys %$before}, state => 'deprecated', successor => $new_id},
        'the old record: nothing else has changed');
    my $got = fields($new_record);
    is_deeply($got, {%$before, id => $new_id, created => $got->{created}, hint => substr($new, -4), predecessor => $id},
        'the new record: the same rights');
    is($redis->cmd('SISMEMBER', 'opsauth:credentials:crm', $new_id), 1, 'is the account\'s');
    is($redis->cmd('GET', "opsauth:id:$new_id"), $new_record =~ s/.*://r, 'is found by its id');
    my @new = splice @{[audit()]}, $entries;
    is_deeply([map { "$_->{action} $_->{object}" } @new], ["key.rotate $id", "key.create $new_id"], 'audit');
    like($new[0]{detail}, qr/successor=$new_id/);

    is(said($new), '200', 'the new key works');
    is(said($key), "200 Deprecation=\@$since Sunset=" . http_date($until), 'so does the old one, and its client is told');

    opsauth(qw(key list --account crm));
    like($out, qr/^$id .* deprecated .* $new_id +\S+ *$/m, 'list names state and successor');
    like($out, qr/^$new_id .* active .* - *$/m);
    opsauth(qw(key show), $id);
    like($out, qr/^state +deprecated$/m, 'show');
    like($out, qr/^deprecated +\d{4}-\d\d-\d\d /m);
    like($out, qr/^successor +$new_id$/m);
    unlike($out, qr/^predecessor/m);
    opsauth(qw(key show), $new_id);
    like($out, qr/^predecessor +$id$/m, 'of the new one');
    unlike($out, qr/^(?:successor|deprecated)/m);
    my $object = json((opsauth(qw(--json key show), $id))[1]);
    is("$object->{state} $object->{successor}", "deprecated $new_id", 'show --json');
    like($object->{deprecated}, qr/^\d{4}-.*Z$/);

    refused([qw(key rotate), $id], 1, qr/deprecated already: its successor is $new_id; "opsauth key revoke $id" ends it/);
    is_deeply(fields($record), {%$old, deprecated => $since, expires => $until}, 'and nothing has changed');

    opsauth(qw(key revoke), $id);
    ok(becomes($key, 401), 'revoked before its time');
    is(said($key), '401', 'a denial tells nothing');
};

subtest 'key rotate: until when' => sub {
    my $far = 30 * 86400;
    my ($id, $key, $record) = create('crm', qw(--scope read:a --expires 30d));
    my $expires = fields($record)->{expires};
    opsauth(qw(key rotate), $id);
    my (undef, undef, $new) = rotated();
    is(fields($new)->{expires}, $expires, 'the new key ends when the old one would have');
    my $old = fields($record);
    is($old->{expires}, $old->{deprecated} + 86400, 'the old one after 24 hours');

    ($id, $key, $record) = create('crm', qw(--scope read:a --expires 1h));
    $expires = fields($record)->{expires};
    opsauth(qw(key rotate), $id, qw(--grace 7d --expires never --json));
    is("$rc $err", '0 ', '--json');
    my $object = json($out);
    $t->secret($object->{key});
    is("$object->{predecessor} $object->{state}", "$id active", 'the object');
    is($object->{expires}, undef, '--expires');
    is(fields($record)->{expires}, $expires, 'a key is never prolonged');
    is(status($object->{key}), 200, 'its key works');

    ($id, $key, $record) = create('crm', qw(--scope read:a));
    is(status($key), 200, 'a key');
    opsauth(qw(key rotate), $id, qw(--grace 3s));
    (undef, my $next) = rotated();
    like(said($key), qr/^200 Deprecation=\@\d+ Sunset=/, 'within the grace');
    ok(becomes($key, 401), 'after it, it is over');
    is(said($key), '401', 'without a word');
    is(status($next), 200, 'the new one goes on');
    like($t->wait_for_file('access.log', qr/^\/ 401 expired deprecated $id$/m), qr/200 ok deprecated $id/, 'in the log');
    like((opsauth(qw(key list)))[1], qr/^$id .* expired /m, 'in the list');
    refused([qw(key rotate), $id], 1, qr/is "expired" and has nothing to hand on; .*key create --account crm/);

    for my $words (['--now'], [qw(--grace 0)], [qw(--grace 0s)]) {
        ($id, $key, $record) = create('crm', qw(--scope read:a));
        status($key);
        opsauth(qw(key rotate), $id, @$words);
        is($rc, 0, "@$words");
        my ($next_id, $raw) = rotated();
        like($err, qr/replaces $id, which is revoked/);
        is(join(' ', @{fields($record)}{qw(state successor expires)}), "revoked $next_id 0", 'the old one is revoked');
        ok(becomes($key, 401), 'at once');
        is(status($raw), 200, 'the new one works');
    }
    refused([qw(key rotate), $id], 1, qr/is "revoked" and has nothing to hand on/);
};

subtest 'key rotate: what it refuses' => sub {
    my ($id, $key, $record) = create('crm', qw(--scope read:a));
    my $before = fields($record);
    my $count = $redis->cmd('DBSIZE');
    refused([qw(key rotate)], 2, qr/ID is missing/);
    refused([qw(key rotate), $id, 'x'], 2, qr/"x" is too much/);
    refused([qw(key rotate), $id, '--grace', $_], 2, qr/--grace "\Q$_\E": expected a time such as 7d/, "--grace '$_'")
        for '', 'x', '-1d', '1.5h', '24 h', '2027-01-01', '99999999999y';
    refused([qw(key rotate), $id, '--expires', $_], 2, qr/--expires "\Q$_\E": expected/) for '', '0', '2020-01-01';
    refused([qw(key rotate), $id, qw(--now --grace 1h)], 2, qr/exclude each other/);
    refused([qw(key rotate), $id, qw(--gracce 1h)], 2, qr/did you mean "--grace"\?/);
    refused([qw(key rotat), $id], 2, qr/did you mean "rotate"\?/);
    refused([qw(key rotate), $id, '--wait'], 2, qr/unknown option "--wait"/);
    refused([qw(key rotate key_nothere)], 3, qr/there is no key "key_nothere"/);
    refused([qw(key rotate), $key], 2, qr/a key itself, not its id/);
    unlike($err, qr/\Q$key\E/, 'which is not repeated');
    opsauth(qw(token issue --account crm --scope read:a));
    $t->secret($out =~ /(\w+)/);
    my ($token) = $err =~ /\b(tok_\w+)/;
    $count = $redis->cmd('DBSIZE');
    refused([qw(key rotate), $token], 3, qr/"$token" is not a key but of kind "access_token"/);

    my $other = $t->write_file('other.conf', 'opsauth_store o { redis ' . $redis->url . '; pepper_file '
        . $store->pepper_file . '; key_prefix op365_sk_test_ environment=test; }');
    refused(['-c', $other, qw(key rotate), $id], 1, qr/what do new live keys begin with\?/);
    is_deeply(fields($record), $before, 'none of them changed a thing');
    is($redis->cmd('DBSIZE'), $count, 'or made one');

    for my $case ([scopes => "a\"b"], [environment => 'x'], [expires => 'soon'], [scopes => undef]) {
        my ($field, $value) = @$case;
        defined $value ? $redis->cmd('HSET', $record, $field, $value) : $redis->cmd('HDEL', $record, $field);
        refused([qw(key rotate), $id], 1, qr/record of key "$id" is damaged: $field is /, "a damaged record: $field");
        $redis->cmd('HSET', $record, $field, $before->{$field});
    }
    $redis->cmd('HSET', $record, 'account', 'ghost');
    refused([qw(key rotate), $id], 3, qr/no account "ghost"/);
    $redis->cmd('HSET', $record, 'account', 'crm');
    $redis->cmd('HSET', $record, 'scopes', '');
    is((opsauth(qw(key rotate), $id))[0], 0, 'a key that may do nothing has a successor that may do nothing');
    is(fields((rotated())[2])->{scopes}, '', 'without scopes');
};

subtest 'key rotate: a successor that reached nobody' => sub {
    for my $how ({out => '/dev/full'}, {closed => 1}) {
        my ($id, $key, $record) = create('crm', qw(--scope read:a));
        my $before = fields($record);
        my %known = map { $_ => 1 } @{$redis->cmd('SMEMBERS', 'opsauth:credentials:crm')};
        opsauth($how, qw(key rotate), $id);
        is($rc, 1, join ' ', %$how);
        like($err, qr/did not reach anybody and is taken back.*the key "$id" is as it was before/s);
        my $after = fields($record);
        is(join(' ', delete @$after{qw(deprecated successor)}), '0 ', 'no successor');
        is_deeply($after, $before, 'the old key goes on');
        my ($lost) = grep { !$known{$_} } @{$redis->cmd('SMEMBERS', 'opsauth:credentials:crm')};
        is($redis->cmd('HGET', 'opsauth:credential:' . $redis->cmd('GET', "opsauth:id:$lost"), 'state'), 'revoked',
            'the new one does not');
        is(said($key), '200', 'and no client is told anything');
        opsauth($how, qw(key rotate), $id, '--now');
        like($err, qr/the key "$id" is revoked all the same; "opsauth key create --account crm" makes a new one/, '--now');
        is(fields($record)->{state}, 'revoked', 'who is to be revoked at once, is');
    }
};

# one successor, whoever comes first
subtest 'key rotate at the same time' => sub {
    my ($id, $key, $record) = create('crm', qw(--scope read:a));
    my %codes;
    my @pids = map { background('key', 'rotate', $id) } 1 .. 8;
    for (@pids) { waitpid $_, 0; $codes{$? >> 8}++ }
    is_deeply(\%codes, {0 => 1, 1 => 7}, 'one was made');
    is(scalar(grep { $_->{action} eq 'key.rotate' && $_->{object} eq $id } audit()), 1, 'one entry in the audit');
    is(fields($record)->{successor}, (map { $_->{object} } grep { ($_->{detail} // '') =~ /predecessor=$id/ } audit())[0],
        'and the record names it');
};

sub background {
    my (@words) = @_;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    %ENV = $opsauth->env;
    open STDIN, '<', '/dev/null';
    open STDOUT, '>', '/dev/null';
    open STDERR, '>', '/dev/null';
    exec { $opsauth->path } 'opsauth', @words or POSIX::_exit(127);
}

# --- what the client is told -------------------------------------------------------

subtest 'headers' => sub {
    my $due = sub { return $store->issue(account => 'crm', scopes => 'read:a', state => 'deprecated', @_) };
    my $full = 'Deprecation=@1700000000 Sunset=' . http_date(4000000000);
    my $key = $due->(deprecated => 1700000000, expires => 4000000000);
    is(said($key), "200 $full", 'both') for 1, 2;
    is(said($key, '/?status=500'), "500 $full", 'whatever the backend says');
    is(said($key, '/?status=404'), "404 $full");
    is(said($key, '/204'), "204 $full", 'without a backend');
    is(said($key, '/shadow'), "200 $full", 'in the shadow');
    is(said($key, '/write'), '403', 'not when denied');
    is(said($key, '/denied'), '200', 'nor on an error page');
    is(said($key, '/off'), '200', 'nor where nobody asks');
    is(said($store->issue(account => 'crm', scopes => 'read:a', deprecated => 5, expires => 4000000000)), '200', 'an active key');

    is(said($due->(expires => 4000000000)), '200 Sunset=' . http_date(4000000000), 'nobody said since when');
    is(said($due->(deprecated => 0, expires => 4000000000)), '200 Sunset=' . http_date(4000000000), 'the same, with 0');
    is(said($due->(deprecated => 1700000000)), '200 Deprecation=@1700000000', 'it never ends');
    is(said($due->(deprecated => '9' x 18, expires => '9' x 18)), '200', 'times that no date can hold');
    is(said($due->(deprecated => 'x')), '503', 'a field of a wrong form is a broken record');
    is(said($due->(deprecated => 1700000000, kind => 'access_token')), '200 Deprecation=@1700000000', 'a token');

    is(said($key, '/own/none'), "200 $full", 'a backend that says nothing');
    is(said($key, '/own/both'), '200 Deprecation=@1 Sunset=' . http_date(2145916800), 'one that does is left alone');
    is(said($key, '/own/sunset'), '200 Sunset=' . http_date(2145916800), 'also if it sends only one of them');
    is(said($key, '/accel/'), "200 $full", 'X-Accel-Redirect');
    is($t->get('/accel/', key => $key)->header('X-State'), 'deprecated', 'variable');
    is(said($key, '/error?status=404'), "200 $full", 'error_page');
};

# --- account delete ----------------------------------------------------------------

# all credential records of an account, by state
sub states {
    my ($account) = @_;
    my (%n, $cursor);
    do {
        ($cursor, my $names) = @{$redis->cmd('SCAN', $cursor // 0, 'MATCH', 'opsauth:credential:*', 'COUNT', 1000)};
        for my $name (@$names) {
            my ($state, $whose) = @{$redis->cmd('HMGET', $name, 'state', 'account')};
            $n{$state}++ if $whose eq $account;
        }
    } while $cursor;
    return \%n;
}

subtest 'account delete' => sub {
    opsauth(qw(account create gone --name Gone));
    opsauth(qw(account create stays));
    my ($id, $key) = create('gone', qw(--scope read:a));
    my ($rotated) = create('gone', qw(--scope read:a));
    opsauth(qw(key rotate), $rotated);
    my (undef, $next) = rotated();
    opsauth(qw(token issue --account gone --scope read:a));
    chomp(my $token = $out);
    $t->secret($token);
    my ($other_id, $other) = create('stays', qw(--scope read:a));
    $redis->cmd('SADD', 'opsauth:credentials:gone', 'key_none', $other_id);
    is(join(' ', map { status($_) } $key, $next, $token, $other), '200 200 200 200', 'all pass');

    refused([qw(account delete gone)], 2, qr/no terminal to ask on: give --yes/);
    refused([qw(account delete nobody --yes)], 3, qr/there is no account "nobody"/);
    refused([qw(account delete), 'a b', '--yes'], 2, qr/is no id of an account/);
    refused([qw(account delete --yes)], 2, qr/ID is missing/);
    refused([qw(account delet gone)], 2, qr/did you mean "delete"\?/);
    is(status($key), 200, 'nothing has changed');

    my $entries = () = audit();
    opsauth(qw(account delete gone --yes));
    is("$rc $out", "0 account gone deleted, 4 keys and tokens revoked\n", 'delete');
    like($err, qr/"$other_id" is listed here but belongs to account "stays"; it stays/, 'a foreign id is told');
    is($redis->cmd('EXISTS', 'opsauth:account:gone', 'opsauth:credentials:gone'), 0, 'account and list are gone');
    is_deeply(states('gone'), {revoked => 4}, 'its credentials are tombstones');
    is_deeply(states('stays'), {active => 1}, 'that of another account is not');
    my @new = splice @{[audit()]}, $entries;
    is($new[0]{action} . ' ' . $new[-1]{action}, 'account.set account.delete', 'audit: off first, deleted last');
    is(scalar(grep { $_->{action} =~ /^(?:key|token)\.revoke$/ } @new), 4, 'audit: each of them');

    # the same answer as to a key that never was
    my $unknown = $t->get('/', key => $store->key);
    for my $raw ($key, $next, $token) {
        ok(becomes($raw, 401), 'refused');
        my $r = $t->get('/', key => $raw);
        is($r->body, $unknown->body, 'no oracle: the body');
        is($r->header('WWW-Authenticate'), $unknown->header('WWW-Authenticate'), 'the challenge');
    }
    $t->wait_for_file('access.log', qr/ 401 revoked revoked $id$/m) or fail('the log knows');
    is(status($other), 200, 'others go on');
    unlike($t->log, qr/has no record/, 'and no record seems damaged');

    refused([qw(account delete gone --yes)], 3, qr/no account "gone"/, 'once more');
    refused([qw(key create --account gone --name n --scope s)], 3, qr/no account "gone"/);
    refused([qw(key list --account gone)], 3, qr/no account "gone"/);
    like((opsauth('key', 'show', $id))[1], qr/^state +revoked$/m, 'a tombstone can be shown');

    opsauth(qw(account create gone));
    is($rc, 0, 'the id is free again');
    is((opsauth(qw(key list --account gone)))[1] =~ tr/\n//, 1, 'and has no key');
    is(status($key), 401, 'of before');
    opsauth(qw(account delete gone --yes --json));
    is_deeply(json($out), {id => 'gone', deleted => JSON::PP::true, revoked => 0, clients => 0}, '--json');

    # a back office was half done
    my $raw = $store->issue(account => 'left');
    is((opsauth(qw(account delete left --yes)))[1], "account left deleted, 1 key or token revoked\n", 'what others left behind');
    is_deeply(states('left'), {revoked => 1});
};

subtest 'account delete on a terminal' => sub {
    plan skip_all => 'no pseudo-terminal here' unless OpsAuth::Command->terminal;
    opsauth(qw(account create asked --name Asked));
    create('asked', qw(--scope read:a));
    my $answer = sub {
        my ($text) = @_;
        $t->write_file('typed', $text);
        my $dir = $t->dir;
        local %ENV = $opsauth->env;
        my $shown = `(sleep 0.3; cat '$dir/typed'; sleep 0.5) | script -qec "'${\ $opsauth->path}' account delete asked" /dev/null`;
        return ($? >> 8, $shown);
    };
    my ($exit, $shown) = $answer->("n\n");
    is($exit, 1, 'no');
    like($shown, qr/Delete the account asked \("Asked"\) and end 1 key or token for good\? \[y\/N\]/, 'it asks');
    like($shown, qr/nothing was changed/);
    is(($answer->("\n"))[0], 1, 'nothing is no');
    is_deeply(states('asked'), {active => 1}, 'really');
    is(fields('opsauth:account:asked')->{enabled}, 1);
    ($exit, $shown) = $answer->("y\n");
    is($exit, 0, 'yes');
    like($shown, qr/account asked deleted, 1 key or token revoked/);
};

subtest 'account delete: many, and interrupted' => sub {
    my $n = 3000;
    opsauth(qw(account create big));
    $redis->cmd('EVAL', <<'LUA', 0, $n);
        for i = 1, ARGV[1] do
            local id, digest = string.format('key_big%06d', i), string.format('%064x', i)
            redis.call('SET', 'opsauth:id:' .. id, digest)
            redis.call('SADD', 'opsauth:credentials:big', id)
            redis.call('HSET', 'opsauth:credential:' .. digest, 'v', 1, 'id', id, 'kind', 'api_key', 'account', 'big',
                'state', 'active', 'environment', 'live', 'scopes', '', 'expires', 0)
        end
LUA
    is_deeply(states('big'), {active => $n}, "$n keys");

    # killed at any moment: what has begun is dead, and goes on being so
    my ($killed, $begun) = (0, 0);
    for my $ms (5, 30, 50, 70, 90, 120, 150) {
        my $pid = background(qw(account delete big --yes));
        sleep $ms / 1000;
        kill 'KILL', $pid;
        waitpid $pid, 0;
        last unless $? & 127;
        $killed++;
        my $revoked = states('big')->{revoked} // 0;
        my $enabled = $redis->cmd('HGET', 'opsauth:account:big', 'enabled') // last;
        $begun++ if !$enabled;
        ok(!$enabled || !$revoked, "after $ms ms: $revoked revoked, enabled $enabled");
    }
    note "killed $killed times, $begun of them in the middle";
    if (!$redis->cmd('EXISTS', 'opsauth:account:big')) {
        pass('it was faster');
    } else {
        opsauth(qw(account delete big --yes));
        is($rc, 0, 'a rerun finishes') or diag $err;
    }
    is_deeply(states('big'), {revoked => $n}, 'all are revoked');
    is($redis->cmd('EXISTS', 'opsauth:account:big', 'opsauth:credentials:big'), 0, 'and the account is gone');
};

subtest 'account delete while keys are made' => sub {
    for my $round (1 .. 5) {
        opsauth(qw(account create busy));
        my @pids = map {
            my $pid = fork // die "fork: $!";
            if (!$pid) {
                for (1 .. 30) {
                    my $one = background(qw(key create --account busy --name n --scope read:a));
                    waitpid $one, 0;
                    POSIX::_exit($? >> 8) if $?;
                }
                POSIX::_exit(0);
            }
            $pid;
        } 1 .. 3;
        sleep 0.05;
        opsauth(qw(account delete busy --yes));
        is($rc, 0, "deleted (round $round)") or diag $err;
        for (@pids) { waitpid $_, 0; is($? >> 8, 3, '  who came too late is told') }
        my $states = states('busy');
        is_deeply([grep { $_ ne 'revoked' } keys %$states], [], '  none survives');
        is($redis->cmd('EXISTS', 'opsauth:account:busy', 'opsauth:credentials:busy'), 0, '  nothing is left');
    }
};

# the account is there when it is looked for, and gone when the key is written
subtest 'a key for an account that is just gone' => sub {
    opsauth(qw(account create brief));
    my $child = sub {
        my ($code) = @_;
        my $pid = fork // die "fork: $!";
        if (!$pid) { $code->(); POSIX::_exit(0) }
        return $pid;
    };
    $redis->cmd(qw(CLIENT PAUSE 30000 WRITE));
    my $client = $redis->client(timeout => 30);
    my $first = $child->(sub { $client->cmd(qw(DEL opsauth:account:brief opsauth:credentials:brief)) });
    my $waiting = sub { my ($n) = @_; OpsAuth::Process->poll(10, sub { $redis->info('blocked_clients') >= $n }) };
    $waiting->(1) or fail('the deletion waits');
    my $second = background(qw(key create --account brief --name n --scope read:a));
    $waiting->(2) or fail('so does the new key');
    $redis->cmd(qw(CLIENT UNPAUSE));
    waitpid $first, 0;
    waitpid $second, 0;
    is($? >> 8, 3, 'not found');
    is_deeply(states('brief'), {}, 'and no key was made');
};

subtest 'account delete: Redis says no' => sub {
    my $password = $t->write_file('weak.password', "weak-secret\n", 0600);
    $t->secret('weak-secret');
    $redis->cmd(qw(ACL SETUSER weak on >weak-secret ~* &* +@all -del));
    opsauth(qw(account create held));
    create('held', qw(--scope read:a));
    my @weak = ('--redis-user', 'weak', '--redis-password-file', $password);
    refused([@weak, qw(account delete held --yes)], 1,
        qr/does not allow user "weak".* to run DEL.*"held" is switched off, so that nothing of it passes, but not deleted: run the same/s);
    is_deeply(states('held'), {revoked => 1}, 'nothing is live');
    is((opsauth(qw(account delete held --yes)))[1], "account held deleted, 0 keys and tokens revoked\n", 'who may, finishes');
};

# --- --wait ------------------------------------------------------------------------

subtest '--wait' => sub {
    my ($id, $key) = create('crm', qw(--scope read:a));
    is(status($key), 200);
    my $begin = time;
    opsauth(qw(key revoke), $id, '--wait');
    is("$rc $out", "0 key $id revoked\n", 'key revoke');
    like($err, qr/in force everywhere: Redis has no replicas, and one lease \(600ms, \Q$conf\E:1\) has passed/, 'says so');
    cmp_ok(time - $begin, '>=', 0.6, 'after the lease');
    is(status($key), 401, 'and so it is');

    $begin = time;
    opsauth(qw(key revoke), $id, qw(--wait --lease 2s --json));
    is("$rc $err", '0 ', 'once more, with --json');
    ok(!json($out)->[0]{changed}, 'nothing changed');
    cmp_ok(time - $begin, '>=', 2, 'it waits all the same, for --lease');

    opsauth({env => {OPSAUTH_LEASE => '150ms'}}, qw(account disable stays --wait));
    is("$rc $out", "0 account stays disabled\n", 'account disable');
    like($err, qr/one lease \(150ms, OPSAUTH_LEASE\)/);
    opsauth(qw(account delete stays --yes --wait));
    is("$rc $out", "0 account stays deleted, 1 key or token revoked\n", 'account delete');
    like($err, qr/in force everywhere/);
    opsauth(qw(token issue --account crm --scope read:a));
    $t->secret($out =~ /(\w+)/);
    my ($token) = $err =~ /\b(tok_\w+)/;
    opsauth(qw(token revoke), $token, qw(--wait --redis), $redis->url);
    is("$rc $out", "0 token $token revoked\n", 'token revoke');
    ($id) = create('crm', qw(--scope read:a));
    opsauth(qw(key revoke key_nothere), $id, '--wait');
    is($rc, 3, 'one is not there');
    like($err, qr/in force everywhere/, 'the others are waited for');
    $begin = time;
    opsauth(qw(key revoke key_nothere --wait --lease 20s));
    is($rc, 3, 'none is there');
    cmp_ok(time - $begin, '<', 15, 'and nothing to wait for');

    refused([qw(key revoke), $id, '--lease', '1s'], 2, qr/--lease is for --wait only/);
    refused([qw(key revoke), $id, '--wait', "--lease=$_"], 2, qr/the lease "\Q$_\E" \(--lease\) is not valid: expected 100ms to 60s/, "--lease '$_'")
        for 'x', '99ms', '61s', '-1s', '1s1m', '1.5s', '1ss', '1s s', '99999999999999999999s';
    refused([qw(key revoke), $id, '--wait', '--lease='], 2, qr/--lease is empty/);
    refused([qw(account delete crm --yes --wait --lease x)], 2, qr/the lease "x"/, 'before anything is deleted');
    is(fields('opsauth:account:crm')->{enabled}, 1, 'nothing is');
    refused([qw(account enable crm --wait)], 2, qr/unknown option "--wait"/);
    my $odd = $t->write_file('odd.conf', 'opsauth_store main { redis ' . $redis->url . '; lease soon; }');
    is((opsauth('-c', $odd, qw(account list)))[0], 0, 'a lease that is none of our business');
    refused(['-c', $odd, qw(key revoke), $id, '--wait'], 2, qr/the lease "soon" \(\Q$odd\E:1\) is not valid/);
};

subtest '--wait with replicas' => sub {
    my $replica = $t->redis(name => 'REPLICA', args => ['--replicaof', '127.0.0.1', $redis->port]);
    OpsAuth::Process->poll(20, sub { ($replica->info('master_link_status') // '') eq 'up' }) or die 'no replica';
    OpsAuth::Process->poll(20, sub { $redis->cmd('INFO', 'replication') =~ /state=online/ }) or die 'no replica';
    my ($id, $key, $record) = create('crm', qw(--scope read:a));
    opsauth(qw(key revoke), $id, '--wait');
    is($rc, 0, 'a replica') or diag $err;
    like($err, qr/in force everywhere: 1 replica of Redis acknowledged it, and one lease/);
    is($replica->cmd('HGET', $record, 'state'), 'revoked', 'has it');

    ($id, $key, $record) = create('crm', qw(--scope read:a));
    $replica->pause;
    opsauth(qw(key revoke), $id, qw(--wait --timeout 1s));
    is("$rc $out", "1 key $id revoked\n", 'one that does not answer');
    like($err, qr/only 0 of 1 replicas of Redis acknowledged this within 1s \(--timeout\): should one of the others become the primary, it would be undone/);
    like($err, qr/is written, but not known to be in force everywhere, or to last; .*run the same command again/, 'and what to do');
    is(fields($record)->{state}, 'revoked', 'it is written');
    opsauth(qw(key revoke), $id, qw(--wait --timeout 1s));
    is("$rc $out", "1 key $id is revoked already\n", 'again: with nothing left to write, it is not in force yet');
    like($err, qr/only 0 of 1/);
    opsauth(qw(account disable crm --wait --timeout 1s));
    is($rc, 1, 'account disable');
    $replica->resume;
    opsauth(qw(key revoke), $id, '--wait');
    is($rc, 0, 'again, when it is back') or diag $err;
    is($replica->cmd('HGET', $record, 'state'), 'revoked', 'it has it');
    opsauth(qw(account enable crm));

    opsauth(qw(key revoke), $id, '--wait', '--redis', $replica->url);
    is($rc, 1, 'a replica can\'t tell');
    like($err, qr/is no primary any more: its role is "slave"/);
    $replica->stop;
};

# since Redis 7.2 WAIT counts replicas that lack what another connection wrote
subtest '--wait: what replicas say they have' => sub {
    my $fake = $t->fake_redis(name => 'LAGS');
    my $ours = OpsAuth::Command->new($t, OPSAUTH_REDIS => $fake->url, OPSAUTH_PEPPER_FILE => $store->pepper_file);
    $fake->cmd(qw(HSET opsauth:account:a name A enabled 0 created 1 updated 1));
    $fake->cmd(qw(HSET opsauth:meta v 1));
    my $primary = sub {
        return { bulk => join '', map { "$_\r\n" } qw(role:master connected_slaves:2 master_replid:abc master_repl_offset:1000),
            map { "slave$_:ip=127.0.0.1,port=1,$_[$_],lag=0" } 0 .. $#_ };
    };
    my $disable = sub { ($rc, $out, $err) = $ours->run(qw(account disable a --wait --timeout 1s --lease 100ms)) };
    my @has = map { "state=online,offset=$_" } 1000, 1001;
    for my $lacks ('state=online,offset=999', 'state=online,offset=0', 'state=wait_bgsave,offset=1000', 'state=online,offset=-1',
        'state=online', 'state=online,offset=99999999999999999999') {
        $fake->behave->script(WATCH => '+OK', UNWATCH => '+OK', WAIT => ':2', INFO => $primary->($has[0], $lacks));
        $disable->();
        is("$rc $out", "1 account a is disabled already\n", $lacks);
        like($err, qr/only 1 of 2 replicas of Redis acknowledged this within 1s/, '  is told');
    }
    $fake->script(INFO => [($primary->('state=online,offset=0', $has[1])) x 4, ($primary->(@has)) x 9]);
    $disable->();
    is($rc, 0, 'one that has it a little later') or diag $err;
    my $other = { bulk => $primary->(@has)->{bulk} =~ s/replid:abc/replid:abd/r };
    $fake->script(INFO => [($primary->(@has)) x 2, $other]);
    $disable->();
    is($rc, 1, 'a Redis that was replaced while waiting');
    like($err, qr/Redis began another history while waiting/, 'is told');
    $fake->script(INFO => { bulk => "role:master\r\nconnected_slaves:2\r\n" });
    $disable->();
    is($rc, 1, 'a Redis that does not say where it is');
    like($err, qr/does not say how far its replicas should be/);
};

subtest '--wait: Redis is lost, or says no' => sub {
    my $own = $t->redis(name => 'OWN');
    my $ours = OpsAuth::Command->new($t, OPSAUTH_REDIS => $own->url, OPSAUTH_PEPPER_FILE => $store->pepper_file,
        OPSAUTH_KEY_PREFIX => 'live=op365_sk_live_');
    $ours->run(qw(account create a));
    my $account = sub { join ' ', @{$_[0]->cmd(qw(HGETALL opsauth:account:a))} };
    my ($was, $pid) = ($account->($own), fork // die "fork: $!");
    if (!$pid) {
        my $client = $own->client;      # not its parent's connection
        sleep(OpsAuth::Process->poll(20, sub { $account->($client) ne $was }) ? 1.5 : 0);
        kill('KILL', $own->pid) && POSIX::_exit(0);
    }
    my $begin = time;
    ($rc, $out, $err) = $ours->run(qw(account disable a --wait --lease 4s));
    waitpid $pid, 0;
    is("$rc $out", "1 account a disabled\n", 'lost while waiting');
    like($err, qr/Redis at .* failed at INFO: .*not known to be in force everywhere/s, 'is told');
    cmp_ok(time - $begin, '<', 30, 'in time');
    $own->kill;
    $own->start;

    my $password = $t->write_file('little.password', "little-secret\n", 0600);
    $t->secret('little-secret');
    $own->cmd(qw(ACL SETUSER little on >little-secret ~* &* +@all -info -wait));
    $ours->run(qw(account create a));
    my @little = ('--redis-user', 'little', '--redis-password-file', $password);
    ($rc, $out, $err) = $ours->run(@little, qw(account disable a --wait));
    is("$rc $out", "1 account a disabled\n", 'without the right to run INFO');
    like($err, qr/does not allow user "little".* to run INFO.*give the user this right.*is written, but not known to be in force/s);
    $own->cmd(qw(ACL SETUSER little +info));
    ($rc, $out, $err) = $ours->run(@little, qw(account disable a --wait --lease 100ms));
    is($rc, 0, 'WAIT is not needed where there is no replica') or diag $err;
    my $replica = $t->redis(name => 'SECOND', args => ['--replicaof', '127.0.0.1', $own->port]);
    OpsAuth::Process->poll(20, sub { $own->cmd('INFO', 'replication') =~ /state=online/ }) or die 'no replica';
    ($rc, $out, $err) = $ours->run(@little, qw(account disable a --wait --lease 100ms));
    is($rc, 1, 'but where there is one');
    like($err, qr/does not allow user "little".* to run WAIT/);
    $replica->stop;
};

# --- nothing secret anywhere ---------------------------------------------------------

my $dump = join "\n", map { join ' ', %$_ } audit();
unlike($dump, qr/op365_sk_(?:live|test)_/, 'no key in the audit');

unlink glob($t->dir . '/cli.*');
$t->done;
