#!/usr/bin/perl

# The $opsauth_ variables: their values at each verdict, wherever nginx takes
# variables, and that reading one too early neither fails nor sticks.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::Process;
use OpsAuth::Test;

my @NAMES = qw(verdict reason credential_id credential_kind credential_state account tenant affiliate roles scopes environment cache);

my $t = OpsAuth::Test->new;
my $fake = $t->fake_redis;
my $store = $t->store(redis => $fake);
$t->upstream;
$t->var(ALL => join '|', map { "\$opsauth_$_" } @NAMES);

$t->config_http(<<'CONF');
    log_format all '$request_uri $status %%ALL%%|$opsauth_lookup_time';
    access_log %%TESTDIR%%/access.log all;
    opsauth_store main {
        redis %%REDIS%%;
        pepper_file %%PEPPER%%;
        key_prefix op365_sk_live_ checksum=crc32;
        key_prefix op365_sk_test_ environment=test;
        lease 60s;
        redis_timeout 2s;
    }
    opsauth_store short { redis %%REDIS%%; pepper_file %%PEPPER%%; prefix short:; lease 100ms; stale 60s; redis_connect_timeout 100ms; }
    opsauth_store strict { redis %%REDIS%%; pepper_file %%PEPPER%%; prefix short:; lease 100ms; stale off; redis_connect_timeout 100ms; }

    map $opsauth_tenant $upstream_of_tenant { org_42 "of 42"; "" "of nobody"; default "of others"; }
    map $opsauth_reason $sticky { "" none; default $opsauth_reason; }
    map $opsauth_reason $fresh { volatile; "" none; default $opsauth_reason; }
    limit_req_zone $opsauth_account zone=accounts:1m rate=1r/m;
    limit_req_zone $mapped_always zone=always:1m rate=1r/m;
    map $opsauth_account $mapped_always { "" ""; default yes; }

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        opsauth main;
        opsauth_environment any;
        opsauth_require uri=~^/(all|early|set|sticky|limited|map|short|strict);
        opsauth_require scope=write:a uri=~^/all/scope;
        opsauth_require role=nobody uri=~^/all/role;

        location /all {
            proxy_set_header X-All "%%ALL%%";
            add_header X-All "%%ALL%%" always;
            add_header X-Time $opsauth_lookup_time always;
            proxy_pass http://%%UPSTREAM%%;
        }
        location /map {
            proxy_set_header X-Of $upstream_of_tenant;
            proxy_pass http://%%UPSTREAM%%;
        }
        location /early {
            if ($opsauth_verdict) { return 500; }
            if ($opsauth_reason = ok) { return 500; }
            if ($opsauth_tenant != "") { return 500; }
            if ($opsauth_lookup_time) { return 500; }
            proxy_set_header X-All "%%ALL%%";
            proxy_pass http://%%UPSTREAM%%;
        }
        location /sticky {
            if ($sticky = x) { return 500; }
            if ($fresh = x) { return 500; }
            set $early "[$opsauth_reason]";
            proxy_set_header X-All "$sticky $fresh $early";
            proxy_pass http://%%UPSTREAM%%;
        }
        location /limited {
            limit_req zone=accounts;
            limit_req zone=always;
            proxy_pass http://%%UPSTREAM%%;
        }
        location /off { opsauth off; add_header X-All "%%ALL%%" always; proxy_pass http://%%UPSTREAM%%; }
        location /short { opsauth short; proxy_pass http://%%UPSTREAM%%; }
        location /strict { opsauth strict; proxy_pass http://%%UPSTREAM%%; }
    }
    server {
        listen 127.0.0.1:%%PORT_8081%%;
        location / { add_header X-All "%%ALL%%"; proxy_pass http://%%UPSTREAM%%; }
    }
CONF
$t->start;

# the log line of a request, sent with a number of its own
my ($number, $time) = (0);
sub ask {
    my ($uri, %o) = @_;
    my $n = ++$number;
    my $r = $t->request('GET', "$uri?n=$n", %o);
    $r->{line} = '';
    OpsAuth::Process->poll(5, sub { $t->read_file('access.log') =~ m{^\S+\?n=$n \d+ (.*)\|(\S+)$}m and ($r->{line}, $time) = ($1, $2) });
    return $r;
}

$store->account('acme', tenant => 'org_42', affiliate => 'aff_7', roles => 'r1 r2');
$store->account('bare', tenant => undef);
$store->account('off', tenant => 'org_9', enabled => 0);
my %id;
sub issue { my $key = $store->issue(scopes => 'read:a read:b', @_); $id{$key} = $store->read_credential($key)->{id}; return $key }

subtest 'all of them at all verdicts' => sub {
    my $key = issue();
    my $who = sub { my ($k, %o) = @_; return join '|', $id{$k}, $o{kind} // 'api_key', $o{state} // 'active', $o{account} // 'acme', $o{identity} // '-|-|-|-', $o{environment} // 'live' };
    my $identity = 'org_42|aff_7|r1 r2|read:a read:b';
    my $nobody = join '|', ('-') x 9;
    my $due = issue(state => 'deprecated');
    my ($test, $token, $bare) = (issue(key_prefix => 'op365_sk_test_'), issue(kind => 'access_token'), issue(account => 'bare', scopes => ''));
    my ($revoked, $expired, $disabled, $ip, $invalid) = (issue(state => 'revoked'), issue(expires => 1), issue(account => 'off'), issue(ips => '192.0.2.1'), issue(account => 'ghost'));
    my $unknown = $store->key;
    my @cases = (
        ['/all', 200, "allow|ok|" . $who->($key, identity => $identity) . '|miss', key => $key],
        ['/all', 200, "allow|ok|" . $who->($key, identity => $identity) . '|hit', key => $key],
        ['/all', 200, "allow|ok|" . $who->($test, identity => $identity, environment => 'test') . '|miss', key => $test],
        ['/all', 200, "allow|ok|" . $who->($token, identity => $identity, kind => 'access_token') . '|miss', key => $token],
        ['/all', 200, "allow|ok|" . $who->($bare, identity => '-|-|-|-', account => 'bare') . '|miss', key => $bare],
        ['/all', 200, "allow|ok|" . $who->($due, identity => $identity, state => 'deprecated') . '|miss', key => $due],
        ['/all', 401, "deny|missing|$nobody|bypass"],
        ['/all', 400, "deny|malformed|$nobody|bypass", key => 'a"b'],
        ['/all', 401, "deny|checksum|$nobody|bypass", key => $store->key(undef, checksum => 'wrong')],
        ['/all', 401, "deny|unknown|$nobody|miss", key => $unknown],
        ['/all', 401, "deny|unknown|$nobody|hit", key => $unknown],
        ['/all', 401, 'deny|revoked|' . $who->($revoked, state => 'revoked') . '|miss', key => $revoked],
        ['/all', 401, 'deny|revoked|' . $who->($revoked, state => 'revoked') . '|hit', key => $revoked],
        ['/all', 401, 'deny|expired|' . $who->($expired) . '|miss', key => $expired],
        ['/all', 401, 'deny|disabled|' . $who->($disabled, account => 'off') . '|miss', key => $disabled],
        ['/all', 403, 'deny|ip|' . $who->($ip) . '|miss', key => $ip],
        ['/all/scope', 403, 'deny|scope|' . $who->($key) . '|hit', key => $key],
        ['/all/role', 403, 'deny|role|' . $who->($key) . '|hit', key => $key],
        ['/else', 403, 'deny|no_rule|' . $who->($key) . '|hit', key => $key],
        ['/all', 503, 'deny|record_invalid|' . $who->($invalid, account => 'ghost') . '|miss', key => $invalid],
    );
    for my $case (@cases) {
        my ($uri, $status, $line, %o) = @$case;
        my $r = ask($uri, %o);
        is($r->status, $status, $line =~ s/\|.*?\|/ /r);
        is($r->{line}, $line, 'log_format');
        my $value = join '|', map { $_ eq '-' ? '' : $_ } split /\|/, $line;
        is($r->header('X-All'), $value, 'add_header') if $uri =~ /all/;
        is_deeply([$r->echoed('X-All')], [$value], 'proxy_set_header') if $status == 200;
        is($r->header('X-Time'), $time, 'one time') if $uri =~ /all/;
        is($time, '0.000', 'no wait') if $line =~ /hit$|bypass$/;
    }
    $fake->script(HMGET => '-LOADING x');
    is(ask('/all', key => issue())->{line}, "deny|unavailable|$nobody|miss", 'unavailable');
    $fake->behave;
};

subtest 'the time that a lookup takes' => sub {
    $fake->script(HMGET => { delay => 30 });
    my $key = issue();
    ask('/all', key => $key);
    like($time, qr/^\d+\.\d{3}$/, 'seconds');
    cmp_ok($time, '>=', 0.025, 'the time waited') or diag $time;
    $fake->behave;
    ask('/all', key => $key);
    is($time, '0.000', 'none from the cache');
};

subtest 'too early, and not sticky' => sub {
    my $key = issue();
    for my $round (1, 2) {
        my $r = ask('/early', key => $key);
        is($r->status, 200, 'empty in the rewrite phase');
        like(($r->echoed('X-All'))[0] // '', qr/^allow\|ok\|$id{$key}\|api_key\|active\|acme\|org_42\|/, 'there for the backend');
        like($r->{line}, qr/^allow\|ok\|$id{$key}\|/, 'and in the log');
    }
    like(ask('/early')->{line}, qr/^deny\|missing\|/, 'a denial');
    is_deeply([ask('/sticky', key => $key)->echoed('X-All')], ['none ok []'],
        'but a map remembers what it was, unless it is volatile, and so does set');
};

subtest 'map, limit_req' => sub {
    is(($t->get('/map', key => issue())->echoed('X-Of'))[0], 'of 42', 'map');
    is(($t->get('/map', key => issue(account => 'bare'))->echoed('X-Of'))[0], 'of nobody', 'an empty value');
    my $key = issue();
    is(join(' ', map { $t->get('/limited', key => $key)->status } 1 .. 5), '200 200 200 200 200',
        'limit_req comes before we know: its key is empty, and limits nobody');
};

subtest 'where opsauth is off or not set' => sub {
    my $nothing = join '|', ('') x 12;
    is($t->get('/off', key => issue())->header('X-All'), $nothing, 'off');
    is(ask('/off', key => issue())->{line}, join('|', ('-') x 12), 'in the log');
    is($time, '-', 'nor a time');
    is($t->get('/', port => 8081, key => issue())->header('X-All'), $nothing, 'not set');
};

subtest 'stale' => sub {
    my $short = OpsAuth::Store->new(redis => $fake, prefix => 'short:', pepper => [@{$store->{peppers}}], secret => sub { $t->secret(@_) });
    $short->marker->account('acme');
    my $key = $short->issue;
    like(ask($_, key => $key)->{line}, qr/^allow\|ok\|.*\|miss$/, "$_ miss") for '/short', '/strict';
    $fake->down;
    my $line;
    OpsAuth::Process->poll(5, sub { ($line = ask('/short', key => $key)->{line}) !~ /hit$/ });
    like($line, qr/^allow\|ok\|.*\|stale$/, 'a record that could not be read again');
    is(ask('/short', key => $short->issue)->status, 503, 'one that is not there');
    OpsAuth::Process->poll(5, sub { ask('/strict', key => $key)->status != 200 });
    like(ask('/strict', key => $key)->{line}, qr/^deny\|unavailable\|/, 'stale off');
    $fake->up;
    ok(OpsAuth::Process->poll(10, sub { ask('/short', key => $key)->{line} =~ /miss$/ }), 'read again when Redis is back');
};

$t->done;
