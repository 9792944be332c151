#!/usr/bin/perl

# The configuration: what is right passes nginx -t, and what is wrong gets one
# [emerg] that names the directive, the value and what to do about it.

use strict;
use warnings;

use Test::More;

use OpsAuth::Test;

my $t = OpsAuth::Test->new;
$t->var(REDIS => 'redis://127.0.0.1:6379/0');
$t->var(PEPPER => $t->write_file('pepper', "one pepper of enough bytes\nand another one as long\n", 0600));
$t->var(PASSWORD => $t->write_file('password', "sesame\n", 0600));
$t->secret('one pepper of enough bytes', 'and another one as long', 'sesame');

# a configuration around lines of a store, of http, of a server, of a location
sub http {
    my (%o) = @_;
    my $base = $o{base} // 'redis %%REDIS%%; pepper_file %%PEPPER%%;';
    return join "\n", map { $_ // '' }
        ($o{no_store} ? '' : "opsauth_store main { $base " . ($o{store} // '') . ' }'), $o{http},
        'server { listen 127.0.0.1:%%PORT_8080%%;', $o{server}, 'location / {', $o{location}, '} }';
}

sub good {
    my ($name, @where) = @_;
    is($t->config_error(http(@where)), '', "good: $name");
}

# everything that must be in the one line: words of the directive, value, remedy
sub bad {
    my ($name, $where, @patterns) = @_;
    my $error = $t->config_error(http(@$where));
    my @lines = grep { /\[emerg\]/ } split /\n/, $error;
    is(scalar @lines, 1, "bad: $name: one line") or diag $error;
    for my $pattern (@patterns) {
        my $re = ref $pattern ? $pattern : qr/\Q$pattern\E/;
        like($lines[0] // '', $re, "$name: says $pattern");
    }
    like($lines[0] // '', qr/nginx-t\.conf:\d+$/, "$name: says where") unless $lines[0] =~ /unknown "nosuch" variable/;
}

# --- good ---------------------------------------------------------------------------

subtest 'good' => sub {
    good('the least', server => 'opsauth main;');
    good('no use of the store at all');
    good('no store at all', no_store => 1);
    good($_, base => 'pepper_file %%PEPPER%%;', store => "redis $_;") for 'redis://127.0.0.1', 'redis://127.0.0.1:6380',
        'redis://127.0.0.1/', 'redis://127.0.0.1:6379/15', 'redis://[::1]:6379/1', 'redis://[::1]',
        'redis://localhost:6379', 'unix:/run/redis/redis.sock', 'unix:/run/redis.sock?db=3';
    good($_, store => $_) for 'redis_user gateway; redis_password_file %%PASSWORD%%;', 'redis_password_file %%PASSWORD%%;',
        'redis_connect_timeout 1s; redis_timeout 50ms;', 'prefix myapp:;', 'prefix "a b:";',
        'key_prefix op365_sk_live_;', 'key_prefix a_ environment=test;', 'key_prefix a_ checksum=crc32 environment=live;',
        'key_prefix a_ checksum=off;', 'key_prefix a-b.c;', 'key_prefix a_; key_prefix a_b_;',
        (join ' ', map { "key_prefix k${_}_;" } 1 .. 32), 'key_prefix ' . 'x' x 64 . ';',
        'cache 32k;', 'cache 64m;', 'cache_valid 0;', 'cache_valid 60s;', 'cache_negative 0;', 'cache_negative 5s;',
        'lease 100ms;', 'lease 1m;', 'stale 30s;', 'stale off;', 'stale 0;', 'stale 1d;';
    good($_, location => $_) for 'opsauth main;', 'opsauth off;', 'opsauth main shadow;',
        'opsauth_environment live;', 'opsauth_environment test;', 'opsauth_environment any;',
        'opsauth_realm "Test API";', 'opsauth_realm "it\'s: a/b <c>";',
        'opsauth_error_format json;', 'opsauth_error_format problem;', 'opsauth_error_format off;',
        'opsauth_require scope=read:tenants;', 'opsauth_require scope=read:a|read:b,read:c role=x method=GET,HEAD uri=~^/v1;',
        'opsauth_require method=GET|POST;', 'opsauth_require uri=~*^/V1/(a|b)(/|$);', 'opsauth_require off;',
        'opsauth_require scope=a scope=b role=c role=d;', 'opsauth_require role=a; opsauth_require role=b;',
        (map { "opsauth_require method=$_;" } qw(OPTIONS TRACE MKCOL COPY MOVE PROPFIND PROPPATCH LOCK UNLOCK PATCH DELETE)),
        'opsauth_admin off;', 'opsauth_admin role=root;', 'opsauth_admin scope=all|everything;', 'opsauth_admin role=a scope=b;',
        'opsauth_credential bearer;', 'opsauth_credential header=X-API-Key;', 'opsauth_credential bearer header=X-API-Key header=X-Key;',
        'opsauth_identity_header off;', 'opsauth_identity_header X-A $opsauth_tenant;', 'opsauth_identity_header X-A "a $uri b";',
        'opsauth_identity_header X_A ""; opsauth_identity_header X-B b;', 'opsauth_forward_credential on;', 'opsauth_forward_credential off;';
    good('at http level', http => 'opsauth main; opsauth_realm R; opsauth_require role=a; opsauth_admin off; '
        . 'opsauth_credential bearer; opsauth_identity_header off; opsauth_environment any; opsauth_error_format off; '
        . 'opsauth_forward_credential on;', server => 'opsauth off;');
    good('in limit_except', location => 'limit_except GET { opsauth main; opsauth_require role=a; opsauth_realm R; }');
    good('a store behind its use', no_store => 1, http => 'server { listen 127.0.0.1:%%PORT_8081%%; opsauth late; }'
        . 'opsauth_store late { redis %%REDIS%%; pepper_file %%PEPPER%%; }');
    good('at http level, behind its use', no_store => 1, http => 'opsauth late; opsauth_store late { redis %%REDIS%%; pepper_file %%PEPPER%%; }');
    good('two stores', http => 'opsauth_store other { redis %%REDIS%%; pepper_file %%PEPPER%%; }', server => 'opsauth other;',
        location => 'opsauth main;');
    good('variables', http => 'map "$opsauth_verdict $opsauth_reason $opsauth_credential_id $opsauth_credential_kind $opsauth_account '
        . '$opsauth_tenant $opsauth_affiliate $opsauth_roles $opsauth_scopes $opsauth_environment $opsauth_cache $opsauth_lookup_time" $x { default 1; }');
    good('variables without a store', no_store => 1, http => 'map $opsauth_tenant $x { default 1; }');
};

# --- bad ----------------------------------------------------------------------------

subtest 'stores' => sub {
    my $own = sub { return [base => '', @_] };
    bad('unknown', [server => 'opsauth nosuch;'], 'nosuch', 'opsauth', 'opsauth_store nosuch {');
    bad('unknown at http', [http => 'opsauth nosuch;'], 'nosuch', 'opsauth_store nosuch {');
    bad('unknown, none at all', [no_store => 1, server => 'opsauth nosuch;'], 'nosuch', 'opsauth_store nosuch {');
    bad('twice', [http => 'opsauth_store main { redis %%REDIS%%; pepper_file %%PEPPER%%; }'], 'duplicate', 'opsauth_store main');
    bad("the name $_", [http => "opsauth_store $_ { redis %%REDIS%%; pepper_file %%PEPPER%%; }"], 'opsauth_store', 'name') for 'off', '"a b"', '""', 'a/b';
    bad('no redis', $own->(store => 'pepper_file %%PEPPER%%;'), '"opsauth_store main" requires "redis"', 'redis redis://127.0.0.1:6379/0;');
    bad('no pepper', $own->(store => 'redis %%REDIS%%;'), '"opsauth_store main" requires "pepper_file"', 'opsauth pepper generate');
    bad('a user without password', [store => 'redis_user gateway;'], 'redis_user gateway', 'redis_password_file');
    bad('unknown directive', [store => 'redis_sentinel x;'], 'unknown directive "redis_sentinel"');
    bad('sentinels without any', [base => 'pepper_file %%PEPPER%%;', store => 'redis redis://127.0.0.1:1; redis_sentinel_user x;'], 'is for sentinels', 'redis+sentinel://');
    bad("$_->[0] in a store", [store => $_->[1]], qr/"$_->[0]" directive is not allowed here/)
        for ['opsauth', 'opsauth main;'], ['opsauth_require', 'opsauth_require off;'], ['server', 'server { }'];
    my %value = (redis => '%%REDIS%%', redis_user => 'u', redis_password_file => '%%PASSWORD%%', pepper_file => '%%PEPPER%%',
        redis_connect_timeout => '1s', redis_timeout => '1s', prefix => 'p:', cache => '1m', cache_valid => '1s', cache_negative => '1s', lease => '1s', stale => '1s');
    for my $directive (sort keys %value) {
        my $once = $directive =~ /^(redis|pepper_file)$/ ? 1 : 2;
        bad("$directive twice", [store => "$directive $value{$directive};" x $once], qr/"$directive" directive is duplicate/);
        bad("$directive without value", [store => "$directive;"], qr/invalid number of arguments in "$directive"/);
        bad("$directive outside", [server => "$directive $value{$directive};"], qr/"$directive" directive is not allowed here/);
    }
};

subtest 'redis' => sub {
    my @bad = (['redis+sentinel://127.0.0.1:1', 'name', 'redis+sentinel://name@host'], ['redis+sentinel://u:sesame@127.0.0.1', 'may not stand in the URL', 'redis_sentinel_password_file'], ['redis+sentinel://m@127.0.0.1:1,127.0.0.1:1', 'twice'], ['redis+sentinel://m@no-such-host.invalid', 'host not found'],
        ['rediss://u:sesame@127.0.0.1', 'may not stand in the URL'], ['u:se@same@127.0.0.1', 'expected'],
        ['redis+cluster://', 'hosts are missing'], ['redis+cluster://127.0.0.1:1/2', 'database 0'], ['redis+cluster://u:sesame@127.0.0.1', 'may not stand in the URL', 'redis_password_file'], ['redis+cluster://127.0.0.1,127.0.0.1:6379', 'twice'], ['redis+cluster://no-such-host.invalid', 'host not found'], ['redis://u:sesame@127.0.0.1', 'may not stand in the URL', 'redis_password_file'],
        ['127.0.0.1:6379', 'expected redis://host[:port][/db], rediss:// for TLS, redis+sentinel://name@host[:port],host[:port][/db], redis+cluster://host[:port],host[:port], or unix:/path[?db=n]'], ['redis://', 'host is missing'], ['http://127.0.0.1', 'expected redis://'],
        ['redis://127.0.0.1:0', 'port'], ['redis://127.0.0.1:65536', 'port'], ['redis://127.0.0.1:x', 'port'], ['redis://127.0.0.1:', 'port'],
        ['redis://127.0.0.1:6379/16384', 'database'], ['redis://127.0.0.1/-1', 'database'], ['redis://127.0.0.1/x', 'database'],
        ['redis://127.0.0.1/0?x=1', 'parameters'], ['redis://::1', 'brackets'], ['redis://[::1', ']'], ['redis://[x]:1', 'IPv6'], ['unix:redis.sock', 'absolute'],
        ['unix:/r.sock?x=1', '?db='], ['unix:/' . 'x' x 120, 'too long'], ['redis://a_b!', 'host must be'], ['redis://no-such-host.invalid', 'redis://no-such-host.invalid']);
    for my $case (@bad) {
        my ($url, @says) = @$case;
        bad($url, [base => 'pepper_file %%PEPPER%%;', store => "redis $url;"], $url =~ /(\@127.*)/ ? qq(redis ...$1") : "redis $url", @says);
    }
};

subtest 'secrets' => sub {
    my $file = sub { my ($name, $text, $mode) = @_; return $t->write_file($name, $text, $mode // 0600) };
    my $pepper = sub { my ($name, $path, @says) = @_; bad($name, [base => "redis %%REDIS%%; pepper_file $path;"], "pepper_file $path", @says) };
    my $enough = 'x' x 16 . "\n";
    $pepper->('none there', $t->dir . '/nosuch', qr/open/, 'No such file');
    $pepper->('a directory', $t->dir, qr/file|mode/);
    $pepper->('world-readable', $file->('p1', $enough, 0644), '0644', 'chmod 600');
    $pepper->('group-writable', $file->('p2', $enough, 0660), '0660', 'chmod 600');
    $pepper->('empty', $file->('p3', ''), qr/1 to \d+ bytes/);
    $pepper->('only comments', $file->('p4', "# nothing\n\n"), 'opsauth pepper generate');
    $pepper->('too short', $file->('p5', "short\n"), qr/16/, 'opsauth pepper generate');
    $pepper->('a short one behind', $file->('p6', "$enough" . "short\n"), qr/16/);
    $pepper->('the same twice', $file->('p7', $enough x 2), qr/twice|same|duplicate/);
    $pepper->('too long', $file->('p8', 'x' x 257 . "\n"), qr/256/);
    $pepper->('too many', $file->('p9', join '', map { "$_$enough" } 1 .. 9), qr/8/);
    $pepper->('much too large', $file->('p10', 'x' x 5000), qr/bytes/);
    good('group-readable', base => 'redis %%REDIS%%; pepper_file ' . $file->('p11', $enough, 0640) . ';');
    good('blanks, comments and CR', base => 'redis %%REDIS%%; pepper_file ' . $file->('p12', "# newest\r\n  " . 'y' x 16 . " \r\n\r\n$enough") . ';');
    good('relative to the prefix', base => 'redis %%REDIS%%; pepper_file pepper;') if -e $t->dir . '/pepper';

    my $password = sub { my ($name, $path, @says) = @_; bad($name, [store => "redis_password_file $path;"], "redis_password_file $path", @says) };
    $password->('none there', $t->dir . '/nosuch', 'No such file');
    $password->('world-readable', $file->('w1', "sesame\n", 0604), '0604', 'chmod 600');
    $password->('empty', $file->('w2', ''), qr/1 to \d+ bytes/);
    $password->('only a newline', $file->('w3', "\r\n"), 'no password');
};

subtest 'values of a store' => sub {
    bad("$_->[0]", [store => "$_->[0];"], @$_[1 .. $#$_]) for
        ['lease 99ms', 'lease', '99', '100'], ['lease 61s', 'lease', '60s'], ['lease 0', 'lease'], ['lease x', 'lease', 'invalid value'],
        ['cache 4k', 'cache', '4096', 'at least'], ['cache x', 'cache', 'invalid value'], ['cache 0', 'cache', 'at least'],
        ['cache_valid x', 'invalid value "x" in "cache_valid": a time'], ['cache_negative -1s', 'invalid value "-1s" in "cache_negative": a time'],
        ['stale x', '"stale"', '"x"', 'off'], ['stale 2d', '"stale"', '"2d"', '1d'], ['stale on', '"stale"', '"on"'],
        ['redis_timeout 0', 'redis_timeout', '0'], ['redis_connect_timeout 0', 'redis_connect_timeout', '0'], ['redis_timeout x', 'invalid value "x" in "redis_timeout": a time'],
        ['prefix ""', '"prefix"', 'opsauth:'], ['prefix ' . 'x' x 129, '"prefix"', '128'],
        ['key_prefix ""', 'key_prefix'], ['key_prefix a/b', 'key_prefix a/b', 'letters'], ['key_prefix "a b"', 'key_prefix a b'], ['key_prefix ' . 'x' x 65, 'key_prefix', '64'],
        ['key_prefix a_ environment=any', 'key_prefix a_', 'environment=any', 'environment=live'], ['key_prefix a_ checksum=md5', 'checksum=md5', 'checksum=crc32'],
        ['key_prefix a_ live', '"live"', 'environment=live'], ['key_prefix a_; key_prefix a_ environment=test', 'duplicate', 'key_prefix a_'];
    bad('33 prefixes', [store => join ' ', map { "key_prefix k${_}_;" } 1 .. 33], 'key_prefix', '32');
    bad('no such cache at all', [store => 'cache 1000000g;'], '"1000000g" in "cache"', '64m');
};

subtest 'places' => sub {
    my $location = sub { my ($line, @says) = @_; bad($line, [location => $line], @says) };
    $location->(@$_) for
        ['opsauth;', 'number of arguments', 'opsauth'], ['opsauth main main main;', 'number of arguments'], ['opsauth "";', 'opsauth', 'needs the name of a store'],
        ['opsauth main quiet;', '"quiet"', '"opsauth"', 'shadow'], ['opsauth off shadow;', 'opsauth off', '"shadow"'], ['opsauth main; opsauth off;', '"opsauth" directive is duplicate'],
        ['opsauth_require;', 'number of arguments'], ['opsauth_require admin;', '"admin"', 'opsauth_require', 'scope=a|b'], ['opsauth_require scopes=a;', '"scopes=a"', 'scope=a|b'],
        ['opsauth_require scope=;', '"scope="', 'words'], ['opsauth_require scope=a||b;', '"scope=a||b"'], ['opsauth_require role=|a;', '"role=|a"'], ['opsauth_require role=a,;', '"role=a,"'],
        ['opsauth_require "role=a b";', '"role=a b"'], ['opsauth_require scope=a\\"b;', 'words'],
        ['opsauth_require method=get;', '"get"', 'capitals', 'method=GET,HEAD'], ['opsauth_require method=;', 'method'], ['opsauth_require method=GET,,PUT;', 'method'], ['opsauth_require method=CONNECT;', '"CONNECT"'],
        ['opsauth_require method=GET method=PUT;', 'two "method="', 'method=GET,HEAD'], ['opsauth_require uri=/v1;', 'uri=/v1', 'regular expression'], ['opsauth_require uri=~;', 'uri=~', 'regular expression'],
        ['opsauth_require uri=~(;', 'uri=~(', qr/parenthesis/], ['opsauth_require uri=~a uri=~b;', 'two "uri="'], ['opsauth_require off off;', '"off"', 'scope=a|b'],
        ['opsauth_require role=a; opsauth_require off;', 'opsauth_require', 'off', 'conflicts'], ['opsauth_require off; opsauth_require role=a;', 'opsauth_require off', 'conflicts'],
        ['opsauth_admin;', 'number of arguments'], ['opsauth_admin on;', '"on"', 'opsauth_admin', 'off'], ['opsauth_admin role=a off;', '"off"'], ['opsauth_admin role=a role=b;', 'duplicate', '"role=b"', 'a|b'], ['opsauth_admin role=;', '"role="'],
        ['opsauth_admin off; opsauth_admin off;', '"opsauth_admin" directive is duplicate'],
        ['opsauth_credential basic;', '"basic"', 'opsauth_credential', 'header=NAME'], ['opsauth_credential header=;', 'header', 'opsauth_credential'], ['opsauth_credential "header=a b";', '"a b"', 'opsauth_credential'],
        (map { ["opsauth_credential header=$_;", qq("$_"), 'opsauth_credential', 'another name'] } qw(Authorization Host cookie Content-Length X_Forwarded_For)),
        ['opsauth_credential bearer; opsauth_credential bearer;', '"opsauth_credential" directive is duplicate'],
        ['opsauth main; opsauth_credential header=X_Tenant-Id;', 'opsauth_credential header=X-Tenant-Id', 'choose another'],
        ['opsauth main; opsauth_credential header=X-Who; opsauth_identity_header X-Who x;', 'opsauth_credential header=X-Who', 'choose another'],
        (map { ["opsauth_identity_header $_ x;", qq("$_"), 'opsauth_identity_header', 'another name'] }
            qw(Host Content-Length Connection connection Transfer-Encoding TE Trailer Upgrade Expect Authorization Cookie X-Forwarded-For Proxy-Connection Content_Length transfer_encoding HOST)),
        ['opsauth_identity_header "X A" x;', '"X A"', 'letters'], ['opsauth_identity_header X:A x;', '"X:A"'], ['opsauth_identity_header "" x;', 'opsauth_identity_header'], ['opsauth_identity_header ' . 'x' x 129 . ' x;', 'opsauth_identity_header'],
        ['opsauth_identity_header X-A;', 'opsauth_identity_header X-A', 'needs a value'], ['opsauth_identity_header X-A x; opsauth_identity_header x-a y;', 'duplicate', 'x-a'], ['opsauth_identity_header X-A x; opsauth_identity_header X_a y;', 'duplicate', 'X_a'],
        ['opsauth_identity_header X-A $nosuch;', 'unknown "nosuch" variable'], ['opsauth_identity_header off; opsauth_identity_header X-A x;', 'opsauth_identity_header', 'conflicts'], ['opsauth_identity_header X-A x; opsauth_identity_header off;', 'conflicts'],
        ['opsauth_environment prod;', '"prod"', 'opsauth_environment', '"any"'], ['opsauth_environment live; opsauth_environment live;', '"opsauth_environment" directive is duplicate'],
        ['opsauth_realm "a \"b\"";', 'opsauth_realm', 'quotes'], ['opsauth_realm "a\\\\b";', 'opsauth_realm'], ["opsauth_realm \"a\tb\";", 'opsauth_realm'], ["opsauth_realm \"\xc3\xbc\";", 'opsauth_realm', 'ASCII'], ['opsauth_realm "";', 'opsauth_realm'], ['opsauth_realm a; opsauth_realm b;', '"opsauth_realm" directive is duplicate'],
        ['opsauth_error_format xml;', '"xml"'], ['opsauth_error_format json; opsauth_error_format off;', '"opsauth_error_format" directive is duplicate'],
        ['opsauth_forward_credential yes;', '"yes"', 'opsauth_forward_credential'], ['opsauth_forward_credential on; opsauth_forward_credential on;', '"opsauth_forward_credential" directive is duplicate'];
    bad('a store in a server', [server => 'opsauth_store x { redis %%REDIS%%; pepper_file %%PEPPER%%; }'], qr/"opsauth_store" directive is not allowed here/);
    for my $line ('opsauth main', 'opsauth_require off', 'opsauth_realm x', 'opsauth_identity_header off', 'opsauth_credential bearer',
        'opsauth_admin off', 'opsauth_environment any', 'opsauth_error_format off', 'opsauth_forward_credential on')
    {
        my ($directive) = split / /, $line;
        bad("$directive in if", [location => "if (\$arg_a) { $line; }"], qr/"$directive" directive is not allowed here/);
        bad("$directive in upstream", [http => "upstream x { $line; }"], qr/"$directive" directive is not allowed here/);
    }
    bad('a store that does not end', [no_store => 1, http => 'opsauth_store x; '], qr/opsauth_store" has no opening "\{"|opsauth_store/);
};

$t->done;
