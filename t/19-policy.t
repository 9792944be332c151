#!/usr/bin/perl

# The truth table of t/unit/policy.txt, which the unit test gives to the core
# alone, through the whole gateway: the same verdict from a configuration,
# records in Redis and a request.

use strict;
use warnings;

use Test::More;

use OpsAuth::Test;

my @FIELDS = qw(env admits state expires enabled account_ips credential_ips address roles scopes
    rules method uri admin reason);

my $t = OpsAuth::Test->new;

# --- the table --------------------------------------------------------------------------

my (%rules, @rows);
open my $fh, '<', $t->root . '/t/unit/policy.txt' or die "policy.txt: $!";
while (my $line = <$fh>) {
    chomp $line;
    next if $line =~ /^\s*(#|$)/;
    if ($line =~ /^\s*rule\s+(\S+)\s+(.*?)\s*$/) {
        push @{$rules{$1}}, $2;
        next;
    }
    my @values = map { s/^\s+|\s+$//gr } split /;/, $line, -1;
    is(scalar @values, scalar @FIELDS, "line $.: fields") if @values != @FIELDS;
    my %row = (line => $.);
    @row{@FIELDS} = map { $_ eq '-' ? '' : $_ } @values;
    push @rows, \%row;
}
cmp_ok(scalar @rows, '>=', 100, 'the table has rows');

# --- every kind of place is a server of its own -------------------------------------------

my %places;
for my $row (@rows) {
    my $lines = join ' ', map { "opsauth_require $_;" } @{$rules{$row->{rules}} // []};
    die "line $row->{line}: no rules \"$row->{rules}\"\n" if length $row->{rules} && !length $lines;
    $lines .= " opsauth_environment $row->{admits};";
    $lines .= " opsauth_admin $row->{admin};" unless $row->{admin} eq 'default';
    $row->{place} = $places{$lines} //= 'place' . keys %places;
}
my $servers = join "\n", map { <<"CONF" } sort keys %places;
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        listen unix:%%TESTDIR%%/nginx.sock;
        server_name $places{$_};
        $_
        location / { proxy_pass http://%%UPSTREAM%%; }
    }
CONF

$t->redis;
my $store = $t->store;
$t->upstream;
$t->config_http(<<"CONF");
    server_names_hash_max_size 4096;
    opsauth_store main { redis %%REDIS%%; pepper_file %%PEPPER%%; redis_timeout 2s; }
    opsauth main;
    set_real_ip_from 127.0.0.1;
    real_ip_header X-Client;
    add_header X-Reason \$opsauth_reason always;
$servers
CONF
$t->start;

# --- the rows ---------------------------------------------------------------------------

# of an expiry "now" and before, this second is the last that could be right
my %expires = (never => sub { 0 }, now => sub { int time });

my ($ran, @skipped) = (0);
for my $row (@rows) {
    my $name = "line $row->{line}: $row->{reason}";
    # nginx refuses these methods before any module sees them
    if ($row->{method} =~ /^(TRACE|CONNECT)$/ || $row->{uri} !~ m{^/}) {
        push @skipped, $name;
        next;
    }
    my $account = $store->account("row$row->{line}", enabled => $row->{enabled},
        roles => $row->{roles}, ips => $row->{account_ips});
    my $expires = $expires{$row->{expires}} // sub { int(time) + $row->{expires} };
    my $key = $store->issue(account => $account, environment => $row->{env}, state => $row->{state},
        expires => $expires->(), scopes => $row->{scopes}, ips => $row->{credential_ips});
    my $r = $t->request($row->{method}, $row->{uri}, key => $key, host => $row->{place},
        $row->{address} eq 'unix:' ? (unix => $t->dir . '/nginx.sock') : (headers => ['X-Client' => $row->{address}]));
    is($r->header('X-Reason') // $r->status . $r->error, $row->{reason}, $name);
    $ran++;
}
cmp_ok($ran, '>=', 100, 'rows that were tried');
cmp_ok(scalar @skipped, '<=', 3, 'rows that nginx can not be asked about') or diag join "\n", @skipped;
note "$ran rows in " . keys(%places) . ' places';

$t->done;
