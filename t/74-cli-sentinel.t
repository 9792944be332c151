#!/usr/bin/perl

# The command against a Sentinel group: it finds the primary, also after a
# failover, and says what is wrong where it can't.

use strict;
use warnings;

use Test::More;

use OpsAuth::Command;
use OpsAuth::Process;
use OpsAuth::Sentinel;
use OpsAuth::Test;

my $t = OpsAuth::Test->new;
my $group = OpsAuth::Sentinel->new(test => $t);
my $store = $t->store(redis => $group->primary);
my $opsauth = OpsAuth::Command->new($t, OPSAUTH_PEPPER_FILE => $store->pepper_file,
    OPSAUTH_KEY_PREFIX => 'live=op365_sk_live_', OPSAUTH_REDIS => $group->url);

my $old = $group->primary;
my ($exit, $out, $err) = $opsauth->run(qw(account create crm --name CRM --tenant org_1));
is($exit, 0, 'an account is made') or diag $err;
is($old->cmd('HGET', 'opsauth:account:crm', 'name'), 'CRM', 'on the primary');
ok($old->cmd('WAIT', 2, 2000) >= 2, 'which the replicas hear of');

($exit, $out, $err) = $opsauth->run(qw(doctor));
like($out . $err, qr/sentinels.*3 of 3 name 127\.0\.0\.1:${\$old->port}/, 'doctor counts the sentinels');

$group->sentinel(1)->cmd('SENTINEL', 'FAILOVER', $group->{name});
my $new = $group->failed_over($old);
($exit, $out, $err) = $opsauth->run(qw(account disable crm));
is($exit, 0, 'after a failover') or diag $err;
is(eval { $new->cmd('HGET', 'opsauth:account:crm', 'enabled') } // eval { $new->cmd('HGET', 'opsauth:account:crm', 'enabled') },
    '0', 'it is written to the new primary');

(my $url = $group->url) =~ s/mymaster/yourmaster/;
($exit, $out, $err) = $opsauth->run(qw(account list --redis), $url);
isnt($exit, 0, 'a name that they do not know');
like($err, qr/no sentinel tells where the primary is.*knows no primary of this name/, 'is told');

$group->sentinel(3)->kill;
($exit, $out, $err) = $opsauth->run(qw(account list));
is($exit, 0, 'with two of three sentinels') or diag $err;
($exit, $out, $err) = $opsauth->run(qw(doctor));
like($out . $err, qr/sentinel .*127\.0\.0\.1:${\$group->sentinel(3)->port}: /, 'doctor tells which one is down');
$group->sentinel(2)->kill;
($exit, $out, $err) = $opsauth->run(qw(account list));
is($exit, 0, 'with one') or diag $err;
($exit, $out, $err) = $opsauth->run(qw(doctor));
like($out . $err, qr/1 of 3 tell where the primary is/, 'doctor does not like that');
$group->sentinel(1)->kill;
($exit, $out, $err) = $opsauth->run(qw(account list));
isnt($exit, 0, 'with none');
like($err, qr/no sentinel tells where the primary is/, 'is told');

$t->finish;
done_testing();
