#!/usr/bin/perl

# opsauth_status: that every figure is what happened, of all workers, through a
# reload and a worker's death; that Prometheus takes it; and that documents and
# dashboard name what there is.

use strict;
use warnings;

use JSON::PP ();
use Test::More;
use Time::HiRes qw(sleep);

use OpsAuth::HTTP;
use OpsAuth::OAuth;
use OpsAuth::Process;
use OpsAuth::Test;

my $t = OpsAuth::Test->new(workers => 2);
my $redis = $t->redis;
my $store = $t->store;
my $fake = $t->fake_redis(name => 'FAKE');
my $held = $t->store(redis => $fake, name => 'PEPPER2');
my $o = OpsAuth::OAuth->new(t => $t, store => $store);

my $STORES = <<'CONF';
    opsauth_store main {
        redis %%REDIS%%; pepper_file %%PEPPER%%; cache 1m; lease 60s; stale 60s; redis_timeout 5s;
        key_prefix op365_sk_live_ environment=live checksum=crc32;
    }
    opsauth_store b.2:x { redis %%FAKE%%; pepper_file %%PEPPER2%%; cache 1m; lease 400ms; stale off; redis_timeout 5s; }
CONF
my $SERVER = <<'CONF';
    server {
        listen 127.0.0.1:%%PORT_8080%% reuseport;
        opsauth_oauth_issuer https://auth.test;
        location /api    { opsauth main; opsauth_admin off; empty_gif; }
        location /scoped { opsauth main; opsauth_admin off; opsauth_require scope=never:given; empty_gif; }
        location /shadow { opsauth main shadow; opsauth_admin off; opsauth_require scope=never:given; empty_gif; }
        location /held   { opsauth b.2:x; empty_gif; }
        location = /oauth/token { opsauth_oauth token main; }
        location = /json       { opsauth_status; }
        location = /prometheus { opsauth_status prometheus; }
        location = /html       { opsauth_status html; }
        location = /closed     { opsauth_status json; deny all; }
        location = /guarded    { opsauth_status json; opsauth main; opsauth_require role=administrator; }
    }
CONF
$t->config_http($STORES . $SERVER);
$t->start;

my $json = JSON::PP->new->utf8;
sub status { my ($name) = @_; return $json->decode($t->get('/json')->body)->{stores}{$name // 'main'} }

# samples of the text format: { name => { labels => value } }, and what is wrong
sub samples {
    my ($text) = @_;
    my (%samples, %type, %help, @wrong, $last, %done);
    for my $line (split /\n/, $text) {
        if ($line =~ /^# (HELP|TYPE) (\w+) (.+)$/) {
            my $seen = $1 eq 'HELP' ? \%help : \%type;
            push @wrong, "$1 of $2 again" if $seen->{$2};
            $seen->{$2} = $3;
            next;
        }
        my ($name, $labels, $value) = $line =~ /^(\w+)\{((?:\w+="[^"\\]*",?)+)\} (NaN|[0-9.]+)$/
            or push(@wrong, "no sample: $line"), next;
        my $family = $type{$name} ? $name : $name =~ s/_(?:bucket|sum|count)$//r;
        push @wrong, "$name has no TYPE" unless $type{$family};
        push @wrong, "$family stands in two places" if defined $last && $last ne $family && $done{$family};
        $done{$last = $family} = 1;
        push @wrong, "$line again" if exists $samples{$name}{$labels};
        $samples{$name}{$labels} = $value;
    }
    push @wrong, grep { !$help{$_} } keys %type;
    return (\%samples, \%type, @wrong);
}
sub prometheus { return samples($t->get('/prometheus')->body) }
sub sum { my $n = 0; $n += $_ for @_; return $n }

# Reads on a connection of its own until it is so: counts of requests may be those
# of another worker, a moment ago.
sub becomes {
    my ($name, $want, $get, $store) = @_;
    my $got;
    OpsAuth::Process->poll(10, sub { $got = $get->(status($store)); return ref $want ? $got =~ $want : $got eq $want });
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ref $want ? like($got, $want, $name) : is($got, $want, $name);
}

subtest 'how it is asked' => sub {
    my %type = (json => 'application/json', prometheus => 'text/plain; version=0.0.4; charset=utf-8',
        html => 'text/html; charset=utf-8');
    for my $format (sort keys %type) {
        my $r = $t->get("/$format");
        is($r->status, 200, $format);
        is($r->header('Content-Type'), $type{$format}, 'type');
        is($r->header('Cache-Control'), 'no-store', 'no-store');
        my $head = $t->request('HEAD', "/$format");
        is($head->status . length $head->body, '2000', 'HEAD');
        for my $method (qw(POST PUT DELETE OPTIONS)) {
            my $no = $t->request($method, "/$format", body => 'x');
            is($no->status . ' ' . ($no->header('Allow') // ''), '405 GET, HEAD', $method);
        }
    }
    is($t->get('/html')->header('Refresh'), '5', 'the page comes again');
    is($t->get('/html?refresh=0')->header('Refresh'), undef, 'not where it is told not to');
    is($t->get('/json')->header('Refresh'), undef, 'nor JSON');
    like($t->get('/html')->header('Content-Security-Policy'), qr/^default-src 'none';.*style-src 'sha256-[A-Za-z0-9+\/]{43}='; form-action 'none'$/, 'policy');

    is($t->get('/closed')->status, 403, 'deny');
    is($t->get('/guarded')->status, 401, 'opsauth: nobody');
    $store->account('ops', roles => 'administrator');
    is($t->get('/guarded', key => $store->issue(account => 'ops'))->status, 200, 'an administrator');
    is($t->get('/guarded', key => $store->issue(account => $store->account('plain', roles => 'customer')))->status, 403, 'somebody else');
};

subtest 'configuration' => sub {
    like($t->config_error($STORES . 'server { location / { opsauth_status xml; } }'),
        qr/invalid value "xml" in "opsauth_status": it must be "json", "prometheus" or "html"/, 'another format');
    like($t->config_error($STORES . 'server { location / { opsauth_status json; opsauth_status html; } }'),
        qr/"opsauth_status" directive is duplicate/, 'twice');
    like($t->config_error($STORES . 'server { opsauth_status; }'), qr/"opsauth_status" directive is not allowed here/, 'in a server');
    is($t->config_error('server { location / { opsauth_status; } }'), '', 'without a store');
};

subtest 'verdicts' => sub {
    my $good = $store->issue(account => $store->account('good'));
    my $revoked = $store->issue(account => 'good', state => 'revoked');
    my $unknown = $store->key;
    my $bad = $store->key =~ s/(.)$/$1 eq 'x' ? 'y' : 'x'/er;
    my $before = status();
    $t->parallel(40, 'GET', '/api', key => $good);
    $t->parallel(11, 'GET', '/api', key => $revoked);
    $t->parallel(7, 'GET', '/api', key => $unknown);
    $t->parallel(5, 'GET', '/api', key => $bad);
    $t->parallel(3, 'GET', '/api');
    $t->get('/api', headers => [Authorization => 'Bearer ,']) for 1 .. 2;
    $t->parallel(6, 'GET', '/scoped', key => $good);
    $t->parallel(4, 'GET', '/shadow', key => $good);
    my $after = status();

    my %deny = (revoked => 11, unknown => 7, checksum => 5, missing => 3, malformed => 2, scope => 6);
    is($after->{requests}{allow} - $before->{requests}{allow}, 40, 'allowed');
    my %got = map { $_ => $after->{requests}{deny}{$_} - $before->{requests}{deny}{$_} } keys %{$after->{requests}{deny}};
    is_deeply({ map { $got{$_} ? ($_ => $got{$_}) : () } keys %got }, \%deny, 'turned away, by reason');
    is($after->{requests}{shadow_deny}{scope} - $before->{requests}{shadow_deny}{scope}, 4, 'in shadow');
    is(sum(values %{$after->{cache}{requests}}), sum($after->{requests}{allow}, values %{$after->{requests}{deny}},
        values %{$after->{requests}{shadow_deny}}), 'each verdict has a word on the cache');
    is($after->{cache}{requests}{bypass} - $before->{cache}{requests}{bypass}, 10, 'those decided without a record');
    is($after->{process}{workers}, 2, 'of two workers');

    my ($samples, undef, @wrong) = prometheus();
    is_deeply(\@wrong, [], 'for Prometheus');
    is($samples->{opsauth_requests_total}{'store="main",verdict="deny",reason="revoked"'}, $after->{requests}{deny}{revoked}, 'the same figure');
    is($samples->{opsauth_requests_total}{'store="main",verdict="shadow-deny",reason="scope"'}, $after->{requests}{shadow_deny}{scope}, 'shadow, too');
    is($samples->{opsauth_requests_total}{'store="main",verdict="allow",reason="ok"'}, $after->{requests}{allow}, 'and who was let in');
    is($samples->{opsauth_requests_total}{'store="b.2:x",verdict="allow",reason="ok"'}, 0, 'another store has its own');
};

subtest 'cache' => sub {
    my $announced = status()->{cache}{invalidations};
    my $key = $store->issue(account => $store->account('cached'));
    # an announcement of what was just written would have it read once more
    ok(OpsAuth::Process->poll(10, sub { status()->{cache}{invalidations} >= $announced + 4 }), 'both are announced, on both feeds');
    sleep 0.2;
    my $before = status()->{cache};
    $t->get('/api', key => $key);
    $t->parallel(20, 'GET', '/api', key => $key);
    my $after = status()->{cache};
    is($after->{requests}{miss} - $before->{requests}{miss}, 1, 'one miss');
    is($after->{requests}{hit} - $before->{requests}{hit}, 20, 'then hits');
    is($after->{fills} - $before->{fills}, 2, 'two records written');
    is($after->{entries} - $before->{entries}, 2, 'and there');
    cmp_ok($after->{slots_used}, '>', $before->{slots_used}, 'slots used');
    cmp_ok($after->{slots_used}, '<', $after->{slots}, 'of all slots');
    $store->revoke($key);
    becomes('a change is announced', $after->{entries} - 1, sub { $_[0]{cache}{entries} });
};

subtest 'lookups' => sub {
    my $key = $held->issue(account => $held->account('h'));
    $t->get('/held', key => $key) for 1 .. 30;      # both workers are connected
    sleep 0.5;
    my $before = status('b.2:x');
    my @keys = map { $held->issue(account => $held->account("h$_")) } 1 .. 3;
    my $n = 12;
    $fake->pause;
    my @open = map { $t->connect } 1 .. $n;
    $_->write_request('GET', '/held', key => $keys[0]) for @open;
    becomes('all of them wait', $n, sub { $_[0]{lookups}{waiters} }, 'b.2:x');
    my $now = status('b.2:x')->{lookups};
    cmp_ok($now->{in_flight}, '<=', 2, 'for one read of each worker');
    is($now->{joins} - $before->{lookups}{joins} + $now->{in_flight}, $n, 'the others joined it');
    $fake->resume;
    $_->read_response for @open;
    becomes('nobody waits any more', 0, sub { $_[0]{lookups}{waiters} + $_[0]{lookups}{in_flight} }, 'b.2:x');
    my $after = status('b.2:x');
    # who waited for the account as well is counted twice
    cmp_ok($after->{lookups}{duration_seconds}{count} - $before->{lookups}{duration_seconds}{count}, '>=', $n, 'every wait is in the histogram');
    cmp_ok($after->{lookups}{duration_seconds}{sum}, '>', $before->{lookups}{duration_seconds}{sum}, 'and takes time');
    cmp_ok($after->{redis}{command_duration_seconds}{count}, '>', $before->{redis}{command_duration_seconds}{count}, 'as do commands');
    my ($samples) = prometheus();
    for my $name (qw(opsauth_lookup_duration_seconds opsauth_redis_command_duration_seconds opsauth_revocation_lag_seconds)) {
        my @buckets = map { $samples->{"${name}_bucket"}{qq(store="b.2:x",le="$_")} }
            qw(0.0001 0.00025 0.0005 0.001 0.0025 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 +Inf);
        is(scalar(grep { defined } @buckets), 14, "$name: buckets");
        is_deeply([sort { $a <=> $b } @buckets], \@buckets, 'cumulative');
        is($buckets[-1], $samples->{"${name}_count"}{'store="b.2:x"'}, 'the last one has all');
    }
};

subtest 'reload and death' => sub {
    my $key = $store->issue(account => 'good');
    $t->get('/api', key => $key);
    my $before = status();
    $t->reload;
    my $after = status();
    is($after->{requests}{allow}, $before->{requests}{allow}, 'a reload keeps what was counted');
    is($after->{process}{since}, $before->{process}{since}, 'since when, too');
    is_deeply($after->{lookups}{duration_seconds}, $before->{lookups}{duration_seconds}, 'histograms as well');
    $t->parallel(20, 'GET', '/api', key => $key);
    is(status()->{requests}{allow}, $before->{requests}{allow} + 20, 'new workers go on');

    $t->kill9_worker;
    is(status()->{requests}{allow}, $before->{requests}{allow} + 20, 'what a killed worker counted stays');
    $t->parallel(20, 'GET', '/api', key => $key);
    becomes('its successor goes on', $before->{requests}{allow} + 40, sub { $_[0]{requests}{allow} });
    becomes('gauges are of those that live', 2, sub { $_[0]{process}{workers} });
    $t->get('/api', key => $store->key);
    becomes('so are connections', qr/^[12]$/, sub { $_[0]{redis}{connections} });
};

subtest 'the feed' => sub {
    becomes('tracking', 'tracking', sub { $_[0]{feed}{mode} });
    becomes('two of them', '0 0 2 0', sub { join ' ', map { $_[0]{feed}{connections}{$_} } qw(off connecting tracking channel) });
    becomes('covered', 1, sub { $_[0]{feed}{covered} });
    my $feed = status()->{feed};
    cmp_ok($feed->{coverage_age_seconds}, '<=', 60, 'coverage is younger than the lease');
    is($feed->{lease_seconds}, 60, 'the lease');
    becomes('PINGs are answered', qr/^[1-9]/, sub { $_[0]{feed}{revocation_lag_seconds}{count} }, 'b.2:x');
    my $lag = status('b.2:x')->{feed}{revocation_lag_seconds}{count};
    becomes('and go on', 1, sub { $_[0]{feed}{revocation_lag_seconds}{count} > $lag ? 1 : 0 }, 'b.2:x');
};

subtest 'the token service' => sub {
    $store->account('acme');
    $o->client('app');
    my $before = status()->{oauth};
    is($o->post('token', { client => 'app' }, grant_type => 'client_credentials')->status, 200, 'issued') for 1 .. 3;
    $o->post('token', { client => 'app' }, grant_type => 'nonsense') for 1 .. 2;
    $o->post('token', { client => 'nobody' }, grant_type => 'client_credentials');
    my $after = status()->{oauth};
    is($after->{issued}{client_credentials} - $before->{issued}{client_credentials}, 3, 'by grant');
    is($after->{errors}{unsupported_grant_type} - $before->{errors}{unsupported_grant_type}, 2, 'errors by word');
    is($after->{errors}{invalid_client} - $before->{errors}{invalid_client}, 1, 'another one');
};

subtest 'Redis fails' => sub {
    my $key = $held->issue(account => 'h');
    $t->parallel(20, 'GET', '/held', key => $key);
    my $before = status('b.2:x');
    $fake->down;
    ok(OpsAuth::Process->poll(15, sub { $t->get('/held', key => $held->key)->status == 503 }), 'gone');
    becomes('nobody is connected', 0, sub { $_[0]{redis}{connections} }, 'b.2:x');
    becomes('failures', 1, sub { $_[0]{redis}{connection_failures} > $before->{redis}{connection_failures} ? 1 : 0 }, 'b.2:x');
    becomes('errors by class', 1, sub { $_[0]{redis}{errors}{down} > $before->{redis}{errors}{down} ? 1 : 0 }, 'b.2:x');
    becomes('what could not be asked', 1, sub { $t->get('/held', key => $held->key); $_[0]{lookups}{refused} > 0 ? 1 : 0 }, 'b.2:x');
    becomes('the feed is lost', 'connecting', sub { $_[0]{feed}{mode} }, 'b.2:x');
    becomes('and coverage lapses', 0, sub { $_[0]{feed}{covered} }, 'b.2:x');
    like($t->get('/html')->body, qr/not connected/, 'the page says so');
    cmp_ok(status('b.2:x')->{requests}{deny}{unavailable}, '>', 0, 'reason unavailable');
    $fake->up;
    ok(OpsAuth::Process->poll(15, sub { $t->get('/held', key => $key)->status == 200 }), 'back');
    becomes('connects', 1, sub { $_[0]{redis}{connects} > $before->{redis}{connects} ? 1 : 0 }, 'b.2:x');
    becomes('covered again', 1, sub { $_[0]{feed}{covered} }, 'b.2:x');
    becomes('after a gap', 1, sub { $_[0]{feed}{gaps} > $before->{feed}{gaps} ? 1 : 0 }, 'b.2:x');
};

subtest 'the breaker' => sub {
    $t->config_http($STORES =~ s/(b\.2:x .*?)redis_timeout 5s/$1redis_timeout 50ms/r . $SERVER);
    $t->reload;
    $t->get('/held', key => $held->key) for 1 .. 20;
    $fake->script(HMGET => 'silence');
    my $open = OpsAuth::Process->poll(20, sub {
        # a read each
        OpsAuth::HTTP::parallel_requests([map { [$t->port(8080), 'GET', '/held', key => $held->key] } 1 .. 30]);
        return status('b.2:x')->{redis}{breaker_open} > 0;
    });
    ok($open, 'open');
    cmp_ok(status('b.2:x')->{redis}{breaker_openings}, '>', 0, 'counted');
    cmp_ok(status('b.2:x')->{redis}{errors}{timeout}, '>', 0, 'after timeouts');
    like($t->get('/html')->body, qr/have stopped asking/, 'the page says so');
    $fake->behave;
    becomes('closed by itself', 0, sub { $_[0]{redis}{breaker_open} }, 'b.2:x');
};

sub promtool { return grep { -x } map { "$_/promtool" } split /:/, $ENV{PATH} }

subtest 'promtool' => sub {
    my ($promtool) = promtool();
    plan skip_all => 'no promtool here; on Debian: apt-get install prometheus' unless $promtool;
    $t->write_file('metrics', $t->get('/prometheus')->body);
    my $said = qx($promtool check metrics < $t->{nginx}{dir}/metrics 2>&1);
    is($?, 0, 'check metrics');
    is($said, '', 'has nothing to say');
};

# --- documents ---------------------------------------------------------------------------

sub slurp { my ($name) = @_; open my $fh, '<:raw', $t->root . "/$name" or die "$name: $!"; local $/; return scalar <$fh> }

subtest 'documents' => sub {
    my ($samples, $type) = prometheus();
    my $text = slurp('docs/status.md');
    my %documented = $text =~ /^\| `(opsauth_\w+)`[^|]*\| (counter|gauge|histogram) \|/mg;
    is_deeply(\%documented, $type, 'docs/status.md has every metric with its type, and no other');
    my %key = map { $_ => 1 } $text =~ /`([a-z]+\.\w+)`/g;
    my $main = status();
    my %there = map { my $s = $_; map { ("$s.$_" => 1) } keys %{$main->{$s}} } keys %$main;
    is_deeply([sort keys %there], [sort grep { /^(?:requests|cache|lookups|feed|redis|oauth|rates|usage|process)\./ } keys %key], 'and every figure in JSON');

    my $board = $json->decode(slurp('docs/grafana-dashboard.json'));
    ok($board->{title} && $board->{uid} && $board->{schemaVersion}, 'the dashboard can be imported');
    ok(!defined $board->{id}, 'as a new one');
    my @panels = @{$board->{panels}};
    cmp_ok(scalar @panels, '>', 8, 'panels');
    is(scalar(keys %{{ map { $_->{id} => 1 } @panels }}), scalar @panels, 'with ids of their own');
    my %known = (%$type, map { ("${_}_bucket" => 1, "${_}_sum" => 1, "${_}_count" => 1) } grep { $type->{$_} eq 'histogram' } keys %$type);
    my @exprs = map { $_->{expr} } map { @{$_->{targets} // []} } @panels;
    my (%used, @nothing);
    for my $expr (@exprs) {
        $used{$_} = 1 for $expr =~ /\b(opsauth_\w+)/g;
        my @by = map { split /, */ } $expr =~ /\bby \(([^)]*)\)/g;
        while ($expr =~ /\b(opsauth_\w+)\{([^}]*)\}/g) {
            my ($metric, @matchers) = ($1, split /,/, $2);
            my @series = keys %{$samples->{$metric} // {}};
            for my $matcher (@matchers) {
                my ($label, $value) = $matcher =~ /^(\w+)(?:=~|=|!=)"(.*)"$/;
                my $series = !defined $value ? '$^' : $value eq '$store' ? qr/^store="main"/ : qr/\b$label="$value"/;
                push @nothing, "$metric $matcher" unless grep { $_ =~ $series } @series;
            }
            for my $label (@by) {
                push @nothing, "$metric by $label" unless grep { /\b$label="/ } @series;
            }
        }
    }
    is_deeply(\@nothing, [], 'with labels and values that there are');
    is_deeply([grep { !$known{$_} } sort keys %used], [], 'and only metrics that there are');
    for my $part (qw(requests cache lookup feed redis rate usage oauth)) {
        ok(scalar(grep { /^opsauth_$part/ } keys %used), "some of $part");
    }
    my %place;
    for my $panel (@panels) {
        my $at = $panel->{gridPos};
        for my $x ($at->{x} .. $at->{x} + $at->{w} - 1) { $place{"$x $_"}++ for $at->{y} .. $at->{y} + $at->{h} - 1 }
    }
    is_deeply([grep { $place{$_} > 1 } keys %place], [], 'no panel lies on another');
    if (my ($promtool) = promtool()) {
        my @rules = map { my $e = s/\$__rate_interval/5m/gr; { record => 'x:y', expr => $e } } @exprs;
        my $rules = $t->write_file('rules.yaml', $json->encode({ groups => [map { { name => "g$_", rules => [$rules[$_]] } } 0 .. $#rules] }));
        my $said = qx($promtool check rules $rules 2>&1);
        is($?, 0, 'Prometheus understands its queries') or diag $said;
    }
    my ($query) = map { $_->{query} } grep { $_->{name} eq 'store' } @{$board->{templating}{list}};
    like(ref $query ? $query->{query} : $query, qr/label_values\(opsauth_requests_total, store\)/, 'stores are chosen from');
};

subtest 'the access log' => sub {
    my $text = slurp('docs/logging.md');
    my ($format) = $text =~ /^(log_format opsauth escape=json\n.*?;)$/ms;
    ok($format, 'docs/logging.md has a log_format');
    my %all = map { $_ => 1 } slurp('docs/variables.md') =~ /^\| `\$(opsauth_\w+)`/mg;
    my %used = map { $_ => 1 } $format =~ /\$(opsauth_\w+)/g;
    is_deeply([sort keys %used], [sort keys %all], 'with every variable');
    $t->config_http($STORES . $SERVER . "\n$format\n" . ($SERVER =~ s/PORT_8080/PORT_8081/r) =~ s/location = /access_log %%TESTDIR%%\/json.log opsauth;\n location = /r);
    $t->reload;
    my $key = $store->issue(account => $store->account('logged', tenant => 'ten"ant'));
    is($t->get('/api?a="b"', key => $key, port => 8081)->status, 200, 'a request');
    $t->get('/api', port => 8081, key => $store->issue(state => 'revoked', account => 'logged'));
    $t->get('/api', port => 8081);
    my @lines = split /\n/, $t->wait_for_file('json.log', qr/(?:.*\n){3}/);
    my @got = map { $json->decode($_) } @lines;
    is_deeply([sort map { "$_->{verdict} $_->{reason} $_->{status}" } @got], ['allow ok 200', 'deny missing 401', 'deny revoked 401'], 'verdicts');
    my %by = map { $_->{reason} => $_ } @got;
    is($by{ok}{account}, 'logged', 'account');
    is($by{ok}{tenant}, 'ten"ant', 'a value with a quote');
    is_deeply([grep { !/^key_/ } map { $by{$_}{credential_id} } qw(ok revoked)], [], 'ids of credentials');
    unlike("@lines", qr/op365_sk/, 'and no credential');
    like($t->log, qr/opsauth: denied, reason "revoked", credential "key_[^"]+", account "logged"/, 'a denial in the error log');
};

$t->done;
