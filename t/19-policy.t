#!/usr/bin/perl

# The truth table of t/unit/policy.txt, which the unit test gives to the core
# alone, through the whole gateway: the same verdict from a configuration,
# records in Redis and a request.

use strict;
use warnings;

use Test::More;

use OpsAuth::Policy;
use OpsAuth::Test;

my $t = OpsAuth::Test->new;
my $policy = OpsAuth::Policy->new($t);

$t->redis;
my $store = $t->store;
$t->upstream;
$t->config_http($policy->http);
$t->start;

for my $row ($policy->rows) {
    my $r = $policy->request($row, $policy->issue($store, $row));
    is($r->header('X-Reason') // $r->status . $r->error, $row->{reason}, $row->{name});
}
my @rows = $policy->rows;
cmp_ok(scalar(@rows), '>=', 100, 'rows that were tried');
my @skipped = $policy->skipped;
cmp_ok(scalar(@skipped), '<=', 3, 'rows that nginx can not be asked about')
    or diag join "\n", map { $_->{name} } @skipped;
note scalar(@rows) . ' rows in ' . $policy->places . ' places';

$t->done;
