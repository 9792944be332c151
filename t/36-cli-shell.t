#!/usr/bin/perl

# Completion for bash and zsh, and the manual page: both know every command and
# every option that the help knows.

use strict;
use warnings;

use Test::More;

use OpsAuth::Command;
use OpsAuth::Test;

my $t = OpsAuth::Test->new;
my $dir = $t->dir;
my $opsauth = OpsAuth::Command->new($t);

sub opsauth { return $opsauth->run(@_) }
sub have { return !system "command -v $_[0] >/dev/null 2>&1" }

# what the help says: "noun verb" => [options]
my (undef, $all) = opsauth('--help');
my ($commands, $common) = $all =~ /(.*)^Options of every command:\n(.*?)\n\n/ms or die $all;
like($common, qr{ \Q$_\E://}, "--redis: $_") for qw(redis rediss redis+sentinel redis+cluster);
my @common = $common =~ /^  (?:-\w, )?--([\w-]+)/mg;
my %verbs;
for my $line (split /\n/, $commands) {
    my ($words) = $line =~ /^  ([a-z]+ [a-z]+) / or next;
    $verbs{$words} = [];
}
my @alone = $commands =~ /^([a-z]+)  +\S/mg;
$verbs{$_} = [] for @alone;
for my $words (keys %verbs) {
    my ($rc, $out) = opsauth(split(/ /, $words), '--help');
    is($rc, 0, "$words --help");
    push @{$verbs{$words}}, $out =~ /^  (?:-\w, )?--([\w-]+)/mg;
}
cmp_ok(scalar(keys %verbs), '>=', 17, 'the help names its commands');
cmp_ok(scalar(@common), '>=', 12, 'and its options');

subtest 'man page' => sub {
    my ($rc, $out, $err) = opsauth('man');
    is("$rc $err", '0 ', 'opsauth man');
    my $text = $out =~ s/\\-/-/gr =~ s/\\f[BIR]//gr;
    like($text, qr/^\.SS "opsauth \Q$_\E[" ]/m, $_) for sort keys %verbs;
    for my $words (sort keys %verbs) {
        my ($section) = $text =~ /^(\.SS "opsauth \Q$words\E[" ].*?)(?=^\.S[SH])/ms;
        my @missing = grep { $section !~ /^--\Q$_\E(?: |$)/m } @{$verbs{$words}};
        is("@missing", '', "$words: its options");
    }
    like($text, qr/^(?:-\w, )?--\Q$_\E(?: |$)/m, "--$_") for @common;
    open my $fh, '<', OpsAuth::Test->root . '/src/cli/cli_config.c' or die;
    my %variables = map { $_ => 1 } do { local $/; <$fh> } =~ /"(OPSAUTH_\w+)"/g;
    like($text, qr/^\.B \Q$_\E$/m, $_) for sort keys %variables;
    like($all, qr/\b\Q$_\E\b/, "--help: $_") for sort keys %variables;

    my $file = $t->write_file('opsauth.1', $out);
    SKIP: {
        skip 'no man', 1 unless have('man');
        is(`LC_ALL=C.UTF-8 man --warnings -E UTF-8 -Tutf8 -Z -l '$file' 2>&1 >/dev/null`, '', 'man has no warning');
    }
    SKIP: {
        skip 'no mandoc', 1 unless have('mandoc');
        # of which day it is, nobody asks
        my @said = grep { !/missing date/ } `mandoc -Tlint -W warning '$file' 2>&1`;
        is("@said", '', 'nor has mandoc');
    }
};

subtest 'bash' => sub {
    plan skip_all => 'no bash here' unless have('bash');
    my ($rc, $out, $err) = opsauth(qw(completion bash));
    is("$rc $err", '0 ', 'opsauth completion bash');
    my $file = $t->write_file('opsauth.bash', $out);
    is(`bash -n '$file' 2>&1`, '', 'is a script');

    my $n = 0;
    my $complete = sub {
        my (@words) = @_;
        my $list = join ' ', map { "'$_'" } 'opsauth', @words;
        my $run = $t->write_file('run' . $n++, "cd '$dir'; . '$file'\nCOMP_WORDS=($list)\n"
            . "COMP_CWORD=\$((\${#COMP_WORDS[@]} - 1))\n_opsauth\nprintf '%s\\n' \"\${COMPREPLY[\@]}\"\n");
        return join ' ', sort split /\n/, `bash '$run' 2>&1`;
    };
    my %top = map { (split / /)[0] => 1 } keys %verbs;
    is($complete->(''), join(' ', sort keys %top, 'help'), 'nouns');
    is($complete->('ac'), 'account', 'a begun one');
    for my $noun (sort keys %top) {
        my @own = sort map { /^$noun (\S+)/ ? $1 : () } keys %verbs or next;
        is($complete->($noun, ''), "@own", "verbs of $noun");
    }
    for my $words (sort keys %verbs) {
        is($complete->(split(/ /, $words), '--'),
            join(' ', sort map { "--$_" } @{$verbs{$words}}, @common), "options of $words");
    }
    is($complete->(qw(key create --permission), ''), 'admin read write', 'values');
    is($complete->(qw(key create --permission = w)), 'write', 'after "="');
    is($complete->(qw(key create --name x --environment t)), 'test', 'behind another option');
    is($complete->('--timeout', '3s', 'key', 'cr'), 'create', 'behind an option with a value');
    is($complete->('-c', 'account', 'tok'), 'token', 'a value is no noun');
    is($complete->('--json', 'token', 'i'), 'issue', 'behind a switch');
    is($complete->('help', 'acc'), 'account', 'help');
    is($complete->('key', 'create', '--name', ''), '', 'free text is left alone');
    is($complete->('completion', ''), 'bash zsh', 'a word of fixed values');
    $t->write_file('a file', '');
    is($complete->('--config', 'a'), 'a file', 'files');
    is($complete->(qw(pepper generate), 'a f'), 'a file', 'a word that is a file');
};

subtest 'zsh' => sub {
    my ($rc, $out, $err) = opsauth(qw(completion zsh));
    is("$rc $err", '0 ', 'opsauth completion zsh');
    like($out, qr/\A#compdef opsauth\n/, 'for vendor-completions');
    like($out, qr/'\*?--\Q$_\E[=\[]/, "--$_") for @common, map { @$_ } values %verbs;
    if (!have('zsh')) {
        SKIP: { skip 'no zsh here', 1 }
        return;
    }
    my $file = $t->write_file('_opsauth', $out);
    is(`zsh -fn '$file' 2>&1`, '', 'is a script');

    if (!OpsAuth::Command->terminal) {
        SKIP: { skip 'no pseudo-terminal here', 1 }
        return;
    }
    # types into a zsh of its own and looks at what it lists
    my $run = $t->write_file('zpty', <<'ZSH');
zmodload zsh/zpty
zpty z 'TERM=dumb zsh -fi'
zpty -w z "PS1='ready>'; unsetopt zle_bracketed_paste; fpath=($1 \$fpath); autoload -U compinit; compinit -u -d $1/zcompdump; zstyle ':completion:*' list-colors; LISTMAX=0; stty columns 200; print started"
zpty -r z line '*started*started*ready*'
zpty -w -n z "opsauth $2"$'\t\t'
zpty -r z line "*$3*" && print -r -- $line
zpty -d z
ZSH
    # the words, in the order in which they are listed
    my $lists = sub {
        my ($line, @words) = @_;
        my $said = `timeout 60 zsh -f '$run' '$dir' '$line' '@{[join '*', @words]}' 2>&1`;
        like($said, qr/@{[join '.*', @words]}/s, "opsauth $line");
    };
    $lists->('', qw(account doctor token));
    $lists->('key ', qw(create revoke));
    $lists->('key create --permission ', qw(admin read write));
};

is((opsauth(qw(completion fish)))[0], 2, 'another shell');
like((opsauth(qw(completion fish)))[2], qr/"fish": expected bash or zsh/, 'is named');

unlink glob("$dir/run*"), glob("$dir/cli.*"), map { "$dir/$_" } 'opsauth.1', 'opsauth.bash', '_opsauth',
    'a file', 'zpty', 'zcompdump';
$t->done;
