# Keys, signatures and wrapped secrets for signed logins, by Node's crypto (HMACs by
# Perl's own): another implementation than the one under test.

package OpsAuth::JOSE;

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256);
use IPC::Open2 qw(open2);
use JSON::PP ();
use MIME::Base64 qw(encode_base64url);

my $JSON = JSON::PP->new->canonical->utf8;

my $NODE = <<'JS';
const c = require('crypto');
const q = JSON.parse(require('fs').readFileSync(0));
const b64 = b => Buffer.from(b).toString('base64url');
const ops = {
  key() {
    const { publicKey, privateKey } =
      q.alg === 'RS256' ? c.generateKeyPairSync('rsa', { modulusLength: q.bits || 2048 }) :
      q.alg === 'ES256' ? c.generateKeyPairSync('ec', { namedCurve: 'P-256' }) :
      c.generateKeyPairSync('ed25519');
    return { public: publicKey.export({ format: 'jwk' }), private: privateKey.export({ format: 'jwk' }) };
  },
  sign() {
    const input = Buffer.from(q.input);
    const key = c.createPrivateKey({ key: q.private, format: 'jwk' });
    const hash = q.alg === 'EdDSA' ? null : 'sha256';
    return { signature: b64(c.sign(hash, input, { key, dsaEncoding: 'ieee-p1363' })) };
  },
  wrap() {
    const key = Buffer.from(c.hkdfSync('sha256', q.pepper, '', 'opsauth client secret', 32));
    const nonce = c.randomBytes(12);
    const cipher = c.createCipheriv('aes-256-gcm', key, nonce);
    cipher.setAAD(Buffer.from(q.client));
    const text = Buffer.concat([cipher.update(q.secret), cipher.final()]);
    return { wrapped: b64(Buffer.concat([nonce, text, cipher.getAuthTag()])) };
  },
};
process.stdout.write(JSON.stringify(ops[q.op]()));
JS

sub _ask {
    my (%q) = @_;
    my $pid = open2(my $out, my $in, 'node', '-e', $NODE);
    print {$in} $JSON->encode(\%q);
    close $in;
    local $/;
    my $text = <$out>;
    waitpid $pid, 0;
    die "node failed on $q{op}\n" if $? || !length($text // '');
    return $JSON->decode($text);
}

# { public => JWK, private => JWK }
sub key { my ($alg, %o) = @_; return _ask(op => 'key', alg => $alg, %o) }

# how a secret stands in the record of a client
sub wrap {
    my ($pepper, $client, $secret) = @_;
    return _ask(op => 'wrap', pepper => $pepper, client => $client, secret => $secret)->{wrapped};
}

sub json { my ($data) = @_; return $JSON->encode($data) }

# A compact JWS. alg and secret or private; claims; header => further members;
# raw => [header, payload] as text; signature => this one instead.
sub jwt {
    my (%o) = @_;
    my ($header, $payload) = $o{raw} ? @{$o{raw}}
        : (json({ alg => $o{alg}, typ => 'JWT', %{$o{header} // {}} }), json($o{claims}));
    my $input = encode_base64url($header, '') . '.' . encode_base64url($payload, '');
    my $signature = $o{signature} // (defined $o{secret}
        ? encode_base64url(hmac_sha256($input, $o{secret}), '')
        : _ask(op => 'sign', input => $input, alg => $o{sign} // $o{alg}, private => $o{private})->{signature});
    return "$input.$signature";
}

1;
