#!/usr/bin/perl

# What the backend learns of who asks, and that a client can't say it for
# itself: spoofed headers leave the request in every form and at every place.

use strict;
use warnings;

use Test::More;

use OpsAuth::Test;

my $t = OpsAuth::Test->new;
my $redis = $t->redis;
my $store = $t->store;
$t->upstream;
$t->write_file('htpasswd', "basic:{PLAIN}secret\n");

my $satisfy = '';
for my $satisfy_word (qw(all any)) {
    for my $rule (qw(allow deny)) {
        $satisfy .= "location /$satisfy_word-$rule { satisfy $satisfy_word; $rule all; "
            . "proxy_pass http://%%UPSTREAM%%; }\n";
    }
}

$t->config_http(<<"CONF");
    opsauth_store main {
        redis %%REDIS%%;
        pepper_file %%PEPPER%%;
        key_prefix op365_sk_live_ checksum=crc32;
        lease 60s;
        redis_timeout 2s;
    }
    large_client_header_buffers 8 16k;

    server {
        listen 127.0.0.1:%%PORT_8080%%;
        opsauth main;
        $satisfy
        location / { proxy_pass http://%%UPSTREAM%%; }
        location /off { opsauth off; proxy_pass http://%%UPSTREAM%%; }
        location /open-basic {
            satisfy any;
            auth_basic basic;
            auth_basic_user_file %%TESTDIR%%/htpasswd;
            proxy_pass http://%%UPSTREAM%%;
        }
        location /custom {
            opsauth_identity_header X-Org \$opsauth_tenant;
            opsauth_identity_header X-Who "acct:\$opsauth_account from \$remote_addr";
            opsauth_identity_header X-Constant yes;
            opsauth_identity_header X-Path \$uri;
            opsauth_identity_header X-Argument \$arg_a;
            opsauth_identity_header X-Aff \$opsauth_affiliate;
            opsauth_identity_header x_Reason \$opsauth_reason;
            proxy_pass http://%%UPSTREAM%%;
            location /custom/default/off { opsauth off; proxy_pass http://%%UPSTREAM%%; }
        }
        location /none {
            opsauth_identity_header off;
            proxy_pass http://%%UPSTREAM%%;
        }
        location /variable {
            proxy_set_header X-Seen "\$http_x_tenant_id|\$http_x_roles";
            proxy_pass http://%%UPSTREAM%%;
        }
        location /unsent {
            proxy_pass_request_headers off;
            proxy_set_header X-Tenant-Id \$opsauth_tenant;
            proxy_pass http://%%UPSTREAM%%;
        }
    }
    server {
        listen 127.0.0.1:%%PORT_8081%%;
        underscores_in_headers on;
        ignore_invalid_headers off;
        location / { opsauth main; proxy_pass http://%%UPSTREAM%%; }
        location /off { opsauth off; proxy_pass http://%%UPSTREAM%%; }
        location /plain { proxy_pass http://%%UPSTREAM%%; }
    }
    server {
        listen 127.0.0.1:%%PORT_8082%%;
        ignore_invalid_headers off;
        location / { opsauth main; proxy_pass http://%%UPSTREAM%%; }
    }
CONF
$t->start;

$store->account('acme', tenant => 'org_42', affiliate => 'aff_7', roles => 'customer  plans-and-rates');
$store->account('plain', tenant => 'org_1');
my $key = $store->issue(scopes => 'read:tenants write:tenants');
my $id = $store->read_credential($key)->{id};

my @names = qw(X-Tenant-Id X-Affiliate-Id X-Account-Id X-Credential-Id X-Roles X-Scopes);
my @true = (['X-Tenant-Id', 'org_42'], ['X-Affiliate-Id', 'aff_7'], ['X-Account-Id', 'acme'],
    ['X-Credential-Id', $id], ['X-Roles', 'customer plans-and-rates'],
    ['X-Scopes', 'read:tenants write:tenants']);
my $is_identity = sub { my $fold = lc $_[0] =~ tr/_/-/r; return scalar grep { lc eq $fold } @names };

# the headers that the backend saw and that are about identity, or are not
sub identity { my ($r) = @_; return [grep { $is_identity->($_->[0]) } @{($r->json // {})->{headers} // []}] }
sub others   { my ($r) = @_; return [grep { $_->[0] =~ /^X-F-|^.$/ } @{($r->json // {})->{headers} // []}] }

subtest 'what is sent' => sub {
    my $r = $t->get('/', key => $key, headers => [['X-F-1', 'a'], ['x-f-1', 'b'], ['X-F-2', 'a:b  c']]);
    is($r->status, 200);
    is_deeply(identity($r), \@true, 'the default set, in order');
    is_deeply([grep { /^x-f-/i } map { "@$_" } @{$r->json->{headers}}], ['X-F-1 a', 'x-f-1 b', 'X-F-2 a:b  c'],
        'others as they were');
    is_deeply([$r->echoed('Authorization')], [], 'not the key');
    is(index($r->body, $key), -1, 'nowhere');

    my $plain = $store->issue(account => 'plain');
    is_deeply([map { $_->[0] } @{identity($t->get('/', key => $plain))}],
        [qw(X-Tenant-Id X-Account-Id X-Credential-Id)], 'an empty value is no header');
    is_deeply([map { $_->[0] } @{identity($t->get('/', key => $plain, headers => [map { ($_, 'spoof') } @names]))}],
        [qw(X-Tenant-Id X-Account-Id X-Credential-Id)], 'and no way for a client to set it');
    $r = $t->get('/variable', key => $key, headers => ['X-Roles' => 'spoof', 'X-Tenant-Id' => 'spoof']);
    is_deeply([$r->echoed('X-Seen')], ['org_42|customer plans-and-rates'], '$http_ variables see ours');
    is_deeply(identity($t->get('/unsent', key => $key)), [['X-Tenant-Id', 'org_42']], 'proxy_set_header');
};

# --- spoofed -----------------------------------------------------------------------

subtest 'spoofed in any form' => sub {
    my %forms = (
        'as they are' => [map { [$_, 'spoof'] } @names],
        'lower case'  => [map { [lc, 'spoof'] } @names],
        'upper case'  => [map { [uc, 'spoof'] } @names],
        'mixed case'  => [map { [(join '', map { rand > .5 ? lc : uc } split //), 'spoof'] } @names],
        'duplicates'  => [map { [$_, 'spoof1'], [lc, 'spoof2'], [$_, 'spoof3'] } @names],
        'empty'       => [map { [$_, ''] } @names],
    );
    my %underscores = map { ("$_ with underscores" => [map { [$_->[0] =~ tr/-/_/r, $_->[1]] } @{$forms{$_}}]) } keys %forms;
    my @half = (['X_Tenant-Id', 'spoof'], ['x-tenant_id', 'spoof'], ['X-TENANT_ID', 'spoof']);
    my %ports = (8080 => \%forms, 8081 => { %forms, %underscores, 'half' => \@half }, 8082 => { %underscores, half => \@half });
    for my $port (sort keys %ports) {
        for my $form (sort keys %{$ports{$port}}) {
            my @spoof = @{$ports{$port}{$form}};
            is_deeply(identity($t->get('/', port => $port, key => $key, headers => \@spoof)), \@true,
                "$port: $form");
        }
    }
    is(scalar @{identity($t->get('/plain', port => 8081, headers => $forms{duplicates}))}, 18,
        'where opsauth is not set, they pass');
    is_deeply(identity($t->get('/off', port => 8081, headers => [@{$forms{duplicates}}, @half])), [],
        'but not where it is off');
    is_deeply(identity($t->get('/off', headers => $forms{'mixed case'})), [], 'nor where it is inherited and off');
};

# The list of headers has parts of 20: what is taken out at the start, in the
# middle, at the end or all of a part must leave the rest in order.

sub check_list {
    my ($name, @slots) = @_;        # true: spoofed, false: stays
    my ($n, $host, @headers, @stay) = (0, int rand @slots);
    for my $i (0 .. $#slots) {
        push @headers, $slots[$i] ? [$names[$i % 6], "spoof$i"] : ['X-F-' . ++$n, "v$n"];
        push @stay, $headers[-1] unless $slots[$i];
        push @headers, ['Host', 'localhost'], ['Authorization', "Bearer $key"] if $i == $host;
    }
    my $r = $t->get('/', host => undef, headers => \@headers);
    my $ok = is_deeply(identity($r), \@true, "$name: identity") & is_deeply(others($r), \@stay, "$name: the rest");
    diag "slots: @{[map { $_ ? 1 : 0 } @slots]}, host at $host: " . $r->status . ' ' . $r->error unless $ok;
}

subtest 'lists of more than one part' => sub {
    for my $size (19, 20, 21, 40, 60, 70) {
        my $at = sub { my %spoofed = map { $_ => 1 } @_; return map { $spoofed{$_} } 0 .. $size - 1 };
        check_list("$size, none", $at->());
        check_list("$size, all", $at->(0 .. $size - 1));
        check_list("$size, first", $at->(0));
        check_list("$size, last", $at->($size - 1));
        check_list("$size, every second", $at->(grep { $_ % 2 } 0 .. $size - 1));
        check_list("$size, the middle ones", $at->(5 .. $size - 5));
        check_list("$size, a whole part and more", $at->(15 .. 45));
    }
    srand 42;
    check_list("random $_", map { rand > .6 } 1 .. 1 + int rand 100) for 1 .. 40;
};

subtest 'all headers are gone' => sub {
    my $c = $t->connect;
    my @headers = (['Authorization', "Bearer $key"], map { [$_, 'spoof'] } @names);
    my $r = $c->request('GET', '/', version => '1.0', host => undef, headers => \@headers);
    is($r->status, 200);
    is_deeply(identity($r), \@true, 'identity');
    # "Connection: close" is nginx's own; since 1.29.7 it asks for a connection that is kept
    is_deeply([grep { $_ ne 'connection' } map { lc $_->[0] } grep { !$is_identity->($_->[0]) } @{$r->json->{headers}}], ['host'], 'no more');
    $r = $t->connect->request('GET', '/off', version => '1.0', host => undef, headers => [map { [$_, 'spoof'] } @names]);
    is($r->status, 200, 'also without any of ours');
    is_deeply(identity($r), []);
};

subtest 'names that nginx gives no hash' => sub {
    # with ignore_invalid_headers off; they must not be taken for removed ones
    my $r = $t->get('/', port => 8082, key => $key, headers => [['$', 'a'], ['_', 'b'], ['X-Roles', 'spoof'], ['X-F-1', 'c'], ['&', 'd']]);
    is_deeply(others($r), [['$', 'a'], ['_', 'b'], ['X-F-1', 'c'], ['&', 'd']], 'they stay');
    is_deeply(identity($r), \@true);
};

# --- other sets ------------------------------------------------------------------------

subtest 'a set of ones own' => sub {
    my $seen = sub { return { map { $_ => [$_[0]->echoed($_)] } qw(X-Org X-Who X-Constant X-Path X-Argument X-Aff X-Reason) } };
    my $r = $t->get('/custom/x?a=b', key => $key, headers => [['X-Org', 'spoof'], ['x-reason', 'spoof'], ['X-Argument', 'spoof'], ['X-Roles', 'spoof']]);
    is_deeply($seen->($r), { 'X-Org' => ['org_42'], 'X-Who' => ['acct:acme from 127.0.0.1'], 'X-Constant' => ['yes'],
        'X-Path' => ['/custom/x'], 'X-Argument' => ['b'], 'X-Aff' => ['aff_7'], 'X-Reason' => ['ok'] }, 'values');
    is_deeply(identity($r), [], 'it replaces the default set, which a client still may not send');
    ok((grep { $_->[0] eq 'x_Reason' } @{$r->json->{headers}}), 'the name as it was written');

    $r = $t->get('/custom/%0d%0aX-Evil:%201', key => $key, headers => ['X-Path' => 'spoof']);
    is($r->status, 200, 'a value with control bytes');
    is_deeply([$r->echoed('X-Path'), $r->echoed('X-Evil')], [], 'is left out, and splits nothing');
    is_deeply([$r->echoed('X-Org')], ['org_42'], 'the others are there');
    like($t->log, qr/identity header "X-Path" left out/, 'which is logged');
    $r = $t->get('/custom/x', key => $store->issue(account => 'plain'), headers => [['X-Aff', 'spoof'], ['X-Argument', 'spoof']]);
    is_deeply([$r->echoed('X-Aff'), $r->echoed('X-Argument')], [], 'empty values: no header');

    $r = $t->get('/custom/default/off', headers => [map { ($_, 'spoof') } @names, qw(X-Org X-Constant)]);
    is($r->status, 200);
    is_deeply([@{identity($r)}, map { $r->echoed($_) } qw(X-Org X-Constant)], [], 'stripped where it is off');
};

subtest 'identity headers off' => sub {
    my $r = $t->get('/none', key => $key, headers => [map { ($_, "own $_") } @names]);
    is_deeply(identity($r), [map { [$_, "own $_"] } @names], 'are left alone');
    is_deeply([$r->echoed('Authorization')], [], 'the credential is not');
    is_deeply(identity($t->get('/none', key => $key)), [], 'and none are set');
};

# --- satisfy: all twelve -----------------------------------------------------------------

subtest 'satisfy' => sub {
    my %credential = (valid => [key => $key], invalid => [key => $store->key], none => []);
    my %expected = (            # valid, invalid, none; lower case: the door was opened by "allow"
        'all-allow' => [200, 401, 401], 'all-deny' => [403, 403, 403],
        'any-allow' => ['200 others', '200 others', '200 others'], 'any-deny' => [200, 401, 401],
    );
    for my $place (sort keys %expected) {
        my @expected = @{$expected{$place}};
        for my $which (qw(valid invalid none)) {
            my ($status, $others) = split / /, shift @expected;
            my $r = $t->get("/$place", @{$credential{$which}}, headers => [map { ($_, 'spoof') } @names]);
            is($r->status, $status, "$place, $which: status");
            next if $status != 200;
            is_deeply(identity($r), $others ? [] : \@true, "$place, $which: what the backend sees");
            is_deeply([$r->echoed('Authorization')], [], "$place, $which: no credential");
        }
    }
    my $unseen = $store->key;
    my @seen = $redis->monitor(sub { $t->get('/all-deny', key => $unseen); $t->get('/any-allow', key => $unseen) });
    is_deeply([grep { /HMGET.*:(?:credential|account):/i } @seen], [], 'what "deny" or "allow" decide costs no lookup');
    is($t->get('/any-deny', key => 'no/t=valid')->status, 400, 'malformed');
    is($t->get('/any-allow', key => 'no/t=valid')->status, 200, 'but not if it does not matter');

    my @basic = (Authorization => 'Basic YmFzaWM6c2VjcmV0');
    my $r = $t->get('/open-basic', headers => [@basic, map { ($_, 'spoof') } @names]);
    is($r->status, 200, 'auth_basic beside us');
    is_deeply(identity($r), [], 'is no identity of ours');
    is_deeply([$r->echoed('Authorization')], ['Basic YmFzaWM6c2VjcmV0'], 'its credential is its own affair');
    is($t->get('/open-basic', key => $key)->status, 200, 'or our key');
    is($t->get('/open-basic')->status, 401, 'or none');
};

$t->done;
