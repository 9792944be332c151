# TLS to Redis: a real redis-server with certificates of the test's own, on the
# command connection and on the feed.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use OpsAuth::Process;
use OpsAuth::Test;

my $CONF = <<'CONF';
    opsauth_store main {
        redis %%URL%%; pepper_file %%PEPPER%%; %%EXTRA%%
        redis_connect_timeout 2s; redis_timeout 2s;
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

# A gateway before a Redis with this certificate.
# cert  sub ($pki) that issues the server's; auth, protocols as OpsAuth::Redis
# extra sub ($t, $pki) or text: directives; url sub ($redis)
sub gateway {
    my (%o) = @_;
    my $t = OpsAuth::Test->new(workers => $o{workers} // 1);
    my $pki = $t->certificates;
    my $cert = $o{cert} ? $o{cert}->($pki) : $pki->issue('server', ip => ['127.0.0.1']);
    my $redis = $t->redis(
        %{$o{redis} // {}},
        tls => { %$cert, ca => $pki->ca, auth => $o{auth}, protocols => $o{protocols} });
    my $store = $t->store;
    $store->account('crm', tenant => 'v1');
    my $extra = $o{extra} // 'redis_ssl_trusted_certificate %%CA%%;';
    $extra = $extra->($t, $pki) if ref $extra;
    $t->var(URL => $o{url} ? $o{url}->($redis, $t) : $redis->url);
    $t->var(EXTRA => $extra =~ s/%%CA%%/$pki->ca/er);
    $t->config_http($CONF);
    $t->start;
    return ($t, $redis, $store, $store->issue(account => 'crm'), $pki);
}

sub one { my ($redis) = @_; return $redis->url =~ s/127\.0\.0\.1/localhost/r }

# the one line of an outage, which says this; and that nobody gets in
sub fails {
    my ($name, $like, %o) = @_;
    subtest $name => sub {
        my ($t, $redis, $store, $key) = gateway(%o);
        my $level = $o{level} // 'crit';
        $t->allow_log(qr/is down: $like/);
        is($t->get('/', key => $key)->status, 503, 'unavailable');
        ok($t->wait_for_log(qr/\[$level\][^\n]*: redis "[^"]*" of store "main" is down: $like/),
            'and the log says why') or diag($t->log);
        sleep 1.5;
        is($t->get('/', key => $key)->status, 503, 'still');
        my @lines = $t->log =~ /^(.*(?:is down|SSL_|\(SSL:).*)$/mg;
        is(scalar(grep { /: redis "/ } @lines), 1, 'one line of the connection');
        cmp_ok(scalar(@lines), '<=', 2, 'and one of the feed') or diag(join "\n", @lines);
        is($redis->calls('auth'), 0, 'no password was sent');
        is($redis->calls('hmget'), 0, 'nothing was asked');
        $t->finish;
    };
}

for my $version ('TLSv1.2', 'TLSv1.3') {
    subtest $version => sub {
        my ($t, $redis, $store, $key) = gateway(protocols => $version, workers => 2,
            extra => 'redis_ssl_trusted_certificate %%CA%%; lease 60s; cache_valid 10m;');
        ok($t->wait_for_log(qr/feed of store "main": tracking/), 'the feed');
        like($t->log, qr/redis "rediss:[^"]*": \Q$version\E, \S+/, 'what was agreed upon');
        sleep 0.1;
        is($t->get('/', key => $key)->header('X-Tenant'), 'v1', 'a lookup');
        is($t->get('/', key => $key)->status, 204) for 1 .. 4;
        is($t->get('/', key => $key)->header('X-Cache'), 'hit', 'then a hit');
        is($t->get('/', key => $store->key)->status, 401, 'an unknown key');

        # the lease is a minute: it is the push that does it
        $store->revoke($key);
        my $since = time;
        ok(OpsAuth::Process->poll(5, sub { $t->get('/', key => $key)->status == 401 }),
            'a revocation is in force');
        note sprintf 'after %.0f ms', 1000 * (time - $since);

        my @keys = map { $store->issue(account => 'crm') } 1 .. 300;
        my %status;
        $status{$_->status}++ for OpsAuth::HTTP::parallel_requests(
            [map { [$t->port(8080), 'GET', '/', key => $_] } @keys], concurrency => 300);
        is_deeply(\%status, { 204 => 300 }, '300 keys at once');
        $t->finish;
    };
}

fails('a certificate of an unknown CA', qr/its certificate can't be trusted \(\d+: [^)]*\): redis_ssl_trusted_certificate must/,
    extra => sub {
        my ($t) = @_;
        return 'redis_ssl_trusted_certificate ' . $t->certificates(name => 'OTHER')->ca . ';';
    });
fails('the system knows nothing of our CA', qr/its certificate can't be trusted/, extra => '');
fails('a self-signed certificate', qr/its certificate can't be trusted \(18: /,
    cert => sub { $_[0]->self_signed('self', ip => ['127.0.0.1']) });
fails('an expired certificate', qr/its certificate can't be trusted \(10: [^)]*\): renew it/,
    cert => sub { $_[0]->issue('old', ip => ['127.0.0.1'], from => -7200, to => -3600) });
fails('one for another address', qr/its certificate is not for "127\.0\.0\.1": .*redis_ssl_name/,
    cert => sub { $_[0]->issue('server', dns => ['127.0.0.1'], ip => ['127.0.0.2']) });
fails('one for a name, by its address', qr/its certificate is not for "127\.0\.0\.1"/,
    cert => sub { $_[0]->issue('server', cn => '127.0.0.1', dns => ['localhost']) });
fails('one for an address, by its name', qr/its certificate is not for "localhost"/, url => \&one);
fails('a name that it does not have', qr/its certificate is not for "redis\.test"/,
    extra => 'redis_ssl_trusted_certificate %%CA%%; redis_ssl_name redis.test;');
fails('a chain that is longer than wanted', qr/its certificate can't be trusted \(2[02]: /,
    extra => 'redis_ssl_trusted_certificate %%CA%%; redis_ssl_verify_depth 0;',
    cert => sub { $_[0]->issue('server', ip => ['127.0.0.1'],
        by => $_[0]->issue('between', authority => 1)) });
fails('no version in common', qr/TLS failed \([^)]*(?:protocol|version)[^)]*\)/,
    protocols => 'TLSv1.2', extra => 'redis_ssl_trusted_certificate %%CA%%; redis_ssl_protocols TLSv1.3;');
fails("no client certificate, TLS 1.2", qr/TLS failed \([^)]*\): does it ask for a client certificate/,
    auth => 'yes', protocols => 'TLSv1.2');
fails("no client certificate, TLS 1.3", qr/(?:TLS failed \([^)]*certificate required[^)]*\): |it closed the connection right after the TLS handshake; )does it ask for/,
    level => '(?:crit|error)', auth => 'yes', protocols => 'TLSv1.3');
fails('a client certificate of an unknown CA',
    qr/(?:TLS failed \([^)]*\): |it closed the connection right after the TLS handshake; )does it ask for/,
    level => '(?:crit|error)', auth => 'yes',
    extra => sub {
        my ($t) = @_;
        my $other = $t->certificates(name => 'OTHER')->issue('client');
        return "redis_ssl_trusted_certificate %%CA%%; redis_ssl_certificate $other->{cert};"
            . " redis_ssl_certificate_key $other->{key};";
    });
fails('a plain server, which waits for more', qr/it does not answer the TLS handshake; .*redis:\/\//,
    level => 'error', url => sub { 'rediss://127.0.0.1:' . $_[0]->port });

fails('a plain server, which speaks', qr/it does not speak TLS on this port: .*redis:\/\//,
    url => sub {
        my $fake = $_[1]->fake_redis(name => 'FAKE', script => { ACCEPT => '-DENIED Redis is protected' });
        return $fake->url =~ s/^redis/rediss/r;
    });

subtest 'a TLS server, taken for a plain one' => sub {
    my ($t, $redis, $store, $key) = gateway(extra => '',
        url => sub { $_[0]->url =~ s/^rediss/redis/r });
    is($t->get('/', key => $key)->status, 503, 'unavailable');
    ok($t->wait_for_log(qr/redis "redis:[^"]*" of store "main" is down: [^\n]*rediss:\/\//),
        'and the log says what to write') or diag($t->log);
    $t->finish;
};

# what works, besides
my %good = (
    'a name' => { url => \&one, cert => sub { $_[0]->issue('server', dns => ['localhost']) } },
    'a name of its own for the certificate' => {
        cert => sub { $_[0]->issue('server', dns => ['redis.test']) },
        extra => 'redis_ssl_trusted_certificate %%CA%%; redis_ssl_name redis.test;' },
    'an address of its own for the certificate' => {
        cert => sub { $_[0]->issue('server', ip => ['192.0.2.7']) },
        extra => 'redis_ssl_trusted_certificate %%CA%%; redis_ssl_name 192.0.2.7;' },
    'no verification' => {
        cert => sub { $_[0]->self_signed('self') }, extra => 'redis_ssl_verify off;' },
    'a CA in between' => {
        cert => sub { $_[0]->issue('server', ip => ['127.0.0.1'],
            by => $_[0]->issue('between', authority => 1)) } },
    'ciphers' => { protocols => 'TLSv1.2',
        extra => 'redis_ssl_trusted_certificate %%CA%%; redis_ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256;',
        log => qr/TLSv1\.2, ECDHE-ECDSA-AES128-GCM-SHA256/ },
    'protocols' => {
        extra => 'redis_ssl_trusted_certificate %%CA%%; redis_ssl_protocols TLSv1.2;',
        log => qr/": TLSv1\.2, / },
    map { my $v = $_; ("a client certificate, $v" => { auth => 'yes', protocols => $v,
        extra => sub {
            my ($t, $pki) = @_;
            my $it = $pki->issue('client', password => 'of-the-key');
            my $file = $t->write_file('key.password', "no\nof-the-key\n", 0600);
            $t->secret('of-the-key');
            return "redis_ssl_trusted_certificate %%CA%%; redis_ssl_certificate $it->{cert};"
                . " redis_ssl_certificate_key $it->{key}; redis_ssl_password_file $file;";
        } }) } 'TLSv1.2', 'TLSv1.3',
);
for my $name (sort keys %good) {
    subtest $name => sub {
        my ($t, $redis, $store, $key) = gateway(%{$good{$name}});
        is($t->get('/', key => $key)->status, 204, 'a lookup');
        ok($t->wait_for_log(qr/feed of store "main": tracking/), 'the feed');
        like($t->log, $good{$name}{log}, 'as told') if $good{$name}{log};
        $t->finish;
    };
}

done_testing();
