#!/usr/bin/perl

# Everything at once, for a stated time: API keys good, revoked, unknown and
# garbled, tokens, rates, bodies, HTTP/2, slow clients and such that go away, on two
# gateways at one Redis that stops, hangs and comes back. One gateway is "rough": it
# is reloaded and its workers are killed. The other is "steady": its workers live as
# long as the test, and their memory and descriptors must stay what they are.
#
# SOAK_SECONDS=3600 for a long run (8; under valgrind 40), as "make soak" does; SOAK_SUMMARY: a file
# for the figures, as Markdown; SOAK_SEED repeats one's choices of faults.

use strict;
use warnings;

use List::Util qw(max sum0);
use POSIX qw(strftime);
use Test::More;
use Time::HiRes qw(sleep);

use OpsAuth::OAuth;
use OpsAuth::Process;
use OpsAuth::Soak;
use OpsAuth::Soak::Figures;
use OpsAuth::Test;

use constant LEASE   => 1;
use constant STALE   => 30;
# both clocks of a comparison are whole milliseconds
use constant EPSILON => 0.002;
# of commands and of connecting: what a busy machine takes of it is not Redis' fault
use constant TIMEOUT => OpsAuth::Nginx::redis_timeout(1);
# a worker that lost Redis waits 5 s at most until it tries again; and connects
use constant BACKOFF => 5 + 2 * TIMEOUT;
use constant RATE    => 120;            # a minute

plan skip_all => 'without a master there is no reload and nobody to replace a worker'
    if ($ENV{TEST_NGINX_GLOBALS} // '') =~ /master_process\s+off/;

my $seconds = $ENV{SOAK_SECONDS} // 8 * OpsAuth::Process::PACE;
my $long = $seconds >= 300;
my $seed = $ENV{SOAK_SEED} // int rand 1e6;
srand $seed;

# What may grow, over the last two thirds. In a short run it can only be told from
# what goes up at once. Sanitizers and valgrind keep what was freed.
my $keeps = grep { $ENV{"TEST_NGINX_$_"} } qw(PRELOAD SLOW VALGRIND);
my %tolerance = (
    heap        => $keeps ? 200_000 : $long ? 256 : 2_048,  # KiB a process
    shared      => $long ? 256 : 8_192,
    descriptors => $long ? 2 : 20,
);

# --- two gateways, a backend, Redis -------------------------------------------------

my $backend = OpsAuth::Test->new(module => 0);
$backend->config_http(<<'CONF');
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        location / { return 200 "the backend's answer\n"; }
    }
CONF
$backend->start;

# whatever was acknowledged is in the file before: a killed Redis loses nothing
my @on_disk = ('--appendonly', 'yes', '--appendfsync', 'no');
my $steady = OpsAuth::Test->new(workers => 2);
my $rough = OpsAuth::Test->new(workers => 2);
my $redis = $steady->redis(args => \@on_disk);
my $store = $steady->store;
my $echo = $steady->upstream;
my $as = $steady->auth_server;
alarm $seconds * 2 + 300;
# rough knows the same
$rough->write_file('pepper', $store->pepper . "\n", 0600);
$rough->secret(keys %{$steady->{secrets}});
$rough->var(PEPPER => $rough->dir . '/pepper');
$rough->var($_ => $steady->var($_)) for qw(REDIS UPSTREAM AS);

my $oauth = OpsAuth::OAuth->new(t => $steady, store => $store);
for my $t ($steady, $rough) {
    $t->var(BACKEND => '127.0.0.1:' . $backend->port(8080));
    $t->config_http(<<'CONF');
    opsauth_store main {
        redis %%REDIS%%; pepper_file %%PEPPER%%; cache 4m; usage on;
        key_prefix op365_sk_live_ environment=live checksum=crc32;
        lease 1s; stale 30s; cache_valid 10s; redis_timeout 1s; redis_connect_timeout 1s;
    }
    upstream backend { server %%BACKEND%%; keepalive 8; keepalive_timeout 2s; }
    upstream echo { server %%UPSTREAM%%; keepalive 8; keepalive_timeout 2s; }
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    opsauth_oauth_issuer https://auth.test;
    add_header X-Reason $opsauth_reason always;
    # kept connections of these clients are never closed
    server {
        listen 127.0.0.1:%%PORT_8080%% reuseport;
        keepalive_requests 100000000;
        keepalive_timeout 600s;
        include %%TESTDIR%%/places;
    }
    # nginx keeps a connection that was reset while it discarded a body, until this
    # is over: those who go away in the middle come here
    server {
        listen 127.0.0.1:%%PORT_8081%% reuseport;
        listen 127.0.0.1:%%PORT_8082%% reuseport http2;
        keepalive_timeout 2s;
        include %%TESTDIR%%/places;
    }
CONF
    $t->write_file('places', <<'CONF' =~ s/%%AS%%/$t->var('AS')/er);
    location /api {
        opsauth main;
        opsauth_require scope=read:tenants method=GET;
        opsauth_require scope=write:tenants method=POST;
        proxy_pass http://backend;
    }
    location /echo { opsauth main; client_body_buffer_size 8k; proxy_pass http://echo; }
    location /foreign { opsauth main; opsauth_introspection /_introspect; proxy_pass http://backend; }
    location = /_introspect { internal; proxy_pass http://%%AS%%/oauth/introspect; }
    location = /oauth/token { opsauth_oauth token; }
    location = /oauth/revoke { opsauth_oauth revoke; }
    location = /oauth/introspect { opsauth_oauth introspect; }
    location = /status { opsauth_status; }
    location = /metrics { opsauth_status prometheus; }
CONF
}

# --- who there is -----------------------------------------------------------------

my %scopes = (scopes => 'read:tenants');
my @accounts = map { $store->account("a$_", ips => $_ % 2 ? '127.0.0.0/8 192.0.2.0/24' : '') } 1 .. 40;
$store->account('far', ips => '192.0.2.0/24');
$store->account('rated', rate => RATE . '/m');
$store->account($_) for qw(metered acme crm);
$store->account('short', refresh => 1);
$store->account('backend');
my %keys = (
    good => [map { $store->issue(account => $accounts[$_ % @accounts], %scopes) } 1 .. 200],
    revoked => [map { $store->issue(account => 'a1', %scopes, state => 'revoked') } 1 .. 50],
    elsewhere => [map { $store->issue(account => 'far', %scopes) } 1 .. 5],
    rated => $store->issue(account => 'rated', %scopes),
    metered => $store->issue(account => 'metered', id => 'key_metered00000000', %scopes),
    foreign => [map { $as->active($store->token, client_id => 'crm', scope => 'read:tenants') } 1 .. 10],
    inactive => [map { $as->inactive($store->token) } 1 .. 10],
);
$oauth->client('app', scopes => 'read:tenants');
$oauth->client('short', account => 'short', grants => 'client_credentials refresh_token', scopes => 'read:tenants');
$oauth->client('rs', account => 'backend', grants => '', introspect => 1, scopes => undef);

$_->start for $steady, $rough;
ok($_->wait_for_log(qr/feed of store "main": tracking/), 'a feed tracks') for $steady, $rough;

my @gates = map { {
    name => $_ == $steady ? 'steady' : 'rough', patient => $_ == $steady,
    port => $_->port(8080), short => $_->port(8081), h2 => $_->port(8082),
} } $steady, $rough;
my $soak = OpsAuth::Soak->new(
    dir => $steady->_own_dir('soak'), gates => \@gates, keys => \%keys,
    store => $store, redis => $redis, oauth => $oauth,
    clients => [[api => 2], [revoker => 1], [tokens => 1], [rates => 1], [bodies => 1], [slow => 3],
        [aborter => 1], [http2 => 1], [status => 1]],
);

# --- faults --------------------------------------------------------------------------

my @broken;                             # [from, to, what]
my %did;

sub fault {
    my ($what, $code) = @_;
    my $from = OpsAuth::Soak->now;
    $code->();
    push @broken, [$from, OpsAuth::Soak->now, $what];
    $did{$what}++;
}

# seconds between two in a long run, code
my %chaos = (
    reload => [20, sub { fault(reload => sub { $rough->reload(wait => 0, timeout => 60) }) }],
    kill => [25, sub { fault(kill => sub {
        my @pids = $rough->workers;
        my ($pid) = $rough->kill9_worker($pids[rand @pids]);
        OpsAuth::Process->poll(20, sub { $rough->workers >= 2 });
    }) }],
    hang => [90, sub { fault(hang => sub { $redis->pause; pass_time(0.3 + rand($long ? 8 : 1)); $redis->resume }) }],
    restart => [120, sub { fault(restart => sub {
        rand() < 0.5 ? $redis->kill : $redis->stop;
        pass_time(rand($long ? 5 : 0.5));
        $redis->start;
    }) }],
);
# a short run has some of each, too
my %every = map { my $e = $chaos{$_}[0]; $_ => $e < $seconds / 4 ? $e : $seconds / 4 } keys %chaos;

my $figures = OpsAuth::Soak::Figures->new;
my $sampled = 0;

sub sample {
    my $now = OpsAuth::Soak->now;
    return if $now - $sampled < ($long ? 5 : 0.5);
    $sampled = $now;
    my @workers = $steady->workers;
    $figures->process("steady worker $_", $now, $workers[$_ - 1]) for 1 .. @workers;
    $figures->process("$_->[0] master", $now, $_->[1]->pid) for ['steady', $steady], ['rough', $rough];
    $figures->process("rough worker of the moment", $now, $_) for ($rough->workers)[0] // ();
}

sub pass_time {
    my ($for) = @_;
    my $until = OpsAuth::Soak->now + $for;
    while ((my $left = $until - OpsAuth::Soak->now) > 0) {
        sample();
        sleep($left < 0.2 ? $left : 0.2);
    }
}

# all connections that a quiet gateway has
sub quiet {
    my ($t) = @_;
    for (1 .. 20) { $t->get('/api', key => $keys{good}[0]) }
    sleep 2.5;
    return $t->settled_fds;
}

# what the descriptors of a gateway's workers are: "kind, state: how many"
sub descriptors {
    my ($t) = @_;
    my %port = ($redis->port => 'Redis', $echo->port => 'echo', $as->port => 'the other server',
        $backend->port(8080) => 'backend', $t->port(8080) => 'clients', $t->port(8081) => 'clients', $t->port(8082) => 'HTTP/2 clients');
    my (%socket, %n);
    open my $tcp, '<', '/proc/net/tcp' or return '';
    for (<$tcp>) {
        my ($local, $remote, $state, $inode) = /^ *\d+: \w+:(\w{4}) \w+:(\w{4}) (\w\w) .*? \d+ +\d+ (\d+) \d /  or next;
        my $kind = $port{hex $local} // $port{hex $remote} // 'others';
        $socket{"socket:[$inode]"} = "$kind, " . ({ '01' => 'open', '0A' => 'listening', '08' => 'half closed' }->{$state} // $state);
    }
    for my $pid ($t->workers) {
        for my $path (map { readlink // () } glob "/proc/$pid/fd/*") {
            $n{$socket{$path} // ($path =~ /^socket:/ ? 'other sockets' : 'files')}++;
        }
    }
    return join '; ', map { "$_: $n{$_}" } sort keys %n;
}

my @steady_workers = $steady->workers;
$steady->get('/api', key => $keys{good}[0]) for 1 .. 20;   # some come with the first requests only
my %fds = (before => quiet($steady), were => descriptors($steady), master => OpsAuth::Process->fd_count($rough->pid));

my $begin = OpsAuth::Soak->now;
my %cpu = (before => cpu());
$soak->start;
my %next = map { $_ => $begin + $every{$_} * (0.3 + rand) } keys %chaos;
while ((my $left = $begin + $seconds - OpsAuth::Soak->now) > 0) {
    my ($kind) = sort { $next{$a} <=> $next{$b} } keys %next;
    my $wait = $next{$kind} - OpsAuth::Soak->now;
    if ($wait >= $left) {
        pass_time($left);
        last;
    }
    pass_time($wait) if $wait > 0;
    $chaos{$kind}[1]->();
    $next{$kind} = OpsAuth::Soak->now + $every{$kind} * (0.5 + rand);
}
# where faults took all the time, as on a busy machine
pass_time(0.6) until $figures->count('steady worker 1 heap') >= 6;
$cpu{after} = cpu();
my $end = OpsAuth::Soak->now;
$soak->stop;
my $result = $soak->result;

# user and system seconds of the steady gateway's workers
sub cpu { return sum0(map { OpsAuth::Process->cpu($_) // 0 } @steady_workers) }

# --- what came of it ---------------------------------------------------------------

is_deeply($result->{missing}, [], 'every client ran to the end');
is($result->{stderr}, '', 'and said nothing');

sub lines { my ($what) = @_; return grep { $_->[0] eq $what } @{$result->{lines}} }
sub none {
    my ($name, @lines) = @_;
    is(scalar @lines, 0, $name) or diag join "\n", "seed $seed",
        map { ref $_ ? join ' ', map({ /^\d+\.\d+$/ && $_ >= $begin ? sprintf '+%.3f', $_ - $begin : $_ } @$_) : $_ }
        @lines[0 .. ($#lines < 15 ? $#lines : 15)];
}

sub at {
    my ($from, $to, $after, @kinds) = @_;
    return scalar grep { my $b = $_; $from <= $b->[1] + $after && $to >= $b->[0] && grep { $b->[2] eq $_ } @kinds } @broken;
}

my (@wrong, @lost, @down, %excused);
for my $line (lines('bad')) {
    my (undef, $from, $to, $gate, $kind, $status) = @$line;
    # kinds have blanks in them: the last two words are status and reason
    ($status) = @$line[-2];
    if ($status == 503 && $kind !~ /garbled|malformed|none|status|metrics/) {
        at($from, $to, BACKOFF, qw(hang restart)) ? $excused{unavailable}++ : push @down, $line;
    }
    elsif ($status == 0 && $gate eq 'rough' && at($from, $to, 0, 'kill')) { $excused{killed}++ }
    elsif ($status == 0) { push @lost, $line }
    else                 { push @wrong, $line }
}
none('no wrong verdict', @wrong, lines('wrong'));
none('no request was lost but those on a killed worker', @lost);
none('no 503 but while Redis was away', @down);
none('nothing passed again after it had been refused', lines('again'));

my @late = grep {
    my (undef, $at, $from, undef, $age) = @$_;
    $age > LEASE + EPSILON + (at($at, $from, BACKOFF, qw(hang restart)) ? STALE : 0);
} lines('old');
none('nothing revoked passed for longer than the lease', @late);

my %lag;
my $revoked = 0;
for my $client (map { @{$result->{data}{$_} // []} } qw(revoker tokens)) {
    $revoked += $client->{revoked} // 0;
    $lag{$_} += $client->{lag}{$_} for keys %{$client->{lag}};
}
cmp_ok($revoked, '>', 1 + $seconds / 20, 'keys and tokens were revoked');
cmp_ok($did{$_} // 0, '>', 0, "$_: it happened") for sort keys %chaos;

my %answers;
for my $client (values %{$result->{sum}}) {
    for my $gate (keys %$client) {
        my $kinds = $client->{$gate}{answers} // {};
        for my $kind (keys %$kinds) {
            $answers{$kind}{$_} += $kinds->{$kind}{$_} for keys %{$kinds->{$kind}};
        }
    }
}
for my $kind ('good', 'revoked', 'unknown', 'garbled', 'token', 'refresh', 'rated', 'body', 'slow', 'HTTP/2, good', 'status', 'foreign') {
    cmp_ok(max(0, map { $answers{$kind}{$_} // 0 } 200, 401), '>', 0, "it was asked: $kind");
}

# a bucket, and what refilled meanwhile; reloads and killed workers gain nobody anything
for my $gate (qw(steady rough)) {
    my ($rates) = map { $_->{$gate} } @{$result->{data}{rates}};
    my $limit = RATE + RATE / 60 * $rates->{seconds} + 1;
    cmp_ok($rates->{passed}, '<=', $limit, "$gate: no more than the rate");
    cmp_ok($rates->{passed}, '>=', 0.7 * $limit, "$gate: and not much less")
        if $rates->{asked} > 1.5 * $limit && $long;
}

# usage: what was counted against what was answered
my ($metered, $unanswered) = (sum0(values %{$answers{metered}}), $answers{metered}{0} // 0);
my %usage = (all => -1);
my $since = OpsAuth::Soak->now;
OpsAuth::Process->poll(120, sub {
    my %now = @{$redis->cmd('HGETALL', $store->name('usage', 'key_metered00000000'))};
    $now{all} = sum0(map { $now{$_} } grep { /^requests:/ } keys %now);
    $since = OpsAuth::Soak->now if $now{all} != $usage{all};
    %usage = %now;
    sleep 0.2;
    # what was lost is that of all keys. A write that failed may wait for a minute
    my $lost = sum0(map { $_->get('/status')->json->{stores}{main}{usage}{lost} } $steady, $rough);
    return $now{all} + $lost >= $metered - ($answers{metered}{503} // 0) - $unanswered
        && OpsAuth::Soak->now - $since > 2.5;
});
cmp_ok($usage{all}, '<=', $metered + $unanswered, 'usage: no request is counted twice');
cmp_ok($usage{all}, '>=', 0.95 * $metered - 20, 'usage: nearly all are counted');

# --- flat? ----------------------------------------------------------------------------

is_deeply([$steady->workers], \@steady_workers, 'the steady workers are the same');
my @rows;
for my $name ($figures->names) {
    my $f = $figures->flat($name) or next;
    my ($what) = $name =~ /(\w+)$/;
    push @rows, [$name, $f];
    # a young worker every time: nothing to follow
    next if $name =~ /moment/ || !$tolerance{$what};
    cmp_ok($f->{growth}, '<=', $tolerance{$what}, "$name: flat");
}
cmp_ok(scalar @rows, '>', 10, 'memory and descriptors were watched');
$fds{after} = quiet($steady);
my $descriptors = descriptors($steady);
cmp_ok($fds{after}, '<=', $fds{before} + 2, 'steady: no descriptor was left behind')
    or diag "before: $fds{were}\nafter: $descriptors";
# a worker that still goes has its channel there
OpsAuth::Process->poll(20, sub { my @children = $rough->children; @children <= 2 });
cmp_ok(OpsAuth::Process->fd_count($rough->pid), '<=', $fds{master} + 2, 'rough: nor in the master, by reloads and deaths');

my %zone;                               # of a status page
for my $seen (map { @{$_->{seen}} } @{$result->{data}{status}}) {
    my ($at, $gate, @of) = @$seen;
    my @names = ('slots of the cache', 'entries of the cache', 'buckets', 'credentials of usage', 'waiters');
    $figures->add("zones: $gate, $names[$_]", $at, $of[$_]) for 0 .. $#names;
    $zone{$gate}{lost} = $of[5];
}
for my $t ($steady, $rough) {
    my $lookups = $t->get('/status')->json->{stores}{main}{lookups};
    is("$lookups->{waiters} $lookups->{in_flight}", '0 0', 'nobody waits, and nothing is under way at the end');
}
report();

# a worker that dies takes its connections along, and nginx says so
$rough->allow_log(qr/exited on signal 9/);
$_->finish for $rough, $steady, $backend;
done_testing();

# --- Markdown ---------------------------------------------------------------------------

sub report {
    my @out = sprintf '%.0f seconds, %d answers (%.0f a second), seed %d; %s', $end - $begin,
        sum0(map { values %$_ } values %answers),
        sum0(map { values %$_ } values %answers) / ($end - $begin), $seed, strftime('%Y-%m-%d', gmtime);
    push @out, '', '| fault | times | seconds in all |', '| --- | ---: | ---: |';
    for my $what (sort keys %did) {
        push @out, sprintf '| %s | %d | %.1f |', $what, $did{$what},
            sum0(map { $_->[1] - $_->[0] } grep { $_->[2] eq $what } @broken);
    }
    push @out, '', '| requests | answers |', '| --- | --- |';
    for my $kind (sort keys %answers) {
        push @out, "| $kind | " . join(', ', map { ($_ || 'none') . ": $answers{$kind}{$_}" } sort keys %{$answers{$kind}}) . ' |';
    }
    my $gone = sum0(map { values %$_ } @{$result->{data}{aborter}});
    push @out, "| went away in the middle | $gone |";
    my $again = sum0(map { $_->{rough}{again} // 0 } values %{$result->{sum}});
    push @out, '',
        sprintf('- wrong verdicts: %d; lost on the steady gateway or without a killed worker: %d; 503 while Redis was there: %d',
            @wrong + lines('wrong'), scalar @lost, scalar @down),
        sprintf('- lost with a killed worker: %d, in %d kills; 503 while Redis was away: %d', $excused{killed} // 0,
            $did{kill} // 0, $excused{unavailable} // 0),
        "- asked again on the rough gateway, as it had closed the idle connection or refused the stream: $again",
        sprintf('- revoked: %d keys, accounts and tokens; the last pass after the acknowledgement began after (ms: how many) %s; worst %.1f ms',
            $revoked, join(', ', map { "<= $_: $lag{$_}" } sort { $a <=> $b } keys %lag),
            1000 * max(0, map { $_->[4] } lines('old'))),
        sprintf('- metered: %d answers, of them %d without a verdict or an answer; counted in Redis: %d; lost, as the status page says: steady %d, rough %d',
            $metered, ($answers{metered}{503} // 0) + $unanswered, $usage{all}, $zone{steady}{lost} // 0, $zone{rough}{lost} // 0),
        sprintf('- CPU of the steady workers: %.1f s', $cpu{after} - $cpu{before}),
        "- descriptors of the steady workers, at rest: before $fds{before} ($fds{were}), after $fds{after} ($descriptors)", '',
        '| process, KiB | first third | second | last | least | most | growth over the last two |',
        '| --- | ---: | ---: | ---: | ---: | ---: | ---: |';
    for my $row (map { my $f = $figures->flat($_); $f ? [$_, $f] : () } $figures->names) {
        my ($name, $f) = @$row;
        push @out, sprintf '| %s | %.1f | %.1f | %.1f | %d | %d | %+.1f |', $name, @{$f->{thirds}},
            $f->{min}, $f->{max}, $f->{growth};
    }
    note $_ for @out;
    return unless $ENV{SOAK_SUMMARY};
    open my $fh, '>', $ENV{SOAK_SUMMARY} or die "$ENV{SOAK_SUMMARY}: $!";
    print {$fh} map { "$_\n" } @out;
    close $fh or die "$ENV{SOAK_SUMMARY}: $!";
}
