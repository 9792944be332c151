#!/usr/bin/perl

# The grants that a login of a user ends in: authorization_code with PKCE, and
# refresh_token. Who has copied a code or a refresh token, and races between two.

use strict;
use warnings;

use Digest::SHA qw(sha256);
use MIME::Base64 qw(encode_base64url);
use Test::More;
use Time::HiRes qw(sleep);

use OpsAuth::HTTP;
use OpsAuth::OAuth;
use OpsAuth::Process;
use OpsAuth::Test;

*said = \&OpsAuth::OAuth::said;

my $CB = 'https://app.test/cb';

my $t = OpsAuth::Test->new(workers => 2);
my $store = $t->store;
my $o = OpsAuth::OAuth->new(t => $t, store => $store);

my %web = (grants => 'authorization_code refresh_token', redirect_uris => $CB, scopes => 'read:tenants write:users');
$store->account('acme');
$store->account('short', refresh => 1);
$store->account('off', enabled => 0);
$store->account('far', ips => '192.0.2.7');
$o->client('web', %web);
$o->client('other', %web);
$o->client('once', %web, grants => 'authorization_code');
$o->client('spa', %web, secret => undef, auth_method => 'none');

$t->config_http($o->conf(token => 'opsauth_oauth_refresh_grace 2s; opsauth_oauth_refresh_token_valid 1h; '
    . 'opsauth_oauth_token_valid 10m; opsauth_oauth_short_token_valid 20s;'));
$t->start;

# redeems a code; %form replaces what a right request has, undef leaves it out
sub redeem {
    my ($client, $code, $verifier, %form) = @_;
    my %all = (grant_type => 'authorization_code', code => $code, code_verifier => $verifier,
        redirect_uri => $CB, %form);
    return $o->post('token', $client eq 'spa' ? {} : { client => $client },
        $client eq 'spa' ? (client_id => 'spa') : (), map { $_ => $all{$_} } sort keys %all);
}

sub refresh {
    my ($client, $token, %form) = @_;
    return $o->post('token', $client eq 'spa' ? {} : { client => $client },
        $client eq 'spa' ? (client_id => 'spa') : (),
        grant_type => 'refresh_token', refresh_token => $token, %form);
}

# a login that ends in a refresh token; its JSON
sub login {
    my ($client, %code) = @_;
    my $r = redeem($client, ($o->code(client => $client, account => 'short', %code))[0, 1]);
    is($r->status, 200, 'a login') or diag $r->body, $t->log;
    return $r->json;
}

sub state_of { my ($token) = @_; return $store->read_credential($token)->{state} }

# what the API says to it; the gateway hears of a revocation within a moment
sub api { my ($token) = @_; return $t->get('/api/', key => $token)->status }
sub refused { my ($token) = @_; return OpsAuth::Process->poll(5, sub { api($token) == 401 }) }

sub family_key {
    my ($token, $pepper) = @_;
    return $o->name('refresh', $store->digest(substr($token, 0, 22), $pepper));
}

# --- authorization_code -----------------------------------------------------------------

subtest 'a code' => sub {
    my ($code, $verifier, $key) = $o->code;
    my $r = redeem('web', $code, $verifier);
    is($r->status, 200, 'redeemed') or diag $r->body, $t->log;
    is($r->header('Cache-Control') . ', ' . $r->header('Pragma'), 'no-store, no-cache', 'not to be kept');
    my $json = $r->json;
    is_deeply([sort keys %$json], [qw(access_token expires_in scope token_type)], 'no refresh token for this account');
    is($json->{expires_in}, 600, 'the long one');
    is($json->{scope}, 'read:tenants', 'the scopes that were allowed');
    is(api($json->{access_token}), 200, 'it opens the API');
    my $record = $store->read_credential($json->{access_token});
    is($record->{$_->[0]}, $_->[1], "record: $_->[0]") for [subject => 'alice'], [client => 'web'], [account => 'acme'];

    my %left = @{$o->cmd('HGETALL', $key)};
    is($left{state}, 'redeemed', 'the code is remembered');
    my $ttl = $o->cmd('PTTL', $key);
    ok($ttl > 600_000 && $ttl <= 660_000, 'for as long as the token lives') or diag $ttl;

    is(said(redeem('web', $code, $verifier)), '400 invalid_grant', 'a second time: refused');
    is(state_of($json->{access_token}), 'revoked', 'and the token of the first is revoked');
    ok(refused($json->{access_token}), 'in force');
    like($t->log, qr/a code of client "web" was redeemed twice/, 'which is worth a line');
    is(said(redeem('web', $code, $verifier)), '400 invalid_grant', 'a third time');
};

subtest 'a code that is not right' => sub {
    my @case = (
        ['unknown', sub { redeem('web', $store->token, $store->token) }],
        ['another verifier', sub { redeem('web', $_[0], $store->token) }],
        ['no verifier', sub { redeem('web', $_[0], undef) }],
        ['another redirect_uri', sub { redeem('web', @_, redirect_uri => "$CB/") }],
        ['no redirect_uri', sub { redeem('web', @_, redirect_uri => undef) }],
        ['another client', sub { redeem('other', @_) }],
        ['a public client with it', sub { redeem('spa', @_) }],
    );
    for my $case (@case) {
        my ($code, $verifier) = $o->code;
        is(said($case->[1]->($code, $verifier)), '400 invalid_grant', $case->[0]);
        is(redeem('web', $code, $verifier)->status, 200, "$case->[0]: it is as good as before");
    }
    my ($code, $verifier) = $o->code;
    is(said(redeem('web', $code, 'short')), '400 invalid_request', 'a malformed verifier');
    is(said(redeem('web', undef, $verifier)), '400 invalid_request', 'no code');
    is(said(redeem('web', 'x' x 600, $verifier)), '400 invalid_grant', 'a code of 600 bytes');

    ($code, $verifier) = $o->code(challenge => '');
    is(said(redeem('web', $code, $verifier)), '400 invalid_grant', 'a verifier where there was no challenge');
    is(redeem('web', $code, undef)->status, 200, 'none for none');
    ($code) = $o->code(client => 'spa', challenge => '');
    is(said(redeem('spa', $code, undef)), '400 invalid_grant', 'never for a public client');
    ($code, $verifier) = $o->code(redirect_uri => '');
    is(redeem('web', $code, $verifier, redirect_uri => undef)->status, 200, 'no redirect_uri where there was none');

    ($code, $verifier) = $o->code(ttl => 1);
    sleep 0.05;
    is(said(redeem('web', $code, $verifier)), '400 invalid_grant', 'too late');
    for my $account (qw(off far ghost)) {
        ($code, $verifier) = $o->code(account => $account);
        is(said(redeem('web', $code, $verifier)), '400 invalid_grant', "account: $account");
    }
    ($code, $verifier) = $o->code(scopes => undef);
    is(said(redeem('web', $code, $verifier)), '503 temporarily_unavailable', 'a malformed record');
};

subtest 'scopes since' => sub {
    my ($code, $verifier) = $o->code(scopes => 'read:tenants write:users');
    $store->update_account('acme', scopes => 'write:users');
    is(redeem('web', $code, $verifier)->json->{scope}, 'write:users', 'the account has fewer by now');
    $store->update_account('acme', scopes => undef);
    ($code, $verifier) = $o->code(scopes => 'read:tenants write:users admin');
    is(redeem('web', $code, $verifier)->json->{scope}, 'read:tenants write:users', 'or the client');
};

subtest 'parallel redemption' => sub {
    for my $account (qw(acme short)) {
        for my $round (1 .. 5) {
            my ($code, $verifier) = $o->code(account => $account);
            my @request = ('token', 'web', grant_type => 'authorization_code', code => $code,
                code_verifier => $verifier, redirect_uri => $CB);
            my @r = map { $o->note($_) } OpsAuth::HTTP::parallel_requests([map { $o->request_of(@request) } 1 .. 8]);
            my @won = grep { $_->status == 200 } @r;
            my @lost = grep { said($_) eq '400 invalid_grant' } @r;
            # the replays may stop the one that had won before it was finished
            ok(@won <= 1, 'at most one wins') or diag join ' ', map { said($_) } @r;
            is(@won + @lost, 8, 'the others get invalid_grant') or diag join ' ', map { said($_) } @r;
            for my $json (map { $_->json } @won) {
                is(state_of($json->{access_token}), 'revoked', 'and its token ends revoked');
                is(said(refresh('web', $json->{refresh_token})), '400 invalid_grant', 'its refresh token, too')
                    if $json->{refresh_token};
            }
        }
    }
    my @live = grep { my %r = @{$o->cmd('HGETALL', $_)}; $r{state} eq 'active' && ($r{account} // '') eq 'short' }
        @{$o->cmd('KEYS', $o->name('credential', '*'))};
    is_deeply(\@live, [], 'no token of these logins is alive');
};

# --- refresh_token ----------------------------------------------------------------------

subtest 'rotation' => sub {
    my $first = login('web');
    is($first->{expires_in}, 20, 'a short access token');
    like($first->{refresh_token}, qr/^[0-9A-Za-z]{65}$/, 'and a refresh token');
    my $key = family_key($first->{refresh_token});
    my %family = @{$o->cmd('HGETALL', $key)};
    is_deeply([sort keys %family], [sort qw(v client account subject scopes environment current previous rotated
        access state created expires)], 'one record');
    is($family{current}, $store->digest($first->{refresh_token}), 'with a digest');
    ok(!grep { index($_, substr $first->{refresh_token}, 22) >= 0 } values %family, 'and not itself');

    my $listed = sub { $o->cmd('ZSCORE', $o->name('tokens', 'short'), $key =~ s/^opsauth://r) // 0 };
    cmp_ok(abs($listed->() - time - 3600), '<', 60, 'it is listed');
    $o->cmd('ZADD', $o->name('tokens', 'short'), time + 5, $key =~ s/^opsauth://r);

    my $r = refresh('web', $first->{refresh_token});
    is($r->status, 200, 'used') or diag $r->body, $t->log;
    cmp_ok(abs($listed->() - time - 3600), '<', 60, 'and for longer, once it was used');
    my $second = $r->json;
    is_deeply([sort keys %$second], [qw(access_token expires_in refresh_token scope token_type)], 'a pair again');
    isnt($second->{refresh_token}, $first->{refresh_token}, 'another one');
    is(substr($second->{refresh_token}, 0, 22), substr($first->{refresh_token}, 0, 22), 'of the family');
    is(api($_->{access_token}), 200, 'both access tokens stand') for $first, $second;
    is($store->read_credential($second->{access_token})->{subject}, 'alice', 'for the same user');

    # the answer was lost: the client asks again, at once
    is(said(refresh('web', $first->{refresh_token})), '400 invalid_grant', 'a repetition within the grace');
    is(state_of($second->{access_token}), 'active', 'harms nobody');
    $r = refresh('web', $second->{refresh_token});
    is($r->status, 200, 'the successor is as good as before');
    my $third = $r->json;

    # now the first is two uses back: grace or not, somebody has a copy
    is(said(refresh('web', $first->{refresh_token})), '400 invalid_grant', 'the one before the last');
    is(said(refresh('web', $third->{refresh_token})), '400 invalid_grant', 'takes the family');
    is(state_of($_->{access_token}), 'revoked', 'and its access tokens') for $first, $second, $third;
    ok(refused($third->{access_token}), 'in force');
    like($t->log, qr/a refresh token of client "web" was used again/, 'which is worth a line');
};

subtest 'after the grace' => sub {
    my $first = login('web');
    my $second = refresh('web', $first->{refresh_token})->json;
    sleep 2.1;
    is(said(refresh('web', $first->{refresh_token})), '400 invalid_grant', 'a repetition');
    is(said(refresh('web', $second->{refresh_token})), '400 invalid_grant', 'takes the family');
    is(state_of($_->{access_token}), 'revoked', 'and its access tokens') for $first, $second;
};

subtest 'who may' => sub {
    my $login = login('web');
    my $token = $login->{refresh_token};
    is(said(refresh('other', $token)), '400 invalid_grant', 'not another client');
    is(said(refresh('spa', $token)), '400 invalid_grant', 'not a public one');
    is(said(refresh('web', substr($token, 0, 64))), '400 invalid_grant', 'too short');
    is(said(refresh('web', substr($token, 0, 64) . '-')), '400 invalid_grant', 'another alphabet');
    is(said(refresh('web', 'A' x 65)), '400 invalid_grant', 'unknown');
    is(said(refresh('web', $login->{access_token})), '400 invalid_grant', 'an access token');
    is(said($o->post('token', { client => 'web' }, grant_type => 'refresh_token')), '400 invalid_request', 'none');
    is(api($token), 401, 'it opens no API');

    $store->update_account('short', enabled => 0);
    is(said(refresh('web', $token)), '400 invalid_grant', 'the account is switched off');
    $store->update_account('short', enabled => 1, ips => '192.0.2.1');
    is(said(refresh('web', $token)), '400 invalid_grant', 'another address');
    $store->update_account('short', ips => '', refresh => 0);
    is(said(refresh('web', $token)), '400 invalid_grant', 'the account doesn\'t refresh any more');
    $store->update_account('short', refresh => 1);
    is(refresh('web', $token)->status, 200, 'none of that has used it up') or diag $t->log;

    $login = login('spa');
    is(refresh('spa', $login->{refresh_token})->status, 200, 'a public client refreshes');
    my ($code, $verifier) = $o->code(client => 'once', account => 'short');
    my $json = redeem('once', $code, $verifier)->json;
    ok($json->{expires_in} == 20 && !$json->{refresh_token}, 'a client without the grant gets none');
};

subtest 'scopes' => sub {
    my $login = login('web', scopes => 'read:tenants write:users');
    my $r = refresh('web', $login->{refresh_token}, scope => 'write:users');
    is($r->json->{scope}, 'write:users', 'fewer');
    is(said(refresh('web', $r->json->{refresh_token}, scope => 'admin')), '400 invalid_scope', 'more');
    $r = refresh('web', $r->json->{refresh_token});
    is($r->json->{scope}, 'read:tenants write:users', 'and all of them again');
};

subtest 'a wrong secret of a family' => sub {
    my $login = login('web');
    my $guess = substr($login->{refresh_token}, 0, 22) . $store->token;
    is(said(refresh('web', $guess)), '400 invalid_grant', 'refused');
    is(said(refresh('web', $login->{refresh_token})), '400 invalid_grant', 'who knows the family has had one: revoked');
};

subtest 'parallel refreshes' => sub {
    for my $round (1 .. 5) {
        my $login = login('web');
        my @r = map { $o->note($_) } OpsAuth::HTTP::parallel_requests([map {
            $o->request_of('token', 'web', grant_type => 'refresh_token', refresh_token => $login->{refresh_token})
        } 1 .. 8]);
        is(scalar(grep { $_->status == 200 } @r), 1, 'one wins') or diag join ' ', map { said($_) } @r;
        is(scalar(grep { said($_) eq '400 invalid_grant' } @r), 7, 'the others wait for their grace');
        my ($won) = grep { $_->status == 200 } @r;
        is(refresh('web', $won->json->{refresh_token})->status, 200, 'and the family stands');
    }
};

subtest 'a replayed code takes what it has become' => sub {
    my ($code, $verifier) = $o->code(account => 'short');
    my $first = redeem('web', $code, $verifier)->json;
    my $second = refresh('web', $first->{refresh_token})->json;
    is(said(redeem('web', $code, $verifier)), '400 invalid_grant', 'a replay after a refresh');
    is(said(refresh('web', $second->{refresh_token})), '400 invalid_grant', 'the family is gone');
    is(state_of($_->{access_token}), 'revoked', 'and its access tokens') for $first, $second;
};

# --- a new pepper -------------------------------------------------------------------------

subtest 'peppers' => sub {
    my ($code, $verifier) = $o->code;
    my $login = login('web');
    my $new = join '', map { ('a' .. 'f')[rand 6] } 1 .. 40;
    $store->pepper($new, @{$store->{peppers}});
    $t->reload;
    is(redeem('web', $code, $verifier)->status, 200, 'a code from before') or diag $t->log;
    my $second = refresh('web', $login->{refresh_token})->json;
    ok($second->{refresh_token}, 'a refresh token from before') or diag $t->log;
    my %family = @{$o->cmd('HGETALL', family_key($login->{refresh_token}, 1))};
    is($family{current}, $store->digest($second->{refresh_token}), 'its successor is under the new one');
    is($family{previous}, $store->digest($login->{refresh_token}, 1), 'itself under the old one');
    is(said(refresh('web', $login->{refresh_token})), '400 invalid_grant', 'a repetition');
    my $third = refresh('web', $second->{refresh_token});
    is($third->status, 200, 'harms nobody');
    is(said(refresh('web', $login->{refresh_token})), '400 invalid_grant', 'a replay');
    is(said(refresh('web', $third->json->{refresh_token})), '400 invalid_grant', 'does');
};

$t->done;
