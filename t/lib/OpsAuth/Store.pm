# Records as docs/records.md lays them out, written straight into Redis and
# independently of the module and the command line, so that the two can be
# tested against a third opinion. Nothing is checked: wrong records are wanted.

package OpsAuth::Store;

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex);

my @BASE62 = ('0' .. '9', 'A' .. 'Z', 'a' .. 'z');

# redis   an object with ->cmd(@words): OpsAuth::Redis or OpsAuth::FakeRedis
# prefix  of all keys in Redis, default "opsauth:"
# pepper  text, or an array of them, newest first
# file    where the pepper file is written
# secret  a sub that is told strings that must never be logged
sub new {
    my ($class, %o) = @_;
    my $self = bless {
        prefix => 'opsauth:', secret => sub { }, number => 0,
        key_prefix => 'op365_sk_live_', %o,
    }, $class;
    $self->pepper($o{pepper} // join '', map { sprintf '%02x', rand 256 } 1 .. 32);
    return $self;
}

# Sets the peppers (newest first) and writes the file, which only its owner may
# read. Without arguments: the newest.
sub pepper {
    my ($self, @peppers) = @_;
    return $self->{peppers}[0] unless @peppers;
    $self->{peppers} = [map { ref ? @$_ : $_ } @peppers];
    $self->{secret}->($_) for @{$self->{peppers}};
    if ($self->{file}) {
        my $mask = umask 0077;
        open my $fh, '>', $self->{file} or die "$self->{file}: $!";
        print {$fh} map { "$_\n" } @{$self->{peppers}};
        close $fh or die "$self->{file}: $!";
        umask $mask;
    }
    return $self->{peppers}[0];
}

sub pepper_file { $_[0]{file} }

# HMAC-SHA-256 of the whole Bearer string; $i: under which pepper
sub digest {
    my ($self, $raw, $i) = @_;
    my $digest = hmac_sha256_hex($raw, $self->{peppers}[$i // 0]);
    # a log may show 8 hex of a digest, never more
    $self->{secret}->(substr $digest, 0, 9);
    return $digest;
}

# the name of a record in Redis: ->name('credential', $digest)
sub name {
    my ($self, @parts) = @_;
    return $self->{prefix} . join ':', @parts;
}

# --- keys ---------------------------------------------------------------------

sub crc32 {
    my ($bytes) = @_;
    my $crc = 0xffffffff;
    for my $byte (unpack 'C*', $bytes) {
        $crc ^= $byte;
        $crc = $crc & 1 ? ($crc >> 1) ^ 0xedb88320 : $crc >> 1 for 1 .. 8;
    }
    return $crc ^ 0xffffffff;
}

# six base62 digits, most significant first
sub checksum {
    my ($text) = @_;
    my $n = crc32($text);
    my $out = '';
    for (1 .. 6) {
        $out = $BASE62[$n % 62] . $out;
        $n = int $n / 62;
    }
    return $out;
}

sub _random62 {
    my ($length) = @_;
    open my $fh, '<:raw', '/dev/urandom' or die "/dev/urandom: $!";
    my $out = '';
    while (length $out < $length) {
        read $fh, my $bytes, 64;
        $out .= join '', map { $BASE62[$_ % 62] } grep { $_ < 248 } unpack 'C*', $bytes;
    }
    # 32 bytes never reach the end of what 43 digits can hold
    return substr('0' . $out, 0, $length);
}

# A new key. checksum => 0: none; checksum => 'wrong': one digit off.
sub key {
    my ($self, $prefix, %o) = @_;
    my $body = _random62(43);
    my $key = ($prefix // $self->{key_prefix}) . $body;
    my $sum = checksum($key);
    if (($o{checksum} // 1) eq 'wrong') {
        substr($sum, 5, 1) =~ tr/0-9A-Za-z/1-9A-Za-z0/;
    }
    $key .= $sum if $o{checksum} // 1;
    # its middle as well, so that a log line that cuts off both ends is found
    $self->{secret}->($key, substr $body, 8, 24);
    return $key;
}

# a new access token: no prefix, no checksum
sub token {
    my ($self) = @_;
    my $token = _random62(43);
    $self->{secret}->($token, substr $token, 8, 24);
    return $token;
}

# --- records ------------------------------------------------------------------

# writes a hash exactly: what stood there before is gone, undef leaves a field out
sub hash {
    my ($self, $name, %fields) = @_;
    delete @fields{grep { !defined $fields{$_} } keys %fields};
    $self->{redis}->cmd('DEL', $name);
    $self->{redis}->cmd('HSET', $name, map { $_ => $fields{$_} } sort keys %fields)
        if %fields;
    return $name;
}

# the mark that this store has been set up
sub marker {
    my ($self) = @_;
    $self->{redis}->cmd('HSET', $self->name('meta'), 'v', 1);
    return $self;
}

sub account {
    my ($self, $id, %fields) = @_;
    $self->hash($self->name('account', $id),
        name => $id, description => '', enabled => 1, tenant => "org_$id",
        affiliate => '', roles => '', ips => '', rate => '', refresh => 0,
        created => time, updated => time, %fields);
    return $id;
}

# The record of a credential that exists already. Returns its fields; `digest`
# and `raw` are added to them.
sub credential {
    my ($self, $raw, %fields) = @_;
    my $digest = delete $fields{digest} // $self->digest($raw);
    my $kind = $fields{kind} // 'api_key';
    my $id = $kind eq 'access_token' ? 'tok_' : 'key_';
    $id .= substr(Digest::SHA::sha256_hex("$raw\n$$"), 0, 16);
    my %record = (
        v => 1, id => $id, kind => $kind, account => 'acme', name => 'test key',
        state => 'active', environment => $raw =~ /^[^_]*_(?:sk_)?test_/ ? 'test' : 'live',
        scopes => '', ips => undef, expires => 0, created => time,
        hint => substr($raw, -4), %fields,
    );
    # the record that makes a credential live goes last
    if (defined $record{id} && defined $record{account}) {
        $self->{redis}->cmd('SET', $self->name('id', $record{id}), $digest);
        $self->{redis}->cmd('SADD', $self->name('credentials', $record{account}),
            $record{id});
    }
    $self->hash($self->name('credential', $digest), %record);
    return { %record, digest => $digest, raw => $raw };
}

# A new key together with its record; returns the key. %fields as credential(),
# besides key_prefix => '...' and checksum => 0.
sub issue {
    my ($self, %fields) = @_;
    my $prefix = delete $fields{key_prefix};
    my %mint = map { $_ => delete $fields{$_} } grep { exists $fields{$_} } 'checksum';
    my $raw = ($fields{kind} // '') eq 'access_token' ? $self->token
            : $self->key($prefix, %mint);
    $self->credential($raw, %fields);
    return $raw;
}

# changes some fields of a credential's record in place
sub update {
    my ($self, $raw, %fields) = @_;
    return $self->_change($self->name('credential', $self->digest($raw)), %fields);
}

sub update_account {
    my ($self, $id, %fields) = @_;
    return $self->_change($self->name('account', $id), %fields);
}

sub _change {
    my ($self, $name, %fields) = @_;
    my @gone = grep { !defined $fields{$_} } sort keys %fields;
    my @set  = map { $_ => $fields{$_} } grep { defined $fields{$_} } sort keys %fields;
    $self->{redis}->cmd('HDEL', $name, @gone) if @gone;
    $self->{redis}->cmd('HSET', $name, @set) if @set;
}

sub revoke { my ($self, $raw) = @_; return $self->update($raw, state => 'revoked') }

# removes the record altogether, as a layout of somebody else's might
sub forget {
    my ($self, $raw) = @_;
    return $self->{redis}->cmd('DEL', $self->name('credential', $self->digest($raw)));
}

# what stands there now
sub read_credential {
    my ($self, $raw) = @_;
    return { @{$self->{redis}->cmd('HGETALL', $self->name('credential', $self->digest($raw)))} };
}

1;
