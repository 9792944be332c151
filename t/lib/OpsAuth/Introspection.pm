# The gateway that the tests of introspection share: places that ask in all the
# ways there are, two authorization servers, an account "crm".
#
#   my $g = OpsAuth::Introspection->new;    # nginx runs
#   my ($t, $store, $as) = ($g->test, $g->store, $g->as);

package OpsAuth::Introspection;

use strict;
use warnings;

use Exporter qw(import);
use JSON::PP ();

use OpsAuth::Test;

our @EXPORT_OK = qw(yes reason);

sub new {
    my ($class, %o) = @_;
    my $t = OpsAuth::Test->new(%o);
    my $self = bless { t => $t }, $class;
    $self->{redis} = $t->redis;
    $self->{rotated} = $t->store(name => 'ROTATED', prefix => 'rotated:',
        pepper => [map { join '', map { sprintf '%02x', rand 256 } 1 .. 32 } 1 .. 2]);
    $self->{store} = $t->store;
    $self->{upstream} = $t->upstream;
    $self->{as} = $t->auth_server;
    $self->{other_as} = $t->auth_server(name => 'AS2');
    $t->config_http($self->http);
    $t->start;
    $self->crm;
    return $self;
}

for my $part (qw(t redis store rotated upstream as other_as)) {
    no strict 'refs';
    *{$part eq 't' ? 'test' : $part} = sub { $_[0]{$part} };
}

sub crm { $_[0]{store}->account('crm', tenant => 'org_crm', affiliate => 'aff_crm', roles => 'customer') }

# the record of a token
sub record { my ($self, $token) = @_; return $self->{store}->read_credential($token) }

# an answer that lets pass, with further claims
sub yes { return { active => JSON::PP::true, client_id => 'crm', scope => 'read:a', @_ } }

# status and reason
sub reason { my ($r) = @_; return $r->status . ' ' . ($r->header('X-Reason') // '') }

sub http { return <<'CONF' }
    log_format seen '$request_uri $status $opsauth_reason $opsauth_cache $opsauth_credential_id $content_length $request_time';
    access_log %%TESTDIR%%/access.log seen;
    opsauth_store main {
        redis %%REDIS%%;
        pepper_file %%PEPPER%%;
        key_prefix op365_sk_live_ environment=live checksum=crc32;
        key_prefix old_ environment=live;
        cache_negative 60s;
        lease 2s;
        redis_timeout 2s;
    }
    opsauth_store second {
        redis %%REDIS%%;
        pepper_file %%PEPPER%%;
        prefix second:;
    }
    opsauth_store rotated {
        redis %%REDIS%%;
        pepper_file %%ROTATED%%;
        prefix rotated:;
    }
    server {
        listen 127.0.0.1:%%PORT_8080%% reuseport;
        listen 127.0.0.1:%%PORT_8082%% http2;
        opsauth main;
        opsauth_introspection /_introspect;
        add_header X-Reason $opsauth_reason always;
        add_header X-Cache $opsauth_cache always;

        location / { proxy_pass http://%%UPSTREAM%%; }
        location = /_introspect {
            internal;
            proxy_set_header Authorization "Basic Z3c6c2VjcmV0";
            proxy_set_header X-Seen "$http_authorization|$http_cookie|$content_length|$host|$args";
            proxy_read_timeout 3s;
            proxy_pass http://%%AS%%/oauth/introspect;
        }
        location /read  { opsauth_require scope=read:a; proxy_pass http://%%UPSTREAM%%; }
        location /role  { opsauth_require role=customer; proxy_pass http://%%UPSTREAM%%; }
        location /off   { opsauth_introspection off; proxy_pass http://%%UPSTREAM%%; }
        location /short { opsauth_introspection_valid 2s; proxy_pass http://%%UPSTREAM%%; }
        location /test  { opsauth_environment test; proxy_pass http://%%UPSTREAM%%; }
        location /tested {
            opsauth_environment any;
            opsauth_introspection_claim environment=test;
            proxy_pass http://%%UPSTREAM%%;
        }
        location /shadow { opsauth main shadow; proxy_pass http://%%UPSTREAM%%; }
        location /rotated { opsauth rotated; proxy_pass http://%%UPSTREAM%%; }
        location /second { opsauth second; proxy_pass http://%%UPSTREAM%%; }
        location /claims {
            opsauth_introspection_claim tenant=org.id account=azp affiliate=affiliate
                roles=realm_access.roles scopes=scp;
            proxy_pass http://%%UPSTREAM%%;
        }
        location /dotted {
            opsauth_introspection_claim tenant=https://example.com/tenant account_id=everybody
                audience=https://api.example.com;
            proxy_pass http://%%UPSTREAM%%;
        }
        location /other {
            opsauth_introspection /_other;
            proxy_pass http://%%UPSTREAM%%;
        }
        location /partner {
            opsauth_require role=partner;
            opsauth_introspection_claim roles=groups;
            proxy_pass http://%%UPSTREAM%%;
        }
        location /bound {
            opsauth_introspection /_patient;
            proxy_pass http://%%UPSTREAM%%;
        }
        location = /_patient {
            internal;
            proxy_read_timeout 60s;
            proxy_pass http://%%AS%%;
        }
        location = /_other { internal; proxy_pass http://%%AS2%%/introspect; }
        location /nowhere { opsauth_introspection /_nowhere; proxy_pass http://%%UPSTREAM%%; }
        location /refused { opsauth_introspection /_refused; proxy_pass http://%%UPSTREAM%%; }
        location = /_refused { internal; proxy_pass http://127.0.0.1:%%PORT_9%%; }
        location /itself { opsauth_introspection /itself; proxy_pass http://%%AS%%; }
        location /static { opsauth_introspection /_static; proxy_pass http://%%UPSTREAM%%; }
        location = /_static { internal; return 200 '{"active":true,"client_id":"crm"}'; }
        location /pages {
            error_page 502 503 504 @page;
            opsauth_introspection /_pages;
            proxy_pass http://%%UPSTREAM%%;
        }
        location = /_pages {
            internal;
            proxy_intercept_errors on;
            error_page 401 500 502 = @leak;
            proxy_pass http://%%AS%%;
        }
        location @leak { proxy_pass http://%%UPSTREAM%%; }
        location @page { opsauth off; return 503 "page"; }
        location /try  { try_files /none /role/x; }
        location /unbuffered { opsauth_introspection /_unbuffered; proxy_pass http://%%UPSTREAM%%; }
        location = /_unbuffered {
            internal;
            proxy_buffering off; proxy_request_buffering off; proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_pass http://%%AS%%;
        }
    }
CONF

1;
