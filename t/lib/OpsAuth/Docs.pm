# The documentation as a reader sees it: pages, their headings as GitHub names
# them, links, pieces of code.
#
#   for my $page (OpsAuth::Docs->pages($root)) {
#       my %anchor = map { $_ => 1 } $page->anchors;
#       my @links  = $page->links;              # [line, target]
#       my @pieces = $page->pieces;             # {line, language, text}
#       my @nginx  = $page->configurations;     # those for nginx
#   }

package OpsAuth::Docs;

use strict;
use warnings;

use File::Basename qw(dirname);
use File::Find ();

my $DIRECTIVE = qr/^\s*(?:opsauth\w*|proxy_\w+|grpc_pass|listen|server_name|log_format|access_log|error_log
    |redis\w*|pepper_file|key_prefix|lease|stale|cache\w*|location|server|http|upstream|load_module)
    \s.*[;{}]\s*(?:\#.*)?$/mx;

# every page below $root, but for what is built or not ours
sub pages {
    my ($class, $root) = @_;
    my @files;
    File::Find::find({ no_chdir => 1, wanted => sub {
        $File::Find::prune = 1, return
            if -d && ($_ eq "$root/build" || m{/(?:\.git|node_modules)$});
        push @files, $_ if /\.md$/ && -f;
    } }, $root);
    return map { $class->new($root, $_) } sort @files;
}

sub new {
    my ($class, $root, $file) = @_;
    open my $fh, '<:encoding(UTF-8)', $file or die "$file: $!";
    my $text = do { local $/; <$fh> };
    my $self = bless { root => $root, file => $file, name => substr($file, 1 + length $root) }, $class;
    $self->_read($text);
    return $self;
}

sub name { $_[0]{name} }            # "docs/redis.md"
sub dir  { dirname($_[0]{file}) }
sub file { $_[0]{file} }

# {line, language, text}: fenced pieces, and indented ones ("language" undef)
sub pieces { @{$_[0]{pieces}} }

# pieces of nginx's configuration: those marked as such, and those that look so
sub configurations {
    my ($self) = @_;
    return grep { !defined $_->{language} || $_->{language} eq ''
        ? $_->{text} =~ $DIRECTIVE && $_->{text} !~ /^ *Syntax: |^\s*\$ /m
        : $_->{language} eq 'nginx' } $self->pieces;
}

# how often a fence of this language opens, by the plain text of the file
sub fences {
    my ($self, $language) = @_;
    open my $fh, '<', $self->{file} or die "$self->{file}: $!";
    return scalar grep { /^\s*```+\s*\Q$language\E\b/ } <$fh>;
}

# [line, text], without pieces of code
sub prose { @{$_[0]{prose}} }

sub anchors { @{$_[0]{anchors}} }

# [line, target]
sub links {
    my ($self) = @_;
    my @links;
    my $defined = join '|', map { $_->[1] =~ /^ {0,3}\[([^\]]+)\]:\s/ ? quotemeta $1 : () } $self->prose;
    my $pending = '';
    for ($self->prose) {
        my ($line, $text) = @$_;
        $text =~ s/(`+)(?!`).*?(?<!`)\1(?!`)/code/g;            # code has no links
        push @links, [$line, $1] if $text =~ s/^ {0,3}\[[^\]]+\]:\s+(\S+)//;
        push @links, [$line, $1] while $text =~ /\]\(\s*<?([^\s)>]+)>?(?:\s+"[^"]*")?\s*\)/g;
        push @links, [$line, $1] while $text =~ /<(https?:[^\s>]+)>/g;
        push @links, [$line, $1] while $text =~ /\b(?:src|href)="([^"]+)"/g;
        # a reference that nothing defines is shown with its brackets
        push @links, [$line, "[$1]"] while $text =~ /\]\[([^\]]+)\]/g
            and !($defined && $1 =~ /^(?:$defined)$/i);
    }
    return @links;
}

# what is between single backquotes: [line, text]
sub spans {
    my ($self) = @_;
    my @spans;
    for my $paragraph ($self->_paragraphs) {
        my ($line, $text) = @$paragraph;
        push @spans, [$line, $2 =~ s/\s+/ /gr] while $text =~ /(`+)(?!`)(.*?)(?<!`)\1(?!`)/gs;
    }
    return @spans;
}

# a span may go on in the next line
sub _paragraphs {
    my ($self) = @_;
    my (@paragraphs, $before);
    for ($self->prose) {
        my ($line, $text) = @$_;
        if (@paragraphs && defined $before && $before == $line - 1
            && $text =~ /\S/ && $text !~ /^\s*(?:[-*|#]|\d+\.)/)
        {
            $paragraphs[-1][1] .= "\n$text";
        }
        else {
            push @paragraphs, [$line, $text];
        }
        $before = $text =~ /\S/ ? $line : undef;
    }
    return @paragraphs;
}

sub _read {
    my ($self, $text) = @_;
    my (@prose, @pieces, $piece, $list);
    my ($n, $blank) = (0, 1);

    for my $line (split /\n/, $text, -1) {
        $n++;
        if ($piece && $piece->{fence}) {
            if ($line =~ /^\s*\Q$piece->{fence}\E`*\s*$/) {
                undef $piece;
            }
            else {
                $line =~ s/^ {0,$piece->{indent}}//;
                $piece->{text} .= "$line\n";
            }
            next;
        }
        if ($line =~ /^( *)(```+)\s*(\w*)\s*$/) {
            $piece = { line => $n, fence => $2, indent => length $1, language => $3, text => '' };
            push @pieces, $piece;
            next;
        }
        # four blanks begin code behind an empty line; within a list, seven
        if ($line =~ /^( {4,})\S/ && ($piece || $blank && (!$list || length $1 > 6))) {
            push @pieces, $piece = { line => $n, text => '', indent => $list ? length $1 : 4 } unless $piece;
            $piece->{text} .= $line =~ s/^ {0,$piece->{indent}}//r . "\n";
            next;
        }
        if ($piece && $line =~ /^\s*$/) {
            $piece->{text} .= "\n";
            $blank = 1;
            next;
        }
        undef $piece;
        $list = 1 if $line =~ /^\s*(?:[-*]|\d+\.)\s/;
        $list = 0 if $line =~ /^\S/ && $line !~ /^(?:[-*]|\d+\.)\s/ && $blank;
        $blank = $line =~ /^\s*$/;
        push @prose, [$n, $line];
    }

    $self->{unclosed} = $piece->{line} if $piece && $piece->{fence};
    $self->{prose}  = \@prose;
    $self->{pieces} = \@pieces;

    my %seen;
    for (@prose) {
        my ($title) = $_->[1] =~ /^#{1,6}\s+(.*?)\s*#*\s*$/ or next;
        my $anchor = anchor($title);
        my $times = $seen{$anchor}++;
        push @{$self->{anchors}}, $times ? "$anchor-$times" : $anchor;
    }
    push @{$self->{anchors}}, map { $_->[1] =~ /<a\s+(?:id|name)="([^"]+)"/g } @prose;
    return;
}

# line of a fence that nothing closes
sub unclosed { $_[0]{unclosed} }

# GitHub's name for a heading: links as their text, small letters, blanks to
# hyphens, and nothing else but letters, digits, "_" and "-"
sub anchor {
    my ($title) = @_;
    $title =~ s/\[([^\]]*)\]\([^)]*\)/$1/g;
    $title = lc $title;
    $title =~ s/[^\w\- ]//g;
    $title =~ tr/ /-/;
    return $title;
}

1;
