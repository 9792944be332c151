#!/usr/bin/perl

# What the opsauth command refuses, and what it says then: usage, values that
# the gateway would not accept, a Redis that is away or says no, secrets that
# others can read; and where it learns of the store: options, environment,
# nginx.conf.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use OpsAuth::Command;
use OpsAuth::Test;

my $t = OpsAuth::Test->new;
my $redis = $t->redis;
my $dir = $t->dir;

my $pepper = $t->write_file('pepper', "# newest first\n" . 'p' x 40 . "\n", 0600);
my $opsauth = OpsAuth::Command->new($t);

sub opsauth { return $opsauth->run(@_) }

my @STORE = ('--redis', $redis->url, '--pepper-file', $pepper, '--key-prefix', 'live=op365_sk_live_');
my ($rc, $out, $err);

# the words, the exit code, what stderr says; stdout must be empty
sub refused {
    my ($words, $code, $said, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my %o = ref $words->[0] ? %{$words->[0]} : ();
    ($rc, $out, $err) = opsauth(@$words);
    $name //= join ' ', grep { !ref } @$words;
    is("$rc $out", "$code ", $name);
    like($err, $said, '  says so');
    like($err, qr/^opsauth: /, '  under its name');
}

is((opsauth(qw(account create crm), @STORE))[0], 0, 'an account to work with');

# --- usage -----------------------------------------------------------------------

subtest 'usage' => sub {
    refused(['acount'], 2, qr/unknown command "acount"; did you mean "account"\?/);
    refused(['audti'], 2, qr/unknown command "audti"; did you mean "audit"\?/);
    refused(['docter'], 2, qr/did you mean "doctor"\?/);
    refused([qw(audit --sinc 7d)], 2, qr/"--sinc"; did you mean "--since"\?.*opsauth audit --help/);
    refused([qw(completion)], 2, qr/bash\|zsh is missing/);
    refused(['account', 'craete'], 2, qr/unknown verb "craete"; did you mean "create"\?.*account --help/);
    refused(['key', 'xyzzy'], 2, qr/unknown verb "xyzzy"; see "opsauth key --help"/);
    refused([qw(key create --acount crm)], 2, qr/"--acount"; did you mean "--account"\?/);
    refused([qw(key create --perm read)], 2, qr/did you mean "--permission"\?/);
    refused([qw(key create --zzz)], 2, qr/unknown option "--zzz"; see "opsauth key create --help"/);
    refused([qw(account list -x)], 2, qr/unknown option "-x"/);
    refused([qw(--name x account create a)], 2, qr/unknown option "--name"/, 'an option before its verb');
    refused([qw(account create)], 2, qr/ID is missing\nusage: opsauth account create ID/);
    refused([qw(account create a b)], 2, qr/"b" is too much/);
    refused([qw(account list x)], 2, qr/"x" is too much/);
    refused([qw(account create a --name)], 2, qr/--name needs a value: --name TEXT/);
    refused([qw(account create a --name --json)], 2, qr/--name needs a value/);
    refused([qw(account create a --json=1)], 2, qr/--json takes no value/);
    refused([qw(account create a --name x --name y)], 2, qr/--name is given twice/);
    refused(["acc\e[31m"], 2, qr/unknown command "acc\\x1b\[31m"/, 'control characters stay away');
    is((opsauth(@STORE, qw(account show -- crm)))[0], 0, '-- ends the options');
    is((opsauth('--redis=' . $redis->url, qw(account show crm)))[0], 0, '--option=value');
};

# --- values ----------------------------------------------------------------------

subtest 'values' => sub {
    my @create = (qw(account create a), @STORE);
    refused([qw(account create), 'a b', @STORE], 2, qr/"a b" is no id of an account: expected letters/);
    refused([@create, '--ip', '203.0.113.7/24'], 2, qr/--ip "203\.0\.113\.7\/24": expected .*prefix length/);
    refused([@create, '--ip', '10.0.0.1', '--ip', 'x'], 2, qr/--ip "x": /, 'the second address');
    refused([@create, '--ip', ''], 2, qr/--ip is empty/, 'an empty --ip does not open it to all');
    refused([@create, '--rate', '300'], 2, qr/--rate "300": expected requests per/);
    refused([@create, '--role', 'a"b'], 2, qr/--role "a"b": expected words/);
    refused([@create, '--tenant', "a\nb"], 2, qr/--tenant "a\\x0ab": /, 'a line break');
    refused([@create, '--name', "\xff"], 2, qr/--name .*: expected UTF-8/, 'no UTF-8');
    refused([@create, '--name', "\xc2\x9b"], 2, qr/--name "\\x9b": expected UTF-8/, 'a C1 control');
    refused([@create, '--name', 'x' x 257], 2, qr/--name .*256/, 'a long name');
    refused([qw(account set crm), @STORE], 2, qr/nothing to change/);
    refused([qw(account set crm --refresh --no-refresh), @STORE], 2, qr/exclude each other/);

    my @key = (qw(key create --account crm --name n), @STORE);
    refused([@key], 2, qr/what may it do\? Give --permission read, write or admin, or --scope/);
    refused([@key, qw(--permission all)], 2, qr/--permission "all": expected read, write or admin/);
    refused([@key, '--scope', ''], 2, qr/what may it do/, 'an empty scope');
    refused([@key, '--scope', "a\\b"], 2, qr/--scope "a\\b": expected words/);
    refused([@key, qw(--scope s --environment prod)], 2, qr/--environment "prod": expected live or test/);
    refused([@key, qw(--scope s --expires), $_], 2, qr/--expires "\Q$_\E": expected a time from now/)
        for '90x', '0', '-1d', '2020-01-01', '2027-02-30', '2027-13-01', '99999y', '2027-01-01T25:00',
            '2027-01-01Zjunk', '';
    refused([@key, '--scope', 's', '--ip', ''], 2, qr/--ip is empty/);
    refused([@key, '--scope', 'x' x 800], 2, qr/--scope .*768/, 'too many scopes');
    refused([qw(key create --name n --scope s), @STORE], 2, qr/--account is missing: whose/);
    refused([qw(key create --account crm --scope s), @STORE], 2, qr/--name is missing/);
    refused([qw(key create --account nobody --name n --scope s), @STORE], 3,
        qr/no account "nobody"; .*opsauth account create nobody/);
    refused([qw(token issue --account nobody --scope s), @STORE], 3, qr/no account "nobody"/);
    refused([@key, qw(--scope s --environment test)], 1,
        qr/what do new test keys begin with\? Give --key-prefix test=TEXT, or write key_prefix/);
    refused([@key, qw(--scope s --timeout 0)], 2, qr/--timeout "0": expected 1s/);

    is_deeply($redis->cmd('KEYS', 'opsauth:id:*'), [], 'none of them wrote a thing');
    is_deeply($redis->cmd('KEYS', 'opsauth:account:*'), ['opsauth:account:crm'], 'no account either');
};

# --- secrets and files -------------------------------------------------------------

subtest 'pepper' => sub {
    my @key = (qw(key create --account crm --name n --scope s --key-prefix live=op365_sk_live_ --redis),
        $redis->url);
    refused([@key], 1, qr/pepper is needed: give --pepper-file FILE.*opsauth pepper generate FILE/,
        'no pepper file');
    refused([@key, '--pepper-file', "$dir/none"], 1, qr/"\Q$dir\E\/none" \(--pepper-file\) can't be opened/);
    for my $mode (0644, 0660, 0604, 0620) {
        chmod $mode, $pepper;
        refused([@key, '--pepper-file', $pepper], 1,
            qr/has mode \Q@{[sprintf '%04o', $mode]}\E.*chmod 600 \Q$pepper\E/, sprintf 'mode %04o', $mode);
    }
    for my $mode (0600, 0400, 0640, 0440) {
        chmod $mode, $pepper;
        is((opsauth(@key, '--pepper-file', $pepper))[0], 0, sprintf 'mode %04o is fine', $mode);
    }
    chmod 0600, $pepper;
    my $short = $t->write_file('short', "short\n", 0600);
    refused([@key, '--pepper-file', $short], 1, qr/is not valid: a pepper has less than 16 bytes/);
    refused([@key, '--pepper-file', $dir], 1, qr/is no regular file/);
    is((opsauth(qw(account list --redis), $redis->url))[0], 0, 'who needs no pepper is not asked for it');
};

subtest 'Redis away, slow or unwilling' => sub {
    my $down = 'redis://127.0.0.1:' . $t->port('down');
    refused([qw(account list --redis), $down], 1, qr/Redis at \Q$down\E \(--redis\).*refused/);
    refused([qw(account list --redis), "unix:$dir/no.sock"], 1, qr/no\.sock/);
    refused([qw(account list --redis http://x)], 2, qr/"http:\/\/x" \(--redis\) is not valid: expected redis:/);
    refused([qw(account list --redis redis://u:p@h/)], 2, qr/is not valid: /);
    refused([qw(account list --redis redis://127.0.0.1:1/99999)], 2, qr/database must be/);
    refused([qw(account list --redis), $redis->url(99)], 1, qr/no database of this number/);
    refused([qw(account list)], 2, qr/where is the store\? Give --config nginx.conf or --redis URL/);

    my $fake = $t->fake_redis(name => 'FAKE', script => { '*' => 'silence' });
    my $begin = time;
    refused([qw(account list --timeout 1s --redis), $fake->url], 1, qr/did not answer in time/);
    ok(time - $begin < 4, 'after the time given');
    my %refusals = (
        '-LOADING Redis is loading the dataset in memory' => qr/still loading/,
        '-NOAUTH Authentication required.' => qr/asks for a password: give --redis-password-file/,
        "-NOPERM this user has no permissions to run the 'scan' command" => qr/does not allow user "default" to run SCAN/,
        '-READONLY You can\'t write against a read only replica.' => qr/is a replica/,
        '-MOVED 1 127.0.0.1:1' => qr/cluster/,
        '-ERR something else' => qr/refuses SCAN.*: "ERR something else"/,
        '$5' => qr/did not answer in time/,
        ':1' => qr/something else than a cursor/,
        '*2' => qr/did not answer in time/,
    );
    for my $reply (sort keys %refusals) {
        $fake->script('*' => $reply);
        refused([qw(account list --timeout 1s --redis), $fake->url], 1, $refusals{$reply}, $reply);
    }
    $fake->script('*' => { raw => "?\r\n" });
    refused([qw(account list --redis), $fake->url], 1, qr/[Pp]rotocol error/, 'no RESP');
    $fake->script('*' => 'close');
    refused([qw(account list --redis), $fake->url], 1, qr/closed the connection|reset/, 'closed');
};

# What Redis did before it went is not known, and said so; and what was begun
# ends with 1 wherever it breaks off.
subtest 'Redis goes in the middle' => sub {
    my $fake = $t->fake_redis(name => 'BREAKS');
    my @store = ('--redis', $fake->url, '--pepper-file', $pepper, qw(--key-prefix live=op365_sk_live_ --timeout 1s));
    my %parts = (
        'account create new'  => [qw(WATCH MULTI HSET XADD EXEC)],
        'account disable crm' => [qw(WATCH HGETALL MULTI HSET EXEC)],
        'key create --account crm --name n --scope s' => [qw(HGETALL MULTI SET SADD EXEC)],
        'key revoke key_1'    => [qw(GET HGETALL WATCH MULTI HSET EXEC)],
        'account list'        => [qw(SCAN HGETALL)],
        'key list'            => [qw(SCAN GET HGETALL)],
        'audit'               => [qw(XREVRANGE XRANGE)],
    );
    my $list = "*2\r\n\$1\r\n0\r\n*2\r\n\$19\r\nopsauth:account:crm\r\n\$16\r\nopsauth:id:key_1\r\n";
    my $fresh = sub {
        $fake->behave->cmd('FLUSHALL');
        $fake->cmd(qw(HSET opsauth:account:crm enabled 1));
        $fake->cmd(qw(SET opsauth:id:key_1), 'a' x 64);
        $fake->cmd('HSET', 'opsauth:credential:' . 'a' x 64, qw(v 1 id key_1 kind api_key account crm state active));
        $fake->script(WATCH => '+OK', MULTI => '+OK', SCAN => { raw => $list }, XADD => '+QUEUED', HSETNX => '+QUEUED',
            XREVRANGE => { raw => "*1\r\n*2\r\n\$3\r\n1-1\r\n*0\r\n" });
    };
    for my $words (sort keys %parts) {
        my @commands = @{$parts{$words}};
        for my $command (@commands) {
            for my $how ('close', 'rst', $command eq $commands[-1] ? 'silence' : ()) {
                $fresh->();
                $fake->script($command => $how);
                refused([split(/ /, $words), @store], 1,
                    qr/failed at .*(?:closed|reset|in time)/, "$words: $how at $command");
                like($err, qr/whether the change was made is not known; look before/, '  and what is not known')
                    if $command eq 'EXEC';
            }
        }
    }
    $fake->stop;
};

subtest 'no secret on the command line' => sub {
    my ($help) = (opsauth('man'))[1] =~ s/\\-/-/gr =~ s/\\f[BIR]//gr;
    my @takes = $help =~ /^(?:-\w, )?(--[\w-]+ \S+)$/mg;
    cmp_ok(scalar @takes, '>', 20, 'options with values');
    is_deeply([grep { /^--\S*(?:password|secret|pepper|token)/ && !/ FILE$/ } @takes], [], 'secrets are in files');
};

subtest 'columns' => sub {
    my @names = ('a b', "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", "e\xcc\x81te\xcc\x81", "\xf0\x9f\x94\x91",
        "\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d", '');
    my @width = (3, 6, 3, 2, 4, 1);
    my @store = ('--redis', $redis->url, '--prefix', 'columns:');
    is((opsauth('account', 'create', "a$_", '--name', $names[$_], @store))[0], 0, "name $_") for 0 .. $#names;
    my (undef, @lines) = split /\n/, (opsauth(qw(account list), @store))[1];
    my $widest = 6;
    for my $i (0 .. $#names) {
        my $shown = $names[$i] eq '' ? '-' : $names[$i];
        my $pad = ' ' x ($widest - $width[$i] + 2);
        like($lines[$i], qr/^a$i  \Q$shown$pad\Eyes /, "name $i takes $width[$i]");
    }
};

subtest 'users and passwords' => sub {
    my $own = $t->redis(name => 'OWN', acl => [
        'user default off', 'user admin on >right ~* &* +@all', 'user reader on >right ~* +@read +select',
    ], user => 'admin', password => 'right');
    my $right = $t->write_file('right', "right\n", 0600);
    my $wrong = $t->write_file('wrong', "wrong\n", 0600);
    my $open  = $t->write_file('open', "right\n", 0644);
    my $empty = $t->write_file('empty', "\n", 0600);
    my @list = (qw(account list --redis), $own->url);
    my @admin = (@list, qw(--redis-user admin --redis-password-file));

    is((opsauth(@admin, $right))[0], 0, 'user and password');
    is((opsauth({env => {OPSAUTH_REDIS_USER => 'admin', OPSAUTH_REDIS_PASSWORD_FILE => $right}}, @list))[0],
        0, 'from the environment');
    refused([@list], 1, qr/asks for a password: give --redis-password-file/);
    refused([@admin, $wrong], 1, qr/does not accept .*user "admin", password file "\Q$wrong\E"/);
    unlike($err, qr/wrong"?\s*$/, 'the password is not shown');
    refused([@admin, $open], 1, qr/chmod 600/);
    refused([@admin, $empty], 1, qr/holds no password/);
    refused([@list, qw(--redis-user admin)], 2, qr/needs --redis-password-file/);
    refused([qw(account create x --redis), $own->url, qw(--redis-user reader --redis-password-file), $right],
        1, qr/does not allow user "reader".* to run WATCH/);
    my $client = $own->client(user => 'admin', password => 'right');
    $client->cmd(qw(ACL SETUSER reader +watch +multi +exec +hset));
    refused([qw(account create x --redis), $own->url, qw(--redis-user reader --redis-password-file), $right],
        1, qr/does not allow user "reader".* to run XADD "opsauth:audit"/);
    is($own->cmd(qw(EXISTS opsauth:account:x)), 0, 'and half a change is none');
};

# --- where the store is --------------------------------------------------------------

subtest 'nginx.conf' => sub {
    my $url = $redis->url(2);
    $t->write_file('conf/secrets/pepper', 'q' x 40, 0600);
    $t->write_file('conf/sites/b.conf', <<"CONF");
        opsauth_store main {        # a quote ' in a comment
            redis '$url'; pepper_file secrets/pepper;
            key_prefix "one_live_" environment=live checksum=crc32;
            key_prefix one_test_ environment=test;
            key_prefix plain_;
            cache 64m; cache_valid 60s;
            prefix "p\\\\q:";
        }
CONF
    $t->write_file('conf/sites/a.conf', "map \$a \$b { default \"a;}b\"; ~^\\{x 'c'; \${y}z 1; }\n");
    my $conf = $t->write_file('conf/nginx.conf', <<'CONF');
        user nobody; # opsauth_store comment {
        events { }
        http {
            include sites/*.conf;
            include none/*.conf;
            log_format f '$a "x" \' {'
                         "\"}";
        }
CONF
    is((opsauth('-c', $conf, qw(account create c)))[0], 0, 'include, glob, quotes, comments');
    $redis->cmd('SELECT', 2);
    is($redis->cmd('EXISTS', 'p\\q:account:c'), 1, 'database and prefix from there');
    for my $case (['live', 'one_live_'], ['test', 'one_test_']) {
        my ($environment, $prefix) = @$case;
        ($rc, $out) = opsauth({env => {OPSAUTH_CONFIG => $conf}}, qw(key create --account c --name n --scope s
            --environment), $environment);
        like($out, qr/^${prefix}[0-9A-Za-z]{49}$/, "$environment key from the block, with checksum");
    }
    $redis->cmd('SELECT', 0);

    ($rc, $out) = opsauth({env => {OPSAUTH_PREFIX => 'e:'}}, '-c', $conf, qw(account list --json));
    is("$rc $out", "0 []\n", 'the environment wins over the file');
    ($rc, $out) = opsauth({env => {OPSAUTH_PREFIX => 'e:'}}, '-c', $conf, '--prefix', 'p\\q:',
        qw(account list --json));
    like($out, qr/"id": "c"/, 'an option over the environment');
    like((opsauth('-c', $conf, qw(key create --account c --name n --scope s --key-prefix live=other_)))[1],
        qr/^other_/, '--key-prefix');

    my %broken = (
        'http { opsauth_store a { redis x; }'        => qr/"}" is missing in .*broken\.conf:1/,
        "\n}"                                        => qr/unexpected "}" in .*broken\.conf:2/,
        'a "b'                                       => qr/a quote is not closed/,
        'a "b"c;'                                    => qr/a blank is missing/,
        'a'                                          => qr/the file ends before ";"/,
        'http { a }'                                 => qr/";" is missing before "}"/,
        ';'                                          => qr/a directive is missing/,
        'include broken.conf;'                       => qr/includes nest too deep/,
        'include none.conf;'                         => qr/"\Q$dir\E\/none\.conf" \(included in .*broken\.conf:1\)/,
        'opsauth_store a { redis x; redis y; }'      => qr/redis in .*broken\.conf:1: expected one/,
        'opsauth_store a { key_prefix x env=live; }' => qr/"env=live" is no parameter of key_prefix/,
        'opsauth_store a { b { } }'                  => qr/unexpected block inside of opsauth_store/,
        'http { }'                                   => qr/no opsauth_store block in/,
    );
    for my $text (sort keys %broken) {
        my $file = $t->write_file('broken.conf', $text);
        refused(['-c', $file, qw(account list)], 1, $broken{$text}, $text =~ s/\n/\\n/r);
    }
    refused(['-c', "$dir/none", qw(account list)], 1, qr/can't be opened/);

    my $two = $t->write_file('two.conf', "opsauth_store one { redis $url; prefix p\\q:; } "
        . "opsauth_store two { redis redis://127.0.0.1:1; }");
    refused(['-c', $two, qw(account list)], 2, qr/several stores; say which one: --store NAME, of one, two/);
    is((opsauth('-c', $two, qw(--store one account list)))[0], 0, '--store');
    is((opsauth({env => {OPSAUTH_STORE => 'one'}}, '-c', $two, qw(account list)))[0], 0, 'OPSAUTH_STORE');
    refused(['-c', $two, qw(--store three account list)], 2, qr/no opsauth_store "three" in .*, only one, two/);
    refused([@STORE, qw(--store one account list)], 2, qr/--store needs --config/);
    refused([@STORE, qw(--prefix), '', qw(account list)], 2, qr/--prefix is empty/);
    refused([@STORE, qw(--key-prefix prod=x account list)], 2, qr/expected live=PREFIX or test=PREFIX/);
    refused([@STORE, '--key-prefix', 'live=a b', qw(account list)], 2, qr/key prefix "a b" .*not valid/);
};

# a prefix that is a pattern to Redis must be no pattern here
subtest 'prefix' => sub {
    $redis->cmd('HSET', 'xyaccount:other', 'enabled', 1);
    is((opsauth(qw(account create mine --prefix x[y*]?), @STORE))[0], 0, 'x[y*]?');
    is((opsauth(qw(account list --json --prefix x[y*]?), @STORE))[1] =~ tr/{//, 1, 'only its own');
};

# a token never looks like a key, a key never like another one's
subtest 'prefixes of one another' => sub {
    my @overlap = map { ('--key-prefix', "test=a_$_") } 'a' .. 'm';
    my @store = ('--redis', $redis->url, '--pepper-file', $pepper, '--key-prefix', 'live=a_', @overlap);
    my @keys = map { (opsauth(qw(key create --account crm --name n --scope s), @store))[1] } 1 .. 20;
    is((grep { /^a_[a-m]/ } @keys), 0, 'no live key begins like a test key');
};

unlink glob("$dir/cli.*"), $pepper;
$t->done;
