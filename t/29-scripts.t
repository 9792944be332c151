#!/usr/bin/perl

# The scripts of the token service (src/oauth/ngx_http_opsauth_oauth_script.h),
# as they are compiled in, on a real Redis and as the user that docs/redis.md
# gives to a gateway that issues tokens: what each answers, what it leaves
# behind, and that of many who try at once one succeeds.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::Process;
use OpsAuth::Test;

my $BUILD = $ENV{TEST_BUILD} // OpsAuth::Test->root . '/build';
my $PROGRAM = "$BUILD/unit/ngx_http_opsauth_oauth_script";
my @NAMES = qw(code_store code_redeem family_create family_rotate family_revoke
    credential_issue credential_revoke);

my $t = OpsAuth::Test->new;
my $password = join '', map { ('a' .. 'z')[rand 26] } 1 .. 24;
$t->secret($password);

my %script = scripts();
is_deeply([sort keys %script], [sort @NAMES], 'all scripts') or BAIL_OUT('make unit');

my $redis = $t->redis(acl => ['user default on nopass ~* &* +@all']);
my ($major) = $redis->info('redis_version') =~ /^(\d+)/;
my @ISSUER = acl('issuer');
$redis->cmd(@ISSUER);
my $issuer = $redis->client(user => 'issuer', password => $password);

# --- what the tests are made of -----------------------------------------------------

sub scripts {
    open my $fh, '-|', $PROGRAM, '--print' or die "$PROGRAM: $!; make unit builds it";
    binmode $fh;
    local $/;
    my @parts = split /\0/, <$fh> // '';
    my %all;
    while (my ($name, $sha1, $text) = splice @parts, 0, 3) {
        $all{$name} = { sha1 => $sha1, text => $text };
    }
    return %all;
}

# the line as the documentation has it
sub acl {
    my ($user) = @_;
    open my $fh, '<', OpsAuth::Test->root . '/docs/redis.md' or die "docs/redis.md: $!";
    my ($line) = grep { /^    ACL SETUSER $user / } <$fh>;
    die "no ACL of $user in docs/redis.md" unless $line;
    $line =~ s/%R~/~/g if $major < 7;
    return split ' ', $line =~ s/>PASSWORD/>$password/r;
}

# as the gateway sends it: by its SHA-1, by its text where that is not known
sub run_as {
    my ($client, $name, $key, @args) = @_;
    my $reply = $client->try('EVALSHA', $script{$name}{sha1}, 1, "opsauth:$key", @args);
    return $reply unless ref $reply eq 'OpsAuth::RESP::Error' && $reply->{text} =~ /^NOSCRIPT /;
    return $client->try('EVAL', $script{$name}{text}, 1, "opsauth:$key", @args);
}

# its answer as one string
sub run {
    my ($name, $key, @args) = @_;
    my $reply = run_as($issuer, $name, $key, @args);
    return ref $reply eq 'ARRAY' ? join ' ', map { length $_ ? $_ : "''" } @$reply
        : "error: $reply->{text}";
}

sub record { my ($key) = @_; return { @{$redis->cmd('HGETALL', "opsauth:$key")} } }
sub ttl    { my ($key) = @_; return $redis->cmd('PTTL', "opsauth:$key") }
sub about  { my ($n, $wanted) = @_; return $n <= $wanted && $n > $wanted - 60_000 }

my $n = 0;
sub digest { return sprintf '%064x', ++$n }

# a script that answers like this must not change anything
sub unchanged {
    my ($wanted, $what, $name, $key, @args) = @_;
    my ($before, $was) = (record($key), ttl($key));
    is(run($name, $key, @args), $wanted, $what);
    is_deeply(record($key), $before, '... and nothing is changed');
    my $is = ttl($key);
    ok($was < 0 ? $is == $was : $is <= $was && $is > $was - 60_000, '... nor when it ends');
}

# each of these runs the code with a connection of its own, all at once; their
# answers, sorted
sub at_once {
    my ($count, $code) = @_;
    my @readers;
    pipe my $wait, my $go or die $!;
    for my $i (1 .. $count) {
        pipe my $reader, my $writer or die $!;
        my $pid = fork // die $!;
        if (!$pid) {
            close $go;
            my $client = $redis->client(user => 'issuer', password => $password);
            $client->cmd('PING');
            sysread $wait, my $byte, 1;             # the end of it is for all
            my $reply = eval { $code->($client, $i) };
            syswrite $writer, ref $reply eq 'ARRAY' ? $reply->[0] : 'error';
            POSIX::_exit(0);
        }
        push @readers, [$reader, $pid];
    }
    sleep 0.2;
    close $go;
    close $wait;
    my @answers;
    for (@readers) {
        my ($reader, $pid) = @$_;
        waitpid $pid, 0;
        sysread $reader, my $answer, 100;
        push @answers, $answer;
    }
    return join ' ', sort @answers;
}

my %CODE = (v => 1, client => 'app', account => 'crm', subject => 'ann', redirect_uri => 'https://a.example/cb',
    scopes => 'read', challenge => 'E9Melhoa2Ow', environment => 'live', created => 1_700_000_000,
    state => 'issued');
my $NOW = 1_700_000_000;                            # no script looks at a clock

sub code {
    my (%o) = @_;
    my $key = 'code:' . digest();
    is(run('code_store', $key, delete $o{ttl} // 60_000, %CODE, %o), 'ok', 'a code is stored');
    return $key;
}

my %FAMILY = (v => 1, client => 'app', account => 'crm', subject => 'ann', scopes => 'read',
    environment => 'live', previous => '', rotated => $NOW * 1000, state => 'active', created => $NOW,
    expires => $NOW + 3600, access => '');

sub family {
    my (%o) = @_;
    my $key = 'refresh:' . digest();
    is(run('family_create', $key, delete $o{ttl} // 3_600_000, %FAMILY, current => 'r1', %o), 'ok',
        'a family is created');
    return $key;
}

# family_rotate, by name
sub rotate_args {
    my (%o) = (now => $NOW, grace => 10_000, presented => 'r1', new => 'r2', access => 'a1',
        expires => $NOW + 30, client => 'app', ttl => 7_200_000, @_);
    return ($o{now_ms} // $o{now} * 1000, $o{now}, @o{qw(grace presented new access expires client ttl)});
}
sub rotate { my ($key, @o) = @_; return run('family_rotate', $key, rotate_args(@o)) }

my %CREDENTIAL = (v => 1, id => 'tok_1', kind => 'access_token', account => 'crm', state => 'active',
    environment => 'live', scopes => 'read', expires => $NOW + 30, created => $NOW, subject => 'ann', client => 'app');

# --- the texts ------------------------------------------------------------------------

for my $name (@NAMES) {
    is($redis->cmd('SCRIPT', 'LOAD', $script{$name}{text}), $script{$name}{sha1}, "$name: its SHA-1");
}
$redis->cmd('SCRIPT', 'FLUSH');

# --- codes ----------------------------------------------------------------------------

subtest 'codes' => sub {
    my $key = code();
    is_deeply(record($key), \%CODE, 'with its fields');
    ok(about(ttl($key), 60_000), 'and its time');
    unchanged('exists', 'the same digest again', 'code_store', $key, 600_000, %CODE, account => 'other');

    my @good = ('app', 'https://a.example/cb', 'E9Melhoa2Ow');
    my $given = sub { my (%o) = @_; my @args = @good; $args[$_] = $o{$_} for keys %o; return (300_000, @args, 'acc', 'fam') };

    is(run('code_redeem', 'code:' . digest(), $given->()), 'unknown', 'a code that is not there');
    for (['another client', 0 => 'other'], ['no client', 0 => ''], ['another redirect_uri', 1 => 'https://a.example/cb/'],
        ['no redirect_uri', 1 => ''], ['another challenge', 2 => 'e9melhoa2ow'], ['no challenge', 2 => '']) {
        my ($what, @other) = @$_;
        unchanged('mismatch', $what, 'code_redeem', $key, $given->(@other));
    }

    is(run('code_redeem', $key, $given->()), 'ok', 'redeemed');
    is_deeply(record($key), { %CODE, state => 'redeemed', access => 'acc', family => 'fam' }, 'it says for what');
    ok(about(ttl($key), 300_000), 'and is remembered for longer');

    my @again = (300_000, @good, 'other', 'another');
    unchanged('replayed acc fam', 'once more', 'code_redeem', $key, @again);
    unchanged('replayed acc fam', 'and again', 'code_redeem', $key, @again);
    unchanged('mismatch', 'a replay by another client', 'code_redeem', $key, $given->(0 => 'other'));
    unchanged('mismatch', 'one without the challenge', 'code_redeem', $key, $given->(2 => ''));

    $key = code(challenge => '', redirect_uri => '');
    unchanged('mismatch', 'a challenge where there was none', 'code_redeem', $key, 1000, 'app', '', 'E9Melhoa2Ow', 'a', '');
    unchanged('mismatch', 'a redirect_uri where there was none', 'code_redeem', $key, 1000, 'app', 'https://a.example/cb', '', 'a', '');
    is(run('code_redeem', $key, 300_000, 'app', '', '', 'acc', ''), 'ok', 'without either');
    is(run('code_redeem', $key, 300_000, 'app', '', '', 'b', ''), "replayed acc ''", 'replayed: it had no family');

    $key = code();
    $redis->cmd('HSET', "opsauth:$key", 'state', 'other');
    unchanged('unknown', 'a state that nobody knows', 'code_redeem', $key, $given->());
    for my $field (qw(client redirect_uri challenge)) {
        $key = code();
        $redis->cmd('HDEL', "opsauth:$key", $field);
        unchanged('mismatch', "a code without $field", 'code_redeem', $key,
            $given->($field eq 'client' ? (0 => '') : $field eq 'challenge' ? (2 => '') : (1 => '')));
    }

    $key = code(ttl => 150);
    ok(OpsAuth::Process->poll(10, sub { !$redis->cmd('EXISTS', "opsauth:$key") }), 'a code ends');
    is(run('code_redeem', $key, $given->()), 'unknown', 'unknown then');

    $key = code();
    is(at_once(8, sub { run_as($_[0], 'code_redeem', $key, 300_000, @good, "a$_[1]", '') }),
        'ok' . ' replayed' x 7, 'of eight at once one redeems it');
};

# --- families -------------------------------------------------------------------------

subtest 'families' => sub {
    my $key = family(access => "a0:@{[$NOW + 20]}");
    is_deeply(record($key), { %FAMILY, current => 'r1', access => "a0:@{[$NOW + 20]}" }, 'with its fields');
    ok(about(ttl($key), 3_600_000), 'and its time');
    unchanged('exists', 'the same digest again', 'family_create', $key, 600_000, %FAMILY, current => 'x');

    is(rotate('refresh:' . digest()), 'unknown', 'a family that is not there');
    unchanged('mismatch', 'another client', 'family_rotate', $key, rotate_args(client => 'other'));
    unchanged('mismatch', 'no client', 'family_rotate', $key, rotate_args(client => ''));

    is(rotate($key, now => $NOW + 10, expires => $NOW + 40), 'ok', 'rotated');
    is_deeply(record($key), { %FAMILY, current => 'r2', previous => 'r1', rotated => ($NOW + 10) * 1000,
        access => "a0:@{[$NOW + 20]} a1:@{[$NOW + 40]}", expires => $NOW + 10 + 7200 }, 'what it is now');
    ok(about(ttl($key), 7_200_000), 'its time begins anew');

    # the last answer may have been lost
    my @late = (new => 'r3', access => 'a3', expires => $NOW + 99);
    unchanged('repeated', 'the one before it', 'family_rotate', $key, rotate_args(now => $NOW + 12, @late));
    unchanged('repeated', 'at the end of the grace', 'family_rotate', $key, rotate_args(now => $NOW + 20, @late));
    unchanged('repeated', 'by a clock that is behind', 'family_rotate', $key, rotate_args(now => $NOW + 9, @late));
    unchanged('mismatch', 'by another client', 'family_rotate', $key, rotate_args(client => 'other', @late));

    is(rotate($key, presented => 'r2', now => $NOW + 20, @late), 'ok', 'the current one goes on');
    is(record($key)->{access}, "a1:@{[$NOW + 40]} a3:@{[$NOW + 99]}", 'a token that has ended is forgotten');

    # used again after its successor was used
    is(rotate($key, presented => 'r1', now => $NOW + 21), 'replayed a1 a3', 'replayed: those that live');
    is(record($key)->{state}, 'revoked', 'revoked');
    ok(about(ttl($key), 7_200_000), 'its time is what it was');
    unchanged('revoked a1 a3', 'the current one', 'family_rotate', $key, rotate_args(presented => 'r3', now => $NOW + 22));
    unchanged('revoked a3', 'later, fewer live', 'family_rotate', $key, rotate_args(presented => 'r3', now => $NOW + 40));
    unchanged('mismatch', 'of another client nothing is said', 'family_rotate', $key, rotate_args(client => 'other'));

    $key = family(access => "a0:@{[$NOW + 20]}");
    is(rotate($key, now => $NOW), 'ok', 'rotated');
    is(rotate($key, now => $NOW + 11, now_ms => $NOW * 1000 + 10_001, @late), 'replayed a0 a1', 'a millisecond beyond the grace');
    is(record($key)->{state}, 'revoked', 'revoked');

    $key = family();
    is(rotate($key), 'ok', 'rotated');
    is(rotate($key, grace => 0, now_ms => $NOW * 1000 + 1), 'replayed a1', 'no grace at all');

    $key = family(access => "a0:@{[$NOW + 20]}");
    is(rotate($key, presented => 'x'), 'replayed a0', 'one that never was');
    $key = family(access => "a0:@{[$NOW + 20]}");
    is(rotate($key, presented => ''), 'replayed a0', 'an empty one is not the one before the first');

    $key = family(expires => $NOW + 5);
    unchanged('unknown', 'one that Redis has not yet removed', 'family_rotate', $key, rotate_args(now => $NOW + 5));
    is(rotate($key, now => $NOW + 4), 'ok', 'a second earlier');

    $key = family(ttl => 150);
    ok(OpsAuth::Process->poll(10, sub { !$redis->cmd('EXISTS', "opsauth:$key") }), 'a family ends');
    is(rotate($key), 'unknown', 'unknown then');

    $key = family();
    is(at_once(8, sub { run_as($_[0], 'family_rotate', $key, rotate_args(new => "n$_[1]", access => "a$_[1]")) }),
        'ok' . ' repeated' x 7, 'of eight at once one rotates it');
};

subtest 'so many access tokens' => sub {
    my $key = family();
    for my $i (1 .. 48) {
        is(rotate($key, presented => "r$i", new => 'r' . ($i + 1), access => digest(), expires => $NOW + 30 + $i),
            'ok', "access token $i") if $i > 46;
        rotate($key, presented => "r$i", new => 'r' . ($i + 1), access => digest(), expires => $NOW + 30 + $i) if $i <= 46;
    }
    unchanged('limited', 'one more', 'family_rotate', $key, rotate_args(presented => 'r49', new => 'x'));
    is(rotate($key, presented => 'r49', new => 'r50', now => $NOW + 31, expires => $NOW + 99), 'ok', 'when the first has ended');
    my @live = split / /, run('family_revoke', $key, 0, $NOW + 31, '');
    is(scalar @live, 49, 'all of them are named');
};

subtest 'families revoked' => sub {
    my $key = family(access => "a0:@{[$NOW + 20]} a1:$NOW a2:@{[$NOW + 1]}");
    unchanged('mismatch', 'by another client', 'family_revoke', $key, 0, $NOW, 'other');
    is(run('family_revoke', $key, 1000, $NOW, 'app'), 'ok a0 a2', 'revoked: those that live');
    is(record($key)->{state}, 'revoked', 'it says so');
    ok(about(ttl($key), 3_600_000), 'its time is what it was');
    unchanged('ok a0', 'again, later', 'family_revoke', $key, 1000, $NOW + 1, '');
    unchanged('mismatch', 'again, by another client', 'family_revoke', $key, 0, $NOW, 'other');
    is(rotate($key, now => $NOW + 1), 'revoked a0', 'no use any more');

    $key = family();
    is(run('family_revoke', $key, 0, $NOW, ''), 'ok', 'by nobody in particular');

    # what is under way is headed off
    $key = 'refresh:' . digest();
    is(run('family_revoke', $key, 0, $NOW, ''), 'unknown', 'one that is not there');
    is($redis->cmd('EXISTS', "opsauth:$key"), 0, 'no tombstone');
    is(run('family_revoke', $key, 300_000, $NOW, 'app'), 'ok', 'one that is under way');
    is_deeply(record($key), { v => 1, state => 'revoked' }, 'a tombstone');
    ok(about(ttl($key), 300_000), 'for a time');
    unchanged('exists', 'it comes too late', 'family_create', $key, 3_600_000, %FAMILY, current => 'r1');
    unchanged('revoked', 'no use', 'family_rotate', $key, rotate_args());
    unchanged('ok', 'revoked again', 'family_revoke', $key, 600_000, $NOW, 'app');

    for (1 .. 5) {
        $key = 'refresh:' . digest();
        my $both = at_once(2, sub { $_[1] == 1 ? run_as($_[0], 'family_create', $key, 60_000, %FAMILY, current => 'r1')
            : run_as($_[0], 'family_revoke', $key, 60_000, $NOW, '') });
        like($both, qr/^(?:ok ok|exists ok)$/, 'at once');
        is(record($key)->{state}, 'revoked', 'whoever was first');
    }
};

# --- credentials ----------------------------------------------------------------------

subtest 'credentials' => sub {
    my $key = 'credential:' . digest();
    my $end = int((time + 3600) * 1000);
    is(run('credential_issue', $key, $end, %CREDENTIAL), 'ok', 'issued');
    is_deeply(record($key), \%CREDENTIAL, 'with its fields');
    is($redis->cmd('PEXPIRETIME', "opsauth:$key"), $end, 'and its end') if $major >= 7;
    ok(about(ttl($key), 3_600_000), 'which is near');
    unchanged('exists', 'the same digest again', 'credential_issue', $key, $end + 1, %CREDENTIAL, account => 'x');

    unchanged('mismatch', 'revoked by another client', 'credential_revoke', $key, 0, 'other');
    is(run('credential_revoke', $key, 0, 'app'), 'ok tok_1', 'revoked by its own');
    is_deeply(record($key), { %CREDENTIAL, state => 'revoked' }, 'it says so');
    is($redis->cmd('PEXPIRETIME', "opsauth:$key"), $end, 'its end is what it was') if $major >= 7;
    unchanged('ok tok_1', 'again', 'credential_revoke', $key, 1000, '');

    is(run('credential_issue', 'credential:' . digest(), int((time - 10) * 1000), %CREDENTIAL), 'ok', 'one that has ended');
    is($redis->cmd('EXISTS', "opsauth:credential:" . sprintf('%064x', $n)), 0, 'is no longer there');

    # an API key is no client's, and does not end
    $key = 'credential:' . digest();
    my %api_key = (%CREDENTIAL, id => 'key_1', kind => 'api_key', expires => 0);
    delete $api_key{client};
    $redis->cmd('HSET', "opsauth:$key", %api_key);
    unchanged('mismatch', 'no client revokes an API key', 'credential_revoke', $key, 1000, 'app');
    is(run('credential_revoke', $key, 1000, ''), 'ok key_1', 'others may');
    is(ttl($key), -1, 'it does not end for that');

    $key = 'credential:' . digest();
    is(run('credential_revoke', $key, 0, ''), 'unknown', 'one that is not there');
    is($redis->cmd('EXISTS', "opsauth:$key"), 0, 'no tombstone');
    is(run('credential_revoke', $key, 300_000, ''), "ok ''", 'one that is under way');
    ok(about(ttl($key), 300_000), 'a tombstone, for a time');
    unchanged('exists', 'it comes too late', 'credential_issue', $key, $end, %CREDENTIAL);
    unchanged("ok ''", 'revoked again', 'credential_revoke', $key, 600_000, 'app');

    for (1 .. 5) {
        $key = 'credential:' . digest();
        my $both = at_once(2, sub { $_[1] == 1 ? run_as($_[0], 'credential_issue', $key, $end, %CREDENTIAL)
            : run_as($_[0], 'credential_revoke', $key, 60_000, '') });
        like($both, qr/^(?:ok ok|exists ok)$/, 'at once');
        is(record($key)->{state}, 'revoked', 'whoever was first');
    }
};

subtest 'a tombstone is a record like any other' => sub {
    my $s = OpsAuth::Test->new;
    my $store = $s->store;
    $s->config_http(<<'CONF');
    opsauth_store main { redis %%REDIS%%; pepper_file %%PEPPER%%; cache 1m; redis_timeout 5s; }
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        location / { opsauth main; add_header X-Reason $opsauth_reason always; empty_gif; }
    }
CONF
    $s->start;
    my $token = $store->token;
    my $reply = run_as($store->{redis}, 'credential_revoke', 'credential:' . $store->digest($token), 60_000, '');
    is(ref $reply eq 'ARRAY' && $reply->[0], 'ok', 'a tombstone');
    my $r = $s->get('/', key => $token);
    is($r->status . ' ' . $r->header('X-Reason'), '401 revoked', 'not a record of a wrong form');
    $s->finish;
};

# --- what can't be done ---------------------------------------------------------------

subtest 'trouble' => sub {
    my $end = int((time + 3600) * 1000);
    my %args = (
        code_store => [60_000, %CODE], code_redeem => [60_000, 'app', 'u', 'c', 'a', 'f'],
        family_create => [60_000, %FAMILY], family_rotate => [rotate_args()], family_revoke => [60_000, $NOW, ''],
        credential_issue => [$end, %CREDENTIAL], credential_revoke => [60_000, ''],
    );
    for my $name (sort keys %args) {
        my $key = ($name =~ /^code/ ? 'code:' : $name =~ /^family/ ? 'refresh:' : 'credential:') . digest();
        $redis->cmd('SET', "opsauth:$key", 'text');
        my $wanted = $name =~ /_(?:store|create|issue)$/ ? qr/^exists$/ : qr/^error: .*WRONGTYPE Operation/;
        like(run($name, $key, @{$args{$name}}), $wanted, "$name: the key is something else");
        is($redis->cmd('GET', "opsauth:$key"), 'text', '... which is left alone');
    }

    # too few arguments, as from another version: an error, and nothing is written
    my $key = family();
    my @args = rotate_args();
    for my $many (0 .. $#args) {
        next if $many == 7;                         # without a client it is another's
        my ($before, $was) = (record($key), ttl($key));
        like(run('family_rotate', $key, @args[0 .. $many - 1]), qr/^(?:error|mismatch)/, "rotated by $many arguments");
        is_deeply(record($key), $before, '... nothing is changed');
    }
    $key = 'refresh:' . digest();
    my $code = code();
    unchanged_error($code, 'redeemed for a time that is none', 'code_redeem', 'soon', @CODE{qw(client redirect_uri challenge)}, 'a', 'f');
    unchanged_error($code, 'redeemed for nothing', 'code_redeem', 1000, @CODE{qw(client redirect_uri challenge)});
    like(run('family_create', $key, 'soon', %FAMILY), qr/^error: /, 'a time that is none');
    like(run('family_create', $key, 1000, 'v'), qr/^error: /, 'a field without a value');
    like(run('credential_issue', $key =~ s/refresh/credential/r, 'soon', %CREDENTIAL), qr/^error: /, 'an end that is none');
    is($redis->cmd('EXISTS', "opsauth:$key", 'opsauth:' . $key =~ s/refresh/credential/r), 0, 'nothing is written');

    $key = family(expires => '');
    unchanged_error($key, 'a family with a field that is no number', 'family_rotate', rotate_args());

    # the words that ngx_opsauth_redis_error.c knows, also where scripts wrap them
    $key = code();
    my @redeem = (60_000, @CODE{qw(client redirect_uri challenge)}, 'a', 'f');
    for (['OOM', maxmemory => 1, 0], ['NOREPLICAS', 'min-replicas-to-write' => 1, 0]) {
        my ($word, $setting, $on, $off) = @$_;
        $redis->cmd('CONFIG', 'SET', $setting, $on);
        my ($before, $answer) = (record($key), run('code_redeem', $key, @redeem));
        $redis->cmd('CONFIG', 'SET', $setting, $off);
        like($answer, qr/^error: (?:ERR Error running script.*: -?)?$word /, $word);
        is_deeply(record($key), $before, '... and nothing is written');
    }
    $redis->cmd('REPLICAOF', '127.0.0.1', 1);
    my $answer = run('code_redeem', $key, @redeem);
    $redis->cmd('REPLICAOF', 'NO', 'ONE');
    like($answer, qr/^error: (?:ERR Error running script.*: -?)?READONLY /, 'READONLY');
    is(run('code_redeem', $key, @redeem), 'ok', 'well again');
};

sub unchanged_error {
    my ($key, $what, $name, @args) = @_;
    my ($before, $was) = (record($key), ttl($key));
    like(run($name, $key, @args), qr/^error: /, $what);
    is_deeply(record($key), $before, '... nothing is changed');
    cmp_ok(ttl($key), '<=', $was, '... nor when it ends');
}

# --- rights, replicas, clusters -------------------------------------------------------

is_deeply($redis->cmd('ACL', 'LOG'), [], "the documentation's user may do all this");

subtest 'no right is too much' => sub {
    my $all = sub {
        my ($code, $family, $access) = ('code:' . digest(), 'refresh:' . digest(), 'credential:' . digest());
        my @said;
        my $do = sub {
            my $reply = run_as($issuer, @_);
            push @said, ref $reply eq 'ARRAY' ? $reply->[0] : $reply->{text};
        };
        $do->('code_store', $code, 60_000, %CODE);
        $do->('code_redeem', $code, 60_000, @CODE{qw(client redirect_uri challenge)}, 'a', 'f');
        $do->('family_create', $family, 60_000, %FAMILY, current => 'r1');
        $do->('family_rotate', $family, rotate_args());
        $do->('family_revoke', $family, 60_000, $NOW, '');
        $do->('credential_issue', $access, int((time + 60) * 1000), %CREDENTIAL);
        $do->('credential_revoke', $access, 60_000, '');
        for my $words (['SET', 'opsauth:id:tok_1', 'd', 'PX', 60_000], ['SET', 'opsauth:jti:1', '1', 'NX', 'PX', 60_000],
            ['ZADD', 'opsauth:tokens:crm', time + 60, 'tok_1'], ['ZREMRANGEBYSCORE', 'opsauth:tokens:crm', '-inf', '(' . time],
            ['ZADD', 'opsauth:tokens:crm', 1, 'tok_1'], ['ZREMRANGEBYSCORE', 'opsauth:tokens:crm', '-inf', 1],
            ['HMGET', 'opsauth:account:crm', 'enabled'], ['HMGET', 'opsauth:client:app', 'v']) {
            my $reply = $issuer->try(@$words);
            push @said, $reply->{text} if ref $reply eq 'OpsAuth::RESP::Error';
        }
        return join ' ', grep { !/^ok$/ } @said;
    };
    $redis->cmd('SCRIPT', 'FLUSH');
    is($all->(), '', 'with all of them');
    for my $right (grep { /^\+(?:hmget|eval|evalsha|set|hset|exists|pexpire|pexpireat|zadd|zremrangebyscore)$/ } @ISSUER) {
        my $name = $right =~ s/^\+//r;
        $redis->cmd('SCRIPT', 'FLUSH');
        $redis->cmd('ACL', 'SETUSER', 'issuer', "-$name");
        like($all->(), qr/NOPERM|The user executing the script|ERR ACL failure in script: /, "without $name");
        $redis->cmd('ACL', 'SETUSER', 'issuer', $right);
    }
    for my $pattern (grep { /~opsauth:/ && !/:meta$/ } @ISSUER) {
        $redis->cmd('ACL', 'SETUSER', 'issuer', 'resetkeys', grep { /~opsauth:/ && $_ ne $pattern } @ISSUER);
        like($all->(), qr/NOPERM|can't access at least one of the keys/i, "without $pattern");
    }
    $redis->cmd('ACL', 'SETUSER', 'issuer', 'resetkeys', grep { /~opsauth:/ } @ISSUER);
    is($all->(), '', 'with all of them again');

    like($issuer->try('HSET', 'opsauth:account:crm', 'enabled', 1)->{text}, qr/^NOPERM/, 'no account is changed')
        if $major >= 7;
    like($issuer->try('GET', 'opsauth:id:tok_1')->{text}, qr/^NOPERM/, 'nor any other command run');
    like($issuer->try('DEL', 'opsauth:id:tok_1')->{text}, qr/^NOPERM/, 'nor anything deleted');
};

subtest 'a replica' => sub {
    my $replica = $t->redis(name => 'REPLICA', args => ['--replicaof', '127.0.0.1', $redis->port]);
    ok(OpsAuth::Process->poll(20, sub { $replica->info('master_link_status') eq 'up' }), 'it follows')
        or return diag $replica->log;
    my ($code, $family, $access) = (code(), family(), 'credential:' . digest());
    run('code_redeem', $code, 60_000, @CODE{qw(client redirect_uri challenge)}, 'a', 'f');
    is(rotate($family), 'ok', 'rotated');
    is(rotate($family, presented => 'r2', new => 'r3', access => 'a2'), 'ok', 'and again');
    run('credential_issue', $access, int((time + 60) * 1000), %CREDENTIAL);
    run('credential_revoke', $access, 0, '');
    # WAIT is for what its own connection wrote
    $redis->cmd('SET', 'opsauth:last', 1);
    is($redis->cmd('WAIT', 1, 10_000), 1, 'it has all that');
    for my $key ($code, $family, $access) {
        is_deeply({ @{$replica->cmd('HGETALL', "opsauth:$key")} }, record($key), $key =~ s/:.*//r);
        ok($replica->cmd('PTTL', "opsauth:$key") > 0, '... which ends');
    }
    $replica->stop;
};

subtest 'a node of a cluster' => sub {
    my $node = $t->redis(name => 'NODE', cluster => 1);
    $node->cmd('CLUSTER', 'ADDSLOTS', 0 .. 16_383);
    ok(OpsAuth::Process->poll(20, sub { $node->cmd('CLUSTER', 'INFO') =~ /cluster_state:ok/ }), 'it serves');
    my ($code, $family, $access) = ('code:' . digest(), 'refresh:' . digest(), 'credential:' . digest());
    for (['code_store', $code, 60_000, %CODE],
        ['code_redeem', $code, 60_000, @CODE{qw(client redirect_uri challenge)}, 'a', 'f'],
        ['family_create', $family, 60_000, %FAMILY, current => 'r1'], ['family_rotate', $family, rotate_args()],
        ['family_revoke', $family, 60_000, $NOW, ''], ['credential_issue', $access, int((time + 60) * 1000), %CREDENTIAL],
        ['credential_revoke', $access, 60_000, '']) {
        my $reply = run_as($node, @$_);
        is(ref $reply eq 'ARRAY' ? $reply->[0] : $reply->{text}, 'ok', $_->[0]);
    }
    $node->stop;
};

$t->done;
