# What every test asserts at its end, as functions over text and files, so that
# t/02-harness.t can prove that they do find what they look for.

package OpsAuth::Check;

use strict;
use warnings;

use File::Find ();

# lines of an error log that mean a fault, but for those allowed by name
sub fault_lines {
    my ($log, @allowed) = @_;
    return grep { _not_allowed($_, @allowed) }
        grep { /\[(?:alert|emerg|crit)\]/ } split /\n/, $log;
}

# workers that did not end by themselves and well
sub bad_exits {
    my ($log, @allowed) = @_;
    return grep { _not_allowed($_, @allowed) }
        grep { /exited on signal|exited with (?:fatal )?code (?!0\b)|core dumped/ }
        split /\n/, $log;
}

sub sanitizer_reports {
    my ($text) = @_;
    return grep {
        m{AddressSanitizer|LeakSanitizer|UndefinedBehaviorSanitizer|ThreadSanitizer
         |MemorySanitizer|:\ runtime\ error:|^==\d+==\ (?!Memcheck,|HEAP|LEAK|ERROR\ SUMMARY:\ 0)\S
         |\*\*\*\ (?:stack\ smashing|buffer\ overflow)|Assertion\ .*\ failed
         |^(?:malloc|free|double\ free|corrupted|munmap_chunk)\(?.*:\ (?:invalid|corrupt)}x
    } split /\n/, $text;
}

sub _not_allowed {
    my ($line, @allowed) = @_;
    for my $pattern (@allowed) {
        return 0 if $line =~ $pattern;
    }
    return 1;
}

# Files that contain a secret: "file: line without the secret". Lines that nginx
# itself writes at debug level show every header and are passed over; those that
# the module writes are not.
sub leaks {
    my ($files, $secrets) = @_;
    # perl makes no tree of many thousands, and would try them one by one at every byte
    my @all = map { quotemeta } grep { length } @$secrets;
    my @patterns;
    while (@all) {
        my $any = join '|', splice @all, 0, 1_000;
        push @patterns, qr/$any/;
    }
    my @found;
    for my $file (@$files) {
        open my $fh, '<:raw', $file or next;
        my $debug = 0;
        while (my $line = <$fh>) {
            if ($line =~ m{^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[(\w+)\]}) {
                $debug = $1 eq 'debug' && $line !~ /opsauth/;
            }
            next if $debug || !grep { $line =~ $_ } @patterns;
            $line =~ s/$_/<SECRET>/g for @patterns;
            chomp $line;
            push @found, "$file: " . substr $line, 0, 200;
        }
    }
    return @found;
}

# all plain files below a directory but those for which $skip->($path) is true
sub files_below {
    my ($dir, $skip) = @_;
    my @files;
    File::Find::find({ no_chdir => 1, wanted => sub {
        if ($skip->($_)) {
            $File::Find::prune = 1;
            return;
        }
        push @files, $_ if -f $_ && !-l $_;
    } }, $dir);
    return sort @files;
}

1;
