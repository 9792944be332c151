# The command line and TLS: the same rules as the gateway's, from its block, by
# options and by the environment.

use strict;
use warnings;

use JSON::PP ();
use Test::More;
use Time::HiRes qw(sleep);

use OpsAuth::Command;
use OpsAuth::Process;
use OpsAuth::Test;

my $t = OpsAuth::Test->new;
my $pki = $t->certificates;
my $server = $pki->issue('server', ip => ['127.0.0.1'], dns => ['redis.test']);
my $client = $pki->issue('client');
my $redis = $t->redis(tls => { %$server, ca => $pki->ca });
my $store = $t->store;
my $url = $redis->url;
my @tls = ('--redis', $url, '--cacert', $pki->ca);
my $opsauth = OpsAuth::Command->new($t, OPSAUTH_PEPPER_FILE => $store->pepper_file,
    OPSAUTH_KEY_PREFIX => 'live=op365_sk_live_');

sub works {
    my ($name, @words) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($exit, $out, $err) = $opsauth->run(@words);
    is($exit, 0, $name) or diag($out, $err);
    return $out;
}

sub fails {
    my ($name, $exit, $like, @words) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($got, $out, $err) = $opsauth->run(@words);
    is($got, $exit, "$name: exit code");
    like($err, $like, "$name: says why");
    is(() = $err =~ /\n/g, 1, "$name: in one line") or diag($err);
}

subtest 'what it does' => sub {
    works('account create', qw(account create crm --name CRM --tenant org_1), @tls);
    my $key = works('key create', qw(key create --account crm --name sync --permission read), @tls);
    chomp $key;
    $t->secret($key);
    like($key, qr/^op365_sk_live_/, 'a key');
    like(works('account list', qw(account list), @tls), qr/crm/, 'the account');
    my $name = $store->name('credential', $store->digest($key));
    is($redis->cmd('HGET', $name, 'account'), 'crm', 'stands in Redis');
    works('--wait', qw(account disable crm --wait --lease 100ms), @tls);
    works('--insecure', qw(account list --redis), $url, '--insecure');
    {
        local @{$opsauth->{env}}{qw(OPSAUTH_REDIS OPSAUTH_REDIS_CACERT OPSAUTH_REDIS_SNI)} =
            ($url, $pki->ca, 'redis.test');
        like(works('the environment', qw(account list)), qr/crm/, 'the account');
    }
};

subtest 'many commands at once' => sub {
    my $n = 3000;
    my $file = $t->write_file('bulk.jsonl', join('', map {
        JSON::PP->new->canonical->encode({ type => 'account', id => "bulk-$_", enabled => JSON::PP::true, tenant => 'org' }) . "\n"
    } 1 .. $n));
    my ($exit, $out, $err) = $opsauth->run('import', $file, @tls);
    is($exit, 0, 'import') or diag(substr $err, 0, 400);
    is($redis->cmd('EXISTS', $store->name('account', "bulk-$n")), 1, 'the last one is there');
    my $export = works('export', 'export', @tls);
    cmp_ok(scalar(() = $export =~ /bulk-\d+/g), '>=', $n, 'all come back');
};

subtest 'a long value' => sub {
    my $text = 'y' x 60_000;
    $redis->cmd('HSET', $store->name('account', 'crm'), 'description', $text);
    my $shown = works('account show', qw(account show crm --json), @tls);
    like($shown, qr/y{60000}/, 'of several records of TLS');
};

subtest 'audit, as it happens' => sub {
    my $out = $t->dir . '/follow';
    my $pid = OpsAuth::Process->spawn(name => 'audit', command => [$opsauth->path, qw(audit --follow), @tls],
        env => { $opsauth->env }, stdout => $out, stderr => "$out.err");
    sleep 0.5;
    works('a change', qw(account enable crm), @tls);
    ok(OpsAuth::Process->poll(10, sub { ($t->read_file('follow') // '') =~ /account.*enable/ }), 'is shown')
        or diag($t->read_file('follow'), $t->read_file('follow.err'));
    OpsAuth::Process->stop($pid, 'INT');
};

subtest 'whom it does not trust' => sub {
    my @list = qw(account list --redis);
    fails('an unknown CA', 1, qr/certificate that can't be trusted \(\d+: [^)]*\); --cacert FILE/, @list, $url);
    fails('another name', 1, qr/certificate that is not for "other\.test": .*--sni NAME/,
        qw(account list --sni other.test), @tls);
    fails('another address', 1, qr/certificate that is not for "127\.0\.0\.9"/,
        qw(account list --sni 127.0.0.9), @tls);
    works('the name in it', qw(account list --sni redis.test), @tls);
    fails('a plain port', 1, qr/does not answer the TLS handshake in time.*redis:/,
        qw(account list --timeout 1s --cacert), $pki->ca, '--redis', 'rediss://127.0.0.1:' . $redis->port);
    fails('a TLS port', 1, qr/if it speaks TLS on this port, give rediss:/, @list, $url =~ s/^rediss/redis/r);

    my $fake = $t->fake_redis(name => 'FAKE', script => { ACCEPT => '-DENIED protected' });
    fails('a plain server that speaks', 1, qr/it does not speak TLS on this port/,
        qw(account list --cacert), $pki->ca, '--redis', 'rediss://' . $fake->address);
};

subtest 'mistakes' => sub {
    my @list = qw(account list);
    my @plain = ('--redis', 'redis://127.0.0.1:' . $redis->port);
    fails('a plain address', 2, qr/--cacert is for TLS, and the address .* is not: give rediss:/,
        @list, @plain, '--cacert', $pki->ca);
    my ($exit, undef, $err) = $opsauth->run(@list, @plain, '--key', 'op365_sk_live_secret');
    is($exit, 2, '--key is no credential');
    unlike($err, qr/op365_sk_live_secret/, 'and not shown');
    fails('no such CA', 1, qr/the CA of Redis' certificate "\/nowhere" \(--cacert\) can't be used: No such file/,
        @list, '--redis', $url, '--cacert', '/nowhere');
    fails('no CA', 1, qr/can't be used: /, @list, '--redis', $url, '--cacert', $t->write_file('text', "x\n"));
    fails('no key', 2, qr/go together/, @list, @tls, '--cert', $client->{cert});
    fails("another's key", 1, qr/the key for Redis .* can't be used/, @list, @tls,
        '--cert', $client->{cert}, '--key', $server->{key});
    chmod 0644, $client->{key};
    fails('a key that others may read', 1, qr/client\.key/, @list, @tls,
        '--cert', $client->{cert}, '--key', $client->{key});
    chmod 0600, $client->{key};
};

sub conf {
    my ($name, $address, $directives) = @_;
    return $t->write_file($name, <<"CONF");
http {
    opsauth_store main {
        redis $address;
        pepper_file @{[$store->pepper_file]};
        $directives
        key_prefix op365_sk_live_ environment=live checksum=crc32;
    }
}
CONF
}

for my $version ('TLSv1.2', 'TLSv1.3') {
    subtest "client certificates, $version" => sub {
        my $strict = $t->redis(name => 'STRICT', tls => {
            %$server, ca => $pki->ca, auth => 'yes', protocols => $version });
        my @strict = ('--redis', $strict->url, '--cacert', $pki->ca);
        fails('none', 1, qr/client certificate/, qw(account list), @strict);
        works('ours', qw(account list), @strict, '--cert', $client->{cert}, '--key', $client->{key});

        my $locked = $pki->issue("locked-$version", password => 'sesame');
        my $words = $t->write_file("words-$version", "no\nsesame\n", 0600);
        my $identity = "redis_ssl_trusted_certificate @{[$pki->ca]}; redis_ssl_certificate $locked->{cert};"
            . " redis_ssl_certificate_key $locked->{key};";
        works('a key with a password, of the block', qw(account list -c),
            conf("a-$version.conf", $strict->url, "$identity redis_ssl_password_file $words;"
                . ' redis_ssl_protocols TLSv1.2 TLSv1.3; redis_ssl_ciphers HIGH; redis_ssl_verify_depth 1;'));
        fails('without it', 1, qr/the key for Redis .* can't be used/, qw(account list -c),
            conf("b-$version.conf", $strict->url, $identity));
        my $else = $version eq 'TLSv1.2' ? 'TLSv1.3' : 'TLSv1.2';
        fails('another version', 1, qr/and TLS: .*(?:protocol|version)/, qw(account list -c),
            conf("c-$version.conf", $strict->url,
                "$identity redis_ssl_password_file $words; redis_ssl_protocols $else;"));
    };
}

sub doctor {
    my ($conf) = @_;
    my (undef, $out, $err) = $opsauth->run(qw(doctor --json -c), $conf);
    my $report = eval { JSON::PP::decode_json($out) } or diag($out, $err);
    return { map { $_->{check} => $_ } @{$report->{checks}} };
}

subtest 'doctor' => sub {
    my $ca = "redis_ssl_trusted_certificate @{[$pki->ca]};";
    my $all = doctor(conf('doctor.conf', $url, $ca));
    is($all->{connection}{result}, 'ok', 'the connection');
    like($all->{TLS}{text}, qr/^TLSv1\.3, /, 'the protocol');
    is($all->{TLS}{result}, 'ok', 'is fine');
    is($all->{trust}{result}, 'ok', 'so is the chain');
    is($all->{certificate}{result}, 'ok', 'and the certificate');
    like($all->{certificate}{text}, qr/CN=server.*Test CA.* expires in (?:29|30) days/, 'which it names');
    is($all->{tracking}{result}, 'ok', 'the feed');
    is($all->{channel}{result}, 'ok', 'the channel');

    $all = doctor(conf('doctor.conf', $url, ''));
    is($all->{connection}{result}, 'failure', 'an unknown CA');
    like($all->{connection}{text}, qr/can't be trusted/, 'is told');

    $all = doctor(conf('doctor.conf', $url, 'redis_ssl_verify off;'));
    is($all->{trust}{result}, 'warning', 'verification is off');
    like($all->{trust}{text}, qr/would not be accepted: /, 'and would not succeed');

    my $soon = $t->redis(name => 'SOON', tls => {
        %{$pki->issue('soon', ip => ['127.0.0.1'], to => 5.5 * 86_400)}, ca => $pki->ca });
    $all = doctor(conf('doctor.conf', $soon->url, $ca));
    is($all->{certificate}{result}, 'warning', 'one that expires soon');
    like($all->{certificate}{text}, qr/expires in 5 days/, 'and when');

    my $old = $t->redis(name => 'OLD', tls => {
        %{$pki->issue('old', ip => ['127.0.0.1'], from => -7200, to => -3600)}, ca => $pki->ca });
    $all = doctor(conf('doctor.conf', $old->url, $ca));
    like($all->{connection}{text}, qr/certificate has expired/, 'one that has');
};

$_->stop for @{$t->{servers}};
$t->{finished} = 1;
$t->_remove;
done_testing();
