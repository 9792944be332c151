# What each client of the soak test does until it is told to stop. See OpsAuth::Soak.
#
# keys  good      valid ones, [[key, scope it lacks], ...]
#       revoked   their records say so
#       elsewhere of an account that may come from other addresses only
#       rated     one key of an account with 120/m
#       metered   one key whose requests are counted one by one
#       foreign   tokens that another authorization server knows
#       inactive  tokens that it does not

package OpsAuth::Soak::Clients;

use strict;
use warnings;

use JSON::PP ();
use Time::HiRes qw(sleep);

use OpsAuth::HTTP;
use OpsAuth::OAuth;

sub now { return OpsAuth::Soak::now() }
sub one { return $_[rand @_] }
sub gate { my ($self) = @_; return int rand @{$self->{gates}} }
sub garbled { my ($key) = @_; substr($key, -1) =~ tr/0-9A-Za-z/1-9A-Za-z0/; return $key }

# --- API keys on kept connections -----------------------------------------------------

sub api {
    my ($self, $stopped) = @_;
    my ($keys, $store) = @$self{qw(keys store)};
    my @unknown = map { $store->key } 1 .. 200;
    my %kinds = (
        good => [55, sub { ['GET', '/api', key => one(@{$keys->{good}})], 200 }],
        scope => [5, sub { ['POST', '/api', key => one(@{$keys->{good}})], 403 }],
        elsewhere => [4, sub { ['GET', '/api', key => one(@{$keys->{elsewhere}})], 403 }],
        revoked => [8, sub { ['GET', '/api', key => one(@{$keys->{revoked}})], 401 }],
        'unknown, asked before' => [5, sub { ['GET', '/api', key => one(@unknown)], 401 }],
        unknown => [5, sub { ['GET', '/api', key => $store->key], 401 }],
        'unknown token' => [3, sub { ['GET', '/api', key => $store->token], 401 }],
        # these are told without Redis
        garbled => [5, sub { ['GET', '/api', key => garbled(one(@{$keys->{good}}))], 401 }],
        malformed => [3, sub { ['GET', '/api', headers => [Authorization => 'Bearer a,b']], 400 }],
        none => [3, sub { ['GET', '/api'], 401 }],
        metered => [4, sub { ['GET', '/api', key => $keys->{metered}], 200 }],
        foreign => [5, sub { ['GET', '/foreign', key => one(@{$keys->{foreign}})], 200 }],
        inactive => [2, sub { ['GET', '/foreign', key => one(@{$keys->{inactive}})], 401 }],
    );
    my @draw = map { ($_) x $kinds{$_}[0] } sort keys %kinds;
    while (!$stopped->()) {
        my $kind = one(@draw);
        my ($request, $expected) = $kinds{$kind}[1]->();
        my $gate = gate($self);
        $self->saw($gate, $kind, $expected, $self->ask($gate, @$request));
        sleep 0.016;
    }
    return;
}

# --- revocation ------------------------------------------------------------------------

# Issues a key, uses it on every gate, revokes it (or switches its account off) and
# asks until it is refused everywhere; "old": a pass that began so many seconds after
# the revocation had been acknowledged, "again": one after a refusal.
sub revoker {
    my ($self, $stopped) = @_;
    my (@gone, %lag, $n);
    while (!$stopped->()) {
        my $account = 'doomed' . $$ . '_' . ++$n;
        my $key;
        $self->write($stopped, sub {
            my ($store) = @_;
            $store->account($account);
            $key = $store->issue(account => $account, scopes => 'read:tenants');
        }) or last;
        for (1 .. 3) {
            for my $gate (0 .. $#{$self->{gates}}) {
                $self->saw($gate, 'soon revoked', 200, $self->ask($gate, 'GET', '/api', key => $key));
            }
        }
        my $at = $self->write($stopped, sub {
            my ($store) = @_;
            $n % 2 ? $store->revoke($key) : $store->update_account($account, enabled => 0);
        }) or last;
        refused($self, $stopped, $key, $at, \%lag);
        push @gone, $key;
        shift @gone if @gone > 500;
        my $gate = gate($self);
        $self->saw($gate, 'long revoked', 401, $self->ask($gate, 'GET', '/api', key => one(@gone)));
        sleep 0.3;
    }
    return { lag => \%lag, revoked => $n };
}

# asks with what was revoked at that time until every gate has refused it 10 times
sub refused {
    my ($self, $stopped, $key, $at, $lag, $uri) = @_;
    my (%no, %last);
    my @open = 0 .. $#{$self->{gates}};
    while (@open && !$stopped->()) {
        for my $gate (@open) {
            my $name = $self->{gates}[$gate]{name};
            my ($r, $from, $to) = $self->ask($gate, 'GET', $uri // '/api', key => $key);
            $self->saw($gate, 'revoked just now', [200, 401], $r, $from, $to);
            if ($r->status == 200) {
                $last{$gate} = $from - $at;
                $self->line(old => $at, $from, $name, $from - $at);
                $self->line(again => $from, $to, $name) if $no{$gate};
            }
            $no{$gate}++ if $r->status == 401;
        }
        @open = grep { ($no{$_} // 0) < 10 } @open;
        sleep 0.002;
    }
    # in ms, by powers of two
    for my $gate (0 .. $#{$self->{gates}}) {
        my $ms = 1000 * ($last{$gate} // 0);
        my $bucket = 1;
        $bucket *= 2 while $bucket < $ms;
        $lag->{$bucket}++;
    }
}

# --- the token service -------------------------------------------------------------------

# An answer's JSON; undef where there is none to go on with
sub post {
    my ($self, $gate, $kind, $endpoint, $client, @form) = @_;
    my ($r, $from, $to) = $self->ask($gate, 'POST', "/oauth/$endpoint",
        headers => [OpsAuth::OAuth::basic($client, $self->{oauth}->secret_of($client)),
            ['Content-Type' => 'application/x-www-form-urlencoded']],
        body => OpsAuth::OAuth::form(@form));
    $self->saw($gate, $kind, 200, $r, $from, $to) or return;
    return $r->json // {};
}

sub use_token {
    my ($self, $token) = @_;
    my $gate = gate($self);
    $self->saw($gate, 'token', 200, $self->ask($gate, 'GET', '/api', key => $token));
}

sub tokens {
    my ($self, $stopped) = @_;
    my (%lag, $revoked);
    while (!$stopped->()) {
        my $gate = gate($self);
        my $login = post($self, $gate, 'login', 'token', 'app', grant_type => 'client_credentials');
        if ($login) {
            my $token = $login->{access_token};
            use_token($self, $token) for 1 .. 3;
            my $said = post($self, $gate, 'introspection', 'introspect', 'rs', token => $token);
            $self->line(wrong => 'introspection says that a good token is not active') if $said && !$said->{active};
            if (post($self, gate($self), 'revocation', 'revoke', 'app', token => $token)) {
                $revoked++;
                refused($self, $stopped, $token, now(), \%lag);
            }
        }
        refreshes($self, $stopped);
        sleep 0.5;
    }
    return { lag => \%lag, revoked => $revoked };
}

# a login with a refresh token, and three refreshes; one whose answer is lost ends it
sub refreshes {
    my ($self, $stopped) = @_;
    my $got = post($self, gate($self), 'login with refresh', 'token', 'short', grant_type => 'client_credentials')
        or return;
    for (1 .. 3) {
        last if $stopped->();
        use_token($self, $got->{access_token});
        $got = post($self, gate($self), 'refresh', 'token', 'short',
            grant_type => 'refresh_token', refresh_token => $got->{refresh_token}) or return;
    }
    use_token($self, $got->{access_token});
}

# --- rates ---------------------------------------------------------------------------

sub rates {
    my ($self, $stopped) = @_;
    my @n = map { { passed => 0, asked => 0, from => now() } } @{$self->{gates}};
    while (!$stopped->()) {
        for my $gate (0 .. $#n) {
            my ($r, $from, $to) = $self->ask($gate, 'GET', '/api', key => $self->{keys}{rated});
            $self->saw($gate, 'rated', [200, 429], $r, $from, $to);
            $self->line(wrong => '429 without Retry-After') if $r->status == 429 && !$r->header('Retry-After');
            $n[$gate]{asked}++;
            $n[$gate]{passed}++ if $r->status == 200;
            $n[$gate]{seconds} = $to - $n[$gate]{from};
        }
        sleep 0.2;
    }
    return { map { $self->{gates}[$_]{name} => $n[$_] } 0 .. $#n };
}

# --- bodies ---------------------------------------------------------------------------

sub bodies {
    my ($self, $stopped) = @_;
    while (!$stopped->()) {
        my $gate = gate($self);
        my $body = join '', map { chr 97 + rand 26 } 1 .. 1 + rand 2_000;
        $body x= 1 + rand 30;
        my %body = rand() < 0.5 ? (body => $body) : (chunks => [unpack '(a4000)*', $body]);
        if (rand() < 0.3) {
            $self->saw($gate, 'body, refused', 401,
                $self->ask($gate, 'POST', '/echo', key => one(@{$self->{keys}{revoked}}), %body));
        }
        else {
            my ($r, $from, $to) = $self->ask($gate, 'POST', '/echo', key => one(@{$self->{keys}{good}}), %body);
            $self->saw($gate, 'body', 200, $r, $from, $to);
            $self->line(wrong => 'another body came to the backend')
                if $r->status == 200 && (($r->json // {})->{body} // '') ne $body;
        }
        sleep 0.4;
    }
    return;
}

# --- slow ones and those that go away ------------------------------------------------------

# a request byte by byte
sub slow {
    my ($self, $stopped) = @_;
    while (!$stopped->()) {
        my $gate = gate($self);
        my $good = rand() < 0.7;
        my $key = one(@{$self->{keys}{$good ? 'good' : 'revoked'}});
        my $from = now();
        my $c = eval { OpsAuth::HTTP::Connection->new($self->{gates}[$gate]{port}, timeout => 30) };
        my $r = OpsAuth::HTTP::_failed('cannot connect');
        if ($c) {
            $c->send_slowly(OpsAuth::HTTP::build_request('GET', '/api', key => $key, close => 1), delay => 0.015);
            $r = $c->read_response;
        }
        $self->saw($gate, $good ? 'slow' : 'slow, refused', $good ? 200 : 401, $r, $from, now());
    }
    return;
}

# goes away in the middle, by RST mostly
sub aborter {
    my ($self, $stopped) = @_;
    my $keys = $self->{keys};
    my %n;
    my %how = (
        'in the head' => sub {
            my $text = OpsAuth::HTTP::build_request('GET', '/api', key => one(@{$keys->{good}}));
            return substr $text, 0, rand length $text;
        },
        'after the head' => sub { OpsAuth::HTTP::build_request('GET', '/api', key => one(@{$keys->{good}})) },
        'while Redis is asked' => sub { OpsAuth::HTTP::build_request('GET', '/api', key => $self->{store}->key) },
        'while another server is asked' => sub {
            OpsAuth::HTTP::build_request('GET', '/foreign', key => one(@{$keys->{inactive}}));
        },
        'in the body' => sub {
            my $text = OpsAuth::HTTP::build_request('POST', '/echo', key => one(@{$keys->{good}}), body => 'x' x 20_000);
            return substr $text, 0, 300 + rand 19_000;
        },
        'in a login' => sub {
            my $text = OpsAuth::HTTP::build_request('POST', '/oauth/token',
                headers => [OpsAuth::OAuth::basic('app', $self->{oauth}->secret_of('app')),
                    ['Content-Type' => 'application/x-www-form-urlencoded']],
                body => 'grant_type=client_credentials');
            return rand() < 0.5 ? $text : substr $text, 0, -5;
        },
        'in HTTP/2' => sub { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" . "\0\0\0\4\0\0\0\0\0" },
    );
    my @how = sort keys %how;
    while (!$stopped->()) {
        my $gate = $self->{gates}[gate($self)];
        my $how = one(@how);
        my $c = eval { OpsAuth::HTTP::Connection->new($gate->{$how =~ /HTTP/ ? 'h2' : 'short'}) };
        if ($c) {
            $c->send($how{$how}->());
            sleep rand 0.01 if rand() < 0.5;
            rand() < 0.8 ? $c->reset : $c->close;
            $n{$how}++;
        }
        sleep 0.08;
    }
    return \%n;
}

# --- HTTP/2 ---------------------------------------------------------------------------

# Batches of h2load, 20 requests as 10 streams at a time on two connections. Streams
# that a gateway refuses, as it ends a connection for a reload (GOAWAY), are asked for
# once more.
sub http2 {
    my ($self, $stopped) = @_;
    my $keys = $self->{keys};
    while (!$stopped->()) {
        my $gate = gate($self);
        my $g = $self->{gates}[$gate];
        my $kind = one(qw(good good good revoked unknown));
        my $key = $kind eq 'unknown' ? $self->{store}->key : one(@{$keys->{$kind}});
        my $n = 20;
        for my $try (1, 2) {
            my $from = now();
            my %n = h2load($g->{h2}, $key, $n);
            my $to = now();
            my $lost = delete $n{0} // 0;
            if ($lost && !$g->{patient} && $try == 1) {
                $self->{sum}{$g->{name}}{again} += $n = $lost;
            }
            else {
                $n{0} = $lost;
                $n = 0;
            }
            for my $status (sort keys %n) {
                $self->saw($gate, "HTTP/2, $kind", $kind eq 'good' ? 200 : 401, $status, $from, $to)
                    for 1 .. $n{$status};
            }
            last if !$n;
        }
        sleep 0.7;
    }
    return;
}

# status => how many; it tells classes of them only
sub h2load {
    my ($port, $key, $n) = @_;
    my $clients = $n > 1 ? 2 : 1;
    open my $out, '-|', 'h2load', '-n', $n, '-c', $clients, '-m', 10, '-T', 30,
        '-H', "Authorization: Bearer $key", "http://127.0.0.1:$port/api" or return (0 => $n);
    my $text = join '', <$out>;
    close $out;
    my %n = (0 => $n);
    if (my @classes = $text =~ /^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx/m) {
        @n{200, 300, 401, 503} = @classes;
        $n{0} -= $_ for @classes;
    }
    return %n;
}

# --- status ---------------------------------------------------------------------------

sub status {
    my ($self, $stopped) = @_;
    my @seen;
    while (!$stopped->()) {
        for my $gate (0 .. $#{$self->{gates}}) {
            my ($r, $from, $to) = $self->ask($gate, 'GET', '/status');
            $self->saw($gate, 'status', 200, $r, $from, $to);
            $self->saw($gate, 'metrics', 200, $self->ask($gate, 'GET', '/metrics'));
            my $s = $r->status == 200 ? JSON::PP->new->utf8->decode($r->body)->{stores}{main} : undef or next;
            push @seen, [$from, $self->{gates}[$gate]{name}, $s->{cache}{slots_used}, $s->{cache}{entries},
                $s->{rates}{buckets_used}{account} // 0, $s->{usage}{credentials} // 0, $s->{lookups}{waiters} // 0,
                $s->{usage}{lost} // 0];
        }
        sleep 2;
    }
    return { seen => \@seen };
}

1;
