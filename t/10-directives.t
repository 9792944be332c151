#!/usr/bin/perl

# Every directive of the module's table, mistyped: a wrong value gets one [emerg]
# that names the directive and the value, says what is expected, and where. A
# directive that is new in the table fails here until it has such values, and
# until its page has its syntax. What is right passes in t/10-config.t.

use strict;
use warnings;

use Test::More;

use OpsAuth::Test;

my $t = OpsAuth::Test->new;
my $root = OpsAuth::Test->root;
my $PEPPER = $t->write_file('pepper', "one pepper of enough bytes\n", 0600);
$t->var(PEPPER => $PEPPER);
$t->var(PASSWORD => $t->write_file('password', "sesame\n", 0600));
my $OPEN = $t->var(OPEN => $t->write_file('open', "sesame of enough bytes\n", 0644));
$t->secret('one pepper of enough bytes', 'sesame');

my $TIME = qr/a time .*\blike "\w+", is expected/;
my $SIZE = qr/a size in "k" or "m" up to 1048576m, like "64m", is expected/;
my $FLAG = qr/it must be "on" or "off"/;
my $URL = qr{like "https://api\.example\.com" is expected};
my $URI = qr{it must be "off", or the path of an internal location .*like "/_introspect"};
my $RATE = qr{requests per s, m, h or d are expected, such as "60/m"};
my $FILE = qr/the name of a file is expected/;

# name => [a good value, [a bad one, what the line says besides], ...]; a bad one
# that is said otherwise than it is written has that as its third
my @times = map { [$_, $TIME] } qw(x -1s 5x 1.5s 99999d 9999999999999999999 "");
my %DIRECTIVES = (
    opsauth_store => ['main { redis redis://127.0.0.1:1; pepper_file %%PEPPER%%; }',
        map { ["$_ { }", qr/letters, digits and "\._:\@-", and not "off"/, $_ eq '""' ? '' : $_] } qw("" off a/b), "\xc3\xa4"],
    opsauth => ['main', ['""', qr/needs the name of a store, or "off"/, ''], ['nosuch', qr/there is no "opsauth_store nosuch \{/],
        ['main quiet', qr/only "shadow" may follow/, 'quiet'], ['off shadow', qr/takes no parameter/, 'shadow']],
    opsauth_require => [undef, map { [$_, qr/it must be "scope=a\|b", "role=a\|b", "method=GET,HEAD" or "uri=~regex"/] } qw(admin scopes=a on "")],
    opsauth_admin => ['off', map { [$_, qr/it must be "role=administrator", "scope=admin", or "off" alone/] } qw(on administrator "")],
    opsauth_credential => ['bearer', map { [$_, qr/it must be "bearer" or "header=NAME"/] } qw(basic X-API-Key "" off)],
    opsauth_identity_header => [undef, ['X-A', qr/needs a value: .* or "off"/], ['"X A" x', qr/letters/, 'X A'], ['"" x', qr/letters/, ''], ['Host x', qr/another name/, 'Host']],
    opsauth_forward_credential => ['on', map { [$_, $FLAG] } qw(yes 1 "")],
    opsauth_environment => ['any', map { [$_, qr/it must be "live", "test" or "any"/] } qw(prod Live "")],
    opsauth_realm => ['x', map { [$_, qr/printable ASCII without quotes and backslashes/] } '""', "\xc3\xa4", "'\"'"],
    opsauth_error_format => ['json', map { [$_, qr/one of "json", "problem", "off" is expected/] } qw(xml on "")],
    opsauth_rate => ['off', map({ ["default=$_", $RATE, $_ =~ s/"//gr] } qw(60 60/x 0/m -1/m 99999999999/s x/m), '60/m,'), map({ [$_, qr{"default=60/m", "burst=20" or "off" alone is expected}] } qw(60/m on "")),
        map { ["burst=$_", qr/a number of requests from 1 to \d+ is expected, like "burst=20"/] } qw(0 -1 x 1.5 99999999999)],
    opsauth_rate_headers => ['x', map { [$_, qr/one of "off", "x", "ietf", "both" is expected/] } qw(on X-RateLimit "")],
    opsauth_failure_rate => ['off', map({ [$_, $RATE] } qw(60 60/x 0/m -1/m on "")), ['10/m,100/h', qr{takes one limit, like "10/m"}], ['10/m 20', qr/only "burst=20" may follow/, '20'], ['10/m burst=0', qr/from 1 to/, 'burst=0']],
    opsauth_resource_metadata => ['off', map({ [$_, $URL] } qw(on api.example.com https:// "" ftp://x "https://a$uri")), ['http://api.example.com', qr/tokens need https/], ['https://a/?x', qr/no query and no fragment/]],
    opsauth_introspection => ['off', map { [$_, $URI] } qw(as @as on "" /a?b /$uri https://as/introspect)],
    opsauth_introspection_valid => ['60s', @times, map { [$_, $TIME] } qw(0 1s 500ms 2d)],
    opsauth_introspection_claim => ['tenant=t', map({ [$_, qr/it must be one of "tenant=", "account="/] } qw(tenant tenant= colour=red environment=any "" off)), ['account=a account_id=b', qr/takes "account" or "account_id", not both/, 'account_id']],
    opsauth_status => ['json', map { [$_, qr/it must be "json", "prometheus" or "html"/] } qw(xml on "")],
    opsauth_oauth => ['token', map { [$_, qr/it must be "token", "revoke", "introspect", "authorize", "metadata" or "resource"/] } qw(tokens on "")],
    opsauth_oauth_issuer => ['https://a', map({ [$_, $URL] } qw(off api.example.com https:// "" ftp://x "https://a$uri")), ['"https://a b"', $URL], ['http://api.example.com', qr/tokens need https/], ['https://a/?x', qr/no query/], ['https://a/#x', qr/no fragment/]],
    opsauth_oauth_resource => ['https://a', map({ [$_, $URL] } qw(off api.example.com "")), ['http://api.example.com', qr/tokens need https/]],
    opsauth_oauth_subject => ['$remote_user', map { [$_, qr/a variable is expected, like "\$remote_user"/] } qw(alice "")],
    (map { ("opsauth_oauth_$_" => ['60s', map { [$_->[0], qr/a time from \d+s to \d+s is expected, like "30s" or "1h"/] } @times, map { [$_] } '99999d', '500ms', $_ eq 'refresh_grace' ? '2h' : '0', $_ eq 'code_valid' ? '11m' : '2y']) }
        qw(token_valid short_token_valid refresh_token_valid refresh_grace code_valid)),

    redis => ['redis://127.0.0.1:1', map({ [$_, qr{expected redis://host\[:port\]}] } qw(on "" 127.0.0.1:6379 http://x)), ['redis://127.0.0.1:65536', qr/port/]],
    (map { ($_ => ['u', ['""', qr/the name of a user in Redis is expected/], ['x' x 256, qr/the name of a user in Redis is expected/]]) } qw(redis_user redis_sentinel_user)),
    (map { ($_ => ['%%PASSWORD%%', ['/no/such/file', qr/can't be opened \(2: No such file/], ['%%OPEN%%', qr/has mode 0644.*chmod 600/, $OPEN], ['""', $FILE], ['/', qr/must be a file in/]]) } qw(redis_password_file redis_sentinel_password_file)),
    (map { ($_ => ['x.pem', ['""', $FILE]]) } map { "redis_ssl_$_" } qw(trusted_certificate certificate certificate_key password_file)),
    redis_ssl_name => ['redis', map { [$_, qr/the name or the address in Redis' certificate is expected/] } '""', 'x' x 256],
    redis_ssl_ciphers => ['HIGH', map { [$_, qr/a list as "openssl ciphers" shows it is expected/] } '""'],
    redis_ssl_protocols => ['TLSv1.3', map { [$_, qr/one of "TLSv1", "TLSv1\.1", "TLSv1\.2", "TLSv1\.3" is expected/, /(\S*)$/ ? $1 =~ s/"//gr : ''] } qw(SSLv3 TLS1.3 "" off), 'TLSv1.2 TLSv1.4'],
    redis_ssl_verify_depth => ['1', map { [$_, qr/a number from 0 to 100, like "4", is expected/] } qw(x -1 101 1.5 99999999999999999999 "")],
    (map { ("redis_ssl_$_" => ['on', map { [$_, $FLAG] } qw(yes 1 "")]) } qw(verify session_reuse)),
    (map { ($_ => ['1s', @times, map { [$_, qr/a time from 1ms to 60s, like "250ms", is expected/] } qw(0 0ms 61s 1h)]) } qw(redis_connect_timeout redis_timeout)),
    prefix => ['p:', map { [$_, qr/1 to 128 bytes, like "opsauth:", is expected/] } '""', 'x' x 129],
    pepper_file => ['%%PEPPER%%', ['/no/such/file', qr/can't be opened \(2: No such file/], ['%%OPEN%%', qr/has mode 0644.*chmod 600/, $OPEN], ['""', $FILE]],
    key_prefix => [undef, map({ [$_, qr/1 to 64 letters, digits, "_", "-" and "\." are expected/] } '""', 'a/b', 'x' x 65), ['a_ live', qr/environment=live/, 'live'], ['a_ checksum=md5', qr/checksum=crc32/, 'checksum=md5']],
    (map { ($_ => ['1m', map({ [$_, $SIZE] } qw(x -1m 1t 1.5m 4mb "" 1g 1048577m 99999999999999999999)), map { [$_, qr/is too small: it must be at least \d+ bytes/, qr/of \d+ bytes/] } qw(0 1 4k)]) } qw(cache rate_zone usage_zone)),
    (map { ($_ => ['1s', @times, ['2d', qr/a time up to 1d, like "60s", is expected/]]) } qw(cache_valid cache_negative)),
    lease => ['1s', @times, map { [$_, qr/a time from 100ms to 60s, like "1s", is expected/] } qw(0 99ms 61s)],
    stale => ['1s', map { [$_, qr/a time of at most 1d, like "30s", or "off"/] } qw(x on -1s 5x 1.5s 2d 99999999999999999999 "")],
    (map { ($_ => ['on', map { [$_, $FLAG] } qw(yes 1 "")]) } qw(rate_sync usage)),
    usage_interval => ['1s', @times, map { [$_, qr/a time from 50ms to 1h, like "1s", is expected/] } qw(0 49ms 2h)],
);

# twice is right for these; others say why in their own words
my %MANY = map { $_ => 1 } qw(opsauth_store opsauth_require opsauth_identity_header key_prefix);

# what goes before, or nginx -t speaks of something else
my %NEEDS = (opsauth_oauth => 'opsauth_oauth_issuer https://a;');

# --- the table ----------------------------------------------------------------------

sub slurp { open my $fh, '<', "$root/$_[0]" or die "$_[0]: $!"; local $/; return scalar <$fh> }

my %table;
my $source = slurp('ngx_http_opsauth_module.c');
$table{$1} = $2 while $source =~ /\{ ngx_string\("(\w+)"\),\s*([\w|]+),/g;
cmp_ok(scalar keys %table, '>', 50, 'the table is read');
is_deeply([sort keys %DIRECTIVES], [sort keys %table], 'every directive is tried here');

my $pages = slurp('docs/directives.md') . slurp('docs/directives-store.md');
is_deeply([grep { $pages !~ /^ {4}(?:Syntax:)? + \Q$_\E\b/m } sort keys %table], [], 'every directive has its syntax written down');

# --- configurations with one line of a directive ---------------------------------------

sub store {
    my ($directive, $line) = @_;
    my @base = (redis => 'redis redis://127.0.0.1:1;', pepper_file => "pepper_file $PEPPER;");
    my %base = @base;
    delete $base{$directive};
    return join ' ', 'opsauth_store main {', values %base, $line, '}';
}

sub conf {
    my ($directive, $line) = @_;
    $line = join ' ', $NEEDS{$directive} // (), $line;
    my $own = $table{$directive} =~ /STORE_CONF/;
    my $http = $directive eq 'opsauth_store';
    return join "\n", $own ? store($directive, $line) : $http ? $line : store('', ''),
        'server { listen 127.0.0.1:%%PORT_8080%%; location /x {', $own || $http ? '' : $line, '} }';
}

sub emerg {
    my ($text) = @_;
    my $error = $t->config_error($text);
    my @lines = grep { /\[emerg\]/ } split /\n/, $error;
    return @lines == 1 ? $lines[0] : "not one line: $error";
}

for my $directive (sort keys %DIRECTIVES) {
    my ($good, @bad) = @{$DIRECTIVES{$directive}};
    subtest $directive => sub {
        for my $case (@bad) {
            my ($value, $says, $shown) = @$case;
            my $end = $value =~ /\}$/ ? '' : ';';
            my $line = emerg(conf($directive, "$directive $value$end"));
            my $name = length $value > 40 ? length($value) . ' bytes' : $value;
            $shown //= $value =~ s/^(["'])(.*)\1$/$2/r;
            $shown = ref $shown ? $shown : qr/"[^"]*?\Q@{[substr $shown, 0, 200]}\E/;
            like($line, qr/"\Q$directive\E(?:"| )/, "$name: the directive");
            like($line, $shown, "$name: the value");
            like($line, $says, "$name: the remedy") if defined $says;
            like($line, qr/ in \S*nginx-t\.conf:\d+$/, "$name: the place");
        }

        like(emerg(conf($directive, "$directive;")), qr/invalid number of arguments in "$directive" directive/, 'no value')
            unless $table{$directive} =~ /NOARGS|BLOCK/;
        if ($table{$directive} =~ /TAKE1(2?)\b|FLAG/) {
            my $line = join ' ', $directive, ('a') x ($1 ? 3 : 2);
            like(emerg(conf($directive, $table{$directive} =~ /BLOCK/ ? "$line { }" : "$line;")),
                qr/invalid number of arguments in "$directive" directive/, 'a value too many');
        }
        my $once = "$directive $good" . ($good =~ /\}$/ ? '' : ';') if defined $good;
        like(emerg(conf($directive, "$once $once")), qr/"$directive" directive is duplicate/, 'twice') if $once && !$MANY{$directive};
        for my $place ($table{$directive} =~ /STORE_CONF/ ? ('http', 'server') : 'opsauth_store') {
            my $line = $once // "$directive a" . ';';
            my $text = $place eq 'http' ? $line : $place eq 'server' ? "server { $line }" : store('', $line);
            like(emerg($text), qr/"$directive" directive is not allowed here/, "in $place");
        }
    };
}

subtest 'two that go not together' => sub {
    like(emerg(conf('opsauth_oauth', 'opsauth_status; opsauth_oauth token;')), qr/"opsauth_oauth" directive conflicts with "opsauth_status" beside it/, 'status, then endpoint');
    like(emerg(conf('opsauth_status', 'opsauth_oauth_issuer https://a; opsauth_oauth token; opsauth_status;')), qr/"opsauth_status" directive conflicts with "opsauth_oauth"/, 'endpoint, then status');
};

$t->done;
