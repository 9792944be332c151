# Many records and many requests: both pipelined, so that a hundred thousand of
# them take seconds.
#
#   my $bulk = OpsAuth::Bulk->new(port => $t->port(8080));
#   my @keys = $bulk->records($redis, $store, 100_000, account => 'acme');
#   my $seen = $bulk->ask('/', @keys);      # { '204 hit' => 100_000 }

package OpsAuth::Bulk;

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);

use OpsAuth::HTTP;
use OpsAuth::RESP;

# port         of the server
# connections  at the same time (8)
# depth        requests in one segment of each (32)
# header       whose value is counted together with the status (X-Cache)
sub new {
    my ($class, %o) = @_;
    return bless { connections => 8, depth => 32, header => 'X-Cache', %o }, $class;
}

# --- records --------------------------------------------------------------------

# Credentials that nobody has written: distinct for each tag and number. They
# carry no checksum, for which there would be no time.
sub key {
    my ($prefix, $tag, $n) = @_;
    return $prefix . substr sha256_hex("$$ $tag $n"), 0, 43;
}

# Writes so many credentials of one account under keys of this prefix; returns
# the keys.
sub records {
    my ($self, $redis, $store, $n, %o) = @_;
    my $client = $redis->client(timeout => 30);
    my $socket = $client->_connect;
    my ($at, @keys) = (0);
    while ($at < $n) {
        my $bytes = '';
        my $until = $at + 500 < $n ? $at + 500 : $n;
        for my $i ($at .. $until - 1) {
            my $key = key($o{prefix}, $o{tag} // 'good', $i);
            push @keys, $key;
            $bytes .= OpsAuth::RESP::command('HSET', $store->{prefix} . 'credential:'
                . Digest::SHA::hmac_sha256_hex($key, $store->pepper),
                v => 1, id => sprintf('key_%016x', $i), kind => 'api_key', account => $o{account},
                name => 'bulk', state => 'active', environment => 'live',
                scopes => 'read:tenants write:tenants', expires => 0, created => 1, hint => 'bulk');
        }
        print {$socket} $bytes or die "redis: $!\n";
        for ($at .. $until - 1) {
            my $reply = $client->read_reply;
            die "redis: $reply\n" if ref $reply;
        }
        $at = $until;
    }
    return @keys;
}

# --- requests -------------------------------------------------------------------

# one request with each of these keys: {"status header" => n}; 'lost' are those
# whose answers did not come
sub ask {
    my ($self, $uri, @keys) = @_;
    my (%seen, @open);
    while (@keys) {
        my @asked;
        for my $i (0 .. $self->{connections} - 1) {
            my @batch = splice @keys, 0, $self->{depth} or last;
            $open[$i] //= OpsAuth::HTTP::Connection->new($self->{port}, timeout => 60);
            $open[$i]->send(join '', map {
                "GET $uri HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $_\r\n\r\n"
            } @batch);
            push @asked, scalar @batch;
        }
        for my $i (0 .. $#asked) {
            my $got = $self->_answers($open[$i], $asked[$i], \%seen);
            next if $got == $asked[$i];
            $seen{lost} += $asked[$i] - $got;
            undef $open[$i];
        }
    }
    return \%seen;
}

# reads n answers; how many came
sub _answers {
    my ($self, $c, $n, $seen) = @_;
    my $got = 0;
    my $buffer = \$c->{buffer};
    while ($got < $n) {
        my $start = pos($$buffer) = 0;
        while ($$buffer =~ /\GHTTP\/1\.1 (\d{3}) (.*?)\r\n\r\n/gcs) {
            my ($status, $headers) = ($1, $2);
            my ($length) = $status == 204 ? 0 : $headers =~ /^Content-Length: (\d+)/mi;
            last if length($$buffer) - pos($$buffer) < ($length // 0);
            $start = pos($$buffer) += $length // 0;
            my ($value) = $headers =~ /^\Q$self->{header}\E: (\S*)/m;
            $seen->{"$status " . ($value // '-')}++;
            $got++;
        }
        substr $$buffer, 0, $start, '';
        last if $got < $n && ($c->{eof} || !$c->_fill($c->{timeout}));
    }
    return $got;
}

1;
