# A scripted authorization server with an introspection endpoint (RFC 7662). What
# it says of a token is told beforehand; of any other that it is not active.
#
#   my $as = $t->auth_server;               # %%AS%% is address:port
#   $as->active($token, client_id => 'crm', scope => 'read:tenants');
#   $as->says($token, status => 500);       # or body, bytes, delay, pieces, ...
#   is($as->asked($token), 1);

package OpsAuth::AuthServer;

use strict;
use warnings;

use parent -norequire, 'OpsAuth::Upstream';

use JSON::PP ();
use Time::HiRes qw(time);

use OpsAuth::Upstream;

my $JSON = JSON::PP->new->canonical->latin1;

sub new {
    my ($class, %o) = @_;
    my $answers = "$o{dir}/answers";
    my $self = $class->SUPER::new(%o, answer => sub { _answer($answers, @_) });
    $self->{answers} = $answers;
    $self->{known} = {};
    return $self;
}

# What it says of a token from now on:
#   body     JSON text, or a hash (default {"active":false})
#   status   of the answer
#   head     further lines of its head
#   chunked  bytes a chunk
#   delay    ms until it is sent
#   pieces   sends it byte by byte, so many ms apart
#   cut      sends only so many bytes of it, and closes
#   bytes    all of the answer, verbatim, instead of all that
sub says {
    my ($self, $token, %o) = @_;
    $self->{known}{$token} = \%o;
    my $new = "$self->{answers}.new";
    open my $fh, '>', $new or die "$new: $!";
    print {$fh} $JSON->encode($self->{known});
    close $fh or die "$new: $!";
    rename $new, $self->{answers} or die "$self->{answers}: $!";
    return $token;
}

sub active {
    my ($self, $token, %claims) = @_;
    return $self->says($token, body => { active => JSON::PP::true, %claims });
}

sub inactive { my ($self, $token) = @_; return $self->says($token) }

# how often it was asked, of one token or at all
sub asked {
    my ($self, $token) = @_;
    return scalar grep { !defined $token || _token($_) eq $token } $self->requests;
}

my ($known, $seen) = ({}, '');

# --- in the daemon --------------------------------------------------------------

sub _token {
    my ($request) = @_;
    my ($token) = $request->{body} =~ /(?:^|&)token=([^&]*)/ or return '';
    return $token =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ger;
}

sub _answer {
    my ($answers, $request) = @_;
    # another file each time: its number tells
    my $now = join ' ', (stat $answers)[1, 7, 9];
    if ($now ne $seen && open my $fh, '<', $answers) {
        local $/;
        ($known, $seen) = ($JSON->decode(<$fh>), $now);
    }
    my $say = $known->{_token($request)} // {};
    my $bytes = $say->{bytes} // _bytes($say);
    $bytes = substr $bytes, 0, $say->{cut} if defined $say->{cut};
    my $at = $say->{delay} ? time + $say->{delay} / 1000 : 0;
    my @parts = { at => $at, bytes => $bytes };
    if (my $ms = $say->{pieces}) {
        my $n = 0;
        @parts = map { { at => time + $ms * $n++ / 1000, bytes => $_ } } split //, $bytes;
    }
    $parts[-1]{close} = !$say->{keep};
    return @parts;
}

sub _bytes {
    my ($say) = @_;
    my $body = $say->{body} // { active => JSON::PP::false };
    $body = JSON::PP->new->canonical->utf8->encode($body) if ref $body;
    my $status = $say->{status} // 200;
    my @head = ("HTTP/1.1 $status Status", 'Content-Type: application/json', @{$say->{head} // []});
    if (my $n = $say->{chunked}) {
        push @head, 'Transfer-Encoding: chunked';
        $body = join '', map { sprintf "%x\r\n%s\r\n", length, $_ } $body =~ /(.{1,$n})/gs;
        $body .= "0\r\n\r\n";
    }
    elsif (!grep { /^Content-Length:/i } @head) {
        push @head, 'Content-Length: ' . length $body;
    }
    return join("\r\n", @head) . "\r\n\r\n$body";
}

1;
