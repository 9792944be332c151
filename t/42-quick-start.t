#!/usr/bin/perl

# docs/quick-start.md, step by step: its configuration, its commands in their
# order, and what they print. Only paths, ports and who starts nginx are the
# test's. "..." there stands for anything, ids and digits for others of their kind.
# The one piece that installs packages is not run: it needs root and a network.

use strict;
use warnings;

use Test::More;

use OpsAuth::Docs;
use OpsAuth::Test;

my $t = OpsAuth::Test->new;
my $root = $t->root;
my $redis = $t->redis;
my $dir = $t->dir;
my $page = OpsAuth::Docs->new($root, "$root/docs/quick-start.md");

mkdir "$dir/bin";
symlink $t->opsauth_path, "$dir/bin/opsauth" or die "opsauth: $!";
my ($port) = $redis->url =~ /:(\d+)/ or die 'no port of Redis';

my %shown;
my (@not_run, $configured);

# from the reader's machine to the test's
sub here {
    my ($text) = @_;
    $text =~ s{\bsudo }{}g;
    $text =~ s{/etc/opsauth}{$dir/etc}g;
    $text =~ s{/etc/nginx/nginx\.conf}{$t->nginx->{conf}}ge if $configured;
    $text =~ s{127\.0\.0\.1:6379}{127.0.0.1:$port}g;
    $text =~ s{redis-cli }{redis-cli -p $port };
    $text =~ s{127\.0\.0\.1:(808[01])}{'127.0.0.1:' . $t->port($1)}ge;
    return $text;
}

# what was printed, as the page has it
sub there {
    my ($text) = @_;
    $text =~ s{\Q$dir\E/etc}{/etc/opsauth}g;
    $text =~ s{\Q$dir\E/}{/etc/nginx/}g;
    $text =~ s{\r}{}g;
    return $text;
}

sub pattern {
    my ($text) = @_;
    $text = quotemeta $text;
    $text =~ s/(?:\\\n)?\\\.\\\.\\\.(?:\\\n)?/.*/g;
    $text =~ s/key_\w{16}/key_\\w{16}/g;
    return qr/^$text\s*$/s;
}

for my $piece ($page->pieces) {
    my $where = $page->name . ":$piece->{line}";
    if ($piece->{language} eq 'nginx') {
        ok(!$configured++, "$where: the configuration");
        $t->write_file('conf.d/opsauth.conf', here($piece->{text}));
        $t->config_http("include $dir/conf.d/*.conf;");
        next;
    }
    if ($piece->{language} ne 'console') {
        push @not_run, $piece;
        next;
    }
    my @commands = $piece->{text} =~ /^\$ (.*\n(?:(?!\$ ).*\n)*)/mg;
    ok(scalar @commands, "$where: commands");
    for (@commands) {
        my ($command, $expected) = /^([^\n]*)\n(.*)\z/s;
        my $said;
        if ($command eq 'sudo nginx -t') {
            my ($exit, $output) = $t->nginx_t($t->http_text("include $dir/conf.d/*.conf;"));
            is($exit, 0, 'nginx -t') or diag $output;
            next;
        }
        elsif ($command eq 'sudo systemctl restart nginx') {
            $t->start;
            next;
        }
        local $ENV{PATH} = "$dir/bin:$ENV{PATH}";
        local $ENV{no_proxy} = '127.0.0.1';
        my $script = $t->write_file('step.sh', "cd $dir\n" . here($command) . "\n");
        $said = there(scalar `bash $script 2>&1`);
        like($said, pattern($expected), "$where: $command");
        $shown{$1} = 1 while $said =~ /^HTTP\/1\.1 (\d+)/mg;
    }
}

is(scalar @not_run, 1, 'all but one piece was run');
like($not_run[0]{text}, qr/apt-get install.*\nmake\n/, 'the one that installs');
ok($shown{200} && $shown{401}, 'a 200 and a 401 were seen');

# the key's own file; curl's answer
open my $fh, '<', "$dir/key.txt" or die "key.txt: $!";
chomp(my $key = <$fh> // die 'no key');
$t->secret($key);
unlink map { "$dir/$_" } qw(key.txt answer);
$t->done;
