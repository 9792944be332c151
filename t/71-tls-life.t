# TLS to Redis, over time: connections that are lost and come back, sessions,
# passwords and certificates that change, what is slow, reload under load; and
# what nginx -t says about redis_ssl_*.

use strict;
use warnings;

use File::Copy qw(copy);
use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::Process;
use OpsAuth::Test;

my $CONF = <<'CONF';
    opsauth_store main {
        redis %%URL%%; pepper_file %%PEPPER%%; %%EXTRA%%
        redis_ssl_trusted_certificate %%CA%%;
        key_prefix op365_sk_live_ environment=live checksum=crc32;
    }
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        location / {
            opsauth main;
            add_header X-Tenant $opsauth_tenant;
            add_header X-Cache $opsauth_cache always;
            try_files /none =204;
        }
    }
CONF

# proxy => options: a proxy in between; redis, tls => options; extra => directives
sub gateway {
    my (%o) = @_;
    my $t = OpsAuth::Test->new(workers => $o{workers} // 1);
    my $pki = $t->certificates;
    my $redis = $t->redis(%{$o{redis} // {}},
        tls => { %{$pki->issue('server', ip => ['127.0.0.1'])}, ca => $pki->ca, %{$o{tls} // {}} });
    my $store = $t->store;
    $store->account('crm', tenant => 'v1');
    my $proxy = $o{proxy}
        && $t->proxy(to => '127.0.0.1:' . $redis->tls_port, %{$o{proxy}});
    $t->var(URL => $proxy ? 'rediss://' . $proxy->address : $redis->url);
    my $extra = $o{extra} // 'redis_connect_timeout 2s; redis_timeout 2s;';
    $t->var(EXTRA => ref $extra ? $extra->($t, $pki) : $extra);
    $t->config_http($CONF);
    $t->start;
    return ($t, $redis, $store, $store->issue(account => 'crm'), $proxy, $pki);
}

sub comes_back {
    my ($t, $key, $name) = @_;
    ok(OpsAuth::Process->poll(15, sub { $t->get('/', key => $key)->status == 204 }), $name);
}

for my $version ('TLSv1.2', 'TLSv1.3') {
    for my $reuse ('on', 'off') {
        subtest "$version, redis_ssl_session_reuse $reuse" => sub {
            my ($t, $redis, $store, $key, $proxy) = gateway(
                tls => { protocols => $version }, proxy => {},
                extra => "redis_connect_timeout 2s; redis_timeout 2s; lease 60s; redis_ssl_session_reuse $reuse;");
            $t->wait_for_log(qr/tracking/);
            is($t->get('/', key => $key)->status, 204, 'a lookup');
            my ($full, $resumed) = $proxy->handshakes;
            is("$full $resumed", '2 0', 'two full handshakes: connection and feed');

            for my $round (1 .. 3) {
                $redis->cmd(qw(CLIENT KILL TYPE normal SKIPME yes));
                comes_back($t, $store->issue(account => 'crm'), "back after loss $round");
            }
            my ($after, $again) = $proxy->handshakes;
            if ($reuse eq 'on') {
                is($after, 2, 'no other full handshake');
                cmp_ok($again, '>=', 3, "but sessions that were taken up again");
                like($t->log, qr/\Q$version\E, \S+, session reused/, 'and the log says so');
            }
            else {
                is($again, 0, 'no session is taken up');
                cmp_ok($after, '>=', 5, 'all handshakes are full ones');
                unlike($t->log, qr/session reused/, 'nor does the log say so');
            }
            $t->finish;
        };
    }
}

subtest 'a server that dies and comes back' => sub {
    my ($t, $redis, $store, $key) = gateway();
    is($t->get('/', key => $key)->status, 204, 'a lookup');
    $redis->kill;
    is($t->get('/', key => $store->key)->status, 503, 'without Redis, 503');
    ok($t->wait_for_log(qr/: redis "[^"]*" of store "main" is down/), 'a line says so');
    $redis->start;
    $store->marker;
    $store->account('crm', tenant => 'v2');
    comes_back($t, $store->issue(account => 'crm'), 'it comes back');
    ok($t->wait_for_log(qr/: redis "[^"]*" of store "main" is back/), 'and a line says so');
    $t->finish;
};

subtest 'a certificate that expires while nginx runs' => sub {
    my ($t, $redis, $store, $key, undef, $pki) = gateway(
        extra => 'redis_ssl_session_reuse off; redis_connect_timeout 2s; redis_timeout 2s;');
    $t->allow_log(qr/can't be trusted \(10:/);
    is($t->get('/', key => $key)->status, 204, 'a lookup');
    my $old = $pki->issue('old', ip => ['127.0.0.1'], from => -7200, to => -3600);
    $redis->{tls}{$_} = $old->{$_} for qw(cert key);
    $redis->restart(keep => 1);
    is($t->get('/', key => $store->key)->status, 503, 'nobody is let in');
    ok($t->wait_for_log(qr/can't be trusted \(10: [^\n]*renew/), 'the reason is logged, whatever was before');
    my $new = $pki->issue('new', ip => ['127.0.0.1']);
    $redis->{tls}{$_} = $new->{$_} for qw(cert key);
    $redis->restart(keep => 1);
    comes_back($t, $store->issue(account => 'crm'), 'until it is renewed');
    $t->finish;
};

subtest 'a password that changes' => sub {
    my $file;
    my ($t, $redis, $store, $key) = gateway(
        redis => { password => 'first-' . time, },
        extra => sub {
            my ($t) = @_;
            my ($secret) = grep { /^first-/ } keys %{$t->{secrets}};
            $file = $t->write_file('redis.password', "$secret\n", 0600);
            return "redis_password_file $file; redis_connect_timeout 2s; redis_timeout 2s;";
        });
    is($t->get('/', key => $key)->status, 204, 'a lookup');
    my $second = 'second-' . time;
    $t->secret($second);
    $t->write_file('redis.password', "$second\n", 0600);
    $redis->cmd(qw(CONFIG SET requirepass), $second);
    $redis->cmd(qw(CLIENT KILL TYPE normal SKIPME yes));
    my $new = $store->issue(account => 'crm');
    comes_back($t, $new, 'the file is read at the next connection');
    $redis->{password} = $second;
    $t->finish;
};

subtest 'records in pieces' => sub {
    my ($t, $redis, $store, $key, $proxy) = gateway(proxy => { chop => 7 },
        extra => 'redis_connect_timeout 10s; redis_timeout 10s; lease 60s; cache_valid 10m;');
    ok($t->wait_for_log(qr/tracking/), 'the feed');
    my @keys = map { $store->issue(account => 'crm') } 1 .. 20;
    my %status;
    $status{$_->status}++ for OpsAuth::HTTP::parallel_requests(
        [map { [$t->port(8080), 'GET', '/', key => $_] } @keys], concurrency => 20);
    is_deeply(\%status, { 204 => 20 }, 'seven bytes at a time: all are answered');
    $store->revoke($keys[0]);
    ok(OpsAuth::Process->poll(10, sub { $t->get('/', key => $keys[0])->status == 401 }),
        'and a revocation arrives');
    $t->finish;
};

subtest 'replies of many records' => sub {
    my ($t, $redis, $store) = gateway();
    # each of them is longer than a TLS record, and no account that is valid
    my @long = map { 'x' x 20_000 . $_ } 1 .. 30;
    my @keys = map { $store->issue(account => 'crm', scopes => $_) } @long;
    my $good = $store->issue(account => 'crm');
    my %status;
    $status{$_->status}++ for OpsAuth::HTTP::parallel_requests(
        [map { [$t->port(8080), 'GET', '/', key => $_] } @keys, ($good) x 5], concurrency => 35);
    is($status{204}, 5, 'what stands behind them is understood');
    is(($status{503} // 0) + ($status{401} // 0) + ($status{403} // 0), 30, 'they are refused') or diag explain \%status;
    is($redis->clients, 1, 'on one connection');
    is(scalar(() = $t->log =~ /: redis "[^"]*": TLSv/g), 2, 'that was never lost');
    $t->finish;
};

subtest 'a server that never answers' => sub {
    my ($t, $redis, $store, $key) = gateway(proxy => { silent => 1 }, extra => 'redis_connect_timeout 300ms;');
    my $start = time;
    is($t->get('/', key => $key)->status, 503, 'unavailable');
    cmp_ok(time - $start, '>=', 0.25, 'after the time for connecting');
    ok($t->wait_for_log(qr/: redis "[^"]*" of store "main" is down: it does not answer the TLS handshake/),
        'and the log says why');
    $t->finish;
};

subtest 'a quit while hands are shaken' => sub {
    my ($t, $redis, $store, $key) = gateway(workers => 2, proxy => { silent => 1 },
        extra => 'redis_connect_timeout 3s;');
    my $c = $t->connect;
    $c->write_request('GET', '/', key => $key);
    sleep 0.2;
    $t->reload;
    is($c->read_response(timeout => 10)->status, 503, 'the request is answered');
    $t->finish;
};

subtest 'reload under load, with a new client certificate' => sub {
    my ($client, @issued);
    my ($t, $redis, $store, $key, undef, $pki) = gateway(workers => 2, tls => { auth => 'yes' },
        extra => sub {
            my ($t, $pki) = @_;
            @issued = map { $pki->issue("client$_") } 1 .. 2;
            $client = { map { $_ => $t->dir . "/client.$_" } qw(cert key) };
            copy($issued[0]{$_}, $client->{$_}) or die $! for qw(cert key);
            chmod 0600, $client->{key};
            return "redis_ssl_certificate $client->{cert}; redis_ssl_certificate_key $client->{key};"
                . ' redis_connect_timeout 5s; redis_timeout 5s; lease 2s;';
        });
    $t->{own}{$_} = 1 for values %$client;
    is($t->get('/', key => $key)->status, 204, 'a lookup');
    ok(OpsAuth::Process->poll(20, sub { $t->get('/', key => $key)->header('X-Cache') eq 'hit' }), 'which is cached');
    my $load = $t->load(key => $key, clients => 2);
    for my $round (1 .. 3) {
        copy($issued[$round % 2]{$_}, $client->{$_}) or die $! for qw(cert key);
        $t->reload;
        sleep 0.3;
    }
    my $result = $load->stop;
    is($result->{status}{204}, $result->{requests}, 'every request was answered') or diag explain $result;
    is($t->get('/', key => $key)->header('X-Cache'), 'hit', 'the cache is the same');
    $t->finish;
};

subtest 'what nginx -t says' => sub {
    my $t = OpsAuth::Test->new;
    my $pki = $t->certificates;
    my $pepper = $t->write_file('pepper', 'ab' x 32 . "\n", 0600);
    my $good = $pki->issue('client');
    my $other = $pki->issue('other');
    my $locked = $pki->issue('locked', password => 'sesame');
    my $text = $t->write_file('text', "no certificate\n", 0600);
    my $open = $t->write_file('open.key', "x\n", 0644);
    my $check = sub {
        my ($url, $directives) = @_;
        return $t->config_error("opsauth_store main { redis $url; pepper_file $pepper; $directives }");
    };
    my $tls = 'rediss://127.0.0.1:6380';
    my $id = "redis_ssl_certificate $good->{cert}; redis_ssl_certificate_key";

    is($check->($tls, ''), '', 'rediss:// alone');
    is($check->($tls, 'redis_ssl_trusted_certificate ' . $pki->ca . "; $id $good->{key}; redis_ssl_name r.test;"
        . ' redis_ssl_verify on; redis_ssl_verify_depth 2; redis_ssl_protocols TLSv1.2 TLSv1.3;'
        . ' redis_ssl_ciphers HIGH; redis_ssl_session_reuse off;'), '', 'all of it');
    is($check->('rediss://[::1]:6380/3', ''), '', 'IPv6');

    my %wrong = (
        'redis_ssl_name x' => qr/"redis_ssl_name" in "opsauth_store main" is for TLS, and "redis redis:[^"]*" is not: write rediss:/,
        'redis_ssl_verify off' => qr/"redis_ssl_verify" .*is for TLS/,
        'redis_ssl_protocols TLSv1.3' => qr/"redis_ssl_protocols" .*is for TLS/,
        'redis_ssl_session_reuse off' => qr/"redis_ssl_session_reuse" .*is for TLS/,
        "redis_ssl_trusted_certificate $text" => qr/"redis_ssl_trusted_certificate" .*is for TLS/,
    );
    like($check->('redis://127.0.0.1:6379', "$_;"), $wrong{$_}, "plain: $_") for sort keys %wrong;
    like($check->('unix:/run/redis.sock', 'redis_ssl_verify on;'), qr/is for TLS/, 'a unix socket');

    %wrong = (
        'redis_ssl_trusted_certificate /nowhere' => qr/"redis_ssl_trusted_certificate \/nowhere" can't be opened \(2:/,
        "redis_ssl_trusted_certificate $text" => qr/"redis_ssl_trusted_certificate \Q$text\E" can't be used: certificates of CAs in PEM/,
        "redis_ssl_trusted_certificate $pki->{dir}" => qr/must be a file/,
        "redis_ssl_certificate $good->{cert}" => qr/"redis_ssl_certificate" and "redis_ssl_certificate_key" .* go together/,
        "redis_ssl_certificate_key $good->{key}" => qr/go together/,
        "$id /nowhere" => qr/"redis_ssl_certificate_key \/nowhere" can't be opened/,
        "$id $other->{key}" => qr/"redis_ssl_certificate \S+" with "redis_ssl_certificate_key \S+" can't be used/,
        "$id $text" => qr/can't be used/,
        "$id $open" => qr/"redis_ssl_certificate_key \S+" has mode 0644: .*chmod 600/,
        "redis_ssl_certificate $locked->{cert}; redis_ssl_certificate_key $locked->{key}; redis_ssl_password_file $text"
            => qr/can't be used/,
        'redis_ssl_password_file /nowhere' => qr/"redis_ssl_password_file \/nowhere" can't be opened/,
        'redis_ssl_ciphers NONSENSE' => qr/invalid "redis_ssl_ciphers NONSENSE"/,
        'redis_ssl_protocols SSLv3' => qr/invalid value "SSLv3" in "redis_ssl_protocols": one of "TLSv1", .*"TLSv1.3" is expected/,
        'redis_ssl_name ""' => qr/invalid value "" in "redis_ssl_name"/,
        'redis_ssl_name a; redis_ssl_name b' => qr/"redis_ssl_name" directive is duplicate/,
        'redis_ssl_verify on; redis_ssl_verify on' => qr/"redis_ssl_verify" directive is duplicate/,
        'redis_ssl_name' => qr/invalid number of arguments/,
        'redis_ssl_verify maybe' => qr/it must be "on" or "off"/,
        'redis_ssl_verify_depth -1' => qr/invalid value "-1" in "redis_ssl_verify_depth": a number from 0 to 100/,
    );
    for my $directives (sort keys %wrong) {
        my $error = $check->($tls, "$directives;");
        like($error, $wrong{$directives}, $directives =~ s/\S+\///gr);
        unlike($error, qr/sesame/, 'and no password');
    }
    my ($exit, $output) = $t->nginx_t($t->http_text(
        "opsauth_store main { redis $tls; pepper_file $pepper; redis_ssl_verify off; }"));
    is($exit, 0, 'no verification is allowed');
    like($output, qr/\[warn\][^\n]* "redis_ssl_verify off" in "opsauth_store main"/, 'with a warning');
    $t->{finished} = 1;
    $t->_remove;
};

done_testing();
