# The token service under test: its records, written straight into Redis as
# docs/records.md has them, and the requests of a client. A third opinion beside
# the module and the command line, as OpsAuth::Store is.

package OpsAuth::OAuth;

use strict;
use warnings;

use Digest::SHA qw(sha256);
use JSON::PP ();
use MIME::Base64 qw(encode_base64 encode_base64url);

use OpsAuth::HTTP;

our $ISSUER = 'https://auth.test';

# t => OpsAuth::Test, store => OpsAuth::Store
sub new {
    my ($class, %o) = @_;
    return bless { secrets => {}, %o }, $class;
}

# a configuration: http { } with the endpoints. server, token, http: lines that
# go there; store: lines of the store
sub conf {
    my ($self, %o) = @_;
    my $server = $o{server} // '';
    my $token = $o{token} // '';
    my $listen = $o{listen} // '';
    return <<"CONF";
    opsauth_store main {
        redis %%REDIS%%; pepper_file %%PEPPER%%; lease 100ms; cache 1m;
        key_prefix op365_sk_live_ environment=live checksum=crc32;
        redis_timeout 5s; redis_connect_timeout 5s; @{[$o{store} // '']}
    }
    log_format oauth '\$request_uri \$status "\$opsauth_oauth_client_id" "\$opsauth_oauth_error"';
    @{[$o{http} // '']}
    server {
        listen 127.0.0.1:%%PORT_8080%% $listen;
        access_log %%TESTDIR%%/access.log oauth;
        opsauth_oauth_issuer $ISSUER;
        location = /oauth/token      { opsauth_oauth token; $token }
        location = /oauth/revoke     { opsauth_oauth revoke; }
        location = /oauth/introspect { opsauth_oauth introspect; }
        location = /.well-known/oauth-authorization-server { opsauth_oauth metadata; }
        location = /.well-known/oauth-protected-resource   { opsauth_oauth resource; }
        location /api/ { opsauth main; add_header X-Reason \$opsauth_reason always;
                         add_header X-Scopes \$opsauth_scopes always;
                         add_header X-Account \$opsauth_account always; empty_gif; }
        $server
    }
CONF
}

# --- records --------------------------------------------------------------------------

sub name { my ($self, @parts) = @_; return $self->{store}->name(@parts) }
sub cmd  { my ($self, @words) = @_; return $self->{store}{redis}->cmd(@words) }

# A client; secret => text (its digest is written), or undef: none
sub client {
    my ($self, $id, %fields) = @_;
    my $secret = exists $fields{secret} ? delete $fields{secret} : "s3cret-of-$id-" . int rand 1e9;
    if (defined $secret) {
        $self->{store}{secret}->($secret);
        $self->{secrets}{$id} = $secret;
        $fields{secret} = $self->{store}->digest($secret);
    }
    $self->{store}->hash($self->name('client', $id),
        v => 1, account => 'acme', name => "Client $id", grants => 'client_credentials',
        auth_method => 'client_secret_basic client_secret_post', scopes => 'read:tenants write:users',
        redirect_uris => undef, %fields);
    return $id;
}

sub secret_of { my ($self, $id) = @_; return $self->{secrets}{$id} }

# An authorization code as the authorize endpoint stores it. Returns the code and
# its verifier.
sub code {
    my ($self, %fields) = @_;
    my $store = $self->{store};
    my $code = $store->token;
    my $verifier = delete $fields{verifier} // $store->token;
    my $ttl = delete $fields{ttl} // 60_000;
    my $digest = $store->digest($code, delete $fields{pepper});
    my $key = $self->name('code', $digest);
    $store->hash($key, v => 1, client => 'web', account => 'acme', subject => 'alice',
        redirect_uri => 'https://app.test/cb', scopes => 'read:tenants',
        challenge => encode_base64url(sha256($verifier), ''), environment => 'live',
        created => time, state => 'issued', %fields);
    $self->cmd('PEXPIRE', $key, $ttl);
    return ($code, $verifier, $key);
}

# --- requests -------------------------------------------------------------------------

sub escape {
    my ($text) = @_;
    $text =~ s/([^A-Za-z0-9._~-])/sprintf '%%%02X', ord $1/ge;
    return $text;
}

sub form {
    my (@pairs) = @_;
    my @out;
    while (@pairs) {
        my ($name, $value) = splice @pairs, 0, 2;
        push @out, escape($name) . '=' . escape($value) if defined $value;
    }
    return join '&', @out;
}

sub basic {
    my ($id, $secret) = @_;
    return [Authorization => 'Basic ' . encode_base64(escape($id) . ':' . escape($secret), '')];
}

# POST of a form: ->post('token', { client => id }, grant_type => ...). Options:
# client (by Basic), headers, body (instead of the form), and those of
# OpsAuth::HTTP. Tokens in the answer become secrets that no log may have.
sub post {
    my ($self, $endpoint, $o, @form) = @_;
    my %o = %{$o // {}};
    my $client = delete $o{client};
    my $secret = delete $o{secret} // (defined $client ? $self->secret_of($client) // '' : undef);
    my $type = exists $o{type} ? delete $o{type} : 'application/x-www-form-urlencoded';
    my @headers = @{delete $o{headers} // []};
    push @headers, basic($client, $secret) if defined $client;
    push @headers, ['Content-Type' => $type] if defined $type;
    $o{body} //= form(@form) unless $o{chunks};
    my $uri = delete $o{uri} // "/oauth/$endpoint";
    my $r = $self->{t}->request($o{method} // 'POST', $uri, %o, headers => \@headers);
    return $self->note($r);
}

# what the client of such a request would send, for parallel_requests
sub request_of {
    my ($self, $endpoint, $client, @form) = @_;
    return [$self->{t}->port(8080), 'POST', "/oauth/$endpoint", body => form(@form), headers => [
        basic($client, $self->secret_of($client) // ''),
        ['Content-Type' => 'application/x-www-form-urlencoded'],
    ]];
}

sub note {
    my ($self, $r) = @_;
    my $json = $r->json // {};
    for my $name (qw(access_token refresh_token)) {
        my $token = ref $json eq 'HASH' ? $json->{$name} : undef;
        next unless defined $token;
        $self->{store}{secret}->($token, substr $token, 8, 24);
        $self->{store}->digest($token);         # notes the digest, too
    }
    return $r;
}

# "400 invalid_grant", "200"
sub said {
    my ($r) = @_;
    my $json = $r->json;
    my $error = ref $json eq 'HASH' ? $json->{error} : undef;
    return join ' ', $r->status, $error // ();
}

1;
