#!/usr/bin/perl

# The documentation holds together: every link leads somewhere, every page can be
# found, and every command is one that opsauth understands. That its pieces of
# configuration load is t/40-examples.t's to show.

use strict;
use warnings;

use Cwd qw(realpath);
use File::Temp qw(tempdir);
use Test::More;
use Text::ParseWords qw(shellwords);

use OpsAuth::Command;
use OpsAuth::Docs;
use OpsAuth::Test;

my $t = OpsAuth::Test->new;
my $root = $t->root;
my @pages = OpsAuth::Docs->pages($root);
my %page = map { $_->file => $_ } @pages;

sub none {
    my ($name, @wrong) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok(!@wrong, $name) or diag join "\n", @wrong;
}

cmp_ok(scalar(@pages), '>=', 24, 'there are pages');
none('fences are closed', map { $_->unclosed ? $_->name . ':' . $_->unclosed : () } @pages);

# --- links ----------------------------------------------------------------------------

# what is wrong with the links of a page
sub dead_links {
    my ($page, $pages) = @_;
    my @wrong;
    for ($page->links) {
        my ($line, $target) = @$_;
        my $where = $page->name . ":$line: $target";
        if ($target =~ /^\[/) {
            push @wrong, "$where is defined nowhere";
            next;
        }
        if ($target =~ m{^[a-z]+:}) {
            push @wrong, "$where: only https:// and mailto: lead anywhere"
                unless $target =~ m{^https://[\w.-]+(?:[:/#]|$)|^mailto:\S+@\S+$};
            next;
        }
        my ($path, $anchor) = $target =~ /^([^#]*)(?:#(.*))?$/;
        my $file = $path eq '' ? $page->file : realpath($page->dir . "/$path");
        if (!defined $file || !-e $file) {
            push @wrong, "$where: no such file";
        }
        elsif (defined $anchor) {
            my $there = $pages->{$file};
            push @wrong, "$where: no page has such places" and next unless $there;
            push @wrong, "$where: no such heading" unless grep { $_ eq $anchor } $there->anchors;
        }
    }
    return @wrong;
}

my $links = 0;
$links += () = $_->links for @pages;
cmp_ok($links, '>', 200, "$links links");
none('links lead somewhere', map { dead_links($_, \%page) } @pages);

# pages of docs/ that nobody finds who begins at the map
sub lost_pages {
    my ($start, $pages) = @_;
    my %found = ($start->file => 1);
    my @queue = $start;
    while (my $page = shift @queue) {
        for ($page->links) {
            my ($path) = $_->[1] =~ m{^([^#:]+)(?:#|$)} or next;
            my $file = realpath($page->dir . "/$path") // '';
            push @queue, $pages->{$file} if $pages->{$file} && !$found{$file}++;
        }
    }
    return sort map { $_->name } grep { $_->name =~ m{^docs/} && !$found{$_->file} } values %$pages;
}

my ($map) = grep { $_->name eq 'docs/README.md' } @pages;
none('docs/README.md leads to every page', lost_pages($map, \%page));

subtest 'what is found' => sub {
    my $dir = realpath(tempdir(CLEANUP => 1));
    mkdir "$dir/docs";
    my %text = (
        'docs/README.md' => "# The map\n\n[one](one.md) [two](one.md#the-redis-or-not) `[no](link.md)`\n\n"
            . "    [nor](this.md)\n\n[gone](gone.md) [nowhere](one.md#nowhere) [self](#the-map) [up](http://x.example)\n"
            . "[other][missing] [fine][here]\n\n[here]: one.md#a-1\n",
        'docs/one.md'    => "# The `Redis`, or not?\n\n## a\n\n## a\n\n```nginx\n# no heading\n```\n\n"
            . "    location / { opsauth off; }\n\nand\n\n    Syntax: lease time;\n\n- a list\n\n    proxy_pass http://x;\n\n        lease 1s;\n\n```sh\n",
        'docs/lost.md'   => "# Lost\n",
    );
    for my $name (keys %text) {
        open my $fh, '>', "$dir/$name" or die "$name: $!";
        print {$fh} $text{$name};
        close $fh;
    }
    my @found = OpsAuth::Docs->pages($dir);
    my %found = map { $_->file => $_ } @found;
    my ($map) = grep { $_->name eq 'docs/README.md' } @found;
    my ($one) = grep { $_->name eq 'docs/one.md' } @found;
    is_deeply([map { s/^.*?:\d+: //r } dead_links($map, \%found)],
        ['gone.md: no such file', 'one.md#nowhere: no such heading',
         'http://x.example: only https:// and mailto: lead anywhere',
         '[missing] is defined nowhere'], 'dead links');
    is_deeply([lost_pages($map, \%found)], ['docs/lost.md'], 'a page that nothing leads to');
    is($one->unclosed, 23, 'a fence that nothing closes');
    is_deeply([map { $_->{line} } $one->configurations], [7, 11, 21], 'configuration, marked as such or not');
    is($one->fences('nginx'), 1, 'and how much is marked');
    is_deeply([$one->anchors], ['the-redis-or-not', 'a', 'a-1'], 'anchors');
};

# --- files --------------------------------------------------------------------------------

# what the text calls a file of this repository is one; NAME is any of them
sub lost_files {
    my ($page) = @_;
    return map { $page->name . ":$_->[0]: $_->[1]" }
        grep { $_->[1] =~ m{^(?:src|t|docs|bench|conf-examples|docker|packaging|\.ci)/[\w./*-]+$} && !(() = grep { -e } glob "$root/" . $_->[1] =~ s/\bNAME\b/*/r) }
        $page->spans;
}

none('files that are named are there', map { lost_files($_) } @pages);

# and those of the drawing, which shortens their names
{
    my ($page) = grep { $_->name eq 'docs/architecture.md' } @pages;
    my ($drawing) = grep { $_->{text} =~ /PREACCESS/ } $page->pieces;
    my %named = map { $_ => 1 } $drawing->{text} =~ m{([\w/]+\.c)\b}g;
    cmp_ok(scalar keys %named, '>', 15, 'the drawing names files');
    none('which are there', grep { !-e "$root/src/$_" && !-e "$root/src/http/ngx_http_opsauth_$_" } sort keys %named);
}

# and so are the pages that the code names
{
    my @wrong;
    for my $file (glob "$root/*.c $root/src/*/*.[ch] $root/t/*.t $root/t/*/*.[ch] $root/t/lib/OpsAuth/*.pm") {
        open my $fh, '<', $file or die "$file: $!";
        my $text = do { local $/; <$fh> };
        push @wrong, map { "$file: $_" } grep { !-e "$root/$_" } $text =~ m{\b(docs/[\w-]+\.md)\b}g;
    }
    none('pages that the code names are there', grep { !/one\.md|lost\.md/ } @wrong);
}

# --- messages -----------------------------------------------------------------------------

# What a table calls a line or a message is one of the code's, as far as three words
# of it in a row; these few are nginx's and the system's.
my @NGINX = ('unknown directive "', 'instead of', 'is not binary compatible', '(13: Permission denied)',
    '(111: Connection refused)', '(2: No such file or directory)', 'host not found');

sub texts_of_code {
    my $all = '';
    for my $file (glob "$root/src/*/*.c") {
        open my $fh, '<', $file or die "$file: $!";
        my $text = do { local $/; <$fh> };
        $text =~ s/"\s*\n\s*"//g;
        $all .= join "\n", $text =~ /"((?:\\.|[^"\\\n])*)"/g;
    }
    $all =~ s/\\(.)/$1/g;
    $all =~ s/%[-\d*]*(?:l|z|ui|u|s|V|M|O|d|i|xui|04xui|04o)+/.../g;
    return $all =~ s/"\.\.\."/"..."/gr;
}

sub said_by_nobody {
    my ($page, $code) = @_;
    my (@columns, @wrong);
    for ($page->prose) {
        my ($line, $text) = @$_;
        @columns = () and next if $text !~ /^\|/;
        my @cells = split /\s*\|\s*/, $text;
        if (!@columns) {
            @columns = map { /^(?:line|message)\b/ || 0 } @cells;
            next;
        }
        for my $i (grep { $columns[$_] } 0 .. $#cells) {
            for my $message ($cells[$i] =~ /`([^`]+)`/g) {
                next if grep { index($message, $_) >= 0 } @NGINX;
                my @words = split / /, $message =~ s/"[^"]*"/"..."/gr;
                my $last = @words > 3 ? @words - 3 : 0;
                next if grep { index($code, join ' ', @words[$_ .. ($_ + 2 < @words ? $_ + 2 : $#words)]) >= 0 } 0 .. $last;
                push @wrong, $page->name . ":$line: $message";
            }
        }
    }
    return @wrong;
}

{
    my $code = texts_of_code() =~ s/"[^"\n]*"/"..."/gr;
    none('messages that are quoted are the code\'s', map { said_by_nobody($_, $code) } @pages);

    my $file = $t->write_file('page.md', "| line | |\n| --- | --- |\n| `is down: it rests for a while` | |\n"
        . "| `feed of store \"main\": tracking on redis \"x\"` | `nor this one at all` |\n");
    is_deeply([said_by_nobody(OpsAuth::Docs->new($t->dir, $file), $code)], ['page.md:3: is down: it rests for a while'],
        'one that is nobody\'s is found');
}

# --- metrics ------------------------------------------------------------------------------

# status.md has them all (t/67-status.t); other pages must not invent any
{
    my %metric = map { $_ => 1 } map { $_->[1] =~ /^\| `(opsauth_\w+)` \|/ } map { $_->prose }
        grep { $_->name eq 'docs/status.md' } @pages;
    cmp_ok(scalar(keys %metric), '>', 40, 'docs/status.md has metrics');
    my @wrong;
    for my $page (@pages) {
        for my $piece (grep { ($_->{language} // '') =~ /^(?:yaml|promql)$/ } $page->pieces) {
            push @wrong, map { $page->name . ":$piece->{line}: $_" }
                grep { !$metric{s/_(?:bucket|sum|count)$//r} && !$metric{$_} }
                $piece->{text} =~ /\b(opsauth_\w+)(?=[\[{ )=])/g;
        }
    }
    none('metrics that are named are there', @wrong);
}

subtest 'alerts' => sub {
    my ($promtool) = grep { -x } map { "$_/promtool" } split /:/, $ENV{PATH};
    plan skip_all => 'no promtool here; on Debian: apt-get install prometheus' unless $promtool;
    my @rules = grep { ($_->{language} // '') eq 'yaml' && $_->{text} =~ /^groups:/ } map { $_->pieces } @pages;
    cmp_ok(scalar(@rules), '>=', 2, 'there are rules');
    my @queries = map { split /\n/, $_->{text} } grep { ($_->{language} // '') eq 'promql' } map { $_->pieces } @pages;
    push @rules, { text => "groups:\n- name: queries\n  rules:\n"
        . join '', map { "  - {record: q$_, expr: '$queries[$_]'}\n" } 0 .. $#queries } if @queries;
    for my $rule (@rules) {
        my $file = $t->write_file('rules.yml', $rule->{text});
        my $said = qx($promtool check rules $file 2>&1);
        is($?, 0, 'check rules') or diag $said;
    }
};

# --- commands ------------------------------------------------------------------------------

# Where the command would ask Redis it fails: nobody is there. Until then it has
# understood all it was told.
my $opsauth = OpsAuth::Command->new($t, OPSAUTH_REDIS => 'redis://127.0.0.1:1',
    OPSAUTH_CONFIG => $t->write_file('nginx.conf', <<'CONF'));
http {
    opsauth_store main {
        redis       redis://127.0.0.1:1;
        pepper_file pepper;
        key_prefix  op365_sk_live_ environment=live;
        key_prefix  op365_sk_test_ environment=test;
    }
    server { listen 80; listen 443 ssl; opsauth main; }
}
CONF
$t->write_file('pepper', "of the documentation\n", 0600);

# The pieces' commands: {page, line, text, said}, a command over several lines as
# one; "said" is what stands behind it.
sub commands {
    my ($page) = @_;
    my @commands;
    for my $piece ($page->pieces) {
        my $n = $piece->{line};
        my $open;
        for my $line (split /\n/, $piece->{text}) {
            $n++;
            if ($open) {
                $commands[-1]{text} .= ' ' . $line =~ s/^\s+//r;
            }
            elsif ($line =~ /^\s*(?:\$ )?((?:.*(?:&&|\||\$\(|<\()\s*)?(?:sudo )?opsauth [^:{]*.*)$/
                   && $line !~ /^opsauth: / && ($piece->{language} // '') !~ /^(?:nginx|yaml)$/)
            {
                push @commands, { page => $page->name, line => $n, text => $1, said => '' };
            }
            elsif (@commands && $commands[-1]{piece} == $piece) {
                $commands[-1]{said} .= "$line\n";
            }
            $commands[-1]{piece} = $piece if @commands;
            $open = @commands && $commands[-1]{text} =~ s/\s*\\$//;
        }
    }
    return @commands;
}

# words of one call of opsauth, out of a line for a shell
sub words {
    my ($line) = @_;
    my ($call) = $line =~ /(?:^|[\s(])opsauth (.*)/ or return;
    my $plain = '';
    while ($call =~ /\G("(?:\\.|[^"])*"|'[^']*'|[^"'])/g) {
        my $piece = $1;
        last if $piece =~ /^[|<>;&)]$/;
        $plain .= $piece;
    }
    $plain =~ s/\s+#\s.*//;
    $plain =~ s/\s[012]$// if substr($call, length $plain) =~ /^>/;     # 2> file
    my $dir = $t->dir;
    $plain =~ s{/etc/}{$dir/etc/}g;
    $plain =~ s/"?\$\{?[A-Z]\w*_URL\}?/http:\/\/127.0.0.1/g;
    $plain =~ s/"?\$\{?\w+\}?"?/key_Ojpd6AvHaV2PHOUH/g;
    return shellwords($plain);
}

# what opsauth says of words that stand in for others
sub usage_error {
    my ($text, $reference) = @_;
    my @words = words($text);
    return 'no words' unless @words;
    # "opsauth key rotate", "opsauth key create ...": only what is there is looked at
    my $part = $reference || grep { /^(?:\.\.\.|\[.*|.*\])$/ } @words;
    @words = grep { !/^(?:\.\.\.|\[.*|.*\]|\|)$/ } @words;
    push @words, '--help' if $part;
    my ($exit, undef, $said) = $opsauth->run(@words);
    return $exit == 2 ? $said || 'exit code 2' : '';
}

my @commands = map { commands($_) } @pages;
cmp_ok(scalar(@commands), '>', 50, scalar(@commands) . ' commands');

# what the documentation shows as an error must be that error
my @wrong;
for my $command (@commands) {
    my ($page, $line, $text, $said) = @$command{qw(page line text said)};
    next if $text =~ /\bopsauth (?:\[|NOUN)/;
    my $error = usage_error($text) or next;
    my $dir = $t->dir;
    $error =~ s/\Q$dir\E//g;
    push @wrong, "$page:$line: $text\n    $error" unless index($said, $error) == 0;
}
none('opsauth understands every command', @wrong);

my %spans;
for my $page (@pages) {
    for ($page->spans) {
        my ($line, $text) = @$_;
        $spans{$text} //= $page->name . ":$line" if $text =~ /^(?:sudo )?opsauth [a-z-]/;
    }
}
cmp_ok(scalar(keys %spans), '>', 15, 'commands within the text');
none('and those within the text', map { my $error = usage_error($_, 1); $error ? "$spans{$_}: $_\n    $error" : () }
    grep { !/^opsauth (?:main|off|store)\b/ } sort keys %spans);

$t->done;
