#!/usr/bin/perl

# opsauth explain against the running gateway: the same verdict on every row of
# the truth table, the same server and location for every request, and what it
# says where it can't or must not answer.

use strict;
use warnings;

use JSON::PP ();
use Test::More;

use OpsAuth::Command;
use OpsAuth::Policy;
use OpsAuth::Test;

my ($t, $store, $conf, $opsauth);

# a gateway with this in http { }; the one before ends
sub gateway {
    my ($http) = @_;
    $t->finish if $t;
    $t = OpsAuth::Test->new;
    $t->redis;
    $store = $t->store;
    $t->upstream;
    $conf = $t->config_http(ref $http ? $http->() : $http)->nginx->{conf};
    $opsauth = OpsAuth::Command->new($t, OPSAUTH_CONFIG => $conf);
    $t->start;
}

sub ask { return $opsauth->run(ref $_[0] ? shift : (), 'explain', @_) }

# the JSON, and the exit code in it; words as for the command
sub json {
    my ($exit, $out, $err) = ask(@_, '--json');
    my $x = eval { JSON::PP->new->utf8->decode($out) } // { failed => "$exit: $err" };
    $x->{exit} = $exit;
    $x->{failed} .= $err if length $err;
    return $x;
}

sub outcomes {
    my ($x) = @_;
    return join ', ', map { "$_->{check} $_->{outcome}" } @{$x->{checks}};
}

sub check {
    my ($x, $name) = @_;
    return (grep { $_->{check} eq $name } @{$x->{checks}})[0] // {};
}

# --- the truth table -------------------------------------------------------------------

subtest 'every row of the truth table' => sub {
    my $policy;
    gateway(sub { ($policy = OpsAuth::Policy->new($t))->http });
    my $n = 0;
    for my $row ($policy->rows) {
        my $key = $policy->issue($store, $row);
        my $id = $store->read_credential($key)->{id};
        my $r = $policy->request($row, $key);
        my @words = ($row->{method}, $row->{uri}, '--host', $row->{place}, '--from', $row->{address},
            $row->{address} eq 'unix:' ? ('--listen', 'unix:' . $t->dir . '/nginx.sock')
                                       : ('--listen', $t->port(8080)));
        my $x = json({ in => "$key\n" }, '-', @words);
        my $y = json($id, @words);
        my $gateway = join ' ', $r->header('X-Reason') // '', $r->status;
        my $said = join ' ', map { $_->{failed} // "$_->{reason} " . ($_->{status} // 200) } $x;
        is($said, $gateway, $row->{name} . ', by the key');
        is("$y->{reason} $y->{exit}", "$row->{reason} " . ($row->{reason} eq 'ok' ? 0 : 1), 'and by its id');
        my @failed = grep { $_->{outcome} eq 'fails' } @{$x->{checks}};
        is(scalar @failed, $row->{reason} eq 'ok' ? 0 : 1, 'one check failed, or none') or diag outcomes($x);
        $n++;
    }
    cmp_ok($n, '>=', 100, 'rows that were tried');
    for my $row ($policy->skipped) {
        my ($exit, $out, $err) = ask('key_x', $row->{method}, $row->{uri}, '--from', '::1');
        is("$exit $out", '2 ', "$row->{name}: nginx refuses it");
        like($err, qr/nginx answers 40[05]|expected a path/, 'and so it is said');
    }
};

# --- servers and locations --------------------------------------------------------------

# one line each, so that the line that explain names tells which place it is
sub place {
    my ($where, $name, @more) = @_;
    return "location $where { add_header X-Where $name always; add_header X-Reason \$opsauth_reason always;"
        . " opsauth_require role=$name; proxy_pass http://%%UPSTREAM%%;\n@more }\n";
}

sub server {
    my ($head, $name, @places) = @_;
    return "server { $head add_header X-Where $name always; add_header X-Reason \$opsauth_reason always; opsauth_require role=$name;\n@places}\n";
}

my $HTTP = <<'CONF' . join '',
    opsauth_store main { redis %%REDIS%%; pepper_file %%PEPPER%%; redis_timeout 2s; }
    opsauth main;
    opsauth_require role=http uri=~^/v1;
CONF
    server('listen 127.0.0.1:%%PORT_8080%%; server_name first;', 'first',
        place('/', 'root'),
        place('/a', 'a', place('/a/b', 'ab', place('~ \.inner$', 'abinner')), place('= /a/x', 'ax'), place('~* ^/A/N', 'an')),
        place('= /a', 'aexact'),
        place('^~ /static/', 'static', place('~ \.js$', 'js')),
        place('^~/joined', 'joined'),
        place('=/exactly', 'exactly'),
        place('~ \.php$', 'php'),
        place('~* \.(gif|png)$', 'image'),
        place('"~ ^/q{2}$"', 'never'),
        place('~ "^/q{2}$"', 'qq'),
        place('/static/deep/', 'deep'),
        place('/slash/', 'slash'),
        place('/both/', 'bothslash'), place('= /both', 'both'),
        place('/open', 'open', 'limit_except GET POST { opsauth off; }'),
        place('/closed', 'closed', 'limit_except GET { opsauth_require scope=write:x; }'),
        place('/inherits', 'inherits', 'limit_except PUT { opsauth_admin off; }'),
        place('/shadow', 'shadow', 'opsauth main shadow;'),
        place('/off', 'off', 'opsauth off;'),
        place('/none', 'none', 'location /none/off { opsauth_require off; add_header X-Where noneoff always; add_header X-Reason $opsauth_reason always; proxy_pass http://%%UPSTREAM%%; }'),
        place('/caf\xc3\xa9/', 'cafe'),
        place('"/with blank"', 'blank'),
        place('/test', 'test', 'opsauth_environment test;'),
        place('@named', 'named')),
    server('listen 127.0.0.1:%%PORT_8080%% default_server; server_name _;', 'default', place('/', 'droot')),
    server('listen 127.0.0.1:%%PORT_8080%%; server_name api.example.com *.example.com;', 'api'),
    server('listen 127.0.0.1:%%PORT_8080%%; server_name .example.org;', 'org'),
    server('listen 127.0.0.1:%%PORT_8080%%; server_name *.deep.example.com mail.*;', 'deepname'),
    server('listen 127.0.0.1:%%PORT_8080%%; server_name ~^r\d+\.example\.net$ ~^(?<x>.+)\.net$;', 'regex'),
    server('listen 127.0.0.1:%%PORT_8080%%; server_name "~^r1[A-Z]*\.example\.net$" mail.example.*;', 'late'),
    server('listen 127.0.0.1:%%PORT_8081%%; merge_slashes off;', 'other', place('//', 'two'), place('/', 'one')),
    server('listen 127.0.0.1:%%PORT_8081%%; server_name merged; merge_slashes on;', 'merged', place('//', 'mtwo'), place('/', 'mone')),
    "server { listen 127.0.0.1:%%PORT_8083%%; opsauth_admin scope=write:x; opsauth_environment any;\n"
        . 'location / { add_header X-Where bare always; add_header X-Reason $opsauth_reason always; proxy_pass http://%%UPSTREAM%%; '
        . "\nlocation ~ ^/v(\\d)/ { add_header X-Where v always; add_header X-Reason \$opsauth_reason always; proxy_pass http://%%UPSTREAM%%; opsauth_admin off; } } }\n",
    server('listen 127.0.0.1:%%PORT_8082%%; server_name x;', 'alone', 'include more/*.conf;');

my @REQUESTS = (
    # host, method, uri, port
    (map { ['first', 'GET', $_] } qw(/ /x /a /a/ /ab /a/b /a/b/x.inner /a/b.php /a/x /a/xy /a/next /A/next
        /x.php /a/b/x.php /X.PHP /x.PNG /static/x.js /static/x.php /static/ /static /static/deep/x.php
        /joined/x.php /exactly /exactly/x /qq /qqq /slash /slash/ /slash/x /slash?x /both /both/ /open /closed /inherits
        /shadow /off /none /none/x /none/off/y /named @named /caf%C3%A9/ /caf%c3%a9/x /with%20blank /test),
        '/a/../x.php', '/static/..', '/static/../a', '/a/./b', '/a//b', '/%61/b', '/a%2Fb', '/x%2Ephp', '/a/b/.', '/a/b/..',
        '/a/b/%2E%2E', '/%2e%2e', '/a/../../x', '/a%', '/a%00b', '/a%3F.php', '/a%25.php', '/a?x=/b.php', '/a#x.php',
        '/a/...', '/a/..b', '/a/.b', '/a%23x', '//', '/a/b//../', '/static/%2e%2e/x.php', '/a/b/%252e', '/%7Ex', '/+.php'),
    (map { my $m = $_; map { ['first', $m, $_] } qw(/open /closed /inherits) }
        qw(GET HEAD POST PUT DELETE PATCH OPTIONS PROPFIND PURGE)),
    (map { [$_, 'GET', '/'] } qw(first FIRST first. first:80 _ nobody api.example.com www.example.com a.b.example.com
        example.com example.org www.example.org x.deep.example.com deep.example.com mail.x mail mail.example.com
        mail.example.net r1.example.net r12.example.net rx.example.net .net x.y.net)),
    (map { [$_, 'GET', '/', 8081] } qw(first anything)),
    ['first', 'GET', '//x', 8081], ['first', 'GET', '/a//../..', 8081], ['first', 'GET', '/a//../x', 8081],
    ['merged', 'GET', '//x', 8081], ['merged', 'GET', '/x', 8081],
    (map { ['z', 'GET', $_, 8083] } qw(/ /v1 /v1/x /v2/x)),
    (map { ['y', 'GET', $_, 8082] } qw(/ /inc /inc/x /outer)),
);

subtest 'servers and locations' => sub {
    gateway(sub {
        $t->write_file('more/1.conf', place('/inc', 'inc') =~ s/%%UPSTREAM%%/$t->var('UPSTREAM')/er);
        $t->write_file('more/2.conf', place('/inc/', 'inc2') =~ s/%%UPSTREAM%%/$t->var('UPSTREAM')/er);
        return $HTTP;
    });
    my $key = $store->issue(account => $store->account('crm', roles => 'root ab js static inc shadow'), scopes => 'write:x');
    my $id = $store->read_credential($key)->{id};
    my %lines;
    for my $case (@REQUESTS) {
        my ($host, $method, $uri, $port) = @$case;
        $port //= 8080;
        my $name = "$method $uri at $host:$port";
        my $r = $t->request($method, $uri, host => $host, key => $key, port => $port, close => 1);
        my @words = ($id, $method, $uri, '--from', '127.0.0.1', '--host', $host, '--listen', '127.0.0.1:' . $t->port($port));
        my $x = json(@words);
        if ($r->status == 400 && $x->{exit} == 2) {
            like($x->{failed}, qr/nginx answers 400|expected a path/, "$name: no request for nginx");
            next;
        }
        my $line = $x->{location} // $x->{server};
        my $text = ($lines{$line->{file} // ''} //= [read_lines($line->{file})])->[($line->{line} // 1) - 1] // '';
        my ($where) = $text =~ /X-Where (\w+)/;
        is($where // $x->{failed}, $r->header('X-Where') // '', "$name: the place");
        is($x->{reason} // '', $r->header('X-Reason') // '', "$name: the reason");
        is($x->{verdict} eq 'shadow-deny' ? 200 : $x->{status} // 200, $r->status, "$name: the status");
    }
};

# the gateway's rights, as docs/redis.md has them
sub read_acl {
    my ($line) = grep { /ACL SETUSER gateway/ } read_lines($t->root . '/docs/redis.md');
    return $line =~ s/.*>PASSWORD //r;
}

sub read_lines {
    my ($path) = @_;
    open my $fh, '<:raw', $path // '/dev/null' or return;
    return <$fh>;
}

# --- which server ------------------------------------------------------------------------

subtest 'what is told decides which server it is' => sub {
    my ($p8080, $p8081) = ($t->port(8080), $t->port(8081));
    my $key = $store->issue(account => 'crm');
    my $id = $store->read_credential($key)->{id};
    my @from = ('--from', '127.0.0.1');
    my ($exit, $out, $err) = ask($id, 'GET', '/', @from);
    is("$exit $out", '2 ', 'a path alone fits several');
    like($err, qr/which server is asked\? .*\w+\.conf:\d+.*--listen/, 'both are named, and the remedy');
    like(json($id, 'GET', "http://127.0.0.1:$p8081/x", @from)->{server}{text}, qr/^server$/, 'a URL has address and port');
    is(json($id, 'GET', "http://FIRST:$p8080/x", @from)->{request}{host}, 'first', 'and the host');
    is(json($id, 'GET', "http://10.1.2.3:$p8080/x", @from)->{exit}, 1, 'an address of somebody before nginx');
    my $x = json($id, 'GET', 'http://first/x', '--listen', $p8080, @from);
    my $y = json($id, 'GET', '/x', '--host', 'first', '--listen', $p8080, @from);
    delete $_->{request}{at} for $x, $y;
    is_deeply($x, $y, '--listen and --host override the URL');
    ($exit, $out, $err) = ask($id, 'GET', 'http://first/x', @from);
    is($exit, 2, 'nobody listens there');
    like($err, qr/no server listens on port 80; there are: 127\.0\.0\.1:\d+/, 'and who does');
};

# of the bytes that make a difference, by chance but the same ones each time
subtest 'the path that nginx sees' => sub {
    gateway(<<'CONF');
    opsauth_store main { redis %%REDIS%%; pepper_file %%PEPPER%%; redis_timeout 2s; }
    add_header X-Uri "<$uri>" always;
    server { listen 127.0.0.1:%%PORT_8080%%; location / { return 204; } }
    server { listen 127.0.0.1:%%PORT_8081%%; merge_slashes off; location / { return 204; } }
CONF
    my @parts = (qw(/ / / . . .. a b %2e %2F %2f %25 %3F %3f %23 %61 ? : + ~), '#', '/../', '/./', '//');
    srand 33;
    for my $i (1 .. ($ENV{TEST_NGINX_VALGRIND} ? 40 : 160)) {
        my $uri = '/' . join '', map { $parts[rand @parts] } 1 .. 1 + rand 9;
        my $port = 8080 + $i % 2;
        my $r = $t->get($uri, port => $port, close => 1);
        my $x = json('key_x', 'GET', $uri, '--from', '::1', '--listen', $t->port($port));
        my $said = $x->{request} ? "<$x->{request}{uri}>" : $x->{failed} =~ /nginx answers 400/ ? 400 : $x->{failed};
        is($said, $r->header('X-Uri') && $r->status != 400 ? $r->header('X-Uri') : $r->status, "$uri at $port");
    }
};

# --- the key itself -----------------------------------------------------------------------

sub with_key { my ($key, @words) = @_; return json({ in => $key }, '-', @words, '--from', '127.0.0.1') }

my $LUA = <<'CONF';
    opsauth_store main {
        redis %%REDIS%%;
        pepper_file %%PEPPER%%;
        key_prefix op365_sk_live_ environment=live checksum=crc32;
        key_prefix op365_sk_test_ environment=test checksum=crc32;
    }
    opsauth_store second { redis %%REDIS%%; pepper_file %%PEPPER%%; prefix second:; }
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        location / {
            opsauth main;
            opsauth_credential bearer header=X-API-Key;
            opsauth_require scope=read:a role=r;
            opsauth_require scope=read:b method=POST;
            add_header X-Reason $opsauth_reason always;
            proxy_pass http://%%UPSTREAM%%;
        }
        location /any { opsauth main; opsauth_rate default=60/m burst=5; opsauth_environment any; add_header X-Reason $opsauth_reason always; proxy_pass http://%%UPSTREAM%%; }
        location /second { opsauth second; add_header X-Reason $opsauth_reason always; proxy_pass http://%%UPSTREAM%%; }
        location /rewritten { opsauth main; satisfy any; rewrite ^ /x; allow 127.0.0.1; deny all; error_page 401 403 /x; error_page 500 /y; proxy_pass http://%%UPSTREAM%%; }
    }
CONF

subtest 'the key on stdin' => sub {
    gateway($LUA);
    $store->account('acme', roles => 'r', ips => '127.0.0.0/8', rate => '300/m');
    my %keys = (
        good     => $store->issue(scopes => 'read:a', ips => '127.0.0.1'),
        token    => $store->issue(kind => 'access_token', scopes => 'read:a'),
        wrong    => $store->key(undef, checksum => 'wrong'),
        test     => $store->issue(key_prefix => 'op365_sk_test_', environment => 'test', scopes => 'read:a'),
        unknown  => $store->key,
        lied     => $store->issue(environment => 'test'),
        broken   => $store->issue(state => 'sleeping'),
        orphan   => $store->issue(account => 'nobody'),
        malformed => 'not a key', long => 'x' x 513, fits => 'x' x 512, empty => '', control => "a\x01b",
    );
    $t->secret(grep { length > 12 } values %keys);
    my $port = $t->port(8080);
    for my $uri ('/x', '/any', '/second') {
        for my $name (sort keys %keys) {
            my $r = $t->get($uri, length $keys{$name} ? (key => $keys{$name}) : ());
            my $x = with_key("$keys{$name}\n", 'GET', $uri);
            my $gateway = $r->header('X-Reason') // 'malformed';
            is($x->{reason} // $x->{failed}, $gateway, "$uri $name: $gateway");
            is($x->{exit}, $r->status == 200 ? 0 : 1, 'exit code') unless $name eq 'control';
        }
    }
    my $x = with_key($keys{good}, 'GET', '/x');
    is(outcomes($x), 'presence ok, syntax ok, prefix ok, prefix\'s environment ok, checksum ok, lookup ok, environment ok, '
        . 'state ok, expiry ok, account ok, account\'s addresses ok, its own addresses ok, administrator no, '
        . 'rule ok, rule ok, rule does not apply, rate not checked', 'all checks, in their order');
    my $rate = sub { my $row = check(with_key($keys{good}, 'GET', $_[0]), 'rate'); return defined $row->{outcome} ? join '|', $row->{outcome}, $row->{fact}, $row->{by}{text} // '-' : 'none' };
    is($rate->('/x'), 'not checked|300/m|-', 'its own rate');
    is($rate->('/any'), 'not checked|300/m|opsauth_rate default=60/m burst=5', 'with the line of the rate');
    $store->update_account('acme', rate => '');
    is($rate->('/x'), 'none', 'no rate');
    is($rate->('/any'), 'not checked|60/m, the default here|opsauth_rate default=60/m burst=5', 'the default');
    $store->update_account('acme', rate => '300/m');
    like(check($x, 'prefix')->{by}{text}, qr/^key_prefix op365_sk_live_/, 'the line of the prefix');
    like(check($x, 'presence')->{by}{text}, qr/^opsauth_credential bearer/, 'the line of the credential');
    is(check($x, 'rule')->{by}{text}, 'opsauth_require scope=read:a role=r', 'the line of the rule');
    is((read_lines($conf))[check($x, 'rule')->{by}{line} - 1] =~ s/^\s+|;\s+$//gr, check($x, 'rule')->{by}{text}, 'which is there');

    $x = with_key($keys{good}, 'POST', '/x');
    like(outcomes($x), qr/administrator no, rule ok, rule ok, rule fails, rate/, 'a rule that fails');
    is((grep { $_->{outcome} eq 'fails' } @{$x->{checks}})[0]{fact}, 'scope read:b; it has read:a', 'and why');
    $x = with_key($keys{wrong}, 'GET', '/x');
    like(outcomes($x), qr/environment ok, checksum fails, lookup not reached, environment not reached.*rule not reached, rule not reached$/,
        'what is behind a failure is not reached');
    is(with_key("$keys{good}\r\n\n", 'GET', '/x')->{exit}, 0, 'ends of lines do not count');

    my ($exit, $out, $err) = ask({ in => "a\nb\n" }, '-', 'GET', '/x', '--from', '::1');
    is("$exit $out", '2 ', 'two keys are one too many');
    like($err, qr/more than one line/, 'and so it is said');

    for my $name (grep { length $keys{$_} > 12 } sort keys %keys) {
        my ($exit, $out, $err) = ask({ in => $keys{$name} }, '-', 'GET', '/x', '--from', '::1');
        is(index("$out$err", $keys{$name}), -1, "$name is not shown");
    }
    ($exit, $out, $err) = ask($keys{good}, 'GET', '/x', '--from', '::1');
    is($exit, 2, 'a key in place of its id');
    like($err, qr/that is a key itself/, 'is refused');
    is(index($err, $keys{good}), -1, 'and not shown');
};

subtest 'an id, the time, the store' => sub {
    my $key = $store->issue(scopes => 'read:a', expires => 2000000000);
    my $id = $store->read_credential($key)->{id};
    my @words = ($id, 'GET', '/x', '--from', '127.0.0.1');
    my $x = json(@words);
    is("$x->{verdict} $x->{exit} $x->{credential} $x->{account} $x->{store}", "allow 0 $id acme main", 'by its id');
    like(outcomes($x), qr/^the key itself not checked, lookup ok/, 'what needs the key is not checked');
    is(json(@words, '--at', '2033-05-18T03:33:19Z')->{reason}, 'ok', 'a second before it expires');
    is(json(@words, '--at', '2033-05-18T03:33:20Z')->{reason}, 'expired', 'and when it does');
    is(json(@words, '--at', '2020-01-01')->{request}{at}, '2020-01-01T00:00:00Z', 'the past');
    is(json(@words, '--at', '20y')->{reason}, 'expired', 'from now');
    is(json(@words, '--pepper-file', '/nonexistent')->{exit}, 0, 'an id needs no pepper');
    is(json($id, 'GET', '/x', '--from', '10.0.0.1')->{reason}, 'ip', 'another address');
    is(json($id, 'GET', '/x', '--from', '::ffff:127.0.0.1')->{reason}, 'ok', 'the same one, mapped');

    my $other = json($id, 'GET', '/second', '--from', '127.0.0.1');
    is($other->{exit}, 3, 'the store of the place is asked');
    my ($exit, $out, $err) = ask(@words, '--store', 'second');
    is("$exit $out", '2 ', 'another store');
    like($err, qr/--store "second": this place is guarded by "main" \(\w+\.conf:\d+\)/, 'which guards something else');

    ($exit, $out, $err) = ask(@words);
    is("$exit $err", '0 ', 'for people');
    like($out, qr/^credential +\Q$id\E of account acme\nrequest +GET \/x from 127\.0\.0\.1\nserver +\w+\.conf:\d+: the default server, of 127\.0\.0\.1:\d+\nlocation +\w+\.conf:\d+: location \/\nguard +\w+\.conf:\d+: opsauth main\n\nCHECK +OUTCOME/, 'head');
    like($out, qr/^rule +ok +scope read:a; it has read:a +\w+\.conf:\d+: opsauth_require scope=read:a role=r$/m, 'a row');
    like($out, qr/\n\nallowed\n\z/, 'verdict');
    ($exit, $out) = ask($id, 'POST', '/x', '--from', '127.0.0.1');
    like($out, qr/\n\ndenied: scope, HTTP 403\n\z/, 'a denial');

    $x = json($id, 'GET', '/rewritten', '--from', '127.0.0.2');
    is(join('; ', map { $_->{text} } @{$x->{not_followed}}), 'satisfy any; rewrite ^ /x; allow 127.0.0.1; deny all',
        'what is not followed');
    $store->update($key, state => 'revoked');
    $x = json($id, 'GET', '/rewritten', '--from', '127.0.0.2');
    like($x->{not_followed}[-1]{text}, qr/^error_page 401/, 'error pages, where they count');
    like((ask($id, 'GET', '/rewritten', '--from', '127.0.0.2'))[1], qr/^not followed: \w+\.conf:\d+: satisfy any$/m, 'for people');

    my $acl = read_acl();
    $store->{redis}->cmd(qw(ACL SETUSER gateway on), '>reads-only', split ' ', $acl);
    my @user = ('--redis-user', 'gateway', '--redis-password-file', $t->write_file('password', "reads-only\n", 0600));
    is(with_key($key, 'GET', '/x', @user)->{reason}, 'revoked', 'what the gateway may do is enough for a key');
    is(with_key($store->key, 'GET', '/x', @user)->{reason}, 'unknown', 'also for one that is unknown');
    ($exit, $out, $err) = ask(@words, @user);
    is("$exit $out", '1 ', 'but not for an id');
    like($err, qr/does not allow user "gateway".* to run GET/, 'and so it is said');

    $store->hash('opsauth:meta', x => 1);
    my $unknown = $store->key;
    is(with_key($unknown, 'GET', '/x')->{reason}, 'unavailable', 'a store that was never set up knows of nobody');
    $store->marker;
    $store->forget($key);
    is(json(@words)->{reason}, 'unknown', 'an id whose record is gone');
};

# --- a configuration with Lua -----------------------------------------------------------

subtest 'Lua blocks' => sub {
    my $text = $t->http_text(<<'CONF');
    init_by_lua_block { s = "}" t = '{' -- }
        x = [[ } ]] y = [==[ } ]] } ]==] --[[ } ]] z = { a = { 1 } } q = "\"}" }
    opsauth_store main { redis %%REDIS%%; pepper_file %%PEPPER%%; }
    server {
        listen 127.0.0.1:1;
        set_by_lua_block $x { return "a;}" }
        location / {
            opsauth main;
            access_by_lua_block {
                if a then ngx.exit(403) end -- don't {
            }
            opsauth_require scope=read:a;
        }
    }
CONF
    $text =~ s/%%REDIS%%/$t->var('REDIS')/ge;
    $text =~ s/%%PEPPER%%/$t->var('PEPPER')/ge;
    $text =~ s/%%\w+%%//g;
    my $file = $t->write_file('lua.conf', $text);
    my $key = $store->issue(scopes => 'read:a');
    my $x = json({ in => $key }, '-c', $file, '-', 'GET', '/', '--from', '127.0.0.1');
    is($x->{reason} // $x->{failed}, 'ok', 'are passed over');
    is((read_lines($file))[check($x, 'rule')->{by}{line} - 1] =~ s/^\s+|;\s+$//gr, 'opsauth_require scope=read:a', 'lines are counted');
    is(join('; ', map { $_->{text} } @{$x->{not_followed}}), 'access_by_lua_block', 'and named');

    $t->write_file('lua.conf', $text =~ s/if a then/[[ if a then/r);
    my ($exit, $out, $err) = ask('-c', $file, 'key_x', 'GET', '/', '--from', '::1');
    is("$exit $out", '1 ', 'one that does not end');
    like($err, qr/Lua block .* is not closed, in .*lua\.conf:\d+/, 'is named');
};

# --- what is wrong ---------------------------------------------------------------------

subtest 'bad input' => sub {
    my @from = ('--from', '::1');
    my @bad = (
        [2, qr/--from is missing/, 'key_x', 'GET', '/'],
        [2, qr/--from "300\.1\.1\.1": expected an IPv4 or IPv6 address/, 'key_x', 'GET', '/', '--from', '300.1.1.1'],
        [2, qr/--from "10\.0\.0\.0\/8"/, 'key_x', 'GET', '/', '--from', '10.0.0.0/8'],
        [2, qr/METHOD "get": expected capitals/, 'key_x', 'get', '/', @from],
        [2, qr/METHOD ""/, 'key_x', '', '/', @from],
        [2, qr/METHOD TRACE: nginx answers 405/, 'key_x', 'TRACE', '/', @from],
        [2, qr/URI "v1": expected a path/, 'key_x', 'GET', 'v1', @from],
        [2, qr/URI "ftp:\/\/x\/": expected/, 'key_x', 'GET', 'ftp://x/', @from],
        [2, qr/URI "http:\/\/x:0\/": expected/, 'key_x', 'GET', 'http://x:0/', @from],
        [2, qr/URI "http:\/\/\/x": expected/, 'key_x', 'GET', 'http:///x', @from],
        [2, qr/nginx answers 400 to it: it leads above/, 'key_x', 'GET', '/..', @from],
        [2, qr/nginx answers 400 to it: "%" must/, 'key_x', 'GET', '/%zz', @from],
        [2, qr/nginx answers 400 to it: a blank/, 'key_x', 'GET', '/a b', @from],
        [2, qr/--host "a b"/, 'key_x', 'GET', '/', @from, '--host', 'a b'],
        [2, qr/--listen "x": expected \[ADDRESS:\]PORT/, 'key_x', 'GET', '/', @from, '--listen', 'x'],
        [2, qr/--at "yesterday": expected/, 'key_x', 'GET', '/', @from, '--at', 'yesterday'],
        [2, qr/--at "never"/, 'key_x', 'GET', '/', @from, '--at', 'never'],
        [2, qr/METHOD URI --from ADDRESS is missing/, 'key_x', 'GET'],
        [3, qr/there is no key "key_x"; with - the key itself is read from stdin/, 'key_x', 'GET', '/', @from],
        [3, qr/there is no token "tok_x"/, 'tok_x', 'GET', '/', @from],
        [1, qr/can't be opened/, '-c', '/nonexistent', 'key_x', 'GET', '/', @from],
        [1, qr/there is no http block/, '-c', $t->write_file('empty.conf', "events { }\n"), 'key_x', 'GET', '/', @from],
        [1, qr/there is no server in http/, '-c', $t->write_file('bare.conf', "http { }\n"), 'key_x', 'GET', '/', @from],
        [1, qr/opsauth_require scope=" in wrong\.conf:1 is not understood; "nginx -t"/,
            '-c', $t->write_file('wrong.conf', "http { server { opsauth_require scope=; } }\n"), 'key_x', 'GET', '/', @from],
        [2, qr/there is no opsauth_store "gone"/, '-c', $t->write_file('gone.conf',
            "http { opsauth_store a { redis unix:/x; } server { opsauth gone; } }\n"), 'key_x', 'GET', '/', @from],
        [1, qr/failed at connecting/, 'key_x', 'GET', '/', @from, '--redis', 'unix:/nonexistent'],
    );
    for my $case (@bad) {
        my ($wanted, $message, @words) = @$case;
        my ($exit, $out, $err) = ask(@words);
        is("$exit $out", "$wanted ", join ' ', @words);
        like($err, $message, 'says why');
    }
    my ($exit, $out, $err) = ask({ env => { OPSAUTH_CONFIG => '' } }, 'key_x', 'GET', '/', @from);
    is("$exit $out", '2 ', 'no configuration');
    like($err, qr/which configuration\? Give -c nginx\.conf/, 'says what to give');

    ($exit, $out, $err) = ask('--help');
    is("$exit $err", '0 ', '--help');
    like($out, qr/^usage: opsauth explain ID\|- METHOD URI --from ADDRESS.*^  opsauth explain/ms, 'with an example');
    ok(!(grep { length > 100 } split /\n/, $out), 'no line is too long');
};

$t->done;
