#!/usr/bin/perl

# The shape of the code (docs/architecture.md): what each layer may include and which
# names it may use, what its own are called, what the core must not use, how long a
# file may be, what stands at the top. Every rule is also fed a tree that breaks it,
# by ways round the plain one, too: behind a comment, by a name declared again.

use strict;
use warnings;

use Cwd qw(realpath);
use File::Basename qw(basename dirname);
use File::Find ();
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use Test::More;

use constant MAX_LINES => 700;

my $root  = realpath(dirname(__FILE__) . '/..');
my $build = $ENV{TEST_BUILD} // "$root/build";

# headers of C11 and POSIX that neither allocate nor tell the time, and the
# processor's instructions
my %PURE = map { $_ => 1 } qw(assert.h ctype.h errno.h inttypes.h limits.h stdalign.h
    stdarg.h stdbool.h stddef.h stdint.h stdio.h stdlib.h string.h strings.h
    arpa/inet.h endian.h netinet/in.h sys/socket.h sys/types.h sys/un.h immintrin.h);

# what the command takes of POSIX besides
my %POSIX = map { $_ => 1 } qw(fcntl.h fnmatch.h glob.h libgen.h locale.h poll.h pwd.h signal.h
    sys/stat.h sys/time.h time.h unistd.h wchar.h);

# names that are others' to use: by layer, what its code must not say at all
my %FOREIGN = (
    core  => qr/^(?:ngx_|cli_|redis[A-Z]|freeReplyObject|json_|pcre2_)/,
    redis => qr/^(?:ngx_http_|NGX_HTTP_|cli_|json_|pcre2_)/,
    shm   => qr/^(?:ngx_http_|NGX_HTTP_|cli_|redis[A-Z]|freeReplyObject|json_|pcre2_)/,
    http  => qr/^(?:cli_|redis[A-Z]|freeReplyObject|pcre2_)/,
    oauth => qr/^(?:cli_|redis[A-Z]|freeReplyObject|pcre2_)/,
    top   => qr/^(?:cli_|redis[A-Z]|freeReplyObject|json_|pcre2_)/,
    cli   => qr/^(?:ngx_|NGX_)/,
);

# layers whose functions a layer may call
my %CALLS = (
    core => { core => 1 }, redis => { redis => 1, core => 1 }, shm => { shm => 1, core => 1 },
    cli  => { cli => 1, core => 1 },
    map { $_ => { core => 1, redis => 1, shm => 1, http => 1, oauth => 1, top => 1 } } qw(http oauth top),
);

# what allocates, tells the time, does I/O or ends the process
my $IMPURE = join '|', qw(malloc calloc realloc reallocarray free strdup strndup alloca
    aligned_alloc posix_memalign OPENSSL_malloc OPENSSL_zalloc OPENSSL_free CRYPTO_malloc CRYPTO_zalloc
    CRYPTO_free asprintf vasprintf
    time clock_gettime gettimeofday clock localtime gmtime localtime_r gmtime_r nanosleep sleep usleep
    rand random srand getrandom arc4random RAND_bytes RAND_priv_bytes
    printf fprintf vfprintf puts putchar perror fopen fdopen open openat read write close socket connect
    send recv mmap fork execve system popen pthread_create syscall
    exit _exit abort raise kill setjmp longjmp getenv setenv dlopen dlsym);

my %PREFIX = (
    core  => qr/^oa_/,
    redis => qr/^ngx_opsauth_/,
    shm   => qr/^ngx_opsauth_/,
    http  => qr/^ngx_http_opsauth_/,
    oauth => qr/^ngx_http_opsauth_oauth_/,
    cli   => qr/^(?:cli_|main$)/,
    top   => qr/^ngx_http_opsauth_module$/,
);

my @TOP = qw(config README.md ngx_http_opsauth_module.c src t conf-examples docker Makefile
    LICENSE CHANGELOG.md .ci .clang-format .gitignore bench docs);

my $TAKEN = join '|', qw(malloc calloc realloc free strdup clock_gettime gettimeofday getrandom RAND_bytes abort exit system);

# --- the rules: each returns what is wrong in a tree ----------------------------------

sub includes {
    my ($tree) = @_;
    my %own;                                # header => layer
    $own{basename $_} = layer($tree, $_) for map { glob "$tree/src/$_/*.h" } layers();
    my (@wrong, %hiredis);

    for my $file (sources($tree)) {
        my $layer = layer($tree, $file);
        my $shown = shown($tree, $file);
        if (!exists $PREFIX{$layer}) {
            push @wrong, "$shown: no such layer";
            next;
        }
        push @wrong, "$shown: neither .c nor .h" if $file !~ /\.[ch]$/;
        my $text = joined(read_file($file));
        while ($text =~ /^[ \t]*(?:#|%:)[ \t]*(?:include|import)(.*?)\s*$/mg) {
            my $what = $1 =~ s/^[ \t]+//r;
            my ($header) = $what =~ /^[<"]([^>"]+)[>"]/;
            if (!defined $header) {
                push @wrong, "$shown: includes $what, which is no plain name";
                next;
            }
            $hiredis{$shown} = 1 if $layer eq 'redis' && $header =~ m{hiredis};
            # our own headers are named without a path, so that none hides
            my $from = $own{basename $header};
            push @wrong, "$shown: $header, by a path" if $from && $header =~ m{/};
            push @wrong, "$shown: $header, a source" if $header =~ /\.c$/;
            push @wrong, "$shown: $header" unless may_include($layer, $header, $from);
        }
    }
    push @wrong, 'hiredis in more than one file of src/redis: ' . join ' ', sort keys %hiredis
        if keys %hiredis > 1;
    return @wrong;
}

sub may_include {
    my ($layer, $header, $from) = @_;       # $from: the layer that owns the header
    my $hiredis = $header =~ m{^hiredis(?:/|\.h$)};
    my $openssl = $header =~ m{^openssl/\w+\.h$};

    if ($layer eq 'core') {
        return $from eq 'core' if $from;
        return $PURE{$header} || $openssl;
    }
    if ($layer eq 'redis' || $layer eq 'shm') {
        return $from eq $layer || $from eq 'core' if $from;
        return 1 if $hiredis && $layer eq 'redis';
        return $PURE{$header} || $header =~ /^ngx_(?:config|core|event\w*)\.h$/;
    }
    if ($layer eq 'cli') {
        return $from eq 'core' || $from eq 'cli' if $from;
        return $hiredis || $openssl || $header =~ /^(?:jansson|pcre2)\.h$/ || $PURE{$header} || $POSIX{$header};
    }
    # http, oauth and the file at the top
    return $from ne 'cli' if $from;
    return $openssl || $header eq 'jansson.h' || $PURE{$header} || $header =~ /^ngx_\w+\.h$/;
}

sub core_is_pure {
    my ($tree) = @_;
    my @wrong;
    for my $file (grep { layer($tree, $_) eq 'core' } sources($tree)) {
        my $code = code_only(read_file($file));
        # called, or taken as a value or an argument, where no variable has such a name
        while ($code =~ /(?<![.>\w])($IMPURE)(?=\s*\()|[=,(]\s*&?($TAKEN)\s*(?=[;,)])/g) {
            push @wrong, shown($tree, $file) . ': ' . ($1 // $2) . '()';
        }
        # a static within a function, too
        push @wrong, shown($tree, $file) . ": the variable $1"
            while $code =~ /^[ \t]+static\s+(?!const\b)(?![\w\s]*\*\s*const\b)[^;(]*?(\w+)(?:\[[^\]]*\])*\s*(?:=[^;]*)?;/mg;
        # state between calls would make the core neither pure nor re-entrant
        while ($code =~ /^(?:static\s+)?(?!typedef|extern|return|const\b|static)(?:unsigned\s+|struct\s+)?\w+[\s*]+(\w+)(?:\[[^\]]*\])*\s*(?:=[^=].*)?;$/mg) {
            push @wrong, shown($tree, $file) . ": the variable $1";
        }
    }
    return @wrong;
}

# what the core's objects leave to others to define: the text of a macro may hide it
sub core_needs {
    my ($tree, $objects) = @_;
    my @wrong;
    for my $file (grep { /\.c$/ && layer($tree, $_) eq 'core' } sources($tree)) {
        my $object = $objects->('core', basename($file, '.c')) or next;
        push @wrong, map { shown($tree, $file) . ": $_" } grep { /^(?:$IMPURE)$/ } nm_undefined($object);
    }
    return @wrong;
}

# Names that a layer must not use, however they were declared: those of libraries
# that are not its own, and what another layer's files define.
sub uses {
    my ($tree, $objects) = @_;
    my (%owner, @wrong);
    my @sources = sources($tree);
    my %text = map { $_ => read_file($_) } @sources;
    for my $file (grep { /\.c$/ } @sources) {
        $owner{$_} = layer($tree, $file) for grep { $_ ne 'main' } text_symbols($text{$file});
    }
    for my $file (@sources) {
        my $layer = layer($tree, $file);
        my $foreign = $FOREIGN{$layer} or next;
        my $object = $file =~ /\.c$/ ? $objects->($layer, basename($file, '.c')) : undef;
        my %said = map { $_ => 1 } code_only($text{$file}) =~ /\b([A-Za-z_]\w*)\b/g,
            $object ? nm_undefined($object) : ();
        # what is included is judged as such
        delete $said{$_} for map { /\w+/g } joined($text{$file}) =~ /^[ \t]*#[ \t]*include(.*)$/mg;
        push @wrong, map { shown($tree, $file) . ": $_" } sort grep { $_ =~ $foreign } keys %said;
        push @wrong, map { shown($tree, $file) . ": $_ of $owner{$_}" }
            sort grep { $owner{$_} && !$CALLS{$layer}{$owner{$_}} && $_ !~ $foreign } keys %said;
        push @wrong, map { shown($tree, $file) . ": $_()" } grep { $said{$_} } qw(dlopen dlsym);
    }
    return @wrong;
}

sub lengths {
    my ($tree, @files) = @_;
    my @wrong;
    for my $file (@files) {
        next if -B "$tree/$file" && -s _;
        next if $file =~ m{(?:^|/)package-lock\.json$};     # nobody writes or reads it
        my $lines = () = read_file("$tree/$file") =~ /\n/g;
        push @wrong, "$file: $lines lines" if $lines > MAX_LINES;
    }
    return @wrong;
}

# symbols that a layer exports, from object files ($objects->{layer}) where there
# are any, else as far as the text tells
sub symbols {
    my ($tree, $objects) = @_;
    my @wrong;
    for my $file (grep { /\.c$/ } sources($tree)) {
        my $layer = layer($tree, $file);
        my $prefix = $PREFIX{$layer} or next;
        my $object = $objects->($layer, basename($file, '.c'));
        my @names = $object ? nm_symbols($object) : text_symbols(read_file($file));
        push @wrong, map { shown($tree, $file) . ": $_" } grep { $_ !~ $prefix } @names;
    }
    return @wrong;
}

my %nm;                                     # object => [[name, type]], read at once

sub nm_load {
    my (@objects) = @_;
    $nm{$_} = [] for @objects;
    open my $nm, '-|', 'nm', '-A', '--extern-only', '--format=posix', @objects or die "nm: $!";
    while (<$nm>) {
        push @{$nm{$1}}, [$2, $3] if /^(.+?): (\S+) (\w)/;
    }
}

sub nm_undefined { return nm_names($_[0], 'U') }

# sanitizers and weak symbols of the compiler are not ours
sub nm_symbols { return grep { !/^(?:__asan|__odr_asan|_?_?ubsan)/ } nm_names($_[0], 'TDBRC') }

sub nm_names {
    my ($object, $types) = @_;
    nm_load($object) unless $nm{$object};
    return map { $_->[1] =~ /[$types]/ ? $_->[0] : () } @{$nm{$object}};
}

# In this style a function's name stands at the start of a line, behind a line
# with its type.
sub text_symbols {
    my ($text) = @_;
    my $code = code_only($text);
    my @names;
    while ($code =~ /^(?!static\b|typedef\b|#)([A-Za-z_][\w \t*]*)\n(\w+)\([^;{]*\)\s*\n\{/mg) {
        push @names, $2 unless $1 =~ /\bstatic\b/;
    }
    while ($code =~ /^(?!static\b|typedef\b|extern\b|return\b)[A-Za-z_][\w \t*]*?[ *](\w+)(?:\([^;{}]*\)\s*\n\{|(?:\[\w*\])*\s*=\s*\{)/mg) {
        push @names, $1;
    }
    return @names;
}

sub leftovers {
    my ($tree) = @_;
    my @wrong;
    for my $file (sources($tree)) {
        my $n = 0;
        for my $line (split /\n/, read_file($file)) {
            $n++;
            push @wrong, shown($tree, $file) . ":$n: $1" if $line =~ /\b(TODO|FIXME|XXX)\b/;
        }
    }
    return @wrong;
}

sub top_level {
    my (@names) = @_;
    my %allowed = map { $_ => 1 } @TOP;
    return grep { !$allowed{$_} } @names;
}

# --- what the rules read --------------------------------------------------------------

sub layers { return grep { $_ ne 'top' } sort keys %PREFIX }

sub layer {
    my ($tree, $file) = @_;
    return $file =~ m{^\Q$tree\E/src/([^/]+)/} ? $1 : 'top';
}

sub shown { my ($tree, $file) = @_; return substr $file, 1 + length $tree }

sub sources {
    my ($tree) = @_;
    my @found = grep { -f } "$tree/ngx_http_opsauth_module.c";
    # whatever a compiler might be led to, not only what is called .c and .h
    File::Find::find({ no_chdir => 1, wanted => sub { push @found, $_ if -f && !/\.(?:map|swp|o)$/ } },
        "$tree/src") if -d "$tree/src";
    return sort @found;
}

sub read_file {
    my ($path) = @_;
    open my $fh, '<:raw', $path or die "$path: $!";
    local $/;
    return scalar(<$fh>) // '';
}

# as the compiler sees lines: continued ones in one, comments as a blank; strings stay
sub joined {
    my ($text) = @_;
    $text =~ s/\\[ \t]*\n//g;
    $text =~ s{(/\*.*?\*/)|(//[^\n]*)|("(?:\\.|[^"\\\n])*")}
              {defined $3 ? $3 : ' '}gse;
    return $text;
}

# without comments and the contents of strings; lines stay where they are
sub code_only {
    my ($text) = @_;
    $text =~ s{(/\*.*?\*/)|(//[^\n]*)|("(?:\\.|[^"\\\n])*")|('(?:\\.|[^'\\\n])*')}
              {defined $3 ? '""' : defined $4 ? "' '" : defined $1 ? $1 =~ tr/\n//cdr : ''}gse;
    return $text;
}

# The files of the tree: what git would commit, or, outside of a checkout,
# everything but what is built.
sub tree_files {
    my ($tree) = @_;
    my @files;
    # .git may belong to somebody else than root who runs this; git may be missing
    no warnings 'exec';
    if (-e "$tree/.git" && open my $git, '-|', 'git', '-c', "safe.directory=$tree", '-C',
            $tree, qw(ls-files -z -c -o --exclude-standard)) {
        local $/ = "\0";
        chomp(@files = <$git>);
        close $git or @files = ();
    }
    if (!@files) {
        File::Find::find({ no_chdir => 1, wanted => sub {
            return if $_ eq $tree;
            my $name = shown($tree, "$_");
            $File::Find::prune = 1 if $name eq '.git' || $name eq 'build';
            push @files, $name if -f && $name !~ /\.(?:o|so|swp)$/;
        } }, $tree);
    }
    return sort grep { -f "$tree/$_" && !m{^(?:build|\.git)/} } @files;
}

# objects that are newer than their source; an older one says nothing
sub built_object {
    my ($layer, $name) = @_;
    my $source = "$root/src/$layer/$name.c";
    my $folder = $layer eq 'core' || $layer eq 'cli' ? "obj/$layer" : "nginx/addon/$layer";
    my ($object) = grep { -f } "$build/$folder/$name.o";
    return unless $object && -f $source && (stat $object)[9] >= (stat $source)[9];
    return $object;
}

# --- this tree ------------------------------------------------------------------------

sub none {
    my ($name, @wrong) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok(!@wrong, $name) or diag join "\n", @wrong;
}

my @files = tree_files($root);
my %top = map { m{^([^/]+)} ? ($1 => 1) : () } @files;

my @objects = grep { defined } map { built_object(layer($root, $_), basename($_, '.c')) } grep { /\.c$/ } sources($root);
nm_load(@objects) if @objects;

none('layers include what they may', includes($root));
none('the core is pure', core_is_pure($root));
none('its objects are, too', core_needs($root, \&built_object));
none('layers use no name of those above or beside them', uses($root, \&built_object));
none('no file passes ' . MAX_LINES . ' lines', lengths($root, @files));
none('exported symbols carry their layer\'s prefix', symbols($root, \&built_object));
none('nothing was left for later', leftovers($root));
none('the top level holds what it should', top_level(sort keys %top));

# --- trees that break the rules ---------------------------------------------------------

sub tree {
    my (%files) = @_;
    my $dir = tempdir(CLEANUP => 1);
    %files = ('src/core/oa_a.h' => '', 'src/redis/ngx_opsauth_r.h' => '',
        'src/shm/ngx_opsauth_s.h' => '', 'src/http/ngx_http_opsauth.h' => '',
        'src/cli/cli_a.h' => '', %files);
    for my $name (keys %files) {
        make_path(dirname("$dir/$name"));
        open my $fh, '>', "$dir/$name" or die "$name: $!";
        print {$fh} $files{$name};
        close $fh;
    }
    return $dir;
}

subtest 'includes that are refused' => sub {
    my @bad = (
        ['core/oa_b.c',            '<ngx_core.h>'],
        ['core/oa_b.c',            '<hiredis/hiredis.h>'],
        ['core/oa_b.c',            '"ngx_opsauth_r.h"'],
        ['core/oa_b.c',            '<time.h>'],
        ['core/oa_b.c',            '"../redis/ngx_opsauth_r.h"'],
        ['core/oa_b.c',            '"oa_b_impl.c"'],
        ['core/oa_b.h',            '<jansson.h>'],
        ['core/oa_b.c',            'SOME_MACRO'],
        ['redis/ngx_opsauth_b.c',  '<ngx_http.h>'],
        ['redis/ngx_opsauth_b.c',  '"ngx_opsauth_s.h"'],
        ['redis/ngx_opsauth_b.c',  '"ngx_http_opsauth.h"'],
        ['redis/ngx_opsauth_b.h',  '<ngx_stream.h>'],
        ['shm/ngx_opsauth_b.c',    '"ngx_opsauth_r.h"'],
        ['shm/ngx_opsauth_b.c',    '<hiredis/read.h>'],
        ['shm/ngx_opsauth_b.c',    '<ngx_http.h>'],
        ['http/ngx_http_opsauth_b.c', '<hiredis/hiredis.h>'],
        ['http/ngx_http_opsauth_b.c', '"cli_a.h"'],
        ['cli/cli_b.c',            '<ngx_config.h>'],
        ['cli/cli_b.c',            '"ngx_opsauth_r.h"'],
        ['core/oa_b.c',            '<pcre2.h>'],
        ['http/ngx_http_opsauth_b.c', '<pcre2.h>'],
        ['elsewhere/x.c',          '<string.h>'],
        ['http/ngx_http_opsauth_b.c', '<curl/curl.h>'],
        ['cli/cli_b.c',            '<sqlite3.h>'],
        ['core/oa_b.inc',          '<string.h>'],
        ['core/deeper/oa_b.c',     '<time.h>'],
    );
    for my $case (@bad) {
        my ($file, $include) = @$case;
        my @wrong = includes(tree("src/$file" => "/* text */\n #  include $include\n"));
        ok(scalar @wrong, "$file: $include");
    }
    for my $line ('/* why not */ #include "ngx_http_opsauth.h"', "#\\\ninclude \"ngx_http_opsauth.h\"", "#include \\\n  <ngx_http.h>",
        '#/* */include "ngx_http_opsauth.h"', '#include/* */"ngx_http_opsauth.h"', '#import "ngx_http_opsauth.h"', '%:include <ngx_http.h>',
        '#include_next <ngx_http.h>', '#include"ngx_http_opsauth.h"') {
        is(scalar(includes(tree('src/redis/ngx_opsauth_b.c' => "$line\n"))), 1, $line =~ s/\n/\\n/r);
    }
    my @two = includes(tree(map { ("src/redis/ngx_opsauth_$_.c" => "#include <hiredis/read.h>\n") } 1, 2));
    is(scalar @two, 1, 'hiredis in two files of src/redis');
};

subtest 'includes that are right' => sub {
    my %good = (
        'core/oa_b.c'  => ['"oa_a.h"', '<openssl/evp.h>', '<string.h>', '<stdint.h>'],
        'redis/ngx_opsauth_b.c' => ['<ngx_config.h>', '<ngx_core.h>', '<ngx_event_connect.h>',
            '"oa_a.h"', '"ngx_opsauth_r.h"', '<hiredis/read.h>'],
        'shm/ngx_opsauth_b.c' => ['<ngx_core.h>', '"oa_a.h"', '"ngx_opsauth_s.h"'],
        'http/ngx_http_opsauth_b.c' => ['<ngx_http.h>', '"oa_a.h"', '"ngx_opsauth_r.h"',
            '"ngx_opsauth_s.h"', '"ngx_http_opsauth.h"', '<openssl/rand.h>'],
        'oauth/ngx_http_opsauth_oauth_b.c' => ['"oa_a.h"', '"ngx_opsauth_r.h"',
            '"ngx_http_opsauth.h"', '<jansson.h>', '<openssl/sha.h>'],
        'cli/cli_b.c' => ['"cli_a.h"', '"oa_a.h"', '<hiredis/hiredis.h>', '<jansson.h>',
            '<pcre2.h>', '<time.h>', '<openssl/rand.h>', '<unistd.h>'],
    );
    for my $file (sort keys %good) {
        my $text = join '', map { "#include $_\n" } @{$good{$file}};
        is_deeply([includes(tree("src/$file" => $text))], [], $file);
    }
};

subtest 'names that are used' => sub {
    my $none = sub { return };
    my %files = (
        'src/http/ngx_http_opsauth_up.c'  => "ngx_int_t\nngx_http_opsauth_up(void)\n{\n    return 0;\n}\n",
        'src/shm/ngx_opsauth_side.c'      => "ngx_int_t\nngx_opsauth_side(void)\n{\n    return 0;\n}\n",
        'src/redis/ngx_opsauth_other.c'   => "ngx_int_t\nngx_opsauth_other(ngx_int_t n)\n{\n    return n;\n}\n",
        'src/cli/cli_up.c'                => "int\ncli_up(void)\n{\n    return 0;\n}\n",
        'src/core/oa_low.c'               => "int\noa_low(void)\n{\n    return 0;\n}\n",
    );
    my $use = sub {
        my ($file, $code) = @_;
        return uses(tree(%files, "src/$file" => "void\n@{[basename($file) =~ s/\.c$//r]}(void)\n{\n    $code\n}\n"), $none);
    };
    for my $case (
        ['redis/ngx_opsauth_b.c', 'extern ngx_int_t ngx_http_opsauth_up(void); ngx_http_opsauth_up();', 'up, by extern'],
        ['redis/ngx_opsauth_b.c', 'ngx_http_finalize_request(r, 500);', "nginx's http"],
        ['redis/ngx_opsauth_b.c', 'struct ngx_http_request_s *r;', 'a type of it'],
        ['redis/ngx_opsauth_b.c', 'ngx_opsauth_side();', 'beside'],
        ['shm/ngx_opsauth_b.c', 'ngx_opsauth_other(1);', 'beside, the other way'],
        ['shm/ngx_opsauth_b.c', 'redisReaderCreate();', 'hiredis'],
        ['core/oa_b.c', 'ngx_opsauth_side();', 'up from the core'],
        ['core/oa_b.c', 'cli_up();', 'the command, from the core'],
        ['http/ngx_http_opsauth_b.c', 'cli_up();', 'the command'],
        ['http/ngx_http_opsauth_b.c', 'redisCommand(c, "GET");', 'a blocking call of hiredis'],
        ['cli/cli_b.c', 'ngx_opsauth_other(2);', "the module's, from the command"],
        ['http/ngx_http_opsauth_b.c', 'dlsym(0, "x");', 'by its name as text'],
    ) {
        my ($file, $code, $name) = @$case;
        my @found = $use->($file, $code);
        cmp_ok(scalar @found, '>=', 1, "$file: $name");
    }
    for my $case (['redis/ngx_opsauth_b.c', 'oa_low(); ngx_opsauth_other(1); /* as ngx_http_opsauth_up() */ ngx_log_debug0("ngx_http_opsauth_up");'],
        ['shm/ngx_opsauth_b.c', 'ngx_opsauth_side();'], ['cli/cli_b.c', 'cli_up(); oa_low(); redisCommand(c, "GET");'],
        ['http/ngx_http_opsauth_b.c', 'ngx_opsauth_side(); ngx_opsauth_other(1); json_pack("{}"); ngx_http_opsauth_up();']) {
        is_deeply([$use->(@$case)], [], "$case->[0]: what it may");
    }
};

subtest 'the other rules' => sub {
    for my $code ('p = malloc(3);', 'free (p);', 'now = time(NULL);', 'clock_gettime(0, &t);',
        'void *(*get)(size_t) = malloc;', 'use(clock_gettime, 3);', 'static int  calls;', 'static char  seen[3] = "ab";') {
        is(scalar(core_is_pure(tree('src/core/oa_b.c' => "void\noa_x(void)\n{\n    $code\n}\n"))), 1, $code);
    }
    is(scalar(core_is_pure(tree('src/core/oa_b.c' => "static int  counter;\n"))), 1, 'a static variable');
    is(scalar(core_is_pure(tree('src/core/deeper/oa_b.c' => "void\noa_x(void)\n{\n    free(p);\n}\n"))), 1, 'in a folder of its own');
    is_deeply([core_is_pure(tree('src/core/oa_b.c' =>
        "/* calls malloc() and time() */\nstatic const int  oa_n = 3;\nstatic const char *s = \"free()\";\n"
        . "int oa_f(int a);\ntypedef struct x_s  x_t;\nint\noa_f(int a)\n{\n    int  b;\n\n    b = a;\n    return b;\n}\nvoid\noa_g(oa_t *p)\n{\n    static const int  k = 1;\n    static const char *const  w[] = { \"a\" };\n    p->time = at.time;\n}\n"))],
        [], 'words in comments and strings, constants and locals are none');

    my $long = tree('src/core/oa_long.c' => "\n" x 701, 't/x.t' => "\n" x 700);
    is(scalar(lengths($long, 'src/core/oa_long.c', 't/x.t')), 1, '701 lines');

    is(scalar(leftovers(tree('src/http/ngx_http_opsauth_b.c' => "/* T" . "ODO: more */\n"))), 1,
        'something left for later');
    is_deeply([top_level('src', 'notes.txt')], ['notes.txt'], 'a stray file at the top');

    my $none = sub { return };
    my $style = "ngx_int_t\n%s(ngx_conf_t *cf,\n    void *p)\n{\n    return NGX_OK;\n}\n";
    is(scalar(symbols(tree('src/redis/ngx_opsauth_b.c' => sprintf $style, 'other_name'), $none)), 1,
        'a function without the prefix, by its text');
    is(scalar(symbols(tree('src/redis/ngx_opsauth_b.c' => 'static ' . sprintf $style, 'other_name'), $none)),
        0, 'a static one is free');
    is(scalar(symbols(tree('src/http/ngx_http_opsauth_b.c' => sprintf $style, 'ngx_http_opsauth_x'), $none)),
        0, 'one with it');

    my ($cc) = grep { -x } map { "$_/cc" } split /:/, $ENV{PATH};
    SKIP: {
        skip 'no compiler', 3 unless $cc;
        my $dir = tree('src/core/oa_b.c' => "int oa_good;\nint bad;\nstatic int own(void) { return 1; }\n"
            . "int oa_f(void) { return own(); }\n");
        system $cc, '-c', "$dir/src/core/oa_b.c", '-o', "$dir/oa_b.o";
        is_deeply([symbols($dir, sub { "$dir/oa_b.o" })], ['src/core/oa_b.c: bad'], 'nm sees it');

        $dir = tree('src/core/oa_b.c' => "#define join(a, b) a ## b\nvoid *join(mal, loc)(unsigned long);\n"
            . "int join(n, gx_http_opsauth_up)(void);\nint oa_f(void) { return join(mal, loc)(3) && join(n, gx_http_opsauth_up)(); }\n");
        system $cc, '-w', '-c', "$dir/src/core/oa_b.c", '-o', "$dir/oa_b.o";
        my $object = sub { $_[1] eq 'oa_b' ? "$dir/oa_b.o" : undef };
        is_deeply([core_needs($dir, $object)], ['src/core/oa_b.c: malloc'], 'and what a macro hides');
        is_deeply([uses($dir, $object)], ['src/core/oa_b.c: ngx_http_opsauth_up'], 'of another layer, too');
    }
};

done_testing();
