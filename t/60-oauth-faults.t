#!/usr/bin/perl

# The token service when something is wrong around it: Redis is gone, slow, empty
# or answers strangely; the client goes away; nginx is reloaded meanwhile.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep);

use OpsAuth::HTTP;
use OpsAuth::OAuth;
use OpsAuth::Process;
use OpsAuth::Test;

*said = \&OpsAuth::OAuth::said;

my @GRANT = (grant_type => 'client_credentials');
my $DOWN = '503 temporarily_unavailable';

sub down {
    my ($name, $r) = @_;
    is(said($r), $DOWN, $name) or diag $r->error;
    like($r->header('Retry-After') // '', qr/^[123]$/, "$name: Retry-After");
    is($r->header('Cache-Control'), 'no-store', "$name: no-store");
}

subtest 'a real Redis' => sub {
    my $t = OpsAuth::Test->new;
    my $redis = $t->redis;
    my $store = $t->store(redis => $redis);
    my $o = OpsAuth::OAuth->new(t => $t, store => $store);
    my $set_up = sub {
        $store->account('acme');
        $o->client('app');
        $o->client('rs', grants => '', introspect => 1, scopes => undef);
    };
    $set_up->();
    $t->config_http($o->conf =~ s/redis_timeout 5s/redis_timeout 400ms/r);
    $t->start;
    is($o->post('token', { client => 'app' }, @GRANT)->status, 200, 'it works');

    # --- the store was never set up, or came up empty
    $redis->cmd('DEL', $o->name('meta'));
    is($o->post('token', { client => 'app' }, @GRANT)->status, 200, 'no marker: a client that is there is known');
    down('no marker: an unknown one', $o->post('token', { client => 'nobody', secret => 'x' }, @GRANT));
    $store->marker;
    is(said($o->post('token', { client => 'nobody', secret => 'x' }, @GRANT)), '401 invalid_client', 'with the marker');

    # --- its scripts are gone
    $redis->cmd('SCRIPT', 'FLUSH');
    is($o->post('token', { client => 'app' }, @GRANT)->status, 200, 'scripts are sent anew');

    # --- it hangs
    $redis->pause;
    down('it hangs', $o->post('token', { client => 'app' }, @GRANT));
    down("at $_", $o->post($_, { client => 'app' }, token => 'x')) for qw(revoke introspect);
    $redis->resume;
    ok(OpsAuth::Process->poll(10, sub { $o->post('token', { client => 'app' }, @GRANT)->status == 200 }), 'it goes on');

    # --- it is gone
    $t->allow_log(qr/\[crit\]/);
    $redis->stop;
    down('it is gone', $o->post('token', { client => 'app' }, @GRANT));
    is($t->get('/.well-known/oauth-authorization-server')->status, 200, 'which documents don\'t mind');
    is(said($o->post('token', { client => 'app' }, grant_type => 'x')), $DOWN, 'nobody can say what is wrong');
    $redis->start;
    down('it came up empty', do {
        OpsAuth::Process->poll(10, sub { $redis->clients > 0 || do { $o->post('token', { client => 'app' }, @GRANT); 0 } });
        $o->post('token', { client => 'app' }, @GRANT);
    });
    $set_up->();
    $store->marker;
    ok(OpsAuth::Process->poll(10, sub { $o->post('token', { client => 'app' }, @GRANT)->status == 200 }), 'it is set up again');

    # --- it takes no writes
    $redis->cmd('CONFIG', 'SET', 'maxmemory', 1, 'maxmemory-policy', 'noeviction');
    down('it takes no writes', $o->post('token', { client => 'app' }, @GRANT));
    $redis->cmd('CONFIG', 'SET', 'maxmemory', 0);
    is($o->post('token', { client => 'app' }, @GRANT)->status, 200, 'it does again');

    # --- wrong types
    $redis->cmd('DEL', $o->name('client', 'app'));
    $redis->cmd('SET', $o->name('client', 'app'), 'x');
    down('a client that is no hash', $o->post('token', { client => 'app' }, @GRANT));
    $redis->cmd('DEL', $o->name('client', 'app'));
    $t->finish;
};

subtest 'with no more rights than the documentation gives' => sub {
    my $t = OpsAuth::Test->new;
    my $password = join '', map { ('a' .. 'z')[rand 26] } 1 .. 24;
    my ($rights) = OpsAuth::Nginx::_read($t->root . '/docs/redis.md') =~ /ACL SETUSER issuer on >PASSWORD (.+)/;
    ok($rights, 'it gives them') or return;
    my $redis = $t->redis(acl => ['user default on nopass ~* &* +@all', "user issuer on >$password $rights"]);
    $t->secret($password);
    my $file = $t->write_file('password', $password, 0600);
    my $store = $t->store(redis => $redis);
    my $o = OpsAuth::OAuth->new(t => $t, store => $store);
    $store->account('acme', refresh => 1);
    $o->client('web', grants => 'authorization_code refresh_token client_credentials', introspect => 1,
        redirect_uris => 'https://app.test/cb');
    $t->config_http($o->conf(store => "redis_user issuer; redis_password_file $file;"));
    $t->start;
    my ($code, $verifier) = $o->code;
    my @redeem = (grant_type => 'authorization_code', code => $code, code_verifier => $verifier,
        redirect_uri => 'https://app.test/cb');
    my $login = $o->post('token', { client => 'web' }, @redeem)->json;
    ok($login->{refresh_token}, 'a code') or diag $t->log;
    $login = $o->post('token', { client => 'web' }, grant_type => 'refresh_token',
        refresh_token => $login->{refresh_token})->json;
    ok($login->{refresh_token}, 'a refresh token') or diag $t->log;
    is($o->post('token', { client => 'web' }, @GRANT)->status, 200, 'client credentials');
    ok($o->post('introspect', { client => 'web' }, token => $login->{access_token})->json->{active}, 'introspection');
    is($o->post('revoke', { client => 'web' }, token => $login->{refresh_token})->status, 200, 'revocation');
    is(said($o->post('token', { client => 'web' }, @redeem)), '400 invalid_grant', 'a replay');
    $t->finish;
};

subtest 'while it waits' => sub {
    my $t = OpsAuth::Test->new(workers => 2);
    my $redis = $t->redis;
    my $store = $t->store(redis => $redis);
    my $o = OpsAuth::OAuth->new(t => $t, store => $store);
    $store->account('acme');
    $o->client('app');
    $t->config_http($o->conf =~ s/redis_timeout 5s/redis_timeout 20s/r);
    $t->start;

    my @headers = (OpsAuth::OAuth::basic('app', $o->secret_of('app')), ['Content-Type' => 'application/x-www-form-urlencoded']);
    my @request = ('POST', '/oauth/token', headers => \@headers, body => OpsAuth::OAuth::form(@GRANT));
    is($o->note($t->connect->request(@request))->status, 200, 'it works') for 1 .. 4;

    my $fds = sub { my $n = 0; $n += $t->fd_count($_) for $t->workers; return $n };
    my $mark = $t->mark;
    my $before = $t->settled_fds;
    $redis->pause;
    my @gone = map { $t->connect } 1 .. 20;
    $_->write_request(@request) for @gone;
    sleep 0.2;
    $gone[$_]->reset for 0 .. 9;
    $gone[$_]->close for 10 .. 19;
    ok($t->wait_for_log(qr/client prematurely closed connection/, since => $mark), 'clients that go away are noticed');
    my @stay = map { $t->connect } 1 .. 5;
    $_->write_request(@request) for @stay;
    my $half = $t->connect;                     # half a body
    $half->send(substr OpsAuth::HTTP::build_request(@request), 0, -5);
    ok(OpsAuth::Process->poll(10, sub { (() = $t->log_since($mark) =~ /prematurely closed/g) >= 20 }), 'all twenty');
    $redis->resume;
    is($o->note($_->read_response(method => 'POST'))->status, 200, 'who stays gets an answer') for @stay;
    $_->close for @stay, $half;
    ok(OpsAuth::Process->poll(10, sub { $fds->() <= $before + 4 }), 'no descriptor is left') or diag $before, ' ', $fds->();
    is($o->note($t->connect->request(@request))->status, 200, 'it works on');

    # --- a reload meanwhile
    $redis->pause;
    @stay = map { $t->connect } 1 .. 6;
    $_->write_request(@request) for @stay;
    sleep 0.2;
    $t->reload(wait => 0);
    sleep 0.3;
    $redis->resume;
    my @r = map { $o->note($_->read_response(method => 'POST')) } @stay;
    is(join(' ', map { $_->status } @r), join(' ', (200) x 6), 'a reload takes no answer away') or diag $t->log_since($mark);
    ok(OpsAuth::Process->poll(10, sub { $t->workers == 2 }), 'and the old workers end');
    is($o->note($t->connect->request(@request))->status, 200, 'the new ones work');

    # --- a worker is killed
    $t->kill9_worker;
    is($o->note($t->connect->request(@request))->status, 200, 'after a worker was killed') for 1 .. 4;
    $t->finish;
};

subtest 'strange answers' => sub {
    my $t = OpsAuth::Test->new;
    my $fake = $t->fake_redis;
    my $store = $t->store(redis => $fake);
    my $o = OpsAuth::OAuth->new(t => $t, store => $store);
    $store->account('acme');
    $o->client('app');
    $t->config_http($o->conf =~ s/redis_timeout 5s/redis_timeout 1s/r);
    $t->allow_log(qr/\[crit\]/);
    $t->start;
    # the fake knows no scripts: what it says to them is what the test says
    my $ok = "*1\r\n\$2\r\nok";
    $fake->script(EVALSHA => $ok, EVAL => $ok, ZADD => ':1', ZREMRANGEBYSCORE => ':0');
    my $r = $o->post('token', { client => 'app' }, @GRANT);
    is($r->status, 200, 'ok') or diag $t->log;
    my @strange = (['nil', 'nil'], ['a number', ':1'], ['an empty list', '*0'], ['a list of lists', "*1\r\n*1\r\n\$2\r\nok"],
        ['another word', "*1\r\n\$5\r\nmaybe"], ['a status', '+ok'], ['a list with nil', "*1\r\n\$-1"],
        ['an error', '-ERR no'], ['NOPERM', '-NOPERM no'], ['READONLY', '-READONLY no'], ['OOM', '-OOM no'],
        ['BUSY', '-BUSY no'], ['LOADING', '-LOADING no'], ['MOVED', '-MOVED 1 127.0.0.1:1'], ['a close', 'close']);
    for my $case (@strange) {
        my ($name, $reply) = @$case;
        $fake->script(EVALSHA => $reply, EVAL => $reply);
        is(said($o->post('token', { client => 'app' }, @GRANT)), $DOWN, $name);
        $fake->script(EVALSHA => $ok, EVAL => $ok);
        ok(OpsAuth::Process->poll(10, sub { $o->post('token', { client => 'app' }, @GRANT)->status == 200 }),
            "$name: it works on") or diag $t->log;
    }
    $fake->script('HMGET opsauth:account:acme' => "*2\r\n\$1\r\n1\r\n\$-1");
    is(said($o->post('token', { client => 'app' }, @GRANT)), '200', 'a short list is what it says: no limits');
    $fake->script('HMGET opsauth:account:acme' => ':1');
    is(said($o->post('token', { client => 'app' }, @GRANT)), '400 unauthorized_client', 'no list is no account');
    $fake->script('HMGET opsauth:client:app' => '*0');
    is(said($o->post('token', { client => 'app' }, @GRANT)), '401 invalid_client', 'an empty one no client');
    $t->finish;
};

SKIP: {
    my ($nghttp) = grep { -x } map { "$_/nghttp" } split /:/, $ENV{PATH};
    skip 'no nghttp', 1 unless $nghttp;
    subtest 'HTTP/2' => sub {
        my $t = OpsAuth::Test->new;
        my $store = $t->store;
        my $o = OpsAuth::OAuth->new(t => $t, store => $store);
        $store->account('acme');
        $o->client('app');
        $t->config_http($o->conf(listen => 'http2'));
        $t->start;
        my ($name, $value) = @{OpsAuth::OAuth::basic('app', $o->secret_of('app'))};
        my $send = sub {
            my ($body, @more) = @_;
            my $file = $t->write_file('form', $body);
            open my $out, '-|', $nghttp, '-v', '--no-dep', '-d', $file, @more,
                '-H', "$name: $value", '-H', 'content-type: application/x-www-form-urlencoded',
                'http://127.0.0.1:' . $t->port(8080) . '/oauth/token' or die "nghttp: $!";
            local $/;
            my $text = <$out>;
            close $out;
            my ($token) = $text =~ /"access_token":"(\w+)"/;
            $t->secret($token) if $token;
            return $text;
        };
        my $form = OpsAuth::OAuth::form(@GRANT);
        like($send->($form), qr/:status: 200.*"access_token":"\w{43}"/s, 'a token');
        like($send->($form, '--no-content-length'), qr/:status: 200.*"access_token":"\w{43}"/s, 'of a body of unknown length');
        like($send->($form . '&x=' . 'y' x 16000, '--no-content-length'), qr/:status: 200/, 'a large one');
        like($send->($form . '&x=' . 'y' x 40000), qr/:status: 413/, 'one that is too large');
        like($send->($form . '&x=' . 'y' x 400000, '--no-content-length'), qr/:status: 413/, 'of unknown length, too');
        like($send->('grant_type=x'), qr/:status: 400.*unsupported_grant_type/s, 'an error');
        unlike($t->log, qr/buffered to a temporary file/, 'none went to a file');
        $t->finish;
    };
}

subtest 'a client that takes its answer slowly' => sub {
    my $t = OpsAuth::Test->new(workers => 1);
    my $store = $t->store;
    my $o = OpsAuth::OAuth->new(t => $t, store => $store);
    $store->account('acme');
    $o->client('app');
    $o->client('web', grants => 'authorization_code', redirect_uris => 'https://app.test/cb');
    $t->config_http($o->conf(token => 'limit_rate 300;', server => '
        location = /slow/metadata { limit_rate 300; opsauth_oauth metadata; }
        location = /slow/authorize { limit_rate 2k; opsauth_oauth_subject $http_x_user; opsauth_oauth authorize; }'));
    $t->start;
    is($o->post('token', { client => 'app' }, @GRANT)->status, 200, 'a token');
    is(said($o->post('token', { client => 'app', secret => 'x' }, @GRANT)), '401 invalid_client', 'an error');
    is($t->get('/slow/metadata')->status, 200, 'a document');
    my $uri = '/slow/authorize?response_type=code&client_id=web&code_challenge_method=S256&code_challenge=' . 'A' x 43;
    my $page = $t->get($uri, headers => [['X-User', 'alice']]);
    like($page->body, qr{</html>}, 'a page') or diag $page->error;
    is($t->request('HEAD', $uri, headers => [['X-User', 'alice']])->status, 200, 'a header');
    $t->finish;
};

done_testing();
