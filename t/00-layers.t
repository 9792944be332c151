#!/usr/bin/perl

# The shape of the code (docs/architecture.md): what each layer may include, what its
# symbols are called, what the core must not use, how long a file may be, what
# stands at the top. Every rule is also fed a tree that breaks it.

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
    arpa/inet.h netinet/in.h sys/socket.h sys/types.h sys/un.h immintrin.h);

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
        my $text = read_file($file);
        # ngx_config.h asks libc for what nginx's headers need, before any other does
        push @wrong, "$shown: $1 comes before nginx's headers"
            if $layer !~ /^(?:core|cli)$/ && $text =~ /\A(?:(?!^[ \t]*#[ \t]*include).)*^[ \t]*#[ \t]*include[ \t]*([<"](?!ngx_)\S*)/ms;
        while ($text =~ /^[ \t]*#[ \t]*include[ \t]*(.*?)\s*$/mg) {
            my $what = $1;
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
    my $libc = $header !~ m{^(?:ngx_|nginx|oa_|cli_|hiredis|jansson|pcre2|openssl/)};

    if ($layer eq 'core') {
        return $from eq 'core' if $from;
        return $PURE{$header} || $header =~ m{^openssl/\w+\.h$};
    }
    if ($layer eq 'redis' || $layer eq 'shm') {
        return $from eq $layer || $from eq 'core' if $from;
        return 1 if $hiredis && $layer eq 'redis';
        return $PURE{$header} || $header =~ /^ngx_(?:config|core|event\w*)\.h$/;
    }
    if ($layer eq 'cli') {
        return $from eq 'core' || $from eq 'cli' if $from;
        return $hiredis || $header =~ /^(?:jansson|pcre2)\.h$/ || $header =~ m{^openssl/} || $libc;
    }
    # http, oauth and the file at the top
    return $from ne 'cli' if $from;
    return !$hiredis && $header ne 'pcre2.h';
}

sub core_is_pure {
    my ($tree) = @_;
    my @wrong;
    my $forbidden = join '|', qw(malloc calloc realloc reallocarray free strdup strndup alloca
        aligned_alloc OPENSSL_malloc OPENSSL_zalloc OPENSSL_free asprintf vasprintf
        time clock_gettime gettimeofday clock localtime gmtime
        rand random srand getrandom RAND_bytes printf fprintf puts fopen open exit abort
        setjmp getenv);
    for my $file (glob "$tree/src/core/*.[ch]") {
        my $code = code_only(read_file($file));
        while ($code =~ /\b($forbidden)\s*\(/g) {
            push @wrong, shown($tree, $file) . ": $1()";
        }
        push @wrong, shown($tree, $file) . ": nginx's $1" if $code =~ /\b(ngx_\w+)/;
        # state between calls would make the core neither pure nor re-entrant
        while ($code =~ /^(?:static\s+)?(?!typedef|extern|return|const\b|static)(?:unsigned\s+|struct\s+)?\w+[\s*]+(\w+)(?:\[[^\]]*\])*\s*(?:=[^=].*)?;$/mg) {
            push @wrong, shown($tree, $file) . ": the variable $1";
        }
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

sub nm_symbols {
    my ($object) = @_;
    open my $nm, '-|', 'nm', '--defined-only', '--extern-only', '--format=posix', $object
        or die "nm: $!";
    # sanitizers and weak symbols of the compiler are not ours
    return map { /^(\S+) [TDBRC] / ? $1 : () } grep { !/^(?:__asan|__odr_asan|_?_?ubsan)/ } <$nm>;
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
    File::Find::find({ no_chdir => 1, wanted => sub { push @found, $_ if /\.[ch]$/ && -f } },
        "$tree/src") if -d "$tree/src";
    return sort @found;
}

sub read_file {
    my ($path) = @_;
    open my $fh, '<:raw', $path or die "$path: $!";
    local $/;
    return scalar(<$fh>) // '';
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

none('layers include what they may', includes($root));
none('the core is pure', core_is_pure($root));
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
        ['http/ngx_http_opsauth_b.c', '<jansson.h>'],
        ['oauth/ngx_http_opsauth_oauth_b.c', '<openssl/evp.h>'],
        ['redis/ngx_opsauth_b.h',  '"oa_a.h"'],
        ['elsewhere/x.c',          '<string.h>'],
    );
    for my $case (@bad) {
        my ($file, $include) = @$case;
        my @wrong = includes(tree("src/$file" => "/* text */\n #  include $include\n"));
        ok(scalar @wrong, "$file: $include");
    }
    my @two = includes(tree(map { ("src/redis/ngx_opsauth_$_.c" => "#include <ngx_config.h>\n#include <hiredis/read.h>\n") } 1, 2));
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
        'oauth/ngx_http_opsauth_oauth_b.c' => ['"ngx_opsauth_r.h"', '"oa_a.h"',
            '"ngx_http_opsauth.h"', '<jansson.h>', '<openssl/sha.h>'],
        'cli/cli_b.c' => ['"cli_a.h"', '"oa_a.h"', '<hiredis/hiredis.h>', '<jansson.h>',
            '<pcre2.h>', '<time.h>', '<openssl/rand.h>', '<unistd.h>'],
    );
    for my $file (sort keys %good) {
        my $text = join '', map { "#include $_\n" } @{$good{$file}};
        is_deeply([includes(tree("src/$file" => $text))], [], $file);
    }
};

subtest 'the other rules' => sub {
    for my $code ('p = malloc(3);', 'free (p);', 'now = time(NULL);', 'clock_gettime(0, &t);',
        'ngx_memzero(a, b);') {
        is(scalar(core_is_pure(tree('src/core/oa_b.c' => "void\noa_x(void)\n{\n    $code\n}\n"))), 1, $code);
    }
    is(scalar(core_is_pure(tree('src/core/oa_b.c' => "static int  counter;\n"))), 1, 'a static variable');
    is_deeply([core_is_pure(tree('src/core/oa_b.c' =>
        "/* calls malloc() and time() */\nstatic const int  oa_n = 3;\nstatic const char *s = \"free()\";\n"
        . "int oa_f(int a);\ntypedef struct x_s  x_t;\nint\noa_f(int a)\n{\n    int  b;\n\n    b = a;\n    return b;\n}\n"))],
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
        skip 'no compiler', 1 unless $cc;
        my $dir = tree('src/core/oa_b.c' => "int oa_good;\nint bad;\nstatic int own(void) { return 1; }\n"
            . "int oa_f(void) { return own(); }\n");
        system $cc, '-c', "$dir/src/core/oa_b.c", '-o', "$dir/oa_b.o";
        is_deeply([symbols($dir, sub { "$dir/oa_b.o" })], ['src/core/oa_b.c: bad'], 'nm sees it');
    }
};

done_testing();
